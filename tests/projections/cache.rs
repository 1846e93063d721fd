//! Answers that are kept: given again while they are true, to whom they may be given.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rusqlite::Connection;
use tradecore::config::RoleName;
use tradecore::projections::ask::{Answer, Question};
use tradecore::projections::cache::{Bounds, Cache};
use tradecore::projections::declare::{Row as _, Table};
use tradecore::projections::queries::Freshness;
use tradecore::projections::rights::Rights;
use tradecore::projections::store::{Care, Store};
use tradecore::projections::tables::{BalanceRow, EventRow, OrderRow};
use tradecore::projections::{Projector, Source};

use crate::support::{catch_up, source_of, write_history};
use crate::viewers::entry;

fn question(table: Table, limit: u32) -> Question {
    Question { table, conditions: Vec::new(), limit }
}

/// Asks as a command does, which opens the tables each time.
fn ask(cache: &mut Cache, source: &Source, question: &Question, rights: &Rights, now: Instant) -> Arc<Answer> {
    let mut store = Store::open_to_read(source).expect("opens");
    cache.ask(question, rights, Freshness::Eventual, &mut store, now).expect("answered")
}

#[test]
fn an_answer_is_given_again_until_an_event_comes_or_it_is_too_old_and_never_where_it_must_be_synchronous() {
    let dir = tempfile::tempdir().expect("a directory");
    let (journal_dir, _) = write_history(dir.path(), 3);
    let source = source_of(&journal_dir, &dir.path().join("rows.sqlite"));
    let mut projector = Projector::open(&source, Care::Live).expect("opens").expect("goes on");
    projector.step(500).expect("a batch");
    let balances = question(BalanceRow::TABLE, 1_000);
    let bounds = Bounds::default();
    let (mut cache, all, now) = (Cache::new(bounds), Rights::all(), Instant::now());
    let first = ask(&mut cache, &source, &balances, &all, now);
    assert!(!first.rows.is_empty() && first.position == *projector.position());
    // Rows that change without an event: an answer of before is given for a while.
    let change = "UPDATE balances SET is_stale = 1";
    Connection::open(&source.path).expect("opens").execute(change, []).expect("changed");
    let again = ask(&mut cache, &source, &balances, &all, now + bounds.age_max);
    assert!(Arc::ptr_eq(&first, &again), "it is the one that was read before");
    let later = ask(&mut cache, &source, &balances, &all, now + bounds.age_max + Duration::from_nanos(1));
    assert!(later.rows != first.rows && later.position == first.position, "too old: it was read again");
    let mut store = Store::open_to_read(&source).expect("opens");
    let mut synchronous = || {
        let asked = cache.ask(&balances, &all, Freshness::Synchronous, &mut store, now);
        asked.expect("answered")
    };
    assert!(!Arc::ptr_eq(&synchronous(), &synchronous()), "read each time");
    drop(store);
    let kept = ask(&mut cache, &source, &balances, &all, now);
    assert!(Arc::ptr_eq(&later, &kept), "what is synchronous puts nothing in its place");
    // At once, however young it is: whoever wants these events has waited for them.
    assert!(projector.step(600).expect("a batch") > 0);
    let newer = ask(&mut cache, &source, &balances, &all, now);
    assert_eq!(newer.position, *projector.position());
    assert!(newer.rows != later.rows, "a hundred events change a balance");
}

#[test]
fn nobody_gets_what_was_read_with_the_rights_of_another_or_for_another_question() {
    let dir = tempfile::tempdir().expect("a directory");
    let (journal_dir, _) = write_history(dir.path(), 3);
    let source = source_of(&journal_dir, &dir.path().join("rows.sqlite"));
    catch_up(&source);
    let (mut cache, now) = (Cache::default(), Instant::now());
    let limited = Rights::of(&entry(RoleName::Trade, vec![1]));
    let mut seen = Vec::new();
    for rights in [Rights::all(), limited] {
        for question in
            [question(OrderRow::TABLE, 1_000_000), question(OrderRow::TABLE, 7), question(EventRow::TABLE, 7)]
        {
            let mut store = Store::open_to_read(&source).expect("opens");
            let expected = question.ask(&rights, &mut store).expect("answered");
            let answers = [(); 2].map(|()| ask(&mut cache, &source, &question, &rights, now));
            assert!(Arc::ptr_eq(&answers[0], &answers[1]), "the second is the first");
            assert!(answers[0].rows == expected.rows, "{rights:?} {question:?}");
            seen.push(expected.rows.len());
        }
    }
    assert!(seen[3] > 0 && seen[3] < seen[0], "the history has orders of others: {seen:?}");
}

#[test]
fn of_more_answers_or_rows_than_there_is_room_for_those_leave_that_nobody_asked_for_the_longest() {
    let dir = tempfile::tempdir().expect("a directory");
    let (journal_dir, _) = write_history(dir.path(), 3);
    let source = source_of(&journal_dir, &dir.path().join("rows.sqlite"));
    catch_up(&source);
    let (all, now) = (Rights::all(), Instant::now());
    let is_kept = |cache: &mut Cache, before: &Arc<Answer>, limit: u32| {
        Arc::ptr_eq(before, &ask(cache, &source, &question(EventRow::TABLE, limit), &all, now))
    };
    let read = |cache: &mut Cache, limit: u32| ask(cache, &source, &question(EventRow::TABLE, limit), &all, now);
    let age_max = Duration::from_secs(10);
    let mut few = Cache::new(Bounds { age_max, answers_max: 2, rows_max: 1_000 });
    let [ten, twenty] = [10, 20].map(|limit| read(&mut few, limit));
    assert!(is_kept(&mut few, &ten, 10));
    let thirty = read(&mut few, 30);
    assert!(is_kept(&mut few, &thirty, 30) && is_kept(&mut few, &ten, 10) && !is_kept(&mut few, &twenty, 20));
    let mut small = Cache::new(Bounds { age_max, answers_max: 10, rows_max: 50 });
    let [ten, twenty] = [10, 20].map(|limit| read(&mut small, limit));
    let thirty = read(&mut small, 30);
    assert!(is_kept(&mut small, &thirty, 30) && is_kept(&mut small, &twenty, 20), "fifty rows fit");
    // It takes the place of the one that was asked for the longest ago, until there is room.
    assert!(!is_kept(&mut small, &ten, 10) && !is_kept(&mut small, &thirty, 30));
    let [last, too_many] = [30, 51].map(|limit| read(&mut small, limit));
    assert_eq!(too_many.rows.len(), 51, "what does not fit is told");
    assert!(!is_kept(&mut small, &too_many, 51) && is_kept(&mut small, &last, 30), "and nothing leaves for it");
}
