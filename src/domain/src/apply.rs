//! Events into state: total, without rules, without effects. An assignment to anything in `State` stands here.

use tradecore_protocol::fields::{ClOrdId, Money, OrdType, OrderId, Px, Qty, Side};

use crate::event::{Event, Meta, OrderImage};
use crate::order::{Exposure, Order, is_closed};
use crate::state::{IdEntry, MassCancelState, NIL, State, holds, knows};

/// Ids of closed client epochs that are forgotten with each new one.
const RECLAIMED_PER_ID: usize = 4;

/// Folds an event into the state.
pub fn apply(state: &mut State, event: &Event) {
    let meta = event.meta();
    note_streams(state, meta);
    match event {
        Event::CoreStarted(e) => {
            state.epoch = e.epoch;
            state.next_order = 1;
            state.next_exec = 1;
            state.broker_status = tradecore_protocol::fields::BrokerStatus::Down.raw();
            // Connections are counted from 1 again.
            state.broker_connection_no = 0;
            state.doubt_search = Some(0);
            for session in &mut state.sessions {
                session.connection_no = 0;
            }
        }
        Event::InstrumentDefined(e) => {
            if let Some(place) = state.instruments.get_mut(e.instrument_id as usize) {
                *place = Some(*e);
            }
        }
        Event::AccountDefined(e) => {
            if let Some(account) = state.accounts.get_mut(meta.account_id as usize) {
                if !account.is_defined {
                    account.is_defined = true;
                    account.cash = e.initial_cash;
                }
                account.initial_cash = e.initial_cash;
                account.position_max = e.position_max;
                account.open_orders_max = e.open_orders_max;
                account.rate_max = e.rate_max;
                account.currency = e.currency;
                account.owner_id = e.owner_id;
            }
        }
        Event::SessionDefined(e) => {
            if let Some(session) = state.sessions.get_mut(meta.session_id as usize) {
                if !session.is_defined() {
                    state.sessions_count = state.sessions_count.saturating_add(1);
                    session.ids_head = NIL;
                    session.ids_tail = NIL;
                }
                // A new epoch starts the streams and the client epochs anew, and nothing else: a lock-out stays
                // engaged, a cancel-on-disconnect armed, and the ids that are known until the first order comes.
                if session.session_epoch != e.session_epoch {
                    session.last_client_seq = 0;
                    session.next_report_seq = 1;
                    session.client_epoch = 0;
                }
                session.session_epoch = e.session_epoch;
                session.role = e.role;
                session.cod_mode = e.cod_mode;
            }
        }
        Event::SessionLoggedOn(e) => {
            if let Some(session) = state.sessions.get_mut(meta.session_id as usize) {
                disarm(&mut state.cod_armed, session);
                session.connection_no = e.connection_no;
                session.cod_mode = e.cod_mode;
                session.cod_window_ms = e.cod_window_ms;
            }
        }
        Event::SessionEnded(e) => {
            if let Some(session) = state.sessions.get_mut(meta.session_id as usize) {
                disarm(&mut state.cod_armed, session);
                session.connection_no = 0;
                session.cod_due_ns = e.cod_due_ns;
                session.cod_all = e.cod_all == 1;
                state.cod_armed = state.cod_armed.saturating_add(u32::from(e.cod_due_ns != 0));
            }
        }
        Event::OrderAccepted(e) => accept(state, meta, e),
        Event::OrderRejected(e) => {
            let (session, id) = (meta.session_id, ClOrdId(e.order.cl_ord_id));
            let (place, is_new) = remember(state, session, id, e.content_hash, e.reason, NIL);
            if let Some(ended) = state.ended.get_mut(place as usize).filter(|_| is_new) {
                *ended = e.order;
            }
        }
        Event::OrderAcknowledged(e) => change(state, &e.order, e.exec_id, e.broker.broker_seq, |_| {}),
        Event::OrderFilled(e) => {
            change(state, &e.order, e.exec_id, e.broker.broker_seq, |_| {});
            fill(state, &e.order, e.last_px, e.last_qty, e.fee);
            state.executions.remember(e.broker_exec_id, e.order.order_id);
        }
        Event::OrderClosed(e) => change(state, &e.order, e.exec_id, e.broker.broker_seq, |_| {}),
        Event::CancelRequested(e) => change(state, &e.order, e.exec_id, 0, |order| {
            order.cancel_id = e.req_cl_ord_id;
            order.cancel_reason = e.reason;
        }),
        Event::ReplaceRequested(e) => {
            change(state, &e.order, e.exec_id, 0, |order| {
                order.replace_id = e.req_cl_ord_id;
                order.new_px = e.new_px;
                order.new_qty = e.new_qty;
            });
            count_rate(state, meta);
        }
        Event::OrderReplaced(e) => {
            change(state, &e.order, e.exec_id, e.broker.broker_seq, |order| order.worst_px = e.order.px);
        }
        Event::ChangeRejected(e) => change(state, &e.order, e.exec_id, e.broker.broker_seq, |_| {}),
        Event::OrderInDoubt(e) => change(state, &e.order, e.exec_id, 0, |_| {}),
        Event::OrderRestated(e) => {
            let is_market = e.order.ord_type == OrdType::Market.raw();
            change(state, &e.order, e.exec_id, e.broker.broker_seq, |order| {
                if !is_market {
                    order.worst_px = e.order.px;
                }
            });
        }
        Event::RequestRejected(_) => {}
        Event::BrokerContradicted(e) => note_cursor(state, e.broker.broker_seq),
        Event::BrokerFactIgnored(e) => note_cursor(state, e.broker.broker_seq),
        Event::BrokerStatusChanged(e) => {
            state.broker_status = e.status;
            state.broker_connection_no = e.connection_no;
            if e.status == tradecore_protocol::fields::BrokerStatus::Down.raw() {
                state.doubt_search = Some(0);
            }
        }
        Event::MassCancelAccepted(e) => {
            let locked = match e.lockout {
                1 => Some(true),
                2 => Some(false),
                _ => None,
            };
            let session = state.sessions.get_mut(e.target_session_id as usize);
            if let (Some(locked), Some(session)) = (locked, session) {
                session.is_locked_out = locked;
            }
            // A session that is due has its mass cancel now.
            if let Some(session) = state.sessions.get_mut(e.target_session_id as usize)
                && meta.client_seq == 0
            {
                disarm(&mut state.cod_armed, session);
            }
            state.next_mass_cancel = e.mass_cancel_id.saturating_add(1);
            state.mass_cancels.push_back(MassCancelState {
                id: e.mass_cancel_id,
                request_id: e.request_id,
                requester: meta.session_id,
                order_id_max: e.order_id_max,
                account_id: e.account_id,
                instrument_id: e.instrument_id,
                target_session_id: e.target_session_id,
                strategy_id: e.strategy_id,
                side: e.side,
                flagged_only: e.flagged_only == 1,
                reason: e.reason,
                next_slot: 0,
                cancel_requested: 0,
                already_pending: 0,
            });
        }
        Event::MassCancelProgressed(e) => {
            if let Some(one) = state.mass_cancels.iter_mut().find(|one| one.id == e.mass_cancel_id) {
                one.next_slot = e.next_slot;
                one.cancel_requested = e.cancel_requested;
                one.already_pending = e.already_pending;
            }
        }
        Event::MassCancelCompleted(e) => state.mass_cancels.retain(|one| one.id != e.mass_cancel_id),
        Event::KillSwitchChanged(e) => {
            state.kill_epoch = e.kill_epoch;
            match state.accounts.get_mut(meta.account_id as usize) {
                Some(account) if meta.account_id != 0 => account.is_killed = e.engaged == 1,
                Some(_) | None => state.is_killed = e.engaged == 1,
            }
        }
        Event::TradingStateChanged(e) => match state.accounts.get_mut(meta.account_id as usize) {
            Some(account) if meta.account_id != 0 => account.trading_state = e.state,
            Some(_) | None => state.trading_state = e.state,
        },
        Event::OperatorNoted(_) => {}
        Event::DoubtSearchProgressed(e) => {
            state.doubt_search = (e.done == 0).then_some(e.next_slot);
        }
    }
}

