//! The end of slow start before a queue overflows: HyStart++ (RFC 9406).
//!
//! When the round trips of one round are longer than those of the round before, a queue grows. The window then grows at a
//! quarter of the pace for five rounds ("conservative slow start"), and slow start is over unless the round trips become
//! shorter again.

use crate::time::Duration;

/// RFC 9406 section 4.3.
const MIN_RTT_THRESH: Duration = Duration::from_millis(4);
const MAX_RTT_THRESH: Duration = Duration::from_millis(16);
const MIN_RTT_DIVISOR: u64 = 8;
const N_RTT_SAMPLE: u8 = 8;
const CSS_GROWTH_DIVISOR: u32 = 4;
const CSS_ROUNDS: u8 = 5;

/// The variables of RFC 9406 section 4.2; round trips in microseconds, `u32::MAX` where there is none.
#[derive(Clone, Copy, Debug)]
pub(super) struct HyStart {
    last: u32,
    current: u32,
    samples: u8,
    /// Conservative slow start: the least round trip when it began, and the rounds since.
    conservative: Option<(u32, u8)>,
}

impl Default for HyStart {
    fn default() -> HyStart {
        HyStart { last: u32::MAX, current: u32::MAX, samples: 0, conservative: None }
    }
}

impl HyStart {
    /// By how much the window grows for so many acknowledged bytes.
    #[inline]
    pub(super) fn growth(&self, acked: u32) -> u32 {
        if self.conservative.is_some() { acked / CSS_GROWTH_DIVISOR } else { acked }
    }

    /// A round trip was measured in slow start; `round_start`: with it a round begins. True when slow start is over.
    pub(super) fn on_round_trip(&mut self, rtt: Duration, round_start: bool) -> bool {
        if round_start {
            self.last = self.current;
            self.current = u32::MAX;
            self.samples = 0;
            if let Some((_, rounds)) = &mut self.conservative {
                *rounds += 1;
                if *rounds >= CSS_ROUNDS {
                    *self = HyStart::default();
                    return true;
                }
            }
        }
        self.current = self.current.min(rtt.total_micros().min(u64::from(u32::MAX)) as u32);
        self.samples = self.samples.saturating_add(1);
        if self.samples < N_RTT_SAMPLE {
            return false;
        }
        match self.conservative {
            None if self.last < u32::MAX => {
                let eighth = u64::from(self.last) / MIN_RTT_DIVISOR;
                let threshold = eighth.clamp(MIN_RTT_THRESH.total_micros(), MAX_RTT_THRESH.total_micros());
                if u64::from(self.current) >= u64::from(self.last) + threshold {
                    self.conservative = Some((self.current, 0));
                }
            }
            Some((baseline, _)) if self.current < baseline => self.conservative = None,
            _ => {}
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rounds of ten round trips each; the number of the round in which slow start ended, and in which it was conservative.
    fn rounds(millis: &[u64]) -> (Option<usize>, Vec<usize>) {
        let mut hystart = HyStart::default();
        let mut conservative = Vec::new();
        for (round, &ms) in millis.iter().enumerate() {
            for sample in 0..10 {
                if hystart.on_round_trip(Duration::from_millis(ms), sample == 0) {
                    return (Some(round), conservative);
                }
            }
            if hystart.growth(4) == 1 {
                conservative.push(round);
            }
        }
        (None, conservative)
    }

    #[test]
    fn longer_round_trips_end_slow_start_after_five_rounds() {
        assert_eq!(rounds(&[40, 40, 46, 47, 48, 49, 50, 51]), (Some(7), vec![2, 3, 4, 5, 6]));
    }

    #[test]
    fn jitter_is_no_queue() {
        assert_eq!(rounds(&[40, 44, 40, 44, 40, 43]), (None, vec![]));
        assert_eq!(rounds(&[1, 4, 1, 4]), (None, vec![]), "four milliseconds at the least");
        assert_eq!(rounds(&[40, 46, 41, 44]), (None, vec![1]), "it was not, and slow start goes on");
    }

    #[test]
    fn a_few_samples_tell_nothing() {
        let mut hystart = HyStart::default();
        for ms in [40, 60, 80, 100] {
            for sample in 0..7 {
                assert!(!hystart.on_round_trip(Duration::from_millis(ms), sample == 0));
                assert_eq!(hystart.growth(4), 4);
            }
        }
    }
}
