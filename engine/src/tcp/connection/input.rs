//! Segments that arrive: RFC 9293 section 3.10.7, with the checks of RFC 5961 against segments made up by others.

use super::recovery::Recovery;
use super::timers::Timer;
use super::{Closed, Connection, State};
use crate::tcp::congestion::{Ack, Control};
use crate::tcp::pool::Pool;
use crate::tcp::scoreboard::Delivered;
use crate::tcp::segment::{Flags, Segment};
use crate::tcp::seq::SeqNumber;
use crate::time::{Duration, Instant};

/// Challenge acknowledgments per second and connection (RFC 5961 section 7).
const CHALLENGES: u8 = 10;

impl Connection {
    /// Takes a segment from the peer. What it is answered with comes from [`Connection::poll_transmit`].
    pub fn on_segment(&mut self, segment: &Segment<'_>, now: Instant, pool: &mut Pool) {
        if self.aborting.is_some() {
            return;
        }
        self.look_at_share(pool);
        self.keep_alive.heard(now);
        if self.learning {
            self.learn(segment, now);
        }
        match self.state {
            State::Closed => {}
            State::Opening => self.in_opening(segment, now, pool),
            State::SynSent => self.in_syn_sent(segment, now, pool),
            _ => {
                if !self.take_expected(segment, now, pool) {
                    self.in_other_states(segment, now, pool);
                }
            }
        }
    }

    /// The common case of a bulk transfer: the next bytes, nothing else new, nothing out of order.
    #[inline]
    fn take_expected(&mut self, segment: &Segment<'_>, now: Instant, pool: &mut Pool) -> bool {
        if !self.expects(segment, segment.payload.len(), now) {
            return false;
        }
        self.take_expected_header(segment, now, pool);
        self.receiver.push_in_order(segment.payload, pool);
        true
    }

    /// Whether a segment with so many bytes of payload is [`Connection::take_expected`]'s.
    #[inline]
    fn expects(&self, header: &Segment<'_>, len: usize, now: Instant) -> bool {
        self.state == State::Established
            && (header.flags & !Flags::PSH) == Flags::ACK
            && header.ack == self.snd_una
            && self.scoreboard.sacked() == 0
            && header.options.sack[0].is_none()
            && self.receiver.expects(header, len, now)
    }

    #[inline]
    fn take_expected_header(&mut self, header: &Segment<'_>, now: Instant, pool: &Pool) {
        self.receiver.take_stamp(header, now);
        self.update_window(header);
        if self.receiver.may_grow(now) {
            self.grow_receiver(header, now, pool);
        }
    }

    /// The place for the next `len` bytes, where a segment with this header and so much payload has them and nothing else
    /// that is new, and there is memory in one piece. The segment's checksum need not have been looked at:
    /// [`Connection::take_placed`] takes over what was copied there.
    #[inline]
    pub fn place(&mut self, header: &Segment<'_>, len: usize, now: Instant, pool: &mut Pool) -> Option<&mut [u8]> {
        if self.aborting.is_some() || self.learning || !self.expects(header, len, now) {
            return None;
        }
        self.receiver.place(len, pool)
    }

    /// The segment is not to be taken, as its checksum is wrong.
    #[cold]
    pub fn forget_place(&mut self, pool: &mut Pool) {
        self.receiver.forget_place(pool);
    }

    /// Takes the segment whose payload lies in its [`Connection::place`], without anything in between.
    #[inline]
    pub fn take_placed(&mut self, header: &Segment<'_>, len: usize, now: Instant, pool: &mut Pool) {
        self.look_at_share(pool);
        self.keep_alive.heard(now);
        self.take_expected_header(header, now, pool);
        self.receiver.take_placed(len);
    }

    #[cold]
    fn grow_receiver(&mut self, segment: &Segment<'_>, now: Instant, pool: &Pool) {
        let round_trips = (self.rtt.least(), self.echo_age(segment, now));
        self.receiver.grow(segment.seq, round_trips, now, pool);
    }

