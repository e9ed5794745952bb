//! IPv4 and IPv6 as layers: validation of what the guest sends, reassembly, fragmentation towards the guest, ICMP error messages.
//! Knows nothing of sockets, flows or clocks (time is an argument).

#![forbid(unsafe_code)]

pub(crate) mod fragment;
pub(crate) mod fragment6;
pub(crate) mod icmp;
pub(crate) mod icmpv6;
pub(crate) mod ipv4;
pub(crate) mod ipv6;
pub(crate) mod rate_limit;
pub(crate) mod reassembly;

#[cfg(test)]
mod test_packets;
