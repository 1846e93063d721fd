//! One life of a producer: from the fence to the first doubt.
//!
//! Order matters at the start: `init_transactions` fences every older producer and ends what it has left open; only
//! then is what the cluster has read back, for only then can nobody add to it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer, PurgeConfig};
use tradecore_domain::event::Event;
use tradecore_journal::crc32c;
use tradecore_journal::{Reader, Record, Until};

use super::about::{About, Piece, is_refused_for_good};
use super::beginning::{Identity, check_journal, check_last, check_progress, check_tails, known, last_seq, reader};
use super::cluster::{Cluster, Context, Who};
use super::lease::Leasing;
use super::progress::{Progress, Slot, Tail};
use super::tail::{Found, Looker};
use super::term::{self, Claimed};
use super::transport::{self, Letter, Transport, Way};
use super::trouble::Trouble;
use super::watch::Watch;
use super::{tail, topics};
use crate::clock::Moment;
use crate::shipping::alerts::{self, Alert, Kind};
use crate::shipping::domains::{self, Channel, Domain};
use crate::shipping::json::Place;

mod notes;
mod reports;

/// From one look for reports to the next, when there was none. The client's own wait spins for what is left of a ms.
const REPORTS_WAIT: Duration = Duration::from_micros(250);
/// Time in which the reports come that tell why a transaction has ended.
const REPORT_WAIT_MAX: Duration = Duration::from_millis(100);

/// A producer that may write, and what it knows to be in the cluster.
pub(super) struct Session<'a> {
    cluster: &'a Cluster,
    /// Of each domain.
    topics: Vec<String>,
    producer: BaseProducer<Context>,
    context: Context,
    /// What the next transaction says, when it is committed.
    progress: Progress,
    /// What the last one said.
    committed: Progress,
    /// A transaction is open.
    is_open: bool,
    /// It holds JSON that was sent alone: the less is in it, the less is made anew if that is refused.
    is_careful: bool,
    events: u32,
    bytes: usize,
    /// Journal time of the first event in the open transaction.
    oldest_ns: Option<u64>,
    /// The stream's name.
    stream: String,
    watch: Watch,
}

impl<'a> Session<'a> {
    /// Claims, looks, and finds where the journal goes on.
    pub(super) fn open(
        cluster: &'a Cluster,
        identity: &mut Identity,
        leasing: &mut Leasing,
    ) -> Result<(Self, Reader), Trouble> {
        check_journal(cluster)?;
        topics::check(cluster)?;
        // With what is under way left out: it may be that of a predecessor, which ends when that is fenced.
        if let Some(progress) = tail::progress(cluster)? {
            // Before it fences anybody: who was superseded, or has another journal, must leave the rightful one alone.
            check_progress(cluster, &progress, identity)?;
            check_last(cluster, &progress)?;
        }
        let (mut this, looker) = Self::claim(cluster, identity, leasing)?;
        let Found { tails, seen, .. } = looker.tails(Some(this.progress.clone()))?;
        check_tails(cluster, &this.progress, &tails)?;
        let last_seq = last_seq(&this.progress, &tails);
        let reader = reader(cluster, &this.progress, last_seq)?;
        if last_seq < this.progress.seq {
            // What is lost is sent again from here on; a crash on the way must not forget that.
            let known = if last_seq == 0 { None } else { known(cluster, last_seq)? };
            let text = format!(
                "the cluster has lost events that it had acknowledged, behind event {last_seq}; they are sent again"
            );
            alerts::raise(Kind::ShippingLoss, last_seq, text);
            this.progress.seq = last_seq;
            (this.progress.epoch, this.progress.crc) = known.unwrap_or_default();
        }
        (this.progress.tails, this.progress.seen) = (tails, seen);
        leasing.found(this.progress.seq);
        Ok((this, reader))
    }

