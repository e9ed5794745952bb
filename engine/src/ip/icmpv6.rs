//! ICMPv6 (RFC 4443): echo, and errors for packets that go nowhere (docs/contract/icmp.md sections 2 and 4).
//!
//! Messages are appended to a `Vec` as whole IPv6 packets.

use std::net::Ipv6Addr;

use crate::ip::ipv6::{Content, Ipv6View};
use crate::wire::checksum::Checksum;
use crate::wire::header::{self, IPV6_LEN, Ipv6, PROTOCOL_ICMPV6};

/// Type: destination unreachable.
pub(crate) const DESTINATION_UNREACHABLE: u8 = 1;
/// Type: packet too big.
pub(crate) const PACKET_TOO_BIG: u8 = 2;
/// Type: time exceeded.
pub(crate) const TIME_EXCEEDED: u8 = 3;
/// Type: parameter problem.
pub(crate) const PARAMETER_PROBLEM: u8 = 4;
/// Type: echo request.
pub(crate) const ECHO_REQUEST: u8 = 128;
/// Type: echo reply.
pub(crate) const ECHO_REPLY: u8 = 129;
/// The lowest type that is not an error (RFC 4443 section 2.1).
const FIRST_INFORMATIONAL: u8 = 128;
/// Type: redirect. It is not answered either, like an error (RFC 4443 section 2.4 (e.2)).
const REDIRECT: u8 = 137;

/// Code of destination unreachable: no route to destination.
pub(crate) const NO_ROUTE: u8 = 0;
/// Code of destination unreachable: communication with destination administratively prohibited.
pub(crate) const PROHIBITED: u8 = 1;
/// Code of destination unreachable: address unreachable.
pub(crate) const ADDRESS_UNREACHABLE: u8 = 3;
/// Code of destination unreachable: port unreachable.
pub(crate) const PORT_UNREACHABLE: u8 = 4;
/// Code of time exceeded: fragment reassembly time exceeded.
pub(crate) const REASSEMBLY_TIME_EXCEEDED: u8 = 1;

/// Length of the part that echo messages and errors have in common: type, code, checksum and four more bytes.
pub(crate) const ICMPV6_LEN: usize = 8;
/// Hop limit of every message to the guest.
const HOP_LIMIT: u8 = 255;

/// Errors the engine sends to the guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Icmpv6Error {
    /// Type 1 with this code.
    DestinationUnreachable { code: u8 },
    /// Type 2 with the MTU of the next hop in bytes.
    PacketTooBig { mtu: u32 },
    /// Type 3 with this code.
    TimeExceeded { code: u8 },
    /// Type 4 with this code and the offset of what is wrong.
    ParameterProblem { code: u8, pointer: u32 },
}

impl Icmpv6Error {
    /// The error for a type and code that the host reported. `info` is the word behind the checksum: the MTU where the
    /// error is about size, the offset of what is wrong in a parameter problem (which is the same in the guest's packet, as
    /// neither has extension headers). `None` for types that are no errors.
    pub fn from_wire(message_type: u8, code: u8, info: u32) -> Option<Self> {
        match message_type {
            DESTINATION_UNREACHABLE => Some(Icmpv6Error::DestinationUnreachable { code }),
            PACKET_TOO_BIG => Some(Icmpv6Error::PacketTooBig { mtu: info }),
            TIME_EXCEEDED => Some(Icmpv6Error::TimeExceeded { code }),
            PARAMETER_PROBLEM => Some(Icmpv6Error::ParameterProblem { code, pointer: info }),
            _ => None,
        }
    }

    fn first_bytes(self) -> [u8; ICMPV6_LEN] {
        let (message_type, code, word) = match self {
            Icmpv6Error::DestinationUnreachable { code } => (DESTINATION_UNREACHABLE, code, 0),
            Icmpv6Error::PacketTooBig { mtu } => (PACKET_TOO_BIG, 0, mtu),
            Icmpv6Error::TimeExceeded { code } => (TIME_EXCEEDED, code, 0),
            Icmpv6Error::ParameterProblem { code, pointer } => (PARAMETER_PROBLEM, code, pointer),
        };
        let [a, b, c, d] = word.to_be_bytes();
        [message_type, code, 0, 0, a, b, c, d]
    }

