//! Bytes that others may write while they are read: QEMU gives frames where they lie in the guest's memory, where another
//! of its processors can change them after they were judged. So each frame is copied once, and judged and used as it was
//! then.

/// The longest frame that is looked at: an Ethernet header, the longest IP packet, and room. Behind that is only padding.
const LONGEST: usize = 66_000;

/// The place that frames are copied to.
pub struct FrameCopy {
    bytes: Box<[u8]>,
}

impl Default for FrameCopy {
    fn default() -> FrameCopy {
        FrameCopy { bytes: vec![0; LONGEST].into_boxed_slice() }
    }
}

impl FrameCopy {
    /// A copy of a frame, without what is behind [`LONGEST`] bytes.
    ///
    /// # Safety
    /// As many bytes as `length` says can be read at `frame`. Others may write there meanwhile, other than by Rust code.
    pub unsafe fn of(&mut self, frame: *const u8, length: usize) -> &[u8] {
        let length = length.min(LONGEST);
        let Some(copy) = self.bytes.get_mut(..length) else { return &[] };
        let mut to = copy.as_mut_ptr();
        // SAFETY: both are `length` bytes long, and one is ours alone. Where others write meanwhile either byte is one that
        // was there: nothing is concluded from it before the copy is complete.
        unsafe { std::ptr::copy_nonoverlapping(frame, to, length) };
        // The compiler must not look up a byte at its source again in place of the copy. It cannot know what this does
        // with the pointer.
        to = std::hint::black_box(to);
        // SAFETY: the pointer is the copy's, which is borrowed for as long as the result.
        unsafe { std::slice::from_raw_parts(to, length) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_longer_than_any_packet_is_cut() {
        let mut copy = FrameCopy::default();
        let long: Vec<u8> = (0..70_000u32).map(|n| n as u8).collect();
        // SAFETY: the pointer and length are those of a slice, and nobody writes.
        let frame = unsafe { copy.of(long.as_ptr(), long.len()) };
        assert_eq!(frame, &long[..LONGEST]);
        // SAFETY: as above.
        assert_eq!(unsafe { copy.of(long.as_ptr(), 60) }, &long[..60]);
    }
}
