//! Frames from the guest: taken apart and handed to whom they concern.

use std::net::{IpAddr, Ipv4Addr};

use super::Stack;
use crate::flow::Caller;
use crate::flow::egress::Egress;
use crate::flow::gate::Service;
use crate::flow::icmp::EchoRequest;
use crate::flow::key::Endpoint;
use crate::flow::{tcp, udp};
use crate::host::foreign::Foreign;
use crate::ip::icmp::{self, IcmpView};
use crate::ip::ipv4::Ipv4View;
use crate::ip::reassembly::Outcome;
use crate::link::arp::{self, ArpAction};
use crate::link::handover::marker::Question;
use crate::service::{dhcp, ncsi, tftp};
use crate::time::Instant;
use crate::wire::checksum::Partial;
use crate::wire::header::{
    ETHERNET_LEN, ETHERTYPE_ARP, ETHERTYPE_IPV4, ETHERTYPE_IPV6, PROTOCOL_ICMP, PROTOCOL_TCP, PROTOCOL_UDP, UDP_LEN,
};

/// A frame of this type, one of those for experiments (IEEE 802), makes a test build panic.
#[cfg(feature = "fault-injection")]
const FAULT_ETHERTYPE: u16 = 0x88b5;

/// What may wait to be taken out before no more frames are taken, in what frames cost. It is beyond what a round with a full ration
/// makes of the frames that a loop hands in at once, so that only who takes nothing out meets it.
const MOST_WAITING: u64 = 8 << 20;
/// The same for frames that are handed in beside the loop, where a flood may come at any pace: those of the loop find room behind it,
/// and their answers do not wait for long.
const MOST_FROM_ELSEWHERE: u64 = 1 << 20;
/// The same of effects.
const MOST_EFFECTS: usize = 16_384;
const MOST_EFFECTS_FROM_ELSEWHERE: usize = 2_048;

impl Stack {
    /// Takes an Ethernet frame from the guest, without its frame check sequence. Whatever is not understood is dropped.
    ///
    /// A loop hands in all the frames that are there before it calls [`Stack::handle_events`]. When somebody else hands one in
    /// while the loop may be asleep, and something comes of it, the stack's descriptor becomes readable.
    ///
    /// What comes of frames waits until it is taken out by [`Stack::poll_output`]. While more than 8 MiB of frames wait (each counts as 256
    /// bytes at least), or more than 16,384 effects, the frame is dropped before it is looked at, as a full queue of a
    /// network does it, and counted: [`Stack::refused_frames`]. Nothing in it was acknowledged, then. A frame from elsewhere is
    /// dropped at an eighth of both, so that a flood of these leaves room for those of the loop.
    pub fn input(&mut self, frame: &[u8], caller: Caller, now: Instant) {
        if self.has_too_much_waiting(caller) {
            self.refused_frames += 1;
            if caller == Caller::Elsewhere {
                self.wake();
            }
            return;
        }
        self.cx.caller = caller;
        self.disturb();
        self.forget_sleep();
        if !self.input_in_place(&Foreign::from(frame), now) {
            #[cfg(feature = "capture")]
            if self.recording.captures() {
                self.capture_input(frame);
            }
            self.take_frame(frame, None, now);
            #[cfg(feature = "capture")]
            if self.recording.captures() {
                self.captured_input(frame);
            }
        }
        if caller == Caller::Elsewhere && self.has_output() {
            self.wake();
        }
    }

    /// How many frames [`Stack::input`] has dropped because too much waited to be taken out.
    pub fn refused_frames(&self) -> u64 {
        self.refused_frames
    }

    fn has_too_much_waiting(&self, caller: Caller) -> bool {
        let (frames, effects) = match caller {
            Caller::Loop => (MOST_WAITING, MOST_EFFECTS),
            Caller::Elsewhere => (MOST_FROM_ELSEWHERE, MOST_EFFECTS_FROM_ELSEWHERE),
        };
        self.cx.egress.outbox.cost() >= frames || self.cx.effects.len() >= effects
    }

    /// The same for a frame that others may write meanwhile.
    #[doc(hidden)]
    pub fn input_foreign(&mut self, frame: &Foreign<'_>, caller: Caller, now: Instant) {
        self.cx.caller = caller;
        // Each of the steps below has one caller in the C library, so that it becomes part of this.
        if self.input_in_place(frame, now) {
            return;
        }
        let mut copy = std::mem::take(&mut self.frame_copy);
        let (frame, sum) = copy.of(frame);
        #[cfg(feature = "capture")]
        if self.recording.captures() {
            self.capture_input(frame);
        }
        self.take_frame(frame, Some(sum), now);
        #[cfg(feature = "capture")]
        if self.recording.captures() {
            self.captured_input(frame);
        }
        self.frame_copy = copy;
    }

