//! What a proxy answers, in either language, and what a relay says of a datagram: what comes of it is the same however the bytes come, no more is
//! read than belongs to the answers, and what a relay has wrapped comes out as it was.
//!
//! Input: one byte for the kind (bits 0 and 1: SOCKS for a connection, SOCKS for datagrams, HTTP, a relay's datagram; 4: with name and
//! password; 8: to a name), one for the length of the pieces, then the bytes.

use std::net::SocketAddr;

use oxislirp::internals::proxy::{Dialogue, Sender, Step, Target, unwrap, wrap};

use crate::input::Input;

/// More than a proxy is told, and more than is read of it at once.
const MOST: usize = 2048;

pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let kind = input.u8();
    let piece = usize::from(input.u8()).max(1);
    let bytes = input.bytes(usize::MAX);
    if kind & 3 == 3 {
        return relayed(bytes);
    }
    let whole = talk(kind, bytes, usize::MAX);
    assert_eq!(talk(kind, bytes, piece), whole);
    assert_eq!(talk(kind, bytes, 1), whole);
}

/// How it ends, what was said, how many bytes are the proxy's where it consents, and where it relays.
fn talk(kind: u8, bytes: &[u8], piece: usize) -> (Step, Vec<u8>, usize, Option<SocketAddr>) {
    let credentials = (kind & 4 != 0).then_some((&b"me"[..], &b"secret"[..]));
    let target = match kind & 8 {
        0 => Target::Address(([192, 0, 2, 7], 443).into()),
        _ => Target::Name("a.example.org".into(), 443),
    };
    let mut dialogue = match kind & 3 {
        0 => Dialogue::socks5(credentials, target),
        1 => Dialogue::associate(credentials),
        _ => Dialogue::connect(credentials, &target),
    };
    let (mut said, mut read) = (Vec::new(), 0);
    loop {
        said.extend_from_slice(dialogue.to_send());
        dialogue.sent(usize::MAX);
        assert!(dialogue.to_send().is_empty() && said.len() <= MOST);
        let wanted = dialogue.wanted();
        assert!((1..=MOST).contains(&wanted), "{wanted} bytes are wanted");
        let rest = &bytes[read..];
        let part = &rest[..wanted.min(piece).min(rest.len())];
        if part.is_empty() {
            return (Step::More, said, 0, None);
        }
        read += part.len();
        match dialogue.hear(part) {
            Step::More => {}
            Step::Through => {
                assert!(dialogue.to_send().is_empty(), "something is to be said behind the consent");
                return (Step::Through, said, read, dialogue.bound());
            }
            step => return (step, said, 0, None),
        }
    }
}

fn relayed(bytes: &[u8]) {
    let Some((sender, payload)) = unwrap(bytes) else { return };
    assert!(bytes.ends_with(payload) && payload.len() + 7 <= bytes.len());
    let Sender::Address(address) = sender else { return };
    let mut place = vec![0; bytes.len() + 32];
    let again = wrap(&Target::Address(address), payload, &mut place).expect("there is room");
    assert_eq!(unwrap(again), Some((sender, payload)));
}
