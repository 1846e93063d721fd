//! Where a gateway listens, for tools that start one.

use std::path::Path;

use crate::config::Config;

/// `listening` in the data directory names the addresses, one a line.
pub(super) fn write(config: &Config, addresses: &[String]) -> std::io::Result<()> {
    let path = config.beside(&config.core.data_dir).join("listening");
    let partial = path.with_extension("partial");
    std::fs::write(&partial, addresses.join("\n") + "\n")?;
    std::fs::rename(partial, path)
}

/// Where a running gateway listens, as `listening` says.
#[must_use]
pub fn listening(data_dir: &Path) -> Vec<String> {
    std::fs::read_to_string(data_dir.join("listening"))
        .map(|text| text.lines().map(str::to_owned).collect())
        .unwrap_or_default()
}
