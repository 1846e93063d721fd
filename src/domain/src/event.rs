//! Events: everything that has happened, declared once.
//!
//! One frozen, pointer-free, fixed-size struct per (type, version), archived with rkyv; type and
//! version stand in the record header, never in the payload. Fields hold raw integers, so that a code
//! this release does not know can still be read. A released struct never changes: a changed event is a
//! new version with a pure upcaster. Every size is asserted; golden bytes are kept in `tests/`.

use rkyv::api::low::{LowDeserializer, LowSerializer};
use rkyv::rancor::Failure;
use rkyv::ser::allocator::SubAllocator;
use rkyv::ser::writer::Buffer;
use rkyv::{Archive, Deserialize, Serialize};

/// Bits of `OrderImage::flags`.
pub mod order_flags {
    /// The broker has shown that it has the order.
    pub const ACKED: u8 = 1;
    /// A cancel is on its way.
    pub const CANCEL_PENDING: u8 = 2;
    /// A replace is on its way.
    pub const REPLACE_PENDING: u8 = 4;
    /// The outcome of something that was sent is unknown.
    pub const DOUBT: u8 = 8;
}

/// A value of a field as tools print it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldValue<'a> {
    /// An unsigned integer of at most 32 bits.
    Short(u32),
    /// An unsigned integer of 64 bits.
    Unsigned(u64),
    /// A signed integer.
    Signed(i128),
    /// Bytes: NUL-padded text.
    Text(&'a [u8]),
}

/// A payload that could not be read back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DecodeError {
    /// Type or version is newer than this release.
    Unknown {
        /// Type in the record header.
        kind: u16,
        /// Version in the record header.
        version: u8,
    },
    /// The bytes are not an archive of that type.
    Malformed {
        /// Type in the record header.
        kind: u16,
    },
}

impl core::fmt::Display for DecodeError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Unknown { kind, version } => {
                write!(f, "event type {kind} version {version} is newer than this release; start a newer one")
            }
            Self::Malformed { kind } => write!(f, "the bytes are no event of type {kind}"),
        }
    }
}

impl core::error::Error for DecodeError {}

/// A field of an event as tools see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field<'a> {
    /// The field that it is part of: `meta`, `order`, `broker`; empty for one of the event's own.
    pub part: &'static str,
    /// Its name.
    pub name: &'static str,
    /// Its value.
    pub value: FieldValue<'a>,
}

