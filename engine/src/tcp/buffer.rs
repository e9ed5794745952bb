//! Byte buffers of a connection; their memory is lent by the [`Pool`].

use super::pool::{LEAST, Pool};
use super::ring::{MAX_FIRST, Ring};

/// Bytes for the guest: those it has not acknowledged and those not yet sent.
#[derive(Debug, Default)]
pub struct SendBuffer {
    ring: Ring,
    /// Just past the last urgent byte, in bytes from the front; 0 without urgent data.
    urgent: usize,
    closed: bool,
}

impl SendBuffer {
    /// How many bytes are not yet acknowledged, sent or not.
    pub fn len(&self) -> usize {
        self.ring.len
    }

    /// Whether everything was acknowledged.
    pub fn is_empty(&self) -> bool {
        self.ring.len == 0
    }

    /// Free space to read into from the host socket: up to `want` bytes, and not more than that the buffer holds `limit`
    /// bytes in all. [`SendBuffer::commit`] takes over what was read. Both slices are empty when there is no room, no
    /// memory, or the connection's sending side was closed.
    pub fn spaces(&mut self, want: usize, limit: usize, pool: &mut Pool) -> (&mut [u8], &mut [u8]) {
        let len = self.ring.len;
        let limit = limit.min(Pool::MAX_BUFFER);
        let total = len.saturating_add(want).min(limit);
        if self.closed || total <= len {
            return (&mut [], &mut []);
        }
        if total > self.ring.capacity && !self.ring.grow(total, limit.min(MAX_FIRST), pool) {
            // What is there already may have some room left; else the smallest slab.
            let _ = self.ring.capacity > len || self.ring.reserve(total.min(LEAST), pool);
        }
        self.ring.room(len, total - len)
    }

    /// Takes over `n` bytes that were written to the front of [`SendBuffer::spaces`].
    pub fn commit(&mut self, n: usize) {
        if !self.closed {
            self.ring.commit(n);
        }
    }

    /// The bytes from `offset` on, at most `len` of them, in one or two parts.
    pub fn slices(&self, offset: usize, len: usize) -> (&[u8], &[u8]) {
        self.ring.slices(offset, len.min(self.ring.len.saturating_sub(offset)))
    }

    /// Copies bytes in, as many as fit within `limit` bytes in all, and returns how many.
    pub fn push(&mut self, data: &[u8], limit: usize, pool: &mut Pool) -> usize {
        let (first, second) = self.spaces(data.len(), limit, pool);
        let n = (first.len() + second.len()).min(data.len());
        let (front, back) = data.split_at_checked(first.len().min(n)).unwrap_or_default();
        let back = back.get(..n - front.len()).unwrap_or_default();
        if let (Some(first), Some(second)) = (first.get_mut(..front.len()), second.get_mut(..back.len())) {
            first.copy_from_slice(front);
            second.copy_from_slice(back);
        }
        self.commit(n);
        n
    }

    /// Marks all bytes that are in the buffer now as urgent (RFC 9293 section 3.8.5).
    pub fn mark_urgent(&mut self) {
        self.urgent = self.ring.len;
    }

    /// Just past the last urgent byte, in bytes from the front.
    pub fn urgent(&self) -> Option<usize> {
        (self.urgent > 0).then_some(self.urgent)
    }

    /// Takes no more memory than for what is held: the next bytes will be few, or come late.
    pub fn fit(&mut self, pool: &mut Pool) {
        self.ring.fit(pool);
    }

    /// How much memory it has, in bytes.
    pub(super) fn capacity(&self) -> usize {
        self.ring.capacity
    }

    /// Gives the memory back if no bytes are held.
    #[inline]
    pub fn release_if_empty(&mut self, pool: &mut Pool) {
        self.ring.release_if_empty(pool);
    }

    /// Drops `n` acknowledged bytes from the front.
    pub(super) fn consume(&mut self, n: usize, pool: &mut Pool) {
        self.ring.consume(n);
        self.urgent = self.urgent.saturating_sub(n);
        self.ring.release_if_empty(pool);
    }

    /// No more bytes are taken from now on.
    pub(super) fn close(&mut self) {
        self.closed = true;
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed
    }

