//! Datagrams of a burst, on their way to the host in one system call.
//!
//! The first datagram of a flow in a round of the application's loop is sent at once, so that questions and answers never
//! wait. One that follows it directly, from the same guest port to the same destination, shows a burst: it is staged,
//! and what is staged goes when it is full, when another flow or destination comes in between, when an answer comes, and in
//! any case in the application's next round, unless frames keep coming one a round.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::ops::Range;

#[cfg(feature = "policy")]
use super::hello::is_to_be_heard;
use super::{FromGuest, UdpId};
#[cfg(feature = "policy")]
use crate::flow::gate::Admission;
use crate::flow::key::Endpoint;
use crate::host::local_address::LocalAddress;
use crate::host::mmsg::MAX_SEND;
use crate::pace::{Held, Hold};

/// The most bytes staged, counted as IP packets.
const MAX_BYTES: usize = 64 * 1024;

/// What the datagrams of a burst have in common.
#[derive(Clone, Copy, Debug)]
pub(super) struct Burst {
    pub flow: UdpId,
    pub source: Endpoint,
    pub destination: Endpoint,
    pub ttl: u8,
    pub whole: bool,
    /// Where the host is to send them, and from which of its addresses.
    pub real: SocketAddr,
    pub local: Option<LocalAddress>,
    /// The rule that has let them in.
    pub rule: Option<NonZeroU32>,
    /// One that may begin another connection is to be looked at.
    #[cfg(feature = "policy")]
    pub verdict: Admission,
}

impl Burst {
    #[cfg(feature = "policy")]
    fn is_left_by(&self, datagram: &FromGuest<'_>) -> bool {
        self.verdict.is_spoken() && is_to_be_heard(self.verdict, datagram)
    }

    #[cfg(not(feature = "policy"))]
    fn is_left_by(&self, _: &FromGuest<'_>) -> bool {
        false
    }
}

/// A staged datagram: the places of its IP packet and of its payload.
#[derive(Clone, Debug)]
struct Staged {
    packet: Range<usize>,
    payload: Range<usize>,
}

/// The burst in progress and its datagrams.
#[derive(Debug, Default)]
pub(super) struct Stage {
    burst: Option<Burst>,
    /// The IP packets, one behind the other: an ICMP error may have to quote them.
    bytes: Vec<u8>,
    datagrams: Vec<Staged>,
    /// Bytes of the longest packet.
    longest: usize,
    held: Held,
}

impl Stage {
    /// The burst in progress.
    pub(super) fn burst(&self) -> Option<&Burst> {
        self.burst.as_ref()
    }

    /// The burst `datagram` continues, if it does.
    pub(super) fn continued_by(&self, datagram: &FromGuest<'_>) -> bool {
        self.burst.as_ref().is_some_and(|burst| {
            burst.destination == datagram.destination
                && burst.source == datagram.source
                && (burst.ttl, burst.whole) == (datagram.ttl, datagram.whole)
                && !burst.is_left_by(datagram)
        })
    }

    /// A datagram of `burst` was sent; the next one of it is staged.
    pub(super) fn begin(&mut self, burst: Burst) {
        self.burst = Some(burst);
        self.held = Held::default();
    }

    /// Whether `datagram` has room.
    pub(super) fn has_room(&self, datagram: &FromGuest<'_>) -> bool {
        self.datagrams.len() < MAX_SEND
            && (self.is_empty() || self.bytes.len().saturating_add(datagram.packet.len()) <= MAX_BYTES)
    }

    /// Stages a datagram of the burst.
    pub(super) fn push(&mut self, datagram: &FromGuest<'_>) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(datagram.packet);
        self.longest = self.longest.max(datagram.packet.len());
        let end = self.bytes.len();
        // The payload is within the packet; a link layer's padding may follow it there.
        let offset = (datagram.payload.as_ptr() as usize).wrapping_sub(datagram.packet.as_ptr() as usize);
        let payload = start.saturating_add(offset);
        let payload = payload..payload.saturating_add(datagram.payload.len());
        self.datagrams.push(Staged { packet: start..end, payload });
    }

    pub(super) fn is_empty(&self) -> bool {
        self.datagrams.is_empty()
    }

    /// How many datagrams are staged.
    pub(super) fn len(&self) -> usize {
        self.datagrams.len()
    }

    /// Bytes of the longest packet staged.
    pub(super) fn longest(&self) -> usize {
        self.longest
    }

    /// The packet and the payload of a staged datagram.
    pub(super) fn get(&self, index: usize) -> (&[u8], &[u8]) {
        let Some(staged) = self.datagrams.get(index) else { return (&[], &[]) };
        let part = |range: &Range<usize>| self.bytes.get(range.clone()).unwrap_or_default();
        (part(&staged.packet), part(&staged.payload))
    }

    /// Forgets what was staged; the burst goes on.
    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.datagrams.clear();
        self.longest = 0;
    }

    /// A round of the loop has begun. Whether the burst is held until the next one, as it may still grow.
    pub(super) fn is_held(&mut self, hold: Hold) -> bool {
        hold.datagrams(&mut self.held)
    }

    /// The next datagram begins a new burst.
    pub(super) fn end(&mut self) {
        self.burst = None;
        self.held = Held::default();
    }
}
