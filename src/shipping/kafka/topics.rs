//! Topics: made where they are missing, and refused where their settings would lose events.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll, Wake, Waker};
use std::thread::Thread;

use rdkafka::admin::{AdminOptions, ConfigResource, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::consumer::Consumer;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::metadata::MetadataTopic;

use super::cluster::{Cluster, explained};
use super::trouble::Trouble;
use crate::shipping::alerts::Kind;
use crate::shipping::domains::{Channel, Domain};

/// What a topic is for: how long it must keep its records follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Purpose {
    /// The journal's records.
    Events,
    /// Events as JSON.
    Transport,
    /// What of these was refused, and what people did about it.
    Letters,
    /// What somebody must know now.
    Alerts,
    /// Signs of life.
    Health,
    Progress,
}

const DAY_MS: i64 = 86_400_000;
/// What the client puts into one request to a partition, and a little more.
pub(super) const BATCH_BYTES_MAX: i64 = 1_000_000;

impl Purpose {
    /// `None`: for ever, the last of each key.
    const fn retention_ms(self) -> Option<i64> {
        let days = match self {
            // Ten years, as the law of more than one country wants to have orders kept.
            Self::Events => 3_650,
            Self::Transport | Self::Health => 7,
            Self::Letters => 30,
            Self::Alerts => 90,
            Self::Progress => return None,
        };
        Some(DAY_MS.saturating_mul(days))
    }
}

struct Wanted {
    name: String,
    partitions: u32,
    purpose: Purpose,
}

fn wanted(cluster: &Cluster) -> Vec<Wanted> {
    let partitions = cluster.kafka.partitions;
    let mut wanted = Vec::new();
    let mut want = |name, partitions, purpose| wanted.push(Wanted { name, partitions, purpose });
    for domain in Domain::ALL {
        want(cluster.topic(*domain), partitions, Purpose::Events);
    }
    for channel in Channel::all().filter(|_| cluster.kafka.transport) {
        want(cluster.channel_topic(channel), partitions, Purpose::Transport);
        want(cluster.letter_topic(channel), 1, Purpose::Letters);
    }
    for kind in Kind::ALL {
        want(cluster.alert_topic(*kind), 1, Purpose::Alerts);
    }
    if cluster.kafka.health_s > 0 {
        want(cluster.health_topic(), 1, Purpose::Health);
    }
    want(cluster.progress_topic(), 1, Purpose::Progress);
    wanted
}

impl Wanted {
    /// The settings that it is made with.
    fn settings(&self, min_insync_replicas: u32) -> Vec<(&'static str, String)> {
        let mut settings = vec![
            ("min.insync.replicas", min_insync_replicas.to_string()),
            ("unclean.leader.election.enable", "false".to_owned()),
        ];
        settings.extend(match self.purpose.retention_ms() {
            // Small, so that it is compacted soon: it is read backwards at each start.
            None => vec![
                ("cleanup.policy", "compact".to_owned()),
                ("segment.bytes", (16_u32 << 20).to_string()),
                ("min.cleanable.dirty.ratio", "0.1".to_owned()),
            ],
            Some(retention_ms) => vec![
                ("cleanup.policy", "delete".to_owned()),
                ("retention.ms", retention_ms.to_string()),
                ("retention.bytes", "-1".to_owned()),
                // From when the cluster got it, whatever the journal's clock said.
                ("message.timestamp.type", "LogAppendTime".to_owned()),
            ],
        });
        settings
    }

    /// What is unsafe about a topic, and what to change.
    fn flaws(&self, of: &dyn Fn(&str) -> Option<String>, min_insync_replicas: u32) -> Vec<String> {
        let number = |name: &str| of(name).and_then(|value| value.parse::<i64>().ok());
        let mut flaws = Vec::new();
        let mut flaw = |name: &str, wanted: &str, why: &str| {
            let found = of(name).unwrap_or_else(|| "not told".to_owned());
            flaws.push(format!("topic {}: {name} is {found}: {why}; set it to {wanted}", self.name));
        };
        let retention_ms = self.purpose.retention_ms();
        let policy = if retention_ms.is_none() { "compact" } else { "delete" };
        if of("cleanup.policy").as_deref() != Some(policy) {
            flaw("cleanup.policy", policy, "records would be removed that are needed");
        }
        if of("unclean.leader.election.enable").as_deref() == Some("true") {
            flaw("unclean.leader.election.enable", "false", "a copy that is behind would become the truth");
        }
        // Redpanda has no such setting, and tells none: there a majority of the copies counts, whose number is looked at.
        if number("min.insync.replicas").is_some_and(|copies| copies < i64::from(min_insync_replicas)) {
            let wanted = format!("{min_insync_replicas} or more");
            flaw("min.insync.replicas", &wanted, "an event would count that too few hosts have");
        }
        if of("write.caching").as_deref() == Some("true") {
            flaw("write.caching", "false", "an event would count that is on no disk yet");
        }
        // With many partitions progress is as large.
        if matches!(self.purpose, Purpose::Events | Purpose::Progress)
            && number("max.message.bytes").is_some_and(|bytes| bytes < BATCH_BYTES_MAX)
        {
            flaw("max.message.bytes", "1048588 or more", "what nothing is shipped without would be refused");
        }
        if let Some(retention_ms) = retention_ms {
            if number("retention.ms").is_none_or(|ms| (0..retention_ms).contains(&ms)) {
                flaw("retention.ms", &format!("-1, or {retention_ms} or more"), "events would be removed");
            }
            if number("retention.bytes").is_none_or(|bytes| bytes >= 0) {
                flaw("retention.bytes", "-1", "events would be removed");
            }
        }
        flaws
    }
}

