//! A controller that takes losses for the sign of congestion: CUBIC with proportional rate reduction.
//!
//! It is no slave of full queues: what it has in flight is bounded by what fits on the path and a queue of bounded length
//! ([`Path::most`]), and it keeps sounding how long the path is without its own queue (`sounding`). Beside others that fill the queue
//! it may have more (`company`). Where losses come although there is no queue, it says so (`lossy`).

use super::company::Company;
use super::cubic::Cubic;
use super::lossy::Suspicion;
use super::prr::Reduction;
use super::sounding::{Sounding, clear};
use super::{Ack, Control, Loss, Missing, Path, Sample};
use crate::time::Instant;

/// The variables of the controller.
#[derive(Debug)]
pub(in crate::tcp) struct LossBased {
    cubic: Cubic,
    reduction: Reduction,
    sounding: Sounding,
    /// Others at the bottleneck, once something was lost behind a queue.
    company: Option<Box<Company>>,
    suspicion: Suspicion,
}

impl LossBased {
    pub(super) fn new(segment: u32) -> LossBased {
        LossBased {
            cubic: Cubic::new(segment),
            reduction: Reduction::default(),
            sounding: Sounding::default(),
            company: None,
            suspicion: Suspicion::default(),
        }
    }

    /// Whether the link loses segments by its nature, as far as can be seen.
    pub(super) fn is_on_lossy_link(&self) -> bool {
        self.suspicion.is_confirmed()
    }

    pub(super) fn segment(&self) -> u32 {
        self.cubic.segment()
    }

    /// What may be in flight beside others that fill the queue; 0 without them.
    #[inline]
    pub(super) fn beside(&self) -> u32 {
        self.company.as_ref().map_or(0, |company| company.may())
    }

    #[inline]
    pub(super) fn looks_for_company(&self) -> bool {
        self.company.is_some()
    }

    /// Whether the highest rate of late is to be forgotten soon: on a long path, and not before something was lost or the path was sounded.
    /// Until then another one's slow start may take the rate, and the window would become smaller just before the losses make it so.
    pub(super) fn forgets_soon(&self) -> bool {
        self.cubic.is_on_long_path() && (self.cubic.has_lost() || self.sounding.has_sounded())
    }

    #[inline]
    pub(super) fn on_unused_window(&mut self, flight: u32) -> bool {
        self.cubic.on_unused_window(flight)
    }
}

impl Control for LossBased {
    type Before = Cubic;

    #[inline]
    fn window(&self) -> u32 {
        self.sounding.bound(self.cubic.window())
    }

    fn threshold(&self) -> u32 {
        self.cubic.threshold()
    }

    /// What is in flight and as much again, so that the host has time to bring more.
    #[inline]
    fn buffer_wanted(&self) -> u32 {
        self.cubic.window().saturating_mul(2)
    }

    /// So that a window is sent well within a round trip, and what slow start opens as well (RFC 9002 section 7.7).
    fn rate(&self, path: &Path) -> Option<u64> {
        let srtt = path.rtt.srtt()?.total_micros().max(1);
        let window = u64::from(self.cubic.window());
        let wanted = if self.cubic.window() < self.cubic.threshold() { window * 2 } else { window + window / 4 };
        Some(wanted * 1_000_000 / srtt)
    }

    fn begin(&mut self, segment: u32) {
        self.cubic.begin(segment);
    }

    fn restore(&mut self, window: u32, threshold: u32) {
        self.cubic.restore(window, threshold);
    }

    fn set_segment(&mut self, segment: u32) {
        self.cubic.set_segment(segment);
    }

    #[inline]
    fn on_sent(&mut self, bytes: u32) {
        self.reduction.sent(bytes);
    }

    #[inline]
    fn on_restart(&mut self, _: Instant) {}

    fn on_lost(&mut self, _: &Missing, _: Instant) {}

