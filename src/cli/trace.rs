//! `tradecore trace`: every hop of one order.

mod topics;

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::{Value, json};
use tradecore::config::Config;
use tradecore::exit::Exit;
use tradecore::projections::ProjectionError;
use tradecore::projections::ask::{Answer, Comparison, Question};
use tradecore::projections::cell::Cell;
use tradecore::projections::declare::{Row as _, Table};
use tradecore::projections::rights::Rights;
use tradecore::projections::store::Store;
use tradecore::projections::tables::{EventRow, FillRow, OrderHistoryRow, OrderRow};
use tradecore::shipping::domains::Saga;
use tradecore_client::protocol::fields::{Environment, OrderId};
use tradecore_domain::broker_id::{order_id_of, text_of};
use tradecore_domain::event::{BrokerRef, Event};
use tradecore_journal::{ReadError, Reader, Until};

use super::ask::event_in;
use super::failure::Failure;
use super::journal::{event_text, unreadable};
use super::print;
use super::read_model::{Place, Viewer, as_of, open, unread_words, values, words};
use super::report::utc;
use super::values::{above_zero, whole};
use topics::Topics;

/// Prints every hop of one order: the request, each decision and where it stands in journal and topics, reports, what the
/// broker said, rows; each with its time.
///
/// The cluster is asked for offsets, where one is configured and this build speaks to Kafka, for five seconds at most; what
/// is not known then is told as not looked up.
#[derive(clap::Args)]
#[command(after_help = "Example: tradecore trace 17592186044417 --config gateway.toml\n\
                        Example: tradecore trace V0001-0000100000000001 --config gateway.toml\n\
                        Example: tradecore trace --cl-ord-id 7 --session 1 --config gateway.toml")]
pub(super) struct Trace {
    /// Its OrderID, or what the broker was given as its client order id.
    #[arg(required_unless_present_any = ["cl_ord_id", "broker_order_id"])]
    order: Option<String>,
    /// By its ClOrdID, or that of a cancel or replace of it.
    #[arg(long, value_name = "ID", value_parser = above_zero, conflicts_with_all = ["order", "broker_order_id"])]
    cl_ord_id: Option<u64>,
    /// The session of that ClOrdID, where several have used it.
    #[arg(long, value_name = "N", value_parser = whole::<u32>, requires = "cl_ord_id")]
    session: Option<u32>,
    /// By the broker's own number of it.
    #[arg(long, value_name = "ID", value_parser = above_zero, conflicts_with = "order")]
    broker_order_id: Option<u64>,
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    viewer: Viewer,
    /// Prints JSON objects, one a hop.
    #[arg(long)]
    json: bool,
}

/// Rows that are looked at for the order that was asked for, and orders that are named where there are several; at most.
const FOUND_MAX: u32 = 1_000;
const NAMED_MAX: usize = 20;

/// Events of one order that are traced, at most.
const EVENTS_MAX: u32 = 10_000;

/// Events of one decision, at most.
const DECISION_MAX: u64 = 1_024;

/// A hop: when, what, in words and for programs.
struct Hop {
    ts_ns: u64,
    kind: &'static str,
    text: String,
    more: Value,
}

/// Rows that somebody may see.
struct Asking<'a> {
    rights: &'a Rights,
    store: Store,
}

