//! A whole stack under a guest's frames. Nothing may leave: host loopback is closed, every destination is rewritten to
//! an address of the virtual network that leads nowhere else, and a restricted network must not make any socket.
//! The second half of the configurations speaks IPv6 as well.
//! TCP over IPv4 goes to a guest forward, whose other side echoes what it gets: a callback, or this program.
//!
//! Input: one byte for the configuration, then records: flags, time, length (two bytes), frame. Bits of the flags:
//! 1 leave checksums and destination as they are wrong, 2 leave the acknowledgment number (else it counts from what the
//! stack has sent), 4-8 which destination, 16 a round of the application's loop before the frame,
//! 32 to the forward that this program answers.

use std::net::{Ipv4Addr, Ipv6Addr};

use oxislirp::Instant;
use oxislirp::internals::checksum::{Checksum, is_valid};
use oxislirp::internals::{Ipv4View, Ipv6View};
use oxislirp::{
    Caller, Config, Effect, Glance, GuestConnectionError, GuestEvent, GuestForward, GuestForwardHandle, Stack,
};

use crate::input::Input;

pub const VHOST: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 2);
pub const VDNS: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 3);
pub const FORWARD: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 100);
pub const FORWARD_PORT: u16 = 7;
/// The port of the guest forward there that this program answers.
const SERVICE_PORT: u16 = 8;

pub const VHOST6: Ipv6Addr = Ipv6Addr::new(0xfec0, 0, 0, 0, 0, 0, 0, 2);
const VDNS6: Ipv6Addr = Ipv6Addr::new(0xfec0, 0, 0, 0, 0, 0, 0, 3);
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
const ROUTER6: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 2);

const ICMP: u8 = 1;
const TCP: u8 = 6;
const UDP: u8 = 17;
const FRAGMENT: u8 = 44;
const ICMPV6: u8 = 58;
/// More than any one frame may cause.
const OUTBOX_MAX: usize = 1 << 20;

pub fn run(data: &[u8]) {
    play(data);
}

/// What came out of the stack, to show that the seeds get as far as they are meant to.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Seen {
    pub arp: usize,
    pub ncsi: usize,
    pub icmp: usize,
    pub icmpv6: usize,
    pub udp: usize,
    pub fragments: usize,
    pub segments: usize,
    /// Bytes in segments, repetitions included.
    pub data: usize,
}

/// Runs one input.
pub fn play(data: &[u8]) -> Seen {
    let mut input = Input::new(data);
    let shape = input.u8();
    let restricted = shape & 1 != 0;
    let mtu = [1500, 68, 576, 65520][usize::from(shape >> 1 & 3)];
    let config = Config::builder()
        .restricted(restricted)
        .ipv6(shape & 8 != 0)
        .host_loopback(false)
        .mtu(mtu)
        .host_name("guest")
        .search(["example.org"])
        // An application of the C library may give IPv6 a link that is too narrow for it.
        .build_lenient()
        .expect("the configuration is sound");
    let Ok(mut stack) = Stack::new(config) else { return Seen::default() };
    let forward = stack.add_guest_forward(GuestForward::callback(FORWARD_PORT).at(FORWARD)).ok();
    let service = stack.add_guest_forward(GuestForward::application(SERVICE_PORT).at(FORWARD)).ok();
    let forwards = (forward, service);
    let mut wire = Wire { restricted, mtu, next: 0, now: Instant::ZERO, seen: Seen::default() };
    let mut now = Instant::ZERO;
    for _ in 0..128 {
        if input.is_empty() {
            break;
        }
        let flags = input.u8();
        now += input.duration();
        wire.now = now;
        let len = input.u16().into();
        let mut frame = input.bytes(len).to_vec();
        if flags & 16 != 0 {
            let _ = stack.prepare_sleep(1000, now);
            wire.take(&mut stack, forwards);
            stack.handle_events(Glance::Unknown, now);
            wire.take(&mut stack, forwards);
            while stack.take_turns() {
                wire.take(&mut stack, forwards);
            }
            wire.take(&mut stack, forwards);
        }
        wire.prepare(&mut frame, flags);
        stack.input(&frame, Caller::Loop, now);
        wire.take(&mut stack, forwards);
    }
    stack.shut_down();
    wire.seen
}

