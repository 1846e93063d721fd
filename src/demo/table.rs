//! What the demo shows at its end.

use std::collections::BTreeMap;

use tradecore_protocol::fields::Durability;

use super::algo::Seen;

/// A row for each algo, with its positions below.
pub(super) fn of_algos(seen: &[Seen]) -> String {
    let mut text =
        row(&["algo", "orders", "fills", "rejects", "duplicates", "reconnects", "P&L USDT", "p50 µs", "p99 µs"]);
    for algo in seen {
        let positions = || algo.balance.iter().flat_map(|balance| &balance.positions);
        text += &row(&[
            algo.kind.name(),
            &algo.orders.len().to_string(),
            &algo.fills.len().to_string(),
            &algo.rejects.to_string(),
            &algo.duplicates_answered.to_string(),
            &algo.reconnects.to_string(),
            &money(positions().map(|(_, (_, pnl))| pnl).sum()),
            &algo.round_trip_us.value_at_quantile(0.5).to_string(),
            &algo.round_trip_us.value_at_quantile(0.99).to_string(),
        ]);
        for (instrument_id, (qty, _)) in positions() {
            let symbol = if *instrument_id == 1 { "BTC" } else { "ETH" };
            text += &format!("{:<14}{symbol} {}\n", "", units(*qty));
        }
    }
    text
}

fn row(cells: &[&str; 9]) -> String {
    let [algo, orders, fills, rejects, duplicates, reconnects, pnl, p50, p99] = cells;
    format!("{algo:<14}{orders:>8}{fills:>8}{rejects:>9}{duplicates:>12}{reconnects:>12}{pnl:>14}{p50:>10}{p99:>10}\n")
}

/// The classes that reports said they had.
pub(super) fn durability(seen: &[Seen]) -> String {
    let mut classes: BTreeMap<u8, u64> = BTreeMap::new();
    for (class, reports) in seen.iter().flat_map(|algo| &algo.durability) {
        let sum = classes.entry(*class).or_default();
        *sum = sum.saturating_add(*reports);
    }
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
