//! `tradecore projection`: the read model itself, with or without the gateway.

use std::io::IsTerminal;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;
use tradecore::exit::Exit;
use tradecore::projections::aggregate::Aggregate;
use tradecore::projections::ask::{Parked, parked};
use tradecore::projections::monitor::{Report, report_of};
use tradecore::projections::partial::{From, remake, tables_of};
use tradecore::projections::removal::rules_and_days;
use tradecore::projections::store::{Store, WriterLock};
use tradecore::projections::{
    Compared, ProjectionError, Source, check_place, open, rebuild, rebuild_of, schema, verify,
};
use tradecore::retention::{Needs, PROJECTION, PROJECTION_PG};
use tradecore::shipping::domains::Domain;
use tradecore_journal::{Reader, Until};

use super::failure::Failure;
use super::journal::stat::look;
use super::journal::unreadable;
use super::read_model::{Place, as_of};
use super::report::{aligned, utc};
use super::values::{time, whole};
use super::{print, stop_at_signals, warn};

/// Looks after the read model: the tables that follow the journal.
#[derive(clap::Subcommand)]
#[command(after_help = "Example: tradecore projection status --config gateway.toml")]
pub(super) enum Projection {
    /// How far the tables have come, how far behind the journal, and what is parked.
    #[command(after_help = "Example: tradecore projection status --config gateway.toml --json")]
    Status(Options),
    /// Takes in what is durable in the journal, without the gateway.
    ///
    /// Rows are made anew when the journal was cut below them, or when older rules made them; that is told.
    #[command(name = "catch-up", after_help = "Example: tradecore projection catch-up --config gateway.toml")]
    CatchUp(Options),
    /// Compares every table with a fold of the journal; exit code 96, and the first row that differs, when one does.
    #[command(after_help = "Example: tradecore projection verify --config gateway.toml --json")]
    Verify(Options),
    /// Makes the tables anew beside the old, compares them by row hashes, and puts them in their place.
    ///
    /// Who reads sees the old rows until then. The gateway must not be writing them: stop it, or take `sqlite` out of
    /// its configuration, first; exit code 95 when it is. With `--domain`, `--from` or `--since` the journal is folded all
    /// the same, and only these rows are put in the place of the old, in one transaction; on a PostgreSQL server, and where
    /// other events are parked than should be, all rows are.
    #[command(after_help = "Example: tradecore projection rebuild --config gateway.toml\n\
                            Example: tradecore projection rebuild --config gateway.toml --domain order --since 2026-11-21T10:00:00Z")]
    Rebuild {
        #[command(flatten)]
        options: Options,
        /// Only the tables of this domain; may be given several times. `docs/queries.md` tells which those are.
        #[arg(long, value_name = "DOMAIN", value_parser = domain)]
        domain: Vec<Domain>,
        /// Only rows that events from this one on have made or changed.
        #[arg(long, value_name = "SEQ", value_parser = whole::<u64>)]
        from: Option<u64>,
        /// Only rows that events at or after this time have made or changed, UTC.
        #[arg(long, value_name = "TIME", value_parser = time, conflicts_with = "from")]
        since: Option<u64>,
    },
}

fn domain(text: &str) -> Result<Domain, String> {
    let found = Domain::ALL.iter().find(|domain| domain.name() == text && !tables_of(&[**domain]).is_empty());
    found.copied().ok_or_else(|| {
        let with_tables = Domain::ALL.iter().filter(|domain| !tables_of(&[**domain]).is_empty());
        let allowed: Vec<&str> = with_tables.map(|domain| domain.name()).collect();
        format!("{text:?} is no domain with tables; allowed: {}", allowed.join(", "))
    })
}

#[derive(clap::Args)]
pub(super) struct Options {
    #[command(flatten)]
    place: Place,
    /// Prints one JSON object.
    #[arg(long)]
    json: bool,
}

