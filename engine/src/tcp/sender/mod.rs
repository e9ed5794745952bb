//! The sending half of a connection: what the peer has not acknowledged, what is believed to have become of it, and when
//! it is sent again.
//!
//! `begin` is how it begins. `acks` takes acknowledgments and `window` the peer's window; `output` says what goes out, `series` how much more of the same may.
//! `scoreboard` is what is in flight, `delivery` how fast it arrives, `pacer` spreads it, `rack` finds losses, `recovery` has them repaired, `undo` finds out that there were
//! none, `path_mtu` searches for the longest segment that passes, `timer` is what becomes of all that when nothing comes, and `stamps` are our timestamps. How much may be in flight
//! is the controller's business (`tcp/congestion/`). The other half must not come in: recovery has a `&mut Sender` and no
//! way to what was received.

mod acks;
mod begin;
pub(super) mod delivery;
mod output;
mod pacer;
mod path_mtu;
mod rack;
mod recovery;
pub(super) mod scoreboard;
mod series;
mod stamps;
mod timer;
mod undo;
mod window;

pub(super) use output::Outgoing;

use super::buffer::SendBuffer;
use super::capacity::path_holds;
use super::config::Config;
use super::congestion::{Congestion, Control, Controller, MaxRate};
use super::due::Due;
use super::ecn::Marks;
use super::pool::Pool;
use super::rtt::RttEstimator;
use super::seq::SeqNumber;
use crate::time::{Duration, Instant};
use delivery::Meter;
use pacer::Pacer;
use path_mtu::Search;
use rack::Rack;
use recovery::Recovery;
use scoreboard::Scoreboard;
use timer::Timer;
use undo::{Frto, Undo};

/// From this round trip on windows grow with what is measured, and what is sent is paced: below it, neither the application's
/// loop nor its clock, which counts in milliseconds, can be told from the path.
const LONG: Duration = Duration::from_millis(1);

/// Smoothed round trips of this length are no application's: no clock is believed to step that far ([`pacer`]).
const QUEUED: Duration = Duration::from_millis(100);

/// What of ours may stand in a queue is this part of what the configuration begins with.
const QUEUE_PART: u32 = 2;
/// A round trip is that of a queue when it is longer than the least one by this part of it, and by [`LONG`].
const LONGER_PART: u32 = 4;

/// The unit of [`Sender::lane`].
const LANE_SHIFT: u32 = 6;

/// What became of our FIN.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Fin {
    Unsent,
    /// It was sent at least once.
    Sent,
    Acked,
}

/// The send sequence space of RFC 9293 section 3.3.1, the bytes that the peer has not acknowledged, and all that is known of
/// the path to it.
#[derive(Debug)]
pub(super) struct Sender {
    buffer: SendBuffer,
    iss: SeqNumber,
    una: SeqNumber,
    /// The next number to send. It goes back after a timeout, `max` does not.
    nxt: SeqNumber,
    max: SeqNumber,
    /// The number and the acknowledgment of the segment that the window was taken from.
    wl1: SeqNumber,
    wl2: SeqNumber,
    /// The peer's window in bytes, scaled.
    wnd: u32,
    /// The largest window the peer has offered.
    max_wnd: u32,
    /// The shift of the windows that the peer offers.
    scale: u8,
    /// The segment size towards the peer.
    mss: u16,
    /// The most payload of a segment, whatever the peer takes.
    longest: u16,
    fin: Fin,
    /// What the buffer begins with and grows to; [`Sender::limit`] is what it may hold now.
    limit: u32,
    limit_max: u32,
    /// What the pool lets one buffer hold when it was last looked at.
    share: u32,
    /// What may be under way on a short path while the link is busy both ways, in units of 64 bytes so that a connection stays
    /// small; `u16::MAX` without a bound.
    lane: u16,
    /// Selective acknowledgments were agreed on.
    sack: bool,
    /// What is added to the clock of our timestamps: they are offered in our SYN, or were agreed on. A connection that was
    /// restored continues the values of its former life.
    stamps: Option<u32>,
    due: Due,

