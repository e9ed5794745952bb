//! All that one of those may do that have a limit.

use super::bucket::Bucket;
use super::limit::Limit;
use crate::time::Instant;

/// Which way bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// From the guest.
    Up,
    /// To the guest.
    Down,
}

/// The rate of one way. Streams wait, and datagrams cannot: these have a bucket of their own, of the same size, and take from that of
/// the streams as well. So streams give way to datagrams, and both together are no more than the rate.
#[derive(Clone, Debug)]
pub(super) struct Rate {
    pub streams: Bucket,
    datagrams: Bucket,
}

impl Rate {
    fn new(rate: u64) -> Rate {
        Rate { streams: Bucket::of_bytes(rate), datagrams: Bucket::of_bytes(rate) }
    }

    fn has(&mut self, bytes: usize, now: Instant) -> bool {
        self.datagrams.has(bytes, now)
    }

    fn take(&mut self, bytes: usize, now: Instant) {
        self.datagrams.take(bytes);
        // What has grown meanwhile is not to be lost at its bound.
        self.streams.available(now);
        self.streams.take(bytes);
    }
}

/// See the module.
#[derive(Clone, Debug)]
pub(super) struct Pot {
    rates: [Option<Rate>; 2],
    begins: Option<Bucket>,
    most_flows: u32,
    flows: u32,
    /// What is left of the volume.
    left: u64,
}

impl Pot {
    pub(super) fn new(limit: &Limit) -> Pot {
        Pot {
            rates: [limit.up.map(Rate::new), limit.down.map(Rate::new)],
            begins: limit.begins.map(|rate| Bucket::new(rate.into(), rate.into())),
            most_flows: limit.flows.unwrap_or(u32::MAX),
            flows: 0,
            left: limit.volume.unwrap_or(u64::MAX),
        }
    }

    pub(super) fn rate(&mut self, way: Way) -> Option<&mut Rate> {
        self.rates.get_mut(way as usize)?.as_mut()
    }

    /// Whether one more flow may begin.
    pub(super) fn has_place(&mut self, now: Instant) -> bool {
        self.left > 0 && self.flows < self.most_flows && self.begins.as_mut().is_none_or(|begins| begins.has(1, now))
    }

    pub(super) fn begin(&mut self) {
        self.flows = self.flows.saturating_add(1);
        if let Some(begins) = &mut self.begins {
            begins.take(1);
        }
    }

    pub(super) fn end(&mut self) {
        self.flows = self.flows.saturating_sub(1);
    }

    pub(super) fn flows(&self) -> u32 {
        self.flows
    }

    pub(super) fn left(&self) -> u64 {
        self.left
    }

    pub(super) fn use_up(&mut self, bytes: usize) {
        if self.left != u64::MAX {
            self.left = self.left.saturating_sub(bytes as u64);
        }
    }

    /// Whether a datagram of so many bytes may pass.
    pub(super) fn has(&mut self, way: Way, bytes: usize, now: Instant) -> bool {
        self.left > 0 && self.rate(way).is_none_or(|rate| rate.has(bytes, now))
    }

    /// It passes.
    pub(super) fn take(&mut self, way: Way, bytes: usize, now: Instant) {
        self.use_up(bytes);
        if let Some(rate) = self.rate(way) {
            rate.take(bytes, now);
        }
    }
}
