//! New TCP flows: from the guest, and from host peers through host forwards.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use super::bounds::Stage;
use super::fallback::{self, other_loopback};
use super::guest::{Attaching, Program, Rule};
#[cfg(feature = "policy")]
use super::hello::Hold;
use super::proof::Proofs;
use super::relief::Stillness;
use super::table::{FromGuest, TcpId, TcpTable, reset};
use super::{Connecting, HostHalf, Origin, Side, TcpFlow};
use crate::flow::context::Context;
use crate::flow::egress::Unreachable;
use crate::flow::gate::{Admission, Protocol, Service};
use crate::flow::journal::{About, Carrier, End, Refusal};
use crate::flow::key::{Endpoint, FlowKey};
use crate::flow::policy::Destination;
use crate::host::fault::Fault;
use crate::host::socket::{Hops, Stream};
use crate::pace::{Exchange, Part, Staging};
use crate::tcp::{Connection, Segment};
use crate::time::Duration;
use crate::wire::header::TOS_LOW_DELAY;

/// How long the host may take to connect; source: docs/contract/tcp.md section 2.1.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(75);
/// What taking in a connection counts as, in bytes moved.
const CONNECTION: usize = 16 * 1024;

impl TcpTable {
    /// A SYN from the guest that belongs to no flow.
    pub(super) fn open_from_guest(
        &mut self,
        key: FlowKey,
        segment: &Segment<'_>,
        from: &FromGuest<'_>,
        forward: Option<Arc<Rule>>,
        cx: &mut Context,
    ) {
        if let Some(forward) = forward {
            let admission = cx.gate.service(Service::GuestForward, Protocol::Tcp, key.guest, key.remote);
            if turned_away(admission, Some(Service::GuestForward), &key, segment, cx) {
                return;
            }
            if !self.has_room(cx) {
                note_refused(&key, Refusal::TableFull, cx);
                return reset(&key, segment, cx);
            }
            let callback = forward.is_callback();
            let config = if callback { cx.callback_tcp_config() } else { cx.tcp_config_for(&key) };
            let side = match callback {
                true => Side::Callback,
                false if forward.is_application() => Side::Application(Program::default()),
                false => Side::Waiting(Attaching::default()),
            };
            let conn = Connection::passive(&config, segment, cx.initial_sequence(&key), cx.now, &mut cx.pool);
            let about = About::out(Carrier::Tcp, key.guest, key.remote, None)
                .for_service(Some(Service::GuestForward))
                .by(admission);
            let id = self.insert(key, conn, side, Origin::Guest, &about, cx);
            if let Some(flow) = self.flows.get_mut(id) {
                if callback {
                    flow.host.set_writable();
                }
                flow.forward = Some(forward);
                flow.conn.accept(cx.now);
                flow.transmit(cx);
            }
            return self.settle(id, cx);
        }
        if cx.policy.reach.restricted {
            note_refused(&key, Refusal::Restricted, cx);
            return reset(&key, segment, cx);
        }
        cx.egress.neighbors.heard(key.guest.ip, cx.now);
        let meaning = cx.policy.translate(key.remote);
        let to_name_server = meaning == Destination::NameServer;
        let service = to_name_server.then_some(Service::Dns);
        let admission = match meaning {
            Destination::Host(address) => cx.gate.out(Protocol::Tcp, key.guest, key.remote, address, cx.now),
            Destination::NameServer => cx.gate.service(Service::Dns, Protocol::Tcp, key.guest, key.remote),
            Destination::Refused => Admission::OPEN,
        };
        if !admission.listens() && turned_away(admission, service, &key, segment, cx) {
            return;
        }
        #[cfg(feature = "policy")]
        if to_name_server && cx.looks_at_queries() {
            if self.has_room(cx) {
                return self.open_dialogue(key, segment, admission, cx);
            }
            note_refused(&key, Refusal::TableFull, cx);
            return reset(&key, segment, cx);
        }
        let destination = match meaning {
            Destination::Host(address) => Some(address),
            Destination::NameServer => cx.name_servers.for_stream(key.remote.ip.is_ipv6(), cx.now),
            Destination::Refused => None,
        };
        let Some(destination) = destination else {
            let why = if to_name_server { Refusal::NoNameServer } else { Refusal::NoRoute };
            note_refused(&key, why, cx);
            if to_name_server {
                cx.tell_of_no_name_server();
            }
            return refuse(&key, segment, Unreachable::Network, from.packet, cx);
        };
        let (mut destination, mut words, mut is_led) = (destination, None, false);
        // Only a rule leads elsewhere.
        if admission.rule().is_some() && !to_name_server {
            let led;
            (led, words) = cx.way(admission, destination);
            is_led = led != destination || words.is_some();
            destination = led;
        }
        let hops = if to_name_server { Some(Hops::Default) } else { Hops::of(from.ttl, destination) };
        let Some(hops) = hops else {
            note_refused(&key, Refusal::HopsExceeded, cx);
            return cx.egress.time_exceeded(from.packet, cx.now);
        };
        if !self.has_room(cx) {
            note_refused(&key, Refusal::TableFull, cx);
            return reset(&key, segment, cx);
        }
        let alternative = match to_name_server {
            // The first bytes are judged for one address.
            false if admission.listens() || is_led => None,
            true => cx.name_servers.behind(destination, cx.now),
            false => other_loopback(&key, destination, cx)
                .filter(|&other| cx.gate.out(Protocol::Tcp, key.guest, key.remote, other, cx.now).is_allowed()),
        };
        // The virtual network's own name server is not counted.
        let begins = if to_name_server {
            Some(None)
        } else {
            cx.begins(key.guest.ip, admission.rule().filter(|_| !admission.listens()))
        };
        let Some(meter) = begins else {
            let about = About::out(Carrier::Tcp, key.guest, key.remote, None).by(admission);
            cx.journal.refused(&about, Refusal::Limit, cx.now);
            return reset(&key, segment, cx);
        };
        let mut other = alternative;
        let stream = match fallback::connect(destination, &mut other, hops, cx) {
            Ok(stream) => stream,
            Err(error) => {
                cx.ends(meter);
                let fault = Fault::of(&error);
                note_refused(&key, Refusal::of(&error), cx);
                // Out of descriptors, ports or memory: that is not the server's fault.
                let ours = fault.is_lack() || matches!(fault, Fault::NoAddress | Fault::WouldBlock);
                if to_name_server && !ours {
                    cx.name_servers.failed(destination, cx.now);
                }
                return match fault {
                    Fault::HostUnreachable => refuse(&key, segment, Unreachable::Host, from.packet, cx),
                    // This one flow is refused, at once.
                    _ if ours => reset(&key, segment, cx),
                    Fault::Refused => reset(&key, segment, cx),
                    _ => refuse(&key, segment, Unreachable::Network, from.packet, cx),
                };
            }
        };
        let conn =
            Connection::passive(&cx.tcp_config_for(&key), segment, cx.initial_sequence(&key), cx.now, &mut cx.pool);
        let about =
            About::out(Carrier::Tcp, key.guest, key.remote, Some(destination)).for_service(service).by(admission);
        let id = self.insert(key, conn, Side::Host(stream), Origin::Guest, &about, cx);
        if let Some(flow) = self.flows.get_mut(id) {
            flow.host.count_by(meter);
            // A SYN that brings data may be large; such a one is not worth keeping for the sake of a quotation.
            let packet = if from.packet.len() <= 128 { from.packet.to_vec() } else { Vec::new() };
            let reached = alternative.filter(|_| other.is_none());
            if to_name_server && reached.is_some() {
                cx.name_servers.failed(destination, cx.now);
            }
            let name_server = to_name_server.then_some(reached.unwrap_or(destination));
            if hops != Hops::Default {
                flow.ttl = from.ttl;
            }
            flow.host.connect(Connecting {
                packet,
                few_hops: matches!(hops, Hops::Few(_)),
                name_server,
                other,
                failed: None,
                deadline: cx.now + CONNECT_TIMEOUT,
                words,
                talks: false,
                asks: false,
                #[cfg(feature = "policy")]
                hold: admission.listens().then(|| Box::new(Hold::new(destination))),
            });
        }
        if !self.watch(id, cx) {
            reset(&key, segment, cx);
            return self.end(id, End::NoResources, cx);
        }
        #[cfg(feature = "policy")]
        if admission.listens() {
            self.listen_to(id, cx);
        }
        self.settle(id, cx);
    }

