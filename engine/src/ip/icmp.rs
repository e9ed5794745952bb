//! ICMP for IPv4 (RFC 792): what the guest sends, echo replies, and errors for packets that go nowhere
//! (docs/contract/icmp.md sections 1 and 3).
//!
//! Messages to the guest are appended to a `Vec` as whole IPv4 packets. They may be longer than the MTU;
//! `ip::fragment` splits them.

use std::net::Ipv4Addr;

use crate::ip::ipv4::Ipv4View;
use crate::wire::checksum::{self, Checksum, Partial};
use crate::wire::header::{self, IPV4_LEN, Ipv4, PROTOCOL_ICMP};
use crate::wire::subnet::Ipv4Subnet;

/// Type: echo reply.
pub(crate) const ECHO_REPLY: u8 = 0;
/// Type: destination unreachable.
pub(crate) const DESTINATION_UNREACHABLE: u8 = 3;
/// Type: echo request.
pub(crate) const ECHO_REQUEST: u8 = 8;
/// Type: time exceeded.
pub(crate) const TIME_EXCEEDED: u8 = 11;

/// Code of destination unreachable: network unreachable.
pub(crate) const NET_UNREACHABLE: u8 = 0;
/// Code of destination unreachable: host unreachable.
pub(crate) const HOST_UNREACHABLE: u8 = 1;
/// Code of destination unreachable: port unreachable.
pub(crate) const PORT_UNREACHABLE: u8 = 3;
/// Code of destination unreachable: fragmentation needed and Don't Fragment set.
pub(crate) const FRAGMENTATION_NEEDED: u8 = 4;
/// Code of destination unreachable: communication administratively prohibited (RFC 1812 section 5.2.7.1).
pub(crate) const PROHIBITED: u8 = 13;
/// Code of time exceeded: time to live exceeded in transit.
pub(crate) const TTL_EXCEEDED: u8 = 0;
/// Code of time exceeded: fragment reassembly time exceeded.
pub(crate) const REASSEMBLY_TIME_EXCEEDED: u8 = 1;

/// Length of the part that all ICMP messages handled here have: type, code, checksum and four more bytes.
pub(crate) const ICMP_LEN: usize = 8;
/// Time to live of every ICMP message to the guest.
pub(crate) const ICMP_TTL: u8 = 255;
/// The most bytes of the offending packet that an error quotes; the error then fills a packet of 576 bytes.
pub(crate) const QUOTE_MAX: usize = 548;

/// An ICMP message from the guest with a right checksum and at least 8 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct IcmpView<'a> {
    fixed: &'a [u8; ICMP_LEN],
    data: &'a [u8],
}

impl<'a> IcmpView<'a> {
    /// Validates the payload of an IPv4 packet; `None` when it is shorter than 8 bytes or its checksum is wrong.
    pub(crate) fn parse(message: &'a [u8]) -> Option<Self> {
        Self::of_sum(message, checksum::sum(message))
    }

    /// The same where the sum of the message is known.
    pub(crate) fn of_sum(message: &'a [u8], sum: Partial) -> Option<Self> {
        let (fixed, data) = message.split_first_chunk::<ICMP_LEN>()?;
        let mut checksum = Checksum::new();
        checksum.add_partial(sum);
        (checksum.finish() == 0).then_some(IcmpView { fixed, data })
    }

    /// The type field.
    pub(crate) fn message_type(&self) -> u8 {
        self.fixed[0]
    }

    /// The code field.
    pub(crate) fn code(&self) -> u8 {
        self.fixed[1]
    }

    /// The MTU in bytes of an error that says that fragmentation was needed, 0 when it does not tell (RFC 1191 section 4).
    pub(crate) fn next_hop_mtu(&self) -> u16 {
        u16::from_be_bytes([self.fixed[6], self.fixed[7]])
    }

