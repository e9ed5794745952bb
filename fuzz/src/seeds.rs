//! The inputs a fuzzer starts from: valid traffic of every kind, made here and committed under `corpus/` as
//! `seed-NAME`. `cargo run --bin seeds` writes them anew; a test says when they differ.

use std::net::{Ipv4Addr, Ipv6Addr};

use oxislirp::internals::checksum::Checksum;

use crate::frames::{FORWARD, VDNS, VHOST, VHOST6};
use crate::input::stream;

const GUEST: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 15);
const GUEST6: Ipv6Addr = Ipv6Addr::new(0xfec0, 0, 0, 0, 0x5054, 0xff, 0xfe12, 0x3456);
const GUEST_MAC: [u8; 6] = [0x52, 0x54, 0, 0x12, 0x34, 0x56];
const VHOST_MAC: [u8; 6] = [0x52, 0x55, 10, 0, 2, 2];
const FIN: u8 = 1;
const SYN: u8 = 2;
const RST: u8 = 4;
const ACK: u8 = 16;
const URG: u8 = 32;
/// The option list of a Linux guest's SYN.
const SYN_OPTIONS: [u8; 20] = [2, 4, 5, 0xb4, 4, 2, 8, 10, 0, 0, 1, 2, 0, 0, 0, 9, 1, 3, 3, 7];
/// Flags of a `frames` record: to the forward that the target answers.
const SERVICE: u8 = 32;
/// Flags of a `frames` record: a round of the loop first.
const ROUND: u8 = 16;

/// One seed: target, name, content.
pub type Seed = (&'static str, &'static str, Vec<u8>);

fn ethernet(ethertype: u16, payload: &[u8]) -> Vec<u8> {
    [&VHOST_MAC[..], &GUEST_MAC, &ethertype.to_be_bytes(), payload].concat()
}

fn arp(op: u8, target: Ipv4Addr) -> Vec<u8> {
    let head = [0, 1, 8, 0, 6, 4, 0, op];
    ethernet(0x0806, &[&head[..], &GUEST_MAC, &GUEST.octets(), &[0; 6], &target.octets()].concat())
}

/// A packet with zero for every checksum: the target puts them in.
fn ip(protocol: u8, to: Ipv4Addr, fragment: u16, options: &[u8], payload: &[u8]) -> Vec<u8> {
    let header_len = 20 + options.len();
    let mut packet = vec![0x40 | (header_len / 4) as u8, 0];
    packet.extend(((header_len + payload.len()) as u16).to_be_bytes());
    packet.extend([0, 7]);
    packet.extend(fragment.to_be_bytes());
    packet.extend([64, protocol, 0, 0]);
    packet.extend(GUEST.octets());
    packet.extend(to.octets());
    packet.extend(options);
    packet.extend(payload);
    ethernet(0x0800, &packet)
}

fn udp(from: u16, port: u16, to: Ipv4Addr, data: &[u8]) -> Vec<u8> {
    let len = 8 + data.len() as u16;
    let head = [from.to_be_bytes(), port.to_be_bytes(), len.to_be_bytes(), [0, 0]];
    ip(17, to, 0, &[], &[head.as_flattened(), data].concat())
}

/// An echo request with its checksum, which the target cannot put into fragments.
fn ping(data: &[u8]) -> Vec<u8> {
    let mut message = [&[8, 0, 0, 0, 0, 1, 0, 2][..], data].concat();
    let mut sum = Checksum::new();
    sum.add(&message);
    message[2..4].copy_from_slice(&sum.finish().to_be_bytes());
    message
}

/// A segment of a guest whose first number is 999. `ack` counts from what the stack has sent.
fn tcp(seq: u32, ack: u32, flags: u8, options: &[u8], data: &[u8]) -> Vec<u8> {
    let mut segment = vec![0x9c, 0x40, 0, 7];
    segment.extend(seq.to_be_bytes());
    segment.extend(ack.to_be_bytes());
    segment.extend([
        ((20 + options.len()) / 4 * 16) as u8,
        flags,
        0xff,
        0xff,
        0,
        0,
        0,
        if flags & URG != 0 { 2 } else { 0 },
    ]);
    segment.extend(options);
    segment.extend(data);
    ip(6, FORWARD, 0, &[], &segment)
}

