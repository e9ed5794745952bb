//! The outbox: frames on their way to the guest, one behind the other in one buffer.
//!
//! Whoever drives the engine takes the frames out after each step. The buffer is kept from step to step, so that sending
//! a frame allocates nothing once it has grown to the size of a step.

use std::ops::Range;

use crate::wire::header::MIN_FRAME_LEN;

/// What the buffer is shrunk to when a step made it larger.
const KEEP: usize = 1024 * 1024;
/// What the shortest frame costs, in either kind of queue.
pub(crate) const LEAST_COST: u64 = 256;

/// Frames on their way to the guest.
#[derive(Debug)]
pub struct Outbox {
    /// The longest frame that the link carries. One that is longer is not sent, as on any Ethernet.
    longest: usize,
    /// Initialised up to its length, of which the first `used` bytes are frames.
    bytes: Vec<u8>,
    used: usize,
    /// Where each frame ends.
    ends: Vec<usize>,
    /// What the frames cost together, as the queue has it that they go into.
    cost: u64,
    pricing: Pricing,
    /// Frames that were ever added, and their bytes.
    frames_ever: u64,
    bytes_ever: u64,
    /// Of them those that were taken back, and their bytes.
    frames_back: u64,
    bytes_back: u64,
}

/// How the queue behind the application counts a frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Pricing {
    /// Nobody knows what it is. A pipe counts bytes and uses at least half of each page; and 64 KiB of cost are no more than
    /// sockets hold either.
    #[default]
    Any,
    /// It is no pipe. Sockets of Linux count the memory that a frame lies in, a power of two of its length and 320 bytes, and 256
    /// more: 64 KiB of cost are 200 KiB of theirs, which is less than they hold (208 KiB). A frame of an Ethernet costs half
    /// of what it costs a pipe.
    Sockets,
}

/// What sockets add to a frame before they look for a place for it, and behind that.
const SOCKET_HEAD: u64 = 384;
const SOCKET_OWN: u64 = 256;

impl Pricing {
    /// What a frame of `length` bytes costs.
    #[inline]
    pub(crate) fn cost(self, length: usize) -> u64 {
        let length = length as u64;
        match (self, length) {
            (_, 0..=128) => LEAST_COST,
            (Pricing::Any, 129..=640) => length.max(416),
            (Pricing::Any, 641..=740) => 740,
            (Pricing::Any, _) => length,
            (Pricing::Sockets, _) => ((length + SOCKET_HEAD).next_power_of_two() + SOCKET_OWN) * 8 / 25,
        }
    }

    /// The least that frames cost which carry so many bytes and are no longer than `longest` each.
    pub(crate) fn least(self, bytes: u64, longest: usize) -> u64 {
        match self {
            Pricing::Any => bytes,
            Pricing::Sockets => {
                // The longest one with the same cost carries most for it.
                let place = (longest as u64 + SOCKET_HEAD).next_power_of_two();
                bytes.saturating_mul((place + SOCKET_OWN) * 8 / 25) / (place - SOCKET_HEAD)
            }
        }
    }
}

impl Default for Outbox {
    fn default() -> Outbox {
        Outbox::new(usize::MAX)
    }
}

impl Outbox {
    /// For a link that carries frames up to this length, whoever makes them.
    pub fn new(longest: usize) -> Outbox {
        Outbox {
            longest,
            bytes: Vec::new(),
            used: 0,
            ends: Vec::new(),
            cost: 0,
            pricing: Pricing::default(),
            frames_ever: 0,
            bytes_ever: 0,
            frames_back: 0,
            bytes_back: 0,
        }
    }

    /// Whether there is no frame.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// How many frames there are.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// What the frames cost together.
    pub fn cost(&self) -> u64 {
        self.cost
    }

    /// What a frame of so many bytes would cost.
    #[inline]
    pub(crate) fn cost_of(&self, length: usize) -> u64 {
        self.pricing.cost(length)
    }

    /// How frames are counted from now on, once there are none that were counted otherwise.
    #[inline]
    pub(crate) fn price(&mut self, pricing: Pricing) {
        if self.is_empty() {
            self.pricing = pricing;
        }
    }

    /// How long the frame at a place in the order is; 0 when there is none.
    pub fn length(&self, at: usize) -> usize {
        let start = at.checked_sub(1).and_then(|before| self.ends.get(before)).copied().unwrap_or(0);
        self.ends.get(at).map_or(0, |end| end - start)
    }

    /// How many bytes the frames at these places have together.
    pub fn bytes_of(&self, range: Range<usize>) -> usize {
        let end_of = |count: usize| count.checked_sub(1).and_then(|at| self.ends.get(at)).copied().unwrap_or(0);
        end_of(range.end).saturating_sub(end_of(range.start))
    }

    /// How many bytes the frames have together.
    pub fn bytes(&self) -> usize {
        self.used
    }

    /// How many frames were ever added.
    pub fn frames_ever(&self) -> u64 {
        self.frames_ever
    }

    /// How many bytes they had together.
    pub fn bytes_ever(&self) -> u64 {
        self.bytes_ever
    }

    /// How many frames were ever added and not taken back, and their bytes.
    pub(crate) fn kept_ever(&self) -> (u64, u64) {
        (self.frames_ever - self.frames_back, self.bytes_ever - self.bytes_back)
    }

    /// Exchanges the frames for those of another outbox. The counts, and what the link carries, stay.
    pub fn swap_frames(&mut self, other: &mut Outbox) {
        std::mem::swap(&mut self.bytes, &mut other.bytes);
        std::mem::swap(&mut self.used, &mut other.used);
        std::mem::swap(&mut self.ends, &mut other.ends);
        std::mem::swap(&mut self.cost, &mut other.cost);
        std::mem::swap(&mut self.pricing, &mut other.pricing);
    }

