//! TCP with a scripted guest: docs/contract/tcp.md. Timers are in `inproc_tcp_timers.rs`, segment sizes and windows in
//! `inproc_tcp_windows.rs`.

mod common;
use common::*;

/// A connection from the guest to a listener on the host, and both of its ends.
fn connected(i: &Instance) -> (Conn, TcpStream) {
    let (listener, port) = tcp_listener();
    let conn = Conn::connect(i, at_vhost(port));
    let host = accept(i, &listener);
    i.settle();
    (conn, host)
}

/// The segments of the connection that are there now.
fn segments(i: &Instance, conn: &mut Conn) -> Vec<Segment> {
    std::iter::from_fn(|| conn.next(i)).collect()
}

fn reset_by_segment(i: &Instance, conn: &Conn, flags: u8, payload: &[u8]) -> Vec<(Packet, Segment)> {
    i.input(&conn.segment(flags, payload).frame());
    i.settle();
    i.drain().iter().filter_map(|f| Some((f.ip()?.clone(), f.tcp()?))).collect()
}

#[test]
fn tcp_fact_01_the_handshake_waits_for_the_host() {
    let i = Setup::default().start();
    let (listener, port) = tcp_listener();
    let mut conn = Conn::new(&i, at_vhost(port));
    conn.syn(&i, &mss_option(1460));
    assert!(i.drain().is_empty(), "no answer before the host's connect is known to have succeeded");
    let (packet, s) = i.wait_tcp("the SYN-ACK");
    assert_eq!((s.flags, s.ack, s.src, s.dst), (SYN | ACK, GUEST_ISS + 1, at_vhost(port), conn.guest));
    assert_eq!((packet.ttl, s.mss(), s.payload.len()), (64, Some(1460), 0));
    if library().upstream {
        assert_eq!((s.window, s.options.as_slice()), (65535, &[2, 4, 5, 0xb4][..]));
    }
    assert_eq!(s.window_scale(), None, "no window scale unless the guest offers it");
    assert!(accept(&i, &listener).peer_addr().unwrap().ip().is_loopback());
}

#[test]
fn tcp_fact_02_a_refused_port_is_a_reset() {
    let i = Setup::default().start();
    match Conn::try_connect(&i, at_vhost(closed_tcp_port()), &mss_option(1460)) {
        Reply::Reset(_, s) => assert_eq!((s.flags, s.seq, s.ack), (RST | ACK, 0, GUEST_ISS + 1)),
        other => panic!("{other:?}"),
    }
    i.settle();
    assert!(i.flows("TCP[").is_empty());
    let (added, removed) = i.registrations();
    assert_eq!(added, removed);
}

#[test]
fn tcp_fact_03_no_route_is_reported_at_once() {
    if !isolated("tcp_fact_03_no_route_is_reported_at_once", Isolation::Network) {
        return;
    }
    let i = Setup::default().start();
    let mut conn = Conn::new(&i, at(Ipv4Addr::new(192, 0, 2, 1), 80));
    conn.syn(&i, &mss_option(1460));
    let frames = i.drain();
    let icmp = frames.iter().find_map(Frame::icmp).expect("the answer comes inside slirp_input");
    assert_eq!((icmp.kind, icmp.code, icmp.data.len()), (3, 0, 44));
    assert!(i.flows("TCP[").is_empty());
}

#[test]
fn tcp_fact_08_hello_is_delivered_and_acked_at_once() {
    let i = Setup::default().start();
    let (mut conn, mut host) = connected(&i);
    conn.data(&i, b"hello");
    // No turn of the loop in between: the host has the bytes and the guest its ACK when slirp_input returns.
    let mut buffer = [0; 16];
    let n = std::io::Read::read(&mut host, &mut buffer).expect("the data is there");
    assert_eq!(&buffer[..n], b"hello");
    let acks = segments(&i, &mut conn);
    assert!(acks.iter().any(|s| s.flags == ACK && s.ack == conn.snd_nxt), "{acks:?}");
}

