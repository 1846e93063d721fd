//! Pseudo-random draws that are pure functions of seed, purpose and number: nothing to store or restore.

/// What a draw is for; each purpose has its own sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Draw {
    RequestJitter = 1,
    DropBefore = 2,
    DropAfter = 3,
    LoseReply = 4,
    DuplicateEvent = 5,
}

const PPM: u64 = 1_000_000;

/// SplitMix64's finalizer over the three inputs.
pub(crate) fn draw(seed: u64, purpose: Draw, number: u64) -> u64 {
    let mut z = seed
        .wrapping_mul(0x9E37_79B9_7F4A_7C15)
        .wrapping_add((purpose as u64).wrapping_mul(0xD1B5_4A32_D192_ED03))
        .wrapping_add(number.wrapping_mul(0x8CB9_2BA7_2F3D_8DD7));
    for multiplier in [0xBF58_476D_1CE4_E5B9_u64, 0x94D0_49BB_1331_11EB] {
        z = (z ^ (z >> 31)).wrapping_mul(multiplier);
    }
    z ^ (z >> 31)
}

/// True for `rate_ppm` in a million numbers.
pub(crate) fn chance(seed: u64, purpose: Draw, number: u64, rate_ppm: u32) -> bool {
    draw(seed, purpose, number).checked_rem(PPM).unwrap_or(0) < u64::from(rate_ppm)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chance_meets_its_rate_and_its_purposes_are_independent() {
        let hits = |purpose| (0..100_000).filter(|n| chance(7, purpose, *n, 100_000)).count();
        for purpose in [Draw::DropBefore, Draw::DropAfter, Draw::LoseReply, Draw::DuplicateEvent] {
            assert!((9_500..10_500).contains(&hits(purpose)), "{purpose:?}: {}", hits(purpose));
        }
        let both = |n: &u64| chance(7, Draw::DropBefore, *n, 100_000) && chance(7, Draw::DropAfter, *n, 100_000);
        assert!((800..1_200).contains(&(0..100_000).filter(both).count()));
        assert!((0..1000).all(|n| chance(7, Draw::LoseReply, n, 1_000_000)));
        assert!(!(0..1000).any(|n| chance(7, Draw::LoseReply, n, 0)));
    }
}