/// What stands between guest and stack: repairs what goes in, looks at what comes out.
struct Wire {
    restricted: bool,
    mtu: usize,
    /// The number after the last that the stack has sent in a TCP segment.
    next: u32,
    now: Instant,
    seen: Seen,
}

impl Wire {
    /// Takes everything that the stack has made, and lets the guest forwards answer.
    fn take(&mut self, stack: &mut Stack, (added, service): (Option<GuestForwardHandle>, Option<GuestForwardHandle>)) {
        assert!(stack.outbox().bytes() <= OUTBOX_MAX, "{} bytes wait", stack.outbox().bytes());
        while let Some(frame) = stack.outbox().pop() {
            self.check(&frame);
        }
        for effect in std::mem::take(stack.effects()) {
            match effect {
                Effect::Register(_) => assert!(!self.restricted, "a restricted guest made a socket"),
                Effect::GuestForward { forward, bytes } => {
                    assert_eq!(Some(forward), added);
                    let room = stack.guest_forward_room((FORWARD, FORWARD_PORT).into()).min(bytes.len());
                    stack.guest_forward_receive((FORWARD, FORWARD_PORT).into(), &bytes[..room], Caller::Loop);
                }
                Effect::Guest(event) => {
                    if let GuestEvent::Connected { forward, .. } = event {
                        assert_eq!(Some(forward), service);
                    }
                    self.serve(stack, event);
                }
                _ => {}
            }
        }
        while let Some(frame) = stack.outbox().pop() {
            self.check(&frame);
        }
    }

    /// Sends back a part of what the guest sends, ends when it does, and breaks off when it is told of room.
    fn serve(&mut self, stack: &mut Stack, event: GuestEvent) {
        let (connection, now) = (event.connection(), self.now);
        let mut bytes = [0; 600];
        match event {
            GuestEvent::Readable { .. } => {
                if let Ok(count) = stack.guest_receive(connection, &mut bytes, now) {
                    assert!(count > 0, "an end was told of as bytes");
                    let _ = stack.guest_send(connection, &bytes[..count], now);
                }
            }
            GuestEvent::Finished { .. } => {
                while matches!(stack.guest_receive(connection, &mut bytes, now), Ok(1..)) {}
                let _ = stack.guest_finish(connection, now);
            }
            GuestEvent::Writable { .. } => {
                let _ = stack.guest_reset(connection, now);
            }
            GuestEvent::Closed { .. } | GuestEvent::Reset { .. } => {
                assert_eq!(stack.guest_receive(connection, &mut bytes, now), Err(GuestConnectionError::Gone));
            }
            _ => {}
        }
    }

    fn check(&mut self, frame: &[u8]) {
        assert!(frame.len() >= 60, "a frame of {} bytes", frame.len());
        match frame[12..14] {
            [8, 6] => self.seen.arp += 1,
            [0x88, 0xf8] => self.seen.ncsi += 1,
            [8, 0] => {
                let packet = Ipv4View::parse(&frame[14..]).expect("a valid packet");
                // Replies of the DHCP server have their length whatever the MTU is.
                let limit = self.mtu.max(576);
                assert!(packet.packet().len() <= limit, "{} bytes in a packet", packet.packet().len());
                if packet.is_fragment() {
                    self.seen.fragments += 1;
                    return;
                }
                let payload = packet.payload();
                match packet.protocol() {
                    ICMP => self.seen.icmp += 1,
                    UDP => self.seen.udp += 1,
                    _ => {}
                }
                match packet.protocol() {
                    ICMP => assert!(is_valid(payload), "checksum of {payload:02x?}"),
                    UDP if payload[6..8] == [0, 0] => {}
                    protocol @ (UDP | TCP) => {
                        let mut sum = Checksum::pseudo_ipv4(packet.src(), packet.dst(), protocol, payload.len() as u16);
                        sum.add(payload);
                        assert_eq!(sum.finish(), 0, "checksum of {payload:02x?}");
                        if protocol == TCP {
                            self.note(payload);
                        }
                    }
                    other => panic!("protocol {other} was sent"),
                }
            }
            [0x86, 0xdd] => self.check6(&frame[14..]),
            ref other => panic!("a frame of type {other:02x?}"),
        }
    }

