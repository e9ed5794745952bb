//! Connections on which somebody does not read: how much waits in the library's memory, that all of it arrives when it is
//! read after all, and that a connection is as fast afterwards as one that never stood still.

mod common;
use common::*;
use std::io::{ErrorKind, Read, Write};

/// What may wait for one direction of a connection in which nobody reads.
const MOST: usize = 128 << 10;
/// A unit of the library's window field, which an edge may be rounded up by.
const ROUNDING: usize = 1 << 10;

/// Options of a guest with segments of 1460 bytes and a window scale of 7, as Linux has it.
fn options() -> Vec<u8> {
    [&mss_option(1460)[..], &[1, 3, 3, 7]].concat()
}

/// A connection from the guest to a listener on the host, and both of its ends.
fn connected(i: &Instance) -> (Conn, TcpStream) {
    let (listener, port) = tcp_listener();
    let conn = Conn::connect_with(i, at_vhost(port), &options());
    let host = accept(i, &listener);
    host.set_nonblocking(true).unwrap();
    i.settle();
    (conn, host)
}

/// How many bytes wait in the library: for the host, and for the guest.
fn held(i: &Instance, conn: &Conn) -> (usize, usize) {
    let port = conn.guest.port().to_string();
    let lines = i.flows("TCP[");
    let line = lines.iter().find(|line| line.split_whitespace().any(|c| c == port)).expect("the connection is listed");
    let mut numbers = line.split_whitespace().rev().map(|c| c.parse().expect("a number"));
    let sent = numbers.next().unwrap();
    (numbers.next().unwrap(), sent)
}

/// A guest that sends what it is permitted to, 44 segments at a time, as a Linux guest's driver does.
struct Uploader {
    conn: Conn,
    shift: u8,
    sent: usize,
    window: usize,
    /// The largest window that it has seen.
    largest: usize,
}

impl Uploader {
    fn new(conn: Conn) -> Uploader {
        let shift = conn.hello.as_ref().and_then(Segment::window_scale).unwrap_or(0);
        // The window of a SYN is not scaled.
        let window = usize::from(conn.snd_wnd);
        Uploader { conn, shift, sent: 0, window, largest: 0 }
    }

    /// One turn of the loop: whether anything could be sent.
    fn turn(&mut self, i: &Instance, data: &[u8]) -> bool {
        self.hear(i);
        let edge = self.conn.snd_una.wrapping_add(self.window as u32);
        let mut any = false;
        for _ in 0..44 {
            let free = edge.wrapping_sub(self.conn.snd_nxt);
            let n = if free > 1 << 31 { 0 } else { (free as usize).min(1460).min(data.len() - self.sent) };
            if n == 0 {
                break;
            }
            // Not pushed: a program that has more to write.
            self.conn.send(i, ACK, &data[self.sent..self.sent + n]);
            self.sent += n;
            any = true;
        }
        i.turn(Duration::ZERO);
        any
    }

    /// Sends until nothing more can be.
    fn fill(&mut self, i: &Instance, data: &[u8]) {
        let mut idle = 0;
        while idle < 20 {
            idle = if self.turn(i, data) { 0 } else { idle + 1 };
        }
        i.settle();
        self.hear(i);
    }

    fn hear(&mut self, i: &Instance) {
        while let Some(s) = self.conn.next(i) {
            self.window = usize::from(s.window) << self.shift;
            self.largest = self.largest.max(self.window);
        }
    }
}

/// What is there to be read, at most `most` bytes.
fn read_some(host: &mut TcpStream, most: usize) -> Vec<u8> {
    let mut bytes = vec![0; most];
    let mut have = 0;
    while have < most {
        match host.read(&mut bytes[have..]) {
            Ok(0) => panic!("the stream has ended"),
            Ok(n) => have += n,
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) => panic!("{error}"),
        }
    }
    bytes.truncate(have);
    bytes
}

