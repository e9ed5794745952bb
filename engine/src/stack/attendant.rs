//! Who attends to a stack from a floor above: its sockets stand in the stack's poller, and it has a deadline among the stack's
//! own. The stack knows nothing else of it, and a stack without one pays nothing.
//!
//! While frames pass, the attendant has a tenth of the time, whatever it is asked to do: a guest whose frames wait for longer than its
//! link's queue can hold loses some, and then its connections slow down for much longer than the wait was.

use std::io;

use super::Stack;
use crate::flow::effect::Leaving;
use crate::flow::timers::Own;
use crate::flow::token;
use crate::host::handle::RawSocket;
use crate::host::poller::News;
use crate::host::stopwatch::Stopwatch;
use crate::time::{Duration, Instant};

/// See the module.
pub(crate) trait Attendant: Send {
    /// One of its sockets has news, or its time has come: does a bounded amount of work, and says when there is more to do. It is asked
    /// once a round, so that sockets which it gave up in the one before are closed.
    fn attend(&mut self, stack: &mut Stack) -> More;

    /// What the application is to watch in direct mode: token, socket, for reading, for writing.
    fn interests(&self, watch: &mut dyn FnMut(u64, RawSocket, bool, bool));

    /// The stack ends: its sockets leave.
    fn dismiss(&mut self, stack: &mut Stack);
}

/// When there is more to do, whatever the sockets say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum More {
    /// Not before a socket has news.
    Nothing,
    /// In the next round, which is to come at once.
    AtOnce,
    /// After a while.
    At(Instant),
}

/// How many times as long as the attendant has worked the network has the thread for itself.
const REST: u64 = 9;
/// The longest rest: longer work is rare, and has a rule of its own.
const LONGEST_REST: Duration = Duration::from_millis(100);

/// What the system needs for a socket that is closed when the attendant has done its part.
const CLOSING: Duration = Duration::from_micros(10);

/// When the attendant had its time.
#[derive(Default)]
pub(super) struct Attendance {
    /// It has had its time in this round.
    pub(super) attended: bool,
    /// Frames that had passed when it last had it.
    frames: u64,
    rest: Option<Rest>,
}

/// The network has the thread for itself.
struct Rest {
    until: Instant,
    /// What the time was when that was last asked.
    seen: Instant,
}

impl Attendance {
    /// Whether the network has the thread for itself, and until when. A clock that stands still would never end that.
    fn rests(&mut self, now: Instant) -> Option<Instant> {
        let rest = self.rest.as_mut()?;
        if now >= rest.until || now == rest.seen {
            self.rest = None;
            return None;
        }
        rest.seen = now;
        Some(rest.until)
    }

    /// The attendant has worked for so long, and so many frames had passed by then.
    fn has_worked(&mut self, took: Duration, frames: u64, now: Instant) {
        let passed = std::mem::replace(&mut self.frames, frames) != frames;
        let rest = Duration::from_micros(took.total_micros().saturating_mul(REST)).min(LONGEST_REST);
        self.rest = passed.then_some(Rest { until: now + rest, seen: now });
    }
}

impl Stack {
    /// Has somebody attend to this stack, in the place of whoever did.
    pub(crate) fn be_attended(&mut self, attendant: Box<dyn Attendant>) {
        self.dismiss();
        self.attendant = Some(attendant);
        self.disturb();
    }

    #[cold]
    pub(super) fn attend(&mut self) {
        let Some(mut attendant) = self.attendant.take() else { return };
        let more = if self.attendance.attended {
            More::AtOnce
        } else if let Some(until) = self.attendance.rests(self.cx.now) {
            More::At(until)
        } else {
            let effects = self.cx.effects.len();
            let watch = Stopwatch::start();
            let more = attendant.attend(self);
            let leaving = self.cx.effects.len().saturating_sub(effects) as u64;
            let took = watch.elapsed() + Duration::from_micros(CLOSING.total_micros() * leaving);
            self.attendance.attended = true;
            let frames = self.traffic.frames_in.wrapping_add(self.cx.egress.given_ever().0);
            self.attendance.has_worked(took, frames, self.cx.now);
            more
        };
        self.attendant = Some(attendant);
        let due = match more {
            More::Nothing => None,
            // The deadlines of this moment are being met while this runs.
            More::AtOnce => Some(self.cx.now + Duration::from_micros(1)),
            More::At(at) => Some(at.max(self.cx.now + Duration::from_micros(1))),
        };
        self.cx.timers.set(Own::Attendant, due);
        // The application's clock may stand still.
        if more == More::AtOnce
            && let Some(poller) = self.cx.poller.as_mut()
        {
            poller.wake(token::STACK);
        }
    }

