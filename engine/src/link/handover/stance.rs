//! What a round of the application's loop may give.

use crate::link::outbox::Pricing;
use crate::time::{Duration, Instant};

/// How long frames are held so that everything that was given is read, in time and in rounds (a clock may stand still): a
/// guest that has something to say with each of ours would put it off for ever.
const LONGEST_DRAIN: Duration = Duration::from_millis(4);
const DRAIN_ROUNDS: u32 = 4096;
/// From one that came to nothing to the next, at first and at most.
const FIRST_REST: Duration = Duration::from_millis(4);
const LAST_REST: Duration = Duration::from_millis(500);
/// The most between two trials of which the first was too short for the guest's own window, in the time that frames were held for it: such
/// a window may grow at any time, and the trials cost little. (One that losses keep small does not, and there they cost a lot.)
const REST_PER_HOLD: u32 = 64;

/// By how much a frame of a trial may be longer than the first one.
const SLACK: u64 = 160;

/// What a round may give.
#[derive(Debug)]
pub(super) enum Stance {
    /// All: the caller takes the frames itself.
    Off,
    /// All: the application never sleeps, as far as can be found out.
    Free,
    /// What keeps within the limit.
    Bound,
    /// A little beyond, from this position on.
    Step(u64),
    /// Nothing, so that a trial can be made.
    Draining(Drain),
    /// A burst.
    Trial(Trial),
}

impl Stance {
    /// The drain that is going on.
    pub(super) fn drain(&mut self) -> Option<Drain> {
        match self {
            Stance::Draining(drain) => Some(*drain),
            _ => None,
        }
    }
}

/// A burst whose length is what it tests.
///
/// Beyond what a queue holds in any case go at most as many frames as the queue towards us holds of the guest's longest, and
/// all about as long: before the other end can fall asleep in a write it has then taken out as much as is beyond.
#[derive(Debug)]
pub(super) struct Trial {
    /// Position up to which frames are held in any case, and where the burst ends.
    held: u64,
    end: u64,
    /// How many frames may go beyond.
    beyond: u64,
    /// What each frame costs, once one was given; 0 when they are not all alike.
    cost: Option<u64>,
    pricing: Pricing,
    /// What was given since something was taken.
    given: u64,
    /// What was taken in one go: without a sleep, and with the thread on its processor all the time. In bytes, or in what they
    /// cost sockets.
    taken: u64,
    /// What was taken at all.
    sum: u64,
    /// The guest's window ended it.
    ended: bool,
}

impl Trial {
    /// A burst of so much from a position on.
    pub(super) fn new(from: u64, held: u64, burst: u64, beyond: u64, pricing: Pricing) -> Trial {
        Trial {
            held: from + held,
            end: from + burst,
            beyond,
            cost: None,
            pricing,
            given: 0,
            taken: 0,
            sum: 0,
            ended: false,
        }
    }

    /// Whether a frame of this cost may go when those before it end at position `start`.
    pub(super) fn fits(&self, start: u64, cost: u64) -> bool {
        start < self.end
            && self.cost.is_none_or(|first| are_alike(first, cost))
            && start.saturating_sub(self.held) < self.beyond.saturating_mul(cost)
    }

    /// A frame of this cost is given.
    pub(super) fn given(&mut self, cost: u64) {
        self.given = self.given.saturating_add(cost);
        let first = *self.cost.get_or_insert(cost);
        if !are_alike(first, cost) {
            self.cost = Some(0);
        }
    }

    /// What was given was taken, and had so many bytes; the thread was preempted meanwhile, or not.
    pub(super) fn on_taken(&mut self, bytes: usize, preempted: bool) {
        let cost = std::mem::take(&mut self.given);
        let taken = if self.pricing == Pricing::Sockets { cost } else { bytes as u64 };
        self.sum = self.sum.saturating_add(taken);
        self.taken = if preempted { 0 } else { self.taken.saturating_add(taken) };
    }

    /// The guest takes no more for the time being.
    pub(super) fn on_full_window(&mut self) {
        self.ended = true;
    }

    /// Whether the guest's window ended it.
    pub(super) fn is_ended_by_window(&self) -> bool {
        self.ended
    }

    /// Whether less than so much was there to be taken.
    pub(super) fn is_short(&self, proof: u64) -> bool {
        self.sum < proof
    }

