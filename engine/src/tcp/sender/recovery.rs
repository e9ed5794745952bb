//! The repair of losses. `rack` finds them for a peer with selective acknowledgments, RFC 6582 (NewReno) for one without. Both
//! mark bytes as lost on the scoreboard, and the pipe of RFC 6675 says when these may be sent again.

use super::Sender;
use super::undo::Frto;
use crate::tcp::congestion::{Ack, Control, Loss, Path};
use crate::tcp::due::Due;
use crate::tcp::segment::Segment;
use crate::tcp::seq::SeqNumber;
use crate::time::Instant;

/// Segments beyond a hole that make it a loss when no reordering was ever seen (RFC 6675 section 5, RFC 8985 section 6.2).
pub(super) const DUP_THRESH: u32 = 3;
/// What the sender is busy with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Phase {
    Open,
    /// Losses are being repaired that acknowledgments told of.
    Recovery,
    /// The retransmission timer expired.
    Loss,
}

/// A tail loss probe that is not decided (RFC 8985 section 7.3).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Probe {
    pub end: SeqNumber,
    pub resent: bool,
}

/// The variables of loss recovery.
#[derive(Debug)]
pub(super) struct Recovery {
    pub phase: Phase,
    /// [`Sender::max`] when the last loss was noticed: losses before it are one event.
    pub recover: SeqNumber,
    /// Duplicate acknowledgments, of a peer without selective ones, and the bytes they say have left the path.
    pub duplicates: u8,
    pub left: u32,
    pub frto: Frto,
    /// Probes that were sent since something was last delivered.
    pub probes: u8,
    /// Segments that were sent again, and that nobody has taken note of.
    pub resent: u16,
    pub probe: Option<Probe>,
}

impl Recovery {
    pub(super) fn new(iss: SeqNumber) -> Recovery {
        Recovery {
            phase: Phase::Open,
            recover: iss,
            duplicates: 0,
            left: 0,
            frto: Frto::Off,
            probes: 0,
            resent: 0,
            probe: None,
        }
    }
}

impl Sender {
    /// Bytes believed to be on their way.
    #[inline]
    pub(super) fn pipe(&self) -> u32 {
        self.scoreboard.pipe().saturating_sub(self.recovery.left)
    }

    /// What the controller may know of the path.
    #[inline(always)]
    pub(super) fn path(&self, now: Instant) -> Path {
        let (most, fits, paced) = (self.most_in_flight(), self.fits(), self.is_long());
        let queue = self.may_queue(fits);
        Path { now, rtt: self.rtt, latest: self.rack.latest(), sack: self.sack, most, fits, queue, paced }
    }

    /// The controller says what may be sent in a repair, now that `delivered` bytes more have arrived. `safe`: the
    /// acknowledgment advanced and told of no further loss.
    pub(super) fn repair(&mut self, delivered: u32, safe: bool) {
        if self.recovery.phase == Phase::Recovery && self.sack {
            self.controller.on_repair(delivered, safe, self.pipe());
        }
    }

    /// Bytes were found lost when `delivered` bytes arrived.
    pub(super) fn on_loss(&mut self, delivered: u32, now: Instant) {
        self.recovery.probe = None;
        if self.recovery.phase == Phase::Loss {
            return;
        }
        let flight = self.scoreboard.flight().saturating_sub(self.scoreboard.sacked()).saturating_add(delivered);
        let loss = Loss { first: self.recovery.phase == Phase::Open, flight };
        let before = self.controller.before();
        if !self.controller.on_loss(&loss, &self.path(now)) {
            return;
        }
        self.recovery.phase = Phase::Recovery;
        self.recovery.recover = self.max;
        self.remember(before, now);
        // RFC 6675 section 5, step 4.3: the first one goes at once.
        self.due.insert(Due::FIRST_LOST);
    }

    /// A duplicate acknowledgment of a peer without selective ones (RFC 5681 section 3.2, RFC 6582 section 3.2).
    pub(super) fn on_duplicate_ack(&mut self, now: Instant) {
        let segment = u32::from(self.payload_mss());
        let recovery = &mut self.recovery;
        if recovery.phase == Phase::Loss || !self.una.ge(recovery.recover) && recovery.phase == Phase::Open {
            return;
        }
        // Each says that a segment has left the path. The first two let new ones go (limited transmit, RFC 3042).
        recovery.left = recovery.left.saturating_add(segment).min(self.scoreboard.pipe());
        recovery.duplicates = recovery.duplicates.saturating_add(1);
        if recovery.phase == Phase::Open && u32::from(recovery.duplicates) >= DUP_THRESH {
            self.scoreboard.lose_first(segment);
            self.on_loss(0, now);
        }
    }

    /// New bytes were acknowledged: recovery goes on or ends, and the window grows.
    pub(super) fn on_progress(&mut self, delivered: u32, acked: u32, flight: u32, now: Instant) {
        let segment = u32::from(self.payload_mss());
        self.recovery.duplicates = 0;
        if self.recovery.phase != Phase::Open && self.una.ge(self.recovery.recover) {
            let repaired = std::mem::replace(&mut self.recovery.phase, Phase::Open) == Phase::Recovery;
            self.recovery.left = 0;
            self.recovery.frto = Frto::Off;
            if repaired {
                let reduced = self.controller.has_reduced();
                self.controller.on_repaired();
                self.rack.on_repaired();
                if reduced {
                    // What was sent before the reduction does not open the window again.
                    return;
                }
            }
        }
        match self.recovery.phase {
            Phase::Recovery if !self.sack => {
                // A partial acknowledgment: the next segment is missing as well.
                self.recovery.left = self.recovery.left.saturating_sub(acked.saturating_sub(segment));
                self.scoreboard.lose_first(segment);
                self.due.insert(Due::FIRST_LOST);
            }
            Phase::Recovery if self.controller.has_reduced() => {}
            Phase::Open | Phase::Recovery | Phase::Loss => {
                self.recovery.left = 0;
                let ack = Ack { delivered, flight };
                self.controller.on_ack(&ack, &self.path(now));
            }
        }
    }

    /// Decides about a tail loss probe (RFC 8985 section 7.4).
    pub(super) fn judge_probe(&mut self, segment: &Segment<'_>, advanced: bool, duplicate: bool) {
        let Some(probe) = self.recovery.probe else { return };
        if !segment.ack.ge(probe.end) {
            return;
        }
        let repeated = !advanced && segment.is_empty() && segment.ack == probe.end;
        if !probe.resent || duplicate || repeated {
            self.recovery.probe = None;
        } else if segment.ack.gt(probe.end) {
            // The probe has repaired a loss that nothing else told of.
            self.recovery.probe = None;
            if self.recovery.phase == Phase::Open {
                self.controller.on_tail_loss();
            }
        }
    }
}
