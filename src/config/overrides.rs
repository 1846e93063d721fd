//! `TRADECORE__SECTION__KEY`: what the environment sets over the file.

use toml::{Table, Value};

use super::declare::{Key, Section};
use super::error::{Code, ConfigError, Place, Refusal};
use super::nearest::nearest;
use super::read::Places;
use super::sections;

/// Prefix of overriding environment variables: `TRADECORE__SECTION__KEY`.
pub const ENV_PREFIX: &str = "TRADECORE__";

/// The overriding variables of this process. What is not Unicode is kept with its bad parts replaced, and so refused
/// where it matters.
pub fn environment() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os()
        .map(|(name, value)| (name.to_string_lossy().into_owned(), value.to_string_lossy().into_owned()))
        .filter(|(name, _)| name.starts_with(ENV_PREFIX))
}

/// The variable that overrides a key: `TRADECORE__CORE__ID`, `TRADECORE__VENUE__EXCHANGE__SEED`.
#[must_use]
pub fn variable(section: &Section, key: &str) -> String {
    format!("{ENV_PREFIX}{}__{}", section.name.replace('.', "__").to_uppercase(), key.to_uppercase())
}

/// Sets the key that a variable names, as the type that the key has.
pub(super) fn lay_over(table: &mut Table, places: &mut Places, name: &str, text: &str) -> Result<(), ConfigError> {
    let keys = || sections().flat_map(|section| section.keys.iter().map(move |key| (section, key)));
    let Some((section, key)) = keys().find(|(section, key)| variable(section, key.name) == name) else {
        let settable = keys().filter(|(section, _)| !section.is_list());
        // Without the prefix, which is alike in all.
        let names = settable.map(|(section, key)| variable(section, key.name).split_off(ENV_PREFIX.len()));
        let problem = match nearest(name.strip_prefix(ENV_PREFIX).unwrap_or(name), names) {
            Some(near) => format!("no such variable, the nearest is {ENV_PREFIX}{near}"),
            None => "no such variable".to_owned(),
        };
        return Err(refused(places, name, None, problem));
    };
    if section.is_list() {
        let problem = format!("{} is a list, which is set in the file only", section.header());
        return Err(refused(places, name, Some(format!("{}.{}", section.name, key.name)), problem));
    }
    let mut table = table;
    for part in section.name.split('.') {
        let value = table.entry(part).or_insert_with(|| Value::Table(Table::new()));
        // What is no table is refused with its line when the file is checked.
        let Some(inner) = value.as_table_mut() else { return Ok(()) };
        table = inner;
    }
    table.insert(key.name.to_owned(), typed(key, text));
    places.set(format!("{}.{}", section.name, key.name), Place::Variable(name.to_owned()));
    Ok(())
}

fn refused(places: &Places, name: &str, key: Option<String>, problem: String) -> ConfigError {
    Refusal {
        code: Code::UnknownKey,
        file: places.file().to_owned(),
        place: Some(Place::Variable(name.to_owned())),
        key,
        value: None,
        problem,
        allowed: format!("{ENV_PREFIX}SECTION__KEY in capitals, of a key that stands in no list"),
    }
    .into()
}

/// A number, boolean or list is what it looks like; text stays text, whatever it looks like.
fn typed(key: &Key, text: &str) -> Value {
    let as_text = || Value::String(text.to_owned());
    if key.allowed.is_text() {
        return as_text();
    }
    let parsed = toml::from_str::<Table>(&format!("v = {text}")).ok().filter(|table| table.len() == 1);
    parsed.and_then(|mut table| table.remove("v")).unwrap_or_else(as_text)
}
