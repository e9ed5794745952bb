//! Frames of the benchmark's guest: Ethernet, ARP, IPv4, TCP and UDP, just enough of each, and the byte patterns that
//! both ends can check. Everything is in network byte order on the wire and in host order in arguments.
#![forbid(unsafe_code)]

pub const ETHERNET: usize = 14;
pub const IP: usize = 20;
pub const TCP: usize = 20;
pub const UDP: usize = 8;

pub const GUEST_MAC: [u8; 6] = [0x52, 0x54, 0x00, 0x12, 0x34, 0x56];
pub const HOST_MAC: [u8; 6] = [0x52, 0x55, 10, 0, 2, 2];
pub const GUEST_IP: [u8; 4] = [10, 0, 2, 15];
pub const HOST_IP: [u8; 4] = [10, 0, 2, 2];

pub const FIN: u8 = 0x01;
pub const SYN: u8 = 0x02;
pub const RST: u8 = 0x04;
pub const PSH: u8 = 0x08;
pub const ACK: u8 = 0x10;

/// Ones' complement sum of `data` as 16-bit big-endian words (an odd last byte padded with zero), not inverted,
/// folded to 16 bits.
pub fn sum(data: &[u8]) -> u64 {
    let mut chunks = data.chunks_exact(4);
    let mut total: u64 = chunks.by_ref().map(|c| u64::from(u32::from_be_bytes([c[0], c[1], c[2], c[3]]))).sum();
    let rest = chunks.remainder();
    let mut last = [0u8; 4];
    last[..rest.len()].copy_from_slice(rest);
    total += u64::from(u32::from_be_bytes(last));
    fold(total).into()
}

/// Fold a sum of 16-bit (or 32-bit) words to 16 bits.
pub fn fold(mut total: u64) -> u16 {
    while total > 0xffff {
        total = (total & 0xffff) + (total >> 16);
    }
    total as u16
}

/// Sum of the pseudo header; the same in both directions.
fn pseudo(protocol: u8, length: usize) -> u64 {
    sum(&GUEST_IP) + sum(&HOST_IP) + u64::from(protocol) + length as u64
}

fn put16(buf: &mut [u8], at: usize, value: u16) {
    buf[at..at + 2].copy_from_slice(&value.to_be_bytes());
}

fn put32(buf: &mut [u8], at: usize, value: u32) {
    buf[at..at + 4].copy_from_slice(&value.to_be_bytes());
}

pub fn get16(buf: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([buf[at], buf[at + 1]])
}

pub fn get32(buf: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([buf[at], buf[at + 1], buf[at + 2], buf[at + 3]])
}

/// Write the Ethernet and IPv4 headers of a guest frame whose IPv4 payload has `length` octets.
fn put_ip(buf: &mut [u8], protocol: u8, length: usize) {
    buf[..6].copy_from_slice(&HOST_MAC);
    buf[6..12].copy_from_slice(&GUEST_MAC);
    put16(buf, 12, 0x0800);
    let ip = &mut buf[ETHERNET..ETHERNET + IP];
    ip.fill(0);
    ip[0] = 0x45;
    put16(ip, 2, (IP + length) as u16);
    ip[6] = 0x40;
    ip[8] = 64;
    ip[9] = protocol;
    ip[12..16].copy_from_slice(&GUEST_IP);
    ip[16..20].copy_from_slice(&HOST_IP);
    let checksum = !fold(sum(ip));
    put16(ip, 10, checksum);
}

/// A guest frame with this IPv4 payload, as it is.
pub fn ip_frame(protocol: u8, payload: &[u8]) -> Vec<u8> {
    let mut buf = vec![0; ETHERNET + IP];
    put_ip(&mut buf, protocol, payload.len());
    buf.extend_from_slice(payload);
    buf
}

/// The variable fields of a TCP header.
#[derive(Clone, Copy, Debug, Default)]
pub struct Header {
    pub src: u16,
    pub dst: u16,
    pub seq: u32,
    pub ack: u32,
    pub flags: u8,
    pub window: u16,
}

