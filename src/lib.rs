//! An order gateway: algo engines speak to it over a binary protocol, it decides in memory, journals every
//! event, and speaks to one broker.
//!
//! `ARCHITECTURE.md` is the map. The rooms, in the order in which an order passes through them: `session`,
//! `ingress`, `tradecore_domain`, `tradecore_journal`, `egress`, `outbox`, `brokers`; `gateway` calls them
//! all, once a turn.

pub mod affinity;
pub mod bell;
pub mod brokers;
pub mod clock;
pub mod config;
pub mod counters;
pub mod daemon;
pub mod demo;
pub mod descriptors;
pub mod egress;
pub mod exit;
pub mod gateway;
pub mod histogram;
pub mod ingress;
pub mod interrupts;
pub mod mapped;
pub mod market_data;
pub mod memory;
pub mod notices;
pub mod outbox;
pub mod projections;
pub mod queries;
pub mod recovery;
pub mod replication;
pub mod retention;
pub mod session;
pub mod shipping;
pub mod stages;
pub mod systemd;
pub mod ticks;
pub mod venue;
pub mod watchdog;
