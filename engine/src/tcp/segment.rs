//! Segments as the state machine sees them: the header's fields in host order, the options, the payload.

use bitflags::bitflags;

use super::seq::SeqNumber;

/// The length of a header without options, in bytes.
const HEADER_LEN: usize = 20;
/// The most that options take, in bytes.
pub const OPTIONS_MAX: usize = 40;
/// The largest shift count that RFC 7323 section 2.3 allows.
pub(super) const MAX_SHIFT: u8 = 14;

const END: u8 = 0;
const NOP: u8 = 1;
const MSS: u8 = 2;
const WINDOW_SCALE: u8 = 3;
const SACK_PERMITTED: u8 = 4;
const SACK: u8 = 5;
const TIMESTAMPS: u8 = 8;

bitflags! {
    /// The control bits (RFC 9293 section 3.1, RFC 3168 section 6.1), and above them what the IP header is to say.
    #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
    pub struct Flags: u16 {
        /// No more bytes come after these.
        const FIN = 0x01;
        /// The first number of a connection.
        const SYN = 0x02;
        /// The connection is ended, or there is none.
        const RST = 0x04;
        /// The end of what the sender had to send at once.
        const PSH = 0x08;
        /// The acknowledgment number counts.
        const ACK = 0x10;
        /// The urgent pointer counts.
        const URG = 0x20;
        /// Something that arrived had been marked by a queue on the way.
        const ECE = 0x40;
        /// The sender of this has heard of a mark, and sends less.
        const CWR = 0x80;
        /// Of what is sent: a queue on the way may mark the packet in place of dropping it. ECT(0) (RFC 3168 section 5).
        const ECT = 2 << 8;
    }
}

impl Flags {
    /// The bits as the TCP header has them.
    #[inline]
    pub fn control(self) -> u8 {
        self.bits() as u8
    }

    /// The two bits of explicit congestion notification as the IP header has them.
    #[inline]
    pub fn ip(self) -> u8 {
        (self.bits() >> 8) as u8
    }
}

/// The options of a segment, those that are known.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Options {
    /// Maximum segment size in bytes (RFC 9293 section 3.7.1).
    pub mss: Option<u16>,
    /// Shift count, at most 14 (RFC 7323 section 2).
    pub window_scale: Option<u8>,
    /// RFC 2018 section 2.
    pub sack_permitted: bool,
    /// Blocks of selective acknowledgment: the first number of a block and the one after its last (RFC 2018 section 3).
    pub sack: [Option<(SeqNumber, SeqNumber)>; 4],
    /// TSval and TSecr (RFC 7323 section 3).
    pub timestamps: Option<(u32, u32)>,
}

impl Options {
    /// Reads the options' part of a header. What is unknown or has a wrong length is skipped; an option that claims to be
    /// longer than what is left ends the reading.
    pub fn parse(mut bytes: &[u8]) -> Options {
        let mut options = Options::default();
        while let Some((&kind, rest)) = bytes.split_first() {
            if kind == END {
                break;
            }
            if kind == NOP {
                bytes = rest;
                continue;
            }
            let Some(&length) = rest.first() else { break };
            if length < 2 {
                break;
            }
            let Some((option, rest)) = bytes.split_at_checked(usize::from(length)) else { break };
            options.set(kind, option.get(2..).unwrap_or_default());
            bytes = rest;
        }
        options
    }

    fn set(&mut self, kind: u8, value: &[u8]) {
        match (kind, value) {
            (MSS, &[high, low]) => self.mss = Some(u16::from_be_bytes([high, low])),
            (WINDOW_SCALE, &[shift]) => self.window_scale = Some(shift.min(MAX_SHIFT)),
            (SACK_PERMITTED, []) => self.sack_permitted = true,
            (SACK, blocks) if blocks.len().is_multiple_of(8) => {
                for (slot, block) in self.sack.iter_mut().zip(blocks.chunks_exact(8)) {
                    *slot = read_u32(block, 0).zip(read_u32(block, 4)).map(|(a, b)| (SeqNumber(a), SeqNumber(b)));
                }
            }
            (TIMESTAMPS, value) if value.len() == 8 => {
                self.timestamps = read_u32(value, 0).zip(read_u32(value, 4));
            }
            _ => {}
        }
    }

