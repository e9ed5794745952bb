//! Faults of the host that end: while they last nothing that was acknowledged is lost without a word, and afterwards
//! everything works as before. The faults are made by `tests/common/faults.rs`.

mod common;
use common::*;
use smoltcp::iface::SocketHandle;
use smoltcp::socket::tcp;
use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};

both_families![
    earnest_3_2_a_host_without_memory_is_asked_again_and_no_byte_is_lost,
    earnest_3_2_a_host_without_memory_for_a_read_loses_no_byte,
    earnest_3_2_a_final_error_resets_both_sides,
    earnest_3_2_a_final_error_of_a_read_resets_both_sides,
    earnest_3_2_an_end_that_cannot_be_passed_on_is_a_reset,
    earnest_3_2_a_download_goes_on_while_the_host_takes_nothing,
    earnest_3_2_the_window_closes_and_the_host_is_not_asked_all_the_time,
    earnest_3_2_urgent_data_waits_for_memory_too,
    earnest_3_1_udp_is_as_before_when_the_host_has_sockets_again,
    earnest_3_1_tcp_is_as_before_when_the_host_has_sockets_again,
    earnest_3_1_forwards_are_as_before_when_the_host_has_descriptors_again,
    earnest_3_8_forwards_are_removed_without_asking_every_socket,
];

/// What ends by itself.
const PASSING: [i32; 2] = [libc::ENOBUFS, libc::ENOMEM];
/// What does not.
const FINAL: [i32; 4] = [libc::EPERM, libc::EACCES, libc::EIO, libc::EINVAL];
const FWD: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 100);

fn network(family: Family) -> Box<Instance> {
    family.setup().real_clock().silent().start()
}

/// A connection of the guest to a listener on the host, and both ends.
fn connected(guest: &mut SmolGuest, family: Family) -> (SocketHandle, TcpStream) {
    let (listener, port) = family.tcp_listener();
    let handle = guest.connect(256 << 10, family.at_vhost(port));
    let host = guest.until("the connection at the host", |_| listener.accept().ok()).0;
    host.set_nonblocking(true).unwrap();
    (handle, host)
}

/// What the host reads until its end, and whether that is in order.
fn read_to_end(guest: &mut SmolGuest, host: &mut TcpStream) -> (Vec<u8>, End) {
    let mut bytes = Vec::new();
    let mut buffer = [0; 65536];
    let end = guest.until("the end at the host", |_| {
        loop {
            match host.read(&mut buffer) {
                Ok(0) => return Some(End::Eof),
                Ok(n) => bytes.extend_from_slice(&buffer[..n]),
                Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => return None,
                Err(_) => return Some(End::Reset),
            }
        }
    });
    (bytes, end)
}

fn hits(guest: &mut SmolGuest, fault: &Fault, count: usize) {
    guest.until("the fault to be met", |_| (fault.hits() >= count).then_some(()));
}

fn earnest_3_2_a_host_without_memory_is_asked_again_and_no_byte_is_lost(family: Family) {
    if !ours("host-errors") {
        return;
    }
    for errno in PASSING {
        let i = network(family);
        let mut guest = SmolGuest::configured(&i, 1500, family);
        let (handle, mut host) = connected(&mut guest, family);
        let data = pattern(300_000);
        guest.send_all(handle, &data[..1000]);
        let fault = Fault::on(Call::Send, errno);
        guest.send_all(handle, &data[1000..200_000]);
        hits(&mut guest, &fault, 4);
        drop(fault);
        guest.send_all(handle, &data[200_000..]);
        guest.tcp(handle).close();
        let (bytes, end) = read_to_end(&mut guest, &mut host);
        assert!(bytes == data, "{errno}: {} of {} bytes", bytes.len(), data.len());
        assert_eq!(end, End::Eof);
        host.write_all(b"and back").unwrap();
        assert_eq!(guest.receive(handle, 8), b"and back");
    }
}

