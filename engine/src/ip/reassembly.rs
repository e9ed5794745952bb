//! Reassembly of fragmented datagrams (RFC 791 section 3.2, RFC 8200 section 4.5; docs/contract/ipv4.md section 2).
//!
//! The table holds at most [`Limits::datagrams`] incomplete datagrams and [`Limits::bytes`] bytes. When either is
//! exceeded the datagrams that began first are given up. Every datagram is given up [`Limits::age`] after its first
//! fragment; only then is there something to tell its sender.

use std::collections::{BTreeMap, VecDeque};
use std::net::{Ipv4Addr, Ipv6Addr};

use crate::ip::ipv4::Ipv4View;
use crate::ip::ipv6::{Content, FRAGMENT_LEN, Ipv6View, Piece, set_payload_len};
use crate::time::{Duration, Instant};
use crate::wire::checksum::Checksum;
use crate::wire::header::{IPV4_LEN, IPV6_LEN};

/// The largest IPv4 packet.
const MAX_IPV4: usize = 65535;
/// The largest IPv6 packet, with the fragment header that its first piece still has.
const MAX_IPV6: usize = IPV6_LEN + FRAGMENT_LEN + 65535;
/// What a held piece costs besides its bytes: its place in the tree and the allocation's own overhead.
const PIECE_COST: usize = 64;
/// What a datagram costs besides its pieces.
const DATAGRAM_COST: usize = 256;

/// Bounds of the table.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Incomplete datagrams held at a time.
    pub datagrams: usize,
    /// Bytes held at a time, bookkeeping included.
    pub bytes: usize,
    /// How long a datagram may stay incomplete.
    pub age: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { datagrams: 64, bytes: 512 * 1024, age: Duration::from_secs(30) }
    }
}

/// What happens when fragments overlap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Overlap {
    /// Bytes held from the same or an earlier offset win over the head of the new fragment, and the new fragment wins
    /// over held bytes that follow its start. This is what docs/contract/ipv4.md section 2 observed.
    EarlierOffsetWins,
    /// The whole datagram is dropped, with the fragments still to come (RFC 5722). Exact repetitions of a fragment are
    /// ignored (RFC 8200 section 4.5).
    DropDatagram,
}

/// One fragment, independent of the IP version.
#[derive(Debug, Clone, Copy)]
pub struct Fragment<'a> {
    /// Offset in the datagram's payload in bytes.
    pub offset: usize,
    /// Whether more fragments follow.
    pub more: bool,
    /// What stands before the payload: of the first fragment, what the whole packet begins with.
    pub header: &'a [u8],
    /// The fragment's bytes.
    pub payload: &'a [u8],
}

/// What became of a fragment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It was the missing one: the whole packet. Its headers are still those of the first fragment, unless the packet
    /// came through [`Reassembler::on_ipv4`] or [`Reassembler::on_ipv6`].
    Complete(Vec<u8>),
    /// It is kept, or it was a repetition.
    Pending,
    /// It was not usable, or its datagram was given up.
    Dropped,
}

/// An incomplete datagram.
#[derive(Debug)]
struct Datagram<K> {
    key: K,
    deadline: Instant,
    /// Header of the first fragment, once that has come.
    header: Option<Box<[u8]>>,
    /// Disjoint pieces by offset.
    pieces: BTreeMap<usize, Box<[u8]>>,
    /// Bytes in `pieces`.
    held: usize,
    /// Length of the payload, once the last fragment has come.
    total: Option<usize>,
    /// Overlapping fragments came and the policy is to drop: every further fragment is dropped until the deadline.
    poisoned: bool,
}

impl<K> Datagram<K> {
    fn cost(&self) -> usize {
        let header = self.header.as_ref().map_or(0, |header| header.len());
        DATAGRAM_COST + header + self.held + self.pieces.len() * PIECE_COST
    }

    /// End of the bytes held so far.
    fn end(&self) -> usize {
        self.pieces.last_key_value().map_or(0, |(offset, piece)| offset + piece.len())
    }

