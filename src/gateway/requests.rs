//! Requests of logged-on sessions: refused, answered, or taken through the one door.

use tradecore_domain::command::{Command, Origin};
use tradecore_protocol::codes::er_flags;
use tradecore_protocol::fields::{AccountId, Role, SessionId};
use tradecore_protocol::frame::{Envelope, Frame, encode};
use tradecore_protocol::messages as wire;
use tradecore_protocol::reason::Reason;
use tradecore_protocol::session::Now;

use super::Gateway;
use crate::egress::report::{self, REPORT_BYTES_MAX, ReportPlace};
use crate::ingress::{self, Request};
use crate::queries;
use crate::session::LoggedOnAs;

impl Gateway {
    pub(super) fn request(&mut self, index: u32, frame: &Frame<'_>, now: Now) {
        let Some(connection) = self.connections.get_mut(index) else { return };
        let Some(logged_on) = connection.logged_on else { return };
        let template_id = frame.header.template_id;
        let adds_risk = matches!(template_id, wire::NewOrder::TEMPLATE_ID | wire::ReplaceOrder::TEMPLATE_ID);
        let Some(entry) = self.directory.get_mut(logged_on.session_id) else { return };
        let pace = &mut entry.pace;
        let bucket = match (adds_risk, frame.header.seq) {
            (true, _) => &mut pace.orders,
            // What changes nothing has no number.
            (false, 0) => &mut pace.queries,
            (false, _) => &mut pace.cancels,
        };
        if let Err(wait_ns) = bucket.take(now.mono_ns) {
            connection.strikes = connection.strikes.saturating_add(1);
            let too_many = connection.strikes > self.settings.throttle_strikes;
            self.refuse(index, frame, Reason::RateLimit, wait_ns, now);
            if too_many {
                self.end_connection(index, Reason::RateLimit, "the rate was told at logon", now);
            }
            return;
        }
        connection.strikes = 0;
        let sender = connection.id;
        let request = ingress::request_of(frame);
        match request {
            Ok(Request::Command(command)) => {
                if let Some(reason) = self.refusal_of(&command, logged_on) {
                    self.refuse(index, frame, reason, 0, now);
                    return;
                }
                let origin = Origin {
                    session_id: SessionId(logged_on.session_id),
                    client_seq: frame.header.seq,
                    recv_time_ns: now.utc_ns,
                };
                if matches!(command, Command::PlaceOrder(_) | Command::ReplaceOrder(_) | Command::CancelOrder(_)) {
                    self.stages.take(sender);
                }
                let outcome = self.execute(&origin, &command, now);
                self.stages.executed(outcome.is_ok(), self.journal.last_seq());
                match outcome {
                    Ok(()) => {
                        self.rehearsal.remember(sender, frame, self.decision.events());
                        self.answer_duplicate(index, frame, now);
                    }
                    Err(reason) => {
                        let wait_ns = self.decision.retry_after_ns();
                        self.refuse(index, frame, reason, wait_ns, now);
                    }
                }
            }
            Ok(Request::Query) => self.query(index, frame, logged_on, now),
            Ok(Request::Refused(reason)) => self.refuse(index, frame, reason, 0, now),
            Err(fault) => self.refuse(index, frame, fault.reason, 0, now),
        }
    }

    /// Half of what keeps the requests of a session waiting: the rest is left to what takes risk away.
    fn holds_its_eighth(&self, session_id: u32) -> bool {
        self.connection_of(session_id).is_some_and(|index| self.connections.holds_one_in(index, 8))
    }

