//! `golden/events.hex` against the code: one frozen value of every event type, byte by byte.
//!
//! A line is `kind version Name hex`. What stands there has been released: a journal somewhere holds such bytes.
//! `UPDATE_DOCS=1` adds the line of a new type or version, and never changes one.
#![allow(clippy::arithmetic_side_effects, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::collections::BTreeMap;
use std::path::Path;

use proptest::prelude::*;
use tradecore_domain::event::*;

/// Bytes that count on, so that every field of an event has another value and none is zero.
struct Counting(u32);

impl Counting {
    fn next<const N: usize>(&mut self) -> [u8; N] {
        core::array::from_fn(|_| {
            self.0 += 1;
            u8::try_from(self.0 % 255 + 1).expect("below 256")
        })
    }
}

/// A field with the next value.
trait Next {
    fn next(from: &mut Counting) -> Self;
}

macro_rules! next_ints {
    ($($t:ty),*) => {$(
        impl Next for $t {
            fn next(from: &mut Counting) -> Self { Self::from_le_bytes(from.next()) }
        }
    )*};
}
next_ints!(u8, u16, u32, u64, i64, i128);

impl<const N: usize> Next for [u8; N] {
    fn next(from: &mut Counting) -> Self {
        from.next()
    }
}

impl<const N: usize, const M: usize> Next for [[u8; N]; M] {
    fn next(from: &mut Counting) -> Self {
        std::array::from_fn(|_| from.next())
    }
}

/// Structs whose fields get their values in the order that is written here: the order of the released layout.
macro_rules! next_structs {
    ($($name:ident { $($field:ident)* })*) => {$(
        impl Next for $name {
            fn next(from: &mut Counting) -> Self { Self { $($field: Next::next(from),)* } }
        }
    )*};
}

macro_rules! samples {
    ($($name:ident { $($field:ident)* })*) => {
        next_structs!($($name { $($field)* })*);

        /// One value of every event type; no two types begin alike.
        fn samples() -> Vec<Event> {
            let mut first = 0;
            vec![$({
                first += 7;
                Event::from(<$name as Next>::next(&mut Counting(first)))
            },)*]
        }
    };
}

next_structs! {
    Meta { client_seq report_seq report_no correlation_id recv_time_ns session_id account_id }
    OrderImage {
        cum_cost order_id cl_ord_id px order_qty cum_qty valid_until_ns order_version session_id instrument_id
        account_id strategy_id decision_maker side ord_type tif exec_flags ord_status flags reserved
    }
    BrokerRef { broker_seq broker_order_id broker_time_ns }
}

samples! {
    CoreStarted { meta epoch core environment durability reserved }
    InstrumentDefined {
        meta order_notional_max order_qty_max tick_size lot_size qty_min collar_ppm instrument_id quote_age_max_ns
        symbol currency reserved
    }
    AccountDefined { meta initial_cash position_max open_orders_max rate_max currency owner_id }
    SessionDefined { meta session_epoch role cod_mode reserved reserved2 reserved3 }
    SessionLoggedOn { meta connection_no cod_window_ms cod_mode reserved }
    SessionEnded { meta cod_due_ns reason cod_all reserved reserved2 reserved3 }
    OrderAccepted { meta order content_hash market_px market_time_ns exec_id }
    OrderRejected { meta offered allowed order content_hash reason reserved }
    OrderAcknowledged { meta order broker exec_id }
    OrderFilled { meta order broker exec_id fee broker_exec_id last_px last_qty liquidity overfill reserved }
    OrderClosed { meta order broker exec_id req_cl_ord_id reason reserved }
    CancelRequested { meta order req_cl_ord_id exec_id reason reserved }
    ReplaceRequested { meta order req_cl_ord_id exec_id new_px new_qty valid_until_ns reserved }
    OrderReplaced { meta order broker exec_id req_cl_ord_id reserved }
    ChangeRejected { meta order broker exec_id req_cl_ord_id reason change reserved }
    OrderInDoubt { meta order exec_id reason reserved }
    OrderRestated { meta order broker exec_id }
    RequestRejected { meta offered allowed req_cl_ord_id orig_cl_ord_id order_id reason ref_template ord_status reserved }
    BrokerContradicted {
        meta broker order_id broker_exec_id last_px last_qty fact ord_status reason side reserved instrument_id
        reserved2 reserved3
    }
    BrokerFactIgnored { meta broker order_id }
    BrokerStatusChanged { meta status reserved connection_no }
    MassCancelAccepted {
        meta request_id mass_cancel_id order_id_max account_id instrument_id target_session_id strategy_id side
        flagged_only lockout reserved reason reserved2
    }
    MassCancelCompleted {
        meta request_id mass_cancel_id cancel_requested already_pending target_session_id reserved
    }
    KillSwitchChanged { meta request_id kill_epoch engaged reserved operator_tag reserved2 }
    TradingStateChanged { meta state reserved reason reserved2 }
    MassCancelProgressed { meta mass_cancel_id next_slot cancel_requested already_pending reserved reserved2 }
    DoubtSearchProgressed { meta next_slot done reserved reserved2 }
    OperatorNoted { meta request_id text reserved }
}

