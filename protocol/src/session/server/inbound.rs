//! What the server does with a frame: one function a rule.
//!
//! Owns the reading of session messages and the numbering of client frames.

use zerocopy::FromBytes;

use super::{ServerAction, ServerSession};
use crate::codes::{Layer, ReplayMode, frame_flags};
use crate::frame::{Frame, Header, MINOR, NoRoom, ShapeError, VERSION, encode};
use crate::layout::wire::{U16, U32, U64};
use crate::layout::{Direction, MessageInfo, Text};
use crate::messages::{
    ClientHello, GapFill, Heartbeat, LAYOUT_HASH, Logon, LogonAck, MAC_HMAC_SHA256, MAGIC, NewOrder, NotApplied,
    ReplaceOrder, RequestReject, ResendBegin, ResendReject, ResendRequest, ServerChallenge, Terminate,
};
use crate::reason::Reason;
use crate::session::logon::{self, LoggedOn, LogonFields, LogonQuery, Refusal};
use crate::session::rules::{Phase, Rule, kind_of, rule};
use crate::session::{Now, Step};

/// Where a frame stands in the client's stream.
pub(super) enum Place {
    Unsequenced,
    InOrder,
    Duplicate,
    Broken,
}

impl ServerSession {
    pub(super) fn before_logon(
        &mut self,
        now: Now,
        info: &'static MessageInfo,
        frame: &Frame<'_>,
        out: &mut [u8],
    ) -> Step<ServerAction> {
        match rule(self.phase, kind_of(info)) {
            Rule::Challenge | Rule::CheckLogon if frame.header.seq != 0 => {
                self.end(now, out, Reason::SeqError, "seq: 0 before logon")
            }
            Rule::Challenge => self.challenge(now, frame, out),
            Rule::CheckLogon => match self.take_logon(frame) {
                Ok(query) => Step { written: 0, action: ServerAction::CheckLogon(query) },
                Err((reason, text)) => self.end(now, out, reason, text),
            },
            Rule::End(reason) | Rule::Refuse(reason) => {
                self.end(now, out, reason, "hello, then logon, then wait for the answer")
            }
            Rule::Listen | Rule::Answer | Rule::Resend | Rule::Part | Rule::Pass | Rule::Ignore => {
                Step { written: 0, action: ServerAction::None }
            }
        }
    }

    pub(super) fn after_logon(
        &mut self,
        now: Now,
        info: &'static MessageInfo,
        frame: &Frame<'_>,
        out: &mut [u8],
    ) -> Step<ServerAction> {
        let header = &frame.header;
        let fault = |reason| ShapeError { reason, offset: 2 };
        match rule(self.phase, kind_of(info)) {
            Rule::Listen => self.listen(now, frame, out),
            Rule::Answer => self.heartbeat(now, frame.leading_id(), out),
            Rule::Resend => self.resend(now, frame, out),
            Rule::Part => self.part(now, frame, out),
            Rule::Pass if info.roles & self.role_bit == 0 => {
                self.refuse(now, header, fault(Reason::RoleForbidden), "not for this role", out)
            }
            Rule::Pass => self.pass(now, info, frame, out),
            Rule::Refuse(reason) => self.refuse(now, header, fault(reason), "not now", out),
            Rule::End(reason) => self.end(now, out, reason, ""),
            Rule::Challenge | Rule::CheckLogon | Rule::Ignore => Step { written: 0, action: ServerAction::None },
        }
    }