impl Projection {
    pub(super) fn run(self) -> Result<(), Failure> {
        let (Self::Status(options) | Self::CatchUp(options) | Self::Verify(options) | Self::Rebuild { options, .. }) =
            &self;
        let source = options.place.source(&options.place.config()?)?;
        if !tradecore_journal::has_journal(&source.journal_dir).map_err(unreadable)? {
            let text = format!("no journal in {}", source.journal_dir.display());
            return Err(Failure::new(Exit::Unavailable, text));
        }
        match &self {
            Self::Status(options) => status(&source, options.json),
            Self::CatchUp(options) => catch_up(&source, options.json),
            Self::Verify(options) => check(&source, options.json),
            Self::Rebuild { options, domain, from, since } => {
                let is_all = domain.is_empty() && from.is_none() && since.is_none();
                let tables = tables_of(if domain.is_empty() { Domain::ALL } else { domain });
                check_from(&source, *from, *since)?;
                let from = match (from, since) {
                    (Some(seq), _) => From::Seq(*seq),
                    (None, Some(ns)) => From::Time(*ns),
                    (None, None) => From::Start,
                };
                make_anew(&source, (!is_all).then_some((&tables, from)), options.json)
            }
        }
    }
}

/// That rows are not asked for from an event or a time on that is behind the journal's end.
fn check_from(source: &Source, from: Option<u64>, since: Option<u64>) -> Result<(), Failure> {
    let synced_seq = tradecore_journal::synced_seq(&source.journal_dir).map_err(unreadable)?;
    let (_, last_seq, last_ts_ns) = behind(source, synced_seq.saturating_sub(1))?;
    let wanted = match (from, since) {
        (Some(seq), _) if seq > last_seq => format!("--from {seq}"),
        (_, Some(ns)) if ns > last_ts_ns => format!("--since {}", utc(ns)),
        _ => return Ok(()),
    };
    let last = format!("event {last_seq}, {}, is the last one that is durable in the journal", utc(last_ts_ns));
    Err(Failure::new(Exit::Usage, format!("{wanted}: {last}")))
}

/// What the journal holds behind an event and is durable: events, the last of them, its time.
fn behind(source: &Source, seq: u64) -> Result<(u64, u64, u64), Failure> {
    let opened = Reader::open(&source.journal_dir, seq.saturating_add(1), Until::Synced).map_err(unreadable)?;
    let (mut reader, mut lag) = (opened, (0_u64, seq, 0));
    while let Some(group) = reader.next_group().map_err(unreadable)? {
        for record in group.records().filter(|record| record.seq > seq) {
            lag = (lag.0.saturating_add(1), record.seq, record.ts_ns);
        }
    }
    Ok(lag)
}

