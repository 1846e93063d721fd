//! A host whose journal is shipped, and what an independent reader finds in the topics.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use rdkafka::admin::{AdminClient, AdminOptions, AlterConfig, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Headers, Message, OwnedMessage};
use rdkafka::{Offset, TopicPartitionList};
use serde_json::Value;
use tradecore::exit::Exit;
use tradecore_domain::event::{EVENT_BYTES_MAX, EVENTS};
use tradecore_journal::{Closer, Reader, Space, Until, Writer};

pub const PARTITIONS: i32 = 2;
/// Generous: a broker that was killed comes back within seconds, on a busy machine within many.
pub const DEADLINE: Duration = Duration::from_secs(120);
/// What commands log, where nothing else is asked for.
pub const LOG: &str = "info,librdkafka=off";
const DOMAINS: [&str; 10] = [
    "user-account",
    "broker-connection",
    "broker-account",
    "virtual-broker",
    "strategy",
    "order",
    "position",
    "portfolio",
    "automation",
    "system",
];

/// What events of sagas are called, and the saga.
const SAGAS: [(&str, &str); 2] = [("MassCancel", "mass-cancel"), ("DoubtSearch", "doubt-search")];

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/kafka/broker");

/// The broker of these tests: they have it together, each with topics of its own, but for those that kill it.
pub struct Broker {
    pub address: String,
    turn: Turn,
}

