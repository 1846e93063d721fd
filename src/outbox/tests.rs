//! What leaves when, and what never does.

use super::*;

fn submit(order: u64) -> Instruction {
    Instruction::Submit(SubmitOrder {
        order_id: OrderId(order),
        account_id: AccountId(1),
        instrument_id: InstrumentId(1),
        side: Side::Buy,
        ord_type: OrdType::Limit,
        tif: Tif::Day,
        post_only: false,
        px: Px(1),
        order_qty: Qty(1),
        valid_until_ns: 0,
        kill_epoch: 0,
    })
}

fn until(ns: u64, instruction: Instruction) -> Instruction {
    let Instruction::Submit(order) = instruction else { panic!("{instruction:?}") };
    Instruction::Submit(SubmitOrder { valid_until_ns: ns, ..order })
}

fn replace(order: u64) -> Instruction {
    let (order_id, account_id) = (OrderId(order), AccountId(1));
    Instruction::Replace { order_id, account_id, px: Px(2), total_qty: Qty(2), valid_until_ns: 0, kill_epoch: 0 }
}

fn cancel(order: u64) -> Instruction {
    Instruction::Cancel { order_id: OrderId(order) }
}

fn query(order: u64) -> Instruction {
    Instruction::Query { order_id: OrderId(order) }
}

fn outbox(ring: usize) -> (Outbox, Arc<Link>, Failures) {
    let link = Arc::new(Link::new(ring, 1, 1, 1).unwrap());
    (Outbox::new(Arc::clone(&link), 16, 16), link, VecDeque::with_capacity(4))
}

fn left(link: &Link) -> Vec<Instruction> {
    std::iter::from_fn(|| link.instructions.pop()).collect()
}

/// What has failed, as definitely not sent.
fn failed(failures: &mut Failures) -> Vec<(u64, EffectKind, Reason)> {
    let each = |failure| match failure {
        Command::EffectFailed { order_id, kind, failure: EffectFailure::NotSent, reason } => (order_id.0, kind, reason),
        other => panic!("{other:?}"),
    };
    failures.drain(..).map(each).collect()
}

#[test]
fn an_effect_that_may_leave_is_in_the_ring_at_once_and_passes_nothing_that_waits() {
    let (mut outbox, link, mut failures) = outbox(2);
    assert!(outbox.pass(submit(1)) && outbox.is_empty());
    assert_eq!(left(&link), [submit(1)]);
    outbox.offer(9, submit(2));
    assert!(!outbox.pass(submit(3)), "an order waits for its sync");
    outbox.release(0, 9, &|_, _| None, &mut failures);
    assert!(outbox.pass(cancel(2)), "nothing waits any more");
    assert!(!outbox.pass(cancel(1)), "the ring is full");
    outbox.offer(9, cancel(1));
    assert_eq!(left(&link), [submit(2), cancel(2)]);
    assert!(!outbox.pass(cancel(3)), "a cancel waits for the ring");
}

#[test]
fn an_order_leaves_when_its_event_is_durable_and_not_before() {
    let (mut outbox, link, mut failures) = outbox(8);
    outbox.offer(5, submit(1));
    outbox.release(0, 4, &|_, _| None, &mut failures);
    assert_eq!(left(&link), []);
    outbox.release(0, 5, &|_, _| None, &mut failures);
    assert_eq!(left(&link), [submit(1)]);
    assert!(outbox.is_empty());
}

#[test]
fn a_cancel_waits_for_nothing_but_its_own_order() {
    let (mut outbox, link, mut failures) = outbox(8);
    outbox.offer(5, submit(1));
    outbox.offer(6, cancel(1));
    outbox.offer(7, cancel(2));
    outbox.offer(8, submit(3));
    outbox.release(0, 0, &|_, _| None, &mut failures);
    assert_eq!(left(&link), [cancel(2)]);
    outbox.release(0, 5, &|_, _| None, &mut failures);
    assert_eq!(left(&link), [submit(1), cancel(1)]);
    outbox.offer(10, cancel(1));
    outbox.release(0, 5, &|_, _| None, &mut failures);
    assert_eq!(left(&link), [cancel(1)]);
}

#[test]
fn a_query_waits_behind_its_own_order_and_no_other() {
    let (mut outbox, link, mut failures) = outbox(8);
    outbox.offer(5, replace(1));
    outbox.offer(0, query(1));
    outbox.offer(0, query(2));
    outbox.release(0, 4, &|_, _| None, &mut failures);
    assert_eq!(left(&link), [query(2)]);
    outbox.release(0, 5, &|_, _| None, &mut failures);
    assert_eq!(left(&link), [replace(1), query(1)]);
    assert!(outbox.is_empty());
}

