//! The phases (sections 5.3 and 5.4).

use super::{Bbr, PACING_MARGIN};
use crate::tcp::congestion::Sample;
use crate::time::{Duration, Instant};

/// Gains of rate and window (sections 2.4 and 2.5).
const STARTUP_GAIN: f64 = 2.77;
const DRAIN_GAIN: f64 = 0.5;
const WINDOW_GAIN: f64 = 2.0;
const DOWN_GAIN: f64 = 0.9;
const UP_GAIN: f64 = 1.25;
const UP_WINDOW_GAIN: f64 = 2.25;
const PROBE_RTT_GAIN: f64 = 0.5;
/// A rate that has not grown by so much in so many round trips is that of the path (section 5.3.1.2).
const GROWTH: f64 = 1.25;
const ROUNDS: u8 = 3;
/// The time between two probings is this and up to a second more, but no more than so many round trips (section 5.3.3.4).
const PROBE_EVERY: Duration = Duration::from_secs(2);
const PROBE_MOST_ROUNDS: u32 = 63;
/// How often the round trip is looked at with little in flight, and for how long (section 2.9, which has five seconds: on a
/// path of this machine's own, whose length does not change, that costs a fiftieth of the rate for nothing).
const PROBE_RTT_EVERY: Duration = Duration::from_secs(10);
const PROBE_RTT_FOR: Duration = Duration::from_millis(200);

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum State {
    Startup,
    Drain,
    Down,
    Cruise,
    Refill,
    Up,
    ProbeRtt,
}

impl State {
    pub(super) fn is_probing_rate(self) -> bool {
        matches!(self, State::Down | State::Cruise | State::Refill | State::Up)
    }
}

/// What the acknowledgments that come now answer (section 5.3.3.6).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum AckPhase {
    Idle,
    Refilling,
    Starting,
    Feedback,
    Stopping,
}

/// Whether the rate still grows.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct FullPipe {
    rate: u64,
    rounds: u8,
    now: bool,
    /// It stopped growing in start-up.
    pub once: bool,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Cycle {
    since: Instant,
    wait: Duration,
    rounds: u32,
    pub acks: AckPhase,
    /// What arrives was sent while probing, so that losses tell how much the path holds.
    pub probing: bool,
    pub up_each: u32,
    pub up_acked: u32,
    pub up_rounds: u8,
}

impl Cycle {
    pub(super) fn new(now: Instant) -> Cycle {
        Cycle {
            since: now,
            wait: PROBE_EVERY,
            rounds: 0,
            acks: AckPhase::Idle,
            probing: false,
            up_each: u32::MAX,
            up_acked: 0,
            up_rounds: 0,
        }
    }
}

#[derive(Clone, Copy, Debug)]
pub(super) struct ProbeRtt {
    least: Duration,
    at: Instant,
    expired: bool,
    done_at: Option<Instant>,
    round_done: bool,
}

impl ProbeRtt {
    pub(super) fn new(now: Instant) -> ProbeRtt {
        ProbeRtt { least: Duration::MAX, at: now, expired: false, done_at: None, round_done: false }
    }
}

impl Bbr {
    pub(super) fn enter_startup(&mut self) {
        self.state = State::Startup;
        (self.pacing_gain, self.window_gain) = (STARTUP_GAIN, WINDOW_GAIN);
    }

    fn forget_full(&mut self, rate: u64) {
        self.pipe_full = FullPipe { rate, once: self.pipe_full.once, ..FullPipe::default() };
    }

    /// Section 5.3.1.2.
    pub(super) fn look_for_full(&mut self, sample: &Sample) {
        let Some(rate) = sample.rate else { return };
        if self.pipe_full.now || sample.app_limited {
            return;
        }
        if rate as f64 >= self.pipe_full.rate as f64 * GROWTH {
            self.forget_full(rate);
        } else if self.model.round_start {
            self.pipe_full.rounds += 1;
            self.pipe_full.now = self.pipe_full.rounds >= ROUNDS;
            self.pipe_full.once |= self.pipe_full.now;
        }
    }

    /// Start-up ends when the rate does not grow, or much is lost; then its queue is drained.
    pub(super) fn advance_startup(&mut self, sample: &Sample, now: Instant) {
        if self.state == State::Startup {
            if !self.pipe_full.once && self.is_startup_lossy(sample) {
                self.pipe_full.once = true;
                self.bound_startup();
            }
            if self.pipe_full.once {
                self.state = State::Drain;
                self.pacing_gain = DRAIN_GAIN;
            }
        }
        if self.state == State::Drain && sample.pipe <= self.inflight(1.0) {
            self.begin_down(sample.total, now);
        }
    }

    pub(super) fn begin_down(&mut self, total: u32, now: Instant) {
        self.bounds.begin_phase();
        self.cycle.up_each = u32::MAX;
        self.cycle.rounds = self.draw(2);
        self.cycle.wait = PROBE_EVERY + Duration::from_micros(u64::from(self.draw(1_000_000)));
        self.cycle.since = now;
        self.cycle.acks = AckPhase::Stopping;
        self.model.begin_round(total);
        self.state = State::Down;
        (self.pacing_gain, self.window_gain) = (DOWN_GAIN, WINDOW_GAIN);
    }

