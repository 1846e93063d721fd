//! Events into rows: pure, total, and the only place that says what an event means for a table.
//!
//! An event changes rows of several aggregates (a fill: its order, its position, its account). Each is a part of its
//! own: what cannot be taken parks that aggregate, and what is made of it, and nothing else.

mod limits;
mod of;
mod order;
mod part;
mod sagas;

use tradecore_domain::event::{BrokerRef, Event, Meta};
use tradecore_protocol::fields::{BrokerStatus, OrdType, Px, TradingState};

use super::aggregate::Aggregate;
use super::declare::Row as _;
use super::rows::Rows;
use super::tables::{AccountRow, BalanceRow, CoreRow, EventRow, OrderRow, RiskEventRow, SessionRow};

pub use limits::LIMITS;
pub use of::{aggregate_of, order_needed};
pub use sagas::STATES;

use of::image_of;
use order::News;

/// Version of these rules; raised whenever an event makes other rows than before, or one can be taken that could not:
/// tables of another version are made anew.
pub const FOLD_VERSION: u32 = 2;

/// A record of the journal.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    /// Sequence number.
    pub seq: u64,
    /// Journal time, UTC ns.
    pub ts_ns: u64,
    /// Type of the event.
    pub kind: u16,
    /// Version of its type.
    pub version: u8,
    /// Its archive.
    pub payload: &'a [u8],
}

/// Folds one event in.
pub fn fold(rows: &mut Rows, entry: &Entry<'_>, event: Result<&Event, String>) {
    let mut fold = Fold { rows, entry: *entry };
    fold.log(event.as_ref().ok().copied());
    match event {
        Ok(event) => fold.event(event),
        Err(error) => fold.park(Aggregate::Unread(entry.kind), error),
    }
}

/// NUL-padded bytes as text.
fn text_of(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).trim_end_matches('\0').to_owned()
}

struct Fold<'a, 'b> {
    rows: &'a mut Rows,
    entry: Entry<'b>,
}

impl Fold<'_, '_> {
    fn log(&mut self, event: Option<&Event>) {
        let Entry { seq, ts_ns, kind, version, payload } = self.entry;
        let aggregate = event.map_or(Aggregate::Unread(kind), aggregate_of);
        let (aggregate, aggregate_id) = aggregate.to_code();
        let meta = event.map(|event| *event.meta()).unwrap_or_default();
        let epoch = match event {
            Some(Event::CoreStarted(e)) => e.epoch,
            Some(_) | None => self.rows.epoch(),
        };
        let order_id = match event {
            Some(Event::RequestRejected(e)) => e.order_id,
            Some(Event::BrokerContradicted(e)) => e.order_id,
            Some(Event::BrokerFactIgnored(e)) => e.order_id,
            Some(event) => image_of(event).map_or(0, |image| image.order_id),
            None => 0,
        };
        self.rows.new.events.push(EventRow {
            seq,
            epoch,
            ts_ns,
            event: kind,
            version: version.into(),
            aggregate,
            aggregate_id,
            order_id,
            account_id: meta.account_id,
            session_id: meta.session_id,
            correlation_id: meta.correlation_id,
            payload: payload.to_vec(),
        });
    }

