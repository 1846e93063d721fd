//! Sessions that send orders, and wait for the gateway's own acceptance of each; of orders that the market takes, also for
//! the broker's acknowledgement and the fill.

use std::collections::VecDeque;
use std::time::Instant;

use tradecore_protocol::fields::{ClOrdId, ExecType, OrdType, Px, Qty, Side, Tif};
use tradecore_protocol::frame::Frame;
use tradecore_protocol::messages::{ExecReport, NewOrder, RequestReject};
use tradecore_protocol::wire::{I64, U32, U64};

use crate::Failure;
use crate::host;
use crate::instant::{ASK, BID};
use crate::legs::Legs;
use crate::pace::{Idle, Sample, Sent, Target, pace};
use crate::peer::Peer;

/// Orders that may wait for their acceptance before the queue of them grows.
const WAITING: usize = 1024;

/// Orders of a client epoch where one session has all ids: there are 65,535 epochs, which lasts for billions of orders.
pub(crate) const EPOCH_IDS: u64 = 65_536;

/// What a session sends.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    /// Instruments, one after the other from 1.
    pub(crate) instruments: u32,
    /// Orders of one client epoch: fewer than the share of ids that the session has.
    pub(crate) epoch_ids: u64,
    /// The market takes them, buys and sells in turn; else it will not.
    pub(crate) is_taken: bool,
}

impl Default for Load {
    /// One instrument, and epochs that fit the share that a session has among a thousand.
    fn default() -> Self {
        Self { instruments: 1, epoch_ids: 100, is_taken: false }
    }
}

impl Load {
    /// The id of an order.
    pub(crate) fn id_of(self, counter: u64) -> u64 {
        let epoch = counter.checked_div(self.epoch_ids).unwrap_or(0);
        ClOrdId::new(u16::try_from(epoch).unwrap_or(u16::MAX).saturating_add(1), counter).0
    }

    /// An order.
    pub(crate) fn order(self, counter: u64, tif: Tif) -> NewOrder {
        let (side, px) = match (self.is_taken, counter.is_multiple_of(2)) {
            (false, _) => (Side::Buy, Px(10_000 * 1_000_000_000)),
            (true, false) => (Side::Buy, ASK),
            (true, true) => (Side::Sell, BID),
        };
        let turn = counter.checked_rem(u64::from(self.instruments)).unwrap_or(0);
        NewOrder {
            cl_ord_id: U64::new(self.id_of(counter)),
            px: I64::new(px.0),
            qty: I64::new(Qty(1_000_000).0),
            instrument_id: U32::new(u32::try_from(turn).unwrap_or(0).saturating_add(1)),
            account_id: U32::new(1),
            side: side.raw(),
            ord_type: OrdType::Limit.raw(),
            tif: tif.raw(),
            ..NewOrder::default()
        }
    }
}

/// A session that sends orders, and what it waits for.
pub(crate) struct Active {
    peer: Peer,
    load: Load,
    next_counter: u64,
    waiting: VecDeque<(u64, Sent)>,
    /// Accepted orders that the market takes, until they are filled.
    at_broker: VecDeque<(u64, Sent)>,
    is_prepared: bool,
    refused: Option<u16>,
}

impl Active {
    /// Logs on.
    pub(crate) fn log_on(address: &str, session_id: u32) -> Result<Self, Failure> {
        Self::log_on_with(address, session_id, Load::default())
    }

    /// Logs on, to send this.
    pub(crate) fn log_on_with(address: &str, session_id: u32, load: Load) -> Result<Self, Failure> {
        let peer = Peer::log_on(address, session_id)?;
        // Every order takes a number, so ids that are made of them are not taken.
        let next_counter = peer.last_client_seq().saturating_add(1);
        let (waiting, at_broker) = (VecDeque::with_capacity(WAITING), VecDeque::with_capacity(WAITING));
        Ok(Self { peer, load, next_counter, waiting, at_broker, is_prepared: false, refused: None })
    }

    /// Why an order was refused.
    pub(crate) const fn refusal(&self) -> Option<u16> {
        self.refused
    }

