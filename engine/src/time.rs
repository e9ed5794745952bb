//! Time as the engine sees it: microseconds on the application's clock, only comparable with itself.
//!
//! The clock may stand still (a paused VM) or run slower than real time; nothing here reads it, it is always an argument.
//! All arithmetic saturates: a clock, or a deadline, at the end of time stays there.

use std::fmt;
use std::ops::{Add, AddAssign, Div, Mul, Sub, SubAssign};

/// A moment on the application's clock, in microseconds since some beginning that only the application knows. It may lie
/// before that beginning.
///
/// ```
/// use oxislirp::Instant;
/// use std::time::Duration;
///
/// let began = Instant::from_millis(1_000);
/// assert_eq!(began + Duration::from_millis(2), Instant::from_micros(1_002_000));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant {
    micros: i64,
}

impl Instant {
    /// The beginning of the clock.
    pub const ZERO: Instant = Instant::from_micros(0);

    /// So many microseconds after the beginning of the clock.
    pub const fn from_micros(micros: i64) -> Instant {
        Instant { micros }
    }

    /// So many milliseconds after the beginning of the clock.
    pub const fn from_millis(millis: i64) -> Instant {
        Instant { micros: millis.saturating_mul(1_000) }
    }

    /// So many seconds after the beginning of the clock.
    pub const fn from_secs(secs: i64) -> Instant {
        Instant { micros: secs.saturating_mul(1_000_000) }
    }

    /// Microseconds since the beginning of the clock.
    pub const fn total_micros(self) -> i64 {
        self.micros
    }

    /// Whole milliseconds since the beginning of the clock.
    pub const fn total_millis(self) -> i64 {
        self.micros / 1_000
    }

    /// How much later this moment is than `earlier`; nothing when it is not later at all.
    pub fn saturating_duration_since(self, earlier: Instant) -> std::time::Duration {
        std::time::Duration::from_micros(u64::try_from(self.micros.saturating_sub(earlier.micros)).unwrap_or(0))
    }
}

/// In seconds.
impl fmt::Display for Instant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.micros < 0 { "-" } else { "" };
        let micros = self.micros.unsigned_abs();
        write!(f, "{sign}{}.{:06} s", micros / 1_000_000, micros % 1_000_000)
    }
}

impl Add<std::time::Duration> for Instant {
    type Output = Instant;

    fn add(self, by: std::time::Duration) -> Instant {
        self + Duration::from(by)
    }
}

impl AddAssign<std::time::Duration> for Instant {
    fn add_assign(&mut self, by: std::time::Duration) {
        *self = *self + by;
    }
}

impl Sub<std::time::Duration> for Instant {
    type Output = Instant;

    fn sub(self, by: std::time::Duration) -> Instant {
        self - Duration::from(by)
    }
}

impl Add<Duration> for Instant {
    type Output = Instant;

    #[inline]
    fn add(self, by: Duration) -> Instant {
        Instant { micros: self.micros.saturating_add_unsigned(by.micros) }
    }
}

impl AddAssign<Duration> for Instant {
    #[inline]
    fn add_assign(&mut self, by: Duration) {
        *self = *self + by;
    }
}

impl Sub<Duration> for Instant {
    type Output = Instant;

    #[inline]
    fn sub(self, by: Duration) -> Instant {
        Instant { micros: self.micros.saturating_sub_unsigned(by.micros) }
    }
}

/// How far apart two moments are, whichever was first.
impl Sub<Instant> for Instant {
    type Output = Duration;

    #[inline]
    fn sub(self, other: Instant) -> Duration {
        Duration { micros: self.micros.abs_diff(other.micros) }
    }
}

/// A length of time in microseconds: what is between two [`Instant`]s. Everything that is asked for or told by this crate is a
/// [`std::time::Duration`], into which it goes by `into()`; this one is half as long, which is what is computed with for each frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Duration {
    micros: u64,
}

impl Duration {
    /// No time.
    pub const ZERO: Duration = Duration::from_micros(0);
    /// The longest there is.
    pub const MAX: Duration = Duration::from_micros(u64::MAX);

    /// So many microseconds.
    pub const fn from_micros(micros: u64) -> Duration {
        Duration { micros }
    }

    /// So many milliseconds.
    pub const fn from_millis(millis: u64) -> Duration {
        Duration { micros: millis.saturating_mul(1_000) }
    }

