//! IPv4 and IPv6 as layers: validation of what the guest sends, reassembly, fragmentation towards the guest, ICMP error messages.
//! Knows nothing of sockets, flows or clocks (time is an argument).

#![forbid(unsafe_code)]

pub mod fragment;
pub mod fragment6;
pub mod icmp;
pub mod icmpv6;
pub mod ipv4;
pub mod ipv6;
pub mod rate_limit;
pub mod reassembly;

#[cfg(test)]
mod test_packets;
