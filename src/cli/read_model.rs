//! Where the read model is, and how its cells are said to people and to programs.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tradecore::config::{Config, ConfigError, SessionEntry};
use tradecore::exit::Exit;
use tradecore::projections::ask::Answer;
use tradecore::projections::cell::{Cell, Kind, join};
use tradecore::projections::declare::{ColumnInfo, Table};
use tradecore::projections::queries::Freshness;
use tradecore::projections::rights::Rights;
use tradecore::projections::store::Store;
use tradecore::projections::tables::PositionOfProjectionRow;
use tradecore::projections::{ProjectionError, Source, codes, server_source_of, source_of};
use tradecore::shipping::fields::{EXEC_FLAGS, ORDER_FLAGS};

use super::failure::Failure;
use super::journal::unreadable;

use super::report::{bits, decimal, utc};
use super::values::whole;

impl From<ProjectionError> for Failure {
    fn from(error: ProjectionError) -> Self {
        Self::new(Exit::from(&error), error.to_string())
    }
}

/// Where the read model of a gateway is.
#[derive(clap::Args)]
pub(super) struct Place {
    /// The configuration of the gateway.
    #[arg(long)]
    config: PathBuf,
    /// Which tables, where both are configured; else those that are.
    #[arg(long, value_enum)]
    database: Option<Which>,
}

/// A database of the configuration.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Which {
    /// That of `projection.sqlite`, or `read-model.sqlite` in `data_dir`.
    Sqlite,
    /// That of `[projection.postgres]`.
    Postgres,
}

impl Place {
    pub(super) fn config(&self) -> Result<Config, Failure> {
        super::config::load(&self.config)
    }

    pub(super) fn source(&self, config: &Config) -> Result<Source, Failure> {
        let is_postgres = self.database.map_or_else(
            || config.projection.postgres.is_some() && config.projection.sqlite.is_none(),
            |which| which == Which::Postgres,
        );
        if !is_postgres {
            return Ok(source_of(config));
        }
        // The rest of the configuration was read before.
        let refused = |error: ConfigError| Failure::new(Exit::Credential, error.to_string());
        server_source_of(config).map_err(refused)?.ok_or_else(|| {
            Failure::new(
                Exit::Config,
                "the configuration has no section [projection.postgres]; docs/postgres.md has one",
            )
        })
    }
}

/// Opens the tables as they are now, when they are those of this core.
pub(super) fn open(source: &Source) -> Result<(Store, PositionOfProjectionRow), ProjectionError> {
    let mut store = Store::open_to_read(source)?;
    let position = store.position_of(source)?;
    Ok((store, position))
}

/// Between two looks at tables that do not know enough yet; one at a server is a connection.
const LOOK: Duration = Duration::from_millis(5);
const LOOK_AT_SERVER: Duration = Duration::from_millis(50);

/// Who asks.
#[derive(clap::Args)]
pub(super) struct Viewer {
    /// Only what this session of the configuration may see, by its role and accounts: its number, or its `key_id`. Without
    /// it everything, as the files themselves show it.
    #[arg(long = "as", value_name = "SESSION")]
    viewer: Option<String>,
}

impl Viewer {
    pub(super) fn rights(&self, config: &Config) -> Result<Rights, Failure> {
        let Some(wanted) = &self.viewer else { return Ok(Rights::all()) };
        let is_it = |entry: &&SessionEntry| entry.id.to_string() == *wanted || entry.key_id == *wanted;
        let found: Vec<&SessionEntry> = config.sessions.iter().filter(is_it).collect();
        match found[..] {
            [entry] => Ok(Rights::of(entry)),
            [] => {
                let known: Vec<String> =
                    config.sessions.iter().map(|entry| format!("{} ({})", entry.id, entry.key_id)).collect();
                let text = format!("--as {wanted}: no such session; allowed: {}", known.join(", "));
                Err(Failure::new(Exit::Usage, text))
            }
            [..] => {
                let known: Vec<String> = found.iter().map(|entry| entry.id.to_string()).collect();
                let text = format!("--as {wanted}: several sessions have this key_id; name one: {}", known.join(", "));
                Err(Failure::new(Exit::Usage, text))
            }
        }
    }
}

