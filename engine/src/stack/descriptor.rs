//! What a program watches while it sleeps.

use super::Stack;
use crate::host::handle::{RawSocket, described_by};
use crate::host::poller::Poller;

impl Stack {
    /// Has the program told of each host socket, by [`Effect::Register`](crate::Effect::Register) and
    /// [`Effect::Unregister`](crate::Effect::Unregister), also where it watches none of them.
    #[doc(hidden)]
    pub fn tell_of_sockets(&mut self) {
        self.cx.tells_of_sockets = true;
    }

    /// The one descriptor to watch, or `None` in direct mode.
    pub fn descriptor(&self) -> Option<RawSocket> {
        self.cx.poller.as_ref().map(Poller::descriptor)
    }
}

described_by!(
    /// The one descriptor that stands for all host sockets. It is readable while any of them has news: then, and not before, the program has to
    /// call [`Stack::handle_events`] with [`Glance::News`](crate::Glance::News). It stays the same for as long as the stack lives, and only
    /// reading readiness means anything; nothing is to be read from it.
    ///
    /// In direct mode it is never readable: there the program watches what [`Stack::interests`] lists.
    Stack,
    |stack| stack.cx.poller
);
