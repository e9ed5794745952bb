//! Where the system has no poller that stands for other sockets and that a program could wait for (Windows, Haiku): each
//! socket is the application's to watch.

use std::io;
#[cfg(unix)]
use std::io::{PipeReader, PipeWriter};
#[cfg(unix)]
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use super::handle::RawSocket;
use super::poller::{News, Readiness};

/// Whether a stack can be driven in direct mode alone.
pub(crate) const ONLY_DIRECT: bool = true;

/// None: nobody asks it for anything, as every stack is in direct mode.
#[derive(Debug)]
pub(crate) struct Poller {
    /// What a program may ask for none the less: a descriptor that is never readable, and what keeps it from being at its end.
    #[cfg(unix)]
    silent: (PipeReader, PipeWriter),
}

impl Poller {
    /// # Errors
    /// What the operating system says when it has no descriptor left.
    pub(crate) fn new() -> io::Result<Poller> {
        Ok(Poller {
            #[cfg(unix)]
            silent: io::pipe()?,
        })
    }

    pub(crate) fn descriptor(&self) -> RawSocket {
        RawSocket::MAX
    }

    /// # Errors
    /// Always.
    pub(crate) fn add(&self, _socket: RawSocket, _token: u64, _news: News) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(crate) fn remove(&self, _socket: RawSocket) {}

    pub(crate) fn wake(&mut self, _token: u64) {}

    pub(crate) fn wake_after(&mut self, _wait: Duration, _token: u64) {}

    pub(crate) fn wait(&mut self, _report: impl FnMut(u64, Readiness)) {}
}

#[cfg(unix)]
impl AsFd for Poller {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.silent.0.as_fd()
    }
}
