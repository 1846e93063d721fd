//! A question that is asked again and again: what has changed is told.

use std::io::IsTerminal as _;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tradecore::exit::Exit;
use tradecore::projections::Source;
use tradecore::projections::ask::Answer;
use tradecore::projections::cache::Cache;
use tradecore::projections::rights::Rights;

use super::super::failure::Failure;
use super::super::{print, stop_at_signals, warn};
use super::{Put, answer};

/// As long as a Ctrl-C may wait.
const STOP_EVERY: Duration = Duration::from_millis(50);
/// Home, and nothing below.
const CLEAR: &str = "\u{1b}[H\u{1b}[2J";

pub(super) fn watch(put: &Put, every: Duration, rights: &Rights, source: &Source) -> Result<(), Failure> {
    let stop = stop_at_signals()?;
    let clear = if std::io::stdout().is_terminal() { CLEAR } else { "" };
    let mut cache = Cache::default();
    let mut told: Option<Arc<Answer>> = None;
    let mut trouble = String::new();
    loop {
        let asked = Instant::now();
        let mut ask = || -> Result<_, Failure> {
            let (mut store, symbols) = put.open(source)?;
            let answer = cache.ask(&put.question(&symbols)?, rights, put.query.freshness, &mut store, asked)?;
            Ok((answer, symbols))
        };
        match ask() {
            Ok((answer, symbols)) => {
                trouble.clear();
                if told.as_ref().is_none_or(|told| is_other(told, &answer)) {
                    let is_read = if put.options.json {
                        print(&answer::json_line(&put.query.table, &answer))?
                    } else {
                        print(&format!("{clear}{}", answer::table(&put.query, &answer, &symbols)))?
                    };
                    if !is_read {
                        return Ok(());
                    }
                }
                told = Some(answer);
            }
            // The same would be said for ever.
            Err(failure) if matches!(failure.exit, Exit::Usage | Exit::Config | Exit::Credential | Exit::Rejected) => {
                return Err(failure);
            }
            Err(failure) => {
                // Once, as long as it is the same.
                let text = failure.to_string();
                if text != trouble {
                    warn(&format!("{text}; it is asked again"));
                    trouble = text;
                }
            }
        }
        while asked.elapsed() < every {
            if stop.load(Ordering::Acquire) {
                return Ok(());
            }
            std::thread::park_timeout(STOP_EVERY.min(every.saturating_sub(asked.elapsed())));
        }
        if stop.load(Ordering::Acquire) {
            return Ok(());
        }
    }
}

/// Whether it says something else, whenever that was.
fn is_other(told: &Arc<Answer>, answer: &Arc<Answer>) -> bool {
    let said = |answer: &Answer| (answer.is_cut, answer.unread.clone());
    !Arc::ptr_eq(told, answer) && (said(told) != said(answer) || told.rows != answer.rows)
}

#[cfg(test)]
mod tests {
    use tradecore::projections::ask::Unread;
    use tradecore::projections::cell::Cell;
    use tradecore::projections::tables::PositionOfProjectionRow;

    use super::*;

    #[test]
    fn an_answer_is_another_by_what_it_says_and_not_by_when_that_was() {
        let of = |seq, value, is_cut, unread| {
            let position = PositionOfProjectionRow { seq, ..PositionOfProjectionRow::default() };
            Arc::new(Answer { position, rows: vec![vec![Cell::Int(value)]], is_cut, unread })
        };
        let told = of(1, 7, false, Vec::new());
        assert!(!is_other(&told, &told) && !is_other(&told, &of(2, 7, false, Vec::new())));
        let unread = vec![Unread { kind: 999, events: 1, first_seq: 2 }];
        for answer in [of(1, 8, false, Vec::new()), of(1, 7, true, Vec::new()), of(1, 7, false, unread)] {
            assert!(is_other(&told, &answer), "{answer:?}");
        }
    }
}