    /// Retransmission or probing, never both.
    timer: Option<(Timer, Instant)>,
    /// Doublings of the timer's interval.
    backoff: u8,
    /// Expiries since the peer last gave a sign of life that counts.
    tries: u8,
    /// The sum of the intervals of these expiries. Not the time that passed: the clock of a paused machine jumps.
    waited: Duration,
    rtt: RttEstimator,
    /// The next round trip is measured with a segment that ends here or later.
    rtt_next: SeqNumber,
    congestion: Congestion,
    controller: Controller,
    meter: Meter,
    /// What the path delivers is measured: it is long, something was lost in its queue, or the controller goes by that alone.
    measures: bool,
    /// The highest rate of late, and the round trips since that began.
    rate: MaxRate,
    rate_rounds: u8,
    pacer: Pacer,
    marks: Marks,
    /// When new bytes were last sent, and when the timer was armed: a probe's time counts from the former.
    sent_at: Instant,
    armed_at: Instant,
    scoreboard: Scoreboard,
    recovery: Recovery,
    rack: Rack,
    undo: Option<Box<Undo>>,
    search: Option<Box<Search>>,
}

impl Sender {
    pub(super) fn new(config: &Config, iss: SeqNumber) -> Sender {
        let limit = |bytes: usize| bytes.min(Pool::MAX_BUFFER) as u32;
        Sender {
            buffer: SendBuffer::default(),
            iss,
            una: iss,
            nxt: iss,
            max: iss,
            wl1: SeqNumber(0),
            wl2: SeqNumber(0),
            wnd: 0,
            max_wnd: 0,
            scale: 0,
            mss: config.mss.max(1),
            longest: u16::MAX,
            fin: Fin::Unsent,
            limit: limit(config.send_limit),
            limit_max: limit(config.send_max),
            share: Pool::MAX_BUFFER as u32,
            lane: u16::MAX,
            sack: false,
            stamps: config.timestamps.then_some(config.stamp_offset),
            due: Due::empty(),
            timer: None,
            backoff: 0,
            tries: 0,
            waited: Duration::ZERO,
            rtt: RttEstimator::default(),
            rtt_next: iss,
            congestion: config.congestion,
            controller: Controller::new(u32::from(config.mss)),
            meter: Meter::default(),
            measures: true,
            rate: MaxRate::default(),
            rate_rounds: 0,
            pacer: Pacer::new(),
            marks: Marks::new(iss),
            sent_at: Instant::ZERO,
            armed_at: Instant::ZERO,
            scoreboard: Scoreboard::default(),
            recovery: Recovery::new(iss),
            rack: Rack::new(iss),
            undo: None,
            search: None,
        }
    }

    pub(super) fn buffer(&self) -> &SendBuffer {
        &self.buffer
    }

    pub(super) fn buffer_mut(&mut self) -> &mut SendBuffer {
        &mut self.buffer
    }

    /// Gives all memory back.
    pub(super) fn release(&mut self, pool: &mut Pool) {
        self.buffer.release(pool);
    }

    /// Takes over what the pool lets one buffer hold now, and what may be under way.
    #[inline]
    pub(super) fn set_share(&mut self, share: u32, lane: u32) {
        self.share = share;
        self.lane = (lane >> LANE_SHIFT).min(u16::MAX.into()) as u16;
    }

    /// How much may be in flight now, in bytes.
    #[inline]
    fn may_fly(&self) -> u32 {
        let window = self.controller.window();
        if self.lane == u16::MAX {
            return window;
        }
        let lane = u32::from(self.lane) << LANE_SHIFT;
        if lane < window && !self.is_long() { lane } else { window }
    }

    /// The most that is in flight, in bytes: what was measured to fit on the path, and a part of what the configuration begins with in
    /// its queue. Without selective acknowledgments a burst of losses takes a round trip for each segment to repair, so
    /// that there the window stays.
    #[inline]
    fn most_in_flight(&self) -> u32 {
        let max = if self.sack { self.limit_max } else { 0 };
        if max <= self.limit {
            return self.limit;
        }
        let Some(least) = self.rtt.least().filter(|least| *least >= LONG) else {
            // Round trips this short are those of the application's loop, and say little about what fits.
            return path_holds(self.rtt.least(), self.limit, max);
        };
        let fits = self.rate.get().saturating_mul(least.total_micros()) / 1_000_000;
        // A window that doubles is twice what was measured with the last one, and that over as much as two round trips; unless the round
        // trips show that a queue grows already, for which HyStart++ needs a whole round.
        let queued = self.rack.latest() > least + least / LONGER_PART + LONG;
        let grows = self.controller.window() < self.controller.threshold();
        let queue =
            if grows && (!queued || self.controller.is_model()) { fits.saturating_mul(3) } else { self.queue(fits) };
        fits.saturating_add(queue).clamp(self.limit.into(), max.into()) as u32
    }

