//! The guest: a TCP end with hardly any cost of its own. It keeps one small record per connection, sends bulk data from
//! a template, and answers what it receives through a queue that the loop empties with `slirp_input`.
//!
//! It models what a Linux guest shows to the library: MSS and window scale options in the SYN, full segments
//! with PSH on the last one of each burst, window updates honoured, one acknowledgement per batch (or per N segments).
#![forbid(unsafe_code)]

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::wire::{self, ACK, ETHERNET, FIN, Header, PSH, RST, SYN, Template};

/// The window scale that the guest offers, and the unscaled field it always advertises: 1 MiB.
const SHIFT: u8 = 7;
const WINDOW: u16 = 8192;
/// Local ports from which the guest accepts forwarded connections.
pub const LISTEN_BASE: u16 = 8000;
pub const LISTEN_COUNT: u16 = 8;
/// Octets of a request and of an answer of the connect-request-response-close workloads.
pub const REQUEST: usize = 64;
pub const RESPONSE: usize = 1024;

const NONE: u32 = u32::MAX;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    SynSent,
    SynReceived,
    Established,
    Closed,
}

/// What a connection is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// Sends cells for ever.
    Sender,
    /// Receives and acknowledges the host's pattern.
    Receiver,
    /// Acknowledges what comes; sends only when the workload asks for it.
    Quiet,
    /// Sends a request, waits for the whole answer, closes first, then is replaced by a new connection.
    Client,
    /// Answers one request, closes when the other side has closed.
    Server,
}

#[derive(Debug)]
pub struct Conn {
    state: State,
    role: Role,
    local: u16,
    remote: u16,
    iss: u32,
    /// Sequence space since `iss`, 64-bit so that long runs do not wrap: acknowledged, next to send, highest ever sent.
    una: u64,
    nxt: u64,
    max: u64,
    send_window: u32,
    send_shift: u8,
    irs: u32,
    /// Octets received in order (without SYN and FIN).
    received: u64,
    peer_fin: bool,
    fin_sent: bool,
    unacked_segments: u32,
    ack_queued: bool,
    /// Send one partial segment although the window says otherwise (retransmission or persist probe).
    force: bool,
    in_burst: u32,
    started: Option<Instant>,
}

impl Conn {
    fn new(role: Role, local: u16, remote: u16, iss: u32) -> Conn {
        Conn {
            state: State::SynSent,
            role,
            local,
            remote,
            iss,
            una: 0,
            nxt: 1,
            max: 1,
            send_window: 0,
            send_shift: 0,
            irs: 0,
            received: 0,
            peer_fin: false,
            fin_sent: false,
            unacked_segments: 0,
            ack_queued: false,
            force: false,
            in_burst: 0,
            started: None,
        }
    }

    fn header(&self, sent: u64, flags: u8) -> Header {
        let ack = self.irs.wrapping_add(1).wrapping_add(self.received as u32).wrapping_add(self.peer_fin.into());
        Header {
            src: self.local,
            dst: self.remote,
            seq: self.iss.wrapping_add(sent as u32),
            ack,
            flags,
            window: WINDOW,
        }
    }

    /// Bulk octets that may leave now: a whole rest of the current cell if the window takes it, else nothing,
    /// or what a forced segment may carry.
    fn sendable(&self, cell: u64) -> u64 {
        if self.role != Role::Sender || self.state != State::Established {
            return 0;
        }
        let rest = cell - (self.nxt - 1) % cell;
        let free = u64::from(self.send_window).saturating_sub(self.nxt - self.una);
        match (free >= rest, self.force) {
            (true, _) => rest,
            (false, true) => free.clamp(1, rest),
            (false, false) => 0,
        }
    }
}

/// Payload of a queued frame.
#[derive(Clone, Copy)]
enum Body {
    Empty,
    Request,
    Response,
    Byte,
}

enum Control {
    Syn(Header),
    Segment(Header, Body),
    ArpReply([u8; 6], [u8; 4]),
    ArpRequest([u8; 4]),
    Udp(u16, u16),
}

/// What the guest counted; `problems` must stay zero in a sound run.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counters {
    /// TCP payload octets received in order.
    pub bytes: u64,
    /// UDP datagrams received from the measured port.
    pub datagrams: u64,
    /// Client connections that ran to their end.
    pub completed: u64,
    pub established: u64,
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

/// Where the frame that `next_frame` made lies.
pub enum Slot {
    Small,
    Bulk,
    Udp,
}

