//! Counts the system calls of this thread by the kernel's own tracepoint `raw_syscalls:sys_enter`, which needs tracefs
//! and the right to use it. Counting makes each call a little slower, so it is done in runs of their own.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::FromRawFd;
use std::sync::OnceLock;

const TRACEPOINT: &str = "/sys/kernel/tracing/events/raw_syscalls/sys_enter/id";
const PERF_TYPE_TRACEPOINT: u32 = 2;

/// The first 64 octets of `struct perf_event_attr` (PERF_ATTR_SIZE_VER0), all that a plain counter needs.
#[repr(C)]
#[derive(Default)]
struct PerfEventAttr {
    kind: u32,
    size: u32,
    config: u64,
    sample: [u64; 3],
    flags: u64,
    wakeup: u32,
    breakpoint_kind: u32,
    config1: u64,
}

static COUNTER: OnceLock<File> = OnceLock::new();

/// Count the calling thread's system calls from now on.
pub fn start() -> Result<(), String> {
    let id = std::fs::read_to_string(TRACEPOINT).map_err(|e| format!("{TRACEPOINT}: {e}"))?;
    let config = id.trim().parse().map_err(|_| format!("{TRACEPOINT} says {id:?}"))?;
    let attr = PerfEventAttr {
        kind: PERF_TYPE_TRACEPOINT,
        size: size_of::<PerfEventAttr>() as u32,
        config,
        ..PerfEventAttr::default()
    };
    // SAFETY: `attr` is as long as its `size` says and valid through the call; a fresh descriptor is owned from here on.
    let file = unsafe {
        let fd = libc::syscall(libc::SYS_perf_event_open, &raw const attr, 0, -1, -1, 0);
        if fd < 0 {
            return Err(format!("perf_event_open: {}", io::Error::last_os_error()));
        }
        File::from_raw_fd(fd as libc::c_int)
    };
    COUNTER.set(file).map_err(|_| "counting twice".to_string())
}

/// System calls since `start`; nothing where nothing is counted.
pub fn count() -> Option<u64> {
    let mut value = [0; 8];
    let mut file = COUNTER.get()?;
    file.read_exact(&mut value).ok()?;
    Some(u64::from_ne_bytes(value))
}
