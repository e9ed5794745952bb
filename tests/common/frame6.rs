//! IPv6 frames as bytes: builders that can also build wrong ones, and a parser that refuses any wrong frame of the library.

use super::frame::*;
use super::instance::Instance;
use std::net::{Ipv6Addr, SocketAddrV6};

pub const ICMPV6: u8 = 58;
pub const VHOST6: Ipv6Addr = Ipv6Addr::new(0xfec0, 0, 0, 0, 0, 0, 0, 2);
pub const VDNS6: Ipv6Addr = Ipv6Addr::new(0xfec0, 0, 0, 0, 0, 0, 0, 3);
pub const GUEST6: Ipv6Addr = Ipv6Addr::new(0xfec0, 0, 0, 0, 0x5054, 0xff, 0xfe12, 0x3456);
/// The guest's link-local address.
pub const GUEST_LL: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0x5054, 0xff, 0xfe12, 0x3456);
pub const ROUTER6: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 2);
pub const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
pub const ALL_ROUTERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 2);

/// The solicited-node group of an address.
pub fn solicited_node(address: Ipv6Addr) -> Ipv6Addr {
    let o = address.octets();
    let low = u16::from_be_bytes([o[14], o[15]]);
    Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00 | u16::from(o[13]), low)
}

pub fn at6(address: Ipv6Addr, port: u16) -> SocketAddrV6 {
    SocketAddrV6::new(address, port, 0, 0)
}

fn pseudo_header(src: Ipv6Addr, dst: Ipv6Addr, next: u8, len: usize) -> Vec<u8> {
    let mut h = [src.octets(), dst.octets()].concat();
    h.extend((len as u32).to_be_bytes());
    h.extend([0, 0, 0, next]);
    h
}

/// The header fields of an IPv6 packet to build.
#[derive(Clone, Copy)]
pub struct Ip6 {
    pub src: Ipv6Addr,
    pub dst: Ipv6Addr,
    pub next: u8,
    pub hop_limit: u8,
}

impl Ip6 {
    pub fn new(dst: Ipv6Addr, next: u8) -> Ip6 {
        Ip6 { src: GUEST6, dst, next, hop_limit: 64 }
    }

    /// A packet of neighbor discovery.
    pub fn ndp(src: Ipv6Addr, dst: Ipv6Addr) -> Ip6 {
        Ip6 { src, dst, next: ICMPV6, hop_limit: 255 }
    }

    pub fn packet(&self, payload: &[u8]) -> Vec<u8> {
        let mut p = vec![0x60, 0, 0, 0];
        p.extend((payload.len() as u16).to_be_bytes());
        p.extend([self.next, self.hop_limit]);
        p.extend(self.src.octets());
        p.extend(self.dst.octets());
        p.extend(payload);
        p
    }

    pub fn frame(&self, payload: &[u8]) -> Vec<u8> {
        ethernet([0x52, 0x56, 0, 0, 0, 2], 0x86dd, &self.packet(payload))
    }

    /// The frame with an ICMPv6 message whose checksum is filled in.
    pub fn icmp(&self, message: &[u8]) -> Vec<u8> {
        let mut m = message.to_vec();
        let sum = checksum(&[&pseudo_header(self.src, self.dst, ICMPV6, m.len()), &m]);
        m[2..4].copy_from_slice(&sum.to_be_bytes());
        Ip6 { next: ICMPV6, ..*self }.frame(&m)
    }

    pub fn udp_datagram(&self, src: u16, dst: u16, data: &[u8]) -> Vec<u8> {
        let mut d = [src.to_be_bytes(), dst.to_be_bytes(), ((8 + data.len()) as u16).to_be_bytes(), [0, 0]].concat();
        d.extend(data);
        let sum = checksum(&[&pseudo_header(self.src, self.dst, UDP, d.len()), &d]);
        d[6..8].copy_from_slice(&(if sum == 0 { 0xffff } else { sum }).to_be_bytes());
        d
    }

