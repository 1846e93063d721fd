//! Why a request was refused, with the two numbers that the reason is about.

use tradecore_protocol::reason::Reason;

/// A reason; what was offered and what is allowed, in the reason's own unit, 0 where it has none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Refused {
    pub(crate) reason: Reason,
    pub(crate) offered: i128,
    pub(crate) allowed: i128,
}

impl Refused {
    /// With its numbers.
    pub(crate) fn new(reason: Reason, offered: impl Into<i128>, allowed: impl Into<i128>) -> Self {
        Self { reason, offered: offered.into(), allowed: allowed.into() }
    }
}

impl From<Reason> for Refused {
    fn from(reason: Reason) -> Self {
        Self { reason, offered: 0, allowed: 0 }
    }
}
