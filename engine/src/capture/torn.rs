//! The block of which a file has a part only, because it took no more: what is to be taken back where the rest never comes.

/// How long the first block of these bytes is, which may go on behind them.
pub(super) type BlockLength = fn(&[u8]) -> usize;

/// What is known of blocks.
#[derive(Clone, Copy)]
pub(super) struct Blocks {
    pub(super) length: BlockLength,
    /// Whether one is what there was to record, and does not stand beside that.
    pub(super) counts: fn(&[u8]) -> bool,
}

/// See the module.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Torn {
    /// So much of it is in the file. None of a block, where nothing is torn.
    pub(super) there: usize,
    /// So much is left, which is what is written next.
    pub(super) rest: usize,
}

impl Torn {
    /// A block of which so many bytes are in the file, of so many.
    pub(super) fn of(there: usize, length: usize) -> Torn {
        if (1..length).contains(&there) { Torn { there, rest: length - there } } else { Torn::default() }
    }

    /// Of these bytes, which are the rest of the torn block and whole ones behind it, so many were written.
    pub(super) fn after(self, bytes: &[u8], written: usize, length: BlockLength) -> Torn {
        if written >= bytes.len() {
            return Torn::default();
        }
        if written < self.rest {
            return Torn::of(self.there + written, self.there + self.rest);
        }
        let mut begins = self.rest;
        loop {
            let long = length(bytes.get(begins..).unwrap_or_default());
            // A length of nothing is nobody's, and would go on for ever.
            if long == 0 || begins.saturating_add(long) > written {
                return Torn::of(written - begins, long);
            }
            begins += long;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_torn_is_known_wherever_the_writing_stops() {
        // The first byte of a block is its length.
        let length: BlockLength = |bytes| bytes.first().map_or(0, |length| usize::from(*length));
        let blocks = [vec![1], vec![4, 0, 0, 0], vec![2, 0], vec![9, 9, 9, 9, 9, 9, 9, 9, 9]];
        let bytes = blocks.concat();
        let torn_at = |end: usize| {
            let mut begins = 0;
            let block = blocks.iter().find(|block| {
                let is_it = end < begins + block.len();
                begins += if is_it { 0 } else { block.len() };
                is_it
            });
            block.map_or(Torn::default(), |block| Torn::of(end - begins, block.len()))
        };
        for first in 0..=bytes.len() {
            let torn = Torn::default().after(&bytes, first, length);
            assert_eq!(torn.there, torn_at(first).there, "{first}");
            for second in 0..=bytes.len() - first {
                let again = torn.after(&bytes[first..], second, length);
                assert_eq!(again.there, torn_at(first + second).there, "{first} and {second}");
            }
        }
        assert_eq!(Torn::default().after(&[0, 0], 1, length), Torn::default(), "it ends");
    }
}