    /// Fences every other shipper of the stream, and claims the next term: nobody can add to what there is. Without
    /// transactions it is a claim only.
    pub(super) fn claim(
        cluster: &'a Cluster,
        identity: &mut Identity,
        leasing: &mut Leasing,
    ) -> Result<(Self, Looker<'a>), Trouble> {
        let slots = Domain::ALL.len().saturating_mul(cluster.kafka.partitions as usize);
        let context = Context::with_slots(slots);
        let producer = cluster.producer(Who::Shipper, context.clone())?;
        let looker = Looker::new(cluster)?;
        let progress = looker.progress()?.unwrap_or_else(|| Progress::new(cluster.kafka.partitions));
        check_progress(cluster, &progress, identity)?;
        if identity.has_journal {
            // Somebody may have shipped until he was fenced: to be fenced alone ends nobody, a claim does.
            check_last(cluster, &progress)?;
        }
        let topics = Domain::ALL.iter().map(|domain| cluster.topic(*domain)).collect();
        let stream = cluster.stream.to_string();
        let committed = progress.clone();
        let (is_open, is_careful, events, bytes, oldest_ns) = (false, false, 0, 0, None);
        let watch = Watch::default();
        let mut this = Self {
            cluster,
            topics,
            producer,
            context,
            progress,
            committed,
            is_open,
            is_careful,
            events,
            bytes,
            oldest_ns,
            stream,
            watch,
        };
        let is_claimed = identity.term == Some(this.progress.term);
        if is_claimed {
            // Where nobody is fenced, another may have claimed it as well.
            this.progress.owner.clone_from(&identity.owner);
        } else if this.progress.owner == identity.owner {
            // It was taken, and nobody heard of it.
            identity.term = Some(this.progress.term);
            leasing.claimed(Moment::now(), this.progress.lease_ms);
        } else {
            // At once, so that whoever wakes up and believes that it is still its turn sees it.
            this.progress.term = next_term(cluster, &this.progress, identity)?;
            this.progress.owner.clone_from(&identity.owner);
            // Those of this term may be as long as those of any before it, until these have run out.
            this.progress.lease_ms = this.progress.lease_ms.max(leasing.lease_ms());
            if identity.has_journal {
                Claimed::of(cluster, &this.progress)?.write(&cluster.journal_dir)?;
            }
            this.begin()?;
            this.end()?;
            identity.term = Some(this.progress.term);
            leasing.claimed(Moment::now(), this.progress.lease_ms);
        }
        Ok((this, looker))
    }

    /// Last event that the cluster has.
    pub(super) const fn shipped_seq(&self) -> u64 {
        self.progress.seq
    }

    /// Last event up to which all was shipped before the open transaction.
    pub(super) const fn committed_seq(&self) -> u64 {
        if self.is_open { self.committed.seq } else { self.progress.seq }
    }

    /// What the last transaction has said, when none is open.
    pub(super) const fn progress(&self) -> &Progress {
        &self.progress
    }

    /// Journal time of the oldest event that is not committed; `None` when all are, or the journal does not tell.
    pub(super) fn oldest_ns(&self) -> Option<u64> {
        let next_seq = self.committed_seq().saturating_add(1);
        let waiting = || {
            let mut reader = Reader::open(&self.cluster.journal_dir, next_seq, Until::Synced).ok()?;
            let group = reader.next_group().ok()??;
            group.records().find(|record| record.seq >= next_seq).map(|record| record.ts_ns)
        };
        self.oldest_ns.or_else(waiting)
    }

    /// All slots were looked at, up to these ends, and nothing of the stream was there but what it has told of.
    pub(super) fn saw(&mut self, seen: BTreeMap<Slot, i64>) {
        self.progress.seen = seen;
    }

    pub(super) fn stream(&self) -> &str {
        &self.stream
    }

    pub(super) const fn is_open(&self) -> bool {
        self.is_open
    }

    pub(super) fn is_full(&self) -> bool {
        self.is_careful
            || self.events >= self.cluster.kafka.batch_events_max
            || self.bytes >= self.cluster.kafka.batch_bytes_max
    }

    pub(super) fn begin(&mut self) -> Result<(), Trouble> {
        if self.cluster.kafka.transactions {
            self.producer.begin_transaction().map_err(|error| self.explained("beginning a transaction", &error))?;
        }
        (self.is_open, self.is_careful, self.events, self.bytes, self.oldest_ns) = (true, false, 0, 0, None);
        self.committed.clone_from(&self.progress);
        Ok(())
    }

