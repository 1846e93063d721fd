//! Text forms of numbers and codes in the venue's JSON: decimal strings, lower-case words.

use crate::market_data::decimal;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::borrow::{Borrow, Cow};
use std::fmt;
use std::sync::Arc;
use tradecore_protocol::fields::{Liquidity, Money, OrdType, Px, Qty, Side, Tif};

/// Longest id, symbol or client name, bytes.
const NAME_BYTES_MAX: usize = 64;

fn text<'de, D: Deserializer<'de>>(d: D) -> Result<Cow<'de, str>, D::Error> {
    Cow::<'de, str>::deserialize(d)
}

/// A price as a decimal string.
pub(crate) mod px {
    use super::{Deserializer, Px, Serializer, decimal, text};
    use serde::de::Error as _;

    pub(crate) fn serialize<S: Serializer>(px: &Px, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&decimal::format_units(px.0))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Px, D::Error> {
        decimal::parse_px(&text(d)?).map_err(D::Error::custom)
    }
}

/// A price as a decimal string, or absent: `Px::NONE`.
pub(crate) mod optional_px {
    use super::{Cow, Deserialize, Deserializer, Px, Serializer, decimal};
    use serde::de::Error as _;

    pub(crate) fn serialize<S: Serializer>(px: &Px, s: S) -> Result<S::Ok, S::Error> {
        if *px == Px::NONE { s.serialize_none() } else { s.serialize_some(&decimal::format_units(px.0)) }
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Px, D::Error> {
        match Option::<Cow<'de, str>>::deserialize(d)? {
            None => Ok(Px::NONE),
            Some(text) => decimal::parse_px(&text).map_err(D::Error::custom),
        }
    }

    /// What a field that is left out means.
    pub(crate) fn none() -> Px {
        Px::NONE
    }
}

/// A quantity as a decimal string.
pub(crate) mod qty {
    use super::{Deserializer, Qty, Serializer, decimal, text};
    use serde::de::Error as _;

    pub(crate) fn serialize<S: Serializer>(qty: &Qty, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&decimal::format_units(qty.0))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Qty, D::Error> {
        decimal::parse_qty(&text(d)?).map_err(D::Error::custom)
    }
}

/// An amount as a decimal string.
pub(crate) mod money {
    use super::{Deserializer, Money, Serializer, decimal, text};
    use serde::de::Error as _;

    pub(crate) fn serialize<S: Serializer>(money: &Money, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&decimal::format_money(*money))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Money, D::Error> {
        decimal::parse_money(&text(d)?).map_err(D::Error::custom)
    }
}

macro_rules! words {
    ($($module:ident: $name:ident { $($variant:ident = $word:literal),* $(,)? })*) => {$(
        /// The code as its word.
        pub(crate) mod $module {
            use super::{Deserializer, Serializer, $name, text, unknown};

            pub(crate) fn serialize<S: Serializer>(value: &$name, s: S) -> Result<S::Ok, S::Error> {
                s.serialize_str(match value { $($name::$variant => $word,)* })
            }

            pub(crate) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<$name, D::Error> {
                match text(d)?.as_ref() {
                    $($word => Ok($name::$variant),)*
                    other => Err(unknown(other, &[$($word),*])),
                }
            }
        }
    )*};
}

fn unknown<E: serde::de::Error>(found: &str, allowed: &[&str]) -> E {
    E::custom(format_args!("`{}` is not one of {allowed:?}", found.escape_debug()))
}

words! {
    side: Side { Buy = "buy", Sell = "sell" }
    ord_type: OrdType { Market = "market", Limit = "limit" }
    tif: Tif { Day = "day", Gtc = "gtc", Ioc = "ioc", Fok = "fok" }
    liquidity: Liquidity { Maker = "maker", Taker = "taker" }
}

/// A short text that is shared rather than copied: an id, a symbol, a client's name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Arc<str>);

impl Name {
    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// True for 1 to 64 printable ASCII characters.
    #[must_use]
    pub fn is_well_formed(&self) -> bool {
        (1..=NAME_BYTES_MAX).contains(&self.0.len()) && self.0.bytes().all(|b| b.is_ascii_graphic())
    }
}

impl From<&str> for Name {
    fn from(text: &str) -> Self {
        Self(Arc::from(text))
    }
}

impl Borrow<str> for Name {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for Name {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        text(d).map(|t| Self::from(t.as_ref()))
    }
}
