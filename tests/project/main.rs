//! `tradecore project` with a real broker and a real PostgreSQL server: tables that are a fold of the journal, whatever
//! becomes of the worker.
//!
//! `TRADECORE_TEST_KAFKA` and `TRADECORE_TEST_POSTGRES` say where they are; `./test --all` starts them.
//! `TRADECORE_TEST_PROJECT_KILLS` says how often a worker is killed.
#![allow(
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    unreachable_pub
)]

#[path = "../kafka/desk.rs"]
#[allow(dead_code, reason = "some of it is for the tests of shipping alone")]
mod desk;
#[path = "../../src/domain/tests/histories/history.rs"]
mod history;
#[path = "../kafka/host.rs"]
#[allow(dead_code, reason = "some of it is for the tests of shipping alone")]
mod host;
mod outage;
#[path = "../postgres/proxy.rs"]
#[allow(dead_code, reason = "some of it is for the tests of PostgreSQL alone")]
mod proxy;
mod refusals;
mod secrets;
#[path = "../postgres/server.rs"]
#[allow(dead_code, reason = "some of it is for the tests of PostgreSQL alone")]
mod server;
mod superseded;
#[path = "../projections/support.rs"]
#[allow(dead_code, reason = "some of it is for the tests of SQLite alone")]
mod support;
mod traced;
mod troubles;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use history::LONG;
use host::{DEADLINE, Host, Process};
use rdkafka::Offset;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::topic_partition_list::{TopicPartitionList, TopicPartitionListElem};
use rustix::process::Signal;
use server::Postgres;
use support::{archive, events_of};
use tradecore::projections::store::Store;
use tradecore::projections::{Source, verify};
use tradecore_domain::event::Event;
use tradecore_journal::{Config, Space, Writer};

/// Of the configuration: short sessions, so that a dead worker is soon taken for dead, and short waits.
const SETTINGS: &str = "timeout_ms = 5000\nsettings = [\"session.timeout.ms=6000\", \"heartbeat.interval.ms=1000\"]\n";

/// What a worker says that has lost a stream.
const TAKEN: &str = "the group has taken this stream from this worker";

/// Between two looks at the tables, each of which is a connection.
const LOOK: Duration = Duration::from_millis(20);

/// A core whose journal is shipped, and tables of it.
struct Core {
    config: PathBuf,
    writer: Option<Writer>,
    watermarks: std::sync::Arc<tradecore_journal::Watermarks>,
    closer: Option<tradecore_journal::Closer>,
    groups: Box<dyn Iterator<Item = Vec<Event>>>,
    source: Source,
    /// Its clock is so far ahead of the cluster's.
    ahead_ns: u64,
}

impl Core {
    fn open(postgres: &Postgres, config: PathBuf, core: u16, schema: &str) -> Self {
        let dir = config.parent().expect("a directory").join("data/journal");
        let stream = format!("{core}-virtual");
        // As the configuration has it, which says nothing of it.
        let source = Source { keep_days: 90, stream, ..postgres.source(&dir, schema) };
        Self::with(config, core, source)
    }

    /// With tables that may be there.
    fn with(config: PathBuf, core: u16, source: Source) -> Self {
        let dir = config.parent().expect("a directory").join("data/journal");
        let mut journal = Config::new(&dir);
        journal.core = core;
        journal.environment = tradecore_protocol::fields::Environment::Virtual.raw();
        let (writer, _, watermarks, closer) = tradecore_journal::open(&journal).expect("open").into_parts();
        let groups = Box::new(events_of(LONG).into_iter().cycle());
        Self { config, writer: Some(writer), watermarks, closer: Some(closer), groups, source, ahead_ns: 0 }
    }

