//! Plays ticks at a pace, sans-I/O: the caller hands in the time and waits itself.
//!
//! `CaptureSource` merges several captures by receive time and may repeat them for ever, shifting times and
//! ids forward each lap so that a validator sees one rising stream.

use super::capture::{CaptureError, CaptureReader};
use super::{Tick, TickKind};
use std::path::PathBuf;

/// How fast recorded time runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// As it was recorded.
    Original,
    /// `numerator / denominator` times as fast.
    Multiple {
        /// Recorded nanoseconds …
        numerator: u32,
        /// … per nanosecond of the player; 0 counts as 1.
        denominator: u32,
    },
    /// Every tick is due at once.
    AsFast,
}

impl Pace {
    /// Reads `original`, `fast`, `10x` or `1/2x`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "original" => return Some(Self::Original),
            "fast" => return Some(Self::AsFast),
            _ => {}
        }
        let ratio = text.strip_suffix('x')?;
        let (numerator, denominator) = ratio.split_once('/').unwrap_or((ratio, "1"));
        let (numerator, denominator) = (numerator.parse().ok()?, denominator.parse().ok()?);
        (numerator > 0 && denominator > 0).then_some(Self::Multiple { numerator, denominator })
    }

    fn scale(self, recorded_ns: u64) -> u64 {
        match self {
            Self::Original => recorded_ns,
            Self::AsFast => 0,
            Self::Multiple { numerator, denominator } => {
                let scaled = u128::from(recorded_ns).saturating_mul(u128::from(denominator.max(1)));
                let scaled = scaled.checked_div(u128::from(numerator.max(1))).unwrap_or(scaled);
                u64::try_from(scaled).unwrap_or(u64::MAX)
            }
        }
    }
}

/// Hands out ticks when they are due; the first is due when it is first asked for.
pub struct Player<I> {
    ticks: I,
    pace: Pace,
    next: Option<Tick>,
    /// (player time, recorded time) of the first tick.
    anchor: Option<(u64, u64)>,
}

impl<I: Iterator<Item = Result<Tick, CaptureError>>> Player<I> {
    /// A player of `ticks` at `pace`.
    pub fn new(ticks: I, pace: Pace) -> Self {
        Self { ticks, pace, next: None, anchor: None }
    }

    /// When the next tick is due, in the caller's nanoseconds; `None` when there is none left.
    ///
    /// # Errors
    /// The source's; the player is then at its end.
    pub fn next_due(&mut self, now_ns: u64) -> Result<Option<u64>, CaptureError> {
        if self.next.is_none() {
            self.next = self.ticks.next().transpose()?;
        }
        let Some(tick) = &self.next else {
            return Ok(None);
        };
        let (start_ns, first_ns) = *self.anchor.get_or_insert((now_ns, tick.recv_ns));
        Ok(Some(start_ns.saturating_add(self.pace.scale(tick.recv_ns.saturating_sub(first_ns)))))
    }

    /// The next tick if it is due.
    ///
    /// # Errors
    /// The source's; the player is then at its end.
    pub fn pop(&mut self, now_ns: u64) -> Result<Option<Tick>, CaptureError> {
        match self.next_due(now_ns)? {
            Some(due_ns) if due_ns <= now_ns => Ok(self.next.take()),
            _ => Ok(None),
        }
    }
}

/// Captures merged by receive time, once or for ever.
pub struct CaptureSource {
    paths: Vec<PathBuf>,
    repeat: bool,
    readers: Vec<(CaptureReader, Option<Tick>)>,
    opened: bool,
    lap: Lap,
}

/// What a lap adds to times and ids, and what it has seen.
#[derive(Clone, Copy, Default)]
struct Lap {
    shift_ns: u64,
    shift_id: u64,
    first_ns: Option<u64>,
    last_ns: u64,
    last_id: u64,
}

impl CaptureSource {
    /// A source over `paths`; with `repeat` it starts again after the last tick.
    #[must_use]
    pub fn new(paths: Vec<PathBuf>, repeat: bool) -> Self {
        Self { paths, repeat, readers: Vec::new(), opened: false, lap: Lap::default() }
    }

    fn open_lap(&mut self) -> Result<(), CaptureError> {
        self.readers.clear();
        for path in &self.paths {
            let mut reader = CaptureReader::open(path)?;
            let first = reader.next().transpose()?;
            self.readers.push((reader, first));
        }
        self.opened = true;
        Ok(())
    }

