//! Datagrams that a proxy relays (RFC 1928 section 7), for a rule that leads them through one: each has its other end before it, on both
//! ways. What the guest sends while the proxy is still asked waits, a few datagrams of each flow.

use std::net::{IpAddr, SocketAddr};

use super::associate::State;
use super::kept::Kept;
use super::send::Sent;
use super::stage::{Burst, Stage};
use super::{FromGuest, LIFETIME, Mapping, UdpFlow};
use crate::flow::context::Context;
use crate::flow::egress::Unreachable;
use crate::flow::key::Endpoint;
use crate::flow::meter::Way as MeterWay;
use crate::flow::via::Lane;
use crate::host::fault::Fault;
use crate::host::mmsg::{MAX_SEND, Received};
use crate::host::socket::Stream;
use crate::policy::Proxy;
#[cfg(feature = "control")]
use crate::policy::Via;
use crate::proxy::{Sender, Target, head, unwrap, wrap};
use crate::wire::header::{IPV6_LEN, UDP_LEN};

/// Datagrams of one flow that wait for its proxy, and bytes of them; what comes then is dropped.
const MOST_KEPT: usize = 16;
const MOST_BYTES: usize = 24 * 1024;

/// What a flow knows of its proxy.
pub(super) struct Relay {
    /// The connection by which the proxy was asked: it relays as long as that is there.
    pub stream: Option<Stream>,
    pub state: State,
    pub proxy: Proxy,
    /// Where the flow goes, if that is one destination.
    pub only: Option<Only>,
    pub kept: Vec<(Kept, SocketAddr)>,
    bytes: usize,
    /// There may be something to hear of the proxy.
    pub news: bool,
}

/// The one destination of a flow.
pub(super) struct Only {
    /// As the proxy is told of it.
    pub target: Target,
    pub real: SocketAddr,
    /// Which address has answered.
    pub answers: Option<IpAddr>,
}

impl Only {
    /// Whether this is who answers from there: which address a name has there, is the proxy's business, but then it is one.
    fn is(&mut self, sender: Sender) -> bool {
        let same = match (sender, &self.target) {
            (Sender::Address(address), Target::Address(real)) => address.ip() == real.ip().to_canonical(),
            (Sender::Address(address), Target::Name(..)) => *self.answers.get_or_insert(address.ip()) == address.ip(),
            (Sender::Named(_), target) => matches!(target, Target::Name(..)),
        };
        same && sender.port() == self.real.port()
    }
}

impl Relay {
    pub(super) fn new(proxy: Proxy, only: Option<Only>, stream: Option<Stream>, state: State) -> Relay {
        Relay { stream, state, proxy, only, kept: Vec::new(), bytes: 0, news: false }
    }

    fn keep(&mut self, datagram: &FromGuest<'_>, real: SocketAddr) {
        if self.kept.len() < MOST_KEPT && self.bytes < MOST_BYTES {
            self.bytes += datagram.packet.len();
            self.kept.push((Kept::of(datagram), real));
        }
    }

    /// Who has sent something: as the guest knows him, and as he is.
    fn peer(&mut self, sender: Sender, mapping: &Mapping, cx: &Context) -> Option<(Endpoint, SocketAddr)> {
        match (mapping.lane, &mut self.only, sender) {
            (Lane::Proxy(_, Some(named)), Some(only), _) => only.is(sender).then_some((named, only.real)),
            (Lane::Proxy(_, None), None, Sender::Address(real)) => Some((mapping.known_as(real, &cx.policy), real)),
            _ => None,
        }
    }
}

impl UdpFlow {
    /// Has the proxy relay a datagram, now or once it does.
    pub(super) fn send_through(&mut self, datagram: &FromGuest<'_>, real: SocketAddr, cx: &mut Context) -> Sent {
        let Some(relay) = &mut self.relay else { return Sent::Done };
        let address = match relay.state {
            State::Asking(_) => {
                relay.keep(datagram, real);
                return Sent::Done;
            }
            State::Refused(until) => {
                self.mapping.expires = until;
                return Sent::Unreachable(Unreachable::Prohibited);
            }
            State::Open(address) => address,
        };
        // The first try may report an error of an earlier datagram.
        for _ in 0..2 {
            let Some(relay) = &self.relay else { break };
            let own = Target::Address(real);
            let target = relay.only.as_ref().map_or(&own, |only| &only.target);
            let Some(message) = wrap(target, datagram.payload, &mut cx.scratch) else {
                return Sent::Unreachable(Unreachable::Network);
            };
            // It is longer than what the guest has sent, and the guest does not know this part of its way: it may be cut.
            self.host.prepare(IPV6_LEN + UDP_LEN + message.len(), false);
            let Err(error) = self.host.socket().send_to(message, address) else {
                cx.pace.on_given();
                self.mapping.gave_host(real, datagram.payload.len());
                return Sent::Done;
            };
            match Fault::of(&error) {
                Fault::WouldBlock | Fault::Memory | Fault::Interrupted => return Sent::Lack,
                Fault::Refused | Fault::HostUnreachable | Fault::NoProtocol if self.take_errors(cx) => {}
                // The connection to the proxy tells when it is not there any more.
                Fault::Refused => {}
                Fault::HostUnreachable => return Sent::Unreachable(Unreachable::Host),
                Fault::Gone => {
                    self.host.lose(cx);
                    return Sent::Unreachable(Unreachable::Network);
                }
                _ => return Sent::Unreachable(Unreachable::Network),
            }
        }
        Sent::Done
    }

