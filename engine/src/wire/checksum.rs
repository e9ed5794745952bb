//! The Internet checksum (RFC 1071), summed in the machine's own byte order and over many bytes at once.
//!
//! The one's complement sum of 16-bit words does not depend on the byte order it is computed in, except that the result
//! comes out byte-swapped (RFC 1071 section 2(B)). Every sum here is therefore taken over native words and only the
//! final value is turned into the number that belongs into the header.

use std::net::{Ipv4Addr, Ipv6Addr};

use crate::host::vector;

/// The sum of one run of bytes, together with the parity of its length.
///
/// The parity is what makes runs combinable: after a run of odd length every byte of the next run changes its place
/// inside the 16-bit words, which is the same as swapping the bytes of the next run's sum (RFC 1071 section 2(B)).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Partial {
    /// Folded one's complement sum over native-endian words; an odd last byte is padded with a zero byte.
    sum: u16,
    /// Whether the number of bytes summed is odd.
    odd: bool,
}

impl Partial {
    /// The sum of no bytes.
    pub const EMPTY: Partial = Partial { sum: 0, odd: false };

    /// The sum of native words as `vector::sum` gives it, over so many bytes.
    #[inline]
    pub fn of_words(sum: u64, length: usize) -> Partial {
        Partial { sum: fold(sum), odd: length % 2 == 1 }
    }

    /// The sum of what is left without the beginning, which is `head`. That of nothing but zeros may come out as all ones,
    /// which is zero as well in one's complement.
    ///
    /// Only a beginning of even length leaves the bytes of the rest at their places in the words.
    #[must_use]
    pub fn without(self, head: &[u8]) -> Partial {
        debug_assert!(head.len().is_multiple_of(2));
        Partial { sum: fold(u64::from(self.sum) + u64::from(!sum(head).sum)), odd: self.odd }
    }

    /// The sum of this run followed directly by `next`.
    #[must_use]
    #[inline]
    pub fn then(self, next: Partial) -> Partial {
        let moved = if self.odd { next.sum.swap_bytes() } else { next.sum };
        Partial { sum: fold(u64::from(self.sum) + u64::from(moved)), odd: self.odd ^ next.odd }
    }
}

/// A checksum under construction: runs of bytes and header fields are added in the order they have in the packet.
#[derive(Debug, Clone, Copy, Default)]
pub struct Checksum {
    /// Not yet folded sum over native-endian words.
    sum: u64,
    /// Whether an odd number of bytes was added so far.
    odd: bool,
}

impl Checksum {
    /// A checksum over nothing.
    pub const fn new() -> Self {
        Checksum { sum: 0, odd: false }
    }

    /// The IPv4 pseudo header of TCP (RFC 9293 section 3.1) and UDP (RFC 768). `length` is the length in bytes of the
    /// transport header and its payload.
    #[inline]
    pub fn pseudo_ipv4(src: Ipv4Addr, dst: Ipv4Addr, protocol: u8, length: u16) -> Self {
        let mut checksum = Checksum::new();
        checksum.add_ipv4(src);
        checksum.add_ipv4(dst);
        checksum.add_u16(u16::from(protocol));
        checksum.add_u16(length);
        checksum
    }

    /// The IPv6 pseudo header (RFC 8200 section 8.1). `length` is the length in bytes of the upper-layer header and its
    /// payload.
    pub fn pseudo_ipv6(src: Ipv6Addr, dst: Ipv6Addr, next_header: u8, length: u32) -> Self {
        let mut checksum = Checksum::new();
        checksum.add_ipv6(src);
        checksum.add_ipv6(dst);
        checksum.add_u32(length);
        checksum.add_u32(u32::from(next_header));
        checksum
    }

    /// Adds a run of bytes.
    pub fn add(&mut self, data: &[u8]) {
        self.add_partial(sum(data));
    }

    /// Adds a run whose sum is already known.
    #[inline]
    pub fn add_partial(&mut self, partial: Partial) {
        self.add_words(u64::from(partial.sum));
        self.odd ^= partial.odd;
    }

