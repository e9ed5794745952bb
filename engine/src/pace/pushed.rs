//! Whether a segment that the guest has pushed waits for those behind it.
//!
//! PSH says that a write has ended, not that the guest waits for an answer. Linux sets it on the last segment of a write,
//! simple stacks and small writes on each one; and each segment that is given to the host by itself costs as much as a batch.
//! So the first one after a silence goes at once, and one that follows another of its connection in the same round, or in a
//! run of rounds that each brought a frame, waits for the end of that. A guest that sends one segment and waits for its
//! acknowledgment gains nothing by that: where nothing came behind the one that waited, the next ones go at once, ever more
//! of them.

use super::lesson::{Lesson, Rule, Step};
use super::run::Run;

/// More comes behind a pushed segment that waits, or nothing.
#[derive(Debug)]
struct Followed;

impl Rule for Followed {
    // One that waited in vain kept the guest waiting: there is no trust.
    const STEP: Step = Step::Count(0);
    const MOST: u8 = 0;
    const UNTIL_FIRST: u16 = 0;
    const FIRST_PAUSE: u16 = 2;
    const LAST_PAUSE: u16 = 256;
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Pushed {
    /// The round in which the last one came.
    last: Option<u64>,
    /// Those that wait.
    waiting: u16,
    lesson: Lesson<Followed>,
}

impl Pushed {
    /// A pushed segment has come; true when it is to wait.
    pub(super) fn waits(&mut self, run: &Run) -> bool {
        let follows = self.last.replace(run.round()).is_some_and(|round| run.has(round));
        if !follows {
            return false;
        }
        if self.waiting == 0 {
            self.lesson.let_go();
            if !self.lesson.is_tried() {
                return false;
            }
        }
        self.waiting = self.waiting.saturating_add(1);
        true
    }

    /// Whether one waits.
    pub(super) fn is_waiting(&self) -> bool {
        self.waiting > 0
    }

    /// Whatever was staged goes to the host.
    pub(super) fn handed_over(&mut self) {
        match std::mem::take(&mut self.waiting) {
            0 => {}
            1 => self.lesson.in_vain(),
            _ => self.lesson.worth_it(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_after_a_silence_goes_and_those_behind_it_wait() {
        let (mut run, mut pushed) = (Run::default(), Pushed::default());
        for frames in [3, 1, 1, 0, 0, 5, 0] {
            let silence = !pushed.last.is_some_and(|round| run.has(round));
            assert_eq!((pushed.waits(&run), pushed.is_waiting()), (!silence, !silence));
            assert!(pushed.waits(&run) && pushed.waits(&run));
            pushed.handed_over();
            assert!(!pushed.is_waiting());
            run.round_ended(frames);
        }
    }

    #[test]
    fn who_waits_in_vain_waits_ever_more_seldom_until_it_is_worth_it() {
        let (mut run, mut pushed) = (Run::default(), Pushed::default());
        let mut waited = 0;
        for _ in 0..1000 {
            waited += u32::from(pushed.waits(&run));
            pushed.handed_over();
            run.round_ended(1);
        }
        // After 1, 3, 7 … 255 and then each 255 that went at once.
        assert_eq!(waited, 10);
        while !pushed.waits(&run) {}
        assert!(pushed.waits(&run));
        pushed.handed_over();
        assert!(pushed.waits(&run) && pushed.waits(&run));
    }
}
