//! Which bytes beyond the next expected one have arrived. The bytes themselves lie in the receive buffer.

use crate::tcp::seq::SeqNumber;

/// Separate ranges kept at one time: so many, and one more for each so many bytes that they span, enough for the holes of a
/// long path's window; a peer that sends single bytes cannot have more memory spent on ranges than on bytes. What would make
/// one more is refused: the peer sends it again.
const MIN_RANGES: usize = 64;
const BYTES_PER_RANGE: usize = 512;
const MAX_RANGES: usize = 4096;

/// Ranges of sequence numbers that came early, and the place of a FIN that did.
///
/// The ranges are sorted, apart from each other and not empty. The next expected number is the start of no range for
/// longer than one call: what has become in order is taken out with [`Assembler::take_in_order`].
#[derive(Debug, Default)]
pub(crate) struct Assembler {
    /// The first number of a range and the one after its last.
    ranges: Vec<(SeqNumber, SeqNumber)>,
    /// Where what arrived last begins, and what arrived before it.
    recent: [SeqNumber; 4],
    /// The FIN's own sequence number.
    fin: Option<SeqNumber>,
}

impl Assembler {
    /// Whether nothing is kept.
    pub(crate) fn is_empty(&self) -> bool {
        self.ranges.is_empty() && self.fin.is_none()
    }

    /// The FIN's own sequence number, if one arrived.
    pub(crate) fn fin(&self) -> Option<SeqNumber> {
        self.fin
    }

    /// Remembers a FIN. The first one counts.
    pub(crate) fn set_fin(&mut self, at: SeqNumber) {
        self.fin.get_or_insert(at);
    }

    /// Adds the bytes from `start` up to `end` and calls `write` for each part that had not arrived before: the first
    /// arrival of a byte wins. Returns false, without a call, when there are too many ranges; bytes at `next`, the next
    /// expected number, are never refused.
    pub(crate) fn insert(
        &mut self,
        next: SeqNumber,
        start: SeqNumber,
        end: SeqNumber,
        mut write: impl FnMut(SeqNumber, SeqNumber),
    ) -> bool {
        if !start.lt(end) {
            return true;
        }
        self.recent.rotate_right(1);
        self.recent[0] = start;
        // Ranges first..last touch or overlap the new one.
        let first = self.ranges.partition_point(|range| range.1.lt(start));
        let touching = self.ranges.iter().skip(first).take_while(|range| range.0.le(end)).count();
        if touching == 0 {
            let span = self.end().map_or(end, |last| last.max(end)).distance(next) as usize;
            if self.ranges.len() >= (MIN_RANGES + span / BYTES_PER_RANGE).min(MAX_RANGES) && start != next {
                return false;
            }
            write(start, end);
            self.ranges.insert(first, (start, end));
            return true;
        }
        let mut merged = (start, end);
        let mut cursor = start;
        for range in self.ranges.iter().skip(first).take(touching) {
            if cursor.lt(range.0) {
                write(cursor, range.0);
            }
            cursor = cursor.max(range.1);
            merged = (merged.0.min(range.0), merged.1.max(range.1));
        }
        if cursor.lt(end) {
            write(cursor, end);
        }
        if let Some(range) = self.ranges.get_mut(first) {
            *range = merged;
        }
        self.ranges.drain(first + 1..first + touching);
        true
    }

    /// Takes out the range that starts at `next`, the next expected number, and returns its length.
    pub(crate) fn take_in_order(&mut self, next: SeqNumber) -> u32 {
        match self.ranges.first() {
            Some(&(start, end)) if start.le(next) => {
                self.ranges.remove(0);
                end.distance(next)
            }
            _ => 0,
        }
    }

    /// How many ranges are kept.
    pub(crate) fn len(&self) -> usize {
        self.ranges.len()
    }

    /// The range that holds what arrived last, then those of what arrived before it, then others: the order in which RFC
    /// 2018 section 4 has them reported.
    pub(crate) fn newest_first(&self) -> impl Iterator<Item = (SeqNumber, SeqNumber)> {
        let holding = |at: SeqNumber| {
            let index = self.ranges.partition_point(|range| range.1.le(at));
            self.ranges.get(index).is_some_and(|range| range.0.le(at)).then_some(index)
        };
        let recent = self.recent.map(holding);
        let is_new = move |nth: usize, found: &usize| !recent.iter().take(nth).any(|before| *before == Some(*found));
        let known =
            recent.into_iter().enumerate().filter_map(move |(nth, found)| found.filter(|found| is_new(nth, found)));
        let others = (0..self.ranges.len()).rev().filter(move |index| !recent.contains(&Some(*index)));
        known.chain(others).filter_map(|index| self.ranges.get(index).copied())
    }

