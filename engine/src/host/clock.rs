//! When a clock is read that costs a call: not for each frame.

use std::sync::atomic::{AtomicI64, AtomicU32, AtomicU64, Ordering};

use super::ticks::{JUST_NOW, ticks};
use crate::time::Instant;

/// Frames from the guest between two looks at the clock, if they come one behind the other: a clock of just now is exact
/// enough for what is measured with it, and asking for each frame would cost as much as the frame.
const FRAMES_PER_READING: u32 = 16;

/// The last reading of a clock. Threads may use it at once; a count may miss a frame then, which does no harm.
#[derive(Debug)]
pub struct RecentClock {
    micros: AtomicI64,
    /// The processor's counter at the last reading.
    ticks: AtomicU64,
    frames: AtomicU32,
}

impl Default for RecentClock {
    fn default() -> RecentClock {
        RecentClock { micros: AtomicI64::new(0), ticks: AtomicU64::new(0), frames: AtomicU32::new(FRAMES_PER_READING) }
    }
}

impl RecentClock {
    /// Reads the clock, which `read` gives in microseconds.
    pub fn read(&self, read: impl FnOnce() -> i64) -> Instant {
        // Before the clock, so that its value seems older than it is.
        let ticks = ticks().unwrap_or(0);
        let micros = read();
        self.micros.store(micros, Ordering::Relaxed);
        self.ticks.store(ticks, Ordering::Relaxed);
        self.frames.store(0, Ordering::Relaxed);
        Instant::from_micros(micros)
    }

    /// The last reading as a frame may take it: it was read just now, for another frame.
    pub fn for_frame(&self) -> Option<Instant> {
        let frames = self.frames.load(Ordering::Relaxed);
        if frames >= FRAMES_PER_READING || !self.is_of_just_now() {
            return None;
        }
        self.frames.store(frames + 1, Ordering::Relaxed);
        Some(Instant::from_micros(self.micros.load(Ordering::Relaxed)))
    }

    /// Whether the clock was read less than half a millisecond ago.
    pub fn is_of_just_now(&self) -> bool {
        ticks().is_some_and(|ticks| ticks.wrapping_sub(self.ticks.load(Ordering::Relaxed)) < JUST_NOW)
    }

    /// A part of the application's loop ends: the next frame reads the clock, even if it comes at once. A clock of virtual
    /// time may have jumped.
    pub fn expire(&self) {
        self.frames.store(FRAMES_PER_READING, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reading_is_for_a_few_frames() {
        let clock = RecentClock::default();
        assert_eq!(clock.for_frame(), None, "never read");
        // A machine that stops the test for long has the reading become old sooner.
        for _ in 0..1_000 {
            assert_eq!(clock.read(|| 7), Instant::from_micros(7));
            let frames = (0..100).take_while(|_| clock.for_frame() == Some(Instant::from_micros(7))).count();
            assert!(frames <= FRAMES_PER_READING as usize);
            if frames == FRAMES_PER_READING as usize || ticks().is_none() {
                return;
            }
        }
        panic!("no reading was good for {FRAMES_PER_READING} frames");
    }

    #[test]
    fn the_end_of_a_part_of_the_loop_ends_a_reading() {
        let clock = RecentClock::default();
        clock.read(|| 7);
        clock.expire();
        assert_eq!(clock.for_frame(), None);
    }
}