    /// Whether this error may be sent for `offending` (RFC 4443 section 2.4 (e)).
    ///
    /// Not answered are sources that do not name a single machine; errors and redirects; and packets to groups, unless
    /// they are too big or carry an option that asks for it.
    pub fn may_answer(self, offending: &Ipv6View<'_>) -> bool {
        if offending.src().is_unspecified() || offending.src().is_multicast() {
            return false;
        }
        let for_groups =
            matches!(self, Icmpv6Error::PacketTooBig { .. } | Icmpv6Error::ParameterProblem { code: 2, .. });
        if offending.dst().is_multicast() && !for_groups {
            return false;
        }
        let answerable =
            |message: &[u8]| message.first().is_some_and(|&kind| kind >= FIRST_INFORMATIONAL && kind != REDIRECT);
        match offending.content() {
            Content::Upper(upper) if upper.protocol == PROTOCOL_ICMPV6 => answerable(upper.payload),
            // The type stands in the first piece alone; of a later one nothing is known (and it is never the later one
            // whose time runs out).
            Content::Fragment(piece) if piece.offset == 0 && piece.follows() == PROTOCOL_ICMPV6 => {
                answerable(piece.payload)
            }
            _ => true,
        }
    }

    /// Appends the IPv6 packet that reports this error for `offending`, quoting as much of it as fits into `mtu`.
    /// `false`, with `out` unchanged, when no error may be sent.
    pub fn append_to(self, src: Ipv6Addr, offending: &Ipv6View<'_>, mtu: usize, out: &mut Vec<u8>) -> bool {
        if !self.may_answer(offending) {
            return false;
        }
        let room = mtu.min(usize::from(u16::MAX)).saturating_sub(IPV6_LEN + ICMPV6_LEN);
        let packet = offending.packet();
        append_packet(src, offending.src(), self.first_bytes(), packet.get(..room).unwrap_or(packet), out)
    }
}

/// Appends the reply to an echo request; `message` is the request with its header.
pub(crate) fn append_echo_reply(src: Ipv6Addr, dst: Ipv6Addr, message: &[u8], out: &mut Vec<u8>) -> bool {
    let Some((&[_, _, _, _, a, b, c, d], data)) = message.split_first_chunk::<ICMPV6_LEN>() else { return false };
    append_packet(src, dst, [ECHO_REPLY, 0, 0, 0, a, b, c, d], data, out)
}

