//! Fragmentation of IPv4 packets towards the guest (RFC 791 section 2.3; docs/contract/ipv4.md section 3).

use crate::ip::ipv4::Ipv4View;
use crate::wire::checksum::Checksum;
use crate::wire::header::IPV4_LEN;

/// Smallest MTU that carries a header and one unit of 8 bytes.
const MIN_MTU: usize = IPV4_LEN + 8;

/// Why a packet cannot be split.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FragmentError {
    /// The bytes are no valid IPv4 packet.
    Malformed,
    /// The packet has IP options, or is itself a fragment. The engine never sends such packets.
    Unsupported,
    /// The MTU is below 28 bytes and cannot carry any fragment.
    MtuTooSmall,
}

/// One piece of a packet, with its header apart from the piece of the payload it carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fragment<'a> {
    /// The complete IPv4 header of this piece, checksum included.
    pub header: [u8; IPV4_LEN],
    /// The bytes that follow it.
    pub payload: &'a [u8],
}

impl Fragment<'_> {
    /// Length of header and payload in bytes.
    pub(crate) fn total_len(&self) -> usize {
        IPV4_LEN + self.payload.len()
    }

    /// Writes header and payload to the start of `buf` and returns their length, or `None` when `buf` is too short.
    pub(crate) fn write_to(&self, buf: &mut [u8]) -> Option<usize> {
        let (header, payload) = buf.get_mut(..self.total_len())?.split_at_mut_checked(IPV4_LEN)?;
        header.copy_from_slice(&self.header);
        payload.copy_from_slice(self.payload);
        Some(self.total_len())
    }
}

/// The pieces of a packet in ascending order.
///
/// A packet that fits the MTU yields itself as the only piece. The Don't Fragment flag is cleared in every piece.
#[derive(Debug, Clone)]
pub(crate) struct Fragments<'a> {
    /// Header of the packet with flags, offset, length and checksum zeroed.
    template: [u8; IPV4_LEN],
    payload: &'a [u8],
    /// Payload bytes of every piece but the last.
    piece: usize,
    /// Payload bytes already given out.
    offset: usize,
    done: bool,
}

impl<'a> Fragments<'a> {
    /// Splits `packet`, which starts with a header of 20 bytes, for a link that carries IP packets of `mtu` bytes.
    ///
    /// # Errors
    /// See [`FragmentError`].
    pub(crate) fn new(packet: &'a [u8], mtu: usize) -> Result<Self, FragmentError> {
        let view = Ipv4View::parse(packet).map_err(|_| FragmentError::Malformed)?;
        if view.header().len() != IPV4_LEN || view.is_fragment() {
            return Err(FragmentError::Unsupported);
        }
        let mut template = *packet.first_chunk::<IPV4_LEN>().ok_or(FragmentError::Malformed)?;
        // Length, flags and offset, checksum: each fragment has its own.
        template[2..4].fill(0);
        template[6..8].fill(0);
        template[10..12].fill(0);
        let piece = if view.packet().len() <= mtu {
            view.payload().len()
        } else if mtu < MIN_MTU {
            return Err(FragmentError::MtuTooSmall);
        } else {
            (mtu - IPV4_LEN) & !7
        };
        Ok(Fragments { template, payload: view.payload(), piece, offset: 0, done: false })
    }
}

impl<'a> Iterator for Fragments<'a> {
    type Item = Fragment<'a>;

    fn next(&mut self) -> Option<Fragment<'a>> {
        if self.done {
            return None;
        }
        let rest = self.payload.get(self.offset..)?;
        let (payload, later) = rest.split_at(self.piece.min(rest.len()));
        self.done = later.is_empty();
        // The lengths come from a packet whose total length field holds 16 bits.
        let total_len = (IPV4_LEN + payload.len()) as u16;
        let flags_and_offset = (self.offset / 8) as u16 | if self.done { 0 } else { 0x2000 };
        self.offset += payload.len();
        let mut header = self.template;
        header[2..4].copy_from_slice(&total_len.to_be_bytes());
        header[6..8].copy_from_slice(&flags_and_offset.to_be_bytes());
        let mut checksum = Checksum::new();
        checksum.add(&header);
        header[10..12].copy_from_slice(&checksum.finish().to_be_bytes());
        Some(Fragment { header, payload })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::ip::reassembly::{Outcome, Reassembler};
    use crate::ip::test_packets::{echo_request, packet, with_options};
    use crate::time::Instant;

    fn lengths(packet: &[u8], mtu: usize) -> Vec<usize> {
        Fragments::new(packet, mtu).unwrap().map(|fragment| fragment.total_len()).collect()
    }

