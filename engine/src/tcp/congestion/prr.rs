//! How much is sent while losses are repaired: proportional rate reduction (RFC 9937), for a peer with selective
//! acknowledgments.

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

impl Reduction {
    /// A loss was noticed with `flight` bytes in flight.
    pub(super) fn new(flight: u32) -> Reduction {
        Reduction { flight: flight.max(1), ..Reduction::default() }
    }

    /// Bytes were sent, for the first time or again.
    #[inline]
    pub(super) fn sent(&mut self, bytes: u32) {
        self.out = self.out.saturating_add(bytes);
    }

    /// What may be sent now that `delivered` bytes more have arrived and `pipe` bytes are on their way. `safe`: the
    /// acknowledgment advanced and told of no further loss.
    pub(super) fn allows(&mut self, delivered: u32, safe: bool, pipe: u32, threshold: u32, segment: u32) -> u32 {
        self.delivered = self.delivered.saturating_add(delivered);
        let count = if pipe > threshold {
            let share = (u64::from(self.delivered) * u64::from(threshold)).div_ceil(u64::from(self.flight.max(1)));
            (share.min(u64::from(u32::MAX)) as u32).saturating_sub(self.out)
        } else {
            let bound = self.delivered.saturating_sub(self.out).max(delivered);
            bound.saturating_add(if safe { segment } else { 0 }).min(threshold - pipe)
        };
        // The first lost segment goes at once.
        if self.out == 0 && count == 0 { segment } else { count }
    }
}
