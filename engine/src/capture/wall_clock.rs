//! The time of day, which is what other records on the machine go by. (The application's clock may be a virtual one.)

use std::fmt;

use crate::host::wall_clock::time_of_day;

const SECONDS_A_DAY: u64 = 86_400;

/// Nanoseconds since the first of January 1970, without leap seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct WallTime(pub u64);

impl WallTime {
    /// Reads the clock. Before 1970 it is always 1970.
    #[inline]
    pub(super) fn now() -> WallTime {
        WallTime(time_of_day())
    }
}

/// As RFC 3339 has it.
impl fmt::Display for WallTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (seconds, nanoseconds) = (self.0 / 1_000_000_000, self.0 % 1_000_000_000);
        let (days, seconds) = (seconds / SECONDS_A_DAY, seconds % SECONDS_A_DAY);
        let (year, month, day) = date(days);
        let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{nanoseconds:09}Z")
    }
}

/// The date so many days after the first of January 1970.
fn date(mut days: u64) -> (u64, u64, u64) {
    let is_leap = |year: u64| (year.is_multiple_of(4) && !year.is_multiple_of(100)) || year.is_multiple_of(400);
    let mut year = 1970;
    // The clock ends in the year 2554, so that this is short.
    loop {
        let length = if is_leap(year) { 366 } else { 365 };
        if days < length {
            break;
        }
        days -= length;
        year += 1;
    }
    let february = if is_leap(year) { 29 } else { 28 };
    let mut month = 1;
    for length in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] {
        if days < length {
            break;
        }
        days -= length;
        month += 1;
    }
    (year, month, days + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        let shown = |seconds: u64| WallTime(seconds * 1_000_000_000 + 7).to_string();
        assert_eq!(shown(0), "1970-01-01T00:00:00.000000007Z");
        assert_eq!(shown(951_782_400), "2000-02-29T00:00:00.000000007Z");
        assert_eq!(shown(1_709_251_199), "2024-02-29T23:59:59.000000007Z");
        assert_eq!(shown(1_709_251_200), "2024-03-01T00:00:00.000000007Z");
        assert_eq!(shown(1_767_225_599), "2025-12-31T23:59:59.000000007Z");
        assert_eq!(WallTime(u64::MAX).to_string(), "2554-07-21T23:34:33.709551615Z");
    }
}