/// An input for `frames`. The guest makes itself known first: nothing but ARP is sent to a guest that is not.
fn records(shape: u8, frames: &[(u8, u8, Vec<u8>)]) -> Vec<u8> {
    let mut input = vec![shape];
    let known = (0, 0, arp(1, VHOST));
    for (flags, time, frame) in std::iter::once(&known).chain(frames) {
        input.extend([*flags, *time]);
        input.extend((frame.len() as u16).to_be_bytes());
        input.extend(frame);
    }
    input
}

fn dhcp_message(kind: u8, mac: u8, more: &[u8]) -> Vec<u8> {
    let mut message = vec![0; 236];
    message[..8].copy_from_slice(&[1, 1, 6, 0, 1, 2, 3, 4]);
    message[28..34].copy_from_slice(&[0x52, 0x54, 0, 0, 0, mac]);
    message.extend([0x63, 0x82, 0x53, 0x63, 53, 1, kind]);
    message.extend(more);
    message.push(255);
    message
}

fn dhcp_records(shape: u8, messages: &[Vec<u8>]) -> Vec<u8> {
    let mut input = vec![shape];
    for message in messages {
        input.push(20);
        input.extend((message.len() as u16).to_be_bytes());
        input.extend(message);
    }
    input
}

/// A rule of the target `policy`: its first byte, its services, one prefix of hosts.
fn policy_rule(kind: u8, services: &[u8], host: &[u8]) -> Vec<u8> {
    let services = services.first().copied().unwrap_or(0);
    let hosts = u8::from(!host.is_empty());
    [&[kind, 0, services, 0, hosts][..], host, &[0, 0, 1, 0, 80, 200]].concat()
}

/// These rules, and questions of each kind about addresses in several forms.
fn policy_records(rules: &[Vec<u8>]) -> Vec<u8> {
    let guest = [0, 10, 0, 2, 15, 0x10, 0];
    let question = |kind: u8, form: u8, host: [u8; 4]| {
        let end = [&[form][..], &host, &[0, 80]].concat();
        [&[128 + kind, 0, 1][..], &guest, &end, &end].concat()
    };
    let forms = [(2, 0, [10, 0, 2, 2]), (3, 3, [127, 0, 0, 1]), (1, 0, [10, 0, 2, 3]), (0, 2, [127, 0, 0, 1])];
    let forms = forms.into_iter().chain([(2, 5, [10, 0, 0, 1]), (3, 4, [127, 0, 0, 1]), (2, 0, [0; 4])]);
    let questions = forms.map(|(kind, form, host)| question(kind, form, host));
    std::iter::once(vec![1]).chain(rules.iter().cloned()).chain(questions).flatten().collect()
}

/// Rules with a name, of which one listens to TLS and one leads through a proxy, and questions about addresses that count for names below, for the
/// name itself and for another; the first bytes say the name, or none.
fn policy_names() -> Vec<u8> {
    let named = |kind: u8, protocols: u8, below: u8, hellos: [u8; 2], via: u8| {
        [&[kind | 32, protocols, 0, 0, 0, 0, 0, 0, 1, below, 0][..], &hellos, &[via]].concat()
    };
    let rules = [named(0, 2, 0, [0, 0], 2), named(0, 1, 128, [1, 0], 0), named(1, 0, 128, [0, 0], 0)];
    let question = |protocol: u8, names: &[u8], said: &[u8]| {
        let end = [0, 192, 0, 2, 1, 1, 187];
        let head = [&[128 + 32 + 2, protocol, 0][..], &[0, 10, 0, 2, 15, 0x10, 0], &end, &end].concat();
        [&head[..], &[names.len() as u8], names, said].concat()
    };
    let questions = [question(0, &[1], &[3, 1]), question(1, &[0], &[1]), question(0, &[3, 4], &[2, 3])];
    [&[1][..], &rules.concat(), &questions.concat()].concat()
}

/// An IPv6 packet of the guest. Checksums are put in by the target.
fn ip6(next: u8, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x60, 0, 0, 0];
    packet.extend((payload.len() as u16).to_be_bytes());
    packet.extend([next, 255]);
    packet.extend(GUEST6.octets());
    packet.extend(VHOST6.octets());
    packet.extend(payload);
    ethernet(0x86dd, &packet)
}