    #[inline]
    fn on_ack(&mut self, ack: &Ack, path: &Path) {
        if self.sounding.distorts(path.now) {
            return;
        }
        let path = Path { most: path.most.max(self.beside()), ..*path };
        self.cubic.on_ack(ack, &path);
    }

    #[inline]
    fn on_sample(&mut self, sample: &Sample, path: &Path) {
        // HyStart++ would take the rounds of the application's loop for a queue.
        if path.paced {
            self.cubic.on_sample(sample, path);
        }
        if self.company.as_mut().is_some_and(|company| company.on_round_trip(path)) {
            // Half of what they have: more could be lost in the queue that they fill.
            self.cubic.climb_to(self.beside() / 3 * 2);
        }
        let window = self.cubic.window();
        let settled = window >= self.cubic.threshold() || window >= path.most;
        // Beside others half of it is enough to see them: what fits without a queue is out of sight anyway. Nor has it to be seen on a path too
        // short to be paced.
        let least = if self.beside() > 0 || !path.paced { sample.pipe / 2 } else { 0 };
        let least = least.max(self.cubic.segment().saturating_mul(2));
        if let Some((bound, least)) = self.sounding.on_round_trip(settled, least, path)
            && let Some(company) = &mut self.company
        {
            company.ask(sample.pipe, bound, least, path);
        }
    }

    /// As for a loss (RFC 9438 section 4.6).
    fn on_marked(&mut self, _: Instant) {
        self.cubic.reduce();
    }

    fn on_loss(&mut self, loss: &Loss, path: &Path) -> bool {
        if loss.first {
            self.suspicion.note(loss.flight, path);
            if path.rtt.least().is_some_and(|least| path.latest > clear(least)) {
                self.company.get_or_insert_default();
            }
            self.cubic.note_full(path.latest);
            self.cubic.reduce();
            self.reduction = Reduction::new(loss.flight);
        }
        loss.first
    }

    fn on_repair(&mut self, delivered: u32, safe: bool, pipe: u32) {
        let (threshold, segment) = (self.cubic.threshold(), self.cubic.segment());
        let more = self.reduction.allows(delivered, safe, pipe, threshold, segment);
        self.cubic.set_window(pipe.saturating_add(more));
    }

    #[inline]
    fn has_reduced(&self) -> bool {
        true
    }

    /// RFC 9937 section 6: the window is what the reduction aimed at.
    fn on_repaired(&mut self) {
        self.cubic.set_window(self.cubic.threshold());
    }

    fn on_tail_loss(&mut self) {
        self.cubic.reduce();
    }

    fn on_timeout(&mut self, again: bool) {
        self.cubic.on_timeout(again);
    }

    fn before(&self) -> Cubic {
        self.cubic
    }

    fn take_back(&mut self, before: &Cubic) {
        self.cubic.take_back(before);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tcp::rtt::RttEstimator;
    use crate::time::Duration;

    /// A controller of a path of 200 ms, after a loss with each of these round trips: whether it forgets the rate soon.
    fn forgets(losses: &[u64]) -> bool {
        let mut rtt = RttEstimator::default();
        rtt.sample(Instant::ZERO, Instant::from_millis(200));
        let path = |latest| {
            let (now, latest) = (Instant::from_secs(1), Duration::from_millis(latest));
            Path { now, rtt, latest, sack: true, most: 2_000_000, fits: 1_500_000, queue: 0, paced: true }
        };
        let mut one = LossBased::new(1000);
        one.restore(1_000_000, 1 << 30);
        one.on_ack(&Ack { delivered: 1000, flight: 1_000_000 }, &path(200));
        for &latest in losses {
            one.on_loss(&Loss { first: true, flight: 1_000_000 }, &path(latest));
        }
        one.forgets_soon()
    }

    /// Neither while another one's slow start may go on, nor behind a queue that others fill.
    #[test]
    fn the_rate_is_forgotten_soon_only_after_a_loss_behind_a_queue_no_longer_than_the_path() {
        assert!(!forgets(&[]));
        assert!(forgets(&[280]));
        assert!(!forgets(&[280, 402]));
    }
}