    fn event(&mut self, event: &Event) {
        let meta = event.meta();
        let Entry { seq, ts_ns, .. } = self.entry;
        self.note_streams(meta);
        self.saga(event);
        match event {
            Event::CoreStarted(e) => self.start_core(e),
            Event::InstrumentDefined(e) => {
                self.part(Aggregate::Instrument(e.instrument_id), |rows| {
                    Ok(rows.instruments.change(e.instrument_id, |row| {
                        row.instrument_id = e.instrument_id;
                        row.symbol = text_of(&e.symbol);
                        row.currency = text_of(&e.currency);
                        row.tick_size = e.tick_size;
                        row.lot_size = e.lot_size;
                        row.qty_min = e.qty_min;
                        row.order_qty_max = e.order_qty_max;
                        row.order_notional_max = e.order_notional_max;
                        row.collar_ppm = e.collar_ppm;
                        row.quote_age_max_ns = e.quote_age_max_ns;
                        (row.updated_seq, row.updated_ns) = (seq, ts_ns);
                    })?)
                });
                self.limit_instrument(e);
            }
            Event::AccountDefined(e) => {
                let is_new = self.rows.accounts.get(meta.account_id).is_none();
                self.account(meta.account_id, |account, balance| {
                    if is_new {
                        account.trading_state = TradingState::Open.raw().into();
                        balance.cash = e.initial_cash;
                    }
                    account.initial_cash = e.initial_cash;
                    account.position_max = e.position_max;
                    account.open_orders_max = e.open_orders_max;
                    account.rate_max = e.rate_max;
                    account.owner_id = e.owner_id;
                    account.currency = text_of(&e.currency);
                    balance.currency = text_of(&e.currency);
                });
                self.limit_account(e);
            }
            Event::SessionDefined(e) => self.session(meta.session_id, |row| {
                if row.session_epoch != e.session_epoch {
                    (row.last_client_seq, row.next_report_seq) = (0, 1);
                }
                row.session_epoch = e.session_epoch;
                row.role = e.role.into();
                row.cod_mode = e.cod_mode.into();
            }),
            Event::SessionLoggedOn(e) => self.session(meta.session_id, |row| {
                row.connection_no = e.connection_no;
                row.cod_mode = e.cod_mode.into();
                row.cod_window_ms = e.cod_window_ms;
                row.cod_due_ns = 0;
                row.logged_on_ns = ts_ns;
            }),
            Event::SessionEnded(e) => self.session(meta.session_id, |row| {
                row.connection_no = 0;
                row.cod_due_ns = e.cod_due_ns;
                row.cod_all = e.cod_all == 1;
                row.ended_ns = ts_ns;
                row.end_reason = e.reason;
            }),
            Event::OrderAccepted(e) => {
                let worst_px = if e.order.px == Px::NONE.0 { e.market_px } else { e.order.px };
                let fresh = OrderRow {
                    order_id: e.order.order_id,
                    accepted_seq: seq,
                    accepted_ns: ts_ns,
                    recv_time_ns: meta.recv_time_ns,
                    worst_px,
                    new_px: Px::NONE.0,
                    ..OrderRow::default()
                };
                let news = News { exec_id: e.exec_id, ..News::default() };
                self.order(event, &e.order, news, Some(fresh), |_| {});
            }
            Event::OrderRejected(e) => self.risk(event, &|row| {
                row.account_id = e.order.account_id;
                row.instrument_id = e.order.instrument_id;
                row.cl_ord_id = e.order.cl_ord_id;
                (row.reason, row.offered, row.allowed) = (e.reason, e.offered, e.allowed);
            }),
            Event::OrderAcknowledged(e) => {
                self.order(
                    event,
                    &e.order,
                    News { exec_id: e.exec_id, broker: e.broker, ..News::default() },
                    None,
                    |_| {},
                );
            }
            Event::OrderFilled(e) => self.fill(event, e),
            Event::OrderClosed(e) => {
                let news =
                    News { exec_id: e.exec_id, broker: e.broker, req_cl_ord_id: e.req_cl_ord_id, reason: e.reason };
                self.order(event, &e.order, news, None, |_| {});
            }
            Event::CancelRequested(e) => {
                let news =
                    News { exec_id: e.exec_id, req_cl_ord_id: e.req_cl_ord_id, reason: e.reason, ..News::default() };
                self.order(event, &e.order, news, None, |_| {});
            }
            Event::ReplaceRequested(e) => {
                let news = News { exec_id: e.exec_id, req_cl_ord_id: e.req_cl_ord_id, ..News::default() };
                self.order(event, &e.order, news, None, |row| (row.new_px, row.new_qty) = (e.new_px, e.new_qty));
            }
            Event::OrderReplaced(e) => {
                let news =
                    News { exec_id: e.exec_id, broker: e.broker, req_cl_ord_id: e.req_cl_ord_id, ..News::default() };
                self.order(event, &e.order, news, None, |row| row.worst_px = e.order.px);
            }
            Event::ChangeRejected(e) => {
                let news =
                    News { exec_id: e.exec_id, broker: e.broker, req_cl_ord_id: e.req_cl_ord_id, reason: e.reason };
                self.order(event, &e.order, news, None, |_| {});
                self.risk(event, &|row| {
                    row.account_id = e.order.account_id;
                    row.instrument_id = e.order.instrument_id;
                    (row.order_id, row.cl_ord_id, row.reason) = (e.order.order_id, e.req_cl_ord_id, e.reason);
                });
            }
            Event::OrderInDoubt(e) => {
                let news = News { exec_id: e.exec_id, reason: e.reason, ..News::default() };
                self.order(event, &e.order, news, None, |_| {});
                self.risk(event, &|row| {
                    row.account_id = e.order.account_id;
                    row.instrument_id = e.order.instrument_id;
                    (row.order_id, row.cl_ord_id, row.reason) = (e.order.order_id, e.order.cl_ord_id, e.reason);
                });
            }
            Event::OrderRestated(e) => {
                let news = News { exec_id: e.exec_id, broker: e.broker, ..News::default() };
                self.order(event, &e.order, news, None, |row| {
                    if e.order.ord_type != OrdType::Market.raw() {
                        row.worst_px = e.order.px;
                    }
                });
            }
            Event::RequestRejected(e) => self.risk(event, &|row| {
                (row.order_id, row.cl_ord_id) = (e.order_id, e.req_cl_ord_id);
                (row.reason, row.offered, row.allowed) = (e.reason, e.offered, e.allowed);
            }),
            Event::BrokerContradicted(e) => {
                self.note_cursor(e.broker);
                self.risk(event, &|row| {
                    (row.order_id, row.instrument_id, row.reason) = (e.order_id, e.instrument_id, e.reason);
                    (row.offered, row.allowed) = (0, 0);
                });
            }
            Event::BrokerFactIgnored(e) => self.note_cursor(e.broker),
            Event::BrokerStatusChanged(e) => {
                let epoch = self.rows.epoch();
                // Rows of older connections may have left the memory: the core's tells whether this is another one.
                let is_other = self.rows.cores.iter().all(|(_, core)| core.broker_connection_no != e.connection_no);
                if is_other {
                    self.end_connection();
                }
                self.core(|row| {
                    row.broker_status = e.status.into();
                    row.broker_connection_no = e.connection_no;
                });
                self.part(Aggregate::Core, |rows| {
                    Ok(rows.connections.change((epoch, e.connection_no), |row| {
                        row.since_ns = if is_other || row.updated_seq == 0 { ts_ns } else { row.since_ns };
                        (row.epoch, row.connection_no, row.status) = (epoch, e.connection_no, e.status.into());
                        (row.updated_seq, row.updated_ns) = (seq, ts_ns);
                    })?)
                });
            }
            Event::MassCancelAccepted(e) => {
                if e.target_session_id != 0 {
                    self.session(e.target_session_id, |row| {
                        row.is_locked_out = match e.lockout {
                            1 => true,
                            2 => false,
                            _ => row.is_locked_out,
                        };
                        // A session that is due has its mass cancel now.
                        row.cod_due_ns = if meta.client_seq == 0 { 0 } else { row.cod_due_ns };
                    });
                }
                self.part(Aggregate::MassCancel(e.mass_cancel_id), |rows| {
                    Ok(rows.mass_cancels.change(e.mass_cancel_id, |row| {
                        row.mass_cancel_id = e.mass_cancel_id;
                        row.request_id = e.request_id;
                        row.session_id = meta.session_id;
                        row.target_session_id = e.target_session_id;
                        row.account_id = e.account_id;
                        row.instrument_id = e.instrument_id;
                        row.strategy_id = e.strategy_id;
                        row.side = e.side.into();
                        row.is_flagged_only = e.flagged_only == 1;
                        row.lockout = e.lockout.into();
                        row.order_id_max = e.order_id_max;
                        row.reason = e.reason;
                        row.accepted_ns = ts_ns;
                        (row.cancel_requested, row.already_pending, row.is_completed) = (0, 0, false);
                        (row.updated_seq, row.updated_ns) = (seq, ts_ns);
                    })?)
                });
            }
            Event::MassCancelProgressed(e) => {
                self.mass_cancel(e.mass_cancel_id, (e.cancel_requested, e.already_pending), false);
            }
            Event::MassCancelCompleted(e) => {
                self.mass_cancel(e.mass_cancel_id, (e.cancel_requested, e.already_pending), true);
            }
            Event::KillSwitchChanged(e) => {
                let is_engaged = e.engaged == 1;
                self.core(|row| row.kill_epoch = e.kill_epoch);
                if meta.account_id != 0 {
                    self.account(meta.account_id, |account, _| account.is_killed = is_engaged);
                }
                let of = if meta.account_id == 0 { Aggregate::Core } else { Aggregate::Account(meta.account_id) };
                self.part(of, |rows| {
                    Ok(rows.kill_switches.change(meta.account_id, |row| {
                        row.account_id = meta.account_id;
                        row.is_engaged = is_engaged;
                        row.kill_epoch = e.kill_epoch;
                        row.operator_tag = text_of(&e.operator_tag);
                        (row.session_id, row.request_id) = (meta.session_id, e.request_id);
                        (row.updated_seq, row.updated_ns) = (seq, ts_ns);
                    })?)
                });
                let words = format!(
                    "kill switch {}: {}",
                    if is_engaged { "engaged" } else { "released" },
                    text_of(&e.operator_tag)
                );
                self.risk(event, &|row| row.text.clone_from(&words));
            }
            Event::TradingStateChanged(e) => {
                match meta.account_id {
                    0 => self.core(|row| (row.trading_state, row.trading_reason) = (e.state.into(), e.reason)),
                    account_id => self.account(account_id, |account, _| {
                        (account.trading_state, account.trading_reason) = (e.state.into(), e.reason);
                    }),
                }
                self.risk(event, &|row| (row.trading_state, row.reason) = (e.state.into(), e.reason));
            }
            Event::DoubtSearchProgressed(_) | Event::OperatorNoted(_) => {}
        }
    }

