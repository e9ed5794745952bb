//! The host half of a flow of datagrams, of UDP as well as of ping: the socket, what the poller has said of it, and what it
//! was last asked for. Which datagrams go through it, and whose they are, is the other half's.

use std::net::IpAddr;

use super::context::Context;
use super::whole::Whole;
use crate::host::error_queue::QueuedError;
use crate::host::handle::{HostNamed, RawSocket};
use crate::host::poller::Readiness;
use crate::host::socket::Datagram;
use crate::time::{Duration, Instant};

/// How long to wait after a read that failed for a reason of this host.
const RETRY: Duration = Duration::from_millis(20);
/// Queued errors that are taken at one go.
const ERROR_BUDGET: usize = 64;
/// As much of what an error is about as is kept: the least MTU of IPv4, less the headers, would do.
const QUOTATION: usize = 520;

/// See the module.
pub(crate) struct HostHalf {
    socket: Datagram,
    v6: bool,
    ttl: u8,
    whole: Whole,
    readable: bool,
    /// Errors wait in the kernel's queue.
    errored: bool,
    /// When a read that failed is tried again.
    again: Option<Instant>,
}

impl HostHalf {
    pub(super) fn new(socket: Datagram, v6: bool) -> HostHalf {
        let whole = Whole::default();
        HostHalf { socket, v6, ttl: 0, whole, readable: false, errored: false, again: None }
    }

    pub(crate) fn socket(&self) -> &Datagram {
        &self.socket
    }

    /// The socket, when it is done with.
    pub(super) fn into_socket(self) -> Datagram {
        self.socket
    }

    /// The family of the socket.
    pub(super) fn is_v6(&self) -> bool {
        self.v6
    }

    pub(super) fn descriptor(&self) -> RawSocket {
        self.socket.raw_socket()
    }

    /// Takes a report of the poller.
    pub(super) fn on_ready(&mut self, ready: Readiness) {
        self.readable |= ready.readable || ready.error;
        self.errored |= ready.error;
    }

    pub(super) fn wants_turn(&self) -> bool {
        self.readable && !self.is_paused()
    }

    /// Whether it is of no use to watch the socket: the host is asked again at its time.
    pub(super) fn is_paused(&self) -> bool {
        self.again.is_some() || self.is_lost()
    }

    /// The socket is there no more: a flow of the guest's ends at once. A host forward stays, and does nothing any more.
    #[cold]
    pub(super) fn lose(&mut self, cx: &mut Context) {
        self.socket.lose();
        self.again = Some(cx.now);
        cx.tell_of_lost();
    }

    /// Whether that was noticed.
    pub(super) fn is_lost(&self) -> bool {
        self.socket.is_lost()
    }

    /// When a pause ends.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.again
    }

    /// Ends a pause whose time is over.
    pub(super) fn on_deadline(&mut self, now: Instant) {
        self.again = self.again.filter(|&again| again > now);
    }

    /// What is sent from now on has this time to live.
    pub(super) fn set_ttl(&mut self, ttl: u8) {
        if self.ttl != ttl {
            self.ttl = ttl;
            self.socket.set_ttl(self.v6, ttl);
        }
    }

    /// A packet of so many bytes is about to be sent, which is to arrive whole or may be cut.
    #[inline]
    pub(super) fn prepare(&mut self, length: usize, whole: bool) {
        self.whole.prepare(&self.socket, self.v6, length, whole);
    }

    /// The MTU for which a datagram was too large, if that was the reason of a refusal.
    pub(super) fn take_refused(&mut self) -> Option<u32> {
        self.whole.take_refused()
    }

    /// The guest is told that a datagram to `destination` is too large; see [`Whole::is_news`].
    pub(super) fn is_news(&mut self, destination: IpAddr, now: Instant) -> bool {
        self.whole.is_news(destination, now)
    }

    /// Has the next datagram cut where need be, whatever the guest wants.
    pub(super) fn give_in(&mut self) {
        self.whole.give_in(&self.socket, self.v6);
    }

    /// There is nothing left to read.
    pub(super) fn is_drained(&mut self) {
        self.readable = false;
    }

    /// Reading fails for a reason that lasts, which is none of the peers': the host is asked again later.
    pub(super) fn pause(&mut self, now: Instant) {
        self.again = Some(now + RETRY);
    }

    /// Whether the poller has told of errors that were not taken since.
    pub(super) fn was_told_of_errors(&mut self) -> bool {
        std::mem::take(&mut self.errored)
    }

    /// Takes the errors that the kernel keeps, and tells of each, with the beginning of what it is about; but what the kernel
    /// itself says of a size is only noted. False when there was none.
    pub(super) fn take_errors(&mut self, now: Instant, mut tell: impl FnMut(&QueuedError, &mut [u8])) -> bool {
        for count in 0..ERROR_BUDGET {
            let mut quoted = [0; QUOTATION];
            let Some(error) = self.socket.queued_error(&mut quoted) else { return count > 0 };
            if !self.whole.note(&error, self.v6, now) {
                tell(&error, quoted.get_mut(..error.quoted).unwrap_or_default());
            }
        }
        true
    }
}

/// What is left of a flow's life.
pub(super) fn remaining(expires: Instant, now: Instant) -> Duration {
    if expires > now { expires - now } else { Duration::ZERO }
}