    /// Adds header fields, given as the sum of the 32-bit words that they make, each as its value. That is a fraction of what
    /// reading them back from where they were just written costs.
    #[inline(always)]
    pub fn add_fields(&mut self, words: u64) {
        self.add_words(u64::from(fold(words).to_be()));
    }

    /// Adds a sum of native words that stand for an even number of bytes and are at most 32 bits wide.
    #[inline(always)]
    fn add_words(&mut self, words: u64) {
        self.sum += if self.odd { u64::from(fold(words).swap_bytes()) } else { words };
    }

    /// Adds a 16-bit field, given as its value.
    pub fn add_u16(&mut self, value: u16) {
        self.add_words(u64::from(value.to_be()));
    }

    /// Adds a 32-bit field, given as its value.
    pub fn add_u32(&mut self, value: u32) {
        self.add_words(u64::from(value.to_be()));
    }

    /// Adds the four bytes of an address.
    pub fn add_ipv4(&mut self, address: Ipv4Addr) {
        self.add_u32(address.to_bits());
    }

    /// Adds the sixteen bytes of an address.
    pub fn add_ipv6(&mut self, address: Ipv6Addr) {
        self.add(&address.octets());
    }

    /// The value of the checksum field, to be stored in network byte order (`to_be_bytes`).
    ///
    /// Over a message that already holds its checksum the result is 0 exactly when the checksum is right.
    #[inline]
    pub fn finish(self) -> u16 {
        u16::from_be(!fold(self.sum))
    }

    /// As [`finish`](Self::finish) for UDP, where 0 means "no checksum" and is sent as 0xffff (RFC 768).
    pub fn finish_udp(self) -> u16 {
        match self.finish() {
            0 => 0xffff,
            checksum => checksum,
        }
    }
}

/// Folds a wide sum of native words to 16 bits with end-around carry.
#[inline]
fn fold(sum: u64) -> u16 {
    let sum = (sum & 0xffff_ffff) + (sum >> 32);
    let sum = (sum & 0xffff) + ((sum >> 16) & 0xffff) + (sum >> 32);
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    // The last line left at most 16 bits.
    sum as u16
}

/// The sum of a run of bytes.
#[inline]
pub(crate) fn sum(data: &[u8]) -> Partial {
    Partial::of_words(vector::sum(data), data.len())
}

/// Copies `src` to the start of `dst` and sums the bytes on the way.
///
/// Where the lengths differ the shorter one counts: only `min(dst.len(), src.len())` bytes are copied and summed.
#[inline]
pub(crate) fn copy_and_sum(dst: &mut [u8], src: &[u8]) -> Partial {
    let length = dst.len().min(src.len());
    let (dst, src) = (dst.get_mut(..length).unwrap_or_default(), src.get(..length).unwrap_or_default());
    Partial::of_words(vector::copied(dst, src), length)
}

