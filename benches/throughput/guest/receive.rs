//! What the guest does with a frame from the library.
#![forbid(unsafe_code)]

use super::conn::{Conn, Role, State};
use super::transmit::{Body, Control};
use super::{Guest, NONE, REQUEST, RESPONSE};
use crate::wire::{self, ACK, ETHERNET, FIN, PSH, RST, SYN};

impl Guest {
    /// One frame from the library.
    pub fn receive(&mut self, frame: &[u8]) {
        self.counters.frames += 1;
        if frame.len() < ETHERNET + 28 {
            return;
        }
        match wire::get16(frame, 12) {
            0x0806 => self.receive_arp(&frame[ETHERNET..]),
            0x0800 => self.receive_ipv4(&frame[ETHERNET..]),
            _ => {}
        }
    }

    /// One IPv4 packet from a stack that has no Ethernet.
    // In `benches/peers` there are such stacks.
    #[allow(dead_code)]
    pub fn receive_packet(&mut self, packet: &[u8]) {
        self.counters.frames += 1;
        if packet.len() >= 28 && packet[0] >> 4 == 4 {
            self.receive_ipv4(packet);
        }
    }

    fn receive_ipv4(&mut self, packet: &[u8]) {
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
            1 if packet[header] == 0 => self.counters.echoes += 1,
            6 if total >= header + 20 => self.receive_tcp(&packet[header..]),
            17 => self.receive_udp(wire::get16(packet, header + 2), &packet[header + wire::UDP..]),
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

    fn receive_udp(&mut self, port: u16, payload: &[u8]) {
        self.progress += 1;
        if port == wire::DHCP_CLIENT {
            match wire::dhcp_kind(payload) {
                Some(wire::DHCP_OFFER) => self.counters.offers += 1,
                Some(wire::DHCP_ACK) => self.counters.leases += 1,
                _ => {}
            }
            return;
        }
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
        let repairs = self.repairs();
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
            conn.other_end(wire::get16(tcp, 14), window_scale(options));
            conn.sack = repairs && sack_permitted(options);
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
        let flight = conn.flight();
        if acked <= conn.max - conn.una {
            conn.una += acked;
            conn.nxt = conn.nxt.max(conn.una);
        }
        let window = u32::from(wire::get16(tcp, 14)) << conn.send_shift;
        let repairing = conn.is_repairing();
        if repairs && payload.is_empty() {
            conn.note_ack(acked > 0, window == conn.send_window, options);
        }
        conn.send_window = window;
        if let Some(linux) = &self.linux {
            conn.learn(acked, flight, repairing, linux.now);
        }
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
        conn.habits = self.habits();
        conn.state = State::SynReceived;
        conn.irs = seq;
        conn.other_end(window, window_scale(options));
        self.control.push_back(Control::Syn(conn.header(0, SYN | ACK)));
        self.passive[slot] = self.store(conn);
    }

    fn receive_data(&mut self, index: u32, mut seq: u32, mut payload: &[u8], fin: bool) {
        if self.repairs() && !payload.is_empty() {
            let Some(old) = self.place(index, seq, payload) else { return };
            (seq, payload) = (seq.wrapping_add(old as u32), &payload[old..]);
        }
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
            self.counters.corrupt += u64::from(!wire::pattern_matches(&self.pattern, conn.received, payload));
        }
        conn.received += payload.len() as u64;
        conn.peer_fin |= fin;
        self.counters.bytes += payload.len() as u64;
        conn.unacked_segments += 1;
        if self.repairs() && self.absorb(index) {
            self.acknowledge_gap(index, None);
            return;
        }
        let length = payload.len() as u64;
        let conn = &mut self.conns[index as usize];
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
            _ if conn.habits.is_some() && !fin => self.acknowledge_as_linux(index, length),
            _ if self.ack_every != 0 && conn.unacked_segments >= self.ack_every => {
                conn.unacked_segments = 0;
                let header = conn.header(conn.nxt, ACK);
                self.control.push_back(Control::Segment(header, Body::Empty));
            }
            // Once per round, or the delayed acknowledgement of fewer than N segments, which leaves with the next round.
            _ => self.queue_ack(index),
        }
    }
}

impl Conn {
    /// What a Linux guest takes from an acknowledgement of `acked` octets more, before which `flight` was in flight.
    fn learn(&mut self, acked: u64, flight: u64, was_repairing: bool, now: i64) {
        let (una, left, repairing) = (self.una, self.nxt - self.una, self.is_repairing());
        let Some(habits) = &mut self.habits else { return };
        habits.offered(self.send_window.into());
        if repairing && !was_repairing {
            habits.lost();
        }
        if acked > 0 {
            habits.acknowledged(una, acked, flight, left, repairing, now);
        }
        if left == 0 && self.role == Role::Sender {
            habits.wait_for_window(self.send_window.into(), now);
        }
    }
}

impl Guest {
    /// So many octets came in order: acknowledged at once at the start of a connection and when they are more than a segment
    /// with those before, else with what is sent next, or later.
    fn acknowledge_as_linux(&mut self, index: u32, length: u64) {
        let (Some(linux), Some(conn)) = (&mut self.linux, self.conns.get_mut(index as usize)) else { return };
        let Some(habits) = &mut conn.habits else { return };
        if habits.acknowledge_now(length) {
            habits.acknowledges(false);
            self.control.push_back(Control::Segment(conn.header(conn.nxt, ACK), Body::Empty));
        } else if habits.ack_due.is_none() {
            linux.delayed.push_back((habits.delay(linux.now), index));
        }
    }
}

/// The value of the first option of this kind, without kind and length.
fn option(mut options: &[u8], wanted: u8) -> Option<&[u8]> {
    loop {
        match options {
            [0, ..] | [] => return None,
            [1, rest @ ..] => options = rest,
            [kind, length, ..] if *kind == wanted => return options.get(2..usize::from(*length)),
            [_, length, ..] if *length >= 2 => options = options.get(usize::from(*length)..)?,
            _ => return None,
        }
    }
}

/// The shift of a window scale option (RFC 7323 §2.2), at most 14.
fn window_scale(options: &[u8]) -> Option<u8> {
    match option(options, 3)? {
        [shift] => Some((*shift).min(14)),
        _ => None,
    }
}

/// Whether SACK is permitted (RFC 2018 §2).
fn sack_permitted(options: &[u8]) -> bool {
    option(options, 4).is_some()
}

/// The blocks of a SACK option (RFC 2018 §3).
pub(super) fn sack_blocks(options: &[u8]) -> impl Iterator<Item = (u32, u32)> {
    let blocks = option(options, 5).unwrap_or(&[]);
    blocks.chunks_exact(8).map(|block| (wire::get32(block, 0), wire::get32(block, 4)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scale_is_found_after_other_options() {
        assert_eq!(window_scale(&[2, 4, 5, 180, 1, 3, 3, 7]), Some(7));
        assert_eq!(window_scale(&[2, 4, 5, 180]), None);
        assert_eq!(window_scale(&[2, 0, 3, 3, 7]), None);
        assert_eq!(window_scale(&[3, 3, 200]), Some(14));
    }
}
