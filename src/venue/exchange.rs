//! The exchange, sans-I/O: requests, ticks and time in; events and log groups out.
//!
//! Deterministic: the same configuration and the same calls give the same events and groups. Time is handed
//! in and never goes back (an earlier `now_ns` counts as the latest seen). A caller that keeps a log drains
//! `take_groups` after each call, writes them, and only then answers or shows events; one that does not must
//! drain and drop them, since they are kept until taken.

use super::book::Book;
use super::config::ExchangeConfig;
use super::event::{EventKind, RequestError, VenueEvent};
use super::order::{CancelOrder, ClientIndex, NewOrder, Order, OrderReport, ReplaceOrder, VenueOrderId};
use super::record::{Group, LOG_FORMAT, Record};
use super::seed::{Draw, draw};
use super::text::Name;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Replaces that one order can see.
const REPLACES_PER_ORDER_MAX: usize = 10_000;

/// A request on its way to the book.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pending {
    pub(super) due_ns: u64,
    pub(super) client: ClientIndex,
    pub(super) action: Action,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Action {
    Submit(VenueOrderId),
    Cancel(CancelOrder),
    Replace(ReplaceOrder),
}

#[derive(Debug)]
pub(super) struct Client {
    pub(super) name: Name,
    pub(super) epoch: u64,
    /// (when it leaves, event); the last one has `last_event_seq`.
    pub(super) events: VecDeque<(u64, VenueEvent)>,
    pub(super) last_event_seq: u64,
    pub(super) orders: BTreeMap<Name, VenueOrderId>,
    /// Those that can still trade, so that listing them does not walk all of time.
    pub(super) open: BTreeSet<VenueOrderId>,
}

/// One page of open orders, oldest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OrderPage {
    /// The orders.
    pub orders: Vec<OrderReport>,
    /// True when there are further ones after the last of these.
    pub more: bool,
}

/// Books, orders and event streams of a venue.
#[derive(Debug)]
pub struct Exchange {
    pub(super) config: ExchangeConfig,
    pub(super) now_ns: u64,
    pub(super) start_no: u64,
    pub(super) symbols: BTreeMap<Name, usize>,
    pub(super) books: Vec<Book>,
    pub(super) clients: Vec<Client>,
    pub(super) client_names: BTreeMap<Name, ClientIndex>,
    /// Number n is at index n − 1.
    pub(super) orders: Vec<Order>,
    pub(super) pending: VecDeque<Pending>,
    pub(super) expiries: BTreeSet<(u64, VenueOrderId)>,
    pub(super) requests_accepted: u64,
    pub(super) last_due_ns: u64,
    pub(super) last_exec_id: u64,
    pub(super) last_priority: u64,
    pub(super) staged: Vec<Record>,
    pub(super) groups: Vec<Group>,
}

impl Exchange {
    /// An exchange without orders. The configuration has passed `ExchangeConfig::check`.
    #[must_use]
    pub fn new(config: ExchangeConfig) -> Self {
        let books: Vec<Book> = config.instruments.iter().cloned().map(Book::new).collect();
        let symbols = books.iter().enumerate().map(|(i, book)| (book.instrument.symbol.clone(), i)).collect();
        Self {
            config,
            now_ns: 0,
            start_no: 0,
            symbols,
            books,
            clients: Vec::new(),
            client_names: BTreeMap::new(),
            orders: Vec::new(),
            pending: VecDeque::new(),
            expiries: BTreeSet::new(),
            requests_accepted: 0,
            last_due_ns: 0,
            last_exec_id: 0,
            last_priority: 0,
            staged: Vec::new(),
            groups: Vec::new(),
        }
    }

    /// Records a start on this log; returns its number, from 1.
    pub fn start(&mut self, now_ns: u64) -> u64 {
        self.observe(now_ns);
        let start_no = self.start_no.saturating_add(1);
        self.record(Record::Start { format: LOG_FORMAT, start_no });
        self.commit();
        start_no
    }

    /// Names a client and its epoch; the caller fences the client's older connections before it answers.
    ///
    /// # Errors
    /// `Malformed` for a bad name, `Fenced` when a higher epoch was seen, `Full` at `clients_max`.
    pub fn hello(&mut self, now_ns: u64, client: &Name, epoch: u64) -> Result<ClientIndex, RequestError> {
        self.observe(now_ns);
        if !client.is_well_formed() {
            return Err(RequestError::Malformed);
        }
        let known = self.client_names.get(client).copied();
        let seen = known.and_then(|index| self.clients.get(index.0)).map(|c| c.epoch);
        if seen.is_some_and(|seen| epoch < seen) {
            return Err(RequestError::Fenced);
        }
        if known.is_none() && self.clients.len() >= self.config.clients_max {
            return Err(RequestError::Full);
        }
        if seen != Some(epoch) {
            self.record(Record::Hello { client: client.clone(), epoch });
            self.commit();
        }
        self.client_names.get(client).copied().ok_or(RequestError::Malformed)
    }

