//! Properties of the small parts, each against a model that is too simple to be wrong: sequence arithmetic against wide
//! integers, the assembler and the scoreboard against one entry for each byte.

use std::collections::VecDeque;

use proptest::prelude::*;

use super::receiver::assembler::Assembler;
use super::sender::delivery::Snapshot;
use super::sender::scoreboard::{Delivered, Newest, Scoreboard};
use super::seq::SeqNumber;
use crate::time::{Duration, Instant};

proptest! {
    /// Numbers within a window of less than 2^31 are ordered as the 64-bit positions that they stand for.
    #[test]
    fn numbers_are_ordered_as_positions_of_a_long_stream(base: u64, a in 0u64..1 << 31, b in 0u64..1 << 31) {
        let at = |position: u64| SeqNumber(base.wrapping_add(position) as u32);
        prop_assert_eq!(at(a).lt(at(b)), a < b);
        prop_assert_eq!(at(a).le(at(b)), a <= b);
        prop_assert_eq!(at(a).gt(at(b)), a > b);
        prop_assert_eq!(at(a).ge(at(b)), a >= b);
        prop_assert_eq!(at(a).max(at(b)), at(a.max(b)));
        prop_assert_eq!(at(a).min(at(b)), at(a.min(b)));
        prop_assert_eq!(u64::from(at(a).distance(at(b))), a.saturating_sub(b));
        let mut sum = at(a);
        sum += b as u32;
        prop_assert_eq!(sum, at(a + b));
        prop_assert_eq!(sum - b as u32, at(a));
    }

    /// What is reported selectively (RFC 2018 section 4): every range once, the one that grew last in front.
    #[test]
    fn the_assembler_reports_every_range_once_and_the_latest_first(
        base: u32,
        steps in proptest::collection::vec((1u32..500, 1u32..40), 1..40),
    ) {
        let mut assembler = Assembler::default();
        let mut here = [false; 600];
        let at = |offset: u32| SeqNumber(base) + offset;
        for (offset, length) in steps {
            let taken = assembler.insert(at(0), at(offset), at(offset + length), |_, _| {});
            prop_assert!(taken);
            here[offset as usize..(offset + length) as usize].fill(true);
            let reported: Vec<_> = assembler.newest_first().collect();
            prop_assert_eq!(reported.len(), assembler.len());
            let first = reported[0];
            prop_assert!(first.0.le(at(offset)) && first.1.ge(at(offset + length)), "{:?}", reported);
            let mut told = [false; 600];
            for (start, end) in reported {
                let range = start.distance(at(0)) as usize..end.distance(at(0)) as usize;
                prop_assert!(told[range.clone()].iter().all(|&told| !told), "a range is reported twice");
                told[range].fill(true);
            }
            prop_assert_eq!(&told[..], &here[..]);
            let end = here.iter().rposition(|&here| here).unwrap_or_default() as u32 + 1;
            prop_assert_eq!(assembler.end(), Some(at(end)));
        }
    }
}

/// What became of one byte in flight.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Fate {
    Flying,
    Sacked,
    Lost,
}

/// The scoreboard with an entry for each byte.
#[derive(Debug, Default)]
struct Bytes {
    bytes: VecDeque<(Fate, Instant)>,
}

impl Bytes {
    fn count(&self, fate: Fate) -> u32 {
        self.bytes.iter().filter(|byte| byte.0 == fate).count() as u32
    }
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Send(u32),
    Ack(u32),
    Sack(u32, u32),
    Detect(u64),
    LoseFirst(u32),
    LoseAll(bool),
    Resend(u32),
    Wait(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (1u32..200).prop_map(Step::Send),
        3 => (0u32..400).prop_map(Step::Ack),
        6 => (0u32..2000, 1u32..300).prop_map(|(from, count)| Step::Sack(from, count)),
        3 => (0u64..5000).prop_map(Step::Detect),
        1 => (1u32..300).prop_map(Step::LoseFirst),
        1 => any::<bool>().prop_map(Step::LoseAll),
        4 => (1u32..200).prop_map(Step::Resend),
        4 => (1u64..3000).prop_map(Step::Wait),
    ]
}