    fn begin_cruise(&mut self) {
        self.state = State::Cruise;
        (self.pacing_gain, self.window_gain) = (1.0, WINDOW_GAIN);
    }

    fn begin_refill(&mut self, total: u32) {
        self.bounds.drop_lower();
        self.cycle.up_rounds = 0;
        self.cycle.up_acked = 0;
        self.cycle.acks = AckPhase::Refilling;
        self.model.begin_round(total);
        self.state = State::Refill;
        (self.pacing_gain, self.window_gain) = (1.0, WINDOW_GAIN);
    }

    fn begin_up(&mut self, sample: &Sample, now: Instant) {
        self.cycle.probing = true;
        self.cycle.acks = AckPhase::Starting;
        self.model.begin_round(sample.total);
        self.forget_full(sample.rate.unwrap_or(0));
        self.cycle.since = now;
        self.state = State::Up;
        self.raise_slope();
        (self.pacing_gain, self.window_gain) = (UP_GAIN, UP_WINDOW_GAIN);
    }

    /// Whether it is time to probe: after some seconds, or as soon as a flow of Reno would have grown by as much (section
    /// 5.3.3.4).
    fn is_time_to_probe(&self, now: Instant) -> bool {
        let reno = (self.target() / self.segment).min(PROBE_MOST_ROUNDS);
        self.has_passed(self.cycle.since, self.cycle.wait, now) || self.cycle.rounds >= reno
    }

    /// Section 5.3.3.6.
    pub(super) fn advance_cycle(&mut self, sample: &Sample, now: Instant) {
        if !self.pipe_full.once {
            return;
        }
        if self.model.round_start {
            self.cycle.rounds = self.cycle.rounds.saturating_add(1);
        }
        self.adapt_upper(sample, now);
        match self.state {
            State::Down | State::Cruise if self.is_time_to_probe(now) => self.begin_refill(sample.total),
            State::Down
                if sample.pipe <= self.bounds.with_headroom(self.segment) && sample.pipe <= self.inflight(1.0) =>
            {
                self.begin_cruise();
            }
            State::Refill if self.model.round_start => self.begin_up(sample, now),
            State::Up => {
                let full = sample.in_flight.saturating_add(self.segment) >= self.window;
                if full && self.window >= self.bounds.inflight_hi {
                    // It is the ceiling that keeps the rate from growing.
                    self.forget_full(sample.rate.unwrap_or(0));
                } else if self.pipe_full.now {
                    self.begin_down(sample.total, now);
                }
            }
            _ => {}
        }
    }

    /// A round trip was measured (section 5.5.7).
    pub(super) fn note_round_trip(&mut self, rtt: Duration, now: Instant) {
        self.probe_rtt.expired = self.has_passed(self.probe_rtt.at, PROBE_RTT_EVERY, now);
        if self.probe_rtt.expired || rtt < self.probe_rtt.least {
            self.probe_rtt.least = rtt;
            self.probe_rtt.at = now;
        }
        self.model.note_round_trip(self.probe_rtt.least, self.probe_rtt.at, now);
    }

    /// Section 5.3.4.
    pub(super) fn look_at_round_trip(&mut self, sample: &Sample, now: Instant) {
        if self.state != State::ProbeRtt && self.probe_rtt.expired && !self.restarted {
            self.state = State::ProbeRtt;
            self.pacing_gain = 1.0;
            self.prior_window = self.window;
            self.probe_rtt.done_at = None;
            self.cycle.acks = AckPhase::Stopping;
            self.model.begin_round(sample.total);
        }
        if self.state != State::ProbeRtt {
            return;
        }
        match self.probe_rtt.done_at {
            None if sample.pipe <= self.window_of_probe_rtt() => {
                self.probe_rtt.done_at = Some(now + PROBE_RTT_FOR);
                self.probe_rtt.round_done = false;
                self.model.begin_round(sample.total);
            }
            Some(_) => {
                self.probe_rtt.round_done |= self.model.round_start;
                if self.probe_rtt.round_done {
                    self.end_probe_rtt(sample.total, now);
                }
            }
            None => {}
        }
    }

    pub(super) fn window_of_probe_rtt(&self) -> u32 {
        self.fitting(self.rate_now(), PROBE_RTT_GAIN).max(self.least_window())
    }

    fn end_probe_rtt(&mut self, total: u32, now: Instant) {
        if self.state != State::ProbeRtt || self.probe_rtt.done_at.is_none_or(|at| now < at) {
            return;
        }
        self.probe_rtt.at = now;
        self.window = self.window.max(self.prior_window);
        self.bounds.drop_lower();
        if self.pipe_full.once {
            self.begin_down(total, now);
            self.begin_cruise();
        } else {
            self.enter_startup();
        }
    }

    /// Sending begins anew after the host had nothing (section 5.4.1).
    pub(super) fn begin_anew(&mut self, now: Instant) {
        self.restarted = true;
        self.model.forget_bunch(now);
        if self.state.is_probing_rate() {
            self.pacing = (self.rate_now() as f64 * PACING_MARGIN) as u64;
        }
    }
}
