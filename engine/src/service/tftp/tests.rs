//! The observable facts of docs/contract/tftp.md, and what happens when packets are lost.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Mutex;

use super::*;

const MTU: usize = 1500;

/// A directory in memory. A file of a given size has content that differs from place to place.
#[derive(Debug, Default)]
struct Memory {
    sizes: HashMap<&'static str, u64>,
    texts: HashMap<&'static str, &'static [u8]>,
    /// Opens, and fails when it is read behind the first 512 bytes.
    broken: Option<&'static str>,
    /// There is no room for another file.
    full: bool,
}

#[derive(Debug)]
enum Content {
    Pattern(u64),
    Text(&'static [u8]),
    Broken,
}

fn byte_at(offset: u64) -> u8 {
    (offset.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8
}

impl TftpSource for Memory {
    fn open(&self, name: &[u8]) -> Result<Box<dyn TftpFile>, TftpOpenError> {
        if self.full {
            return Err(TftpOpenError::Lack(io::ErrorKind::OutOfMemory.into()));
        }
        let name = std::str::from_utf8(name).unwrap();
        if self.broken == Some(name) {
            return Ok(Box::new(Content::Broken));
        }
        let text = self.texts.get(name).map(|text| Content::Text(text));
        let content =
            text.or(self.sizes.get(name).map(|size| Content::Pattern(*size))).ok_or(TftpOpenError::Missing)?;
        Ok(Box::new(content))
    }
}

impl TftpFile for Content {
    fn size(&self) -> u64 {
        match self {
            Content::Pattern(size) => *size,
            Content::Text(text) => text.len() as u64,
            Content::Broken => 1024,
        }
    }

    fn read_at(&mut self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        if matches!(self, Content::Broken) && offset >= 512 {
            return Err(io::ErrorKind::Other.into());
        }
        let left = usize::try_from(self.size().saturating_sub(offset)).unwrap_or(usize::MAX);
        // A file may give less than it was asked for.
        let length = left.min(buffer.len()).min(700);
        for (at, byte) in buffer[..length].iter_mut().enumerate() {
            *byte = match self {
                Content::Text(text) => text[offset as usize + at],
                _ => byte_at(offset + at as u64),
            };
        }
        Ok(length)
    }
}

fn server(mtu: usize) -> Tftp<SocketAddr> {
    let sizes = [("empty", 0), ("short", 511), ("whole", 1024), ("file", 1300), ("sub/x", 5), ("large", 40 << 20)];
    let texts = [("text", &b"one\ntwo\r\n\rthree"[..])].into();
    let files = Memory { sizes: sizes.into(), texts, broken: Some("broken"), full: false };
    Tftp::new(Some(Arc::new(files)), mtu)
}

fn at(ms: i64) -> Instant {
    Instant::from_millis(ms)
}

const NOW: Instant = Instant::from_millis(1000);

fn client(port: u16) -> SocketAddr {
    SocketAddr::from(([10, 0, 2, 15], port))
}

fn say(tftp: &mut Tftp<SocketAddr>, port: u16, packet: &[u8], now: Instant) -> Option<Vec<u8>> {
    let mut sent = Vec::new();
    let taken = tftp.on_datagram(client(port), packet, now, |to, packet| {
        assert_eq!(to, client(port));
        sent.push(packet.to_vec());
    });
    assert!(taken.is_ok());
    assert!(sent.len() <= 1);
    sent.pop()
}

fn expire(tftp: &mut Tftp<SocketAddr>, now: Instant) -> Vec<Vec<u8>> {
    let mut sent = Vec::new();
    tftp.on_deadline(now, |_, packet| sent.push(packet.to_vec()));
    sent
}

fn read(name: &str) -> Vec<u8> {
    read_with(name, "")
}

fn read_with(name: &str, options: &str) -> Vec<u8> {
    [b"\0\x01", name.as_bytes(), b"\0octet\0", options.as_bytes()].concat()
}

fn ack(number: u16) -> Vec<u8> {
    [&[0, 4], &number.to_be_bytes()[..]].concat()
}

/// The number and the bytes of a data packet.
fn data(packet: Option<Vec<u8>>) -> (u16, Vec<u8>) {
    let packet = packet.expect("a packet");
    assert_eq!(packet[..2], [0, 3], "{packet:?}");
    (u16::from_be_bytes([packet[2], packet[3]]), packet[4..].to_vec())
}

fn error(packet: Option<Vec<u8>>) -> u8 {
    let packet = packet.expect("a packet");
    assert_eq!((&packet[..3], packet.last()), (&[0, 5, 0][..], Some(&0)), "{packet:?}");
    packet[3]
}

fn options(packet: Option<Vec<u8>>) -> String {
    let packet = packet.expect("a packet");
    assert_eq!(packet[..2], [0, 6], "{packet:?}");
    String::from_utf8(packet[2..].to_vec()).unwrap().replace('\0', " ")
}

/// Gets a whole file with `first` as the answer to the request; gives the lengths of the blocks and the bytes.
fn get(tftp: &mut Tftp<SocketAddr>, request: &[u8]) -> (Vec<usize>, Vec<u8>) {
    let mut answer = say(tftp, 1, request, NOW);
    let mut expected = 1u16;
    let (mut lengths, mut bytes) = (Vec::new(), Vec::new());
    if answer.as_ref().is_some_and(|packet| packet[1] == 6) {
        answer = say(tftp, 1, &ack(0), NOW);
    }
    while let Some(packet) = answer {
        let (number, block) = data(Some(packet));
        assert_eq!(number, expected);
        lengths.push(block.len());
        bytes.extend(block);
        answer = say(tftp, 1, &ack(number), NOW);
        expected = expected.wrapping_add(1);
    }
    assert!(tftp.sessions.is_empty(), "the last acknowledgment ends the transfer");
    (lengths, bytes)
}

fn content(size: u64) -> Vec<u8> {
    (0..size).map(byte_at).collect()
}

#[test]
fn fact_1_blocks_of_512_and_a_short_one() {
    let tftp = &mut server(MTU);
    assert_eq!(get(tftp, &read("file")), (vec![512, 512, 276], content(1300)));
    assert_eq!(get(tftp, &read("whole")), (vec![512, 512, 0], content(1024)));
    assert_eq!(get(tftp, &read("short")), (vec![511], content(511)));
    assert_eq!(get(tftp, &read("empty")), (vec![0], vec![]));
}

#[test]
fn fact_2_a_block_size_is_acknowledged() {
    let tftp = &mut server(MTU);
    assert_eq!(options(say(tftp, 1, &read_with("file", "blksize\x001024\0"), NOW)), "blksize 1024 ");
    assert_eq!(data(say(tftp, 1, &ack(0), NOW)), (1, content(1024)));
}

#[test]
fn fact_3_4_sizes_are_bounded_and_told() {
    let tftp = &mut server(MTU);
    let request = read_with("file", "blksize\x008192\0tsize\x000\0");
    assert_eq!(options(say(tftp, 1, &request, NOW)), "blksize 1428 tsize 1300 ");
    assert_eq!(options(say(tftp, 1, &read_with("file", "tsize\x0099\0"), NOW)), "tsize 99 ");
    assert_eq!(options(say(tftp, 1, &read_with("large", "TSIZE\x000\0"), NOW)), "tsize 41943040 ");
    // Nothing that is known: no acknowledgment, the first block comes at once.
    assert_eq!(data(say(tftp, 1, &read_with("file", "windowsize\x008\0"), NOW)).0, 1);
}

#[test]
fn fact_5_names() {
    let tftp = &mut server(MTU);
    assert_eq!(data(say(tftp, 1, &read("sub/x"), NOW)).1.len(), 5);
    assert_eq!(data(say(tftp, 1, &read("/file"), NOW)).1.len(), 512);
    for name in ["../file", "sub/../file", "sub/", ""] {
        assert_eq!(error(say(tftp, 1, &read(name), NOW)), 2, "{name}");
    }
    assert_eq!(error(say(tftp, 1, &read("missing"), NOW)), 1);
    assert!(tftp.sessions.is_empty(), "a request of the same client has ended its transfer");
}

#[test]
fn without_a_directory_every_request_is_refused() {
    let mut tftp = Tftp::<SocketAddr>::new(None, MTU);
    assert_eq!(error(say(&mut tftp, 1, &read("file"), NOW)), 2);
    assert_eq!(error(say(&mut tftp, 1, b"\0\x01", NOW)), 2);
}

#[test]
fn options_without_a_value_are_looked_at_after_the_file() {
    let tftp = &mut server(MTU);
    assert_eq!(error(say(tftp, 1, &read_with("missing", "blksize"), NOW)), 1);
    assert_eq!(error(say(tftp, 1, &read_with("file", "blksize"), NOW)), 2);
    assert_eq!(error(say(tftp, 1, &read_with("file", "blksize\0"), NOW)), 2);
}

#[test]
fn fact_8_twenty_transfers_at_a_time() {
    let tftp = &mut server(MTU);
    for port in 1..=20 {
        assert_eq!(data(say(tftp, port, &read("file"), NOW)).0, 1);
    }
    assert_eq!(say(tftp, 21, &read("file"), NOW + Duration::from_millis(5000)), None);
    assert_eq!(data(say(tftp, 3, &ack(1), NOW + Duration::from_millis(5000))).0, 2);
    assert_eq!(data(say(tftp, 21, &read("file"), NOW + Duration::from_millis(5001))).0, 1);
    assert_eq!(tftp.sessions.len(), SESSIONS);
    assert_eq!(data(say(tftp, 3, &ack(2), NOW)).0, 3, "the one that was heard of is still there");
}

#[test]
fn a_transfer_that_waits_for_its_end_gives_way() {
    let tftp = &mut server(MTU);
    for port in 1..=20 {
        say(tftp, port, &read(if port == 7 { "empty" } else { "file" }), NOW);
    }
    assert_eq!(data(say(tftp, 21, &read("file"), NOW)).0, 1);
    assert_eq!(say(tftp, 22, &read("file"), NOW), None);
}

#[test]
fn fact_9_writing_is_ignored() {
    let tftp = &mut server(MTU);
    for packet in [&b"\0\x02file\0octet\0"[..], b"\0\x03\0\x01x", b"\0\x06\0", b"\0\x09", b"\0", b""] {
        assert_eq!(say(tftp, 1, packet, NOW), None);
    }
}

#[test]
fn fact_12_an_error_ends_the_transfer() {
    let tftp = &mut server(MTU);
    say(tftp, 1, &read("file"), NOW);
    assert_eq!(say(tftp, 1, b"\0\x05\0\0\0", NOW), None);
    assert_eq!(say(tftp, 1, &ack(1), NOW), None);
}

#[test]
fn blocks_fit_into_the_mtu() {
    for mtu in [68, 300, 576, 1459, 1500, 65520] {
        let tftp = &mut server(mtu);
        let largest = (mtu - 32).min(1428);
        let request = read_with("file", "blksize\x0065464\0");
        assert_eq!(options(say(tftp, 1, &request, NOW)), format!("blksize {largest} "));
        assert_eq!(get(tftp, &request).1, content(1300), "MTU {mtu}");
    }
}

#[test]
fn netascii_converts_line_ends() {
    let tftp = &mut server(MTU);
    let expected = b"one\r\ntwo\r\0\r\n\r\0three".to_vec();
    let request = b"\0\x01text\0netascii\0tsize\x000\0";
    assert_eq!(get(tftp, request).1, expected, "and there is no size of it");
    for size in 8..24 {
        let request = [&b"\0\x01text\0netascii\0blksize\0"[..], format!("{size}\0").as_bytes()].concat();
        let (lengths, bytes) = get(tftp, &request);
        assert_eq!(bytes, expected, "blocks of {size}");
        assert_eq!(lengths.len(), expected.len() / size + 1);
    }
}

#[test]
fn more_than_65535_blocks_wrap() {
    let tftp = &mut server(MTU);
    let (lengths, bytes) = get(tftp, &read("large"));
    assert_eq!(lengths.len(), (40 << 20) / 512 + 1);
    assert!(bytes == content(40 << 20));
}

#[test]
fn only_the_acknowledgment_of_the_last_block_brings_the_next() {
    let tftp = &mut server(MTU);
    say(tftp, 1, &read("large"), NOW);
    for number in 1..5 {
        assert_eq!(data(say(tftp, 1, &ack(number), NOW)).0, number + 1);
    }
    for stray in [0, 3, 6, 7, 65535] {
        assert_eq!(say(tftp, 1, &ack(stray), NOW), None, "{stray}");
    }
    assert_eq!(say(tftp, 2, &ack(5), NOW), None, "another client's");
    assert_eq!(data(say(tftp, 1, &ack(5), NOW)).0, 6);
}

#[test]
fn a_client_that_repeats_itself_gets_the_block_again() {
    let tftp = &mut server(MTU);
    let first = say(tftp, 1, &read("file"), NOW);
    assert!(first.is_some());
    let second = say(tftp, 1, &ack(1), NOW);
    assert_eq!(say(tftp, 1, &ack(1), NOW), second);
    assert_eq!(say(tftp, 1, &ack(1), NOW), second);
}

#[test]
fn doubled_acknowledgments_do_not_double_the_transfer() {
    let tftp = &mut server(MTU);
    say(tftp, 1, &read("large"), NOW);
    // Block 2 is late; the client says 1 again and then acknowledges both copies of 2.
    assert_eq!(data(say(tftp, 1, &ack(1), NOW)).0, 2);
    assert_eq!(data(say(tftp, 1, &ack(1), NOW)).0, 2);
    assert_eq!(data(say(tftp, 1, &ack(2), NOW)).0, 3);
    assert_eq!(say(tftp, 1, &ack(2), NOW), None, "an echo of the second copy");
    assert_eq!(data(say(tftp, 1, &ack(2), NOW)).0, 3, "this one means something");
}

#[test]
fn an_unanswered_packet_is_sent_again_and_given_up() {
    let tftp = &mut server(MTU);
    assert_eq!(tftp.deadline(), None);
    let first = say(tftp, 1, &read("file"), at(0)).unwrap();
    let mut now = 0;
    for wait in [1000, 2000, 4000, 8000] {
        now += wait;
        assert_eq!(tftp.deadline(), Some(at(now)));
        assert!(expire(tftp, at(now - 1)).is_empty());
        assert_eq!(expire(tftp, at(now)), [&first[..]]);
    }
    assert_eq!(tftp.deadline(), Some(at(now + 16_000)));
    assert!(expire(tftp, at(now + 16_000)).is_empty());
    assert_eq!((tftp.deadline(), tftp.sessions.len()), (None, 0));
}

#[test]
fn a_lost_option_acknowledgment_and_a_lost_last_block_are_repeated() {
    let tftp = &mut server(MTU);
    let request = read_with("short", "blksize\x001024\0");
    let told = say(tftp, 1, &request, at(0)).unwrap();
    assert_eq!(expire(tftp, at(1000)), [&told[..]]);
    let last = say(tftp, 1, &ack(0), at(1500)).unwrap();
    assert_eq!(tftp.deadline(), Some(at(2500)), "patience begins anew");
    assert_eq!(expire(tftp, at(2500)), [&last[..]]);
    assert_eq!(say(tftp, 1, &ack(0), at(2600)), None, "the option acknowledgment was sent twice");
    assert_eq!(say(tftp, 1, &ack(0), at(2600)), Some(last));
    assert_eq!(say(tftp, 1, &ack(1), at(2700)), None);
    assert_eq!(tftp.deadline(), None);
}

#[test]
fn the_client_may_choose_the_timeout() {
    let tftp = &mut server(MTU);
    assert_eq!(options(say(tftp, 1, &read_with("file", "timeout\x003\0"), at(0))), "timeout 3 ");
    for times in 1..=4 {
        assert_eq!(expire(tftp, at(times * 3000)).len(), 1);
    }
    assert!(expire(tftp, at(15_000)).is_empty());
    assert!(tftp.sessions.is_empty());
}

#[test]
fn several_deadlines_at_once() {
    let tftp = &mut server(MTU);
    for port in 1..=3 {
        say(tftp, port, &read("file"), at(i64::from(port)));
    }
    assert_eq!(tftp.deadline(), Some(at(1001)));
    assert_eq!(expire(tftp, at(1002)).len(), 2);
    assert_eq!(expire(tftp, at(100_000)).len(), 3);
}

#[test]
fn a_file_that_fails_is_an_error() {
    let tftp = &mut server(MTU);
    assert_eq!(data(say(tftp, 1, &read("broken"), NOW)).1.len(), 512);
    assert_eq!(error(say(tftp, 1, &ack(1), NOW)), 1);
    assert_eq!(say(tftp, 1, &ack(1), NOW), None);
    assert_eq!(tftp.deadline(), None);
}

#[test]
fn what_the_host_has_no_room_for_is_told_and_may_be_asked_for_again() {
    let tftp = &mut server(MTU);
    let full = Arc::new(Memory { full: true, ..Memory::default() });
    let files = tftp.files.replace(full);
    let taken = tftp.on_datagram(client(1), &read("file"), NOW, |_, _| panic!("whoever drives the server says so"));
    assert_eq!(taken.unwrap_err().kind(), io::ErrorKind::OutOfMemory);
    assert_eq!(try_later(), b"\x00\x05\x00\x00Out of resources, try again later\0");
    tftp.files = files;
    assert_eq!(data(say(tftp, 1, &read("file"), NOW)).0, 1);
}

/// A file that does not keep to what is asked of it.
#[derive(Debug)]
enum Odd {
    /// Says that it has read more than there was room for.
    Boastful,
    /// Is interrupted so many times before each block.
    Interrupted { times: u32, left: u32 },
}

impl TftpSource for Mutex<Option<Odd>> {
    fn open(&self, _: &[u8]) -> Result<Box<dyn TftpFile>, TftpOpenError> {
        self.lock().unwrap().take().map(|file| Box::new(file) as _).ok_or(TftpOpenError::Missing)
    }
}

impl TftpFile for Odd {
    fn size(&self) -> u64 {
        u64::MAX
    }

    fn read_at(&mut self, buffer: &mut [u8], _: u64) -> io::Result<usize> {
        match self {
            Odd::Boastful => Ok(buffer.len() + 1),
            Odd::Interrupted { left: left @ 1.., .. } => {
                *left -= 1;
                Err(io::ErrorKind::Interrupted.into())
            }
            Odd::Interrupted { times, left } => {
                *left = *times;
                buffer.fill(b'x');
                Ok(buffer.len())
            }
        }
    }
}

#[test]
fn a_file_that_says_nonsense_fails_and_one_that_is_interrupted_is_asked_again() {
    let answer = |odd| say(&mut Tftp::new(Some(Arc::new(Mutex::new(Some(odd)))), MTU), 1, &read("file"), NOW);
    assert_eq!(error(answer(Odd::Boastful)), 1);
    assert_eq!(data(answer(Odd::Interrupted { times: 3, left: 3 })), (1, vec![b'x'; 512]));
    assert_eq!(error(answer(Odd::Interrupted { times: u32::MAX, left: u32::MAX })), 1);
}
