//! The log: restart, torn lines, damage, determinism, proof.

use crate::matching::{random_calls, random_run};
use crate::script::{Stage, config, events_of, show};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use tradecore::venue::exchange::Exchange;
use tradecore::venue::log::{LogError, LogReader, LogReport, LoggedChanges, VenueLog, log_path, read_log, write_line};
use tradecore::venue::order::OrderStatus;
use tradecore::venue::record::{Group, Record};
use tradecore::venue::text::Name;

pub(crate) fn bytes_of(groups: &[Group]) -> Vec<u8> {
    let mut bytes = Vec::new();
    groups.iter().for_each(|group| write_line(&mut bytes, group).unwrap());
    bytes
}

pub(crate) fn reopen(dir: &Path, seed: u64) -> Result<(Stage, LogReport), LogError> {
    let mut config = config();
    (config.seed, config.request_latency_ns, config.latency_jitter_ns) = (seed, 20, 30);
    let mut exchange = Exchange::new(config);
    let (_log, report) = VenueLog::open(dir, false, &mut exchange)?;
    Ok((Stage::with(exchange), report))
}

/// All that clients can see, with each order's fills.
fn visible(stage: &mut Stage) -> String {
    let mut text = String::new();
    for name in ["alice", "bob"] {
        let client = stage.client(name);
        let events: Vec<_> = stage.exchange.events(client, 1, u64::MAX).unwrap().cloned().collect();
        for event in &events {
            text += &format!("{event:?}\n");
            text += &format!("{:?}\n", stage.exchange.query(client, event.client_order_id.as_str()));
        }
        text += &format!("{:?}\n", stage.exchange.open_orders(client, Default::default(), usize::MAX));
    }
    text
}

#[test]
fn the_same_inputs_and_seed_give_the_same_log_bytes_and_another_seed_others() {
    for seed in 0..5 {
        let bytes = bytes_of(&random_run(seed, 300).groups);
        assert!(bytes == bytes_of(&random_run(seed, 300).groups), "seed {seed}");
    }
    let with_seed = |seed| {
        let mut config = config();
        (config.seed, config.latency_jitter_ns) = (seed, 1000);
        let mut stage = Stage::new(config);
        random_calls(&mut stage, 1, 0..100);
        bytes_of(&stage.groups)
    };
    assert!(with_seed(1) != with_seed(2), "jitter is drawn from the seed");
}

#[test]
fn a_restart_from_the_log_equals_the_state_before_at_every_group() {
    let seed = 3;
    let run = random_run(seed, 150);
    for count in 1..=run.groups.len() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(log_path(dir.path()), bytes_of(&run.groups[..count])).unwrap();
        let (mut reopened, report) = reopen(dir.path(), seed).unwrap();
        assert_eq!((report.groups, report.cut_bytes), (count as u64, 0));

        // The same groups folded in memory, without the file between.
        let mut config = config();
        (config.seed, config.request_latency_ns, config.latency_jitter_ns) = (seed, 20, 30);
        let mut memory = Exchange::new(config);
        run.groups[..count].iter().for_each(|group| memory.apply_group(group));
        assert_eq!(visible(&mut reopened), visible(&mut Stage::with(memory)), "after group {count}");
    }
}

#[test]
fn a_restarted_venue_goes_on_as_if_it_had_not_stopped() {
    let seed = 5;
    let mut stage = random_run(seed, 300);
    let dir = tempfile::tempdir().unwrap();
    fs::write(log_path(dir.path()), bytes_of(&stage.groups)).unwrap();
    let (mut reopened, _) = reopen(dir.path(), seed).unwrap();
    reopened.now_ns = stage.now_ns;
    assert_eq!(visible(&mut stage), visible(&mut reopened));

    // What comes from the market is forgotten, so both meet a new quote that leaves nothing of the old one.
    let calls = ["quote 1x1 999x1", "alice Z1 buy limit gtc 50@150", "bob Z2 sell limit gtc 90@1", "alice O1 cancel"];
    for call in calls {
        let (before, after) = (stage.call(call), reopened.call(call));
        assert_eq!(before, after, "after {call}");
        let now = format!("at {}", stage.now_ns + 1000);
        assert_eq!(stage.call(&now), reopened.call(&now), "after {call} and some time");
    }
    assert_eq!(visible(&mut stage), visible(&mut reopened));
}

#[test]
fn a_log_cut_at_any_byte_of_its_last_line_opens_without_that_line_and_keeps_the_rest_aside() {
    let groups = random_run(1, 20).groups;
    let bytes = bytes_of(&groups);
    let last = bytes_of(&groups[groups.len() - 1..]).len();
    let whole = bytes.len() - last;
    for cut in whole..bytes.len() {
        let dir = tempfile::tempdir().unwrap();
        let path = log_path(dir.path());
        fs::write(&path, &bytes[..cut]).unwrap();
        let (_, report) = reopen(dir.path(), 1).unwrap();
        assert_eq!((report.groups, report.cut_bytes), (groups.len() as u64 - 1, (cut - whole) as u64));
        assert_eq!(fs::read(&path).unwrap(), bytes[..whole], "cut at {cut}");
        match report.kept_at {
            Some(kept) => assert_eq!(fs::read(kept).unwrap(), bytes[whole..cut]),
            None => assert_eq!(cut, whole),
        }
    }
}

