//! Datagrams from the guest, on their way to the host.

use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU32;

#[cfg(feature = "policy")]
use super::hello::is_to_be_heard;
use super::stage::{Burst, Stage};
use super::table::UdpTable;
use super::{LIFETIME, UdpFlow, UdpId};
use crate::flow::context::Context;
use crate::flow::egress::{Reported, Unreachable};
use crate::flow::gate::{Admission, Service};
use crate::flow::journal::{About, Carrier, Refusal, Way};
use crate::flow::key::Endpoint;
#[cfg(feature = "policy")]
use crate::flow::key::FlowKey;
use crate::flow::meter::{Meter, Way as MeterWay};
use crate::flow::name_server::Moved;
#[cfg(feature = "policy")]
use crate::flow::name_server::Ruling;
use crate::flow::policy::Destination;
use crate::flow::table::Entry;
use crate::flow::via::Course;
use crate::host::fault::Fault;
use crate::host::mmsg::MAX_SEND;
use crate::ip::icmp;
use crate::pace::Hold;
use crate::wire::header::ETHERNET_MTU;

/// The time to live of a query that is asked again.
const QUERY_TTL: u8 = 64;

/// A datagram from the guest.
pub(crate) struct FromGuest<'a> {
    pub source: Endpoint,
    pub destination: Endpoint,
    pub ttl: u8,
    /// It is not to be cut on its way (DF; over IPv6, the guest has not cut it itself).
    pub whole: bool,
    pub payload: &'a [u8],
    /// The whole IP packet, for ICMP errors.
    pub packet: &'a [u8],
}

impl UdpTable {
    /// Takes a datagram from the guest.
    pub(crate) fn on_datagram(&mut self, datagram: &FromGuest<'_>, cx: &mut Context) {
        if self.stage.continued_by(datagram) {
            if cx.has_limits() && !may_pass(datagram, self.stage.burst().and_then(|burst| burst.rule), cx) {
                return;
            }
            if !self.stage.has_room(datagram) {
                self.flush(cx);
            }
            self.stage.push(datagram);
            return;
        }
        self.on_first(datagram, cx);
    }

