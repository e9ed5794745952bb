//! One nestable poller (epoll, kqueue) for all host sockets of a stack.
//!
//! Its own descriptor is readable while any registered socket has news, so an application that sleeps in `poll(2)` needs
//! to watch only that one. Registrations are edge-triggered: a socket reports each change once, and its owner remembers
//! what it was told until the operating system says "would block".

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::time::Duration;

#[cfg(not(any(target_os = "linux", target_os = "android")))]
use mio::Waker;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll};

use super::alarm::Alarm;
use super::handle::{HostNamed, RawSocket};
use super::owned::Owned;
use super::poller::{News, Readiness};
use super::token_name::Names;
#[cfg(any(target_os = "linux", target_os = "android"))]
use super::waker::Waker;

/// Whether a stack can be driven in direct mode alone.
pub(crate) const ONLY_DIRECT: bool = false;
/// How many changes one system call fetches.
const BATCH: usize = 256;
/// How many such calls one [`Poller::wait`] makes at most; what is left is reported by the next one.
const MAX_BATCHES: usize = 64;

/// A nestable poller.
#[derive(Debug)]
pub(crate) struct Poller {
    poll: Owned<Poll>,
    events: Events,
    /// Made when it is first needed.
    waker: Option<Waker>,
    /// The same.
    alarm: Option<Alarm>,
    names: Names,
}

impl Poller {
    /// Makes a poller.
    ///
    /// # Errors
    /// What the operating system says when it has no descriptor left.
    pub(crate) fn new() -> io::Result<Poller> {
        Ok(Poller {
            poll: Owned::new(Poll::new()?),
            events: Events::with_capacity(BATCH),
            waker: None,
            alarm: None,
            names: Names::default(),
        })
    }

    /// The poller's own descriptor: readable while any registered socket has news.
    pub(crate) fn descriptor(&self) -> RawSocket {
        self.poll.as_raw_fd()
    }

    /// Watches a socket. `token` comes back with each of its reports.
    ///
    /// # Errors
    /// What the operating system says, for instance when its limit of watches is reached.
    pub(crate) fn add(&self, socket: RawSocket, token: u64, news: News) -> io::Result<()> {
        let interest = match news {
            News::Stream => with_priority(Interest::READABLE | Interest::WRITABLE),
            News::Incoming => Interest::READABLE,
        };
        self.poll.registry().register(&mut SourceFd(&socket), self.names.name(token), interest)
    }

    /// Stops watching a socket. Its close does so as well, unless a child process holds a copy of it, of which there would
    /// be reports then.
    pub(crate) fn remove(&self, socket: RawSocket) {
        // The only errors are "not registered" and "not open"; in both there is nothing left to stop.
        let _ = self.poll.registry().deregister(&mut SourceFd(&socket));
    }

    /// Makes the poller's own descriptor readable until it is next asked; then `token` has news. Where the operating system
    /// has no descriptor for that, nothing happens.
    pub(crate) fn wake(&mut self, token: u64) {
        if let Some(waker) = &self.waker
            && waker.wake().is_ok()
        {
            return;
        }
        // One that does not wake was closed by the program, by mistake: it is nobody's to close again, and another takes its place.
        std::mem::forget(self.waker.take());
        self.waker = Waker::new(self.poll.registry(), self.names.name(token)).ok();
        if let Some(waker) = &self.waker {
            // It is new. Where it does not wake all the same, the next call makes another.
            let _ = waker.wake();
        }
    }

    /// For tests: one that has met with an accident.
    #[cfg(all(test, any(target_os = "linux", target_os = "android")))]
    pub(super) fn set_waker(&mut self, waker: Waker) {
        self.waker = Some(waker);
    }

    /// The same after a while, and not when it was last asked for.
    pub(crate) fn wake_after(&mut self, wait: Duration, token: u64) {
        if self.alarm.is_none() {
            self.alarm = Alarm::new().ok().filter(|alarm| self.add(alarm.raw_socket(), token, News::Incoming).is_ok());
        }
        if let Some(alarm) = &self.alarm {
            alarm.set(wait);
        }
    }

