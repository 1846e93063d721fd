//! What the log holds: groups of records, one group a decision, one line a group.

use super::event::VenueEvent;
use super::order::{CancelOrder, NewOrder, ReplaceOrder, VenueOrderId};
use super::text::Name;
use serde::{Deserialize, Serialize};

/// Version of the log's format; a log of another version is refused.
pub const LOG_FORMAT: u32 = 1;

/// All that one decision recorded: a line of the log, whole or not there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Group {
    /// Venue time, UTC nanoseconds.
    pub t_ns: u64,
    /// In order.
    pub records: Vec<Record>,
}

/// One fact of the venue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "record", rename_all = "snake_case")]
pub enum Record {
    /// The venue started on this log.
    Start {
        /// `LOG_FORMAT`.
        format: u32,
        /// Counted from 1.
        start_no: u64,
    },
    /// A client said hello with a new epoch.
    Hello {
        /// Its name.
        client: Name,
        /// Its epoch.
        epoch: u64,
    },
    /// An order was accepted for the book.
    Submit {
        /// Whose.
        client: Name,
        /// Given to it.
        venue_order_id: VenueOrderId,
        /// When it gets to the book.
        due_ns: u64,
        /// As it was sent.
        order: NewOrder,
    },
    /// An order was refused because its client order id was used before.
    DuplicateSubmit {
        /// Whose.
        client: Name,
        /// The repeated id.
        client_order_id: Name,
    },
    /// A cancel was accepted for the book.
    Cancel {
        /// Whose.
        client: Name,
        /// When it gets to the book.
        due_ns: u64,
        /// As it was sent.
        request: CancelOrder,
    },
    /// A replace was accepted for the book.
    Replace {
        /// Whose.
        client: Name,
        /// When it gets to the book.
        due_ns: u64,
        /// As it was sent.
        request: ReplaceOrder,
    },
    /// An event of a client's stream.
    Event {
        /// Whose.
        client: Name,
        /// What it will be told.
        event: VenueEvent,
    },
}
