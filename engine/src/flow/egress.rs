//! The way to the guest: builds frames, addresses them by the neighbor table, and has them wait while the guest's
//! Ethernet address is not known.

mod reach;
mod v6;

use std::net::{IpAddr, Ipv4Addr};

use smoltcp::wire::EthernetAddress;

use super::key::Endpoint;
use super::policy::Policy;
use crate::config::{Network4, Network6};
use crate::ip::fragment::Fragments;
use crate::ip::icmp::{self, IcmpError};
use crate::ip::icmpv6::{self, Icmpv6Error};
use crate::ip::ipv4::Ipv4View;
use crate::ip::rate_limit::RateLimit;
use crate::link::addresses::mac_of_ipv4;
use crate::link::arp;
use crate::link::handover::Handover;
use crate::link::handover::handing::Handing;
use crate::link::handover::marker::{self, Question};
use crate::link::ndp;
use crate::link::neighbor::NeighborTable;
use crate::link::outbox::Outbox;
use crate::link::pending::{Enqueued, Pending};
use crate::service::dhcp;
use crate::tcp::{Flags, SeqNumber, Transmit};
use crate::time::{Instant, earliest};
use crate::wire::checksum::{self, Checksum, Partial};
use crate::wire::header::{
    self, ETHERNET_LEN, Ethernet, IPV4_LEN, Ipv4, PROTOCOL_UDP, Payload, TOS_LOW_DELAY, Tcp, UDP_LEN, Udp,
};
use crate::wire::series::Series;

/// Time to live of TCP and UDP packets to the guest; source: docs/contract/ipv4.md section 4.
const TTL: u8 = 64;
/// Time to live of ICMP packets and of resets that answer stray segments; hop limit of all IPv6 packets.
const TTL_MAX: u8 = 255;
const PROTOCOL_ICMP: u8 = header::PROTOCOL_ICMP;

/// What may be made behind frames that wait for the application, in what frames cost; what comes then is dropped.
const MOST_WAITING: u64 = 512 * 1024;
/// The same behind frames that are held for a trial.
const MOST_HELD: u64 = 64 * 1024;

/// Why a packet of the guest does not get where it was to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unreachable {
    Network,
    Host,
    /// It is not to get there.
    Prohibited,
}

/// An error the host reported for something the guest had sent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reported {
    pub kind: u8,
    pub code: u8,
    /// The MTU of the next hop where the error is about size, the offset of what is wrong in a parameter problem, else 0.
    pub info: u32,
    /// Who is to be shown as the sender of the error.
    pub offender: IpAddr,
    /// Whether kind and code are those of ICMPv6.
    pub v6: bool,
}

/// The way to the guest.
pub(crate) struct Egress {
    pub outbox: Outbox,
    pub neighbors: NeighborTable,
    pending: Pending,
    v4: Network4,
    v6: Network6,
    /// The largest IP packet the guest takes, in bytes.
    mtu: usize,
    /// The identification of the next IPv4 packet.
    ip_id: u16,
    /// The identification of the next IPv6 packet that has to be cut.
    fragment_id: u32,
    errors: RateLimit,
    scratch: Vec<u8>,
    /// How much of what is made the application can take.
    pub handover: Handover,
    /// Position up to which frames have left the outbox.
    left: u64,
    dropped_waiting: u64,
    dropped_unresolved: u64,
    /// Markers, which do not go through the outbox, and their bytes.
    markers: (u64, u64),
}

impl Egress {
    pub(crate) fn new(policy: &Policy, mtu: usize) -> Egress {
        Egress {
            // An MTU may be too small for what a protocol must say in one packet, as neighbor discovery.
            outbox: Outbox::new(ETHERNET_LEN + mtu),
            neighbors: NeighborTable::new(),
            pending: Pending::new(),
            v4: policy.v4,
            v6: policy.v6,
            mtu,
            ip_id: 0,
            fragment_id: 0,
            errors: RateLimit::icmp_errors(),
            scratch: Vec::new(),
            handover: Handover::default(),
            left: 0,
            dropped_waiting: 0,
            markers: (0, 0),
            dropped_unresolved: 0,
        }
    }

    /// Position of the last frame made; see [`crate::link::handover`].
    pub(crate) fn position(&self) -> u64 {
        self.left + self.outbox.cost()
    }

