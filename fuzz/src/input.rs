//! Reading an input field by field. What is missing at its end reads as zero.

use oxislirp::internals::time::Duration;

pub struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    pub fn new(data: &'a [u8]) -> Input<'a> {
        Input(data)
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn u8(&mut self) -> u8 {
        self.bytes(1).first().copied().unwrap_or(0)
    }

    pub fn u16(&mut self) -> u16 {
        u16::from_be_bytes([self.u8(), self.u8()])
    }

    /// As many bytes as there are, at most `n`.
    pub fn bytes(&mut self, n: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(n.min(self.0.len()));
        self.0 = rest;
        taken
    }

    /// A time from nothing to some minutes in one byte.
    pub fn duration(&mut self) -> Duration {
        match self.u8() {
            0 => Duration::ZERO,
            n => Duration::from_micros(1 << (n % 30)),
        }
    }
}

/// The byte at `place` of the stream named `which`: a byte that was moved, lost or doubled shows.
pub fn byte_at(which: usize, place: usize) -> u8 {
    (place.wrapping_mul(31) ^ (place >> 8)).wrapping_add(which.wrapping_mul(101)) as u8
}

/// A piece of that stream.
pub fn stream(which: usize, from: usize, len: usize) -> Vec<u8> {
    (from..from + len).map(|place| byte_at(which, place)).collect()
}
