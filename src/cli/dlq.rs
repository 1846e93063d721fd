//! `tradecore dlq`.

use serde_json::{Value, json};
use tradecore::exit::Exit;
use tradecore::shipping::domains::{Channel, Domain};
use tradecore::shipping::kafka::{Cluster, DeadLetter, Letters, Outcome, Trouble};

use super::desk::Desk;
use super::failure::Failure;
use super::note::for_admins;
use super::print;
use super::ship::{Place, failed};
use super::values::{text, whole};

/// A letter, as `dlq list` names it.
#[derive(Clone, Copy, Debug)]
pub(super) struct LetterId {
    channel: Channel,
    offset: i64,
}

impl std::str::FromStr for LetterId {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is no dead letter: DOMAIN/NUMBER or saga/NUMBER is wanted, such as order/17");
        let (channel, offset) = text.split_once('/').ok_or_else(wrong)?;
        let channel = Channel::from_name(channel).ok_or_else(wrong)?;
        Ok(Self { channel, offset: offset.parse().ok().filter(|offset| *offset >= 0).ok_or_else(wrong)? })
    }
}

#[derive(clap::Args)]
pub(super) struct Act {
    #[command(flatten)]
    place: Place,
    /// The letters, as `dlq list` names them: order/17.
    #[arg(required = true, value_name = "LETTER")]
    letters: Vec<LetterId>,
    /// Who does it, which is written down; by default the user and the host.
    #[arg(long, value_name = "NAME")]
    by: Option<String>,
    /// The configured session of role `admin` that writes it into the gateway's journal first.
    #[arg(long, value_parser = whole::<u32>, required_unless_present = "unjournaled")]
    session: Option<u32>,
    /// Without a gateway: nothing of it stands in the journal.
    #[arg(long, conflicts_with = "session")]
    unjournaled: bool,
}

/// Looks at events whose JSON the cluster refused, and sends them again or puts them aside.
///
/// The event store has these events all the same. What is done about a letter is written down behind it, with who and
/// when, in one transaction with what was done.
#[derive(clap::Subcommand)]
#[command(after_help = "Example: tradecore dlq list --config gateway.toml")]
pub(super) enum Dlq {
    /// Lists the letters about which nothing was done.
    #[command(after_help = "Example: tradecore dlq list --config gateway.toml --json")]
    List {
        #[command(flatten)]
        place: Place,
        /// Those of one domain, or `saga`.
        #[arg(long, value_parser = channel)]
        domain: Option<Channel>,
        /// Those, too, about which something was done.
        #[arg(long)]
        all: bool,
        /// Prints a JSON object a line; integers of 64 bits are strings.
        #[arg(long)]
        json: bool,
    },
    /// Shows a letter: its event, why it was refused, what was done.
    #[command(after_help = "Example: tradecore dlq show --config gateway.toml order/17")]
    Show {
        #[command(flatten)]
        place: Place,
        /// The letter, as `dlq list` names it.
        #[arg(value_name = "LETTER")]
        letter: LetterId,
    },
    /// Sends letters to their topics again, each once. Exit code 65 when a topic refuses one again.
    #[command(after_help = "Example: tradecore dlq retry --config gateway.toml --session 8 order/17 order/18")]
    Retry(Act),
    /// Puts letters aside: nothing is sent, and they are not listed any more.
    #[command(after_help = "Example: tradecore dlq discard --config gateway.toml --session 8 order/17 --by anna")]
    Discard(Act),
}

/// A domain, as it is spelled.
pub(super) fn domain(text: &str) -> Result<Domain, String> {
    Domain::from_name(text).ok_or_else(|| {
        let names: Vec<&str> = Domain::ALL.iter().map(|domain| domain.name()).collect();
        format!("one of {} is wanted", names.join(", "))
    })
}

/// A domain, or `saga`.
fn channel(text: &str) -> Result<Channel, String> {
    Channel::from_name(text)
        .ok_or_else(|| format!("one of {} is wanted", Channel::all().map(Channel::name).collect::<Vec<_>>().join(", ")))
}

impl Dlq {
    pub(super) fn run(self) -> Result<(), Failure> {
        match self {
            Self::List { place, domain, all, json } => list(&place.cluster()?, domain, all, json),
            Self::Show { place, letter } => {
                let cluster = place.cluster()?;
                let letter = Letters::new(&cluster)
                    .and_then(|letters| letters.show(letter.channel, letter.offset))
                    .map_err(failed)?;
                let data = serde_json::from_slice(&letter.value)
                    .unwrap_or_else(|_| Value::from(String::from_utf8_lossy(&letter.value)));
                let mut shown = to_json(&letter);
                if let Some(object) = shown.as_object_mut() {
                    object.insert("data".to_owned(), data);
                }
                print(&format!("{shown:#}")).map(drop)
            }
            Self::Retry(act) => act.retry(),
            Self::Discard(act) => act.discard(),
        }
    }
}

