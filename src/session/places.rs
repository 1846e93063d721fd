//! Places of a table that wait for something: each at most once, in turn.

use std::collections::VecDeque;

/// A queue of places, as long as the table at most; allocated at start.
#[derive(Debug)]
pub struct Places {
    queue: VecDeque<u32>,
    is_queued: Box<[bool]>,
}

impl Places {
    /// An empty queue for a table of `count` places.
    #[must_use]
    pub fn new(count: usize) -> Self {
        Self { queue: VecDeque::with_capacity(count), is_queued: vec![false; count].into_boxed_slice() }
    }

    /// How many wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.queue.len()
    }

    /// True when none waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Lets a place wait, behind those that do; one that waits already keeps its turn.
    pub fn add(&mut self, index: u32) {
        if let Some(is_queued) = self.is_queued.get_mut(index as usize)
            && !*is_queued
        {
            *is_queued = true;
            self.queue.push_back(index);
        }
    }

    /// The place whose turn it is; it does not wait any more.
    pub fn take(&mut self) -> Option<u32> {
        let index = self.queue.pop_front()?;
        if let Some(is_queued) = self.is_queued.get_mut(index as usize) {
            *is_queued = false;
        }
        Some(index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_place_waits_once_and_comes_in_turn() {
        let mut places = Places::new(3);
        for index in [2, 0, 2, 9, 0] {
            places.add(index);
        }
        assert_eq!((places.len(), places.take(), places.take(), places.take()), (2, Some(2), Some(0), None));
        places.add(2);
        assert_eq!(places.take(), Some(2));
        assert!(places.is_empty());
    }
}
