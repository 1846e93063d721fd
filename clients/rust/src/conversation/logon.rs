//! Where a connection goes on: the numbers told at logon, what its refusal means, and what is sent again.

use std::collections::BTreeMap;
use std::mem;

use tradecore_protocol::codes::{ReplayMode, TakeoverPolicy};
use tradecore_protocol::layout::Text;
use tradecore_protocol::messages::{LogonAck, LogonReject};
use tradecore_protocol::reason::Reason;
use tradecore_protocol::session::{ClientPosition, Now};

use super::{BACKOFF_MIN_NS, Conversation, REQUEST_BYTES_MAX};
use crate::events::Event;
use crate::options::ClientError;
use crate::requests;

/// Longest wait that a refusal may ask for: a refusal is not always signed.
const RETRY_AFTER_MS_MAX: u32 = 60_000;

impl Conversation {
    pub(super) fn position(&self) -> ClientPosition {
        let numbers = &self.store.numbers;
        ClientPosition {
            session_epoch: numbers.session_epoch,
            next_expected_seq: self.received_seq.saturating_add(1),
            next_client_seq: self.store.unacked.keys().next().copied().unwrap_or(numbers.next_client_seq),
        }
    }

    pub(super) fn logged_on(&mut self, ack: &LogonAck) {
        self.backoff_ns = BACKOFF_MIN_NS;
        self.replay_mode = ReplayMode::Replay;
        self.has_logged_on = true;
        self.trouble = None;
        self.store.acked(ack.last_client_seq.get());
        self.store.enter_epoch(ack.client_epoch.get());
        self.ids_max = ack.ids_max.get().max(1);
        if let Some(link) = &mut self.link {
            link.is_logged_on = true;
        }
    }

    /// The replay is over: sends again what has not arrived, under the numbers that the gateway waits for.
    pub(super) fn resend(&mut self, now: Now, out: &mut Vec<u8>) -> Result<(), ClientError> {
        let Some(link) = &mut self.link else { return Ok(()) };
        let pending = mem::take(&mut self.store.unacked);
        let is_any = !pending.is_empty();
        let (mut numbered, mut frames, mut abandoned) = (BTreeMap::new(), Vec::new(), Vec::new());
        for request in pending.into_values() {
            let seq = link.session.position().next_client_seq;
            let mut buf = [0; REQUEST_BYTES_MAX];
            let written = if requests::is_stale(&request, now.utc_ns) {
                None
            } else {
                requests::send_again(&mut link.session, now, &request, &mut buf).ok()
            };
            if let Some(written) = written {
                frames.extend_from_slice(buf.get(..written).unwrap_or_default());
                numbered.insert(seq, request);
            } else {
                abandoned.push(request.cl_ord_id());
            }
        }
        link.is_ready = true;
        self.store.numbers.next_client_seq = link.session.position().next_client_seq;
        self.store.unacked = numbered;
        // Kept under their new numbers before the first byte leaves; what is abandoned does not come back.
        let kept = if is_any { self.store.rewrite() } else { self.store.save_numbers() };
        if let Err(error) = kept {
            self.disconnected(Reason::ConnectionLost);
            return Err(error.into());
        }
        out.append(&mut frames);
        for cl_ord_id in abandoned {
            self.tell(Some(Event::Abandoned { cl_ord_id }));
        }
        Ok(())
    }

    pub(super) fn refused(&mut self, now: Now, reject: &LogonReject, is_authentic: bool) -> Result<(), ClientError> {
        self.link = None;
        let reason = Reason::from_raw(reject.reason.get()).unwrap_or(Reason::None);
        match reason {
            Reason::EpochMismatch if is_authentic && reject.session_epoch.get() != self.store.numbers.session_epoch => {
                self.adopt(reject)?;
                self.next_attempt_ns = now.mono_ns;
                Ok(())
            }
            Reason::SeqUnavailable if is_authentic && self.replay_mode == ReplayMode::Replay => {
                // The gap fill that stands for what is too old will ask the caller to query.
                self.replay_mode = ReplayMode::Skip;
                self.next_attempt_ns = now.mono_ns;
                Ok(())
            }
            Reason::SessionInUse if !self.has_logged_on && self.options.takeover == TakeoverPolicy::Refuse => {
                Err(ClientError::Refused { reason, text: reject.text.as_str().to_owned() })
            }
            Reason::Shutdown | Reason::LoginRate | Reason::ConnectionsMax | Reason::SessionInUse => {
                self.trouble = Some(format!("{}: {}", reason.name(), reject.text));
                let wait_ns = u64::from(reject.retry_after_ms.get().min(RETRY_AFTER_MS_MAX)).saturating_mul(1_000_000);
                self.next_attempt_ns = self.next_attempt_ns.max(now.mono_ns.saturating_add(wait_ns));
                Ok(())
            }
            Reason::Redirect if reject.text == Text::EMPTY => {
                let text = format!("core {} is not served here, and it is not known where", self.options.core);
                Err(ClientError::Refused { reason, text })
            }
            Reason::SeqAhead => {
                let place =
                    self.options.state_path.as_ref().map_or("in memory".to_owned(), |p| p.display().to_string());
                let text = format!(
                    "{}: the state ({place}) is of another gateway or session epoch, or the gateway has lost its journal; \
                     put the right file there, or move it away and query open orders, positions and fills",
                    reject.text
                );
                Err(ClientError::Refused { reason, text })
            }
            _ => Err(ClientError::Refused { reason, text: reject.text.as_str().to_owned() }),
        }
    }

    /// A first logon, or a session that was reset: goes on with the numbers that hold now.
    fn adopt(&mut self, reject: &LogonReject) -> Result<(), ClientError> {
        let is_reset = self.store.numbers.session_epoch != 0;
        let received_seq = reject.next_report_seq.get().saturating_sub(1);
        let numbers = &mut self.store.numbers;
        numbers.session_epoch = reject.session_epoch.get();
        // What an earlier life of this session was told can be asked for; it is not ours to replay.
        numbers.applied_seq = received_seq;
        numbers.next_client_seq = reject.last_client_seq.get().saturating_add(1);
        numbers.acked_client_seq = reject.last_client_seq.get();
        numbers.epoch_first_seq = numbers.epoch_first_seq.min(numbers.next_client_seq);
        self.store.unacked.clear();
        self.store.rewrite()?;
        (self.received_seq, self.handed_seq) = (received_seq, received_seq);
        for queued in &mut self.events {
            queued.through_seq = received_seq;
        }
        if is_reset {
            self.tell(Some(Event::Resynchronize));
        }
        Ok(())
    }
}

/// A logon that the client itself ended, by the reason of its end.
pub(super) fn unproven(reason: Reason) -> Result<(), ClientError> {
    let text = match reason {
        Reason::AuthFailed => "the gateway did not prove that it knows the key",
        Reason::EnvironmentMismatch => "the gateway trades in another environment",
        Reason::EpochMismatch => "the gateway accepted an epoch that is not its own",
        Reason::Version => "the gateway speaks no version that this client knows",
        // Not a gateway's words, perhaps not a gateway's fault: the next attempt may find one.
        _ => return Ok(()),
    };
    Err(ClientError::Refused { reason, text: text.to_owned() })
}
