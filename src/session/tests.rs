#![allow(clippy::arithmetic_side_effects, clippy::expect_used, clippy::indexing_slicing)]

use std::io::Read;
use std::os::unix::net::UnixStream;

use tradecore_protocol::fields::{CodMode, Environment, Role};

use super::*;
use crate::egress::gate::Gate;
use crate::stages::Recorder;

const FRAME: [u8; 1024] = [7; 1024];
const CONNECTIONS: u32 = 8;
/// Half of the pool in 8 floors of 15 chunks and one for the goodbye each; 128 chunks are shared.
const POOL_CHUNKS: u32 = 256;
const LINGER_NS: u64 = 1_000;

fn at(mono_ns: u64) -> Now {
    Now { mono_ns, utc_ns: mono_ns }
}

struct Bench {
    connections: Connections,
    gate: Gate,
    peers: Vec<UnixStream>,
    dir: tempfile::TempDir,
}

impl Bench {
    fn new(outbound_bytes_max: usize) -> Self {
        let dir = tempfile::tempdir().expect("works");
        let listener = Listener::unix(&dir.path().join("socket")).expect("works");
        let bounds = Bounds {
            connections_max: CONNECTIONS,
            outbound_bytes_max,
            pool_chunks: POOL_CHUNKS,
            close_linger_ns: LINGER_NS,
        };
        let connections = Connections::new(bounds, vec![listener]).expect("works");
        let mut bench = Self { connections, gate: Gate::new(100_000), peers: vec![], dir };
        (0..CONNECTIONS).for_each(|_| bench.connect());
        bench
    }

    /// Connects one more peer; its place, if it finds one.
    fn try_connect(&mut self) -> Option<u32> {
        let config = ServerConfig {
            gateway_id: Text::new("tests"),
            instance_id: 1,
            environment: Environment::Virtual,
            core: 1,
            resend_count_max: 1,
            logon_timeout_ns: 1,
            heartbeat_min_ms: 1,
            heartbeat_max_ms: 1,
        };
        self.peers.push(UnixStream::connect(self.dir.path().join("socket")).expect("works"));
        self.connections.accept_ready = true;
        self.connections.accept(&config, || [0; 32], at(0))
    }

    fn connect(&mut self) {
        let index = self.try_connect().expect("room");
        assert_eq!(index as usize + 1, self.peers.len());
    }

    fn queue(&mut self, index: u32, journal_seq: Option<u64>) {
        self.connections.queue(index, &FRAME, journal_seq, 1, &mut self.gate);
    }

    fn flush(&mut self) {
        self.connections.flush(at(0), &mut Recorder::new(false), &mut |block| drop(block));
    }

    fn is_slow(&self, index: u32) -> bool {
        self.connections.get(index).is_some_and(|connection| connection.is_slow)
    }

    fn release(&mut self, durable_seq: u64) {
        while let Some((id, bytes)) = self.gate.release(durable_seq) {
            self.connections.release(id, bytes);
        }
    }

    /// Queues until nothing more is taken.
    fn fill(&mut self, index: u32) {
        while !self.is_slow(index) {
            self.queue(index, None);
            self.flush();
        }
    }
}

#[test]
fn who_reads_goes_on_whatever_the_others_leave_unread_and_each_of_them_is_told_why_it_goes() {
    let mut bench = Bench::new(8 << 20);
    let (prompt, hoarders) = (0, 1..CONNECTIONS);
    hoarders.clone().for_each(|index| bench.fill(index));
    assert!(bench.connections.is_crowded());
    let mut taken = vec![0; 64 * FRAME.len()];
    for _ in 0..100 {
        (0..64).for_each(|_| bench.queue(prompt, None));
        assert!(!bench.is_slow(prompt));
        bench.flush();
        bench.peers[prompt as usize].read_exact(&mut taken).expect("works");
        bench.connections.get_mut(prompt).expect("works").writable = true;
    }
    let mut ended = vec![];
    while let Some(index) = bench.connections.next_slow() {
        bench.connections.queue_goodbye(index, b"goodbye", 1, &mut bench.gate);
        bench.connections.close(index, Reason::SlowConsumer, at(0));
        ended.push(index);
    }
    assert_eq!(ended, hoarders.clone().collect::<Vec<_>>());
    // The goodbye tells numbers, so it waits until they are durable.
    while let Some((connection, bytes)) = bench.gate.release(1) {
        bench.connections.release(connection, bytes);
    }
    for index in hoarders {
        let peer = &mut bench.peers[index as usize];
        peer.set_nonblocking(true).expect("works");
        let mut told = vec![];
        while bench.connections.get(index).is_some() {
            // It ends when all is taken.
            drop(peer.read_to_end(&mut told));
            bench.connections.get_mut(index).expect("works").writable = true;
            bench.connections.to_write.add(index);
            bench.connections.flush(at(0), &mut Recorder::new(false), &mut |block| drop(block));
        }
        drop(peer.read_to_end(&mut told));
        assert!(told.ends_with(b"goodbye"), "{} bytes", told.len());
    }
    assert_eq!(bench.connections.pool.free_chunks(), POOL_CHUNKS);
}

#[test]
fn a_frame_for_nobody_takes_nothing_of_the_pool() {
    let mut bench = Bench::new(4096);
    for _ in 0..2 * POOL_CHUNKS {
        bench.connections.queue_for_nobody(&FRAME);
    }
    assert_eq!(bench.connections.pool.free_chunks(), POOL_CHUNKS);
}

