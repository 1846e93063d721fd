//! How a journal is closed, in the order in which each step is safe.

use std::path::Path;

use crate::segment::remove_unused;
use crate::storage::Storage;
use crate::writer::Writer;

/// Ends a sealed journal, whose maker of segments has ended.
pub(crate) fn end<S: Storage>(storage: &S, dir: &Path, hot_dir: Option<&Path>, writer: &mut Writer) {
    // Before a tailer is led on: it would wait for ever in a segment that the next start makes anew.
    while let Some(unused) = writer.take_unused() {
        remove_unused(storage, dir, hot_dir, &unused);
    }
    writer.write_end();
}
