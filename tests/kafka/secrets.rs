//! Secrets: they open the door, and are found nowhere.

use rdkafka::message::{Headers, Message};
use rustix::process::Signal;

use super::host::{DEADLINE, Host};

const KEY: &str = "planted-key-of-algo1-0123456789abcdef";
const PASSWORD: &str = "planted-broker-secret";
const WRONG: &str = "planted-wrong-secret";

/// A file that its owner alone may read.
fn plant(host: &Host, name: &str, secret: &str) {
    let path = host.dir.path().join(name);
    std::fs::write(&path, secret).expect("written");
    std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).expect("set");
}

fn assert_clean(place: &str, bytes: &[u8]) {
    for secret in [KEY, PASSWORD, WRONG] {
        let is_there = bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
        assert!(!is_there, "{secret} in {place}: {}", String::from_utf8_lossy(bytes));
    }
}

#[test]
fn secrets_of_configuration_and_credentials_are_found_in_no_topic_log_or_error() {
    let mut host = Host::new("timeout_ms = 10000\nhealth_s = 1");
    plant(&host, "algo1", KEY);
    plant(&host, "right", PASSWORD);
    plant(&host, "wrong", WRONG);
    let plain = std::fs::read_to_string(host.config()).expect("read");
    let plain = plain.replace("[listen]", "[listen]\ntcp = \"127.0.0.1:0\"");
    let asked = |address: &str, file: &str| {
        let line = format!("brokers = \"{}\"", host.broker.address);
        let settings =
            "settings = [\"security.protocol=sasl_plaintext\", \"sasl.mechanism=PLAIN\", \"sasl.username=gateway\"]";
        plain.replace(&line, &format!("brokers = \"{address}\"\n{settings}\nsecrets = [\"sasl.password={file}\"]"))
    };
    // Ours has a door that asks, behind the next one; with another the secrets are only carried along.
    let (open, door) = (host.broker.address.clone(), host.broker.door());
    let right = match &door {
        Some(door) => asked(door, "right"),
        None => asked(&open, "right").replace("sasl_plaintext", "plaintext"),
    };
    let wrong = door.as_ref().map(|door| asked(door, "wrong"));
    host.log = "debug";

    if let Some(wrong) = wrong {
        std::fs::write(host.config(), &wrong).expect("written");
        let output = host.run(&["ship", "status"]);
        let said = [output.stdout, output.stderr].concat();
        assert_clean("an error", &said);
        assert_eq!(output.status.code(), Some(69), "{}", String::from_utf8_lossy(&said));
        let mut gateway = host.start(&["run"]);
        gateway.wait_for("begins anew from what the cluster has");
        gateway.signal(Signal::TERM);
        let (_, said) = gateway.end();
        assert_clean("the log of a failure", said.as_bytes());
    }
    std::fs::write(host.config(), &right).expect("written");
    let mut gateway = host.start(&["run"]);
    gateway.wait_for("shipping to Kafka stream");
    gateway.signal(Signal::TERM);
    let (code, said) = gateway.end();
    assert_eq!(code, Some(0), "{said}");
    assert_clean("the log", said.as_bytes());
    for words in [&["ship", "run", "--drain"][..], &["ship", "status"], &["config", "show"], &["dlq", "list"]] {
        let output = host.run(words);
        assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
        assert_clean(&words.join(" "), &[output.stdout, output.stderr].concat());
    }
    let mut records = 0;
    for topic in host.topics() {
        let found = host.broker.admin().inner().fetch_metadata(None, DEADLINE).expect("metadata");
        let name = format!("{}{topic}", host.prefix);
        let partitions = found.topics().iter().find(|known| known.name() == name).expect("known").partitions().len();
        for record in host.records(&topic, i32::try_from(partitions).expect("few")) {
            records += 1;
            assert_clean(&topic, record.payload().unwrap_or_default());
            assert_clean(&topic, record.key().unwrap_or_default());
            for header in record.headers().into_iter().flat_map(Headers::iter) {
                assert_clean(&topic, header.value.unwrap_or_default());
            }
        }
    }
    assert!(records > 8, "{records} records");
    host.assert_exactly_once();
}
