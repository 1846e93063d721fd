//! Dead letters: read, sent again, put aside. What was done about one stands behind it, in the same topic.
//!
//! Each act is a transaction of a producer that fences every other that acts: so of two who act on one letter at once,
//! the second sees what the first has done.

use std::collections::BTreeMap;

use rdkafka::message::{BorrowedMessage, Header, Headers, Message, OwnedHeaders};
use rdkafka::producer::BaseRecord;
use serde_json::json;

use super::about::{About, Piece};
use super::cluster::Cluster;
use super::desk::Desk;
use super::tail::Looker;
use super::transport::{Letter, letter_headers};
use super::trouble::Trouble;
use crate::shipping::domains::Channel;
use crate::shipping::json::Utc;

/// Letters of a channel that are held at once, the newest of those that are wanted.
const LETTERS_MAX: usize = 10_000;
/// Headers that a letter adds to its event's.
const OWN: &[&str] = &["original_topic", "original_partition", "reason", "time", "retry_count"];

/// Nobody asks which one a report is about.
const NONE: Piece = Piece { seq: 0, is_saga: false };

/// What can be done about a dead letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// It was sent to its topic again, which took it.
    Retried,
    /// It was sent to its topic again, which refused it: a new letter tells of that.
    RefusedAgain,
    /// It was put aside.
    Discarded,
}

impl Act {
    const ALL: [Self; 3] = [Self::Retried, Self::RefusedAgain, Self::Discarded];

    /// As records and commands spell it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Retried => "retried",
            Self::RefusedAgain => "refused-again",
            Self::Discarded => "discarded",
        }
    }
}

/// What was done about a letter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decided {
    /// What.
    pub act: Act,
    /// By whom.
    pub by: String,
    /// When, RFC 3339.
    pub time: String,
}

/// An event as JSON that its topic refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    /// Where it was to be told.
    pub channel: Channel,
    /// Its offset among the dead letters of the channel.
    pub offset: i64,
    /// What the event is and was refused for: its headers, by name.
    pub headers: Vec<(String, String)>,
    /// Key of the event.
    pub key: String,
    /// Its JSON; empty in a list.
    pub value: Vec<u8>,
    /// What was done about it; `None`: nothing yet.
    pub decided: Option<Decided>,
}

impl DeadLetter {
    /// Its name for commands, `order/17`.
    #[must_use]
    pub fn id(&self) -> String {
        format!("{}/{}", self.channel.name(), self.offset)
    }

    /// A header, by name; empty when there is none.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        self.headers.iter().find(|(known, _)| known == name).map_or("", |(_, value)| value)
    }
}

/// What became of a letter that was sent again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Its topic took it.
    Taken,
    /// Its topic refused it again, for this reason.
    Refused(String),
}

/// Letters as they are read, and what was done about them, which stands behind each.
#[derive(Default)]
struct Pile {
    /// Also those about which something was done.
    is_all: bool,
    letters: BTreeMap<i64, DeadLetter>,
    /// Those that are wanted and were more than are held.
    left_out: u64,
    /// Offsets of the first and the last of them.
    left: Option<(i64, i64)>,
}

impl Pile {
    fn add(&mut self, letter: DeadLetter) {
        self.letters.insert(letter.offset, letter);
        if self.letters.len() > LETTERS_MAX
            && let Some((offset, _)) = self.letters.pop_first()
        {
            self.left_out = self.left_out.saturating_add(1);
            self.left = Some((self.left.map_or(offset, |(first, _)| first), offset));
        }
    }

    fn settle(&mut self, offset: i64, decided: Decided) {
        if self.is_all {
            if let Some(letter) = self.letters.get_mut(&offset) {
                letter.decided = Some(decided);
            }
        } else if self.letters.remove(&offset).is_none()
            && self.left.is_some_and(|(first, last)| (first..=last).contains(&offset))
        {
            self.left_out = self.left_out.saturating_sub(1);
        }
    }
}

/// The dead letters of a stream.
pub struct Letters<'a> {
    cluster: &'a Cluster,
    looker: Looker<'a>,
}

impl core::fmt::Debug for Letters<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Letters").field("cluster", self.cluster).finish_non_exhaustive()
    }
}

impl<'a> Letters<'a> {
    /// Those of the cluster's stream.
    ///
    /// # Errors
    /// When a setting of the cluster is wrong.
    pub fn new(cluster: &'a Cluster) -> Result<Self, Trouble> {
        Ok(Self { cluster, looker: Looker::new(cluster)? })
    }