/// 16-aligned room, as the journal gives.
#[repr(C, align(16))]
struct Payload([u8; 2 * EVENT_BYTES_MAX]);

fn archived(event: &Event) -> Vec<u8> {
    let mut payload = Payload([0; 2 * EVENT_BYTES_MAX]);
    let bytes = &mut payload.0[..event.payload_len()];
    assert!(event.archive_into(bytes), "{} fits", event.name());
    bytes.to_vec()
}

fn read(kind: u16, version: u8, bytes: &[u8]) -> Result<Event, DecodeError> {
    let mut payload = Payload([0; 2 * EVENT_BYTES_MAX]);
    payload.0[..bytes.len()].copy_from_slice(bytes);
    Event::from_archive(kind, version, &payload.0[..bytes.len()])
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    assert!(text.len().is_multiple_of(2), "two digits a byte: {text}");
    (0..text.len() / 2).map(|at| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).expect("hex digits")).collect()
}

/// The lines of the file by type and version: name and bytes.
fn golden(text: &str) -> BTreeMap<(u16, u8), (String, String)> {
    let mut lines = BTreeMap::new();
    for line in text.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        let [kind, version, name, bytes] = words[..] else { panic!("`kind version Name hex`, not: {line}") };
        let key = (kind.parse().expect("a type"), version.parse().expect("a version"));
        let before = lines.insert(key, (name.to_owned(), bytes.to_owned()));
        assert!(before.is_none(), "type {kind} version {version} stands there once");
    }
    lines
}

#[test]
fn every_event_is_written_and_read_as_it_was_released() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/events.hex");
    let mut text = std::fs::read_to_string(&path).unwrap_or_default();
    let is_updated = std::env::var_os("UPDATE_DOCS").is_some();
    let mut lines = golden(&text);
    let samples = samples();

    for event in &samples {
        let (kind, version) = event.kind();
        let now = hex(&archived(event));
        if is_updated && !lines.contains_key(&(kind, version)) {
            text.push_str(&format!("{kind} {version} {} {now}\n", event.name()));
            std::fs::write(&path, &text).expect("golden/events.hex is written");
            lines = golden(&text);
        }
        let (name, released) = lines.get(&(kind, version)).unwrap_or_else(|| {
            panic!("golden/events.hex has no line of {} {kind} v{version}: run with UPDATE_DOCS=1", event.name())
        });
        assert_eq!(name, event.name(), "type {kind} keeps its name");
        assert_eq!(&now, released, "{name} v{version} is released: a changed event is a new version");
        assert_eq!(read(kind, version, &unhex(released)).as_ref(), Ok(event), "{name} v{version} reads back");
    }

    let declared: Vec<(u16, u8)> = EVENTS.iter().map(|(kind, version, ..)| (*kind, *version)).collect();
    let sampled: Vec<(u16, u8)> = samples.iter().map(Event::kind).collect();
    assert_eq!(sampled, declared, "every event of EVENTS has one sample, in the order of EVENTS");
    for (key, (name, _)) in &lines {
        assert!(declared.contains(key), "{name} {key:?} has been released, and no event of that type is declared");
    }
}

proptest! {
    /// Fields are integers, and there is nothing between them: any bytes of the right length are an event.
    #[test]
    fn bytes_are_read_as_an_event_exactly_if_they_have_its_length(
        bytes in proptest::collection::vec(any::<u8>(), 2 * EVENT_BYTES_MAX),
        len in 0..2 * EVENT_BYTES_MAX,
        unknown: (u16, u8),
    ) {
        for (kind, version, name, own_len, _) in EVENTS {
            for len in [len, 0, own_len - 1, own_len + 1, own_len + 16, own_len + 64, 2 * own_len] {
                let read = read(*kind, *version, &bytes[..len]);
                let is_own = len == *own_len;
                prop_assert_eq!(read.err(), (!is_own).then_some(DecodeError::Malformed { kind: *kind }), "{} {}", name, len);
            }
            let event = read(*kind, *version, &bytes[..*own_len]).expect("of its length");
            prop_assert_eq!(&archived(&event)[..], &bytes[..*own_len], "{}", name);
        }
        let (kind, version) = unknown;
        if !EVENTS.iter().any(|(known, its, ..)| (*known, *its) == unknown) {
            prop_assert_eq!(read(kind, version, &bytes[..len]), Err(DecodeError::Unknown { kind, version }));
        }
    }
}

#[test]
fn no_field_of_a_sample_is_zero_or_has_the_value_of_another() {
    for event in samples() {
        let bytes = archived(&event);
        let distinct: std::collections::BTreeSet<u8> = bytes.iter().copied().collect();
        assert_eq!(distinct.len(), bytes.len(), "{}: every byte is another", event.name());
        assert!(!distinct.contains(&0), "{}: no byte is zero", event.name());
    }
}