    fn check6(&mut self, packet: &[u8]) {
        let packet = Ipv6View::parse(packet).expect("a valid packet");
        // Neighbor discovery is never cut, whatever the MTU is.
        let limit = self.mtu.max(576);
        assert!(packet.packet().len() <= limit, "{} bytes in a packet", packet.packet().len());
        let (next, payload) = (packet.next_header(), &packet.packet()[40..]);
        match next {
            FRAGMENT => return self.seen.fragments += 1,
            ICMPV6 => self.seen.icmpv6 += 1,
            UDP => self.seen.udp += 1,
            TCP => self.seen.segments += 1,
            other => panic!("next header {other} was sent"),
        }
        let mut sum = Checksum::pseudo_ipv6(packet.src(), packet.dst(), next, payload.len() as u32);
        sum.add(payload);
        assert_eq!(sum.finish(), 0, "checksum of {payload:02x?}");
    }

    fn note(&mut self, tcp: &[u8]) {
        let seq = u32::from_be_bytes([tcp[4], tcp[5], tcp[6], tcp[7]]);
        let data = tcp.len() - usize::from(tcp[12] >> 4) * 4;
        let controls = u32::from(tcp[13] & 1) + u32::from(tcp[13] >> 1 & 1);
        self.seen.segments += 1;
        self.seen.data += data;
        self.next = seq.wrapping_add(data as u32).wrapping_add(controls);
    }

    /// Gives a frame a harmless destination and, unless the flags say otherwise, right checksums.
    fn prepare(&self, frame: &mut [u8], flags: u8) {
        if frame.len() >= 54 && frame[12..14] == [0x86, 0xdd] {
            // All of these are the library itself or the host's loopback, which is closed. The name server leads out.
            let to = match (flags >> 2 & 3, self.restricted) {
                (0, _) => ROUTER6,
                (1, true) => VDNS6,
                (2, _) => ALL_NODES,
                _ => VHOST6,
            };
            frame[38..54].copy_from_slice(&to.octets());
            if flags & 1 == 0 {
                repair6(frame, to);
            }
            return;
        }
        if frame.len() < 34 || frame[12..14] != [8, 0] {
            return;
        }
        let header_len = usize::from(frame[14] & 15) * 4;
        let fragment = frame[20] & 0x3f != 0 || frame[21] != 0;
        let protocol = frame[23];
        let transport = 14 + header_len;
        // Outside of a restricted network only the forward itself is safe at the forward's address, and the name
        // server's address is not safe at all.
        let whole_tcp = protocol == TCP && !fragment && header_len >= 20 && frame.len() >= transport + 20;
        let to = match (flags >> 2 & 3, self.restricted) {
            (0, true) => FORWARD,
            (0, false) if whole_tcp => FORWARD,
            (1, true) => VDNS,
            (2, _) => Ipv4Addr::BROADCAST,
            _ => VHOST,
        };
        frame[30..34].copy_from_slice(&to.octets());
        if whole_tcp {
            if to == FORWARD {
                let port = if flags & 32 == 0 { FORWARD_PORT } else { SERVICE_PORT };
                frame[transport + 2..transport + 4].copy_from_slice(&port.to_be_bytes());
            }
            if flags & 2 == 0 {
                let ack = u32::from_be_bytes([
                    frame[transport + 8],
                    frame[transport + 9],
                    frame[transport + 10],
                    frame[transport + 11],
                ]);
                frame[transport + 8..transport + 12].copy_from_slice(&self.next.wrapping_add(ack).to_be_bytes());
            }
        }
        if flags & 1 == 0 {
            repair(frame);
        }
    }
}