fn status(source: &Source, is_json: bool) -> Result<(), Failure> {
    let opened = Store::open_to_read(source).and_then(|mut store| Ok((store.position()?, store)));
    let (at, mut store) = match opened {
        Err(error @ ProjectionError::Postgres { .. }) => return without_server(source, is_json, error),
        opened => opened?,
    };
    // Told behind what they know.
    let place = check_place(source, &at);
    let parked = parked(&mut store)?;
    let (name_of, bytes) = (source.name().display().to_string(), store.bytes()?);
    let (rules, keep_days) = rules_and_days(at.fold_version);
    let report = report_of(source);
    let (lag_events, last_seq, last_ts_ns) = behind(source, at.seq)?;
    let lag_ms = if at.seq == 0 { 0 } else { last_ts_ns.saturating_sub(at.ts_ns) / 1_000_000 };
    let name = |one: &Parked| one.aggregate.map_or_else(|| "?".to_owned(), |aggregate| aggregate.to_string());
    if is_json {
        let parked = parked.iter().map(|one| {
            let (first_seq, events) = (one.first_seq.to_string(), one.events.to_string());
            json!({"aggregate": name(one), "first_seq": first_seq, "error": one.error, "events": events})
        });
        let text = json!({
            "integrity": report.map(|report| json!({
                "checked_seq": report.checked_seq.to_string(), "checked_ns": report.checked_ns.to_string(),
                "rows": report.rows.to_string(), "found": report.found.to_string(), "is_stale": report.is_stale,
                "since_ns": report.since_ns.to_string(),
                "round_seq": report.round_seq.map(|seq| seq.to_string()), "rounds": report.rounds.to_string(),
                "error": report.error.map(|(what, ns)| json!({"what": what, "since_ns": ns.to_string()})),
                "last": report.last.map(|(what, ns)| json!({"what": what, "ts_ns": ns.to_string()})),
            })),
            "path": name_of, "bytes": bytes.to_string(), "schema": schema::number(),
            "fold_version": rules, "keep_days": keep_days, "stream": at.stream, "epoch": at.epoch, "seq": at.seq.to_string(),
            "ts_ns": at.ts_ns.to_string(), "journal_synced_seq": last_seq.to_string(),
            "lag_events": lag_events.to_string(), "lag_ms": lag_ms.to_string(), "parked": parked.collect::<Vec<_>>(),
        });
        print(&text.to_string())?;
        return Ok(place?);
    }
    let mut lines = vec![
        format!(
            "{name_of}, {} KiB, schema {}, rules {rules}, closed rows leave after {keep_days} days (0: never)",
            bytes >> 10,
            schema::number()
        ),
        format!("core {}, start epoch {}, {}", at.stream, at.epoch, as_of(&at)),
        match lag_events {
            0 => "nothing in the journal is durable and not in the tables".to_owned(),
            events => format!("{events} events behind: event {last_seq} is durable, {lag_ms} ms later"),
        },
    ];
    lines.extend(report.iter().map(integrity));
    let look = look(&Needs::of_all(&source.journal_dir))?;
    lines.extend(
        look.holders
            .iter()
            .find(|holder| holder.name == if source.server.is_some() { PROJECTION_PG } else { PROJECTION })
            .map(|holder| format!("the journal keeps {} segments for it, {} MiB", holder.segments, holder.bytes >> 20)),
    );
    if parked.is_empty() {
        lines.push("nothing is parked".to_owned());
    } else {
        let mut rows = vec![["parked", "first_seq", "events", "error"].map(str::to_owned).to_vec()];
        rows.extend(
            parked
                .iter()
                .map(|one| vec![name(one), one.first_seq.to_string(), one.events.to_string(), one.error.clone()]),
        );
        lines.push(aligned(&rows));
        let is_unread = |one: &Parked| matches!(one.aggregate, Some(Aggregate::Unread(_)));
        if !parked.iter().all(is_unread) {
            lines.push("rows of these are marked is_stale".to_owned());
        }
        if parked.iter().any(is_unread) {
            lines.push(
                "of events of a type no row is marked: whose they are is not known, and each answer tells of them"
                    .to_owned(),
            );
        }
        lines.push("a release that can take them makes the tables anew".to_owned());
    }
    print(&lines.join("\n"))?;
    Ok(place?)
}

/// What this host knows by itself: the tables may know more than their writer has passed. Of workers elsewhere it knows
/// nothing.
fn without_server(source: &Source, is_json: bool, error: ProjectionError) -> Result<(), Failure> {
    let synced_seq = tradecore_journal::synced_seq(&source.journal_dir).map_err(unreadable)?;
    let look = look(&Needs::of_all(&source.journal_dir))?;
    let passed_seq = look.holders.iter().find(|holder| holder.name == PROJECTION_PG).map(|holder| holder.seq);
    let lag_events = passed_seq.map(|seq| synced_seq.saturating_sub(seq));
    let name = source.name().display().to_string();
    let text = if is_json {
        let text = |number: Option<u64>| number.map(|number| number.to_string());
        json!({
            "path": name, "seq": null, "passed_seq": text(passed_seq), "journal_synced_seq": synced_seq.to_string(),
            "lag_events": text(lag_events),
        })
        .to_string()
    } else {
        let passed = match (passed_seq, lag_events) {
            (Some(seq), Some(events)) => {
                format!(
                    "their writer here has passed event {seq}: the tables have that, or a little more; {events} events behind at most"
                )
            }
            _ => "no writer of this host has told how far they are".to_owned(),
        };
        format!(
            "{name}: not reached; what the tables know, and what is parked, is not known\nevent {synced_seq} is durable in the journal; {passed}"
        )
    };
    print(&text)?;
    Err(error.into())
}

