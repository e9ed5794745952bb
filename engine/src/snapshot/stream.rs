//! The primitives of the stream: big-endian integers and raw bytes. Addresses and ports are the exception: upstream holds
//! them in network order and writes them as if they were integers, so a little-endian machine writes them reversed.
//! Source: docs/contract/state.md section 1.

use std::net::Ipv4Addr;

/// Writes primitives; each becomes one piece, as upstream writes them.
#[derive(Debug, Default)]
pub(super) struct Writer {
    pub pieces: Vec<Vec<u8>>,
}

impl Writer {
    pub(super) fn u8(&mut self, value: u8) {
        self.pieces.push(vec![value]);
    }

    pub(super) fn u16(&mut self, value: u16) {
        self.pieces.push(value.to_be_bytes().to_vec());
    }

    pub(super) fn i16(&mut self, value: i16) {
        self.pieces.push(value.to_be_bytes().to_vec());
    }

    pub(super) fn u32(&mut self, value: u32) {
        self.pieces.push(value.to_be_bytes().to_vec());
    }

    pub(super) fn address(&mut self, address: Ipv4Addr) {
        self.u32(u32::from_ne_bytes(address.octets()));
    }

    pub(super) fn port(&mut self, port: u16) {
        self.u16(port.to_be());
    }

    pub(super) fn bytes(&mut self, bytes: Vec<u8>) {
        self.pieces.push(bytes);
    }
}

/// Reads primitives. Each method gives `None` when the stream has ended or cannot be read.
pub(super) struct Reader<R> {
    read: R,
}

impl<R: FnMut(&mut [u8]) -> Option<()>> Reader<R> {
    /// `read` fills its argument whole, or says that it cannot.
    pub(super) fn new(read: R) -> Reader<R> {
        Reader { read }
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let mut bytes = [0; N];
        (self.read)(&mut bytes)?;
        Some(bytes)
    }

    pub(super) fn u8(&mut self) -> Option<u8> {
        self.array::<1>().map(|[byte]| byte)
    }

    pub(super) fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_be_bytes)
    }

    pub(super) fn i16(&mut self) -> Option<i16> {
        self.array().map(i16::from_be_bytes)
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }

    pub(super) fn mac(&mut self) -> Option<[u8; 6]> {
        self.array()
    }

    pub(super) fn address(&mut self) -> Option<Ipv4Addr> {
        self.u32().map(|value| Ipv4Addr::from(value.to_ne_bytes()))
    }

    pub(super) fn port(&mut self) -> Option<u16> {
        self.u16().map(u16::from_be)
    }

    /// `length` bytes. The caller has bounded the length.
    pub(super) fn bytes(&mut self, length: usize) -> Option<Vec<u8>> {
        let mut bytes = vec![0; length];
        (self.read)(&mut bytes)?;
        Some(bytes)
    }
}