    /// The first bytes of the reply to this echo request. Its checksum follows from the request's, which was right (RFC 1624
    /// section 3).
    fn answered(&self) -> [u8; ICMP_LEN] {
        let [kind, code, high, low, id_high, id_low, sequence_high, sequence_low] = *self.fixed;
        let sum = u32::from(!u16::from_be_bytes([high, low])) + u32::from(!u16::from_be_bytes([kind, code]));
        let reply = |checksum: u16| {
            let [high, low] = checksum.to_be_bytes();
            [ECHO_REPLY, 0, high, low, id_high, id_low, sequence_high, sequence_low]
        };
        match !((sum & 0xffff) + (sum >> 16)) as u16 {
            // In one's complement that may be all ones as well, which only the whole tells.
            0 => {
                let first = reply(0);
                reply(checksum_of(&first, self.data))
            }
            checksum => reply(checksum),
        }
    }

    /// What follows the first 8 bytes.
    pub(crate) fn data(&self) -> &'a [u8] {
        self.data
    }
}

/// An echo reply to be sent to the guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct EchoReply<'a> {
    /// Source address: who was asked.
    pub src: Ipv4Addr,
    /// Destination address: who asked.
    pub dst: Ipv4Addr,
    /// Type of service, that of the request.
    pub tos: u8,
    /// The message's first bytes: identifier and sequence number are those of the request.
    pub first: [u8; ICMP_LEN],
    /// Data of the request.
    pub data: &'a [u8],
}

impl<'a> EchoReply<'a> {
    /// The reply that the destination of `request` gives. Its options are not repeated.
    pub(crate) fn to(request: &Ipv4View<'a>, icmp: &IcmpView<'a>) -> Self {
        EchoReply {
            src: request.dst(),
            dst: request.src(),
            tos: request.tos(),
            first: icmp.answered(),
            data: icmp.data(),
        }
    }

    /// The header of the reply's packet, with identification `ip_id`.
    pub(crate) fn ip(&self, ip_id: u16) -> Ipv4 {
        Ipv4 { src: self.src, dst: self.dst, ttl: ICMP_TTL, tos: self.tos, id: ip_id }
    }

    /// The length of the packet.
    pub(crate) fn len(&self) -> usize {
        IPV4_LEN + ICMP_LEN + self.data.len()
    }

    /// Appends the reply as an IPv4 packet with identification `ip_id` to `out`. `false`, with `out` unchanged, when
    /// the packet would exceed 65535 bytes.
    pub(crate) fn append_to(&self, ip_id: u16, out: &mut Vec<u8>) -> bool {
        append_packet(&self.ip(ip_id), self.first, self.data, out)
    }
}

/// Errors the engine sends to the guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum IcmpError {
    /// Type 3 with this code. The unused field is zero.
    DestinationUnreachable {
        /// The code field.
        code: u8,
    },
    /// Type 3 code 4 with the MTU of the next hop in bytes, 0 when it is not known (RFC 1191 section 4).
    FragmentationNeeded {
        /// Largest IP packet that the next hop takes.
        mtu: u16,
    },
    /// Type 11 with this code.
    TimeExceeded {
        /// The code field.
        code: u8,
    },
}

impl IcmpError {
    /// The error for a type and code that the host reported; `None` for types that are not passed on.
    pub(crate) fn from_wire(message_type: u8, code: u8) -> Option<Self> {
        match (message_type, code) {
            (DESTINATION_UNREACHABLE, FRAGMENTATION_NEEDED) => Some(IcmpError::FragmentationNeeded { mtu: 0 }),
            (DESTINATION_UNREACHABLE, code) => Some(IcmpError::DestinationUnreachable { code }),
            (TIME_EXCEEDED, code) => Some(IcmpError::TimeExceeded { code }),
            _ => None,
        }
    }

    fn first_bytes(self) -> [u8; ICMP_LEN] {
        match self {
            IcmpError::DestinationUnreachable { code } => [DESTINATION_UNREACHABLE, code, 0, 0, 0, 0, 0, 0],
            IcmpError::FragmentationNeeded { mtu } => {
                let [high, low] = mtu.to_be_bytes();
                [DESTINATION_UNREACHABLE, FRAGMENTATION_NEEDED, 0, 0, 0, 0, high, low]
            }
            IcmpError::TimeExceeded { code } => [TIME_EXCEEDED, code, 0, 0, 0, 0, 0, 0],
        }
    }
}