/// How the monitor stands, in words.
fn integrity(report: &Report) -> String {
    let Report { checked_seq, checked_ns, since_ns, error, rows, found, is_stale, last, round_seq, rounds, .. } =
        report;
    let state = match (is_stale, last) {
        (true, Some((what, ns))) => format!("NOT what the journal says, and not made anew yet: {what}, {}", utc(*ns)),
        (false, Some((what, ns))) => {
            format!("as the journal says; made anew {found} times, last for {what}, {}", utc(*ns))
        }
        (_, None) if *checked_ns == 0 => "whether they are as the journal says is not known yet".to_owned(),
        (_, None) => "as the journal says".to_owned(),
    };
    let round = round_seq.map_or_else(
        || "no round, for the beginning of the journal is gone".to_owned(),
        |seq| format!("{rounds} rounds of every row, the next at event {seq}"),
    );
    let compared = match checked_ns {
        0 => format!("not compared since the gateway's start: {state}"),
        ns => format!("compared up to event {checked_seq}, {}, {rows} rows, {round}: {state}", utc(*ns)),
    };
    match error {
        Some((what, ns)) => format!("{compared}; NOT compared since {}: {what}", utc(*ns)),
        None => format!("{compared}; begun with the first event {}", utc(*since_ns)),
    }
}

/// A bar on a terminal, with the rate; else a line every few seconds.
pub(super) struct Progress {
    bar: Option<ProgressBar>,
    started: Instant,
    next: Duration,
    stop: Arc<AtomicBool>,
}

impl Progress {
    pub(super) fn new(what: &'static str) -> Result<Self, Failure> {
        let bar = std::io::stderr().is_terminal().then(|| {
            let template = "{msg} {bar:30.green} {human_pos}/{human_len} events, {per_sec}, {eta} left";
            let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
            ProgressBar::new(0).with_style(style).with_message(what)
        });
        Ok(Self { bar, started: Instant::now(), next: Duration::from_secs(5), stop: stop_at_signals()? })
    }

    /// False when a signal wants an end.
    pub(super) fn tell(&mut self, seq: u64, end_seq: u64) -> bool {
        let since = self.started.elapsed();
        if let Some(bar) = &self.bar {
            bar.set_length(end_seq.max(seq));
            bar.set_position(seq);
        } else if since >= self.next {
            self.next = since.saturating_add(Duration::from_secs(5));
            warn(&format!("event {seq} of {end_seq}, {} events/s", self.rate(seq)));
        }
        !self.stop.load(Ordering::Acquire)
    }

    pub(super) fn rate(&self, events: u64) -> u64 {
        let ms = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX).max(1);
        events.saturating_mul(1000).checked_div(ms).unwrap_or(0)
    }

    pub(super) fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

fn catch_up(source: &Source, is_json: bool) -> Result<(), Failure> {
    let _lock = WriterLock::take(&source.path)?;
    let mut progress = Progress::new("catching up")?;
    let mut projector = open(source, &mut |seq, end_seq| progress.tell(seq, end_seq))?;
    let from_seq = projector.position().seq;
    let (_, end_seq, _) = behind(source, from_seq)?;
    while projector.step(u64::MAX)? > 0 {
        if !progress.tell(projector.position().seq, end_seq) {
            break;
        }
    }
    progress.end();
    let seq = projector.position().seq;
    let events = seq.saturating_sub(from_seq);
    let rate = progress.rate(events);
    if is_json {
        let text = json!({"seq": seq.to_string(), "events": events.to_string(), "events_per_s": rate.to_string()});
        return print(&text.to_string()).map(drop);
    }
    print(&format!("{events} events taken in, {rate}/s; {}", as_of(projector.position()))).map(drop)
}

