//! One connection, as the streams wait for it.

use std::io::{self, ErrorKind};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// What was told of a connection, and who waits for more.
#[derive(Default)]
pub(super) struct Line {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// Counts what was told.
    news: u64,
    end: Option<End>,
    /// The end of the stream was read.
    end_read: bool,
    /// Nobody has the stream any more.
    left: bool,
    timeout: Option<Duration>,
    #[cfg(feature = "tokio")]
    wakers: [Option<std::task::Waker>; 2],
}

/// How it has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Closed,
    Reset,
    /// Nothing more is told of it.
    Abandoned,
}

/// Which direction a task waits for.
#[cfg(feature = "tokio")]
#[derive(Clone, Copy)]
pub(super) enum Direction {
    Read,
    Write,
}

impl Line {
    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing in it is ever left half done.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Something was told, or the end. True when nobody has the stream any more.
    pub(super) fn news(&self, end: Option<End>) -> bool {
        let mut state = self.state();
        state.news += 1;
        state.end = state.end.or(end);
        let left = state.left;
        #[cfg(feature = "tokio")]
        let wakers = std::mem::take(&mut state.wakers);
        drop(state);
        self.changed.notify_all();
        // Not while the line is locked, which they may want.
        #[cfg(feature = "tokio")]
        wakers.into_iter().flatten().for_each(std::task::Waker::wake);
        left
    }

    /// Nothing more will be told.
    pub(super) fn abandon(&self) {
        self.news(Some(End::Abandoned));
    }

    /// Nobody has the stream any more. True when it has ended before.
    pub(super) fn leave(&self) -> bool {
        let mut state = self.state();
        state.left = true;
        matches!(state.end, Some(End::Closed | End::Reset))
    }

    pub(super) fn set_timeout(&self, timeout: Option<Duration>) {
        self.state().timeout = timeout;
    }

    pub(super) fn end_read(&self) {
        self.state().end_read = true;
    }

    /// The connection is gone: what that is for a reader. How it went is told a little later, or never, should there be another
    /// stack in the place of its own: whoever has not read to the end is not to wait for that.
    pub(super) fn end_of_reading(&self) -> io::Result<usize> {
        let state = self.state();
        match state.end {
            _ if state.end_read => Ok(0),
            Some(End::Closed) => Ok(0),
            Some(End::Abandoned) => Err(abandoned()),
            Some(End::Reset) | None => Err(ErrorKind::ConnectionReset.into()),
        }
    }

    /// Whether it can be waited for.
    pub(super) fn waits(&self) -> io::Result<()> {
        if self.state().end == Some(End::Abandoned) { Err(abandoned()) } else { Ok(()) }
    }

    /// What was told so far.
    pub(super) fn seen(&self) -> u64 {
        self.state().news
    }

    /// Waits for more than that.
    pub(super) fn wait(&self, seen: u64) -> io::Result<()> {
        let mut state = self.state();
        let until = state.timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        while state.news == seen {
            state = match until {
                None => self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
                Some(until) => {
                    let left = until.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        return Err(ErrorKind::TimedOut.into());
                    }
                    self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
        Ok(())
    }

    /// Has a task woken by what is told next.
    #[cfg(feature = "tokio")]
    pub(super) fn wake_later(&self, direction: Direction, waker: &std::task::Waker) {
        let mut state = self.state();
        let [read, write] = &mut state.wakers;
        *(match direction {
            Direction::Read => read,
            Direction::Write => write,
        }) = Some(waker.clone());
    }
}

fn abandoned() -> io::Error {
    io::Error::new(ErrorKind::NotConnected, "nobody tells of this connection any more")
}
