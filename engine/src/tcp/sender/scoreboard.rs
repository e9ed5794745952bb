//! What is in flight: runs of bytes, when each was last sent, and what became of it. The conservative scoreboard of RFC
//! 6675 with the transmission times that RFC 8985 asks for.
//!
//! Segments that follow each other and were sent at the same moment share one run, so that a burst of hundreds of
//! segments costs one entry until something is lost in it.

use std::collections::VecDeque;

use super::delivery::Snapshot;
use crate::tcp::seq::SeqNumber;
use crate::time::{Duration, Instant};

/// Runs kept at one time: so many, and one more for each so many bytes in flight, as a segment that is lost makes two. So a
/// peer that reports single bytes cannot have more memory spent on runs than on bytes. At the bound selective
/// acknowledgments are ignored and new segments join the last run: what is lost is then found later, by the retransmission
/// timer at the latest.
const MIN_RUNS: usize = 128;
const BYTES_PER_RUN: usize = 256;
const MAX_RUNS: usize = 16_384;
/// Runs whose memory is kept while nothing is in flight.
const KEPT_RUNS: usize = 8;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Fate {
    Flying,
    /// The peer has it and said so selectively.
    Sacked,
    /// Taken for lost and not sent again yet.
    Lost,
}

/// Bytes that share a fate. They begin where the run before ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Run {
    end: SeqNumber,
    fate: Fate,
    /// Sent more than once: its acknowledgment does not tell which transmission it answers (Karn's algorithm).
    resent: bool,
    sent: Instant,
    snapshot: Snapshot,
}

/// The transmission that was delivered, as RFC 8985 section 5.2 keeps it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Newest {
    pub sent: Instant,
    pub end: SeqNumber,
    pub resent: bool,
    pub snapshot: Snapshot,
}

/// What was newly found lost.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Lost {
    pub bytes: u32,
    /// The first of these transmissions.
    pub first: Option<Snapshot>,
}

impl Newest {
    /// RFC 8985 section 6.2, step 2: sent later, or at the same moment and further on.
    pub(crate) fn is_after(&self, sent: Instant, end: SeqNumber) -> bool {
        self.sent > sent || (self.sent == sent && self.end.gt(end))
    }
}

/// What one acknowledgment has newly reported as delivered.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Delivered {
    pub bytes: u32,
    /// The transmission that was sent last.
    pub newest: Option<Newest>,
    /// The least end of a run that was sent only once.
    pub once: Option<SeqNumber>,
}

impl Delivered {
    fn note(&mut self, run: &Run, bytes: u32) {
        self.bytes = self.bytes.saturating_add(bytes);
        if self.newest.is_none_or(|newest| !newest.is_after(run.sent, run.end)) {
            let Run { sent, end, resent, snapshot, .. } = *run;
            self.newest = Some(Newest { sent, end, resent, snapshot });
        }
        if !run.resent {
            self.once = Some(self.once.map_or(run.end, |least| least.min(run.end)));
        }
    }
}

/// The runs in flight, in order and without gaps.
#[derive(Debug, Default)]
pub(crate) struct Scoreboard {
    runs: VecDeque<Run>,
    /// The first number in flight.
    una: SeqNumber,
    sacked: u32,
    lost: u32,
    /// No run that ends here or before is lost.
    intact: SeqNumber,
}

impl Scoreboard {
    /// Bytes that were selectively acknowledged.
    #[inline]
    pub(crate) fn sacked(&self) -> u32 {
        self.sacked
    }

