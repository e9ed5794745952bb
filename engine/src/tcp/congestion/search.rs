//! What slow start has left: the window goes on looking for it where there is room, by a part of itself in a round trip.
//!
//! Slow start ends early for one that begins while another overshoots: something is lost while its window is a tenth of its share, or the
//! queue of the other one makes its round trips longer. On a long path the growth of CUBIC, which goes by the time alone, needs half a
//! minute from there. So as long as nothing was lost the window opens on, up to what there may be ([`Path::most`]): no queue is known
//! to be shorter. And once after the losses that ended slow start it opens while the queue is shorter than it was when something was lost.
//!
//! The latter only where that queue could be seen, and was no longer than the path. Behind a longer one the link stays busy in spite
//! of the losses, and what is won there is another's. What cannot be seen cannot be kept from overflowing. And both only on a path of
//! [`LONG_PATH`]: on shorter ones CUBIC comes back in time, and a search takes from a plain neighbor what is its own.

use super::Path;
use super::sounding::clear;
use crate::time::{Duration, Instant};

/// In a round trip the window opens by this part of itself while nothing was lost, and by the other one after losses; but by no more
/// than half of what is missing to [`Path::most`].
const WHOLE_PART: u32 = 8;
const LOST_PART: u32 = 4;
/// Round trips after a repair for which nothing is looked for: the queue is then what the reduction has left.
const QUIET_ROUNDS: u64 = 2;
/// There is room while the queue is no longer than so many eighths of what it was when something was lost.
const ROOM_EIGHTHS: u64 = 7;

/// The least round trip, since the connection began, from which on anything is looked for.
const LONG_PATH: Duration = Duration::from_millis(100);

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    /// Nothing was lost.
    Whole,
    /// Something was lost, and nothing was looked for since.
    Lost,
    Searches,
    /// What was looked for has ended in a loss.
    Over,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Search {
    stage: Stage,
    /// The round trip when something was lost last, in microseconds: that of a full queue.
    full: u32,
    /// The least round trip since the connection began, in microseconds. That of late may be of a queue.
    least: u32,
    /// When the window could open again for the first time since; `ZERO` where it could not yet.
    since: Instant,
}

impl Default for Search {
    fn default() -> Search {
        Search { stage: Stage::Whole, full: 0, least: u32::MAX, since: Instant::ZERO }
    }
}

impl Search {
    /// The round trip at the moment at which losses were noticed. Told before [`Search::on_reduction`].
    pub(super) fn note_full(&mut self, latest: Duration) {
        self.full = latest.total_micros().min(u32::MAX.into()) as u32;
    }

    /// Something was lost or marked.
    pub(super) fn on_reduction(&mut self) {
        self.stage = match self.stage {
            Stage::Whole | Stage::Lost => Stage::Lost,
            Stage::Searches | Stage::Over => Stage::Over,
        };
        self.since = Instant::ZERO;
    }

    /// The round trips of late.
    #[inline]
    pub(super) fn note_least(&mut self, path: &Path) {
        let least = path.rtt.least().map_or(u64::MAX, Duration::total_micros);
        self.least = self.least.min(least.min(u32::MAX.into()) as u32);
    }

    /// Whether something was lost or marked on this connection.
    pub(super) fn has_lost(&self) -> bool {
        self.stage != Stage::Whole
    }

    /// Whether the path is long, and nothing was lost behind a queue that is longer than it.
    pub(super) fn is_on_long_path(&self) -> bool {
        let known = self.least < u32::MAX;
        known && u64::from(self.least) >= LONG_PATH.total_micros() && self.full / 2 <= self.least
    }

    /// By how much a window opens in a round trip, in bytes; 0 where nothing is looked for.
    pub(super) fn step(&mut self, window: u32, path: &Path) -> u32 {
        if self.stage == Stage::Over || !self.is_on_long_path() || path.fits == 0 {
            return 0;
        }
        let missing = path.most.saturating_sub(window) / 2;
        if self.stage == Stage::Whole {
            return (window / WHOLE_PART).min(missing);
        }
        if !self.has_room(path) {
            return 0;
        }
        self.stage = Stage::Searches;
        (window / LOST_PART).min(missing)
    }

