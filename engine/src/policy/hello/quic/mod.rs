//! The first datagrams of a connection of QUIC (RFC 9000, RFC 9369), and the ClientHello in them (RFC 9001 section 4.3).
//!
//! `keys` takes off the protection that Initial packets have, `packet` finds them in a datagram and the handshake in them. Whoever is
//! behind the connection reads the same bytes, so that nothing is passed over that it might read in another way: a version that is
//! not known here, a frame that cannot be there, bytes that are said twice and differ.

mod keys;
mod packet;

use std::fmt;

use super::{Hearing, tls};
use keys::{Keys, Version};
use packet::{Initial, Packet, handshake_frames, is_long, next};

/// The longest ClientHello. (One with the keys and tickets that browsers send has two kilobytes.)
const LONGEST: usize = 8 * 1024;
/// The least connection ID that a client chooses for its server (RFC 9000 section 7.2).
const LEAST_ID: usize = 8;

/// The first datagrams of one connection, which a guest has sent.
#[derive(Debug, Default)]
pub struct QuicHello {
    first: Option<First>,
    stream: Stream,
}

/// What the first packet says of the connection.
struct First {
    version: Version,
    destination: Box<[u8]>,
    source: Box<[u8]>,
    keys: Keys,
    /// The largest number of a packet so far.
    largest: u64,
}

impl fmt::Debug for First {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "First({:?}, {:?})", self.version, self.destination)
    }
}

/// A connection whose ClientHello is known: what else may come of it, and what would be another one.
#[derive(Clone, Debug)]
pub struct QuicSpoken {
    destination: Box<[u8]>,
    hello: Box<[u8]>,
    largest: u64,
}

/// What a later datagram is to a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum QuicFollows {
    /// It belongs to it.
    Same,
    /// It belongs to it, and no further datagram has anything in it that could begin another one.
    Begun,
    /// It may begin another one.
    Other,
}

/// Whether a datagram can begin a connection. Others belong to one that has begun, or to none.
#[must_use]
pub fn may_begin_quic(datagram: &[u8]) -> bool {
    is_long(datagram)
}

impl QuicHello {
    /// Takes the next datagram.
    pub fn hear(&mut self, datagram: &[u8]) -> Hearing {
        self.take(datagram).map_or(Hearing::Unclear, |()| tls::hear_message(&self.stream.bytes))
    }

    /// Takes what is in an Initial packet, as if that had been protected.
    #[doc(hidden)]
    pub fn hear_frames(&mut self, payload: &[u8]) -> Hearing {
        match handshake_frames(payload, |at, bytes| self.stream.add(at, bytes)) {
            true => tls::hear_message(&self.stream.bytes),
            false => Hearing::Unclear,
        }
    }

    /// What is known of the connection, once its ClientHello was heard.
    #[must_use]
    pub fn spoken(&self) -> Option<QuicSpoken> {
        let First { destination, largest, .. } = self.first.as_ref()?;
        Some(QuicSpoken {
            destination: destination.clone(),
            hello: self.stream.bytes.clone().into(),
            largest: *largest,
        })
    }

    fn take(&mut self, mut datagram: &[u8]) -> Option<()> {
        if datagram.is_empty() {
            return None;
        }
        while !datagram.is_empty() {
            match next(&mut datagram)? {
                Packet::Initial(initial) => self.take_initial(&initial)?,
                Packet::ZeroRtt if self.first.is_some() => {}
                // Nobody has answered so far.
                Packet::ZeroRtt | Packet::Handshake | Packet::Short => return None,
            }
            if datagram.iter().all(|byte| *byte == 0) {
                return Some(());
            }
        }
        Some(())
    }

    fn take_initial(&mut self, initial: &Initial<'_>) -> Option<()> {
        let Initial { version, destination, source, .. } = *initial;
        let is_first = self.first.is_none();
        if is_first {
            if destination.len() < LEAST_ID {
                return None;
            }
            let keys = Keys::of(version, destination)?;
            self.first =
                Some(First { version, destination: destination.into(), source: source.into(), keys, largest: 0 });
        }
        let first = self.first.as_mut()?;
        if (first.version, &*first.destination, &*first.source) != (version, destination, source) {
            return None;
        }
        let (number, payload) = initial.open(&first.keys, (!is_first).then_some(first.largest))?;
        first.largest = first.largest.max(number);
        handshake_frames(&payload, |at, bytes| self.stream.add(at, bytes)).then_some(())
    }
}

