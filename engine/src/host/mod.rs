//! Everything that touches the operating system: sockets, the poller, the resolver file, processes, the files TFTP
//! serves, tap devices; and vector instructions. The only room with `unsafe`. Knows nothing of guests.
//!
//! Every socket made here is non-blocking and close-on-exec, and never raises SIGPIPE.

#[cfg(all(unix, not(target_os = "haiku")))]
mod alarm;
#[cfg(target_vendor = "apple")]
mod apple;
pub(crate) mod clock;
#[cfg(any(target_os = "linux", target_os = "android"))]
mod control;
pub(crate) mod error_queue;
pub(crate) mod fault;
pub(crate) mod foreign;
pub(crate) mod handle;
#[cfg(feature = "control")]
pub(crate) mod limit;
pub(crate) mod local_address;
pub(crate) mod memory;
pub(crate) mod mmsg;
#[cfg(all(unix, not(target_os = "haiku")))]
mod nested;
#[cfg(any(windows, target_os = "haiku"))]
#[path = "only_direct.rs"]
mod nested;
pub(crate) mod owned;
pub(crate) mod pair;
pub(crate) mod path;
pub(crate) mod poller;
#[cfg(unix)]
pub(crate) mod process;
#[cfg(feature = "capture")]
#[cfg(unix)]
pub(crate) mod record_file;
#[cfg(unix)]
pub(crate) mod reserve;
#[cfg(unix)]
mod resolver;
pub(crate) mod resolver_file;
#[cfg(unix)]
pub(crate) mod running;
pub(crate) mod sleeps;
pub(crate) mod socket;
#[cfg(unix)]
mod socket_calls;
pub(crate) mod started;
#[cfg(feature = "control")]
pub(crate) mod stopwatch;
#[cfg(unix)]
#[cfg_attr(not(target_os = "linux"), path = "no_tap.rs")]
pub(crate) mod tap;
#[cfg(feature = "tokio")]
pub(crate) mod task_watch;
#[cfg(unix)]
pub(crate) mod tftp_files;
pub(crate) mod ticks;
#[cfg(all(unix, not(target_os = "haiku")))]
mod token_name;
#[cfg(unix)]
pub(crate) mod unix;
mod unsent;
pub(crate) mod vector;
#[cfg(unix)]
pub(crate) mod wait;
#[cfg(any(target_os = "linux", target_os = "android"))]
mod waker;
#[cfg(feature = "capture")]
pub(crate) mod wall_clock;
#[cfg(windows)]
mod windows;

#[cfg(all(windows, feature = "capture"))]
pub(crate) use windows::record_file;
#[cfg(windows)]
pub(crate) use windows::{process, reserve, running, tftp_files, unix};
#[cfg(windows)]
use windows::{resolver, socket_calls};