    /// What of ours may stand in a queue on the way beyond what `fits`, in bytes. It is the same whatever fits: of two connections that share a
    /// bottleneck the one with less would else be held to less. (A model of the path that had more would try more than it does.)
    #[inline]
    fn queue(&self, fits: u64) -> u64 {
        if self.controller.is_model() { fits.min(self.limit.into()) } else { u64::from(self.limit / QUEUE_PART) }
    }

    /// The same, with what is in flight in any case.
    pub(super) fn may_queue(&self, fits: u32) -> u32 {
        let fits = u64::from(fits);
        self.queue(fits).max(u64::from(self.limit).saturating_sub(fits)).min(u32::MAX.into()) as u32
    }

    /// How many bytes the buffer may hold now: what keeps the path busy, but never more than a buffer's share of the memory.
    pub(super) fn limit(&self) -> usize {
        let max = if self.sack { self.limit_max.max(self.limit) } else { self.limit };
        // Beside others there may be more in flight on a short path as well.
        let most = if self.is_long() || self.controller.has_company() { max } else { self.most_in_flight() };
        self.controller.buffer_wanted().clamp(self.limit, most).min(self.share) as usize
    }

    /// What fits on the path without a queue, in bytes; 0 where it is short or was not measured.
    fn fits(&self) -> u32 {
        let least = self.rtt.least().filter(|least| *least >= LONG).map_or(0, Duration::total_micros);
        (self.rate.get().saturating_mul(least) / 1_000_000).min(1 << 30) as u32
    }

    /// Whether round trips are so long that what is sent can be spread over them.
    #[inline]
    fn is_long(&self) -> bool {
        self.rtt.least().is_some_and(|least| least >= LONG)
    }

    /// Whether something was lost on a short path behind a queue that is too long to be the application's: what is sent in bursts of a whole
    /// window would meet now all of it and now nothing, so that round trips told nothing of what others have.
    #[inline]
    fn is_behind_queue(&self) -> bool {
        self.controller.looks_for_company() && self.rtt.srtt().is_some_and(|srtt| srtt >= QUEUED)
    }

    /// Has segments carry no more payload than this, for the time being.
    pub(super) fn limit_segments(&mut self, longest: u16) {
        self.longest = longest;
    }

    /// The path carries smaller segments than was believed: they are `mss` bytes from now on, headers excluded and options
    /// included, and what is in flight is sent again. False for a value that is not smaller, or below what any path carries:
    /// it is refused (RFC 9293 section 3.9.2.2, RFC 1191 section 6.4).
    pub(super) fn lower_mss(&mut self, mss: u16) -> bool {
        if mss >= self.mss || mss < begin::MIN_MSS {
            return false;
        }
        self.mss = mss;
        // A path on which routers report is not searched.
        self.search = None;
        self.controller.set_segment(u32::from(self.payload_mss()));
        if !self.scoreboard.is_empty() {
            self.scoreboard.lose_all(false);
            self.due.insert(Due::FIRST_LOST);
        }
        true
    }

    /// The peer is found to use selective acknowledgments.
    pub(super) fn allow_sack(&mut self) {
        self.sack = true;
        self.controller.choose(self.congestion, u32::from(self.payload_mss()), true, self.sent_at);
    }

    /// Whether both ends take part in explicit congestion notification.
    pub(super) fn agree_on_marks(&mut self, agreed: bool) {
        self.marks.agreed = agreed;
    }

    pub(super) fn marks_agreed(&self) -> bool {
        self.marks.agreed
    }

    #[inline]
    pub(super) fn due(&self) -> Due {
        debug_assert!(Due::SENDER.contains(self.due));
        self.due
    }

