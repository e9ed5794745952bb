//! How long the path is without the queue that a window keeps there. What fits on the path is known only while its least round
//! trip is, and that is forgotten after a while, as paths change. So a window that has kept a queue for long lets it drain, once
//! in some seconds and for two round trips. When a round trip is as long as before even so, others keep the queue, and
//! what is in flight may be more.
//!
//! What is acknowledged meanwhile, and in the round trip after it, was in flight in a window that was made small. It says nothing about whether the
//! window is used.

use super::Path;
use crate::time::{Duration, Instant};

/// How long a queue may stand before the path is sounded; well within the time for which the least round trip counts.
const EVERY: Duration = Duration::from_secs(4);
/// What the round trip may take beyond its least without being that of a queue, besides an eighth of it.
const SLACK: Duration = Duration::from_millis(1);

/// When the path was last seen without a queue, and what bounds the window while it is being sounded.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sounding {
    /// `ZERO` before anything was measured.
    clear_at: Instant,
    /// In bytes; `NONE` while it is not being sounded.
    bound: u32,
    /// The least round trip that was seen since the last sounding began, in microseconds. It does not rise with the least of late: what a
    /// window keeps in the queue would be taken for the path's length after a while, and as much again be kept behind it.
    least: u32,
    /// It was sounded once.
    sounded: bool,
    /// Until when it is; then, until when what was sent meanwhile is acknowledged.
    until: Instant,
}

/// The longest round trip that is not that of a queue.
pub(super) fn clear(least: Duration) -> Duration {
    least + SLACK + least / 8
}

const NONE: u32 = u32::MAX;

fn micros(time: Duration) -> u32 {
    time.total_micros().min(u32::MAX.into()) as u32
}

impl Default for Sounding {
    fn default() -> Sounding {
        Sounding { clear_at: Instant::ZERO, bound: NONE, least: u32::MAX, sounded: false, until: Instant::ZERO }
    }
}

impl Sounding {
    /// The window, or less while the path is being sounded.
    #[inline]
    pub(super) fn bound(&self, window: u32) -> u32 {
        window.min(self.bound)
    }

    /// Whether a sounding has ended.
    pub(super) fn has_sounded(&self) -> bool {
        self.sounded
    }

    /// Whether what is acknowledged now was in flight while the path was sounded.
    #[inline]
    pub(super) fn distorts(&self, now: Instant) -> bool {
        self.bound != NONE || now < self.until
    }

    /// A round trip was measured; `settled`: the window has what it may have. No less than `window_least` bytes may be in flight:
    /// nothing would be measured without them; on a path too short to be paced nothing else fits that is worth being counted. The bound
    /// where a sounding begins, and the least round trip as it is known by then.
    pub(super) fn on_round_trip(&mut self, settled: bool, window_least: u32, path: &Path) -> Option<(u32, Duration)> {
        if self.bound != NONE {
            self.least = self.least.min(micros(path.latest));
            if path.now >= self.until {
                self.bound = NONE;
                self.sounded = true;
                self.clear_at = path.now;
                self.until = path.now + path.latest;
            }
            return None;
        }
        self.least = self.least.min(micros(path.rtt.least()?));
        let least = Duration::from_micros(self.least.into());
        if path.latest <= clear(least) || self.clear_at == Instant::ZERO {
            self.clear_at = path.now;
        } else if settled && (path.fits > 0 || !path.paced) && path.now - self.clear_at >= EVERY {
            // A round trip for the queue to drain, and one to measure.
            self.bound = (path.fits / 4 * 3).max(window_least);
            self.until = path.now + path.latest + least;
            // A path that has become longer, or whose queue others keep, is as long as it is found to be now.
            self.least = u32::MAX;
            return Some((self.bound, least));
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tcp::rtt::RttEstimator;

    /// Round trips of so many milliseconds, one each 100 ms, over a path whose least is 50 ms; the bounds of a window.
    fn bounds(fits: u32, millis: impl Iterator<Item = u64>) -> Vec<u32> {
        let mut sounding = Sounding::default();
        let mut rtt = RttEstimator::default();
        let mut now = Instant::from_secs(1);
        rtt.sample(now, now + Duration::from_millis(50));
        millis
            .map(|ms| {
                now += Duration::from_millis(100);
                let latest = Duration::from_millis(ms);
                let path = Path { now, rtt, latest, sack: true, most: 1 << 30, fits, queue: 0, paced: true };
                sounding.on_round_trip(true, 2000, &path);
                sounding.bound(50_000)
            })
            .collect()
    }

    #[test]
    fn a_queue_that_stands_is_drained_once_in_four_seconds() {
        let bounds = bounds(10_000, std::iter::repeat_n(100, 300));
        let drained: Vec<usize> = (0..300).filter(|&at| bounds[at] == 7500).collect();
        assert_eq!(drained, [40, 41, 82, 83, 124, 125, 166, 167, 208, 209, 250, 251, 292, 293]);
    }

    #[test]
    fn a_path_that_is_seen_without_a_queue_is_left_alone() {
        assert!(
            bounds(10_000, (0..300).map(|at| if at % 35 == 0 { 56 } else { 100 })).iter().all(|&bound| bound == 50_000)
        );
    }

    /// What stands in the queue for longer than the least of late is kept is not taken for the path: else half as much again could
    /// stand behind it, and so on until the queue is full.
    #[test]
    fn a_queue_that_stands_for_long_is_not_the_length_of_the_path() {
        let mut sounding = Sounding::default();
        let mut rtt = RttEstimator::default();
        let mut now = Instant::from_secs(1);
        let mut sounded = Vec::new();
        for at in 0..600 {
            now += Duration::from_millis(100);
            // Half a minute of a queue that is not worth a sounding, and one a little longer behind it.
            let latest = Duration::from_millis([50, 56, 62][usize::from(at > 0) + usize::from(at >= 300)]);
            rtt.sample(now, now + latest);
            let path = Path { now, rtt, latest, sack: true, most: 1 << 30, fits: 10_000, queue: 0, paced: true };
            sounded.extend(sounding.on_round_trip(true, 2000, &path).map(|(_, least)| (at, least)));
            if !sounded.is_empty() {
                break;
            }
        }
        assert_eq!(
            sounded,
            [(339, Duration::from_millis(50))],
            "four seconds later, although the least of late is 56 ms by then"
        );
    }

    /// A path that delivers a few bytes in a round trip: a window of nothing would never be opened again.
    #[test]
    fn a_slow_path_is_left_a_window() {
        assert_eq!(bounds(3, std::iter::repeat_n(100, 300)).into_iter().min(), Some(2000));
    }
}
