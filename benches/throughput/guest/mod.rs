//! The guest: a TCP end with hardly any cost of its own. It keeps one small record per connection, sends bulk data from
//! a template, and answers what it receives through a queue that the loop empties with `slirp_input`.
//!
//! The ideal guest shows the library MSS and window scale options in the SYN, full segments with PSH on the last one of each
//! burst, window updates honoured, one acknowledgement per batch (or per N segments). `linux` is what another one does
//! differently, which behaves as Linux.
#![forbid(unsafe_code)]

mod conn;
mod linux;
mod receive;
mod recovery;
mod transmit;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

pub use conn::Role;
use conn::{Conn, State};
use linux::{Habits, Linux};
use transmit::{Body, Control};
pub use transmit::{Slot, Transmit};

use crate::link::{Impairment, Link};
use crate::sys;
use crate::wire::{self, ACK, Header, PSH, RST, SYN, Template};

/// Local ports from which the guest accepts forwarded connections.
pub const LISTEN_BASE: u16 = 8000;
pub const LISTEN_COUNT: u16 = 8;
/// Octets of a request and of an answer of the connect-request-response-close workloads.
pub const REQUEST: usize = 64;
pub const RESPONSE: usize = 1024;

const NONE: u32 = u32::MAX;

/// What the guest counted; `problems` must stay zero in a sound run.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counters {
    /// TCP payload octets received in order.
    pub bytes: u64,
    /// UDP datagrams received from the measured port.
    pub datagrams: u64,
    /// Echo replies, and offers and acknowledgments of DHCP.
    pub echoes: u64,
    pub offers: u64,
    pub leases: u64,
    /// Client connections that ran to their end.
    pub completed: u64,
    pub established: u64,
    /// Connections whose records were given back.
    pub released: u64,
    /// Frames from the library.
    pub frames: u64,
    /// Bulk segments that were sent again or forced into a closed window.
    pub retransmitted: u64,
    pub resets: u64,
    /// Segments that left a gap, and segments already seen.
    pub gaps: u64,
    pub duplicates: u64,
    /// Client connections given up after two seconds.
    pub stuck: u64,
    /// Wrong checksums or wrong bytes (with verification on).
    pub corrupt: u64,
}

pub struct Guest {
    conns: Vec<Conn>,
    active: Vec<u32>,
    passive: Vec<u32>,
    free: Vec<u32>,
    senders: Vec<u32>,
    sender: usize,
    control: VecDeque<Control>,
    acks: Vec<u32>,
    /// Acknowledgments and bulk data leave in turn; else what is acknowledged goes first.
    pub takes_turns: bool,
    bulk_next: bool,
    next_port: u16,
    next_iss: u32,
    /// Octets of a cell, the MSS of bulk connections.
    cell: u64,
    burst: u32,
    push_each: bool,
    ack_every: u32,
    mss: u16,
    verify: bool,
    impaired: bool,
    /// The link delays.
    long: bool,
    /// What lies between the guest and the library.
    pub link: Option<Link>,
    pattern: Vec<u8>,
    udp_cell: Vec<u8>,
    /// The datagram flow that is sent for ever, as (number of the next datagram).
    udp_number: Option<u64>,
    /// The guest behaves as Linux does.
    linux: Option<Linux>,
    pub counters: Counters,
    /// Moves whenever the library acknowledged or delivered something.
    pub progress: u64,
}

/// What shapes the guest's traffic.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    pub mtu: usize,
    /// Segments from one PSH to the next.
    pub burst: u32,
    /// PSH on each of them instead, as many simple stacks have it.
    pub push_each: bool,
    /// Acknowledge every N segments; 0 = once per loop round.
    pub ack_every: u32,
    pub verify: bool,
    /// The link loses or delays: the guest offers a larger window and SACK, and recovers from loss.
    pub impairment: Option<Impairment>,
}

