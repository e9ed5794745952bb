//! Loss detection and repair: RFC 8985 (RACK-TLP) for a peer with selective acknowledgments, RFC 6582 (NewReno) for one
//! without. Both mark bytes as lost on the scoreboard, and the pipe of RFC 6675 says when these may be sent again.
//!
//! Where the round trip is short, waiting for the retransmission timer, 200 ms at the least, costs thousands of round
//! trips. So probes go on where RFC 8985 has one: the interval doubles each time, as RFC 9002 section 6.2 has it, and
//! probes are also sent while losses are repaired, as a repetition may be lost with all that followed it.

use super::Connection;
use super::timers::Timer;
use super::undo::Frto;
use crate::tcp::congestion::{Ack, Control, Loss, Path};
use crate::tcp::scoreboard::{Delivered, Newest};
use crate::tcp::segment::Segment;
use crate::tcp::seq::SeqNumber;
use crate::time::{Duration, Instant};

/// Segments beyond a hole that make it a loss when no reordering was ever seen (RFC 6675 section 5, RFC 8985 section 6.2).
const DUP_THRESH: u32 = 3;
/// The least time before a tail loss probe. A guest that was not scheduled for a moment is asked needlessly, which costs one
/// segment; a loss at the end of a burst costs this much time.
const MIN_PROBE: Duration = Duration::from_millis(2);
/// The same for a peer without selective acknowledgments, where a needless one shrinks the window.
const MIN_REPEAT: Duration = Duration::from_millis(10);
/// Probes without an answer; then the retransmission timer is waited for.
const MAX_PROBES: u8 = 5;
/// What a peer may take to acknowledge a lone segment (RFC 8985 section 7.2).
const DELAYED_ACK: Duration = Duration::from_millis(200);
/// The factor of the reordering window never grows past this; it bounds what duplicates can cost.
const MAX_REORDER: u8 = 16;
/// Recoveries after which a reordering window that has grown is narrowed again (RFC 8985 section 6.2, step 4).
const REORDER_PERSISTS: u8 = 16;

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
    /// `snd_max` when the last loss was noticed: losses before it are one event.
    pub recover: SeqNumber,
    /// Duplicate acknowledgments, of a peer without selective ones, and the bytes they say have left the path.
    pub duplicates: u8,
    pub left: u32,
    /// The transmission sent last among those delivered, and its round-trip time (RFC 8985 section 5.3).
    newest: Option<Newest>,
    rtt: Duration,
    min_rtt: Option<Duration>,
    /// The highest number delivered.
    highest: SeqNumber,
    reordering: bool,
    /// The reordering window in quarters of the least round-trip time, and when it may grow again.
    reorder: u8,
    reorder_next: SeqNumber,
    /// Recoveries for which it stays as wide.
    reorder_left: u8,
    pub frto: Frto,
    /// Probes that were sent since something was last delivered.
    pub probes: u8,
    pub probe: Option<Probe>,
    /// A probe is to be sent.
    pub probe_due: bool,
}

impl Recovery {
    pub fn new(iss: SeqNumber) -> Recovery {
        Recovery {
            phase: Phase::Open,
            recover: iss,
            duplicates: 0,
            left: 0,
            newest: None,
            rtt: Duration::ZERO,
            min_rtt: None,
            highest: iss,
            reordering: false,
            reorder: 1,
            reorder_next: iss,
            reorder_left: 0,
            frto: Frto::Off,
            probes: 0,
            probe: None,
            probe_due: false,
        }
    }
}

impl Connection {
    /// Bytes believed to be on their way.
    pub(super) fn pipe(&self) -> u32 {
        self.scoreboard.pipe().saturating_sub(self.recovery.left)
    }

    /// What the controller may know of the path.
    pub(super) fn path(&self, now: Instant) -> Path {
        Path { now, rtt: self.rtt, latest: self.recovery.rtt, sack: self.sack }
    }

    /// The controller says what may be sent in a repair, now that `delivered` bytes more have arrived. `safe`: the
    /// acknowledgment advanced and told of no further loss.
    pub(super) fn repair(&mut self, delivered: u32, safe: bool) {
        if self.recovery.phase == Phase::Recovery && self.sack {
            self.controller.on_repair(delivered, safe, self.pipe());
        }
    }

