//! What a loaded connection of a guest forward goes on with: its bytes in both directions, its end, its bounds.

mod common;

use common::target::{FORWARD, Taken, save, with_taken};
use common::*;

const PORT: u16 = 1234;
/// Frames that any call may make at most; docs/compatibility.md.
const MOST: usize = 1024;
/// Where the fields are in a stream that begins with a connection of MSS 1460.
const RECEIVED: usize = 0x1c;

fn with_forward(setup: Setup) -> (Box<Instance>, Taken) {
    with_taken(setup, PORT)
}

fn start() -> Box<Instance> {
    with_forward(Setup::default()).0
}

fn load(i: &Instance, stream: &[u8]) {
    assert_eq!(i.load_state(4, stream), (0, 0));
}

/// Bytes that the guest had sent and the application not taken are the application's after the load.
#[test]
fn earnest_state_bytes_that_wait_for_the_application_arrive() {
    let i = start();
    let mut conn = Conn::connect(&i, at(FORWARD, PORT));
    conn.data(&i, b"before");
    let mut stream = save(&i);
    // Five bytes in the ring, which begins near its end.
    let size = 131_400u32;
    for (at, number) in [(0, 5), (8, 2), (12, size - 3)] {
        stream[RECEIVED + at..][..4].copy_from_slice(&number.to_be_bytes());
    }
    let ring = RECEIVED + 16;
    stream[ring + size as usize - 3..][..3].copy_from_slice(b"abc");
    stream[ring..][..2].copy_from_slice(b"de");
    let (i, taken) = with_forward(Setup::default());
    load(&i, &stream);
    i.settle();
    conn.data(&i, b"fgh");
    i.settle();
    if !ours("state-buffers") {
        assert_eq!(*taken.borrow(), b"fgh");
        return;
    }
    assert_eq!(*taken.borrow(), b"abcdefgh");
    conn.expect_acked(&i);
}

/// With a window of zero nothing is in flight that would be sent again: the guest is asked.
#[test]
fn earnest_state_bytes_that_wait_for_the_guests_window_arrive() {
    if !ours("state-buffers") {
        return;
    }
    let i = start();
    let mut conn = Conn::connect(&i, at(FORWARD, PORT));
    conn.window = 0;
    conn.send(&i, ACK, b"");
    i.socket_recv(FORWARD, PORT, b"waiting");
    i.settle();
    let stream = save(&i);
    let i = start();
    load(&i, &stream);
    i.settle();
    let asked =
        i.advance_until(Duration::from_secs(120), |f| f.tcp().filter(|s| conn.is_mine(s) && !s.payload.is_empty()));
    let (_, probe) = asked.expect("the guest is asked whether its window has opened");
    assert!(probe.payload.len() == 1 && probe.payload[0] == b'w', "{probe:?}");
    conn.window = 65_535;
    conn.send(&i, ACK, b"");
    assert_eq!(conn.receive(&i, 7).1, b"waiting");
}

/// The application's end on its way to the guest, with bytes before it.
#[test]
fn earnest_state_an_end_in_flight_arrives() {
    if !ours("state-buffers") {
        return;
    }
    for lost in [false, true] {
        let i = start();
        let mut conn = Conn::connect(&i, at(FORWARD, PORT));
        i.socket_recv(FORWARD, PORT, b"the last");
        // More than there was room for ends the direction.
        i.socket_recv(FORWARD, PORT, &vec![0; 1 << 20]);
        i.settle();
        let stream = save(&i);
        let i = start();
        load(&i, &stream);
        assert!(conn.listed(&i, "FIN_WAIT_1"), "{}", i.connection_info());
        if lost {
            i.settle();
            i.drain();
            i.advance(Duration::from_secs(5));
        }
        assert_eq!(conn.receive(&i, 8).1, b"the last");
        conn.expect_fin(&i);
        conn.send(&i, ACK, b"");
        assert!(conn.listed(&i, "FIN_WAIT_2"), "{}", i.connection_info());
        conn.send(&i, FIN | ACK, b"");
        conn.expect_acked(&i);
        i.advance(Duration::from_secs(300));
        assert!(i.flows("TCP[").is_empty(), "{}", i.connection_info());
    }
}

/// The link may carry less than the one where the state was saved.
#[test]
fn earnest_3_7_a_loaded_connection_keeps_to_a_smaller_mtu() {
    if library().upstream {
        println!("SKIPPED: upstream's segments exceed small MTUs");
        return;
    }
    let i = start();
    let conn = Conn::connect(&i, at(FORWARD, PORT));
    i.socket_recv(FORWARD, PORT, &pattern(5000));
    let stream = save(&i);
    for mtu in [68, 100, 128, 576, 1499] {
        let (i, _) = with_forward(Setup::default().mtu(mtu, mtu));
        load(&i, &stream);
        let (sizes, bytes) = conn.clone().receive(&i, 5000);
        assert!(bytes == pattern(5000), "MTU {mtu}");
        assert!(sizes.iter().all(|size| *size <= mtu - 40), "MTU {mtu}: {sizes:?}");
    }
}

