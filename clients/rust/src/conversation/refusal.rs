//! What a refused logon means for a client, reason by reason.
//!
//! A refusal without a signature can be written by anybody on the path. So it ends a client only where a gateway cannot
//! sign, and only until the client has been logged on once: later its key and its words are known to be good.

use tradecore_protocol::reason::Reason;

/// What a client does about a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Takes the numbers over that the refusal tells, and logs on again.
    Adopt,
    /// Logs on again without the reports that are gone.
    Skip,
    /// Numbers its requests anew behind the last that was decided on, unless it is ahead in the reports.
    Renumber,
    /// Tries again after a while.
    Retry,
    /// Ends: no further attempt can succeed.
    End,
}

/// Where a client stands when it is refused.
#[derive(Clone, Copy, Debug)]
pub(super) struct Standing {
    /// The refusal is signed.
    pub(super) is_authentic: bool,
    /// The gateway has accepted this client before.
    pub(super) has_logged_on: bool,
    /// The client takes a connected session over.
    pub(super) takes_over: bool,
}

/// The verdict on a refusal.
pub(super) fn verdict(reason: Reason, standing: Standing) -> Verdict {
    let Standing { is_authentic, has_logged_on, takes_over } = standing;
    // What a gateway always signs is not its word without: the next attempt may find the gateway.
    let if_signed = |verdict| if is_authentic { verdict } else { Verdict::Retry };
    match reason {
        // Told with the session's numbers, signed.
        Reason::EpochMismatch => if_signed(Verdict::Adopt),
        Reason::SeqUnavailable => if_signed(Verdict::Skip),
        // A connection of our own may still be half open; before the first logon it is somebody else's.
        Reason::SessionInUse if has_logged_on || takes_over => Verdict::Retry,
        Reason::SessionInUse => if_signed(Verdict::End),
        Reason::RoleForbidden
        | Reason::EnvironmentMismatch
        | Reason::Redirect => if_signed(Verdict::End),
        Reason::SeqAhead => if_signed(Verdict::Renumber),
        // A moment's state of gateway, host or line.
        Reason::LogonTimeout
        | Reason::LoginRate
        | Reason::ConnectionsMax
        | Reason::Shutdown
        | Reason::JournalFull
        | Reason::SlowConsumer
        | Reason::HeartbeatTimeout
        | Reason::TakenOver
        | Reason::Logout
        | Reason::ConnectionLost => Verdict::Retry,
        // About what this client sends, which it will send again. Who does not know the key cannot sign.
        Reason::AuthFailed
        | Reason::Version
        | Reason::FieldValue
        | Reason::FrameSize
        | Reason::UnknownTemplate
        | Reason::BlockTooShort
        | Reason::NotLoggedOn
        | Reason::NonzeroReserved
        // No reason to refuse a logon, or one of a newer gateway.
        | Reason::None
        | Reason::SeqError
        | Reason::ResendInProgress
        | Reason::ResendLimit
        | Reason::ReplayInProgress
        | Reason::AccountForbidden
        | Reason::InstrumentUnknown
        | Reason::SideInvalid
        | Reason::OrdTypeInvalid
        | Reason::TifInvalid
        | Reason::ExecFlagsInvalid
        | Reason::PriceMissing
        | Reason::PriceForbidden
        | Reason::PriceNotPositive
        | Reason::PriceTick
        | Reason::QtyNotPositive
        | Reason::QtyLot
        | Reason::QtyMin
        | Reason::PostOnlyInvalid
        | Reason::MarketTifInvalid
        | Reason::AccountUnknown
        | Reason::ClOrdIdMissing
        | Reason::DuplicateId
        | Reason::UnknownOrder
        | Reason::TooLate
        | Reason::PendingChange
        | Reason::StaleRequest
        | Reason::ClientEpochClosed
        | Reason::IdsMax
        | Reason::NothingToReplace
        | Reason::QtyBelowExecuted
        | Reason::ReplaceForbidden
        | Reason::ScopeInvalid
        | Reason::Killed
        | Reason::LockedOut
        | Reason::OrderQtyMax
        | Reason::OrderNotionalMax
        | Reason::OpenOrdersMax
        | Reason::PriceCollar
        | Reason::MarketStale
        | Reason::BuyingPower
        | Reason::PositionMax
        | Reason::RateLimit
        | Reason::AccountState
        | Reason::OrdersMax
        | Reason::BrokerNotReady
        | Reason::BrokerReject
        | Reason::BrokerCancel
        | Reason::Expired
        | Reason::ClientDisconnect
        | Reason::ClientRequest
        | Reason::OperatorRequest
        | Reason::OutcomeUnknown
        | Reason::NotAtBroker
        | Reason::BrokerContradiction
        | Reason::Overfill
        | Reason::WouldTake
        | Reason::OutboxFull
        | Reason::DurabilityLag
        | Reason::NoLease => {
            if is_authentic || !has_logged_on { Verdict::End } else { Verdict::Retry }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every standing, signed or not, before or after a first logon.
    fn standings(takes_over: bool) -> [Standing; 4] {
        [(false, false), (false, true), (true, false), (true, true)].map(|(is_authentic, has_logged_on)| Standing {
            is_authentic,
            has_logged_on,
            takes_over,
        })
    }

    #[test]
    fn every_reason_has_its_verdict_signed_or_not_before_and_after_a_first_logon() {
        use Verdict::{Adopt, End, Renumber, Retry, Skip};
        for (reason, ..) in Reason::TABLE {
            let expected = match reason {
                Reason::EpochMismatch => [Retry, Retry, Adopt, Adopt],
                Reason::SeqUnavailable => [Retry, Retry, Skip, Skip],
                Reason::SeqAhead => [Retry, Retry, Renumber, Renumber],
                Reason::RoleForbidden | Reason::EnvironmentMismatch | Reason::Redirect => [Retry, Retry, End, End],
                Reason::SessionInUse => [Retry; 4],
                Reason::LogonTimeout
                | Reason::LoginRate
                | Reason::ConnectionsMax
                | Reason::Shutdown
                | Reason::JournalFull
                | Reason::SlowConsumer
                | Reason::HeartbeatTimeout
                | Reason::TakenOver
                | Reason::Logout
                | Reason::ConnectionLost => [Retry; 4],
                _ => [End, Retry, End, End],
            };
            assert_eq!(standings(true).map(|standing| verdict(*reason, standing)), expected, "{}", reason.name());
        }
    }

    #[test]
    fn a_session_in_use_ends_only_a_first_logon_that_takes_nothing_over() {
        use Verdict::{End, Retry};
        let verdicts = standings(false).map(|standing| verdict(Reason::SessionInUse, standing));
        assert_eq!(verdicts, [Retry, Retry, End, Retry]);
    }

    #[test]
    fn nothing_unsigned_ends_a_client_that_has_been_logged_on() {
        for (reason, ..) in Reason::TABLE {
            for takes_over in [false, true] {
                let standing = Standing { is_authentic: false, has_logged_on: true, takes_over };
                assert_eq!(verdict(*reason, standing), Verdict::Retry, "{}", reason.name());
            }
        }
    }
}
