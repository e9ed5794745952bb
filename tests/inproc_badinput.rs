//! Hostile input: the IPv4 side of docs/contract/security.md. Random frames run in a network namespace without routes,
//! so that nothing a random frame asks for can leave the machine.

mod common;
use common::*;
use std::io::Read;

/// A small generator (xorshift64*), so that a seed repeats a run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }
    fn below(&mut self, n: usize) -> usize {
        (self.next() >> 33) as usize % n
    }
    fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.next() as u8).collect()
    }
}

/// Repairs the IPv4 header checksum and, where the lengths allow, the transport checksum, so that the frame gets past
/// the first checks.
fn repair(frame: &mut [u8]) {
    if frame.len() < 34 || frame[12..14] != [8, 0] {
        return;
    }
    let header = usize::from(frame[14] & 15) * 4;
    let total = usize::from(u16::from_be_bytes([frame[16], frame[17]]));
    if header < 20 || frame.len() < 14 + header {
        return;
    }
    frame[24..26].fill(0);
    let sum = checksum(&[&frame[14..14 + header]]);
    frame[24..26].copy_from_slice(&sum.to_be_bytes());
    let (protocol, at) = (frame[23], 14 + header);
    let field = match protocol {
        ICMP => 2,
        TCP => 16,
        UDP => 6,
        _ => return,
    };
    if total < header + field + 2 || frame.len() < 14 + total {
        return;
    }
    frame[at + field..at + field + 2].fill(0);
    let len = (total - header) as u16;
    let pseudo = [&frame[26..34], &[0, protocol][..], &len.to_be_bytes()].concat();
    let body = &frame[at..14 + total];
    let sum = if protocol == ICMP { checksum(&[body]) } else { checksum(&[&pseudo, body]) };
    frame[at + field..at + field + 2].copy_from_slice(&sum.to_be_bytes());
}

/// Upstream 4.7.0 does not survive fragments that come in the wrong order.
fn without_fragments(frame: &mut [u8]) {
    if !ours("fragment-crash") && frame.len() >= 22 {
        frame[20..22].fill(0);
    }
}

/// A network with one connection that has to survive, and a ping to prove that the library still answers.
struct Witness {
    i: Box<Instance>,
    conn: Conn,
    host: TcpStream,
}

impl Witness {
    fn start() -> Witness {
        let i = Setup::default().start();
        let (listener, port) = tcp_listener();
        let conn = Conn::connect(&i, at_vhost(port));
        let host = accept(&i, &listener);
        i.settle();
        i.drain();
        Witness { i, conn, host }
    }

    /// Everything that came out must parse; the connection and the echo must work.
    fn check(&mut self, what: &str) {
        self.i.settle();
        self.i.drain();
        // The guest's address may have been claimed by a random frame.
        self.i.input(&arp(1, GUEST_MAC, GUEST, [0; 6], GUEST));
        self.conn.data(&self.i, b"still there?");
        assert_eq!(host_read(&self.i, &mut self.host, 12), b"still there?", "{what}");
        host_write_some(&mut self.host, b"yes");
        assert_eq!(self.conn.receive(&self.i, 3).1, b"yes", "{what}");
        self.i.input(&Ip::new(VHOST, ICMP).frame(&echo_request(0x7777, 1, b"ping")));
        self.i.wait("an echo reply", |f| f.icmp().filter(|m| m.kind == 0 && m.rest == [0x77, 0x77, 0, 1]));
        self.i.drain();
    }

    /// Lets every flow expire and checks that all descriptors but those of the witness are gone.
    fn finish(self, descriptors: usize) {
        // Upstream lingers for many minutes over half-open and closing connections.
        self.i.advance(Duration::from_secs(2400));
        self.i.drain();
        let Witness { i, host, .. } = self;
        i.cleanup();
        let (added, removed) = i.registrations();
        assert!(
            removed.iter().filter(|fd| **fd >= 0).count() >= added.len(),
            "every registered descriptor is unregistered"
        );
        drop((i, host));
        assert!(child::open_descriptors() <= descriptors, "descriptors leaked");
    }
}

