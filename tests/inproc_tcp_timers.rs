//! TCP over time, on a virtual clock: docs/contract/tcp.md sections 2, 5 and 6.

mod common;
use common::*;

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn connected(i: &Instance) -> (Conn, TcpStream) {
    let (listener, port) = tcp_listener();
    let conn = Conn::connect(i, at_vhost(port));
    let host = accept(i, &listener);
    i.settle();
    (conn, host)
}

/// The times in seconds, from now, at which the library sends a segment that `pick` accepts.
fn times(i: &Instance, span: Duration, pick: impl Fn(&Segment) -> bool) -> Vec<f64> {
    let mut found = Vec::new();
    let mut spent = Duration::ZERO;
    let step = Duration::from_millis(100);
    while spent < span {
        i.move_clock(step);
        spent += step;
        i.turn(Duration::ZERO);
        found.extend(i.drain().iter().filter_map(Frame::tcp).filter(&pick).map(|_| spent.as_secs_f64()));
    }
    found
}

#[test]
fn tcp_fact_05_a_black_hole_is_given_up_after_75_seconds() {
    if !isolated("tcp_fact_05_a_black_hole_is_given_up_after_75_seconds", Isolation::Process) {
        return;
    }
    // A listener whose queue is full never answers the SYNs of more clients.
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&std::net::SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    socket.listen(0).unwrap();
    let port = socket.local_addr().unwrap().as_socket().unwrap().port();
    let filler = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    filler.connect(&socket.local_addr().unwrap()).unwrap();
    let i = Setup::default().start();
    let mut conn = Conn::new(&i, at_vhost(port));
    conn.syn(&i, &mss_option(1460));
    i.advance(seconds(70));
    assert!(i.drain().is_empty(), "nothing is known yet");
    i.advance(seconds(10));
    let frames = i.drain();
    let s = frames.iter().find_map(Frame::tcp).expect("a reset after 75 s");
    assert_eq!((s.flags, s.seq, s.ack), (RST | ACK, 0, GUEST_ISS + 1));
    assert!(i.flows("TCP[").is_empty());
}

#[test]
fn tcp_fact_05_a_syn_ack_that_is_not_acknowledged_is_repeated() {
    let i = Setup::default().start();
    let (_listener, port) = tcp_listener();
    let mut conn = Conn::new(&i, at_vhost(port));
    conn.syn(&i, &mss_option(1460));
    let first = i.wait_tcp("the SYN-ACK").1;
    let again = times(&i, seconds(73), |s| s.flags == SYN | ACK && s.seq == first.seq);
    assert!((3..=8).contains(&again.len()), "{again:?}");
    if library().upstream {
        assert!((5.5..=6.6).contains(&again[0]), "{again:?}");
    }
    i.drain();
    i.advance(seconds(10));
    assert!(!conn.listed(&i, ""), "{}", i.connection_info());
}

#[test]
fn tcp_fact_15_time_wait_is_listed_and_ends() {
    let i = Setup::default().start();
    let (mut conn, host) = connected(&i);
    drop(host);
    conn.expect_fin(&i);
    conn.send(&i, FIN | ACK, b"");
    conn.expect_acked(&i);
    i.settle();
    assert!(conn.listed(&i, "TIME_WAIT"), "{}", i.connection_info());
    i.advance(seconds(8));
    assert!(conn.listed(&i, "TIME_WAIT"), "{}", i.connection_info());
    i.advance(seconds(if ours("time-wait") { 120 } else { 4 }));
    assert!(!conn.listed(&i, ""), "{}", i.connection_info());
}

#[test]
fn tcp_fact_16_a_half_closed_idle_connection_goes_away() {
    let i = Setup::default().start();
    let (mut conn, host) = connected(&i);
    drop(host);
    conn.expect_fin(&i);
    i.settle();
    assert!(conn.listed(&i, "FIN_WAIT_2"), "{}", i.connection_info());
    i.advance(seconds(50));
    assert!(conn.listed(&i, "FIN_WAIT_2"), "{}", i.connection_info());
    // 135 s since 4.9.1, 600 s and more before. Ours asks nine times.
    i.advance(seconds(if library().at_least(9) && !ours("half-closed") { 100 } else { 1300 }));
    assert!(!conn.listed(&i, ""), "{}", i.connection_info());
}

