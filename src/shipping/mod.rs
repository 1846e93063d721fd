//! Events for others to read: where each goes, and how it looks outside of the journal.
//!
//! Side threads and commands only: nothing here runs on the loop, and nothing is read that is not synced. Must not
//! know rules, or what somebody does with an event.

pub mod alerts;
pub mod domains;
pub mod fields;
pub mod files;
pub mod json;
#[cfg(feature = "kafka")]
pub mod kafka;
pub mod parquet;
pub mod schema;
pub mod tail;
pub mod whole;

use tradecore_domain::event::{EVENTS, Event};

/// What is declared about the type of an event: type, version, name, payload bytes, meaning.
fn declared(event: &Event) -> (u16, u8, &'static str, usize, &'static str) {
    let (kind, version) = event.kind();
    let known = EVENTS.iter().find(|(known, its, ..)| (*known, *its) == (kind, version));
    known.copied().unwrap_or((kind, version, event.name(), event.payload_len(), ""))
}
