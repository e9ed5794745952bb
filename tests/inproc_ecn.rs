//! Explicit congestion notification (RFC 3168) with a scripted guest: nothing of it where the guest does not ask, and the bits in
//! both directions where it does. What is sent when is the engine's (`connection::tests::ecn`); here are the headers.

mod common;
use common::*;
use std::io::Write;
use std::net::TcpStream;

/// Flags of the TCP header.
const ECE: u8 = 0x40;
const CWR: u8 = 0x80;
/// What the IP header says: that a packet may be marked, and that it was.
const ECT0: u8 = 2;
const CE: u8 = 3;

/// A TCP segment of the library and the two bits of its IP header.
struct Seen {
    bits: u8,
    flags: u8,
    seq: u32,
    ack: u32,
    len: usize,
}

/// The guest's side of a connection over either family, with all bits by hand.
struct Guest {
    family: Family,
    ports: (u16, u16),
    seq: u32,
    ack: u32,
}

impl Guest {
    fn send(&mut self, i: &Instance, bits: u8, flags: u8, payload: &[u8]) {
        let frame = match self.family {
            Family::V4 => {
                let segment = Segment {
                    src: at(GUEST, self.ports.0),
                    dst: at_vhost(self.ports.1),
                    seq: self.seq,
                    ack: self.ack,
                    flags,
                    window: 65535,
                    urgent: 0,
                    options: Vec::new(),
                    payload: payload.to_vec(),
                };
                Ip { tos: bits, ..Ip::new(VHOST, TCP) }.frame(&segment.bytes())
            }
            Family::V6 => {
                let mut frame = Ip6::new(VHOST6, TCP).tcp(self.ports, self.seq, self.ack, flags, payload);
                frame[15] |= bits << 4;
                frame
            }
        };
        i.input(&frame);
        self.seq += payload.len() as u32 + u32::from(flags & SYN != 0);
    }

    /// What the library has sent on the connection.
    fn seen(&self, i: &Instance) -> Vec<Seen> {
        i.settle();
        i.drain_raw().iter_mut().filter_map(|frame| self.segment(frame)).collect()
    }

    fn segment(&self, frame: &mut [u8]) -> Option<Seen> {
        let (dst, bits, flags, seq, ack, len) = match frame[12..14] {
            [8, 0] => {
                let Frame::Ip(packet) = Frame::parse(frame) else { return None };
                let s = packet.tcp()?;
                (s.dst.port(), packet.tos & 3, s.flags, s.seq, s.ack, s.payload.len())
            }
            [0x86, 0xdd] => {
                let bits = frame[15] >> 4 & 3;
                // The rest of the traffic class is checked to be 0 below.
                frame[15] &= 0xcf;
                let s = packet6(&Frame::parse(frame))?.tcp()?;
                (s.dst.port(), bits, s.flags, s.seq, s.ack, s.payload.len())
            }
            _ => return None,
        };
        (dst == self.ports.0).then_some(Seen { bits, flags, seq, ack, len })
    }
}

/// A connection to a listener on the host; the guest's SYN has these flags besides. With the answer's flags.
fn connected(i: &Instance, family: Family, asks: u8) -> (Guest, TcpStream, u8) {
    let (listener, port) = family.tcp_listener();
    let mut guest = Guest { family, ports: (i.fresh_port(), port), seq: 1000, ack: 0 };
    guest.send(i, 0, SYN | asks, b"");
    let host = accept(i, &listener);
    let answer = guest.seen(i).pop().expect("a SYN-ACK");
    assert_eq!((answer.flags & (SYN | ACK), answer.bits), (SYN | ACK, 0), "a SYN is not to be marked");
    guest.ack = answer.seq.wrapping_add(1);
    guest.send(i, 0, ACK, b"");
    (guest, host, answer.flags)
}

/// What a guest that does not ask sees, and one that sends one of the flags only: no bit of it anywhere, whatever it sends.
fn a_guest_that_does_not_ask_sees_nothing_of_it(family: Family) {
    for asks in [0, ECE, CWR] {
        let i = family.greeted();
        let (mut guest, mut host, flags) = connected(&i, family, asks);
        assert_eq!(flags, SYN | ACK);
        host_write_some(&mut host, &pattern(10_000));
        let sent = guest.seen(&i);
        assert!(sent.iter().map(|s| s.len).sum::<usize>() > 4000);
        assert!(sent.iter().all(|s| s.bits == 0 && s.flags & (ECE | CWR) == 0), "{asks:#x}");
        guest.ack = guest.ack.wrapping_add(2000);
        guest.send(&i, CE, ACK | ECE, b"marked");
        assert!(guest.seen(&i).iter().all(|s| s.bits == 0 && s.flags & (ECE | CWR) == 0), "{asks:#x}");
    }
}

fn text_for_a_guest_that_asks_may_be_marked_and_marks_are_heeded(family: Family) {
    let i = family.greeted();
    let (mut guest, mut host, flags) = connected(&i, family, ECE | CWR);
    if !ours("ecn") {
        assert_eq!(flags, SYN | ACK);
        return;
    }
    assert_eq!(flags, SYN | ACK | ECE);
    host_write_some(&mut host, &pattern(60_000));
    let sent = guest.seen(&i);
    let text: Vec<&Seen> = sent.iter().filter(|s| s.len > 0).collect();
    assert!(text.len() > 4 && text.iter().all(|s| s.bits == ECT0 && s.flags & (ECE | CWR) == 0));
    let last = text.last().expect("there is text");
    guest.ack = last.seq.wrapping_add(last.len as u32);
    guest.send(&i, 0, ACK | ECE, b"");
    let next = guest.seen(&i);
    assert!(next.first().is_some_and(|s| s.len > 0 && s.flags & CWR != 0), "less is sent, and the guest hears of it");
    assert!(next.iter().skip(1).all(|s| s.flags & CWR == 0), "once");
}

fn a_mark_on_what_the_guest_sends_is_told_until_it_sends_less(family: Family) {
    let i = family.greeted();
    let (mut guest, mut host, flags) = connected(&i, family, ECE | CWR);
    if flags & ECE == 0 {
        assert!(!ours("ecn"));
        return;
    }
    let mut told = |bits, more: u8| {
        guest.send(&i, bits, ACK | PSH | more, &[b'x'; 1000]);
        let seen = guest.seen(&i);
        assert!(seen.iter().all(|s| s.bits == 0), "an acknowledgment is not to be marked");
        let last = seen.last().expect("an acknowledgment");
        assert_eq!(last.ack, guest.seq);
        last.flags & ECE != 0
    };
    assert!(!told(ECT0, 0));
    assert!(told(CE, 0), "at once");
    assert!(told(ECT0, 0), "until it was heard");
    assert!(!told(ECT0, CWR));
    host.set_nonblocking(true).expect("a socket");
    assert_eq!(host_read(&i, &mut host, 4000), [b'x'; 4000], "what was marked arrives like all else");
    host.write_all(b"x").expect("a socket");
}

both_families![
    a_guest_that_does_not_ask_sees_nothing_of_it,
    text_for_a_guest_that_asks_may_be_marked_and_marks_are_heeded,
    a_mark_on_what_the_guest_sends_is_told_until_it_sends_less,
];