    /// A host peer's connection that came through a host forward.
    pub(crate) fn open_from_host(
        &mut self,
        stream: Stream,
        peer: Option<SocketAddr>,
        guest: Endpoint,
        cx: &mut Context,
    ) {
        cx.budget.moved(CONNECTION);
        let anywhere = guest.ip.is_unspecified();
        // A guest that is not known yet cannot be reached; the peer sees an end.
        // Who comes through a Unix socket is on this machine.
        let from = peer.unwrap_or((Ipv4Addr::LOCALHOST, 0).into());
        let about = |guest: Endpoint, cx: &Context| {
            let ip = cx.policy.visible(from.ip(), guest.ip.is_ipv6());
            About::incoming(Carrier::Tcp, guest, Endpoint { ip, port: from.port() }, peer)
        };
        let Some(guest) = cx.guest_behind(guest) else {
            return cx.journal.refused(&about(guest, cx), Refusal::NoGuest, cx.now);
        };
        let note = |why, cx: &mut Context| cx.journal.refused(&about(guest, cx), why, cx.now);
        let admission = cx.gate.incoming(Protocol::Tcp, guest, from);
        if !admission.is_allowed() {
            cx.journal.refused(&about(guest, cx).by(admission), admission.refusal(), cx.now);
            stream.reset_on_close();
            return;
        }
        if !self.has_room(cx) {
            note(Refusal::TableFull, cx);
            stream.reset_on_close();
            return;
        }
        let v6 = guest.ip.is_ipv6();
        let ip = cx.policy.visible(from.ip(), v6);
        let Some(key) = self.free_key(guest, ip, from.port(), cx) else {
            note(Refusal::TableFull, cx);
            stream.reset_on_close();
            return;
        };
        let Some(meter) = cx.begins(guest.ip, admission.rule()) else {
            note(Refusal::Limit, cx);
            stream.reset_on_close();
            return;
        };
        let conn = Connection::active(&cx.tcp_config_for(&key), cx.initial_sequence(&key), cx.now);
        let about = About::incoming(Carrier::Tcp, key.guest, key.remote, peer).by(admission);
        let id = self.insert(key, conn, Side::Host(stream), Origin::Host { anywhere }, &about, cx);
        if let Some(flow) = self.flows.get_mut(id) {
            flow.host.count_by(meter);
        }
        if !self.watch(id, cx) {
            return self.end(id, End::NoResources, cx);
        }
        if let Some(flow) = self.flows.get_mut(id) {
            flow.host.set_writable();
            flow.transmit(cx);
        }
        self.settle(id, cx);
    }

