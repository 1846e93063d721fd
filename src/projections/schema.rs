//! The schema: its numbered migrations, and the DDL of both databases from the one declaration.

use super::declare::{Dialect, Table};
use super::tables::TABLES;

/// Marks a database of ours: "TRDC".
pub const APPLICATION_ID: i32 = 0x5452_4443;

/// A change of the schema.
#[derive(Clone, Copy, Debug)]
pub struct Migration {
    /// Its number, from 1.
    pub number: u32,
    /// What it changed.
    pub what: &'static str,
    /// Tables that it added, where it did nothing else; empty, where it did.
    pub adds: &'static [&'static str],
    /// Fingerprint of the DDL that it led to, so that no change goes without a number.
    pub ddl_crc: u64,
}

/// Every migration. None moves rows: all of them come from the journal, so a database of an older number gets the tables
/// that were added since from there, and where more was changed it is made anew, beside the old one, which answers until
/// then.
pub const MIGRATIONS: &[Migration] = &[
    Migration {
        number: 1,
        what: "orders, positions, accounts, sessions and the log",
        adds: &[],
        ddl_crc: 0x406c4c8f71f45fa9,
    },
    Migration { number: 2, what: "kill switches and connections may be stale", adds: &[], ddl_crc: 0xe067aa45e0f03d84 },
    Migration {
        number: 3,
        what: "limits of risk, and when each held",
        adds: &["risk_limits"],
        ddl_crc: 0xe6c6e0ccc41101b5,
    },
    Migration {
        number: 4,
        what: "sagas, and what has moved each",
        adds: &["sagas", "saga_steps"],
        ddl_crc: 0x83a0d8f615433cb2,
    },
    Migration { number: 5, what: "profit and fees of each day", adds: &["daily_pnl"], ddl_crc: 0x28479c01739be963 },
];

/// The number of this release.
#[must_use]
pub fn number() -> u32 {
    MIGRATIONS.last().map_or(0, |migration| migration.number)
}

/// The tables that this release has more than one of an older number; `None` where that is not all.
pub(super) fn added_since(number: u32) -> Option<Vec<&'static Table>> {
    let mut later = MIGRATIONS.iter().filter(|migration| migration.number > number).peekable();
    later.peek()?;
    let names = later.try_fold(Vec::new(), |names, migration| {
        if migration.adds.is_empty() { None } else { Some([names, migration.adds.to_vec()].concat()) }
    })?;
    Some(TABLES.iter().filter(|table| names.contains(&table.name)).collect())
}

/// Makes every table and index.
#[must_use]
pub fn ddl(dialect: Dialect) -> String {
    TABLES.iter().map(|table| table.ddl(dialect)).collect()
}

/// Every view: its name, and what makes it. They hold no rows, and are made anew where a release says more in them.
#[must_use]
pub fn views(dialect: Dialect) -> Vec<(String, String)> {
    TABLES.iter().map(|table| (format!("{}_view", table.name), table.view_ddl(dialect))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_table_has_a_migration_of_its_own() {
        let crc = crc_fast::checksum(crc_fast::CrcAlgorithm::Crc64Nvme, ddl(Dialect::Sqlite).as_bytes());
        let last = MIGRATIONS.last().expect("one");
        assert_eq!(last.ddl_crc, crc, "the DDL differs: add a migration with the next number and {crc:#x}");
        for (nth, migration) in (1..).zip(MIGRATIONS) {
            assert_eq!((migration.number, migration.what.is_empty()), (nth, false));
        }
    }

    #[test]
    fn a_migration_that_adds_tables_does_nothing_else() {
        let crc = |ddl: &str| crc_fast::checksum(crc_fast::CrcAlgorithm::Crc64Nvme, ddl.as_bytes());
        assert!(added_since(number()).is_none() && added_since(0).is_none());
        for (before, after) in MIGRATIONS.iter().zip(MIGRATIONS.iter().skip(1)) {
            let Some(added) = added_since(before.number) else { continue };
            assert!(after.adds.iter().all(|name| added.iter().any(|table| table.name == *name)), "{after:?}");
            let others = TABLES.iter().filter(|table| added.iter().all(|one| one.name != table.name));
            let ddl: String = others.map(|table| table.ddl(Dialect::Sqlite)).collect();
            assert_eq!(crc(&ddl), before.ddl_crc, "{after:?}");
        }
    }

    #[test]
    fn both_databases_have_the_same_columns() {
        let columns = |dialect| {
            let ddl = ddl(dialect);
            ddl.lines()
                .filter(|line| line.starts_with("  ") && !line.contains("PRIMARY KEY"))
                .map(|line| line.split_whitespace().next().unwrap_or_default().to_owned())
                .collect::<Vec<_>>()
        };
        let [sqlite, postgres] = [Dialect::Sqlite, Dialect::Postgres].map(columns);
        assert!(sqlite.len() > 150 && sqlite == postgres);
        let views: String = views(Dialect::Postgres).into_iter().map(|(_, view)| view).collect();
        let postgres = ddl(Dialect::Postgres) + &views;
        assert!(!postgres.contains("INTEGER") && !postgres.contains("BLOB") && !postgres.contains("printf"));
    }
}
