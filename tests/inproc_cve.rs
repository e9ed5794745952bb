//! One test for each known hole and well-known bug of upstream that concerns what is built and that no other test shows
//! already: docs/testing.md lists all of them, with the test of each.

mod common;
use common::*;

const BOOTP_LEN: usize = 236;
const COOKIE: [u8; 4] = [0x63, 0x82, 0x53, 0x63];

/// The library still answers.
fn alive(i: &Instance) {
    i.settle();
    i.drain();
    i.input(&Ip::new(VHOST, ICMP).frame(&echo_request(0x7777, 1, b"ping")));
    i.wait("an echo reply", |f| f.icmp().filter(|m| m.kind == 0 && m.rest == [0x77, 0x77, 0, 1]));
    i.expect_silence();
}

/// Sends `payload` as an echo request in fragments cut at `cuts`, the pieces in the order of `order`, and checks the reply.
fn echo_in_pieces(i: &Instance, id: u16, payload: &[u8], cuts: &[usize], order: impl Iterator<Item = usize>) {
    let pieces = Ip { id, ..Ip::new(VHOST, ICMP) }.fragments(&echo_request(1, id, payload), cuts);
    order.for_each(|n| i.input(&pieces[n]));
    i.settle();
    let replies: Vec<Packet> = i.drain().iter().filter_map(|f| f.ip().cloned()).collect();
    let whole = reassemble(&replies);
    assert!(whole.payload[8..] == *payload, "{} bytes came back changed", payload.len());
}

#[test]
fn cve_2007_5729_frames_longer_than_the_mtu() {
    let i = Setup::default().start();
    let (host, port) = udp_peer();
    let mut frames = vec![arp(1, GUEST_MAC, GUEST, [0; 6], VHOST), udp_frame(5000, at_vhost(port), b"short")];
    for frame in &mut frames {
        for len in [1515, 1519, 2048, 9014, 65_549, 70_000] {
            frame.resize(len, 0xa5);
            i.input(frame);
            i.settle();
        }
    }
    // What stands behind the packet is no part of it.
    for _ in 0..6 {
        assert_eq!(host_recv(&i, &host).0, b"short");
    }
    // Packets that fill such frames are taken whole.
    i.input(&udp_frame(5000, at_vhost(port), &pattern(60_000)));
    assert!(host_recv(&i, &host).0 == pattern(60_000));
    alive(&i);
}

#[test]
fn cve_2017_13711_a_connection_ends_while_its_packets_wait() {
    let i = Setup::default().silent().start();
    let port = i.forward(false, at(GUEST, 80));
    // The SYN waits for the guest's hardware address while the client goes away and the forward with it.
    let gone = client(port);
    i.settle();
    assert!(i.drain().iter().any(|f| f.arp_request() == Some(GUEST)));
    host_reset(gone);
    i.settle();
    assert_eq!(i.remove_hostfwd(false, at(LOCALHOST, port)), 0);
    i.settle();
    i.input(&arp(2, GUEST_MAC, GUEST, VHOST_MAC, VHOST));
    // Whatever still comes out is well formed, and belongs to the guest that is now known.
    for frame in i.settled() {
        assert!(frame.ip().is_none_or(|packet| packet.dst_mac == GUEST_MAC), "{frame:?}");
    }
    alive(&i);
}

#[test]
fn cve_2018_11806_and_2019_14378_fragments_larger_than_the_first_buffer() {
    if !ours("fragment-crash") {
        return;
    }
    let i = Setup::default().mtu(65520, 65520).start();
    // Small first, large later; large first, small later; and the largest datagram there is.
    for (n, (len, cuts)) in [
        (60_000, vec![8, 1480, 32_000]),
        (20_000, vec![16_000, 16_008, 16_016]),
        (65_000, vec![65_000]),
        (9000, (8..9000).step_by(8).collect()),
    ]
    .into_iter()
    .enumerate()
    {
        echo_in_pieces(&i, n as u16, &pattern(len), &cuts, 0..=cuts.len());
        echo_in_pieces(&i, 100 + n as u16, &pattern(len), &cuts, (0..=cuts.len()).rev());
    }
    alive(&i);
}

