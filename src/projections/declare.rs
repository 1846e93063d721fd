//! How tables are declared: one list, of which rows, the DDL of both databases, views and documents are made.

use std::fmt::Write as _;

use super::cell::{BadRow, Cell, Kind, Unfit};
use super::codes;

/// A column.
#[derive(Clone, Copy, Debug)]
pub struct ColumnInfo {
    /// Its name; of a kind of two columns the first has it, the second has `_frac` behind it.
    pub name: &'static str,
    /// What it holds.
    pub kind: Kind,
    /// What it means.
    pub doc: &'static str,
}

/// An index.
#[derive(Clone, Copy, Debug)]
pub struct IndexInfo {
    /// Its columns.
    pub columns: &'static [&'static str],
    /// Rows that it holds; empty for all.
    pub only: &'static str,
}

/// A table.
#[derive(Clone, Copy, Debug)]
pub struct Table {
    /// Its name.
    pub name: &'static str,
    /// What it holds.
    pub doc: &'static str,
    /// Its columns.
    pub columns: &'static [ColumnInfo],
    /// Its primary key.
    pub key: &'static [&'static str],
    /// Its indexes, but for that of the key.
    pub indexes: &'static [IndexInfo],
}

/// A database that the tables are made in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// SQLite.
    Sqlite,
    /// PostgreSQL.
    Postgres,
}

/// A row of a declared table.
pub trait Row: Clone + Default {
    /// Its table.
    const TABLE: Table;
    /// Checks that every number fits.
    ///
    /// # Errors
    /// The column that cannot hold its value.
    fn check(&self) -> Result<(), Unfit>;
    /// Adds its cells, in the order of the columns.
    fn put(&self, out: &mut Vec<Cell>);
    /// Reads it back.
    ///
    /// # Errors
    /// When the cells are not of the kinds of the columns.
    fn take(cells: &[Cell]) -> Result<Self, BadRow>;
}