    /// The connection to the broker that was known last is over: its process ended, or another has begun.
    fn end_connection(&mut self) {
        let Entry { seq, ts_ns, .. } = self.entry;
        let down = BrokerStatus::Down.raw().into();
        let last = self.rows.cores.iter().next().map(|(_, core)| (core.epoch, core.broker_connection_no));
        let is_up = |key: &(u32, u64)| self.rows.connections.get(*key).is_some_and(|row| row.status != down);
        let Some(key) = last.filter(is_up) else { return };
        self.part(Aggregate::Core, |rows| {
            Ok(rows.connections.change(key, |row| {
                row.status = down;
                (row.updated_seq, row.updated_ns) = (seq, ts_ns);
            })?)
        });
    }

    fn start_core(&mut self, e: &tradecore_domain::event::CoreStarted) {
        let Entry { seq, ts_ns, .. } = self.entry;
        self.end_connection();
        self.part(Aggregate::Core, |rows| {
            Ok(rows.cores.change(e.core.into(), |row| {
                if row.epoch == 0 {
                    row.trading_state = TradingState::Open.raw().into();
                }
                row.core_id = e.core.into();
                row.environment = e.environment.into();
                row.durability = e.durability.into();
                row.epoch = e.epoch;
                row.started_ns = ts_ns;
                row.broker_status = BrokerStatus::Down.raw().into();
                row.broker_connection_no = 0;
                (row.updated_seq, row.updated_ns) = (seq, ts_ns);
            })?)
        });
        // Connections are counted from 1 again.
        let connected: Vec<u32> =
            self.rows.sessions.iter().filter(|(_, row)| row.connection_no != 0).map(|(id, _)| id).collect();
        for session_id in connected {
            self.session(session_id, |row| row.connection_no = 0);
        }
    }

