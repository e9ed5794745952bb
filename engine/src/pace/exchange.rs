//! Whether the acknowledgment of a question waits for the answer.
//!
//! What a guest has asked is acknowledged by the answer as well; a segment that says nothing else costs both sides as much as
//! the answer itself (RFC 9293 section 3.8.6.3 permits to wait for up to half a second). But a guest may wait for it before
//! it sends the rest of its question (RFC 896), and knows the path by it. So it waits only where a number of questions in a
//! row, each of one segment, have been answered soon, and then not for long. What waited in vain makes for twice as many.

use crate::time::{Duration, Instant};

/// Questions in a row that have to be answered soon before the first acknowledgment waits, and how often that doubles.
const FIRST: u32 = 4;
const MOST_DOUBLINGS: u8 = 10;
/// What is soon.
const SOON: Duration = Duration::from_millis(10);
/// How long an acknowledgment waits: less than any guest's retransmission timer.
const LONGEST: Duration = Duration::from_millis(40);

/// Lives in the flow.
#[derive(Debug, Default)]
pub(crate) struct Exchange {
    /// When the guest has asked, and nothing was sent since.
    asked: Option<Instant>,
    /// The acknowledgment of that waits.
    waits: bool,
    /// How many in a row were answered soon.
    answered: u32,
    /// How often one has waited in vain.
    in_vain: u8,
}

impl Exchange {
    /// A segment of the guest was given to the host by itself. True when its acknowledgment waits.
    pub(crate) fn asked(&mut self, now: Instant) -> bool {
        if self.asked.replace(now).is_some() {
            // The one before was only a part of the question.
            self.answered = 0;
        }
        self.waits = self.answered >= FIRST << self.in_vain.min(MOST_DOUBLINGS);
        self.waits
    }

    /// The guest has sent something else than a question.
    pub(crate) fn broken(&mut self) {
        (self.asked, self.waits, self.answered) = (None, false, 0);
    }

    /// Bytes, or an end, were sent to the guest, and with them the acknowledgment.
    pub(crate) fn answered(&mut self, now: Instant) {
        let Some(asked) = self.asked.take() else { return };
        self.waits = false;
        // Of a clock that stands still nothing is to depend.
        let soon = now > asked && now - asked <= SOON;
        self.answered = if soon { self.answered.saturating_add(1) } else { 0 };
    }

    /// Whether an acknowledgment waits.
    #[inline]
    pub(crate) fn is_waiting(&self) -> bool {
        self.waits
    }

    /// Until when it does.
    #[inline]
    pub(crate) fn deadline(&self) -> Option<Instant> {
        if self.waits { self.asked.map(|asked| asked + LONGEST) } else { None }
    }

    /// It has waited in vain.
    pub(crate) fn in_vain(&mut self) {
        self.broken();
        self.in_vain = self.in_vain.saturating_add(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEP: Duration = Duration::from_millis(1);

    /// Questions that are answered at once until one waits; how many there were.
    fn until_one_waits(exchange: &mut Exchange, now: &mut Instant) -> u32 {
        let mut count = 0;
        while !exchange.asked(*now) {
            exchange.answered(*now + STEP);
            *now += STEP;
            count += 1;
        }
        count
    }

    #[test]
    fn an_acknowledgment_waits_after_a_number_of_answers_and_for_a_bounded_time() {
        let (mut exchange, mut now) = (Exchange::default(), Instant::ZERO);
        assert_eq!(until_one_waits(&mut exchange, &mut now), FIRST);
        assert_eq!(exchange.deadline(), Some(now + LONGEST));
        exchange.answered(now + SOON);
        assert_eq!((exchange.is_waiting(), exchange.deadline()), (false, None));
        assert!(exchange.asked(now), "and goes on to");
        exchange.answered(now + SOON * 2);
        assert!(!exchange.asked(now), "but not for one that takes its time");
    }

    #[test]
    fn a_question_of_two_segments_has_both_acknowledged() {
        let (mut exchange, mut now) = (Exchange::default(), Instant::ZERO);
        until_one_waits(&mut exchange, &mut now);
        assert!(!exchange.asked(now) && !exchange.is_waiting());
        exchange.answered(now + STEP);
        assert_eq!(until_one_waits(&mut exchange, &mut now), FIRST - 1);
        exchange.broken();
        assert_eq!(until_one_waits(&mut exchange, &mut now), FIRST);
    }

    #[test]
    fn with_a_clock_that_stands_still_nothing_waits() {
        let mut exchange = Exchange::default();
        for _ in 0..100 {
            assert!(!exchange.asked(Instant::ZERO));
            exchange.answered(Instant::ZERO);
        }
    }

    #[test]
    fn what_waits_in_vain_waits_ever_more_seldom() {
        let (mut exchange, mut now) = (Exchange::default(), Instant::ZERO);
        for doublings in 0..u32::from(MOST_DOUBLINGS) + 3 {
            let questions = until_one_waits(&mut exchange, &mut now);
            assert_eq!(questions, FIRST << doublings.min(MOST_DOUBLINGS.into()));
            exchange.in_vain();
            assert!(!exchange.is_waiting());
        }
    }
}
