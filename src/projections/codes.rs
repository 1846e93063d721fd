//! Codes by name, for views and commands.

use tradecore_domain::event::EVENTS;
use tradecore_protocol::fields::{
    BrokerStatus, CodMode, Durability, Environment, Liquidity, OrdStatus, OrdType, Role, Side, Tif, TradingState,
};
use tradecore_protocol::reason::Reason;

use super::aggregate::Aggregate;
use super::fold::{LIMITS, STATES};
use crate::shipping::domains::Saga;

/// Codes of a list and their names; empty for what is no list, like flags.
#[must_use]
pub fn names(unit: &str) -> Vec<(u16, &'static str)> {
    macro_rules! of {
        ($($Enum:ident)*) => {
            match unit {
                $(stringify!($Enum) => $Enum::TABLE.iter().map(|(_, code, name, _)| (u16::from(*code), *name)).collect(),)*
                "Event" => EVENTS.iter().map(|(code, _, name, ..)| (*code, *name)).collect(),
                "Aggregate" => Aggregate::NAMES.to_vec(),
                "RiskLimit" => LIMITS.to_vec(),
                "Saga" => Saga::ALL.iter().map(|saga| (saga.code(), saga.name())).collect(),
                "SagaState" => STATES.to_vec(),
                _ => Vec::new(),
            }
        };
    }
    let mut names: Vec<(u16, &'static str)> =
        of!(BrokerStatus CodMode Durability Environment Liquidity OrdStatus OrdType Reason Role Side Tif TradingState);
    names.retain(|(code, _)| *code != 0);
    names
}

/// The name of a code; `None` when it has none.
#[must_use]
pub fn name_of(unit: &str, code: u16) -> Option<&'static str> {
    names(unit).into_iter().find(|(known, _)| *known == code).map(|(_, name)| name)
}
