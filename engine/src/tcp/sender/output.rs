//! What the sender sends: what was lost, probes, new bytes, the FIN.

use super::delivery::Snapshot;
use super::recovery::Probe;
use super::undo::Frto;
use super::{Fin, Sender, Timer};
use crate::tcp::congestion::Control;
use crate::tcp::due::Due;
use crate::tcp::segment::Flags;
use crate::tcp::seq::SeqNumber;
use crate::time::Instant;

/// The sender's part of a segment.
#[derive(Clone, Copy, Debug)]
pub(in crate::tcp) struct Outgoing {
    pub seq: SeqNumber,
    /// Where the payload begins in the buffer, and its length.
    pub offset: usize,
    pub len: usize,
    /// Those that the text asks for: PSH, URG and FIN, CWR and ECT.
    pub flags: Flags,
    /// The urgent pointer.
    pub urgent: u16,
}

impl Outgoing {
    /// Of a segment without text.
    #[inline]
    pub(crate) fn bare(seq: SeqNumber) -> Outgoing {
        Outgoing { seq, offset: 0, len: 0, flags: Flags::empty(), urgent: 0 }
    }
}

impl Sender {
    /// The next text that is due now, if any. `report` is how many bytes of the segment the receiver takes for its own.
    pub(crate) fn poll(&mut self, report: usize, now: Instant) -> Option<Outgoing> {
        // F-RTO asks with new segments before it sends more of what may have arrived (RFC 5682 section 3.1, step 2b).
        if self.recovery.frto == Frto::New {
            if let Some(new) = self.next_new(false, report, now) {
                return Some(new);
            }
            if self.pipe() == 0 {
                self.recovery.frto = Frto::Off;
            }
        }
        if self.scoreboard.lost() > 0
            && self.recovery.frto != Frto::New
            && (self.due.take(Due::FIRST_LOST) || (self.pipe() < self.may_fly() && self.may_send(now)))
            && let Some(lost) = self.next_lost(report, now)
        {
            return Some(lost);
        }
        if self.due.take(Due::TAIL_PROBE)
            && let Some(probe) = self.tail_probe(report, now)
        {
            return Some(probe);
        }
        if self.search.is_some()
            && let Some(trial) = self.next_trial(report, now)
        {
            return Some(trial);
        }
        self.next_new(false, report, now)
    }

    /// The most payload that the next text can have, if there may be any; `None` only when there is none.
    pub(crate) fn next_length(&self, report: usize) -> Option<usize> {
        let flight = self.flight();
        let unsent = self.buffer.len() > flight as usize || (self.buffer.is_closed() && self.fin == Fin::Unsent);
        let window = self.wnd > flight && self.may_fly() > self.pipe();
        if self.scoreboard.lost() > 0
            || self.due.intersects(Due::TAIL_PROBE | Due::FORCED)
            || (unsent && (window || self.buffer.is_closed() || self.timer.is_none()))
        {
            let most = self.longest_payload().min(self.longest);
            return Some(self.buffer.len().min(usize::from(most).saturating_sub(report).max(1)));
        }
        None
    }

    /// The first lost bytes once more.
    fn next_lost(&mut self, report: usize, now: Instant) -> Option<Outgoing> {
        let (start, count) = self.scoreboard.next_lost()?;
        let outgoing = self.again(start, count, report, now);
        if outgoing.is_some() && start == self.una {
            self.rearm(now);
        }
        outgoing
    }

    /// The last segment once more, or a new one if there is one: its acknowledgment tells what is missing (RFC 8985
    /// section 7.3).
    fn tail_probe(&mut self, report: usize, now: Instant) -> Option<Outgoing> {
        if self.unsent() > 0 && self.wnd > self.flight() {
            self.due.insert(Due::FORCED);
            if let Some(new) = self.next_new(true, report, now) {
                let end = new.seq + new.len as u32;
                if self.recovery.probe.is_some() {
                    self.recovery.probe = Some(Probe { end, resent: false });
                }
                return Some(new);
            }
        }
        let Some((start, count)) = self.scoreboard.last_unsacked(self.segment_room(report) as u32) else {
            self.recovery.probe = None;
            return None;
        };
        self.again(start, count, report, now)
    }

    /// At most `count` numbers from `start` on, in flight already, as one segment.
    fn again(&mut self, start: SeqNumber, count: u32, report: usize, now: Instant) -> Option<Outgoing> {
        let offset = start.distance(self.una) as usize;
        let left = self.buffer.len().saturating_sub(offset);
        let whole = (count as usize).min(left).min(self.segment_room(report));
        // A window that has shrunk holds back all but the first byte.
        let usable = (self.wnd as usize).saturating_sub(offset).max(usize::from(offset == 0));
        let len = whole.min(usable);
        let fin = self.fin != Fin::Unsent && len == left && count as usize > len;
        if len == 0 && !fin {
            return None;
        }
        let end = start + len as u32 + u32::from(fin);
        let snapshot = self.note_sent(end.distance(start), now);
        self.scoreboard.resent(start, end, now, snapshot);
        self.recovery.resent = self.recovery.resent.saturating_add(1);
        if self.search.is_some() {
            self.judge_trial(start, end, now);
        }
        self.note_again(end.distance(start));
        Some(self.text(start, offset, len, fin))
    }