#[test]
fn cve_2019_6778_and_others_no_stream_is_rewritten() {
    const NAME: &str = "cve_2019_6778_and_others_no_stream_is_rewritten";
    // Upstream emulates ident, FTP, IRC and RealAudio when it is asked to: CVE-2019-6778, 2019-9824, 2020-7039, 2020-8608.
    if library().upstream || !isolated(NAME, Isolation::Network) {
        return;
    }
    let i = Setup::with(|c| c.enable_emu = true).start();
    let long = [&b"1234, 5678"[..], &vec![b'9'; 20_000], b"\r\n"].concat();
    let lines: [(u16, &[u8]); 5] = [
        (113, b"99999999999, 80\r\n"),
        (113, &long),
        (21, b"PORT 10,0,2,15,4,1\r\n227 Entering Passive Mode (10,0,2,15,4,1)\r\n"),
        (6667, b"PRIVMSG a :\x01DCC CHAT chat 167772687 1025\x01\r\n"),
        (7070, b"PNA\0\x01\x02\x00\x02\x00\x01\x00\x02\x04\x01"),
    ];
    for (port, line) in lines {
        let listener = TcpListener::bind((LOCALHOST, port)).expect("the child's own ports");
        listener.set_nonblocking(true).expect("a socket can be non-blocking");
        let mut conn = Conn::connect(&i, at_vhost(port));
        let mut host = accept(&i, &listener);
        for piece in line.chunks(1400) {
            conn.data(&i, piece);
        }
        assert!(host_read(&i, &mut host, line.len()) == line, "a line to port {port} came changed");
        i.settle();
        host_idle(&mut host);
        // Nobody but the host answers.
        while let Some(s) = conn.next(&i) {
            assert!(s.payload.is_empty(), "{s:?}");
        }
        conn.send(&i, RST | ACK, b"");
    }
}

#[test]
fn cve_2019_15890_and_2020_1983_fragments_that_cover_each_other() {
    if !ours("fragment-crash") {
        return;
    }
    let i = Setup::default().start();
    let message = echo_request(1, 1, &pattern(1600));
    let piece = |id: u16, from: usize, to: usize| {
        i.input(&Ip { id, ..Ip::new(VHOST, ICMP) }.piece(&message, from, to));
    };
    // A piece that covers several held ones, one that ends inside another, one that is inside another, and the last twice.
    for (id, pieces) in [
        vec![(8, 16), (24, 32), (40, 48), (0, 800), (800, 1608)],
        vec![(400, 1200), (0, 408), (408, 416), (1192, 1608), (1192, 1608)],
        vec![(1600, 1608), (1592, 1608), (0, 8), (0, 1600)],
        vec![(800, 1608), (792, 808), (784, 816), (0, 800)],
    ]
    .into_iter()
    .enumerate()
    {
        pieces.iter().for_each(|(from, to)| piece(id as u16, *from, *to));
        i.settle();
        let replies: Vec<Packet> = i.drain().iter().filter_map(|f| f.ip().cloned()).collect();
        assert!(reassemble(&replies).payload[8..] == message[8..], "the datagram of {pieces:?} is damaged");
    }
    alive(&i);
}

#[test]
fn cve_2021_3592_an_answer_carries_only_what_it_should() {
    let i = Setup::default().silent().start();
    for len in [0, 1, 10, 100, BOOTP_LEN - 1] {
        let message = vec![1; len];
        i.input(&udp_frame(68, at(Ipv4Addr::BROADCAST, 67), &message));
        i.expect_silence();
    }
    // All that is not set is zero: nothing of an earlier message or of the heap stands in the name and file fields.
    let mut message = vec![0xcc; BOOTP_LEN];
    message[..3].copy_from_slice(&[1, 1, 6]);
    message[28..34].copy_from_slice(&GUEST_MAC);
    message.extend_from_slice(&[&COOKIE[..], &[53, 1, 1, 255]].concat());
    i.input(&udp_frame(68, at(Ipv4Addr::BROADCAST, 67), &message));
    let (_, answer) = i.wait_udp("an offer");
    assert!(answer.data[44..BOOTP_LEN].iter().all(|byte| *byte == 0), "{:02x?}", &answer.data[44..BOOTP_LEN]);
    assert!(!answer.data[34..44].contains(&0xcc), "the rest of the hardware address is returned");
}

