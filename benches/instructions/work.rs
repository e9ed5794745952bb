//! The workloads. A unit is a segment, a datagram, a transaction or a round, as each one says.
#![forbid(unsafe_code)]

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::path::Path;

use crate::guest::{LISTEN_BASE, REQUEST, RESPONSE, Role};
use crate::turn::Turn;
use crate::wire::{self, Template};

pub struct Work {
    pub name: &'static str,
    pub about: &'static str,
    /// Units that a count is made with: enough that what is done once, such as clearing a buffer, hardly shows.
    pub units: u64,
    pub run: fn(&Path, u64) -> Result<(), String>,
}

pub const ALL: &[Work] = &[
    Work { name: "ping", about: "an ARP request and an ICMP echo, both answered", units: 1000, run: ping },
    Work { name: "dhcp", about: "DISCOVER, OFFER, REQUEST and ACK", units: 1000, run: dhcp },
    Work { name: "udp_g2h", about: "a datagram of 1472 octets, guest to host", units: 10_000, run: udp_up },
    Work { name: "udp_h2g", about: "a datagram of 1472 octets, host to guest", units: 10_000, run: udp_down },
    Work { name: "tcp_g2h", about: "a full segment, guest to host, in bursts of 44", units: 1980, run: tcp_up },
    Work {
        name: "tcp_g2h_one_frame",
        about: "a full segment, guest to host, one in a round as in slirp4netns",
        units: 1980,
        run: tcp_up_one_frame,
    },
    Work {
        name: "tcp_h2g",
        about: "1460 octets, host to guest, 64 KiB at a time",
        units: 14_360,
        run: |library, units| tcp_down(library, 1500, units),
    },
    Work {
        name: "tcp_h2g_65520",
        about: "1460 octets, host to guest at MTU 65520, 64 KiB at a time",
        units: 14_360,
        run: |library, units| tcp_down(library, 65_520, units),
    },
    Work {
        name: "rr",
        about: "a byte there and back over one connection",
        units: 1000,
        run: |library, units| round_trips(library, 1, units),
    },
    Work {
        name: "rr_32",
        about: "the same, 32 at once over 32 connections",
        units: 3200,
        run: |library, units| round_trips(library, 32, units),
    },
    Work { name: "crr", about: "connect, request, response, close: guest to host", units: 100, run: transactions },
    Work {
        name: "crr_hostfwd",
        about: "connect, request, response, close: through a host forward",
        units: 100,
        run: forwarded,
    },
    Work {
        name: "idle",
        about: "a loop round beside 100 idle connections",
        units: 1000,
        run: |library, units| idle(library, 100, units),
    },
    Work {
        name: "idle_0",
        about: "a loop round without a connection",
        units: 1000,
        run: |library, units| idle(library, 0, units),
    },
    Work {
        name: "idle_1",
        about: "a loop round beside one idle connection",
        units: 1000,
        run: |library, units| idle(library, 1, units),
    },
];

const GUEST_PORT: u16 = 5000;
const DATAGRAM: usize = 1472;
const BATCH: u64 = 20;
const CHUNK: usize = 65_536;

fn text(error: std::io::Error) -> String {
    error.to_string()
}

fn listener() -> Result<(TcpListener, u16), String> {
    let listener = TcpListener::bind("127.0.0.1:0").map_err(text)?;
    listener.set_nonblocking(true).map_err(text)?;
    let port = listener.local_addr().map_err(text)?.port();
    Ok((listener, port))
}

/// A connection in the given role and the host's end of it.
fn connected(turn: &mut Turn, role: Role) -> Result<(TcpStream, u32), String> {
    let (listener, port) = listener()?;
    let index = turn.connect(port, role)?;
    let (stream, _) = listener.accept().map_err(text)?;
    stream.set_nonblocking(true).map_err(text)?;
    Ok((stream, index))
}

/// What is there to read, at most `buf`; 0 when there is nothing.
fn take(stream: &mut TcpStream, buf: &mut [u8]) -> Result<usize, String> {
    match stream.read(buf) {
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(0),
        other => other.map_err(text),
    }
}

