//! The table of UDP flows: finding them, the forwards, the bounds.

use std::collections::VecDeque;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use hashbrown::HashMap;
use slotmap::{SlotMap, new_key_type};

use super::receive::{self, FIRST_BATCH};
use super::stage::Stage;
use super::{FromGuest, LIFETIME, UdpFlow};
use crate::flow::clock_hand::{ClockHand, Visit};
use crate::flow::context::Context;
use crate::flow::effect::HostSocket;
use crate::flow::key::Endpoint;
use crate::flow::ready::{Mark, ReadyQueue, newest_first};
use crate::flow::timers::Slot;
use crate::flow::token::{self, Kind};
use crate::flow::whole::Whole;
use crate::host::lack::is_lack;
use crate::host::mmsg::ReceiveBuffer;
use crate::host::poller::{News, Readiness};
use crate::host::socket::Datagram;

/// Flows of the guest at one time. When they are all taken, the one least used goes (second chance).
const MAX_FLOWS: usize = 4096;
/// Host forwards at one time; a further one is refused.
const MAX_FORWARDS: usize = 4096;

new_key_type! {
    /// Names a UDP flow.
    pub struct UdpId;
}

/// All UDP flows of a stack.
#[derive(Default)]
pub(crate) struct UdpTable {
    pub(super) flows: SlotMap<UdpId, UdpFlow>,
    /// By the guest's address and port and the family of the socket.
    by_guest: HashMap<(Endpoint, bool), UdpId, foldhash::fast::RandomState>,
    /// The forwards to a guest address and port, oldest first.
    forwards: HashMap<Endpoint, Vec<UdpId>, foldhash::fast::RandomState>,
    forward_count: usize,
    /// The forwards by what they are bound to; the scope of a link-local address is not told apart.
    by_host: HashMap<Endpoint, Vec<UdpId>, foldhash::fast::RandomState>,
    hand: ClockHand<UdpId>,
    ready: ReadyQueue<UdpId>,
    pub(super) stage: Stage,
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
        let own = self.forwards.get(&source).into_iter().flatten().copied();
        let anywhere = self.forwards.get(&Endpoint { ip: nowhere, port: source.port }).into_iter().flatten().copied();
        let talks =
            |id: &UdpId| self.flows.get(*id).is_some_and(|flow| flow.peer_known_as(datagram.destination).is_some());
        let peer = own.clone().chain(anywhere.clone()).find(talks);
        if cx.policy.reach.restricted {
            return peer;
        }
        // Answers would go to where the forward leads, which must be where this comes from.
        let is_guest = || cx.guest_address(source.ip.is_ipv6()) == Some(source.ip);
        peer.or_else(|| own.clone().next()).or_else(|| anywhere.clone().next().filter(|_| is_guest()))
    }

    /// The flow for what `guest` sends to `real`, a new one if need be; `None` when there is no room for it now.
    ///
    /// # Errors
    /// What `socket` or `bind` said, but for a lack of descriptors or memory.
    pub(super) fn flow_of(
        &mut self,
        guest: Endpoint,
        real: SocketAddr,
        cx: &mut Context,
    ) -> std::io::Result<Option<UdpId>> {
        let v6 = real.is_ipv6();
        if let Some(&id) = self.by_guest.get(&(guest, v6)) {
            return Ok(Some(id));
        }
        if self.by_guest.len() >= MAX_FLOWS {
            self.evict(cx);
        }
        cx.egress.neighbors.heard(guest.ip, cx.now);
        let source = cx.policy.outbound(real);
        let socket = match cx.open_datagram(|| Datagram::outgoing(v6, source)) {
            Ok(socket) => socket,
            Err(error) if is_lack(&error) => return Ok(None),
            Err(error) => return Err(error),
        };
        let Some(id) = self.insert(guest, socket, v6, false, cx) else { return Ok(None) };
        self.by_guest.insert((guest, v6), id);
        cx.giving_way += 1;
        let flows = &self.flows;
        self.hand.insert(id, self.by_guest.len(), |id| flows.contains_key(id));
        Ok(Some(id))
    }

    fn insert(
        &mut self,
        guest: Endpoint,
        socket: Datagram,
        v6: bool,
        forward: bool,
        cx: &mut Context,
    ) -> Option<UdpId> {
        if !cx.policy.reach.host_loopback {
            socket.leave_this_host_out(v6);
        }
        let id = self.flows.insert(UdpFlow {
            guest,
            remote: None,
            socket,
            v6,
            forward,
            bound: None,
            peers: VecDeque::new(),
            expires: cx.now + LIFETIME,
            again: None,
            ttl: 0,
            whole: Whole::default(),
            readable: false,
            errored: false,
            queued: Mark::default(),
            used: true,
            segmenting: true,
            batch: FIRST_BATCH,
            prepared: false,
            number: cx.number(),
            timer: Slot::default(),
        });
        let flow = self.flows.get(id)?;
        if cx.watch(&flow.socket, token::pack(Kind::Udp, id), News::Incoming) {
            return Some(id);
        }
        self.flows.remove(id);
        None
    }

    /// Makes room by the rule of the table; false when nothing may go.
    pub(crate) fn evict(&mut self, cx: &mut Context) -> bool {
        let flows = &mut self.flows;
        let victim = self.hand.victim(|id| match flows.get_mut(id) {
            None => Visit::Gone,
            Some(flow) => Visit::of(&mut flow.used),
        });
        match victim {
            Some(id) => {
                self.remove(id, cx);
                true
            }
            None => false,
        }
    }

    fn remove(&mut self, id: UdpId, cx: &mut Context) {
        if self.stage.burst().is_some_and(|burst| burst.flow == id) {
            self.end_burst(cx);
        }
        let Some(mut flow) = self.flows.remove(id) else { return };
        cx.timers.disarm(&mut flow.timer, token::pack(Kind::Udp, id));
        if flow.forward {
            self.forward_count -= 1;
            forget(&mut self.forwards, flow.guest, id);
            if let Some(local) = flow.bound {
                forget(&mut self.by_host, local.into(), id);
            }
        } else {
            self.by_guest.remove(&(flow.guest, flow.v6));
            cx.giving_way -= 1;
        }
        cx.unwatch(HostSocket::Datagram(flow.socket));
    }

    /// Adds a host forward: what arrives at `socket` goes to `guest`. `None` when the table of forwards is full or the poller
    /// has no room.
    pub(crate) fn add_forward(&mut self, socket: Datagram, guest: Endpoint, cx: &mut Context) -> Option<UdpId> {
        // The guest's datagrams may belong to the forward from now on.
        self.end_burst(cx);
        if self.forward_count >= MAX_FORWARDS {
            return None;
        }
        let local = socket.local_address();
        let v6 = local.is_some_and(|local| local.is_ipv6());
        let id = self.insert(guest, socket, v6, true, cx)?;
        self.flows.get_mut(id)?.bound = local;
        self.forwards.entry(guest).or_default().push(id);
        if let Some(local) = local {
            self.by_host.entry(local.into()).or_default().push(id);
        }
        self.forward_count += 1;
        Some(id)
    }

    /// The host forward bound to `address`; the oldest one, should there be several.
    pub(crate) fn find_forward(&self, address: SocketAddr) -> Option<UdpId> {
        self.by_host.get(&Endpoint::from(address))?.first().copied()
    }

    /// The flow of a host forward.
    pub(crate) fn forward(&self, id: UdpId) -> Option<&UdpFlow> {
        self.flows.get(id).filter(|flow| flow.forward)
    }

    /// All host forwards, in no order.
    pub(crate) fn forwards(&self) -> impl Iterator<Item = (UdpId, &UdpFlow)> {
        self.by_host.values().flatten().filter_map(|&id| Some((id, self.flows.get(id)?)))
    }

    /// Removes a host forward; false when there is none.
    pub(crate) fn remove_forward(&mut self, id: UdpId, cx: &mut Context) -> bool {
        let found = self.forward(id).is_some();
        if found {
            self.remove(id, cx);
        }
        found
    }

    /// Takes a report of the poller.
    pub(crate) fn on_ready(&mut self, id: UdpId, ready: Readiness) {
        let Some(flow) = self.flows.get_mut(id) else { return };
        if !(ready.readable || ready.error) {
            return;
        }
        flow.readable = true;
        flow.errored |= ready.error;
        if flow.again.is_none() {
            self.ready.push(id, &mut flow.queued);
        }
    }

    /// Takes one turn of one flow that is ready; false when none is.
    pub(crate) fn work(&mut self, cx: &mut Context) -> bool {
        // The one of whose datagrams some still lie in the buffer goes first, as nobody else can use it.
        let Some(id) = self.halfway.take().or_else(|| self.ready.pop()) else { return false };
        // After an answer the guest's next datagram is a new question, which is not to wait for others.
        if self.stage.burst().is_some_and(|burst| burst.flow == id) {
            self.end_burst(cx);
        }
        let Some(flow) = self.flows.get_mut(id) else {
            self.buffer.drop_rest();
            return true;
        };
        flow.queued.taken();
        receive::receive(flow, &mut self.buffer, cx);
        if self.buffer.has_rest() {
            self.halfway = Some(id);
        } else if flow.readable && flow.again.is_none() {
            self.ready.push(id, &mut flow.queued);
        }
        let deadline = flow.deadline();
        cx.timers.arm(&mut flow.timer, deadline, token::pack(Kind::Udp, id));
        self.ask_again(cx);
        true
    }

    /// Flows that still have something to bring in.
    pub(crate) fn backlog(&self) -> usize {
        self.ready.len() + usize::from(self.halfway.is_some())
    }

    /// The deadline of a flow has come.
    pub(crate) fn on_deadline(&mut self, id: UdpId, cx: &mut Context) {
        let Some(flow) = self.flows.get_mut(id) else { return };
        flow.timer.fired();
        if flow.again.is_some_and(|again| again <= cx.now) {
            flow.again = None;
            self.ready.push(id, &mut flow.queued);
        }
        if flow.expires <= cx.now && !flow.forward {
            self.remove(id, cx);
        } else {
            let deadline = flow.deadline();
            cx.timers.arm(&mut flow.timer, deadline, token::pack(Kind::Udp, id));
        }
    }

    /// Flows that may have to go.
    pub(crate) fn giving_way(&self) -> usize {
        self.by_guest.len()
    }

    pub(crate) fn len(&self) -> usize {
        self.flows.len()
    }

    /// All flows, in no order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (UdpId, &UdpFlow)> {
        self.flows.iter()
    }

    /// Ends all flows.
    pub(crate) fn clear(&mut self, cx: &mut Context) {
        self.by_host.clear();
        for id in newest_first(self.flows.iter().map(|(id, flow)| (id, flow.number))) {
            self.remove(id, cx);
        }
    }
}

/// Takes a forward off the list of those with one address.
fn forget(lists: &mut HashMap<Endpoint, Vec<UdpId>, foldhash::fast::RandomState>, at: Endpoint, id: UdpId) {
    let Some(ids) = lists.get_mut(&at) else { return };
    // The newest is last, and most likely to go.
    if let Some(index) = ids.iter().rposition(|&other| other == id) {
        ids.remove(index);
    }
    if ids.is_empty() {
        lists.remove(&at);
    }
}
