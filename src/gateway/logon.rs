//! Who may log on, and as what.

use tradecore_domain::Session;
use tradecore_domain::command::{Command, Origin};
use tradecore_journal::Space;
use tradecore_protocol::Text;
use tradecore_protocol::fields::{Role, SessionId};
use tradecore_protocol::reason::Reason;
use tradecore_protocol::session::{
    GatewayFacts, LoggedOn, LogonAnswer, LogonQuery, Now, REPLY_BYTES_MAX, ServerAction, SessionFacts,
};

use super::{FACT_BYTES, FACT_RECORDS, Gateway};
use crate::notices::{Notice, Who};
use crate::session::LoggedOnAs;

const NS_PER_MS: u64 = 1_000_000;

/// When a logon that nothing is wrong with may be tried again, ms.
const RETRY_AFTER_MS: u32 = 1_000;

impl Gateway {
    pub(super) fn check_logon(&mut self, index: u32, query: &LogonQuery, now: Now) {
        let mut reply = [0; REPLY_BYTES_MAX];
        let Some(host) = self.connections.get(index).map(|connection| connection.host) else { return };
        let mut facts = self.session_facts(query.session_id, query.role);
        if let Some(facts) = &mut facts {
            facts.served_at = self.directory.served_at(query.core);
        }
        let gateway = GatewayFacts {
            trading_state: self.state.trading_state(),
            kill_state: self.state.kill_state(),
            durability: self.settings.durability,
            broker_status: self.state.broker_status(),
            throttle_rate: self.settings.throttle_rate,
            throttle_burst: self.settings.throttle_burst,
            core_epoch: self.state.epoch(),
            ids_max: self.state.ids_per_session(),
        };
        let space = self.space_of_logon(query.session_id, query.role);
        let has_room = self.journal.can_append(FACT_BYTES, FACT_RECORDS, space);
        let Some(connection) = self.connections.get_mut(index) else { return };
        let entry = self.directory.get(query.session_id).filter(|entry| entry.key_id == query.key_id);
        // Who knows the key is let in, whatever others have tried in its name.
        let locked_ns = self
            .lockouts
            .left_ns(host, query.key_id, now.mono_ns)
            .filter(|_| !entry.is_some_and(|entry| connection.session.is_proven_by(&entry.key)));
        let refused = |reason, retry_after_ms| LogonAnswer::Refused { reason, retry_after_ms };
        let answer = if self.draining {
            refused(Reason::Shutdown, RETRY_AFTER_MS)
        } else if let Some(left_ns) = locked_ns {
            refused(Reason::LoginRate, u32::try_from(left_ns.div_ceil(NS_PER_MS)).unwrap_or(u32::MAX))
        } else if !has_room {
            // What the ack says must be in the journal.
            refused(Reason::JournalFull, RETRY_AFTER_MS)
        } else if let (Some(entry), Some(session)) = (entry, &facts) {
            LogonAnswer::Known { key: &entry.key, session, gateway: &gateway }
        } else {
            LogonAnswer::Unknown
        };
        let step = connection.session.answer_logon(now, answer, &mut reply);
        let mut is_locked_out = false;
        match step.action {
            ServerAction::LoggedOn(_) => self.lockouts.succeeded(host, query.key_id),
            ServerAction::Close { reason: Reason::AuthFailed, .. } => {
                self.counters.logons_refused.add(1);
                is_locked_out = self.lockouts.failed(host, query.key_id, now.mono_ns);
            }
            _ => self.counters.logons_refused.add(1),
        }
        self.obey(index, None, step, &reply, now);
        if is_locked_out {
            let who = Who { session_id: query.session_id, key_id: query.key_id, host };
            self.notices.leave(Notice::LockedOut { who });
        }
    }

    /// The space in the journal that a logon may use: who has orders must be able to cancel them, and a window that has
    /// begun must end; an operator must reach the kill switch. What could come without end, as the logons of the others,
    /// leaves three quarters of the reserve.
    pub(super) fn space_of_logon(&self, session_id: u32, role: Role) -> Space {
        let has_orders = |session: &Session| session.cod_due_ns != 0 || session.open_orders > 0;
        match self.state.session(SessionId(session_id)) {
            Some(session) if has_orders(session) || role == Role::Admin => Space::Reserve,
            Some(_) | None => Space::FirstQuarter,
        }
    }

    pub(super) fn session_facts(&self, session_id: u32, role: Role) -> Option<SessionFacts> {
        let entry = self.directory.get(session_id)?;
        let session = self.state.session(SessionId(session_id))?;
        let next_report_seq = match role {
            Role::DropCopy => self.state.next_report_no(),
            Role::Trade | Role::Admin => session.next_report_seq,
            Role::MarketData => 1,
        };
        Some(SessionFacts {
            session_epoch: session.session_epoch,
            last_client_seq: session.last_client_seq,
            next_report_seq,
            oldest_report_seq: self.oldest_report(next_report_seq),
            client_epoch: session.client_epoch,
            roles: entry.roles,
            cod_mode: entry.cod_mode,
            is_connected: entry.connection.is_some(),
            served_at: Text::EMPTY,
        })
    }

    /// The oldest report that can be replayed when `next` is the next new one.
    pub(super) fn oldest_report(&self, next: u64) -> u64 {
        next.saturating_sub(self.settings.replay_window).max(1)
    }

    pub(super) fn logged_on(&mut self, index: u32, logged_on: &LoggedOn, now: Now) {
        let session_id = logged_on.session_id;
        let old = self.directory.get(session_id).and_then(|entry| entry.connection);
        if let Some(old) = old
            && self.connections.find_mut(old).is_some()
        {
            self.end_connection(old.index, Reason::TakenOver, "another connection has the session", now);
        }
        self.counters.logons.add(1);
        let Some(connection) = self.connections.get_mut(index) else { return };
        connection.logged_on = Some(LoggedOnAs { session_id, role: logged_on.role, cod_mode: logged_on.cod_mode });
        let (id, host) = (connection.id, connection.host);
        if logged_on.role == Role::DropCopy {
            self.drop_copies.push(id);
        }
        if let Some(entry) = self.directory.get_mut(session_id) {
            entry.connection = Some(id);
            let who = Who { session_id, key_id: entry.key_id, host };
            self.notices.leave(Notice::LoggedOn { who, role: logged_on.role });
        }
        self.connection_no = self.connection_no.saturating_add(1);
        let command = Command::LogOn {
            connection_no: self.connection_no,
            cod_mode: logged_on.cod_mode,
            cod_window_ms: logged_on.cod_window_ms,
        };
        let origin = Origin { session_id: SessionId(session_id), client_seq: 0, recv_time_ns: now.utc_ns };
        // A logon is never refused by the domain, and the journal has room for it: `check_logon` has looked.
        let _ = self.execute(&origin, &command, now);
        let to = logged_on.next_report_seq.saturating_sub(1);
        self.ask_replay(index, logged_on.replay_from_seq, to, now);
    }
}
