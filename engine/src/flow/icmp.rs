//! ICMP echo flows: the guest's pings to the outside, through a ping socket of the host (a raw one where that is all
//! the host allows). One socket serves one guest address, destination and identifier. Source: docs/contract/icmp.md.

use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr};

use hashbrown::HashMap;
use slotmap::{SlotMap, new_key_type};

use super::Endpoint;
use super::clock_hand::{ClockHand, Visit};
use super::context::{Context, RETRY};
use super::effect::HostSocket;
use super::egress::{Reported, Unreachable};
use super::policy::Destination;
use super::ready::{Mark, ReadyQueue, newest_first};
use super::timers::Slot;
use super::token::{self, Kind};
use super::whole::Whole;
use crate::host::lack::is_lack;
use crate::host::path::ReceivedFrom;
use crate::host::poller::{News, Readiness};
use crate::host::socket::Datagram;
use crate::ip::icmp::{self, ICMP_LEN};
use crate::ip::icmpv6;
use crate::time::{Duration, Instant, earliest};
use crate::wire::checksum::Checksum;

/// Flows at one time. When they are all taken, the one least used goes (second chance).
const MAX_FLOWS: usize = 256;
/// Answers one flow may bring in one turn.
const BUDGET: usize = 64;
/// How long a flow waits after its last request.
const LIFETIME: Duration = Duration::from_secs(30);
/// The time to live of an answer of which the host does not tell it.
const TTL_UNKNOWN: u8 = 255;

new_key_type! {
    /// Names an ICMP flow.
    pub struct IcmpId;
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct EchoKey {
    guest: IpAddr,
    destination: IpAddr,
    identifier: u16,
}

/// The pings of one program in the guest to one destination.
pub(crate) struct IcmpFlow {
    key: EchoKey,
    real: IpAddr,
    socket: Datagram,
    raw: bool,
    tos: u8,
    ttl: u8,
    whole: Whole,
    expires: Instant,
    /// When a read that failed is tried again.
    again: Option<Instant>,
    readable: bool,
    errored: bool,
    queued: Mark,
    used: bool,
    number: u64,
    timer: Slot,
}

impl IcmpFlow {
    pub(crate) fn guest(&self) -> IpAddr {
        self.key.guest
    }

    pub(crate) fn destination(&self) -> IpAddr {
        self.key.destination
    }

    /// Flows are numbered as they are made.
    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    pub(crate) fn socket(&self) -> &Datagram {
        &self.socket
    }

    /// Whether the socket is of no use to watch: the host is asked again at its time.
    pub(crate) fn is_paused(&self) -> bool {
        self.again.is_some()
    }

    fn deadline(&self) -> Option<Instant> {
        earliest(Some(self.expires), self.again)
    }

    /// What is left of the flow's life.
    pub(crate) fn remaining(&self, now: Instant) -> Duration {
        if self.expires > now { self.expires - now } else { Duration::ZERO }
    }
}

/// An echo request from the guest to an address outside the virtual network.
pub(crate) struct EchoRequest<'a> {
    pub source: IpAddr,
    pub destination: IpAddr,
    pub ttl: u8,
    pub tos: u8,
    /// It is not to be cut on its way.
    pub whole: bool,
    /// The ICMP message, of at least eight bytes and with a correct checksum.
    pub message: &'a [u8],
    /// The whole IP packet, for ICMP errors.
    pub packet: &'a [u8],
}

/// All ICMP flows of a stack.
#[derive(Default)]
pub(crate) struct IcmpTable {
    flows: SlotMap<IcmpId, IcmpFlow>,
    by_key: HashMap<EchoKey, IcmpId, foldhash::fast::RandomState>,
    hand: ClockHand<IcmpId>,
    ready: ReadyQueue<IcmpId>,
}