/// Valid frames of every kind that the library reads, to be mutated.
fn seeds(conn: &Conn) -> Vec<Vec<u8>> {
    let bootp =
        [&[1, 1, 6, 0, 1, 2, 3, 4][..], &[0; 228], &[0x63, 0x82, 0x53, 0x63, 53, 1, 1, 50, 4, 10, 0, 2, 20, 255]];
    let options = Ip { options: vec![7, 7, 4, 0, 0, 0, 0, 0], ..Ip::new(VHOST, ICMP) };
    let scale = Segment {
        options: vec![2, 4, 5, 0xb4, 1, 3, 3, 7, 4, 2, 8, 10, 0, 0, 0, 1, 0, 0, 0, 0],
        src: at(GUEST, 1234),
        ..conn.segment(SYN, b"")
    };
    vec![
        arp(1, GUEST_MAC, GUEST, [0; 6], VHOST),
        arp(2, GUEST_MAC, GUEST, VHOST_MAC, VHOST),
        Ip::new(VHOST, ICMP).frame(&echo_request(1, 1, &pattern(64))),
        options.frame(&echo_request(1, 1, &pattern(64))),
        Ip::new(VHOST, ICMP).fragments(&echo_request(1, 2, &pattern(600)), &[304]).remove(0),
        Ip::new(VHOST, ICMP).fragments(&echo_request(1, 2, &pattern(600)), &[304]).remove(1),
        udp_frame(5000, at_vhost(9), b"discard"),
        udp_frame(5001, at(VDNS, 53), b"not a query"),
        udp_frame(68, at(Ipv4Addr::BROADCAST, 67), &bootp.concat()),
        udp_frame(5002, at_vhost(69), b"\0\x01file\0octet\0blksize\x00512\0"),
        scale.frame(),
        Segment { src: at(GUEST, 4321), ..conn.segment(PSH | ACK, b"data of another connection") }.frame(),
    ]
}

#[test]
fn badinput_frames_of_every_length() {
    if !isolated("badinput_frames_of_every_length", Isolation::Network) {
        return;
    }
    let descriptors = child::open_descriptors();
    let mut w = Witness::start();
    let mut random = Random(0x5eed_0001);
    for len in 0..200 {
        for ethertype in [0x0806u16, 0x0800, 0x1234] {
            let mut frame = random.bytes(len);
            if len >= 14 {
                frame[12..14].copy_from_slice(&ethertype.to_be_bytes());
            }
            without_fragments(&mut frame);
            w.i.input(&frame);
        }
        // Every prefix and every extension of the valid frames.
        for mut seed in seeds(&w.conn) {
            seed.resize(len, 0xa5);
            without_fragments(&mut seed);
            w.i.input(&seed);
        }
    }
    w.check("after every length");
    for _ in 0..100 {
        let mut frame = random.bytes(14);
        frame[12..14].copy_from_slice(&[8, 0]);
        frame.push(0x45);
        let len = random.below(65_536);
        frame.extend(random.bytes(len));
        if len > 20 {
            let total = (frame.len() - 14).min(65_535) as u16;
            frame[16..18].copy_from_slice(&total.to_be_bytes());
            frame[23] = [ICMP, TCP, UDP][random.below(3)];
        }
        without_fragments(&mut frame);
        repair(&mut frame);
        w.i.input(&frame);
    }
    w.check("after long random frames");
    w.finish(descriptors);
}

