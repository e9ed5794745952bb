//! A ring of bytes in a slab of the [`Pool`]: what both buffers of a connection are made of. Knows nothing of TCP.

use std::fmt;
use std::ops::Range;

use super::pool::{LEAST, Pool};

/// The most that a buffer takes at once because it held as much before, in bytes.
pub(super) const MAX_FIRST: usize = 1 << 20;

/// See the module. `len` bytes from the front are in order; bytes that came early may lie behind
/// them, up to `extent` bytes from the front.
#[derive(Default)]
pub(super) struct Ring {
    /// The slab; only its first `slab.len()` bytes were ever written.
    slab: Vec<u8>,
    /// The slab's size, a power of two, or 0 without one.
    pub(super) capacity: usize,
    head: usize,
    pub(super) len: usize,
    pub(super) extent: usize,
    /// The most bytes held since the ring was last empty, or, less an eighth each time, before that: what a ring that is
    /// filled again is likely to need, so that it need not grow by steps each time.
    pub(super) peak: usize,
}

impl Ring {
    /// Has room for `total` bytes from the front. False when the pool has no memory.
    #[inline]
    pub(super) fn reserve(&mut self, total: usize, pool: &mut Pool) -> bool {
        total <= self.capacity || self.grow(total, MAX_FIRST, pool)
    }

    /// The same; what the ring needed before counts as far as `most`.
    #[inline]
    pub(super) fn grow(&mut self, total: usize, most: usize, pool: &mut Pool) -> bool {
        // The few bytes of an exchange, mostly: nothing is held, and never was more than the smallest slab holds.
        if self.capacity == 0
            && total.max(self.peak) <= LEAST
            && let Some(slab) = pool.take_least()
        {
            self.begin(slab, LEAST);
            return true;
        }
        self.grow_by_steps(total, most, pool)
    }

    fn grow_by_steps(&mut self, total: usize, most: usize, pool: &mut Pool) -> bool {
        let wanted = if self.capacity == 0 { total.max(self.peak.min(most).min(pool.share())) } else { total };
        let Some((slab, capacity)) = pool.take(wanted).or_else(|| pool.take(total)) else { return false };
        self.change_slab(slab, capacity, pool);
        true
    }

    /// The first slab.
    #[inline]
    fn begin(&mut self, slab: Vec<u8>, capacity: usize) {
        // Forgotten by and by: a short burst between two long ones is common, and a ring that grows copies what it holds.
        self.peak -= self.peak / 8;
        self.slab = slab;
        self.capacity = capacity;
        self.head = 0;
    }

    /// Moves what is held into a slab with room for it.
    fn change_slab(&mut self, mut slab: Vec<u8>, capacity: usize, pool: &mut Pool) {
        if self.capacity == 0 {
            return self.begin(slab, capacity);
        }
        if self.head.saturating_add(self.extent) > self.capacity {
            // Behind a gap, bytes may have wrapped around before the end of the slab was ever written.
            self.slab.resize(self.capacity, 0);
        }
        let (first, second) = self.slices(0, self.extent);
        if slab.len() < first.len() + second.len() {
            slab.clear();
            slab.extend_from_slice(first);
            slab.extend_from_slice(second);
        } else if let Some((front, rest)) = slab.split_at_mut_checked(first.len())
            && let Some(back) = rest.get_mut(..second.len())
        {
            // What was ever written in the slab stays: clearing it for each user anew would cost more than filling it.
            front.copy_from_slice(first);
            back.copy_from_slice(second);
        }
        let old = std::mem::replace(&mut self.slab, slab);
        pool.give(old, self.capacity);
        self.capacity = capacity;
        self.head = 0;
    }

    /// Where the byte `offset` bytes from the front is in the slab.
    #[inline]
    fn position(&self, offset: usize) -> usize {
        self.head.wrapping_add(offset) & self.capacity.wrapping_sub(1)
    }

    /// The bytes from `offset` on, at most `len` and at most what was written.
    #[inline]
    pub(super) fn slices(&self, offset: usize, len: usize) -> (&[u8], &[u8]) {
        let len = len.min(self.extent.saturating_sub(offset));
        if len == 0 {
            return (&[], &[]);
        }
        let start = self.position(offset);
        let first = len.min(self.capacity - start);
        let front = self.slab.get(start..start + first).unwrap_or_default();
        let back = self.slab.get(..len - first).unwrap_or_default();
        (front, back)
    }