fn earnest_3_2_a_host_without_memory_for_a_read_loses_no_byte(family: Family) {
    if !ours("host-errors") {
        return;
    }
    for errno in PASSING {
        let i = network(family);
        let mut guest = SmolGuest::configured(&i, 1500, family);
        let (handle, mut host) = connected(&mut guest, family);
        let data = pattern(100_000);
        let fault = Fault::on(Call::Receive, errno);
        let mut sent = 0;
        guest.until("the host's data to be sent", |_| {
            sent += host_write_some(&mut host, &data[sent..]);
            (sent == data.len()).then_some(())
        });
        drop(host);
        hits(&mut guest, &fault, 4);
        drop(fault);
        assert!(guest.receive(handle, data.len()) == data);
        guest.until("the end at the guest", |g| (g.tcp(handle).state() == tcp::State::CloseWait).then_some(()));
    }
}

fn earnest_3_2_a_final_error_resets_both_sides(family: Family) {
    if !ours("host-errors") {
        return;
    }
    for errno in FINAL {
        let i = network(family);
        let mut guest = SmolGuest::configured(&i, 1500, family);
        let (handle, mut host) = connected(&mut guest, family);
        guest.send_all(handle, b"first");
        let mut first = [0; 5];
        guest.until("the first bytes", |_| host.read_exact(&mut first).ok());
        let fault = Fault::on(Call::Send, errno);
        guest.send_all(handle, b"second");
        // The guest ends as well: that is not to make an orderly end of it.
        guest.tcp(handle).close();
        assert_eq!(read_to_end(&mut guest, &mut host), (vec![], End::Reset), "{errno}");
        assert!(fault.hits() > 0);
        guest.until("the reset at the guest", |g| (g.tcp(handle).state() == tcp::State::Closed).then_some(()));
        assert!(i.flows("TCP[").is_empty());
        let (added, removed) = i.registrations();
        assert_eq!(added, removed);
    }
}

fn earnest_3_2_a_final_error_of_a_read_resets_both_sides(family: Family) {
    if !ours("host-errors") {
        return;
    }
    for errno in FINAL {
        let i = network(family);
        let mut guest = SmolGuest::configured(&i, 1500, family);
        let (handle, mut host) = connected(&mut guest, family);
        let fault = Fault::on(Call::Receive, errno);
        host.write_all(b"unheard").unwrap();
        hits(&mut guest, &fault, 1);
        guest.until("the reset at the guest", |g| (g.tcp(handle).state() == tcp::State::Closed).then_some(()));
        assert_eq!(read_to_end(&mut guest, &mut host), (vec![], End::Reset), "{errno}");
    }
}

fn earnest_3_2_an_end_that_cannot_be_passed_on_is_a_reset(family: Family) {
    if !ours("host-errors") {
        return;
    }
    let i = network(family);
    let mut guest = SmolGuest::configured(&i, 1500, family);
    let (handle, mut host) = connected(&mut guest, family);
    guest.send_all(handle, b"all");
    let fault = Fault::on(Call::Shutdown, libc::EIO);
    guest.tcp(handle).close();
    assert_eq!(read_to_end(&mut guest, &mut host), (b"all".to_vec(), End::Reset));
    assert_eq!(fault.hits(), 1);
}

fn earnest_3_2_a_download_goes_on_while_the_host_takes_nothing(family: Family) {
    if !ours("host-errors") {
        return;
    }
    let i = network(family);
    let mut guest = SmolGuest::configured(&i, 1500, family);
    let (handle, mut host) = connected(&mut guest, family);
    let data = pattern(2 << 20);
    let fault = Fault::on(Call::Send, libc::ENOBUFS);
    guest.send_all(handle, b"question");
    hits(&mut guest, &fault, 1);
    let (mut sent, mut got) = (0, Vec::new());
    guest.until("the download", |g| {
        sent += host_write_some(&mut host, &data[sent..]);
        let socket = g.tcp(handle);
        while socket.can_recv() {
            socket.recv(|b| (b.len(), got.extend_from_slice(b))).unwrap();
        }
        (got.len() >= data.len()).then_some(())
    });
    assert!(got == data);
    drop(fault);
    let mut question = [0; 8];
    guest.until("the question at the host", |_| host.read_exact(&mut question).ok());
    assert_eq!(&question, b"question");
}