/// A guest that speaks IPv6: it makes itself known, asks for a router and for an address, pings, and sends more.
fn ipv6_guest(data: &[u8]) -> Vec<(u8, u8, Vec<u8>)> {
    let advertisement = [&[136, 0, 0, 0, 0x60, 0, 0, 0][..], &GUEST6.octets(), &[2, 1], &GUEST_MAC].concat();
    let solicitation = [&[135, 0, 0, 0, 0, 0, 0, 0][..], &VHOST6.octets(), &[1, 1], &GUEST_MAC].concat();
    let dhcp = b"\x02\x22\x02\x23\0\x16\0\0\x0b\x01\x02\x03\0\x06\0\x06\0\x17\0\x18\0\x3b";
    let dhcp = [&dhcp[..4], &[0, (dhcp.len()) as u8], &dhcp[6..]].concat();
    let syn = [&[0, 80, 0, 80, 0, 0, 0, 1, 0, 0, 0, 0, 0x50, 2][..], &[0xff, 0xff, 0, 0, 0, 0]].concat();
    let echo = [&[128, 0, 0, 0, 0, 1, 0, 1][..], data].concat();
    let options = [&[58, 0, 1, 4, 0, 0, 0, 0][..], &echo].concat();
    vec![
        (12, 0, ip6(58, &advertisement)),
        (8, 0, ip6(58, &[133, 0, 0, 0, 0, 0, 0, 0])),
        (12, 0, ip6(58, &solicitation)),
        (12, 0, ip6(58, &echo)),
        (0, 0, ip6(58, &echo)),
        (12, 0, ip6(0, &options)),
        (12, 0, ip6(17, &dhcp)),
        (12, 0, ip6(6, &syn)),
        (12, 0, ip6(17, &[0, 80, 0, 80, 0, 8, 0, 0])),
        (12, 0, ip6(44, &[&[58, 0, 0, 1, 0, 0, 0, 9][..], &echo[..8]].concat())),
        (12, 0, ip6(44, &[&[58, 0, 0, 8, 0, 0, 0, 9][..], &echo[8..]].concat())),
        (12, 0, ip6(132, b"no such protocol")),
        (ROUND | 12, 29, ip6(58, &echo)),
    ]
}

fn tcp_conversation() -> Vec<(u8, u8, Vec<u8>)> {
    vec![
        (0, 0, tcp(999, 0, SYN, &SYN_OPTIONS, b"")),
        (0, 9, tcp(1000, 0, ACK, &[], b"")),
        (0, 9, tcp(1000, 0, ACK | 8, &[], b"hello, who is there?")),
        (ROUND, 9, tcp(1020, 0, ACK, &[], &stream(0, 0, 700))),
        (ROUND, 9, tcp(2420, 0, ACK, &[], &stream(0, 1400, 100))),
        (ROUND, 9, tcp(1720, 0, ACK, &[], &stream(0, 700, 700))),
        (0, 9, tcp(2520, 0, ACK | URG, &[], b"!?")),
        (ROUND, 22, tcp(2522, 0, ACK | FIN, &[], b"")),
        (ROUND, 9, tcp(2523, 0, ACK, &[], b"")),
        (ROUND, 9, tcp(2523, 0, ACK, &[], b"")),
    ]
}

