//! Questions and their answers, templates 105, 106, 203, 300 to 320. Nothing here is sequenced.

use super::roles;
use crate::layout::wire::{I128, U16, U32, U64};
use crate::layout::{Text, layouts};

layouts! {
    /// Query messages.
    QUERIES:

    /// Asks for the state of one order; answered by an execution report of type `Status` and a query end.
    OrderStatusRequest = 105, ToServer, Unsequenced, roles::REPORTS, block 24 {
        0 request_id: U64, "id", "Comes back in the query end.";
        8 cl_ord_id: U64, "id", "FIX ClOrdID (11) of the new order; 0 if `order_id` is given.";
        16 order_id: U64, "id", "FIX OrderID (37); 0 if `cl_ord_id` is given.";
    }

    /// Asks for all open orders; answered by execution reports of type `Status` and a query end.
    OpenOrdersRequest = 106, ToServer, Unsequenced, roles::REPORTS, block 16 {
        0 request_id: U64, "id", "Comes back in the query end.";
        8 account_id: U32, "id", "Only this account; 0 for all that the session may see.";
        12 instrument_id: U32, "id", "Only this instrument; 0 for all.";
    }

    /// Ends the answer to a query.
    QueryEnd = 203, ToClient, Unsequenced, roles::ALL, block 32 {
        0 request_id: U64, "id", "Of the query.";
        8 as_of_seq: U64, "seq", "Journal sequence number that the answer reflects.";
        16 report_seq: U64, "seq", "The last report of this session that the answer includes.";
        24 count: U32, "frames", "Frames of the answer before this one.";
        28 ref_template: U16, "template", "Template id of the query.";
        30 reason: U16, "Reason", "Why the answer is empty or cut; 0 if it is whole.";
    }

    /// Asks for positions; answered by positions and a query end.
    PositionRequest = 300, ToServer, Unsequenced, roles::REPORTS, block 16 {
        0 request_id: U64, "id", "Comes back in the answer.";
        8 account_id: U32, "id", "Only this account; 0 for all that the session may see.";
        12 instrument_id: U32, "id", "Only this instrument; 0 for all.";
    }

    /// One position of an account.
    Position = 301, ToClient, Unsequenced, roles::REPORTS, block 120 {
        0 request_id: U64, "id", "Of the query.";
        8 account_id: U32, "id", "FIX Account (1).";
        12 instrument_id: U32, "id", "As in the instrument definition.";
        16 position_qty: I128, "10⁻⁹", "Net position, negative if short.";
        32 cost: I128, "10⁻¹⁸", "Cost of the net position, fees not included.";
        48 realized_pnl: I128, "10⁻¹⁸", "Profit of closed quantity, fees not included.";
        64 fees: I128, "10⁻¹⁸", "Fees paid; negative for rebates.";
        80 open_buy_qty: I128, "10⁻⁹", "Open buy orders, those in doubt at worst case.";
        96 open_sell_qty: I128, "10⁻⁹", "Open sell orders, those in doubt at worst case.";
        112 journal_seq: U64, "seq", "Journal sequence number that it reflects.";
    }

    /// Asks for an account; answered by accounts and a query end.
    AccountRequest = 310, ToServer, Unsequenced, roles::REPORTS, block 16 {
        0 request_id: U64, "id", "Comes back in the answer.";
        8 account_id: U32, "id", "Only this account; 0 for all that the session may see.";
        12 reserved0: U32, "", "Must be 0.";
    }

    /// One account.
    Account = 311, ToClient, Unsequenced, roles::REPORTS, block 120 {
        0 request_id: U64, "id", "Of the query.";
        8 account_id: U32, "id", "FIX Account (1).";
        12 trading_state: u8, "TradingState", "What passes.";
        13 kill_state: u8, "KillState", "State of the account's kill switch.";
        14 reserved0: U16, "", "Must be 0.";
        16 cash: I128, "10⁻¹⁸", "Cash in the account's currency.";
        32 buying_power: I128, "10⁻¹⁸", "What new orders may use.";
        48 open_notional: I128, "10⁻¹⁸", "Worth of open orders, those in doubt at worst case.";
        64 realized_pnl: I128, "10⁻¹⁸", "Profit of closed quantity, fees not included.";
        80 fees: I128, "10⁻¹⁸", "Fees paid; negative for rebates.";
        96 open_orders: U32, "orders", "Orders that may still trade.";
        100 in_doubt_orders: U32, "orders", "Of these, orders whose outcome is unknown.";
        104 journal_seq: U64, "seq", "Journal sequence number that it reflects.";
        112 currency: Text<8>, "text", "ISO 4217 code or a coin's ticker.";
    }

    /// Asks for fills in a range; answered by execution reports of type `Trade` and a query end.
    FillsRequest = 320, ToServer, Unsequenced, roles::REPORTS, block 48 {
        0 request_id: U64, "id", "Comes back in the query end.";
        8 from_exec_id: U64, "id", "First FIX ExecID (17) wanted; 0 for no bound.";
        16 to_exec_id: U64, "id", "Last FIX ExecID (17) wanted; 0 for no bound.";
        24 from_seq: U64, "seq", "First report wanted; 0 for no bound.";
        32 to_seq: U64, "seq", "Last report wanted; 0 for no bound.";
        40 account_id: U32, "id", "Only this account; 0 for all, if the session may see all.";
        44 count_max: U32, "frames", "Most fills wanted; 0 for the server's bound.";
    }
}
