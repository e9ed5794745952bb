//! How the receive window grows on a long path (dynamic right-sizing): with what the host took in a round trip.

use super::Receiver;
use crate::tcp::capacity::path_holds;
use crate::tcp::pool::Pool;
use crate::tcp::seq::SeqNumber;
use crate::time::{Duration, Instant};

/// How long a path that is too short for growth is left alone.
const SHORT: Duration = Duration::from_millis(500);
const NEVER: Duration = Duration::from_secs(1 << 32);

/// The bound of growth and what is measured for it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Growth {
    /// The most that the window grows to; less than what it begins with where it does not grow.
    max: u32,
    /// Where the host had read to when the current measurement began.
    from: SeqNumber,
    since: Instant,
    /// When it ends.
    until: Instant,
    /// The right edge of the window when it was last looked at, and when that was.
    edge: SeqNumber,
    edge_at: Option<Instant>,
    /// The least round trip that was seen as a receiver; the longest duration there is before any was.
    rtt: Duration,
}

impl Growth {
    pub(super) fn new(max: usize, now: Instant) -> Growth {
        let max = max.min(Pool::MAX_BUFFER) as u32;
        Growth {
            max,
            from: SeqNumber(0),
            since: now,
            until: now,
            edge: SeqNumber(0),
            edge_at: None,
            rtt: Duration::MAX,
        }
    }

    /// The first number that the host will take.
    pub(super) fn begin(&mut self, first: SeqNumber) {
        self.from = first;
    }

    /// Windows are not scaled: they could not say what they had grown to.
    pub(super) fn forbid(&mut self) {
        self.max = 0;
    }
}

impl Receiver {
    /// The largest receive window that was asked for by the configuration.
    pub(super) fn most(&self) -> u32 {
        self.limit.max(self.growth.max)
    }

    /// Whether the moment has come for [`Receiver::grow`].
    #[inline]
    pub(crate) fn may_grow(&self, now: Instant) -> bool {
        now >= self.growth.until
    }

    /// The round trip of a connection that only receives: the answer to an acknowledgment carries its timestamp, and a byte
    /// beyond a window's right edge is the answer to the next window. Both take longer when the peer has nothing to send.
    fn measure(&mut self, seq: SeqNumber, echo: Option<Duration>, now: Instant) {
        let growth = &mut self.growth;
        if let Some(age) = echo {
            growth.rtt = growth.rtt.min(age + Duration::from_millis(1));
        }
        if let Some(since) = growth.edge_at {
            if seq.lt(growth.edge) {
                return;
            }
            let passed = now.total_micros().saturating_sub(since.total_micros()).max(0) as u64;
            growth.rtt = growth.rtt.min(Duration::from_micros(passed));
        }
        growth.edge = self.edge;
        growth.edge_at = Some(now);
    }

    /// A segment came that begins at `seq`. Ends a measurement of what the host takes in a round trip, and has the window grow
    /// to four times of it: a peer that doubles its own window each round trip sends four times as much when it has heard of
    /// the result. `least` is the least round trip that was measured as a sender, `echo` the age of the timestamp that the
    /// segment echoes.
    #[cold]
    pub(crate) fn grow(
        &mut self,
        seq: SeqNumber,
        (least, echo): (Option<Duration>, Option<Duration>),
        now: Instant,
        pool: &Pool,
    ) {
        if self.limit >= self.growth.max {
            self.growth.until = now + NEVER;
            return;
        }
        self.measure(seq, echo, now);
        let rtt = least.map_or(self.growth.rtt, |least| least.min(self.growth.rtt));
        if rtt == Duration::MAX {
            return;
        }
        let most = path_holds(Some(rtt), self.limit, self.growth.max);
        let taken_to = self.nxt - self.buffer.len() as u32;
        let passed = now.total_micros().saturating_sub(self.growth.since.total_micros()).max(1) as u64;
        let taken = u64::from(taken_to.distance(self.growth.from));
        let wanted = 4 * (taken.saturating_mul(rtt.total_micros()) / passed);
        if wanted > u64::from(self.limit) && pool.has_plenty() {
            self.limit = wanted.min(u64::from(most)) as u32;
        }
        self.growth.from = taken_to;
        self.growth.since = now;
        self.growth.until = now + if most > self.limit { rtt } else { SHORT };
    }
}
