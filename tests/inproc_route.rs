//! What routers between the host and a destination say reaches the guest, over IPv4 and IPv6: traceroute hop by hop, path
//! MTU. The routers are network namespaces that the test makes.

mod common;

use common::*;
use std::net::IpAddr;
use std::process::{Child, Command, Stdio};

both_families![
    icmp_a_traceroute_sees_each_hop,
    icmp_a_traceroute_by_pings_sees_each_hop,
    icmp_the_path_mtu_reaches_the_guest,
    tcp_a_router_that_knows_no_way_refuses_the_connection,
];

fn router(family: Family) -> IpAddr {
    if family == Family::V4 { "192.0.2.2" } else { "2001:db8:1::2" }.parse().expect("an address")
}

fn server(family: Family) -> IpAddr {
    if family == Family::V4 { "198.51.100.9" } else { "2001:db8:2::9" }.parse().expect("an address")
}

/// What the link behind the router takes, in bytes.
const NARROW: u16 = 1280;

/// A network namespace, alive as long as its sleeper.
struct Namespace(Child);

impl Namespace {
    fn new() -> Namespace {
        let sleeper = Command::new("unshare").args(["-n", "sleep", "60"]).stdin(Stdio::null()).spawn();
        let namespace = Namespace(sleeper.expect("unshare and sleep are there"));
        // The namespace is there as soon as the program that was started is no longer in ours.
        let ours = std::fs::read_link("/proc/self/ns/net").unwrap();
        let theirs = format!("/proc/{}/ns/net", namespace.0.id());
        let end = std::time::Instant::now() + Duration::from_secs(10);
        while std::fs::read_link(&theirs).is_ok_and(|link| link == ours) {
            assert!(std::time::Instant::now() < end, "unshare made no namespace");
            std::thread::yield_now();
        }
        namespace
    }

    fn pid(&self) -> String {
        self.0.id().to_string()
    }

