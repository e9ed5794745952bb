//! Datagrams from the host, on their way to the guest.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::num::NonZeroU32;

use super::{LIFETIME, Mapping, UdpFlow};
use crate::flow::context::Context;
use crate::flow::egress::Reported;
use crate::flow::gate::Admission;
use crate::flow::journal::{About, Carrier, Way};
use crate::flow::key::Endpoint;
use crate::flow::meter::Way as MeterWay;
use crate::flow::via::Lane;
use crate::host::error_queue::QueuedError;
use crate::host::fault::Fault;
use crate::host::mmsg::{ReceiveBuffer, Received};
use crate::ip::{icmp, icmpv6};
use crate::time::Duration;

/// Datagrams one flow may bring in one turn before others have theirs; those of one message are not parted.
const BUDGET: usize = 64;
/// How long a flow lives after an answer from the name server.
const DNS_LIFETIME: Duration = Duration::from_secs(10);

/// Brings in what one turn may.
pub(super) fn receive(flow: &mut UdpFlow, buffer: &mut ReceiveBuffer, cx: &mut Context) {
    if flow.host.was_told_of_errors() {
        flow.take_errors(cx);
    }
    let mut left = BUDGET.min(cx.pace.datagrams_left());
    let mut failed = false;
    let mut lately = None;
    // What the last turn had no room for.
    while let Some(received) = buffer.next_if(cx.datagram_room() > 0) {
        left = left.saturating_sub(received.count());
        cx.pace.on_datagrams_taken(received.count());
        deliver(flow, &received, &mut lately, cx);
    }
    while left > 0 && cx.datagram_room() > 0 {
        let asked = usize::from(flow.bulk.batch).min(left);
        match buffer.receive(flow.host.socket(), asked) {
            Ok(count) => {
                cx.pace.on_datagrams();
                let mut datagrams = 0;
                while let Some(received) = buffer.next_if(cx.datagram_room() > 0) {
                    datagrams += received.count();
                    cx.pace.on_datagrams_taken(received.count());
                    cx.budget.moved(received.byte_count());
                    deliver(flow, &received, &mut lately, cx);
                }
                flow.learn(asked, count, datagrams);
                if count < asked {
                    return flow.host.is_drained();
                }
                left = left.saturating_sub(datagrams);
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => return flow.host.is_drained(),
            Err(error) if Fault::of(&error) == Fault::Gone => return flow.host.lose(cx),
            // The kernel reports a queued error here once more; the queue says what it was.
            Err(_) if flow.take_errors(cx) => left -= 1,
            // Or it is the error of a socket without a queue, which is told once. What stays is the host's own trouble.
            Err(_) if failed => return flow.host.pause(cx.now),
            Err(_) => failed = true,
        }
    }
}

/// Of whom the last datagram of this turn was, and what was found of him: those of one turn come mostly from one peer, and nothing
/// of it changes within a turn.
struct Lately {
    real: SocketAddr,
    /// `None` where the guest may not hear him.
    heard: Option<Heard>,
}

/// How the datagrams of a peer reach the guest.
#[derive(Clone, Copy)]
struct Heard {
    /// His name for the guest, and where it is.
    source: Endpoint,
    guest: Endpoint,
    /// The rule that lets them through.
    rule: Option<NonZeroU32>,
    /// Whether they are of the guest's family, or else lost.
    one_family: bool,
}

/// Passes what one peer sent on to the guest.
#[inline]
fn deliver(flow: &mut UdpFlow, received: &Received<'_>, lately: &mut Option<Lately>, cx: &mut Context) {
    let Some(last) = lately.as_ref().filter(|last| received.sender == Some(last.real)) else {
        return deliver_first(flow, received, lately, cx);
    };
    let Some(Heard { source, guest, rule, one_family }) = last.heard else { return };
    if cx.has_limits() && !cx.passes(guest.ip, rule, MeterWay::Down, received.byte_count()) {
        return;
    }
    flow.mapping.account.gave_guest(received.byte_count());
    if one_family {
        for payload in received.datagrams() {
            cx.egress.udp(source, guest, payload, 0, cx.now);
        }
    }
}

/// The same of one who is not the last one's: it is found out who he is, and whether he may. What a proxy relays, comes through a
/// host forward or from a name server is so each time.
#[inline(never)]
fn deliver_first(flow: &mut UdpFlow, received: &Received<'_>, lately: &mut Option<Lately>, cx: &mut Context) {
    *lately = None;
    #[cfg(feature = "policy")]
    if flow.relay.is_some() {
        return super::relay::deliver(flow, received, cx);
    }
    let Some(real) = received.sender else { return };
    flow.used = true;
    let mapping = &mut flow.mapping;
    let mut verdict = Admission::OPEN;
    if mapping.forward {
        if !cx.gate.is_open() {
            let Some(allowed) = mapping.lets_in(real, cx) else { return };
            verdict = allowed;
        }
        mapping.meet(real, received.local, verdict, cx);
    }
    // While the guest is not known, what comes for it is lost.
    let Some(guest) = cx.guest_behind(mapping.guest) else { return };
    let source = mapping.known_as(real, &cx.policy);
    let from_name_server = !mapping.forward && cx.policy.is_name_server(source);
    if mapping.lane == Lane::Queries && !from_name_server {
        return;
    }
    let mut rule = None;
    if !(cx.gate.is_open() || mapping.forward || from_name_server) {
        let Some(answer) = mapping.hears(source, real, cx) else {
            *lately = Some(Lately { real, heard: None });
            return;
        };
        rule = answer.rule();
    }
    if cx.has_limits() && !from_name_server && !cx.passes(guest.ip, rule, MeterWay::Down, received.byte_count()) {
        return;
    }
    if mapping.forward {
        mapping.remember(real, source, (Way::In, verdict), cx);
    } else {
        mapping.expires = cx.now + if from_name_server { DNS_LIFETIME } else { LIFETIME };
    }
    mapping.gave_guest(real, received.byte_count());
    let one_family = source.ip.is_ipv4() == mapping.guest.ip.is_ipv4();
    if !(mapping.forward || from_name_server) {
        *lately = Some(Lately { real, heard: Some(Heard { source, guest, rule, one_family }) });
    }
    for payload in received.datagrams() {
        if from_name_server && !on_answer(payload, mapping.guest, (source, guest, real), cx) {
            continue;
        }
        if one_family {
            cx.egress.udp(source, guest, payload, 0, cx.now);
        }
    }
}

/// A name server has answered. Whether the guest is to have the answer as it is; what is to come in its place has gone out then.
#[inline(never)]
fn on_answer(
    payload: &[u8],
    asked_by: Endpoint,
    (source, guest, real): (Endpoint, Endpoint, SocketAddr),
    cx: &mut Context,
) -> bool {
    cx.name_servers.answered(real, payload, asked_by);
    #[cfg(feature = "policy")]
    if cx.looks_at_queries() {
        let ruled = cx.rule_on_answer(payload, asked_by, real);
        if let Some(payload) = ruled.as_deref().filter(|_| source.ip.is_ipv4() == asked_by.ip.is_ipv4()) {
            cx.egress.udp(source, guest, payload, 0, cx.now);
        }
        return false;
    }
    #[cfg(not(feature = "policy"))]
    let _ = (source, guest);
    true
}

/// Whether an error says that nothing gets to its destination, whatever was sent.
fn is_refusal(error: &QueuedError, v6: bool) -> bool {
    match error.icmp {
        Some((kind, _)) if v6 => kind == icmpv6::DESTINATION_UNREACHABLE,
        Some((kind, code)) => kind == icmp::DESTINATION_UNREACHABLE && code != icmp::FRAGMENTATION_NEEDED,
        None => error.fault != Fault::TooLong,
    }
}

impl UdpFlow {
    /// Passes on the errors the kernel kept. False when there was none.
    pub(super) fn take_errors(&mut self, cx: &mut Context) -> bool {
        let UdpFlow { mapping, host, .. } = self;
        host.take_errors(cx.now, |error, payload| mapping.on_error(error, payload, cx))
    }
}

impl Mapping {
    /// Anybody may answer, but nobody that the guest is kept from. Whether it may ask the name server was judged, and this is none.
    #[cold]
    fn hears(&self, source: Endpoint, real: SocketAddr, cx: &mut Context) -> Option<Admission> {
        let answer = cx.gate.answer(self.guest, source, real, cx.now);
        // Whom it reaches through a proxy it hears through that.
        let lane = answer.lane(|| cx.course(answer, source, real).lane);
        (answer.is_allowed() && lane == self.lane).then_some(answer)
    }

    /// The verdict by which a datagram of `real` may come through a host forward: because it may begin, or because the guest may,
    /// and has. `None` where it may not.
    #[cold]
    fn lets_in(&self, real: SocketAddr, cx: &mut Context) -> Option<Admission> {
        let guest = cx.guest_behind(self.guest)?;
        let named = self.known_as(real, &cx.policy);
        let admission = cx.gate.datagram_in(guest, real);
        if admission.is_allowed() {
            return Some(admission);
        }
        let answer = self.has_met(real).then(|| cx.gate.answer(guest, named, real, cx.now));
        if let Some(answer) = answer.filter(|answer| answer.is_allowed()) {
            return Some(answer);
        }
        let about = About::incoming(Carrier::Udp, guest, named, Some(real)).by(admission);
        cx.journal.refused(&about, admission.refusal(), cx.now);
        None
    }

    fn on_error(&self, error: &QueuedError, payload: &[u8], cx: &mut Context) {
        // Where a proxy is, is nothing that the guest would know.
        let is_told = !self.forward && !self.lane.is_relayed();
        let Some(destination) = error.destination.filter(|_| is_told) else { return };
        let known_as = self.known_as(destination, &cx.policy);
        if cx.policy.is_name_server(known_as)
            && is_refusal(error, destination.is_ipv6())
            && cx.refused_by(destination, self.guest, known_as)
        {
            return;
        }
        let Some((kind, code)) = error.icmp else { return };
        // The host's own loopback is not to be seen by the guest: the address it sent to answers instead.
        let offender = error.offender.filter(|ip| !ip.is_loopback()).unwrap_or(known_as.ip);
        let reported = Reported { kind, code, info: error.info, offender, v6: destination.is_ipv6() };
        cx.egress.datagram_error(reported, self.guest, known_as, payload, cx.now);
    }
}
