//! The venue's wire: newline-delimited JSON. The types serve both ends.

use super::event::{RequestError, VenueEvent};
use super::order::{CancelOrder, NewOrder, OrderReport, ReplaceOrder, VenueOrderId};
use super::text::{self, Name};
use serde::{Deserialize, Serialize};
use tradecore_protocol::fields::{Px, Qty};

/// Longest request line, bytes, newline included; a longer one ends the connection.
pub const REQUEST_BYTES_MAX: usize = 16 * 1024;
/// Open orders in one reply.
pub const ORDERS_PER_REPLY_MAX: usize = 100;
/// Fills in one query reply.
pub const FILLS_PER_REPLY_MAX: usize = 500;

/// One request: its number, echoed in the reply, and exactly one of the others.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Request {
    /// Chosen by the client.
    pub req: u64,
    /// Names the client; fences its older connections.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hello: Option<Hello>,
    /// A new order.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub submit: Option<NewOrder>,
    /// A cancel.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cancel: Option<CancelOrder>,
    /// A replace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replace: Option<ReplaceOrder>,
    /// One order's state.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub query: Option<Query>,
    /// A page of open orders.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub open_orders: Option<OpenOrders>,
    /// Moves the event cursor.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub events: Option<Events>,
    /// Asks for market data.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subscribe_quotes: Option<SubscribeQuotes>,
    /// Asks for the time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ping: Option<Ping>,
}

/// Names the client of a connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hello {
    /// Who.
    pub client: Name,
    /// The client's start epoch: a lower one than was seen is refused as `fenced`.
    pub epoch: u64,
    /// First event wanted, from 1; absent: no events until `events`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resume_from: Option<u64>,
}

/// Asks for one order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Query {
    /// FIX ClOrdID (11).
    pub client_order_id: Name,
    /// Only fills with higher exec ids.
    #[serde(default)]
    pub fills_after: u64,
}

/// Asks for a page of open orders, by venue order id.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OpenOrders {
    /// Only orders with higher numbers.
    #[serde(default)]
    pub after: VenueOrderId,
}

/// Moves the event cursor of the connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Events {
    /// First event wanted, from 1.
    pub from: u64,
}

/// Asks for quotes and prints of every instrument.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SubscribeQuotes {}

/// Asks for the venue's time.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ping {}

/// One line from the venue: a reply (`req` with `ok` or `error`), an `event`, a `quote` or a `print`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Message {
    /// The request that is answered; 0 when its number could not be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub req: Option<u64>,
    /// It was accepted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ok: Option<Reply>,
    /// It was not, and did nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<ErrorReply>,
    /// An event of the client's stream.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub event: Option<VenueEvent>,
    /// Best bid and offer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quote: Option<QuoteMessage>,
    /// A print.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub print: Option<PrintMessage>,
}

/// The content of a positive reply; which fields are there depends on the request.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Reply {
    /// `submit`: the venue's number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub venue_order_id: Option<VenueOrderId>,
    /// `hello`, `events`, `query`: the last event that has happened, 0 before the first; it may not have left yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_event_seq: Option<u64>,
    /// `hello`: how often the venue has started on its log.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start_no: Option<u64>,
    /// `query`: the order.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub order: Option<OrderReport>,
    /// `open_orders`: a page.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub orders: Option<Vec<OrderReport>>,
    /// `query`: further fills, `open_orders`: further orders; ask again after the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub more: Option<bool>,
    /// `ping`, `hello`: UTC nanoseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub venue_time_ns: Option<u64>,
}

/// Why a request was refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorReply {
    /// For programs.
    pub code: RequestError,
    /// For people.
    pub text: String,
}

/// Best bid and offer, the newest of each instrument: older ones are left out for a slow reader.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuoteMessage {
    /// FIX Symbol (55).
    pub symbol: Name,
    /// FIX BidPx (132).
    #[serde(with = "text::px")]
    pub bid: Px,
    /// FIX BidSize (134).
    #[serde(with = "text::qty")]
    pub bid_qty: Qty,
    /// FIX OfferPx (133).
    #[serde(with = "text::px")]
    pub ask: Px,
    /// FIX OfferSize (135).
    #[serde(with = "text::qty")]
    pub ask_qty: Qty,
    /// Venue time, UTC nanoseconds.
    pub ts_ns: u64,
}