#[test]
fn badinput_mutated_frames() {
    if !isolated("badinput_mutated_frames", Isolation::Network) {
        return;
    }
    let descriptors = child::open_descriptors();
    let mut w = Witness::start();
    let mut random = Random(0x5eed_0002);
    let seeds = seeds(&w.conn);
    for round in 0..10_000 {
        let mut frame = seeds[random.below(seeds.len())].clone();
        for _ in 0..1 + random.below(4) {
            let at = random.below(frame.len());
            // The connection of the witness must not be hit by a segment with its own numbers: ports stay.
            if frame[23] == TCP && (34..38).contains(&at) {
                continue;
            }
            frame[at] = match random.below(3) {
                0 => random.next() as u8,
                1 => frame[at] ^ (1 << random.below(8)),
                _ => [0, 1, 0x7f, 0x80, 0xff][random.below(5)],
            };
        }
        if random.below(8) == 0 {
            frame.truncate(random.below(frame.len() + 1));
        }
        without_fragments(&mut frame);
        if random.below(4) != 0 {
            repair(&mut frame);
        }
        w.i.input(&frame);
        if round % 50 == 0 {
            w.i.turn(Duration::ZERO);
            w.i.drain();
        }
        if round % 2500 == 2499 {
            w.check("among mutated frames");
        }
    }
    w.finish(descriptors);
}

#[test]
fn badinput_mutated_segments_of_a_live_connection() {
    if !isolated("badinput_mutated_segments_of_a_live_connection", Isolation::Network) {
        return;
    }
    let descriptors = child::open_descriptors();
    let mut w = Witness::start();
    let mut random = Random(0x5eed_0003);
    for _ in 0..40 {
        let (listener, port) = tcp_listener();
        let Reply::SynAck(mut conn) = Conn::try_connect(&w.i, at_vhost(port), &mss_option(1460)) else {
            panic!("no connection")
        };
        let mut host = accept(&w.i, &listener);
        host_write_some(&mut host, &pattern(5000));
        for _ in 0..60 {
            let len = random.below(3) * random.below(700);
            let option_len = random.below(11) * 4;
            let segment = Segment {
                seq: conn.snd_nxt.wrapping_add([0, 0, 1, 0u32.wrapping_sub(1), 1000, 1 << 31, 70_000][random.below(7)]),
                ack: conn.rcv_nxt.wrapping_add([0, 0, 1, 1440, 0u32.wrapping_sub(1), 1 << 31][random.below(6)]),
                // Resets and SYNs seldom, or no connection would live long enough.
                flags: (random.next() as u8) & if random.below(20) == 0 { 0x3f } else { FIN | PSH | ACK | URG },
                window: random.next() as u16,
                urgent: random.next() as u16,
                options: random.bytes(option_len),
                payload: random.bytes(len),
                ..conn.segment(ACK, b"")
            };
            let fin = segment.flags & FIN != 0 && random.below(10) != 0;
            let segment = if fin { Segment { flags: segment.flags & !FIN, ..segment } } else { segment };
            w.i.input(&segment.frame());
            if random.below(4) == 0 {
                w.i.turn(Duration::ZERO);
                while let Some(s) = conn.next(&w.i) {
                    conn.snd_nxt = if s.has(ACK) && !s.has(RST) { s.ack } else { conn.snd_nxt };
                    if s.seq == conn.rcv_nxt {
                        conn.rcv_nxt = conn.rcv_nxt.wrapping_add(s.payload.len() as u32);
                    }
                }
            }
        }
        w.i.turn(Duration::ZERO);
        w.i.drain();
    }
    w.check("after mutated segments");
    w.finish(descriptors);
}