    /// The peer's report of what it has beyond `ack`, into `delivered`. Returns the bytes that it had twice.
    pub(super) fn take_sack(
        &mut self,
        segment: &Segment<'_>,
        delivered: &mut Delivered,
    ) -> Option<(SeqNumber, SeqNumber)> {
        let [first, second, ..] = segment.options.sack;
        let (start, end) = first?;
        // RFC 2883 section 4: a first block below the acknowledgment, or within the second, is a duplicate.
        let within = |outer: (SeqNumber, SeqNumber)| start.ge(outer.0) && end.le(outer.1);
        let duplicate = start.lt(end)
            && end.gt(self.snd_una - self.max_snd_wnd)
            && (end.le(segment.ack) || second.is_some_and(within));
        for (start, end) in segment.options.sack.into_iter().flatten() {
            self.scoreboard.sack(start, end, delivered);
        }
        duplicate.then_some((start, end))
    }

    /// What the bytes that were newly delivered say about round trips, order and losses.
    pub(super) fn on_delivered(&mut self, delivered: &Delivered, now: Instant) {
        self.controller.on_delivered(delivered.bytes);
        let Some(newest) = delivered.newest else { return };
        let elapsed =
            Duration::from_micros(now.total_micros().saturating_sub(newest.sent.total_micros()).max(0) as u64);
        let recovery = &mut self.recovery;
        // An answer that came sooner than any ever did is one to an earlier transmission (RFC 8985 section 6.2, step 2).
        if newest.resent && recovery.min_rtt.is_none_or(|least| elapsed < least) {
            return;
        }
        recovery.min_rtt = Some(recovery.min_rtt.map_or(elapsed, |least| least.min(elapsed)));
        recovery.rtt = elapsed;
        if recovery.newest.is_none_or(|known| newest.is_after(known.sent, known.end)) {
            recovery.newest = Some(newest);
        }
        // Step 3: what was sent once and arrives after what was sent behind it has been overtaken.
        if delivered.once.is_some_and(|least| least.lt(recovery.highest)) {
            recovery.reordering = true;
        }
        recovery.highest = recovery.highest.max(newest.end);
        // One measurement a round trip, as RFC 6298 section 4 has it.
        if !newest.resent && newest.end.ge(self.rtt_next) {
            self.rtt.sample(newest.sent, now);
            self.rtt_next = self.snd_max;
        }
    }

    /// The peer had bytes twice: something was sent again needlessly, so that more time is given to what is overtaken
    /// (RFC 8985 section 6.2, step 4).
    pub(super) fn on_duplicate_report(&mut self, duplicate: (SeqNumber, SeqNumber)) {
        self.detect_by_duplicates(duplicate);
        let recovery = &mut self.recovery;
        if recovery.probe.is_some_and(|probe| probe.end == duplicate.1) {
            // A probe is a duplicate whenever nothing was lost, and says nothing about order.
            return;
        }
        recovery.reorder_left = REORDER_PERSISTS;
        if self.snd_una.ge(recovery.reorder_next) {
            recovery.reorder = recovery.reorder.saturating_add(1).min(MAX_REORDER);
            recovery.reorder_next = self.snd_max;
        }
    }

    /// RFC 8985 section 6.2, step 4.
    fn reorder_window(&self) -> Duration {
        let recovery = &self.recovery;
        if !recovery.reordering {
            let many = self.scoreboard.sacked() >= DUP_THRESH * u32::from(self.payload_mss());
            if recovery.phase != Phase::Open || many {
                return Duration::ZERO;
            }
        }
        let quarter = recovery.min_rtt.unwrap_or(Duration::ZERO).total_micros() / 4;
        let window = Duration::from_micros(quarter * u64::from(recovery.reorder));
        self.rtt.srtt().map_or(window, |srtt| window.min(srtt))
    }

    /// Looks for losses after `delivered` bytes have arrived. Cheap when nothing was reported beyond a hole. Whether any
    /// were found.
    pub(super) fn detect_losses(&mut self, delivered: u32, now: Instant) -> bool {
        if !self.sack || (self.scoreboard.sacked() == 0 && self.recovery.phase == Phase::Open) {
            return false;
        }
        let Some(newest) = self.recovery.newest else { return false };
        let window = self.recovery.rtt + self.reorder_window();
        let (lost, wait) = self.scoreboard.detect(&newest, window, now);
        if lost > 0 {
            self.controller.on_lost(lost);
            self.on_loss(delivered, now);
        }
        if let Some(wait) = wait {
            self.timer = Some((Timer::Reorder, now + wait));
        }
        lost > 0
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
        self.recovery.recover = self.snd_max;
        self.remember(before, now);
        // RFC 6675 section 5, step 4.3: the first one goes at once.
        self.retransmit = true;
    }

