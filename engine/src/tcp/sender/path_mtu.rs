//! A path that swallows long segments and says nothing (RFC 4821 section 7.7, "black hole"): the guest's link takes less than its
//! segment size option said, and no router reports it.
//!
//! Nobody can tell such a path from one that is dead for a moment. So after the second timeout in a row what is sent again
//! is cut to a length that every path takes. Where that is acknowledged, segments stay short, and the search for the longest
//! that passes begins: with the length that they had before, as it is the likeliest where the path had only been dead, then
//! halfway between what passed and what did not (RFC 4821 section 7.3). A trial is a segment of new bytes; when it alone is lost, that is
//! no sign of congestion (section 7.6.2). A connection that never had two timeouts in a row has none of this.

use super::recovery::Phase;
use super::{Outgoing, Sender};
use crate::tcp::congestion::Control;
use crate::tcp::due::Due;
use crate::tcp::seq::SeqNumber;
use crate::time::{Duration, Instant};

/// Segment sizes to fall back to, headers excluded and options included: what fits into the least MTU of IPv6 (RFC 8200 section 5),
/// and, where that does not help, what every host takes (RFC 9293 section 3.7.1). A guest that asks for no more than the first is
/// believed.
const SAFE: [u16; 2] = [1220, 536];
/// Trials of a length that are lost before it counts as too long: a trial may be lost like any other segment (RFC 8899 section
/// 5.1.2).
const MAX_TRIALS: u8 = 3;
/// What is left of the search is not worth a trial when it is less than such a part of the length.
const PART: u16 = 32;
/// When a search that has ended begins anew, as paths change (RFC 8899 section 5.1.1).
const AGAIN: Duration = Duration::from_secs(600);
/// Segments that have to wait behind a trial, so that its loss shows soon (RFC 4821 section 7.4).
const BEHIND: usize = 4;

/// A segment that is longer than those that are known to pass.
#[derive(Clone, Copy, Debug)]
struct Trial {
    start: SeqNumber,
    end: SeqNumber,
    size: u16,
}

/// The search for the longest segment that passes. What is known to pass is [`Sender::mss`].
#[derive(Debug)]
pub(super) struct Search {
    /// What the segment size was before.
    full: u16,
    /// The longest that is not known to be too long.
    most: u16,
    /// It is not known whether the length is to blame: segments are short so that it shows.
    doubt: bool,
    trial: Option<Trial>,
    /// Trials of the present length that were lost.
    lost: u8,
    /// The search rests until then.
    until: Option<Instant>,
}

impl Sender {
    /// The second timeout in a row, or a later one: what is sent again is cut to a safe size, after one more to the next.
    #[cold]
    pub(super) fn doubt_length(&mut self) {
        if self.search.is_none() && self.mss <= SAFE[0] {
            return;
        }
        let options = usize::from(self.mss - self.payload_mss());
        let sent = usize::from(self.payload_mss()).min(self.buffer.len()) + options;
        let shorter = |&&safe: &&u16| safe < self.mss && usize::from(safe) < sent;
        let Some(&safe) = SAFE.iter().find(shorter) else { return };
        let full = self.search.as_ref().map_or(self.mss, |search| search.full);
        self.search = Some(Box::new(Search { full, most: full, doubt: true, trial: None, lost: 0, until: None }));
        self.set_size(safe);
    }

    fn set_size(&mut self, size: u16) {
        self.mss = size;
        self.controller.set_segment(u32::from(self.payload_mss()));
    }

    /// `acked` bytes were acknowledged.
    #[cold]
    pub(super) fn judge_length(&mut self, acked: u32, now: Instant) {
        let una = self.una;
        let payload = u32::from(self.payload_mss());
        let Some(search) = &mut self.search else { return };
        if search.doubt {
            search.doubt = false;
            // More than the one or two short ones that were sent since: the long ones have arrived, late.
            if acked > payload.saturating_mul(2) {
                let full = search.full;
                self.search = None;
                self.set_size(full);
            }
            return;
        }
        let Some(trial) = search.trial.take_if(|trial| una.ge(trial.end)) else { return };
        search.lost = 0;
        search.rest_if_done(trial.size, now);
        if trial.size >= search.full {
            self.search = None;
        }
        self.set_size(trial.size);
    }