/// Makes the topics that are missing, if it may, and looks at all of them.
///
/// # Errors
/// `Refused` with all that is to change.
pub(super) fn check(cluster: &Cluster) -> Result<(), Trouble> {
    let admin = cluster.admin()?;
    let looker = cluster.consumer(true)?;
    let doubt = |doing: &'static str| move |error| Trouble::of(doing, &error);
    let options =
        AdminOptions::new().request_timeout(Some(cluster.timeout())).operation_timeout(Some(cluster.timeout()));
    let wanted = wanted(cluster);
    let min_insync_replicas = cluster.kafka.min_insync_replicas;

    // Of all topics: to ask for one by name can make it, with whatever settings.
    let found =
        |doing| looker.fetch_metadata(None, cluster.timeout()).map_err(|error| explained(&looker, doing, &error));
    let metadata = found("looking for the topics")?;
    let missing = |topic: &&Wanted| !metadata.topics().iter().any(|known| known.name() == topic.name);
    let missing: Vec<&Wanted> = wanted.iter().filter(missing).collect();
    if !missing.is_empty() {
        if !cluster.kafka.create_topics {
            let names: Vec<&str> = missing.iter().map(|topic| topic.name.as_str()).collect();
            let problem = "missing, and ship.kafka.create_topics is false; docs/kafka.md tells their settings";
            return Err(Trouble::Refused(format!("topics {}: {problem}", names.join(", "))));
        }
        let settings: Vec<_> = missing.iter().map(|topic| topic.settings(min_insync_replicas)).collect();
        let copies = i32::try_from(cluster.kafka.replication_factor).unwrap_or(i32::MAX);
        let new: Vec<NewTopic<'_>> = missing
            .iter()
            .zip(&settings)
            .map(|(topic, settings)| {
                let partitions = i32::try_from(topic.partitions).unwrap_or(i32::MAX);
                let new = NewTopic::new(&topic.name, partitions, TopicReplication::Fixed(copies));
                settings.iter().fold(new, |new, (name, value)| new.set(name, value))
            })
            .collect();
        for made in wait_for(admin.create_topics(&new, &options)).map_err(doubt("making the topics"))? {
            match made {
                Ok(name) => tracing::info!(name, "topic made"),
                // Another core's shipper was faster; or it is not shown to this user, which is seen below.
                Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
                Err((name, code @ RDKafkaErrorCode::TopicAuthorizationFailed)) => {
                    return Err(Trouble::Unfit(format!(
                        "topic {name} cannot be made: {code}; allow the gateway's user CREATE of the topics, or make it by \
                         hand as docs/kafka.md tells"
                    )));
                }
                // A cluster that has just begun, or has much to do.
                Err((
                    name,
                    code @ (RDKafkaErrorCode::RequestTimedOut
                    | RDKafkaErrorCode::OperationTimedOut
                    | RDKafkaErrorCode::NotController
                    | RDKafkaErrorCode::BrokerNotAvailable),
                )) => return Err(Trouble::Doubt(format!("topic {name} is not made yet: {code}"))),
                Err((name, code)) => {
                    return Err(Trouble::Refused(format!(
                        "topic {name} cannot be made with {copies} copies: {code}; make it by hand, or set \
                         ship.kafka.replication_factor and min_insync_replicas to what the cluster has"
                    )));
                }
            }
        }
    }

    let metadata = found("looking at the topics")?;
    let specifiers: Vec<ResourceSpecifier<'_>> =
        wanted.iter().map(|topic| ResourceSpecifier::Topic(&topic.name)).collect();
    let configs = wait_for(admin.describe_configs(&specifiers, &options)).map_err(doubt("asking for settings"))?;
    let mut flaws = Vec::new();
    for (topic, config) in wanted.iter().zip(configs) {
        let Some(known) = metadata.topics().iter().find(|known| known.name() == topic.name) else {
            // It is there: that it is asked for by name makes none.
            let of_one =
                looker.fetch_metadata(Some(&topic.name), cluster.timeout()).map_err(doubt("looking for a topic"))?;
            if let Some(error) = of_one.topics().iter().find_map(MetadataTopic::error) {
                let code = KafkaError::MetadataFetch(error.into());
                return Err(Trouble::of(&format!("looking for topic {}", topic.name), &code));
            }
            // It was made a moment ago, and not every broker knows it yet.
            return Err(Trouble::Doubt(format!("topic {} is not known to every broker yet", topic.name)));
        };
        let partitions = known.partitions().len();
        if partitions != topic.partitions as usize {
            let wanted = topic.partitions;
            flaws.push(format!(
                "topic {}: it has {partitions} partitions, and ship.kafka.partitions says {wanted}: events would be \
                 looked for where they are not; configure {partitions}, or another ship.kafka.topic_prefix",
                topic.name
            ));
        }
        let copies = known.partitions().iter().map(|partition| partition.replicas().len()).min().unwrap_or(0);
        if copies < cluster.kafka.replication_factor as usize {
            let wanted = cluster.kafka.replication_factor;
            flaws.push(format!("topic {}: it has {copies} copies; reassign it to {wanted}", topic.name));
        }
        let config = config.map_err(|code| {
            Trouble::of(&format!("asking for settings of {}", topic.name), &KafkaError::Global(code))
        })?;
        flaws.extend(topic.flaws(&|name| value_of(&config, name), min_insync_replicas));
    }
    if flaws.is_empty() { Ok(()) } else { Err(Trouble::Refused(flaws.join("; "))) }
}

