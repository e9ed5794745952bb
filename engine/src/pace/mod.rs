//! The pace of the application's loop: what happens in a round goes in as *signals*, and *verdicts* come out.
//!
//! The signals are marked by whoever notices them: frames of the guest, bytes and datagrams from hosts, something given to
//! a host, a new stream, datagrams without room on their way; with them go the time and what the application saw. There are
//! these verdicts. Before the application's sleep, whether it may [`Rest`]: it is kept awake where bulk (`bulk`), an answer, the next
//! datagrams or what the guest says to what it was given (`answers`) are expected sooner than it could be woken, each for a bounded time and number of rounds
//! (`vigil`); and whether 0 ms mean "at once" for it at all (`zero`). After the sleep, a [`Round`]: whether the poller is
//! asked (`asking`), for how long what is staged for the host may be held for more (`hold`), in runs of rounds that each bring a
//! frame (`run`), and how many datagrams may come in beside those (`ration`). With each segment, whether what its connection has staged is handed over (`staging`,
//! `pushed`), and whether its acknowledgment waits for the host's answer (`exchange`). And once in a while, how much uploads and
//! downloads may each have under way (`sharing`).
//!
//! What was found out in vain is tried ever more seldom, by one rule for all (`lesson`). Nothing here knows of sockets,
//! flows or frames, nor what becomes of a verdict; nothing is imported but the time.
#![forbid(unsafe_code)]

mod answers;
mod asking;
mod bulk;
mod exchange;
mod hold;
mod lesson;
mod pushed;
mod ration;
mod run;
mod sharing;
mod staging;
mod vigil;
mod zero;

use answers::Answers;
use asking::Asking;
pub use asking::Glance;
use bitflags::bitflags;
use bulk::Bulk;
pub(crate) use exchange::Exchange;
pub(crate) use hold::{Held, Hold};
use ration::Ration;
use run::Run;
pub(crate) use sharing::{Part, Sharing, Totals};
pub(crate) use staging::{Segment, Staging};
use zero::Zero;

use crate::time::Instant;

bitflags! {
    /// What has happened since it was last looked at.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    struct Marks: u8 {
        /// Streams have brought bytes from hosts.
        const BROUGHT = 1 << 0;
        /// A host was given bytes, or an end, of the guest.
        const GAVE = 1 << 1;
        /// Datagrams have come from hosts.
        const DATAGRAMS = 1 << 2;
        /// The application was kept from sleeping, which may have to end.
        const AWAKE = 1 << 3;
        /// A stream was made: it may be connected already.
        const NEW_STREAM = 1 << 4;
        /// The application means to sleep for 0 ms.
        const ZERO = 1 << 5;
        /// Datagrams wait for room on the way to the guest.
        const DATAGRAMS_WAIT = 1 << 6;

        /// What matters before the application's sleep.
        const BEFORE_SLEEP = Self::BROUGHT.bits()
            | Self::GAVE.bits()
            | Self::DATAGRAMS.bits()
            | Self::AWAKE.bits()
            | Self::ZERO.bits();
        /// What matters when a round begins.
        const AFTER_SLEEP = Self::NEW_STREAM.bits() | Self::ZERO.bits();
    }
}

/// The verdict before the application's sleep.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Rest {
    /// The application is to come round at once.
    pub awake: bool,
    /// It may sleep for ever, although it is to come round at once.
    pub for_ever: bool,
}

/// The verdict at the beginning of a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Round {
    /// The poller is asked.
    pub asks: bool,
    /// What is staged may be held for that long.
    pub hold: Hold,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    marks: Marks,
    /// Frames from the guest since the last round began.
    frames: u32,
    /// Bytes that streams have brought from hosts since the application last slept.
    brought: usize,
    run: Run,
    ration: Ration,
    bulk: Bulk,
    answers: Answers,
    /// The same for the next datagrams where some have come.
    datagrams: Answers,
    /// The same for what the guest says to what it was given.
    replies: Answers,
    asking: Asking,
    zero: Zero,
    /// Datagrams had the first of what there was room for.
    datagrams_first: bool,
    pub(crate) sharing: Sharing,
}

/// Signals.
impl Pace {
    /// A frame of the guest has come.
    pub(crate) fn on_frame(&mut self) {
        self.frames = self.frames.saturating_add(1);
    }

    /// A stream has brought so many bytes from its host.
    pub(crate) fn on_bytes(&mut self, bytes: usize) {
        self.marks |= Marks::BROUGHT;
        self.brought = self.brought.saturating_add(bytes);
    }

    /// A host was given bytes, or an end, of the guest.
    pub(crate) fn on_given(&mut self) {
        self.marks |= Marks::GAVE;
    }

    /// Datagrams have come from a host.
    pub(crate) fn on_datagrams(&mut self) {
        self.marks |= Marks::DATAGRAMS;
    }