    /// Nothing is waited for any more.
    pub(super) fn stop(&mut self) {
        self.timer = None;
        self.pacer.stop();
    }

    /// Whether something is in flight, or waits for a window.
    pub(super) fn is_waiting(&self) -> bool {
        self.timer.is_some()
    }

    /// Whether everything was sent, there is no FIN to be sent, nothing is known to be lost, and recovery asks for nothing.
    #[inline]
    pub(super) fn is_quiet(&self) -> bool {
        self.unsent() == 0 && !self.buffer.is_closed() && self.scoreboard.lost() == 0 && self.recovery.frto == Frto::Off
    }

    /// Whether the peer has acknowledged everything that was handed in, the FIN included.
    pub(super) fn is_idle(&self) -> bool {
        self.buffer.is_empty() && self.una == self.max && (self.fin != Fin::Unsent || !self.buffer.is_closed())
    }

    /// Whether `seq` is in flight.
    pub(super) fn is_in_flight(&self, seq: SeqNumber) -> bool {
        seq.ge(self.una) && seq.lt(self.max)
    }

    /// How many bytes of the buffer were not sent, or are to be sent again after a timeout.
    pub(super) fn unsent(&self) -> usize {
        self.buffer.len().saturating_sub(self.flight() as usize)
    }

    /// From the first number that is not acknowledged to the next one to be sent.
    #[inline]
    fn flight(&self) -> u32 {
        self.nxt.distance(self.una)
    }

    /// The number of a segment without text. What was sent counts, even if it is about to be sent again; but a probe of a
    /// closed window was hardly taken.
    #[inline]
    pub(super) fn bare_seq(&self) -> SeqNumber {
        if self.is_probing_window() { self.nxt } else { self.max }
    }

    pub(super) fn iss(&self) -> SeqNumber {
        self.iss
    }

    /// How many segments were sent again since this was last asked.
    #[inline]
    pub(super) fn take_resent(&mut self) -> u16 {
        std::mem::take(&mut self.recovery.resent)
    }

    /// The oldest number that is not acknowledged.
    #[inline]
    pub(super) fn una(&self) -> SeqNumber {
        self.una
    }

    /// The next number to send.
    pub(super) fn nxt(&self) -> SeqNumber {
        self.nxt
    }

    /// The number after the last one ever sent.
    pub(super) fn max(&self) -> SeqNumber {
        self.max
    }

    /// The number and the acknowledgment of the segment that the window was taken from.
    pub(super) fn window_from(&self) -> (SeqNumber, SeqNumber) {
        (self.wl1, self.wl2)
    }

    /// The peer's window in bytes.
    pub(super) fn window(&self) -> u32 {
        self.wnd
    }

    /// The largest window that the peer has offered, in bytes.
    pub(super) fn max_window(&self) -> u32 {
        self.max_wnd
    }

    /// The shift of the windows that the peer offers.
    pub(super) fn scale(&self) -> u8 {
        self.scale
    }

    /// The segment size towards the peer, options included, without what was found out of a path that swallows long segments: who goes on with a saved state has to find
    /// it out anew, as it does not know that the segments are shorter than they might be.
    pub(super) fn believed_mss(&self) -> u16 {
        self.search.as_ref().map_or(self.mss, |search| search.full())
    }

    pub(super) fn rtt(&self) -> &RttEstimator {
        &self.rtt
    }

    pub(super) fn controller(&self) -> &Controller {
        &self.controller
    }

    #[cfg(test)]
    pub(super) fn controller_mut(&mut self) -> &mut Controller {
        &mut self.controller
    }

    /// What is sent now is no measure of the path.
    #[cfg(test)]
    pub(super) fn is_app_limited(&self) -> bool {
        self.meter.is_limited()
    }

    /// All bytes that were ever found lost; a loss of a repetition counts once more.
    #[cfg(test)]
    pub(super) fn found_lost(&self) -> u32 {
        self.meter.lost_since(&delivery::Snapshot::default())
    }

    /// Timeouts in a row that the peer has not answered.
    pub(super) fn timeouts(&self) -> u8 {
        self.backoff
    }
}
