//! The wire of the order gateway.
//!
//! Owns frames, layouts, field types, reason codes and the sans-I/O session rules. Must not know the
//! domain, sockets or clocks: time and bytes are handed in. `PROTOCOL.md` is the specification.
//!
//! | module | owns |
//! |---|---|
//! | `fields`, `codes`, `reason` | units, ids, enums, reasons |
//! | `layout` | how a message is declared, once, and what is derived from the declaration |
//! | `messages` | the declarations and `CATALOGUE` |
//! | `frame` | bytes to frames and back, without copies or allocation |
//! | `transcript` | what the logon MACs cover |
//! | `session` | the rules of both ends of a connection |
#![forbid(unsafe_code)]

pub mod codes;
pub mod fields;
pub mod frame;
pub mod layout;
pub mod messages;
pub mod reason;
pub mod session;
pub mod transcript;

pub use frame::{Envelope, Frame, decode_header, encode, next_frame};
pub use layout::{Message, MessageInfo, Text, wire};
pub use messages::{CATALOGUE, lookup};
pub use reason::Reason;
