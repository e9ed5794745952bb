//! The table of UDP flows: finding them, the forwards, the bounds.

use std::collections::VecDeque;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use slotmap::new_key_type;

use super::bulk::Bulk;
use super::peers::Change;
use super::stage::Stage;
use super::{FromGuest, LIFETIME, Mapping, UdpFlow, receive};
use crate::flow::context::Context;
use crate::flow::datagram::HostHalf;
use crate::flow::effect::Leaving;
use crate::flow::gate::Admission;
#[cfg(feature = "control")]
use crate::flow::gate::Protocol;
use crate::flow::journal::{About, Account, Carrier, End, Refusal};
use crate::flow::key::Endpoint;
use crate::flow::several::Several;
use crate::flow::table::{Entry, NotAdmitted, Table};
use crate::flow::via::{Course, Lane};
use crate::host::fault::is_lack;
use crate::host::mmsg::ReceiveBuffer;
use crate::host::socket::Datagram;

/// Flows of the guest at one time. When they are all taken, the one least used goes (second chance).
const MAX_FLOWS: usize = 4096;
/// Host forwards at one time; a further one is refused.
const MAX_FORWARDS: usize = 65_536;

new_key_type! {
    /// Names a UDP flow.
    pub struct UdpId;
}

/// Who a socket is for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Use {
    /// What the guest sends, of this lane.
    Guest(Lane),
    /// A host forward.
    Forward,
}

/// All UDP flows of a stack.
#[derive(Default)]
pub(crate) struct UdpTable {
    pub flows: Table<UdpFlow>,
    /// The forwards by the guest's address and port.
    forwards: Several<Endpoint, UdpId>,
    /// The forwards that somebody has come through, by where they lead and by the guest's name for him: who came first has it.
    met: Several<(Endpoint, Endpoint), UdpId>,
    /// The forwards by what they are bound to; the scope of a link-local address is not told apart.
    by_host: Several<Endpoint, UdpId>,
    pub(super) stage: Stage,
    #[cfg(feature = "policy")]
    pub(super) listening: super::hello::Listening,
    #[cfg(feature = "policy")]
    pub(super) relayed: super::associate::Relayed,
    buffer: ReceiveBuffer,
    /// The flow whose turn ended before it had passed on everything in the buffer.
    halfway: Option<UdpId>,
}

impl UdpTable {
    /// The host forward a datagram from the guest belongs to: the one whose peer it is addressed to, else (not in
    /// restricted mode) the first one of that guest address and port.
    pub(super) fn forward_for(&self, datagram: &FromGuest<'_>, cx: &Context) -> Option<UdpId> {
        if self.forwards.is_empty() {
            return None;
        }
        let source = datagram.source;
        // A forward to the unspecified address is one to whatever address the guest has.
        let nowhere = if source.ip.is_ipv6() { Ipv6Addr::UNSPECIFIED.into() } else { Ipv4Addr::UNSPECIFIED.into() };
        let nowhere = Endpoint { ip: nowhere, port: source.port };
        let met = |leads: Endpoint| self.met.get(&(leads, datagram.destination)).first().copied();
        let peer = met(source).or_else(|| met(nowhere));
        if cx.policy.reach.restricted {
            return peer;
        }
        // Answers would go to where the forward leads, which must be where this comes from.
        let is_guest = || cx.guest_address(source.ip.is_ipv6()) == Some(source.ip);
        let first = |leads: Endpoint| self.forwards.get(&leads).first().copied();
        peer.or_else(|| first(source)).or_else(|| first(nowhere).filter(|_| is_guest()))
    }

    /// Somebody may have come through a forward, or be forgotten: it is to be found by his name, or not any more.
    #[inline]
    pub(super) fn follow_peers(&mut self, id: UdpId) {
        let Some(flow) = self.flows.get_mut(id).filter(|flow| !flow.mapping.changes.is_empty()) else { return };
        let (leads, changes) = (flow.mapping.guest, std::mem::take(&mut flow.mapping.changes));
        self.note_changes(id, leads, &changes);
    }

    fn note_changes(&mut self, id: UdpId, leads: Endpoint, changes: &[Change]) {
        for change in changes {
            match *change {
                Change::Met(name) => self.met.push((leads, name), id),
                Change::Forgotten(name) => self.met.remove(&(leads, name), id),
            }
        }
    }

    /// The real address of the peer of a flow that the guest knows as `known_as`.
    pub(super) fn peer_of(&self, id: UdpId, known_as: Endpoint) -> Option<SocketAddr> {
        self.flows.get(id)?.mapping.peer_known_as(known_as)
    }

