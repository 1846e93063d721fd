//! The gateway and the echo on one CPU, a slice of time each in turn while the other is held: what else the machine
//! does meets both alike.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::Failure;
use crate::echo::EchoClient;
use crate::host::{self, Broker, Gateway, Process, Setup};
use crate::orders::{Active, Load, wait_until_trading};
use crate::pace::{Idle, Sample, Target, pace};
use crate::syncs::{Cut, Syncs, Watched};

/// How long one of the two has the CPU, ms.
pub(crate) const SLICE_MS: u64 = 200;
/// Slices after a start that count for nobody: the gateway still makes its second segment.
const WARM_UP_SLICES: u64 = 10;
/// Requests after a change of turn that count for nobody, at least: the other has left its data in the caches.
const UNTIMED_MIN: u64 = 3;

/// Orders that may be open, and ids: enough for a broker that is slower than the orders come, for a while.
const ORDERS_MAX: u32 = 65_536;
const IDS_MAX: u32 = 524_288;

/// Both servers, and a client of each.
pub(crate) struct Turns {
    echo_process: Process,
    echo: EchoClient,
    gateway: Gateway,
    active: Active,
    idle: Idle,
    /// What of the journal's syncs is watched, and the length of the echo's spans.
    watched: Option<(Syncs, Duration)>,
}

impl Turns {
    /// Starts both, and waits until the gateway takes orders of this load.
    pub(crate) fn start(broker: Broker, idle: Idle, load: Load) -> Result<Self, Failure> {
        let setup = Setup { sessions: 1, broker, bounds: Some((ORDERS_MAX, IDS_MAX)), is_in_memory: false };
        let (echo_process, address) = host::start_echo()?;
        let echo = EchoClient::connect(&address)?;
        echo_process.hold()?;
        let gateway = Gateway::start(setup)?;
        let mut active = Active::log_on_with(&gateway.address, 1, load)?;
        wait_until_trading(&mut active)?;
        Ok(Self { echo_process, echo, gateway, active, idle, watched: None })
    }

    /// Where the gateway's journal lies.
    pub(crate) fn journal_dir(&self) -> PathBuf {
        self.gateway.journal_dir()
    }

    /// Why an order was refused.
    pub(crate) const fn refusal(&self) -> Option<u16> {
        self.active.refusal()
    }

    /// Lets both run until they are warm.
    pub(crate) fn warm_up(&mut self, rate: u64) -> Result<(Sample, Sample), Failure> {
        self.run(rate, WARM_UP_SLICES.saturating_mul(SLICE_MS))
    }

    /// From now on the gateway's time is cut at each sync of its journal, the echo's into spans of this length.
    pub(crate) fn watch_syncs(&mut self, length: Duration) -> Result<(), Failure> {
        self.watched = Some((Syncs::of(&self.journal_dir())?, length));
        Ok(())
    }

    /// Both at a rate, for so long each; the samples of the echo and of the gateway.
    pub(crate) fn run(&mut self, rate: u64, length_ms: u64) -> Result<(Sample, Sample), Failure> {
        self.run_each(rate, length_ms, &mut |_| {})
    }

    /// The same; `each` is handed what each slice of the gateway has measured.
    pub(crate) fn run_each(
        &mut self,
        rate: u64,
        length_ms: u64,
        each: &mut dyn FnMut(&Sample),
    ) -> Result<(Sample, Sample), Failure> {
        let requests = rate.saturating_mul(SLICE_MS).checked_div(1000).unwrap_or(0).max(1);
        let (mut echo, mut gateway) = (Sample::new(), Sample::new());
        for nth in 0..length_ms.checked_div(SLICE_MS).unwrap_or(0).max(1) {
            // Who comes first takes turns too.
            for is_echo in first_and_second(nth) {
                if is_echo {
                    self.gateway.process.hold()?;
                    self.echo_process.go_on()?;
                    echo.add(&self.slice(is_echo, rate, requests)?)?;
                } else {
                    self.echo_process.hold()?;
                    self.gateway.process.go_on()?;
                    let sample = self.slice(is_echo, rate, requests)?;
                    each(&sample);
                    gateway.add(&sample)?;
                }
            }
        }
        // Between two runs the gateway has the CPU, as it has behind its start.
        self.echo_process.hold()?;
        self.gateway.process.go_on()?;
        Ok((echo, gateway))
    }

    fn slice(&mut self, is_echo: bool, rate: u64, requests: u64) -> Result<Sample, Failure> {
        let target: &mut dyn Target = if is_echo { &mut self.echo } else { &mut self.active };
        match &mut self.watched {
            Some((syncs, length)) => {
                let cut = if is_echo { Cut::Every(*length) } else { Cut::AtSyncs };
                let mut sample = slice(&mut Watched::new(target, syncs, cut), rate, requests, self.idle)?;
                sample.spans.end_last(Instant::now());
                Ok(sample)
            }
            None => slice(target, rate, requests, self.idle),
        }
    }
}

/// Who has the `nth` turn first and who second: whether it is the echo.
const fn first_and_second(nth: u64) -> [bool; 2] {
    let is_even = nth.is_multiple_of(2);
    [is_even, !is_even]
}

/// So many requests at a rate that are timed, behind some that are not.
pub(crate) fn slice(target: &mut dyn Target, rate: u64, requests: u64, idle: Idle) -> Result<Sample, Failure> {
    pace(target, rate, UNTIMED_MIN.max(requests / 20), idle)?;
    pace(target, rate, requests, idle)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_first_in_every_second_turn() {
        assert_eq!([0, 1, 2].map(first_and_second), [[true, false], [false, true], [true, false]]);
    }
}
