//! The bottleneck: a queue of so many bytes in front of a wire, and what is done when the queue is long.

use super::packet::{Ecn, Nanos};

/// What a queue does besides dropping what does not fit into it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Discipline {
    /// Nothing.
    DropTail,
    /// Everything that comes while more than so many bytes wait is marked, or dropped where it cannot be marked.
    Step(u64),
    /// CoDel (RFC 8289) with marks: what has waited for more than 5 ms throughout 100 ms.
    CoDel,
}

/// CoDel's constants (RFC 8289 section 4.2 and 4.3), in nanoseconds.
const TARGET: Nanos = 5_000_000;
const INTERVAL: Nanos = 100_000_000;

/// CoDel's variables (RFC 8289 section 5.2).
#[derive(Clone, Copy, Default, Debug)]
struct Delays {
    first_above: Option<Nanos>,
    dropping: bool,
    next: Nanos,
    count: u32,
    last_count: u32,
}

impl Delays {
    /// Whether the segment that leaves at `now` after it has `waited` is marked or dropped.
    fn strikes(&mut self, waited: Nanos, now: Nanos) -> bool {
        if waited < TARGET {
            self.first_above = None;
            self.dropping = false;
            return false;
        }
        let Some(since) = self.first_above else {
            self.first_above = Some(now + INTERVAL);
            return false;
        };
        if now < since {
            return false;
        }
        if !self.dropping {
            self.dropping = true;
            let delta = self.count.saturating_sub(self.last_count);
            self.count = if delta > 1 && now - self.next < 16 * INTERVAL { delta } else { 1 };
            self.last_count = self.count;
            self.next = self.control(now);
            return true;
        }
        if now < self.next {
            return false;
        }
        self.count += 1;
        self.next = self.control(self.next);
        true
    }

    fn control(&self, from: Nanos) -> Nanos {
        from + (INTERVAL as f64 / f64::from(self.count).sqrt()) as Nanos
    }
}

/// What becomes of a segment at the bottleneck.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Fate {
    /// It has left the wire's near end at this time, with these bits.
    Leaves(Nanos, Ecn),
    Dropped,
}

/// The queue is in order and nothing overtakes in it, so that the fate of a segment is known when it comes: what comes later
/// cannot change when it leaves.
#[derive(Debug)]
pub(super) struct Bottleneck {
    /// Bits per second.
    rate: u64,
    /// What may wait, in bytes.
    limit: u64,
    discipline: Discipline,
    /// When the wire is free again.
    free_at: Nanos,
    delays: Delays,
}

impl Bottleneck {
    pub(super) fn new(rate: u64, limit: u64, discipline: Discipline) -> Bottleneck {
        Bottleneck { rate, limit, discipline, free_at: 0, delays: Delays::default() }
    }

    /// What waits, in bytes. A part of what is on the wire counts.
    pub(super) fn waiting(&self, now: Nanos) -> u64 {
        let nanos = (self.free_at - now).max(0) as u128;
        (nanos * u128::from(self.rate) / 8_000_000_000) as u64
    }

    /// A segment of `size` bytes comes.
    pub(super) fn enter(&mut self, size: u64, ecn: Ecn, now: Nanos) -> Fate {
        let waiting = self.waiting(now);
        if waiting + size > self.limit {
            return Fate::Dropped;
        }
        let begins = self.free_at.max(now);
        let strikes = match self.discipline {
            Discipline::DropTail => false,
            Discipline::Step(most) => waiting > most,
            Discipline::CoDel => self.delays.strikes(begins - now, begins),
        };
        let ecn = match (strikes, ecn) {
            (true, Ecn::Incapable) => return Fate::Dropped,
            (true, _) => Ecn::Marked,
            (false, ecn) => ecn,
        };
        self.free_at = begins + (size * 8_000_000_000).div_ceil(self.rate) as Nanos;
        Fate::Leaves(self.free_at, ecn)
    }
}
