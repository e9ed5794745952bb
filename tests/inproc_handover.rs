//! The hand-over as programs have it: no more is given to the application than is proven read. What there is room for is
//! shared; see docs/architecture.md.

mod common;
use common::*;
use std::io::{ErrorKind, Read, Write};
use std::sync::Once;

both_families![
    a_download_goes_on_beside_uploads_that_never_pause,
    an_upload_makes_room_while_a_download_waits,
    an_upload_of_short_segments_makes_room_as_well,
    answers_are_not_held_until_they_are_lost
];

/// Before anything of the library is called: it is to be as in a program.
fn as_in_a_program() {
    static ONCE: Once = Once::new();
    // SAFETY: the other tests of this process wait here, and nothing else reads the environment meanwhile.
    ONCE.call_once(|| unsafe { std::env::set_var("SLIRP_TEST_HANDOVER", "1") });
}

fn connected(i: &Instance, family: Family) -> (Party, TcpStream) {
    let (listener, port) = family.tcp_listener();
    let party = Party::connect(i, family, family.at_vhost(port));
    let host = i.until("the connection at the host", || listener.accept().ok()).0;
    host.set_nonblocking(true).unwrap();
    (party, host)
}

/// What the guest has to say stands in one queue: its answers to what was said in one round come in the next, before more
/// segments of its uploads. Acknowledgments of these, one for each segment, would take all the room there is before the
/// turn of the download comes.
fn a_download_goes_on_beside_uploads_that_never_pause(family: Family) {
    const ROUNDS: usize = 60;
    const SEGMENTS: u32 = 64;
    const LENGTH: u32 = 700;
    as_in_a_program();
    let i = family.setup().start();
    i.answers_markers.set(false);
    let mut uploads: Vec<_> = (0..4).map(|_| connected(&i, family)).collect();
    let (mut download, mut from) = connected(&i, family);
    let mut acknowledged: Vec<u32> = uploads.iter().map(|(party, _)| party.seq).collect();
    let (mut sent, mut received, mut idle) = (0, 0, 0);
    let mut answers: Vec<Vec<u8>> = Vec::new();
    for _ in 0..ROUNDS {
        while from.write(&[7; 65536]).map_err(|e| assert_eq!(e.kind(), ErrorKind::WouldBlock)).is_ok() {}
        download.send(&i, ACK, b"");
        answers.drain(..).for_each(|answer| i.input(&answer));
        for ((party, host), acknowledged) in uploads.iter_mut().zip(&acknowledged) {
            while host.read(&mut [0; 65536]).map_err(|e| assert_eq!(e.kind(), ErrorKind::WouldBlock)).is_ok() {}
            for _ in 0..SEGMENTS {
                if party.seq.wrapping_sub(*acknowledged) < SEGMENTS * LENGTH {
                    party.send(&i, PSH | ACK, &[9; LENGTH as usize]);
                    sent += LENGTH as usize;
                }
            }
        }
        i.turn(Duration::ZERO);
        let before = received;
        for raw in i.drain_raw() {
            answers.extend(marker::answer(&raw));
            let frame = Frame::parse(&raw);
            if let Some(s) = download.heard(&frame).filter(|s| s.seq == download.ack) {
                download.ack = download.ack.wrapping_add(s.payload.len() as u32);
                received += s.payload.len();
            }
            for ((party, _), acknowledged) in uploads.iter().zip(&mut acknowledged) {
                *acknowledged = party.heard(&frame).map_or(*acknowledged, |s| s.ack);
            }
        }
        idle = if received > before { 0 } else { idle + 1 };
        assert!(idle < 8, "the download had nothing in eight rounds, after {received} bytes; {sent} were sent up");
    }
    // A quarter of the room of a round.
    assert!(received >= ROUNDS * 8192, "{received} bytes came down, {sent} were sent up");
    assert!(sent >= ROUNDS * 8192, "{sent} bytes were sent up, {received} came down");
}

