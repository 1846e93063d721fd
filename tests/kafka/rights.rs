//! What the cluster does not let the gateway's user do: said, waited out, and shipped when it may.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Instant;

use rustix::process::Signal;
use tradecore_client::protocol::fields::Tif;

use super::desk::{Algo, Desk};
use super::host::{DEADLINE, Host, objects, said};
use super::wait_until;

// As the protocol numbers them: kinds of requests, of resources, and what may be done.
const CREATE_ACLS: i16 = 30;
const DELETE_ACLS: i16 = 31;
const TOPIC: u8 = 2;
const CLUSTER: u8 = 4;
const TRANSACTIONAL_ID: u8 = 5;
const LITERAL: u8 = 3;
const PREFIXED: u8 = 4;
const READ: u8 = 3;
const WRITE: u8 = 4;
const DESCRIBE: u8 = 8;
const DESCRIBE_CONFIGS: u8 = 10;
const ALL: u8 = 2;
const ALLOW: u8 = 3;

/// What has a name, or begins with it.
#[derive(Clone, Debug)]
struct Resource {
    kind: u8,
    name: String,
    pattern: u8,
}

impl Resource {
    fn begin(&self) -> Vec<u8> {
        [&[self.kind], &text(&self.name)[..], &[self.pattern]].concat()
    }

    /// Nobody may do anything with it any more, but for what clerk may, and for him who does not say who he is.
    fn close(&self, host: &Host, allowed: &[u8]) {
        let rights: Vec<(&str, u8)> = match allowed {
            // The first right that anybody has takes those that nobody was given away from all others.
            [] => vec![("User:nobody", ALL)],
            allowed => allowed.iter().map(|operation| ("User:clerk", *operation)).collect(),
        };
        let mut body = i32::try_from(rights.len()).expect("few").to_be_bytes().to_vec();
        for (user, operation) in rights {
            body.extend([self.begin(), text(user), text("*"), vec![operation, ALLOW]].concat());
        }
        ask(host, CREATE_ACLS, &body);
    }

    fn open(&self, host: &Host) {
        // Of anybody, from anywhere, anything.
        let any = [&[0xFF; 4][..], &[1, 1]].concat();
        ask(host, DELETE_ACLS, &[&1_i32.to_be_bytes()[..], &self.begin(), &any].concat());
    }
}

fn text(text: &str) -> Vec<u8> {
    [&i16::try_from(text.len()).expect("short").to_be_bytes()[..], text.as_bytes()].concat()
}

/// One request, by its first version in which Kafka 4 takes it, and the code of its one or first result.
fn ask(host: &Host, kind: i16, body: &[u8]) {
    let mut stream = TcpStream::connect(&host.broker.address).expect("connected");
    stream.set_read_timeout(Some(DEADLINE)).expect("set");
    let head = [kind.to_be_bytes(), 1_i16.to_be_bytes(), [0; 2], [0; 2]].concat();
    let frame = [&head, &text("test")[..], body].concat();
    let len = u32::try_from(frame.len()).expect("short").to_be_bytes();
    stream.write_all(&[&len[..], &frame].concat()).expect("sent");
    let mut len = [0; 4];
    stream.read_exact(&mut len).expect("an answer");
    let mut answer = vec![0; u32::from_be_bytes(len) as usize];
    stream.read_exact(&mut answer).expect("an answer");
    // Number, throttle time, count.
    let code = i16::from_be_bytes([answer[12], answer[13]]);
    assert_eq!(code, 0, "kind {kind}: {answer:?}");
}

/// Goes by the door that asks who one is.
fn as_clerk(host: &Host) -> bool {
    let Some(door) = host.broker.door() else {
        println!("NOT tested: the broker is not ours (TRADECORE_TEST_KAFKA_DIR)");
        return false;
    };
    let password = host.dir.path().join("password");
    std::fs::write(&password, "planted-broker-secret").expect("written");
    std::fs::set_permissions(&password, std::os::unix::fs::PermissionsExt::from_mode(0o600)).expect("set");
    let config = std::fs::read_to_string(host.config()).expect("read");
    let brokers = format!("brokers = \"{}\"", host.broker.address);
    let settings =
        "settings = [\"security.protocol=sasl_plaintext\", \"sasl.mechanism=PLAIN\", \"sasl.username=clerk\"]";
    let asked = format!("brokers = \"{door}\"\n{settings}\nsecrets = [\"sasl.password=password\"]");
    std::fs::write(host.config(), config.replace(&brokers, &asked)).expect("written");
    true
}