/// Whether `offending` may be answered with an error (RFC 1122 section 3.2.2).
///
/// Not answered are fragments other than the first, sources and destinations that do not name a single machine, and
/// ICMP messages that are themselves errors or unknown.
pub(crate) fn may_answer(offending: &Ipv4View<'_>, subnet: &Ipv4Subnet) -> bool {
    let (src, dst) = (offending.src(), offending.dst());
    let names_nobody = src.to_bits() & 0x0fff_ffff == 0;
    if offending.fragment_offset() != 0
        || names_nobody
        || src.is_multicast()
        || dst.is_multicast()
        || subnet.is_broadcast(src)
        || subnet.is_broadcast(dst)
    {
        return false;
    }
    match (offending.protocol(), offending.payload().first()) {
        (PROTOCOL_ICMP, Some(message_type)) => matches!(message_type, 0 | 8 | 13..=18),
        (PROTOCOL_ICMP, None) => false,
        _ => true,
    }
}

/// Appends the IPv4 packet that reports `error` for `offending` to `out`, with identification `ip_id`.
///
/// `src` is the outer source: the virtual host, or the offender where it is known. `offending` is quoted as received,
/// up to [`QUOTE_MAX`] bytes. `false`, with `out` unchanged, when no error may be sent (see [`may_answer`]).
pub(crate) fn append_error(
    error: IcmpError,
    src: Ipv4Addr,
    offending: &Ipv4View<'_>,
    subnet: &Ipv4Subnet,
    ip_id: u16,
    out: &mut Vec<u8>,
) -> bool {
    if !may_answer(offending, subnet) {
        return false;
    }
    let packet = offending.packet();
    let quote = packet.get(..QUOTE_MAX).unwrap_or(packet);
    let tos = (offending.tos() & 0x1e) | 0xc0;
    let ip = Ipv4 { src, dst: offending.src(), ttl: ICMP_TTL, tos, id: ip_id };
    let mut first = error.first_bytes();
    let checksum = checksum_of(&first, quote);
    first[2..4].copy_from_slice(&checksum.to_be_bytes());
    append_packet(&ip, first, quote, out)
}

/// The checksum of a message whose field for it is zero.
fn checksum_of(first: &[u8; ICMP_LEN], rest: &[u8]) -> u16 {
    let mut checksum = Checksum::new();
    checksum.add(first);
    checksum.add(rest);
    checksum.finish()
}