    fn core(&mut self, change: impl FnOnce(&mut CoreRow)) {
        let Entry { seq, ts_ns, .. } = self.entry;
        let Some(core_id) = self.rows.cores.iter().next().map(|(core_id, _)| core_id) else { return };
        self.part(Aggregate::Core, |rows| {
            Ok(rows.cores.change(core_id, |row| {
                change(row);
                (row.updated_seq, row.updated_ns) = (seq, ts_ns);
            })?)
        });
    }

    fn note_cursor(&mut self, broker: BrokerRef) {
        let is_news = |row: &CoreRow| broker.broker_seq > row.broker_cursor;
        if self.rows.cores.iter().any(|(_, row)| is_news(row)) {
            self.core(|row| row.broker_cursor = broker.broker_seq);
        }
    }

    fn note_streams(&mut self, meta: &Meta) {
        if meta.session_id == 0 || (meta.client_seq, meta.report_seq) == (0, 0) {
            return;
        }
        self.session(meta.session_id, |row| {
            if meta.client_seq != 0 {
                row.last_client_seq = meta.client_seq;
            }
            if meta.report_seq != 0 {
                row.next_report_seq = meta.report_seq.saturating_add(1);
            }
        });
    }

    fn session(&mut self, session_id: u32, change: impl FnOnce(&mut SessionRow)) {
        let Entry { seq, ts_ns, .. } = self.entry;
        self.part(Aggregate::Session(session_id), |rows| {
            Ok(rows.sessions.change(session_id, |row| {
                row.session_id = session_id;
                change(row);
                (row.updated_seq, row.updated_ns) = (seq, ts_ns);
            })?)
        });
    }

