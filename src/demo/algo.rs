//! The sample algos, each a client connection of its own.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use tradecore_client::protocol::codes::er_flags;
use tradecore_client::protocol::fields::{ClOrdId, ExecType, OrdStatus, Px, Qty, Side, Tif, exec_flags};
use tradecore_client::protocol::messages::{ExecReport, PositionRequest, Quote, RequestReject};
use tradecore_client::{Address, Client, ClientError, Event, NewOrder, Options};

use super::history::{Asked, Balance, Terms, Told};
use super::progress::Live;
use super::reports::Heard;

/// What an algo does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Keeps a bid and an offer around the market, and moves them with it.
    Maker,
    /// Takes what is there, now and then.
    Taker,
    /// Trades like the taker, and sends every order twice.
    Repeater,
}

impl Kind {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Maker => "market maker",
            Self::Taker => "taker",
            Self::Repeater => "repeater",
        }
    }
}

/// Everything that an algo did and saw, but its reports: those it hands on as they come.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    pub(super) session_id: u32,
    pub(super) kind: Kind,
    /// Every request that was sent, by ClOrdID.
    pub(super) sent: BTreeMap<u64, Asked>,
    /// Orders that were accepted.
    pub(super) orders: u64,
    pub(super) fills: u64,
    /// ClOrdIDs that were told to have had no effect: refused, or not sent again.
    pub(super) refused: BTreeSet<u64>,
    /// Rejects and refusals.
    pub(super) rejects: u64,
    /// Orders that were sent a second time.
    pub(super) repeats: u64,
    pub(super) duplicates_answered: u64,
    /// ClOrdIDs of repeated orders that have no answer although their connection lasted.
    pub(super) unanswered_repeats: BTreeSet<u64>,
    pub(super) reconnects: u64,
    /// Reports that were skipped, and frames of ours that the session refused: none.
    pub(super) irregular: u64,
    pub(super) round_trip_us: Histogram<u64>,
    /// Reports by `Durability` class.
    pub(super) durability: BTreeMap<u8, u64>,
    /// Requests whose arrival was not known at the end.
    pub(super) in_doubt: usize,
    /// The last answer about the account; none when it never came.
    pub(super) balance: Option<Balance>,
}

impl Seen {
    pub(super) fn new(session_id: u32, kind: Kind) -> Self {
        // Up to a minute: what is longer is recorded as that.
        let round_trip_us =
            Histogram::new_with_bounds(1, 60_000_000, 3).unwrap_or_else(|_| unreachable!("the bounds are in order"));
        Self {
            session_id,
            kind,
            sent: BTreeMap::new(),
            orders: 0,
            fills: 0,
            refused: BTreeSet::new(),
            rejects: 0,
            repeats: 0,
            duplicates_answered: 0,
            unanswered_repeats: BTreeSet::new(),
            reconnects: 0,
            irregular: 0,
            round_trip_us,
            durability: BTreeMap::new(),
            in_doubt: 0,
            balance: None,
        }
    }
}

/// An order that the venue has not answered.
struct Sent {
    at: Instant,
    /// Strikes before it was sent.
    strikes: u64,
}

pub(super) struct Algo {
    options: Options,
    seen: Seen,
    quotes: BTreeMap<u32, Quote>,
    unanswered: BTreeMap<u64, Sent>,
    open: BTreeMap<u64, ExecReport>,
    turn: u64,
    /// After a reject an algo waits a little.
    resumes_at: Instant,
    live: Arc<Live>,
    heard: Sender<Heard>,
}

const INSTRUMENTS: [(u32, i64); 2] = [(1, 1_000_000), (2, 20_000_000)];
/// A resting order farther from the market than this is canceled, or moved.
const FAR: u64 = 200_000_000;
const AWAY: u64 = 40_000_000;
/// An algo looks at its orders at least so often.
const TURN: Duration = Duration::from_millis(2);
const AFTER_REJECT: Duration = Duration::from_millis(50);
const EVENTS_PER_TURN: usize = 64;

impl Algo {
    pub(super) fn new(
        session_id: u32,
        kind: Kind,
        address: &str,
        state: &Path,
        secret: &[u8],
        live: Arc<Live>,
        heard: Sender<Heard>,
    ) -> Self {
        let mut options = Options::new(Address::Tcp(address.to_owned()), session_id, "demo", secret);
        options.state_path = Some(state.to_owned());
        options.app_name = kind.name().to_owned();
        options.heartbeat_ms = 500;
        Self {
            options,
            seen: Seen::new(session_id, kind),
            quotes: BTreeMap::new(),
            unanswered: BTreeMap::new(),
            open: BTreeMap::new(),
            turn: 0,
            resumes_at: Instant::now(),
            live,
            heard,
        }
    }

