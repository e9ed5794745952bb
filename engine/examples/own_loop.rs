//! A program with a loop of its own: it sleeps in `poll(2)` on its own descriptors and the stack's, and gives frames to and fro. It is what
//! [`oxislirp::drive::Driver`] does, for programs that have more to watch than that.
//!
//! The guest is another thread at the other end of a Unix socket. It asks an echo server on this machine many questions over UDP.
//!
//!     cargo run --release --example own_loop

use std::error::Error;
use std::io;
use std::net::UdpSocket;
use std::os::unix::net::UnixDatagram;
use std::thread;
use std::time::Duration;

use oxislirp::{Caller, Clock, Config, Glance, Output, Stack};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

const QUESTIONS: u32 = 1_000;
/// How many frames are taken before their answers are sent.
const FRAMES_PER_ROUND: usize = 64;
const MAC: [u8; 6] = [0x52, 0x54, 0, 0x12, 0x34, 0x56];

fn main() -> Result<(), Box<dyn Error>> {
    let server = UdpSocket::bind("127.0.0.1:0")?;
    let port = server.local_addr()?.port();
    thread::spawn(move || echo(&server));
    let (cable, guests_end) = UnixDatagram::pair()?;
    cable.set_nonblocking(true)?;
    let guest = thread::spawn(move || ask(&guests_end, port));

    let mut stack = Stack::new(Config::default())?;
    let clock = Clock::new();
    let (mut buffer, mut rounds) = ([0; 2_048], 0);
    let mut goes_on = true;
    while goes_on {
        // What there is to be sent and told, until the stack says how long there is nothing to do.
        let sleep = loop {
            match stack.poll_output(clock.now()) {
                // What finds no room is lost, as on any network.
                Output::Frame(frame) => drop(cable.send(frame)),
                Output::Effect(effect) => drop(effect),
                Output::Timeout(sleep) => break sleep,
                _ => {}
            }
        };
        let mut watched = [PollFd::new(&cable, PollFlags::IN), PollFd::new(&stack, PollFlags::IN)];
        poll(&mut watched, Some(&Timespec::try_from(sleep)?))?;
        let seen = if watched[1].revents().is_empty() { Glance::Quiet } else { Glance::News };
        // First all frames that are there, then the round.
        for _ in 0..FRAMES_PER_ROUND {
            match cable.recv(&mut buffer) {
                // The guest's farewell.
                Ok(0) => goes_on = false,
                Ok(length) => stack.input(buffer.get(..length).unwrap_or_default(), Caller::Loop, clock.now()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error.into()),
            }
        }
        stack.handle_events(seen, clock.now());
        rounds += 1;
    }
    let answers = guest.join().map_err(|_| "the guest panicked")??;
    println!("ok: {answers} answers in {rounds} rounds");
    println!("Everything works.");
    Ok(())
}

fn echo(server: &UdpSocket) -> io::Result<()> {
    let mut buffer = [0; 100];
    loop {
        let (length, from) = server.recv_from(&mut buffer)?;
        server.send_to(buffer.get(..length).unwrap_or_default(), from)?;
    }
}

/// The guest: one question after the other, each with its number.
fn ask(cable: &UnixDatagram, port: u16) -> io::Result<u32> {
    cable.set_read_timeout(Some(Duration::from_secs(10)))?;
    let mut buffer = [0; 2_048];
    for number in 0..QUESTIONS {
        cable.send(&datagram(port, &number.to_be_bytes()))?;
        loop {
            let length = cable.recv(&mut buffer)?;
            let frame = buffer.get(..length).unwrap_or_default();
            match frame.get(12..14) {
                // Who has 10.0.2.15?
                Some([8, 6]) => drop(cable.send(&arp_reply(frame))?),
                Some([8, 0]) if frame.get(42..46) == Some(&number.to_be_bytes()) => break,
                _ => {}
            }
        }
    }
    cable.send(&[])?;
    Ok(QUESTIONS)
}

/// From 10.0.2.15 to the host, 10.0.2.2. Over IPv4 a datagram needs no checksum (RFC 768).
fn datagram(port: u16, text: &[u8; 4]) -> Vec<u8> {
    let ip = [0x45, 0, 0, 32, 0, 0, 0x40, 0, 64, 17, 0, 0, 10, 0, 2, 15, 10, 0, 2, 2];
    let sum: u32 = ip.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1])).sum();
    let checksum = !((sum & 0xffff) + (sum >> 16)) as u16;
    let mut frame = [&[0x52, 0x55, 10, 0, 2, 2][..], &MAC, &[8, 0], &ip].concat();
    frame[24..26].copy_from_slice(&checksum.to_be_bytes());
    frame.extend([&4_000_u16.to_be_bytes()[..], &port.to_be_bytes(), &[0, 12, 0, 0], text].concat());
    frame
}

/// The answer to a request for the guest's address.
fn arp_reply(request: &[u8]) -> Vec<u8> {
    let asker = request.get(22..32).unwrap_or_default();
    [asker.get(..6).unwrap_or_default(), &MAC, &[8, 6, 0, 1, 8, 0, 6, 4, 0, 2], &MAC, &[10, 0, 2, 15], asker].concat()
}
