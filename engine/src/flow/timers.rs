//! One queue for all deadlines of a stack.
//!
//! Each flow has at most one entry, so the queue is bounded by the flow tables. A deadline that moves *later* costs
//! nothing: the entry stays, fires early, and the flow puts it in again. Retransmission deadlines move later with
//! every segment, so this is the common case. What is no flow's has a place of its own.

use std::collections::BTreeSet;

use crate::time::{Instant, earliest};

/// The deadlines of no flow, in the order in which they are met: before those of flows, whichever was due earlier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Own {
    /// Neighbors that do not answer: flows that wait for one may then try another, so these come first.
    Neighbors,
    /// Packets of which fragments are missing.
    Fragments,
    /// Transfers of files.
    Tftp,
    /// The router, of which the guest is to be told now and then.
    Advertisement,
    /// What is recorded, which is to be written.
    #[cfg(feature = "capture")]
    Records,
    /// What was asked for by the control socket, and is not done yet.
    #[cfg(feature = "control")]
    Attendant,
}

impl Own {
    const ALL: [Own; 4 + cfg!(feature = "capture") as usize + cfg!(feature = "control") as usize] = [
        Own::Neighbors,
        Own::Fragments,
        Own::Tftp,
        Own::Advertisement,
        #[cfg(feature = "capture")]
        Own::Records,
        #[cfg(feature = "control")]
        Own::Attendant,
    ];
}

/// Whose deadline has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Due {
    Own(Own),
    /// The flow with this token.
    Flow(u64),
}

/// The place of a flow's entry in the queue. Lives in the table of the flow.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Slot(Option<Instant>);

/// Stands for a deadline that there is not. (Options would do, but code made of their smallest one looks at what the empty ones do
/// not hold; that is harmless, and memcheck cannot know.)
const NEVER: Instant = Instant::from_micros(i64::MAX);

/// The deadlines of a stack.
#[derive(Debug)]
pub(crate) struct TimerQueue {
    own: [Instant; Own::ALL.len()],
    /// The earliest of these: flows' deadlines come and go far more often.
    earliest_own: Instant,
    entries: BTreeSet<(Instant, u64)>,
    /// The earliest of all, which is asked for in every round.
    next: Option<Instant>,
}

impl Default for TimerQueue {
    fn default() -> TimerQueue {
        TimerQueue { own: [NEVER; Own::ALL.len()], earliest_own: NEVER, entries: BTreeSet::new(), next: None }
    }
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

    /// Takes the entry of a flow out: to be called when the flow goes away.
    pub(crate) fn disarm(&mut self, slot: &mut Slot, token: u64) {
        if let Some(queued) = slot.0.take() {
            self.entries.remove(&(queued, token));
            self.look();
        }
    }

    /// Sets one of the stack's own deadlines, or takes it out.
    #[inline]
    pub(crate) fn set(&mut self, own: Own, deadline: Option<Instant>) {
        let deadline = deadline.unwrap_or(NEVER);
        if let Some(place) = self.own.get_mut(own as usize)
            && *place != deadline
        {
            *place = deadline;
            self.look_at_own();
            self.look();
        }
    }

    fn look_at_own(&mut self) {
        self.earliest_own = self.own.into_iter().fold(NEVER, Instant::min);
    }

    fn look(&mut self) {
        let own = if self.earliest_own == NEVER { None } else { Some(self.earliest_own) };
        self.next = earliest(own, self.entries.first().map(|entry| entry.0));
    }

    /// The earliest deadline.
    #[inline]
    pub(crate) fn next(&self) -> Option<Instant> {
        self.next
    }

    /// Takes out one deadline that is due: the stack's own ones first, in their order. Its owner looks at its deadlines anew
    /// and puts in the next one; a flow clears its slot with [`Slot::fired`] before that.
    pub(crate) fn pop_due(&mut self, now: Instant) -> Option<Due> {
        if self.next()? > now {
            return None;
        }
        let due = match self.pop_own(now) {
            Some(own) => Due::Own(own),
            None => Due::Flow(self.entries.pop_first()?.1),
        };
        self.look();
        Some(due)
    }

    fn pop_own(&mut self, now: Instant) -> Option<Own> {
        if self.earliest_own > now {
            return None;
        }
        let due = Own::ALL.into_iter().zip(&mut self.own).find(|(_, place)| **place <= now && **place != NEVER);
        let own = due.map(|(own, place)| {
            *place = NEVER;
            own
        });
        self.look_at_own();
        own
    }
}

impl Slot {
    /// The flow's entry was taken from the queue.
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
    fn a_flow_has_one_entry_that_only_moves_earlier() {
        let mut queue = TimerQueue::default();
        let mut slot = Slot::default();
        queue.arm(&mut slot, Some(at(500)), 1);
        queue.arm(&mut slot, Some(at(900)), 1);
        assert_eq!(queue.next(), Some(at(500)));
        queue.arm(&mut slot, Some(at(200)), 1);
        queue.arm(&mut slot, None, 1);
        assert_eq!(queue.next(), Some(at(200)));
        assert_eq!(queue.pop_due(at(199)), None);
        assert_eq!(queue.pop_due(at(200)), Some(Due::Flow(1)));
        assert_eq!(queue.next(), None);
    }

    #[test]
    fn a_disarmed_flow_does_not_fire() {
        let mut queue = TimerQueue::default();
        let (mut first, mut second) = (Slot::default(), Slot::default());
        queue.arm(&mut first, Some(at(1)), 1);
        queue.arm(&mut second, Some(at(1)), 2);
        queue.disarm(&mut first, 1);
        queue.disarm(&mut first, 1);
        assert_eq!(queue.pop_due(at(5)), Some(Due::Flow(2)));
        assert_eq!(queue.pop_due(at(5)), None);
    }

    #[test]
    fn the_own_deadlines_come_first_and_in_their_order() {
        let mut queue = TimerQueue::default();
        queue.arm(&mut Slot::default(), Some(at(1)), 7);
        queue.set(Own::Tftp, Some(at(2)));
        queue.set(Own::Neighbors, Some(at(3)));
        queue.set(Own::Fragments, Some(at(9)));
        assert_eq!(queue.next(), Some(at(1)));
        let due: Vec<Due> = std::iter::from_fn(|| queue.pop_due(at(5))).collect();
        assert_eq!(due, [Due::Own(Own::Neighbors), Due::Own(Own::Tftp), Due::Flow(7)]);
        assert_eq!(queue.next(), Some(at(9)));
        queue.set(Own::Fragments, None);
        assert_eq!((queue.next(), queue.pop_due(at(10))), (None, None));
    }

    #[test]
    fn each_own_deadline_has_a_place() {
        for (at, own) in Own::ALL.into_iter().enumerate() {
            assert_eq!(own as usize, at);
        }
    }
}
