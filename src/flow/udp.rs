//! UDP flows. One host socket serves one guest address and port whatever it talks to (RFC 4787: endpoint-independent
//! mapping, and filtering too: any peer may answer); a host forward is a flow whose socket is bound by the rule and
//! that never expires. Source: contract/udp.md.

mod clients;
mod stage;

use std::cmp::Reverse;
use std::collections::VecDeque;
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use hashbrown::HashMap;
use slotmap::{SlotMap, new_key_type};
use stage::{Burst, Stage};

use super::clock_hand::{ClockHand, Visit};
use super::context::Context;
use super::effect::HostSocket;
use super::egress::{Reported, Unreachable};
use super::key::Endpoint;
use super::policy::{Destination, Policy};
use super::timers::Slot;
use super::token::{self, Kind};
use crate::host::local_address::LocalAddress;
use crate::host::mmsg::{MAX_RECEIVE, MAX_SEND, ReceiveBuffer};
use crate::host::poller::Readiness;
use crate::host::socket::Datagram;
use crate::time::{Duration, Instant};

/// Flows of the guest at one time. When they are all taken, the one least used goes (second chance).
const MAX_FLOWS: usize = 4096;
/// Flows that go at once when the process runs out of descriptors.
const SPARE: usize = 4;
/// Host forwards at one time; a further one is refused.
const MAX_FORWARDS: usize = 4096;
/// Peers a flow of the guest remembers by the address the guest knows them by; the oldest goes.
const MAX_PEERS: usize = 64;
/// Datagrams one flow may bring in one turn before others have theirs.
const BUDGET: usize = 64;
/// Datagrams the first read of a flow asks for.
const FIRST_BATCH: u8 = 2;
/// How long a flow lives after its last datagram.
const LIFETIME: Duration = Duration::from_secs(240);
/// How long a flow lives after an answer from the name server.
const DNS_LIFETIME: Duration = Duration::from_secs(10);

new_key_type! {
    /// Names a UDP flow.
    pub struct UdpId;
}

/// A peer whose real address is not the one the guest knows.
#[derive(Clone, Copy, Debug)]
struct Peer {
    real: SocketAddr,
    known_as: Endpoint,
    /// Which address of the host it sent to, where that has to be known.
    local: Option<LocalAddress>,
}

/// One UDP mapping.
pub struct UdpFlow {
    guest: Endpoint,
    /// Where the guest last sent to, as it named it.
    remote: Option<Endpoint>,
    socket: Datagram,
    /// The family of the socket. It is the guest's, but for queries to a name server of the other family and for
    /// forwards between the two.
    v6: bool,
    forward: bool,
    peers: VecDeque<Peer>,
    expires: Instant,
    ttl: u8,
    readable: bool,
    errored: bool,
    queued: bool,
    used: bool,
    /// The kernel cuts runs of datagrams itself, as far as we know.
    segmenting: bool,
    /// How many datagrams the next read asks for; grows with use.
    batch: u8,
    number: u64,
    timer: Slot,
}

impl UdpFlow {
    pub fn guest(&self) -> Endpoint {
        self.guest
    }

    pub fn remote(&self) -> Option<Endpoint> {
        self.remote
    }

    /// Flows are numbered as they are made.
    pub fn number(&self) -> u64 {
        self.number
    }

    pub fn socket(&self) -> &Datagram {
        &self.socket
    }

    pub fn is_forward(&self) -> bool {
        self.forward
    }

    /// What is left of the flow's life; `None` for a host forward.
    pub fn remaining(&self, now: Instant) -> Option<Duration> {
        if self.forward {
            return None;
        }
        Some(if self.expires > now { self.expires - now } else { Duration::ZERO })
    }

    fn remember(&mut self, real: SocketAddr, known_as: Endpoint) {
        let is_it = |peer: &Peer| peer.real == real && peer.known_as == known_as;
        if self.peers.back().is_some_and(is_it) || (self.forward && self.peers.iter().any(is_it)) {
            return;
        }
        self.peers.retain(|peer| peer.known_as != known_as && peer.real != real);
        if self.peers.len() >= self.max_peers() {
            self.peers.pop_front();
        }
        self.peers.push_back(Peer { real, known_as, local: None });
    }