proptest! {
    #[test]
    fn the_scoreboard_agrees_with_a_map_of_bytes(base: u32, steps in proptest::collection::vec(step(), 1..120)) {
        let mut board = Scoreboard::default();
        let mut una = SeqNumber(base);
        board.clear(una);
        let mut model = Bytes::default();
        let mut now = Instant::from_secs(1);
        for step in steps {
            let flight = model.bytes.len() as u32;
            match step {
                Step::Wait(micros) => now += Duration::from_micros(micros),
                Step::Send(count) => {
                    model.bytes.extend(std::iter::repeat_n((Fate::Flying, now), count as usize));
                    board.sent(una + flight + count, now, false, Snapshot::default());
                }
                Step::Ack(count) => {
                    let count = count.min(flight);
                    let new = model.bytes.drain(..count as usize).filter(|byte| byte.0 != Fate::Sacked).count();
                    una += count;
                    prop_assert_eq!(board.acked(una).bytes as usize, new);
                }
                Step::Sack(from, count) => {
                    let mut delivered = Delivered::default();
                    board.sack(una + from, una + from + count, &mut delivered);
                    // A block that is not within what is in flight is ignored.
                    let mut new = 0;
                    if from + count <= flight {
                        for byte in model.bytes.range_mut(from as usize..(from + count) as usize) {
                            new += u32::from(byte.0 != Fate::Sacked);
                            byte.0 = Fate::Sacked;
                        }
                    }
                    prop_assert_eq!(delivered.bytes, new);
                }
                Step::Detect(window) => {
                    // Something that was sent after all the rest has arrived.
                    let snapshot = Snapshot::default();
                    let newest = Newest { sent: now + Duration::from_micros(1), end: una + flight, resent: false, snapshot };
                    let window = Duration::from_micros(window);
                    let (lost, wait) = board.detect(&newest, window, now);
                    let due = |byte: &(Fate, Instant)| byte.0 == Fate::Flying && byte.1 + window <= now;
                    prop_assert_eq!(lost.bytes as usize, model.bytes.iter().filter(|byte| due(byte)).count());
                    model.bytes.iter_mut().filter(|byte| due(byte)).for_each(|byte| byte.0 = Fate::Lost);
                    let later = model.bytes.iter().filter(|byte| byte.0 == Fate::Flying).map(|byte| byte.1 + window - now);
                    prop_assert_eq!(wait, later.max());
                }
                Step::LoseFirst(count) => {
                    let first = model.bytes.iter().take_while(|byte| byte.0 == Fate::Flying).count();
                    let lost = board.lose_first(count) as usize;
                    // A run ends where something else was sent, so that fewer may be lost than were asked for.
                    prop_assert!(lost <= first.min(count as usize) && (lost > 0) == (first > 0));
                    model.bytes.range_mut(..lost).for_each(|byte| byte.0 = Fate::Lost);
                }
                Step::LoseAll(reneged) => {
                    board.lose_all(reneged);
                    let reneged = reneged || model.bytes.front().is_some_and(|byte| byte.0 == Fate::Sacked);
                    model.bytes.iter_mut().filter(|byte| reneged || byte.0 == Fate::Flying).for_each(|byte| byte.0 = Fate::Lost);
                }
                Step::Resend(count) => {
                    let first = model.bytes.iter().position(|byte| byte.0 == Fate::Lost);
                    let found = board.next_lost();
                    prop_assert_eq!(found.map(|(start, _)| start.distance(una) as usize), first);
                    if let Some((start, run)) = found {
                        let count = run.min(count);
                        board.resent(start, start + count, now, Snapshot::default());
                        let from = start.distance(una) as usize;
                        model.bytes.range_mut(from..from + count as usize).for_each(|byte| *byte = (Fate::Flying, now));
                    }
                }
            }
            board.check();
            prop_assert_eq!(board.sacked(), model.count(Fate::Sacked));
            prop_assert_eq!(board.lost(), model.count(Fate::Lost));
            prop_assert_eq!(board.pipe(), model.count(Fate::Flying));
        }
    }
}
