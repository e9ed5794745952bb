//! IPv6 through the C ABI: docs/contract/ipv6.md, docs/contract/ethernet-arp-ndp.md section 4, and what the other pages
//! of docs/contract say of it.

mod common;
use common::*;
use std::io::Write;
use std::net::Ipv6Addr;

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

#[test]
fn ethernet_fact_12_a_router_solicitation_is_answered_by_an_advertisement() {
    let i = setup6().silent().start();
    let mut solicitation = ndp_message(133, 0, None, &[]);
    let replies = i.answer6(&Ip6::ndp(GUEST_LL, ALL_ROUTERS).icmp(&solicitation));
    let [ra] = &replies[..] else { panic!("{replies:02x?}") };
    assert_eq!((ra.src, ra.dst, ra.dst_mac), (ROUTER6, ALL_NODES, [0x33, 0x33, 0, 0, 0, 1]));
    let body = hex(&ra.payload);
    assert!(
        body.starts_with("8600")
            && body[8..].starts_with(
                "40000708000000000000000001015256000000020304\
         40c0000151800000384000000000fec00000000000000000000000000000"
            )
    );
    if ours("ra-options") {
        assert!(body.ends_with("05010000000005dc"));
        let mut searching = setup6().silent();
        searching.search = Some(vec!["example.com".into(), "a.".into()]);
        let i = searching.start();
        let ra = i.answer6(&Ip6::ndp(GUEST_LL, ALL_ROUTERS).icmp(&solicitation)).remove(0);
        // The search list (RFC 8106 section 5.2): 1800 s, the names, padding.
        assert!(hex(&ra.payload).ends_with("1f03000000000708076578616d706c6503636f6d00016100"));
    }
    // One from nobody is answered as well; a foreign one is not.
    assert_eq!(i.answer6(&Ip6::ndp(Ipv6Addr::UNSPECIFIED, ALL_ROUTERS).icmp(&solicitation)), replies);
    silent(&i, &Ip6 { hop_limit: 64, ..Ip6::ndp(GUEST_LL, ALL_ROUTERS) }.icmp(&solicitation), "hop limit 64");
    solicitation[1] = 1;
    silent(&i, &Ip6::ndp(GUEST_LL, ALL_ROUTERS).icmp(&solicitation), "code 1");
    assert!(i.neighbor_info().contains("NDP  52:54:00:12:34:56  fe80::5054:ff:fe12:3456"), "{}", i.neighbor_info());
}

#[test]
fn ethernet_fact_14_the_library_answers_for_its_own_addresses_only() {
    let i = setup6().silent().start();
    for target in ["fec0::2", "fec0::3", "fe80::2", "fe80::3"].map(ip) {
        let replies = i.answer6(&solicit(GUEST_LL, solicited_node(target), target));
        let [na] = &replies[..] else { panic!("{target}: {replies:02x?}") };
        let last = target.octets()[15];
        assert_eq!((na.src, na.dst, na.dst_mac), (target, GUEST_LL, GUEST_MAC));
        assert_eq!(na.payload[4..8], [0xe0, 0, 0, 0]);
        assert_eq!(na.payload[8..24], target.octets());
        assert_eq!(na.payload[24..], [2, 1, 0x52, 0x56, 0, 0, 0, last]);
    }
    for target in ["fec0::4", "fe80::4", "2001:db8::2"].map(ip) {
        silent(&i, &solicit(GUEST_LL, solicited_node(target), target), "a foreign target");
    }
}

#[test]
fn ethernet_facts_15_and_16_duplicate_address_detection_and_hop_limits() {
    let i = setup6().silent().start();
    let probe = |destination| solicit(Ipv6Addr::UNSPECIFIED, destination, VHOST6);
    let replies = i.answer6(&probe(solicited_node(VHOST6)));
    let [na] = &replies[..] else { panic!("{replies:02x?}") };
    assert_eq!((na.dst, na.payload[4]), (ALL_NODES, 0xa0));
    silent(&i, &probe(VHOST6), "a probe to the address itself");
    let own = solicit(Ipv6Addr::UNSPECIFIED, solicited_node(GUEST6), GUEST6);
    silent(&i, &own, "a probe for the guest's own address");
    let far = Ip6 { hop_limit: 254, ..Ip6::ndp(GUEST_LL, VHOST6) };
    silent(&i, &far.icmp(&ndp_message(135, 0, Some(VHOST6), &[])), "hop limit 254");
    assert!(!i.neighbor_info().contains("NDP"), "{}", i.neighbor_info());
}