    /// The real address of the peer the guest knows as `known_as`.
    fn peer_known_as(&self, known_as: Endpoint) -> Option<SocketAddr> {
        self.peers.iter().find(|peer| peer.known_as == known_as).map(|peer| peer.real)
    }

    /// The address the guest knows `real` by.
    fn known_as(&self, real: SocketAddr, policy: &Policy) -> Endpoint {
        let by_address = || self.peers.iter().rev().find(|peer| peer.real.ip() == real.ip());
        if let Some(peer) = self.peers.iter().rev().find(|peer| peer.real == real) {
            peer.known_as
        } else if let Some(peer) = by_address() {
            // Another port of a host the guest talks to: it answers from that port of the known address.
            Endpoint::new(peer.known_as.ip, real.port())
        } else if self.forward || self.v6 == self.guest.ip.is_ipv6() {
            Endpoint::new(policy.visible(real.ip(), self.guest.ip.is_ipv6()), real.port())
        } else {
            // The socket for a name server of the other family is for nobody else.
            real.into()
        }
    }
}

/// A datagram from the guest.
pub struct FromGuest<'a> {
    pub source: Endpoint,
    pub destination: Endpoint,
    pub ttl: u8,
    pub payload: &'a [u8],
    /// The whole IP packet, for ICMP errors.
    pub packet: &'a [u8],
}

/// All UDP flows of a stack.
pub struct UdpTable {
    /// How many flows of the guest there may be: [`MAX_FLOWS`], or less while the process has no more descriptors.
    room: usize,
    flows: SlotMap<UdpId, UdpFlow>,
    /// By the guest's address and port and the family of the socket.
    by_guest: HashMap<(Endpoint, bool), UdpId, foldhash::fast::RandomState>,
    /// The forwards to a guest address and port, oldest first.
    forwards: HashMap<Endpoint, Vec<UdpId>, foldhash::fast::RandomState>,
    forward_count: usize,
    hand: ClockHand<UdpId>,
    ready: VecDeque<UdpId>,
    stage: Stage,
    buffer: ReceiveBuffer,
}

impl Default for UdpTable {
    fn default() -> UdpTable {
        UdpTable {
            room: MAX_FLOWS,
            flows: SlotMap::default(),
            by_guest: HashMap::default(),
            forwards: HashMap::default(),
            forward_count: 0,
            hand: ClockHand::default(),
            ready: VecDeque::default(),
            stage: Stage::default(),
            buffer: ReceiveBuffer::default(),
        }
    }
}