    /// The frame with a UDP datagram.
    pub fn udp(&self, src: u16, dst: u16, data: &[u8]) -> Vec<u8> {
        Ip6 { next: UDP, ..*self }.frame(&self.udp_datagram(src, dst, data))
    }

    /// The frame with a TCP segment without options.
    pub fn tcp(&self, ports: (u16, u16), seq: u32, ack: u32, flags: u8, payload: &[u8]) -> Vec<u8> {
        self.tcp_with(ports, (seq, ack), flags, 0, &[], payload)
    }

    /// The same with an urgent pointer, and with options, whose length is a multiple of four.
    pub fn tcp_with(
        &self,
        ports: (u16, u16),
        (seq, ack): (u32, u32),
        flags: u8,
        urgent: u16,
        options: &[u8],
        payload: &[u8],
    ) -> Vec<u8> {
        let mut s = [ports.0.to_be_bytes(), ports.1.to_be_bytes()].concat();
        s.extend(seq.to_be_bytes());
        s.extend(ack.to_be_bytes());
        s.extend([(5 + options.len() as u8 / 4) << 4, flags, 0xff, 0xff, 0, 0]);
        s.extend(urgent.to_be_bytes());
        s.extend(options);
        s.extend(payload);
        let sum = checksum(&[&pseudo_header(self.src, self.dst, TCP, s.len()), &s]);
        s[16..18].copy_from_slice(&sum.to_be_bytes());
        Ip6 { next: TCP, ..*self }.frame(&s)
    }

    /// The frames of this packet cut at every `size` bytes of its payload.
    pub fn fragments(&self, payload: &[u8], size: usize, id: u32) -> Vec<Vec<u8>> {
        let count = payload.len().div_ceil(size);
        let piece = |(index, part): (usize, &[u8])| {
            let more = u16::from(index + 1 < count);
            let mut p = vec![self.next, 0];
            p.extend(((index * size) as u16 | more).to_be_bytes());
            p.extend(id.to_be_bytes());
            p.extend(part);
            Ip6 { next: 44, ..*self }.frame(&p)
        };
        payload.chunks(size).enumerate().map(piece).collect()
    }
}

/// A message of neighbor discovery: type, code, the next four bytes, a target if any, and options.
pub fn ndp_message(kind: u8, flags: u8, target: Option<Ipv6Addr>, options: &[u8]) -> Vec<u8> {
    let mut m = vec![kind, 0, 0, 0, flags, 0, 0, 0];
    m.extend(target.iter().flat_map(|t| t.octets()));
    m.extend(options);
    m
}

/// An echo request message.
pub fn echo6(id: u16, sequence: u16, data: &[u8]) -> Vec<u8> {
    let mut m = [vec![128, 0, 0, 0], id.to_be_bytes().to_vec(), sequence.to_be_bytes().to_vec()].concat();
    m.extend(data);
    m
}

/// An IPv6 packet that the library sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet6 {
    pub src_mac: [u8; 6],
    pub dst_mac: [u8; 6],
    pub src: Ipv6Addr,
    pub dst: Ipv6Addr,
    pub next: u8,
    pub hop_limit: u8,
    pub frame_len: usize,
    pub payload: Vec<u8>,
}

/// The IPv6 packet in a frame; panics on anything a correct library never sends.
pub fn packet6(frame: &Frame) -> Option<Packet6> {
    let Frame::Other(bytes) = frame else { return None };
    (bytes[12..14] == [0x86, 0xdd]).then(|| parse6(bytes))
}

