//! Time as the engine sees it: microseconds on the application's clock, only comparable with itself.
//!
//! The clock may stand still (a paused VM) or run slower than real time; nothing here reads it, it is always an argument.

pub use smoltcp::time::{Duration, Instant};
