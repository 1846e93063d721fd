//! Sessions over real sockets against a gateway process: what `protocol/PROTOCOL.md` says, and what it says of peers
//! that misbehave. Each test has a gateway of its own; a peer writes its frames by hand.
#![allow(
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    missing_docs,
    unreachable_pub
)]

#[path = "sessions/host.rs"]
mod host;
#[path = "sessions/peer.rs"]
mod peer;

#[path = "sessions/control.rs"]
mod control;
#[path = "sessions/cuts.rs"]
mod cuts;
#[path = "sessions/durable.rs"]
mod durable;
#[path = "sessions/frames.rs"]
mod frames;
#[path = "sessions/log.rs"]
mod log;
#[path = "sessions/logon.rs"]
mod logon;
#[path = "sessions/many.rs"]
mod many;
#[path = "sessions/resume.rs"]
mod resume;
#[path = "sessions/synced.rs"]
mod synced;