/// Whether a message that holds its own checksum field sums up correctly. It has no pseudo header: the IPv4 header
/// and ICMPv4.
pub fn is_valid(message: &[u8]) -> bool {
    let mut checksum = Checksum::new();
    checksum.add(message);
    checksum.finish() == 0
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// RFC 1071 section 1 read literally: 16-bit big-endian words, the last odd byte padded with zero.
    fn naive(data: &[u8]) -> u16 {
        let mut sum = 0u32;
        for pair in data.chunks(2) {
            sum += u32::from(pair[0]) << 8 | pair.get(1).map_or(0, |low| u32::from(*low));
            sum = (sum & 0xffff) + (sum >> 16);
        }
        !(sum as u16)
    }

    fn finish(partial: Partial) -> u16 {
        let mut checksum = Checksum::new();
        checksum.add_partial(partial);
        checksum.finish()
    }

    #[test]
    fn the_example_of_rfc_1071_section_3() {
        let mut checksum = Checksum::new();
        checksum.add(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]);
        assert_eq!(checksum.finish(), !0xddf2);
    }

    #[test]
    fn all_ones_do_not_overflow_and_zero_is_not_valid() {
        assert_eq!(finish(sum(&[0xff; 65536])), 0);
        assert_eq!(finish(sum(&[0; 64])), 0xffff);
        assert!(!is_valid(&[0; 20]));
    }

    #[test]
    fn a_udp_checksum_of_zero_is_sent_as_all_ones() {
        let mut checksum = Checksum::new();
        checksum.add_u16(0xffff);
        assert_eq!(checksum.finish(), 0);
        assert_eq!(checksum.finish_udp(), 0xffff);
        checksum.add_u16(1);
        assert_eq!(checksum.finish_udp(), 0xfffe);
    }

    #[test]
    fn pseudo_headers_are_the_bytes_of_the_rfcs() {
        let v4 = Checksum::pseudo_ipv4(Ipv4Addr::new(10, 0, 2, 2), Ipv4Addr::new(10, 0, 2, 15), 17, 0x1234);
        assert_eq!(v4.finish(), naive(&[10, 0, 2, 2, 10, 0, 2, 15, 0, 17, 0x12, 0x34]));
        let (src, dst) = (Ipv6Addr::new(0xfec0, 0, 0, 0, 0, 0, 0, 2), Ipv6Addr::new(0xfe80, 0, 0, 0, 1, 2, 3, 4));
        let mut bytes = [src.octets(), dst.octets()].concat();
        bytes.extend_from_slice(&[0x00, 0x01, 0x02, 0x03, 0, 0, 0, 6]);
        assert_eq!(Checksum::pseudo_ipv6(src, dst, 6, 0x0001_0203).finish(), naive(&bytes));
    }

    proptest! {
        #[test]
        fn sums_agree_with_the_reference(data in prop::collection::vec(any::<u8>(), 0..400)) {
            prop_assert_eq!(finish(sum(&data)), naive(&data));
        }

        #[test]
        fn pieces_of_any_length_combine(
            data in prop::collection::vec(any::<u8>(), 0..400),
            cuts in (any::<prop::sample::Index>(), any::<prop::sample::Index>()),
        ) {
            let (a, b) = (cuts.0.index(data.len() + 1), cuts.1.index(data.len() + 1));
            let (low, high) = (a.min(b), a.max(b));
            let pieces = [&data[..low], &data[low..high], &data[high..]];
            let mut checksum = Checksum::new();
            pieces.iter().for_each(|piece| checksum.add(piece));
            prop_assert_eq!(checksum.finish(), naive(&data));
            let joined = sum(pieces[0]).then(sum(pieces[1])).then(sum(pieces[2]));
            prop_assert_eq!(finish(joined), naive(&data));
        }

        #[test]
        fn copying_copies_the_shorter_length_and_sums_it(
            src in prop_oneof![
                prop::collection::vec(any::<u8>(), 0..300),
                prop::collection::vec(any::<u8>(), 4000..9000),
            ],
            room in prop_oneof![0usize..300, 4000usize..9000],
        ) {
            let mut dst = vec![0xee; room];
            let length = room.min(src.len());
            let partial = copy_and_sum(&mut dst, &src);
            prop_assert_eq!(&dst[..length], &src[..length]);
            prop_assert!(dst[length..].iter().all(|byte| *byte == 0xee));
            prop_assert_eq!(finish(partial), naive(&src[..length]));
        }

        #[test]
        fn the_rest_is_the_whole_without_the_beginning(
            data in prop::collection::vec(any::<u8>(), 1..400),
            cut in any::<prop::sample::Index>(),
        ) {
            let cut = cut.index(data.len()) & !1;
            let (whole, head) = (sum(&data), &data[..cut]);
            let mut rest = Checksum::new();
            rest.add_u16(1);
            rest.add(&data[cut..]);
            let mut other = Checksum::new();
            other.add_u16(1);
            other.add_partial(whole.without(head));
            prop_assert_eq!(other.finish(), rest.finish());
        }

        #[test]
        fn fields_count_as_their_network_bytes(a in any::<u16>(), b in any::<u32>()) {
            let mut checksum = Checksum::new();
            checksum.add_u16(a);
            checksum.add_u32(b);
            let bytes = [&a.to_be_bytes()[..], &b.to_be_bytes()[..]].concat();
            prop_assert_eq!(checksum.finish(), naive(&bytes));
        }
    }
}
