//! TFTP over IPv4: docs/contract/tftp.md.

mod common;
use common::*;
use std::fs::{self, File};
use std::os::unix::fs::{FileExt, symlink};
use std::path::PathBuf;

/// A directory that goes away with this value: `root` is served, `outside` is beside it.
struct Tree(PathBuf);

impl Tree {
    fn new(name: &str) -> Tree {
        let at = std::env::temp_dir().join(format!("slirp-tftp-{}-{name}", std::process::id()));
        fs::create_dir_all(at.join("root/sub")).expect("a temporary directory");
        let tree = Tree(at);
        for size in [0, 511, 512, 1024, 1300] {
            tree.write(&size.to_string(), &pattern(size));
        }
        tree.write("sub/x", b"deeper");
        fs::write(tree.0.join("outside"), b"secret").expect("a temporary file");
        tree
    }

    fn root(&self) -> PathBuf {
        self.0.join("root")
    }

    fn write(&self, name: &str, content: &[u8]) {
        fs::write(self.root().join(name), content).expect("a temporary file");
    }

    fn setup(&self) -> Setup {
        Setup { tftp_path: Some(self.root().to_str().expect("a text").into()), ..Setup::default() }
    }

    fn start(&self) -> Box<Instance> {
        self.setup().start()
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// What the server says.
#[derive(Debug, PartialEq, Eq)]
enum Answer {
    Data(u16, Vec<u8>),
    Error(u16, String),
    /// The options with a space for every NUL.
    Options(String),
}
use Answer::{Data, Error, Options};

impl Answer {
    fn parse(packet: &Packet, datagram: &Datagram, port: u16) -> Answer {
        assert_eq!((datagram.src, datagram.dst), (at_vhost(69), at(GUEST, port)));
        assert_eq!((packet.tos, packet.ttl), (0x10, 64));
        let (number, rest) = (u16::from_be_bytes([datagram.data[2], datagram.data[3]]), &datagram.data[4..]);
        match datagram.data[..2] {
            [0, 3] => Data(number, rest.to_vec()),
            [0, 5] => {
                assert_eq!(rest.last(), Some(&0));
                Error(number, String::from_utf8(rest[..rest.len() - 1].to_vec()).expect("a text"))
            }
            [0, 6] => Options(String::from_utf8(datagram.data[2..].to_vec()).expect("a text").replace('\0', " ")),
            ref other => panic!("a packet of type {other:?}"),
        }
    }

    fn is_error(&self, expected: u16) -> bool {
        matches!(self, Error(code, _) if *code == expected)
    }
}

/// What came out for the guest's `port`: nothing or one packet, whole or in fragments.
fn answers(frames: &[Frame], port: u16) -> Option<Answer> {
    let packets: Vec<Packet> = frames.iter().map(|f| f.ip().expect("only IPv4").clone()).collect();
    if packets.is_empty() {
        return None;
    }
    let whole = reassemble(&packets);
    let datagram = whole.udp().expect("a UDP datagram");
    Some(Answer::parse(&whole, &datagram, port))
}

fn say(i: &Instance, port: u16, packet: &[u8]) -> Option<Answer> {
    i.input(&udp_frame(port, at_vhost(69), packet));
    answers(&i.drain(), port)
}

/// A read request; `rest` is the mode and the options, with a space for every NUL.
fn request(name: &str, rest: &str) -> Vec<u8> {
    [b"\0\x01", name.as_bytes(), b"\0", rest.replace(' ', "\0").as_bytes()].concat()
}

fn read(name: &str) -> Vec<u8> {
    request(name, "octet ")
}

fn ack(number: u16) -> Vec<u8> {
    [&[0, 4], &number.to_be_bytes()[..]].concat()
}

/// Gets a whole file and gives the lengths of its blocks and the bytes.
fn get(i: &Instance, port: u16, first: &[u8]) -> (Vec<usize>, Vec<u8>) {
    let mut answer = say(i, port, first);
    if let Some(Options(_)) = answer {
        answer = say(i, port, &ack(0));
    }
    let (mut lengths, mut bytes) = (Vec::new(), Vec::new());
    while let Some(Data(number, block)) = answer {
        lengths.push(block.len());
        assert_eq!(usize::from(number), lengths.len());
        bytes.extend(block);
        answer = say(i, port, &ack(number));
    }
    assert_eq!(answer, None);
    (lengths, bytes)
}

#[test]
fn tftp_fact_01_blocks_of_512_bytes_and_a_short_one() {
    let tree = Tree::new("fact01");
    let i = tree.start();
    for (size, blocks) in
        [(0, &[0][..]), (511, &[511]), (512, &[512, 0]), (1024, &[512, 512, 0]), (1300, &[512, 512, 276])]
    {
        assert_eq!(get(&i, 4000 + size, &read(&size.to_string())), (blocks.to_vec(), pattern(size.into())));
    }
    assert!(i.registrations().0.is_empty(), "no socket of the host has to do with it");
}

#[test]
fn tftp_fact_02_block_size() {
    let tree = Tree::new("fact02");
    let i = tree.start();
    assert_eq!(say(&i, 4000, &request("1300", "octet blksize 1024 ")), Some(Options("blksize 1024 ".into())));
    assert_eq!(say(&i, 4000, &ack(0)), Some(Data(1, pattern(1300)[..1024].to_vec())));
    assert_eq!(say(&i, 4000, &ack(1)), Some(Data(2, pattern(1300)[1024..].to_vec())));
}

#[test]
fn tftp_fact_03_block_size_and_transfer_size_together() {
    let tree = Tree::new("fact03");
    let i = tree.start();
    let both = request("1300", "octet blksize 8192 tsize 0 ");
    assert_eq!(say(&i, 4000, &both), Some(Options("blksize 1428 tsize 1300 ".into())));
    assert_eq!(say(&i, 4000, &ack(0)), Some(Data(1, pattern(1300))));
    let other_order = request("1300", "OCTET TSIZE 0 BlkSize 600 ");
    assert_eq!(say(&i, 4001, &other_order), Some(Options("tsize 1300 blksize 600 ".into())));
}

#[test]
fn tftp_fact_04_a_given_transfer_size_is_repeated() {
    let tree = Tree::new("fact04");
    assert_eq!(say(&tree.start(), 4000, &request("1300", "octet tsize 99 ")), Some(Options("tsize 99 ".into())));
}

#[test]
fn tftp_fact_05_names() {
    let tree = Tree::new("fact05");
    let i = tree.start();
    assert_eq!(say(&i, 4000, &read("sub/x")), Some(Data(1, b"deeper".to_vec())));
    assert_eq!(say(&i, 4001, &read("/sub/x")), Some(Data(1, b"deeper".to_vec())));
    for name in ["../outside", "sub/../1300", "sub/", ""] {
        assert_eq!(say(&i, 4002, &read(name)), Some(Error(2, "Access violation".into())), "{name}");
    }
    assert_eq!(say(&i, 4002, &read("missing")), Some(Error(1, "File not found".into())));
}

#[test]
fn tftp_fact_06_modes() {
    let tree = Tree::new("fact06");
    let i = tree.start();
    assert!(say(&i, 4000, &request("1300", "mail ")).is_some_and(|a| a.is_error(2)));
    assert!(say(&i, 4000, &request("1300", "binary ")).is_some_and(|a| a.is_error(4)));
    tree.write("text", b"a\nb\r");
    let netascii = say(&i, 4000, &request("text", "netascii "));
    if ours("tftp-netascii") {
        assert_eq!(netascii, Some(Data(1, b"a\r\nb\r\0".to_vec())));
    } else {
        assert!(netascii.is_some_and(|a| a.is_error(4)));
    }
}

#[test]
fn tftp_fact_07_the_longest_name() {
    let tree = Tree::new("fact07");
    let i = tree.start();
    assert!(say(&i, 4000, &read(&"n".repeat(511))).is_some_and(|a| a.is_error(1)));
    assert!(say(&i, 4000, &read(&"n".repeat(512))).is_some_and(|a| a.is_error(2)));
}

#[test]
fn tftp_fact_08_twenty_transfers_at_a_time() {
    let tree = Tree::new("fact08");
    let i = tree.start();
    for port in 1..=20 {
        assert!(matches!(say(&i, port, &read("1300")), Some(Data(1, _))));
    }
    assert_eq!(say(&i, 21, &read("1300")), None);
    i.advance(Duration::from_millis(5001));
    i.settle();
    i.drain();
    assert!(matches!(say(&i, 21, &read("1300")), Some(Data(1, _))));
}

#[test]
fn tftp_fact_09_writing_is_ignored() {
    let tree = Tree::new("fact09");
    let i = tree.start();
    assert_eq!(say(&i, 4000, b"\0\x02new\0octet\0"), None);
    assert!(!tree.root().join("new").exists());
    for packet in [&b"\0\x03\0\x01x"[..], b"\0\x06\0", b"\0\x07", b"\0", b""] {
        assert_eq!(say(&i, 4000, packet), None, "{packet:?}");
    }
}

#[test]
fn tftp_fact_12_an_error_of_the_client_ends_the_transfer() {
    let tree = Tree::new("fact12");
    let i = tree.start();
    assert!(matches!(say(&i, 4000, &read("1300")), Some(Data(1, _))));
    assert_eq!(say(&i, 4000, b"\0\x05\0\0bye\0"), None);
    assert_eq!(say(&i, 4000, &ack(1)), None);
}

#[test]
fn tftp_without_a_directory_is_refused() {
    let i = Setup::default().start();
    assert!(say(&i, 4000, &read("etc/passwd")).is_some_and(|a| a.is_error(2)));
}

#[test]
fn tftp_works_in_a_restricted_network() {
    let tree = Tree::new("restricted");
    let mut setup = tree.setup();
    setup.config.restricted = 1;
    assert_eq!(get(&setup.start(), 4000, &read("1300")).1, pattern(1300));
}

#[test]
fn tftp_only_the_acknowledgment_of_the_last_block_brings_the_next() {
    if !ours("tftp-acknowledgments") {
        return;
    }
    let tree = Tree::new("acks");
    let i = tree.start();
    assert!(matches!(say(&i, 4000, &read("1300")), Some(Data(1, _))));
    for stray in [2, 3, 65535] {
        assert_eq!(say(&i, 4000, &ack(stray)), None, "{stray}");
    }
    assert!(matches!(say(&i, 4000, &ack(1)), Some(Data(2, _))));
    assert!(matches!(say(&i, 4000, &ack(1)), Some(Data(2, _))), "the client has lost it");
    assert!(matches!(say(&i, 4000, &ack(2)), Some(Data(3, _))));
    assert_eq!(say(&i, 4000, &ack(2)), None, "an echo of the second copy of block 2");
    assert_eq!(say(&i, 4000, &ack(3)), None);
}

#[test]
fn tftp_lost_packets_are_sent_again() {
    if !ours("tftp-acknowledgments") {
        return;
    }
    let tree = Tree::new("lost");
    let i = tree.start();
    let expect = |number: u16, after_ms: u64| {
        i.advance(Duration::from_millis(after_ms - 1));
        assert!(i.settled().is_empty());
        i.advance(Duration::from_millis(1));
        let got = answers(&i.settled(), 4000);
        assert!(matches!(got, Some(Data(n, _)) if n == number), "{got:?}");
    };
    assert!(matches!(say(&i, 4000, &read("1300")), Some(Data(1, _))));
    // The first block is lost, then its acknowledgment: the client says it again when the block comes again.
    expect(1, 1000);
    assert!(matches!(say(&i, 4000, &ack(1)), Some(Data(2, _))));
    assert_eq!(i.fill(u32::MAX).timeout, 1000, "the loop is told when to come back");
    i.poll_with(false, &[0]);
    expect(2, 1000);
    expect(2, 2000);
    assert!(matches!(say(&i, 4000, &ack(2)), Some(Data(3, _))));
    // The last block too, until the client counts as gone.
    for wait in [1000, 2000, 4000, 8000] {
        expect(3, wait);
    }
    i.advance(Duration::from_secs(60));
    assert!(i.settled().is_empty());
    assert_eq!(say(&i, 4000, &ack(2)), None);
}

#[test]
fn tftp_the_client_may_choose_the_timeout() {
    let tree = Tree::new("timeout");
    let i = tree.start();
    let wish = request("1300", "octet timeout 3 ");
    if !ours("tftp-timeout-option") {
        assert!(matches!(say(&i, 4000, &wish), Some(Data(1, _))));
        return;
    }
    assert_eq!(say(&i, 4000, &wish), Some(Options("timeout 3 ".into())));
    i.advance(Duration::from_millis(2999));
    assert!(i.settled().is_empty());
    i.advance(Duration::from_millis(1));
    assert_eq!(answers(&i.settled(), 4000), Some(Options("timeout 3 ".into())));
    let all = request("1300", "octet tsize 0 timeout 2 blksize 64 ");
    assert_eq!(say(&i, 4001, &all), Some(Options("tsize 1300 timeout 2 blksize 64 ".into())));
}

#[test]
fn tftp_files_of_more_than_65535_blocks() {
    const SIZE: usize = (40 << 20) + 5;
    let tree = Tree::new("wrap");
    let file = File::create(tree.root().join("sparse")).expect("a temporary file");
    file.set_len(SIZE as u64).expect("a sparse file");
    // Marks beyond 32 MiB, where block numbers wrap, and at the end.
    let marks = [(33_554_300, "around the wrap of block numbers"), (SIZE - 3, "end")];
    for (offset, text) in marks {
        file.write_all_at(text.as_bytes(), offset as u64).expect("a temporary file");
    }
    let i = tree.start();
    i.input(&udp_frame(4000, at_vhost(69), &read("sparse")));
    let mut bytes = Vec::with_capacity(SIZE);
    let mut expected = 1u16;
    // The frames are not parsed in full, as there are 80,000 of them: 42 bytes of headers, then the packet.
    while let Some(frame) = i.pop_raw() {
        let packet = &frame[42..];
        assert_eq!((&packet[..2], u16::from_be_bytes([packet[2], packet[3]])), (&[0, 3][..], expected));
        let end = 4 + usize::from(u16::from_be_bytes([frame[38], frame[39]])) - 12;
        bytes.extend_from_slice(&packet[4..end]);
        i.input(&udp_frame(4000, at_vhost(69), &ack(expected)));
        expected = expected.wrapping_add(1);
    }
    let mut content = vec![0; SIZE];
    for (offset, text) in marks {
        content[offset..offset + text.len()].copy_from_slice(text.as_bytes());
    }
    assert_eq!(bytes.len(), SIZE);
    assert!(bytes == content);
}

#[test]
fn tftp_nothing_outside_of_the_directory() {
    let tree = Tree::new("confined");
    let i = tree.start();
    let outside = tree.0.join("outside");
    for name in [outside.to_str().expect("a text"), "/etc/passwd"] {
        assert!(say(&i, 4000, &read(name)).is_some_and(|a| a.is_error(1)), "{name}");
    }
    if ours("tftp-error-port") {
        assert!(say(&i, 4000, &read("..")).is_some_and(|a| a.is_error(1)));
    }
    symlink("sub/x", tree.root().join("inside")).expect("a link");
    symlink("../outside", tree.root().join("relative")).expect("a link");
    symlink(&outside, tree.root().join("absolute")).expect("a link");
    symlink("..", tree.root().join("up")).expect("a link");
    assert_eq!(say(&i, 4001, &read("inside")), Some(Data(1, b"deeper".to_vec())));
    for name in ["relative", "absolute", "up/outside"] {
        let got = say(&i, 4002, &read(name));
        if ours("tftp-symlinks") {
            assert!(got.is_some_and(|a| a.is_error(1)), "{name}");
        } else {
            assert_eq!(got, Some(Data(1, b"secret".to_vec())), "{name}");
        }
    }
}

#[test]
fn tftp_only_regular_files() {
    if !ours("tftp-special-files") {
        return;
    }
    let tree = Tree::new("kinds");
    let fifo = std::ffi::CString::new(tree.root().join("fifo").to_str().expect("a text")).expect("no NUL");
    // SAFETY: the path is a C string.
    assert_eq!(unsafe { libc::mkfifo(fifo.as_ptr(), 0o600) }, 0);
    let i = tree.start();
    for name in ["fifo", "sub", "."] {
        for rest in ["octet ", "octet tsize 0 "] {
            assert!(say(&i, 4000, &request(name, rest)).is_some_and(|a| a.is_error(1)), "{name}");
        }
    }
    let devices = Setup { tftp_path: Some("/dev".into()), ..Setup::default() }.start();
    assert!(say(&devices, 4000, &read("zero")).is_some_and(|a| a.is_error(1)));
}

#[test]
fn security_fact_07_no_tftp_block_is_larger_than_the_mtu_allows() {
    if !ours("tftp-small-mtu") {
        return;
    }
    let tree = Tree::new("mtu");
    for mtu in [68, 300, 576, 1459, 9000] {
        let i = tree.setup().mtu(mtu, mtu).start();
        let size = (mtu - 32).min(1428);
        let wish = request("1300", "octet blksize 8192 ");
        assert_eq!(say(&i, 4000, &wish), Some(Options(format!("blksize {size} "))));
        let (lengths, bytes) = get(&i, 4000, &wish);
        assert_eq!((lengths[0], bytes), (size.min(1300), pattern(1300)));
        // RFC 1350 leaves no choice without the option: 512 bytes, in fragments where it must be.
        assert_eq!(get(&i, 4001, &read("1300")), (vec![512, 512, 276], pattern(1300)));
    }
}

#[test]
fn tftp_block_sizes_that_rfc_2348_does_not_allow() {
    let tree = Tree::new("sizes");
    let i = tree.start();
    for value in ["0", "-5", "x", ""] {
        let got = say(&i, 4000, &request("1300", &format!("octet blksize {value} ")));
        assert!(matches!(got, Some(Data(1, block)) if block.len() == 512), "{value}");
    }
    let got = say(&i, 4000, &request("1300", "octet blksize 7 "));
    assert_eq!(
        got,
        Some(if ours("tftp-tiny-blocks") {
            Data(1, pattern(1300)[..512].to_vec())
        } else {
            Options("blksize 7 ".into())
        })
    );
}

#[test]
fn tftp_malformed_requests_are_survived() {
    let tree = Tree::new("malformed");
    let i = tree.start();
    let whole = request("1300", "octet blksize 600 tsize 0 ");
    for length in 0..whole.len() {
        let got = say(&i, 4000, &whole[..length]);
        match length {
            ..2 => assert_eq!(got, None),
            // The mode's NUL, and the end of the first option, are good ends.
            13 => assert!(matches!(got, Some(Data(1, _)))),
            25 => assert_eq!(got, Some(Options("blksize 600 ".into()))),
            _ => assert!(got.as_ref().is_some_and(|a| matches!(a, Error(2 | 4, _))), "{length}: {got:?}"),
        }
    }
    // An acknowledgment without a number, of nobody, many.
    assert_eq!(say(&i, 4001, b"\0\x04"), None);
    assert_eq!(say(&i, 4001, b"\0\x04\0"), None);
    for number in 0..100 {
        assert_eq!(say(&i, 4001, &ack(number)), None);
    }
}

#[test]
fn tftp_fact_10_only_the_host_address_serves() {
    if !isolated("tftp_fact_10_only_the_host_address_serves", Isolation::Network) {
        return;
    }
    let tree = Tree::new("address");
    let i = tree.start();
    i.input(&udp_frame(4000, at(VDNS, 69), &read("1300")));
    let got = i.settled();
    assert!(got.iter().all(|f| f.udp().is_none()), "{got:?}");
}