    /// Takes in reports; the first of each order is its acceptance.
    fn take_in(&mut self, sample: &mut Sample) -> Result<(), Failure> {
        // What a full socket has not taken.
        self.peer.flush()?;
        let (waiting, refused) = (&mut self.waiting, &mut self.refused);
        let (at_broker, is_taken) = (&mut self.at_broker, self.load.is_taken);
        self.peer.poll(&mut |frame: &Frame<'_>, arrived| match frame.header.template_id {
            ExecReport::TEMPLATE_ID => {
                let Ok(report) = frame.read::<ExecReport>() else { return };
                let id = report.cl_ord_id.get();
                if waiting.front().is_some_and(|(waiting, _)| *waiting == id)
                    && let Some((_, sent)) = waiting.pop_front()
                {
                    sample.answered(sent, arrived);
                    if is_taken {
                        at_broker.push_back((id, sent));
                    }
                } else if is_taken {
                    follow(at_broker, id, report, arrived, sample);
                }
            }
            RequestReject::TEMPLATE_ID => {
                if let Ok(reject) = frame.read::<RequestReject>() {
                    waiting.retain(|(id, _)| *id != reject.cl_ord_id.get());
                    *refused = Some(reject.reason.get());
                }
            }
            _ => {}
        })
    }
}

impl Target for Active {
    fn prepare(&mut self) -> Result<(), Failure> {
        if !self.is_prepared {
            self.peer.prepare(&self.load.order(self.next_counter, Tif::Ioc))?;
            self.is_prepared = true;
        }
        Ok(())
    }

    fn can_send(&self) -> bool {
        self.peer.has_left()
    }

    fn send(&mut self, sent: Sent) -> Result<(), Failure> {
        self.prepare()?;
        self.peer.send()?;
        self.is_prepared = false;
        self.waiting.push_back((self.load.id_of(self.next_counter), sent));
        self.next_counter = self.next_counter.saturating_add(1);
        Ok(())
    }

    fn poll(&mut self, sample: &mut Sample) -> Result<(), Failure> {
        self.take_in(sample)?;
        match self.refused {
            Some(reason) => Err(format!("an order was refused: reason {reason}").into()),
            None => Ok(()),
        }
    }

    fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    fn is_settled(&self) -> bool {
        self.waiting.is_empty() && self.at_broker.is_empty()
    }

    fn sample(&self) -> Sample {
        Sample { legs: self.load.is_taken.then(|| Box::new(Legs::new())), ..Sample::new() }
    }
}

/// Takes in what the broker says of an order that was accepted; what ends it is the last.
fn follow(at_broker: &mut VecDeque<(u64, Sent)>, id: u64, report: &ExecReport, arrived: Instant, sample: &mut Sample) {
    // The broker answers in turn: it is the first, or near it.
    let Some(index) = at_broker.iter().position(|(other, _)| *other == id) else { return };
    let Some((_, sent)) = at_broker.get(index).copied() else { return };
    let since = u64::try_from(arrived.elapsed().as_nanos()).unwrap_or(u64::MAX);
    let arrived_ns = tradecore::clock::utc_ns().saturating_sub(since);
    let told_ns = arrived_ns.saturating_sub(report.broker_time_ns.get());
    let leg = sample.legs.as_mut().map(|legs| match ExecType::from_raw(report.exec_type) {
        Some(ExecType::New) => Some(&mut legs.acknowledged),
        Some(ExecType::Trade) => Some(&mut legs.filled),
        _ => None,
    });
    if let Some(Some(leg)) = leg {
        leg.take(sent, arrived, told_ns);
    }
    if report.leaves_qty.get() == 0 {
        at_broker.remove(index);
    }
}

/// Sessions of which each sends one order in turn.
pub(crate) struct InTurn<'a> {
    active: &'a mut [Active],
    next: usize,
}

impl<'a> InTurn<'a> {
    pub(crate) const fn new(active: &'a mut [Active]) -> Self {
        Self { active, next: 0 }
    }
}

