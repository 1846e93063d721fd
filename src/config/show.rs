//! What is in force, and where it comes from.

use std::borrow::Cow;
use std::io::Write;
use std::path::Path;

use serde_json::json;
use toml::{Table, Value};

use super::declare::{Key, Section};
use super::error::{ConfigError, Place};
use super::overrides::environment;
use super::{Config, ShipKafka, sections};

/// Column at which the origin of a value begins.
const ORIGIN_COLUMN: usize = 48;

/// `tradecore config check`: says `ok`, or as JSON the error too.
///
/// # Errors
/// As `Config::load`.
pub fn check_command(file: &Path, json: bool, out: &mut impl Write) -> Result<(), ConfigError> {
    let checked = Config::load(file, environment()).and_then(|config| config.check_host());
    let line = match (&checked, json) {
        (Ok(()), false) => "ok".to_owned(),
        (Ok(()), true) => json!({"ok": true}).to_string(),
        (Err(error), true) => error.to_json().to_string(),
        (Err(_), false) => return checked,
    };
    // The reader of a pipe may have gone.
    let _ = writeln!(out, "{line}");
    checked
}

/// `tradecore config show`: what is in force.
///
/// # Errors
/// As `Config::load`.
pub fn show_command(file: &Path, json: bool, out: &mut impl Write) -> Result<(), ConfigError> {
    let config = Config::load(file, environment())?;
    let text = if json { format!("{:#}\n", config.to_json()) } else { config.show() };
    // The reader of a pipe has seen enough.
    let _ = out.write_all(text.as_bytes());
    Ok(())
}

/// A value in force: its key `core.id` or `instruments[0].symbol`, and where it was written; none: the default.
struct Row<'a> {
    key: &'a Key,
    path: String,
    value: Option<Cow<'a, Value>>,
    place: Option<&'a Place>,
}

impl Config {
    /// Tables in the order of the list of keys: a section, and the path of each table that it is.
    fn tables(&self) -> impl Iterator<Item = (&'static Section, String, &Table)> {
        sections().flat_map(move |section| {
            let named = |path: String| Some((section, path.clone(), self.value_at(&path)?.as_table()?));
            let count = self.value_at(section.name).and_then(Value::as_array).map_or(0, Vec::len);
            let entries = (0..count).map(move |index| format!("{}[{index}]", section.name));
            let whole = std::iter::once(section.name.to_owned());
            whole.chain(entries).filter_map(named).collect::<Vec<_>>()
        })
    }

    fn rows<'a>(&'a self, section: &'static Section, path: &str, table: &'a Table) -> Vec<Row<'a>> {
        let row = |key: &'static Key| {
            let path = format!("{path}.{}", key.name);
            let value = table.get(key.name).map(|value| match path.as_str() {
                "ship.kafka.settings" => Cow::Owned(ShipKafka::shown(value)),
                _ => Cow::Borrowed(value),
            });
            Row { key, value, place: self.places.of(&path), path }
        };
        section.keys.iter().map(row).collect()
    }

    /// What is in force, as TOML that reads back as the same, each value with where it comes from. Keys of sessions
    /// are no part of it.
    #[must_use]
    pub fn show(&self) -> String {
        let file = self.places.file().display();
        let mut out = String::new();
        for (section, path, table) in self.tables() {
            out += &format!("{}\n", section.header());
            for row in self.rows(section, &path, table) {
                let line = match &row.value {
                    Some(value) => format!("{} = {value}", row.key.name),
                    None => format!("# {} is not set", row.key.name),
                };
                let origin = match row.place {
                    Some(Place::Line(line)) => format!("{file}:{line}"),
                    Some(Place::Variable(name)) => name.clone(),
                    None => "default".to_owned(),
                };
                out += &format!("{line:<ORIGIN_COLUMN$} # {origin}\n");
            }
            out.push('\n');
        }
        out
    }

    /// What `show` says as JSON: `file`, and `values` of key, value, `from` (`default`, `file`, `variable`), line
    /// and variable.
    #[must_use]
    pub fn to_json(&self) -> serde_json::Value {
        let values: Vec<serde_json::Value> = self
            .tables()
            .flat_map(|(section, path, table)| self.rows(section, &path, table))
            .map(|row| {
                let (from, line, variable) = match row.place {
                    Some(Place::Line(line)) => ("file", Some(line), None),
                    Some(Place::Variable(name)) => ("variable", None, Some(name)),
                    None => ("default", None, None),
                };
                json!({"key": row.path, "value": row.value, "from": from, "line": line, "variable": variable})
            })
            .collect();
        json!({"file": self.places.file().to_string_lossy(), "values": values})
    }
}
