//! Whether an application that asks to sleep for 0 ms really comes round at once.
//!
//! Most do. libslirp-helper writes 0 before each fill, and takes a 0 that it finds afterwards for "as long as nothing
//! happens". It cannot be told of anything else, so that only the poller's descriptor gets it out of its sleep. Making
//! that readable is a system call, which is too much for each round of the others. An application that comes round
//! although nothing has happened does not sleep for ever.

use super::asking::Glance;
use crate::time::{Duration, Instant};

/// So many rounds in which nothing has happened, one behind the other, show that 0 is meant.
const ROUNDS: u8 = 8;
/// How soon the round has to come for that: other things may have woken the application.
const SOON: Duration = Duration::from_millis(1);
/// A sleep of this length shows the opposite.
const LONG: Duration = Duration::from_millis(20);

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Zero {
    /// Since when the application sleeps that meant to for 0 ms.
    since: Option<Instant>,
    /// How many rounds came at once and for nothing.
    at_once: u8,
}

impl Zero {
    /// Before a sleep that the application means to be `told` milliseconds long. True when it may last for ever.
    pub(super) fn before_sleep(&mut self, told: u32, now: Instant) -> bool {
        self.since = (told == 0).then_some(now);
        told == 0 && self.at_once < ROUNDS
    }

    /// A round begins, in which the application saw that of the poller and has brought so many frames.
    pub(super) fn after_sleep(&mut self, glance: Glance, frames: u32, now: Instant) {
        let Some(since) = self.since.take() else { return };
        let slept = now - since;
        if slept >= LONG {
            self.at_once = 0;
        } else if self.at_once < ROUNDS && glance == Glance::Quiet && frames == 0 {
            self.at_once = if slept < SOON { self.at_once + 1 } else { 0 };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A round that begins so many microseconds after its fill; whether its sleep could have lasted for ever.
    fn round(zero: &mut Zero, now: &mut Instant, micros: u64, glance: Glance, frames: u32) -> bool {
        let ever = zero.before_sleep(0, *now);
        *now += Duration::from_micros(micros);
        zero.after_sleep(glance, frames, *now);
        ever
    }

    #[test]
    fn who_comes_round_for_nothing_means_zero() {
        let (mut zero, mut now) = (Zero::default(), Instant::ZERO);
        let rounds = (0..100).filter(|_| round(&mut zero, &mut now, 3, Glance::Quiet, 0)).count();
        assert_eq!(rounds, usize::from(ROUNDS));
        assert!(!round(&mut zero, &mut now, 3, Glance::News, 5), "and goes on to mean it under load");
        assert!(!zero.before_sleep(5, now));
        round(&mut zero, &mut now, 20_000, Glance::News, 0);
        assert!(zero.before_sleep(0, now), "a long sleep shows that it does not");
    }

    #[test]
    fn who_comes_only_for_a_reason_may_sleep_for_ever() {
        let (mut zero, mut now) = (Zero::default(), Instant::ZERO);
        for _ in 0..1000 {
            assert!(round(&mut zero, &mut now, 3, Glance::Quiet, 1));
            assert!(round(&mut zero, &mut now, 3, Glance::News, 0));
            assert!(round(&mut zero, &mut now, 3, Glance::Unknown, 0));
            assert!(round(&mut zero, &mut now, 3, Glance::Quiet, 0), "once for something else");
            assert!(round(&mut zero, &mut now, 1500, Glance::Quiet, 0));
        }
        // A clock that stands still makes every sleep short; what it sleeps for is a reason nevertheless.
        for _ in 0..1000 {
            assert!(round(&mut zero, &mut now, 0, Glance::News, 0));
        }
    }
}