impl QuicSpoken {
    /// Looks at a datagram that comes later between the same ends.
    pub fn follows(&mut self, mut datagram: &[u8]) -> QuicFollows {
        let mut begun = false;
        while !datagram.is_empty() {
            match next(&mut datagram) {
                Some(Packet::Initial(initial)) if !begun && self.is_same(&initial) => {}
                Some(Packet::Initial(_)) | None => return QuicFollows::Other,
                Some(Packet::Handshake) => begun = true,
                Some(Packet::ZeroRtt | Packet::Short) => {}
            }
            if datagram.iter().all(|byte| *byte == 0) {
                break;
            }
        }
        if begun { QuicFollows::Begun } else { QuicFollows::Same }
    }

    /// An Initial packet that is protected by the keys of the first one, and says nothing else than that.
    fn is_same(&mut self, initial: &Initial<'_>) -> bool {
        // The server may have chosen the other version (RFC 9368 section 2.3).
        let keys = Keys::of(initial.version, &self.destination);
        let Some((number, payload)) = keys.and_then(|keys| initial.open(&keys, Some(self.largest))) else {
            return false;
        };
        self.largest = self.largest.max(number);
        let hello = &self.hello;
        handshake_frames(&payload, |at, bytes| {
            let said = usize::try_from(at).ok().and_then(|at| hello.get(at..)).unwrap_or_default();
            said.iter().zip(bytes).all(|(one, other)| one == other)
        })
    }
}

/// What was said to a datagram whose connection has begun, or of which nothing is known: whether it may begin another one.
#[must_use]
pub fn begins_other_quic(mut datagram: &[u8]) -> bool {
    while !datagram.is_empty() {
        match next(&mut datagram) {
            Some(Packet::Handshake | Packet::ZeroRtt | Packet::Short) => {}
            Some(Packet::Initial(_)) | None => return true,
        }
        if datagram.iter().all(|byte| *byte == 0) {
            break;
        }
    }
    false
}

/// The bytes of the handshake, whose pieces come in any order.
#[derive(Debug, Default)]
struct Stream {
    /// From the first one on, without a gap.
    bytes: Vec<u8>,
    /// Those behind, as far as they are there.
    behind: Vec<Option<u8>>,
}