    fn take_earliest(&mut self) -> Result<Option<Tick>, CaptureError> {
        let earliest = self
            .readers
            .iter_mut()
            .filter(|(_, head)| head.is_some())
            .min_by_key(|(_, head)| head.as_ref().map_or(u64::MAX, |tick| tick.recv_ns));
        let Some((reader, head)) = earliest else {
            return Ok(None);
        };
        let tick = head.take();
        *head = reader.next().transpose()?;
        Ok(tick)
    }

    fn next_tick(&mut self) -> Result<Option<Tick>, CaptureError> {
        if !self.opened {
            self.open_lap()?;
        }
        if let Some(tick) = self.take_earliest()? {
            return Ok(Some(self.shifted(tick)));
        }
        let Some(first_ns) = self.lap.first_ns.filter(|_| self.repeat) else {
            return Ok(None);
        };
        // One nanosecond between laps keeps receive times rising.
        let lap_ns = self.lap.last_ns.saturating_sub(first_ns).saturating_add(1);
        self.lap.shift_ns = self.lap.shift_ns.saturating_add(lap_ns);
        self.lap.shift_id = self.lap.shift_id.saturating_add(self.lap.last_id);
        self.open_lap()?;
        let tick = self.take_earliest()?;
        Ok(tick.map(|tick| self.shifted(tick)))
    }

    fn shifted(&mut self, mut tick: Tick) -> Tick {
        let lap = &mut self.lap;
        lap.first_ns.get_or_insert(tick.recv_ns);
        lap.last_ns = lap.last_ns.max(tick.recv_ns);
        tick.recv_ns = tick.recv_ns.saturating_add(lap.shift_ns);
        match &mut tick.kind {
            TickKind::Quote(quote) => {
                lap.last_id = lap.last_id.max(quote.update_id);
                quote.update_id = quote.update_id.saturating_add(lap.shift_id);
            }
            TickKind::Trade(print) => {
                lap.last_id = lap.last_id.max(print.trade_id);
                print.trade_id = print.trade_id.saturating_add(lap.shift_id);
                print.trade_ts_ms = print.trade_ts_ms.saturating_add(lap.shift_ns.div_euclid(1_000_000));
            }
        }
        tick
    }
}

impl Iterator for CaptureSource {
    type Item = Result<Tick, CaptureError>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = self.next_tick().transpose();
        if matches!(next, Some(Err(_))) {
            self.repeat = false;
            self.opened = true;
            self.readers.clear();
        }
        next
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::arithmetic_side_effects)]
    use super::*;
    use crate::market_data::TradePrint;
    use tradecore_protocol::fields::{Px, Qty};

    fn tick(recv_ns: u64) -> Result<Tick, CaptureError> {
        let print = TradePrint { px: Px(1), qty: Qty(1), trade_id: recv_ns, buyer_is_maker: false, trade_ts_ms: 0 };
        Ok(Tick { recv_ns, symbol: "X".into(), kind: TickKind::Trade(print) })
    }

    fn due_times(pace: Pace) -> Vec<u64> {
        let mut player = Player::new([100, 150, 300].map(tick).into_iter(), pace);
        let mut now_ns = 7_000;
        let mut due = Vec::new();
        while let Some(due_ns) = player.next_due(now_ns).unwrap() {
            if due_ns > now_ns {
                assert_eq!(player.pop(due_ns - 1).unwrap(), None, "not before it is due");
            }
            now_ns = due_ns;
            assert!(player.pop(now_ns).unwrap().is_some());
            due.push(due_ns);
        }
        due
    }

    #[test]
    fn ticks_are_due_at_the_chosen_pace() {
        assert_eq!(due_times(Pace::Original), [7_000, 7_050, 7_200]);
        assert_eq!(due_times(Pace::parse("10x").unwrap()), [7_000, 7_005, 7_020]);
        assert_eq!(due_times(Pace::parse("1/2x").unwrap()), [7_000, 7_100, 7_400]);
        assert_eq!(due_times(Pace::AsFast), [7_000, 7_000, 7_000]);
    }

    #[test]
    fn a_pace_that_makes_no_sense_is_refused() {
        for text in ["", "x", "0x", "1/0x", "10", "-1x", "faster"] {
            assert_eq!(Pace::parse(text), None, "{text}");
        }
    }
}
