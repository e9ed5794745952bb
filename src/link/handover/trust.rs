//! What an application's `send_packet` is known to take without sleeping.
//!
//! A burst that is handed over in one go, at a moment at which the other end cannot be asleep, is a trial: an application
//! with a queue sleeps in it once the queue is full, and is woken by its other end. A reader on another processor has to be
//! woken and then does more for a frame than the writer; one on the same processor takes out nothing unless the writer is
//! preempted, in which case the trial says nothing. So the trials of a stage (`STAGES`) tell whether there is a queue
//! of the stage's kind. A trial is shorter than what such a queue holds twice: its reader, which also carries what the
//! guest says, has taken out the second half before the queue towards us is full as well. After a sleep there is a
//! pause, each time longer, before the next trial.

use crate::time::{Duration, Instant};

/// What is known of the application, and what follows: how much may be given and not be proven read, how long a trial is,
/// and how many of them have to pass.
#[derive(Debug)]
struct Stage {
    limit: u64,
    burst: u64,
    /// What may be given after each idle round whatever is proven. So little of a full queue is read before the one towards
    /// us is full.
    step: u64,
    passes: u8,
}

/// Nothing is known: a pipe of 64 KiB holds at least the limit, as each of its pages is in use by half, and for frames of
/// an Ethernet more than half of the burst. It is no pipe: sockets hold 208 KiB as Linux counts, 90 frames of an Ethernet. It is
/// none of both; sockets would hold the limit even so.
const STAGES: [Stage; 3] = [
    Stage { limit: FIRST_LIMIT, burst: 80 * 1024, step: 8 * 1024, passes: 8 },
    Stage { limit: FIRST_LIMIT, burst: 256 * 1024, step: 8 * 1024, passes: 8 },
    Stage { limit: 128 * 1024, burst: 256 * 1024, step: 64 * 1024, passes: 0 },
];
const FIRST_LIMIT: u64 = 32 * 1024;
/// The least that the limit falls to, after many sleeps. One frame may go in any case.
const LEAST_LIMIT: u64 = 4096;
/// From a sleep to the next trial, at first and at most.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LAST_PAUSE: Duration = Duration::from_secs(60);
/// Of the batches of a trusted application, one in so many is watched, if it is large.
const WATCHED: u32 = 32;
const LARGE_BATCH: u64 = 64 * 1024;
/// Rounds that frames are held to make room for a trial, and rounds after that until it is tried again: at first, at most.
const DRAIN_ROUNDS: u16 = 64;
const FIRST_REST: u16 = 512;
const LAST_REST: u16 = 16384;

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
pub struct Trust {
    stage: usize,
    passed: u8,
    /// The limit is lower than the stage's, after sleeps.
    cap: u64,
    pause: Duration,
    resumes: Option<Instant>,
    large: u32,
}

impl Default for Trust {
    fn default() -> Trust {
        Trust { stage: 0, passed: 0, cap: u64::MAX, pause: FIRST_PAUSE, resumes: None, large: 0 }
    }
}

impl Trust {
    fn stage(&self) -> &'static Stage {
        STAGES.get(self.stage).unwrap_or(&STAGES[0])
    }

    /// What may be given and not be proven read.
    pub fn limit(&self) -> u64 {
        self.stage().limit.min(self.cap)
    }

    /// What may be given in one go in a trial.
    pub fn burst(&self) -> u64 {
        self.stage().burst.min(self.cap.saturating_mul(2))
    }

    /// What may be given after an idle round whatever is proven.
    pub fn step(&self) -> u64 {
        self.stage().step
    }

    /// The application does not sleep, as far as can be found out.
    pub fn is_full(&self) -> bool {
        self.stage().passes == 0
    }

    /// Whether a trial may be made.
    pub fn may_try(&self, now: Instant) -> bool {
        self.resumes.is_none_or(|resumes| resumes <= now)
    }

    /// A whole burst was taken without a sleep.
    pub fn on_burst(&mut self) {
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

    /// The application slept while it took frames, when so much was not proven read: its queue holds less.
    pub fn on_sleep(&mut self, unread: u64, in_trial: bool, now: Instant) {
        let held = if in_trial { unread / 4 } else { unread / 2 };
        self.stage = 0;
        self.passed = 0;
        self.cap = held.clamp(LEAST_LIMIT, FIRST_LIMIT);
        self.resumes = Some(now + self.pause);
        self.pause = (self.pause * 2).min(LAST_PAUSE);
    }

    /// Whether it is worth finding out if the application sleeps, when so much is not proven read and this is given.
    pub fn is_worth_watching(&mut self, unread: u64, given: u64) -> bool {
        if !self.is_full() {
            return unread > self.limit() / 2;
        }
        if given < LARGE_BATCH {
            return false;
        }
        self.large = self.large.wrapping_add(1);
        self.large.is_multiple_of(WATCHED)
    }
}

/// How long frames are held so that the guest's end, and a trial can be made: a guest that has something to say with
/// each of ours would put it off for ever.
#[derive(Debug)]
pub struct Drain {
    held: u16,
    rest: u16,
    next_rest: u16,
}

impl Default for Drain {
    fn default() -> Drain {
        Drain { held: 0, rest: 0, next_rest: FIRST_REST }
    }
}

impl Drain {
    /// Whether this round holds its frames.
    pub fn holds(&mut self) -> bool {
        if self.rest > 0 {
            self.rest -= 1;
            return false;
        }
        if self.held < DRAIN_ROUNDS {
            self.held += 1;
            return true;
        }
        self.give_up();
        false
    }

    /// The moment does not come, or what waits for it grows too long.
    pub fn give_up(&mut self) {
        self.held = 0;
        self.rest = self.next_rest;
        self.next_rest = self.next_rest.saturating_mul(2).min(LAST_REST);
    }

    /// The moment for a trial has come.
    pub fn done(&mut self) {
        *self = Drain::default();
    }

    /// Nothing waits any more.
    pub fn forget(&mut self) {
        self.held = 0;
    }
}
