//! A host that lacks memory for the moment is asked again after a while, and so is one that the flow may give nothing to, or take nothing
//! from, before a certain moment; meanwhile the window closes and nothing is lost.

use crate::time::{Duration, Instant, earliest};

/// The first wait before a host that lacked memory is asked again. Each further one is twice as long, up to 128 times.
const FIRST_WAIT: Duration = Duration::from_millis(5);
const MAX_DOUBLINGS: u8 = 7;

/// A wait for the host to have memory again.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Again {
    /// When it is asked.
    at: Option<Instant>,
    /// Writes wait for that.
    writing: bool,
    /// Reads do.
    reading: bool,
    waits: u8,
}

impl Again {
    pub(super) fn wait_to_write(&mut self, now: Instant) {
        self.pause_writes(now + Duration::from_micros(FIRST_WAIT.total_micros() << self.waits.min(MAX_DOUBLINGS)));
        self.waits = self.waits.saturating_add(1);
    }

    /// Nothing is to be written before then. (What waits for something later is asked as well, and waits on.)
    pub(super) fn pause_writes(&mut self, until: Instant) {
        self.at = earliest(self.at, Some(until));
        self.writing = true;
    }

    /// Nothing is to be read before then.
    #[cfg(feature = "policy")]
    pub(super) fn pause_reads(&mut self, until: Instant) {
        self.at = earliest(self.at, Some(until));
        self.reading = true;
    }

    pub(super) fn wait_to_read(&mut self, now: Instant) {
        self.reading = true;
        self.wait_to_write(now);
    }

    pub(super) fn at(self) -> Option<Instant> {
        self.at
    }

    pub(super) fn is_due(self, now: Instant) -> bool {
        self.at.is_some_and(|at| at <= now)
    }

    /// It is asked now.
    pub(super) fn asked(&mut self) {
        self.at = None;
        self.writing = false;
        self.reading = false;
    }

    /// Whether writes wait; what the poller says of them does not matter then.
    pub(super) fn holds_writes(self) -> bool {
        self.writing
    }

    pub(super) fn holds_reads(self) -> bool {
        self.reading
    }

    /// The host has done what was asked.
    pub(super) fn done(&mut self) {
        self.waits = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(feature = "policy")]
    #[test]
    fn each_way_waits_for_itself() {
        let at = Instant::from_millis;
        let mut again = Again::default();
        again.pause_reads(at(20));
        assert!(again.holds_reads() && !again.holds_writes());
        again.pause_writes(at(10));
        assert_eq!(again.at(), Some(at(10)));
        again.asked();
        assert!(!again.holds_reads() && !again.holds_writes() && again.at().is_none());
    }

    #[test]
    fn each_wait_is_twice_as_long_until_the_host_has_done_something() {
        let start = Instant::from_micros(1_000_000);
        let mut again = Again::default();
        let mut waits = Vec::new();
        for _ in 0..10 {
            again.wait_to_write(start);
            waits.push(again.at().map(|at| (at - start).total_millis()));
            assert!(again.holds_writes() && !again.holds_reads() && !again.is_due(start));
            again.asked();
            assert!(!again.holds_writes());
        }
        assert_eq!(waits, [5, 10, 20, 40, 80, 160, 320, 640, 640, 640].map(Some));
        again.done();
        again.wait_to_read(start);
        assert_eq!(again.at(), Some(start + FIRST_WAIT));
        assert!(again.holds_reads() && again.is_due(start + FIRST_WAIT));
    }
}
