//! What a client of the control socket sends: it is read the same however it is cut, and a range that is read is one. Nothing of it is
//! done.
//!
//! Input: one byte for the length of the pieces, then the bytes.

use oxislirp::internals::control::read_requests;

use crate::input::Input;

pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let piece = usize::from(input.u8()).max(1);
    let bytes = input.bytes(usize::MAX);
    assert_eq!(read_requests(bytes, piece), read_requests(bytes, usize::MAX));
}
