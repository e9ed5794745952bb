//! A reader of captures that knows nothing of the library: what docs/capture.md promises, and no more, is taken.

use std::net::IpAddr;
use std::path::Path;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    In,
    Out,
}

/// A frame of a capture.
#[derive(Debug, PartialEq, Eq)]
pub struct Captured {
    pub way: Way,
    pub bytes: Vec<u8>,
    pub length: usize,
    pub nanoseconds: u64,
    pub comment: Option<String>,
}

/// What a capture file holds; anything that the format does not allow ends the test.
#[derive(Default, Debug)]
pub struct Capture {
    pub frames: Vec<Captured>,
    pub comment: String,
    pub snap_length: usize,
    /// Which addresses have which names.
    pub names: Vec<(IpAddr, String)>,
    /// Frames received and dropped, by the last statistics.
    pub statistics: Option<(u64, u64)>,
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(bytes[at..at + 2].try_into().unwrap())
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
}

/// The options at the end of a block.
fn options(mut bytes: &[u8]) -> Vec<(u16, Vec<u8>)> {
    let mut found = Vec::new();
    loop {
        let (code, length) = (u16_at(bytes, 0), usize::from(u16_at(bytes, 2)));
        if code == 0 {
            assert_eq!((length, bytes.len()), (0, 4), "the end of the options is the end of the block");
            return found;
        }
        let padded = length.next_multiple_of(4);
        assert!(bytes[4 + length..4 + padded].iter().all(|&b| b == 0));
        found.push((code, bytes[4..4 + length].to_vec()));
        bytes = &bytes[4 + padded..];
    }
}

fn option(of: &[(u16, Vec<u8>)], code: u16) -> Vec<u8> {
    let mut with_code = of.iter().filter(|option| option.0 == code);
    let value = with_code.next().unwrap_or_else(|| panic!("no option {code}")).1.clone();
    assert!(with_code.next().is_none());
    value
}

/// Reads a file.
pub fn read(path: &Path) -> Capture {
    let file = std::fs::read(path).unwrap();
    let (mut rest, mut capture, mut number) = (&file[..], Capture::default(), 0);
    while !rest.is_empty() {
        let (kind, length) = (u32_at(rest, 0), u32_at(rest, 4) as usize);
        assert!(length % 4 == 0 && length >= 12 && length <= rest.len(), "block {number} of {length} bytes");
        assert_eq!(u32_at(rest, length - 4) as usize, length);
        let body = &rest[8..length - 4];
        rest = &rest[length..];
        match (number, kind) {
            (0, 0x0a0d_0d0a) => {
                assert_eq!((u32_at(body, 0), u16_at(body, 4), u16_at(body, 6)), (0x1a2b_3c4d, 1, 0));
                assert_eq!(body[8..16], [0xff; 8]);
                let options = options(&body[16..]);
                assert!(option(&options, 4).starts_with(b"oxislirp "));
                capture.comment = String::from_utf8(option(&options, 1)).unwrap();
            }
            (1, 1) => {
                assert_eq!((u16_at(body, 0), u16_at(body, 2)), (1, 0), "Ethernet");
                capture.snap_length = u32_at(body, 4) as usize;
                assert_eq!(option(&options(&body[8..]), 9), [9], "nanoseconds");
            }
            (2.., 6) => {
                assert_eq!(u32_at(body, 0), 0);
                let captured = u32_at(body, 12) as usize;
                let bytes = body[20..20 + captured].to_vec();
                let options = options(&body[20 + captured.next_multiple_of(4)..]);
                let comment = options.iter().find(|option| option.0 == 1);
                let comment = comment.map(|comment| String::from_utf8(comment.1.clone()).unwrap());
                let way = match option(&options, 2)[..] {
                    [1, 0, 0, 0] => Way::In,
                    [2, 0, 0, 0] => Way::Out,
                    ref other => panic!("flags {other:?}"),
                };
                let nanoseconds = u64::from(u32_at(body, 4)) << 32 | u64::from(u32_at(body, 8));
                let length = u32_at(body, 16) as usize;
                assert_eq!(captured, length.min(capture.snap_length));
                capture.frames.push(Captured { way, bytes, length, nanoseconds, comment });
            }
            (2.., 4) => {
                let (records, no_options) = body.split_at(body.len() - 4);
                assert_eq!(no_options, [0; 4]);
                let (kind, record) = options(records).remove(0);
                let length = if kind == 1 { 4 } else { 16 };
                let ip = match kind {
                    1 => IpAddr::from(<[u8; 4]>::try_from(&record[..4]).unwrap()),
                    _ => IpAddr::from(<[u8; 16]>::try_from(&record[..16]).unwrap()),
                };
                let name = record[length..].strip_suffix(&[0]).expect("it ends with a zero");
                capture.names.push((ip, String::from_utf8(name.to_vec()).unwrap()));
            }
            (2.., 5) => {
                let options = options(&body[12..]);
                let number = |code| u64::from_le_bytes(option(&options, code).try_into().unwrap());
                capture.statistics = Some((number(4), number(5)));
            }
            _ => panic!("block {number} is of kind {kind}"),
        }
        number += 1;
    }
    capture
}