/// Puts right checksums in, where the lengths allow that.
fn repair(frame: &mut [u8]) {
    let header_len = usize::from(frame[14] & 15) * 4;
    let total = usize::from(u16::from_be_bytes([frame[16], frame[17]]));
    if header_len < 20 || frame.len() < 14 + header_len {
        return;
    }
    let mut sum = Checksum::new();
    frame[24..26].fill(0);
    sum.add(&frame[14..14 + header_len]);
    frame[24..26].copy_from_slice(&sum.finish().to_be_bytes());
    if frame[20] & 0x3f != 0 || frame[21] != 0 {
        return;
    }
    let (protocol, start) = (frame[23], 14 + header_len);
    let field = match protocol {
        ICMP => 2,
        UDP => 6,
        TCP => 16,
        _ => return,
    };
    if total < header_len + field + 2 || frame.len() < 14 + total {
        return;
    }
    let at = start + field;
    frame[at..at + 2].fill(0);
    let len = (total - header_len) as u16;
    let address = |at: usize| Ipv4Addr::new(frame[at], frame[at + 1], frame[at + 2], frame[at + 3]);
    let mut sum = match protocol {
        ICMP => Checksum::new(),
        _ => Checksum::pseudo_ipv4(address(26), address(30), protocol, len),
    };
    sum.add(&frame[start..14 + total]);
    frame[at..at + 2].copy_from_slice(&sum.finish().to_be_bytes());
}

/// Puts the right checksum into an IPv6 packet without extension headers, where the lengths allow that.
fn repair6(frame: &mut [u8], to: Ipv6Addr) {
    let len = usize::from(u16::from_be_bytes([frame[18], frame[19]]));
    let next = frame[20];
    let field = match next {
        ICMPV6 => 2,
        UDP => 6,
        TCP => 16,
        _ => return,
    };
    let source: [u8; 16] = frame[22..38].try_into().expect("16 bytes");
    let Some(payload) = frame.get_mut(54..54 + len).filter(|payload| payload.len() >= field + 2) else { return };
    payload[field..field + 2].fill(0);
    let mut sum = Checksum::pseudo_ipv6(source.into(), to, next, len as u32);
    sum.add(payload);
    payload[field..field + 2].copy_from_slice(&sum.finish_udp().to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(name: &str) -> Seen {
        let seeds = crate::seeds::all();
        let (_, _, content) = seeds.iter().find(|seed| (seed.0, seed.1) == ("frames", name)).expect("a seed");
        play(content)
    }

    #[test]
    fn the_seeds_get_far() {
        assert_eq!(seen("arp").arp, 1);
        assert_eq!(seen("ncsi").ncsi, 3);
        assert_eq!(seen("tftp").udp, 1);
        assert!(seen("ping").icmp >= 1, "{:?}", seen("ping"));
        assert!(seen("ping-mtu").fragments > 10, "{:?}", seen("ping-mtu"));
        assert_eq!(seen("fragments").icmp, 1);
        assert_eq!(seen("ttl").icmp, 1);
        assert_eq!(seen("dhcp").udp, 2);
        // Both advertisements, replies and refusals.
        assert!(seen("ipv6-guest").icmpv6 >= 5 && seen("ipv6-guest").udp == 1, "{:?}", seen("ipv6-guest"));
        // Under an MTU of 68 bytes the answer to the information request comes in pieces.
        assert!(seen("ipv6-guest-mtu").fragments > 1, "{:?}", seen("ipv6-guest-mtu"));
        // Everything that was said is echoed: 20 bytes, 1,500 out of order, and two urgent ones, whose echo comes twice
        // because it is acknowledged after seconds only.
        for name in ["tcp", "tcp-restricted"] {
            assert_eq!(seen(name).data, 1524, "{name}: {:?}", seen(name));
        }
        // A part of the 1,500 bytes is left unread.
        assert!(seen("service").data > 1200, "{:?}", seen("service"));
        // The first transmission, and more of it when time has passed.
        assert!(seen("tcp-lost").data > 600, "{:?}", seen("tcp-lost"));
    }
}
