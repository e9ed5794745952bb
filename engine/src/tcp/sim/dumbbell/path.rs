//! The way besides the bottleneck: a delay, and bad luck in both directions.

use super::Random;
use super::packet::Nanos;

/// Parts of a million.
const MILLION: u64 = 1_000_000;

/// What may befall segments and acknowledgments.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Luck {
    /// Of a million segments, and of a million acknowledgments, so many are lost whatever the queue is like.
    pub loss: u64,
    pub ack_loss: u64,
    /// Of a million segments so many are overtaken, by as much as this.
    pub overtaken: u64,
    pub late: Nanos,
    /// Acknowledgments arrive in bunches, at multiples of this; 0 for one by one.
    pub bunches: Nanos,
    /// Segments with more payload than this vanish, and nobody is told; 0 for none.
    pub swallows: u32,
}

/// One flow's way.
#[derive(Debug)]
pub(super) struct Path {
    one_way: Nanos,
    luck: Luck,
    /// The most by which the way back differs from one acknowledgment to the next, so that flows do not run in step.
    noise: Nanos,
    /// Acknowledgments keep their order.
    last: Nanos,
}

impl Path {
    pub(super) fn new(rtt: Nanos, luck: Luck) -> Path {
        Path { one_way: rtt / 2, luck, noise: (rtt / 50).min(50_000), last: 0 }
    }

    /// When a segment with `len` bytes of payload arrives that has left the bottleneck at `left`.
    pub(super) fn there(&self, len: u32, left: Nanos, random: &mut Random) -> Option<Nanos> {
        if self.luck.swallows > 0 && len > self.luck.swallows {
            return None;
        }
        if self.luck.loss > 0 && random.below(MILLION) < self.luck.loss {
            return None;
        }
        let overtaken = self.luck.overtaken > 0 && random.below(MILLION) < self.luck.overtaken;
        let late = if overtaken { random.below(self.luck.late as u64) as Nanos } else { 0 };
        Some(left + self.one_way + late)
    }

    /// When an acknowledgment arrives that is sent now.
    pub(super) fn back(&mut self, now: Nanos, random: &mut Random) -> Option<Nanos> {
        if self.luck.ack_loss > 0 && random.below(MILLION) < self.luck.ack_loss {
            return None;
        }
        let mut at = now + self.one_way + random.below(self.noise as u64 + 1) as Nanos;
        if self.luck.bunches > 0 {
            at = (at / self.luck.bunches + 1) * self.luck.bunches;
        }
        self.last = self.last.max(at);
        Some(self.last)
    }
}
