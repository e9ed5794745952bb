//! Whether others keep a queue that our bound of it would lose against, and what may be in flight beside them.
//!
//! What is in flight is bounded, so that a long queue stays short ([`Path::most`]). A sender that goes by losses alone fills whatever queue
//! there is, and leaves next to nothing to one that does not. Two signs together tell of it: something was lost although there was a
//! queue, and a sounding of the path shows that others hold several times what one of our kind may have in a queue. Then there may be
//! three quarters of what they have in flight. Less than all of it: two of ours that took each other for such company let go again.
//!
//! What others have follows from a sounding: our part of the queue was so many bytes shorter, round trips became shorter by so
//! much, and the quotient is the rate of the bottleneck; what it carries in the round trip that remains, less ours, is theirs.

use super::Path;
use crate::time::{Duration, Instant};

/// How many times what one of our kind may have in a queue others hold that are none of our kind, in halves: two of our kind hold
/// it twice.
const HALF_TIMES: u32 = 5;
/// A round trip that became shorter by less than this, or by a part of it, tells no rate.
const LEAST_FALL: u64 = 100;
const PART: u64 = 32;

/// A sounding that goes on.
#[derive(Clone, Copy, Debug)]
struct Question {
    /// What is sent from then on meets no more of ours than the bound, in bytes.
    drained: Instant,
    bound: u32,
    /// What was in flight when it began, in bytes, and the round trip.
    flight: u32,
    before: Duration,
    /// The least round trip of the path, as far as it was known.
    least: Duration,
}

/// See the module; it is there once something was lost behind a queue. Sizes are bytes.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Company {
    question: Option<Question>,
    /// What may be in flight beside others; 0 without them.
    may: u32,
    /// The least round trip since they were noticed: their queue hides it after a while.
    least: Option<Duration>,
}

impl Company {
    /// What may be in flight beside others that fill the queue; 0 without them.
    #[inline]
    pub(super) fn may(&self) -> u32 {
        self.may
    }

    /// A sounding begins: no more than `bound` bytes are to be in flight, in place of `flight`. The path is `least` long.
    pub(super) fn ask(&mut self, flight: u32, bound: u32, least: Duration, path: &Path) {
        let (drained, before) = (path.now + path.latest, path.latest);
        self.question = Some(Question { drained, bound, flight, before, least });
    }

    /// A round trip was measured. Whether others were noticed that had not been.
    pub(super) fn on_round_trip(&mut self, path: &Path) -> bool {
        let Some((held, flight, least)) = self.answer(path) else { return false };
        let alone = self.may == 0;
        if held / HALF_TIMES >= path.queue / 2 {
            self.may = flight / 4 * 3;
            self.least = Some(least);
        } else {
            (self.may, self.least) = (0, None);
        }
        alone && self.may > 0
    }

