//! The virtual Ethernet link: our own addresses on it and the neighbor table with its bounded queue per unresolved address,
//! the outbox and how much of it the application can take (`handover`).
//! Knows nothing of sockets or flows.

#![forbid(unsafe_code)]

pub(crate) mod addresses;
pub(crate) mod arp;
pub(crate) mod handover;
pub(crate) mod ndp;
pub(crate) mod neighbor;
pub(crate) mod outbox;
pub(crate) mod pending;