    /// Why the gateway itself refuses, before any decision.
    pub(super) fn refusal_of(&self, command: &Command, logged_on: LoggedOnAs) -> Option<Reason> {
        // Without an account a session means its own orders, an operator those of every account.
        let may_use = |account: AccountId| {
            account == AccountId::NONE && logged_on.role != Role::Admin
                || self.directory.get(logged_on.session_id).is_some_and(|entry| entry.may_use(account.0))
        };
        let lag = self.journal.last_seq().saturating_sub(self.durable_seq());
        let (account_id, adds_risk) = match command {
            Command::PlaceOrder(order) => (order.account_id, true),
            Command::ReplaceOrder(_) => (AccountId::NONE, true),
            Command::MassCancel(cancel) => (cancel.account_id, false),
            Command::SetKillSwitch { account_id, .. } => (*account_id, false),
            _ => (AccountId::NONE, false),
        };
        if !may_use(account_id) {
            Some(Reason::AccountForbidden)
        } else if !adds_risk {
            None
        } else if self.draining {
            Some(Reason::Shutdown)
        } else if !self.may_trade {
            Some(Reason::NoLease)
        } else if !self.outbox.has_room(1) {
            Some(Reason::OutboxFull)
        } else if lag > self.settings.durability_lag_max
            || self.gate.is_half_full()
            || (self.gate.is_stalled() && self.holds_its_eighth(logged_on.session_id))
        {
            Some(Reason::DurabilityLag)
        } else {
            None
        }
    }

    pub(super) fn refuse(&mut self, index: u32, frame: &Frame<'_>, reason: Reason, retry_after_ns: u64, now: Now) {
        self.counters.refusals.add(1);
        match reason {
            Reason::DurabilityLag => self.counters.refused_durability_lag.add(1),
            Reason::JournalFull => self.counters.refused_journal_full.add(1),
            Reason::OutboxFull => self.counters.refused_outbox_full.add(1),
            Reason::NoLease => self.counters.refused_no_lease.add(1),
            _ => {}
        }
        let mut out = [0; REPORT_BYTES_MAX];
        let header = &frame.header;
        let mut block = report::refusal(header.template_id, header.seq, ingress::ids_of(frame), reason, retry_after_ns);
        block.recv_time_ns.set(now.utc_ns);
        let Some(connection) = self.connections.get(index) else { return };
        let len = encode(&mut out, connection.session.envelope(now, 0, 0), &block).unwrap_or(0);
        self.queue(index, out.get(..len).unwrap_or_default(), None);
    }

    /// A repeated request is answered with what is known, flagged.
    pub(super) fn answer_duplicate(&mut self, index: u32, frame: &Frame<'_>, now: Now) {
        let Some(duplicate) = self.decision.duplicate() else { return };
        self.counters.duplicates.add(1);
        let mut out = [0; REPORT_BYTES_MAX];
        let place = ReportPlace {
            envelope: Envelope::default(),
            journal_seq: self.journal.last_seq(),
            transact_time_ns: now.utc_ns,
            durability: self.settings.durability.raw(),
            er_flags: er_flags::DUPLICATE_REQUEST,
        };
        let Some(connection) = self.connections.get(index) else { return };
        let envelope = connection.session.envelope(now, 0, 0);
        let len = if duplicate.reject_reason == Reason::None {
            encode(&mut out, envelope, &report::status_report(&duplicate.order, &place))
        } else {
            let header = &frame.header;
            let ids = ingress::ids_of(frame);
            let mut block = report::refusal(header.template_id, header.seq, ids, duplicate.reject_reason, 0);
            block.er_flags = er_flags::DUPLICATE_REQUEST;
            encode(&mut out, envelope, &block)
        };
        // What is known may not be durable yet.
        let journal_seq = Some(self.journal.last_seq());
        self.queue(index, out.get(..len.unwrap_or(0)).unwrap_or_default(), journal_seq);
    }

    pub(super) fn query(&mut self, index: u32, frame: &Frame<'_>, logged_on: LoggedOnAs, now: Now) {
        let place = queries::Place { now, journal_seq: self.journal.last_seq(), durability: self.settings.durability };
        let asked = queries::answer(
            queries::Sources { state: &self.state, market: &self.market, directory: &self.directory },
            &mut self.connections,
            &mut self.gate,
            index,
            frame,
            logged_on,
            &place,
        );
        match asked {
            queries::Answer::Done => {}
            queries::Answer::Refused(reason) => self.refuse(index, frame, reason, 0, now),
            queries::Answer::Fills(request) => {
                if !self.ask_fills(index, request, now) {
                    self.refuse(index, frame, Reason::ResendInProgress, 1_000_000_000, now);
                }
            }
        }
        self.connections.attend(index);
    }
}
