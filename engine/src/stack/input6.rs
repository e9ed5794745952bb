//! IPv6 packets from the guest: taken apart and handed to whom they concern. Source: docs/contract/ipv6.md,
//! docs/contract/ethernet-arp-ndp.md section 4.

use std::net::Ipv6Addr;

use smoltcp::wire::EthernetAddress;

use super::Stack;
use crate::flow::gate::Service;
use crate::flow::icmp::EchoRequest;
use crate::flow::key::Endpoint;
use crate::flow::{Effect, tcp, udp};
use crate::ip::icmpv6::{self, ICMPV6_LEN, Icmpv6Error};
use crate::ip::ipv6::{Content, Ipv6View, Upper, is_right_sum};
use crate::ip::reassembly::Outcome;
use crate::link::handover::marker::Question;
use crate::link::ndp::{self, Message};
use crate::service::dhcpv6::{self, Answer};
use crate::service::tftp;
use crate::wire::checksum::{self, Partial};
use crate::wire::header::{ETHERNET_LEN, PROTOCOL_ICMPV6, PROTOCOL_TCP, PROTOCOL_UDP, UDP_LEN};

impl Stack {
    /// `sum` is that of what follows the frame's Ethernet header, where it is known.
    pub(super) fn input_ipv6(&mut self, frame: &[u8], sum: Option<Partial>) {
        let Some(sender) = frame.get(6..12).and_then(|mac| mac.first_chunk::<6>()) else { return };
        let Some(bytes) = frame.get(ETHERNET_LEN..) else { return };
        let (Some(length), Some(beginning)) = (Ipv6View::announced_len(bytes), Ipv6View::parse_beginning(bytes)) else {
            return;
        };
        // Without an address the guest can do no more than look for one.
        let source = beginning.src();
        if !source.is_unspecified() && !self.may_be_guest6(source) {
            return;
        }
        let mtu = self.cx.egress.mtu();
        if length > mtu {
            let error = Icmpv6Error::PacketTooBig { mtu: u32::try_from(mtu).unwrap_or(u32::MAX) };
            return self.cx.egress.error6(error, bytes, self.cx.now);
        }
        let Some(packet) = Ipv6View::parse(bytes) else { return };
        if packet.hop_limit() == 0 {
            return self.cx.egress.time_exceeded(packet.packet(), self.cx.now);
        }
        match packet.content() {
            Content::Upper(upper) => {
                let sender = (!upper.atomic).then_some(EthernetAddress(*sender));
                let headers = packet.packet().len().saturating_sub(upper.payload.len());
                let sum = sum.filter(|_| packet.packet().len() == bytes.len());
                let sum = sum.and_then(|sum| Some(sum.without(bytes.get(..headers)?)));
                self.dispatch_ipv6(&packet, &upper, sender, sum);
            }
            Content::Fragment(piece) => {
                if let Some(problem) = piece.problem() {
                    return self.cx.egress.error6(problem, packet.packet(), self.cx.now);
                }
                self.expire_fragments();
                let outcome = self.reassembly6.on_ipv6(&packet, &piece, self.cx.now);
                self.await_fragments();
                let Outcome::Complete(whole) = outcome else { return };
                let Some(whole) = Ipv6View::parse(&whole) else { return };
                match whole.content() {
                    Content::Upper(upper) => self.dispatch_ipv6(&whole, &upper, None, None),
                    Content::Problem(problem) => self.cx.egress.error6(problem, whole.packet(), self.cx.now),
                    // Fragments within fragments serve no purpose.
                    Content::Fragment(_) | Content::Dropped => {}
                }
            }
            Content::Problem(problem) => self.cx.egress.error6(problem, packet.packet(), self.cx.now),
            Content::Dropped => {}
        }
    }