#[test]
fn tcp_fact_09_out_of_order_segments_are_put_in_order() {
    let i = Setup::default().start();
    let (mut conn, mut host) = connected(&i);
    let start = conn.snd_nxt;
    let piece = |conn: &Conn, from: u32, data: &[u8]| {
        i.input(&Segment { seq: start.wrapping_add(from), ..conn.segment(PSH | ACK, data) }.frame());
    };
    piece(&conn, 5, b"world");
    let first = segments(&i, &mut conn);
    assert!(first.len() == 1 && first[0].ack == start, "{first:?}");
    piece(&conn, 0, b"hello");
    conn.snd_nxt = start + 10;
    conn.expect_acked(&i);
    assert_eq!(host_read(&i, &mut host, 10), b"helloworld");
    // Overlaps: what came first wins, nothing is doubled.
    piece(&conn, 14, b"efgh");
    piece(&conn, 12, b"cdef");
    piece(&conn, 8, b"ldabcd");
    conn.snd_nxt = start + 18;
    conn.expect_acked(&i);
    assert_eq!(host_read(&i, &mut host, 8), b"abcdefgh");
    host_idle(&mut host);
}

#[test]
fn tcp_fact_09_many_holes_are_filled() {
    let i = Setup::default().start();
    let (mut conn, mut host) = connected(&i);
    let data = pattern(30_000);
    let start = conn.snd_nxt;
    // Every second piece first, from the end, then the others.
    let pieces: Vec<(usize, &[u8])> = data.chunks(500).enumerate().map(|(n, c)| (n * 500, c)).collect();
    let (odd, even): (Vec<_>, Vec<_>) = pieces.iter().partition(|(at, _)| (at / 500) % 2 == 1);
    for (from, chunk) in odd.iter().rev().chain(even.iter()) {
        i.input(&Segment { seq: start.wrapping_add(*from as u32), ..conn.segment(ACK, chunk) }.frame());
    }
    conn.snd_nxt = start.wrapping_add(30_000);
    conn.expect_acked(&i);
    assert!(host_read(&i, &mut host, data.len()) == data);
}

#[test]
fn tcp_fact_11_the_guest_closes_first() {
    let i = Setup::default().start();
    let (mut conn, mut host) = connected(&i);
    conn.data(&i, b"bye");
    conn.send(&i, FIN | ACK, b"");
    conn.expect_acked(&i);
    assert_eq!(host_end(&i, &mut host), (b"bye".to_vec(), End::Eof));
    assert!(conn.listed(&i, "CLOSE_WAIT"), "{}", i.connection_info());
    host_write_some(&mut host, b"one more thing");
    assert_eq!(conn.receive(&i, 14).1, b"one more thing");
    let (added, _) = i.registrations();
    drop(host);
    conn.expect_fin(&i);
    i.settle();
    assert!(!conn.listed(&i, ""), "{}", i.connection_info());
    if library().upstream {
        assert_eq!(i.registrations().1, added);
    }
}

#[test]
fn tcp_fact_12_the_host_half_closes() {
    let i = Setup::default().start();
    let (mut conn, mut host) = connected(&i);
    host_write_some(&mut host, b"last words");
    host.shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(conn.receive(&i, 10).1, b"last words");
    conn.expect_fin(&i);
    i.settle();
    assert!(conn.listed(&i, "FIN_WAIT_2"), "{}", i.connection_info());
    // The guest can still send, as much as it likes.
    let data = pattern(50_000);
    for chunk in data.chunks(1000) {
        conn.data(&i, chunk);
    }
    assert!(host_read(&i, &mut host, data.len()) == data);
    conn.send(&i, FIN | ACK, b"");
    assert_eq!(host_end(&i, &mut host), (vec![], End::Eof));
    conn.expect_acked(&i);
}

#[test]
fn tcp_fact_13_a_reset_by_the_host_reaches_the_guest() {
    let i = Setup::default().start();
    let (mut conn, host) = connected(&i);
    host_reset(host);
    let rst = conn.expect(&i, "a reset", |s| s.has(RST));
    assert_eq!((rst.flags, rst.seq, rst.ack), (RST | ACK, conn.rcv_nxt, conn.snd_nxt));
    i.settle();
    assert!(!conn.listed(&i, ""));
    let (added, removed) = i.registrations();
    assert_eq!(added, removed);
}

