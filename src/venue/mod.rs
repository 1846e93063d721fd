//! A venue: an exchange simulator with its own book, log and wire, independent of the gateway.
//!
//! Owns matching, venue order ids, executions, event streams and the log that witnesses for every client.
//! Must not know the gateway: its journal, its ids, its sessions. `Exchange` is the sans-I/O whole, for use
//! inside a process; `run` serves it over TCP and unix sockets as a process of its own.
//!
//! # Wire
//!
//! One JSON object a line, both ways (`wire`). Prices, quantities and fees are decimal strings, times UTC
//! nanoseconds. A request has a number `req` and exactly one operation; it gets exactly one reply with the
//! same number:
//!
//! ```json
//! {"req":1,"hello":{"client":"gw","epoch":3,"resume_from":1}}
//! {"req":1,"ok":{"last_event_seq":0,"start_no":1,"venue_time_ns":1723161254087891268}}
//!
//! {"req":2,"submit":{"client_order_id":"A1","symbol":"BTCUSDT","side":"buy","type":"limit","tif":"gtc","post_only":false,"px":"61837.63","qty":"0.5"}}
//! {"req":2,"ok":{"venue_order_id":1}}
//! {"req":2,"error":{"code":"duplicate_client_order_id","text":"client_order_id was used before; query it"}}
//!
//! {"req":3,"cancel":{"client_order_id":"A1","request_id":"C1"}}
//! {"req":3,"ok":{}}
//! {"req":4,"replace":{"client_order_id":"A1","request_id":"R1","px":"61837.64","qty":"0.4"}}
//! {"req":4,"ok":{}}
//! {"req":5,"query":{"client_order_id":"A1","fills_after":0}}
//! {"req":5,"ok":{"last_event_seq":1,"order":{"venue_order_id":1,"client_order_id":"A1","symbol":"BTCUSDT","side":"buy","type":"limit","tif":"gtc","post_only":false,"px":"61837.63","qty":"0.5","cum_qty":"0","leaves_qty":"0.5","status":"new"},"more":false}}
//! {"req":6,"open_orders":{"after":0}}
//! {"req":6,"ok":{"orders":[],"more":false}}
//! {"req":7,"events":{"from":1}}
//! {"req":7,"ok":{"last_event_seq":2}}
//! {"req":8,"subscribe_quotes":{}}
//! {"req":8,"ok":{}}
//! {"req":9,"ping":{}}
//! {"req":9,"ok":{"venue_time_ns":1723161254087891268}}
//! ```
//!
//! An order has `"request_pending":true` while a request for it is on its way to the book: an event will tell of it.
//!
//! `hello` names the client: every older connection of it is closed, and what it had sent and was not read is
//! never executed; this is done before the answer. An `epoch` below one that was seen is refused as `fenced`.
//! `ping` and `subscribe_quotes` need no `hello`. Error codes are `event::RequestError`.
//!
//! The outcome of an order, cancel or replace is never in the reply but in the client's stream of events,
//! which is contiguous from 1 over restarts, and is sent again from any kept number:
//!
//! ```json
//! {"event":{"event_seq":1,"venue_order_id":1,"client_order_id":"A1","venue_time_ns":5,"type":"new","order":{"client_order_id":"A1","symbol":"BTCUSDT","side":"buy","type":"limit","tif":"gtc","post_only":false,"px":"61837.63","qty":"0.5"}}}
//! {"event":{"event_seq":2,"venue_order_id":1,"client_order_id":"A1","venue_time_ns":5,"type":"trade","exec_id":1,"last_px":"61837.63","last_qty":"0.2","cum_qty":"0.2","leaves_qty":"0.3","fee":"0.0012","liquidity":"maker"}}
//! {"event":{"event_seq":3,"venue_order_id":1,"client_order_id":"A1","venue_time_ns":6,"type":"replaced","request_id":"R1","px":"61837.64","qty":"0.4","cum_qty":"0.2","leaves_qty":"0.2","priority_kept":false}}
//! {"event":{"event_seq":4,"venue_order_id":1,"client_order_id":"A1","venue_time_ns":7,"type":"canceled","reason":"requested","cum_qty":"0.2","request_id":"C1"}}
//! ```
//!
//! Further types: `expired` (`cum_qty`), `rejected` (`reason`), `cancel_rejected` (`reason`, `request_id`),
//! `replace_rejected` (`reason`, `request_id`). Reasons are `event::CancelReason` and `event::RejectReason`.
//!
//! Market data is conflated for a slow reader; replies and events never are:
//!
//! ```json
//! {"quote":{"symbol":"BTCUSDT","bid":"61837.63","bid_qty":"3.78826","ask":"61837.64","ask_qty":"1.54698","ts_ns":5}}
//! {"print":{"symbol":"BTCUSDT","px":"61837.63","qty":"0.02","ts_ns":5}}
//! ```

mod apply;
mod book;
mod clock;
pub mod config;
mod connection;
pub mod event;
pub mod exchange;
pub mod log;
mod market;
mod matching;
pub mod order;
pub mod record;
mod requests;
mod seed;
pub mod server;
pub mod text;
pub mod wire;

pub use config::{ExchangeConfig, VenueConfig};
pub use exchange::Exchange;
pub use log::read_log;
pub use server::{Server, VenueError};
