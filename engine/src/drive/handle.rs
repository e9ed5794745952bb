//! A stack that others use while a loop drives it.

use std::error::Error;
use std::fmt;
use std::sync::Arc;

use super::Clock;
use super::turns::{Turn, Turns};
use crate::flow::Caller;
use crate::stack::Stack;
use crate::time::Instant;

/// A stack that a driver runs, for whoever else has something to do with it: forwards that come and go, or frames that do not come
/// over the link. Its clones are of the same stack; they may be on other threads.
///
/// Whoever has one takes turns with the driver and with each other: a turn is waited for, but nobody is passed for ever. The handle
/// outlives the driver; once that has been dropped nobody takes frames and effects out any more, nor does time go on.
#[derive(Clone)]
pub struct StackHandle {
    stack: Arc<Turns>,
    clock: Clock,
}

/// A stack was asked for by the thread that has it: something that takes a turn with the stack ([`StackHandle::with`],
/// [`StackHandle::input`], a driver's round) was called inside [`StackHandle::with`]. Nothing was done. Inside, the stack itself is at hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reentered;

impl fmt::Display for Reentered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("this thread has the stack already: it was asked for inside StackHandle::with")
    }
}

impl Error for Reentered {}

impl StackHandle {
    pub(super) fn new(stack: Stack) -> StackHandle {
        StackHandle { stack: Arc::new(Turns::new(stack)), clock: Clock::new() }
    }

    /// Does something with the stack, whose time is given too, and has the driver come round if it sleeps. A round of the driver is
    /// waited for, and its next one waits for `work`.
    ///
    /// Frames and effects that come of it are the driver's: `work` is not to take them out with [`Stack::poll_output`]. It may put
    /// another stack in the place of this one; a driver that sleeps meanwhile sees that when its sleep ends, which is after a second at the
    /// latest, and goes on with the other one.
    ///
    /// # Errors
    /// This is called inside `work`, in the same thread; `work` was not called.
    pub fn with<T>(&self, work: impl FnOnce(&mut Stack, Instant) -> T) -> Result<T, Reentered> {
        let mut stack = self.take()?;
        let result = work(&mut stack, self.clock.now());
        stack.wake();
        Ok(result)
    }

    /// Hands in a frame of the guest that did not come over the link. As with every [`Stack::input`], it is dropped and counted while too much
    /// waits for the guest.
    ///
    /// # Errors
    /// This is called inside [`StackHandle::with`], in the same thread, where [`Stack::input`] is at hand; the frame was not taken.
    pub fn input(&self, frame: &[u8]) -> Result<(), Reentered> {
        self.take()?.input(frame, Caller::Elsewhere, self.clock.now());
        Ok(())
    }

    /// The stack, when the driver and all other handles are gone.
    ///
    /// # Errors
    /// They are not; the handle comes back.
    pub fn into_stack(self) -> Result<Stack, StackHandle> {
        let clock = self.clock;
        Arc::try_unwrap(self.stack).map(Turns::into_stack).map_err(|stack| StackHandle { stack, clock })
    }

    pub(super) fn clock(&self) -> Clock {
        self.clock
    }

    pub(super) fn take(&self) -> Result<Turn<'_>, Reentered> {
        self.stack.take()
    }
}

impl fmt::Debug for StackHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StackHandle").finish_non_exhaustive()
    }
}
