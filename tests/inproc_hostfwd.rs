//! Host forwards over IPv4: docs/contract/hostfwd.md.

mod common;
use common::*;

const ANY: Ipv4Addr = Ipv4Addr::UNSPECIFIED;

fn guest_at(port: u16) -> SocketAddrV4 {
    at(GUEST, port)
}

fn hostxfwd(i: &Instance, host: &system::sockaddr_in, guest: &system::sockaddr_in, guest_len: u32, flags: i32) -> i32 {
    // SAFETY: both addresses are valid for their lengths.
    unsafe {
        let (h, g) = ((&raw const *host).cast(), (&raw const *guest).cast());
        (library().slirp_add_hostxfwd)(i.slirp.get(), h, 16, g, guest_len, flags)
    }
}

#[test]
fn hostfwd_fact_01_a_port_can_be_forwarded_once_per_protocol() {
    let i = Setup::default().start();
    // The number is free for TCP; somebody else's UDP socket may have it.
    let both = |_| {
        let host = at(LOCALHOST, i.forward(false, guest_at(80)));
        let udp = i.add_hostfwd(true, host, guest_at(80));
        if udp == Err(libc::EADDRINUSE) {
            assert_eq!(i.remove_hostfwd(false, host), 0);
            return None;
        }
        assert_eq!(udp, Ok(()));
        Some(host)
    };
    let host = (0..100).find_map(both).expect("one of a hundred ports is free for UDP as well");
    assert_eq!(i.add_hostfwd(false, host, guest_at(81)), Err(libc::EADDRINUSE));
    assert_eq!(i.add_hostfwd(true, host, guest_at(80)), Err(libc::EADDRINUSE));
    assert_eq!((i.flows("TCP[").len(), i.flows("UDP[").len()), (1, 1));
}

#[test]
fn hostfwd_fact_02_a_foreign_address_cannot_be_forwarded() {
    let i = Setup::default().start();
    let foreign = at(Ipv4Addr::new(192, 0, 2, 1), 0);
    for udp in [false, true] {
        assert_eq!(i.add_hostfwd(udp, foreign, guest_at(80)), Err(libc::EADDRNOTAVAIL));
    }
    assert!(i.flows("").is_empty(), "a failed add leaves nothing behind");
}

#[test]
fn hostfwd_fact_03_a_client_appears_as_the_virtual_host() {
    let i = Setup::default().start();
    let port = i.forward(false, guest_at(80));
    let stream = client(port);
    let (packet, syn) = i.wait_tcp("a SYN to the guest");
    assert_eq!((syn.flags, syn.src, syn.dst), (SYN, at_vhost(stream.local_addr().unwrap().port()), guest_at(80)));
    assert_eq!((packet.ttl, packet.src_mac, packet.dst_mac), (64, VHOST_MAC, GUEST_MAC));
    assert_eq!(syn.mss(), Some(1460));
    if library().upstream {
        assert_eq!((syn.options.as_slice(), syn.window), (&[2, 4, 5, 0xb4][..], 65535));
    }
}

#[test]
fn hostfwd_fact_04_guest_address_zero_is_the_first_dhcp_address() {
    let i = Setup::default().start();
    let port = i.forward(false, at(ANY, 80));
    let _stream = client(port);
    assert_eq!(i.wait_tcp("a SYN").1.dst, guest_at(80));
    let port = i.forward(true, at(ANY, 81));
    let (host, _) = udp_peer();
    host.send_to(b"x", ("127.0.0.1", port)).unwrap();
    assert_eq!(i.wait_udp("a datagram").1.dst, guest_at(81));
}

