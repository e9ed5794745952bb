//! What the benchmark needs from the operating system and std does not offer: thread CPU time, pinning, limits,
//! `poll(2)`, epoll and batched datagrams. Linux only, as the comparison with upstream is.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

use libc::{c_int, c_short};

fn clock(id: libc::clockid_t) -> i64 {
    let mut ts = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `ts` is a valid timespec to write to.
    unsafe { libc::clock_gettime(id, &mut ts) };
    #[allow(clippy::unnecessary_cast)] // Both are narrower on some 32-bit platforms.
    let (seconds, nanoseconds) = (ts.tv_sec as i64, ts.tv_nsec as i64);
    seconds * 1_000_000_000 + nanoseconds
}

/// CLOCK_MONOTONIC in nanoseconds.
pub fn monotonic_ns() -> i64 {
    clock(libc::CLOCK_MONOTONIC)
}

/// CPU time that the calling thread has used, user and system, in nanoseconds.
pub fn thread_cpu_ns() -> i64 {
    clock(libc::CLOCK_THREAD_CPUTIME_ID)
}

/// Pin the calling thread to one CPU; without effect where that CPU does not exist or is not allowed.
pub fn pin(cpu: usize) {
    // SAFETY: cpu_set_t is plain data for which zero is valid, and the call only reads it.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(cpu, &mut set);
        libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &set);
    }
}

/// What the largest workload needs.
const DESCRIPTORS: libc::rlim_t = 24_000;

/// Raise the soft limit of open descriptors to the hard limit (which root may raise as well) and return it.
pub fn raise_descriptor_limit() -> u64 {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is valid to write to and to read from.
    unsafe {
        libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit);
        if limit.rlim_max < DESCRIPTORS {
            let raised = libc::rlimit { rlim_cur: DESCRIPTORS, rlim_max: DESCRIPTORS };
            libc::setrlimit(libc::RLIMIT_NOFILE, &raised);
            libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit);
        }
        limit.rlim_cur = limit.rlim_max;
        libc::setrlimit(libc::RLIMIT_NOFILE, &limit);
        libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit);
    }
    limit.rlim_cur
}

/// Resident anonymous memory of this process in bytes (RssAnon of /proc/self/status).
pub fn resident_anonymous() -> io::Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let kib = status
        .lines()
        .find_map(|line| line.strip_prefix("RssAnon:"))
        .and_then(|rest| rest.trim().trim_end_matches("kB").trim().parse::<u64>().ok());
    kib.map(|kib| kib * 1024).ok_or_else(|| io::Error::other("no RssAnon in /proc/self/status"))
}

/// The application's side of the poll loop: the descriptors of one round.
#[derive(Default)]
pub struct PollSet {
    entries: Vec<libc::pollfd>,
}

const SLIRP_TO_POLL: [(c_int, c_short); 5] =
    [(1, libc::POLLIN), (2, libc::POLLOUT), (4, libc::POLLPRI), (8, libc::POLLERR), (16, libc::POLLHUP)];

impl PollSet {
    /// An empty set whose memory for `capacity` entries is already resident.
    pub fn touched(capacity: usize) -> PollSet {
        let mut entries = vec![libc::pollfd { fd: -1, events: 1, revents: 0 }; capacity];
        entries.clear();
        PollSet { entries }
    }

    pub fn clear(&mut self) {
        self.entries.clear();
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Add one descriptor with SLIRP_POLL_* events; returns its index.
    pub fn add(&mut self, fd: RawFd, events: c_int) -> c_int {
        let wanted = SLIRP_TO_POLL.iter().filter(|(s, _)| events & s != 0).fold(0, |a, (_, p)| a | p);
        self.entries.push(libc::pollfd { fd, events: wanted, revents: 0 });
        self.entries.len() as c_int - 1
    }

    /// SLIRP_POLL_* results of one index.
    pub fn revents(&self, index: c_int) -> c_int {
        let Some(entry) = usize::try_from(index).ok().and_then(|i| self.entries.get(i)) else { return 0 };
        if entry.revents == 0 {
            return 0;
        }
        SLIRP_TO_POLL.iter().filter(|(_, p)| entry.revents & p != 0).fold(0, |a, (s, _)| a | s)
    }

    /// `poll(2)`; `timeout` in milliseconds. Returns what poll returned (0 timeout, negative error).
    pub fn wait(&mut self, timeout: u32) -> c_int {
        let timeout = c_int::try_from(timeout).unwrap_or(c_int::MAX);
        // SAFETY: the pointer and the length describe the vector's own memory.
        unsafe { libc::poll(self.entries.as_mut_ptr(), self.entries.len() as libc::nfds_t, timeout) }
    }
}

/// A level-triggered epoll descriptor.
pub struct Epoll {
    fd: OwnedFd,
    events: Vec<libc::epoll_event>,
}

impl Epoll {
    pub fn new() -> io::Result<Epoll> {
        // SAFETY: a fresh descriptor, owned from here on.
        let fd = unsafe {
            let fd = libc::epoll_create1(libc::EPOLL_CLOEXEC);
            if fd < 0 {
                return Err(io::Error::last_os_error());
            }
            OwnedFd::from_raw_fd(fd)
        };
        Ok(Epoll { fd, events: vec![libc::epoll_event { events: 0, u64: 0 }; 256] })
    }