fn put_tcp(tcp: &mut [u8], h: &Header, options: usize) {
    put16(tcp, 0, h.src);
    put16(tcp, 2, h.dst);
    put32(tcp, 4, h.seq);
    put32(tcp, 8, h.ack);
    tcp[12] = (((TCP + options) / 4) as u8) << 4;
    tcp[13] = h.flags;
    put16(tcp, 14, h.window);
    put32(tcp, 16, 0);
}

/// Build a whole TCP frame in `buf`; `options` must be a multiple of four octets. Returns the frame's length.
pub fn tcp_frame(buf: &mut Vec<u8>, h: &Header, options: &[u8], payload: &[u8]) -> usize {
    let length = TCP + options.len() + payload.len();
    buf.resize(ETHERNET + IP + length, 0);
    put_ip(buf, 6, length);
    let tcp = &mut buf[ETHERNET + IP..];
    put_tcp(tcp, h, options.len());
    tcp[TCP..TCP + options.len()].copy_from_slice(options);
    tcp[TCP + options.len()..].copy_from_slice(payload);
    let checksum = !fold(pseudo(6, length) + sum(tcp));
    put16(tcp, 16, checksum);
    buf.len()
}

/// Build an ARP packet from the guest: `operation` 1 asks for `target`, 2 answers it.
pub fn arp_frame(buf: &mut Vec<u8>, operation: u16, target_mac: [u8; 6], target: [u8; 4]) -> usize {
    buf.clear();
    buf.extend_from_slice(if operation == 1 { &[0xff; 6] } else { &target_mac });
    buf.extend_from_slice(&GUEST_MAC);
    buf.extend_from_slice(&[0x08, 0x06, 0, 1, 0x08, 0, 6, 4]);
    buf.extend_from_slice(&operation.to_be_bytes());
    buf.extend_from_slice(&GUEST_MAC);
    buf.extend_from_slice(&GUEST_IP);
    buf.extend_from_slice(&target_mac);
    buf.extend_from_slice(&target);
    buf.len()
}

/// An ICMP echo request to the gateway with 56 octets of data.
pub fn echo_request(sequence: u16) -> Vec<u8> {
    let mut icmp = vec![8, 0, 0, 0, 0x12, 0x34];
    icmp.extend(sequence.to_be_bytes());
    icmp.extend(0..56u8);
    let checksum = !fold(sum(&icmp));
    put16(&mut icmp, 2, checksum);
    ip_frame(1, &icmp)
}

/// Message types of DHCP (RFC 2132 section 9.6).
pub const DHCP_DISCOVER: u8 = 1;
pub const DHCP_OFFER: u8 = 2;
pub const DHCP_REQUEST: u8 = 3;
pub const DHCP_ACK: u8 = 5;

/// The ports of server and client (RFC 2131 section 4.1).
const DHCP_SERVER: u16 = 67;
pub const DHCP_CLIENT: u16 = 68;

/// Where the options begin in a DHCP message (RFC 2131 section 2), behind the magic cookie.
const DHCP_OPTIONS: usize = 240;

/// A broadcast DISCOVER or REQUEST of the guest, as a client sends it that has no address yet.
pub fn dhcp_frame(kind: u8, transaction: u32) -> Vec<u8> {
    let mut message = vec![0; DHCP_OPTIONS];
    message[..4].copy_from_slice(&[1, 1, 6, 0]);
    put32(&mut message, 4, transaction);
    message[28..34].copy_from_slice(&GUEST_MAC);
    message[236..].copy_from_slice(&[99, 130, 83, 99]);
    message.extend([53, 1, kind]);
    if kind == DHCP_REQUEST {
        message.extend([50, 4]);
        message.extend(GUEST_IP);
        message.extend([54, 4]);
        message.extend(HOST_IP);
    }
    // What a client asks for: mask, router, name server, host name, domain name, MTU.
    message.extend([55, 6, 1, 3, 6, 12, 15, 26, 255]);
    message.resize(300, 0);
    let length = UDP + message.len();
    let mut udp = Vec::new();
    for word in [DHCP_CLIENT, DHCP_SERVER, length as u16, 0] {
        udp.extend_from_slice(&u16::to_be_bytes(word));
    }
    udp.extend(message);
    let mut frame = ip_frame(17, &udp);
    frame[..6].fill(0xff);
    frame[ETHERNET + 12..ETHERNET + 16].fill(0);
    frame[ETHERNET + 16..ETHERNET + 20].fill(0xff);
    put16(&mut frame, ETHERNET + 10, 0);
    let checksum = !fold(sum(&frame[ETHERNET..ETHERNET + IP]));
    put16(&mut frame, ETHERNET + 10, checksum);
    frame
}

