//! What the guest does about loss, on an impaired link only: as a receiver it keeps what comes behind a gap and reports it
//! (RFC 2018), as a sender it repeats what is missing after three duplicate acknowledgements (RFC 6582, with SACK blocks
//! all holes below the highest one). Only a Linux guest (`linux`) has a congestion window; else the library's receive window is
//! the limit.
#![forbid(unsafe_code)]

use super::Guest;
use super::conn::{Conn, State};
use super::receive::sack_blocks;
use super::transmit::Control;
use crate::wire::{self, ACK};

/// Duplicate acknowledgements that mean loss.
const DUPLICATES: u32 = 3;
/// Blocks that an acknowledgement of the guest carries at most.
pub(super) const BLOCKS: usize = 3;

/// The state of both halves of a connection.
#[derive(Debug, Default)]
pub(super) struct Recovery {
    /// Octets received behind a gap, as offsets from the first octet; sorted and apart.
    pub(super) ranges: Vec<(u64, u64)>,
    duplicates: u32,
    /// Recovery ends when all that was sent before it began is acknowledged.
    until: Option<u64>,
    /// Sequence space (as `Conn::una`) below which holes have been repeated already.
    repeated: u64,
    /// When something sent after this is reported, what was repeated before and is still missing was lost again.
    again: u64,
    /// What the library reported to have, in the same space; sorted and apart.
    reported: Vec<(u64, u64)>,
}

impl Recovery {
    /// Octets that the library reported to have.
    pub(super) fn reported_octets(&self) -> u64 {
        self.reported.iter().map(|(from, to)| to - from).sum()
    }
}

/// Add `[from, to)` to sorted ranges that are apart.
fn insert(ranges: &mut Vec<(u64, u64)>, mut from: u64, mut to: u64) {
    ranges.retain(|(a, b)| {
        let touches = *a <= to && from <= *b;
        if touches {
            (from, to) = (from.min(*a), to.max(*b));
        }
        !touches
    });
    let at = ranges.partition_point(|(a, _)| *a < from);
    ranges.insert(at, (from, to));
}

impl Conn {
    /// The segment to be repeated next, as position in sequence space and length.
    pub(super) fn missing(&self, cell: u64) -> Option<(u64, u64)> {
        let recovery = &self.recovery;
        recovery.until?;
        let mut from = self.una.max(recovery.repeated);
        let highest = recovery.reported.last().map_or(self.una + 1, |(a, _)| *a);
        for (a, b) in &recovery.reported {
            if (*a..*b).contains(&from) {
                from = *b;
            }
        }
        (from < highest && from < self.nxt).then(|| (from, (cell - (from - 1) % cell).min(self.nxt - from)))
    }

    /// Whether a loss is being repaired.
    pub(super) fn is_repairing(&self) -> bool {
        self.recovery.until.is_some()
    }

    /// A segment at `from` was repeated.
    pub(super) fn repeated(&mut self, from: u64, length: u64) {
        self.recovery.repeated = from + length;
    }

    /// The guest's patience ended: forget everything about the receiver and begin anew.
    pub(super) fn give_up_recovery(&mut self) {
        self.recovery = Recovery { ranges: std::mem::take(&mut self.recovery.ranges), ..Recovery::default() };
    }

    /// All that was not acknowledged is sent again, from the first octet.
    pub(super) fn repeat_all(&mut self) {
        self.max = self.max.max(self.nxt);
        self.nxt = self.una;
        self.give_up_recovery();
        self.force = true;
    }

    /// An acknowledgement without data came; `moved` when it acknowledged something new.
    pub(super) fn note_ack(&mut self, moved: bool, same_window: bool, options: &[u8]) {
        let base = self.iss.wrapping_add(self.una as u32);
        let mut reported = false;
        for (from, to) in sack_blocks(options) {
            let (a, b) = (from.wrapping_sub(base), to.wrapping_sub(base));
            if a < b && u64::from(b) <= self.max.max(self.nxt) - self.una {
                insert(&mut self.recovery.reported, self.una + u64::from(a), self.una + u64::from(b));
                reported = true;
            }
        }
        let (una, nxt, max) = (self.una, self.nxt, self.max.max(self.nxt));
        let recovery = &mut self.recovery;
        if moved {
            recovery.duplicates = 0;
            recovery.reported.retain(|(_, b)| *b > una);
            recovery.until = recovery.until.filter(|end| una < *end);
        } else if nxt > una && (reported || same_window) {
            recovery.duplicates += 1;
            if recovery.duplicates == DUPLICATES && recovery.until.is_none() {
                recovery.until = Some(max);
                (recovery.repeated, recovery.again) = (una, nxt);
            }
        }
        if recovery.reported.last().is_some_and(|(_, b)| *b > recovery.again) && recovery.until.is_some() {
            (recovery.repeated, recovery.again) = (una, nxt);
        }
    }
}

impl Guest {
    /// A data segment on an impaired link; returns how many of its first octets are old when it brings the next octet,
    /// and nothing when it was answered here.
    pub(super) fn place(&mut self, index: u32, seq: u32, payload: &[u8]) -> Option<usize> {
        let conn = self.conns.get_mut(index as usize)?;
        let expected = conn.irs.wrapping_add(1).wrapping_add(conn.received as u32);
        let ahead = i64::from(seq.wrapping_sub(expected) as i32);
        let length = payload.len() as i64;
        if ahead <= 0 && ahead + length > 0 {
            return Some(-ahead as usize);
        }
        if ahead > 0 {
            let from = conn.received + ahead as u64;
            self.counters.gaps += 1;
            if self.verify && !wire::pattern_matches(&self.pattern, from, payload) {
                self.counters.corrupt += 1;
            }
            insert(&mut conn.recovery.ranges, from, from + length as u64);
            self.acknowledge_gap(index, Some(from));
        } else {
            self.counters.duplicates += 1;
            self.acknowledge_gap(index, None);
        }
        None
    }