#[test]
fn cve_2021_3594_short_udp() {
    let i = Setup::default().start();
    let (host, port) = udp_peer();
    let whole = udp(at(GUEST, 5000), at_vhost(port), b"");
    for len in 0..8 {
        i.input(&Ip::new(VHOST, UDP).frame(&whole[..len]));
        // The same with bytes behind the packet, which are none of its own.
        let mut longer = Ip::new(VHOST, UDP).frame(&whole[..len]);
        longer.extend_from_slice(&[0xa5; 40]);
        i.input(&longer);
    }
    host_gets_nothing(&i, &host);
    assert!(i.drain().is_empty() && i.flows("UDP[").is_empty(), "{}", i.connection_info());
    i.input(&Ip::new(VHOST, UDP).frame(&whole));
    assert_eq!(host_recv(&i, &host).0, b"");
}

/// Whether a descriptor of this process is a socket that listens.
fn listens(fd: i32) -> bool {
    let (mut listens, mut length) = (0_i32, 4);
    let (option, value) = (libc::SO_ACCEPTCONN, (&raw mut listens).cast());
    // SAFETY: value and length are those of an integer, which is what the option is.
    let status = unsafe { libc::getsockopt(fd, libc::SOL_SOCKET, option, value, &raw mut length) };
    status == 0 && listens != 0
}

#[test]
fn bug_libslirp_97_no_socket_blocks() {
    if !library().at_least(9) {
        eprintln!("SKIPPED: upstream before 4.9.5 has blocking UDP sockets");
        return;
    }
    let i = Setup::default().start();
    let (listener, port) = tcp_listener();
    let (peer, udp_port) = udp_peer();
    let forwarded = (i.forward(false, at(GUEST, 80)), i.forward(true, at(GUEST, 81)));
    let _conn = Conn::connect(&i, at_vhost(port));
    let _host = accept(&i, &listener);
    let _client = client(forwarded.0);
    i.input(&udp_frame(5000, at_vhost(udp_port), b"x"));
    host_recv(&i, &peer);
    i.settle();
    let (sockets, _) = i.registrations();
    assert!(sockets.len() >= 5, "{sockets:?}");
    for fd in sockets {
        // SAFETY: both only read flags; the descriptor is one that the library has open in this process.
        let (status, flags) = unsafe { (libc::fcntl(fd, libc::F_GETFL), libc::fcntl(fd, libc::F_GETFD)) };
        if ours("listeners-block") || !listens(fd) {
            assert!(status >= 0 && status & libc::O_NONBLOCK != 0, "descriptor {fd} blocks");
        }
        // And no program that the application starts gets it.
        if !library().upstream {
            assert!(flags & libc::FD_CLOEXEC != 0, "descriptor {fd} is inherited");
        }
    }
    // A peer that never reads costs datagrams, not time.
    for _ in 0..300 {
        i.input(&udp_frame(5000, at_vhost(udp_port), &pattern(9000)));
    }
    alive(&i);
}

#[test]
fn bug_slirp4netns_227_an_empty_datagram_does_not_spin() {
    let i = Setup::default().start();
    let (host, port) = udp_peer();
    i.input(&udp_frame(5000, at_vhost(port), b"hello"));
    let (_, from) = host_recv(&i, &host);
    host.send_to(b"", from).unwrap();
    let (_, empty) = i.wait_udp("an empty datagram");
    assert_eq!((empty.src, empty.data.len()), (at_vhost(port), 0));
    // Nothing is ready any more: the application may sleep.
    i.settle();
    assert!(!i.turn(Duration::ZERO) && !i.turn(Duration::ZERO), "a descriptor is ready without a reason");
    assert!(i.fill(u32::MAX).timeout > 0);
    i.poll_with(false, &[0; 8]);
    host.send_to(b"next", from).unwrap();
    assert_eq!(i.wait_udp("a datagram after the empty one").1.data, b"next");
}