    /// Trades until `done`, then cancels what is open and asks for the balance.
    pub(super) fn run(mut self, done: &AtomicBool) -> Result<Seen, ClientError> {
        let mut client = Client::new(self.options.clone())?;
        for (instrument_id, _) in INSTRUMENTS {
            allow_not_ready(client.subscribe(instrument_id))?;
        }
        while !done.load(Ordering::Acquire) {
            let mut longest = TURN;
            // A market that never rests must not keep an algo from trading.
            for _ in 0..EVENTS_PER_TURN {
                let Some(event) = client.poll(longest)? else { break };
                self.take(&event);
                longest = Duration::ZERO;
            }
            self.trade(&mut client)?;
        }
        self.finish(&mut client)?;
        self.seen.in_doubt = client.in_doubt();
        client.logout();
        Ok(self.seen)
    }

    fn take(&mut self, event: &Event) {
        match event {
            Event::Disconnected { .. } => {
                self.seen.reconnects = self.seen.reconnects.saturating_add(1);
                self.live.reconnects.fetch_add(1, Ordering::Relaxed);
                // The answers may have been lost with it.
                self.seen.unanswered_repeats.clear();
            }
            Event::Quote(quote) => drop(self.quotes.insert(quote.instrument_id.get(), *quote)),
            Event::Reject(reject) => self.note_reject(reject),
            Event::NotApplied { cl_ord_id } | Event::Abandoned { cl_ord_id } => {
                self.answered(cl_ord_id.0);
                self.seen.refused.insert(cl_ord_id.0);
            }
            // Only of a repetition: what became of the order is known.
            Event::OutcomeUnknown { cl_ord_id } => self.answered(cl_ord_id.0),
            Event::SessionReject(_) | Event::Resynchronize => {
                self.seen.irregular = self.seen.irregular.saturating_add(1);
            }
            Event::Exec(report) => self.note(report),
            Event::MassCancel(report) => self.hear(Heard::Report(Told {
                seq: report.journal_seq.get(),
                cl_ord_id: report.cl_ord_id.get(),
                status: report.status,
                ..Told::default()
            })),
            _ => {}
        }
    }

    /// Whoever listens goes only when the demo has failed.
    fn hear(&self, heard: Heard) {
        let _failed = self.heard.send(heard);
    }

    /// The order is no longer on its way.
    fn answered(&mut self, cl_ord_id: u64) {
        if self.unanswered.remove(&cl_ord_id).is_some() {
            self.live.on_their_way.fetch_sub(1, Ordering::Relaxed);
        }
    }

    fn note_reject(&mut self, reject: &RequestReject) {
        self.seen.rejects = self.seen.rejects.saturating_add(1);
        self.live.rejects.fetch_add(1, Ordering::Relaxed);
        // What was refused now will be refused in a moment: the broker is away, or the market is.
        self.resumes_at = Instant::now().checked_add(AFTER_REJECT).unwrap_or(self.resumes_at);
        let id = reject.cl_ord_id.get();
        self.answered(id);
        self.seen.unanswered_repeats.remove(&id);
        let told = Told {
            seq: reject.journal_seq.get(),
            order_id: reject.order_id.get(),
            cl_ord_id: id,
            status: reject.ord_status,
            reason: reject.reason.get(),
            ..Told::default()
        };
        if reject.er_flags & er_flags::DUPLICATE_REQUEST != 0 {
            // A repeated request is told of the reject that the first one got.
            self.seen.duplicates_answered = self.seen.duplicates_answered.saturating_add(1);
            self.hear(Heard::Answer(told));
        } else if told.seq == 0 {
            self.seen.refused.insert(id);
        } else {
            self.hear(Heard::Report(told));
        }
    }