    /// Adds a frame of `length` bytes that `write` fills in; what it leaves alone is unspecified. A frame shorter than
    /// the least of Ethernet is padded with zeros. When `write` gives `None`, or the link carries no frame as long,
    /// nothing is added.
    pub fn push<T>(&mut self, length: usize, write: impl FnOnce(&mut [u8]) -> Option<T>) -> Option<T> {
        if length > self.longest {
            return None;
        }
        let padded = length.max(MIN_FRAME_LEN);
        let end = self.used.checked_add(padded)?;
        if self.bytes.len() < end {
            self.bytes.resize(end.next_power_of_two(), 0);
        }
        let place = self.bytes.get_mut(self.used..end)?;
        if length < MIN_FRAME_LEN
            && let Some(shortest) = place.first_chunk_mut::<MIN_FRAME_LEN>()
        {
            *shortest = [0; MIN_FRAME_LEN];
        }
        let written = write(place.get_mut(..length)?)?;
        self.used = end;
        self.ends.push(end);
        self.cost += self.pricing.cost(padded);
        self.frames_ever += 1;
        self.bytes_ever += padded as u64;
        Some(written)
    }

    /// Takes the last frame back out.
    pub fn pop(&mut self) -> Option<Vec<u8>> {
        let frame = self.last()?.to_vec();
        self.drop_last();
        Some(frame)
    }

    /// The same when it is not wanted.
    pub fn drop_last(&mut self) {
        if self.ends.pop().is_some() {
            let start = self.ends.last().copied().unwrap_or(0);
            self.cost -= self.pricing.cost(self.used - start);
            self.frames_back += 1;
            self.bytes_back += (self.used - start) as u64;
            self.used = start;
        }
    }

    /// The last frame.
    pub fn last(&self) -> Option<&[u8]> {
        let end = *self.ends.last()?;
        let start = self.ends.len().checked_sub(2).and_then(|before| self.ends.get(before)).copied().unwrap_or(0);
        self.bytes.get(start..end)
    }

    /// The frames, oldest first.
    pub fn frames(&self) -> impl Iterator<Item = &[u8]> {
        self.some(0..self.ends.len())
    }

    /// The frames at these places in the order.
    pub fn some(&self, range: Range<usize>) -> impl Iterator<Item = &[u8]> {
        let start = range.start.checked_sub(1).and_then(|before| self.ends.get(before)).copied().unwrap_or(0);
        self.ends.get(range).unwrap_or_default().iter().scan(start, |start, &end| {
            let frame = self.bytes.get(*start..end);
            *start = end;
            frame
        })
    }

    /// Forgets the frames.
    pub fn clear(&mut self) {
        self.used = 0;
        self.cost = 0;
        self.ends.clear();
        if self.bytes.len() > KEEP {
            self.bytes.truncate(KEEP);
            self.bytes.shrink_to(KEEP);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_frames_are_padded_with_zeros_even_over_old_bytes() {
        let mut outbox = Outbox::default();
        outbox.push(100, |frame| {
            frame.fill(0xaa);
            Some(())
        });
        outbox.clear();
        outbox.push(42, |frame| {
            frame.fill(0xbb);
            Some(())
        });
        outbox.push(61, |frame| {
            frame.fill(0xcc);
            Some(())
        });
        let frames: Vec<&[u8]> = outbox.frames().collect();
        assert_eq!(frames.len(), 2);
        assert_eq!((frames[0].len(), &frames[0][41..44]), (60, &[0xbb, 0, 0][..]));
        assert_eq!(frames[1], [0xcc; 61]);
    }

    #[test]
    fn a_limit_in_cost_is_one_for_sockets_as_well() {
        for length in 60..=66_000_usize {
            let sockets = (length + 384).next_power_of_two().max(512) + 256;
            for pricing in [Pricing::Any, Pricing::Sockets] {
                let frames = (64 * 1024_u64 / pricing.cost(length)).max(1);
                assert!(frames == 1 || frames * sockets as u64 <= 212_992, "{frames} frames of {length}, {pricing:?}");
            }
            let (any, sockets) = (Pricing::Any.cost(length), Pricing::Sockets.cost(length));
            assert!(sockets <= any && any < 4 * sockets, "{length}");
        }
    }

    #[test]
    fn what_frames_carry_costs_at_least_so_much() {
        for longest in [60, 590, 1514, 4014, 9014, 16_398, 65_535] {
            for length in (60..=longest).step_by(7).chain([longest]) {
                for pricing in [Pricing::Any, Pricing::Sockets] {
                    let least = pricing.least(length as u64 - 54, longest);
                    assert!(least <= pricing.cost(length), "{length} of {longest}: {least}, {pricing:?}");
                }
            }
        }
        // Not so little that it proves nothing.
        assert!(Pricing::Sockets.least(1460, 1514) * 5 > Pricing::Sockets.cost(1514) * 4);
    }

    #[test]
    fn the_last_frame_can_be_taken_back_and_a_failed_one_leaves_no_trace() {
        let mut outbox = Outbox::default();
        outbox.push(60, |frame| {
            frame.fill(1);
            Some(())
        });
        assert_eq!(outbox.push(70, |_| None::<()>), None);
        outbox.push(80, |frame| {
            frame.fill(2);
            Some(())
        });
        assert_eq!(outbox.pop(), Some(vec![2; 80]));
        assert_eq!(outbox.frames().collect::<Vec<_>>(), [[1; 60]]);
        assert_eq!(outbox.pop().map(|frame| frame.len()), Some(60));
        assert_eq!(outbox.pop(), None);
        assert_eq!((outbox.is_empty(), outbox.cost(), outbox.kept_ever()), (true, 0, (0, 0)));
    }
}
