//! What routers between the host and a destination say reaches the guest, over IPv4 and IPv6: traceroute hop by hop, no way.
//! What they say of the path's MTU is in `inproc_route_mtu.rs`. The routers are network namespaces that the test makes.

mod common;

use common::route::*;
use common::*;
use std::io::Write;
use std::net::{IpAddr, SocketAddr};
use std::process::Command;

both_families![
    icmp_a_traceroute_sees_each_hop,
    icmp_a_traceroute_by_pings_sees_each_hop,
    tcp_a_router_that_knows_no_way_refuses_the_connection,
    earnest_4_j_a_traceroute_by_tcp_sees_each_hop,
    earnest_4_j_a_hop_that_does_not_answer_is_not_waited_for,
    earnest_4_j_the_time_to_live_of_a_connection_is_passed_on,
    earnest_4_j_an_error_on_the_way_does_not_end_an_open_connection,
    earnest_4_j_the_answer_to_a_ping_tells_how_far_it_came,
    earnest_3_12_a_group_has_no_members_on_this_host_when_its_loopback_is_closed,
];

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
