//! Which bytes are lost, by the time that has passed since they were sent: RFC 8985 (RACK), for a peer with selective
//! acknowledgments.

use super::Sender;
use super::delivery::Meter;
use super::recovery::Phase;
use super::scoreboard::{Delivered, Newest};
use super::timer::Timer;
use crate::tcp::congestion::{Control, Sample};
use crate::tcp::due::Due;
use crate::tcp::segment::Segment;
use crate::tcp::seq::SeqNumber;
use crate::time::{Duration, Instant};

/// The factor of the reordering window never grows past this; it bounds what duplicates can cost.
const MAX_REORDER: u8 = 16;
/// Round trips over which the highest rate of delivery is kept, and once more as many.
const RATE_ROUNDS: u8 = 8;
/// On a long path this time is enough, and so many round trips: of two connections the one with more would else be held to less only
/// seconds after the other one has taken it.
const RATE_FOR: Duration = Duration::from_millis(500);
const RATE_ROUNDS_LEAST: u8 = 3;
/// Recoveries after which a reordering window that has grown is narrowed again (RFC 8985 section 6.2, step 4).
const REORDER_PERSISTS: u8 = 16;

/// The variables of RFC 8985 section 5.3.
#[derive(Debug)]
pub(super) struct Rack {
    /// The transmission sent last among those delivered, and its round-trip time.
    newest: Option<Newest>,
    rtt: Duration,
    min_rtt: Option<Duration>,
    /// The highest number delivered.
    highest: SeqNumber,
    reordering: bool,
    /// The reordering window in quarters of the least round-trip time, and when it may grow again.
    reorder: u8,
    reorder_next: SeqNumber,
    /// Recoveries for which it stays as wide.
    reorder_left: u8,
}

impl Rack {
    pub(super) fn new(first: SeqNumber) -> Rack {
        Rack {
            newest: None,
            rtt: Duration::ZERO,
            min_rtt: None,
            highest: first,
            reordering: false,
            reorder: 1,
            reorder_next: first,
            reorder_left: 0,
        }
    }

    /// The round trip of what was delivered last.
    pub(super) fn latest(&self) -> Duration {
        self.rtt
    }

    /// Bytes were delivered, and `newest` was sent last of them. False when it tells nothing: an answer that came sooner than
    /// any ever did is one to an earlier transmission (RFC 8985 section 6.2, step 2).
    #[inline]
    pub(super) fn note(&mut self, delivered: &Delivered, newest: Newest, now: Instant) -> bool {
        let elapsed =
            Duration::from_micros(now.total_micros().saturating_sub(newest.sent.total_micros()).max(0) as u64);
        if newest.resent && self.min_rtt.is_none_or(|least| elapsed < least) {
            return false;
        }
        self.min_rtt = Some(self.min_rtt.map_or(elapsed, |least| least.min(elapsed)));
        self.rtt = elapsed;
        if self.newest.is_none_or(|known| newest.is_after(known.sent, known.end)) {
            self.newest = Some(newest);
        }
        // Step 3: what was sent once and arrives after what was sent behind it has been overtaken.
        if delivered.once.is_some_and(|least| least.lt(self.highest)) {
            self.reordering = true;
        }
        self.highest = self.highest.max(newest.end);
        true
    }

    /// A recovery ended.
    pub(super) fn on_repaired(&mut self) {
        self.reorder_left = self.reorder_left.saturating_sub(1);
        if self.reorder_left == 0 {
            self.reorder = 1;
        }
    }
}

impl Sender {
    /// The peer's report of what it has beyond its acknowledgment, into `delivered`. Returns the bytes that it had twice.
    pub(super) fn take_sack(
        &mut self,
        segment: &Segment<'_>,
        delivered: &mut Delivered,
    ) -> Option<(SeqNumber, SeqNumber)> {
        let [first, second, ..] = segment.options.sack;
        let (start, end) = first?;
        // RFC 2883 section 4: a first block below the acknowledgment, or within the second, is a duplicate.
        let within = |outer: (SeqNumber, SeqNumber)| start.ge(outer.0) && end.le(outer.1);
        let duplicate =
            start.lt(end) && end.gt(self.una - self.max_wnd) && (end.le(segment.ack) || second.is_some_and(within));
        for (start, end) in segment.options.sack.into_iter().flatten() {
            self.scoreboard.sack(start, end, delivered);
        }
        duplicate.then_some((start, end))
    }

