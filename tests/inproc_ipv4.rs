//! IPv4 itself: docs/contract/ipv4.md.

mod common;
use common::*;

fn echo(dst: Ipv4Addr, len: usize) -> (Ip, Vec<u8>) {
    (Ip::new(dst, ICMP), echo_request(0x4242, 7, &pattern(len)))
}

/// All fragments of the next datagram, in the order in which they came.
fn fragments(i: &Instance) -> Vec<Packet> {
    let mut pieces: Vec<Packet> = Vec::new();
    i.until("all fragments of a datagram", || {
        while let Some(p) = i.take(|f| f.ip().cloned()) {
            let last = !p.more_fragments;
            pieces.push(p);
            if last {
                return Some(());
            }
        }
        None
    });
    pieces
}

/// Checks that the reply to the echo of `len` pattern bytes arrives, and returns the IP lengths of its fragments.
fn expect_reply(i: &Instance, len: usize) -> Vec<usize> {
    let pieces = fragments(i);
    let whole = reassemble(&pieces);
    assert_eq!(whole.payload[0], 0, "an echo reply");
    assert_eq!(&whole.payload[4..8], &[0x42, 0x42, 0, 7]);
    assert!(whole.payload[8..] == pattern(len)[..], "the payload came back changed");
    assert!(pieces.iter().all(|p| !p.dont_fragment));
    pieces.iter().map(|p| p.total_len).collect()
}

/// Upstream 4.7.0 reads wild memory when the fragment that arrives first is not the datagram's first.
fn crashes_upstream(first_offset: usize) -> bool {
    first_offset != 0 && !library().at_least(8)
}

/// Waits for an ICMP destination unreachable and returns its code and the packet it quotes.
fn unreachable(i: &Instance) -> (Packet, u8, Vec<u8>) {
    let (packet, icmp) = i.wait_icmp("an ICMP destination unreachable");
    assert_eq!((icmp.kind, icmp.rest), (3, [0; 4]));
    (packet, icmp.code, icmp.data)
}

#[test]
fn ipv4_fact_01_a_bad_header_checksum_is_dropped() {
    let i = Setup::default().start();
    let (ip, message) = echo(VHOST, 20);
    let mut frame = ip.frame(&message);
    frame[14 + 10] ^= 1;
    i.input(&frame);
    i.expect_silence();
}

#[test]
fn ipv4_fact_02_ttl_zero_is_answered_with_time_exceeded() {
    let i = Setup::default().start();
    let (ip, message) = echo(VHOST, 20);
    let bad = Ip { ttl: 0, ..ip.clone() };
    i.input(&bad.frame(&message));
    let (packet, icmp) = i.wait_icmp("time exceeded");
    assert_eq!((icmp.kind, icmp.code, packet.src, packet.ttl, packet.tos), (11, 0, VHOST, 255, 0xc0));
    assert_eq!(icmp.data, bad.packet(&message));
    // A TTL of one suffices for the library's own addresses.
    i.input(&Ip { ttl: 1, ..ip }.frame(&message));
    expect_reply(&i, 20);
}

#[test]
fn ipv4_fact_03_options_are_dropped_from_the_reply() {
    let i = Setup::default().start();
    let (ip, message) = echo(VHOST, 33);
    for options in [vec![1, 1, 1, 0], vec![7, 7, 4, 0, 0, 0, 0, 0], vec![0x83, 7, 4, 10, 0, 2, 9, 0], vec![1; 40]] {
        i.input(&Ip { options, ..ip.clone() }.frame(&message));
        let (packet, icmp) = i.wait_icmp("an echo reply");
        assert_eq!((packet.header_len, icmp.kind), (20, 0));
        assert_eq!(icmp.data, pattern(33));
    }
}

#[test]
fn ipv4_fact_04_fragments_in_any_order_are_put_together() {
    let i = Setup::default().start();
    let (mut ip, message) = echo(VHOST, 3000);
    let orders: [[usize; 5]; 5] = [[0, 1, 2, 3, 4], [4, 3, 2, 1, 0], [2, 0, 4, 1, 3], [0, 4, 1, 3, 2], [4, 0, 3, 1, 2]];
    for order in orders {
        if crashes_upstream(order[0]) {
            continue;
        }
        ip.id += 1;
        let pieces = ip.fragments(&message, &[600, 1200, 1800, 2400]);
        order.iter().for_each(|n| i.input(&pieces[*n]));
        assert_eq!(expect_reply(&i, 3000), [1500, 1500, 68]);
    }
    i.expect_silence();
}

