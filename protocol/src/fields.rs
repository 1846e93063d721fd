//! Field types: the vocabulary that the wire, the journal and the domain share.
//!
//! Owns units and the meaning of each code. Knows nothing of frames, sockets or rules.
//! On the wire and in the journal every enum is its raw integer; `from_raw` is the only way in,
//! and 0 is never a valid value, so that a zeroed buffer is never a valid order.

/// Ticks of a price or quantity per whole unit: both are integers × 10⁻⁹.
pub const UNITS_PER_ONE: i64 = 1_000_000_000;

/// Price in units of 10⁻⁹ of the quote currency. Zero and negative prices are legal prices.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Px(pub i64);

impl Px {
    /// "No price": market orders and absent optional prices carry it.
    pub const NONE: Self = Self(i64::MIN);
}

/// Quantity in units of 10⁻⁹ of the instrument.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Qty(pub i64);

/// Money in units of 10⁻¹⁸ of the currency: exactly one `Px` × `Qty` product.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Money(pub i128);

impl Money {
    /// The exact value of `qty` at `px`; it cannot overflow.
    #[must_use]
    pub fn of(px: Px, qty: Qty) -> Self {
        // |i64| × |i64| < 2^126 fits an i128.
        Self(i128::from(px.0).wrapping_mul(i128::from(qty.0)))
    }
}

/// UTC nanoseconds since the Unix epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnixNanos(pub u64);

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident($raw:ty);)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub $raw);
        impl $name {
            /// No value: an absent optional field.
            pub const NONE: Self = Self(0);
        }
    )*};
}

ids! {
    /// FIX ClOrdID (11): client epoch in the top 16 bits, counter in the low 48; chosen by the client,
    /// unique per session.
    ClOrdId(u64);
    /// FIX OrderID (37): start epoch of the core in the top 20 bits, counter in the low 44.
    OrderId(u64);
    /// FIX ExecID (17): start epoch of the core in the top 20 bits, counter in the low 44.
    ExecId(u64);
    /// Journal sequence number of an event, gapless from 1.
    Seq(u64);
    /// A configured instrument.
    InstrumentId(u32);
    /// FIX Account (1).
    AccountId(u32);
    /// A configured session.
    SessionId(u32);
    /// FIX StrategyID-like tag, free for the client.
    StrategyId(u32);
}

impl ClOrdId {
    /// Bits of the counter below the client epoch.
    pub const COUNTER_BITS: u32 = 48;

    /// The id number `counter` of client epoch `epoch`; counters above 48 bits are cut.
    #[must_use]
    pub const fn new(epoch: u16, counter: u64) -> Self {
        Self((epoch as u64) << Self::COUNTER_BITS | (counter & ((1 << Self::COUNTER_BITS) - 1)))
    }

    /// The client epoch, 0 to 65,535.
    #[must_use]
    pub const fn epoch(self) -> u16 {
        (self.0 >> Self::COUNTER_BITS) as u16
    }

    /// The number below the client epoch.
    #[must_use]
    pub const fn counter(self) -> u64 {
        self.0 & ((1 << Self::COUNTER_BITS) - 1)
    }
}

/// Bits of the counter below the start epoch in `OrderId` and `ExecId`.
pub const ID_COUNTER_BITS: u32 = 44;

