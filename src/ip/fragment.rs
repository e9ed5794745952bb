//! Fragmentation of IPv4 packets towards the guest (RFC 791 section 2.3; contract/ipv4.md section 3).

use crate::ip::ipv4::Ipv4View;
use crate::wire::checksum::Checksum;
use crate::wire::header::IPV4_LEN;

/// Smallest MTU that carries a header and one unit of 8 bytes.
const MIN_MTU: usize = IPV4_LEN + 8;

/// Why a packet cannot be split.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FragmentError {
    /// The bytes are no valid IPv4 packet.
    Malformed,
    /// The packet has IP options, or is itself a fragment. The engine never sends such packets.
    Unsupported,
    /// The MTU is below 28 bytes and cannot carry any fragment.
    MtuTooSmall,
}

/// One piece of a packet, with its header apart from the piece of the payload it carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fragment<'a> {
    /// The complete IPv4 header of this piece, checksum included.
    pub header: [u8; IPV4_LEN],
    /// The bytes that follow it.
    pub payload: &'a [u8],
}

impl Fragment<'_> {
    /// Length of header and payload in bytes.
    pub fn total_len(&self) -> usize {
        IPV4_LEN + self.payload.len()
    }

    /// Writes header and payload to the start of `buf` and returns their length, or `None` when `buf` is too short.
    pub fn write_to(&self, buf: &mut [u8]) -> Option<usize> {
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
pub struct Fragments<'a> {
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
    pub fn new(packet: &'a [u8], mtu: usize) -> Result<Self, FragmentError> {
        let view = Ipv4View::parse(packet).map_err(|_| FragmentError::Malformed)?;
        if view.header().len() != IPV4_LEN || view.is_fragment() {
            return Err(FragmentError::Unsupported);
        }
        let mut template = *packet.first_chunk::<IPV4_LEN>().ok_or(FragmentError::Malformed)?;
        for field in [2..4, 6..8, 10..12] {
            template[field].fill(0);
        }
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