#[test]
fn tcp_established_and_close_wait_have_no_time_limit() {
    let i = Setup::default().start();
    let (mut idle, mut idle_host) = connected(&i);
    let (mut half, mut half_host) = connected(&i);
    half.send(&i, FIN | ACK, b"");
    half.expect_acked(&i);
    for _ in 0..3 * 3600 / 50 {
        i.advance(seconds(50));
        let sent: Vec<Segment> = i.drain().iter().filter_map(Frame::tcp).collect();
        assert!(sent.iter().all(|s| half.is_mine(s) && ours("half-closed")), "nothing is sent on an idle connection");
        // Whether it is alive is asked of a guest that has ended its direction.
        sent.iter().for_each(|_| half.send(&i, ACK, b""));
    }
    assert!(idle.listed(&i, "ESTABLISHED") && half.listed(&i, "CLOSE_WAIT"), "{}", i.connection_info());
    idle.data(&i, b"hello again");
    assert_eq!(host_read(&i, &mut idle_host, 11), b"hello again");
    host_write_some(&mut half_host, b"late");
    assert_eq!(half.receive(&i, 4).1, b"late");
}

#[test]
fn tcp_fact_17_lost_data_is_sent_again_ever_more_slowly() {
    let i = Setup::default().start();
    let (mut conn, mut host) = connected(&i);
    // One exchange gives a round-trip time.
    host_write_some(&mut host, b"measure");
    conn.receive(&i, 7);
    host_write_some(&mut host, b"lost");
    let first = conn.expect(&i, "the data", |s| s.payload == b"lost");
    let again = times(&i, seconds(40), |s| s.seq == first.seq && s.payload == b"lost");
    if library().upstream {
        let expected = [1.5, 4.5, 10.5, 22.5, 34.5];
        assert_eq!(again.len(), expected.len(), "{again:?}");
        assert!(again.iter().zip(expected).all(|(a, e)| (a - e).abs() <= 0.7), "{again:?}");
    } else {
        // RFC 6298: a first timeout of one second or a little more, doubled each time.
        assert!((4..=8).contains(&again.len()), "{again:?}");
        assert!((0.2..=3.1).contains(&again[0]), "{again:?}");
        let gaps: Vec<f64> = again.windows(2).map(|w| w[1] - w[0]).collect();
        assert!(gaps.windows(2).all(|w| w[1] >= w[0] * 0.9), "{again:?}");
    }
    // The first acknowledgement ends it.
    conn.rcv_nxt = conn.rcv_nxt.wrapping_add(4);
    conn.send(&i, ACK, b"");
    assert!(times(&i, seconds(30), |s| !s.payload.is_empty()).is_empty());
}

#[test]
fn tcp_fact_18_a_shut_window_is_probed() {
    let i = Setup::default().start();
    let (mut conn, mut host) = connected(&i);
    conn.window = 0;
    host_write_some(&mut host, b"0123456789");
    // The window was shut by the ACK of data that fits.
    let first = conn.expect(&i, "the data", |s| !s.payload.is_empty());
    conn.rcv_nxt = first.seq.wrapping_add(first.payload.len() as u32);
    conn.send(&i, ACK, b"");
    host_write_some(&mut host, b"waiting");
    i.settle();
    assert!(i.drain().is_empty(), "nothing may be sent into a shut window");
    let mut probes = Vec::new();
    let mut spent = Duration::ZERO;
    while spent < seconds(140) {
        i.move_clock(Duration::from_millis(100));
        spent += Duration::from_millis(100);
        i.turn(Duration::ZERO);
        while let Some(s) = conn.next(&i) {
            assert!(s.payload.len() <= 1, "a probe carries at most one byte");
            probes.push(spent.as_secs_f64());
            conn.send(&i, ACK, b"");
        }
    }
    if library().upstream {
        let expected = [5.0, 10.0, 15.0, 23.0, 39.0, 71.0, 131.0];
        assert!(
            probes.len() == expected.len() && probes.iter().zip(expected).all(|(p, e)| (p - e).abs() <= 1.1),
            "{probes:?}"
        );
    } else {
        // Sooner and more often: no reader waits longer than five seconds for a window that was opened and got lost.
        let gaps: Vec<f64> = probes.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert!(probes[0] <= 0.3 && gaps.is_sorted_by(|one, other| *one <= other + 0.11), "{probes:?}");
        assert!(gaps.iter().all(|gap| *gap < 5.15) && (25..35).contains(&gaps.len()), "{probes:?}");
    }
    conn.window = 65535;
    conn.send(&i, ACK, b"");
    assert_eq!(conn.receive(&i, 7).1, b"waiting");
}