fn frames() -> Vec<Seed> {
    let query = [&[0, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 7][..], b"example\x03org\0\0\x01\0\x01"].concat();
    let long = ping(&stream(0, 0, 1000));
    let fragment = |from: usize, to: usize, options: &[u8]| {
        let more = if to < long.len() { 0x2000 } else { 0 };
        ip(1, VHOST, more | (from / 8) as u16, options, &long[from..to])
    };
    let ask = dhcp_message(1, 0x56, &[50, 4, 10, 0, 2, 20]);
    let take = dhcp_message(3, 0x56, &[54, 4, 10, 0, 2, 2, 50, 4, 10, 0, 2, 15]);
    let mut reset = tcp_conversation();
    reset.truncate(4);
    reset.push((0, 9, tcp(1720, 0, RST, &[], b"")));
    reset.push((0, 9, tcp(5000, 5, ACK, &[], b"stray")));
    let to_service = |(flags, time, frame)| (flags | SERVICE, time, frame);
    let lost = vec![
        (0, 0, tcp(999, 0, SYN, &[2, 4, 1, 0], b"")),
        (0, 9, tcp(1000, 0, ACK, &[], &stream(0, 0, 600))),
        // Nothing is acknowledged while the timers run.
        (2 | ROUND, 24, tcp(1600, 0, 0, &[], b"")),
        (2 | ROUND, 25, tcp(1600, 0, 0, &[], b"")),
        (2 | ROUND, 29, tcp(1600, 0, 0, &[], b"")),
    ];
    vec![
        ("frames", "arp", records(0, &[(0, 0, arp(2, VHOST)), (0, 0, arp(1, GUEST))])),
        ("frames", "ncsi", {
            // Management controller, revision, sequence number, command, channel, payload length.
            let ask = |command: u8, payload: &[u8]| {
                let head = [0, 1, 0, 7, command, 0, 0, payload.len() as u8, 0, 0, 0, 0, 0, 0, 0, 0];
                (0, 0, ethernet(0x88f8, &[&head[..], payload, &[0; 30]].concat()))
            };
            records(0, &[ask(0x15, &[]), ask(0x18, &[]), ask(0x50, &[0, 0, 0x81, 0x19, 0, 0, 0x1b, 0])])
        }),
        (
            "frames",
            "ping",
            records(0, &[(12, 0, ip(1, VHOST, 0, &[], &ping(b"data"))), (8, 0, ip(1, VHOST, 0, &[], &ping(b"all")))]),
        ),
        ("frames", "ipv6-guest", records(8, &ipv6_guest(b"sixteen bytes..."))),
        ("frames", "ipv6-guest-mtu", records(8 | 2, &ipv6_guest(&stream(0, 0, 400)))),
        ("frames", "ping-mtu", records(2, &[(12, 0, ip(1, VHOST, 0, &[1, 1, 1, 0], &long))])),
        (
            "frames",
            "fragments",
            records(
                0,
                &[
                    (12, 0, fragment(800, 1008, &[])),
                    (12, 0, fragment(0, 408, &[7, 4, 4, 0])),
                    (12, 0, fragment(400, 808, &[])),
                ],
            ),
        ),
        ("frames", "ttl", {
            let mut frame = udp(5000, 9, VHOST, b"x");
            frame[22] = 0;
            records(0, &[(12, 0, frame)])
        }),
        ("frames", "udp", records(0, &[(12, 0, udp(5000, 9, VHOST, b"discard"))])),
        ("frames", "dns", records(1, &[(4, 0, udp(5001, 53, VDNS, &query))])),
        ("frames", "tftp", records(0, &[(12, 0, udp(5002, 69, VHOST, b"\0\x01file\0octet\0blksize\x00512\0"))])),
        ("frames", "dhcp", records(0, &[(8, 0, udp(68, 67, VHOST, &ask)), (8, 9, udp(68, 67, VHOST, &take))])),
        ("frames", "tcp", records(0, &tcp_conversation())),
        ("frames", "tcp-restricted", records(1, &tcp_conversation())),
        ("frames", "tcp-reset", records(0, &reset)),
        ("frames", "service", records(0, &tcp_conversation().into_iter().map(to_service).collect::<Vec<_>>())),
        ("frames", "service-reset", records(0, &reset.into_iter().map(to_service).collect::<Vec<_>>())),
        ("frames", "tcp-lost", records(4, &lost)),
        ("frames", "ipv6", records(0, &[(0, 0, ethernet(0x86dd, &[0x60, 0, 0, 0, 0, 8, 58, 255, 0, 0]))])),
    ]
}

/// A record of `tcp_segments` that is a segment: distance from what is expected, distance of the acknowledgment from
/// what was sent, payload length.
fn segment(flags: u8, offset: i16, ack: i16, len: u16) -> Vec<u8> {
    let mut record = vec![9, 5, flags];
    record.extend(offset.to_be_bytes());
    record.extend(ack.to_be_bytes());
    record.extend(len.to_be_bytes());
    record.extend([0xff, 0xff]);
    record
}