    /// What others hold in the queue, and what they have in flight, once a sounding has shown it; and the least round trip.
    fn answer(&mut self, path: &Path) -> Option<(u32, u32, Duration)> {
        let question = self.question?;
        if path.now - path.latest < question.drained {
            return None;
        }
        self.question = None;
        let least = self.least.into_iter().chain(path.rtt.least()).fold(question.least, Duration::min);
        let (before, after) = (question.before.total_micros(), path.latest.total_micros());
        let fall = before.saturating_sub(after);
        if fall < LEAST_FALL.max(before / PART) {
            return None;
        }
        let gone = u64::from(question.flight.saturating_sub(question.bound));
        let bytes = |micros: u64| micros.saturating_mul(gone) / fall;
        let theirs = |bytes: u64, ours: u32| bytes.saturating_sub(ours.into()).min(super::MAX_WINDOW.into()) as u32;
        // Where our part of the queue is not small, it is known.
        let ours = if self.may > 0 || !path.paced { question.bound } else { 0 };
        let held = theirs(bytes(after.saturating_sub(least.total_micros())), ours);
        Some((held, theirs(bytes(after), question.bound), least))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tcp::rtt::RttEstimator;

    const RATE: u64 = 12_500_000;
    const LEAST: Duration = Duration::from_millis(10);

    /// The round trip through a queue of so many bytes.
    fn round_trip(queue: u64) -> Duration {
        LEAST + Duration::from_micros(queue * 1_000_000 / RATE)
    }

    fn path(now: Instant, latest: Duration) -> Path {
        let mut rtt = RttEstimator::default();
        rtt.sample(Instant::ZERO, Instant::ZERO + LEAST);
        Path { now, rtt, latest, sack: true, most: 900_000, fits: 125_000, queue: 400_000, paced: true }
    }

    /// One of ours with `flight` bytes in flight, beside others that hold `held`; a sounding down to `bound`.
    fn sounded(company: &mut Company, flight: u64, bound: u64, held: u64) -> bool {
        let now = Instant::from_secs(5);
        let before = round_trip(flight + held);
        company.ask(flight as u32, bound as u32, LEAST, &path(now, before));
        // The last of what was in flight comes back: it met the whole queue.
        assert!(!company.on_round_trip(&path(now + before, before)));
        let after = round_trip(bound + held);
        company.on_round_trip(&path(now + before + after, after))
    }

    #[test]
    fn others_that_fill_the_queue_are_noticed_by_what_they_hold() {
        let mut company = Company::default();
        assert!(!sounded(&mut company, 500_000, 10_000, 900_000), "hardly more than two of our kind hold");
        assert!(sounded(&mut company, 500_000, 10_000, 3_000_000));
        assert!((2_250_000..2_450_000).contains(&company.may()), "{}", company.may());
        // Half of what is in flight is enough to see them again, and that they have gone.
        assert!(!sounded(&mut company, 1_500_000, 750_000, 2_000_000));
        assert!((1_500_000..1_700_000).contains(&company.may()), "{}", company.may());
        assert!(!sounded(&mut company, 1_500_000, 750_000, 300_000));
        assert_eq!(company.may(), 0);
    }

    /// A queue that others keep for long hides how long the path is; what was sounded before counts.
    #[test]
    fn others_whose_queue_hides_the_least_round_trip_are_noticed() {
        let others = |known| {
            let mut company = Company::default();
            let now = Instant::from_secs(5);
            let hidden = |now, latest| {
                let mut rtt = RttEstimator::default();
                rtt.sample(Instant::ZERO, Instant::ZERO + round_trip(1_500_000));
                Path { rtt, ..path(now, latest) }
            };
            let before = round_trip(500_000 + 1_800_000);
            company.ask(500_000, 10_000, known, &hidden(now, before));
            let after = round_trip(10_000 + 1_800_000);
            company.on_round_trip(&hidden(now + before + after, after))
        };
        assert!(others(LEAST));
        assert!(!others(round_trip(1_500_000)));
    }

    #[test]
    fn two_of_ours_that_take_each_other_for_company_let_go() {
        let mut both = [Company { may: 3_000_000, ..Company::default() }; 2];
        let mut flights = [3_000_000, 3_000_000];
        for turn in 0..20 {
            let (at, other) = (turn % 2, flights[1 - turn % 2]);
            sounded(&mut both[at], flights[at], flights[at] / 2, other);
            flights[at] = u64::from(both[at].may().max(400_000));
        }
        assert_eq!(both.map(|one| one.may()), [0, 0]);
    }

    #[test]
    fn a_round_trip_that_hardly_falls_tells_nothing() {
        let mut company = Company::default();
        let now = Instant::from_secs(5);
        let long = Duration::from_millis(300);
        company.ask(500_000, 10_000, LEAST, &path(now, long));
        assert!(!company.on_round_trip(&path(now + long * 2, long - Duration::from_millis(5))));
        assert!(company.question.is_none() && company.may() == 0);
    }
}
