//! Pacing: bytes go out at a rate, in bursts of bounded size, where the path is long enough for that to mean anything.
//!
//! A bucket fills at the rate and is emptied by what is sent. It holds an initial window (RFC 9002 section 7.7), or what the
//! rate brings while the application's clock takes one step: how late the application comes for a deadline is measured, so
//! that on a clock that ticks finely bursts are short, and on one of 10 ms each tick brings what ten milliseconds carry.
//! What waits for the bucket has a deadline of its own, at which as much is sent as a millisecond brings and no less than
//! two segments, so that pacing costs at most about a thousand wake-ups a second.

use crate::time::{Duration, Instant};

/// What is sent at one deadline: what the rate brings in this time, but no more than so many bytes.
const QUANTUM: Duration = Duration::from_millis(1);
const MAX_QUANTUM: u64 = 64 << 10;
/// The most that a clock is believed to step.
const MAX_STEP: u64 = 100_000;
/// Time that the bucket fills in at most.
const MAX_FILL: u64 = 1_000_000;

/// See the module. Without a rate there is no pacing.
#[derive(Debug)]
pub(super) struct Pacer {
    /// Bytes a second; 0 when nothing is paced.
    rate: u64,
    /// What the bucket held at some moment, in bytes. What was sent in spite of it is owed.
    held: i64,
    at: Instant,
    /// When something that waits may be sent.
    due: Option<Instant>,
    /// How late the application is for deadlines, in microseconds.
    late: u32,
}

impl Pacer {
    pub(super) fn new() -> Pacer {
        Pacer { rate: 0, held: 0, at: Instant::ZERO, due: None, late: 0 }
    }

    #[inline]
    pub(super) fn due(&self) -> Option<Instant> {
        self.due
    }

    pub(super) fn stop(&mut self) {
        self.due = None;
    }

    /// Paces at so many bytes a second from now on, or not at all.
    #[inline]
    pub(super) fn set_rate(&mut self, rate: Option<u64>, segment: u32, now: Instant) {
        let rate = rate.unwrap_or(0);
        if rate == self.rate {
            return;
        }
        if rate == 0 {
            self.due = None;
        } else if self.rate == 0 {
            self.at = now;
            self.held = self.depth(segment) as i64;
        } else {
            self.held = self.balance(segment, now);
            self.at = now;
        }
        self.rate = rate;
    }

    /// The least that is worth a deadline.
    fn quantum(&self, segment: u32) -> u64 {
        let of_rate = self.rate.saturating_mul(QUANTUM.total_micros()) / 1_000_000;
        of_rate.min(MAX_QUANTUM).max(2 * u64::from(segment))
    }

    fn depth(&self, segment: u32) -> u64 {
        let step = self.rate.saturating_mul(u64::from(self.late)) / 1_000_000;
        (self.quantum(segment) + step).max(10 * u64::from(segment.min(6554)))
    }

    fn balance(&self, segment: u32, now: Instant) -> i64 {
        let elapsed = now.total_micros().saturating_sub(self.at.total_micros()).max(0) as u64;
        let filled = self.rate.saturating_mul(elapsed.min(MAX_FILL)) / 1_000_000;
        self.held.saturating_add_unsigned(filled).min(self.depth(segment) as i64)
    }

    /// Whether a segment may be sent now. When it may not, there is a deadline for it.
    #[inline]
    pub(super) fn allows(&mut self, segment: u32, now: Instant) -> bool {
        self.rate == 0 || self.has(segment, now)
    }

    fn has(&mut self, segment: u32, now: Instant) -> bool {
        let balance = self.balance(segment, now);
        self.held = balance;
        self.at = now;
        if balance >= i64::from(segment) {
            return true;
        }
        if self.due.is_none_or(|due| due <= now) {
            let missing = (self.quantum(segment) as i64).saturating_sub(balance).max(1) as u64;
            let micros = missing.saturating_mul(1_000_000).div_ceil(self.rate.max(1));
            self.due = Some(now + Duration::from_micros(micros.min(MAX_FILL)));
        }
        false
    }