impl UdpTable {
    /// Takes a datagram from the guest.
    pub fn on_datagram(&mut self, datagram: &FromGuest<'_>, cx: &mut Context) {
        if self.stage.continued_by(datagram) {
            if !self.stage.has_room(datagram) {
                self.flush(cx);
            }
            self.stage.push(datagram);
            return;
        }
        self.end_burst(cx);
        let forward = self.forward_for(datagram, cx.policy.restricted);
        if cx.policy.restricted && forward.is_none() {
            return;
        }
        if datagram.ttl <= 1 {
            cx.egress.time_exceeded(datagram.packet, cx.now);
            return;
        }
        let known = forward.and_then(|id| self.flows.get(id)?.peer_known_as(datagram.destination));
        let real = known.or_else(|| match cx.policy.translate(datagram.destination) {
            Destination::Host(real) => Some(real),
            Destination::NameServer => name_server(datagram, cx),
            Destination::Refused => None,
        });
        let Some(real) = real else {
            cx.egress.unreachable(Unreachable::Network, datagram.packet, cx.now);
            return;
        };
        // A forward whose socket is of the other family reaches the peers that came through it, and nobody else.
        let forward = forward.filter(|&id| self.flows.get(id).is_some_and(|flow| flow.v6 == real.is_ipv6()));
        let Some(id) = forward.or_else(|| self.flow_of(datagram.source, real, cx)) else { return };
        let Some(flow) = self.flows.get_mut(id) else { return };
        flow.used = true;
        flow.remote = Some(datagram.destination);
        if !flow.forward {
            flow.expires = cx.now + LIFETIME;
            cx.timers.arm(&mut flow.timer, Some(flow.expires), token::pack(Kind::Udp, id));
        }
        // What is not translated needs no remembering, but for the loopback: it is also what the virtual host stands for.
        if real.ip() != datagram.destination.ip || real.ip().is_loopback() || flow.forward {
            let known_as = match datagram.destination.ip {
                // Nobody answers from the broadcast address.
                IpAddr::V4(ip) if ip.is_broadcast() => Endpoint::new(cx.policy.vhost, datagram.destination.port),
                // Nor from a group, and least of all from the host's own loopback.
                IpAddr::V6(ip) if ip.is_multicast() => Endpoint::new(cx.policy.vhost6, datagram.destination.port),
                _ => datagram.destination,
            };
            flow.remember(real, known_as);
        }
        if flow.ttl != datagram.ttl - 1 {
            flow.ttl = datagram.ttl - 1;
            flow.socket.set_ttl(real.is_ipv6(), flow.ttl);
        }
        send(flow, datagram, real, cx);
        // Each query may go to another server, and a forward's peers are apart already.
        if forward.is_none() && !cx.policy.is_name_server(datagram.destination) {
            let FromGuest { source, destination, ttl, .. } = *datagram;
            self.stage.begin(Burst { flow: id, source, destination, ttl, real });
        }
    }

    /// Whether datagrams are staged for the host.
    pub fn has_staged(&self) -> bool {
        !self.stage.is_empty()
    }

    /// A round of the application's loop begins: staged datagrams go to the host. While `more_coming`, a burst that may
    /// still grow is held, for a bounded number of rounds.
    pub fn begin_round(&mut self, more_coming: bool, cx: &mut Context) {
        if !self.stage.hold(more_coming) {
            self.end_burst(cx);
        }
    }

    fn end_burst(&mut self, cx: &mut Context) {
        self.flush(cx);
        self.stage.end();
    }

    /// Sends what is staged.
    fn flush(&mut self, cx: &mut Context) {
        if self.stage.is_empty() {
            return;
        }
        if let Some(&burst) = self.stage.burst()
            && let Some(flow) = self.flows.get_mut(burst.flow)
        {
            send_staged(flow, &burst, &self.stage, cx);
            flow.used = true;
            flow.expires = cx.now + LIFETIME;
        }
        self.stage.clear();
    }

    /// The host forward a datagram from the guest belongs to: the one whose peer it is addressed to, else (not in
    /// restricted mode) the first one of that guest address and port.
    fn forward_for(&self, datagram: &FromGuest<'_>, only_peers: bool) -> Option<UdpId> {
        if self.forwards.is_empty() {
            return None;
        }
        // A forward to the unspecified address is one to whatever address the guest has.
        let anywhere = Endpoint::new(Ipv6Addr::UNSPECIFIED, datagram.source.port);
        let anywhere = if datagram.source.ip.is_ipv6() { self.forwards.get(&anywhere) } else { None };
        let ids = self.forwards.get(&datagram.source).into_iter().chain(anywhere).flatten().copied();
        let talks =
            |id: &UdpId| self.flows.get(*id).is_some_and(|flow| flow.peer_known_as(datagram.destination).is_some());
        let peer = ids.clone().find(talks);
        if only_peers { peer } else { peer.or_else(|| ids.clone().next()) }
    }

