//! The peer's window (RFC 9293 section 3.10.7.4).

use super::{Sender, Timer};
use crate::tcp::due::Due;
use crate::tcp::segment::Segment;

impl Sender {
    /// Takes over the peer's window unless a newer segment has said otherwise.
    #[inline]
    pub(crate) fn update_window(&mut self, segment: &Segment<'_>) {
        let newer = self.wl1.lt(segment.seq) || (self.wl1 == segment.seq && self.wl2.le(segment.ack));
        if newer {
            self.take_window(segment);
        }
    }

    /// Takes over the peer's window.
    #[inline]
    pub(crate) fn take_window(&mut self, segment: &Segment<'_>) {
        self.wl1 = segment.seq;
        self.wl2 = segment.ack;
        self.wnd = u32::from(segment.window) << self.scale;
        self.max_wnd = self.max_wnd.max(self.wnd);
        if self.wnd > 0 && self.is_probing_window() {
            self.timer = None;
            self.backoff = 0;
            self.due.remove(Due::FORCED);
            // A byte that was sent as a probe is sent again with what follows it.
            self.nxt = self.una;
            self.scoreboard.clear(self.una);
        }
    }

    /// Whether the peer's window is closed, or too small for anything, and asked for from time to time.
    #[inline]
    pub(super) fn is_probing_window(&self) -> bool {
        self.timer.is_some_and(|(timer, _)| timer == Timer::Persist)
    }
}
