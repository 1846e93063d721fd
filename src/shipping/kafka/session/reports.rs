//! What became of the messages of a session, as the client reports it, and what follows.

use std::time::{Duration, Instant};

use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::Producer;

use super::super::about::{About, is_refused_for_good};
use super::super::trouble::Trouble;
use super::{REPORT_WAIT_MAX, REPORTS_WAIT, Session};

impl Session<'_> {
    /// Takes in what the client has to report, or waits a little.
    pub(super) fn listen(&self) {
        let before = self.producer.in_flight_count();
        self.producer.poll(Duration::ZERO);
        if self.producer.in_flight_count() >= before {
            std::thread::sleep(REPORTS_WAIT);
        }
    }

    /// Until the cluster has said of each message what became of it. The client's own `flush` looks ten times a second.
    pub(super) fn wait_for_reports(&self, timeout: Duration) -> Result<(), Trouble> {
        let since = Instant::now();
        while self.producer.in_flight_count() > 0 {
            self.listen();
            self.failure()?;
            if since.elapsed() > timeout {
                let error = KafkaError::Flush(RDKafkaErrorCode::OperationTimedOut);
                return Err(self.explained("sending a transaction", &error));
            }
        }
        self.failure()
    }

    /// What became of messages that were sent; a lost one stops everything behind it.
    pub(super) fn failure(&self) -> Result<(), Trouble> {
        if !self.context.reports().has_failure() {
            return Ok(());
        }
        // The first report need not be of the cause: the client gives up what waits as well.
        let since = Instant::now();
        while self.producer.in_flight_count() > 0 && since.elapsed() < self.cause_wait() {
            self.listen();
        }
        let mut reports = self.context.reports();
        let (failure, is_refused) = (reports.failure.take(), !reports.refused.is_empty());
        drop(reports);
        match failure {
            Some((About::Event(index), error)) if is_refused_for_good(&error) => {
                let domain = index.checked_div(self.cluster.kafka.partitions as usize).unwrap_or(0);
                let topic = self.topics.get(domain).map(String::as_str).unwrap_or_default();
                Err(Trouble::event_refused(topic, &error))
            }
            // After a refusal of JSON the client refuses the rest of the transaction.
            Some(_) | None if is_refused => Err(Trouble::Refusal),
            Some((_, error)) => Err(self.explained("sending an event", &error)),
            None => Ok(()),
        }
    }

    /// How long the cause of a failure is waited for: where all that is known was only given up, it must still come.
    fn cause_wait(&self) -> Duration {
        if self.context.reports().has_cause() { REPORT_WAIT_MAX } else { self.cluster.timeout() }
    }

    /// With what the client has said of its connections.
    pub(super) fn explained(&self, doing: &str, error: &KafkaError) -> Trouble {
        // Of what was on its way when it was fenced the client tells only that it was purged.
        let fatal = self.producer.client().fatal_error().map(|(code, _)| KafkaError::Global(code));
        let cause = fatal.or_else(|| self.cause_of(error));
        self.context.explained(doing, cause.as_ref().unwrap_or(error))
    }

    /// Nor does it tell why a transaction has failed, of which all was given up; but who would begin another is told.
    fn cause_of(&self, error: &KafkaError) -> Option<KafkaError> {
        use RDKafkaErrorCode::{PurgeInflight, PurgeQueue, State};
        let is_given_up = matches!(error.rdkafka_error_code(), Some(PurgeInflight | PurgeQueue));
        let is_asked = is_given_up && self.is_open && self.cluster.kafka.transactions;
        let told = if is_asked { self.producer.begin_transaction().err()? } else { return None };
        (told.rdkafka_error_code() != Some(State)).then_some(told)
    }
}
