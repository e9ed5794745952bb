//! Segments to send, in the order in which they are due.

use super::Connection;
use crate::tcp::due::Due;
use crate::tcp::segment::{Flags, Options, Transmit};
use crate::tcp::sender::Outgoing;
use crate::tcp::seq::SeqNumber;
use crate::tcp::state::{Closed, State};
use crate::time::Instant;

impl Connection {
    /// All that is due.
    #[inline]
    fn due(&self) -> Due {
        self.due | self.sender.due() | self.receiver.due()
    }

    /// The next segment to send, if any is due now. To be called until it returns `None`.
    pub fn poll_transmit(&mut self, now: Instant) -> Option<Transmit> {
        if self.state == State::Closed {
            return None;
        }
        if self.due.contains(Due::RESET) {
            let reset = self.abort_segment(now);
            self.close(self.closed.unwrap_or(Closed::Aborted));
            return Some(reset);
        }
        if self.due.take(Due::STRAY_RESET) {
            return Some(Transmit { flags: Flags::RST, ack: SeqNumber(0), window: 0, ..self.bare(self.stray, now) });
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
            _ if self.due.intersects(Due::RESET | Due::STRAY_RESET) => true,
            State::Opening => false,
            State::SynSent | State::SynReceived => self.due().intersects(Due::SYN | Due::ACK),
            _ => {
                let text = self.sender.next_length(self.receiver.report_len());
                if text.is_some() {
                    return text;
                }
                self.due().intersects(Due::ACK | Due::QUESTION)
            }
        };
        bare.then_some(0)
    }

    /// Whether [`Connection::poll_transmit`] surely has none, as is so of most segments that are taken in a batch, and after
    /// most that were sent.
    #[inline]
    pub fn has_nothing_to_send(&self) -> bool {
        let waits = if self.sender.buffer().is_empty() {
            Due::BATCHED_ACK | Due::FIRST_LOST | Due::TAIL_PROBE
        } else {
            Due::BATCHED_ACK
        };
        self.state == State::Established && waits.contains(self.due()) && self.sender.is_quiet()
    }

    /// How many segments like the one that was just sent may follow at once: new ones, as long, with the same header but for their
    /// number, of which none is the last. [`Connection::send_alike`] takes some of them for sent.
    #[inline]
    pub fn more_alike(&self, sent: &Transmit) -> usize {
        let synchronized = matches!(self.state, State::Established | State::CloseWait);
        // A repetition is followed by something else.
        let newest = sent.seq + sent.len as u32 == self.sender.nxt();
        if !synchronized || !newest || sent.flags != Flags::ACK || self.due.intersects(Due::RESET | Due::STRAY_RESET) {
            return 0;
        }
        self.sender.more_alike(sent.len, self.receiver.report_len())
    }

    /// So many bytes of those segments are sent, each with what the last one had.
    #[inline]
    pub fn send_alike(&mut self, bytes: u32, now: Instant) {
        self.sender.send_alike(bytes, now);
    }

    fn poll_stream(&mut self, now: Instant) -> Option<Transmit> {
        if let Some(outgoing) = self.sender.poll(self.receiver.report_len(), now) {
            if outgoing.flags.contains(Flags::FIN) {
                self.on_fin_sent();
            }
            return Some(self.dress(outgoing, now));
        }
        if self.receiver.due().contains(Due::ACK) {
            return Some(self.dress(Outgoing::bare(self.sender.bare_seq()), now));
        }
        if self.due.take(Due::QUESTION) {
            // An old number: whoever is alive answers with what it expects. There are stacks that answer only to what counts
            // in the sequence space, as the FIN that was acknowledged already does.
            let mut question = Outgoing::bare(self.sender.nxt() - 1);
            if self.state == State::FinWait2 && self.keep_alive.may_repeat() {
                question.flags |= Flags::FIN;
            }
            return Some(self.dress(question, now));
        }
        None
    }

    fn on_fin_sent(&mut self) {
        match self.state {
            State::Established => self.state = State::FinWait1,
            State::CloseWait => self.state = State::LastAck,
            _ => {}
        }
    }

    /// A segment without payload and options that carries what every segment does.
    pub(super) fn bare(&self, seq: SeqNumber, now: Instant) -> Transmit {
        Transmit {
            seq,
            ack: self.receiver.nxt(),
            flags: Flags::ACK,
            window: if self.is_established() { self.receiver.window_field() } else { self.receiver.syn_window() },
            urgent: 0,
            options: Options { timestamps: self.timestamps_field(now), ..Options::default() },
            offset: 0,
            len: 0,
        }
    }

    /// The timestamps of a segment to be sent.
    #[inline]
    pub(super) fn timestamps_field(&self, now: Instant) -> Option<(u32, u32)> {
        self.sender.stamp(now).map(|value| (value, self.receiver.stamp_to_echo()))
    }

    /// The reset that ends the connection.
    fn abort_segment(&self, now: Instant) -> Transmit {
        let flags = Flags::RST | Flags::ACK;
        if self.state == State::Opening {
            // The answer to a SYN that was never answered (RFC 9293 section 3.10.7.1).
            return Transmit { flags, ack: self.receiver.irs() + 1, ..self.bare(SeqNumber(0), now) };
        }
        Transmit { flags, ..self.bare(self.sender.nxt(), now) }
    }

    /// Makes a segment of the synchronized states of the sender's part. It carries what the receiver owes.
    fn dress(&mut self, outgoing: Outgoing, now: Instant) -> Transmit {
        let Outgoing { seq, offset, len, flags, urgent } = outgoing;
        let mut transmit = Transmit { offset, len, urgent, ..self.bare(seq, now) };
        transmit.flags |= flags | self.echo;
        self.receiver.report(&mut transmit.options);
        self.receiver.acknowledged(u32::from(transmit.window) << self.receiver.scale());
        transmit
    }
}
