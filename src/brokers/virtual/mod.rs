//! The adapter of the virtual venue: one thread, one socket, one JSON object a line.
//!
//! Owns the translation of instructions to requests and of events to facts, reconnecting, and catching up by
//! cursor. It turns nothing that is unknown into an outcome: when the connection ends, what was not answered
//! is in doubt until the venue has been asked.

mod answers;
mod connection;
mod translate;

use std::borrow::Borrow;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tradecore_domain::command::{BrokerFact, EffectFailure, EffectKind, FactKind};
use tradecore_domain::market::Quote;
use tradecore_protocol::fields::{BrokerStatus, Environment, InstrumentId, OrderId};
use tradecore_protocol::reason::Reason;

use super::{AgedQuote, Inbound, Instruction, Link};
use crate::venue::wire::{Hello, Message, Query, QuoteMessage, Request, SubscribeQuotes};
use connection::Connection;

/// A request without an answer for so long means that the connection cannot be trusted any more.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest wait while nothing happens: then it looks whether an answer is late.
const IDLE_WAIT: Duration = Duration::from_millis(100);
/// Wait while the loop has no room for what waits for it.
const FULL_WAIT: Duration = Duration::from_micros(100);

/// How the venue is reached, and as whom.
#[derive(Clone, Debug)]
pub struct VirtualConfig {
    /// `host:port` or `unix:/path`.
    pub address: String,
    /// The gateway's name at the venue.
    pub client: String,
    /// Part of every client order id.
    pub environment: Environment,
    /// Part of every client order id.
    pub core: u16,
    /// Start epoch: the venue fences every connection of an older one.
    pub epoch: u32,
    /// The last event that is applied.
    pub cursor: u64,
    /// Symbols of the instruments.
    pub instruments: Vec<(InstrumentId, String)>,
    /// First wait before a reconnect.
    pub backoff_min: Duration,
    /// Longest wait before a reconnect.
    pub backoff_max: Duration,
}

/// What a request was for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Purpose {
    Hello,
    Subscribe,
    Effect(OrderId, EffectKind),
    Query(OrderId),
}

/// The adapter: the thread's own state.
pub struct VirtualBroker {
    config: VirtualConfig,
    link: Arc<Link>,
    connection_no: u64,
    cursor: u64,
    next_req: u64,
    unanswered: BTreeMap<u64, (Purpose, Instant)>,
    catch_up_to: Option<u64>,
    ends_queries: Option<u64>,
    queries_out: usize,
    /// Instructions that were taken from the ring, and effects of them that the venue has not answered.
    taken: u64,
    effects_out: u64,
    /// The venue has answered hello: it has read all that an older connection may still say.
    is_known: bool,
    /// Answers to queries that tell of more than the stream has told: each with the event that must come first.
    early: VecDeque<(u64, BrokerFact)>,
    /// Orders in doubt with a request on its way to the venue's book: asked for again once an event has told of them.
    changing: BTreeSet<OrderId>,
    ask_again: Vec<OrderId>,
    waiting: VecDeque<Inbound>,
    quotes: Vec<(InstrumentId, String, Option<AgedQuote>)>,
}

impl VirtualBroker {
    /// An adapter that is not connected.
    #[must_use]
    pub fn new(config: VirtualConfig, link: Arc<Link>) -> Self {
        let quotes = config.instruments.iter().map(|(id, symbol)| (*id, symbol.clone(), None)).collect();
        Self {
            cursor: config.cursor,
            config,
            link,
            connection_no: 0,
            next_req: 1,
            unanswered: BTreeMap::new(),
            catch_up_to: None,
            ends_queries: None,
            queries_out: 0,
            taken: 0,
            effects_out: 0,
            is_known: false,
            early: VecDeque::new(),
            changing: BTreeSet::new(),
            ask_again: Vec::new(),
            waiting: VecDeque::new(),
            quotes,
        }
    }

    /// Works until the link is stopped.
    pub fn run(mut self) {
        let mut backoff = self.config.backoff_min;
        let mut is_reported = false;
        let address = self.config.address.clone();
        while !self.is_stopped() {
            match Connection::open(&address, || self.goes_on_without()) {
                Ok(connection) => {
                    is_reported = false;
                    tracing::info!(address, "connected to the broker");
                    let was_ready = self.serve(connection);
                    if !self.is_stopped() {
                        tracing::warn!(address, "the broker's connection is lost; reconnecting");
                    }
                    if was_ready {
                        backoff = self.config.backoff_min;
                    }
                }
                Err(error) if !is_reported => {
                    is_reported = true;
                    tracing::warn!(address, %error, "the broker is not there; trying again");
                }
                Err(error) => tracing::debug!(address, %error, "the broker is not there"),
            }
            let waiting_since = Instant::now();
            let waited = backoff;
            backoff = backoff.saturating_mul(2).min(self.config.backoff_max);
            while waiting_since.elapsed() < waited && self.goes_on_without() {
                std::thread::park_timeout(Duration::from_millis(1));
            }
        }
    }