    /// A round of the application's loop begins: position of the last frame made.
    pub(crate) fn begin_round(&mut self, now: Instant) {
        self.handover.begin_round(self.position(), now);
        self.outbox.price(self.handover.pricing());
    }

    /// Whether there is room for a frame with an IP packet of this length on the way to the guest.
    pub(crate) fn fits(&self, packet: usize) -> bool {
        self.handover.fits(self.position(), self.outbox.cost_of(ETHERNET_LEN + packet))
    }

    /// The same for a bare answer that is made before the turns of a round.
    pub(crate) fn fits_beside(&self, packet: usize) -> bool {
        self.handover.fits_beside(self.position(), self.outbox.cost_of(ETHERNET_LEN + packet))
    }

    /// Whether frames were made since the last hand-over, or a marker is to follow what was handed over.
    #[inline]
    pub(crate) fn has_output(&self, now: Instant) -> bool {
        !self.outbox.is_empty() || self.handover.wants_marker(self.left, now)
    }

    /// Takes out what may be given to the application now. False when that is nothing.
    pub(crate) fn hand_over(&mut self, handing: &mut Handing, now: Instant) -> bool {
        let new = self.outbox.cost();
        if handing.take(&mut self.outbox) {
            self.left += new;
            self.outbox.price(self.handover.pricing());
        }
        if self.outbox.cost() > MOST_HELD {
            self.handover.on_many_waiting(now);
        }
        let grant = self.handover.grant(self.left, handing.costs());
        handing.grant(grant);
        if self.handover.wants_marker(self.position(), now) {
            self.mark(handing, now);
        }
        if handing.has_rest() {
            // Flows wait for room; what is made without asking for it answers frames of a guest that reads nothing.
            while self.outbox.cost().max(self.outbox.bytes() as u64) > MOST_WAITING {
                self.outbox.drop_last();
                self.dropped_waiting += 1;
            }
        }
        !handing.is_empty()
    }

    /// Has a marker follow what is given.
    #[cold]
    fn mark(&mut self, handing: &mut Handing, now: Instant) {
        // Behind a frame to a group, or an ARP reply, any guest will do.
        let known = || self.neighbors.iter_ipv4().next().map(|(ip, mac)| (mac, IpAddr::from(ip)));
        let Some((mac, guest)) = marker::guest_of(handing.last()).or_else(known) else { return };
        let (gateway, name_server) = ((self.v4.host, self.v6.host), (self.v4.name_server, self.v6.name_server));
        let mut frame = Vec::new();
        let asks = self.handover.mark(now, |host| {
            let (asker, asker6) = if host == 0 { gateway } else { name_server };
            let asker: IpAddr = match guest {
                IpAddr::V4(guest) => {
                    frame.extend_from_slice(&arp::request_at(asker, guest, mac));
                    asker.into()
                }
                IpAddr::V6(guest) => {
                    frame = ndp::neighbor_solicitation_at(asker6, guest, mac);
                    asker6.into()
                }
            };
            Question { asker, guest }
        });
        if !asks {
            return;
        }
        self.markers = (self.markers.0 + 1, self.markers.1 + frame.len() as u64);
        handing.add_marker(frame);
    }

    /// How many frames were made for the guest and not dropped, and their bytes.
    pub(crate) fn given_ever(&self) -> (u64, u64) {
        let (frames, bytes) = self.outbox.kept_ever();
        (frames + self.markers.0, bytes + self.markers.1)
    }

    /// How many frames were dropped because too much waited for a guest that reads nothing.
    pub(crate) fn dropped_waiting(&self) -> u64 {
        self.dropped_waiting
    }

    /// How many frames were dropped because too many waited for the guest's Ethernet address.
    pub(crate) fn dropped_unresolved(&self) -> u64 {
        self.dropped_unresolved
    }

    pub(crate) fn mtu(&self) -> usize {
        self.mtu
    }

    /// The identification the next IPv4 packet will have; part of the saved state.
    pub(crate) fn ip_id(&self) -> u16 {
        self.ip_id
    }

    pub(crate) fn set_ip_id(&mut self, ip_id: u16) {
        self.ip_id = ip_id;
    }

    fn next_id(&mut self) -> u16 {
        let id = self.ip_id;
        self.ip_id = id.wrapping_add(1);
        id
    }

