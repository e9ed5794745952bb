//! What is known of the segments that one connection of the guest has staged for the host, and when they are handed over.
//!
//! A segment that ends a burst goes at once with all that is staged; a run of full segments is one batch. A long burst may
//! wait for the next although it has ended, and a pushed segment for those behind it (`pushed`), where a round is sure to end
//! soon.

use super::hold::{Held, Hold};
use super::pushed::Pushed;
use super::run::Run;

/// Staged bytes that are handed over without waiting for more. Half as much cut the rounds of an application that hands over 64
/// frames and more in two, and the second part was a write of a few segments (docs/trials.md).
const FULL: usize = 256 * 1024;
/// A burst of so many bytes may wait for the next one although it has ended: two of them in one write cost much less.
const LONG_BURST: usize = 32 * 1024;

/// Lives in the flow.
#[derive(Debug, Default)]
pub(crate) struct Staging {
    held: Held,
    pushed: Pushed,
}

/// What a segment says of the burst that it belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Segment {
    /// More will follow.
    Inner,
    /// It ends the burst, or a write of the guest; a round ends soon in any case.
    Last,
    /// Nothing is to wait.
    Urgent,
}

impl Staging {
    /// A segment has come, with which so many bytes are staged. True when they are to be handed over.
    pub(super) fn on_segment(&mut self, segment: Segment, staged: usize, run: &Run) -> bool {
        let waits = match segment {
            Segment::Inner => true,
            Segment::Last => self.pushed.waits(run) || staged >= LONG_BURST,
            Segment::Urgent => false,
        };
        !waits || staged >= FULL
    }

    /// A round has begun. Whether what is staged is held until the next one.
    pub(crate) fn is_held(&mut self, hold: Hold) -> bool {
        self.held.once_more(if self.pushed.is_waiting() { hold.pushed } else { hold.segments })
    }

    /// What was staged is handed over.
    pub(crate) fn handed_over(&mut self) {
        self.held = Held::default();
        self.pushed.handed_over();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rounds for which what is staged is held when each brings so many frames.
    fn rounds(staging: &mut Staging, frames: u32) -> u32 {
        let mut count = 0;
        while count < 1000 && staging.is_held(Hold::after(frames)) {
            count += 1;
        }
        count
    }

    #[test]
    fn a_run_is_a_batch_and_what_ends_it_goes() {
        let (run, mut staging) = (Run::default(), Staging::default());
        assert!(!staging.on_segment(Segment::Inner, 1460, &run) && !staging.on_segment(Segment::Inner, FULL - 1, &run));
        assert!(staging.on_segment(Segment::Inner, FULL, &run));
        staging.handed_over();
        assert!(staging.on_segment(Segment::Last, 1460, &run) && staging.on_segment(Segment::Urgent, LONG_BURST, &run));
        staging.handed_over();
    }

    #[test]
    fn a_long_burst_waits_although_it_has_ended() {
        let (run, mut staging) = (Run::default(), Staging::default());
        assert!(!staging.on_segment(Segment::Last, LONG_BURST, &run));
        assert!(staging.on_segment(Segment::Last, FULL, &run));
    }

    #[test]
    fn a_run_is_held_for_longer_than_pushed_segments() {
        let (run, mut staging) = (Run::default(), Staging::default());
        assert_eq!((rounds(&mut staging, 1), rounds(&mut staging, 5), rounds(&mut staging, 0)), (89, 1, 0));
        assert!(staging.on_segment(Segment::Last, 100, &run) && !staging.on_segment(Segment::Last, 100, &run));
        assert_eq!((rounds(&mut staging, 1), rounds(&mut staging, 5), rounds(&mut staging, 0)), (32, 0, 0));
        // Handed over, it may be held anew.
        assert!(!staging.is_held(Hold::after(5)) && staging.is_held(Hold::after(1)));
        staging.handed_over();
        assert_eq!(rounds(&mut staging, 1), 89);
    }
}
