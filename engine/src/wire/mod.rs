//! Formats: views and emitters of what goes over the virtual link. smoltcp's `wire` for every protocol it has; our own code only
//! for what it lacks and for the TCP/UDP data path. Pure functions over byte slices: no state, no clock, no socket may come in.

#![forbid(unsafe_code)]

pub(crate) mod checksum;
pub(crate) mod header;
pub(crate) mod mac_address;
pub(crate) mod series;
pub(crate) mod subnet;