    /// Whether there are none.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.mss.is_none()
            && self.window_scale.is_none()
            && !self.sack_permitted
            && self.timestamps.is_none()
            && self.sack.iter().all(Option::is_none)
    }

    /// Writes the options into `buffer` and returns how many bytes they take, a multiple of 4 and at most
    /// [`OPTIONS_MAX`]. An option for which there is no room is left out.
    pub fn emit(&self, buffer: &mut [u8]) -> usize {
        let mut out = Emitter { buffer, len: 0 };
        if let Some(mss) = self.mss {
            let [high, low] = mss.to_be_bytes();
            out.put(&[MSS, 4, high, low]);
        }
        if let Some(shift) = self.window_scale {
            out.put(&[NOP, WINDOW_SCALE, 3, shift]);
        }
        if self.sack_permitted {
            out.put(&[NOP, NOP, SACK_PERMITTED, 2]);
        }
        if let Some((value, echo)) = self.timestamps {
            let [a, b, c, d] = value.to_be_bytes();
            let [e, f, g, h] = echo.to_be_bytes();
            out.put(&[NOP, NOP, TIMESTAMPS, 10, a, b, c, d, e, f, g, h]);
        }
        if self.sack.iter().all(Option::is_none) {
            return out.len;
        }
        let room = out.room().saturating_sub(4) / 8;
        let blocks = self.sack.iter().flatten().take(room);
        let count = blocks.clone().count() as u8;
        if count > 0 {
            out.put(&[NOP, NOP, SACK, 2 + 8 * count]);
            for (start, end) in blocks {
                out.put(&start.0.to_be_bytes());
                out.put(&end.0.to_be_bytes());
            }
        }
        out.len
    }
}

struct Emitter<'a> {
    buffer: &'a mut [u8],
    len: usize,
}

impl Emitter<'_> {
    fn room(&self) -> usize {
        self.buffer.len().min(OPTIONS_MAX).saturating_sub(self.len)
    }

    fn put(&mut self, bytes: &[u8]) {
        if bytes.len() <= self.room()
            && let Some(room) = self.buffer.get_mut(self.len..self.len + bytes.len())
        {
            room.copy_from_slice(bytes);
            self.len += bytes.len();
        }
    }
}

fn read_u32(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(*bytes.get(at..)?.first_chunk::<4>()?))
}

/// A segment that arrived.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Segment<'a> {
    /// Sequence number of the first byte, or of the SYN.
    pub seq: SeqNumber,
    /// Acknowledgment number; it counts only with [`Flags::ACK`].
    pub ack: SeqNumber,
    /// The control bits.
    pub flags: Flags,
    /// The window field as it stands in the header, not yet scaled.
    pub window: u16,
    /// The urgent pointer; it counts only with [`Flags::URG`].
    pub urgent: u16,
    /// The options.
    pub options: Options,
    /// What follows the header.
    pub payload: &'a [u8],
}

