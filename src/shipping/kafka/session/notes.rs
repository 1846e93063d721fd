//! Alerts and signs of life in a transaction.

use std::sync::atomic::AtomicBool;

use rdkafka::producer::BaseRecord;

use super::super::about::About;
use super::super::transport::Transport;
use super::super::trouble::Trouble;
use super::Session;
use crate::shipping::alerts::{self, Alert, Kind};

impl Session<'_> {
    /// Adds an alert to the transaction; false when its topic takes none.
    pub(in super::super) fn send_alert(
        &mut self,
        alert: &Alert,
        transport: &mut Transport,
        stop: &AtomicBool,
    ) -> Result<bool, Trouble> {
        let (topic, value) = (self.cluster.alert_topic(alert.kind), alert.to_json(self.cluster.stream));
        self.send_note(&topic, alert.kind as usize, &value, transport, stop)
    }

    /// The same, of one that is told of with its event or not at all.
    pub(super) fn send_journaled(
        &mut self,
        alert: &Alert,
        transport: &mut Transport,
        stop: &AtomicBool,
    ) -> Result<(), Trouble> {
        // Once, though the transaction may be made anew.
        if !self.send_alert(alert, transport, stop)? && transport.leave_out((alert.seq, alert.kind)) {
            tracing::error!(alert = alert.kind.name(), seq = alert.seq, "{}", alert.text);
            alerts::waiting().leave_out();
        }
        Ok(())
    }

    /// Adds a sign of life to the transaction.
    pub(in super::super) fn send_life(
        &mut self,
        value: &str,
        transport: &mut Transport,
        stop: &AtomicBool,
    ) -> Result<bool, Trouble> {
        self.send_note(&self.cluster.health_topic(), Kind::ALL.len(), value, transport, stop)
    }

    /// What nobody needs to go on: a topic that refuses one gets none for a while.
    fn send_note(
        &mut self,
        topic: &str,
        index: usize,
        value: &str,
        transport: &mut Transport,
        stop: &AtomicBool,
    ) -> Result<bool, Trouble> {
        if transport.is_silent(index) {
            return Ok(false);
        }
        let about = About::Note(index);
        let note = BaseRecord::with_opaque_to(topic, about.word())
            .key(self.stream.as_bytes())
            .payload(value.as_bytes())
            .partition(0);
        match self.hand_over(note, stop) {
            Err(Trouble::Unsent(error)) => {
                transport.refuse(about, &error);
                Ok(false)
            }
            sent => sent.map(|()| true),
        }
    }
}