impl Guest {
    /// A guest whose tables for `capacity` connections are already resident memory.
    pub fn new(shape: Shape, capacity: usize) -> Guest {
        let mss = shape.mtu - 40;
        let mut conns: Vec<Conn> = (0..capacity).map(|_| Conn::new(Role::Quiet, 1, 1, 1)).collect();
        conns.clear();
        let mut acks = vec![1; capacity.max(64)];
        acks.clear();
        let mut control: VecDeque<Control> =
            (0..capacity.max(64)).map(|_| Control::Segment(Header::default(), Body::Empty)).collect();
        control.clear();
        Guest {
            conns,
            active: vec![NONE; 65_536],
            passive: Vec::new(),
            free: Vec::new(),
            senders: Vec::new(),
            sender: 0,
            control,
            acks,
            takes_turns: false,
            bulk_next: false,
            next_port: 20_000,
            next_iss: 1,
            cell: mss as u64,
            burst: shape.burst.max(1),
            push_each: shape.push_each,
            ack_every: shape.ack_every,
            mss: mss as u16,
            verify: shape.verify,
            impaired: shape.impairment.is_some(),
            long: shape.impairment.is_some_and(|impairment| !impairment.delay.is_zero()),
            link: shape.impairment.map(Link::new),
            pattern: wire::host_pattern(wire::PERIOD + 65_536),
            udp_cell: Vec::new(),
            udp_number: None,
            linux: None,
            counters: Counters::default(),
            progress: 0,
        }
    }

    /// From now on connections behave as those of Linux.
    // Not in every benchmark that has this guest.
    #[allow(dead_code)]
    pub fn imitate_linux(&mut self) {
        self.linux = Some(Linux::default());
    }

    #[allow(dead_code)]
    pub fn is_linux(&self) -> bool {
        self.linux.is_some()
    }

    fn habits(&self) -> Option<Box<Habits>> {
        self.linux.as_ref().map(|_| Box::new(Habits::new(self.cell)))
    }

    /// Whether lost segments are repaired by what the other side reports.
    fn repairs(&self) -> bool {
        self.impaired || self.linux.is_some()
    }

    /// The time of a round: acknowledgments that have waited leave, and what was not acknowledged for long is repeated. Milliseconds
    /// until the next such moment; `None` where there is none, or the guest has no clock.
    #[allow(dead_code)]
    pub fn tick(&mut self, now: i64) -> Option<u32> {
        let linux = self.linux.as_mut()?;
        linux.now = now;
        while let Some((due, index)) = linux.delayed.front().copied()
            && due <= now
        {
            linux.delayed.pop_front();
            let conn = &mut self.conns[index as usize];
            if let Some(habits) = conn.habits.as_mut().filter(|habits| habits.ack_due == Some(due)) {
                habits.acknowledges(false);
                if conn.state != State::Closed {
                    self.control.push_back(Control::Segment(conn.header(conn.nxt, ACK), Body::Empty));
                }
            }
        }
        let mut next = linux.delayed.front().map(|(due, _)| *due);
        for index in &self.senders {
            let conn = &mut self.conns[*index as usize];
            let flight = conn.nxt - conn.una;
            let Some(habits) = conn.habits.as_mut() else { continue };
            if habits.due().is_some_and(|due| due <= now) && conn.state == State::Established {
                habits.timed_out(flight, now);
                conn.repeat_all();
            }
            let due = conn.habits.as_ref().and_then(|habits| habits.due());
            next = [next, due].into_iter().flatten().min();
        }
        next.map(|next| u64::try_from(next - now).unwrap_or(0).div_ceil(1_000_000) as u32)
    }

    /// A frame left the library: it arrives now, or after the link's delay, or not at all.
    pub fn arrive(&mut self, frame: &[u8]) {
        match &mut self.link {
            Some(link) => link.push(false, frame, sys::monotonic_ns()),
            None => self.receive(frame),
        }
    }

    /// The buffers that go with this guest.
    pub fn transmit(&self) -> Transmit {
        Transmit::new(self.cell as usize)
    }

    /// Octets of a full TCP segment's payload, which is also the size of a cell.
    pub fn segment_size(&self) -> u16 {
        self.mss
    }

    /// Queue an ARP request for the gateway, which also tells the library where the guest is.
    pub fn announce(&mut self) {
        self.control.push_back(Control::ArpRequest(wire::HOST_IP));
    }

    /// Start a connection to the host's `port`; returns its index.
    pub fn connect(&mut self, port: u16, role: Role) -> u32 {
        let mut local = self.next_port;
        while self.active[usize::from(local)] != NONE {
            local = local.checked_add(1).unwrap_or(1024);
        }
        self.next_port = local.checked_add(1).unwrap_or(1024);
        let mut conn = Conn::new(role, local, port, self.isn());
        conn.habits = self.habits();
        if role == Role::Client {
            conn.started = Some(Instant::now());
        }
        self.control.push_back(Control::Syn(conn.header(0, SYN)));
        let index = self.store(conn);
        self.active[usize::from(local)] = index;
        if role == Role::Sender {
            self.senders.push(index);
        }
        index
    }

