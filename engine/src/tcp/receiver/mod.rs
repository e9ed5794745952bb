//! The receiving half of a connection: what the peer has sent, what it may send, and what it is told about both.
//!
//! `text` takes payloads and the FIN, `assembler` knows what came early, `window` says how much the peer may send and
//! `growth` how much that may become, `report` is what segments say about all this. The other half must not come in: what
//! is known only there, round trips for example, is an argument.

pub(super) mod assembler;
mod growth;
mod report;
mod text;
mod window;

use super::buffer::RecvBuffer;
use super::config::Config;
use super::due::Due;
use super::pool::Pool;
use super::saved::Saved;
use super::segment::{MAX_SHIFT, Segment};
use super::seq::SeqNumber;
use crate::time::Instant;
use assembler::Assembler;
use growth::Growth;
use report::Echo;

/// The receive sequence space of RFC 9293 section 3.3.1, the bytes that the host has not taken, and what is owed to the peer.
#[derive(Debug)]
pub(super) struct Receiver {
    buffer: RecvBuffer,
    /// What came early, while there is any.
    assembler: Option<Box<Assembler>>,
    irs: SeqNumber,
    nxt: SeqNumber,
    /// The right edge of the window that the peer was told.
    edge: SeqNumber,
    /// The shift of the windows that we offer.
    scale: u8,
    /// The segment size that we advertise.
    mss: u16,
    /// What the buffer may hold by itself, and by what the pool said when it was last asked: of the memory, and of what may
    /// be under way while the link is busy both ways.
    limit: u32,
    bound: u32,
    growth: Growth,
    /// Selective acknowledgments were agreed on.
    sack: bool,
    /// The peer's timestamps, when they were agreed on.
    echo: Option<Echo>,
    /// Bytes that arrived a second time, to be reported (RFC 2883).
    twice: Option<(SeqNumber, SeqNumber)>,
    /// The peer's FIN is in order.
    finished: bool,
    /// What arrives is acknowledged and dropped.
    discard: bool,
    due: Due,
}

impl Receiver {
    pub(super) fn new(config: &Config, now: Instant) -> Receiver {
        Receiver {
            buffer: RecvBuffer::default(),
            assembler: None,
            irs: SeqNumber(0),
            nxt: SeqNumber(0),
            edge: SeqNumber(0),
            scale: 0,
            mss: config.mss,
            limit: config.recv_first.min(config.recv_limit).min(Pool::MAX_BUFFER) as u32,
            bound: u32::MAX,
            growth: Growth::new(config, now),
            sack: false,
            echo: None,
            twice: None,
            finished: false,
            discard: false,
            due: Due::empty(),
        }
    }

    /// The peer's SYN has the number `irs`.
    pub(super) fn begin(&mut self, irs: SeqNumber) {
        self.irs = irs;
        self.nxt = irs + 1;
        self.growth.begin(self.nxt);
        self.edge = self.nxt + u32::from(self.syn_window());
    }

    /// What was agreed on about windows, and about selective acknowledgments.
    pub(super) fn settle(&mut self, scaled: bool, sack: bool) {
        if scaled {
            self.scale = self.shift_for_limit();
        } else {
            self.growth.forbid();
            // The window field bounds what the peer leaves here. A buffer that is larger keeps the field at its most, so that what
            // the host takes a moment later needs no segment that says so.
            self.limit = self.limit.max(self.most());
        }
        self.sack = sack;
    }

    /// The variables of a saved state, and the bytes that the host had not taken. False when there is no memory for them.
    pub(super) fn restore(&mut self, saved: &Saved, received: &[u8], pool: &mut Pool) -> bool {
        self.irs = saved.irs;
        self.nxt = saved.rcv_nxt;
        self.growth.begin(self.nxt);
        self.scale = saved.rcv_scale.min(MAX_SHIFT);
        if saved.snd_scale == 0 && saved.rcv_scale == 0 {
            self.growth.forbid();
        }
        // No window is larger than its field and the shift can say.
        let offered = u32::from(u16::MAX) << self.scale;
        self.edge = self.nxt + saved.rcv_adv.distance(self.nxt).min(offered);
        self.finished = saved.state.peer_has_ended();
        // An acknowledgment may have been owed, or a window update.
        self.owe();
        self.buffer.push(received, pool) == received.len()
    }

    /// The payload of the peer's SYN, as far as the window goes.
    pub(super) fn take_syn_data(&mut self, payload: &[u8], pool: &mut Pool) {
        let data = payload.get(..self.window() as usize).unwrap_or(payload);
        self.nxt += self.buffer.push(data, pool) as u32;
    }

    pub(super) fn buffer(&self) -> &RecvBuffer {
        &self.buffer
    }

    /// The host has taken `n` bytes from the front of the buffer.
    pub(super) fn consume(&mut self, n: usize, pool: &mut Pool) {
        self.buffer.consume(n, pool);
    }