#[test]
fn ipv4_fact_04_duplicate_and_overlapping_fragments_are_put_together() {
    let i = Setup::default().start();
    let (mut ip, message) = echo(VHOST, 3000);
    let n = message.len();
    // Each list: pieces that together cover the message, with equal bytes where they overlap.
    let lists: [&[(usize, usize)]; 7] = [
        &[(0, 1000), (0, 1000), (1000, 2000), (1000, 2000), (2000, n)],
        &[(0, 1480), (1000, 2480), (2000, n)],
        &[(2000, n), (1000, 2480), (0, 1480)],
        &[(0, 1000), (2000, n), (800, 2200)],
        &[(1000, 1200), (1400, 1600), (800, 1800), (0, 808), (1792, n)],
        &[(8, 1000), (1000, n), (0, 2000)],
        &[(0, 8), (16, 24), (8, 32), (32, 2000), (24, n)],
    ];
    for (case, list) in lists.iter().enumerate() {
        if crashes_upstream(list[0].0) {
            continue;
        }
        ip.id += 1;
        list.iter().for_each(|(from, to)| i.input(&ip.piece(&message, *from, *to)));
        assert_eq!(expect_reply(&i, 3000), [1500, 1500, 68], "case {case}");
    }
    // What is left over of a finished datagram must not answer again.
    i.expect_silence();
}

#[test]
fn ipv4_fact_04_fragments_of_other_datagrams_do_not_mix() {
    let i = Setup::default().start();
    let (a, message) = echo(VHOST, 3000);
    let b = Ip { id: a.id + 1, ..a.clone() };
    let other: Vec<u8> = echo_request(0x1111, 1, &vec![0xee; 3000]);
    let (pa, pb) = (a.fragments(&message, &[1000, 2000]), b.fragments(&other, &[1000, 2000]));
    for n in 0..3 {
        i.input(&pa[n]);
        if n != 1 {
            i.input(&pb[n]);
        }
    }
    expect_reply(&i, 3000);
    i.expect_silence();
}

#[test]
fn ipv4_fact_05_options_in_some_fragments_only() {
    if !library().at_least(9) {
        eprintln!("SKIPPED: upstream before 4.9.4 leaks data here (docs/contract/security.md)");
        return;
    }
    let i = Setup::default().start();
    let (mut ip, message) = echo(VHOST, 2000);
    for with_options in [0, 1, 2] {
        ip.id += 1;
        for (n, (from, to)) in [(0, 800), (800, 1600), (1600, message.len())].into_iter().enumerate() {
            let options = if n == with_options { vec![1; 8] } else { vec![] };
            i.input(&Ip { options, ..ip.clone() }.piece(&message, from, to));
        }
        expect_reply(&i, 2000);
    }
}

#[test]
fn ipv4_fact_06_incomplete_fragments_are_forgotten_after_thirty_seconds() {
    let i = Setup::default().start();
    let (mut ip, message) = echo(VHOST, 2000);
    let pieces = ip.fragments(&message, &[1000]);
    i.input(&pieces[0]);
    assert!(i.fill(u32::MAX).timeout <= 499 || ours("fragment-timeout"));
    i.advance(Duration::from_secs(20));
    i.input(&pieces[1]);
    expect_reply(&i, 2000);
    if crashes_upstream(1000) {
        return;
    }
    ip.id += 1;
    let pieces = ip.fragments(&message, &[1000]);
    i.input(&pieces[0]);
    i.advance(Duration::from_secs(29));
    i.expect_silence();
    i.advance(Duration::from_secs(3));
    if ours("reassembly-timeout") {
        let (packet, icmp) = i.wait_icmp("time exceeded");
        assert_eq!((packet.src, icmp.kind, icmp.code), (VHOST, 11, 1));
        // What the guest sent first, as far as it fits.
        assert_eq!(icmp.data, pieces[0][14..][..548]);
    }
    i.input(&pieces[1]);
    i.expect_silence();
    // Of one whose first fragment never came nothing is said.
    i.advance(Duration::from_secs(32));
    i.expect_silence();
}

