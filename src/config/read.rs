//! Text and environment → a table that holds every key, each known and allowed, and where each came from.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use toml::de::{DeTable, DeValue};
use toml::{Table, Value};

use super::declare::{Section, Shape};
use super::error::{Code, ConfigError, Place, Refusal};
use super::nearest::nearest;
use super::overrides::lay_over;
use super::sections;

/// Longest part of a value that an error repeats.
const VALUE_CHARS_MAX: usize = 100;

/// Where each value came from, by path: `core.id`, `instruments[0].symbol`. What is not named is a default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Places {
    file: PathBuf,
    places: BTreeMap<String, Place>,
}

impl Places {
    /// Keeps the file alone, to which paths are relative.
    pub(super) fn forget(&mut self) {
        self.places = BTreeMap::new();
    }

    pub(super) fn file(&self) -> &Path {
        &self.file
    }

    pub(super) fn of(&self, path: &str) -> Option<&Place> {
        self.places.get(path)
    }

    pub(super) fn set(&mut self, path: String, place: Place) {
        self.places.insert(path, place);
    }

    /// An error at a path: at the value, else at what it would stand in.
    pub(super) fn error(
        &self,
        code: Code,
        path: &str,
        value: Option<String>,
        problem: impl Into<String>,
        allowed: impl Into<String>,
    ) -> ConfigError {
        let mut at = path;
        let place = loop {
            match (self.of(at), at.rfind(['.', '['])) {
                (Some(place), _) => break Some(place.clone()),
                (None, Some(end)) => at = at.get(..end).unwrap_or_default(),
                (None, None) => break None,
            }
        };
        Refusal {
            code,
            file: self.file.clone(),
            place,
            key: Some(path.to_owned()),
            value: value.filter(|value| !may_be_secret(path, value)).map(shortened),
            problem: problem.into(),
            allowed: allowed.into(),
        }
        .into()
    }

    fn note(&mut self, text: &str, prefix: &str, table: &DeTable<'_>) {
        for (key, value) in table {
            let path = join(prefix, key.get_ref());
            self.note_line(text, path.clone(), key.span().start);
            match value.get_ref() {
                DeValue::Table(table) => self.note(text, &path, table),
                DeValue::Array(values) => {
                    for (index, value) in values.iter().enumerate() {
                        let path = format!("{path}[{index}]");
                        self.note_line(text, path.clone(), value.span().start);
                        if let DeValue::Table(table) = value.get_ref() {
                            self.note(text, &path, table);
                        }
                    }
                }
                _ => {}
            }
        }
    }

    fn note_line(&mut self, text: &str, path: String, offset: usize) {
        self.set(path, Place::Line(line_of(text, offset)));
    }
}

/// A key written in the wrong place, `sessions[0].secret`, must not bring its value into a log.
fn may_be_secret(path: &str, value: &str) -> bool {
    let name = path.rsplit('.').next().unwrap_or(path);
    // What is no text is no name of a file.
    let is_name = matches!(name, "secret_file" | "password_file" | "key_id") && value.starts_with('"');
    // Settings of librdkafka may be secrets that stand in the wrong list.
    !is_name && ["secret", "password", "token", "key", "settings"].iter().any(|word| name.contains(word))
}

/// What a line of a log has room for.
fn shortened(value: String) -> String {
    match value.char_indices().nth(VALUE_CHARS_MAX) {
        Some((end, _)) => format!("{} …", value.get(..end).unwrap_or_default()),
        None => value,
    }
}

fn line_of(text: &str, offset: usize) -> usize {
    text.bytes().take(offset).filter(|byte| *byte == b'\n').count().saturating_add(1)
}

fn join(prefix: &str, name: &str) -> String {
    if prefix.is_empty() { name.to_owned() } else { format!("{prefix}.{name}") }
}

/// Reads a text, lays the overrides over it, checks every value and adds the defaults.
pub(super) fn read(
    path: &Path,
    text: &str,
    overrides: impl Iterator<Item = (String, String)>,
) -> Result<(Table, Places), ConfigError> {
    let mut places = Places { file: path.to_owned(), places: BTreeMap::new() };
    let syntax = |error: toml::de::Error| Refusal {
        code: Code::Syntax,
        file: path.to_owned(),
        place: error.span().map(|span| Place::Line(line_of(text, span.start))),
        key: None,
        value: None,
        problem: error.message().replace('\n', ", "),
        allowed: "TOML 1.1".to_owned(),
    };
    places.note(text, "", DeTable::parse(text).map_err(syntax)?.get_ref());
    let mut table: Table = toml::from_str(text).map_err(syntax)?;
    for (name, value) in overrides {
        lay_over(&mut table, &mut places, &name, &value)?;
    }
    check_table(&places, None, "", &mut table)?;
    Ok((table, places))
}