impl IcmpTable {
    /// Takes an echo request from the guest.
    pub(crate) fn on_echo_request(&mut self, request: &EchoRequest<'_>, cx: &mut Context) {
        if cx.policy.reach.restricted {
            return;
        }
        if request.ttl <= 1 {
            cx.egress.time_exceeded(request.packet, cx.now);
            return;
        }
        let Some(&[_, _, _, _, id_high, id_low, _, _]) = request.message.first_chunk::<ICMP_LEN>() else { return };
        let key = EchoKey {
            guest: request.source,
            destination: request.destination,
            identifier: u16::from_be_bytes([id_high, id_low]),
        };
        // Nobody else is under the virtual prefix: what TCP and UDP find there is the host's own.
        if let IpAddr::V6(ip) = request.destination
            && cx.policy.v6.contains(ip)
        {
            cx.egress.unreachable(Unreachable::Network, request.packet, cx.now);
            return;
        }
        let real = match cx.policy.translate(Endpoint::new(request.destination, 0)) {
            Destination::Host(real) => real.ip(),
            Destination::NameServer | Destination::Refused => {
                cx.egress.unreachable(Unreachable::Network, request.packet, cx.now);
                return;
            }
        };
        let id = match self.flow_of(key, real, cx) {
            Ok(id) => id,
            // As for UDP: it is as if the request was lost.
            Err(error) if is_lack(&error) => return,
            Err(_) => {
                // Neither kind of socket is allowed here: the guest is told at once.
                cx.egress.unreachable(Unreachable::Host, request.packet, cx.now);
                return;
            }
        };
        let Some(flow) = self.flows.get_mut(id) else { return };
        flow.used = true;
        flow.tos = request.tos;
        flow.expires = cx.now + LIFETIME;
        let deadline = flow.deadline();
        cx.timers.arm(&mut flow.timer, deadline, token::pack(Kind::Icmp, id));
        if flow.ttl != request.ttl - 1 {
            flow.ttl = request.ttl - 1;
            flow.socket.set_ttl(real.is_ipv6(), flow.ttl);
        }
        flow.whole.prepare(&flow.socket, real.is_ipv6(), request.packet.len(), request.whole);
        // As for UDP, the first try may report an error of an earlier request.
        for _ in 0..2 {
            match flow.socket.send_to(request.message, SocketAddr::new(real, 0)) {
                Ok(_) => return,
                Err(error) => match error.raw_os_error() {
                    Some(libc::EAGAIN | libc::ENOBUFS | libc::ENOMEM | libc::EINTR) => return,
                    Some(libc::ECONNREFUSED | libc::EHOSTUNREACH) if drain_errors(flow, cx) => {}
                    Some(libc::EHOSTUNREACH) => {
                        cx.egress.unreachable(Unreachable::Host, request.packet, cx.now);
                        return;
                    }
                    Some(libc::EMSGSIZE) => return too_large(flow, request, cx),
                    _ => {
                        cx.egress.unreachable(Unreachable::Network, request.packet, cx.now);
                        return;
                    }
                },
            }
        }
    }

    fn flow_of(&mut self, key: EchoKey, real: IpAddr, cx: &mut Context) -> std::io::Result<IcmpId> {
        if let Some(&id) = self.by_key.get(&key) {
            return Ok(id);
        }
        if self.flows.len() >= MAX_FLOWS {
            self.evict(cx);
        }
        cx.egress.neighbors.heard(key.guest, cx.now);
        let source = cx.policy.outbound(SocketAddr::new(real, 0)).map(|address| address.ip());
        let (socket, raw) = cx.open_datagram(|| Datagram::ping(real.is_ipv6(), source))?;
        let id = self.flows.insert(IcmpFlow {
            key,
            real,
            socket,
            raw,
            tos: 0,
            ttl: 0,
            whole: Whole::default(),
            expires: cx.now + LIFETIME,
            again: None,
            readable: false,
            errored: false,
            queued: Mark::default(),
            used: true,
            number: cx.number(),
            timer: Slot::default(),
        });
        let watched =
            self.flows.get(id).is_some_and(|flow| cx.watch(&flow.socket, token::pack(Kind::Icmp, id), News::Incoming));
        if !watched {
            self.flows.remove(id);
            return Err(std::io::Error::from_raw_os_error(libc::ENOMEM));
        }
        self.by_key.insert(key, id);
        cx.giving_way += 1;
        let flows = &self.flows;
        self.hand.insert(id, flows.len(), |id| flows.contains_key(id));
        Ok(id)
    }

    /// Makes room by the rule of the table; false when nothing may go.
    pub(crate) fn evict(&mut self, cx: &mut Context) -> bool {
        let flows = &mut self.flows;
        let victim = self.hand.victim(|id| match flows.get_mut(id) {
            None => Visit::Gone,
            Some(flow) => Visit::of(&mut flow.used),
        });
        let Some(id) = victim else { return false };
        self.remove(id, cx);
        true
    }

    fn remove(&mut self, id: IcmpId, cx: &mut Context) {
        let Some(mut flow) = self.flows.remove(id) else { return };
        cx.timers.disarm(&mut flow.timer, token::pack(Kind::Icmp, id));
        self.by_key.remove(&flow.key);
        cx.giving_way -= 1;
        cx.unwatch(HostSocket::Datagram(flow.socket));
    }

    /// Takes a report of the poller.
    pub(crate) fn on_ready(&mut self, id: IcmpId, ready: Readiness) {
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
        let Some(id) = self.ready.pop() else { return false };
        let Some(flow) = self.flows.get_mut(id) else { return true };
        flow.queued.taken();
        receive(flow, cx);
        if flow.again.is_some() {
            let deadline = flow.deadline();
            cx.timers.arm(&mut flow.timer, deadline, token::pack(Kind::Icmp, id));
        } else if flow.readable {
            self.ready.push(id, &mut flow.queued);
        }
        true
    }

    /// Flows that still have something to bring in.
    pub(crate) fn backlog(&self) -> usize {
        self.ready.len()
    }

