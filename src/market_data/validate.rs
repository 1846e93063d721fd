//! Refuses ticks that no decision may rest on, and counts them by reason.
//!
//! One validator a source. A refused tick changes nothing but the counts.

use super::{Quote, Tick, TickKind, TradePrint};
use std::collections::BTreeMap;
use std::sync::Arc;
use tradecore_protocol::fields::Px;

/// Parts per million in one.
const PPM: u128 = 1_000_000;

/// What is allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TickLimits {
    /// Farthest that a price may be from the last accepted mid or print, parts per million of it.
    pub band_ppm: u32,
    /// Oldest that a tick may be, nanoseconds; a tick from the future counts as fresh.
    pub stale_ns: u64,
    /// Successive ticks outside the band, but within it of each other, that move the band: a real jump is
    /// followed after this many, a single bad tick is not.
    pub band_confirmations: u32,
}

impl Default for TickLimits {
    fn default() -> Self {
        Self { band_ppm: 50_000, stale_ns: 5_000_000_000, band_confirmations: 3 }
    }
}

/// Why a tick was refused, in order of precedence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TickRefusal {
    /// A price or size that is zero or negative.
    NotPositive,
    /// Bid above ask.
    Crossed,
    /// Update id, trade number or receive time at or behind the last accepted one.
    OutOfOrder,
    /// Older than `stale_ns`.
    Stale,
    /// Farther than `band_ppm` from the last accepted price.
    OutOfBand,
}

impl TickRefusal {
    /// Every reason, in order of precedence.
    pub const ALL: [Self; 5] = [Self::NotPositive, Self::Crossed, Self::OutOfOrder, Self::Stale, Self::OutOfBand];
}

/// How many ticks were accepted, and refused for each reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TickCounts {
    /// Accepted.
    pub accepted: u64,
    /// Refused as `NotPositive`.
    pub not_positive: u64,
    /// Refused as `Crossed`.
    pub crossed: u64,
    /// Refused as `OutOfOrder`.
    pub out_of_order: u64,
    /// Refused as `Stale`.
    pub stale: u64,
    /// Refused as `OutOfBand`.
    pub out_of_band: u64,
}

#[derive(Clone, Copy, Default)]
struct Last {
    px: Option<Px>,
    recv_ns: u64,
    update_id: u64,
    trade_id: u64,
    candidate: Option<Px>,
    candidate_count: u32,
}

/// Remembers the last accepted tick of each symbol.
pub struct TickValidator {
    limits: TickLimits,
    symbols: BTreeMap<Arc<str>, Last>,
    counts: TickCounts,
}

impl TickValidator {
    /// A validator that has seen nothing.
    #[must_use]
    pub fn new(limits: TickLimits) -> Self {
        Self { limits, symbols: BTreeMap::new(), counts: TickCounts::default() }
    }

    /// Accepts `tick`, or says why not; `now_ns` is on the clock that stamped `recv_ns`.
    ///
    /// # Errors
    /// The first reason that applies; the tick must not be used.
    pub fn check(&mut self, now_ns: u64, tick: &Tick) -> Result<(), TickRefusal> {
        let limits = self.limits;
        let last = self.symbols.entry(Arc::clone(&tick.symbol)).or_default();
        let verdict = check_tick(limits, now_ns, tick, last);
        let counter = match verdict {
            Ok(()) => &mut self.counts.accepted,
            Err(TickRefusal::NotPositive) => &mut self.counts.not_positive,
            Err(TickRefusal::Crossed) => &mut self.counts.crossed,
            Err(TickRefusal::OutOfOrder) => &mut self.counts.out_of_order,
            Err(TickRefusal::Stale) => &mut self.counts.stale,
            Err(TickRefusal::OutOfBand) => &mut self.counts.out_of_band,
        };
        *counter = counter.saturating_add(1);
        verdict
    }

    /// Counts since the start.
    #[must_use]
    pub fn counts(&self) -> TickCounts {
        self.counts
    }
}