    /// `sender` is the frame's source, for a packet without a fragment header; `sum` that of the payload, where it is known.
    fn dispatch_ipv6(
        &mut self,
        packet: &Ipv6View<'_>,
        upper: &Upper<'_>,
        sender: Option<EthernetAddress>,
        sum: Option<Partial>,
    ) {
        let (source, destination) = (packet.src(), packet.dst());
        let nameless = source.is_unspecified();
        if !matches!(upper.protocol, PROTOCOL_TCP | PROTOCOL_UDP | PROTOCOL_ICMPV6) {
            return self.cx.egress.error6(upper.unrecognized(), packet.packet(), self.cx.now);
        }
        if nameless && upper.protocol != PROTOCOL_ICMPV6 {
            return;
        }
        // A datagram may be shorter than its packet; its length counts.
        let message = match upper.protocol {
            PROTOCOL_UDP => match udp_datagram(upper.payload) {
                Some(datagram) => datagram,
                None => return,
            },
            _ => upper.payload,
        };
        let has_checksum = upper.protocol != PROTOCOL_UDP || message.get(6..8) != Some(&[0, 0]);
        let sum = sum.filter(|_| message.len() == upper.payload.len()).unwrap_or_else(|| checksum::sum(message));
        if !has_checksum || !is_right_sum(source, destination, upper.protocol, message.len(), sum) {
            return;
        }
        // What the guest has cut may be cut again.
        let whole = sender.is_some() || upper.atomic;
        match upper.protocol {
            PROTOCOL_TCP if !destination.is_multicast() => {
                let forwards = &self.guest_forwards;
                let from = tcp::FromGuest {
                    source: source.into(),
                    destination: destination.into(),
                    ttl: packet.hop_limit(),
                    marked: packet.traffic_class() & 3 == 3,
                    segment: message,
                    packet: packet.packet(),
                };
                self.tcp.on_segment(&from, &|at| forwards.find(at), &mut self.cx);
            }
            PROTOCOL_UDP => self.input_udp6(packet, message, whole),
            PROTOCOL_ICMPV6 => self.input_icmpv6(packet, message, sender, whole),
            _ => {}
        }
    }

    /// Whether a packet from `source` can be the guest's.
    #[inline]
    pub(super) fn may_be_guest6(&self, source: Ipv6Addr) -> bool {
        self.cx.policy.plausible_source6(source) && !self.guest_forwards.covers(source)
    }

    /// Whether somebody of ours is at this address: the virtual host, the name server, or a guest forward.
    pub(super) fn is_ours6(&self, ip: Ipv6Addr) -> bool {
        self.cx.policy.is_virtual6(ip) || self.guest_forwards.covers(ip)
    }

    fn input_udp6(&mut self, packet: &Ipv6View<'_>, datagram: &[u8], whole: bool) {
        let Some((&[source_high, source_low, high, low, ..], payload)) = datagram.split_first_chunk::<UDP_LEN>() else {
            return;
        };
        let source = Endpoint::new(packet.src(), u16::from_be_bytes([source_high, source_low]));
        let destination = Endpoint::new(packet.dst(), u16::from_be_bytes([high, low]));
        let policy = &self.cx.policy;
        let to_vhost = packet.dst() == policy.v6.host;
        if destination.port == dhcpv6::SERVER_PORT && (to_vhost || packet.dst() == dhcpv6::ALL_AGENTS) {
            return self.input_dhcpv6(source, destination, payload);
        }
        // The link-local address of the virtual host serves as well.
        if destination.port == tftp::PORT && policy.is_virtual_host6(packet.dst()) {
            if !policy.reach.restricted {
                self.input_tftp(source, destination, payload, packet.packet());
            }
            return;
        }
        let (ttl, packet) = (packet.hop_limit(), packet.packet());
        let datagram = udp::FromGuest { source, destination, ttl, whole, payload, packet };
        self.udp.on_datagram(&datagram, &mut self.cx);
    }

    fn input_dhcpv6(&mut self, client: Endpoint, asked: Endpoint, payload: &[u8]) {
        if self.cx.policy.reach.restricted || self.cx.keeps_from(Service::Dhcp, client, asked, None) {
            return;
        }
        match self.dhcpv6.on_message(payload) {
            Answer::None => {}
            Answer::Bad => self.cx.effects.push(Effect::GuestError("Guest sent bad DHCPv6 packet!".into())),
            Answer::Reply(reply) => {
                let server = Endpoint::new(self.cx.policy.v6.host, dhcpv6::SERVER_PORT);
                self.cx.egress.udp(server, client, &reply, 0, self.cx.now);
            }
        }
    }