/// An enum whose wire form is its raw integer, with the table that documents are made from.
macro_rules! wire_enum {
    ($(#[$doc:meta])* $name:ident: $raw:ty { $($(#[doc = $vdoc:literal])* $variant:ident = $value:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr($raw)]
        pub enum $name { $($(#[doc = $vdoc])* $variant = $value,)* }

        impl $name {
            /// Every value: raw code, name, meaning.
            pub const TABLE: &'static [(Self, $raw, &'static str, &'static str)] =
                &[$((Self::$variant, $value, stringify!($variant), concat!($($vdoc),*)),)*];

            /// The value with this raw code, if there is one.
            #[must_use]
            pub const fn from_raw(raw: $raw) -> Option<Self> {
                match raw { $($value => Some(Self::$variant),)* _ => None }
            }

            /// The raw code.
            #[must_use]
            pub const fn raw(self) -> $raw { self as $raw }

            /// The name as documents and logs write it.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => stringify!($variant),)* }
            }
        }
    };
}
pub(crate) use wire_enum;

wire_enum! {
    /// FIX Side (54).
    Side: u8 {
        /// Buy.
        Buy = 1,
        /// Sell, long or short as the account allows.
        Sell = 2,
    }
}

impl Side {
    /// +1 for a buy, −1 for a sell.
    #[must_use]
    pub const fn sign(self) -> i128 {
        match self {
            Self::Buy => 1,
            Self::Sell => -1,
        }
    }
}

wire_enum! {
    /// FIX OrdType (40).
    OrdType: u8 {
        /// At the best price there is; carries no price.
        Market = 1,
        /// At the price or better.
        Limit = 2,
    }
}

wire_enum! {
    /// FIX TimeInForce (59).
    Tif: u8 {
        /// Until the end of the trading day.
        Day = 1,
        /// Good till canceled.
        Gtc = 2,
        /// Immediate or cancel: what does not fill at once is canceled.
        Ioc = 3,
        /// Fill or kill: all at once, or nothing.
        Fok = 4,
    }
}

wire_enum! {
    /// FIX OrdStatus (39), with the two that a gateway must have and FIX has not.
    OrdStatus: u8 {
        /// Accepted and journaled here; the broker has not answered.
        PendingNew = 1,
        /// Live at the broker.
        New = 2,
        /// Live, in part filled.
        PartiallyFilled = 3,
        /// Filled in full.
        Filled = 4,
        /// Canceled.
        Canceled = 5,
        /// Refused, by us or by the broker.
        Rejected = 6,
        /// Ended by its time in force.
        Expired = 7,
        /// Live; a cancel is on its way.
        PendingCancel = 8,
        /// Live; a replace is on its way.
        PendingReplace = 9,
        /// Sent, outcome unknown: counts at worst case until evidence comes.
        InDoubt = 10,
    }
}

impl OrdStatus {
    /// True when the order can never trade again (but for a broker that contradicts itself).
    #[must_use]
    pub const fn is_closed(self) -> bool {
        matches!(self, Self::Filled | Self::Canceled | Self::Rejected | Self::Expired)
    }
}

wire_enum! {
    /// FIX ExecType (150).
    ExecType: u8 {
        /// Accepted by the gateway: journaled, on its way to the broker.
        PendingNew = 1,
        /// Acknowledged by the broker.
        New = 2,
        /// A fill, partial or whole.
        Trade = 3,
        /// Canceled.
        Canceled = 4,
        /// Replaced.
        Replaced = 5,
        /// Rejected.
        Rejected = 6,
        /// Ended by its time in force.
        Expired = 7,
        /// A cancel was accepted by the gateway.
        PendingCancel = 8,
        /// A replace was accepted by the gateway.
        PendingReplace = 9,
        /// The outcome at the broker became unknown.
        InDoubt = 10,
        /// Evidence ended the doubt or corrected the state.
        Restated = 11,
        /// An answer to a query; nothing happened.
        Status = 12,
    }
}

wire_enum! {
    /// FIX LastLiquidityInd (851).
    Liquidity: u8 {
        /// Added.
        Maker = 1,
        /// Removed.
        Taker = 2,
    }
}

wire_enum! {
    /// What a session may do.
    Role: u8 {
        /// Orders, and all that reads.
        Trade = 1,
        /// A read-only copy of every report of the core.
        DropCopy = 2,
        /// Quotes and instruments only.
        MarketData = 3,
        /// Kill switch, mass cancels, and all that reads.
        Admin = 4,
    }
}

wire_enum! {
    /// Whose money: part of logon and of every id that a broker sees.
    Environment: u8 {
        /// Real money.
        Live = 1,
        /// A broker's paper account.
        Paper = 2,
        /// The built-in venue.
        Virtual = 3,
    }
}

wire_enum! {
    /// Durability class that a report has reached.
    Durability: u8 {
        /// Survives a crash of the process.
        Journaled = 1,
        /// Survives power loss.
        Synced = 2,
        /// Survives the loss of the host.
        Replicated = 3,
    }
}

wire_enum! {
    /// Cancel-on-disconnect mode of a session.
    CodMode: u8 {
        /// Nothing is canceled, but orders that carry the flag.
        None = 1,
        /// On a lost connection.
        Disconnect = 2,
        /// On logout.
        Logout = 3,
        /// On both.
        Both = 4,
    }
}

wire_enum! {
    /// State of an account or of the core: what new orders may pass.
    TradingState: u8 {
        /// Everything passes.
        Open = 1,
        /// Only what reduces risk passes: cancels.
        CancelOnly = 2,
        /// As `CancelOnly`, set by a broker's contradiction; an operator must lift it.
        Frozen = 3,
    }
}

wire_enum! {
    /// State of the connection to the broker.
    BrokerStatus: u8 {
        /// No connection.
        Down = 1,
        /// Connected; facts are being compared.
        Syncing = 2,
        /// New orders pass.
        Ready = 3,
    }
}

/// Flags of a new order, a bit each.
pub mod exec_flags {
    /// Refuse rather than take liquidity.
    pub const POST_ONLY: u8 = 1;
    /// Cancel when the session's connection is lost, whatever the session's mode.
    pub const CANCEL_ON_DISCONNECT: u8 = 2;
    /// Every bit that has a meaning; others are refused.
    pub const ALL: u8 = POST_ONLY | CANCEL_ON_DISCONNECT;
}