    /// Whether the round trips of this period are enough although they are few.
    fn forgets_rate(&self) -> bool {
        let Some(srtt) = self.rtt.srtt() else { return false };
        self.rate_rounds >= RATE_ROUNDS_LEAST
            && srtt.total_micros().saturating_mul(self.rate_rounds.into()) >= RATE_FOR.total_micros()
            && self.controller.forgets_soon()
    }

    /// The highest rate of late, in which what the host was too slow for counts only when it is more.
    #[inline]
    fn note_rate(&mut self, sample: &Sample) {
        if sample.round_start {
            self.rate_rounds += 1;
            if self.rate_rounds >= RATE_ROUNDS || self.forgets_rate() {
                self.rate_rounds = 0;
                self.rate.advance();
            }
        }
        if let Some(rate) = sample.rate
            && (!sample.app_limited || rate > self.rate.get())
        {
            self.rate.note(rate);
        }
    }

    /// What the bytes that were newly delivered say about round trips, order and losses.
    pub(super) fn on_delivered(&mut self, delivered: &Delivered, now: Instant) -> Option<Sample> {
        let newest = delivered.newest?;
        let sample = self.measure_rate(delivered, &newest, now);
        if !self.rack.note(delivered, newest, now) {
            return sample;
        }
        // One measurement a round trip, as RFC 6298 section 4 has it.
        if !newest.resent && newest.end.ge(self.rtt_next) {
            self.rtt.sample(newest.sent, now);
            self.rtt_next = self.max;
        }
        sample
    }

    /// What bytes that arrived tell of the rate. Nothing on a short path, where it would be that of the application's loop, unless something
    /// was lost there behind a queue.
    #[inline]
    fn measure_rate(&mut self, delivered: &Delivered, newest: &Newest, now: Instant) -> Option<Sample> {
        let measures = self.is_long() || self.controller.is_model() || self.controller.looks_for_company();
        if measures != self.measures {
            // What is in flight was sent without a note, or will not be measured.
            self.measures = measures;
            self.meter = Meter::default();
            self.pacer.set_rate(None, 1, now);
        }
        if !measures {
            return None;
        }
        let sample = self.meter.on_delivered(delivered.bytes, newest, self.rtt.least(), now);
        self.note_rate(&sample);
        Some(sample)
    }

    /// The peer had bytes twice: something was sent again needlessly, so that more time is given to what is overtaken
    /// (RFC 8985 section 6.2, step 4).
    pub(super) fn on_duplicate_report(&mut self, duplicate: (SeqNumber, SeqNumber)) {
        self.detect_by_duplicates(duplicate);
        if self.recovery.probe.is_some_and(|probe| probe.end == duplicate.1) {
            // A probe is a duplicate whenever nothing was lost, and says nothing about order.
            return;
        }
        let rack = &mut self.rack;
        rack.reorder_left = REORDER_PERSISTS;
        if self.una.ge(rack.reorder_next) {
            rack.reorder = rack.reorder.saturating_add(1).min(MAX_REORDER);
            rack.reorder_next = self.max;
        }
    }

    /// RFC 8985 section 6.2, step 4.
    fn reorder_window(&self) -> Duration {
        let rack = &self.rack;
        if !rack.reordering {
            let many = self.scoreboard.sacked() >= super::recovery::DUP_THRESH * u32::from(self.payload_mss());
            if self.recovery.phase != Phase::Open || many {
                return Duration::ZERO;
            }
        }
        let quarter = rack.min_rtt.unwrap_or(Duration::ZERO).total_micros() / 4;
        let window = Duration::from_micros(quarter * u64::from(rack.reorder));
        self.rtt.srtt().map_or(window, |srtt| window.min(srtt))
    }

    /// Looks for losses after `delivered` bytes have arrived. Cheap when nothing was reported beyond a hole. Whether any
    /// were found.
    pub(super) fn detect_losses(&mut self, delivered: u32, now: Instant) -> bool {
        if !self.sack || (self.scoreboard.sacked() == 0 && self.recovery.phase == Phase::Open) {
            return false;
        }
        let Some(newest) = self.rack.newest else { return false };
        let window = self.rack.rtt + self.reorder_window();
        let (lost, wait) = self.scoreboard.detect(&newest, window, now);
        if lost.bytes > 0 && self.is_trial(lost.bytes) {
            self.due.insert(Due::FIRST_LOST);
        } else if lost.bytes > 0 {
            let missing = self.meter.on_lost(lost.bytes, lost.first);
            self.controller.on_lost(&missing, now);
            self.on_loss(delivered, now);
        }
        if let Some(wait) = wait {
            self.timer = Some((Timer::Reorder, now + wait));
        }
        lost.bytes > 0
    }
}
