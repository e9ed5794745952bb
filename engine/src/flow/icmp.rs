//! ICMP echo flows: the guest's pings to the outside, through a ping socket of the host (a raw one where that is all
//! the host allows). One socket serves one guest address, destination and identifier. Source: docs/contract/icmp.md.

use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr};

use slotmap::new_key_type;

use super::Endpoint;
use super::clock_hand::ClockHand;
use super::context::Context;
use super::datagram::{self, HostHalf};
use super::effect::Leaving;
use super::egress::{Reported, Unreachable};
use super::gate::{Admission, Protocol};
use super::journal::{About, Account, Carrier, End, Refusal};
use super::meter::{Meter, Way};
use super::policy::Destination;
use super::table::{Entry, Flow, GivesWay, Table};
use super::token::Kind;
use crate::host::error_queue::QueuedError;
use crate::host::fault::{Fault, is_lack, no_memory};
use crate::host::handle::RawSocket;
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
pub(crate) struct EchoKey {
    guest: IpAddr,
    destination: IpAddr,
    identifier: u16,
}

/// The guest's half of a flow: who asks whom, and as what.
struct Echo {
    key: EchoKey,
    real: IpAddr,
    /// What is received begins with the IP header, and is not only this flow's.
    raw: bool,
    tos: u8,
    expires: Instant,
    account: Account,
    /// What it is counted by, where there are limits.
    meter: Meter,
}

/// The pings of one program in the guest to one destination.
pub(crate) struct IcmpFlow {
    echo: Echo,
    host: HostHalf,
    used: bool,
}

impl IcmpFlow {
    pub(crate) fn guest(&self) -> IpAddr {
        self.echo.key.guest
    }

    pub(crate) fn destination(&self) -> IpAddr {
        self.echo.key.destination
    }

    pub(crate) fn socket(&self) -> &Datagram {
        self.host.socket()
    }

    /// The real destination.
    #[cfg(feature = "control")]
    pub(crate) fn real(&self) -> IpAddr {
        self.echo.real
    }

    /// What has gone through it.
    #[cfg(feature = "control")]
    pub(crate) fn account(&self) -> &Account {
        &self.echo.account
    }

    /// What is left of the flow's life.
    pub(crate) fn remaining(&self, now: Instant) -> Duration {
        datagram::remaining(self.echo.expires, now)
    }
}

impl Flow for IcmpFlow {
    type Id = IcmpId;
    type Key = EchoKey;
    type Order = ClockHand<IcmpId>;
    const KIND: Kind = Kind::Icmp;
    const NEWS: News = News::Incoming;

    fn key(&self) -> Option<EchoKey> {
        Some(self.echo.key)
    }

    fn socket(&self) -> Option<RawSocket> {
        Some(self.host.descriptor())
    }

    fn on_ready(&mut self, ready: Readiness) {
        self.host.on_ready(ready);
    }

    fn wants_turn(&self) -> bool {
        self.host.wants_turn()
    }

    fn deadline(&self) -> Option<Instant> {
        earliest(Some(self.echo.expires), self.host.deadline())
    }

    fn interest(&self) -> (bool, bool) {
        (!self.host.is_paused(), false)
    }
}

