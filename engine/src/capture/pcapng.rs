//! The blocks of a capture file, as draft-ietf-opsawg-pcapng has them: a section header and an interface description at the
//! beginning of each file, an enhanced packet for each frame, name resolution blocks, and interface statistics. All numbers are
//! little-endian.
//!
//! They are made by hand: there are five of them, each frame's is written straight into the buffer it waits in, and the crate
//! that there is (`pcap-file`) makes an intermediate value and measures each block by writing it twice.

use std::net::IpAddr;

use super::torn::Blocks;
use super::wall_clock::WallTime;

const SECTION_HEADER: u32 = 0x0a0d_0d0a;
const INTERFACE_DESCRIPTION: u32 = 1;
const NAME_RESOLUTION: u32 = 4;
const INTERFACE_STATISTICS: u32 = 5;
const ENHANCED_PACKET: u32 = 6;

const BYTE_ORDER_MAGIC: u32 = 0x1a2b_3c4d;
const LINKTYPE_ETHERNET: u16 = 1;

const OPT_ENDOFOPT: u16 = 0;
const OPT_COMMENT: u16 = 1;
const SHB_USERAPPL: u16 = 4;
const IF_NAME: u16 = 2;
const IF_DESCRIPTION: u16 = 3;
const IF_TSRESOL: u16 = 9;
const EPB_FLAGS: u16 = 2;
const NRB_RECORD_END: u16 = 0;
const NRB_RECORD_IPV4: u16 = 1;
const NRB_RECORD_IPV6: u16 = 2;
const ISB_STARTTIME: u16 = 2;
const ISB_ENDTIME: u16 = 3;
const ISB_IFRECV: u16 = 4;
const ISB_IFDROP: u16 = 5;

/// Timestamps count nanoseconds: ten to the power of minus this.
const NANOSECONDS: u8 = 9;

/// What a block with a frame has before its bytes, and behind them and what they are padded by.
const PACKET_HEAD: usize = 28;
const PACKET_TAIL: usize = 16;

/// Which way a frame goes, as the library's end of the link has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    /// From the guest.
    Inbound,
    /// To the guest.
    Outbound,
}

/// What an interface has seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Statistics {
    pub since: WallTime,
    pub received: u64,
    pub dropped: u64,
}

/// The blocks of a file, of which those of frames count.
pub(super) const BLOCKS: Blocks =
    Blocks { length: block_length, counts: |block| block.starts_with(&ENHANCED_PACKET.to_le_bytes()) };

/// How long the first block of these bytes is; nothing where they are none.
fn block_length(bytes: &[u8]) -> usize {
    let length = bytes.get(4..8).and_then(|length| length.first_chunk());
    length.map_or(0, |length| u32::from_le_bytes(*length) as usize)
}

/// How long the block of a frame is at most, of which so many bytes are captured.
pub(super) fn packet_len(captured: usize) -> usize {
    PACKET_HEAD + captured.next_multiple_of(4) + PACKET_TAIL
}

/// A block that is being written at the end of a buffer.
struct Block<'a> {
    to: &'a mut Vec<u8>,
    start: usize,
}

impl Block<'_> {
    fn begin(to: &mut Vec<u8>, kind: u32) -> Block<'_> {
        let start = to.len();
        let mut block = Block { to, start };
        block.u32(kind);
        // The length is known at the end.
        block.u32(0);
        block
    }

    fn u16(&mut self, number: u16) {
        self.to.extend_from_slice(&number.to_le_bytes());
    }

    fn u32(&mut self, number: u32) {
        self.to.extend_from_slice(&number.to_le_bytes());
    }

    /// A time: its upper half comes first, whatever the byte order.
    fn time(&mut self, at: WallTime) {
        self.u32((at.0 >> 32) as u32);
        self.u32(at.0 as u32);
    }

    fn padded(&mut self, bytes: &[u8]) {
        self.to.extend_from_slice(bytes);
        let padding = bytes.len().next_multiple_of(4) - bytes.len();
        self.to.extend_from_slice([0; 3].get(..padding).unwrap_or_default());
    }

    /// An option; what is longer than one can be is cut.
    fn option(&mut self, code: u16, value: &[u8]) {
        let length = u16::try_from(value.len()).unwrap_or(u16::MAX - 3);
        self.u16(code);
        self.u16(length);
        self.padded(value.get(..length.into()).unwrap_or_default());
    }

    fn time_option(&mut self, code: u16, at: WallTime) {
        self.u16(code);
        self.u16(8);
        self.time(at);
    }

    fn end(mut self) {
        self.u16(OPT_ENDOFOPT);
        self.u16(0);
        let length = (self.to.len() - self.start + 4) as u32;
        self.u32(length);
        if let Some(place) = self.to.get_mut(self.start + 4..self.start + 8) {
            place.copy_from_slice(&length.to_le_bytes());
        }
    }
}

