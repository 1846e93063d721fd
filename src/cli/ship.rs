//! `tradecore ship`.

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use serde_json::{Value, json};
use tradecore::exit::Exit;
use tradecore::retention::{KAFKA, Look, Needs};
use tradecore::shipping::domains::Domain;
use tradecore::shipping::kafka::{self, Cluster, End, Flaw, Proof, Replay, Replayed, Shipper, Standing, Trouble};
use tradecore_journal::{Reader, Until};

use super::connection::Connection;
use super::failure::Failure;
use super::print;
use super::report::utc;

/// What to do where the cluster does not answer.
const NOT_REACHED: &str = "; see whether the cluster is up, and ship.kafka.brokers right";

/// Longest wait of who looks for the cluster.
const PATIENCE: Duration = Duration::from_secs(10);

#[derive(clap::Args)]
pub(super) struct Place {
    /// The configuration of the gateway, with a section [ship.kafka].
    #[arg(long)]
    config: PathBuf,
}

/// Looks at what is shipped to Kafka, and ships without a gateway.
#[derive(clap::Subcommand)]
#[command(after_help = "Example: tradecore ship status --config gateway.toml")]
pub(super) enum Ship {
    /// Shows how far the cluster has the journal: the lag in events, bytes and seconds, and whose shipper was last.
    ///
    /// `refused` is there, and no lag, when the cluster has another journal: nothing is shipped then.
    ///
    /// `state` is there while the shipper of this host does not ship, and since when and why: `refused` when somebody must
    /// change what is said first, `away` while the cluster cannot be reached, `unread` while the journal cannot be read,
    /// `ended` until the next start. Then the exit code is not 0: 69 while it is away, 74 while it is unread, 65 when it
    /// was refused or has ended, or the cluster has another journal, 92 when another host has taken over.
    ///
    /// `shipper` is who has claimed the stream last, and may be no more; `gateway` tells whether one runs on this journal.
    ///
    /// `unshipped_*` is what shippers keep of the journal, in whole segments, and how much they may before new orders are
    /// refused; `seconds_left` the time until then at the rate since the oldest event that waits.
    #[command(after_help = "Example: tradecore ship status --config gateway.toml --json")]
    Status {
        #[command(flatten)]
        place: Place,
        /// Prints one JSON object; integers of 64 bits are strings.
        #[arg(long)]
        json: bool,
    },
    /// Reads the topics back and proves that they hold each event exactly once, in order per partition, byte-equal.
    /// Exit code 86, and each gap, repetition and difference, when they do not.
    ///
    /// It compares all that is shipped with all that the journal has; safe while a gateway ships.
    #[command(after_help = "Example: tradecore ship verify --config gateway.toml --json")]
    Verify {
        #[command(flatten)]
        place: Place,
        /// Prints one JSON object; integers of 64 bits are strings.
        #[arg(long)]
        json: bool,
    },
    /// Sends the JSON of events again, from what the journal has and up to what is shipped: for a reader that has lost it.
    ///
    /// A repetition has the same ce_id, and a header replayed. Nothing else is touched; safe while a gateway ships.
    #[command(after_help = "Example: tradecore ship replay --config gateway.toml --from 1042 --topic orders-again")]
    Replay {
        #[command(flatten)]
        place: Place,
        /// The first event.
        #[arg(long, value_name = "SEQ", value_parser = clap::value_parser!(u64).range(1..))]
        from: u64,
        /// The last event; by default the last that is shipped.
        #[arg(long, value_name = "SEQ")]
        to: Option<u64>,
        /// Events of this domain only.
        #[arg(long, value_parser = super::dlq::domain)]
        domain: Option<Domain>,
        /// Another topic than those of JSON; it must be there, and be none that the gateway needs.
        #[arg(long)]
        topic: Option<String>,
    },
    /// Ships the journal from this process: for a gateway that is down, until SIGTERM.
    ///
    /// It fences whoever else ships the same journal. A gateway that runs goes on trading, and ships again after its next
    /// start; but one that trades under a lease (`ship.kafka.lease_ms`) would lose that, and stop: beside one on this host
    /// it is refused, with exit code 81.
    #[command(after_help = "Example: tradecore ship run --config gateway.toml --drain")]
    Run {
        #[command(flatten)]
        place: Place,
        /// Ends when all is shipped.
        #[arg(long)]
        drain: bool,
        /// Also beside a gateway that trades under a lease, and ends its trading.
        #[arg(long)]
        take_over: bool,
        /// Ends with this process, its parent.
        #[arg(long, hide = true, value_name = "PID")]
        die_with_parent: Option<i32>,
    },
}

