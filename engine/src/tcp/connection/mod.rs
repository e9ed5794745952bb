//! One connection: two halves that do not know each other, and the state machine that joins them.
//!
//! | where | what |
//! |---|---|
//! | [`Sender`] (`tcp/sender/`) | the send space and buffer, the scoreboard, loss recovery, its timer; it owns the congestion controller (`tcp/congestion/`) |
//! | [`Receiver`] (`tcp/receiver/`) | the receive space and buffer, what came early, the window and its growth, what is owed for it |
//! | [`Handshake`] | what exists only until the connection is established: the offer of our SYN and its repetition |
//! | [`Due`] (`tcp/due.rs`) | what may have to be sent besides new bytes |
//!
//! Here is what needs more than one of them. `input` is the order in which a segment that arrives is judged, `output` the
//! order in which segments are sent, `timers` what passing time means; `challenge` answers what may be made up by others,
//! `keepalive` asks silent peers, `saved` keeps a connection in a state and brings it back, `view` is what others may see.
//! Variables of one half alone must not come in, nor arithmetic of sequence numbers that one half can do.

mod challenge;
mod handshake;
mod input;
mod keepalive;
mod output;
mod saved;
#[cfg(test)]
mod tests;
mod timers;
mod view;

use super::buffer::{RecvBuffer, SendBuffer};
use super::config::Config;
use super::due::Due;
use super::pool::Pool;
use super::receiver::Receiver;
use super::segment::{Flags, Segment};
use super::sender::Sender;
use super::seq::SeqNumber;
use super::state::{Closed, State};
use crate::time::Instant;
use challenge::Challenges;
use handshake::Handshake;
pub(crate) use handshake::PATIENCE as HANDSHAKE_PATIENCE;
use keepalive::KeepAlive;

/// The protocol state of one connection towards the guest, "the peer" in the words of this room.
///
/// Its owner calls [`Connection::release`] before it drops it, so that the pool gets its memory back.
#[derive(Debug)]
pub struct Connection {
    sender: Sender,
    receiver: Receiver,
    /// Until the connection is established.
    handshake: Option<Box<Handshake>>,
    state: State,
    /// Why the connection is closed, or will be when the reset that is due was sent.
    closed: Option<Closed>,
    /// What is due besides what the parts say: resets, our SYN and the question.
    due: Due,
    /// The sequence number of the stray reset that is due.
    stray: SeqNumber,
    /// The end of TIME_WAIT, or of FIN_WAIT_2 where it is bounded.
    lifetime: Option<Instant>,
    keep_alive: KeepAlive,
    challenges: Challenges,
    /// ECE while the peer is to hear of a mark (RFC 3168 section 6.1.3).
    echo: Flags,
    /// The options that were agreed on are not known and are learned from the peer's segments.
    learning: bool,
}

impl Connection {
    fn new(config: &Config, iss: SeqNumber, state: State, now: Instant) -> Connection {
        Connection {
            sender: Sender::new(config, iss),
            receiver: Receiver::new(config, now),
            handshake: Some(Box::new(Handshake::new(config))),
            state,
            closed: None,
            due: Due::empty(),
            stray: SeqNumber(0),
            lifetime: None,
            keep_alive: KeepAlive::new(config, now),
            challenges: Challenges::new(now),
            echo: Flags::empty(),
            learning: false,
        }
    }

    /// A connection that the peer opens with `syn`. Nothing is sent until [`Connection::accept`]: until then repeated
    /// SYNs are ignored and a reset closes. Data on the SYN is kept and is delivered after the handshake. `iss` is the
    /// initial sequence number; choosing it well (RFC 6528) is the caller's part.
    pub fn passive(config: &Config, syn: &Segment<'_>, iss: SeqNumber, now: Instant, pool: &mut Pool) -> Connection {
        let mut connection = Connection::new(config, iss, State::Opening, now);
        connection.take_syn(syn, now);
        connection.receiver.take_syn_data(syn.payload, pool);
        connection
    }

    /// To be told before [`Connection::on_segment`] is handed a segment whose packet a queue on the way had `marked` (RFC 3168
    /// section 5), or that says that the peer has heard of a mark. The peer is told of marks until then (section 6.1.3).
    #[cold]
    pub fn on_mark(&mut self, segment: &Segment<'_>, marked: bool) {
        if self.sender.marks_agreed() && self.is_established() {
            if segment.flags.contains(Flags::CWR) {
                self.echo = Flags::empty();
            }
            if marked && !segment.is_empty() {
                self.echo = Flags::ECE;
                self.receiver.owe();
            }
        }
    }

    /// The host side is connected: the handshake goes on, a SYN|ACK is sent. Without effect in any other state than
    /// [`State::Opening`].
    pub fn accept(&mut self, _now: Instant) {
        if self.state == State::Opening && !self.due.contains(Due::RESET) {
            self.state = State::SynReceived;
            self.send_syn();
        }
    }

    /// A connection that we open: a SYN is sent.
    pub fn active(config: &Config, iss: SeqNumber, now: Instant) -> Connection {
        let mut connection = Connection::new(config, iss, State::SynSent, now);
        connection.send_syn();
        connection
    }

    /// The connection is over and nothing more is sent.
    fn close(&mut self, reason: Closed) {
        self.state = State::Closed;
        self.closed = Some(reason);
        self.due = Due::empty();
        self.receiver.owe_nothing();
        self.stop();
    }

    /// Nothing is waited for any more.
    fn stop(&mut self) {
        self.sender.stop();
        if let Some(handshake) = &mut self.handshake {
            handshake.stop();
        }
        self.lifetime = None;
    }

