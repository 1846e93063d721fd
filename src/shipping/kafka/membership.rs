//! Who of several workers has which stream: a consumer group whose members share the partitions of the event store.
//!
//! Partitions stand for streams, and nothing is read by this consumer: who has the partition of a stream folds the stream,
//! whatever partitions its events are in. That is a matter of who works, not of what is right: tables are kept right by
//! the position in their database.

use std::collections::BTreeSet;
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::topic_partition_list::TopicPartitionList;

use super::cluster::{Cluster, Context};
use super::lanes::places;
use super::tail::failed;
use super::trouble::Trouble;
use crate::shipping::domains::Stream;

/// The group of those who project the same streams: who knows of other ones is in another, so that each group has
/// somebody for each of its own.
#[must_use]
pub fn group_of(cluster: &Cluster, streams: &[Stream]) -> String {
    let mut names: Vec<String> = streams.iter().map(ToString::to_string).collect();
    names.sort();
    format!("{}tradecore-project-{}", cluster.kafka.topic_prefix, names.join("."))
}

/// A member of such a group.
pub struct Membership {
    consumer: BaseConsumer<Context>,
    /// The partition that stands for each stream.
    slots: Vec<(String, i32)>,
    /// Partitions that are ours. By name: a list of the client's own would keep it from ending.
    ours: BTreeSet<(String, i32)>,
    /// What was said of it since partitions were ours last.
    told: BTreeSet<String>,
}

impl Membership {
    /// Joins it.
    ///
    /// # Errors
    /// When a setting is wrong.
    pub fn join(cluster: &Cluster, streams: &[Stream]) -> Result<Self, Trouble> {
        let consumer = cluster.member(&group_of(cluster, streams))?;
        let mut sorted: Vec<String> = streams.iter().map(ToString::to_string).collect();
        sorted.sort();
        let places = places(cluster);
        // The partitions that stand for streams are shared, and no others: so who has as many as the rest has as much to do.
        let topics: BTreeSet<&str> = places.iter().take(streams.len()).map(|(_, topic, _)| topic.as_str()).collect();
        consumer.subscribe(&Vec::from_iter(topics)).map_err(failed("joining the group of workers"))?;
        // All members know the same streams: the first of them goes with the first partition.
        let slots = streams.iter().map(|stream| {
            let nth = sorted.iter().position(|name| *name == stream.to_string()).unwrap_or(0);
            let nth = nth.checked_rem(places.len()).unwrap_or(0);
            places.get(nth).map_or((String::new(), 0), |(_, topic, partition)| (topic.clone(), *partition))
        });
        let slots = slots.collect();
        Ok(Self { consumer, slots, ours: BTreeSet::new(), told: BTreeSet::new() })
    }

    /// Which of the streams are this member's, now. To be asked again and again: who does not is taken for dead.
    pub fn poll(&mut self, wait: Duration) -> Vec<bool> {
        if let Some(Err(error)) = self.consumer.poll(wait) {
            let text = Trouble::of("the group of workers", &error).to_string();
            if !self.told.contains(&text) {
                tracing::warn!("{text}; that is tried on");
                self.told.insert(text);
            }
        }
        // Without an answer of its own the client knows of nothing that is ours.
        let list = self.consumer.assignment().unwrap_or_else(|_| TopicPartitionList::new());
        let ours = list.elements().iter().map(|place| (place.topic().to_owned(), place.partition())).collect();
        if ours != self.ours {
            if list.count() > 0 {
                self.told.clear();
                if let Err(error) = self.consumer.pause(&list) {
                    tracing::debug!(%error, "partitions are read that need not be");
                }
            }
            self.ours = ours;
        }
        self.slots.iter().map(|slot| self.ours.contains(slot)).collect()
    }
}