    fn challenge(&mut self, now: Now, frame: &Frame<'_>, out: &mut [u8]) -> Step<ServerAction> {
        let Ok(hello) = frame.read::<ClientHello>() else {
            return self.end(now, out, Reason::BlockTooShort, "");
        };
        if hello.magic.get() != MAGIC || hello.client_nonce == [0; 32] {
            return self.end(now, out, Reason::FieldValue, "magic `TradeCor`, client_nonce not zero");
        }
        if !(hello.major_min..=hello.major_max).contains(&VERSION) {
            return self.end(now, out, Reason::Version, "this gateway speaks major version 1");
        }
        // A client whose newest major is another knows every minor of this one that we may write.
        let minor = if hello.major_max == VERSION { older(hello.minor_max, MINOR) } else { MINOR };
        let block = ServerChallenge {
            server_nonce: self.nonce,
            server_time_ns: U64::new(now.utc_ns),
            gateway_id: self.config.gateway_id,
            instance_id: U64::new(self.config.instance_id),
            major: VERSION,
            minor,
            mac_alg: MAC_HMAC_SHA256,
            heartbeat_min_ms: U32::new(self.config.heartbeat_min_ms),
            heartbeat_max_ms: U32::new(self.config.heartbeat_max_ms),
            layout_hash: U64::new(LAYOUT_HASH),
            ..ServerChallenge::default()
        };
        self.key_id = hello.key_id;
        // `check` has seen that a hello is exactly this long.
        for (to, from) in self.hello.iter_mut().zip(frame.bytes) {
            *to = *from;
        }
        let envelope = self.envelope(now, 0, 0);
        if encode(&mut self.challenge, envelope, &block).is_err() {
            return self.no_room();
        }
        let Some(place) = out.get_mut(..ServerChallenge::FRAME_BYTES) else {
            return self.no_room();
        };
        place.copy_from_slice(&self.challenge);
        self.phase = Phase::AwaitLogon;
        Step { written: ServerChallenge::FRAME_BYTES, action: ServerAction::None }
    }

    fn take_logon(&mut self, frame: &Frame<'_>) -> Result<LogonQuery, Refusal> {
        let (logon, _) = Logon::ref_from_prefix(frame.block).map_err(|_| (Reason::BlockTooShort, ""))?;
        let fields = logon::check_fields(logon, &self.config)?;
        self.logon = *logon;
        self.fields = Some(fields);
        self.phase = Phase::Checking;
        Ok(LogonQuery {
            key_id: self.key_id,
            session_id: logon.session_id.get(),
            core: logon.core.get(),
            role: fields.role,
        })
    }

    pub(super) fn write_logged_on(
        &mut self,
        now: Now,
        fields: &LogonFields,
        ack: &LogonAck,
        logged_on: &LoggedOn,
        out: &mut [u8],
    ) -> Result<usize, NoRoom> {
        let mut written = self.write(now, ack, out)?;
        let next_expected_seq = self.logon.next_expected_seq;
        if logged_on.not_applied > 0 {
            let block = NotApplied {
                from_seq: U64::new(logged_on.expected_client_seq.saturating_sub(u64::from(logged_on.not_applied))),
                count: U32::new(logged_on.not_applied),
                reserved0: U32::ZERO,
            };
            let more = self.write(now, &block, out.get_mut(written..).unwrap_or_default())?;
            written = written.saturating_add(more);
        }
        if fields.replay_mode == ReplayMode::Skip && next_expected_seq.get() < logged_on.next_report_seq {
            let block = GapFill {
                from_seq: next_expected_seq,
                new_seq: U64::new(logged_on.next_report_seq),
                reason: U16::new(Reason::ClientRequest.raw()),
                ..GapFill::default()
            };
            let more = self.write(now, &block, out.get_mut(written..).unwrap_or_default())?;
            written = written.saturating_add(more);
        }
        Ok(written)
    }

    /// Finds the frame's place, and counts it as processed if it is the expected one.
    pub(super) fn place(&mut self, header: &Header, info: Option<&MessageInfo>) -> Place {
        let may_be_sequenced = info.is_none_or(MessageInfo::may_be_sequenced);
        match (header.seq, may_be_sequenced) {
            // Only an unknown template may be either.
            (0, _) if info.is_none_or(|info| !info.may_be_sequenced() || is_from_server(info)) => Place::Unsequenced,
            (0, _) | (_, false) => Place::Broken,
            (seq, true) if seq == self.expected_seq && seq < u64::MAX => {
                self.expected_seq = seq.saturating_add(1);
                Place::InOrder
            }
            (seq, true) if seq < self.expected_seq && header.has(frame_flags::POSS_RESEND) => Place::Duplicate,
            (_, true) => Place::Broken,
        }
    }