#[test]
fn stalled_a_host_that_does_not_read_leaves_little_and_loses_nothing() {
    let i = Setup::default().start();
    let (conn, mut host) = connected(&i);
    let data = pattern(8 << 20);
    let mut guest = Uploader::new(conn);
    guest.fill(&i, &data);
    assert!(guest.sent < data.len(), "nothing has held the guest back");
    let (waiting, _) = held(&i, &guest.conn);
    assert!(waiting <= MOST + ROUNDING, "{waiting} bytes wait for the host");
    // In gulps of all sizes, with the guest sending what it may meanwhile.
    let mut got = Vec::new();
    let mut gulp = 1000;
    i.until("all bytes at the host", || {
        guest.turn(&i, &data);
        got.extend(read_some(&mut host, gulp));
        gulp = if gulp > 700_000 { 1000 } else { gulp * 3 };
        (got.len() == data.len()).then_some(())
    });
    assert!(got == data);
}

#[test]
fn stalled_a_host_that_reads_again_is_given_larger_windows() {
    let i = Setup::default().start();
    let (conn, mut host) = connected(&i);
    let data = pattern(8 << 20);
    let mut guest = Uploader::new(conn);
    guest.fill(&i, &data);
    let stalled = guest.largest;
    let mut got = 0;
    i.until("all bytes at the host", || {
        // Everything that may be sent is sent before the host reads: each time all of the window is used.
        while guest.turn(&i, &data) {}
        got += read_some(&mut host, data.len()).len();
        (got == data.len()).then_some(())
    });
    if ours("window-scaling") {
        assert!(stalled <= MOST + ROUNDING, "a window of {stalled} bytes before");
        // As much as its kernel takes at once; how far that goes is tested in tcp/connection/tests/growth.rs.
        assert!(guest.largest >= 2 * stalled, "{} bytes in one window, after {stalled}", guest.largest);
    }
}

/// A guest that acknowledges what comes, and whose program does not read.
struct Deaf {
    conn: Conn,
    /// The whole buffer, and what is in it.
    whole: usize,
    got: Vec<u8>,
    read: usize,
}

impl Deaf {
    fn new(conn: Conn, whole: usize) -> Deaf {
        Deaf { conn, whole, got: Vec::new(), read: 0 }
    }

    /// Takes in what is there and acknowledges it.
    fn turn(&mut self, i: &Instance) {
        let mut any = false;
        while let Some(s) = self.conn.next(i) {
            if s.payload.is_empty() || s.seq != self.conn.rcv_nxt {
                any |= !s.payload.is_empty();
                continue;
            }
            any = true;
            self.conn.rcv_nxt = self.conn.rcv_nxt.wrapping_add(s.payload.len() as u32);
            self.got.extend_from_slice(&s.payload);
            assert!(self.got.len() - self.read <= self.whole + 1460, "more came than there is room for");
        }
        if any {
            self.acknowledge(i);
        }
        i.turn(Duration::ZERO);
    }

    fn acknowledge(&mut self, i: &Instance) {
        self.conn.window = ((self.whole + self.read).saturating_sub(self.got.len()) >> 7) as u16;
        i.input(&self.conn.segment(ACK, b"").frame());
    }

    /// The program reads so much.
    fn read(&mut self, i: &Instance, n: usize) {
        self.read = (self.read + n).min(self.got.len());
        self.acknowledge(i);
    }

    /// Until nothing more comes although the host has more.
    fn fill(&mut self, i: &Instance, host: &mut TcpStream, data: &[u8], sent: &mut usize) {
        let mut idle = 0;
        while idle < 20 {
            let before = (self.got.len(), *sent);
            *sent += host_write_some(host, &data[*sent..]);
            self.turn(i);
            idle = if before == (self.got.len(), *sent) { idle + 1 } else { 0 };
        }
    }
}