fn value_of(config: &ConfigResource, name: &str) -> Option<String> {
    config.get(name)?.value.clone()
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Waits for an answer of the cluster on this thread; the request has a time limit of its own.
fn wait_for<F: Future>(future: F) -> F::Output {
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut TaskContext::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => std::thread::park(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topic(purpose: Purpose) -> Wanted {
        Wanted { name: "t".to_owned(), partitions: 8, purpose }
    }

    fn flaws(topic: &Wanted, changed: &[(&str, &str)]) -> Vec<String> {
        let settings = topic.settings(2);
        let of = |name: &str| {
            let changed = changed.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
            changed.or_else(|| settings.iter().find(|(known, _)| *known == name).map(|(_, value)| value.clone()))
        };
        topic.flaws(&of, 2)
    }

    #[test]
    fn the_settings_that_a_topic_is_made_with_are_accepted_and_each_unsafe_one_is_refused_by_name() {
        assert!(flaws(&topic(Purpose::Events), &[]).is_empty());
        assert!(flaws(&topic(Purpose::Progress), &[]).is_empty());
        for safe in [("retention.ms", "-1"), ("min.insync.replicas", "3"), ("retention.ms", "315360000001")] {
            assert!(flaws(&topic(Purpose::Events), &[safe]).is_empty(), "{safe:?}");
        }
        let of_redpanda = |name: &str| {
            let settings = topic(Purpose::Events).settings(2);
            let told = settings.iter().find(|(known, _)| *known == name && name != "min.insync.replicas");
            told.map(|(_, value)| value.clone()).or_else(|| (name == "write.caching").then(|| "false".to_owned()))
        };
        assert!(topic(Purpose::Events).flaws(&of_redpanda, 2).is_empty(), "who has no such setting tells none");
        let unsafe_of_events = [
            ("cleanup.policy", "compact"),
            ("cleanup.policy", "compact,delete"),
            ("retention.ms", "604800000"),
            ("retention.ms", "?"),
            ("retention.bytes", "1000000"),
            ("unclean.leader.election.enable", "true"),
            ("min.insync.replicas", "1"),
            ("write.caching", "true"),
            ("max.message.bytes", "65536"),
        ];
        for (name, value) in unsafe_of_events {
            let found = flaws(&topic(Purpose::Events), &[(name, value)]);
            assert_eq!(found.len(), 1, "{name}={value}: {found:?}");
            assert!(found[0].contains(name) && found[0].contains("set it to"), "{found:?}");
        }
        for unsafe_of_progress in [("cleanup.policy", "delete"), ("max.message.bytes", "65536")] {
            assert_eq!(flaws(&topic(Purpose::Progress), &[unsafe_of_progress]).len(), 1, "{unsafe_of_progress:?}");
        }
        let days = [
            (Purpose::Events, 3_650),
            (Purpose::Transport, 7),
            (Purpose::Letters, 30),
            (Purpose::Alerts, 90),
            (Purpose::Health, 7),
        ];
        for (purpose, days) in days {
            let least_ms: i64 = days * 24 * 3_600 * 1_000;
            assert!(flaws(&topic(purpose), &[("retention.ms", &least_ms.to_string())]).is_empty(), "{purpose:?}");
            let found = flaws(&topic(purpose), &[("retention.ms", &(least_ms - 1).to_string())]);
            assert!(found.len() == 1 && found[0].contains(&least_ms.to_string()), "{purpose:?}: {found:?}");
        }
    }
}
