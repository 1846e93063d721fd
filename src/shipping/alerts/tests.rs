use std::collections::BTreeSet;
use std::fmt::Write as _;

use tradecore_domain::event::{
    BrokerContradicted, KillSwitchChanged, Meta, OrderImage, OrderInDoubt, TradingStateChanged,
};

use super::*;

const STREAM: Stream = Stream { environment: 3, core: 1 };

#[test]
fn the_document_lists_the_kinds_as_they_are_declared() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/alerts.md");
    let written = std::fs::read_to_string(&path).expect("docs/alerts.md");
    let begin = "<!-- generated: alerts, from src/shipping/alerts.rs -->\n";
    let (prose, _) = written.split_once(begin).expect("the place of the list");
    let mut text = format!(
        "{prose}{begin}\n| topic | severity | what has happened | told by | next step |\n|---|---|---|---|---|\n"
    );
    for kind in Kind::ALL {
        let (topic, severity, doc) = (kind.topic(), kind.severity().name(), kind.doc().trim());
        writeln!(text, "| `{topic}` | {severity} | {doc} | {} | {} |", kind.source(), kind.next_step()).expect("text");
    }
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, &text).expect("written");
    } else {
        assert!(written == text, "docs/alerts.md differs; run UPDATE_DOCS=1 cargo test --lib the_document_lists");
    }
}

#[test]
fn no_two_kinds_have_one_name() {
    let names: BTreeSet<&str> = Kind::ALL.iter().map(|kind| kind.name()).collect();
    assert_eq!(names.len(), Kind::ALL.len());
    assert!(Kind::ALL.iter().all(|kind| kind.topic() == format!("alerts.{}", kind.name())));
}

#[test]
fn events_that_somebody_must_know_are_alerts_and_those_that_end_such_a_state_are_none() {
    let meta = Meta { account_id: 7, ..Meta::default() };
    let mut operator_tag = [0; 32];
    operator_tag[..5].copy_from_slice(b"anna\"");
    let order = OrderImage { order_id: 42, ..OrderImage::default() };
    let state =
        |state: TradingState| TradingStateChanged { meta, state: state.raw(), ..TradingStateChanged::default() };
    let kill =
        |engaged| KillSwitchChanged { meta: Meta::default(), engaged, operator_tag, ..KillSwitchChanged::default() };
    let cases: [(Event, Option<(Kind, &str)>); 6] = [
        (state(TradingState::Open).into(), None),
        (state(TradingState::Frozen).into(), Some((Kind::TradingState, "account 7 is FROZEN"))),
        (kill(0).into(), None),
        (kill(1).into(), Some((Kind::KillSwitch, "the kill switch of the core is engaged: anna\""))),
        (OrderInDoubt { order, ..OrderInDoubt::default() }.into(), Some((Kind::OrderInDoubt, "order-42 is unknown"))),
        (
            BrokerContradicted { order_id: 42, ..BrokerContradicted::default() }.into(),
            Some((Kind::BrokerContradiction, "known of order-42")),
        ),
    ];
    for (event, wanted) in cases {
        let alert = Alert::of(&event, 9, 1_709_210_096_000_000_001);
        assert_eq!(alert.as_ref().map(|alert| alert.kind), wanted.map(|(kind, _)| kind), "{event:?}");
        let Some((alert, (kind, part))) = alert.zip(wanted) else { continue };
        let json: serde_json::Value = serde_json::from_str(&alert.to_json(STREAM)).expect("JSON");
        assert!(json["text"].as_str().expect("text").to_uppercase().contains(&part.to_uppercase()), "{json}");
        assert_eq!((&json["kind"], &json["seq"]), (&kind.name().into(), &"9".into()), "{json}");
        assert_eq!((&json["stream"], &json["time"]), (&"virtual-1".into(), &"2024-02-29T12:34:56.000000001Z".into()));
        assert_eq!(json["id"], format!("virtual-1/{}/9/1709210096000000001", kind.name()));
        assert!(!json["next_step"].as_str().expect("text").is_empty() && !json["severity"].is_null(), "{json}");
    }
}

#[test]
fn alerts_that_cannot_be_shipped_leave_the_oldest_out_and_count_them() {
    let mut waiting = Waiting::new();
    let total = WAITING_MAX as u64 + 10;
    for seq in 0..total {
        waiting.push(Alert { kind: Kind::ClusterAway, seq, time_ns: 0, text: String::new() });
    }
    assert_eq!(waiting.left_out(), 10);
    let seqs: Vec<u64> = waiting.iter().map(|(_, alert)| alert.seq).collect();
    assert_eq!(seqs, (10..total).collect::<Vec<_>>());
    // Some are shipped while others come.
    let numbers = |waiting: &Waiting| waiting.iter().map(|(number, _)| *number).collect::<Vec<_>>();
    let mut left = numbers(&waiting);
    // Whose topic takes none waits on, before others.
    waiting.shipped(&left.split_off(1));
    assert_eq!(numbers(&waiting), left);
    assert_eq!(waiting.left_out(), 10, "what was shipped was not left out");
    waiting.leave_out();
    assert_eq!(waiting.left_out(), 11);
}