    fn flow_of(&mut self, guest: Endpoint, real: SocketAddr, cx: &mut Context) -> Option<UdpId> {
        let v6 = real.is_ipv6();
        if let Some(&id) = self.by_guest.get(&(guest, v6)) {
            return Some(id);
        }
        if self.by_guest.len() >= self.room {
            self.evict(cx);
        }
        let source = cx.policy.outbound(real);
        let socket = match Datagram::outgoing(v6, source) {
            Ok(socket) => socket,
            Err(error) => {
                if out_of_descriptors(&error) {
                    self.make_room(cx);
                }
                return None;
            }
        };
        let id = self.insert(guest, socket, v6, false, cx)?;
        self.by_guest.insert((guest, v6), id);
        let flows = &self.flows;
        self.hand.insert(id, self.by_guest.len(), |id| flows.contains_key(id));
        Some(id)
    }

    fn insert(
        &mut self,
        guest: Endpoint,
        socket: Datagram,
        v6: bool,
        forward: bool,
        cx: &mut Context,
    ) -> Option<UdpId> {
        let id = self.flows.insert(UdpFlow {
            guest,
            remote: None,
            socket,
            v6,
            forward,
            peers: VecDeque::new(),
            expires: cx.now + LIFETIME,
            ttl: 0,
            readable: false,
            errored: false,
            queued: false,
            used: true,
            segmenting: true,
            batch: FIRST_BATCH,
            number: cx.number(),
            timer: Slot::default(),
        });
        let flow = self.flows.get(id)?;
        if cx.watch(&flow.socket, token::pack(Kind::Udp, id), false) {
            return Some(id);
        }
        self.flows.remove(id);
        None
    }

    /// The process has no descriptor left: the table shrinks a little. The descriptors of the flows that go are closed
    /// only once the application was told, so this datagram is lost; but from the next one on there is one to spare.
    fn make_room(&mut self, cx: &mut Context) {
        for _ in 0..SPARE {
            self.evict(cx);
        }
        self.room = self.by_guest.len().max(1);
    }

    /// Makes room by the rule of the table; false when nothing may go.
    fn evict(&mut self, cx: &mut Context) -> bool {
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
            if let Some(ids) = self.forwards.get_mut(&flow.guest) {
                ids.retain(|&other| other != id);
                if ids.is_empty() {
                    self.forwards.remove(&flow.guest);
                }
            }
        } else {
            self.by_guest.remove(&(flow.guest, flow.v6));
            if self.by_guest.len() < self.room / 2 {
                self.room = MAX_FLOWS;
            }
        }
        cx.unwatch(HostSocket::Datagram(flow.socket));
    }

    /// Adds a host forward: what arrives at `socket` goes to `guest`. Gives the socket back when there is no room.
    ///
    /// # Errors
    /// `OutOfMemory` when the table of forwards is full or the poller refuses the socket.
    pub fn add_forward(&mut self, socket: Datagram, guest: Endpoint, cx: &mut Context) -> std::io::Result<()> {
        // The guest's datagrams may belong to the forward from now on.
        self.end_burst(cx);
        if self.forward_count >= MAX_FORWARDS {
            return Err(std::io::Error::from_raw_os_error(libc::ENOMEM));
        }
        let v6 = socket.local_address().is_some_and(|local| local.is_ipv6());
        let id =
            self.insert(guest, socket, v6, true, cx).ok_or_else(|| std::io::Error::from_raw_os_error(libc::ENOMEM))?;
        self.forwards.entry(guest).or_default().push(id);
        self.forward_count += 1;
        Ok(())
    }

    /// Removes the host forward bound to `address`; false when there is none.
    pub fn remove_forward(&mut self, address: SocketAddr, cx: &mut Context) -> bool {
        let found = self.flows.iter().find(|(_, flow)| {
            flow.forward && flow.socket.local_address().is_some_and(|local| Endpoint::from(local) == address.into())
        });
        let Some((id, _)) = found else { return false };
        self.remove(id, cx);
        true
    }

    /// Takes a report of the poller.
    pub fn on_ready(&mut self, id: UdpId, ready: Readiness) {
        let Some(flow) = self.flows.get_mut(id) else { return };
        if !(ready.readable || ready.error) {
            return;
        }
        flow.readable = true;
        flow.errored |= ready.error;
        if !std::mem::replace(&mut flow.queued, true) {
            self.ready.push_back(id);
        }
    }

    /// Takes one turn of one flow that is ready; false when none is.
    pub fn work(&mut self, cx: &mut Context) -> bool {
        let Some(id) = self.ready.pop_front() else { return false };
        let Some(flow) = self.flows.get_mut(id) else { return true };
        flow.queued = false;
        if flow.forward {
            receive(flow, cx);
        } else {
            receive_many(flow, &mut self.buffer, cx);
        }
        if flow.readable {
            flow.queued = true;
            self.ready.push_back(id);
        }
        if !flow.forward {
            cx.timers.arm(&mut flow.timer, Some(flow.expires), token::pack(Kind::Udp, id));
        }
        true
    }

    /// Flows that still have something to bring in.
    pub fn backlog(&self) -> usize {
        self.ready.len()
    }

    /// The deadline of a flow has come.
    pub fn on_deadline(&mut self, id: UdpId, cx: &mut Context) {
        let Some(flow) = self.flows.get_mut(id) else { return };
        flow.timer.fired();
        if flow.forward {
            return;
        }
        if flow.expires <= cx.now {
            self.remove(id, cx);
        } else {
            cx.timers.arm(&mut flow.timer, Some(flow.expires), token::pack(Kind::Udp, id));
        }
    }

    pub fn len(&self) -> usize {
        self.flows.len()
    }

    pub fn is_empty(&self) -> bool {
        self.flows.is_empty()
    }

    /// All flows, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (UdpId, &UdpFlow)> {
        self.flows.iter()
    }

    /// Ends all flows.
    pub fn clear(&mut self, cx: &mut Context) {
        let mut ids: Vec<UdpId> = self.flows.keys().collect();
        ids.sort_by_key(|&id| Reverse(self.flows.get(id).map(|flow| flow.number)));
        for id in ids {
            self.remove(id, cx);
        }
    }
}

