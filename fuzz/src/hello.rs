//! The first bytes of a connection: what is heard of them is the same however they are cut, and nothing is heard of more than may
//! be.
//!
//! Input: one byte for the length of the pieces, then the bytes. A first byte below 8 there stands for the beginning of a ClientHello, so that
//! the fuzzer need not find it.

use oxislirp::policy::{Heard, Hearing, Hello, Look, Requests};

use crate::input::Input;

pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let piece = usize::from(input.u8()).max(1);
    let rest = input.bytes(usize::MAX);
    let bytes = match rest.split_first() {
        Some((&kind, extensions)) if kind < 8 => hello(kind, extensions),
        _ => rest.to_vec(),
    };
    let whole = in_pieces(&bytes, usize::MAX);
    assert_eq!(in_pieces(&bytes, piece), whole);
    assert_eq!(in_pieces(&bytes, 1), whole);
    if let Hearing::Heard(Heard::Tls(Some(name)) | Heard::Http(Some(name))) = &whole {
        assert!(!name.is_empty() && name.parse::<std::net::IpAddr>().is_err());
        assert!(name.bytes().all(|byte| byte.is_ascii_graphic() && !byte.is_ascii_uppercase()));
    }
    assert_eq!(requests(&bytes, piece), requests(&bytes, 1));
    if bytes.len() >= Hello::LONGEST {
        assert_ne!(whole, Hearing::More);
    }
}

/// What is heard first; [`Hearing::More`] when that is nothing.
fn in_pieces(bytes: &[u8], length: usize) -> Hearing {
    let mut hello = Hello::default();
    let mut heard = bytes.chunks(length).map(|piece| hello.hear(piece));
    heard.find(|hearing| *hearing != Hearing::More).unwrap_or(Hearing::More)
}

/// The hosts of all requests, and whether the bytes are nothing but requests.
fn requests(bytes: &[u8], length: usize) -> (Vec<Option<Box<str>>>, bool) {
    let (mut requests, mut waits, mut hosts) = (Requests::default(), Vec::new(), Vec::new());
    for piece in bytes.chunks(length) {
        waits.extend_from_slice(piece);
        loop {
            match requests.look((&waits, &[])) {
                Look::Clear(clear) => {
                    waits.drain(..clear);
                    requests.passed(clear);
                    assert!(waits.is_empty() || requests.holds(waits.len()));
                    break;
                }
                Look::Request(host) => {
                    hosts.push(host);
                    requests.go_on();
                }
                _ => return (hosts, false),
            }
        }
    }
    (hosts, true)
}

/// A ClientHello with these bytes for its extensions, in records of `16 << kind` bytes.
fn hello(kind: u8, extensions: &[u8]) -> Vec<u8> {
    let vector = |bytes: &[u8]| [&(bytes.len() as u16).to_be_bytes()[..], bytes].concat();
    let extensions = &extensions[..extensions.len().min(60_000)];
    let beginning = [&[3, 3][..], &[7; 32], &[0], &[0, 2, 0x13, 1], &[1, 0]].concat();
    let body = [beginning, vector(extensions)].concat();
    let [_, a, b, c] = (body.len() as u32).to_be_bytes();
    let message = [&[1, a, b, c][..], &body].concat();
    message.chunks(16 << kind).flat_map(|part| [&[22, 3, 1][..], &vector(part)].concat()).collect()
}
