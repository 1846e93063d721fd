//! What somebody must know now: alerts, each of a kind that is declared here once.
//!
//! What is journaled is told of with the event, in the same transaction, and so exactly once. All else is raised by side
//! threads into one queue of the process, which is shipped when the cluster can be reached: it has a bound, the oldest
//! are left out, and counted. `docs/alerts.md` is made from the declaration.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde_json::json;
use tradecore_domain::event::Event;
use tradecore_protocol::fields::TradingState;

use super::domains::{Aggregate, Stream};
use super::fields::{Meaning, meaning};
use super::json::{Utc, text_of};

/// Alerts that wait for the cluster.
pub const WAITING_MAX: usize = 256;

/// How soon somebody must act.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// Now.
    Critical,
    /// Today.
    Warning,
}

impl Severity {
    /// As alerts spell it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Critical => "critical",
            Self::Warning => "warning",
        }
    }
}

macro_rules! kinds {
    ($($(#[doc = $doc:literal])* $Name:ident $name:literal $Severity:ident $source:literal next $next:literal,)*) => {
        /// What an alert is about.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Kind { $($(#[doc = $doc])* $Name,)* }

        impl Kind {
            /// Every kind.
            pub const ALL: &'static [Self] = &[$(Self::$Name),*];

            /// As topics and alerts spell it.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$Name => $name,)* }
            }

            /// Topic of the alerts of this kind.
            #[must_use]
            pub const fn topic(self) -> &'static str {
                match self { $(Self::$Name => concat!("alerts.", $name),)* }
            }

            /// How soon somebody must act.
            #[must_use]
            pub const fn severity(self) -> Severity {
                match self { $(Self::$Name => Severity::$Severity,)* }
            }

            /// What has happened.
            #[must_use]
            pub const fn doc(self) -> &'static str {
                match self { $(Self::$Name => concat!($($doc),*),)* }
            }

            /// What tells of it.
            #[must_use]
            pub const fn source(self) -> &'static str {
                match self { $(Self::$Name => $source,)* }
            }

            /// What to do.
            #[must_use]
            pub const fn next_step(self) -> &'static str {
                match self { $(Self::$Name => $next,)* }
            }
        }
    };
}

kinds! {
    /// Trading of an account, or of all of the core (account 0), is no longer open.
    TradingState "trading-state" Critical "`TradingStateChanged`"
        next "settle what the reason names; tradecore kill off --reopen opens it then, with --account for an account alone",
    /// A kill switch was engaged.
    KillSwitch "kill-switch" Critical "`KillSwitchChanged`"
        next "see who engaged it and why; tradecore kill off lifts it",
    /// The outcome of an order is unknown; the broker is asked.
    OrderInDoubt "order-in-doubt" Warning "`OrderInDoubt`"
        next "tradecore order status; if the doubt does not end with the broker's answer, ask the broker",
    /// The broker said something that contradicts what is known.
    BrokerContradiction "broker-contradiction" Critical "`BrokerContradicted`"
        next "compare the order with the broker's own record; tradecore trace shows what was said",
    /// Nothing is shipped: the topics are set up or used such that it cannot be, or the journal cannot be read.
    ShippingRefused "shipping-refused" Critical "the shipper"
        next "tradecore ship status on this host tells why and what to change; events wait in the journal until then",
    /// The cluster could not be reached.
    ClusterAway "cluster-away" Critical "the shipper, when the cluster is back"
        next "see why the cluster was away; tradecore ship status shows what is still to be shipped",
    /// The cluster does not have what it had acknowledged.
    ShippingLoss "shipping-loss" Critical "the shipper's audit"
        next "it is shipped again by itself; tradecore ship verify shows whether all is there, and see what the cluster lost",
    /// An event as JSON was refused by its topic, and is among the dead letters.
    DeadLetter "dead-letter" Warning "the shipper, with the dead letter"
        next "tradecore dlq show tells the reason; then tradecore dlq retry, or discard",
    /// Shippers keep more and more of the journal.
    JournalBacklog "journal-backlog" Critical "who looks after what readers keep, at 50, 80 and 95 % of the bound"
        next "tradecore ship status tells who does not come on; from 95 % on there are cancels only",
    /// Tables of the read model differ from the journal.
    DataIntegrity "data-integrity" Critical "who compares tables with the journal, and who writes them"
        next "the gateway makes them anew, unless the text names who must; tradecore projection status tells when that is done",
}

/// Something that somebody must know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alert {
    /// What it is about.
    pub kind: Kind,
    /// The event that it tells of, or up to which all was well; 0 for none.
    pub seq: u64,
    /// When it happened, ns UTC.
    pub time_ns: u64,
    /// What has happened, for people.
    pub text: String,
}