/// The type of a DHCP message, where that is the first of its options.
pub fn dhcp_kind(message: &[u8]) -> Option<u8> {
    match message.get(DHCP_OPTIONS..)? {
        [53, 1, kind, ..] => Some(*kind),
        _ => None,
    }
}

/// A byte of the constant part of a cell or datagram.
fn cell_byte(at: usize) -> u8 {
    (at * 7 + (at >> 8) * 13) as u8
}

/// A cell of the guest's data: its number in eight octets, big-endian, then a constant pattern.
/// A bulk segment carries one whole cell, so that only the number and the header change from segment to segment.
pub fn cell(number: u64, size: usize) -> Vec<u8> {
    let mut bytes: Vec<u8> = (0..size).map(cell_byte).collect();
    let head = size.min(8);
    bytes[..head].copy_from_slice(&number.to_be_bytes()[..head]);
    bytes
}

/// Check received stream bytes against the cells; `constant` is `cell(0, size)`. False at the first wrong byte.
pub fn check_cells(mut offset: u64, mut data: &[u8], constant: &[u8]) -> bool {
    let size = constant.len() as u64;
    while !data.is_empty() {
        let (number, at) = (offset / size, (offset % size) as usize);
        let take = data.len().min(constant.len() - at);
        let (now, rest) = data.split_at(take);
        let index = number.to_be_bytes();
        let in_head = 8usize.saturating_sub(at).min(take);
        if now[..in_head] != index[at.min(8)..at.min(8) + in_head] {
            return false;
        }
        if now[in_head..] != constant[at + in_head..at + take] {
            return false;
        }
        offset += take as u64;
        data = rest;
    }
    true
}

/// A bulk frame (TCP or UDP) whose payload is one cell; only what changes is written per frame, and the checksum is
/// computed from the constant payload's sum and the changed words.
pub struct Template {
    buf: Vec<u8>,
    /// Sum of the pseudo header and of the payload after the cell number.
    constant: u64,
}

impl Template {
    /// A TCP template with cells of `size` octets (at least 8).
    pub fn tcp(size: usize) -> Template {
        let mut buf = Vec::new();
        tcp_frame(&mut buf, &Header::default(), &[], &cell(0, size));
        let constant = pseudo(6, TCP + size) + sum(&buf[ETHERNET + IP + TCP + 8..]);
        Template { buf, constant }
    }

    /// A UDP template with datagrams of `size` octets (at least 8).
    pub fn udp(src: u16, dst: u16, size: usize) -> Template {
        let length = UDP + size;
        let mut buf = vec![0; ETHERNET + IP];
        put_ip(&mut buf, 17, length);
        for word in [src, dst, length as u16, 0] {
            buf.extend_from_slice(&word.to_be_bytes());
        }
        buf.extend_from_slice(&cell(0, size));
        let constant =
            pseudo(17, length) + sum(&buf[ETHERNET + IP..ETHERNET + IP + 6]) + sum(&buf[ETHERNET + IP + UDP + 8..]);
        Template { buf, constant }
    }

    /// The frame as last filled.
    pub fn bytes(&self) -> &[u8] {
        &self.buf
    }

    /// The TCP frame with this header and cell.
    pub fn fill_tcp(&mut self, h: &Header, number: u64) -> &[u8] {
        let tcp = &mut self.buf[ETHERNET + IP..];
        put_tcp(tcp, h, 0);
        tcp[TCP..TCP + 8].copy_from_slice(&number.to_be_bytes());
        let checksum = !fold(self.constant + sum(&tcp[..TCP + 8]));
        put16(tcp, 16, checksum);
        &self.buf
    }

