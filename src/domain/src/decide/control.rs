//! Start, definitions, sessions, kill switches: everything that is not an order.

use tradecore_protocol::fields::{AccountId, CodMode, Role, SessionId, Side, TradingState};
use tradecore_protocol::layout::Text;
use tradecore_protocol::reason::Reason;

use super::Deciding;
use crate::command::MassCancel;
use crate::event::{
    AccountDefined, CoreStarted, Event, InstrumentDefined, KillSwitchChanged, MassCancelAccepted, Meta, OperatorNoted,
    SessionDefined, SessionEnded, SessionLoggedOn, TradingStateChanged,
};

const MASS_CANCEL_TEMPLATE: u16 = 104;
const KILL_SWITCH_TEMPLATE: u16 = 400;
const NS_PER_MS: u64 = 1_000_000;
/// `MassCancel::lockout` that lifts the lock-out.
const RELEASE: u8 = 2;

/// Whose orders a mass cancel of ours covers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cover {
    pub(super) request_id: u64,
    pub(super) account_id: u32,
    pub(super) instrument_id: u32,
    pub(super) session_id: u32,
    pub(super) strategy_id: u32,
    pub(super) side: u8,
    pub(super) flagged_only: bool,
    pub(super) lockout: u8,
    pub(super) reason: Reason,
}

impl Cover {
    /// Every open order.
    pub(super) const fn of_everything(reason: Reason) -> Self {
        Self {
            request_id: 0,
            account_id: 0,
            instrument_id: 0,
            session_id: 0,
            strategy_id: 0,
            side: 0,
            flagged_only: false,
            lockout: 0,
            reason,
        }
    }
}