fn note_streams(state: &mut State, meta: &Meta) {
    if meta.report_no != 0 {
        state.next_report_no = meta.report_no.saturating_add(1);
    }
    if let Some(session) = state.sessions.get_mut(meta.session_id as usize) {
        if meta.client_seq != 0 {
            session.last_client_seq = meta.client_seq;
        }
        if meta.report_seq != 0 {
            session.next_report_seq = meta.report_seq.saturating_add(1);
        }
    }
}

fn note_cursor(state: &mut State, broker_seq: u64) {
    state.broker_cursor = state.broker_cursor.max(broker_seq);
}

fn disarm(cod_armed: &mut u32, session: &mut crate::session::Session) {
    *cod_armed = cod_armed.saturating_sub(u32::from(session.cod_due_ns != 0));
    session.cod_due_ns = 0;
}

fn count_rate(state: &mut State, meta: &Meta) {
    if let Some(account) = state.accounts.get_mut(meta.account_id as usize) {
        let second = meta.recv_time_ns / 1_000_000_000;
        if account.rate_second != second {
            account.rate_second = second;
            account.rate_count = 0;
        }
        account.rate_count = account.rate_count.saturating_add(1);
    }
}

const fn counter_of(id: u64) -> u64 {
    id & ((1 << tradecore_protocol::fields::ID_COUNTER_BITS) - 1)
}

