//! How much is sent while losses are repaired: proportional rate reduction (RFC 9937), for a peer with selective
//! acknowledgments.

use super::Connection;
use super::recovery::Phase;

/// The variables of RFC 9937 section 6, in bytes.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Reduction {
    /// `RecoverFS`: what was in flight when the loss was noticed.
    flight: u32,
    /// `prr_delivered`: what has arrived since.
    delivered: u32,
    /// `prr_out`: what was sent since.
    out: u32,
}

impl Connection {
    /// A loss was noticed while an acknowledgment is looked at; what it delivers is counted by
    /// [`Connection::reduce_in_proportion`] afterwards.
    pub(super) fn begin_reduction(&mut self, delivered: u32) {
        let flight = self.scoreboard.flight().saturating_sub(self.scoreboard.sacked()).saturating_add(delivered);
        self.reduction = Reduction { flight: flight.max(1), ..Reduction::default() };
    }

    /// Bytes were sent, for the first time or again.
    #[inline]
    pub(super) fn note_out(&mut self, bytes: u32) {
        self.reduction.out = self.reduction.out.saturating_add(bytes);
    }

    /// An acknowledgment that delivered so many bytes was taken in: sets the congestion window to what may be sent for it.
    /// `safe`: it advanced and told of no further loss.
    pub(super) fn reduce_in_proportion(&mut self, delivered: u32, safe: bool) {
        if self.recovery.phase != Phase::Recovery || self.recovery.tolerated || !self.sack {
            return;
        }
        let segment = u32::from(self.payload_mss());
        let threshold = self.congestion.ssthresh();
        let pipe = self.pipe();
        let reduction = &mut self.reduction;
        reduction.delivered = reduction.delivered.saturating_add(delivered);
        let mut count = if pipe > threshold {
            let share =
                (u64::from(reduction.delivered) * u64::from(threshold)).div_ceil(u64::from(reduction.flight.max(1)));
            (share.min(u64::from(u32::MAX)) as u32).saturating_sub(reduction.out)
        } else {
            let bound = reduction.delivered.saturating_sub(reduction.out).max(delivered);
            bound.saturating_add(if safe { segment } else { 0 }).min(threshold - pipe)
        };
        if reduction.out == 0 && count == 0 {
            // The first lost segment goes at once.
            count = segment;
        }
        self.congestion.set_window(pipe.saturating_add(count));
    }

    /// The losses are repaired (RFC 9937 section 6: the window is what the reduction aimed at).
    pub(super) fn end_reduction(&mut self) {
        if self.sack {
            let threshold = self.congestion.ssthresh();
            self.congestion.set_window(threshold);
        }
    }
}
