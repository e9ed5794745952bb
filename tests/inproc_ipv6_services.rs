//! What the virtual host serves over IPv6: DHCPv6, TFTP, and the way to the host's name servers. Source:
//! docs/contract/dhcp.md part B, docs/contract/tftp.md and docs/contract/dns.md.

mod common;
use common::*;
use std::net::{Ipv6Addr, SocketAddrV6};

fn resolv(text: &str) {
    std::fs::write(child::resolv_conf_path(), text).expect("the file is ours");
}

#[test]
fn dhcp_facts_18_to_20_information_requests() {
    let mut s = setup6();
    s.bootfile = Some("pxe.0".into());
    s.search = Some(vec!["example.com".into()]);
    let i = start6(s);
    let ask = |to: Ipv6Addr, message: &[u8]| i.answer6(&Ip6::new(to, UDP).udp(546, 547, message));
    let request = b"\x0b\x01\x02\x03\0\x01\0\x03abc\0\x06\0\x06\0\x3b\0\x17\0\x18";
    let url = b"tftp://[fec0:0000:0000:0000:0000:0000:0000:0002]/pxe.0";
    for to in [VHOST6, ip("ff02::1:2")] {
        let replies = ask(to, request);
        let (src, dst, data) = replies[0].udp().expect("a datagram");
        assert_eq!((src.ip(), dst), (&VHOST6, at6(GUEST6, 546)));
        assert_eq!(src.port(), if ours("dhcpv6-server") { 547 } else { 8962 });
        assert_eq!(data[..11], *b"\x07\x01\x02\x03\0\x01\0\x03abc");
        assert!(data.windows(20).any(|w| w == [&[0, 23, 0, 16][..], &VDNS6.octets()].concat()));
        assert!(data.ends_with(url));
        if ours("dhcpv6-server") {
            assert_eq!(data[11..25], *b"\0\x02\0\x0a\0\x03\0\x01\x52\x56\0\0\0\x02");
            assert!(data.windows(17).any(|w| *w == b"\0\x18\0\x0d\x07example\x03com\0"[..17]));
        }
    }
    silent(&i, &Ip6::new(VHOST6, UDP).udp(546, 547, &[1, 1, 2, 3]), "SOLICIT");
    // Other addresses of the library are no servers: nothing listens there.
    for to in [VDNS6, ip("fe80::2")] {
        i.input(&Ip6::new(to, UDP).udp(546, 547, request));
        let replies: Vec<Packet6> = i.settled().iter().filter_map(packet6).collect();
        assert!(replies.iter().all(|p| p.icmp().is_some_and(|(kind, _)| kind == 1)), "{to}: {replies:02x?}");
        // Upstream's answer comes from the host, to which the address means something else with each version.
        assert!(replies.len() == 1 || library().upstream, "{to}: {replies:02x?}");
    }
    let longest = [&b"\x0b\x01\x02\x03\0\x01\x01\0"[..], &[0; 256]].concat();
    assert_eq!(ask(VHOST6, &longest).len(), 1);
    let long = [&b"\x0b\x01\x02\x03\0\x01\x01\x01"[..], &[0; 257]].concat();
    silent(&i, &Ip6::new(VHOST6, UDP).udp(546, 547, &long), "a client identifier of 257 bytes");
    i.events();
    silent(&i, &Ip6::new(VHOST6, UDP).udp(546, 547, b"\x0b\x01\x02\x03\0\x01\0\x09x"), "an option too long");
    assert!(i.events().contains(&Event::GuestError("Guest sent bad DHCPv6 packet!".into())));
}

#[test]
fn tftp_over_ipv6_is_answered_by_the_virtual_host() {
    let i = start6(setup6());
    let replies = i.answer6(&Ip6::new(VHOST6, UDP).udp(2000, 69, b"\0\x01missing\0octet\0"));
    let (src, dst, data) = replies[0].udp().expect("a datagram");
    assert_eq!((src, dst, &data[..2]), (at6(VHOST6, 69), at6(GUEST6, 2000), &b"\0\x05"[..]));
}

