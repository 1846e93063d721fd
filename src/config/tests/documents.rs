use std::fs;

use super::*;

#[test]
fn the_documents_say_what_the_code_declares() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for (name, text) in [("docs/config.md", markdown()), ("systemd/tradecore.toml", sample())] {
        let path = root.join(name);
        if std::env::var_os("UPDATE_DOCS").is_some() {
            fs::write(&path, &text).expect("written");
        }
        let written = fs::read_to_string(&path).unwrap_or_default();
        assert!(written == text, "{name} is not what the code says; run UPDATE_DOCS=1 cargo test documents_say");
    }
}

#[test]
fn the_sample_is_a_configuration_and_what_it_comments_out_are_the_defaults() {
    let sample = sample();
    let config = parse(&sample).expect("accepted");
    let is_key = |line: &str| line.starts_with('#') && !line.starts_with("# ");
    let uncommented: Vec<&str> =
        sample.lines().map(|line| if is_key(line) { line.get(1..).unwrap_or_default() } else { line }).collect();
    assert_ne!(uncommented.join("\n"), sample.trim_end());
    let explicit = parse(&uncommented.join("\n")).expect("defaults are allowed values");
    assert_eq!(values(&explicit), values(&config));
}

#[test]
fn the_example_of_the_document_is_a_configuration() {
    let text = markdown();
    let (_, example) = text.split_once("```toml\n").expect("an example");
    let (example, _) = example.split_once("```").expect("ends");
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("gateway.toml");
    fs::write(&file, example).expect("written");
    let config = Config::load(&file, std::iter::empty()).expect("accepted");
    assert_eq!((config.core.id, config.sessions.len()), (1, 1));
}

#[test]
fn every_key_has_a_sentence_and_an_allowed_default_and_is_declared_once() {
    let mut names = std::collections::BTreeSet::new();
    for section in sections() {
        for key in section.keys {
            let path = format!("{}.{}", section.name, key.name);
            assert!(key.doc.trim().ends_with('.') && key.doc.trim().len() > 5, "{path}: {:?}", key.doc);
            let default = key.default_value();
            assert!(default.is_some() || !key.is_required, "{path} has an example");
            assert_eq!(default.and_then(|default| key.allowed.refusal(&default)), None, "{path}");
            assert!(names.insert(path.clone()), "{path} is declared once");
        }
    }
}

#[test]
fn the_ids_that_are_allowed_are_those_that_the_domain_has_room_for() {
    let limits = tradecore_domain::Limits::default();
    let greatest = |section: &Section| match section.key("id").expect("there").allowed {
        Allowed::Integer(1, max) => max,
        other => panic!("{other}"),
    };
    assert_eq!(greatest(&Instrument::SECTION), i64::from(limits.instruments_max));
    assert_eq!(greatest(&Account::SECTION), i64::from(limits.accounts_max));
    assert_eq!(greatest(&SessionEntry::SECTION), i64::from(limits.sessions_max));
}

/// The venue reads its section itself: the list here is held against what it knows and what it takes by default.
#[test]
fn the_keys_of_the_venue_are_those_that_the_venue_reads() {
    let config = parse(&format!("{TEXT}[venue.capture]\npaths = []\n")).expect("accepted");
    let explicit = config.venue().expect("the venue knows every key that is declared");
    let written: Table = toml::from_str(&format!("{TEXT}[venue.capture]\npaths = []\n")).expect("TOML");
    let own: crate::venue::VenueConfig = written["venue"].clone().try_into().expect("the venue's own reading");
    assert_eq!(explicit, own, "defaults agree");
    for section in sections().filter(|section| section.name.starts_with("venue")) {
        let mut declared: Vec<&str> = section.keys.iter().map(|key| key.name).collect();
        let prefix = format!("{}.", section.name);
        declared
            .extend(sections().filter_map(|part| part.name.strip_prefix(&prefix)).filter(|part| !part.contains('.')));
        declared.sort_unstable();
        let mut known = known_to_the_venue(section.name);
        known.sort_unstable();
        assert_eq!(known, declared, "{}", section.name);
    }
}

/// The keys that the venue names when it is given one that it does not know.
fn known_to_the_venue(section: &str) -> Vec<String> {
    let header = if section.ends_with("instruments") { format!("[[{section}]]") } else { format!("[{section}]") };
    let text = format!("{header}\nno_such_key = 1\n");
    let table: Table = toml::from_str(&text).expect("TOML");
    let error = table["venue"].clone().try_into::<crate::venue::VenueConfig>().expect_err("unknown");
    let (_, known) = error.message().split_once("expected").expect("names what is known");
    known.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}
