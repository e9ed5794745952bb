//! What routers between the host and a destination say reaches the guest, over IPv4 and IPv6: traceroute hop by hop, path
//! MTU. The routers are network namespaces that the test makes.

mod common;

use common::*;
use std::io::Write;
use std::net::{IpAddr, SocketAddr};
use std::process::{Child, Command, Stdio};

both_families![
    icmp_a_traceroute_sees_each_hop,
    icmp_a_traceroute_by_pings_sees_each_hop,
    icmp_the_path_mtu_reaches_the_guest,
    tcp_a_router_that_knows_no_way_refuses_the_connection,
    earnest_4_j_a_traceroute_by_tcp_sees_each_hop,
    earnest_4_j_a_hop_that_does_not_answer_is_not_waited_for,
    earnest_4_j_the_time_to_live_of_a_connection_is_passed_on,
    earnest_4_j_an_error_on_the_way_does_not_end_an_open_connection,
    earnest_4_i_a_datagram_that_must_not_be_cut_is_refused_each_time,
    earnest_4_i_a_ping_that_must_not_be_cut_is_refused_each_time,
    earnest_4_i_a_guest_whose_link_carries_more_loses_no_datagram,
    earnest_4_j_the_answer_to_a_ping_tells_how_far_it_came,
    earnest_3_12_a_group_has_no_members_on_this_host_when_its_loopback_is_closed,
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

    /// What `open` opens, in the namespace.
    fn socket<T: Send + 'static>(&self, open: impl FnOnce() -> T + Send + 'static) -> T {
        let namespace = std::fs::File::open(format!("/proc/{}/ns/net", self.pid())).unwrap();
        let inside = move || {
            // SAFETY: the descriptor is open; only the namespace of this thread changes, which ends soon.
            let moved = unsafe { libc::setns(std::os::fd::AsRawFd::as_raw_fd(&namespace), libc::CLONE_NEWNET) };
            assert_eq!(moved, 0, "{}", std::io::Error::last_os_error());
            open()
        };
        std::thread::spawn(inside).join().expect("a socket")
    }

    /// A listener in the namespace.
    fn listener(&self, address: SocketAddr) -> TcpListener {
        let listener = self.socket(move || TcpListener::bind(address).expect("the address is there"));
        listener.set_nonblocking(true).unwrap();
        listener
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

/// IPv4's flag that says that a packet is not to be cut.
const DF: u16 = 0x4000;
/// Bytes in a fragment that a guest makes over IPv6.
const PIECE: usize = 1000;

/// Sends a datagram to the server; it is not to be cut on its way.
fn send_udp(i: &Instance, family: Family, ttl: u8, to: u16, data: &[u8]) {
    match server(family) {
        IpAddr::V4(server) => {
            let datagram = udp(at(GUEST, 40000), at(server, to), data);
            i.input(&Ip { ttl, fragment: DF, ..Ip::new(server, UDP) }.frame(&datagram));
        }
        IpAddr::V6(server) => i.input(&Ip6 { hop_limit: ttl, ..Ip6::new(server, UDP) }.udp(40000, to, data)),
    }
}

/// Sends a datagram to the server that may be cut: over IPv6, the guest itself has done so.
fn send_divisible_udp(i: &Instance, family: Family, to: u16, data: &[u8]) {
    match server(family) {
        IpAddr::V4(server) => i.input(&Ip::new(server, UDP).frame(&udp(at(GUEST, 40000), at(server, to), data))),
        IpAddr::V6(server) => {
            let ip = Ip6::new(server, UDP);
            ip.fragments(&ip.udp_datagram(40000, to, data), PIECE, 77).iter().for_each(|frame| i.input(frame));
        }
    }
}

/// Sends an echo request with so many bytes; `whole` ones are not to be cut.
fn send_large_ping(i: &Instance, family: Family, sequence: u16, bytes: usize, whole: bool) {
    let data = vec![7; bytes];
    match server(family) {
        IpAddr::V4(server) => {
            let fragment = if whole { DF } else { 0 };
            i.input(&Ip { fragment, ..Ip::new(server, ICMP) }.frame(&echo_request(7, sequence, &data)));
        }
        IpAddr::V6(server) => {
            let ip = Ip6::new(server, ICMPV6);
            let frame = ip.icmp(&echo6(7, sequence, &data));
            if whole {
                i.input(&frame);
            } else {
                ip.fragments(&frame[54..], PIECE, 78).iter().for_each(|frame| i.input(frame));
            }
        }
    }
}

/// Type and code: too large for a link.
fn too_large(family: Family) -> (u8, u8) {
    if family == Family::V4 { (3, 4) } else { (2, 0) }
}

/// Waits until the guest is told that the link behind the router is too narrow for what it has sent to the server.
fn wait_too_large(i: &Instance, family: Family, mtu: u16) {
    let (_, code, rest, data) = wait_message(i, family, "word of the MTU");
    assert_eq!((code, u16::from_be_bytes([rest[2], rest[3]])), (too_large(family), mtu));
    let (src, dst, _) = quoted(family, &data);
    assert_eq!((src, dst), (family.guest(), server(family)));
}

/// Waits for what shows that a datagram has arrived at the server, on whose port nobody listens.
fn wait_arrived(i: &Instance, family: Family) {
    let (from, code, ..) = wait_message(i, family, "an answer of the server");
    assert_eq!((from, code), (server(family), codes_of(family)[1]));
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

/// How `traceroute -T` and `mtr --tcp` find out a way: what answers a SYN with ever more hops.
fn earnest_4_j_a_traceroute_by_tcp_sees_each_hop(family: Family) {
    if !isolated(&family.test("earnest_4_j_a_traceroute_by_tcp_sees_each_hop"), Isolation::Network) || !ours("tcp-ttl")
    {
        return;
    }
    let [_router, there] = network();
    let listener = there.listener((server(family), 443).into());
    let i = start(family);
    let [exceeded, _] = codes_of(family);
    // A new port for each try, or always the same one, as programs do either.
    for fresh in [true, false] {
        let mut party = Party::new(&i, family, (server(family), 443));
        for (ttl, who) in [(1, first_hop(family)), (2, router(family))] {
            if fresh {
                party = Party::new(&i, family, (server(family), 443));
            }
            (party.ttl, party.seq) = (ttl, 4711 + u32::from(ttl));
            party.send_at(&i, party.seq, SYN, b"");
            let (from, answer, _, data) = wait_message(&i, family, "an answer of a hop");
            assert_eq!((from, answer), (who, exceeded), "TTL {ttl}");
            // The quote names the guest, the server and the SYN.
            let (src, dst, syn) = quoted(family, &data);
            assert_eq!((src, dst), (family.guest(), server(family)));
            assert_eq!(syn[..4], [party.guest.port().to_be_bytes(), 443u16.to_be_bytes()].concat());
            assert_eq!(syn[4..8], party.seq.to_be_bytes());
            // That is all: no reset follows, and nothing is left.
            i.settle();
            assert!(party.all(&i).is_empty() && i.flows("TCP[").is_empty(), "{}", i.connection_info());
        }
        party.ttl = 3;
        party.open(&i);
        let mut peer = accept(&i, &listener);
        party.send(&i, PSH | ACK, b"here");
        assert_eq!(host_read(&i, &mut peer, 4), b"here");
        party.send(&i, RST | ACK, b"");
    }
    // A port where nothing listens refuses, once the SYN gets there.
    let mut party = Party::new(&i, family, (server(family), 1));
    party.ttl = 3;
    party.send(&i, SYN, b"");
    party.expect(&i, "a reset", |s| s.has(RST) && s.ack == party.seq);
    // A destination to which the router knows no way, with few hops: the router says so, and the connection is refused.
    let nowhere: IpAddr = if family == Family::V4 { "203.0.113.9" } else { "2001:db8:3::9" }.parse().unwrap();
    let mut party = Party::new(&i, family, (nowhere, 1));
    party.ttl = 5;
    party.send(&i, SYN, b"");
    let (from, answer, _, _) = wait_message(&i, family, "word of the router");
    let codes: &[(u8, u8)] = if family == Family::V4 { &[(3, 0), (3, 1)] } else { &[(1, 0), (1, 3)] };
    assert!(from == router(family) && codes.contains(&answer), "{from} {answer:?}");
    party.expect(&i, "a reset", |s| s.has(RST) && s.ack == party.seq);
}

/// A traceroute that uses one port for all goes on where a hop is silent.
fn earnest_4_j_a_hop_that_does_not_answer_is_not_waited_for(family: Family) {
    let name = family.test("earnest_4_j_a_hop_that_does_not_answer_is_not_waited_for");
    if !isolated(&name, Isolation::Network) || !ours("tcp-ttl") {
        return;
    }
    let [_router, there] = network();
    there.run("ip route add blackhole 192.0.2.0/24; ip route add blackhole 2001:db8:1::/64");
    let i = start(family);
    let mut party = Party { ttl: 3, ..Party::new(&i, family, (server(family), 443)) };
    party.send(&i, SYN, b"");
    i.settle();
    assert!(i.drain().iter().all(|f| f.icmp().is_none()) && party.listed(&i, ""), "{}", i.connection_info());
    (party.ttl, party.seq) = (2, 5_000_000);
    party.send_at(&i, party.seq, SYN, b"");
    let (from, answer, _, data) = wait_message(&i, family, "an answer of the router");
    assert_eq!((from, answer), (router(family), codes_of(family)[0]));
    assert_eq!(quoted(family, &data).2[4..8], party.seq.to_be_bytes());
}

/// What `ask` finds of the library's socket to the server, which is a descriptor of this process.
fn of_socket<T>(family: Family, ask: impl Fn(&socket2::SockRef) -> T) -> T {
    let all = std::fs::read_dir("/proc/self/fd").unwrap().flatten();
    let mut numbers = all.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let of_server = |fd| {
        // SAFETY: the descriptor is borrowed for the calls only; one that is none of a socket fails them.
        let borrowed = unsafe { std::os::fd::BorrowedFd::borrow_raw(fd) };
        let socket = socket2::SockRef::from(&borrowed);
        let peer = socket.peer_addr().ok()?.as_socket()?;
        (peer.ip() == server(family)).then(|| ask(&socket))
    };
    numbers.find_map(of_server).expect("a socket to the server")
}

/// The hops that it sends with.
fn hops_of(family: Family) -> u32 {
    of_socket(family, |s| if family == Family::V4 { s.ttl_v4() } else { s.unicast_hops_v6() }.unwrap())
}

/// How often its kernel has repeated what is not acknowledged, probes for a lost tail among it.
fn repeated(family: Family) -> u32 {
    of_socket(family, |socket| {
        // SAFETY: all zero bytes are a value of the structure; the descriptor is open, and the length is the structure's.
        unsafe {
            let mut info: libc::tcp_info = std::mem::zeroed();
            let mut length = size_of::<libc::tcp_info>() as libc::socklen_t;
            let fd = std::os::fd::AsRawFd::as_raw_fd(&**socket);
            let result =
                libc::getsockopt(fd, libc::IPPROTO_TCP, libc::TCP_INFO, (&raw mut info).cast(), &raw mut length);
            assert_eq!(result, 0);
            info.tcpi_total_retrans
        }
    })
}

fn earnest_4_j_the_time_to_live_of_a_connection_is_passed_on(family: Family) {
    let name = family.test("earnest_4_j_the_time_to_live_of_a_connection_is_passed_on");
    if !isolated(&name, Isolation::Network) || !ours("tcp-ttl") {
        return;
    }
    let [_router, there] = network();
    let listener = there.listener((server(family), 443).into());
    let i = start(family);
    let mut party = Party { ttl: 128, ..Party::new(&i, family, (server(family), 443)) };
    party.open(&i);
    let mut peer = accept(&i, &listener);
    assert_eq!(hops_of(family), 127);
    party.ttl = 10;
    party.send(&i, PSH | ACK, b"nearer");
    assert_eq!(host_read(&i, &mut peer, 6), b"nearer");
    assert_eq!(hops_of(family), 9);
    // Only the guest's own segments count: whoever makes one up does not know its number.
    let other = Party { ttl: 2, ..party.clone() };
    other.send_at(&i, party.seq.wrapping_add(1000), PSH | ACK, b"guess");
    i.settle();
    assert_eq!(hops_of(family), 9);
    // The last hop of a segment is the virtual router, which does not pass it on.
    i.drain();
    let last = Party { ttl: 1, ..party.clone() };
    last.send_at(&i, party.seq, PSH | ACK, b"lost");
    let (from, answer, _, data) = wait_message(&i, family, "an answer of the first hop");
    assert_eq!((from, answer), (first_hop(family), codes_of(family)[0]));
    assert_eq!(quoted(family, &data).2[4..8], party.seq.to_be_bytes());
    i.settle();
    host_idle(&mut peer);
    assert!(party.all(&i).is_empty(), "it was acknowledged");
    party.send(&i, PSH | ACK, b"sent again");
    assert_eq!(host_read(&i, &mut peer, 10), b"sent again");
    peer.write_all(b"and back").unwrap();
    assert_eq!(party.receive(&i, 8), b"and back");
    assert_eq!(hops_of(family), 9);
}

/// What the kernel keeps of errors for the sake of the SYN must not harm the connection: errors are no end of it (RFC 1122
/// section 4.2.3.9).
fn earnest_4_j_an_error_on_the_way_does_not_end_an_open_connection(family: Family) {
    let name = family.test("earnest_4_j_an_error_on_the_way_does_not_end_an_open_connection");
    if !isolated(&name, Isolation::Network) || !ours("tcp-ttl") {
        return;
    }
    let [_router, there] = network();
    let listener = there.listener((server(family), 443).into());
    let i = start(family);
    let mut party = Party { ttl: 20, ..Party::new(&i, family, (server(family), 443)) };
    party.open(&i);
    let mut peer = accept(&i, &listener);
    // So few hops that what follows is lost at the router.
    party.ttl = 2;
    party.send(&i, PSH | ACK, b"lost, ");
    party.expect_acked(&i);
    // Of what the kernel sends while the library is in it, it does not tell; of what it repeats by itself it does.
    i.until("a repetition", || (repeated(family) >= 2).then_some(()));
    // The router has said so when it has answered what came behind: a ping with as few hops.
    send_ping(&i, family, 2);
    wait_message(&i, family, "an answer of the router");
    i.settle();
    assert!(party.listed(&i, "ESTABLISHED"), "{}", i.connection_info());
    party.ttl = 20;
    party.send(&i, PSH | ACK, b"and found");
    assert_eq!(host_read(&i, &mut peer, 15), b"lost, and found");
}

fn earnest_4_i_a_datagram_that_must_not_be_cut_is_refused_each_time(family: Family) {
    let name = "earnest_4_i_a_datagram_that_must_not_be_cut_is_refused_each_time";
    if !isolated(&family.test(name), Isolation::Network) || !ours("dont-fragment") {
        return;
    }
    let _network = network();
    let i = start(family);
    let large = [0; 1400];
    for _ in 0..3 {
        send_udp(&i, family, 64, 9, &large);
        wait_too_large(&i, family, NARROW);
    }
    i.expect_silence();
    // What fits arrives, and so does what may be cut; after that, as before.
    send_udp(&i, family, 64, 9, &large[..500]);
    wait_arrived(&i, family);
    send_udp(&i, family, 64, 9, &large[..usize::from(NARROW) - family.udp_headers()]);
    wait_arrived(&i, family);
    send_udp(&i, family, 64, 9, &large[..usize::from(NARROW) - family.udp_headers() + 1]);
    wait_too_large(&i, family, NARROW);
    send_divisible_udp(&i, family, 9, &large);
    wait_arrived(&i, family);
    // A burst, which goes out at one go: a small one, two large ones, and one that may be cut.
    send_udp(&i, family, 64, 9, b"small");
    send_udp(&i, family, 64, 9, &large);
    send_udp(&i, family, 64, 9, &large);
    send_divisible_udp(&i, family, 9, &large);
    let mut codes: Vec<(u8, u8)> = (0..4).map(|_| wait_message(&i, family, "an answer").1).collect();
    codes.sort_unstable();
    let [refused, arrived] = [too_large(family), codes_of(family)[1]];
    let mut expected = [refused, refused, arrived, arrived];
    expected.sort_unstable();
    assert_eq!(codes, expected);
}

fn earnest_4_i_a_ping_that_must_not_be_cut_is_refused_each_time(family: Family) {
    let name = "earnest_4_i_a_ping_that_must_not_be_cut_is_refused_each_time";
    if !isolated(&family.test(name), Isolation::Network) || !ours("dont-fragment") {
        return;
    }
    let _network = network();
    let i = start(family);
    let reply = if family == Family::V4 { (0, 0) } else { (129, 0) };
    for sequence in 1..4 {
        send_large_ping(&i, family, sequence, 1400, true);
        wait_too_large(&i, family, NARROW);
    }
    i.expect_silence();
    send_large_ping(&i, family, 4, 1000, true);
    assert_eq!(wait_message(&i, family, "a reply").1, reply);
    send_large_ping(&i, family, 5, 1400, false);
    let (_, code, rest, data) = wait_message(&i, family, "a reply to what was cut");
    assert_eq!((code, rest, data), (reply, [0, 7, 0, 5], vec![7; 1400]));
    send_large_ping(&i, family, 6, 1400, true);
    wait_too_large(&i, family, NARROW);
}

/// Its first datagram is larger than what the host's own link carries, of which it cannot know.
fn earnest_4_i_a_guest_whose_link_carries_more_loses_no_datagram(family: Family) {
    let name = "earnest_4_i_a_guest_whose_link_carries_more_loses_no_datagram";
    if !isolated(&family.test(name), Isolation::Network) || !ours("dont-fragment") {
        return;
    }
    let _network = network();
    // Routers cut over IPv4; over IPv6 the host has to know of the narrow link.
    let route = "route change 2001:db8:2::/64 via 2001:db8:1::2 mtu 1280";
    run(Command::new("ip").arg("-6").args(route.split(' ')));
    let mtu = if family == Family::V4 { 1500 } else { NARROW };
    let i = family.setup().mtu(9000, 9000).real_clock().start();
    if family == Family::V6 {
        i.greet6(GUEST6);
    }
    send_udp(&i, family, 64, 9, &[0; 4000]);
    wait_too_large(&i, family, mtu);
    wait_arrived(&i, family);
    for _ in 0..2 {
        send_udp(&i, family, 64, 9, &[0; 4000]);
        wait_too_large(&i, family, mtu);
    }
    i.expect_silence();
}

fn earnest_4_j_the_answer_to_a_ping_tells_how_far_it_came(family: Family) {
    if !isolated(&family.test("earnest_4_j_the_answer_to_a_ping_tells_how_far_it_came"), Isolation::Network) {
        return;
    }
    let [_router, far] = network();
    let i = start(family);
    let hops = |sent: u8| {
        send_ping(&i, family, 64);
        match family {
            Family::V4 => i.wait("a reply", |f| f.icmp().filter(|icmp| icmp.kind == 0).and(f.ip()).map(|p| p.ttl)),
            Family::V6 => i.wait6("a reply", |p| (p.icmp() == Some((129, 0))).then_some(p.hop_limit)),
        }
        .abs_diff(sent)
    };
    if !ours("ping-hops") {
        // It has no pings to the outside over IPv6.
        assert!(family == Family::V6 || hops(255) == 0);
        return;
    }
    // The router and the library.
    assert_eq!(hops(64), 2);
    far.run("echo 9 > /proc/sys/net/ipv4/ip_default_ttl; echo 9 > /proc/sys/net/ipv6/conf/w1/hop_limit");
    assert_eq!(hops(9), 2);
    // Never nothing, which would be none that arrives.
    far.run("echo 2 > /proc/sys/net/ipv4/ip_default_ttl; echo 2 > /proc/sys/net/ipv6/conf/w1/hop_limit");
    assert_eq!(hops(2), 1);
}

/// With the host's loopback closed, what the guest sends to a group goes out on the link and does not come back to this
/// host's own members, whatever socket it takes. The host's other addresses are no loopback: they stay open, as container
/// engines tell their containers to reach the host there.
fn earnest_3_12_a_group_has_no_members_on_this_host_when_its_loopback_is_closed(family: Family) {
    const NAME: &str = "earnest_3_12_a_group_has_no_members_on_this_host_when_its_loopback_is_closed";
    if !isolated(&family.test(NAME), Isolation::Network) {
        return;
    }
    let [router, _server] = network();
    run(Command::new("sh").args(["-ec", "ip route add 224.0.0.0/4 dev v0"]));
    let v4 = family == Family::V4;
    let group: IpAddr = if v4 { "224.0.0.251" } else { "ff02::fb" }.parse().unwrap();
    let own: IpAddr = if v4 { "192.0.2.1" } else { "2001:db8:1::1" }.parse().unwrap();
    let join = move |device: &str, port: u16| {
        let socket = UdpSocket::bind((family.unspecified(), port)).unwrap();
        socket.set_nonblocking(true).unwrap();
        match group {
            IpAddr::V4(group) => {
                let interface = if device == "v0" { "192.0.2.1" } else { "192.0.2.2" };
                socket.join_multicast_v4(&group, &interface.parse().unwrap()).unwrap();
            }
            IpAddr::V6(group) => {
                let name = std::ffi::CString::new(device).unwrap();
                // SAFETY: the name ends with its NUL.
                let index = unsafe { libc::if_nametoindex(name.as_ptr()) };
                socket.join_multicast_v6(&group, index).unwrap();
            }
        }
        socket
    };
    let here = join("v0", 0);
    let port = here.local_addr().unwrap().port();
    let there = router.socket(move || join("v1", port));
    // The kernel takes a moment until the link's routes carry something.
    let end = std::time::Instant::now() + DEADLINE;
    let mut buffer = [0; 64];
    for n in 0u32.. {
        assert!(std::time::Instant::now() < end, "the link carries nothing");
        let sent = here.send_to(&n.to_be_bytes(), (group, port)).is_ok();
        std::thread::yield_now();
        let mut last = |socket: &UdpSocket| {
            std::iter::from_fn(|| socket.recv(&mut buffer).is_ok().then(|| buffer[..4].to_vec())).last()
        };
        if sent && last(&there).is_some_and(|got| got == n.to_be_bytes()) {
            last(&here);
            break;
        }
    }
    let listener = TcpListener::bind((own, 0)).unwrap();
    listener.set_nonblocking(true).unwrap();
    for closed in [false, true] {
        let mut setup = family.setup().real_clock();
        setup.config.disable_host_loopback = closed;
        let i = setup.start();
        if !v4 {
            i.greet6(GUEST6);
        }
        let send = |from: u16, to: IpAddr, data: &[u8]| match to {
            IpAddr::V4(to) => i.input(&Ip::new(to, UDP).frame(&udp(at(GUEST, from), at(to, port), data))),
            IpAddr::V6(to) => i.input(&Ip6::new(to, UDP).udp(from, port, data)),
        };
        let forwarded = i.fresh_port();
        if v4 {
            // What comes from a forward's port leaves by the forward's socket.
            i.add_hostfwd(true, at(Ipv4Addr::UNSPECIFIED, 0), at(GUEST, forwarded)).unwrap();
        }
        for from in [40000, forwarded] {
            send(from, group, b"to all");
            assert_eq!(host_recv(&i, &there).0, b"to all", "{from}, {closed}");
            if closed && ours("group-loopback") {
                host_gets_nothing(&i, &here);
            } else {
                assert_eq!(host_recv(&i, &here).0, b"to all", "{from}");
            }
        }
        send(40000, own, b"to one");
        assert_eq!(host_recv(&i, &here).0, b"to one");
        Party::connect(&i, family, SocketAddr::new(own, listener.local_addr().unwrap().port()));
        accept(&i, &listener);
    }
}
