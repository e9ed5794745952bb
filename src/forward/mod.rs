//! Host-to-guest listeners and guest-to-host endpoints: the rules, not the traffic.

#![forbid(unsafe_code)]