#[test]
fn poll_fact_14_the_timer_is_set_again_before_the_advertisement() {
    let i = setup6().silent().start();
    assert!(i.drain().is_empty(), "no frame from inside slirp_new");
    i.all_events();
    let handle_timer = library().slirp_handle_timer;
    // SAFETY: the handle is valid.
    unsafe { handle_timer(i.slirp.get(), 0, std::ptr::null_mut()) };
    let events = i.all_events();
    assert!(matches!(&events[..], [Event::TimerMod(TIMER, _), Event::Frame(_)]), "{events:?}");
    let frames: Vec<Packet6> = i.drain().iter().filter_map(packet6).collect();
    assert_eq!(frames.iter().map(|p| p.icmp()).collect::<Vec<_>>(), [Some((134, 0))]);
}

#[test]
fn icmp_fact_11_the_virtual_hosts_answer_pings() {
    let i = start6(setup6());
    for target in ["fec0::2", "fec0::3", "fe80::2", "fe80::3"].map(ip) {
        let request = Ip6 { hop_limit: 1, ..Ip6::new(target, ICMPV6) }.icmp(&echo6(7, 9, b"payload"));
        let replies = i.answer6(&request);
        let [reply] = &replies[..] else { panic!("{target}: {replies:02x?}") };
        assert_eq!((reply.src, reply.dst, reply.icmp()), (target, GUEST6, Some((129, 0))));
        assert_eq!(reply.payload[4..], *b"\0\x07\0\x09payload");
    }
    if pings_outside() {
        assert_eq!(codes(&i, &Ip6::new(ip("fec0::9"), ICMPV6).icmp(&echo6(7, 9, b""))), [(1, 0)]);
    }
}

/// Upstream has pings to the outside over IPv6 since 4.9.
fn pings_outside() -> bool {
    library().at_least(9)
}

#[test]
fn a_ping_of_the_hosts_loopback_is_answered_from_it() {
    if !pings_outside() {
        return;
    }
    let i = start6(setup6());
    i.input(&Ip6::new(LOOPBACK, ICMPV6).icmp(&echo6(0x1234, 5, b"across")));
    let reply = i.wait6("the reply or a refusal", |p| p.icmp().map(|_| p.clone()));
    // Without the right to ping, the guest is told so.
    if reply.icmp() == Some((129, 0)) {
        assert_eq!((reply.src, &reply.payload[4..]), (LOOPBACK, &b"\x12\x34\0\x05across"[..]));
    } else {
        assert_eq!(reply.payload[0], 1);
    }
}

#[test]
fn ethernet_fact_10_an_unknown_guest_is_solicited_and_its_reply_waits() {
    let i = setup6().start();
    let frames = i.answer6(&Ip6::new(VHOST6, ICMPV6).icmp(&echo6(1, 1, b"x")));
    let [ns] = &frames[..] else { panic!("{frames:02x?}") };
    let group = solicited_node(GUEST6);
    assert_eq!((ns.src, ns.dst, ns.frame_len), (VHOST6, group, 86));
    assert_eq!(ns.dst_mac, [0x33, 0x33, 0xff, 0x12, 0x34, 0x56]);
    assert_eq!(ns.payload[8..], [&GUEST6.octets()[..], &[1, 1, 0x52, 0x56, 0, 0, 0, 2]].concat());
    i.greet6(GUEST6);
    let reply = i.wait6("the reply that waited", |p| p.icmp().filter(|icmp| *icmp == (129, 0)).map(|_| p.clone()));
    assert_eq!(reply.dst_mac, GUEST_MAC);
    // One whose address nobody claims is dropped after a second.
    let other = Ip6 { src: ip("fec0::77"), ..Ip6::new(VHOST6, ICMPV6) };
    i.input(&other.icmp(&echo6(1, 2, b"y")));
    i.settled();
    i.move_clock(Duration::from_millis(1100));
    i.settled();
    i.greet6(ip("fec0::77"));
    i.expect_silence();
}

