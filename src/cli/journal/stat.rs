//! `tradecore journal stat`: what is there, who keeps it, and how much more may wait for those who ship.

use std::path::PathBuf;

use serde_json::{Value, json};
use tradecore::exit::Exit;
use tradecore::retention::{Look, Needs};
use tradecore_journal::{RetentionError, Spans, Stat as Counts};

use super::unreadable;
use crate::cli::failure::Failure;
use crate::cli::print;
use crate::cli::report::{aligned, utc};

/// Counts what is there, and says who keeps it: readers that have not passed it.
#[derive(clap::Args)]
#[command(
    after_help = "Example: tradecore journal stat --config gateway.toml",
    group = clap::ArgGroup::new("journal").required(true)
)]
pub(in crate::cli) struct Stat {
    /// Directory of the journal: all readers that are registered count.
    #[arg(long, group = "journal")]
    dir: Option<PathBuf>,
    /// The configuration of the gateway: its readers count, its bound and its days.
    #[arg(long, group = "journal")]
    config: Option<PathBuf>,
    /// Prints JSON objects, one a line.
    #[arg(long)]
    json: bool,
}

impl Stat {
    pub(super) fn needs(&self) -> Result<Needs, Failure> {
        match (&self.dir, &self.config) {
            (Some(dir), _) => Ok(Needs::of_all(dir)),
            (None, Some(config)) => Ok(Needs::of(&crate::cli::config::load(config)?)),
            // The command line was refused.
            (None, None) => Err(Failure::new(Exit::Usage, "one of --dir and --config is needed")),
        }
    }

    pub(super) fn run(&self, needs: &Needs) -> Result<(), Failure> {
        let counts = tradecore_journal::stat(&needs.journal_dir).map_err(unreadable)?;
        let look = look(needs)?;
        if self.json {
            let counted = rows(&counts).map(|(name, value)| (name, Value::from(value.to_string())));
            let all = counted.into_iter().chain([
                ("removable_segments", look.removable.to_string().into()),
                ("unshipped", unshipped_json(&look)),
                ("readers", look.holders.iter().map(holder_json).collect()),
            ]);
            return print(&Value::from_iter(all).to_string()).map(drop);
        }
        let mut lines: Vec<String> = rows(&counts).map(|(name, value)| format!("{name:<14} {value}")).to_vec();
        lines.extend(words(&look));
        print(&lines.join("\n")).map(drop)
    }
}

/// What readers keep of a journal.
pub(in crate::cli) fn look(needs: &Needs) -> Result<Look, Failure> {
    let now_ns = tradecore::clock::utc_ns();
    Look::at(needs, &mut Spans::new(&needs.journal_dir), now_ns).map_err(|error| match error {
        RetentionError::Read(error) => unreadable(error),
        error => Failure::new(Exit::Io, error.to_string()),
    })
}

/// What readers keep, for people.
pub(in crate::cli) fn words(look: &Look) -> Vec<String> {
    let mut lines = Vec::new();
    if look.holders.is_empty() {
        lines.push("no reader is registered: nothing but a start needs the journal".to_owned());
    } else {
        let mut table = vec![["reader", "passed", "keeps segments", "MiB", "since", ""].map(str::to_owned).to_vec()];
        table.extend(look.holders.iter().map(|holder| {
            let since = if holder.since_ns == 0 { "-".to_owned() } else { utc(holder.since_ns) };
            let note = if holder.is_configured { "" } else { "not configured: keeps nothing" };
            vec![
                holder.name.clone(),
                holder.seq.to_string(),
                holder.segments.to_string(),
                (holder.bytes >> 20).to_string(),
                since,
                note.to_owned(),
            ]
        }));
        lines.push(aligned(&table));
        lines.push(format!("{} segments are passed by all, and old enough", look.removable));
    }
    if look.unshipped_bytes > 0 {
        let left = look.seconds_left.map_or_else(String::new, |left| {
            format!(", reached in {}.{} h at the rate since then", left / 3_600, left % 3_600 / 360)
        });
        lines.push(format!(
            "not shipped: {} MiB, {} % of what may wait, {} MiB{left}",
            look.unshipped_bytes >> 20,
            look.percent(),
            look.unshipped_max_bytes >> 20
        ));
    }
    lines
}

fn unshipped_json(look: &Look) -> Value {
    json!({
        "bytes": look.unshipped_bytes.to_string(), "max_bytes": look.unshipped_max_bytes.to_string(),
        "percent": look.percent(), "seconds_left": look.seconds_left.map(|left| left.to_string()),
    })
}

fn holder_json(holder: &tradecore::retention::Holder) -> Value {
    json!({
        "reader": holder.name, "passed_seq": holder.seq.to_string(), "is_configured": holder.is_configured,
        "segments": holder.segments.to_string(), "bytes": holder.bytes.to_string(), "since_ns": holder.since_ns.to_string(),
    })
}

const fn rows(stat: &Counts) -> [(&'static str, u64); 10] {
    [
        ("segments", stat.segments),
        ("segment_bytes", stat.segment_bytes),
        ("first_seq", stat.first_seq),
        ("last_seq", stat.last_seq),
        ("synced_seq", stat.synced_seq),
        ("groups", stat.groups),
        ("records", stat.records),
        ("payload_bytes", stat.payload_bytes),
        ("first_ts_ns", stat.first_ts_ns),
        ("last_ts_ns", stat.last_ts_ns),
    ]
}