    fn take_frame(&mut self, frame: &[u8], sum: Option<Partial>, now: Instant) {
        self.set_now(now);
        self.begin_input(frame.len());
        self.cx.egress.handover.on_frame(frame.len());
        self.take_apart(frame, sum);
        self.end_shortage();
    }

    fn take_apart(&mut self, frame: &[u8], sum: Option<Partial>) {
        let Some(&[high, low]) = frame.get(12..14).and_then(|kind| kind.first_chunk::<2>()) else { return };
        let kind = u16::from_be_bytes([high, low]);
        if kind == ncsi::ETHERTYPE {
            return self.input_ncsi(frame);
        }
        let (ipv4, ipv6) = (self.cx.policy.reach.ipv4, self.cx.policy.reach.ipv6);
        match kind {
            _ if !self.may_be_ours(frame, kind) => {}
            #[cfg(feature = "fault-injection")]
            FAULT_ETHERTYPE => panic!("injected fault"),
            ETHERTYPE_ARP if ipv4 => self.input_arp(frame),
            ETHERTYPE_IPV6 if ipv6 => self.input_ipv6(frame, sum),
            ETHERTYPE_IPV4 if ipv4 => {
                if let Some(Ok(packet)) = frame.get(ETHERNET_LEN..).map(Ipv4View::parse) {
                    // The header adds nothing, or its own checksum would be wrong.
                    let sum = sum.filter(|_| ETHERNET_LEN + packet.packet().len() == frame.len());
                    self.input_ipv4(&packet, sum);
                }
            }
            _ => {}
        }
        self.after_input();
    }

    fn input_ncsi(&mut self, frame: &[u8]) {
        let Some(reply) = ncsi::answer(frame, &self.ncsi) else { return };
        let reply = reply.frame();
        self.cx.egress.outbox.push(reply.len(), |frame| {
            frame.copy_from_slice(reply);
            Some(())
        });
    }

    fn input_arp(&mut self, frame: &[u8]) {
        if let Some((guest, asker)) = arp::reply_of(frame) {
            self.cx.egress.handover.on_answer(&Question { asker: asker.into(), guest: guest.into() }, self.cx.now);
        }
        let policy = &self.cx.policy;
        let subnet = policy.v4.subnet();
        let forwards = &self.guest_forwards;
        let is_ours = |ip: Ipv4Addr| policy.v4.is_virtual(ip) || forwards.covers(ip);
        let learned = match arp::on_arp(frame, &subnet, is_ours, &mut self.cx.egress.neighbors, self.cx.now) {
            ArpAction::None => None,
            ArpAction::Learned(ip) => Some(ip),
            ArpAction::Reply { frame: reply, learned } => {
                self.cx.egress.outbox.push(reply.len(), |frame| {
                    frame.copy_from_slice(&reply);
                    Some(())
                });
                learned
            }
        };
        if let Some(ip) = learned {
            self.cx.egress.resolved(ip, self.cx.now);
        }
    }

    /// `sum` is that of the packet's payload, where it is known.
    fn input_ipv4(&mut self, packet: &Ipv4View<'_>, sum: Option<Partial>) {
        if !self.cx.policy.plausible_source(packet.src()) || self.guest_forwards.covers(packet.src()) {
            return;
        }
        if packet.ttl() == 0 {
            self.cx.egress.time_exceeded(packet.packet(), self.cx.now);
            return;
        }
        if packet.is_fragment() {
            self.expire_fragments();
            let outcome = self.reassembly.on_ipv4(packet, self.cx.now);
            self.await_fragments();
            let Outcome::Complete(whole) = outcome else { return };
            if let Ok(whole) = Ipv4View::parse(&whole) {
                self.dispatch_ipv4(&whole, None);
            }
            return;
        }
        self.dispatch_ipv4(packet, sum);
    }

    fn dispatch_ipv4(&mut self, packet: &Ipv4View<'_>, sum: Option<Partial>) {
        match packet.protocol() {
            PROTOCOL_TCP if Egress::checksum_is_right(packet, PROTOCOL_TCP, packet.payload(), sum) => {
                let forwards = &self.guest_forwards;
                let from = tcp::FromGuest {
                    source: packet.src().into(),
                    destination: packet.dst().into(),
                    ttl: packet.ttl(),
                    marked: packet.tos() & 3 == 3,
                    segment: packet.payload(),
                    packet: packet.packet(),
                };
                self.tcp.on_segment(&from, &|at| forwards.find(at), &mut self.cx);
            }
            PROTOCOL_UDP => self.input_udp(packet, sum),
            PROTOCOL_ICMP => self.input_icmp(packet, sum),
            _ => {}
        }
    }

