//! What can go wrong in a loop.

use std::error::Error;
use std::fmt;
use std::io;
use std::sync::{Mutex, PoisonError};

use super::Reentered;
use crate::stack::Stack;

/// Why a driver's round ended early. The stack is as good as before, and the driver can be called again.
#[derive(Debug)]
#[non_exhaustive]
pub enum DriveError {
    /// The stack is in direct mode: there is no one descriptor to watch.
    Direct,
    /// The guest's end of the link has gone, as far as the link can tell: nothing will come any more.
    GuestGone(io::Error),
    /// The link could not be read, for another reason.
    Receive(io::Error),
    /// The link did not take a frame, which is lost, for another reason than that it was full.
    Send(io::Error),
    /// The loop could not be made to sleep: the operating system let it watch nothing, or tokio's runtime lacks something.
    Wait(io::Error),
    /// The round was called for inside [`StackHandle::with`](super::StackHandle::with), by the thread that has the stack.
    Reentered(Reentered),
}

impl DriveError {
    /// What a link said when it was read.
    pub(super) fn receiving(error: io::Error) -> DriveError {
        use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
        match error.kind() {
            UnexpectedEof | ConnectionReset | ConnectionAborted | BrokenPipe => DriveError::GuestGone(error),
            _ => DriveError::Receive(error),
        }
    }

    /// What a link said when it was given a frame.
    pub(super) fn sending(error: io::Error) -> DriveError {
        use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionRefused, ConnectionReset};
        match error.kind() {
            // Refused is what a datagram socket says whose peer has been closed.
            BrokenPipe | ConnectionRefused | ConnectionReset | ConnectionAborted => DriveError::GuestGone(error),
            _ => DriveError::Send(error),
        }
    }
}

impl fmt::Display for DriveError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            DriveError::Direct => "a stack in direct mode cannot be driven",
            DriveError::GuestGone(_) => "the guest's end of the link has gone",
            DriveError::Receive(_) => "cannot receive frames of the guest",
            DriveError::Send(_) => "cannot send a frame to the guest",
            DriveError::Wait(_) => "cannot wait for news of the guest and the host",
            DriveError::Reentered(_) => "a stack cannot be driven while it is with somebody",
        })
    }
}

impl Error for DriveError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            DriveError::Direct => None,
            DriveError::GuestGone(error)
            | DriveError::Receive(error)
            | DriveError::Send(error)
            | DriveError::Wait(error) => Some(error),
            DriveError::Reentered(error) => Some(error),
        }
    }
}

impl From<Reentered> for DriveError {
    fn from(error: Reentered) -> DriveError {
        DriveError::Reentered(error)
    }
}

/// Why there is no driver, with what it was to be made of.
pub struct NotDriven<L> {
    error: DriveError,
    /// Behind a lock only so that the whole is `Sync`, which libraries ask of an error; a stack is not.
    parts: Box<Mutex<(Stack, L)>>,
}

impl<L> NotDriven<L> {
    pub(super) fn new(error: DriveError, stack: Stack, link: L) -> NotDriven<L> {
        NotDriven { error, parts: Box::new(Mutex::new((stack, link))) }
    }

    /// Why.
    pub fn error(&self) -> &DriveError {
        &self.error
    }

    /// Why, and the stack and the link.
    pub fn into_parts(self) -> (DriveError, Stack, L) {
        let (stack, link) = self.parts.into_inner().unwrap_or_else(PoisonError::into_inner);
        (self.error, stack, link)
    }
}

impl<L> fmt::Debug for NotDriven<L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("NotDriven").field(self.error()).finish()
    }
}

impl<L> fmt::Display for NotDriven<L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error().fmt(f)
    }
}

impl<L> Error for NotDriven<L> {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.error().source()
    }
}

impl<L> From<NotDriven<L>> for DriveError {
    fn from(error: NotDriven<L>) -> DriveError {
        error.error
    }
}