    fn mass_cancel(&mut self, id: u64, (cancel_requested, already_pending): (u32, u32), is_completed: bool) {
        let Entry { seq, ts_ns, .. } = self.entry;
        self.part(Aggregate::MassCancel(id), |rows| {
            Ok(rows.mass_cancels.change(id, |row| {
                row.mass_cancel_id = id;
                (row.cancel_requested, row.already_pending) = (cancel_requested, already_pending);
                row.is_completed = is_completed;
                (row.updated_seq, row.updated_ns) = (seq, ts_ns);
            })?)
        });
    }

    /// Changes an account and its balance, both or neither.
    fn account(&mut self, account_id: u32, change: impl FnOnce(&mut AccountRow, &mut BalanceRow)) {
        let Entry { seq, ts_ns, .. } = self.entry;
        self.part(Aggregate::Account(account_id), |rows| {
            let mut account = rows.accounts.get(account_id).cloned().unwrap_or_default();
            let mut balance = rows.balances.get(account_id).cloned().unwrap_or_default();
            (account.account_id, balance.account_id) = (account_id, account_id);
            change(&mut account, &mut balance);
            balance.buying_power = balance.cash.saturating_sub(balance.reserved);
            (account.updated_seq, account.updated_ns) = (seq, ts_ns);
            (balance.updated_seq, balance.updated_ns) = (seq, ts_ns);
            account.check()?;
            balance.check()?;
            rows.accounts.put(account_id, account);
            rows.balances.put(account_id, balance);
            Ok(())
        });
    }

    fn risk(&mut self, event: &Event, say: &dyn Fn(&mut RiskEventRow)) {
        let Entry { seq, ts_ns, kind, .. } = self.entry;
        let meta = event.meta();
        let mut row = RiskEventRow {
            seq,
            ts_ns,
            event: kind,
            account_id: meta.account_id,
            session_id: meta.session_id,
            ..RiskEventRow::default()
        };
        say(&mut row);
        if row.text.is_empty() {
            let words = crate::egress::text::of(row.reason, row.offered, row.allowed);
            words.as_str().clone_into(&mut row.text);
        }
        self.rows.new.risk_events.push(row);
    }
}
