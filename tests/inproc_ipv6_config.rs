//! IPv6 under unusual configurations, and the malformed packets that were holes of upstream: docs/contract/ipv6.md and
//! docs/contract/security.md.

mod common;
use common::*;
use std::net::Ipv6Addr;

#[test]
fn the_outbound_address_is_what_hosts_see() {
    if !isolated("the_outbound_address_is_what_hosts_see", Isolation::Network) {
        return;
    }
    let own = ip("fd00::5");
    add_loopback_address(own);
    let address = Box::new(sockaddr6(at6(own, 0)));
    let mut setup = setup6();
    (setup.config.version, setup.config.outbound_addr6) = (2, &raw const *address);
    let i = start6(setup);
    let (host, port) = udp6_peer();
    i.input(&Ip6::new(VHOST6, UDP).udp(5000, port, b"x"));
    let (_, from) = host_recv6(&i, &host);
    assert_eq!(from.ip(), own);
    host.send_to(b"y", from).unwrap();
    assert_eq!(i.wait6("the answer", |p| p.udp()), (at6(VHOST6, port), at6(GUEST6, 5000), b"y".to_vec()));
    let listener = TcpListener::bind((LOOPBACK, 0)).unwrap();
    listener.set_nonblocking(true).unwrap();
    let (mut conn, _) = Conn6::connect(&i, at6(VHOST6, listener.local_addr().unwrap().port()));
    let stream = accept6(&i, &listener);
    assert_eq!(stream.peer_addr().unwrap().ip(), own);
    talk(&i, &mut conn, stream);
    // IPv4 is not touched by it.
    let (host, port) = udp_peer();
    i.input(&udp_frame(5000, at_vhost(port), b"x"));
    assert_eq!(host_recv(&i, &host).1.ip(), Ipv4Addr::LOCALHOST);
    drop(i);
}

#[test]
fn a_source_that_the_host_does_not_have_is_as_no_route_at_once() {
    let not_here = Box::new(sockaddr6(at6(ip("2001:db8:5::1"), 0)));
    let mut setup = setup6();
    (setup.config.version, setup.config.outbound_addr6) = (2, &raw const *not_here);
    let i = start6(setup);
    let (_host, port) = udp6_peer();
    if !ours("tcp6-refused") {
        return;
    }
    assert_eq!(codes(&i, &Ip6::new(VHOST6, UDP).udp(5000, port, b"x")), [(1, 0)]);
    i.input(&Ip6::new(VHOST6, TCP).tcp((i.fresh_port(), port), 1, 0, SYN, b""));
    let packets: Vec<Packet6> = i.settled().iter().filter_map(packet6).collect();
    let (reset, errors) = packets.split_last().expect("an answer");
    assert_eq!(reset.tcp().map(|s| s.flags & RST), Some(RST));
    assert!(errors.iter().all(|p| p.icmp() == Some((1, 0))), "{errors:?}");
    assert!(i.flows("").is_empty(), "{:?}", i.flows(""));
    alive6(&i);
}

/// One network: its prefix, the addresses of the virtual host and name server, a guest, one more address under the prefix and
/// one beside it.
struct Network {
    prefix: &'static str,
    len: u8,
    host: &'static str,
    name_server: &'static str,
    guest: &'static str,
    inside: Option<&'static str>,
    beside: &'static str,
    link_local: &'static str,
}

