//! Events on their way to sessions: reports, the gate that they wait at, and the replay of old ones.
//!
//! Must not know rules: a report is a pure function of its event.

pub mod gate;
pub mod replay;
pub mod report;
pub mod text;
