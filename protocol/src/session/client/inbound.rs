//! What the client does with a frame.
//!
//! Owns the proof of the server's identity, the gaps in what comes, and the reading of session messages.

use super::{ClientAction, ClientSession, Phase, just};
use crate::frame::{Frame, MINOR, VERSION};
use crate::layout::wire::{U16, U32, U64};
use crate::layout::{MessageInfo, Sequencing};
use crate::messages::{
    GapFill, Heartbeat, Logon, LogonAck, LogonReject, MAC_HMAC_SHA256, NotApplied, ReplayComplete, ResendBegin,
    ResendReject, ResendRequest, ServerChallenge, SessionReject, Terminate, TestRequest,
};
use crate::reason::Reason;
use crate::session::liveness::Liveness;
use crate::session::{Now, Step};

impl ClientSession {
    pub(super) fn before_ack(
        &mut self,
        now: Now,
        info: &'static MessageInfo,
        frame: &Frame<'_>,
        out: &mut [u8],
    ) -> Step<ClientAction> {
        match (self.phase, info.template_id) {
            (Phase::AwaitChallenge, ServerChallenge::TEMPLATE_ID) => self.answer_challenge(now, frame, out),
            (Phase::AwaitAck, LogonAck::TEMPLATE_ID) => self.take_ack(now, frame, out),
            (_, LogonReject::TEMPLATE_ID) => {
                let Ok(reject) = frame.read::<LogonReject>() else {
                    return self.end(now, Reason::BlockTooShort, out);
                };
                let is_authentic =
                    self.phase == Phase::AwaitAck && self.greeting().verify_reject(&self.key, &self.logon, reject);
                self.phase = Phase::Closed;
                just(ClientAction::LogonRefused { reject: *reject, is_authentic })
            }
            (_, Terminate::TEMPLATE_ID) => self.take_terminate(frame),
            _ => self.end(now, Reason::NotLoggedOn, out),
        }
    }

    fn answer_challenge(&mut self, now: Now, frame: &Frame<'_>, out: &mut [u8]) -> Step<ClientAction> {
        let Ok(challenge) = frame.read::<ServerChallenge>() else {
            return self.end(now, Reason::BlockTooShort, out);
        };
        if challenge.major != VERSION || challenge.minor > MINOR || challenge.mac_alg != MAC_HMAC_SHA256 {
            return self.end(now, Reason::Version, out);
        }
        // `check` has seen that a challenge is exactly this long.
        for (to, from) in self.challenge.iter_mut().zip(frame.bytes) {
            *to = *from;
        }
        let config = &self.config;
        let mut logon = Logon {
            session_id: U32::new(config.session_id),
            core: U16::new(config.core),
            role: config.role.raw(),
            environment: config.environment.raw(),
            session_epoch: U64::new(self.position.session_epoch),
            next_expected_seq: U64::new(self.position.next_expected_seq),
            next_client_seq: U64::new(self.position.next_client_seq),
            heartbeat_ms: U32::new(config.heartbeat_ms),
            cod_window_ms: U32::new(config.cod_window_ms),
            cod_mode: config.cod_mode.map_or(0, |mode| mode.raw()),
            takeover_policy: config.takeover.raw(),
            replay_mode: config.replay_mode.raw(),
            app_name: config.app_name,
            app_version: config.app_version,
            ..Logon::default()
        };
        self.greeting().sign_logon(&self.key, &mut logon);
        self.logon = logon;
        self.phase = Phase::AwaitAck;
        self.reply(now, &logon, ClientAction::None, out)
    }

    fn take_ack(&mut self, now: Now, frame: &Frame<'_>, out: &mut [u8]) -> Step<ClientAction> {
        let Ok(ack) = frame.read::<LogonAck>() else {
            return self.end(now, Reason::BlockTooShort, out);
        };
        if !self.greeting().verify_ack(&self.key, &self.logon, ack) {
            return self.end(now, Reason::AuthFailed, out);
        }
        if ack.environment != self.config.environment.raw() {
            return self.end(now, Reason::EnvironmentMismatch, out);
        }
        if ack.session_epoch.get() != self.position.session_epoch {
            return self.end(now, Reason::EpochMismatch, out);
        }
        self.phase = Phase::Replaying;
        self.liveness = Liveness::new(ack.heartbeat_ms.get(), now.mono_ns);
        self.resend_count_max = ack.resend_count_max.get();
        self.peer_ack_seq = ack.last_client_seq.get();
        let unsent_seq = ack.last_client_seq.get().saturating_add(1);
        self.position.next_client_seq = self.position.next_client_seq.max(unsent_seq);
        just(ClientAction::LoggedOn(*ack))
    }

    pub(super) fn after_ack(
        &mut self,
        now: Now,
        info: &'static MessageInfo,
        frame: &Frame<'_>,
        out: &mut [u8],
    ) -> Step<ClientAction> {
        let seq = frame.header.seq;
        match info.sequencing {
            Sequencing::Sequenced | Sequencing::Either if seq != 0 => {
                self.place(now, seq, ClientAction::Report(info), out)
            }
            Sequencing::Either => just(ClientAction::Answer(info)),
            Sequencing::Sequenced => self.end(now, Reason::SeqError, out),
            Sequencing::Unsequenced if seq != 0 => self.end(now, Reason::SeqError, out),
            Sequencing::Unsequenced => self.unsequenced(now, info, frame, out),
        }
    }