/// Only held.
#[expect(dead_code, reason = "a lock that is let go when the test ends")]
enum Turn {
    Together(RwLockReadGuard<'static, ()>),
    Alone(RwLockWriteGuard<'static, ()>),
}

impl Broker {
    pub fn get(is_alone: bool) -> Self {
        static TURNS: RwLock<()> = RwLock::new(());
        let address = std::env::var("TRADECORE_TEST_KAFKA").expect(
            "TRADECORE_TEST_KAFKA=host:port; start a broker with `tests/kafka/broker start 19392 DIR` and say \
             TRADECORE_TEST_KAFKA_DIR=DIR, so that it can be killed",
        );
        let turn = if is_alone {
            Turn::Alone(TURNS.write().unwrap_or_else(PoisonError::into_inner))
        } else {
            Turn::Together(TURNS.read().unwrap_or_else(PoisonError::into_inner))
        };
        Self { address, turn }
    }

    pub fn admin(&self) -> AdminClient<DefaultClientContext> {
        self.client().create().expect("a client")
    }

    /// Makes a topic with settings of the broker.
    pub fn make(&self, topic: &str, partitions: i32) {
        let new = NewTopic::new(topic, partitions, TopicReplication::Fixed(1));
        let made = wait_for(self.admin().create_topics(&[new], &AdminOptions::new())).expect("an answer");
        assert!(made.iter().all(Result::is_ok), "{made:?}");
    }

    /// Gives a topic these settings, and the defaults of the broker beside.
    pub fn set(&self, topic: &str, settings: &[(&str, &str)]) {
        let admin = self.admin();
        let resource = ResourceSpecifier::Topic(topic);
        let change = settings
            .iter()
            .fold(AlterConfig::new(ResourceSpecifier::Topic(topic)), |change, (name, value)| change.set(name, value));
        let changed = wait_for(admin.alter_configs(&[change], &AdminOptions::new())).expect("an answer");
        assert!(changed.iter().all(Result::is_ok), "{changed:?}");
        // The controller has it; the broker a little later.
        let since = Instant::now();
        loop {
            let told = wait_for(admin.describe_configs([&resource], &AdminOptions::new())).expect("an answer");
            let told = told.into_iter().next().expect("one").expect("settings");
            let is_set = |(name, value): &(&str, &str)| {
                told.get(name).and_then(|entry| entry.value.as_deref()).is_some_and(|is| is == *value)
            };
            if settings.iter().all(is_set) {
                return;
            }
            assert!(since.elapsed() < DEADLINE, "the broker does not take {settings:?} for {topic}");
        }
    }

    /// Kills it and starts it again; false for one that is not ours to kill.
    pub fn kill_and_restart(&self) -> bool {
        self.kill() && self.restart()
    }

    /// As a crash does; false for one that is not ours to kill. For hosts that have it alone.
    pub fn kill(&self) -> bool {
        Self::script(|dir| vec!["kill".to_owned(), dir])
    }

    pub fn restart(&self) -> bool {
        let port = self.address.rsplit(':').next().expect("host:port").to_owned();
        Self::script(|dir| vec!["start".to_owned(), port, dir])
    }

    /// No file of its grows beyond so many bytes any more, as on a disk that is full, until it is started again; false for
    /// one that is not ours.
    pub fn fill(&self, bytes: u64) -> bool {
        use rustix::process::{Pid, Resource, Rlimit, prlimit};
        let Ok(dir) = std::env::var("TRADECORE_TEST_KAFKA_DIR") else { return false };
        let pid = std::fs::read_to_string(Path::new(&dir).join("pid")).expect("its process");
        let pid = pid.trim().parse().ok().and_then(Pid::from_raw).expect("a process");
        let limit = Rlimit { current: Some(bytes), maximum: Some(bytes) };
        prlimit(Some(pid), Resource::Fsize, limit).expect("limited");
        true
    }

    fn script(words: impl FnOnce(String) -> Vec<String>) -> bool {
        let Ok(dir) = std::env::var("TRADECORE_TEST_KAFKA_DIR") else { return false };
        let words = words(dir);
        let done = Command::new(SCRIPT).args(&words).output().expect("run");
        assert!(done.status.success(), "{words:?}: {}", String::from_utf8_lossy(&done.stderr));
        true
    }

    /// The address behind which a broker of ours asks who one is.
    pub fn door(&self) -> Option<String> {
        self.behind(2)
    }

    /// Another address of a broker of ours, so many ports behind the first.
    pub fn behind(&self, ports: u16) -> Option<String> {
        std::env::var("TRADECORE_TEST_KAFKA_DIR").ok()?;
        let (host, port) = self.address.rsplit_once(':')?;
        Some(format!("{host}:{}", port.parse::<u16>().ok()? + ports))
    }

    pub fn client(&self) -> ClientConfig {
        let mut client = ClientConfig::new();
        client.set("bootstrap.servers", &self.address);
        // The end of a partition is told when a fetch comes back.
        client.set("fetch.wait.max.ms", "10");
        client
    }
}

/// A test that has failed may have killed it, or filled its disk: those that follow would wait for it, one by one.
impl Drop for Broker {
    fn drop(&mut self) {
        if let (true, Turn::Alone(_)) = (std::thread::panicking(), &self.turn)
            && let (Ok(dir), Some((_, port))) =
                (std::env::var("TRADECORE_TEST_KAFKA_DIR"), self.address.rsplit_once(':'))
        {
            for words in [&["kill", &dir][..], &["start", port, &dir]] {
                println!("{words:?}: {:?}", Command::new(SCRIPT).args(words).output());
            }
        }
    }
}

/// Waits for an answer of the broker; the request has a time limit of its own.
pub fn wait_for<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            return output;
        }
        std::thread::park_timeout(Duration::from_millis(5));
    }
}

/// Lets time pass: what is waited for is that something is under way, not that it is done.
pub fn pass(time: Duration) {
    let since = Instant::now();
    while since.elapsed() < time {
        std::thread::park_timeout(time.saturating_sub(since.elapsed()));
    }
}

pub fn wait_until(host: &Host, key: &str, value: &str) {
    let since = Instant::now();
    while host.status(key) != value {
        assert!(since.elapsed() < DEADLINE, "{key} is {}", host.status(key));
        // Each look is a process of its own.
        pass(Duration::from_millis(50));
    }
}

