//! `tradecore trace`: every hop of one order.

use std::path::PathBuf;

use serde_json::{Value, json};
use tradecore::exit::Exit;
use tradecore::projections::ask::{Comparison, Question};
use tradecore::projections::cell::Cell;
use tradecore::projections::declare::Row as _;
use tradecore::projections::tables::{EventRow, FillRow, OrderHistoryRow, OrderRow};
use tradecore_client::protocol::fields::{Environment, OrderId};
use tradecore_domain::broker_id::text_of;
use tradecore_domain::event::{BrokerRef, Event};
use tradecore_journal::{Reader, Until};

use super::ask::event_in;
use super::failure::Failure;
use super::journal::{event_text, unreadable};
use super::print;
use super::read_model::{Viewer, as_of, values, words};
use super::report::utc;
use super::values::whole;

/// Prints every hop of one order: the request, each decision and where it stands in the journal, reports, what the
/// broker said, rows; each with its time.
#[derive(clap::Args)]
#[command(after_help = "Example: tradecore trace 17592186044417 --config gateway.toml")]
pub(super) struct Trace {
    /// Its OrderID.
    #[arg(value_parser = order_id)]
    order: u64,
    /// The configuration of the gateway.
    #[arg(long)]
    config: PathBuf,
    #[command(flatten)]
    viewer: Viewer,
    /// Prints JSON objects, one a hop.
    #[arg(long)]
    json: bool,
}

/// 0 stands for none, in every event that is of no order.
fn order_id(text: &str) -> Result<u64, String> {
    match whole(text)? {
        0 => Err("0 is no order; `tradecore query orders` lists those there are".to_owned()),
        order => Ok(order),
    }
}

/// Events of one order that are traced, at most.
const EVENTS_MAX: u32 = 10_000;

struct Hop {
    ts_ns: u64,
    kind: &'static str,
    text: String,
    more: Value,
}

impl Trace {
    pub(super) fn run(self) -> Result<(), Failure> {
        let config = super::config::load(&self.config)?;
        let rights = self.viewer.rights(&config)?;
        let source = tradecore::projections::source_of(&config);
        let connection = tradecore::projections::store::open_for_questions(&source.path)?;
        let ask = |table, limit| {
            Question { table, conditions: vec![("order_id", Comparison::Is, self.order)], limit }.ask(
                &rights,
                &connection,
                &source.path,
            )
        };
        let events = ask(EventRow::TABLE, EVENTS_MAX)?;
        if events.rows.is_empty() {
            let text = format!("no event of order {}, {}", self.order, as_of(&events.position));
            return Err(Failure::new(Exit::Unavailable, text));
        }
        let mut hops = Vec::new();
        for cells in &events.rows {
            let (Some(Cell::Int(seq)), Some(event)) = (cells.first(), event_in(cells)) else { continue };
            hops_of(&source.journal_dir, *seq as u64, &event, &mut hops)?;
        }
        let environment = Environment::from(config.core.environment);
        let broker_id = text_of(environment, config.core.id, OrderId(self.order));
        let broker_id = String::from_utf8_lossy(&broker_id).into_owned();
        let order = ask(OrderRow::TABLE, 1)?;
        let history = ask(OrderHistoryRow::TABLE, EVENTS_MAX)?.rows.len();
        let fills = ask(FillRow::TABLE, EVENTS_MAX)?.rows.len();
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
                    "orders: {}; order_history: {} rows; fills: {} rows; {}",
                    said.join(" "), history, fills, as_of(&order.position)
                ),
                more: json!({"orders": row.into_iter().map(|(column, value)| (column.name.to_owned(), value)).collect::<serde_json::Map<_, _>>()}),
            });
        }
        if !self.json {
            print(&format!("order {}, at the broker {broker_id}", self.order))?;
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

/// The hops of one event: what caused it, where it is, who was told.
fn hops_of(journal_dir: &std::path::Path, seq: u64, event: &Event, hops: &mut Vec<Hop>) -> Result<(), Failure> {
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
    let mut reader = Reader::open(journal_dir, seq, Until::Journaled).map_err(unreadable)?;
    let group = reader.next_group().map_err(unreadable)?;
    let record = group.and_then(|group| group.records().find(|record| record.seq == seq));
    let (place, more, ts_ns) = match record {
        Some(record) => (
            format!("segment {}, byte {}", record.segment, record.offset),
            json!({"seq": seq.to_string(), "event": event.name(), "segment": record.segment, "offset": record.offset}),
            record.ts_ns,
        ),
        None => ("no longer in the journal".to_owned(), json!({"seq": seq.to_string(), "event": event.name()}), 0),
    };
    hops.push(Hop { ts_ns, kind: "decision", text: format!("event {seq}, {place}: {}", event_text(event)), more });
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