fn check_tick(limits: TickLimits, now_ns: u64, tick: &Tick, last: &mut Last) -> Result<(), TickRefusal> {
    let px = match tick.kind {
        TickKind::Quote(quote) => check_quote(quote, last)?,
        TickKind::Trade(print) => check_print(print, last)?,
    };
    if tick.recv_ns < last.recv_ns {
        return Err(TickRefusal::OutOfOrder);
    }
    if now_ns.saturating_sub(tick.recv_ns) > limits.stale_ns {
        return Err(TickRefusal::Stale);
    }
    if last.px.is_some_and(|reference| !in_band(limits, reference, px)) {
        confirm(limits, px, last)?;
    }
    last.px = Some(px);
    last.candidate = None;
    last.candidate_count = 0;
    last.recv_ns = tick.recv_ns;
    match tick.kind {
        TickKind::Quote(quote) => last.update_id = quote.update_id,
        TickKind::Trade(print) => last.trade_id = print.trade_id,
    }
    Ok(())
}

fn check_quote(quote: Quote, last: &Last) -> Result<Px, TickRefusal> {
    let smallest = quote.bid_px.0.min(quote.ask_px.0).min(quote.bid_qty.0).min(quote.ask_qty.0);
    if smallest <= 0 {
        return Err(TickRefusal::NotPositive);
    }
    if quote.bid_px > quote.ask_px {
        return Err(TickRefusal::Crossed);
    }
    if quote.update_id <= last.update_id {
        return Err(TickRefusal::OutOfOrder);
    }
    // Both are positive, so the midpoint cannot overflow this way.
    let half_spread = quote.ask_px.0.saturating_sub(quote.bid_px.0) >> 1;
    Ok(Px(quote.bid_px.0.saturating_add(half_spread)))
}

fn check_print(print: TradePrint, last: &Last) -> Result<Px, TickRefusal> {
    if print.px.0.min(print.qty.0) <= 0 {
        return Err(TickRefusal::NotPositive);
    }
    if print.trade_id <= last.trade_id {
        return Err(TickRefusal::OutOfOrder);
    }
    Ok(print.px)
}

/// |px − reference| / reference ≤ band, in integers.
fn in_band(limits: TickLimits, reference: Px, px: Px) -> bool {
    let distance = u128::from(px.0.abs_diff(reference.0)).saturating_mul(PPM);
    let allowed = u128::from(reference.0.unsigned_abs()).saturating_mul(u128::from(limits.band_ppm));
    distance <= allowed
}