/// How fresh an answer must be.
#[derive(clap::Args)]
pub(super) struct Fresh {
    /// Waits until the tables know this event: the `journal_seq` of a report or of an answer; 0 for no wait. Without it,
    /// connections, sessions, the core and kill switches wait for all that is durable now, and all else for nothing.
    #[arg(long, value_name = "N", value_parser = whole::<u64>)]
    at_least_seq: Option<u64>,
    /// Longest wait for it, ms; then exit code 97, and the event that the tables know.
    #[arg(long, value_name = "M", default_value = "1000", value_parser = whole::<u32>)]
    wait_ms: u32,
}

impl Fresh {
    /// Opens the tables, once they know what is asked for.
    pub(super) fn open(&self, source: &Source, freshness: Freshness) -> Result<Store, Failure> {
        let deadline = Instant::now().checked_add(Duration::from_millis(self.wait_ms.into()));
        let wanted = match (self.at_least_seq, freshness) {
            (Some(seq), _) => seq,
            (None, Freshness::Eventual) => 0,
            (None, Freshness::Synchronous) => {
                let dir = &source.journal_dir;
                if source.server.is_some() && !tradecore_journal::has_journal(dir).map_err(unreadable)? {
                    let text = format!(
                        "no journal in {}: what is durable is not known on this host; with --at-least-seq 0 the tables \
                         answer as they are",
                        dir.display()
                    );
                    return Err(Failure::new(Exit::Unavailable, text));
                }
                tradecore_journal::synced_seq(dir).map_err(unreadable)?
            }
        };
        loop {
            // Opened again each time: a rebuild puts another file in its place.
            let seq = match open(source) {
                Ok((store, position)) if position.seq >= wanted => return Ok(store),
                Ok((_, position)) => position.seq,
                Err(ProjectionError::Missing { .. }) if self.at_least_seq.is_some_and(|seq| seq > 0) => 0,
                Err(error) => return Err(error.into()),
            };
            if deadline.is_none_or(|deadline| Instant::now() >= deadline) {
                let (what, else_) = match self.at_least_seq {
                    Some(_) => ("was asked for", ""),
                    None => ("is durable", "; with --at-least-seq 0 they answer as they are"),
                };
                // Of a journal on this host, one knows whether anybody goes on with it.
                let dir = &source.journal_dir;
                let is_alone = matches!(tradecore_journal::has_journal(dir), Ok(true))
                    && matches!(tradecore_journal::writer_pid(dir), Ok(None));
                let next = if is_alone {
                    "; no gateway runs on this journal: `tradecore projection catch-up` takes in what there is"
                } else {
                    ""
                };
                let text = format!(
                    "the tables know events up to {seq}, and {wanted} {what}; waited {} ms{next}{else_}",
                    self.wait_ms
                );
                return Err(Failure::new(Exit::ProjectionBehind, text));
            }
            std::thread::park_timeout(if source.server.is_some() { LOOK_AT_SERVER } else { LOOK });
        }
    }
}

/// As of when an answer is.
pub(super) fn as_of(position: &PositionOfProjectionRow) -> String {
    match position.seq {
        0 => "as of no event".to_owned(),
        seq => format!("as of event {seq}, {}", utc(position.ts_ns)),
    }
}

/// What its rows lack.
pub(super) fn unread_words(answer: &Answer) -> String {
    answer.unread.iter().map(|unread| format!("; {unread}")).collect()
}

/// The columns of a row and what each says: integers of 64 bits and decimals as text, since JSON numbers are floats to
/// many readers.
pub(super) fn values(table: &Table, cells: &[Cell]) -> Vec<(&'static ColumnInfo, Value)> {
    let mut cells = cells.iter();
    let mut next = || cells.next().unwrap_or(&Cell::Null);
    let mut values = Vec::with_capacity(table.columns.len());
    for column in table.columns {
        let first = next();
        let second = if column.kind.width() == 2 { Some(next()) } else { None };
        values.push((column, value(column.kind, first, second)));
    }
    values
}