    /// Adds a record to the transaction, and its event as JSON, unless the cluster has it.
    pub(super) fn send(
        &mut self,
        record: &Record<'_>,
        transport: &mut Transport,
        stop: &AtomicBool,
    ) -> Result<(), Trouble> {
        let event = Event::from_archive(record.kind, record.version, record.payload)
            .map_err(|error| Trouble::Unknown { seq: record.seq, text: error.to_string() })?;
        let domain = Domain::of(&event);
        let key = domains::key(self.cluster.stream, &event);
        let slot = (domain, domains::partition(key.as_bytes(), self.cluster.kafka.partitions));
        let tail = self.progress.tails.get(&slot).copied();
        let crc = crc32c(record.bytes, &[]);
        if record.seq > self.progress.seq {
            (self.progress.seq, self.progress.epoch, self.progress.crc) = (record.seq, record.epoch, crc);
        }
        let is_there = tail.is_some_and(|tail| tail.seq >= record.seq);
        // Also what is left out: behind a loss it may be millions, and a transaction that is open for too long is ended.
        self.events = self.events.saturating_add(1);
        // With transactions all that belongs to it is there as well; else that may be missing, and is sent again.
        if is_there && self.cluster.kafka.transactions {
            return Ok(());
        }
        if !is_there {
            let prev_seq = tail.map_or(0, |tail| tail.seq);
            let topic = self.topics.get(domain as usize).map(String::as_str).unwrap_or_default();
            let index = index_of(slot, self.cluster.kafka.partitions);
            let partition = i32::try_from(slot.1).unwrap_or(i32::MAX);
            let message = BaseRecord::with_opaque_to(topic, About::Event(index).word())
                .key(key.as_bytes())
                .payload(record.bytes)
                .partition(partition)
                .headers(tail::headers(&self.stream, record, prev_seq, crc));
            self.hand_over(message, stop)?;
            let seen = self.progress.seen.get(&slot).copied().unwrap_or(0);
            let behind = tail.map_or(0, |tail| tail.offset.saturating_add(1)).max(seen);
            self.progress.tails.insert(slot, Tail { seq: record.seq, offset: behind, crc: Some(crc) });
        }
        self.oldest_ns.get_or_insert(record.ts_ns);
        self.bytes = self.bytes.saturating_add(record.bytes.len()).saturating_add(key.len());
        if let Some(alert) = Alert::of(&event, record.seq, record.ts_ns) {
            self.send_journaled(&alert, transport, stop)?;
        }
        if transport.is_on() {
            transport.write(&event);
            for channel in Channel::of(&event) {
                self.send_json(record, &event, channel, &key, slot.1, transport, stop)?;
            }
        }
        Ok(())
    }

    /// Adds an event as JSON, which `transport` holds, to a channel, or to its dead letters if that does not take it.
    fn send_json(
        &mut self,
        record: &Record<'_>,
        event: &Event,
        channel: Channel,
        key: &str,
        partition: u32,
        transport: &mut Transport,
        stop: &AtomicBool,
    ) -> Result<(), Trouble> {
        let partition = i32::try_from(partition).unwrap_or(i32::MAX);
        let place = Place { stream: self.cluster.stream, epoch: record.epoch, seq: record.seq, ts_ns: record.ts_ns };
        let piece = Piece { seq: record.seq, is_saga: channel == Channel::Sagas };
        let mut way = transport.way(piece);
        self.bytes = self.bytes.saturating_add(transport.value().len());
        if way == Way::Alone || way == Way::Together {
            let is_alone = way == Way::Alone;
            if is_alone {
                self.be_careful()?;
            }
            let message = BaseRecord::with_opaque_to(transport.topic(channel), About::Json(piece).word())
                .key(key.as_bytes())
                .payload(transport.value().as_bytes())
                .partition(partition)
                .headers(transport::headers(&place, event, channel));
            match self.hand_over(message, stop) {
                // The client itself does not take it: nothing of it is in the transaction.
                Err(Trouble::Unsent(error)) => {
                    transport.refuse_alone(piece, &error);
                    way = Way::Letter(error.to_string());
                }
                Ok(()) if is_alone => self.wait_for_reports(self.cluster.timeout())?,
                sent => sent?,
            }
        }
        if let Way::Letter(reason) = way {
            self.be_careful()?;
            let letter = Letter {
                topic: transport.topic(channel),
                partition,
                reason: &reason,
                time_ns: crate::clock::utc_ns(),
                retry_count: 0,
            };
            let message = BaseRecord::with_opaque_to(transport.letter_topic(channel), About::Letter(piece).word())
                .key(key.as_bytes())
                .payload(transport.value().as_bytes())
                .partition(0)
                .headers(transport::letter_headers(transport::headers(&place, event, channel), &letter));
            match self.hand_over(message, stop) {
                Err(Trouble::Unsent(error)) => transport.refuse(About::Letter(piece), &error),
                sent => {
                    sent?;
                    self.wait_for_reports(self.cluster.timeout())?;
                    let text = format!("{} refuses event {}: {reason}", transport.topic(channel), record.seq);
                    let alert = Alert { kind: Kind::DeadLetter, seq: record.seq, time_ns: letter.time_ns, text };
                    self.send_journaled(&alert, transport, stop)?;
                }
            }
        }
        Ok(())
    }

    /// What is sent next shall be in no request with another.
    fn be_careful(&mut self) -> Result<(), Trouble> {
        self.is_careful = true;
        self.wait_for_reports(self.cluster.timeout())
    }