    /// The flow for what `guest` sends to `remote` on this course; a new one if need be. `None` when there is no room for it now.
    ///
    /// # Errors
    /// What `socket` or `bind` said, but for a lack of descriptors or memory.
    pub(super) fn flow_of(
        &mut self,
        guest: Endpoint,
        remote: Endpoint,
        (course, admission): (Course, Admission),
        cx: &mut Context,
    ) -> io::Result<Option<UdpId>> {
        let (lane, v6) = (course.lane, course.is_v6());
        if let Some(id) = self.flows.find(&(guest, v6, lane)) {
            if !self.flows.get(id).is_some_and(|flow| flow.host.is_lost()) {
                return Ok(Some(id));
            }
            self.remove(id, End::HostReset, cx);
        }
        if self.flows.giving_way() >= MAX_FLOWS {
            self.evict(cx);
        }
        cx.egress.neighbors.heard(guest.ip, cx.now);
        let source = cx.policy.outbound(course.next);
        let made = cx.open_datagram(|| Datagram::outgoing(v6, source));
        let about = About::out(Carrier::Udp, guest, remote, Some(course.next)).by(admission);
        let socket = match cx.tell_of_source(source, made) {
            Ok(socket) => socket,
            Err(error) => {
                cx.journal.refused(&about, Refusal::of(&error), cx.now);
                return if is_lack(&error) { Ok(None) } else { Err(error) };
            }
        };
        let Ok(id) = self.insert(guest, socket, v6, Use::Guest(lane), cx) else {
            cx.journal.refused(&about, Refusal::NoResources, cx.now);
            return Ok(None);
        };
        if let Some(entry) = self.flows.entry(id) {
            let name = cx.gate.name_to_log(&about, &cx.policy, cx.now);
            cx.journal.begun(entry.number, &about, name, cx.now);
        }
        cx.giving_way += 1;
        self.flows.give_way(id);
        #[cfg(feature = "policy")]
        if lane.is_relayed() {
            self.associate(id, (course.real, admission), cx);
        }
        Ok(Some(id))
    }

    fn insert(
        &mut self,
        guest: Endpoint,
        socket: Datagram,
        v6: bool,
        used_for: Use,
        cx: &mut Context,
    ) -> io::Result<UdpId> {
        if !cx.policy.reach.host_loopback {
            socket.leave_this_host_out(v6);
        }
        let (peers, expires) = (VecDeque::new(), cx.now + LIFETIME);
        let account = Account::default();
        let (forward, lane) = match used_for {
            Use::Guest(lane) => (false, lane),
            Use::Forward => (true, Lane::Plain),
        };
        let (remote, bound, changes, meter) = (None, None, Vec::new(), None);
        let mapping = Mapping { guest, remote, forward, lane, bound, peers, changes, expires, account, meter };
        let flow = UdpFlow {
            mapping,
            host: HostHalf::new(socket, v6),
            bulk: Bulk::default(),
            used: true,
            #[cfg(feature = "policy")]
            relay: None,
        };
        self.flows.admit(flow, cx)
    }

    /// Makes room by the rule of the table; false when nothing may go.
    pub(crate) fn evict(&mut self, cx: &mut Context) -> bool {
        self.flows.victim().inspect(|&id| self.remove(id, End::MadeRoom, cx)).is_some()
    }

    pub(super) fn remove(&mut self, id: UdpId, why: End, cx: &mut Context) {
        if self.stage.burst().is_some_and(|burst| burst.flow == id) {
            self.end_burst(cx);
        }
        let Some(Entry { mut flow, number, .. }) = self.flows.remove(id, cx) else { return };
        cx.ends(flow.mapping.meter.take());
        #[cfg(feature = "policy")]
        self.dissociate(flow.relay.take(), cx);
        if flow.mapping.forward {
            flow.mapping.end_clients(why, cx);
            self.note_changes(id, flow.mapping.guest, &flow.mapping.changes);
            self.forwards.remove(&flow.mapping.guest, id);
            if let Some(local) = flow.bound() {
                self.by_host.remove(&local.into(), id);
            }
        } else {
            cx.journal.ended(number, Carrier::Udp, &flow.mapping.account, (why, || None), cx.now);
            cx.giving_way -= 1;
        }
        cx.unwatch(Leaving::Datagram(flow.host.into_socket()));
    }

    /// Adds a host forward: what arrives at `socket` goes to `guest`.
    ///
    /// # Errors
    /// The table of forwards is full, or the poller.
    pub(crate) fn add_forward(
        &mut self,
        socket: Datagram,
        guest: Endpoint,
        cx: &mut Context,
    ) -> Result<UdpId, NotAdmitted> {
        // The guest's datagrams may belong to the forward from now on.
        self.end_burst(cx);
        if self.flows.len() - self.flows.giving_way() >= MAX_FORWARDS {
            return Err(NotAdmitted::Full(MAX_FORWARDS));
        }
        let local = socket.local_address();
        let v6 = local.is_some_and(|local| local.is_ipv6());
        let id = self.insert(guest, socket, v6, Use::Forward, cx).map_err(NotAdmitted::Unwatched)?;
        if let Some(flow) = self.flows.get_mut(id) {
            flow.mapping.bound = local;
        }
        self.forwards.push(guest, id);
        if let Some(local) = local {
            self.by_host.push(local.into(), id);
        }
        Ok(id)
    }

