//! Saved state: docs/contract/state.md, and streams that one library writes and the other reads.

mod common;

use common::target::{FORWARD, Taken, save, with_taken};
use common::*;
use std::process::{Command, Stdio};

const PORT: u16 = 1234;
/// Length of a stream with one connection of MSS 1460, and of one without.
const ONE: usize = 263_110;
const NONE: usize = 131;
const UPSTREAM: &str = "/usr/lib/x86_64-linux-gnu/libslirp.so.0";
const JOB: &str = "SLIRP_TEST_STATE_JOB";
const FILE: &str = "SLIRP_TEST_STATE_FILE";

fn with_forward() -> (Box<Instance>, Taken) {
    with_taken(Setup::default(), PORT)
}

/// The example of the contract: the guest has sent "ping", and not acknowledged "pong-unacked".
fn saved() -> (Conn, Vec<u8>) {
    saved_with(true)
}

/// The same; without `in_flight` the guest has acknowledged everything.
fn saved_with(in_flight: bool) -> (Conn, Vec<u8>) {
    let (i, conn) = spoken(in_flight);
    (conn, save(&i))
}

/// The instance that [`saved_with`] saves. The guest has its address by DHCP.
fn spoken(in_flight: bool) -> (Box<Instance>, Conn) {
    let (i, kept) = with_forward();
    assert_eq!(lease(&i, GUEST_MAC, Ipv4Addr::UNSPECIFIED), Some(GUEST));
    let mut conn = Conn::connect_with(&i, at(FORWARD, PORT), &mss_option(1460));
    conn.data(&i, b"ping");
    assert_eq!(*kept.borrow(), b"ping");
    i.socket_recv(FORWARD, PORT, b"pong-unacked");
    if !in_flight {
        assert_eq!(conn.receive(&i, 12).1, b"pong-unacked");
    }
    (i, conn)
}

/// Requests an address, or renews the one at `ciaddr`; what was granted.
fn lease(i: &Instance, mac: [u8; 6], ciaddr: Ipv4Addr) -> Option<Ipv4Addr> {
    let mut message = vec![1, 1, 6, 0, 1, 2, 3, 4, 0, 0, 0, 0];
    message.extend(ciaddr.octets());
    message.resize(28, 0);
    message.extend(mac);
    message.resize(236, 0);
    message.extend([0x63, 0x82, 0x53, 0x63, 53, 1, 3, 255]);
    let datagram = udp(at(ciaddr, 68), at(Ipv4Addr::BROADCAST, 67), &message);
    i.input(&Ip { src: ciaddr, ..Ip::new(Ipv4Addr::BROADCAST, UDP) }.frame(&datagram));
    let (_, answer) = i.wait_udp("an answer of the DHCP server");
    let granted = <[u8; 4]>::try_from(&answer.data[16..20]).expect("yiaddr").into();
    (answer.data[242] == 5).then_some(granted)
}

fn be32(stream: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(stream[at..at + 4].try_into().unwrap())
}

#[test]
fn state_fact_01_without_a_connection_the_stream_has_131_bytes() {
    let (i, _) = with_forward();
    let (result, stream) = i.save_state();
    assert_eq!((result, stream.len(), stream[0]), (0, NONE, 0));
}

