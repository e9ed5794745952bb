//! The callbacks through which a state is written and read: those that take or give less than was asked for, or fail.

mod common;

use common::target::{FORWARD, save, with_taken};
use common::*;

const PORT: u16 = 1234;

/// An instance with a connection to its guest forward, and bytes in flight there.
fn spoken() -> (Box<Instance>, Conn) {
    let (i, _) = with_taken(Setup::default(), PORT);
    let conn = Conn::connect_with(&i, at(FORWARD, PORT), &mss_option(1460));
    i.socket_recv(FORWARD, PORT, b"unacknowledged");
    (i, conn)
}

/// How many pieces a state is written in.
fn pieces(i: &Instance) -> usize {
    let mut count = 0;
    i.save_state_with(|piece| {
        count += 1;
        piece.len() as isize
    });
    count
}

/// What a callback may say of a piece that it did not take whole, or of which it says nonsense.
const ANSWERS: [fn(usize) -> isize; 6] =
    [|_| 0, |_| -1, |length| length as isize - 1, |length| length as isize + 1, |_| isize::MAX, |_| isize::MIN];

/// Saves with one answer that is none, at one of the pieces: the result, what was offered, and how often.
fn save_with(i: &Instance, at: usize, answer: fn(usize) -> isize) -> (i32, Vec<u8>, usize) {
    let (mut offered, mut calls) = (Vec::new(), 0);
    let result = i.save_state_with(|piece| {
        offered.extend_from_slice(piece);
        calls += 1;
        if calls == at + 1 { answer(piece.len()) } else { piece.len() as isize }
    });
    (result, offered, calls)
}

#[test]
fn earnest_3_2_a_state_that_is_not_taken_whole_is_an_error() {
    let (i, mut conn) = spoken();
    let (count, whole) = (pieces(&i), save(&i));
    for at in 0..count {
        for answer in ANSWERS {
            let (result, offered, calls) = save_with(&i, at, answer);
            let said = format!("piece {at} of {count} and {}", answer(1));
            if !ours("state-written") {
                // Before 4.8 there was no result.
                assert!(result == 0 || !library().at_least(8), "{said}: {result}");
                continue;
            }
            assert_eq!(result, -libc::EIO, "{said}");
            // A program that does not look at the result, as there was none before 4.8, has the whole state if its callback
            // took it whatever it said; one that failed is left alone.
            let ended = answer(1) < 0;
            assert_eq!(calls, if ended { at + 1 } else { count }, "{said}");
            assert!(whole.starts_with(&offered) && (ended || offered == whole), "{said}");
        }
    }
    // Nothing of it stays behind.
    assert_eq!(save(&i), whole);
    assert_eq!(conn.receive(&i, 14).1, b"unacknowledged");
}

#[test]
fn earnest_3_2_a_state_may_come_in_pieces_of_any_length() {
    let (i, mut conn) = spoken();
    let whole = save(&i);
    if !ours("state-truncated") {
        return;
    }
    let (other, kept) = with_taken(Setup::default(), PORT);
    let mut rest = &whole[..];
    let mut turn = 0;
    // As a pipe gives them: 1 byte, 2 bytes, 4, up to as many as there is room for.
    let result = other.load_state_with(4, |piece| {
        turn = (turn + 1) % 20;
        let length = piece.len().min(1 << turn).min(rest.len());
        piece[..length].copy_from_slice(&rest[..length]);
        rest = &rest[length..];
        length as isize
    });
    assert_eq!((result, rest.len()), (0, 0));
    assert_eq!(conn.receive(&other, 14).1, b"unacknowledged");
    conn.data(&other, b"after");
    assert_eq!(*kept.borrow(), b"after");
}

#[test]
fn earnest_3_2_a_state_that_cannot_be_read_is_an_error_and_changes_nothing() {
    let (i, _) = spoken();
    if !ours("state-truncated") {
        return;
    }
    let whole = save(&i);
    let places = [0, 1, 2, 7, 0x20, 0x2c, 1000, 0x20174, 0x20200, 0x402cc, 0x402cd, 0x40343, whole.len() - 1];
    for end in places {
        for answer in ANSWERS.into_iter().filter(|answer| answer(2) != 1) {
            let (other, _) = with_taken(Setup::default(), PORT);
            let before = save(&other);
            let mut given = 0;
            let result = other.load_state_with(4, |piece| {
                let length = piece.len().min(end - given);
                if length == 0 {
                    return answer(piece.len());
                }
                piece[..length].copy_from_slice(&whole[given..][..length]);
                given += length;
                length as isize
            });
            let said = format!("{end} bytes and {}", answer(1));
            assert_eq!(result, -libc::EIO, "{said}");
            assert_eq!(save(&other), before, "{said}");
            assert!(other.flows("TCP[").is_empty(), "{said}: {}", other.connection_info());
        }
    }
}
