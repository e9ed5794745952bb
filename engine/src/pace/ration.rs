//! How many datagrams a round may bring in while the guest has something to say in each.
//!
//! An application that takes one frame a round from the guest, and gives it all that hosts have sent meanwhile, drowns a guest
//! that answers: the queue of its answers is full, the processor that would take them is busy with datagrams for which the guest
//! has no room any more, and most of what it answers is lost. So they come in bursts, and after each one the guest is listened
//! to, until it has said as much, or nothing in a round. Time counts as well: a loop that comes round a thousand times a second
//! is no such one.

use crate::time::Instant;

/// The most that come in one burst.
const BURST: usize = 64;
/// The least for which the next one begins.
const ENOUGH: usize = 48;
/// Microseconds that count as much as a frame of the guest.
const APART: u64 = 20;
/// A run of so many rounds with frames is no accident.
const RUN: u64 = 2;

/// See the module.
#[derive(Debug)]
pub(super) struct Ration {
    /// When the last round began.
    last: Instant,
    /// What may come in.
    left: usize,
    /// The guest is listened to until that is enough.
    listens: bool,
}

impl Default for Ration {
    fn default() -> Ration {
        Ration { last: Instant::ZERO, left: usize::MAX, listens: false }
    }
}

impl Ration {
    /// A round begins: the last one brought so many frames, and so many in a row have brought some.
    pub(super) fn begin_round(&mut self, frames: u32, rounds: u64, now: Instant) {
        if rounds < RUN {
            self.last = now;
            self.end();
            return;
        }
        // Most rounds: nothing was brought in since.
        if self.left == BURST && frames as usize <= BURST {
            self.last = now;
            return;
        }
        let since = now - std::mem::replace(&mut self.last, now);
        let of_time = usize::try_from(since.total_micros() / APART).unwrap_or(BURST);
        let more = of_time.saturating_add(frames as usize);
        // One that is longer than a burst was never bounded.
        self.left = self.left.min(BURST).saturating_add(more).min(BURST.max(more));
        self.listens &= self.left < ENOUGH;
    }

    /// A round begins before which the guest said nothing.
    #[inline]
    pub(super) fn end(&mut self) {
        (self.left, self.listens) = (usize::MAX, false);
    }

    /// So many datagrams were brought in.
    pub(super) fn took(&mut self, count: usize) {
        self.left = self.left.saturating_sub(count);
        self.listens |= self.left == 0;
    }

    /// How many more may be, now.
    #[inline]
    pub(super) fn left(&self) -> usize {
        if self.listens { 0 } else { self.left }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Duration;

    #[test]
    fn after_a_burst_the_guest_is_listened_to() {
        let mut ration = Ration::default();
        let mut now = Instant::from_micros(1_000_000);
        ration.begin_round(1, 1, now);
        assert_eq!(ration.left(), usize::MAX);
        for (rounds, left) in [(2, BURST), (3, BURST)] {
            now += Duration::from_micros(3);
            ration.begin_round(1, rounds, now);
            assert_eq!(ration.left(), left);
        }
        ration.took(10);
        assert_eq!(ration.left(), BURST - 10);
        ration.took(BURST - 10);
        for rounds in 4..4 + ENOUGH as u64 {
            assert_eq!(ration.left(), 0);
            now += Duration::from_micros(3);
            ration.begin_round(1, rounds, now);
        }
        assert_eq!(ration.left(), ENOUGH);
        ration.took(ENOUGH);
        ration.end();
        assert_eq!(ration.left(), usize::MAX);
    }

    #[test]
    fn a_slow_loop_brings_in_what_comes() {
        let mut ration = Ration::default();
        let mut now = Instant::from_micros(1_000_000);
        ration.begin_round(1, 1, now);
        for rounds in 2..10 {
            ration.took(BURST * 4);
            now += Duration::from_millis(10);
            ration.begin_round(1, rounds, now);
            assert_eq!(ration.left(), 501);
        }
        // As does one that hands over many frames a round.
        ration.took(501);
        ration.begin_round(256, 10, now);
        assert_eq!(ration.left(), 256);
    }
}