impl Target for InTurn<'_> {
    fn prepare(&mut self) -> Result<(), Failure> {
        self.active.iter_mut().try_for_each(Target::prepare)
    }

    fn can_send(&self) -> bool {
        let turn = self.next.checked_rem(self.active.len()).unwrap_or(0);
        self.active.get(turn).is_none_or(Target::can_send)
    }

    fn send(&mut self, sent: Sent) -> Result<(), Failure> {
        let turn = self.next.checked_rem(self.active.len()).unwrap_or(0);
        self.next = turn.saturating_add(1);
        self.active.get_mut(turn).map_or(Ok(()), |active| active.send(sent))
    }

    fn poll(&mut self, sample: &mut Sample) -> Result<(), Failure> {
        self.active.iter_mut().try_for_each(|active| active.poll(sample))
    }

    fn is_waiting(&self) -> bool {
        self.active.iter().any(Target::is_waiting)
    }
}

/// Tries until the gateway takes an order: the broker is up and the market is there.
pub(crate) fn wait_until_trading(first: &mut Active) -> Result<(), Failure> {
    let mut sample = Sample::new();
    let started = Instant::now();
    let mut last_refusal = None;
    while sample.corrected.is_empty() {
        if first.waiting.is_empty() {
            let now = Instant::now();
            first.send(Sent { planned: now, at: now })?;
        }
        first.take_in(&mut sample)?;
        last_refusal = first.refused.take().or(last_refusal);
        if started.elapsed().as_secs() > 20 {
            return Err(format!("no order was accepted; the last refusal has reason {last_refusal:?}").into());
        }
    }
    Ok(())
}

/// Sends `orders` orders in turn, at a fixed rate, and times each from when it should have left.
pub(crate) fn order_run(active: &mut [Active], rate: u64, orders: u64) -> Result<Sample, Failure> {
    host::pinned(|| pace(&mut InTurn::new(active), rate, orders, Idle::Spin).map_err(|error| error.to_string()))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::timing::RoundTrips;

    #[test]
    fn an_order_is_followed_from_its_acknowledgement_to_its_fill_and_then_no_more() {
        let start = Instant::now();
        let sent = Sent { planned: start, at: start + Duration::from_nanos(100) };
        let mut at_broker: VecDeque<_> = [(7, sent), (8, sent)].into();
        let mut sample = Sample { legs: Some(Box::new(Legs::new())), ..Sample::new() };
        let report = |exec_type: ExecType, leaves_qty| ExecReport {
            exec_type: exec_type.raw(),
            leaves_qty: I64::new(leaves_qty),
            broker_time_ns: U64::new(tradecore::clock::utc_ns()),
            ..ExecReport::default()
        };
        let mut told = |id, exec_type, leaves_qty, nanos| {
            let arrived = start + Duration::from_nanos(nanos);
            follow(&mut at_broker, id, &report(exec_type, leaves_qty), arrived, &mut sample);
            at_broker.len()
        };
        assert_eq!(told(8, ExecType::New, 5, 1_100), 2);
        assert_eq!(told(8, ExecType::Trade, 3, 1_200), 2, "a part");
        assert_eq!(told(8, ExecType::Trade, 0, 1_300), 1);
        assert_eq!(told(8, ExecType::Trade, 0, 1_400), 1, "it is known no more");
        assert_eq!(told(7, ExecType::Expired, 0, 1_500), 0, "it ends unfilled");
        let legs = sample.legs.unwrap();
        let nanos = |times: &RoundTrips| (times.len(), times.min(), times.max());
        let legs = [&legs.acknowledged, &legs.filled].map(|leg| (nanos(&leg.corrected), nanos(&leg.service)));
        assert_eq!(legs, [((1, 1_100, 1_100), (1, 1_000, 1_000)), ((2, 1_200, 1_300), (2, 1_100, 1_200))]);
    }

    #[test]
    fn orders_that_the_market_takes_buy_and_sell_in_turn() {
        let load = Load { is_taken: true, ..Load::default() };
        let order = |counter| (load.order(counter, Tif::Ioc).side, load.order(counter, Tif::Ioc).px.get());
        assert_eq!([order(1), order(2)], [(Side::Buy.raw(), ASK.0), (Side::Sell.raw(), BID.0)]);
        assert!(Load::default().order(1, Tif::Ioc).px.get() < BID.0);
    }
}
