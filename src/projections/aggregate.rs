//! What rows belong to: the unit that is parked when one of its events cannot be taken.

/// An aggregate, as far as rows are made of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Aggregate {
    /// The core itself: its start, its states, its connection to the broker.
    Core,
    /// An order.
    Order(u64),
    /// The position of an account in an instrument.
    Position(u32, u32),
    /// An account.
    Account(u32),
    /// A session.
    Session(u32),
    /// An instrument.
    Instrument(u32),
    /// A mass cancel.
    MassCancel(u64),
    /// Events of a type that this release cannot read: what they are of is unknown.
    Unread(u16),
}

impl Aggregate {
    /// Codes and names.
    pub const NAMES: &[(u16, &'static str)] = &[
        (1, "Core"),
        (2, "Order"),
        (3, "Position"),
        (4, "Account"),
        (5, "Session"),
        (6, "Instrument"),
        (7, "MassCancel"),
        (8, "Unread"),
    ];

    /// Code and id, as tables keep them; the id of a position is that of its account × 2³² + that of its instrument.
    #[must_use]
    pub fn to_code(self) -> (u16, u64) {
        match self {
            Self::Core => (1, 0),
            Self::Order(id) => (2, id),
            Self::Position(account_id, instrument_id) => (3, (u64::from(account_id) << 32) | u64::from(instrument_id)),
            Self::Account(id) => (4, id.into()),
            Self::Session(id) => (5, id.into()),
            Self::Instrument(id) => (6, id.into()),
            Self::MassCancel(id) => (7, id),
            Self::Unread(kind) => (8, kind.into()),
        }
    }

    /// The aggregate of a code and an id; `None` when there is none.
    #[must_use]
    pub fn from_code(code: u16, id: u64) -> Option<Self> {
        let narrow = |id: u64| u32::try_from(id).ok();
        match code {
            1 => Some(Self::Core),
            2 => Some(Self::Order(id)),
            3 => Some(Self::Position(narrow(id >> 32)?, (id & u64::from(u32::MAX)) as u32)),
            4 => narrow(id).map(Self::Account),
            5 => narrow(id).map(Self::Session),
            6 => narrow(id).map(Self::Instrument),
            7 => Some(Self::MassCancel(id)),
            8 => u16::try_from(id).ok().map(Self::Unread),
            _ => None,
        }
    }
}

impl core::fmt::Display for Aggregate {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Core => write!(f, "the core"),
            Self::Order(id) => write!(f, "order {id}"),
            Self::Position(account_id, instrument_id) => {
                write!(f, "the position of account {account_id} in instrument {instrument_id}")
            }
            Self::Account(id) => write!(f, "account {id}"),
            Self::Session(id) => write!(f, "session {id}"),
            Self::Instrument(id) => write!(f, "instrument {id}"),
            Self::MassCancel(id) => write!(f, "mass cancel {id}"),
            Self::Unread(kind) => write!(f, "events of type {kind}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_aggregate_comes_back_from_its_code_and_every_code_has_a_name() {
        let all = [
            Aggregate::Core,
            Aggregate::Order(u64::MAX),
            Aggregate::Position(7, u32::MAX),
            Aggregate::Account(1),
            Aggregate::Session(2),
            Aggregate::Instrument(3),
            Aggregate::MassCancel(4),
            Aggregate::Unread(999),
        ];
        for aggregate in all {
            let (code, id) = aggregate.to_code();
            assert_eq!(Aggregate::from_code(code, id), Some(aggregate));
            assert!(Aggregate::NAMES.iter().any(|(known, _)| *known == code), "{aggregate}");
        }
        assert_eq!((all.len(), Aggregate::from_code(9, 0)), (Aggregate::NAMES.len(), None));
    }
}