    /// The UDP frame with this datagram number.
    pub fn fill_udp(&mut self, number: u64) -> &[u8] {
        let udp = &mut self.buf[ETHERNET + IP..];
        udp[UDP..UDP + 8].copy_from_slice(&number.to_be_bytes());
        let checksum = match !fold(self.constant + sum(&number.to_be_bytes())) {
            0 => 0xffff,
            other => other,
        };
        put16(udp, 6, checksum);
        &self.buf
    }
}

/// Period of the host's data pattern, a prime so that no segment or buffer size hides a shift.
pub const PERIOD: usize = 65_521;

/// `count` octets of the host's data pattern from offset 0.
pub fn host_pattern(count: usize) -> Vec<u8> {
    (0..count).map(|i| i % PERIOD).map(|i| (i * 31 + (i >> 8) * 17) as u8).collect()
}

/// Whether `data` is the host's pattern from the stream's octet `offset`; `pattern` is `host_pattern` of a period and more.
pub fn pattern_matches(pattern: &[u8], offset: u64, data: &[u8]) -> bool {
    let at = (offset % PERIOD as u64) as usize;
    pattern.get(at..at + data.len()) == Some(data)
}

/// Whether an IPv4 packet (without the Ethernet header) to the guest has right header and transport checksums.
pub fn checksums_right(packet: &[u8], header_length: usize) -> bool {
    let (header, payload) = packet.split_at(header_length);
    if fold(sum(header)) != 0xffff {
        return false;
    }
    let protocol = header[9];
    let pseudo = match protocol {
        1 => 0,
        _ => sum(&header[12..20]) + u64::from(protocol) + payload.len() as u64,
    };
    fold(pseudo + sum(payload)) == 0xffff
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sum_agrees_with_rfc1071_example() {
        assert_eq!(fold(sum(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7])), 0xddf2);
        assert_eq!(fold(sum(&[0x12, 0x34, 0x56])), 0x1234 + 0x5600);
    }

    #[test]
    fn template_equals_the_frame_built_from_scratch() {
        let h = Header { src: 4321, dst: 80, seq: 0xffff_fff0, ack: 77, flags: ACK | PSH, window: 8192 };
        for number in [0, 1, 0xdead_beef_0102_0304] {
            let mut whole = Vec::new();
            tcp_frame(&mut whole, &h, &[], &cell(number, 1460));
            assert_eq!(Template::tcp(1460).fill_tcp(&h, number), whole);
            assert!(checksums_right(&whole[ETHERNET..], IP));
        }
    }

    #[test]
    fn dhcp_messages_are_sound_and_known_by_their_type() {
        for kind in [DHCP_DISCOVER, DHCP_REQUEST] {
            let frame = dhcp_frame(kind, 7);
            assert!(frame.len() == ETHERNET + IP + UDP + 300 && fold(sum(&frame[ETHERNET..ETHERNET + IP])) == 0xffff);
            assert_eq!(dhcp_kind(&frame[ETHERNET + IP + UDP..]), Some(kind));
        }
        assert_eq!(dhcp_kind(&[0; 242]), None);
    }

    #[test]
    fn udp_template_has_right_checksums_and_notices_damage() {
        let mut template = Template::udp(1, 2, 64);
        let mut frame = template.fill_udp(99).to_vec();
        assert!(checksums_right(&frame[ETHERNET..], IP));
        frame[60] ^= 1;
        assert!(!checksums_right(&frame[ETHERNET..], IP));
    }

    #[test]
    fn cells_are_checked_at_any_split() {
        let size = 1460;
        let stream: Vec<u8> = (0..4).flat_map(|n| cell(n + 258, size)).collect();
        let constant = cell(0, size);
        let base = 258 * size as u64;
        for cut in [0, 1, 5, 8, 9, 1459, 1460, 1461, 1465, 4000] {
            let (a, b) = stream.split_at(cut);
            assert!(check_cells(base, a, &constant) && check_cells(base + cut as u64, b, &constant), "cut {cut}");
        }
        assert!(!check_cells(base + 1, &stream, &constant));
        let mut swapped = stream.clone();
        swapped[size + 7] ^= 1;
        assert!(!check_cells(base, &swapped, &constant));
        swapped[size + 7] ^= 1;
        swapped[size + 700] ^= 1;
        assert!(!check_cells(base, &swapped, &constant));
    }
}
