//! What the journal holds, read from outside as anyone could.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use tradecore_domain::State;
use tradecore_domain::event::{AccountDefined, Event, OrderFilled, OrderImage, order_flags};
use tradecore_journal::{ReadError, Reader, Until};
use tradecore_protocol::fields::{AccountId, InstrumentId};

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
    /// Terms at its acceptance.
    pub(super) asked: Terms,
    /// Terms in force.
    pub(super) terms: Terms,
    pub(super) cum_qty: i64,
    pub(super) cum_cost: i128,
    pub(super) status: u8,
    pub(super) version: u32,
    /// The broker has shown that it has the order.
    pub(super) is_acked: bool,
    /// How often it was accepted: once.
    pub(super) acceptances: u32,
    pub(super) fills: Vec<Fill>,
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

/// A request that a decision refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rejected {
    pub(super) session_id: u32,
    pub(super) cl_ord_id: u64,
    pub(super) reason: u16,
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
    /// By sequence number.
    pub(super) rejected: BTreeMap<u64, Rejected>,
    /// Session and ClOrdID of every request that had an effect.
    pub(super) ids: BTreeSet<(u32, u64)>,
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
        let session_id = event.meta().session_id;
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
                order.asked = order.terms;
                order.acceptances = order.acceptances.saturating_add(1);
                self.ids.insert((e.order.session_id, e.order.cl_ord_id));
            }
            Event::OrderRejected(e) => {
                let rejected = Rejected { session_id, cl_ord_id: e.order.cl_ord_id, reason: e.reason };
                self.rejected.insert(seq, rejected);
                self.ids.insert((session_id, e.order.cl_ord_id));
            }
            Event::RequestRejected(e) => {
                self.rejected.insert(seq, Rejected { session_id, cl_ord_id: e.req_cl_ord_id, reason: e.reason });
                self.ids.insert((session_id, e.req_cl_ord_id));
            }
            Event::OrderFilled(e) => self.note_fill(e),
            Event::OrderAcknowledged(e) => drop(self.note_order(&e.order)),
            Event::OrderClosed(e) => drop(self.note_order(&e.order)),
            Event::CancelRequested(e) => {
                self.note_order(&e.order);
                self.ids.insert((session_id, e.req_cl_ord_id));
            }
            Event::ReplaceRequested(e) => {
                self.note_order(&e.order);
                self.ids.insert((session_id, e.req_cl_ord_id));
            }
            Event::OrderReplaced(e) => drop(self.note_order(&e.order)),
            Event::ChangeRejected(e) => drop(self.note_order(&e.order)),
            Event::OrderInDoubt(e) => drop(self.note_order(&e.order)),
            Event::OrderRestated(e) => drop(self.note_order(&e.order)),
            Event::MassCancelAccepted(e) => drop(self.ids.insert((session_id, e.request_id))),
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
            | Event::TradingStateChanged(_)
            | Event::DoubtSearchProgressed(_) => {}
        }
    }

    fn note_order(&mut self, image: &OrderImage) -> &mut Order {
        let order = self.orders.entry(image.order_id).or_default();
        (order.session_id, order.account_id, order.cl_ord_id) = (image.session_id, image.account_id, image.cl_ord_id);
        let OrderImage { instrument_id, side, px, order_qty, .. } = *image;
        order.terms = Terms { instrument_id, side, px, qty: order_qty };
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

/// A journal that is read on as it grows; the gateway may be running, or dead.
pub(super) struct JournalReader {
    dir: PathBuf,
    next_seq: u64,
    /// What was read.
    pub(super) history: History,
}

fn damaged(error: &ReadError) -> Failure {
    (Exit::JournalDamaged, error.to_string())
}

impl JournalReader {
    pub(super) fn new(dir: PathBuf) -> Self {
        Self { dir, next_seq: 1, history: History::default() }
    }

    /// Takes in what was appended since the last call.
    pub(super) fn read_on(&mut self) -> Result<(), Failure> {
        let mut reader = Reader::open(&self.dir, self.next_seq, Until::Journaled).map_err(|error| damaged(&error))?;
        while let Some(group) = reader.next_group().map_err(|error| damaged(&error))? {
            for record in group.records().filter(|record| record.seq >= self.next_seq) {
                let event = Event::from_archive(record.kind, record.version, record.payload)
                    .map_err(|error| (Exit::JournalDamaged, format!("event {}: {error}", record.seq)))?;
                self.history.note(record.seq, &event);
            }
        }
        self.next_seq = self.next_seq.max(reader.next_seq());
        Ok(())
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
