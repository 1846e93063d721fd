//! Where a gateway listens, for tools that start one.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::config::Config;

/// Longer than what is written: a block of the disk.
const RESERVED_BYTES: usize = 4096;

/// `listening` in the data directory names the addresses, one a line.
///
/// Its room is taken before the journal and the venue look for theirs, so that it can be written on a full disk.
#[derive(Debug)]
pub(super) struct Listening {
    path: PathBuf,
    /// What becomes of it, unless the start is refused.
    partial: Option<File>,
}

impl Listening {
    /// Takes the room, if the directory is there already; without any, it is looked for again when it is needed.
    pub(super) fn reserve(config: &Config) -> Self {
        let path = config.beside(&config.core.data_dir).join("listening");
        let reserved = File::create(path.with_extension("partial")).and_then(|file| {
            file.write_all_at(&[b'\n'; RESERVED_BYTES], 0)?;
            Ok(file)
        });
        Self { path, partial: reserved.ok() }
    }

    /// Writes the addresses, whole or not at all.
    pub(super) fn write(mut self, addresses: &[String]) -> io::Result<()> {
        let partial = self.path.with_extension("partial");
        let file = match self.partial.take() {
            Some(file) => file,
            None => File::create(&partial)?,
        };
        let text = addresses.join("\n") + "\n";
        file.write_all_at(text.as_bytes(), 0)?;
        file.set_len(text.len() as u64)?;
        std::fs::rename(partial, &self.path)
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        if self.partial.is_some() {
            drop(std::fs::remove_file(self.path.with_extension("partial")));
        }
    }
}

/// Where a running gateway listens, as `listening` says.
#[must_use]
pub fn listening(data_dir: &Path) -> Vec<String> {
    std::fs::read_to_string(data_dir.join("listening"))
        .map(|text| text.lines().map(str::to_owned).collect())
        .unwrap_or_default()
}