impl Ship {
    pub(super) fn run(self) -> Result<(), Failure> {
        match self {
            Self::Status { place, json } => {
                let needs = Needs::of(&super::config::load(&place.config)?);
                status(&place.cluster()?.answering_within(PATIENCE), &super::journal::stat::look(&needs)?, json)
            }
            Self::Verify { place, json } => verify(&place.cluster()?, json),
            Self::Replay { place, from, to, domain, topic } => {
                if let Some(to) = to.filter(|to| *to < from) {
                    return Err(Failure::new(Exit::Usage, format!("--from {from} is behind --to {to}")));
                }
                let stop = super::stop_at_signals()?;
                let what = Replay { from_seq: from, to_seq: to, domain, topic };
                let Replayed { events, to_seq } = kafka::replay(&place.cluster()?, &what, &stop).map_err(failed)?;
                print(&format!("sent {events} events again, {from} to {to_seq}")).map(drop)
            }
            Self::Run { place, drain, take_over, die_with_parent } => {
                super::die_with_parent(die_with_parent)?;
                let cluster = place.cluster()?;
                if !take_over {
                    check_nobody_trades(&cluster)?;
                }
                ship(cluster, drain)
            }
        }
    }
}

impl Place {
    /// Of a session of the gateway, if that runs.
    pub(super) fn connection(&self, session: u32) -> Connection {
        Connection::of(&self.config, session)
    }

    pub(super) fn cluster(&self) -> Result<Cluster, Failure> {
        let config = super::config::load(&self.config)?;
        let refused = |problem: String| Failure::new(Exit::Config, problem);
        let cluster = Cluster::of(&config).map_err(|error| Failure::new(Exit::Credential, error.to_string()))?;
        let cluster = cluster.ok_or_else(|| refused(format!("{}: no section [ship.kafka]", self.config.display())))?;
        let dir = tradecore::daemon::journal_dir(&config);
        if !tradecore_journal::has_journal(&dir).map_err(super::journal::unreadable)? {
            return Err(Failure::new(Exit::Unavailable, format!("no journal in {}", dir.display())));
        }
        Ok(cluster)
    }
}

pub(super) fn failed(trouble: Trouble) -> Failure {
    let exit = match &trouble {
        Trouble::Doubt(_) => Exit::Unavailable,
        Trouble::Superseded(_) => Exit::Superseded,
        Trouble::Refused(_) | Trouble::Unfit(_) | Trouble::Diverged(_) | Trouble::Unsent(_) => Exit::Rejected,
        Trouble::Journal(error) => Exit::from(error),
        Trouble::Unknown { .. } => Exit::JournalTooNew,
        Trouble::Stopped => Exit::Interrupted,
        _ => Exit::Internal,
    };
    let next = if exit == Exit::Unavailable { NOT_REACHED } else { "" };
    Failure::new(exit, format!("{trouble}{next}"))
}

/// To fence a gateway's shipper ends its trading, where that is under a lease.
fn check_nobody_trades(cluster: &Cluster) -> Result<(), Failure> {
    let dir = cluster.journal_dir();
    let unknown = |error: std::io::Error| Failure::new(Exit::Io, format!("{}: {error}", dir.display()));
    match tradecore_journal::writer_pid(dir).map_err(unknown)? {
        None => Ok(()),
        Some(pid) if !cluster.has_lease() => {
            tracing::warn!(pid, "a gateway runs on this journal: its own shipper ends now, until its next start");
            Ok(())
        }
        Some(pid) => {
            let text = format!(
                "a gateway runs on this journal (pid {pid}), trades under a lease (ship.kafka.lease_ms) and ships by itself: \
                 `tradecore ship status` tells why, if it does not. To ship here would end its trading: stop it first, or say \
                 --take-over"
            );
            Err(Failure::new(Exit::JournalLocked, text))
        }
    }
}

fn ship(cluster: Cluster, is_drain: bool) -> Result<(), Failure> {
    let stop = super::stop_at_signals()?;
    match Shipper::new(cluster).run(&stop, is_drain).map_err(failed)? {
        End::Drained(seq) => print(&format!("shipped up to event {seq}")).map(drop),
        End::Stopped if is_drain => Err(Failure::new(Exit::Interrupted, "stopped before all was shipped")),
        End::Stopped => Ok(()),
    }
}