#[test]
fn ethernet_fact_13_the_name_server_is_announced_when_there_is_one() {
    if !isolated("ethernet_fact_13_the_name_server_is_announced_when_there_is_one", Isolation::Resolver) {
        return;
    }
    let announced = |text: &str, setup: Setup| {
        resolv(text);
        let i = setup.silent().start();
        let replies = i.answer6(&Ip6::ndp(GUEST_LL, ALL_ROUTERS).icmp(&ndp_message(133, 0, None, &[])));
        let server = VDNS6.octets();
        let lifetime = if ours("ra-options") { 1800u32 } else { 1_200_000 }.to_be_bytes();
        let option = [&[25, 3, 0, 0][..], &lifetime, &server].concat();
        replies[0].payload.windows(24).any(|w| w == option)
    };
    // Upstream before 4.9 has no option for it.
    assert_eq!(announced("", setup6()), library().at_least(9));
    // Upstream keeps what it found for the whole process; ours looks again for each instance.
    if ours("dns-cross-family") {
        assert!(announced("nameserver 192.0.2.1\n", setup6()));
        assert!(!announced("nameserver nonsense\n", setup6()));
        assert!(!announced("", Setup::with(|c| (c.in6_enabled, c.disable_dns) = (true, true))));
    }
}

#[test]
fn dns_over_ipv6_reaches_servers_of_both_families() {
    if !isolated("dns_over_ipv6_reaches_servers_of_both_families", Isolation::Resolver) {
        return;
    }
    for (text, address) in
        [("nameserver ::1\nnameserver 127.0.0.1\n", "::1"), ("", "::1"), ("nameserver 127.0.0.77\n", "127.0.0.77")]
    {
        if address != "::1" && !ours("dns-cross-family") {
            continue;
        }
        resolv(text);
        let server = UdpSocket::bind((address, 53)).unwrap();
        server.set_nonblocking(true).unwrap();
        let listener = TcpListener::bind((address, 53)).unwrap();
        listener.set_nonblocking(true).unwrap();
        let i = start6(setup6());
        let forms = if ours("link-local-services") { vec![VDNS6, ip("fe80::3")] } else { vec![VDNS6] };
        for target in forms {
            i.input(&Ip6::new(target, UDP).udp(5353, 53, b"query"));
            let (_, from) = host_recv6(&i, &server);
            server.send_to(b"answer", from).unwrap();
            let got = i.wait6("the answer", |p| p.udp());
            assert_eq!(got, (at6(target, 53), at6(GUEST6, 5353), b"answer".to_vec()), "{text:?}");
        }
        let (mut conn, _) = Conn6::connect(&i, at6(VDNS6, 53));
        talk(&i, &mut conn, accept6(&i, &listener));
        // The same guest port serves both families at once.
        if address != "::1" {
            let (host, port) = udp6_peer();
            i.input(&Ip6::new(VHOST6, UDP).udp(5353, port, b"other"));
            assert_eq!(host_recv6(&i, &host).0, b"other");
        }
    }
}

#[test]
fn dns_reaches_a_server_that_is_named_with_its_interface() {
    if !isolated("dns_reaches_a_server_that_is_named_with_its_interface", Isolation::Resolver) {
        return;
    }
    let (own, interface) = (ip("fe80::1"), 1);
    add_loopback_address(own);
    let at_own = std::net::SocketAddr::from(std::net::SocketAddrV6::new(own, 53, 0, interface));
    let server = UdpSocket::bind(at_own).unwrap();
    server.set_nonblocking(true).unwrap();
    let listener = TcpListener::bind(at_own).unwrap();
    listener.set_nonblocking(true).unwrap();
    for zone in ["lo", "1"] {
        if zone == "1" && !ours("dns-zone-number") {
            continue;
        }
        let line = format!("nameserver {own}%{zone}\n");
        resolv(&line);
        let i = start6(setup6());
        i.input(&Ip6::new(VDNS6, UDP).udp(5353, 53, b"query"));
        let (_, from) = host_recv6(&i, &server);
        server.send_to(b"answer", from).unwrap();
        assert_eq!(
            i.wait6("the answer", |p| p.udp()),
            (at6(VDNS6, 53), at6(GUEST6, 5353), b"answer".to_vec()),
            "{line}"
        );
        let (mut conn, _) = Conn6::connect(&i, at6(VDNS6, 53));
        talk(&i, &mut conn, accept6(&i, &listener));
    }
}