    /// Takes a datagram that continues no burst.
    #[inline(never)]
    fn on_first(&mut self, datagram: &FromGuest<'_>, cx: &mut Context) {
        self.end_burst(cx);
        #[cfg_attr(not(feature = "policy"), expect(unused_mut, reason = "no query is looked at"))]
        let mut forward = self.forward_for(datagram, cx);
        if cx.policy.reach.restricted && forward.is_none() {
            return note_refused(datagram, Refusal::Restricted, cx);
        }
        if datagram.ttl <= 1 {
            note_refused(datagram, Refusal::HopsExceeded, cx);
            cx.egress.time_exceeded(datagram.packet, cx.now);
            return;
        }
        let known = forward.and_then(|id| self.peer_of(id, datagram.destination));
        let meaning = known.map_or_else(|| cx.policy.translate(datagram.destination), Destination::Host);
        let is_answer = || known.is_some() && self.is_way_back(forward, datagram.source, cx);
        let mut verdict = Admission::OPEN;
        if !(cx.gate.is_open() || is_answer()) {
            verdict = admission(datagram, meaning, cx);
            #[cfg(feature = "policy")]
            if let Destination::Host(real) = meaning
                && is_to_be_heard(verdict, datagram)
                && !self.hears(datagram, (real, verdict), cx)
            {
                return;
            }
            if cx.turns_away(verdict, datagram.packet) {
                let about = About::out(Carrier::Udp, datagram.source, datagram.destination, None);
                let service = (meaning == Destination::NameServer).then_some(Service::Dns);
                return cx.journal.refused(&about.for_service(service).by(verdict), verdict.refusal(), cx.now);
            }
        }
        #[cfg(feature = "policy")]
        let mut other = None;
        #[cfg(feature = "policy")]
        if meaning == Destination::NameServer && cx.looks_at_queries() {
            // Its answer is to come to where it is expected.
            forward = None;
            match cx
                .rule_on_datagram(datagram.payload, FlowKey { guest: datagram.source, remote: datagram.destination })
            {
                Ruling::AskOn(query, _) => other = query,
                Ruling::Reply(reply) => {
                    return cx.egress.udp(datagram.destination, datagram.source, &reply, 0, cx.now);
                }
                Ruling::Silence => return,
            }
        }
        #[cfg(feature = "policy")]
        let in_its_place = FromGuest { payload: other.as_deref().unwrap_or(datagram.payload), ..*datagram };
        #[cfg(feature = "policy")]
        let datagram = &in_its_place;
        let real = match meaning {
            Destination::Host(real) => Some(real),
            Destination::NameServer => name_server(datagram, cx),
            Destination::Refused => None,
        };
        let Some(real) = real else {
            let query = cx.policy.is_name_server(datagram.destination);
            note_refused(datagram, if query { Refusal::NoNameServer } else { Refusal::NoRoute }, cx);
            cx.egress.unreachable(Unreachable::Network, datagram.packet, cx.now);
            return;
        };
        let course = cx.course(verdict, datagram.destination, real);
        // A forward whose socket is of the other family reaches the peers that came through it, and nobody else.
        let forward = forward.filter(|&id| {
            !course.lane.is_relayed() && self.flows.get(id).is_some_and(|flow| flow.host.is_v6() == course.is_v6())
        });
        let mut meter = None;
        if cx.has_limits() {
            match self.begins(datagram, (course, verdict), forward, cx) {
                Some(begun) if may_pass(datagram, verdict.rule(), cx) => meter = begun,
                Some(begun) => return cx.ends(begun),
                None => {
                    note_refused(datagram, Refusal::Limit, cx);
                    return cx.egress.unreachable(Unreachable::Prohibited, datagram.packet, cx.now);
                }
            }
        }
        let (sent, burst) = self.send_to(datagram, (course, verdict), forward, cx);
        if let Some(id) = forward {
            self.follow_peers(id);
        }
        if meter.is_some() {
            self.keep_meter(datagram.source, course, meter, cx);
        }
        let is_query = cx.policy.is_name_server(datagram.destination);
        match sent {
            Sent::Done => {}
            Sent::Lack => not_sent(datagram, real, cx),
            Sent::Unreachable(_) if is_query && refused(datagram, real, cx) => {}
            Sent::Unreachable(why) => cx.egress.unreachable(why, datagram.packet, cx.now),
        }
        // Each query may go to another server.
        if let Some(burst) = burst.filter(|_| forward.is_some() || !is_query) {
            self.stage.begin(burst);
        }
        self.ask_again(cx);
    }

    /// What a flow is counted by that is about to begin, or that has only asked the name server so far, which is not counted. `None`
    /// when a limit keeps it from that.
    #[cold]
    fn begins(
        &mut self,
        datagram: &FromGuest<'_>,
        (course, verdict): (Course, Admission),
        forward: Option<UdpId>,
        cx: &mut Context,
    ) -> Option<Meter> {
        if forward.is_some() || cx.policy.is_name_server(datagram.destination) {
            return Some(None);
        }
        let id = self.flows.find(&(datagram.source, course.is_v6(), course.lane));
        let meter = id.and_then(|id| self.flows.get_mut(id)).map(|flow| &mut flow.mapping.meter);
        if let Some(meter) = meter.filter(|meter| meter.is_some()) {
            return cx.joins_also(meter, verdict.rule()).then_some(None);
        }
        let mut meter = cx.begins(datagram.source.ip, None)?;
        if cx.joins_also(&mut meter, verdict.rule()) {
            return Some(meter);
        }
        cx.ends(meter);
        None
    }

    #[cold]
    fn keep_meter(&mut self, source: Endpoint, course: Course, meter: Meter, cx: &mut Context) {
        match self.flows.find(&(source, course.is_v6(), course.lane)).and_then(|id| self.flows.get_mut(id)) {
            Some(flow) if flow.mapping.meter.is_none() => flow.mapping.meter = meter,
            _ => cx.ends(meter),
        }
    }

