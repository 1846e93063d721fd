//! The tables, declared once.
//!
//! Each row is a function of the journal alone: no clock, no host, no order of batches stands in it, so a rebuild
//! gives the same rows.

use super::cell::{self, BadRow, Cell, CellReader, Column, Kind, Unfit};
use super::declare::{ColumnInfo, IndexInfo, Row, Table, tables};

tables! {
    /// The core: one row.
    cores CoreRow key(core_id) {
        /// Number of the core.
        core_id: Count,
        /// Whose money.
        environment: Code("Environment"),
        /// Durability class.
        durability: Code("Durability"),
        /// Start epoch.
        epoch: Count,
        /// When it started last.
        started_ns: Time,
        /// What passes for the whole core.
        trading_state: Code("TradingState"),
        /// Why.
        trading_reason: Code("Reason"),
        /// Kill epoch: raised whenever a kill switch engages.
        kill_epoch: Id,
        /// State of the connection to the broker.
        broker_status: Code("BrokerStatus"),
        /// Number of that connection within the epoch.
        broker_connection_no: Id,
        /// Last fact of the broker's stream that was applied.
        broker_cursor: Id,
        /// Last event that changed the row.
        updated_seq: Id,
        /// When.
        updated_ns: Time,
        /// 1 when events of it are parked.
        is_stale: Flag,
    }
    /// Connections to the broker, each with its last state.
    connections ConnectionRow key(epoch, connection_no) {
        /// Start epoch of the core.
        epoch: Count,
        /// Number of the connection within it.
        connection_no: Id,
        /// Its state.
        status: Code("BrokerStatus"),
        /// When it was first told of.
        since_ns: Time,
        /// Last event that changed the row.
        updated_seq: Id,
        /// When.
        updated_ns: Time,
        /// 1 when events of it are parked.
        is_stale: Flag,
    }
    /// What may be traded.
    instruments InstrumentRow key(instrument_id) {
        /// Number of the instrument.
        instrument_id: Count,
        /// FIX Symbol (55).
        symbol: Text,
        /// FIX Currency (15) of the price.
        currency: Text,
        /// Price step.
        tick_size: Units,
        /// Quantity step.
        lot_size: Units,
        /// Smallest order.
        qty_min: Units,
        /// Largest order.
        order_qty_max: Units,
        /// Largest notional of an order.
        order_notional_max: Money,
        /// Greatest distance of a price from the market, ppm.
        collar_ppm: Count,
        /// Greatest age of a market price that a check may use.
        quote_age_max_ns: Time,
        /// Last event that changed the row.
        updated_seq: Id,
        /// When.
        updated_ns: Time,
        /// 1 when events of it are parked.
        is_stale: Flag,
    }
    /// For whom is traded: limits and states.
    accounts AccountRow key(account_id) {
        /// FIX Account (1), as a number.
        account_id: Count,
        /// FIX Currency (15) of its cash.
        currency: Text,
        /// User who owns it.
        owner_id: Id,
        /// Cash when the account was defined last.
        initial_cash: Money,
        /// Greatest absolute position.
        position_max: Units,
        /// Greatest number of open orders.
        open_orders_max: Count,
        /// New orders and replaces in one second; 0 for no bound.
        rate_max: Count,
        /// What passes.
        trading_state: Code("TradingState"),
        /// Why.
        trading_reason: Code("Reason"),
        /// 1 while its kill switch is engaged.
        is_killed: Flag,
        /// Open orders.
        open_orders: Count,
        /// Open orders in doubt.
        in_doubt: Count,
        /// Last event that changed the row.
        updated_seq: Id,
        /// When.
        updated_ns: Time,
        /// 1 when events of it are parked.
        is_stale: Flag,
    }
    /// Cash, and what open orders may take of it.
    balances BalanceRow key(account_id) {
        /// Account.
        account_id: Count,
        /// FIX Currency (15).
        currency: Text,
        /// Cash.
        cash: Money,
        /// What open buys may cost at worst.
        reserved: Money,
        /// Cash less what is reserved.
        buying_power: Money,
        /// What open orders are worth at worst, both sides.
        open_notional: Money,
        /// Last event that changed the row.
        updated_seq: Id,
        /// When.
        updated_ns: Time,
        /// 1 when events of it are parked.
        is_stale: Flag,
    }
    /// Positions.
    positions PositionRow key(account_id, instrument_id) {
        /// Account.
        account_id: Count,
        /// Instrument.
        instrument_id: Count,
        /// Net quantity, negative when short.
        position_qty: Amount,
        /// Cost of it, with its sign.
        cost: Money,
        /// Profit of what was closed, fees not included.
        realized_pnl: Money,
        /// Fees.
        fees: Money,
        /// What open buys may still add.
        open_buy_qty: Amount,
        /// What open sells may still take.
        open_sell_qty: Amount,
        /// Last event that changed the row.
        updated_seq: Id,
        /// When.
        updated_ns: Time,
        /// 1 when events of it are parked.
        is_stale: Flag,
    }
    /// Positions after each fill.
    positions_history PositionHistoryRow key(seq) index(account_id, instrument_id, seq) {
        /// Event.
        seq: Id,
        /// When.
        ts_ns: Time,
        /// Account.
        account_id: Count,
        /// Instrument.
        instrument_id: Count,
        /// Net quantity after it.
        position_qty: Amount,
        /// Cost of it.
        cost: Money,
        /// Profit of what was closed.
        realized_pnl: Money,
        /// Fees.
        fees: Money,
    }
    /// Profit and fees of each account and instrument by day: what the fills of that day have made of the position.
    daily_pnl DailyPnlRow key(day_ns, account_id, instrument_id) index(account_id, day_ns) {
        /// Begin of the day of UTC.
        day_ns: Time,
        /// Account.
        account_id: Count,
        /// Instrument.
        instrument_id: Count,
        /// FIX Currency (15) of the instrument's price, and of what follows.
        currency: Text,
        /// Profit of what was closed on that day, fees not included.
        realized_pnl: Money,
        /// Fees of that day.
        fees: Money,
        /// Quantity bought.
        bought_qty: Amount,
        /// Quantity sold.
        sold_qty: Amount,
        /// Fills.
        fills: Count,
        /// Last event that changed the row.
        updated_seq: Id,
        /// When.
        updated_ns: Time,
        /// 1 when events of its position are parked.
        is_stale: Flag,
    }
    /// Who may log on, and how far each has come.
    sessions SessionRow key(session_id) {
        /// Number of the session.
        session_id: Count,
        /// Raised by an operator's reset.
        session_epoch: Id,
        /// What it may do.
        role: Code("Role"),
        /// Which end of the session cancels its orders.
        cod_mode: Code("CodMode"),
        /// Grace window of cancel-on-disconnect, ms.
        cod_window_ms: Count,
        /// When its orders are to be canceled; 0 for never.
        cod_due_ns: Time,
        /// 1 when all of them are, 0 when only those with the flag.
        cod_all: Flag,
        /// Connection that speaks for it; 0 for none.
        connection_no: Id,
        /// 1 while new orders are locked out.
        is_locked_out: Flag,
        /// The last of its frames that was decided on.
        last_client_seq: Id,
        /// Number of its next report.
        next_report_seq: Id,
        /// Open orders.
        open_orders: Count,
        /// When it logged on last; 0 for never.
        logged_on_ns: Time,
        /// When its last connection ended; 0 for never.
        ended_ns: Time,
        /// Why.
        end_reason: Code("Reason"),
        /// Last event that changed the row.
        updated_seq: Id,
        /// When.
        updated_ns: Time,
        /// 1 when events of it are parked.
        is_stale: Flag,
    }
    /// Orders that were accepted, as they stand.
    orders OrderRow key(order_id)
        index(order_id if "is_open = 1") index(account_id if "is_open = 1") index(session_id if "is_open = 1") index(instrument_id if "is_open = 1")
        index(session_id, cl_ord_id) {
        /// FIX OrderID (37).
        order_id: Id,
        /// FIX ClOrdID (11).
        cl_ord_id: Id,
        /// Owning session.
        session_id: Count,
        /// FIX Account (1).
        account_id: Count,
        /// Instrument.
        instrument_id: Count,
        /// Strategy, free for the client.
        strategy_id: Count,
        /// Who decided, free for the client.
        decision_maker: Count,
        /// FIX Side (54).
        side: Code("Side"),
        /// FIX OrdType (40).
        ord_type: Code("OrdType"),
        /// FIX TimeInForce (59).
        tif: Code("Tif"),
        /// Bits of `exec_flags`.
        exec_flags: Code("exec_flags"),
        /// FIX OrdStatus (39).
        ord_status: Code("OrdStatus"),
        /// Bits: 1 acknowledged, 2 cancel pending, 4 replace pending, 8 in doubt.
        flags: Code("order_flags"),
        /// 1 while it may trade.
        is_open: Flag,
        /// FIX Price (44).
        px: Price,
        /// FIX OrderQty (38).
        order_qty: Units,
        /// FIX CumQty (14).
        cum_qty: Units,
        /// FIX LeavesQty (151): 0 once it is closed.
        leaves_qty: Units,
        /// Price × quantity of all fills.
        cum_cost: Money,
        /// After which the new order must not leave for the broker; 0 for never. A replace has its own, in its event.
        valid_until_ns: Time,
        /// Raised by each event of the order.
        order_version: Count,
        /// Price that it may cost at worst; that of the market for a market order.
        worst_px: Price,
        /// Price of its last replace; the pending one, while there is one.
        new_px: Price,
        /// Total quantity of its last replace.
        new_qty: Units,
        /// ClOrdID of the last cancel or replace; 0 for none.
        req_cl_ord_id: Id,
        /// The broker's own number, or a hash of its text; 0 while unknown.
        broker_order_id: Id,
        /// Reason of its last event that has one.
        reason: Code("Reason"),
        /// Event that accepted it.
        accepted_seq: Id,
        /// When the request reached the gateway.
        recv_time_ns: Time,
        /// When it was accepted.
        accepted_ns: Time,
        /// Last event that changed the row.
        updated_seq: Id,
        /// When.
        updated_ns: Time,
        /// 1 when events of it are parked.
        is_stale: Flag,
    }
    /// What has happened to each order.
    order_history OrderHistoryRow key(seq) index(order_id) {
        /// Event.
        seq: Id,
        /// When.
        ts_ns: Time,
        /// FIX OrderID (37).
        order_id: Id,
        /// Type of the event.
        event: Code("Event"),
        /// FIX OrdStatus (39) after it.
        ord_status: Code("OrdStatus"),
        /// Bits, as in `orders`.
        flags: Code("order_flags"),
        /// FIX Price (44) after it.
        px: Price,
        /// FIX OrderQty (38) after it.
        order_qty: Units,
        /// FIX CumQty (14) after it.
        cum_qty: Units,
        /// Price × quantity of all fills after it.
        cum_cost: Money,
        /// Version of the order after it.
        order_version: Count,
        /// FIX ExecID (17); 0 when not reported.
        exec_id: Id,
        /// Number of the report in the session's stream; 0 when not reported.
        report_seq: Id,
        /// ClOrdID of the request that it answers; 0 for none.
        req_cl_ord_id: Id,
        /// Why.
        reason: Code("Reason"),
        /// Place in the broker's stream; 0 for none.
        broker_seq: Id,
        /// The broker's time; 0 when unknown.
        broker_time_ns: Time,
    }
    /// Fills.
    fills FillRow key(seq) index(order_id) index(account_id, seq) {
        /// Event.
        seq: Id,
        /// When.
        ts_ns: Time,
        /// FIX ExecID (17).
        exec_id: Id,
        /// FIX OrderID (37).
        order_id: Id,
        /// FIX ClOrdID (11).
        cl_ord_id: Id,
        /// Account.
        account_id: Count,
        /// Session of the order.
        session_id: Count,
        /// Instrument.
        instrument_id: Count,
        /// Strategy.
        strategy_id: Count,
        /// FIX Side (54).
        side: Code("Side"),
        /// FIX LastPx (31).
        last_px: Price,
        /// FIX LastQty (32).
        last_qty: Units,
        /// Fee; negative for a rebate.
        fee: Money,
        /// Who was first in the book; 0 when unknown.
        liquidity: Code("Liquidity"),
        /// 1 when the order was filled beyond its quantity.
        is_overfill: Flag,
        /// The broker's execution id, or a hash of its text.
        broker_exec_id: Id,
        /// The broker's order number.
        broker_order_id: Id,
        /// The broker's time; 0 when unknown.
        broker_time_ns: Time,
    }
    /// Refusals by decision, contradictions, doubts and changes of what passes.
    risk_events RiskEventRow key(seq) index(account_id, seq) {
        /// Event.
        seq: Id,
        /// When.
        ts_ns: Time,
        /// Type of the event.
        event: Code("Event"),
        /// Account; 0 for the core, or none.
        account_id: Count,
        /// Session; 0 for none.
        session_id: Count,
        /// Instrument; 0 for none.
        instrument_id: Count,
        /// Order; 0 for none.
        order_id: Id,
        /// ClOrdID of the request; 0 for none.
        cl_ord_id: Id,
        /// Why.
        reason: Code("Reason"),
        /// What passes from here on; 0 when that did not change.
        trading_state: Code("TradingState"),
        /// What was offered, in the unit of the reason.
        offered: Number,
        /// What is allowed, in the unit of the reason.
        allowed: Number,
        /// The same in words.
        text: Text,
    }
    /// Limits of risk, each from the event that set it to the one that changed it: what was allowed when.
    risk_limits RiskLimitRow key(since_seq, risk_limit) {
        /// Event that set it.
        since_seq: Id,
        /// Which, as the tables of accounts and instruments call it.
        risk_limit: Code("RiskLimit"),
        /// Account; 0 for one of an instrument.
        account_id: Count,
        /// Instrument; 0 for one of an account.
        instrument_id: Count,
        /// What it allows: a quantity, money, a number, ppm or ns, as its name says.
        value: Money,
        /// When it was set.
        since_ns: Time,
        /// Event that changed it; 0 while it holds.
        until_seq: Id,
        /// When; 0 while it holds.
        until_ns: Time,
        /// 1 when events of its account or instrument are parked.
        is_stale: Flag,
    }
    /// Kill switches, as they stand.
    kill_switches KillSwitchRow key(account_id) {
        /// Account; 0 for the whole core.
        account_id: Count,
        /// 1 while it is engaged.
        is_engaged: Flag,
        /// Kill epoch of the core after the change.
        kill_epoch: Id,
        /// Who and why.
        operator_tag: Text,
        /// Session that asked.
        session_id: Count,
        /// Its request.
        request_id: Id,
        /// Event that changed it.
        updated_seq: Id,
        /// When.
        updated_ns: Time,
        /// 1 when events of it are parked.
        is_stale: Flag,
    }
    /// Mass cancels.
    mass_cancels MassCancelRow key(mass_cancel_id) {
        /// Number within the core.
        mass_cancel_id: Id,
        /// Request of the client; 0 for one of ours.
        request_id: Id,
        /// Session that asked.
        session_id: Count,
        /// Session covered; 0 for all.
        target_session_id: Count,
        /// Account covered; 0 for all.
        account_id: Count,
        /// Instrument covered; 0 for all.
        instrument_id: Count,
        /// Strategy covered; 0 for all.
        strategy_id: Count,
        /// Side covered; 0 for both.
        side: Code("Side"),
        /// 1 when only orders with the cancel-on-disconnect flag are.
        is_flagged_only: Flag,
        /// 1 engages the lock-out, 2 releases it, 0 leaves it.
        lockout: Count,
        /// Greatest OrderID that is covered.
        order_id_max: Id,
        /// Why.
        reason: Code("Reason"),
        /// Orders that a cancel was sent for.
        cancel_requested: Count,
        /// Orders that had one pending already.
        already_pending: Count,
        /// 1 once every order is seen to.
        is_completed: Flag,
        /// When it was accepted.
        accepted_ns: Time,
        /// Last event that changed the row.
        updated_seq: Id,
        /// When.
        updated_ns: Time,
        /// 1 when events of it are parked.
        is_stale: Flag,
    }
    /// Sagas: work of many decisions towards one end. What a mass cancel covers stands in `mass_cancels`.
    sagas SagaRow key(saga_id) {
        /// Event that began it, and what it is called by.
        saga_id: Id,
        /// Which kind of work.
        saga: Code("Saga"),
        /// Kind of what it is of.
        aggregate: Code("Aggregate"),
        /// Id of that: the number of a mass cancel.
        aggregate_id: Id,
        /// Type of the event that began it.
        begun_by: Code("Event"),
        /// Session that asked for it; 0 for none.
        session_id: Count,
        /// Account covered; 0 for all.
        account_id: Count,
        /// How it stands; `BegunAnew` when another has taken its place before its end.
        state: Code("SagaState"),
        /// Events that have moved it since.
        steps: Count,
        /// When it began.
        started_ns: Time,
        /// Event that ended it; 0 while it is under way.
        ended_seq: Id,
        /// When; 0 while it is under way.
        ended_ns: Time,
        /// Last event that changed the row.
        updated_seq: Id,
        /// When.
        updated_ns: Time,
        /// 1 when events of it are parked.
        is_stale: Flag,
    }
    /// What has moved each saga: the event that began it, its steps, its end.
    saga_steps SagaStepRow key(seq, saga_id) index(saga_id) {
        /// Event.
        seq: Id,
        /// The saga.
        saga_id: Id,
        /// When.
        ts_ns: Time,
        /// Which kind of work.
        saga: Code("Saga"),
        /// Type of the event.
        event: Code("Event"),
        /// How many have moved it before; 0 for what began it.
        step: Count,
        /// How the saga stands after it.
        state: Code("SagaState"),
        /// Session that asked for the saga; 0 for none.
        session_id: Count,
        /// Account that the saga covers; 0 for all.
        account_id: Count,
    }
    /// The log itself. `payload` is the archive of the journal, byte for byte; `tradecore query events` reads it.
    events EventRow key(seq) index(order_id if "order_id <> 0") {
        /// Event.
        seq: Id,
        /// Start epoch of the core.
        epoch: Count,
        /// When.
        ts_ns: Time,
        /// Its type.
        event: Code("Event"),
        /// Version of its type.
        version: Count,
        /// Kind of what it is of.
        aggregate: Code("Aggregate"),
        /// Id of that; of a position account × 2³² + instrument.
        aggregate_id: Id,
        /// Order; 0 for none.
        order_id: Id,
        /// Account; 0 for none.
        account_id: Count,
        /// Session; 0 for none.
        session_id: Count,
        /// What chains the events of one cause.
        correlation_id: Id,
        /// The archive.
        payload: Bytes,
    }
    /// Events that could not be taken, and those behind them of the same aggregate.
    parked_records ParkedRow key(seq, aggregate, aggregate_id) {
        /// Event.
        seq: Id,
        /// Kind of the aggregate.
        aggregate: Code("Aggregate"),
        /// Its id.
        aggregate_id: Id,
        /// When.
        ts_ns: Time,
        /// Type of the event.
        event: Code("Event"),
        /// Version of its type.
        version: Count,
        /// Why.
        error: Text,
    }
    /// How far the tables have come: one row.
    projection_positions PositionOfProjectionRow key(name) {
        /// Which projection.
        name: Text,
        /// Core and environment of the journal.
        stream: Text,
        /// Start epoch of the last event.
        epoch: Count,
        /// The last event that the tables know.
        seq: Id,
        /// When it was.
        ts_ns: Time,
        /// CRC-64 of it: a journal that says something else at this place is another.
        record_crc: Id,
        /// Version of the rules that made the rows.
        fold_version: Count,
    }
}