    /// Whether it was enough, where so much is.
    pub(super) fn is_passed(&self, proof: u64) -> bool {
        self.taken >= proof
    }
}

/// Whether a frame is as long as the first one was, but for what is left for headers before it is made.
fn are_alike(first: u64, cost: u64) -> bool {
    first > 0 && (first..first + SLACK).contains(&cost)
}

/// Frames that are held since some time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Drain {
    since: Instant,
    rounds: u32,
}

/// When frames are held.
#[derive(Debug)]
pub(super) struct Drains {
    resumes: Option<Instant>,
    rest: Duration,
    /// How long frames were held for the last trial.
    held: Duration,
}

impl Default for Drains {
    fn default() -> Drains {
        Drains { resumes: None, rest: FIRST_REST, held: Duration::from_micros(0) }
    }
}

impl Drains {
    /// The drain that this round is part of, if it is to hold its frames; `drain` is that of the round before.
    pub(super) fn hold(&mut self, drain: Option<Drain>, now: Instant) -> Option<Drain> {
        match drain {
            Some(Drain { since, rounds }) if now - since < LONGEST_DRAIN && rounds < DRAIN_ROUNDS => {
                Some(Drain { since, rounds: rounds + 1 })
            }
            Some(_) => {
                self.give_up(now);
                None
            }
            None if self.resumes.is_some_and(|resumes| resumes > now) => None,
            None => Some(Drain { since: now, rounds: 1 }),
        }
    }

    /// The moment does not come, or what waits for it grows too long.
    pub(super) fn give_up(&mut self, now: Instant) {
        self.resumes = Some(now + self.rest);
        self.rest = (self.rest * 2).min(LAST_REST);
    }

    /// A trial is made; `drain` is what was done for it.
    pub(super) fn end(&mut self, drain: Option<Drain>, now: Instant) {
        self.held = drain.map_or(Duration::from_micros(0), |drain| now - drain.since);
    }

    /// A trial was made, and there was too little for it; `ended`: because the guest's window was full.
    pub(super) fn rest_after(&mut self, ended: bool, now: Instant) {
        if ended {
            self.rest = self.rest.min((self.held * REST_PER_HOLD).max(FIRST_REST));
        }
        self.give_up(now);
    }

    /// A trial was made.
    pub(super) fn done(&mut self) {
        *self = Drains::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drain_ends_and_the_next_one_comes_later_each_time() {
        let mut drains = Drains::default();
        let mut now = Instant::from_micros(0);
        for rest in [4, 8, 16] {
            let mut drain = drains.hold(None, now);
            let begun = now;
            while drain.is_some() {
                assert!(now - begun <= LONGEST_DRAIN);
                now += Duration::from_micros(500);
                drain = drains.hold(drain, now);
            }
            assert!(drains.hold(None, now + Duration::from_millis(rest - 1)).is_none());
            now += Duration::from_millis(rest);
        }
        let mut drain = drains.hold(None, now);
        for _ in 0..DRAIN_ROUNDS {
            drain = drains.hold(drain, now);
        }
        assert!(drain.is_none());
    }

    #[test]
    fn beyond_what_is_held_go_few_frames_and_all_alike() {
        let mut trial = Trial::new(1000, 3000, 20_000, 2, Pricing::Any);
        assert!(trial.fits(4000, 1500) && trial.fits(5500, 1500) && !trial.fits(7000, 1500) && trial.fits(7000, 1501));
        trial.given(1500);
        trial.given(1500);
        assert!(trial.fits(4000, 1500) && trial.fits(4000, 1600) && !trial.fits(4000, 1700) && !trial.fits(4000, 1400));
        trial.given(1400);
        assert!(!trial.fits(4000, 1500) && !trial.fits(4000, 1400));
        assert!(!Trial::new(0, 0, 1000, 99, Pricing::Any).fits(1000, 60));
    }

    #[test]
    fn a_trial_counts_from_where_the_thread_was_last_preempted() {
        let mut trial = Trial::new(0, 0, 0, 0, Pricing::Any);
        trial.on_taken(60_000, false);
        trial.on_taken(60_000, true);
        trial.on_taken(40_000, false);
        assert!(trial.is_passed(40_000) && !trial.is_passed(40_001));
    }
}
