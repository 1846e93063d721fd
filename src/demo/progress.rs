//! What is seen of the demo while it runs: a line that lives on a terminal, plain lines elsewhere.

use std::io::{IsTerminal, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

/// Counted by the algos as they go.
#[derive(Debug, Default)]
pub(super) struct Live {
    /// Orders sent.
    pub(super) orders: AtomicU64,
    /// Orders that the gateway has accepted.
    pub(super) accepted: AtomicU64,
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
    pub(super) fn say(&self, text: &str) {
        match self {
            Self::Quiet => {}
            Self::Lines { .. } => {
                say!("{text}");
                // A pipe that is closed is found by the next line.
                drop(std::io::stdout().flush());
            }
            Self::Bar(bar) => bar.println(text),
        }
    }

    /// Shows the counts.
    pub(super) fn show(&mut self, elapsed: Duration, live: &Live) {
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
                    say!("{:>5.1}s  {counts}", elapsed.as_secs_f32());
                    drop(std::io::stdout().flush());
                }
            }
            Self::Bar(bar) => {
                bar.set_position(elapsed.as_secs());
                bar.set_message(counts);
            }
        }
    }

    /// Takes the bar away.
    pub(super) fn finish(&self) {
        if let Self::Bar(bar) = self {
            bar.finish_and_clear();
        }
    }
}