/// Sections that stand in this one, with the names that they have there.
fn parts(section: Option<&Section>) -> impl Iterator<Item = (&'static str, &'static Section)> {
    let parent = section.map_or("", |section| section.name);
    sections().filter_map(move |part| {
        let (above, name) = part.name.rsplit_once('.').unwrap_or(("", part.name));
        (above == parent).then_some((name, part))
    })
}

/// Checks what stands at `path`: a section, or the whole file.
fn check_table(places: &Places, section: Option<&Section>, path: &str, table: &mut Table) -> Result<(), ConfigError> {
    let keys = section.map_or(&[][..], |section| section.keys);
    for (name, value) in table.iter() {
        let at = join(path, name);
        match keys.iter().find(|key| key.name == name) {
            Some(key) => {
                if let Some((code, problem)) = key.allowed.refusal(value) {
                    return Err(places.error(code, &at, Some(value.to_string()), problem, key.allowed.to_string()));
                }
            }
            None if parts(section).any(|(part, _)| part == name) => {}
            None => return Err(unknown(places, section, &at, name, value)),
        }
    }
    for key in keys {
        if table.contains_key(key.name) {
            continue;
        }
        if key.is_required {
            let at = join(path, key.name);
            return Err(places.error(Code::MissingKey, &at, None, "is missing", key.allowed.to_string()));
        }
        if let Some(default) = key.default_value() {
            table.insert(key.name.to_owned(), default);
        }
    }
    parts(section).try_for_each(|(name, part)| check_part(places, part, &join(path, name), name, table))
}

fn check_part(
    places: &Places,
    part: &'static Section,
    path: &str,
    name: &str,
    table: &mut Table,
) -> Result<(), ConfigError> {
    let wrong_shape = |path: &str, value: &Value| {
        let problem = format!("is of type {}", value.type_str());
        places.error(Code::WrongType, path, None, problem, format!("the section {}", part.header()))
    };
    let none =
        |problem: &str| places.error(Code::MissingKey, path, None, problem, format!("{}, at least one", part.header()));
    if !table.contains_key(name) {
        match part.shape {
            Shape::OptionalTable | Shape::List => return Ok(()),
            Shape::RequiredList => return Err(none("is missing")),
            // What is left out is checked too: it may have a key that is required.
            Shape::Table => {}
        }
    }
    let value = table.entry(name).or_insert_with(|| Value::Table(Table::new()));
    match value {
        Value::Table(table) if !part.is_list() => check_table(places, Some(part), path, table),
        Value::Array(entries) if entries.is_empty() && part.shape == Shape::RequiredList => Err(none("is empty")),
        Value::Array(entries) if part.is_list() => {
            for (index, entry) in entries.iter_mut().enumerate() {
                let path = format!("{path}[{index}]");
                let Value::Table(table) = entry else { return Err(wrong_shape(&path, entry)) };
                check_table(places, Some(part), &path, table)?;
            }
            Ok(())
        }
        other => Err(wrong_shape(path, other)),
    }
}

fn unknown(places: &Places, section: Option<&Section>, path: &str, name: &str, value: &Value) -> ConfigError {
    let known = || {
        let keys = section.map_or(&[][..], |section| section.keys);
        keys.iter().map(|key| key.name).chain(parts(section).map(|(name, _)| name))
    };
    let what = if section.is_none() { "section" } else { "key" };
    // A key that is right in another section is a line in the wrong place.
    let elsewhere = sections().filter(|section| section.key(name).is_some());
    let elsewhere = elsewhere.map(|section| section.header().to_string()).collect::<Vec<_>>().join(" or ");
    let problem = match nearest(name, known()) {
        Some(near) => format!("no such {what}, the nearest is {near}"),
        None if elsewhere.is_empty() => format!("no such {what}"),
        None => format!("no such {what}; {name} belongs to {elsewhere}"),
    };
    let value = (!value.is_table() && !value.is_array()).then(|| value.to_string());
    places.error(Code::UnknownKey, path, value, problem, known().collect::<Vec<_>>().join(", "))
}