    fn input_icmpv6(&mut self, packet: &Ipv6View<'_>, message: &[u8], sender: Option<EthernetAddress>, whole: bool) {
        let Some(&kind) = message.first() else { return };
        if kind == icmpv6::ECHO_REQUEST {
            return self.input_echo6(packet, message, whole);
        }
        if let Some((&[icmpv6::PACKET_TOO_BIG, _, _, _, a, b, c, d], quoted)) =
            message.split_first_chunk::<ICMPV6_LEN>()
        {
            return self.tcp.on_too_big6(quoted, u32::from_be_bytes([a, b, c, d]), &mut self.cx);
        }
        // Neighbor discovery never comes behind a fragment header (RFC 6980).
        let Some(sender) = sender else { return };
        let (source, destination) = (packet.src(), packet.dst());
        match ndp::parse(source, destination, packet.hop_limit(), message) {
            Some(Message::RouterSolicitation) => {
                self.learn6(source, sender);
                self.advertise_router();
            }
            Some(Message::NeighborSolicitation { target }) if self.is_ours6(target) => {
                self.learn6(source, sender);
                self.cx.egress.frame(&ndp::neighbor_advertisement(target, source, sender));
            }
            Some(Message::NeighborAdvertisement { target }) => {
                self.cx
                    .egress
                    .handover
                    .on_answer(&Question { asker: destination.into(), guest: target.into() }, self.cx.now);
                self.learn6(target, sender);
            }
            Some(Message::NeighborSolicitation { .. }) | None => {}
            Some(Message::RouterAdvertisement) => {
                let text = "Warning: guest sent NDP RA, but shouldn't";
                self.cx.effects.push(Effect::GuestError(text.into()));
            }
            Some(Message::Redirect) => {
                let text = "Warning: guest sent NDP REDIRECT, but shouldn't";
                self.cx.effects.push(Effect::GuestError(text.into()));
            }
        }
    }

    /// Notes where an address of the guest is and sends what waited for that.
    fn learn6(&mut self, address: Ipv6Addr, mac: EthernetAddress) {
        let (policy, forwards) = (&self.cx.policy, &self.guest_forwards);
        let is_ours = |ip| !policy.plausible_source6(ip) || forwards.covers(ip);
        if self.cx.egress.neighbors.learn_ipv6(address, mac, is_ours, self.cx.now) {
            self.cx.egress.resolved6(address, self.cx.now);
        }
    }

    fn input_echo6(&mut self, packet: &Ipv6View<'_>, message: &[u8], whole: bool) {
        let (source, destination) = (packet.src(), packet.dst());
        if source.is_unspecified() || message.len() < ICMPV6_LEN {
            return;
        }
        if self.is_ours6(destination) {
            if self.admits_echo(source, destination, packet.packet()) {
                self.cx.egress.echo_reply6(destination, source, message, self.cx.now);
            }
            return;
        }
        let policy = &self.cx.policy;
        if destination.is_multicast() {
            // The link's routers and nodes answer by an address of their own (RFC 4443 section 4.2); other groups are
            // not asked on the guest's behalf.
            let to_us = destination == ndp::ALL_NODES || destination == ndp::ALL_ROUTERS;
            if !policy.reach.restricted && to_us && self.admits_echo(source, destination, packet.packet()) {
                let host = self.cx.policy.link_local_host6();
                self.cx.egress.echo_reply6(host, source, message, self.cx.now);
            }
            return;
        }
        let request = EchoRequest {
            source: source.into(),
            destination: destination.into(),
            ttl: packet.hop_limit(),
            tos: 0,
            whole,
            message,
            packet: packet.packet(),
        };
        self.icmp.on_echo_request(&request, &mut self.cx);
    }
}

/// The UDP datagram in a packet's payload, as long as it says; `None` when that is too long or too short.
fn udp_datagram(payload: &[u8]) -> Option<&[u8]> {
    let &[_, _, _, _, high, low, _, _] = payload.first_chunk::<UDP_LEN>()?;
    let length = usize::from(u16::from_be_bytes([high, low]));
    payload.get(..length).filter(|datagram| datagram.len() >= UDP_LEN)
}