    /// The letters of a channel in order, the newest if there are very many: those about which nothing was done, or all,
    /// with what was done about them; and how many older ones were left out.
    ///
    /// # Errors
    /// When the cluster does not answer.
    pub fn list(&self, channel: Channel, is_all: bool) -> Result<(Vec<DeadLetter>, u64), Trouble> {
        let mut pile = Pile { is_all, ..Pile::default() };
        self.read(channel, None, &mut pile)?;
        Ok((pile.letters.into_values().collect(), pile.left_out))
    }

    /// All letters without their values, or one with it.
    fn read(&self, channel: Channel, wanted: Option<i64>, pile: &mut Pile) -> Result<(), Trouble> {
        let topic = self.cluster.letter_topic(channel);
        if !self.looker.has_topic(&topic)? {
            return Ok(());
        }
        let source = format!("/tradecore/{}", self.cluster.stream);
        self.looker.read_all(&topic, 0, &mut |message| {
            let headers = headers_of(message);
            let of = |name: &str| headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
            if of("ce_source") != Some(&source) {
                return;
            }
            if let Some(act) = of("act").and_then(|name| Act::ALL.into_iter().find(|act| act.name() == name)) {
                if let Some(offset) = of("letter").and_then(|text| text.parse().ok()) {
                    let text = |name| of(name).unwrap_or_default().to_owned();
                    pile.settle(offset, Decided { act, by: text("by"), time: text("time") });
                }
                return;
            }
            let offset = message.offset();
            if wanted.is_some_and(|wanted| wanted != offset) {
                return;
            }
            let value = wanted.and(message.payload()).unwrap_or_default().to_vec();
            let key = String::from_utf8_lossy(message.key().unwrap_or_default()).into_owned();
            pile.add(DeadLetter { channel, offset, headers, key, value, decided: None });
        })
    }

    /// One letter with its value.
    ///
    /// # Errors
    /// `Refused` when there is none.
    pub fn show(&self, channel: Channel, offset: i64) -> Result<DeadLetter, Trouble> {
        let mut pile = Pile { is_all: true, ..Pile::default() };
        self.read(channel, Some(offset), &mut pile)?;
        pile.letters.remove(&offset).ok_or_else(|| {
            let id = format!("{}/{offset}", channel.name());
            Trouble::Refused(format!(
                "no dead letter {id} of stream {}; tradecore dlq list shows them",
                self.cluster.stream
            ))
        })
    }

    /// Sends a letter to its topic again.
    ///
    /// # Errors
    /// `Refused` when there is none, or something was done about it already.
    pub fn retry(&self, channel: Channel, offset: i64, by: &str) -> Result<Outcome, Trouble> {
        let desk = Desk::open(self.cluster, "dlq")?;
        let letter = self.open_letter(channel, offset)?;
        let topic = self.cluster.channel_topic(channel);
        let partition = letter.header("original_partition").parse().unwrap_or(0);
        desk.begin()?;
        let of_event = letter.headers.iter().filter(|(name, _)| !OWN.contains(&name.as_str()));
        let event = of_event
            .fold(OwnedHeaders::new(), |headers, (key, value)| headers.insert(Header { key, value: Some(value) }));
        let refused =
            desk.send(record(&topic, partition, About::Json(NONE), &letter.key, &letter.value, event.clone()))?;
        let Some(error) = refused else {
            self.write_down(&desk, &letter, Act::Retried, by)?;
            return Ok(Outcome::Taken);
        };
        // Nothing of that transaction counts: another one tells of it.
        desk.give_up()?;
        desk.begin()?;
        let reason = error.to_string();
        let retry_count = letter.header("retry_count").parse::<u32>().unwrap_or(0).saturating_add(1);
        let time_ns = crate::clock::utc_ns();
        let headers =
            letter_headers(event, &Letter { topic: &topic, partition, reason: &reason, time_ns, retry_count });
        let letters = self.cluster.letter_topic(channel);
        if let Some(error) = desk.send(record(&letters, 0, About::Letter(NONE), &letter.key, &letter.value, headers))? {
            return Err(Trouble::Refused(format!("topic {letters} refuses a dead letter: {error}")));
        }
        self.write_down(&desk, &letter, Act::RefusedAgain, by)?;
        Ok(Outcome::Refused(reason))
    }

