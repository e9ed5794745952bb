//! Acknowledgments as proofs: a guest that acknowledges a segment has read every frame that was handed over before it.

use crate::flow::egress::Egress;
use crate::link::handover::Handover;
use crate::tcp::SeqNumber;

/// From one remembered segment to the next, in the cost of frames.
const APART: u64 = 8 * 1024;
const MOST: usize = 4;

/// The end of a segment that was sent for the first time, and the position of its frame.
type Sent = (SeqNumber, u64);

/// A few segments of one connection, the oldest first, the last one always the last that was sent.
#[derive(Debug, Default)]
pub(super) struct Proofs {
    sent: [Sent; MOST],
    count: usize,
}

impl Proofs {
    /// New segments were sent, the last one up to `end`. (What is sent again may be acknowledged for the first time it was
    /// sent, and proves nothing.)
    pub(super) fn sent(&mut self, end: SeqNumber, egress: &mut Egress) {
        if !egress.handover.counts() {
            self.count = 0;
            return;
        }
        let position = egress.position();
        // The last one moves on as long as it is near the one before it, or there is no place for another.
        let before = self.count.checked_sub(2).and_then(|before| self.sent.get(before)).map(|(_, position)| *position);
        let moves = self.count == MOST || before.is_some_and(|before| position - before < APART);
        if !moves {
            self.count += 1;
        }
        if let Some(last) = self.count.checked_sub(1).and_then(|last| self.sent.get_mut(last)) {
            *last = (end, position);
        }
        egress.handover.will_prove(position);
    }

    /// The guest has everything up to `una`.
    pub(super) fn acknowledged(&mut self, una: SeqNumber, handover: &mut Handover) {
        if self.count == 0 {
            return;
        }
        // In an exchange there is one.
        if let (1, Some((end, position))) = (self.count, self.sent.first()) {
            if !una.lt(*end) {
                handover.read_up_to(*position);
                self.count = 0;
            }
            return;
        }
        let known = self.sent.iter().take(self.count);
        let proven = known.take_while(|(end, _)| !una.lt(*end)).count();
        if let Some((_, position)) = proven.checked_sub(1).and_then(|last| self.sent.get(last)) {
            handover.read_up_to(*position);
            self.sent.rotate_left(proven);
            self.count -= proven;
        }
    }
}