fn parse6(bytes: &[u8]) -> Packet6 {
    let b = &bytes[14..];
    let len = usize::from(u16::from_be_bytes([b[4], b[5]]));
    assert_eq!(b[..4], [0x60, 0, 0, 0], "version, traffic class and flow label");
    assert!(b.len() >= 40 + len && b[40 + len..].iter().all(|x| *x == 0), "bad IPv6 length or padding: {b:02x?}");
    assert!(bytes.len() >= 60, "a frame of {} bytes", bytes.len());
    let address = |at: usize| Ipv6Addr::from(<[u8; 16]>::try_from(&b[at..at + 16]).expect("16 bytes"));
    let p = Packet6 {
        src_mac: bytes[6..12].try_into().expect("six bytes"),
        dst_mac: bytes[..6].try_into().expect("six bytes"),
        src: address(8),
        dst: address(24),
        next: b[6],
        hop_limit: b[7],
        frame_len: bytes.len(),
        payload: b[40..40 + len].to_vec(),
    };
    let o = p.src.octets();
    assert_eq!(p.src_mac, [0x52, 0x56, o[12], o[13], o[14], o[15]]);
    // An echo reply has come from somewhere.
    assert!(p.hop_limit == 255 || (p.icmp() == Some((129, 0)) && p.hop_limit > 0), "hop limit {}", p.hop_limit);
    match p.next {
        TCP | UDP | ICMPV6 => {
            let pseudo = pseudo_header(p.src, p.dst, p.next, p.payload.len());
            assert_eq!(checksum(&[&pseudo, &p.payload]), 0, "bad checksum in {p:02x?}");
        }
        44 => {}
        other => panic!("the library sent next header {other}"),
    }
    p
}

impl Packet6 {
    /// Type and code of an ICMPv6 message.
    pub fn icmp(&self) -> Option<(u8, u8)> {
        (self.next == ICMPV6).then(|| (self.payload[0], self.payload[1]))
    }

    /// Source, destination and data of a UDP datagram.
    pub fn udp(&self) -> Option<(SocketAddrV6, SocketAddrV6, Vec<u8>)> {
        let b = &self.payload;
        let port = |at: usize| u16::from_be_bytes([b[at], b[at + 1]]);
        (self.next == UDP).then(|| (at6(self.src, port(0)), at6(self.dst, port(2)), b[8..].to_vec()))
    }

    /// A TCP segment: its addresses are not those of this family, so they are left out.
    pub fn tcp(&self) -> Option<Tcp6> {
        let b = &self.payload;
        let word = |at: usize| u32::from_be_bytes([b[at], b[at + 1], b[at + 2], b[at + 3]]);
        let port = |at: usize| u16::from_be_bytes([b[at], b[at + 1]]);
        (self.next == TCP).then(|| {
            let offset = usize::from(b[12] >> 4) * 4;
            Tcp6 {
                src: at6(self.src, port(0)),
                dst: at6(self.dst, port(2)),
                seq: word(4),
                ack: word(8),
                flags: b[13],
                window: port(14),
                options: b[20..offset].to_vec(),
                payload: b[offset..].to_vec(),
            }
        })
    }
}

/// A TCP segment that the library sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tcp6 {
    pub src: SocketAddrV6,
    pub dst: SocketAddrV6,
    pub seq: u32,
    pub ack: u32,
    pub flags: u8,
    pub window: u16,
    pub options: Vec<u8>,
    pub payload: Vec<u8>,
}

impl Instance {
    /// The IPv6 packets that answer a frame at once.
    pub fn answer6(&self, frame: &[u8]) -> Vec<Packet6> {
        self.answer(frame).iter().filter_map(packet6).collect()
    }

    /// Waits for an IPv6 packet.
    pub fn wait6<T>(&self, what: &str, mut pick: impl FnMut(&Packet6) -> Option<T>) -> T {
        self.wait(what, |f| packet6(f).and_then(|p| pick(&p)))
    }

    /// Makes the guest's address known, as its answer to a solicitation does.
    pub fn greet6(&self, address: Ipv6Addr) {
        self.input(&Ip6::ndp(address, VHOST6).icmp(&ndp_message(136, 0x60, Some(address), &[])));
    }
}