#[test]
fn dns_over_ipv4_reaches_an_ipv6_server_and_a_dead_one_is_reported() {
    if !isolated("dns_over_ipv4_reaches_an_ipv6_server_and_a_dead_one_is_reported", Isolation::Resolver) {
        return;
    }
    if !ours("dns-cross-family") {
        return;
    }
    resolv("nameserver ::1\n");
    let server = UdpSocket::bind((LOOPBACK, 53)).unwrap();
    server.set_nonblocking(true).unwrap();
    let i = start6(setup6());
    i.input(&udp_frame(5353, at(VDNS, 53), b"query"));
    let (_, from) = host_recv6(&i, &server);
    server.send_to(b"answer", from).unwrap();
    let d = i.wait_udp("the answer").1;
    assert_eq!((d.src, d.data.as_slice()), (at(VDNS, 53), &b"answer"[..]));
    drop(server);
    i.input(&udp_frame(5353, at(VDNS, 53), b"query"));
    let (packet, icmp) = i.wait_icmp("a refusal");
    assert_eq!((packet.src, icmp.kind, icmp.code), (VDNS, 3, 3));
    // And the other way round.
    resolv("nameserver 127.0.0.1\n");
    i.move_clock(Duration::from_secs(3));
    i.input(&Ip6::new(VDNS6, UDP).udp(5354, 53, b"query"));
    let error = i.wait6("a refusal", |p| p.icmp().map(|_| p.clone()));
    assert_eq!((error.src, error.icmp()), (VDNS6, Some((1, 4))));
}

/// The payload of the only UDP datagram among `packets`, put together when it came in fragments.
fn datagram(packets: &[Packet6]) -> (SocketAddrV6, SocketAddrV6, Vec<u8>) {
    if let [one] = packets
        && let Some(whole) = one.udp()
    {
        return whole;
    }
    let mut together = Vec::new();
    for p in packets {
        assert_eq!((p.next, p.payload[0]), (44, UDP), "{packets:02x?}");
        assert_eq!(usize::from(u16::from_be_bytes([p.payload[2], p.payload[3]]) & 0xfff8), together.len());
        together.extend_from_slice(&p.payload[8..]);
    }
    assert_eq!(packets.last().expect("at least one packet").payload[3] & 1, 0, "the last fragment is there");
    assert_eq!(usize::from(u16::from_be_bytes([together[4], together[5]])), together.len());
    let port = |at: usize| u16::from_be_bytes([together[at], together[at + 1]]);
    (at6(packets[0].src, port(0)), at6(packets[0].dst, port(2)), together[8..].to_vec())
}

#[test]
fn tftp_over_ipv6_moves_whole_files() {
    for server in [VHOST6, ROUTER6] {
        if server == VHOST6 || ours("link-local-services") {
            tftp_moves_whole_files(server);
        }
    }
}

