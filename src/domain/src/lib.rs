//! Aggregates and rules.
//!
//! Owns what an order, a position, an account may do: `decide` turns a command into events, `apply`
//! folds events into state. Knows no bytes, time sources or threads; the clock is handed in.
#![forbid(unsafe_code)]

pub mod event;
pub mod command;