impl Asking<'_> {
    fn ask(&mut self, table: Table, column: &'static str, value: u64, limit: u32) -> Result<Answer, ProjectionError> {
        Question { table, conditions: vec![(column, Comparison::Is, value)], limit }.ask(self.rights, &mut self.store)
    }

    /// The event of the saga whose step has decided on an event: a step makes events of one type, and its own behind them.
    fn saga(&mut self, seq: u64, ts_ns: u64, event: &Event) -> Result<Option<(u64, Event)>, ProjectionError> {
        let wanted = match event {
            Event::CancelRequested(_) => Saga::MassCancel,
            Event::OrderInDoubt(_) => Saga::DoubtSearch,
            _ => return Ok(None),
        };
        let conditions = vec![
            ("seq", Comparison::AtLeast, seq.saturating_add(1)),
            ("seq", Comparison::AtMost, seq.saturating_add(DECISION_MAX)),
            ("ts_ns", Comparison::Is, ts_ns),
        ];
        let rows =
            Question { table: EventRow::TABLE, conditions, limit: EVENTS_MAX }.ask(self.rights, &mut self.store)?;
        // One that may not be seen by who asks is as the end.
        for (next_seq, cells) in (seq.saturating_add(1)..).zip(&rows.rows) {
            let Some(next) = event_in(cells) else { break };
            if cells.first().and_then(as_int) != Some(next_seq as i64) {
                break;
            }
            if Saga::of(&next) == Some(wanted) {
                return Ok(Some((next_seq, next)));
            }
            if next.kind() != event.kind() {
                break;
            }
        }
        Ok(None)
    }

    /// The orders that have such a value in a table.
    fn orders(&mut self, table: Table, column: &'static str, value: u64) -> Result<Vec<Vec<Cell>>, ProjectionError> {
        let at = table.cell_names().iter().position(|name| name == "order_id");
        let found = self.ask(table, column, value, FOUND_MAX)?.rows;
        let ids: BTreeSet<i64> = found.iter().filter_map(|row| as_int(row.get(at?)?)).collect();
        let mut orders = Vec::new();
        for id in ids {
            orders.extend(self.ask(OrderRow::TABLE, "order_id", id as u64, 1)?.rows);
        }
        Ok(orders)
    }
}

const fn as_int(cell: &Cell) -> Option<i64> {
    if let Cell::Int(value) = cell { Some(*value) } else { None }
}

impl Trace {
    /// The OrderID of what was asked for.
    fn order_id(&self, config: &Config, asking: &mut Asking<'_>) -> Result<u64, Failure> {
        let usage = |text: String| Failure::new(Exit::Usage, text);
        if let Some(text) = &self.order {
            let environment = Environment::from(config.core.environment);
            return match (whole(text), order_id_of(environment, config.core.id, text)) {
                (Ok(0), _) => Err(usage("0 is no order; `tradecore query orders` lists those there are".to_owned())),
                (Ok(order_id), _) | (_, Some(OrderId(order_id))) => Ok(order_id),
                (Err(error), None) => {
                    Err(usage(format!("{text:?} is neither an OrderID nor one of this core at the broker: {error}")))
                }
            };
        }
        let (what, mut orders) = match (self.cl_ord_id, self.broker_order_id) {
            (Some(id), _) => {
                let mut orders = asking.orders(OrderRow::TABLE, "cl_ord_id", id)?;
                orders.extend(asking.orders(OrderHistoryRow::TABLE, "req_cl_ord_id", id)?);
                (format!("ClOrdID {id}"), orders)
            }
            (None, id) => {
                let id = id.unwrap_or(0);
                (format!("number {id} of the broker"), asking.orders(OrderRow::TABLE, "broker_order_id", id)?)
            }
        };
        let of = |row: &[Cell], name: &str| {
            let at = OrderRow::TABLE.cell_names().iter().position(|column| column == name);
            at.and_then(|at| as_int(row.get(at)?)).unwrap_or(0) as u64
        };
        orders.retain(|row| self.session.is_none_or(|session| of(row, "session_id") == u64::from(session)));
        orders.sort_by_key(|row| of(row, "order_id"));
        orders.dedup_by_key(|row| of(row, "order_id"));
        match orders.as_slice() {
            [one] => Ok(of(one, "order_id")),
            [] => {
                let text = format!("no order with {what}, {}", as_of(&asking.store.position()?));
                Err(Failure::new(Exit::Unavailable, text))
            }
            several => {
                let named = several.iter().map(|row| {
                    format!(
                        "{} (session {}, account {})",
                        of(row, "order_id"),
                        of(row, "session_id"),
                        of(row, "account_id")
                    )
                });
                let named: Vec<String> = named.take(NAMED_MAX).collect();
                let count = several.len();
                Err(usage(format!("{count} orders have {what}; trace one by its OrderID: {}", named.join(", "))))
            }
        }
    }