    /// Drops everything and gives the memory back.
    pub(crate) fn release(&mut self, pool: &mut Pool) {
        self.urgent = 0;
        self.ring.release(pool);
    }
}

/// Bytes from the guest: those in order that the host has not taken, and behind them those that came early.
#[derive(Debug, Default)]
pub struct RecvBuffer {
    ring: Ring,
    /// Just past the last urgent byte, in bytes from the front, which may be more than has arrived; 0 without urgent data.
    urgent: usize,
}

impl RecvBuffer {
    /// How many bytes are in order.
    pub fn len(&self) -> usize {
        self.ring.len
    }

    /// Whether no byte in order waits for the host.
    pub fn is_empty(&self) -> bool {
        self.ring.len == 0
    }

    /// Whether neither a byte in order waits for the host nor an urgent one is on its way.
    #[inline]
    pub(super) fn is_bare(&self) -> bool {
        self.ring.len == 0 && self.urgent == 0
    }

    /// The bytes in order, in one or two parts.
    pub fn slices(&self) -> (&[u8], &[u8]) {
        self.ring.slices(0, self.ring.len)
    }

    /// Just past the last urgent byte, in bytes from the front, never more than [`RecvBuffer::len`]. `None` as well while
    /// the last urgent byte has not arrived: what comes before it is ordinary data for the host.
    pub fn urgent(&self) -> Option<usize> {
        (self.urgent > 0 && self.urgent <= self.ring.len).then_some(self.urgent)
    }

    /// Appends bytes in order and returns how many there was memory for.
    #[inline]
    pub(super) fn push(&mut self, data: &[u8], pool: &mut Pool) -> usize {
        let fits = self.reserve(self.ring.len.saturating_add(data.len()), pool).saturating_sub(self.ring.len);
        let data = data.get(..fits).unwrap_or(data);
        self.ring.write(self.ring.len, data);
        self.ring.commit(data.len());
        data.len()
    }

    /// The place for the next `len` bytes, which [`RecvBuffer::commit`] takes over. `None` when nothing but an ordinary
    /// [`RecvBuffer::push`] will do: there is no memory, it is not in one piece, was never written, or bytes that came early
    /// lie there.
    #[inline]
    pub(super) fn place(&mut self, len: usize, pool: &mut Pool) -> Option<&mut [u8]> {
        let held = self.ring.len;
        if self.ring.extent != held || !self.ring.reserve(held.saturating_add(len), pool) {
            return None;
        }
        let Some(place) = self.ring.piece(held, len) else {
            self.ring.release_if_empty(pool);
            return None;
        };
        self.ring.written(place)
    }

    /// What was copied to [`RecvBuffer::place`] is not to be taken over.
    pub(super) fn forget_place(&mut self, pool: &mut Pool) {
        self.ring.release_if_empty(pool);
    }

    /// Makes room for `total` bytes from the front and returns how many of them there is room for.
    #[inline]
    pub(super) fn reserve(&mut self, total: usize, pool: &mut Pool) -> usize {
        if !self.ring.reserve(total, pool) {
            self.ring.reserve(total.min(LEAST), pool);
        }
        total.min(self.ring.capacity)
    }

    /// Writes bytes that came early, `offset` bytes behind those in order, where `reserve` made room.
    pub(super) fn write_ahead(&mut self, offset: usize, data: &[u8]) {
        self.ring.write(self.ring.len.saturating_add(offset), data);
    }

    /// Counts `n` bytes that were written ahead as in order.
    pub(super) fn commit(&mut self, n: usize) {
        self.ring.commit(n);
    }

    /// Drops what was written ahead.
    pub(super) fn forget_ahead(&mut self, pool: &mut Pool) {
        self.ring.extent = self.ring.len;
        self.ring.release_if_empty(pool);
    }

    /// Sets the end of urgent data, in bytes from the front, if it is later than the one known.
    pub(super) fn set_urgent(&mut self, end: usize) {
        self.urgent = self.urgent.max(end);
    }

    /// Drops `n` bytes from the front.
    pub(super) fn consume(&mut self, n: usize, pool: &mut Pool) {
        let n = n.min(self.ring.len);
        self.ring.consume(n);
        self.urgent = self.urgent.saturating_sub(n);
        self.ring.release_if_empty(pool);
    }

