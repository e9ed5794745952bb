//! How many frames may still be made: of what one call of the application may make, what is left for this step of it.
//!
//! Every frame goes through the outbox, so that its length is the count, and nobody has to keep one. Whoever lets the
//! engine take a step says how much longer the outbox may get; what makes frames in plenty asks [`FrameBudget::room`] and
//! goes on in a later turn when there is none.

use crate::link::outbox::Outbox;

/// See the module.
#[derive(Clone, Copy, Debug)]
pub struct FrameBudget {
    /// How long the outbox may get, in frames and in bytes.
    frames: usize,
    bytes: usize,
}

impl Default for FrameBudget {
    /// No bound at all.
    fn default() -> FrameBudget {
        FrameBudget { frames: usize::MAX, bytes: usize::MAX }
    }
}

impl FrameBudget {
    /// So many frames, and so many bytes, from now on.
    pub fn new(outbox: &Outbox, frames: usize, bytes: usize) -> FrameBudget {
        FrameBudget { frames: outbox.len().saturating_add(frames), bytes: outbox.bytes().saturating_add(bytes) }
    }

    /// How many frames may still be made. The one that uses up the bytes may be longer than they are.
    pub fn room(&self, outbox: &Outbox) -> usize {
        if self.bytes(outbox) == 0 { 0 } else { self.frames.saturating_sub(outbox.len()) }
    }

    /// How many bytes of frames may still be made.
    pub fn bytes(&self, outbox: &Outbox) -> usize {
        self.bytes.saturating_sub(outbox.bytes())
    }
}
