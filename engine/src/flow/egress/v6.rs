//! The way to the guest over IPv6: neighbors are solicited, packets above the MTU are cut, errors are ICMPv6.

use std::net::{IpAddr, Ipv6Addr};

use smoltcp::wire::EthernetAddress;

use super::{Egress, Reported, TTL_MAX, Unreachable};
use crate::flow::key::Endpoint;
use crate::ip::fragment6::fragments;
use crate::ip::icmp;
use crate::ip::icmpv6::{self, ICMPV6_LEN, Icmpv6Error};
use crate::ip::ipv6::Ipv6View;
use crate::link::addresses::mac_of_ipv6;
use crate::link::ndp;
use crate::link::pending::Enqueued;
use crate::time::Instant;
use crate::wire::header::{
    self, ETHERNET_LEN, ETHERTYPE_IPV6, Ethernet, IPV6_LEN, Ipv6, PROTOCOL_ICMPV6, Payload, Tcp, UDP_LEN, Udp,
};

/// Where the hop limit is in an IPv6 header. No checksum covers it.
const HOP_LIMIT_AT: usize = 7;

impl Egress {
    /// The Ethernet header of a packet to `guest`, whose address is zero when it is not known.
    fn link6(&self, source: Ipv6Addr, guest: Ipv6Addr) -> (Ethernet, bool) {
        let found = self.neighbors.destination_ipv6(guest);
        let dst = found.unwrap_or(EthernetAddress([0; 6]));
        (Ethernet { dst, src: mac_of_ipv6(source) }, found.is_some())
    }

    /// Has the frame just built wait for the guest's Ethernet address when that is not known.
    fn dispatch6(&mut self, guest: Ipv6Addr, resolved: bool, now: Instant) {
        if resolved {
            return;
        }
        let Some(frame) = self.outbox.pop() else { return };
        let enqueued = self.pending.enqueue(guest.into(), frame, now);
        if enqueued == Enqueued::Dropped {
            self.dropped_unresolved += 1;
        }
        if enqueued == Enqueued::RequestNeeded {
            self.solicit(guest);
        }
    }

    pub(super) fn solicit(&mut self, target: Ipv6Addr) {
        self.frame(&ndp::neighbor_solicitation(self.v6.host, target));
    }

    /// Sends a finished frame.
    pub(crate) fn frame(&mut self, finished: &[u8]) {
        self.outbox.push(finished.len(), |frame| {
            frame.copy_from_slice(finished);
            Some(())
        });
    }

    /// Sends what waited for a neighbor that is now known.
    pub(crate) fn resolved6(&mut self, address: Ipv6Addr, now: Instant) {
        if self.pending.is_empty() {
            return;
        }
        let Some(mac) = self.neighbors.destination_ipv6(address) else { return };
        for waiting in self.pending.resolved(address.into(), mac, now) {
            self.frame(&waiting);
        }
    }

    pub(super) fn tcp6(
        &mut self,
        (src, dst): (Ipv6Addr, Ipv6Addr),
        traffic_class: u8,
        tcp: &Tcp<'_>,
        payload: Payload<'_>,
        now: Instant,
    ) {
        let (link, resolved) = self.link6(src, dst);
        let ip = Ipv6 { src, dst, hop_limit: TTL_MAX, traffic_class };
        let length = ETHERNET_LEN + IPV6_LEN + tcp.header_len() + payload.len();
        let built = self.outbox.push(length, |frame| header::tcp_ipv6_frame(frame, &link, &ip, tcp, payload).ok());
        if built.is_some() {
            self.dispatch6(dst, resolved, now);
        }
    }

    pub(super) fn udp6(&mut self, src: Ipv6Addr, dst: Ipv6Addr, udp: &Udp, payload: &[u8], now: Instant) {
        let (link, resolved) = self.link6(src, dst);
        let ip = Ipv6 { src, dst, hop_limit: TTL_MAX, traffic_class: 0 };
        let length = IPV6_LEN + UDP_LEN + payload.len();
        if length <= self.mtu {
            let built = self.outbox.push(ETHERNET_LEN + length, |frame| {
                header::udp_ipv6_frame(frame, &link, &ip, udp, payload.into()).ok()
            });
            if built.is_some() {
                self.dispatch6(dst, resolved, now);
            }
            return;
        }
        let mut frame = std::mem::take(&mut self.scratch);
        frame.clear();
        frame.resize(ETHERNET_LEN + length, 0);
        if header::udp_ipv6_frame(&mut frame, &link, &ip, udp, payload.into()).is_ok() {
            self.packet6(frame.get(ETHERNET_LEN..).unwrap_or_default(), now);
        }
        self.scratch = frame;
    }

    /// Sends a finished IPv6 packet without extension headers, in fragments where the guest's MTU asks for it.
    fn packet6(&mut self, packet: &[u8], now: Instant) {
        let Some(view) = Ipv6View::parse(packet) else { return };
        let (src, dst) = (view.src(), view.dst());
        let (link, resolved) = self.link6(src, dst);
        if packet.len() <= self.mtu {
            let built = self.outbox.push(ETHERNET_LEN + packet.len(), |frame| {
                header::emit_ethernet(frame, &link, ETHERTYPE_IPV6).ok()?;
                frame.get_mut(ETHERNET_LEN..)?.copy_from_slice(packet);
                Some(())
            });
            if built.is_some() {
                self.dispatch6(dst, resolved, now);
            }
            return;
        }
        let id = self.fragment_id;
        self.fragment_id = id.wrapping_add(1);
        for fragment in fragments(packet, self.mtu, id) {
            let built = self.outbox.push(ETHERNET_LEN + fragment.total_len(), |frame| {
                header::emit_ethernet(frame, &link, ETHERTYPE_IPV6).ok()?;
                fragment.write_to(frame.get_mut(ETHERNET_LEN..)?)
            });
            if built.is_some() {
                self.dispatch6(dst, resolved, now);
            }
        }
    }

