//! The virtual Ethernet link: our own addresses on it and the neighbor table with its bounded queue per unresolved address.
//! Knows nothing of sockets or flows.

#![forbid(unsafe_code)]

pub mod addresses;
pub mod arp;
pub mod ndp;
pub mod neighbor;
pub mod outbox;
pub mod pending;