    /// Journals so many decisions more; the last event.
    fn grow(&mut self, groups: usize) -> u64 {
        let writer = self.writer.as_mut().expect("open");
        for group in self.groups.by_ref().take(groups) {
            while !writer.can_append(64 * 1024, group.len(), Space::Normal) {
                std::thread::yield_now();
            }
            writer.begin(tradecore::clock::utc_ns() + self.ahead_ns);
            for (kind, version, words) in group.iter().map(archive) {
                let bytes = zerocopy::IntoBytes::as_bytes(words.as_slice());
                writer.append(kind, version, bytes.len(), |payload| payload.copy_from_slice(bytes));
            }
            writer.commit();
        }
        let (last, until) = (writer.last_seq(), Instant::now() + DEADLINE);
        while self.watermarks.synced() < last {
            assert!(Instant::now() < until, "it is not synced");
            std::thread::yield_now();
        }
        last
    }

    fn ship(&self) {
        self.ship_as(&self.config);
    }

    /// As another configuration says.
    fn ship_as(&self, config: &Path) {
        let output = Host::command_at(config, host::LOG, &["ship", "run", "--drain"]).output().expect("run");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    fn position(&self) -> Option<u64> {
        Some(Store::open_to_read(&self.source).ok()?.position().ok()?.seq)
    }

    /// Waits until the tables know an event.
    #[track_caller]
    fn wait_for(&self, seq: u64, what: &str) {
        let until = Instant::now() + DEADLINE;
        while self.position().is_none_or(|found| found < seq) {
            assert!(Instant::now() < until, "{what}: {:?}, and {seq} was waited for", self.position());
            std::thread::park_timeout(LOOK);
        }
    }

    /// Waits until the tables know an event; every row is what a fold of the journal gives.
    #[track_caller]
    fn assert_is_a_fold(&self, seq: u64, what: &str) {
        self.wait_for(seq, what);
        let (found, all) = verify(&self.source, &mut |_, _| true).expect("compared");
        let differing: Vec<_> = all.iter().filter(|one| one.there != one.folded).collect();
        assert!(found == seq && differing.is_empty(), "{what}, as of event {found}: {differing:?}");
        assert_eq!(all.iter().find(|one| one.table == "events").expect("a log").there.0, seq, "{what}");
    }
}

impl Drop for Core {
    fn drop(&mut self) {
        if let (Some(writer), Some(closer)) = (self.writer.take(), self.closer.take()) {
            closer.seal(writer);
        }
    }
}

/// A host with a journal, and a configuration of tables on the server that are fed from the topics.
fn configured(schema: &str) -> (Postgres, Host, Core) {
    configured_with(schema, "")
}

/// The same, with more settings of `[ship.kafka]`.
fn configured_with(schema: &str, settings: &str) -> (Postgres, Host, Core) {
    let postgres = Postgres::get();
    let section = postgres.section(schema);
    let host = Host::new(&format!("{SETTINGS}{settings}{section}feed = \"kafka\"\n"));
    write_password(host.dir.path(), &postgres);
    let core = Core::open(&postgres, host.config(), 1, schema);
    (postgres, host, core)
}

fn write_password(dir: &Path, postgres: &Postgres) {
    let path = dir.join("pg-password");
    std::fs::write(&path, postgres.password()).expect("written");
    std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).expect("set");
}

fn worker(host: &Host) -> Process {
    host.start(&["project"])
}

/// Asks a worker to end.
#[track_caller]
fn end(worker: Process) {
    worker.signal(Signal::TERM);
    let (code, said) = worker.end();
    assert_eq!(code, Some(0), "{said}");
}

/// As `configured_with`, and a worker that has made tables of some events, the last of which is this.
fn started(schema: &str, settings: &str) -> (Postgres, Host, Core, Process, u64) {
    let (postgres, host, mut core) = configured_with(schema, settings);
    let last = core.grow(60);
    core.ship();
    let mut live = worker(&host);
    live.wait_for("projecting");
    core.assert_is_a_fold(last, "before");
    (postgres, host, core, live, last)
}

/// Changes the configuration.
#[track_caller]
fn edit(host: &Host, from: &str, to: &str) {
    let text = std::fs::read_to_string(host.config()).expect("read");
    assert!(text.contains(from), "{from:?} is not in {text}");
    std::fs::write(host.config(), text.replace(from, to)).expect("written");
}

