//! What the kernel still has of a stream's bytes. Systems tell it in different ways, some in none.

use super::socket::Stream;

impl Stream {
    /// How many bytes the kernel has that the peer has not got, the end of the stream among them where it was passed on and
    /// not taken. Where the kernel does not tell: 0.
    pub(crate) fn unsent(&self) -> usize {
        system::unsent(self)
    }

    /// How many bytes the kernel has not even sent, because the peer or the path does not take them. Where the kernel does
    /// not tell: 0.
    pub(crate) fn backlog(&self) -> usize {
        system::backlog(self)
    }
}

/// tcp(7), `SIOCOUTQ` and `SIOCOUTQNSD`.
#[cfg(any(target_os = "linux", target_os = "android"))]
mod system {
    use super::{Stream, ask};

    pub(super) fn unsent(stream: &Stream) -> usize {
        ask(stream, libc::TIOCOUTQ as libc::c_ulong)
    }

    pub(super) fn backlog(stream: &Stream) -> usize {
        const SIOCOUTQNSD: libc::c_ulong = 0x894b;
        ask(stream, SIOCOUTQNSD)
    }
}

/// `FIONWRITE`: bytes in the socket's buffer, sent or not.
#[cfg(any(target_os = "freebsd", target_os = "netbsd"))]
mod system {
    use super::{Stream, ask};

    pub(super) fn unsent(stream: &Stream) -> usize {
        ask(stream, libc::FIONWRITE)
    }

    pub(super) fn backlog(_stream: &Stream) -> usize {
        0
    }
}

/// `SO_NWRITE`: bytes in the socket's buffer, sent or not.
#[cfg(target_vendor = "apple")]
mod system {
    use std::os::fd::AsRawFd;

    use super::{Stream, number};

    pub(super) fn unsent(stream: &Stream) -> usize {
        let mut unsent: libc::c_int = 0;
        let mut length = size_of::<libc::c_int>() as libc::socklen_t;
        // SAFETY: the descriptor is open, and the option writes one int, for which there is room.
        let told = unsafe {
            let value = (&raw mut unsent).cast();
            libc::getsockopt(stream.as_raw_fd(), libc::SOL_SOCKET, libc::SO_NWRITE, value, &raw mut length)
        };
        number(told, unsent)
    }

    pub(super) fn backlog(_stream: &Stream) -> usize {
        0
    }
}

#[cfg(not(any(
    target_os = "linux",
    target_os = "android",
    target_os = "freebsd",
    target_os = "netbsd",
    target_vendor = "apple"
)))]
mod system {
    use super::Stream;

    pub(super) fn unsent(_stream: &Stream) -> usize {
        0
    }

    pub(super) fn backlog(_stream: &Stream) -> usize {
        0
    }
}

/// A request that writes one int.
#[cfg(any(target_os = "linux", target_os = "android", target_os = "freebsd", target_os = "netbsd"))]
fn ask(stream: &Stream, request: libc::c_ulong) -> usize {
    use std::os::fd::AsRawFd;

    let mut told: libc::c_int = 0;
    // SAFETY: the descriptor is open, and the request writes one int. (Its type is another one with each C library.)
    let result = unsafe { libc::ioctl(stream.as_raw_fd(), request as _, &raw mut told) };
    number(result, told)
}

#[allow(dead_code, reason = "some systems do not tell")]
fn number(result: libc::c_int, told: libc::c_int) -> usize {
    if result == 0 { usize::try_from(told).unwrap_or(0) } else { 0 }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::io::{Read, Write};

    use super::*;

    #[test]
    fn what_a_peer_has_not_got_is_told() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let mut stream = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut peer, _) = listener.accept().unwrap();
        stream.set_nonblocking(true).unwrap();
        // More than both buffers hold.
        while stream.write(&[7; 1 << 16]).is_ok() {}
        let stream = Stream::connected(stream.into());
        assert!(stream.unsent() > 0 && stream.backlog() > 0 && stream.backlog() <= stream.unsent());
        peer.set_nonblocking(true).unwrap();
        while stream.unsent() > 0 {
            let _ = peer.read(&mut [0; 1 << 16]);
        }
        assert_eq!(stream.backlog(), 0);
    }
}