    /// Accepts an order for the book. Whether it may rest or trade is told by events.
    ///
    /// # Errors
    /// `Malformed`, `DuplicateClientOrderId` (witnessed in the log) or `Full`; nothing else happened.
    pub fn submit(&mut self, now_ns: u64, client: ClientIndex, order: &NewOrder) -> Result<VenueOrderId, RequestError> {
        self.observe(now_ns);
        if !order.client_order_id.is_well_formed() || !order.symbol.is_well_formed() {
            return Err(RequestError::Malformed);
        }
        let state = self.clients.get(client.0).ok_or(RequestError::NotIdentified)?;
        let name = state.name.clone();
        if state.orders.contains_key(&order.client_order_id) {
            let client_order_id = order.client_order_id.clone();
            self.record(Record::DuplicateSubmit { client: name, client_order_id });
            self.commit();
            return Err(RequestError::DuplicateClientOrderId);
        }
        if self.orders.len() >= self.config.orders_max {
            return Err(RequestError::Full);
        }
        let due_ns = self.next_due_ns()?;
        let venue_order_id = VenueOrderId((self.orders.len() as u64).saturating_add(1));
        self.record(Record::Submit { client: name, venue_order_id, due_ns, order: order.clone() });
        self.run_due();
        Ok(venue_order_id)
    }

    /// Accepts a cancel for the book; `canceled` or `cancel_rejected` follows as an event.
    ///
    /// # Errors
    /// `Malformed` or `Full`; nothing else happened.
    pub fn cancel(&mut self, now_ns: u64, client: ClientIndex, request: &CancelOrder) -> Result<(), RequestError> {
        self.observe(now_ns);
        let ids = [Some(&request.client_order_id), request.request_id.as_ref()];
        if !ids.into_iter().flatten().all(Name::is_well_formed) {
            return Err(RequestError::Malformed);
        }
        let name = self.clients.get(client.0).ok_or(RequestError::NotIdentified)?.name.clone();
        let due_ns = self.next_due_ns()?;
        self.record(Record::Cancel { client: name, due_ns, request: request.clone() });
        self.run_due();
        Ok(())
    }

    /// Accepts a replace for the book; `replaced` or `replace_rejected` follows as an event.
    ///
    /// # Errors
    /// `Malformed`, `DuplicateRequestId` or `Full`; nothing else happened.
    pub fn replace(&mut self, now_ns: u64, client: ClientIndex, request: &ReplaceOrder) -> Result<(), RequestError> {
        self.observe(now_ns);
        if !request.client_order_id.is_well_formed() || !request.request_id.is_well_formed() {
            return Err(RequestError::Malformed);
        }
        let state = self.clients.get(client.0).ok_or(RequestError::NotIdentified)?;
        let name = state.name.clone();
        if let Some(order) = state.orders.get(&request.client_order_id).and_then(|id| self.order(*id)) {
            if order.request_ids.contains(&request.request_id) {
                return Err(RequestError::DuplicateRequestId);
            }
            if order.request_ids.len() >= REPLACES_PER_ORDER_MAX {
                return Err(RequestError::Full);
            }
        }
        let due_ns = self.next_due_ns()?;
        self.record(Record::Replace { client: name, due_ns, request: request.clone() });
        self.run_due();
        Ok(())
    }

    /// Brings time forward: requests that are due get to the book, day orders expire.
    pub fn advance(&mut self, now_ns: u64) {
        self.observe(now_ns);
        self.run_due();
    }

    /// What was recorded since the last call, in order.
    pub fn take_groups(&mut self) -> Vec<Group> {
        std::mem::take(&mut self.groups)
    }

    /// When `advance` has something to do next.
    #[must_use]
    pub fn next_due(&self) -> Option<u64> {
        let request = self.pending.front().map(|pending| pending.due_ns);
        let expiry = self.expiries.first().map(|(expires_ns, _)| *expires_ns);
        request.into_iter().chain(expiry).min()
    }

    /// The state of one order, whether or not its events have left.
    ///
    /// # Errors
    /// `UnknownOrder`: the venue has never accepted it.
    pub fn query(&self, client: ClientIndex, client_order_id: &str) -> Result<OrderReport, RequestError> {
        let id = self.clients.get(client.0).and_then(|c| c.orders.get(client_order_id));
        let mut report = id.and_then(|id| self.order(*id)).map(Order::report).ok_or(RequestError::UnknownOrder)?;
        report.request_pending |= self.pending.iter().filter(|pending| pending.client == client).any(|pending| {
            let changed = match &pending.action {
                Action::Submit(_) => return false,
                Action::Cancel(request) => &request.client_order_id,
                Action::Replace(request) => &request.client_order_id,
            };
            *changed == report.client_order_id
        });
        Ok(report)
    }

    /// At most `orders_max` open orders of the client with numbers above `after`, without their fills.
    #[must_use]
    pub fn open_orders(&self, client: ClientIndex, after: VenueOrderId, orders_max: usize) -> OrderPage {
        let from = VenueOrderId(after.0.saturating_add(1));
        let mut ids = self.clients.get(client.0).into_iter().flat_map(|c| c.open.range(from..));
        let known = ids.by_ref().take(orders_max).filter_map(|id| self.order(*id));
        let orders = known.map(Order::report_without_fills).collect();
        OrderPage { orders, more: ids.next().is_some() }
    }

