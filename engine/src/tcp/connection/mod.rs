//! One connection: its variables, how it begins and ends, and what its owner can ask of it.
//!
//! `input` takes segments, `output` makes them, `timers` says what passing time means, `window` decides how much the peer
//! may send.

mod growth;
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
mod window;

pub use saved::Saved;

use super::assembler::Assembler;
use super::buffer::{RecvBuffer, SendBuffer};
use super::congestion::{Control, Controller};
use super::pool::Pool;
use super::rtt::RttEstimator;
use super::scoreboard::Scoreboard;
use super::segment::{Flags, Options, Segment};
use super::seq::SeqNumber;
use crate::time::{Duration, Instant};
use growth::Growth;
use keepalive::KeepAlive;
use recovery::Recovery;
use reopen::Knock;
use timers::Timer;
use timestamps::Timestamps;
use undo::Undo;

/// The least segment size that a peer's option is believed, in bytes; source: docs/contract/tcp.md section 2.3.
const MIN_MSS: u16 = 32;
/// The segment size that every peer takes (RFC 9293 section 3.7.1).
const DEFAULT_MSS: u16 = 536;
/// The largest shift count (RFC 7323 section 2.3).
const MAX_SHIFT: u8 = 14;

/// How a connection behaves. All but `stamp_offset` is what the connections of a stack have in common.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Config {
    /// The segment size we advertise, in bytes.
    pub mss: u16,
    /// The most that is kept of what the peer sent and the host has not taken, in bytes, at most [`Pool::MAX_BUFFER`].
    pub recv_limit: usize,
    /// The most that is kept of what the peer has not acknowledged, in bytes, at most [`Pool::MAX_BUFFER`].
    pub send_limit: usize,
    /// What `recv_limit` grows to when the round trip to the peer is so long that it would hold the peer back. Less than
    /// `recv_limit`: it does not grow.
    pub recv_max: usize,
    /// What `send_limit` grows to in the same way.
    pub send_max: usize,
    /// Offer and accept window scaling (RFC 7323 section 2).
    pub window_scale: bool,
    /// Offer and accept selective acknowledgments (RFC 2018).
    pub sack: bool,
    /// Offer and accept timestamps (RFC 7323 section 3).
    pub timestamps: bool,
    /// What the clock of the timestamps starts from, different for each connection (RFC 7323 section 5.4): its values
    /// must not tell how long the host has been up.
    pub stamp_offset: u32,
    /// How long an established connection may be silent before the peer is asked whether it is alive (RFC 9293 section
    /// 3.8.4).
    pub keep_alive: Option<Duration>,
    /// Ask a peer that has been silent for long although `keep_alive` does not say so: soon where one direction has ended,
    /// seldom where none has. Without both it may be silent for ever.
    pub watch: bool,
}

impl Default for Config {
    /// Ethernet's segment size and windows of 256 KiB that do not grow, all options, no keep-alive.
    fn default() -> Config {
        Config {
            mss: 1460,
            recv_limit: 256 << 10,
            send_limit: 256 << 10,
            recv_max: 0,
            send_max: 0,
            window_scale: true,
            sack: true,
            timestamps: true,
            stamp_offset: 0,
            keep_alive: None,
            watch: false,
        }
    }
}

/// The states of RFC 9293 section 3.3.2, with one more before the handshake.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum State {
    /// A SYN has arrived and is not answered: it is not known yet whether the host side can be connected.
    Opening,
    /// Our SYN was sent.
    SynSent,
    /// The peer's SYN was answered with ours, which is not acknowledged.
    SynReceived,
    /// Bytes go both ways.
    Established,
    /// Our FIN was sent and is not acknowledged.
    FinWait1,
    /// Our FIN is acknowledged; the peer may still send.
    FinWait2,
    /// The peer has sent its FIN; we may still send.
    CloseWait,
    /// Both FINs were sent, and ours is not acknowledged.
    Closing,
    /// As `Closing`, and the peer was first.
    LastAck,
    /// Both directions have ended; what is still on its way dies out.
    TimeWait,
    /// There is no connection any more.
    Closed,
}