#[test]
fn hostfwd_fact_05_removal_needs_the_exact_address_and_keeps_connections() {
    let i = Setup::default().start();
    let port = i.forward(false, guest_at(80));
    let mut stream = client(port);
    let mut conn = Conn::accept(&i, 80, &mss_option(1460));
    for other in [at(ANY, port), at(Ipv4Addr::new(127, 0, 0, 2), port), at(LOCALHOST, port ^ 1)] {
        assert_eq!(i.remove_hostfwd(false, other), -1, "{other}");
    }
    assert_eq!(i.remove_hostfwd(true, at(LOCALHOST, port)), -1);
    i.registrations();
    assert_eq!(i.remove_hostfwd(false, at(LOCALHOST, port)), 0);
    assert_eq!(i.registrations().1.len(), 1);
    assert_eq!(i.remove_hostfwd(false, at(LOCALHOST, port)), -1);
    assert!(TcpStream::connect(("127.0.0.1", port)).is_err());
    conn.data(&i, b"still here");
    assert_eq!(host_read(&i, &mut stream, 10), b"still here");
    host_write_some(&mut stream, b"me too");
    assert_eq!(conn.receive(&i, 6).1, b"me too");
    // The port can be forwarded again.
    assert_eq!(i.add_hostfwd(false, at(LOCALHOST, port), guest_at(80)), Ok(()));
}

#[test]
fn hostfwd_fact_06_the_guest_is_resolved_before_the_syn() {
    let i = Setup::default().silent().start();
    let port = i.forward(false, guest_at(80));
    let _stream = client(port);
    i.wait("an ARP request for the guest", |f| f.arp_request().filter(|a| *a == GUEST));
    assert!(i.drain().iter().all(|f| f.tcp().is_none()));
    i.input(&arp(2, GUEST_MAC, GUEST, VHOST_MAC, VHOST));
    assert_eq!(i.wait_tcp("the SYN after the ARP answer").1.flags, SYN);
}

#[test]
fn hostfwd_fact_09_a_short_guest_address_is_refused() {
    let i = Setup::default().start();
    let (host, guest) = (sockaddr_in(at(LOCALHOST, 0)), sockaddr_in(guest_at(80)));
    for len in [0, 8, 15] {
        set_errno(0);
        assert_eq!(hostxfwd(&i, &host, &guest, len, 0), -1, "guest address of {len} bytes");
        assert_eq!(errno(), libc::EINVAL);
    }
    assert_eq!(hostxfwd(&i, &host, &guest, 16, 0), 0);
    assert_eq!(hostxfwd(&i, &host, &guest, 16, HOSTFWD_UDP), 0);
    assert_eq!((i.flows("TCP[HOST_FORWARD]").len(), i.flows("UDP[HOST_FORWARD]").len()), (1, 1));
    if ours("hostxfwd-family") {
        let strange = system::sockaddr_in { sin_family: 77, ..host };
        assert_eq!(hostxfwd(&i, &strange, &guest, 16, 0), -1);
    }
}

#[test]
fn hostfwd_fact_11_udp_passes_both_ways_and_does_not_expire() {
    let i = Setup::default().start();
    let port = i.forward(true, guest_at(22));
    let (host, host_port) = udp_peer();
    host.send_to(b"question", ("127.0.0.1", port)).unwrap();
    let (packet, d) = i.wait_udp("a datagram for the guest");
    assert_eq!((d.src, d.dst, d.data.as_slice()), (at_vhost(host_port), guest_at(22), &b"question"[..]));
    assert_eq!(packet.ttl, 64);
    i.input(&udp_frame(22, d.src, b"answer"));
    let (data, from) = host_recv(&i, &host);
    assert_eq!((data.as_slice(), from.port()), (&b"answer"[..], port));
    i.advance(Duration::from_secs(600));
    host.send_to(b"later", ("127.0.0.1", port)).unwrap();
    assert_eq!(i.wait_udp("a datagram ten minutes later").1.data, b"later");
    assert_eq!(i.flows("UDP[HOST_FORWARD]").len(), 1);
}

