//! The three-way proof: what each algo saw = what the journal holds = what the venue did.

use std::collections::BTreeMap;
use std::path::Path;

use tradecore_domain::State;
use tradecore_domain::event::Event;
use tradecore_protocol::fields::{Environment, OrdStatus};

use super::Failure;
use super::algo::Seen;
use crate::exit::Exit;

/// An order in the journal.
#[derive(Clone, Debug, Default)]
struct Journaled {
    session_id: u32,
    cl_ord_id: u64,
    cum_qty: i64,
    cum_cost: i128,
    status: u8,
    fills: BTreeMap<u64, (i64, i64)>,
    broker_execs: Vec<u64>,
}

/// What does not agree, for people; at most so many lines are shown.
const SHOWN_MAX: usize = 20;

/// Compares all three, prints the table, and fails when anything was lost, doubled or changed.
pub(super) fn prove(dir: &Path, seen: &[Seen], kills: u32, venue_kills: u32) -> Result<(), Failure> {
    let mut wrong: Vec<String> = Vec::new();
    let orders = journaled(&dir.join("data/journal"))?;
    compare_algos(seen, &orders, &mut wrong);
    let log = crate::venue::read_log(&crate::venue::log::log_path(&dir.join("venue")))
        .map_err(|error| (Exit::Io, error.to_string()))?;
    compare_venue(&log, &orders, &mut wrong);
    print_table(dir, seen, kills, venue_kills)?;
    let fills: usize = orders.values().map(|order| order.fills.len()).sum();
    say!();
    say!("three-way proof over {} orders and {fills} fills:", orders.len());
    say!("  what each algo saw = what the journal holds = what the venue did");
    if wrong.is_empty() {
        say!("  holds: nothing lost, nothing twice, no gateway order with two venue orders");
        return Ok(());
    }
    say!("  DOES NOT HOLD:");
    wrong.iter().take(SHOWN_MAX).for_each(|line| say!("    {line}"));
    Err((Exit::ProofFailed, format!("{} differences", wrong.len())))
}

fn journaled(dir: &Path) -> Result<BTreeMap<u64, Journaled>, Failure> {
    let mut orders: BTreeMap<u64, Journaled> = BTreeMap::new();
    let mut note = |event: &Event| {
        let (image, fill) = match event {
            Event::OrderAccepted(e) => (&e.order, None),
            Event::OrderAcknowledged(e) => (&e.order, None),
            Event::OrderFilled(e) => (&e.order, Some((e.exec_id, e.last_px, e.last_qty, e.broker_exec_id))),
            Event::OrderClosed(e) => (&e.order, None),
            Event::OrderReplaced(e) => (&e.order, None),
            Event::OrderRestated(e) => (&e.order, None),
            _ => return,
        };
        let order = orders.entry(image.order_id).or_default();
        order.session_id = image.session_id;
        order.cl_ord_id = image.cl_ord_id;
        order.cum_qty = image.cum_qty;
        order.cum_cost = image.cum_cost;
        order.status = image.ord_status;
        if let Some((exec_id, px, qty, broker_exec)) = fill {
            order.fills.insert(exec_id, (px, qty));
            order.broker_execs.push(broker_exec);
        }
    };
    let mut reader = tradecore_journal::Reader::open(dir, 1, tradecore_journal::Until::Journaled)
        .map_err(|error| (Exit::JournalDamaged, error.to_string()))?;
    while let Some(group) = reader.next_group().map_err(|error| (Exit::JournalDamaged, error.to_string()))? {
        for record in group.records() {
            let event = Event::from_archive(record.kind, record.version, record.payload)
                .map_err(|error| (Exit::JournalDamaged, format!("event {}: {error}", record.seq)))?;
            note(&event);
        }
    }
    Ok(orders)
}

fn compare_algos(seen: &[Seen], orders: &BTreeMap<u64, Journaled>, wrong: &mut Vec<String>) {
    for algo in seen {
        let name = algo.kind.name();
        if algo.doubled_fills > 0 {
            wrong.push(format!("{name}: {} fills were reported twice", algo.doubled_fills));
        }
        let journaled: BTreeMap<u64, (&u64, &Journaled)> = orders
            .iter()
            .filter(|(_, order)| order.session_id == algo.session_id)
            .map(|(order_id, order)| (order.cl_ord_id, (order_id, order)))
            .collect();
        for (cl_ord_id, order) in &algo.orders {
            match journaled.get(cl_ord_id) {
                None => wrong.push(format!("{name}: order {cl_ord_id:x} was reported and is not in the journal")),
                Some((_, there))
                    if (there.cum_qty, there.cum_cost, there.status)
                        != (order.cum_qty, order.cum_cost, order.status) =>
                {
                    wrong.push(format!(
                        "{name}: order {cl_ord_id:x}: the algo saw {order:?}, the journal holds {there:?}"
                    ));
                }
                Some(_) => {}
            }
        }
        for cl_ord_id in journaled.keys().filter(|id| !algo.orders.contains_key(id)) {
            wrong.push(format!("{name}: order {cl_ord_id:x} is in the journal and was never reported"));
        }
        let mut fills: BTreeMap<u64, (u64, i64, i64)> = BTreeMap::new();
        for (order_id, order) in journaled.values() {
            fills.extend(order.fills.iter().map(|(exec_id, (px, qty))| (*exec_id, (**order_id, *px, *qty))));
        }
        let reported: BTreeMap<u64, (u64, i64, i64)> =
            algo.fills.iter().map(|(exec_id, fill)| (*exec_id, (fill.order_id, fill.px, fill.qty))).collect();
        if fills != reported {
            wrong.push(format!("{name}: {} fills were reported, {} are in the journal", reported.len(), fills.len()));
        }
    }
}