    /// What is to be done while there is no connection; false from the stop on.
    fn goes_on_without(&mut self) -> bool {
        self.refuse_instructions();
        self.note_settled();
        self.hand_over();
        !self.is_stopped()
    }

    fn is_stopped(&self) -> bool {
        self.link.stop.load(Ordering::Acquire)
    }

    /// One connection, from hello to its end; true when it became ready.
    fn serve(&mut self, connection: Connection) -> bool {
        let was_ready = self.converse(connection);
        // What it has not answered is in doubt.
        self.effects_out = 0;
        // Nothing has left by one whose hello was not answered: the loop has not heard of it.
        if self.is_known {
            self.tell(Inbound::Status { status: BrokerStatus::Down, connection_no: self.connection_no });
        }
        was_ready
    }

    fn converse(&mut self, mut connection: Connection) -> bool {
        self.connection_no = self.connection_no.saturating_add(1);
        self.unanswered.clear();
        self.catch_up_to = None;
        self.ends_queries = None;
        self.queries_out = 0;
        self.is_known = false;
        self.early.clear();
        self.changing.clear();
        self.ask_again.clear();
        let mut was_ready = false;
        let hello = Hello {
            client: self.config.client.as_str().into(),
            epoch: u64::from(self.config.epoch),
            resume_from: Some(self.cursor.saturating_add(1)),
        };
        self.send(&mut connection, Purpose::Hello, |request| request.hello = Some(hello));
        self.send(&mut connection, Purpose::Subscribe, |request| request.subscribe_quotes = Some(SubscribeQuotes {}));
        loop {
            if self.is_stopped() {
                return was_ready;
            }
            // No fact is dropped: while the ring is full, nothing is read.
            let may_read = self.hand_over();
            self.take_instructions(&mut connection);
            if connection.adds_risk() && !self.link.replication.may_trade_now() {
                // They waited in a socket that took nothing: with the connection they are dropped, and in doubt.
                tracing::warn!("the trading lease ran out before orders could be written; the connection is dropped");
                return was_ready;
            }
            let Ok(moved) = connection.transfer(may_read) else { return was_ready };
            while let Some(line) = connection.next_line() {
                match serde_json::from_slice::<Message>(&line) {
                    Ok(message) => {
                        if !self.handle(message) {
                            return was_ready;
                        }
                    }
                    Err(error) => {
                        tracing::warn!(%error, "the venue sent a line that is no message; reconnecting");
                        return was_ready;
                    }
                }
            }
            self.note_settled();
            was_ready |= self.note_progress();
            let now = Instant::now();
            let is_late = |(_, sent): &(Purpose, Instant)| now.duration_since(*sent) > ANSWER_TIMEOUT;
            if self.unanswered.values().next().is_some_and(is_late) {
                tracing::warn!("the venue has not answered for 5 s; reconnecting to ask what became of it");
                return was_ready;
            }
            if !moved {
                self.wait(&connection);
            }
        }
    }

    /// Waits for the venue, for instructions, or for room to hand over what they led to.
    fn wait(&self, connection: &Connection) {
        let is_handed_over = self.waiting.is_empty() && self.quotes.iter().all(|(.., newest)| newest.is_none());
        if !is_handed_over || !connection.has_room() {
            return std::thread::sleep(FULL_WAIT);
        }
        self.link.bell.lie_down();
        if (self.link.instructions.is_empty() || !self.is_known) && !self.is_stopped() {
            connection.wait(&self.link.bell, IDLE_WAIT);
        }
        self.link.bell.get_up();
    }

    fn send(&mut self, connection: &mut Connection, purpose: Purpose, fill: impl FnOnce(&mut Request)) {
        let mut request = Request { req: self.next_req, ..Request::default() };
        fill(&mut request);
        self.unanswered.insert(self.next_req, (purpose, Instant::now()));
        self.effects_out = self.effects_out.saturating_add(u64::from(matches!(purpose, Purpose::Effect(..))));
        self.next_req = self.next_req.saturating_add(1);
        connection.queue(&request);
        if matches!(purpose, Purpose::Effect(_, EffectKind::Submit | EffectKind::Replace)) {
            connection.note_risk();
        }
    }