/// Appends IPv4 header, the first 8 bytes of an ICMP message with their checksum filled in, and the rest of it.
fn append_packet(ip: &Ipv4, first: [u8; ICMP_LEN], rest: &[u8], out: &mut Vec<u8>) -> bool {
    let Ok(total_len) = u16::try_from(IPV4_LEN + ICMP_LEN + rest.len()) else { return false };
    let mut ip_header = [0; IPV4_LEN];
    if header::emit_ipv4(&mut ip_header, ip, PROTOCOL_ICMP, total_len).is_err() {
        return false;
    }
    out.reserve(usize::from(total_len));
    out.extend_from_slice(&ip_header);
    out.extend_from_slice(&first);
    out.extend_from_slice(rest);
    true
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::ip::test_packets::{GUEST, HOST, echo_request, fix_checksum, icmp, packet, piece, with_options};

    const SUBNET: (Ipv4Addr, Ipv4Addr) = (Ipv4Addr::new(10, 0, 2, 0), Ipv4Addr::new(255, 255, 255, 0));
    const NET: IcmpError = IcmpError::DestinationUnreachable { code: NET_UNREACHABLE };

    fn subnet() -> Ipv4Subnet {
        Ipv4Subnet::new(SUBNET.0, SUBNET.1)
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    fn reply_to(request: &[u8], ip_id: u16) -> Vec<u8> {
        let view = Ipv4View::parse(request).unwrap();
        let icmp = IcmpView::parse(view.payload()).unwrap();
        let mut out = Vec::new();
        assert!(EchoReply::to(&view, &icmp).append_to(ip_id, &mut out));
        out
    }

    fn error_for(error: IcmpError, offending: &[u8]) -> Option<Vec<u8>> {
        let mut out = vec![0xee];
        let view = Ipv4View::parse(offending).unwrap();
        let sent = append_error(error, HOST, &view, &subnet(), 0, &mut out);
        assert_eq!(out.remove(0), 0xee);
        assert_eq!(sent, !out.is_empty());
        sent.then_some(out)
    }

    fn with_addresses(src: Ipv4Addr, dst: Ipv4Addr) -> Vec<u8> {
        let mut bytes = packet(17, &[0; 8]);
        bytes[12..16].copy_from_slice(&src.octets());
        bytes[16..20].copy_from_slice(&dst.octets());
        fix_checksum(&mut bytes);
        bytes
    }

    #[test]
    fn echo_with_4_byte_option_is_answered_with_header_length_20_and_same_payload() {
        let mut request = with_options(&echo_request(b"ping"), &[1, 1, 1, 0]);
        request[1] = 0x28;
        fix_checksum(&mut request);
        assert_eq!(hex(&request), "462800240063000040015f3d0a00020f0a00020201010100080006fa1234000170696e67");
        assert_eq!(hex(&reply_to(&request, 5)), "4528002000050000ff01a39f0a0002020a00020f00000efa1234000170696e67");
    }

    #[test]
    fn ttl_0_echo_request_gives_11_0_with_ttl_255_and_tos_c0() {
        let mut request = echo_request(b"ping");
        request[8] = 0;
        fix_checksum(&mut request);
        let error = error_for(IcmpError::TimeExceeded { code: TTL_EXCEEDED }, &request).unwrap();
        assert_eq!(
            hex(&error),
            "45c0003c00000000ff01a2f00a0002020a00020f0b00f4ff00000000\
             45000020006300000001a26a0a00020f0a000202080006fa1234000170696e67"
        );
    }

    #[test]
    fn unroutable_echo_of_24_bytes_gives_3_0_in_a_frame_of_86_bytes() {
        let error = error_for(NET, &echo_request(&[5; 16])).unwrap();
        assert_eq!(14 + error.len(), 86);
        assert_eq!(error[20..22], [3, 0]);
        assert_eq!(error[28..], echo_request(&[5; 16])[..]);
        assert!(checksum::is_valid(&error[20..]));
    }

    #[test]
    fn unroutable_syn_of_44_bytes_gives_52_bytes_of_icmp() {
        assert_eq!(error_for(NET, &packet(6, &[0; 24])).unwrap().len(), 20 + 52);
    }

    #[test]
    fn at_most_548_bytes_are_quoted_options_included() {
        let offending = with_options(&packet(17, &[9; 1000]), &[1; 8]);
        let error = error_for(NET, &offending).unwrap();
        assert_eq!(error.len(), 576);
        assert_eq!(error[28..], offending[..548]);
        assert_eq!(error_for(NET, &packet(17, &[9; 528])).unwrap().len(), 576);
        assert_eq!(error_for(NET, &packet(17, &[9; 527])).unwrap().len(), 575);
    }

    #[test]
    fn the_tos_of_an_error_keeps_bits_1_to_4() {
        let mut offending = packet(17, &[0; 8]);
        offending[1] = 0xff;
        fix_checksum(&mut offending);
        assert_eq!(error_for(NET, &offending).unwrap()[1], 0xde);
    }

    #[test]
    fn only_the_first_fragment_is_answered() {
        let whole = packet(17, &[0; 64]);
        assert!(error_for(NET, &piece(&whole, 0, 32, &[])).is_some());
        assert_eq!(error_for(NET, &piece(&whole, 32, 64, &[])), None);
    }

    #[test]
    fn sources_and_destinations_that_name_no_machine_are_not_answered() {
        for (src, dst) in [
            ("0.0.0.0", "10.0.2.2"),
            ("16.0.0.0", "10.0.2.2"),
            ("240.0.0.0", "10.0.2.2"),
            ("224.0.0.1", "10.0.2.2"),
            ("10.0.2.255", "10.0.2.2"),
            ("255.255.255.255", "10.0.2.2"),
            ("10.0.2.15", "10.0.2.255"),
            ("10.0.2.15", "255.255.255.255"),
            ("10.0.2.15", "239.1.2.3"),
        ] {
            let offending = with_addresses(src.parse().unwrap(), dst.parse().unwrap());
            assert_eq!(error_for(NET, &offending), None, "{src} to {dst}");
        }
        assert!(error_for(NET, &with_addresses(GUEST, Ipv4Addr::new(8, 8, 8, 8))).is_some());
        assert!(error_for(NET, &with_addresses(Ipv4Addr::new(16, 0, 0, 1), HOST)).is_some());
    }

    #[test]
    fn icmp_errors_are_not_answered_and_queries_are() {
        let answered: Vec<u8> =
            (0..=255).filter(|kind| error_for(NET, &packet(1, &icmp(*kind, 0, &[0; 4]))).is_some()).collect();
        assert_eq!(answered, [0, 8, 13, 14, 15, 16, 17, 18]);
        assert_eq!(error_for(NET, &packet(1, &[])), None);
    }

    #[test]
    fn the_hosts_errors_map_to_types_3_and_11_only() {
        assert_eq!(IcmpError::from_wire(3, 3), Some(IcmpError::DestinationUnreachable { code: PORT_UNREACHABLE }));
        assert_eq!(IcmpError::from_wire(11, 0), Some(IcmpError::TimeExceeded { code: 0 }));
        assert_eq!(IcmpError::from_wire(3, 4), Some(IcmpError::FragmentationNeeded { mtu: 0 }));
        assert!((0..=255).filter(|kind| IcmpError::from_wire(*kind, 0).is_some()).eq([3, 11]));
        let error = error_for(IcmpError::FragmentationNeeded { mtu: 1400 }, &packet(17, &[0; 8])).unwrap();
        assert_eq!(error[20..22], [3, 4]);
        assert_eq!(error[24..28], [0, 0, 0x05, 0x78]);
        assert!(checksum::is_valid(&error[20..]));
    }

    #[test]
    fn seven_bytes_of_icmp_and_a_bad_checksum_are_refused() {
        assert_eq!(IcmpView::parse(&icmp(8, 0, &[0; 3])), None);
        assert!(IcmpView::parse(&icmp(8, 0, &[0; 4])).is_some());
        let mut message = icmp(8, 0, b"\x12\x34\0\x01data");
        let view = IcmpView::parse(&message).unwrap();
        assert_eq!((view.message_type(), view.code(), view.answered()[4..].to_vec()), (8, 0, vec![0x12, 0x34, 0, 1]));
        assert_eq!(view.data(), b"data");
        message[9] ^= 1;
        assert_eq!(IcmpView::parse(&message), None);
    }

    #[test]
    fn a_reply_above_65535_bytes_is_refused() {
        let data = vec![0; 65535 - 27];
        let reply = |data| EchoReply { src: HOST, dst: GUEST, tos: 0, first: [0; ICMP_LEN], data };
        let mut out = Vec::new();
        assert!(!reply(&data).append_to(0, &mut out));
        assert!(out.is_empty());
        assert!(reply(&data[1..]).append_to(0, &mut out));
        assert_eq!(out.len(), 65535);
    }

    proptest! {
        #[test]
        fn the_checksum_of_a_reply_is_that_of_its_bytes(
            code in any::<u8>(), rest in prop::collection::vec(prop_oneof![Just(0), Just(0xff), any::<u8>()], 4..40),
        ) {
            let request = icmp(ECHO_REQUEST, code, &rest);
            let first = IcmpView::parse(&request).unwrap().answered();
            prop_assert_eq!(&[&first[..], &rest[4..]].concat(), &icmp(ECHO_REPLY, 0, &rest));
        }

        #[test]
        fn any_packet_gets_a_valid_error_or_none(
            protocol in any::<u8>(), tos in any::<u8>(), src in any::<u32>(), dst in any::<u32>(), flags in 0u16..0x8000,
            payload in prop::collection::vec(any::<u8>(), 0..700),
        ) {
            let mut offending = packet(protocol, &payload);
            offending[1] = tos;
            offending[6..8].copy_from_slice(&flags.to_be_bytes());
            offending[12..16].copy_from_slice(&src.to_be_bytes());
            offending[16..20].copy_from_slice(&dst.to_be_bytes());
            fix_checksum(&mut offending);
            if let Some(error) = error_for(NET, &offending) {
                let view = Ipv4View::parse(&error).unwrap();
                prop_assert_eq!(view.dst().to_bits(), src);
                let message = IcmpView::parse(view.payload()).unwrap();
                prop_assert!(offending.starts_with(message.data()));
            }
            let _ = IcmpView::parse(&payload);
        }
    }
}
