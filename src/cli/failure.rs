//! Why a command failed: an exit code, and a stable name and number beside the words.

use std::fmt;

use tradecore::exit::Exit;

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
