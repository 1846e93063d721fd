//! Text scripts for the exchange: a line a call, `>` lines for the events that it must give, in order.
//!
//! ```text
//! quote 100x5 101x3                  bid x size, ask x size
//! print 100x2 sell                   aggressor sold
//! alice A buy limit gtc 2@101        also: market (no @price), ioc, fok, day, post-only
//! alice A cancel
//! alice A replace R1 3@100
//! at 5000                            time goes to 5000 ns
//! > A trade 2@101 taker cum 2 leaves 0
//! ```

use tradecore::market_data::decimal::{format_money, format_units, parse_px, parse_qty};
use tradecore::market_data::{Quote, Tick, TickKind, TradePrint};
use tradecore::venue::config::{ExchangeConfig, InstrumentConfig};
use tradecore::venue::event::{EventKind, VenueEvent};
use tradecore::venue::exchange::Exchange;
use tradecore::venue::order::{CancelOrder, ClientIndex, NewOrder, ReplaceOrder};
use tradecore::venue::record::{Group, Record};
use tradecore_protocol::fields::{Liquidity, OrdType, Px, Side, Tif};

pub(crate) const SYMBOL: &str = "X";

pub(crate) fn instruments() -> Vec<InstrumentConfig> {
    let (tick_size, lot_size) = (parse_px("0.5").unwrap(), parse_qty("0.1").unwrap());
    vec![InstrumentConfig { symbol: SYMBOL.into(), tick_size, lot_size }]
}

pub(crate) fn config() -> ExchangeConfig {
    ExchangeConfig::new(instruments())
}

/// An exchange, the time, and every group that it has made.
pub(crate) struct Stage {
    pub(crate) exchange: Exchange,
    pub(crate) now_ns: u64,
    pub(crate) groups: Vec<Group>,
    market_id: u64,
}

impl Stage {
    pub(crate) fn new(config: ExchangeConfig) -> Self {
        let mut exchange = Exchange::new(config);
        exchange.start(1);
        Self::with(exchange)
    }

    /// Goes on with an exchange that exists.
    pub(crate) fn with(mut exchange: Exchange) -> Self {
        let groups = exchange.take_groups();
        Self { exchange, now_ns: 1000, groups, market_id: 0 }
    }

    pub(crate) fn client(&mut self, name: &str) -> ClientIndex {
        self.exchange.hello(self.now_ns, &name.into(), 1).unwrap()
    }

    /// Runs a script; panics where an event differs.
    pub(crate) fn run(&mut self, name: &str, script: &str) {
        let lines: Vec<&str> = script.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        let mut index = 0;
        while index < lines.len() {
            let call = lines[index];
            let given = self.call(call);
            let expected: Vec<String> = lines[index + 1..]
                .iter()
                .take_while(|line| line.starts_with('>'))
                .map(|line| line[1..].trim().to_owned())
                .collect();
            assert_eq!(given, expected, "{name}: after `{call}`");
            index += 1 + expected.len();
        }
    }

    /// Makes one call; the events that it gave.
    pub(crate) fn call(&mut self, line: &str) -> Vec<String> {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[0] {
            "at" => {
                self.now_ns = words[1].parse().unwrap();
                self.exchange.advance(self.now_ns);
            }
            "quote" => self.quote(words[1], words[2]),
            "print" => self.print(words[1], words[2] == "sell"),
            client => {
                let client = self.client(client);
                let refused = self.request(client, &words[1..]);
                if let Some(refused) = refused {
                    return vec![format!("{} refused {refused}", words[1])];
                }
            }
        }
        let groups = self.exchange.take_groups();
        let events = events_of(&groups).map(show).collect();
        self.groups.extend(groups);
        events
    }

    fn quote(&mut self, bid: &str, ask: &str) {
        self.market_id += 1;
        let ((bid, bid_qty), (ask, ask_qty)) = (bid.split_once('x').unwrap(), ask.split_once('x').unwrap());
        let kind = TickKind::Quote(Quote {
            bid_px: parse_px(bid).unwrap(),
            bid_qty: parse_qty(bid_qty).unwrap(),
            ask_px: parse_px(ask).unwrap(),
            ask_qty: parse_qty(ask_qty).unwrap(),
            update_id: self.market_id,
        });
        self.exchange.on_tick(self.now_ns, &Tick { recv_ns: self.now_ns, symbol: SYMBOL.into(), kind });
    }

