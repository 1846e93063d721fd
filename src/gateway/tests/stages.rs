//! What the stages of an order are, and which orders have none.

use tradecore_protocol::frame::{encode, next_client_frame};
use tradecore_protocol::messages::NewOrder;
use tradecore_protocol::wire::{I64, U32, U64};

use super::*;
use crate::histogram::Reading;
use crate::mapped::Reader;

/// A core whose figures are read as another process reads them.
struct Measured {
    core: Core,
    reader: Reader,
    client: UnixStream,
    seq: u64,
    _dir: tempfile::TempDir,
}

impl Measured {
    fn new(is_on: bool) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let mut core = Core::new();
        core.gateway.counters = Arc::new(Mapped::in_dir(dir.path(), 1_000_000_000).expect("a file"));
        core.gateway.stages = Recorder::new(is_on);
        let reader = Reader::in_dir(dir.path()).expect("a gateway's file");
        core.sync();
        let client = core.client();
        Self { core, reader, client, seq: 0, _dir: dir }
    }

    /// A frame arrives in a turn whose poll and read are over.
    fn arrives(&mut self, frame: &[u8]) {
        self.arrives_after_a_poll(false, frame);
    }

    fn arrives_after_a_poll(&mut self, could_wait: bool, frame: &[u8]) {
        let gateway = &mut self.core.gateway;
        let now = gateway.clock.read();
        gateway.stages.begin();
        gateway.stages.polled(could_wait);
        gateway.stages.read();
        let frame = next_client_frame(frame).expect("well-formed").expect("whole");
        gateway.request(0, &frame, now);
    }

    fn order(&mut self, qty: Qty) -> [u8; NewOrder::FRAME_BYTES] {
        self.seq += 1;
        let order = Core::order(self.seq);
        let block = NewOrder {
            cl_ord_id: U64::new(order.cl_ord_id.0),
            px: I64::new(order.px.0),
            qty: I64::new(qty.0),
            instrument_id: U32::new(order.instrument_id.0),
            account_id: U32::new(order.account_id.0),
            side: order.side,
            ord_type: order.ord_type,
            tif: order.tif,
            ..NewOrder::default()
        };
        let mut frame = [0; NewOrder::FRAME_BYTES];
        encode(&mut frame, Envelope { seq: self.seq, ..Envelope::default() }, &block).expect("room");
        frame
    }

    fn counts(&self) -> Vec<u64> {
        self.reader.snapshot().stages.iter().map(|(.., reading)| reading.count()).collect()
    }
}

#[test]
fn an_order_is_counted_in_every_stage_once_its_report_has_left() {
    let mut measured = Measured::new(true);
    let order = measured.order(Qty(ONE));
    measured.core.unsync();
    measured.arrives(&order);
    for _ in 0..100 {
        measured.core.turn();
    }
    assert_eq!(measured.counts(), [0; crate::stages::COUNT], "it waits for its sync");
    measured.core.sync();
    measured.core.turn();
    measured.client.read_exact(&mut [0; ExecReport::FRAME_BYTES]).expect("a report");
    assert_eq!(measured.counts(), [1; crate::stages::COUNT]);
    let snapshot = measured.reader.snapshot();
    let sum = |reading: &Reading| reading.sum();
    let parts: u64 =
        snapshot.stages.iter().filter(|(name, ..)| name != "total").map(|(.., reading)| sum(reading)).sum();
    assert_eq!(parts, sum(snapshot.stage("total").expect("a total")), "stages follow each other without a gap");
    assert!(sum(snapshot.stage("release").expect("a stage")) > 0, "the wait for the sync is in it");
}

#[test]
fn one_command_a_turn_is_counted_and_none_that_was_refused_or_rehearsed() {
    let mut measured = Measured::new(true);
    let first = measured.order(Qty(ONE));
    let behind_it = measured.order(Qty(ONE));
    measured.arrives(&first);
    measured.arrives(&behind_it);
    measured.core.sync();
    measured.core.turn();
    assert_eq!(measured.counts(), [1; crate::stages::COUNT]);

    measured.arrives(&first);
    measured.core.turn();
    assert_eq!(measured.core.gateway.counters.duplicates.get(), 1, "it was answered, and made no event");
    measured.core.gateway.settings.durability_lag_max = 0;
    measured.core.unsync();
    let refused = measured.order(Qty(ONE));
    measured.arrives(&refused);
    measured.core.sync();
    measured.core.turn();
    assert_eq!(measured.core.gateway.counters.refusals.get(), 1);
    let rehearsals = measured.core.gateway.counters.rehearsals.get();
    while measured.core.gateway.counters.rehearsals.get() < rehearsals + 10 {
        measured.core.turn();
    }
    assert_eq!(measured.counts(), [1; crate::stages::COUNT]);
}

#[test]
fn a_poll_that_may_wait_is_no_stage() {
    let mut measured = Measured::new(true);
    let order = measured.order(Qty(ONE));
    measured.arrives_after_a_poll(true, &order);
    measured.core.sync();
    measured.core.turn();
    let counts = measured.counts();
    assert_eq!((counts[0], &counts[1..]), (0, &[1; crate::stages::COUNT - 1][..]));
}

#[test]
fn nothing_is_measured_when_it_is_switched_off() {
    let mut measured = Measured::new(false);
    let order = measured.order(Qty(ONE));
    measured.arrives(&order);
    measured.core.sync();
    measured.core.turn();
    measured.client.read_exact(&mut [0; ExecReport::FRAME_BYTES]).expect("a report");
    assert_eq!(measured.counts(), [0; crate::stages::COUNT]);
    assert!(measured.reader.snapshot().counter("events") > Some(0), "counters count all the same");
}
