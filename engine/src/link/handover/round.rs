//! The application's loop, as far as it shows from round to round.

use crate::time::{Duration, Instant};

/// What waits for a proof longer than this goes without one where the moment allows it.
const PATIENCE: Duration = Duration::from_millis(100);
/// The same in rounds, for a clock that stands still.
const PATIENT_ROUNDS: u32 = 4096;
/// So long may an application sleep in rounds without a frame, until the other end had nothing better to do than to read.
const CALM: Duration = Duration::from_millis(20);
/// The same in rounds, for a clock that stands still.
const CALM_ROUNDS: u32 = 32;

/// The application's loop, as far as its last round.
#[derive(Debug)]
pub(super) struct Round {
    /// It brought no frame.
    pub quiet: bool,
    /// Where `given` stood when it began, and when the last one ended that gave something.
    pub given: u64,
    pub gave: Instant,
    /// The application could sleep since: from then on.
    pub sleeps: Option<Instant>,
    /// Since when it has slept without that a frame came or was given.
    pub calm: Option<Since>,
}

/// Since when something is so, and for how many rounds.
#[derive(Debug)]
pub(super) struct Since {
    time: Instant,
    pub rounds: u32,
}

impl Since {
    pub(super) fn new(time: Instant) -> Since {
        Since { time, rounds: 0 }
    }

    /// Something that waits does so for longer than proofs take.
    pub(super) fn is_overdue(&self, now: Instant) -> bool {
        now - self.time >= PATIENCE || self.rounds >= PATIENT_ROUNDS
    }

    /// The other end had nothing better to do than to read.
    pub(super) fn is_calm(&self, now: Instant) -> bool {
        now - self.time >= CALM || (now == self.time && self.rounds >= CALM_ROUNDS)
    }
}

impl Default for Round {
    fn default() -> Round {
        Round { quiet: true, given: 0, gave: Instant::ZERO, sleeps: Some(Instant::ZERO), calm: None }
    }
}