    fn print(&mut self, what: &str, buyer_is_maker: bool) {
        self.market_id += 1;
        let (px, qty) = what.split_once('x').unwrap();
        let (px, qty) = (parse_px(px).unwrap(), parse_qty(qty).unwrap());
        let print = TradePrint { px, qty, trade_id: self.market_id, buyer_is_maker, trade_ts_ms: 0 };
        let kind = TickKind::Trade(print);
        self.exchange.on_tick(self.now_ns, &Tick { recv_ns: self.now_ns, symbol: SYMBOL.into(), kind });
    }

    fn request(&mut self, client: ClientIndex, words: &[&str]) -> Option<String> {
        let now_ns = self.now_ns;
        let result = match words[1] {
            "cancel" => {
                let request = CancelOrder { client_order_id: words[0].into(), request_id: None };
                self.exchange.cancel(now_ns, client, &request)
            }
            "replace" => {
                let (qty, px) = words[3].split_once('@').unwrap();
                let (px, qty) = (parse_px(px).unwrap(), parse_qty(qty).unwrap());
                let (client_order_id, request_id) = (words[0].into(), words[2].into());
                self.exchange.replace(now_ns, client, &ReplaceOrder { client_order_id, request_id, px, qty })
            }
            _ => self.exchange.submit(now_ns, client, &order(words)).map(|_| ()),
        };
        result.err().map(|error| format!("{error:?}"))
    }
}

/// `A buy limit gtc 2@101 [post-only] [symbol]`
pub(crate) fn order(words: &[&str]) -> NewOrder {
    let (qty, px) = match words[4].split_once('@') {
        Some((qty, px)) => (qty, parse_px(px).unwrap()),
        None => (words[4], Px::NONE),
    };
    NewOrder {
        client_order_id: words[0].into(),
        symbol: words.iter().find_map(|w| w.strip_prefix("symbol=")).unwrap_or(SYMBOL).into(),
        side: if words[1] == "buy" { Side::Buy } else { Side::Sell },
        ord_type: if words[2] == "market" { OrdType::Market } else { OrdType::Limit },
        tif: match words[3] {
            "day" => Tif::Day,
            "gtc" => Tif::Gtc,
            "ioc" => Tif::Ioc,
            "fok" => Tif::Fok,
            other => panic!("tif {other}"),
        },
        post_only: words.contains(&"post-only"),
        px,
        qty: parse_qty(qty).unwrap(),
    }
}

pub(crate) fn events_of(groups: &[Group]) -> impl Iterator<Item = &VenueEvent> {
    groups.iter().flat_map(|group| &group.records).filter_map(|record| match record {
        Record::Event { event, .. } => Some(event),
        _ => None,
    })
}

/// An event as scripts write it.
pub(crate) fn show(event: &VenueEvent) -> String {
    let id = event.client_order_id.as_str();
    let text = |units: i64| format_units(units);
    match &event.kind {
        EventKind::New { .. } => format!("{id} new"),
        EventKind::Trade { last_px, last_qty, cum_qty, leaves_qty, fee, liquidity, .. } => {
            let liquidity = if *liquidity == Liquidity::Maker { "maker" } else { "taker" };
            let fee = if fee.0 == 0 { String::new() } else { format!(" fee {}", format_money(*fee)) };
            let (qty, px) = (text(last_qty.0), text(last_px.0));
            format!("{id} trade {qty}@{px} {liquidity} cum {} leaves {}{fee}", text(cum_qty.0), text(leaves_qty.0))
        }
        EventKind::Canceled { reason, cum_qty, .. } => format!("{id} canceled {reason:?} cum {}", text(cum_qty.0)),
        EventKind::Expired { cum_qty } => format!("{id} expired cum {}", text(cum_qty.0)),
        EventKind::Replaced { request_id, px, qty, leaves_qty, priority_kept, .. } => {
            let priority = if *priority_kept { "kept" } else { "lost" };
            format!(
                "{id} replaced {request_id} {}@{} leaves {} {priority}",
                text(qty.0),
                text(px.0),
                text(leaves_qty.0)
            )
        }
        EventKind::Rejected { reason } => format!("{id} rejected {reason:?}"),
        EventKind::CancelRejected { reason, .. } => format!("{id} cancel_rejected {reason:?}"),
        EventKind::ReplaceRejected { reason, request_id } => {
            format!("{id} replace_rejected {request_id} {reason:?}")
        }
    }
}
