//! The time of a program that has no clock of its own to show.

use crate::time::Instant;

/// A clock that begins when it is made and never goes back. Copies show the same time.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    began: std::time::Instant,
}

impl Clock {
    /// A clock that begins now.
    pub fn new() -> Clock {
        Clock { began: std::time::Instant::now() }
    }

    /// The time.
    pub fn now(&self) -> Instant {
        Instant::from_micros(i64::try_from(self.began.elapsed().as_micros()).unwrap_or(i64::MAX))
    }
}

impl Default for Clock {
    fn default() -> Clock {
        Clock::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_show_the_same_time_which_goes_on() {
        let clock = Clock::new();
        let copy = clock;
        let (before, between, after) = (clock.now(), copy.now(), clock.now());
        assert!(Instant::ZERO <= before && before <= between && between <= after);
        while clock.now() == before {}
    }
}
