//! `tradecore watch`: the reports of a session as they come.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tradecore_client::Event;
use tradecore_client::protocol::codes::ReplayMode;
use tradecore_client::protocol::fields::{ClOrdId, Role};

use super::connection::{Connection, Line};
use super::failure::Failure;

/// A state file that is new knows of no earlier report: none was missed.
const STARTED: &str = "the first watch with this state file: what happened before is in `tradecore order list`, \
    `fills` and `positions`";
const SKIPPED: &str = "reports of a while ago are left out here; `tradecore order list`, `fills` and `positions` say \
    where it stands";

/// Prints every report of a session until Ctrl-C, those that the last watch missed first; says when the connection
/// ends and comes back.
#[derive(clap::Args)]
#[command(after_help = "Example: tradecore watch --config gateway.toml --session 9 --json")]
pub(super) struct Watch {
    /// Starts with what happens now.
    #[arg(long)]
    skip_missed: bool,
    #[command(flatten)]
    connection: Connection,
}

impl Watch {
    pub(super) fn run(self) -> Result<(), Failure> {
        let stop = super::stop_at_signals()?;
        let replay_mode = if self.skip_missed { ReplayMode::Skip } else { ReplayMode::Replay };
        let mut line = self.connection.line(replay_mode)?;
        let mut is_new_state = line.is_new_state;
        let mut first_contact_until = Instant::now().checked_add(self.connection.timeout);
        while !stop.load(Ordering::Acquire) {
            // As long as a Ctrl-C may wait.
            let event = line.client.poll(Duration::from_millis(50)).map_err(|error| self.connection.refused(error))?;
            let Some(event) = event else {
                if first_contact_until.is_some_and(|until| Instant::now() >= until) {
                    return Err(self.connection.unreachable(&line));
                }
                continue;
            };
            let printed = match event {
                Event::Resynchronize if is_new_state => line.printer.event("Started", &[], STARTED),
                event => self.print(&line, &event),
            };
            if line.client.is_ready() {
                first_contact_until = None;
            }
            is_new_state &= first_contact_until.is_some();
            if !matches!(printed, Ok(true)) {
                line.client.logout();
                return printed.map(drop);
            }
        }
        line.client.logout();
        Ok(())
    }

    fn print(&self, line: &Line, event: &Event) -> Result<bool, Failure> {
        let printer = &line.printer;
        let of_request = |kind: &'static str, id: &ClOrdId, text: &str| {
            printer.event(kind, &[("cl_ord_id", id.0.to_string().into())], &format!("request {} {text}", id.0))
        };
        match event {
            Event::Exec(report) => printer.message(report),
            Event::Reject(report) => printer.message(report),
            Event::MassCancel(report) => printer.message(report),
            Event::Kill(report) => printer.message(report),
            Event::Note(report) => printer.message(report),
            Event::Quote(report) => printer.message(report),
            Event::Position(report) => printer.message(report),
            Event::Account(report) => printer.message(report),
            Event::Instrument(report) => printer.message(report),
            Event::SessionReject(report) => printer.message(report),
            Event::QueryEnd(report) => printer.message(report),
            // Only a session that trades has open orders of its own.
            Event::Ready { open_orders } if line.role == Role::Trade => {
                let text = format!("session {}, open orders: {open_orders}", self.connection.session);
                printer.event("Connected", &[("open_orders", (*open_orders).into())], &text)
            }
            Event::Ready { .. } => {
                let role = line.role.name();
                let text = format!("session {}, role {role}: what happens from now on", self.connection.session);
                printer.event("Connected", &[("role", role.into())], &text)
            }
            Event::Disconnected { reason } => {
                let text = format!("{}; the connection is opened again", reason.name());
                printer.event("Disconnected", &[("reason", reason.name().into())], &text)
            }
            Event::Resynchronize => printer.event("ReportsSkipped", &[], SKIPPED),
            Event::NotApplied { cl_ord_id } => of_request("NotApplied", cl_ord_id, "was refused and had no effect"),
            Event::OutcomeUnknown { cl_ord_id } => {
                of_request("OutcomeUnknown", cl_ord_id, "may have had an effect; see `tradecore order status`")
            }
            Event::Abandoned { cl_ord_id } => of_request("Abandoned", cl_ord_id, "was not sent: too late"),
            _ => Ok(true),
        }
    }
}