/// Every table: `name RowType key(columns) index(columns if "condition") { column: Kind, }`.
macro_rules! tables {
    ($(
        $(#[doc = $doc:literal])+
        $table:ident $Row:ident key($($key:ident),+) $(index($($on:ident),+ $(if $only:literal)?))* {
            $( $(#[doc = $column_doc:literal])+ $column:ident: $Kind:ident $(($unit:literal))?, )+
        }
    )+) => {
        $(
            $(#[doc = $doc])+
            #[derive(Clone, Debug, Default, PartialEq, Eq)]
            pub struct $Row {
                $( $(#[doc = $column_doc])+ pub $column: <cell::$Kind as Column>::Value, )+
            }

            impl Row for $Row {
                const TABLE: Table = Table {
                    name: stringify!($table),
                    doc: concat!($($doc),+),
                    columns: &[$(ColumnInfo {
                        name: stringify!($column),
                        kind: Kind::$Kind $(($unit))?,
                        doc: concat!($($column_doc),+),
                    },)+],
                    key: &[$(stringify!($key)),+],
                    indexes: &[$(IndexInfo { columns: &[$(stringify!($on)),+], only: concat!($($only)?) },)*],
                };

                fn check(&self) -> Result<(), Unfit> {
                    $(<cell::$Kind as Column>::check(&self.$column, stringify!($column))?;)+
                    Ok(())
                }

                fn put(&self, out: &mut Vec<Cell>) {
                    $(<cell::$Kind as Column>::put(&self.$column, out);)+
                }

                fn take(cells: &[Cell]) -> Result<Self, BadRow> {
                    let mut cells = CellReader::new(stringify!($table), cells);
                    Ok(Self { $($column: <cell::$Kind as Column>::take(&mut cells)?,)+ })
                }
            }
        )+

        /// Every table.
        pub const TABLES: &[Table] = &[$($Row::TABLE,)+];
    };
}
pub(super) use tables;

impl Table {
    /// The column of a name.
    #[must_use]
    pub fn column(&self, name: &str) -> Option<&'static ColumnInfo> {
        self.columns.iter().find(|column| column.name == name)
    }

    /// Names of the columns in the database, in the order of the cells.
    #[must_use]
    pub fn cell_names(&self) -> Vec<String> {
        let names = |column: &ColumnInfo| {
            let fraction = column.kind.fraction_places().map(|_| format!("{}_frac", column.name));
            std::iter::once(column.name.to_owned()).chain(fraction)
        };
        self.columns.iter().flat_map(names).collect()
    }

    /// Makes the table and its indexes.
    #[must_use]
    pub fn ddl(&self, dialect: Dialect) -> String {
        let mut columns = Vec::new();
        for column in self.columns {
            let (integer, bytes) = match dialect {
                Dialect::Sqlite => ("INTEGER", "BLOB"),
                Dialect::Postgres => ("BIGINT", "BYTEA"),
            };
            let name = column.name;
            columns.push(match column.kind {
                Kind::Text | Kind::Number => format!("{name} TEXT NOT NULL"),
                Kind::Bytes => format!("{name} {bytes} NOT NULL"),
                Kind::Price => format!("{name} {integer}"),
                Kind::Count | Kind::Id | Kind::Time | Kind::Flag | Kind::Code(_) | Kind::Units => {
                    format!("{name} {integer} NOT NULL")
                }
                Kind::Amount | Kind::Money => {
                    format!("{name} {integer} NOT NULL,\n  {name}_frac {integer} NOT NULL")
                }
            });
        }
        // One integer is the place of the row itself in SQLite; other keys need no place beside them.
        let ending = match dialect {
            Dialect::Sqlite if self.key.len() > 1 => " WITHOUT ROWID",
            Dialect::Sqlite | Dialect::Postgres => "",
        };
        let (name, key) = (self.name, self.key.join(", "));
        let mut ddl =
            format!("CREATE TABLE {name} (\n  {},\n  PRIMARY KEY ({key})\n){ending};\n", columns.join(",\n  "));
        for IndexInfo { columns, only } in self.indexes {
            let condition = if only.is_empty() { String::new() } else { format!(" WHERE {only}") };
            let (index, on) = (columns.join("_"), columns.join(", "));
            // Writing to a string does not fail.
            let _ = writeln!(ddl, "CREATE INDEX {name}_by_{index} ON {name} ({on}){condition};");
        }
        ddl
    }

    /// Makes the view `<table>_view`, in which people read decimals, names and times.
    #[must_use]
    pub fn view_ddl(&self, dialect: Dialect) -> String {
        let columns: Vec<String> =
            self.columns.iter().map(|column| format!("{} AS {}", shown(column, dialect), column.name)).collect();
        format!("CREATE VIEW {0}_view AS SELECT\n  {1}\nFROM {0};\n", self.name, columns.join(",\n  "))
    }
}

/// What a view says of a column.
fn shown(column: &ColumnInfo, dialect: Dialect) -> String {
    let name = column.name;
    match (column.kind, dialect) {
        (Kind::Code(unit), _) => {
            let names = codes::names(unit);
            let cases: String = names.iter().map(|(code, word)| format!(" WHEN {code} THEN '{word}'")).collect();
            let text = match dialect {
                Dialect::Sqlite => name.to_owned(),
                Dialect::Postgres => format!("{name}::text"),
            };
            // Of flags several may be set: the number says it.
            if cases.is_empty() {
                name.to_owned()
            } else {
                format!("CASE {name} WHEN 0 THEN NULL{cases} ELSE {text} END")
            }
        }
        // SQLite sorts every text behind every integer: so they sort as what they say.
        (Kind::Id, Dialect::Sqlite) => format!("CASE WHEN {name} < 0 THEN printf('%u', {name}) ELSE {name} END"),
        (Kind::Id, Dialect::Postgres) => {
            format!("CASE WHEN {name} < 0 THEN {name}::numeric + 18446744073709551616 ELSE {name}::numeric END")
        }
        (Kind::Units | Kind::Price, Dialect::Sqlite) => {
            // SQLite truncates towards zero; the sign of what lies between -1 and 0 would be lost.
            decimal_text(
                &format!("{name} < 0"),
                &format!("abs({name} / 1000000000)"),
                &format!("abs({name} % 1000000000)"),
                name,
                9,
            )
        }
        (Kind::Units | Kind::Price, Dialect::Postgres) => format!("trim_scale({name} * 0.000000001)"),
        (Kind::Amount | Kind::Money, Dialect::Sqlite) => {
            let places = column.kind.fraction_places().unwrap_or(0);
            let one = format!("1{}", "0".repeat(places as usize));
            decimal_text(
                &format!("{name} < 0"),
                &format!("CASE WHEN {name} < 0 THEN -({name} + ({name}_frac > 0)) ELSE {name} END"),
                &format!("CASE WHEN {name} < 0 AND {name}_frac > 0 THEN {one} - {name}_frac ELSE {name}_frac END"),
                name,
                places,
            )
        }
        (Kind::Amount | Kind::Money, Dialect::Postgres) => {
            let places = column.kind.fraction_places().unwrap_or(0);
            // A quotient of numeric has some 16 digits; products have all of them.
            format!("trim_scale({name} + {name}_frac * 0.{}1)", "0".repeat(places.saturating_sub(1) as usize))
        }
        (Kind::Count | Kind::Time | Kind::Flag | Kind::Number | Kind::Text | Kind::Bytes, _) => name.to_owned(),
    }
}

/// Sign, whole units and fraction as a decimal without trailing zeros.
fn decimal_text(is_negative: &str, whole: &str, fraction: &str, name: &str, places: u32) -> String {
    let digits = format!("printf('%u.%0{places}d', {whole}, {fraction})");
    format!(
        "CASE WHEN {name} IS NULL THEN NULL ELSE (CASE WHEN {is_negative} THEN '-' ELSE '' END) || \
         rtrim(rtrim({digits}, '0'), '.') END"
    )
}
