//! What losses say about the path (sections 5.5.10 and 5.3.3.5): a ceiling for what is in flight where too much was lost of a
//! flight, which probing finds and raises, and for the time until the next probing what the path delivered when something
//! was lost.

use super::Bbr;
use super::state::{AckPhase, State};
use crate::tcp::congestion::{MAX_WINDOW, Missing, Sample};
use crate::time::Instant;

/// The share of a flight whose loss is too much. Section 2.7 has a fiftieth, for the Internet; the guest's link may be a radio that
/// always loses that much, and is seldom shared.
pub(super) const LOSS_THRESHOLD: f64 = 0.05;
/// What is left of a bound after a loss, and how much of the ceiling is left to others (section 2.7).
const BETA: f64 = 0.7;
const HEADROOM: f64 = 0.15;
/// Losses in one round trip that make it a lossy one in start-up (section 5.3.1.3).
const STARTUP_LOSSES: u8 = 6;

/// Sizes are bytes, rates bytes a second; what is not bounded has the greatest number.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    pub rate_lo: u64,
    pub inflight_lo: u32,
    pub inflight_hi: u32,
    /// The best of the round trip under way.
    rate_latest: u64,
    inflight_latest: u32,
    /// A round trip in which losses count ends as [`Model::round_start`](super::model::Model) says, but for its own beginning.
    loss_round_end: u32,
    loss_round_start: bool,
    loss_in_round: bool,
    /// Of its flight too much was lost.
    much_in_round: bool,
    losses: u8,
}

impl Default for Bounds {
    fn default() -> Bounds {
        Bounds {
            rate_lo: u64::MAX,
            inflight_lo: u32::MAX,
            inflight_hi: u32::MAX,
            rate_latest: 0,
            inflight_latest: 0,
            loss_round_end: 0,
            loss_round_start: false,
            loss_in_round: false,
            much_in_round: false,
            losses: 0,
        }
    }
}

impl Bounds {
    /// The bounds for the time until the next probing are dropped.
    pub(super) fn drop_lower(&mut self) {
        self.rate_lo = u64::MAX;
        self.inflight_lo = u32::MAX;
    }

    /// A new phase: nothing was lost in it yet.
    pub(super) fn begin_phase(&mut self) {
        self.loss_in_round = false;
        self.much_in_round = false;
        self.rate_latest = 0;
        self.inflight_latest = 0;
    }

    /// What a flight may be so that others find room (section 5.3.3.5.2).
    pub(super) fn with_headroom(&self, segment: u32) -> u32 {
        if self.inflight_hi == u32::MAX {
            return u32::MAX;
        }
        let headroom = ((f64::from(self.inflight_hi) * HEADROOM) as u32).max(segment);
        self.inflight_hi.saturating_sub(headroom).max(4 * segment)
    }
}

impl Bbr {
    /// Whether of a flight too much was lost. One or two segments of a short flight say nothing.
    fn is_too_much(&self, lost: u32, in_flight: u32) -> bool {
        f64::from(lost) > f64::from(in_flight) * LOSS_THRESHOLD + f64::from(2 * self.segment)
    }

    /// Something was lost (section 5.5.10.2).
    pub(super) fn note_lost(&mut self, missing: &Missing, now: Instant) {
        let bounds = &mut self.bounds;
        if !bounds.loss_in_round {
            bounds.loss_round_end = missing.total;
        }
        bounds.loss_in_round = true;
        bounds.losses = bounds.losses.saturating_add(1);
        if self.cycle.probing && self.is_too_much(missing.lost, missing.in_flight) {
            let in_flight = held_when_lost(missing);
            self.on_too_much_in_flight(in_flight, missing.app_limited, missing.total, now);
        }
    }

    /// A queue has marked what was sent: it counts as a round trip with too many losses.
    pub(super) fn note_marked(&mut self, now: Instant) {
        if !self.bounds.loss_in_round {
            self.bounds.loss_round_end = self.total;
        }
        self.bounds.loss_in_round = true;
        self.bounds.much_in_round = true;
        if self.state == State::Startup && !self.pipe_full.once {
            self.pipe_full.once = true;
            self.bound_startup();
        } else if self.cycle.probing {
            self.on_too_much_in_flight(self.window, false, self.total, now);
        }
    }

    /// The beginning of the work on an acknowledgment (section 5.5.10.3).
    pub(super) fn note_latest(&mut self, sample: &Sample) {
        let bounds = &mut self.bounds;
        bounds.rate_latest = bounds.rate_latest.max(sample.rate.unwrap_or(0));
        bounds.inflight_latest = bounds.inflight_latest.max(sample.volume);
        bounds.loss_round_start = (sample.prior.wrapping_sub(bounds.loss_round_end) as i32) >= 0;
        if bounds.loss_round_start {
            bounds.loss_round_end = sample.total;
        }
    }