    /// Whether any held piece shares bytes with `start..end`.
    fn overlaps(&self, start: usize, end: usize) -> bool {
        self.pieces.range(..end).next_back().is_some_and(|(offset, piece)| offset + piece.len() > start)
    }

    fn is_complete(&self) -> bool {
        // The pieces are disjoint and none lies beyond the total, so equal counts mean that there is no hole.
        self.header.is_some() && self.total == Some(self.held)
    }

    /// Adds bytes under [`Overlap::EarlierOffsetWins`].
    fn insert(&mut self, offset: usize, bytes: &[u8]) {
        let end = offset + bytes.len();
        let covered = self.pieces.range(..=offset).next_back().map_or(0, |(start, piece)| start + piece.len());
        let start = offset.max(covered);
        let Some(new) = bytes.get(start - offset..).filter(|new| !new.is_empty()) else { return };
        while let Some((&next, _)) = self.pieces.range(start..end).next() {
            let Some(piece) = self.pieces.remove(&next) else { break };
            self.held -= piece.len();
            if let Some(rest) = piece.get(end - next..).filter(|rest| !rest.is_empty()) {
                self.held += rest.len();
                self.pieces.insert(end, rest.into());
            }
        }
        self.held += new.len();
        self.pieces.insert(start, new.into());
    }

    /// The first fragment as it came, if it did. (Whatever else comes, the piece at offset 0 stays the first one there.)
    fn first_fragment(&self) -> Option<Vec<u8>> {
        Some([self.header.as_deref()?, self.pieces.get(&0)?].concat())
    }

    fn into_packet(self) -> Vec<u8> {
        let header = self.header.unwrap_or_default();
        let mut packet = Vec::with_capacity(header.len() + self.held);
        packet.extend_from_slice(&header);
        for piece in self.pieces.values() {
            packet.extend_from_slice(piece);
        }
        packet
    }
}

/// The table of incomplete datagrams. `K` tells which fragments belong together.
#[derive(Debug)]
pub struct Reassembler<K> {
    limits: Limits,
    overlap: Overlap,
    /// The longest packet, headers of its first fragment included.
    longest: usize,
    /// In the order in which the datagrams began.
    datagrams: VecDeque<Datagram<K>>,
    /// Sum of the datagrams' costs.
    bytes: usize,
}

impl<K: PartialEq> Reassembler<K> {
    /// An empty table, for packets of up to 65535 bytes.
    pub fn new(limits: Limits, overlap: Overlap) -> Self {
        Reassembler { limits, overlap, longest: MAX_IPV4, datagrams: VecDeque::new(), bytes: 0 }
    }

    /// Number of incomplete datagrams.
    pub fn len(&self) -> usize {
        self.datagrams.len()
    }

    /// Whether nothing is held.
    pub fn is_empty(&self) -> bool {
        self.datagrams.is_empty()
    }

