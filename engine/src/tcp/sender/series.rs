//! Full segments that may follow at once on the one that was just sent: nothing has to be asked for each of them.

use super::{Fin, Frto, Sender};
use crate::tcp::due::Due;
use crate::time::Instant;

impl Sender {
    /// How many new segments of `len` bytes may follow on one of that length, of which none is the last that there is to send.
    /// `report` is how many bytes of a segment the receiver takes for its own.
    pub(crate) fn more_alike(&self, len: usize, report: usize) -> usize {
        let plain = self.scoreboard.lost() == 0
            && self.recovery.frto == Frto::Off
            && self.search.is_none()
            && !self.due.intersects(Due::SENDER)
            && self.fin == Fin::Unsent
            && self.nxt == self.max
            && !self.marks.agreed
            && self.buffer.urgent().is_none()
            && self.has_bounded_bursts()
            && len == self.segment_room(report);
        // With two segments in flight the timer is what it stays.
        if !plain || len == 0 || self.timer.is_none() || self.scoreboard.pipe() <= u32::from(self.payload_mss()) {
            return 0;
        }
        let offset = self.flight() as usize;
        let unsent = self.buffer.len().saturating_sub(offset);
        let room = self.may_fly().saturating_sub(self.pipe()) as usize;
        let usable = (self.wnd as usize).saturating_sub(offset).min(room).min(unsent.saturating_sub(1));
        usable / len
    }

    /// So many bytes of them are sent.
    pub(crate) fn send_alike(&mut self, bytes: u32, now: Instant) {
        self.nxt += bytes;
        self.max = self.nxt;
        let snapshot = self.note_sent(bytes, now);
        self.sent_at = now;
        self.scoreboard.sent(self.nxt, now, false, snapshot);
    }
}
