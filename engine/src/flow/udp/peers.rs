//! Who is who: the addresses by which the guest knows the peers of a flow, and their real ones.

use std::net::SocketAddr;

use super::Mapping;
use crate::flow::context::Context;
use crate::flow::gate::Admission;
use crate::flow::journal::{About, Account, Carrier, End, Way};
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
    /// A peer of a host forward is a flow to the journal: its number, and what it has carried.
    pub client: Option<(u64, Account)>,
}

/// The guest knows a peer of a host forward by this name now, or does not any more.
#[derive(Clone, Copy, Debug)]
pub(super) enum Change {
    Met(Endpoint),
    Forgotten(Endpoint),
}

impl Peer {
    /// The peer is forgotten.
    pub(super) fn end(&self, why: End, cx: &mut Context) {
        if let Some((number, account)) = &self.client {
            cx.journal.ended(*number, Carrier::Udp, account, (why, || None), cx.now);
        }
    }
}

impl Mapping {
    /// `begun` says who began, and by which verdict, where that is news.
    pub(super) fn remember(&mut self, real: SocketAddr, known_as: Endpoint, begun: (Way, Admission), cx: &mut Context) {
        let is_it = |peer: &Peer| peer.real == real && peer.known_as == known_as;
        if self.peers.back().is_some_and(is_it) || (self.forward && self.peers.iter().any(is_it)) {
            return;
        }
        // What the guest sends through a forward goes to the one peer of that name. Else several may have it, as name servers
        // do: each answers under it.
        let forward = self.forward;
        self.forget(End::Replaced, cx, |peer| (forward && peer.known_as == known_as) || peer.real == real);
        self.add(Peer { real, known_as, local: None, client: None }, begun, cx);
    }

    /// Adds a peer as the latest one.
    pub(super) fn add(&mut self, mut peer: Peer, (way, by): (Way, Admission), cx: &mut Context) {
        if self.peers.len() >= self.max_peers()
            && let Some(oldest) = self.peers.pop_front()
        {
            oldest.end(End::MadeRoom, cx);
            self.note(Change::Forgotten(oldest.known_as));
        }
        if self.forward {
            self.note(Change::Met(peer.known_as));
            let about = About { way, ..About::out(Carrier::Udp, self.guest, peer.known_as, Some(peer.real)).by(by) };
            let number = cx.number();
            cx.journal.begun(number, &about, None, cx.now);
            peer.client = Some((number, Account::default()));
        }
        self.peers.push_back(peer);
    }

    /// Forgets these peers.
    pub(super) fn forget(&mut self, why: End, cx: &mut Context, is_one: impl Fn(&Peer) -> bool) {
        let (changes, forward) = (&mut self.changes, self.forward);
        self.peers.retain(|peer| {
            let goes = is_one(peer);
            if goes {
                peer.end(why, cx);
                changes.extend(forward.then_some(Change::Forgotten(peer.known_as)));
            }
            !goes
        });
    }

    fn note(&mut self, change: Change) {
        self.changes.extend(self.forward.then_some(change));
    }

    /// Whether what the guest sends now goes to another destination than what it sent before.
    pub(super) fn goes_elsewhere(&self, destination: Endpoint) -> bool {
        !self.forward && self.remote.is_some_and(|remote| remote != destination)
    }

    /// Bytes of the guest were given to the host, for this peer.
    pub(super) fn gave_host(&mut self, real: SocketAddr, bytes: usize) {
        if let Some(account) = self.account_of(real) {
            account.gave_host(bytes);
        }
    }

    /// Bytes of this peer came for the guest.
    pub(super) fn gave_guest(&mut self, real: SocketAddr, bytes: usize) {
        if let Some(account) = self.account_of(real) {
            account.gave_guest(bytes);
        }
    }

    fn account_of(&mut self, real: SocketAddr) -> Option<&mut Account> {
        if !self.forward {
            return Some(&mut self.account);
        }
        // The one that was met last is the last one.
        let peer = self.peers.iter_mut().rev().find(|peer| peer.real == real)?;
        peer.client.as_mut().map(|(_, account)| account)
    }

    /// Whether something was let through to this peer, or from it.
    pub(super) fn has_met(&self, real: SocketAddr) -> bool {
        self.peers.iter().any(|peer| peer.real == real)
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