#[test]
fn damage_before_the_last_line_a_newer_format_and_a_second_venue_are_refused_untouched() {
    let bytes = bytes_of(&random_run(1, 20).groups);
    let text = String::from_utf8(bytes).unwrap();
    let cases = [
        ("a broken line", text.replacen("\"records\"", "\"recrds\"", 3)),
        ("a newer format", text.replacen("\"format\":1", "\"format\":2", 1)),
        ("no start", text.split_once('\n').unwrap().1.to_owned()),
    ];
    for (name, damaged) in cases {
        let dir = tempfile::tempdir().unwrap();
        fs::write(log_path(dir.path()), &damaged).unwrap();
        assert!(matches!(reopen(dir.path(), 1), Err(LogError::Damaged { line: 1, .. })), "{name}");
        assert_eq!(fs::read_to_string(log_path(dir.path())).unwrap(), damaged, "{name}");
    }
    let dir = tempfile::tempdir().unwrap();
    let first = VenueLog::open(dir.path(), true, &mut Exchange::new(config())).unwrap();
    assert!(matches!(reopen(dir.path(), 1), Err(LogError::Locked { .. })));
    drop(first);
    assert!(reopen(dir.path(), 1).is_ok());
}

#[test]
fn the_proof_read_from_the_log_agrees_with_the_exchange_order_by_order() {
    let mut stage = random_run(9, 400);
    stage.call("alice O0 buy limit gtc 1@1");
    let (first, again) = ("alice P buy limit gtc 2@100", "alice P buy limit gtc 2@100");
    stage.call(first);
    assert_eq!(stage.call(again), ["P refused DuplicateClientOrderId"]);
    assert_eq!(stage.call(again), ["P refused DuplicateClientOrderId"]);
    let later = stage.now_ns + 1000;
    stage.call(&format!("at {later}"));
    let dir = tempfile::tempdir().unwrap();
    fs::write(log_path(dir.path()), bytes_of(&stage.groups)).unwrap();
    let orders = read_log(&log_path(dir.path())).unwrap();
    assert!(orders.iter().any(|o| o.status == OrderStatus::Filled && o.fills.len() > 1));
    for order in &orders {
        let client = stage.client(order.client.as_str());
        let report = stage.exchange.query(client, order.client_order_id.as_str()).unwrap();
        assert_eq!(order.venue_order_id, report.venue_order_id);
        assert_eq!((order.side, order.px, order.qty), (report.side, report.px, report.qty));
        assert_eq!((order.cum_qty, order.status), (report.cum_qty, report.status), "{order:?}");
        assert_eq!(order.fills, report.fills);
        assert_eq!(order.orders_accepted, 1);
        let submissions = if order.client_order_id.as_str() == "P" { 3 } else { 1 };
        if order.client_order_id.as_str() != "O0" {
            assert_eq!(order.submissions, submissions, "{order:?}");
        }
    }
    let trades = events_of(&stage.groups).filter(|e| show(e).contains(" trade ")).count();
    assert_eq!(orders.iter().map(|o| o.fills.len()).sum::<usize>(), trades);
}

#[test]
fn a_log_that_is_read_as_it_grows_tells_the_same_as_one_that_is_read_at_the_end() {
    let groups = random_run(5, 150).groups;
    let bytes = bytes_of(&groups);
    let dir = tempfile::tempdir().unwrap();
    let path = log_path(dir.path());
    let mut reader = LogReader::new(path.clone());
    // Chunks end anywhere in a line.
    for end in (0..bytes.len()).step_by(997).chain([bytes.len()]) {
        fs::write(&path, &bytes[..end]).unwrap();
        reader.read_on().unwrap();
    }
    let grown: Vec<_> = reader.orders().cloned().collect();
    assert!(!grown.is_empty());
    assert_eq!(grown, read_log(&path).unwrap());
    // Every cancel and every replace, in order, also those of orders that the venue never had.
    let mut changes: BTreeMap<(Name, Name), LoggedChanges> = BTreeMap::new();
    for record in groups.into_iter().flat_map(|group| group.records) {
        match record {
            Record::Cancel { client, request, .. } => {
                changes.entry((client, request.client_order_id)).or_default().cancels += 1;
            }
            Record::Replace { client, request, .. } => {
                let of_order = changes.entry((client, request.client_order_id)).or_default();
                of_order.replaces.push((request.px, request.qty));
            }
            _ => {}
        }
    }
    assert!(changes.values().any(|of| of.cancels > 0) && changes.values().any(|of| !of.replaces.is_empty()));
    assert!(reader.changes().eq(changes.iter().map(|((_, name), of)| (name, of))), "{changes:?}");
}
