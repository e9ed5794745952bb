//! One connection: its variables, how it begins and ends, and what its owner can ask of it.
//!
//! `input` takes segments, `output` makes them, `timers` says what passing time means. What was received is the
//! [`Receiver`]'s.

mod input;
mod keepalive;
mod output;
mod recovery;
mod reopen;
mod saved;
#[cfg(test)]
mod tests;
mod timers;
mod timestamps;
mod undo;

pub use saved::Saved;

use super::buffer::{RecvBuffer, SendBuffer};
use super::capacity::path_holds;
use super::config::Config;
use super::congestion::{Control, Controller};
use super::due::Due;
use super::pool::Pool;
use super::receiver::Receiver;
use super::rtt::RttEstimator;
use super::scoreboard::Scoreboard;
use super::segment::{Flags, MAX_SHIFT, Options, Segment};
use super::seq::SeqNumber;
use super::state::{Closed, State};
use crate::time::{Duration, Instant};
use keepalive::KeepAlive;
use recovery::Recovery;
use reopen::Knock;
use timers::Timer;
use undo::Undo;

/// The least segment size that a peer's option is believed, in bytes; source: docs/contract/tcp.md section 2.3.
const MIN_MSS: u16 = 32;
/// The segment size that every peer takes (RFC 9293 section 3.7.1).
const DEFAULT_MSS: u16 = 536;

/// The protocol state of one connection towards the guest, "the peer" in the words of this room.
///
/// Its owner calls [`Connection::release`] before it drops it, so that the pool gets its memory back.
#[derive(Debug)]
pub struct Connection {
    /// Bytes for the peer. After bytes were added, [`Connection::poll_transmit`] sends them.
    pub send: SendBuffer,
    receiver: Receiver,
    state: State,
    closed: Option<Closed>,
    /// A reset is to be sent, after which the connection is closed for this reason.
    aborting: Option<Closed>,
    /// The handshake is complete, whatever came later.
    established: bool,

    // The send sequence space, RFC 9293 section 3.3.1. `snd_nxt` goes back after a timeout, `snd_max` does not.
    iss: SeqNumber,
    snd_una: SeqNumber,
    /// The most payload of a segment, whatever the guest takes.
    longest: u16,
    snd_nxt: SeqNumber,
    snd_max: SeqNumber,
    snd_wl1: SeqNumber,
    snd_wl2: SeqNumber,
    /// The peer's window in bytes, scaled.
    snd_wnd: u32,
    /// The largest window the peer has offered.
    max_snd_wnd: u32,
    snd_scale: u8,
    /// The segment size towards the peer.
    mss: u16,
    /// The FIN was sent at least once.
    fin_sent: bool,

    /// What the send buffer begins with; [`Connection::send_limit`] is what it may hold now.
    send_limit: u32,
    /// What it grows to.
    send_max: u32,
    /// Window scaling is offered in our SYN, or was agreed on.
    window_scale: bool,
    /// Selective acknowledgments are offered in our SYN, or were agreed on.
    sack: bool,
    /// Timestamps are offered in our SYN, or were agreed on: what is added to the clock. A connection that was restored
    /// continues the values of its former life.
    stamps: Option<u32>,
    /// The options that were agreed on are not known and are learned from the peer's segments.
    learning: bool,

    /// A segment that must not be believed is answered with a reset of this sequence number; the connection stays.
    stray_reset: Option<SeqNumber>,
    /// The first lost segment is to be sent again whatever the congestion window says.
    retransmit: bool,
    /// A segment is to be sent whatever the windows say.
    force: bool,

