//! What a report says has survived: nothing leaves before the sync of the event that it tells of.

use tradecore_protocol::fields::Durability;
use tradecore_protocol::messages::{ExecReport, Heartbeat, OrderStatusRequest, QueryEnd, RequestReject, TestRequest};
use tradecore_protocol::wire::U64;

use super::host::Host;
use super::peer::{Peer, frame_of, rejected, resting};

#[test]
fn no_report_no_answer_and_no_unnumbered_frame_behind_them_overtakes_the_sync() {
    const ROUNDS: u64 = 100;
    let host = Host::trading(&super::host::Setup::default());
    let mut peer = Peer::live(&host, 1);
    let mut journal = host.synced();
    let mut synced = 0;
    let mut has_synced = |seq: u64| {
        while let Some(group) = journal.next_group().expect("readable") {
            synced = group.records().map(|record| record.seq).last().unwrap_or(synced);
        }
        seq <= synced
    };
    for round in 1..=ROUNDS {
        let seq = 2 * round - 1;
        // In one segment: what follows is queued while the reports before it wait.
        let status = OrderStatusRequest {
            request_id: U64::new(round),
            cl_ord_id: U64::new(round),
            ..OrderStatusRequest::default()
        };
        let segment = [
            frame_of(seq, 0, &resting(round)),
            frame_of(seq + 1, 0, &rejected(1_000 + round)),
            frame_of(0, 0, &status),
            frame_of(0, 0, &TestRequest { test_id: U64::new(round) }),
        ];
        peer.send_bytes(&segment.concat());
        let (mut reports, mut answers) = (0, 0);
        loop {
            let said = peer.next().expect("the session goes on");
            let told_of = if let Some(report) = said.read::<ExecReport>() {
                assert_eq!(report.durability, Durability::Synced.raw());
                reports += 1;
                report.journal_seq
            } else if let Some(reject) = said.read::<RequestReject>() {
                reports += 1;
                reject.journal_seq
            } else if let Some(end) = said.read::<QueryEnd>() {
                answers += 1;
                end.as_of_seq
            } else if said.read::<Heartbeat>().is_some_and(|heartbeat| heartbeat.test_id.get() == round) {
                break;
            } else {
                panic!("{said:?}");
            };
            assert!(has_synced(told_of.get()), "{} tells of {told_of:?}", said.name());
        }
        assert!(reports >= 2 && answers == 1, "the heartbeat has overtaken: {reports} reports, {answers} answers");
        // The broker's answer comes at any time: every order is read to its end before the next.
        while reports < 4 {
            let said = peer.next_told();
            let report = said.read::<ExecReport>().unwrap_or_else(|| panic!("{said:?}"));
            assert!(has_synced(report.journal_seq.get()));
            reports += 1;
        }
    }
}
