//! The core alone, in process: 9 % new orders that rest, 3 % immediate-or-cancel, 6 % cancels, 82 % replaces.
//!
//! Every request is answered by the broker at once. What it says passes the same door, as it does in a gateway: the
//! commands that are counted are the clients', the time is that of all.
#![allow(clippy::arithmetic_side_effects)]

use std::time::{Duration, Instant};

use tradecore_domain::command::{CancelOrder, Command, FactKind, ReplaceOrder};
use tradecore_domain::event::Event;
use tradecore_journal::Config;
use tradecore_protocol::fields::{OrderId, Px, Qty, Side, Tif};

use crate::Failure;
use crate::hiccup::Meter;
use crate::host;
use crate::in_process::{BID, Core, ONE};
use crate::journal;
use crate::outcome::Outcome;
use crate::thousandths::Thousandths;
use crate::timing::median;

/// Orders that rest when the measurement begins.
const RESTING: usize = 1000;
/// Prices that orders rest at, from the bid down.
const PRICES: u64 = 50;
const TICK: i64 = ONE / 100;
/// Commands that count for nobody.
const WARM_UP: u64 = 50_000;

/// How it is measured.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Options {
    /// Clients' commands in a round.
    #[arg(long, default_value_t = 1_000_000, value_parser = crate::at_least_one::<u64>)]
    pub(crate) commands: u64,
    /// Rounds, each with the journal and without it.
    #[arg(long, default_value_t = 5, value_parser = crate::at_least_one::<usize>)]
    pub(crate) rounds: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { commands: 1_000_000, rounds: 5 }
    }
}

/// What one round made.
struct Round {
    elapsed: Duration,
    commands: u64,
    /// Commands of clients and of the broker.
    all_commands: u64,
    events: u64,
    /// Of it, the time in which the next segment was still being made.
    waited: Duration,
}

/// Measures with and without a journal, round by round.
pub(crate) fn measure(options: &Options) -> Result<Outcome, Failure> {
    println!("9 % new, 3 % IOC, 6 % cancel, 82 % replace; {RESTING} orders rest at the start; journal in memory");
    let mut rounds = Vec::new();
    let meter = Meter::start()?;
    for number in 1..=options.rounds {
        let (on, off) = if number.is_multiple_of(2) {
            let off = without_journal(options.commands)?;
            (with_journal(options.commands)?, off)
        } else {
            (with_journal(options.commands)?, without_journal(options.commands)?)
        };
        for (name, round) in [("journal on", &on), ("journal off", &off)] {
            println!(
                "  round {number}, {name:<11}: {} commands/s, {} with the broker's; {} events, {} ms waited for segments",
                Thousandths::whole(round.rate(round.commands)),
                Thousandths::whole(round.rate(round.all_commands)),
                round.events,
                round.waited.as_millis()
            );
        }
        rounds.push((on, off));
    }
    let mut outcome = Outcome { hiccups: meter.stop()?, ..Outcome::default() };
    outcome.configure("commands", options.commands);
    outcome.configure("rounds", options.rounds);
    outcome.configure("resting", RESTING);
    conclude(&rounds, &mut outcome);
    Ok(outcome)
}

/// Adds the medians over rounds, each with the journal and without it.
fn conclude(rounds: &[(Round, Round)], outcome: &mut Outcome) {
    let with = |of: fn(&Round) -> u64| Thousandths::whole(median(rounds.iter().map(|(on, _)| of(on)).collect()));
    outcome.add_value("core_commands_per_s", with(|on| on.rate(on.commands)));
    outcome.add_value("core_commands_with_facts_per_s", with(|on| on.rate(on.all_commands)));
    outcome.add_value("core_commands_without_waits_per_s", with(Round::own_rate));
    let ratios = rounds.iter().map(|(on, off)| Thousandths::ratio(on.rate(on.commands), off.rate(off.commands)));
    outcome.add_value("journal_on_off_ratio", Thousandths::median(ratios.collect()).unwrap_or(Thousandths(0)));
}

impl Round {
    /// Clients' commands a second, had every segment been ready: how fast they are made is another figure.
    fn own_rate(&self) -> u64 {
        Self { elapsed: self.elapsed.saturating_sub(self.waited), ..*self }.rate(self.commands)
    }

    fn rate(&self, commands: u64) -> u64 {
        let nanos = self.elapsed.as_nanos().max(1);
        u64::try_from(u128::from(commands) * 1_000_000_000 / nanos).unwrap_or(u64::MAX)
    }
}

fn with_journal(commands: u64) -> Result<Round, Failure> {
    // In memory: what is measured is the core, not how fast a disk takes a gigabyte a second.
    let dir = crate::scratch::in_memory()?;
    let config = Config { max_segment_bytes: 64 << 20, sync: journal::CLASS_JOURNALED, ..Config::new(dir.path()) };
    host::apart(
        || Ok(tradecore_journal::open(&config)?),
        |opened| {
            let (journal, _, _, closer) = opened.into_parts();
            let mut core = Core::start(Some(journal))?;
            let round = run(&mut core, commands)?;
            if let (_, Some(journal)) = core.into_parts() {
                closer.seal(journal);
            }
            Ok(round)
        },
    )
}

fn without_journal(commands: u64) -> Result<Round, Failure> {
    host::apart(|| Core::start(None), |mut core| run(&mut core, commands))
}

