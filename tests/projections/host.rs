//! A gateway as a process, with tables, and the commands that look after these.

use std::path::Path;
use std::process::{Child, Command, Output};

const CONFIG: &str = r#"
[core]
id = 1
environment = "virtual"
data_dir = "data"
durability = "journaled"
idle = "park"
hot_dir = "hot"

[listen]
tcp = "127.0.0.1:0"

[broker]
kind = "paper"

[venue]
listen = []
log_dir = "venue"
log_sync = false
[venue.exchange]
instruments = [{ symbol = "BTCUSDT", tick_size = "0.01", lot_size = "0.00001" }]

[[instruments]]
id = 1
symbol = "BTCUSDT"
currency = "USDT"
tick_size = "0.01"
lot_size = "0.00001"
qty_min = "0.00001"
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
key_id = "k"
secret_file = "key"
role = "admin"
"#;

/// A gateway that runs, as long as this is kept.
pub(crate) struct Gateway(pub(crate) Child);

impl Drop for Gateway {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// A directory with a configuration, which begins with `extra`, and a key.
pub(crate) fn configured(extra: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a directory");
    std::fs::write(dir.path().join("gateway.toml"), format!("{extra}{CONFIG}")).expect("written");
    write_secret(dir.path(), "key", "a key for these tests of tables");
    dir
}

/// A file that only its owner may read.
pub(crate) fn write_secret(dir: &Path, name: &str, text: &str) {
    let path = dir.join(name);
    std::fs::write(&path, text).expect("written");
    std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).expect("set");
}

pub(crate) fn command(dir: &Path, words: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tradecore"));
    command.current_dir(dir).args(words.split(' ')).args(["--config", "gateway.toml"]).env("RUST_LOG", "warn");
    command
}

pub(crate) fn run(dir: &Path, words: &str) -> Output {
    command(dir, words).output().expect("runs")
}

#[track_caller]
pub(crate) fn said(dir: &Path, words: &str) -> String {
    let output = run(dir, words);
    assert!(output.status.success(), "{words}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

#[track_caller]
pub(crate) fn refused(dir: &Path, words: &str) -> (i32, String) {
    let output = run(dir, words);
    (output.status.code().expect("ended"), String::from_utf8(output.stderr).expect("text"))
}
