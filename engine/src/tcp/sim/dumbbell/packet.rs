//! What travels: segments with text one way, acknowledgments the other way.

use crate::tcp::SeqNumber;

/// Virtual time in nanoseconds: a full segment takes 1.2 µs at 10 Gbit/s, so that the engine's microseconds would be too
/// coarse for the wire.
pub(crate) type Nanos = i64;

/// What a segment takes of the wire beside its payload, in bytes: Ethernet, IPv4, TCP with timestamps.
pub(crate) const HEADERS: u32 = 14 + 20 + 20 + 12;

/// The bits of explicit congestion notification in the IP header (RFC 3168 section 5).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Ecn {
    /// Not-ECT: it is dropped where another one would be marked.
    Incapable,
    /// ECT(0) or ECT(1).
    Capable,
    /// CE: a queue on the way was long.
    Marked,
}

/// A segment on its way to a guest.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Packet {
    pub seq: SeqNumber,
    /// The payload, in bytes.
    pub len: u32,
    pub syn: bool,
    /// TSval and TSecr.
    pub stamps: Option<(u32, u32)>,
    pub ecn: Ecn,
    /// CWR: the sender has heard of the mark.
    pub reduced: bool,
}

impl Packet {
    /// Bytes on the wire.
    pub(super) fn size(&self) -> u64 {
        u64::from(self.len + HEADERS)
    }
}

/// An acknowledgment on its way to a sender.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ack {
    pub syn: bool,
    pub ack: SeqNumber,
    pub sack: [Option<(SeqNumber, SeqNumber)>; 4],
    pub stamps: Option<(u32, u32)>,
    /// ECE: something that arrived was marked.
    pub echo: bool,
}