    /// Takes in a connection of a guest forward from a saved state, in the place of one between the same ends.
    pub(crate) fn adopt(&mut self, key: FlowKey, conn: Connection, forward: Arc<Rule>, tos: u8, cx: &mut Context) {
        if let Some(old) = self.find(&key) {
            self.end(old, End::Replaced, cx);
        }
        let about = About::out(Carrier::Tcp, key.guest, key.remote, None).for_service(Some(Service::GuestForward));
        let id = self.insert(key, conn, Side::Callback, Origin::Guest, &about, cx);
        if let Some(flow) = self.flows.get_mut(id) {
            flow.forward = Some(forward);
            flow.host.set_writable();
            flow.tos = tos;
            // Nothing is sent while a state is loaded; what is outstanding goes out in the next round.
            flow.unfinished = true;
        }
        self.settle(id, cx);
    }

    /// A key for a host peer: with its own port where that is free, else with one of the ephemeral ports (two peers on
    /// different loopback addresses may use one port, and a peer without address has none).
    pub(super) fn free_key(&self, guest: Endpoint, ip: IpAddr, port: u16, cx: &Context) -> Option<FlowKey> {
        let key = |port| FlowKey { guest, remote: Endpoint { ip, port } };
        if port != 0 && self.flows.find(&key(port)).is_none() {
            return Some(key(port));
        }
        let start = cx.initial_sequence(&key(port)).0;
        (0..64)
            .map(|step| key(49152 + (start.wrapping_add(step * 251) % 16384) as u16))
            .find(|key| self.flows.find(key).is_none())
    }