    /// Bytes that are to be sent again.
    #[inline]
    pub(crate) fn lost(&self) -> u32 {
        self.lost
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// The number after the last one in flight.
    fn end(&self) -> SeqNumber {
        self.runs.back().map_or(self.una, |run| run.end)
    }

    /// Bytes from the first one in flight to the last.
    #[inline]
    pub(crate) fn flight(&self) -> u32 {
        self.end().distance(self.una)
    }

    /// Bytes that are believed to be on their way: the "pipe" of RFC 6675 section 4.
    #[inline]
    pub(crate) fn pipe(&self) -> u32 {
        self.flight().saturating_sub(self.sacked).saturating_sub(self.lost)
    }

    /// Whether the bound leaves no room for `more` runs.
    fn is_full(&self, more: usize) -> bool {
        let count = self.runs.len() + more;
        count > MIN_RUNS && count > (MIN_RUNS + self.flight() as usize / BYTES_PER_RUN).min(MAX_RUNS)
    }

    /// Nothing is in flight; `una` is the next number to be sent.
    pub(crate) fn clear(&mut self, una: SeqNumber) {
        self.una = una;
        self.intact = una;
        self.runs.clear();
        self.runs.shrink_to(KEPT_RUNS);
        self.sacked = 0;
        self.lost = 0;
    }

    /// The bytes from the end of what is in flight up to `end` were sent. `resent` when they had been sent before.
    #[inline]
    pub(crate) fn sent(&mut self, end: SeqNumber, now: Instant, resent: bool, snapshot: Snapshot) {
        let full = self.is_full(1);
        if let Some(last) = self.runs.back_mut()
            && last.fate == Fate::Flying
            && ((last.sent == now && last.resent == resent) || full)
        {
            last.end = end;
            last.sent = now;
            last.resent |= resent;
            // What had been delivered before the first of them: a sample of more time is no faster.
            last.snapshot.in_flight = snapshot.in_flight;
            return;
        }
        self.runs.push_back(Run { end, fate: Fate::Flying, resent, sent: now, snapshot });
    }

    /// Whether what was sent last had been sent before.
    pub(crate) fn ends_with_repetition(&self) -> bool {
        self.runs.back().is_some_and(|run| run.resent)
    }

    /// What is in flight, if that was all sent once and at one moment, and nothing is known of it.
    #[inline]
    pub(crate) fn whole(&self) -> Option<Newest> {
        let &Run { end, fate, resent, sent, snapshot } = self.runs.front()?;
        let plain = self.runs.len() == 1 && fate == Fate::Flying && !resent;
        plain.then_some(Newest { sent, end, resent, snapshot })
    }

    /// All of it has arrived.
    #[inline]
    pub(crate) fn acked_whole(&mut self, ack: SeqNumber) {
        self.una = ack;
        self.intact = self.intact.max(ack);
        self.runs.pop_front();
        if self.runs.capacity() > KEPT_RUNS {
            self.clear(ack);
        }
    }

    /// Everything before `ack` has arrived.
    #[inline]
    pub(crate) fn acked(&mut self, ack: SeqNumber) -> Delivered {
        let mut delivered = Delivered::default();
        while let Some(run) = self.runs.front() {
            if self.una.ge(ack) {
                break;
            }
            let run = Run { end: run.end.min(ack), ..*run };
            let bytes = run.end.distance(self.una);
            match run.fate {
                Fate::Flying => delivered.note(&run, bytes),
                Fate::Sacked => self.sacked = self.sacked.saturating_sub(bytes),
                Fate::Lost => {
                    delivered.note(&run, bytes);
                    self.lost = self.lost.saturating_sub(bytes);
                }
            }
            self.una = run.end;
            if self.runs.front().is_some_and(|front| front.end == run.end) {
                self.runs.pop_front();
            }
        }
        self.una = self.una.max(ack);
        self.intact = self.intact.max(self.una);
        if self.runs.is_empty() {
            self.clear(self.una);
        }
        delivered
    }

    /// The peer has the bytes from `start` up to `end`. A block that is not within what is in flight is ignored (RFC 2018
    /// section 5, RFC 6675 section 4).
    pub(crate) fn sack(&mut self, start: SeqNumber, end: SeqNumber, delivered: &mut Delivered) {
        if start.lt(self.una) || !start.lt(end) || end.gt(self.end()) || self.is_full(2) {
            return;
        }
        self.split(start);
        self.split(end);
        let mut index = self.runs.partition_point(|run| run.end.le(start));
        while let Some(&run) = self.runs.get(index)
            && run.end.le(end)
        {
            if run.fate != Fate::Sacked {
                let bytes = run.end.distance(self.start_of(index));
                if run.fate == Fate::Lost {
                    self.lost = self.lost.saturating_sub(bytes);
                }
                self.sacked = self.sacked.saturating_add(bytes);
                delivered.note(&run, bytes);
                self.set_fate(index, Fate::Sacked);
            }
            if index > 0 && self.runs.get(index - 1).is_some_and(|before| before.fate == Fate::Sacked) {
                self.runs.remove(index - 1);
            } else {
                index += 1;
            }
        }
        // What follows may have been sacked already.
        if index > 0
            && [index - 1, index].iter().all(|&at| self.runs.get(at).is_some_and(|run| run.fate == Fate::Sacked))
        {
            self.runs.remove(index - 1);
        }
    }

    fn set_fate(&mut self, index: usize, fate: Fate) {
        if let Some(run) = self.runs.get_mut(index) {
            run.fate = fate;
        }
    }

    /// Where the run begins.
    fn start_of(&self, index: usize) -> SeqNumber {
        index.checked_sub(1).and_then(|before| self.runs.get(before)).map_or(self.una, |before| before.end)
    }

    /// Makes a run end at `at`.
    fn split(&mut self, at: SeqNumber) {
        let index = self.runs.partition_point(|run| run.end.lt(at));
        if let Some(&run) = self.runs.get(index)
            && run.end != at
            && self.start_of(index).lt(at)
        {
            self.runs.insert(index, Run { end: at, ..run });
        }
    }

    /// Takes for lost what was sent before the delivered transmission `newest` by more than `window` ago (RFC 8985 section
    /// 6.2, step 5). Returns what was newly lost, and the time after which to look again.
    pub(crate) fn detect(&mut self, newest: &Newest, window: Duration, now: Instant) -> (Lost, Option<Duration>) {
        let mut lost = Lost::default();
        let mut wait = None;
        let mut start = self.una;
        for run in &mut self.runs {
            let before = newest.is_after(run.sent, run.end);
            if !before && !run.resent {
                // All that lies beyond was sent later still.
                break;
            }
            if run.fate == Fate::Flying && before {
                let due = run.sent + window;
                if due <= now {
                    run.fate = Fate::Lost;
                    self.intact = self.intact.min(start);
                    lost.bytes = lost.bytes.saturating_add(run.end.distance(start));
                    lost.first = lost.first.or(Some(run.snapshot));
                } else {
                    wait = wait.max(Some(due - now));
                }
            }
            start = run.end;
        }
        self.lost = self.lost.saturating_add(lost.bytes);
        (lost, wait)
    }

    /// Takes the first `bytes` in flight for lost, for a peer without selective acknowledgments. Returns how many were
    /// not lost before.
    pub(crate) fn lose_first(&mut self, bytes: u32) -> u32 {
        let at = (self.una + bytes).min(self.end());
        if !self.is_full(1) {
            self.split(at);
        }
        let Some(&run) = self.runs.front() else { return 0 };
        if run.fate != Fate::Flying {
            return 0;
        }
        let bytes = run.end.distance(self.una);
        self.set_fate(0, Fate::Lost);
        self.intact = self.una;
        self.lost = self.lost.saturating_add(bytes);
        bytes
    }

    /// Takes everything in flight for lost but what the peer has selectively acknowledged; with `reneged`, that as well: a
    /// peer may drop it again (RFC 2018 section 8). Returns how many bytes were not lost before.
    pub(crate) fn lose_all(&mut self, reneged: bool) -> u32 {
        let before = self.lost;
        self.intact = self.una;
        let reneged = reneged || self.runs.front().is_some_and(|run| run.fate == Fate::Sacked);
        let mut start = self.una;
        for run in &mut self.runs {
            let bytes = run.end.distance(start);
            start = run.end;
            if run.fate == Fate::Sacked && reneged {
                self.sacked = self.sacked.saturating_sub(bytes);
                run.fate = Fate::Flying;
            }
            if run.fate == Fate::Flying {
                run.fate = Fate::Lost;
                self.lost = self.lost.saturating_add(bytes);
            }
        }
        self.lost.saturating_sub(before)
    }

    /// What was taken for lost was not.
    pub(crate) fn unlose(&mut self) {
        self.lost = 0;
        self.intact = self.end();
        for run in &mut self.runs {
            if run.fate == Fate::Lost {
                run.fate = Fate::Flying;
            }
        }
    }

    /// The last `most` bytes, or fewer, of the last run that the peer has not acknowledged: where they begin and how many
    /// there are. `None` when that run is lost, or there is none.
    pub(crate) fn last_unsacked(&self, most: u32) -> Option<(SeqNumber, u32)> {
        let index = self.runs.iter().rposition(|run| run.fate != Fate::Sacked)?;
        let run = self.runs.get(index).filter(|run| run.fate == Fate::Flying)?;
        let count = run.end.distance(self.start_of(index)).min(most);
        Some((run.end - count, count))
    }

    /// The first bytes to send again: where they begin and how many there are.
    pub(crate) fn next_lost(&mut self) -> Option<(SeqNumber, u32)> {
        if self.lost == 0 {
            return None;
        }
        let from = self.runs.partition_point(|run| run.end.le(self.intact));
        let index = from + self.runs.range(from..).position(|run| run.fate == Fate::Lost)?;
        let start = self.start_of(index);
        self.intact = start;
        let end = self.runs.get(index)?.end;
        Some((start, end.distance(start)))
    }

    /// The bytes from `start` up to `end`, all lost or all flying, are sent once more.
    pub(crate) fn resent(&mut self, start: SeqNumber, end: SeqNumber, now: Instant, snapshot: Snapshot) {
        if !self.is_full(2) {
            self.split(start);
            self.split(end);
        }
        let index = self.runs.partition_point(|run| run.end.le(start));
        let bytes = self.runs.get(index).map_or(0, |run| run.end.distance(self.start_of(index)));
        let Some(run) = self.runs.get_mut(index) else { return };
        match run.fate {
            Fate::Sacked => return,
            Fate::Lost => self.lost = self.lost.saturating_sub(bytes),
            Fate::Flying => {}
        }
        *run = Run { fate: Fate::Flying, resent: true, sent: now, snapshot, ..*run };
        let run = *run;
        if let Some(before) = index.checked_sub(1).and_then(|at| self.runs.get(at))
            && (Run { end: run.end, snapshot, ..*before }) == run
        {
            self.runs.remove(index - 1);
        }
    }

    /// How many runs are kept, and the sums that must hold.
    #[cfg(test)]
    pub(crate) fn check(&self) -> usize {
        let mut sums = (0, 0);
        let mut start = self.una;
        for run in &self.runs {
            assert!(start.lt(run.end), "{self:?}");
            match run.fate {
                Fate::Flying => {}
                Fate::Sacked => sums.0 += run.end.distance(start),
                Fate::Lost => sums.1 += run.end.distance(start),
            }
            start = run.end;
        }
        assert_eq!(sums, (self.sacked, self.lost), "{self:?}");
        assert!(self.runs.iter().all(|run| run.fate != Fate::Lost || run.end.gt(self.intact)), "{self:?}");
        self.runs.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(seq: u32) -> SeqNumber {
        SeqNumber(seq)
    }

    fn ms(millis: i64) -> Instant {
        Instant::from_millis(millis)
    }

    fn board(ends: &[(u32, i64)]) -> Scoreboard {
        let mut board = Scoreboard::default();
        board.clear(at(0));
        for &(end, sent) in ends {
            board.sent(at(end), ms(sent), false, Snapshot::default());
        }
        board
    }

    #[test]
    fn a_burst_is_one_run() {
        let mut board = board(&[(10, 1), (20, 1), (30, 1), (40, 2)]);
        assert_eq!((board.check(), board.pipe()), (2, 40));
        let delivered = board.acked(at(15));
        assert_eq!(
            delivered.newest,
            Some(Newest { sent: ms(1), end: at(15), resent: false, snapshot: Snapshot::default() })
        );
        assert_eq!((delivered.bytes, board.pipe()), (15, 25));
        assert_eq!(board.acked(at(40)).bytes, 25);
        assert!(board.is_empty());
    }

    #[test]
    fn blocks_split_and_join_runs() {
        let mut board = board(&[(100, 1)]);
        let mut delivered = Delivered::default();
        board.sack(at(20), at(30), &mut delivered);
        board.sack(at(40), at(50), &mut delivered);
        assert_eq!((board.check(), board.sacked(), board.pipe(), delivered.bytes), (5, 20, 80, 20));
        board.sack(at(20), at(50), &mut delivered);
        assert_eq!((board.check(), board.sacked(), delivered.bytes), (3, 30, 30));
        board.sack(at(20), at(50), &mut delivered);
        assert_eq!(delivered.bytes, 30, "known already");
        for (start, end) in [(90, 110), (60, 60), (70, 60)] {
            board.sack(at(start), at(end), &mut delivered);
        }
        assert_eq!(board.sacked(), 30, "blocks that make no sense");
        assert_eq!(board.acked(at(60)).bytes, 30, "what was sacked does not count twice");
        assert_eq!((board.check(), board.sacked()), (1, 0));
    }

    #[test]
    fn losses_are_found_by_time() {
        let mut board = board(&[(10, 1), (20, 2), (30, 3)]);
        let mut delivered = Delivered::default();
        board.sack(at(20), at(30), &mut delivered);
        let newest = delivered.newest.unwrap();
        let detect = |board: &mut Scoreboard, wait, now| {
            let (lost, again) = board.detect(&newest, Duration::from_millis(wait), ms(now));
            (lost.bytes, again)
        };
        assert_eq!(detect(&mut board, 10, 11), (10, Some(Duration::from_millis(1))));
        assert_eq!(board.next_lost(), Some((at(0), 10)));
        assert_eq!(detect(&mut board, 10, 12), (10, None));
        board.resent(at(0), at(10), ms(12), Snapshot::default());
        assert_eq!((board.next_lost(), board.lost(), board.pipe()), (Some((at(10), 10)), 10, 10));
        // The repetition was sent after what is known to have been delivered.
        assert_eq!(detect(&mut board, 0, 99).0, 0);
        board.check();
    }

    #[test]
    fn a_timeout_keeps_what_was_sacked_unless_the_peer_dropped_it() {
        let mut board = board(&[(30, 1)]);
        board.sack(at(10), at(20), &mut Delivered::default());
        board.lose_all(false);
        assert_eq!((board.lost(), board.sacked()), (20, 10));
        board.acked(at(10));
        board.lose_all(false);
        assert_eq!((board.lost(), board.sacked()), (20, 0));
        board.check();
    }

    proptest! {
        #[test]
        fn sums_hold_and_runs_are_bounded(steps in proptest::collection::vec((0u8..7, 0u32..4000, 0u32..300), 0..400)) {
            let start = u32::MAX - 1500;
            let mut board = Scoreboard::default();
            board.clear(at(start));
            let mut now = ms(0);
            let mut most = 0;
            for (kind, a, b) in steps {
                let flight = board.end().distance(board.una);
                let from = board.una + a % (flight + 1);
                match kind {
                    0 | 1 => board.sent(board.end() + 1 + b, now, false, Snapshot::default()),
                    2 => { board.acked(board.una + a.min(flight) / 4); }
                    3 => board.sack(from, from + b, &mut Delivered::default()),
                    4 => {
                        let snapshot = Snapshot::default();
                        let newest = Newest { sent: now, end: board.end(), resent: false, snapshot };
                        board.detect(&newest, Duration::from_millis(u64::from(b)), now);
                    }
                    5 => if let Some((start, len)) = board.next_lost() {
                        board.resent(start, start + len.min(1 + b), now, Snapshot::default());
                    },
                    _ => { now += Duration::from_millis(u64::from(b)); board.lose_first(b); }
                }
                most = most.max(board.flight() as usize);
                prop_assert!(board.check() <= MIN_RUNS + most / BYTES_PER_RUN);
                prop_assert!(board.sacked() + board.lost() + board.pipe() == board.end().distance(board.una));
            }
        }
    }
}