#[test]
fn state_fact_02_the_fields_of_a_connection() {
    let (conn, s) = saved();
    assert_eq!((s.len(), s[0]), (ONE, 42));
    // The addresses and ports stand in reverse on a little-endian machine.
    assert_eq!(s[5..13], [0, 2, 100, 2, 0, 10, 0xd2, 0x04]);
    let port = conn.guest.port().to_be_bytes();
    assert_eq!(s[13..21], [0, 2, 15, 2, 0, 10, port[1], port[0]]);
    assert_eq!(s[0x17], 6, "so_type");
    assert_eq!(be32(&s, 0x18), 4, "so_state");
    assert_eq!((be32(&s, 0x1c), be32(&s, 0x20)), (0, 131_400), "so_rcv");
    assert_eq!((be32(&s, 0x20174), be32(&s, 0x20178)), (12, 131_400), "so_snd");
    let offset = be32(&s, 0x20180) as usize;
    assert_eq!(be32(&s, 0x2017c) as usize, offset + 12);
    assert_eq!(s[0x20184 + offset..][..12], *b"pong-unacked");
    assert_eq!(s[0x402cc..0x402ce], [0, 4], "ESTABLISHED");
    assert!(s[0x402cf] > 0, "a timer for what is in flight");
    assert_eq!(s[0x402dc..0x402de], 1460u16.to_be_bytes(), "maxseg");
    let una = be32(&s, 0x402e1);
    assert_eq!(be32(&s, 0x402e5), una + 12, "snd_nxt");
    assert_eq!(be32(&s, 0x402f5), una - 1, "iss");
    assert_eq!(be32(&s, 0x40301), conn.snd_nxt, "rcv_nxt");
    assert_eq!(be32(&s, 0x40309), GUEST_ISS, "irs");
    assert_eq!(be32(&s, 0x40311), una + 12, "snd_max");
    assert_eq!(be32(&s, 0x4033f), conn.snd_nxt, "last_ack_sent");
    assert_eq!(s[0x40343], 0, "the end of the connections");
}

/// Loads a stream and goes on with its connection, as the guest after a migration. Gives the state of then.
fn go_on(conn: &mut Conn, stream: &[u8]) -> Vec<u8> {
    let in_flight = be32(stream, 0x20174) > 0;
    let half_closed = stream[0x402cd] == 5;
    let (i, kept) = with_forward();
    assert_eq!(i.load_state(4, stream), (0, 0), "every byte is read");
    assert!(conn.listed(&i, if half_closed { "CLOSE_WAIT" } else { "ESTABLISHED" }), "{}", i.connection_info());
    // The address is the guest's, who renews it, and nobody else's.
    assert_eq!(lease(&i, [2, 0, 0, 0, 0, 1], Ipv4Addr::UNSPECIFIED), Some(Ipv4Addr::new(10, 0, 2, 16)));
    assert_eq!(lease(&i, GUEST_MAC, GUEST), Some(GUEST));
    if half_closed {
        assert_eq!(be32(stream, 0x18), 0x14, "so_state: connected, and nothing more goes there");
        i.socket_recv(FORWARD, PORT, b"and back");
        assert_eq!(conn.receive(&i, 8).1, b"and back");
        assert_eq!(conn.snd_una, conn.snd_nxt, "the end is acknowledged");
        return i.save_state().1;
    }
    if in_flight && library().upstream {
        // Upstream loses what was not acknowledged, and with it its place in the stream towards the guest.
        conn.data(&i, b"after");
        assert_eq!(*kept.borrow(), b"after");
        return i.save_state().1;
    }
    if in_flight {
        assert_eq!(conn.receive(&i, 12).1, b"pong-unacked", "it is sent again");
    }
    assert_eq!(i.save_state().1.len(), stream.len());
    conn.data(&i, b"after");
    assert_eq!(*kept.borrow(), b"after");
    i.socket_recv(FORWARD, PORT, b"and back");
    assert_eq!(conn.receive(&i, 8).1, b"and back");
    i.save_state().1
}

#[test]
fn state_fact_03_a_loaded_connection_goes_on() {
    for (mut conn, stream) in [saved_with(false), saved_with(true), saved_half_closed()] {
        go_on(&mut conn, &stream);
    }
}

/// The same stream as a machine of the other byte order writes it, of which the connections begin there.
fn turned(stream: &[u8], connections: impl IntoIterator<Item = usize>) -> Vec<u8> {
    let mut turned = stream.to_vec();
    for begins in connections {
        for field in [7..11, 11..13, 15..19, 19..21] {
            turned[begins + field.start..begins + field.end].reverse();
        }
    }
    turned
}