/// The values of a topic's records, which are JSON.
pub fn objects(host: &Host, topic: &str) -> Vec<Value> {
    let records = host.records(topic, 1);
    let object = |bytes: Option<&[u8]>| serde_json::from_slice(bytes.expect("a value")).expect("an object");
    records.iter().map(|record| object(record.payload())).collect()
}

/// For what ships or reads back all that there is.
fn allowed() -> Duration {
    let events = std::env::var("TRADECORE_TEST_KAFKA_EVENTS").map_or(0, |text| text.parse::<u32>().expect("a number"));
    DEADLINE * (1 + events / 100_000)
}

/// A directory with a configuration and a journal, and topics of its own.
pub struct Host {
    pub dir: tempfile::TempDir,
    pub prefix: String,
    pub broker: Broker,
    /// What its commands log.
    pub log: &'static str,
}

impl Host {
    pub fn new(settings: &str) -> Self {
        Self::with(Broker::get(false), settings)
    }

    /// One that has the broker alone: it may kill it.
    pub fn alone(settings: &str) -> Self {
        Self::with(Broker::get(true), settings)
    }

    fn with(broker: Broker, settings: &str) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let dir = tempfile::tempdir().expect("a directory");
        let prefix = format!("test{}-{}.", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let sample = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("systemd/tradecore.toml"));
        let sample = sample.expect("the sample").replace("/var/lib/tradecore/virtual", "data");
        let address = &broker.address;
        let kafka = format!(
            "[ship.kafka]\nbrokers = \"{address}\"\ntopic_prefix = \"{prefix}\"\npartitions = {PARTITIONS}\n\
             replication_factor = 1\nmin_insync_replicas = 1\nbackoff_max_ms = 1000\n{settings}\n"
        );
        let host = Self { dir, prefix, broker, log: LOG };
        std::fs::write(host.config(), format!("{sample}\n{kafka}")).expect("written");
        host
    }

    pub fn config(&self) -> PathBuf {
        self.dir.path().join("gateway.toml")
    }

    pub fn journal_dir(&self) -> PathBuf {
        self.dir.path().join("data/journal")
    }

    /// The journal, open for writing.
    pub fn journal(&self) -> Journal {
        self.journal_of(1)
    }

    /// That of a core with this number.
    pub fn journal_of(&self, core: u16) -> Journal {
        let mut config = tradecore_journal::Config::new(self.journal_dir());
        // As the sample has it: `virtual` is 3 in the fields of the protocol.
        config.environment = tradecore_protocol::fields::Environment::Virtual.raw();
        config.core = core;
        let (writer, _, watermarks, closer) = tradecore_journal::open(&config).expect("open").into_parts();
        Journal { writer, closer, watermarks }
    }

    /// Writes so many events and closes the journal.
    pub fn write(&self, events: u64) {
        let mut journal = self.journal();
        journal.append(events);
        journal.closer.seal(journal.writer);
    }

    pub fn command(&self, words: &[&str]) -> Command {
        Self::command_at(&self.config(), self.log, words)
    }

    /// Of another configuration.
    pub fn command_at(config: &Path, log: &str, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tradecore"));
        command.args(words).arg("--config").arg(config).env("RUST_LOG", log);
        command
    }

    pub fn run(&self, words: &[&str]) -> Output {
        let mut command = self.command(words);
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("started");
        let (pid, (send, ended)) = (rustix::process::Pid::from_child(&child), channel());
        std::thread::spawn(move || send.send(child.wait_with_output()));
        let allowed = allowed();
        match ended.recv_timeout(allowed) {
            Ok(output) => output.expect("run"),
            Err(_) => {
                let killed = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
                panic!("{words:?} does not end within {allowed:?}; killed: {killed:?}")
            }
        }
    }

    /// Another has claimed the stream: this host is refused until what it noted of its own claim is removed.
    pub fn go_on_though_superseded(&self) {
        let output = self.run(&["ship", "run", "--drain"]);
        let said = String::from_utf8_lossy(&output.stderr);
        let noted = self.journal_dir().join("shipping-term");
        let is_named = said.contains(&format!("remove {}", noted.display()));
        assert!(output.status.code() == Some(Exit::Superseded as i32) && is_named, "{said}");
        let refused = self.status("refused");
        assert!(refused.contains("has taken over"), "{refused}");
        std::fs::remove_file(noted).expect("there");
        self.succeed(&["ship", "run", "--drain"]);
    }

    /// Runs a command that must succeed; what it prints.
    pub fn succeed(&self, words: &[&str]) -> String {
        let output = self.run(words);
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{words:?}: {:?}: {text}", output.status.code());
        String::from_utf8(output.stdout).expect("text")
    }

    pub fn start(&self, words: &[&str]) -> Process {
        Self::start_logging(&self.config(), self.log, words)
    }

    pub fn start_at(config: &Path, words: &[&str]) -> Process {
        Self::start_logging(config, LOG, words)
    }

    fn start_logging(config: &Path, log: &str, words: &[&str]) -> Process {
        let mut command = Self::command_at(config, log, words);
        let parent = std::process::id().to_string();
        command.args(["--die-with-parent", &parent]).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("started");
        let (send, lines) = channel();
        let stderr = BufReader::new(child.stderr.take().expect("piped"));
        std::thread::spawn(move || stderr.lines().map_while(Result::ok).try_for_each(|line| send.send(line)));
        Process { child, lines, said: String::new() }
    }

    pub fn shipper(&self) -> Process {
        let mut shipper = self.start(&["ship", "run"]);
        shipper.wait_for("shipping to Kafka stream");
        shipper
    }

    pub fn status(&self, key: &str) -> String {
        self.find_status(key).unwrap_or_else(|| panic!("{key} in {:?}", self.run(&["ship", "status"])))
    }

    /// The term of who has claimed the stream last.
    pub fn term(&self) -> u64 {
        self.status("term").parse().expect("a number")
    }

    /// What the cluster says, whether the shipper stands still or not. One that has come back may answer late.
    pub fn find_status(&self, key: &str) -> Option<String> {
        let since = Instant::now();
        loop {
            let output = self.run(&["ship", "status", "--json"]);
            let status = said(&output);
            if status["shipped_seq"].is_string() {
                return status[key].as_str().map(str::to_owned);
            }
            let is_unanswered = output.status.code() == Some(Exit::Unavailable as i32);
            assert!(is_unanswered && since.elapsed() < DEADLINE, "{output:?}");
        }
    }

    /// As `run`, where the cluster is there: a broker that has come back may answer late.
    pub fn ask(&self, words: &[&str]) -> Output {
        let since = Instant::now();
        loop {
            let output = self.run(words);
            if output.status.code() != Some(Exit::Unavailable as i32) || since.elapsed() > DEADLINE {
                return output;
            }
        }
    }

    /// What `ship verify` says.
    pub fn proof(&self) -> Value {
        let output = self.ask(&["ship", "verify", "--json"]);
        assert!(output.status.success(), "{output:?}");
        said(&output)
    }

    /// `ship verify` and a reader that shares no line with it find each event once: how many.
    pub fn assert_exactly_once(&self) -> u64 {
        let proof = self.proof();
        let (events, repeated) = self.read_back(false);
        assert_eq!((&proof["events"], repeated), (&events.to_string().into(), 0), "{proof}");
        events
    }

    /// As `assert_exactly_once`, for readers that leave out what is not behind the last that they have of its partition:
    /// how many events, and how many they leave out.
    pub fn assert_seen_once(&self) -> (u64, u64) {
        let proof = self.proof();
        let (events, repeated) = self.read_back(true);
        let of = |name: &str| proof[name].as_str().expect("text").parse::<u64>().expect("a number");
        assert_eq!((of("events"), of("repeated")), (events, repeated), "{proof}");
        (events, repeated)
    }

    /// The topics that were made for it, without its prefix.
    pub fn topics(&self) -> Vec<String> {
        let metadata = self.broker.admin().inner().fetch_metadata(None, DEADLINE).expect("metadata");
        let names = metadata.topics().iter().filter_map(|topic| topic.name().strip_prefix(&self.prefix));
        names.map(str::to_owned).collect()
    }

    /// Every committed record of a topic.
    pub fn records(&self, topic: &str, partitions: i32) -> Vec<OwnedMessage> {
        let mut found = Vec::new();
        self.read(&[(topic.to_owned(), partitions)], |_, message| found.push(message.detach()));
        found
    }

    /// Hands every committed record of some topics to `each`, with the topic's name as it was given; each partition in
    /// its order.
    fn read(&self, topics: &[(String, i32)], mut each: impl FnMut(&str, &BorrowedMessage<'_>)) {
        let consumer: BaseConsumer = self
            .broker
            .client()
            .set("isolation.level", "read_committed")
            .set("group.id", "test")
            .set("enable.partition.eof", "true")
            .set("enable.auto.commit", "false")
            .create()
            .expect("a consumer");
        let mut list = TopicPartitionList::new();
        for (topic, partitions) in topics {
            for partition in 0..*partitions {
                let topic = format!("{}{topic}", self.prefix);
                list.add_partition_offset(&topic, partition, Offset::Beginning).expect("added");
            }
        }
        consumer.assign(&list).expect("assigned");
        let (mut open, mut since) = (list.count(), Instant::now());
        while open > 0 {
            assert!(since.elapsed() < DEADLINE, "{open} partitions of {topics:?} do not end");
            match consumer.poll(Duration::from_millis(100)) {
                None => {}
                Some(Err(KafkaError::PartitionEOF(_))) => open -= 1,
                // It comes back: the test has killed the broker.
                Some(Err(KafkaError::MessageConsumption(RDKafkaErrorCode::AllBrokersDown))) => {}
                Some(Err(error)) => panic!("{topics:?}: {error}"),
                Some(Ok(message)) => {
                    since = Instant::now();
                    each(message.topic().strip_prefix(&self.prefix).expect("of this host"), &message);
                }
            }
        }
    }

    /// The JSON of each event of the journal is in its topic once, in order, or among the dead letters, and so are those
    /// of sagas in theirs: the events that are in the topics of their domains, by number.
    pub fn assert_json_once(&self) -> BTreeSet<u64> {
        let dir = self.journal_dir();
        let mut export = Command::new(env!("CARGO_BIN_EXE_tradecore"));
        let export = export.args(["journal", "export", "--out", "-", "--dir"]).arg(dir).output().expect("run");
        let mut lines: BTreeMap<(u64, bool), Value> = BTreeMap::new();
        for line in String::from_utf8(export.stdout).expect("text").lines() {
            let line: Value = serde_json::from_str(line).expect("an object");
            let seq = line["seq"].as_str().expect("text").parse().expect("a number");
            if let Some((_, saga)) = SAGAS.iter().find(|(name, _)| line["type"].as_str().expect("text").contains(name))
            {
                lines.insert((seq, true), line.clone());
                lines.entry((seq, true)).and_modify(|line| line["saga"] = (*saga).into());
            }
            lines.insert((seq, false), line);
        }
        let mut delivered = BTreeSet::new();
        let topic_of = |domain: &str| format!("transport.{domain}-events");
        let topics: Vec<(String, i32)> = DOMAINS
            .iter()
            .map(|domain| topic_of(domain))
            .chain(["saga.events".to_owned()])
            .flat_map(|topic| [(topic.clone(), PARTITIONS), (format!("{topic}.dlq"), 1)])
            .collect();
        let mut last = BTreeMap::new();
        self.read(&topics, |topic, message| {
            let message = message.detach();
            let place = format!("{topic}/{} at {}", message.partition(), message.offset());
            let seq: u64 = header(&message, "ce_seq").expect("a number").parse().expect("a number");
            let is_saga = topic.starts_with("saga.");
            let line = lines.remove(&(seq, is_saga));
            let mut line = line.unwrap_or_else(|| panic!("{place}: {seq} is there twice, or does not belong there"));
            let before = last.insert((topic.to_owned(), message.partition()), seq).unwrap_or(0);
            assert!(before < seq, "{place}: {seq} behind {before}");
            let value: Value = serde_json::from_slice(message.payload().expect("a value")).expect("JSON");
            let data = line.as_object_mut().expect("an object").remove("data").expect("data");
            assert_eq!(value, data, "{place}");
            for (name, wanted) in line.as_object().expect("an object") {
                let name = match name.as_str() {
                    "datacontenttype" => "content-type".to_owned(),
                    name => format!("ce_{name}"),
                };
                assert_eq!(header(&message, &name).as_deref(), wanted.as_str(), "{place}: {name}");
            }
            let domain = line["domain"].as_str().expect("text");
            assert!(is_saga || topic.trim_end_matches(".dlq") == topic_of(domain), "{place}: of {domain}");
            assert_eq!(header(&message, "ce_saga").is_some(), is_saga, "{place}");
            assert_eq!(message.key(), line["partitionkey"].as_str().map(str::as_bytes), "{place}");
            if !is_saga && !topic.ends_with(".dlq") {
                delivered.insert(seq);
            }
        });
        assert!(lines.is_empty(), "without JSON: {:?}", lines.keys());
        delivered
    }

    /// Every committed record of every topic against the journal: events, and those that were left out.
    pub fn read_back(&self, is_leaving_out: bool) -> (u64, u64) {
        let mut repeated = 0;
        let mut seen: BTreeMap<u64, Vec<u8>> = BTreeMap::new();
        let topics: Vec<(String, i32)> =
            DOMAINS.iter().map(|domain| (format!("eventstore.{domain}-events"), PARTITIONS)).collect();
        let mut last = BTreeMap::new();
        self.read(&topics, |topic, message| {
            let headers = message.headers().expect("headers").detach();
            let of = |name: &str| {
                let header = headers.iter().find(|header| header.key == name).expect("the header");
                String::from_utf8(header.value.expect("a value").to_vec()).expect("text")
            };
            assert_eq!(of("stream"), "virtual-1");
            let seq: u64 = of("seq").parse().expect("a number");
            let place = format!("{topic}/{} at {}", message.partition(), message.offset());
            let before = last.entry((topic.to_owned(), message.partition())).or_insert(0_u64);
            if is_leaving_out && seq <= *before {
                repeated += 1;
                return;
            }
            let before = std::mem::replace(before, seq);
            assert!(before < seq, "{place}: event {seq} behind event {before}");
            assert_eq!(of("prev_seq_same_partition"), before.to_string(), "{place}");
            let again = seen.insert(seq, message.payload().expect("bytes").to_vec());
            assert!(again.is_none(), "{place}: event {seq} is there twice");
        });
        let mut reader = Reader::open(&self.journal_dir(), 1, Until::Synced).expect("a journal");
        let mut count = 0;
        reader
            .for_each(|record| {
                count += 1;
                let shipped = seen.remove(&record.seq);
                assert_eq!(shipped.as_deref(), Some(record.bytes), "event {}", record.seq);
            })
            .expect("readable");
        assert!(seen.is_empty(), "events that the journal does not have: {:?}", seen.keys());
        (count, repeated)
    }
}

