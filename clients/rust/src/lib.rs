//! A client of the gateway that carries the recovery recipe, so that an algo author cannot get it wrong.
//!
//! What a crash on either side must not lose is in a small file: the numbers of both streams, the ClOrdIDs,
//! and every request that the gateway has not acknowledged. A request is in the file before its first byte
//! leaves. After a reconnect missed reports come first, in order, each once; then requests in doubt are sent
//! again under their old numbers, so that each has one effect, or they are abandoned once they are stale.
#![forbid(unsafe_code)]

#[cfg(feature = "async")]
mod async_client;
mod client;
mod clock;
#[cfg(feature = "async")]
mod codec;
mod conversation;
mod decimal;
mod events;
mod options;
mod requests;
mod store;

#[cfg(feature = "async")]
pub use async_client::AsyncClient;
pub use client::Client;
#[cfg(feature = "async")]
pub use codec::{CodecError, FrameCodec, OwnedFrame};
pub use conversation::Conversation;
pub use decimal::{DecimalError, format, px, qty};
pub use events::Event;
pub use options::{Address, ClientError, Options};
pub use requests::NewOrder;
pub use store::{Store, StoreError};
pub use tradecore_protocol as protocol;