#[test]
fn ipv6_facts_01_to_05_validation() {
    let i = start6(setup6());
    let echo = Ip6::new(VHOST6, ICMPV6).icmp(&echo6(1, 1, b"abcdefgh"));
    silent(&i, &echo[..echo.len() - 1], "a truncated packet");
    let mut padded = echo.clone();
    padded.extend([0xee; 20]);
    let replies = i.answer6(&padded);
    assert_eq!(replies[0].payload.len(), 16);
    // 2: a packet above the MTU.
    let replies = i.answer6(&Ip6::new(VHOST6, ICMPV6).icmp(&echo6(1, 1, &[7; 1476])));
    let [error] = &replies[..] else { panic!("{replies:02x?}") };
    assert_eq!((error.src, error.icmp(), error.frame_len), (ROUTER6, Some((2, 0)), 1514));
    assert_eq!(error.payload[4..8], [0, 0, 0x05, 0xdc]);
    // 3: hop limit 0.
    let spent = Ip6 { hop_limit: 0, ..Ip6::new(VHOST6, ICMPV6) };
    let replies = i.answer6(&spent.icmp(&echo6(1, 1, b"")));
    assert_eq!((replies[0].src, replies[0].icmp()), (ROUTER6, Some((3, 0))));
    // 4: nothing follows.
    silent(&i, &Ip6::new(VHOST6, 59).frame(b"12345678"), "next header 59");
    silent(&i, &Ip6::new(VHOST6, 0).frame(b""), "next header 0 without a header");
}

#[test]
fn ipv6_fact_10_udp_needs_a_checksum() {
    let i = start6(setup6());
    let mut datagram = Ip6::new(VHOST6, UDP).udp_datagram(1000, 9, b"x");
    datagram[6..8].fill(0);
    silent(&i, &Ip6::new(VHOST6, UDP).frame(&datagram), "a UDP checksum of zero");
}

#[test]
fn ipv6_fact_07_udp_passes_both_ways() {
    let i = start6(setup6());
    let (host, port) = udp6_peer();
    for target in [VHOST6, ip("fec0::9"), LOOPBACK] {
        i.input(&Ip6::new(target, UDP).udp(5000, port, b"question"));
        let (data, from) = host_recv6(&i, &host);
        assert_eq!(data, b"question");
        host.send_to(b"answer", from).unwrap();
        let got = i.wait6("the answer", |p| p.udp());
        assert_eq!(got, (at6(target, port), at6(GUEST6, 5000), b"answer".to_vec()), "{target}");
    }
    // To all nodes: the host's loopback, which answers as the virtual host.
    i.input(&Ip6::new(ALL_NODES, UDP).udp(5001, port, b"anyone"));
    let (_, from) = host_recv6(&i, &host);
    if ours("udp6-multicast-reply") {
        host.send_to(b"me", from).unwrap();
        assert_eq!(i.wait6("the answer", |p| p.udp()).0, at6(VHOST6, port));
    }
}

#[test]
fn icmp_fact_12_a_closed_udp_port_is_reported() {
    let i = start6(setup6());
    let (host, port) = udp6_peer();
    drop(host);
    i.input(&Ip6::new(VHOST6, UDP).udp(5000, port, b"knock"));
    let error = i.wait6("an error", |p| p.icmp().map(|_| p.clone()));
    assert_eq!(error.icmp(), Some((1, 4)));
    assert_eq!(error.src, if ours("icmp-loopback-offender") { VHOST6 } else { LOOPBACK });
    assert_eq!(error.payload[8 + 24..8 + 40], VHOST6.octets());
    assert!(error.payload.ends_with(b"knock"));
}

/// Has the host hear an ICMPv6 error for a datagram that went from one port of its loopback to another.
fn host_hears(kind: u8, code: u8, info: u32, from: u16, to: u16, payload: &[u8]) {
    let icmp = Some(socket2::Protocol::ICMPV6);
    let raw = socket2::Socket::new(socket2::Domain::IPV6, socket2::Type::RAW, icmp).expect("we are root here");
    let quoted = Ip6 { src: LOOPBACK, ..Ip6::new(LOOPBACK, UDP) };
    let message = [&[kind, code, 0, 0][..], &info.to_be_bytes(), &quoted.udp(from, to, payload)[14..]].concat();
    // The kernel fills in the checksum.
    raw.send_to(&message, &std::net::SocketAddr::from((LOOPBACK, 0)).into()).expect("the loopback takes it");
}

