//! A broker that takes no time, inside the gateway's process, behind the same rings as any adapter: every order gets to
//! its book at once, what the market takes is filled there, other orders that are immediate-or-cancel end unfilled, and every
//! cancel is done.
//!
//! It looks at its ring a few thousand times a second and is never rung awake: the loop pays for a wake-up of no one.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tradecore::brokers::{AgedQuote, Inbound, Instruction, Link, SubmitOrder};
use tradecore_domain::command::{BrokerFact, FactKind};
use tradecore_domain::market::Quote;
use tradecore_protocol::fields::{BrokerStatus, InstrumentId, OrderId, Px, Qty, Side, Tif};

/// From one look at the ring to the next, when it was empty; the ring holds more than comes meanwhile.
const LOOK_INTERVAL: Duration = Duration::from_micros(500);
/// From one quote to the next: often enough for orders to be checked against a fresh one.
const QUOTE_INTERVAL: Duration = Duration::from_secs(5);
const UNIT: i64 = 1_000_000_000;
/// The market, in every instrument.
pub(crate) const BID: Px = Px(60_000 * UNIT);
pub(crate) const ASK: Px = Px(60_001 * UNIT);

/// True for a limit order that the market takes.
pub(crate) fn is_taken(side: Side, px: Px) -> bool {
    match side {
        Side::Buy => px >= ASK,
        Side::Sell => px <= BID,
    }
}

/// Serves a link until it is stopped, with a market in each of these instruments.
pub(crate) fn serve(link: Arc<Link>, instruments: Vec<u32>) {
    let mut broker = Instantly { link, broker_seq: 0 };
    broker.tell(Inbound::Status { status: BrokerStatus::Syncing, connection_no: 1 });
    let mut quoted_at: Option<Instant> = None;
    while !broker.link.stop.load(Ordering::Acquire) {
        if quoted_at.is_none_or(|at| at.elapsed() >= QUOTE_INTERVAL) {
            quoted_at = Some(Instant::now());
            for id in &instruments {
                // A full ring holds one that is as good.
                let _ = broker.link.quotes.push(quote(InstrumentId(*id)));
            }
        }
        match broker.link.instructions.pop() {
            Some(instruction) => {
                broker.obey(instruction);
                broker.link.settled.fetch_add(1, Ordering::Release);
            }
            None => std::thread::sleep(LOOK_INTERVAL),
        }
    }
}

struct Instantly {
    link: Arc<Link>,
    broker_seq: u64,
}

impl Instantly {
    fn obey(&mut self, instruction: Instruction) {
        match instruction {
            Instruction::Submit(SubmitOrder { order_id, tif, side, px, order_qty, .. }) => {
                self.fact(order_id, FactKind::Acknowledged);
                if is_taken(side, px) {
                    let broker_exec_id = self.broker_seq.saturating_add(1);
                    let (last_px, last_qty, fee, liquidity) = (px, order_qty, 0, None);
                    self.fact(order_id, FactKind::Trade { broker_exec_id, last_px, last_qty, fee, liquidity });
                } else if tif == Tif::Ioc {
                    self.fact(order_id, FactKind::Expired);
                }
            }
            Instruction::Cancel { order_id } => self.fact(order_id, FactKind::Canceled { requested: true }),
            Instruction::Replace { order_id, px, total_qty, .. } => {
                self.fact(order_id, FactKind::Replaced { px, total_qty });
            }
            Instruction::Query { order_id } => self.fact(order_id, FactKind::NotFound),
            Instruction::EndOfQueries { connection_no } => {
                self.tell(Inbound::Status { status: BrokerStatus::Ready, connection_no });
            }
        }
    }

    fn fact(&mut self, order_id: OrderId, kind: FactKind) {
        self.broker_seq = self.broker_seq.saturating_add(1);
        self.tell(Inbound::Fact(BrokerFact {
            order_id,
            broker_seq: self.broker_seq,
            broker_order_id: order_id.0,
            broker_time_ns: tradecore::clock::utc_ns(),
            kind,
        }));
    }

    /// No fact is dropped: while the ring is full, nothing else is done.
    fn tell(&self, inbound: Inbound) {
        let mut inbound = inbound;
        while let Err(back) = self.link.inbound.push(inbound) {
            if self.link.stop.load(Ordering::Acquire) {
                return;
            }
            inbound = back;
            std::thread::yield_now();
        }
    }
}

fn quote(instrument_id: InstrumentId) -> AgedQuote {
    let quote = Quote { bid_px: BID, bid_qty: Qty(UNIT), ask_px: ASK, ask_qty: Qty(UNIT), time_ns: 0, md_seq: 0 };
    AgedQuote { instrument_id, quote, age_ns: 0 }
}

#[cfg(test)]
mod tests {
    use tradecore_protocol::fields::{AccountId, OrdType};

    use super::*;

    #[test]
    fn an_order_rests_ends_or_is_filled_at_once_and_a_cancel_is_done() {
        let link = Arc::new(Link::new(16, 16, 16, 1).unwrap());
        let mut broker = Instantly { link: Arc::clone(&link), broker_seq: 0 };
        let submit = |tif, px| {
            Instruction::Submit(SubmitOrder {
                order_id: OrderId(7),
                account_id: AccountId(1),
                instrument_id: InstrumentId(1),
                side: Side::Buy,
                ord_type: OrdType::Limit,
                tif,
                post_only: false,
                px,
                order_qty: Qty(UNIT),
                kill_epoch: 0,
                valid_until_ns: 0,
            })
        };
        broker.obey(submit(Tif::Gtc, Px(UNIT)));
        broker.obey(Instruction::Cancel { order_id: OrderId(7) });
        broker.obey(submit(Tif::Ioc, Px(ASK.0 - 1)));
        broker.obey(submit(Tif::Ioc, ASK));
        let mut told = Vec::new();
        while let Some(Inbound::Fact(fact)) = link.inbound.pop() {
            told.push((fact.broker_seq, fact.kind));
        }
        let (last_px, last_qty) = (ASK, Qty(UNIT));
        let expected = [
            FactKind::Acknowledged,
            FactKind::Canceled { requested: true },
            FactKind::Acknowledged,
            FactKind::Expired,
            FactKind::Acknowledged,
            FactKind::Trade { broker_exec_id: 6, last_px, last_qty, fee: 0, liquidity: None },
        ];
        assert_eq!(told, (1..).zip(expected).collect::<Vec<_>>());
    }
}
