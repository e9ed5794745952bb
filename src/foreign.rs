//! Bytes that others may write while they are read: QEMU gives frames where they lie in the guest's memory, where another
//! of its processors can change them after they were judged. So each frame is copied once, and judged and used as it was
//! then.

use oxislirp::door::{ETHERNET_LEN, Partial, copy_and_sum};

/// The longest frame that is looked at: an Ethernet header, the longest IP packet, and room. Behind that is only padding.
const LONGEST: usize = 66_000;

/// Where in its place a frame begins: its packet then begins where vector registers load best.
const START: usize = 32 - ETHERNET_LEN;

/// The place that frames are copied to.
pub struct FrameCopy {
    bytes: Box<[u8]>,
}

impl Default for FrameCopy {
    fn default() -> FrameCopy {
        FrameCopy { bytes: vec![0; START + LONGEST].into_boxed_slice() }
    }
}

impl FrameCopy {
    /// A copy of a frame, without what is behind [`LONGEST`] bytes, and the sum of what follows its Ethernet header.
    ///
    /// # Safety
    /// As many bytes as `length` says can be read at `frame`. Others may write there meanwhile, other than by Rust code.
    pub unsafe fn of(&mut self, frame: *const u8, length: usize) -> (&[u8], Partial) {
        let length = length.min(LONGEST);
        let Some(copy) = self.bytes.get_mut(START..START + length) else { return (&[], Partial::EMPTY) };
        let to = copy.as_mut_ptr();
        let Some(rest) = length.checked_sub(ETHERNET_LEN) else {
            // SAFETY: both are `length` bytes long, and one is ours alone.
            unsafe { std::ptr::copy_nonoverlapping(frame, to, length) };
            return (copy, Partial::EMPTY);
        };
        // SAFETY: both are `length` bytes long, and one is ours alone. Where others write meanwhile either byte is one that
        // was there: nothing is concluded from it before the copy is complete. The sum may be another one's then, which a
        // guest could have sent as well.
        let sum = unsafe {
            let header = frame.cast::<[u8; ETHERNET_LEN]>().read_unaligned();
            to.cast::<[u8; ETHERNET_LEN]>().write_unaligned(header);
            copy_and_sum(to.add(ETHERNET_LEN), frame.add(ETHERNET_LEN), rest)
        };
        (copy, Partial::of_words(sum, rest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use oxislirp::door::sum;

    #[test]
    fn a_frame_longer_than_any_packet_is_cut() {
        let mut copy = FrameCopy::default();
        let long: Vec<u8> = (0..70_000u32).map(|n| n as u8).collect();
        // SAFETY: the pointer and length are those of a slice, and nobody writes.
        let (frame, summed) = unsafe { copy.of(long.as_ptr(), long.len()) };
        assert_eq!((frame, summed), (&long[..LONGEST], sum(&long[ETHERNET_LEN..LONGEST])));
        // SAFETY: as above.
        assert_eq!(unsafe { copy.of(long.as_ptr(), 60) }.0, &long[..60]);
        // SAFETY: as above.
        assert_eq!(unsafe { copy.of(long.as_ptr(), 9) }, (&long[..9], Partial::EMPTY));
    }
}