#[test]
fn state_of_a_machine_of_the_other_byte_order_goes_on() {
    let (mut conn, stream) = saved_with(true);
    let other = turned(&stream, [0]);
    let (i, kept) = with_forward();
    if !ours("state-byte-order") {
        assert_eq!(i.load_state(4, &other).0, -22);
        return;
    }
    assert_eq!(i.load_state(4, &other), (0, 0));
    assert_eq!(i.save_state().1, stream, "in this machine's order again");
    assert_eq!(conn.receive(&i, 12).1, b"pong-unacked");
    conn.data(&i, b"after");
    assert_eq!(*kept.borrow(), b"after");
    // No machine has both.
    let (i, _) = with_forward();
    let _first = Conn::connect_with(&i, at(FORWARD, PORT), &mss_option(1460));
    let _second = Conn::connect_with(&i, at(FORWARD, PORT), &mss_option(1460));
    let two = i.save_state().1;
    let (i, _) = with_forward();
    for mixed in [turned(&two, [0]), turned(&two, [ONE - NONE])] {
        assert_eq!(i.load_state(4, &mixed).0, -22);
        assert!(i.flows("TCP[").is_empty());
    }
    assert_eq!(i.load_state(4, &turned(&two, [0, ONE - NONE])), (0, 0));
    assert_eq!(i.save_state().1, two);
}

#[test]
fn state_of_many_connections_has_the_newest_last_which_upstream_takes_for_the_newest() {
    let (i, _) = with_forward();
    let _older = Conn::connect_with(&i, at(FORWARD, PORT), &mss_option(1460));
    let mut newer = Conn::connect_with(&i, at(FORWARD, PORT), &mss_option(1460));
    let stream = i.save_state().1;
    // Upstream saves only one connection of a forward.
    let count = if library().upstream { 1 } else { 2 };
    assert_eq!(stream.len(), NONE + count * (ONE - NONE));
    let last = (count - 1) * (ONE - NONE);
    assert_eq!(stream[last], 42);
    let port = newer.guest.port().to_be_bytes();
    assert_eq!(stream[last + 19..last + 21], [port[1], port[0]]);
    let (i, _) = with_forward();
    assert_eq!(i.load_state(4, &stream), (0, 0));
    i.socket_recv(FORWARD, PORT, b"to the newest");
    assert_eq!(newer.receive(&i, 13).1, b"to the newest");
}

#[test]
fn state_facts_04_to_08_what_is_refused_and_what_is_not() {
    let (_, stream) = saved();
    let without = Setup::default().start();
    assert_eq!(without.load_state(4, &stream).0, -22, "no such forward");
    assert!(without.flows("TCP[").is_empty() || library().upstream);
    let (i, _) = with_forward();
    assert_eq!(i.load_state(5, &stream).0, -22, "a later version");
    let mut wrong = stream.clone();
    wrong[0x24..0x28].fill(0xff);
    assert_eq!(i.load_state(4, &wrong).0, -22, "an offset outside of the buffer");
    let mut marked = stream.clone();
    marked[0] = 1;
    assert_eq!(i.load_state(4, &marked).0, 0, "any marker");
    assert_eq!(i.load_state(3, &[0; NONE]), (0, 0), "version 3 without connections");
    assert_eq!(i.load_state(2, &[0; 3]), (0, 0), "version 2 without connections");
    assert_eq!(i.load_state(1, &[0; 1]), (0, 0), "version 1 without connections");
}

#[test]
fn state_a_stream_cut_anywhere_is_refused_and_changes_nothing() {
    if !ours("state-truncated") {
        return;
    }
    let (_, stream) = saved();
    let (i, _) = with_forward();
    let cuts = (0..80).chain([131_500, 131_600, 262_900]).chain(ONE - 300..ONE);
    for cut in cuts {
        assert!(i.load_state(4, &stream[..cut]).0 < 0, "{cut}");
    }
    assert!(i.flows("TCP[").is_empty(), "{}", i.connection_info());
}

/// What a child with another library does: writes a stream, or reads one.
#[test]
fn state_job() {
    let Ok(job) = std::env::var(JOB) else { return };
    let file = std::env::var(FILE).expect("the job names a file");
    let (conn, stream) = match job.as_str() {
        "save half closed" => saved_half_closed(),
        "load" => load_file(&file),
        _ => saved_with(job == "save in flight"),
    };
    let numbers = [conn.guest.port().into(), conn.snd_nxt, conn.rcv_nxt];
    let head: Vec<u8> = numbers.iter().flat_map(|n: &u32| n.to_be_bytes()).collect();
    std::fs::write(file, [head, stream].concat()).expect("the file can be written");
}