    /// So many seconds.
    pub const fn from_secs(secs: u64) -> Duration {
        Duration { micros: secs.saturating_mul(1_000_000) }
    }

    /// Its length in microseconds.
    pub const fn total_micros(self) -> u64 {
        self.micros
    }

    /// Its length in whole milliseconds.
    pub const fn total_millis(self) -> u64 {
        self.micros / 1_000
    }

    /// Its length in whole seconds.
    pub const fn secs(self) -> u64 {
        self.micros / 1_000_000
    }
}

impl From<std::time::Duration> for Duration {
    fn from(length: std::time::Duration) -> Duration {
        Duration { micros: u64::try_from(length.as_micros()).unwrap_or(u64::MAX) }
    }
}

impl From<Duration> for std::time::Duration {
    fn from(length: Duration) -> std::time::Duration {
        std::time::Duration::from_micros(length.micros)
    }
}

impl Add for Duration {
    type Output = Duration;

    #[inline]
    fn add(self, other: Duration) -> Duration {
        Duration { micros: self.micros.saturating_add(other.micros) }
    }
}

impl AddAssign for Duration {
    fn add_assign(&mut self, other: Duration) {
        *self = *self + other;
    }
}

impl Sub for Duration {
    type Output = Duration;

    #[inline]
    fn sub(self, other: Duration) -> Duration {
        Duration { micros: self.micros.saturating_sub(other.micros) }
    }
}

impl SubAssign for Duration {
    fn sub_assign(&mut self, other: Duration) {
        *self = *self - other;
    }
}

impl Mul<u32> for Duration {
    type Output = Duration;

    #[inline]
    fn mul(self, times: u32) -> Duration {
        Duration { micros: self.micros.saturating_mul(u64::from(times)) }
    }
}

/// A division by zero gives the longest time there is.
impl Div<u32> for Duration {
    type Output = Duration;

    #[inline]
    fn div(self, by: u32) -> Duration {
        Duration { micros: self.micros.checked_div(u64::from(by)).unwrap_or(u64::MAX) }
    }
}

/// The earlier of two moments that may not come.
pub(crate) fn earliest(a: Option<Instant>, b: Option<Instant>) -> Option<Instant> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (only, None) | (None, only) => only,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arithmetic_stops_at_the_ends_of_time() {
        let end = Instant::from_micros(i64::MAX);
        assert_eq!(end + Duration::from_secs(1), end);
        assert_eq!(Instant::ZERO + Duration::MAX, end);
        assert_eq!(Instant::from_secs(i64::MAX), end);
        assert_eq!(Instant::from_micros(i64::MIN) - Duration::from_micros(1), Instant::from_micros(i64::MIN));
        assert_eq!(end - Instant::from_micros(i64::MIN), Duration::MAX);
        assert_eq!(Duration::from_secs(1) - Duration::from_secs(2), Duration::ZERO);
        assert_eq!(Duration::from_secs(1) / 0, Duration::MAX);
        assert_eq!(Duration::from_secs(u64::MAX) * 2, Duration::MAX);
    }

    #[test]
    fn a_moment_is_written_in_seconds() {
        assert_eq!(Instant::from_micros(1_000_001).to_string(), "1.000001 s");
        assert_eq!(Instant::from_micros(-500_000).to_string(), "-0.500000 s");
    }

    #[test]
    fn differences_have_no_sign() {
        let (early, late) = (Instant::from_millis(-3), Instant::from_millis(4));
        assert_eq!(late - early, Duration::from_millis(7));
        assert_eq!(early - late, Duration::from_millis(7));
        assert!(early < late);
    }

    #[test]
    fn the_standard_library_s_durations_are_taken() {
        let half = std::time::Duration::from_millis(500);
        assert_eq!(Instant::ZERO + half, Instant::from_micros(500_000));
        assert_eq!(Instant::ZERO - half, Instant::from_micros(-500_000));
        assert_eq!(std::time::Duration::from(Duration::from_millis(500)), half);
        assert_eq!(Duration::from(std::time::Duration::MAX), Duration::MAX);
        assert_eq!(Instant::from_millis(700).saturating_duration_since(Instant::from_millis(200)), half);
        assert_eq!(Instant::ZERO.saturating_duration_since(Instant::from_millis(200)), std::time::Duration::ZERO);
    }
}
