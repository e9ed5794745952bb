//! Who is who: the addresses by which the guest knows the peers of a flow, and their real ones.

use std::net::SocketAddr;

use super::Mapping;
use crate::flow::key::Endpoint;
use crate::flow::policy::Policy;
use crate::host::local_address::LocalAddress;

/// Peers a flow of the guest remembers by the address the guest knows them by; the oldest goes.
pub(super) const MAX_PEERS: usize = 64;

/// A peer whose real address is not the one the guest knows.
#[derive(Clone, Copy, Debug)]
pub(super) struct Peer {
    pub real: SocketAddr,
    pub known_as: Endpoint,
    /// Which address of the host it sent to, where that has to be known.
    pub local: Option<LocalAddress>,
}

impl Mapping {
    pub(super) fn remember(&mut self, real: SocketAddr, known_as: Endpoint) {
        let is_it = |peer: &Peer| peer.real == real && peer.known_as == known_as;
        if self.peers.back().is_some_and(is_it) || (self.forward && self.peers.iter().any(is_it)) {
            return;
        }
        // What the guest sends through a forward goes to the one peer of that name. Else several may have it, as name servers
        // do: each answers under it.
        let forward = self.forward;
        self.peers.retain(|peer| !(forward && peer.known_as == known_as) && peer.real != real);
        if self.peers.len() >= self.max_peers() {
            self.peers.pop_front();
        }
        self.peers.push_back(Peer { real, known_as, local: None });
    }

    /// The real address of the peer the guest knows as `known_as`.
    pub(super) fn peer_known_as(&self, known_as: Endpoint) -> Option<SocketAddr> {
        self.peers.iter().find(|peer| peer.known_as == known_as).map(|peer| peer.real)
    }

    /// The address the guest knows `real` by.
    pub(super) fn known_as(&self, real: SocketAddr, policy: &Policy) -> Endpoint {
        let by_address = || self.peers.iter().rev().find(|peer| peer.real.ip() == real.ip());
        if let Some(peer) = self.peers.iter().rev().find(|peer| peer.real == real) {
            peer.known_as
        } else if let Some(peer) = by_address() {
            // Another port of a host the guest talks to: it answers from that port of the known address.
            Endpoint::new(peer.known_as.ip, real.port())
        } else if self.forward || real.is_ipv6() == self.guest.ip.is_ipv6() {
            Endpoint::new(policy.visible(real.ip(), self.guest.ip.is_ipv6()), real.port())
        } else {
            // The socket for a name server of the other family is for nobody else.
            real.into()
        }
    }
}