/// The guest's transmit buffers, apart from the guest because a frame must stay valid while the library calls back.
pub struct Transmit {
    small: Vec<u8>,
    bulk: Template,
    udp: Option<Template>,
    slot_len: usize,
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
    next_port: u16,
    next_iss: u32,
    /// Octets of a cell, the MSS of bulk connections.
    cell: u64,
    burst: u32,
    ack_every: u32,
    mss: u16,
    verify: bool,
    pattern: Vec<u8>,
    udp_cell: Vec<u8>,
    /// The datagram flow that is sent for ever, as (number of the next datagram).
    udp_number: Option<u64>,
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
    /// Acknowledge every N segments; 0 = once per loop round.
    pub ack_every: u32,
    pub verify: bool,
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
            next_port: 20_000,
            next_iss: 1,
            cell: mss as u64,
            burst: shape.burst.max(1),
            ack_every: shape.ack_every,
            mss: mss as u16,
            verify: shape.verify,
            pattern: wire::host_pattern(wire::PERIOD + 65_536),
            udp_cell: Vec::new(),
            udp_number: None,
            counters: Counters::default(),
            progress: 0,
        }
    }

    /// The buffers that go with this guest.
    pub fn transmit(&self) -> Transmit {
        Transmit { small: Vec::with_capacity(2048), bulk: Template::tcp(self.cell as usize), udp: None, slot_len: 0 }
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
            // The segment carries the acknowledgement that may be queued.
            conn.ack_queued = false;
            self.control.push_back(Control::Segment(header, body));
        }
    }

    /// Octets received on a connection.
    pub fn received(&self, index: u32) -> u64 {
        self.conns.get(index as usize).map_or(0, |c| c.received)
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

    /// One frame from the library.
    pub fn receive(&mut self, frame: &[u8]) {
        self.counters.frames += 1;
        if frame.len() < ETHERNET + 28 {
            return;
        }
        match wire::get16(frame, 12) {
            0x0806 => self.receive_arp(&frame[ETHERNET..]),
            0x0800 => {
                let packet = &frame[ETHERNET..];
                let header = usize::from(packet[0] & 15) * 4;
                let total = usize::from(wire::get16(packet, 2));
                if total > packet.len() || header < 20 || header + 8 > total {
                    self.counters.corrupt += 1;
                    return;
                }
                let packet = &packet[..total];
                if self.verify && !wire::checksums_right(packet, header) {
                    self.counters.corrupt += 1;
                    return;
                }
                match packet[9] {
                    6 if total >= header + 20 => self.receive_tcp(&packet[header..]),
                    17 => self.receive_udp(&packet[header + wire::UDP..]),
                    _ => {}
                }
            }
            _ => {}
        }
    }

    fn receive_arp(&mut self, arp: &[u8]) {
        if wire::get16(arp, 6) == 1 && arp[24..28] == wire::GUEST_IP {
            let (mut mac, mut ip) = ([0; 6], [0; 4]);
            mac.copy_from_slice(&arp[8..14]);
            ip.copy_from_slice(&arp[14..18]);
            self.control.push_back(Control::ArpReply(mac, ip));
        }
    }

    fn receive_udp(&mut self, payload: &[u8]) {
        self.progress += 1;
        if payload.len() != self.udp_cell.len() {
            return;
        }
        self.counters.datagrams += 1;
        if self.verify && payload[8..] != self.udp_cell[8..] {
            self.counters.corrupt += 1;
        }
    }

    fn receive_tcp(&mut self, tcp: &[u8]) {
        let (remote, local) = (wire::get16(tcp, 0), wire::get16(tcp, 2));
        let (seq, ack, flags) = (wire::get32(tcp, 4), wire::get32(tcp, 8), tcp[13]);
        let offset = usize::from(tcp[12] >> 4) * 4;
        if offset < 20 || offset > tcp.len() {
            self.counters.corrupt += 1;
            return;
        }
        let (options, payload) = (&tcp[20..offset], &tcp[offset..]);
        let index = self.lookup(local, remote);
        if index == NONE {
            if flags & (SYN | ACK | RST) == SYN && !self.passive.is_empty() {
                self.accept(local, remote, seq, wire::get16(tcp, 14), options);
            }
            return;
        }
        let conn = &mut self.conns[index as usize];
        self.progress += 1;
        if flags & RST != 0 {
            self.counters.resets += 1;
            let (role, port) = (conn.role, conn.remote);
            self.senders.retain(|s| *s != index);
            self.release(index);
            if role == Role::Client {
                self.connect(port, role);
            }
            return;
        }
        if conn.state == State::SynSent {
            if flags & (SYN | ACK) != SYN | ACK || ack != conn.iss.wrapping_add(1) {
                return;
            }
            conn.state = State::Established;
            conn.una = 1;
            conn.irs = seq;
            conn.send_window = wire::get16(tcp, 14).into();
            conn.send_shift = window_scale(options).unwrap_or(0);
            self.counters.established += 1;
            if conn.role == Role::Client {
                let header = conn.header(conn.nxt, ACK | PSH);
                conn.nxt += REQUEST as u64;
                self.control.push_back(Control::Segment(header, Body::Request));
            } else {
                self.queue_ack(index);
            }
            return;
        }
        let acked = u64::from(ack.wrapping_sub(conn.iss.wrapping_add(conn.una as u32)));
        conn.max = conn.max.max(conn.nxt);
        if acked <= conn.max - conn.una {
            conn.una += acked;
            conn.nxt = conn.nxt.max(conn.una);
        }
        conn.send_window = u32::from(wire::get16(tcp, 14)) << conn.send_shift;
        if conn.state == State::SynReceived {
            conn.state = State::Established;
            self.counters.established += 1;
        }
        if !payload.is_empty() || flags & (FIN | SYN) != 0 {
            self.receive_data(index, seq, payload, flags & FIN != 0);
        } else if conn.fin_sent && conn.peer_fin && conn.una == conn.nxt {
            self.release(index);
        }
    }

    fn accept(&mut self, local: u16, remote: u16, seq: u32, window: u16, options: &[u8]) {
        let Some(slot) = Self::passive_slot(local, remote) else { return };
        let iss = self.isn();
        let mut conn = Conn::new(Role::Server, local, remote, iss);
        conn.state = State::SynReceived;
        conn.irs = seq;
        conn.send_window = window.into();
        conn.send_shift = window_scale(options).unwrap_or(0);
        self.control.push_back(Control::Syn(conn.header(0, SYN | ACK)));
        self.passive[slot] = self.store(conn);
    }

    fn receive_data(&mut self, index: u32, seq: u32, payload: &[u8], fin: bool) {
        let conn = &mut self.conns[index as usize];
        let expected = conn.irs.wrapping_add(1).wrapping_add(conn.received as u32).wrapping_add(conn.peer_fin.into());
        let behind = expected.wrapping_sub(seq);
        if behind != 0 || conn.peer_fin {
            // Everything old, or a gap: answer with what is expected. Partial overlaps do not happen on this link.
            if behind < 1 << 31 {
                self.counters.duplicates += 1;
            } else {
                self.counters.gaps += 1;
            }
            self.queue_ack(index);
            return;
        }
        if self.verify && conn.role == Role::Receiver {
            let at = (conn.received % wire::PERIOD as u64) as usize;
            if payload != &self.pattern[at..at + payload.len()] {
                self.counters.corrupt += 1;
            }
        }
        conn.received += payload.len() as u64;
        conn.peer_fin |= fin;
        self.counters.bytes += payload.len() as u64;
        conn.unacked_segments += 1;
        match conn.role {
            Role::Client if !conn.fin_sent && (conn.received >= RESPONSE as u64 || fin) => {
                let header = conn.header(conn.nxt, FIN | ACK);
                conn.nxt += 1;
                conn.fin_sent = true;
                self.control.push_back(Control::Segment(header, Body::Empty));
            }
            Role::Client if fin => {
                let port = conn.remote;
                let header = conn.header(conn.nxt, ACK);
                self.control.push_back(Control::Segment(header, Body::Empty));
                self.counters.completed += 1;
                self.release(index);
                self.connect(port, Role::Client);
            }
            Role::Server if fin => {
                let header = conn.header(conn.nxt, FIN | ACK);
                conn.nxt += 1;
                conn.fin_sent = true;
                self.control.push_back(Control::Segment(header, Body::Empty));
            }
            Role::Server if conn.received == REQUEST as u64 => {
                let header = conn.header(conn.nxt, ACK | PSH);
                conn.nxt += RESPONSE as u64;
                self.control.push_back(Control::Segment(header, Body::Response));
            }
            _ if self.ack_every != 0 && conn.unacked_segments >= self.ack_every => {
                conn.unacked_segments = 0;
                let header = conn.header(conn.nxt, ACK);
                self.control.push_back(Control::Segment(header, Body::Empty));
            }
            // Once per round, or the delayed acknowledgement of fewer than N segments, which leaves with the next round.
            _ => self.queue_ack(index),
        }
    }

    fn queue_ack(&mut self, index: u32) {
        let conn = &mut self.conns[index as usize];
        if !conn.ack_queued {
            conn.ack_queued = true;
            self.acks.push(index);
        }
    }

    /// Whether a frame waits to be sent.
    pub fn has_frame(&self) -> bool {
        !self.control.is_empty()
            || !self.acks.is_empty()
            || self.udp_number.is_some()
            || self.senders.iter().any(|s| self.conns[*s as usize].sendable(self.cell) > 0)
    }

    /// Make the next frame, if there is one.
    pub fn next_frame(&mut self, transmit: &mut Transmit) -> Option<Slot> {
        if let Some(control) = self.control.pop_front() {
            self.build_control(transmit, &control);
            return Some(Slot::Small);
        }
        while let Some(index) = self.acks.pop() {
            let conn = &mut self.conns[index as usize];
            if !std::mem::take(&mut conn.ack_queued) || conn.state == State::Closed {
                continue;
            }
            conn.unacked_segments = 0;
            let header = conn.header(conn.nxt, ACK);
            transmit.slot_len = wire::tcp_frame(&mut transmit.small, &header, &[], &[]);
            return Some(Slot::Small);
        }
        if let (Some(number), Some(template)) = (&mut self.udp_number, &mut transmit.udp) {
            template.fill_udp(*number);
            *number += 1;
            return Some(Slot::Udp);
        }
        for _ in 0..self.senders.len() {
            let index = *self.senders.get(self.sender)?;
            let length = self.conns[index as usize].sendable(self.cell);
            if length == 0 {
                self.sender = (self.sender + 1) % self.senders.len();
                continue;
            }
            return Some(self.build_bulk(transmit, index, length));
        }
        None
    }

    fn build_bulk(&mut self, transmit: &mut Transmit, index: u32, length: u64) -> Slot {
        let conn = &mut self.conns[index as usize];
        conn.in_burst += 1;
        let push = conn.in_burst >= self.burst;
        if push {
            conn.in_burst = 0;
            self.sender = (self.sender + 1) % self.senders.len();
        }
        let header = conn.header(conn.nxt, if push { ACK | PSH } else { ACK });
        let offset = conn.nxt - 1;
        conn.nxt += length;
        if std::mem::take(&mut conn.force) {
            self.counters.retransmitted += 1;
        }
        if length == self.cell {
            transmit.bulk.fill_tcp(&header, offset / self.cell);
            return Slot::Bulk;
        }
        let at = (offset % self.cell) as usize;
        let whole = wire::cell(offset / self.cell, self.cell as usize);
        transmit.slot_len = wire::tcp_frame(&mut transmit.small, &header, &[], &whole[at..at + length as usize]);
        Slot::Small
    }

    fn build_control(&self, transmit: &mut Transmit, control: &Control) {
        let buf = &mut transmit.small;
        let [mss_high, mss_low] = self.mss.to_be_bytes();
        transmit.slot_len = match control {
            Control::Syn(header) => {
                let header =
                    Header { window: 65_535, ack: if header.flags & ACK == 0 { 0 } else { header.ack }, ..*header };
                wire::tcp_frame(buf, &header, &[2, 4, mss_high, mss_low, 1, 3, 3, SHIFT], &[])
            }
            Control::Segment(header, body) => {
                const ZEROES: [u8; RESPONSE] = [0; RESPONSE];
                let length = match body {
                    Body::Empty => 0,
                    Body::Request => REQUEST,
                    Body::Response => RESPONSE,
                    Body::Byte => 1,
                };
                wire::tcp_frame(buf, header, &[], &ZEROES[..length])
            }
            Control::ArpReply(mac, ip) => wire::arp_frame(buf, 2, *mac, *ip),
            Control::ArpRequest(ip) => wire::arp_frame(buf, 1, [0; 6], *ip),
            Control::Udp(local, remote) => {
                let frame = Template::udp(*local, *remote, 8).fill_udp(0).to_vec();
                *buf = frame;
                buf.len()
            }
        };
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
                (State::Established, Role::Sender) => {
                    conn.max = conn.max.max(conn.nxt);
                    conn.nxt = conn.una;
                    conn.force = true;
                }
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

impl Transmit {
    /// The frame that `next_frame` announced.
    pub fn frame(&self, slot: &Slot) -> &[u8] {
        match slot {
            Slot::Small => &self.small[..self.slot_len],
            Slot::Bulk => self.bulk.bytes(),
            Slot::Udp => self.udp.as_ref().map_or(&[], Template::bytes),
        }
    }
}

/// The shift of a window scale option (RFC 7323 §2.2), at most 14.
fn window_scale(mut options: &[u8]) -> Option<u8> {
    loop {
        match options {
            [0, ..] | [] => return None,
            [1, rest @ ..] => options = rest,
            [3, 3, shift, ..] => return Some((*shift).min(14)),
            [_, length, ..] if *length >= 2 => options = options.get(usize::from(*length)..)?,
            _ => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guest(burst: u32) -> Guest {
        Guest::new(Shape { mtu: 1500, burst, ack_every: 0, verify: true }, 4)
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
    fn scale_is_found_after_other_options() {
        assert_eq!(window_scale(&[2, 4, 5, 180, 1, 3, 3, 7]), Some(7));
        assert_eq!(window_scale(&[2, 4, 5, 180]), None);
        assert_eq!(window_scale(&[2, 0, 3, 3, 7]), None);
        assert_eq!(window_scale(&[3, 3, 200]), Some(14));
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