/// The beginning of a file: the section, and the one interface in it.
pub(super) fn begin(to: &mut Vec<u8>, comment: &str, snap_length: usize) {
    let mut section = Block::begin(to, SECTION_HEADER);
    section.u32(BYTE_ORDER_MAGIC);
    section.u16(1);
    section.u16(0);
    // How long the section is was not known yet.
    section.u32(u32::MAX);
    section.u32(u32::MAX);
    section.option(SHB_USERAPPL, concat!("oxislirp ", env!("CARGO_PKG_VERSION")).as_bytes());
    section.option(OPT_COMMENT, comment.as_bytes());
    section.end();

    let mut interface = Block::begin(to, INTERFACE_DESCRIPTION);
    interface.u16(LINKTYPE_ETHERNET);
    interface.u16(0);
    interface.u32(u32::try_from(snap_length).unwrap_or(0));
    interface.option(IF_NAME, b"slirp");
    interface.option(IF_DESCRIPTION, b"the virtual link; inbound frames come from the guest");
    interface.option(IF_TSRESOL, &[NANOSECONDS]);
    interface.end();
}

/// The bytes of a frame, in two pieces, one behind the other: of what went to its place without a copy of the whole, the headers are
/// elsewhere than the rest.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Frame<'a> {
    pub head: &'a [u8],
    pub rest: &'a [u8],
}

impl<'a> From<&'a [u8]> for Frame<'a> {
    fn from(bytes: &'a [u8]) -> Frame<'a> {
        Frame { head: bytes, rest: &[] }
    }
}

impl Frame<'_> {
    /// How many bytes it has.
    pub(super) fn len(&self) -> usize {
        self.head.len() + self.rest.len()
    }
}

/// What is before the bytes of a frame in its block, which has this length.
#[inline]
fn packet_head(length: u32, frame: Frame<'_>, captured: usize, at: WallTime) -> [u8; PACKET_HEAD] {
    let numbers = [
        ENHANCED_PACKET,
        length,
        // The interface: there is one.
        0,
        (at.0 >> 32) as u32,
        at.0 as u32,
        captured as u32,
        frame.len() as u32,
    ];
    let mut head = [0; PACKET_HEAD];
    head.copy_from_slice(numbers.map(u32::to_le_bytes).as_flattened());
    head
}

/// What is behind them and what they are padded by.
#[inline]
fn packet_tail(length: u32, direction: Direction) -> [u8; PACKET_TAIL] {
    let flags: u32 = match direction {
        Direction::Inbound => 1,
        Direction::Outbound => 2,
    };
    let numbers = [u32::from(EPB_FLAGS) | 4 << 16, flags, u32::from(OPT_ENDOFOPT), length];
    let mut tail = [0; PACKET_TAIL];
    tail.copy_from_slice(numbers.map(u32::to_le_bytes).as_flattened());
    tail
}

/// The same block in pieces, of which the second and the third are the frame's own bytes, for `with`.
pub(super) fn packet_in_pieces<T>(
    direction: Direction,
    frame: Frame<'_>,
    captured: usize,
    at: WallTime,
    with: impl FnOnce([&[u8]; 4]) -> T,
) -> T {
    let length = packet_len(captured) as u32;
    let head = packet_head(length, frame, captured, at);
    let mut end = [0; 3 + PACKET_TAIL];
    let padding = captured.next_multiple_of(4) - captured;
    let tail = packet_tail(length, direction);
    let end = end.get_mut(..padding + PACKET_TAIL).unwrap_or_default();
    if let Some(place) = end.last_chunk_mut() {
        *place = tail;
    }
    let first = frame.head.get(..captured).unwrap_or(frame.head);
    let rest = frame.rest.get(..captured - first.len()).unwrap_or(frame.rest);
    with([&head, first, rest, end])
}

