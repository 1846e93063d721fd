//! `tradecore query`: rows of the read model, without the gateway.

mod answer;
mod filters;
mod watch;

use std::time::Duration;

use tradecore::exit::Exit;
use tradecore::projections::Source;
use tradecore::projections::ask::{Comparison, Question, symbols};
use tradecore::projections::queries;
use tradecore::projections::store::Store;

use super::failure::Failure;
use super::print;
use super::read_model::{Fresh, Place, Viewer};
use super::values::whole;

pub(super) use answer::event_in;

use filters::{OfAccount, OfEvents, OfInstrument, OfOrder, OfSession};

/// How every question is asked and answered.
#[derive(clap::Args)]
pub(super) struct Options {
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    fresh: Fresh,
    #[command(flatten)]
    viewer: Viewer,
    /// Rows at most, the newest; that there are more is said.
    #[arg(long, default_value = "1000", value_parser = whole::<u32>)]
    limit: u32,
    /// Prints JSON objects, one a line, with every column; the last says as of which event.
    #[arg(long)]
    json: bool,
    /// Prints CSV with every column; as of which event is said on stderr.
    #[arg(long, conflicts_with = "json")]
    csv: bool,
    /// Asks again every so many seconds (1 without a number), and prints whenever the answer has changed, until Ctrl-C; with
    /// `--json` an answer a line.
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "1", conflicts_with = "csv",
        value_parser = clap::value_parser!(u32).range(1..))]
    watch: Option<u32>,
}

/// Asks the read model: rows as of an event, without the gateway.
///
/// The tables follow the journal; `docs/queries.md` lists their columns. With `--json` and `--csv` every column is told,
/// decimals and integers of 64 bits as text, codes by the names of protocol/PROTOCOL.md.
#[derive(clap::Subcommand)]
#[command(after_help = "Example: tradecore query orders --config gateway.toml --open --account 1")]
pub(super) enum Query {
    /// Orders that were accepted, as they stand.
    #[command(after_help = "Example: tradecore query orders --config gateway.toml --open --instrument BTCUSDT --json")]
    Orders {
        /// Only those that may trade.
        #[arg(long)]
        open: bool,
        #[command(flatten)]
        account: OfAccount,
        #[command(flatten)]
        session: OfSession,
        #[command(flatten)]
        instrument: OfInstrument,
        #[command(flatten)]
        order: OfOrder,
        #[command(flatten)]
        options: Options,
    },
    /// What has happened to orders, event by event.
    #[command(after_help = "Example: tradecore query order-history --config gateway.toml --order 17592186044417")]
    OrderHistory {
        #[command(flatten)]
        order: OfOrder,
        #[command(flatten)]
        events: OfEvents,
        #[command(flatten)]
        options: Options,
    },
    /// Positions: quantity, cost, profit, fees, what open orders may add.
    #[command(after_help = "Example: tradecore query positions --config gateway.toml --account 1")]
    Positions {
        #[command(flatten)]
        account: OfAccount,
        #[command(flatten)]
        instrument: OfInstrument,
        #[command(flatten)]
        options: Options,
    },
    /// Positions after each fill.
    #[command(after_help = "Example: tradecore query positions-history --config gateway.toml --account 1 --csv")]
    PositionsHistory {
        #[command(flatten)]
        account: OfAccount,
        #[command(flatten)]
        instrument: OfInstrument,
        #[command(flatten)]
        events: OfEvents,
        #[command(flatten)]
        options: Options,
    },
    /// Profit, fees and quantities of each day of UTC, by account and instrument.
    #[command(after_help = "Example: tradecore query daily-pnl --config gateway.toml --account 1")]
    DailyPnl {
        #[command(flatten)]
        account: OfAccount,
        #[command(flatten)]
        instrument: OfInstrument,
        #[command(flatten)]
        options: Options,
    },
    /// Fills.
    #[command(after_help = "Example: tradecore query fills --config gateway.toml --account 1 --csv")]
    Fills {
        #[command(flatten)]
        account: OfAccount,
        #[command(flatten)]
        session: OfSession,
        #[command(flatten)]
        instrument: OfInstrument,
        #[command(flatten)]
        order: OfOrder,
        #[command(flatten)]
        events: OfEvents,
        #[command(flatten)]
        options: Options,
    },
    /// Accounts: limits and states.
    #[command(after_help = "Example: tradecore query accounts --config gateway.toml --json")]
    Accounts {
        #[command(flatten)]
        account: OfAccount,
        #[command(flatten)]
        options: Options,
    },
    /// Cash, and what open orders may take of it.
    #[command(after_help = "Example: tradecore query balances --config gateway.toml --account 1")]
    Balances {
        #[command(flatten)]
        account: OfAccount,
        #[command(flatten)]
        options: Options,
    },
    /// Instruments.
    #[command(after_help = "Example: tradecore query instruments --config gateway.toml")]
    Instruments {
        #[command(flatten)]
        instrument: OfInstrument,
        #[command(flatten)]
        options: Options,
    },
    /// Sessions: who may log on, and how far each has come.
    #[command(after_help = "Example: tradecore query sessions --config gateway.toml --session 1")]
    Sessions {
        #[command(flatten)]
        session: OfSession,
        #[command(flatten)]
        options: Options,
    },
    /// Connections to the broker, each with its last state.
    #[command(after_help = "Example: tradecore query connections --config gateway.toml")]
    Connections {
        #[command(flatten)]
        options: Options,
    },
    /// The core: its state, that of its broker, its kill epoch.
    #[command(after_help = "Example: tradecore query core --config gateway.toml --json")]
    Core {
        #[command(flatten)]
        options: Options,
    },
    /// Refusals, contradictions, doubts, and changes of what passes.
    #[command(after_help = "Example: tradecore query risk-events --config gateway.toml --account 1")]
    RiskEvents {
        #[command(flatten)]
        account: OfAccount,
        #[command(flatten)]
        session: OfSession,
        #[command(flatten)]
        events: OfEvents,
        #[command(flatten)]
        options: Options,
    },
    /// Limits of risk that hold, of accounts and instruments; with `--history` also those that held, and when.
    #[command(after_help = "Example: tradecore query risk-limits --config gateway.toml --account 1 --history")]
    RiskLimits {
        /// Also those that hold no more.
        #[arg(long)]
        history: bool,
        #[command(flatten)]
        account: OfAccount,
        #[command(flatten)]
        instrument: OfInstrument,
        #[command(flatten)]
        options: Options,
    },
    /// Kill switches, as they stand; account 0 is the whole core.
    #[command(after_help = "Example: tradecore query kill-switches --config gateway.toml")]
    KillSwitches {
        #[command(flatten)]
        account: OfAccount,
        #[command(flatten)]
        options: Options,
    },
    /// Mass cancels.
    #[command(after_help = "Example: tradecore query mass-cancels --config gateway.toml")]
    MassCancels {
        #[command(flatten)]
        options: Options,
    },
    /// Sagas that are under way: mass cancels, searches for doubts; with `--history` also those that have ended.
    #[command(after_help = "Example: tradecore query sagas --config gateway.toml --history")]
    Sagas {
        /// Also those that have ended.
        #[arg(long)]
        history: bool,
        #[command(flatten)]
        account: OfAccount,
        #[command(flatten)]
        session: OfSession,
        #[command(flatten)]
        options: Options,
    },
    /// What has moved each saga: what began it, its steps, its end.
    #[command(after_help = "Example: tradecore query saga-steps --config gateway.toml --saga 4711")]
    SagaSteps {
        /// Only those of this one: its `saga_id`.
        #[arg(long, value_name = "ID", value_parser = whole::<u64>)]
        saga: Option<u64>,
        #[command(flatten)]
        events: OfEvents,
        #[command(flatten)]
        options: Options,
    },
    /// The log itself.
    #[command(after_help = "Example: tradecore query events --config gateway.toml --from 100 --to 200 --json")]
    Events {
        #[command(flatten)]
        account: OfAccount,
        #[command(flatten)]
        session: OfSession,
        #[command(flatten)]
        order: OfOrder,
        #[command(flatten)]
        events: OfEvents,
        #[command(flatten)]
        options: Options,
    },
}

