//! The cases of the configuration: what is refused and how it is said, what wins, what is shown and documented.

mod disagreements;
mod documents;
mod files;
mod overrides;
mod refusals;
mod shown;

use std::path::Path;

use super::*;

/// A small configuration; the cases replace parts of it.
const TEXT: &str = r#"[core]
id = 1
environment = "virtual"
data_dir = "data"

[broker]
kind = "paper"

[venue]
listen = []
log_dir = "venue"

[venue.exchange]
instruments = [{ symbol = "BTCUSDT", tick_size = "0.01", lot_size = "0.00001" }]

[[instruments]]
id = 1
symbol = "BTCUSDT"
currency = "USDT"
tick_size = "0.02"
lot_size = "0.00001"
qty_min = "0.001"
order_qty_max = "10"
order_notional_max = "1000000"
collar_ppm = 50000
quote_age_max_ms = 5000

[[accounts]]
id = 1
currency = "USDT"
initial_cash = "1000000"
position_max = "100"
open_orders_max = 100

[[sessions]]
id = 1
key_id = "algo1"
secret_file = "key"
role = "trade"
accounts = [1]
"#;

fn parse_with(text: &str, env: &[(&str, &str)]) -> Result<Config, ConfigError> {
    let env = env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    Config::parse(Path::new("gateway.toml"), text, env)
}

fn parse(text: &str) -> Result<Config, ConfigError> {
    parse_with(text, &[])
}

/// `TEXT` with its only `from` replaced.
fn with(from: &str, to: &str) -> String {
    assert_eq!(TEXT.matches(from).count(), 1, "{from:?} stands once");
    TEXT.replace(from, to)
}

/// A text is refused with this code and exactly this message.
#[track_caller]
fn check_refused(text: &str, code: Code, message: &str) {
    let error = parse(text).expect_err("refused");
    assert_eq!((error.code, error.to_string().as_str()), (code, message));
}

/// What is in force, without where it comes from.
fn values(config: &Config) -> String {
    config.values.to_string()
}
