//! Descriptors that a task of tokio can wait for.

use std::io;
use std::os::fd::OwnedFd;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Has the runtime of this thread watch a descriptor.
///
/// # Errors
/// What the operating system says of the kind of descriptor, or of the number of them.
///
/// # Panics
/// Outside of a runtime with input and output.
pub(crate) fn watch(descriptor: OwnedFd, interest: Interest) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: the descriptor is open and owned by the value that is given, which keeps it, and its number, until it is dropped.
    unsafe { AsyncFd::register_with_interest(descriptor, interest) }.map_err(io::Error::from)
}