/// The name server this query is to go to.
fn name_server(datagram: &FromGuest<'_>, cx: &mut Context) -> Option<SocketAddr> {
    cx.name_servers.for_query(datagram.payload, datagram.source, datagram.destination.ip.is_ipv6(), cx.now)
}

fn send(flow: &mut UdpFlow, datagram: &FromGuest<'_>, real: SocketAddr, cx: &mut Context) {
    let local = flow.local_for(datagram.destination);
    // The first try may report an error of an *earlier* datagram; then that error is passed on and the send repeated.
    for _ in 0..2 {
        let Err(error) = flow.socket.send_from(datagram.payload, real, local) else { return };
        match error.raw_os_error() {
            Some(libc::EAGAIN | libc::ENOBUFS | libc::EINTR) => return,
            Some(libc::ECONNREFUSED | libc::EHOSTUNREACH | libc::EPROTO | libc::ENOPROTOOPT)
                if drain_errors(flow, cx) => {}
            Some(libc::EHOSTUNREACH) => {
                cx.egress.unreachable(Unreachable::Host, datagram.packet, cx.now);
                return;
            }
            Some(libc::ECONNREFUSED) => {}
            _ => {
                cx.egress.unreachable(Unreachable::Network, datagram.packet, cx.now);
                return;
            }
        }
    }
}

/// Sends the staged datagrams of a burst.
fn send_staged(flow: &mut UdpFlow, burst: &Burst, stage: &Stage, cx: &mut Context) {
    let mut payloads: [&[u8]; MAX_SEND] = [&[]; MAX_SEND];
    for (index, slot) in payloads.iter_mut().enumerate() {
        *slot = stage.get(index).1;
    }
    let mut done = 0;
    while let Some(rest) = payloads.get(done..stage.len()) {
        let Err((sent, _)) = flow.socket.send_many(rest, burst.real, &mut flow.segmenting) else { return };
        done += sent;
        // The one that failed is tried on its own, which finds out whose error it was.
        let (packet, payload) = stage.get(done);
        let Burst { source, destination, ttl, real, .. } = *burst;
        send(flow, &FromGuest { source, destination, ttl, payload, packet }, real, cx);
        done += 1;
    }
}