/// The guest has ended its direction, and hears on.
fn saved_half_closed() -> (Conn, Vec<u8>) {
    let (i, mut conn) = spoken(false);
    conn.send(&i, FIN | ACK, b"");
    conn.expect_acked(&i);
    (conn, save(&i))
}

/// Goes on with the connection of a file. Gives it, and the state of then.
fn load_file(file: &str) -> (Conn, Vec<u8>) {
    let bytes = std::fs::read(file).expect("the other library wrote it");
    let (head, stream) = bytes.split_at(12);
    let any = Setup::default().start();
    let mut conn = Conn::new(&any, at(FORWARD, PORT));
    conn.guest.set_port(be32(head, 0) as u16);
    conn.snd_nxt = be32(head, 4);
    conn.rcv_nxt = be32(head, 8);
    let stream = go_on(&mut conn, stream);
    (conn, stream)
}

/// Runs [`state_job`] in a child with `library`.
fn job(job: &str, library: &str, file: &str) {
    let exe = std::env::current_exe().expect("the test executable has a path");
    let output = Command::new(exe)
        .args(["--exact", "state_job", "--nocapture", "--test-threads=1"])
        .env(JOB, job)
        .env(FILE, file)
        .env("SLIRP_LIB", library)
        .stdin(Stdio::null())
        .output()
        .expect("the test executable can be started again");
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && text.contains("1 passed"), "{job} with {library}:\n{text}");
}

#[test]
fn state_moves_between_upstream_and_this_library_and_back() {
    if !std::path::Path::new(UPSTREAM).exists() {
        eprintln!("SKIPPED: no {UPSTREAM} to exchange streams with");
        return;
    }
    let ours = library().path.to_str().expect("a path in UTF-8").to_string();
    let file = std::env::temp_dir().join(format!("slirp-state-{}", std::process::id()));
    let file = file.to_str().expect("a path in UTF-8");
    for (from, to) in [(UPSTREAM, ours.as_str()), (ours.as_str(), UPSTREAM)] {
        job("save in flight", from, file);
        job("load", to, file);
        // Upstream loses what is in flight, so there is no going on with that.
        for what in ["save", "save half closed"] {
            job(what, from, file);
            for hop in [to, from, to] {
                job("load", hop, file);
            }
        }
    }
    let _ = std::fs::remove_file(file);
}

/// Where the numbers of a connection's record are in a stream of one connection: all but the buffers' bytes.
fn numbers() -> impl Iterator<Item = usize> {
    (0..0x2c).chain(0x20174..0x20184).chain(0x402cc..ONE)
}

/// Has a loaded connection send, receive and repeat, and checks the frames.
fn exercise(i: &Instance, conn: &mut Conn) {
    let check = |frames: std::collections::VecDeque<Vec<u8>>| {
        for frame in frames {
            assert!(frame.len() <= 1514, "a frame of {} bytes on a link with an MTU of 1500", frame.len());
        }
    };
    let room = i.can_recv(FORWARD, PORT);
    if room > 0 {
        i.socket_recv(FORWARD, PORT, &vec![7; room.min(40_000)]);
    }
    for data in [&b""[..], b"data", &[7; 1000]] {
        conn.send(i, ACK | PSH, data);
        check(i.drain_raw());
    }
    for _ in 0..4 {
        i.move_clock(Duration::from_secs(20));
        i.turn(Duration::ZERO);
        check(i.drain_raw());
    }
    assert_eq!(i.save_state().0, 0);
    // Still there; the state may have said that the guest is elsewhere.
    i.input(&arp(2, GUEST_MAC, GUEST, VHOST_MAC, VHOST));
    let pong = i.answer(&Ip::new(VHOST, ICMP).frame(&echo_request(1, 1, b"there?")));
    assert!(pong.iter().any(|f| f.icmp().is_some()), "{pong:?}");
}

