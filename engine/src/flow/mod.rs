//! Flows: one NAT mapping each, protocol state joined to a host socket; the flow tables and the address policy.
//!
//! A table owns its flows and works on them with a [`Context`]: what all flows share. Nothing here calls the
//! application; what it must be told is an [`Effect`]. No C type may come in.
#![forbid(unsafe_code)]

pub(crate) mod budget;
pub(crate) mod clock_hand;
pub(crate) mod context;
#[cfg(feature = "policy")]
pub(crate) mod converse;
pub(crate) mod datagram;
pub(crate) mod effect;
pub(crate) mod egress;
pub(crate) mod gate;
#[cfg(feature = "policy")]
pub(crate) mod halving;
pub(crate) mod icmp;
pub(crate) mod identity;
pub(crate) mod journal;
pub(crate) mod key;
pub(crate) mod meter;
pub(crate) mod name_server;
pub(crate) mod policy;
pub(crate) mod ready;
pub(crate) mod several;
pub(crate) mod table;
pub(crate) mod tcp;
pub(crate) mod timers;
pub(crate) mod token;
pub(crate) mod udp;
pub(crate) mod via;
pub(crate) mod warnings;
mod whole;

pub use context::Caller;
pub(crate) use context::Context;
pub use effect::{Effect, HostSocket};
pub(crate) use key::{Endpoint, FlowKey};
