//! `tradecore kill`: the kill switch by hand.

use tradecore_client::protocol::codes::{KillAction, KillScope, kill_flags};
use tradecore_client::protocol::layout::Text;
use tradecore_client::protocol::messages as wire;

use super::connection::Connection;
use super::desk::Desk;
use super::failure::Failure;
use super::note::for_admins;
use super::values::{text, whole};

/// Works the kill switch, which refuses new orders of the whole core or of one account; for sessions of role `admin`.
#[derive(clap::Subcommand)]
#[command(after_help = "Example: tradecore kill on --config gateway.toml --session 8 --cancel-open")]
pub(super) enum Kill {
    /// Refuses new orders from now on; cancels pass.
    #[command(
        after_help = "Example: tradecore kill on --config gateway.toml --session 8 --cancel-open --tag 'ann: wrong prices'"
    )]
    On {
        /// Cancels the open orders as well, and waits until every cancel is on its way.
        #[arg(long)]
        cancel_open: bool,
        #[command(flatten)]
        scope: Scope,
    },
    /// Lets new orders pass again.
    #[command(after_help = "Example: tradecore kill off --config gateway.toml --session 8 --account 1")]
    Off {
        /// Lifts a restriction of the trading state as well, as after a contradiction of the broker that a person has
        /// looked at.
        #[arg(long)]
        reopen: bool,
        #[command(flatten)]
        scope: Scope,
    },
}

#[derive(clap::Args)]
pub(super) struct Scope {
    /// Only this account; by default the whole core.
    #[arg(long, value_parser = whole::<u32>)]
    account: Option<u32>,
    /// Who and why, kept in the journal: at most 32 printable ASCII characters.
    #[arg(long, value_parser = text::<32>, default_value = "", hide_default_value = true)]
    tag: Text<32>,
    #[command(flatten)]
    connection: Connection,
}

impl Kill {
    pub(super) fn run(self) -> Result<(), Failure> {
        let (scope, action, flags, cancels) = match self {
            Self::On { cancel_open: true, scope } => (scope, KillAction::Engage, kill_flags::CANCEL_OPEN, true),
            Self::On { cancel_open: false, scope } => (scope, KillAction::Engage, 0, false),
            Self::Off { reopen: true, scope } => (scope, KillAction::Release, kill_flags::REOPEN, false),
            Self::Off { reopen: false, scope } => (scope, KillAction::Release, 0, false),
        };
        let mut desk = Desk::open(&scope.connection)?;
        let mut block = wire::KillSwitch { action: action.raw(), flags, ..wire::KillSwitch::default() };
        block.scope = if scope.account.is_some() { KillScope::Account } else { KillScope::Core }.raw();
        block.account_id.set(scope.account.unwrap_or(0));
        block.operator_tag = scope.tag;
        let request = desk.client.request(|id| {
            block.cl_ord_id.set(id.0);
            block
        });
        let request = request.map_err(|error| for_admins(Failure::from(error), desk.role))?;
        desk.follow_all(request, cancels, "account")
    }
}