#[test]
fn tcp_data_for_a_host_that_has_closed_is_reset() {
    let i = Setup::default().start();
    let (mut conn, mut host) = connected(&i);
    host_write_some(&mut host, b"last words");
    drop(host);
    // What the host has sent is delivered in any case.
    i.settle();
    conn.data(&i, b"are you there?");
    assert_eq!(conn.receive(&i, 10).1, b"last words");
    conn.expect_fin(&i);
    // Who asks the application only for what can be read or written needs a second segment to find out.
    let direct = cfg!(windows) || std::env::var_os("OXISLIRP_POLL").is_some_and(|mode| mode == "direct");
    if library().upstream || direct {
        conn.data(&i, b"hello?");
    }
    conn.expect(&i, "a reset", |s| s.has(RST));
    i.settle();
    assert!(!conn.listed(&i, ""), "{}", i.connection_info());
}

#[test]
fn tcp_fact_14_a_reset_by_the_guest_ends_the_host_side() {
    let i = Setup::default().start();
    let (mut conn, mut host) = connected(&i);
    conn.data(&i, b"x");
    assert_eq!(host_read(&i, &mut host, 1), b"x");
    conn.send(&i, RST, b"");
    let (bytes, end) = host_end(&i, &mut host);
    assert!(bytes.is_empty());
    assert_eq!(end, if ours("guest-reset") { End::Reset } else { End::Eof });
    assert!(!conn.listed(&i, ""));
    i.settle();
    assert!(i.drain().iter().all(|f| f.tcp().is_none_or(|s| !s.has(RST))), "a reset is not answered");
    let (added, removed) = i.registrations();
    assert_eq!(added, removed);
}

#[test]
fn tcp_fact_20_stray_segments_are_reset() {
    let i = Setup::default().start();
    let mut conn = Conn::new(&i, at_vhost(9));
    conn.rcv_nxt = 777;
    let one = |answers: Vec<(Packet, Segment)>| {
        let [(packet, s)] = &answers[..] else { panic!("{answers:?}") };
        assert_eq!((packet.ttl, s.window, s.options.len()), (255, 0, 0));
        assert_eq!((s.src, s.dst), (at_vhost(9), conn.guest));
        (s.flags, s.seq, s.ack)
    };
    assert_eq!(one(reset_by_segment(&i, &conn, ACK, b"")), (RST, 777, 0));
    assert_eq!(one(reset_by_segment(&i, &conn, PSH | ACK, b"data")), (RST, 777, 0));
    assert_eq!(one(reset_by_segment(&i, &conn, FIN | ACK, b"")), (RST, 777, 0));
    let (flags, seq, ack) = one(reset_by_segment(&i, &conn, FIN, b"abc"));
    assert_eq!((flags, seq), (RST | ACK, 0));
    assert!(ack == GUEST_ISS + 3 || (ours("stray-fin") && ack == GUEST_ISS + 4), "{ack}");
    let answers = reset_by_segment(&i, &conn, RST, b"");
    assert_eq!(answers.len(), usize::from(!ours("reset-to-reset")), "a reset to a reset");
    assert!(reset_by_segment(&i, &conn, RST | ACK, b"").len() <= 1);
    assert!(i.flows("TCP[").is_empty());
}

#[test]
fn tcp_fact_21_urgent_data_passes_both_ways() {
    let i = Setup::default().start();
    let (mut conn, mut host) = connected(&i);
    // SO_OOBINLINE is off at our host peer, so that the urgent byte is read on its own.
    let urgent = Segment { urgent: 3, ..conn.segment(URG | PSH | ACK, b"xyZ") };
    i.input(&urgent.frame());
    conn.snd_nxt += 3;
    assert_eq!(host_read(&i, &mut host, 2), b"xy");
    let socket = socket2::SockRef::from(&host);
    let mut oob = [std::mem::MaybeUninit::new(0u8)];
    let n = i.until("the urgent byte at the host", || socket.recv_out_of_band(&mut oob).ok());
    // SAFETY: the buffer was initialised before.
    assert_eq!((n, unsafe { oob[0].assume_init() }), (1, b'Z'));
    socket.send_out_of_band(b"!").unwrap();
    let s = conn.expect(&i, "urgent data for the guest", |s| s.has(URG));
    assert_eq!((s.payload.as_slice(), s.urgent), (&b"!"[..], 1));
}