const NETWORKS: [Network; 7] = [
    Network {
        prefix: "fd00:1:2::",
        len: 48,
        host: "fd00:1:2:ffff::2",
        name_server: "fd00:1:2:1::3",
        guest: "fd00:1:2:ffff::15",
        inside: Some("fd00:1:2:8000::2"),
        beside: "fd00:1:3:ffff::2",
        link_local: "fe80::2",
    },
    Network {
        prefix: "2001:db8:0:8000::",
        len: 49,
        host: "2001:db8:0:8000::102",
        name_server: "2001:db8:0:8000::103",
        guest: "2001:db8:0:ffff::15",
        inside: Some("2001:db8:0:ffff::1"),
        beside: "2001:db8:0:7fff::102",
        link_local: "fe80::102",
    },
    Network {
        prefix: "fd7a:115c::",
        len: 64,
        host: "fd7a:115c::1:2",
        name_server: "fd7a:115c::1:3",
        guest: "fd7a:115c::5054:ff:fe12:3456",
        inside: Some("fd7a:115c::ffff:2"),
        beside: "fd7a:115c:0:1::1:2",
        link_local: "fe80::1:2",
    },
    Network {
        prefix: "fd00:1:2:3:4:5::",
        len: 96,
        host: "fd00:1:2:3:4:5:0:2",
        name_server: "fd00:1:2:3:4:5:0:3",
        guest: "fd00:1:2:3:4:5:0:15",
        inside: Some("fd00:1:2:3:4:5:ffff:1"),
        beside: "fd00:1:2:3:4:6:0:2",
        link_local: "fe80::4:5:0:2",
    },
    Network {
        prefix: "fd00:1:2:3:4:5:6:0",
        len: 112,
        host: "fd00:1:2:3:4:5:6:2",
        name_server: "fd00:1:2:3:4:5:6:3",
        guest: "fd00:1:2:3:4:5:6:15",
        inside: Some("fd00:1:2:3:4:5:6:ffff"),
        beside: "fd00:1:2:3:4:5:7:2",
        link_local: "fe80::4:5:6:2",
    },
    Network {
        prefix: "fd00::7:4",
        len: 126,
        host: "fd00::7:6",
        name_server: "fd00::7:7",
        guest: "fd00::7:5",
        inside: Some("fd00::7:4"),
        beside: "fd00::7:2",
        link_local: "fe80::7:6",
    },
    Network {
        prefix: "fd00::9:2",
        len: 128,
        host: "fd00::9:2",
        name_server: "fd00::9:3",
        guest: "fd00::9:15",
        inside: None,
        beside: "fd00::9:4",
        link_local: "fe80::9:2",
    },
];

fn octets(address: &str) -> libc::in6_addr {
    libc::in6_addr { s6_addr: ip(address).octets() }
}