/// Bytes that the host has no memory for fill the window, which closes; the host is not asked in every round; and a guest
/// that comes back meanwhile finds its connection.
fn earnest_3_2_the_window_closes_and_the_host_is_not_asked_all_the_time(family: Family) {
    if !ours("host-errors") {
        return;
    }
    let i = family.greeted();
    let (mut guest, mut host) = Party::with_host(&i, family);
    let fault = Fault::on(Call::Send, libc::ENOBUFS);
    let mut sent = Vec::new();
    // What the window ends at, as far as the guest has heard.
    let mut edge = guest.seq + 1;
    for round in 0..10_000 {
        let room = edge.wrapping_sub(guest.seq) as usize;
        if room == 0 {
            break;
        }
        assert!(round < 9_999, "the window never closes");
        let data = vec![round as u8; room.min(1400)];
        guest.send(&i, PSH | ACK, &data);
        sent.extend(data);
        i.turn(Duration::ZERO);
        edge = guest.all(&i).last().map_or(edge, |s| s.ack.wrapping_add(s.window.into()));
    }
    assert!(sent.len() > 20_000, "only {} bytes have room", sent.len());
    let before = fault.hits();
    for _ in 0..1000 {
        i.turn(Duration::ZERO);
    }
    assert_eq!(fault.hits(), before, "no time has passed");
    i.advance(Duration::from_secs(20));
    assert!((20..60).contains(&(fault.hits() - before)), "{} tries in 20 s", fault.hits() - before);
    drop(fault);
    i.advance(Duration::from_secs(1));
    assert!(host_read(&i, &mut host, sent.len()) == sent);
    guest.send(&i, PSH | ACK, b"more");
    assert_eq!(host_read(&i, &mut host, 4), b"more");
}

fn earnest_3_2_urgent_data_waits_for_memory_too(family: Family) {
    if !ours("host-errors") {
        return;
    }
    for (errno, kept) in [(libc::ENOBUFS, true), (libc::ENOMEM, true), (libc::EPERM, false)] {
        let i = family.greeted();
        let (mut guest, mut host) = Party::with_host(&i, family);
        guest.urgent = 6;
        socket2::SockRef::from(&host).set_out_of_band_inline(true).unwrap();
        let fault = Fault::on(Call::Send, errno);
        guest.send(&i, PSH | ACK | URG, b"urgent");
        i.advance(Duration::from_millis(100));
        assert!(fault.hits() > 0);
        drop(fault);
        i.advance(Duration::from_secs(1));
        if kept {
            assert_eq!(host_read(&i, &mut host, 6), b"urgent");
        } else {
            assert_eq!(host_end(&i, &mut host), (vec![], End::Reset));
            guest.expect(&i, "a reset", |s| s.has(RST));
        }
    }
}

/// A Unix listener behind a guest forward, and the connection of a guest with it.
fn unix_forward(i: &Instance, name: &str) -> (Conn, UnixStream) {
    let path = std::env::temp_dir().join(format!("slirp-faults-{}-{name}", std::process::id()));
    let _ = std::fs::remove_file(&path);
    let listener = UnixListener::bind(&path).unwrap();
    add_target(i, true, FWD, path.to_str().unwrap());
    let conn = Conn::connect(i, at(FWD, 1000));
    i.settle();
    let (host, _) = listener.accept().unwrap();
    std::fs::remove_file(&path).unwrap();
    host.set_nonblocking(true).unwrap();
    (conn, host)
}

