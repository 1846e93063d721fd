//! A connection on which one request is made, and what becomes of it is followed.

use std::time::{Duration, Instant};

use tradecore::exit::Exit;
use tradecore_client::protocol::codes::ReplayMode;
use tradecore_client::protocol::fields::ClOrdId;
use tradecore_client::protocol::messages as wire;
use tradecore_client::protocol::reason::Reason;
use tradecore_client::{Client, Event};

use super::connection::Connection;
use super::failure::Failure;
use super::report;

/// What a report of an order means for the request that was made.
pub(super) enum Answer {
    /// It has happened.
    Done,
    /// The report's reason says why it will not happen.
    Refused,
    /// The order was closed before it could happen.
    TooLate,
    /// Nothing yet.
    NotYet,
}

/// A client with one thing to do.
pub(super) struct Desk {
    pub(super) client: Client,
    json: bool,
    timeout: Duration,
}

impl Drop for Desk {
    fn drop(&mut self) {
        self.client.logout();
    }
}

impl Desk {
    /// Logs on. What earlier commands were told is left out.
    pub(super) fn open(connection: &Connection) -> Result<Self, Failure> {
        let client = connection.connect(ReplayMode::Skip)?;
        Ok(Self { client, json: connection.json, timeout: connection.timeout })
    }

    /// Prints the reports of an order until they answer the request, to the end even when nobody reads them any more:
    /// the exit code says what became of it. Without a bound it waits for ever.
    pub(super) fn follow(
        &mut self,
        order: ClOrdId,
        request: ClOrdId,
        bound: Option<Duration>,
        judge: impl Fn(&wire::ExecReport) -> Answer,
    ) -> Result<(), Failure> {
        let deadline = bound.and_then(|bound| Instant::now().checked_add(bound));
        loop {
            let Some(event) = self.client.poll(left(deadline))? else {
                if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                    return Err(self.unanswered(order));
                }
                continue;
            };
            match event {
                Event::Exec(exec) if exec.cl_ord_id.get() == order.0 => {
                    report::print(&exec, self.json)?;
                    let reason = Reason::from_raw(exec.reason.get()).unwrap_or(Reason::None);
                    match judge(&exec) {
                        Answer::Done => return Ok(()),
                        Answer::Refused => return Err(Failure::refused(Exit::Rejected, reason, "")),
                        Answer::TooLate => return Err(Failure::refused(Exit::Rejected, Reason::TooLate, "")),
                        Answer::NotYet => {}
                    }
                }
                Event::Reject(reject) if reject.cl_ord_id.get() == request.0 => {
                    report::print(&reject, self.json)?;
                    let reason = Reason::from_raw(reject.reason.get()).unwrap_or(Reason::None);
                    return Err(Failure::refused(Exit::Rejected, reason, reject.text.as_str()));
                }
                Event::SessionReject(reject) => {
                    let reason = Reason::from_raw(reject.reason.get()).unwrap_or(Reason::None);
                    return Err(Failure::refused(Exit::Rejected, reason, reject.text.as_str()));
                }
                Event::NotApplied { cl_ord_id } if cl_ord_id == request => {
                    let text = "it had no effect; the refusal was lost with the connection";
                    return Err(Failure::refused(Exit::Unavailable, Reason::ConnectionLost, text));
                }
                Event::Abandoned { cl_ord_id } if cl_ord_id == request => {
                    return Err(Failure::refused(Exit::Rejected, Reason::StaleRequest, "it was not sent"));
                }
                // The connection was away and reports were skipped: what they said is asked for.
                Event::Ready { .. } => drop(self.client.order_status(order)),
                _ => {}
            }
        }
    }

    /// Hands on what answers a query, up to its end.
    pub(super) fn answers(&mut self, ref_template: u16, mut take: impl FnMut(&Event)) -> Result<(), Failure> {
        let deadline = Instant::now().checked_add(self.timeout);
        loop {
            match self.client.poll(left(deadline))? {
                Some(Event::QueryEnd(end)) if end.ref_template.get() == ref_template => {
                    return match Reason::from_raw(end.reason.get()) {
                        None | Some(Reason::None) => Ok(()),
                        Some(reason) => Err(Failure::refused(Exit::Rejected, reason, "")),
                    };
                }
                Some(Event::Reject(reject)) if reject.ref_template.get() == ref_template => {
                    let reason = Reason::from_raw(reject.reason.get()).unwrap_or(Reason::None);
                    return Err(Failure::refused(Exit::Rejected, reason, reject.text.as_str()));
                }
                Some(Event::Disconnected { reason }) => {
                    return Err(Failure::refused(Exit::Unavailable, reason, "before the answer came"));
                }
                Some(event) => take(&event),
                None if deadline.is_some_and(|deadline| Instant::now() < deadline) => {}
                None => {
                    let text = format!("no answer to a query; waited {:?} (--timeout)", self.timeout);
                    return Err(Failure::new(Exit::Unavailable, text));
                }
            }
        }
    }

    /// The state of an order.
    pub(super) fn status(&mut self, order: ClOrdId) -> Result<wire::ExecReport, Failure> {
        let mut status = None;
        self.client.order_status(order)?;
        self.answers(wire::OrderStatusRequest::TEMPLATE_ID, |event| match event {
            Event::Exec(exec) if exec.cl_ord_id.get() == order.0 => status = Some(*exec),
            _ => {}
        })?;
        status.ok_or_else(|| Failure::refused(Exit::Rejected, Reason::UnknownOrder, ""))
    }

    /// Prints every open order.
    pub(super) fn print_open_orders(&mut self) -> Result<(), Failure> {
        let json = self.json;
        let mut printed = Ok(true);
        self.client.open_orders()?;
        self.answers(wire::OpenOrdersRequest::TEMPLATE_ID, |event| {
            if let (Event::Exec(exec), Ok(true)) = (event, &printed) {
                printed = report::print(exec, json);
            }
        })?;
        printed.map(drop)
    }

    fn unanswered(&self, order: ClOrdId) -> Failure {
        let trouble = self.client.trouble().unwrap_or("no answer");
        let text = format!(
            "{trouble}; waited {:?} (--timeout): what became of the request is not known; look at it with \
             `tradecore order status --cl-ord-id {}`",
            self.timeout, order.0
        );
        Failure::new(Exit::Unavailable, text)
    }
}

/// Time to wait in one poll.
fn left(deadline: Option<Instant>) -> Duration {
    let longest = Duration::from_secs(1);
    deadline.map_or(longest, |deadline| deadline.saturating_duration_since(Instant::now()).min(longest))
}
