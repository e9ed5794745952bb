//! oxislirp: a user-mode network stack with libslirp's C ABI.
//!
//! The crate is the engine ([`stack`]) and the C door ([`capi`]); `docs/architecture.md` tells how the rooms depend on
//! each other.

pub mod capi;
pub mod flow;
pub mod forward;
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