    /// Bytes held, bookkeeping included.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.datagrams.clear();
        self.bytes = 0;
    }

    /// When [`on_deadline`](Self::on_deadline) has to be called next.
    pub fn deadline(&self) -> Option<Instant> {
        self.datagrams.iter().map(|datagram| datagram.deadline).min()
    }

    /// Gives up the datagrams whose time is over and returns their number. `first` is called with the first fragment
    /// of each as it came: its sender is to be told (RFC 792, RFC 8200 section 4.5). Of a datagram whose first fragment
    /// is missing, or whose fragments overlapped, nothing is said.
    pub fn on_deadline(&mut self, now: Instant, mut first: impl FnMut(&[u8])) -> usize {
        let before = self.datagrams.len();
        self.datagrams.retain(|datagram| {
            let keep = datagram.deadline > now;
            if !keep && let Some(packet) = datagram.first_fragment() {
                first(&packet);
            }
            keep
        });
        self.bytes = self.datagrams.iter().map(Datagram::cost).sum();
        before - self.datagrams.len()
    }

    /// Takes a fragment. Fragments without payload, with more to follow but a length that is no multiple of 8, or
    /// reaching beyond the longest packet are dropped; so are those that contradict the length given by the last
    /// fragment. Datagrams whose time is over are given up silently; to tell their senders, call
    /// [`on_deadline`](Self::on_deadline) before.
    pub fn on_fragment(&mut self, key: K, fragment: &Fragment<'_>, now: Instant) -> Outcome {
        let Fragment { offset, more, header, payload } = *fragment;
        let end = offset.saturating_add(payload.len());
        let unusable = payload.is_empty()
            || (more && !payload.len().is_multiple_of(8))
            || end.saturating_add(header.len()) > self.longest;
        if unusable {
            return Outcome::Dropped;
        }
        // An overdue datagram must not take fragments of a later one with the same key, even if the caller is late
        // with the deadline.
        if self.deadline().is_some_and(|deadline| deadline <= now) {
            self.on_deadline(now, |_| {});
        }
        let index = match self.datagrams.iter().position(|datagram| datagram.key == key) {
            Some(index) => index,
            None => self.begin(key, now),
        };
        let Some(datagram) = self.datagrams.get_mut(index) else { return Outcome::Dropped };
        if datagram.poisoned {
            return Outcome::Dropped;
        }
        let contradicts = match datagram.total {
            Some(total) => end > total || (!more && end != total),
            None => !more && end < datagram.end(),
        };
        if contradicts {
            return Outcome::Dropped;
        }
        let before = datagram.cost();
        if self.overlap == Overlap::DropDatagram && datagram.overlaps(offset, end) {
            if datagram.pieces.get(&offset).is_some_and(|piece| **piece == *payload) {
                return Outcome::Pending;
            }
            datagram.pieces.clear();
            datagram.held = 0;
            datagram.poisoned = true;
            self.bytes = self.bytes - before + datagram.cost();
            return Outcome::Dropped;
        }
        if offset == 0 && datagram.header.is_none() {
            datagram.header = Some(header.into());
        }
        if !more {
            datagram.total = Some(end);
        }
        datagram.insert(offset, payload);
        self.bytes = self.bytes - before + datagram.cost();
        if datagram.is_complete() {
            return self.take(index);
        }
        self.evict_bytes(index)
    }

    /// Adds an empty datagram, giving up the oldest if there is no room, and returns its index.
    fn begin(&mut self, key: K, now: Instant) -> usize {
        while self.datagrams.len() >= self.limits.datagrams.max(1) {
            self.give_up_oldest();
        }
        let datagram = Datagram {
            key,
            deadline: now + self.limits.age,
            header: None,
            pieces: BTreeMap::new(),
            held: 0,
            total: None,
            poisoned: false,
        };
        self.bytes += datagram.cost();
        self.datagrams.push_back(datagram);
        self.datagrams.len() - 1
    }

    /// Removes the complete datagram at `index` and returns its packet.
    fn take(&mut self, index: usize) -> Outcome {
        let Some(datagram) = self.datagrams.remove(index) else { return Outcome::Dropped };
        self.bytes -= datagram.cost();
        // The first fragment's header may be longer than that of the fragments checked on arrival.
        if datagram.held + datagram.header.as_ref().map_or(0, |header| header.len()) > self.longest {
            return Outcome::Dropped;
        }
        Outcome::Complete(datagram.into_packet())
    }

    /// Gives up the oldest datagrams until the table fits its bound; `index` is the one that just grew.
    fn evict_bytes(&mut self, index: usize) -> Outcome {
        let mut given_up = 0;
        while self.bytes > self.limits.bytes && !self.datagrams.is_empty() {
            self.give_up_oldest();
            given_up += 1;
        }
        if given_up > index { Outcome::Dropped } else { Outcome::Pending }
    }

    fn give_up_oldest(&mut self) {
        if let Some(oldest) = self.datagrams.pop_front() {
            self.bytes -= oldest.cost();
        }
    }
}

