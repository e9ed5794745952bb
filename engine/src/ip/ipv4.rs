//! A validated view of an IPv4 packet (RFC 791 section 3.1; docs/contract/ipv4.md section 1).

use std::net::Ipv4Addr;

use crate::wire::checksum;
use crate::wire::header::IPV4_LEN;

/// Why bytes are not a usable IPv4 packet. All of these are dropped silently.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Malformed {
    /// Fewer than 20 bytes, or fewer than the header length or the total length announces.
    Truncated,
    /// The version is not 4.
    Version,
    /// The header length is below 20 bytes, or above the total length.
    HeaderLength,
    /// The header checksum is wrong.
    Checksum,
    /// The reserved flag bit is set.
    ReservedFlag,
}

/// An IPv4 packet whose lengths and header checksum are right. Addresses are not judged here: what a source or
/// destination means is the caller's policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ipv4View<'a> {
    packet: &'a [u8],
    fixed: &'a [u8; IPV4_LEN],
    header: &'a [u8],
    payload: &'a [u8],
}

const RESERVED: u16 = 0x8000;
const DONT_FRAGMENT: u16 = 0x4000;
const MORE_FRAGMENTS: u16 = 0x2000;
const OFFSET: u16 = 0x1fff;

impl<'a> Ipv4View<'a> {
    /// Validates the bytes after the Ethernet header; bytes beyond the packet's total length are cut off.
    ///
    /// # Errors
    /// The first rule that the bytes break.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let fixed = bytes.first_chunk::<IPV4_LEN>().ok_or(Malformed::Truncated)?;
        if fixed[0] >> 4 != 4 {
            return Err(Malformed::Version);
        }
        let header_len = usize::from(fixed[0] & 0x0f) * 4;
        let total_len = usize::from(u16::from_be_bytes([fixed[2], fixed[3]]));
        if header_len < IPV4_LEN || total_len < header_len {
            return Err(Malformed::HeaderLength);
        }
        let packet = bytes.get(..total_len).ok_or(Malformed::Truncated)?;
        let (header, payload) = packet.split_at_checked(header_len).ok_or(Malformed::Truncated)?;
        if !checksum::is_valid(header) {
            return Err(Malformed::Checksum);
        }
        let view = Ipv4View { packet, fixed, header, payload };
        if view.flags_and_offset() & RESERVED != 0 {
            return Err(Malformed::ReservedFlag);
        }
        Ok(view)
    }

    /// The header of a whole packet of `length` bytes without options, of which only the beginning is there: the payload of
    /// the view is short. `None` for every other packet.
    pub fn parse_plain(beginning: &'a [u8], length: usize) -> Option<Self> {
        let (fixed, payload) = beginning.split_first_chunk::<IPV4_LEN>()?;
        let header = &fixed[..];
        let announced = usize::from(u16::from_be_bytes([fixed[2], fixed[3]]));
        let view = Ipv4View { packet: beginning, fixed, header, payload };
        let fragmented = view.flags_and_offset() & !DONT_FRAGMENT != 0;
        (fixed[0] == 0x45 && announced == length && !fragmented && checksum::is_valid(header)).then_some(view)
    }

    fn flags_and_offset(&self) -> u16 {
        u16::from_be_bytes([self.fixed[6], self.fixed[7]])
    }

    /// Type of service.
    pub fn tos(&self) -> u8 {
        self.fixed[1]
    }

    /// Identification.
    pub fn id(&self) -> u16 {
        u16::from_be_bytes([self.fixed[4], self.fixed[5]])
    }

    /// The Don't Fragment flag.
    pub fn dont_fragment(&self) -> bool {
        self.flags_and_offset() & DONT_FRAGMENT != 0
    }

    /// The More Fragments flag.
    pub fn more_fragments(&self) -> bool {
        self.flags_and_offset() & MORE_FRAGMENTS != 0
    }

    /// Offset of the payload in the original datagram's payload, in bytes (at most 65528).
    pub fn fragment_offset(&self) -> u16 {
        (self.flags_and_offset() & OFFSET) * 8
    }

    /// Whether this is a piece of a datagram and not the whole.
    pub fn is_fragment(&self) -> bool {
        self.flags_and_offset() & (MORE_FRAGMENTS | OFFSET) != 0
    }

    /// Time to live.
    pub fn ttl(&self) -> u8 {
        self.fixed[8]
    }

    /// Protocol number of the payload.
    pub fn protocol(&self) -> u8 {
        self.fixed[9]
    }

    /// Source address.
    pub fn src(&self) -> Ipv4Addr {
        Ipv4Addr::new(self.fixed[12], self.fixed[13], self.fixed[14], self.fixed[15])
    }

    /// Destination address.
    pub fn dst(&self) -> Ipv4Addr {
        Ipv4Addr::new(self.fixed[16], self.fixed[17], self.fixed[18], self.fixed[19])
    }

    /// The header with its options, 20 to 60 bytes.
    pub fn header(&self) -> &'a [u8] {
        self.header
    }

    /// What follows the header and its options.
    pub fn payload(&self) -> &'a [u8] {
        self.payload
    }

    /// The whole packet, header included, without trailing bytes of the frame.
    pub fn packet(&self) -> &'a [u8] {
        self.packet
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::ip::test_packets::{echo_request, fix_checksum, with_options};

    fn packet() -> Vec<u8> {
        echo_request(b"ping")
    }

    #[test]
    fn a_good_packet_gives_its_fields() {
        let mut bytes = packet();
        bytes[1] = 0x10;
        bytes[6] = 0x60;
        bytes[7] = 0x03;
        fix_checksum(&mut bytes);
        let view = Ipv4View::parse(&bytes).unwrap();
        assert_eq!((view.src(), view.dst()), (Ipv4Addr::new(10, 0, 2, 15), Ipv4Addr::new(10, 0, 2, 2)));
        assert_eq!((view.tos(), view.ttl(), view.protocol(), view.id()), (0x10, 64, 1, 99));
        assert!(view.dont_fragment() && view.more_fragments() && view.is_fragment());
        assert_eq!(view.fragment_offset(), 24);
        assert_eq!((view.header().len(), view.payload().len(), view.packet().len()), (20, 12, 32));
    }

    #[test]
    fn excess_bytes_are_cut() {
        let mut bytes = packet();
        bytes.extend_from_slice(&[0xee; 28]);
        let view = Ipv4View::parse(&bytes).unwrap();
        assert_eq!(view.packet(), packet());
        assert_eq!(view.payload(), &packet()[20..]);
    }

    #[test]
    fn options_belong_to_the_header() {
        let bytes = with_options(&packet(), &[1, 1, 1, 0]);
        let view = Ipv4View::parse(&bytes).unwrap();
        assert_eq!((view.header().len(), view.payload()), (24, &packet()[20..]));
    }

    #[test]
    fn bad_header_checksum_is_refused() {
        let mut bytes = packet();
        bytes[10] ^= 1;
        assert_eq!(Ipv4View::parse(&bytes), Err(Malformed::Checksum));
        let mut options = with_options(&packet(), &[1, 1, 1, 0]);
        options[22] ^= 4;
        assert_eq!(Ipv4View::parse(&options), Err(Malformed::Checksum));
    }

    #[test]
    fn truncated_packets_are_refused_at_every_length() {
        let bytes = with_options(&packet(), &[1; 40]);
        for length in 0..bytes.len() {
            assert_eq!(Ipv4View::parse(&bytes[..length]), Err(Malformed::Truncated), "{length} bytes");
        }
    }

    #[test]
    fn header_fields_that_contradict_are_refused() {
        let with = |index: usize, value: u8| {
            let mut bytes = packet();
            bytes[index] = value;
            fix_checksum(&mut bytes);
            Ipv4View::parse(&bytes).map(|_| ())
        };
        assert_eq!(with(0, 0x65), Err(Malformed::Version));
        assert_eq!(with(0, 0x44), Err(Malformed::HeaderLength));
        assert_eq!(with(0, 0x4f), Err(Malformed::HeaderLength));
        assert_eq!(with(3, 19), Err(Malformed::HeaderLength));
        assert_eq!(with(3, 33), Err(Malformed::Truncated));
        assert_eq!(with(6, 0x80), Err(Malformed::ReservedFlag));
        assert_eq!(with(8, 0), Ok(()));
    }

    proptest! {
        #[test]
        fn any_bytes_give_a_consistent_view_or_an_error(
            mut bytes in prop::collection::vec(any::<u8>(), 0..100), repair in any::<bool>(),
        ) {
            if repair && bytes.len() >= 20 {
                bytes[0] = 0x40 | (bytes[0] & 0x0f);
                fix_checksum(&mut bytes);
            }
            if let Ok(view) = Ipv4View::parse(&bytes) {
                prop_assert_eq!(view.packet(), &bytes[..view.packet().len()]);
                prop_assert_eq!([view.header(), view.payload()].concat(), view.packet());
                prop_assert_eq!(view.packet().len(), usize::from(u16::from_be_bytes([bytes[2], bytes[3]])));
            }
        }
    }
}