fn compare_venue(log: &[crate::venue::log::LoggedOrder], orders: &BTreeMap<u64, Journaled>, wrong: &mut Vec<String>) {
    let mut at_venue: BTreeMap<u64, &crate::venue::log::LoggedOrder> = BTreeMap::new();
    for order in log {
        let text = order.client_order_id.to_string();
        let Some(order_id) = tradecore_domain::broker_id::order_id_of(Environment::Virtual, 1, &text) else {
            wrong.push(format!("the venue has an order {text} that no gateway names"));
            continue;
        };
        if order.orders_accepted > 1 || order.submissions > 1 || at_venue.insert(order_id.0, order).is_some() {
            wrong.push(format!("order {:x} was sent to the venue more than once", order_id.0));
        }
        let Some(ours) = orders.get(&order_id.0) else {
            wrong.push(format!(
                "order {:x} is at the venue and not in the journal: it left before it was journaled",
                order_id.0
            ));
            continue;
        };
        let fills: Vec<u64> = order.fills.iter().map(|fill| fill.exec_id).collect();
        if ours.broker_execs != fills || ours.cum_qty != order.cum_qty.0 {
            wrong.push(format!(
                "order {:x}: the venue filled {} ({fills:?}), the journal holds {} ({:?})",
                order_id.0, order.cum_qty.0, ours.cum_qty, ours.broker_execs
            ));
        }
    }
    for (order_id, order) in orders {
        let is_closed = OrdStatus::from_raw(order.status).is_some_and(OrdStatus::is_closed);
        if !is_closed {
            wrong.push(format!("order {order_id:x} is still open in the journal: {order:?}"));
        }
        if order.cum_qty != 0 && !at_venue.contains_key(order_id) {
            wrong.push(format!("order {order_id:x} has fills, and the venue never had it"));
        }
    }
}

fn print_table(dir: &Path, seen: &[Seen], kills: u32, venue_kills: u32) -> Result<(), Failure> {
    let journal = dir.join("data/journal");
    let stat = tradecore_journal::stat(&journal).map_err(|error| (Exit::JournalDamaged, error.to_string()))?;
    let mut state = State::new(tradecore_domain::Limits::default());
    let started = std::time::Instant::now();
    let events = crate::recovery::replay(&journal, &mut state, &mut |_| {})
        .map_err(|error| (Exit::JournalDamaged, error.to_string()))?;
    let replayed = started.elapsed();
    say!();
    say!(
        "{:<14}{:>8}{:>8}{:>9}{:>12}{:>12}{:>14}{:>10}{:>10}",
        "algo",
        "orders",
        "fills",
        "rejects",
        "duplicates",
        "reconnects",
        "P&L USDT",
        "p50 µs",
        "p99 µs"
    );
    for algo in seen {
        let pnl: i128 = algo.positions.iter().map(|(_, _, pnl)| pnl).sum();
        say!(
            "{:<14}{:>8}{:>8}{:>9}{:>12}{:>12}{:>14}{:>10}{:>10}",
            algo.kind.name(),
            algo.orders.len(),
            algo.fills.len(),
            algo.rejects,
            algo.duplicates_answered,
            algo.reconnects,
            money(pnl),
            algo.round_trip_us.value_at_quantile(0.5),
            algo.round_trip_us.value_at_quantile(0.99),
        );
        for (instrument_id, qty, _) in &algo.positions {
            let symbol = if *instrument_id == 1 { "BTC" } else { "ETH" };
            say!("{:<14}{symbol} {}", "", units(*qty));
        }
    }
    say!();
    say!("SIGKILLs: gateway {kills}, venue {venue_kills}");
    say!("durability class of every report: synced (survives power loss)");
    say!(
        "journal: {} events, {} KiB of payload, every checksum verified; replayed in {replayed:.1?}",
        stat.records,
        stat.payload_bytes / 1024
    );
    debug_assert_eq!(events, stat.records, "replay and verification read the same journal");
    Ok(())
}

/// Money × 10⁻¹⁸ with two places, for the eye only.
fn money(money: i128) -> String {
    let cents = money.checked_div(10_i128.pow(16)).unwrap_or(0);
    let sign = if cents < 0 { "-" } else { "" };
    format!("{sign}{}.{:02}", cents.unsigned_abs() / 100, cents.unsigned_abs() % 100)
}

/// A quantity × 10⁻⁹.
fn units(qty: i128) -> String {
    i64::try_from(qty).map_or_else(|_| qty.to_string(), tradecore_client::format)
}
