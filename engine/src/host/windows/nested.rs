//! This system has no poller that stands for other sockets and that a program could wait for: each socket is the
//! application's to watch.

use std::io;
use std::time::Duration;

use crate::host::handle::RawSocket;
use crate::host::poller::{News, Readiness};

/// Whether a stack can be driven in direct mode alone.
pub(crate) const ONLY_DIRECT: bool = true;

/// None: nobody asks it for anything, as every stack is in direct mode.
#[derive(Debug)]
pub(crate) struct Poller;

impl Poller {
    pub(crate) fn new() -> io::Result<Poller> {
        Ok(Poller)
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
