//! A bad link between guest and library: every frame takes a while, and some are lost. Both directions have a lane of their own.
//! Which frames are lost follows from a seed, so that both libraries meet the same sequence. Times are nanoseconds of the
//! clock in `sys`, which may be a virtual one.
#![forbid(unsafe_code)]

use std::collections::VecDeque;
use std::time::Duration;

/// Frames that one lane holds; what comes on top is lost. More than the guest's and the libraries' windows can fill.
const LANE: usize = 32_768;
/// What a frame takes on Ethernet beside its own octets: preamble, checksum and the gap to the next one.
const FRAMING: u64 = 24;

/// What is wrong with a link, the same in both directions.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Impairment {
    /// Time that a frame takes, one way.
    pub delay: Duration,
    /// Share of the frames (0..1) that never arrive.
    pub loss: f64,
    /// Bits per second; 0 for a wire that takes no time.
    pub rate: u64,
    /// Octets that may wait in front of the wire; the tail is dropped.
    pub queue: u64,
    /// Chooses which frames are lost.
    pub seed: u64,
}

/// One direction of the link.
struct Lane {
    waiting: VecDeque<(i64, Vec<u8>)>,
    spare: Vec<Vec<u8>>,
    random: u64,
    /// When the wire is free again.
    free_at: i64,
    dropped: u64,
}

impl Lane {
    fn new(seed: u64) -> Lane {
        Lane { waiting: VecDeque::new(), spare: Vec::new(), random: seed, free_at: 0, dropped: 0 }
    }

    /// The next number of a xorshift generator, as a share of its range.
    fn chance(&mut self) -> f64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Time until the wire is free.
    fn backlog(&self, now: i64) -> i64 {
        (self.free_at - now).max(0)
    }

    /// False when the frame was lost.
    fn push(&mut self, frame: &[u8], now: i64, impairment: Impairment) -> bool {
        let mut leaves = now;
        if impairment.rate > 0 {
            let per_octet = 8_000_000_000 / impairment.rate as i64;
            if self.backlog(now) > impairment.queue as i64 * per_octet {
                self.dropped += 1;
                return true;
            }
            leaves = self.free_at.max(now) + (frame.len() as u64 + FRAMING) as i64 * per_octet;
            self.free_at = leaves;
        }
        if self.chance() < impairment.loss || self.waiting.len() >= LANE {
            return false;
        }
        let mut copy = self.spare.pop().unwrap_or_default();
        copy.clear();
        copy.extend_from_slice(frame);
        self.waiting.push_back((leaves + impairment.delay.as_nanos() as i64, copy));
        true
    }

    fn pop(&mut self, now: i64) -> Option<Vec<u8>> {
        match self.waiting.front() {
            Some((due, _)) if *due <= now => self.waiting.pop_front().map(|(_, frame)| frame),
            _ => None,
        }
    }
}

/// The link. `up` is from guest to library.
pub struct Link {
    impairment: Impairment,
    /// Nothing is lost before this is set, so that setting up takes no luck.
    pub lossy: bool,
    up: Lane,
    down: Lane,
    pub lost: u64,
}

impl Link {
    pub fn new(impairment: Impairment) -> Link {
        let lane = |number: u64| Lane::new(number ^ impairment.seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        Link { impairment, lossy: false, up: lane(0x9e37_79b9), down: lane(0x7f4a_7c15), lost: 0 }
    }

    pub fn push(&mut self, up: bool, frame: &[u8], now: i64) {
        let loss = if self.lossy { self.impairment.loss } else { 0.0 };
        let impairment = Impairment { loss, ..self.impairment };
        self.lost += u64::from(!self.lane(up).push(frame, now, impairment));
    }

    /// A frame whose time has come.
    pub fn pop(&mut self, up: bool, now: i64) -> Option<Vec<u8>> {
        self.lane(up).pop(now)
    }

    /// Time until the wire has sent what waits in front of it.
    pub fn backlog(&self, up: bool, now: i64) -> i64 {
        if up { self.up.backlog(now) } else { self.down.backlog(now) }
    }

    /// Frames that found the queue full.
    pub fn dropped(&self) -> u64 {
        self.up.dropped + self.down.dropped
    }

    /// Give a frame's memory back.
    pub fn recycle(&mut self, up: bool, frame: Vec<u8>) {
        self.lane(up).spare.push(frame);
    }

    /// When the next frame arrives at either end.
    pub fn next_due(&self) -> Option<i64> {
        [&self.up, &self.down].into_iter().filter_map(|lane| lane.waiting.front()).map(|(due, _)| *due).min()
    }

    fn lane(&mut self, up: bool) -> &mut Lane {
        if up { &mut self.up } else { &mut self.down }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_arrive_late_and_in_order() {
        let (start, delay) = (1000, 25_000_000);
        let mut link = Link::new(Impairment { delay: Duration::from_millis(25), ..Impairment::default() });
        link.push(true, &[1], start);
        link.push(true, &[2], start + delay);
        link.push(false, &[3], start);
        assert_eq!(link.next_due(), Some(start + delay));
        assert_eq!(link.pop(true, start), None);
        assert_eq!(link.pop(true, start + delay), Some(vec![1]));
        assert_eq!(link.pop(true, start + delay), None);
        assert_eq!(link.pop(true, start + 2 * delay), Some(vec![2]));
        assert_eq!(link.pop(false, start + 2 * delay), Some(vec![3]));
        assert_eq!(link.next_due(), None);
    }

    #[test]
    fn a_slow_wire_makes_frames_wait_and_drops_what_its_queue_cannot_hold() {
        let mut link = Link::new(Impairment { rate: 8_000_000, queue: 2000, ..Impairment::default() });
        for _ in 0..4 {
            link.push(true, &[0; 976], 0);
        }
        assert_eq!((link.backlog(true, 0), link.backlog(false, 0), link.dropped()), (3_000_000, 0, 1));
        for due in [1_000_000, 2_000_000, 3_000_000] {
            assert_eq!(link.pop(true, due - 1), None);
            assert!(link.pop(true, due).is_some());
        }
        assert_eq!(link.backlog(true, 3_000_000), 0);
    }

    #[test]
    fn the_share_of_lost_frames_is_as_asked_and_only_once_it_is_lossy() {
        let mut link = Link::new(Impairment { loss: 0.01, ..Impairment::default() });
        for round in 0..100_000 {
            link.lossy = round >= 50_000;
            link.push(true, &[0], 0);
            if let Some(frame) = link.pop(true, 0) {
                link.recycle(true, frame);
            }
        }
        assert!((400..600).contains(&link.lost), "{}", link.lost);
    }
}
