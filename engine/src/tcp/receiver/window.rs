//! The receive window: what the peer may send.
//!
//! The window is the free part of the receive buffer. Its right edge never moves left, but for what the scale cannot say, and it
//! moves right only by steps worth having (silly window avoidance, RFC 9293 section 3.8.6.2.2).

use super::Receiver;
use crate::tcp::segment::MAX_SHIFT;

/// How many shares of the memory a receive window may be.
pub(super) const SHARES: u32 = 4;

impl Receiver {
    /// The window that the peer was told, from the next expected number on, in bytes.
    #[inline]
    pub(crate) fn window(&self) -> u32 {
        self.edge.distance(self.nxt)
    }

    /// The shift count with which the whole receive buffer can be offered, also when it has grown.
    pub(crate) fn shift_for_limit(&self) -> u8 {
        let most = self.most();
        (0..MAX_SHIFT).find(|shift| (u32::from(u16::MAX) << shift) >= most).unwrap_or(MAX_SHIFT)
    }

    /// The window field of a SYN, which is never scaled (RFC 7323 section 2.2).
    pub(crate) fn syn_window(&self) -> u16 {
        let free = self.window_limit().saturating_sub(self.buffer.len() as u32);
        free.min(u32::from(u16::MAX)) as u16
    }

    /// What the receive buffer may hold now: a few shares, as most hosts take what comes, so that most receive buffers are
    /// empty most of the time. Less than before when there are many buffers, or when the link is busy both ways; the right edge of
    /// the window stays.
    fn window_limit(&self) -> u32 {
        self.limit.min(self.bound)
    }

    /// Room that is not worth offering when it is all there is: less than a segment and less than a quarter of the buffer.
    /// The second part is for segments that are large against the buffer.
    fn least_window(&self) -> u32 {
        (self.window_limit() / 4).min(u32::from(self.mss)).max(1)
    }

    /// The free part of the receive buffer, as far as the window field can say it. What came early lies inside of it.
    fn free(&self) -> u32 {
        let free = self.window_limit().saturating_sub(self.buffer.len() as u32);
        free.min(u32::from(u16::MAX) << self.scale)
    }

    /// The window field of the next segment, scaled. Rounded up where the window only keeps its edge, so that the edge
    /// does not move left; the receive buffer has room for what this adds, up to as much again.
    ///
    /// Beyond that it is rounded down, and the peer sees an edge that is less than a unit of the scale to the left of the one
    /// that it was told before, which still counts (RFC 7323 section 2.4). Else the window would never close for segments that
    /// are shorter than the unit: each of them would move the edge on by its own length.
    pub(crate) fn window_field(&self) -> u16 {
        let window = self.window();
        let mut kept = window.div_ceil(1 << self.scale);
        let held = self.buffer.len() as u64 + (u64::from(kept) << self.scale);
        if held > 2 * u64::from(self.limit) {
            kept = window >> self.scale;
        }
        let free = self.free();
        let grown = if free < self.least_window() { 0 } else { free >> self.scale };
        kept.max(grown).min(u32::from(u16::MAX)) as u16
    }

    /// Whether the window can grow by so much that the peer should hear of it without waiting for another segment: by two
    /// segments, or by half of the buffer when segments are large; or the peer may not even send one segment now.
    pub(crate) fn update_is_due(&self) -> bool {
        if self.finished {
            return false;
        }
        let kept = self.window();
        let growth = self.free().saturating_sub(kept);
        let least = self.least_window();
        let step = u32::from(self.mss).saturating_mul(2).min(self.window_limit() / 2).max(1);
        growth >= step || (kept < least && growth >= least)
    }
}