#[test]
fn tcp_fact_19_three_duplicate_acks_repeat_the_first_segment() {
    let i = Setup::default().start();
    let (mut conn, mut host) = connected(&i);
    // Open the congestion window first.
    let warm = pattern(30_000);
    host_write_some(&mut host, &warm);
    assert!(conn.receive(&i, warm.len()).1 == warm);
    host_write_some(&mut host, &pattern(8000));
    i.settle();
    let burst: Vec<Segment> = std::iter::from_fn(|| conn.next(&i)).filter(|s| !s.payload.is_empty()).collect();
    assert!(burst.len() >= 4, "{} segments", burst.len());
    // The first was lost; each of the others brings a duplicate ACK.
    for n in 1..=3 {
        conn.send(&i, ACK, b"");
        let sent: Vec<Segment> = std::iter::from_fn(|| conn.next(&i)).collect();
        let repeated = sent.iter().any(|s| s.seq == burst[0].seq && !s.payload.is_empty());
        assert_eq!(repeated, n == 3, "after {n} duplicate ACKs");
    }
    // The repeated segment fills the hole: everything of the burst is acknowledged.
    let got: Vec<u8> = burst.iter().flat_map(|s| s.payload.clone()).collect();
    conn.rcv_nxt = conn.rcv_nxt.wrapping_add(got.len() as u32);
    conn.send(&i, ACK, b"");
    let rest = conn.receive(&i, 8000 - got.len()).1;
    assert!([got, rest].concat() == pattern(8000));
}

#[test]
fn tcp_fact_26_a_new_syn_in_time_wait_opens_a_new_connection() {
    let i = Setup::default().start();
    let (listener, port) = tcp_listener();
    let mut conn = Conn::connect(&i, at_vhost(port));
    drop(accept(&i, &listener));
    conn.expect_fin(&i);
    conn.send(&i, FIN | ACK, b"");
    conn.expect_acked(&i);
    i.settle();
    i.drain();
    assert!(conn.listed(&i, "TIME_WAIT"));
    let mut next = Conn { snd_nxt: conn.snd_nxt + 200_000, ..Conn::new(&i, at_vhost(port)) };
    next.guest = conn.guest;
    next.syn(&i, &mss_option(1460));
    let Reply::SynAck(mut next) = next.reply(&i) else { panic!("the SYN was refused") };
    let mut host = accept(&i, &listener);
    next.data(&i, b"second life");
    assert_eq!(host_read(&i, &mut host, 11), b"second life");
}

#[test]
fn poll_fact_11_a_long_pause_times_nothing_out() {
    let i = Setup::default().start();
    let (mut conn, mut host) = connected(&i);
    host_write_some(&mut host, b"before");
    conn.receive(&i, 6);
    host_write_some(&mut host, b"unacknowledged");
    i.settle();
    // A virtual machine that was paused for an hour.
    i.move_clock(seconds(3600));
    i.settle();
    assert!(conn.listed(&i, "ESTABLISHED"), "{}", i.connection_info());
    assert_eq!(conn.receive(&i, 14).1, b"unacknowledged");
    conn.data(&i, b"resumed");
    assert_eq!(host_read(&i, &mut host, 7), b"resumed");
}

#[test]
fn tcp_a_fin_that_nobody_acknowledges_ends_the_connection() {
    let i = Setup::default().start();
    let (mut conn, host) = connected(&i);
    drop(host);
    let fin = conn.expect(&i, "a FIN", |s| s.has(FIN));
    let mut fins = 0;
    for _ in 0..700 {
        i.advance(seconds(1));
        fins += i.drain().iter().filter(|f| f.tcp().is_some_and(|s| s.has(FIN) && s.seq == fin.seq)).count();
    }
    assert!(fins >= 5, "{fins} repetitions");
    assert!(!conn.listed(&i, ""), "{}", i.connection_info());
}