    fn note(&mut self, report: &ExecReport) {
        let cl_ord_id = report.cl_ord_id.get();
        let reports = self.seen.durability.entry(report.durability).or_default();
        *reports = reports.saturating_add(1);
        let told = told(report);
        if report.er_flags & er_flags::DUPLICATE_REQUEST != 0 {
            self.seen.duplicates_answered = self.seen.duplicates_answered.saturating_add(1);
            self.seen.unanswered_repeats.remove(&cl_ord_id);
            return self.hear(Heard::Answer(told));
        }
        self.hear(Heard::Report(told));
        match ExecType::from_raw(report.exec_type) {
            Some(ExecType::PendingNew) => {
                self.seen.orders = self.seen.orders.saturating_add(1);
                if let Some(sent) = self.unanswered.get(&cl_ord_id) {
                    let us = u64::try_from(sent.at.elapsed().as_micros()).unwrap_or(u64::MAX);
                    self.seen.round_trip_us.saturating_record(us);
                }
            }
            Some(ExecType::New) => {
                if let Some(sent) = self.unanswered.get(&cl_ord_id)
                    && sent.strikes == self.live.strikes.load(Ordering::Acquire)
                {
                    self.live.acknowledged.fetch_add(1, Ordering::Relaxed);
                }
            }
            Some(ExecType::Trade) => {
                self.seen.fills = self.seen.fills.saturating_add(1);
                self.live.fills.fetch_add(1, Ordering::Relaxed);
            }
            _ => {}
        }
        if report.ord_status != OrdStatus::PendingNew.raw() {
            self.answered(cl_ord_id);
        }
        let is_closed = OrdStatus::from_raw(report.ord_status).is_some_and(OrdStatus::is_closed);
        if is_closed {
            self.open.remove(&cl_ord_id);
        } else {
            self.open.insert(cl_ord_id, *report);
        }
    }

    fn trade(&mut self, client: &mut Client) -> Result<(), ClientError> {
        if !client.is_ready() || client.in_doubt() > 200 || Instant::now() < self.resumes_at {
            return Ok(());
        }
        self.turn = self.turn.saturating_add(1);
        let nth = usize::from(self.turn.is_multiple_of(2));
        let Some((instrument_id, lot)) = INSTRUMENTS.get(nth).copied() else { return Ok(()) };
        let Some(quote) = self.quotes.get(&instrument_id).copied() else { return Ok(()) };
        match self.seen.kind {
            Kind::Maker => self.make(client, instrument_id, lot, &quote),
            Kind::Taker | Kind::Repeater if self.turn.is_multiple_of(3) => {
                self.take_market(client, instrument_id, lot, &quote)
            }
            Kind::Taker | Kind::Repeater => Ok(()),
        }
    }

    fn make(&mut self, client: &mut Client, instrument_id: u32, lot: i64, quote: &Quote) -> Result<(), ClientError> {
        for (side, px) in [(Side::Buy, quote.bid_px.get()), (Side::Sell, quote.ask_px.get())] {
            let mine = self
                .open
                .values()
                .find(|order| order.instrument_id.get() == instrument_id && order.side == side.raw())
                .copied();
            match mine {
                None => {
                    let order = NewOrder {
                        exec_flags: exec_flags::POST_ONLY,
                        ..NewOrder::limit(instrument_id, self.options.session_id, side, Qty(lot), Px(px))
                    };
                    self.send(client, &order)?;
                }
                Some(order) if order.ord_status == OrdStatus::New.raw() => {
                    let id = ClOrdId(order.cl_ord_id.get());
                    let away = order.px.get().abs_diff(px);
                    if away > FAR {
                        self.note_request(client.cancel(id), Asked::Cancel(id.0))?;
                    } else if away > AWAY {
                        let qty = order.order_qty.get();
                        self.note_request(client.replace(id, Px(px), Qty(qty)), Asked::Replace(id.0, px, qty))?;
                    }
                }
                Some(_) => {}
            }
        }
        Ok(())
    }

    fn take_market(
        &mut self,
        client: &mut Client,
        instrument_id: u32,
        lot: i64,
        quote: &Quote,
    ) -> Result<(), ClientError> {
        // Every third turn is one of these: both instruments are bought as often as they are sold.
        let side = if (self.turn / 6).is_multiple_of(2) { Side::Buy } else { Side::Sell };
        let px = if side == Side::Buy { quote.ask_px.get() } else { quote.bid_px.get() };
        let order = NewOrder {
            tif: Tif::Ioc,
            ..NewOrder::limit(instrument_id, self.options.session_id, side, Qty(lot), Px(px))
        };
        let sent = self.send(client, &order)?;
        if let (Some(id), Kind::Repeater) = (sent, self.seen.kind)
            && unless_not_ready(client.repeat_order(id, &order))?.is_some()
        {
            self.seen.repeats = self.seen.repeats.saturating_add(1);
            self.seen.unanswered_repeats.insert(id.0);
        }
        Ok(())
    }