fn ping(library: &Path, units: u64) -> Result<(), String> {
    let mut turn = Turn::new(library)?;
    for unit in 0..units {
        let before = turn.guest.borrow().counters.frames;
        turn.guest.borrow_mut().announce();
        turn.round();
        turn.round_of_frame(&wire::echo_request(unit as u16));
        // A marker of the library may come beside the two answers.
        if turn.guest.borrow().counters.frames < before + 2 {
            return Err("an ARP request or an echo was not answered".into());
        }
    }
    turn.sound()
}

fn dhcp(library: &Path, units: u64) -> Result<(), String> {
    let mut turn = Turn::new(library)?;
    for unit in 0..units {
        for kind in [wire::DHCP_DISCOVER, wire::DHCP_REQUEST] {
            turn.round_of_frame(&wire::dhcp_frame(kind, unit as u32));
        }
        let counters = turn.guest.borrow().counters;
        if counters.offers.min(counters.leases) != unit + 1 {
            return Err("a DISCOVER or a REQUEST was not answered".into());
        }
    }
    turn.sound()
}

fn datagram_socket() -> Result<(UdpSocket, u16), String> {
    let socket = UdpSocket::bind("127.0.0.1:0").map_err(text)?;
    socket.set_nonblocking(true).map_err(text)?;
    let port = socket.local_addr().map_err(text)?.port();
    Ok((socket, port))
}

fn udp_up(library: &Path, units: u64) -> Result<(), String> {
    let mut turn = Turn::new(library)?;
    let (socket, port) = datagram_socket()?;
    let mut template = Template::udp(GUEST_PORT, port, DATAGRAM);
    let mut buf = [0; 2048];
    // The first datagram makes the flow.
    turn.round_of_datagrams(&mut template, 0, 1);
    let mut received = 0;
    for first in (0..units).step_by(BATCH as usize) {
        turn.round_of_datagrams(&mut template, first, BATCH.min(units - first));
        while socket.recv(&mut buf).is_ok() {
            received += 1;
        }
    }
    if units > 0 && received != units + 1 {
        return Err(format!("{received} of {units} and one datagrams arrived"));
    }
    turn.sound()
}

fn udp_down(library: &Path, units: u64) -> Result<(), String> {
    let mut turn = Turn::new(library)?;
    let (socket, port) = datagram_socket()?;
    turn.guest.borrow_mut().open_udp(GUEST_PORT, port, DATAGRAM);
    turn.round();
    let (_, from) = socket.recv_from(&mut [0; 2048]).map_err(text)?;
    let datagram = wire::cell(0, DATAGRAM);
    for first in (0..units).step_by(BATCH as usize) {
        let count = BATCH.min(units - first);
        for _ in 0..count {
            socket.send_to(&datagram, from).map_err(text)?;
        }
        turn.until("a batch", |guest| guest.counters.datagrams >= first + count)?;
    }
    turn.sound()
}

fn tcp_up(library: &Path, units: u64) -> Result<(), String> {
    upload(Turn::new(library)?, 44, units)
}

fn tcp_up_one_frame(library: &Path, units: u64) -> Result<(), String> {
    let mut turn = Turn::new(library)?;
    turn.error_after_frame = true;
    upload(turn, 1, units)
}

fn upload(mut turn: Turn, frames: u32, units: u64) -> Result<(), String> {
    turn.frames = frames;
    let (mut stream, _) = connected(&mut turn, Role::Sender)?;
    let mut buf = vec![0; 1 << 20];
    let mut received = 0;
    turn.until("the upload", |_| {
        while let Ok(n @ 1..) = take(&mut stream, &mut buf) {
            received += n as u64;
        }
        received >= units * 1460
    })?;
    turn.sound()
}

