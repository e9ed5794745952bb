//! How much one call of the application may do: frames for the guest, and bytes that are copied on the way. A call that took
//! as long as there is something to do would hold up whatever else the application's thread has to do, and let its queue
//! towards the guest overflow. What is left waits on the tables' lists of flows that want a turn; while somebody does,
//! `fill` asks for no sleep.

use super::Stack;

/// Frames after which a call makes no more. The message that the last of them came from may have been several datagrams, or
/// make fragments, so that there may be more, but not above 1,024 unless the MTU is below 576.
const FRAMES: u32 = 896;
/// Bytes after which a call moves no more: what is read from a host counts, and counts again as a frame.
const BYTES: u32 = 2 << 20;
/// What a frame from the guest may always cause, whatever the round has left: its acknowledgment, an answer.
const LEAST_FRAMES: u32 = 2;
const LEAST_BYTES: u32 = 16 << 10;
/// What a deadline counts as, in bytes: most send a segment, but a thousand flows may also expire at once.
pub(super) const DEADLINE: usize = 8 << 10;

impl Stack {
    /// A round of the application's loop begins.
    pub(super) fn begin_ration(&mut self) {
        self.cx.budget.begin_round(&self.cx.egress.outbox, FRAMES, BYTES);
    }

    /// A call of its own begins: what the application does between rounds.
    pub(super) fn begin_call(&mut self) {
        self.cx.budget.allow(&self.cx.egress.outbox, FRAMES, BYTES);
    }

    /// A frame from the guest, which takes from what the round has: a hundred acknowledgments in a row would else make as
    /// much as a hundred rounds.
    #[inline]
    pub(super) fn begin_input(&mut self, frame: usize) {
        self.traffic.frames_in += 1;
        self.traffic.bytes_in += frame as u64;
        self.cx.budget.allow(&self.cx.egress.outbox, LEAST_FRAMES, LEAST_BYTES);
    }

    /// A step of the round that leaves half of the round to the others.
    #[inline]
    pub(super) fn in_half_of_round(&mut self, step: impl FnOnce(&mut Stack)) {
        let ends = self.cx.budget.halve(&self.cx.egress.outbox);
        step(self);
        self.cx.budget.give_back(ends);
        self.end_shortage();
    }
}