    /// Puts a letter aside: it stays where it is until it is too old, and is not open any more.
    ///
    /// # Errors
    /// As `retry`.
    pub fn discard(&self, channel: Channel, offset: i64, by: &str) -> Result<(), Trouble> {
        let desk = Desk::open(self.cluster, "dlq")?;
        let letter = self.open_letter(channel, offset)?;
        desk.begin()?;
        self.write_down(&desk, &letter, Act::Discarded, by)
    }

    /// One letter about which nothing was done yet.
    ///
    /// # Errors
    /// `Refused` when there is none, or something was done.
    pub fn open_letter(&self, channel: Channel, offset: i64) -> Result<DeadLetter, Trouble> {
        let letter = self.show(channel, offset)?;
        match &letter.decided {
            None => Ok(letter),
            Some(Decided { act, by, time }) => {
                Err(Trouble::Refused(format!("dead letter {} was {} by {by} at {time}", letter.id(), act.name())))
            }
        }
    }

    /// Writes down what was done, and ends the transaction.
    fn write_down(&self, desk: &Desk<'_>, letter: &DeadLetter, act: Act, by: &str) -> Result<(), Trouble> {
        let topic = self.cluster.letter_topic(letter.channel);
        let time = Utc(crate::clock::utc_ns()).to_string();
        let headers = OwnedHeaders::new()
            .insert(Header { key: "ce_source", value: Some(letter.header("ce_source")) })
            .insert(Header { key: "act", value: Some(act.name()) })
            .insert(Header { key: "letter", value: Some(&letter.offset.to_string()) })
            .insert(Header { key: "by", value: Some(by) })
            .insert(Header { key: "time", value: Some(&time) });
        let (stream, id) = (self.cluster.stream.to_string(), letter.id());
        let value: String = json!({
            "stream": stream, "act": act.name(), "letter": id, "seq": letter.header("ce_seq"), "by": by, "time": time,
        })
        .to_string();
        if let Some(error) =
            desk.send(record(&topic, 0, About::Letter(NONE), &letter.key, value.as_bytes(), headers))?
        {
            return Err(Trouble::Refused(format!("topic {topic} refuses what was done: {error}")));
        }
        desk.commit()
    }
}

fn headers_of(message: &BorrowedMessage<'_>) -> Vec<(String, String)> {
    let Some(headers) = message.headers() else { return Vec::new() };
    let text = |value: Option<&[u8]>| String::from_utf8_lossy(value.unwrap_or_default()).into_owned();
    headers.iter().map(|header| (header.key.to_owned(), text(header.value))).collect()
}

fn record<'r>(
    topic: &'r str,
    partition: i32,
    about: About,
    key: &'r str,
    value: &'r [u8],
    headers: OwnedHeaders,
) -> BaseRecord<'r, [u8], [u8], usize> {
    let record = BaseRecord::with_opaque_to(topic, about.word()).key(key.as_bytes());
    record.payload(value).partition(partition).headers(headers)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shipping::domains::Domain;

    fn pile(is_all: bool, letters: i64) -> Pile {
        let mut pile = Pile { is_all, ..Pile::default() };
        for offset in 0..letters {
            let (headers, key, value) = Default::default();
            let channel = Channel::Domain(Domain::Order);
            pile.add(DeadLetter { channel, offset, headers, key, value, decided: None });
        }
        pile
    }

    fn decided() -> Decided {
        Decided { act: Act::Discarded, by: "anna".to_owned(), time: "now".to_owned() }
    }

    #[test]
    fn letters_that_are_decided_hide_none_that_are_not() {
        let most = LETTERS_MAX as i64;
        let mut pile = pile(false, most + 3);
        assert_eq!((pile.letters.len(), pile.left_out), (LETTERS_MAX, 3));
        pile.settle(1, decided());
        assert_eq!((pile.letters.len(), pile.left_out), (LETTERS_MAX, 2), "one that was left out");
        pile.settle(-1, decided());
        assert_eq!(pile.left_out, 2, "one that the topic does not have any more");
        (3..most).for_each(|offset| pile.settle(offset, decided()));
        assert_eq!(pile.letters.keys().copied().collect::<Vec<_>>(), [most, most + 1, most + 2]);
        assert_eq!(pile.left_out, 2);
    }

    #[test]
    fn who_asks_for_all_letters_has_the_newest_with_what_was_done() {
        let mut pile = pile(true, LETTERS_MAX as i64 + 1);
        pile.settle(5, decided());
        assert_eq!((pile.letters.len(), pile.left_out), (LETTERS_MAX, 1));
        let done: Vec<i64> = pile.letters.values().filter(|one| one.decided.is_some()).map(|one| one.offset).collect();
        assert_eq!(done, [5]);
    }
}
