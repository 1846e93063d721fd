//! What a broker sees as client order id: a pure function of environment, core and order id, and back.
//!
//! So an order can be found at the broker after any crash, and an order of another gateway is never
//! mistaken for ours.

use tradecore_protocol::fields::{Environment, OrderId};

/// Length of the text, bytes.
pub const BROKER_ID_BYTES: usize = 22;

const HEX: &[u8; 16] = b"0123456789abcdef";

const fn letter(environment: Environment) -> u8 {
    match environment {
        Environment::Live => b'L',
        Environment::Paper => b'P',
        Environment::Virtual => b'V',
    }
}

/// `V0001-` and the order id as 16 hex digits.
#[must_use]
pub fn text_of(environment: Environment, core: u16, order_id: OrderId) -> [u8; BROKER_ID_BYTES] {
    let mut text = [b'-'; BROKER_ID_BYTES];
    let digits = |number: u64, count: u32| {
        (0..count).rev().map(move |digit| {
            HEX.get((number.wrapping_shr(digit.saturating_mul(4)) & 15) as usize).copied().unwrap_or(b'0')
        })
    };
    let all = core::iter::once(letter(environment))
        .chain(digits(u64::from(core), 4))
        .chain(core::iter::once(b'-'))
        .chain(digits(order_id.0, 16));
    text.iter_mut().zip(all).for_each(|(to, from)| *to = from);
    text
}

/// The order id in a text of this environment and core; `None` for any other text.
#[must_use]
pub fn order_id_of(environment: Environment, core: u16, text: &str) -> Option<OrderId> {
    let number = text.get(6..BROKER_ID_BYTES).and_then(|digits| u64::from_str_radix(digits, 16).ok())?;
    let order_id = OrderId(number);
    (text.as_bytes() == text_of(environment, core, order_id)).then_some(order_id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_comes_back_only_in_its_own_environment_and_core() {
        let order_id = OrderId(0x0000_1000_0000_00AF);
        let text = text_of(Environment::Virtual, 1, order_id);
        let text = core::str::from_utf8(&text).unwrap();
        assert_eq!(text, "V0001-00001000000000af");
        assert_eq!(order_id_of(Environment::Virtual, 1, text), Some(order_id));
        for (environment, core) in [(Environment::Live, 1), (Environment::Paper, 1), (Environment::Virtual, 2)] {
            assert_eq!(order_id_of(environment, core, text), None);
        }
        for other in ["", "V0001-", "V0001-00001000000000AF", "V0001-00001000000000af0", "my own order"] {
            assert_eq!(order_id_of(Environment::Virtual, 1, other), None, "{other}");
        }
    }
}
