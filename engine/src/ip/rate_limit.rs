//! A token bucket for messages that the engine sends on its own account, such as ICMP errors (RFC 1812 section
//! 4.3.2.8).

use crate::time::{Duration, Instant};

/// Allows bursts of a given size and a given mean rate.
///
/// A clock that stands still grants nothing beyond the burst; a clock that jumps back grants nothing and counts on
/// from where it landed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RateLimit {
    /// Time in which one token grows.
    interval: Duration,
    /// Time in which the empty bucket fills.
    capacity: Duration,
    /// Tokens in the bucket, measured in the time it takes to grow them.
    saved: Duration,
    last: Option<Instant>,
}

impl RateLimit {
    /// A full bucket of `burst` tokens that grows `per_second` tokens a second. A rate of 0 counts as 1.
    pub(crate) fn new(per_second: u32, burst: u32) -> Self {
        let interval = Duration::from_micros(1_000_000 / u64::from(per_second.clamp(1, 1_000_000)));
        let capacity = interval * burst;
        RateLimit { interval, capacity, saved: capacity, last: None }
    }

    /// The limit for ICMP errors: 1000 a second, in bursts of up to 100. No guest that works needs more.
    pub(crate) fn icmp_errors() -> Self {
        RateLimit::new(1000, 100)
    }

    /// Takes a token if there is one.
    pub(crate) fn allow(&mut self, now: Instant) -> bool {
        let elapsed = match self.last {
            Some(last) if now > last => now - last,
            _ => Duration::ZERO,
        };
        self.last = Some(now);
        self.saved =
            Duration::from_micros(self.saved.total_micros().saturating_add(elapsed.total_micros())).min(self.capacity);
        if self.saved < self.interval {
            return false;
        }
        self.saved -= self.interval;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(limit: &mut RateLimit, now: Instant, attempts: usize) -> usize {
        (0..attempts).filter(|_| limit.allow(now)).count()
    }

    #[test]
    fn a_burst_passes_and_then_the_rate_holds() {
        let mut limit = RateLimit::icmp_errors();
        let start = Instant::from_secs(5);
        assert_eq!(allowed(&mut limit, start, 500), 100);
        assert_eq!(allowed(&mut limit, start + Duration::from_millis(10), 500), 10);
        assert_eq!(allowed(&mut limit, start + Duration::from_secs(3600), 500), 100);
    }

    #[test]
    fn the_time_between_attempts_is_not_lost() {
        let mut limit = RateLimit::new(1000, 1);
        assert!(limit.allow(Instant::ZERO));
        let passed = (1..=10_000).filter(|at| limit.allow(Instant::from_micros(at * 100))).count();
        assert_eq!(passed, 1000);
    }

    #[test]
    fn a_clock_that_jumps_back_neither_grants_nor_blocks_for_long() {
        let mut limit = RateLimit::new(10, 1);
        assert!(limit.allow(Instant::from_secs(1000)));
        assert!(!limit.allow(Instant::from_secs(1)));
        assert!(limit.allow(Instant::from_secs(1) + Duration::from_millis(100)));
    }

    #[test]
    fn a_rate_of_zero_is_usable() {
        assert!(RateLimit::new(0, 1).allow(Instant::ZERO));
        assert!(!RateLimit::new(0, 0).allow(Instant::ZERO));
    }
}
