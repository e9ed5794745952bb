//! One direction of a link: a queue in front of a wire of a certain rate, then a delay, and bad luck on the way.

use super::random::Random;
use crate::time::Instant;

/// Headers below TCP that take their share of the rate, in bytes: Ethernet and IPv4.
const BELOW: usize = 34;

/// What a direction does to segments.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    /// Segments of a thousand that are lost, that come twice, and that are overtaken.
    pub loss: u64,
    pub duplication: u64,
    pub reordering: u64,
    /// The time a segment takes, and the most that an overtaken one takes longer, in microseconds.
    pub delay: u64,
    pub jitter: u64,
    /// Bits per second, or 0 for a wire that takes no time.
    pub rate: u64,
    /// What may wait in front of the wire, in bytes; the tail is dropped.
    pub queue: usize,
}

/// What befell segments.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Fates {
    pub carried: u64,
    pub lost: u64,
    pub dropped: u64,
    pub too_big: u64,
    pub duplicated: u64,
    pub overtaken: u64,
}

#[derive(Debug)]
pub(super) struct Link {
    pub shape: Shape,
    /// The largest IP packet, in bytes.
    pub mtu: usize,
    pub fates: Fates,
    /// When the wire is free again, in microseconds.
    free_at: i64,
}

/// When copies of a segment arrive; none, one or two.
pub(super) type Arrivals = [Option<Instant>; 2];

impl Link {
    pub(super) fn new(shape: Shape, mtu: usize) -> Link {
        Link { shape, mtu, fates: Fates::default(), free_at: 0 }
    }

    /// Whether a TCP segment of `len` bytes fits. When it does not, the sender is to be told.
    pub(super) fn fits(&mut self, len: usize) -> bool {
        let fits = len + 20 <= self.mtu;
        self.fates.too_big += u64::from(!fits);
        fits
    }

    /// A segment of `len` bytes is sent.
    pub(super) fn carry(&mut self, len: usize, now: Instant, random: &mut Random) -> Arrivals {
        let shape = self.shape;
        let now = now.total_micros();
        let mut leaves = now;
        if shape.rate > 0 {
            let waiting = (self.free_at - now).max(0) as u64 * shape.rate / 8_000_000;
            if waiting > shape.queue as u64 {
                self.fates.dropped += 1;
                return [None, None];
            }
            let takes = ((len + BELOW) as u64 * 8_000_000).div_ceil(shape.rate);
            self.free_at = self.free_at.max(now) + takes as i64;
            leaves = self.free_at;
        }
        if random.permille(shape.loss) {
            self.fates.lost += 1;
            return [None, None];
        }
        self.fates.carried += 1;
        let copies = if random.permille(shape.duplication) { 2 } else { 1 };
        self.fates.duplicated += copies - 1;
        let mut arrivals = [None, None];
        for slot in arrivals.iter_mut().take(copies as usize) {
            let mut late = 0;
            if shape.jitter > 0 && random.permille(shape.reordering) {
                self.fates.overtaken += 1;
                late = random.below(shape.jitter);
            }
            *slot = Some(Instant::from_micros(leaves + (shape.delay + late) as i64));
        }
        arrivals
    }
}
