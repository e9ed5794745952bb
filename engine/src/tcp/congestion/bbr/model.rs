//! What is known of the path: its rate, its least round trip, how acknowledgments bunch, and when round trips end.

use crate::tcp::congestion::{MaxRate, Sample};
use crate::time::{Duration, Instant};

/// How long the least round trip counts (section 2.9).
const LEAST_FOR: Duration = Duration::from_secs(20);
/// Round trips over which the most that came in bunches is looked for (section 5.5.9); half of them a period.
const BUNCH_ROUNDS: u8 = 5;

/// Sections 5.5.1 to 5.5.9.
#[derive(Debug)]
pub(super) struct Model {
    /// Over the last two cycles of probing.
    pub rate: MaxRate,
    /// The least round trip, and when it was measured.
    least: Option<Duration>,
    least_at: Instant,
    /// A round trip ends when what was sent after so much had been delivered has arrived.
    round_end: u32,
    pub round_start: bool,
    /// What came beyond the rate since `bunch_from`, and the most of that in two periods.
    bunch_from: Instant,
    bunch: u32,
    most_bunched: [u32; 2],
    bunch_rounds: u8,
}

impl Model {
    pub(super) fn new(now: Instant) -> Model {
        Model {
            rate: MaxRate::default(),
            least: None,
            least_at: now,
            round_end: 0,
            round_start: false,
            bunch_from: now,
            bunch: 0,
            most_bunched: [0; 2],
            bunch_rounds: 0,
        }
    }

    pub(super) fn round_trip(&self) -> Option<Duration> {
        self.least
    }

    /// The round trip that begins now ends with the delivery of what is sent from now on.
    pub(super) fn begin_round(&mut self, total: u32) {
        self.round_end = total;
    }

    /// Section 5.5.1.
    pub(super) fn count_round(&mut self, sample: &Sample) {
        self.round_start = (sample.prior.wrapping_sub(self.round_end) as i32) >= 0;
        if self.round_start {
            self.begin_round(sample.total);
        }
    }

    /// Section 5.5.5: what the host was too slow for counts only when it is more.
    pub(super) fn note_rate(&mut self, sample: &Sample) {
        if let Some(rate) = sample.rate
            && (!sample.app_limited || rate >= self.rate.get())
        {
            self.rate.note(rate);
        }
    }

    /// A round trip, or the least of a shorter time, with the moment at which it was measured (section 5.5.7).
    pub(super) fn note_round_trip(&mut self, least: Duration, at: Instant, now: Instant) {
        let expired = now.total_micros().saturating_sub(self.least_at.total_micros()) > LEAST_FOR.total_micros() as i64;
        if expired || self.least.is_none_or(|known| least < known) {
            self.least = Some(least);
            self.least_at = at;
        }
    }

    /// What comes in bunches (section 5.5.9): what arrived beyond what the rate explains.
    pub(super) fn note_bunches(&mut self, sample: &Sample, rate: u64, window: u32, filled: bool, now: Instant) {
        if self.round_start {
            self.bunch_rounds += 1;
            if self.bunch_rounds >= if filled { BUNCH_ROUNDS } else { 1 } {
                self.bunch_rounds = 0;
                self.most_bunched = [0, self.most_bunched[0]];
            }
        }
        let elapsed = now.total_micros().saturating_sub(self.bunch_from.total_micros()).max(0) as u64;
        let mut explained = (rate.saturating_mul(elapsed) / 1_000_000).min(u64::from(u32::MAX)) as u32;
        if self.bunch <= explained {
            self.forget_bunch(now);
            explained = 0;
        }
        self.bunch = self.bunch.saturating_add(sample.delivered);
        let extra = self.bunch.saturating_sub(explained).min(window);
        let [most, _] = &mut self.most_bunched;
        *most = (*most).max(extra);
    }

    /// Sending begins anew.
    pub(super) fn forget_bunch(&mut self, now: Instant) {
        self.bunch = 0;
        self.bunch_from = now;
    }

    pub(super) fn bunched(&self) -> u32 {
        let [now, before] = self.most_bunched;
        now.max(before)
    }
}
