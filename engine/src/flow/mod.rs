//! Flows: one NAT mapping each, protocol state joined to a host socket; the flow tables and the address policy.
//!
//! A table owns its flows and works on them with a [`Context`]: what all flows share. Nothing here calls the
//! application; what it must be told is an [`Effect`]. No C type may come in.
#![forbid(unsafe_code)]

pub mod budget;
pub mod clock_hand;
pub mod context;
pub mod effect;
pub mod egress;
pub mod icmp;
pub mod key;
pub mod name_server;
pub mod policy;
pub mod ready;
pub mod run;
pub mod tcp;
pub mod timers;
pub mod token;
pub mod udp;
mod whole;

pub use context::Context;
pub use effect::{Effect, HostSocket};
pub use key::{Endpoint, FlowKey};
