//! A descriptor that becomes readable after a while, for an application that sleeps without a limit of its own. Linux's timerfd;
//! elsewhere there is none, and nothing happens.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::time::Duration;

use super::owned::Owned;

/// See the module.
#[derive(Debug)]
pub(crate) struct Alarm(Owned<OwnedFd>);

impl AsRawFd for Alarm {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

#[cfg(any(target_os = "linux", target_os = "android"))]
impl Alarm {
    /// # Errors
    /// What the operating system says when it has no descriptor left.
    pub(crate) fn new() -> io::Result<Alarm> {
        use std::os::fd::FromRawFd;
        // SAFETY: the call takes no pointers.
        let descriptor = unsafe { libc::timerfd_create(libc::CLOCK_MONOTONIC, libc::TFD_NONBLOCK | libc::TFD_CLOEXEC) };
        if descriptor < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor is new, and nobody else's.
        Ok(Alarm(Owned::new(unsafe { OwnedFd::from_raw_fd(descriptor) })))
    }

    /// It goes off once, after this time, and not when it was to before.
    pub(crate) fn set(&self, wait: Duration) {
        let value = libc::timespec {
            // What every system's time can hold: 68 years.
            tv_sec: wait.as_secs().min(i32::MAX as u64) as _,
            // Less than 10^9, which fits everywhere. A time of zero would switch it off.
            tv_nsec: wait.subsec_nanos().max(1) as libc::c_long,
        };
        let never = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        let time = libc::itimerspec { it_interval: never, it_value: value };
        // SAFETY: the descriptor is a timer's and open, and the time a live local; the old one is not asked for. The call
        // fails for times only that are none.
        unsafe { libc::timerfd_settime(self.0.as_raw_fd(), 0, &raw const time, std::ptr::null_mut()) };
    }
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
impl Alarm {
    pub(crate) fn new() -> io::Result<Alarm> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(crate) fn set(&self, _: Duration) {}
}