#[test]
fn errors_that_the_host_hears_reach_the_guest_with_its_own_addresses() {
    if !isolated("errors_that_the_host_hears_reach_the_guest_with_its_own_addresses", Isolation::Network) {
        return;
    }
    if !ours("path-mtu") {
        return;
    }
    let i = start6(setup6());
    let (host, port) = udp6_peer();
    // No route, prohibited, beyond scope, address, port, policy, reject; size; hops, reassembly; field, header, option.
    let unreachable = (0..=6).map(|code| (1, code, 0));
    let others = [(2, 0, 1280), (3, 0, 0), (3, 1, 0), (4, 0, 4), (4, 1, 6), (4, 2, 40)];
    for (n, (kind, code, info)) in unreachable.chain(others).enumerate() {
        let payload = format!("datagram {n}");
        i.input(&Ip6::new(VHOST6, UDP).udp(5000, port, payload.as_bytes()));
        let (_, from) = host_recv6(&i, &host);
        host_hears(kind, code, info, from.port(), port, payload.as_bytes());
        let error = i.wait6("the error", |p| p.icmp().map(|_| p.clone()));
        assert_eq!((error.icmp(), &error.payload[4..8]), (Some((kind, code)), &info.to_be_bytes()[..]));
        // From whom the guest had spoken to, about what the guest had sent.
        assert_eq!((error.src, error.dst), (VHOST6, GUEST6));
        let sent = Ip6 { hop_limit: error.payload[15], ..Ip6::new(VHOST6, UDP) }.udp(5000, port, payload.as_bytes());
        assert_eq!(error.payload[8..], sent[14..], "{kind}/{code}");
    }
    // One that belongs to nothing, and what is no error.
    host_hears(1, 4, 0, 1, port, b"never sent");
    host_hears(128, 0, 0, 1, port, b"a ping of the host itself");
    assert!(i.settled().is_empty());
}

#[test]
fn a_flow_over_ipv6_hears_no_peers_over_ipv4() {
    if !ours("mapped-destination") {
        return;
    }
    let i = start6(setup6());
    let (host, port) = udp6_peer();
    i.input(&Ip6::new(VHOST6, UDP).udp(5000, port, b"question"));
    let (_, from) = host_recv6(&i, &host);
    let (stranger, _) = udp_peer();
    let _ = stranger.send_to(b"unasked", (LOCALHOST, from.port()));
    assert!(i.settled().is_empty());
    // Any peer over IPv6 may answer (RFC 4787), as over IPv4.
    let (third, third_port) = udp6_peer();
    third.send_to(b"me too", from).unwrap();
    assert_eq!(i.wait6("a third party", |p| p.udp()), (at6(VHOST6, third_port), at6(GUEST6, 5000), b"me too".to_vec()));
}

#[test]
fn ipv6_facts_08_and_09_unreachable_and_hop_limit() {
    if !isolated("ipv6_facts_08_and_09_unreachable_and_hop_limit", Isolation::Network) {
        return;
    }
    let i = start6(setup6());
    let far = Ip6::new(ip("2001:db8::1"), UDP);
    assert_eq!(codes(&i, &far.udp(5000, 53, b"x")), [(1, 0)]);
    assert_eq!(codes(&i, &Ip6 { hop_limit: 1, ..far }.udp(5000, 53, b"x")), [(3, 0)]);
    assert_eq!(codes(&i, &Ip6::new(ip("fe80::9"), UDP).udp(5000, 53, b"x")), [(1, 0)]);
    // TCP is refused at once, so that the guest falls back to IPv4.
    let port = i.fresh_port();
    i.input(&Ip6::new(ip("2001:db8::1"), TCP).tcp((port, 80), 1, 0, SYN, b""));
    let packets: Vec<Packet6> = i.settled().iter().filter_map(packet6).collect();
    assert_eq!(packets[0].icmp(), Some((1, 0)));
    if ours("tcp6-refused") {
        assert_eq!(packets[1].tcp().map(|s| (s.flags & RST, s.ack)), Some((RST, 2)));
    }
}

#[test]
fn ipv6_fact_06_tcp_to_any_address_of_the_prefix_reaches_the_loopback() {
    let i = start6(setup6());
    let listener = TcpListener::bind((LOOPBACK, 0)).unwrap();
    listener.set_nonblocking(true).unwrap();
    let port = listener.local_addr().unwrap().port();
    for target in [VHOST6, ip("fec0::9"), LOOPBACK] {
        let (mut conn, hello) = Conn6::connect(&i, at6(target, port));
        assert_eq!((hello.src, hello.dst.ip()), (at6(target, port), &GUEST6));
        assert_eq!(hello.options[..4], [2, 4, 0x05, 0xa0], "1440 bytes fit");
        talk(&i, &mut conn, accept6(&i, &listener));
    }
    // A closed port is refused.
    drop(listener);
    let own = i.fresh_port();
    i.input(&Ip6::new(VHOST6, TCP).tcp((own, port), 1, 0, SYN, b""));
    let s = i.wait6("a reset", |p| p.tcp().filter(|s| s.dst.port() == own));
    assert_eq!((s.flags & RST, s.ack), (RST, 2));
}