    fn unsequenced(
        &mut self,
        now: Now,
        info: &'static MessageInfo,
        frame: &Frame<'_>,
        out: &mut [u8],
    ) -> Step<ClientAction> {
        if let Ok(heartbeat) = frame.read::<Heartbeat>() {
            return match heartbeat.next_seq.get() {
                next_seq if next_seq > self.position.next_expected_seq => self.ask_again(now, next_seq, out),
                _ => just(ClientAction::None),
            };
        }
        if let Ok(test) = frame.read::<TestRequest>() {
            return self.heartbeat(now, test.test_id.get(), out);
        }
        if let Ok(block) = frame.read::<GapFill>() {
            return self.fill_gap(now, block, out);
        }
        if let Ok(block) = frame.read::<ResendBegin>() {
            let until_seq = block.from_seq.get().saturating_add(u64::from(block.count.get()));
            self.resend_until_seq = Some(until_seq).filter(|seq| *seq > self.position.next_expected_seq);
            return just(ClientAction::None);
        }
        if let Ok(block) = frame.read::<ResendReject>() {
            self.resend_until_seq = None;
            let reason = Reason::from_raw(block.reason.get()).unwrap_or(Reason::None);
            return just(ClientAction::ResendRefused(reason));
        }
        if let Ok(block) = frame.read::<NotApplied>() {
            let (from_seq, count) = (block.from_seq.get(), block.count.get());
            return just(ClientAction::NotApplied { from_seq, count });
        }
        if let Ok(block) = frame.read::<ReplayComplete>() {
            self.phase = Phase::Live;
            let (open_orders, last_id_counter) = (block.open_orders.get(), block.last_id_counter.get());
            return just(ClientAction::ReplayComplete { open_orders, last_id_counter });
        }
        if let Ok(block) = frame.read::<SessionReject>() {
            return just(ClientAction::Rejected(*block));
        }
        if frame.read::<Terminate>().is_ok() {
            return self.take_terminate(frame);
        }
        if matches!(info.template_id, 1..=5) {
            return self.end(now, Reason::FieldValue, out);
        }
        just(ClientAction::Answer(info))
    }

    /// Places a sequenced frame in the server's stream: `in_order` if it is the next.
    pub(super) fn place(&mut self, now: Now, seq: u64, in_order: ClientAction, out: &mut [u8]) -> Step<ClientAction> {
        let expected_seq = self.position.next_expected_seq;
        if seq < expected_seq {
            return just(ClientAction::Duplicate);
        }
        if seq > expected_seq {
            return self.ask_again(now, seq, out);
        }
        self.advance(seq.saturating_add(1));
        just(in_order)
    }

    fn advance(&mut self, next_expected_seq: u64) {
        self.position.next_expected_seq = next_expected_seq;
        self.resend_until_seq = self.resend_until_seq.filter(|until_seq| *until_seq > next_expected_seq);
    }

    fn fill_gap(&mut self, now: Now, block: &GapFill, out: &mut [u8]) -> Step<ClientAction> {
        let (from_seq, new_seq) = (block.from_seq.get(), block.new_seq.get());
        if from_seq > self.position.next_expected_seq {
            return self.ask_again(now, from_seq, out);
        }
        if new_seq <= self.position.next_expected_seq {
            return just(ClientAction::Duplicate);
        }
        let from_seq = self.position.next_expected_seq;
        self.advance(new_seq);
        just(ClientAction::GapFilled { from_seq, new_seq })
    }

    /// Asks for what is missing before `seq`, unless it is on its way.
    fn ask_again(&mut self, now: Now, seq: u64, out: &mut [u8]) -> Step<ClientAction> {
        let expected_seq = self.position.next_expected_seq;
        let action = ClientAction::Gap { expected_seq };
        if self.resend_until_seq.is_some() {
            return just(action);
        }
        let missing = seq.saturating_sub(expected_seq).min(u64::from(self.resend_count_max.max(1)));
        self.resend_id = self.resend_id.saturating_add(1);
        self.resend_until_seq = Some(expected_seq.saturating_add(missing));
        let block = ResendRequest {
            request_id: U64::new(self.resend_id),
            from_seq: U64::new(expected_seq),
            count: U32::new(u32::try_from(missing).unwrap_or(u32::MAX)),
            reserved0: U32::ZERO,
        };
        self.reply(now, &block, action, out)
    }

    fn take_terminate(&mut self, frame: &Frame<'_>) -> Step<ClientAction> {
        self.phase = Phase::Closed;
        let said = frame.read::<Terminate>().ok().and_then(|block| Reason::from_raw(block.reason.get()));
        just(ClientAction::Close { reason: said.unwrap_or(Reason::ConnectionLost), by_peer: true })
    }
}
