//! Order to the gateway's own acceptance, against an echo of the same frame sizes, run by run in turn.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::Instant;

use tradecore_protocol::fields::{ClOrdId, OrdType, Px, Qty, Side, Tif};
use tradecore_protocol::frame::Frame;
use tradecore_protocol::messages::{ExecReport, NewOrder, RequestReject};
use tradecore_protocol::wire::{I64, U32, U64};

use crate::Failure;
use crate::echo::{REPLY_BYTES, REQUEST_BYTES};
use crate::host::{self, Gateway};
use crate::outcome::Outcome;
use crate::peer::{self, Peer};
use crate::timing::{RoundTrips, Schedule, between, judge_ratio, median, micros, percent_of, print_run, round_trips};

/// p50 of the gateway, at most, as a share of the echo's, %.
const BOUND_PERCENT: u64 = 130;
/// An echo that takes longer says that the machine is not free, and nothing of the gateway.
const ECHO_MAX_NS: u64 = 50_000;

/// How long one of the two has the CPU, ms.
const SLICE_MS: u64 = 200;
/// Slices after a start that count for nobody: the gateway still makes its second segment.
const WARM_UP_SLICES: u64 = 10;
/// Requests after a change of turn that count for nobody: the other has left its data in the caches.
const UNTIMED: u64 = 3;

/// Measures both in turn.
pub(crate) fn measure(rate: u64, seconds: u64, runs: usize) -> Result<Outcome, Failure> {
    let mut outcome = Outcome::default();
    println!("order to acceptance, class journaled, {rate} orders/s, loopback TCP, busy polling on both sides");
    println!("frames: {REQUEST_BYTES} bytes to the server, {REPLY_BYTES} bytes back; {SLICE_MS} ms in turn, one held");
    let (mut echo_p50, mut ratios) = (Vec::new(), Vec::new());
    for run in 1..=runs {
        let (echo, gateway) = one_run(rate, seconds)?;
        print_run(&format!("echo, run {run}"), &echo);
        print_run(&format!("gateway, run {run}"), &gateway);
        echo_p50.push(echo.value_at_quantile(0.5));
        ratios.push(percent_of(gateway.value_at_quantile(0.5), echo.value_at_quantile(0.5)));
    }
    let echo = median(echo_p50);
    if echo > ECHO_MAX_NS {
        return Err(format!("the echo itself takes {} µs: others use these CPUs; measure again", micros(echo)).into());
    }
    outcome.is_kept = judge_ratio("median over runs of p50 of the gateway", median(ratios), BOUND_PERCENT);
    Ok(outcome)
}

/// Both servers on one CPU, a slice of time each in turn: what else the machine does meets both alike.
fn one_run(rate: u64, seconds: u64) -> Result<(RoundTrips, RoundTrips), Failure> {
    let (echo_process, address) = host::start_echo()?;
    let mut stream = peer::connect(&address)?;
    echo_process.hold()?;
    let gateway = Gateway::start(1)?;
    let mut active = [Active::log_on(&gateway.address, 1)?];
    wait_until_trading(&mut active)?;
    let slices = seconds.saturating_mul(1000).checked_div(SLICE_MS).unwrap_or(0);
    let requests = rate.saturating_mul(SLICE_MS).checked_div(1000).unwrap_or(0);
    let (mut echo_times, mut gateway_times) = (round_trips(), round_trips());
    host::pinned(|| {
        let mut slice = |nth: u64| -> Result<(), Failure> {
            gateway.process.hold()?;
            echo_process.go_on()?;
            echo_run(&mut stream, rate, UNTIMED)?;
            let echo = echo_run(&mut stream, rate, requests)?;
            echo_process.hold()?;
            gateway.process.go_on()?;
            send_and_time(&mut active, rate, UNTIMED)?;
            let gateway = send_and_time(&mut active, rate, requests)?;
            if nth >= WARM_UP_SLICES {
                echo_times.add(echo)?;
                gateway_times.add(gateway)?;
            }
            Ok(())
        };
        (0..slices.saturating_add(WARM_UP_SLICES)).try_for_each(&mut slice).map_err(|error| error.to_string())
    })?;
    Ok((echo_times, gateway_times))
}

fn echo_run(stream: &mut TcpStream, rate: u64, requests: u64) -> Result<RoundTrips, Failure> {
    let mut times = round_trips();
    let mut waiting = VecDeque::new();
    let mut schedule = Schedule::new(rate);
    let mut reply = [0; REPLY_BYTES];
    let mut filled: usize = 0;
    let mut sent: u64 = 0;
    while times.len() < requests {
        if sent < requests
            && let Some(planned) = schedule.due()
        {
            stream.write_all(&[1; REQUEST_BYTES])?;
            waiting.push_back(planned);
            sent = sent.saturating_add(1);
        }
        match stream.read(reply.get_mut(filled..).unwrap_or_default()) {
            Ok(0) => return Err("the echo closed".into()),
            Ok(count) => filled = filled.saturating_add(count),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
            Err(error) => return Err(error.into()),
        }
        let arrived = Instant::now();
        if filled == REPLY_BYTES {
            filled = 0;
            if let Some(planned) = waiting.pop_front() {
                times.record(between(planned, arrived))?;
            }
        }
    }
    Ok(times)
}

