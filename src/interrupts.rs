//! Which CPU the devices interrupt. A loop that has the CPU of the disk's interrupts stops for each answer of the disk,
//! some 20 µs; many drivers let nobody move theirs.

use crate::affinity;

/// Below this, what a CPU has taken says nothing.
const COUNT_MIN: u64 = 10_000;

/// Interrupts of devices that a CPU has taken since the system started.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Interrupts {
    /// The CPU.
    pub cpu: usize,
    /// How many.
    pub count: u64,
    /// Of whom most are: count, number and name of the interrupt.
    pub most: (u64, u32, String),
}

/// Of each CPU, as `/proc/interrupts` has them; empty where that cannot be read.
#[must_use]
pub fn of_devices() -> Vec<Interrupts> {
    parse(&std::fs::read_to_string("/proc/interrupts").unwrap_or_default())
}

/// Warns when a CPU that is meant for the loop has ten times the interrupts of another that might be taken instead.
pub fn warn(cpu: usize) {
    if let Some((loops, other)) = busier(&of_devices(), cpu, &affinity::usable()) {
        let (_, irq, name) = &loops.most;
        tracing::warn!(
            cpu,
            count = loops.count,
            "devices interrupt the loop's CPU, most of all {name} (interrupt {irq}): orders wait meanwhile. CPU {} has \
             taken {}: set core.cpu to that, or move the interrupt (/proc/irq/{irq}/smp_affinity_list) if its driver \
             lets you",
            other.cpu,
            other.count
        );
    }
}

fn busier<'a>(all: &'a [Interrupts], cpu: usize, usable: &[usize]) -> Option<(&'a Interrupts, &'a Interrupts)> {
    let loops = all.iter().find(|of| of.cpu == cpu)?;
    let other = all.iter().filter(|of| of.cpu != cpu && usable.contains(&of.cpu)).min_by_key(|of| of.count)?;
    (loops.count >= COUNT_MIN && loops.count / 10 > other.count).then_some((loops, other))
}

fn parse(text: &str) -> Vec<Interrupts> {
    let mut lines = text.lines();
    let cpus =
        lines.next().unwrap_or_default().split_whitespace().filter_map(|name| name.strip_prefix("CPU")?.parse().ok());
    let mut all: Vec<_> = cpus.map(|cpu| Interrupts { cpu, count: 0, most: (0, 0, String::new()) }).collect();
    for line in lines {
        let mut words = line.split_whitespace();
        // Those with a name instead of a number are the processors' own.
        let Some(irq) = words.next().and_then(|label| label.strip_suffix(':')?.parse().ok()) else { continue };
        let name = line.split_whitespace().next_back().unwrap_or_default();
        for (of, count) in all.iter_mut().zip(words) {
            let Ok(count) = count.parse::<u64>() else { break };
            of.count = of.count.saturating_add(count);
            if count > of.most.0 {
                of.most = (count, irq, name.to_owned());
            }
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "           CPU0       CPU2
 36:          0   15298714 PCI-MSIX-0000:00:02.0   1-edge      virtio1-req.0
 41:      11092          3 PCI-MSIX-0000:00:04.0   1-edge      virtio3-rx
LOC:  191421562  162665129   Local timer interrupts
ERR:          0
";

    #[test]
    fn devices_are_counted_and_the_processors_own_interrupts_are_not() {
        let of = |cpu, count, most: (u64, u32, &str)| {
            let (most_count, irq, name) = most;
            Interrupts { cpu, count, most: (most_count, irq, name.to_owned()) }
        };
        let expected =
            [of(0, 11_092, (11_092, 41, "virtio3-rx")), of(2, 15_298_717, (15_298_714, 36, "virtio1-req.0"))];
        assert_eq!(parse(TEXT), expected);
        assert_eq!(parse(""), []);
    }

    #[test]
    fn a_loop_is_warned_of_devices_where_another_cpu_has_far_less_of_them() {
        let all = parse(TEXT);
        let found = |cpu, usable: &[usize]| busier(&all, cpu, usable).map(|(loops, other)| (loops.cpu, other.cpu));
        assert_eq!(found(2, &[0, 2]), Some((2, 0)));
        assert_eq!(found(0, &[0, 2]), None, "it has the fewest");
        assert_eq!(found(2, &[2]), None, "there is no other");
        assert_eq!(found(1, &[0, 2]), None, "nothing is known of it");
        let few = parse("CPU0 CPU1\n 1: 0 9999 a\n");
        assert_eq!(busier(&few, 1, &[0, 1]), None, "so few say nothing");
    }
}
