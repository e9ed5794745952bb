//! Who attends to a stack from a floor above: its sockets stand in the stack's poller, and it has a deadline among the stack's
//! own. The stack knows nothing else of it, and a stack without one pays nothing.

use std::io;

use super::Stack;
use crate::flow::effect::Leaving;
use crate::flow::timers::Own;
use crate::flow::token;
use crate::host::handle::RawSocket;
use crate::host::poller::News;
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
        let more = if self.attended { More::AtOnce } else { attendant.attend(self) };
        self.attendant = Some(attendant);
        self.attended = true;
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
