//! Everything that touches the operating system: sockets, the poller, the resolver file, processes, the files TFTP
//! serves; and vector instructions. The only room with `unsafe`. Knows nothing of guests.
//!
//! Every socket made here is non-blocking and close-on-exec, and never raises SIGPIPE.

mod control;
pub mod error_queue;
pub mod foreign;
pub mod lack;
pub mod local_address;
pub mod memory;
pub mod mmsg;
pub mod path;
pub mod poller;
pub mod process;
pub mod reserve;
pub mod resolver_file;
pub mod sleeps;
pub mod socket;
pub mod tftp_files;
pub mod ticks;
pub mod unix;
pub mod vector;
