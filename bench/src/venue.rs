//! A venue that takes no time: every order is acknowledged and ends at once, filled if the market takes it. What is measured is the
//! gateway, so the other side of its broker's connection costs as little as its protocol allows.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use tradecore::venue::event::{CancelReason, EventKind, RequestError, VenueEvent};
use tradecore::venue::order::{NewOrder, VenueOrderId};
use tradecore::venue::wire::{ErrorReply, Message, QuoteMessage, Reply, Request};
use tradecore_protocol::fields::{Liquidity, Money, Qty};

use crate::Failure;
use crate::instant::{ASK, BID, is_taken};

/// From one quote to the next: often enough for orders to be checked against a fresh one.
const QUOTE_INTERVAL: Duration = Duration::from_secs(5);
const UNIT: i64 = 1_000_000_000;

/// Serves one gateway after another on a port that it prints.
pub(crate) fn serve(cpu: Option<usize>) -> Result<(), Failure> {
    if let Some(cpu) = cpu {
        tradecore::affinity::pin(cpu)?;
    }
    let listener = TcpListener::bind("127.0.0.1:0")?;
    println!("{}", listener.local_addr()?);
    let mut told = Told::default();
    loop {
        let (stream, _) = listener.accept()?;
        if let Err(error) = told.serve(stream) {
            eprintln!("the venue of the measurement: {error}");
        }
    }
}

/// What has been told, and with which numbers.
#[derive(Default)]
struct Told {
    event_seq: u64,
    orders: u64,
}

impl Told {
    fn serve(&mut self, stream: TcpStream) -> Result<(), Failure> {
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(QUOTE_INTERVAL))?;
        let mut writer = stream.try_clone()?;
        let mut reader = BufReader::new(stream);
        let (mut line, mut out) = (Vec::new(), Vec::new());
        let mut is_subscribed = false;
        let mut quoted_at = Instant::now();
        loop {
            match reader.read_until(b'\n', &mut line) {
                Ok(0) => return Ok(()),
                Ok(_) => {
                    let request: Request = serde_json::from_slice(&line)?;
                    line.clear();
                    let subscribes = request.subscribe_quotes.is_some();
                    self.answer(request, &mut out)?;
                    if subscribes {
                        is_subscribed = true;
                        put(&mut out, &quote())?;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error.into()),
            }
            if is_subscribed && quoted_at.elapsed() >= QUOTE_INTERVAL {
                quoted_at = Instant::now();
                put(&mut out, &quote())?;
            }
            // Requests that have come together are answered together.
            if reader.buffer().is_empty() {
                writer.write_all(&out)?;
                out.clear();
            }
        }
    }

    fn answer(&mut self, request: Request, out: &mut Vec<u8>) -> Result<(), Failure> {
        let mut reply = Reply::default();
        if request.hello.is_some() {
            reply.last_event_seq = Some(self.event_seq);
        }
        if request.query.is_some() {
            let error = ErrorReply { code: RequestError::UnknownOrder, text: "all orders have ended".to_owned() };
            return put(out, &Message { req: Some(request.req), error: Some(error), ..Message::default() });
        }
        let submit = request.submit;
        if submit.is_some() {
            self.orders = self.orders.saturating_add(1);
            reply.venue_order_id = Some(VenueOrderId(self.orders));
        }
        put(out, &Message { req: Some(request.req), ok: Some(reply), ..Message::default() })?;
        if let Some(order) = submit {
            self.tell(out, &order, EventKind::New { order: order.clone() })?;
            let end = if is_taken(order.side, order.px) {
                EventKind::Trade {
                    exec_id: self.orders,
                    last_px: order.px,
                    last_qty: order.qty,
                    cum_qty: order.qty,
                    leaves_qty: Qty(0),
                    fee: Money(0),
                    liquidity: Liquidity::Taker,
                }
            } else {
                EventKind::Canceled { reason: CancelReason::IocRemainder, cum_qty: Qty(0), request_id: None }
            };
            self.tell(out, &order, end)?;
        }
        Ok(())
    }

    fn tell(&mut self, out: &mut Vec<u8>, order: &NewOrder, kind: EventKind) -> Result<(), Failure> {
        self.event_seq = self.event_seq.saturating_add(1);
        let event = VenueEvent {
            event_seq: self.event_seq,
            venue_order_id: VenueOrderId(self.orders),
            client_order_id: order.client_order_id.clone(),
            venue_time_ns: tradecore::clock::utc_ns(),
            kind,
        };
        put(out, &Message { event: Some(event), ..Message::default() })
    }
}

fn quote() -> Message {
    Message {
        quote: Some(QuoteMessage {
            symbol: "BTCUSDT".into(),
            bid: BID,
            bid_qty: Qty(UNIT),
            ask: ASK,
            ask_qty: Qty(UNIT),
            ts_ns: tradecore::clock::utc_ns(),
        }),
        ..Message::default()
    }
}

fn put(out: &mut Vec<u8>, message: &Message) -> Result<(), Failure> {
    serde_json::to_writer(&mut *out, message)?;
    out.push(b'\n');
    Ok(())
}