impl Deciding<'_> {
    pub(super) fn start_core(&mut self, epoch: u32, core: u16, environment: u8, durability: u8) {
        let event = CoreStarted { meta: Meta::default(), epoch, core, environment, durability, reserved: 0 };
        self.note(0, 0, event);
    }

    pub(super) fn define_instrument(&mut self, event: &InstrumentDefined) {
        let is_valid = event.instrument_id != 0
            && event.instrument_id <= self.state.limits.instruments_max
            && event.tick_size > 0
            && event.lot_size > 0;
        if !is_valid {
            return self.refuse(Reason::FieldValue);
        }
        let known = self.state.instruments.get(event.instrument_id as usize).copied().flatten();
        let is_same = known.is_some_and(|known| InstrumentDefined { meta: event.meta, ..known } == *event);
        if !is_same {
            self.note(0, u64::from(event.instrument_id), *event);
        }
    }

    pub(super) fn define_account(&mut self, event: &AccountDefined) {
        let account_id = event.meta.account_id;
        if account_id == 0 || account_id > self.state.limits.accounts_max {
            return self.refuse(Reason::FieldValue);
        }
        let is_same = self.state.account(AccountId(account_id)).is_some_and(|known| {
            known.initial_cash == event.initial_cash
                && known.position_max == event.position_max
                && known.open_orders_max == event.open_orders_max
                && known.rate_max == event.rate_max
                && known.currency == event.currency
                && known.owner_id == event.owner_id
        });
        if !is_same {
            self.note(account_id, u64::from(account_id), *event);
        }
    }

    pub(super) fn define_session(&mut self, session_id: SessionId, session_epoch: u64, role: Role, cod_mode: CodMode) {
        if session_id.0 == 0 || session_id.0 > self.state.limits.sessions_max || session_epoch == 0 {
            return self.refuse(Reason::FieldValue);
        }
        let known = self.state.session(session_id);
        if known.is_some_and(|known| known.session_epoch == session_epoch && known.role == role.raw()) {
            return;
        }
        // Client files may still hold the numbers of an earlier epoch: they would be taken for those of this one.
        if known.is_some_and(|known| session_epoch < known.session_epoch) {
            return self.refuse(Reason::EpochMismatch);
        }
        let meta = Meta { session_id: session_id.0, recv_time_ns: self.origin.recv_time_ns, ..Meta::default() };
        let event = SessionDefined {
            meta,
            session_epoch,
            role: role.raw(),
            cod_mode: cod_mode.raw(),
            reserved: [0; 6],
            reserved2: 0,
            reserved3: 0,
        };
        self.push(meta, Event::from(event));
    }

    pub(super) fn log_on(&mut self, connection_no: u64, cod_mode: CodMode, cod_window_ms: u32) {
        let event = SessionLoggedOn {
            meta: Meta::default(),
            connection_no,
            cod_window_ms,
            cod_mode: cod_mode.raw(),
            reserved: [0; 3],
        };
        self.note(0, connection_no, event);
    }

    /// A connection ended: when are its orders to be canceled, and which.
    pub(super) fn end_session(&mut self, reason: Reason) {
        let Some(session) = self.state.session(self.origin.session_id) else { return };
        let mode = session.mode();
        let is_logout = reason == Reason::Logout;
        // A take-over goes on with the same session; a stop of the gateway is not the client's loss.
        let cancels_nothing = matches!(reason, Reason::TakenOver | Reason::Shutdown);
        let all = match mode {
            CodMode::None => false,
            CodMode::Disconnect => !is_logout,
            CodMode::Logout => is_logout,
            CodMode::Both => true,
        };
        let window_ns = if is_logout { 0 } else { u64::from(session.cod_window_ms).saturating_mul(NS_PER_MS) };
        // Orders with the flag are canceled whatever the mode, but for a logout that means to leave them.
        let arms = !cancels_nothing && (all || !is_logout) && session.open_orders > 0;
        // One whose logon found no room in the journal counts as away: it may arm what is not armed, and no more.
        if session.connection_no == 0 && (!arms || session.cod_due_ns != 0) {
            return;
        }
        let event = SessionEnded {
            meta: Meta::default(),
            cod_due_ns: if arms { self.now.0.saturating_add(window_ns).max(1) } else { 0 },
            reason: reason.raw(),
            cod_all: u8::from(all),
            reserved: [0; 5],
            reserved2: 0,
            reserved3: 0,
        };
        self.note(0, session.connection_no, event);
    }

    pub(super) fn mass_cancel(&mut self, cancel: &MassCancel) {
        let side_is_valid = cancel.side == 0 || Side::from_raw(cancel.side).is_some();
        let is_admin = self.state.session(self.origin.session_id).is_some_and(|s| s.role == Role::Admin.raw());
        let reason = if !side_is_valid {
            Some(Reason::SideInvalid)
        } else if cancel.lockout > 2 {
            Some(Reason::FieldValue)
        } else if is_admin && !cancel.every_session {
            // It has no orders of its own: it must say that it means those of others.
            Some(Reason::ScopeInvalid)
        } else if cancel.every_session && (cancel.lockout != 0 || cancel.account_id.0 == 0 && !is_admin) {
            // A lock-out is one session's, the kill switch is for all; only an operator works on the whole core.
            Some(Reason::ScopeInvalid)
        } else if cancel.account_id.0 != 0 && self.state.account(cancel.account_id).is_none() {
            Some(Reason::AccountUnknown)
        } else if cancel.instrument_id.0 != 0 && self.state.instrument(cancel.instrument_id).is_none() {
            Some(Reason::InstrumentUnknown)
        } else {
            None
        };
        if let Some(reason) = reason {
            return self.reject_request([cancel.request_id, 0, 0], None, reason.into(), MASS_CANCEL_TEMPLATE);
        }
        self.begin_mass_cancel(Cover {
            request_id: cancel.request_id,
            account_id: cancel.account_id.0,
            instrument_id: cancel.instrument_id.0,
            session_id: if cancel.every_session { 0 } else { self.origin.session_id.0 },
            strategy_id: cancel.strategy_id.0,
            side: cancel.side,
            flagged_only: false,
            lockout: cancel.lockout,
            reason: if is_admin { Reason::OperatorRequest } else { Reason::ClientRequest },
        });
    }

    /// The orders there are now are canceled step by step; later ones are not covered.
    pub(super) fn begin_mass_cancel(&mut self, cover: Cover) {
        let begun = self.out.events.iter().filter(|event| matches!(event, Event::MassCancelAccepted(_))).count();
        // What kill switches and lost connections cancel has places of its own: it must not wait for what clients have
        // asked for.
        let places = match cover.reason {
            Reason::Killed | Reason::ClientDisconnect => self.state.limits.mass_cancel_places(),
            _ => self.state.limits.mass_cancels_max as usize,
        };
        if self.state.mass_cancels.len().saturating_add(begun) >= places {
            return self.refuse_until(Reason::PendingChange, NS_PER_MS);
        }
        let event = MassCancelAccepted {
            meta: Meta::default(),
            request_id: cover.request_id,
            mass_cancel_id: self.state.next_mass_cancel.saturating_add(begun as u64),
            // What lifts a lock-out cancels nothing: it covers no order.
            order_id_max: match cover.lockout {
                RELEASE => 0,
                _ => self.state.id(self.state.next_order).saturating_sub(1),
            },
            account_id: cover.account_id,
            instrument_id: cover.instrument_id,
            target_session_id: cover.session_id,
            strategy_id: cover.strategy_id,
            side: cover.side,
            flagged_only: u8::from(cover.flagged_only),
            lockout: cover.lockout,
            reserved: 0,
            reason: cover.reason.raw(),
            reserved2: [0; 2],
        };
        if self.origin.session_id == SessionId::NONE {
            self.note(cover.account_id, event.mass_cancel_id, event);
        } else {
            self.report(self.origin.session_id.0, cover.account_id, event.mass_cancel_id, event);
        }
    }

    pub(super) fn set_kill_switch(
        &mut self,
        request_id: u64,
        account_id: AccountId,
        engage: bool,
        cancel_open: bool,
        reopen: bool,
        operator_tag: Text<32>,
    ) {
        if account_id != AccountId::NONE && self.state.account(account_id).is_none() {
            return self.reject_request([request_id, 0, 0], None, Reason::AccountUnknown.into(), KILL_SWITCH_TEMPLATE);
        }
        if cancel_open && self.state.mass_cancels.len() >= self.state.limits.mass_cancel_places() {
            // As many kill switches are still canceling: this one is not done by halves, but asked for again.
            return self.refuse_until(Reason::PendingChange, NS_PER_MS);
        }
        let event = KillSwitchChanged {
            meta: Meta::default(),
            request_id,
            kill_epoch: self.state.kill_epoch.saturating_add(u64::from(engage)),
            engaged: u8::from(engage),
            reserved: [0; 7],
            operator_tag: *operator_tag.as_bytes(),
            reserved2: 0,
        };
        if self.origin.session_id == SessionId::NONE {
            self.note(account_id.0, request_id, event);
        } else {
            self.report(self.origin.session_id.0, account_id.0, request_id, event);
        }
        if cancel_open {
            self.begin_mass_cancel(Cover {
                request_id,
                account_id: account_id.0,
                ..Cover::of_everything(Reason::Killed)
            });
        }
        if reopen {
            self.set_trading_state(account_id.0, TradingState::Open, Reason::OperatorRequest);
        }
    }

    pub(super) fn note_by_operator(&mut self, request_id: u64, text: Text<96>) {
        let mut event = OperatorNoted { request_id, ..OperatorNoted::default() };
        event.text.as_flattened_mut().copy_from_slice(text.as_bytes());
        self.report(self.origin.session_id.0, 0, request_id, event);
    }

    pub(super) fn set_trading_state(&mut self, account_id: u32, state: TradingState, reason: Reason) {
        let event = TradingStateChanged {
            meta: Meta::default(),
            state: state.raw(),
            reserved: 0,
            reason: reason.raw(),
            reserved2: [0; 12],
        };
        self.note(account_id, 0, event);
    }
}
