//! What the file says of itself: the header, and a table of its cells that needs no source to be read.
//!
//! The header is of 64-bit words in the CPU's order of bytes: magic, version, length of the file, where the table begins,
//! its length, where the cells begin, ticks a second, and the process. The table is text, a line a value, its fields
//! divided by tabs: `counter` or `histogram`, the name, its first cell, how many cells it has, what it means. The cells of
//! a histogram are the sum of its values in ticks, the largest, and the counts of values: of 0 to 31, one cell each, then
//! 32 cells for each power of two, which they divide evenly.

use std::fmt::Write as _;
use std::io;

use super::Cells;
use crate::counters::Counters;
use crate::histogram;
use crate::stages::Stage;

/// The first word.
pub(super) const MAGIC: u64 = u64::from_ne_bytes(*b"TRADECTR");
/// Layout of the header and the table; names and numbers of values are the table's.
pub(super) const VERSION: u64 = 1;

/// Words of the header, by place.
pub(super) mod word {
    pub(crate) const MAGIC: usize = 0;
    pub(crate) const VERSION: usize = 1;
    pub(crate) const FILE_BYTES: usize = 2;
    pub(crate) const TABLE_AT: usize = 3;
    pub(crate) const TABLE_BYTES: usize = 4;
    pub(crate) const CELLS_AT: usize = 5;
    pub(crate) const TICKS_PER_S: usize = 6;
    pub(crate) const PROCESS: usize = 7;
}

/// Words of the header.
pub(super) const HEADER_WORDS: usize = 8;
const TABLE_AT: usize = HEADER_WORDS * 8;
/// Where the cells begin; what is before them is for header and table.
pub(super) const CELLS_AT: usize = 8192;
/// Length of the file.
pub(super) const FILE_BYTES: usize = CELLS_AT + size_of::<Cells>();

/// A value and its cells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) is_histogram: bool,
    pub(super) name: String,
    pub(super) first: usize,
    pub(super) cells: usize,
    pub(super) meaning: String,
}

/// A file in which nothing has been counted.
///
/// # Errors
/// When the table does not fit before the cells.
pub(super) fn image(ticks_per_s: u64) -> io::Result<Vec<u8>> {
    let table = text();
    let mut words = [0; HEADER_WORDS];
    for (place, value) in [
        (word::MAGIC, MAGIC),
        (word::VERSION, VERSION),
        (word::FILE_BYTES, FILE_BYTES as u64),
        (word::TABLE_AT, TABLE_AT as u64),
        (word::TABLE_BYTES, table.len() as u64),
        (word::CELLS_AT, CELLS_AT as u64),
        (word::TICKS_PER_S, ticks_per_s),
        (word::PROCESS, std::process::id().into()),
    ] {
        if let Some(word) = words.get_mut(place) {
            *word = value;
        }
    }
    let mut image: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).chain(table.bytes()).collect();
    if image.len() > CELLS_AT {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "the table of names does not fit"));
    }
    image.resize(FILE_BYTES, 0);
    Ok(image)
}

fn text() -> String {
    let counters = Counters::TABLE.iter().map(|(name, meaning)| ("counter", *name, 1, *meaning));
    let stages = Stage::TABLE.iter().map(|(name, meaning)| ("histogram", *name, histogram::CELLS, *meaning));
    let (mut text, mut first) = (String::new(), 0_usize);
    for (kind, name, cells, meaning) in counters.chain(stages) {
        // Writing to a string does not fail.
        let _ = writeln!(text, "{kind}\t{name}\t{first}\t{cells}\t{}", meaning.trim());
        first = first.saturating_add(cells);
    }
    text
}

/// The lines of a table; `None` when one is not as they are written.
pub(super) fn entries(text: &str) -> Option<Vec<Entry>> {
    let entry = |line: &str| {
        let mut fields = line.split('\t');
        let is_histogram = match fields.next()? {
            "counter" => false,
            "histogram" => true,
            _ => return None,
        };
        let (name, first, cells) =
            (fields.next()?.to_owned(), fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
        Some(Entry { is_histogram, name, first, cells, meaning: fields.next()?.to_owned() })
    };
    text.lines().map(entry).collect()
}
