//! Aggregates and rules.
//!
//! Owns what an order, a position, an account may do: `decide` turns a command into events and may say no,
//! `apply` folds events into state and cannot fail. Knows no bytes, time sources or threads; the clock is
//! handed in.
#![forbid(unsafe_code)]

mod account;
mod apply;
pub mod broker_id;
pub mod command;
mod decide;
pub mod event;
mod executions;
mod hash;
mod index;
mod invariants;
mod limits;
pub mod market;
mod order;
mod read_ahead;
mod refused;
mod session;
mod state;

pub use account::{Account, Position};
pub use apply::apply;
pub use decide::{Decision, EVENTS_MAX, PLACES_PER_STEP, decide};
pub use index::Index;
pub use invariants::BrokenInvariant;
pub use limits::Limits;
pub use order::{Exposure, is_closed};
pub use session::Session;
pub use state::{Known, State};