#[test]
fn hostfwd_fact_12_forwards_work_in_restricted_mode() {
    let i = Setup::with(|c| c.restricted = 1).start();
    let port = i.forward(false, guest_at(80));
    let mut stream = client(port);
    let mut conn = Conn::accept(&i, 80, &mss_option(1460));
    conn.data(&i, b"out");
    assert_eq!(host_read(&i, &mut stream, 3), b"out");
    host_write_some(&mut stream, b"in");
    assert_eq!(conn.receive(&i, 2).1, b"in");

    let port = i.forward(true, guest_at(22));
    let (host, _) = udp_peer();
    host.send_to(b"x", ("127.0.0.1", port)).unwrap();
    let (_, d) = i.wait_udp("a datagram for the guest");
    i.input(&udp_frame(22, d.src, b"answer"));
    if ours("restricted-udp-forward") {
        assert_eq!(host_recv(&i, &host).0, b"answer");
    } else {
        host_gets_nothing(&i, &host);
    }
    // The guest must not reach anyone else through the forward's socket.
    let (stranger, stranger_port) = udp_peer();
    i.input(&udp_frame(22, at_vhost(stranger_port), b"leak"));
    host_gets_nothing(&i, &stranger);
}

#[test]
fn hostfwd_fact_13_each_listener_is_registered_once() {
    let i = Setup::default().start();
    i.forward(true, guest_at(80));
    // Upstream before 4.9 does not announce listeners.
    let each = usize::from(library().at_least(9));
    assert_eq!(i.registrations().0.len(), each);
    i.forward(false, guest_at(80));
    assert_eq!(i.registrations().0.len(), each);
}

#[test]
fn hostfwd_all_interfaces_are_removed_by_the_same_name() {
    let i = Setup::default().start();
    i.add_hostfwd(false, at(ANY, 0), guest_at(80)).unwrap();
    let line = i.flows("TCP[HOST_FORWARD]").remove(0);
    let columns: Vec<&str> = line.split_whitespace().collect();
    let port: u16 = columns[3].parse().unwrap();
    assert_eq!((columns[2], columns[4], columns[5]), ("*", "10.0.2.15", "80"));
    assert_eq!(i.remove_hostfwd(false, at(LOCALHOST, port)), -1);
    assert_eq!(i.remove_hostfwd(false, at(ANY, port)), 0);
}

#[test]
fn hostfwd_a_guest_that_refuses_ends_the_client() {
    let i = Setup::default().start();
    let port = i.forward(false, guest_at(80));
    let mut stream = client(port);
    let mut conn = Conn::incoming(&i, 80);
    conn.snd_nxt = 0;
    conn.send(&i, RST | ACK, b"");
    let (bytes, end) = host_end(&i, &mut stream);
    assert!(bytes.is_empty());
    if library().upstream {
        assert_eq!(end, End::Eof);
    }
    assert!(i.flows("TCP[SYN_SENT]").is_empty());
}

#[test]
fn hostfwd_a_silent_guest_is_given_up_after_75_seconds() {
    let i = Setup::default().start();
    let port = i.forward(false, guest_at(80));
    let mut stream = client(port);
    Conn::incoming(&i, 80);
    let mut syns = 0;
    for _ in 0..70 {
        i.advance(Duration::from_secs(1));
        syns += i.drain().iter().filter(|f| f.tcp().is_some_and(|s| s.flags == SYN)).count();
    }
    assert!((3..=10).contains(&syns), "{syns} retransmissions");
    host_idle(&mut stream);
    i.advance(Duration::from_secs(10));
    host_end(&i, &mut stream);
    assert!(i.flows("TCP[SYN_SENT]").is_empty());
}

#[test]
fn hostfwd_many_clients_at_once_are_all_served() {
    let i = Setup::default().start();
    let port = i.forward(false, guest_at(80));
    // Upstream's backlog is one: its clients come one after the other.
    let at_once = if ours("hostfwd-backlog") { 100 } else { 1 };
    for _round in 0..(100 / at_once) {
        let mut streams: Vec<TcpStream> = (0..at_once).map(|_| client(port)).collect();
        let mut conns: Vec<Conn> = (0..at_once).map(|_| Conn::accept(&i, 80, &mss_option(1460))).collect();
        for conn in &mut conns {
            let text = conn.peer.port().to_be_bytes();
            conn.data(&i, &text);
        }
        for stream in &mut streams {
            let expected = stream.local_addr().unwrap().port().to_be_bytes();
            assert_eq!(host_read(&i, stream, 2), expected);
        }
    }
}