fn number(variable: &str, default: usize) -> usize {
    std::env::var(variable).map_or(default, |text| text.parse().expect("a number"))
}

/// Makes the tables anew of the journal, which may be ahead of the topics.
#[track_caller]
fn rebuild(host: &Host) {
    host.succeed(&["projection", "rebuild", "--database", "postgres"]);
}

/// Takes the one that projects out of some workers.
fn take_busy(workers: &mut Vec<Process>) -> Process {
    let until = Instant::now() + DEADLINE;
    loop {
        let is_busy = |worker: &mut Process| {
            let said = worker.heard();
            said.rfind(" projecting ") > said.rfind(TAKEN)
        };
        if let Some(at) = workers.iter_mut().position(is_busy) {
            return workers.swap_remove(at);
        }
        assert!(Instant::now() < until, "nobody projects");
        std::thread::park_timeout(LOOK);
    }
}

#[test]
fn tables_are_a_fold_of_the_journal_whenever_a_worker_is_killed_and_another_takes_over() {
    let (_postgres, host, mut core) = configured("project_killed");
    let shipper = host.start(&["ship", "run"]);
    let mut last = core.grow(400);
    let mut workers = vec![worker(&host), worker(&host)];
    for kill in 0..number("TRADECORE_TEST_PROJECT_KILLS", 3) {
        let live = take_busy(&mut workers);
        last = core.grow(200 + 50 * kill).max(last);
        // Wherever it is then: with the first ones in the midst of what waits.
        core.wait_for((core.position().unwrap_or(0) + 1).min(last), "work");
        live.kill();
        workers.push(worker(&host));
        last = core.grow(100).max(last);
        core.assert_is_a_fold(last, &format!("kill {kill}"));
    }
    // Asked to end in the midst of what waits, it hands that over.
    let (live, before) = (take_busy(&mut workers), last);
    last = core.grow(400);
    core.wait_for(before + 1, "work");
    end(live);
    core.assert_is_a_fold(last, "handed over");
    workers.into_iter().for_each(end);
    drop(shipper);
}

#[test]
fn a_paused_worker_that_wakes_up_after_its_successor_took_over_writes_nothing_and_steps_back() {
    let (_postgres, host, mut core) = configured("project_paused");
    let shipper = host.start(&["ship", "run"]);
    let mut last = core.grow(50);
    let mut first = worker(&host);
    first.wait_for("projecting");
    core.assert_is_a_fold(last, "the first");
    first.signal(Signal::STOP);
    last = core.grow(50).max(last);
    let mut second = worker(&host);
    // Its kernel still answers for the connection that has the lock.
    second.wait_for("the connection of the worker that had this stream was ended");
    second.wait_for("projecting");
    core.assert_is_a_fold(last, "the second");
    first.signal(Signal::CONT);
    first.wait_for(TAKEN);
    last = core.grow(50).max(last);
    core.assert_is_a_fold(last, "after the first woke up");
    second.kill();
    first.wait_for("projecting");
    last = core.grow(50).max(last);
    core.assert_is_a_fold(last, "the first again");
    drop(shipper);
}

/// A client of the group that keeps how far a stream is read.
fn keeper(host: &Host) -> BaseConsumer {
    let group = format!("{}tradecore-offsets-virtual-1", host.prefix);
    host.broker.client().set("group.id", group).create().expect("a consumer")
}

/// How many records each partition has behind what is kept of it; `None` without that.
fn lags(host: &Host) -> Vec<Option<i64>> {
    let consumer = keeper(host);
    let mut list = TopicPartitionList::new();
    for topic in host.topics().iter().filter(|topic| topic.starts_with("eventstore.")) {
        (0..host::PARTITIONS).for_each(|partition| {
            list.add_partition(&format!("{}{topic}", host.prefix), partition);
        });
    }
    let kept = consumer.committed_offsets(list, DEADLINE).expect("an answer");
    let lag = |place: &TopicPartitionListElem<'_>| {
        let (_, end) = consumer.fetch_watermarks(place.topic(), place.partition(), DEADLINE).expect("an answer");
        place.offset().to_raw().filter(|kept| *kept >= 0).map(|kept| end - kept)
    };
    kept.elements().iter().map(lag).collect()
}