fn accept(state: &mut State, meta: &Meta, e: &crate::event::OrderAccepted) {
    state.next_order = counter_of(e.order.order_id).saturating_add(1);
    note_exec(state, e.exec_id);
    count_rate(state, meta);
    let slot = state.take_order_place();
    let (session, id) = (meta.session_id, ClOrdId(e.order.cl_ord_id));
    let (id_place, _) = remember(state, session, id, e.content_hash, 0, slot);
    let worst_px = if e.order.px == Px::NONE.0 { e.market_px } else { e.order.px };
    let order = Order { image: e.order, worst_px, id_place, ..Order::default() };
    if let Some(place) = state.orders.get_mut(slot as usize) {
        *place = order;
    }
    let order_id = e.order.order_id;
    state.by_order_id.insert((order_id, 0), slot, |slot| holds(&state.orders, slot, order_id));
    account_for(state, &e.order, Exposure::default(), order.exposure());
}

fn note_exec(state: &mut State, exec_id: u64) {
    if exec_id != 0 {
        state.next_exec = counter_of(exec_id).saturating_add(1);
    }
}

/// Replaces the order by its image after the event, and what it counts for by what it counts for then.
fn change(state: &mut State, image: &OrderImage, exec_id: u64, broker_seq: u64, more: impl FnOnce(&mut Order)) {
    note_exec(state, exec_id);
    note_cursor(state, broker_seq);
    let Some(slot) = state.slot_of(OrderId(image.order_id)) else { return };
    let Some(order) = state.orders.get_mut(slot as usize) else { return };
    let before = order.exposure();
    let was_open = order.is_open();
    order.image = *image;
    more(order);
    let (after, id_place) = (order.exposure(), order.id_place);
    account_for(state, image, before, after);
    if is_closed(image) {
        // Its id may have been forgotten since, and the place be another's: a fill can be late.
        let is_its_own = |entry: &&IdEntry| (entry.session_id, entry.cl_ord_id) == (image.session_id, image.cl_ord_id);
        if state.ids.get(id_place as usize).filter(is_its_own).is_some()
            && let Some(ended) = state.ended.get_mut(id_place as usize)
        {
            *ended = *image;
        }
        if was_open {
            close(state, slot, id_place);
        }
    }
}

/// A closed order leaves its ClOrdID, and after a while the table.
fn close(state: &mut State, slot: u32, id_place: u32) {
    if let Some(entry) = state.ids.get_mut(id_place as usize) {
        entry.slot = NIL;
        if entry.is_orphan {
            forget(state, id_place);
        }
    }
    state.closed.push_back(slot);
    if state.closed.len() > state.limits.closed_kept as usize
        && let Some(oldest) = state.closed.pop_front()
        && let Some(order) = state.orders.get_mut(oldest as usize)
    {
        state.by_order_id.remove((order.image.order_id, 0), |slot| slot == oldest);
        *order = Order::default();
        state.free_orders.push(oldest);
    }
}

fn account_for(state: &mut State, image: &OrderImage, before: Exposure, after: Exposure) {
    let place = state.position_place(image.account_id, image.instrument_id);
    if let Some(account) = state.accounts.get_mut(image.account_id as usize) {
        account.reserved = account.reserved.saturating_sub(before.reserved).saturating_add(after.reserved);
        account.open_notional = account.open_notional.saturating_sub(before.notional).saturating_add(after.notional);
        account.open_orders = account.open_orders.saturating_sub(before.open).saturating_add(after.open);
        account.in_doubt = account.in_doubt.saturating_sub(before.in_doubt).saturating_add(after.in_doubt);
    }
    if let Some(position) = state.positions.get_mut(place) {
        position.open_buy_qty = position.open_buy_qty.saturating_sub(before.buy_qty).saturating_add(after.buy_qty);
        position.open_sell_qty = position.open_sell_qty.saturating_sub(before.sell_qty).saturating_add(after.sell_qty);
    }
    if let Some(session) = state.sessions.get_mut(image.session_id as usize) {
        session.open_orders = session.open_orders.saturating_sub(before.open).saturating_add(after.open);
    }
    state.open_orders = state.open_orders.saturating_sub(before.open).saturating_add(after.open);
}