    /// Moves what waits to the loop; true when nothing waits any more.
    fn hand_over(&mut self) -> bool {
        while let Some(inbound) = self.waiting.pop_front() {
            if let Err(inbound) = self.link.inbound.push(inbound) {
                self.waiting.push_front(inbound);
                break;
            }
        }
        for (.., newest) in &mut self.quotes {
            if let Some(quote) = newest.take()
                && let Err(quote) = self.link.quotes.push(quote)
            {
                *newest = Some(quote);
                break;
            }
        }
        self.waiting.is_empty()
    }

    fn tell(&mut self, inbound: Inbound) {
        self.waiting.push_back(inbound);
    }

    /// The loop learns which of its instructions are done with.
    fn note_settled(&self) {
        self.link.settled.store(self.taken.saturating_sub(self.effects_out), Ordering::Release);
    }

    /// The next instruction.
    fn take(&mut self) -> Option<Instruction> {
        let instruction = self.link.instructions.pop()?;
        self.taken = self.taken.saturating_add(1);
        Some(instruction)
    }

    /// Without a connection not a byte leaves: a definite outcome.
    fn refuse_instructions(&mut self) {
        while let Some(instruction) = self.take() {
            // The next connection asks anew.
            let Some((order_id, kind)) = instruction.effect() else { continue };
            // A wish to reduce risk outlives the outage: in doubt, it is looked up and repeated by the next connection.
            let failure = match kind {
                EffectKind::Cancel => EffectFailure::Unknown,
                EffectKind::Submit | EffectKind::Replace => EffectFailure::NotSent,
            };
            self.tell(failed(order_id, kind, failure, Reason::BrokerNotReady));
        }
    }

    /// Why an instruction must not leave any more, that the loop has let go.
    fn stops(&self, instruction: &Instruction) -> Option<Reason> {
        let adds_risk = matches!(instruction, Instruction::Submit(_) | Instruction::Replace { .. });
        let is_killed = match instruction {
            Instruction::Submit(order) => self.link.is_killed_since(order.account_id, order.kill_epoch),
            Instruction::Replace { account_id, kill_epoch, .. } => self.link.is_killed_since(*account_id, *kill_epoch),
            Instruction::Cancel { .. } | Instruction::Query { .. } | Instruction::EndOfQueries { .. } => false,
        };
        if is_killed {
            Some(Reason::Killed)
        } else if adds_risk && !self.link.replication.may_trade_now() {
            Some(Reason::NoLease)
        } else {
            instruction.is_stale(crate::clock::utc_ns()).then_some(Reason::StaleRequest)
        }
    }

    fn take_instructions(&mut self, connection: &mut Connection) {
        // Until then the venue may still take in what an older connection has sent, and a newer one may be told that it
        // never had what this one brings.
        if !self.is_known {
            return;
        }
        while connection.has_room()
            && let Some(order_id) = self.ask_again.pop()
        {
            self.query(connection, order_id);
        }
        while connection.has_room() {
            let Some(instruction) = self.take() else { return };
            if let (Some(reason), Some((order_id, kind))) = (self.stops(&instruction), instruction.effect()) {
                self.tell(failed(order_id, kind, EffectFailure::NotSent, reason));
                continue;
            }
            match instruction {
                Instruction::Submit(order) => match self.symbol_of(order.instrument_id) {
                    Some(symbol) => {
                        let name = self.name_of(order.order_id);
                        let purpose = Purpose::Effect(order.order_id, EffectKind::Submit);
                        self.send(connection, purpose, |request| {
                            request.submit = Some(translate::new_order(&order, name, symbol));
                        });
                    }
                    None => {
                        let failure = EffectFailure::NotSent;
                        self.tell(failed(order.order_id, EffectKind::Submit, failure, Reason::InstrumentUnknown));
                    }
                },
                Instruction::Cancel { order_id } => {
                    let name = self.name_of(order_id);
                    self.send(connection, Purpose::Effect(order_id, EffectKind::Cancel), |request| {
                        request.cancel = Some(translate::cancel(name));
                    });
                }
                Instruction::Replace { order_id, px, total_qty, .. } => {
                    let name = self.name_of(order_id);
                    let request_id = format!("R{}-{}", self.config.epoch, self.next_req);
                    self.send(connection, Purpose::Effect(order_id, EffectKind::Replace), |request| {
                        request.replace = Some(translate::replace(name, request_id.as_str().into(), px, total_qty));
                    });
                }
                Instruction::Query { order_id } => self.query(connection, order_id),
                Instruction::EndOfQueries { connection_no } => self.ends_queries = Some(connection_no),
            }
        }
    }

