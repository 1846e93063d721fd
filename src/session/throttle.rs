//! How many frames a session may send: a token bucket on the turn's clock.
//!
//! Throttles belong to sessions, not to connections: a reconnect fills no bucket. They are not journaled, so at
//! start nothing counts as used. Cancels have a bucket of their own, and queries have, so that a flood of neither
//! orders nor queries can keep a cancel out.

/// A token bucket.
#[derive(Clone, Copy, Debug)]
pub struct Throttle {
    rate: u64,
    burst: u64,
    /// Tokens × 10⁹.
    level: u64,
    last_ns: u64,
}

const TOKEN: u64 = 1_000_000_000;

impl Throttle {
    /// A full bucket: `rate` tokens a second, `burst` at most; a rate of 0 never refuses.
    #[must_use]
    pub const fn new(rate: u32, burst: u32, now_ns: u64) -> Self {
        let burst = (burst as u64).saturating_mul(TOKEN);
        Self { rate: rate as u64, burst, level: burst, last_ns: now_ns }
    }

    /// Takes a token; else the nanoseconds until there is one.
    ///
    /// # Errors
    /// The wait, when the bucket is empty.
    pub fn take(&mut self, now_ns: u64) -> Result<(), u64> {
        if self.rate == 0 {
            return Ok(());
        }
        let gained = now_ns.saturating_sub(self.last_ns).saturating_mul(self.rate);
        self.level = self.level.saturating_add(gained).min(self.burst);
        self.last_ns = now_ns.max(self.last_ns);
        match self.level.checked_sub(TOKEN) {
            Some(level) => {
                self.level = level;
                Ok(())
            }
            None => Err(TOKEN.saturating_sub(self.level).div_ceil(self.rate)),
        }
    }
}

/// Messages that the session rules refuse and that are forgiven, per second.
const REFUSALS_PER_SECOND: u32 = 1;

/// What a session may send, over all its connections.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// New orders and replaces.
    pub orders: Throttle,
    /// What takes risk away, as cancels and kill switches do.
    pub cancels: Throttle,
    /// Queries.
    pub queries: Throttle,
    /// Messages that the session rules refuse.
    pub refusals: Throttle,
}

impl Pace {
    /// Frames a second and above that, and refusals at once.
    #[must_use]
    pub const fn new(rate: u32, burst: u32, refusals_max: u32) -> Self {
        let frames = Throttle::new(rate, burst, 0);
        Self {
            orders: frames,
            cancels: frames,
            queries: frames,
            refusals: Throttle::new(REFUSALS_PER_SECOND, refusals_max, 0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_then_the_rate_holds_and_the_wait_is_told() {
        let mut throttle = Throttle::new(10, 3, 0);
        for _ in 0..3 {
            assert_eq!(throttle.take(0), Ok(()));
        }
        assert_eq!(throttle.take(0), Err(100_000_000));
        assert_eq!(throttle.take(40_000_000), Err(60_000_000));
        assert_eq!(throttle.take(100_000_000), Ok(()));
        assert_eq!(throttle.take(100_000_000), Err(100_000_000));
    }

    #[test]
    fn a_rate_of_zero_never_refuses() {
        let mut throttle = Throttle::new(0, 0, 0);
        for _ in 0..1000 {
            assert_eq!(throttle.take(0), Ok(()));
        }
    }
}
