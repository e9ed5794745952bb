//! The door: every exported C function, the C structs, callbacks, panic and thread fences. Knows nothing of protocols.
//!
//! `exports` is what C sees; it turns pointers into Rust values and calls `instance`. `instance` owns the engine, lets one
//! thread at a time into it, and calls the application only while nobody is inside; `polling` is its side of the
//! application's loop. `counted` is what a handle stands for, `calls` knows which calls of the library a thread is
//! inside of. `config` reads what the application has configured, `config_file` what the user has written down. `refusal` has the numbers of
//! forwards that are refused. `sockets` and `system`
//! are what differs from one operating system to the next.
// The tests and benchmarks of this package have the same manifest, and may.
#![warn(
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unreachable,
    clippy::todo
)]

mod address;
mod callbacks;
mod calls;
mod config;
#[cfg(feature = "config-file")]
mod config_file;
#[cfg(not(feature = "config-file"))]
#[path = "no_config_file.rs"]
mod config_file;
mod counted;
pub mod counters;
mod debug;
pub mod exports;
mod fence;
mod instance;
mod log;
mod polling;
mod refusal;
mod sockets;
#[cfg_attr(not(feature = "config-file"), allow(dead_code, reason = "some of it is for the file of OXISLIRP_CONFIG"))]
mod system;
pub mod types;
