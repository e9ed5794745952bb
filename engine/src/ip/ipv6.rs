//! A validated view of an IPv6 packet and of its chain of extension headers (RFC 8200; docs/contract/ipv6.md section
//! 1).
//!
//! The chain is walked as the destination of a packet walks it. It is bounded by [`MAX_EXTENSIONS`]; a packet with more
//! headers serves no purpose here and is dropped.

use std::net::Ipv6Addr;
use std::ops::Range;

use crate::ip::icmpv6::Icmpv6Error;
use crate::wire::checksum::{Checksum, Partial};
use crate::wire::header::IPV6_LEN;

/// Extension headers in one packet.
pub(crate) const MAX_EXTENSIONS: usize = 8;
/// Length of a fragment header (RFC 8200 section 4.5).
pub(crate) const FRAGMENT_LEN: usize = 8;

const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
/// Next header value of a fragment header.
pub(crate) const FRAGMENT: u8 = 44;
const NO_NEXT_HEADER: u8 = 59;
const DESTINATION: u8 = 60;

/// Where the next header field stands in the IPv6 header.
const NEXT_HEADER: usize = 6;

/// An IPv6 packet whose fixed header is right and whose payload is there as a whole. Addresses are not judged here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ipv6View<'a> {
    packet: &'a [u8],
    fixed: &'a [u8; IPV6_LEN],
}

impl<'a> Ipv6View<'a> {
    /// The length of the packet that begins here, header included, as it announces it; `None` when the bytes do not
    /// begin with an IPv6 header.
    pub fn announced_len(bytes: &[u8]) -> Option<usize> {
        let fixed = bytes.first_chunk::<IPV6_LEN>()?;
        (fixed[0] >> 4 == 6).then(|| IPV6_LEN + usize::from(u16::from_be_bytes([fixed[4], fixed[5]])))
    }

    /// Validates the bytes after the Ethernet header; bytes beyond the announced payload are cut off. `None` when they
    /// are too short, for the header or for the payload, or when the version is not 6.
    pub fn parse(bytes: &'a [u8]) -> Option<Self> {
        let packet = bytes.get(..Self::announced_len(bytes)?)?;
        Some(Ipv6View { packet, fixed: packet.first_chunk::<IPV6_LEN>()? })
    }

    /// As [`parse`](Self::parse) for a packet of which only the beginning is there: the payload may be short.
    pub fn parse_beginning(bytes: &'a [u8]) -> Option<Self> {
        let length = Self::announced_len(bytes)?;
        let packet = bytes.get(..length).unwrap_or(bytes);
        Some(Ipv6View { packet, fixed: packet.first_chunk::<IPV6_LEN>()? })
    }

    /// Traffic class.
    pub fn traffic_class(&self) -> u8 {
        self.fixed[0] << 4 | self.fixed[1] >> 4
    }

    /// Hop limit.
    pub fn hop_limit(&self) -> u8 {
        self.fixed[7]
    }

    /// What follows the fixed header: an extension header, or the upper layer.
    pub fn next_header(&self) -> u8 {
        self.fixed[NEXT_HEADER]
    }

    /// Source address.
    pub fn src(&self) -> Ipv6Addr {
        address(self.fixed, 8)
    }

    /// Destination address.
    pub fn dst(&self) -> Ipv6Addr {
        address(self.fixed, 24)
    }

