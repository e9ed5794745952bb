//! Whether the application may sleep while a host sends in bulk.
//!
//! When everything was read and the application sleeps, the host's next bytes wake it, and that costs the sender so much
//! that it holds up the bytes behind them. So after bulk the application comes round a few times more before it sleeps, as
//! long as that is worth it: rounds are granted while what it waits for comes soon, and taken back when it does not.

use super::lesson::{Lesson, Rule, Step};
use super::vigil::{Vigil, Wait};
use crate::time::{Duration, Instant};

/// So many bytes from hosts in one round are bulk. With [`SHORT`] this is the rate, 2.6 Gbit/s, below which the application is
/// left to sleep: one goes up with the other.
const BULK: usize = 32 * 1024;
/// A wait up to this long is short, and the application is kept from sleeping for no longer.
const SHORT: Duration = Duration::from_micros(100);

/// The wait for more was found to be short, or long. What is trusted is rounds without sleep.
#[derive(Debug)]
struct Short;

impl Rule for Short {
    const STEP: Step = Step::Double(8);
    const MOST: u8 = 200;
    // A wait that is slept through shows its length as well, so that there are no trials.
    const UNTIL_FIRST: u16 = 0;
    const FIRST_PAUSE: u16 = 0;
    const LAST_PAUSE: u16 = 0;
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Bulk {
    /// Bulk has come, and more is expected.
    vigil: Vigil,
    lesson: Lesson<Short>,
    /// When the application last woke.
    woke: Option<Instant>,
}

impl Bulk {
    /// After the application's sleep.
    pub(super) fn after_sleep(&mut self, now: Instant) {
        self.woke = Some(now);
    }

    /// Before the application's sleep, when `brought` bytes have come from hosts since the last one. True when it is to
    /// come round at once instead.
    pub(super) fn before_sleep(&mut self, brought: usize, now: Instant) -> bool {
        if brought >= BULK {
            if !self.vigil.is_awake()
                && let (Some(since), Some(woke)) = (self.vigil.since(), self.woke)
            {
                if woke - since <= SHORT { self.lesson.worth_it() } else { self.lesson.in_vain() }
            }
            self.vigil.begin(self.lesson.trust(), now);
        }
        self.vigil.before_sleep(SHORT, now) == Wait::Awake
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bulk has come, and more comes `wait` microseconds later; a round without sleep takes one. Returns how many were not
    /// slept through.
    fn cycle(bulk: &mut Bulk, clock: &mut i64, wait: i64) -> i64 {
        let arrives = *clock + wait;
        let mut awake = 0;
        let mut brought = BULK;
        while *clock < arrives {
            if bulk.before_sleep(brought, Instant::from_micros(*clock)) {
                awake += 1;
                *clock += 1;
            } else {
                *clock = arrives;
            }
            bulk.after_sleep(Instant::from_micros(*clock));
            brought = 0;
        }
        awake
    }

    #[test]
    fn short_waits_are_waited_out_awake_and_long_ones_asleep() {
        let (mut bulk, mut clock) = (Bulk::default(), 0);
        for _ in 0..6 {
            cycle(&mut bulk, &mut clock, 20);
        }
        assert_eq!(cycle(&mut bulk, &mut clock, 20), 20);
        for _ in 0..12 {
            cycle(&mut bulk, &mut clock, 2000);
        }
        assert_eq!(cycle(&mut bulk, &mut clock, 2000), 0);
    }

    #[test]
    fn a_sender_below_the_rate_of_bulk_is_slept_for() {
        let (mut bulk, mut clock) = (Bulk::default(), 0);
        for _ in 0..6 {
            cycle(&mut bulk, &mut clock, 20);
        }
        // Bulk every 150 µs is 1.7 Gbit/s.
        let awake: i64 = (0..100).map(|_| cycle(&mut bulk, &mut clock, 150)).sum();
        assert!(awake <= 4 * SHORT.total_micros() as i64, "{awake} of 15,000 µs");
        // And half as much in a third of the time is no bulk.
        let mut bulk = Bulk::default();
        for round in 0..1000 {
            let now = Instant::from_micros(round * 50);
            bulk.after_sleep(now);
            assert!(!bulk.before_sleep(BULK / 2, now));
        }
    }

    #[test]
    fn a_clock_that_stands_still_does_not_keep_the_application_awake() {
        let mut bulk = Bulk::default();
        let now = Instant::from_micros(7);
        let mut awake = 0;
        for round in 0..10_000 {
            let brought = if round < 100 { BULK } else { 0 };
            bulk.after_sleep(now);
            awake += u32::from(bulk.before_sleep(brought, now));
        }
        assert!(awake <= 100 + u32::from(Short::MOST), "{awake}");
    }

    #[test]
    fn little_at_a_time_is_no_reason_to_stay_awake() {
        let mut bulk = Bulk::default();
        for round in 0..1000 {
            let now = Instant::from_micros(round * 3);
            bulk.after_sleep(now);
            assert!(!bulk.before_sleep(1, now));
        }
    }
}
