//! Bytes that others may write while they are read: QEMU gives frames where they lie in the guest's memory, where another of
//! its processors can change them after they were judged. So nothing is judged where it lies: what is here is only copied, and
//! the copy judged and used.

use std::marker::PhantomData;

use super::vector;

/// Bytes that can be read but not relied upon.
#[derive(Clone, Copy)]
pub struct Foreign<'a> {
    from: *const u8,
    length: usize,
    life: PhantomData<&'a [u8]>,
}

impl<'a> From<&'a [u8]> for Foreign<'a> {
    fn from(bytes: &'a [u8]) -> Foreign<'a> {
        Foreign { from: bytes.as_ptr(), length: bytes.len(), life: PhantomData }
    }
}

impl<'a> Foreign<'a> {
    /// # Safety
    /// `length` bytes can be read at `from` for as long as the value lives. Others may write there meanwhile, other than by
    /// Rust code.
    pub unsafe fn new(from: *const u8, length: usize) -> Foreign<'a> {
        Foreign { from, length, life: PhantomData }
    }

    /// How many bytes there are.
    pub fn len(&self) -> usize {
        self.length
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Copies the bytes from place `at` on, as many as fit into `to`. `None` when there are not as many.
    #[inline]
    pub fn copy(&self, at: usize, to: &mut [u8]) -> Option<()> {
        let from = self.place(at, to.len())?;
        // SAFETY: as many bytes can be read there, and `to` is ours alone. Where others write meanwhile either byte is one
        // that was there, and nothing is concluded from it before it is copied.
        unsafe { std::ptr::copy_nonoverlapping(from, to.as_mut_ptr(), to.len()) };
        Some(())
    }

    /// The same, and the sum of the bytes as `vector::sum` gives it. Each is read once where the processor allows for it;
    /// else the sum is that of the copy.
    #[inline]
    pub fn copy_and_sum(&self, at: usize, to: &mut [u8]) -> Option<u64> {
        let from = self.place(at, to.len())?;
        // SAFETY: as above.
        Some(unsafe { vector::copy_and_sum(to.as_mut_ptr(), from, to.len()) })
    }

    fn place(&self, at: usize, length: usize) -> Option<*const u8> {
        let end = at.checked_add(length)?;
        // SAFETY: the end is within the bytes.
        (end <= self.length).then(|| unsafe { self.from.add(at) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_there_is_not_copied() {
        let bytes: Vec<u8> = (0..100).collect();
        let foreign = Foreign::from(&bytes[..]);
        let mut to = [0; 40];
        assert_eq!(foreign.copy(60, &mut to), Some(()));
        assert_eq!(to, bytes[60..]);
        assert_eq!(foreign.copy_and_sum(10, &mut to), Some(vector::sum(&bytes[10..50])));
        assert_eq!(to, bytes[10..50]);
        for at in [61, 100, usize::MAX] {
            assert_eq!((foreign.copy(at, &mut to), foreign.copy_and_sum(at, &mut to)), (None, None), "{at}");
        }
        assert_eq!(to, bytes[10..50]);
    }
}