fn compared_json(all: &[Compared]) -> serde_json::Value {
    let one = |table: &Compared| {
        json!({
            "table": table.table, "rows": table.there.0.to_string(), "hash": format!("{:016x}", table.there.1),
            "folded_rows": table.folded.0.to_string(), "folded_hash": format!("{:016x}", table.folded.1),
            "first_difference": table.first_difference,
        })
    };
    all.iter().map(one).collect()
}

fn compared_text(all: &[Compared]) -> String {
    let mut rows =
        vec![["table", "rows", "hash", "of the fold", "hash", "first difference"].map(str::to_owned).to_vec()];
    rows.extend(all.iter().map(|table| {
        let (there, folded) = (table.there, table.folded);
        let difference = table.first_difference.clone().unwrap_or_default();
        let hash = |hash: u64| format!("{hash:016x}");
        vec![
            table.table.to_owned(),
            there.0.to_string(),
            hash(there.1),
            folded.0.to_string(),
            hash(folded.1),
            difference,
        ]
    }));
    aligned(&rows)
}

fn check(source: &Source, is_json: bool) -> Result<(), Failure> {
    let mut progress = Progress::new("folding")?;
    let (seq, all) = verify(source, &mut |seq, end_seq| progress.tell(seq, end_seq))?;
    progress.end();
    let differing: Vec<&str> =
        all.iter().filter(|table| table.there != table.folded).map(|table| table.table).collect();
    if is_json {
        let text = json!({"ok": differing.is_empty(), "seq": seq.to_string(), "tables": compared_json(&all)});
        print(&text.to_string())?;
    } else {
        print(&compared_text(&all))?;
    }
    if differing.is_empty() {
        return if is_json {
            Ok(())
        } else {
            print(&format!("ok: as a fold of the journal up to event {seq}")).map(drop)
        };
    }
    let text = format!(
        "{} as of event {seq}: not what a fold of the journal gives; a gateway that runs and writes them makes them anew by \
         itself, else run `{}`",
        differing.join(", "),
        rebuild_of(&source.name())
    );
    Err(Failure::new(Exit::ProjectionDiffers, text))
}

/// All tables, or some: those of `only`, from where it says.
fn make_anew(source: &Source, only: Option<(&Vec<&'static str>, From)>, is_json: bool) -> Result<(), Failure> {
    let _lock = WriterLock::take(&source.path)?;
    let mut progress = Progress::new("rebuilding")?;
    let mut tell = |seq, end_seq| progress.tell(seq, end_seq);
    let rebuilt = match only {
        None => rebuild(source, &mut tell)?,
        Some((tables, from)) => remake(source, tables, from, &mut tell)?,
    };
    progress.end();
    let (seq, rate) = (rebuilt.seq, progress.rate(rebuilt.seq));
    let left: Vec<&str> = rebuilt.left.iter().map(|table| table.table).collect();
    let text = format!(
        "{}: rows before those differ still from a fold of the journal; run `{}` without --from and --since",
        left.join(", "),
        rebuild_of(&source.name())
    );
    let end = if left.is_empty() { Ok(()) } else { Err(Failure::new(Exit::ProjectionDiffers, text)) };
    if is_json {
        let differing = rebuilt.differing.as_deref().map(compared_json);
        let left = compared_json(&rebuilt.left);
        let text = json!({
            "seq": seq.to_string(), "events_per_s": rate.to_string(), "differing": differing, "left": left,
        });
        print(&text.to_string())?;
        return end;
    }
    let compared = match rebuilt.differing.as_deref() {
        None => "there were no rows to compare with".to_owned(),
        Some([]) => "every row was as it is now".to_owned(),
        Some(differing) => format!("these tables differed:\n{}", compared_text(differing)),
    };
    print(&format!("made anew up to event {seq}, {rate} events/s; {compared}"))?;
    end
}