    /// Nothing was answered yet.
    fn in_opening(&mut self, segment: &Segment<'_>, now: Instant, pool: &mut Pool) {
        if segment.flags.contains(Flags::RST) {
            // The peer has not learned of anything from us; it can know only its own numbers.
            if segment.seq == self.rcv_nxt() || segment.seq == self.receiver.irs() {
                self.close(Closed::ResetByPeer);
            }
            return;
        }
        let controls = Flags::SYN | Flags::ACK | Flags::FIN;
        if segment.flags & controls == Flags::SYN && segment.seq != self.receiver.irs() {
            // The peer has forgotten its first attempt and made another.
            self.receiver.release(pool);
            self.take_syn(segment, now);
        }
    }

    /// RFC 9293 section 3.10.7.3.
    fn in_syn_sent(&mut self, segment: &Segment<'_>, now: Instant, pool: &mut Pool) {
        let acks = segment.flags.contains(Flags::ACK);
        let acks_syn = acks && segment.ack.gt(self.iss) && !segment.ack.gt(self.snd_max);
        if acks && !acks_syn {
            if !segment.flags.contains(Flags::RST) {
                self.stray_reset = Some(segment.ack);
            }
            return;
        }
        if segment.flags.contains(Flags::RST) {
            if acks_syn {
                self.close(Closed::ResetByPeer);
            }
            return;
        }
        if !segment.flags.contains(Flags::SYN) {
            return;
        }
        self.take_syn(segment, now);
        if acks_syn {
            self.establish(segment.ack, now);
            self.receiver.owe();
        } else {
            // Both sides opened at once: our SYN goes out again, now with an acknowledgment.
            self.state = State::SynReceived;
            self.snd_nxt = self.iss;
        }
        let rest = Segment { seq: segment.seq + 1, flags: segment.flags & !Flags::SYN, ..*segment };
        if self.established {
            self.take_text(&rest, now, pool);
        }
        // Without the handshake complete the data is left for the peer to send again.
    }

    /// Our SYN was acknowledged.
    fn establish(&mut self, ack: SeqNumber, now: Instant) {
        if self.backoff > 0 {
            self.rtt.syn_was_lost();
        }
        if let Some(sent) = self.syn_sent.take() {
            self.rtt.sample(sent, now);
        }
        self.snd_una = ack;
        self.snd_nxt = ack;
        self.rtt_next = ack;
        self.scoreboard.clear(ack);
        self.recovery = Recovery::new(ack);
        self.established = true;
        self.state = State::Established;
        self.begin_watch(now);
        self.restart_timer(now);
    }

    /// RFC 9293 section 3.10.7.4.
    fn in_other_states(&mut self, segment: &Segment<'_>, now: Instant, pool: &mut Pool) {
        let mut segment = *segment;
        if self.state == State::SynReceived
            && segment.flags.contains(Flags::SYN)
            && !segment.flags.contains(Flags::RST)
            && segment.seq == self.receiver.irs()
        {
            if !segment.flags.contains(Flags::ACK) {
                // A repeated SYN: our answer was lost.
                if self.may_challenge(now) {
                    self.snd_nxt = self.iss;
                }
                return;
            }
            // The answer to our SYN, when both sides opened at once.
            segment.flags &= !Flags::SYN;
            segment.seq += 1;
            // The window of a SYN is not scaled (RFC 7323 section 2.2), as that of every other segment is below.
            segment.window >>= self.snd_scale;
            self.receiver.owe();
        }

        if segment.flags & (Flags::SYN | Flags::RST) == Flags::SYN {
            // RFC 5961 section 4.2, whatever the sequence number, and whatever the timestamp: a peer that has started anew
            // counts from anywhere.
            self.challenge_syn(&segment, now);
            return;
        }
        // RFC 7323 section 5.3, before the sequence number: what is older than what came is an old duplicate.
        if !segment.flags.contains(Flags::RST) && !self.receiver.stamp_is_good(&segment, now) {
            if !segment.is_empty() {
                self.receiver.owe();
            }
            return;
        }
        // First, the sequence number. What lies left of the window is cut off below, once the rest was looked at.
        let edge = self.rcv_nxt() + self.rcv_wnd();
        let beyond = segment.seq.gt(edge)
            || (segment.seq == edge && segment.seq != self.rcv_nxt() && !segment.payload.is_empty());
        let old = segment.seq.lt(self.rcv_nxt());
        if segment.flags.contains(Flags::RST) {
            // RFC 5961 section 3.2.
            if segment.seq == self.rcv_nxt() {
                self.close(if self.state == State::TimeWait { Closed::Finished } else { Closed::ResetByPeer });
            } else if !beyond && !old {
                self.challenge(now);
            }
            return;
        }
        if beyond {
            if segment.is_empty() {
                self.challenge(now)
            } else {
                self.receiver.owe()
            }
            // A peer that probes our closed window counts its probe as sent; what it acknowledges meanwhile is good
            // (RFC 9293 section 3.10.7.4, the allowance for a window of zero).
            let near = segment.seq.distance(edge) <= u32::from(u16::MAX);
            if near && segment.flags.contains(Flags::ACK) {
                self.take_ack(&Segment { seq: self.rcv_nxt(), payload: &[], ..segment }, now, pool);
            }
            return;
        }
        if !segment.flags.contains(Flags::ACK) {
            return;
        }
        if old && segment.is_empty() {
            // A probe of whether we are alive, or a late segment.
            self.challenge(now);
        }

        if !self.take_ack(&segment, now, pool) {
            return;
        }
        self.knock = None;
        // Not before: who guesses only the window is not to make the peer's own segments look old.
        self.receiver.take_stamp(&segment, now);
        self.take_text(&segment, now, pool);
        self.bound_fin_wait_2(now);
    }