    /// The whole packet, without trailing bytes of the frame.
    pub fn packet(&self) -> &'a [u8] {
        self.packet
    }

    /// Walks the extension headers.
    pub fn content(&self) -> Content<'a> {
        let mut next = self.next_header();
        // Where the field stands that named `next`, and where the header of that name begins.
        let (mut field, mut at) = (NEXT_HEADER, IPV6_LEN);
        let mut atomic = false;
        for index in 0..=MAX_EXTENSIONS {
            match next {
                // Only directly behind the fixed header (RFC 8200 section 4.1).
                HOP_BY_HOP if index > 0 => return unrecognized(field),
                HOP_BY_HOP | DESTINATION => {
                    let Some(end) = self.extension_end(at) else { return Content::Dropped };
                    match self.options(at, end) {
                        Verdict::Fine => {}
                        Verdict::Drop => return Content::Dropped,
                        Verdict::Problem(problem) => return Content::Problem(problem),
                    }
                    (field, next, at) = (at, self.byte(at), end);
                }
                ROUTING => {
                    let Some(end) = self.extension_end(at) else { return Content::Dropped };
                    // A type that is not known, and no type is, is ignored when it leads no further (section 4.4).
                    if self.byte(at + 3) != 0 {
                        return Content::Problem(parameter_problem(0, at + 2));
                    }
                    (field, next, at) = (at, self.byte(at), end);
                }
                FRAGMENT => {
                    let Some(&[follows, _, offset_high, offset_low, a, b, c, d]) =
                        self.packet.get(at..).and_then(|rest| rest.first_chunk::<FRAGMENT_LEN>())
                    else {
                        return Content::Dropped;
                    };
                    let offset_and_flags = u16::from_be_bytes([offset_high, offset_low]);
                    let (offset, more) = (offset_and_flags & 0xfff8, offset_and_flags & 1 != 0);
                    if offset == 0 && !more {
                        // A fragment that is the whole (RFC 6946).
                        (field, next, at) = (at, follows, at + FRAGMENT_LEN);
                        atomic = true;
                        continue;
                    }
                    return Content::Fragment(Piece {
                        id: u32::from_be_bytes([a, b, c, d]),
                        offset: offset.into(),
                        more,
                        follows,
                        at,
                        named_at: field,
                        payload: self.packet.get(at + FRAGMENT_LEN..).unwrap_or_default(),
                    });
                }
                NO_NEXT_HEADER => return Content::Dropped,
                protocol => {
                    let Some(payload) = self.packet.get(at..) else { return Content::Dropped };
                    return Content::Upper(Upper { protocol, payload, atomic, named_at: field });
                }
            }
        }
        Content::Dropped
    }

    fn byte(&self, at: usize) -> u8 {
        self.packet.get(at).copied().unwrap_or(NO_NEXT_HEADER)
    }

    /// Where the extension header at `at` ends, if it does within the packet.
    fn extension_end(&self, at: usize) -> Option<usize> {
        let end = at + 8 * (1 + usize::from(*self.packet.get(at + 1)?));
        (end <= self.packet.len()).then_some(end)
    }

    /// Goes through the options of the header at `at..end` (RFC 8200 section 4.2). None is known but the padding.
    fn options(&self, at: usize, end: usize) -> Verdict {
        let mut option = at + 2;
        while option < end {
            let kind = self.byte(option);
            if kind == 0 {
                option += 1;
                continue;
            }
            let length = usize::from(self.byte(option + 1));
            if option + 2 > end || option + 2 + length > end {
                return Verdict::Drop;
            }
            // What to do with an unknown option is written in its type. Type 1 is padding.
            match kind >> 6 {
                0 => {}
                1 => return Verdict::Drop,
                3 if self.dst().is_multicast() => return Verdict::Drop,
                _ => return Verdict::Problem(parameter_problem(2, option)),
            }
            option += 2 + length;
        }
        Verdict::Fine
    }
}

enum Verdict {
    Fine,
    Drop,
    Problem(Icmpv6Error),
}

/// What a packet carries behind its extension headers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content<'a> {
    /// A message of an upper layer, known or not.
    Upper(Upper<'a>),
    /// A piece of a datagram.
    Fragment(Piece<'a>),
    /// Nothing that could be used: to be answered with this error.
    Problem(Icmpv6Error),
    /// Nothing that could be used: to be dropped silently.
    Dropped,
}

/// A message of an upper layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Upper<'a> {
    /// Its protocol number.
    pub protocol: u8,
    /// The message.
    pub payload: &'a [u8],
    /// Whether it came as a fragment that is the whole (RFC 6946).
    pub atomic: bool,
    named_at: usize,
}

impl Upper<'_> {
    /// The error for a protocol nobody here speaks (RFC 8200 section 4).
    pub fn unrecognized(&self) -> Icmpv6Error {
        parameter_problem(1, self.named_at)
    }
}

/// A piece of a datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece<'a> {
    /// Tells the datagrams of one source and destination apart.
    pub id: u32,
    /// Where the piece belongs, in bytes.
    pub offset: usize,
    /// Whether more pieces follow.
    pub more: bool,
    /// The piece.
    pub payload: &'a [u8],
    follows: u8,
    at: usize,
    named_at: usize,
}

