//! Commands to events: the one place that may say no. Changes nothing.
//!
//! A *refusal* is no decision: nothing is journaled, no id is used (degraded states, full tables). A *reject*
//! is a decision, hence an event. Checks stand in this order: identity → shape → state → limits; the first
//! that fails gives the reason.

mod broker;
mod control;
mod orders;
mod steps;

pub use steps::PLACES_PER_STEP;
use tradecore_protocol::fields::{AccountId, SessionId, UnixNanos};
use tradecore_protocol::reason::Reason;

use crate::command::{Command, Origin};
use crate::event::{Event, Meta};
use crate::market::Market;
use crate::state::{Known, State};

/// Events that one decision may have.
pub const EVENTS_MAX: usize = 96;

/// The outcome of a decision, in a buffer that is used again.
#[derive(Clone, Debug)]
pub struct Decision {
    events: Vec<Event>,
    refusal: Option<(Reason, u64)>,
    duplicate: Option<Known>,
}

impl Default for Decision {
    fn default() -> Self {
        Self::new()
    }
}

impl Decision {
    /// An empty buffer of full size.
    #[must_use]
    pub fn new() -> Self {
        Self { events: Vec::with_capacity(EVENTS_MAX), refusal: None, duplicate: None }
    }

    /// Events that fit.
    #[must_use]
    pub const fn capacity(&self) -> usize {
        EVENTS_MAX
    }

    /// What is to be journaled, as one group.
    #[must_use]
    pub fn events(&self) -> &[Event] {
        &self.events
    }

    /// The same, to be kept while they are journaled and applied; `give_back` returns them.
    #[must_use]
    pub fn take_events(&mut self) -> Vec<Event> {
        core::mem::take(&mut self.events)
    }

    /// Has the events again that were taken.
    pub fn give_back(&mut self, events: Vec<Event>) {
        self.events = events;
    }

    /// Why nothing was decided.
    #[must_use]
    pub fn refusal(&self) -> Option<Reason> {
        self.refusal.map(|(reason, _)| reason)
    }

    /// Earliest useful next attempt, ns; 0 if waiting does not help.
    #[must_use]
    pub fn retry_after_ns(&self) -> u64 {
        self.refusal.map_or(0, |(_, wait_ns)| wait_ns)
    }

    /// What is known of a request that was repeated with the same content.
    #[must_use]
    pub const fn duplicate(&self) -> Option<&Known> {
        self.duplicate.as_ref()
    }

    fn clear(&mut self) {
        self.events.clear();
        self.refusal = None;
        self.duplicate = None;
    }
}

/// What a decision is made from, and where it goes.
pub(crate) struct Deciding<'a> {
    pub(crate) state: &'a State,
    pub(crate) now: UnixNanos,
    pub(crate) market: &'a Market,
    pub(crate) origin: &'a Origin,
    pub(crate) out: &'a mut Decision,
}

