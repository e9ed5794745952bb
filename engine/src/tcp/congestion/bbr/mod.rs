//! BBR, version 3 (draft-ietf-ccwg-bbr): the path is taken for a pipe of a certain rate and length. The rate is the highest at
//! which it lately delivered, the length its least round trip; the product is what fits without a queue. As much is
//! in flight, with some room for acknowledgments that come in bunches, and it is sent at that rate. Now and then a little more
//! is tried. Losses count as one more measurement: of how much the path holds when many segments of a flight are lost.
//!
//! `model` is what is known of the path, `bounds` what losses say about it; `state` goes through the phases: start-up, drain, and
//! then probing for more (`Down`, `Cruise`, `Refill`, `Up`), interrupted by looks at the least round trip. `control` makes window
//! and rate of them and is what recovery sees. Section numbers in these files are the draft's.
//!
//! Departures: bytes in place of packets; a recovery neither keeps nor restores a window (section 5.6.4.4), as the rate and the
//! bounds of the model say what is sent; how many losses are too many is said at [`LOSS_THRESHOLD`](bounds::LOSS_THRESHOLD).

mod bounds;
mod control;
mod model;
mod state;
#[cfg(test)]
mod tests;

pub(super) use control::Before;

use super::initial_window;
use crate::time::{Duration, Instant};
use bounds::Bounds;
use model::Model;
use state::{Cycle, FullPipe, ProbeRtt, State};

/// Less than the measured rate is sent, so that what is measured too high does not make a queue (section 2.4).
const PACING_MARGIN: f64 = 0.99;
/// Segments that are always in flight (section 2.8).
const MIN_SEGMENTS: u32 = 4;

/// The variables of the controller. Sizes are bytes, rates bytes a second.
#[derive(Debug)]
pub(in crate::tcp) struct Bbr {
    segment: u32,
    window: u32,
    /// What the sender will have in flight at most.
    most: u32,
    pacing: u64,
    state: State,
    pacing_gain: f64,
    window_gain: f64,
    model: Model,
    bounds: Bounds,
    pipe_full: FullPipe,
    cycle: Cycle,
    probe_rtt: ProbeRtt,
    /// The window before it was made small for a look at the round trip, or by a timeout.
    prior_window: u32,
    /// Sending began anew after the host had no more.
    restarted: bool,
    /// All that has arrived on the connection; it wraps.
    total: u32,
    /// Of the generator that keeps flows from probing together.
    random: u32,
}

impl Bbr {
    pub(super) fn new(segment: u32, now: Instant) -> Bbr {
        let segment = segment.max(1);
        let mut bbr = Bbr {
            segment,
            window: initial_window(segment),
            most: super::MAX_WINDOW,
            pacing: 0,
            state: State::Startup,
            pacing_gain: 0.0,
            window_gain: 0.0,
            model: Model::new(now),
            bounds: Bounds::default(),
            pipe_full: FullPipe::default(),
            cycle: Cycle::new(now),
            probe_rtt: ProbeRtt::new(now),
            prior_window: 0,
            restarted: false,
            total: 0,
            random: now.total_micros() as u32 | 1,
        };
        bbr.enter_startup();
        bbr
    }

    /// The least window.
    fn least_window(&self) -> u32 {
        self.segment.saturating_mul(MIN_SEGMENTS)
    }

    /// What fits on the path, times `gain` (section 5.6.4.1). Where nothing was measured it is an initial window.
    fn fitting(&self, rate: u64, gain: f64) -> u32 {
        match self.model.round_trip() {
            Some(rtt) if rate > 0 => {
                let bytes = rate as f64 * rtt.total_micros() as f64 / 1e6 * gain;
                bytes.clamp(0.0, f64::from(super::MAX_WINDOW)) as u32
            }
            _ => initial_window(self.segment),
        }
    }

    /// The same with room for what leaves in one burst (section 5.6.4.2).
    fn with_bursts(&self, bytes: u32) -> u32 {
        let mut bytes = bytes.max(3 * self.burst()).max(self.least_window());
        if self.state == State::Up {
            bytes = bytes.saturating_add(2 * self.segment);
        }
        bytes
    }

    /// What leaves in one burst: what a millisecond brings, two segments at the least (section 5.6.3), and no more than a quarter of
    /// what fits.
    fn burst(&self) -> u32 {
        let quarter = self.fitting(self.rate_now(), 0.25);
        let of_rate = (self.pacing / 1000).min(64 << 10) as u32;
        of_rate.min(quarter).max(2 * self.segment)
    }

    /// What fits now, times `gain`.
    fn inflight(&self, gain: f64) -> u32 {
        self.with_bursts(self.fitting(self.rate_now(), gain))
    }

    /// The rate that is believed now: the highest measured, as far as losses allow (section 5.5.10.3).
    fn rate_now(&self) -> u64 {
        self.model.rate.get().min(self.bounds.rate_lo)
    }

    /// What a flow of this rate aims at (section 5.3.3.5.3).
    fn target(&self) -> u32 {
        self.fitting(self.rate_now(), 1.0).min(self.window)
    }

    /// A number below `bound`.
    fn draw(&mut self, bound: u32) -> u32 {
        // The generator of Numerical Recipes; its upper bits are good.
        self.random = self.random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        ((u64::from(self.random) * u64::from(bound)) >> 32) as u32
    }

    fn has_passed(&self, since: Instant, time: Duration, now: Instant) -> bool {
        now.total_micros().saturating_sub(since.total_micros()) > time.total_micros() as i64
    }
}