#[test]
fn hostfwd_clients_with_the_same_port_on_two_loopback_addresses() {
    if !ours("hostfwd-same-port") {
        return;
    }
    let i = Setup::default().start();
    i.add_hostfwd(false, at(ANY, 0), guest_at(80)).unwrap();
    let line = i.flows("TCP[HOST_FORWARD]").remove(0);
    let port: u16 = line.split_whitespace().nth(3).unwrap().parse().unwrap();
    let connect_from = |ip: [u8; 4], from_port: u16| {
        let s = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        s.bind(&std::net::SocketAddr::from((ip, from_port)).into()).unwrap();
        s.connect(&std::net::SocketAddr::from(([127, 0, 0, 1], port)).into()).unwrap();
        s.set_nonblocking(true).unwrap();
        TcpStream::from(s)
    };
    let mut first = connect_from([127, 0, 0, 1], 0);
    let mut a = Conn::accept(&i, 80, &mss_option(1460));
    let mut second = connect_from([127, 0, 0, 2], first.local_addr().unwrap().port());
    let mut b = Conn::accept(&i, 80, &mss_option(1460));
    a.data(&i, b"first");
    b.data(&i, b"second");
    assert_eq!(host_read(&i, &mut first, 5), b"first");
    assert_eq!(host_read(&i, &mut second, 6), b"second");
}

#[test]
fn hostfwd_udp_clients_on_two_loopback_addresses() {
    let i = Setup::default().start();
    i.add_hostfwd(true, at(ANY, 0), guest_at(22)).unwrap();
    let line = i.flows("UDP[HOST_FORWARD]").remove(0);
    let port: u16 = line.split_whitespace().nth(3).unwrap().parse().unwrap();
    let other = UdpSocket::bind("127.9.9.9:0").unwrap();
    other.set_nonblocking(true).unwrap();
    other.send_to(b"x", ("127.0.0.1", port)).unwrap();
    let (_, d) = i.wait_udp("a datagram for the guest");
    // Upstream knows only 127.0.0.1 as loopback here.
    let shown = if ours("udp-forward-peer") { VHOST } else { Ipv4Addr::new(127, 9, 9, 9) };
    assert_eq!(d.src, at(shown, other.local_addr().unwrap().port()));
    i.input(&udp_frame(22, d.src, b"answer"));
    if ours("udp-forward-peer") {
        assert_eq!(host_recv(&i, &other).0, b"answer");
    }
}

#[test]
fn hostfwd_two_udp_forwards_to_one_guest_port_answer_from_their_own() {
    let i = Setup::default().start();
    let (a, b) = (i.forward(true, guest_at(22)), i.forward(true, guest_at(22)));
    let ((host_a, _), (host_b, _)) = (udp_peer(), udp_peer());
    host_a.send_to(b"a", ("127.0.0.1", a)).unwrap();
    let da = i.wait_udp("the first client's datagram").1;
    host_b.send_to(b"b", ("127.0.0.1", b)).unwrap();
    let db = i.wait_udp("the second client's datagram").1;
    i.input(&udp_frame(22, da.src, b"to a"));
    i.input(&udp_frame(22, db.src, b"to b"));
    let ((ta, fa), (tb, fb)) = (host_recv(&i, &host_a), host_recv(&i, &host_b));
    assert_eq!((ta.as_slice(), tb.as_slice()), (&b"to a"[..], &b"to b"[..]));
    if ours("udp-two-forwards") {
        assert_eq!((fa.port(), fb.port()), (a, b));
    }
}

