//! Fragmentation of IPv6 packets towards the guest (RFC 8200 section 4.5).

use crate::ip::ipv6::{FRAGMENT, FRAGMENT_LEN};
use crate::wire::header::IPV6_LEN;

/// Headers of every piece.
const HEADERS: usize = IPV6_LEN + FRAGMENT_LEN;

/// One piece of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fragment<'a> {
    headers: [u8; HEADERS],
    payload: &'a [u8],
}

impl Fragment<'_> {
    /// Length of headers and payload in bytes.
    pub(crate) fn total_len(&self) -> usize {
        HEADERS + self.payload.len()
    }

    /// Writes headers and payload to the start of `buf`; `None` when it is too short.
    pub(crate) fn write_to(&self, buf: &mut [u8]) -> Option<()> {
        let (headers, payload) = buf.get_mut(..self.total_len())?.split_at_mut_checked(HEADERS)?;
        headers.copy_from_slice(&self.headers);
        payload.copy_from_slice(self.payload);
        Some(())
    }
}

/// The pieces of `packet`, which has no extension headers, for a link that carries packets of `mtu` bytes, in ascending
/// order. Every packet is cut, one that would fit as well. Nothing when the packet or the MTU is too small.
pub(crate) fn fragments(packet: &[u8], mtu: usize, id: u32) -> impl Iterator<Item = Fragment<'_>> {
    let piece = mtu.saturating_sub(HEADERS) & !7;
    let parts = packet.split_first_chunk::<IPV6_LEN>().filter(|_| piece > 0);
    parts.into_iter().flat_map(move |(fixed, payload)| {
        payload.chunks(piece).enumerate().map(move |(index, part)| {
            let offset = index * piece;
            let more = offset + part.len() < payload.len();
            let mut headers = [0; HEADERS];
            headers[..IPV6_LEN].copy_from_slice(fixed);
            // Lengths and offsets are those of a packet whose payload length has 16 bits.
            headers[4..6].copy_from_slice(&((FRAGMENT_LEN + part.len()) as u16).to_be_bytes());
            headers[IPV6_LEN] = std::mem::replace(&mut headers[6], FRAGMENT);
            headers[IPV6_LEN + 2..IPV6_LEN + 4].copy_from_slice(&(offset as u16 | u16::from(more)).to_be_bytes());
            headers[IPV6_LEN + 4..].copy_from_slice(&id.to_be_bytes());
            Fragment { headers, payload: part }
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ip::ipv6::{Content, Ipv6View};

    fn packet(length: usize) -> Vec<u8> {
        let mut bytes = vec![0; IPV6_LEN];
        bytes[0] = 0x60;
        bytes[4..6].copy_from_slice(&(length as u16).to_be_bytes());
        bytes[6] = 17;
        bytes.extend((0..length).map(|at| at as u8));
        bytes
    }

    #[test]
    fn pieces_fit_the_mtu_and_make_up_the_whole() {
        for (length, mtu) in [(4008, 1500), (65535, 1280), (1480, 1500), (100, 68), (9, 56)] {
            let whole = packet(length);
            let mut together = Vec::new();
            let count = fragments(&whole, mtu, 0xabcd_1234).count();
            for (index, fragment) in fragments(&whole, mtu, 0xabcd_1234).enumerate() {
                let mut bytes = vec![0; fragment.total_len()];
                fragment.write_to(&mut bytes).unwrap();
                assert!(bytes.len() <= mtu);
                let Some(Content::Fragment(piece)) = Ipv6View::parse(&bytes).map(|view| view.content()) else {
                    assert_eq!(count, 1);
                    continue;
                };
                assert_eq!((piece.id, piece.offset, piece.more), (0xabcd_1234, together.len(), index + 1 < count));
                assert_eq!(piece.problem(), None);
                assert_eq!(piece.place(), (40..48, 17, 6));
                together.extend_from_slice(piece.payload);
            }
            if count > 1 {
                assert_eq!(together, whole[IPV6_LEN..], "{length} at {mtu}");
            }
        }
    }

    #[test]
    fn nothing_comes_of_an_mtu_that_carries_no_piece() {
        assert_eq!(fragments(&packet(100), 55, 0).count(), 0);
        assert_eq!(fragments(&packet(100)[..39], 1500, 0).count(), 0);
    }
}
