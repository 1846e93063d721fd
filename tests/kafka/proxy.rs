//! A door in front of the broker that loses, holds back or refuses chosen requests.
//!
//! It reads of a request its kind and number, and of a refused one what it must name in the answer; all else passes as it
//! is, but for the broker's address in what tells clients where to go.

use std::collections::{BTreeMap, VecDeque};
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::host::{DEADLINE, Host};

/// Kinds of requests, as the protocol numbers them.
pub const PRODUCE: i16 = 0;
pub const FETCH: i16 = 1;
pub const LIST_OFFSETS: i16 = 2;
pub const METADATA: i16 = 3;
pub const FIND_COORDINATOR: i16 = 10;
const API_VERSIONS: i16 = 18;
pub const CREATE_TOPICS: i16 = 19;
pub const INIT_PRODUCER_ID: i16 = 22;
pub const ADD_PARTITIONS_TO_TXN: i16 = 24;
pub const END_TXN: i16 = 26;
pub const DESCRIBE_CONFIGS: i16 = 32;

/// Requests of a kind that speak of something: of a topic with such a name, or of anything.
pub type Step = (i16, &'static str);

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The broker does it, and its answer is lost with the connection.
    LoseReply,
    /// The broker does it, and nobody hears of it; the connection stays.
    Mute,
    /// It never arrives, and the connection stays.
    Lose,
    /// It is on its way until it is released, whatever becomes of who sent it.
    Hold,
    /// It is answered with this code, and not done.
    Refuse(i16),
}

/// The door. It stays open until the tests end.
pub struct Proxy {
    plan: Arc<Plan>,
}

struct Plan {
    /// Of the broker, and of the door: host and port as answers spell them.
    there: (String, [u8; 4]),
    here: [u8; 4],
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// What must have passed before.
    before: VecDeque<Step>,
    /// The kind, what becomes of it, and how often.
    armed: Option<(i16, Fault, u32)>,
    /// What it must speak of.
    about: &'static str,
    hits: u32,
    /// Kinds of requests that the broker has; `None`: all that it says.
    has: Option<fn(i16) -> bool>,
    /// Connections whose client still lives.
    clients: u32,
    held: VecDeque<(Vec<u8>, TcpStream)>,
    /// What the broker said to those that were released: the code of each.
    late: VecDeque<i16>,
}

/// What becomes of an answer.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    TellsWhere,
    TellsWhat,
    Lost,
    Late,
    Unheard,
}

impl Proxy {
    /// In front of the broker of a host, which goes by it from now on; `None` when the broker is not ours: it may be many,
    /// and elsewhere.
    pub fn before(host: &Host) -> Option<Self> {
        if std::env::var("TRADECORE_TEST_KAFKA_DIR").is_err() {
            println!("NOT tested: the broker is not ours (TRADECORE_TEST_KAFKA_DIR)");
            return None;
        }
        let (name, port) = host.broker.address.rsplit_once(':').expect("host:port");
        let listener = TcpListener::bind((name, 0)).expect("a port");
        let (here, there) = (listener.local_addr().expect("bound").port(), port.parse::<u16>().expect("a port"));
        let as_told = |port: u16| i32::from(port).to_be_bytes();
        let plan = Arc::new(Plan {
            there: (name.to_owned(), as_told(there)),
            here: as_told(here),
            state: Mutex::default(),
            changed: Condvar::new(),
        });
        let config = std::fs::read_to_string(host.config()).expect("read");
        let config = config.replace(&host.broker.address, &format!("{name}:{here}"));
        std::fs::write(host.config(), config).expect("written");
        let (behind, address) = (plan.clone(), host.broker.address.clone());
        std::thread::spawn(move || {
            for client in listener.incoming() {
                let (Ok(client), Ok(broker)) = (client, TcpStream::connect(&address)) else { continue };
                behind.clone().pass(&client, &broker);
            }
        });
        Some(Self { plan })
    }

