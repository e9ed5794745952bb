//! The highest rate of late: what was delivered fastest in this period and the one before it. Whoever asks says when a period
//! ends.

/// Bytes a second; 0 before anything was measured.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::tcp) struct MaxRate {
    current: u64,
    previous: u64,
}

impl MaxRate {
    #[inline]
    pub(in crate::tcp) fn get(&self) -> u64 {
        self.current.max(self.previous)
    }

    #[inline]
    pub(in crate::tcp) fn note(&mut self, rate: u64) {
        self.current = self.current.max(rate);
    }

    /// A period ends, if anything was measured in it.
    pub(in crate::tcp) fn advance(&mut self) {
        if self.current > 0 {
            self.previous = self.current;
            self.current = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_of_two_periods_counts() {
        let mut rate = MaxRate::default();
        rate.note(50);
        rate.advance();
        rate.note(20);
        assert_eq!(rate.get(), 50);
        rate.advance();
        rate.advance();
        assert_eq!(rate.get(), 20, "a period without a measurement takes nothing away");
    }
}
