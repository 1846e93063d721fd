//! What a message is about, as the report of its delivery names it; and which reports say that it is refused for good.

use rdkafka::error::{KafkaError, RDKafkaErrorCode};

const JSON: usize = 1 << 63;
const LETTER: usize = 1 << 62;
const SAGA: usize = 1 << 61;
const _: () = assert!(usize::BITS == 64, "a report carries one word, and a number of an event has 64 bits");

/// An event in one of its feeds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Piece {
    /// Its number.
    pub(super) seq: u64,
    /// In that of sagas; else in that of its domain.
    pub(super) is_saga: bool,
}

/// What a message is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum About {
    /// A record of the journal, in the slot with this index.
    Event(usize),
    /// An event as JSON.
    Json(Piece),
    /// Its dead letter.
    Letter(Piece),
    /// An alert of the kind with this index, or, behind all kinds, a sign of life.
    Note(usize),
    /// Progress.
    Other,
}

impl About {
    /// As one word, which the client carries to the report.
    pub(super) const fn word(self) -> usize {
        match self {
            Self::Event(slot) => slot,
            Self::Json(piece) => JSON | piece.word(),
            Self::Letter(piece) => LETTER | piece.word(),
            Self::Note(index) => JSON | LETTER | index.saturating_add(1),
            Self::Other => JSON | LETTER,
        }
    }

    pub(super) const fn from_word(word: usize) -> Self {
        let rest = word & !(JSON | LETTER);
        match (word & JSON != 0, word & LETTER != 0) {
            (false, false) => Self::Event(word),
            (true, false) => Self::Json(Piece::from_word(rest)),
            (false, true) => Self::Letter(Piece::from_word(rest)),
            (true, true) => match rest.checked_sub(1) {
                Some(index) => Self::Note(index),
                None => Self::Other,
            },
        }
    }
}

impl Piece {
    const fn word(self) -> usize {
        if self.is_saga { SAGA | self.seq as usize } else { self.seq as usize }
    }

    const fn from_word(word: usize) -> Self {
        Self { seq: (word & !SAGA) as u64, is_saga: word & SAGA != 0 }
    }
}

/// A record that the sink takes at no time, however often it is sent.
pub(super) fn is_refused_for_good(error: &KafkaError) -> bool {
    use RDKafkaErrorCode as C;
    let refusals = [
        C::MessageSizeTooLarge,
        C::MessageBatchTooLarge,
        C::InvalidRecord,
        // Another of its batch was invalid: which, is found when each is sent alone.
        C::InvalidDifferentRecord,
        C::InvalidTimestamp,
        C::PolicyViolation,
        C::UnsupportedForMessageFormat,
    ];
    error.rdkafka_error_code().is_some_and(|code| refusals.contains(&code))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_message_is_about_survives_its_way_through_the_client() {
        let pieces = [1, (1 << 61) - 1].into_iter().flat_map(|seq| [false, true].map(|is_saga| Piece { seq, is_saga }));
        let of_events = pieces.flat_map(|piece| [About::Json(piece), About::Letter(piece)]);
        for about in
            of_events.chain([About::Event(0), About::Event(10_240), About::Note(0), About::Note(10), About::Other])
        {
            assert_eq!(About::from_word(about.word()), about);
        }
    }
}
