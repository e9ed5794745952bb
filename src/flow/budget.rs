//! How much may still be done: of what one call of the application may do, what is left for this step of it, in frames for
//! the guest and in bytes that are copied: into frames, and from and to hosts.
//!
//! Every frame goes through the outbox, so that its length is the count, and nobody has to keep one. Whoever lets the
//! engine take a step says how much longer the outbox may get; what makes frames in plenty asks [`FrameBudget::room`] and
//! goes on in a later turn when there is none.

use crate::link::outbox::Outbox;

/// See the module.
#[derive(Clone, Copy, Debug)]
pub struct FrameBudget {
    /// How long the outbox may get in frames.
    frames: usize,
    /// How long it may get in bytes, less what was moved beside it.
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

    /// So many bytes came from a host or went to one; or something was done that takes as long.
    pub fn moved(&mut self, bytes: usize) {
        self.bytes = self.bytes.saturating_sub(bytes);
    }

    /// How many frames may still be made, and how many bytes moved.
    pub fn left(&self, outbox: &Outbox) -> (usize, usize) {
        (self.frames.saturating_sub(outbox.len()), self.bytes(outbox))
    }

    /// How many bytes may still be moved.
    fn bytes(&self, outbox: &Outbox) -> usize {
        self.bytes.saturating_sub(outbox.bytes())
    }
}
