//! Whom to kill, and in which order.

/// Who is killed at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Strike {
    /// The gateway; the venue trades on.
    Gateway,
    /// The venue; the gateway takes orders on.
    Venue,
    /// Both: neither starts again before both are gone.
    Both,
}

impl Strike {
    pub(super) const fn hits_gateway(self) -> bool {
        matches!(self, Self::Gateway | Self::Both)
    }

    pub(super) const fn hits_venue(self) -> bool {
        matches!(self, Self::Venue | Self::Both)
    }

    pub(super) const fn text(self) -> &'static str {
        match self {
            Self::Gateway => "the gateway",
            Self::Venue => "the venue",
            Self::Both => "gateway and venue at once",
        }
    }
}

/// What was done.
#[derive(Debug, Default)]
pub(super) struct Struck {
    pub(super) strikes: Vec<Strike>,
    /// Orders that were on their way then, all together.
    pub(super) on_their_way: u64,
}

/// Strikes in which the gateway is killed `kills` times and the venue `venue_kills` times: half of the lesser number
/// are of both at once, the rest of one alone; the kinds are mixed evenly.
pub(super) fn schedule(kills: u32, venue_kills: u32) -> Vec<Strike> {
    let both = kills.min(venue_kills) / 2;
    let kinds = [
        (Strike::Gateway, kills.saturating_sub(both)),
        (Strike::Venue, venue_kills.saturating_sub(both)),
        (Strike::Both, both),
    ];
    // The n-th of m of a kind stands at (2n + 1) / 2m of the way, n from 0.
    let mut placed: Vec<(u64, Strike)> = Vec::new();
    for (strike, count) in kinds {
        let place = |nth: u32| (u64::from(nth).saturating_mul(2).saturating_add(1) << 31).checked_div(count.into());
        placed.extend((0..count).filter_map(place).map(|place| (place, strike)));
    }
    placed.sort_by_key(|(place, _)| *place);
    placed.into_iter().map(|(_, strike)| strike).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schedule_kills_each_as_often_as_asked_alone_and_with_the_other() {
        for (kills, venue_kills, alone, venue_alone, both) in [
            (0, 0, 0, 0, 0),
            (1, 0, 1, 0, 0),
            (0, 2, 0, 2, 0),
            (5, 3, 4, 2, 1),
            (50, 25, 38, 13, 12),
            (60, 60, 30, 30, 30),
        ] {
            let strikes = schedule(kills, venue_kills);
            let count = |wanted: Strike| strikes.iter().filter(|strike| **strike == wanted).count();
            assert_eq!((count(Strike::Gateway), count(Strike::Venue), count(Strike::Both)), (alone, venue_alone, both));
            let hits = |hit: fn(Strike) -> bool| strikes.iter().filter(|strike| hit(**strike)).count();
            assert_eq!(hits(Strike::hits_gateway), kills as usize);
            assert_eq!(hits(Strike::hits_venue), venue_kills as usize);
        }
        use Strike::{Both, Gateway, Venue};
        assert_eq!(schedule(4, 4), [Gateway, Venue, Both, Gateway, Venue, Both], "the kinds are mixed");
    }
}
