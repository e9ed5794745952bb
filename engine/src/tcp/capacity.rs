//! What a path may hold, as far as it can be guessed from its round trip: the bound to which windows and buffers grow.
//!
//! The guest is a queue in memory away most of the time: there the windows stay at what the configuration begins with, as
//! more would only bury a queue on the way (a tap device holds 1,000 packets). Where the round trip is long, the windows
//! grow to what the path can hold: the receive window with what the host took in a round trip (dynamic right-sizing), the
//! send buffer with the congestion window.

use crate::time::Duration;

/// What a path is believed to carry at most, in bytes per microsecond: 10 Gbit/s. More than this times the least round
/// trip is never in flight, unless the configuration begins with more.
const RATE: u64 = 1250;

/// What fits on a path whose least round trip is `rtt`, in bytes, but at least `least` and at most `most`.
pub(super) fn path_holds(rtt: Option<Duration>, least: u32, most: u32) -> u32 {
    if most <= least {
        return least;
    }
    let bytes = rtt.map_or(0, |rtt| rtt.total_micros().saturating_mul(RATE));
    bytes.clamp(u64::from(least), u64::from(most)) as u32
}
