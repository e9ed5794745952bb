//! Whether a round of the application's loop asks the poller.
//!
//! That is a system call, and the application has mostly seen already whether the poller has news. But what it saw is older
//! than the frames that it brought: a connect may have been done at once, and a host on the same machine may have answered
//! while its question was being sent. Asking then saves a round; asking in vain costs about as much. So it is tried now and
//! then, and goes on for as long as there are answers.
//!
//! But where several ask at once, as the connections of a browser or a proxy do, the next frame brings the next question: all of them are
//! heard first and the answers taken together. To take each question to its host and each answer to the guest by itself wakes both of them for
//! each. Whether the next frame is a further question, or follows from the answer to this one, shows where an answer is not asked for: now and
//! then it is not.

use super::lesson::{Lesson, Rule, Step};

/// What the application saw of the poller's descriptor while it slept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Glance {
    /// It does not tell.
    Unknown,
    /// Nothing: no host socket had news.
    Quiet,
    /// Something: a host socket has news.
    News,
}

/// Rounds for which the poller is not asked, at most, when the application does not tell what it saw and frames keep
/// coming (slirp4netns, which reports an error after every frame), and when it says that there was nothing.
const UNASKED: u8 = 31;
/// Frames after which it is tried again whether several ask at once, and how often that is believed without a sign of it.
const TRIED_EACH: u8 = 16;
const SEVERAL: u8 = 8;

/// The poller, asked on the off chance, has news or none.
#[derive(Debug)]
struct OffChance;

impl Rule for OffChance {
    const STEP: Step = Step::Count(4);
    const MOST: u8 = 16;
    // Without trust it is asked all the same when it was not for long.
    const UNTIL_FIRST: u16 = 0;
    const FIRST_PAUSE: u16 = 0;
    const LAST_PAUSE: u16 = 0;
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Asking {
    /// Rounds in which the poller was not asked, since it was last asked although the application had seen no news.
    unasked: u8,
    lesson: Lesson<OffChance>,
    /// It is being asked on the off chance, and the answer says something of the next time.
    tried: bool,
    /// So often it may still be believed that several ask at once.
    several: u8,
    /// Frames since that was tried.
    untried: u8,
    /// The answer was left for the next round, which shows whether a frame comes without it.
    left: bool,
}

impl Asking {
    /// Whether to ask in a round that brought `frames`, the so many-th in a row that brought some, and in which a stream was made or not.
    pub(super) fn is_due(&mut self, glance: Glance, frames: u32, run: u64, new_stream: bool) -> bool {
        let off_chance = frames > 0 && glance != Glance::News;
        if std::mem::take(&mut self.left) {
            self.several = if frames > 0 { SEVERAL } else { self.several / 2 };
        }
        let may_wait = match glance {
            Glance::News => 0,
            Glance::Unknown if frames == 0 => 0,
            _ if new_stream || (off_chance && self.lesson.trust() > 0 && !self.leaves(run)) => 0,
            Glance::Unknown | Glance::Quiet => UNASKED,
        };
        if self.unasked < may_wait {
            self.unasked += 1;
            return false;
        }
        // Rounds with news do not count, or a host that answers at once would never be found out.
        if may_wait > 0 {
            self.unasked = 0;
        }
        // A new stream soon has news in any case: that it is connected.
        self.tried = off_chance && !new_stream;
        true
    }

    /// Whether the answer to a frame, the so many-th in a row, is left for the next round.
    fn leaves(&mut self, run: u64) -> bool {
        self.untried = self.untried.saturating_add(1);
        // At the beginning of a row it shows most, but a row need not end.
        let is_tried = self.untried >= if run == 2 { TRIED_EACH } else { 4 * TRIED_EACH };
        self.left = run > 1 && (self.several > 0 || is_tried);
        if self.left {
            self.untried = 0;
        }
        self.left
    }

    /// Rounds without frames and news in which [`Asking::is_due`] would say no, one behind the other.
    pub(super) fn left(&self) -> u8 {
        UNASKED.saturating_sub(self.unasked)
    }

    /// So many of them have passed.
    pub(super) fn pass(&mut self, rounds: u8) {
        self.unasked = self.unasked.saturating_add(rounds);
    }

