//! How much one call of the application may make: frames, and bytes of them. A call that took as long as there is something
//! to do would hold up whatever else the application's thread has to do, and let its queue towards the guest overflow.
//! What is left waits on the tables' lists of flows that want a turn; while somebody does, `fill` asks for no sleep.

use super::Stack;
use crate::flow::budget::FrameBudget;

/// Frames that one call makes at most, but for the fragments of its last datagram.
const FRAMES: usize = 1024;
/// Bytes of frames after which a call makes no more.
const BYTES: usize = 4 << 20;

/// What is left of what one call may make.
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
    /// A call of its own begins: a frame from the guest, or what the application does between rounds.
    pub(super) fn begin_call(&mut self) {
        self.allow(Ration::default());
    }

    /// A step of the round, which makes no more than the round has left.
    pub(super) fn in_round(&mut self, step: impl FnOnce(&mut Stack)) {
        self.allow(self.round);
        step(self);
        let (budget, outbox) = (&self.cx.budget, &self.cx.egress.outbox);
        self.round = Ration { frames: budget.room(outbox), bytes: budget.bytes(outbox) };
    }

    /// The one place that says how much the engine makes before it is asked again.
    fn allow(&mut self, ration: Ration) {
        self.cx.budget = FrameBudget::new(&self.cx.egress.outbox, ration.frames, ration.bytes);
    }
}