#[test]
fn stalled_a_guest_that_does_not_read_leaves_little_and_loses_nothing() {
    for whole in [64 << 10, 1 << 20, 4 << 20] {
        let i = Setup::default().start();
        let (conn, mut host) = connected(&i);
        let data = pattern(8 << 20);
        let mut sent = 0;
        let mut guest = Deaf::new(conn, whole);
        guest.acknowledge(&i);
        guest.fill(&i, &mut host, &data, &mut sent);
        assert!(guest.got.len() >= whole - 1460 && guest.got.len() < data.len(), "{} bytes", guest.got.len());
        let (_, waiting) = held(&i, &guest.conn);
        assert!(waiting <= MOST, "{waiting} bytes wait for a guest with a buffer of {whole}");
        // In gulps of all sizes.
        let mut gulp = 1000;
        i.until("all bytes at the guest", || {
            guest.read(&i, gulp);
            gulp = if gulp > 700_000 { 1000 } else { gulp * 3 };
            sent += host_write_some(&mut host, &data[sent..]);
            guest.turn(&i);
            (guest.got.len() == data.len()).then_some(())
        });
        assert!(guest.got == data);
    }
}

/// What a host that ends after a burst has said arrives whole, however late the guest reads it.
#[test]
fn stalled_a_burst_is_read_late_and_is_whole() {
    let i = Setup::default().start();
    let (conn, mut host) = connected(&i);
    let data = pattern(900_000);
    let mut sent = 0;
    let mut guest = Deaf::new(conn, 64 << 10);
    guest.acknowledge(&i);
    guest.fill(&i, &mut host, &data, &mut sent);
    sent += host_write_some(&mut host, &data[sent..]);
    i.until("the host's kernel to take all of it", || {
        sent += host.write(&data[sent..]).unwrap_or(0);
        guest.read(&i, 1000);
        guest.turn(&i);
        (sent == data.len()).then_some(())
    });
    drop(host);
    i.until("all bytes at the guest", || {
        guest.read(&i, 10_000);
        guest.turn(&i);
        (guest.got.len() == data.len()).then_some(())
    });
    assert!(guest.got == data);
}

/// The bar: 150 kB of memory for a connection whose guest, or whose host, does not read. It comes back when they have ended, but
/// for the ends of pages that the C library keeps.
#[test]
fn stalled_memory_is_bounded_and_comes_back() {
    const NAME: &str = "stalled_memory_is_bounded_and_comes_back";
    const FLOWS: usize = 16;
    const BAR: usize = 150_000;
    if !isolated(NAME, Isolation::Process) {
        return;
    }
    let i = Setup::default().start();
    let data = pattern(8 << 20);
    let quiet = || {
        for _ in 0..4 {
            i.move_clock(Duration::from_secs(1));
            i.settle();
            i.drain_raw();
        }
    };
    // The memory of the test itself is there already, and what is made once.
    let upload = |data: &[u8]| {
        let (conn, host) = connected(&i);
        let mut guest = Uploader::new(conn);
        guest.fill(&i, data);
        (guest.conn, host)
    };
    let mut kept = vec![0u8; 1 << 20];
    let mut download = |data: &[u8]| {
        let (conn, mut host) = connected(&i);
        let (mut guest, mut sent) = (Deaf::new(conn, 1 << 20), 0);
        guest.got = std::mem::take(&mut kept);
        guest.got.clear();
        guest.acknowledge(&i);
        guest.fill(&i, &mut host, data, &mut sent);
        kept = std::mem::take(&mut guest.got);
        (guest.conn, host)
    };
    let ends = [upload(&data), download(&data)];
    quiet();
    // What the test itself has used stays with it, so that each is done twice and the second time counts.
    for (direction, counts) in [("upload", false), ("upload", true), ("download", false), ("download", true)] {
        let before = resident();
        let flows: Vec<_> =
            (0..FLOWS).map(|_| if direction == "upload" { upload(&data) } else { download(&data) }).collect();
        quiet();
        let each = resident().saturating_sub(before) / FLOWS;
        for (mut conn, host) in flows {
            conn.send(&i, RST, b"");
            drop(host);
        }
        i.settle();
        quiet();
        let after = resident().saturating_sub(before);
        eprintln!("{direction}: {each} bytes each, {after} bytes after {FLOWS} of them");
        if counts && ours("memory-comes-back") {
            assert!(each <= BAR, "{direction}: {each} bytes each");
            assert!(after <= FLOWS * each / 2, "{direction}: {after} bytes are left of {FLOWS} times {each}");
        }
    }
    drop(ends);
}
