//! The handshake: what our SYN offers, when it is sent again, and what the peer's settles.

use super::Connection;
use crate::tcp::config::Config;
use crate::tcp::due::Due;
use crate::tcp::ecn::{ASKS, Ecn};
use crate::tcp::rtt;
use crate::tcp::segment::{Flags, Options, Segment, Transmit};
use crate::tcp::seq::SeqNumber;
use crate::tcp::state::{Closed, State};
use crate::time::{Duration, Instant};

/// How long the handshake may take; source: docs/contract/tcp.md section 2.1.
pub(crate) const PATIENCE: Duration = Duration::from_secs(75);

/// What exists only until a connection is established.
#[derive(Debug)]
pub(super) struct Handshake {
    /// Window scaling and selective acknowledgments are offered, and the peer's SYN has not said no.
    window_scale: bool,
    sack: bool,
    /// What of explicit congestion notification is wanted.
    ecn: Ecn,
    /// When our SYN was sent, unless it was repeated.
    sent: Option<Instant>,
    /// When it is sent again.
    again_at: Option<Instant>,
    /// Doublings of the interval between SYNs.
    backoff: u8,
    /// The sum of the intervals that have passed. Not the time that passed: the clock of a paused machine jumps.
    waited: Duration,
}

impl Handshake {
    pub(super) fn new(config: &Config) -> Handshake {
        Handshake {
            window_scale: config.window_scale,
            sack: config.sack,
            ecn: config.ecn,
            sent: None,
            again_at: None,
            backoff: 0,
            waited: Duration::ZERO,
        }
    }

    /// The interval until our SYN is sent again.
    fn interval(&self) -> Duration {
        let doubled = Duration::from_micros(rtt::INITIAL.total_micros() << self.backoff.min(6));
        let left = PATIENCE.total_micros().saturating_sub(self.waited.total_micros());
        doubled.min(Duration::from_micros(left))
    }

    /// Our SYN goes out, whether for the first time.
    fn on_sent(&mut self, first: bool, now: Instant) {
        self.sent = first.then_some(now);
        if self.again_at.is_none() {
            self.again_at = Some(now + self.interval());
        }
    }

    /// Nothing was answered in time. Whether our SYN is to be sent again.
    fn on_timeout(&mut self, now: Instant) -> bool {
        self.waited += self.interval();
        self.again_at = None;
        if self.waited >= PATIENCE {
            return false;
        }
        self.backoff = self.backoff.saturating_add(1);
        self.sent = None;
        self.again_at = Some(now + self.interval());
        true
    }

    pub(super) fn stop(&mut self) {
        self.again_at = None;
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.again_at
    }

    /// Timeouts that the peer has not answered.
    pub(super) fn timeouts(&self) -> u8 {
        self.backoff
    }
}

impl Connection {
    /// Our SYN is due.
    pub(super) fn send_syn(&mut self) {
        self.sender.rewind_syn();
        self.due.insert(Due::SYN);
    }

    /// Takes over what a peer's SYN says: its number, window and options.
    pub(super) fn take_syn(&mut self, syn: &Segment<'_>, now: Instant) {
        let Some(handshake) = &mut self.handshake else { return };
        handshake.sack &= syn.options.sack_permitted;
        handshake.window_scale &= syn.options.window_scale.is_some();
        let (scaled, sack) = (handshake.window_scale, handshake.sack);
        // RFC 3168 section 6.1.1: a SYN asks with both flags, and its answer says yes with one.
        let (asked, flags) = (handshake.ecn == Ecn::Ask, syn.flags & (Flags::ACK | ASKS));
        let agreed = match self.state {
            State::SynSent => asked && flags == Flags::ACK | Flags::ECE,
            _ => handshake.ecn != Ecn::Refuse && flags == ASKS,
        };
        self.sender.agree_on_marks(agreed);
        self.receiver.begin(syn.seq);
        self.sender.begin(syn, self.receiver.mss(), (scaled, sack), now);
        let stamp = syn.options.timestamps.filter(|_| self.sender.stamps()).map(|(value, _)| value);
        self.receiver.begin_stamps(stamp, now);
        self.receiver.settle(scaled, sack);
    }

    /// The peer's SYN comes once more. One that no longer asks for explicit congestion notification settles that there is none
    /// (RFC 3168 section 6.1.1.1): the peer takes our answer for one to this SYN.
    pub(super) fn note_repeated_syn(&mut self, syn: &Segment<'_>) {
        if syn.flags & ASKS != ASKS {
            self.sender.agree_on_marks(false);
        }
    }

    /// The options of our SYN.
    fn syn_options(&self, now: Instant) -> Options {
        let offered = |what: fn(&Handshake) -> bool| self.handshake.as_deref().is_some_and(what);
        Options {
            mss: Some(self.receiver.mss()),
            window_scale: offered(|handshake| handshake.window_scale).then(|| self.receiver.shift_for_limit()),
            sack_permitted: offered(|handshake| handshake.sack),
            timestamps: self.timestamps_field(now),
            ..Options::default()
        }
    }

    /// The next segment of the handshake, if any is due.
    pub(super) fn poll_handshake(&mut self, now: Instant) -> Option<Transmit> {
        if self.due.contains(Due::SYN) {
            let syn = Transmit { options: self.syn_options(now), ..self.bare(self.sender.iss(), now) };
            self.due.remove(Due::SYN);
            let first = self.sender.send_syn();
            let mut ecn = Flags::empty();
            self.receiver.announced(u32::from(syn.window));
            if let Some(handshake) = &mut self.handshake {
                handshake.on_sent(first, now);
                if !first && self.state == State::SynSent {
                    // There are hosts that do not answer such a SYN (RFC 3168 section 6.1.1.1).
                    handshake.ecn = Ecn::Refuse;
                } else if handshake.ecn == Ecn::Ask {
                    ecn = ASKS;
                }
            }
            return Some(match self.state {
                State::SynSent => Transmit { flags: Flags::SYN | ecn, ack: SeqNumber(0), ..syn },
                _ if self.sender.marks_agreed() => Transmit { flags: Flags::SYN | Flags::ACK | Flags::ECE, ..syn },
                _ => Transmit { flags: Flags::SYN | Flags::ACK, ..syn },
            });
        }
        if self.receiver.due().contains(Due::ACK) && self.state == State::SynReceived {
            // Only the window of a SYN is not scaled (RFC 7323 section 2.2).
            let window = self.receiver.window_field();
            self.receiver.announced(u32::from(window) << self.receiver.scale());
            return Some(Transmit { window, ..self.bare(self.sender.nxt(), now) });
        }
        None
    }

    /// The time to send our SYN again may have come.
    pub(super) fn on_handshake_deadline(&mut self, now: Instant) {
        let Some(handshake) = self.handshake.as_mut().filter(|shake| shake.again_at.is_some_and(|at| at <= now)) else {
            return;
        };
        if handshake.on_timeout(now) {
            self.send_syn();
        } else if self.state == State::SynSent {
            self.close(Closed::TimedOut);
        } else {
            self.abort_because(Closed::TimedOut);
        }
    }

    /// Our SYN was acknowledged.
    pub(super) fn establish(&mut self, ack: SeqNumber, now: Instant) {
        let Some(handshake) = self.handshake.take() else { return };
        self.sender.establish(ack, handshake.sent, handshake.backoff > 0, now);
        self.due.remove(Due::SYN);
        self.state = State::Established;
        self.begin_watch(now);
    }
}
