//! What the journal holds, read from outside as anyone could.

use std::collections::{BTreeMap, VecDeque};
use std::hash::{DefaultHasher, Hasher};
use std::path::PathBuf;

use tradecore_domain::State;
use tradecore_domain::event::{AccountDefined, Event, OrderFilled, OrderImage, order_flags};
use tradecore_journal::{ReadError, Reader, Until};
use tradecore_protocol::codes::BatchStatus;
use tradecore_protocol::fields::{AccountId, ExecType, InstrumentId, OrdStatus, Px};
use tradecore_protocol::reason::Reason;

use super::Failure;
use crate::exit::Exit;

/// What an order is about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Terms {
    pub(super) instrument_id: u32,
    pub(super) side: u8,
    pub(super) px: i64,
    pub(super) qty: i64,
}

/// An order, as its last event left it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Order {
    pub(super) session_id: u32,
    pub(super) account_id: u32,
    pub(super) cl_ord_id: u64,
    /// Terms in force.
    pub(super) terms: Terms,
    pub(super) cum_qty: i64,
    pub(super) cum_cost: i128,
    pub(super) status: u8,
    pub(super) version: u32,
    /// The broker has shown that it has the order.
    pub(super) is_acked: bool,
    /// It was canceled here, before it left.
    pub(super) never_left: bool,
    /// How often it was accepted: once.
    pub(super) acceptances: u32,
    pub(super) fills: Vec<Fill>,
    /// Intents to cancel it.
    pub(super) cancels: u32,
    /// Intents to replace it: price and total quantity, oldest first.
    pub(super) replaces: Vec<(i64, i64)>,
}

/// A fill.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Fill {
    pub(super) exec_id: u64,
    pub(super) broker_exec_id: u64,
    pub(super) px: i64,
    pub(super) qty: i64,
    pub(super) fee: i128,
}

/// A request, in what an algo and the journal know of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    New(Terms),
    /// The order with this ClOrdID.
    Cancel(u64),
    /// The order with this ClOrdID; price and total quantity.
    Replace(u64, i64, i64),
    MassCancel,
    /// The journal does not say what was asked for: a request on an order, rejected.
    Unsaid,
}

/// A report: as the journal's event makes it, and as an algo gets it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Told {
    /// Journal sequence number of its event.
    pub(super) seq: u64,
    /// `ExecType`; 0 when it is no report of an order.
    pub(super) exec_type: u8,
    pub(super) order_id: u64,
    /// Of the order; where the report has no order, of the request.
    pub(super) cl_ord_id: u64,
    pub(super) req_cl_ord_id: u64,
    pub(super) version: u32,
    /// `OrdStatus`, or `BatchStatus`.
    pub(super) status: u8,
    pub(super) reason: u16,
    pub(super) terms: Terms,
    pub(super) cum_qty: i64,
    pub(super) cum_cost: i128,
    pub(super) exec_id: u64,
    pub(super) last_px: i64,
    pub(super) last_qty: i64,
    pub(super) fee: i128,
}

/// Cash, and quantity and realized profit by instrument.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Balance {
    pub(super) cash: i128,
    pub(super) positions: BTreeMap<u32, (i128, i128)>,
}

/// Everything in a journal that algos or the venue can know of.
#[derive(Clone, Debug, Default)]
pub(super) struct History {
    /// By FIX OrderID (37).
    pub(super) orders: BTreeMap<u64, Order>,
    /// By session and ClOrdID: every request that was decided on.
    pub(super) requests: BTreeMap<(u32, u64), Asked>,
    /// By session: the reports that it is to get, in order, without those that `Reports::take` has found told.
    pub(super) due: BTreeMap<u32, VecDeque<Told>>,
    /// How often an order came in doubt.
    pub(super) doubts: u64,
    pub(super) symbols: BTreeMap<u32, String>,
    /// What accounts began with.
    pub(super) initial_cash: BTreeMap<u32, i128>,
    /// What the state says that events lead to; filled in by `JournalReader::balances`.
    pub(super) balances: BTreeMap<u32, Balance>,
    /// Words of the venue that contradict what was known; an honest venue has none.
    pub(super) contradictions: u64,
}

