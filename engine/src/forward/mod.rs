//! Host-to-guest listeners and guest-to-host endpoints: the rules, not the traffic. What goes through a rule is a flow.
#![forbid(unsafe_code)]

pub(crate) mod guest;
pub(crate) mod listener;
