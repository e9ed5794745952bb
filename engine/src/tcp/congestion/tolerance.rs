//! Losses that are no sign of congestion.
//!
//! The path to the guest is no part of the Internet: most often a queue in memory, else a tunnel, a radio link or a cable
//! with one user. There a segment may be lost because the link is bad. A full queue shows in another way: the round trip
//! takes longer before anything is dropped. So where the round trip is what it is at best, and what is lost is a small part
//! of what was delivered over many segments, losses are repaired without a reduction of the window, and the window grows as in
//! slow start until a queue shows: reductions that came before this was known are made up for. This is more than RFC
//! 5681 section 3 and RFC 9438 allow a sender in a shared network; a young connection, one that loses much, and one that
//! finds a queue follow them to the letter.

use crate::tcp::rtt::RttEstimator;
use crate::time::Duration;

/// Segments that must have been delivered before their losses are judged.
const HISTORY: u32 = 256;
/// Segments after which the past counts half.
const MEMORY: u32 = 1024;
/// One in so many may be lost.
const SHARE: u32 = 20;
/// What the round trip may take beyond its least, besides a quarter of it: the rounds of the application's loop.
const ROUND: Duration = Duration::from_micros(250);

/// What became of the bytes that were sent of late.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Record {
    delivered: u32,
    lost: u32,
}

impl Record {
    /// Counts bytes that were delivered, and others that were found lost.
    #[inline]
    pub(super) fn note(&mut self, delivered: u32, lost: u32, segment: u32) {
        self.delivered = self.delivered.saturating_add(delivered);
        self.lost = self.lost.saturating_add(lost);
        if self.delivered > MEMORY.saturating_mul(segment) {
            self.delivered /= 2;
            self.lost /= 2;
        }
    }

    /// Whether anything was lost of late.
    #[inline]
    pub(super) fn has_losses(&self) -> bool {
        self.lost > 0
    }

    /// Whether losses are the link's nature, as far as can be seen. `latest` is the round trip of what was delivered last. Not
    /// the smoothed one: it remembers a queue for many round trips after a reduction has emptied it, and each loss in that
    /// time would be one more reduction.
    pub(super) fn is_tolerable(&self, segment: u32, rtt: &RttEstimator, latest: Duration) -> bool {
        let Some(least) = rtt.least() else { return false };
        let bound = least + ROUND + Duration::from_micros(least.total_micros() / 4);
        self.delivered >= HISTORY.saturating_mul(segment)
            && self.lost.saturating_mul(SHARE) <= self.delivered
            && latest <= bound
    }
}
