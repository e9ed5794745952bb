//! Window and rate, and what recovery tells (section 5.6).

use super::bounds::Bounds;
use super::state::State;
use super::{Bbr, PACING_MARGIN};
use crate::tcp::congestion::{Ack, Control, Loss, MAX_WINDOW, Missing, Path, Sample};
use crate::time::{Duration, Instant};

/// What losses that were none have changed.
#[derive(Clone, Copy, Debug)]
pub(in crate::tcp) struct Before {
    window: u32,
    bounds: Bounds,
}

impl Bbr {
    /// Section 5.6.2: in start-up the rate only grows.
    fn set_pacing(&mut self, path: &Path) {
        let rate = self.rate_now();
        if rate == 0 {
            // Nothing was measured: the initial window over the first round trip, or over a millisecond.
            let srtt = path.rtt.srtt().map_or(1000, Duration::total_micros).max(1000);
            self.pacing = (f64::from(self.window) * self.pacing_gain * 1e6 / srtt as f64) as u64;
            return;
        }
        let rate = ((rate as f64 * self.pacing_gain * PACING_MARGIN) as u64).max(1);
        if self.pipe_full.once || rate > self.pacing {
            self.pacing = rate;
        }
    }

    /// Section 5.6.4.6.
    fn set_window(&mut self, sample: &Sample) {
        let fitting = self.fitting(self.rate_now(), self.window_gain);
        let most = self.with_bursts(fitting.saturating_add(self.model.bunched()));
        let grown = self.window.saturating_add(sample.delivered);
        if self.pipe_full.once {
            self.window = grown.min(most);
        } else if self.window < most || sample.total < 2 * super::initial_window(self.segment) {
            self.window = grown;
        }
        self.bound_window();
    }

    /// Section 5.6.4.7.
    fn bound_window(&mut self) {
        let mut bound = self.most;
        if self.pipe_full.once {
            bound = bound.min(self.bounds.inflight_lo);
            bound = bound.min(match self.state {
                State::Cruise | State::ProbeRtt => self.bounds.with_headroom(self.segment),
                _ if self.state.is_probing_rate() => self.bounds.inflight_hi,
                _ => u32::MAX,
            });
        }
        if self.state == State::ProbeRtt {
            bound = bound.min(self.window_of_probe_rtt());
        }
        self.window = self.window.min(bound.max(self.least_window())).clamp(self.least_window(), MAX_WINDOW);
    }
}

impl Control for Bbr {
    type Before = Before;

    #[inline]
    fn window(&self) -> u32 {
        self.window
    }

    /// There is no threshold; what fits is the nearest thing to one, and the greatest window before that is known.
    fn threshold(&self) -> u32 {
        if self.pipe_full.once { self.fitting(self.model.rate.get(), 1.0).max(self.least_window()) } else { MAX_WINDOW }
    }

    /// What is missing holds up the window until it has come again, on a path that always loses something.
    fn buffer_wanted(&self) -> u32 {
        self.window.saturating_mul(4)
    }

    fn rate(&self, _: &Path) -> Option<u64> {
        (self.pacing > 0).then_some(self.pacing)
    }

    fn begin(&mut self, segment: u32) {
        self.segment = segment.max(1);
        self.window = super::initial_window(self.segment);
    }

    fn restore(&mut self, window: u32, _: u32) {
        self.window = window.clamp(self.least_window(), MAX_WINDOW);
    }

    fn set_segment(&mut self, segment: u32) {
        self.segment = segment.max(1);
        self.window = self.window.max(self.least_window());
    }

    #[inline]
    fn on_sent(&mut self, _: u32) {}

    fn on_restart(&mut self, now: Instant) {
        self.begin_anew(now);
    }

    fn on_lost(&mut self, missing: &Missing, now: Instant) {
        self.note_lost(missing, now);
    }

    #[inline]
    fn on_ack(&mut self, _: &Ack, _: &Path) {}

    /// Section 5.2.3.
    fn on_sample(&mut self, sample: &Sample, path: &Path) {
        let now = path.now;
        self.most = path.most.max(self.least_window());
        self.total = sample.total;
        self.note_latest(sample);
        self.model.count_round(sample);
        self.model.note_rate(sample);
        self.adapt_lower(sample);
        let (rate, window) = (self.rate_now(), self.window);
        self.model.note_bunches(sample, rate, window, self.pipe_full.once, now);
        self.look_for_full(sample);
        self.advance_startup(sample, now);
        self.advance_cycle(sample, now);
        self.note_round_trip(path.latest, now);
        self.look_at_round_trip(sample, now);
        self.restarted &= sample.delivered == 0;
        self.forget_latest(sample);
        self.set_pacing(path);
        self.set_window(sample);
    }

    fn on_marked(&mut self, now: Instant) {
        self.note_marked(now);
    }

    fn on_loss(&mut self, loss: &Loss, _: &Path) -> bool {
        loss.first
    }

    fn on_repair(&mut self, _: u32, _: bool, _: u32) {}

    #[inline]
    fn has_reduced(&self) -> bool {
        false
    }

    fn on_repaired(&mut self) {}

    fn on_tail_loss(&mut self) {}

    /// Section 5.6.4.4: nothing is in flight any more. The window opens with each acknowledgment up to what fits.
    fn on_timeout(&mut self, _: bool) {
        self.window = self.segment;
    }

    fn before(&self) -> Before {
        Before { window: self.window, bounds: self.bounds }
    }

    fn take_back(&mut self, before: &Before) {
        self.window = self.window.max(before.window);
        let (known, now) = (&before.bounds, &mut self.bounds);
        now.rate_lo = now.rate_lo.max(known.rate_lo);
        now.inflight_lo = now.inflight_lo.max(known.inflight_lo);
        now.inflight_hi = now.inflight_hi.max(known.inflight_hi);
    }
}
