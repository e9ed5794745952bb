//! Questions and answers: where the host answers each of the guest's segments soon, the answer is the acknowledgment as well.
//! Source: docs/architecture.md, "The way of data".

mod common;
use common::*;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

both_families![
    after_some_exchanges_the_answer_acknowledges_the_question,
    an_answer_that_does_not_come_is_not_waited_for,
    a_question_in_two_segments_is_acknowledged_with_the_second,
    an_end_is_acknowledged_at_once,
    with_a_clock_that_stands_still_nothing_waits,
];

const SOON: Duration = Duration::from_millis(1);

/// A connection after a silence.
fn connected(family: Family) -> Option<(Box<Instance>, Party, TcpStream)> {
    if library().upstream {
        println!("SKIPPED: upstream decides by the window whether an acknowledgment waits");
        return None;
    }
    Some(Party::after_silence(family))
}

/// A round of the application's loop that brings these frames.
fn round(i: &Instance, frames: impl FnOnce()) {
    let filled = i.fill(1000);
    frames();
    i.poll_with(false, &vec![0; filled.wanted.len()]);
}

/// The guest asks, and the host has heard it. How many segments came that say nothing but that.
fn ask(i: &Instance, party: &mut Party, host: &mut TcpStream) -> usize {
    round(i, || party.send(i, PSH | ACK, b"?"));
    host.read_exact(&mut [0]).unwrap();
    bare(i, party)
}

/// Bare acknowledgments of all that the guest has sent.
fn bare(i: &Instance, party: &Party) -> usize {
    party.all(i).iter().filter(|heard| heard.payload.is_empty() && heard.ack == party.seq).count()
}

/// The host answers after so long.
fn answer(i: &Instance, party: &mut Party, host: &mut TcpStream, after: Duration) {
    i.advance(after);
    host.write_all(b"!").unwrap();
    let heard = party.expect(i, "an answer", |heard| !heard.payload.is_empty());
    assert_eq!((heard.ack, &heard.payload[..]), (party.seq, &b"!"[..]));
    party.ack = party.ack.wrapping_add(1);
}

/// Exchanges until the first acknowledgment waits.
fn until_one_waits(i: &Instance, party: &mut Party, host: &mut TcpStream) -> usize {
    for count in 0..100 {
        if ask(i, party, host) == 0 {
            return count;
        }
        answer(i, party, host, SOON);
    }
    panic!("each of 100 questions was acknowledged by itself");
}

fn after_some_exchanges_the_answer_acknowledges_the_question(family: Family) {
    let Some((i, mut party, mut host)) = connected(family) else { return };
    assert_eq!(until_one_waits(&i, &mut party, &mut host), 4);
    for _ in 0..20 {
        answer(&i, &mut party, &mut host, SOON);
        assert_eq!(ask(&i, &mut party, &mut host), 0);
    }
    // A host that takes its time is not waited for.
    answer(&i, &mut party, &mut host, SOON * 20);
    assert_eq!(ask(&i, &mut party, &mut host), 1);
}

fn an_answer_that_does_not_come_is_not_waited_for(family: Family) {
    let Some((i, mut party, mut host)) = connected(family) else { return };
    until_one_waits(&i, &mut party, &mut host);
    let sleep = i.fill(1000).timeout;
    assert!((1..=40).contains(&sleep), "the application may sleep for {sleep} ms");
    i.advance(Duration::from_millis(39));
    assert_eq!(bare(&i, &party), 0);
    i.advance(Duration::from_millis(2));
    assert_eq!(bare(&i, &party), 1);
    // That was in vain, so it takes twice as many until it is tried again.
    answer(&i, &mut party, &mut host, SOON);
    assert_eq!(until_one_waits(&i, &mut party, &mut host), 8);
}

fn a_question_in_two_segments_is_acknowledged_with_the_second(family: Family) {
    let Some((i, mut party, mut host)) = connected(family) else { return };
    until_one_waits(&i, &mut party, &mut host);
    // It follows another in a run of rounds, so that it may wait for the end of that.
    round(&i, || party.send(&i, PSH | ACK, b"?"));
    round(&i, || {});
    host.read_exact(&mut [0]).unwrap();
    assert_eq!(bare(&i, &party), 1);
    i.advance(Duration::from_millis(100));
    assert_eq!(bare(&i, &party), 0);
    answer(&i, &mut party, &mut host, SOON);
    assert_eq!(ask(&i, &mut party, &mut host), 1);
}

fn an_end_is_acknowledged_at_once(family: Family) {
    let Some((i, mut party, mut host)) = connected(family) else { return };
    until_one_waits(&i, &mut party, &mut host);
    round(&i, || party.send(&i, FIN | ACK, b""));
    assert_eq!(bare(&i, &party), 1);
    assert_eq!(host.read(&mut [0]).unwrap(), 0, "the end of the stream");
}

fn with_a_clock_that_stands_still_nothing_waits(family: Family) {
    let Some((i, mut party, mut host)) = connected(family) else { return };
    for _ in 0..50 {
        assert_eq!(ask(&i, &mut party, &mut host), 1);
        answer(&i, &mut party, &mut host, Duration::ZERO);
    }
}
