//! What can go wrong with a socket, whatever the system calls it and numbers it. Other rooms decide by these names.

use std::io;

/// What the caller of a socket tells apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Nothing can be read or written now.
    WouldBlock,
    /// A signal came: to be done again.
    Interrupted,
    /// The process or the system has no descriptor left.
    Descriptors,
    /// There is no memory, or no room in a queue on the way.
    Memory,
    /// Nobody is at the port.
    Refused,
    /// The other end has reset the connection, or takes nothing more, or has not answered for too long.
    Broken,
    /// A connection was given up before it was accepted.
    Aborted,
    HostUnreachable,
    NetworkUnreachable,
    /// The host has no such address of its own, or no protocol of its family.
    NoAddress,
    NoFamily,
    /// The address or port is taken, or may not be had.
    AddressInUse,
    Forbidden,
    /// The datagram is longer than the path carries.
    TooLong,
    /// ICMP said that the other end does not speak the protocol.
    NoProtocol,
    /// An argument does not fit.
    Invalid,
    /// The socket is there no more, or its number is that of something else: the program has closed it.
    Gone,
    /// The device does not work, or is down.
    Device,
    Other,
}

impl Fault {
    pub(crate) fn of(error: &io::Error) -> Fault {
        let Some(number) = error.raw_os_error() else {
            return match error.kind() {
                io::ErrorKind::WouldBlock => Fault::WouldBlock,
                io::ErrorKind::OutOfMemory => Fault::Memory,
                _ => Fault::Other,
            };
        };
        Fault::numbered(number)
    }

    /// The same by the system's number.
    #[cfg(windows)]
    pub(crate) fn numbered(number: i32) -> Fault {
        use windows_sys::Win32::Foundation as system;
        use windows_sys::Win32::Networking::WinSock as sockets;
        match number {
            sockets::WSAEWOULDBLOCK => Fault::WouldBlock,
            sockets::WSAEINTR => Fault::Interrupted,
            sockets::WSAEMFILE => Fault::Descriptors,
            sockets::WSAENOBUFS => Fault::Memory,
            sockets::WSAECONNREFUSED => Fault::Refused,
            sockets::WSAESHUTDOWN
            | sockets::WSAECONNRESET
            | sockets::WSAETIMEDOUT
            | sockets::WSAENOTCONN
            | sockets::WSAENETRESET => Fault::Broken,
            sockets::WSAECONNABORTED => Fault::Aborted,
            sockets::WSAEHOSTUNREACH => Fault::HostUnreachable,
            sockets::WSAENETUNREACH => Fault::NetworkUnreachable,
            sockets::WSAEADDRNOTAVAIL => Fault::NoAddress,
            sockets::WSAEAFNOSUPPORT => Fault::NoFamily,
            sockets::WSAEADDRINUSE => Fault::AddressInUse,
            sockets::WSAEACCES => Fault::Forbidden,
            sockets::WSAEMSGSIZE => Fault::TooLong,
            sockets::WSAEPROTONOSUPPORT | sockets::WSAENOPROTOOPT => Fault::NoProtocol,
            sockets::WSAEINVAL => Fault::Invalid,
            sockets::WSAENOTSOCK | sockets::WSAEBADF => Fault::Gone,
            _ => match number.cast_unsigned() {
                system::ERROR_NOT_ENOUGH_MEMORY | system::ERROR_OUTOFMEMORY => Fault::Memory,
                system::ERROR_ACCESS_DENIED => Fault::Forbidden,
                system::ERROR_TOO_MANY_OPEN_FILES => Fault::Descriptors,
                system::ERROR_GEN_FAILURE | system::ERROR_IO_DEVICE => Fault::Device,
                _ => Fault::Other,
            },
        }
    }

    /// The same by the system's number.
    #[cfg(unix)]
    pub(crate) fn numbered(number: i32) -> Fault {
        // On some systems two names have one number.
        #[allow(unreachable_patterns)]
        match number {
            libc::EAGAIN | libc::EWOULDBLOCK => Fault::WouldBlock,
            libc::EINTR => Fault::Interrupted,
            libc::EMFILE | libc::ENFILE => Fault::Descriptors,
            libc::ENOMEM | libc::ENOBUFS => Fault::Memory,
            libc::ECONNREFUSED => Fault::Refused,
            libc::EPIPE | libc::ECONNRESET | libc::ETIMEDOUT | libc::ENOTCONN => Fault::Broken,
            libc::ECONNABORTED => Fault::Aborted,
            libc::EHOSTUNREACH => Fault::HostUnreachable,
            libc::ENETUNREACH => Fault::NetworkUnreachable,
            libc::EADDRNOTAVAIL => Fault::NoAddress,
            libc::EAFNOSUPPORT => Fault::NoFamily,
            libc::EADDRINUSE => Fault::AddressInUse,
            libc::EACCES => Fault::Forbidden,
            libc::EMSGSIZE => Fault::TooLong,
            libc::EPROTO | libc::ENOPROTOOPT => Fault::NoProtocol,
            libc::EINVAL => Fault::Invalid,
            libc::EBADF | libc::ENOTSOCK => Fault::Gone,
            libc::EIO => Fault::Device,
            _ => Fault::Other,
        }
    }

    /// Whether the host lacks something that it may have again at any time: that says nothing about the other end, and is no
    /// reason to give anything up that works.
    pub(crate) fn is_lack(self) -> bool {
        matches!(self, Fault::Descriptors | Fault::Memory)
    }
}

/// Whether the host lacked descriptors or memory for what was asked; see [`Fault::is_lack`].
pub(crate) fn is_lack(error: &io::Error) -> bool {
    Fault::of(error).is_lack()
}

/// The error of a lack of memory.
pub(crate) fn no_memory() -> io::Error {
    io::ErrorKind::OutOfMemory.into()
}

#[cfg(unix)]
#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_their_names_and_errors_without_one_are_told_by_their_kind() {
        let of = |number| Fault::of(&io::Error::from_raw_os_error(number));
        assert_eq!((of(libc::ECONNREFUSED), of(libc::EAGAIN)), (Fault::Refused, Fault::WouldBlock));
        assert_eq!((of(libc::ENOBUFS), of(libc::ETIMEDOUT)), (Fault::Memory, Fault::Broken));
        assert_eq!((of(0), Fault::of(&io::Error::other("no"))), (Fault::Other, Fault::Other));
        assert_eq!(Fault::of(&io::ErrorKind::WouldBlock.into()), Fault::WouldBlock);
        assert!(Fault::of(&no_memory()).is_lack() && of(libc::EMFILE).is_lack() && !of(libc::EINTR).is_lack());
    }
}
