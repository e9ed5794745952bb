//! The end of a loop, from another thread.

use std::io;
use std::net::Shutdown;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;

/// Ends [`Driver::run`](super::Driver::run), from any thread. Its clones are the same one. It is made once and used once: a loop that is
/// given one that has stopped ends at once.
#[derive(Clone, Debug)]
pub struct Stop {
    /// What is watched, and what is closed to have it seen.
    ends: Arc<(UnixStream, UnixStream)>,
}

impl Stop {
    /// One that has not been used.
    ///
    /// # Errors
    /// What the operating system says when it has no descriptors left.
    pub fn new() -> io::Result<Stop> {
        Ok(Stop { ends: Arc::new(UnixStream::pair()?) })
    }

    /// Has the loop end as soon as the round that it is in has ended.
    pub fn stop(&self) {
        // It fails only where it was done before.
        let _ = self.ends.1.shutdown(Shutdown::Write);
    }
}

/// Readable for ever once it has stopped.
impl AsFd for Stop {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.ends.0.as_fd()
    }
}
