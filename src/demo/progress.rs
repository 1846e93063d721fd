//! What is seen of the demo while it runs: a line that lives on a terminal, plain lines elsewhere.

use std::io::IsTerminal;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use super::Failure;

/// Counted by the algos as they go.
#[derive(Debug, Default)]
pub(super) struct Live {
    /// Orders sent.
    pub(super) orders: AtomicU64,
    /// Orders that were sent and that neither the gateway has refused nor the venue answered.
    pub(super) on_their_way: AtomicU64,
    /// Orders that were sent after the last strike and that the venue has acknowledged.
    pub(super) acknowledged: AtomicU64,
    /// How often processes were killed: raised once they are gone.
    pub(super) strikes: AtomicU64,
    /// Fills seen.
    pub(super) fills: AtomicU64,
    /// Rejects and refusals seen.
    pub(super) rejects: AtomicU64,
    /// Connections lost.
    pub(super) reconnects: AtomicU64,
}

/// How progress is shown.
pub(super) enum Progress {
    /// Not at all.
    Quiet,
    /// A line a second.
    Lines {
        /// When the algos started.
        started: Instant,
        /// When the next line is due.
        next: Duration,
    },
    /// A bar with the counts.
    Bar(ProgressBar),
}

impl Progress {
    /// For so many seconds; a bar when people look at it.
    pub(super) fn new(quiet: bool, seconds: u64) -> Self {
        if quiet {
            Self::Quiet
        } else if std::io::stdout().is_terminal() {
            let bar = ProgressBar::new(seconds);
            let style = ProgressStyle::with_template("{bar:30.green} {pos:>4}/{len} s  {msg}");
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
            Self::Bar(bar)
        } else {
            Self::Lines { started: Instant::now(), next: Duration::from_secs(1) }
        }
    }

    /// Says that something happened.
    pub(super) fn say(&self, text: &str) -> Result<(), Failure> {
        match self {
            Self::Quiet => Ok(()),
            Self::Lines { .. } => super::say(text),
            Self::Bar(bar) => {
                bar.println(text);
                Ok(())
            }
        }
    }

    /// Shows the counts.
    pub(super) fn show(&mut self, elapsed: Duration, live: &Live) -> Result<(), Failure> {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let counts = format!(
            "{} orders, {} fills, {} rejects, {} reconnects",
            of(&live.orders),
            of(&live.fills),
            of(&live.rejects),
            of(&live.reconnects)
        );
        match self {
            Self::Quiet => {}
            Self::Lines { started, next } => {
                if started.elapsed() >= *next {
                    *next = next.saturating_add(Duration::from_secs(1));
                    super::say(&format!("{:>5.1}s  {counts}", elapsed.as_secs_f32()))?;
                }
            }
            Self::Bar(bar) => {
                bar.set_position(elapsed.as_secs());
                bar.set_message(counts);
            }
        }
        Ok(())
    }

    /// Takes the bar away.
    pub(super) fn finish(&self) {
        if let Self::Bar(bar) = self {
            bar.finish_and_clear();
        }
    }
}
