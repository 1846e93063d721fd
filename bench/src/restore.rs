//! A host that is lost: a journal shipped to a broker, made anew from its topics, and compared with what it was, byte by
//! byte, and by the state that a start makes of it.
#![allow(clippy::arithmetic_side_effects)]

use std::path::Path;
use std::time::{Duration, Instant};

use tradecore::shipping::kafka::restore;
use tradecore_domain::{Limits, State};
use tradecore_journal::{Reader, Until};

use crate::Failure;
use crate::host::Place;
use crate::outcome::Outcome;
use crate::recovery::write;
use crate::servers::Kafka;
use crate::shipping::{cluster, ship};
use crate::thousandths::Thousandths;

/// Events that an order makes.
const PER_ORDER: u64 = 4;

/// How it is measured.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Options {
    /// Events in the journal, at least; each takes some 300 bytes, three times: in the journal, with the broker, restored.
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(2_000..))]
    pub(crate) events: u64,
}

/// Ships, restores, compares.
pub(crate) fn measure(options: &Options) -> Result<Outcome, Failure> {
    let mut outcome = Outcome::default();
    outcome.configure("events", options.events);
    let dir = crate::scratch::dir()?;
    let (journal_dir, restored_dir) = (dir.path().join("data/journal"), dir.path().join("restored/journal"));
    std::fs::create_dir_all(&journal_dir)?;
    let started = Instant::now();
    let (events, hash) = write(&journal_dir, options.events.div_ceil(PER_ORDER))?;
    println!("{events} events written in {} ms, state hash {hash:016x}", started.elapsed().as_millis());
    let broker = Kafka::get(Place::Anywhere)?;
    let prefix = format!("restore{}.", std::process::id());
    let shipped = ship(dir.path(), &broker, &prefix, false, events)?;
    println!("  shipped: {}", rate(events, shipped)?);
    let cluster = cluster(dir.path(), &broker, &prefix, false)?;
    let started = Instant::now();
    let mut written = None;
    let restored = restore(&cluster, &restored_dir, false, &mut |seq, last_seq| {
        if written.is_none() && seq == last_seq {
            written = Some(started.elapsed());
        }
        true
    })?;
    let elapsed = started.elapsed();
    let written = written.ok_or("it has told of no end")?;
    println!("  restored: {}; read back: {}", rate(events, written)?, rate(events, elapsed.saturating_sub(written))?);
    let same = compared(&journal_dir, &restored_dir)?;
    let mut state = State::new(Limits::default());
    let replayed = tradecore::recovery::replay(&restored_dir, &mut state, &mut |_| {})?;
    if (restored.events, same, replayed) != (events, events, events) {
        return Err(
            format!("{events} events, {} restored, {same} the same, {replayed} replayed", restored.events).into()
        );
    }
    if state.hash() != hash {
        return Err(
            format!("the restored state has the hash {:016x}, and the live one {hash:016x}", state.hash()).into()
        );
    }
    println!("  {same} records are the same byte by byte, and so is the state: hash {:016x}", state.hash());
    outcome.add_value("restore_events_per_s", Thousandths::ratio(events, elapsed.as_secs().max(1)));
    outcome.add_value("restore_s", Thousandths(u64::try_from(elapsed.as_millis())?));
    Ok(outcome)
}

fn rate(events: u64, elapsed: Duration) -> Result<String, Failure> {
    let rate = u64::try_from(u128::from(events) * 1_000_000_000 / elapsed.as_nanos().max(1))?;
    Ok(format!("{} ms, {rate} events/s", elapsed.as_millis()))
}

/// How many records two journals have, which must be the same ones.
fn compared(one: &Path, other: &Path) -> Result<u64, Failure> {
    let mut readers = [Reader::open(one, 1, Until::Synced)?, Reader::open(other, 1, Until::Synced)?];
    let mut count = 0;
    loop {
        let [one, other] = readers.each_mut().map(|reader| reader.next_group());
        let (Some(one), Some(other)) = (one?, other?) else { return Ok(count) };
        let (mut ours, mut theirs) = (one.records(), other.records());
        loop {
            match (ours.next(), theirs.next()) {
                (Some(ours), Some(theirs)) if ours.bytes == theirs.bytes => count += 1,
                (None, None) => break,
                (ours, theirs) => {
                    let seq = ours.or(theirs).map_or(0, |record| record.seq);
                    return Err(format!("event {seq} is not the one that was shipped").into());
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn journals_are_compared_record_by_record() {
        let dir = crate::scratch::dir().unwrap();
        let [one, longer, again] = ["one", "longer", "again"].map(|name| dir.path().join(name));
        let (events, _) = write(&one, 20).unwrap();
        write(&longer, 21).unwrap();
        assert_eq!(compared(&one, &one).unwrap(), events);
        // Another one has other times.
        write(&again, 20).unwrap();
        assert!(compared(&one, &again).unwrap_err().to_string().contains("event "));
        assert!(compared(&one, &longer).is_err());
    }
}
