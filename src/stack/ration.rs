//! How much one call of the application may do: frames for the guest, and bytes that are copied on the way. A call that took as long as there is something
//! to do would hold up whatever else the application's thread has to do, and let its queue towards the guest overflow.
//! What is left waits on the tables' lists of flows that want a turn; while somebody does, `fill` asks for no sleep.

use super::Stack;
use crate::flow::budget::FrameBudget;

/// Frames after which a call makes no more. The message that the last of them came from may have been several datagrams, or
/// make fragments, so that there may be more, but not above 1,024 unless the MTU is below 576.
const FRAMES: usize = 896;
/// Bytes after which a call moves no more: what is read from a host counts, and counts again as a frame.
const BYTES: usize = 2 << 20;
/// What a frame from the guest may always cause, whatever the round has left: its acknowledgment, an answer.
const LEAST_FRAMES: usize = 2;
const LEAST_BYTES: usize = 16 << 10;
/// What a deadline counts as, in bytes: most send a segment, but a thousand flows may also expire at once.
pub(super) const DEADLINE: usize = 8 << 10;

/// What is left of what one call may do.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ration {
    frames: usize,
    bytes: usize,
}

impl Default for Ration {
    fn default() -> Ration {
        Ration { frames: FRAMES, bytes: BYTES }
    }
}

impl Ration {
    pub fn is_spent(&self) -> bool {
        self.frames == 0 || self.bytes == 0
    }
}

impl Stack {
    /// A call of its own begins: what the application does between rounds.
    pub(super) fn begin_call(&mut self) {
        self.allow(Ration::default());
    }

    /// A frame from the guest, which takes from what the round has: a hundred acknowledgments in a row would else make as
    /// much as a hundred rounds.
    #[inline]
    pub(super) fn begin_input(&mut self) {
        let Ration { frames, bytes } = self.round;
        self.allow(Ration { frames: frames.max(LEAST_FRAMES), bytes: bytes.max(LEAST_BYTES) });
    }

    /// The frame is done with.
    #[inline]
    pub(super) fn end_input(&mut self) {
        // What is spent stays spent; the least is given anew to each frame.
        let (frames, bytes) = self.cx.budget.left(&self.cx.egress.outbox);
        self.round = Ration { frames: self.round.frames.min(frames), bytes: self.round.bytes.min(bytes) };
        self.end_shortage();
    }

    /// A step of the round, which does no more than the round has left.
    pub(super) fn in_round(&mut self, step: impl FnOnce(&mut Stack)) {
        self.allow(self.round);
        step(self);
        let left = self.cx.budget.left(&self.cx.egress.outbox);
        self.round = Ration { frames: left.0, bytes: left.1 };
        self.end_shortage();
    }

    /// A step of the round that leaves half of the round to the others.
    pub(super) fn in_half_of_round(&mut self, step: impl FnOnce(&mut Stack)) {
        let kept = Ration { frames: self.round.frames / 2, bytes: self.round.bytes / 2 };
        self.round.frames -= kept.frames;
        self.round.bytes -= kept.bytes;
        self.in_round(step);
        self.round.frames += kept.frames;
        self.round.bytes += kept.bytes;
    }

    /// The one place that says how much the engine makes before it is asked again.
    fn allow(&mut self, ration: Ration) {
        self.cx.budget = FrameBudget::new(&self.cx.egress.outbox, ration.frames, ration.bytes);
    }
}
