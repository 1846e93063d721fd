//! The open loop: requests leave at times that are fixed beforehand, whatever became of those before them.
//!
//! A request is timed twice: from when it should have left (corrected), so that a stall counts for all whom it delays,
//! and from when it did leave (service time). The generator never sleeps.

use std::time::{Duration, Instant};

use crate::Failure;
use crate::gaps::Gaps;
use crate::legs::Legs;
use crate::longest::Longest;
use crate::spans::Spans;
use crate::timing::{RoundTrips, Schedule, between, round_trips};

/// Without an answer for so long, there is none.
const ANSWER_DEADLINE: Duration = Duration::from_secs(10);

/// What the generator does while it awaits nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Idle {
    /// Keeps its CPU.
    Spin,
    /// Gives its CPU away, so that threads which share it work then and not while an answer is on its way; beside other
    /// programs it gets the CPU back only after their slice, which is milliseconds.
    Yield,
    /// Gives its CPU away also while it awaits an answer: one that has to come by way of a thread which shares it.
    YieldAlways,
    /// Sleeps until the next request. On a thread that goes before others (`host::ahead`) it sends on time whatever else its
    /// CPU does, and that gets the rest of it.
    Sleep,
}

/// Whom requests are sent to.
pub(crate) trait Target {
    /// Makes the next request ready, if it is not: what it costs to write it is not the server's.
    fn prepare(&mut self) -> Result<(), Failure>;
    /// False while its socket is full: then the next request waits, and the generator is late.
    fn can_send(&self) -> bool {
        true
    }
    /// Sends it.
    fn send(&mut self, sent: Sent) -> Result<(), Failure>;
    /// Takes in what is there.
    fn poll(&mut self, sample: &mut Sample) -> Result<(), Failure>;
    /// True while an answer is awaited.
    fn is_waiting(&self) -> bool;
    /// True when nothing of what was sent is on its way any more, also behind the answers.
    fn is_settled(&self) -> bool {
        !self.is_waiting()
    }
    /// What it is measured with.
    fn sample(&self) -> Sample {
        Sample::new()
    }
}

/// When a request left.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sent {
    pub(crate) planned: Instant,
    pub(crate) at: Instant,
}

/// What requests of one rate to one server took.
#[derive(Clone, Debug)]
pub(crate) struct Sample {
    /// From the planned time to the answer, ns.
    pub(crate) corrected: RoundTrips,
    /// From the send to the answer, ns.
    pub(crate) service: RoundTrips,
    /// From the planned time to the send, ns.
    pub(crate) lateness: RoundTrips,
    /// Gaps in the generator's readings of the clock, ns.
    pub(crate) gaps: RoundTrips,
    /// The longest of the corrected times.
    pub(crate) longest: Longest,
    /// The longest of each of the spans that the time was cut into.
    pub(crate) spans: Spans,
    /// What came behind the answers, of a target that has such.
    pub(crate) legs: Option<Box<Legs>>,
    /// How long the requests took to be sent and answered.
    pub(crate) elapsed: Duration,
}

impl Sample {
    pub(crate) fn new() -> Self {
        Self {
            corrected: round_trips(),
            service: round_trips(),
            lateness: round_trips(),
            gaps: round_trips(),
            longest: Longest::new(),
            spans: Spans::default(),
            legs: None,
            elapsed: Duration::ZERO,
        }
    }

    /// Takes an answer. What is out of the range of a histogram counts as its end.
    pub(crate) fn answered(&mut self, sent: Sent, arrived: Instant) {
        let corrected_ns = between(sent.planned, arrived);
        self.corrected.saturating_record(corrected_ns);
        self.longest.take(sent.planned, corrected_ns);
        self.spans.take(sent.planned, corrected_ns);
        self.service.saturating_record(between(sent.at, arrived));
        self.lateness.saturating_record(between(sent.planned, sent.at));
    }

