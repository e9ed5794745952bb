//! What passing time means while bytes are in flight or wait for a window: tail loss probes (RFC 8985 section 7),
//! retransmission (RFC 6298), the probing of a closed window.
//!
//! Where the round trip is short, waiting for the retransmission timer, 200 ms at the least, costs thousands of round
//! trips. So probes go on where RFC 8985 has one: the interval doubles each time, as RFC 9002 section 6.2 has it, and
//! probes are also sent while losses are repaired, as a repetition may be lost with all that followed it.

use super::Sender;
use super::recovery::{Phase, Probe};
use super::undo::Frto;
use crate::tcp::congestion::Control;
use crate::tcp::due::Due;
use crate::tcp::rtt;
use crate::time::{Duration, Instant, earliest};

/// Retransmissions of one segment, and the sum of their intervals, after which the peer is given up.
const MAX_TRIES: u8 = 15;
const MAX_WAIT: Duration = Duration::from_secs(600);
/// What the wait between two probes of a closed window grows to, unless the path's own timeout is longer. A guest's queue is short and
/// may drop the one segment that opens the window again: then its reader waits so long at most, not as long again as it had paused.
/// It is what upstream's first wait is.
const MAX_PERSIST: Duration = Duration::from_secs(5);
/// The least time before a tail loss probe. A guest that was not scheduled for a moment is asked needlessly, which costs one
/// segment; a loss at the end of a burst costs this much time.
const MIN_PROBE: Duration = Duration::from_millis(2);
/// The same for a peer without selective acknowledgments, where a needless one shrinks the window.
const MIN_REPEAT: Duration = Duration::from_millis(10);
/// Probes without an answer; then the retransmission timer is waited for.
const MAX_PROBES: u8 = 5;
/// What a peer may take to acknowledge a lone segment (RFC 8985 section 7.2).
const DELAYED_ACK: Duration = Duration::from_millis(200);

/// What the timer is armed for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Timer {
    Retransmit,
    Persist,
    /// What may have been overtaken is looked at again (RFC 8985 section 6.3).
    Reorder,
    /// The last segment in flight may be lost (RFC 8985 section 7.3).
    Probe,
}

impl Sender {
    /// The next moment at which [`Sender::on_deadline`] has something to do.
    #[inline]
    pub(crate) fn deadline(&self) -> Option<Instant> {
        earliest(self.timer.map(|(_, at)| at), self.pacer.due())
    }

    /// Whether the next deadline is that of something that waits for its pace.
    #[cfg(test)]
    pub(crate) fn is_paced(&self) -> bool {
        self.pacer.due().is_some() && self.deadline() == self.pacer.due()
    }

    /// Handles the deadline if it has come. False when the peer is given up.
    pub(crate) fn on_deadline(&mut self, now: Instant) -> bool {
        self.pacer.on_deadline(now);
        let Some((timer, _)) = self.timer.filter(|&(_, at)| at <= now) else { return true };
        self.look_for_silence();
        self.timer = None;
        match timer {
            Timer::Probe => self.on_probe_timer(now),
            Timer::Reorder => {
                self.rearm(now);
                self.detect_losses(0, now);
                self.repair(0, false);
            }
            Timer::Retransmit | Timer::Persist => return self.on_timeout(timer, now),
        }
        true
    }

    /// The peer had its time for an answer. False when it is given up.
    fn on_timeout(&mut self, timer: Timer, now: Instant) -> bool {
        self.waited += self.interval(timer);
        self.tries = self.tries.saturating_add(1);
        // In a closed window nothing is lost; it is asked for until it opens, and who is silent has the same time.
        let probing = self.wnd == 0 && !self.buffer.is_empty();
        if (self.tries > MAX_TRIES && !probing) || self.waited >= MAX_WAIT {
            return false;
        }
        if timer == Timer::Retransmit && !probing {
            let again = self.backoff > 0;
            // A second loss while one is repaired is not a second sign of congestion.
            let known = again || self.recovery.phase == Phase::Loss;
            if !known {
                self.remember(self.controller.before(), now);
            }
            self.recovery.frto = if known || !self.sack { Frto::Off } else { Frto::First };
            self.controller.on_timeout(known);
            self.recovery.phase = Phase::Loss;
            self.recovery.recover = self.max;
            let lost = self.scoreboard.lose_all(again);
            let missing = self.meter.on_lost(lost, None);
            self.controller.on_lost(&missing, now);
            if again {
                self.doubt_length();
            }
        } else {
            self.scoreboard.clear(self.una);
        }
        self.recovery.duplicates = 0;
        self.recovery.left = 0;
        self.recovery.probe = None;
        if self.scoreboard.is_empty() {
            self.nxt = self.una;
            self.due.insert(Due::FORCED);
            self.due.remove(Due::FIRST_LOST);
        } else {
            self.due.insert(Due::FIRST_LOST);
        }
        self.backoff = self.backoff.saturating_add(1);
        self.arm(if probing { Timer::Persist } else { Timer::Retransmit }, now);
        true
    }

