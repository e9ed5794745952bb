//! The virtual Ethernet link: our own addresses on it and the neighbor table with its bounded queue per unresolved address,
//! the outbox and how much of it the application can take (`handover`).
//! Knows nothing of sockets or flows.

#![forbid(unsafe_code)]

pub mod addresses;
pub mod arp;
pub mod handover;
pub mod ndp;
pub mod neighbor;
pub mod outbox;
pub mod pending;