fn confirm(limits: TickLimits, px: Px, last: &mut Last) -> Result<(), TickRefusal> {
    let agrees = last.candidate.is_some_and(|candidate| in_band(limits, candidate, px));
    last.candidate_count = if agrees { last.candidate_count.saturating_add(1) } else { 1 };
    last.candidate = Some(px);
    if last.candidate_count >= limits.band_confirmations.max(1) { Ok(()) } else { Err(TickRefusal::OutOfBand) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::arithmetic_side_effects)]
    use super::*;
    use tradecore_protocol::fields::Qty;

    const ONE: i64 = 1_000_000_000;

    fn quote(recv_ns: u64, update_id: u64, bid: i64, ask: i64, bid_qty: i64, ask_qty: i64) -> Tick {
        Tick {
            recv_ns,
            symbol: "X".into(),
            kind: TickKind::Quote(Quote {
                bid_px: Px(bid * ONE),
                bid_qty: Qty(bid_qty),
                ask_px: Px(ask * ONE),
                ask_qty: Qty(ask_qty),
                update_id,
            }),
        }
    }

    fn print(recv_ns: u64, trade_id: u64, px: i64, qty: i64) -> Tick {
        let kind = TickKind::Trade(TradePrint {
            px: Px(px * ONE),
            qty: Qty(qty),
            trade_id,
            buyer_is_maker: true,
            trade_ts_ms: 0,
        });
        Tick { recv_ns, symbol: "X".into(), kind }
    }

    #[test]
    fn each_bad_tick_is_refused_for_its_reason_and_counted() {
        use TickRefusal::{Crossed, NotPositive, OutOfBand, OutOfOrder, Stale};
        // After an accepted quote 100/102 at 1000 ns with id 10 and a print number 10.
        let cases: &[(&str, u64, Tick, Result<(), TickRefusal>)] = &[
            ("good quote", 1000, quote(1000, 11, 100, 101, 1, 1), Ok(())),
            ("locked quote", 1000, quote(1000, 11, 101, 101, 1, 1), Ok(())),
            ("crossed", 1000, quote(1000, 11, 102, 101, 1, 1), Err(Crossed)),
            ("zero bid", 1000, quote(1000, 11, 0, 101, 1, 1), Err(NotPositive)),
            ("negative ask", 1000, quote(1000, 11, 100, -1, 1, 1), Err(NotPositive)),
            ("zero bid size", 1000, quote(1000, 11, 100, 101, 0, 1), Err(NotPositive)),
            ("negative ask size", 1000, quote(1000, 11, 100, 101, 1, -1), Err(NotPositive)),
            ("same update id", 1000, quote(1000, 10, 100, 101, 1, 1), Err(OutOfOrder)),
            ("older update id", 1000, quote(1000, 9, 100, 101, 1, 1), Err(OutOfOrder)),
            ("time goes back", 1000, quote(999, 11, 100, 101, 1, 1), Err(OutOfOrder)),
            ("exactly as old as allowed", 1500, quote(1000, 11, 100, 101, 1, 1), Ok(())),
            ("stale", 1501, quote(1000, 11, 100, 101, 1, 1), Err(Stale)),
            ("from the future", 1000, quote(9000, 11, 100, 101, 1, 1), Ok(())),
            ("at the band", 1000, print(1000, 11, 111, 1), Ok(())),
            ("above the band", 1000, print(1000, 11, 112, 1), Err(OutOfBand)),
            ("below the band", 1000, quote(1000, 11, 80, 81, 1, 1), Err(OutOfBand)),
            ("print at zero", 1000, print(1000, 11, 0, 1), Err(NotPositive)),
            ("print of nothing", 1000, print(1000, 11, 100, 0), Err(NotPositive)),
            ("repeated print", 1000, print(1000, 10, 100, 1), Err(OutOfOrder)),
        ];
        for (name, now_ns, tick, expected) in cases {
            let limits = TickLimits { band_ppm: 100_000, stale_ns: 500, band_confirmations: 3 };
            let mut validator = TickValidator::new(limits);
            validator.check(1000, &print(1000, 10, 101, 1)).unwrap();
            validator.check(1000, &quote(1000, 10, 100, 102, 1, 1)).unwrap();
            assert_eq!(validator.check(*now_ns, tick), *expected, "{name}");
            let counts = validator.counts();
            let refused = [counts.not_positive, counts.crossed, counts.out_of_order, counts.stale, counts.out_of_band];
            for (reason, count) in TickRefusal::ALL.iter().zip(refused) {
                assert_eq!(count, u64::from(*expected == Err(*reason)), "{name}: {reason:?}");
            }
            assert_eq!(counts.accepted, 2 + u64::from(expected.is_ok()), "{name}");
        }
    }

    #[test]
    fn a_jump_is_followed_once_confirmed_and_a_lone_spike_is_not() {
        let limits = TickLimits { band_ppm: 100_000, stale_ns: 500, band_confirmations: 3 };
        let mut validator = TickValidator::new(limits);
        let verdicts: Vec<bool> = [100, 200, 100, 200, 201, 300, 200, 201, 202, 203]
            .iter()
            .zip(1..)
            .map(|(px, id)| validator.check(1, &print(1, id, *px, 1)).is_ok())
            .collect();
        assert_eq!(verdicts, [true, false, true, false, false, false, false, false, true, true]);
    }
}