#[test]
fn any_prefix_and_any_length() {
    if !isolated("any_prefix_and_any_length", Isolation::Network) {
        return;
    }
    let (peer, port) = udp6_peer();
    let listener = TcpListener::bind((LOOPBACK, 0)).unwrap();
    listener.set_nonblocking(true).unwrap();
    for network in &NETWORKS {
        let what = format!("{}/{}", network.prefix, network.len);
        let i = Setup::with(|c| {
            (c.in6_enabled, c.vprefix_len) = (true, network.len);
            c.vprefix_addr6 = octets(network.prefix);
            (c.vhost6, c.vnameserver6) = (octets(network.host), octets(network.name_server));
        })
        .start();
        let (host, guest) = (ip(network.host), ip(network.guest));
        let from_guest = |to: &str| Ip6 { src: guest, ..Ip6::new(ip(to), UDP) };
        i.settle();
        i.drain();
        let announced = i.answer6(&Ip6::ndp(GUEST_LL, ALL_ROUTERS).icmp(&ndp_message(133, 0, None, &[])));
        let [ra] = &announced[..] else { panic!("{what}: {announced:02x?}") };
        assert_eq!(ra.src, ROUTER6, "{what}");
        let prefix_option = ra.payload.windows(4).position(|w| w == [3, 4, network.len, 0xc0]).expect(&what);
        assert_eq!(ra.payload[prefix_option + 16..][..16], ip(network.prefix).octets(), "{what}");
        i.input(&Ip6::ndp(guest, host).icmp(&ndp_message(136, 0x60, Some(guest), &[])));
        i.settled();
        // The library answers for its addresses under the prefix and for nobody else's.
        let router = if ours("ndp-router") { "fe80::2" } else { network.host };
        for target in [network.host, network.link_local, router] {
            let replies = i.answer6(&solicit(guest, solicited_node(ip(target)), ip(target)));
            assert_eq!(
                replies.first().map(|p| (p.src, p.icmp())),
                Some((ip(target), Some((136, 0)))),
                "{what} {target}"
            );
            let echo = from_guest(target).icmp(&echo6(1, 2, b"prefix"));
            let replies = i.answer6(&echo);
            assert_eq!(
                replies.first().map(|p| (p.src, p.icmp())),
                Some((ip(target), Some((129, 0)))),
                "{what} {target}"
            );
        }
        for target in network.inside.into_iter().chain([network.beside, network.guest]) {
            silent(&i, &solicit(guest, solicited_node(ip(target)), ip(target)), &format!("{what} {target}"));
        }
        // Every address under the prefix is the host's loopback; the one beside it has no route here.
        for target in network.inside.into_iter().chain([network.host]) {
            i.input(&from_guest(target).udp(5000, port, b"question"));
            let (data, from) = host_recv6(&i, &peer);
            assert_eq!(data, b"question", "{what} {target}");
            peer.send_to(b"answer", from).unwrap();
            let got = i.wait6("the answer", |p| p.udp());
            assert_eq!(got, (at6(ip(target), port), at6(guest, 5000), b"answer".to_vec()), "{what}");
        }
        assert_eq!(codes(&i, &from_guest(network.beside).udp(5000, port, b"x")), [(1, 0)], "{what}");
        let mut conn = Conn6 {
            ip: Ip6 { next: TCP, ..from_guest(network.host) },
            ports: (i.fresh_port(), listener.local_addr().unwrap().port()),
            seq: 1000,
            ack: 0,
        };
        conn.open(&i);
        talk(&i, &mut conn, accept6(&i, &listener));
        // A forward to nobody in particular finds the guest.
        let forward = TcpListener::bind((LOOPBACK, 0)).unwrap().local_addr().unwrap().port();
        assert_eq!(hostxfwd6(&i, at6(LOOPBACK, forward), at6(Ipv6Addr::UNSPECIFIED, 80), 0), 0, "{what}");
        let client = TcpStream::connect((LOOPBACK, forward)).unwrap();
        let (mut conn, syn) = Conn6::accept(&i, 80);
        // No guest can be under a prefix of 128 bits: then it is the one that was heard of last.
        let found = if ours("forward-follows") { guest } else { GUEST_LL };
        assert_eq!((*syn.src.ip(), *syn.dst.ip()), (host, found), "{what}");
        talk(&i, &mut conn, client);
    }
}

#[test]
fn ipv6_alone_moves_tcp_udp_and_forwards() {
    let i = start6(Setup::with(|c| (c.in_enabled, c.in6_enabled) = (false, true)));
    let (host, port) = udp6_peer();
    i.input(&Ip6::new(VHOST6, UDP).udp(5000, port, b"question"));
    let (_, from) = host_recv6(&i, &host);
    host.send_to(b"answer", from).unwrap();
    assert_eq!(i.wait6("the answer", |p| p.udp()).2, b"answer");
    let listener = TcpListener::bind((LOOPBACK, 0)).unwrap();
    listener.set_nonblocking(true).unwrap();
    let (mut conn, _) = Conn6::connect(&i, at6(VHOST6, listener.local_addr().unwrap().port()));
    talk(&i, &mut conn, accept6(&i, &listener));
    let forward = TcpListener::bind((LOOPBACK, 0)).unwrap().local_addr().unwrap().port();
    assert_eq!(hostxfwd6(&i, at6(LOOPBACK, forward), at6(GUEST6, 80), 0), 0);
    let client = TcpStream::connect((LOOPBACK, forward)).unwrap();
    let (mut conn, _) = Conn6::accept(&i, 80);
    talk(&i, &mut conn, client);
    i.settled();
    let replies = i.answer6(&Ip6::new(VHOST6, UDP).udp(546, 547, &[11, 1, 2, 3]));
    assert_eq!(replies.len(), 1, "DHCPv6");
    // Nothing of IPv4 is answered.
    let (host, port) = udp_peer();
    silent(&i, &arp(1, GUEST_MAC, GUEST, [0; 6], VHOST), "ARP");
    silent(&i, &Ip::new(VHOST, ICMP).frame(&echo_request(1, 1, b"x")), "a ping");
    silent(&i, &udp_frame(5000, at_vhost(port), b"x"), "UDP");
    assert!(host.recv_from(&mut [0; 8]).is_err());
    silent(&i, &udp_frame(68, at(Ipv4Addr::BROADCAST, 67), &[1; 300]), "DHCP");
}

