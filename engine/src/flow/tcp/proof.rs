//! Acknowledgments as proofs: a guest that acknowledges a segment, selectively or not, has read every frame that was handed over
//! before it.

use crate::flow::egress::Egress;
use crate::link::handover::Handover;
use crate::tcp::SeqNumber;

/// From one remembered segment to the next, in the cost of frames.
const APART: u64 = 8 * 1024;
const MOST: usize = 4;

/// The end of a segment that was sent for the first time, and the position of its frame.
type Sent = (SeqNumber, u64);

/// A few segments of one connection, the oldest first, the last one always the last that was sent.
#[derive(Debug, Default)]
pub(super) struct Proofs {
    sent: [Sent; MOST],
    count: usize,
    /// A number behind which the bytes of the oldest one begin, and a position before which no frame with any of them lies.
    from: Sent,
}

impl Proofs {
    /// Whether an acknowledgment may prove anything.
    #[inline]
    pub(super) fn are_there(&self) -> bool {
        self.count > 0
    }

    /// New segments were sent from number `begin` up to `end`, behind position `before`. (What is sent again may be acknowledged for the
    /// first time it was sent, and proves nothing.)
    pub(super) fn sent(&mut self, begin: SeqNumber, before: u64, end: SeqNumber, egress: &mut Egress) {
        if !egress.handover.counts() {
            self.count = 0;
            return;
        }
        let position = egress.position();
        self.note((begin, before), (end, position));
        egress.handover.will_prove(position);
    }

    fn note(&mut self, from: Sent, to: Sent) {
        if self.count == 0 {
            self.from = from;
        }
        // The last one moves on as long as it is near the one before it, or there is no place for another.
        let before = self.count.checked_sub(2).and_then(|before| self.sent.get(before)).map(|(_, position)| *position);
        let moves = self.count == MOST || before.is_some_and(|before| to.1.saturating_sub(before) < APART);
        if !moves {
            self.count += 1;
        }
        if let Some(last) = self.count.checked_sub(1).and_then(|last| self.sent.get_mut(last)) {
            *last = to;
        }
    }

    /// The guest has a segment that ends with number `seq`, whatever is missing before it.
    pub(super) fn arrived(&mut self, seq: SeqNumber, handover: &mut Handover) {
        if let Some(position) = self.proven(seq, |bytes| handover.least(bytes)) {
            handover.read_up_to(position);
        }
    }

    /// Position up to which that proves everything read, if it proves more than is known.
    fn proven(&mut self, seq: SeqNumber, least: impl FnOnce(u64) -> u64) -> Option<u64> {
        // In an exchange there is one.
        if let (1, Some((end, position))) = (self.count, self.sent.first())
            && !seq.lt(*end)
        {
            self.count = 0;
            return Some(*position);
        }
        let known = self.sent.iter().take(self.count);
        let whole = known.take_while(|(end, _)| !seq.lt(*end)).count();
        let last = whole.checked_sub(1).and_then(|last| self.sent.get(last)).copied();
        if let Some(last) = last {
            self.from = last;
            self.sent.rotate_left(whole);
            self.count -= whole;
        }
        if self.count > 0 && seq.gt(self.from.0) {
            // Of what was sent in one go a part has arrived. Whatever lies between two of its frames only adds to what they cost.
            self.from = (seq, self.from.1.saturating_add(least(seq.distance(self.from.0).into())));
            return Some(self.from.1);
        }
        last.map(|(_, position)| position)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seq(number: u32) -> SeqNumber {
        SeqNumber(u32::MAX - 10_000) + number
    }

    /// Bursts of ten segments of 1000 bytes, in frames of 1100 each, behind 5000 of somebody else's.
    fn proofs(bursts: u32) -> Proofs {
        let mut proofs = Proofs::default();
        for burst in 0..bursts {
            let (begin, before) = (burst * 10_000, 5000 + u64::from(burst) * 16_000);
            proofs.note((seq(begin), before), (seq(begin + 10_000), before + 11_000));
        }
        proofs
    }

    fn proven(proofs: &mut Proofs, seq: SeqNumber) -> Option<u64> {
        proofs.proven(seq, |bytes| bytes)
    }

    #[test]
    fn what_has_arrived_of_a_burst_proves_its_part() {
        let mut proofs = proofs(2);
        assert_eq!(proven(&mut proofs, seq(0)), None);
        assert_eq!(
            proven(&mut proofs, seq(2000)),
            Some(7000),
            "no more than the bytes, as the frames' cost is not known one by one"
        );
        assert_eq!(proven(&mut proofs, seq(2000)), None);
        assert_eq!(proven(&mut proofs, seq(9000)), Some(14_000));
        assert_eq!(proven(&mut proofs, seq(10_000)), Some(16_000), "the whole is known");
        assert_eq!(proven(&mut proofs, seq(11_000)), Some(17_000), "what was between them is left out");
        assert_eq!((proven(&mut proofs, seq(20_000)), proofs.are_there()), (Some(32_000), false));
        assert_eq!(proven(&mut proofs, seq(20_000)), None);
    }

    #[test]
    fn what_lies_behind_a_hole_proves_what_was_given_before_it() {
        let mut proofs = proofs(3);
        assert_eq!(proven(&mut proofs, seq(25_000)), Some(32_000 + 5000));
        // The repair of the hole tells no more, and neither does an old acknowledgment.
        assert_eq!((proven(&mut proofs, seq(5000)), proven(&mut proofs, seq(20_000))), (None, None));
        assert_eq!(proven(&mut proofs, seq(30_000)), Some(48_000));
    }

    /// Whatever is acknowledged in whatever order: never more than the position of the frame that ends there.
    #[test]
    fn nothing_is_proven_that_was_given_later() {
        for step in [1, 700, 1000, 3300, 12_000] {
            for bursts in 1..9 {
                let mut proofs = proofs(bursts);
                for number in (0..=bursts * 10_000).step_by(step) {
                    let (burst, within) = (number / 10_000, u64::from(number % 10_000));
                    let position = 5000 + u64::from(burst) * 16_000 + within.div_ceil(1000) * 1100;
                    assert!(
                        proven(&mut proofs, seq(number)).is_none_or(|proven| proven <= position),
                        "{number} of {bursts}"
                    );
                }
            }
        }
    }
}
