//! The application's loop at the door: what it is to watch, what it saw, and the turns that follow.
//!
//! With the poller there is one descriptor, always the same, and no list; in direct mode there is a list of sockets, made
//! anew by each fill.

use std::ffi::c_int;
use std::sync::Mutex;
use std::sync::atomic::{AtomicI32, Ordering};

use super::instance::{Instance, lock};
use super::types::{POLL_ERR, POLL_HUP, POLL_IN, POLL_OUT, POLL_PRI};
use oxislirp::{Glance, Interest, RawSocket, Readiness};

/// The index of what the application does not watch.
const UNWATCHED: c_int = -1;

/// What the application watches since the last fill.
pub(super) struct Watching {
    /// The poller's descriptor; none in direct mode.
    poller: Option<RawSocket>,
    /// The application's index of it.
    index: AtomicI32,
    /// The sockets of direct mode.
    sockets: Mutex<Vec<Watched>>,
}

/// A socket that the application watches.
struct Watched {
    descriptor: RawSocket,
    /// What it is to watch for, and later what it saw.
    events: c_int,
    /// The application's index of it.
    index: c_int,
    token: u64,
}

impl Watching {
    pub(crate) fn new(poller: Option<RawSocket>) -> Watching {
        Watching { poller, index: AtomicI32::new(UNWATCHED), sockets: Mutex::default() }
    }
}

impl Watched {
    fn new(interest: Interest) -> Watched {
        let mut events = POLL_ERR;
        if interest.read {
            events |= POLL_IN | POLL_HUP;
        }
        if interest.priority {
            events |= POLL_PRI;
        }
        if interest.write {
            events |= POLL_OUT;
        }
        Watched { descriptor: interest.descriptor, events, index: UNWATCHED, token: interest.token }
    }
}

impl Instance {
    /// `slirp_pollfds_fill`: `watch` tells the application of a descriptor and gives its index.
    pub(crate) fn fill(&self, sleep: &mut u32, mut watch: impl FnMut(RawSocket, c_int) -> c_int) {
        self.runs_loop();
        let now = self.now_once();
        let told = *sleep;
        let mut prepared = self
            .enter_or_pass(|stack| stack.sleep_on(told, now).map(Some), |core| core.stack.prepare_sleep(told, now))
            .flatten();
        if prepared.is_none() {
            // An application that skips its poll when its sleep ran out has its round done here.
            self.take_turns();
            let now = self.later_now().unwrap_or(now);
            prepared = self.enter(|core| core.stack.prepare_sleep(told, now)).flatten();
        }
        *sleep = prepared.unwrap_or(told);
        self.clock.expire();
        let Some(poller) = self.watching.poller else { return self.fill_directly(watch) };
        let index = self.outside(|_| watch(poller, POLL_IN | POLL_ERR | POLL_HUP)).unwrap_or(UNWATCHED);
        self.watching.index.store(index, Ordering::Relaxed);
    }

    fn fill_directly(&self, mut watch: impl FnMut(RawSocket, c_int) -> c_int) {
        let mut sockets = std::mem::take(&mut *lock(&self.watching.sockets));
        sockets.clear();
        self.enter(|core| core.stack.interests(|interest| sockets.push(Watched::new(interest))));
        for one in &mut sockets {
            one.index = self.outside(|_| watch(one.descriptor, one.events)).unwrap_or(UNWATCHED);
        }
        *lock(&self.watching.sockets) = sockets;
    }

    /// `slirp_pollfds_poll`: `happened` gives what the application saw at an index. Asked once for each index of the last
    /// fill.
    pub(crate) fn poll(&self, select_error: bool, mut happened: impl FnMut(c_int) -> c_int) {
        if self.watching.poller.is_none() {
            return self.poll_directly(select_error, happened);
        }
        // Only the application's loop is here, so that one step in place of two would gain nothing.
        let index = self.watching.index.load(Ordering::Relaxed);
        self.watching.index.store(UNWATCHED, Ordering::Relaxed);
        let glance = match index {
            _ if select_error || index < 0 => Glance::Unknown,
            _ if self.outside(|_| happened(index)) == Some(0) => Glance::Quiet,
            _ => Glance::News,
        };
        let now = self.now_once();
        // What the beginning of the round has made is handed over with the first turn.
        let more = self.enter_or_pass(
            |stack| stack.pass_round(glance, now).then_some(false),
            |core| {
                core.stack.handle_events(glance, now);
                core.stack.take_turns()
            },
        );
        if more == Some(false) {
            self.clock.expire();
        } else {
            self.take_turns();
        }
    }

    fn poll_directly(&self, select_error: bool, mut happened: impl FnMut(c_int) -> c_int) {
        let mut sockets = std::mem::take(&mut *lock(&self.watching.sockets));
        sockets.retain_mut(|one| {
            let asked = !select_error && one.index >= 0;
            if asked {
                one.events = self.outside(|_| happened(one.index)).unwrap_or(0);
            }
            asked
        });
        let now = self.now();
        self.enter(|core| {
            core.stack.handle_events(Glance::Unknown, now);
            for one in &sockets {
                core.stack.report(one.token, readiness(one.events));
            }
        });
        // The list goes back for its memory; a fill in a callback may have put another in its place.
        sockets.clear();
        let mut place = lock(&self.watching.sockets);
        if place.is_empty() {
            *place = sockets;
        }
        drop(place);
        self.take_turns();
    }

    /// Lets everything that has something to do take turns, until nothing has or the round has done as much as one may.
    fn take_turns(&self) {
        // The number of turns has a bound.
        while !self.is_closed() {
            // The application may have taken its time over what the last turn made.
            let now = self.later_now();
            let more = self.enter(|core| {
                if let Some(now) = now {
                    core.stack.set_now(now);
                }
                core.stack.take_turns()
            });
            // After a panic the others go on.
            if more == Some(false) {
                break;
            }
        }
        self.clock.expire();
    }
}

/// What the application saw, in the engine's words. An error or a hang-up is found out by reading and writing.
fn readiness(events: c_int) -> Readiness {
    let broken = events & (POLL_ERR | POLL_HUP) != 0;
    Readiness {
        readable: events & (POLL_IN | POLL_PRI) != 0 || broken,
        writable: events & POLL_OUT != 0 || broken,
        read_closed: broken,
        priority: events & POLL_PRI != 0,
        error: events & POLL_ERR != 0,
    }
}