    /// Room to write to, from `offset` on and at most `len` bytes.
    pub(super) fn room(&mut self, offset: usize, len: usize) -> (&mut [u8], &mut [u8]) {
        let len = len.min(self.capacity.saturating_sub(offset));
        if len == 0 {
            return (&mut [], &mut []);
        }
        let start = self.position(offset);
        let first = len.min(self.capacity - start);
        if self.slab.len() < start + first {
            // Never past the capacity, so nothing is allocated.
            self.slab.resize(start + first, 0);
        }
        if first == len {
            return (self.slab.get_mut(start..start + len).unwrap_or_default(), &mut []);
        }
        let Some((low, high)) = self.slab.split_at_mut_checked(start) else { return (&mut [], &mut []) };
        (high.get_mut(..first).unwrap_or_default(), low.get_mut(..len - first).unwrap_or_default())
    }

    /// Where in the slab `len` bytes from `offset` on are, if they are in one piece that was ever written.
    #[inline]
    pub(super) fn piece(&self, offset: usize, len: usize) -> Option<Range<usize>> {
        let start = self.position(offset);
        let end = start.checked_add(len)?;
        (end <= self.slab.len()).then_some(start..end)
    }

    /// That piece, to be written anew.
    #[inline]
    pub(super) fn written(&mut self, piece: Range<usize>) -> Option<&mut [u8]> {
        self.slab.get_mut(piece)
    }

    /// Writes bytes `offset` bytes from the front, where `reserve` made room.
    #[inline]
    pub(super) fn write(&mut self, offset: usize, data: &[u8]) {
        let end = self.position(offset);
        let past = end.saturating_add(data.len());
        if past <= self.capacity
            && let Some(place) = self.slab.get_mut(end..past)
        {
            place.copy_from_slice(data);
        } else if end == self.slab.len() && data.len() <= self.capacity.saturating_sub(end) {
            // A part of the slab that was never written need not be cleared first.
            self.slab.extend_from_slice(data);
        } else {
            let (first, second) = self.room(offset, data.len());
            let (front, back) = data.split_at_checked(first.len()).unwrap_or((data, &[]));
            if let Some(first) = first.get_mut(..front.len()) {
                first.copy_from_slice(front);
            }
            if let Some(second) = second.get_mut(..back.len())
                && second.len() == back.len()
            {
                second.copy_from_slice(back);
            }
        }
        self.extent = self.extent.max(offset.saturating_add(data.len()).min(self.capacity));
    }

    /// Counts `n` more written bytes as in order.
    #[inline]
    pub(super) fn commit(&mut self, n: usize) {
        self.len = self.len.saturating_add(n).min(self.capacity);
        self.extent = self.extent.max(self.len);
    }

    /// Drops `n` bytes from the front.
    pub(super) fn consume(&mut self, n: usize) {
        let n = n.min(self.len);
        self.peak = self.peak.max(self.extent);
        self.len -= n;
        self.extent -= n;
        self.head = if self.extent == 0 { 0 } else { self.position(n) };
    }

    /// Gives the slab back when it holds nothing, and takes a smaller one for it when it holds little and is larger than a
    /// buffer's share.
    #[inline(always)]
    pub(super) fn release_if_empty(&mut self, pool: &mut Pool) {
        if self.extent == 0 && self.capacity > 0 {
            self.release(pool);
        } else if self.capacity > pool.share() && self.extent <= pool.share() / 2 {
            self.shrink(pool);
        }
    }

    #[cold]
    fn shrink(&mut self, pool: &mut Pool) {
        self.shrink_to(pool.share(), pool);
    }

    fn shrink_to(&mut self, size: usize, pool: &mut Pool) {
        if let Some((slab, capacity)) = pool.take(size) {
            if capacity < self.capacity {
                self.change_slab(slab, capacity, pool);
            } else {
                pool.give(slab, capacity);
            }
        }
    }

    /// Takes a smaller slab if what is held fits into one; the next bytes will be few.
    #[cold]
    pub(super) fn fit(&mut self, pool: &mut Pool) {
        self.peak = self.extent;
        if self.extent <= self.capacity / 2 && self.capacity > LEAST {
            self.shrink_to(self.extent, pool);
        }
        self.release_if_empty(pool);
    }

    /// Gives the slab back and forgets what it held.
    pub(super) fn release(&mut self, pool: &mut Pool) {
        let peak = self.peak;
        let ring = std::mem::replace(self, Ring { peak, ..Ring::default() });
        if ring.capacity > 0 {
            pool.give(ring.slab, ring.capacity);
        }
    }
}

impl fmt::Debug for Ring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}..{} of {}", self.len, self.extent, self.capacity)
    }
}
