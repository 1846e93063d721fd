//! Instruments and quotes, templates 600 to 604. Nothing here is sequenced; quotes are conflated.

use super::roles;
use crate::layout::wire::{I64, U16, U32, U64};
use crate::layout::{Text, layouts};

layouts! {
    /// Market messages.
    MARKET:

    /// Asks for instruments; answered by definitions and a query end.
    InstrumentsRequest = 600, ToServer, Unsequenced, roles::ALL, block 16 {
        0 request_id: U64, "id", "Comes back in the answer.";
        8 instrument_id: U32, "id", "Only this instrument; 0 for all.";
        12 reserved0: U32, "", "Must be 0.";
    }

    /// One instrument.
    InstrumentDef = 601, ToClient, Unsequenced, roles::ALL, block 88 {
        0 request_id: U64, "id", "Of the query.";
        8 instrument_id: U32, "id", "Names the instrument in every other message.";
        12 reserved0: U32, "", "Must be 0.";
        16 symbol: Text<16>, "text", "FIX Symbol (55), as the broker writes it.";
        32 base: Text<8>, "text", "What is traded, if it is a currency or coin; else empty.";
        40 currency: Text<8>, "text", "FIX Currency (15): what prices are in.";
        48 tick_size: I64, "10⁻⁹", "Prices are multiples of it.";
        56 lot_size: I64, "10⁻⁹", "Quantities are multiples of it.";
        64 qty_min: I64, "10⁻⁹", "Smallest order.";
        72 qty_max: I64, "10⁻⁹", "Largest order.";
        80 px_max: I64, "10⁻⁹", "Highest price.";
    }

    /// Starts or stops the quotes of an instrument.
    MarketDataSubscribe = 602, ToServer, Unsequenced, roles::QUOTES, block 16 {
        0 request_id: U64, "id", "Comes back in the report.";
        8 instrument_id: U32, "id", "Which instrument.";
        12 action: u8, "SubscribeAction", "Start or stop.";
        13 reserved0: u8, "", "Must be 0.";
        14 reserved1: U16, "", "Must be 0.";
    }

    /// Answers a subscription; after a start the newest quote follows.
    SubscribeReport = 603, ToClient, Unsequenced, roles::QUOTES, block 16 {
        0 request_id: U64, "id", "Of the request.";
        8 instrument_id: U32, "id", "Which instrument.";
        12 action: u8, "SubscribeAction", "As in the request.";
        13 reserved0: u8, "", "Must be 0.";
        14 reason: U16, "Reason", "Why it was refused; 0 if it was not.";
    }

    /// The newest best bid and offer of an instrument; a slow reader misses those between.
    Quote = 604, ToClient, Unsequenced, roles::QUOTES, block 64 {
        0 instrument_id: U32, "id", "Which instrument.";
        4 quote_flags: u8, "quote_flags", "Bits.";
        5 reserved0: u8, "", "Must be 0.";
        6 reserved1: U16, "", "Must be 0.";
        8 md_seq: U64, "count", "Rises with every quote of the instrument; steps over those that were conflated.";
        16 bid_px: I64, "10⁻⁹", "FIX BidPx (132); −2⁶³ if none.";
        24 bid_qty: I64, "10⁻⁹", "FIX BidSize (134); 0 if none.";
        32 ask_px: I64, "10⁻⁹", "FIX OfferPx (133); −2⁶³ if none.";
        40 ask_qty: I64, "10⁻⁹", "FIX OfferSize (135); 0 if none.";
        48 exchange_time_ns: U64, "ns UTC", "The exchange's own time; 0 if none.";
        56 recv_time_ns: U64, "ns UTC", "When the gateway received it.";
    }
}