impl Act {
    /// Acts on one letter after the other: what is about to be done is in the journal before it is done, with who does it.
    /// `Ok(Err(_))`: the letter's topic refuses it.
    fn each(
        self,
        name: &str,
        act: impl Fn(&Letters<'_>, LetterId, &str) -> Result<Result<String, String>, Trouble>,
    ) -> Result<(), Failure> {
        let cluster = self.place.cluster()?;
        let letters = Letters::new(&cluster).map_err(failed)?;
        let by = who(self.by.as_deref());
        let mut notes = Vec::new();
        for LetterId { channel, offset } in &self.letters {
            // Nothing is noted about what is not there, or was decided already.
            letters.open_letter(*channel, *offset).map_err(failed)?;
            let words = format!("dlq {name} {}/{offset} by {by}", channel.name());
            let refused = |allowed| Failure::new(Exit::Usage, format!("{words:?}: {allowed}"));
            notes.push(self.session.map(|_| text::<96>(&words).map_err(refused)).transpose()?);
        }
        let connection = self.session.map(|session| self.place.connection(session));
        let mut desk = connection.map(|connection| Desk::open(&connection)).transpose()?;
        let mut refused = Vec::new();
        for (letter, note) in self.letters.into_iter().zip(notes) {
            let mut done = || -> Result<Result<String, String>, Failure> {
                if let (Some(desk), Some(note)) = (&mut desk, note) {
                    let report = desk.note(note).map_err(|failure| for_admins(failure, desk.role))?;
                    super::warn(&format!("event {}: {}", report.journal_seq.get(), note.as_str()));
                }
                act(&letters, letter, &by).map_err(failed)
            };
            match done() {
                Ok(Ok(text)) => drop(print(&text)?),
                Ok(Err(text)) => refused.push(text),
                // What came before it is told all the same.
                Err(failure) => {
                    let text = refused.into_iter().chain([failure.text]).collect::<Vec<_>>().join("; ");
                    return Err(Failure { text, ..failure });
                }
            }
        }
        if refused.is_empty() { Ok(()) } else { Err(Failure::new(Exit::Rejected, refused.join("; "))) }
    }

    fn retry(self) -> Result<(), Failure> {
        self.each("retry", |letters, LetterId { channel, offset }, by| {
            let (name, topic) = (channel.name(), channel.topic());
            Ok(match letters.retry(channel, offset, by)? {
                Outcome::Taken => Ok(format!("{name}/{offset}: {topic} has it")),
                Outcome::Refused(reason) => Err(format!("{name}/{offset}: {topic} refuses it again: {reason}")),
            })
        })
    }

    fn discard(self) -> Result<(), Failure> {
        self.each("discard", |letters, LetterId { channel, offset }, by| {
            letters.discard(channel, offset, by)?;
            Ok(Ok(format!("{}/{offset}: put aside", channel.name())))
        })
    }
}

/// Who acts: what they say, or the user and the host.
fn who(by: Option<&str>) -> String {
    by.map(str::to_owned).unwrap_or_else(|| {
        let user = std::env::var("USER").or_else(|_| std::env::var("LOGNAME"));
        let user = user.unwrap_or_else(|_| format!("uid {}", rustix::process::getuid().as_raw()));
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        format!("{user} on {}", host.trim())
    })
}

fn list(cluster: &Cluster, channel: Option<Channel>, is_all: bool, json: bool) -> Result<(), Failure> {
    let letters_of = Letters::new(cluster).map_err(failed)?;
    let (mut shown, mut left_out) = (0_u64, 0_u64);
    for channel in Channel::all().filter(|one| channel.is_none_or(|channel| channel == *one)) {
        let (letters, older) = letters_of.list(channel, is_all).map_err(failed)?;
        left_out = left_out.saturating_add(older);
        for letter in &letters {
            shown = shown.saturating_add(1);
            let line = if json { to_json(letter).to_string() } else { line(letter) };
            if !print(&line)? {
                return Ok(());
            }
        }
    }
    if left_out > 0 {
        let how = if is_all { "tools of the cluster show them" } else { "they are listed once newer ones are decided" };
        tracing::warn!(left_out, "there are older dead letters: {how}");
    } else if shown == 0 && !json {
        print("no dead letter")?;
    }
    Ok(())
}

fn line(letter: &DeadLetter) -> String {
    let decided = letter.decided.as_ref();
    let state = decided.map_or_else(String::new, |d| format!(", {} by {} at {}", d.act.name(), d.by, d.time));
    let (seq, kind) = (letter.header("ce_seq"), letter.header("ce_type"));
    let (time, retries, reason) = (letter.header("time"), letter.header("retry_count"), letter.header("reason"));
    format!("{:<16} {time}  event {seq} {kind}, {retries} retries: {reason}{state}", letter.id())
}

fn to_json(letter: &DeadLetter) -> Value {
    let headers: serde_json::Map<String, Value> =
        letter.headers.iter().map(|(name, value)| (name.clone(), value.as_str().into())).collect();
    let decided = letter.decided.as_ref();
    json!({
        "letter": letter.id(),
        "domain": letter.header("ce_domain"),
        "seq": letter.header("ce_seq"),
        "key": letter.key,
        "reason": letter.header("reason"),
        "time": letter.header("time"),
        "retry_count": letter.header("retry_count"),
        "state": decided.map_or("open", |decided| decided.act.name()),
        "by": decided.map(|decided| decided.by.as_str()),
        "decided_at": decided.map(|decided| decided.time.as_str()),
        "headers": headers,
    })
}