#[test]
fn tcp_urgent_data_among_other_data_is_marked_at_its_place() {
    let i = Setup::default().start();
    let (mut conn, mut host) = connected(&i);
    socket2::SockRef::from(&host).send_out_of_band(b"abcd!").unwrap();
    host_write_some(&mut host, b"efg");
    let mut bytes = Vec::new();
    let mut mark = None;
    while bytes.len() < 8 {
        let s = conn.expect(&i, "data", |s| !s.payload.is_empty());
        if s.has(URG) {
            mark = mark.max(Some(bytes.len() + usize::from(s.urgent)));
        }
        conn.rcv_nxt = s.seq.wrapping_add(s.payload.len() as u32);
        bytes.extend_from_slice(&s.payload);
        conn.send(&i, ACK, b"");
    }
    assert_eq!(bytes, b"abcd!efg");
    assert_eq!(mark, Some(if ours("urgent-place") { 5 } else { 8 }), "the byte before the mark is the urgent one");
}

#[test]
fn tcp_fact_22_the_type_of_service_follows_the_port() {
    let i = Setup::default().start();
    // Only ports that a test may bind without privilege: 6667 and 6668 and any other.
    for (port, tos) in [(6667, 8), (6668, 8), (7070, 0x10)] {
        let Ok(listener) = TcpListener::bind(("127.0.0.1", port)) else { continue };
        listener.set_nonblocking(true).unwrap();
        let mut conn = Conn::new(&i, at_vhost(port));
        conn.syn(&i, &mss_option(1460));
        assert_eq!(i.wait_tcp("the SYN-ACK").0.tos, tos, "port {port}");
    }
    let (_listener, port) = tcp_listener();
    let mut conn = Conn::new(&i, at_vhost(port));
    conn.syn(&i, &mss_option(1460));
    assert_eq!(i.wait_tcp("the SYN-ACK").0.tos, 0);
}

#[test]
fn tcp_fact_23_data_in_the_syn_is_delivered() {
    let i = Setup::default().start();
    let (listener, port) = tcp_listener();
    let mut conn = Conn::new(&i, at_vhost(port));
    conn.send(&i, SYN, b"early");
    let synack = i.wait_tcp("the SYN-ACK").1;
    assert!(synack.ack == GUEST_ISS + 1 || synack.ack == GUEST_ISS + 6, "{synack:?}");
    conn.rcv_nxt = synack.seq.wrapping_add(1);
    let mut host = accept(&i, &listener);
    i.input(&Segment { seq: GUEST_ISS + 1, ..conn.segment(ACK, b"") }.frame());
    i.settle();
    if synack.ack == GUEST_ISS + 1 && ours("syn-data") {
        // RFC 9293 allows to ignore it; then the guest sends it again.
        conn.snd_nxt = GUEST_ISS + 1;
        conn.send(&i, PSH | ACK, b"early");
    }
    assert_eq!(host_read(&i, &mut host, 5), b"early");
    conn.data(&i, b" bird");
    assert_eq!(host_read(&i, &mut host, 5), b" bird");
}

#[test]
fn tcp_data_in_a_syn_lets_the_application_sleep() {
    let i = Setup::default().start();
    let (_listener, port) = tcp_listener();
    let mut conn = Conn::new(&i, at_vhost(port));
    conn.send(&i, SYN, b"early");
    i.wait_tcp("the SYN-ACK");
    i.settle();
    // The data waits for the guest, who may never come back.
    assert!(i.fill(u32::MAX).timeout > 100);
}