fn value(kind: Kind, first: &Cell, second: Option<&Cell>) -> Value {
    match (kind, first) {
        (_, Cell::Null) => Value::Null,
        (Kind::Count, Cell::Int(number)) => (*number).into(),
        (Kind::Flag, Cell::Int(number)) => (*number != 0).into(),
        (Kind::Id | Kind::Time, Cell::Int(number)) => (*number as u64).to_string().into(),
        (Kind::Units | Kind::Price, Cell::Int(number)) => decimal((*number).into(), 9),
        (Kind::Code("exec_flags"), Cell::Int(raw)) => bits(EXEC_FLAGS, *raw as u16),
        (Kind::Code("order_flags"), Cell::Int(raw)) => bits(ORDER_FLAGS, *raw as u16),
        (Kind::Code(_), Cell::Int(0)) => Value::Null,
        (Kind::Code(unit), Cell::Int(raw)) => {
            codes::name_of(unit, *raw as u16).map_or_else(|| (*raw).into(), Value::from)
        }
        (Kind::Amount | Kind::Money, Cell::Int(units)) => {
            let places = kind.fraction_places().unwrap_or(0);
            let fraction = if let Some(Cell::Int(fraction)) = second { *fraction } else { 0 };
            decimal(join(*units, fraction, places), places)
        }
        (_, Cell::Text(text)) => text.clone().into(),
        (_, Cell::Bytes(bytes)) => bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>().into(),
        // What stands there is not of its kind: it is shown as it is.
        (_, Cell::Int(number)) => json!(number),
    }
}

/// A value for people.
pub(super) fn words(column: &ColumnInfo, value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) if column.kind == Kind::Time && text == "0" => "-".to_owned(),
        Value::String(text) if column.kind == Kind::Time && column.name != "quote_age_max_ns" => {
            text.parse().map_or_else(|_| text.clone(), utc)
        }
        Value::String(text) => text.clone(),
        Value::Bool(true) => "yes".to_owned(),
        Value::Bool(false) => "no".to_owned(),
        Value::Array(names) => names.iter().filter_map(Value::as_str).collect::<Vec<_>>().join("|"),
        other => other.to_string(),
    }
}

/// A line of CSV as RFC 4180 has it.
pub(super) fn csv_line(cells: impl Iterator<Item = String>) -> String {
    let quoted = |cell: String| {
        if cell.contains([',', '"', '\n', '\r']) { format!("\"{}\"", cell.replace('"', "\"\"")) } else { cell }
    };
    cells.map(quoted).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_of_csv_is_quoted_where_it_would_be_several() {
        let cells = ["a", "b,c", "say \"no\"", ""].map(str::to_owned);
        assert_eq!(csv_line(cells.into_iter()), "a,\"b,c\",\"say \"\"no\"\"\",");
    }

    #[test]
    fn values_are_exact_text_and_codes_are_names() {
        let say =
            |kind, first: i64, second: Option<i64>| value(kind, &Cell::Int(first), second.map(Cell::Int).as_ref());
        assert_eq!(say(Kind::Id, -1, None), json!("18446744073709551615"));
        assert_eq!(say(Kind::Money, -1, Some(500_000_000_000_000_000)), json!("-0.5"));
        assert_eq!(say(Kind::Price, 101_250_000_000, None), json!("101.25"));
        assert_eq!(say(Kind::Code("Side"), 1, None), json!("Buy"));
        assert_eq!(say(Kind::Code("Side"), 0, None), Value::Null);
        assert_eq!(say(Kind::Code("Side"), 77, None), json!(77));
        assert_eq!(say(Kind::Code("order_flags"), 9, None), json!(["ACKED", "DOUBT"]));
    }
}
