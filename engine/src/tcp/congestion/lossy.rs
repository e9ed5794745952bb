//! Whether a link loses segments by its nature, as a radio does, and not because a queue is full.
//!
//! One loss never tells. But a full queue lengthens the round trip, and it is full when as much is in flight as when it was
//! last full. So suspicion grows with each loss that comes while round trips are what they are at best and less is in flight
//! than at the loss before, and it is dropped with the first loss behind a queue. Losses of a queue too short to be
//! seen come when the window is as large as at the last one, so that they raise no suspicion.

use super::Path;
use crate::time::Duration;

/// Suspicious losses in a row that confirm it.
const CONFIRMED: u8 = 3;
/// What the round trip may take beyond its least, besides a sixteenth of it: the rounds of the application's loop.
const SLACK: Duration = Duration::from_micros(250);
const PART: u64 = 16;

/// The losses of late.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Suspicion {
    count: u8,
    /// What was in flight at the last loss, in bytes.
    flight: u32,
}

impl Suspicion {
    pub(super) fn is_confirmed(&self) -> bool {
        self.count >= CONFIRMED
    }

    /// Something was lost with `flight` bytes in flight, and no loss was known before.
    pub(super) fn note(&mut self, flight: u32, path: &Path) {
        let Some(least) = path.rtt.least().filter(|_| path.sack) else { return };
        let clear = path.latest <= least + SLACK + Duration::from_micros(least.total_micros() / PART);
        if !clear {
            self.count = 0;
        } else if flight < self.flight - self.flight / 8 {
            self.count = self.count.saturating_add(1);
        }
        self.flight = flight;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tcp::rtt::RttEstimator;
    use crate::time::Instant;

    /// Losses, each with what was in flight and the round trip in microseconds; the least is 50 ms.
    fn confirmed(losses: &[(u32, u64)]) -> bool {
        let mut rtt = RttEstimator::default();
        rtt.sample(Instant::ZERO, Instant::from_millis(50));
        let mut suspicion = Suspicion::default();
        for &(flight, micros) in losses {
            let latest = Duration::from_micros(micros);
            let path =
                Path { now: Instant::ZERO, rtt, latest, sack: true, most: 1 << 30, fits: 0, queue: 0, paced: true };
            suspicion.note(flight, &path);
        }
        suspicion.is_confirmed()
    }

    #[test]
    fn losses_without_a_queue_and_with_ever_less_in_flight_are_the_links() {
        assert!(confirmed(&[(100, 50_000), (72, 50_000), (52, 51_000), (40, 53_000)]));
        assert!(!confirmed(&[(100, 50_000), (72, 50_000), (52, 51_000)]));
    }

    #[test]
    fn a_full_queue_is_not_taken_for_a_bad_link() {
        // A queue of a tenth of what fits: the round trip tells.
        assert!(!confirmed(&[(110, 55_000), (80, 55_000), (60, 54_000), (45, 54_500), (30, 54_000)]));
        // One too short to be seen is full with as much in flight as before.
        assert!(!confirmed(&[(101, 50_500), (101, 50_500), (100, 50_500), (101, 50_500), (99, 50_500)]));
        // A neighbour's burst now and then.
        assert!(!confirmed(&[(100, 50_000), (72, 50_000), (52, 51_000), (50, 56_000), (36, 50_000), (26, 50_000)]));
    }
}
