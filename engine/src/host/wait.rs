//! Sleeping until a descriptor has news, for programs that have no loop of their own. Source: poll(2).

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::time::Duration;

/// What `poll` says of a socket whose peer sends nothing any more, where it can.
#[cfg(any(target_os = "linux", target_os = "android", target_os = "freebsd"))]
const END: libc::c_short = libc::POLLRDHUP;
#[cfg(not(any(target_os = "linux", target_os = "android", target_os = "freebsd")))]
const END: libc::c_short = 0;

/// A descriptor to be watched, and what was seen of it.
#[derive(Debug)]
pub(crate) struct Watch<'a> {
    /// Without one there never is news.
    descriptor: Option<BorrowedFd<'a>>,
    wanted: libc::c_short,
    seen: libc::c_short,
}

impl<'a> Watch<'a> {
    /// Watched for something to read, and for room to write to it as well where that is `wanted`.
    pub(crate) fn new(descriptor: &'a impl AsFd, room: bool) -> Watch<'a> {
        let room = if room { libc::POLLOUT } else { 0 };
        Watch { descriptor: Some(descriptor.as_fd()), wanted: libc::POLLIN | room, seen: 0 }
    }

    /// The same, and for the end of what comes.
    pub(crate) fn link(descriptor: &'a impl AsFd, room: bool) -> Watch<'a> {
        let mut watch = Watch::new(descriptor, room);
        watch.wanted |= END;
        watch
    }

    /// The same where there may be none, which never has news.
    pub(crate) fn perhaps(descriptor: Option<&'a impl AsFd>) -> Watch<'a> {
        Watch { descriptor: descriptor.map(AsFd::as_fd), wanted: libc::POLLIN, seen: 0 }
    }

    /// Whether there was anything: something to read, room, an end or an error.
    pub(crate) fn has_news(&self) -> bool {
        self.seen != 0
    }

    /// Whether nothing more comes than what is there to be read.
    pub(crate) fn has_ended(&self) -> bool {
        self.seen & (libc::POLLHUP | END) != 0
    }
}

/// Whether nothing more comes over a descriptor than what is there to be read.
pub(crate) fn has_ended(descriptor: &impl AsFd) -> bool {
    let mut watches = [Watch::link(descriptor, false)];
    wait(&mut watches, Duration::ZERO).is_ok() && watches.iter().all(Watch::has_ended)
}

/// Sleeps until there is news of one of them, but no longer than `longest`, which is rounded up to milliseconds. A signal ends the
/// sleep as well: then nothing was seen.
///
/// # Errors
/// The system lacks the memory, or the process is allowed fewer descriptors than these.
pub(crate) fn wait<const N: usize>(watches: &mut [Watch<'_>; N], longest: Duration) -> io::Result<()> {
    let mut polled = watches.each_ref().map(|watch| libc::pollfd {
        fd: watch.descriptor.map_or(-1, |descriptor| descriptor.as_raw_fd()),
        events: watch.wanted,
        revents: 0,
    });
    let longest = libc::c_int::try_from(longest.as_micros().div_ceil(1000)).unwrap_or(libc::c_int::MAX);
    // SAFETY: the array has N entries, which live until the call has returned.
    let found = unsafe { libc::poll(polled.as_mut_ptr(), N as libc::nfds_t, longest) };
    if found < 0 {
        let error = io::Error::last_os_error();
        return if error.kind() == io::ErrorKind::Interrupted { Ok(()) } else { Err(error) };
    }
    for (watch, polled) in watches.iter_mut().zip(&polled) {
        watch.seen = polled.revents;
    }
    Ok(())
}

/// Has reading from and writing to it never wait. It holds for all copies of the descriptor.
///
/// # Errors
/// What `fcntl` said.
pub(crate) fn never_block(descriptor: std::os::fd::RawFd) -> io::Result<()> {
    // SAFETY: these commands take and give numbers only; one that is no open descriptor is an error.
    let flags = unsafe { libc::fcntl(descriptor, libc::F_GETFL) };
    // SAFETY: as above.
    if flags < 0 || unsafe { libc::fcntl(descriptor, libc::F_SETFL, flags | libc::O_NONBLOCK) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::os::unix::net::UnixStream;
    use std::time::Instant;

    #[test]
    fn a_sleep_ends_with_news_or_with_its_time() {
        let (one, mut other) = UnixStream::pair().unwrap();
        let (silent, _kept) = UnixStream::pair().unwrap();
        let mut watches = [Watch::new(&one, false), Watch::new(&silent, false), Watch::perhaps(None::<&UnixStream>)];
        let began = Instant::now();
        wait(&mut watches, Duration::from_micros(1_500)).unwrap();
        assert!(began.elapsed() >= Duration::from_micros(1_500));
        assert!(!watches[0].has_news() && !watches[1].has_news());
        other.write_all(b"x").unwrap();
        wait(&mut watches, Duration::from_secs(3_600)).unwrap();
        assert!(watches[0].has_news() && !watches[1].has_news() && !watches[2].has_news());
    }

    #[test]
    fn room_is_watched_for_where_that_is_wanted() {
        let (one, _other) = UnixStream::pair().unwrap();
        let mut watches = [Watch::new(&one, true)];
        wait(&mut watches, Duration::from_secs(3_600)).unwrap();
        assert!(watches[0].has_news());
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn what_never_blocks_says_so() {
        let (one, _other) = UnixStream::pair().unwrap();
        never_block(one.as_raw_fd()).unwrap();
        let error = io::Read::read(&mut &one, &mut [0]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
        assert!(never_block(-1).is_err());
    }
}
