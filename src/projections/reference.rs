//! What `docs/queries.md` says of questions and tables, from their declaration.

use std::fmt::Write as _;

use super::cell::Kind;
use super::partial::domain_of;
use super::queries::{self, Freshness};
use super::rights::doc_of;
use super::tables::TABLES;

/// Where the list of tables begins in the document.
pub const BEGIN: &str = "<!-- tables: from src/projections/tables.rs -->\n";

/// Where the list of questions begins in the document, and where it ends.
pub const QUESTIONS: [&str; 2] = ["<!-- questions: from src/projections/queries.rs -->\n", "<!-- end: questions -->\n"];

/// The list of questions, as Markdown.
#[must_use]
pub fn questions() -> String {
    let [begin, end] = QUESTIONS;
    let mut out = format!("{begin}\n| question | fresh | what `--as` leaves of it |\n|---|---|---|\n");
    for query in queries::ALL {
        let fresh = match query.freshness {
            Freshness::Synchronous => "synchronous",
            Freshness::Eventual => "eventual",
        };
        // Writing to a string does not fail.
        let _ = writeln!(out, "| `{}` | {fresh} | {} |", query.name, doc_of(&query.table));
    }
    out.push('\n');
    out.push_str(end);
    out
}

/// The list of tables, as Markdown.
#[must_use]
pub fn markdown() -> String {
    let mut out = String::from(BEGIN);
    for table in TABLES {
        // Writing to a string does not fail.
        let _ = write!(
            out,
            "\n### `{}`\n\n{} Key: `{}`.{}\n\n| column | holds | meaning |\n|---|---|---|\n",
            table.name,
            table.doc.trim(),
            table.key.join("`, `"),
            domain_of(table.name).map_or_else(String::new, |domain| format!(" Domain: `{}`.", domain.name()))
        );
        for column in table.columns {
            let (name, meaning) = (column.name, column.doc.trim());
            let _ = writeln!(out, "| `{name}` | {} | {meaning} |", holds(column.kind));
        }
    }
    out
}

fn holds(kind: Kind) -> String {
    match kind {
        Kind::Count => "number".to_owned(),
        Kind::Id => "64 bits".to_owned(),
        Kind::Time => "ns".to_owned(),
        Kind::Flag => "0 or 1".to_owned(),
        Kind::Code("exec_flags" | "order_flags") => "bits".to_owned(),
        Kind::Code(unit) => format!("code of `{unit}`"),
        Kind::Units => "× 10⁻⁹".to_owned(),
        Kind::Price => "× 10⁻⁹ or null".to_owned(),
        Kind::Amount => "whole, and `_frac` × 10⁻⁹".to_owned(),
        Kind::Money => "whole, and `_frac` × 10⁻¹⁸".to_owned(),
        Kind::Number => "integer as text".to_owned(),
        Kind::Text => "text".to_owned(),
        Kind::Bytes => "bytes".to_owned(),
    }
}

#[cfg(test)]
#[allow(clippy::expect_used)]
mod tests {
    use super::*;

    #[test]
    fn the_document_lists_the_questions_and_the_tables_as_they_are_declared() {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/queries.md");
        let written = std::fs::read_to_string(&path).expect("docs/queries.md");
        let (prose, _) = written.split_once(BEGIN).expect("the place of the list");
        let (before, rest) = prose.split_once(QUESTIONS[0]).expect("the place of the questions");
        let (_, after) = rest.split_once(QUESTIONS[1]).expect("their end");
        let text = format!("{before}{}{after}{}", questions(), markdown());
        if std::env::var_os("UPDATE_DOCS").is_some() {
            std::fs::write(&path, &text).expect("written");
        } else {
            assert!(written == text, "docs/queries.md differs; run UPDATE_DOCS=1 cargo test --lib the_document_lists");
        }
    }
}