#[test]
fn earnest_3_2_unix_sockets_and_commands_lose_no_byte() {
    if !ours("host-errors") {
        return;
    }
    for errno in PASSING {
        let i = Setup::default().start();
        let (mut conn, mut host) = unix_forward(&i, "passing");
        let fault = Fault::on(Call::Send, errno);
        conn.data(&i, b"for the socket");
        i.advance(Duration::from_millis(100));
        assert!(fault.hits() > 0);
        conn.send(&i, FIN | ACK, b"");
        drop(fault);
        i.advance(Duration::from_secs(1));
        let mut bytes = Vec::new();
        host.read_to_end(&mut bytes).unwrap();
        assert_eq!(bytes, b"for the socket");

        let i = Setup::default().start();
        add_target(&i, false, FWD, "cat");
        let mut conn = Conn::connect(&i, at(FWD, 1000));
        i.settle();
        let fault = Fault::on(Call::Send, errno);
        conn.data(&i, b"for the command");
        i.advance(Duration::from_millis(100));
        assert!(fault.hits() > 0);
        drop(fault);
        i.advance(Duration::from_secs(1));
        assert_eq!(conn.receive(&i, 15).1, b"for the command");
    }
}

/// The connection with a command is made in this process; a kernel that takes its time for that, or a filter that drops what
/// goes over the loopback, holds nobody up.
#[test]
fn earnest_3_10_the_connection_with_a_command_is_not_waited_for() {
    const NAME: &str = "earnest_3_10_the_connection_with_a_command_is_not_waited_for";
    if !ours("host-errors") || !isolated(NAME, Isolation::Process) {
        return;
    }
    let i = Setup::default().start();
    add_target(&i, false, FWD, "cat");
    let before = child::open_descriptors();
    // It comes late: nothing is lost.
    let fault = Fault::on(Call::Accept, libc::EAGAIN);
    let mut conn = Conn::connect(&i, at(FWD, 1000));
    conn.data(&i, b"early");
    for _ in 0..3 {
        let hits = fault.hits();
        i.move_clock(Duration::from_millis(100));
        i.turn(Duration::ZERO);
        assert_eq!(fault.hits(), hits + 1, "one try each time");
    }
    drop(fault);
    i.advance(Duration::from_millis(100));
    conn.data(&i, b" late");
    assert_eq!(conn.receive(&i, 10).1, b"early late");
    conn.send(&i, RST, b"");
    i.settle();
    // It never comes: the guest is told after a second, and nothing is left. The same when the guest goes first.
    for patient in [true, false] {
        let fault = Fault::on(Call::Accept, libc::EAGAIN);
        let mut conn = Conn::connect(&i, at(FWD, 1000));
        i.turn(Duration::ZERO);
        assert!(fault.hits() > 0 && child::open_descriptors() > before, "it is being made");
        if patient {
            i.advance(Duration::from_millis(900));
            assert!(child::open_descriptors() > before, "it may still come");
            i.advance(Duration::from_millis(500));
            conn.expect_fin(&i);
        } else {
            conn.send(&i, RST, b"");
            i.settle();
        }
        assert_eq!(child::open_descriptors(), before);
    }
}

#[test]
fn earnest_3_2_a_final_error_behind_a_guest_forward_resets_the_guest() {
    if !ours("host-errors") {
        return;
    }
    for errno in FINAL {
        let i = Setup::default().start();
        let (mut conn, _host) = unix_forward(&i, "final");
        let _fault = Fault::on(Call::Send, errno);
        conn.data(&i, b"for the socket");
        conn.expect(&i, "a reset", |s| s.has(RST));
    }
}

/// A Unix peer that reads no more may still have something to say: the guest gets it, and then hears that its own bytes
/// were not read.
#[test]
fn earnest_3_2_a_peer_that_stops_reading_is_heard_out() {
    if !ours("host-errors") {
        return;
    }
    let i = Setup::default().start();
    let (mut conn, mut host) = unix_forward(&i, "deaf");
    host.shutdown(std::net::Shutdown::Read).unwrap();
    conn.data(&i, b"to deaf ears");
    i.settle();
    host.write_all(b"last words").unwrap();
    assert_eq!(conn.receive(&i, 10).1, b"last words");
    drop(host);
    conn.expect(&i, "a reset", |s| s.has(RST));
}

