//! `docs/schemas/` against the code, the code against what has been released, and every event against its schema.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use tradecore::shipping::domains::{Aggregate, Domain, Stream};
use tradecore::shipping::json::{Place, write_event};
use tradecore::shipping::schema;
use tradecore_domain::State;
use tradecore_domain::event::{EVENTS, Event};

use super::documents::{check_file, events_of, root};
use super::history::{LONG, history};

#[test]
fn the_schemas_are_those_of_the_declaration() {
    let mut names = BTreeSet::new();
    for (name, schema) in schema::all() {
        let text = serde_json::to_string_pretty(&schema).expect("JSON") + "\n";
        check_file(&format!("docs/schemas/{name}"), &text);
        names.insert(name);
    }
    for entry in std::fs::read_dir(root().join("docs/schemas")).expect("a directory") {
        let name = entry.expect("an entry").file_name().into_string().expect("a name");
        assert!(names.contains(&name), "docs/schemas/{name} is of no event");
    }
}

/// What a schema promises to its readers, a line each: every field with its type, every name of a code.
fn promises(file: &str, path: &str, schema: &Value, out: &mut BTreeSet<String>) {
    let title = schema["title"].as_str().unwrap_or_default();
    if let Some(choices) = schema["anyOf"].as_array() {
        let names = choices.iter().filter_map(|choice| choice["enum"].as_array()).flatten();
        let owner = if title.is_empty() { format!("{file} {path}") } else { title.to_owned() };
        out.extend(names.map(|name| format!("code {owner}: {name}")));
        out.insert(format!("{file} {path}: code {title}"));
        // What else it may be: a number, for a code that is newer than its reader.
        let others: Vec<String> =
            choices.iter().filter(|choice| choice.get("enum").is_none()).map(Value::to_string).collect();
        out.insert(format!("{file} {path}: a name, or {}", others.join(", or ")));
    } else if let Some(properties) = schema["properties"].as_object() {
        for (name, property) in properties {
            promises(file, &format!("{path}.{name}"), property, out);
        }
    } else {
        let mut bare = schema.clone();
        bare.as_object_mut().expect("an object").remove("description");
        if let Some(items) = bare.as_object_mut().expect("an object").remove("items") {
            promises(file, &format!("{path}[]"), &items, out);
        }
        // Domains are added as codes are.
        if let Some(Value::Array(names)) = bare.as_object_mut().expect("an object").remove("enum") {
            out.extend(names.iter().map(|name| format!("code {path}: {name}")));
        }
        out.insert(format!("{file} {path}: {bare}"));
    }
}

/// `released.txt` is a frozen copy: lines are added to it, with `UPDATE_DOCS=1`, and never changed or taken away.
#[test]
fn what_a_released_schema_promised_holds() {
    let mut now = BTreeSet::new();
    for (file, schema) in schema::all() {
        promises(&file, "", &schema, &mut now);
        // What was always there may be relied on: a field may not become optional either.
        let required = |schema: &Value| schema["required"].as_array().map_or(0, Vec::len);
        let count = |schema: &Value| schema["properties"].as_object().map_or(0, serde_json::Map::len);
        assert_eq!(required(&schema), count(&schema), "{file}");
    }
    // Where its events are, and what they are in order with.
    for (event, (_, version, name, ..)) in events_of(1).zip(EVENTS) {
        let (domain, kind) = (Domain::of(&event).name(), Aggregate::of(&event).kind());
        now.insert(format!("place {name}.v{version}: {domain}, in order by {kind}"));
    }
    let path = root().join("tests/shipping/released.txt");
    let mut text = std::fs::read_to_string(&path).expect("it was never empty");
    for promise in text.lines() {
        assert!(now.contains(promise), "no longer true, and readers rely on it: {promise}");
    }
    let released: BTreeSet<String> = text.lines().map(str::to_owned).collect();
    let new: Vec<&str> = now.difference(&released).map(String::as_str).collect();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        new.iter().for_each(|line| text += &format!("{line}\n"));
        std::fs::write(&path, &text).expect("written");
    } else {
        assert!(new.is_empty(), "released.txt lacks {new:?}: run `UPDATE_DOCS=1 cargo test --test shipping`");
    }
}

/// Checks what our schemas use of JSON Schema, and that nothing is there that they do not name.
fn check(schema: &Value, value: &Value, path: &str) {
    for (keyword, wanted) in schema.as_object().expect("a schema") {
        let is_right = match keyword.as_str() {
            "$schema" | "$id" | "title" | "description" | "items" | "required" | "properties" => true,
            "type" => {
                let is = |wanted: &Value| match wanted.as_str().expect("a type") {
                    "object" => value.is_object(),
                    "array" => value.is_array(),
                    "string" => value.is_string(),
                    "null" => value.is_null(),
                    "boolean" => value.is_boolean(),
                    "integer" => value.is_u64() || value.is_i64(),
                    other => panic!("{path}: type {other}"),
                };
                wanted.as_array().map_or_else(|| is(wanted), |types| types.iter().any(is))
            }
            "const" => value == wanted,
            "enum" => wanted.as_array().expect("values").contains(value),
            "anyOf" => wanted.as_array().expect("schemas").iter().any(|one| holds(one, value, path)),
            "minimum" => value.as_u64().expect("a number") >= wanted.as_u64().expect("a number"),
            "maximum" => value.as_u64().expect("a number") <= wanted.as_u64().expect("a number"),
            "maxLength" => value.as_str().expect("text").chars().count() as u64 <= wanted.as_u64().expect("a number"),
            "pattern" => value.as_str().is_none_or(|text| matches(wanted.as_str().expect("a pattern"), text)),
            other => panic!("{path}: keyword {other}"),
        };
        assert!(is_right, "{path}: {value} is not {keyword} {wanted}");
    }
    if let Some(items) = schema.get("items") {
        value.as_array().expect("an array").iter().for_each(|item| check(items, item, path));
    }
    let Some(properties) = schema.get("properties") else { return };
    let object = value.as_object().expect("an object");
    for name in schema["required"].as_array().expect("names") {
        assert!(object.contains_key(name.as_str().expect("a name")), "{path}.{name} is missing");
    }
    for (name, value) in object {
        check(properties.get(name).unwrap_or_else(|| panic!("{path}.{name} is not declared")), value, name);
    }
}