#[test]
fn hostfwd_a_burst_of_answers_leaves_from_the_address_that_was_asked_whole_and_in_order() {
    let i = Setup::default().start();
    i.add_hostfwd(true, at(ANY, 0), guest_at(22)).unwrap();
    let line = i.flows("UDP[HOST_FORWARD]").remove(0);
    let port: u16 = line.split_whitespace().nth(3).unwrap().parse().unwrap();
    let ((client, _), (second, _)) = (udp_peer(), udp_peer());
    client.send_to(b"ask", ("127.0.0.3", port)).unwrap();
    let asked = i.wait_udp("the first client's question").1.src;
    second.send_to(b"ask", ("127.0.0.4", port)).unwrap();
    let also = i.wait_udp("the second client's question").1.src;
    for n in 0..40u8 {
        i.input(&udp_frame(22, asked, &vec![n; if n % 7 == 0 { 100 } else { 1000 }]));
    }
    i.input(&udp_frame(22, also, b"to the second"));
    let asked_address = |last| std::net::SocketAddr::from(([127, 0, 0, last], port));
    for n in 0..40u8 {
        let (got, from) = host_recv(&i, &client);
        assert_eq!((got.len(), got.first()), (if n % 7 == 0 { 100 } else { 1000 }, Some(&n)));
        if ours("udp-forward-peer") {
            assert_eq!(from, asked_address(3));
        }
    }
    let (got, from) = host_recv(&i, &second);
    assert_eq!(got, b"to the second");
    if ours("udp-forward-peer") {
        assert_eq!(from, asked_address(4));
    }
}

/// Nanoseconds that the library takes for a datagram of the guest, each to another destination than the one before: the least of some rounds.
#[cfg(unix)]
fn cost_of_a_datagram(i: &Instance, frames: &[Vec<u8>], peers: &[&UdpSocket]) -> u128 {
    let rounds = (0..20).map(|_| {
        let start = std::time::Instant::now();
        for _ in 0..16 {
            frames.iter().for_each(|frame| i.input(frame));
        }
        let taken = start.elapsed().as_nanos() / (16 * frames.len() as u128);
        peers.iter().for_each(|peer| while peer.recv(&mut [0; 64]).is_ok() {});
        taken
    });
    rounds.min().expect("some rounds")
}

/// Ports that lead to one port of the guest, as a range does for a program that serves them all.
#[cfg(unix)]
#[test]
fn hostfwd_ten_thousand_udp_forwards_to_one_guest_port_are_not_looked_through() {
    // Upstream asks the kernel for each socket in its list.
    if !ours("udp-two-forwards") {
        return;
    }
    allow_descriptors(10_500);
    let i = Setup::default().start();
    let ((first, _), (last, _), (stranger, port)) = (udp_peer(), udp_peer(), udp_peer());
    let meet = |forward: u16, peer: &UdpSocket| {
        peer.send_to(b"ask", ("127.0.0.1", forward)).unwrap();
        i.wait_udp("a client's question").1.src
    };
    let a = i.forward(true, guest_at(22));
    let one = meet(a, &first);
    let frame = |to| udp_frame(22, to, b"answer");
    let few = cost_of_a_datagram(&i, &[frame(one), frame(at(VHOST, port))], &[&first, &stranger]);
    for _ in 0..9_998 {
        i.add_hostfwd(true, at(LOCALHOST, 0), guest_at(22)).unwrap();
    }
    let b = i.forward(true, guest_at(22));
    let other = meet(b, &last);
    for (to, peer, from) in [(one, &first, a), (other, &last, b), (at(VHOST, port), &stranger, a)] {
        i.input(&frame(to));
        assert_eq!(host_recv(&i, peer), (b"answer".to_vec(), ([127, 0, 0, 1], from).into()));
    }
    let frames = [frame(one), frame(other), frame(at(VHOST, port))];
    let many = cost_of_a_datagram(&i, &frames, &[&first, &last, &stranger]);
    // A look at each of them would take a hundred times as long.
    assert!(many < 10 * few, "{few} ns beside one forward, {many} ns beside 10,000");
    // Where a forward goes, nothing stays of who came through it: the next one of the guest's port has it.
    assert_eq!(i.remove_hostfwd(true, at(LOCALHOST, b)), 0);
    i.input(&frame(other));
    assert_eq!(host_recv(&i, &last), (b"answer".to_vec(), ([127, 0, 0, 1], a).into()));
}

/// This process may have so many descriptors from now on.
#[cfg(unix)]
fn allow_descriptors(number: libc::rlim_t) {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the pointers are to a live local.
    unsafe {
        assert_eq!(libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit), 0);
        limit.rlim_cur = limit.rlim_cur.max(number);
        assert_eq!(libc::setrlimit(libc::RLIMIT_NOFILE, &limit), 0, "so many descriptors");
    }
}
