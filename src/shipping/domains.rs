//! Domains: which part of the business an event belongs to, and what of its kind it must not be parted from.
//!
//! The one mapping of events to domains, keys and partitions: topics, tables and exports follow from it. `docs/events.md`
//! is made from it. A mapping that has been released never changes for a type and version of event, since an event
//! is looked for where it was put.

use core::fmt;

use tradecore_domain::event::Event;
use tradecore_protocol::fields::BrokerStatus;

/// One part of the business: the name of its topics and tables.
macro_rules! domains {
    ($($(#[doc = $doc:literal])* $Name:ident $name:literal,)*) => {
        /// The part of the business that an event belongs to.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Domain { $($(#[doc = $doc])* $Name,)* }

        impl Domain {
            /// Every domain.
            pub const ALL: &'static [Self] = &[$(Self::$Name),*];

            /// As topics, tables and options spell it.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$Name => $name,)* }
            }

            /// What belongs to it.
            #[must_use]
            pub const fn doc(self) -> &'static str {
                match self { $(Self::$Name => concat!($($doc),*),)* }
            }

            /// Topic of the binary records, as they are journaled.
            #[must_use]
            pub const fn eventstore_topic(self) -> &'static str {
                match self { $(Self::$Name => concat!("eventstore.", $name, "-events"),)* }
            }

            /// Topic of the JSON events.
            #[must_use]
            pub const fn transport_topic(self) -> &'static str {
                match self { $(Self::$Name => concat!("transport.", $name, "-events"),)* }
            }
        }
    };
}

domains! {
    /// Users and their sessions: who may do what, who is logged on.
    UserAccount "user-account",
    /// Connections to brokers, and how far their streams have been read.
    BrokerConnection "broker-connection",
    /// Accounts at a broker, their limits, and whether they may trade.
    BrokerAccount "broker-account",
    /// Accounts of the built-in venue; no event yet.
    VirtualBroker "virtual-broker",
    /// Strategies; no event yet.
    Strategy "strategy",
    /// Orders, from the request to the last fill, and what cancels many of them.
    Order "order",
    /// Positions; no event yet: they follow from fills.
    Position "position",
    /// Portfolios; no event yet.
    Portfolio "portfolio",
    /// Automation; no event yet.
    Automation "automation",
    /// All else: the core itself, and what may be traded.
    System "system",
}

impl Domain {
    /// The domain of an event: a function of its type alone.
    #[must_use]
    pub const fn of(event: &Event) -> Self {
        match event {
            Event::CoreStarted(_)
            | Event::InstrumentDefined(_)
            | Event::DoubtSearchProgressed(_)
            | Event::OperatorNoted(_) => Self::System,
            Event::AccountDefined(_) | Event::KillSwitchChanged(_) | Event::TradingStateChanged(_) => {
                Self::BrokerAccount
            }
            Event::SessionDefined(_) | Event::SessionLoggedOn(_) | Event::SessionEnded(_) => Self::UserAccount,
            Event::BrokerFactIgnored(_) | Event::BrokerStatusChanged(_) => Self::BrokerConnection,
            Event::OrderAccepted(_)
            | Event::OrderRejected(_)
            | Event::OrderAcknowledged(_)
            | Event::OrderFilled(_)
            | Event::OrderClosed(_)
            | Event::CancelRequested(_)
            | Event::ReplaceRequested(_)
            | Event::OrderReplaced(_)
            | Event::ChangeRejected(_)
            | Event::OrderInDoubt(_)
            | Event::OrderRestated(_)
            | Event::RequestRejected(_)
            | Event::BrokerContradicted(_)
            | Event::MassCancelAccepted(_)
            | Event::MassCancelCompleted(_)
            | Event::MassCancelProgressed(_) => Self::Order,
        }
    }

    /// The domain that is spelled so.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|domain| domain.name() == name)
    }
}

/// Work of many decisions towards one end, which goes on from state after a crash: the *sagas* of today.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Saga {
    /// A mass cancel: of a client, of a kill switch, of a session that is due.
    MassCancel,
    /// The search for orders whose outcome became unknown.
    DoubtSearch,
}

/// What an event is to a saga.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SagaMove {
    /// It begins one; one of the same kind and aggregate that is under way is begun anew.
    Begins,
    /// A step of it.
    GoesOn,
    /// Its end.
    Ends,
}

impl Saga {
    /// Every kind.
    pub const ALL: &'static [Self] = &[Self::MassCancel, Self::DoubtSearch];

