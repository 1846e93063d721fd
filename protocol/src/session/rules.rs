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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::messages::{CATALOGUE, lookup};

    const PHASES: [Phase; 6] =
        [Phase::AwaitHello, Phase::AwaitLogon, Phase::Checking, Phase::Replaying, Phase::Live, Phase::Closed];

    #[test]
    fn every_phase_has_its_outcome_for_every_kind_of_message() {
        const EARLY: Rule = Rule::End(Reason::NotLoggedOn);
        const LATE: Rule = Rule::Refuse(Reason::FieldValue);
        const WRONG_WAY: Rule = Rule::Refuse(Reason::UnknownTemplate);
        use Rule::{Answer, Challenge, CheckLogon, Ignore, Listen, Part, Pass, Resend};
        // One column a phase, in the order of `PHASES`.
        let table: [(Kind, [Rule; 6]); 8] = [
            //                    AwaitHello  AwaitLogon  Checking  Replaying  Live       Closed
            (Kind::Hello, [Challenge, EARLY, EARLY, LATE, LATE, Ignore]),
            (Kind::Logon, [EARLY, CheckLogon, EARLY, LATE, LATE, Ignore]),
            (Kind::Heartbeat, [EARLY, EARLY, EARLY, Listen, Listen, Ignore]),
            (Kind::TestRequest, [EARLY, EARLY, EARLY, Answer, Answer, Ignore]),
            (Kind::ResendRequest, [EARLY, EARLY, EARLY, Resend, Resend, Ignore]),
            (Kind::Terminate, [EARLY, EARLY, EARLY, Part, Part, Ignore]),
            (Kind::Request, [EARLY, EARLY, EARLY, Pass, Pass, Ignore]),
            (Kind::Foreign, [EARLY, EARLY, EARLY, WRONG_WAY, WRONG_WAY, Ignore]),
        ];
        for (kind, outcomes) in table {
            for (phase, outcome) in PHASES.into_iter().zip(outcomes) {
                assert_eq!(rule(phase, kind), outcome, "{phase:?}, {kind:?}");
            }
        }
    }

    #[test]
    fn every_message_of_the_catalogue_is_of_its_kind() {
        let session = [
            (1, Kind::Hello),
            (3, Kind::Logon),
            (6, Kind::Heartbeat),
            (7, Kind::TestRequest),
            (8, Kind::ResendRequest),
            (14, Kind::Terminate),
        ];
        let requests = [100, 101, 102, 104, 105, 106, 300, 310, 320, 400, 600, 602];
        let told = [2, 4, 5, 9, 10, 11, 12, 13, 16, 17, 18, 200, 201, 202, 203, 301, 311, 401, 601, 603, 604];
        let rows: Vec<(u16, Kind)> = session
            .into_iter()
            .chain(requests.map(|template_id| (template_id, Kind::Request)))
            .chain(told.map(|template_id| (template_id, Kind::Foreign)))
            .collect();
        assert_eq!(rows.len(), CATALOGUE.len(), "every message has its row");
        for (template_id, kind) in rows {
            assert_eq!(lookup(template_id).map(kind_of), Some(kind), "template {template_id}");
        }
    }
}
