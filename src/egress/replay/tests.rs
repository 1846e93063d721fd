//! Questions that wait, and answers of many blocks.
#![allow(clippy::arithmetic_side_effects, clippy::expect_used)]

use tradecore_domain::event::{Meta, RequestRejected};
use tradecore_journal::Config;
use tradecore_protocol::Reason;
use tradecore_protocol::next_frame;

use super::*;

const REPORTS: u64 = 1_000;

fn ask(question: Question) -> Ask {
    Ask {
        connection: ConnectionId::default(),
        stream: Stream::Session(1),
        question,
        journal_seq: REPORTS,
        send_ts_ns: 0,
        progress: Progress::default(),
    }
}

fn reject(report_seq: u64) -> Event {
    Event::from(RequestRejected {
        meta: Meta { session_id: 1, report_seq, report_no: report_seq, ..Meta::default() },
        offered: 0,
        allowed: 0,
        req_cl_ord_id: report_seq,
        orig_cl_ord_id: 0,
        order_id: 0,
        reason: Reason::TooLate.raw(),
        ref_template: 101,
        ord_status: 0,
        reserved: [0; 3],
    })
}

#[test]
fn missed_reports_come_before_fills_that_were_asked_for_earlier() {
    let link = ReplayLink::new(2, 1).expect("a link");
    assert!(link.ask(ask(Question::Fills(FillsRequest::default()))));
    assert!(link.ask(ask(Question::Reports { from: 1, to: 2 })));
    assert!(matches!(link.next_ask().expect("the first").question, Question::Reports { .. }));
    assert!(matches!(link.next_ask().expect("the second").question, Question::Fills(_)));
    assert!(link.next_ask().is_none());
}

#[test]
fn an_answer_of_many_blocks_holds_every_report_once_whether_blocks_end_within_groups_or_between() {
    for records in [1, 7, 200] {
        let dir = tempfile::tempdir().expect("a directory");
        let opened = tradecore_journal::open(&Config::new(dir.path())).expect("a journal");
        let (mut writer, _, _, _closer) = opened.into_parts();
        while writer.last_seq() < REPORTS {
            writer.begin(1);
            for _ in 0..records.min(REPORTS - writer.last_seq()) {
                let event = reject(writer.last_seq() + 1);
                let (kind, version) = event.kind();
                writer.append(kind, version, event.payload_len(), |to| assert!(event.archive_into(to)));
            }
            writer.commit();
        }
        let replication = Arc::new(crate::replication::Replication::new(crate::clock::Clock::new().origin(), false));
        let source = Source { dir: dir.path().to_owned(), durability: Durability::Journaled.raw(), replication };
        let link = Arc::new(ReplayLink::new(1, 1).expect("a link"));
        let mut replayer = Replayer::new(source, Arc::clone(&link), REPORTS).expect("a journal");
        replayer.follow().expect("readable");
        let (mut next, mut numbers, mut blocks) = (Some(ask(Question::Reports { from: 3, to: 998 })), vec![], 0);
        while let Some(ask) = next {
            replayer.answer(&ask).expect("readable");
            let block = link.blocks.pop().expect("a block");
            let mut rest = block.bytes.get(..block.len).expect("within it");
            while let Some(frame) = next_frame(rest).expect("good frames") {
                numbers.push(frame.header.seq);
                rest = rest.get(frame.bytes.len()..).expect("within it");
            }
            blocks += 1;
            // What was read is not read again: the next block begins in a group that is known.
            assert!(block.last || block.ask.progress.place.is_some(), "{records}");
            next = (!block.last).then_some(block.ask);
            drop(link.free.push(block));
        }
        assert_eq!(numbers, (3..=998).collect::<Vec<_>>(), "{records} records a group");
        assert!(blocks > 8, "{blocks}");
    }
}