impl GivesWay for IcmpFlow {
    fn used(&mut self) -> &mut bool {
        &mut self.used
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
    pub flows: Table<IcmpFlow>,
}

impl IcmpTable {
    /// Takes an echo request from the guest.
    pub(crate) fn on_echo_request(&mut self, request: &EchoRequest<'_>, cx: &mut Context) {
        let [guest, remote] = [request.source, request.destination].map(|ip| Endpoint { ip, port: 0 });
        let note = |why, cx: &mut Context| {
            cx.journal.refused(&About::out(Carrier::Icmp, guest, remote, None), why, cx.now);
        };
        if cx.policy.reach.restricted {
            return note(Refusal::Restricted, cx);
        }
        if request.ttl <= 1 {
            note(Refusal::HopsExceeded, cx);
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
            note(Refusal::NoRoute, cx);
            cx.egress.unreachable(Unreachable::Network, request.packet, cx.now);
            return;
        }
        let real = match cx.policy.translate(Endpoint::new(request.destination, 0)) {
            Destination::Host(real) => real.ip(),
            Destination::NameServer | Destination::Refused => {
                note(Refusal::NoRoute, cx);
                cx.egress.unreachable(Unreachable::Network, request.packet, cx.now);
                return;
            }
        };
        let mut admission = Admission::OPEN;
        if !cx.gate.is_open() && self.flows.find(&key).is_none() {
            admission = cx.gate.out(Protocol::Icmp, guest, remote, SocketAddr::new(real, 0), cx.now);
            if cx.turns_away(admission, request.packet) {
                let about = About::out(Carrier::Icmp, guest, remote, None).by(admission);
                return cx.journal.refused(&about, admission.refusal(), cx.now);
            }
        }
        let mut meter = None;
        if cx.has_limits() {
            if self.flows.find(&key).is_none() {
                let Some(begun) = cx.begins(request.source, None) else {
                    note(Refusal::Limit, cx);
                    return cx.egress.unreachable(Unreachable::Prohibited, request.packet, cx.now);
                };
                meter = begun;
            }
            if !cx.passes(request.source, None, Way::Up, request.message.len()) {
                return cx.ends(meter);
            }
        }
        let id = match self.flow_of(key, real, admission, cx) {
            Ok(id) => id,
            // As for UDP: it is as if the request was lost.
            Err(error) if is_lack(&error) => {
                cx.ends(meter);
                return note(Refusal::NoResources, cx);
            }
            Err(error) => {
                cx.ends(meter);
                note(Refusal::of(&error), cx);
                // Neither kind of socket is allowed here: the guest is told at once.
                cx.egress.unreachable(Unreachable::Host, request.packet, cx.now);
                return;
            }
        };
        let Some(IcmpFlow { echo, host, used }) = self.flows.get_mut(id) else { return };
        if meter.is_some() {
            echo.meter = meter;
        }
        *used = true;
        echo.tos = request.tos;
        echo.expires = cx.now + LIFETIME;
        host.set_ttl(request.ttl - 1);
        host.prepare(request.packet.len(), request.whole);
        // As for UDP, the first try may report an error of an earlier request.
        for _ in 0..2 {
            let Err(error) = host.socket().send_to(request.message, SocketAddr::new(real, 0)) else {
                return echo.account.gave_host(request.message.len());
            };
            let why = match Fault::of(&error) {
                Fault::WouldBlock | Fault::Memory | Fault::Interrupted => return,
                Fault::Refused | Fault::HostUnreachable
                    if host.take_errors(cx.now, |error, quoted| echo.on_error(error, quoted, cx)) =>
                {
                    continue;
                }
                Fault::HostUnreachable => Unreachable::Host,
                Fault::TooLong => {
                    // The path does not carry a request that is to arrive whole.
                    host.take_errors(cx.now, |error, quoted| echo.on_error(error, quoted, cx));
                    if let Some(mtu) = host.take_refused() {
                        return cx.egress.too_large(mtu, request.packet, cx.now);
                    }
                    Unreachable::Network
                }
                Fault::Gone => {
                    host.lose(cx);
                    Unreachable::Network
                }
                _ => Unreachable::Network,
            };
            return cx.egress.unreachable(why, request.packet, cx.now);
        }
    }

    fn flow_of(
        &mut self,
        key: EchoKey,
        real: IpAddr,
        admission: Admission,
        cx: &mut Context,
    ) -> std::io::Result<IcmpId> {
        if let Some(id) = self.flows.find(&key) {
            if !self.flows.get(id).is_some_and(|flow| flow.host.is_lost()) {
                return Ok(id);
            }
            self.remove(id, End::HostReset, cx);
        }
        if self.flows.len() >= MAX_FLOWS {
            self.evict(cx);
        }
        cx.egress.neighbors.heard(key.guest, cx.now);
        let source = cx.policy.outbound(SocketAddr::new(real, 0));
        let made = cx.open_datagram(|| Datagram::ping(real.is_ipv6(), source.map(|address| address.ip())));
        let (socket, raw) = cx.tell_of_source(source, made)?;
        let account = Account::default();
        let echo = Echo { key, real, raw, tos: 0, expires: cx.now + LIFETIME, account, meter: None };
        let flow = IcmpFlow { echo, host: HostHalf::new(socket, real.is_ipv6()), used: true };
        let id = self.flows.admit(flow, cx).map_err(|_| no_memory())?;
        if let Some(entry) = self.flows.entry(id) {
            let (guest, remote) = (Endpoint { ip: key.guest, port: 0 }, Endpoint { ip: key.destination, port: 0 });
            let about = About::out(Carrier::Icmp, guest, remote, Some(SocketAddr::new(real, 0))).by(admission);
            let name = cx.gate.name_to_log(&about, &cx.policy, cx.now);
            cx.journal.begun(entry.number, &about, name, cx.now);
        }
        cx.giving_way += 1;
        self.flows.give_way(id);
        Ok(id)
    }

    /// Makes room by the rule of the table; false when nothing may go.
    pub(crate) fn evict(&mut self, cx: &mut Context) -> bool {
        self.flows.victim().inspect(|&id| self.remove(id, End::MadeRoom, cx)).is_some()
    }

    /// Ends a flow that a policy which came later forbids.
    #[cfg(feature = "control")]
    pub(crate) fn forbid(&mut self, id: IcmpId, cx: &mut Context) {
        self.remove(id, End::Policy, cx);
    }