    /// Its end.
    pub(super) fn forget_latest(&mut self, sample: &Sample) {
        let bounds = &mut self.bounds;
        if bounds.loss_round_start {
            bounds.rate_latest = sample.rate.unwrap_or(0);
            bounds.inflight_latest = sample.volume;
            bounds.losses = 0;
        }
    }

    /// After a round trip with losses no more is sent than it delivered (section 5.5.10.3).
    pub(super) fn adapt_lower(&mut self, sample: &Sample) {
        self.bounds.much_in_round |= self.is_too_much(sample.lost, sample.in_flight);
        if !self.bounds.loss_round_start {
            return;
        }
        let (rate, window) = (self.model.rate.get(), self.window);
        let bounds = &mut self.bounds;
        if bounds.much_in_round && !matches!(self.state, State::Startup | State::Refill | State::Up) {
            let (known, held) = (bounds.rate_lo.min(rate), bounds.inflight_lo.min(window));
            bounds.rate_lo = bounds.rate_latest.max((known as f64 * BETA) as u64).max(1);
            bounds.inflight_lo = bounds.inflight_latest.max((f64::from(held) * BETA) as u32);
        }
        bounds.loss_in_round = false;
        bounds.much_in_round = false;
    }

    /// Whether start-up has found the end of the path by losses (section 5.3.1.3).
    pub(super) fn is_startup_lossy(&self, sample: &Sample) -> bool {
        self.bounds.loss_round_start
            && self.bounds.losses >= STARTUP_LOSSES
            && self.is_too_much(sample.lost, sample.in_flight)
    }

    /// The ceiling is what was in flight in the last round trip of such a start-up.
    pub(super) fn bound_startup(&mut self) {
        let fitting = self.fitting(self.rate_now(), 1.0);
        self.bounds.inflight_hi = fitting.max(self.bounds.inflight_latest);
    }

    /// What probing has found (section 5.3.3.5.1).
    pub(super) fn adapt_upper(&mut self, sample: &Sample, now: Instant) {
        if self.model.round_start {
            match self.cycle.acks {
                AckPhase::Starting => self.cycle.acks = AckPhase::Feedback,
                AckPhase::Stopping => {
                    self.cycle.probing = false;
                    self.cycle.acks = AckPhase::Idle;
                    if self.state.is_probing_rate() && !sample.app_limited {
                        self.model.rate.advance();
                    }
                }
                _ => {}
            }
        }
        if self.is_too_much(sample.lost, sample.in_flight) {
            if self.cycle.probing {
                self.on_too_much_in_flight(sample.in_flight, sample.app_limited, sample.total, now);
            }
            return;
        }
        if self.bounds.inflight_hi == u32::MAX {
            return;
        }
        self.bounds.inflight_hi = self.bounds.inflight_hi.max(sample.in_flight);
        if self.state == State::Up {
            self.raise_ceiling(sample);
        }
    }

    /// Section 5.5.10.2; once a probing.
    fn on_too_much_in_flight(&mut self, in_flight: u32, app_limited: bool, total: u32, now: Instant) {
        self.cycle.probing = false;
        if !app_limited {
            let floor = (f64::from(self.target()) * BETA) as u32;
            self.bounds.inflight_hi = in_flight.max(floor).max(self.least_window());
        }
        if self.state == State::Up {
            self.begin_down(total, now);
        }
    }

    /// The ceiling rises with what is acknowledged, each round trip faster (section 5.3.3.5.1).
    fn raise_ceiling(&mut self, sample: &Sample) {
        let full = sample.in_flight.saturating_add(self.segment) >= self.window;
        if !full || self.window < self.bounds.inflight_hi {
            return;
        }
        self.cycle.up_acked = self.cycle.up_acked.saturating_add(sample.delivered);
        let each = self.cycle.up_each.max(1);
        let steps = self.cycle.up_acked / each;
        if steps > 0 {
            self.cycle.up_acked -= steps * each;
            let more = self.segment.saturating_mul(steps);
            self.bounds.inflight_hi = self.bounds.inflight_hi.saturating_add(more).min(MAX_WINDOW);
        }
        if self.model.round_start {
            self.raise_slope();
        }
    }

    /// By so much is acknowledged before the ceiling rises by a segment.
    pub(super) fn raise_slope(&mut self) {
        let growth = 1u32 << self.cycle.up_rounds.min(30);
        self.cycle.up_rounds = self.cycle.up_rounds.saturating_add(1);
        self.cycle.up_each = (self.window / growth).max(self.segment);
    }
}

/// What the flight held when the share of its losses became too much (section 5.5.10.2): the bytes are taken for lost one after
/// the other.
fn held_when_lost(missing: &Missing) -> u32 {
    let before = f64::from(missing.in_flight.saturating_sub(missing.bytes));
    let lost_before = f64::from(missing.lost.saturating_sub(missing.bytes));
    let prefix = ((LOSS_THRESHOLD * before - lost_before) / (1.0 - LOSS_THRESHOLD)).max(0.0);
    (before + prefix) as u32
}