    /// The timer's interval at this number of doublings.
    fn interval(&self, timer: Timer) -> Duration {
        let most = if timer == Timer::Persist { self.rtt.rto(0).max(MAX_PERSIST) } else { rtt::MAX };
        self.rtt.rto(self.backoff).min(most)
    }

    pub(super) fn arm(&mut self, timer: Timer, now: Instant) {
        self.timer = Some((timer, now + self.interval(timer)));
    }

    /// What was in flight was acknowledged: a new count begins.
    pub(super) fn restart_timer(&mut self, now: Instant) {
        self.forget_waits();
        self.rearm(now);
    }

    /// What was waited for has come.
    #[inline]
    pub(super) fn forget_waits(&mut self) {
        self.backoff = 0;
        self.tries = 0;
        self.waited = Duration::ZERO;
        self.recovery.probes = 0;
    }

    /// Arms the timer for what is in flight: a probe of the tail where that can help, otherwise retransmission.
    pub(super) fn rearm(&mut self, now: Instant) {
        if self.una == self.max {
            self.timer = None;
            return;
        }
        let phase = self.recovery.phase;
        let probing = self.backoff == 0
            && self.recovery.probes < MAX_PROBES
            && self.scoreboard.flight() > self.scoreboard.sacked()
            && self.wnd > 0
            && (self.sack || phase != Phase::Loss);
        self.arm(Timer::Retransmit, now);
        self.armed_at = now;
        if !probing {
            return;
        }
        let wait = self.probe_interval();
        // RFC 8985 has the first probe in place of a timeout that would come sooner.
        let first = self.sack && phase == Phase::Open && self.recovery.probes == 0;
        if let Some((_, at)) = self.timer
            && (first || now + wait < at)
        {
            self.timer = Some((Timer::Probe, at.min(now + wait)));
        }
    }

    /// The time after which a probe is sent (RFC 8985 section 7.2).
    fn probe_interval(&self) -> Duration {
        let srtt = self.rtt.srtt().unwrap_or(Duration::from_millis(500));
        let mut wait = (srtt + srtt).max(if self.sack { MIN_PROBE } else { MIN_REPEAT });
        wait = Duration::from_micros(wait.total_micros() << self.recovery.probes);
        // A segment behind a hole is acknowledged at once (RFC 5681 section 4.2).
        if self.recovery.phase == Phase::Open && self.scoreboard.pipe() <= u32::from(self.payload_mss()) {
            wait += DELAYED_ACK;
        }
        wait
    }

    /// Nothing was heard for two round trips: a segment is sent whose answer tells what is missing. The time runs from the last
    /// segment that was sent, but it ends when a timeout would come (RFC 8985 section 7.2); that is looked at here, as most
    /// segments are acknowledged.
    fn on_probe_timer(&mut self, now: Instant) {
        if self.sack && self.recovery.phase == Phase::Open && self.recovery.probes == 0 {
            let due = (self.sent_at + self.probe_interval()).min(self.armed_at + self.interval(Timer::Retransmit));
            if due > now && self.sent_at > self.armed_at {
                self.timer = Some((Timer::Probe, due));
                return;
            }
        }
        let open = self.recovery.phase == Phase::Open;
        self.recovery.probes = self.recovery.probes.saturating_add(1);
        if !self.sack {
            // Only the first segment's acknowledgment tells anything.
            let segment = u32::from(self.payload_mss());
            if open {
                self.scoreboard.lose_first(segment);
                self.on_loss(0, now);
            } else if self.scoreboard.lost() == 0 {
                self.scoreboard.lose_first(segment);
            }
            self.due.insert(Due::FIRST_LOST);
        } else if self.scoreboard.lost() > 0 {
            // The window is closed, as too little is known to have arrived.
            self.due.insert(Due::FIRST_LOST);
        } else {
            self.due.insert(Due::TAIL_PROBE);
            if open && self.recovery.probe.is_none() {
                self.recovery.probe = Some(Probe { end: self.max, resent: true });
            }
        }
        self.rearm(now);
    }
}