    /// The next `times` requests of this kind have this fate.
    pub fn arm(&self, kind: i16, fault: Fault, times: u32) {
        self.arm_about("", kind, fault, times);
    }

    /// As `arm`, of those that speak of a topic with such a name.
    pub fn arm_about(&self, name: &'static str, kind: i16, fault: Fault, times: u32) {
        self.arm_behind(&[], (kind, name), fault, times);
    }

    /// As `arm_about`, once requests of all these steps have passed, in this order.
    pub fn arm_behind(&self, before: &[Step], (kind, about): Step, fault: Fault, times: u32) {
        let mut state = self.plan.state();
        (state.armed, state.about, state.hits) = (Some((kind, fault, times)), about, 0);
        state.before = before.iter().copied().collect();
    }

    pub fn disarm(&self) {
        self.plan.state().armed = None;
    }

    /// A broker that has only these kinds of requests, to those who ask from now on.
    pub fn only_with(&self, has: fn(i16) -> bool) {
        self.plan.state().has = Some(has);
    }

    /// Waits until so many requests have had it.
    pub fn wait_for_hits(&self, hits: u32) {
        self.plan.wait(|state| (state.hits >= hits).then_some(()));
    }

    /// Whether one has had it, now or soon.
    pub fn is_hit_within(&self, longest: Duration) -> bool {
        let state = self.plan.state();
        let waited = self.plan.changed.wait_timeout_while(state, longest, |state| state.hits == 0);
        waited.unwrap_or_else(PoisonError::into_inner).0.hits > 0
    }

    /// Waits until all has come in that clients have sent who are gone now.
    pub fn wait_for_last_words(&self) {
        self.plan.wait(|state| (state.clients == 0).then_some(()));
    }

    /// Number and epoch of the producer of each end of a transaction that is held.
    pub fn held(&self) -> Vec<(i64, i16)> {
        let of = |frame: &[u8]| {
            let behind = |at: usize| at + 2 + usize::from(u16::from_be_bytes([frame[at], frame[at + 1]]));
            // Behind the names of client and transaction.
            let at = behind(behind(8));
            let number = i64::from_be_bytes(frame[at..at + 8].try_into().expect("eight bytes"));
            (number, i16::from_be_bytes([frame[at + 8], frame[at + 9]]))
        };
        self.plan.state().held.iter().map(|(frame, _)| of(frame)).collect()
    }

    /// Lets the oldest request go that is held: the code that the broker answers it with, if it is the end of a
    /// transaction. `None` when none is held.
    pub fn release(&self) -> Option<i16> {
        let (frame, mut broker) = self.plan.state().held.pop_front()?;
        send(&mut broker, &frame).expect("the broker's end is open");
        Some(self.plan.wait(|state| state.late.pop_front()))
    }
}

impl Plan {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<T>(&self, mut found: impl FnMut(&mut State) -> Option<T>) -> T {
        let mut state = self.state();
        loop {
            if let Some(found) = found(&mut state) {
                return found;
            }
            let (next, waited) = self.changed.wait_timeout(state, DEADLINE).unwrap_or_else(PoisonError::into_inner);
            let State { armed, hits, clients, .. } = &*next;
            assert!(!waited.timed_out(), "the door waits in vain: {armed:?}, {hits} hits, {clients} clients");
            state = next;
        }
    }

    /// What becomes of a request of this kind.
    fn fault(&self, kind: i16, frame: &[u8]) -> Option<Fault> {
        let mut state = self.state();
        let speaks_of =
            |about: &str| about.is_empty() || frame.windows(about.len()).any(|part| part == about.as_bytes());
        if let Some((first, about)) = state.before.front() {
            if *first == kind && speaks_of(about) {
                state.before.pop_front();
            }
            return None;
        }
        if !speaks_of(state.about) {
            return None;
        }
        let (_, fault, left) = state.armed.as_mut().filter(|(armed, _, left)| *armed == kind && *left > 0)?;
        *left -= 1;
        Some(*fault)
    }