    fn remove(&mut self, id: IcmpId, why: End, cx: &mut Context) {
        if let Some(Entry { mut flow, number, .. }) = self.flows.remove(id, cx) {
            cx.ends(flow.echo.meter.take());
            cx.journal.ended(number, Carrier::Icmp, &flow.echo.account, (why, || None), cx.now);
            cx.giving_way -= 1;
            cx.unwatch(Leaving::Datagram(flow.host.into_socket()));
        }
    }

    /// Takes one turn of one flow that is ready; false when none is.
    pub(crate) fn work(&mut self, cx: &mut Context) -> bool {
        let Some(id) = self.flows.next_turn() else { return false };
        if let Some(flow) = self.flows.get_mut(id) {
            receive(flow, cx);
        }
        self.flows.settle(id, cx);
        true
    }

    /// The deadline of a flow has come.
    pub(crate) fn on_deadline(&mut self, id: IcmpId, cx: &mut Context) {
        let Some(flow) = self.flows.fired(id) else { return };
        flow.host.on_deadline(cx.now);
        if flow.host.is_lost() {
            self.remove(id, End::HostReset, cx);
        } else if flow.echo.expires <= cx.now {
            self.remove(id, End::Expired, cx);
        } else {
            self.flows.settle(id, cx);
        }
    }

    /// Ends all flows.
    pub(crate) fn clear(&mut self, cx: &mut Context) {
        for id in self.flows.newest_first() {
            self.remove(id, End::Stopped, cx);
        }
    }
}

fn receive(IcmpFlow { echo, host, .. }: &mut IcmpFlow, cx: &mut Context) {
    if host.was_told_of_errors() {
        host.take_errors(cx.now, |error, quoted| echo.on_error(error, quoted, cx));
    }
    let mut failed = false;
    for _ in 0..BUDGET {
        if cx.room() == 0 {
            return;
        }
        match host.socket().receive_with_hops(&mut cx.scratch) {
            Ok(received) => echo.deliver(received, cx),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return host.is_drained(),
            Err(error) if Fault::of(&error) == Fault::Gone => return host.lose(cx),
            Err(_) if host.take_errors(cx.now, |error, quoted| echo.on_error(error, quoted, cx)) => {}
            // As for UDP.
            Err(_) if failed => return host.pause(cx.now),
            Err(_) => failed = true,
        }
    }
}

impl Echo {
    /// Passes an echo reply on, with the identifier the guest used. A raw socket sees every ICMP message of the host:
    /// whatever is not the answer to this flow's requests stays unseen by the guest.
    fn deliver(&mut self, (length, sender, hops): ReceivedFrom, cx: &mut Context) {
        let Some(received) = cx.scratch.get_mut(..length) else { return };
        let message = if self.raw && self.real.is_ipv4() {
            let header = received.first().map_or(0, |first| usize::from(first & 0x0f) * 4);
            received.get_mut(header..)
        } else {
            Some(received)
        };
        let Some(message) = message else { return };
        let identifier = self.key.identifier.to_be_bytes();
        let Some(&mut [kind, ref mut code, ref mut sum_high, ref mut sum_low, ref mut id_high, ref mut id_low, _, _]) =
            message.first_chunk_mut::<ICMP_LEN>()
        else {
            return;
        };
        if kind != if self.real.is_ipv6() { icmpv6::ECHO_REPLY } else { icmp::ECHO_REPLY }
            || (self.raw && [*id_high, *id_low] != identifier)
            || sender.is_some_and(|sender| sender.ip() != self.real)
        {
            return;
        }
        #[cfg(feature = "policy")]
        if let Some(limits) = &mut cx.limits
            && !limits.datagram(self.key.guest, None, Way::Down, length, cx.now)
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
        self.account.gave_guest(message.len());
        // We are one more router on its way.
        let ttl = hops.map_or(TTL_UNKNOWN, |hops| hops.saturating_sub(1).max(1));
        cx.egress.icmp(self.key.destination, self.key.guest, (self.tos, ttl), message, cx.now);
    }

    /// Passes on an error that the kernel kept.
    fn on_error(&self, error: &QueuedError, quoted: &mut [u8], cx: &mut Context) {
        let Some((kind, code)) = error.icmp else { return };
        let offender = error.offender.filter(|ip| !ip.is_loopback()).unwrap_or(self.key.destination);
        if let Some(identifier) = quoted.get_mut(4..6) {
            identifier.copy_from_slice(&self.key.identifier.to_be_bytes());
        }
        let reported = Reported { kind, code, info: error.info, offender, v6: self.real.is_ipv6() };
        cx.egress.echo_error(reported, self.key.guest, self.key.destination, quoted, cx.now);
    }
}