    /// Takes in what another slice has measured.
    pub(crate) fn add(&mut self, other: &Self) -> Result<(), Failure> {
        self.corrected.add(&other.corrected)?;
        self.service.add(&other.service)?;
        self.lateness.add(&other.lateness)?;
        self.gaps.add(&other.gaps)?;
        other.longest.iter().for_each(|(planned, ns)| self.longest.take(planned, ns));
        self.spans.add(&other.spans);
        if let Some(legs) = &other.legs {
            self.legs.get_or_insert_with(|| Box::new(Legs::new())).add(legs)?;
        }
        self.elapsed = self.elapsed.saturating_add(other.elapsed);
        Ok(())
    }

    /// Answers a second.
    pub(crate) fn rate(&self) -> u64 {
        let nanos = self.elapsed.as_nanos().max(1);
        let answers = u128::from(self.corrected.len()).saturating_mul(1_000_000_000);
        u64::try_from(answers.checked_div(nanos).unwrap_or(0)).unwrap_or(u64::MAX)
    }

    /// True when they came at this rate: else their latency says nothing of it.
    pub(crate) fn has_reached(&self, rate: u64) -> bool {
        self.rate() >= rate.saturating_mul(98) / 100
    }
}

/// Why what these, by name, took at a rate is no figure: one of them has not reached it.
pub(crate) fn shortfall(rate: u64, samples: &[(&str, &Sample)]) -> Option<String> {
    samples.iter().find(|(_, sample)| !sample.has_reached(rate)).map(|(name, sample)| {
        format!("{rate}/s were not reached: {name} {} answers/s only, so its latency is void", sample.rate())
    })
}

