//! Segments to send: what, how much, and when.

use super::recovery::Probe;
use super::timers::Timer;
use super::undo::Frto;
use super::{Connection, State};
use crate::tcp::congestion::Control;
use crate::tcp::due::Due;
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
            let reset = self.abort_segment(now);
            self.close(reason);
            return Some(reset);
        }
        if let Some(seq) = self.stray_reset.take() {
            return Some(Transmit { flags: Flags::RST, ack: SeqNumber(0), window: 0, ..self.bare(seq, now) });
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

    /// The most payload that the next segment can have, if [`Connection::poll_transmit`] may have one; `None` only when it
    /// has none.
    pub fn next_length(&self) -> Option<usize> {
        let bare = match self.state {
            State::Closed => false,
            _ if self.aborting.is_some() || self.stray_reset.is_some() => true,
            State::Opening => false,
            State::SynSent | State::SynReceived => self.snd_nxt == self.iss || self.receiver.due().contains(Due::ACK),
            _ => {
                let flight = self.snd_nxt.distance(self.snd_una);
                let unsent = self.send.len() > flight as usize || (self.send.is_closed() && !self.fin_sent);
                let window = self.snd_wnd > flight && self.controller.window() > self.pipe();
                if self.scoreboard.lost() > 0
                    || self.recovery.probe_due
                    || self.force
                    || (unsent && (window || self.send.is_closed() || self.timer.is_none()))
                {
                    return Some(self.send.len().min(self.segment_room()));
                }
                self.receiver.due().contains(Due::ACK) || self.keep_alive.due
            }
        };
        bare.then_some(0)
    }

    /// Whether [`Connection::poll_transmit`] surely has none, as is so of most segments that are taken in a batch.
    #[inline]
    pub fn has_nothing_to_send(&self) -> bool {
        self.state == State::Established
            && !self.receiver.due().contains(Due::ACK)
            && self.send.is_empty()
            && !self.send.is_closed()
            && self.aborting.is_none()
            && self.stray_reset.is_none()
            && !self.keep_alive.due
            && self.recovery.frto == Frto::Off
            && !self.force
    }

    /// Has segments carry no more payload than this, for the time being.
    pub fn limit_segments(&mut self, longest: u16) {
        self.longest = longest;
    }

    /// A segment without payload and options that carries what every segment does.
    fn bare(&self, seq: SeqNumber, now: Instant) -> Transmit {
        Transmit {
            seq,
            ack: self.receiver.nxt(),
            flags: Flags::ACK,
            window: if self.established { self.receiver.window_field() } else { self.receiver.syn_window() },
            urgent: 0,
            options: Options { timestamps: self.timestamps_field(now), ..Options::default() },
            offset: 0,
            len: 0,
        }
    }

    /// The reset that ends the connection.
    fn abort_segment(&self, now: Instant) -> Transmit {
        let flags = Flags::RST | Flags::ACK;
        if self.state == State::Opening {
            // The answer to a SYN that was never answered (RFC 9293 section 3.10.7.1).
            return Transmit { flags, ack: self.receiver.irs() + 1, ..self.bare(SeqNumber(0), now) };
        }
        Transmit { flags, ..self.bare(self.snd_nxt, now) }
    }

    fn poll_handshake(&mut self, now: Instant) -> Option<Transmit> {
        if self.snd_nxt == self.iss {
            let syn = Transmit { options: self.syn_options(now), ..self.bare(self.iss, now) };
            if self.snd_max == self.iss {
                self.syn_sent = Some(now);
            } else {
                self.syn_sent = None;
            }
            self.snd_nxt = self.iss + 1;
            self.snd_max = self.snd_nxt;
            self.receiver.announced(u32::from(syn.window));
            if self.timer.is_none() {
                self.arm(Timer::Retransmit, now);
            }
            return Some(match self.state {
                State::SynSent => Transmit { flags: Flags::SYN, ack: SeqNumber(0), ..syn },
                _ => Transmit { flags: Flags::SYN | Flags::ACK, ..syn },
            });
        }
        if self.receiver.due().contains(Due::ACK) && self.state == State::SynReceived {
            // Only the window of a SYN is not scaled (RFC 7323 section 2.2).
            let window = self.receiver.window_field();
            self.receiver.announced(u32::from(window) << self.receiver.scale());
            return Some(Transmit { window, ..self.bare(self.snd_nxt, now) });
        }
        None
    }

    fn poll_stream(&mut self, now: Instant) -> Option<Transmit> {
        // F-RTO asks with new segments before it sends more of what may have arrived (RFC 5682 section 3.1, step 2b).
        if self.recovery.frto == Frto::New {
            if let Some(transmit) = self.next_new(false, now) {
                return Some(transmit);
            }
            if self.pipe() == 0 {
                self.recovery.frto = Frto::Off;
            }
        }
        if self.scoreboard.lost() > 0
            && self.recovery.frto != Frto::New
            && (std::mem::take(&mut self.retransmit) || self.pipe() < self.controller.window())
            && let Some(transmit) = self.next_lost(now)
        {
            return Some(transmit);
        }
        if std::mem::take(&mut self.recovery.probe_due)
            && let Some(transmit) = self.tail_probe(now)
        {
            return Some(transmit);
        }
        if let Some(transmit) = self.next_new(false, now) {
            return Some(transmit);
        }
        if self.receiver.due().contains(Due::ACK) {
            // What was sent counts, even if it is about to be sent again; but a probe of a closed window was hardly taken.
            let probing = self.timer.is_some_and(|(timer, _)| timer == Timer::Persist);
            let seq = if probing { self.snd_nxt } else { self.snd_max };
            return Some(self.emit(seq, 0, 0, false, now));
        }
        if std::mem::take(&mut self.keep_alive.due) {
            // An old number: whoever is alive answers with what it expects. There are stacks that answer only to what counts
            // in the sequence space, as the FIN that was acknowledged already does.
            let fin = self.state == State::FinWait2 && self.keep_alive.may_repeat();
            return Some(self.emit(self.snd_nxt - 1, 0, 0, fin, now));
        }
        None
    }

    /// The first lost bytes once more.
    fn next_lost(&mut self, now: Instant) -> Option<Transmit> {
        let (start, count) = self.scoreboard.next_lost()?;
        let transmit = self.again(start, count, now);
        if transmit.is_some() && start == self.snd_una {
            self.rearm(now);
        }
        transmit
    }

    /// The last segment once more, or a new one if there is one: its acknowledgment tells what is missing (RFC 8985
    /// section 7.3).
    fn tail_probe(&mut self, now: Instant) -> Option<Transmit> {
        let flight = self.snd_nxt.distance(self.snd_una);
        let unsent = self.send.len().saturating_sub(flight as usize);
        if unsent > 0 && self.snd_wnd > flight {
            self.force = true;
            if let Some(transmit) = self.next_new(true, now) {
                let end = transmit.seq + transmit.len as u32;
                if self.recovery.probe.is_some() {
                    self.recovery.probe = Some(Probe { end, resent: false });
                }
                return Some(transmit);
            }
        }
        let Some((start, count)) = self.scoreboard.last_unsacked(self.segment_room() as u32) else {
            self.recovery.probe = None;
            return None;
        };
        self.again(start, count, now)
    }

    /// At most `count` numbers from `start` on, in flight already, as one segment.
    fn again(&mut self, start: SeqNumber, count: u32, now: Instant) -> Option<Transmit> {
        let offset = start.distance(self.snd_una) as usize;
        let left = self.send.len().saturating_sub(offset);
        let whole = (count as usize).min(left).min(self.segment_room());
        // A window that has shrunk holds back all but the first byte.
        let usable = (self.snd_wnd as usize).saturating_sub(offset).max(usize::from(offset == 0));
        let len = whole.min(usable);
        let fin = self.fin_sent && len == left && count as usize > len;
        if len == 0 && !fin {
            return None;
        }
        let end = start + len as u32 + u32::from(fin);
        self.scoreboard.resent(start, end, now);
        self.controller.on_sent(end.distance(start));
        self.note_again(end.distance(start));
        Some(self.emit(start, offset, len, fin, now))
    }

    /// The next segment from `snd_nxt` on, as far as the windows allow. `beyond` the congestion window when it is a probe.
    fn next_new(&mut self, beyond: bool, now: Instant) -> Option<Transmit> {
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
        let room = if beyond { u32::MAX } else { self.controller.window().saturating_sub(self.pipe()) } as usize;
        let usable = (self.snd_wnd as usize).saturating_sub(offset).min(room);
        let full = unsent.min(self.segment_room());
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
            return Some(self.emit(seq, offset, len, false, now));
        }
        self.snd_nxt = end;
        self.controller.on_sent(len as u32);
        // A lone segment's probe waits for the peer's delayed acknowledgment; with a second one it need not.
        let lone = self.scoreboard.pipe() <= u32::from(self.payload_mss());
        self.scoreboard.sent(end, now, !fresh);
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
            self.fin_sent = true;
            match self.state {
                State::Established => self.state = State::FinWait1,
                State::CloseWait => self.state = State::LastAck,
                _ => {}
            }
        }
        Some(self.emit(seq, offset, len, fin, now))
    }

    /// Makes a segment of the synchronized states. It carries the acknowledgment that was owed.
    fn emit(&mut self, seq: SeqNumber, offset: usize, len: usize, fin: bool, now: Instant) -> Transmit {
        let mut transmit = Transmit { offset, len, ..self.bare(seq, now) };
        self.receiver.report(&mut transmit.options);
        self.receiver.acknowledged(u32::from(transmit.window) << self.receiver.scale());
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
        transmit
    }

    /// The most payload of a segment now, the options it carries taken off.
    fn segment_room(&self) -> usize {
        usize::from(self.payload_mss().min(self.longest)).saturating_sub(self.receiver.report_len()).max(1)
    }
}
