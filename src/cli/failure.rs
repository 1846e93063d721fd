//! Why a command failed: an exit code, and a stable name and number beside the words.

use std::fmt;

use serde_json::{Value, json};
use tradecore::exit::Exit;
use tradecore_client::ClientError;
use tradecore_client::protocol::reason::Reason;

/// Why a command failed.
#[derive(Debug)]
pub(super) struct Failure {
    /// How the process ends.
    pub(super) exit: Exit,
    /// Stable name: of the exit code, or of the gateway's reason.
    pub(super) name: String,
    /// Stable number that goes with the name.
    pub(super) code: u32,
    /// What was wrong and what is allowed.
    pub(super) text: String,
}

impl Failure {
    /// A failure that is named by its exit code.
    pub(super) fn new(exit: Exit, text: impl Into<String>) -> Self {
        Self { exit, name: exit.name().to_owned(), code: u32::from(exit.code()), text: text.into() }
    }

    /// A failure that is named by the gateway's reason; without words of its own it says what the reason means.
    pub(super) fn refused(exit: Exit, reason: Reason, text: &str) -> Self {
        let meaning = Reason::TABLE.iter().find(|(known, ..)| *known == reason).map_or("", |(_, _, _, doc)| doc.trim());
        // The gateway's text is often the meaning itself, cut to its field.
        let text = match meaning.trim_end_matches('.') {
            "" => text.to_owned(),
            _ if meaning.starts_with(text) => meaning.to_owned(),
            bare => format!("{bare}: {text}"),
        };
        Self { exit, name: reason.name().to_owned(), code: u32::from(reason.raw()), text }
    }

    /// As one JSON object.
    pub(super) fn to_json(&self) -> Value {
        let Self { exit, name, code, text } = self;
        json!({"type": "Failure", "exit": exit.code(), "reason": name, "code": code, "text": text})
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        let exit = match &error {
            ClientError::Refused { reason, text } => return Self::refused(Exit::Credential, *reason, text),
            ClientError::NotAllowed(_) => {
                return Self::refused(Exit::Rejected, Reason::RoleForbidden, &error.to_string());
            }
            ClientError::TakenOver => {
                return Self::refused(Exit::Unavailable, Reason::TakenOver, &error.to_string());
            }
            ClientError::Key => Exit::Credential,
            ClientError::NotReady | ClientError::InDoubtMax => Exit::Unavailable,
            ClientError::Store(_) | ClientError::Random => Exit::Io,
            _ => Exit::Internal,
        };
        Self::new(exit, error.to_string())
    }
}

impl From<(Exit, String)> for Failure {
    fn from((exit, text): (Exit, String)) -> Self {
        Self::new(exit, text)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} ({}): {}", self.name, self.code, self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_says_what_the_reason_means_and_what_the_gateway_adds_once() {
        let text = |text: &str| Failure::refused(Exit::Rejected, Reason::PriceTick, text).to_string();
        let meaning = "PriceTick (108): The price is not a multiple of the tick size.";
        assert_eq!(text(""), meaning);
        assert_eq!(text("The price is not a multiple of"), meaning);
        assert_eq!(text("tick 0.01"), "PriceTick (108): The price is not a multiple of the tick size: tick 0.01");
    }
}