    /// Takes no more memory than for what is held.
    pub(super) fn fit(&mut self, pool: &mut Pool) {
        self.ring.fit(pool);
    }

    /// How much memory it has, in bytes.
    pub(super) fn capacity(&self) -> usize {
        self.ring.capacity
    }

    pub(super) fn release(&mut self, pool: &mut Pool) {
        self.urgent = 0;
        self.ring.release(pool);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::*;
    use proptest::prelude::*;

    fn joined(slices: (&[u8], &[u8])) -> Vec<u8> {
        [slices.0, slices.1].concat()
    }

    #[test]
    fn slabs_come_back_and_are_used_again() {
        let mut pool = Pool::new();
        let mut buffer = RecvBuffer::default();
        assert_eq!(buffer.push(b"hello", &mut pool), 5);
        assert_eq!(pool.lent(), LEAST);
        let address = buffer.slices().0.as_ptr();
        buffer.consume(5, &mut pool);
        assert_eq!((pool.lent(), buffer.ring.capacity), (0, 0));
        buffer.push(b"again", &mut pool);
        assert_eq!(buffer.slices().0.as_ptr(), address);
        assert_eq!(buffer.slices().0, b"again");
    }

    #[test]
    fn a_gap_at_the_end_of_a_slab_survives_growing() {
        let mut pool = Pool::new();
        let mut buffer = RecvBuffer::default();
        buffer.push(&[1; 16_000], &mut pool);
        buffer.push(b"!", &mut pool);
        buffer.consume(16_000, &mut pool);
        // The bytes around the end of the slab are missing while it grows.
        buffer.reserve(1000, &mut pool);
        buffer.write_ahead(600, b"ahead");
        buffer.reserve(20_000, &mut pool);
        buffer.write_ahead(0, &[2; 600]);
        buffer.commit(605);
        assert_eq!(joined(buffer.slices()), [&b"!"[..], &[2; 600], b"ahead"].concat());
    }

    #[test]
    fn a_buffer_starts_with_what_it_needed_before() {
        let mut pool = Pool::new();
        let mut buffer = RecvBuffer::default();
        buffer.push(&[1; 60_000], &mut pool);
        buffer.consume(60_000, &mut pool);
        buffer.push(b"x", &mut pool);
        assert_eq!(pool.lent(), 64 << 10);
        buffer.consume(1, &mut pool);
        buffer.push(b"x", &mut pool);
        assert_eq!(pool.lent(), 64 << 10, "nor is that forgotten at once");
        for _ in 0..16 {
            buffer.consume(1, &mut pool);
            buffer.push(b"x", &mut pool);
        }
        assert_eq!(pool.lent(), 16 << 10, "but not kept for ever");
        let mut pool = Pool::with_budget(16 << 10);
        buffer.ring.peak = 60_000;
        buffer.consume(1, &mut Pool::new());
        assert_eq!(buffer.push(b"x", &mut pool), 1, "nor when there is not so much");
    }

    #[test]
    fn no_more_is_kept_than_was_lent_at_a_time() {
        let mut pool = Pool::new();
        for size in [1, 100 << 10] {
            let slabs: Vec<_> = (0..1000).map(|_| pool.take(size).unwrap()).collect();
            slabs.into_iter().for_each(|(slab, capacity)| pool.give(slab, capacity));
        }
        assert_eq!((pool.lent(), pool.peak()), (0, 1000 * (128 << 10)));
        assert_eq!(pool.free[0].len(), 1000);
        assert!(pool.kept <= pool.peak() && pool.kept + (128 << 10) > pool.peak());
    }

    #[test]
    fn the_budget_bounds_what_is_lent() {
        let mut pool = Pool::with_budget(64 << 10);
        let mut large = SendBuffer::default();
        let (first, _) = large.spaces(64 << 10, 1 << 20, &mut pool);
        assert_eq!(first.len(), 64 << 10);
        large.commit(64 << 10);
        assert_eq!(large.push(b"x", 1 << 20, &mut pool), 0, "the next size is above the budget");
        let mut small: Vec<_> = (0..5).map(|_| SendBuffer::default()).collect();
        let pushed: Vec<_> = small.iter_mut().map(|buffer| buffer.push(&[1; 20_000], 1 << 20, &mut pool)).collect();
        assert_eq!(pushed, [16384, 16384, 16384, 16384, 0]);
        assert_eq!(pool.lent(), 128 << 10);
        large.consume(64 << 10, &mut pool);
        assert_eq!(small[4].push(&[1; 20_000], 1 << 20, &mut pool), 16384);
    }

    #[test]
    fn buffers_share_the_less_the_more_there_are() {
        let mut pool = Pool::new();
        assert_eq!(pool.share(), Pool::MAX_BUFFER);
        let mut buffers: Vec<_> = (0..501).map(|_| SendBuffer::default()).collect();
        // Everybody takes as much as there is to be had whenever something was acknowledged.
        for round in 0..3 {
            for (index, buffer) in buffers.iter_mut().enumerate() {
                if round == 0 || index % 2 == round % 2 {
                    let share = pool.share();
                    buffer.push(&vec![1; share], share, &mut pool);
                    if buffer.len() > 1 {
                        buffer.consume(buffer.len() - 1, &mut pool);
                    }
                    let share = pool.share();
                    buffer.push(&vec![1; share], share, &mut pool);
                }
            }
        }
        assert_eq!((pool.slabs, pool.share()), (501, 32 << 10));
        assert!(pool.lent() <= 501 * (32 << 10), "{} bytes are lent", pool.lent());
        for buffer in &mut buffers[1..] {
            buffer.release(&mut pool);
        }
        assert_eq!((pool.slabs, pool.share()), (1, Pool::MAX_BUFFER), "it comes back with the end of the load");
        buffers[0].release(&mut pool);
        assert_eq!(pool.lent(), 0);
        let kept = |pool: &Pool| pool.free.iter().flatten().map(Vec::capacity).sum::<usize>();
        assert_eq!(pool.kept, kept(&pool));
        assert!(pool.kept <= pool.peak(), "what is kept is bounded");
        pool.free_unused(drop);
        assert_eq!(pool.kept, kept(&pool));
        pool.free_unused(drop);
        assert_eq!((pool.kept, kept(&pool), pool.peak()), (0, 0, 0));
    }

    #[test]
    fn a_buffer_that_holds_more_than_its_share_moves_when_it_holds_less() {
        let mut pool = Pool::new();
        let mut first = SendBuffer::default();
        let bytes: Vec<u8> = (0..1 << 20).map(|n| (n / 7) as u8).collect();
        first.push(&bytes, 1 << 20, &mut pool);
        let mut others: Vec<_> = (0..200).map(|_| SendBuffer::default()).collect();
        others.iter_mut().for_each(|buffer| assert_eq!(buffer.push(b"x", 1 << 20, &mut pool), 1));
        let share = pool.share();
        assert_eq!((share, first.ring.capacity), (64 << 10, 1 << 20));
        first.consume((1 << 20) - share / 2 - 1, &mut pool);
        assert_eq!(first.ring.capacity, 1 << 20);
        first.consume(1, &mut pool);
        assert_eq!(first.ring.capacity, share);
        assert_eq!(joined(first.slices(0, share)), bytes[(1 << 20) - share / 2..]);
    }

    #[test]
    fn what_is_held_for_long_takes_no_more_than_it_needs() {
        let mut pool = Pool::new();
        let mut buffer = SendBuffer::default();
        let bytes: Vec<u8> = (0..600_000).map(|n| (n / 7) as u8).collect();
        buffer.push(&bytes, 1 << 20, &mut pool);
        buffer.fit(&mut pool);
        assert_eq!(pool.lent(), 1 << 20, "it needs all of it");
        buffer.consume(550_000, &mut pool);
        assert_eq!(pool.lent(), 1 << 20);
        buffer.fit(&mut pool);
        assert_eq!(pool.lent(), 64 << 10);
        assert_eq!(joined(buffer.slices(0, 50_000)), bytes[550_000..]);
        buffer.consume(50_000, &mut pool);
        buffer.fit(&mut pool);
        buffer.push(b"x", 1 << 20, &mut pool);
        assert_eq!(pool.lent(), LEAST, "what it held before it stood still says nothing of what comes");
    }

    #[test]
    fn a_buffer_that_may_hold_little_starts_with_little() {
        let mut pool = Pool::new();
        let mut buffer = SendBuffer::default();
        buffer.push(&[1; 600_000], 1 << 20, &mut pool);
        buffer.consume(600_000, &mut pool);
        buffer.push(b"x", 64 << 10, &mut pool);
        assert_eq!(pool.lent(), 64 << 10);
    }

    #[test]
    fn a_closed_send_buffer_takes_nothing() {
        let mut pool = Pool::new();
        let mut buffer = SendBuffer::default();
        buffer.push(b"abc", 100, &mut pool);
        buffer.close();
        assert_eq!(buffer.push(b"d", 100, &mut pool), 0);
        buffer.commit(3);
        assert_eq!(joined(buffer.slices(0, 10)), b"abc");
    }

    #[test]
    fn urgent_marks_move_with_the_front() {
        let mut pool = Pool::new();
        let mut buffer = RecvBuffer::default();
        buffer.push(b"abc", &mut pool);
        buffer.set_urgent(5);
        assert_eq!(buffer.urgent(), None, "its last byte has not come");
        buffer.push(b"defg", &mut pool);
        assert_eq!(buffer.urgent(), Some(5));
        buffer.consume(4, &mut pool);
        assert_eq!(buffer.urgent(), Some(1));
        buffer.consume(1, &mut pool);
        assert_eq!(buffer.urgent(), None);
        let mut buffer = SendBuffer::default();
        buffer.push(b"abc", 100, &mut pool);
        buffer.mark_urgent();
        buffer.consume(2, &mut pool);
        assert_eq!(buffer.urgent(), Some(1));
        buffer.consume(1, &mut pool);
        assert_eq!(buffer.urgent(), None);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn a_send_buffer_is_a_queue(steps in proptest::collection::vec((any::<bool>(), 0usize..30_000), 1..60)) {
            const LIMIT: usize = 70_000;
            let mut pool = Pool::new();
            let mut buffer = SendBuffer::default();
            let mut model = VecDeque::new();
            let mut next = 0u8;
            for (push, n) in steps {
                if push {
                    let data: Vec<u8> = (0..n).map(|_| { next = next.wrapping_mul(5).wrapping_add(7); next }).collect();
                    let taken = buffer.push(&data, LIMIT, &mut pool);
                    prop_assert_eq!(taken, n.min(LIMIT - model.len()));
                    model.extend(&data[..taken]);
                } else {
                    buffer.consume(n, &mut pool);
                    model.drain(..n.min(model.len()));
                }
                prop_assert_eq!(buffer.len(), model.len());
                let offset = n % (model.len() + 1);
                let expected: Vec<u8> = model.iter().skip(offset).take(5000).copied().collect();
                prop_assert_eq!(joined(buffer.slices(offset, 5000)), expected);
                prop_assert_eq!(pool.lent() == 0, model.is_empty());
            }
        }

        #[test]
        fn bytes_written_ahead_become_the_stream(
            steps in proptest::collection::vec((0usize..20_000, 1usize..9_000, 0usize..9_000), 1..40)
        ) {
            // Each step writes the later part of a stretch ahead, then the earlier part, then takes some from the front.
            let mut pool = Pool::new();
            let mut buffer = RecvBuffer::default();
            let mut model = VecDeque::new();
            let mut next = 0u8;
            for (gap, ahead, take) in steps {
                let mut bytes = |n: usize| -> Vec<u8> {
                    (0..n).map(|_| { next = next.wrapping_mul(5).wrapping_add(7); next }).collect()
                };
                let (early, late) = (bytes(gap), bytes(ahead));
                prop_assert_eq!(buffer.reserve(buffer.len() + gap + ahead, &mut pool), buffer.len() + gap + ahead);
                buffer.write_ahead(gap, &late);
                buffer.write_ahead(0, &early);
                buffer.commit(gap + ahead);
                model.extend(early);
                model.extend(late);
                buffer.consume(take, &mut pool);
                model.drain(..take.min(model.len()));
                prop_assert_eq!(joined(buffer.slices()), model.iter().copied().collect::<Vec<_>>());
            }
        }
    }
}
