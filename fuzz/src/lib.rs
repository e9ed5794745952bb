//! The fuzz targets as plain functions: each module's `run` takes one input and panics when something is wrong. What
//! calls them is libFuzzer (`fuzz_targets/`) or a replay of the committed inputs (`src/bin/replay.rs`).
//!
//! An input is a list of records with fixed headers rather than a derived structure, so that a person or a script can
//! write one and a mutation of one byte stays a mutation of one field.
#![forbid(unsafe_code)]

pub mod control;
pub mod dhcp;
pub mod dns_policy;
pub mod frames;
pub mod hello;
mod input;
pub mod policy;
pub mod proxy;
pub mod quic;
pub mod reassembly;
pub mod resolv_conf;
pub mod seeds;
pub mod tcp_options;
pub mod tcp_segments;
pub mod tftp;

/// A target: its name and what it does with an input.
pub type Target = (&'static str, fn(&[u8]));

/// Every target, by the name of its binary and of its folder in `corpus/`.
pub const TARGETS: [Target; 13] = [
    ("frames", frames::run),
    ("tcp_segments", tcp_segments::run),
    ("reassembly", reassembly::run),
    ("control", control::run),
    ("dhcp", dhcp::run),
    ("dns_policy", dns_policy::run),
    ("hello", hello::run),
    ("policy", policy::run),
    ("proxy", proxy::run),
    ("quic", quic::run),
    ("resolv_conf", resolv_conf::run),
    ("tcp_options", tcp_options::run),
    ("tftp", tftp::run),
];
