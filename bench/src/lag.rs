//! How far those who follow the journal are behind it at a rate: until a row can be read, and until the cluster has
//! acknowledged. The shipper alone, then all of them at once, as beside a gateway.
#![allow(clippy::arithmetic_side_effects)]

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tradecore::projections::store::{open_for_questions, position};
use tradecore::projections::{Source, follow};

use crate::Failure;
use crate::hiccup::Meter;
use crate::host::Place;
use crate::live::{Live, Watch, lags};
use crate::outcome::Outcome;
use crate::servers::Postgres;
use crate::thousandths::Thousandths;
use crate::timing::print_run;

/// From one look at the tables to the next: what it adds to a lag is the measurement's.
const LOOK: Duration = Duration::from_millis(5);
/// Before that nothing counts: connections are made, files grow, a broker that has just been started compiles for long.
const WARM_UP: Duration = Duration::from_secs(30);
/// How long the tables may take to be there.
const START_MAX: Duration = Duration::from_secs(60);

/// How it is measured.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Options {
    /// Events a second.
    #[arg(long, default_value_t = 5_000, value_parser = crate::rate)]
    pub(crate) rate: u64,
    /// How long, s.
    #[arg(long, default_value_t = 20, value_parser = crate::at_least_one::<u64>)]
    pub(crate) seconds: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self { rate: 5_000, seconds: 20 }
    }
}

/// A thread of a gateway, which ends when it is told to.
pub(crate) struct Follower {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Follower {
    /// Starts it.
    pub(crate) fn start(work: impl FnOnce(&AtomicBool) + Send + 'static) -> Result<Self, Failure> {
        let stop = Arc::new(AtomicBool::new(false));
        let asked = Arc::clone(&stop);
        let thread = std::thread::Builder::new().name("follower".to_owned()).spawn(move || work(&asked))?;
        Ok(Self { stop, thread })
    }