    /// The next segment from `nxt` on, as far as the windows allow. `beyond` the congestion window when it is a probe.
    fn next_new(&mut self, beyond: bool, report: usize, now: Instant) -> Option<Outgoing> {
        let offset = self.flight() as usize;
        let buffered = self.buffer.len();
        if offset > buffered || self.fin == Fin::Acked {
            // The FIN was the last.
            return None;
        }
        let force = self.due.take(Due::FORCED);
        let unsent = buffered - offset;
        if unsent == 0 && !self.buffer.is_closed() {
            return None;
        }
        let room = if beyond { u32::MAX } else { self.may_fly().saturating_sub(self.pipe()) } as usize;
        let usable = (self.wnd as usize).saturating_sub(offset).min(room);
        let full = unsent.min(self.segment_room(report));
        let mut len = full.min(usable);
        // Sender's silly window avoidance, RFC 9293 section 3.8.6.2.1: a full segment, all there is, or half of the
        // largest window the peer ever offered.
        if len < full && len < (self.max_wnd / 2) as usize {
            len = 0;
        }
        let mut probe = false;
        if len > 0 && !beyond && !force && !self.may_send(now) {
            return None;
        }
        if len == 0 && force && unsent > 0 {
            len = full.min(usable.max(1));
            probe = usable == 0;
        }
        let fin = self.buffer.is_closed() && len == unsent;
        if len == 0 && !fin {
            if offset == 0 && self.timer.is_none() {
                // Nothing is in flight that could bring an answer: after a while the window is asked for.
                self.arm(Timer::Persist, now);
            }
            return None;
        }
        let seq = self.nxt;
        let fresh = seq == self.max;
        let end = seq + len as u32 + u32::from(fin && !probe);
        self.max = self.max.max(end);
        if probe {
            // The window is closed; the byte is a question, and counts as sent only once it is acknowledged.
            return Some(self.text(seq, offset, len, false));
        }
        self.nxt = end;
        let snapshot = self.note_sent(len as u32, now);
        self.sent_at = now;
        // A lone segment's probe waits for the peer's delayed acknowledgment; with a second one it need not.
        let lone = self.scoreboard.pipe() <= u32::from(self.payload_mss());
        self.scoreboard.sent(end, now, !fresh, snapshot);
        if !fresh {
            self.recovery.resent = self.recovery.resent.saturating_add(1);
        }
        match self.timer {
            None | Some((Timer::Persist, _)) => self.rearm(now),
            Some((Timer::Probe | Timer::Retransmit, at)) if lone => {
                let known = self.timer;
                self.rearm(now);
                if self.timer.is_some_and(|(_, new)| new > at) {
                    self.timer = known;
                }
            }
            Some(_) => {}
        }
        if fin {
            self.fin = Fin::Sent;
        }
        let mut outgoing = self.text(seq, offset, len, fin);
        if self.marks.agreed {
            self.let_mark(&mut outgoing);
        }
        Some(outgoing)
    }

    /// New text may be marked where that was agreed on, and tells that a mark was heeded (RFC 3168 section 6.1.2).
    #[cold]
    pub(super) fn let_mark(&mut self, outgoing: &mut Outgoing) {
        if outgoing.len == 0 || self.scoreboard.ends_with_repetition() {
            return;
        }
        outgoing.flags |= Flags::ECT;
        if std::mem::take(&mut self.marks.reduced) {
            outgoing.flags |= Flags::CWR;
        }
    }

    /// Whether the pace lets a segment go. When it does not, there is a deadline for it.
    #[inline]
    pub(super) fn may_send(&mut self, now: Instant) -> bool {
        let segment = u32::from(self.payload_mss());
        self.has_bounded_bursts() || self.pacer.allows(segment, now)
    }

    /// Whether the hand-over bounds bursts by itself; it finds out with longer ones whether it has to.
    #[inline]
    pub(super) fn has_bounded_bursts(&self) -> bool {
        self.longest != u16::MAX
    }

    /// Bytes go out: what is to be kept with them.
    #[inline]
    pub(super) fn note_sent(&mut self, bytes: u32, now: Instant) -> Snapshot {
        self.controller.on_sent(bytes);
        if !self.measures {
            return Snapshot::default();
        }
        let pipe = self.pipe();
        if pipe == 0 {
            self.controller.on_restart(now);
        }
        self.pacer.spend(bytes, u32::from(self.payload_mss()), now);
        self.meter.on_sent(pipe, bytes, now)
    }

    /// The flags and the urgent pointer of a piece of the buffer.
    #[inline]
    pub(super) fn text(&self, seq: SeqNumber, offset: usize, len: usize, fin: bool) -> Outgoing {
        let mut outgoing = Outgoing { offset, len, ..Outgoing::bare(seq) };
        if len > 0 && offset + len == self.buffer.len() {
            outgoing.flags |= Flags::PSH;
        }
        if fin {
            outgoing.flags |= Flags::FIN;
        }
        if len > 0
            && let Some(end) = self.buffer.urgent()
            && end > offset
        {
            outgoing.flags |= Flags::URG;
            outgoing.urgent = (end - offset).min(usize::from(u16::MAX)) as u16;
        }
        outgoing
    }

    /// The most payload of a segment now, the options it carries taken off.
    #[inline]
    pub(super) fn segment_room(&self, report: usize) -> usize {
        usize::from(self.payload_mss().min(self.longest)).saturating_sub(report).max(1)
    }
}
