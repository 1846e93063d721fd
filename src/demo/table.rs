//! What the demo shows at its end.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};
use tradecore_journal::Stat;
use tradecore_protocol::fields::Durability;

use super::algo::Seen;
use super::evidence::Evidence;
use super::strikes::{Strike, Struck};

/// Everything that a demo came to.
pub(super) struct Outcome<'a> {
    pub(super) seen: &'a [Seen],
    pub(super) struck: &'a Struck,
    pub(super) stat: &'a Stat,
    /// How long it took to replay the journal.
    pub(super) replayed: Duration,
    pub(super) evidence: &'a Evidence,
    /// What does not agree.
    pub(super) wrong: &'a [String],
}

impl Outcome<'_> {
    /// For people: the table, and a line for each claim.
    pub(super) fn text(&self) -> String {
        let [gateway, venue, both] = self.kills();
        let [orders, fills, reports, doubts] = self.proven();
        let Self { struck: Struck { strikes, on_their_way }, stat, replayed, .. } = self;
        let mut text = format!("\n{}\n", of_algos(self.seen));
        text += &format!("SIGKILLs: {gateway} to the gateway, {venue} to the venue, {both} to both at once");
        text += &if strikes.is_empty() { "\n".to_owned() } else { format!(", {on_their_way} orders on their way\n") };
        text += &format!("{}\n", durability(self.seen));
        text += &format!("journal: {} events, {} KiB of payload, ", stat.records, stat.payload_bytes / 1024);
        text += &format!("every checksum verified; replayed in {replayed:.1?}\n\n");
        text += &format!("three-way proof over {orders} orders, {fills} fills and {reports} reports:\n");
        if strikes.len() > 1 {
            let kills = strikes.len();
            text +=
                &format!("  after each of {kills} SIGKILLs: what the algos had been told = what the journal held\n");
            text += &format!("  after each of {kills} SIGKILLs: what it held as settled = what the venue had done\n");
        }
        if doubts > 0 {
            text += &format!("  {doubts} times an order came in doubt: each was resolved by the venue's word\n");
        }
        text += "  what each algo sent and saw = what the journal holds = what the venue did\n";
        if self.wrong.is_empty() {
            text += "  holds: nothing lost, nothing twice, no gateway order with two venue orders";
        } else {
            text += &refutation(self.wrong, "at the end");
        }
        text
    }

    /// The same for programs.
    pub(super) fn json(&self) -> Value {
        let [gateway, venue, both] = self.kills();
        let [orders, fills, reports, doubts] = self.proven();
        json!({
            "type": "Demo",
            "algos": self.seen.iter().map(algo_json).collect::<Vec<_>>(),
            "kills": {"gateway": gateway, "venue": venue, "both": both, "orders_on_their_way": self.struck.on_their_way},
            "durability": classes(self.seen).iter().map(|(class, reports)| {
                (Durability::from_raw(*class).map_or("unknown", Durability::name).to_owned(), json!(reports))
            }).collect::<serde_json::Map<_, _>>(),
            "journal": {
                "events": self.stat.records,
                "payload_bytes": self.stat.payload_bytes,
                "replay_us": micros(self.replayed),
            },
            "proof": {
                "holds": self.wrong.is_empty(),
                "orders": orders,
                "fills": fills,
                "reports": reports,
                "doubts": doubts,
                "differences": self.wrong,
            },
        })
    }

    fn kills(&self) -> [usize; 3] {
        [Strike::Gateway, Strike::Venue, Strike::Both]
            .map(|wanted| self.struck.strikes.iter().filter(|strike| **strike == wanted).count())
    }

    /// Orders, fills, reports and doubts.
    fn proven(&self) -> [u64; 4] {
        let history = self.evidence.history();
        let fills: usize = history.orders.values().map(|order| order.fills.len()).sum();
        [history.orders.len() as u64, fills as u64, self.evidence.reports(), history.doubts]
    }
}

/// What does not agree, in a few lines.
pub(super) fn refutation(wrong: &[String], when: &str) -> String {
    let lines = wrong.iter().take(SHOWN_MAX).map(|line| format!("\n    {line}"));
    format!("  DOES NOT HOLD, {when}:{}", lines.collect::<String>())
}

/// The same for programs, of a proof before the end.
pub(super) fn refutation_json(wrong: &[String], when: &str) -> Value {
    json!({"type": "Demo", "proof": {"holds": false, "when": when, "differences": wrong}})
}