/// Numbers of instruments, and what they are called.
type Symbols = Vec<(u32, String)>;

/// A question as it was put, before the tables are open.
struct Put {
    options: Options,
    query: queries::Query,
    conditions: Vec<(&'static str, Comparison, u64)>,
    instrument: Option<String>,
}

impl Put {
    fn new(options: Options, query: queries::Query) -> Self {
        Self { options, query, conditions: Vec::new(), instrument: None }
    }

    fn of(mut self, column: &'static str, comparison: Comparison, value: Option<u64>) -> Self {
        self.conditions.extend(value.map(|value| (column, comparison, value)));
        self
    }

    fn account(self, of: &OfAccount) -> Self {
        self.of("account_id", Comparison::Is, of.account.map(u64::from))
    }

    fn session(self, of: &OfSession) -> Self {
        self.of("session_id", Comparison::Is, of.session.map(u64::from))
    }

    fn order(self, of: &OfOrder) -> Self {
        self.of("order_id", Comparison::Is, of.order)
    }

    fn events(self, of: &OfEvents) -> Self {
        self.of("seq", Comparison::AtLeast, of.from).of("seq", Comparison::AtMost, of.to)
    }

    fn instrument(mut self, of: OfInstrument) -> Self {
        self.instrument = of.instrument;
        self
    }
}

impl Put {
    /// Opens the tables, as fresh as the answer must be, with what instruments are called in them.
    fn open(&self, source: &Source) -> Result<(Store, Symbols), Failure> {
        let mut store = self.options.fresh.open(source, self.query.freshness)?;
        let symbols = symbols(&mut store)?;
        Ok((store, symbols))
    }