    /// The saga that an event begins, moves or ends: the one list of sagas. Which one of its kind it is says the aggregate
    /// of the event.
    #[must_use]
    pub const fn moved_by(event: &Event) -> Option<(Self, SagaMove)> {
        Some(match event {
            Event::CoreStarted(_) => (Self::DoubtSearch, SagaMove::Begins),
            Event::BrokerStatusChanged(e) if e.status == BrokerStatus::Down.raw() => {
                (Self::DoubtSearch, SagaMove::Begins)
            }
            Event::DoubtSearchProgressed(e) if e.done == 1 => (Self::DoubtSearch, SagaMove::Ends),
            Event::DoubtSearchProgressed(_) => (Self::DoubtSearch, SagaMove::GoesOn),
            Event::MassCancelAccepted(_) => (Self::MassCancel, SagaMove::Begins),
            Event::MassCancelProgressed(_) => (Self::MassCancel, SagaMove::GoesOn),
            Event::MassCancelCompleted(_) => (Self::MassCancel, SagaMove::Ends),
            _ => return None,
        })
    }

    /// The saga that `saga.events` tells an event of: a function of its type alone. What happens for other reasons, and
    /// begins one too, is not told there.
    #[must_use]
    pub const fn of(event: &Event) -> Option<Self> {
        match (event, Self::moved_by(event)) {
            (Event::CoreStarted(_) | Event::BrokerStatusChanged(_), _) | (_, None) => None,
            (_, Some((saga, _))) => Some(saga),
        }
    }

    /// As headers spell it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::MassCancel => "mass-cancel",
            Self::DoubtSearch => "doubt-search",
        }
    }

    /// As tables keep it.
    #[must_use]
    pub const fn code(self) -> u16 {
        match self {
            Self::MassCancel => 1,
            Self::DoubtSearch => 2,
        }
    }
}

/// Where events are told as JSON: each in the channel of its domain, those of sagas in that of all sagas as well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Channel {
    /// All events of a domain.
    Domain(Domain),
    /// All events of sagas.
    Sagas,
}

impl Channel {
    /// Every channel, by its `index`.
    pub fn all() -> impl Iterator<Item = Self> {
        Domain::ALL.iter().map(|domain| Self::Domain(*domain)).chain([Self::Sagas])
    }

    /// Those that an event is told in.
    pub fn of(event: &Event) -> impl Iterator<Item = Self> {
        [Some(Self::Domain(Domain::of(event))), Saga::of(event).map(|_| Self::Sagas)].into_iter().flatten()
    }

    /// Its place among all.
    #[must_use]
    pub const fn index(self) -> usize {
        match self {
            Self::Domain(domain) => domain as usize,
            Self::Sagas => Domain::ALL.len(),
        }
    }

    /// As options spell it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Domain(domain) => domain.name(),
            Self::Sagas => "saga",
        }
    }

    /// Its topic.
    #[must_use]
    pub const fn topic(self) -> &'static str {
        match self {
            Self::Domain(domain) => domain.transport_topic(),
            Self::Sagas => "saga.events",
        }
    }

    /// The channel that is spelled so.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::all().find(|channel| channel.name() == name)
    }
}

/// The thing that an event tells of; events of one are kept in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Aggregate {
    /// The core.
    Core,
    /// The connection to the broker.
    Broker,
    /// An account; 0 stands for all of the core.
    Account(u32),
    /// A session.
    Session(u32),
    /// An instrument.
    Instrument(u32),
    /// An order, by its OrderID.
    Order(u64),
    /// A mass cancel.
    MassCancel(u64),
}

impl Aggregate {
    /// What an event tells of. A request that named no order of ours belongs to the session that sent it, as does an
    /// order that was rejected before it had an OrderID.
    #[must_use]
    pub const fn of(event: &Event) -> Self {
        match event {
            Event::CoreStarted(_) | Event::DoubtSearchProgressed(_) | Event::OperatorNoted(_) => Self::Core,
            Event::InstrumentDefined(e) => Self::Instrument(e.instrument_id),
            Event::AccountDefined(e) => Self::Account(e.meta.account_id),
            Event::KillSwitchChanged(e) => Self::Account(e.meta.account_id),
            Event::TradingStateChanged(e) => Self::Account(e.meta.account_id),
            Event::SessionDefined(e) => Self::Session(e.meta.session_id),
            Event::SessionLoggedOn(e) => Self::Session(e.meta.session_id),
            Event::SessionEnded(e) => Self::Session(e.meta.session_id),
            Event::BrokerFactIgnored(_) | Event::BrokerStatusChanged(_) => Self::Broker,
            Event::OrderAccepted(e) => Self::order(e.order.order_id, e.meta.session_id),
            Event::OrderRejected(e) => Self::order(e.order.order_id, e.meta.session_id),
            Event::OrderAcknowledged(e) => Self::order(e.order.order_id, e.meta.session_id),
            Event::OrderFilled(e) => Self::order(e.order.order_id, e.meta.session_id),
            Event::OrderClosed(e) => Self::order(e.order.order_id, e.meta.session_id),
            Event::CancelRequested(e) => Self::order(e.order.order_id, e.meta.session_id),
            Event::ReplaceRequested(e) => Self::order(e.order.order_id, e.meta.session_id),
            Event::OrderReplaced(e) => Self::order(e.order.order_id, e.meta.session_id),
            Event::ChangeRejected(e) => Self::order(e.order.order_id, e.meta.session_id),
            Event::OrderInDoubt(e) => Self::order(e.order.order_id, e.meta.session_id),
            Event::OrderRestated(e) => Self::order(e.order.order_id, e.meta.session_id),
            Event::RequestRejected(e) => Self::order(e.order_id, e.meta.session_id),
            Event::BrokerContradicted(e) => match e.order_id {
                0 => Self::Broker,
                order_id => Self::Order(order_id),
            },
            Event::MassCancelAccepted(e) => Self::MassCancel(e.mass_cancel_id),
            Event::MassCancelCompleted(e) => Self::MassCancel(e.mass_cancel_id),
            Event::MassCancelProgressed(e) => Self::MassCancel(e.mass_cancel_id),
        }
    }

