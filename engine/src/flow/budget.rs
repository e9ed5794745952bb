//! How much of its work one call of the application may still do, counted in frames for the guest and in bytes that are
//! copied (into frames, from hosts and to hosts).
//!
//! Every frame goes through the outbox, which counts all that it was ever given; the budget is the number that this
//! count may reach. So it stays right while frames are taken out, and no function has to pass on how much is left.
//! Whoever makes many frames asks [`FrameBudget::room`], and goes on in a later turn when there is none.

use crate::link::outbox::Outbox;

/// See the module.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FrameBudget {
    /// What the round may come to.
    round: Ends,
    /// What the call may come to whatever the round has left.
    least: Ends,
    /// Bytes that were moved beside frames, ever.
    moved: u64,
}

/// How many frames there may be in the end, and how many bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ends {
    frames: u64,
    bytes: u64,
}

impl Default for FrameBudget {
    /// No bound at all.
    fn default() -> FrameBudget {
        FrameBudget { round: Ends { frames: u64::MAX, bytes: u64::MAX }, least: Ends { frames: 0, bytes: 0 }, moved: 0 }
    }
}

impl FrameBudget {
    /// A round begins, with so many frames and bytes.
    pub(crate) fn begin_round(&mut self, outbox: &Outbox, frames: u32, bytes: u32) {
        self.round = self.ends_after(outbox, frames, bytes);
        self.least = Ends { frames: 0, bytes: 0 };
    }

    /// Whatever comes now may make so many frames and move so many bytes, even if the round has less left.
    #[inline]
    pub(crate) fn allow(&mut self, outbox: &Outbox, frames: u32, bytes: u32) {
        self.least = self.ends_after(outbox, frames, bytes);
    }

    /// Takes away half of what the round has left, until it is given back by [`FrameBudget::give_back`].
    pub(crate) fn halve(&mut self, outbox: &Outbox) -> Ends {
        let now = self.now(outbox);
        let half = |end: u64, now: u64| now.saturating_add(end.saturating_sub(now).div_ceil(2));
        let (frames, bytes) = (half(self.round.frames, now.frames), half(self.round.bytes, now.bytes));
        std::mem::replace(&mut self.round, Ends { frames, bytes })
    }

    /// See [`FrameBudget::halve`].
    pub(crate) fn give_back(&mut self, ends: Ends) {
        self.round = ends;
    }

    /// Whether the round has nothing left.
    pub(crate) fn is_spent(&self, outbox: &Outbox) -> bool {
        let now = self.now(outbox);
        now.frames >= self.round.frames || now.bytes >= self.round.bytes
    }

    /// How many frames may still be made. The one that uses up the bytes may be longer than they are.
    pub(crate) fn room(&self, outbox: &Outbox) -> usize {
        let now = self.now(outbox);
        if now.bytes >= self.round.bytes.max(self.least.bytes) {
            return 0;
        }
        let frames = self.round.frames.max(self.least.frames).saturating_sub(now.frames);
        usize::try_from(frames).unwrap_or(usize::MAX)
    }

    /// So many bytes came from a host or went to one; or something was done that takes as long.
    #[inline]
    pub(crate) fn moved(&mut self, bytes: usize) {
        self.moved += bytes as u64;
    }

    fn now(&self, outbox: &Outbox) -> Ends {
        Ends { frames: outbox.frames_ever(), bytes: outbox.bytes_ever() + self.moved }
    }

    fn ends_after(&self, outbox: &Outbox, frames: u32, bytes: u32) -> Ends {
        let now = self.now(outbox);
        Ends { frames: now.frames + u64::from(frames), bytes: now.bytes + u64::from(bytes) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn push(outbox: &mut Outbox, frames: usize) {
        for _ in 0..frames {
            outbox.push(1000, |_| Some(()));
        }
    }

    #[test]
    fn what_is_taken_out_stays_counted() {
        let (mut budget, mut outbox) = (FrameBudget::default(), Outbox::default());
        assert!(budget.room(&outbox) > 1 << 31);
        budget.begin_round(&outbox, 10, 10_000);
        push(&mut outbox, 4);
        outbox.clear();
        assert_eq!(budget.room(&outbox), 6);
        push(&mut outbox, 6);
        outbox.clear();
        assert_eq!((budget.room(&outbox), budget.is_spent(&outbox)), (0, true));
        // A frame of the guest may cause a little nevertheless, and each one anew.
        budget.allow(&outbox, 2, 16_000);
        assert_eq!((budget.room(&outbox), budget.is_spent(&outbox)), (2, true));
        budget.moved(16_000);
        assert_eq!(budget.room(&outbox), 0);
        budget.allow(&outbox, 2, 16_000);
        assert_eq!(budget.room(&outbox), 2);
        budget.begin_round(&outbox, 10, 100_000);
        assert_eq!(budget.room(&outbox), 10);
    }

    #[test]
    fn half_of_a_round_is_kept_for_others() {
        let (mut budget, mut outbox) = (FrameBudget::default(), Outbox::default());
        budget.begin_round(&outbox, 10, 100_000);
        let kept = budget.halve(&outbox);
        assert_eq!(budget.room(&outbox), 5);
        push(&mut outbox, 5);
        assert_eq!(budget.room(&outbox), 0);
        budget.give_back(kept);
        assert_eq!(budget.room(&outbox), 5);
        // What was moved counts as what went into frames does.
        let kept = budget.halve(&outbox);
        budget.moved(50_000);
        assert_eq!(budget.room(&outbox), 0);
        budget.give_back(kept);
        assert_eq!(budget.room(&outbox), 5);
        budget.moved(50_000);
        assert!(budget.is_spent(&outbox));
    }
}
