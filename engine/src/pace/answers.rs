//! Whether the application may sleep while an answer from the host is due.
//!
//! A host on the same machine answers within microseconds, which is less than going to sleep and being woken by another
//! processor takes. So after the guest's bytes went to the host the application comes round a few times more before it
//! sleeps, for as long as that has met the answers. Where it does not (the host needs this very processor, or more time), it
//! is tried again ever more seldom, and only while answers come soon after all.
//!
//! Datagrams that come one behind the other are awaited alike: each sleep between two of them is an interrupt that holds up
//! their sender. And so is what the guest says to bytes that it was given: it asks again, or acknowledges them.

use super::lesson::{Lesson, Rule, Step};
use super::vigil::{Vigil, Wait};
use crate::time::{Duration, Instant};

/// The longest that the application is kept from sleeping, as time and as rounds.
const WAIT: Duration = Duration::from_micros(25);
const ROUNDS: u8 = 64;
/// An answer that took longer, sleep included, would not have been met.
const SOON: Duration = Duration::from_micros(100);

/// An answer is met, or missed.
#[derive(Debug)]
struct Met;

impl Rule for Met {
    const STEP: Step = Step::Count(1);
    const MOST: u8 = 4;
    // What is let go is answers that come soon nevertheless.
    const UNTIL_FIRST: u16 = 16;
    const FIRST_PAUSE: u16 = 16;
    const LAST_PAUSE: u16 = 1024;
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Answers {
    /// The host was given something that it has not answered yet.
    vigil: Vigil,
    lesson: Lesson<Met>,
}

impl Answers {
    /// Before the application's sleep; `gave` says that the host was given something since the last one. True when the
    /// application is to come round at once instead.
    pub(super) fn before_sleep(&mut self, gave: bool, now: Instant) -> bool {
        if gave {
            self.vigil.begin(if self.lesson.is_tried() { ROUNDS } else { 0 }, now);
        }
        match self.vigil.before_sleep(WAIT, now) {
            Wait::Awake => return true,
            Wait::Ended => self.lesson.in_vain(),
            Wait::Asleep => {}
        }
        false
    }

    /// Nothing is awaited any more.
    pub(super) fn forget(&mut self) {
        self.vigil.end();
    }

    /// The host has news.
    pub(super) fn came(&mut self, now: Instant) {
        let Some(asked) = self.vigil.since() else { return };
        if self.vigil.is_awake() {
            self.lesson.worth_it();
        } else if now - asked <= SOON {
            self.lesson.let_go();
        }
        self.vigil.end();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Exchanges whose answers come `wait` microseconds after the question, or when the application sleeps, if that is what
    /// they wait for. A round without sleep takes one. Returns how many rounds were not slept through.
    fn exchanges(answers: &mut Answers, clock: &mut i64, count: u32, wait: i64, needs_sleep: bool) -> i64 {
        let mut awake = 0;
        for _ in 0..count {
            let asked = *clock;
            let mut gave = true;
            loop {
                let stays = answers.before_sleep(std::mem::take(&mut gave), Instant::from_micros(*clock));
                awake += i64::from(stays);
                *clock = if stays { *clock + 1 } else { (asked + wait).max(*clock + 1) };
                if *clock >= asked + wait && !(stays && needs_sleep) {
                    break;
                }
            }
            answers.came(Instant::from_micros(*clock));
            *clock += 10;
        }
        awake
    }

    #[test]
    fn answers_that_can_be_met_are_waited_for_awake() {
        let (mut answers, mut clock) = (Answers::default(), 0);
        exchanges(&mut answers, &mut clock, 20, 12, false);
        assert_eq!(exchanges(&mut answers, &mut clock, 100, 12, false), 1200);
    }

    #[test]
    fn answers_that_cannot_be_met_are_slept_for() {
        for (wait, needs_sleep) in [(5, true), (60, false), (5000, false)] {
            let (mut answers, mut clock) = (Answers::default(), 0);
            exchanges(&mut answers, &mut clock, 20, 12, false);
            exchanges(&mut answers, &mut clock, 2000, wait, needs_sleep);
            let awake = exchanges(&mut answers, &mut clock, 10_000, wait, needs_sleep);
            assert!(awake <= 25 * 10, "{awake} rounds for answers after {wait}");
        }
    }

    #[test]
    fn what_is_forgotten_teaches_nothing() {
        let (mut answers, mut clock) = (Answers::default(), 0);
        exchanges(&mut answers, &mut clock, 20, 12, false);
        let trust = answers.lesson.trust();
        for _ in 0..100 {
            answers.before_sleep(true, Instant::from_micros(clock));
            answers.forget();
            answers.came(Instant::from_micros(clock));
        }
        assert_eq!((answers.lesson.trust(), answers.before_sleep(false, Instant::from_micros(clock))), (trust, false));
    }

    #[test]
    fn what_is_not_answered_is_slept_through() {
        let mut answers = Answers::default();
        for round in 0..10_000 {
            assert!(!answers.before_sleep(round % 2 == 0, Instant::from_micros(round)));
        }
    }

    #[test]
    fn a_clock_that_stands_still_does_not_keep_the_application_awake() {
        let (mut answers, mut clock) = (Answers::default(), 0);
        exchanges(&mut answers, &mut clock, 20, 12, false);
        let now = Instant::from_micros(clock);
        let awake = (0..10_000).filter(|round| answers.before_sleep(*round == 0, now)).count();
        assert!(awake <= usize::from(ROUNDS), "{awake}");
    }
}
