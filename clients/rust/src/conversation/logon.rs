//! Where a connection goes on: the numbers told at logon, what its refusal means, and what becomes of what is in doubt.

use std::mem;

use tradecore_protocol::codes::{ReplayMode, TakeoverPolicy};
use tradecore_protocol::fields::ClOrdId;
use tradecore_protocol::layout::Text;
use tradecore_protocol::messages::{LogonAck, LogonReject};
use tradecore_protocol::reason::Reason;
use tradecore_protocol::session::{ClientPosition, Now};

use super::refusal::{Standing, Verdict, verdict};
use super::{BACKOFF_MIN_NS, Conversation, REQUEST_BYTES_MAX};
use crate::events::Event;
use crate::options::ClientError;
use crate::requests;

/// Longest wait that a refusal may ask for: a refusal is not always signed.
const RETRY_AFTER_MS_MAX: u32 = 60_000;

impl Conversation {
    pub(super) fn position(&self) -> ClientPosition {
        let numbers = &self.store.numbers;
        let in_doubt = self.store.unanswered.values().map(|request| request.seq).filter(|seq| *seq != 0);
        ClientPosition {
            session_epoch: numbers.session_epoch,
            next_expected_seq: self.received_seq.saturating_add(1),
            next_client_seq: in_doubt.min().unwrap_or(numbers.next_client_seq),
        }
    }

    pub(super) fn logged_on(&mut self, ack: &LogonAck) {
        self.backoff_ns = BACKOFF_MIN_NS;
        self.replay_mode = ReplayMode::Replay;
        self.has_logged_on = true;
        (self.trouble, self.refusal) = (None, None);
        self.store.go_on_above(ack.client_epoch.get(), 0);
        self.ids_max = ack.ids_max.get().max(1);
        if let Some(link) = &mut self.link {
            link.is_logged_on = true;
            // Less than what was received while the caller has not come back for more.
            link.session.applied(self.store.numbers.applied_seq);
            link.last_client_seq = ack.last_client_seq.get();
        }
    }

    /// The replay is over: tells what became of what it did not name, and sends again what the gateway has not decided
    /// on, under the numbers that it waits for.
    ///
    /// The replay holds every decision up to `last_client_seq`. A request up to there that it does not name was refused
    /// before a decision, or another client of the session used its number: it had no effect, and is not sent again,
    /// since it would come behind later ones.
    pub(super) fn settle_doubts(&mut self, now: Now, out: &mut Vec<u8>) -> Result<(), ClientError> {
        let Some(link) = &mut self.link else { return Ok(()) };
        self.store.forget_repetitions();
        let mut in_doubt: Vec<_> = mem::take(&mut self.store.unanswered).into_iter().collect();
        let is_any = !in_doubt.is_empty();
        in_doubt.sort_by_key(|(_, request)| request.seq);
        let (mut frames, mut verdicts) = (Vec::new(), Vec::new());
        for (id, mut request) in in_doubt {
            let cl_ord_id = ClOrdId(id);
            let is_over = request.is_closed || request.seq <= link.last_client_seq;
            let event = if request.seq == 0 || (is_over && request.is_repeat) {
                request.seq = 0;
                Event::OutcomeUnknown { cl_ord_id }
            } else if is_over {
                Event::NotApplied { cl_ord_id }
            } else {
                let seq = link.session.position().next_client_seq;
                let mut buf = [0; REQUEST_BYTES_MAX];
                if !requests::is_stale(&request, now.utc_ns)
                    && let Ok(written) = requests::send_again(&mut link.session, now, &request, &mut buf)
                {
                    frames.extend_from_slice(buf.get(..written).unwrap_or_default());
                    request.seq = seq;
                    self.store.unanswered.insert(id, request);
                    continue;
                }
                Event::Abandoned { cl_ord_id }
            };
            request.is_closed = true;
            self.store.close(request);
            verdicts.push((id, event));
        }
        link.is_ready = true;
        self.store.numbers.next_client_seq = link.session.position().next_client_seq;
        // Kept under their new numbers before the first byte leaves.
        let kept = if is_any { self.store.rewrite() } else { self.store.save() };
        if let Err(error) = kept {
            self.disconnected(Reason::ConnectionLost);
            return Err(error.into());
        }
        out.append(&mut frames);
        for (id, event) in verdicts {
            self.tell_answer(Some(event), vec![id]);
        }
        Ok(())
    }

