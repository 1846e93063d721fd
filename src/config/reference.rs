//! What people read of the keys: `docs/config.md` and `systemd/tradecore.toml`.

use super::allowed::Allowed;
use super::declare::{Key, Section, Shape};
use super::error::Code;
use super::sections;

/// Longest line of a comment.
const COMMENT_WIDTH: usize = 110;

const INTRODUCTION: &str = r#"One TOML file a gateway: `tradecore run --config FILE`. A key that is not listed here is an error. Paths are relative
to the directory of the file. Decimals stand in quotes, since a float cannot hold every decimal exactly. Bounds are
part of the configuration: memory is taken at start, and what happens at a bound is said beside it.

- `tradecore config check --config FILE` says what is wrong; `--json` says it as one JSON object with `code`, `file`,
  `line`, `variable`, `key`, `value`, `allowed` and `message`. The exit code is 78.
- `tradecore config show --config FILE` prints every value in force and where it comes from: the default, a line of the
  file, a variable. What it prints is itself a configuration; `--json` prints `file` and `values`, each with `key`,
  `value`, `from` (`default`, `file`, `variable`), `line` and `variable`.

## Overrides

What comes later wins: the default, the file, the environment. The variable `TRADECORE__SECTION__KEY`, in capitals, sets
one key: `TRADECORE__CORE__IDLE=park`, `TRADECORE__VENUE__EXCHANGE__SEED=7`. Texts are written without quotes, lists as
TOML writes them: `TRADECORE__VENUE__CAPTURE__PATHS='["a.gz"]'`. What stands in a list of sections (`[[instruments]]`)
is set in the file only. Another variable that begins with `TRADECORE__` is an error, and so is a value that its key
does not allow; the error names the variable where others name the line.

## Keys of sessions

They are never part of the configuration: `secret_file` names a file that its owner alone may read (mode 600), or a
credential of the service manager. They are read when the gateway starts, not by `config check`, which another user may
run; one that is missing, or that others can read, ends the start with exit code 77.
"#;

/// A sentence of the list, on one line.
fn sentence(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// What stands for a key in the file: its default, or its example.
fn shown_value(key: &Key) -> Option<String> {
    key.default_value().map(|value| value.to_string())
}

fn table_row(key: &Key) -> String {
    let mut type_and_unit = key.allowed.type_name().to_owned();
    if !key.unit.is_empty() {
        type_and_unit += &format!(", {}", key.unit);
    }
    let default = match shown_value(key) {
        _ if key.is_required => "required".to_owned(),
        Some(value) => format!("`{value}`"),
        None => "not set".to_owned(),
    };
    let (allowed, meanings) = match key.allowed {
        Allowed::Words(words) => (
            words.iter().map(|(word, _)| format!("`\"{word}\"`")).collect::<Vec<_>>().join(", "),
            words.iter().map(|(word, doc)| format!(" `{word}`: {}", sentence(doc))).collect(),
        ),
        other => (other.to_string(), String::new()),
    };
    format!("| `{}` | {type_and_unit} | {default} | {allowed} | {}{meanings} |\n", key.name, sentence(key.doc))
}

/// `docs/config.md`.
#[must_use]
pub fn markdown() -> String {
    let mut out = format!("# Configuration\n\n{INTRODUCTION}");
    for section in sections() {
        let presence = match section.shape {
            Shape::Table => "",
            Shape::OptionalTable => " May be left out.",
            Shape::List => " A list, of any length.",
            Shape::RequiredList => " A list, of at least one.",
        };
        out += &format!("\n## `{}`\n\n{}{presence}\n\n", section.header(), sentence(section.doc));
        // What only holds other sections has no keys of its own.
        if section.keys.is_empty() {
            continue;
        }
        out += "| key | type and unit | default | allowed | what it does |\n|---|---|---|---|---|\n";
        section.keys.iter().for_each(|key| out += &table_row(key));
    }
    out += "\n## Errors\n\n| code | meaning |\n|---|---|\n";
    Code::TABLE.iter().for_each(|(code, doc)| out += &format!("| `{code}` | {} |\n", sentence(doc)));
    out + &format!("\n## Example\n\nThe same stands in `systemd/tradecore.toml`.\n\n```toml\n{}```\n", sample())
}

/// `systemd/tradecore.toml`: required keys with an example, every other with its default, commented out.
#[must_use]
pub fn sample() -> String {
    let mut out = "# One gateway on its built-in virtual broker. As /etc/tradecore/virtual.toml it is started by\n\
                   #   systemctl start tradecore@virtual\n\
                   # What is commented out is the default. docs/config.md says more of every key.\n"
        .to_owned();
    for section in sections().filter(|section| !section.keys.is_empty()) {
        out += &sample_section(section);
    }
    out
}

fn sample_section(section: &Section) -> String {
    // What the sample leaves out: it has no market data at hand, and knows no other gateway.
    let is_left_out = matches!(
        section.name,
        "venue.capture" | "cores" | "projection.postgres" | "ship" | "ship.files" | "ship.kafka"
    );
    let mark = if is_left_out { "# " } else { "" };
    let mut out = format!("\n{}\n{mark}{}\n", comment(section.doc), section.header());
    for key in section.keys {
        let words = match key.allowed {
            Allowed::Words(_) => format!(" Allowed: {}.", key.allowed),
            _ => String::new(),
        };
        let unit = if key.unit.is_empty() { String::new() } else { format!(" [{}]", key.unit) };
        out += &format!("{}\n", comment(&format!("{}{words}{unit}", key.doc)));
        out += &match shown_value(key) {
            Some(value) if key.is_required => format!("{mark}{} = {value}\n", key.name),
            Some(value) if is_left_out => format!("# {} = {value}\n", key.name),
            Some(value) => format!("#{} = {value}\n", key.name),
            None => format!("# {} is not set by default.\n", key.name),
        };
    }
    out
}

fn comment(text: &str) -> String {
    let mut out = String::from("#");
    let mut width = 1_usize;
    for word in text.split_whitespace() {
        width = width.saturating_add(word.len()).saturating_add(1);
        if width > COMMENT_WIDTH {
            out += "\n#";
            width = word.len().saturating_add(2);
        }
        out.push(' ');
        out += word;
    }
    out
}