fn holds(schema: &Value, value: &Value, path: &str) -> bool {
    match (schema.get("enum"), schema["type"].as_str()) {
        (Some(values), _) => values.as_array().expect("values").contains(value),
        (None, Some("integer")) if !value.is_u64() => false,
        (None, Some("integer")) => {
            check(schema, value, path);
            true
        }
        (None, other) => panic!("{path}: {other:?} among choices"),
    }
}

/// The patterns that our schemas have: sets of characters with a count, and what is optional.
fn matches(pattern: &str, text: &str) -> bool {
    let digits = |text: &str, max: usize| (1..=max).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
    let decimal = |places: usize| {
        let (whole, fraction) = text.strip_prefix('-').unwrap_or(text).split_once('.').map_or_else(
            || (text.strip_prefix('-').unwrap_or(text), None),
            |(whole, fraction)| (whole, Some(fraction)),
        );
        digits(whole, usize::MAX) && fraction.is_none_or(|fraction| digits(fraction, places))
    };
    let stream = |text: &str| {
        text.split_once('-').is_some_and(|(environment, core)| {
            !environment.is_empty()
                && environment.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
                && digits(core, 5)
        })
    };
    let subject = |text: &str| {
        let (kind, id) = text.rsplit_once('-').filter(|(_, id)| digits(id, 20)).unwrap_or((text, "0"));
        !kind.is_empty() && kind.bytes().all(|b| b.is_ascii_lowercase() || b == b'-') && digits(id, 20)
    };
    let version = |rest: Option<&str>, mark: &str| {
        rest.and_then(|rest| rest.split_once(mark)).is_some_and(|(name, version)| {
            !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphabetic()) && digits(version, 3)
        })
    };
    match pattern {
        "^-?[0-9]+(\\.[0-9]{1,9})?$" => decimal(9),
        "^-?[0-9]+(\\.[0-9]{1,18})?$" => decimal(18),
        "^[0-9]{1,20}$" => digits(text, 20),
        "^[0-9]{1,10}$" => digits(text, 10),
        "^-?[0-9]{1,39}$" => digits(text.strip_prefix('-').unwrap_or(text), 39),
        "^[a-z0-9]+-[0-9]+/[0-9]+/[0-9]+$" => {
            let parts: Vec<&str> = text.split('/').collect();
            parts.len() == 3 && stream(parts[0]) && digits(parts[1], 10) && digits(parts[2], 20)
        }
        "^/tradecore/[a-z0-9]+-[0-9]+$" => text.strip_prefix("/tradecore/").is_some_and(stream),
        "^tradecore\\.[A-Za-z]+\\.v[0-9]+$" => version(text.strip_prefix("tradecore."), ".v"),
        "^urn:tradecore:event:[A-Za-z]+:v[0-9]+$" => version(text.strip_prefix("urn:tradecore:event:"), ":v"),
        "^[a-z-]+(-[0-9]+)?$" => subject(text),
        "^[a-z0-9]+-[0-9]+/[a-z0-9-]+$" => text.split_once('/').is_some_and(|(from, of)| stream(from) && subject(of)),
        "^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\\.[0-9]{9}Z$" => {
            let shape: String = text.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
            shape == "0000-00-00T00:00:00.000000000Z"
        }
        other => panic!("the check does not know the pattern {other}"),
    }
}

/// An event as it leaves, checked against both schemas.
fn check_event(schemas: &BTreeMap<String, Value>, seq: u64, event: &Event) {
    let place = Place { stream: Stream { environment: 3, core: 1 }, epoch: 1, seq, ts_ns: seq };
    let mut line = String::new();
    write_event(&mut line, &place, event);
    let value: Value = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"));
    check(
        &schemas["event.json"],
        &{
            let mut bare = value.clone();
            bare["data"] = Value::Object(serde_json::Map::new());
            bare
        },
        "",
    );
    let schema = &schemas[&schema::file_name(event)];
    assert_eq!(value["dataschema"], schema["$id"]);
    check(schema, &value["data"], event.name());
}

#[test]
fn every_event_of_long_random_histories_is_what_its_schema_says() {
    let schemas: BTreeMap<String, Value> = schema::all().into_iter().collect();
    let mut seq = 0;
    for seed in [1, 2, LONG] {
        let mut listener = |_: &State, events: &[Event]| {
            for event in events {
                seq += 1;
                check_event(&schemas, seq, event);
            }
        };
        let seen = history(seed, &mut listener);
        assert!(seen.len() > 20, "seed {seed}: {seen:?}");
    }
    assert!(seq > 5_000, "{seq} events");
}

#[test]
fn whatever_bytes_an_event_holds_it_is_what_its_schema_says() {
    let schemas: BTreeMap<String, Value> = schema::all().into_iter().collect();
    for byte in 0..=u8::MAX {
        for event in events_of(byte) {
            check_event(&schemas, u64::from(byte) + 1, &event);
        }
    }
}