fn status(cluster: &Cluster, look: &Look, json: bool) -> Result<(), Failure> {
    let progress = match kafka::progress(cluster) {
        Err(trouble @ (Trouble::Doubt(_) | Trouble::Unfit(_) | Trouble::Refused(_))) => {
            return without_cluster(cluster, look, json, trouble);
        }
        progress => progress.map_err(failed)?,
    };
    let shipped_seq = progress.as_ref().map_or(0, |progress| progress.seq);
    let refused = match progress.as_ref().map_or(Ok(()), |progress| kafka::check_place(cluster, progress)) {
        Ok(()) => None,
        Err(Trouble::Diverged(problem)) => Some(Failure::new(Exit::Rejected, format!("another journal: {problem}"))),
        Err(trouble @ (Trouble::Superseded(_) | Trouble::Refused(_))) => Some(failed(trouble)),
        Err(trouble) => return Err(failed(trouble)),
    };
    let dir = cluster.journal_dir();
    let opened = match shipped_seq {
        0 => Reader::open_oldest(dir, Until::Synced),
        seq => Reader::open(dir, seq.saturating_add(1), Until::Synced),
    };
    let mut reader = opened.map_err(super::journal::unreadable)?;
    let (mut synced_seq, mut bytes, mut oldest_ns) = (reader.latest_synced_seq(), 0_u64, None);
    let events = reader.for_each(|record| {
        synced_seq = record.seq;
        bytes = bytes.saturating_add(record.bytes.len() as u64);
        oldest_ns.get_or_insert(record.ts_ns);
    });
    let events = events.map_err(super::journal::unreadable)?;
    let seconds = oldest_ns.map_or(0, |ns| tradecore::clock::utc_ns().saturating_sub(ns) / 1_000_000_000);
    let (term, owner) = progress.map_or((0, "nobody yet".to_owned()), |progress| (progress.term, progress.owner));
    // How far one journal is behind another is no lag.
    let lag = |value: u64| if refused.is_none() { value.to_string().into() } else { Value::Null };
    let rows = vec![
        ("stream", cluster.stream().to_string().into()),
        ("brokers", cluster.brokers().into()),
        ("shipped_seq", shipped_seq.to_string().into()),
        ("synced_seq", synced_seq.to_string().into()),
        ("refused", refused.as_ref().map_or(Value::Null, |refused| refused.text.clone().into())),
        ("lag_events", lag(events)),
        ("lag_bytes", lag(bytes)),
        ("lag_seconds", lag(seconds)),
        ("oldest_unshipped", oldest_ns.filter(|_| refused.is_none()).map_or(Value::Null, |ns| utc(ns).into())),
        ("term", term.to_string().into()),
        ("shipper", owner.into()),
        ("gateway", gateway_on(dir)?.into()),
    ];
    let standing = show(rows, cluster, look, json)?;
    refused.or_else(|| standing.map(stands_still)).map_or(Ok(()), Err)
}

/// The shipper that is named may be that of a process which is no more.
fn gateway_on(journal_dir: &Path) -> Result<String, Failure> {
    let pid = tradecore_journal::writer_pid(journal_dir);
    let pid = pid.map_err(|error| Failure::new(Exit::Io, format!("{}: {error}", journal_dir.display())))?;
    Ok(pid.map_or_else(|| "none runs on this journal".to_owned(), |pid| format!("runs, process {pid}")))
}

/// Who only looks at the exit code must see that nothing is shipped.
fn stands_still(Standing { state, since, text }: Standing) -> Failure {
    let exit = match state.as_str() {
        "away" => Exit::Unavailable,
        "unread" => Exit::Io,
        _ => Exit::Rejected,
    };
    Failure::new(exit, format!("nothing is shipped since {since}, {state}: {text}"))
}

/// What this host knows by itself: the cluster may have more than its shipper has passed.
fn without_cluster(cluster: &Cluster, look: &Look, json: bool, trouble: Trouble) -> Result<(), Failure> {
    let mut reader = Reader::open_oldest(cluster.journal_dir(), Until::Synced).map_err(super::journal::unreadable)?;
    let synced_seq = reader.latest_synced_seq();
    let passed_seq = look.holders.iter().find(|holder| holder.name == KAFKA).map_or(0, |holder| holder.seq);
    let rows = vec![
        ("stream", cluster.stream().to_string().into()),
        ("brokers", cluster.brokers().into()),
        ("passed_seq", passed_seq.to_string().into()),
        ("synced_seq", synced_seq.to_string().into()),
        ("lag_events", synced_seq.saturating_sub(passed_seq).to_string().into()),
    ];
    show(rows, cluster, look, json)?;
    let failure = failed(trouble);
    Err(Failure { text: format!("{}: {}; this is what the host knows", cluster.brokers(), failure.text), ..failure })
}