    /// Gives a message to the client, whose queue has a bound: what it has sent makes room.
    fn hand_over(&self, mut message: BaseRecord<'_, [u8], [u8], usize>, stop: &AtomicBool) -> Result<(), Trouble> {
        let since = Instant::now();
        while let Err((error, refused)) = self.producer.send(message) {
            if error != KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull) {
                // A transaction that a report has ended takes nothing more: the report, which follows, says why.
                let since = Instant::now();
                while !self.context.reports().has_failure() && since.elapsed() < REPORT_WAIT_MAX {
                    self.listen();
                }
                self.failure()?;
                let is_unsent = is_refused_for_good(&error);
                return Err(if is_unsent {
                    Trouble::Unsent(error)
                } else {
                    self.explained("sending an event", &error)
                });
            }
            if stop.load(Ordering::Acquire) {
                return Err(Trouble::Stopped);
            }
            if since.elapsed() > self.cluster.timeout() {
                return Err(self.explained("sending an event", &error));
            }
            self.listen();
            self.failure()?;
            message = refused;
        }
        Ok(())
    }

    /// Gives up the transaction, of which JSON was refused: nothing of it counts. A reader of what it was made of.
    pub(super) fn give_up(&mut self, transport: &mut Transport) -> Result<Reader, Trouble> {
        // Then what is under way is told of, and the client waits for nobody who would listen.
        self.producer.purge(PurgeConfig::default().queue());
        let (since, timeout) = (Instant::now(), self.cluster.timeout());
        while self.producer.in_flight_count() > 0 {
            self.listen();
            if since.elapsed() > timeout {
                return Err(Trouble::Doubt("giving up a transaction: the cluster does not answer".to_owned()));
            }
        }
        let is_atomic = self.cluster.kafka.transactions;
        if is_atomic {
            let failed = |error| self.explained("giving up a transaction", &error);
            self.producer.abort_transaction(timeout).map_err(failed)?;
        }
        let mut reports = self.context.reports();
        let refused = std::mem::take(&mut reports.refused);
        reports.failure = None;
        // Of what does not count.
        reports.offsets.fill(None);
        drop(reports);
        for (about, error) in refused {
            transport.refuse(about, &error);
        }
        self.is_open = false;
        self.progress.clone_from(&self.committed);
        if !is_atomic {
            // Some of it is there: another session finds what.
            return Err(Trouble::Refusal);
        }
        reader(self.cluster, &self.progress, self.progress.seq)
    }

    /// Ends the transaction, as `end` does; what was sent of JSON counts with it.
    pub(super) fn commit(&mut self, transport: &mut Transport) -> Result<(), Trouble> {
        self.end()?;
        transport.commit(self.progress.seq);
        Ok(())
    }

    /// Ends the transaction, with how far it has come: all of it counts, or nothing.
    fn end(&mut self) -> Result<(), Trouble> {
        let (is_atomic, timeout) = (self.cluster.kafka.transactions, self.cluster.timeout());
        if !is_atomic {
            // Progress tells of what is there for certain.
            self.wait_for_reports(timeout)?;
        }
        let value = self.progress.to_json(&self.stream);
        let topic = self.cluster.progress_topic();
        let record = BaseRecord::with_opaque_to(&topic, About::Other.word())
            .key(self.stream.as_bytes())
            .payload(value.as_bytes())
            .partition(0);
        self.hand_over(record, &AtomicBool::new(false))?;
        self.wait_for_reports(timeout)?;
        if is_atomic {
            self.producer.commit_transaction(timeout).map_err(|error| self.explained("committing", &error))?;
        } else {
            let offset = self.context.reports().progress_offset;
            self.watch.look(self.cluster, &self.progress, offset)?;
        }
        self.is_open = false;
        let reports = self.context.reports();
        for (slot, tail) in &mut self.progress.tails {
            let offset = reports.offsets.get(index_of(*slot, self.cluster.kafka.partitions)).copied().flatten();
            tail.offset = offset.unwrap_or(tail.offset);
        }
        Ok(())
    }

    /// As `commit`, and says so to the core.
    pub(super) fn confirm(&mut self, leasing: &mut Leasing, transport: &mut Transport) -> Result<(), Trouble> {
        // Before anything of the commit: the lease must not outlast what it proves.
        let begun = Moment::now();
        if !leasing.is_waiting(begun.at) {
            self.progress.lease_ms = leasing.lease_ms();
        }
        self.commit(transport)?;
        leasing.committed(begun, self.progress.seq);
        Ok(())
    }
}

/// ns in a second.
const NANOS_PER_S: u64 = 1_000_000_000;

/// The term behind all that are known. Where no progress is, it may have been lost: then terms begin with the time, s, so
/// that one which was claimed before that does not count as a later one, wherever that was.
fn next_term(cluster: &Cluster, progress: &Progress, identity: &Identity) -> Result<u64, Trouble> {
    let mut known = progress.term.max(identity.term.unwrap_or(0));
    if progress.term == 0 {
        known = known.max(term::last_claimed(cluster)?).max(crate::clock::utc_ns() / NANOS_PER_S);
    }
    Ok(known.saturating_add(1))
}

/// Place of a slot in a list of all.
fn index_of((domain, partition): Slot, partitions: u32) -> usize {
    (domain as usize).saturating_mul(partitions as usize).saturating_add(partition as usize)
}
