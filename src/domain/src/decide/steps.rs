//! Work that is too long for one decision: mass cancels, the search for doubts, sessions that are due.
//!
//! Driven from state, a bounded piece at a time; how far it has come is an event, so a crash loses nothing.

use tradecore_protocol::fields::{SessionId, exec_flags};
use tradecore_protocol::reason::Reason;

use super::Deciding;
use super::control::Cover;
use crate::event::{DoubtSearchProgressed, MassCancelCompleted, MassCancelProgressed, Meta, OrderImage, order_flags};
use crate::state::MassCancelState;

/// Places of the order table that one step looks at.
pub const PLACES_PER_STEP: usize = 256;
/// Orders that one step changes.
const ORDERS_PER_STEP: usize = 32;

impl Deciding<'_> {
    pub(super) fn step(&mut self) {
        if let Some(slot) = self.state.doubt_search {
            self.search_doubts(slot);
        } else if let Some(session_id) = self.due_session_to_begin() {
            let all = self.state.sessions.get(session_id as usize).is_some_and(|session| session.cod_all);
            let cover = Cover::of_everything(Reason::ClientDisconnect);
            self.begin_mass_cancel(Cover { session_id, flagged_only: !all, ..cover });
        } else if let Some(mass_cancel) = self.mass_cancel_to_go_on_with() {
            self.go_on_with_mass_cancel(&mass_cancel);
        }
    }

    /// One session at a time: its mass cancel has one place that no client can take.
    fn due_session_to_begin(&self) -> Option<u32> {
        let (under_way, places) = (&self.state.mass_cancels, self.state.limits.mass_cancel_places());
        let is_begun = under_way.iter().any(|one| one.reason == Reason::ClientDisconnect.raw());
        if is_begun || under_way.len() >= places { None } else { self.state.session_due(self.now) }
    }

    /// What nobody asked for, or an operator by the kill switch, does not stand behind what clients have asked for.
    fn mass_cancel_to_go_on_with(&self) -> Option<MassCancelState> {
        let is_urgent =
            |one: &&MassCancelState| one.reason == Reason::Killed.raw() || one.reason == Reason::ClientDisconnect.raw();
        let under_way = &self.state.mass_cancels;
        under_way.iter().find(is_urgent).or(under_way.front()).copied()
    }

    /// The core or the connection has ended: what was sent and not answered is in doubt.
    fn search_doubts(&mut self, slot: u32) {
        let mut position = slot as usize;
        let end = position.saturating_add(PLACES_PER_STEP).min(self.state.order_places());
        let mut changed: usize = 0;
        while position < end && changed < ORDERS_PER_STEP {
            let order = self.state.orders.get(position).filter(|order| order.is_open()).map(|order| order.image);
            position = position.saturating_add(1);
            let Some(image) = order else { continue };
            let under_way = order_flags::CANCEL_PENDING | order_flags::REPLACE_PENDING;
            let is_unanswered = image.flags & order_flags::ACKED == 0 || image.flags & under_way != 0;
            if is_unanswered && image.flags & order_flags::DOUBT == 0 {
                self.doubt(&image, Reason::OutcomeUnknown);
                changed = changed.saturating_add(1);
            }
        }
        let event = DoubtSearchProgressed {
            meta: Meta::default(),
            next_slot: position as u32,
            done: u8::from(position >= self.state.order_places() || self.state.open_orders == 0),
            reserved: [0; 3],
            reserved2: 0,
        };
        self.note(0, 0, event);
    }

    fn go_on_with_mass_cancel(&mut self, mass_cancel: &MassCancelState) {
        let mut position = mass_cancel.next_slot as usize;
        let end = position.saturating_add(PLACES_PER_STEP).min(self.state.order_places());
        let (mut cancel_requested, mut already_pending) = (mass_cancel.cancel_requested, mass_cancel.already_pending);
        let mut changed: usize = 0;
        while position < end && changed < ORDERS_PER_STEP {
            let order = self.state.orders.get(position).filter(|order| order.is_open()).map(|order| order.image);
            position = position.saturating_add(1);
            let Some(image) = order.filter(|image| covers(mass_cancel, image)) else { continue };
            if image.flags & order_flags::CANCEL_PENDING != 0 {
                already_pending = already_pending.saturating_add(1);
            } else {
                let reason = Reason::from_raw(mass_cancel.reason).unwrap_or(Reason::OperatorRequest);
                // Its session asked for it if it asked for the mass cancel.
                let is_own = image.session_id == mass_cancel.requester;
                self.request_cancel(image, if is_own { mass_cancel.request_id } else { 0 }, reason);
                cancel_requested = cancel_requested.saturating_add(1);
                changed = changed.saturating_add(1);
            }
        }
        if position < self.state.order_places() && self.open_orders_of(mass_cancel) > 0 {
            let event = MassCancelProgressed {
                meta: Meta::default(),
                mass_cancel_id: mass_cancel.id,
                next_slot: position as u32,
                cancel_requested,
                already_pending,
                reserved: 0,
                reserved2: 0,
            };
            return self.note(mass_cancel.account_id, mass_cancel.id, event);
        }
        let event = MassCancelCompleted {
            meta: Meta::default(),
            request_id: mass_cancel.request_id,
            mass_cancel_id: mass_cancel.id,
            cancel_requested,
            already_pending,
            target_session_id: mass_cancel.target_session_id,
            reserved: 0,
        };
        if mass_cancel.requester == 0 {
            self.note(mass_cancel.account_id, mass_cancel.id, event);
        } else {
            self.report(mass_cancel.requester, mass_cancel.account_id, mass_cancel.id, event);
        }
    }

    /// Open orders of the narrowest of its scopes that are counted: with none, it covers nothing.
    fn open_orders_of(&self, mass_cancel: &MassCancelState) -> u32 {
        let session = self.state.session(SessionId(mass_cancel.target_session_id)).map(|session| session.open_orders);
        let account = self.account_of(mass_cancel.account_id).map(|account| account.open_orders);
        [session, account].into_iter().flatten().fold(self.state.open_orders, u32::min)
    }
}

fn covers(mass_cancel: &MassCancelState, image: &OrderImage) -> bool {
    let is = |filter: u32, value: u32| filter == 0 || filter == value;
    image.order_id <= mass_cancel.order_id_max
        && is(mass_cancel.account_id, image.account_id)
        && is(mass_cancel.instrument_id, image.instrument_id)
        && is(mass_cancel.target_session_id, image.session_id)
        && is(mass_cancel.strategy_id, image.strategy_id)
        && is(u32::from(mass_cancel.side), u32::from(image.side))
        && (!mass_cancel.flagged_only || image.exec_flags & exec_flags::CANCEL_ON_DISCONNECT != 0)
}