    pub(super) fn insert(
        &mut self,
        key: FlowKey,
        conn: Connection,
        side: Side,
        origin: Origin,
        about: &About,
        cx: &mut Context,
    ) -> TcpId {
        let read_edge = conn.snd_edge();
        let flow = TcpFlow {
            key,
            conn,
            proofs: Proofs::default(),
            host: HostHalf::new(side),
            forward: None,
            #[cfg(feature = "control")]
            heard: None,
            origin,
            tos: type_of_service(&key),
            ttl: 0,
            staged: false,
            staging: Staging::default(),
            exchange: Exchange::default(),
            part: Part::default(),
            still: Stillness::default(),
            unfinished: false,
            stage: Stage::Open,
            full_segment: 0,
            read_edge,
        };
        let id = self.flows.insert(flow, cx);
        if let Some(entry) = self.flows.entry(id) {
            self.callbacks.insert(id, entry);
            let name = cx.gate.name_to_log(about, &cx.policy, cx.now);
            cx.journal.begun(entry.number, about, name, cx.now);
        }
        id
    }

    /// Has the poller watch the flow's host socket. When it has no room the socket goes at once: the application was not
    /// told of it, and is not to be told of its end.
    pub(super) fn watch(&mut self, id: TcpId, cx: &mut Context) -> bool {
        if self.flows.watch(id, cx).is_ok() {
            return true;
        }
        if let Some(flow) = self.flows.get_mut(id)
            && let Some(stream) = flow.host.leave()
        {
            stream.reset_on_close();
        }
        false
    }
}

/// There will be no flow for a SYN of the guest.
fn note_refused(key: &FlowKey, why: Refusal, cx: &mut Context) {
    cx.journal.refused(&About::out(Carrier::Tcp, key.guest, key.remote, None), why, cx.now);
}

/// Whether a connection of the guest is turned away; it is told, if it is to be. (A reset says it to every guest; see
/// [`refuse`].)
fn turned_away(
    admission: Admission,
    service: Option<Service>,
    key: &FlowKey,
    segment: &Segment<'_>,
    cx: &mut Context,
) -> bool {
    if admission.is_allowed() {
        return false;
    }
    let about = About::out(Carrier::Tcp, key.guest, key.remote, None).for_service(service).by(admission);
    cx.journal.refused(&about, admission.refusal(), cx.now);
    if admission.is_told() {
        reset(key, segment, cx);
    }
    true
}

/// Tells the guest that a connection will not come about. The error is followed by a reset: there are guests that take the
/// error alone for a passing trouble, as RFC 1122 section 4.2.3.9 has it, and would wait in place of trying another address
/// (RFC 8305); and errors are limited in number.
fn refuse(key: &FlowKey, segment: &Segment<'_>, why: Unreachable, packet: &[u8], cx: &mut Context) {
    cx.egress.unreachable(why, packet, cx.now);
    reset(key, segment, cx);
}

/// The type of service of packets to the guest; source: docs/contract/tcp.md section 8.
fn type_of_service(key: &FlowKey) -> u8 {
    const THROUGHPUT: u8 = 0x08;
    match (key.remote.port, key.guest.port) {
        (20 | 80 | 6667 | 6668, _) => THROUGHPUT,
        (21 | 23 | 113 | 513 | 543 | 544 | 7070, _) | (_, 21) => TOS_LOW_DELAY,
        _ => 0,
    }
}
