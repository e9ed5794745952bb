//! Frames as bytes: builders that can also build wrong ones, and a parser that refuses any wrong frame of the library.

use std::net::{Ipv4Addr, SocketAddrV4};

pub const GUEST_MAC: [u8; 6] = [0x52, 0x54, 0x00, 0x12, 0x34, 0x56];
pub const VHOST_MAC: [u8; 6] = [0x52, 0x55, 10, 0, 2, 2];
pub const BROADCAST_MAC: [u8; 6] = [0xff; 6];
pub const GUEST: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 15);
pub const VHOST: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 2);
pub const VDNS: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 3);
pub const LOCALHOST: Ipv4Addr = Ipv4Addr::LOCALHOST;

pub const FIN: u8 = 1;
pub const SYN: u8 = 2;
pub const RST: u8 = 4;
pub const PSH: u8 = 8;
pub const ACK: u8 = 16;
pub const URG: u8 = 32;

pub const ICMP: u8 = 1;
pub const TCP: u8 = 6;
pub const UDP: u8 = 17;

/// The Internet checksum (RFC 1071) of `parts`, all but the last of even length; 0 when the sum over a packet that
/// contains its checksum is right.
pub fn checksum(parts: &[&[u8]]) -> u16 {
    let mut sum = 0u32;
    for part in parts {
        for pair in part.chunks(2) {
            sum += u32::from(pair[0]) << 8 | pair.get(1).map_or(0, |b| u32::from(*b));
        }
        sum = (sum & 0xffff) + (sum >> 16);
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

fn pseudo_header(src: Ipv4Addr, dst: Ipv4Addr, protocol: u8, len: usize) -> [u8; 12] {
    let mut h = [0; 12];
    h[..4].copy_from_slice(&src.octets());
    h[4..8].copy_from_slice(&dst.octets());
    h[9] = protocol;
    h[10..].copy_from_slice(&(len as u16).to_be_bytes());
    h
}

/// An Ethernet frame from the guest.
pub fn ethernet(dst: [u8; 6], ethertype: u16, payload: &[u8]) -> Vec<u8> {
    let mut f = Vec::with_capacity(14 + payload.len());
    f.extend_from_slice(&dst);
    f.extend_from_slice(&GUEST_MAC);
    f.extend_from_slice(&ethertype.to_be_bytes());
    f.extend_from_slice(payload);
    f
}

/// An ARP packet in an Ethernet frame.
pub fn arp(op: u16, sha: [u8; 6], sip: Ipv4Addr, tha: [u8; 6], tip: Ipv4Addr) -> Vec<u8> {
    let mut p = vec![0, 1, 8, 0, 6, 4];
    p.extend_from_slice(&op.to_be_bytes());
    p.extend_from_slice(&sha);
    p.extend_from_slice(&sip.octets());
    p.extend_from_slice(&tha);
    p.extend_from_slice(&tip.octets());
    let mut f = ethernet(if op == 1 { BROADCAST_MAC } else { VHOST_MAC }, 0x0806, &p);
    f[6..12].copy_from_slice(&sha);
    f
}

/// The header fields of an IPv4 packet to build; the rest is computed.
#[derive(Clone)]
pub struct Ip {
    pub src: Ipv4Addr,
    pub dst: Ipv4Addr,
    pub protocol: u8,
    pub ttl: u8,
    pub tos: u8,
    pub id: u16,
    /// Flags and fragment offset, as the 16 bits stand in the header.
    pub fragment: u16,
    pub options: Vec<u8>,
}

impl Ip {
    pub fn new(dst: Ipv4Addr, protocol: u8) -> Ip {
        Ip { src: GUEST, dst, protocol, ttl: 64, tos: 0, id: 0x1234, fragment: 0, options: Vec::new() }
    }

    /// The packet with this payload.
    pub fn packet(&self, payload: &[u8]) -> Vec<u8> {
        let header_len = 20 + self.options.len();
        let mut p = vec![0x40 | (header_len / 4) as u8, self.tos];
        p.extend_from_slice(&((header_len + payload.len()) as u16).to_be_bytes());
        p.extend_from_slice(&self.id.to_be_bytes());
        p.extend_from_slice(&self.fragment.to_be_bytes());
        p.extend_from_slice(&[self.ttl, self.protocol, 0, 0]);
        p.extend_from_slice(&self.src.octets());
        p.extend_from_slice(&self.dst.octets());
        p.extend_from_slice(&self.options);
        let sum = checksum(&[&p]);
        p[10..12].copy_from_slice(&sum.to_be_bytes());
        p.extend_from_slice(payload);
        p
    }

    pub fn frame(&self, payload: &[u8]) -> Vec<u8> {
        ethernet(VHOST_MAC, 0x0800, &self.packet(payload))
    }

    /// The packet cut into fragments at the given payload offsets (multiples of 8).
    pub fn fragments(&self, payload: &[u8], cuts: &[usize]) -> Vec<Vec<u8>> {
        let mut bounds = vec![0];
        bounds.extend_from_slice(cuts);
        bounds.push(payload.len());
        bounds.windows(2).map(|w| self.piece(payload, w[0], w[1])).collect()
    }

    /// The fragment that carries `payload[from..to]`.
    pub fn piece(&self, payload: &[u8], from: usize, to: usize) -> Vec<u8> {
        let more = if to < payload.len() { 0x2000 } else { 0 };
        Ip { fragment: more | (from / 8) as u16, ..self.clone() }.frame(&payload[from..to])
    }
}

/// An ICMP message; `rest` is the second word of the header.
pub fn icmp(kind: u8, code: u8, rest: [u8; 4], data: &[u8]) -> Vec<u8> {
    let mut m = vec![kind, code, 0, 0];
    m.extend_from_slice(&rest);
    m.extend_from_slice(data);
    let sum = checksum(&[&m]);
    m[2..4].copy_from_slice(&sum.to_be_bytes());
    m
}

/// An ICMP echo request message.
pub fn echo_request(id: u16, sequence: u16, data: &[u8]) -> Vec<u8> {
    let (i, s) = (id.to_be_bytes(), sequence.to_be_bytes());
    icmp(8, 0, [i[0], i[1], s[0], s[1]], data)
}

/// A UDP datagram with its checksum.
pub fn udp(src: SocketAddrV4, dst: SocketAddrV4, data: &[u8]) -> Vec<u8> {
    let mut d = Vec::with_capacity(8 + data.len());
    d.extend_from_slice(&src.port().to_be_bytes());
    d.extend_from_slice(&dst.port().to_be_bytes());
    d.extend_from_slice(&((8 + data.len()) as u16).to_be_bytes());
    d.extend_from_slice(&[0, 0]);
    d.extend_from_slice(data);
    let sum = checksum(&[&pseudo_header(*src.ip(), *dst.ip(), UDP, d.len()), &d]);
    d[6..8].copy_from_slice(&(if sum == 0 { 0xffff } else { sum }).to_be_bytes());
    d
}

/// A frame with a UDP datagram from the guest's `port`.
pub fn udp_frame(port: u16, dst: SocketAddrV4, data: &[u8]) -> Vec<u8> {
    Ip::new(*dst.ip(), UDP).frame(&udp(SocketAddrV4::new(GUEST, port), dst, data))
}

/// A TCP segment, to build or as parsed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    pub src: SocketAddrV4,
    pub dst: SocketAddrV4,
    pub seq: u32,
    pub ack: u32,
    pub flags: u8,
    pub window: u16,
    pub urgent: u16,
    pub options: Vec<u8>,
    pub payload: Vec<u8>,
}

impl Segment {
    /// The segment's bytes, with options padded to a multiple of four and a right checksum.
    pub fn bytes(&self) -> Vec<u8> {
        let mut options = self.options.clone();
        options.resize(options.len().next_multiple_of(4), 0);
        let mut s = Vec::with_capacity(20 + options.len() + self.payload.len());
        s.extend_from_slice(&self.src.port().to_be_bytes());
        s.extend_from_slice(&self.dst.port().to_be_bytes());
        s.extend_from_slice(&self.seq.to_be_bytes());
        s.extend_from_slice(&self.ack.to_be_bytes());
        s.extend_from_slice(&[(((20 + options.len()) / 4) << 4) as u8, self.flags]);
        s.extend_from_slice(&self.window.to_be_bytes());
        s.extend_from_slice(&[0, 0]);
        s.extend_from_slice(&self.urgent.to_be_bytes());
        s.extend_from_slice(&options);
        s.extend_from_slice(&self.payload);
        let sum = checksum(&[&pseudo_header(*self.src.ip(), *self.dst.ip(), TCP, s.len()), &s]);
        s[16..18].copy_from_slice(&sum.to_be_bytes());
        s
    }

    pub fn frame(&self) -> Vec<u8> {
        Ip { src: *self.src.ip(), ..Ip::new(*self.dst.ip(), TCP) }.frame(&self.bytes())
    }

    pub fn has(&self, flags: u8) -> bool {
        self.flags & flags == flags
    }

    /// The value of the option `kind`, without kind and length bytes.
    pub fn option(&self, kind: u8) -> Option<&[u8]> {
        let mut rest = self.options.as_slice();
        loop {
            match rest {
                [] | [0, ..] => return None,
                [1, tail @ ..] => rest = tail,
                [k, len, ..] if *len >= 2 && rest.len() >= usize::from(*len) => {
                    if *k == kind {
                        return Some(&rest[2..usize::from(*len)]);
                    }
                    rest = &rest[usize::from(*len)..];
                }
                other => panic!("malformed TCP options {other:02x?}"),
            }
        }
    }

    pub fn mss(&self) -> Option<u16> {
        self.option(2).map(|v| u16::from_be_bytes(v.try_into().expect("the MSS option holds two bytes")))
    }

    pub fn window_scale(&self) -> Option<u8> {
        self.option(3).map(|v| v[0])
    }
}

/// A frame that the library sent.
#[derive(Clone, Debug)]
pub enum Frame {
    Arp {
        src_mac: [u8; 6],
        dst_mac: [u8; 6],
        op: u16,
        sha: [u8; 6],
        sip: Ipv4Addr,
        tha: [u8; 6],
        tip: Ipv4Addr,
        len: usize,
    },
    Ip(Packet),
    Other(Vec<u8>),
}

/// An IPv4 packet that the library sent.
#[derive(Clone, Debug)]
pub struct Packet {
    pub src_mac: [u8; 6],
    pub dst_mac: [u8; 6],
    pub src: Ipv4Addr,
    pub dst: Ipv4Addr,
    pub protocol: u8,
    pub ttl: u8,
    pub tos: u8,
    pub id: u16,
    pub dont_fragment: bool,
    pub more_fragments: bool,
    /// In bytes.
    pub offset: usize,
    pub header_len: usize,
    pub total_len: usize,
    pub frame_len: usize,
    pub payload: Vec<u8>,
}

/// An ICMP message that the library sent.
#[derive(Clone, Debug)]
pub struct Icmp {
    pub kind: u8,
    pub code: u8,
    pub rest: [u8; 4],
    pub data: Vec<u8>,
}

/// A UDP datagram that the library sent.
#[derive(Clone, Debug)]
pub struct Datagram {
    pub src: SocketAddrV4,
    pub dst: SocketAddrV4,
    pub data: Vec<u8>,
}

fn be16(b: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([b[at], b[at + 1]])
}

fn be32(b: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([b[at], b[at + 1], b[at + 2], b[at + 3]])
}

fn mac(b: &[u8], at: usize) -> [u8; 6] {
    b[at..at + 6].try_into().expect("six bytes")
}

fn address(b: &[u8], at: usize) -> Ipv4Addr {
    Ipv4Addr::new(b[at], b[at + 1], b[at + 2], b[at + 3])
}

impl Frame {
    /// Parses a frame of the library; panics on anything a correct library never sends (wrong checksum or length,
    /// a source MAC that is not the virtual host's, nonzero padding).
    pub fn parse(bytes: &[u8]) -> Frame {
        assert!(bytes.len() >= 14, "the library sent a frame of {} bytes", bytes.len());
        match be16(bytes, 12) {
            0x0806 => Frame::Arp {
                src_mac: mac(bytes, 6),
                dst_mac: mac(bytes, 0),
                op: be16(bytes, 20),
                sha: mac(bytes, 22),
                sip: address(bytes, 28),
                tha: mac(bytes, 32),
                tip: address(bytes, 38),
                len: bytes.len(),
            },
            0x0800 => Frame::Ip(Packet::parse(bytes)),
            _ => Frame::Other(bytes.to_vec()),
        }
    }

    pub fn ip(&self) -> Option<&Packet> {
        match self {
            Frame::Ip(p) => Some(p),
            _ => None,
        }
    }
    pub fn tcp(&self) -> Option<Segment> {
        self.ip().and_then(Packet::tcp)
    }
    pub fn udp(&self) -> Option<Datagram> {
        self.ip().and_then(Packet::udp)
    }
    pub fn icmp(&self) -> Option<Icmp> {
        self.ip().and_then(Packet::icmp)
    }
    /// The address that an ARP request asks for.
    pub fn arp_request(&self) -> Option<Ipv4Addr> {
        match self {
            Frame::Arp { op: 1, tip, .. } => Some(*tip),
            _ => None,
        }
    }
}

impl Packet {
    fn parse(bytes: &[u8]) -> Packet {
        let b = &bytes[14..];
        let header_len = usize::from(b[0] & 15) * 4;
        let total_len = usize::from(be16(b, 2));
        assert_eq!(b[0] >> 4, 4, "IPv4 ethertype with version {}", b[0] >> 4);
        assert!(header_len >= 20 && total_len >= header_len && b.len() >= total_len, "bad IPv4 lengths: {b:02x?}");
        assert_eq!(checksum(&[&b[..header_len]]), 0, "bad IPv4 header checksum: {:02x?}", &b[..header_len]);
        assert!(b[total_len..].iter().all(|x| *x == 0), "padding that is not zero: {:02x?}", &b[total_len..]);
        let fragment = be16(b, 6);
        let packet = Packet {
            src_mac: mac(bytes, 6),
            dst_mac: mac(bytes, 0),
            src: address(b, 12),
            dst: address(b, 16),
            protocol: b[9],
            ttl: b[8],
            tos: b[1],
            id: be16(b, 4),
            dont_fragment: fragment & 0x4000 != 0,
            more_fragments: fragment & 0x2000 != 0,
            offset: usize::from(fragment & 0x1fff) * 8,
            header_len,
            total_len,
            frame_len: bytes.len(),
            payload: b[header_len..total_len].to_vec(),
        };
        packet.check();
        packet
    }

    /// The transport checksum of a whole packet must be right.
    fn check(&self) {
        if self.more_fragments || self.offset != 0 {
            return;
        }
        let pseudo = pseudo_header(self.src, self.dst, self.protocol, self.payload.len());
        let sum = match self.protocol {
            ICMP => checksum(&[&self.payload]),
            UDP if be16(&self.payload, 6) == 0 => 0,
            TCP | UDP => checksum(&[&pseudo, &self.payload]),
            other => panic!("the library sent protocol {other}"),
        };
        assert_eq!(sum, 0, "bad checksum in {self:?}");
    }

    fn whole(&self, protocol: u8) -> bool {
        self.protocol == protocol && self.offset == 0 && !self.more_fragments
    }

    pub fn icmp(&self) -> Option<Icmp> {
        let b = &self.payload;
        self.whole(ICMP).then(|| Icmp { kind: b[0], code: b[1], rest: [b[4], b[5], b[6], b[7]], data: b[8..].to_vec() })
    }

    pub fn udp(&self) -> Option<Datagram> {
        let b = &self.payload;
        self.whole(UDP).then(|| {
            assert_eq!(usize::from(be16(b, 4)), b.len(), "UDP length");
            Datagram {
                src: SocketAddrV4::new(self.src, be16(b, 0)),
                dst: SocketAddrV4::new(self.dst, be16(b, 2)),
                data: b[8..].to_vec(),
            }
        })
    }

    pub fn tcp(&self) -> Option<Segment> {
        let b = &self.payload;
        self.whole(TCP).then(|| {
            let offset = usize::from(b[12] >> 4) * 4;
            assert!(offset >= 20 && offset <= b.len(), "TCP data offset {offset}");
            Segment {
                src: SocketAddrV4::new(self.src, be16(b, 0)),
                dst: SocketAddrV4::new(self.dst, be16(b, 2)),
                seq: be32(b, 4),
                ack: be32(b, 8),
                flags: b[13],
                window: be16(b, 14),
                urgent: be16(b, 18),
                options: b[20..offset].to_vec(),
                payload: b[offset..].to_vec(),
            }
        })
    }
}

/// Puts the fragments of one datagram together; panics when a piece is missing or they do not belong together.
pub fn reassemble(pieces: &[Packet]) -> Packet {
    let mut sorted: Vec<&Packet> = pieces.iter().collect();
    sorted.sort_by_key(|p| p.offset);
    let first = sorted.first().expect("at least one fragment");
    let mut whole = Packet { more_fragments: false, payload: Vec::new(), ..(*first).clone() };
    for p in &sorted {
        assert_eq!((p.id, p.offset), (first.id, whole.payload.len()), "fragments do not join");
        whole.payload.extend_from_slice(&p.payload);
    }
    assert!(!sorted.last().expect("not empty").more_fragments, "the last fragment is missing");
    whole.total_len = 20 + whole.payload.len();
    whole.check();
    whole
}

/// Bytes that differ from place to place, so that a lost, doubled or moved piece shows.
pub fn pattern(len: usize) -> Vec<u8> {
    (0..len as u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect()
}