    /// Has `append` make a packet and sends it.
    fn build6(&mut self, append: impl FnOnce(&mut Vec<u8>) -> bool, now: Instant) {
        let mut packet = std::mem::take(&mut self.scratch);
        packet.clear();
        if append(&mut packet) {
            self.packet6(&packet, now);
        }
        self.scratch = packet;
    }

    /// Sends an ICMPv6 message; its checksum is filled in.
    pub(super) fn icmp6(&mut self, src: Ipv6Addr, dst: Ipv6Addr, hop_limit: u8, message: &[u8], now: Instant) {
        let Some((first, rest)) = message.split_first_chunk::<ICMPV6_LEN>() else { return };
        let append = |packet: &mut Vec<u8>| {
            let appended = icmpv6::append_packet(src, dst, *first, rest, packet);
            if let Some(place) = packet.get_mut(HOP_LIMIT_AT) {
                *place = hop_limit;
            }
            appended
        };
        self.build6(append, now);
    }

    /// Answers an echo request, given with its header, in the name of `src`.
    pub(crate) fn echo_reply6(&mut self, src: Ipv6Addr, dst: Ipv6Addr, message: &[u8], now: Instant) {
        self.build6(|packet| icmpv6::append_echo_reply(src, dst, message, packet), now);
    }

    pub(super) fn unreachable6(&mut self, why: Unreachable, packet: &[u8], now: Instant) {
        let code = match why {
            Unreachable::Network => icmpv6::NO_ROUTE,
            Unreachable::Host => icmpv6::ADDRESS_UNREACHABLE,
            Unreachable::Prohibited => icmpv6::PROHIBITED,
        };
        self.error6(Icmpv6Error::DestinationUnreachable { code }, packet, now);
    }

    /// Tells the guest what is wrong with `offending`, a packet or the beginning of one.
    pub(crate) fn error6(&mut self, error: Icmpv6Error, offending: &[u8], now: Instant) {
        self.error6_from(ndp::ROUTER, error, offending, now);
    }

    fn error6_from(&mut self, source: Ipv6Addr, error: Icmpv6Error, offending: &[u8], now: Instant) {
        let Some(view) = Ipv6View::parse_beginning(offending) else { return };
        if !error.may_answer(&view) || !self.errors.allow(now) {
            return;
        }
        let mtu = self.mtu;
        self.build6(|packet| error.append_to(source, &view, mtu, packet), now);
    }

    /// Passes on an error for a datagram; the addresses are those that the guest knows.
    pub(super) fn datagram_error6(
        &mut self,
        reported: Reported,
        (guest, guest_port): (Ipv6Addr, u16),
        remote: Endpoint,
        payload: &[u8],
        now: Instant,
    ) {
        let IpAddr::V6(dst) = remote.ip else { return };
        let ip = Ipv6 { src: guest, dst, hop_limit: 1, traffic_class: 0 };
        let udp = Udp { src_port: guest_port, dst_port: remote.port };
        let link = Ethernet { dst: EthernetAddress([0; 6]), src: EthernetAddress([0; 6]) };
        let mut quote = vec![0; ETHERNET_LEN + IPV6_LEN + UDP_LEN + payload.len()];
        if header::udp_ipv6_frame(&mut quote, &link, &ip, &udp, payload.into()).is_ok() {
            self.reported_error6(reported, dst, quote.get(ETHERNET_LEN..).unwrap_or_default(), now);
        }
    }

    /// Passes on an error for an echo request.
    pub(super) fn echo_error6(
        &mut self,
        reported: Reported,
        guest: Ipv6Addr,
        remote: Ipv6Addr,
        message: &[u8],
        now: Instant,
    ) {
        let ip = Ipv6 { src: guest, dst: remote, hop_limit: 1, traffic_class: 0 };
        let mut quote = vec![0; IPV6_LEN];
        quote.extend_from_slice(message);
        if let Ok(length) = u16::try_from(message.len())
            && header::emit_ipv6(&mut quote, &ip, PROTOCOL_ICMPV6, length).is_ok()
        {
            self.reported_error6(reported, remote, &quote, now);
        }
    }

    pub(super) fn reported_error6(&mut self, reported: Reported, remote: Ipv6Addr, quote: &[u8], now: Instant) {
        let error = if reported.v6 {
            Icmpv6Error::from_wire(reported.kind, reported.code, reported.info)
        } else {
            // A name server of the other family: what went wrong there has no exact name here.
            match (reported.kind, reported.code) {
                (icmp::DESTINATION_UNREACHABLE, icmp::PORT_UNREACHABLE) => {
                    Some(Icmpv6Error::DestinationUnreachable { code: icmpv6::PORT_UNREACHABLE })
                }
                (icmp::DESTINATION_UNREACHABLE, icmp::FRAGMENTATION_NEEDED) => None,
                (icmp::DESTINATION_UNREACHABLE, _) => {
                    Some(Icmpv6Error::DestinationUnreachable { code: icmpv6::ADDRESS_UNREACHABLE })
                }
                _ => None,
            }
        };
        let Some(error) = error else { return };
        let source = match reported.offender {
            IpAddr::V6(offender) => offender,
            IpAddr::V4(_) => remote,
        };
        // Nobody answers from a group.
        let source = if source.is_multicast() { ndp::ROUTER } else { source };
        self.error6_from(source, error, quote, now);
    }
}