    /// Whether what comes from `source` answers who came through a forward: it is the guest that the forward leads to.
    #[cold]
    fn is_way_back(&self, forward: Option<UdpId>, source: Endpoint, cx: &Context) -> bool {
        let Some(flow) = forward.and_then(|id| self.flows.get(id)) else { return false };
        let guest = flow.guest();
        let anywhere = guest.ip.is_unspecified() && cx.guest_address(source.ip.is_ipv6()) == Some(source.ip);
        guest.port == source.port && (guest.ip == source.ip || anywhere)
    }

    /// Sends the first datagram of what may be a burst on its course, through a forward or else through the flow for it. `None`
    /// for a burst when there is no flow, and where a proxy is to relay it and does not yet.
    fn send_to(
        &mut self,
        datagram: &FromGuest<'_>,
        (course, verdict): (Course, Admission),
        forward: Option<UdpId>,
        cx: &mut Context,
    ) -> (Sent, Option<Burst>) {
        let real = course.real;
        let own = || self.flow_of(datagram.source, datagram.destination, (course, verdict), cx);
        let id = match forward.map_or_else(own, |id| Ok(Some(id))) {
            Ok(Some(id)) => id,
            Ok(None) => return (Sent::Lack, None),
            // The host does not speak this family, or has no such source address: there is no route.
            Err(_) => return (Sent::Unreachable(Unreachable::Network), None),
        };
        if let Some(Entry { flow, number, .. }) = self.flows.entry(id)
            && flow.mapping.goes_elsewhere(datagram.destination)
        {
            let about = About::out(Carrier::Udp, datagram.source, datagram.destination, Some(course.next)).by(verdict);
            let name = cx.gate.name_to_log(&about, &cx.policy, cx.now);
            let ends = (datagram.destination, course.next);
            cx.journal.goes_to(*number, datagram.source, ends, (verdict, name), cx.now);
        }
        let Some(flow) = self.flows.get_mut(id) else { return (Sent::Done, None) };
        flow.used = true;
        let mapping = &mut flow.mapping;
        mapping.remote = Some(datagram.destination);
        mapping.expires = cx.now + LIFETIME;
        // What is not translated needs no remembering, but for the loopback: it is also what the virtual host stands for.
        let destination = datagram.destination;
        if real.port() != destination.port || real.ip() != destination.ip || real.ip().is_loopback() || mapping.forward
        {
            let known_as = match datagram.destination.ip {
                // Nobody answers from the broadcast address.
                IpAddr::V4(ip) if ip.is_broadcast() => Endpoint::new(cx.policy.v4.host, datagram.destination.port),
                // Nor from a group, and least of all from the host's own loopback.
                IpAddr::V6(ip) if ip.is_multicast() => Endpoint::new(cx.policy.v6.host, datagram.destination.port),
                _ => datagram.destination,
            };
            mapping.remember(real, known_as, (Way::Out, verdict), cx);
        }
        let FromGuest { source, destination, ttl, whole, .. } = *datagram;
        let local = mapping.local_for(destination);
        let rule = verdict.rule();
        let burst = Burst {
            flow: id,
            source,
            destination,
            ttl,
            whole,
            real,
            local,
            rule,
            #[cfg(feature = "policy")]
            verdict,
        };
        #[cfg(feature = "policy")]
        if course.lane.is_relayed() {
            let sent = flow.send_through(datagram, real, cx);
            return (sent, (sent == Sent::Done && flow.is_relaying()).then_some(burst));
        }
        flow.host.set_ttl(ttl - 1);
        flow.prepare(datagram.packet.len(), whole);
        (send(flow, datagram, &burst, cx), Some(burst))
    }

    /// Sends what a name server has refused to the next one. Each server has a query once, so this ends.
    #[inline]
    pub(super) fn ask_again(&mut self, cx: &mut Context) {
        while let Some(moved) = cx.name_servers.next_moved() {
            self.ask(&moved, cx);
        }
    }