/// Its topics go with it: a broker that was killed looks through each that it has before it is back.
impl Drop for Host {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        let admin = self.broker.admin();
        let Ok(metadata) = admin.inner().fetch_metadata(None, DEADLINE) else { return };
        let is_ours = |name: &&str| name.starts_with(&self.prefix);
        let topics: Vec<&str> = metadata.topics().iter().map(|topic| topic.name()).filter(is_ours).collect();
        if !topics.is_empty() {
            // What is left costs time and nothing else.
            drop(wait_for(admin.delete_topics(&topics, &AdminOptions::new())));
        }
    }
}

/// What a command with `--json` has said: the first line, for a failure is told behind it.
pub fn said(output: &Output) -> Value {
    let line = output.stdout.split(|byte| *byte == b'\n').next().unwrap_or_default();
    serde_json::from_slice(line).unwrap_or_else(|_| panic!("no object: {output:?}"))
}

/// A header of a record, as text.
pub fn header(message: &OwnedMessage, name: &str) -> Option<String> {
    let headers = message.headers()?;
    let header = headers.iter().find(|header| header.key == name)?;
    Some(String::from_utf8(header.value?.to_vec()).expect("text"))
}

/// A journal, as a core writes it.
pub struct Journal {
    pub writer: Writer,
    pub closer: Closer,
    watermarks: std::sync::Arc<tradecore_journal::Watermarks>,
}