impl History {
    fn note(&mut self, seq: u64, event: &Event) {
        let meta = event.meta();
        let session_id = meta.session_id;
        if meta.report_seq != 0
            && let Some(told) = told(seq, event)
        {
            self.due.entry(session_id).or_default().push_back(told);
        }
        match event {
            Event::InstrumentDefined(e) => {
                let symbol = String::from_utf8_lossy(&e.symbol).trim_end_matches('\0').to_owned();
                self.symbols.insert(e.instrument_id, symbol);
            }
            Event::AccountDefined(AccountDefined { meta, initial_cash, .. }) => {
                self.initial_cash.entry(meta.account_id).or_insert(*initial_cash);
            }
            Event::OrderAccepted(e) => {
                let order = self.note_order(&e.order);
                order.acceptances = order.acceptances.saturating_add(1);
                self.note_request(session_id, e.order.cl_ord_id, Asked::New(terms_of(&e.order)));
            }
            Event::OrderRejected(e) => {
                self.note_request(session_id, e.order.cl_ord_id, Asked::New(terms_of(&e.order)));
            }
            Event::RequestRejected(e) => self.note_request(session_id, e.req_cl_ord_id, Asked::Unsaid),
            Event::OrderFilled(e) => self.note_fill(e),
            Event::OrderAcknowledged(e) => drop(self.note_order(&e.order)),
            Event::OrderClosed(e) => {
                // What the venue cancels, its stream has told.
                let is_ours = e.order.ord_status == OrdStatus::Canceled.raw() && e.broker.broker_seq == 0;
                self.note_order(&e.order).never_left = is_ours;
            }
            Event::CancelRequested(e) => {
                let order = self.note_order(&e.order);
                order.cancels = order.cancels.saturating_add(1);
                self.note_request(session_id, e.req_cl_ord_id, Asked::Cancel(e.order.cl_ord_id));
            }
            Event::ReplaceRequested(e) => {
                self.note_order(&e.order).replaces.push((e.new_px, e.new_qty));
                let asked = Asked::Replace(e.order.cl_ord_id, e.new_px, e.new_qty);
                self.note_request(session_id, e.req_cl_ord_id, asked);
            }
            Event::OrderReplaced(e) => drop(self.note_order(&e.order)),
            Event::ChangeRejected(e) => drop(self.note_order(&e.order)),
            Event::OrderInDoubt(e) => {
                self.note_order(&e.order);
                self.doubts = self.doubts.saturating_add(1);
            }
            Event::OrderRestated(e) => drop(self.note_order(&e.order)),
            Event::MassCancelAccepted(e) => self.note_request(session_id, e.request_id, Asked::MassCancel),
            Event::BrokerContradicted(_) => self.contradictions = self.contradictions.saturating_add(1),
            Event::CoreStarted(_)
            | Event::SessionDefined(_)
            | Event::SessionLoggedOn(_)
            | Event::SessionEnded(_)
            | Event::BrokerFactIgnored(_)
            | Event::BrokerStatusChanged(_)
            | Event::MassCancelCompleted(_)
            | Event::MassCancelProgressed(_)
            | Event::KillSwitchChanged(_)
            | Event::OperatorNoted(_)
            | Event::TradingStateChanged(_)
            | Event::DoubtSearchProgressed(_) => {}
        }
    }

    /// A request of a client; one of the gateway's own has no ClOrdID. The cancels of a mass cancel follow it under its
    /// own: what came first is what was asked.
    fn note_request(&mut self, session_id: u32, cl_ord_id: u64, asked: Asked) {
        if cl_ord_id != 0 {
            self.requests.entry((session_id, cl_ord_id)).or_insert(asked);
        }
    }