    pub(super) fn refused(&mut self, now: Now, reject: &LogonReject, is_authentic: bool) -> Result<(), ClientError> {
        self.link = None;
        let reason = Reason::from_raw(reject.reason.get()).unwrap_or(Reason::None);
        let standing = Standing {
            is_authentic,
            has_logged_on: self.has_logged_on,
            takes_over: self.options.takeover == TakeoverPolicy::TakeOver,
        };
        match verdict(reason, standing) {
            Verdict::Adopt if reject.session_epoch.get() != self.store.numbers.session_epoch => {
                self.adopt(reject)?;
                self.next_attempt_ns = now.mono_ns;
                Ok(())
            }
            Verdict::Skip if self.replay_mode == ReplayMode::Replay => {
                // The gap fill that stands for what is too old will ask the caller to query.
                self.replay_mode = ReplayMode::Skip;
                self.next_attempt_ns = now.mono_ns;
                Ok(())
            }
            // So many requests were refused without a decision, which a gateway does not count over connections. It
            // has all the reports that were received: what it has not decided on has had no effect.
            Verdict::Renumber
                if reject.next_report_seq.get() > self.received_seq
                    && self.position().next_client_seq > reject.last_client_seq.get().saturating_add(1) =>
            {
                self.store.renumber(reject.last_client_seq.get().saturating_add(1))?;
                self.next_attempt_ns = now.mono_ns;
                Ok(())
            }
            Verdict::Retry => {
                self.refused_by(reason, reject);
                let wait_ns = u64::from(reject.retry_after_ms.get().min(RETRY_AFTER_MS_MAX)).saturating_mul(1_000_000);
                self.next_attempt_ns = self.next_attempt_ns.max(now.mono_ns.saturating_add(wait_ns));
                Ok(())
            }
            Verdict::Adopt | Verdict::Skip | Verdict::Renumber | Verdict::End => {
                Err(ClientError::Refused { reason, text: self.advice(reason, reject) })
            }
        }
    }

    /// Keeps for people why the gateway refuses for now, and for how long.
    fn refused_by(&mut self, reason: Reason, reject: &LogonReject) {
        let wait_ms = reject.retry_after_ms.get();
        let text = self.advice(reason, reject);
        self.trouble = Some(match wait_ms {
            0 => text,
            _ => format!("{text}; try again in {} s", wait_ms.div_ceil(1000)),
        });
        self.refusal = Some(reason);
    }

    /// What a refusal means for people.
    fn advice(&self, reason: Reason, reject: &LogonReject) -> String {
        if reason == Reason::Redirect && reject.text == Text::EMPTY {
            return format!("core {} is not served here, and it is not known where", self.options.core);
        }
        if reason == Reason::SeqAhead {
            let place = self.options.state_path.as_ref().map_or("in memory".to_owned(), |p| p.display().to_string());
            return format!(
                "{}: the state ({place}) is of another gateway or session epoch, or the gateway has lost its journal; \
                 put the right file there, or move it away and query open orders, positions and fills",
                reject.text
            );
        }
        reject.text.as_str().to_owned()
    }

    /// A logon that the client itself ended, by the reason of its end.
    pub(super) fn unproven(&mut self, reason: Reason) -> Result<(), ClientError> {
        self.link = None;
        let (text, is_authentic) = match reason {
            Reason::AuthFailed => ("the gateway did not prove that it knows the key", false),
            Reason::Version => ("the gateway speaks no version that this client knows", false),
            Reason::EnvironmentMismatch => ("the gateway trades in another environment", true),
            Reason::EpochMismatch => ("the gateway accepted an epoch that is not its own", true),
            // Not a gateway's words, perhaps not a gateway's fault: the next attempt may find one.
            _ => return Ok(()),
        };
        if self.has_logged_on && !is_authentic {
            // The gateway of this key has been spoken to: somebody else has answered in its place.
            (self.trouble, self.refusal) = (Some(text.to_owned()), None);
            return Ok(());
        }
        Err(ClientError::Refused { reason, text: text.to_owned() })
    }

    /// A first logon, or a session that was reset: goes on with the numbers that hold now.
    fn adopt(&mut self, reject: &LogonReject) -> Result<(), ClientError> {
        let is_reset = self.store.numbers.session_epoch != 0;
        let received_seq = reject.next_report_seq.get().saturating_sub(1);
        self.store.skip_answers(u64::MAX);
        let numbers = &mut self.store.numbers;
        // What an earlier life of this session was told can be asked for; it is not ours to replay.
        numbers.has_gap = is_reset || received_seq > 0;
        numbers.session_epoch = reject.session_epoch.get();
        numbers.applied_seq = received_seq;
        numbers.next_client_seq = reject.last_client_seq.get().saturating_add(1);
        self.store.restart_epochs();
        self.store.rewrite()?;
        self.received_seq = received_seq;
        for queued in self.events.iter_mut().chain(&mut self.handed) {
            queued.through_seq = received_seq;
        }
        Ok(())
    }
}