    #[cold]
    fn ask(&mut self, moved: &Moved, cx: &mut Context) {
        let (source, destination) = (moved.client, moved.known_as);
        let datagram =
            FromGuest { source, destination, ttl: QUERY_TTL, whole: false, payload: &moved.query, packet: &[] };
        let course = cx.course(Admission::OPEN, destination, moved.server);
        match self.send_to(&datagram, (course, Admission::OPEN), None, cx).0 {
            Sent::Done => {}
            Sent::Lack => not_sent(&datagram, moved.server, cx),
            Sent::Unreachable(_) if refused(&datagram, moved.server, cx) => {}
            Sent::Unreachable(_) => {
                let (kind, code) = (icmp::DESTINATION_UNREACHABLE, icmp::NET_UNREACHABLE);
                let reported = Reported { kind, code, info: 0, offender: destination.ip, v6: false };
                cx.egress.datagram_error(reported, source, destination, &moved.query, cx.now);
            }
        }
    }

    /// Whether datagrams are staged for the host.
    pub(crate) fn has_staged(&self) -> bool {
        !self.stage.is_empty()
    }

    /// Whether the next round finds neither a burst that may go on nor a query that is to be asked again.
    pub(crate) fn is_at_rest(&self, cx: &Context) -> bool {
        self.stage.burst().is_none() && !cx.name_servers.has_moved()
    }

    /// A round of the application's loop begins: staged datagrams go to the host, unless the burst is held as it may still
    /// grow.
    pub(crate) fn begin_round(&mut self, hold: Hold, cx: &mut Context) {
        if self.stage.burst().is_some() && !self.stage.is_held(hold) {
            self.end_burst(cx);
        }
        self.ask_again(cx);
    }

    pub(super) fn end_burst(&mut self, cx: &mut Context) {
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
            flow.used = true;
            flow.mapping.expires = cx.now + LIFETIME;
            flow.send_staged(&burst, &self.stage, cx);
        }
        self.stage.clear();
    }
}

/// There will be no flow for a datagram of the guest.
fn note_refused(datagram: &FromGuest<'_>, why: Refusal, cx: &mut Context) {
    cx.journal.refused(&About::out(Carrier::Udp, datagram.source, datagram.destination, None), why, cx.now);
}

/// Whether a datagram is within the limits. What goes to the virtual name server is not counted.
#[cold]
fn may_pass(datagram: &FromGuest<'_>, rule: Option<NonZeroU32>, cx: &mut Context) -> bool {
    cx.policy.is_name_server(datagram.destination)
        || cx.passes(datagram.source.ip, rule, MeterWay::Up, datagram.payload.len())
}

/// Whether a datagram may go where its destination leads.
fn admission(datagram: &FromGuest<'_>, meaning: Destination, cx: &mut Context) -> Admission {
    match meaning {
        Destination::Host(real) => cx.gate.datagram_out(datagram.source, datagram.destination, real, cx.now),
        Destination::NameServer => cx.gate.datagram_to(Service::Dns, datagram.source, datagram.destination),
        Destination::Refused => Admission::OPEN,
    }
}

/// The name server this query is to go to.
fn name_server(datagram: &FromGuest<'_>, cx: &mut Context) -> Option<SocketAddr> {
    let v6 = datagram.destination.ip.is_ipv6();
    let server = cx.name_servers.for_query(datagram.payload, datagram.source, v6, cx.now);
    if server.is_none() {
        cx.tell_of_no_name_server();
    }
    server
}

/// The host lacked something for a datagram. If that was a query, no server is to blame.
#[cold]
fn not_sent(datagram: &FromGuest<'_>, real: SocketAddr, cx: &mut Context) {
    if cx.policy.is_name_server(datagram.destination) {
        cx.name_servers.unsent(real, datagram.payload, datagram.source);
    }
}

/// A query cannot be sent to `server`. Whether another one has it.
#[cold]
fn refused(datagram: &FromGuest<'_>, server: SocketAddr, cx: &mut Context) -> bool {
    cx.refused_by(server, datagram.source, datagram.destination)
}

