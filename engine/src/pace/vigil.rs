//! The application comes round without sleeping, because something is expected soon.
//!
//! It does so for a while and for a number of rounds, whichever ends first: its clock may stand still.

use crate::time::{Duration, Instant};

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Vigil {
    /// Since when something is expected.
    since: Option<Instant>,
    /// Rounds without sleep that are left.
    left: u8,
    /// The application was not yet allowed to sleep since then.
    awake: bool,
}

/// What a round makes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wait {
    /// The application may sleep, as before.
    Asleep,
    /// It comes round once more.
    Awake,
    /// It was awake for long enough, and may sleep from now on.
    Ended,
}

impl Vigil {
    /// Something is expected from now on, and waited for awake in so many rounds; without any, asleep.
    pub(super) fn begin(&mut self, rounds: u8, now: Instant) {
        *self = Vigil { since: Some(now), left: rounds, awake: rounds > 0 };
    }

    /// Since when it is expected.
    pub(super) fn since(&self) -> Option<Instant> {
        self.since
    }

    /// What was expected has come, or is not expected any more.
    pub(super) fn end(&mut self) {
        self.since = None;
        self.awake = false;
    }

    /// Whether the application is kept from sleeping.
    pub(super) fn is_awake(&self) -> bool {
        self.awake
    }

    /// Before the application's sleep.
    pub(super) fn before_sleep(&mut self, longest: Duration, now: Instant) -> Wait {
        match self.since {
            Some(since) if self.awake => {
                if self.left > 0 && now - since < longest {
                    self.left -= 1;
                    return Wait::Awake;
                }
                self.awake = false;
                Wait::Ended
            }
            _ => Wait::Asleep,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONGEST: Duration = Duration::from_micros(10);

    #[test]
    fn it_ends_with_the_time_or_with_the_rounds() {
        let mut vigil = Vigil::default();
        assert_eq!(vigil.before_sleep(LONGEST, Instant::ZERO), Wait::Asleep);
        let waits = |vigil: &mut Vigil, apart: i64| {
            let wait =
                |round: i64| (vigil.before_sleep(LONGEST, Instant::from_micros(7 + round * apart)), vigil.is_awake());
            (0..8).map(wait).filter(|wait| *wait == (Wait::Awake, true)).count()
        };
        vigil.begin(5, Instant::from_micros(7));
        assert_eq!(waits(&mut vigil, 0), 5);
        vigil.begin(5, Instant::from_micros(7));
        assert_eq!(waits(&mut vigil, 4), 3);
        assert_eq!((vigil.before_sleep(LONGEST, Instant::from_micros(7)), vigil.is_awake()), (Wait::Asleep, false));
    }

    #[test]
    fn one_that_is_slept_through_or_over_keeps_nobody_awake() {
        let mut vigil = Vigil::default();
        vigil.begin(0, Instant::ZERO);
        assert_eq!((vigil.before_sleep(LONGEST, Instant::ZERO), vigil.since()), (Wait::Asleep, Some(Instant::ZERO)));
        vigil.begin(5, Instant::ZERO);
        assert_eq!(vigil.before_sleep(LONGEST, Instant::ZERO), Wait::Awake);
        vigil.end();
        assert_eq!((vigil.before_sleep(LONGEST, Instant::ZERO), vigil.since()), (Wait::Asleep, None));
    }
}