/// What does not agree is shown to people in so many lines at most.
const SHOWN_MAX: usize = 20;

/// A row for each algo, with its positions below.
fn of_algos(seen: &[Seen]) -> String {
    let mut text =
        row(&["algo", "orders", "fills", "rejects", "duplicates", "reconnects", "P&L USDT", "p50 µs", "p99 µs"]);
    for algo in seen {
        text += &row(&[
            algo.kind.name(),
            &algo.orders.to_string(),
            &algo.fills.to_string(),
            &algo.rejects.to_string(),
            &algo.duplicates_answered.to_string(),
            &algo.reconnects.to_string(),
            &money(profit(algo)),
            &algo.round_trip_us.value_at_quantile(0.5).to_string(),
            &algo.round_trip_us.value_at_quantile(0.99).to_string(),
        ]);
        for (symbol, qty) in positions(algo) {
            text += &format!("{:<14}{symbol} {qty}\n", "");
        }
    }
    text
}

fn algo_json(algo: &Seen) -> Value {
    json!({
        "name": algo.kind.name(),
        "session_id": algo.session_id,
        "orders": algo.orders,
        "fills": algo.fills,
        "rejects": algo.rejects,
        "duplicates": algo.duplicates_answered,
        "reconnects": algo.reconnects,
        "pnl_usdt": money(profit(algo)),
        "round_trip_us": {
            "p50": algo.round_trip_us.value_at_quantile(0.5),
            "p99": algo.round_trip_us.value_at_quantile(0.99),
        },
        "positions": positions(algo)
            .map(|(symbol, qty)| (symbol.to_owned(), Value::String(qty)))
            .collect::<serde_json::Map<_, _>>(),
    })
}

fn profit(algo: &Seen) -> i128 {
    algo.balance.iter().flat_map(|balance| balance.positions.values()).map(|(_, pnl)| pnl).sum()
}

fn positions(algo: &Seen) -> impl Iterator<Item = (&'static str, String)> {
    let positions = algo.balance.iter().flat_map(|balance| &balance.positions);
    positions.map(|(instrument_id, (qty, _))| (if *instrument_id == 1 { "BTC" } else { "ETH" }, units(*qty)))
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

fn row(cells: &[&str; 9]) -> String {
    let [algo, orders, fills, rejects, duplicates, reconnects, pnl, p50, p99] = cells;
    format!("{algo:<14}{orders:>8}{fills:>8}{rejects:>9}{duplicates:>12}{reconnects:>12}{pnl:>14}{p50:>10}{p99:>10}\n")
}

/// How many reports said that they had which class.
fn classes(seen: &[Seen]) -> BTreeMap<u8, u64> {
    let mut classes: BTreeMap<u8, u64> = BTreeMap::new();
    for (class, reports) in seen.iter().flat_map(|algo| &algo.durability) {
        let sum = classes.entry(*class).or_default();
        *sum = sum.saturating_add(*reports);
    }
    classes
}

fn durability(seen: &[Seen]) -> String {
    let classes = classes(seen);
    let name = |class: u8| match Durability::from_raw(class) {
        Some(Durability::Journaled) => "journaled (survives a crash of the process)".to_owned(),
        Some(Durability::Synced) => "synced (survives power loss)".to_owned(),
        Some(Durability::Replicated) => "replicated (survives the loss of the host)".to_owned(),
        None => format!("unknown ({class})"),
    };
    if let (1, Some(class)) = (classes.len(), classes.keys().next()) {
        return format!("durability class of every report: {}", name(*class));
    }
    let counts: Vec<String> = classes.iter().map(|(class, reports)| format!("{reports} {}", name(*class))).collect();
    format!("durability classes of reports: {}", counts.join(", "))
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

#[cfg(test)]
mod tests {
    use super::super::algo::Kind;
    use super::*;

    #[test]
    fn the_durability_is_what_reports_said() {
        let mut algo = Seen::new(1, Kind::Taker);
        algo.durability = BTreeMap::from([(Durability::Journaled.raw(), 3)]);
        let mut other = algo.clone();
        let every = "durability class of every report: journaled (survives a crash of the process)";
        assert_eq!(durability(&[algo.clone()]), every);
        other.durability = BTreeMap::from([(Durability::Synced.raw(), 1)]);
        assert!(durability(&[algo, other]).ends_with("process), 1 synced (survives power loss)"));
    }
}