    /// Whether the queue is clearly shorter than the one in which something was lost.
    fn has_room(&mut self, path: &Path) -> bool {
        if self.since == Instant::ZERO {
            self.since = path.now;
        }
        let Some(srtt) = path.rtt.srtt() else { return false };
        let least = Duration::from_micros(self.least.into());
        let quiet = Duration::from_micros(srtt.total_micros().saturating_mul(QUIET_ROUNDS));
        let full = Duration::from_micros(self.full.into());
        if path.now - self.since < quiet || full <= clear(least) {
            return false;
        }
        let queue = |rtt: Duration| rtt.total_micros().saturating_sub(least.total_micros());
        queue(path.latest) <= queue(full) / 8 * ROOM_EIGHTHS
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tcp::rtt::RttEstimator;

    const LEAST: i64 = 200;

    /// A path of 200 ms on which a window of 1,000,000 may be in flight, so many round trips after the beginning.
    fn path(rounds: i64, latest: u64) -> Path {
        let now = Instant::from_millis(LEAST * rounds);
        let mut rtt = RttEstimator::default();
        rtt.sample(Instant::ZERO, Instant::from_millis(LEAST));
        let latest = Duration::from_millis(latest);
        Path { now, rtt, latest, sack: true, most: 1_000_000, fits: 800_000, queue: 0, paced: true }
    }

    /// A search on a path of so many milliseconds.
    fn on(least: i64) -> Search {
        let mut rtt = RttEstimator::default();
        rtt.sample(Instant::ZERO, Instant::from_millis(least));
        let mut search = Search::default();
        search.note_least(&Path { rtt, ..path(0, 200) });
        search
    }

    /// A search after something was lost with this round trip, two round trips after the repair.
    fn after_loss(full: u64) -> Search {
        let mut search = on(LEAST);
        search.note_full(Duration::from_millis(full));
        search.on_reduction();
        assert_eq!(search.step(80_000, &path(10, 200)), 0, "the repair has just ended");
        search
    }

    #[test]
    fn as_long_as_nothing_was_lost_the_window_opens_up_to_what_there_may_be() {
        let mut search = on(LEAST);
        assert_eq!([80_000, 960_000, 1_000_000].map(|window| search.step(window, &path(10, 230))), [10_000, 20_000, 0]);
        assert_eq!(on(99).step(80_000, &path(10, 230)), 0, "a short path, whatever the round trips of late");
    }

    #[test]
    fn after_a_loss_it_opens_once_while_the_queue_is_shorter_than_it_was() {
        let mut search = after_loss(280);
        assert_eq!(search.step(80_000, &path(11, 200)), 0);
        assert_eq!([200, 270, 271].map(|latest| search.step(80_000, &path(12, latest))), [20_000, 20_000, 0]);
        search.note_full(Duration::from_millis(280));
        search.on_reduction();
        assert_eq!([20, 30].map(|round| search.step(80_000, &path(round, 200))), [0, 0]);
    }

    /// Losses of which the first ones left no time to look for anything count as one.
    #[test]
    fn losses_one_behind_the_other_leave_a_search() {
        let mut search = after_loss(280);
        search.on_reduction();
        assert_eq!(search.step(80_000, &path(20, 200)), 0);
        assert_eq!(search.step(80_000, &path(22, 200)), 20_000);
    }

    #[test]
    fn a_queue_that_cannot_be_seen_or_is_longer_than_the_path_is_left_alone() {
        assert_eq!(
            [226, 227, 400, 401].map(|full| after_loss(full).step(80_000, &path(20, 200))),
            [0, 20_000, 20_000, 0]
        );
    }
}