    /// Take in what had been kept behind the gap that was just filled; returns whether there is or was a gap.
    pub(super) fn absorb(&mut self, index: u32) -> bool {
        let Some(conn) = self.conns.get_mut(index as usize) else { return false };
        let had_gap = !conn.recovery.ranges.is_empty();
        while let Some((from, to)) = conn.recovery.ranges.first().copied() {
            if from > conn.received {
                break;
            }
            if to > conn.received {
                self.counters.bytes += to - conn.received;
                conn.received = to;
            }
            conn.recovery.ranges.remove(0);
        }
        had_gap
    }

    /// Acknowledge at once, with the block that holds `latest` in front (RFC 2018 §4).
    pub(super) fn acknowledge_gap(&mut self, index: u32, latest: Option<u64>) {
        let Some(conn) = self.conns.get_mut(index as usize) else { return };
        if conn.state != State::Established {
            return;
        }
        let first = conn.irs.wrapping_add(1);
        let holds = |range: &&(u64, u64)| latest.is_some_and(|at| (range.0..range.1).contains(&at));
        let ranges = &conn.recovery.ranges;
        let rest = ranges.iter().rev().filter(|range| !holds(range));
        let mut blocks = [(0, 0); BLOCKS];
        let mut count = 0;
        if conn.sack {
            for (slot, range) in blocks.iter_mut().zip(ranges.iter().filter(holds).chain(rest)) {
                *slot = (first.wrapping_add(range.0 as u32), first.wrapping_add(range.1 as u32));
                count += 1;
            }
        }
        conn.unacked_segments = 0;
        self.control.push_back(Control::SelectiveAck(conn.header(conn.nxt, ACK), blocks, count));
    }
}

/// The option that carries `blocks`, padded to a multiple of four octets, and its length.
pub(super) fn sack_option(blocks: &[(u32, u32)]) -> ([u8; 4 + 8 * BLOCKS], usize) {
    let mut option = [1; 4 + 8 * BLOCKS];
    if blocks.is_empty() {
        return (option, 0);
    }
    option[2] = 5;
    option[3] = (2 + 8 * blocks.len()) as u8;
    for (slot, (from, to)) in option[4..].chunks_exact_mut(8).zip(blocks) {
        slot[..4].copy_from_slice(&from.to_be_bytes());
        slot[4..].copy_from_slice(&to.to_be_bytes());
    }
    (option, 4 + 8 * blocks.len())
}

#[cfg(test)]
mod tests {
    use super::super::conn::Role;
    use super::*;

    #[test]
    fn ranges_join_when_they_touch() {
        let mut ranges = Vec::new();
        for (from, to) in [(10, 20), (40, 50), (0, 5), (20, 30), (28, 41)] {
            insert(&mut ranges, from, to);
        }
        assert_eq!(ranges, [(0, 5), (10, 50)]);
    }

    #[test]
    fn the_option_is_read_as_it_was_written() {
        let (option, length) = sack_option(&[(1, 2), (0xffff_ff00, 9)]);
        assert_eq!(length % 4, 0);
        assert_eq!(sack_blocks(&option[..length]).collect::<Vec<_>>(), [(1, 2), (0xffff_ff00, 9)]);
        assert_eq!(sack_blocks(&[1, 1, 5, 200, 1]).count(), 0);
    }

    fn sender() -> Conn {
        let mut conn = Conn::new(Role::Sender, 1, 2, 1000);
        (conn.state, conn.una, conn.nxt, conn.max) = (State::Established, 1, 1 + 10 * 100, 1 + 10 * 100);
        conn
    }

    /// The option that reports sequence space from `from` to `to` of `sender`.
    fn report(from: u32, to: u32) -> Vec<u8> {
        let (option, length) = sack_option(&[(1000 + from, 1000 + to)]);
        option[..length].to_vec()
    }

    #[test]
    fn three_duplicates_repeat_the_first_segment_and_a_partial_acknowledgement_the_next() {
        let mut conn = sender();
        conn.note_ack(false, true, &[]);
        conn.note_ack(false, false, &[]);
        conn.note_ack(false, true, &[]);
        assert_eq!(conn.missing(100), None);
        conn.note_ack(false, true, &[]);
        assert_eq!(conn.missing(100), Some((1, 100)));
        conn.repeated(1, 100);
        assert_eq!(conn.missing(100), None);
        conn.una = 301;
        conn.note_ack(true, true, &[]);
        assert_eq!(conn.missing(100), Some((301, 100)));
        conn.una = 1001;
        conn.note_ack(true, true, &[]);
        assert_eq!(conn.missing(100), None);
    }

    #[test]
    fn reported_blocks_show_every_hole() {
        let mut conn = sender();
        for block in [report(101, 201), report(301, 401), report(301, 501)] {
            conn.note_ack(false, false, &block);
        }
        let mut holes = Vec::new();
        while let Some((from, length)) = conn.missing(100) {
            holes.push(from);
            conn.repeated(from, length);
        }
        assert_eq!(holes, [1, 201]);
    }
}
