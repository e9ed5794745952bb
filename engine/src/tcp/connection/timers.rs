//! What passing time means: retransmission, probing of a closed window, the ends of FIN_WAIT_2 and TIME_WAIT.

use super::recovery::{Phase, Probe};
use super::undo::Frto;
use super::{Closed, Connection, State};
use crate::tcp::congestion::Control;
use crate::tcp::rtt;
use crate::time::{Duration, Instant, earliest};

/// How long the handshake may take; source: docs/contract/tcp.md section 2.1.
const HANDSHAKE: Duration = Duration::from_secs(75);
/// Retransmissions of one segment, and the sum of their intervals, after which the peer is given up.
const MAX_TRIES: u8 = 15;
const MAX_WAIT: Duration = Duration::from_secs(600);
/// The first interval between SYNs (RFC 6298 section 2).
const SYN_INTERVAL: Duration = Duration::from_secs(1);
/// How long a peer may take to end its direction when nobody listens to it any more.
const FIN_WAIT_2: Duration = Duration::from_secs(60);
/// The time to wait for stray segments; source: docs/contract/tcp.md section 6.
const TIME_WAIT: Duration = Duration::from_secs(10);

/// What the timer of a connection is armed for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Timer {
    Retransmit,
    Persist,
    /// What may have been overtaken is looked at again (RFC 8985 section 6.3).
    Reorder,
    /// The last segment in flight may be lost (RFC 8985 section 7.3).
    Probe,
}

impl Connection {
    /// The next moment at which [`Connection::on_deadline`] has something to do. Cheap.
    pub fn deadline(&self) -> Option<Instant> {
        earliest(earliest(self.timer.map(|(_, at)| at), self.lifetime), self.keep_alive_deadline())
    }

    /// Handles the deadline that has come. One call handles one: when the clock has jumped, what follows is armed from
    /// `now` on, so that a machine that was paused does not find its connections timed out.
    pub fn on_deadline(&mut self, now: Instant) {
        if self.lifetime.is_some_and(|end| end <= now) {
            self.close(Closed::Finished);
            return;
        }
        if !self.on_keep_alive(now) {
            return;
        }
        let Some((timer, at)) = self.timer else { return };
        if at > now {
            return;
        }
        if matches!(timer, Timer::Reorder | Timer::Probe) {
            self.timer = None;
            self.on_early_timer(timer, now);
            return;
        }
        self.waited += self.interval();
        self.tries = self.tries.saturating_add(1);
        self.timer = None;
        match self.state {
            State::Opening | State::TimeWait | State::Closed => {}
            State::SynSent | State::SynReceived => self.on_handshake_timeout(now),
            _ => self.on_data_timeout(timer, now),
        }
    }

    fn on_handshake_timeout(&mut self, now: Instant) {
        if self.waited >= HANDSHAKE {
            if self.state == State::SynSent {
                self.close(Closed::TimedOut);
            } else {
                self.abort_because(Closed::TimedOut);
            }
            return;
        }
        self.backoff = self.backoff.saturating_add(1);
        self.snd_nxt = self.iss;
        self.syn_sent = None;
        self.arm(Timer::Retransmit, now);
    }

    fn on_data_timeout(&mut self, timer: Timer, now: Instant) {
        if self.tries > MAX_TRIES || self.waited >= MAX_WAIT {
            self.abort_because(Closed::TimedOut);
            return;
        }
        // In a closed window nothing is lost; it is asked for until it opens.
        let probing = self.snd_wnd == 0 && !self.send.is_empty();
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
            self.recovery.recover = self.snd_max;
            self.scoreboard.lose_all(again);
        } else {
            self.scoreboard.clear(self.snd_una);
        }
        self.recovery.duplicates = 0;
        self.recovery.left = 0;
        self.recovery.probe = None;
        if self.scoreboard.is_empty() {
            self.snd_nxt = self.snd_una;
            self.force = true;
            self.retransmit = false;
        } else {
            self.retransmit = true;
        }
        self.backoff = self.backoff.saturating_add(1);
        self.arm(if probing { Timer::Persist } else { Timer::Retransmit }, now);
    }

    /// The timer's interval at this number of doublings.
    fn interval(&self) -> Duration {
        match self.state {
            State::SynSent | State::SynReceived => {
                let doubled = Duration::from_micros(SYN_INTERVAL.total_micros() << self.backoff.min(6));
                let left = HANDSHAKE.total_micros().saturating_sub(self.waited.total_micros());
                doubled.min(Duration::from_micros(left))
            }
            _ => self.rtt.rto(self.backoff).min(rtt::MAX),
        }
    }

    pub(super) fn arm(&mut self, timer: Timer, now: Instant) {
        self.timer = Some((timer, now + self.interval()));
    }

    /// What was in flight was acknowledged: a new count begins.
    pub(super) fn restart_timer(&mut self, now: Instant) {
        self.backoff = 0;
        self.tries = 0;
        self.waited = Duration::ZERO;
        self.recovery.probes = 0;
        self.rearm(now);
    }

    /// A time of RACK-TLP has come.
    fn on_early_timer(&mut self, timer: Timer, now: Instant) {
        if timer == Timer::Probe {
            self.on_probe_timer(now);
        } else {
            self.rearm(now);
            self.detect_losses(0, now);
            self.repair(0, false);
        }
    }

    /// Nothing was heard for two round trips: a segment is sent whose answer tells what is missing.
    fn on_probe_timer(&mut self, now: Instant) {
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
            self.retransmit = true;
        } else if self.scoreboard.lost() > 0 {
            // The window is closed, as too little is known to have arrived.
            self.retransmit = true;
        } else {
            self.recovery.probe_due = true;
            if open && self.recovery.probe.is_none() {
                self.recovery.probe = Some(Probe { end: self.snd_max, resent: true });
            }
        }
        self.rearm(now);
    }

    pub(super) fn enter_time_wait(&mut self, now: Instant) {
        self.state = State::TimeWait;
        self.timer = None;
        self.lifetime = Some(now + TIME_WAIT);
    }

    /// Bounds FIN_WAIT_2 once nobody listens to the peer.
    pub(super) fn bound_fin_wait_2(&mut self, now: Instant) {
        if self.state == State::FinWait2 && self.receiver.discards() && self.lifetime.is_none() {
            self.lifetime = Some(now + FIN_WAIT_2);
        }
    }
}