fn receive(flow: &mut UdpFlow, cx: &mut Context) {
    if std::mem::take(&mut flow.errored) {
        drain_errors(flow, cx);
    }
    let mut scratch = std::mem::take(&mut cx.scratch);
    for _ in 0..BUDGET {
        match flow.socket.receive_at(&mut scratch) {
            Ok((length, Some(real), local)) => {
                flow.meet(real, local, &cx.policy);
                deliver(flow, scratch.get(..length).unwrap_or_default(), real, cx);
            }
            Ok((_, None, _)) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                flow.readable = false;
                break;
            }
            // The kernel reports a queued error here once more; the queue says what it was.
            Err(_) => {
                drain_errors(flow, cx);
            }
        }
    }
    cx.scratch = scratch;
}

/// As [`receive`], with several datagrams in one system call.
fn receive_many(flow: &mut UdpFlow, buffer: &mut ReceiveBuffer, cx: &mut Context) {
    if std::mem::take(&mut flow.errored) {
        drain_errors(flow, cx);
    }
    let mut left = BUDGET;
    while left > 0 {
        let want = usize::from(flow.batch).min(left);
        match buffer.receive(&flow.socket, want) {
            Ok(count) => {
                for slot in 0..count {
                    if let Some((payload, Some(real))) = buffer.get(slot) {
                        deliver(flow, payload, real, cx);
                    }
                }
                if count < want {
                    flow.readable = false;
                    flow.batch = flow.batch.min(u8::try_from(2 * count).unwrap_or(u8::MAX)).max(FIRST_BATCH);
                    return;
                }
                left -= count;
                flow.batch = flow.batch.saturating_mul(2).min(MAX_RECEIVE as u8);
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                flow.readable = false;
                return;
            }
            // The kernel reports a queued error here once more; the queue says what it was.
            Err(_) => {
                drain_errors(flow, cx);
                left -= 1;
            }
        }
    }
}

/// Passes a datagram from the host on to the guest.
fn deliver(flow: &mut UdpFlow, payload: &[u8], real: SocketAddr, cx: &mut Context) {
    flow.used = true;
    // While the guest is not known, what comes for it is lost.
    let Some(guest) = cx.guest_behind(flow.guest) else { return };
    let source = flow.known_as(real, &cx.policy);
    if flow.forward {
        flow.remember(real, source);
    } else {
        let from_name_server = cx.policy.is_name_server(source);
        if from_name_server {
            cx.name_servers.answered(real, payload, flow.guest);
        }
        flow.expires = cx.now + if from_name_server { DNS_LIFETIME } else { LIFETIME };
    }
    if source.ip.is_ipv4() != flow.guest.ip.is_ipv4() {
        return;
    }
    cx.egress.udp(source, guest, payload, 0, cx.now);
}

/// Passes on the errors the kernel kept. False when there was none.
fn drain_errors(flow: &mut UdpFlow, cx: &mut Context) -> bool {
    let mut any = false;
    for _ in 0..BUDGET {
        let mut payload = [0; 520];
        let Some(error) = flow.socket.queued_error(&mut payload) else { break };
        any = true;
        let Some(destination) = error.destination else { continue };
        if flow.forward {
            continue;
        }
        let known_as = flow.known_as(destination, &cx.policy);
        if cx.policy.is_name_server(known_as) {
            cx.name_servers.failed(destination, cx.now);
        }
        let Some((kind, code)) = error.icmp else { continue };
        // The host's own loopback is not to be seen by the guest: the address it sent to answers instead.
        let offender = error.offender.filter(|ip| !ip.is_loopback());
        let payload = payload.get(..error.quoted).unwrap_or_default();
        let reported =
            Reported { kind, code, info: error.info, offender: offender.unwrap_or(known_as.ip), v6: flow.v6 };
        cx.egress.datagram_error(reported, flow.guest, known_as, payload, cx.now);
    }
    any
}

fn out_of_descriptors(error: &std::io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM))
}
