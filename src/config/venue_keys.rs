//! The keys of `[venue]`, as `crate::venue` reads them; `tests` holds this list against what the venue accepts.

use super::allowed::Allowed;
use super::declare::{Key, Section, Shape, to_value};

/// Longest latency and jitter: a minute.
const LATENCY_NS_MAX: i64 = 60_000_000_000;
const COUNT_MAX: i64 = 4_294_967_295;

/// As `section!`, for keys whose struct is the venue's own.
macro_rules! keys {
    (@is_required required $($example:tt)+) => { true };
    (@is_required $($default:tt)+) => { false };
    (@default required $($example:tt)+) => { $($example)+ };
    (@default $($default:tt)+) => { $($default)+ };
    ($($(#[doc = $doc:literal])+ $name:literal = [$($default:tt)+] in $allowed:expr $(, $unit:literal)?;)+) => {
        &[$(Key {
            name: $name,
            is_required: keys!(@is_required $($default)+),
            default: || keys!(@default $($default)+),
            allowed: $allowed,
            unit: concat!($($unit)?),
            doc: concat!($($doc),+),
        },)+]
    };
}

const PPM: Allowed = Allowed::Integer(0, 1_000_000);
const FEE: Allowed = Allowed::Integer(-1_000_000, 1_000_000);
const COUNT: Allowed = Allowed::Integer(1, COUNT_MAX);
const LATENCY: Allowed = Allowed::Integer(0, LATENCY_NS_MAX);

/// `[venue]` and what is part of it.
pub(super) const VENUE_SECTIONS: [Section; 6] = [
    Section {
        name: "venue",
        shape: Shape::OptionalTable,
        doc: "The virtual broker, for `broker.kind = \"paper\"` and for `tradecore venue`.",
        keys: keys! {
            /// Where it listens for gateways in other processes: `ip:port` (port 0: a free one) or `unix:/path`.
            /// `tradecore venue` needs one.
            "listen" = [required to_value(&[""; 0])] in Allowed::Texts;
            /// Allows TCP addresses that are not loopback: the venue knows no keys, so whoever reaches it can trade
            /// and see every order.
            "i_accept_anyone_on_a_network" = [to_value(&false)] in Allowed::Bool;
            /// Directory of its own log; made if missing. While there is no room for the log, the venue stands still.
            "log_dir" = [required to_value(&"/var/lib/tradecore/virtual/venue")] in Allowed::Path;
            /// Waits for the disk before each reply. Without it the log survives a crash of the process only: after
            /// power loss it may know less than the gateway, which then does not trade.
            "log_sync" = [to_value(&true)] in Allowed::Bool;
            /// Connections at once; a further one is closed as it comes.
            "connections_max" = [to_value(&256)] in Allowed::Integer(1, 65_535), "connections";
        },
    },
    Section {
        name: "venue.exchange",
        shape: Shape::Table,
        doc: "The rules of the virtual broker's exchange.",
        keys: keys! {
            /// Seed of every draw: jitter and faults.
            "seed" = [to_value(&0)] in Allowed::Integer(0, i64::MAX);
            /// From an accepted request to the book.
            "request_latency_ns" = [to_value(&0)] in LATENCY, "ns";
            /// Largest seeded addition to `request_latency_ns`; requests never overtake.
            "latency_jitter_ns" = [to_value(&0)] in LATENCY, "ns";
            /// From an event to its leaving.
            "event_latency_ns" = [to_value(&0)] in LATENCY, "ns";
            /// End of the trading day, after midnight UTC: day orders expire.
            "day_end_utc_s" = [to_value(&0)] in Allowed::Integer(0, 86_399), "s";
            /// Distinct clients.
            "clients_max" = [to_value(&256)] in COUNT, "clients";
            /// Orders of all time: each is kept, so that a repeated client order id is known (about 1 KiB each).
            "orders_max" = [to_value(&4_000_000)] in COUNT, "orders";
            /// Accepted requests on their way to the book.
            "requests_in_flight_max" = [to_value(&100_000)] in COUNT, "requests";
            /// Events kept in memory for each client, for resending; older ones stay in the log.
            "events_kept_max" = [to_value(&1_000_000)] in COUNT, "events";
        },
    },
    Section {
        name: "venue.exchange.instruments",
        shape: Shape::RequiredList,
        doc: "What trades at the virtual broker.",
        keys: keys! {
            /// FIX Symbol (55).
            "symbol" = [required to_value(&"BTCUSDT")] in Allowed::Text(1, 64);
            /// Prices are multiples of it.
            "tick_size" = [required to_value(&"0.01")] in Allowed::Units, "currency";
            /// Quantities are multiples of it.
            "lot_size" = [required to_value(&"0.00001")] in Allowed::Units;
        },
    },
    Section {
        name: "venue.exchange.fees",
        shape: Shape::Table,
        doc: "Fees of the virtual broker, by notional; negative is a rebate.",
        keys: keys! {
            /// For the order that rested.
            "maker_ppm" = [to_value(&0)] in FEE, "ppm";
            /// For the order that came.
            "taker_ppm" = [to_value(&0)] in FEE, "ppm";
        },
    },
    Section {
        name: "venue.faults",
        shape: Shape::Table,
        doc: "Faults that the virtual broker commits on purpose, per million requests or events.",
        keys: keys! {
            /// The request is executed, its reply is not sent.
            "lost_reply_ppm" = [to_value(&0)] in PPM, "ppm";
            /// The connection is closed, the request is not executed.
            "drop_before_ppm" = [to_value(&0)] in PPM, "ppm";
            /// The request is executed, then the connection is closed without a reply.
            "drop_after_ppm" = [to_value(&0)] in PPM, "ppm";
            /// The event is sent twice.
            "duplicate_event_ppm" = [to_value(&0)] in PPM, "ppm";
        },
    },
    Section {
        name: "venue.capture",
        shape: Shape::OptionalTable,
        doc: "Recorded market data to trade against; without it orders meet each other only.",
        keys: keys! {
            /// Captures, merged by receive time.
            "paths" = [required to_value(&["btcusdt.gz"])] in Allowed::Texts;
            /// How fast they are played.
            "speed" = [to_value(&"original")] in Allowed::Speed;
            /// Starts again after the last tick, for ever.
            "loop" = [to_value(&false)] in Allowed::Bool;
        },
    },
];
