//! A connection on which one request is made, and what becomes of it is followed.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tradecore::exit::Exit;
use tradecore_client::protocol::codes::{BatchStatus, ReplayMode};
use tradecore_client::protocol::fields::{ClOrdId, OrdStatus, Role};
use tradecore_client::protocol::layout::Text;
use tradecore_client::protocol::messages as wire;
use tradecore_client::protocol::reason::Reason;
use tradecore_client::{Client, Event};

use super::connection::{Connection, Line};
use super::failure::Failure;
use super::report::Printer;

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

/// What an order without an answer may be.
const LIVE: &str = "an order may be live";

/// A client with one thing to do.
pub(super) struct Desk {
    pub(super) client: Client,
    pub(super) printer: Printer,
    pub(super) role: Role,
    timeout: Duration,
    /// True from the first Ctrl-C on.
    stop: Arc<AtomicBool>,
    /// The options that lead a further command here.
    words: String,
    /// What the order that is followed was when it was told last.
    last_status: Option<OrdStatus>,
}

impl Drop for Desk {
    fn drop(&mut self) {
        self.client.logout();
    }
}

impl Desk {
    /// Logs on. What earlier commands were told is left out.
    pub(super) fn open(connection: &Connection) -> Result<Self, Failure> {
        let stop = super::stop_at_signals()?;
        let Line { client, printer, role, .. } = connection.connect(ReplayMode::Skip, &stop)?;
        Ok(Self {
            client,
            printer,
            role,
            timeout: connection.timeout,
            stop,
            words: connection.words(),
            last_status: None,
        })
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
        let ask = format!("order status --cl-ord-id {}", order.0);
        let deadline = bound.and_then(|bound| Instant::now().checked_add(bound));
        loop {
            match self.next(request, deadline, LIVE, &ask)? {
                Event::Exec(exec) if exec.cl_ord_id.get() == order.0 => {
                    self.printer.message(&exec)?;
                    self.last_status = OrdStatus::from_raw(exec.ord_status);
                    let reason = Reason::from_raw(exec.reason.get()).unwrap_or(Reason::None);
                    match judge(&exec) {
                        Answer::Done => return Ok(()),
                        Answer::Refused => return Err(Failure::refused(Exit::Rejected, reason, "")),
                        Answer::TooLate => return Err(Failure::refused(Exit::Rejected, Reason::TooLate, "")),
                        Answer::NotYet => {}
                    }
                }
                // The connection was away and reports were skipped: what they said is asked for.
                Event::Ready { .. } => drop(self.client.order_status(order)),
                Event::QueryEnd(end)
                    if end.ref_template.get() == wire::OrderStatusRequest::TEMPLATE_ID
                        && end.reason.get() == Reason::UnknownOrder.raw() =>
                {
                    let text = "the gateway does not know the order any more";
                    return Err(Failure::refused(Exit::Unavailable, Reason::OutcomeUnknown, text));
                }
                _ => {}
            }
        }
    }

