//! What an application's `send_packet` is known to take without sleeping.
//!
//! A burst that is handed over in one go, at a moment at which the other end cannot be asleep, is a trial: an application
//! with a queue sleeps in it once the queue is full, and is woken by its other end. A reader on another processor has to be
//! woken and then does more for a frame than the writer; one on the same processor takes out nothing unless the writer is
//! preempted, in which case the trial says nothing. So the trials of a stage (`STAGES`) tell whether there is a queue
//! of the stage's kind. A trial is shorter than what such a queue holds twice: its reader, which also carries what the
//! guest says, has taken out the second half before the queue towards us is full as well. After a sleep there is a
//! pause, each time longer, before the next trial.

use super::guest::MOST_BYTES;
use crate::link::outbox::Pricing;
use crate::time::{Duration, Instant};

/// What is known of the application, and what follows: how much may be given and not be proven read, how long a trial is,
/// how much has to be taken in it, and how many of them have to pass. In bytes for a pipe, and in what they cost sockets behind that.
#[derive(Debug)]
struct Stage {
    limit: u64,
    /// What the queue holds in any case, if it is one of this kind.
    held: u64,
    burst: u64,
    proof: u64,
    /// What may be given after each idle round whatever is proven. So little of a full queue is read before the one towards
    /// us is full.
    step: u64,
    passes: u8,
    kind: Kind,
}

/// What the stage's trials are to find.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Pipe,
    Sockets,
    Either,
}

/// Nothing is known: a pipe of 64 KiB holds at least the limit, as each of its pages is in use by half, and less than what a
/// trial proves. It is no pipe: sockets hold 208 KiB as Linux counts, 92 frames of an Ethernet, so that the limit is what
/// these hold in any case. (Windows that losses keep small may never fill the trials of this stage.) It is hardly sockets.
const STAGES: [Stage; 3] = [
    Stage {
        limit: FIRST_LIMIT,
        held: FIRST_LIMIT,
        burst: 80 * KIB,
        proof: 70 * KIB,
        step: 8 * KIB,
        passes: 8,
        kind: Kind::Pipe,
    },
    Stage {
        limit: SOCKETS_HOLD,
        held: SOCKETS_HOLD,
        burst: 104 * KIB,
        proof: 94 * KIB,
        step: 4 * KIB,
        passes: 8,
        kind: Kind::Sockets,
    },
    Stage {
        limit: SOCKETS_HOLD,
        held: SOCKETS_HOLD,
        burst: 192 * KIB,
        proof: 112 * KIB,
        step: 4 * KIB,
        passes: 16,
        kind: Kind::Either,
    },
];
/// Frames of a trial beyond what is held in any case, at least.
const LEAST_BEYOND: usize = 5;
const KIB: u64 = 1024;
const FIRST_LIMIT: u64 = 32 * KIB;
const SOCKETS_HOLD: u64 = 64 * KIB;
/// From one trial to the next at least: how fast the other end is changes with what else the processors do.
const APART: Duration = Duration::from_millis(3);
const PAGE: usize = 4096;
const PAGES: usize = 16;
/// The least that the limit falls to, after many sleeps. One frame may go in any case.
const LEAST_LIMIT: u64 = 2048;
/// From a sleep to the next trial, at first and at most.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LAST_PAUSE: Duration = Duration::from_secs(60);
/// Of the batches of a trusted application, one in so many is watched, if it is large; of those of another one, one in so
/// many of those that come near to the limit.
const WATCHED: u32 = 32;
const WATCHED_OF_OTHERS: u32 = 4;
const LARGE_BATCH: u64 = 64 * 1024;

/// How often a thread has left its processor: of its own will, in a system call that waits, or for another one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Switches {
    pub slept: u64,
    pub preempted: u64,
}

impl Switches {
    /// What has come since an earlier count.
    pub fn since(self, before: Switches) -> Switches {
        Switches {
            slept: self.slept.saturating_sub(before.slept),
            preempted: self.preempted.saturating_sub(before.preempted),
        }
    }
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Trust {
    /// Which of [`STAGES`]; behind the last one nothing is counted any more.
    stage: usize,
    passed: u8,
    /// The limit is lower than the stage's, after sleeps.
    cap: u64,
    /// After the last sleep, how long until when.
    pause: Duration,
    resumes: Option<Instant>,
    /// When the last trial passed.
    passed_at: Option<Instant>,
    large: u32,
}

impl Default for Trust {
    fn default() -> Trust {
        Trust { stage: 0, passed: 0, cap: u64::MAX, pause: FIRST_PAUSE, resumes: None, passed_at: None, large: 0 }
    }
}

impl Trust {
    fn stage(&self) -> &'static Stage {
        let [.., last] = &STAGES;
        STAGES.get(self.stage).unwrap_or(last)
    }

