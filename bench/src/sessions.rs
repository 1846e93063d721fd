//! Many sessions at once: what the idle ones cost the active ones, and the memory.

use crate::Failure;
use crate::hiccup::Meter;
use crate::host::{Broker, Gateway, Setup};
use crate::orders::{Active, order_run, wait_until_trading};
use crate::outcome::Outcome;
use crate::pace::{Sample, shortfall};
use crate::peer::Peer;
use crate::thousandths::Thousandths;
use crate::timing::{median, print_run};

/// Sessions that send.
pub(crate) const ACTIVE: u32 = 10;

/// Measures both.
pub(crate) fn measure(sessions: u32, rate: u64, seconds: u64, runs: usize) -> Result<Outcome, Failure> {
    let mut outcome = Outcome::default();
    outcome.configure("sessions", sessions);
    outcome.configure("rate", rate);
    outcome.configure("seconds", seconds);
    outcome.configure("runs", runs);
    println!("{ACTIVE} sessions that send {rate} orders/s together: alone, and among {sessions}");
    let files = u64::from(sessions).saturating_mul(2).saturating_add(256);
    tradecore::descriptors::allow(files)
        .map_err(|allowed| format!("{files} open files are needed, {allowed} allowed"))?;
    let idle_bytes = idle_session_bytes(sessions)?;
    let gateway = Gateway::start(setup(sessions))?;
    let mut active = log_on(&gateway, 1, ACTIVE)?;
    active.first_mut().map_or(Ok(()), wait_until_trading)?;
    let orders = rate.saturating_mul(seconds);
    let (mut alone, mut among) = (Vec::new(), Vec::new());
    order_run(&mut active, rate, orders)?;
    let meter = Meter::start()?;
    let (mut all_alone, mut all_among) = (Sample::new(), Sample::new());
    for run in 1..=runs {
        let times = order_run(&mut active, rate, orders)?;
        print_run(&format!("alone, run {run}"), &times.corrected);
        alone.push(times.corrected.value_at_quantile(0.5));
        all_alone.add(&times)?;
        let _idle =
            (ACTIVE + 1..=sessions).map(|id| Peer::log_on(&gateway.address, id)).collect::<Result<Vec<_>, _>>()?;
        let times = order_run(&mut active, rate, orders)?;
        print_run(&format!("among {sessions}, run {run}"), &times.corrected);
        among.push(times.corrected.value_at_quantile(0.5));
        all_among.add(&times)?;
    }
    outcome.hiccups = meter.stop()?;
    outcome.add_value("idle_session_bytes", Thousandths::whole(idle_bytes));
    match shortfall(rate, &[("ten alone", &all_alone), ("ten among all", &all_among)]) {
        Some(why) => outcome.miss("sessions_p50_ratio", why),
        None => outcome.add_value("sessions_p50_ratio", Thousandths::ratio(median(among), median(alone))),
    }
    outcome.add_series("ten sessions", "ten alone", all_alone.corrected);
    outcome.add_series("ten sessions", "ten among all", all_among.corrected);
    Ok(outcome)
}

/// Two gateways that have done the same, for few sessions and for all: what is allocated ahead counts too.
fn idle_session_bytes(sessions: u32) -> Result<u64, Failure> {
    let resident = |count: u32| -> Result<u64, Failure> {
        let gateway = Gateway::start(setup(count))?;
        let mut active = log_on(&gateway, 1, 1)?;
        active.first_mut().map_or(Ok(()), wait_until_trading)?;
        let _idle = (2..=count).map(|id| Peer::log_on(&gateway.address, id)).collect::<Result<Vec<_>, _>>()?;
        gateway.resident_bytes()
    };
    let few = resident(ACTIVE)?;
    Ok(resident(sessions)?.saturating_sub(few).checked_div(u64::from(sessions.saturating_sub(ACTIVE))).unwrap_or(0))
}

/// With the defaults of any gateway, and its venue.
const fn setup(sessions: u32) -> Setup {
    Setup { sessions, broker: Broker::Venue, bounds: None, is_in_memory: false }
}

fn log_on(gateway: &Gateway, first: u32, last: u32) -> Result<Vec<Active>, Failure> {
    (first..=last).map(|id| Active::log_on(&gateway.address, id)).collect()
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    #[test]
    fn without_an_idle_session_there_is_nothing_to_measure() {
        let parse = |count| crate::Arguments::try_parse_from(["bench", "sessions", "--sessions", count]);
        assert!(parse("10").is_err() && parse("11").is_ok());
    }
}