    fn query(&mut self, connection: &mut Connection, order_id: OrderId) {
        let name = self.name_of(order_id);
        self.queries_out = self.queries_out.saturating_add(1);
        self.send(connection, Purpose::Query(order_id), |request| {
            request.query = Some(Query { client_order_id: name, fills_after: 0 });
        });
    }

    fn symbol_of(&self, instrument_id: InstrumentId) -> Option<crate::venue::text::Name> {
        self.quotes.iter().find(|(id, ..)| *id == instrument_id).map(|(_, symbol, _)| symbol.as_str().into())
    }

    fn name_of(&self, order_id: OrderId) -> crate::venue::text::Name {
        let text = tradecore_domain::broker_id::text_of(self.config.environment, self.config.core, order_id);
        core::str::from_utf8(&text).unwrap_or_default().into()
    }

    /// Takes a message in; false when the connection must end.
    fn handle(&mut self, message: Message) -> bool {
        if let Some(event) = message.event {
            if event.event_seq > self.cursor {
                self.cursor = event.event_seq;
                let order_id = self.order_id_of(event.client_order_id.borrow());
                self.tell(Inbound::Fact(translate::fact(&event, order_id)));
                if self.changing.remove(&order_id) {
                    self.ask_again.push(order_id);
                }
                while let Some((_, fact)) = self.early.front().copied().filter(|(seq, _)| *seq <= self.cursor) {
                    self.early.pop_front();
                    self.tell(Inbound::Fact(fact));
                }
            }
        } else if let Some(quote) = message.quote {
            self.note_quote(&quote);
        } else if let Some(req) = message.req
            && let Some((purpose, _)) = self.unanswered.remove(&req)
        {
            self.effects_out = self.effects_out.saturating_sub(u64::from(matches!(purpose, Purpose::Effect(..))));
            return match (message.ok, message.error) {
                (Some(reply), _) => self.answered(purpose, &reply),
                (None, Some(error)) => self.refused(purpose, &error),
                (None, None) => false,
            };
        }
        true
    }

    fn order_id_of(&self, name: &str) -> OrderId {
        tradecore_domain::broker_id::order_id_of(self.config.environment, self.config.core, name)
            .unwrap_or(OrderId::NONE)
    }

    fn note_quote(&mut self, message: &QuoteMessage) {
        if let Some((id, _, newest)) =
            self.quotes.iter_mut().find(|(_, symbol, _)| symbol.as_str() == <_ as Borrow<str>>::borrow(&message.symbol))
        {
            let age_ns = crate::clock::utc_ns().saturating_sub(message.ts_ns);
            let quote = Quote {
                bid_px: message.bid,
                bid_qty: message.bid_qty,
                ask_px: message.ask,
                ask_qty: message.ask_qty,
                time_ns: 0,
                md_seq: 0,
            };
            *newest = Some(AgedQuote { instrument_id: *id, quote, age_ns });
        }
    }

    /// Reports the steps from connected to ready; true once ready.
    fn note_progress(&mut self) -> bool {
        if self.catch_up_to.is_some_and(|last| self.cursor >= last) {
            self.catch_up_to = None;
            self.tell(Inbound::Status { status: BrokerStatus::Syncing, connection_no: self.connection_no });
        }
        let waits_for_stream = !(self.early.is_empty() && self.changing.is_empty());
        let is_all_told = self.queries_out == 0 && !waits_for_stream && self.ask_again.is_empty();
        if self.ends_queries == Some(self.connection_no) && is_all_told {
            self.ends_queries = None;
            tracing::info!(address = self.config.address, cursor = self.cursor, "the broker is ready");
            self.tell(Inbound::Status { status: BrokerStatus::Ready, connection_no: self.connection_no });
            return true;
        }
        false
    }
}

const fn failed(order_id: OrderId, kind: EffectKind, failure: EffectFailure, reason: Reason) -> Inbound {
    Inbound::Failed { order_id, kind, failure, reason }
}

/// A fact that is no event of the stream.
const fn without_place(order_id: OrderId, kind: FactKind) -> BrokerFact {
    BrokerFact { order_id, broker_seq: 0, broker_order_id: 0, broker_time_ns: 0, kind }
}

#[cfg(test)]
mod tests;