fn fill(state: &mut State, image: &OrderImage, last_px: i64, last_qty: i64, fee: i128) {
    let sign = if image.side == Side::Buy.raw() { 1_i128 } else { -1 };
    let value = Money::of(Px(last_px), Qty(last_qty)).0.saturating_mul(sign);
    let qty = i128::from(last_qty).saturating_mul(sign);
    let place = state.position_place(image.account_id, image.instrument_id);
    if let Some(position) = state.positions.get_mut(place) {
        position.fill(qty, value);
        position.fees = position.fees.saturating_add(fee);
    }
    if let Some(account) = state.accounts.get_mut(image.account_id as usize) {
        account.cash = account.cash.saturating_sub(value).saturating_sub(fee);
    }
}

/// Keeps a ClOrdID, once; an id that is known already stays what it is. Its place, and whether it is new.
fn remember(
    state: &mut State,
    session_id: u32,
    cl_ord_id: ClOrdId,
    content_hash: u64,
    reason: u16,
    slot: u32,
) -> (u32, bool) {
    let key = (cl_ord_id.0, u64::from(session_id));
    if let Some(known) = state.by_cl_ord_id.get(key, |place| knows(&state.ids, place, key)) {
        return (known, false);
    }
    open_client_epoch(state, session_id, cl_ord_id.epoch());
    reclaim(state);
    let place = state.take_id_place();
    state.by_cl_ord_id.insert(key, place, |_| false);
    let entry = IdEntry { session_id, next: NIL, content_hash, cl_ord_id: cl_ord_id.0, slot, reason, is_orphan: false };
    if let Some(free) = state.ids.get_mut(place as usize) {
        *free = entry;
    }
    if let Some(session) = state.sessions.get_mut(session_id as usize) {
        session.ids = session.ids.saturating_add(1);
        session.last_id_counter = session.last_id_counter.max(cl_ord_id.counter());
        let tail = session.ids_tail;
        session.ids_tail = place;
        match state.ids.get_mut(tail as usize) {
            Some(last) if tail != NIL => last.next = place,
            Some(_) | None => session.ids_head = place,
        }
    }
    (place, true)
}

/// A higher client epoch closes the lower: its ids are forgotten, a few with every new id.
fn open_client_epoch(state: &mut State, session_id: u32, epoch: u16) {
    let Some(session) = state.sessions.get_mut(session_id as usize) else { return };
    if epoch <= session.client_epoch {
        return;
    }
    session.client_epoch = epoch;
    session.last_id_counter = 0;
    session.ids = 0;
    let (head, tail) = (session.ids_head, session.ids_tail);
    session.ids_head = NIL;
    session.ids_tail = NIL;
    if head == NIL {
        return;
    }
    match state.ids.get_mut(state.reclaim_tail as usize) {
        Some(last) if state.reclaim_tail != NIL => last.next = head,
        Some(_) | None => state.reclaim_head = head,
    }
    state.reclaim_tail = tail;
}

/// A few, and in a full table as many as it takes to free one: each is looked at once in its life.
fn reclaim(state: &mut State) {
    for nth in 0.. {
        if nth >= RECLAIMED_PER_ID && !state.free_ids.is_empty() {
            return;
        }
        let place = state.reclaim_head;
        let Some(entry) = state.ids.get_mut(place as usize).filter(|_| place != NIL) else { return };
        state.reclaim_head = entry.next;
        entry.next = NIL;
        if state.reclaim_head == NIL {
            state.reclaim_tail = NIL;
        }
        if entry.slot == NIL {
            forget(state, place);
        } else {
            entry.is_orphan = true;
        }
    }
}

fn forget(state: &mut State, place: u32) {
    if let Some(entry) = state.ids.get_mut(place as usize) {
        state.by_cl_ord_id.remove((entry.cl_ord_id, u64::from(entry.session_id)), |found| found == place);
        *entry = IdEntry::default();
        state.free_ids.push(place);
    }
}