    fn hit(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state());
        self.changed.notify_all();
    }

    /// One connection, there and back.
    fn pass(self: Arc<Self>, client: &TcpStream, broker: &TcpStream) {
        let fates: Arc<Mutex<BTreeMap<[u8; 4], Fate>>> = Arc::default();
        let other = |stream: &TcpStream| stream.try_clone().expect("a second end");
        let ends = (other(client), other(broker), self.clone(), fates.clone());
        self.hit(|state| state.clients += 1);
        std::thread::spawn(move || {
            let (mut client, mut broker, plan, fates) = ends;
            let mut is_held = false;
            while let Some(frame) = receive(&mut client) {
                let (kind, number) = (kind_of(&frame), number_of(&frame, 4));
                let note = |fate| fates.lock().unwrap_or_else(PoisonError::into_inner).insert(number, fate);
                match plan.fault(kind, &frame) {
                    Some(Fault::Refuse(code)) => {
                        if send(&mut client, &refusal(&frame, code)).is_err() {
                            break;
                        }
                        plan.hit(|state| state.hits += 1);
                        continue;
                    }
                    Some(Fault::Hold) => {
                        is_held = true;
                        note(Fate::Late);
                        let held = (frame, broker.try_clone().expect("a second end"));
                        plan.hit(|state| {
                            state.held.push_back(held);
                            state.hits += 1;
                        });
                        continue;
                    }
                    Some(Fault::Lose) => {
                        plan.hit(|state| state.hits += 1);
                        continue;
                    }
                    Some(Fault::LoseReply) => drop(note(Fate::Lost)),
                    Some(Fault::Mute) => drop(note(Fate::Unheard)),
                    None if kind == METADATA || kind == FIND_COORDINATOR => drop(note(Fate::TellsWhere)),
                    None if kind == API_VERSIONS => drop(note(Fate::TellsWhat)),
                    None => {}
                }
                if send(&mut broker, &frame).is_err() {
                    break;
                }
            }
            plan.hit(|state| state.clients -= 1);
            if !is_held {
                drop(broker.shutdown(Shutdown::Both));
            }
        });
        let (mut client, mut broker) = (other(client), other(broker));
        std::thread::spawn(move || {
            while let Some(mut frame) = receive(&mut broker) {
                let mut known = fates.lock().unwrap_or_else(PoisonError::into_inner);
                let fate = known.remove(&number_of(&frame, 0));
                // With the connection go the answers to all that came by it.
                let others = known.values().filter(|fate| **fate == Fate::Lost).count();
                drop(known);
                match fate {
                    Some(Fate::Lost) => {
                        drop(client.shutdown(Shutdown::Both));
                        self.hit(|state| state.hits += 1 + u32::try_from(others).expect("some"));
                        break;
                    }
                    Some(Fate::Unheard) => {
                        self.hit(|state| state.hits += 1);
                        continue;
                    }
                    // Of the end of a transaction: number, throttle time, code.
                    Some(Fate::Late) => {
                        let code = i16::from_be_bytes([frame[8], frame[9]]);
                        self.hit(|state| state.late.push_back(code));
                    }
                    Some(Fate::TellsWhere) => self.redirect(&mut frame),
                    Some(Fate::TellsWhat) => {
                        let has = self.state().has;
                        frame = has.map_or(frame.clone(), |has| without(&frame, has));
                    }
                    None => {}
                }
                // Nobody may listen any more to what comes late.
                drop(send(&mut client, &frame));
            }
            drop(client.shutdown(Shutdown::Both));
        });
    }

    fn redirect(&self, frame: &mut [u8]) {
        let (name, port) = &self.there;
        let told = [name.as_bytes(), port].concat();
        for at in 0..frame.len().saturating_sub(told.len() - 1) {
            if frame[at..].starts_with(&told) {
                frame[at + name.len()..at + told.len()].copy_from_slice(&self.here);
            }
        }
    }
}

