//! Whether the application may sleep while an answer from the host is due.
//!
//! A host on the same machine answers within microseconds, which is less than going to sleep and being woken by another
//! processor takes. So after the guest's bytes went to the host the application comes round a few times more before it
//! sleeps, for as long as that has met the answers. Where it does not (the host needs this very processor, or more time), it
//! is tried again ever more seldom, and only while answers come soon after all.
//!
//! Datagrams that come one behind the other are awaited alike: each sleep between two of them is an interrupt that holds up
//! their sender.

use crate::time::{Duration, Instant};

/// The longest that the application is kept from sleeping, as time and as rounds: its clock may stand still.
const WAIT: Duration = Duration::from_micros(25);
const ROUNDS: u8 = 64;
/// An answer that took longer, sleep included, would not have been met.
const SOON: Duration = Duration::from_micros(100);
/// How often in a row an answer may be missed, at most, before the application sleeps again.
const MOST_TRUST: u8 = 4;
/// Answers that come soon from one try to the next, at first and at most.
const FIRST_PAUSE: u16 = 16;
const LAST_PAUSE: u16 = 1024;

/// See the module.
#[derive(Debug)]
pub(super) struct Answers {
    /// When the host was last given something that was not answered yet.
    asked: Option<Instant>,
    /// Rounds without sleep that are left.
    left: u8,
    /// The answer was not met, or not waited for.
    slept: bool,
    /// How many answers may yet be missed.
    trust: u8,
    /// Answers from one try to the next, and until the next.
    pause: u16,
    until_try: u16,
}

impl Default for Answers {
    fn default() -> Answers {
        Answers { asked: None, left: 0, slept: false, trust: 0, pause: FIRST_PAUSE, until_try: FIRST_PAUSE }
    }
}

impl Answers {
    /// Before the application's sleep; `gave` says that the host was given something since the last one. True when the
    /// application is to come round at once instead.
    pub(super) fn before_sleep(&mut self, gave: bool, now: Instant) -> bool {
        if gave {
            self.asked = Some(now);
            self.slept = self.trust == 0 && self.until_try > 0;
            self.left = ROUNDS;
        }
        let Some(asked) = self.asked else { return false };
        if self.slept {
            return false;
        }
        if self.left > 0 && now - asked < WAIT {
            self.left -= 1;
            return true;
        }
        self.slept = true;
        self.trust = self.trust.saturating_sub(1);
        if self.trust == 0 {
            self.until_try = self.pause;
            self.pause = (self.pause * 2).min(LAST_PAUSE);
        }
        false
    }

    /// Nothing is awaited any more.
    pub(super) fn forget(&mut self) {
        self.asked = None;
    }

    /// The host has news.
    pub(super) fn came(&mut self, now: Instant) {
        let Some(asked) = self.asked.take() else { return };
        if !self.slept {
            self.trust = (self.trust + 1).min(MOST_TRUST);
            self.pause = FIRST_PAUSE;
        } else if now - asked <= SOON {
            self.until_try = self.until_try.saturating_sub(1);
        }
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
        let trust = answers.trust;
        for _ in 0..100 {
            answers.before_sleep(true, Instant::from_micros(clock));
            answers.forget();
            answers.came(Instant::from_micros(clock));
        }
        assert_eq!((answers.trust, answers.before_sleep(false, Instant::from_micros(clock))), (trust, false));
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