    /// The application's end of stream: a FIN follows what is buffered, and the send buffer takes no more.
    pub fn close_send(&mut self) {
        self.sender.buffer_mut().close();
    }

    /// Ends the connection: a RST|ACK is sent once and the connection is closed then. In SYN_SENT and TIME_WAIT the peer
    /// need not be told (RFC 9293 section 3.10.5) and the connection is closed at once.
    pub fn abort(&mut self, _now: Instant) {
        match self.state {
            State::Closed => {
                // Whoever aborts has no use for bytes that still wait for the host.
                self.closed = self.closed.or(Some(Closed::Aborted));
                self.receiver.discard_rest();
            }
            State::SynSent | State::TimeWait => self.close(Closed::Aborted),
            _ => self.abort_because(Closed::Aborted),
        }
    }

    /// A reset is sent, after which the connection is closed. The first reason counts.
    fn abort_because(&mut self, reason: Closed) {
        if !self.due.contains(Due::RESET) {
            self.due.insert(Due::RESET);
            self.closed = Some(reason);
        }
        self.stop();
    }

    /// Bytes from the peer. What the host has taken is to be reported with [`Connection::consume_received`].
    pub fn recv(&self) -> &RecvBuffer {
        self.receiver.buffer()
    }

    /// Bytes for the peer.
    pub fn send(&self) -> &SendBuffer {
        self.sender.buffer()
    }

    /// The host brings more bytes for the peer now; told before they are added. How fast the path delivers is not measured with what was
    /// sent after a pause of the host's.
    #[inline]
    pub fn on_more(&mut self, now: Instant) {
        self.sender.on_more(now);
    }

    /// Bytes for the peer. After bytes were added, [`Connection::poll_transmit`] sends them.
    pub fn send_mut(&mut self) -> &mut SendBuffer {
        self.sender.buffer_mut()
    }

    /// Reports that the host has taken `n` bytes from the front of [`Connection::recv`]. The peer may be due to hear of a
    /// larger window then.
    pub fn consume_received(&mut self, n: usize, pool: &mut Pool) {
        self.receiver.consume(n, pool);
        self.look_at_share(pool);
        self.tell_of_window();
    }

    /// Whether the peer could use a larger window. [`Connection::widen_window`] answers, when the host has taken all there was
    /// and before that is reported.
    #[inline]
    pub fn wants_wider_window(&self) -> bool {
        self.receiver.wants_more()
    }

    /// The window grows if the host `keeps_up` with what it is given and there is memory.
    #[cold]
    pub fn widen_window(&mut self, keeps_up: bool, pool: &Pool) {
        self.receiver.widen(keeps_up, pool);
    }

    /// Has the peer hear of a window that has grown by so much that it is worth a segment.
    pub(crate) fn tell_of_window(&mut self) {
        if self.is_established() && self.state != State::Closed && self.receiver.update_is_due() {
            self.receiver.owe();
        }
    }

    /// Takes over what the pool lets one buffer hold now: windows and buffers are no larger.
    #[inline]
    pub fn look_at_share(&mut self, pool: &Pool) {
        let (share, lanes) = (pool.share() as u32, pool.lanes());
        self.receiver.set_share(share, lanes.up);
        self.sender.set_share(share, lanes.down);
    }

    /// Takes no more memory than for what is held, and says how much that is, in bytes.
    pub fn fit(&mut self, pool: &mut Pool) -> usize {
        self.sender.buffer_mut().fit(pool);
        self.receiver.fit(pool);
        self.send().capacity() + self.recv().capacity()
    }

    /// From now on what arrives is acknowledged and dropped: the host takes no more. What waits in [`Connection::recv`]
    /// is dropped as well. FIN_WAIT_2 is bounded from then on.
    pub fn discard_received(&mut self, pool: &mut Pool) {
        self.receiver.discard(pool);
        self.tell_of_window();
    }

    /// Gives all memory back to the pool. To be called before the connection is dropped.
    pub fn release(&mut self, pool: &mut Pool) {
        self.sender.release(pool);
        self.receiver.release(pool);
        self.close(self.closed.filter(|_| self.state == State::Closed).unwrap_or(Closed::Aborted));
    }

    /// Whether an acknowledgment waits for [`Connection::flush_ack`].
    pub fn has_batched_ack(&self) -> bool {
        self.receiver.due() == Due::BATCHED_ACK
    }

    /// The end of a batch: an acknowledgment that waited for it is sent now.
    pub fn flush_ack(&mut self) {
        self.receiver.flush();
    }

    /// Has segments carry no more payload than this, for the time being.
    pub fn limit_segments(&mut self, longest: u16) {
        self.sender.limit_segments(longest);
    }

    /// A router on the way to the peer reports that the segment that begins at `seq` was too large, and that `mss` bytes
    /// would not be. Believed when such a segment is in flight (RFC 5927 section 7).
    pub fn on_too_big(&mut self, seq: SeqNumber, mss: u16) {
        if self.is_established() && self.sender.is_in_flight(seq) {
            self.lower_mss(mss);
        }
    }

    /// The path carries smaller segments than was believed: they are `mss` bytes from now on, headers excluded and options
    /// included, and what is in flight is sent again. A value that is not smaller, or below what any path carries, is
    /// refused (RFC 9293 section 3.9.2.2, RFC 1191 section 6.4).
    pub fn lower_mss(&mut self, mss: u16) {
        if self.sender.lower_mss(mss) {
            self.receiver.flush();
        }
    }
}