impl<'a> Segment<'a> {
    /// Reads a segment from its first header byte to the end of its payload. `None` when the data offset is less than the
    /// fixed header or more than there is. The checksum is the caller's to verify.
    pub fn parse(tcp: &'a [u8]) -> Option<Segment<'a>> {
        let header = tcp.first_chunk::<HEADER_LEN>()?;
        let &[_, _, _, _, s0, s1, s2, s3, a0, a1, a2, a3, offset, flags, w0, w1, _, _, u0, u1] = header;
        let offset = usize::from(offset >> 4) * 4;
        let options = tcp.get(HEADER_LEN..offset)?;
        Some(Segment {
            seq: SeqNumber(u32::from_be_bytes([s0, s1, s2, s3])),
            ack: SeqNumber(u32::from_be_bytes([a0, a1, a2, a3])),
            flags: Flags::from_bits_truncate(flags.into()),
            window: u16::from_be_bytes([w0, w1]),
            urgent: u16::from_be_bytes([u0, u1]),
            options: if options.is_empty() { Options::default() } else { Options::parse(options) },
            payload: tcp.get(offset..)?,
        })
    }

    /// The length in sequence numbers: the payload, and one each for SYN and FIN.
    pub fn len(&self) -> u32 {
        let controls = u32::from(self.flags.contains(Flags::SYN)) + u32::from(self.flags.contains(Flags::FIN));
        (self.payload.len() as u32).wrapping_add(controls)
    }

    /// Whether the segment takes no sequence number.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A segment to send. Its payload is the part of the connection's send buffer that `offset` and `len` name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Transmit {
    /// Sequence number of the first byte, or of the SYN.
    pub seq: SeqNumber,
    /// Acknowledgment number; it counts only with [`Flags::ACK`].
    pub ack: SeqNumber,
    /// The control bits.
    pub flags: Flags,
    /// The window field as it goes into the header, already scaled.
    pub window: u16,
    /// The urgent pointer; it counts only with [`Flags::URG`].
    pub urgent: u16,
    /// The options.
    pub options: Options,
    /// Where the payload starts, in bytes from the front of the send buffer.
    pub offset: usize,
    /// The payload's length in bytes.
    pub len: usize,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The options of a Linux SYN: MSS 1460, SACK permitted, timestamps, window scale 7.
    const LINUX: [u8; 20] = [2, 4, 5, 0xb4, 4, 2, 8, 10, 0, 0, 1, 2, 0, 0, 0, 9, 1, 3, 3, 7];

    #[test]
    fn reads_a_syn_of_linux() {
        let mut bytes = vec![0x04, 0xd2, 0, 80, 0x11, 0x22, 0x33, 0x44, 0, 0, 0, 5, 0xa0, 0x02, 0xfa, 0xf0, 0, 0, 0, 3];
        bytes.extend_from_slice(&LINUX);
        bytes.extend_from_slice(b"hi");
        let segment = Segment::parse(&bytes).unwrap();
        assert_eq!((segment.seq, segment.ack, segment.flags), (SeqNumber(0x1122_3344), SeqNumber(5), Flags::SYN));
        assert_eq!((segment.window, segment.urgent, segment.payload), (64240, 3, &b"hi"[..]));
        assert_eq!(segment.len(), 3);
        let expected = Options {
            mss: Some(1460),
            window_scale: Some(7),
            sack_permitted: true,
            timestamps: Some((0x102, 9)),
            ..Options::default()
        };
        assert_eq!(segment.options, expected);
    }

    #[test]
    fn refuses_a_wrong_data_offset() {
        let mut bytes = [0u8; 24];
        for (offset, length, good) in [(0x40, 24, false), (0x50, 24, true), (0x60, 24, true), (0x70, 24, false)] {
            bytes[12] = offset;
            assert_eq!(Segment::parse(&bytes[..length]).is_some(), good, "offset {offset:#x}");
        }
        bytes[12] = 0x50;
        assert!(Segment::parse(&bytes[..19]).is_none());
    }

    #[test]
    fn reading_stops_where_options_end() {
        assert_eq!(Options::parse(&[END, 2, 4, 1, 0]).mss, None);
        assert_eq!(Options::parse(&[99, 0, 2, 4, 1, 0]).mss, None, "zero length");
        assert_eq!(Options::parse(&[2, 4, 1]).mss, None, "cut short");
        assert_eq!(Options::parse(&[99, 3, 0, 2, 4, 1, 0]).mss, Some(256), "unknown ones are skipped");
        assert_eq!(Options::parse(&[2, 3, 1, 2, 4, 1, 0]).mss, Some(256), "wrong lengths are skipped");
        assert_eq!(Options::parse(&[3, 3, 200]).window_scale, Some(14));
        assert_eq!(Options::parse(&[2]), Options::default());
    }

    #[test]
    fn emits_golden_bytes() {
        let mut buffer = [0xee; OPTIONS_MAX];
        let only_mss = Options { mss: Some(1460), ..Options::default() };
        let len = only_mss.emit(&mut buffer);
        assert_eq!(&buffer[..len], [2, 4, 5, 0xb4]);
        let both = Options { window_scale: Some(4), ..only_mss };
        let len = both.emit(&mut buffer);
        assert_eq!(&buffer[..len], [2, 4, 5, 0xb4, 1, 3, 3, 4]);
        assert_eq!(Options::default().emit(&mut buffer), 0);
        assert_eq!(both.emit(&mut buffer[..7]), 4, "what does not fit is left out");
        let sack = Options { sack: [Some((SeqNumber(1), SeqNumber(2))), None, None, None], ..Options::default() };
        let len = sack.emit(&mut buffer);
        assert_eq!(&buffer[..len], [1, 1, 5, 10, 0, 0, 0, 1, 0, 0, 0, 2]);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            if let Some(segment) = Segment::parse(&bytes) {
                prop_assert!(segment.payload.len() + HEADER_LEN <= bytes.len());
            }
            Options::parse(&bytes);
        }

        #[test]
        fn what_is_emitted_is_read_back(
            mss in proptest::option::of(any::<u16>()),
            window_scale in proptest::option::of(0u8..15),
            sack_permitted: bool,
            timestamps in proptest::option::of(any::<(u32, u32)>()),
            blocks in proptest::collection::vec(any::<(u32, u32)>(), 0..3),
        ) {
            let mut options = Options { mss, window_scale, sack_permitted, timestamps, ..Options::default() };
            // With everything else there is room for one block only.
            for (slot, (a, b)) in options.sack.iter_mut().take(1).zip(blocks) {
                *slot = Some((SeqNumber(a), SeqNumber(b)));
            }
            let mut buffer = [0; OPTIONS_MAX];
            let len = options.emit(&mut buffer);
            prop_assert!(len.is_multiple_of(4));
            prop_assert_eq!(Options::parse(&buffer[..len]), options);
        }
    }
}