/// A frame, of which `captured` bytes are captured, no more than it has. The block is put together in its place, which has to have its
/// length ([`packet_len`]): this is done for each frame.
#[inline]
pub(super) fn packet(place: &mut [u8], direction: Direction, frame: Frame<'_>, captured: usize, at: WallTime) {
    let length = place.len() as u32;
    let Some((head, rest)) = place.split_first_chunk_mut::<PACKET_HEAD>() else { return };
    let Some((body, tail)) = rest.split_last_chunk_mut::<PACKET_TAIL>() else { return };
    *head = packet_head(length, frame, captured, at);
    *tail = packet_tail(length, direction);
    // What it is padded by; the frame comes over the rest of it.
    if let Some(last) = body.last_chunk_mut::<4>() {
        *last = [0; 4];
    }
    let first = frame.head.get(..captured).unwrap_or(frame.head);
    if let Some(place) = body.get_mut(..first.len()) {
        place.copy_from_slice(first);
    }
    if captured > first.len()
        && let Some(place) = body.get_mut(first.len()..captured)
        && let Some(rest) = frame.rest.get(..captured - first.len())
    {
        place.copy_from_slice(rest);
    }
}

/// Puts a comment into the last block, which is that of a frame and begins at `start`.
pub(super) fn remark(to: &mut Vec<u8>, start: usize, text: &str) {
    // The end of the options, and the length.
    to.truncate(to.len().saturating_sub(8));
    let mut block = Block { to, start };
    block.option(OPT_COMMENT, text.as_bytes());
    block.end();
}

/// A block that says the name of an address.
pub(super) fn name_of(ip: IpAddr, name: &str) -> Vec<u8> {
    let mut to = Vec::with_capacity(48 + name.len());
    let mut block = Block::begin(&mut to, NAME_RESOLUTION);
    let (kind, octets) = match ip {
        IpAddr::V4(ip) => (NRB_RECORD_IPV4, ip.octets().to_vec()),
        IpAddr::V6(ip) => (NRB_RECORD_IPV6, ip.octets().to_vec()),
    };
    block.option(kind, &[&octets, name.as_bytes(), &[0]].concat());
    block.u16(NRB_RECORD_END);
    block.u16(0);
    block.end();
    to
}