impl Deciding<'_> {
    fn refuse(&mut self, reason: Reason) {
        self.out.refusal = Some((reason, 0));
    }

    fn refuse_until(&mut self, reason: Reason, wait_ns: u64) {
        self.out.refusal = Some((reason, wait_ns));
    }

    fn has_room(&self, events: usize) -> bool {
        self.out.events.len().saturating_add(events) <= EVENTS_MAX
    }

    /// Adds an event that nobody is told.
    fn note(&mut self, account_id: u32, correlation_id: u64, event: impl Into<Event>) {
        let meta = Meta {
            client_seq: self.origin.client_seq,
            recv_time_ns: self.origin.recv_time_ns,
            session_id: self.origin.session_id.0,
            account_id,
            correlation_id,
            ..Meta::default()
        };
        self.push(meta, event.into());
    }

    /// Adds an event that a session is told, and every drop copy.
    fn report(&mut self, session_id: u32, account_id: u32, correlation_id: u64, event: impl Into<Event>) {
        let told = |event: &&Event| event.meta().report_no != 0;
        let for_session = |event: &&Event| told(event) && event.meta().session_id == session_id;
        let earlier = self.out.events.iter().filter(told).count() as u64;
        let earlier_for_session = self.out.events.iter().filter(for_session).count() as u64;
        let session = self.state.session(SessionId(session_id));
        let is_origin = self.origin.session_id.0 == session_id;
        let meta = Meta {
            // A frame is consumed by the stream that it came in by.
            client_seq: if is_origin { self.origin.client_seq } else { 0 },
            report_seq: session.map_or(0, |session| session.next_report_seq.saturating_add(earlier_for_session)),
            report_no: self.state.next_report_no.saturating_add(earlier),
            correlation_id,
            recv_time_ns: self.origin.recv_time_ns,
            session_id,
            account_id,
        };
        self.push(meta, event.into());
    }

    fn push(&mut self, meta: Meta, mut event: Event) {
        *event.meta_mut() = meta;
        if self.has_room(1) {
            self.out.events.push(event);
        }
    }

    /// The next FIX ExecID: one for every event of this decision that has one.
    fn exec_id(&self) -> u64 {
        let given = self.out.events.iter().filter(|event| has_exec_id(event)).count() as u64;
        self.state.id(self.state.next_exec.saturating_add(given))
    }

    fn account_of(&self, account_id: u32) -> Option<&crate::account::Account> {
        self.state.account(AccountId(account_id))
    }
}

const fn has_exec_id(event: &Event) -> bool {
    matches!(
        event,
        Event::OrderAccepted(_)
            | Event::OrderAcknowledged(_)
            | Event::OrderFilled(_)
            | Event::OrderClosed(_)
            | Event::CancelRequested(_)
            | Event::ReplaceRequested(_)
            | Event::OrderReplaced(_)
            | Event::ChangeRejected(_)
            | Event::OrderInDoubt(_)
            | Event::OrderRestated(_)
    )
}

/// Decides on a command: events, a refusal, or the answer to a repetition.
pub fn decide(state: &State, now: UnixNanos, market: &Market, origin: &Origin, command: &Command, out: &mut Decision) {
    out.clear();
    let mut deciding = Deciding { state, now, market, origin, out };
    match command {
        Command::PlaceOrder(order) => deciding.place_order(order),
        Command::CancelOrder(cancel) => deciding.cancel_order(cancel),
        Command::ReplaceOrder(replace) => deciding.replace_order(replace),
        Command::MassCancel(cancel) => deciding.mass_cancel(cancel),
        Command::SetKillSwitch { request_id, account_id, engage, cancel_open, reopen, operator_tag } => {
            let cancel_open = *engage && *cancel_open;
            let reopen = !*engage && *reopen;
            deciding.set_kill_switch(*request_id, *account_id, *engage, cancel_open, reopen, *operator_tag);
        }
        Command::NoteByOperator { request_id, text } => deciding.note_by_operator(*request_id, *text),
        Command::SetTradingState { account_id, state, reason } => {
            deciding.set_trading_state(account_id.0, *state, *reason);
        }
        Command::StartCore { epoch, core, environment, durability } => {
            deciding.start_core(*epoch, *core, *environment, *durability);
        }
        Command::DefineInstrument(event) => deciding.define_instrument(event),
        Command::DefineAccount(event) => deciding.define_account(event),
        Command::DefineSession { session_id, session_epoch, role, cod_mode } => {
            deciding.define_session(*session_id, *session_epoch, *role, *cod_mode);
        }
        Command::LogOn { connection_no, cod_mode, cod_window_ms } => {
            deciding.log_on(*connection_no, *cod_mode, *cod_window_ms);
        }
        Command::EndSession { reason } => deciding.end_session(*reason),
        Command::BrokerStatus { status, connection_no } => deciding.broker_status(*status, *connection_no),
        Command::BrokerFact(fact) => deciding.broker_fact(fact),
        Command::EffectFailed { order_id, kind, failure, reason } => {
            deciding.effect_failed(*order_id, *kind, *failure, *reason);
        }
        Command::Step => deciding.step(),
    }
}
