//! A socket or descriptor that is this library's, and that somebody else may have closed all the same: a program that closes one
//! too many by mistake. That is an error of the next call on it, and must not end the program.
//!
//! std ends it where it was compiled with debug assertions: there it looks at each descriptor that it closes, and one that is gone
//! is an "IO Safety violation". In a release build it closes without a look, and so does this.

use std::mem::ManuallyDrop;
use std::ops::{Deref, DerefMut};

use super::handle::{HostNamed, RawSocket};

/// See the module. What is closed already is forgotten when this is dropped.
#[derive(Debug)]
pub(crate) struct Owned<T: HostNamed> {
    value: ManuallyDrop<T>,
    lost: bool,
}

impl<T: HostNamed> Owned<T> {
    pub(crate) fn new(value: T) -> Owned<T> {
        Owned { value: ManuallyDrop::new(value), lost: false }
    }

    /// A call has said that it is there no more: by the time that this is dropped, its number may be another one's.
    pub(crate) fn lose(&mut self) {
        self.lost = true;
    }

    pub(crate) fn is_lost(&self) -> bool {
        self.lost
    }
}

impl<T: HostNamed> Deref for Owned<T> {
    type Target = T;

    #[inline(always)]
    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T: HostNamed> DerefMut for Owned<T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.value
    }
}

impl<T: HostNamed> Drop for Owned<T> {
    #[inline]
    fn drop(&mut self) {
        if self.lost || (cfg!(debug_assertions) && !is_open(self.raw_socket())) {
            return;
        }
        // SAFETY: this is the one place that drops the value, and nobody has it afterwards.
        unsafe { ManuallyDrop::drop(&mut self.value) };
    }
}

/// Whether a socket or descriptor of this library is there still. Where its number is somebody else's by now, nobody can tell.
#[cfg(unix)]
pub(crate) fn is_open(socket: RawSocket) -> bool {
    // SAFETY: the call takes no pointer, and a number that is no descriptor is an error.
    let flags = unsafe { libc::fcntl(socket, libc::F_GETFD) };
    flags != -1 || std::io::Error::last_os_error().raw_os_error() != Some(libc::EBADF)
}

/// As for other systems.
#[cfg(windows)]
pub(crate) fn is_open(socket: RawSocket) -> bool {
    use windows_sys::Win32::Networking::WinSock::{
        SO_TYPE, SOCKET, SOL_SOCKET, WSAENOTSOCK, WSAGetLastError, getsockopt,
    };
    let (mut kind, mut size) = (0_i32, size_of::<i32>() as i32);
    let socket = socket as SOCKET;
    // SAFETY: the place is an int's and its size is stated; a number that is no socket is an error, which is asked for next.
    unsafe {
        getsockopt(socket, SOL_SOCKET, SO_TYPE, (&raw mut kind).cast(), &raw mut size) == 0
            || WSAGetLastError() != WSAENOTSOCK
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::UdpSocket;

    #[cfg(unix)]
    #[test]
    fn what_somebody_else_has_closed_is_forgotten() {
        use std::os::fd::{FromRawFd, OwnedFd};
        // A number that nobody is given meanwhile, as the kernel gives the lowest one that is free.
        let far = 900;
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        // SAFETY: the call takes no pointers.
        let copy = unsafe { libc::dup2(socket.raw_socket(), far) };
        assert_eq!(copy, far);
        // SAFETY: the descriptor was made above and is nobody else's.
        let owned = Owned::new(unsafe { OwnedFd::from_raw_fd(copy) });
        assert!(is_open(owned.raw_socket()));
        // SAFETY: it is the test's mistake to close what it has given away: that is what is tried.
        assert_eq!(unsafe { libc::close(far) }, 0);
        assert!(!is_open(far));
        // In a debug build std would end the process here.
        drop(owned);
    }

    #[test]
    fn what_is_there_still_is_closed() {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        drop(Owned::new(socket));
        UdpSocket::bind(address).expect("the port is free again");
    }
}