impl State {
    /// Our direction has ended: the FIN is on its way, or will be.
    pub fn has_ended(self) -> bool {
        matches!(self, State::FinWait1 | State::FinWait2 | State::Closing | State::LastAck | State::TimeWait)
    }

    /// The peer's direction has ended.
    pub fn peer_has_ended(self) -> bool {
        matches!(self, State::CloseWait | State::Closing | State::LastAck | State::TimeWait)
    }
}

/// Why a connection is closed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Closed {
    /// Both directions ended in order, or the time to wait for the peer's end is over.
    Finished,
    ResetByPeer,
    /// The peer did not answer.
    TimedOut,
    /// By [`Connection::abort`].
    Aborted,
}

/// An acknowledgment that is owed to the peer.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Owed {
    No,
    /// For data in order; it may wait for the end of the batch.
    Batched,
    Now,
}

/// The protocol state of one connection towards the guest, "the peer" in the words of this room.
///
/// Its owner calls [`Connection::release`] before it drops it, so that the pool gets its memory back.
#[derive(Debug)]
pub struct Connection {
    /// Bytes for the peer. After bytes were added, [`Connection::poll_transmit`] sends them.
    pub send: SendBuffer,
    /// Bytes from the peer. What the host has taken is to be reported with [`Connection::consume_received`].
    pub recv: RecvBuffer,
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

    // The receive sequence space. `rcv_adv` is the right edge of the window that the peer was told.
    irs: SeqNumber,
    rcv_nxt: SeqNumber,
    rcv_adv: SeqNumber,
    rcv_scale: u8,
    advertised_mss: u16,
    recv_limit: u32,
    /// What the send buffer begins with; [`Connection::send_limit`] is what it may hold now.
    send_limit: u32,
    growth: Growth,
    /// What one buffer may hold when the pool was last looked at: [`Pool::share`].
    share: u32,
    /// Window scaling is offered in our SYN, or was agreed on.
    window_scale: bool,
    /// Selective acknowledgments are offered in our SYN, or were agreed on.
    sack: bool,
    /// Timestamps are offered in our SYN, or were agreed on.
    timestamps: Option<Timestamps>,
    /// The options that were agreed on are not known and are learned from the peer's segments.
    learning: bool,
    /// Bytes that arrived a second time, to be reported (RFC 2883).
    twice: Option<(SeqNumber, SeqNumber)>,
    /// The peer's FIN is in order.
    peer_finished: bool,
    /// What arrives is acknowledged and dropped.
    discard: bool,
    assembler: Option<Box<Assembler>>,

    owed: Owed,
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
            recv: RecvBuffer::default(),
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
            irs: SeqNumber(0),
            rcv_nxt: SeqNumber(0),
            rcv_adv: SeqNumber(0),
            rcv_scale: 0,
            advertised_mss: config.mss,
            recv_limit: limit(config.recv_limit),
            send_limit: limit(config.send_limit),
            share: Pool::MAX_BUFFER as u32,
            growth: Growth::new(config.recv_max, config.send_max, now),
            window_scale: config.window_scale,
            sack: config.sack,
            timestamps: config.timestamps.then(|| Timestamps::new(config.stamp_offset, now)),
            learning: false,
            twice: None,
            peer_finished: false,
            discard: false,
            assembler: None,
            owed: Owed::No,
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
        connection.take_syn(syn);
        let room = connection.rcv_adv.distance(connection.rcv_nxt) as usize;
        let data = syn.payload.get(..room).unwrap_or(syn.payload);
        connection.rcv_nxt += connection.recv.push(data, pool) as u32;
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
    fn take_syn(&mut self, syn: &Segment<'_>) {
        self.irs = syn.seq;
        self.rcv_nxt = syn.seq + 1;
        self.growth.from = self.rcv_nxt;
        self.rcv_adv = self.rcv_nxt + u32::from(self.syn_window());
        self.snd_wnd = u32::from(syn.window);
        self.max_snd_wnd = self.snd_wnd;
        self.snd_wl1 = syn.seq;
        self.snd_wl2 = self.iss;
        self.mss = match syn.options.mss {
            Some(mss) => mss.max(MIN_MSS).min(self.advertised_mss),
            // Upstream sends 1440 bytes to such a guest at an MTU of 1500. RFC 9293 section 3.7.1 would have 536; guests
            // without the option are not known to exist on a real network, so that what upstream does is kept.
            None => self.advertised_mss.saturating_sub(20).max(DEFAULT_MSS).min(self.advertised_mss),
        }
        .max(1);
        self.sack &= syn.options.sack_permitted;
        self.take_syn_timestamps(syn);
        self.controller.begin(u32::from(self.payload_mss()));
        match syn.options.window_scale {
            Some(shift) if self.window_scale => {
                self.snd_scale = shift.min(MAX_SHIFT);
                self.rcv_scale = self.shift_for_limit();
            }
            _ => self.window_scale = false,
        }
    }

