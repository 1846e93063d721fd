//! A gateway of class `synced`, the echo, and bare writes with a sync each on the same disk, a slice of time each in
//! turn while the others are held.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use tempfile::TempDir;
use tradecore_domain::event::{Event, OrderAccepted};
use tradecore_journal::record::{HEADER_BYTES, stored_bytes};

use crate::Failure;
use crate::bare_sync::{PAGE_BYTES, PlainFile};
use crate::echo::EchoClient;
use crate::host::{self, Broker, Gateway, Process, Setup};
use crate::orders::{Active, wait_until_trading};
use crate::pace::{Idle, Sample};
use crate::scratch;
use crate::timing::{RoundTrips, Schedule, round_trips};
use crate::turns::{SLICE_MS, slice};

/// All three of them.
pub(crate) struct SyncedTurns {
    echo_process: Process,
    echo: EchoClient,
    gateway: Gateway,
    active: Active,
    bare: PlainFile,
    idle: Idle,
    _bare_dir: TempDir,
}

/// What each of them took.
#[derive(Clone, Debug)]
pub(crate) struct Times {
    pub(crate) echo: Sample,
    pub(crate) gateway: Sample,
    pub(crate) bare: RoundTrips,
}

impl Times {
    pub(crate) fn new() -> Self {
        Self { echo: Sample::new(), gateway: Sample::new(), bare: round_trips() }
    }

    /// Takes in those of another round.
    pub(crate) fn add(&mut self, other: &Self) -> Result<(), Failure> {
        self.echo.add(&other.echo)?;
        self.gateway.add(&other.gateway)?;
        Ok(self.bare.add(&other.bare)?)
    }
}

/// So many writes at a rate, with a sync each.
fn sync_at(bare: &mut PlainFile, rate: u64, mut left: u64, idle: Idle, times: &mut RoundTrips) -> Result<(), Failure> {
    let mut schedule = Schedule::new(rate);
    while left > 0 {
        if schedule.due(Instant::now()).is_some() {
            bare.write_and_sync(times)?;
            left = left.saturating_sub(1);
        } else if idle != Idle::Spin {
            rustix::thread::sched_yield();
        }
    }
    Ok(())
}

/// What the journal has of an order when it is acknowledged, bytes: one record.
pub(crate) fn group_bytes() -> usize {
    stored_bytes(HEADER_BYTES.saturating_add(Event::from(OrderAccepted::default()).payload_len()))
}

impl SyncedTurns {
    /// Starts them on the disk of `dir`, and waits until the gateway takes orders.
    pub(crate) fn start(dir: &Path, idle: Idle) -> Result<Self, Failure> {
        let (echo_process, address) = host::start_echo()?;
        let echo = EchoClient::connect(&address)?;
        echo_process.hold()?;
        let setup = Setup { sessions: 1, broker: Broker::Instant, bounds: None, is_in_memory: false };
        let gateway = Gateway::start_in(scratch::dir_in(dir)?, setup, "synced")?;
        let mut active = Active::log_on(&gateway.address, 1)?;
        wait_until_trading(&mut active)?;
        let bare_dir = scratch::dir_in(dir)?;
        let bare = PlainFile::create(bare_dir.path(), PAGE_BYTES)?;
        Ok(Self { echo_process, echo, gateway, active, bare, idle, _bare_dir: bare_dir })
    }

    /// All at a rate, for so long each.
    pub(crate) fn run(&mut self, rate: u64, length_ms: u64) -> Result<Times, Failure> {
        let requests = rate.saturating_mul(SLICE_MS).checked_div(1000).unwrap_or(0).max(1);
        let mut times = Times::new();
        for nth in 0..length_ms.checked_div(SLICE_MS).unwrap_or(0).max(1) {
            // The echo between the others, so that the last sync of the one is not in the other's way.
            if nth.is_multiple_of(2) {
                self.gateway_slice(rate, requests, &mut times)?;
                self.echo_slice(rate, requests, &mut times)?;
                self.bare_slice(rate, requests, &mut times.bare)?;
            } else {
                self.bare_slice(rate, requests, &mut times.bare)?;
                self.echo_slice(rate, requests, &mut times)?;
                self.gateway_slice(rate, requests, &mut times)?;
            }
        }
        Ok(times)
    }

    fn gateway_slice(&mut self, rate: u64, requests: u64, times: &mut Times) -> Result<(), Failure> {
        self.gateway.process.go_on()?;
        times.gateway.add(&slice(&mut self.active, rate, requests, self.idle)?)?;
        self.gateway.process.hold()
    }

    fn echo_slice(&mut self, rate: u64, requests: u64, times: &mut Times) -> Result<(), Failure> {
        self.echo_process.go_on()?;
        times.echo.add(&slice(&mut self.echo, rate, requests, self.idle)?)?;
        self.echo_process.hold()
    }

    fn bare_slice(&mut self, rate: u64, left: u64, times: &mut RoundTrips) -> Result<(), Failure> {
        let is_done = AtomicBool::new(false);
        let Self { bare, idle, .. } = self;
        std::thread::scope(|scope| {
            // While the gateway's thread syncs, the generator keeps this CPU from being halted: so does somebody here.
            // Else the time of a sync on a virtual machine is that of waking a CPU up, too.
            if *idle != Idle::Spin {
                scope.spawn(|| {
                    while !is_done.load(Ordering::Relaxed) {
                        rustix::thread::sched_yield();
                    }
                });
            }
            let result = sync_at(bare, rate, left, *idle, times);
            is_done.store(true, Ordering::Relaxed);
            result
        })
    }
}