/// To make room for a trial frames are held for some rounds; a guest that goes on asking is not to lose its answers by that.
fn answers_are_not_held_until_they_are_lost(family: Family) {
    const ROUNDS: u16 = 200;
    as_in_a_program();
    let i = family.setup().start();
    if family == Family::V6 {
        i.greet6(frame6::GUEST6);
    }
    i.answers_markers.set(false);
    let ping = |number: u16| match family {
        Family::V4 => i.input(&Ip::new(VHOST, ICMP).frame(&echo_request(7, number, b"there?"))),
        Family::V6 => i.input(&Ip6::new(frame6::VHOST6, 58).icmp(&echo6(7, number, b"there?"))),
    };
    let (mut asked, mut answered, mut waiting) = (0, 0, 0);
    let mut answers: Vec<Vec<u8>> = Vec::new();
    for round in 0..2 * ROUNDS {
        answers.drain(..).for_each(|answer| i.input(&answer));
        let more = match round {
            0 => 100,
            1..ROUNDS => 40,
            _ => 0,
        };
        (asked..asked + more).for_each(ping);
        asked += more;
        i.turn(Duration::ZERO);
        for raw in i.drain_raw() {
            answers.extend(marker::answer(&raw));
            let frame = Frame::parse(&raw);
            let v6 = || packet6(&frame).and_then(|p| p.icmp()).is_some_and(|(kind, _)| kind == 129);
            answered += u16::from(frame.icmp().is_some_and(|m| m.kind == 0) || v6());
        }
        waiting = waiting.max(asked - answered);
    }
    assert_eq!(answered, asked, "{waiting} waited at most");
    assert!(waiting < 400, "{waiting} waited");
}

/// What goes up and what comes down share the way: while bytes for the guest wait for room, an upload is offered no more than
/// what comes down has, and all of it again when they have come.
fn an_upload_makes_room_while_a_download_waits(family: Family) {
    makes_room(family, 1000);
}

/// Its segments are short on a link with the least MTU.
fn an_upload_of_short_segments_makes_room_as_well(family: Family) {
    makes_room(family, 500);
}

fn makes_room(family: Family, length: usize) {
    as_in_a_program();
    let i = family.setup().start();
    i.answers_markers.set(false);
    let (mut upload, mut to) = connected(&i, family);
    let (mut download, mut from) = connected(&i, family);
    let (mut acked, mut offered, mut least) = (upload.seq, 0, u32::MAX);
    let mut answers: Vec<Vec<u8>> = Vec::new();
    for round in 0..400 {
        let contest = round < 200;
        while contest && from.write(&[7; 65536]).map_err(|e| assert_eq!(e.kind(), ErrorKind::WouldBlock)).is_ok() {}
        download.send(&i, ACK, b"");
        answers.drain(..).for_each(|answer| i.input(&answer));
        while to.read(&mut [0; 65536]).map_err(|e| assert_eq!(e.kind(), ErrorKind::WouldBlock)).is_ok() {}
        while upload.seq.wrapping_sub(acked) + (length as u32) < 30_000 {
            upload.send(&i, PSH | ACK, &vec![9; length]);
        }
        i.move_clock(Duration::from_millis(1));
        i.turn(Duration::ZERO);
        for raw in i.drain_raw() {
            answers.extend(marker::answer(&raw));
            let frame = Frame::parse(&raw);
            if let Some(s) = download.heard(&frame).filter(|s| s.seq == download.ack) {
                download.ack = download.ack.wrapping_add(s.payload.len() as u32);
            }
            if let Some(s) = upload.heard(&frame) {
                (acked, offered) = (s.ack, u32::from(s.window));
            }
        }
        if contest && round > 50 {
            least = least.min(offered);
        }
    }
    assert!(least <= 32_768, "{least} were offered beside the download");
    assert!(offered > 60_000, "{offered} are offered after it");
}
