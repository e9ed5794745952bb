//! How windows grow on a long path.
//!
//! The guest is a queue in memory away most of the time: there the windows stay at what the configuration begins with, as
//! more would only bury a queue on the way (a tap device holds 1,000 packets). Where the round trip is long, the windows
//! grow to what the path can hold: the receive window with what the host took in a round trip (dynamic right-sizing), the
//! send buffer with the congestion window.

use super::Connection;
use crate::tcp::congestion::Control;
use crate::tcp::pool::Pool;
use crate::tcp::segment::Segment;
use crate::tcp::seq::SeqNumber;
use crate::time::{Duration, Instant};

/// What a path is believed to carry at most, in bytes per microsecond: 10 Gbit/s. More than this times the least round
/// trip is never in flight, unless the configuration begins with more.
const RATE: u64 = 1250;
/// How long a path that is too short for growth is left alone.
const SHORT: Duration = Duration::from_millis(500);
const NEVER: Duration = Duration::from_secs(1 << 32);

/// The bounds of growth and what is measured for it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Growth {
    recv_max: u32,
    send_max: u32,
    /// Where the host had read to when the current measurement began.
    pub from: SeqNumber,
    since: Instant,
    /// When it ends.
    pub until: Instant,
    /// The right edge of the window when it was last looked at, and when that was.
    edge: Option<(SeqNumber, Instant)>,
    /// The least round trip that was seen as a receiver.
    rtt: Option<Duration>,
}

impl Growth {
    pub fn new(recv_max: usize, send_max: usize, now: Instant) -> Growth {
        let limit = |bytes: usize| bytes.min(Pool::MAX_BUFFER) as u32;
        Growth {
            recv_max: limit(recv_max),
            send_max: limit(send_max),
            from: SeqNumber(0),
            since: now,
            until: now,
            edge: None,
            rtt: None,
        }
    }
}

impl Connection {
    /// The largest receive window that was asked for by the configuration.
    pub(super) fn recv_max(&self) -> u32 {
        self.recv_limit.max(self.growth.recv_max)
    }

    /// The most that the congestion window grows to, in bytes. Without selective acknowledgments a burst of losses takes a
    /// round trip for each segment to repair, so that there the window stays.
    pub(super) fn most_in_flight(&self) -> u32 {
        let most = if self.sack { self.growth.send_max } else { 0 };
        path_holds(self.rtt.least(), self.send_limit, most)
    }

    /// How many bytes the send buffer may hold now: what keeps the path busy, but never more than a buffer's share of the
    /// memory.
    pub fn send_limit(&self) -> usize {
        let limit = self.controller.buffer_wanted().clamp(self.send_limit, self.most_in_flight());
        limit.min(self.share) as usize
    }

    /// The round trip of a connection that only receives: the answer to an acknowledgment carries its timestamp, and a byte
    /// beyond a window's right edge is the answer to the next window. Both take longer when the peer has nothing to send.
    fn measure_as_receiver(&mut self, segment: &Segment<'_>, now: Instant) {
        let mut seen = self.echo_age(segment, now).map(|age| age + Duration::from_millis(1));
        match self.growth.edge {
            Some((edge, _)) if segment.seq.lt(edge) => {}
            Some((_, since)) => {
                let passed =
                    Duration::from_micros(now.total_micros().saturating_sub(since.total_micros()).max(0) as u64);
                seen = Some(seen.map_or(passed, |echo| echo.min(passed)));
                self.growth.edge = Some((self.rcv_adv, now));
            }
            None => self.growth.edge = Some((self.rcv_adv, now)),
        }
        if let Some(seen) = seen {
            self.growth.rtt = Some(self.growth.rtt.map_or(seen, |least| least.min(seen)));
        }
    }

    /// Ends a measurement of what the host takes in a round trip, and has the receive window grow to four times of it: a
    /// peer that doubles its own window each round trip sends four times as much when it has heard of the result.
    #[cold]
    pub(super) fn grow_recv_limit(&mut self, segment: &Segment<'_>, now: Instant, pool: &Pool) {
        if !self.window_scale || self.recv_limit >= self.growth.recv_max {
            self.growth.until = now + NEVER;
            return;
        }
        self.measure_as_receiver(segment, now);
        let Some(rtt) = earliest_of(self.rtt.least(), self.growth.rtt) else { return };
        let most = path_holds(Some(rtt), self.recv_limit, self.growth.recv_max);
        let taken_to = self.rcv_nxt - self.recv.len() as u32;
        let passed = now.total_micros().saturating_sub(self.growth.since.total_micros()).max(1) as u64;
        let taken = u64::from(taken_to.distance(self.growth.from));
        let wanted = 4 * (taken.saturating_mul(rtt.total_micros()) / passed);
        if wanted > u64::from(self.recv_limit) && pool.has_plenty() {
            self.recv_limit = wanted.min(u64::from(most)) as u32;
        }
        self.growth.from = taken_to;
        self.growth.since = now;
        self.growth.until = now + if most > self.recv_limit { rtt } else { SHORT };
    }
}

/// The shorter of two durations that may not be known.
fn earliest_of(a: Option<Duration>, b: Option<Duration>) -> Option<Duration> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (only, None) | (None, only) => only,
    }
}

/// What fits on a path at the rate that is believed, in bytes, but at least `least` and at most `most`.
fn path_holds(rtt: Option<Duration>, least: u32, most: u32) -> u32 {
    if most <= least {
        return least;
    }
    let bytes = rtt.map_or(0, |rtt| rtt.total_micros().saturating_mul(RATE));
    bytes.clamp(u64::from(least), u64::from(most)) as u32
}
