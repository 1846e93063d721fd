//! The venue's configuration: every limit a number with a unit.

use super::text::{self, Name};
use crate::market_data::player::Pace;
use serde::Deserialize;
use std::path::PathBuf;
use tradecore_protocol::fields::{Px, Qty};

/// All that a venue process needs.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VenueConfig {
    /// Where to listen: `ip:port` (port 0: any free one) or `unix:/path`.
    pub listen: Vec<String>,
    /// Allows TCP addresses that are not loopback.
    #[serde(default)]
    pub i_accept_anyone_on_a_network: bool,
    /// Directory of the log; made if missing.
    pub log_dir: PathBuf,
    /// Waits for the disk before each reply. Without it the log survives a crash of the process only.
    #[serde(default = "log_sync_default")]
    pub log_sync: bool,
    /// Connections at a time; further ones are closed at once.
    #[serde(default = "connections_max_default")]
    pub connections_max: usize,
    /// Faults that the venue commits on purpose.
    #[serde(default)]
    pub faults: FaultConfig,
    /// Recorded market data to trade against; without it orders meet each other only.
    #[serde(default)]
    pub capture: Option<CaptureConfig>,
    /// What trades, and how.
    pub exchange: ExchangeConfig,
}

/// The exchange's rules: all that decides which events follow from which inputs.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExchangeConfig {
    /// Seed of every draw: jitter and faults.
    #[serde(default)]
    pub seed: u64,
    /// What trades.
    pub instruments: Vec<InstrumentConfig>,
    /// From an accepted request to the book, nanoseconds.
    #[serde(default)]
    pub request_latency_ns: u64,
    /// Largest seeded addition to `request_latency_ns`, nanoseconds; requests never overtake.
    #[serde(default)]
    pub latency_jitter_ns: u64,
    /// From an event to its leaving, nanoseconds.
    #[serde(default)]
    pub event_latency_ns: u64,
    /// Fees.
    #[serde(default)]
    pub fees: FeeConfig,
    /// End of the trading day, seconds after midnight UTC: day orders expire.
    #[serde(default)]
    pub day_end_utc_s: u32,
    /// Distinct clients.
    #[serde(default = "clients_max_default")]
    pub clients_max: usize,
    /// Orders of all time: each is kept, so that a repeated client order id is known (about 1 KiB each).
    #[serde(default = "orders_max_default")]
    pub orders_max: usize,
    /// Accepted requests on their way to the book.
    #[serde(default = "requests_in_flight_max_default")]
    pub requests_in_flight_max: usize,
    /// Events kept in memory for each client, for resending; older ones stay in the log.
    #[serde(default = "events_kept_max_default")]
    pub events_kept_max: usize,
}

/// An instrument.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InstrumentConfig {
    /// FIX Symbol (55).
    pub symbol: Name,
    /// Prices are multiples of it.
    #[serde(with = "text::px")]
    pub tick_size: Px,
    /// Quantities are multiples of it.
    #[serde(with = "text::qty")]
    pub lot_size: Qty,
}

/// Fees in parts per million of the notional; negative is a rebate. At most ±1,000,000.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FeeConfig {
    /// For the order that rested.
    pub maker_ppm: i32,
    /// For the order that came.
    pub taker_ppm: i32,
}

/// Rates of deliberate faults, per million requests or events; `hello` is spared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FaultConfig {
    /// The request is executed, its reply is not sent.
    pub lost_reply_ppm: u32,
    /// The connection is closed, the request is not executed.
    pub drop_before_ppm: u32,
    /// The request is executed, then the connection is closed without a reply.
    pub drop_after_ppm: u32,
    /// The event is sent twice.
    pub duplicate_event_ppm: u32,
}

/// Recorded market data.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CaptureConfig {
    /// Captures, merged by receive time.
    pub paths: Vec<PathBuf>,
    /// `original`, `fast`, `10x`, `1/2x`.
    #[serde(default = "speed_default", deserialize_with = "speed")]
    pub speed: Pace,
    /// Starts again after the last tick, for ever.
    #[serde(default, rename = "loop")]
    pub repeat: bool,
}

fn speed<'de, D: serde::Deserializer<'de>>(d: D) -> Result<Pace, D::Error> {
    let text = String::deserialize(d)?;
    Pace::parse(&text)
        .ok_or_else(|| serde::de::Error::custom(format!("speed `{text}`: use original, fast, 10x or 1/2x")))
}

fn speed_default() -> Pace {
    Pace::Original
}

const fn log_sync_default() -> bool {
    true
}

fn connections_max_default() -> usize {
    256
}

fn clients_max_default() -> usize {
    256
}

fn orders_max_default() -> usize {
    4_000_000
}

fn requests_in_flight_max_default() -> usize {
    100_000
}

fn events_kept_max_default() -> usize {
    1_000_000
}

impl ExchangeConfig {
    /// Rules for `instruments` with no latency, no fees and the default limits.
    #[must_use]
    pub fn new(instruments: Vec<InstrumentConfig>) -> Self {
        Self {
            seed: 0,
            instruments,
            request_latency_ns: 0,
            latency_jitter_ns: 0,
            event_latency_ns: 0,
            fees: FeeConfig::default(),
            day_end_utc_s: 0,
            clients_max: clients_max_default(),
            orders_max: orders_max_default(),
            requests_in_flight_max: requests_in_flight_max_default(),
            events_kept_max: events_kept_max_default(),
        }
    }

    /// What is wrong with the rules, if anything is; a venue does not start with it.
    ///
    /// # Errors
    /// A sentence for the operator.
    pub fn check(&self) -> Result<(), String> {
        for instrument in &self.instruments {
            let name = &instrument.symbol;
            if !name.is_well_formed() {
                return Err(format!("instrument `{name}`: symbol must be 1 to 64 printable ASCII characters"));
            }
            if instrument.tick_size.0 <= 0 || instrument.lot_size.0 <= 0 {
                return Err(format!("instrument `{name}`: tick_size and lot_size must be positive"));
            }
            if self.instruments.iter().filter(|other| other.symbol == *name).count() > 1 {
                return Err(format!("instrument `{name}` is listed twice"));
            }
        }
        let fee_max = 1_000_000;
        if self.fees.maker_ppm.unsigned_abs() > fee_max || self.fees.taker_ppm.unsigned_abs() > fee_max {
            return Err("fees: at most 1000000 ppm".to_owned());
        }
        if self.day_end_utc_s >= 86_400 {
            return Err("day_end_utc_s: below 86400".to_owned());
        }
        let limits = [self.clients_max, self.orders_max, self.requests_in_flight_max, self.events_kept_max];
        if limits.contains(&0) {
            return Err(
                "clients_max, orders_max, requests_in_flight_max and events_kept_max must be above 0".to_owned()
            );
        }
        Ok(())
    }
}
