//! Losses that are no sign of congestion.
//!
//! The path to the guest is no part of the Internet: most often a queue in memory, else a tunnel, a radio link or a cable
//! with one user. There a segment may be lost because the link is bad. A full queue shows in another way: the round trip
//! takes longer before anything is dropped. So where the round trip is what it is at best, and what is lost is a small part
//! of what was delivered over many segments, losses are repaired without a reduction of the window, and the window grows as in
//! slow start until a queue shows: reductions that came before this was known are made up for. This is more than RFC
//! 5681 section 3 and RFC 9438 allow a sender in a shared network; a young connection, one that loses much, and one that
//! finds a queue follow them to the letter.

use super::Connection;
use crate::time::{Duration, Instant};

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

impl Connection {
    /// Counts bytes that were delivered, and others that were found lost.
    pub(super) fn note_fate(&mut self, delivered: u32, lost: u32) {
        let memory = MEMORY.saturating_mul(u32::from(self.payload_mss()));
        let record = &mut self.record;
        record.delivered = record.delivered.saturating_add(delivered);
        record.lost = record.lost.saturating_add(lost);
        if record.delivered > memory {
            record.delivered /= 2;
            record.lost /= 2;
        }
    }

    /// Whether anything was lost of late.
    #[inline]
    pub(super) fn link_is_lossy(&self) -> bool {
        self.record.lost > 0
    }

    /// Whether losses are the link's nature, as far as can be seen.
    pub(super) fn loss_is_tolerable(&self) -> bool {
        let Record { delivered, lost } = self.record;
        let history = HISTORY.saturating_mul(u32::from(self.payload_mss()));
        let Some(least) = self.rtt.least() else { return false };
        let bound = least + ROUND + Duration::from_micros(least.total_micros() / 4);
        self.sack
            && delivered >= history
            && lost.saturating_mul(SHARE) <= delivered
            // Not the smoothed one: it remembers a queue for many round trips after a reduction has emptied it, and each loss
            // in that time would be one more reduction.
            && self.recovery.latest_rtt() <= bound
    }

    /// Bytes were delivered behind a hole that is being repaired without a reduction: they open the window as others do. On a
    /// link that always loses something, few acknowledgments come without a hole.
    pub(super) fn grow_beside_losses(&mut self, delivered: u32, now: Instant) {
        if self.recovery.tolerated && self.loss_is_tolerable() {
            let (flight, most) = (self.scoreboard.flight(), self.most_in_flight());
            self.congestion.on_ack(delivered, (flight, most), true, now, self.rtt.srtt());
        }
    }
}
