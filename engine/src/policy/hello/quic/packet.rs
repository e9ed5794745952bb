//! The packets of a datagram as they stand behind each other (RFC 9000 sections 12.2 and 17.2), and what is in an Initial one.

use super::super::reader::Reader;
use super::keys::{Keys, SAMPLE, TAG, Version};

/// Set in the first byte of a packet with a long header; the others say nothing of themselves.
const LONG: u8 = 0x80;
/// Set in the first byte of every packet (but where both ends have agreed on something else, RFC 9287).
const FIXED: u8 = 0x40;
/// The longest connection ID.
const LONGEST_ID: usize = 20;
/// The longest number of a packet.
const LONGEST_NUMBER: usize = 4;

/// Whether a datagram begins with a packet that may begin a connection.
pub(super) fn is_long(datagram: &[u8]) -> bool {
    datagram.first().is_some_and(|first| first & LONG != 0)
}

/// One packet of a datagram.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Packet<'a> {
    Initial(Initial<'a>),
    /// What a client may send before it has heard anything.
    ZeroRtt,
    /// The connection has begun, and no Initial packet follows on it (RFC 9001 section 4.9.1).
    Handshake,
    /// A packet of a connection that has begun; nothing is behind it.
    Short,
}

/// An Initial packet under its protection.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Initial<'a> {
    pub version: Version,
    pub destination: &'a [u8],
    pub source: &'a [u8],
    packet: &'a [u8],
    /// Where in it its number begins.
    number_at: usize,
}

/// Takes the first packet off a datagram. `None` when there is no telling what it is: a server may know other versions.
pub(super) fn next<'a>(datagram: &mut &'a [u8]) -> Option<Packet<'a>> {
    let whole = *datagram;
    let mut reader = Reader(whole);
    let first = reader.byte()?;
    if first & LONG == 0 {
        *datagram = &[];
        return (first & FIXED != 0).then_some(Packet::Short);
    }
    if first & FIXED == 0 {
        return None;
    }
    let version = Version::of(u32::from_be_bytes(*reader.take(4)?.first_chunk()?))?;
    let destination = reader.connection_id()?;
    let source = reader.connection_id()?;
    let kind = (first >> 4) & 3;
    // The four types are numbered from another one on in version 2 (RFC 9369 section 3.2).
    let kind = if version == Version::Two { kind.wrapping_sub(1) & 3 } else { kind };
    if kind == 3 {
        // Retry, which only servers send.
        return None;
    }
    if kind == 0 {
        let token = reader.number()?;
        reader.take(usize::try_from(token).ok()?)?;
    }
    let length = usize::try_from(reader.number()?).ok()?;
    let number_at = whole.len() - reader.0.len();
    reader.take(length)?;
    *datagram = reader.0;
    let packet = whole.get(..number_at + length)?;
    Some(match kind {
        0 => Packet::Initial(Initial { version, destination, source, packet, number_at }),
        1 => Packet::ZeroRtt,
        _ => Packet::Handshake,
    })
}

impl Initial<'_> {
    /// What is in it, and its number; `largest` is the largest one of the connection so far. `None` when it is not protected by
    /// these keys.
    pub(super) fn open(&self, keys: &Keys, largest: Option<u64>) -> Option<(u64, Vec<u8>)> {
        let (before, protected) = self.packet.split_at_checked(self.number_at)?;
        let sample = protected.get(LONGEST_NUMBER..LONGEST_NUMBER + SAMPLE)?.first_chunk()?;
        let [first_mask, mask @ ..] = keys.mask(*sample);
        let mut header = before.to_vec();
        let first = header.first_mut()?;
        *first ^= first_mask & 0x0f;
        let length = usize::from(*first & 3) + 1;
        let (number, payload) = protected.split_at_checked(length)?;
        if payload.len() <= TAG {
            return None;
        }
        let mut truncated = 0;
        for (byte, mask) in number.iter().zip(mask) {
            header.push(byte ^ mask);
            truncated = truncated << 8 | u64::from(byte ^ mask);
        }
        let number = full_number(largest, truncated, length);
        Some((number, keys.open(number, &header, payload.to_vec())?))
    }
}

/// RFC 9000 appendix A.3.
fn full_number(largest: Option<u64>, truncated: u64, length: usize) -> u64 {
    let expected = largest.map_or(0, |largest| largest + 1);
    let window = 1 << (8 * length);
    let candidate = (expected & !(window - 1)) | truncated;
    if candidate + window / 2 <= expected && candidate < (1 << 62) - window {
        candidate + window
    } else if candidate > expected + window / 2 && candidate >= window {
        candidate - window
    } else {
        candidate
    }
}