    fn run(&self, script: &str) {
        run(Command::new("nsenter").args(["-t", &self.pid(), "-n", "sh", "-ec", script]));
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn run(command: &mut Command) {
    let output = command.output().expect("the program is there");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Here, a router, and a server behind it on a narrower link.
fn network() -> [Namespace; 2] {
    let (router, server) = (Namespace::new(), Namespace::new());
    let script = format!(
        "ip link add v0 type veth peer name v1 netns {router}
         ip address add 192.0.2.1/24 dev v0; ip address add 2001:db8:1::1/64 dev v0 nodad; ip link set v0 up
         ip route add 198.51.100.0/24 via 192.0.2.2; ip route add 2001:db8:2::/64 via 2001:db8:1::2
         ip route add 203.0.113.0/24 via 192.0.2.2; ip route add 2001:db8:3::/64 via 2001:db8:1::2
         echo 0 0 > /proc/sys/net/ipv4/ping_group_range",
        router = router.pid()
    );
    run(Command::new("sh").args(["-ec", &script]));
    router.run(&format!(
        "ip link set lo up
         ip address add 192.0.2.2/24 dev v1; ip address add 2001:db8:1::2/64 dev v1 nodad; ip link set v1 up
         ip link add w0 mtu {NARROW} type veth peer name w1 mtu {NARROW} netns {server}
         ip address add 198.51.100.1/24 dev w0; ip address add 2001:db8:2::1/64 dev w0 nodad; ip link set w0 up
         echo 1 > /proc/sys/net/ipv4/ip_forward; echo 1 > /proc/sys/net/ipv6/conf/all/forwarding",
        server = server.pid()
    ));
    server.run(
        "ip link set lo up
         ip address add 198.51.100.9/24 dev w1; ip address add 2001:db8:2::9/64 dev w1 nodad; ip link set w1 up
         ip route add default via 198.51.100.1; ip route add default via 2001:db8:2::1",
    );
    [router, server]
}

fn start(family: Family) -> Box<Instance> {
    let i = family.setup().real_clock().start();
    if family == Family::V6 {
        i.greet6(GUEST6);
    }
    i
}

/// Sends a datagram to the server.
fn send_udp(i: &Instance, family: Family, ttl: u8, to: u16, data: &[u8]) {
    match server(family) {
        IpAddr::V4(server) => {
            i.input(&Ip { ttl, ..Ip::new(server, UDP) }.frame(&udp(at(GUEST, 40000), at(server, to), data)));
        }
        IpAddr::V6(server) => i.input(&Ip6 { hop_limit: ttl, ..Ip6::new(server, UDP) }.udp(40000, to, data)),
    }
}

fn send_ping(i: &Instance, family: Family, ttl: u8) {
    match server(family) {
        IpAddr::V4(server) => {
            i.input(&Ip { ttl, ..Ip::new(server, ICMP) }.frame(&echo_request(7, ttl.into(), b"ping")))
        }
        IpAddr::V6(server) => {
            i.input(&Ip6 { hop_limit: ttl, ..Ip6::new(server, ICMPV6) }.icmp(&echo6(7, ttl.into(), b"ping")));
        }
    }
}

/// An ICMP message for the guest: who says it, type, code, the four bytes after the checksum, and the rest.
type Message = (IpAddr, (u8, u8), [u8; 4], Vec<u8>);

fn wait_message(i: &Instance, family: Family, what: &str) -> Message {
    match family {
        Family::V4 => {
            let (packet, icmp) = i.wait_icmp(what);
            (packet.src.into(), (icmp.kind, icmp.code), icmp.rest, icmp.data)
        }
        Family::V6 => i.wait6(what, |p| {
            let code = p.icmp().filter(|(kind, _)| *kind < 133 || *kind > 136)?;
            Some((p.src.into(), code, p.payload[4..8].try_into().expect("four bytes"), p.payload[8..].to_vec()))
        }),
    }
}

/// The addresses in a quoted packet, and what follows its header.
fn quoted(family: Family, quote: &[u8]) -> (IpAddr, IpAddr, &[u8]) {
    match family {
        Family::V4 => {
            let address = |at: usize| IpAddr::from(<[u8; 4]>::try_from(&quote[at..at + 4]).expect("four bytes"));
            (address(12), address(16), &quote[20..])
        }
        Family::V6 => {
            let address = |at: usize| IpAddr::from(<[u8; 16]>::try_from(&quote[at..at + 16]).expect("16 bytes"));
            (address(8), address(24), &quote[40..])
        }
    }
}

/// Type and code: time exceeded, and port unreachable.
fn codes_of(family: Family) -> [(u8, u8); 2] {
    if family == Family::V4 { [(11, 0), (3, 3)] } else { [(3, 0), (1, 4)] }
}

/// The first hop, which is the virtual one.
fn first_hop(family: Family) -> IpAddr {
    if family == Family::V4 { VHOST.into() } else { ROUTER6.into() }
}

fn icmp_a_traceroute_sees_each_hop(family: Family) {
    if !isolated(&family.test("icmp_a_traceroute_sees_each_hop"), Isolation::Network) {
        return;
    }
    let _network = network();
    let i = start(family);
    let [exceeded, unreachable] = codes_of(family);
    let hops = [(1, first_hop(family), exceeded), (2, router(family), exceeded), (3, server(family), unreachable)];
    for (ttl, who, code) in hops {
        send_udp(&i, family, ttl, 33434, b"where are you");
        let (from, answer, _, data) = wait_message(&i, family, "an answer of a hop");
        assert_eq!((from, answer), (who, code), "TTL {ttl}");
        // The quote names the guest and the server, so that the guest finds its socket.
        let (src, dst, datagram) = quoted(family, &data);
        assert_eq!((src, dst), (family.guest(), server(family)));
        assert_eq!(datagram[..4], [40000u16.to_be_bytes(), 33434u16.to_be_bytes()].concat());
    }
}

fn icmp_a_traceroute_by_pings_sees_each_hop(family: Family) {
    if !isolated(&family.test("icmp_a_traceroute_by_pings_sees_each_hop"), Isolation::Network) {
        return;
    }
    if !ours("ping-ttl") {
        return;
    }
    let _network = network();
    let i = start(family);
    let [exceeded, _] = codes_of(family);
    for (ttl, who) in [(1, first_hop(family)), (2, router(family))] {
        send_ping(&i, family, ttl);
        let (from, answer, _, data) = wait_message(&i, family, "an answer of a hop");
        assert_eq!((from, answer), (who, exceeded), "TTL {ttl}");
        let (src, dst, request) = quoted(family, &data);
        assert_eq!((src, dst), (family.guest(), server(family)));
        assert_eq!(request[4..8], [0, 7, 0, ttl], "identifier and sequence number are the guest's");
    }
    send_ping(&i, family, 3);
    let (from, answer, rest, data) = wait_message(&i, family, "the server's answer");
    let reply = if family == Family::V4 { (0, 0) } else { (129, 0) };
    assert_eq!((from, answer, rest, data.as_slice()), (server(family), reply, [0, 7, 0, 3], &b"ping"[..]));
}

fn icmp_the_path_mtu_reaches_the_guest(family: Family) {
    if !isolated(&family.test("icmp_the_path_mtu_reaches_the_guest"), Isolation::Network) {
        return;
    }
    if !ours("path-mtu") {
        return;
    }
    let _network = network();
    let i = start(family);
    send_udp(&i, family, 64, 9, &[0; 1400]);
    let (from, code, rest, data) = wait_message(&i, family, "word of the next hop's MTU");
    // RFC 1191, RFC 4443 section 3.2.
    assert_eq!((from, code), (router(family), if family == Family::V4 { (3, 4) } else { (2, 0) }));
    assert_eq!(rest[2..4], NARROW.to_be_bytes());
    assert_eq!(quoted(family, &data).1, server(family));
}

/// The host has a route, and only the router behind it has none: that is known after the connection has been begun.
fn tcp_a_router_that_knows_no_way_refuses_the_connection(family: Family) {
    if !isolated(&family.test("tcp_a_router_that_knows_no_way_refuses_the_connection"), Isolation::Network) {
        return;
    }
    if !ours("tcp6-refused") {
        return;
    }
    let _network = network();
    let i = start(family);
    let (port, isn) = (i.fresh_port(), 77);
    let (errors, ack) = match family {
        Family::V4 => {
            let mut conn = Conn::new(&i, at(Ipv4Addr::new(203, 0, 113, 9), 443));
            (conn.guest, conn.snd_nxt) = (at(GUEST, port), isn);
            conn.syn(&i, &mss_option(1460));
            let mut errors = Vec::new();
            let ack = i.wait("a reset", |f| {
                errors.extend(f.icmp().map(|icmp| (icmp.kind, icmp.code)));
                f.tcp().filter(|s| conn.is_mine(s) && s.has(RST)).map(|s| s.ack)
            });
            (errors, ack)
        }
        Family::V6 => {
            i.input(&Ip6::new(ip("2001:db8:3::9"), TCP).tcp((port, 443), isn, 0, SYN, b""));
            let mut errors = Vec::new();
            let ack = i.wait6("a reset", |p| {
                errors.extend(p.icmp().filter(|(kind, _)| *kind < 128));
                p.tcp().filter(|s| s.dst.port() == port && s.flags & RST != 0).map(|s| s.ack)
            });
            (errors, ack)
        }
    };
    assert_eq!(ack, isn + 1);
    // What it is comes before: no way to the network, or to the host.
    let expected: &[(u8, u8)] = if family == Family::V4 { &[(3, 0), (3, 1)] } else { &[(1, 0), (1, 3)] };
    assert!(errors.iter().all(|error| expected.contains(error)) && !errors.is_empty(), "{errors:?}");
}
