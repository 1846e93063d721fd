//! Nothing comes of a rehearsal.

use tradecore_protocol::frame::{encode, next_client_frame};
use tradecore_protocol::messages::NewOrder;
use tradecore_protocol::wire::{I64, U32, U64};

use super::*;

fn frame_of(order: &PlaceOrder) -> [u8; NewOrder::FRAME_BYTES] {
    let mut frame = [0; NewOrder::FRAME_BYTES];
    let block = NewOrder {
        cl_ord_id: U64::new(order.cl_ord_id.0),
        px: I64::new(order.px.0),
        qty: I64::new(order.order_qty.0),
        instrument_id: U32::new(order.instrument_id.0),
        account_id: U32::new(order.account_id.0),
        side: order.side,
        ord_type: order.ord_type,
        tif: order.tif,
        ..NewOrder::default()
    };
    encode(&mut frame, Envelope { seq: 1, ..Envelope::default() }, &block).expect("room");
    frame
}

#[test]
fn a_loop_with_nothing_to_do_rehearses_the_last_order_and_nothing_comes_of_it() {
    let mut core = Core::new();
    core.sync();
    core.place(1).expect("accepted");
    core.sync();
    assert!(matches!(core.turn()[..], [Instruction::Submit(_)]));
    let mut client = core.client();
    client.set_nonblocking(true).expect("works");
    let from = core.gateway.connections.get_mut(0).expect("the connection").id;
    let bytes = frame_of(&Core::order(1));
    let frame = next_client_frame(&bytes).expect("well-formed").expect("whole");
    core.gateway.rehearsal.remember(from, &frame);

    let seen = |core: &Core| {
        let gateway = &core.gateway;
        let connection = gateway.connections.get(0).expect("the connection");
        let session = (connection.session.counts(), connection.session.expected_seq(), connection.is_closing());
        let waiting = (connection.queued_bytes(), gateway.gate.is_empty(), gateway.outbox.is_empty());
        (gateway.state.hash(), gateway.journal.last_seq(), format!("{session:?}"), waiting, connection.strikes)
    };
    let before = seen(&core);
    let refused = core.gateway.counters.refusals.get();
    let mut turns = 0;
    while core.gateway.counters.rehearsals.get() < 100 {
        assert_eq!(core.turn(), [], "nothing leaves for the broker");
        turns += 1;
        assert!(turns < 10_000, "it never rehearses");
    }
    assert_eq!(seen(&core), before);
    assert_eq!(core.gateway.counters.refusals.get(), refused);
    assert!(client.read(&mut [0; 64]).is_err(), "nothing leaves for the client");

    drop(client);
    while !core.gateway.connections.is_empty() {
        core.turn();
    }
    let rehearsals = core.gateway.counters.rehearsals.get();
    for _ in 0..100 {
        core.turn();
    }
    assert_eq!(core.gateway.counters.rehearsals.get(), rehearsals, "of an order whose sender is gone there is none");
    assert_eq!(core.status(1), OrdStatus::PendingNew);
}