#[test]
fn security_lengths_that_exceed_the_frame_are_dropped() {
    let i = Setup::default().start();
    let good = Ip::new(VHOST, ICMP).frame(&echo_request(1, 1, b"secret?"));
    for total in [36, 60, 100, 1500, 65_535u16] {
        let mut frame = good.clone();
        frame[16..18].copy_from_slice(&total.to_be_bytes());
        frame[24..26].fill(0);
        let sum = checksum(&[&frame[14..34]]);
        frame[24..26].copy_from_slice(&sum.to_be_bytes());
        i.input(&frame);
    }
    for header in [0, 1, 4, 15] {
        let mut frame = good.clone();
        frame[14] = 0x40 | header;
        frame[24..26].fill(0);
        let sum = checksum(&[&frame[14..34]]);
        frame[24..26].copy_from_slice(&sum.to_be_bytes());
        i.input(&frame);
    }
    for version in [0x05, 0x65, 0xf5] {
        let mut frame = good.clone();
        frame[14] = version;
        i.input(&frame);
    }
    i.expect_silence();
    // What exceeds the IP length is cut, not answered.
    let mut long = good;
    long.extend_from_slice(&[0xee; 40]);
    i.input(&long);
    assert_eq!(i.wait_icmp("an echo reply").1.data, b"secret?");
}

#[test]
fn security_cve_2014_3640_udp_from_nowhere() {
    let i = Setup::default().start();
    let (host, port) = udp_peer();
    let src = Ipv4Addr::UNSPECIFIED;
    let datagram = udp(at(src, 0), at_vhost(port), b"nobody");
    i.input(&Ip { src, ..Ip::new(VHOST, UDP) }.frame(&datagram));
    assert_eq!(host_recv(&i, &host).0, b"nobody");
    let flow = i.flows("UDP[").remove(0);
    let columns: Vec<&str> = flow.split_whitespace().collect();
    assert_eq!(columns[3..5], ["*", "0"], "{flow}");
}

#[test]
fn security_fragments_that_do_not_fit_together() {
    if !isolated("security_fragments_that_do_not_fit_together", Isolation::Process) || !ours("fragment-crash") {
        return;
    }
    let i = Setup::default().start();
    let ip = Ip::new(VHOST, ICMP);
    let piece = |id: u16, offset: usize, more: bool, data: &[u8]| {
        let fragment = (offset / 8) as u16 | if more { 0x2000 } else { 0 };
        i.input(&Ip { id, fragment, ..ip.clone() }.frame(data));
    };
    // Beyond 65535 bytes.
    piece(1, 65_528, false, &[0; 100]);
    piece(1, 0, true, &[8; 1480]);
    // A piece that says more follows, and whose length is no multiple of eight.
    piece(2, 0, true, &[8; 13]);
    piece(2, 16, false, &[8; 8]);
    // Nothing inside, and a last piece that ends before an earlier one.
    piece(3, 0, true, &[]);
    piece(3, 800, false, &[8; 8]);
    piece(3, 1600, false, &[8; 8]);
    piece(3, 1600, true, &[8; 8]);
    i.settle();
    assert!(i.drain().is_empty());
    // Very many datagrams that never become whole must cost a bounded amount of memory and keep no one else out.
    let before = resident();
    for id in 0..20_000u16 {
        piece(id, 0, true, &[8; 1480]);
    }
    let grown = resident().saturating_sub(before);
    assert!(grown < 16 << 20, "{grown} bytes of fragments are held");
    let whole = echo_request(9, 9, &pattern(3000));
    Ip { id: 60_000, ..ip }.fragments(&whole, &[1480, 2960]).iter().for_each(|f| i.input(f));
    i.settle();
    assert_eq!(i.drain().len(), 3);
}

/// The resident memory of this process in bytes.
fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

#[test]
fn security_fact_04_an_urgent_pointer_beyond_the_data() {
    if !library().at_least(9) {
        eprintln!("SKIPPED: upstream before 4.9.2 sends its heap to the host here (CVE-2026-9539)");
        return;
    }
    let i = Setup::default().start();
    let (listener, port) = tcp_listener();
    let mut conn = Conn::connect(&i, at_vhost(port));
    let mut host = accept(&i, &listener);
    for urgent in [65_535, 3, 0, 2048] {
        let segment = Segment { urgent, ..conn.segment(URG | PSH | ACK, b"ab") };
        i.input(&segment.frame());
        conn.snd_nxt += 2;
        i.settle();
    }
    conn.data(&i, b"end");
    i.settle();
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    while let Ok(n @ 1..) = host.read(&mut buffer) {
        bytes.extend_from_slice(&buffer[..n]);
    }
    assert!(bytes.len() <= 11, "{} bytes arrived of 11 sent", bytes.len());
    assert!(bytes.iter().all(|b| b"abend".contains(b)), "{bytes:?}");
    assert!(conn.listed(&i, ""), "{}", i.connection_info());
}

