//! UDP flows. One host socket serves one guest address and port whatever it talks to (RFC 4787: endpoint-independent
//! mapping, and filtering too: any peer may answer); a host forward is a flow whose socket is bound by the rule and
//! that never expires. Source: docs/contract/udp.md.
//!
//! `table` finds and bounds the flows, `peers` says who is who on the two sides of a flow, `clients` the same for a host
//! forward, `send` takes datagrams from the guest (with `stage` for bursts), `receive` brings those of the host.

mod clients;
mod peers;
mod receive;
mod send;
mod stage;
mod table;

use std::collections::VecDeque;
use std::net::SocketAddr;

pub(crate) use send::FromGuest;
pub(crate) use table::{UdpId, UdpTable};

use super::key::Endpoint;
use super::ready::Mark;
use super::timers::Slot;
use super::whole::Whole;
use crate::host::socket::Datagram;
use crate::time::{Duration, Instant, earliest};

/// How long a flow lives after its last datagram.
const LIFETIME: Duration = Duration::from_secs(240);
/// Queued errors of a flow that are passed on at one go.
const ERROR_BUDGET: usize = 64;

/// One UDP mapping.
pub(crate) struct UdpFlow {
    guest: Endpoint,
    /// Where the guest last sent to, as it named it.
    remote: Option<Endpoint>,
    socket: Datagram,
    /// The family of the socket. It is the guest's, but for queries to a name server of the other family and for
    /// forwards between the two.
    v6: bool,
    forward: bool,
    /// What a host forward is bound to: the kernel is not asked again.
    bound: Option<SocketAddr>,
    peers: VecDeque<peers::Peer>,
    expires: Instant,
    /// When a read that failed is tried again.
    again: Option<Instant>,
    ttl: u8,
    whole: Whole,
    readable: bool,
    errored: bool,
    queued: Mark,
    used: bool,
    /// The kernel cuts runs of datagrams itself, as far as we know.
    segmenting: bool,
    /// How many messages the next read asks for; grows with use.
    batch: u8,
    /// The socket was prepared for much traffic.
    prepared: bool,
    number: u64,
    timer: Slot,
}

impl UdpFlow {
    pub(crate) fn guest(&self) -> Endpoint {
        self.guest
    }

    pub(crate) fn remote(&self) -> Option<Endpoint> {
        self.remote
    }

    /// Flows are numbered as they are made.
    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    pub(crate) fn socket(&self) -> &Datagram {
        &self.socket
    }

    /// What a host forward is bound to.
    pub(crate) fn bound(&self) -> Option<SocketAddr> {
        self.bound
    }

    /// Whether the socket is of no use to watch: the host is asked again at its time.
    pub(crate) fn is_paused(&self) -> bool {
        self.again.is_some()
    }

    fn deadline(&self) -> Option<Instant> {
        earliest((!self.forward).then_some(self.expires), self.again)
    }

    /// What is left of the flow's life; `None` for a host forward.
    pub(crate) fn remaining(&self, now: Instant) -> Option<Duration> {
        if self.forward {
            return None;
        }
        Some(if self.expires > now { self.expires - now } else { Duration::ZERO })
    }
}
