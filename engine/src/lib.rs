//! oxislirp: a user-mode network stack. A guest's Ethernet frames go in, the connections and datagrams in them come out of
//! ordinary sockets of the host, without any privilege.
//!
//! [`stack`] is where a caller begins; `docs/architecture.md` tells how the rooms depend on each other. The C library
//! around this crate is the package `oxislirp-capi`.
#![deny(unsafe_code)]

pub mod flow;
pub mod forward;
#[allow(unsafe_code)]
pub mod host;
pub mod inspect;
pub mod ip;
pub mod link;
pub mod service;
pub mod snapshot;
pub mod stack;
pub mod tcp;
pub mod time;
pub mod wire;