#[test]
fn the_oldest_peer_that_is_not_logged_on_makes_room_for_the_next_and_who_is_logged_on_stays() {
    let mut bench = Bench::new(8 << 20);
    let log_on = |bench: &mut Bench, index: u32| {
        let logged_on = LoggedOnAs { session_id: 1, role: Role::Trade, cod_mode: CodMode::None };
        bench.connections.get_mut(index).expect("works").logged_on = Some(logged_on);
    };
    log_on(&mut bench, 0);
    // Whoever comes logs on; the next finds the oldest of the others.
    for index in 1..CONNECTIONS {
        assert_eq!(bench.try_connect(), Some(index));
        log_on(&mut bench, index);
    }
    assert_eq!(bench.try_connect(), None, "all are logged on");
    let ids: Vec<u32> = (0..CONNECTIONS).filter_map(|index| Some(bench.connections.get(index)?.id.no)).collect();
    assert_eq!(ids, [1, 9, 10, 11, 12, 13, 14, 15]);
    let turned_away = (1..CONNECTIONS).chain([2 * CONNECTIONS - 1]);
    for nth in turned_away {
        let mut told = [0; LogonReject::FRAME_BYTES];
        bench.peers[nth as usize].read_exact(&mut told).expect("works");
        let frame = tradecore_protocol::next_frame(&told).expect("a frame").expect("whole");
        let reject = frame.read::<LogonReject>().expect("a reject");
        assert_eq!(reject.reason.get(), Reason::ConnectionsMax.raw(), "{nth}");
    }
}

#[test]
fn what_the_gate_holds_is_not_the_readers_fault_its_requests_wait_and_then_everybodys() {
    const BYTES_MAX: usize = 128 * 1024;
    let mut bench = Bench::new(BYTES_MAX);
    let mut held = 0;
    for seq in 1..=200 {
        assert_eq!(bench.connections.holds_one_in(0, 8), held > BYTES_MAX / 8);
        assert_eq!(bench.connections.waits_for_gate(0, &bench.gate), held > BYTES_MAX / 4);
        assert_eq!(bench.gate.room() == 0, held > BYTES_MAX / 2);
        bench.queue(0, Some(seq));
        held += FRAME.len();
    }
    assert!(held > BYTES_MAX && !bench.is_slow(0));
    // A stall changes nothing for who has more than twice as much; for all others it opens the gate to cancels.
    let stall_ns = 3_600_000_000_000;
    assert!(!bench.gate.look_for_stall(1, false));
    assert!(bench.gate.look_for_stall(stall_ns, false) && bench.connections.waits_for_gate(0, &bench.gate));
    assert!(bench.gate.room() > 0 && bench.gate.is_half_full());
    assert!(!bench.gate.look_for_stall(stall_ns, true) && bench.gate.room() == 0);
    while bench.connections.next_readable().is_some() {}
    bench.release(200);
    assert!(!bench.connections.waits_for_gate(0, &bench.gate) && bench.gate.room() > 0);
    assert_eq!(bench.connections.next_readable(), Some(0), "its requests are read again");
    // Now that it may be read it counts, once the socket has been offered it, and is full.
    bench.queue(0, None);
    assert!(!bench.is_slow(0));
    bench.connections.get_mut(0).expect("works").writable = false;
    bench.queue(0, None);
    assert!(bench.is_slow(0));
}

#[test]
fn when_memory_is_short_who_leaves_more_than_its_own_unread_for_long_is_ended_and_others_are_not() {
    let mut bench = Bench::new(8 << 20);
    let floor_bytes = bench.connections.pool.floor_bytes();
    let (hoarder, modest) = (0, 1);
    let look = |bench: &mut Bench, now_ns: u64| {
        [hoarder, modest].map(|index| {
            bench.connections.look_for_hoarding(index, at(now_ns));
            bench.is_slow(index)
        })
    };
    // Nothing leaves: the sockets are full.
    for index in [hoarder, modest] {
        bench.connections.get_mut(index).expect("works").writable = false;
        while bench.connections.get(index).expect("works").queued_bytes() + FRAME.len() <= floor_bytes {
            bench.queue(index, None);
        }
    }
    assert_eq!(look(&mut bench, 10), [false, false]);
    (0..64).for_each(|_| bench.queue(hoarder, None));
    assert_eq!(look(&mut bench, 10 * LINGER_NS), [false, false], "there is memory for all");
    while !bench.connections.pool.has_less_than_one_in(2) {
        bench.queue(hoarder, None);
    }
    assert_eq!(look(&mut bench, 10 + LINGER_NS), [false, false], "not for long enough");
    assert_eq!(look(&mut bench, 11 + LINGER_NS), [true, false]);
}

#[test]
fn a_long_answer_stays_within_the_floor_of_its_connection() {
    let mut bench = Bench::new(8 << 20);
    let floor_bytes = bench.connections.pool.floor_bytes();
    bench.connections.get_mut(0).expect("works").writable = false;
    while bench.connections.has_room(0, FRAME.len()) {
        bench.queue(0, None);
        assert!(!bench.is_slow(0));
    }
    assert_eq!(bench.connections.get(0).expect("works").queued_bytes(), floor_bytes);
    assert!(!bench.connections.pool.has_less_than_one_in(1), "nothing that is shared was taken");
    assert!(bench.connections.has_room(1, floor_bytes));
}
