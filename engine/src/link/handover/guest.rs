//! What the guest's frames prove, whatever is in them.
//!
//! The other end carries frames both ways in turn. A frame that it put into the queue towards us after ours were given
//! was put there either in exchange, frame for frame, for one of ours that it took out, or when it found none of ours
//! left. The queue towards us holds only so many bytes and frames; a frame that comes behind that many was put in later
//! than everything that had been given before.
//!
//! Of frames as long as an Ethernet's that queue holds so few (92; or 43, and as many in the buffer of a program that
//! reads a pipe) that each of them may count as if it had been put in just now. So each proves that some of ours was
//! read: a quarter of the least cost of a frame. At most 6 KiB are taken for read that way which are not.

use std::ops::RangeInclusive;

/// The most that a queue towards us holds: bytes of a pair of sockets, and short frames of a pipe.
pub(super) const MOST_BYTES: usize = 212_992;
const MOST_FRAMES: u64 = 1100;
/// So many frames may come the one way for one that goes the other.
const UNFAIRNESS: u64 = 2;
/// The least that a frame costs.
const LEAST_COST: u64 = crate::link::outbox::LEAST_COST;
/// A frame of the guest longer than an acknowledgment: it may be one of many, which soon fill the queue towards us; and how
/// many shorter ones show that they have ended.
const LONGEST_SHORT: usize = 128;
const HEAVY: u16 = 256;
/// Frames of this length take 2,304 bytes of a pair of sockets, or a third of a page of a pipe.
const LONG: RangeInclusive<usize> = 1000..=2000;
/// What each of them proves.
const PROVEN_BY_ONE: u64 = LEAST_COST / 4;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Guest {
    /// Frames since the last round.
    frames: u32,
    /// So many frames from now on have to be short before a trial is made: a guest that sends in bulk soon fills the queue
    /// towards us.
    heavy: u16,
    /// What was given up to this position is read when so much has come, and then so many frames.
    position: u64,
    bytes: usize,
    queued: u64,
    frames_left: u64,
}

impl Guest {
    /// A frame of so many bytes has come, where frames are given and proven read up to these positions. The position up to
    /// which it proves them read.
    pub(super) fn on_frame(&mut self, length: usize, given: u64, read: u64) -> Option<u64> {
        self.frames = self.frames.saturating_add(1);
        self.heavy = if length > LONGEST_SHORT { HEAVY } else { self.heavy.saturating_sub(1) };
        let one = LONG.contains(&length).then_some(read + PROVEN_BY_ONE);
        if self.bytes > 0 && self.queued > 0 {
            self.bytes = self.bytes.saturating_sub(length);
            self.queued -= 1;
            return one;
        }
        self.frames_left = self.frames_left.saturating_sub(1);
        if self.frames_left > 0 {
            return one;
        }
        let proven = self.position;
        self.position = given;
        (self.bytes, self.queued) = (MOST_BYTES, MOST_FRAMES);
        self.frames_left = (given - read).div_ceil(LEAST_COST).saturating_mul(UNFAIRNESS) + 1;
        Some(proven.max(one.unwrap_or(0)))
    }

    /// A round ends: how many frames it brought.
    pub(super) fn end_round(&mut self) -> u32 {
        std::mem::take(&mut self.frames)
    }

    /// Whether frames have come in this round.
    pub(super) fn has_come(&self) -> bool {
        self.frames > 0
    }

    /// Whether it sends in bulk.
    pub(super) fn is_heavy(&self) -> bool {
        self.heavy > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_prove_what_was_given_before_those_that_a_queue_holds() {
        let mut guest = Guest::default();
        assert_eq!(guest.on_frame(900, 32_768, 0), Some(0));
        let queue = MOST_BYTES.div_ceil(900);
        let carried = 32_768 / LEAST_COST * UNFAIRNESS;
        for _ in 0..queue as u64 + carried {
            assert_eq!(guest.on_frame(900, 40_000, 0), None);
        }
        assert_eq!(guest.on_frame(900, 40_000, 0), Some(32_768));
        // Short ones are counted.
        for _ in 0..MOST_FRAMES + 40_000_u64.div_ceil(LEAST_COST) * UNFAIRNESS {
            assert_eq!(guest.on_frame(60, 40_000, 32_768), None);
        }
        assert_eq!(guest.on_frame(60, 40_000, 40_000), Some(40_000));
    }

    #[test]
    fn a_long_frame_proves_one_of_ours() {
        let mut guest = Guest::default();
        assert_eq!(guest.on_frame(1514, 32_768, 1000), Some(1000 + PROVEN_BY_ONE));
        assert_eq!(guest.on_frame(1514, 32_768, 2000), Some(2000 + PROVEN_BY_ONE));
        assert_eq!(guest.on_frame(60, 32_768, 2000), None);
    }

    #[test]
    fn a_guest_is_heavy_until_its_frames_are_short() {
        let mut guest = Guest::default();
        guest.on_frame(1514, 0, 0);
        assert!(guest.is_heavy() && guest.has_come());
        for _ in 0..HEAVY {
            assert!(guest.is_heavy());
            guest.on_frame(66, 0, 0);
        }
        assert!(!guest.is_heavy());
        assert_eq!((guest.end_round(), guest.end_round()), (257, 0));
    }
}