    /// Whether there was any news.
    pub(super) fn answered(&mut self, any: bool) {
        if std::mem::take(&mut self.tried) {
            if any { self.lesson.worth_it() } else { self.lesson.in_vain() }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs rounds with one frame each, after each of which the application is told of news in a further round unless the
    /// poller was asked and had the answer. How often it was asked in the rounds with frames.
    fn exchanges(asking: &mut Asking, count: u32, answered_at_once: impl Fn(u32) -> bool) -> u32 {
        let mut asked = 0;
        for round in 0..count {
            let mut done = false;
            if asking.is_due(Glance::Quiet, 1, 1, false) {
                asked += 1;
                done = answered_at_once(round);
                asking.answered(done);
            }
            if !done {
                assert!(asking.is_due(Glance::News, 0, 0, false));
                asking.answered(true);
            }
        }
        asked
    }

    #[test]
    fn a_host_that_answers_at_once_is_found_out_and_the_poller_asked_each_time() {
        let mut asking = Asking::default();
        exchanges(&mut asking, 40, |_| true);
        assert_eq!(exchanges(&mut asking, 100, |_| true), 100);
        // Now and then an answer takes longer.
        assert_eq!(exchanges(&mut asking, 100, |round| round % 3 != 0), 100);
    }

    #[test]
    fn a_host_that_takes_longer_is_hardly_asked_for() {
        let mut asking = Asking::default();
        exchanges(&mut asking, 40, |_| true);
        exchanges(&mut asking, 40, |_| false);
        let asked = exchanges(&mut asking, 320, |_| false);
        assert!((1..=10).contains(&asked), "{asked}");
    }

    #[test]
    fn what_the_application_saw_and_a_new_stream_are_looked_at_at_once() {
        let mut asking = Asking::default();
        for _ in 0..3 {
            assert!(asking.is_due(Glance::News, 0, 0, false) && asking.is_due(Glance::News, 5, 1, false));
            assert!(asking.is_due(Glance::Unknown, 0, 0, false));
            assert!(asking.is_due(Glance::Quiet, 1, 1, true) && asking.is_due(Glance::Unknown, 1, 1, true));
            assert!(!asking.is_due(Glance::Quiet, 0, 0, false) && !asking.is_due(Glance::Quiet, 1, 1, false));
        }
    }

    #[test]
    fn an_application_that_never_sees_news_is_not_believed_for_ever() {
        let mut asking = Asking::default();
        let due = (0..320).filter(|_| asking.is_due(Glance::Quiet, 0, 0, false)).count();
        assert_eq!(due, 10);
        let mut asking = Asking::default();
        let due = (0..320).filter(|_| asking.is_due(Glance::Unknown, 1, 1, false)).count();
        assert_eq!(due, 10);
    }

    #[test]
    fn questions_that_come_in_a_row_are_heard_before_the_poller_is_asked() {
        for glance in [Glance::Unknown, Glance::Quiet] {
            let mut asking = Asking::default();
            exchanges(&mut asking, 40, |_| true);
            let news = if glance == Glance::Quiet { Glance::News } else { glance };
            let mut asked = Vec::new();
            for _ in 0..20 {
                asked.push((1..=8).filter(|run| asking.is_due(glance, 1, *run, false)).count());
                assert!(asking.is_due(news, 0, 0, false), "that was all");
                asking.answered(true);
            }
            // The first of them may be the only one.
            let asked: usize = asked[4..].iter().sum();
            assert!((16..=24).contains(&asked), "{asked} times for 128 frames, {glance:?}");
            // A guest that never stops does not keep the hosts waiting for ever.
            let due = (2..322).filter(|run| asking.is_due(glance, 1, *run, false)).count();
            assert_eq!(due, 10);
        }
    }

    /// Each round brings a question and has its answer, so that a further frame says nothing of others.
    #[test]
    fn one_who_is_answered_within_the_round_is_so_although_he_asks_in_each() {
        let mut asking = Asking::default();
        exchanges(&mut asking, 40, |_| true);
        let (mut at_once, mut run) = (0, 0);
        for _ in 0..1600 {
            run += 1;
            if asking.is_due(Glance::Unknown, 1, run, false) {
                at_once += 1;
            } else {
                assert!(asking.is_due(Glance::Unknown, 0, 0, false));
                run = 0;
            }
            asking.answered(true);
        }
        assert!(at_once >= 1490, "{at_once}");
    }
}