    /// The acknowledgment of an acceptable segment. False when the rest of the segment is not to be looked at.
    fn take_ack(&mut self, segment: &Segment<'_>, now: Instant, pool: &mut Pool) -> bool {
        let ack = segment.ack;
        if self.state == State::SynReceived {
            if !ack.gt(self.snd_una) || ack.gt(self.snd_max) {
                self.stray_reset = Some(ack);
                return false;
            }
            self.establish(ack, now);
            self.snd_wl1 = segment.seq;
            self.snd_wl2 = ack;
            self.set_window(segment);
            return true;
        }
        if ack.gt(self.snd_max) {
            self.challenge(now);
            return false;
        }
        if ack.lt(self.snd_una - self.max_snd_wnd) {
            // Older than the largest window: RFC 5961 section 5.2.
            self.challenge(now);
            return false;
        }
        if self.timer.is_some_and(|(timer, _)| timer == Timer::Persist) {
            // The peer is alive: its window is asked for as long as it takes.
            self.tries = 0;
            self.waited = Duration::ZERO;
        }
        if ack.gt(self.snd_una) {
            self.take_new_ack(segment, now, pool);
        } else if ack == self.snd_una {
            self.take_same_ack(segment, now);
        }
        self.state != State::Closed
    }

    fn take_new_ack(&mut self, segment: &Segment<'_>, now: Instant, pool: &mut Pool) {
        let ack = segment.ack;
        let flight = self.snd_max.distance(self.snd_una);
        let acked = ack.distance(self.snd_una);
        let bytes = (acked as usize).min(self.send.len());
        // The FIN comes after all bytes.
        let fin_acked = self.fin_sent && acked as usize > bytes;
        let mut delivered = self.scoreboard.acked(ack);
        self.send.consume(bytes, pool);
        self.snd_una = ack;
        self.snd_nxt = self.snd_nxt.max(ack);
        self.force = false;
        self.retransmit = false;
        let twice = self.take_sack(segment, &mut delivered);
        if delivered.newest.is_none_or(|newest| newest.resent) {
            self.measure_echo(segment, now);
        }
        self.on_delivered(&delivered, now);
        self.detect_by_echo(segment);
        self.detect_by_new_data(&delivered, true);
        if let Some(twice) = twice {
            self.on_duplicate_report(twice);
        }
        self.judge_probe(segment, true, twice.is_some());
        self.on_progress(delivered.bytes, acked, flight, now);
        self.restart_timer(now);
        let lost = self.detect_losses(delivered.bytes, now);
        self.repair(delivered.bytes, !lost);
        // What acknowledges more was sent later, also where its sequence number is an older one. Its window counts from its
        // acknowledgment: with the window of before, the right edge would lie further on than the peer ever said.
        self.take_window(segment);
        if fin_acked {
            match self.state {
                State::FinWait1 => {
                    self.state = State::FinWait2;
                    self.begin_watch(now);
                }
                State::Closing => self.enter_time_wait(now),
                State::LastAck => self.close(Closed::Finished),
                _ => {}
            }
        }
    }