    /// So many of them were brought in.
    pub(crate) fn on_datagrams_taken(&mut self, count: usize) {
        self.ration.took(count);
    }

    /// Datagrams wait for room on the way to the guest.
    pub(crate) fn on_datagrams_refused(&mut self) {
        self.marks |= Marks::DATAGRAMS_WAIT;
    }

    /// A stream was made, which the poller watches.
    pub(crate) fn on_stream(&mut self) {
        self.marks |= Marks::NEW_STREAM;
    }

    /// The poller was asked, and had news or none.
    pub(crate) fn on_asked(&mut self, any: bool, now: Instant) {
        self.asking.answered(any);
        if any {
            // What the host was given in this round counts as answered already.
            self.marks -= Marks::GAVE;
            self.answers.came(now);
            self.datagrams.came(now);
        }
    }
}

/// Rounds that pass without being looked at.
impl Pace {
    /// Whether nothing has happened since the last round began and the last sleep before that.
    #[inline]
    pub(crate) fn is_calm(&self) -> bool {
        self.frames == 0 && self.marks.is_empty()
    }

    /// How many rounds in which nothing happens may pass before the poller is to be asked.
    pub(crate) fn rounds_unasked(&self) -> u8 {
        self.asking.left()
    }

    /// From when on a round counts although nothing happens.
    pub(crate) fn counts_at(&self, now: Instant) -> Instant {
        self.sharing.ends().unwrap_or(now)
    }

    /// So many have passed.
    pub(crate) fn pass(&mut self, rounds: u8) {
        self.asking.pass(rounds);
        self.run.pass(rounds);
    }
}

/// Verdicts.
impl Pace {
    /// Before the application's sleep, which it means to be `told` milliseconds long.
    pub(crate) fn before_sleep(&mut self, told: u32, now: Instant) -> Rest {
        let marks = self.marks & Marks::BEFORE_SLEEP;
        // Most rounds of most applications: nothing has happened, and nothing is expected.
        if marks.is_empty() && told > 0 {
            return Rest::default();
        }
        self.weigh_sleep(marks, told, now)
    }

    fn weigh_sleep(&mut self, marks: Marks, told: u32, now: Instant) -> Rest {
        let brought = std::mem::take(&mut self.brought);
        // Each of them is to hear of the round, whatever the others say.
        let bulk = self.bulk.before_sleep(brought, now);
        let answer = self.answers.before_sleep(marks.contains(Marks::GAVE), now);
        let datagram = self.datagrams.before_sleep(marks.contains(Marks::DATAGRAMS), now);
        let reply = self.replies.before_sleep(marks.contains(Marks::BROUGHT), now);
        let awake = bulk || answer || datagram || reply;
        self.marks -= Marks::BEFORE_SLEEP;
        self.marks.set(Marks::AWAKE, awake);
        self.marks.set(Marks::ZERO, told == 0);
        Rest { awake, for_ever: self.zero.before_sleep(told, now) }
    }

    /// A round begins, after a sleep in which the application saw that of the poller.
    pub(crate) fn begin_round(&mut self, glance: Glance, now: Instant) -> Round {
        self.bulk.after_sleep(now);
        // As above.
        if self.frames == 0 && !self.marks.intersects(Marks::AFTER_SLEEP) {
            self.run.round_ended(0);
            self.ration.end();
            return Round { asks: self.asking.is_due(glance, 0, 0, false), hold: Hold::NOTHING };
        }
        self.weigh_round(glance, now)
    }

    fn weigh_round(&mut self, glance: Glance, now: Instant) -> Round {
        let frames = std::mem::take(&mut self.frames);
        let new_stream = self.marks.contains(Marks::NEW_STREAM);
        if self.marks.contains(Marks::ZERO) {
            self.zero.after_sleep(glance, frames, now);
        }
        self.marks -= Marks::AFTER_SLEEP;
        self.run.round_ended(frames);
        if frames > 0 {
            // What comes now may well be an answer to the guest.
            self.datagrams.forget();
            self.replies.came(now);
        }
        self.ration.begin_round(frames, self.run.length(), now);
        Round { asks: self.asking.is_due(glance, frames, self.run.length(), new_stream), hold: Hold::after(frames) }
    }

    /// A segment of a connection has come, with which so many bytes are staged. True when they are to be handed over to the
    /// host.
    pub(crate) fn hands_over(&self, staging: &mut Staging, segment: Segment, staged: usize) -> bool {
        staging.on_segment(segment, staged, &self.run)
    }

    /// How many more datagrams this round may bring in.
    #[inline]
    pub(crate) fn datagrams_left(&self) -> usize {
        self.ration.left()
    }