    fn pass(&mut self, now: Now, info: &'static MessageInfo, frame: &Frame<'_>, out: &mut [u8]) -> Step<ServerAction> {
        let template_id = frame.header.template_id;
        let adds_risk = matches!(template_id, NewOrder::TEMPLATE_ID | ReplaceOrder::TEMPLATE_ID);
        if adds_risk && self.phase == Phase::Replaying {
            let orig = frame.read::<ReplaceOrder>().map(|replace| (replace.orig_cl_ord_id, replace.order_id));
            let (orig_cl_ord_id, order_id) = orig.unwrap_or_default();
            let block = RequestReject {
                cl_ord_id: U64::new(frame.leading_id()),
                orig_cl_ord_id,
                order_id,
                ref_seq: U64::new(frame.header.seq),
                recv_time_ns: U64::new(now.utc_ns),
                ref_template: U16::new(template_id),
                reason: U16::new(Reason::ReplayInProgress.raw()),
                layer: Layer::Session.raw(),
                text: Text::new("wait for ReplayComplete; cancels pass"),
                ..RequestReject::default()
            };
            self.counts.refused = self.counts.refused.saturating_add(1);
            return self.reply(now, &block, ServerAction::Refused(Reason::ReplayInProgress), out);
        }
        let action = if frame.header.seq == 0 { ServerAction::Query(info) } else { ServerAction::Command(info) };
        Step { written: 0, action }
    }

    fn listen(&mut self, now: Now, frame: &Frame<'_>, out: &mut [u8]) -> Step<ServerAction> {
        match frame.read::<Heartbeat>() {
            Ok(heartbeat) if heartbeat.next_seq.get() > self.expected_seq => {
                self.end(now, out, Reason::SeqError, "next_seq: frames are missing")
            }
            Ok(_) | Err(_) => Step { written: 0, action: ServerAction::None },
        }
    }

    fn resend(&mut self, now: Now, frame: &Frame<'_>, out: &mut [u8]) -> Step<ServerAction> {
        let Ok(request) = frame.read::<ResendRequest>() else {
            return Step { written: 0, action: ServerAction::None };
        };
        let (from_seq, count) = (request.from_seq.get(), request.count.get());
        let reason = if self.holds_live_reports() {
            Reason::ResendInProgress
        } else if from_seq == 0 || count == 0 {
            Reason::FieldValue
        } else if count > u32::from(self.config.resend_count_max) {
            Reason::ResendLimit
        } else if from_seq >= self.next_report_seq {
            Reason::SeqAhead
        } else if from_seq < self.oldest_report_seq {
            Reason::SeqUnavailable
        } else {
            Reason::None
        };
        if reason != Reason::None {
            let block = ResendReject {
                request_id: request.request_id,
                oldest_report_seq: U64::new(self.oldest_report_seq),
                next_report_seq: U64::new(self.next_report_seq),
                reason: U16::new(reason.raw()),
                ..ResendReject::default()
            };
            return self.reply(now, &block, ServerAction::Refused(reason), out);
        }
        let there = self.next_report_seq.saturating_sub(from_seq);
        let count = count.min(u32::try_from(there).unwrap_or(u32::MAX));
        self.is_resending = true;
        self.next_seq = from_seq;
        let block = ResendBegin {
            request_id: request.request_id,
            from_seq: request.from_seq,
            count: U32::new(count),
            reserved0: U32::ZERO,
        };
        self.reply(now, &block, ServerAction::Resend { from_seq, count }, out)
    }

    fn part(&mut self, now: Now, frame: &Frame<'_>, out: &mut [u8]) -> Step<ServerAction> {
        let is_logout = frame.read::<Terminate>().is_ok_and(|block| block.reason.get() == Reason::Logout.raw());
        // Whatever else a client says, it may not choose what becomes of its orders.
        let reason = if is_logout { Reason::Logout } else { Reason::ConnectionLost };
        let step = self.end(now, out, reason, "");
        Step { written: step.written, action: ServerAction::Close { reason, by_peer: true } }
    }
}

fn older(minor: u8, other: u8) -> u8 {
    minor.min(other)
}

fn is_from_server(info: &MessageInfo) -> bool {
    info.direction == Direction::ToClient
}
