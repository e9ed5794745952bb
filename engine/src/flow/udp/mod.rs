//! UDP flows. One host socket serves one guest address and port whatever it talks to (RFC 4787: endpoint-independent
//! mapping, and filtering too: any peer may answer); a host forward is a flow whose socket is bound by the rule and
//! that never expires. Source: docs/contract/udp.md.
//!
//! `table` finds and bounds the flows, `peers` says who is who on the two sides of a flow, `clients` the same for a host
//! forward, `send` takes datagrams from the guest (with `stage` for bursts), `receive` brings those of the host, and `bulk`
//! says how many at once. `hello` keeps datagrams until they have said where they go, `relay` has a proxy relay them (`associate` says how
//! that comes about), and `kept` is a datagram that waits for either.

#[cfg(feature = "policy")]
mod associate;
mod bulk;
mod clients;
#[cfg(feature = "policy")]
mod hello;
#[cfg(feature = "policy")]
mod kept;
mod peers;
mod receive;
#[cfg(feature = "policy")]
mod relay;
mod send;
mod stage;
mod table;

use std::collections::VecDeque;
use std::net::SocketAddr;

pub(crate) use send::FromGuest;
pub(crate) use table::{UdpId, UdpTable};

use bulk::Bulk;

use super::clock_hand::ClockHand;
use super::datagram::{self, HostHalf};
use super::journal::Account;
use super::key::Endpoint;
use super::meter::Meter;
use super::table::{Flow, GivesWay};
use super::token::Kind;
use super::via::Lane;
use crate::host::handle::RawSocket;
use crate::host::poller::{News, Readiness};
use crate::host::socket::Datagram;
use crate::time::{Duration, Instant, earliest};

/// How long a flow lives after its last datagram.
const LIFETIME: Duration = Duration::from_secs(240);

/// The guest's half of a flow: who talks to whom, and by which names.
struct Mapping {
    guest: Endpoint,
    /// Where the guest last sent to, as it named it.
    remote: Option<Endpoint>,
    forward: bool,
    lane: Lane,
    /// What a host forward is bound to: the kernel is not asked again.
    bound: Option<SocketAddr>,
    peers: VecDeque<peers::Peer>,
    /// What has changed of the peers of a host forward, which the table finds by their names.
    changes: Vec<peers::Change>,
    expires: Instant,
    /// What has gone through it; through a forward, each of the peers has one.
    account: Account,
    /// What it is counted by, where there are limits.
    meter: Meter,
}

/// One UDP mapping.
pub(crate) struct UdpFlow {
    mapping: Mapping,
    /// The socket is of the guest's family, but for queries to a name server of the other family and for forwards between
    /// the two.
    host: HostHalf,
    bulk: Bulk,
    used: bool,
    /// The proxy that relays its datagrams, where it is one for that.
    #[cfg(feature = "policy")]
    relay: Option<Box<relay::Relay>>,
}

impl UdpFlow {
    pub(crate) fn guest(&self) -> Endpoint {
        self.mapping.guest
    }

    pub(crate) fn remote(&self) -> Option<Endpoint> {
        self.mapping.remote
    }

    pub(crate) fn socket(&self) -> &Datagram {
        self.host.socket()
    }

    /// What a host forward is bound to.
    pub(crate) fn bound(&self) -> Option<SocketAddr> {
        self.mapping.bound
    }

    /// Whether it is a host forward at all addresses of IPv6 and none of IPv4.
    pub(crate) fn is_only_v6(&self) -> bool {
        self.bound().is_some_and(|bound| self.socket().is_only_v6(bound))
    }

    /// Whether it is a host forward.
    #[cfg(feature = "control")]
    pub(crate) fn is_forward(&self) -> bool {
        self.mapping.forward
    }

    /// What has gone through it; through a forward, each of the clients has one.
    #[cfg(feature = "control")]
    pub(crate) fn account(&self) -> &Account {
        &self.mapping.account
    }

    /// Who has come through a host forward: number, real address, the guest's name for it, what has gone to and fro.
    #[cfg(feature = "control")]
    pub(crate) fn clients(&self) -> impl Iterator<Item = (u64, SocketAddr, Endpoint, &Account)> {
        self.mapping.peers.iter().filter_map(|peer| {
            let (number, account) = peer.client.as_ref()?;
            Some((*number, peer.real, peer.known_as, account))
        })
    }

    /// What is left of the flow's life; `None` for a host forward.
    pub(crate) fn remaining(&self, now: Instant) -> Option<Duration> {
        self.mapping.expires().map(|expires| datagram::remaining(expires, now))
    }
}

impl Mapping {
    /// When the flow ends if nothing more goes through it; never for a host forward.
    fn expires(&self) -> Option<Instant> {
        (!self.forward).then_some(self.expires)
    }
}

impl Flow for UdpFlow {
    type Id = UdpId;
    /// The guest's address and port, whether the socket is one of IPv6, and what it is for. A forward has none.
    type Key = (Endpoint, bool, Lane);
    type Order = ClockHand<UdpId>;
    const KIND: Kind = Kind::Udp;
    const NEWS: News = News::Incoming;

    fn key(&self) -> Option<(Endpoint, bool, Lane)> {
        let Mapping { guest, forward, lane, .. } = self.mapping;
        (!forward).then_some((guest, self.host.is_v6(), lane))
    }

    fn socket(&self) -> Option<RawSocket> {
        Some(self.host.descriptor())
    }

    fn on_ready(&mut self, ready: Readiness) {
        self.host.on_ready(ready);
        #[cfg(feature = "policy")]
        if let Some(relay) = &mut self.relay {
            relay.on_ready(ready);
        }
    }

    fn wants_turn(&self) -> bool {
        #[cfg(feature = "policy")]
        if self.relay.as_ref().is_some_and(|relay| relay.has_news()) {
            return true;
        }
        self.host.wants_turn()
    }

    fn deadline(&self) -> Option<Instant> {
        let deadline = earliest(self.mapping.expires(), self.host.deadline());
        #[cfg(feature = "policy")]
        if let Some(relay) = &self.relay {
            return earliest(deadline, relay.deadline());
        }
        deadline
    }

    fn interest(&self) -> (bool, bool) {
        (!self.host.is_paused(), false)
    }

    #[cfg(feature = "policy")]
    fn interest_beside(&self) -> Option<(RawSocket, bool, bool)> {
        self.relay.as_ref()?.interest()
    }
}

impl GivesWay for UdpFlow {
    fn used(&mut self) -> &mut bool {
        &mut self.used
    }
}
