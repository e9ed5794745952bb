//! One queue for all deadlines of a stack.
//!
//! Each owner has at most one entry, so the queue is bounded by the flow tables. A deadline that moves *later* costs
//! nothing: the entry stays, fires early, and its owner puts it in again. Retransmission deadlines move later with
//! every segment, so this is the common case.

use std::collections::BTreeSet;

use crate::time::Instant;

/// The place of an owner's entry in the queue. Lives in the owner.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Slot(Option<Instant>);

/// The deadlines of a stack.
#[derive(Debug, Default)]
pub(crate) struct TimerQueue {
    entries: BTreeSet<(Instant, u64)>,
    /// The earliest entry's deadline, which is asked for in every round.
    next: Option<Instant>,
}

impl TimerQueue {
    /// Sees to it that `token` fires at `deadline` or earlier.
    pub(crate) fn arm(&mut self, slot: &mut Slot, deadline: Option<Instant>, token: u64) {
        let Some(deadline) = deadline else { return };
        match slot.0 {
            Some(queued) if queued <= deadline => return,
            Some(queued) => {
                self.entries.remove(&(queued, token));
            }
            None => {}
        }
        // What was taken out was later.
        self.entries.insert((deadline, token));
        self.next = Some(self.next.map_or(deadline, |next| next.min(deadline)));
        slot.0 = Some(deadline);
    }

    /// Takes the owner's entry out: to be called when the owner goes away.
    pub(crate) fn disarm(&mut self, slot: &mut Slot, token: u64) {
        if let Some(queued) = slot.0.take() {
            self.entries.remove(&(queued, token));
            self.look();
        }
    }

    fn look(&mut self) {
        self.next = self.entries.first().map(|entry| entry.0);
    }

    /// The earliest entry's deadline.
    #[inline]
    pub(crate) fn next(&self) -> Option<Instant> {
        self.next
    }

    /// Takes one entry that is due. Its owner clears its slot with [`Slot::fired`], looks at its own deadlines and arms
    /// anew.
    pub(crate) fn pop_due(&mut self, now: Instant) -> Option<u64> {
        if self.next()? > now {
            return None;
        }
        let due = self.entries.pop_first();
        self.look();
        due.map(|entry| entry.1)
    }
}

impl Slot {
    /// The owner's entry was taken from the queue.
    pub(crate) fn fired(&mut self) {
        self.0 = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: i64) -> Instant {
        Instant::from_millis(ms)
    }

    #[test]
    fn an_owner_has_one_entry_that_only_moves_earlier() {
        let mut queue = TimerQueue::default();
        let mut slot = Slot::default();
        queue.arm(&mut slot, Some(at(500)), 1);
        queue.arm(&mut slot, Some(at(900)), 1);
        assert_eq!(queue.next(), Some(at(500)));
        queue.arm(&mut slot, Some(at(200)), 1);
        queue.arm(&mut slot, None, 1);
        assert_eq!(queue.next(), Some(at(200)));
        assert_eq!(queue.pop_due(at(199)), None);
        assert_eq!(queue.pop_due(at(200)), Some(1));
        assert_eq!(queue.next(), None);
    }

    #[test]
    fn a_disarmed_owner_does_not_fire() {
        let mut queue = TimerQueue::default();
        let (mut first, mut second) = (Slot::default(), Slot::default());
        queue.arm(&mut first, Some(at(1)), 1);
        queue.arm(&mut second, Some(at(1)), 2);
        queue.disarm(&mut first, 1);
        queue.disarm(&mut first, 1);
        assert_eq!(queue.pop_due(at(5)), Some(2));
        assert_eq!(queue.pop_due(at(5)), None);
    }
}
