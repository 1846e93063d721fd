//! The venue as its clients and its witnesses see it.
#![allow(
    clippy::arithmetic_side_effects,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::expect_used
)]

mod arbitrary;
mod capture;
mod log;
mod matching;
mod script;
mod server;