    /// Accept forwarded connections on the listening ports from now on.
    pub fn listen(&mut self) {
        self.passive = vec![NONE; usize::from(LISTEN_COUNT) << 16];
    }

    /// Send one byte on a connection.
    pub fn send_byte(&mut self, index: u32) {
        self.send(index, 1, Body::Byte);
    }

    /// Send 1024 octets on a connection.
    pub fn send_kibibyte(&mut self, index: u32) {
        self.send(index, RESPONSE as u64, Body::Response);
    }

    fn send(&mut self, index: u32, length: u64, body: Body) {
        if let Some(conn) = self.conns.get_mut(index as usize) {
            let header = conn.header(conn.nxt, ACK | PSH);
            conn.nxt += length;
            if let Some(habits) = &mut conn.habits {
                habits.acknowledges(true);
            }
            // The segment carries the acknowledgement that may be queued.
            conn.ack_queued = false;
            self.control.push_back(Control::Segment(header, body));
        }
    }

    /// Reset every connection that receives.
    pub fn abort_receivers(&mut self) {
        for index in 0..self.conns.len() as u32 {
            let conn = &self.conns[index as usize];
            if conn.role == Role::Receiver && conn.state != State::Closed {
                let header = conn.header(conn.nxt, RST | ACK);
                self.control.push_back(Control::Segment(header, Body::Empty));
                self.release(index);
            }
        }
    }

    /// Octets received on a connection.
    pub fn received(&self, index: u32) -> u64 {
        self.conns.get(index as usize).map_or(0, |c| c.received)
    }

    /// Octets of a connection that arrived, both ways.
    pub fn moved(&self, index: u32) -> u64 {
        self.conns.get(index as usize).map_or(0, |c| c.received + c.una)
    }

    /// Open a datagram flow by sending one small datagram; answers are counted when they have `size` octets.
    pub fn open_udp(&mut self, local: u16, remote: u16, size: usize) {
        self.udp_cell = wire::cell(0, size);
        self.control.push_back(Control::Udp(local, remote));
    }

    /// Send datagrams of `size` octets for ever.
    pub fn stream_udp(&mut self, transmit: &mut Transmit, local: u16, remote: u16, size: usize) {
        transmit.udp = Some(Template::udp(local, remote, size));
        self.udp_number = Some(0);
    }

    /// Datagrams handed to the library by `stream_udp`.
    pub fn udp_sent(&self) -> u64 {
        self.udp_number.unwrap_or(0)
    }

    fn isn(&mut self) -> u32 {
        self.next_iss = self.next_iss.wrapping_add(2_654_435_761);
        self.next_iss
    }

    fn store(&mut self, conn: Conn) -> u32 {
        if let Some(index) = self.free.pop() {
            self.conns[index as usize] = conn;
            return index;
        }
        self.conns.push(conn);
        (self.conns.len() - 1) as u32
    }

    fn release(&mut self, index: u32) {
        let conn = &mut self.conns[index as usize];
        conn.state = State::Closed;
        let (local, remote, role) = (conn.local, conn.remote, conn.role);
        match Self::passive_slot(local, remote) {
            Some(slot) if role == Role::Server => self.passive[slot] = NONE,
            _ => self.active[usize::from(local)] = NONE,
        }
        self.free.push(index);
        self.counters.released += 1;
    }

    fn passive_slot(local: u16, remote: u16) -> Option<usize> {
        let which = local.checked_sub(LISTEN_BASE).filter(|n| *n < LISTEN_COUNT)?;
        Some(usize::from(which) << 16 | usize::from(remote))
    }

    fn lookup(&self, local: u16, remote: u16) -> u32 {
        match Self::passive_slot(local, remote) {
            Some(slot) if !self.passive.is_empty() => self.passive[slot],
            _ => match self.active[usize::from(local)] {
                NONE => NONE,
                index if self.conns[index as usize].remote == remote => index,
                _ => NONE,
            },
        }
    }

    fn queue_ack(&mut self, index: u32) {
        let conn = &mut self.conns[index as usize];
        if !conn.ack_queued {
            conn.ack_queued = true;
            self.acks.push(index);
        }
    }

    /// 200 ms passed without progress: ask again on every connection that waits for something.
    pub fn on_stall(&mut self) {
        for index in 0..self.conns.len() {
            let conn = &mut self.conns[index];
            match (conn.state, conn.role) {
                (State::SynSent, _) => {
                    let header = conn.header(0, SYN);
                    self.control.push_back(Control::Syn(header));
                }
                // Linux has a timeout of its own.
                (State::Established, Role::Sender) if conn.habits.is_none() => conn.repeat_all(),
                _ => {}
            }
        }
    }

