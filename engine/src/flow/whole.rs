//! Datagrams that are to arrive whole or not at all: IPv4's DF flag, and everything over IPv6 that the guest has not cut
//! itself. The host is asked for the same, so that the guest learns the path's MTU (RFC 1191, RFC 8201) each time that it
//! sends more, and not only the first time.

use std::net::IpAddr;

use crate::host::error_queue::QueuedError;
use crate::host::fault::Fault;
use crate::host::socket::Datagram;
use crate::ip::{icmp, icmpv6};
use crate::time::{Duration, Instant};
use crate::wire::header::{IPV4_TAKEN_BY_ALL, IPV6_LEAST_MTU};

/// How long a guest that was told the MTU of a path knows it (RFC 1191 section 6.3).
const KNOWN: Duration = Duration::from_secs(300);

/// What a flow has asked of its socket, and what came of it.
#[derive(Debug, Default)]
pub(super) struct Whole {
    asked: Option<bool>,
    /// The MTU for which the last datagram was too large.
    refused: Option<u32>,
    /// Where the last datagram went of which the guest was told that it is too large, and when.
    told: Option<(IpAddr, Instant)>,
}

impl Whole {
    /// A packet of so many bytes is about to be sent.
    #[inline]
    pub(super) fn prepare(&mut self, socket: &Datagram, v6: bool, length: usize, whole: bool) {
        // Shorter packets arrive whole anyway. Most flows carry nothing longer, and are spared the system call.
        if self.asked != Some(whole) && length > if v6 { IPV6_LEAST_MTU } else { IPV4_TAKEN_BY_ALL } {
            self.ask(socket, v6, whole);
        }
    }

    #[cold]
    fn ask(&mut self, socket: &Datagram, v6: bool, whole: bool) {
        socket.set_whole(v6, whole);
        self.asked = Some(whole);
    }

    /// Looks at an error of the socket. True when it is only the kernel's own word that a datagram is too large.
    pub(super) fn note(&mut self, error: &QueuedError, v6: bool, now: Instant) -> bool {
        match error.icmp {
            None if error.fault == Fault::TooLong => {
                self.refused = Some(error.info);
                return true;
            }
            Some((icmp::DESTINATION_UNREACHABLE, icmp::FRAGMENTATION_NEEDED)) if !v6 => {}
            Some((icmpv6::PACKET_TOO_BIG, _)) if v6 => {}
            _ => return false,
        }
        self.told = error.destination.map(|destination| (destination.ip(), now));
        false
    }

    /// The MTU for which a datagram was too large, if that was the reason of a refusal.
    pub(super) fn take_refused(&mut self) -> Option<u32> {
        self.refused.take()
    }

    /// The guest is told that a datagram to `destination` is too large. Whether this one may be sent in pieces all the
    /// same, as the guest could not know.
    pub(super) fn is_news(&mut self, destination: IpAddr, now: Instant) -> bool {
        let before = self.told.replace((destination, now));
        before.is_none_or(|(ip, at)| ip != destination || at + KNOWN < now)
    }

    /// Has the next datagram cut where need be, whatever the guest wants.
    pub(super) fn give_in(&mut self, socket: &Datagram, v6: bool) {
        self.ask(socket, v6, false);
    }
}