#[test]
fn tcp_fact_24_keep_alive_probes_are_acknowledged() {
    let i = Setup::default().start();
    let (mut conn, mut host) = connected(&i);
    for payload in [&b""[..], b"x"] {
        i.input(&Segment { seq: conn.snd_nxt - 1, ..conn.segment(ACK, payload) }.frame());
        let ack = conn.expect(&i, "the ACK of a probe", |s| s.has(ACK));
        assert_eq!((ack.ack, ack.payload.len()), (conn.snd_nxt, 0));
    }
    host_idle(&mut host);
}

#[test]
fn tcp_fact_24_resets_outside_the_window_are_ignored() {
    let i = Setup::default().start();
    let (mut conn, mut host) = connected(&i);
    let far = |n: u32| Segment { seq: n, ..conn.segment(RST, b"") }.frame();
    i.input(&far(conn.snd_nxt.wrapping_add(200_000_000)));
    if ours("rfc5961-reset") {
        // Left of the window, and inside it but not at its edge (answered by a challenge ACK at most).
        i.input(&far(conn.snd_nxt - 1));
        i.input(&far(conn.snd_nxt + 50));
    }
    assert!(conn.listed(&i, "ESTABLISHED"));
    conn.data(&i, b"alive");
    assert_eq!(host_read(&i, &mut host, 5), b"alive");
}

#[test]
fn tcp_fact_25_a_guest_reset_with_unread_host_data_resets_the_host() {
    let i = Setup::default().start();
    let (mut conn, mut host) = connected(&i);
    // The guest's window is shut and the buffers full, so that data stays in the kernel's socket.
    conn.window = 0;
    conn.send(&i, ACK, b"");
    let lot = vec![7; 4 << 20];
    host_write_some(&mut host, &lot);
    i.settle();
    host_write_some(&mut host, &lot);
    conn.send(&i, RST, b"");
    assert_eq!(host_end(&i, &mut host).1, End::Reset);
}

#[test]
fn tcp_both_sides_close_at_once() {
    let i = Setup::default().start();
    let (mut conn, host) = connected(&i);
    host.shutdown(std::net::Shutdown::Both).unwrap();
    drop(host);
    let fin = conn.expect(&i, "the host's FIN", |s| s.has(FIN));
    // The guest's FIN does not acknowledge the library's.
    conn.send(&i, FIN | ACK, b"");
    conn.expect_acked(&i);
    conn.rcv_nxt = fin.seq.wrapping_add(1);
    conn.send(&i, ACK, b"");
    i.settle();
    assert!(!conn.listed(&i, "ESTABLISHED") && !conn.listed(&i, "FIN_WAIT"), "{}", i.connection_info());
}

#[test]
fn tcp_a_bad_checksum_or_data_offset_is_ignored() {
    let i = Setup::default().start();
    let (mut conn, mut host) = connected(&i);
    let good = conn.segment(PSH | ACK, b"data").frame();
    let mut bad_sum = good.clone();
    bad_sum[14 + 20 + 16] ^= 1;
    i.input(&bad_sum);
    for offset in [0u8, 4, 15] {
        let mut segment = conn.segment(PSH | ACK, b"data").bytes();
        segment[12] = offset << 4;
        segment[16..18].fill(0);
        let pseudo = [&GUEST.octets()[..], &VHOST.octets(), &[0, 6], &(segment.len() as u16).to_be_bytes()].concat();
        let sum = checksum(&[&pseudo, &segment]);
        segment[16..18].copy_from_slice(&sum.to_be_bytes());
        i.input(&Ip::new(VHOST, TCP).frame(&segment));
    }
    i.expect_silence();
    host_idle(&mut host);
    i.input(&good);
    conn.snd_nxt += 4;
    assert_eq!(host_read(&i, &mut host, 4), b"data");
}

#[test]
fn tcp_a_repeated_syn_opens_one_connection() {
    let i = Setup::default().start();
    let (listener, port) = tcp_listener();
    let mut conn = Conn::new(&i, at_vhost(port));
    conn.syn(&i, &mss_option(1460));
    for _ in 0..3 {
        conn.snd_nxt = GUEST_ISS;
        conn.syn(&i, &mss_option(1460));
    }
    let Reply::SynAck(mut conn) = conn.reply(&i) else { panic!("no connection") };
    let mut host = accept(&i, &listener);
    conn.data(&i, b"once");
    assert_eq!(host_read(&i, &mut host, 4), b"once");
    i.settle();
    assert!(listener.accept().is_err());
    assert_eq!(i.flows("TCP[").len(), 1);
}