#[test]
fn ipv4_fact_07_replies_are_cut_to_the_mtu() {
    for (mtu, piece) in [(576, 572), (68, 68), (1280, 1276), (1500, 1500), (9000, 8996)] {
        let i = Setup::default().mtu(mtu, mtu).start();
        let (ip, message) = echo(VHOST, 3000);
        i.input(&ip.frame(&message));
        let lengths = expect_reply(&i, 3000);
        if mtu < 3028 {
            assert_eq!(lengths[0], piece, "MTU {mtu}");
        } else {
            assert_eq!(lengths, [3028], "MTU {mtu}");
        }
        assert!(lengths.iter().all(|l| *l <= mtu), "MTU {mtu}: {lengths:?}");
    }
}

#[test]
fn ipv4_fact_08_the_mtu_does_not_limit_what_the_guest_sends() {
    let i = Setup::default().start();
    let (ip, message) = echo(VHOST, 8000);
    i.input(&ip.frame(&message));
    assert_eq!(expect_reply(&i, 8000).len(), 6);
    let (ip, message) = echo(VHOST, 60_000);
    i.input(&ip.frame(&message));
    assert_eq!(expect_reply(&i, 60_000).len(), 41);
}

#[test]
fn ipv4_fact_09_other_protocols_are_ignored() {
    let i = Setup::default().start();
    for protocol in (0..=255).filter(|p| ![ICMP, TCP, UDP].contains(p)) {
        i.input(&Ip::new(VHOST, protocol).frame(&[0x16; 32]));
    }
    i.expect_silence();
}

#[test]
fn ipv4_fact_10_other_ports_of_the_dns_address_are_refused() {
    let i = Setup::default().start();
    let ip = Ip::new(VDNS, UDP);
    let datagram = udp(at(GUEST, 5000), at(VDNS, 54), b"abc");
    i.input(&ip.frame(&datagram));
    let (packet, code, quote) = unreachable(&i);
    assert_eq!((packet.src, packet.ttl, packet.tos, code), (VHOST, 255, 0xc0, 0));
    assert_eq!(quote[20..], datagram[..]);
    match Conn::try_connect(&i, at(VDNS, 80), &mss_option(1460)) {
        Reply::Icmp(packet, icmp) => assert_eq!((packet.src, icmp.code), (VHOST, 0)),
        other => panic!("{other:?}"),
    }
}

#[test]
fn ipv4_fact_11_limited_broadcast_reaches_the_hosts_loopback() {
    let i = Setup::default().start();
    let (host, port) = udp_peer();
    i.input(&udp_frame(5000, at(Ipv4Addr::BROADCAST, port), b"all"));
    let (data, from) = host_recv(&i, &host);
    assert_eq!(data, b"all");
    host.send_to(b"one", from).unwrap();
    let (_, reply) = i.wait_udp("the answer to a broadcast");
    let source = if ours("udp-broadcast-reply") { VHOST } else { LOCALHOST };
    assert_eq!((reply.src, reply.data.as_slice()), (at(source, port), &b"one"[..]));
}

#[test]
fn ipv4_fact_12_restricted_resets_tcp() {
    let i = Setup::with(|c| c.restricted = 1).start();
    match Conn::try_connect(&i, at_vhost(99), &mss_option(1460)) {
        Reply::Reset(packet, s) => {
            assert_eq!((s.flags, s.seq, s.ack, s.window), (RST | ACK, 0, GUEST_ISS + 1, 0));
            assert_eq!((packet.ttl, s.options.len()), (255, 0));
        }
        other => panic!("{other:?}"),
    }
    let (added, _) = i.registrations();
    assert!(added.is_empty(), "a restricted guest made a host socket");
}

#[test]
fn ipv4_fact_13_restricted_drops_udp_and_still_answers_pings() {
    let i = Setup::with(|c| c.restricted = 1).start();
    let (host, port) = udp_peer();
    let (ip, message) = echo(Ipv4Addr::new(127, 0, 0, 1), 20);
    i.input(&ip.frame(&message));
    for to in [at_vhost(port), at(VDNS, 53), at(LOCALHOST, port), at(Ipv4Addr::BROADCAST, port)] {
        i.input(&udp_frame(5000, to, b"x"));
    }
    i.expect_silence();
    host_gets_nothing(&i, &host);
    let (added, _) = i.registrations();
    assert!(added.is_empty(), "a restricted guest made a host socket");
    for dst in [VHOST, VDNS] {
        let (ip, message) = echo(dst, 20);
        i.input(&ip.frame(&message));
        expect_reply(&i, 20);
    }
}