    /// The bytes from `start` to `end` are sent again.
    #[cold]
    pub(super) fn judge_trial(&mut self, start: SeqNumber, end: SeqNumber, now: Instant) {
        let size = self.mss;
        let Some(search) = &mut self.search else { return };
        let Some(trial) = search.trial.take_if(|trial| trial.start.ge(start) && trial.start.lt(end)) else { return };
        search.lost += 1;
        if search.lost >= MAX_TRIALS {
            search.lost = 0;
            search.most = trial.size - 1;
            search.rest_if_done(size, now);
        }
    }

    /// Whether `bytes` that were just found lost are those of a trial and of nothing else.
    pub(super) fn is_trial(&mut self, bytes: u32) -> bool {
        let Some(trial) = self.search.as_ref().and_then(|search| search.trial) else { return false };
        bytes <= trial.end.distance(trial.start)
            && self.scoreboard.lost() == bytes
            && self.scoreboard.next_lost().is_some_and(|(start, _)| start == trial.start)
    }

    /// The payload of the next trial, and its segment size.
    #[cold]
    fn trial_length(&self, report: usize, now: Instant) -> Option<(usize, u16)> {
        let search = self.search.as_ref()?;
        if search.doubt || search.trial.is_some() || search.until.is_some_and(|until| now < until) {
            return None;
        }
        // After a rest everything up to the full length may pass again.
        let most = if search.until.is_some() { search.full } else { search.most };
        let size = if most == search.full { most } else { self.mss + (most - self.mss).div_ceil(2) };
        let payload = usize::from(size - (self.mss - self.payload_mss())).checked_sub(report)?;
        (size > self.mss && payload <= usize::from(self.longest)).then_some((payload, size))
    }

    /// A trial, if one is due and the windows let a segment go. It may be longer than what the congestion window has left: that is
    /// one segment in a round trip.
    #[cold]
    pub(super) fn next_trial(&mut self, report: usize, now: Instant) -> Option<Outgoing> {
        let (payload, size) = self.trial_length(report, now)?;
        let offset = self.nxt.distance(self.una) as usize;
        let segment = usize::from(self.payload_mss());
        let calm = self.recovery.phase == Phase::Open && self.scoreboard.lost() == 0 && self.nxt == self.max;
        let room = self.controller.window().saturating_sub(self.pipe()) as usize;
        if !calm
            || self.due.contains(Due::FORCED)
            || self.unsent() < payload + BEHIND * segment
            || (self.wnd as usize).saturating_sub(offset) < payload
            || room < segment
            || !self.may_send(now)
        {
            return None;
        }
        let start = self.nxt;
        let end = start + payload as u32;
        if let Some(search) = &mut self.search {
            if search.until.take().is_some() {
                search.most = search.full;
            }
            search.trial = Some(Trial { start, end, size });
        }
        (self.nxt, self.max) = (end, end);
        let snapshot = self.note_sent(payload as u32, now);
        self.sent_at = now;
        self.scoreboard.sent(end, now, false, snapshot);
        if self.timer.is_none() {
            self.rearm(now);
        }
        let mut outgoing = self.text(start, offset, payload, false);
        if self.marks.agreed {
            self.let_mark(&mut outgoing);
        }
        Some(outgoing)
    }

    /// The most payload that a segment may have, trials included.
    #[inline]
    pub(crate) fn longest_payload(&self) -> u16 {
        let (segment, payload) = (self.mss, self.payload_mss());
        self.search.as_ref().map_or(payload, |search| search.full - (segment - payload))
    }
}

impl Search {
    /// What the segment size was before.
    pub(super) fn full(&self) -> u16 {
        self.full
    }

    /// The search rests where the rest of it is not worth a trial; segments of `size` pass.
    fn rest_if_done(&mut self, size: u16, now: Instant) {
        if self.most.saturating_sub(size) < size / PART {
            self.until = Some(now + AGAIN);
        }
    }
}
