//! Heartbeats: when to show life, when to ask for it, when to give up.
//!
//! Owns the arithmetic of silence. Any complete frame, in either direction, is life.

/// What silence asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    /// Nothing yet.
    Nothing,
    /// We have been silent for an interval.
    Heartbeat,
    /// The peer has been silent for one and a half intervals.
    TestRequest,
    /// The peer has been silent for two and a half intervals.
    Dead,
}

/// The silence of both directions of a connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Liveness {
    interval_ns: u64,
    sent_ns: u64,
    heard_ns: u64,
    is_tested: bool,
}

impl Liveness {
    /// Both directions were alive at `now_ns`.
    pub(super) const fn new(interval_ms: u32, now_ns: u64) -> Self {
        let interval_ns = (interval_ms as u64).saturating_mul(1_000_000);
        Self { interval_ns, sent_ns: now_ns, heard_ns: now_ns, is_tested: false }
    }

    pub(super) const fn sent(&mut self, now_ns: u64) {
        self.sent_ns = now_ns;
    }

    pub(super) const fn heard(&mut self, now_ns: u64) {
        self.heard_ns = now_ns;
        self.is_tested = false;
    }

    pub(super) const fn interval_ns(&self) -> u64 {
        self.interval_ns
    }

    /// A test request went out: the next deadline of the peer's silence is its end.
    pub(super) const fn tested(&mut self) {
        self.is_tested = true;
    }

    const fn halves(&self, since_ns: u64, count: u64) -> u64 {
        since_ns.saturating_add((self.interval_ns / 2).saturating_mul(count))
    }

    /// The next time at which `due` may be anything but `Nothing`.
    pub(super) fn deadline_ns(&self) -> u64 {
        let peer = self.halves(self.heard_ns, if self.is_tested { 5 } else { 3 });
        peer.min(self.halves(self.sent_ns, 2))
    }

    /// What silence asks for at `now_ns`, the most urgent first.
    pub(super) const fn due(&self, now_ns: u64) -> Due {
        if now_ns >= self.halves(self.heard_ns, 5) {
            Due::Dead
        } else if !self.is_tested && now_ns >= self.halves(self.heard_ns, 3) {
            Due::TestRequest
        } else if now_ns >= self.halves(self.sent_ns, 2) {
            Due::Heartbeat
        } else {
            Due::Nothing
        }
    }
}
