//! `tradecore watch`: the reports of a session as they come.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use serde_json::Value;
use tradecore_client::Event;
use tradecore_client::protocol::codes::ReplayMode;

use super::connection::Connection;
use super::failure::Failure;
use super::report::{print, print_fields};

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
        let (mut client, address) = self.connection.client(replay_mode)?;
        let mut first_contact_until = Instant::now().checked_add(self.connection.timeout);
        while !stop.load(Ordering::Acquire) {
            // As long as a Ctrl-C may wait.
            let event = client.poll(Duration::from_millis(50)).map_err(|error| self.connection.refused(error))?;
            let Some(event) = event else {
                if first_contact_until.is_some_and(|until| Instant::now() >= until) {
                    return Err(self.connection.unreachable(&client, &address));
                }
                continue;
            };
            if matches!(event, Event::Ready { .. }) {
                first_contact_until = None;
            }
            let printed = self.print(&event);
            if !matches!(printed, Ok(true)) {
                client.logout();
                return printed.map(drop);
            }
        }
        client.logout();
        Ok(())
    }

    fn print(&self, event: &Event) -> Result<bool, Failure> {
        let json = self.connection.json;
        let say = |fields: &[(&'static str, Value)]| print_fields(fields, json);
        match event {
            Event::Exec(report) => print(report, json),
            Event::Reject(report) => print(report, json),
            Event::MassCancel(report) => print(report, json),
            Event::Kill(report) => print(report, json),
            Event::Quote(report) => print(report, json),
            Event::Position(report) => print(report, json),
            Event::Account(report) => print(report, json),
            Event::Instrument(report) => print(report, json),
            Event::SessionReject(report) => print(report, json),
            Event::QueryEnd(report) => print(report, json),
            Event::Ready { open_orders } => {
                say(&[("type", "Connected".into()), ("open_orders", (*open_orders).into())])
            }
            Event::Disconnected { reason } => say(&[("type", "Disconnected".into()), ("reason", reason.name().into())]),
            Event::Resynchronize => say(&[("type", "ReportsSkipped".into())]),
            Event::NotApplied { cl_ord_id } => {
                say(&[("type", "NotApplied".into()), ("cl_ord_id", cl_ord_id.0.to_string().into())])
            }
            Event::OutcomeUnknown { cl_ord_id } => {
                say(&[("type", "OutcomeUnknown".into()), ("cl_ord_id", cl_ord_id.0.to_string().into())])
            }
            Event::Abandoned { cl_ord_id } => {
                say(&[("type", "Abandoned".into()), ("cl_ord_id", cl_ord_id.0.to_string().into())])
            }
            _ => Ok(true),
        }
    }
}