fn run(core: &mut Core, commands: u64) -> Result<Round, Failure> {
    let mut load = Load { resting: Vec::with_capacity(RESTING * 2), seed: 42, commands: 0, facts: 0 };
    while load.resting.len() < RESTING {
        load.new_order(core)?;
    }
    for _ in 0..WARM_UP {
        load.step(core)?;
    }
    (load.commands, load.facts, core.waited) = (0, 0, Duration::ZERO);
    let events = core.events;
    let started = Instant::now();
    for _ in 0..commands {
        load.step(core)?;
    }
    Ok(Round {
        elapsed: started.elapsed(),
        commands: load.commands,
        all_commands: load.commands + load.facts,
        events: core.events - events,
        waited: core.waited,
    })
}

/// Who asks, and the broker who answers.
struct Load {
    /// Each with the ticks that it is below the bid.
    resting: Vec<(OrderId, i64)>,
    seed: u64,
    commands: u64,
    facts: u64,
}

impl Load {
    fn step(&mut self, core: &mut Core) -> Result<(), Failure> {
        match self.random(100) {
            0..9 => self.new_order(core),
            9..12 => self.immediate(core),
            12..18 => self.cancel(core),
            _ => self.replace(core),
        }
    }

    /// xorshift64: the same load in every round.
    fn random(&mut self, below: u64) -> u64 {
        self.seed ^= self.seed << 13;
        self.seed ^= self.seed >> 7;
        self.seed ^= self.seed << 17;
        self.seed % below
    }

    fn side(&mut self) -> Side {
        if self.random(2) == 0 { Side::Buy } else { Side::Sell }
    }

    /// One of the resting orders.
    fn pick(&mut self) -> Option<usize> {
        let count = self.resting.len() as u64;
        (count > 0).then(|| self.random(count) as usize)
    }

    fn new_order(&mut self, core: &mut Core) -> Result<(), Failure> {
        let side = self.side();
        let id = core.place(side, Tif::Gtc)?;
        core.fact(id, FactKind::Acknowledged)?;
        self.resting.push((id, 0));
        (self.commands, self.facts) = (self.commands + 1, self.facts + 1);
        Ok(())
    }

    /// It takes a resting order, which keeps their number what it was.
    fn immediate(&mut self, core: &mut Core) -> Result<(), Failure> {
        let side = self.side();
        let id = core.place(side, Tif::Ioc)?;
        core.trade(id, Qty(ONE))?;
        self.commands += 1;
        self.facts += 1;
        if let Some(index) = self.pick() {
            let (resting, _) = self.resting.swap_remove(index);
            core.trade(resting, Qty(ONE))?;
            self.facts += 1;
        }
        Ok(())
    }

    fn cancel(&mut self, core: &mut Core) -> Result<(), Failure> {
        let Some(index) = self.pick() else { return self.new_order(core) };
        let (order_id, _) = self.resting.swap_remove(index);
        let cl_ord_id = core.next_id()?;
        core.run(&Command::CancelOrder(CancelOrder { cl_ord_id, order_id, ..CancelOrder::default() }), true)?;
        if !core.has_made(|event| matches!(event, Event::CancelRequested(_))) {
            return Err("a cancel was refused".into());
        }
        core.fact(order_id, FactKind::Canceled { requested: true })?;
        (self.commands, self.facts) = (self.commands + 1, self.facts + 1);
        Ok(())
    }

    fn replace(&mut self, core: &mut Core) -> Result<(), Failure> {
        let Some(index) = self.pick() else { return self.new_order(core) };
        // Another price than it has, or there is nothing to replace.
        let other = 1 + i64::try_from(self.random(PRICES - 1))?;
        let Some((order_id, ticks)) = self.resting.get_mut(index) else { return Ok(()) };
        *ticks = (*ticks + other) % PRICES as i64;
        let (order_id, px) = (*order_id, Px(BID.0 - *ticks * TICK));
        let total_qty = Qty(ONE);
        let replace = ReplaceOrder { cl_ord_id: core.next_id()?, order_id, px, total_qty, ..ReplaceOrder::default() };
        core.run(&Command::ReplaceOrder(replace), true)?;
        if !core.has_made(|event| matches!(event, Event::ReplaceRequested(_))) {
            return Err("a replace was refused".into());
        }
        core.fact(order_id, FactKind::Replaced { px, total_qty })?;
        (self.commands, self.facts) = (self.commands + 1, self.facts + 1);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_promised_rate_is_of_the_clients_commands_with_the_journal_and_its_waits() {
        let round = |millis, waited| Round {
            elapsed: Duration::from_millis(millis),
            commands: 1_000,
            all_commands: 2_500,
            events: 0,
            waited: Duration::from_millis(waited),
        };
        let mut outcome = Outcome::default();
        conclude(&[(round(1_000, 500), round(800, 0))], &mut outcome);
        let of = |id| outcome.value(id);
        assert_eq!(of("core_commands_per_s"), Some(Thousandths::whole(1_000)));
        assert_eq!(of("core_commands_with_facts_per_s"), Some(Thousandths::whole(2_500)));
        assert_eq!(of("core_commands_without_waits_per_s"), Some(Thousandths::whole(2_000)));
        assert_eq!(of("journal_on_off_ratio"), Some(Thousandths(800)));
    }

    #[test]
    fn every_command_of_the_mix_is_taken_and_as_many_orders_rest_as_before() {
        let mut core = Core::start(None).unwrap();
        let round = run(&mut core, 20_000).unwrap();
        assert_eq!(round.commands, 20_000);
        assert!(round.all_commands > 40_000, "the broker answers each");
        assert!(round.events >= round.all_commands, "each makes an event");
        assert!(core.state.open_orders_count() > 100, "orders rest");
    }
}
