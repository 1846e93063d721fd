//! The journal in a real Kafka broker: each event once, whatever is killed.
//!
//! `TRADECORE_TEST_KAFKA` says where it is; `./test --all` starts one. For long runs: `TRADECORE_TEST_KAFKA_EVENTS`,
//! `TRADECORE_TEST_KAFKA_KILLS`, `TRADECORE_TEST_KAFKA_BROKER_KILLS`.
#![allow(
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    unreachable_pub
)]

mod alerts;
mod desk;
mod faults;
mod foreign;
mod host;
mod lost;
mod once;
mod points;
mod proxy;
mod refusals;
mod rights;
mod secrets;
mod tls;
mod transport;
mod unfenced;
mod verify;

use host::{Host, Journal, Process, pass, wait_until};

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{variable}={text}")))
}

/// xorshift: kills fall where they fall, and the seed is told.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

/// A shipper that has shipped a first event. Topics that were made a moment ago may begin with a doubt, which counts with
/// the failure that follows until something is shipped.
fn settled_shipper(host: &Host, journal: &mut Journal) -> Process {
    let mut shipper = host.shipper();
    journal.append(1);
    wait_until(host, "lag_events", "0");
    shipper.heard();
    shipper
}
