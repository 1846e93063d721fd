//! What a message is about, as the report of its delivery names it; and which reports say that it is refused for good.

use rdkafka::error::{KafkaError, RDKafkaErrorCode};

const JSON: usize = 1 << 63;
const LETTER: usize = 1 << 62;
const _: () = assert!(usize::BITS == 64, "a report carries one word, and a number of an event has 64 bits");

/// What a message is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum About {
    /// A record of the journal, in the slot with this index.
    Event(usize),
    /// An event as JSON, by its number.
    Json(u64),
    /// Its dead letter.
    Letter(u64),
    /// An alert, or a sign of life.
    Note,
    /// Progress.
    Other,
}

impl About {
    /// As one word, which the client carries to the report.
    pub(super) const fn word(self) -> usize {
        match self {
            Self::Event(slot) => slot,
            Self::Json(seq) => JSON | seq as usize,
            Self::Letter(seq) => LETTER | seq as usize,
            Self::Note => JSON | LETTER | 1,
            Self::Other => JSON | LETTER,
        }
    }

    pub(super) const fn from_word(word: usize) -> Self {
        let rest = (word & !(JSON | LETTER)) as u64;
        match (word & JSON != 0, word & LETTER != 0) {
            (false, false) => Self::Event(word),
            (true, false) => Self::Json(rest),
            (false, true) => Self::Letter(rest),
            (true, true) if rest == 1 => Self::Note,
            (true, true) => Self::Other,
        }
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
        let seq = (1 << 62) - 1;
        for about in [About::Event(0), About::Event(10_240), About::Json(1), About::Json(seq), About::Letter(seq)] {
            assert_eq!(About::from_word(about.word()), about);
        }
        for about in [About::Note, About::Other] {
            assert_eq!(About::from_word(about.word()), about);
        }
    }
}