/// Appends an IPv6 packet with an ICMPv6 message: its first 8 bytes, whose checksum is filled in, and the rest.
/// `false`, with `out` unchanged, when it would be longer than a packet may be.
pub(crate) fn append_packet(
    src: Ipv6Addr,
    dst: Ipv6Addr,
    mut first: [u8; ICMPV6_LEN],
    rest: &[u8],
    out: &mut Vec<u8>,
) -> bool {
    let Ok(length) = u16::try_from(ICMPV6_LEN + rest.len()) else { return false };
    first[2..4].fill(0);
    let mut checksum = Checksum::pseudo_ipv6(src, dst, PROTOCOL_ICMPV6, length.into());
    checksum.add(&first);
    checksum.add(rest);
    first[2..4].copy_from_slice(&checksum.finish().to_be_bytes());
    let mut ip = [0; IPV6_LEN];
    let fields = Ipv6 { src, dst, hop_limit: HOP_LIMIT, traffic_class: 0 };
    if header::emit_ipv6(&mut ip, &fields, PROTOCOL_ICMPV6, length).is_err() {
        return false;
    }
    out.reserve(IPV6_LEN + usize::from(length));
    out.extend_from_slice(&ip);
    out.extend_from_slice(&first);
    out.extend_from_slice(rest);
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ip::ipv6::checksum_is_right;

    const HOST: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 2);

    fn packet(src: &str, dst: &str, next: u8, payload: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0; IPV6_LEN];
        let ip = Ipv6 { src: src.parse().unwrap(), dst: dst.parse().unwrap(), hop_limit: 64, traffic_class: 0 };
        header::emit_ipv6(&mut bytes, &ip, next, payload.len() as u16).unwrap();
        bytes.extend_from_slice(payload);
        bytes
    }

    fn error(error: Icmpv6Error, offending: &[u8], mtu: usize) -> Option<Vec<u8>> {
        let mut out = Vec::new();
        let sent = error.append_to(HOST, &Ipv6View::parse(offending).unwrap(), mtu, &mut out);
        assert_eq!(sent, !out.is_empty());
        sent.then_some(out)
    }

    const NO_ROUTE_ERROR: Icmpv6Error = Icmpv6Error::DestinationUnreachable { code: NO_ROUTE };

    #[test]
    fn an_error_quotes_as_much_as_fits_into_the_mtu() {
        let offending = packet("fec0::15", "2001:db8::1", 17, &[7; 1484]);
        let sent = error(Icmpv6Error::PacketTooBig { mtu: 1500 }, &offending, 1500).unwrap();
        assert_eq!(sent.len(), 1500);
        assert_eq!(sent[40..42], [2, 0]);
        assert_eq!(sent[44..48], [0, 0, 0x05, 0xdc]);
        assert_eq!(sent[48..], offending[..1452]);
        let short = packet("fec0::15", "2001:db8::1", 17, b"datagram");
        let sent = error(NO_ROUTE_ERROR, &short, 1500).unwrap();
        assert_eq!(sent[48..], short[..]);
        assert_eq!((sent[7], &sent[8..24], &sent[24..40]), (255, &HOST.octets()[..], &short[8..24]));
        assert!(checksum_is_right(HOST, "fec0::15".parse().unwrap(), 58, &sent[40..]));
    }

    #[test]
    fn what_names_no_machine_and_errors_are_not_answered() {
        for (src, dst) in [("::", "fec0::2"), ("ff02::1", "fec0::2"), ("fec0::15", "ff02::1")] {
            assert_eq!(error(NO_ROUTE_ERROR, &packet(src, dst, 17, &[0; 8]), 1500), None, "{src} to {dst}");
        }
        let too_big = Icmpv6Error::PacketTooBig { mtu: 1500 };
        assert!(error(too_big, &packet("fec0::15", "ff02::1", 17, &[0; 8]), 1500).is_some());
        assert_eq!(error(too_big, &packet("::", "ff02::1", 17, &[0; 8]), 1500), None);
        let answered: Vec<u8> = (0..=255)
            .filter(|&kind| error(NO_ROUTE_ERROR, &packet("fec0::15", "fec0::9", 58, &[kind, 0, 0, 0]), 1500).is_some())
            .collect();
        assert_eq!(answered, (128..=255).filter(|&kind| kind != 137).collect::<Vec<u8>>());
    }

    #[test]
    fn an_echo_reply_has_the_requests_identifier_sequence_and_data() {
        let mut out = Vec::new();
        let (src, dst) = ("fec0::2".parse().unwrap(), "fec0::15".parse().unwrap());
        assert!(append_echo_reply(src, dst, b"\x80\0\xab\xcd\x12\x34\0\x01ping", &mut out));
        assert_eq!(out[40..42], [129, 0]);
        assert_eq!(out[44..], *b"\x12\x34\0\x01ping");
        assert!(checksum_is_right(src, dst, 58, &out[40..]));
        assert!(!append_echo_reply(src, dst, b"\x80\0\xab\xcd\x12\x34\0", &mut Vec::new()));
    }

    #[test]
    fn the_hosts_errors_keep_type_code_and_mtu() {
        assert_eq!(
            Icmpv6Error::from_wire(1, 4, 0),
            Some(Icmpv6Error::DestinationUnreachable { code: PORT_UNREACHABLE })
        );
        assert_eq!(Icmpv6Error::from_wire(2, 0, 1280), Some(Icmpv6Error::PacketTooBig { mtu: 1280 }));
        assert_eq!(Icmpv6Error::from_wire(3, 1, 0), Some(Icmpv6Error::TimeExceeded { code: 1 }));
        assert_eq!(Icmpv6Error::from_wire(4, 1, 6), Some(Icmpv6Error::ParameterProblem { code: 1, pointer: 6 }));
        assert!((0..=255).filter(|&kind| Icmpv6Error::from_wire(kind, 0, 0).is_some()).eq(1..=4));
    }
}
