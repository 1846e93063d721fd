//! A session that keeps many commands on their way: half of them orders that are immediate-or-cancel and do not fill,
//! half new orders that rest and the cancels of them.

use std::collections::VecDeque;

use tradecore_protocol::fields::{ClOrdId, ExecType, OrdType, Px, Qty, Side, Tif};
use tradecore_protocol::frame::Frame;
use tradecore_protocol::messages::{CancelOrder, ExecReport, NewOrder, RequestReject};
use tradecore_protocol::reason::Reason;
use tradecore_protocol::wire::{I64, U32, U64};

use crate::Failure;
use crate::peer::Peer;

/// Ids of one client epoch: fewer than the share that a session has among a thousand.
const EPOCH_IDS: u64 = 1500;
/// Commands that are written before the socket is looked at again.
pub(crate) const BATCH: u64 = 64;

/// What a session did.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    pub(crate) sent: u64,
    /// Answered by the gateway's acceptance.
    pub(crate) accepted: u64,
    /// Answered by a refusal.
    pub(crate) refused: u64,
    /// Orders that rest or are on their way to their end.
    pub(crate) open: u64,
    /// Reports of any kind.
    pub(crate) reports: u64,
    /// The last refusal's reason.
    pub(crate) last_reason: u16,
}

impl Counts {
    /// Takes a report in: of a command's reports its acceptance alone counts for the rate.
    fn report(&mut self, exec_type: u8) {
        self.reports = self.reports.saturating_add(1);
        match ExecType::from_raw(exec_type) {
            Some(ExecType::PendingNew | ExecType::PendingCancel) => self.accepted = self.accepted.saturating_add(1),
            Some(ExecType::Canceled | ExecType::Expired | ExecType::Rejected) => {
                self.open = self.open.saturating_sub(1);
            }
            _ => {}
        }
    }
}

/// A session and its load.
pub(crate) struct Pipeline {
    peer: Peer,
    next_counter: u64,
    counts: Counts,
    /// Orders that rest, the oldest first: each is canceled in its turn.
    to_cancel: VecDeque<u64>,
    step: u64,
}

impl Pipeline {
    /// Logs on.
    pub(crate) fn log_on(address: &str, session_id: u32) -> Result<Self, Failure> {
        let peer = Peer::log_on(address, session_id)?;
        let next_counter = peer.last_client_seq().saturating_add(1);
        Ok(Self { peer, next_counter, counts: Counts::default(), to_cancel: VecDeque::new(), step: 0 })
    }

    /// What it did so far.
    pub(crate) const fn counts(&self) -> Counts {
        self.counts
    }

    /// Takes in reports, and sends as many commands as may be on their way; true when anything moved.
    pub(crate) fn turn(&mut self, in_flight_max: u64, open_max: u64) -> Result<bool, Failure> {
        let before = (self.counts.sent, self.counts.reports, self.counts.refused);
        self.take_in()?;
        let answered = self.counts.accepted.saturating_add(self.counts.refused);
        let in_flight = self.counts.sent.saturating_sub(answered);
        let now = self.peer.now();
        for _ in 0..in_flight_max.saturating_sub(in_flight).min(BATCH) {
            if !self.send_next(now, open_max)? {
                break;
            }
        }
        self.peer.flush()?;
        Ok(before != (self.counts.sent, self.counts.reports, self.counts.refused))
    }

    /// The next command of the load; false when no more orders may be open.
    fn send_next(&mut self, now: tradecore_protocol::session::Now, open_max: u64) -> Result<bool, Failure> {
        match next_step(self.step, &mut self.to_cancel) {
            Step::Cancel(orig) => {
                let (cl_ord_id, orig_cl_ord_id) = (U64::new(self.next_id()), U64::new(orig));
                self.peer.queue(now, &CancelOrder { cl_ord_id, orig_cl_ord_id, ..CancelOrder::default() })?;
            }
            Step::Order(tif) => {
                if self.counts.open >= open_max {
                    return Ok(false);
                }
                let id = self.next_id();
                if tif == Tif::Gtc {
                    self.to_cancel.push_back(id);
                }
                self.counts.open = self.counts.open.saturating_add(1);
                self.peer.queue(now, &order(id, tif))?;
            }
        }
        self.step = self.step.wrapping_add(1);
        self.counts.sent = self.counts.sent.saturating_add(1);
        Ok(true)
    }

