//! What leaves the journal for others: the documents about it, its JSON, its files.
#![allow(
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    missing_docs,
    unreachable_pub
)]

mod documents;
mod export;
mod files;
#[cfg(feature = "root-tests")]
mod full;
mod schemas;

#[allow(dead_code)]
#[path = "../../src/domain/tests/histories/history.rs"]
mod history;
#[allow(dead_code)]
#[path = "../sessions/host.rs"]
mod host;
#[allow(dead_code)]
#[path = "../sessions/peer.rs"]
mod peer;
