//! A stack that others use while a loop drives it.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::Clock;
use crate::flow::Caller;
use crate::stack::Stack;
use crate::time::Instant;

/// A stack that a driver runs, for whoever else has something to do with it: forwards that come and go, or frames that do not come
/// over the link. Its clones are of the same stack; they may be on other threads.
#[derive(Clone)]
pub struct StackHandle {
    stack: Arc<Mutex<Stack>>,
    clock: Clock,
}

impl StackHandle {
    pub(super) fn new(stack: Stack) -> StackHandle {
        StackHandle { stack: Arc::new(Mutex::new(stack)), clock: Clock::new() }
    }

    /// Does something with the stack, whose time is given too, and has the driver come round if it sleeps. A round of the driver is
    /// waited for, and its next one waits for `work`.
    ///
    /// Frames and effects that come of it are the driver's: `work` is not to take them out with [`Stack::poll_output`].
    pub fn with<T>(&self, work: impl FnOnce(&mut Stack, Instant) -> T) -> T {
        let mut stack = self.lock();
        let result = work(&mut stack, self.clock.now());
        stack.wake();
        result
    }

    /// Hands in a frame of the guest that did not come over the link.
    pub fn input(&self, frame: &[u8]) {
        self.lock().input(frame, Caller::Elsewhere, self.clock.now());
    }

    pub(super) fn clock(&self) -> Clock {
        self.clock
    }

    /// A panic inside the stack lost what it was at, as a panic costs one frame.
    pub(super) fn lock(&self) -> MutexGuard<'_, Stack> {
        self.stack.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for StackHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StackHandle").finish_non_exhaustive()
    }
}
