//! Time as the engine sees it: microseconds on the application's clock, only comparable with itself.
//!
//! The clock may stand still (a paused VM) or run slower than real time; nothing here reads it, it is always an argument.

pub use smoltcp::time::{Duration, Instant};

/// The earlier of two moments that may not come.
pub fn earliest(a: Option<Instant>, b: Option<Instant>) -> Option<Instant> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (only, None) | (None, only) => only,
    }
}