    /// The host forward bound to `address`; the oldest one, should there be several.
    pub(crate) fn find_forward(&self, address: SocketAddr) -> Option<UdpId> {
        self.by_host.get(&address.into()).first().copied()
    }

    /// The flow of a host forward.
    pub(crate) fn forward(&self, id: UdpId) -> Option<&UdpFlow> {
        self.flows.get(id).filter(|flow| flow.mapping.forward)
    }

    /// All host forwards, in no order.
    pub(crate) fn forwards(&self) -> impl Iterator<Item = (UdpId, &Entry<UdpFlow>)> {
        self.by_host.iter().filter_map(|id| Some((id, self.flows.entry(id)?)))
    }

    /// Removes a host forward; false when there is none.
    pub(crate) fn remove_forward(&mut self, id: UdpId, cx: &mut Context) -> bool {
        let found = self.forward(id).is_some();
        if found {
            self.remove(id, End::Stopped, cx);
        }
        found
    }

    /// Takes one turn of one flow that is ready; false when none is.
    pub(crate) fn work(&mut self, cx: &mut Context) -> bool {
        // The one of whose datagrams some still lie in the buffer goes first, as nobody else can use it.
        let Some(id) = self.halfway.take().or_else(|| self.flows.next_turn()) else { return false };
        // After an answer the guest's next datagram is a new question, which is not to wait for others.
        if self.stage.burst().is_some_and(|burst| burst.flow == id) {
            self.end_burst(cx);
        }
        let Some(flow) = self.flows.get_mut(id) else {
            self.buffer.drop_rest();
            return true;
        };
        receive::receive(flow, &mut self.buffer, cx);
        #[cfg(feature = "policy")]
        let is_relayed = flow.relay.is_some();
        if !flow.mapping.changes.is_empty() {
            self.follow_peers(id);
        }
        #[cfg(feature = "policy")]
        if is_relayed && !self.hear_proxy(id, cx) {
            self.buffer.drop_rest();
            return true;
        }
        if self.buffer.has_rest() {
            self.halfway = Some(id);
            self.flows.arm(id, cx);
        } else {
            self.flows.settle(id, cx);
        }
        self.ask_again(cx);
        true
    }

    /// Flows that still have something to bring in.
    pub(crate) fn backlog(&self) -> usize {
        self.flows.backlog() + usize::from(self.halfway.is_some())
    }

    /// The deadline of a flow has come.
    pub(crate) fn on_deadline(&mut self, id: UdpId, cx: &mut Context) {
        let Some(flow) = self.flows.fired(id) else { return };
        flow.host.on_deadline(cx.now);
        #[cfg(feature = "policy")]
        flow.wait_no_longer(cx);
        if flow.host.is_lost() && !flow.mapping.forward {
            self.remove(id, End::HostReset, cx);
        } else if flow.mapping.expires().is_some_and(|expires| expires <= cx.now) {
            self.remove(id, End::Expired, cx);
        } else {
            self.flows.settle(id, cx);
        }
    }

    /// Ends a flow of the guest's, which a policy that came later forbids.
    #[cfg(feature = "control")]
    pub(crate) fn forbid(&mut self, id: UdpId, cx: &mut Context) {
        self.remove(id, End::Policy, cx);
    }

    /// Forgets who has come through a host forward and may not come any more.
    #[cfg(feature = "control")]
    pub(crate) fn review_clients(&mut self, id: UdpId, cx: &mut Context) {
        self.end_burst(cx);
        let Some(leads) = self.forward(id).map(UdpFlow::guest) else { return };
        let Some(guest) = cx.guest_behind(leads) else { return };
        let Some(flow) = self.flows.get_mut(id) else { return };
        let gate = &cx.gate;
        let may_not = |real: SocketAddr| !gate.incoming(Protocol::Udp, guest, real).is_allowed();
        let refused: Vec<SocketAddr> =
            flow.mapping.peers.iter().map(|peer| peer.real).filter(|&real| may_not(real)).collect();
        flow.mapping.forget(End::Policy, cx, |peer| refused.contains(&peer.real));
        self.follow_peers(id);
    }

    /// Has a host forward lead to another address of the guest. Who came through it before comes anew.
    #[cfg(feature = "control")]
    pub(crate) fn lead(&mut self, id: UdpId, guest: Endpoint, cx: &mut Context) {
        self.end_burst(cx);
        let Some(flow) = self.flows.get_mut(id).filter(|flow| flow.mapping.forward) else { return };
        flow.mapping.end_clients(End::Replaced, cx);
        self.follow_peers(id);
        let Some(flow) = self.flows.get_mut(id) else { return };
        let before = std::mem::replace(&mut flow.mapping.guest, guest);
        self.forwards.remove(&before, id);
        self.forwards.push(guest, id);
    }

    /// Ends all flows.
    pub(crate) fn clear(&mut self, cx: &mut Context) {
        self.by_host.clear();
        for id in self.flows.newest_first() {
            self.remove(id, End::Stopped, cx);
        }
    }
}
