//! What experience says of something that costs a little each time and may be worth it or be in vain.
//!
//! Whether an answer can be waited for awake, whether the poller has news, whether more comes behind a segment: nobody can
//! be asked, so it is tried. What was worth it is done again, through a number of failures, as a single one says little. What
//! was in vain is tried ever more seldom, until it is worth it once more.

use std::marker::PhantomData;

/// What is particular to one lesson.
pub(super) trait Rule {
    /// What a trial changes.
    const STEP: Step;
    /// The most trust.
    const MOST: u8;
    /// Occasions that are let go before the first trial.
    const UNTIL_FIRST: u16;
    /// Occasions from one trial to the next once there is no trust, at first and at most: twice as many each time.
    const FIRST_PAUSE: u16;
    const LAST_PAUSE: u16;
}

/// How trust comes and goes.
pub(super) enum Step {
    /// So much comes at a time, and one goes.
    Count(u8),
    /// It doubles, to this at least, and goes by halves.
    Double(u8),
}

/// See the module.
#[derive(Debug)]
pub(super) struct Lesson<R> {
    /// How much failure is put up with; where the rule counts rounds, how many.
    trust: u8,
    /// Occasions to be let go before the next trial without trust.
    left: u16,
    /// The same after the next failure.
    pause: u16,
    rule: PhantomData<R>,
}

impl<R: Rule> Default for Lesson<R> {
    fn default() -> Lesson<R> {
        Lesson { trust: 0, left: R::UNTIL_FIRST, pause: R::FIRST_PAUSE, rule: PhantomData }
    }
}

impl<R: Rule> Lesson<R> {
    pub(super) fn trust(&self) -> u8 {
        self.trust
    }

    /// Whether it is tried on this occasion: by trust, or because it was not for long enough.
    pub(super) fn is_tried(&self) -> bool {
        self.trust > 0 || self.left == 0
    }

    /// An occasion that counts was let go.
    pub(super) fn let_go(&mut self) {
        self.left = self.left.saturating_sub(1);
    }

    /// It was worth it.
    pub(super) fn worth_it(&mut self) {
        self.trust = match R::STEP {
            Step::Count(more) => self.trust.saturating_add(more),
            Step::Double(least) => self.trust.saturating_mul(2).max(least),
        }
        .min(R::MOST);
        self.pause = R::FIRST_PAUSE;
    }

    /// It was in vain.
    pub(super) fn in_vain(&mut self) {
        self.trust = match R::STEP {
            Step::Count(_) => self.trust.saturating_sub(1),
            Step::Double(_) => self.trust / 2,
        };
        if self.trust == 0 {
            self.left = self.pause;
            self.pause = self.pause.saturating_mul(2).min(R::LAST_PAUSE);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Counted;
    impl Rule for Counted {
        const STEP: Step = Step::Count(2);
        const MOST: u8 = 3;
        const UNTIL_FIRST: u16 = 1;
        const FIRST_PAUSE: u16 = 2;
        const LAST_PAUSE: u16 = 16;
    }

    #[derive(Debug)]
    struct Doubled;
    impl Rule for Doubled {
        const STEP: Step = Step::Double(8);
        const MOST: u8 = 200;
        const UNTIL_FIRST: u16 = 0;
        const FIRST_PAUSE: u16 = 0;
        const LAST_PAUSE: u16 = 0;
    }

    /// Occasions that are let go until the next trial.
    fn pause(lesson: &mut Lesson<Counted>) -> u32 {
        let mut count = 0;
        while !lesson.is_tried() {
            lesson.let_go();
            count += 1;
        }
        count
    }

    #[test]
    fn what_is_in_vain_is_tried_ever_more_seldom_until_it_is_worth_it() {
        let mut lesson = Lesson::<Counted>::default();
        let mut pauses = Vec::new();
        for _ in 0..6 {
            pauses.push(pause(&mut lesson));
            lesson.in_vain();
        }
        assert_eq!(pauses, [1, 2, 4, 8, 16, 16]);
        pause(&mut lesson);
        lesson.worth_it();
        lesson.in_vain();
        assert!(lesson.is_tried(), "one failure says little");
        lesson.in_vain();
        assert_eq!(pause(&mut lesson), 2, "and the pauses begin anew");
    }

    #[test]
    fn trust_has_a_bound() {
        let mut lesson = Lesson::<Counted>::default();
        for _ in 0..100 {
            lesson.worth_it();
        }
        assert_eq!(lesson.trust(), 3);
    }

    #[test]
    fn trust_that_doubles_goes_by_halves() {
        let mut lesson = Lesson::<Doubled>::default();
        let mut seen = Vec::new();
        for _ in 0..6 {
            lesson.worth_it();
            seen.push(lesson.trust());
        }
        for _ in 0..9 {
            lesson.in_vain();
            seen.push(lesson.trust());
        }
        assert_eq!(seen, [8, 16, 32, 64, 128, 200, 100, 50, 25, 12, 6, 3, 1, 0, 0]);
        lesson.worth_it();
        assert_eq!(lesson.trust(), 8);
    }
}