impl Journal {
    /// Appends events of every type, of many orders, in groups of one to seven.
    pub fn append(&mut self, events: u64) {
        let last = self.writer.last_seq() + events;
        while self.writer.last_seq() < last {
            let records = (1 + self.writer.last_seq() % 7).min(last - self.writer.last_seq());
            let since = Instant::now();
            while !self.writer.can_append(7 * (EVENT_BYTES_MAX + 64), 7, Space::Normal) {
                assert!(since.elapsed() < DEADLINE, "no segment is made");
                std::thread::yield_now();
            }
            self.writer.begin(tradecore::clock::utc_ns());
            for _ in 0..records {
                let seq = self.writer.last_seq() + 1;
                // Orders most of all, as in a real journal.
                let index = if seq.is_multiple_of(4) { seq / 4 } else { 9 } as usize % EVENTS.len();
                let (kind, version, _, len, _) = EVENTS[index];
                self.writer.append(kind, version, len, |bytes| {
                    bytes.chunks_mut(8).for_each(|word| word.copy_from_slice(&(seq % 997).to_le_bytes()[..word.len()]));
                });
            }
            self.writer.commit();
        }
        let since = Instant::now();
        while self.watermarks.synced() < last {
            assert!(since.elapsed() < DEADLINE, "it is not synced");
            std::thread::yield_now();
        }
    }
}

