//! Segments that arrive: RFC 9293 section 3.10.7, with the checks of RFC 5961 against segments made up by others.

use super::Connection;
use crate::tcp::due::Due;
use crate::tcp::pool::Pool;
use crate::tcp::segment::{Flags, Segment};
use crate::tcp::seq::SeqNumber;
use crate::tcp::state::{Closed, State};
use crate::time::Instant;

impl Connection {
    /// Takes a segment from the peer. What it is answered with comes from [`Connection::poll_transmit`].
    pub fn on_segment(&mut self, segment: &Segment<'_>, now: Instant, pool: &mut Pool) {
        if self.due.contains(Due::RESET) {
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
        self.take_expected_header(segment, now);
        self.receiver.push_in_order(segment.payload, pool);
        true
    }

    /// Whether a segment with so many bytes of payload is [`Connection::take_expected`]'s.
    #[inline]
    fn expects(&self, header: &Segment<'_>, len: usize, now: Instant) -> bool {
        self.state == State::Established
            && (header.flags & !Flags::PSH) == Flags::ACK
            && self.sender.expects(header)
            && self.receiver.expects(header, len, now)
    }

    #[inline]
    fn take_expected_header(&mut self, header: &Segment<'_>, now: Instant) {
        self.receiver.take_stamp(header, now);
        self.sender.update_window(header);
        if self.receiver.may_grow(now) {
            self.grow_receiver(header, now);
        }
    }

    /// The place for the next `len` bytes, where a segment with this header and so much payload has them and nothing else
    /// that is new, and there is memory in one piece. The segment's checksum need not have been looked at:
    /// [`Connection::take_placed`] takes over what was copied there.
    #[inline]
    pub fn place(&mut self, header: &Segment<'_>, len: usize, now: Instant, pool: &mut Pool) -> Option<&mut [u8]> {
        if self.due.contains(Due::RESET) || self.learning || !self.expects(header, len, now) {
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
        self.take_expected_header(header, now);
        self.receiver.take_placed(len);
    }

    /// Whether a segment has the next bytes of a peer, and what it acknowledges is nothing or all that was sent, while nothing
    /// is out of the ordinary and none of its bytes wait for the host: its owner may pass these on itself.
    #[inline]
    pub fn is_question(&self, segment: &Segment<'_>, now: Instant) -> bool {
        self.state == State::Established
            && (segment.flags & !Flags::PSH) == Flags::ACK
            && !self.learning
            && !self.due.contains(Due::RESET)
            && self.receiver.buffer().is_bare()
            && self.receiver.expects(segment, segment.payload.len(), now)
            && self.sender.expects_plainly(segment)
    }

    /// Takes the header of such a segment. [`Connection::take_text_of_question`] is to follow.
    pub fn take_question(&mut self, segment: &Segment<'_>, now: Instant, pool: &mut Pool) {
        self.look_at_share(pool);
        self.keep_alive.heard(now);
        if !self.sender.acknowledges_more(segment) {
            return self.take_expected_header(segment, now);
        }
        self.sender.take_whole_ack(segment, now, pool);
        self.challenges.heard();
        self.receiver.take_stamp(segment, now);
        if self.receiver.may_grow(now) {
            self.grow_receiver(segment, now);
        }
    }

    /// Takes its bytes, of which the host has taken the first few.
    #[inline(always)]
    pub fn take_text_of_question(&mut self, bytes: &[u8], passed_on: usize, pool: &mut Pool) {
        self.receiver.push_rest(bytes, passed_on, pool);
        if passed_on < bytes.len() {
            self.look_at_share(pool);
        }
    }

    #[cold]
    fn grow_receiver(&mut self, segment: &Segment<'_>, now: Instant) {
        let round_trips = (self.sender.rtt().least(), self.sender.echo_age(segment, now));
        self.receiver.grow(segment.seq, round_trips, now);
    }

    /// Nothing was answered yet.
    fn in_opening(&mut self, segment: &Segment<'_>, now: Instant, pool: &mut Pool) {
        if segment.flags.contains(Flags::RST) {
            // The peer has not learned of anything from us; it can know only its own numbers.
            if segment.seq == self.receiver.nxt() || segment.seq == self.receiver.irs() {
                self.close(Closed::ResetByPeer);
            }
            return;
        }
        let controls = Flags::SYN | Flags::ACK | Flags::FIN;
        if segment.flags & controls == Flags::SYN && segment.seq != self.receiver.irs() {
            // The peer has forgotten its first attempt and made another.
            self.receiver.release(pool);
            self.take_syn(segment, now);
        } else if segment.flags & controls == Flags::SYN {
            self.note_repeated_syn(segment);
        }
    }

    /// RFC 9293 section 3.10.7.3.
    fn in_syn_sent(&mut self, segment: &Segment<'_>, now: Instant, pool: &mut Pool) {
        let acks = segment.flags.contains(Flags::ACK);
        let acks_syn = acks && self.sender.acks_syn(segment.ack);
        if acks && !acks_syn {
            if !segment.flags.contains(Flags::RST) {
                self.reset_stray(segment.ack);
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
            self.send_syn();
        }
        let rest = Segment { seq: segment.seq + 1, flags: segment.flags & !Flags::SYN, ..*segment };
        if self.is_established() {
            self.take_text(&rest, now, pool);
        }
        // Without the handshake complete the data is left for the peer to send again.
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
                self.note_repeated_syn(&segment);
                if self.challenges.allow(now) {
                    self.send_syn();
                }
                return;
            }
            // The answer to our SYN, when both sides opened at once.
            segment.flags &= !Flags::SYN;
            segment.seq += 1;
            // The window of a SYN is not scaled (RFC 7323 section 2.2), as that of every other segment is below.
            segment.window >>= self.sender.scale();
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
        let edge = self.receiver.nxt() + self.receiver.window();
        let beyond = segment.seq.gt(edge)
            || (segment.seq == edge && segment.seq != self.receiver.nxt() && !segment.payload.is_empty());
        let old = segment.seq.lt(self.receiver.nxt());
        if segment.flags.contains(Flags::RST) {
            // RFC 5961 section 3.2.
            if segment.seq == self.receiver.nxt() {
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
                self.take_ack(&Segment { seq: self.receiver.nxt(), payload: &[], ..segment }, now, pool);
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
        self.challenges.heard();
        // Not before: who guesses only the window is not to make the peer's own segments look old.
        self.receiver.take_stamp(&segment, now);
        self.take_text(&segment, now, pool);
        self.bound_fin_wait_2(now);
    }

    /// The acknowledgment of an acceptable segment. False when the rest of the segment is not to be looked at.
    fn take_ack(&mut self, segment: &Segment<'_>, now: Instant, pool: &mut Pool) -> bool {
        if self.state == State::SynReceived {
            if !self.sender.acks_syn(segment.ack) {
                self.reset_stray(segment.ack);
                return false;
            }
            self.establish(segment.ack, now);
            self.sender.take_window(segment);
            return true;
        }
        if !self.sender.is_acceptable(segment.ack) {
            self.challenge(now);
            return false;
        }
        if self.sender.on_ack(segment, now, pool) {
            self.on_fin_acked(now);
        }
        self.state != State::Closed
    }

    fn on_fin_acked(&mut self, now: Instant) {
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

    /// A segment with this acknowledgment must not be believed, and is answered with a reset.
    fn reset_stray(&mut self, ack: SeqNumber) {
        self.stray = ack;
        self.due.insert(Due::STRAY_RESET);
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
            self.grow_receiver(segment, now);
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
}
