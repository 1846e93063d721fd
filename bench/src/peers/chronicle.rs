//! An append that survives the process: the journal's, against Chronicle Queue's.

use std::process::Command;

use tradecore_journal::SyncPolicy;

use super::programs::{number, run};
use super::{Options, conclude, path_text};
use crate::Failure;
use crate::append::{Bench, Costs, EVENT_BYTES};
use crate::host::{self, Place};
use crate::journal::{self, Segments};
use crate::outcome::Outcome;
use crate::thousandths::Thousandths;

/// Appends in a round, and a second.
const APPENDS: u64 = 200_000;
const RATE: u64 = 400_000;
/// What Chronicle Queue needs of the JDK's inside, and nothing that it would tell others.
const JAVA_OPTIONS: [&str; 11] = [
    "-Dchronicle.analytics.disable=true",
    "-Dchronicle.announcer.disable=true",
    "--add-exports=java.base/jdk.internal.ref=ALL-UNNAMED",
    "--add-exports=java.base/sun.nio.ch=ALL-UNNAMED",
    "--add-exports=jdk.unsupported/sun.misc=ALL-UNNAMED",
    "--add-opens=java.base/java.io=ALL-UNNAMED",
    "--add-opens=java.base/java.lang=ALL-UNNAMED",
    "--add-opens=java.base/java.lang.reflect=ALL-UNNAMED",
    "--add-opens=java.base/java.nio=ALL-UNNAMED",
    "--add-opens=java.base/java.util=ALL-UNNAMED",
    "--add-opens=java.base/sun.nio.ch=ALL-UNNAMED",
];

/// Measures both, round by round.
pub(super) fn measure(options: &Options, outcome: &mut Outcome) -> Result<(), Failure> {
    let classes = options.programs().path("chronicle")?;
    println!("append of {EVENT_BYTES} bytes, {RATE}/s at most; the clock's own median is taken from p50");
    let (mut ours, mut theirs, mut ratios) = ([Vec::new(), Vec::new()], [Vec::new(), Vec::new()], Vec::new());
    for _ in 0..options.rounds {
        let costs = journal_round(options)?;
        let dir = options.directory()?;
        let mut command = Command::new("java");
        command.args(JAVA_OPTIONS).arg("-cp").arg(format!("{0}:{0}/*", path_text(&classes)?)).arg("Append");
        command.args([path_text(dir.path())?, &APPENDS.to_string(), &EVENT_BYTES.to_string(), &RATE.to_string()]);
        // A JVM compiles and collects on threads of its own.
        let printed = run(&mut command, Place::Anywhere)?;
        let told = |name: &str| printed.get(name).cloned().unwrap_or_default();
        outcome.configure_once("chronicle", format!("{}, Java {}", told("version"), told("java")));
        let their_p50 = number(&printed, "p50_ns")?.saturating_sub(number(&printed, "clock_p50_ns")?);
        let (our_p50, their_p99) = (costs.net(&costs.append), number(&printed, "p99_ns")?);
        let our_p99 = costs.append.value_at_quantile(0.99);
        println!("  journal p50 {our_p50}, p99 {our_p99} ns; Chronicle Queue p50 {their_p50}, p99 {their_p99} ns");
        for (rounds, values) in [(&mut ours, [our_p50, our_p99]), (&mut theirs, [their_p50, their_p99])] {
            rounds.iter_mut().zip(values).for_each(|(rounds, value)| rounds.push(Thousandths::whole(value)));
        }
        ratios.push(Thousandths::ratio(their_p50, our_p50));
    }
    for (who, rounds) in [("journal", ours), ("chronicle", theirs)] {
        for (name, rounds) in ["p50", "p99"].into_iter().zip(rounds) {
            conclude(outcome, &format!("{who}_append_{name}_ns_beside"), rounds);
        }
    }
    conclude(outcome, "chronicle_append_p50_ratio", ratios);
    Ok(())
}

fn journal_round(options: &Options) -> Result<Costs, Failure> {
    let (dir, mut costs) = (options.directory()?, Costs::new());
    let opening = journal::Options::default();
    host::apart(
        || journal::open(&opening, Segments::Hot, SyncPolicy::default(), dir.path()),
        |mut open| {
            Bench::new(&mut open.writer, dir.path(), EVENT_BYTES)?.run(RATE, APPENDS, &mut costs)?;
            open.closer.seal(open.writer);
            Ok(())
        },
    )?;
    Ok(costs)
}
