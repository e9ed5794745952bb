//! Sequence numbers: 32 bits that wrap, compared within half of their range (RFC 9293 section 3.4).

use std::fmt;
use std::ops::{Add, AddAssign, Sub};

/// A sequence or acknowledgment number. Comparisons are right while the two numbers are less than 2^31 apart.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct SeqNumber(pub u32);

impl SeqNumber {
    /// Whether this number comes before `other`.
    #[inline]
    pub fn lt(self, other: SeqNumber) -> bool {
        (self.0.wrapping_sub(other.0) as i32) < 0
    }

    /// Whether this number comes before `other` or is the same.
    #[inline]
    pub fn le(self, other: SeqNumber) -> bool {
        self == other || self.lt(other)
    }

    /// Whether this number comes after `other`.
    #[inline]
    pub fn gt(self, other: SeqNumber) -> bool {
        other.lt(self)
    }

    /// Whether this number comes after `other` or is the same.
    #[inline]
    pub fn ge(self, other: SeqNumber) -> bool {
        self == other || other.lt(self)
    }

    /// The later of the two.
    #[inline]
    pub fn max(self, other: SeqNumber) -> SeqNumber {
        if self.lt(other) { other } else { self }
    }

    /// The earlier of the two.
    #[inline]
    pub fn min(self, other: SeqNumber) -> SeqNumber {
        if other.lt(self) { other } else { self }
    }

    /// How many numbers lie from `earlier` up to this one; 0 when this one comes before `earlier`.
    #[inline]
    pub fn distance(self, earlier: SeqNumber) -> u32 {
        if self.lt(earlier) { 0 } else { self.0.wrapping_sub(earlier.0) }
    }
}

impl Add<u32> for SeqNumber {
    type Output = SeqNumber;

    #[inline]
    fn add(self, count: u32) -> SeqNumber {
        SeqNumber(self.0.wrapping_add(count))
    }
}

impl AddAssign<u32> for SeqNumber {
    #[inline]
    fn add_assign(&mut self, count: u32) {
        *self = *self + count;
    }
}

impl Sub<u32> for SeqNumber {
    type Output = SeqNumber;

    #[inline]
    fn sub(self, count: u32) -> SeqNumber {
        SeqNumber(self.0.wrapping_sub(count))
    }
}

impl fmt::Debug for SeqNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn order_wraps() {
        let before = SeqNumber(u32::MAX - 1);
        let after = before + 5;
        assert_eq!(after, SeqNumber(3));
        assert!(before.lt(after) && before.le(after) && after.gt(before) && after.ge(before));
        assert_eq!((after.distance(before), before.distance(after)), (5, 0));
        assert_eq!((before.max(after), before.min(after)), (after, before));
    }

    proptest! {
        #[test]
        fn order_agrees_with_distance(start: u32, step in 1u32..(1 << 31)) {
            let (a, b) = (SeqNumber(start), SeqNumber(start) + step);
            prop_assert!(a.lt(b) && a.le(b) && b.gt(a) && b.ge(a));
            prop_assert!(!b.lt(a) && !b.le(a) && !a.gt(b) && !a.ge(b));
            prop_assert_eq!(b.distance(a), step);
            prop_assert_eq!(a.distance(b), 0);
            prop_assert_eq!(b - step, a);
        }
    }
}
