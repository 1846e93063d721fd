//! Takes the requests of one connection: fencing, execution, deliberate faults.

use super::config::FaultConfig;
use super::connection::{Connection, Sent};
use super::event::RequestError;
use super::order::ClientIndex;
use super::seed::{Draw, chance, draw};
use super::server::Server;
use super::wire::{
    ErrorReply, FILLS_PER_REPLY_MAX, Hello, Message, ORDERS_PER_REPLY_MAX, Operation, Query, Reply, parse_request,
};

/// Requests of one connection in one turn, so that one client does not starve the others.
const REQUESTS_PER_TURN_MAX: usize = 64;

/// Draws deliberate faults; another start draws others.
pub(super) struct Faults {
    rates: FaultConfig,
    seed: u64,
    requests: u64,
    deliveries: u64,
}

/// What goes wrong with one request.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fault {
    None,
    DropBefore,
    DropAfter,
    LoseReply,
}

impl Faults {
    pub(super) fn new(rates: FaultConfig, seed: u64, start_no: u64) -> Self {
        let seed = draw(seed, Draw::DropBefore, start_no);
        Self { rates, seed, requests: 0, deliveries: 0 }
    }

    pub(super) fn duplicates_event(&mut self) -> bool {
        self.deliveries = self.deliveries.saturating_add(1);
        chance(self.seed, Draw::DuplicateEvent, self.deliveries, self.rates.duplicate_event_ppm)
    }

    fn next(&mut self) -> Fault {
        self.requests = self.requests.saturating_add(1);
        let drawn = |purpose, rate_ppm| chance(self.seed, purpose, self.requests, rate_ppm);
        if drawn(Draw::DropBefore, self.rates.drop_before_ppm) {
            Fault::DropBefore
        } else if drawn(Draw::DropAfter, self.rates.drop_after_ppm) {
            Fault::DropAfter
        } else if drawn(Draw::LoseReply, self.rates.lost_reply_ppm) {
            Fault::LoseReply
        } else {
            Fault::None
        }
    }
}

impl Server {
    /// Reads and executes what `connection` has sent; false when it is to be dropped.
    pub(super) fn take_requests(&mut self, connection: &mut Connection) -> bool {
        if !connection.wants_turn() {
            return true;
        }
        connection.fill();
        let mut line = Vec::new();
        for _ in 0..REQUESTS_PER_TURN_MAX {
            if !connection.next_line(&mut line) {
                break;
            }
            let (req, result) = match parse_request(&line) {
                Err((req, text)) => (req, Err((RequestError::Malformed, text))),
                Ok((req, Operation::Hello(hello))) => (req, self.hello(connection, &hello).map_err(described)),
                Ok((req, operation)) => {
                    let fault = self.faults.next();
                    if fault == Fault::DropBefore {
                        return false;
                    }
                    let result = self.execute_request(connection, operation).map_err(described);
                    match fault {
                        Fault::DropAfter => return false,
                        Fault::LoseReply => continue,
                        Fault::None | Fault::DropBefore => (req, result),
                    }
                }
            };
            reply(connection, req, result);
        }
        if connection.line_too_long() {
            reply(connection, 0, Err((RequestError::Malformed, "the request line is too long".to_owned())));
            connection.closing = true;
        }
        connection.closing |= connection.is_finished();
        true
    }

    fn hello(&mut self, connection: &mut Connection, hello: &Hello) -> Result<Reply, RequestError> {
        if connection.client.is_some() {
            return Err(RequestError::NotIdentified);
        }
        let client = self.exchange.hello(self.now_ns, &hello.client, hello.epoch)?;
        // From here on nothing that an older connection has sent is read.
        let fenced = |other: &Connection| other.client == Some(client);
        let older = self.connections.iter().filter(|(_, other)| fenced(other));
        let older: Vec<_> = older.map(|(token, _)| *token).collect();
        let older = older.iter().filter_map(|token| self.connections.remove(token));
        self.dropped.extend(older);
        connection.client = Some(client);
        if let Some(from) = hello.resume_from {
            if let Err(error) = self.exchange.event(client, from) {
                connection.client = None;
                return Err(error);
            }
            connection.cursor = Some(from);
        }
        Ok(Reply {
            last_event_seq: Some(self.exchange.last_event_seq(client)),
            start_no: Some(self.start_no),
            venue_time_ns: Some(self.now_ns),
            ..Reply::default()
        })
    }

    fn execute_request(&mut self, connection: &mut Connection, operation: Operation) -> Result<Reply, RequestError> {
        let client = connection.client.ok_or(RequestError::NotIdentified);
        let now_ns = self.now_ns;
        match operation {
            Operation::Hello(_) => Err(RequestError::NotIdentified),
            Operation::Submit(order) => {
                let venue_order_id = self.exchange.submit(now_ns, client?, &order)?;
                Ok(Reply { venue_order_id: Some(venue_order_id), ..Reply::default() })
            }
            Operation::Cancel(request) => {
                self.exchange.cancel(now_ns, client?, &request)?;
                Ok(Reply::default())
            }
            Operation::Replace(request) => {
                self.exchange.replace(now_ns, client?, &request)?;
                Ok(Reply::default())
            }
            Operation::Query(query) => self.query(client?, &query),
            Operation::OpenOrders(request) => {
                let page = self.exchange.open_orders(client?, request.after, ORDERS_PER_REPLY_MAX);
                Ok(Reply { orders: Some(page.orders), more: Some(page.more), ..Reply::default() })
            }
            Operation::Events(request) => {
                let client = client?;
                self.exchange.event(client, request.from)?;
                connection.cursor = Some(request.from);
                Ok(Reply { last_event_seq: Some(self.exchange.last_event_seq(client)), ..Reply::default() })
            }
            Operation::SubscribeQuotes => {
                connection.quotes = Some(vec![Sent::default(); self.exchange.instruments_count()]);
                Ok(Reply::default())
            }
            Operation::Ping => Ok(Reply { venue_time_ns: Some(now_ns), ..Reply::default() }),
        }
    }

    fn query(&self, client: ClientIndex, query: &Query) -> Result<Reply, RequestError> {
        let mut order = self.exchange.query(client, query.client_order_id.as_str())?;
        order.fills.retain(|fill| fill.exec_id > query.fills_after);
        let more = order.fills.len() > FILLS_PER_REPLY_MAX;
        order.fills.truncate(FILLS_PER_REPLY_MAX);
        let last_event_seq = Some(self.exchange.last_event_seq(client));
        Ok(Reply { order: Some(order), more: Some(more), last_event_seq, ..Reply::default() })
    }
}

fn described(error: RequestError) -> (RequestError, String) {
    (error, error.to_string())
}

fn reply(connection: &mut Connection, req: u64, result: Result<Reply, (RequestError, String)>) {
    let mut message = Message { req: Some(req), ..Message::default() };
    match result {
        Ok(ok) => message.ok = Some(ok),
        Err((code, text)) => message.error = Some(ErrorReply { code, text }),
    }
    connection.push(&message);
}
