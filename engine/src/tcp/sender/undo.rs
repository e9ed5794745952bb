//! Reductions that turn out to have been needless are taken back.
//!
//! Three signs tell that what was sent again had not been lost: the acknowledgment echoes the timestamp of the first
//! transmission (Eifel, RFC 3522), the peer reports everything that was sent again as a duplicate (RFC 3708), or after a
//! timeout the peer acknowledges what was sent only once (F-RTO with selective acknowledgments, RFC 5682 section 3). The
//! answer is that of RFC 4015: the window is what it was.

use super::Sender;
use super::recovery::Phase;
use super::scoreboard::Delivered;
use crate::tcp::congestion::{Control, Controller};
use crate::tcp::due::Due;
use crate::tcp::segment::Segment;
use crate::tcp::seq::SeqNumber;
use crate::time::Instant;

/// Where F-RTO stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) enum Frto {
    #[default]
    Off,
    /// The first segment was sent again after a timeout, and nothing else (RFC 5682 section 3.1, step 1).
    First,
    /// New segments were sent, and their acknowledgment decides (step 2b).
    New,
}

/// What was before the last reduction.
#[derive(Debug)]
pub(super) struct Undo {
    before: <Controller as Control>::Before,
    /// Our timestamp when the first segment was sent again, until an acknowledgment has decided.
    stamp: Option<u32>,
    /// The numbers of this event come before this one.
    recover: SeqNumber,
    /// Bytes that were sent again and not reported as duplicates.
    again: u32,
}

impl Sender {
    /// A repair begins; `before` is the controller as it was.
    pub(super) fn remember(&mut self, before: <Controller as Control>::Before, now: Instant) {
        let stamp = self.stamp(now);
        self.undo = Some(Box::new(Undo { before, stamp, recover: self.max, again: 0 }));
    }

    /// Bytes were sent again.
    pub(super) fn note_again(&mut self, bytes: u32) {
        if self.recovery.phase != Phase::Open
            && let Some(undo) = &mut self.undo
        {
            undo.again = undo.again.saturating_add(bytes);
        }
    }

    /// An acknowledgment has advanced; whether it answers the first transmission of what was sent again.
    pub(super) fn detect_by_echo(&mut self, segment: &Segment<'_>) {
        if self.recovery.phase == Phase::Open {
            return;
        }
        let Some(stamp) = self.undo.as_mut().and_then(|undo| undo.stamp.take()) else { return };
        if let Some((_, echo)) = segment.options.timestamps
            && echo != 0
            && (echo.wrapping_sub(stamp) as i32) < 0
        {
            self.take_back();
        }
    }

    /// The peer reports bytes that it had twice.
    pub(super) fn detect_by_duplicates(&mut self, (start, end): (SeqNumber, SeqNumber)) {
        let Some(undo) = self.undo.as_mut().filter(|undo| end.le(undo.recover) && undo.again > 0) else { return };
        undo.again = undo.again.saturating_sub(end.distance(start));
        if undo.again == 0 {
            self.take_back();
        }
    }

    /// F-RTO: an acknowledgment after a timeout. `advanced`: it acknowledges more than was.
    pub(super) fn detect_by_new_data(&mut self, delivered: &Delivered, advanced: bool) {
        if self.recovery.phase != Phase::Loss || self.recovery.frto == Frto::Off {
            return;
        }
        // Step 3b, and where it is plain already step 2b: what arrived was sent before the timeout, and once.
        if delivered.once.is_some_and(|least| least.le(self.recovery.recover)) {
            return self.take_back();
        }
        let first = self.recovery.frto == Frto::First;
        self.recovery.frto = Frto::Off;
        if first && advanced && self.unsent() > 0 && self.wnd > self.flight() {
            self.recovery.frto = Frto::New;
        }
    }

    /// RFC 4015 section 3: nothing was lost.
    fn take_back(&mut self) {
        let Some(undo) = self.undo.take() else { return };
        self.controller.take_back(&undo.before);
        self.scoreboard.unlose();
        self.recovery.phase = Phase::Open;
        self.recovery.frto = Frto::Off;
        self.due.remove(Due::FIRST_LOST);
    }
}
