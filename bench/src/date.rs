//! A time as people write it.
#![allow(clippy::arithmetic_side_effects)]

/// `2026-11-21 18:37 UTC`, of seconds since 1970.
pub(crate) fn utc(seconds: u64) -> String {
    let (mut day, minute) = (seconds / 86_400, seconds % 86_400 / 60);
    let mut year = 1970;
    while day >= 365 + u64::from(is_leap(year)) && year < 9999 {
        day -= 365 + u64::from(is_leap(year));
        year += 1;
    }
    let february = 28 + u64::from(is_leap(year));
    let mut month = 1;
    for length in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30] {
        if day < length {
            break;
        }
        day -= length;
        month += 1;
    }
    format!("{year}-{month:02}-{:02} {:02}:{:02} UTC", day + 1, minute / 60, minute % 60)
}

const fn is_leap(year: u64) -> bool {
    year.is_multiple_of(4) && !year.is_multiple_of(100) || year.is_multiple_of(400)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_those_of_the_calendar() {
        for (seconds, text) in [
            (0, "1970-01-01 00:00 UTC"),
            (951_782_399, "2000-02-28 23:59 UTC"),
            (951_782_400, "2000-02-29 00:00 UTC"),
            (951_868_800, "2000-03-01 00:00 UTC"),
            (1_767_225_599, "2025-12-31 23:59 UTC"),
            (1_767_225_600, "2026-01-01 00:00 UTC"),
            (1_795_286_220, "2026-11-21 18:37 UTC"),
        ] {
            assert_eq!(utc(seconds), text);
        }
    }
}
