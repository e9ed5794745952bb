//! A bad link between guest and library: every frame takes a while, and some are lost. Both directions have a lane of their own.
//! Which frames are lost follows from a fixed seed, so that both libraries meet the same sequence.
#![forbid(unsafe_code)]

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Frames that one lane holds; what comes on top is lost. More than the guest's and the libraries' windows can fill.
const LANE: usize = 32_768;

/// What is wrong with a link, the same in both directions.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Impairment {
    /// Time that a frame takes, one way.
    pub delay: Duration,
    /// Share of the frames (0..1) that never arrive.
    pub loss: f64,
}

/// One direction of the link.
struct Lane {
    waiting: VecDeque<(Instant, Vec<u8>)>,
    spare: Vec<Vec<u8>>,
    random: u64,
}

impl Lane {
    fn new(seed: u64) -> Lane {
        Lane { waiting: VecDeque::new(), spare: Vec::new(), random: seed }
    }

    /// The next number of a xorshift generator, as a share of its range.
    fn chance(&mut self) -> f64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random >> 11) as f64 / (1u64 << 53) as f64
    }

    /// False when the frame was lost.
    fn push(&mut self, frame: &[u8], now: Instant, impairment: Impairment) -> bool {
        if self.chance() < impairment.loss || self.waiting.len() >= LANE {
            return false;
        }
        let mut copy = self.spare.pop().unwrap_or_default();
        copy.clear();
        copy.extend_from_slice(frame);
        self.waiting.push_back((now + impairment.delay, copy));
        true
    }

    fn pop(&mut self, now: Instant) -> Option<Vec<u8>> {
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
        Link { impairment, lossy: false, up: Lane::new(0x9e37_79b9), down: Lane::new(0x7f4a_7c15), lost: 0 }
    }

    pub fn push(&mut self, up: bool, frame: &[u8], now: Instant) {
        let loss = if self.lossy { self.impairment.loss } else { 0.0 };
        let impairment = Impairment { loss, ..self.impairment };
        self.lost += u64::from(!self.lane(up).push(frame, now, impairment));
    }

    /// A frame whose time has come.
    pub fn pop(&mut self, up: bool, now: Instant) -> Option<Vec<u8>> {
        self.lane(up).pop(now)
    }

    /// Give a frame's memory back.
    pub fn recycle(&mut self, up: bool, frame: Vec<u8>) {
        self.lane(up).spare.push(frame);
    }

    /// When the next frame arrives at either end.
    pub fn next_due(&self) -> Option<Instant> {
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
        let start = Instant::now();
        let delay = Duration::from_millis(25);
        let mut link = Link::new(Impairment { delay, loss: 0.0 });
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
    fn the_share_of_lost_frames_is_as_asked_and_only_once_it_is_lossy() {
        let now = Instant::now();
        let mut link = Link::new(Impairment { delay: Duration::ZERO, loss: 0.01 });
        for round in 0..100_000 {
            link.lossy = round >= 50_000;
            link.push(true, &[0], now);
            if let Some(frame) = link.pop(true, now) {
                link.recycle(true, frame);
            }
        }
        assert!((400..600).contains(&link.lost), "{}", link.lost);
    }
}
