//! The first datagrams of a connection of QUIC: whatever they are, what is heard does not depend on the order in which the pieces of
//! a handshake come, nor on how often they do.
//!
//! Input: records of one byte, a length of two bytes, and so many bytes. An even first byte: a datagram as it comes. An odd one: what is in a packet, without
//! its protection, which no fuzzer finds.

use oxislirp::policy::{Hearing, QuicHello, begins_other_quic, may_begin_quic};

use crate::input::Input;

pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let mut payloads = Vec::new();
    let mut datagrams = Vec::new();
    while !input.is_empty() {
        let kind = input.u8();
        let length = usize::from(input.u16());
        let bytes = input.bytes(length);
        if kind % 2 == 0 { &mut datagrams } else { &mut payloads }.push(bytes);
    }
    let mut whole = QuicHello::default();
    for datagram in &datagrams {
        if whole.hear(datagram) == Hearing::Unclear {
            break;
        }
    }
    for datagram in &datagrams {
        if let Some(spoken) = &mut whole.spoken() {
            spoken.follows(datagram);
        }
        assert!(
            may_begin_quic(datagram)
                || !begins_other_quic(datagram)
                || datagram.first().is_some_and(|first| first & 0x40 == 0)
        );
    }
    let heard = hear(payloads.iter());
    assert_eq!(hear(payloads.iter().flat_map(|one| [one, one])), heard);
    if heard == Hearing::More {
        assert_eq!(hear(payloads.iter().rev()), heard);
    }
}

/// What is heard first; [`Hearing::More`] when that is nothing.
fn hear<'a>(payloads: impl Iterator<Item = &'a &'a [u8]>) -> Hearing {
    let mut hello = QuicHello::default();
    let mut heard = payloads.map(|payload| hello.hear_frames(payload));
    heard.find(|hearing| *hearing != Hearing::More).unwrap_or(Hearing::More)
}