/// A client epoch for every hundred orders: fewer than the share of ids that a session has among a thousand.
fn id_of(counter: u64) -> u64 {
    let epoch = u16::try_from(counter / 100).unwrap_or(u16::MAX).saturating_add(1);
    ClOrdId::new(epoch, counter).0
}

/// A session that sends orders, and what it waits for.
pub(crate) struct Active {
    peer: Peer,
    next_counter: u64,
    waiting: VecDeque<(u64, Instant)>,
    is_prepared: bool,
}

impl Active {
    /// Logs on.
    pub(crate) fn log_on(address: &str, session_id: u32) -> Result<Self, Failure> {
        let peer = Peer::log_on(address, session_id)?;
        // Every order takes a number, so ids that are made of them are not taken.
        let next_counter = peer.last_client_seq().saturating_add(1);
        Ok(Self { peer, next_counter, waiting: VecDeque::with_capacity(1024), is_prepared: false })
    }

    /// Makes an order ready that the market will not take.
    fn prepare(&mut self) -> Result<(), Failure> {
        self.peer.prepare(&NewOrder {
            cl_ord_id: U64::new(id_of(self.next_counter)),
            px: I64::new(Px(10_000 * 1_000_000_000).0),
            qty: I64::new(Qty(1_000_000).0),
            instrument_id: U32::new(1),
            account_id: U32::new(1),
            side: Side::Buy.raw(),
            ord_type: OrdType::Limit.raw(),
            tif: Tif::Ioc.raw(),
            ..NewOrder::default()
        })?;
        self.is_prepared = true;
        Ok(())
    }

    /// Sends the order that is ready.
    fn send(&mut self, planned: Instant) -> Result<(), Failure> {
        if !self.is_prepared {
            self.prepare()?;
        }
        self.peer.send()?;
        self.is_prepared = false;
        self.waiting.push_back((id_of(self.next_counter), planned));
        self.next_counter = self.next_counter.saturating_add(1);
        Ok(())
    }

    /// Takes in reports; the first of each order is its acceptance.
    fn poll(&mut self, times: &mut RoundTrips) -> Result<Option<u16>, Failure> {
        let waiting = &mut self.waiting;
        let mut refused = None;
        self.peer.poll(&mut |frame: &Frame<'_>, arrived| match frame.header.template_id {
            ExecReport::TEMPLATE_ID => {
                let Ok(report) = frame.read::<ExecReport>() else { return };
                if waiting.front().is_some_and(|(id, _)| *id == report.cl_ord_id.get())
                    && let Some((_, planned)) = waiting.pop_front()
                {
                    // Out of the histogram's range is ten seconds: counted as that.
                    times.saturating_record(between(planned, arrived));
                }
            }
            RequestReject::TEMPLATE_ID => {
                if let Ok(reject) = frame.read::<RequestReject>() {
                    waiting.retain(|(id, _)| *id != reject.cl_ord_id.get());
                    refused = Some(reject.reason.get());
                }
            }
            _ => {}
        })?;
        Ok(refused)
    }
}

/// Tries until the gateway takes an order: the broker is up and the market is there.
pub(crate) fn wait_until_trading(active: &mut [Active]) -> Result<(), Failure> {
    let mut times = round_trips();
    let Some(first) = active.first_mut() else { return Ok(()) };
    let started = Instant::now();
    let mut refused = None;
    while times.is_empty() {
        if first.waiting.is_empty() {
            first.send(Instant::now())?;
        }
        refused = first.poll(&mut times)?.or(refused);
        if started.elapsed().as_secs() > 20 {
            return Err(format!("no order was accepted; the last refusal has reason {refused:?}").into());
        }
    }
    Ok(())
}

/// Sends `orders` orders in turn, at a fixed rate, and times each from when it should have left.
pub(crate) fn order_run(active: &mut [Active], rate: u64, orders: u64) -> Result<RoundTrips, Failure> {
    host::pinned(|| send_and_time(active, rate, orders).map_err(|error| error.to_string()))
}

fn send_and_time(active: &mut [Active], rate: u64, orders: u64) -> Result<RoundTrips, Failure> {
    let mut times = round_trips();
    let mut schedule = Schedule::new(rate);
    let mut sent: u64 = 0;
    let mut turn: usize = 0;
    while times.len() < orders {
        if sent < orders
            && let Some(planned) = schedule.due()
        {
            turn = turn.saturating_add(1).checked_rem(active.len()).unwrap_or(0);
            if let Some(one) = active.get_mut(turn) {
                one.send(planned)?;
            }
            sent = sent.saturating_add(1);
        }
        for one in active.iter_mut() {
            if !one.is_prepared {
                one.prepare()?;
            }
            if let Some(reason) = one.poll(&mut times)? {
                return Err(format!("an order was refused: reason {reason}").into());
            }
        }
    }
    Ok(times)
}
