//! One transfer in virtual time: the guest, the link, the library's loop and a peer on loopback take turns in one thread.
#![forbid(unsafe_code)]

use std::cell::RefCell;
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::time::Duration;

use crate::ffi::Instance;
use crate::guest::{Guest, Role, Shape, Transmit};
use crate::link::Impairment;
use crate::sys::{self, PollSet};
use crate::wire;

/// The least step of the clock, in nanoseconds.
const STEP: i64 = 10_000;
/// What waits in front of the guest's wire before it makes more segments, as time: a real guest keeps its own queue as short.
const AHEAD: i64 = 1_000_000;
/// After this long without anything from the library the guest retransmits or probes.
const STALL: i64 = 200_000_000;
/// Virtual time within which a connection has to stand.
const PATIENCE: i64 = 5_000_000_000;
const CHUNK: usize = 262_144;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Direction {
    ToHost,
    ToGuest,
}

impl Direction {
    pub fn name(self) -> &'static str {
        match self {
            Direction::ToHost => "guest to host",
            Direction::ToGuest => "host to guest",
        }
    }

    pub fn named(name: &str) -> Option<Direction> {
        [Direction::ToHost, Direction::ToGuest].into_iter().find(|direction| direction.name() == name)
    }
}

/// Virtual time before and while octets are counted.
#[derive(Clone, Copy, Debug)]
pub struct Length {
    pub warm_up: Duration,
    pub measured: Duration,
}

#[derive(Clone, Copy, Debug)]
pub struct Outcome {
    pub mbits: f64,
    /// Frames that were lost, and that found a queue full.
    pub lost: u64,
    pub dropped: u64,
    /// Segments that the guest sent again, and that it had already.
    pub retransmitted: u64,
    pub duplicates: u64,
    pub rounds: u64,
}

/// The peer on the host's side.
struct Peer {
    stream: TcpStream,
    direction: Direction,
    data: Vec<u8>,
    octets: u64,
}

impl Peer {
    /// Takes or gives all that the socket has or can have.
    fn serve(&mut self) -> Result<(), String> {
        loop {
            let result = match self.direction {
                Direction::ToHost => self.stream.read(&mut self.data),
                Direction::ToGuest => {
                    let at = (self.octets % wire::PERIOD as u64) as usize;
                    self.stream.write(&self.data[at..at + CHUNK])
                }
            };
            match result {
                Ok(0) => return Err("the connection ended".into()),
                Ok(n) => self.octets += n as u64,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error.to_string()),
            }
        }
    }
}

struct Journey {
    instance: Instance,
    guest: &'static RefCell<Guest>,
    transmit: Transmit,
    set: PollSet,
    peer: Option<Peer>,
    progress: u64,
    stalled_since: i64,
    rounds: u64,
}

pub fn run(library: &Path, direction: Direction, impairment: Impairment, length: Length) -> Result<Outcome, String> {
    let shape =
        Shape { mtu: 1500, burst: 44, push_each: false, ack_every: 2, verify: true, impairment: Some(impairment) };
    // Leaked: the library keeps its address until the process ends.
    let guest: &'static RefCell<Guest> = Box::leak(Box::new(RefCell::new(Guest::new(shape, 1))));
    let transmit = guest.borrow().transmit();
    let instance = Instance::new(library, shape.mtu, guest)?;
    let now = sys::monotonic_ns();
    let set = PollSet::touched(64);
    let mut journey =
        Journey { instance, guest, transmit, set, peer: None, progress: 0, stalled_since: now, rounds: 0 };
    journey.connect(direction)?;
    if let Some(link) = &mut guest.borrow_mut().link {
        link.lossy = true;
    }
    journey.run_for(length.warm_up)?;
    let before = journey.octets();
    journey.run_for(length.measured)?;
    let octets = journey.octets() - before;
    let guest = guest.borrow();
    if guest.counters.corrupt + guest.counters.resets > 0 {
        return Err(format!("the run was not sound: {:?}", guest.counters));
    }
    Ok(Outcome {
        mbits: octets as f64 * 8.0 / 1e6 / length.measured.as_secs_f64(),
        lost: guest.link.as_ref().map_or(0, |link| link.lost),
        dropped: guest.link.as_ref().map_or(0, |link| link.dropped()),
        retransmitted: guest.counters.retransmitted,
        duplicates: guest.counters.duplicates,
        rounds: journey.rounds,
    })
}