/// The same with a timestamp, and a selective acknowledgment of `block` bytes from `from` on when these are not 0.
fn stamped(flags: u8, offset: i16, ack: i16, len: u16, (from, block): (u16, u16)) -> Vec<u8> {
    let mut record = segment(flags, offset, ack, len);
    record[0] |= 64;
    let window = record.split_off(record.len() - 2);
    record.extend(from.to_be_bytes());
    record.extend(block.to_be_bytes());
    record.extend(window);
    record
}

fn tcp_segments() -> Vec<Seed> {
    let with = |records: &[&[u8]], shape: u8, extra: u8, len: u16| {
        [&[shape, extra][..], &len.to_be_bytes(), &records.concat()].concat()
    };
    let calls = |records: &[&[u8]], shape: u8, len: u16| with(records, shape, 0, len);
    let rebuild = [10, 1];
    let give = [1, 0, 0x0f, 0xa0];
    let (accept, take, close, deadline) = ([0, 1], [3, 1], [4, 0], [8, 0]);
    let handshake = segment(ACK, 0, 0, 0);
    vec![
        (
            "tcp_segments",
            "transfer",
            calls(
                &[
                    &accept,
                    &handshake,
                    &segment(ACK, 0, 0, 1400),
                    &take,
                    &segment(ACK, 100, 0, 500),
                    &segment(ACK, 0, 0, 200),
                    &take,
                    &give,
                    &segment(ACK, 0, -1460, 0),
                    &segment(ACK, 0, 0, 0),
                    &segment(ACK | FIN, 0, 0, 2500),
                    &take,
                    &close,
                    &segment(ACK, 0, 0, 0),
                    &deadline,
                ],
                0x40,
                1000,
            ),
        ),
        (
            "tcp_segments",
            "loss",
            calls(
                &[
                    &accept,
                    &handshake,
                    &give,
                    &segment(ACK, 0, -4000, 0),
                    &segment(ACK, 0, -4000, 0),
                    &segment(ACK, 0, -4000, 0),
                    &segment(ACK, 0, -4000, 0),
                    &deadline,
                    &deadline,
                    &segment(ACK, 0, 0, 0),
                    &close,
                    &deadline,
                ],
                0,
                100,
            ),
        ),
        (
            "tcp_segments",
            "active",
            calls(&[&segment(SYN | ACK, 0, 0, 0), &segment(ACK | FIN, 0, 0, 400), &take, &close], 0x80, 100),
        ),
        ("tcp_segments", "reset", calls(&[&accept, &handshake, &segment(RST, 1, 0, 0), &segment(RST, 0, 0, 0)], 0, 5)),
        (
            "tcp_segments",
            "options",
            with(
                &[
                    &accept,
                    &stamped(ACK, 0, 0, 0, (0, 0)),
                    &give,
                    &stamped(ACK, 0, -4000, 0, (1448, 1448)),
                    &stamped(ACK, 0, -4000, 0, (1448, 2552)),
                    &deadline,
                    &stamped(ACK, 1448, 0, 1448, (0, 0)),
                    &stamped(ACK, 0, 0, 1448, (0, 0)),
                    &take,
                    &close,
                    &stamped(ACK | FIN, 0, 0, 1104, (0, 0)),
                ],
                0x47,
                3,
                1000,
            ),
        ),
        (
            "tcp_segments",
            "rebuilt",
            with(
                &[
                    &accept,
                    &stamped(ACK, 0, 0, 1448, (0, 0)),
                    &give,
                    &rebuild,
                    &stamped(ACK, 0, -2000, 0, (0, 0)),
                    &take,
                    &stamped(ACK, 1448, 0, 1000, (0, 0)),
                    &rebuild,
                    &stamped(ACK | FIN, 0, 0, 2552, (0, 0)),
                    &close,
                    &rebuild,
                    &deadline,
                    &stamped(ACK, 0, 0, 0, (0, 0)),
                ],
                0x40,
                3,
                1000,
            ),
        ),
        (
            "tcp_segments",
            "urgent",
            calls(&[&accept, &handshake, &segment(ACK | URG, 0, 0, 2), &take, &segment(ACK | URG, 0, 0, 0)], 5, 5),
        ),
    ]
}

