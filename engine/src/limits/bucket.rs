//! One rate: a token bucket, from which tokens may be taken before they are there by whoever waits for them.

use crate::time::{Duration, Instant};

const SECOND: u128 = 1_000_000;

/// Grows by a number of tokens a second up to the most that it holds. What is in debt grows as well.
#[derive(Clone, Debug)]
pub(super) struct Bucket {
    /// Tokens a second.
    rate: u64,
    /// What is saved up at most.
    most: u64,
    tokens: i64,
    /// Millionths of a token beside them.
    rest: u64,
    last: Option<Instant>,
}

impl Bucket {
    /// A full one.
    pub(super) fn new(rate: u64, most: u64) -> Bucket {
        // Beyond this nobody notices a bound, and sums of it fit.
        const MOST: u64 = 1 << 40;
        let (rate, most) = (rate.clamp(1, MOST), most.clamp(1, MOST));
        Bucket { rate, most, tokens: most as i64, rest: 0, last: None }
    }

    /// A full one for bytes: what is saved up is a tenth of a second, so that the rate is true in any second, but no less than
    /// some segments, as others could never be sent.
    pub(super) fn of_bytes(rate: u64) -> Bucket {
        Bucket::new(rate, (rate / 10).max(4096))
    }

    /// How many tokens one of those that wait takes at a time: those of a twentieth of a second.
    pub(super) fn portion(&self) -> usize {
        (self.rate / 20).clamp(64, 64 << 10) as usize
    }

    fn grow(&mut self, now: Instant) {
        let elapsed = match self.last {
            Some(last) if now > last => (now - last).total_micros(),
            _ => 0,
        };
        self.last = Some(now);
        let grown = u128::from(elapsed) * u128::from(self.rate) + u128::from(self.rest);
        let tokens = i128::from(self.tokens) + i128::try_from(grown / SECOND).unwrap_or(i128::MAX / 2);
        self.rest = (grown % SECOND) as u64;
        if tokens >= i128::from(self.most) {
            (self.tokens, self.rest) = (self.most as i64, 0);
        } else {
            self.tokens = tokens as i64;
        }
    }

    /// The tokens that are there.
    pub(super) fn available(&mut self, now: Instant) -> usize {
        self.grow(now);
        usize::try_from(self.tokens).unwrap_or(0)
    }

    /// Takes tokens whether they are there or not.
    pub(super) fn take(&mut self, tokens: usize) {
        self.tokens = self.tokens.saturating_sub(i64::try_from(tokens).unwrap_or(i64::MAX)).max(i64::MIN / 2);
    }

    /// Takes them, and tells when they will be there.
    pub(super) fn reserve(&mut self, tokens: usize, now: Instant) -> Instant {
        self.grow(now);
        self.take(tokens);
        let missing = u128::from(self.tokens.min(0).unsigned_abs()) * SECOND;
        let wait = missing.saturating_sub(self.rest.into()).div_ceil(self.rate.into());
        now + Duration::from_micros(u64::try_from(wait).unwrap_or(u64::MAX))
    }

    /// Whether so many are there, or all that ever will be.
    pub(super) fn has(&mut self, tokens: usize, now: Instant) -> bool {
        self.available(now) as u64 >= (tokens as u64).min(self.most)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(micros: i64) -> Instant {
        Instant::from_micros(micros)
    }

    #[test]
    fn it_fills_by_its_rate_and_no_further() {
        let mut bucket = Bucket::new(1000, 50);
        assert_eq!(bucket.available(at(0)), 50);
        bucket.take(50);
        assert_eq!(bucket.available(at(999)), 0);
        assert_eq!(bucket.available(at(1000)), 1);
        assert_eq!(bucket.available(at(10_500)), 10);
        assert_eq!(bucket.available(at(11_000)), 11);
        assert_eq!(bucket.available(at(1_000_000)), 50);
        // A clock that goes back grants nothing, and goes on from there.
        bucket.take(50);
        assert_eq!(bucket.available(at(0)), 0);
        assert_eq!(bucket.available(at(5_000)), 5);
    }

    #[test]
    fn nothing_is_lost_by_asking_often() {
        let mut bucket = Bucket::new(3, 100);
        bucket.take(100);
        for micros in (0..=10_000_000).step_by(777) {
            bucket.available(at(micros));
        }
        assert_eq!(bucket.available(at(10_000_000)), 30);
    }

    #[test]
    fn who_waits_is_told_until_when() {
        let mut bucket = Bucket::new(1000, 10);
        bucket.take(10);
        assert_eq!(bucket.reserve(5, at(0)), at(5_000));
        assert_eq!(bucket.reserve(5, at(0)), at(10_000));
        assert_eq!(bucket.available(at(9_999)), 0);
        assert_eq!(bucket.available(at(11_000)), 1);
        assert!(!bucket.has(2, at(11_000)) && bucket.has(2, at(12_000)));
        // What is more than there ever will be is there when all is.
        assert!(!bucket.has(500, at(19_000)) && bucket.has(500, at(20_000)));
    }

    #[test]
    fn rates_without_sense_are_bounded() {
        let mut bucket = Bucket::of_bytes(u64::MAX);
        bucket.take(usize::MAX);
        bucket.take(usize::MAX);
        assert!(bucket.reserve(usize::MAX, at(i64::MAX)) >= at(0));
        assert_eq!(bucket.available(at(i64::MIN)), 0);
        assert_eq!(Bucket::of_bytes(0).portion(), 64);
    }
}
