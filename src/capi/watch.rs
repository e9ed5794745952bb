//! What the application is to watch, and what it says that it saw.

use std::ffi::c_int;

use super::types::{POLL_ERR, POLL_HUP, POLL_IN, POLL_OUT, POLL_PRI};
use crate::host::poller::Readiness;
use crate::stack::Interest;

/// A socket that the application watches itself.
pub(super) struct Watched {
    pub descriptor: c_int,
    /// What it is to watch for, and later what it saw.
    pub events: c_int,
    /// The application's index of it.
    pub index: c_int,
    pub token: u64,
}

impl Watched {
    pub fn socket(interest: Interest) -> Watched {
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
        Watched { descriptor: interest.descriptor, events, index: -1, token: interest.token }
    }
}

/// What the application is to watch.
pub(super) enum Watch {
    /// The poller, by its descriptor.
    Poller(c_int),
    Sockets(Vec<Watched>),
}

/// What the application saw, in the engine's words. An error or a hang-up is found out by reading and writing.
pub(super) fn readiness(events: c_int) -> Readiness {
    let broken = events & (POLL_ERR | POLL_HUP) != 0;
    Readiness {
        readable: events & (POLL_IN | POLL_PRI) != 0 || broken,
        writable: events & POLL_OUT != 0 || broken,
        read_closed: broken,
        priority: events & POLL_PRI != 0,
        error: events & POLL_ERR != 0,
    }
}