/// Prints them, and what the shipper of this host has said; that, if it does not ship.
fn show(mut rows: Vec<(&str, Value)>, cluster: &Cluster, look: &Look, json: bool) -> Result<Option<Standing>, Failure> {
    let standing = Standing::of(cluster.journal_dir());
    let of = |part: fn(&Standing) -> &String| standing.as_ref().map_or(Value::Null, |told| part(told).clone().into());
    rows.extend([
        ("state", of(|told| &told.state)),
        ("state_since", of(|told| &told.since)),
        ("state_text", of(|told| &told.text)),
        ("unshipped_bytes", look.unshipped_bytes.to_string().into()),
        ("unshipped_max", look.unshipped_max_bytes.to_string().into()),
        ("unshipped_percent", look.percent().to_string().into()),
        ("seconds_left", look.seconds_left.map_or(Value::Null, |left| left.to_string().into())),
    ]);
    let text = if json {
        Value::from_iter(rows).to_string()
    } else {
        let rows = rows.iter().filter(|(_, value)| !value.is_null());
        let lines: Vec<String> =
            rows.map(|(name, value)| format!("{name:<17} {}", value.as_str().unwrap_or_default())).collect();
        lines.join("\n")
    };
    print(&text)?;
    Ok(standing)
}

fn verify(cluster: &Cluster, json: bool) -> Result<(), Failure> {
    // Ctrl-C ends it as any other command: there is nothing to undo.
    let proof = kafka::prove(cluster, &AtomicBool::new(false)).map_err(failed)?;
    let Proof { first_seq, last_seq, events, partitions, repeated, .. } = &proof;
    let again = match repeated {
        0 => String::new(),
        repeated => format!("; {repeated} more are repetitions, which a reader leaves out"),
    };
    if json {
        print(&proof_json(&proof).to_string())?;
    }
    if proof.flaws_count > 0 {
        let mut told: Vec<String> = proof.flaws.iter().map(flaw_text).collect();
        let more = proof.flaws_count.saturating_sub(told.len() as u64);
        if more > 0 {
            told.push(format!("and {more} more"));
        }
        let problem = format!("the topics and the journal differ, up to event {last_seq}:\n  {}", told.join("\n  "));
        return Err(Failure::new(Exit::ProofFailed, problem));
    }
    if json {
        return Ok(());
    }
    print(&format!(
        "ok: {events} events, {first_seq} to {last_seq}, each once, in order and byte-equal, in {partitions} partitions{again}"
    ))
    .map(drop)
}

fn flaw_text(flaw: &Flaw) -> String {
    match flaw {
        Flaw::Missing { from, to } if from == to => format!("event {from} is missing"),
        Flaw::Missing { from, to } => format!("events {from} to {to} are missing"),
        Flaw::Extra { seq, place } => format!("event {seq} is there again, or out of order: {place}"),
        Flaw::Differs { seq, place, what } => format!("event {seq}: {what} differs: {place}"),
        Flaw::Foreign { text } => text.clone(),
    }
}

fn proof_json(proof: &Proof) -> Value {
    let flaws: Vec<Value> = proof
        .flaws
        .iter()
        .map(|flaw| {
            let (name, seqs) = match flaw {
                Flaw::Missing { from, to } => ("missing", Some((from, to))),
                Flaw::Extra { seq, .. } => ("extra", Some((seq, seq))),
                Flaw::Differs { seq, .. } => ("differs", Some((seq, seq))),
                Flaw::Foreign { .. } => ("foreign", None),
            };
            let (from, to) = seqs.map(|(from, to)| (from.to_string(), to.to_string())).unzip();
            json!({"flaw": name, "from": from, "to": to, "text": flaw_text(flaw)})
        })
        .collect();
    json!({
        "ok": proof.flaws_count == 0,
        "first_seq": proof.first_seq.to_string(),
        "last_seq": proof.last_seq.to_string(),
        "events": proof.events.to_string(),
        "repeated": proof.repeated.to_string(),
        "partitions": proof.partitions,
        "flaws_count": proof.flaws_count.to_string(),
        "flaws": flaws,
    })
}
