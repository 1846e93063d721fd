//! The `tradecore` binary.
fn main() {}