    fn next_id(&mut self) -> u64 {
        let counter = self.next_counter;
        self.next_counter = counter.saturating_add(1);
        let epoch = u16::try_from(counter / EPOCH_IDS).unwrap_or(u16::MAX).saturating_add(1);
        ClOrdId::new(epoch, counter).0
    }

    fn take_in(&mut self) -> Result<(), Failure> {
        let counts = &mut self.counts;
        self.peer.poll(&mut |frame: &Frame<'_>, _| match frame.header.template_id {
            ExecReport::TEMPLATE_ID => {
                if let Ok(report) = frame.read::<ExecReport>() {
                    counts.report(report.exec_type);
                }
            }
            RequestReject::TEMPLATE_ID => {
                if let Ok(reject) = frame.read::<RequestReject>() {
                    counts.refused = counts.refused.saturating_add(1);
                    counts.last_reason = reject.reason.get();
                    // A cancel comes only behind an order that rests or has been refused: what is refused here
                    // otherwise is an order, which is open no more.
                    if !matches!(Reason::from_raw(counts.last_reason), Some(Reason::UnknownOrder | Reason::TooLate)) {
                        counts.open = counts.open.saturating_sub(1);
                    }
                }
            }
            _ => {}
        })
    }
}

/// A command of the load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Order(Tif),
    /// Of the order of this id.
    Cancel(u64),
}

/// Immediate, resting, immediate, and the cancel of the oldest that rests; immediate again, when none does.
fn next_step(step: u64, to_cancel: &mut VecDeque<u64>) -> Step {
    match step % 4 {
        1 => Step::Order(Tif::Gtc),
        3 => to_cancel.pop_front().map_or(Step::Order(Tif::Ioc), Step::Cancel),
        _ => Step::Order(Tif::Ioc),
    }
}

/// An order that the market will not take.
fn order(id: u64, tif: Tif) -> NewOrder {
    NewOrder {
        cl_ord_id: U64::new(id),
        px: I64::new(Px(10_000 * 1_000_000_000).0),
        qty: I64::new(Qty(1_000_000).0),
        instrument_id: U32::new(1),
        account_id: U32::new(1),
        side: Side::Buy.raw(),
        ord_type: OrdType::Limit.raw(),
        tif: tif.raw(),
        ..NewOrder::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_counts_once_however_many_reports_there_are_of_it() {
        use ExecType::{Canceled, Expired, New, PendingCancel, PendingNew};
        let mut counts = Counts { open: 2, ..Counts::default() };
        // An order that rests, the cancel of it, an order that expires at once.
        for exec_type in [PendingNew, New, PendingCancel, Canceled, PendingNew, New, Expired] {
            counts.report(exec_type.raw());
        }
        assert_eq!((counts.accepted, counts.reports, counts.open, counts.refused), (3, 7, 0, 0));
    }

    #[test]
    fn half_of_the_load_is_immediate_and_every_order_that_rests_is_canceled_in_its_turn() {
        let mut resting = VecDeque::new();
        let steps: Vec<Step> = (0..8)
            .map(|step| {
                let next = next_step(step, &mut resting);
                if next == Step::Order(Tif::Gtc) {
                    resting.push_back(step);
                }
                next
            })
            .collect();
        let (ioc, gtc) = (Step::Order(Tif::Ioc), Step::Order(Tif::Gtc));
        assert_eq!(steps, [ioc, gtc, ioc, Step::Cancel(1), ioc, gtc, ioc, Step::Cancel(5)]);
        assert!(resting.is_empty());
    }
}