/// What a broker has, as it says it in version 3: of each kind its number, the first and the last version, and no tags.
fn without(frame: &[u8], has: fn(i16) -> bool) -> Vec<u8> {
    let (head, mut rest) = frame.split_at(6);
    let kinds = number(&mut rest) - 1;
    let (kinds, rest) = rest.split_at(7 * kinds);
    let kept: Vec<&[u8]> = kinds.chunks(7).filter(|kind| has(kind_of(kind))).collect();
    let mut told = head.to_vec();
    put_number(&mut told, kept.len() + 1);
    [&told, &kept.concat(), rest].concat()
}

fn receive(stream: &mut TcpStream) -> Option<Vec<u8>> {
    let mut len = [0; 4];
    stream.read_exact(&mut len).ok()?;
    let mut frame = vec![0; u32::from_be_bytes(len) as usize];
    stream.read_exact(&mut frame).ok()?;
    Some(frame)
}

fn send(stream: &mut TcpStream, frame: &[u8]) -> std::io::Result<()> {
    let len = u32::try_from(frame.len()).expect("a frame").to_be_bytes();
    stream.write_all(&[&len, frame].concat())
}

fn kind_of(request: &[u8]) -> i16 {
    i16::from_be_bytes([request[0], request[1]])
}

fn number_of(frame: &[u8], at: usize) -> [u8; 4] {
    frame[at..at + 4].try_into().expect("four bytes")
}

/// The answer of a broker that does not do it.
fn refusal(request: &[u8], code: i16) -> Vec<u8> {
    let mut reply = number_of(request, 4).to_vec();
    match (kind_of(request), i16::from_be_bytes([request[2], request[3]])) {
        (END_TXN, 0 | 1) => {
            reply.extend([0; 4]);
            reply.extend(code.to_be_bytes());
        }
        (PRODUCE, 9 | 10) => refuse_records(request, code, &mut reply),
        (kind, version) => panic!("a request of kind {kind}, version {version}"),
    }
    reply
}

/// Of Produce, from version 9 on: for each partition that is asked for its number, the code, and that nothing is there.
fn refuse_records(request: &[u8], code: i16, reply: &mut Vec<u8>) {
    let client_id = usize::from(u16::from_be_bytes([request[8], request[9]]));
    let mut rest = &request[10 + client_id..];
    let tags = |rest: &mut &[u8]| assert_eq!(number(rest), 0, "no tags");
    tags(&mut rest);
    let transactional_id = number(&mut rest).saturating_sub(1);
    // acks, and the time that they may take.
    rest = &rest[transactional_id + 6..];
    let topics = number(&mut rest);
    reply.push(0);
    put_number(reply, topics);
    for _ in 1..topics {
        let name = number(&mut rest);
        put_number(reply, name);
        reply.extend(&rest[..name - 1]);
        rest = &rest[name - 1..];
        let partitions = number(&mut rest);
        put_number(reply, partitions);
        for _ in 1..partitions {
            reply.extend(&rest[..4]);
            rest = &rest[4..];
            let records = number(&mut rest);
            rest = &rest[records - 1..];
            tags(&mut rest);
            reply.extend(code.to_be_bytes());
            // No offset, no time, no first offset; no records, no text, no tags.
            reply.extend([0xFF; 24]);
            reply.extend([1, 0, 0]);
        }
        tags(&mut rest);
        reply.push(0);
    }
    // No throttle, no tags.
    reply.extend([0; 5]);
}

/// Seven bits a byte, the lowest first.
fn number(rest: &mut &[u8]) -> usize {
    let mut number = 0;
    for shift in (0..).step_by(7) {
        let byte = rest[0];
        *rest = &rest[1..];
        number |= usize::from(byte & 0x7F) << shift;
        if byte & 0x80 == 0 {
            break;
        }
    }
    number
}

fn put_number(out: &mut Vec<u8>, mut number: usize) {
    while number > 0x7F {
        out.push((number & 0x7F) as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}