    pub(super) fn run(self) -> Result<(), Failure> {
        let config = self.place.config()?;
        let rights = self.viewer.rights(&config)?;
        let source = self.place.source(&config)?;
        let mut asking = Asking { rights: &rights, store: open(&source)?.0 };
        let order_id = self.order_id(&config, &mut asking)?;
        let mut ask = |table, limit| asking.ask(table, "order_id", order_id, limit);
        let (events, order) = (ask(EventRow::TABLE, EVENTS_MAX)?, ask(OrderRow::TABLE, 1)?);
        if events.rows.is_empty() && order.rows.is_empty() {
            let text = format!("no event of order {order_id}, {}", as_of(&events.position));
            return Err(Failure::new(Exit::Unavailable, text));
        }
        let mut hops: Vec<Hop> = earlier(&events, &order, source.keep_days).into_iter().collect();
        let journal = tradecore_journal::has_journal(&source.journal_dir).map_err(unreadable)?;
        let journal = journal.then_some(source.journal_dir.as_path());
        // As the table has its columns: number, epoch, time.
        let of_row = |cells: &Vec<Cell>| match cells.as_slice() {
            [Cell::Int(seq), _, Cell::Int(ts_ns), ..] => Some((*seq as u64, *ts_ns as u64, event_in(cells)?)),
            _ => None,
        };
        let told: Vec<(u64, u64, Event)> = events.rows.iter().filter_map(of_row).collect();
        let topics = Topics::of(&config, &told);
        for (seq, ts_ns, event) in &told {
            hops_of(&topics, journal, (*seq, *ts_ns), event, &mut hops)?;
            // What no frame and no broker has caused, a step may have.
            if event.meta().client_seq == 0 && broker_of(event).is_none() {
                let step = asking.saga(*seq, *ts_ns, event)?;
                hops.extend(step.map(|(seq, event)| topics.saga(seq, *ts_ns, &event)));
            }
        }
        let mut ask = |table, limit| asking.ask(table, "order_id", order_id, limit);
        let environment = Environment::from(config.core.environment);
        let broker_id = text_of(environment, config.core.id, OrderId(order_id));
        let broker_id = String::from_utf8_lossy(&broker_id).into_owned();
        let history = count_of(&ask(OrderHistoryRow::TABLE, EVENTS_MAX)?);
        let fills = count_of(&ask(FillRow::TABLE, EVENTS_MAX)?);
        if let Some(cells) = order.rows.first() {
            let row = values(&OrderRow::TABLE, cells);
            let shown = ["ord_status", "cum_qty", "leaves_qty", "updated_seq", "is_stale"];
            let said = row.iter().filter(|(column, _)| shown.contains(&column.name));
            let said: Vec<String> =
                said.map(|(column, value)| format!("{}={}", column.name, words(column, value))).collect();
            hops.push(Hop {
                ts_ns: order.position.ts_ns,
                kind: "rows",
                text: format!(
                    "orders: {}; order_history: {} rows; fills: {} rows; {}{}",
                    said.join(" "), history, fills, as_of(&order.position), unread_words(&order)
                ),
                more: json!({"orders": row.into_iter().map(|(column, value)| (column.name.to_owned(), value)).collect::<serde_json::Map<_, _>>()}),
            });
        }
        if !self.json {
            print(&format!("order {order_id}, at the broker {broker_id}"))?;
        }
        for Hop { ts_ns, kind, text, more } in hops {
            let line = if self.json {
                json!({"type": kind, "ts_ns": ts_ns.to_string(), "broker_cl_ord_id": broker_id, "text": text, "more": more})
                    .to_string()
            } else {
                format!("{} {kind:<8} {text}", utc(ts_ns))
            };
            if !print(&line)? {
                return Ok(());
            }
        }
        Ok(())
    }
}

/// How many rows there are, as far as they were looked at.
fn count_of(answer: &Answer) -> String {
    format!("{}{}", if answer.is_cut { "more than " } else { "" }, answer.rows.len())
}

/// What stands before the first event that is shown, and is not; `None` when that is the first of the order.
fn earlier(events: &Answer, order: &Answer, keep_days: u32) -> Option<Hop> {
    let of = |table: &Table, row: Option<&Vec<Cell>>, name: &str| {
        let at = table.cell_names().iter().position(|column| column == name)?;
        row?.get(at).and_then(as_int).map(|value| value as u64)
    };
    let first_seq = of(&EventRow::TABLE, events.rows.first(), "seq");
    let [accepted_seq, accepted_ns] =
        ["accepted_seq", "accepted_ns"].map(|name| of(&OrderRow::TABLE, order.rows.first(), name).unwrap_or(0));
    let before =
        first_seq.map_or_else(|| "all events of it".to_owned(), |seq| format!("what stands before event {seq}"));
    let text = if events.is_cut {
        format!("{before} is not shown: of an order, the newest {EVENTS_MAX} are; `tradecore journal dump` has all")
    } else if accepted_seq > 0 && first_seq.is_none_or(|seq| seq > accepted_seq) {
        format!(
            "{before}, from event {accepted_seq} on, left these tables after {keep_days} days; the journal and the event \
             store have it for as long as they are kept"
        )
    } else {
        return None;
    };
    let more =
        json!({"first_shown_seq": first_seq.map(|seq| seq.to_string()), "accepted_seq": accepted_seq.to_string()});
    Some(Hop { ts_ns: accepted_ns, kind: "earlier", text, more })
}