    fn note_order(&mut self, image: &OrderImage) -> &mut Order {
        let order = self.orders.entry(image.order_id).or_default();
        (order.session_id, order.account_id, order.cl_ord_id) = (image.session_id, image.account_id, image.cl_ord_id);
        order.terms = terms_of(image);
        (order.cum_qty, order.cum_cost) = (image.cum_qty, image.cum_cost);
        (order.status, order.version) = (image.ord_status, image.order_version);
        order.is_acked |= image.flags & order_flags::ACKED != 0;
        order
    }

    fn note_fill(&mut self, e: &OrderFilled) {
        let fill =
            Fill { exec_id: e.exec_id, broker_exec_id: e.broker_exec_id, px: e.last_px, qty: e.last_qty, fee: e.fee };
        self.note_order(&e.order).fills.push(fill);
    }
}

const fn terms_of(image: &OrderImage) -> Terms {
    let OrderImage { instrument_id, side, px, order_qty, .. } = *image;
    Terms { instrument_id, side, px, qty: order_qty }
}

/// The report that an event must lead to. Written down a second time, apart from the gateway's own, so that it can
/// witness against that.
fn told(seq: u64, event: &Event) -> Option<Told> {
    let of_order = |exec_type: ExecType, order: &OrderImage, exec_id: u64, req_cl_ord_id: u64, reason: u16| {
        Some(Told {
            seq,
            exec_type: exec_type.raw(),
            order_id: order.order_id,
            cl_ord_id: order.cl_ord_id,
            req_cl_ord_id,
            version: order.order_version,
            status: order.ord_status,
            reason,
            terms: terms_of(order),
            cum_qty: order.cum_qty,
            cum_cost: order.cum_cost,
            exec_id,
            last_px: Px::NONE.0,
            ..Told::default()
        })
    };
    let of_request =
        |cl_ord_id: u64, status: u8, reason: u16| Some(Told { seq, cl_ord_id, status, reason, ..Told::default() });
    match event {
        Event::OrderAccepted(e) => of_order(ExecType::PendingNew, &e.order, e.exec_id, 0, 0),
        Event::OrderAcknowledged(e) => of_order(ExecType::New, &e.order, e.exec_id, 0, 0),
        Event::OrderFilled(e) => {
            let reason = if e.overfill == 1 { Reason::Overfill.raw() } else { 0 };
            let told = of_order(ExecType::Trade, &e.order, e.exec_id, 0, reason);
            told.map(|told| Told { last_px: e.last_px, last_qty: e.last_qty, fee: e.fee, ..told })
        }
        Event::OrderClosed(e) => {
            let exec_type = match OrdStatus::from_raw(e.order.ord_status) {
                Some(OrdStatus::Rejected) => ExecType::Rejected,
                Some(OrdStatus::Expired) => ExecType::Expired,
                _ => ExecType::Canceled,
            };
            of_order(exec_type, &e.order, e.exec_id, e.req_cl_ord_id, e.reason)
        }
        Event::CancelRequested(e) => of_order(ExecType::PendingCancel, &e.order, e.exec_id, e.req_cl_ord_id, 0),
        Event::ReplaceRequested(e) => of_order(ExecType::PendingReplace, &e.order, e.exec_id, e.req_cl_ord_id, 0),
        Event::OrderReplaced(e) => of_order(ExecType::Replaced, &e.order, e.exec_id, e.req_cl_ord_id, 0),
        Event::ChangeRejected(e) => of_order(ExecType::Restated, &e.order, e.exec_id, e.req_cl_ord_id, e.reason),
        Event::OrderInDoubt(e) => of_order(ExecType::InDoubt, &e.order, e.exec_id, 0, e.reason),
        Event::OrderRestated(e) => of_order(ExecType::Restated, &e.order, e.exec_id, 0, 0),
        Event::OrderRejected(e) => of_request(e.order.cl_ord_id, OrdStatus::Rejected.raw(), e.reason),
        Event::RequestRejected(e) => {
            of_request(e.req_cl_ord_id, e.ord_status, e.reason).map(|told| Told { order_id: e.order_id, ..told })
        }
        Event::MassCancelAccepted(e) => of_request(e.request_id, BatchStatus::Pending.raw(), 0),
        Event::MassCancelCompleted(e) => of_request(e.request_id, BatchStatus::Done.raw(), 0),
        Event::KillSwitchChanged(e) => of_request(e.request_id, BatchStatus::Done.raw(), 0),
        Event::OperatorNoted(e) => of_request(e.request_id, BatchStatus::Done.raw(), 0),
        Event::InstrumentDefined(_)
        | Event::AccountDefined(_)
        | Event::CoreStarted(_)
        | Event::SessionDefined(_)
        | Event::SessionLoggedOn(_)
        | Event::SessionEnded(_)
        | Event::BrokerContradicted(_)
        | Event::BrokerFactIgnored(_)
        | Event::BrokerStatusChanged(_)
        | Event::MassCancelProgressed(_)
        | Event::TradingStateChanged(_)
        | Event::DoubtSearchProgressed(_) => None,
    }
}

