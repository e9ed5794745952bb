//! A controller that takes losses for the sign of congestion, unless they are the link's nature: CUBIC with proportional
//! rate reduction.

use super::cubic::Cubic;
use super::prr::Reduction;
use super::tolerance::Record;
use super::{Ack, Control, Loss, Path};

/// The variables of the controller.
#[derive(Debug)]
pub(crate) struct LossBased {
    cubic: Cubic,
    reduction: Reduction,
    record: Record,
    /// The losses that are being repaired did not reduce the window.
    tolerated: bool,
}

impl LossBased {
    fn tolerates(&self, path: &Path) -> bool {
        path.sack && self.record.is_tolerable(self.cubic.segment(), &path.rtt, path.latest)
    }
}

impl Control for LossBased {
    type Before = Cubic;

    fn new(segment: u32) -> LossBased {
        LossBased {
            cubic: Cubic::new(segment),
            reduction: Reduction::default(),
            record: Record::default(),
            tolerated: false,
        }
    }

    #[inline]
    fn window(&self) -> u32 {
        self.cubic.window()
    }

    fn threshold(&self) -> u32 {
        self.cubic.threshold()
    }

    /// What is in flight and as much again, so that the host has time to bring more. A window in which something is always
    /// missing is held up until that has come again: there it is twice as much.
    #[inline]
    fn buffer_wanted(&self) -> u32 {
        self.cubic.window().saturating_mul(if self.record.has_losses() { 4 } else { 2 })
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
    fn on_delivered(&mut self, bytes: u32) {
        self.record.note(bytes, 0, self.cubic.segment());
    }

    fn on_lost(&mut self, bytes: u32) {
        self.record.note(0, bytes, self.cubic.segment());
    }

    #[inline]
    fn on_ack(&mut self, ack: &Ack, path: &Path) {
        let below = self.record.has_losses() && self.tolerates(path);
        self.cubic.on_ack(ack, below, path.now, path.rtt.srtt());
    }

    /// They open the window as others do while losses are tolerated: on a link that always loses something, few
    /// acknowledgments come without a hole.
    fn on_ack_behind_hole(&mut self, ack: &Ack, path: &Path) {
        if self.tolerated && self.tolerates(path) {
            self.cubic.on_ack(ack, true, path.now, path.rtt.srtt());
        }
    }

    fn on_loss(&mut self, loss: &Loss, path: &Path) -> bool {
        let tolerable = self.tolerates(path);
        if !loss.first && (!self.tolerated || tolerable) {
            return false;
        }
        self.tolerated = tolerable;
        if !tolerable {
            self.cubic.reduce();
            self.reduction = Reduction::new(loss.flight);
        }
        true
    }

    fn on_repair(&mut self, delivered: u32, safe: bool, pipe: u32) {
        if self.tolerated {
            return;
        }
        let (threshold, segment) = (self.cubic.threshold(), self.cubic.segment());
        let more = self.reduction.allows(delivered, safe, pipe, threshold, segment);
        self.cubic.set_window(pipe.saturating_add(more));
    }

    #[inline]
    fn has_reduced(&self) -> bool {
        !self.tolerated
    }

    /// RFC 9937 section 6: the window is what the reduction aimed at.
    fn on_repaired(&mut self) {
        if !std::mem::take(&mut self.tolerated) {
            self.cubic.set_window(self.cubic.threshold());
        }
    }

    fn on_tail_loss(&mut self) {
        self.cubic.reduce();
    }

    fn on_timeout(&mut self, again: bool) {
        self.tolerated = false;
        self.cubic.on_timeout(again);
    }

    fn before(&self) -> Cubic {
        self.cubic
    }

    fn take_back(&mut self, before: &Cubic) {
        self.tolerated = false;
        self.cubic.take_back(before);
    }
}