    /// Give up client connections older than `age` and start others in their place.
    pub fn replace_stuck(&mut self, age: Duration) {
        let now = Instant::now();
        for index in 0..self.conns.len() as u32 {
            let conn = &self.conns[index as usize];
            let old = conn.started.is_some_and(|t| now.duration_since(t) > age);
            if conn.state != State::Closed && conn.role == Role::Client && old {
                let (port, header) = (conn.remote, conn.header(conn.nxt, RST | ACK));
                self.control.push_back(Control::Segment(header, Body::Empty));
                self.counters.stuck += 1;
                self.release(index);
                self.connect(port, Role::Client);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::ETHERNET;

    fn guest(burst: u32) -> Guest {
        Guest::new(Shape { mtu: 1500, burst, push_each: false, ack_every: 0, verify: true, impairment: None }, 4)
    }

    /// A frame as the library would send it: the guest's own builder with ports and addresses turned round.
    fn from_host(seq: u32, ack: u32, flags: u8, window: u16, to: u16, options: &[u8], payload: &[u8]) -> Vec<u8> {
        let mut frame = Vec::new();
        wire::tcp_frame(&mut frame, &Header { src: 80, dst: to, seq, ack, flags, window }, options, payload);
        frame
    }

    fn established(guest: &mut Guest, role: Role, window: u16, options: &[u8]) -> (u32, u32) {
        let index = guest.connect(80, role);
        let mut transmit = guest.transmit();
        assert!(matches!(guest.next_frame(&mut transmit), Some(Slot::Small)));
        let iss = wire::get32(transmit.frame(&Slot::Small), ETHERNET + 24);
        let frame = from_host(1000, iss.wrapping_add(1), SYN | ACK, window, 20_000, options, &[]);
        guest.receive(&frame);
        (index, iss)
    }

    #[test]
    fn sender_stops_at_the_window_and_pushes_at_the_end_of_a_burst() {
        let mut guest = guest(3);
        established(&mut guest, Role::Sender, 5 * 1460 + 1459, &[]);
        let mut transmit = guest.transmit();
        let mut flags = Vec::new();
        while let Some(slot) = guest.next_frame(&mut transmit) {
            if matches!(slot, Slot::Bulk) {
                flags.push(transmit.frame(&slot)[ETHERNET + 33]);
            }
        }
        assert_eq!(flags, [ACK, ACK, ACK | PSH, ACK, ACK]);
        assert!(!guest.has_frame());
    }

    #[test]
    fn scaled_window_counts_after_the_handshake_only() {
        let mut guest = guest(1000);
        let (_, iss) = established(&mut guest, Role::Sender, 1460, &[3, 3, 2, 0]);
        let mut transmit = guest.transmit();
        let mut count = |guest: &mut Guest| {
            std::iter::from_fn(|| guest.next_frame(&mut transmit)).filter(|s| matches!(s, Slot::Bulk)).count()
        };
        assert_eq!(count(&mut guest), 1);
        guest.receive(&from_host(1001, iss.wrapping_add(1 + 1460), ACK, 1460, 20_000, &[], &[]));
        assert_eq!(count(&mut guest), 4);
    }

    #[test]
    fn received_bytes_are_checked_and_acknowledged_once_per_batch() {
        let mut guest = guest(1);
        let (index, iss) = established(&mut guest, Role::Receiver, 65_535, &[]);
        let pattern = wire::host_pattern(3000);
        let ack = iss.wrapping_add(1);
        guest.receive(&from_host(1001, ack, ACK, 65_535, 20_000, &[], &pattern[..1440]));
        guest.receive(&from_host(1001 + 1440, ack, ACK, 65_535, 20_000, &[], &pattern[1440..2880]));
        assert_eq!((guest.received(index), guest.counters.corrupt), (2880, 0));
        let mut transmit = guest.transmit();
        assert!(guest.next_frame(&mut transmit).is_some());
        assert_eq!(wire::get32(transmit.frame(&Slot::Small), ETHERNET + 28), 1001 + 2880);
        assert!(guest.next_frame(&mut transmit).is_none());
        guest.receive(&from_host(1001 + 2880, ack, ACK, 65_535, 20_000, &[], &pattern[..100]));
        assert_eq!(guest.counters.corrupt, 1);
    }
}