    /// Bytes were sent, whether they were allowed or not.
    #[inline]
    pub(super) fn spend(&mut self, bytes: u32, segment: u32, now: Instant) {
        if self.rate > 0 {
            self.held = self.balance(segment, now).saturating_sub(bytes.into());
            self.at = now;
        }
    }

    /// The deadline has come, if it has.
    pub(super) fn on_deadline(&mut self, now: Instant) {
        if let Some(due) = self.due
            && due <= now
        {
            let late = (now - due).total_micros().min(MAX_STEP) as u32;
            self.late = late.max(self.late - self.late / 8);
            self.due = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEGMENT: u32 = 1000;

    /// What is sent from a source that always has more, by an application whose clock steps so many microseconds; the sum and
    /// the longest burst.
    fn sent(rate: u64, step: i64, micros: i64) -> (u64, u64) {
        let mut now = Instant::from_secs(5);
        let end = now + Duration::from_micros(micros as u64);
        let mut pacer = Pacer::new();
        pacer.set_rate(Some(rate), SEGMENT, now);
        let (mut sum, mut longest) = (0, 0);
        while now < end {
            pacer.on_deadline(now);
            let mut burst = 0;
            while pacer.allows(SEGMENT, now) {
                pacer.spend(SEGMENT, SEGMENT, now);
                burst += u64::from(SEGMENT);
            }
            sum += burst;
            longest = longest.max(burst);
            let due = pacer.due().expect("what waits has a deadline").total_micros();
            assert!(due > now.total_micros());
            now = Instant::from_micros((due + step - 1) / step * step);
        }
        (sum, longest)
    }

    #[test]
    fn the_rate_is_kept_whatever_the_steps_of_the_clock() {
        for step in [1, 1000, 10_000, 100_000] {
            for rate in [100_000, 12_500_000, 1_250_000_000] {
                let (sum, longest) = sent(rate, step, 10_000_000);
                let share = sum as f64 / (rate * 10) as f64;
                assert!((0.94..1.06).contains(&share), "{share} at {rate} with steps of {step}");
                let bound = 10_000 + 2 * MAX_QUANTUM + 2 * rate * step as u64 / 1_000_000;
                assert!(longest <= bound, "{longest} at {rate} with steps of {step}");
            }
        }
    }

    #[test]
    fn on_a_fine_clock_bursts_are_short_and_wake_ups_few() {
        assert!(sent(12_500_000, 1, 1_000_000).1 <= 12_500);
        let mut pacer = Pacer::new();
        pacer.set_rate(Some(12_500_000), SEGMENT, Instant::ZERO);
        pacer.held = 0;
        assert!(!pacer.allows(SEGMENT, Instant::ZERO));
        assert_eq!(pacer.due(), Some(Instant::from_micros(1000)));
    }

    #[test]
    fn a_silence_saves_up_one_burst_and_a_clock_that_goes_back_nothing() {
        let mut pacer = Pacer::new();
        pacer.set_rate(Some(1_000_000), SEGMENT, Instant::from_secs(10));
        pacer.held = 0;
        assert_eq!(pacer.balance(SEGMENT, Instant::from_secs(500)), 10_000);
        assert_eq!(pacer.balance(SEGMENT, Instant::from_secs(1)), 0);
        pacer.set_rate(Some(u64::MAX), SEGMENT, Instant::from_secs(11));
        assert!(pacer.balance(SEGMENT, Instant::from_micros(i64::MAX)) > 0);
    }

    #[test]
    fn without_a_rate_nothing_waits() {
        let mut pacer = Pacer::new();
        assert!(pacer.allows(SEGMENT, Instant::ZERO));
        pacer.set_rate(Some(1), SEGMENT, Instant::ZERO);
        while pacer.allows(SEGMENT, Instant::ZERO) {
            pacer.spend(SEGMENT, SEGMENT, Instant::ZERO);
        }
        assert!(pacer.due().is_some());
        pacer.set_rate(None, SEGMENT, Instant::ZERO);
        assert_eq!((pacer.due(), pacer.allows(SEGMENT, Instant::ZERO)), (None, true));
    }
}
