//! The producer of somebody who acts by hand: beside the shipper's, which it does not disturb.

use std::time::{Duration, Instant};

use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer, PurgeConfig};

use super::about::is_refused_for_good;
use super::cluster::{Cluster, Context, Who};
use super::tail::failed;
use super::trouble::Trouble;

/// A record, and what it is about.
pub(super) type Message<'a> = BaseRecord<'a, [u8], [u8], usize>;

/// A producer that fences every other who does the same, where the cluster has transactions.
pub(super) struct Desk<'a> {
    cluster: &'a Cluster,
    producer: BaseProducer<Context>,
    context: Context,
}

impl<'a> Desk<'a> {
    pub(super) fn open(cluster: &'a Cluster, act: &'static str) -> Result<Self, Trouble> {
        let context = Context::default();
        let producer = cluster.producer(Who::Hand(act), context.clone())?;
        Ok(Self { cluster, producer, context })
    }

    pub(super) fn begin(&self) -> Result<(), Trouble> {
        if !self.cluster.kafka.transactions {
            return Ok(());
        }
        self.producer.begin_transaction().map_err(failed("beginning a transaction"))
    }

    /// Gives a record to the client, which sends it with others: the error of one that it refuses for good.
    pub(super) fn post(&self, mut message: Message<'_>) -> Result<Option<KafkaError>, Trouble> {
        let since = Instant::now();
        while let Err((error, refused)) = self.producer.send(message) {
            if is_refused_for_good(&error) {
                return Ok(Some(error));
            }
            let is_full = error == KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull);
            if !is_full || since.elapsed() > self.cluster.timeout() {
                return Err(Trouble::of("sending a record", &error));
            }
            self.producer.poll(Duration::from_millis(1));
            message = refused;
        }
        Ok(None)
    }

    /// Sends a record, and waits for what becomes of it: the error of one that is refused for good.
    pub(super) fn send(&self, message: Message<'_>) -> Result<Option<KafkaError>, Trouble> {
        match self.post(message)? {
            None => self.told(),
            refused => Ok(refused),
        }
    }

    /// Waits for what becomes of all: the error of the first that is refused for good.
    pub(super) fn told(&self) -> Result<Option<KafkaError>, Trouble> {
        let since = Instant::now();
        while self.producer.in_flight_count() > 0 {
            self.producer.poll(Duration::from_millis(1));
            if let refused @ Some(_) = self.failure()? {
                return Ok(refused);
            }
            if since.elapsed() > self.cluster.timeout() {
                return Err(Trouble::Doubt("the cluster does not answer".to_owned()));
            }
        }
        self.failure()
    }

    fn failure(&self) -> Result<Option<KafkaError>, Trouble> {
        let mut reports = self.context.reports();
        let (refused, failure) = (reports.refused.first().map(|(_, error)| error.clone()), reports.failure.take());
        match (refused, failure) {
            // What comes behind a refusal in its transaction fails as well.
            (Some(error), _) => Ok(Some(error)),
            (None, Some((_, error))) => Err(Trouble::of("sending a record", &error)),
            (None, None) => Ok(None),
        }
    }

    /// Gives up the transaction: nothing of it counts.
    pub(super) fn give_up(&self) -> Result<(), Trouble> {
        self.producer.purge(PurgeConfig::default().queue());
        let since = Instant::now();
        while self.producer.in_flight_count() > 0 {
            self.producer.poll(Duration::from_millis(1));
            if since.elapsed() > self.cluster.timeout() {
                return Err(Trouble::Doubt("the cluster does not answer".to_owned()));
            }
        }
        let mut reports = self.context.reports();
        reports.refused.clear();
        reports.failure = None;
        drop(reports);
        if !self.cluster.kafka.transactions {
            return Ok(());
        }
        self.producer.abort_transaction(self.cluster.timeout()).map_err(failed("giving up a transaction"))
    }

    pub(super) fn commit(&self) -> Result<(), Trouble> {
        if !self.cluster.kafka.transactions {
            return Ok(());
        }
        self.producer.commit_transaction(self.cluster.timeout()).map_err(failed("committing"))
    }
}
