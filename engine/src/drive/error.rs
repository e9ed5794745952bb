//! What can go wrong in a loop.

use std::error::Error;
use std::fmt;
use std::io;

/// Why a driver's round ended early. The stack is as good as before, and the driver can be called again.
#[derive(Debug)]
#[non_exhaustive]
pub enum DriveError {
    /// The stack is in direct mode: there is no one descriptor to watch.
    Direct,
    /// The link could not be read: it has ended, or what is said here has happened to it.
    Receive(io::Error),
    /// The link did not take a frame, which is lost, for another reason than that it was full.
    Send(io::Error),
    /// The operating system let the loop watch nothing.
    Wait(io::Error),
}

impl fmt::Display for DriveError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            DriveError::Direct => "a stack in direct mode cannot be driven",
            DriveError::Receive(_) => "cannot receive frames of the guest",
            DriveError::Send(_) => "cannot send a frame to the guest",
            DriveError::Wait(_) => "cannot wait for news of the guest and the host",
        })
    }
}

impl Error for DriveError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            DriveError::Direct => None,
            DriveError::Receive(error) | DriveError::Send(error) | DriveError::Wait(error) => Some(error),
        }
    }
}