impl Stream {
    /// False when they are too many, or others than were there before.
    fn add(&mut self, at: u64, bytes: &[u8]) -> bool {
        let Some(at) = usize::try_from(at).ok().filter(|at| *at <= LONGEST && bytes.len() <= LONGEST - at) else {
            return false;
        };
        for (at, &byte) in (at..).zip(bytes) {
            match at.checked_sub(self.bytes.len()) {
                None if self.bytes.get(at) != Some(&byte) => return false,
                None => {}
                Some(0) if self.behind.is_empty() => self.bytes.push(byte),
                Some(behind) => {
                    if self.behind.len() <= behind {
                        self.behind.resize(behind + 1, None);
                    }
                    let Some(place) = self.behind.get_mut(behind) else { return false };
                    if place.replace(byte).is_some_and(|before| before != byte) {
                        return false;
                    }
                }
            }
        }
        let whole = self.behind.iter().take_while(|byte| byte.is_some()).count();
        self.bytes.extend(self.behind.drain(..whole).flatten());
        true
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::Heard;
    use super::super::tls::tests as hellos;
    use super::*;

    /// A number of two bytes (RFC 9000 section 16).
    fn number(number: usize) -> [u8; 2] {
        (number as u16 | 0x4000).to_be_bytes()
    }

    pub(crate) fn crypto(at: usize, bytes: &[u8]) -> Vec<u8> {
        [&[6][..], &number(at), &number(bytes.len()), bytes].concat()
    }

    /// An Initial packet with these frames in it.
    fn packet(version: Version, destination: &[u8], count: u32, frames: &[u8]) -> Vec<u8> {
        let (first, wire): (u8, u32) = if version == Version::One { (0xc3, 1) } else { (0xd3, 0x6b33_43cf) };
        let length = number(4 + frames.len() + keys::TAG);
        let ids = [&[destination.len() as u8][..], destination, &[3, 7, 7, 7, 0]].concat();
        let mut header = [&[first][..], &wire.to_be_bytes(), &ids, &length, &count.to_be_bytes()].concat();
        let keys = Keys::of(version, destination).unwrap();
        let sealed = keys.seal(count.into(), &header, frames.to_vec());
        let mask = keys.mask(*sealed.first_chunk().unwrap());
        header[0] ^= mask[0] & 15;
        let number_at = header.len() - 4;
        header[number_at..].iter_mut().zip(&mask[1..]).for_each(|(byte, mask)| *byte ^= mask);
        [header, sealed].concat()
    }

    const TO: &[u8] = &[1, 2, 3, 4, 5, 6, 7, 8];

    fn initial(count: u32, frames: &[u8]) -> Vec<u8> {
        packet(Version::One, TO, count, frames)
    }

    fn message(name: &str) -> Vec<u8> {
        hellos::hello(&[hellos::server_names(&[name.as_bytes()])])
    }

    fn named(name: &str) -> Hearing {
        Hearing::Heard(Heard::Tls(Some(name.into())))
    }

    /// What is heard of these datagrams in the end.
    fn hear(datagrams: &[Vec<u8>]) -> (Hearing, QuicHello) {
        let mut hello = QuicHello::default();
        let heard = datagrams.iter().map(|one| hello.hear(one)).find(|heard| *heard != Hearing::More);
        (heard.unwrap_or(Hearing::More), hello)
    }

    /// RFC 9001 appendix A.2, RFC 9369 appendix A.2: the tag says that all bytes are the standards'.
    #[test]
    fn packets_are_those_of_the_standards() {
        let frame = "060040f1010000ed0303ebf8fa56f12939b9584a3896472ec40bb863cfd3e86804fe3a47f06a2b69484c00000413011302010000c0\
                     00000010000e00000b6578616d706c652e636f6dff01000100000a00080006001d0017001800100007000504616c706e00050005\
                     0100000000003300260024001d00209370b2c9caa47fbabaf4559fedba753de171fa71f50f1ce15d43e994ec74d748002b000302\
                     0304000d0010000e0403050306030203080408050806002d00020101001c00024001003900320408ffffffffffffffff05048000\
                     ffff07048000ffff0801100104800075300901100f088394c8f03e51570806048000ffff";
        let frames = [keys::tests::hex(frame), vec![0; 917]].concat();
        let destination = keys::tests::hex("8394c8f03e515708");
        for (version, first, header, begins, tag) in [
            (
                Version::One,
                "c0",
                "00000001088394c8f03e5157080000449e7b9aec34",
                "d1b1c98dd7689fb8ec11",
                "e221af44860018ab0856972e194cd934",
            ),
            (
                Version::Two,
                "d7",
                "6b3343cf088394c8f03e5157080000449ea0c95e82",
                "ffe67b6abcdb4298b485",
                "a18b2faa745b6fe189cf772a9f84cbfc",
            ),
        ] {
            let plain = if version == Version::One { "c300000001" } else { "d36b3343cf" };
            let mut begun = keys::tests::hex(&format!("{plain}088394c8f03e5157080000449e00000002"));
            let keys = Keys::of(version, &destination).unwrap();
            let sealed = keys.seal(2, &begun, frames.clone());
            let mask = keys.mask(*sealed.first_chunk().unwrap());
            begun[0] ^= mask[0] & 15;
            begun[18..].iter_mut().zip(&mask[1..]).for_each(|(byte, mask)| *byte ^= mask);
            let datagram = [begun, sealed].concat();
            assert!(datagram.starts_with(&keys::tests::hex(&format!("{first}{header}{begins}"))));
            assert!(datagram.ends_with(&keys::tests::hex(tag)) && datagram.len() == 1200);
            assert_eq!(hear(&[datagram]).0, named("example.com"));
        }
    }

    #[test]
    fn the_name_is_heard_however_the_hello_comes() {
        let message = message("a.example.org");
        let (first, second) = message.split_at(40);
        let pieces: Vec<Vec<u8>> = (0..message.len()).map(|at| crypto(at, &message[at..=at])).collect();
        let shuffled: Vec<u8> = (0..pieces.len()).flat_map(|at| pieces[at * 7 % pieces.len()].clone()).collect();
        assert_ne!(pieces.len() % 7, 0);
        let ping = [0, 1, 0];
        for datagrams in [
            vec![initial(0, &crypto(0, &message))],
            vec![initial(0, &crypto(40, second)), initial(1, &crypto(0, first))],
            vec![initial(5, &[&ping[..], &crypto(0, first), &ping].concat()), initial(3, &crypto(40, second))],
            // Twice, overlapping, in one datagram, with zeros behind it.
            vec![[initial(0, &crypto(20, &message[20..])), initial(1, &crypto(0, first)), vec![0; 50]].concat()],
            vec![initial(0, &shuffled)],
            vec![packet(Version::Two, TO, 0, &crypto(0, &message))],
            // What was sent early (0-RTT) stands behind it, or in a datagram of its own.
            vec![[initial(0, &crypto(0, &message)), vec![0xd0, 0, 0, 0, 1, 0, 0, 1, 9]].concat()],
            vec![initial(0, &crypto(0, first)), vec![0xd0, 0, 0, 0, 1, 0, 0, 1, 9], initial(1, &crypto(40, second))],
        ] {
            assert_eq!(hear(&datagrams).0, named("a.example.org"));
        }
        assert_eq!(hear(&[initial(0, &crypto(0, first))]).0, Hearing::More);
        let none = hellos::hello(&[]);
        assert_eq!(hear(&[initial(0, &crypto(0, &none))]).0, Hearing::Heard(Heard::Tls(None)));
    }

    #[test]
    fn what_can_be_read_in_two_ways_is_no_hello() {
        let good = message("a.example.org");
        let whole = initial(0, &crypto(0, &good));
        let (first, second) = good.split_at(40);
        let changed = |at: usize, byte: u8| {
            let mut bytes = whole.clone();
            bytes[at] = byte;
            vec![bytes]
        };
        let other = packet(Version::One, &[9; 8], 1, &crypto(40, second));
        let longer = [good.clone(), vec![0]].concat();
        let says_other = [crypto(0, first), crypto(39, b"?")].concat();
        for (what, datagrams) in [
            ("nothing", vec![Vec::new()]),
            ("another version", changed(4, 2)),
            ("a draft", changed(1, 0xff)),
            ("version negotiation", changed(4, 0)),
            ("no fixed bit", changed(0, 0x83)),
            ("a short header", vec![vec![0x40; 1200]]),
            ("a packet of the handshake", changed(0, 0xe0)),
            ("a retry", changed(0, 0xf0)),
            ("early data first", vec![vec![0xd0, 0, 0, 0, 1, 0, 0, 1, 9]]),
            ("a byte that was changed", changed(whole.len() - 1, !whole[whole.len() - 1])),
            ("half a packet", vec![whole[..whole.len() - 1].to_vec()]),
            ("bytes behind it", vec![[whole.clone(), vec![1]].concat()]),
            ("a short packet behind it", vec![[whole.clone(), vec![0x40; 30]].concat()]),
            ("a short connection ID", vec![packet(Version::One, &[1; 7], 0, &crypto(0, &good))]),
            ("another connection's", vec![initial(0, &crypto(0, first)), other.clone()]),
            ("another connection's in one", vec![[initial(0, &crypto(0, first)), other].concat()]),
            (
                "the other version's",
                vec![initial(0, &crypto(0, first)), packet(Version::Two, TO, 1, &crypto(40, second))],
            ),
            ("bytes that differ", vec![initial(0, &says_other)]),
            ("bytes that differ behind a gap", vec![initial(0, &[crypto(9, b"ab"), crypto(10, b"c")].concat())]),
            ("bytes behind the hello", vec![initial(0, &crypto(0, &longer))]),
            ("another message", vec![initial(0, &crypto(0, b"\x02"))]),
            ("a frame of another kind", vec![initial(0, &[&[8, 0][..], &crypto(0, &good)].concat())]),
            ("far behind", vec![initial(0, &crypto(LONGEST, b"x"))]),
            ("no frame", vec![initial(0, &[])]),
        ] {
            assert_eq!(hear(&datagrams).0, Hearing::Unclear, "{what}");
        }
        let endless: Vec<Vec<u8>> =
            (0..20).map(|count| initial(count, &crypto(count as usize * 1000, &[1; 1000]))).collect();
        assert_eq!(hear(&endless).0, Hearing::Unclear);
    }

    #[test]
    fn what_follows_belongs_to_the_connection_or_is_another_one() {
        let good = message("a.example.org");
        let (heard, hello) = hear(&[initial(0, &crypto(0, &good))]);
        assert_eq!(heard, named("a.example.org"));
        let spoken = hello.spoken().unwrap();
        let follows = |datagram: &[u8]| spoken.clone().follows(datagram);
        let ack = [2, 0, 0, 0, 0];
        for same in [
            initial(1, &crypto(0, &good)),
            initial(2, &ack),
            packet(Version::Two, TO, 3, &ack),
            initial(2, &crypto(good.len(), b"more")),
        ] {
            assert_eq!(follows(&same), QuicFollows::Same);
            assert!(begins_other_quic(&same));
        }
        let handshake = vec![0xe0, 0, 0, 0, 1, 0, 0, 1, 9];
        assert_eq!(follows(&[initial(1, &ack), handshake.clone(), vec![0x40; 20]].concat()), QuicFollows::Begun);
        assert_eq!(follows(&[0xd0, 0, 0, 0, 1, 0, 0, 1, 9]), QuicFollows::Same);
        assert!(!begins_other_quic(&handshake) && !begins_other_quic(&[0x40, 1, 2]));
        let bad = message("b.example.org");
        for other in [
            packet(Version::One, &[9; 8], 0, &crypto(0, &bad)),
            // With the keys that are known, as a connection that comes after the first one.
            initial(0, &crypto(0, &bad)),
            initial(1, &crypto(50, &bad[50..])),
            [handshake.clone(), initial(1, &crypto(0, &good))].concat(),
            [initial(1, &ack), packet(Version::One, &[9; 8], 0, &crypto(0, &bad))].concat(),
            [0xc0, 0, 0, 0, 9, 0, 0].to_vec(),
            [0x80, 0, 0, 0, 0, 0, 0].to_vec(),
        ] {
            assert_eq!(follows(&other), QuicFollows::Other);
            assert!(begins_other_quic(&other));
        }
    }
}