/// What the broker said with an event; `None` when it did not come from there.
fn broker_of(event: &Event) -> Option<BrokerRef> {
    let broker = match event {
        Event::OrderAcknowledged(e) => e.broker,
        Event::OrderFilled(e) => e.broker,
        Event::OrderClosed(e) => e.broker,
        Event::OrderReplaced(e) => e.broker,
        Event::ChangeRejected(e) => e.broker,
        Event::OrderRestated(e) => e.broker,
        Event::BrokerContradicted(e) => e.broker,
        Event::BrokerFactIgnored(e) => e.broker,
        _ => return None,
    };
    (broker != BrokerRef::default()).then_some(broker)
}

/// Segment of an event in the journal, and its place there; `None` when it is there no more.
fn place_of(dir: &Path, seq: u64) -> Result<Option<(u64, usize)>, Failure> {
    let mut reader = match Reader::open(dir, seq, Until::Journaled) {
        Err(ReadError::Gone { .. }) => return Ok(None),
        opened => opened.map_err(unreadable)?,
    };
    let group = reader.next_group().map_err(unreadable)?;
    let record = group.and_then(|group| group.records().find(|record| record.seq == seq));
    Ok(record.map(|record| (record.segment, record.offset)))
}

/// The hops of one event: what caused it, where it is, who was told.
fn hops_of(
    topics: &Topics<'_>,
    journal: Option<&Path>,
    (seq, ts_ns): (u64, u64),
    event: &Event,
    hops: &mut Vec<Hop>,
) -> Result<(), Failure> {
    let meta = event.meta();
    if let Some(broker) = broker_of(event) {
        let BrokerRef { broker_seq, broker_order_id, broker_time_ns } = broker;
        hops.push(Hop {
            ts_ns: if broker_time_ns == 0 { meta.recv_time_ns } else { broker_time_ns },
            kind: "broker",
            text: format!("broker_seq={broker_seq} broker_order_id={broker_order_id}"),
            more: json!({"broker_seq": broker_seq.to_string(), "broker_order_id": broker_order_id.to_string()}),
        });
    } else if meta.client_seq != 0 {
        hops.push(Hop {
            ts_ns: meta.recv_time_ns,
            kind: "frame",
            text: format!("session={} client_seq={}", meta.session_id, meta.client_seq),
            more: json!({"session_id": meta.session_id, "client_seq": meta.client_seq.to_string()}),
        });
    }
    let place = match journal {
        Some(dir) => place_of(dir, seq)?,
        None => None,
    };
    let more = json!({
        "seq": seq.to_string(), "event": event.name(), "segment": place.map(|(segment, _)| segment.to_string()),
        "offset": place.map(|(_, offset)| offset.to_string()),
    });
    let place = match (journal, place) {
        (None, _) => "the journal is on another host".to_owned(),
        (Some(_), None) => "no longer in the journal".to_owned(),
        (Some(_), Some((segment, offset))) => format!("segment {segment}, byte {offset}"),
    };
    hops.push(Hop { ts_ns, kind: "decision", text: format!("event {seq}, {place}: {}", event_text(event)), more });
    hops.extend(topics.hop(seq, ts_ns, event));
    if meta.report_seq != 0 {
        hops.push(Hop {
            ts_ns,
            kind: "report",
            text: format!("session={} report_seq={} report_no={}", meta.session_id, meta.report_seq, meta.report_no),
            more: json!({"session_id": meta.session_id, "report_seq": meta.report_seq.to_string(), "report_no": meta.report_no.to_string()}),
        });
    }
    Ok(())
}