fn tftp_moves_whole_files(server: Ipv6Addr) {
    let folder = std::env::temp_dir().join(format!("slirp-tftp6-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let content: Vec<u8> = (0..70_000u32).map(|n| (n ^ n >> 7) as u8).collect();
    std::fs::write(folder.join("file"), &content).unwrap();
    let mut s = setup6();
    s.tftp_path = Some(folder.to_str().expect("a text").into());
    let i = start6(s);
    let ask = |port, packet: &[u8]| {
        let replies = i.answer6(&Ip6::new(server, UDP).udp(port, 69, packet));
        if replies.is_empty() {
            return None;
        }
        let (src, dst, data) = datagram(&replies);
        assert_eq!((src, dst), (at6(server, 69), at6(GUEST6, port)));
        Some(data)
    };
    let requests = [
        (2000, &b"\0\x01file\0octet\0"[..], None, 512),
        (
            2001,
            b"\0\x01file\0octet\0blksize\x001428\0tsize\x000\0",
            Some(&b"\0\x06blksize\x001428\0tsize\x0070000\0"[..]),
            1428,
        ),
    ];
    for (port, request, options, block) in requests {
        let mut answer = ask(port, request);
        if let Some(expected) = options {
            let mut parts: Vec<_> = answer.expect("the options")[2..].split(|b| *b == 0).map(<[u8]>::to_vec).collect();
            let mut wanted: Vec<_> = expected[2..].split(|b| *b == 0).map(<[u8]>::to_vec).collect();
            parts.sort();
            wanted.sort();
            assert_eq!(parts, wanted);
            answer = ask(port, &[0, 4, 0, 0]);
        }
        let (mut got, mut number) = (Vec::new(), 0u16);
        while let Some(data) = answer {
            number += 1;
            assert_eq!(data[..4], [[0, 3], number.to_be_bytes()].concat());
            assert!(data.len() - 4 == block || got.len() + data.len() - 4 == content.len());
            got.extend_from_slice(&data[4..]);
            answer = ask(port, &[[0, 4], number.to_be_bytes()].concat());
        }
        assert!(got == content, "{} bytes came with blocks of {block}", got.len());
    }
    let _ = std::fs::remove_dir_all(&folder);
}

#[test]
fn dhcpv6_odd_option_requests_are_silent() {
    let i = start6(setup6());
    for length in [1u8, 3, 5] {
        let request = [&[11, 1, 2, 3, 0, 6, 0, length][..], &[0, 23, 0, 24, 0][..usize::from(length)]].concat();
        silent(&i, &Ip6::new(VHOST6, UDP).udp(546, 547, &request), &format!("{length} bytes of option codes"));
    }
    let replies = i.answer6(&Ip6::new(VHOST6, UDP).udp(546, 547, b"\x0b\x01\x02\x03\0\x06\0\x02\0\x17"));
    assert_eq!(datagram(&replies).2[..4], [7, 1, 2, 3]);
}

#[test]
fn security_dhcpv6_under_a_small_mtu_fits_it() {
    if !ours("ipv6-fragments") {
        return;
    }
    for mtu in [100, 300, 576, 1280] {
        let mut s = setup6().mtu(mtu, 1500);
        s.bootfile = Some("b".repeat(127));
        s.search = Some((0..9).map(|n| format!("{}{n}.example.com", "d".repeat(50))).collect());
        // The harness refuses every frame that is longer than the MTU.
        let i = start6(s);
        for id in [1, 17, 255, 256] {
            let mut request = vec![11, 1, 2, 3, 0, 6, 0, 6, 0, 23, 0, 24, 0, 59, 0, 1];
            request.extend((id as u16).to_be_bytes());
            request.resize(request.len() + id, 0xd5);
            if 48 + request.len() > mtu {
                continue;
            }
            let replies = i.answer6(&Ip6::new(VHOST6, UDP).udp(546, 547, &request));
            let (src, dst, data) = datagram(&replies);
            assert_eq!((src, dst), (at6(VHOST6, 547), at6(GUEST6, 546)));
            // Options follow one another to the very end.
            let (mut at, mut kinds) = (4, Vec::new());
            while at < data.len() {
                kinds.push(u16::from_be_bytes([data[at], data[at + 1]]));
                at += 4 + usize::from(u16::from_be_bytes([data[at + 2], data[at + 3]]));
            }
            assert_eq!((at, data[..4].to_vec()), (data.len(), vec![7, 1, 2, 3]), "MTU {mtu}");
            assert_eq!(kinds, [1, 2, 23, 24, 59], "MTU {mtu}");
        }
        alive6(&i);
    }
}

/// A machine whose IPv6 is switched off still gives its guests names, and refuses the rest so that they turn to IPv4.
#[test]
fn a_host_without_ipv6_relays_names_and_refuses_the_rest_at_once() {
    if !isolated("a_host_without_ipv6_relays_names_and_refuses_the_rest_at_once", Isolation::Resolver) {
        return;
    }
    if !ours("dns-cross-family") {
        return;
    }
    std::fs::write("/proc/sys/net/ipv6/conf/all/disable_ipv6", "1").expect("the network namespace is ours");
    resolv("nameserver 127.0.0.77\n");
    let server = UdpSocket::bind("127.0.0.77:53").unwrap();
    server.set_nonblocking(true).unwrap();
    let i = start6(setup6());
    for target in ["2001:db8::1", "fec0::2", "::1", "fe80::9"].map(ip) {
        assert_eq!(codes(&i, &Ip6::new(target, UDP).udp(5000, 443, b"quic")), [(1, 0)], "UDP to {target}");
        let port = i.fresh_port();
        i.input(&Ip6::new(target, TCP).tcp((port, 443), 7, 0, SYN, b""));
        let packets: Vec<Packet6> = i.settled().iter().filter_map(packet6).collect();
        let Some((reset, errors)) = packets.split_last() else { panic!("TCP to {target} is not answered") };
        assert!(errors.iter().all(|p| p.icmp() == Some((1, 0))), "TCP to {target}: {errors:?}");
        assert_eq!(reset.tcp().map(|s| (s.flags & RST, s.ack)), Some((RST, 8)), "TCP to {target}");
    }
    i.input(&Ip6::new(VDNS6, UDP).udp(5353, 53, b"query"));
    let (_, from) = host_recv(&i, &server);
    server.send_to(b"answer", from).unwrap();
    assert_eq!(i.wait6("the answer", |p| p.udp()), (at6(VDNS6, 53), at6(GUEST6, 5353), b"answer".to_vec()));
    alive6(&i);
}