/// A journal that is read on as it grows; the gateway may be running, or dead.
pub(super) struct JournalReader {
    dir: PathBuf,
    next_seq: u64,
    /// Over place and payload of every event that was read.
    digest: DefaultHasher,
    /// What was read.
    pub(super) history: History,
}

fn damaged(error: &ReadError) -> Failure {
    (Exit::JournalDamaged, error.to_string())
}

impl JournalReader {
    pub(super) fn new(dir: PathBuf) -> Self {
        Self { dir, next_seq: 1, digest: DefaultHasher::new(), history: History::default() }
    }

    /// Takes in what was appended since the last call.
    pub(super) fn read_on(&mut self) -> Result<(), Failure> {
        let mut reader = Reader::open(&self.dir, self.next_seq, Until::Journaled).map_err(|error| damaged(&error))?;
        while let Some(group) = reader.next_group().map_err(|error| damaged(&error))? {
            for record in group.records().filter(|record| record.seq >= self.next_seq) {
                let event = Event::from_archive(record.kind, record.version, record.payload)
                    .map_err(|error| (Exit::JournalDamaged, format!("event {}: {error}", record.seq)))?;
                self.digest.write_u64(record.seq);
                self.digest.write(record.payload);
                self.history.note(record.seq, &event);
            }
        }
        self.next_seq = self.next_seq.max(reader.next_seq());
        Ok(())
    }

    /// True when the journal, read anew, is what was read of it bit by bit, before kills and after them.
    pub(super) fn still_holds_what_it_held(&self) -> Result<bool, Failure> {
        let mut anew = Self::new(self.dir.clone());
        anew.read_on()?;
        Ok((anew.next_seq, anew.digest.finish()) == (self.next_seq, self.digest.finish()))
    }

    /// Folds the whole journal into a state, as a start does, for its balances; how many events there were.
    pub(super) fn balances(&mut self) -> Result<u64, Failure> {
        let mut state = State::new(tradecore_domain::Limits::default());
        let events = crate::recovery::replay(&self.dir, &mut state, &mut |_| {})
            .map_err(|error| (Exit::JournalDamaged, error.to_string()))?;
        for account_id in self.history.initial_cash.keys() {
            let cash = state.account(AccountId(*account_id)).map_or(0, |account| account.cash);
            let positions = self.history.symbols.keys().filter_map(|instrument_id| {
                let position = state.position(AccountId(*account_id), InstrumentId(*instrument_id))?;
                let row = (position.qty, position.realized_pnl);
                (*position != tradecore_domain::Position::default()).then_some((*instrument_id, row))
            });
            self.history.balances.insert(*account_id, Balance { cash, positions: positions.collect() });
        }
        Ok(events)
    }
}