    /// From now on what arrives is acknowledged and dropped; so is what waits.
    pub(super) fn discard(&mut self, pool: &mut Pool) {
        self.discard_rest();
        let waiting = self.buffer.len();
        self.buffer.consume(waiting, pool);
        self.forget_early(pool);
    }

    /// From now on what arrives is acknowledged and dropped.
    pub(super) fn discard_rest(&mut self) {
        self.discard = true;
    }

    /// Drops what came early; a FIN among it will come again.
    fn forget_early(&mut self, pool: &mut Pool) {
        self.assembler = None;
        self.buffer.forget_ahead(pool);
    }

    /// Takes no more memory than for what is held.
    pub(super) fn fit(&mut self, pool: &mut Pool) {
        self.buffer.fit(pool);
    }

    /// Gives all memory back.
    pub(super) fn release(&mut self, pool: &mut Pool) {
        self.buffer.release(pool);
        self.assembler = None;
    }

    /// Takes over what the pool lets one buffer hold now, and what may be under way.
    #[inline]
    pub(super) fn set_share(&mut self, share: u32, lane: u32) {
        self.bound = share.saturating_mul(window::SHARES).min(lane);
    }

    /// An acknowledgment is to be sent now.
    #[inline]
    pub(super) fn owe(&mut self) {
        self.due.insert(Due::ACK);
    }

    /// The end of a batch: an acknowledgment that waited for it is owed now.
    #[inline]
    pub(super) fn flush(&mut self) {
        if self.due.contains(Due::BATCHED_ACK) {
            self.due.insert(Due::ACK);
        }
    }

    pub(super) fn owe_nothing(&mut self) {
        self.due = Due::empty();
    }

    #[inline]
    pub(super) fn due(&self) -> Due {
        debug_assert!(Due::RECEIVER.contains(self.due));
        self.due
    }

    /// Whether a segment with so many bytes of payload is the common case of a bulk transfer: the next bytes, nothing out of
    /// order.
    #[inline]
    pub(super) fn expects(&self, header: &Segment<'_>, len: usize, now: Instant) -> bool {
        header.seq == self.nxt
            && len > 0
            && self.stamp_is_good(header, now)
            && len <= self.window() as usize
            && self.assembler.is_none()
            && !self.discard
    }

    /// Takes the next bytes in order, as far as there is memory.
    #[inline]
    pub(super) fn push_in_order(&mut self, data: &[u8], pool: &mut Pool) {
        let taken = self.buffer.push(data, pool);
        self.count_in_order(taken, data.len());
    }

    /// The same where nothing waits for the host, and it has taken the first `passed_on` bytes already.
    #[inline]
    pub(super) fn push_rest(&mut self, data: &[u8], passed_on: usize, pool: &mut Pool) {
        let mut taken = data.len();
        if passed_on < data.len() {
            taken = passed_on + self.buffer.push(data.get(passed_on..).unwrap_or_default(), pool);
        }
        self.count_in_order(taken, data.len());
    }

    /// The place for the next `len` bytes, for [`Receiver::take_placed`]; see [`RecvBuffer`].
    #[inline]
    pub(super) fn place(&mut self, len: usize, pool: &mut Pool) -> Option<&mut [u8]> {
        self.buffer.place(len, pool)
    }

    /// What was copied to [`Receiver::place`] is not to be taken over.
    pub(super) fn forget_place(&mut self, pool: &mut Pool) {
        self.buffer.forget_place(pool);
    }

    /// Takes over `len` bytes that lie in their place.
    #[inline]
    pub(super) fn take_placed(&mut self, len: usize) {
        self.buffer.commit(len);
        self.count_in_order(len, len);
    }

    /// Of `len` bytes in order `taken` were taken.
    #[inline]
    fn count_in_order(&mut self, taken: usize, len: usize) {
        self.nxt += taken as u32;
        self.due.insert(if taken == len { Due::BATCHED_ACK } else { Due::ACK });
    }

    /// Initial receive sequence number.
    pub(super) fn irs(&self) -> SeqNumber {
        self.irs
    }

    /// The next number expected from the peer.
    #[inline]
    pub(super) fn nxt(&self) -> SeqNumber {
        self.nxt
    }

    /// The right edge of the window that the peer was told.
    pub(super) fn edge(&self) -> SeqNumber {
        self.edge
    }

    pub(super) fn scale(&self) -> u8 {
        self.scale
    }

    /// The segment size that we advertise.
    pub(super) fn mss(&self) -> u16 {
        self.mss
    }

    /// Whether the peer's FIN is in order.
    pub(super) fn is_finished(&self) -> bool {
        self.finished
    }

    pub(super) fn discards(&self) -> bool {
        self.discard
    }

    /// Whether anything came early.
    #[cfg(test)]
    pub(super) fn has_early(&self) -> bool {
        self.assembler.is_some()
    }

    /// Whether nothing waits for the host, or nobody takes it.
    pub(super) fn is_drained(&self) -> bool {
        self.buffer.is_empty() || self.discard
    }
}
