//! The TFTP server over files in memory: any datagrams of a few clients at any times. What is sent fits the MTU and is
//! the part of the file that its block number says.
//!
//! Input: one byte for the MTU, then records: client and whether deadlines run first (bit 7), time, length, datagram.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use oxislirp::internals::tftp::Tftp;
use oxislirp::{Instant, TftpFile, TftpOpenError, TftpSource};

use crate::input::{Input, byte_at};

const DATA: u16 = 3;
const OPTIONS: u16 = 6;
/// The block size without options (RFC 1350).
const DEFAULT_BLOCK: usize = 512;

/// Every name is a file; its first byte tells how long it is, and the name `!` cannot be read.
#[derive(Debug)]
struct Memory;

#[derive(Debug)]
struct File(usize);

impl TftpSource for Memory {
    fn open(&self, name: &[u8]) -> Result<Box<dyn TftpFile>, TftpOpenError> {
        Ok(Box::new(File(usize::from(*name.first().ok_or(TftpOpenError::Missing)?) * 16)))
    }
}

impl TftpFile for File {
    fn size(&self) -> u64 {
        self.0 as u64
    }

    fn read_at(&mut self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        if self.0 == usize::from(b'!') * 16 {
            return Err(io::ErrorKind::Other.into());
        }
        let len = buffer.len().min(self.0.saturating_sub(offset as usize));
        for (at, byte) in buffer.iter_mut().take(len).enumerate() {
            *byte = byte_at(0, offset as usize + at);
        }
        Ok(len)
    }
}

pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let mtu = [1500, 576, 300, 65520][usize::from(input.u8() & 3)];
    let mut server = Tftp::new(Some(Arc::new(Memory)), mtu);
    let mut now = Instant::ZERO;
    let mut clients = [DEFAULT_BLOCK; 32];
    for _ in 0..256 {
        if input.is_empty() {
            break;
        }
        let who = input.u8();
        let client = usize::from(who & 31);
        now += input.duration();
        let len = input.u16().into();
        let datagram = input.bytes(len);
        if who & 128 != 0 && server.deadline().is_some_and(|deadline| deadline <= now) {
            server.on_deadline(now, |to, packet| check(&mut clients, to, packet, mtu));
            assert!(server.deadline().is_none_or(|deadline| deadline > now), "a deadline stays overdue");
        }
        if datagram.starts_with(&[0, 1]) {
            clients[client] = DEFAULT_BLOCK;
        }
        let from = SocketAddr::from(([10, 0, 2, 15], 1024 + client as u16));
        let taken = server.on_datagram(from, datagram, now, |to, packet| check(&mut clients, to, packet, mtu));
        assert!(taken.is_ok(), "the memory has room for every file");
    }
}

fn check(clients: &mut [usize; 32], to: SocketAddr, packet: &[u8], mtu: usize) {
    let block = &mut clients[usize::from(to.port() - 1024)];
    assert!(packet.len() >= 4 && packet.len() <= (mtu - 28).max(4 + DEFAULT_BLOCK), "{} bytes", packet.len());
    match u16::from_be_bytes([packet[0], packet[1]]) {
        DATA => {
            let number = usize::from(u16::from_be_bytes([packet[2], packet[3]]));
            let content = &packet[4..];
            assert!(content.len() <= *block, "a block of {} bytes where {block} are agreed", content.len());
            let start = number.wrapping_sub(1).wrapping_mul(*block);
            let right = content.iter().enumerate().all(|(at, byte)| *byte == byte_at(0, start.wrapping_add(at)));
            assert!(right, "block {number} of {block} bytes has other content");
        }
        OPTIONS => {
            let mut words = packet[2..].split(|byte| *byte == 0);
            while let (Some(name), Some(value)) = (words.next(), words.next()) {
                if name.eq_ignore_ascii_case(b"blksize") {
                    *block = std::str::from_utf8(value).ok().and_then(|text| text.parse().ok()).expect("a number");
                }
            }
        }
        5 => assert_eq!(packet.last(), Some(&0), "an error's text ends with a zero"),
        other => panic!("a packet of type {other}"),
    }
}
