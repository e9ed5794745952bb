//! Everything that touches the operating system: sockets, the poller, the resolver file, processes, the files TFTP
//! serves, tap devices; and vector instructions. The only room with `unsafe`. Knows nothing of guests.
//!
//! Every socket made here is non-blocking and close-on-exec, and never raises SIGPIPE.

mod alarm;
pub(crate) mod clock;
#[cfg(any(target_os = "linux", target_os = "android"))]
mod control;
pub(crate) mod error_queue;
pub(crate) mod fault;
pub(crate) mod foreign;
#[cfg(feature = "control")]
pub(crate) mod limit;
pub(crate) mod local_address;
pub(crate) mod memory;
pub(crate) mod mmsg;
pub(crate) mod path;
pub(crate) mod poller;
pub(crate) mod process;
#[cfg(feature = "capture")]
pub(crate) mod record_file;
pub(crate) mod reserve;
pub(crate) mod resolver_file;
pub(crate) mod sleeps;
pub(crate) mod socket;
pub(crate) mod started;
#[cfg(target_os = "linux")]
pub(crate) mod tap;
#[cfg(feature = "tokio")]
pub(crate) mod task_watch;
pub(crate) mod tftp_files;
pub(crate) mod ticks;
mod token_name;
pub(crate) mod unix;
mod unsent;
pub(crate) mod vector;
pub(crate) mod wait;
