//! The clients of a host forward, kept apart: the guest knows each by an address and port of its own, and what it sends
//! there leaves from the address of the host that this client asked.

use std::net::SocketAddr;

use super::Mapping;
use super::peers::{MAX_PEERS, Peer};
use crate::flow::context::Context;
use crate::flow::gate::Admission;
use crate::flow::journal::{End, Way};
use crate::flow::key::Endpoint;
use crate::host::local_address::LocalAddress;

/// Clients a forward remembers; the one that was silent for longest goes.
pub(super) const MAX_CLIENTS: usize = 256;
/// Ports that are tried for a client whose own one is taken by another client.
const TRIES: u16 = 64;

impl Mapping {
    /// A datagram came to a host forward: its sender becomes the latest of the peers. `local` is what it was sent to,
    /// `by` what has let it in.
    pub(super) fn meet(&mut self, real: SocketAddr, local: Option<LocalAddress>, by: Admission, cx: &mut Context) {
        if !self.forward {
            return;
        }
        // A peer that the guest spoke to first was not asked anything yet.
        let is_it = |peer: &Peer| peer.real == real && (peer.local == local || peer.local.is_none());
        if let Some(index) = self.peers.iter().rposition(is_it) {
            if let Some(peer) = self.peers.remove(index) {
                self.peers.push_back(Peer { local, ..peer });
            }
            return;
        }
        // The address is seen by everybody as its own, so two clients differ in it or in the port; but the host's loopback
        // addresses, and the addresses asked, are all one to the guest.
        let own = Endpoint::new(cx.policy.visible(real.ip(), self.guest.ip.is_ipv6()), real.port());
        let other = |step: u16| Endpoint { port: 49152 + real.port().wrapping_add(step * 251) % 16384, ..own };
        let mut names = std::iter::once(own).chain((1..=TRIES).map(other));
        let Some(known_as) = names.find(|name| self.peers.iter().all(|peer| peer.known_as != *name)) else { return };
        self.add(Peer { real, known_as, local, client: None }, (Way::In, by), cx);
    }

    /// Which address of the host what the guest sends to `known_as` is to leave from; `None` for any.
    pub(super) fn local_for(&self, known_as: Endpoint) -> Option<LocalAddress> {
        if !self.forward {
            return None;
        }
        self.peers.iter().find(|peer| peer.known_as == known_as).and_then(|peer| peer.local)
    }

    /// Ends the clients of a forward.
    pub(super) fn end_clients(&mut self, why: End, cx: &mut Context) {
        self.forget(why, cx, |_| true);
    }

    /// How many peers the flow remembers.
    pub(super) fn max_peers(&self) -> usize {
        if self.forward { MAX_CLIENTS } else { MAX_PEERS }
    }
}