#[test]
fn a_right_that_is_missing_is_named_and_all_that_waited_is_there_once_when_it_is_given() {
    let desk = Desk::alone("timeout_ms = 30000\nlinger_ms = 1\nhealth_s = 0");
    let host = &desk.host;
    if !as_clerk(host) {
        return;
    }
    let resource = |kind, name: &str, pattern| Resource { kind, name: format!("{}{name}", host.prefix), pattern };
    let (topics, events) = (resource(TOPIC, "", PREFIXED), resource(TOPIC, "eventstore.", PREFIXED));
    let cluster = Resource { kind: CLUSTER, name: "kafka-cluster".to_owned(), pattern: LITERAL };
    let id = resource(TRANSACTIONAL_ID, "tradecore-virtual-1-ship", LITERAL);
    let of_topics = "allow the gateway's user WRITE, READ, DESCRIBE and DESCRIBE_CONFIGS of the topics";

    // Topics that it may not make.
    let rights = [READ, WRITE, DESCRIBE, DESCRIBE_CONFIGS];
    cluster.close(host, &[DESCRIBE]);
    topics.close(host, &rights);
    let mut gateway = host.start(&["run"]);
    gateway.wait_for("ready addresses");
    let line = gateway.wait_for("shipping to Kafka is refused");
    assert!(line.contains("allow the gateway's user CREATE"), "{line}");
    cluster.open(host);
    topics.open(host);
    gateway.wait_for("shipping to Kafka goes on");
    let mut algo = Algo::at(&host.dir.path().join("data"));
    wait_until(host, "lag_events", "0");
    for (resource, allowed, next_step) in [
        (&events, &[READ, DESCRIBE, DESCRIBE_CONFIGS][..], of_topics),
        // What is not shown is not there, and cannot be made.
        (&events, &[], of_topics),
        (&id, &[DESCRIBE], "allow the gateway's user WRITE and DESCRIBE of the transactional id"),
    ] {
        let before = objects(host, "alerts.shipping-refused").len();
        resource.close(host, allowed);
        algo.trade(Tif::Ioc);
        let line = gateway.wait_for("shipping to Kafka is refused");
        assert!(line.contains(next_step), "{resource:?}, {allowed:?}: {line}");
        // Trading goes on, and who asks is told, whatever he may see himself.
        algo.trade(Tif::Ioc);
        let output = host.ask(&["ship", "status", "--json"]);
        let shown = said(&output);
        assert_eq!((&shown["state"], output.status.code()), (&"refused".into(), Some(65)), "{shown}");
        assert!(shown["state_text"].as_str().is_some_and(|text| text.contains(next_step)), "{shown}");
        assert!(shown["state_since"].is_string() && shown["lag_events"] != "0", "{shown}");
        resource.open(host);
        gateway.wait_for("shipping to Kafka goes on");
        wait_until(host, "lag_events", "0");
        let since = Instant::now();
        while objects(host, "alerts.shipping-refused").len() == before {
            assert!(since.elapsed() < DEADLINE, "no alert tells of {resource:?}");
        }
        assert_eq!(host.find_status("state"), None, "it ships");
    }
    // By people: what they may not read is said to them as well.
    events.close(host, &[DESCRIBE]);
    let output = host.run(&["ship", "verify"]);
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(65) && words.contains(of_topics), "{words}");
    events.open(host);
    gateway.signal(Signal::TERM);
    let (code, words) = gateway.end();
    assert_eq!(code, Some(0), "{words}");
    host.succeed(&["ship", "run", "--drain"]);
    host.assert_exactly_once();
    host.assert_json_once();
}