    fn question(&self, symbols: &Symbols) -> Result<Question, Failure> {
        let mut conditions = self.conditions.clone();
        if let Some(wanted) = &self.instrument {
            let Some((id, _)) = symbols.iter().find(|(_, symbol)| symbol == wanted) else {
                let known: Vec<&str> = symbols.iter().map(|(_, symbol)| symbol.as_str()).collect();
                let text = format!("there is no instrument {wanted:?}; allowed: {}", known.join(", "));
                return Err(Failure::new(Exit::Usage, text));
            };
            conditions.push(("instrument_id", Comparison::Is, u64::from(*id)));
        }
        Ok(Question { table: self.query.table, conditions, limit: self.options.limit })
    }
}

impl Query {
    pub(super) fn run(self) -> Result<(), Failure> {
        let put = self.put();
        let config = put.options.place.config()?;
        let rights = put.options.viewer.rights(&config)?;
        let source = put.options.place.source(&config)?;
        if let Some(seconds) = put.options.watch {
            return watch::watch(&put, Duration::from_secs(seconds.into()), &rights, &source);
        }
        let (mut store, symbols) = put.open(&source)?;
        let rows = put.question(&symbols)?.ask(&rights, &mut store)?;
        if put.options.json {
            answer::json(&put.query.table, &rows)
        } else if put.options.csv {
            answer::csv(&put.query.table, &rows)
        } else {
            print(&answer::table(&put.query, &rows, &symbols)).map(drop)
        }
    }

    fn put(self) -> Put {
        match self {
            Self::Orders { open, account, session, instrument, order, options } => {
                let put = Put::new(options, queries::ORDERS).account(&account).session(&session);
                put.order(&order).instrument(instrument).of("is_open", Comparison::Is, open.then_some(1))
            }
            Self::OrderHistory { order, events, options } => {
                Put::new(options, queries::ORDER_HISTORY).order(&order).events(&events)
            }
            Self::Positions { account, instrument, options } => {
                Put::new(options, queries::POSITIONS).account(&account).instrument(instrument)
            }
            Self::PositionsHistory { account, instrument, events, options } => {
                let put = Put::new(options, queries::POSITIONS_HISTORY);
                put.account(&account).instrument(instrument).events(&events)
            }
            Self::DailyPnl { account, instrument, options } => {
                Put::new(options, queries::DAILY_PNL).account(&account).instrument(instrument)
            }
            Self::Fills { account, session, instrument, order, events, options } => {
                let put = Put::new(options, queries::FILLS).account(&account).session(&session);
                put.instrument(instrument).order(&order).events(&events)
            }
            Self::Accounts { account, options } => Put::new(options, queries::ACCOUNTS).account(&account),
            Self::Balances { account, options } => Put::new(options, queries::BALANCES).account(&account),
            Self::Instruments { instrument, options } => Put::new(options, queries::INSTRUMENTS).instrument(instrument),
            Self::Sessions { session, options } => Put::new(options, queries::SESSIONS).session(&session),
            Self::Connections { options } => Put::new(options, queries::CONNECTIONS),
            Self::Core { options } => Put::new(options, queries::CORE),
            Self::RiskEvents { account, session, events, options } => {
                let put = Put::new(options, queries::RISK_EVENTS);
                put.account(&account).session(&session).events(&events)
            }
            Self::RiskLimits { history, account, instrument, options } => {
                let put = Put::new(options, queries::RISK_LIMITS).account(&account).instrument(instrument);
                put.of("until_seq", Comparison::Is, (!history).then_some(0))
            }
            Self::KillSwitches { account, options } => Put::new(options, queries::KILL_SWITCHES).account(&account),
            Self::MassCancels { options } => Put::new(options, queries::MASS_CANCELS),
            Self::Sagas { history, account, session, options } => {
                let put = Put::new(options, queries::SAGAS).account(&account).session(&session);
                put.of("ended_seq", Comparison::Is, (!history).then_some(0))
            }
            Self::SagaSteps { saga, events, options } => {
                Put::new(options, queries::SAGA_STEPS).of("saga_id", Comparison::Is, saga).events(&events)
            }
            Self::Events { account, session, order, events, options } => {
                let put = Put::new(options, queries::EVENTS).account(&account).session(&session);
                put.order(&order).events(&events)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_declared_question_has_a_command_and_every_command_is_declared() {
        let command = <Query as clap::Subcommand>::augment_subcommands(clap::Command::new("query"));
        let commands: Vec<&str> = command.get_subcommands().map(clap::Command::get_name).collect();
        let declared: Vec<&str> = queries::ALL.iter().map(|query| query.name).collect();
        assert_eq!(commands, declared);
        for query in queries::ALL {
            let unknown = query.columns.iter().find(|name| query.table.column(name).is_none());
            assert_eq!(unknown, None, "{}", query.name);
        }
    }
}