    #[test]
    fn a_udp_payload_of_4000_bytes_becomes_1500_1500_1068() {
        assert_eq!(lengths(&packet(17, &[0; 4008]), 1500), [1500, 1500, 1068]);
    }

    #[test]
    fn an_echo_of_3000_bytes_becomes_1500_1500_68() {
        assert_eq!(lengths(&echo_request(&[7; 3000]), 1500), [1500, 1500, 68]);
    }

    #[test]
    fn if_mtu_576_gives_fragments_of_572_bytes() {
        assert_eq!(lengths(&packet(1, &[0; 1200]), 576), [572, 572, 116]);
    }

    #[test]
    fn an_echo_of_8_kb_becomes_6_fragments() {
        assert_eq!(lengths(&echo_request(&[1; 8192]), 1500).len(), 6);
    }

    #[test]
    fn a_packet_of_just_the_mtu_stays_whole() {
        let whole = packet(17, &[3; 1480]);
        let pieces: Vec<_> = Fragments::new(&whole, 1500).unwrap().collect();
        assert_eq!(pieces.len(), 1);
        let mut buf = [0; 1500];
        assert_eq!(pieces[0].write_to(&mut buf), Some(1500));
        assert_eq!(buf[..], whole[..]);
        assert_eq!(pieces[0].write_to(&mut buf[..1499]), None);
        assert_eq!(lengths(&packet(17, &[3; 1481]), 1500), [1500, 21]);
        assert_eq!(lengths(&packet(17, &[]), 1500), [20]);
    }

    #[test]
    fn fragments_share_the_id_and_only_the_last_clears_more_fragments() {
        let mut whole = packet(17, &[0; 3000]);
        whole[6] = 0x40;
        crate::ip::test_packets::fix_checksum(&mut whole);
        let pieces: Vec<_> = Fragments::new(&whole, 1500).unwrap().collect();
        let fields: Vec<_> = pieces.iter().map(|p| (p.header[4..6].to_vec(), p.header[6..8].to_vec())).collect();
        let id = vec![0, 99];
        // Offsets in units of 8 bytes: 0, 185, 370; More Fragments is 0x2000; Don't Fragment is gone.
        assert_eq!(fields, [(id.clone(), vec![0x20, 0]), (id.clone(), vec![0x20, 185]), (id, vec![0x01, 0x72])]);
    }

    #[test]
    fn what_cannot_be_split_is_refused() {
        let big = packet(17, &[0; 1000]);
        assert_eq!(Fragments::new(&big, 27).err(), Some(FragmentError::MtuTooSmall));
        assert_eq!(Fragments::new(&big, 28).unwrap().count(), 125);
        assert_eq!(Fragments::new(&with_options(&big, &[1; 4]), 576).err(), Some(FragmentError::Unsupported));
        assert_eq!(Fragments::new(&big[..19], 576).err(), Some(FragmentError::Malformed));
    }

    proptest! {
        #[test]
        fn reassembly_undoes_fragmentation(
            payload in prop::collection::vec(any::<u8>(), 0..3000), mtu in 28usize..2000, backwards in any::<bool>(),
        ) {
            let whole = packet(17, &payload);
            let mut pieces = Vec::new();
            for fragment in Fragments::new(&whole, mtu).unwrap() {
                let mut buf = vec![0; fragment.total_len()];
                fragment.write_to(&mut buf).unwrap();
                prop_assert!(buf.len() <= mtu);
                pieces.push(buf);
            }
            if backwards {
                pieces.reverse();
            }
            let mut reassembler = Reassembler::ipv4();
            let (last, others) = pieces.split_last().unwrap();
            if others.is_empty() {
                prop_assert_eq!(last, &whole);
                return Ok(());
            }
            for piece in others {
                let view = Ipv4View::parse(piece).unwrap();
                prop_assert_eq!(reassembler.on_ipv4(&view, Instant::ZERO), Outcome::Pending);
            }
            let view = Ipv4View::parse(last).unwrap();
            prop_assert_eq!(reassembler.on_ipv4(&view, Instant::ZERO), Outcome::Complete(whole));
            prop_assert!(reassembler.is_empty() && reassembler.bytes() == 0);
        }

        #[test]
        fn any_bytes_and_any_mtu_are_harmless(
            bytes in prop::collection::vec(any::<u8>(), 0..100), mtu in any::<usize>(),
        ) {
            if let Ok(fragments) = Fragments::new(&bytes, mtu) {
                fragments.for_each(drop);
            }
        }
    }
}
