//! An in-process guest for any `libslirp.so.0`: the library is loaded with dlopen and driven only through its C ABI.
//!
//! `SLIRP_LIB=/path/to/libslirp.so.0` chooses the library; without it the one that cargo built for the tests is
//! used (`tests/library`). The same tests run against upstream's library: where the two differ on purpose, the test asks
//! [`differences::ours`], and the one table in `differences.rs` says what each of them does.
#![allow(dead_code, unused_imports)]

pub mod child;
pub mod config_file;
pub mod conn6;
pub mod differences;
pub mod family;
#[cfg(unix)]
pub mod faults;
pub mod ffi;
pub mod frame;
pub mod frame6;
pub mod host;
pub mod instance;
pub mod library;
pub mod marker;
pub mod party;
pub mod pcapng;
pub mod poll;
#[cfg(unix)]
pub mod route;
pub mod smol;
pub mod system;
pub mod target;
pub mod tcp;
pub mod tftp;

pub use child::{Isolation, isolated};
pub use conn6::*;
pub use differences::ours;
pub use family::Family;
pub(crate) use family::both_families;
#[cfg(unix)]
pub use faults::{Call, Fault};
pub use ffi::*;
pub use frame::*;
pub use frame6::*;
pub use host::*;
pub use instance::*;
pub use library::{Library, library};
pub use party::{Heard, Party};
pub use poll::*;
pub use smol::SmolGuest;
pub use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream, UdpSocket};
pub use std::time::Duration;
pub use system::{Socket, errno, set_errno};
pub use target::{add_target, try_add_target};
pub use tcp::*;
pub use tftp::{Served, first_block};
