//! What can go wrong between the journal and the cluster, and what follows.

use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use tradecore_journal::ReadError;

/// Why a session of the shipper ended.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Trouble {
    /// What became of the last transaction is not known, or the cluster cannot be reached: a new session reads what
    /// is there.
    #[error("{0}")]
    Doubt(String),
    /// Another shipper of the same stream has claimed a later term: this one stops for good. To be fenced alone is a
    /// doubt: it may have been one that was superseded itself and did not know.
    #[error("{0}")]
    Superseded(String),
    /// The cluster holds what must not be added to, or is set up so that events would be lost: nothing is sent until
    /// that has changed.
    #[error("{0}")]
    Refused(String),
    /// The cluster does not let it be done: a right is missing, or it is too old. Nothing is sent until that has changed.
    #[error("{0}")]
    Unfit(String),
    /// The journal is not the one that the cluster has: that of another life, or of a host that was superseded.
    #[error("{0}")]
    Diverged(String),
    /// The journal cannot be read.
    #[error(transparent)]
    Journal(#[from] ReadError),
    /// A record that this release does not know.
    #[error("event {seq}: {text}")]
    Unknown {
        /// Its number.
        seq: u64,
        /// What is wrong.
        text: String,
    },
    /// JSON of this transaction is refused for good: it is given up, and made anew without that.
    #[error("a record of JSON is refused for good")]
    Refusal,
    /// The client does not take a message, which is nowhere then.
    #[error("the client does not take a message: {0}")]
    Unsent(KafkaError),
    /// It was asked to stop.
    #[error("stopped")]
    Stopped,
}

impl Trouble {
    /// The event store must have every event: nothing goes on without it.
    pub(super) fn event_refused(topic: &str, error: &KafkaError) -> Self {
        Self::Refused(format!(
            "topic {topic} refuses an event for good: {error}; nothing is shipped before it takes it: set \
             max.message.bytes of the topic to 1048588 or more, and take away what checks its records"
        ))
    }

    /// A failure of the client, with what was being done.
    pub(super) fn of(doing: &str, error: &KafkaError) -> Self {
        let code = match error {
            KafkaError::Transaction(error) => Some(error.code()),
            KafkaError::AdminOp(code) => Some(*code),
            error => error.rdkafka_error_code(),
        };
        let text = match code.and_then(advice) {
            Some(advice) => format!("{doing}: {error}; {advice}"),
            None => format!("{doing}: {error}"),
        };
        if code.is_some_and(is_unfit) { Self::Unfit(text) } else { Self::Doubt(text) }
    }
}

/// What does not pass by itself.
const fn is_unfit(code: RDKafkaErrorCode) -> bool {
    use RDKafkaErrorCode as C;
    matches!(
        code,
        C::TopicAuthorizationFailed
            | C::TransactionalIdAuthorizationFailed
            | C::ClusterAuthorizationFailed
            | C::GroupAuthorizationFailed
            | C::UnsupportedVersion
            | C::UnsupportedFeature
    )
}

/// The next step, where there is one.
const fn advice(code: RDKafkaErrorCode) -> Option<&'static str> {
    use RDKafkaErrorCode as C;
    match code {
        C::TopicAuthorizationFailed => {
            Some("allow the gateway's user WRITE, READ, DESCRIBE and DESCRIBE_CONFIGS of the topics")
        }
        C::TransactionalIdAuthorizationFailed => {
            Some("allow the gateway's user WRITE and DESCRIBE of the transactional id")
        }
        C::ClusterAuthorizationFailed => Some("allow the gateway's user IDEMPOTENT_WRITE of the cluster"),
        C::GroupAuthorizationFailed => Some("allow the worker's user READ of the groups that docs/postgres.md names"),
        C::SaslAuthenticationFailed | C::Authentication => Some("check sasl.username and the secret of sasl.password"),
        C::UnsupportedVersion | C::UnsupportedFeature => Some(
            "the cluster is too old, or lacks this: Apache Kafka 2.5 or later is needed, 1.0 or later with \
             ship.kafka.transactions = false",
        ),
        C::MessageTimedOut => Some("look at the brokers: their logs, and whether their disks have room"),
        C::KafkaStorageError => Some("the broker's disk has failed or is full"),
        C::NotEnoughReplicas | C::NotEnoughReplicasAfterAppend => Some("too few copies of the topic are in sync"),
        C::Fenced | C::ProducerFenced | C::InvalidProducerEpoch => Some("another shipper of this stream has begun"),
        C::UnknownTopicOrPartition | C::UnknownTopic | C::UnknownPartition => Some("a topic is missing"),
        _ => None,
    }
}