#[test]
fn ipv6_works_without_ipv4_and_is_off_without_being_asked_for() {
    let only = start6(Setup::with(|c| (c.in_enabled, c.in6_enabled) = (false, true)));
    let echo = Ip6::new(VHOST6, ICMPV6).icmp(&echo6(1, 1, b""));
    assert_eq!(only.answer6(&echo).len(), 1);
    silent(&only, &arp(1, GUEST_MAC, GUEST, [0; 6], VHOST), "ARP");
    let off = Setup::default().start();
    silent(&off, &echo, "IPv6");
    silent(&off, &solicit(GUEST_LL, solicited_node(VHOST6), VHOST6), "neighbor discovery");
}

#[test]
fn ipv6_fact_11_restricted_mode() {
    let i = start6(Setup::with(|c| (c.in6_enabled, c.restricted) = (true, 1)));
    let (host, port) = udp6_peer();
    silent(&i, &Ip6::new(VHOST6, UDP).udp(5000, port, b"x"), "UDP");
    assert!(host.recv_from(&mut [0; 8]).is_err());
    silent(&i, &Ip6::new(VHOST6, UDP).udp(546, 547, &[11, 1, 2, 3]), "DHCPv6");
    silent(&i, &Ip6::new(VHOST6, UDP).udp(5000, 69, b"\0\x01x\0octet\0"), "TFTP");
    silent(&i, &Ip6::new(ip("2001:db8::1"), ICMPV6).icmp(&echo6(1, 1, b"")), "a ping to the outside");
    assert_eq!(i.answer6(&Ip6::new(VHOST6, ICMPV6).icmp(&echo6(1, 1, b""))).len(), 1);
    let replies = i.answer6(&Ip6::new(VHOST6, TCP).tcp((5000, 80), 1, 0, SYN, b""));
    assert_eq!(replies[0].tcp().map(|s| s.flags & RST), Some(RST));
    assert_eq!(i.answer6(&solicit(GUEST_LL, VHOST6, VHOST6)).len(), 1);
}

#[test]
fn ipv6_fact_12_the_hosts_loopback_is_closed_on_every_road() {
    let i = start6(Setup::with(|c| (c.in6_enabled, c.disable_host_loopback) = (true, true)));
    let (_host, port) = udp6_peer();
    for target in ["fec0::2", "fec0::9", "::1", "ff02::1", "fe80::2", "::ffff:127.0.0.1"].map(ip) {
        if !ours("loopback-bypass") && !target.to_string().starts_with("fec0") {
            continue;
        }
        let error = if target.is_multicast() { vec![] } else { vec![(1, 0)] };
        assert_eq!(codes(&i, &Ip6::new(target, UDP).udp(5000, port, b"x")), error, "UDP to {target}");
        if !target.is_multicast() {
            let syn = Ip6::new(target, TCP).tcp((i.fresh_port(), port), 1, 0, SYN, b"");
            assert_eq!(codes(&i, &syn), [(1, 0)], "TCP to {target}");
        }
    }
    if ours("loopback-bypass") {
        assert_eq!(codes(&i, &Ip6::new(LOOPBACK, ICMPV6).icmp(&echo6(1, 1, b""))), [(1, 0)]);
    }
}

/// RFC 8201: what goes to the guest through a link of 1280 bytes becomes smaller, and never less than that.
#[test]
fn a_packet_too_big_makes_segments_smaller() {
    if !ours("guest-path-mtu") {
        return;
    }
    let i = start6(setup6());
    let listener = TcpListener::bind((LOOPBACK, 0)).unwrap();
    listener.set_nonblocking(true).unwrap();
    let (mut conn, _) = Conn6::connect(&i, at6(VHOST6, listener.local_addr().unwrap().port()));
    let mut host = accept6(&i, &listener);
    host.write_all(&[7; 2000]).unwrap();
    let full = i.wait6("a segment", |p| p.tcp().filter(|s| !s.payload.is_empty()).map(|_| p.clone()));
    assert_eq!(full.payload.len(), 20 + 1420, "without the option as upstream has it");
    i.settle();
    i.drain();
    let quoted = Ip6 { src: full.src, ..Ip6::new(full.dst, TCP) }.packet(&full.payload);
    let too_big = |mtu: u32| {
        let message = [&[2, 0, 0, 0][..], &mtu.to_be_bytes(), &quoted[..48]].concat();
        let packets = i.answer6(&Ip6::new(VHOST6, ICMPV6).icmp(&message));
        packets.iter().filter_map(|p| Some(p.tcp()?.payload.len())).collect::<Vec<_>>()
    };
    assert_eq!(too_big(1300), [1240, 760]);
    assert_eq!(too_big(100), [1220, 780]);
    assert_eq!(too_big(1290), [0; 0], "larger than what is known");
    assert_eq!(conn.receive(&i, 0), []);
}
