//! Which CPU is whose.

use std::str::FromStr;
use std::sync::OnceLock;

use tradecore::interrupts::Interrupts;

/// The CPU of the measured servers, and that of the measuring thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pair {
    server: usize,
    generator: usize,
}

impl FromStr for Pair {
    type Err = String;

    /// `3,2`, of CPUs that this process may use.
    fn from_str(text: &str) -> Result<Self, String> {
        parse(text, &tradecore::affinity::usable())
    }
}

fn parse(text: &str, usable: &[usize]) -> Result<Pair, String> {
    let both = text.split_once(',').and_then(|(server, generator)| {
        Some(Pair { server: server.trim().parse().ok()?, generator: generator.trim().parse().ok()? })
    });
    let pair = both.ok_or("two numbers of CPUs are wanted: that of the gateway's loop, that of the generator")?;
    if pair.server == pair.generator {
        return Err("loop and generator spin, each on a CPU of its own: name two different ones".to_owned());
    }
    for cpu in [pair.server, pair.generator] {
        if !usable.contains(&cpu) {
            return Err(format!(
                "CPU {cpu} is none of those that this process may use: {usable:?}; `taskset -c` gives others"
            ));
        }
    }
    Ok(pair)
}

/// Found once, at the start, since a thread that is pinned has but one.
static PAIR: OnceLock<(Option<Pair>, bool)> = OnceLock::new();

/// Takes these, or who `by_default` says.
pub(crate) fn choose(chosen: Option<Pair>) {
    let _ = PAIR.set((chosen.or_else(here), chosen.is_some()));
}

fn here() -> Option<Pair> {
    by_default(&tradecore::affinity::usable(), &tradecore::interrupts::of_devices())
}

/// The loop gets the CPU that devices have interrupted least, of several the last: beside the disk's interrupts its tail
/// would be theirs. The generator gets the first of the others.
fn by_default(usable: &[usize], devices: &[Interrupts]) -> Option<Pair> {
    let count = |cpu: usize| devices.iter().find(|of| of.cpu == cpu).map_or(0, |of| of.count);
    let server = usable.iter().copied().rev().min_by_key(|cpu| count(*cpu))?;
    let generator = usable.iter().copied().find(|cpu| *cpu != server)?;
    Some(Pair { server, generator })
}

fn pair() -> Option<Pair> {
    PAIR.get_or_init(|| (here(), false)).0
}

/// What the measured servers are pinned to, where there are CPUs to choose from.
pub(crate) fn server() -> Option<usize> {
    pair().map(|pair| pair.server)
}

/// What the measuring thread is pinned to.
pub(crate) fn generator() -> Option<usize> {
    pair().map(|pair| pair.generator)
}

/// What was chosen, as the option wants it: for another process of this program.
pub(crate) fn chosen() -> Option<String> {
    let (pair, is_chosen) = PAIR.get()?;
    pair.filter(|_| *is_chosen).map(|pair| format!("{},{}", pair.server, pair.generator))
}

/// Which CPU is whose, in words.
pub(crate) fn pinning() -> String {
    pair().map_or_else(
        || "none: there is one CPU".to_owned(),
        |Pair { server, generator }| {
            format!("server's loop on CPU {server}, generator and venue on CPU {generator}, side threads on all but the loop's")
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_different_cpus_that_may_be_used_are_taken_and_nothing_else() {
        let usable = [0, 2, 3];
        assert_eq!(parse("3, 2", &usable), Ok(Pair { server: 3, generator: 2 }));
        for (text, reason) in [
            ("3", "two numbers"),
            ("3,2,0", "two numbers"),
            ("a,2", "two numbers"),
            ("2,2", "two different"),
            ("3,1", "CPU 1 is none of those that this process may use: [0, 2, 3]"),
        ] {
            let refusal = parse(text, &usable).unwrap_err();
            assert!(refusal.contains(reason), "{text}: {refusal}");
        }
    }

    #[test]
    fn by_default_the_loop_has_the_cpu_that_devices_leave_alone_and_the_generator_the_first_of_the_others() {
        let of = |cpu, count| Interrupts { cpu, count, ..Interrupts::default() };
        let disk_on_last = [of(2, 40), of(3, 7), of(7, 1_000_000)];
        assert_eq!(by_default(&[2, 3, 7], &disk_on_last), Some(Pair { server: 3, generator: 2 }));
        assert_eq!(by_default(&[2, 7], &disk_on_last), Some(Pair { server: 2, generator: 7 }));
        assert_eq!(by_default(&[2, 3, 7], &[]), Some(Pair { server: 7, generator: 2 }), "of several the last");
        assert_eq!((by_default(&[4], &[]), by_default(&[], &[])), (None, None));
    }
}