impl Alert {
    /// The alert that an event is, if it is one.
    #[must_use]
    pub fn of(event: &Event, seq: u64, time_ns: u64) -> Option<Self> {
        let reason = |raw: u16| name("reason", raw.into());
        let scope = |account_id: u32| match account_id {
            0 => "the core".to_owned(),
            account_id => format!("account {account_id}"),
        };
        let (kind, text) = match event {
            Event::TradingStateChanged(e) if e.state != TradingState::Open.raw() => {
                let state =
                    TradingState::from_raw(e.state).map_or_else(|| e.state.to_string(), |s| s.name().to_owned());
                (Kind::TradingState, format!("{} is {state}: {}", scope(e.meta.account_id), reason(e.reason)))
            }
            Event::KillSwitchChanged(e) if e.engaged != 0 => {
                let tag = text_of(&e.operator_tag);
                (Kind::KillSwitch, format!("the kill switch of {} is engaged: {tag}", scope(e.meta.account_id)))
            }
            Event::OrderInDoubt(e) => {
                let order = Aggregate::of(event);
                (Kind::OrderInDoubt, format!("the outcome of {order} is unknown: {}", reason(e.reason)))
            }
            Event::BrokerContradicted(e) => {
                let of = Aggregate::of(event);
                (
                    Kind::BrokerContradiction,
                    format!("the broker contradicts what is known of {of}: {}", reason(e.reason)),
                )
            }
            _ => return None,
        };
        Some(Self { kind, seq, time_ns, text })
    }

    /// As it is shipped.
    #[must_use]
    pub fn to_json(&self, stream: Stream) -> String {
        let Self { kind, seq, time_ns, text } = self;
        json!({
            "id": format!("{stream}/{}/{seq}/{time_ns}", kind.name()),
            "kind": kind.name(),
            "severity": kind.severity().name(),
            "stream": stream.to_string(),
            "seq": seq.to_string(),
            "time": Utc(*time_ns).to_string(),
            "text": text,
            "next_step": kind.next_step(),
        })
        .to_string()
    }
}

/// The name of a code, or its number.
fn name(field: &str, raw: u32) -> String {
    let known = match meaning(field) {
        Some(Meaning::Code(codes)) => (codes.name_of)(raw),
        _ => None,
    };
    known.map_or_else(|| raw.to_string(), str::to_owned)
}

/// Alerts that were raised and are not shipped.
#[derive(Debug)]
pub struct Waiting {
    alerts: VecDeque<(u64, Alert)>,
    raised: u64,
    left_out: u64,
}

/// Those of this process: who raises one need not know whether they are shipped, or by whom.
static WAITING: Mutex<Waiting> = Mutex::new(Waiting::new());

/// Raises an alert: from side threads only. It is in the log as well, since nobody may read the topics.
pub fn raise(kind: Kind, seq: u64, text: String) {
    tracing::error!(alert = kind.name(), seq, next_step = kind.next_step(), "{text}");
    waiting().push(Alert { kind, seq, time_ns: crate::clock::utc_ns(), text });
}

/// Says in the log that what an alert told of is over.
pub fn clear(kind: Kind, text: &str) {
    tracing::info!(alert = kind.name(), "{text}");
}

/// The queue of this process.
pub fn waiting() -> MutexGuard<'static, Waiting> {
    WAITING.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Waiting {
    /// None.
    #[must_use]
    pub const fn new() -> Self {
        Self { alerts: VecDeque::new(), raised: 0, left_out: 0 }
    }

    fn push(&mut self, alert: Alert) {
        if self.alerts.len() >= WAITING_MAX {
            self.alerts.pop_front();
            self.left_out = self.left_out.saturating_add(1);
        }
        self.alerts.push_back((self.raised, alert));
        self.raised = self.raised.saturating_add(1);
    }

    /// All of them, the oldest first; each has a number, by which what was shipped is taken away.
    pub fn iter(&self) -> impl Iterator<Item = &(u64, Alert)> {
        self.alerts.iter()
    }

    /// Takes those with these numbers away.
    pub fn shipped(&mut self, numbers: &[u64]) {
        self.alerts.retain(|(known, _)| !numbers.contains(known));
    }

    /// One that never waited was left out.
    pub const fn leave_out(&mut self) {
        self.left_out = self.left_out.saturating_add(1);
    }

    /// Alerts that were left out since the process started.
    #[must_use]
    pub const fn left_out(&self) -> u64 {
        self.left_out
    }
}

impl Default for Waiting {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests;