    const fn order(order_id: u64, session_id: u32) -> Self {
        match order_id {
            0 => Self::Session(session_id),
            order_id => Self::Order(order_id),
        }
    }

    /// What it is, without which one.
    #[must_use]
    pub const fn kind(self) -> &'static str {
        match self {
            Self::Core => "core",
            Self::Broker => "broker",
            Self::Account(_) => "account",
            Self::Session(_) => "session",
            Self::Instrument(_) => "instrument",
            Self::Order(_) => "order",
            Self::MassCancel(_) => "mass-cancel",
        }
    }
}

/// `order-17592186044417`; of what there is one a core, the kind alone.
impl fmt::Display for Aggregate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = self.kind();
        match self {
            Self::Core | Self::Broker => f.write_str(kind),
            Self::Account(id) | Self::Session(id) | Self::Instrument(id) => write!(f, "{kind}-{id}"),
            Self::Order(id) | Self::MassCancel(id) => write!(f, "{kind}-{id}"),
        }
    }
}

/// A journal, as a whole system tells it from others: whose money, and which core.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Stream {
    /// `Environment`, raw.
    pub environment: u8,
    /// Core.
    pub core: u16,
}

/// `virtual-1`; an environment that this release does not know by its number.
impl fmt::Display for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match tradecore_protocol::fields::Environment::from_raw(self.environment) {
            Some(environment) => f.write_str(&environment.name().to_ascii_lowercase())?,
            None => write!(f, "{}", self.environment)?,
        }
        write!(f, "-{}", self.core)
    }
}

/// The key of an event, `virtual-1/order-17592186044417`: what has the same key stays in order, in one partition.
#[must_use]
pub fn key(stream: Stream, event: &Event) -> String {
    format!("{stream}/{}", Aggregate::of(event))
}

/// The partition of a key among `partitions`, from 0: as Apache Kafka's own clients choose it for these bytes (murmur2),
/// so that any of them finds it. The same for ever; 0 when there are none.
#[must_use]
pub const fn partition(key: &[u8], partitions: u32) -> u32 {
    match (murmur2(key) & 0x7FFF_FFFF).checked_rem(partitions) {
        Some(partition) => partition,
        None => 0,
    }
}

/// murmur2 with Kafka's seed, `org.apache.kafka.common.utils.Utils.murmur2`.
const fn murmur2(bytes: &[u8]) -> u32 {
    const SEED: u32 = 0x9747_B28C;
    const M: u32 = 0x5BD1_E995;
    let mut hash = SEED ^ bytes.len() as u32;
    let mut rest = bytes;
    while let Some((word, behind)) = rest.split_first_chunk::<4>() {
        let mut k = u32::from_le_bytes(*word).wrapping_mul(M);
        k = (k ^ (k >> 24)).wrapping_mul(M);
        hash = hash.wrapping_mul(M) ^ k;
        rest = behind;
    }
    hash = match *rest {
        [a, b, c] => (hash ^ u32::from_le_bytes([a, b, c, 0])).wrapping_mul(M),
        [a, b] => (hash ^ u32::from_le_bytes([a, b, 0, 0])).wrapping_mul(M),
        [a] => (hash ^ u32::from_le_bytes([a, 0, 0, 0])).wrapping_mul(M),
        [..] => hash,
    };
    hash = (hash ^ (hash >> 13)).wrapping_mul(M);
    hash ^ (hash >> 15)
}

#[cfg(test)]
mod tests;