/// What a router between the guest and us has said of its link holds on.
#[test]
fn earnest_state_a_smaller_segment_size_stays() {
    if !ours("guest-path-mtu") {
        return;
    }
    let too_big = |segment: &Segment| {
        let quoted = Ip { src: FORWARD, ..Ip::new(GUEST, TCP) }.packet(&segment.bytes());
        Ip::new(FORWARD, ICMP).frame(&icmp(3, 4, [0, 0, 3, 232], &quoted[..28]))
    };
    let i = start();
    let mut conn = Conn::connect(&i, at(FORWARD, PORT));
    i.socket_recv(FORWARD, PORT, &pattern(5000));
    let first = conn.expect(&i, "a full segment", |s| s.payload.len() == 1460);
    i.input(&too_big(&first));
    let lowered = save(&i);
    let i = start();
    load(&i, &lowered);
    let (sizes, bytes) = conn.clone().receive(&i, 5000);
    assert!(bytes == pattern(5000) && sizes.iter().all(|size| *size <= 960), "{sizes:?}");
}

/// The rounds after a load make no more in one call than any others, however much was in flight.
#[test]
fn earnest_3_3_many_loaded_connections_do_not_flood_the_guest() {
    if !ours("state-buffers") {
        return;
    }
    const CONNECTIONS: usize = 200;
    const BYTES: usize = 2000;
    let i = start();
    // What the application gives is for the newest connection. Each has its first window of ten segments in flight.
    let open = |_| {
        let conn = Conn::connect_with(&i, at(FORWARD, PORT), &mss_option(100));
        i.socket_recv(FORWARD, PORT, &[7; BYTES]);
        conn
    };
    let mut conns: Vec<(Conn, usize)> = (0..CONNECTIONS).map(open).map(|conn| (conn, 0)).collect();
    let stream = save(&i);
    drop(i);
    let i = start();
    i.drain_raw();
    load(&i, &stream);
    assert!(i.drain_raw().is_empty(), "nothing is sent while a state is loaded");
    let mut busiest = 0;
    for _ in 0..1000 {
        busiest = busiest.max(i.busiest_call_of_a_turn());
        let segments: Vec<Segment> = i.drain().iter().filter_map(Frame::tcp).collect();
        for (conn, had) in &mut conns {
            let mut new = 0;
            for s in &segments {
                if conn.is_mine(s) && s.seq == conn.rcv_nxt {
                    conn.rcv_nxt = conn.rcv_nxt.wrapping_add(s.payload.len() as u32);
                    new += s.payload.len();
                }
            }
            *had += new;
            if new > 0 {
                let before = i.frame_count.get();
                conn.send(&i, ACK, b"");
                busiest = busiest.max(i.frame_count.get() - before);
            }
        }
        if conns.iter().all(|(_, had)| *had == BYTES) {
            assert!(busiest <= MOST, "{busiest} frames in one call");
            // With the hand-over there is not so much room at once.
            let shows = std::env::var_os("SLIRP_TEST_HANDOVER").is_some() || busiest >= MOST / 4;
            assert!(shows, "{busiest} frames in one call: this shows nothing");
            return;
        }
    }
    panic!("not all bytes arrived: {:?}", conns.iter().map(|(_, had)| *had).collect::<Vec<_>>());
}

/// A stream brings 1,024 connections at most, and no more are saved: of more than that, the newest.
#[test]
fn earnest_state_of_more_connections_than_a_stream_may_bring_loads() {
    if !ours("state-connections") {
        return;
    }
    const CONNECTIONS: usize = 1030;
    let i = start();
    let mut conns: Vec<Conn> = (0..CONNECTIONS).map(|_| Conn::connect(&i, at(FORWARD, PORT))).collect();
    let stream = save(&i);
    drop(i);
    let (i, taken) = with_forward(Setup::default());
    load(&i, &stream);
    drop(stream);
    assert_eq!(i.flows("TCP[ESTABLISHED").len(), 1024);
    i.settle();
    i.drain();
    // The oldest ones learn of their end when they speak.
    for (number, byte) in [(0, b"0"), (5, b"5"), (6, b"6"), (CONNECTIONS - 1, b"9")] {
        let conn = &mut conns[number];
        conn.data(&i, byte);
        conn.expect(&i, "an answer", |s| s.has(RST) == (number < 6));
    }
    assert_eq!(*taken.borrow(), b"69");
}

/// What becomes of a guest forward becomes of the connections that were loaded for it.
#[test]
fn earnest_3_5_a_loaded_connection_ends_with_its_forward() {
    let i = start();
    let mut conn = Conn::connect(&i, at(FORWARD, PORT));
    let stream = save(&i);
    let (i, taken) = with_forward(Setup::default());
    load(&i, &stream);
    i.settle();
    conn.data(&i, b"before");
    assert_eq!(*taken.borrow(), b"before");
    if !ours("guestfwd-removed") {
        return;
    }
    assert_eq!(i.remove_guestfwd(FORWARD, PORT), 0);
    conn.expect(&i, "a reset", |s| s.has(RST));
    conn.data(&i, b"after");
    assert_eq!(*taken.borrow(), b"before");
    assert!(i.flows("TCP[").is_empty(), "{}", i.connection_info());
}