/// A command that runs; killed with its test.
pub struct Process {
    pub child: Child,
    lines: Receiver<String>,
    pub said: String,
}

impl Process {
    pub fn wait_for(&mut self, text: &str) -> String {
        let since = Instant::now();
        loop {
            let left = DEADLINE.saturating_sub(since.elapsed());
            match self.lines.recv_timeout(left) {
                Ok(line) => {
                    self.said += &format!("{line}\n");
                    if line.contains(text) {
                        return line;
                    }
                }
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                    panic!("{text:?} was not said, but: {}", self.said)
                }
            }
        }
    }

    /// All that it has said until now.
    pub fn heard(&mut self) -> &str {
        self.lines.try_iter().for_each(|line| self.said += &format!("{line}\n"));
        &self.said
    }

    pub fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_raw(self.child.id().cast_signed()).expect("a process");
        rustix::process::kill_process(pid, signal).expect("sent");
    }

    pub fn kill(mut self) {
        self.child.kill().expect("killed");
        self.child.wait().expect("ended");
    }

    /// Its exit code and all that it said.
    pub fn end(mut self) -> (Option<i32>, String) {
        let since = Instant::now();
        loop {
            // The end of its stderr is its end.
            match self.lines.recv_timeout(DEADLINE.saturating_sub(since.elapsed())) {
                Ok(line) => self.said += &format!("{line}\n"),
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => panic!("it does not end: {}", self.said),
            }
        }
        let code = self.child.wait().expect("ended").code();
        (code, std::mem::take(&mut self.said))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
        if std::thread::panicking() {
            println!("process {} has said: {}", self.child.id(), self.heard());
        }
    }
}