/// What the interface has seen up to now.
pub(super) fn statistics(to: &mut Vec<u8>, seen: &Statistics, at: WallTime) {
    let mut block = Block::begin(to, INTERFACE_STATISTICS);
    block.u32(0);
    block.time(at);
    block.time_option(ISB_STARTTIME, seen.since);
    block.time_option(ISB_ENDTIME, at);
    block.option(ISB_IFRECV, &seen.received.to_le_bytes());
    block.option(ISB_IFDROP, &seen.dropped.to_le_bytes());
    block.end();
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// The block of a frame, behind what there is.
    fn packet(to: &mut Vec<u8>, direction: Direction, frame: Frame<'_>, snap_length: usize, at: WallTime) {
        let captured = frame.len().min(snap_length);
        let mut block = vec![0xee; packet_len(captured)];
        super::packet(&mut block, direction, frame, captured, at);
        to.extend(block);
    }

    /// Each block of bytes that are nothing but blocks: its kind and what is between its lengths.
    pub(in crate::capture) fn blocks(mut bytes: &[u8]) -> Vec<(u32, Vec<u8>)> {
        let number = |bytes: &[u8]| u32::from_le_bytes(bytes[..4].try_into().unwrap());
        let mut found = Vec::new();
        while !bytes.is_empty() {
            let length = number(&bytes[4..]) as usize;
            assert_eq!(length % 4, 0);
            assert_eq!(number(&bytes[length - 4..]) as usize, length);
            found.push((number(bytes), bytes[8..length - 4].to_vec()));
            bytes = &bytes[length..];
        }
        found
    }

    #[test]
    fn a_file_begins_with_its_section_and_interface() {
        let mut file = Vec::new();
        begin(&mut file, "odd", 96);
        let blocks = blocks(&file);
        assert_eq!(blocks.iter().map(|block| block.0).collect::<Vec<_>>(), [SECTION_HEADER, INTERFACE_DESCRIPTION]);
        assert_eq!(blocks[0].1[..16], [0x4d, 0x3c, 0x2b, 0x1a, 1, 0, 0, 0, 255, 255, 255, 255, 255, 255, 255, 255]);
        assert!(blocks[0].1.ends_with(&[1, 0, 3, 0, b'o', b'd', b'd', 0, 0, 0, 0, 0]));
        assert_eq!(blocks[1].1[..8], [1, 0, 0, 0, 96, 0, 0, 0]);
        assert!(blocks[1].1.ends_with(&[9, 0, 1, 0, 9, 0, 0, 0, 0, 0, 0, 0]));
    }

    #[test]
    fn a_frame_is_there_with_its_time_and_its_way_to_the_byte() {
        let mut file = Vec::new();
        packet(&mut file, Direction::Outbound, Frame::from(&[7; 5][..]), 100, WallTime(0x0102_0304_0506_0708));
        #[rustfmt::skip]
        let golden = [
            6, 0, 0, 0, 52, 0, 0, 0, 0, 0, 0, 0, 4, 3, 2, 1, 8, 7, 6, 5, 5, 0, 0, 0, 5, 0, 0, 0,
            7, 7, 7, 7, 7, 0, 0, 0, 2, 0, 4, 0, 2, 0, 0, 0, 0, 0, 0, 0, 52, 0, 0, 0,
        ];
        assert_eq!(file, golden);
        for length in 0..100 {
            file.clear();
            let bytes = vec![1; length];
            packet(&mut file, Direction::Inbound, Frame::from(&bytes[..]), 60, WallTime(0));
            assert_eq!(file.len(), packet_len(length.min(60)));
            // In two pieces it is the same, wherever it is cut.
            for (head, rest) in (0..=length).map(|at| bytes.split_at(at)) {
                let mut other = Vec::new();
                let frame = Frame { head, rest };
                packet(&mut other, Direction::Inbound, frame, 60, WallTime(0));
                assert_eq!(other, file);
                let captured = length.min(60);
                let pieces =
                    packet_in_pieces(Direction::Inbound, frame, captured, WallTime(0), |pieces| pieces.concat());
                assert_eq!(pieces, file);
            }
            let block = &blocks(&file)[0].1;
            assert_eq!(block[12..20], [length.min(60) as u8, 0, 0, 0, length as u8, 0, 0, 0]);
        }
    }

    #[test]
    fn a_remark_and_a_name_are_there_to_the_byte() {
        let mut file = vec![9; 4];
        packet(&mut file, Direction::Inbound, Frame::from(&[7; 5][..]), 100, WallTime(0));
        remark(&mut file, 4, "flow 12");
        let block = &blocks(&file[4..])[0];
        assert_eq!(block.0, ENHANCED_PACKET);
        #[rustfmt::skip]
        let end = [2, 0, 4, 0, 1, 0, 0, 0, 1, 0, 7, 0, b'f', b'l', b'o', b'w', b' ', b'1', b'2', 0, 0, 0, 0, 0];
        assert!(block.1.ends_with(&end));
        #[rustfmt::skip]
        let golden = [
            4, 0, 0, 0, 32, 0, 0, 0, 1, 0, 8, 0, 192, 0, 2, 1, b'a', b'.', b'b', 0, 0, 0, 0, 0, 0, 0, 0, 0, 32, 0, 0, 0,
        ];
        assert_eq!(name_of([192, 0, 2, 1].into(), "a.b"), golden);
        let six = name_of("2001:db8::1".parse().unwrap(), "a.test");
        assert_eq!((&six[8..12], &blocks(&six)[0].1[20..27]), (&[2, 0, 23, 0][..], &b"a.test\0"[..]));
    }

    #[test]
    fn what_was_dropped_is_in_the_statistics() {
        let mut file = Vec::new();
        statistics(&mut file, &Statistics { since: WallTime(1), received: 258, dropped: 3 }, WallTime(2 << 32));
        let block = &blocks(&file)[0];
        assert_eq!((block.0, &block.1[..12]), (INTERFACE_STATISTICS, &[0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0][..]));
        assert!(block.1.windows(12).any(|option| option == [4, 0, 8, 0, 2, 1, 0, 0, 0, 0, 0, 0]));
        assert!(block.1.ends_with(&[5, 0, 8, 0, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]));
    }
}