    /// Watch `fd`: readable, or writable when `write` is set. `key` comes back from `wait`.
    pub fn add(&self, fd: &impl AsRawFd, write: bool, key: u64) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_ADD, fd.as_raw_fd(), write, key)
    }

    /// Change what is watched of `fd`.
    pub fn modify(&self, fd: &impl AsRawFd, write: bool, key: u64) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_MOD, fd.as_raw_fd(), write, key)
    }

    /// Watch `fd` no longer.
    pub fn remove(&self, fd: &impl AsRawFd) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_DEL, fd.as_raw_fd(), false, 0)
    }

    fn control(&self, operation: c_int, fd: RawFd, write: bool, key: u64) -> io::Result<()> {
        let events = if write { libc::EPOLLOUT } else { libc::EPOLLIN } as u32;
        let mut event = libc::epoll_event { events, u64: key };
        // SAFETY: `event` is valid through the call.
        match unsafe { libc::epoll_ctl(self.fd.as_raw_fd(), operation, fd, &mut event) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }

    /// Wait without limit; the keys of what is ready are put into `ready`.
    pub fn wait(&mut self, ready: &mut Vec<u64>) {
        ready.clear();
        // SAFETY: the pointer and the length describe the vector's own memory.
        let n =
            unsafe { libc::epoll_wait(self.fd.as_raw_fd(), self.events.as_mut_ptr(), self.events.len() as c_int, -1) };
        ready.extend(self.events.iter().take(usize::try_from(n).unwrap_or(0)).map(|event| event.u64));
    }
}

/// Has the kernel cut what is sent on `socket` into datagrams of `size` octets.
pub fn segment_datagrams(socket: &impl AsRawFd, size: usize) -> io::Result<()> {
    let size = size as c_int;
    let length = size_of::<c_int>() as libc::socklen_t;
    // SAFETY: the value is an int of the stated size.
    let result = unsafe {
        libc::setsockopt(socket.as_raw_fd(), libc::SOL_UDP, libc::UDP_SEGMENT, (&raw const size).cast(), length)
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Buffers for sending or receiving up to `count` datagrams of one connected socket with one system call.
pub struct DatagramBatch {
    buffers: Vec<Vec<u8>>,
    // Both point into `buffers`, whose inner vectors are never resized after construction.
    _slices: Vec<libc::iovec>,
    headers: Vec<libc::mmsghdr>,
}

impl DatagramBatch {
    pub fn new(count: usize, size: usize) -> DatagramBatch {
        let mut buffers = vec![vec![0u8; size]; count];
        let mut slices: Vec<libc::iovec> =
            buffers.iter_mut().map(|b| libc::iovec { iov_base: b.as_mut_ptr().cast(), iov_len: b.len() }).collect();
        let headers = slices
            .iter_mut()
            .map(|slice| {
                // SAFETY: mmsghdr is plain data for which zero is valid.
                let mut header: libc::mmsghdr = unsafe { std::mem::zeroed() };
                header.msg_hdr.msg_iov = slice;
                header.msg_hdr.msg_iovlen = 1;
                header
            })
            .collect();
        DatagramBatch { buffers, _slices: slices, headers }
    }

    pub fn buffers(&mut self) -> impl Iterator<Item = &mut Vec<u8>> {
        self.buffers.iter_mut()
    }

    /// The first `count` received datagrams.
    pub fn received(&self, count: usize) -> impl Iterator<Item = &[u8]> {
        self.buffers.iter().zip(&self.headers).take(count).map(|(b, h)| b.get(..h.msg_len as usize).unwrap_or(b))
    }

    /// `sendmmsg(2)` of all buffers; returns the number sent, 0 on any error.
    pub fn send(&mut self, fd: &impl AsRawFd) -> usize {
        // SAFETY: headers, iovecs and buffers belong to self and stay where they are.
        let n = unsafe { libc::sendmmsg(fd.as_raw_fd(), self.headers.as_mut_ptr(), self.headers.len() as u32, 0) };
        usize::try_from(n).unwrap_or(0)
    }

    /// `recvmmsg(2)`, waiting for the first datagram only; returns the number received, 0 on any error.
    pub fn receive(&mut self, fd: &impl AsRawFd) -> usize {
        // SAFETY: as in `send`; no timeout is passed.
        let n = unsafe {
            libc::recvmmsg(
                fd.as_raw_fd(),
                self.headers.as_mut_ptr(),
                self.headers.len() as u32,
                libc::MSG_WAITFORONE,
                std::ptr::null_mut(),
            )
        };
        usize::try_from(n).unwrap_or(0)
    }
}
