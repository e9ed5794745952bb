//! Requests that are only read, for the fuzz target: what they would do to the machine is not done.

use super::lines::{LONGEST, Lines};
use super::range::{Place, Range};
use super::request::{self, Request, WrittenForward, WrittenPlace};

/// Reads what a client has sent, in pieces of this length: what each line asks for, up to one that is too long.
///
/// # Panics
/// Something was read that is not so.
#[allow(clippy::panic, clippy::expect_used)]
pub fn read_requests(bytes: &[u8], piece: usize) -> Vec<String> {
    let mut lines = Lines::default();
    let mut read = Vec::new();
    for piece in bytes.chunks(piece.clamp(1, LONGEST)) {
        lines.put(piece);
        loop {
            match lines.next() {
                Ok(None) => break,
                Ok(Some(line)) => {
                    let (id, request) = request::read(line);
                    if let Ok(request) = &request {
                        check(request);
                    }
                    read.push(format!("{id} {request:?}"));
                }
                Err(_) => {
                    read.push("too long".into());
                    return read;
                }
            }
        }
    }
    read
}

/// What is written as a range is one, and is written the same again.
#[allow(clippy::expect_used)]
fn check(request: &Request) {
    match request {
        Request::ForwardAdd(forwards) | Request::ForwardReplace(forwards) => forwards.iter().for_each(check_range),
        Request::ForwardRemove(places) => {
            for WrittenPlace { protocol, listen } in places {
                if let Ok((_, place)) = Place::read(protocol, listen) {
                    assert!((1..=65_536).contains(&place.count()));
                }
            }
        }
        _ => {}
    }
}

#[allow(clippy::expect_used)]
fn check_range(written: &WrittenForward) {
    let Ok(range) = Range::read(written) else { return };
    assert!((1..=65_536).contains(&range.count()));
    // The last port is there.
    let _ = range.nth(range.count() - 1);
    let words = range.words();
    // A path is escaped for people.
    if words.protocol != "unix" {
        let (protocol, listen, guest) = (words.protocol.to_owned(), words.listen, Some(words.guest));
        let again = WrittenForward { protocol, listen, guest, only_v6: written.only_v6, wait: written.wait };
        assert_eq!(Range::read(&again).expect("it was written by us"), range);
    }
}