    /// The deadline of a flow has come.
    pub(crate) fn on_deadline(&mut self, id: IcmpId, cx: &mut Context) {
        let Some(flow) = self.flows.get_mut(id) else { return };
        flow.timer.fired();
        if flow.again.is_some_and(|again| again <= cx.now) {
            flow.again = None;
            self.ready.push(id, &mut flow.queued);
        }
        if flow.expires <= cx.now {
            self.remove(id, cx);
        } else {
            let deadline = flow.deadline();
            cx.timers.arm(&mut flow.timer, deadline, token::pack(Kind::Icmp, id));
        }
    }

    /// Flows that may have to go.
    pub(crate) fn giving_way(&self) -> usize {
        self.flows.len()
    }

    /// All flows, in no order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (IcmpId, &IcmpFlow)> {
        self.flows.iter()
    }

    /// Ends all flows.
    pub(crate) fn clear(&mut self, cx: &mut Context) {
        for id in newest_first(self.flows.iter().map(|(id, flow)| (id, flow.number))) {
            self.remove(id, cx);
        }
    }
}

/// The path does not carry a request that is to arrive whole.
fn too_large(flow: &mut IcmpFlow, request: &EchoRequest<'_>, cx: &mut Context) {
    drain_errors(flow, cx);
    match flow.whole.take_refused() {
        Some(mtu) => cx.egress.too_large(mtu, request.packet, cx.now),
        None => cx.egress.unreachable(Unreachable::Network, request.packet, cx.now),
    }
}

fn receive(flow: &mut IcmpFlow, cx: &mut Context) {
    if std::mem::take(&mut flow.errored) {
        drain_errors(flow, cx);
    }
    let mut failed = false;
    for _ in 0..BUDGET {
        if cx.room() == 0 {
            return;
        }
        match flow.socket.receive_with_hops(&mut cx.scratch) {
            Ok(received) => deliver(flow, received, cx),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                flow.readable = false;
                return;
            }
            Err(_) if drain_errors(flow, cx) => {}
            // As for UDP.
            Err(_) if failed => {
                flow.again = Some(cx.now + RETRY);
                return;
            }
            Err(_) => failed = true,
        }
    }
}

/// Passes an echo reply on, with the identifier the guest used. A raw socket sees every ICMP message of the host:
/// whatever is not the answer to this flow's requests stays unseen by the guest.
fn deliver(flow: &IcmpFlow, (length, sender, hops): ReceivedFrom, cx: &mut Context) {
    let Some(received) = cx.scratch.get_mut(..length) else { return };
    let message = if flow.raw && flow.real.is_ipv4() {
        let header = received.first().map_or(0, |first| usize::from(first & 0x0f) * 4);
        received.get_mut(header..)
    } else {
        Some(received)
    };
    let Some(message) = message else { return };
    let identifier = flow.key.identifier.to_be_bytes();
    let Some(&mut [kind, ref mut code, ref mut sum_high, ref mut sum_low, ref mut id_high, ref mut id_low, _, _]) =
        message.first_chunk_mut::<ICMP_LEN>()
    else {
        return;
    };
    if kind != if flow.real.is_ipv6() { icmpv6::ECHO_REPLY } else { icmp::ECHO_REPLY }
        || (flow.raw && [*id_high, *id_low] != identifier)
        || sender.is_some_and(|sender| sender.ip() != flow.real)
    {
        return;
    }
    *code = 0;
    [*id_high, *id_low] = identifier;
    [*sum_high, *sum_low] = [0, 0];
    let mut checksum = Checksum::new();
    checksum.add(message);
    let sum = checksum.finish().to_be_bytes();
    if let Some(place) = message.get_mut(2..4) {
        place.copy_from_slice(&sum);
    }
    // We are one more router on its way.
    let ttl = hops.map_or(TTL_UNKNOWN, |hops| hops.saturating_sub(1).max(1));
    cx.egress.icmp(flow.key.destination, flow.key.guest, (flow.tos, ttl), message, cx.now);
}

/// Passes on the errors the kernel kept. False when there was none.
fn drain_errors(flow: &mut IcmpFlow, cx: &mut Context) -> bool {
    let mut any = false;
    for _ in 0..BUDGET {
        let mut message = [0; 520];
        let Some(error) = flow.socket.queued_error(&mut message) else { break };
        any = true;
        if flow.whole.note(&error, flow.real.is_ipv6(), cx.now) {
            continue;
        }
        let Some((kind, code)) = error.icmp else { continue };
        let offender = error.offender.filter(|ip| !ip.is_loopback()).unwrap_or(flow.key.destination);
        let Some(message) = message.get_mut(..error.quoted) else { continue };
        if let Some(identifier) = message.get_mut(4..6) {
            identifier.copy_from_slice(&flow.key.identifier.to_be_bytes());
        }
        let reported = Reported { kind, code, info: error.info, offender, v6: flow.real.is_ipv6() };
        cx.egress.echo_error(reported, flow.key.guest, flow.key.destination, message, cx.now);
    }
    any
}
