//! What becomes of an order behind the gateway's acceptance: the broker's acknowledgement, and the fill.

use std::time::Instant;

use crate::Failure;
use crate::pace::Sent;
use crate::timing::{RoundTrips, between, round_trips};

/// Times until one of the broker's words has come back, ns.
#[derive(Clone, Debug)]
pub(crate) struct Leg {
    /// From the order's planned time.
    pub(crate) corrected: RoundTrips,
    /// From its send.
    pub(crate) service: RoundTrips,
    /// From the time at which the broker said it: what of it is the gateway's.
    pub(crate) told: RoundTrips,
}

impl Leg {
    fn new() -> Self {
        Self { corrected: round_trips(), service: round_trips(), told: round_trips() }
    }

    /// Takes one that has arrived, `told_ns` after the broker said it.
    pub(crate) fn take(&mut self, sent: Sent, arrived: Instant, told_ns: u64) {
        self.corrected.saturating_record(between(sent.planned, arrived));
        self.service.saturating_record(between(sent.at, arrived));
        self.told.saturating_record(told_ns);
    }

    fn add(&mut self, other: &Self) -> Result<(), Failure> {
        self.corrected.add(&other.corrected)?;
        self.service.add(&other.service)?;
        Ok(self.told.add(&other.told)?)
    }
}

/// Both of them.
#[derive(Clone, Debug)]
pub(crate) struct Legs {
    pub(crate) acknowledged: Leg,
    pub(crate) filled: Leg,
}

impl Legs {
    pub(crate) fn new() -> Self {
        Self { acknowledged: Leg::new(), filled: Leg::new() }
    }

    /// Takes in those of another slice.
    pub(crate) fn add(&mut self, other: &Self) -> Result<(), Failure> {
        self.acknowledged.add(&other.acknowledged)?;
        self.filled.add(&other.filled)
    }
}
