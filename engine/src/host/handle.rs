//! The system's own name of a socket, by which a program watches it.

/// The system's own name of a socket: a descriptor.
#[cfg(unix)]
pub type RawSocket = std::os::fd::RawFd;
/// The system's own name of a socket: a `SOCKET`.
#[cfg(windows)]
pub type RawSocket = std::os::windows::io::RawSocket;

/// What has such a name.
pub(crate) trait HostNamed {
    /// Its name. It is valid for as long as the value is there.
    fn raw_socket(&self) -> RawSocket;
}

#[cfg(unix)]
impl<T: std::os::fd::AsRawFd> HostNamed for T {
    fn raw_socket(&self) -> RawSocket {
        self.as_raw_fd()
    }
}

#[cfg(windows)]
impl<T: std::os::windows::io::AsRawSocket> HostNamed for T {
    fn raw_socket(&self) -> RawSocket {
        self.as_raw_socket()
    }
}

/// The name as it is shown to people; that of no socket would be -1.
#[cfg(unix)]
pub(crate) fn displayed(socket: RawSocket) -> i64 {
    socket.into()
}

/// As for other systems.
#[cfg(windows)]
pub(crate) fn displayed(socket: RawSocket) -> i64 {
    socket.cast_signed()
}

/// Has a type give the name that a field, or an expression of it, has, in the way of the system's own programs.
macro_rules! named_by {
    ($type:ty, |$value:ident| $name:expr) => {
        #[cfg(unix)]
        impl std::os::fd::AsRawFd for $type {
            fn as_raw_fd(&self) -> std::os::fd::RawFd {
                let $value = self;
                $name
            }
        }
        #[cfg(windows)]
        impl std::os::windows::io::AsRawSocket for $type {
            fn as_raw_socket(&self) -> std::os::windows::io::RawSocket {
                let $value = self;
                $name
            }
        }
    };
}
pub(crate) use named_by;

/// Has a type stand for a descriptor that can be waited for, where the system has one: that of a part of it.
macro_rules! described_by {
    ($(#[$doc:meta])* $type:ty, |$value:ident| $part:expr) => {
        $(#[$doc])*
        #[cfg(unix)]
        impl std::os::fd::AsFd for $type {
            fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
                let $value = self;
                std::os::fd::AsFd::as_fd(&$part)
            }
        }
        /// As for [`AsFd`](std::os::fd::AsFd).
        #[cfg(unix)]
        impl std::os::fd::AsRawFd for $type {
            fn as_raw_fd(&self) -> std::os::fd::RawFd {
                std::os::fd::AsRawFd::as_raw_fd(&std::os::fd::AsFd::as_fd(self))
            }
        }
    };
}
pub(crate) use described_by;