    /// How frames are counted.
    pub(crate) fn pricing(&self) -> Pricing {
        match self.stage().kind {
            Kind::Pipe => Pricing::Any,
            Kind::Sockets | Kind::Either => Pricing::Sockets,
        }
    }

    /// What may be given and not be proven read.
    pub(crate) fn limit(&self) -> u64 {
        self.stage().limit.min(self.cap)
    }

    /// What may be given in one go in a trial.
    pub(crate) fn burst(&self) -> u64 {
        self.stage().burst.min(self.cap.saturating_mul(2))
    }

    /// What of it the queue holds in any case.
    pub(crate) fn held(&self) -> u64 {
        self.stage().held
    }

    /// How many frames may go beyond that, where the guest's have so many bytes at most: as many as the queue towards us
    /// holds of them. (Of the longest it holds too few for any trial.)
    pub(crate) fn beyond(&self, longest_of_guest: usize) -> u64 {
        let frames = match self.stage().kind {
            Kind::Pipe if longest_of_guest <= PAGE => PAGES * (PAGE / longest_of_guest.max(1)),
            Kind::Pipe => PAGES / longest_of_guest.div_ceil(PAGE),
            Kind::Sockets => MOST_BYTES / ((longest_of_guest + 384).next_power_of_two() + 256),
            Kind::Either => return u64::MAX,
        };
        frames.max(LEAST_BEYOND) as u64
    }

    /// How many bytes of it have to be taken without a sleep.
    pub(crate) fn proof(&self) -> u64 {
        self.stage().proof.min(self.cap)
    }

    /// What may be given after an idle round whatever is proven.
    pub(crate) fn step(&self) -> u64 {
        self.stage().step
    }

    /// The application does not sleep, as far as can be found out.
    pub(crate) fn is_full(&self) -> bool {
        self.stage >= STAGES.len()
    }

    /// Whether more may be given than is proven read, after an idle round.
    pub(crate) fn may_step(&self, now: Instant) -> bool {
        self.resumes.is_none_or(|resumes| resumes <= now)
    }

    /// Whether that may be as much as a trial, if nothing has slept yet.
    pub(crate) fn may_try(&self, now: Instant) -> bool {
        self.passed_at.is_none_or(|passed| now - passed >= APART)
    }

    /// A whole burst was taken without a sleep.
    pub(crate) fn on_burst(&mut self, now: Instant) {
        self.passed_at = Some(now);
        if self.cap < u64::MAX {
            self.cap = self.cap.saturating_mul(2);
            if self.cap >= FIRST_LIMIT {
                self.cap = u64::MAX;
            }
            return;
        }
        self.passed = self.passed.saturating_add(1);
        if !self.is_full() && self.passed >= self.stage().passes {
            self.stage += 1;
            self.passed = 0;
            if self.is_full() {
                self.pause = FIRST_PAUSE;
            }
        }
    }

    /// The application slept while it took frames. Where that was within the limit, `unread` is what was not proven read, and
    /// its queue holds less.
    pub(crate) fn on_sleep(&mut self, unread: Option<u64>, now: Instant) {
        self.stage = 0;
        self.passed = 0;
        if let Some(unread) = unread {
            self.cap = (unread / 2).clamp(LEAST_LIMIT, FIRST_LIMIT);
        }
        self.resumes = Some(now + self.pause);
        self.pause = (self.pause * 2).min(LAST_PAUSE);
    }

    /// Whether it is worth finding out if the application sleeps, when so much is not proven read and this is given.
    pub(crate) fn is_worth_watching(&mut self, unread: u64, given: u64) -> bool {
        let (is_large, one_in) = if self.is_full() {
            (given >= LARGE_BATCH, WATCHED)
        } else {
            (given > 0 && unread > self.limit() / 2, WATCHED_OF_OTHERS)
        };
        if is_large {
            self.large = self.large.wrapping_add(1);
        }
        is_large && self.large.is_multiple_of(one_in)
    }
}