    /// The options of our SYN.
    fn syn_options(&self, now: Instant) -> Options {
        Options {
            mss: Some(self.advertised_mss),
            window_scale: self.window_scale.then(|| self.shift_for_limit()),
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
        self.owed = Owed::No;
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
                self.discard = true;
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

    /// Reports that the host has taken `n` bytes from the front of [`Connection::recv`]. The peer may be due to hear of a
    /// larger window then.
    pub fn consume_received(&mut self, n: usize, pool: &mut Pool) {
        self.recv.consume(n, pool);
        self.look_at_share(pool);
        if self.state != State::Closed && self.window_update_is_due() {
            self.owed = Owed::Now;
        }
    }

    /// Takes over what the pool lets one buffer hold now: windows and buffers are no larger.
    pub fn look_at_share(&mut self, pool: &Pool) {
        self.share = pool.share() as u32;
    }

    /// From now on what arrives is acknowledged and dropped: the host takes no more. What waits in [`Connection::recv`]
    /// is dropped as well. FIN_WAIT_2 is bounded from then on.
    pub fn discard_received(&mut self, pool: &mut Pool) {
        self.discard = true;
        let waiting = self.recv.len();
        self.recv.consume(waiting, pool);
        self.forget_early(pool);
        if self.state != State::Closed && self.window_update_is_due() {
            self.owed = Owed::Now;
        }
    }

    /// Drops what came early; a FIN among it will come again.
    fn forget_early(&mut self, pool: &mut Pool) {
        self.assembler = None;
        self.recv.forget_ahead(pool);
    }

    /// Gives all memory back to the pool. To be called before the connection is dropped.
    pub fn release(&mut self, pool: &mut Pool) {
        self.send.release(pool);
        self.recv.release(pool);
        self.assembler = None;
        self.close(self.closed.unwrap_or(Closed::Aborted));
    }

    /// Whether an acknowledgment waits for [`Connection::flush_ack`].
    pub fn has_batched_ack(&self) -> bool {
        self.owed == Owed::Batched
    }

    /// The end of a batch: an acknowledgment that waited for it is sent now.
    pub fn flush_ack(&mut self) {
        if self.owed == Owed::Batched {
            self.owed = Owed::Now;
        }
    }

    /// Where the connection is between its opening and its end.
    pub fn state(&self) -> State {
        self.state
    }

    /// Why the connection is closed, once it is. A connection that ended in order counts as open as long as bytes wait in
    /// [`Connection::recv`]: they were acknowledged and must reach the host.
    pub fn closed(&self) -> Option<Closed> {
        self.closed.filter(|&reason| reason != Closed::Finished || self.recv.is_empty() || self.discard)
    }

    /// Whether the handshake is complete; stays true in all later states.
    pub fn is_established(&self) -> bool {
        self.established
    }

    /// Whether the peer's FIN is in order: what is in [`Connection::recv`] is the last of its bytes.
    pub fn peer_finished(&self) -> bool {
        self.peer_finished
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
            && self.recv.is_empty()
            && syn.flags & controls == Flags::SYN
            && (syn.seq.gt(self.rcv_nxt) || self.is_newer(syn))
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
        self.rcv_nxt
    }

    /// The window the peer was told, from [`Connection::rcv_nxt`] on, in bytes.
    pub fn rcv_wnd(&self) -> u32 {
        self.rcv_adv.distance(self.rcv_nxt)
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
