//! Orders and their reports, templates 100 to 104 and 200 to 202, and the kill switch, 400 and 401.

use super::roles;
use crate::layout::wire::{I64, I128, U16, U32, U64};
use crate::layout::{Text, layouts};

layouts! {
    /// Order messages.
    ORDERS:

    /// Places an order.
    NewOrder = 100, ToServer, Sequenced, roles::TRADE, block 64 {
        0 cl_ord_id: U64, "id", "FIX ClOrdID (11): client epoch in the top 16 bits, counter below; not 0.";
        8 px: I64, "10⁻⁹", "FIX Price (44); −2⁶³ (none) for a market order, required otherwise.";
        16 qty: I64, "10⁻⁹", "FIX OrderQty (38); positive.";
        24 valid_until_ns: U64, "ns UTC", "Refused or not sent after this time; 0 for no bound.";
        32 instrument_id: U32, "id", "As in the instrument definition.";
        36 account_id: U32, "id", "FIX Account (1).";
        40 strategy_id: U32, "id", "Free for the client; 0 if none.";
        44 decision_maker_id: U32, "id", "The person or algorithm who decided; 0 if none.";
        48 side: u8, "Side", "FIX Side (54).";
        49 ord_type: u8, "OrdType", "FIX OrdType (40).";
        50 tif: u8, "Tif", "FIX TimeInForce (59).";
        51 exec_flags: u8, "exec_flags", "Bits; others than those listed are refused.";
        52 reserved0: U32, "", "Must be 0.";
        56 reserved1: U64, "", "Must be 0.";
    }

    /// Cancels an order, named by its client's or the gateway's id.
    CancelOrder = 101, ToServer, Sequenced, roles::TRADE, block 32 {
        0 cl_ord_id: U64, "id", "FIX ClOrdID (11): a new id, of this request; not 0.";
        8 orig_cl_ord_id: U64, "id", "FIX OrigClOrdID (41): `cl_ord_id` of the new order; 0 if `order_id` is given.";
        16 order_id: U64, "id", "FIX OrderID (37); 0 if `orig_cl_ord_id` is given.";
        24 decision_maker_id: U32, "id", "The person or algorithm who decided; 0 if none.";
        28 reserved0: U32, "", "Must be 0.";
    }

    /// Replaces price and total quantity of a limit order; a refused replace leaves it as it is.
    ReplaceOrder = 102, ToServer, Sequenced, roles::TRADE, block 56 {
        0 cl_ord_id: U64, "id", "FIX ClOrdID (11): a new id, of this request; not 0.";
        8 orig_cl_ord_id: U64, "id", "FIX OrigClOrdID (41): `cl_ord_id` of the new order; 0 if `order_id` is given.";
        16 order_id: U64, "id", "FIX OrderID (37); 0 if `orig_cl_ord_id` is given.";
        24 px: I64, "10⁻⁹", "FIX Price (44): the new price, required.";
        32 total_qty: I64, "10⁻⁹", "FIX OrderQty (38): the new total, what is executed included.";
        40 valid_until_ns: U64, "ns UTC", "Refused or not sent after this time; 0 for no bound.";
        48 decision_maker_id: U32, "id", "The person or algorithm who decided; 0 if none.";
        52 reserved0: U32, "", "Must be 0.";
    }

    /// Cancels every open order that passes its filters, or works a lock-out.
    MassCancel = 104, ToServer, Sequenced, roles::TRADE | roles::ADMIN, block 32 {
        0 cl_ord_id: U64, "id", "FIX ClOrdID (11): a new id, of this request; not 0.";
        8 account_id: U32, "id", "Only this account; 0 for all, required with scope `Account`, 0 with scope `Core`.";
        12 instrument_id: U32, "id", "Only this instrument; 0 for all.";
        16 strategy_id: U32, "id", "Only this strategy; 0 for all.";
        20 decision_maker_id: U32, "id", "The person or algorithm who decided; 0 if none.";
        24 scope: u8, "MassCancelScope", "Whose orders.";
        25 side: u8, "Side", "Only this side; 0 for both.";
        26 flags: u8, "mass_cancel_flags", "Bits, with scope `Session`; both at once are refused.";
        27 reserved0: u8, "", "Must be 0.";
        28 reserved1: U32, "", "Must be 0.";
    }

    /// Reports an event of an order, with its whole cumulative state.
    ExecReport = 200, ToClient, Either, roles::REPORTS, block 184 {
        0 cl_ord_id: U64, "id", "FIX ClOrdID (11) of the new order, all its life; 0 for an order that no client placed.";
        8 req_cl_ord_id: U64, "id", "`cl_ord_id` of the session's cancel, replace or mass cancel that this report answers; 0 if none.";
        16 order_id: U64, "id", "FIX OrderID (37).";
        24 exec_id: U64, "id", "FIX ExecID (17): unique; 0 for an answer to a query that is not a fill.";
        32 last_px: I64, "10⁻⁹", "FIX LastPx (31); −2⁶³ (none) unless this is a fill.";
        40 last_qty: I64, "10⁻⁹", "FIX LastQty (32); 0 unless this is a fill.";
        48 cum_qty: I64, "10⁻⁹", "FIX CumQty (14).";
        56 leaves_qty: I64, "10⁻⁹", "FIX LeavesQty (151): max(0, order − cumulative); 0 once closed.";
        64 cum_cost: I128, "10⁻¹⁸", "Sum of price × quantity over all fills, exact.";
        80 avg_px: I64, "10⁻⁹", "FIX AvgPx (6): `cum_cost` ÷ `cum_qty`, rounded half to even; −2⁶³ without fills.";
        88 order_qty: I64, "10⁻⁹", "FIX OrderQty (38): total in force.";
        96 px: I64, "10⁻⁹", "FIX Price (44) in force; −2⁶³ (none) for a market order.";
        104 instrument_id: U32, "id", "As in the order.";
        108 account_id: U32, "id", "FIX Account (1).";
        112 strategy_id: U32, "id", "As in the order.";
        116 order_version: U32, "count", "Rises with every event of the order: ignore a report that is not newer than what you have.";
        120 exec_type: u8, "ExecType", "FIX ExecType (150): what happened.";
        121 ord_status: u8, "OrdStatus", "FIX OrdStatus (39): state afterwards.";
        122 side: u8, "Side", "FIX Side (54).";
        123 ord_type: u8, "OrdType", "FIX OrdType (40).";
        124 tif: u8, "Tif", "FIX TimeInForce (59).";
        125 liquidity: u8, "Liquidity", "FIX LastLiquidityInd (851); 0 unless this is a fill and it is known.";
        126 er_flags: u8, "er_flags", "Bits.";
        127 durability: u8, "Durability", "The class that this report has reached.";
        128 reason: U16, "Reason", "FIX OrdRejReason (103) and relatives; 0 if none.";
        130 exec_flags: u8, "exec_flags", "As in the order.";
        131 reserved0: u8, "", "Must be 0.";
        132 session_id: U32, "id", "The session that placed the order; 0 if none did.";
        136 transact_time_ns: U64, "ns UTC", "FIX TransactTime (60): journal time of the event.";
        144 recv_time_ns: U64, "ns UTC", "When the gateway received what caused it; 0 if unknown.";
        152 broker_time_ns: U64, "ns UTC", "The broker's own time; 0 if none.";
        160 journal_seq: U64, "seq", "The event in the journal.";
        168 fee: I128, "10⁻¹⁸", "Fee of this fill, in the quote currency; negative for a rebate.";
    }

    /// Refuses a request. With a sequence number it is a decision, without one the id is still unused.
    RequestReject = 201, ToClient, Either, roles::ALL, block 168 {
        0 cl_ord_id: U64, "id", "FIX ClOrdID (11) of the request, or the request id of a query.";
        8 orig_cl_ord_id: U64, "id", "FIX OrigClOrdID (41) of the request; 0 if none.";
        16 order_id: U64, "id", "FIX OrderID (37), if the order is known; else 0.";
        24 ref_seq: U64, "seq", "Header `seq` of the request.";
        32 retry_after_ns: U64, "ns", "Earliest useful next attempt; 0 if waiting does not help.";
        40 recv_time_ns: U64, "ns UTC", "When the gateway received the request.";
        48 ref_template: U16, "template", "Template id of the request.";
        50 reason: U16, "Reason", "Why.";
        52 ref_offset: U16, "bytes", "Offset of the offending field from the start of the frame; 0 if none.";
        54 layer: u8, "Layer", "Who refused.";
        55 ord_status: u8, "OrdStatus", "State of the order that was meant; 0 if unknown.";
        56 journal_seq: U64, "seq", "The event in the journal; 0 if it is not a decision.";
        64 durability: u8, "Durability", "The class that this report has reached; 0 if it is not a decision.";
        65 er_flags: u8, "er_flags", "Bits.";
        66 reserved0: U16, "", "Must be 0.";
        68 reserved1: U32, "", "Must be 0.";
        72 text: Text<96>, "text", "What was wrong and what is allowed, for people.";
    }

    /// Reports a mass cancel: once when it is accepted, once when every cancel is on its way, with the counts. What then
    /// becomes of the orders, and of cancels that the broker refuses, their own reports say.
    MassCancelReport = 202, ToClient, Either, roles::TRADE | roles::ADMIN | roles::DROP_COPY, block 48 {
        0 cl_ord_id: U64, "id", "FIX ClOrdID (11) of the request.";
        8 journal_seq: U64, "seq", "The event in the journal.";
        16 matched: U32, "orders", "Open orders that passed the filters; this and the next two are 0 until it is done.";
        20 cancel_requested: U32, "orders", "Of these, those that a cancel was sent for.";
        24 already_pending: U32, "orders", "Of these, those that had a cancel on its way already.";
        28 account_id: U32, "id", "As in the request.";
        32 instrument_id: U32, "id", "As in the request; 0 when it is done.";
        36 strategy_id: U32, "id", "As in the request; 0 when it is done.";
        40 reserved0: U16, "", "Must be 0.";
        42 status: u8, "BatchStatus", "How far it has come.";
        43 flags: u8, "mass_cancel_flags", "As in the request; 0 when it is done.";
        44 durability: u8, "Durability", "The class that this report has reached.";
        45 er_flags: u8, "er_flags", "Bits.";
        46 side: u8, "Side", "As in the request; 0 when it is done.";
        47 scope: u8, "MassCancelScope", "As in the request, or as the kill switch covers.";
    }

    /// Engages or releases a kill switch.
    KillSwitch = 400, ToServer, Sequenced, roles::ADMIN, block 56 {
        0 cl_ord_id: U64, "id", "FIX ClOrdID (11): a new id, of this request; not 0.";
        8 account_id: U32, "id", "For scope `Account`; else 0.";
        12 scope: u8, "KillScope", "What it covers.";
        13 action: u8, "KillAction", "What is done.";
        14 flags: u8, "kill_flags", "Bits: `CANCEL_OPEN` with `Engage`, `REOPEN` with `Release`.";
        15 reserved0: u8, "", "Must be 0.";
        16 operator_tag: Text<32>, "text", "Who and why, kept in the journal.";
        48 decision_maker_id: U32, "id", "The person or algorithm who decided; 0 if none.";
        52 reserved1: U32, "", "Must be 0.";
    }

    /// Reports a kill switch; with `CANCEL_OPEN` its cancels are reported as those of a mass cancel of the same id.
    KillSwitchReport = 401, ToClient, Either, roles::REPORTS, block 32 {
        0 cl_ord_id: U64, "id", "FIX ClOrdID (11) of the request; 0 if no session asked.";
        8 journal_seq: U64, "seq", "The event in the journal.";
        16 account_id: U32, "id", "As in the request.";
        20 kill_state: u8, "KillState", "State of the switch afterwards.";
        21 scope: u8, "KillScope", "As in the request.";
        22 action: u8, "KillAction", "As in the request.";
        23 durability: u8, "Durability", "The class that this report has reached.";
        24 er_flags: u8, "er_flags", "Bits.";
        25 reserved0: u8, "", "Must be 0.";
        26 reserved1: U16, "", "Must be 0.";
        28 reserved2: U32, "", "Must be 0.";
    }

    /// Writes words of an operator into the journal, for those who read it later; it changes nothing.
    OperatorNote = 402, ToServer, Sequenced, roles::ADMIN, block 104 {
        0 cl_ord_id: U64, "id", "FIX ClOrdID (11): a new id, of this request; not 0.";
        8 text: Text<96>, "text", "Who, what and why; not empty.";
    }

    /// Reports that a note is in the journal.
    OperatorNoteReport = 403, ToClient, Either, roles::REPORTS, block 24 {
        0 cl_ord_id: U64, "id", "FIX ClOrdID (11) of the request.";
        8 journal_seq: U64, "seq", "The event in the journal.";
        16 durability: u8, "Durability", "The class that this report has reached.";
        17 er_flags: u8, "er_flags", "Bits.";
        18 reserved0: U16, "", "Must be 0.";
        20 reserved1: U32, "", "Must be 0.";
    }
}
