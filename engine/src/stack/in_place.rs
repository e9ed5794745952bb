//! Bulk from the guest without a copy of the frame: the next bytes of a stream go from where the application has them to
//! where they wait for the host.
//!
//! Only the headers are copied and judged first. Where they are those of a plain segment with the next bytes of a
//! connection, the payload is copied to the end of its receive buffer, and becomes part of it once the checksum was found
//! right. Everything else takes the long way on a copy of the whole frame.

use super::Stack;
#[cfg(feature = "capture")]
use crate::capture::pcapng::Frame;
use crate::flow::key::{Endpoint, FlowKey};
use crate::host::foreign::Foreign;
use crate::ip::ipv4::Ipv4View;
use crate::ip::ipv6::Ipv6View;
use crate::tcp::Segment;
use crate::time::Instant;
use crate::wire::checksum::{Checksum, Partial};
use crate::wire::header::{ETHERNET_LEN, ETHERTYPE_IPV4, ETHERTYPE_IPV6, IPV4_LEN, IPV6_LEN, PROTOCOL_TCP};

/// The longest headers of such a frame: Ethernet, IPv6 without extensions, TCP with all its options.
const HEADERS: usize = ETHERNET_LEN + IPV6_LEN + 60;
/// Where in the frame an IPv4 header names its payload, and an IPv6 header.
const PROTOCOL: usize = ETHERNET_LEN + 9;
const NEXT_HEADER: usize = ETHERNET_LEN + 6;
/// From this length of a frame on the long way costs more than a vain look at its headers.
const LEAST: usize = 512;

/// What of an IP header such a segment has.
struct Packet {
    ends: (std::net::IpAddr, std::net::IpAddr),
    hops: u8,
    /// Where its payload begins in the frame.
    start: usize,
    /// The pseudo-header's sum.
    sum: Checksum,
}

impl Stack {
    /// Takes a frame with the next bytes of a stream. False when it is none, or there is no place for it: nothing was done then.
    pub(super) fn input_in_place(&mut self, frame: &Foreign<'_>, now: Instant) -> bool {
        frame.len() >= LEAST && self.try_in_place(frame, now).is_some()
    }

    fn try_in_place(&mut self, frame: &Foreign<'_>, now: Instant) -> Option<()> {
        let mut head = [0; HEADERS];
        frame.copy(0, &mut head)?;
        if !self.is_accepted(head.first_chunk()?) {
            return None;
        }
        // Datagrams are as long, so what carries them is looked at before anything is summed.
        let packet = match u16::from_be_bytes(*head.get(12..)?.first_chunk()?) {
            ETHERTYPE_IPV4 if *head.get(PROTOCOL)? == PROTOCOL_TCP => self.plain_ipv4(&head, frame.len())?,
            ETHERTYPE_IPV6 if *head.get(NEXT_HEADER)? == PROTOCOL_TCP => self.plain_ipv6(&head, frame.len())?,
            _ => return None,
        };
        let tcp = head.get(packet.start..)?;
        let mut header = Segment::parse(tcp)?;
        let header_len = tcp.len() - header.payload.len();
        let tcp = tcp.get(..header_len)?;
        header.payload = &[];
        let &[source_high, source_low, high, low] = tcp.first_chunk()?;
        let key = FlowKey {
            guest: Endpoint { ip: packet.ends.0, port: u16::from_be_bytes([source_high, source_low]) },
            remote: Endpoint { ip: packet.ends.1, port: u16::from_be_bytes([high, low]) },
        };
        let start = packet.start + header_len;
        let length = frame.len().checked_sub(start)?;

        self.set_now(now);
        let (id, place) = self.tcp.place(&key, packet.hops, &header, length, &mut self.cx)?;
        let payload = frame.copy_and_sum(start, place)?;
        // What is captured and what is judged is the same copy, whatever the guest writes meanwhile.
        #[cfg(feature = "capture")]
        if self.recording.captures() {
            let captured = Frame { head: head.get(..start).unwrap_or(&head), rest: place };
            self.recording.input(captured, &mut self.cx.journal, self.cx.now);
        }
        let mut sum = packet.sum;
        sum.add(tcp);
        sum.add_partial(Partial::of_words(payload, length));

        self.begin_input(frame.len());
        self.cx.egress.handover.on_frame(frame.len());
        if sum.finish() == 0 {
            self.tcp.on_placed(id, &header, length, &mut self.cx);
        } else {
            self.tcp.forget_place(id, &mut self.cx);
        }
        self.after_input();
        self.end_shortage();
        Some(())
    }

    fn plain_ipv4(&self, head: &[u8; HEADERS], frame_len: usize) -> Option<Packet> {
        let packet = Ipv4View::parse_plain(head.get(ETHERNET_LEN..)?, frame_len - ETHERNET_LEN)?;
        let (source, destination) = (packet.src(), packet.dst());
        let policy = &self.cx.policy;
        let plain = policy.reach.ipv4
            && packet.ttl() > 0
            && packet.tos() & 3 != 3
            && policy.plausible_source(source)
            && !self.guest_forwards.covers(source);
        let length = u16::try_from(frame_len - ETHERNET_LEN - IPV4_LEN).ok().filter(|_| plain)?;
        Some(Packet {
            ends: (source.into(), destination.into()),
            hops: packet.ttl(),
            start: ETHERNET_LEN + IPV4_LEN,
            sum: Checksum::pseudo_ipv4(source, destination, PROTOCOL_TCP, length),
        })
    }

    fn plain_ipv6(&self, head: &[u8; HEADERS], frame_len: usize) -> Option<Packet> {
        let bytes = head.get(ETHERNET_LEN..)?;
        let packet = Ipv6View::parse_beginning(bytes)?;
        let (source, destination) = (packet.src(), packet.dst());
        let policy = &self.cx.policy;
        let length = frame_len - ETHERNET_LEN;
        let plain = policy.reach.ipv6
            && packet.hop_limit() > 0
            && packet.traffic_class() & 3 != 3
            && Ipv6View::announced_len(bytes) == Some(length)
            && length <= self.cx.egress.mtu()
            && self.may_be_guest6(source)
            && !destination.is_multicast();
        let length = u32::try_from(length - IPV6_LEN).ok().filter(|_| plain)?;
        Some(Packet {
            ends: (source.into(), destination.into()),
            hops: packet.hop_limit(),
            start: ETHERNET_LEN + IPV6_LEN,
            sum: Checksum::pseudo_ipv6(source, destination, PROTOCOL_TCP, length),
        })
    }
}