#[test]
fn cve_2020_10756_ipv6_lengths_beyond_the_packet() {
    let i = start6(setup6());
    let echo = Ip6::new(VHOST6, ICMPV6).icmp(&echo6(1, 1, b"a short payload"));
    let payload_len = u16::from_be_bytes([echo[18], echo[19]]);
    for claimed in [payload_len + 1, payload_len + 8, 1460, 1480, 9000, u16::MAX] {
        let mut frame = echo.clone();
        frame[18..20].copy_from_slice(&claimed.to_be_bytes());
        // With the checksum of the bytes that are there, and with one of all that is claimed, as if the rest were zero.
        for difference in [0, u32::from(claimed - payload_len)] {
            let sum = u32::from(!u16::from_be_bytes([echo[56], echo[57]])) + difference;
            let sum = !(((sum & 0xffff) + (sum >> 16)) as u16);
            frame[56..58].copy_from_slice(&sum.to_be_bytes());
            i.input(&frame);
            // One above the MTU is refused for that; the refusal quotes what is there and no more.
            for reply in i.settled().iter().filter_map(packet6) {
                assert_eq!((reply.icmp(), claimed > 1460), (Some((2, 0)), true), "{claimed} bytes are claimed");
                assert_eq!(reply.payload[8..], frame[14..], "{claimed} bytes are claimed");
            }
        }
    }
    // Cut anywhere, even within the header.
    for len in 14..echo.len() {
        silent(&i, &echo[..len], &format!("{len} bytes"));
    }
    // What is claimed decides, not what is there: the rest is neither answered nor summed.
    let mut longer = echo.clone();
    longer.extend([0x5a; 500]);
    let replies = i.answer6(&longer);
    assert_eq!(replies.iter().map(|p| p.payload.len()).collect::<Vec<_>>(), [usize::from(payload_len)]);
    alive6(&i);
}

#[test]
fn cve_2021_3593_short_udp_over_ipv6() {
    if !ours("ipv6-extensions") {
        return;
    }
    let i = start6(setup6());
    let (host, port) = udp6_peer();
    let ip = Ip6::new(VHOST6, UDP);
    for to in [port, 53, 69, 547] {
        let whole = ip.udp_datagram(5000, to, b"\0\x01x\0octet\0");
        // Fewer bytes than a header, and lengths that are not those of the datagram.
        for len in 0..8 {
            silent(&i, &ip.frame(&whole[..len]), &format!("{len} bytes to port {to}"));
        }
        for claimed in (0..8).chain([whole.len() as u16 + 1, 1000, u16::MAX]) {
            let mut datagram = whole.clone();
            datagram[4..6].copy_from_slice(&claimed.to_be_bytes());
            // The sum is right for the bytes that are there; the length counts twice in it.
            datagram[6..8].fill(0);
            let pseudo =
                [&ip.src.octets()[..], &ip.dst.octets(), &[0, 0], &(whole.len() as u16).to_be_bytes()].concat();
            let sum = checksum(&[&pseudo, &[0, 0, 0, UDP], &datagram]);
            datagram[6..8].copy_from_slice(&sum.to_be_bytes());
            silent(&i, &ip.frame(&datagram), &format!("a length of {claimed} to port {to}"));
        }
    }
    assert!(host.recv_from(&mut [0; 8]).is_err(), "the host got a damaged datagram");
    // Eight bytes are a whole datagram without data.
    i.input(&ip.udp(5000, port, b""));
    assert_eq!(host_recv6(&i, &host).0, b"");
    alive6(&i);
}