/// Shows the frames of an Initial packet that carry the handshake: where each stands, and its bytes. False when there is one that
/// cannot be in such a packet, or when `show` says so.
pub(super) fn handshake_frames(payload: &[u8], mut show: impl FnMut(u64, &[u8]) -> bool) -> bool {
    let mut reader = Reader(payload);
    while !reader.0.is_empty() {
        if frame(&mut reader, &mut show) != Some(true) {
            return false;
        }
    }
    true
}

/// RFC 9000 section 12.4: a frame's type has one byte, as it is to be as short as it can.
fn frame(reader: &mut Reader<'_>, show: &mut impl FnMut(u64, &[u8]) -> bool) -> Option<bool> {
    match reader.byte()? {
        // PADDING and PING.
        0 | 1 => {}
        // ACK: the largest, the delay, the ranges; counts of ECN.
        kind @ (2 | 3) => {
            reader.number()?;
            reader.number()?;
            let ranges = reader.number()?;
            reader.number()?;
            for _ in 0..ranges {
                reader.number()?;
                reader.number()?;
            }
            for _ in 0..if kind == 3 { 3 } else { 0 } {
                reader.number()?;
            }
        }
        // CRYPTO.
        6 => {
            let at = reader.number()?;
            let length = usize::try_from(reader.number()?).ok()?;
            return Some(show(at, reader.take(length)?));
        }
        // CONNECTION_CLOSE.
        0x1c => {
            reader.number()?;
            reader.number()?;
            let length = usize::try_from(reader.number()?).ok()?;
            reader.take(length)?;
        }
        _ => return None,
    }
    Some(true)
}

impl<'a> Reader<'a> {
    /// RFC 9000 section 16.
    fn number(&mut self) -> Option<u64> {
        let first = self.byte()?;
        let rest = self.take((1 << (first >> 6)) - 1)?;
        Some(rest.iter().fold(u64::from(first & 0x3f), |number, byte| number << 8 | u64::from(*byte)))
    }

    fn connection_id(&mut self) -> Option<&'a [u8]> {
        let length = usize::from(self.byte()?);
        if length > LONGEST_ID { None } else { self.take(length) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_of_the_standard() {
        // RFC 9000 appendix A.1.
        for (bytes, number) in [
            (&[0xc2, 0x19, 0x7c, 0x5e, 0xff, 0x14, 0xe8, 0x8c][..], 151_288_809_941_952_652),
            (&[0x9d, 0x7f, 0x3e, 0x7d], 494_878_333),
            (&[0x7b, 0xbd], 15_293),
            (&[0x25], 37),
            (&[0x40, 0x25], 37),
        ] {
            assert_eq!(Reader(bytes).number(), Some(number));
            assert_eq!(Reader(&bytes[..bytes.len() - 1]).number(), None);
        }
        // Appendix A.3.
        assert_eq!(full_number(Some(0xa82f_30ea), 0x9b32, 2), 0xa82f_9b32);
        assert_eq!(full_number(None, 2, 4), 2);
        assert_eq!(full_number(Some(255), 0, 1), 256);
        assert_eq!(full_number(Some(256), 255, 1), 255);
        assert_eq!(full_number(Some((1 << 62) - 1), 0xff, 1), (1 << 62) - 1);
    }

    #[test]
    fn frames_that_cannot_be_there_end_it() {
        let shows = |payload: &[u8]| {
            let mut shown = Vec::new();
            handshake_frames(payload, |at, bytes| {
                shown.push((at, bytes.to_vec()));
                true
            })
            .then_some(shown)
        };
        let acks = [2, 0x40, 5, 0, 1, 0, 1, 2, 3, 9, 0, 0, 0, 1, 1, 1];
        let closes = [0x1c, 0, 6, 2, b'n', b'o'];
        let crypto = [&[6, 0x40, 9, 3][..], b"abc", &[0, 1, 6, 0, 0]].concat();
        assert_eq!(shows(&[&acks[..], &closes, &crypto].concat()), Some(vec![(9, b"abc".to_vec()), (0, Vec::new())]));
        assert_eq!(shows(&[]), Some(vec![]));
        for other in [
            &[8, 0][..],
            &[0x1d, 0, 0],
            &[0x40, 6, 0, 0],
            &[6, 0, 2, 1],
            &[2, 0, 0, 0xff],
            &[0x1c, 0, 0, 9],
            &[4, 0, 0, 0],
        ] {
            assert_eq!(shows(other), None, "{other:?}");
        }
    }
}