/// Bytes for a command that cannot be started are not acknowledged and forgotten.
#[test]
fn earnest_3_2_bytes_for_what_cannot_be_attached_are_answered_by_a_reset() {
    if !ours("host-errors") {
        return;
    }
    let i = Setup::default().start();
    add_target(&i, false, FWD, "/no/such/program");
    let mut conn = Conn::connect(&i, at(FWD, 1000));
    conn.expect_fin(&i);
    conn.data(&i, b"anybody?");
    conn.expect(&i, "a reset", |s| s.has(RST));
}

// ---- 3.1, 3.6, 3.9: what ran out comes back ----

/// Adding to the poller, where there is one.
fn watch() -> Option<Call> {
    (std::env::var("OXISLIRP_POLL").as_deref() != Ok("direct")).then_some(Call::Watch)
}

const LACKS: [i32; 4] = [libc::EMFILE, libc::ENFILE, libc::ENOMEM, libc::ENOBUFS];

/// Eight questions from ports that were not used before, and how many answers the guest gets.
fn answers(i: &Instance, family: Family, first: u16) -> usize {
    let (peer, port) = family.udp_peer();
    for n in 0..8 {
        i.input(&family.udp_frame(first + n, family.at_vhost(port), b"question"));
    }
    i.settle();
    let mut buffer = [0; 64];
    while let Ok((length, from)) = peer.recv_from(&mut buffer) {
        peer.send_to(&buffer[..length], from).unwrap();
    }
    i.settle();
    i.drain().iter().filter(|f| family.udp_of(f).is_some()).count()
}

fn earnest_3_1_udp_is_as_before_when_the_host_has_sockets_again(family: Family) {
    if !ours("host-errors") {
        return;
    }
    for call in [Call::Socket].into_iter().chain(watch()) {
        for errno in LACKS {
            let i = family.greeted();
            i.registrations();
            assert_eq!(answers(&i, family, 20_000), 8);
            let fault = Fault::on(call, errno);
            for first in [21_000, 22_000, 23_000] {
                assert_eq!(answers(&i, family, first), 0);
            }
            assert!(fault.hits() >= 24, "{}", fault.hits());
            drop(fault);
            assert_eq!(answers(&i, family, 24_000), 8, "{call:?}, {errno}");
            assert_eq!(answers(&i, family, 25_000), 8);
            i.cleanup();
            let (mut added, mut removed) = i.registrations();
            added.sort_unstable();
            removed.sort_unstable();
            assert_eq!(added, removed, "{call:?}: each descriptor is taken back once");
        }
    }
}

fn earnest_3_1_tcp_is_as_before_when_the_host_has_sockets_again(family: Family) {
    if !ours("host-errors") {
        return;
    }
    for call in [Call::Socket, Call::Connect].into_iter().chain(watch()) {
        for errno in LACKS {
            let i = network(family);
            let mut guest = SmolGuest::configured(&i, 1500, family);
            i.registrations();
            let (listener, port) = family.tcp_listener();
            let fault = Fault::on(call, errno);
            let refused = guest.start_connect(4096, family.at_vhost(port));
            guest.until("the refusal", |g| (g.tcp(refused).state() == tcp::State::Closed).then_some(()));
            assert!(fault.hits() > 0);
            drop(fault);
            while listener.accept().is_ok() {}
            let handle = guest.connect(4096, family.at_vhost(port));
            let mut host = guest.until("the connection at the host", |_| listener.accept().ok()).0;
            host.write_all(b"as before").unwrap();
            assert_eq!(guest.receive(handle, 9), b"as before");
            i.cleanup();
            let (mut added, mut removed) = i.registrations();
            added.sort_unstable();
            removed.sort_unstable();
            assert_eq!(added, removed, "{call:?}: each descriptor is taken back once");
        }
    }
}