    /// Retransmission or probing, never both.
    timer: Option<(Timer, Instant)>,
    /// The end of TIME_WAIT, or of FIN_WAIT_2 where it is bounded.
    lifetime: Option<Instant>,
    /// Doublings of the timer's interval.
    backoff: u8,
    /// Expiries since the peer last gave a sign of life that counts.
    tries: u8,
    /// The sum of the intervals of these expiries. Not the time that passed: the clock of a paused machine jumps.
    waited: Duration,
    rtt: RttEstimator,
    /// When our SYN was sent, unless it was repeated.
    syn_sent: Option<Instant>,
    /// The next round trip is measured with a segment that ends here or later.
    rtt_next: SeqNumber,
    controller: Controller,
    scoreboard: Scoreboard,
    recovery: Recovery,
    undo: Option<Box<Undo>>,
    keep_alive: KeepAlive,
    /// The SYN that came last, while nothing has shown since that the peer has this connection.
    knock: Option<Knock>,
    challenges: u8,
    challenges_since: Instant,
}

impl Connection {
    fn new(config: &Config, iss: SeqNumber, state: State, now: Instant) -> Connection {
        let limit = |bytes: usize| bytes.min(Pool::MAX_BUFFER) as u32;
        Connection {
            send: SendBuffer::default(),
            receiver: Receiver::new(config, now),
            state,
            closed: None,
            aborting: None,
            established: false,
            iss,
            snd_una: iss,
            longest: u16::MAX,
            snd_nxt: iss,
            snd_max: iss,
            snd_wl1: SeqNumber(0),
            snd_wl2: SeqNumber(0),
            snd_wnd: 0,
            max_snd_wnd: 0,
            snd_scale: 0,
            mss: config.mss.max(1),
            fin_sent: false,
            send_limit: limit(config.send_limit),
            send_max: limit(config.send_max),
            window_scale: config.window_scale,
            sack: config.sack,
            stamps: config.timestamps.then_some(config.stamp_offset),
            learning: false,
            stray_reset: None,
            retransmit: false,
            force: false,
            timer: None,
            lifetime: None,
            backoff: 0,
            tries: 0,
            waited: Duration::ZERO,
            rtt: RttEstimator::default(),
            syn_sent: None,
            rtt_next: iss,
            controller: Controller::new(u32::from(config.mss)),
            scoreboard: Scoreboard::default(),
            recovery: Recovery::new(iss),
            undo: None,
            keep_alive: KeepAlive::new(config, now),
            knock: None,
            challenges: 0,
            challenges_since: now,
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

    /// The host side is connected: the handshake goes on, a SYN|ACK is sent. Without effect in any other state than
    /// [`State::Opening`].
    pub fn accept(&mut self, _now: Instant) {
        if self.state == State::Opening && self.aborting.is_none() {
            self.state = State::SynReceived;
        }
    }

    /// A connection that we open: a SYN is sent.
    pub fn active(config: &Config, iss: SeqNumber, now: Instant) -> Connection {
        Connection::new(config, iss, State::SynSent, now)
    }

    /// Takes over what a peer's SYN says: its number, segment size and window scale.
    fn take_syn(&mut self, syn: &Segment<'_>, now: Instant) {
        self.receiver.begin(syn.seq);
        self.snd_wnd = u32::from(syn.window);
        self.max_snd_wnd = self.snd_wnd;
        self.snd_wl1 = syn.seq;
        self.snd_wl2 = self.iss;
        let ours = self.receiver.mss();
        self.mss = match syn.options.mss {
            Some(mss) => mss.max(MIN_MSS).min(ours),
            // Upstream sends 1440 bytes to such a guest at an MTU of 1500. RFC 9293 section 3.7.1 would have 536; guests
            // without the option are not known to exist on a real network, so that what upstream does is kept.
            None => ours.saturating_sub(20).max(DEFAULT_MSS).min(ours),
        }
        .max(1);
        self.sack &= syn.options.sack_permitted;
        self.take_syn_timestamps(syn, now);
        self.controller.begin(u32::from(self.payload_mss()));
        match syn.options.window_scale {
            Some(shift) if self.window_scale => self.snd_scale = shift.min(MAX_SHIFT),
            _ => self.window_scale = false,
        }
        self.receiver.settle(self.window_scale, self.sack);
    }

    /// The options of our SYN.
    fn syn_options(&self, now: Instant) -> Options {
        Options {
            mss: Some(self.receiver.mss()),
            window_scale: self.window_scale.then(|| self.receiver.shift_for_limit()),
            sack_permitted: self.sack,
            timestamps: self.timestamps_field(now),
            ..Options::default()
        }
    }

    /// The connection is over and nothing more is sent.
    fn close(&mut self, reason: Closed) {
        self.state = State::Closed;
        self.closed = Some(reason);
        self.aborting = None;
        self.receiver.owe_nothing();
        self.stray_reset = None;
        self.timer = None;
        self.lifetime = None;
        self.keep_alive.due = false;
    }

    /// The application's end of stream: a FIN follows what is buffered, and the send buffer takes no more.
    pub fn close_send(&mut self) {
        self.send.close();
    }

    /// Ends the connection: a RST|ACK is sent once and the connection is closed then. In SYN_SENT and TIME_WAIT the peer
    /// need not be told (RFC 9293 section 3.10.5) and the connection is closed at once.
    pub fn abort(&mut self, _now: Instant) {
        match self.state {
            State::Closed => {
                // Whoever aborts has no use for bytes that still wait for the host.
                self.closed = self.closed.or(Some(Closed::Aborted));
                self.receiver.discard_later();
            }
            State::SynSent | State::TimeWait => self.close(Closed::Aborted),
            _ => self.abort_because(Closed::Aborted),
        }
    }

    fn abort_because(&mut self, reason: Closed) {
        self.aborting.get_or_insert(reason);
        self.timer = None;
        self.lifetime = None;
    }

    /// Bytes from the peer. What the host has taken is to be reported with [`Connection::consume_received`].
    pub fn recv(&self) -> &RecvBuffer {
        self.receiver.buffer()
    }

    /// Reports that the host has taken `n` bytes from the front of [`Connection::recv`]. The peer may be due to hear of a
    /// larger window then.
    pub fn consume_received(&mut self, n: usize, pool: &mut Pool) {
        self.receiver.consume(n, pool);
        self.look_at_share(pool);
        self.tell_of_window();
    }

    /// Has the peer hear of a window that has grown by so much that it is worth a segment.
    fn tell_of_window(&mut self) {
        if self.established && self.state != State::Closed && self.receiver.update_is_due() {
            self.receiver.owe();
        }
    }

    /// Takes over what the pool lets one buffer hold now: windows and buffers are no larger.
    pub fn look_at_share(&mut self, pool: &Pool) {
        self.receiver.set_share(pool.share() as u32);
    }

    /// From now on what arrives is acknowledged and dropped: the host takes no more. What waits in [`Connection::recv`]
    /// is dropped as well. FIN_WAIT_2 is bounded from then on.
    pub fn discard_received(&mut self, pool: &mut Pool) {
        self.receiver.discard(pool);
        self.tell_of_window();
    }

    /// Gives all memory back to the pool. To be called before the connection is dropped.
    pub fn release(&mut self, pool: &mut Pool) {
        self.send.release(pool);
        self.receiver.release(pool);
        self.close(self.closed.unwrap_or(Closed::Aborted));
    }

    /// Whether an acknowledgment waits for [`Connection::flush_ack`].
    pub fn has_batched_ack(&self) -> bool {
        self.receiver.due() == Due::BATCHED_ACK
    }

    /// The end of a batch: an acknowledgment that waited for it is sent now.
    pub fn flush_ack(&mut self) {
        self.receiver.flush();
    }

    /// Where the connection is between its opening and its end.
    pub fn state(&self) -> State {
        self.state
    }

    /// Why the connection is closed, once it is. A connection that ended in order counts as open as long as bytes wait in
    /// [`Connection::recv`]: they were acknowledged and must reach the host.
    pub fn closed(&self) -> Option<Closed> {
        self.closed.filter(|&reason| reason != Closed::Finished || self.receiver.is_drained())
    }

    /// Whether the handshake is complete; stays true in all later states.
    pub fn is_established(&self) -> bool {
        self.established
    }

    /// Whether the peer's FIN is in order: what is in [`Connection::recv`] is the last of its bytes.
    pub fn peer_finished(&self) -> bool {
        self.receiver.is_finished()
    }

    /// The most that the congestion window grows to, in bytes. Without selective acknowledgments a burst of losses takes a
    /// round trip for each segment to repair, so that there the window stays.
    fn most_in_flight(&self) -> u32 {
        path_holds(self.rtt.least(), self.send_limit, if self.sack { self.send_max } else { 0 })
    }

    /// How many bytes the send buffer may hold now: what keeps the path busy, but never more than a buffer's share of the
    /// memory.
    pub fn send_limit(&self) -> usize {
        let limit = self.controller.buffer_wanted().clamp(self.send_limit, self.most_in_flight());
        limit.min(self.receiver.share()) as usize
    }

    /// How many more bytes the send buffer may take; 0 after [`Connection::close_send`].
    pub fn send_room(&self) -> usize {
        if self.send.is_closed() || self.aborting.is_some() || self.state == State::Closed {
            return 0;
        }
        self.send_limit().saturating_sub(self.send.len())
    }

    /// Whether the peer has acknowledged everything that was handed in, the FIN included.
    pub fn send_idle(&self) -> bool {
        self.send.is_empty() && self.snd_una == self.snd_max && (self.fin_sent || !self.send.is_closed())
    }

    /// How many bytes of the send buffer were not sent, or are to be sent again after a timeout.
    pub fn unsent(&self) -> usize {
        self.send.len().saturating_sub(self.snd_nxt.distance(self.snd_una) as usize)
    }

    /// The most payload of a segment to the peer, in bytes.
    pub fn effective_mss(&self) -> usize {
        usize::from(self.payload_mss())
    }

    /// Whether `syn` may take this connection's place: the connection is in TIME_WAIT and the SYN is newer than all that
    /// it received (RFC 1122 section 4.2.2.13), by its number or by its timestamp (RFC 6191). The caller drops this
    /// connection then and opens a new one with an initial sequence number after [`Connection::snd_nxt`].
    pub fn reusable_by(&self, syn: &Segment<'_>) -> bool {
        let controls = Flags::SYN | Flags::ACK | Flags::RST | Flags::FIN;
        self.state == State::TimeWait
            && self.recv().is_empty()
            && syn.flags & controls == Flags::SYN
            && (syn.seq.gt(self.rcv_nxt()) || self.receiver.is_newer(syn))
    }

    /// The oldest number that is not acknowledged.
    pub fn snd_una(&self) -> SeqNumber {
        self.snd_una
    }

    /// The next number to send.
    pub fn snd_nxt(&self) -> SeqNumber {
        self.snd_nxt
    }

    /// The number after the last one ever sent.
    pub fn snd_max(&self) -> SeqNumber {
        self.snd_max
    }

    /// The peer's window in bytes.
    pub fn snd_wnd(&self) -> u32 {
        self.snd_wnd
    }

    /// The next number expected from the peer.
    pub fn rcv_nxt(&self) -> SeqNumber {
        self.receiver.nxt()
    }

    /// The window the peer was told, from [`Connection::rcv_nxt`] on, in bytes.
    pub fn rcv_wnd(&self) -> u32 {
        self.receiver.window()
    }

    /// The congestion window in bytes.
    pub fn cwnd(&self) -> u32 {
        self.controller.window()
    }

    /// The slow start threshold in bytes.
    pub fn ssthresh(&self) -> u32 {
        self.controller.threshold()
    }

    /// The smoothed round-trip time, once one was measured.
    pub fn srtt(&self) -> Option<Duration> {
        self.rtt.srtt()
    }

    /// The round-trip time's variation, once one was measured.
    pub fn rttvar(&self) -> Option<Duration> {
        self.rtt.rttvar()
    }

    /// Timeouts in a row that the peer has not answered.
    pub fn timeouts(&self) -> u8 {
        self.backoff
    }

    /// The retransmission timeout without doublings.
    pub fn rto(&self) -> Duration {
        self.rtt.rto(0)
    }
}
