//! Answers that are still true, for many who ask the same of one read model.
//!
//! What is asked, and what of it may be seen, are one SQL text, by which an answer is kept: nobody gets what was read with
//! the rights of another. It is given again while the tables stand where they stood when it was read, and for no longer
//! than some seconds: rows that are marked or made anew in place change without an event. Without an event that is new,
//! nothing else changes them.
//!
//! What does not fit: the answers that nobody has asked for the longest leave; one that is too large by itself is given and
//! not kept.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::ask::{Answer, Question};
use super::error::ProjectionError;
use super::queries::Freshness;
use super::rights::Rights;
use super::store::Store;

/// What a cache holds, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// An answer that is older is read again.
    pub age_max: Duration,
    /// Answers, at most.
    pub answers_max: usize,
    /// Rows of all of them, at most.
    pub rows_max: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { age_max: Duration::from_secs(10), answers_max: 256, rows_max: 100_000 }
    }
}

/// Answers of one database.
#[derive(Debug, Default)]
pub struct Cache {
    bounds: Bounds,
    kept: BTreeMap<String, Kept>,
    /// Counts what is asked.
    turn: u64,
}

#[derive(Debug)]
struct Kept {
    answer: Arc<Answer>,
    read: Instant,
    /// Turn in which it was asked for last.
    turn: u64,
}

impl Cache {
    /// An empty one.
    #[must_use]
    pub fn new(bounds: Bounds) -> Self {
        Self { bounds, ..Self::default() }
    }

    /// The answer as of where `store` stands, which whoever asks has opened as fresh as it must be. What must be synchronous
    /// is read each time.
    ///
    /// # Errors
    /// When the tables cannot be read.
    pub fn ask(
        &mut self,
        question: &Question,
        rights: &Rights,
        freshness: Freshness,
        store: &mut Store,
        now: Instant,
    ) -> Result<Arc<Answer>, ProjectionError> {
        if freshness == Freshness::Synchronous {
            return question.ask(rights, store).map(Arc::new);
        }
        self.turn = self.turn.saturating_add(1);
        let sql = question.sql(rights);
        let position = store.position()?;
        if let Some(kept) = self.kept.get_mut(&sql)
            && kept.answer.position == position
            && now.saturating_duration_since(kept.read) <= self.bounds.age_max
        {
            kept.turn = self.turn;
            return Ok(Arc::clone(&kept.answer));
        }
        self.kept.remove(&sql);
        let answer = Arc::new(question.ask(rights, store)?);
        if answer.rows.len() <= self.bounds.rows_max && self.bounds.answers_max > 0 {
            self.make_room(answer.rows.len());
            self.kept.insert(sql, Kept { answer: Arc::clone(&answer), read: now, turn: self.turn });
        }
        Ok(answer)
    }

    fn make_room(&mut self, rows: usize) {
        let held = |kept: &BTreeMap<String, Kept>| kept.values().map(|kept| kept.answer.rows.len()).sum::<usize>();
        while self.kept.len() >= self.bounds.answers_max || held(&self.kept).saturating_add(rows) > self.bounds.rows_max
        {
            let oldest = self.kept.iter().min_by_key(|(_, kept)| kept.turn).map(|(sql, _)| sql.clone());
            let Some(oldest) = oldest else { return };
            self.kept.remove(&oldest);
        }
    }
}