    /// Index of an instrument in the configuration.
    #[must_use]
    pub fn instrument_index(&self, symbol: &str) -> Option<usize> {
        self.symbols.get(symbol).copied()
    }

    /// How many instruments there are.
    #[must_use]
    pub fn instruments_count(&self) -> usize {
        self.books.len()
    }

    /// Number of the client's last event; 0 before the first.
    #[must_use]
    pub fn last_event_seq(&self, client: ClientIndex) -> u64 {
        self.clients.get(client.0).map_or(0, |c| c.last_event_seq)
    }

    /// The client's event number `seq` and when it leaves; `None` when it has not happened yet.
    ///
    /// # Errors
    /// `CursorAhead` when an earlier event has not happened either, `EventsGone` when it is no longer kept.
    pub fn event(&self, client: ClientIndex, seq: u64) -> Result<Option<(u64, &VenueEvent)>, RequestError> {
        let state = self.clients.get(client.0).ok_or(RequestError::NotIdentified)?;
        if seq == state.last_event_seq.saturating_add(1) {
            return Ok(None);
        }
        if seq > state.last_event_seq {
            return Err(RequestError::CursorAhead);
        }
        let from_end = usize::try_from(state.last_event_seq.saturating_sub(seq)).unwrap_or(usize::MAX);
        let index = state.events.len().checked_sub(from_end.saturating_add(1));
        let kept = index.and_then(|index| state.events.get(index)).filter(|_| seq > 0);
        kept.map(|(leave_ns, event)| Some((*leave_ns, event))).ok_or(RequestError::EventsGone)
    }

    /// The client's events from number `from` that have left by `now_ns`.
    ///
    /// # Errors
    /// As `event`.
    pub fn events(
        &self,
        client: ClientIndex,
        from: u64,
        now_ns: u64,
    ) -> Result<impl Iterator<Item = &VenueEvent>, RequestError> {
        self.event(client, from)?;
        let next = move |seq: u64| self.event(client, seq).ok().flatten();
        Ok((from..).map_while(next).take_while(move |(leave_ns, _)| *leave_ns <= now_ns).map(|(_, event)| event))
    }

    pub(super) fn order(&self, id: VenueOrderId) -> Option<&Order> {
        let index = usize::try_from(id.0.checked_sub(1)?).ok()?;
        self.orders.get(index)
    }

    pub(super) fn order_mut(&mut self, id: VenueOrderId) -> Option<&mut Order> {
        let index = usize::try_from(id.0.checked_sub(1)?).ok()?;
        self.orders.get_mut(index)
    }

    pub(super) fn observe(&mut self, now_ns: u64) {
        self.now_ns = self.now_ns.max(now_ns);
    }

    /// Applies `record` and keeps it for the log.
    pub(super) fn record(&mut self, record: Record) {
        self.apply(self.now_ns, &record);
        self.staged.push(record);
    }

    /// Ends a decision: what was recorded since the last one is one group.
    pub(super) fn commit(&mut self) {
        if !self.staged.is_empty() {
            self.groups.push(Group { t_ns: self.now_ns, records: std::mem::take(&mut self.staged) });
        }
    }

    pub(super) fn emit(&mut self, client: ClientIndex, id: VenueOrderId, client_order_id: Name, kind: EventKind) {
        let Some(state) = self.clients.get(client.0) else {
            return;
        };
        let event = VenueEvent {
            event_seq: state.last_event_seq.saturating_add(1),
            venue_order_id: id,
            client_order_id,
            venue_time_ns: self.now_ns,
            kind,
        };
        self.record(Record::Event { client: state.name.clone(), event });
    }

    fn next_due_ns(&self) -> Result<u64, RequestError> {
        if self.pending.len() >= self.config.requests_in_flight_max {
            return Err(RequestError::Full);
        }
        let range = self.config.latency_jitter_ns.saturating_add(1);
        let number = self.requests_accepted.saturating_add(1);
        let jitter_ns = draw(self.config.seed, Draw::RequestJitter, number).checked_rem(range).unwrap_or(0);
        let latency_ns = self.config.request_latency_ns.saturating_add(jitter_ns);
        Ok(self.now_ns.saturating_add(latency_ns).max(self.last_due_ns))
    }

    /// Expires and executes, in order of time, all that is due.
    pub(super) fn run_due(&mut self) {
        // A request that was just accepted is a decision of its own.
        self.commit();
        while let Some(due_ns) = self.next_due().filter(|due_ns| *due_ns <= self.now_ns) {
            let expired = self.expiries.first().filter(|(expires_ns, _)| *expires_ns <= due_ns).copied();
            match (expired, self.pending.front().cloned()) {
                (Some((expires_ns, id)), _) => {
                    self.expire(id);
                    self.expiries.remove(&(expires_ns, id));
                }
                (None, Some(pending)) => self.execute(pending),
                (None, None) => return,
            }
            self.commit();
        }
    }
}