/// What became of a datagram.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Sent {
    /// It was sent, or the guest was told why it was not.
    Done,
    /// This host has no room for it now.
    Lack,
    /// It does not get where it was to go, of which the guest is to be told.
    Unreachable(Unreachable),
}

/// Sends one datagram as the others of its burst.
fn send(flow: &mut UdpFlow, datagram: &FromGuest<'_>, burst: &Burst, cx: &mut Context) -> Sent {
    // The first try may report an error of an *earlier* datagram; then that error is passed on and the send repeated.
    for _ in 0..2 {
        let Err(error) = flow.host.socket().send_from(datagram.payload, burst.real, burst.local) else {
            cx.pace.on_given();
            flow.mapping.gave_host(burst.real, datagram.payload.len());
            return Sent::Done;
        };
        match Fault::of(&error) {
            Fault::WouldBlock | Fault::Memory | Fault::Interrupted => return Sent::Lack,
            Fault::Refused | Fault::HostUnreachable | Fault::NoProtocol if flow.take_errors(cx) => {}
            Fault::HostUnreachable => return Sent::Unreachable(Unreachable::Host),
            Fault::Refused => {}
            Fault::TooLong => {
                too_large(flow, datagram, burst, cx);
                break;
            }
            Fault::Gone => {
                flow.host.lose(cx);
                return Sent::Unreachable(Unreachable::Network);
            }
            _ => return Sent::Unreachable(Unreachable::Network),
        }
    }
    Sent::Done
}

impl UdpFlow {
    /// A packet of so many bytes is about to be sent. What a host peer gets through a forward is the host's own, which cuts
    /// it by what it knows of the path.
    fn prepare(&mut self, length: usize, whole: bool) {
        if !self.mapping.forward {
            self.host.prepare(length, whole);
        }
    }
}

/// The path does not carry a datagram that is to arrive whole.
#[cold]
fn too_large(flow: &mut UdpFlow, datagram: &FromGuest<'_>, burst: &Burst, cx: &mut Context) {
    flow.take_errors(cx);
    // Whatever the kernel has put together, it was the size that it did not like.
    flow.bulk.segmenting = true;
    let Some(mtu) = flow.host.take_refused() else {
        return cx.egress.unreachable(Unreachable::Network, datagram.packet, cx.now);
    };
    cx.egress.too_large(mtu, datagram.packet, cx.now);
    // A guest whose own link carries more than Ethernet does would lose the first datagram to each destination.
    if flow.host.is_news(burst.real.ip(), cx.now) && cx.egress.mtu() > ETHERNET_MTU {
        flow.host.give_in();
        if flow.host.socket().send_from(datagram.payload, burst.real, burst.local).is_ok() {
            cx.pace.on_given();
            flow.mapping.gave_host(burst.real, datagram.payload.len());
        }
    }
}

impl UdpFlow {
    fn send_staged(&mut self, burst: &Burst, stage: &Stage, cx: &mut Context) {
        #[cfg(feature = "policy")]
        if self.relay.is_some() {
            return self.send_staged_through(burst, stage, cx);
        }
        self.prepare(stage.longest(), burst.whole);
        send_staged(self, burst, stage, cx);
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
        let segmenting = &mut flow.bulk.segmenting;
        let outcome = flow.host.socket().send_many(rest, burst.real, burst.local, segmenting);
        let sent = outcome.as_ref().map_or_else(|(sent, _)| *sent, |()| rest.len());
        flow.mapping.gave_host(burst.real, rest.iter().take(sent).map(|payload| payload.len()).sum());
        if outcome.is_ok() {
            return;
        }
        done += sent;
        // The one that failed is tried on its own, which finds out whose error it was.
        let (packet, payload) = stage.get(done);
        let Burst { source, destination, ttl, whole, .. } = *burst;
        let datagram = FromGuest { source, destination, ttl, whole, payload, packet };
        if let Sent::Unreachable(why) = send(flow, &datagram, burst, cx) {
            cx.egress.unreachable(why, packet, cx.now);
        }
        done += 1;
    }
}
