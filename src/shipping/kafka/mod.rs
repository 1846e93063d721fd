//! The journal to a Kafka-compatible cluster, exactly once. `docs/kafka.md` is the contract with those who read there.
//!
//! | file | owns |
//! |---|---|
//! | `cluster.rs` | how the cluster is spoken to: clients, their settings, names of topics |
//! | `topics.rs` | topics: made where they are missing, refused where they are unsafe |
//! | `progress.rs` | the record that says how far a stream is shipped |
//! | `tail.rs` | what the cluster has, read back |
//! | `transport.rs` | events as JSON, and what becomes of those that the cluster refuses |
//! | `letters.rs` | dead letters: read, sent again, put aside |
//! | `replay.rs` | JSON that is sent again |
//! | `find.rs` | single events, found again |
//! | `desk.rs` | the producer of somebody who acts by hand |
//! | `about.rs` | what a message is about, as the report of its delivery names it |
//! | `beginning.rs` | where a session begins, in the journal that the cluster's events came from |
//! | `session.rs` | one life of a producer: from the fence to the first doubt |
//! | `session/reports.rs` | what became of its messages |
//! | `audit.rs` | that the cluster still has what it has acknowledged |
//! | `watch.rs` | what stands in place of the fence where there are no transactions |
//! | `signs.rs` | signs of life, and alerts of the process |
//! | `shipper.rs` | one session after the other; waits in between |
//! | `term.rs` | which term this host has claimed, written down for when it comes back |
//! | `standing.rs` | why it does not ship, written down for who asks on this host |
//! | `trouble.rs` | what can go wrong, and what follows |
//! | `lease.rs` | who may trade: the lease that a commit renews |
//! | `lanes.rs`, `merge.rs` | every partition read by itself; all of them as one stream, in the order of the journal |
//! | `proof.rs` | that the topics hold each event exactly once, in order |
//! | `restore.rs` | the journal made anew from the topics |
//! | `feed.rs`, `membership.rs` | the stream as it comes, for who folds it; who of several does so |
//!
//! Nothing that was sent is ever sent again by hand: at the first doubt the producer is dropped, a new one fences it,
//! and what the cluster has is read before anything else is sent.

mod about;
mod audit;
mod beginning;
mod cluster;
mod desk;
mod feed;
mod find;
mod lanes;
mod lease;
mod letters;
mod membership;
mod merge;
mod progress;
mod proof;
mod replay;
mod restore;
mod session;
mod shipper;
mod signs;
mod standing;
mod tail;
mod term;
mod topics;
mod transport;
mod trouble;
mod watch;

pub use beginning::check_place;
pub use cluster::Cluster;
pub use feed::{Feed, FeedError, Known};
pub use find::{Sought, Spot, find};
pub use letters::{Act, DeadLetter, Decided, Letters, Outcome};
pub use membership::{Membership, group_of};
pub use merge::Group;
pub use progress::Progress;
pub use proof::{Flaw, Proof, prove};
pub use replay::{Replay, Replayed, replay};
pub use restore::{RestoreTrouble, Restored, restore};
pub use shipper::{End, Shipper};
pub use standing::Standing;
pub use tail::progress;
pub use trouble::Trouble;