#[test]
fn ipv4_fact_14_disable_host_loopback_refuses_the_host() {
    let i = Setup::with(|c| c.disable_host_loopback = true).start();
    let (host, port) = udp_peer();
    for to in [at_vhost(port), at(Ipv4Addr::BROADCAST, port)] {
        i.input(&udp_frame(5000, to, b"x"));
        if to.ip().is_broadcast() && ours("icmp-broadcast") {
            i.expect_silence();
            continue;
        }
        let (packet, code, quote) = unreachable(&i);
        assert_eq!((packet.src, code), (VHOST, 0));
        assert_eq!(quote[16..20], to.ip().octets());
    }
    host_gets_nothing(&i, &host);
    let (_listener, tcp_port) = tcp_listener();
    match Conn::try_connect(&i, at_vhost(tcp_port), &mss_option(1460)) {
        Reply::Icmp(packet, icmp) => assert_eq!((packet.src, icmp.code), (VHOST, 0)),
        other => panic!("{other:?}"),
    }
    // 127.0.0.0/8 and 0.0.0.0 are the host's loopback as well.
    if ours("loopback-bypass") {
        for ip in [LOCALHOST, Ipv4Addr::new(127, 1, 2, 3), Ipv4Addr::UNSPECIFIED] {
            i.input(&udp_frame(5000, at(ip, port), b"x"));
            let reply = Conn::try_connect(&i, at(ip, tcp_port), &mss_option(1460));
            assert!(!matches!(reply, Reply::SynAck(_)), "{ip}: {reply:?}");
        }
        host_gets_nothing(&i, &host);
    }
}

#[test]
fn ipv4_fact_15_outbound_address_is_what_the_host_sees() {
    let setup = Setup {
        outbound: Some(Box::new(sockaddr_in(at(Ipv4Addr::new(127, 0, 0, 5), 0)))),
        ..Setup::with(|c| c.version = 2)
    };
    let i = setup.start();
    let (host, port) = udp_peer();
    i.input(&udp_frame(5000, at_vhost(port), b"x"));
    assert_eq!(host_recv(&i, &host).1.ip().to_string(), "127.0.0.5");
    let (listener, port) = tcp_listener();
    let _conn = Conn::connect(&i, at_vhost(port));
    assert_eq!(accept(&i, &listener).peer_addr().unwrap().ip().to_string(), "127.0.0.5");
}

#[test]
fn ipv4_fact_16_every_datagram_has_its_own_identification() {
    let i = Setup::default().start();
    let mut ids = Vec::new();
    for _ in 0..5 {
        let (ip, message) = echo(VHOST, 3000);
        i.input(&ip.frame(&message));
        let pieces = fragments(&i);
        assert!(pieces.iter().all(|p| p.id == pieces[0].id));
        ids.push(pieces[0].id);
    }
    if library().upstream {
        assert_eq!(ids, [0, 1, 2, 3, 4]);
    }
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 5);
}

#[test]
fn ipv4_any_loopback_destination_is_reachable_without_the_option() {
    let i = Setup::default().start();
    let (listener, port) = tcp_listener();
    let mut conn = Conn::connect(&i, at(LOCALHOST, port));
    let mut host = accept(&i, &listener);
    conn.data(&i, b"direct");
    assert_eq!(host_read(&i, &mut host, 6), b"direct");
}

#[test]
fn ipv4_no_route_is_reported_at_once() {
    if !isolated("ipv4_no_route_is_reported_at_once", Isolation::Network) {
        return;
    }
    let i = Setup::default().start();
    let nowhere = Ipv4Addr::new(10, 0, 2, 4);
    // UDP, TCP and a subnet broadcast: none of them is translated, and the host has no route.
    for ip in [nowhere, Ipv4Addr::new(192, 0, 2, 1), Ipv4Addr::new(10, 0, 2, 255)] {
        i.input(&udp_frame(5000, at(ip, 9), b"x"));
        if ip == Ipv4Addr::new(10, 0, 2, 255) && ours("icmp-broadcast") {
            i.expect_silence();
            continue;
        }
        let (packet, code, _) = unreachable(&i);
        assert_eq!((packet.src, code), (VHOST, 0), "{ip}");
    }
    match Conn::try_connect(&i, at(nowhere, 80), &mss_option(1460)) {
        Reply::Icmp(packet, icmp) => {
            assert_eq!((packet.src, icmp.code, icmp.data.len() + 8), (VHOST, 0, 52));
            assert_eq!(icmp.data[16..20], nowhere.octets());
        }
        other => panic!("{other:?}"),
    }
    assert!(i.flows("TCP[").is_empty());
}
