//! `tradecore note`: words of an operator, in the journal.

use tradecore_client::protocol::fields::Role;
use tradecore_client::protocol::layout::Text;

use super::connection::Connection;
use super::desk::Desk;
use super::failure::Failure;
use super::values::text;

/// Writes words of an operator into the journal, for those who read it later; for sessions of role `admin`.
#[derive(clap::Args)]
#[command(
    after_help = "Example: tradecore note 'ann: broker called, fills of 09:31 are right' --config gateway.toml --session 8"
)]
pub(super) struct Note {
    /// Who, what and why: at most 96 printable ASCII characters.
    #[arg(value_name = "TEXT", value_parser = text::<96>)]
    text: Text<96>,
    #[command(flatten)]
    connection: Connection,
}

impl Note {
    pub(super) fn run(self) -> Result<(), Failure> {
        let mut desk = Desk::open(&self.connection)?;
        let report = desk.note(self.text).map_err(|failure| for_admins(failure, desk.role))?;
        desk.printer.message(&report).map(drop)
    }
}

/// A refusal of what only an operator may do.
pub(super) fn for_admins(mut failure: Failure, role: Role) -> Failure {
    if role != Role::Admin {
        failure.text = format!("{}; this is for a session of role `admin`", failure.text);
    }
    failure
}