    /// A duplicate acknowledgment of a peer without selective ones (RFC 5681 section 3.2, RFC 6582 section 3.2).
    pub(super) fn on_duplicate_ack(&mut self, now: Instant) {
        let segment = u32::from(self.payload_mss());
        let recovery = &mut self.recovery;
        if recovery.phase == Phase::Loss || !self.snd_una.ge(recovery.recover) && recovery.phase == Phase::Open {
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
        if self.recovery.phase != Phase::Open && self.snd_una.ge(self.recovery.recover) {
            let repaired = std::mem::replace(&mut self.recovery.phase, Phase::Open) == Phase::Recovery;
            self.recovery.left = 0;
            self.recovery.frto = Frto::Off;
            if repaired {
                let reduced = self.controller.has_reduced();
                self.controller.on_repaired();
                self.recovery.reorder_left = self.recovery.reorder_left.saturating_sub(1);
                if self.recovery.reorder_left == 0 {
                    self.recovery.reorder = 1;
                }
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
                self.retransmit = true;
            }
            Phase::Recovery if self.controller.has_reduced() => {}
            Phase::Open | Phase::Recovery | Phase::Loss => {
                self.recovery.left = 0;
                let ack = Ack { delivered, flight, most: self.most_in_flight() };
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

    /// Arms the timer for what is in flight: a probe of the tail where that can help, otherwise retransmission.
    pub(super) fn rearm(&mut self, now: Instant) {
        if self.snd_una == self.snd_max {
            self.timer = None;
            return;
        }
        let phase = self.recovery.phase;
        let probing = self.established
            && self.backoff == 0
            && self.recovery.probes < MAX_PROBES
            && self.scoreboard.flight() > self.scoreboard.sacked()
            && self.snd_wnd > 0
            && (self.sack || phase != Phase::Loss);
        self.arm(Timer::Retransmit, now);
        if !probing {
            return;
        }
        // RFC 8985 section 7.2.
        let srtt = self.rtt.srtt().unwrap_or(Duration::from_millis(500));
        let mut wait = (srtt + srtt).max(if self.sack { MIN_PROBE } else { MIN_REPEAT });
        wait = Duration::from_micros(wait.total_micros() << self.recovery.probes);
        // A segment behind a hole is acknowledged at once (RFC 5681 section 4.2).
        if phase == Phase::Open && self.scoreboard.pipe() <= u32::from(self.payload_mss()) {
            wait += DELAYED_ACK;
        }
        // RFC 8985 has the first probe in place of a timeout that would come sooner.
        let first = self.sack && phase == Phase::Open && self.recovery.probes == 0;
        if let Some((_, at)) = self.timer
            && (first || now + wait < at)
        {
            self.timer = Some((Timer::Probe, at.min(now + wait)));
        }
    }

    /// A router on the way to the peer reports that the segment that begins at `seq` was too large, and that `mss` bytes
    /// would not be. Believed when such a segment is in flight (RFC 5927 section 7).
    pub fn on_too_big(&mut self, seq: SeqNumber, mss: u16) {
        if self.established && seq.ge(self.snd_una) && seq.lt(self.snd_max) {
            self.lower_mss(mss);
        }
    }

    /// The path carries smaller segments than was believed: they are `mss` bytes from now on, headers excluded and options
    /// included, and what is in flight is sent again. A value that is not smaller, or below what any path carries, is
    /// refused (RFC 9293 section 3.9.2.2, RFC 1191 section 6.4).
    pub fn lower_mss(&mut self, mss: u16) {
        if mss >= self.mss || mss < super::MIN_MSS {
            return;
        }
        self.mss = mss;
        self.controller.set_segment(u32::from(self.payload_mss()));
        if !self.scoreboard.is_empty() {
            self.scoreboard.lose_all(false);
            self.retransmit = true;
        }
        self.receiver.flush();
    }
}
