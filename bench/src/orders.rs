//! Sessions that send orders, and wait for the gateway's own acceptance of each.

use std::collections::VecDeque;
use std::time::Instant;

use tradecore_protocol::fields::{ClOrdId, OrdType, Px, Qty, Side, Tif};
use tradecore_protocol::frame::Frame;
use tradecore_protocol::messages::{ExecReport, NewOrder, RequestReject};
use tradecore_protocol::wire::{I64, U32, U64};

use crate::Failure;
use crate::host;
use crate::pace::{Idle, Sample, Sent, Target, pace};
use crate::peer::Peer;
use crate::timing::RoundTrips;

/// Orders that may wait for their acceptance before the queue of them grows.
const WAITING: usize = 1024;

/// What a session sends.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    /// Instruments, one after the other from 1.
    pub(crate) instruments: u32,
    /// Orders of one client epoch: fewer than the share of ids that the session has.
    pub(crate) epoch_ids: u64,
}

impl Default for Load {
    /// One instrument, and epochs that fit the share that a session has among a thousand.
    fn default() -> Self {
        Self { instruments: 1, epoch_ids: 100 }
    }
}

impl Load {
    /// The id of an order.
    pub(crate) fn id_of(self, counter: u64) -> u64 {
        let epoch = counter.checked_div(self.epoch_ids).unwrap_or(0);
        ClOrdId::new(u16::try_from(epoch).unwrap_or(u16::MAX).saturating_add(1), counter).0
    }

    /// An order that the market will not take.
    pub(crate) fn order(self, counter: u64, tif: Tif) -> NewOrder {
        let turn = counter.checked_rem(u64::from(self.instruments)).unwrap_or(0);
        NewOrder {
            cl_ord_id: U64::new(self.id_of(counter)),
            px: I64::new(Px(10_000 * 1_000_000_000).0),
            qty: I64::new(Qty(1_000_000).0),
            instrument_id: U32::new(u32::try_from(turn).unwrap_or(0).saturating_add(1)),
            account_id: U32::new(1),
            side: Side::Buy.raw(),
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
        let waiting = VecDeque::with_capacity(WAITING);
        Ok(Self { peer, load, next_counter, waiting, is_prepared: false, refused: None })
    }

    /// Why an order was refused.
    #[cfg(feature = "kafka")]
    pub(crate) const fn refusal(&self) -> Option<u16> {
        self.refused
    }

    /// Takes in reports; the first of each order is its acceptance.
    fn take_in(&mut self, sample: &mut Sample) -> Result<(), Failure> {
        let (waiting, refused) = (&mut self.waiting, &mut self.refused);
        self.peer.poll(&mut |frame: &Frame<'_>, arrived| match frame.header.template_id {
            ExecReport::TEMPLATE_ID => {
                let Ok(report) = frame.read::<ExecReport>() else { return };
                if waiting.front().is_some_and(|(id, _)| *id == report.cl_ord_id.get())
                    && let Some((_, sent)) = waiting.pop_front()
                {
                    sample.answered(sent, arrived);
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
    /// An order that the market will not take.
    fn prepare(&mut self) -> Result<(), Failure> {
        if !self.is_prepared {
            self.peer.prepare(&self.load.order(self.next_counter, Tif::Ioc))?;
            self.is_prepared = true;
        }
        Ok(())
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
pub(crate) fn order_run(active: &mut [Active], rate: u64, orders: u64) -> Result<RoundTrips, Failure> {
    host::pinned(|| {
        let sample = pace(&mut InTurn::new(active), rate, orders, Idle::Spin).map_err(|error| error.to_string())?;
        Ok(sample.corrected)
    })
}