/// The timestamps of each connection begin somewhere else (RFC 7323 section 5.4), and at the same place each time.
#[test]
fn tcp_timestamps_do_not_tell_the_hosts_clock() {
    if !ours("window-scaling") {
        return;
    }
    let i = Setup::default().start();
    let (_listener, port) = tcp_listener();
    let value = |conn: &Conn| {
        let options = &conn.hello.as_ref().unwrap().options;
        let at = options.windows(2).position(|pair| pair == [8, 10]).expect("timestamps");
        u32::from_be_bytes(options[at + 2..at + 6].try_into().unwrap())
    };
    let offer = [&mss_option(1460)[..], &[1, 1, 8, 10, 0, 0, 0, 9, 0, 0, 0, 0]].concat();
    let values: Vec<u32> = (0..3).map(|_| value(&Conn::connect_with(&i, at_vhost(port), &offer))).collect();
    let close = |a: u32, b: u32| (a.wrapping_sub(b) as i32).unsigned_abs() < 1 << 16;
    assert!(!close(values[0], values[1]) && !close(values[1], values[2]), "{values:?}");
    let mut again = Conn::connect_with(&i, at_vhost(port), &offer);
    let before = value(&again);
    again.send(&i, RST | ACK, b"");
    i.settle();
    let mut same = Conn { snd_nxt: GUEST_ISS, ..again };
    same.syn(&i, &offer);
    let Reply::SynAck(same) = same.reply(&i) else { panic!("no connection") };
    assert!(close(value(&same), before));
}

/// A full segment without PSH, and nothing behind it: the acknowledgment waits for no timer, or a sender whose window is one
/// segment would move one segment per delay.
#[test]
fn tcp_a_lone_full_segment_is_acknowledged_without_a_timer() {
    for style in [LoopStyle::Plain, LoopStyle::OneFrameSelectError, LoopStyle::SkipPollOnTimeout] {
        let i = Setup::default().style(style).start();
        let (mut conn, mut host) = connected(&i);
        for n in 1..=5 {
            conn.send(&i, ACK, &[n; 1460]);
            // The virtual clock stands still.
            let ack = (0..3).find_map(|_| {
                i.turn(Duration::ZERO);
                segments(&i, &mut conn).pop()
            });
            assert_eq!(ack.map(|s| s.ack), Some(conn.snd_nxt), "segment {n}, {style:?}");
            assert_eq!(host_read(&i, &mut host, 1460), [n; 1460]);
        }
    }
}

/// A frame that comes after the application slept is judged by the time at which it came, not by that of the last round:
/// round trips would seem short by as much.
#[test]
fn tcp_a_frame_after_a_sleep_has_the_time_of_its_arrival() {
    if !ours("window-scaling") {
        return;
    }
    let i = Setup::default().start();
    let (listener, port) = tcp_listener();
    let stamps = [1, 1, 8, 10, 0, 0, 0, 9, 0, 0, 0, 0];
    let mut conn = Conn::connect_with(&i, at_vhost(port), &[&mss_option(1460)[..], &stamps].concat());
    let _host = accept(&i, &listener);
    let mut value = || {
        i.input(&Segment { options: stamps.to_vec(), ..conn.segment(PSH | ACK, b"x") }.frame());
        conn.snd_nxt = conn.snd_nxt.wrapping_add(1);
        let ack = conn.expect(&i, "an acknowledgment", |s| s.has(ACK));
        let at = ack.options.windows(2).position(|pair| pair == [8, 10]).expect("timestamps");
        u32::from_be_bytes(ack.options[at + 2..at + 6].try_into().unwrap())
    };
    let before = value();
    i.settle();
    i.fill(u32::MAX);
    i.move_clock(Duration::from_secs(5));
    assert!((5000..5500).contains(&value().wrapping_sub(before)));
}