    fn input_udp(&mut self, packet: &Ipv4View<'_>, sum: Option<Partial>) {
        let Some(&[source_high, source_low, high, low, length_high, length_low, _, _]) =
            packet.payload().first_chunk::<UDP_LEN>()
        else {
            return;
        };
        let length = usize::from(u16::from_be_bytes([length_high, length_low]));
        // A length beyond the packet is a lie; a smaller one cuts the datagram.
        let Some(datagram) = packet.payload().get(..length) else { return };
        let Some(payload) = datagram.get(UDP_LEN..) else { return };
        let sum = sum.filter(|_| length == packet.payload().len());
        if !Egress::checksum_is_right(packet, PROTOCOL_UDP, datagram, sum) {
            return;
        }
        let source = Endpoint::new(packet.src(), u16::from_be_bytes([source_high, source_low]));
        let destination = Endpoint::new(packet.dst(), u16::from_be_bytes([high, low]));
        let to_vhost = packet.dst() == self.cx.policy.v4.host;
        if destination.port == dhcp::SERVER_PORT && (to_vhost || packet.dst().is_broadcast()) {
            return self.input_dhcp(source, destination, payload);
        }
        if destination.port == tftp::PORT && to_vhost {
            return self.input_tftp(source, destination, payload, packet.packet());
        }
        let (ttl, whole, packet) = (packet.ttl(), packet.dont_fragment(), packet.packet());
        let datagram = udp::FromGuest { source, destination, ttl, whole, payload, packet };
        self.udp.on_datagram(&datagram, &mut self.cx);
    }

    fn input_dhcp(&mut self, client: Endpoint, server: Endpoint, payload: &[u8]) {
        let Some(dhcp) = &mut self.dhcp else { return };
        if self.cx.keeps_from(Service::Dhcp, client, server, None) {
            return;
        }
        let mut reply = dhcp::Reply { payload: [0; dhcp::REPLY_LEN], lease: None };
        if !dhcp.answer(payload, self.cx.now, &mut reply) {
            return;
        }
        if let Some((ip, mac)) = reply.lease {
            let is_ours = |ip: Ipv4Addr| self.cx.policy.v4.is_virtual(ip);
            self.cx.egress.learn_lease(ip, mac, is_ours, Some(self.cx.now));
        }
        self.cx.egress.dhcp(&reply.payload, self.cx.now);
    }

    fn input_icmp(&mut self, packet: &Ipv4View<'_>, sum: Option<Partial>) {
        let message = match sum {
            Some(sum) => IcmpView::of_sum(packet.payload(), sum),
            None => IcmpView::parse(packet.payload()),
        };
        let Some(message) = message else { return };
        if (message.message_type(), message.code()) == (icmp::DESTINATION_UNREACHABLE, icmp::FRAGMENTATION_NEEDED) {
            return self.tcp.on_too_big4(message.data(), message.next_hop_mtu(), &mut self.cx);
        }
        if message.message_type() != icmp::ECHO_REQUEST {
            return;
        }
        let to = packet.dst();
        if self.cx.policy.v4.is_virtual(to) || self.guest_forwards.covers(to) {
            if self.admits_echo(packet.src(), to, packet.packet()) {
                self.cx.egress.echo_reply(packet, &message, self.cx.now);
            }
            return;
        }
        let request = EchoRequest {
            source: packet.src().into(),
            destination: to.into(),
            ttl: packet.ttl(),
            tos: packet.tos(),
            whole: packet.dont_fragment(),
            message: packet.payload(),
            packet: packet.packet(),
        };
        self.icmp.on_echo_request(&request, &mut self.cx);
    }

    /// Whether the guest may have an echo reply of a virtual address; else it is told, if it is to be.
    #[inline]
    pub(super) fn admits_echo(&mut self, source: impl Into<IpAddr>, to: impl Into<IpAddr>, packet: &[u8]) -> bool {
        if self.cx.gate.is_open() {
            return true;
        }
        let (guest, named) = (Endpoint::new(source, 0), Endpoint::new(to, 0));
        !self.cx.keeps_from(Service::Echo, guest, named, Some(packet))
    }
}