/// What IPv4 fragments of one datagram share (RFC 791 section 3.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ipv4Key {
    id: u16,
    src: Ipv4Addr,
    dst: Ipv4Addr,
    protocol: u8,
}

impl Reassembler<Ipv4Key> {
    /// A table for IPv4 with the default bounds.
    pub fn ipv4() -> Self {
        Reassembler::new(Limits::default(), Overlap::EarlierOffsetWins)
    }

    /// Takes an IPv4 fragment. A complete packet has the header of the first fragment, options included, with total
    /// length, flags, offset and checksum set for the whole.
    pub fn on_ipv4(&mut self, packet: &Ipv4View<'_>, now: Instant) -> Outcome {
        let key = Ipv4Key { id: packet.id(), src: packet.src(), dst: packet.dst(), protocol: packet.protocol() };
        let fragment = Fragment {
            offset: packet.fragment_offset().into(),
            more: packet.more_fragments(),
            header: packet.header(),
            payload: packet.payload(),
        };
        match self.on_fragment(key, &fragment, now) {
            Outcome::Complete(mut packet) => {
                if make_whole(&mut packet).is_none() {
                    return Outcome::Dropped;
                }
                Outcome::Complete(packet)
            }
            other => other,
        }
    }
}

/// What IPv6 fragments of one datagram share (RFC 8200 section 4.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ipv6Key {
    pub id: u32,
    pub src: Ipv6Addr,
    pub dst: Ipv6Addr,
}

impl Reassembler<Ipv6Key> {
    /// A table for IPv6: datagrams live for a minute (RFC 8200 section 4.5), overlaps end them (RFC 5722).
    pub fn ipv6() -> Self {
        let limits = Limits { age: Duration::from_secs(60), ..Limits::default() };
        Reassembler { longest: MAX_IPV6, ..Reassembler::new(limits, Overlap::DropDatagram) }
    }

    /// Takes an IPv6 fragment. A complete packet has the headers of the first fragment, without the fragment header,
    /// and the payload length of the whole.
    pub fn on_ipv6(&mut self, packet: &Ipv6View<'_>, piece: &Piece<'_>, now: Instant) -> Outcome {
        let key = Ipv6Key { id: piece.id, src: packet.src(), dst: packet.dst() };
        let length = packet.packet().len() - piece.payload.len();
        let header = packet.packet().get(..length).unwrap_or_default();
        let fragment = Fragment { offset: piece.offset, more: piece.more, header, payload: piece.payload };
        match self.on_fragment(key, &fragment, now) {
            Outcome::Complete(mut packet) => match without_fragment_header(&mut packet) {
                Some(()) => Outcome::Complete(packet),
                None => Outcome::Dropped,
            },
            other => other,
        }
    }
}

/// Takes the fragment header out of an IPv6 packet put together from fragments and sets its payload length.
fn without_fragment_header(packet: &mut Vec<u8>) -> Option<()> {
    let Content::Fragment(first) = Ipv6View::parse_beginning(packet)?.content() else { return None };
    let (header, follows, named_at) = first.place();
    *packet.get_mut(named_at)? = follows;
    packet.drain(header);
    set_payload_len(packet)
}

/// Sets total length, flags, offset and checksum of an IPv4 packet put together from fragments.
fn make_whole(packet: &mut [u8]) -> Option<()> {
    let total_len = u16::try_from(packet.len()).ok()?;
    let fixed = packet.first_chunk_mut::<IPV4_LEN>()?;
    fixed[2..4].copy_from_slice(&total_len.to_be_bytes());
    fixed[6..8].fill(0);
    fixed[10..12].fill(0);
    let header_len = usize::from(fixed[0] & 0x0f) * 4;
    let mut checksum = Checksum::new();
    checksum.add(packet.get(..header_len)?);
    packet.get_mut(10..12)?.copy_from_slice(&checksum.finish().to_be_bytes());
    Some(())
}

#[cfg(test)]
mod tests;