    fn take_same_ack(&mut self, segment: &Segment<'_>, now: Instant) {
        let window = self.snd_wnd;
        self.update_window(segment);
        // RFC 5681 section 2. The answers to probes of a closed window look the same and mean something else.
        let duplicate = segment.is_empty()
            && self.snd_wnd == window
            && self.snd_max != self.snd_una
            && self.timer.is_some_and(|(timer, _)| timer != Timer::Persist);
        if !self.sack {
            if duplicate {
                self.on_duplicate_ack(now);
            }
            return;
        }
        let mut delivered = Delivered::default();
        let twice = self.take_sack(segment, &mut delivered);
        if let Some(twice) = twice {
            self.on_duplicate_report(twice);
        }
        self.judge_probe(segment, false, twice.is_some());
        if delivered.bytes > 0 {
            self.recovery.probes = 0;
            self.on_delivered(&delivered, now);
            self.detect_by_new_data(&delivered, false);
            self.detect_losses(delivered.bytes, now);
            self.repair(delivered.bytes, false);
            let ack = Ack { delivered: delivered.bytes, flight: self.scoreboard.flight(), most: self.most_in_flight() };
            self.controller.on_ack_behind_hole(&ack, &self.path(now));
            if self.timer.is_some_and(|(timer, _)| timer == Timer::Probe) {
                // What is known now to be missing is found by its time or by the retransmission timer.
                self.rearm(now);
            }
        }
    }

    /// Takes over the peer's window unless a newer segment has said otherwise (RFC 9293 section 3.10.7.4).
    fn update_window(&mut self, segment: &Segment<'_>) {
        let newer = self.snd_wl1.lt(segment.seq) || (self.snd_wl1 == segment.seq && self.snd_wl2.le(segment.ack));
        if newer {
            self.take_window(segment);
        }
    }

    fn take_window(&mut self, segment: &Segment<'_>) {
        self.snd_wl1 = segment.seq;
        self.snd_wl2 = segment.ack;
        self.set_window(segment);
    }

    fn set_window(&mut self, segment: &Segment<'_>) {
        self.snd_wnd = u32::from(segment.window) << self.snd_scale;
        self.max_snd_wnd = self.max_snd_wnd.max(self.snd_wnd);
        if self.snd_wnd > 0 && self.timer.is_some_and(|(timer, _)| timer == Timer::Persist) {
            self.timer = None;
            self.backoff = 0;
            self.force = false;
            // A byte that was sent as a probe is sent again with what follows it.
            self.snd_nxt = self.snd_una;
            self.scoreboard.clear(self.snd_una);
        }
    }

    /// The urgent pointer, the payload and the FIN of a segment that may begin left of the window.
    fn take_text(&mut self, segment: &Segment<'_>, now: Instant, pool: &mut Pool) {
        if segment.is_empty() {
            self.receiver.take_urgent(segment);
            return;
        }
        if !matches!(self.state, State::Established | State::FinWait1 | State::FinWait2) {
            // The peer's FIN was taken already: this is its repetition, or makes no sense.
            self.receiver.owe();
            if self.state == State::TimeWait && segment.flags.contains(Flags::FIN) {
                self.enter_time_wait(now);
            }
            return;
        }
        let Some(text) = self.receiver.beyond_known(segment) else { return };
        if self.receiver.may_grow(now) {
            self.grow_receiver(segment, now, pool);
        }
        if self.receiver.take_text(text, segment, pool) {
            self.on_peer_end(now);
        }
    }

    /// The peer's FIN is in order.
    fn on_peer_end(&mut self, now: Instant) {
        match self.state {
            State::Established => {
                self.state = State::CloseWait;
                self.begin_watch(now);
            }
            State::FinWait1 => self.state = State::Closing,
            State::FinWait2 => self.enter_time_wait(now),
            _ => {}
        }
    }

    /// Answers with the current numbers, which a peer that is out of step can tell its own from. The number of such
    /// answers is bounded.
    fn challenge(&mut self, now: Instant) {
        if self.may_challenge(now) {
            self.receiver.owe();
        }
    }

    pub(super) fn may_challenge(&mut self, now: Instant) -> bool {
        if now < self.challenges_since || now - self.challenges_since >= Duration::from_secs(1) {
            self.challenges_since = now;
            self.challenges = 0;
        }
        self.challenges = self.challenges.saturating_add(1);
        self.challenges <= CHALLENGES
    }
}