fn tcp_down(library: &Path, mtu: usize, units: u64) -> Result<(), String> {
    let mut turn = Turn::with_mtu(library, mtu)?;
    let (mut stream, index) = connected(&mut turn, Role::Receiver)?;
    let pattern = wire::host_pattern(wire::PERIOD + CHUNK);
    let total = units * 1460;
    let mut sent = 0;
    while sent < total {
        let at = (sent % wire::PERIOD as u64) as usize;
        let length = CHUNK.min((total - sent) as usize);
        let n = stream.write(&pattern[at..at + length]).map_err(text)?;
        sent += n as u64;
        turn.until("a chunk", |guest| guest.received(index) >= sent)?;
    }
    turn.sound()
}

fn round_trips(library: &Path, at_once: u64, units: u64) -> Result<(), String> {
    let mut turn = Turn::new(library)?;
    let mut streams = Vec::new();
    for _ in 0..at_once {
        streams.push(connected(&mut turn, Role::Quiet)?);
    }
    let mut byte = [0; 1];
    for unit in 1..=units / at_once {
        for (_, index) in &streams {
            turn.guest.borrow_mut().send_byte(*index);
        }
        turn.until("a byte", |guest| {
            for (stream, _) in &mut streams {
                if let Ok(1) = take(stream, &mut byte) {
                    let _ = stream.write_all(&byte);
                }
            }
            streams.iter().all(|(_, index)| guest.received(*index) >= unit)
        })?;
    }
    turn.sound()
}

fn transactions(library: &Path, units: u64) -> Result<(), String> {
    let mut turn = Turn::new(library)?;
    let (listener, port) = listener()?;
    let mut stream: Option<(TcpStream, usize)> = None;
    let mut buf = [0; 4096];
    if units > 0 {
        turn.guest.borrow_mut().connect(port, Role::Client);
    }
    turn.until("the transactions", |guest| {
        if stream.is_none() {
            stream = listener.accept().ok().map(|(stream, _)| (stream, 0));
            if let Some((stream, _)) = &stream {
                let _ = stream.set_nonblocking(true);
            }
        }
        if let Some((peer, got)) = &mut stream {
            match peer.read(&mut buf) {
                Ok(0) => stream = None,
                Ok(n) => {
                    *got += n;
                    if *got == REQUEST {
                        let _ = peer.write_all(&[0; RESPONSE]);
                    }
                }
                Err(_) => {}
            }
        }
        guest.counters.completed >= units
    })?;
    turn.sound()
}

fn forwarded(library: &Path, units: u64) -> Result<(), String> {
    let mut turn = Turn::new(library)?;
    turn.guest.borrow_mut().listen();
    let (listener, port) = listener()?;
    drop(listener);
    if !turn.instance.add_hostfwd(port, LISTEN_BASE) {
        return Err(format!("slirp_add_hostfwd refused: {}", std::io::Error::last_os_error()));
    }
    let mut buf = [0; 4096];
    for _ in 0..units {
        // The kernel's part of the handshake ends before the library accepts.
        let mut stream = TcpStream::connect(("127.0.0.1", port)).map_err(text)?;
        stream.set_nonblocking(true).map_err(text)?;
        stream.write_all(&[0; REQUEST]).map_err(text)?;
        let mut got = 0;
        let mut failed = None;
        turn.until("an answer", |_| {
            match take(&mut stream, &mut buf) {
                Ok(n) => got += n,
                Err(error) => failed = Some(error),
            }
            got >= RESPONSE || failed.is_some()
        })?;
        failed.map_or(Ok(()), Err)?;
        let closed = turn.guest.borrow().counters.released;
        drop(stream);
        turn.until("the end of a connection", |guest| guest.counters.released > closed)?;
    }
    turn.sound()
}

fn idle(library: &Path, connections: u64, units: u64) -> Result<(), String> {
    let mut turn = Turn::new(library)?;
    let mut streams = Vec::new();
    for _ in 0..connections {
        streams.push(connected(&mut turn, Role::Quiet)?);
    }
    for _ in 0..units {
        turn.round();
    }
    turn.sound()
}
