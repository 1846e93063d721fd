//! What the loop has counted: written by the loop, read by side threads, the watchdog, and other processes.

use std::sync::atomic::{AtomicU64, Ordering};

use zerocopy::{FromBytes, IntoBytes};

macro_rules! counters {
    ($($(#[doc = $doc:literal])* $name:ident,)*) => {
        /// Counters of the loop; each has one writer.
        #[derive(Debug, FromBytes, IntoBytes)]
        #[repr(C)]
        pub struct Counters { $($(#[doc = $doc])* pub $name: Counter,)* }

        impl Counters {
            /// Every counter in the order of its cells: name, meaning.
            pub const TABLE: &'static [(&'static str, &'static str)] =
                &[$((stringify!($name), concat!($($doc),*)),)*];
        }
    };
}

/// A number that only grows, or is set by its one writer.
#[derive(Debug, Default, FromBytes, IntoBytes)]
#[repr(transparent)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds; the caller is the one writer.
    pub fn add(&self, count: u64) {
        // One writer: a plain load and store, no locked instruction on the loop.
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(count), Ordering::Relaxed);
    }

    /// Sets; the caller is the one writer.
    pub fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    /// The value.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

counters! {
    /// Turns of the loop.
    turns,
    /// Rehearsals of the order path by a loop with nothing to do.
    rehearsals,
    /// Commands decided.
    commands,
    /// Events journaled.
    events,
    /// Connections refused with `ConnectionsMax`.
    refused_connections_max,
    /// Requests refused without a decision.
    refusals,
    /// Orders refused with `DurabilityLag`.
    refused_durability_lag,
    /// Orders refused with `JournalFull`.
    refused_journal_full,
    /// Orders refused with `OutboxFull`.
    refused_outbox_full,
    /// Orders refused with `NoLease`.
    refused_no_lease,
    /// Repeated requests that were answered with what is known.
    duplicates,
    /// Connections accepted.
    accepted,
    /// Logons accepted.
    logons,
    /// Logons refused.
    logons_refused,
    /// Connections ended because they read too slowly.
    slow_consumers,
    /// Facts from the broker.
    broker_facts,
    /// Quotes taken into the market table.
    quotes,
    /// Connections now.
    connections,
    /// Open orders now.
    open_orders,
    /// Effects that wait in the outbox now.
    outbox_waiting,
    /// `BrokerStatus` now.
    broker_status,
    /// Last journal sequence number.
    journal_seq,
}

impl Counters {
    /// Requests and connections that were refused since something of ours is full or cannot keep up: by the reason that
    /// they were told.
    #[must_use]
    pub fn of_pressure(&self) -> [(&'static str, &Counter); 5] {
        [
            ("ConnectionsMax", &self.refused_connections_max),
            ("DurabilityLag", &self.refused_durability_lag),
            ("JournalFull", &self.refused_journal_full),
            ("OutboxFull", &self.refused_outbox_full),
            ("NoLease", &self.refused_no_lease),
        ]
    }
}
