//! What the guest sends: a queue of small frames, pending acknowledgements, then bulk data.
#![forbid(unsafe_code)]

use super::conn::State;
use super::recovery::{BLOCKS, sack_option};
use super::{Guest, REQUEST, RESPONSE};
use crate::wire::{self, ACK, Header, PSH, Template};

/// The window scale that the guest offers, on a link that loses, and on one that delays.
pub(super) const SHIFT: u8 = 7;
const SHIFT_LOSSY: u8 = 10;
const SHIFT_LONG: u8 = 12;

/// Payload of a queued frame.
#[derive(Clone, Copy)]
pub(super) enum Body {
    Empty,
    Request,
    Response,
    Byte,
}

pub(super) enum Control {
    Syn(Header),
    Segment(Header, Body),
    /// An acknowledgement with this many of the SACK blocks.
    SelectiveAck(Header, [(u32, u32); BLOCKS], usize),
    ArpReply([u8; 6], [u8; 4]),
    ArpRequest([u8; 4]),
    Udp(u16, u16),
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
    pub(super) udp: Option<Template>,
    slot_len: usize,
}

impl Transmit {
    /// Buffers for a guest whose cells have `cell` octets.
    pub(super) fn new(cell: usize) -> Transmit {
        Transmit { small: Vec::with_capacity(2048), bulk: Template::tcp(cell), udp: None, slot_len: 0 }
    }

    /// The frame that `next_frame` announced.
    pub fn frame(&self, slot: &Slot) -> &[u8] {
        match slot {
            Slot::Small => &self.small[..self.slot_len],
            Slot::Bulk => self.bulk.bytes(),
            Slot::Udp => self.udp.as_ref().map_or(&[], Template::bytes),
        }
    }
}

impl Guest {
    /// Whether a frame waits to be sent.
    pub fn has_frame(&self) -> bool {
        !self.control.is_empty()
            || !self.acks.is_empty()
            || self.udp_number.is_some()
            || self.senders.iter().any(|s| {
                let conn = &self.conns[*s as usize];
                conn.sendable(self.cell) > 0 || conn.missing(self.cell).is_some()
            })
    }

    /// Make the next frame, if there is one.
    pub fn next_frame(&mut self, transmit: &mut Transmit) -> Option<Slot> {
        if let Some(control) = self.control.pop_front() {
            self.build_control(transmit, &control);
            return Some(Slot::Small);
        }
        self.bulk_next = self.takes_turns && !self.bulk_next;
        if self.bulk_next
            && let Some(slot) = self.next_bulk(transmit)
        {
            return Some(slot);
        }
        while let Some(index) = self.acks.pop() {
            let conn = &mut self.conns[index as usize];
            if !std::mem::take(&mut conn.ack_queued) || conn.state == State::Closed {
                continue;
            }
            conn.unacked_segments = 0;
            if let Some(habits) = &mut conn.habits {
                habits.acknowledges(false);
            }
            let header = conn.header(conn.nxt, ACK);
            transmit.slot_len = wire::tcp_frame(&mut transmit.small, &header, &[], &[]);
            return Some(Slot::Small);
        }
        if let (Some(number), Some(template)) = (&mut self.udp_number, &mut transmit.udp) {
            template.fill_udp(*number);
            *number += 1;
            return Some(Slot::Udp);
        }
        self.next_bulk(transmit)
    }

    fn next_bulk(&mut self, transmit: &mut Transmit) -> Option<Slot> {
        for _ in 0..self.senders.len() {
            let index = *self.senders.get(self.sender)?;
            if let Some((from, length)) = self.conns[index as usize].missing(self.cell) {
                return Some(self.build_repeated(transmit, index, from, length));
            }
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
        let (from, flight) = (conn.nxt, conn.flight() + length);
        let push = match (&mut conn.habits, &self.linux) {
            (Some(habits), Some(linux)) => {
                habits.acknowledges(false);
                habits.send(from, from + length, flight, linux.now)
            }
            _ => push,
        };
        let header = conn.header(from, if push || self.push_each { ACK | PSH } else { ACK });
        let offset = from - 1;
        conn.nxt += length;
        if std::mem::take(&mut conn.force) {
            self.counters.retransmitted += 1;
        }
        self.build_data(transmit, &header, offset, length)
    }

    fn build_repeated(&mut self, transmit: &mut Transmit, index: u32, from: u64, length: u64) -> Slot {
        let conn = &mut self.conns[index as usize];
        conn.repeated(from, length);
        self.counters.retransmitted += 1;
        let header = conn.header(from, ACK | PSH);
        self.build_data(transmit, &header, from - 1, length)
    }

    /// The segment with the stream's octets from `offset`, which do not cross the end of a cell.
    fn build_data(&self, transmit: &mut Transmit, header: &Header, offset: u64, length: u64) -> Slot {
        if length == self.cell {
            transmit.bulk.fill_tcp(header, offset / self.cell);
            return Slot::Bulk;
        }
        let at = (offset % self.cell) as usize;
        let whole = wire::cell(offset / self.cell, self.cell as usize);
        transmit.slot_len = wire::tcp_frame(&mut transmit.small, header, &[], &whole[at..at + length as usize]);
        Slot::Small
    }

    fn build_control(&self, transmit: &mut Transmit, control: &Control) {
        let buf = &mut transmit.small;
        let [mss_high, mss_low] = self.mss.to_be_bytes();
        transmit.slot_len = match control {
            Control::Syn(header) => {
                let header =
                    Header { window: 65_535, ack: if header.flags & ACK == 0 { 0 } else { header.ack }, ..*header };
                let shift = match (self.impaired && self.linux.is_none(), self.long) {
                    (true, true) => SHIFT_LONG,
                    (true, false) => SHIFT_LOSSY,
                    (false, _) => SHIFT,
                };
                let options = [2, 4, mss_high, mss_low, 1, 3, 3, shift, 4, 2, 1, 1];
                let length = if self.repairs() { 12 } else { 8 };
                wire::tcp_frame(buf, &header, &options[..length], &[])
            }
            Control::SelectiveAck(header, blocks, count) => {
                let (option, length) = sack_option(&blocks[..*count]);
                wire::tcp_frame(buf, header, &option[..length], &[])
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
}
