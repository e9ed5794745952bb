//! ICMP for IPv4 (RFC 792): what the guest sends, echo replies, and errors for packets that go nowhere
//! (contract/icmp.md sections 1 and 3).
//!
//! Messages to the guest are appended to a `Vec` as whole IPv4 packets. They may be longer than the MTU;
//! `ip::fragment` splits them.

use std::net::Ipv4Addr;

use crate::ip::ipv4::Ipv4View;
use crate::wire::checksum::{self, Checksum};
use crate::wire::header::{self, IPV4_LEN, Ipv4, PROTOCOL_ICMP};
use crate::wire::subnet::Ipv4Subnet;

/// Type: echo reply.
pub const ECHO_REPLY: u8 = 0;
/// Type: destination unreachable.
pub const DESTINATION_UNREACHABLE: u8 = 3;
/// Type: echo request.
pub const ECHO_REQUEST: u8 = 8;
/// Type: time exceeded.
pub const TIME_EXCEEDED: u8 = 11;

/// Code of destination unreachable: network unreachable.
pub const NET_UNREACHABLE: u8 = 0;
/// Code of destination unreachable: host unreachable.
pub const HOST_UNREACHABLE: u8 = 1;
/// Code of destination unreachable: protocol unreachable.
pub const PROTOCOL_UNREACHABLE: u8 = 2;
/// Code of destination unreachable: port unreachable.
pub const PORT_UNREACHABLE: u8 = 3;
/// Code of destination unreachable: fragmentation needed and Don't Fragment set.
pub const FRAGMENTATION_NEEDED: u8 = 4;
/// Code of destination unreachable: communication administratively prohibited (RFC 1812 section 5.2.7.1).
pub const ADMINISTRATIVELY_PROHIBITED: u8 = 13;
/// Code of time exceeded: time to live exceeded in transit.
pub const TTL_EXCEEDED: u8 = 0;
/// Code of time exceeded: fragment reassembly time exceeded.
pub const REASSEMBLY_TIME_EXCEEDED: u8 = 1;

/// Length of the part that all ICMP messages handled here have: type, code, checksum and four more bytes.
pub const ICMP_LEN: usize = 8;
/// Time to live of every ICMP message to the guest.
pub const ICMP_TTL: u8 = 255;
/// The most bytes of the offending packet that an error quotes; the error then fills a packet of 576 bytes.
pub const QUOTE_MAX: usize = 548;

/// An ICMP message from the guest with a right checksum and at least 8 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IcmpView<'a> {
    message: &'a [u8],
    fixed: &'a [u8; ICMP_LEN],
    data: &'a [u8],
}

impl<'a> IcmpView<'a> {
    /// Validates the payload of an IPv4 packet; `None` when it is shorter than 8 bytes or its checksum is wrong.
    pub fn parse(message: &'a [u8]) -> Option<Self> {
        let (fixed, data) = message.split_first_chunk::<ICMP_LEN>()?;
        checksum::is_valid(message).then_some(IcmpView { message, fixed, data })
    }

    /// The type field.
    pub fn message_type(&self) -> u8 {
        self.fixed[0]
    }

    /// The code field.
    pub fn code(&self) -> u8 {
        self.fixed[1]
    }

    /// Identifier of an echo message.
    pub fn echo_id(&self) -> u16 {
        u16::from_be_bytes([self.fixed[4], self.fixed[5]])
    }

    /// Sequence number of an echo message.
    pub fn echo_sequence(&self) -> u16 {
        u16::from_be_bytes([self.fixed[6], self.fixed[7]])
    }

    /// What follows the first 8 bytes.
    pub fn data(&self) -> &'a [u8] {
        self.data
    }

    /// The whole message, first byte of the type included.
    pub fn message(&self) -> &'a [u8] {
        self.message
    }
}

/// An echo reply to be sent to the guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EchoReply<'a> {
    /// Source address: who was asked.
    pub src: Ipv4Addr,
    /// Destination address: who asked.
    pub dst: Ipv4Addr,
    /// Type of service, that of the request.
    pub tos: u8,
    /// Identifier of the request.
    pub echo_id: u16,
    /// Sequence number of the request.
    pub sequence: u16,
    /// Data of the request.
    pub data: &'a [u8],
}

impl<'a> EchoReply<'a> {
    /// The reply that the destination of `request` gives. Its options are not repeated.
    pub fn to(request: &Ipv4View<'a>, icmp: &IcmpView<'a>) -> Self {
        EchoReply {
            src: request.dst(),
            dst: request.src(),
            tos: request.tos(),
            echo_id: icmp.echo_id(),
            sequence: icmp.echo_sequence(),
            data: icmp.data(),
        }
    }

    /// Appends the reply as an IPv4 packet with identification `ip_id` to `out`. `false`, with `out` unchanged, when
    /// the packet would exceed 65535 bytes.
    pub fn append_to(&self, ip_id: u16, out: &mut Vec<u8>) -> bool {
        let [id_high, id_low] = self.echo_id.to_be_bytes();
        let [sequence_high, sequence_low] = self.sequence.to_be_bytes();
        let ip = Ipv4 { src: self.src, dst: self.dst, ttl: ICMP_TTL, tos: self.tos, id: ip_id };
        append_packet(&ip, [ECHO_REPLY, 0, 0, 0, id_high, id_low, sequence_high, sequence_low], self.data, out)
    }
}

/// Errors the engine sends to the guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IcmpError {
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
    pub fn from_wire(message_type: u8, code: u8) -> Option<Self> {
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
pub fn may_answer(offending: &Ipv4View<'_>, subnet: &Ipv4Subnet) -> bool {
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
pub fn append_error(
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
    append_packet(&ip, error.first_bytes(), quote, out)
}

/// Appends IPv4 header, the first 8 bytes of an ICMP message with their checksum filled in, and the rest of it.
fn append_packet(ip: &Ipv4, mut first: [u8; ICMP_LEN], rest: &[u8], out: &mut Vec<u8>) -> bool {
    let Ok(total_len) = u16::try_from(IPV4_LEN + ICMP_LEN + rest.len()) else { return false };
    let mut checksum = Checksum::new();
    checksum.add(&first);
    checksum.add(rest);
    first[2..4].copy_from_slice(&checksum.finish().to_be_bytes());
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
