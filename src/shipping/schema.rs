//! JSON Schemas of events, made of the one declaration: `docs/schemas/`.

use serde_json::{Map, Value, json};
use tradecore_domain::event::{Event, FieldValue};

use super::domains::{Domain, Stream};
use super::fields::{Meaning, meaning};
use super::json::{Place, SchemaId, attributes};

const DRAFT: &str = "https://json-schema.org/draft/2020-12/schema";

/// Every schema: the name of its file, and what it says. The first is that of a whole line, the others those of `data`.
#[must_use]
pub fn all() -> Vec<(String, Value)> {
    let line = std::iter::once(("event.json".to_owned(), line()));
    line.chain(Event::zeroed().iter().map(|event| (file_name(event), of(event)))).collect()
}

/// `OrderFilled.v1.json`.
#[must_use]
pub fn file_name(event: &Event) -> String {
    format!("{}.v{}.json", event.name(), event.kind().1)
}

/// What every line has, whatever it tells of.
fn line() -> Value {
    let mut properties = Map::new();
    let event = Event::zeroed().into_iter().next();
    let place = Place { stream: Stream { environment: 3, core: 1 }, epoch: 1, seq: 1, ts_ns: 1 };
    if let Some(event) = &event {
        attributes(&place, event, |name, _| {
            properties.insert(name.to_owned(), attribute(name));
        });
    }
    properties.insert("data".to_owned(), json!({"type": "object", "description": "What `dataschema` defines."}));
    let required: Vec<String> = properties.keys().cloned().collect();
    json!({
        "$schema": DRAFT,
        "$id": "urn:tradecore:event",
        "title": "An event of a stream, as a CloudEvent",
        "type": "object",
        "properties": properties,
        "required": required,
    })
}

fn attribute(name: &str) -> Value {
    let of =
        |pattern: &str, description: &str| json!({"type": "string", "pattern": pattern, "description": description});
    match name {
        "specversion" => json!({"const": "1.0"}),
        "id" => of("^[a-z0-9]+-[0-9]+/[0-9]+/[0-9]+$", "Stream, epoch and number: the identity of the event."),
        "source" => of("^/tradecore/[a-z0-9]+-[0-9]+$", "The stream: whose money, and which core."),
        "type" => of("^tradecore\\.[A-Za-z]+\\.v[0-9]+$", "Type and version of the event."),
        "subject" => of("^[a-z-]+(-[0-9]+)?$", "What the event tells of."),
        "time" => of(
            "^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\\.[0-9]{9}Z$",
            "When it was journaled, UTC; it explains, and `seq` orders.",
        ),
        "datacontenttype" => json!({"const": "application/json"}),
        "dataschema" => of("^urn:tradecore:event:[A-Za-z]+:v[0-9]+$", "The schema of `data`."),
        "domain" => json!({"enum": Domain::ALL.iter().map(|domain| domain.name()).collect::<Vec<_>>()}),
        "partitionkey" => of("^[a-z0-9]+-[0-9]+/[a-z0-9-]+$", "Events of one key are kept in order."),
        "epoch" => of("^[0-9]{1,10}$", "Which start of the core wrote it."),
        _ => of("^[0-9]{1,20}$", "Number in the stream: gapless, from 1."),
    }
}

/// The schema of the `data` of an event.
#[must_use]
pub fn of(event: &Event) -> Value {
    let mut parts: Vec<(&str, Map<String, Value>)> = Vec::new();
    event.visit_parts(&mut |field| {
        let doc = event.doc_of(field.part, field.name);
        let property = (field.name.to_owned(), property(field.name, field.value, doc));
        match parts.iter_mut().find(|(part, _)| *part == field.part) {
            Some((_, properties)) => properties.extend([property]),
            None => parts.push((field.part, Map::from_iter([property]))),
        }
    });
    let mut own = Map::new();
    for (part, properties) in parts {
        if part.is_empty() {
            own.extend(properties);
        } else {
            let doc = event.doc_of("", part).trim();
            let mut object = object(properties);
            object.insert("description".to_owned(), doc.into());
            own.insert(part.to_owned(), object.into());
        }
    }
    let mut schema = object(own);
    let (_, _, _, _, doc) = super::declared(event);
    schema.insert("$schema".to_owned(), DRAFT.into());
    schema.insert("$id".to_owned(), SchemaId(event).to_string().into());
    schema.insert("title".to_owned(), event.name().into());
    schema.insert("description".to_owned(), doc.trim().into());
    schema.into()
}

fn object(properties: Map<String, Value>) -> Map<String, Value> {
    let required: Vec<Value> = properties.keys().map(|name| name.as_str().into()).collect();
    Map::from_iter([
        ("type".to_owned(), "object".into()),
        ("properties".to_owned(), properties.into()),
        ("required".to_owned(), required.into()),
    ])
}

fn property(name: &str, value: FieldValue<'_>, doc: &str) -> Value {
    let decimal = |places: u32| format!("^-?[0-9]+(\\.[0-9]{{1,{places}}})?$");
    let mut schema = match (meaning(name).unwrap_or(Meaning::Integer), value) {
        (Meaning::Px, _) => json!({"type": ["string", "null"], "pattern": decimal(9)}),
        (Meaning::Units, _) => json!({"type": "string", "pattern": decimal(9)}),
        (Meaning::Money, _) => json!({"type": "string", "pattern": decimal(18)}),
        (Meaning::Mark, _) => json!({"type": "boolean"}),
        (Meaning::Code(codes), _) => {
            let names: Vec<Value> = (codes.names)().into_iter().map(Value::from).chain([Value::Null]).collect();
            json!({"title": codes.name, "anyOf": [{"enum": names}, {"type": "integer", "minimum": 1, "maximum": 65_535}]})
        }
        (Meaning::Bits(table), _) => {
            let names: Vec<&str> = table.iter().map(|(_, name, _)| *name).collect();
            let bit = json!({"anyOf": [{"enum": names}, {"type": "integer", "minimum": 1, "maximum": 128}]});
            json!({"type": "array", "items": bit})
        }
        (_, FieldValue::Short(_)) => json!({"type": "integer", "minimum": 0, "maximum": u32::MAX}),
        (_, FieldValue::Unsigned(_)) => json!({"type": "string", "pattern": "^[0-9]{1,20}$"}),
        (_, FieldValue::Signed(_)) => json!({"type": "string", "pattern": "^-?[0-9]{1,39}$"}),
        (_, FieldValue::Text(bytes)) => json!({"type": "string", "maxLength": bytes.len()}),
    };
    if let Value::Object(schema) = &mut schema {
        let said = in_json(doc.trim());
        let said = if schema.contains_key("anyOf") { said.replace("; 0 ", "; null ") } else { said };
        schema.insert("description".to_owned(), said.into());
    }
    schema
}

/// What the declaration says of the raw integer, said of the JSON.
fn in_json(doc: &str) -> String {
    let mut said = doc.to_owned();
    for (raw, text) in [
        (" × 10⁻⁹", ""),
        (" × 10⁻¹⁸", ""),
        (", NUL-padded ASCII", ", ASCII"),
        ("`Px::NONE`", "null"),
        ("1 when ", "True when "),
        (", 0 when ", ", false when "),
        ("1 engaged, 0 released", "True when engaged, false when released"),
    ] {
        said = said.replace(raw, text);
    }
    said
}
