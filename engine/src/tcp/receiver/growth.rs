//! How the receive window grows: on any path when the peer has filled it, on a long one with what the host took in a round
//! trip (dynamic right-sizing); and only as long as the host keeps up.
//!
//! What the peer may send is what a host that stops reading leaves in memory, as a window is not taken back. So it begins
//! small, and is no larger than this peer on this path needs. Whether the host keeps up is not known here: a larger window is
//! proposed ([`Receiver::wants_more`]), and who knows the host permits it ([`Receiver::widen`]).

use super::Receiver;
use crate::tcp::capacity::path_holds;
use crate::tcp::config::Config;
use crate::tcp::pool::Pool;
use crate::tcp::seq::SeqNumber;
use crate::time::{Duration, Instant};

/// How long a path that is too short for growth is left alone.
const SHORT: Duration = Duration::from_millis(500);
const NEVER: Duration = Duration::from_secs(1 << 32);
/// A moment that no clock shows.
const UNSEEN: Instant = Instant::from_micros(i64::MIN);

/// The bound of growth and what is measured for it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Growth {
    /// What the window grows to on any path.
    base: u32,
    /// What it grows to on a long one; not more than `base` where it does not.
    max: u32,
    /// What the window is to become if the host keeps up; not more than it is without such a wish.
    wanted: u32,
    /// Where the host had read to when the current measurement began.
    from: SeqNumber,
    since: Instant,
    /// When it ends.
    until: Instant,
    /// The right edge of the window when it was last looked at, and when that was, or [`UNSEEN`].
    edge: SeqNumber,
    edge_at: Instant,
    /// The least round trip that was seen as a receiver; the longest duration there is before any was.
    rtt: Duration,
}

impl Growth {
    pub(super) fn new(config: &Config, now: Instant) -> Growth {
        let bounded = |bytes: usize| bytes.min(Pool::MAX_BUFFER) as u32;
        Growth {
            base: bounded(config.recv_limit),
            max: bounded(config.recv_max),
            wanted: 0,
            from: SeqNumber(0),
            since: now,
            until: now,
            edge: SeqNumber(0),
            edge_at: UNSEEN,
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
        self.growth.base.max(self.growth.max)
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
        if growth.edge_at != UNSEEN {
            if seq.lt(growth.edge) {
                return;
            }
            let passed = now.total_micros().saturating_sub(growth.edge_at.total_micros()).max(0) as u64;
            growth.rtt = growth.rtt.min(Duration::from_micros(passed));
        }
        growth.edge = self.edge;
        growth.edge_at = now;
    }

    /// Whether the window is to grow if the host keeps up: for a long path, or because it has no room for one more segment.
    #[inline]
    pub(crate) fn wants_more(&self) -> bool {
        self.growth.wanted > self.limit
            || (self.limit < self.growth.base.min(self.bound) && self.window() < u32::from(self.mss))
    }

    /// Answers the wish for a larger window: it grows if the host `keeps_up` and there is memory.
    pub(crate) fn widen(&mut self, keeps_up: bool, pool: &Pool) {
        let wanted = match std::mem::take(&mut self.growth.wanted) {
            wanted if wanted > self.limit => wanted,
            _ => self.limit.saturating_mul(2).min(self.growth.base),
        };
        if keeps_up && pool.has_plenty() {
            self.limit = self.limit.max(wanted);
        }
    }

    /// A segment came that begins at `seq`. Ends a measurement of what the host takes in a round trip, and asks for a window of
    /// four times of it: a peer that doubles its own window each round trip sends four times as much when it has heard of
    /// the result. `least` is the least round trip that was measured as a sender, `echo` the age of the timestamp that the
    /// segment echoes.
    #[cold]
    pub(crate) fn grow(&mut self, seq: SeqNumber, (least, echo): (Option<Duration>, Option<Duration>), now: Instant) {
        if self.growth.base >= self.growth.max || self.limit >= self.growth.max {
            self.growth.until = now + NEVER;
            return;
        }
        self.measure(seq, echo, now);
        let rtt = least.map_or(self.growth.rtt, |least| least.min(self.growth.rtt));
        if rtt == Duration::MAX {
            return;
        }
        let most = path_holds(Some(rtt), self.growth.base, self.growth.max);
        let taken_to = self.nxt - self.buffer.len() as u32;
        let passed = now.total_micros().saturating_sub(self.growth.since.total_micros()).max(1) as u64;
        let taken = u64::from(taken_to.distance(self.growth.from));
        let wanted = 4 * (taken.saturating_mul(rtt.total_micros()) / passed);
        // A path that holds no more than any has its window grow when it is filled.
        if most > self.growth.base {
            self.growth.wanted = wanted.min(u64::from(most)) as u32;
        }
        self.growth.from = taken_to;
        self.growth.since = now;
        self.growth.until = now + if most > self.limit.max(self.growth.base) { rtt } else { SHORT };
    }
}