    /// Has a socket of the attendant's watched; `number` tells it from its others.
    ///
    /// # Errors
    /// The poller has no room for it.
    pub(crate) fn watch_for_attendant(&mut self, socket: RawSocket, number: u8, news: News) -> io::Result<()> {
        self.cx.watch(socket, token::of_attendant(number), news)
    }

    /// A socket of the attendant's leaves.
    pub(crate) fn unwatch_for_attendant(&mut self, socket: Leaving) {
        self.cx.unwatch(socket);
    }

    /// The stack's own time.
    pub(crate) fn time(&self) -> Instant {
        self.cx.now
    }

    /// Nobody attends any more.
    pub(super) fn dismiss(&mut self) {
        if let Some(mut attendant) = self.attendant.take() {
            attendant.dismiss(self);
            self.cx.timers.set(Own::Attendant, None);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;
    use crate::config::Config;
    use crate::pace::Glance;
    use crate::stack::output::Output;

    /// Has always something to do.
    struct Busy(Arc<AtomicU32>);

    impl Attendant for Busy {
        fn attend(&mut self, _: &mut Stack) -> More {
            self.0.fetch_add(1, Ordering::Relaxed);
            More::AtOnce
        }

        fn interests(&self, _: &mut dyn FnMut(u64, RawSocket, bool, bool)) {}

        fn dismiss(&mut self, _: &mut Stack) {}
    }

    #[test]
    fn while_frames_pass_it_has_a_tenth_of_the_time() {
        let micros = |micros: i64| Instant::from_micros(1_000 + micros);
        let mut attendance = Attendance::default();
        assert_eq!(attendance.rests(micros(0)), None);
        attendance.has_worked(Duration::from_micros(100), 7, micros(0));
        for now in [5, 100, 899] {
            assert_eq!(attendance.rests(micros(now)), Some(micros(900)), "{now}");
        }
        assert_eq!(attendance.rests(micros(900)), None);
        // Nothing has passed since.
        attendance.has_worked(Duration::from_micros(100), 7, micros(900));
        assert_eq!(attendance.rests(micros(901)), None);
        attendance.has_worked(Duration::from_secs(3), 8, micros(1_000));
        assert_eq!(attendance.rests(micros(1_001)), Some(micros(101_000)));
    }

    #[test]
    fn a_clock_that_stands_still_ends_a_rest() {
        let mut attendance = Attendance::default();
        attendance.has_worked(Duration::from_micros(100), 1, Instant::ZERO);
        assert_eq!(attendance.rests(Instant::ZERO), None);
        attendance.has_worked(Duration::from_micros(100), 2, Instant::ZERO);
        let later = Instant::from_micros(1);
        assert!(attendance.rests(later).is_some());
        assert_eq!(attendance.rests(later), None);
    }

    /// Its time has come and its socket has news, in one round; and the sockets that it has given up are closed behind the round.
    #[test]
    fn whoever_attends_is_asked_once_a_round() {
        let mut stack = Stack::new(Config::default()).unwrap();
        let asked = Arc::new(AtomicU32::new(0));
        stack.be_attended(Box::new(Busy(Arc::clone(&asked))));
        stack.attend();
        for round in 2..20 {
            let now = Instant::from_millis(i64::from(round) * 10);
            stack.handle_events(Glance::News, now);
            assert_eq!(asked.load(Ordering::Relaxed), round);
            while !matches!(stack.poll_output(now), Output::Timeout(_)) {}
            assert_eq!(asked.load(Ordering::Relaxed), round, "with the sleep that follows it is the same round");
        }
    }
}