/// A client that came while there was no descriptor waits, the application's loop is not kept busy, and the client is
/// served when there are descriptors again.
fn earnest_3_1_forwards_are_as_before_when_the_host_has_descriptors_again(family: Family) {
    if !ours("host-errors") {
        return;
    }
    for errno in LACKS {
        let i = family.greeted();
        let probe = family.tcp_listener().1;
        let place = std::net::SocketAddr::from((family.loopback(), probe));
        assert_eq!(hostxfwd(&i, place, (family.guest(), 80).into(), 0), Ok(()));
        let fault = Fault::on(Call::Accept, errno);
        let _client = TcpStream::connect(place).unwrap();
        i.until("the fault to be met", || (fault.hits() > 0).then_some(()));
        let before = fault.hits();
        for _ in 0..1000 {
            i.turn(Duration::ZERO);
        }
        assert_eq!(fault.hits(), before, "a paused listener is left alone");
        let filled = i.fill(1000);
        if std::env::var("OXISLIRP_POLL").as_deref() == Ok("direct") {
            assert!(filled.wanted.is_empty(), "{filled:?}");
        }
        assert!(filled.timeout > 0, "the application may sleep");
        drop(fault);
        i.poll_with(true, &vec![0; filled.wanted.len()]);
        i.advance(Duration::from_millis(300));
        i.settle();
        let frames = i.drain();
        let syn = |f: &Frame| {
            f.tcp().is_some_and(|s| s.flags == SYN) || packet6(f).and_then(|p| p.tcp()).is_some_and(|s| s.flags == SYN)
        };
        assert!(frames.iter().any(syn), "{errno}: {frames:?}");
    }
}

/// The way of the report: a process with 256 descriptors whose guest opens 300 connections, sends datagrams and ends.
#[test]
fn earnest_3_1_a_guest_cannot_use_the_descriptors_up_for_good() {
    const NAME: &str = "earnest_3_1_a_guest_cannot_use_the_descriptors_up_for_good";
    if !ours("host-errors") || !isolated(NAME, Isolation::Process) {
        return;
    }
    let i = Setup::default().start();
    assert_eq!(answers(&i, Family::V4, 20_000), 8);
    let (listener, port) = tcp_listener();
    // SAFETY: the structure is valid.
    unsafe {
        let mut limit: libc::rlimit = std::mem::zeroed();
        libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit);
        limit.rlim_cur = 256;
        assert_eq!(libc::setrlimit(libc::RLIMIT_NOFILE, &limit), 0);
    }
    let mut conns: Vec<Conn> = (0..300)
        .map(|_| {
            let mut conn = Conn::new(&i, at_vhost(port));
            conn.syn(&i, &mss_option(1460));
            conn
        })
        .collect();
    for n in 0..40 {
        i.input(&udp_frame(30_000 + n, at_vhost(9), b"nobody"));
    }
    i.settle();
    i.drain();
    for conn in &mut conns {
        i.input(&Segment { seq: conn.snd_nxt, ..conn.segment(RST, b"") }.frame());
        i.input(&Segment { seq: conn.snd_nxt, ..conn.segment(RST | ACK, b"") }.frame());
    }
    drop(listener);
    i.advance(Duration::from_secs(80));
    i.settle();
    i.drain();
    assert_eq!(answers(&i, Family::V4, 40_000), 8);
}

// ---- 3.8 ----

/// Removing forwards costs no look at the others: no socket is asked for its address.
fn earnest_3_8_forwards_are_removed_without_asking_every_socket(family: Family) {
    if !ours("host-errors") {
        return;
    }
    for udp in [HOSTFWD_UDP, 0] {
        let i = family.setup().start();
        let mut places = Vec::new();
        let counted = Fault::count(Call::SocketName);
        for n in 0..300u16 {
            let probe = if udp == HOSTFWD_UDP { family.udp_peer().1 } else { family.closed_port() };
            let place = std::net::SocketAddr::from((family.loopback(), probe));
            if hostxfwd(&i, place, (family.guest(), 1000 + n).into(), udp).is_ok() {
                places.push(place);
            }
        }
        assert!(places.len() > 250);
        let before = counted.hits();
        for place in places.iter().rev() {
            assert_eq!(remove_hostxfwd(&i, *place, udp), 0);
            assert_eq!(remove_hostxfwd(&i, *place, udp), -1, "it is gone");
        }
        assert_eq!(counted.hits(), before);
    }
}
