//! `tradecore journal export`.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use tradecore::exit::Exit;
use tradecore::shipping::domains::Domain;
use tradecore::shipping::json::{Place, write_event};
use tradecore::shipping::parquet::{RowError, Rows};
use tradecore::shipping::tail::{Tail, TailError};
use tradecore::shipping::whole::write_whole;
use tradecore_domain::event::Event;

use super::super::failure::Failure;
use super::super::values::whole;
use super::super::{print, written};
use super::{check_range, unreadable};

/// Writes events for other programs: as JSON lines, or as a Parquet file; `docs/events.md` says what stands there.
///
/// What is written survives power loss; of a journal that is being written, it is all up to now. A file is whole or
/// not there: until then it ends in `.partial`.
#[derive(clap::Args)]
#[command(after_help = "Example: tradecore journal export --dir data/journal --domain order --out orders.jsonl\n\
                        Example: tradecore journal export --dir data/journal --out - | jq -c .data\n\
                        Example: tradecore journal export --dir data/journal --parquet events.parquet")]
pub(crate) struct Export {
    /// Directory of the journal.
    #[arg(long)]
    pub(super) dir: PathBuf,
    /// File of JSON lines to write; one that is there is replaced. `-` is stdout.
    #[arg(long, required_unless_present = "parquet")]
    out: Option<PathBuf>,
    /// Parquet file to write, for DuckDB, pandas and the like; one that is there is replaced. It cannot be stdout.
    #[arg(long, conflicts_with = "out", value_parser = file)]
    parquet: Option<PathBuf>,
    /// First sequence number; without it the oldest there is.
    #[arg(long, value_parser = whole::<u64>)]
    from: Option<u64>,
    /// Last sequence number; without it the newest there is.
    #[arg(long, value_parser = whole::<u64>)]
    to: Option<u64>,
    /// Events of this domain only.
    #[arg(long, value_parser = domain)]
    domain: Option<Domain>,
}

fn file(text: &str) -> Result<PathBuf, String> {
    match text {
        "-" => Err("a Parquet file cannot be written to stdout; name a file".to_owned()),
        path => Ok(path.into()),
    }
}

fn domain(text: &str) -> Result<Domain, String> {
    Domain::from_name(text).ok_or_else(|| {
        let names: Vec<&str> = Domain::ALL.iter().map(|domain| domain.name()).collect();
        format!("no such domain; allowed: {}", names.join(", "))
    })
}

impl Export {
    pub(super) fn run(&self) -> Result<(), Failure> {
        check_range(self.from, self.to.unwrap_or(u64::MAX))?;
        match (&self.parquet, &self.out) {
            (Some(path), _) => whole_file(path, |file| {
                let broken = |error: RowError| Failure::new(Exit::Io, format!("{}: {error}", path.display()));
                let mut rows = Rows::new(file).map_err(broken)?;
                let count = self.each(|place, event| rows.add(place, event).map(|()| true).map_err(broken))?;
                let file = rows.end().map_err(broken)?;
                Ok((count, file))
            }),
            (None, Some(path)) if path != Path::new("-") => whole_file(path, |mut file| {
                let count = self.each_line(|line| {
                    file.write_all(line).map(|()| true).map_err(|error| Failure::new(Exit::Io, in_file(path, &error)))
                })?;
                Ok((count, file))
            }),
            (None, _) => {
                let mut out = BufWriter::new(io::stdout().lock());
                self.each_line(|line| written(out.write_all(line)))?;
                written(out.flush()).map(drop)
            }
        }
    }

    fn each_line(&self, mut write: impl FnMut(&[u8]) -> Result<bool, Failure>) -> Result<u64, Failure> {
        let mut line = String::new();
        self.each(|place, event| {
            line.clear();
            write_event(&mut line, place, event);
            line.push('\n');
            write(line.as_bytes())
        })
    }

    /// Hands each event to `write`, until that says that nobody reads any more; how many there were.
    fn each(&self, mut write: impl FnMut(&Place, &Event) -> Result<bool, Failure>) -> Result<u64, Failure> {
        let to = self.to.unwrap_or(u64::MAX);
        let mut tail = Tail::open(&self.dir, self.from.unwrap_or(0)).map_err(unreadable)?;
        let (mut count, mut result): (u64, _) = (0, Ok(true));
        let mut is_done = false;
        while !is_done {
            let is_more = tail.next_group(|place, event| {
                is_done |= place.seq >= to;
                let is_wanted = place.seq <= to && self.domain.is_none_or(|domain| domain == Domain::of(event));
                if matches!(result, Ok(true)) && is_wanted {
                    count = count.saturating_add(1);
                    result = write(place, event);
                }
            });
            let is_more = match is_more {
                Err(TailError::Read(error)) => return Err(unreadable(error)),
                Err(TailError::Decode { seq, error }) => {
                    return Err(Failure::new(Exit::from(&error), format!("event {seq}: {error}")));
                }
                Ok(is_more) => is_more,
            };
            is_done |= !is_more || !matches!(result, Ok(true));
        }
        result.map(|_| count)
    }
}

fn in_file(path: &Path, error: &io::Error) -> String {
    format!("{}: {error}", path.display())
}

/// Makes a whole file, and says how many events are in it.
fn whole_file(
    path: &Path,
    write: impl FnOnce(BufWriter<File>) -> Result<(u64, BufWriter<File>), Failure>,
) -> Result<(), Failure> {
    if std::fs::metadata(path).is_ok_and(|found| !found.is_file()) {
        return Err(Failure::new(Exit::Usage, format!("{}: allowed: a file, or a name that is free", path.display())));
    }
    let failed = |path: &Path, error| Failure::new(Exit::Io, in_file(path, &error));
    let count = write_whole(path, failed, write)?;
    print(&format!("{count} events in {}", path.display())).map(drop)
}
