//! Flows: one NAT mapping each, protocol state joined to a host socket; the flow tables and the address policy.

#![forbid(unsafe_code)]