    /// Whether its proxy relays now, so that a burst can go to it at once.
    pub(super) fn is_relaying(&self) -> bool {
        matches!(&self.relay, Some(relay) if matches!(relay.state, State::Open(_)))
    }

    /// Has the proxy relay the staged datagrams of a burst.
    pub(super) fn send_staged_through(&mut self, burst: &Burst, stage: &Stage, cx: &mut Context) {
        let mut done = 0;
        while done < stage.len() {
            done += self.send_run_through(burst, stage, done);
            if done >= stage.len() {
                break;
            }
            // The one that failed is tried on its own, which finds out whose error it was.
            let (packet, payload) = stage.get(done);
            let Burst { source, destination, ttl, whole, .. } = *burst;
            let datagram = FromGuest { source, destination, ttl, whole, payload, packet };
            if let Sent::Unreachable(why) = self.send_through(&datagram, burst.real, cx) {
                cx.egress.unreachable(why, packet, cx.now);
            }
            done += 1;
        }
    }

    /// Has it relay these from the given one on, in as few calls as there can be; how many of them went before one failed.
    fn send_run_through(&mut self, burst: &Burst, stage: &Stage, first: usize) -> usize {
        let Some(relay) = &self.relay else { return 0 };
        let State::Open(address) = relay.state else { return 0 };
        // All of a burst have one destination.
        let own = Target::Address(burst.real);
        let head = head(relay.only.as_ref().map_or(&own, |only| &only.target));
        let mut bytes =
            Vec::with_capacity((first..stage.len()).map(|index| head.len() + stage.get(index).1.len()).sum());
        let (mut ends, mut longest) = ([0; MAX_SEND], 0);
        for (end, index) in ends.iter_mut().zip(first..stage.len()) {
            let payload = stage.get(index).1;
            bytes.extend_from_slice(&head);
            bytes.extend_from_slice(payload);
            longest = longest.max(head.len() + payload.len());
            *end = bytes.len();
        }
        let mut messages: [&[u8]; MAX_SEND] = [&[]; MAX_SEND];
        let mut rest = bytes.as_slice();
        let mut start = 0;
        let mut count = 0;
        for (message, end) in messages.iter_mut().zip(ends).take(stage.len() - first) {
            (*message, rest) = rest.split_at(end - start);
            start = end;
            count += 1;
        }
        let messages = messages.get(..count).unwrap_or_default();
        // They are longer than what the guest has sent, and the guest does not know this part of their way: they may be cut.
        self.host.prepare(IPV6_LEN + UDP_LEN + longest, false);
        let sent = match self.host.socket().send_many(messages, address, None, &mut self.bulk.segmenting) {
            Ok(()) => count,
            Err((sent, _)) => sent,
        };
        let payloads = messages.iter().take(sent).map(|message| message.len() - head.len());
        self.mapping.gave_host(burst.real, payloads.sum());
        sent
    }

    /// Has the proxy relay what has waited for it.
    pub(super) fn send_kept(&mut self, cx: &mut Context) {
        let kept = self.relay.as_mut().map(|relay| std::mem::take(&mut relay.kept));
        for (kept, real) in kept.unwrap_or_default() {
            let datagram = kept.datagram(self.mapping.guest);
            if let Sent::Unreachable(why) = self.send_through(&datagram, real, cx) {
                cx.egress.unreachable(why, datagram.packet, cx.now);
            }
        }
    }

    /// Whether what it carries still goes by the way that the rule of this number leads it, if it is a rule.
    #[cfg(feature = "control")]
    pub(crate) fn is_led_by(&self, rule: Option<u32>, via: Option<&Via>) -> bool {
        match (self.mapping.lane, &self.relay, via) {
            (Lane::Proxy(own, only), Some(relay), Some(Via::Proxy(proxy))) => {
                rule == Some(own.get()) && relay.proxy == *proxy && only.is_some() == proxy.names
            }
            (Lane::Proxy(..), ..) => false,
            (_, _, via) => !matches!(via, Some(Via::Proxy(_))),
        }
    }
}

/// Passes what the proxy has relayed on to the guest. Apart from what is done for each datagram that no proxy has.
#[inline(never)]
pub(super) fn deliver(flow: &mut UdpFlow, received: &Received<'_>, cx: &mut Context) {
    let UdpFlow { mapping, relay: Some(relay), used, .. } = flow else { return };
    let State::Open(address) = relay.state else { return };
    // Nobody else has anything to say here. (Scopes and labels apart.)
    if received.sender.map(Endpoint::from) != Some(Endpoint::from(address)) {
        return;
    }
    *used = true;
    let Some(guest) = cx.guest_behind(mapping.guest) else { return };
    for datagram in received.datagrams() {
        let Some((sender, payload)) = unwrap(datagram) else { continue };
        let Some((source, real)) = relay.peer(sender, mapping, cx) else { continue };
        let answer = cx.gate.answer(mapping.guest, source, real, cx.now);
        let is_heard = answer.is_allowed() && cx.course(answer, source, real).lane == mapping.lane;
        if !is_heard || source.ip.is_ipv4() != mapping.guest.ip.is_ipv4() {
            continue;
        }
        if cx.has_limits() && !cx.passes(guest.ip, answer.rule(), MeterWay::Down, payload.len()) {
            continue;
        }
        mapping.expires = cx.now + LIFETIME;
        mapping.gave_guest(real, payload.len());
        cx.egress.udp(source, guest, payload, 0, cx.now);
    }
}