/// Sends `requests` at `rate` a second and waits for every answer, and for what comes behind it.
pub(crate) fn pace(target: &mut dyn Target, rate: u64, requests: u64, idle: Idle) -> Result<Sample, Failure> {
    let mut sample = target.sample();
    let mut gaps = Gaps::new();
    let mut schedule = Schedule::new(rate);
    let mut sent: u64 = 0;
    let started = Instant::now();
    let mut last_sent = started;
    target.prepare()?;
    loop {
        let now = Instant::now();
        if sample.corrected.len() < requests {
            sample.elapsed = now.saturating_duration_since(started);
        } else if target.is_settled() {
            break;
        }
        gaps.read(now);
        if sent < requests
            && target.can_send()
            && let Some(planned) = schedule.due(now)
        {
            target.send(Sent { planned, at: now })?;
            last_sent = now;
            sent = sent.saturating_add(1);
        }
        target.poll(&mut sample)?;
        if !target.is_waiting() {
            target.prepare()?;
        }
        if !target.is_settled() && now.saturating_duration_since(last_sent) > ANSWER_DEADLINE {
            return Err(format!("no answer for {} s", ANSWER_DEADLINE.as_secs()).into());
        }
        if idle == Idle::YieldAlways || idle == Idle::Yield && !target.is_waiting() {
            rustix::thread::sched_yield();
        } else if idle == Idle::Sleep
            && !target.is_waiting()
            && let Some(planned) = schedule.next()
        {
            std::thread::sleep(planned.saturating_duration_since(Instant::now()));
        }
    }
    sample.gaps = gaps.into_histogram();
    Ok(sample)
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::*;

    /// Answers at once, but the third request holds it up.
    struct Stalls {
        waiting: VecDeque<Sent>,
        sent: u64,
        stall: Duration,
    }

    impl Target for Stalls {
        fn prepare(&mut self) -> Result<(), Failure> {
            Ok(())
        }

        fn send(&mut self, sent: Sent) -> Result<(), Failure> {
            self.waiting.push_back(sent);
            self.sent = self.sent.saturating_add(1);
            if self.sent == 3 {
                let since = Instant::now();
                while since.elapsed() < self.stall {
                    std::hint::spin_loop();
                }
            }
            Ok(())
        }

        fn poll(&mut self, sample: &mut Sample) -> Result<(), Failure> {
            if let Some(sent) = self.waiting.pop_front() {
                sample.answered(sent, Instant::now());
            }
            Ok(())
        }

        fn is_waiting(&self) -> bool {
            !self.waiting.is_empty()
        }
    }

    #[test]
    fn a_stall_counts_for_all_whom_it_delays_when_corrected_and_for_one_in_service_time() {
        let (rate, stall) = (1000, Duration::from_millis(50));
        let mut target = Stalls { waiting: VecDeque::new(), sent: 0, stall };
        let sample = pace(&mut target, rate, 40, Idle::Spin).unwrap();
        let over = |times: &RoundTrips, ns| times.len() - times.count_between(0, ns);
        let half_ns = u64::try_from(stall.as_nanos()).unwrap() / 2;
        assert_eq!(sample.corrected.len(), 40);
        assert!(over(&sample.corrected, half_ns) >= 20, "some 25 should have left in the first half of the stall");
        assert!(over(&sample.service, half_ns) >= 1);
        assert!(over(&sample.lateness, half_ns) >= 20);
        assert!(sample.gaps.max() >= half_ns, "the generator was away");
    }

    /// Takes nothing for a while.
    struct Full {
        stalls: Stalls,
        until: Instant,
    }

    impl Target for Full {
        fn prepare(&mut self) -> Result<(), Failure> {
            Ok(())
        }

        fn can_send(&self) -> bool {
            Instant::now() >= self.until
        }

        fn send(&mut self, sent: Sent) -> Result<(), Failure> {
            assert!(self.can_send());
            self.stalls.send(sent)
        }

        fn poll(&mut self, sample: &mut Sample) -> Result<(), Failure> {
            self.stalls.poll(sample)
        }

        fn is_waiting(&self) -> bool {
            self.stalls.is_waiting()
        }
    }

    #[test]
    fn a_full_socket_makes_the_generator_late_and_loses_no_request() {
        let full = Duration::from_millis(100);
        let stalls = Stalls { waiting: VecDeque::new(), sent: 0, stall: Duration::ZERO };
        let mut target = Full { stalls, until: Instant::now() + full };
        let sample = pace(&mut target, 1000, 40, Idle::Spin).unwrap();
        assert_eq!(sample.corrected.len(), 40);
        assert!(sample.lateness.max() >= 40_000_000, "the first leaves with the last, at the earliest");
        assert!(!sample.has_reached(1000), "40 ms of requests took 100 ms");
    }

    #[test]
    fn a_rate_that_one_of_two_has_not_reached_is_void_and_says_whose() {
        let of = |answers| {
            let mut sample = Sample { elapsed: Duration::from_secs(1), ..Sample::new() };
            sample.corrected.record_n(1000, answers).unwrap();
            sample
        };
        let of_both = |echo, gateway| shortfall(1000, &[("echo", &of(echo)), ("gateway", &of(gateway))]);
        assert_eq!(of_both(980, 1000), None);
        assert!(of_both(1000, 979).unwrap().contains("gateway 979 answers/s only"));
        assert!(of_both(979, 1000).unwrap().contains("echo 979 answers/s only"));
    }

    /// Answers at once; what comes behind the answers comes when all are there, and some time later.
    struct Follows {
        waiting: VecDeque<Sent>,
        last_answer: Instant,
        settles_in: Duration,
    }

    impl Target for Follows {
        fn prepare(&mut self) -> Result<(), Failure> {
            Ok(())
        }

        fn send(&mut self, sent: Sent) -> Result<(), Failure> {
            self.waiting.push_back(sent);
            Ok(())
        }

        fn poll(&mut self, sample: &mut Sample) -> Result<(), Failure> {
            if let Some(sent) = self.waiting.pop_front() {
                self.last_answer = Instant::now();
                sample.answered(sent, self.last_answer);
            }
            Ok(())
        }

        fn is_waiting(&self) -> bool {
            !self.waiting.is_empty()
        }

        fn is_settled(&self) -> bool {
            self.last_answer.elapsed() >= self.settles_in
        }
    }

    #[test]
    fn what_comes_behind_the_answers_is_waited_for_and_counts_for_no_rate() {
        let settles_in = Duration::from_millis(200);
        let mut target = Follows { waiting: VecDeque::new(), last_answer: Instant::now(), settles_in };
        let started = Instant::now();
        let sample = pace(&mut target, 1_000_000, 10, Idle::Spin).unwrap();
        assert!(target.is_settled() && sample.corrected.len() == 10);
        assert!(sample.elapsed + settles_in <= started.elapsed(), "{:?}", sample.elapsed);
    }
}