#[test]
fn with_every_place_taken_no_cancel_of_another_order_waits_and_all_have_room() {
    let link = Arc::new(Link::new(8_192, 1, 1, 1).unwrap());
    let mut outbox = Outbox::new(Arc::clone(&link), 4_096, 4_096);
    let mut failures = VecDeque::with_capacity(4);
    // Numbers and order ids go round: what waited before has left no trace.
    for round in 0..3_u64 {
        let mine = || round * 10_000 + 1..=round * 10_000 + 4_096;
        mine().for_each(|order| outbox.offer(order, submit(order)));
        assert!(!outbox.has_room(1) && outbox.has_room_for_cancels(4_096), "{round}");
        let others: Vec<_> = (0..2_048).map(|nth| cancel(1_000_000 + nth)).collect();
        others.iter().for_each(|cancel| outbox.offer(1, *cancel));
        outbox.release(0, 0, &|_, _| None, &mut failures);
        assert_eq!(left(&link), others, "{round}");
        mine().for_each(|order| outbox.offer(1, cancel(order)));
        mine().for_each(|order| outbox.offer(1, cancel(order)));
        assert!(!outbox.has_room_for_cancels(1), "those that wait behind their orders count, and each once");
        outbox.release(0, u64::MAX, &|_, _| None, &mut failures);
        let expected: Vec<_> = mine().flat_map(|order| [submit(order), cancel(order)]).collect();
        assert!(left(&link) == expected, "{round}");
        assert!(outbox.is_empty() && outbox.has_room_for_cancels(4_096), "{round}");
    }
}

#[test]
fn what_is_stopped_or_stale_never_leaves_durable_or_not_and_its_cancel_does_where_the_broker_has_the_order() {
    let (mut outbox, link, mut failures) = outbox(8);
    outbox.offer(1, submit(1));
    outbox.offer(2, until(100, submit(2)));
    outbox.offer(3, submit(3));
    outbox.offer(3, replace(4));
    (1..=4).for_each(|order| outbox.offer(4, cancel(order)));
    let stopped = |order: OrderId, kind: EffectKind| match (order.0, kind) {
        (1, EffectKind::Submit) => Some(Reason::Killed),
        (3, EffectKind::Submit) => Some(Reason::TooLate),
        (4, EffectKind::Replace) => Some(Reason::PendingChange),
        _ => None,
    };
    outbox.release(101, 0, &stopped, &mut failures);
    assert_eq!(left(&link), [cancel(3), cancel(4)]);
    assert!(outbox.is_empty() && outbox.has_room_for_cancels(16));
    let expected = [
        (1, EffectKind::Submit, Reason::Killed),
        (2, EffectKind::Submit, Reason::StaleRequest),
        (3, EffectKind::Submit, Reason::TooLate),
        (4, EffectKind::Replace, Reason::PendingChange),
    ];
    assert_eq!(failed(&mut failures), expected);
}

#[test]
fn a_full_ring_keeps_the_rest_in_order() {
    let (mut outbox, link, mut failures) = outbox(1);
    outbox.offer(1, submit(1));
    outbox.offer(2, submit(2));
    outbox.offer(3, cancel(1));
    outbox.release(0, 9, &|_, _| None, &mut failures);
    for expected in [submit(1), cancel(1), submit(2)] {
        assert_eq!(left(&link), [expected]);
        outbox.release(0, 9, &|_, _| None, &mut failures);
    }
    assert!(outbox.is_empty());
}

#[test]
fn the_deepest_outbox_takes_no_page_fault() {
    let link = Arc::new(Link::new(8_192, 1, 1, 1).unwrap());
    let mut outbox = Outbox::new(link, 8_192, 8_192);
    let faults = || {
        let stat = std::fs::read_to_string("/proc/thread-self/stat").expect("read");
        stat.rsplit(") ")
            .next()
            .and_then(|rest| rest.split(' ').nth(7))
            .expect("minflt")
            .parse::<u64>()
            .expect("a number")
    };
    let before = faults();
    (1..=8_192).for_each(|order| outbox.offer(order, submit(order)));
    (10_001..=18_192).for_each(|order| outbox.offer(1, cancel(order)));
    // Of its own the test has some; of its memory, 200 pages, the outbox has none.
    assert!(faults() - before < 40, "{} page faults", faults() - before);
}
