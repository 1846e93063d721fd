//! Durable batches in redb: `redb-append DIR BATCHES ENTRIES BYTES`. Each batch is one write transaction with
//! `Durability::Immediate`, of entries with a running number as key; what it took is printed.

use std::error::Error;
use std::time::Instant;

use redb::{Database, Durability, TableDefinition};

const EVENTS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("events");
/// Batches that count for nobody: the file grows to its first regions.
const WARM_UP: u64 = 20;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, dir, batches, entries, bytes] = arguments.as_slice() else {
        return Err("usage: redb-append DIR BATCHES ENTRIES BYTES".into());
    };
    let (batches, entries): (u64, u64) = (batches.parse()?, entries.parse()?);
    let value = vec![7_u8; bytes.parse()?];
    let database = Database::create(std::path::Path::new(dir).join("events.redb"))?;
    let mut key = 0;
    let mut batch = || -> Result<(), Box<dyn Error>> {
        let mut transaction = database.begin_write()?;
        transaction.set_durability(Durability::Immediate)?;
        {
            let mut table = transaction.open_table(EVENTS)?;
            for _ in 0..entries {
                table.insert(key, value.as_slice())?;
                key += 1;
            }
        }
        Ok(transaction.commit()?)
    };
    for _ in 0..WARM_UP {
        batch()?;
    }
    let mut times = Vec::new();
    let started = Instant::now();
    for _ in 0..batches {
        let since = Instant::now();
        batch()?;
        times.push(since.elapsed().as_nanos());
    }
    let elapsed = started.elapsed().as_nanos();
    times.sort_unstable();
    println!("version {}", version().unwrap_or("unknown"));
    println!("operations {}", batches * entries);
    println!("elapsed_ns {elapsed}");
    println!("p50_ns {}", times.get(times.len() / 2).ok_or("no batch")?);
    println!("p99_ns {}", times.get(times.len() * 99 / 100).ok_or("no batch")?);
    Ok(())
}

/// Of redb, as it is locked.
fn version() -> Option<&'static str> {
    let lock = include_str!("../Cargo.lock");
    lock.split_once("name = \"redb\"\nversion = \"")?.1.split_once('"').map(|(version, _)| version)
}
