//! What sockets are asked beyond what there is a function for everywhere.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsRawFd;

use super::fault::is_lack;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

/// A send to a peer that has gone is an error and no signal.
pub(crate) const NO_SIGNAL: i32 = libc::MSG_NOSIGNAL;
/// The last byte is the urgent one.
pub(crate) const OUT_OF_BAND: i32 = libc::MSG_OOB;

unsafe extern "C" {
    /// POSIX; missing in the libc crate.
    fn sockatmark(socket: libc::c_int) -> libc::c_int;
}

/// Whether the next byte to read is the urgent one.
pub(crate) fn is_at_mark(socket: &Socket) -> bool {
    // SAFETY: the function takes a descriptor, which is open as long as the socket is, and touches no memory of ours.
    unsafe { sockatmark(socket.as_raw_fd()) == 1 }
}

/// Whether the stream has an error, or nothing moves on it any more in either direction.
pub(crate) fn is_broken(socket: &Socket) -> bool {
    let mut entry = libc::pollfd { fd: socket.as_raw_fd(), events: 0, revents: 0 };
    // SAFETY: one entry, which lives as long as the call, with a descriptor that is open; a timeout of 0 returns at once.
    let ready = unsafe { libc::poll(&raw mut entry, 1, 0) };
    ready > 0 && entry.revents & (libc::POLLERR | libc::POLLHUP) != 0
}

/// Whether the connect is under way. `EAGAIN` is none: the host has no port left, and nothing was begun.
pub(crate) fn in_progress(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::EINPROGRESS)
}

/// A socket as every one here is: close-on-exec and non-blocking from the start.
pub(crate) fn new_socket(domain: Domain, kind: Type, protocol: Option<Protocol>) -> io::Result<Socket> {
    #[cfg(any(target_os = "linux", target_os = "android", target_os = "freebsd"))]
    let socket = Socket::new(domain, kind.nonblocking(), protocol)?;
    #[cfg(not(any(target_os = "linux", target_os = "android", target_os = "freebsd")))]
    let socket = {
        let socket = Socket::new(domain, kind, protocol)?;
        socket.set_nonblocking(true)?;
        socket
    };
    #[cfg(target_vendor = "apple")]
    socket.set_nosigpipe(true)?;
    Ok(socket)
}

/// Has a listener take a port whose last connections are still remembered.
pub(crate) fn take_over_idle_port(socket: &Socket) -> io::Result<()> {
    socket.set_reuse_address(true)
}

/// Takes one waiting connection, which never blocks and is closed in other programs.
pub(crate) fn accept(listener: &Socket) -> io::Result<(Socket, SockAddr)> {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    {
        use std::os::fd::FromRawFd;
        let flags = libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
        // SAFETY: the name and its length are those of one storage; a descriptor that accept returns is new and ours alone.
        unsafe {
            SockAddr::try_init(|name, length| match libc::accept4(listener.as_raw_fd(), name.cast(), length, flags) {
                -1 => Err(io::Error::last_os_error()),
                descriptor => Ok(Socket::from_raw_fd(descriptor)),
            })
        }
    }
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    {
        let (socket, peer) = listener.accept()?;
        socket.set_nonblocking(true)?;
        Ok((socket, peer))
    }
}

/// Whether what is accepted has the options of its listener.
pub(crate) const INHERITS: bool = cfg!(any(target_os = "linux", target_os = "android"));
/// Whether Nagle's delay is Minshall's, which a first send does not meet.
pub(crate) const DELAYS_LATE: bool = INHERITS;

/// What makes a datagram socket one for echo requests where the system has no such sockets: nothing here.
#[derive(Debug)]
pub(crate) struct Pings;

impl Pings {
    /// For an ordinary socket.
    pub(crate) const NONE: Pings = Pings;

    /// A socket for echo requests, from an address of the host where one is given: an unprivileged ping socket, else a raw one. The
    /// flag says that it is raw.
    ///
    /// # Errors
    /// What the second try said.
    pub(crate) fn open(v6: bool, source: Option<IpAddr>) -> io::Result<(Socket, Pings, bool)> {
        let (domain, protocol) = if v6 { (Domain::IPV6, Protocol::ICMPV6) } else { (Domain::IPV4, Protocol::ICMPV4) };
        let (socket, raw) = match new_socket(domain, Type::DGRAM, Some(protocol)) {
            Ok(socket) => (socket, false),
            // The second try may be forbidden, which would hide why the first one failed.
            Err(error) if is_lack(&error) => return Err(error),
            Err(_) => (new_socket(domain, Type::RAW, Some(protocol))?, true),
        };
        if let Some(source) = source {
            socket.bind(&SockAddr::from(SocketAddr::new(source, 0)))?;
        }
        Ok((socket, Pings, raw))
    }

    /// Sends an echo request in another way than any other datagram: never.
    #[inline(always)]
    pub(crate) fn send(&self, _message: &[u8], _destination: SocketAddr) -> Option<io::Result<usize>> {
        None
    }

    /// As for [`Pings::send`].
    #[inline(always)]
    pub(crate) fn set_ttl(&self, _ttl: u8) -> bool {
        false
    }
}