    /// The Ethernet header of a packet to `guest`, whose address is zero when it is not known.
    fn link4(&self, guest: Ipv4Addr) -> (Ethernet, bool) {
        let found = self.neighbors.destination_ipv4(guest, &self.v4.subnet());
        let dst = found.unwrap_or(EthernetAddress([0; 6]));
        (Ethernet { dst, src: mac_of_ipv4(self.v4.host) }, found.is_some())
    }

    /// Has the frame just built wait for the guest's Ethernet address when that is not known.
    #[inline]
    fn dispatch4(&mut self, guest: Ipv4Addr, resolved: bool, now: Instant) {
        if !resolved {
            self.wait_for_address(guest, now);
        }
    }

    #[cold]
    fn wait_for_address(&mut self, guest: Ipv4Addr, now: Instant) {
        let Some(frame) = self.outbox.pop() else { return };
        match self.pending.enqueue(guest.into(), frame, now) {
            Enqueued::RequestNeeded => self.request(guest),
            Enqueued::Dropped => self.dropped_unresolved += 1,
            Enqueued::Waiting => {}
        }
    }

    fn request(&mut self, target: Ipv4Addr) {
        let request = arp::request(self.v4.host, target);
        self.outbox.push(request.len(), |frame| {
            frame.copy_from_slice(&request);
            Some(())
        });
    }

    /// Sends what waited for a neighbor that is now known.
    pub(crate) fn resolved(&mut self, address: Ipv4Addr, now: Instant) {
        if self.pending.is_empty() {
            return;
        }
        let Some(mac) = self.neighbors.destination_ipv4(address, &self.v4.subnet()) else { return };
        for waiting in self.pending.resolved(address.into(), mac, now) {
            self.outbox.push(waiting.len(), |frame| {
                frame.copy_from_slice(&waiting);
                Some(())
            });
        }
    }