impl Piece<'_> {
    /// Where the fragment header stands in the packet, what follows it, and where the field stands that names it: what
    /// has to be known to take it out.
    pub fn place(&self) -> (Range<usize>, u8, usize) {
        (self.at..self.at + FRAGMENT_LEN, self.follows, self.named_at)
    }

    /// What follows the fragment header: a protocol, or one more extension header.
    pub fn follows(&self) -> u8 {
        self.follows
    }

    /// The error for a piece that cannot be placed: one that is followed by others and has no multiple of 8 bytes, or
    /// one that ends beyond the largest packet (RFC 8200 section 4.5).
    pub fn problem(&self) -> Option<Icmpv6Error> {
        if self.more && !self.payload.len().is_multiple_of(8) {
            return Some(parameter_problem(0, 4));
        }
        let end = self.at - IPV6_LEN + self.offset + self.payload.len();
        (end > usize::from(u16::MAX)).then(|| parameter_problem(0, self.at + 2))
    }
}

/// Sets the payload length of a packet that was put together; `None` when it is too long or too short.
pub(crate) fn set_payload_len(packet: &mut [u8]) -> Option<()> {
    let length = u16::try_from(packet.len().checked_sub(IPV6_LEN)?).ok()?;
    packet.get_mut(4..6)?.copy_from_slice(&length.to_be_bytes());
    Some(())
}

/// Whether the checksum of an upper-layer message is right.
#[cfg(test)]
pub(crate) fn checksum_is_right(src: Ipv6Addr, dst: Ipv6Addr, protocol: u8, message: &[u8]) -> bool {
    is_right_sum(src, dst, protocol, message.len(), crate::wire::checksum::sum(message))
}

/// Whether the checksum of an upper-layer message is right, of which length and sum are known. UDP without one is not (RFC
/// 8200 section 8.1).
pub(crate) fn is_right_sum(src: Ipv6Addr, dst: Ipv6Addr, protocol: u8, length: usize, sum: Partial) -> bool {
    let Ok(length) = u32::try_from(length) else { return false };
    let mut whole = Checksum::pseudo_ipv6(src, dst, protocol, length);
    whole.add_partial(sum);
    whole.finish() == 0
}

fn unrecognized(field: usize) -> Content<'static> {
    Content::Problem(parameter_problem(1, field))
}

fn parameter_problem(code: u8, pointer: usize) -> Icmpv6Error {
    Icmpv6Error::ParameterProblem { code, pointer: u32::try_from(pointer).unwrap_or(u32::MAX) }
}

