//! What a person reads beside a reason code: what was wrong and what is allowed.

use tradecore_protocol::reason::Reason;

use super::report::ReasonText;

/// The text of a reason; empty for codes of a newer release.
#[must_use]
pub(super) fn of(reason: u16) -> ReasonText {
    Reason::TABLE
        .iter()
        .find(|(_, code, _, _)| *code == reason)
        .map_or(ReasonText::EMPTY, |(_, _, _, meaning)| ReasonText::new(meaning.trim()))
}
