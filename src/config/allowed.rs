//! What a key may hold: the type that the file shows, the values, and why another is refused.

use std::fmt;
use std::net::SocketAddr;

use toml::Value;

use super::error::Code;
use super::nearest::nearest;
use crate::market_data::decimal::{parse_money, parse_units};
use crate::market_data::player::Pace;

/// What a key may hold.
#[derive(Clone, Copy, Debug)]
pub enum Allowed {
    /// A whole number within both bounds.
    Integer(i64, i64),
    /// `true` or `false`.
    Bool,
    /// One of some words, each with its meaning.
    Words(&'static [(&'static str, &'static str)]),
    /// Printable ASCII without spaces, of a length within both bounds.
    Text(usize, usize),
    /// `ip:port`, or empty for none.
    Address,
    /// A path, relative to the directory of the file.
    Path,
    /// A path, or empty for none.
    PathOrNone,
    /// A price or quantity above 0, as text: exact, at most 9 decimal places.
    Units,
    /// An amount of money, as text: exact, at most 18 decimal places.
    Money {
        /// True when 0 and debts are refused.
        is_above_zero: bool,
    },
    /// A list of whole numbers from 1.
    Ids(i64),
    /// A list of texts.
    Texts,
    /// The pace of a capture.
    Speed,
}

impl Allowed {
    /// The type as the file shows it.
    #[must_use]
    pub const fn type_name(self) -> &'static str {
        match self {
            Self::Integer(..) => "integer",
            Self::Bool => "boolean",
            Self::Words(_) | Self::Text(..) | Self::Address | Self::Path | Self::PathOrNone | Self::Speed => "string",
            Self::Units | Self::Money { .. } => "decimal string",
            Self::Ids(_) => "list of integers",
            Self::Texts => "list of strings",
        }
    }

    /// True when the file writes it in quotes: a variable's text is then taken as it is.
    #[must_use]
    pub fn is_text(self) -> bool {
        self.type_name().ends_with("string")
    }

    /// What is wrong with a value; `None`: nothing.
    pub(super) fn refusal(self, value: &Value) -> Option<(Code, String)> {
        match (self, value) {
            (Self::Bool, Value::Boolean(_)) => None,
            (Self::Integer(min, max), Value::Integer(number)) => {
                unless((min..=max).contains(number), || "out of range".to_owned())
            }
            (Self::Ids(max), Value::Array(ids)) => {
                let wrong = ids.iter().find(|id| !id.as_integer().is_some_and(|id| (1..=max).contains(&id)))?;
                let code = if wrong.is_integer() { Code::NotAllowed } else { Code::WrongType };
                Some((code, format!("{wrong} is no id")))
            }
            (Self::Texts, Value::Array(texts)) => {
                let wrong = texts.iter().find(|text| !text.is_str())?;
                Some((Code::WrongType, format!("{wrong} is no string")))
            }
            (Self::Units | Self::Money { .. }, Value::Float(_)) => {
                Some((Code::WrongType, "a float cannot hold every decimal exactly".to_owned()))
            }
            (_, Value::String(text)) if self.is_text() => self.refusal_of_text(text),
            _ => Some((Code::WrongType, format!("is of type {}", value.type_str()))),
        }
    }

    fn refusal_of_text(self, text: &str) -> Option<(Code, String)> {
        match self {
            Self::Words(words) => unless(words.iter().any(|(word, _)| *word == text), || {
                let near = nearest(text, words.iter().map(|(word, _)| *word));
                near.map_or_else(|| "no such word".to_owned(), |near| format!("no such word, the nearest is {near:?}"))
            }),
            Self::Text(min, max) => {
                let is_printable = text.bytes().all(|byte| byte.is_ascii_graphic());
                unless(is_printable, || "has a character that is not allowed".to_owned())
                    .or_else(|| unless((min..=max).contains(&text.len()), || format!("has {} characters", text.len())))
            }
            Self::Address => {
                unless(text.is_empty() || text.parse::<SocketAddr>().is_ok(), || "is no address".to_owned())
            }
            Self::Path => unless(!text.is_empty() && !text.contains('\0'), || "is no path".to_owned()),
            Self::PathOrNone => unless(!text.contains('\0'), || "is no path".to_owned()),
            Self::Units => match parse_units(text) {
                Ok(units) => unless(units > 0, || "is not above 0".to_owned()),
                Err(error) => Some((Code::NotAllowed, error.to_string())),
            },
            Self::Money { is_above_zero } => match parse_money(text) {
                Ok(money) if is_above_zero => unless(money.0 > 0, || "is not above 0".to_owned()),
                Ok(_) => None,
                Err(error) => Some((Code::NotAllowed, error.to_string())),
            },
            Self::Speed => unless(Pace::parse(text).is_some(), || "is no pace".to_owned()),
            Self::Integer(..) | Self::Bool | Self::Ids(_) | Self::Texts => None,
        }
    }
}

fn unless(is_allowed: bool, problem: impl FnOnce() -> String) -> Option<(Code, String)> {
    (!is_allowed).then(|| (Code::NotAllowed, problem()))
}

impl fmt::Display for Allowed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Integer(min, max) => write!(f, "an integer from {min} to {max}"),
            Self::Bool => f.write_str("true or false"),
            Self::Words(words) => {
                let words: Vec<String> = words.iter().map(|(word, _)| format!("{word:?}")).collect();
                f.write_str(&words.join(", "))
            }
            Self::Text(0, max) => write!(f, "at most {max} printable ASCII characters, no space"),
            Self::Text(min, max) => write!(f, "{min} to {max} printable ASCII characters, no space"),
            Self::Address => f.write_str("\"ip:port\", \"\" for none"),
            Self::Path => f.write_str("a path"),
            Self::PathOrNone => f.write_str("a path, \"\" for none"),
            Self::Units => f.write_str("a decimal in quotes like \"0.01\", above 0, at most 9 places"),
            Self::Money { is_above_zero: true } => {
                f.write_str("a decimal in quotes like \"0.01\", above 0, at most 18 places")
            }
            Self::Money { is_above_zero: false } => f.write_str("a decimal in quotes like \"0.01\", at most 18 places"),
            Self::Ids(max) => write!(f, "a list of ids from 1 to {max}"),
            Self::Texts => f.write_str("a list of strings"),
            Self::Speed => f.write_str("\"original\", \"fast\", a factor like \"10x\" or \"1/2x\""),
        }
    }
}
