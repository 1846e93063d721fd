//! The word that a slip of the fingers may have meant.

/// Longer words are no slip, and must not cost time.
const WORD_BYTES_MAX: usize = 128;

/// The nearest of the known words, at most a third of its letters away.
pub(super) fn nearest<T: AsRef<str>>(word: &str, known: impl Iterator<Item = T>) -> Option<T> {
    if word.len() > WORD_BYTES_MAX {
        return None;
    }
    known
        .map(|near| (strsim::damerau_levenshtein(word, near.as_ref()), near))
        .filter(|(distance, near)| distance.saturating_mul(3) <= near.as_ref().len().max(3))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, near)| near)
}