trait Visit {
    fn visit(&self, part: &'static str, name: &'static str, f: &mut dyn FnMut(&Field<'_>));

    /// What is said of the field `name` of this part.
    fn doc_of(&self, name: &str) -> &'static str;
}
macro_rules! visit_ints {
    ($($t:ty => $variant:ident as $wide:ty),*) => {$(
        impl Visit for $t {
            fn visit(&self, part: &'static str, name: &'static str, f: &mut dyn FnMut(&Field<'_>)) {
                f(&Field { part, name, value: FieldValue::$variant(<$wide>::from(*self)) });
            }

            fn doc_of(&self, _: &str) -> &'static str {
                ""
            }
        }
    )*};
}
visit_ints!(u8 => Short as u32, u16 => Short as u32, u32 => Short as u32, u64 => Unsigned as u64,
            i64 => Signed as i128, i128 => Signed as i128);
impl<const N: usize> Visit for [u8; N] {
    fn visit(&self, part: &'static str, name: &'static str, f: &mut dyn FnMut(&Field<'_>)) {
        f(&Field { part, name, value: FieldValue::Text(self) });
    }

    fn doc_of(&self, _: &str) -> &'static str {
        ""
    }
}

impl<const N: usize, const M: usize> Visit for [[u8; N]; M] {
    fn visit(&self, part: &'static str, name: &'static str, f: &mut dyn FnMut(&Field<'_>)) {
        f(&Field { part, name, value: FieldValue::Text(self.as_flattened()) });
    }

    fn doc_of(&self, _: &str) -> &'static str {
        ""
    }
}

/// What several events hold, and in which order tools see it.
macro_rules! parts {
    ($($(#[doc = $doc:literal])* $name:ident {
        $($(#[doc = $fdoc:literal])* $field:ident: $ty:ty,)*
    } visited { $($visited:ident),* })*) => {$(
        $(#[doc = $doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Archive, Serialize, Deserialize)]
        #[repr(C)]
        pub struct $name { $($(#[doc = $fdoc])* pub $field: $ty,)* }
        impl Visit for $name {
            fn visit(&self, _: &'static str, name: &'static str, f: &mut dyn FnMut(&Field<'_>)) {
                $(self.$visited.visit(name, stringify!($visited), f);)*
            }

            fn doc_of(&self, name: &str) -> &'static str {
                $(if name == stringify!($field) { return concat!($($fdoc),*); })*
                ""
            }
        }
    )*};
}

parts! {
    /// What every event says of its place: who asked, who is told, why.
    Meta {
        /// In-sequence number of the session's frame that this decision consumed; 0 when none was.
        client_seq: u64,
        /// Number of the report in the session's stream; 0 when the event is not reported.
        report_seq: u64,
        /// Number of the report among all reports of the core (the drop-copy stream); 0 when not reported.
        report_no: u64,
        /// Order id, request id or the like that chains all events of one cause.
        correlation_id: u64,
        /// UTC ns when the cause reached the gateway.
        recv_time_ns: u64,
        /// Session that is told, and whose frame was consumed; 0 when none.
        session_id: u32,
        /// Account concerned; 0 when none.
        account_id: u32,
    } visited { session_id, account_id, client_seq, report_seq, report_no, correlation_id, recv_time_ns }
    /// An order as it stands after the event.
    OrderImage {
        /// Σ px × qty of all fills, money × 10⁻¹⁸.
        cum_cost: i128,
        /// FIX OrderID (37); 0 for an order that was rejected before it had one.
        order_id: u64,
        /// FIX ClOrdID (11) of the new order.
        cl_ord_id: u64,
        /// FIX Price (44) × 10⁻⁹; `Px::NONE` for a market order.
        px: i64,
        /// FIX OrderQty (38) × 10⁻⁹, total.
        order_qty: i64,
        /// FIX CumQty (14) × 10⁻⁹.
        cum_qty: i64,
        /// UTC ns after which the new order must not leave; 0 for never.
        valid_until_ns: u64,
        /// Version of the order, from 1, raised by each event of the order.
        order_version: u32,
        /// Owning session.
        session_id: u32,
        /// Instrument.
        instrument_id: u32,
        /// Account.
        account_id: u32,
        /// Strategy, free for the client.
        strategy_id: u32,
        /// The person or algorithm that decided, free for the client.
        decision_maker: u32,
        /// `Side`.
        side: u8,
        /// `OrdType`.
        ord_type: u8,
        /// `Tif`.
        tif: u8,
        /// `exec_flags`.
        exec_flags: u8,
        /// `OrdStatus`.
        ord_status: u8,
        /// `order_flags`: what is known and what is under way.
        flags: u8,
        /// Reserved, zero.
        reserved: [u8; 2],
    } visited {
        order_id, cl_ord_id, px, order_qty, cum_qty, cum_cost, valid_until_ns, order_version, session_id, instrument_id,
        account_id, strategy_id, decision_maker, side, ord_type, tif, exec_flags, ord_status, flags
    }
    /// What a broker said with a fact, so that it is applied once and found again.
    BrokerRef {
        /// Cursor of the broker's event stream; 0 when the fact did not come by the stream.
        broker_seq: u64,
        /// The broker's own order number, or a hash of its text; 0 when unknown.
        broker_order_id: u64,
        /// Broker's time of the fact, UTC ns; 0 when unknown.
        broker_time_ns: u64,
    } visited { broker_seq, broker_order_id, broker_time_ns }
}

macro_rules! events {
    ($($(#[doc = $doc:literal])* $code:literal v $version:literal $name:ident [$bytes:literal] {
        $($(#[doc = $fdoc:literal])* $field:ident: $ty:ty,)*
    })*) => {
        $(
            $(#[doc = $doc])*
            #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Archive, Serialize, Deserialize)]
            #[repr(C)]
            pub struct $name { $($(#[doc = $fdoc])* pub $field: $ty,)* }
            const _: () = assert!(size_of::<<$name as Archive>::Archived>() == $bytes);
            const _: () = assert!($bytes % 16 == 0, "events are multiples of 16 bytes, without hidden padding");
            const _: () = assert!($code >= 64, "types below 64 are the journal's own");
            impl Visit for $name {
                fn visit(&self, _: &'static str, _: &'static str, f: &mut dyn FnMut(&Field<'_>)) {
                    $(if !stringify!($field).starts_with("reserved") { self.$field.visit("", stringify!($field), f); })*
                }

                fn doc_of(&self, name: &str) -> &'static str {
                    $(if name == stringify!($field) { return concat!($($fdoc),*); })*
                    ""
                }
            }
            impl $name {
                /// Length of its archive.
                pub const BYTES: usize = $bytes;
            }
            impl From<$name> for Event {
                fn from(event: $name) -> Self { Self::$name(event) }
            }
        )*

        /// An event of any type, in memory.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[allow(clippy::large_enum_variant)]
        pub enum Event { $($(#[doc = $doc])* $name($name),)* }

        /// Largest payload of an event, bytes.
        pub const EVENT_BYTES_MAX: usize = {
            let mut max = 0;
            $(if $bytes > max { max = $bytes; })*
            max
        };

        /// Every event: type, version, name, payload bytes, meaning.
        pub const EVENTS: &[(u16, u8, &str, usize, &str)] =
            &[$(($code, $version, stringify!($name), $bytes, concat!($($doc),*)),)*];

        impl Event {
            /// Type code and version for the record header.
            #[must_use]
            pub const fn kind(&self) -> (u16, u8) {
                match self { $(Self::$name(_) => ($code, $version),)* }
            }

            /// The type's name.
            #[must_use]
            pub const fn name(&self) -> &'static str {
                match self { $(Self::$name(_) => stringify!($name),)* }
            }

            /// Length of the archive, bytes.
            #[must_use]
            pub const fn payload_len(&self) -> usize {
                match self { $(Self::$name(_) => $bytes,)* }
            }

            /// Who asked and who is told.
            #[must_use]
            pub const fn meta(&self) -> &Meta {
                match self { $(Self::$name(event) => &event.meta,)* }
            }

            /// As `meta`, to be filled in by `decide`.
            pub const fn meta_mut(&mut self) -> &mut Meta {
                match self { $(Self::$name(event) => &mut event.meta,)* }
            }

            /// Writes the archive into `out`, which holds `payload_len` bytes; false when it does not.
            pub fn archive_into(&self, out: &mut [u8]) -> bool {
                match self { $(Self::$name(event) => archive(event, out),)* }
            }

            /// Reads an archive back.
            ///
            /// # Errors
            /// `Unknown` for a type or version of a newer release, `Malformed` for bytes that are no archive, or not its
            /// length.
            pub fn from_archive(kind: u16, version: u8, bytes: &[u8]) -> Result<Self, DecodeError> {
                match (kind, version) {
                    $(($code, $version) => unarchive::<$name>(bytes).map(Self::$name)
                        .ok_or(DecodeError::Malformed { kind }),)*
                    (kind, version) => Err(DecodeError::Unknown { kind, version }),
                }
            }

            /// Calls `f` with every field's name and value, in a fixed order.
            pub fn visit_fields(&self, f: &mut dyn FnMut(&'static str, FieldValue<'_>)) {
                self.visit_parts(&mut |field| f(field.name, field.value));
            }

            /// As `visit_fields`, with the part that each field belongs to; those of a part follow each other.
            pub fn visit_parts(&self, f: &mut dyn FnMut(&Field<'_>)) {
                match self { $(Self::$name(event) => event.visit("", "", f),)* }
            }

            /// What the declaration says of a field.
            #[must_use]
            pub fn doc_of(&self, part: &str, name: &str) -> &'static str {
                match self {
                    $(Self::$name(event) => {
                        if part.is_empty() { return event.doc_of(name); }
                        $(if part == stringify!($field) { return event.$field.doc_of(name); })*
                        ""
                    })*
                }
            }

            /// One event of each type, in the order of `EVENTS`, with every field zero: for what is made of the
            /// declaration.
            #[must_use]
            pub fn zeroed() -> Vec<Self> {
                vec![$(Self::$name($name::default()),)*]
            }
        }
    };
}

fn archive<T>(event: &T, out: &mut [u8]) -> bool
where
    T: for<'a, 'b, 'c> Serialize<LowSerializer<Buffer<'a>, SubAllocator<'b>, Failure>>,
{
    rkyv::api::low::to_bytes_in_with_alloc::<_, _, Failure>(event, Buffer::from(out), SubAllocator::new(&mut []))
        .is_ok()
}

fn unarchive<T>(bytes: &[u8]) -> Option<T>
where
    T: Archive,
    T::Archived: for<'a> rkyv::bytecheck::CheckBytes<rkyv::api::low::LowValidator<'a, Failure>>
        + Deserialize<T, LowDeserializer<Failure>>,
{
    // Longer bytes hold an archive as well, at their end.
    if bytes.len() != size_of::<T::Archived>() {
        return None;
    }
    let archived = rkyv::api::low::access::<T::Archived, Failure>(bytes).ok()?;
    rkyv::api::low::deserialize::<T, Failure>(archived).ok()
}

events! {
    /// The core started; from here on identities carry the new epoch.
    64 v 1 CoreStarted [64] {
        /// Place of the event.
        meta: Meta,
        /// Start epoch, synced before this event.
        epoch: u32,
        /// Core.
        core: u16,
        /// `Environment`.
        environment: u8,
        /// `Durability` class of the core.
        durability: u8,
        /// Reserved, zero.
        reserved: u64,
    }
    /// An instrument was defined or redefined.
    65 v 1 InstrumentDefined [144] {
        /// Place of the event.
        meta: Meta,
        /// Greatest notional of one order, money × 10⁻¹⁸.
        order_notional_max: i128,
        /// Greatest quantity of one order × 10⁻⁹.
        order_qty_max: i64,
        /// Smallest price step × 10⁻⁹.
        tick_size: i64,
        /// Smallest quantity step × 10⁻⁹.
        lot_size: i64,
        /// Smallest quantity of one order × 10⁻⁹.
        qty_min: i64,
        /// Greatest distance of a price from the market, parts per million.
        collar_ppm: u32,
        /// Instrument.
        instrument_id: u32,
        /// Greatest age of a market price that a check may use, ns.
        quote_age_max_ns: u64,
        /// Symbol at the broker, NUL-padded ASCII.
        symbol: [u8; 16],
        /// Currency of the price, NUL-padded ASCII.
        currency: [u8; 8],
        /// Reserved, zero.
        reserved: u64,
    }
    /// An account was defined or its limits were changed.
    66 v 1 AccountDefined [96] {
        /// Place of the event.
        meta: Meta,
        /// Cash at definition, money × 10⁻¹⁸; counts once, when the account is new.
        initial_cash: i128,
        /// Greatest absolute position × 10⁻⁹.
        position_max: i64,
        /// Greatest number of open orders.
        open_orders_max: u32,
        /// Greatest number of new orders and replaces a second; 0 for no limit.
        rate_max: u32,
        /// Currency, NUL-padded ASCII.
        currency: [u8; 8],
        /// Owner, a user id; 0 when unset.
        owner_id: u64,
    }
    /// A session was defined.
    67 v 1 SessionDefined [80] {
        /// Place of the event; `session_id` is the session.
        meta: Meta,
        /// Session epoch, raised by an operator's reset.
        session_epoch: u64,
        /// `Role`.
        role: u8,
        /// `CodMode` by default.
        cod_mode: u8,
        /// Reserved, zero.
        reserved: [u8; 6],
        /// Reserved, zero.
        reserved2: u64,
        /// Reserved, zero.
        reserved3: u64,
    }
    /// A session logged on.
    68 v 1 SessionLoggedOn [64] {
        /// Place of the event; `session_id` is the session.
        meta: Meta,
        /// Number of this connection within the core's epoch.
        connection_no: u64,
        /// Grace window of cancel-on-disconnect, ms.
        cod_window_ms: u32,
        /// `CodMode` in force.
        cod_mode: u8,
        /// Reserved, zero.
        reserved: [u8; 3],
    }
    /// A session's connection ended; `cod_due_ns` says when its orders are to be canceled.
    69 v 1 SessionEnded [80] {
        /// Place of the event; `session_id` is the session.
        meta: Meta,
        /// UTC ns at which cancel-on-disconnect falls due; 0 for never.
        cod_due_ns: u64,
        /// `Reason`.
        reason: u16,
        /// 1 when every order is to be canceled, 0 when only those that carry the flag.
        cod_all: u8,
        /// Reserved, zero.
        reserved: [u8; 5],
        /// Reserved, zero.
        reserved2: u64,
        /// Reserved, zero.
        reserved3: u64,
    }
    /// A new order was accepted: the intent, before any byte of it leaves.
    80 v 1 OrderAccepted [176] {
        /// Place of the event.
        meta: Meta,
        /// The order.
        order: OrderImage,
        /// Hash of the request's content, for idempotency.
        content_hash: u64,
        /// Market price that the collar was checked against × 10⁻⁹; `Px::NONE` when none was.
        market_px: i64,
        /// UTC ns of that price.
        market_time_ns: u64,
        /// FIX ExecID (17).
        exec_id: u64,
    }
    /// A new order was rejected by a decision.
    81 v 1 OrderRejected [192] {
        /// Place of the event.
        meta: Meta,
        /// What was offered, in the unit of the reason; 0 where it has none.
        offered: i128,
        /// What is allowed, in the unit of the reason; 0 where it has none.
        allowed: i128,
        /// The order as it was asked for.
        order: OrderImage,
        /// Hash of the request's content, for idempotency.
        content_hash: u64,
        /// `Reason`.
        reason: u16,
        /// Reserved, zero.
        reserved: [u8; 6],
    }
    /// The broker acknowledged a new order.
    82 v 1 OrderAcknowledged [176] {
        /// Place of the event.
        meta: Meta,
        /// The order after it.
        order: OrderImage,
        /// The broker's words.
        broker: BrokerRef,
        /// FIX ExecID (17).
        exec_id: u64,
    }
    /// A fill.
    83 v 1 OrderFilled [224] {
        /// Place of the event.
        meta: Meta,
        /// The order after it.
        order: OrderImage,
        /// The broker's words.
        broker: BrokerRef,
        /// FIX ExecID (17).
        exec_id: u64,
        /// Fee, money × 10⁻¹⁸; negative for a rebate.
        fee: i128,
        /// The broker's execution id, or a hash of its text.
        broker_exec_id: u64,
        /// FIX LastPx (31) × 10⁻⁹.
        last_px: i64,
        /// FIX LastQty (32) × 10⁻⁹.
        last_qty: i64,
        /// `Liquidity`; 0 when unknown.
        liquidity: u8,
        /// 1 when the order was filled beyond its quantity.
        overfill: u8,
        /// Reserved, zero.
        reserved: [u8; 6],
    }
    /// An order ended without a further fill: canceled, expired, rejected by the broker, not at the broker.
    84 v 1 OrderClosed [192] {
        /// Place of the event.
        meta: Meta,
        /// The order after it; its status says how it ended.
        order: OrderImage,
        /// The broker's words.
        broker: BrokerRef,
        /// FIX ExecID (17).
        exec_id: u64,
        /// ClOrdID of the request that ended it; 0 when none did.
        req_cl_ord_id: u64,
        /// `Reason`.
        reason: u16,
        /// Reserved, zero.
        reserved: [u8; 6],
    }
    /// A cancel was accepted: the intent.
    85 v 1 CancelRequested [176] {
        /// Place of the event.
        meta: Meta,
        /// The order after it.
        order: OrderImage,
        /// ClOrdID of the cancel; 0 when it is ours.
        req_cl_ord_id: u64,
        /// FIX ExecID (17); 0 when not reported.
        exec_id: u64,
        /// `Reason`: who wants it.
        reason: u16,
        /// Reserved, zero.
        reserved: [u8; 14],
    }
    /// A replace was accepted: the intent.
    86 v 1 ReplaceRequested [192] {
        /// Place of the event.
        meta: Meta,
        /// The order after it, still with its old price and quantity.
        order: OrderImage,
        /// ClOrdID of the replace.
        req_cl_ord_id: u64,
        /// FIX ExecID (17).
        exec_id: u64,
        /// New price × 10⁻⁹.
        new_px: i64,
        /// New total quantity × 10⁻⁹.
        new_qty: i64,
        /// UTC ns after which the replace must not leave; 0 for never.
        valid_until_ns: u64,
        /// Zero.
        reserved: u64,
    }
    /// The broker replaced an order.
    87 v 1 OrderReplaced [192] {
        /// Place of the event.
        meta: Meta,
        /// The order after it.
        order: OrderImage,
        /// The broker's words.
        broker: BrokerRef,
        /// FIX ExecID (17).
        exec_id: u64,
        /// ClOrdID of the replace.
        req_cl_ord_id: u64,
        /// Reserved, zero.
        reserved: u64,
    }
    /// The broker refused a cancel or a replace; the order goes on.
    88 v 1 ChangeRejected [192] {
        /// Place of the event.
        meta: Meta,
        /// The order after it.
        order: OrderImage,
        /// The broker's words.
        broker: BrokerRef,
        /// FIX ExecID (17).
        exec_id: u64,
        /// ClOrdID of the request.
        req_cl_ord_id: u64,
        /// `Reason`.
        reason: u16,
        /// 1 for a cancel, 2 for a replace.
        change: u8,
        /// Reserved, zero.
        reserved: [u8; 5],
    }
    /// The outcome of an effect became unknown.
    89 v 1 OrderInDoubt [160] {
        /// Place of the event.
        meta: Meta,
        /// The order after it.
        order: OrderImage,
        /// FIX ExecID (17).
        exec_id: u64,
        /// `Reason`.
        reason: u16,
        /// Reserved, zero.
        reserved: [u8; 6],
    }
    /// Evidence from the broker ended a doubt: the order is live there.
    90 v 1 OrderRestated [176] {
        /// Place of the event.
        meta: Meta,
        /// The order after it.
        order: OrderImage,
        /// The broker's words.
        broker: BrokerRef,
        /// FIX ExecID (17).
        exec_id: u64,
    }
    /// A request on an order (not a new order) was rejected by a decision.
    91 v 1 RequestRejected [112] {
        /// Place of the event.
        meta: Meta,
        /// What was offered, in the unit of the reason; 0 where it has none.
        offered: i128,
        /// What is allowed, in the unit of the reason; 0 where it has none.
        allowed: i128,
        /// ClOrdID of the request.
        req_cl_ord_id: u64,
        /// ClOrdID of the order that it named.
        orig_cl_ord_id: u64,
        /// Order that it named or that was found; 0 when none.
        order_id: u64,
        /// `Reason`.
        reason: u16,
        /// Template of the request.
        ref_template: u16,
        /// `OrdStatus` of the order; 0 when none was found.
        ord_status: u8,
        /// Reserved, zero.
        reserved: [u8; 3],
    }
    /// The broker said something that contradicts what we know; nothing is lost of it.
    92 v 1 BrokerContradicted [128] {
        /// Place of the event.
        meta: Meta,
        /// The broker's words.
        broker: BrokerRef,
        /// Order concerned; 0 when unknown here.
        order_id: u64,
        /// The broker's execution id; 0 when none.
        broker_exec_id: u64,
        /// Price in the fact × 10⁻⁹.
        last_px: i64,
        /// Quantity in the fact × 10⁻⁹.
        last_qty: i64,
        /// What the fact was: the discriminant of `FactKind`.
        fact: u8,
        /// `OrdStatus` here when it came; 0 when the order is unknown.
        ord_status: u8,
        /// `Reason`.
        reason: u16,
        /// `Side` in the fact; 0 when unknown.
        side: u8,
        /// Reserved, zero.
        reserved: [u8; 3],
        /// Instrument; 0 when unknown.
        instrument_id: u32,
        /// Reserved, zero.
        reserved2: u32,
        /// Reserved, zero.
        reserved3: u64,
    }
    /// The broker's stream moved on by a fact that changes nothing (a duplicate).
    93 v 1 BrokerFactIgnored [80] {
        /// Place of the event.
        meta: Meta,
        /// The broker's words.
        broker: BrokerRef,
        /// Order concerned; 0 when unknown here.
        order_id: u64,
    }
    /// The connection to the broker changed its state.
    94 v 1 BrokerStatusChanged [64] {
        /// Place of the event.
        meta: Meta,
        /// `BrokerStatus`.
        status: u8,
        /// Reserved, zero.
        reserved: [u8; 7],
        /// Number of the connection within the core's epoch.
        connection_no: u64,
    }
    /// A mass cancel was accepted; its orders are canceled step by step.
    95 v 1 MassCancelAccepted [96] {
        /// Place of the event.
        meta: Meta,
        /// Request id of the client; 0 for one of ours.
        request_id: u64,
        /// Identity of the mass cancel: number within the core.
        mass_cancel_id: u64,
        /// Greatest `OrderId` that is covered: later orders are not.
        order_id_max: u64,
        /// Account covered; 0 for all of the session.
        account_id: u32,
        /// Instrument covered; 0 for all.
        instrument_id: u32,
        /// Session covered; 0 for all.
        target_session_id: u32,
        /// Strategy covered; 0 for all.
        strategy_id: u32,
        /// `Side` covered; 0 for both.
        side: u8,
        /// 1 when only orders with the cancel-on-disconnect flag are covered.
        flagged_only: u8,
        /// 1 engages the lock-out, 2 releases it, 0 leaves it.
        lockout: u8,
        /// Reserved, zero.
        reserved: u8,
        /// `Reason` that the canceled orders carry.
        reason: u16,
        /// Reserved, zero.
        reserved2: [u8; 2],
    }
    /// Every order of a mass cancel has its cancel on the way or is closed.
    96 v 1 MassCancelCompleted [80] {
        /// Place of the event.
        meta: Meta,
        /// Request id of the client.
        request_id: u64,
        /// Identity of the mass cancel.
        mass_cancel_id: u64,
        /// Orders that a cancel was sent for.
        cancel_requested: u32,
        /// Orders covered that a cancel was already pending for.
        already_pending: u32,
        /// Session covered; 0 for all.
        target_session_id: u32,
        /// Reserved, zero.
        reserved: u32,
    }
    /// A kill switch was engaged or released.
    97 v 1 KillSwitchChanged [112] {
        /// Place of the event; `account_id` is the account, 0 for the whole core.
        meta: Meta,
        /// Request id of the client.
        request_id: u64,
        /// Kill epoch of the core after it: effects decided under an older one must not leave.
        kill_epoch: u64,
        /// 1 engaged, 0 released.
        engaged: u8,
        /// Reserved, zero.
        reserved: [u8; 7],
        /// Who and why, in the operator's words, NUL-padded ASCII.
        operator_tag: [u8; 32],
        /// Reserved, zero.
        reserved2: u64,
    }
    /// The trading state of an account or of the core changed.
    98 v 1 TradingStateChanged [64] {
        /// Place of the event; `account_id` is the account, 0 for the whole core.
        meta: Meta,
        /// `TradingState`.
        state: u8,
        /// Reserved, zero.
        reserved: u8,
        /// `Reason`.
        reason: u16,
        /// Reserved, zero.
        reserved2: [u8; 12],
    }
    /// A step of a mass cancel: how far it has come.
    99 v 1 MassCancelProgressed [80] {
        /// Place of the event.
        meta: Meta,
        /// Identity of the mass cancel.
        mass_cancel_id: u64,
        /// Next place of the order table to look at.
        next_slot: u32,
        /// Orders that a cancel has been sent for.
        cancel_requested: u32,
        /// Orders covered that a cancel was already pending for.
        already_pending: u32,
        /// Reserved, zero.
        reserved: u32,
        /// Reserved, zero.
        reserved2: u64,
    }
    /// A step of the search for orders whose outcome became unknown when the core or the connection ended.
    100 v 1 DoubtSearchProgressed [64] {
        /// Place of the event.
        meta: Meta,
        /// Next place of the order table to look at.
        next_slot: u32,
        /// 1 when every place has been looked at.
        done: u8,
        /// Reserved, zero.
        reserved: [u8; 3],
        /// Reserved, zero.
        reserved2: u64,
    }
    /// An operator has written something down.
    101 v 1 OperatorNoted [160] {
        /// Place of the event.
        meta: Meta,
        /// Request id of the client.
        request_id: u64,
        /// Who, what and why, in the operator's words, NUL-padded ASCII.
        text: [[u8; 32]; 3],
        /// Reserved, zero.
        reserved: u64,
    }
}