    /// When [`Egress::on_deadline`] is due.
    #[inline]
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let pending = if self.pending.is_empty() { None } else { self.pending.deadline() };
        earliest(pending, self.neighbors.deadline())
    }

    /// Drops what waited too long for its address, and asks again for those that came later. Neighbors that were asked and
    /// have not answered are silent.
    pub(crate) fn on_deadline(&mut self, now: Instant) {
        if self.neighbors.deadline().is_some_and(|deadline| deadline <= now) {
            self.neighbors.on_deadline(now);
        }
        let mut again = Vec::new();
        self.pending.on_deadline(now, |address| again.push(address));
        for address in again {
            match address {
                IpAddr::V4(address) => self.request(address),
                IpAddr::V6(address) => self.solicit(address),
            }
        }
    }

    /// Sends a TCP segment of a flow.
    pub(crate) fn segment(
        &mut self,
        remote: Endpoint,
        guest: Endpoint,
        tos: u8,
        transmit: &Transmit,
        payload: (&[u8], &[u8]),
        now: Instant,
    ) {
        let mut options = [0; header::TCP_OPTIONS_MAX];
        let options_len = if transmit.options.is_empty() { 0 } else { transmit.options.emit(&mut options) };
        let tcp = Tcp {
            src_port: remote.port,
            dst_port: guest.port,
            seq: transmit.seq.0,
            ack: transmit.ack.0,
            flags: transmit.flags.control(),
            window: transmit.window,
            urgent: transmit.urgent,
            options: options.get(..options_len).unwrap_or_default(),
        };
        self.tcp((remote.ip, guest.ip), (tos, TTL), transmit.flags, &tcp, Payload(payload.0, payload.1), now);
    }

    /// What is alike in the segments of a burst, of which the last frame is one: it carries `payload` bytes from `seq` on. `None` when
    /// that waits for the guest's address.
    pub(crate) fn series(&self, payload: usize, seq: SeqNumber) -> Option<Series> {
        Series::of(self.outbox.last()?, payload, seq.0)
    }

    /// For how many more frames of this series there is room on the way to the guest; no more than `most`.
    pub(crate) fn series_fits(&self, series: &Series, payload: usize, most: usize) -> usize {
        let (position, cost) = (self.position(), self.outbox.cost_of(series.length(payload)));
        let fits = |number: &usize| self.handover.fits(position + *number as u64 * cost, cost);
        (0..most).take_while(fits).count()
    }

    /// Sends one of a series.
    #[inline]
    pub(crate) fn segment_of(&mut self, series: &Series, seq: SeqNumber, payload: (&[u8], &[u8])) {
        let id = if series.is_ipv4() { self.next_id() } else { 0 };
        let payload = Payload(payload.0, payload.1);
        self.outbox.push(series.length(payload.len()), |frame| series.write(frame, seq.0, id, &payload));
    }

    /// Sends a reset that answers a segment of no flow.
    pub(crate) fn reset(
        &mut self,
        remote: Endpoint,
        guest: Endpoint,
        seq: SeqNumber,
        ack: SeqNumber,
        flags: Flags,
        now: Instant,
    ) {
        let tcp = Tcp {
            src_port: remote.port,
            dst_port: guest.port,
            seq: seq.0,
            ack: ack.0,
            flags: flags.control(),
            window: 0,
            urgent: 0,
            options: &[],
        };
        self.tcp((remote.ip, guest.ip), (0, TTL_MAX), flags, &tcp, Payload(&[], &[]), now);
    }

    #[inline(always)]
    fn tcp(
        &mut self,
        (source, guest): (IpAddr, IpAddr),
        (tos, ttl): (u8, u8),
        flags: Flags,
        tcp: &Tcp<'_>,
        payload: Payload<'_>,
        now: Instant,
    ) {
        let segment = tcp.header_len() + payload.len();
        match (source, guest) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => {
                let (link, resolved) = self.link4(dst);
                let ip = Ipv4 { src, dst, ttl, tos: tos | flags.ip(), id: self.next_id() };
                let built = self.outbox.push(ETHERNET_LEN + IPV4_LEN + segment, |frame| {
                    header::tcp_ipv4_frame(frame, &link, &ip, tcp, payload).ok()
                });
                if built.is_some() {
                    self.dispatch4(dst, resolved, now);
                }
            }
            (IpAddr::V6(src), IpAddr::V6(dst)) => self.tcp6((src, dst), flags.ip(), tcp, payload, now),
            // A flow has both ends in one family.
            _ => {}
        }
    }

    /// Sends a UDP datagram, in fragments where the guest's MTU asks for it.
    pub(crate) fn udp(&mut self, source: Endpoint, guest: Endpoint, payload: &[u8], tos: u8, now: Instant) {
        let udp = Udp { src_port: source.port, dst_port: guest.port };
        match (source.ip, guest.ip) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => {
                let ip = Ipv4 { src, dst, ttl: TTL, tos, id: self.next_id() };
                let length = IPV4_LEN + UDP_LEN + payload.len();
                if length <= self.mtu {
                    let (link, resolved) = self.link4(dst);
                    let built = self.outbox.push(ETHERNET_LEN + length, |frame| {
                        header::udp_ipv4_frame(frame, &link, &ip, &udp, payload.into()).ok()
                    });
                    if built.is_some() {
                        self.dispatch4(dst, resolved, now);
                    }
                    return;
                }
                let mut packet = std::mem::take(&mut self.scratch);
                packet.clear();
                packet.resize(length, 0);
                if header::udp_ipv4_packet(&mut packet, &ip, &udp, payload.into()).is_ok() {
                    self.packet4(dst, &packet, now);
                }
                self.scratch = packet;
            }
            (IpAddr::V6(src), IpAddr::V6(dst)) => self.udp6(src, dst, &udp, payload, now),
            _ => {}
        }
    }

    /// Sends a finished IPv4 packet, in fragments where the guest's MTU asks for it.
    fn packet4(&mut self, guest: Ipv4Addr, packet: &[u8], now: Instant) {
        let (link, resolved) = self.link4(guest);
        let Ok(fragments) = Fragments::new(packet, self.mtu) else { return };
        for fragment in fragments {
            let built = self.outbox.push(ETHERNET_LEN + fragment.total_len(), |frame| {
                header::emit_ethernet(frame, &link, header::ETHERTYPE_IPV4).ok()?;
                fragment.write_to(frame.get_mut(ETHERNET_LEN..)?)
            });
            if built.is_some() {
                self.dispatch4(guest, resolved, now);
            }
        }
    }

    /// Sends a finished ICMP message. (Over IPv6 its checksum is computed here, as that depends on the addresses.)
    pub(crate) fn icmp(&mut self, source: IpAddr, guest: IpAddr, (tos, ttl): (u8, u8), message: &[u8], now: Instant) {
        let (src, dst) = match (source, guest) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => (src, dst),
            (IpAddr::V6(src), IpAddr::V6(dst)) => return self.icmp6(src, dst, ttl, message, now),
            _ => return,
        };
        let id = self.next_id();
        let mut packet = std::mem::take(&mut self.scratch);
        packet.clear();
        packet.resize(IPV4_LEN, 0);
        packet.extend_from_slice(message);
        let ip = Ipv4 { src, dst, ttl, tos, id };
        if let Ok(length) = u16::try_from(packet.len())
            && header::emit_ipv4(&mut packet, &ip, PROTOCOL_ICMP, length).is_ok()
        {
            self.packet4(dst, &packet, now);
        }
        self.scratch = packet;
    }

    /// Answers an echo request to one of the virtual addresses.
    pub(crate) fn echo_reply(&mut self, request: &Ipv4View<'_>, message: &icmp::IcmpView<'_>, now: Instant) {
        let id = self.next_id();
        let reply = icmp::EchoReply::to(request, message);
        if reply.len() <= self.mtu {
            let (link, resolved) = self.link4(reply.dst);
            let built = self.outbox.push(ETHERNET_LEN + reply.len(), |frame| {
                header::icmp_ipv4_frame(frame, &link, &reply.ip(id), &reply.first, reply.data).ok()
            });
            if built.is_some() {
                self.dispatch4(reply.dst, resolved, now);
            }
            return;
        }
        let mut packet = std::mem::take(&mut self.scratch);
        packet.clear();
        if reply.append_to(id, &mut packet) {
            self.packet4(reply.dst, &packet, now);
        }
        self.scratch = packet;
    }

    /// Tells the guest that `packet` does not get where it was to go.
    pub(crate) fn unreachable(&mut self, why: Unreachable, packet: &[u8], now: Instant) {
        if is_v6(packet) {
            return self.unreachable6(why, packet, now);
        }
        let code = match why {
            Unreachable::Network => icmp::NET_UNREACHABLE,
            Unreachable::Host => icmp::HOST_UNREACHABLE,
            Unreachable::Prohibited => icmp::PROHIBITED,
        };
        self.error(IcmpError::DestinationUnreachable { code }, self.v4.host, packet, now);
    }

    /// Tells the guest that a link on the way of `packet` carries no more than `mtu` bytes.
    pub(crate) fn too_large(&mut self, mtu: u32, packet: &[u8], now: Instant) {
        if is_v6(packet) {
            return self.error6(Icmpv6Error::PacketTooBig { mtu }, packet, now);
        }
        let mtu = u16::try_from(mtu).unwrap_or(u16::MAX);
        self.error(IcmpError::FragmentationNeeded { mtu }, self.v4.host, packet, now);
    }

    /// Tells the guest that the time to live of `packet` has run out.
    pub(crate) fn time_exceeded(&mut self, packet: &[u8], now: Instant) {
        if is_v6(packet) {
            return self.error6(Icmpv6Error::TimeExceeded { code: 0 }, packet, now);
        }
        self.error(IcmpError::TimeExceeded { code: icmp::TTL_EXCEEDED }, self.v4.host, packet, now);
    }

    /// Tells the guest that the rest of a datagram did not come in time; `first` is its first fragment (RFC 792, RFC 8200
    /// section 4.5).
    pub(crate) fn reassembly_timed_out(&mut self, first: &[u8], now: Instant) {
        if is_v6(first) {
            return self.error6(Icmpv6Error::TimeExceeded { code: icmpv6::REASSEMBLY_TIME_EXCEEDED }, first, now);
        }
        self.error(IcmpError::TimeExceeded { code: icmp::REASSEMBLY_TIME_EXCEEDED }, self.v4.host, first, now);
    }

    fn error(&mut self, error: IcmpError, source: Ipv4Addr, offending: &[u8], now: Instant) {
        let Ok(view) = Ipv4View::parse(offending) else { return };
        if !icmp::may_answer(&view, &self.v4.subnet()) || !self.errors.allow(now) {
            return;
        }
        let mut packet = std::mem::take(&mut self.scratch);
        packet.clear();
        let id = self.next_id();
        if icmp::append_error(error, source, &view, &self.v4.subnet(), id, &mut packet) {
            self.packet4(view.src(), &packet, now);
        }
        self.scratch = packet;
    }

    /// Passes on an error that the host reported for a datagram from `guest` to `remote`.
    pub(crate) fn datagram_error(
        &mut self,
        reported: Reported,
        guest: Endpoint,
        remote: Endpoint,
        payload: &[u8],
        now: Instant,
    ) {
        let (src, dst) = match (guest.ip, remote.ip) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => (src, dst),
            (IpAddr::V6(src), _) => return self.datagram_error6(reported, (src, guest.port), remote, payload, now),
            _ => return,
        };
        let ip = Ipv4 { src, dst, ttl: 1, tos: 0, id: 0 };
        let udp = Udp { src_port: guest.port, dst_port: remote.port };
        let mut quote = vec![0; IPV4_LEN + UDP_LEN + payload.len()];
        if header::udp_ipv4_packet(&mut quote, &ip, &udp, payload.into()).is_ok() {
            self.reported_error(reported, dst, &quote, now);
        }
    }

    /// Passes on an error that the host reported for an echo request from `guest` to `remote`.
    pub(crate) fn echo_error(
        &mut self,
        reported: Reported,
        guest: IpAddr,
        remote: IpAddr,
        message: &[u8],
        now: Instant,
    ) {
        let (src, dst) = match (guest, remote) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => (src, dst),
            (IpAddr::V6(src), IpAddr::V6(dst)) => return self.echo_error6(reported, src, dst, message, now),
            _ => return,
        };
        let ip = Ipv4 { src, dst, ttl: 1, tos: 0, id: 0 };
        let mut quote = vec![0; IPV4_LEN];
        quote.extend_from_slice(message);
        if let Ok(length) = u16::try_from(quote.len())
            && header::emit_ipv4(&mut quote, &ip, PROTOCOL_ICMP, length).is_ok()
        {
            self.reported_error(reported, dst, &quote, now);
        }
    }

    /// Passes on an error that the host reported for a packet of the guest to `remote`.
    pub(crate) fn packet_error(&mut self, reported: Reported, remote: IpAddr, packet: &[u8], now: Instant) {
        match remote {
            IpAddr::V4(remote) => self.reported_error(reported, remote, packet, now),
            IpAddr::V6(remote) => self.reported_error6(reported, remote, packet, now),
        }
    }

    fn reported_error(&mut self, reported: Reported, remote: Ipv4Addr, quote: &[u8], now: Instant) {
        let error = if reported.v6 {
            // A name server of the other family: what went wrong there has no exact name here.
            match (reported.kind, reported.code) {
                (icmpv6::DESTINATION_UNREACHABLE, icmpv6::PORT_UNREACHABLE) => {
                    Some(IcmpError::DestinationUnreachable { code: icmp::PORT_UNREACHABLE })
                }
                (icmpv6::DESTINATION_UNREACHABLE, _) => {
                    Some(IcmpError::DestinationUnreachable { code: icmp::HOST_UNREACHABLE })
                }
                _ => None,
            }
        } else {
            IcmpError::from_wire(reported.kind, reported.code)
        };
        let error = match error {
            Some(IcmpError::FragmentationNeeded { .. }) => {
                IcmpError::FragmentationNeeded { mtu: u16::try_from(reported.info).unwrap_or(u16::MAX) }
            }
            Some(error) => error,
            None => return,
        };
        let offender = match reported.offender {
            IpAddr::V4(offender) => offender,
            IpAddr::V6(_) => remote,
        };
        self.error(error, offender, quote, now);
    }

    /// Sends the reply of the DHCP server; source: docs/contract/dhcp.md section A3.
    pub(crate) fn dhcp(&mut self, payload: &[u8], now: Instant) {
        let server = Endpoint::new(self.v4.host, dhcp::SERVER_PORT);
        self.udp(server, Endpoint::new(Ipv4Addr::BROADCAST, dhcp::CLIENT_PORT), payload, TOS_LOW_DELAY, now);
    }

    /// Whether the checksum of a TCP or UDP message in an IPv4 packet is right; `known` is the message's sum, where it is.
    pub(crate) fn checksum_is_right(view: &Ipv4View<'_>, protocol: u8, message: &[u8], known: Option<Partial>) -> bool {
        let Ok(length) = u16::try_from(message.len()) else { return false };
        if protocol == PROTOCOL_UDP && message.get(6..8) == Some(&[0, 0]) {
            return true;
        }
        let mut sum = Checksum::pseudo_ipv4(view.src(), view.dst(), protocol, length);
        sum.add_partial(known.unwrap_or_else(|| checksum::sum(message)));
        sum.finish() == 0
    }
}

/// Whether an IP packet is one of version 6.
fn is_v6(packet: &[u8]) -> bool {
    packet.first().is_some_and(|first| first >> 4 == 6)
}
