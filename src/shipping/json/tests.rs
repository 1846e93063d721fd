use serde_json::{Value, json};
use tradecore_domain::event::{InstrumentDefined, Meta, OrderAccepted, OrderFilled, OrderImage, OrderRejected};
use tradecore_protocol::fields::Money;

use super::*;
use crate::market_data::decimal::{format_money, format_units};

fn data(event: impl Into<Event>) -> Value {
    let mut out = String::new();
    write_data(&mut out, &event.into());
    serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {out}"))
}

#[test]
fn an_event_is_a_cloud_event_with_its_place() {
    let meta = Meta { session_id: 7, account_id: 2, recv_time_ns: u64::MAX, ..Meta::default() };
    let order = OrderImage { order_id: (1 << 44) + 1, px: 101_250_000_000, ..OrderImage::default() };
    let event = Event::from(OrderAccepted { meta, order, market_px: Px::NONE.0, ..OrderAccepted::default() });
    let place =
        Place { stream: Stream { environment: 3, core: 1 }, epoch: 4, seq: 1042, ts_ns: 1_709_210_096_000_000_001 };
    let mut out = String::new();
    write_event(&mut out, &place, &event);
    let mut value: Value = serde_json::from_str(&out).expect("JSON");
    let data = value.as_object_mut().and_then(|object| object.remove("data")).expect("data");
    let wanted = json!({
        "specversion": "1.0",
        "id": "virtual-1/4/1042",
        "source": "/tradecore/virtual-1",
        "type": "tradecore.OrderAccepted.v1",
        "subject": "order-17592186044417",
        "time": "2024-02-29T12:34:56.000000001Z",
        "datacontenttype": "application/json",
        "dataschema": "urn:tradecore:event:OrderAccepted:v1",
        "domain": "order",
        "partitionkey": "virtual-1/order-17592186044417",
        "epoch": "4",
        "seq": "1042",
    });
    assert_eq!(value, wanted);
    assert_eq!(data["meta"]["recv_time_ns"], "18446744073709551615");
    assert_eq!(data["meta"]["session_id"], 7);
    assert_eq!((&data["order"]["session_id"], &data["order"]["account_id"]), (&json!(0), &json!(0)), "its own");
    assert_eq!(data["order"]["px"], "101.25");
    assert_eq!(data["market_px"], Value::Null);
}

#[test]
fn numbers_are_exact_codes_are_names_and_text_ends_at_its_nul() {
    let order = OrderImage {
        cum_cost: i128::MIN,
        order_qty: i64::MIN,
        px: -1,
        side: 2,
        ord_type: 9,
        exec_flags: 0b1000_0011,
        flags: 8,
        ..OrderImage::default()
    };
    let rejected = data(OrderRejected { order, reason: 25, offered: i128::MAX, ..OrderRejected::default() });
    assert_eq!(rejected["order"]["cum_cost"], "-170141183460469231731.687303715884105728");
    assert_eq!(rejected["order"]["order_qty"], "-9223372036.854775808");
    assert_eq!(rejected["order"]["px"], "-0.000000001");
    assert_eq!(rejected["offered"], "170141183460469231731687303715884105727");
    assert_eq!((&rejected["reason"], &rejected["order"]["side"]), (&json!("FieldValue"), &json!("Sell")));
    assert_eq!((&rejected["order"]["ord_type"], &rejected["order"]["tif"]), (&json!(9), &Value::Null));
    assert_eq!(rejected["order"]["exec_flags"], json!(["POST_ONLY", "CANCEL_ON_DISCONNECT", 128]));
    assert_eq!(rejected["order"]["flags"], json!(["DOUBT"]));
    assert_eq!(data(OrderFilled { overfill: 1, ..OrderFilled::default() })["overfill"], true);
    let named = InstrumentDefined { symbol: *b"A\"\x01\xFF\0B\0\0\0\0\0\0\0\0\0\0", ..InstrumentDefined::default() };
    assert_eq!(data(named)["symbol"], "A\"\u{1}\u{FFFD}");
}

#[test]
fn decimals_are_those_of_the_rest_of_the_gateway() {
    for units in [0, 1, -1, 10, 1_500_000_000, 1_000_000_000, -120_000_000, i64::MAX, i64::MIN] {
        assert_eq!(Decimal::<9>(i128::from(units)).to_string(), format_units(units));
    }
    for money in [0, 1, -1, 10_i128.pow(18), 10_i128.pow(17), -10_i128.pow(19) - 7, i128::MAX, i128::MIN] {
        assert_eq!(Decimal::<18>(money).to_string(), format_money(Money(money)));
    }
}

#[test]
fn days_are_counted_as_the_calendar_does() {
    let mut expected = (1970, 1, 1);
    for day in 0..250_000 {
        assert_eq!(date_of(day), expected, "day {day}");
        let (year, month, date): (u64, u64, u64) = expected;
        let is_leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
        let length = match month {
            4 | 6 | 9 | 11 => 30,
            2 => 28 + u64::from(is_leap),
            _ => 31,
        };
        expected = match (month, date) {
            (12, 31) => (year + 1, 1, 1),
            (month, date) if date == length => (year, month + 1, 1),
            (month, date) => (year, month, date + 1),
        };
    }
    assert_eq!(Utc(0).to_string(), "1970-01-01T00:00:00.000000000Z");
    assert_eq!(Utc(u64::MAX).to_string(), "2554-07-21T23:34:33.709551615Z");
}
