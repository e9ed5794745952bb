//! How long something takes on this machine, for whoever shares a thread with the network. It is no clock: what the time is, the
//! application says.

use std::time::Instant;

use crate::time::Duration;

/// Runs from when it is made.
pub(crate) struct Stopwatch(Instant);

impl Stopwatch {
    pub(crate) fn start() -> Stopwatch {
        Stopwatch(Instant::now())
    }

    pub(crate) fn elapsed(&self) -> Duration {
        Duration::from_micros(u64::try_from(self.0.elapsed().as_micros()).unwrap_or(u64::MAX))
    }
}
