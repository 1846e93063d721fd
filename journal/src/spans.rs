//! What each segment holds: for those who ask what may go, and what keeps the rest.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::reader::{ReadError, first_record};
use crate::segment::{list, path_of};

/// A segment that holds records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Its number.
    pub segno: u64,
    /// Its first record.
    pub first_seq: u64,
    /// When that was journaled, UTC ns.
    pub first_ts_ns: u64,
    /// Its length on the disk, bytes.
    pub bytes: u64,
}

/// The segments of a journal, looked at again and again: of each the first record is read once.
#[derive(Debug)]
pub struct Spans {
    dir: PathBuf,
    known: BTreeMap<u64, (u64, u64)>,
}

impl Spans {
    /// Of the journal in `dir`; nothing is read yet.
    #[must_use]
    pub fn new(dir: &Path) -> Self {
        Self { dir: dir.to_owned(), known: BTreeMap::new() }
    }

    /// The segments that hold records, the oldest first.
    ///
    /// # Errors
    /// When one cannot be read.
    pub fn look(&mut self) -> Result<Vec<Span>, ReadError> {
        let io_error = |source| ReadError::Io { path: self.dir.clone(), source };
        let segnos = list(&self.dir).map_err(io_error)?;
        let oldest = segnos.first().copied().unwrap_or(u64::MAX);
        self.known.retain(|segno, _| *segno >= oldest);
        let mut spans = Vec::with_capacity(segnos.len());
        for segno in segnos {
            let first = match self.known.get(&segno) {
                Some(first) => Some(*first),
                None => first_record(&self.dir, segno)?,
            };
            let Some((first_seq, first_ts_ns)) = first else { continue };
            self.known.insert(segno, (first_seq, first_ts_ns));
            // One that goes at this moment holds nothing.
            let bytes = std::fs::metadata(path_of(&self.dir, segno)).map_or(0, |metadata| metadata.len());
            spans.push(Span { segno, first_seq, first_ts_ns, bytes });
        }
        Ok(spans)
    }
}

/// Those that somebody still needs who has passed `seq`: but for the last, which the writer itself keeps.
#[must_use]
pub fn held(spans: &[Span], seq: u64) -> &[Span] {
    // All that stand before a segment whose first record is at most one ahead have been passed.
    let passed = spans.iter().skip(1).take_while(|next| next.first_seq <= seq.saturating_add(1)).count();
    let rest = spans.get(passed..).unwrap_or_default();
    rest.split_last().map_or(&[], |(_, rest)| rest)
}