fn tftp(shape: u8, datagrams: &[&[u8]]) -> Vec<u8> {
    let mut input = vec![shape];
    for datagram in datagrams {
        input.extend([128, 20]);
        input.extend((datagram.len() as u16).to_be_bytes());
        input.extend(*datagram);
    }
    input
}

/// Every seed.
pub fn all() -> Vec<Seed> {
    let fragment = |flags: u8, offset: u16, len: u16| {
        let [oh, ol] = offset.to_be_bytes();
        let [lh, ll] = len.to_be_bytes();
        vec![flags, 1, oh, ol, lh, ll]
    };
    let pieces = |policy: u8, pieces: &[Vec<u8>]| [&[policy][..], &pieces.concat()].concat();
    let release = dhcp_message(7, 1, &[]);
    let mut seeds = frames();
    seeds.extend(tcp_segments());
    seeds.extend([
        ("tftp", "plain", tftp(0, &[b"\0\x01Zfile\0octet\0", b"\0\x04\0\x01", b"\0\x04\0\x02", b"\0\x04\0\x03"])),
        (
            "tftp",
            "options",
            tftp(
                1,
                &[
                    b"\0\x01Zfile\0octet\0blksize\x001428\0tsize\x000\0",
                    b"\0\x04\0\0",
                    b"\0\x04\0\x01",
                    b"\0\x04\0\x02",
                ],
            ),
        ),
        (
            "tftp",
            "errors",
            tftp(2, &[b"\0\x01!\0octet\0", b"\0\x01file\0mail\0", b"\0\x05\0\0why\0", b"\0\x02file\0octet\0"]),
        ),
        ("reassembly", "in-order", pieces(0, &[fragment(4, 0, 1480), fragment(4, 185, 1480), fragment(0, 370, 9)])),
        (
            "reassembly",
            "overlap",
            pieces(0, &[fragment(12, 2, 32), fragment(4, 4, 64), fragment(0, 10, 20), fragment(4, 0, 24)]),
        ),
        (
            "reassembly",
            "repeated",
            pieces(1, &[fragment(4, 0, 64), fragment(4, 0, 64), fragment(1, 8, 8), fragment(0, 8, 8)]),
        ),
        ("reassembly", "too-long", pieces(0, &[fragment(0, 8191, 100), fragment(4, 0, 8000)])),
        (
            "dhcp",
            "lease",
            dhcp_records(
                0xff,
                &[
                    dhcp_message(1, 1, &[]),
                    dhcp_message(3, 1, &[50, 4, 10, 0, 2, 15, 54, 4, 10, 0, 2, 2]),
                    dhcp_message(3, 2, &[50, 4, 10, 0, 2, 15]),
                    release,
                ],
            ),
        ),
        ("dhcp", "bootp", dhcp_records(0, &[dhcp_message(0, 3, &[])[..236].to_vec(), vec![1; 235]])),
        (
            "dhcp",
            "inform-decline",
            dhcp_records(1, &[dhcp_message(8, 4, &[]), dhcp_message(4, 4, &[50, 4, 10, 0, 2, 15])]),
        ),
        ("dhcp", "cut-option", dhcp_records(2, &[dhcp_message(1, 5, &[12, 250, b'a'])])),
        (
            "control",
            "forwards",
            [
                &[9][..],
                br#"{"id":1,"do":"forward.add","forwards":[{"protocol":"tcp","listen":"127.0.0.1:8000-8099","guest":":80"}]}"#,
                b"\n",
                br#"{"do":"forward.remove","forwards":[{"protocol":"udp","listen":"[::1%2]:53"}]}"#,
                b"\r\n",
            ]
            .concat(),
        ),
        (
            "control",
            "others",
            [
                &[200][..],
                b"{\"do\":\"flows\",\"after\":7,\"most\":3}\n{\"do\":\"drain\",\"wait\":true}\n[]\n\n{\"do\":1}\n",
                br#"{"id":"x","do":"policy.test","protocol":"icmp","to":"10.0.2.2"}"#,
                b"\n",
            ]
            .concat(),
        ),
        ("control", "half-a-line", [&[1][..], b"{\"do\":\"version\"}\n{\"do\":"].concat()),
        (
            "dns_policy",
            "query",
            [&[0][..], b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x03wWw\x07allowed\x04test\0\0\x01\0\x01"].concat(),
        ),
        (
            "dns_policy",
            "query-edns",
            [
                &[0][..],
                b"\x12\x34\x01\0\0\x01\0\0\0\0\0\x01\x01a\0\0\x1c\0\x01",
                b"\0\0\x29\x04\xd0\0\0\x80\0\0\x04\0\x0a\0\0",
            ]
            .concat(),
        ),
        (
            "dns_policy",
            "aliases",
            [
                &[1][..],
                &[0, 2, 0, 0, 0, 0],
                b"\xc0\x0c\0\x05\0\x01\0\0\0\x05\0\x02\xc0\x10",
                b"\xc0\x10\0\x01\0\x01\0\0\x01\0\0\x04\x08\x08\x08\x08",
            ]
            .concat(),
        ),
        (
            "dns_policy",
            "inside",
            [
                &[1][..],
                &[0, 2, 0, 0, 0, 1],
                b"\xc0\x0c\0\x01\0\x01\xff\0\0\x05\0\x04\x7f\0\0\x01",
                b"\xc0\x0c\0\x1c\0\x01\0\0\0\x05\0\x10\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01",
                b"\0\0\x29\x04\xd0\0\0\0\0\0\0",
            ]
            .concat(),
        ),
        (
            "dns_policy",
            "https",
            [
                &[7][..],
                &[0, 1, 0, 0, 0, 0],
                b"\xc0\x0c\0\x41\0\x01\0\0\0\x05\0\x1b\0\x01\0\0\x03\0\x02\x01\xbb\0\x04\0\x04\x7f\0\0\x01",
                b"\0\x05\0\x04\0\x02\x01\x02",
            ]
            .concat(),
        ),
        (
            "dns_policy",
            "loop",
            [&[1][..], &[0, 1, 0, 0, 0, 0], b"\xc0\x22\0\x01\0\x01\0\0\0\x05\0\x04\x08\x08\x08\x08"].concat(),
        ),
        ("hello", "tls", [&[7, 3][..], &[0, 0, 0, 10, 0, 8, 0, 0, 5], b"a.org"].concat()),
        (
            "hello",
            "tls-two-names",
            [&[1, 0][..], &[0, 0, 0, 18, 0, 16, 0, 0, 5], b"a.org", &[0, 0, 5], b"b.org"].concat(),
        ),
        (
            "hello",
            "tls-hidden",
            [&[9, 7, 0xfe, 0x0d, 0, 2, 1, 2][..], &[0, 0, 0, 10, 0, 8, 0, 0, 5], b"a.org"].concat(),
        ),
        ("hello", "http", [&[5][..], b"GET / HTTP/1.1\r\nHost: a.org:80\r\n\r\n"].concat()),
        ("hello", "http-target", [&[5][..], b"GET http://a.org/ HTTP/1.0\r\nX: y\r\nHost: a.org\r\n\r\nbody"].concat()),
        ("hello", "http-two-hosts", [&[2][..], b"GET / HTTP/1.1\r\nHost: a.org\r\nhost: b.org\r\n\r\n"].concat()),
        ("policy", "hosts", policy_records(&[policy_rule(1, &[], &[0, 10, 0, 0, 0, 8]), policy_rule(0, &[], &[])])),
        ("policy", "names", policy_names()),
        ("policy", "services", policy_records(&[policy_rule(0, &[1], &[]), policy_rule(1, &[0x12], &[])])),
        (
            "policy",
            "translated",
            policy_records(&[
                policy_rule(1, &[], &[0, 127, 0, 0, 0, 8]),
                policy_rule(66, &[], &[]),
                policy_rule(0, &[], &[3, 0, 0, 0, 0, 96]),
            ]),
        ),
        ("proxy", "socks", [&[0, 3, 5, 0, 5, 0, 0, 1, 10, 0, 0, 1, 4, 0][..], b"220 hello"].concat()),
        ("proxy", "socks-password", [&[12, 1, 5, 2, 1, 0, 5, 0, 0, 3, 1][..], b"x", &[4, 0]].concat()),
        ("proxy", "associate", vec![1, 2, 5, 0, 5, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 4, 0]),
        ("proxy", "http", [&[6, 9][..], b"HTTP/1.1 200 OK\r\nX: y\r\n\r\n220 hello"].concat()),
        ("proxy", "http-password", [&[2, 1][..], b"HTTP/1.0 407 Who?\r\nProxy-Authenticate: Basic\r\n\r\n"].concat()),
        ("proxy", "relay", [&[3, 0, 0, 0, 0, 1, 192, 0, 2, 9, 0, 53][..], b"answer"].concat()),
        ("proxy", "relay-of-a-name", [&[3, 0, 0, 0, 0, 3, 1][..], b"x", &[0, 53], b"answer"].concat()),
        ("quic", "whole", quic_records(&[(1, &[&[6, 0][..], &quic_hello(b"a.org")].concat())])),
        ("quic", "two-packets", {
            let hello = quic_hello(b"a.org");
            // The length of the frame stands before its bytes.
            let (first, second) = hello[2..].split_at(20);
            let later = [&[1, 6, 20, 0x40, second.len() as u8][..], second, &[0, 0]].concat();
            quic_records(&[(1, &later), (1, &[&[2, 0, 0, 0, 0, 6, 0, 20][..], first].concat())])
        }),
        ("quic", "long-header", quic_records(&[(0, &[&[0xc3, 0, 0, 0, 1, 8, 1, 2, 3, 4, 5, 6, 7, 8, 0, 0, 0x40, 40][..], &[7; 40]].concat())])),
        ("quic", "later", quic_records(&[(0, &[0xe0, 0, 0, 0, 1, 0, 0, 1, 9, 0x40, 1]), (0, &[0x40, 1, 2])])),
        (
            "resolv_conf",
            "usual",
            b"# made by hand\nsearch example.org\nnameserver 192.0.2.1\nnameserver\t2001:db8::1\n".to_vec(),
        ),
        ("resolv_conf", "zone", b"nameserver fe80::1%eth0\nnameserver 192.0.2.1 # why\noptions rotate\n".to_vec()),
        ("resolv_conf", "names", b"www.example.org\nexample.org\nmail.example.org.\nnet\nexample.net".to_vec()),
        ("resolv_conf", "word", b"fe80::2%1".to_vec()),
        ("tcp_options", "linux", SYN_OPTIONS.to_vec()),
        ("tcp_options", "sack", [&[1, 1, 5, 18][..], &[0, 0, 0, 1, 0, 0, 0, 9, 0, 0, 1, 0, 0, 0, 1, 9]].concat()),
        ("tcp_options", "cut", vec![2, 4, 5]),
        ("tcp_options", "segment", tcp(999, 0, SYN, &SYN_OPTIONS, b"data")[34..].to_vec()),
    ]);
    seeds
}

/// Records of the target `quic`.
fn quic_records(records: &[(u8, &[u8])]) -> Vec<u8> {
    let record = |(kind, bytes): &(u8, &[u8])| [&[*kind][..], &(bytes.len() as u16).to_be_bytes(), bytes].concat();
    records.iter().flat_map(record).collect()
}

/// A ClientHello with a name, behind its length as a frame has it.
fn quic_hello(name: &[u8]) -> Vec<u8> {
    let vector = |bytes: &[u8]| [&(bytes.len() as u16).to_be_bytes()[..], bytes].concat();
    let names = vector(&[&[0, 0][..], &vector(&vector(&[&[0][..], &vector(name)].concat()))].concat());
    let body = [&[3, 3][..], &[7; 32], &[0], &[0, 2, 0x13, 1], &[1, 0], &names].concat();
    let message = [&[1, 0, 0, body.len() as u8][..], &body].concat();
    [&[0x40, message.len() as u8][..], &message].concat()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    #[test]
    fn the_committed_seeds_are_these() {
        for (target, name, content) in super::all() {
            let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target).join(format!("seed-{name}"));
            assert!(std::fs::read(&path).is_ok_and(|there| there == content), "{} is old", path.display());
        }
    }

    #[test]
    fn every_target_has_seeds() {
        for (target, _) in crate::TARGETS {
            assert!(super::all().iter().filter(|seed| seed.0 == target).count() >= 3, "{target}");
        }
    }
}