#[test]
fn security_tcp_options_with_bad_lengths() {
    let i = Setup::default().start();
    let (listener, port) = tcp_listener();
    let lists: [&[u8]; 10] = [
        &[2, 0, 0, 0],
        &[2, 1, 5, 5],
        &[2, 40, 5, 0xb4],
        &[3, 3],
        &[1, 1, 1, 2],
        &[8, 255, 0, 0],
        &[4, 0, 4, 0],
        &[2, 4, 0, 0],
        &[2, 4, 0, 1],
        &[2, 4, 255, 255],
    ];
    for options in lists {
        let Reply::SynAck(mut conn) = Conn::try_connect(&i, at_vhost(port), options) else {
            panic!("no connection with the options {options:?}")
        };
        let mut host = accept(&i, &listener);
        conn.data(&i, b"hi");
        assert_eq!(host_read(&i, &mut host, 2), b"hi");
        host_write_some(&mut host, &pattern(200));
        assert!(conn.receive(&i, 200).1 == pattern(200), "{options:?}");
        conn.send(&i, RST, b"");
    }
}

#[test]
fn security_fact_02_a_restricted_guest_opens_no_socket() {
    if !isolated("security_fact_02_a_restricted_guest_opens_no_socket", Isolation::Network) {
        return;
    }
    let i = Setup::with(|c| c.restricted = 1).start();
    let conn = Conn::new(&i, at_vhost(80));
    let mut random = Random(0x5eed_0004);
    for seed in seeds(&conn) {
        for _ in 0..200 {
            let mut frame = seed.clone();
            let at = random.below(frame.len());
            frame[at] = random.next() as u8;
            without_fragments(&mut frame);
            repair(&mut frame);
            i.input(&frame);
        }
        i.turn(Duration::ZERO);
        i.drain();
    }
    assert!(i.registrations().0.is_empty());
}

#[test]
fn security_sources_that_belong_to_the_library() {
    if !ours("virtual-source") {
        return;
    }
    let i = Setup::default().start();
    let (host, port) = udp_peer();
    for src in [VHOST, VDNS, LOCALHOST] {
        let datagram = udp(at(src, 5000), at_vhost(port), b"spoofed");
        i.input(&Ip { src, ..Ip::new(VHOST, UDP) }.frame(&datagram));
    }
    host_gets_nothing(&i, &host);
}

#[test]
fn security_a_syn_flood_is_bounded() {
    if !isolated("security_a_syn_flood_is_bounded", Isolation::Network) || !ours("flow-bound") {
        return;
    }
    // SAFETY: the limit is set for this child process only.
    let limited = unsafe {
        let limit = libc::rlimit { rlim_cur: 256, rlim_max: 256 };
        libc::setrlimit(libc::RLIMIT_NOFILE, &limit)
    };
    assert_eq!(limited, 0);
    let descriptors = child::open_descriptors();
    let mut w = Witness::start();
    let (listener, port) = tcp_listener();
    for n in 0..3000u16 {
        let syn = Segment { src: at(GUEST, 1000 + n), ..Conn::new(&w.i, at_vhost(port)).segment(SYN, b"") };
        w.i.input(&syn.frame());
        if n % 100 == 0 {
            w.i.turn(Duration::ZERO);
            w.i.drain();
        }
    }
    w.i.settle();
    w.i.drain();
    w.check("after a flood of SYNs");
    drop(listener);
    w.finish(descriptors);
}
