//! What sockets are asked beyond what there is a function for everywhere.

use std::io;
use std::os::windows::io::AsRawSocket;

pub(crate) use super::ping::Pings;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use windows_sys::Win32::Networking::WinSock::{
    FIONBIO, MSG_OOB, POLLERR, POLLHUP, SIO_UDP_CONNRESET, SIOCATMARK, SO_EXCLUSIVEADDRUSE, SOCKET, SOL_SOCKET,
    WSAEWOULDBLOCK, WSAIoctl, WSAPOLLFD, WSAPoll, ioctlsocket, setsockopt,
};

/// A send that fails ends no program here.
pub(crate) const NO_SIGNAL: i32 = 0;
/// The last byte is the urgent one.
pub(crate) const OUT_OF_BAND: i32 = MSG_OOB;

/// Whether the next byte to read is the urgent one.
pub(crate) fn is_at_mark(socket: &Socket) -> bool {
    let mut is = 0;
    // SAFETY: the socket is open as long as the call takes, and the place is one for a number. The answer is the other way round
    // here: it says whether there is none ahead of it.
    let told = unsafe { ioctlsocket(socket.as_raw_socket() as SOCKET, SIOCATMARK, &raw mut is) };
    told == 0 && is == 0
}

/// Whether the stream has an error, or nothing moves on it any more in either direction.
pub(crate) fn is_broken(socket: &Socket) -> bool {
    let mut entry = WSAPOLLFD { fd: socket.as_raw_socket() as SOCKET, events: 0, revents: 0 };
    // SAFETY: one entry, which lives as long as the call; a timeout of 0 returns at once.
    let ready = unsafe { WSAPoll(&raw mut entry, 1, 0) };
    ready > 0 && entry.revents & (POLLERR | POLLHUP) != 0
}

/// Whether the connect is under way.
pub(crate) fn in_progress(error: &io::Error) -> bool {
    error.raw_os_error() == Some(WSAEWOULDBLOCK)
}

/// A socket as every one here is: not inherited by other programs, and non-blocking from the start.
pub(crate) fn new_socket(domain: Domain, kind: Type, protocol: Option<Protocol>) -> io::Result<Socket> {
    let socket = Socket::new(domain, kind, protocol)?;
    socket.set_nonblocking(true)?;
    if kind == Type::DGRAM {
        report_no_resets(&socket);
    }
    Ok(socket)
}

/// An ICMP error for something that was sent would fail a later receive without saying for what, and every one of these
/// would have to be made again.
fn report_no_resets(socket: &Socket) {
    let (no, mut length) = (0_u32, 0);
    // SAFETY: the place is read for the four bytes that are said; there is no room for an answer, as there is none. Where it fails,
    // the errors come.
    unsafe {
        WSAIoctl(
            socket.as_raw_socket() as SOCKET,
            SIO_UDP_CONNRESET,
            (&raw const no).cast(),
            size_of::<u32>() as u32,
            std::ptr::null_mut(),
            0,
            &raw mut length,
            std::ptr::null_mut(),
            None,
        );
    }
}

/// Has a listener be the only one at its port. What has this done elsewhere would let others take the port away from whoever has it
/// here, and a port whose last connections are remembered is free anyway.
pub(crate) fn take_over_idle_port(socket: &Socket) -> io::Result<()> {
    let yes = 1_i32;
    // SAFETY: the socket is open, and the value is as long as is said.
    let set = unsafe {
        setsockopt(
            socket.as_raw_socket() as SOCKET,
            SOL_SOCKET,
            SO_EXCLUSIVEADDRUSE,
            (&raw const yes).cast(),
            size_of::<i32>() as i32,
        )
    };
    if set == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Takes one waiting connection, which never blocks.
pub(crate) fn accept(listener: &Socket) -> io::Result<(Socket, SockAddr)> {
    let (socket, peer) = listener.accept()?;
    let mut yes = 1;
    // SAFETY: the socket is open, and the place one for a number.
    if unsafe { ioctlsocket(socket.as_raw_socket() as SOCKET, FIONBIO, &raw mut yes) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok((socket, peer))
}

/// Whether what is accepted has the options of its listener.
pub(crate) const INHERITS: bool = false;
/// Whether Nagle's delay is Minshall's, which a first send does not meet.
pub(crate) const DELAYS_LATE: bool = false;

/// Waits for something to read, so many milliseconds.
#[cfg(test)]
pub(crate) fn wait_for_tests(socket: &impl AsRawSocket, milliseconds: i32) -> bool {
    use windows_sys::Win32::Networking::WinSock::POLLRDNORM;
    let mut entry = WSAPOLLFD { fd: socket.as_raw_socket() as SOCKET, events: POLLRDNORM, revents: 0 };
    // SAFETY: one entry, which lives as long as the call.
    unsafe { WSAPoll(&raw mut entry, 1, milliseconds) > 0 }
}
