//! The receiver: acknowledges as a guest's kernel does, or as badly as it is told to.

use std::collections::VecDeque;

use super::packet::{Ack, Ecn, Nanos, Packet};
use crate::tcp::SeqNumber;

/// The delay of an acknowledgment that waits for a second segment, as Linux has it.
const DELAYED: Nanos = 40_000_000;

/// How a guest acknowledges.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Habits {
    /// One acknowledgment for so many segments: 2 is usual, many are "stretched".
    pub every: u32,
    /// So many acknowledgments in the place of one, each of a part of it.
    pub pieces: u32,
    /// It reports blocks that have not arrived.
    pub lies: bool,
    /// It takes part in explicit congestion notification.
    pub ecn: bool,
}

impl Default for Habits {
    fn default() -> Habits {
        Habits { every: 2, pieces: 1, lies: false, ecn: false }
    }
}

#[derive(Debug)]
pub(super) struct Guest {
    habits: Habits,
    /// The number of the first byte.
    base: SeqNumber,
    /// Bytes that have arrived in order.
    arrived: u64,
    /// What has arrived behind holes: from and to, in order, apart from each other.
    early: VecDeque<(u64, u64)>,
    /// Places in the blocks that were reported last, the newest first (RFC 2018 section 4).
    recent: VecDeque<u64>,
    /// Segments that are not acknowledged yet.
    owed: u32,
    due: Option<Nanos>,
    /// What was acknowledged last.
    acknowledged: u64,
    /// TS.Recent (RFC 7323 section 4.3).
    stamp: u32,
    stamped: bool,
    echo: bool,
}

impl Guest {
    pub(super) fn new(habits: Habits) -> Guest {
        Guest {
            habits,
            base: SeqNumber(0),
            arrived: 0,
            early: VecDeque::new(),
            recent: VecDeque::new(),
            owed: 0,
            due: None,
            acknowledged: 0,
            stamp: 0,
            stamped: false,
            echo: false,
        }
    }

    /// Bytes that have arrived in order.
    pub(super) fn arrived(&self) -> u64 {
        self.arrived
    }

    pub(super) fn due(&self) -> Option<Nanos> {
        self.due
    }

    pub(super) fn on_due(&mut self, now: Nanos, out: &mut Vec<Ack>) {
        if self.due.is_some_and(|due| due <= now) {
            self.acknowledge(None, now, out);
        }
    }

    pub(super) fn receive(&mut self, packet: &Packet, now: Nanos, out: &mut Vec<Ack>) {
        if packet.syn {
            self.base = packet.seq + 1;
            self.stamp = packet.stamps.map_or(0, |(value, _)| value);
            self.stamped = packet.stamps.is_some();
            out.push(Ack { syn: true, ..self.ack(self.arrived, [None; 4], now) });
            return;
        }
        self.echo &= !packet.reduced;
        self.echo |= self.habits.ecn && packet.ecn == Ecn::Marked;
        let place = packet.seq.0.wrapping_sub((self.base + self.arrived as u32).0) as i32;
        let from = self.arrived.saturating_add_signed(i64::from(place));
        let to = from + u64::from(packet.len);
        if from <= self.acknowledged
            && let Some((value, _)) = packet.stamps
        {
            self.stamp = value;
        }
        let at = self.early.partition_point(|&(_, end)| end < to);
        let twice = to <= self.arrived || self.early.get(at).is_some_and(|&(start, _)| start <= from);
        let holes = !self.early.is_empty();
        if !twice {
            self.keep(from.max(self.arrived), to);
        }
        self.owed += 1;
        if twice {
            self.acknowledge(Some((from, to)), now, out);
        } else if from > self.arrived || holes || self.owed >= self.habits.every {
            self.acknowledge(None, now, out);
        } else if self.due.is_none() && packet.len > 0 {
            self.due = Some(now + DELAYED);
        }
    }

    /// Takes new bytes in.
    fn keep(&mut self, from: u64, to: u64) {
        if from == self.arrived {
            self.arrived = to;
        } else {
            let at = self.early.partition_point(|&(_, end)| end < from);
            let (mut from, mut to, place) = (from, to, from);
            while let Some(&(start, end)) = self.early.get(at)
                && start <= to
            {
                (from, to) = (from.min(start), to.max(end));
                self.early.remove(at);
            }
            self.early.insert(at, (from, to));
            self.recent.push_front(place);
            self.recent.truncate(8);
        }
        while let Some(&(start, end)) = self.early.front()
            && start <= self.arrived
        {
            self.arrived = self.arrived.max(end);
            self.early.pop_front();
        }
    }

    /// Sends what is owed. `twice`: what came although it was there already (RFC 2883).
    fn acknowledge(&mut self, twice: Option<(u64, u64)>, now: Nanos, out: &mut Vec<Ack>) {
        let pieces = u64::from(self.habits.pieces.max(1));
        let before = self.acknowledged;
        let blocks = self.blocks(twice);
        for piece in 1..pieces {
            let place = before + (self.arrived - before) * piece / pieces;
            out.push(self.ack(place, blocks, now));
        }
        out.push(self.ack(self.arrived, blocks, now));
        self.acknowledged = self.arrived;
        self.owed = 0;
        self.due = None;
    }

    /// The blocks to report: three have room beside timestamps.
    fn blocks(&mut self, twice: Option<(u64, u64)>) -> [Option<(SeqNumber, SeqNumber)>; 4] {
        let mut found: [Option<(u64, u64)>; 3] = [twice, None, None];
        let mut count = usize::from(twice.is_some());
        if self.habits.lies && twice.is_none() && !self.early.is_empty() {
            // What comes next is reported as if it were there.
            found[0] = Some((self.arrived + 1448, self.arrived + 2896));
            count = 1;
        }
        self.recent.retain(|&place| place >= self.arrived);
        for &place in &self.recent {
            let at = self.early.partition_point(|&(_, end)| end <= place);
            let block = self.early.get(at).copied();
            if count < 3 && block.is_some() && !found.contains(&block) {
                found[count] = block;
                count += 1;
            }
        }
        let mut blocks = [None; 4];
        for (slot, block) in blocks.iter_mut().zip(found) {
            *slot = block.map(|(from, to)| (self.base + from as u32, self.base + to as u32));
        }
        blocks
    }

    fn ack(&self, place: u64, sack: [Option<(SeqNumber, SeqNumber)>; 4], now: Nanos) -> Ack {
        let clock = (now / 1_000_000) as u32;
        Ack {
            syn: false,
            ack: self.base + place as u32,
            sack,
            stamps: self.stamped.then_some((clock, self.stamp)),
            echo: self.echo,
        }
    }
}