impl Journey {
    /// Introduces the guest and opens its one connection.
    fn connect(&mut self, direction: Direction) -> Result<(), String> {
        let text = |error: std::io::Error| error.to_string();
        let listener = TcpListener::bind("127.0.0.1:0").map_err(text)?;
        listener.set_nonblocking(true).map_err(text)?;
        let port = listener.local_addr().map_err(text)?.port();
        self.guest.borrow_mut().announce();
        let role = if direction == Direction::ToHost { Role::Sender } else { Role::Receiver };
        self.guest.borrow_mut().connect(port, role);
        let end = sys::monotonic_ns() + PATIENCE;
        while sys::monotonic_ns() < end {
            self.round()?;
            if self.peer.is_none()
                && let Ok((stream, _)) = listener.accept()
            {
                stream.set_nonblocking(true).map_err(text)?;
                let data = wire::host_pattern(wire::PERIOD + CHUNK);
                self.peer = Some(Peer { stream, direction, data, octets: 0 });
            }
            if self.peer.is_some() && self.guest.borrow().counters.established > 0 {
                return Ok(());
            }
        }
        Err("no connection".into())
    }

    /// Octets that have arrived at the receiving end.
    fn octets(&self) -> u64 {
        match &self.peer {
            Some(peer) if peer.direction == Direction::ToHost => peer.octets,
            _ => self.guest.borrow().counters.bytes,
        }
    }

    fn run_for(&mut self, duration: Duration) -> Result<(), String> {
        let end = sys::monotonic_ns() + duration.as_nanos() as i64;
        while sys::monotonic_ns() < end {
            self.round()?;
        }
        Ok(())
    }

    /// One turn of everybody at this moment, then the clock goes to the next moment at which anything can happen.
    fn round(&mut self) -> Result<(), String> {
        self.rounds += 1;
        let now = sys::monotonic_ns();
        self.hand_to_link(now);
        let mut timeout = 1000;
        self.set.clear();
        self.instance.fill(&mut timeout, &mut self.set);
        let ready = self.set.wait(0);
        while let Some(frame) = self.pop(true, now) {
            self.instance.input(&frame);
            self.recycle(true, frame);
        }
        self.instance.poll(false, &self.set);
        while let Some(frame) = self.pop(false, now) {
            self.guest.borrow_mut().receive(&frame);
            self.recycle(false, frame);
        }
        self.hand_to_link(now);
        if let Some(peer) = &mut self.peer {
            peer.serve()?;
        }
        let mut next = now + i64::from(timeout) * 1_000_000;
        next = next.min(self.patience(now));
        let guest = self.guest.borrow();
        if let Some(link) = &guest.link {
            next = next.min(link.next_due().unwrap_or(i64::MAX));
            if guest.has_frame() {
                next = next.min(now + link.backlog(true, now) - AHEAD / 2);
            }
        }
        if ready > 0 {
            next = now;
        }
        sys::advance(next.max(now + STEP) - now);
        Ok(())
    }

    /// What the guest wants to send goes onto the link, as long as its wire is not far behind.
    fn hand_to_link(&mut self, now: i64) {
        let mut guest = self.guest.borrow_mut();
        while guest.link.as_ref().is_some_and(|link| link.backlog(true, now) < AHEAD) {
            let Some(slot) = guest.next_frame(&mut self.transmit) else { break };
            if let Some(link) = &mut guest.link {
                link.push(true, self.transmit.frame(&slot), now);
            }
        }
    }

    /// When the guest's patience ends; it retransmits when it has ended.
    fn patience(&mut self, now: i64) -> i64 {
        let mut guest = self.guest.borrow_mut();
        if guest.progress != self.progress {
            self.progress = guest.progress;
            self.stalled_since = now;
        }
        if now >= self.stalled_since + STALL {
            guest.on_stall();
            self.stalled_since = now;
        }
        self.stalled_since + STALL
    }

    // The guest is borrowed for these moments only, as the library's callbacks borrow it as well.
    fn pop(&self, up: bool, now: i64) -> Option<Vec<u8>> {
        self.guest.borrow_mut().link.as_mut()?.pop(up, now)
    }

    fn recycle(&self, up: bool, frame: Vec<u8>) {
        if let Some(link) = &mut self.guest.borrow_mut().link {
            link.recycle(up, frame);
        }
    }
}