#[test]
fn bug_virtualbox_16_a_boot_file_name_of_128_characters() {
    let setup = |len| Setup { bootfile: Some("b".repeat(len)), ..Setup::default().silent() };
    // What does not fit the field with its closing zero is refused.
    assert!(setup(128).try_start().is_none() && setup(500).try_start().is_none());
    for len in [126, 127] {
        let i = setup(len).start();
        let mut message = vec![0; BOOTP_LEN];
        message[..3].copy_from_slice(&[1, 1, 6]);
        message[28..34].copy_from_slice(&GUEST_MAC);
        message.extend_from_slice(&[&COOKIE[..], &[53, 1, 1, 255]].concat());
        i.input(&udp_frame(68, at(Ipv4Addr::BROADCAST, 67), &message));
        let (_, answer) = i.wait_udp("an offer");
        let file = &answer.data[108..BOOTP_LEN];
        assert_eq!(file.iter().position(|byte| *byte == 0), Some(len), "{len} characters");
        assert_eq!(answer.data[BOOTP_LEN..BOOTP_LEN + 4], COOKIE, "{len} characters");
    }
}

#[test]
fn bug_utmapp_1_guest_forwards_with_ports_of_swapped_bytes() {
    if !library().at_least(9) {
        eprintln!("SKIPPED: upstream before 4.9.2 takes these two ports for one");
        return;
    }
    let i = Setup::default().start();
    let address = Ipv4Addr::new(10, 0, 2, 100);
    // 21075 is 0x5253 and 21330 is 0x5352.
    for port in [21_075u16, 21_330] {
        let answer = port.to_string();
        let write = move |i: &Instance, data: &[u8]| {
            i.socket_recv(address, port, answer.as_bytes());
            data.len() as isize
        };
        assert_eq!(i.add_guestfwd(&mut address.clone(), port, Box::new(write)), 0, "port {port}");
    }
    for port in [21_075u16, 21_330] {
        let mut conn = Conn::connect(&i, at(address, port));
        conn.data(&i, b"who?");
        assert_eq!(conn.receive(&i, 5).1, port.to_string().as_bytes());
    }
    assert_eq!(i.remove_guestfwd(address, 21_330), 0);
    assert_eq!(i.remove_guestfwd(address, 21_330), -1);
    Conn::connect(&i, at(address, 21_075));
}

#[test]
fn bug_virtualbox_621_forty_connections_without_a_reset() {
    let i = Setup::default().start();
    let (listener, port) = tcp_listener();
    for n in 0..40u8 {
        let mut conn = Conn::connect(&i, at_vhost(port));
        let mut host = accept(&i, &listener);
        // As a TLS client does: a hello, a longer answer, a request, the end from the server's side.
        conn.data(&i, &[n; 517]);
        assert_eq!(host_read(&i, &mut host, 517), [n; 517]);
        assert_eq!(host_write_some(&mut host, &pattern(4000)), 4000);
        assert!(conn.receive(&i, 4000).1 == pattern(4000), "connection {n}");
        conn.data(&i, &[n; 100]);
        host_read(&i, &mut host, 100);
        host_write_some(&mut host, b"bye");
        drop(host);
        assert_eq!(conn.receive(&i, 3).1, b"bye");
        conn.expect_fin(&i);
        conn.send(&i, FIN | ACK, b"");
        let last = conn.expect_acked(&i);
        assert!(!last.has(RST));
        let late = i.settled();
        assert!(late.iter().filter_map(Frame::tcp).all(|s| !s.has(RST)), "a reset after connection {n}: {late:?}");
    }
}
