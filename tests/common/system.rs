//! What the tests ask of the operating system, whose names for it differ.

#[cfg(unix)]
pub use unix::*;
#[cfg(windows)]
pub use windows::*;

use super::ffi::{POLL_ERR, POLL_HUP, POLL_IN, POLL_OUT, POLL_PRI};
use std::ffi::c_int;

/// What a test watches, as `SLIRP_POLL_*` bits, in the system's bits and back.
fn translated(bits: c_int, pairs: &[(c_int, i16)]) -> i16 {
    pairs.iter().filter(|pair| bits & pair.0 != 0).fold(0, |all, pair| all | pair.1)
}

fn back(bits: i16, pairs: &[(c_int, i16)]) -> c_int {
    pairs.iter().filter(|pair| bits & pair.1 != 0).fold(0, |all, pair| all | pair.0)
}

#[cfg(unix)]
mod unix {
    use super::*;
    pub use libc::{in_addr, in6_addr, sockaddr_in, sockaddr_in6};
    use std::time::Duration;

    /// A socket as the library hands it out.
    pub type Socket = c_int;
    pub const AF_INET: c_int = libc::AF_INET;
    pub const AF_INET6: c_int = libc::AF_INET6;
    /// What a cargo library is called.
    pub const LIBRARY: &str = "libslirp_under_test.so";

    const PAIRS: [(c_int, i16); 5] = [
        (POLL_IN, libc::POLLIN),
        (POLL_OUT, libc::POLLOUT),
        (POLL_PRI, libc::POLLPRI),
        (POLL_ERR, libc::POLLERR),
        (POLL_HUP, libc::POLLHUP),
    ];

    /// Sleeps until a socket has news: how many have, below zero for an error, and which.
    pub fn poll(wanted: &[(Socket, c_int)], wait: Duration) -> (c_int, Vec<c_int>) {
        let entry = |(fd, e): &(Socket, c_int)| libc::pollfd { fd: *fd, events: translated(*e, &PAIRS), revents: 0 };
        let mut fds: Vec<libc::pollfd> = wanted.iter().map(entry).collect();
        // SAFETY: the pointer and length are those of a live vector.
        let ready = unsafe { libc::poll(fds.as_mut_ptr(), fds.len() as _, wait.as_millis() as c_int) };
        (ready, fds.iter().map(|f| back(f.revents, &PAIRS)).collect())
    }

    /// The C library's errno of this thread.
    pub fn errno() -> c_int {
        std::io::Error::last_os_error().raw_os_error().unwrap_or(0)
    }

    pub fn set_errno(to: c_int) {
        // SAFETY: the pointer is to this thread's errno.
        unsafe { *libc::__errno_location() = to }
    }

    pub fn monotonic_ns() -> i64 {
        // SAFETY: clock_gettime writes only the struct it is given.
        unsafe {
            let mut t: libc::timespec = std::mem::zeroed();
            libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut t);
            t.tv_sec as i64 * 1_000_000_000 + t.tv_nsec as i64
        }
    }

    /// Whether a connect goes on without its caller.
    pub fn is_under_way(error: &std::io::Error) -> bool {
        error.raw_os_error() == Some(libc::EINPROGRESS)
    }
}

#[cfg(windows)]
#[allow(non_camel_case_types, reason = "the names are those of C")]
mod windows {
    use super::*;
    use std::time::Duration;

    /// A socket as the library hands it out.
    pub type Socket = usize;
    pub const AF_INET: c_int = 2;
    pub const AF_INET6: c_int = 23;
    /// What a cargo library is called.
    pub const LIBRARY: &str = "slirp_under_test.dll";

    #[repr(C)]
    #[derive(Clone, Copy, Debug)]
    pub struct in_addr {
        pub s_addr: u32,
    }

    #[repr(C, align(2))]
    #[derive(Clone, Copy, Debug)]
    pub struct in6_addr {
        pub s6_addr: [u8; 16],
    }

    #[repr(C)]
    #[derive(Clone, Copy, Debug)]
    pub struct sockaddr_in {
        pub sin_family: u16,
        pub sin_port: u16,
        pub sin_addr: in_addr,
        pub sin_zero: [u8; 8],
    }

    #[repr(C)]
    #[derive(Clone, Copy, Debug)]
    pub struct sockaddr_in6 {
        pub sin6_family: u16,
        pub sin6_port: u16,
        pub sin6_flowinfo: u32,
        pub sin6_addr: in6_addr,
        pub sin6_scope_id: u32,
    }

    #[repr(C)]
    struct pollfd {
        fd: Socket,
        events: i16,
        revents: i16,
    }

    #[link(name = "ws2_32")]
    unsafe extern "system" {
        fn WSAPoll(fds: *mut pollfd, count: u32, timeout: c_int) -> c_int;
    }

    unsafe extern "C" {
        fn _errno() -> *mut c_int;
    }

    // The system takes none but the first two as a wish.
    const WISHES: [(c_int, i16); 2] = [(POLL_IN, 0x300), (POLL_OUT, 0x10)];
    const NEWS: [(c_int, i16); 5] =
        [(POLL_IN, 0x100), (POLL_OUT, 0x10), (POLL_PRI, 0x200), (POLL_ERR, 0x1), (POLL_HUP, 0x2)];

    /// Sleeps until a socket has news: how many have, below zero for an error, and which.
    pub fn poll(wanted: &[(Socket, c_int)], wait: Duration) -> (c_int, Vec<c_int>) {
        if wanted.is_empty() {
            // The call does not sleep for nothing.
            std::thread::sleep(wait);
            return (0, Vec::new());
        }
        let entry = |(fd, e): &(Socket, c_int)| pollfd { fd: *fd, events: translated(*e, &WISHES), revents: 0 };
        let mut fds: Vec<pollfd> = wanted.iter().map(entry).collect();
        // SAFETY: the pointer and length are those of a live vector.
        let ready = unsafe { WSAPoll(fds.as_mut_ptr(), fds.len() as u32, wait.as_millis() as c_int) };
        (ready, fds.iter().map(|f| back(f.revents, &NEWS)).collect())
    }

    /// The C library's errno of this thread.
    pub fn errno() -> c_int {
        // SAFETY: the pointer is to this thread's errno.
        unsafe { *_errno() }
    }

    pub fn set_errno(to: c_int) {
        // SAFETY: the pointer is to this thread's errno.
        unsafe { *_errno() = to }
    }

    pub fn monotonic_ns() -> i64 {
        static START: std::sync::OnceLock<std::time::Instant> = std::sync::OnceLock::new();
        START.get_or_init(std::time::Instant::now).elapsed().as_nanos() as i64 + 1_000_000_000
    }

    /// Whether a connect goes on without its caller.
    pub fn is_under_way(error: &std::io::Error) -> bool {
        error.kind() == std::io::ErrorKind::WouldBlock
    }
}