    /// Whether datagrams have the first turns. Those that found no room do, and streams the time after that.
    pub(crate) fn datagrams_first(&mut self) -> bool {
        let wait = self.marks.contains(Marks::DATAGRAMS_WAIT);
        self.marks -= Marks::DATAGRAMS_WAIT;
        self.datagrams_first = wait && !self.datagrams_first;
        self.datagrams_first
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Duration;

    /// The same without the shortcuts for rounds in which nothing happens.
    fn long_way(pace: &mut Pace, told: u32, now: Instant) -> Rest {
        pace.weigh_sleep(pace.marks & Marks::BEFORE_SLEEP, told, now)
    }

    /// What happens in a round, by the bits of a number.
    fn happens(pace: &mut Pace, what: u64, now: Instant) {
        let mut once = |bit: u64, signal: fn(&mut Pace)| {
            if what >> bit & 15 == 0 {
                signal(pace);
            }
        };
        once(0, Pace::on_frame);
        once(4, |pace| pace.on_bytes(40_000));
        once(8, Pace::on_given);
        once(12, Pace::on_datagrams);
        once(16, Pace::on_stream);
        if what >> 20 & 3 == 0 {
            pace.on_asked(what >> 22 & 1 == 0, now);
        }
    }

    #[test]
    fn the_shortcuts_decide_as_the_long_way_does() {
        let (mut pace, mut other, mut now) = (Pace::default(), Pace::default(), Instant::ZERO);
        let (mut awake, mut asked, mut random) = (0, 0, 1_u64);
        for _ in 0..200_000 {
            // The generator of Knuth's MMIX; its upper bits are good.
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let what = random >> 32;
            happens(&mut pace, what, now);
            happens(&mut other, what, now);
            let told = if what >> 24 & 7 == 0 { 0 } else { 1000 };
            let rest = pace.before_sleep(told, now);
            assert_eq!(rest, long_way(&mut other, told, now));
            now += Duration::from_micros(if rest.awake { 1 } else { what >> 27 & 31 });
            let glance =
                [Glance::Quiet, Glance::Quiet, Glance::Quiet, Glance::News, Glance::Unknown][(what >> 23) as usize % 5];
            if what >> 2 & 3 == 0 {
                pace.on_frame();
                other.on_frame();
            }
            let round = pace.begin_round(glance, now);
            other.bulk.after_sleep(now);
            assert_eq!(round, other.weigh_round(glance, now));
            awake += u32::from(rest.awake);
            asked += u32::from(round.asks);
        }
        assert!(awake > 1000 && asked > 1000, "{awake} {asked}");
    }

    #[test]
    fn a_round_in_which_nothing_happens_leaves_no_trace() {
        let mut pace = Pace::default();
        pace.on_bytes(40_000);
        pace.on_given();
        pace.on_frame();
        let now = Instant::from_micros(1);
        pace.before_sleep(5, now);
        pace.begin_round(Glance::News, now);
        for round in 0..100 {
            let now = Instant::from_micros(1000 + round);
            assert_eq!(pace.before_sleep(5, now), Rest::default());
            assert_eq!(pace.begin_round(Glance::Quiet, now).hold, Hold::NOTHING);
            assert!(pace.marks.is_empty());
        }
    }

    #[test]
    fn datagrams_without_room_and_streams_take_turns() {
        let mut pace = Pace::default();
        assert!(!pace.datagrams_first());
        let firsts = [(); 4].map(|()| {
            pace.on_datagrams_refused();
            pace.datagrams_first()
        });
        assert_eq!(firsts, [true, false, true, false]);
    }

    /// The guest is given an answer and asks again so many microseconds later; a round without sleep takes one. Returns in how many of
    /// the last 100 exchanges the application slept, and how long it was kept awake in all of them.
    fn asks_again_after(wait: i64) -> (u32, i64) {
        let (mut pace, mut clock) = (Pace::default(), 0);
        let (mut slept, mut awake) = (0, 0);
        for exchange in 0..2_000 {
            pace.on_bytes(100);
            let asks = clock + wait;
            let mut sleeps = false;
            while clock < asks {
                if pace.before_sleep(1_000, Instant::from_micros(clock)).awake {
                    (clock, awake) = (clock + 1, awake + 1);
                } else {
                    (clock, sleeps) = (asks, true);
                }
                if clock >= asks {
                    pace.on_frame();
                }
                pace.begin_round(Glance::Quiet, Instant::from_micros(clock));
            }
            slept += u32::from(sleeps && exchange >= 1_900);
        }
        (slept, awake)
    }

    #[test]
    fn what_a_guest_says_at_once_is_waited_for_awake_and_else_asleep() {
        assert_eq!(asks_again_after(12).0, 0);
        for wait in [60, 5_000] {
            let (slept, awake) = asks_again_after(wait);
            assert_eq!(slept, 100, "after {wait}");
            assert!(awake < 25 * 100, "{awake} µs of 2,000 exchanges after {wait}");
        }
    }
}
