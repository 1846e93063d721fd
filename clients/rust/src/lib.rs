//! A client of the gateway that carries the recovery recipe, so that an algo author cannot get it wrong.
//!
//! What a crash on either side must not lose is in a small file: the numbers of both streams, the ClOrdIDs,
//! and every request without an answer. A request is in the file before its first byte leaves. After a reconnect
//! missed reports come first, in order, each once; then requests that have not arrived are sent again, so that each
//! has one effect, or they are abandoned once they are stale. So every request ends in a report or a reject that
//! names its ClOrdID, or in [`Event::NotApplied`], [`Event::Abandoned`] or [`Event::OutcomeUnknown`]. A report counts
//! as dealt with when the next event is asked for: after a crash those that were not come again.
//!
//! A line may break between any two events, those in the queue included: a verb then answers
//! [`ClientError::NotReady`], keeps nothing and sends nothing. Ask `is_ready`, or wait for [`Event::Ready`].
//!
//! The same recipe, [`Conversation`], stands behind both clients. [`Client`] blocks:
//!
//! ```no_run
//! use std::time::Duration;
//! use tradecore_client::protocol::fields::Side;
//! use tradecore_client::{Address, Client, Event, NewOrder, Options, px, qty};
//!
//! let mut options = Options::new(Address::Tcp("127.0.0.1:7800".into()), 1, "algo", &std::fs::read("key")?);
//! options.state_path = Some("algo.state".into());
//! let mut client = Client::connect(options)?;
//! let order = NewOrder::limit(1, 1, Side::Buy, qty("0.5")?, px("100.25")?);
//! let cl_ord_id = client.new_order(&order)?;
//! while let Some(event) = client.poll(Duration::from_secs(10))? {
//!     match event {
//!         Event::Exec(report) if report.cl_ord_id.get() == cl_ord_id.0 => println!("{report:?}"),
//!         Event::Reject(reject) => println!("refused: {}", reject.text),
//!         _ => {}
//!     }
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![cfg_attr(
    feature = "async",
    doc = r#"
[`AsyncClient`] awaits:

```no_run
use tradecore_client::protocol::fields::Side;
use tradecore_client::{Address, AsyncClient, Event, NewOrder, Options, px, qty};

# async fn trade() -> Result<(), Box<dyn std::error::Error>> {
let mut options = Options::new(Address::Unix("/run/tradecore/orders".into()), 1, "algo", &std::fs::read("key")?);
options.state_path = Some("algo.state".into());
let mut client = AsyncClient::connect(options).await?;
let order = NewOrder::limit(1, 1, Side::Buy, qty("0.5")?, px("100.25")?);
let cl_ord_id = client.new_order(&order).await?;
loop {
    match client.next_event().await? {
        Event::Exec(report) if report.cl_ord_id.get() == cl_ord_id.0 => println!("{report:?}"),
        Event::Reject(reject) => println!("refused: {}", reject.text),
        _ => {}
    }
}
# }
```"#
)]
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