    /// Ends it.
    pub(crate) fn end(self) -> Result<(), Failure> {
        self.stop.store(true, Ordering::Release);
        self.thread.thread().unpark();
        Ok(self.thread.join().map_err(|_| "a thread that follows panicked")?)
    }
}

/// Follows into tables of SQLite, and looks how far these are.
pub(crate) fn into_sqlite(source: &Source) -> Result<(Follower, Watch), Failure> {
    let (followed, path) = (source.clone(), source.path.clone());
    let follower = Follower::start(move |stop| follow(&followed, stop))?;
    let watch = Watch::start(LOOK, move || {
        let connection = patiently(|| Ok(open_for_questions(&path)?))?;
        Ok(move || Ok(position(&connection, &path)?.seq))
    })?;
    Ok((follower, watch))
}

/// The same, of tables on a server.
pub(crate) fn into_postgres(source: &Source, server: &Postgres) -> Result<(Follower, Watch), Failure> {
    let source = Source { path: source.path.with_extension("server"), server: Some(server.reach()?), ..source.clone() };
    let follower = Follower::start(move |stop| follow(&source, stop))?;
    let mut client = server.connect()?;
    let watch = Watch::start(LOOK, move || {
        let mut ask = move || Ok(client.query_one("SELECT seq FROM projection_positions", &[])?.get::<_, i64>(0));
        patiently(&mut ask)?;
        Ok(move || Ok(u64::try_from(ask()?)?))
    })?;
    Ok((follower, watch))
}

/// What cannot be had at once: the tables are about to be made.
fn patiently<T>(mut have: impl FnMut() -> Result<T, Failure>) -> Result<T, Failure> {
    let since = Instant::now();
    loop {
        match have() {
            Err(_) if since.elapsed() < START_MAX => std::thread::sleep(LOOK),
            other => return other,
        }
    }
}

/// Ships, and looks how far the cluster has confirmed.
#[cfg(feature = "kafka")]
pub(crate) fn into_kafka(cluster: tradecore::shipping::kafka::Cluster) -> Result<(Follower, Watch), Failure> {
    let replication = Arc::new(tradecore::replication::Replication::new(Instant::now(), false));
    let confirmed = Arc::clone(&replication);
    let follower = Follower::start(move |stop| {
        let shipper = tradecore::shipping::kafka::Shipper::new(cluster).confirming(replication);
        if let Err(error) = shipper.run(stop, false) {
            eprintln!("the shipper has ended: {error}");
        }
    })?;
    let watch = Watch::start(Duration::from_millis(1), move || Ok(move || Ok(confirmed.seq())))?;
    Ok((follower, watch))
}

/// One who follows the journal: name, what it may wait for by its configuration, the thread, who looks how far it is.
type Following = (&'static str, Duration, Follower, Watch);

/// Measures: the shipper alone, then all at once.
pub(crate) fn measure(options: &Options) -> Result<Outcome, Failure> {
    let mut outcome = Outcome::default();
    outcome.configure("rate", options.rate);
    outcome.configure("seconds", options.seconds);
    let server = Postgres::get(Place::Anywhere);
    if let Err(why) = &server {
        println!("without PostgreSQL: {why}");
    }
    let meter = Meter::start()?;
    #[cfg(not(feature = "kafka"))]
    outcome.missing.push(("ship_lag_p99_ms", crate::figures::NOT_IN_THIS_BUILD.to_owned()));
    #[cfg(feature = "kafka")]
    let broker = crate::servers::Kafka::get(Place::Anywhere)?;
    #[cfg(feature = "kafka")]
    {
        println!("lag behind a journal of {} events/s, shipped only", options.rate);
        follow_all(options, &mut outcome, |_, dir| Ok(vec![shipped("ship_lag", dir, &broker)?]))?;
    }
    println!("lag behind a journal of {} events/s, all who follow it at once", options.rate);
    follow_all(options, &mut outcome, |source, _dir| {
        let (follower, watch) = into_sqlite(source)?;
        let mut all = vec![("read_lag_sqlite", Duration::ZERO, follower, watch)];
        if let Ok(server) = &server {
            let (follower, watch) = into_postgres(source, server)?;
            all.push(("read_lag_postgres", Duration::ZERO, follower, watch));
        }
        #[cfg(feature = "kafka")]
        all.push(shipped("ship_lag_beside", _dir, &broker)?);
        Ok(all)
    })?;
    // Of all that can be read, the slowest.
    let read = outcome.values.iter().filter(|value| value.id.starts_with("read_lag_")).map(|value| value.value).max();
    if let Some(read) = read {
        outcome.add_value("read_lag_p99_ms", read);
    }
    outcome.hiccups = meter.stop()?;
    Ok(outcome)
}

#[cfg(feature = "kafka")]
fn shipped(name: &'static str, dir: &Path, broker: &crate::servers::Kafka) -> Result<Following, Failure> {
    let prefix = format!("bench{}-{name}.", std::process::id());
    let (follower, watch) = into_kafka(crate::shipping::cluster(dir, broker, &prefix, true)?)?;
    Ok((name, crate::shipping::LINGER, follower, watch))
}

/// A journal at a rate, and how far behind it these are.
fn follow_all(
    options: &Options,
    outcome: &mut Outcome,
    start: impl FnOnce(&Source, &Path) -> Result<Vec<Following>, Failure>,
) -> Result<(), Failure> {
    let dir = crate::scratch::dir()?;
    let journal_dir = dir.path().join("data/journal");
    std::fs::create_dir_all(&journal_dir)?;
    let path = dir.path().join("read-model.sqlite");
    let source =
        Source { journal_dir: journal_dir.clone(), path, stream: "1-virtual".to_owned(), keep_days: 0, server: None };
    let mut live = Live::start(&journal_dir)?;
    let followers = start(&source, dir.path())?;
    // All of them are there before anything counts.
    let first = live.seq();
    followers.iter().try_for_each(|(.., watch)| watch.wait_for(first))?;
    let counted_from = Instant::now() + WARM_UP;
    let end = counted_from + Duration::from_secs(options.seconds);
    let made = live.run(options.rate, |_| Instant::now() >= end)?;
    let last = live.seq();
    for (name, allowed, follower, watch) in followers {
        watch.wait_for(last)?;
        let times = lags(&made, &watch.end()?, counted_from, allowed)?;
        follower.end()?;
        print_run(name, &times);
        outcome.add_value(format!("{name}_p99_ms"), Thousandths(times.value_at_quantile(0.99) / 1_000));
        outcome.add_series("behind the journal", name, times);
    }
    live.end();
    Ok(())
}