    fn send(&mut self, client: &mut Client, order: &NewOrder) -> Result<Option<ClOrdId>, ClientError> {
        let sent = Sent { at: Instant::now(), strikes: self.live.strikes.load(Ordering::Acquire) };
        let id = unless_not_ready(client.new_order(order))?;
        if let Some(id) = id {
            self.live.orders.fetch_add(1, Ordering::Relaxed);
            self.live.on_their_way.fetch_add(1, Ordering::Relaxed);
            self.unanswered.insert(id.0, sent);
            let px = order.px.unwrap_or(Px::NONE).0;
            let terms = Terms { instrument_id: order.instrument_id, side: order.side.raw(), px, qty: order.qty.0 };
            self.seen.sent.insert(id.0, Asked::New(terms));
        }
        Ok(id)
    }

    /// A request on an order.
    fn note_request(&mut self, sent: Result<ClOrdId, ClientError>, asked: Asked) -> Result<(), ClientError> {
        if let Some(id) = unless_not_ready(sent)? {
            self.seen.sent.insert(id.0, asked);
        }
        Ok(())
    }

    /// Cancels until nothing is open and nothing is in doubt, then asks for the balance; gives up in the end, and what
    /// is missing shows.
    fn finish(&mut self, client: &mut Client) -> Result<(), ClientError> {
        let deadline = Instant::now().checked_add(Duration::from_secs(20));
        let mut next_cancel = Instant::now();
        let mut asked = None;
        while deadline.is_some_and(|deadline| Instant::now() < deadline) {
            let is_settled = |algo: &Self, client: &Client| algo.open.is_empty() && client.in_doubt() == 0;
            if let Some(event) = client.poll(Duration::from_millis(20))? {
                match (&event, &mut asked) {
                    (Event::Account(account), Some(balance)) => balance.cash = account.cash.get(),
                    (Event::Position(position), Some(Balance { positions, .. })) => {
                        let row = (position.position_qty.get(), position.realized_pnl.get());
                        positions.insert(position.instrument_id.get(), row);
                    }
                    // The answer reflects what was told before it; what was told may have opened an order.
                    (Event::QueryEnd(end), Some(_)) if end.ref_template.get() == PositionRequest::TEMPLATE_ID => {
                        if is_settled(self, client) {
                            self.seen.balance = asked;
                            return Ok(());
                        }
                        asked = None;
                    }
                    (Event::Disconnected { .. }, _) => asked = None,
                    _ => {}
                }
                self.take(&event);
                // A market that never rests must not keep an algo from coming to its end.
                if !matches!(event, Event::Quote(_)) {
                    continue;
                }
            }
            if !client.is_ready() || asked.is_some() {
                continue;
            }
            if is_settled(self, client) {
                allow_not_ready(client.accounts())?;
                allow_not_ready(client.positions())?;
                asked = Some(Balance::default());
            } else if Instant::now() >= next_cancel {
                next_cancel = Instant::now().checked_add(Duration::from_millis(500)).unwrap_or(next_cancel);
                self.note_request(client.mass_cancel(false), Asked::MassCancel)?;
            }
        }
        Ok(())
    }
}

fn told(report: &ExecReport) -> Told {
    let terms = Terms {
        instrument_id: report.instrument_id.get(),
        side: report.side,
        px: report.px.get(),
        qty: report.order_qty.get(),
    };
    Told {
        seq: report.journal_seq.get(),
        exec_type: report.exec_type,
        order_id: report.order_id.get(),
        cl_ord_id: report.cl_ord_id.get(),
        req_cl_ord_id: report.req_cl_ord_id.get(),
        version: report.order_version.get(),
        status: report.ord_status,
        reason: report.reason.get(),
        terms,
        cum_qty: report.cum_qty.get(),
        cum_cost: report.cum_cost.get(),
        exec_id: report.exec_id.get(),
        last_px: report.last_px.get(),
        last_qty: report.last_qty.get(),
        fee: report.fee.get(),
    }
}

/// Between connections nothing is sent; the next turn tries again.
fn unless_not_ready<T>(result: Result<T, ClientError>) -> Result<Option<T>, ClientError> {
    match result {
        Ok(sent) => Ok(Some(sent)),
        Err(ClientError::NotReady) => Ok(None),
        Err(error) => Err(error),
    }
}

fn allow_not_ready(result: Result<(), ClientError>) -> Result<(), ClientError> {
    unless_not_ready(result).map(drop)
}