fn keep_offsets(host: &Host, offset: Offset) {
    let consumer = keeper(host);
    let mut list = TopicPartitionList::new();
    for topic in host.topics().iter().filter(|topic| topic.starts_with("eventstore.")) {
        let topic = format!("{}{topic}", host.prefix);
        for partition in 0..host::PARTITIONS {
            let (_, end) = consumer.fetch_watermarks(&topic, partition, DEADLINE).expect("an answer");
            let offset = if offset == Offset::End { Offset::Offset(end) } else { offset };
            list.add_partition_offset(&topic, partition, offset).expect("added");
        }
    }
    consumer.commit(&list, CommitMode::Sync).expect("kept");
}

#[test]
fn offsets_that_are_lost_or_lead_astray_change_nothing() {
    let (postgres, host, mut core) = configured("project_offsets");
    let mut last = 0;
    for (what, offset) in [("at first", None), ("ahead", Some(Offset::End)), ("lost", Some(Offset::Offset(0)))] {
        last = core.grow(60).max(last);
        core.ship();
        if let Some(offset) = offset {
            keep_offsets(&host, offset);
        }
        let mut live = worker(&host);
        let line = live.wait_for("projecting");
        assert_eq!(
            live.said.contains("no offsets lead to that event"),
            what == "ahead",
            "{what}: {line} {}",
            live.said
        );
        core.assert_is_a_fold(last, what);
        // What ends the last transaction counts as a record, and the last event is read again.
        let until = Instant::now() + DEADLINE;
        while lags(&host).iter().any(|lag| lag.is_none_or(|lag| lag > 2)) {
            assert!(Instant::now() < until, "{what}: the tools of Kafka show {:?}", lags(&host));
            std::thread::park_timeout(LOOK);
        }
        end(live);
    }
    // The rows of an older backup: the position goes back, and the offsets that are kept are ahead of it.
    let mut client = postgres.client();
    client.batch_execute("DROP SCHEMA project_offsets CASCADE").expect("dropped");
    let mut live = worker(&host);
    live.wait_for("projecting");
    core.assert_is_a_fold(last, "an empty database");
    live.kill();
}

#[test]
fn the_streams_of_one_group_are_shared_and_each_is_written_by_one_worker() {
    let (postgres, host, mut one) = configured("project_one");
    let dir = host.dir.path().join("two");
    std::fs::create_dir(&dir).expect("made");
    write_password(&dir, &postgres);
    let text = std::fs::read_to_string(host.config()).expect("read");
    let text = text.replacen("id = 1", "id = 2", 1).replace("project_one", "project_two");
    std::fs::write(dir.join("gateway.toml"), text).expect("written");
    let mut two = Core::open(&postgres, dir.join("gateway.toml"), 2, "project_two");
    let (mut last_one, mut last_two) = (one.grow(50), two.grow(70));
    one.ship();
    two.ship();
    let second = two.config.to_str().expect("a path").to_owned();
    let start = || host.start(&["project", "--config", &second]);
    let mut workers = [start(), start()];
    one.assert_is_a_fold(last_one, "one");
    two.assert_is_a_fold(last_two, "two");
    (last_one, last_two) = (one.grow(50), two.grow(70));
    one.ship();
    two.ship();
    one.assert_is_a_fold(last_one, "one, shared");
    two.assert_is_a_fold(last_two, "two, shared");
    for worker in &mut workers {
        let line = worker.wait_for("projecting");
        assert!(line.contains("virtual-1") || line.contains("virtual-2"), "{line}");
    }
    let [first, other] = workers;
    first.kill();
    (last_one, last_two) = (one.grow(50), two.grow(70));
    one.ship();
    two.ship();
    one.assert_is_a_fold(last_one, "one, taken over");
    two.assert_is_a_fold(last_two, "two, taken over");
    drop(other);
}
