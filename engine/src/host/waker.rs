//! What a poller is woken with from inside the process: Linux's eventfd, with the interface of `mio`'s `Waker`.
//!
//! That one tells nobody its descriptor, so that nothing can look whether it is there still before std closes it, which ends a debug
//! build where the program has closed it by mistake (`owned.rs`). Other systems have `mio`'s all the same.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};

use super::owned::Owned;

/// See the module.
#[derive(Debug)]
pub(crate) struct Waker(Owned<OwnedFd>);

impl Waker {
    /// Makes one of which this poller has news by this name.
    ///
    /// # Errors
    /// What the operating system says when it has no descriptor left.
    pub(crate) fn new(registry: &Registry, name: Token) -> io::Result<Waker> {
        // SAFETY: the call takes no pointers.
        let descriptor = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
        if descriptor < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor is new, and nobody else's.
        let waker = Waker(Owned::new(unsafe { OwnedFd::from_raw_fd(descriptor) }));
        registry.register(&mut SourceFd(&descriptor), name, Interest::READABLE)?;
        Ok(waker)
    }

    /// Has the poller news once more. Nobody reads the count, which has room for as many as there will ever be.
    ///
    /// # Errors
    /// It is there no more.
    pub(crate) fn wake(&self) -> io::Result<()> {
        let once = 1_u64;
        // SAFETY: the call reads the eight bytes of a live local; a number that is no descriptor is an error.
        let written = unsafe { libc::write(self.0.as_raw_fd(), (&raw const once).cast(), size_of_val(&once)) };
        if written < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::nested::Poller;

    /// One that the program has closed, of a number that nobody is given meanwhile, as the kernel gives the lowest one that is free.
    fn closed_by_mistake(number: libc::c_int) -> Waker {
        // SAFETY: the calls take no pointers, and what they make is nobody else's.
        let waker = unsafe {
            let made = OwnedFd::from_raw_fd(libc::eventfd(0, libc::EFD_CLOEXEC));
            assert_eq!(libc::dup2(made.as_raw_fd(), number), number);
            Waker(Owned::new(OwnedFd::from_raw_fd(number)))
        };
        waker.wake().unwrap();
        // SAFETY: it is the test's mistake to close what it has given away: that is what is tried.
        assert_eq!(unsafe { libc::close(number) }, 0);
        assert_eq!(waker.wake().unwrap_err().raw_os_error(), Some(libc::EBADF));
        waker
    }

    /// In a debug build std would end the process.
    #[test]
    fn a_poller_whose_waker_somebody_else_has_closed_is_dropped() {
        let mut poller = Poller::new().unwrap();
        poller.set_waker(closed_by_mistake(901));
    }

    #[test]
    fn another_takes_the_place_of_one_that_somebody_else_has_closed() {
        let mut poller = Poller::new().unwrap();
        poller.set_waker(closed_by_mistake(902));
        let mut seen = Vec::new();
        poller.wake(5);
        poller.wait(|token, _| seen.push(token));
        assert_eq!(seen, [5]);
    }
}