    /// The number after the last one that arrived, if any range is kept.
    pub(crate) fn end(&self) -> Option<SeqNumber> {
        self.ranges.last().map(|range| range.1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn insert(assembler: &mut Assembler, start: u32, end: u32) -> Option<Vec<(u32, u32)>> {
        let mut written = Vec::new();
        let taken = assembler.insert(SeqNumber(0), SeqNumber(start), SeqNumber(end), |a, b| written.push((a.0, b.0)));
        taken.then_some(written)
    }

    #[test]
    fn only_new_parts_are_written() {
        let mut assembler = Assembler::default();
        assert_eq!(insert(&mut assembler, 10, 20), Some(vec![(10, 20)]));
        assert_eq!(insert(&mut assembler, 30, 40), Some(vec![(30, 40)]));
        assert_eq!(insert(&mut assembler, 5, 45), Some(vec![(5, 10), (20, 30), (40, 45)]));
        assert_eq!(insert(&mut assembler, 12, 13), Some(vec![]));
        assert_eq!(insert(&mut assembler, 45, 50), Some(vec![(45, 50)]));
        assert_eq!(assembler.ranges, [(SeqNumber(5), SeqNumber(50))]);
        assert_eq!(assembler.take_in_order(SeqNumber(0)), 0);
        assert_eq!(assembler.take_in_order(SeqNumber(5)), 45);
        assert!(assembler.is_empty());
    }

    #[test]
    fn ranges_are_bounded_but_the_next_byte_is_taken() {
        let mut assembler = Assembler::default();
        for index in 1..=MIN_RANGES as u32 {
            assert!(insert(&mut assembler, index * 4, index * 4 + 1).is_some());
        }
        assert_eq!(insert(&mut assembler, 500, 501), None);
        assert!(insert(&mut assembler, 512, 513).is_some(), "what lies further on has room for more");
        assert_eq!(insert(&mut assembler, 500, 501), None);
        assert_eq!(insert(&mut assembler, 5, 6), Some(vec![(5, 6)]), "growing a range needs no new one");
        assert_eq!(insert(&mut assembler, 0, 3), Some(vec![(0, 3)]));
        assert_eq!(assembler.take_in_order(SeqNumber(0)), 3);
    }

    #[test]
    fn the_first_fin_counts() {
        let mut assembler = Assembler::default();
        assembler.set_fin(SeqNumber(7));
        assembler.set_fin(SeqNumber(9));
        assert_eq!(assembler.fin(), Some(SeqNumber(7)));
        assert!(!assembler.is_empty());
    }

    proptest! {
        #[test]
        fn agrees_with_a_map_of_bytes(
            base: u32,
            steps in proptest::collection::vec((0u32..300, 1u32..40, any::<bool>()), 1..80),
        ) {
            let mut assembler = Assembler::default();
            let mut map = [false; 400];
            let mut next = 0u32;
            for (offset, length, take) in steps {
                let (start, end) = (offset.max(next), (offset + length).max(next));
                let mut written = Vec::new();
                let at = |n: u32| SeqNumber(base) + n;
                let taken = assembler.insert(at(next), at(start), at(end), |a, b| {
                    written.extend((a.distance(at(0))..b.distance(at(0))).map(|n| n as usize));
                });
                prop_assert!(taken);
                let expected: Vec<usize> = (start as usize..end as usize).filter(|&n| !map[n]).collect();
                prop_assert_eq!(written, expected);
                map[start as usize..end as usize].fill(true);
                prop_assert!(assembler.ranges.windows(2).all(|pair| pair[0].1.lt(pair[1].0)));
                if take {
                    let run = map[next as usize..].iter().take_while(|&&there| there).count() as u32;
                    prop_assert_eq!(assembler.take_in_order(at(next)), run);
                    next += run;
                }
                let kept: u32 = assembler.ranges.iter().map(|range| range.1.distance(range.0)).sum();
                prop_assert_eq!(kept as usize, map[next as usize..].iter().filter(|&&there| there).count());
            }
        }
    }
}
