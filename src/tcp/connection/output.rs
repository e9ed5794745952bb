//! Segments to send: what, how much, and when.

use super::timers::Timer;
use super::{Connection, Owed, State};
use crate::tcp::segment::{Flags, Options, Transmit};
use crate::tcp::seq::SeqNumber;
use crate::time::Instant;

impl Connection {
    /// The next segment to send, if any is due now. To be called until it returns `None`.
    pub fn poll_transmit(&mut self, now: Instant) -> Option<Transmit> {
        if self.state == State::Closed {
            return None;
        }
        if let Some(reason) = self.aborting {
            let reset = self.abort_segment();
            self.close(reason);
            return Some(reset);
        }
        if let Some(seq) = self.stray_reset.take() {
            return Some(Transmit { flags: Flags::RST, ack: SeqNumber(0), window: 0, ..self.bare(seq) });
        }
        match self.state {
            State::Opening => None,
            State::SynSent | State::SynReceived => self.poll_handshake(now),
            _ => {
                self.bound_fin_wait_2(now);
                self.poll_stream(now)
            }
        }
    }

    /// A segment without payload and options that carries what every segment does.
    fn bare(&self, seq: SeqNumber) -> Transmit {
        Transmit {
            seq,
            ack: self.rcv_nxt,
            flags: Flags::ACK,
            window: if self.established { self.window_field() } else { self.syn_window() },
            urgent: 0,
            options: Options::default(),
            offset: 0,
            len: 0,
        }
    }

    /// The reset that ends the connection.
    fn abort_segment(&self) -> Transmit {
        let flags = Flags::RST | Flags::ACK;
        if self.state == State::Opening {
            // The answer to a SYN that was never answered (RFC 9293 section 3.10.7.1).
            return Transmit { flags, ack: self.irs + 1, ..self.bare(SeqNumber(0)) };
        }
        Transmit { flags, ..self.bare(self.snd_nxt) }
    }

    fn poll_handshake(&mut self, now: Instant) -> Option<Transmit> {
        if self.snd_nxt == self.iss {
            let syn = Transmit { options: self.syn_options(), ..self.bare(self.iss) };
            if self.snd_max == self.iss {
                self.timing = Some((self.iss + 1, now));
            } else {
                self.timing = None;
            }
            self.snd_nxt = self.iss + 1;
            self.snd_max = self.snd_nxt;
            self.rcv_adv = self.rcv_adv.max(self.rcv_nxt + u32::from(syn.window));
            self.owed = Owed::No;
            if self.timer.is_none() {
                self.arm(Timer::Retransmit, now);
            }
            return Some(match self.state {
                State::SynSent => Transmit { flags: Flags::SYN, ack: SeqNumber(0), ..syn },
                _ => Transmit { flags: Flags::SYN | Flags::ACK, ..syn },
            });
        }
        if self.owed == Owed::Now && self.state == State::SynReceived {
            self.owed = Owed::No;
            return Some(self.bare(self.snd_nxt));
        }
        None
    }

    fn poll_stream(&mut self, now: Instant) -> Option<Transmit> {
        if std::mem::take(&mut self.retransmit)
            && let Some(transmit) = self.first_in_flight(now)
        {
            return Some(transmit);
        }
        if let Some(transmit) = self.next_new(now) {
            return Some(transmit);
        }
        if self.owed == Owed::Now {
            // What was sent counts, even if it is about to be sent again; but a probe of a closed window was hardly taken.
            let probing = self.timer.is_some_and(|(timer, _)| timer == Timer::Persist);
            let seq = if probing { self.snd_nxt } else { self.snd_max };
            return Some(self.emit(seq, 0, 0, false));
        }
        None
    }

    /// The first segment in flight once more. What comes after it stays in flight.
    fn first_in_flight(&mut self, now: Instant) -> Option<Transmit> {
        let flight = self.snd_max.distance(self.snd_una) as usize;
        let len = flight.min(self.send.len()).min(usize::from(self.mss));
        let fin = self.fin_sent && len == self.send.len() && flight > len;
        if len == 0 && !fin {
            return None;
        }
        self.timing = None;
        self.arm(Timer::Retransmit, now);
        let end = self.snd_una + len as u32 + u32::from(fin);
        self.snd_nxt = self.snd_nxt.max(end);
        Some(self.emit(self.snd_una, 0, len, fin))
    }

    /// The next segment from `snd_nxt` on, as far as the windows allow.
    fn next_new(&mut self, now: Instant) -> Option<Transmit> {
        let offset = self.snd_nxt.distance(self.snd_una) as usize;
        let buffered = self.send.len();
        if offset > buffered || matches!(self.state, State::FinWait2 | State::TimeWait) {
            // The FIN was the last.
            return None;
        }
        let force = std::mem::take(&mut self.force);
        let unsent = buffered - offset;
        if unsent == 0 && !self.send.is_closed() {
            return None;
        }
        let allowed = self.snd_wnd.min(self.congestion.allowance()) as usize;
        let usable = allowed.saturating_sub(offset);
        let full = unsent.min(usize::from(self.mss));
        let mut len = full.min(usable);
        // Sender's silly window avoidance, RFC 9293 section 3.8.6.2.1: a full segment, all there is, or half of the
        // largest window the peer ever offered.
        if len < full && len < (self.max_snd_wnd / 2) as usize {
            len = 0;
        }
        let mut probe = false;
        if len == 0 && force && unsent > 0 {
            len = full.min(usable.max(1));
            probe = usable == 0;
        }
        let fin = self.send.is_closed() && len == unsent;
        if len == 0 && !fin {
            if offset == 0 && self.timer.is_none() {
                // Nothing is in flight that could bring an answer: after a while the window is asked for.
                self.arm(Timer::Persist, now);
            }
            return None;
        }
        let seq = self.snd_nxt;
        let fresh = seq == self.snd_max;
        let end = seq + len as u32 + u32::from(fin && !probe);
        self.snd_max = self.snd_max.max(end);
        if probe {
            // The window is closed; the byte is a question, and counts as sent only once it is acknowledged.
            return Some(self.emit(seq, offset, len, false));
        }
        self.snd_nxt = end;
        if fresh && self.timing.is_none() {
            self.timing = Some((end, now));
        }
        if !self.timer.is_some_and(|(timer, _)| timer == Timer::Retransmit) {
            self.arm(Timer::Retransmit, now);
        }
        if fin {
            self.fin_sent = true;
            match self.state {
                State::Established => self.state = State::FinWait1,
                State::CloseWait => self.state = State::LastAck,
                _ => {}
            }
        }
        Some(self.emit(seq, offset, len, fin))
    }

    /// Makes a segment of the synchronized states. It carries the acknowledgment that was owed.
    fn emit(&mut self, seq: SeqNumber, offset: usize, len: usize, fin: bool) -> Transmit {
        let mut transmit = Transmit { offset, len, ..self.bare(seq) };
        if len > 0 && offset + len == self.send.len() {
            transmit.flags |= Flags::PSH;
        }
        if fin {
            transmit.flags |= Flags::FIN;
        }
        if len > 0
            && let Some(end) = self.send.urgent()
            && end > offset
        {
            transmit.flags |= Flags::URG;
            transmit.urgent = (end - offset).min(usize::from(u16::MAX)) as u16;
        }
        self.rcv_adv = self.rcv_adv.max(self.rcv_nxt + (u32::from(transmit.window) << self.rcv_scale));
        self.owed = Owed::No;
        transmit
    }
}
