//! oxislirp: a user-mode network stack. A guest's Ethernet frames go in, the connections and datagrams in them come out of
//! ordinary sockets of the host, without any privilege.
//!
//! ```
//! use oxislirp::drive::{Driver, FrameLink, MemoryLink};
//! use oxislirp::{Config, Stack};
//! use std::time::Duration;
//!
//! fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     // Both ends of a cable in memory. A tap device, a tun device or a Unix socket is a link as well.
//!     let (link, mut guest) = MemoryLink::pair()?;
//!     let mut driver = Driver::new(Stack::new(Config::default())?, link)?;
//!
//!     // The guest asks who its router is.
//!     let mac = [0x52, 0x54, 0x00, 0x12, 0x34, 0x56];
//!     let arp = [0x08, 0x06, 0, 1, 8, 0, 6, 4, 0, 1];
//!     guest.send(&[&[0xff; 6], &mac[..], &arp, &mac, &[10, 0, 2, 15], &[0; 6], &[10, 0, 2, 2]].concat())?;
//!     // One round of the loop: frames in, frames out. `driver.run` goes on until it is stopped.
//!     driver.run_once(Duration::ZERO, |effect| println!("{effect:?}"))?;
//!
//!     let mut answer = [0; 1514];
//!     guest.receive(&mut answer)?;
//!     assert_eq!(answer[..6], mac);
//!     Ok(())
//! }
//! ```
//!
//! A [`Stack`] is one virtual network, made from a [`Config`]. It calls nobody: frames, socket readiness and the time are
//! arguments; frames for the guest and [`Effect`]s are results ([`Stack::poll_output`]). [`drive`] has loops and links for programs
//! that have none of their own. [`snapshot`] saves and restores one,
//! [`inspect`] describes one.
//!
//! The feature `tokio` adds `drive::AsyncDriver`, a loop as a task; `capture` adds `Stack::start_capture` and `Stack::start_log`, which
//! write down what a guest did; `policy` adds the modules `policy`, which says which hosts a guest may reach, and `limits`,
//! how much, and `OwnNames`, names of the virtual network's own; `control` adds `Stack::start_control`, a socket at which requests
//! come in while a stack runs.
// The C library around this crate is the package `oxislirp-capi`; docs/architecture.md tells how the rooms depend on each other.
#![deny(unsafe_code)]
// What data from a guest, a peer or a file must not be able to reach. Not in the manifest, which the package's tests and
// examples have as well.
#![warn(
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unreachable,
    clippy::todo
)]

#[cfg(feature = "capture")]
mod capture;
mod clock;
mod config;
#[cfg(feature = "control")]
mod control;
#[cfg(unix)]
pub mod drive;
mod flow;
mod forward;
#[allow(unsafe_code)]
mod host;
pub mod inspect;
mod ip;
#[cfg(feature = "policy")]
pub mod limits;
mod link;
mod pace;
#[cfg(feature = "policy")]
pub mod policy;
#[cfg(feature = "policy")]
mod proxy;
mod service;
pub mod snapshot;
mod stack;
mod tcp;
mod time;
mod wire;

#[cfg(all(feature = "capture", feature = "policy"))]
pub use capture::filter::CaptureFilter;
#[cfg(feature = "capture")]
pub use capture::{
    frames::Recorded,
    options::{CaptureOptions, LogOptions},
    sink::WriteCost,
};
pub use clock::Clock;
pub use config::{
    Config, ConfigBuilder, ConfigError, ConfigField, NameServerList, NameServerSource, Network4, Network6, TftpFiles,
};
#[cfg(feature = "control")]
pub use control::{ControlOptions, PolicyReader};
pub use flow::tcp::guest::{GuestConnection, GuestConnectionError, GuestEvent, GuestForward, GuestForwardHandle};
pub use flow::{Caller, Effect, HostSocket};
pub use forward::error::ForwardError;
pub use forward::host::{HostForward, HostForwardEntry, HostForwardHandle, ListenAddress, Protocol};
pub use host::handle::RawSocket;
pub use host::poller::Readiness;
pub use host::unix::UnixAddress;
pub use pace::Glance;
#[cfg(feature = "policy")]
pub use service::dns::own::{OwnNames, OwnNamesError};
pub use service::dns::search_list::{BadSearchDomain, SearchDomainFault};
pub use service::ncsi::NcsiConfig;
pub use service::tftp::{TftpFile, TftpOpenError, TftpSource};
pub use stack::{Interest, Output, Stack};
pub use tcp::{Congestion, Ecn};
pub use time::{Duration, Instant};
pub use wire::mac_address::MacAddress;

/// What the C library takes beyond this crate's interface. No promise is made about it.
#[doc(hidden)]
pub mod door {
    pub use crate::host::clock::RecentClock;
    pub use crate::host::foreign::Foreign;
    pub use crate::host::process::{ThreadNumber, current_thread};
    pub use crate::host::sleeps::switches_of_this_thread;
    pub use crate::link::handover::handing::Handing;
    pub use crate::link::outbox::Outbox;
}

/// Parts that the fuzz targets and the example `tcp_goodput` drive by themselves. No promise is made about them.
#[doc(hidden)]
pub mod internals {
    pub use crate::ip::ipv4::Ipv4View;
    pub use crate::ip::ipv6::Ipv6View;

    pub mod checksum {
        pub use crate::wire::checksum::{Checksum, is_valid};
    }

    #[cfg(feature = "control")]
    pub mod control {
        pub use crate::control::reading::read_requests;
    }

    pub mod dhcp {
        pub use crate::service::dhcp::{Config, Dhcp, REPLY_LEN, SLOTS};
    }

    pub mod dns {
        #[cfg(feature = "policy")]
        pub use crate::service::dns::message;
        pub use crate::service::dns::resolv_conf::{SERVERS_MAX, parse_word};
        pub use crate::service::dns::{PORT, Servers, search_list};
    }

    #[cfg(feature = "policy")]
    pub mod proxy {
        pub use crate::proxy::{Dialogue, Sender, Step, Target, unwrap, wrap};
    }

    pub mod reassembly {
        pub use crate::ip::reassembly::{Fragment, Limits, Outcome, Overlap, Reassembler};
    }

    pub mod tcp {
        pub use crate::tcp::{
            Config, Congestion, Connection, Ecn, Flags, OPTIONS_MAX, Options, Pool, Segment, SeqNumber, State, Transmit,
        };
    }

    pub mod time {
        pub use crate::time::{Duration, Instant};
    }

    pub mod tftp {
        pub use crate::service::tftp::Tftp;
    }
}