fn address(fixed: &[u8; IPV6_LEN], at: usize) -> Ipv6Addr {
    Ipv6Addr::from(fixed.get(at..).and_then(<[u8]>::first_chunk::<16>).copied().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DST: &str = "fec0::2";

    fn packet(next: u8, payload: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0x60, 0, 0, 0];
        bytes.extend((payload.len() as u16).to_be_bytes());
        bytes.extend([next, 64]);
        bytes.extend("fec0::15".parse::<Ipv6Addr>().unwrap().octets());
        bytes.extend(DST.parse::<Ipv6Addr>().unwrap().octets());
        bytes.extend(payload);
        bytes
    }

    fn content(packet: &[u8]) -> Content<'_> {
        Ipv6View::parse(packet).unwrap().content()
    }

    fn problem(code: u8, pointer: u32) -> Content<'static> {
        Content::Problem(Icmpv6Error::ParameterProblem { code, pointer })
    }

    fn upper(packet: &[u8]) -> Option<(u8, &[u8])> {
        match content(packet) {
            Content::Upper(upper) => Some((upper.protocol, upper.payload)),
            _ => None,
        }
    }

    #[test]
    fn a_payload_that_is_not_there_is_refused_and_trailing_bytes_are_cut() {
        let mut bytes = packet(17, b"12345678");
        assert!(Ipv6View::parse(&bytes[..47]).is_none());
        assert!(Ipv6View::parse(&bytes[..39]).is_none());
        bytes.extend(b"trailer");
        assert_eq!(upper(&bytes), Some((17, &b"12345678"[..])));
        bytes[0] = 0x45;
        assert!(Ipv6View::parse(&bytes).is_none());
    }

    #[test]
    fn extension_headers_are_walked_in_any_number_up_to_eight() {
        let padding = |next| [next, 0, 1, 4, 0, 0, 0, 0];
        let chain = [&padding(60)[..], &padding(43), &[58, 0, 9, 0, 1, 2, 3, 4], b"ping"].concat();
        assert_eq!(upper(&packet(0, &chain)), Some((58, &b"ping"[..])));
        let mut long = padding(60).repeat(7);
        long.extend(padding(17));
        assert_eq!(upper(&packet(60, &long)), Some((17, &[][..])));
        long.splice(0..0, padding(60));
        assert_eq!(content(&packet(60, &long)), Content::Dropped);
    }

    #[test]
    fn no_next_header_and_truncated_extensions_are_dropped_silently() {
        assert_eq!(content(&packet(59, b"")), Content::Dropped);
        for next in [0, 43, 44, 60] {
            assert_eq!(content(&packet(next, b"")), Content::Dropped, "{next}");
            assert_eq!(content(&packet(next, &[17, 9, 0, 0, 0, 0, 0])), Content::Dropped, "{next}");
        }
        // An option that reaches beyond its header.
        assert_eq!(content(&packet(0, &[17, 0, 1, 5, 0, 0, 0, 0])), Content::Dropped);
        assert_eq!(content(&packet(0, &[17, 0, 0, 0, 0, 0, 0, 1])), Content::Dropped);
    }

    #[test]
    fn unknown_options_are_treated_as_their_type_says() {
        let with = |kind| packet(60, &[17, 0, kind, 4, 0, 0, 0, 0]);
        assert!(upper(&with(0x1e)).is_some());
        assert_eq!(content(&with(0x5e)), Content::Dropped);
        assert_eq!(content(&with(0x9e)), problem(2, 42));
        assert_eq!(content(&with(0xde)), problem(2, 42));
        let mut multicast = with(0xde);
        multicast[24] = 0xff;
        assert_eq!(content(&multicast), Content::Dropped);
    }

    #[test]
    fn routing_headers_that_lead_on_and_late_hop_by_hop_headers_are_problems() {
        assert_eq!(content(&packet(43, &[17, 0, 0, 1, 0, 0, 0, 0])), problem(0, 42));
        assert_eq!(content(&packet(60, &[0, 0, 1, 4, 0, 0, 0, 0, 17, 0, 1, 4, 0, 0, 0, 0])), problem(1, 40));
    }

    #[test]
    fn fragments_are_told_from_atomic_ones() {
        assert_eq!(upper(&packet(44, b"\x11\0\0\0\0\0\0\x07data")), Some((17, &b"data"[..])));
        let bytes = packet(44, b"\x11\0\0\x19\0\0\0\x07datadata");
        let Content::Fragment(piece) = content(&bytes) else { panic!("no fragment") };
        assert_eq!((piece.id, piece.offset, piece.more, piece.payload), (7, 24, true, &b"datadata"[..]));
        assert_eq!(piece.problem(), None);
        assert_eq!(piece.place(), (40..48, 17, 6));
        let odd = packet(44, b"\x11\0\0\x19\0\0\0\x07datadat");
        let Content::Fragment(piece) = content(&odd) else { panic!("no fragment") };
        assert_eq!(piece.problem(), Some(parameter_problem(0, 4)));
        let far = packet(44, b"\x11\0\xff\xf8\0\0\0\x07datadata");
        let Content::Fragment(piece) = content(&far) else { panic!("no fragment") };
        assert_eq!(piece.problem(), Some(parameter_problem(0, 42)));
    }

    #[test]
    fn a_udp_checksum_of_zero_is_wrong() {
        let (src, dst) = ("fec0::15".parse().unwrap(), DST.parse().unwrap());
        assert!(!checksum_is_right(src, dst, 17, &[0, 1, 0, 2, 0, 8, 0, 0]));
    }

    proptest! {
        #[test]
        fn any_bytes_are_harmless(next in any::<u8>(), payload in prop::collection::vec(any::<u8>(), 0..200)) {
            let bytes = packet(next, &payload);
            if let Content::Fragment(piece) = content(&bytes) {
                let _ = piece.problem();
                prop_assert!(piece.place().0.end <= bytes.len());
            }
            let _ = Ipv6View::parse_beginning(&payload).map(|view| view.content());
        }
    }
}
