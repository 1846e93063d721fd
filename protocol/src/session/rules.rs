//! The table of the server's phases: which frame may come when, and what it leads to.
//!
//! Owns every (phase, kind) pair. Must not know what is in a frame beyond its template.

use crate::layout::{Direction, MessageInfo};
use crate::messages::{ClientHello, Heartbeat, Logon, ResendRequest, Terminate, TestRequest};
use crate::reason::Reason;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    AwaitHello,
    AwaitLogon,
    Checking,
    Replaying,
    Live,
    Closed,
}

/// What a frame is, to the rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Hello,
    Logon,
    Heartbeat,
    TestRequest,
    ResendRequest,
    Terminate,
    /// A request of the application.
    Request,
    /// Only a server sends it.
    Foreign,
}

/// What the rules say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rule {
    Challenge,
    CheckLogon,
    Listen,
    Answer,
    Resend,
    Part,
    Pass,
    /// Refuse this frame.
    Refuse(Reason),
    /// End the connection.
    End(Reason),
    Ignore,
}

pub(super) fn kind_of(info: &MessageInfo) -> Kind {
    match info.template_id {
        ClientHello::TEMPLATE_ID => Kind::Hello,
        Logon::TEMPLATE_ID => Kind::Logon,
        Heartbeat::TEMPLATE_ID => Kind::Heartbeat,
        TestRequest::TEMPLATE_ID => Kind::TestRequest,
        ResendRequest::TEMPLATE_ID => Kind::ResendRequest,
        Terminate::TEMPLATE_ID => Kind::Terminate,
        _ if info.direction == Direction::ToClient => Kind::Foreign,
        _ => Kind::Request,
    }
}

/// The table of phases and frames.
pub(super) const fn rule(phase: Phase, kind: Kind) -> Rule {
    use Kind::{Foreign, Hello, Request};
    match (phase, kind) {
        (Phase::AwaitHello, Hello) => Rule::Challenge,
        (Phase::AwaitLogon, Kind::Logon) => Rule::CheckLogon,
        (
            Phase::AwaitHello,
            Kind::Logon
            | Kind::Heartbeat
            | Kind::TestRequest
            | Kind::ResendRequest
            | Kind::Terminate
            | Request
            | Foreign,
        )
        | (
            Phase::AwaitLogon,
            Hello | Kind::Heartbeat | Kind::TestRequest | Kind::ResendRequest | Kind::Terminate | Request | Foreign,
        )
        | (
            Phase::Checking,
            Hello
            | Kind::Logon
            | Kind::Heartbeat
            | Kind::TestRequest
            | Kind::ResendRequest
            | Kind::Terminate
            | Request
            | Foreign,
        ) => Rule::End(Reason::NotLoggedOn),
        (Phase::Replaying | Phase::Live, Hello | Kind::Logon) => Rule::Refuse(Reason::FieldValue),
        (Phase::Replaying | Phase::Live, Kind::Heartbeat) => Rule::Listen,
        (Phase::Replaying | Phase::Live, Kind::TestRequest) => Rule::Answer,
        (Phase::Replaying | Phase::Live, Kind::ResendRequest) => Rule::Resend,
        (Phase::Replaying | Phase::Live, Kind::Terminate) => Rule::Part,
        (Phase::Replaying | Phase::Live, Request) => Rule::Pass,
        (Phase::Replaying | Phase::Live, Foreign) => Rule::Refuse(Reason::UnknownTemplate),
        (
            Phase::Closed,
            Hello
            | Kind::Logon
            | Kind::Heartbeat
            | Kind::TestRequest
            | Kind::ResendRequest
            | Kind::Terminate
            | Request
            | Foreign,
        ) => Rule::Ignore,
    }
}
