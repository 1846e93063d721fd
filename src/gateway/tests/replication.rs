//! What waits for the cluster, and what leaves without it.

use super::*;
use crate::clock::Moment;

#[test]
fn without_a_lease_new_orders_are_refused_those_that_wait_never_leave_and_cancels_pass() {
    let mut core = Core::new();
    core.sync();
    let resting = core.rest(1);
    core.stall();
    core.place(2).expect("accepted");
    core.replace(resting);
    assert_eq!(core.turn(), [], "they wait for their sync");
    let replication = Arc::clone(&core.link.replication);
    replication.renew(Moment::now(), Duration::ZERO);
    let mut left = core.turn();
    core.sync();
    left.extend(core.turn());
    assert_eq!(left, []);
    assert_eq!((core.status(1), core.status(2)), (OrdStatus::New, OrdStatus::Rejected));
    assert_eq!(core.place(3), Err(Reason::NoLease));
    core.cancel(resting).expect("taken");
    assert_eq!(core.turn(), [Instruction::Cancel { order_id: resting }]);
    replication.renew(Moment::now(), Duration::from_secs(3_600));
    core.turn();
    core.place(3).expect("accepted");
    core.sync();
    assert!(matches!(core.turn()[..], [Instruction::Submit(_)]));
}

#[test]
fn in_class_replicated_orders_wait_for_the_cluster_and_cancels_do_not() {
    let mut core = Core::new();
    core.gateway.settings.durability = Durability::Replicated;
    let replication = Arc::clone(&core.link.replication);
    replication.set_seq(u64::MAX);
    core.sync();
    let resting = core.rest(1);
    replication.set_seq(core.gateway.journal.last_seq());
    core.place(2).expect("accepted");
    core.sync();
    assert_eq!(core.turn(), [], "synced, and not replicated");
    core.cancel(resting).expect("taken");
    assert_eq!(core.turn(), [Instruction::Cancel { order_id: resting }]);
    replication.set_seq(core.gateway.journal.last_seq());
    assert!(matches!(core.turn()[..], [Instruction::Submit(_)]));
}