/// A print, the newest of each instrument: older ones are left out for a slow reader.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PrintMessage {
    /// FIX Symbol (55).
    pub symbol: Name,
    /// FIX LastPx (31).
    #[serde(with = "text::px")]
    pub px: Px,
    /// FIX LastQty (32).
    #[serde(with = "text::qty")]
    pub qty: Qty,
    /// Venue time, UTC nanoseconds.
    pub ts_ns: u64,
}

/// What a request asks for.
#[derive(Debug)]
pub(crate) enum Operation {
    Hello(Hello),
    Submit(NewOrder),
    Cancel(CancelOrder),
    Replace(ReplaceOrder),
    Query(Query),
    OpenOrders(OpenOrders),
    Events(Events),
    SubscribeQuotes,
    Ping,
}

/// Reads a request line. On failure: its number if that much can be read, and what is wrong.
pub(crate) fn parse_request(line: &[u8]) -> Result<(u64, Operation), (u64, String)> {
    let request: Request = serde_json::from_slice(line).map_err(|e| (request_number(line), e.to_string()))?;
    let req = request.req;
    let mut operations = [
        request.hello.map(Operation::Hello),
        request.submit.map(Operation::Submit),
        request.cancel.map(Operation::Cancel),
        request.replace.map(Operation::Replace),
        request.query.map(Operation::Query),
        request.open_orders.map(Operation::OpenOrders),
        request.events.map(Operation::Events),
        request.subscribe_quotes.map(|_| Operation::SubscribeQuotes),
        request.ping.map(|_| Operation::Ping),
    ]
    .into_iter()
    .flatten();
    match (operations.next(), operations.next()) {
        (Some(operation), None) => Ok((req, operation)),
        _ => Err((req, "a request is `req` and exactly one operation".to_owned())),
    }
}

fn request_number(line: &[u8]) -> u64 {
    #[derive(Deserialize)]
    struct Number {
        req: u64,
    }
    serde_json::from_slice::<Number>(line).map_or(0, |number| number.req)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_that_is_not_exactly_one_known_operation_is_refused_with_its_number() {
        let cases = [
            ("{}", 0),
            (r#"{"req":7}"#, 7),
            (r#"{"req":7,"ping":{},"subscribe_quotes":{}}"#, 7),
            (r#"{"req":7,"pong":{}}"#, 7),
            (r#"{"req":7,"ping":{"x":1}}"#, 7),
            (r#"{"req":7,"cancel":{}}"#, 7),
            (r#"{"req":"seven","ping":{}}"#, 0),
            (r#"{"req":7,"query":{"client_order_id":5}}"#, 7),
            (
                r#"{"req":7,"submit":{"client_order_id":"A","symbol":"X","side":"long","type":"limit","tif":"day","qty":"1"}}"#,
                7,
            ),
            (
                r#"{"req":7,"submit":{"client_order_id":"A","symbol":"X","side":"buy","type":"limit","tif":"day","qty":1}}"#,
                7,
            ),
            ("nonsense", 0),
            ("", 0),
        ];
        for (line, number) in cases {
            assert_eq!(parse_request(line.as_bytes()).unwrap_err().0, number, "{line}");
        }
        assert!(matches!(parse_request(br#"{"req":1,"ping":{}}"#), Ok((1, Operation::Ping))));
    }

    #[test]
    fn every_example_of_the_documentation_is_exactly_what_the_types_write() {
        let examples: Vec<&str> = include_str!("mod.rs")
            .lines()
            .filter_map(|line| line.strip_prefix("//! "))
            .filter(|l| l.starts_with('{'))
            .collect();
        assert!(examples.len() > 20);
        for example in examples {
            let written = match parse_request(example.as_bytes()) {
                Ok(_) => serde_json::to_value(serde_json::from_str::<Request>(example).unwrap()),
                Err(_) => serde_json::to_value(serde_json::from_str::<Message>(example).unwrap()),
            };
            let expected: serde_json::Value = serde_json::from_str(example).unwrap();
            assert_eq!(written.unwrap(), expected);
        }
    }
}