    /// Reports, without sleeping, what has changed.
    pub(crate) fn wait(&mut self, mut report: impl FnMut(u64, Readiness)) {
        for _ in 0..MAX_BATCHES {
            if self.poll.poll(&mut self.events, Some(Duration::ZERO)).is_err() {
                // Interrupted by a signal: the changes stay with the kernel for the next turn.
                return;
            }
            let mut count = 0;
            for event in &self.events {
                count += 1;
                report(
                    self.names.token(event.token()),
                    Readiness {
                        readable: event.is_readable() || event.is_read_closed() || event.is_error(),
                        writable: event.is_writable() || event.is_write_closed() || event.is_error(),
                        read_closed: event.is_read_closed(),
                        priority: event.is_priority(),
                        error: event.is_error(),
                    },
                );
            }
            if count < BATCH {
                return;
            }
        }
    }
}

impl AsFd for Poller {
    fn as_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: the descriptor is open for as long as `poll` lives, which the borrow does not outlive.
        unsafe { BorrowedFd::borrow_raw(self.poll.as_raw_fd()) }
    }
}

#[cfg(any(target_os = "linux", target_os = "android"))]
fn with_priority(interest: Interest) -> Interest {
    interest | Interest::PRIORITY
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn with_priority(interest: Interest) -> Interest {
    interest
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::os::unix::net::UnixStream;

    #[test]
    fn a_wake_is_one_report() {
        let mut poller = Poller::new().unwrap();
        let mut seen = Vec::new();
        poller.wake(5);
        poller.wake(5);
        poller.wait(|token, _| seen.push(token));
        assert_eq!(seen, [5]);
        poller.wait(|token, _| seen.push(token));
        assert_eq!(seen, [5]);
    }

    #[test]
    #[cfg(any(target_os = "linux", target_os = "android"))]
    fn an_alarm_is_one_report_and_can_be_put_off() {
        let mut poller = Poller::new().unwrap();
        poller.wake_after(Duration::ZERO, 5);
        poller.wake_after(Duration::from_secs(3600), 5);
        poller.wait(|token, _| panic!("{token} reported"));
        for _ in 0..2 {
            poller.wake_after(Duration::from_millis(1), 5);
            let mut entry = libc::pollfd { fd: poller.descriptor(), events: libc::POLLIN, revents: 0 };
            // SAFETY: one entry, which lives as long as the call.
            assert_eq!(unsafe { libc::poll(&raw mut entry, 1, 10_000) }, 1);
            let mut seen = Vec::new();
            poller.wait(|token, _| seen.push(token));
            poller.wait(|token, _| seen.push(token));
            assert_eq!(seen, [5]);
        }
    }

    #[test]
    fn a_change_is_reported_once_with_its_token() {
        let mut poller = Poller::new().unwrap();
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        poller.add(ours.as_raw_fd(), 77, News::Stream).unwrap();
        let mut seen = Vec::new();
        poller.wait(|token, ready| seen.push((token, ready.readable, ready.writable)));
        assert_eq!(seen, [(77, false, true)]);
        theirs.write_all(b"x").unwrap();
        seen.clear();
        poller.wait(|token, ready| seen.push((token, ready.readable, ready.writable)));
        assert_eq!(seen, [(77, true, true)]);
        seen.clear();
        poller.wait(|token, ready| seen.push((token, ready.readable, ready.writable)));
        assert_eq!(seen, []);
        poller.remove(ours.as_raw_fd());
        theirs.write_all(b"y").unwrap();
        poller.wait(|token, _| panic!("{token} reported after removal"));
    }

    #[test]
    fn a_datagram_that_leaves_is_no_news() {
        let mut poller = Poller::new().unwrap();
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let peer = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        poller.add(socket.as_raw_fd(), 5, News::Incoming).unwrap();
        socket.send_to(b"ask", peer.local_addr().unwrap()).unwrap();
        peer.recv_from(&mut [0; 8]).unwrap();
        poller.wait(|token, ready| panic!("{token} reported {ready:?}"));
        peer.send_to(b"tell", socket.local_addr().unwrap()).unwrap();
        let mut seen = Vec::new();
        poller.wait(|token, ready| seen.push((token, ready.readable, ready.error)));
        assert_eq!(seen, [(5, true, false)]);
    }
}
