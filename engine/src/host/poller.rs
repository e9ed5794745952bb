//! What sockets report, and who watches them: one poller for all of a stack, or in direct mode the application.

use std::io;

pub(crate) use super::nested::{ONLY_DIRECT, Poller};

/// What a socket reported since it was last asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Readiness {
    /// Reading will not block: data, end of stream, a waiting connection or an error.
    pub readable: bool,
    /// Writing will not block, or a pending connect has ended.
    pub writable: bool,
    /// The peer closed its sending direction; reading ends with 0 once the data is drained.
    pub read_closed: bool,
    /// Urgent data is waiting.
    pub priority: bool,
    /// An error is pending on the socket or its error queue.
    pub error: bool,
}

/// What is news of a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum News {
    /// All that happens to a stream.
    Stream,
    /// What comes in, and errors. That a datagram socket can be written to would be reported whenever a datagram has left
    /// it.
    Incoming,
}

/// Whether a stack has its sockets behind one poller, or its caller watches each of them.
#[derive(Debug)]
pub(crate) struct PollMode {
    /// In direct mode nothing is ever registered with it.
    poller: Poller,
    direct: bool,
}

impl PollMode {
    /// # Errors
    /// As for [`Poller::new`].
    pub(crate) fn new(direct: bool) -> io::Result<PollMode> {
        Ok(PollMode { poller: Poller::new()?, direct: direct || ONLY_DIRECT })
    }

    /// The poller, unless in direct mode.
    pub(crate) fn as_ref(&self) -> Option<&Poller> {
        (!self.direct).then_some(&self.poller)
    }

    /// As [`PollMode::as_ref`].
    pub(crate) fn as_mut(&mut self) -> Option<&mut Poller> {
        (!self.direct).then_some(&mut self.poller)
    }

    /// Whether it is direct mode.
    pub(crate) fn is_none(&self) -> bool {
        self.direct
    }
}

/// The descriptor of the poller. In direct mode it is never readable.
#[cfg(unix)]
impl std::os::fd::AsFd for PollMode {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.poller.as_fd()
    }
}