    /// Prints the reports of a mass cancel, or of a kill switch, until it is done and none of the orders of this
    /// session that it cancels waits for the broker any more.
    pub(super) fn follow_all(&mut self, request: ClOrdId, cancels: bool, ask: &str) -> Result<(), Failure> {
        let deadline = Instant::now().checked_add(self.timeout);
        let (mut is_set, mut is_canceled, mut pending) = (false, !cancels, BTreeSet::new());
        while !is_set || !is_canceled || !pending.is_empty() {
            match self.next(request, deadline, LIVE, ask)? {
                Event::Exec(exec) => {
                    self.printer.message(&exec)?;
                    match OrdStatus::from_raw(exec.ord_status) {
                        Some(OrdStatus::PendingCancel) => pending.insert(exec.cl_ord_id.get()),
                        Some(_) | None => pending.remove(&exec.cl_ord_id.get()),
                    };
                }
                Event::MassCancel(report) if report.cl_ord_id.get() == request.0 => {
                    self.printer.message(&report)?;
                    let is_done = report.status == BatchStatus::Done.raw();
                    (is_set, is_canceled) = (true, is_canceled || is_done);
                }
                Event::Kill(report) if report.cl_ord_id.get() == request.0 => {
                    self.printer.message(&report)?;
                    is_set = true;
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Writes something down; the report that says where.
    pub(super) fn note(&mut self, text: Text<96>) -> Result<wire::OperatorNoteReport, Failure> {
        let deadline = Instant::now().checked_add(self.timeout);
        let request = self.client.request(|id| {
            let mut block = wire::OperatorNote { text, ..wire::OperatorNote::default() };
            block.cl_ord_id.set(id.0);
            block
        })?;
        loop {
            match self.next(request, deadline, "it may be written down", "query events")? {
                Event::Note(report) if report.cl_ord_id.get() == request.0 => return Ok(report),
                _ => {}
            }
        }
    }

    /// What happens next while a request has no answer, which may mean what is feared; its refusal is a failure.
    fn next(&mut self, request: ClOrdId, deadline: Option<Instant>, fear: &str, ask: &str) -> Result<Event, Failure> {
        loop {
            let Some(event) = self.client.poll(left(deadline))? else {
                if self.stop.load(Ordering::Acquire) {
                    return Err(self.unanswered(Exit::Interrupted, "interrupted", request, fear, ask));
                }
                if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                    let trouble = self.client.trouble().unwrap_or("no answer");
                    let trouble = format!("{trouble}; waited {:?} (--timeout)", self.timeout);
                    return Err(self.unanswered(Exit::Unavailable, &trouble, request, fear, ask));
                }
                continue;
            };
            match &event {
                Event::Reject(reject) if reject.cl_ord_id.get() == request.0 => {
                    self.printer.message(reject)?;
                    let reason = Reason::from_raw(reject.reason.get()).unwrap_or(Reason::None);
                    return Err(Failure::refused(Exit::Rejected, reason, reject.text.as_str()));
                }
                Event::SessionReject(reject) => {
                    let reason = Reason::from_raw(reject.reason.get()).unwrap_or(Reason::None);
                    return Err(Failure::refused(Exit::Rejected, reason, reject.text.as_str()));
                }
                Event::NotApplied { cl_ord_id } if *cl_ord_id == request => {
                    let text = "it had no effect; the refusal was lost with the connection";
                    return Err(Failure::refused(Exit::Unavailable, Reason::ConnectionLost, text));
                }
                Event::Abandoned { cl_ord_id } if *cl_ord_id == request => {
                    return Err(Failure::refused(Exit::Rejected, Reason::StaleRequest, "it was not sent"));
                }
                _ => return Ok(event),
            }
        }
    }

    /// Hands on what answers a query, up to its end: whole or cut, as the end says.
    pub(super) fn answers(
        &mut self,
        ref_template: u16,
        mut take: impl FnMut(&Printer, &Event),
    ) -> Result<wire::QueryEnd, Failure> {
        let deadline = Instant::now().checked_add(self.timeout);
        loop {
            match self.client.poll(left(deadline))? {
                Some(Event::QueryEnd(end)) if end.ref_template.get() == ref_template => {
                    return match Reason::from_raw(end.reason.get()) {
                        None | Some(Reason::None | Reason::ResendLimit) => Ok(end),
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
                Some(event) => take(&self.printer, &event),
                None if self.stop.load(Ordering::Acquire) => {
                    return Err(Failure::new(Exit::Interrupted, "interrupted before the answer to a query was whole"));
                }
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
        self.answers(wire::OrderStatusRequest::TEMPLATE_ID, |_, event| match event {
            Event::Exec(exec) if exec.cl_ord_id.get() == order.0 => status = Some(*exec),
            _ => {}
        })?;
        status.ok_or_else(|| Failure::refused(Exit::Rejected, Reason::UnknownOrder, ""))
    }

    /// A request without an answer: what it may have done, and how to find out.
    fn unanswered(&self, exit: Exit, why: &str, request: ClOrdId, fear: &str, ask: &str) -> Failure {
        let known = match self.last_status {
            Some(status) => format!("the order was {status:?} when it was told last, and goes on"),
            None => format!("what became of request {} is not known, {fear}", request.0),
        };
        Failure::new(exit, format!("{why}: {known}; look with `tradecore {ask} {}`", self.words))
    }
}

/// Time to wait in one poll.
fn left(deadline: Option<Instant>) -> Duration {
    // As long as a Ctrl-C may wait.
    let longest = Duration::from_millis(50);
    deadline.map_or(longest, |deadline| deadline.saturating_duration_since(Instant::now()).min(longest))
}