#[test]
fn earnest_3_4_the_segment_size_of_a_loaded_connection_is_bounded() {
    for mss in [1461u16, 20_000, 60_000, 65_535] {
        let (mut conn, mut stream) = saved();
        stream[0x402dc..0x402de].copy_from_slice(&mss.to_be_bytes());
        let (i, _) = with_forward();
        assert_eq!(i.load_state(4, &stream).0, 0);
        if library().upstream {
            println!("SKIPPED: upstream sends frames as long as the state says");
            return;
        }
        // What it had in flight comes first, and opens the window.
        assert_eq!(conn.receive(&i, 12).1, b"pong-unacked");
        i.socket_recv(FORWARD, PORT, &pattern(20_000));
        let (sizes, bytes) = conn.receive(&i, 20_000);
        assert!(bytes == pattern(20_000));
        assert!(sizes.iter().all(|&size| size <= 1460), "{sizes:?}");
    }
}

#[test]
fn earnest_3_4_any_numbers_load_to_an_error_or_to_a_connection_within_bounds() {
    if !ours("state-truncated") {
        return;
    }
    const ROUNDS: usize = if cfg!(debug_assertions) { 150 } else { 600 };
    let (conn, stream) = saved();
    let places: Vec<usize> = numbers().collect();
    let mut seed = 0x2545_f491_4f6c_dd1d_u64;
    let mut random = move |below: usize| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        (seed % below as u64) as usize
    };
    let mut loaded = 0;
    for round in 0..ROUNDS {
        let mut changed = stream.clone();
        for _ in 0..1 + random(4) {
            let byte = [0, 1, 0x7f, 0x80, 0xff, random(256) as u8][random(6)];
            // Half of the changes are to the variables of TCP, which are few among the numbers.
            let place = if random(2) == 0 { places[random(places.len())] } else { 0x402cc + random(0x77) };
            changed[place] = byte;
        }
        let (i, _) = with_forward();
        let (result, _) = i.load_state(4, &changed);
        assert!(result <= 0, "round {round}");
        loaded += usize::from(result == 0);
        let mut conn = Conn { snd_nxt: conn.snd_nxt, rcv_nxt: conn.rcv_nxt, ..Conn::new(&i, conn.peer) };
        conn.guest.set_port(u16::from_ne_bytes([changed[19], changed[20]]).swap_bytes());
        exercise(&i, &mut conn);
    }
    assert!(loaded > ROUNDS / 4, "{loaded} of {ROUNDS}");
}

/// A connection to what is no guest, as a state that was tampered with has it, would make frames to others.
#[test]
fn earnest_3_4_a_connection_to_what_is_no_guest_is_refused() {
    if !ours("state-truncated") {
        return;
    }
    let (_, stream) = saved();
    for (address, port) in [
        ([255, 255, 255, 255], 3000u16),
        ([224, 0, 0, 1], 3000),
        ([0, 0, 0, 0], 3000),
        ([127, 0, 0, 1], 3000),
        ([10, 0, 2, 2], 3000),
        ([10, 0, 2, 100], 3000),
        ([10, 0, 2, 255], 3000),
        ([10, 0, 2, 15], 0),
    ] {
        let mut changed = stream.clone();
        changed[15..19].copy_from_slice(&u32::from_ne_bytes(address).to_be_bytes());
        changed[19..21].copy_from_slice(&u16::from_ne_bytes(port.to_be_bytes()).to_be_bytes());
        let (i, _) = with_forward();
        assert_eq!(i.load_state(4, &changed).0, -22, "{address:?}:{port}");
        assert!(i.flows("TCP[").is_empty(), "{}", i.connection_info());
    }
}

/// What the header says of a state that ends early.
#[test]
fn earnest_header_a_state_that_ends_early_is_an_input_error() {
    if !ours("state-truncated") {
        return;
    }
    let (_, stream) = saved();
    let (i, _) = with_forward();
    assert_eq!(i.load_state(4, &stream[..1000]).0, -libc::EIO);
    assert_eq!(i.load_state(4, &[]).0, -libc::EIO);
}
