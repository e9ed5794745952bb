//! The system as `ffi` sees it, with a clock that only the loop moves.
#![forbid(unsafe_code)]

use std::sync::atomic::{AtomicI64, Ordering::Relaxed};

pub use crate::real::{PollSet, raise_descriptor_limit};

static NOW: AtomicI64 = AtomicI64::new(1_000_000_000);

/// The virtual time in nanoseconds.
pub fn monotonic_ns() -> i64 {
    NOW.load(Relaxed)
}

pub fn advance(ns: i64) {
    NOW.fetch_add(ns, Relaxed);
}
