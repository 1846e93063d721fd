//! `docs/events.md` against the code. `UPDATE_DOCS=1` writes its generated parts.

use std::path::{Path, PathBuf};

use tradecore::shipping::domains::{Aggregate, Domain, Saga};
use tradecore_domain::event::{EVENT_BYTES_MAX, EVENTS, Event};

pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_path_buf()
}

/// The file must have this text; with `UPDATE_DOCS=1` it gets it.
pub fn check_file(name: &str, text: &str) {
    let path = root().join(name);
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, text).expect("written");
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(found == text, "{name} differs from the code: run `UPDATE_DOCS=1 cargo test --test shipping`");
}

fn with_section(document: &str, section: &str, text: &str) -> String {
    let (start, end) = (format!("<!-- generated: {section} -->\n"), format!("<!-- end: {section} -->"));
    let (before, rest) = document.split_once(&start).unwrap_or_else(|| panic!("no mark for {section}"));
    let (_, after) = rest.split_once(&end).unwrap_or_else(|| panic!("no end mark for {section}"));
    format!("{before}{start}\n{text}\n{end}{after}")
}

/// One event of each type, all of whose fields are `byte`s.
pub fn events_of(byte: u8) -> impl Iterator<Item = Event> {
    #[repr(C, align(16))]
    struct Payload([u8; EVENT_BYTES_MAX]);
    EVENTS.iter().map(move |(kind, version, name, len, _)| {
        let payload = Payload([byte; EVENT_BYTES_MAX]);
        Event::from_archive(*kind, *version, &payload.0[..*len]).unwrap_or_else(|error| panic!("{name}: {error}"))
    })
}

fn domains_table() -> String {
    let mut out = "| domain | what belongs to it | topics | events |\n|---|---|---|---|\n".to_owned();
    for domain in Domain::ALL {
        let count = events_of(1).filter(|event| Domain::of(event) == *domain).count();
        let (name, doc) = (domain.name(), domain.doc().trim());
        let (store, transport) = (domain.eventstore_topic(), domain.transport_topic());
        out += &format!("| `{name}` | {doc} | `{store}`, `{transport}` | {count} |\n");
    }
    out
}

fn events_table() -> String {
    let mut out = "| type | v | event | domain | key | what happened |\n|---|---|---|---|---|---|\n".to_owned();
    let ids = |event: &Event| match Aggregate::of(event) {
        Aggregate::Core | Aggregate::Broker => Aggregate::of(event).kind().to_owned(),
        aggregate => format!("{}-*id*", aggregate.kind()),
    };
    for (((known, unknown), row), domain) in
        events_of(1).zip(events_of(0)).zip(EVENTS).zip(events_of(2).map(|e| Domain::of(&e)))
    {
        let (kind, version, name, _, doc) = row;
        assert_eq!((Domain::of(&known), Domain::of(&unknown)), (domain, domain), "{name}: by its type alone");
        let mut key = ids(&known);
        if ids(&unknown) != key {
            key += &format!(", else {}", ids(&unknown));
        }
        out += &format!("| {kind} | {version} | `{name}` | `{}` | {key} | {} |\n", domain.name(), doc.trim());
    }
    out
}

fn sagas_table() -> String {
    let mut out = "| saga | event | what happened |\n|---|---|---|\n".to_owned();
    for (event, (_, _, name, _, doc)) in events_of(1).zip(EVENTS) {
        if let Some(saga) = Saga::of(&event) {
            out += &format!("| `{}` | `{name}` | {} |\n", saga.name(), doc.trim());
        }
    }
    out
}

#[test]
fn the_document_names_every_event_and_its_domain() {
    let document = std::fs::read_to_string(root().join("docs/events.md")).expect("docs/events.md");
    let document = with_section(&document, "domains", &domains_table());
    let document = with_section(&document, "sagas", &sagas_table());
    let document = with_section(&document, "events", &events_table());
    check_file("docs/events.md", &document);
}
