//! TCP with guests and peers as people have them: they fall silent and vanish (RFC 9293
//! section 3.8.4). How they begin anew is in `inproc_tcp_beginnings.rs`. On a virtual clock.

mod common;
use common::target::{FORWARD, callback_party, reloaded, with_callback};
use common::*;
use std::io::{Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr};
use std::os::unix::net::{UnixListener, UnixStream};

both_families![
    earnest_4_b_a_unix_client_waits_too,
    earnest_4_b_a_host_that_half_closed_waits_for_the_guests_answer,
    earnest_4_b_a_guest_that_vanished_is_a_reset_to_a_host_that_half_closed,
    earnest_4_b_a_client_of_a_host_forward_that_half_closed_waits_for_the_answer,
    earnest_4_b_a_guest_that_moved_to_another_station_is_asked_there,
    earnest_4_g_a_guest_that_half_closed_waits_for_the_hosts_answer,
    earnest_4_g_a_guest_that_closed_and_is_gone_frees_its_connection,
    earnest_4_g_what_a_guest_sent_before_it_went_arrives,
    earnest_4_g_an_idle_connection_of_a_guest_that_started_anew_ends,
    earnest_4_g_the_host_of_a_half_closed_connection_is_asked_too,
];

/// How long a guest that is gone may keep a half-closed connection.
const BOUND: Duration = minutes(20);

const fn minutes(n: u64) -> Duration {
    Duration::from_secs(60 * n)
}

/// Time passes; a guest that lives and has nothing to say answers what asks for it. How often it did.
fn live(i: &Instance, party: &mut Party, time: Duration) -> usize {
    let step = Duration::from_secs(5);
    let mut answered = 0;
    for _ in 0..time.as_secs() / step.as_secs() {
        i.advance(step);
        answered += party.answer(i);
    }
    answered
}

/// Time passes until the connection is no longer listed, at most [`BOUND`]; the guest does not say a word. How long it took,
/// and what came for the guest.
fn vanish(i: &Instance, party: &Party) -> (Duration, Vec<Heard>) {
    let step = Duration::from_secs(5);
    let (mut took, mut heard) = (Duration::ZERO, Vec::new());
    while party.listed(i, "") {
        assert!(took <= BOUND, "it is there after {took:?}: {}", i.connection_info());
        i.advance(step);
        took += step;
        heard.extend(party.all(i));
    }
    (took, heard)
}

/// Time passes until the guest is asked whether it is alive. The host's kernel, whose time is the real one, may still have
/// something to do first.
fn question(i: &Instance, party: &Party) -> Heard {
    for _ in 0..BOUND.as_secs() / 5 {
        i.advance(Duration::from_secs(5));
        i.turn(Duration::from_millis(5));
        if let Some(question) = party.all(i).into_iter().next() {
            return question;
        }
    }
    panic!("it was not asked: {}", i.connection_info());
}

/// The questions are seq - 1, and the last of what came is a reset.
fn check_questions(heard: &[Heard], party: &Party) {
    let (last, questions) = heard.split_last().expect("the guest was asked");
    assert!(last.has(RST) && last.seq == party.ack, "{last:?}");
    assert!((3..=20).contains(&questions.len()), "{questions:?}");
    for s in questions {
        assert_eq!((s.seq, s.ack, s.payload.len()), (party.ack.wrapping_sub(1), party.seq, 0), "{s:?}");
        assert!(s.flags & !FIN == ACK, "{s:?}");
    }
}

/// `nc -N`, rsh: the host sends its request and ends its direction; the answer takes long.
fn earnest_4_b_a_host_that_half_closed_waits_for_the_guests_answer(family: Family) {
    if !ours("half-closed") {
        return;
    }
    let i = family.setup().start();
    // With a guest whose stack answers, for as long as it may take; and with one that is stopped for four minutes.
    for stopped in [false, true] {
        let (mut party, mut host) = Party::with_host(&i, family);
        host.write_all(b"request").unwrap();
        host.shutdown(Shutdown::Write).unwrap();
        assert_eq!(party.receive(&i, 7), b"request");
        party.expect_fin(&i);
        if stopped {
            i.advance(minutes(4));
            party.all(&i);
        } else {
            assert!(live(&i, &mut party, minutes(6 * 60)) > 100, "it was not asked");
        }
        assert!(party.listed(&i, "FIN_WAIT_2"), "{}", i.connection_info());
        party.send(&i, PSH | ACK, b"answer");
        assert_eq!(host_read(&i, &mut host, 6), b"answer");
        host_idle(&mut host);
        party.send(&i, FIN | ACK, b"");
        assert_eq!(host_end(&i, &mut host), (Vec::new(), End::Eof));
        i.advance(minutes(5));
        assert!(!party.listed(&i, ""), "{}", i.connection_info());
    }
}

fn earnest_4_b_a_guest_that_vanished_is_a_reset_to_a_host_that_half_closed(family: Family) {
    if !ours("half-closed") {
        return;
    }
    let i = family.setup().start();
    let (mut party, mut host) = Party::with_host(&i, family);
    party.send(&i, PSH | ACK, b"half an answer");
    assert_eq!(host_read(&i, &mut host, 14), b"half an answer");
    host.shutdown(Shutdown::Write).unwrap();
    party.expect_fin(&i);
    i.drain();
    i.registrations();
    let (took, heard) = vanish(&i, &party);
    assert!(took >= minutes(5), "{took:?} is too short for silence");
    check_questions(&heard, &party);
    assert_eq!(host_end(&i, &mut host), (Vec::new(), End::Reset));
    assert_eq!(i.registrations().1.len(), 1, "the descriptor was given back");
    // And where the guest says so itself.
    let (mut party, mut host) = Party::with_host(&i, family);
    host.shutdown(Shutdown::Write).unwrap();
    party.expect_fin(&i);
    i.drain();
    let question = question(&i, &party);
    party.send_at(&i, question.ack, RST, b"");
    assert_eq!(host_end(&i, &mut host), (Vec::new(), End::Reset));
    assert!(!party.listed(&i, ""));
}

/// A guest that does not answer may be elsewhere with the address it had: the link is asked for it.
fn earnest_4_b_a_guest_that_moved_to_another_station_is_asked_there(family: Family) {
    const ELSEWHERE: [u8; 6] = [0x52, 0x54, 0, 9, 9, 9];
    if !ours("half-closed") {
        return;
    }
    let i = family.setup().start();
    let (mut party, mut host) = Party::with_host(&i, family);
    host.shutdown(Shutdown::Write).unwrap();
    party.expect_fin(&i);
    i.drain();
    // Only who asks for its address hears of it.
    let mut found = false;
    for _ in 0..BOUND.as_secs() / 5 {
        i.advance(Duration::from_secs(5));
        let frames = i.drain();
        let asks = |f: &Frame| match f {
            Frame::Arp { op: 1, tip, .. } => IpAddr::from(*tip) == family.guest(),
            other => packet6(other).is_some_and(|p| p.icmp() == Some((135, 0))),
        };
        if frames.iter().any(asks) {
            let mut answer = match family {
                Family::V4 => arp(2, ELSEWHERE, GUEST, VHOST_MAC, VHOST),
                Family::V6 => Ip6::ndp(GUEST6, VHOST6).icmp(&ndp_message(136, 0x60, Some(GUEST6), &[])),
            };
            answer[6..12].copy_from_slice(&ELSEWHERE);
            i.input(&answer);
        }
        let station = |f: &Frame| f.ip().map(|p| p.dst_mac).or_else(|| packet6(f).map(|p| p.dst_mac));
        if frames.iter().any(|f| party.heard(f).is_some() && station(f) == Some(ELSEWHERE)) {
            found = true;
            break;
        }
    }
    assert!(found && party.listed(&i, "FIN_WAIT_2"), "{}", i.connection_info());
    party.send(&i, PSH | ACK, b"answer");
    assert_eq!(host_read(&i, &mut host, 6), b"answer");
}

fn earnest_4_b_a_client_of_a_host_forward_that_half_closed_waits_for_the_answer(family: Family) {
    if !ours("half-closed") {
        return;
    }
    let i = family.setup().start();
    if family == Family::V6 {
        i.greet6(GUEST6);
    }
    let port = family.closed_port();
    hostxfwd(&i, (family.loopback(), port).into(), (family.guest(), 80).into(), 0).unwrap();
    let client = || {
        let stream = TcpStream::connect((family.loopback(), port)).unwrap();
        stream.set_nonblocking(true).unwrap();
        stream
    };
    let mut host = client();
    let mut party = Party::accept(&i, family, 80);
    host.shutdown(Shutdown::Write).unwrap();
    party.expect_fin(&i);
    assert!(live(&i, &mut party, minutes(60)) > 10, "it was not asked");
    party.send(&i, PSH | ACK, b"late");
    assert_eq!(host_read(&i, &mut host, 4), b"late");
    party.all(&i);
    check_questions(&vanish(&i, &party).1, &party);
    assert_eq!(host_end(&i, &mut host), (Vec::new(), End::Reset));
}

/// Guest forwards are there for IPv4 only; what is behind one gets what a host does.
#[test]
fn earnest_4_b_what_is_behind_a_guest_forward_waits_too() {
    if !ours("half-closed") {
        return;
    }
    let i = Setup::default().start();
    let folder = std::env::temp_dir().join(format!("oxislirp-guests-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join("socket");
    let _ = std::fs::remove_file(&path);
    let listener = UnixListener::bind(&path).unwrap();
    listener.set_nonblocking(true).unwrap();
    let text = std::ffi::CString::new(path.to_str().unwrap()).unwrap();
    let at_unix = Ipv4Addr::new(10, 0, 2, 101);
    // SAFETY: the string and the address are valid for the call.
    unsafe {
        let mut address = in_addr(at_unix);
        assert_eq!((library().slirp_add_unix)(i.slirp.get(), text.as_ptr(), &mut address, 7), 0);
    }
    let unix = |i: &Instance| -> (Party, UnixStream) {
        let party = Party::connect(i, Family::V4, at(at_unix, 7));
        let host = i.until("a connection of the Unix socket", || listener.accept().ok()).0;
        host.set_nonblocking(true).unwrap();
        (party, host)
    };
    // A guest that lives, and its answer after an hour.
    let (mut party, mut host) = unix(&i);
    host.shutdown(Shutdown::Write).unwrap();
    party.expect_fin(&i);
    assert!(live(&i, &mut party, minutes(60)) > 10, "it was not asked");
    party.send(&i, PSH | ACK, b"late");
    let mut buffer = [0; 16];
    assert_eq!(i.until("the answer", || host.read(&mut buffer).ok()), 4);
    party.all(&i);
    // One that is gone: all that a Unix socket knows is an end, and nobody takes what is sent.
    check_questions(&vanish(&i, &party).1, &party);
    assert_eq!(i.until("the end", || host.read(&mut buffer).ok()), 0);
    // A peer that has closed altogether: the guest hears that nobody reads what it sends.
    let (mut party, host) = unix(&i);
    drop(host);
    party.expect_fin(&i);
    party.all(&i);
    i.advance(minutes(3));
    assert!(party.all(&i).iter().any(|s| s.has(RST)), "the guest was not told");
    assert!(!party.listed(&i, ""), "{}", i.connection_info());
    let _ = std::fs::remove_dir_all(&folder);

    // A command that has ended its output.
    let line = std::ffi::CString::new("sh -c 'exec 1>&- 2>&-; cat > /dev/null'").unwrap();
    let at_command = Ipv4Addr::new(10, 0, 2, 102);
    // SAFETY: the string and the address are valid for the call.
    unsafe {
        let mut address = in_addr(at_command);
        assert_eq!((library().slirp_add_exec)(i.slirp.get(), line.as_ptr(), &mut address, 7), 0);
    }
    let mut party = Party::connect(&i, Family::V4, at(at_command, 7));
    assert_eq!(live(&i, &mut party, minutes(60)), 0, "nothing has ended");
    party.send(&i, FIN | ACK, b"");
    party.expect_fin(&i);
    i.advance(minutes(5));
    assert!(!party.listed(&i, ""), "{}", i.connection_info());
}

/// A Unix host forward's client half-closes. It has no address, so the guest is shown the virtual host; nothing else differs.
fn earnest_4_b_a_unix_client_waits_too(family: Family) {
    if !ours("half-closed") {
        return;
    }
    let i = family.greeted();
    let path = std::env::temp_dir().join(format!("oxislirp-client-{}-{family:?}", std::process::id()));
    let name = socket2::SockAddr::unix(&path).unwrap();
    let guest = socket2::SockAddr::from(SocketAddr::from((family.guest(), 80)));
    // SAFETY: both addresses are valid for their lengths.
    let added = unsafe {
        (library().slirp_add_hostxfwd)(
            i.slirp.get(),
            name.as_ptr().cast(),
            name.len(),
            guest.as_ptr().cast(),
            guest.len(),
            0,
        )
    };
    assert_eq!(added, 0);
    let mut host = UnixStream::connect(&path).unwrap();
    host.set_nonblocking(true).unwrap();
    let mut party = Party::accept(&i, family, 80);
    assert_eq!(party.peer.ip(), family.vhost());
    host.shutdown(Shutdown::Write).unwrap();
    party.expect_fin(&i);
    assert!(live(&i, &mut party, minutes(60)) > 10, "it was not asked");
    party.send(&i, PSH | ACK, b"late");
    let mut buffer = [0; 16];
    assert_eq!(i.until("the answer", || host.read(&mut buffer).ok()), 4);
    party.all(&i);
    check_questions(&vanish(&i, &party).1, &party);
    assert_eq!(i.until("the end", || host.read(&mut buffer).ok()), 0);
    let _ = std::fs::remove_file(&path);
}

/// The application behind a callback cannot end a connection, and does not hear of its end; the guest's may vanish.
#[test]
fn earnest_4_g_a_callbacks_guest_that_is_gone_frees_its_connection() {
    if !ours("half-closed") {
        return;
    }
    for load in [false, true] {
        let mut i = with_callback();
        let mut party = Party::connect(&i, Family::V4, at(FORWARD, 7));
        party.send(&i, FIN | ACK, b"");
        party.expect_acked(&i);
        if load {
            i = reloaded(&i);
        }
        assert!(live(&i, &mut party, minutes(60)) > 10, "it was not asked");
        assert!(party.listed(&i, "CLOSE_WAIT"), "{}", i.connection_info());
        i.socket_recv(FORWARD, 7, b"for the guest");
        assert_eq!(party.receive(&i, 13), b"for the guest");
        check_questions(&vanish(&i, &party).1, &party);

        // The other way round: the application gave more than there was room for, which ends its direction.
        let mut i = with_callback();
        let mut party = Party::connect(&i, Family::V4, at(FORWARD, 7));
        i.socket_recv(FORWARD, 7, &vec![0; 1 << 20]);
        party.expect_fin(&i);
        if load {
            i = reloaded(&i);
        }
        assert!(live(&i, &mut party, minutes(60)) > 10, "it was not asked");
        assert!(party.listed(&i, "FIN_WAIT_2"), "{}", i.connection_info());
        check_questions(&vanish(&i, &party).1, &party);
    }
}

/// One that is idle in both directions is asked as well, sooner or later, by whoever has loaded it.
#[test]
fn earnest_4_g_a_callbacks_idle_connection_ends_with_a_guest_that_started_anew() {
    if !ours("vanished-guest") {
        return;
    }
    for load in [false, true] {
        let (i, party) = callback_party(load);
        i.advance(minutes(3 * 60));
        assert!(i.drain().is_empty(), "nothing is sent for hours");
        i.advance(minutes(2 * 60));
        let question = party.all(&i).remove(0);
        assert_eq!((question.seq, question.flags, question.payload.len()), (party.ack.wrapping_sub(1), ACK, 0));
        assert!(party.listed(&i, "ESTABLISHED"));
        party.send_at(&i, question.ack, RST, b"");
        assert!(!party.listed(&i, ""), "{}", i.connection_info());
    }
}

fn earnest_4_g_a_guest_that_half_closed_waits_for_the_hosts_answer(family: Family) {
    if !ours("half-closed") {
        return;
    }
    let i = family.setup().start();
    let (mut party, mut host) = Party::with_host(&i, family);
    party.send(&i, PSH | ACK, b"request");
    party.send(&i, FIN | ACK, b"");
    party.expect_acked(&i);
    assert_eq!(host_end(&i, &mut host), (b"request".to_vec(), End::Eof));
    assert!(live(&i, &mut party, minutes(6 * 60)) > 100, "it was not asked");
    assert!(party.listed(&i, "CLOSE_WAIT"), "{}", i.connection_info());
    host.write_all(b"late").unwrap();
    assert_eq!(party.receive(&i, 4), b"late");
    drop(host);
    party.expect_fin(&i);
    i.advance(minutes(5));
    assert!(!party.listed(&i, ""), "{}", i.connection_info());
}

/// The remote never closes: without the question, flow and descriptor would stay for ever.
fn earnest_4_g_a_guest_that_closed_and_is_gone_frees_its_connection(family: Family) {
    if !ours("half-closed") {
        return;
    }
    let i = family.setup().start();
    for resets in [false, true] {
        let (mut party, mut host) = Party::with_host(&i, family);
        party.send(&i, FIN | ACK, b"");
        party.expect_acked(&i);
        assert_eq!(host_end(&i, &mut host), (Vec::new(), End::Eof));
        i.settle();
        i.drain();
        i.registrations();
        if resets {
            // A guest's system forgets a connection that its program has closed.
            let question = question(&i, &party);
            party.send_at(&i, question.ack, RST, b"");
            assert!(!party.listed(&i, ""), "{}", i.connection_info());
        } else {
            check_questions(&vanish(&i, &party).1, &party);
        }
        assert_eq!(i.registrations().1.len(), 1, "the descriptor was given back");
        until_broken(&i, &mut host);
    }
}

/// A guest that has sent, ended and gone is in order: the host, which reads slowly, gets all of it.
fn earnest_4_g_what_a_guest_sent_before_it_went_arrives(family: Family) {
    let i = family.setup().start();
    let (listener, port) = family.tcp_listener();
    socket2::SockRef::from(&listener).set_recv_buffer_size(4096).unwrap();
    let mut party = Party::connect(&i, family, family.at_vhost(port));
    let mut host = accept(&i, &listener);
    let data = pattern(100_000);
    for part in data.chunks(1000) {
        party.send(&i, PSH | ACK, part);
        i.turn(Duration::ZERO);
    }
    party.send(&i, FIN | ACK, b"");
    party.expect_acked(&i);
    // Its system has forgotten the connection after a minute, and would say so.
    for _ in 0..60 {
        i.advance(Duration::from_secs(30));
        for s in party.all(&i).iter().filter(|s| !s.has(RST)) {
            party.send_at(&i, s.ack, RST, b"");
        }
    }
    assert_eq!(host_end(&i, &mut host), (data, End::Eof));
    if ours("half-closed") {
        let question = question(&i, &party);
        party.send_at(&i, question.ack, RST, b"");
        assert!(!party.listed(&i, ""), "{}", i.connection_info());
        until_broken(&i, &mut host);
    }
}

/// Nothing says that an open connection is idle because its guest is gone; a guest that was started anew does, when it is
/// asked. One that does not answer keeps it: it may be asleep.
fn earnest_4_g_an_idle_connection_of_a_guest_that_started_anew_ends(family: Family) {
    if !ours("vanished-guest") {
        return;
    }
    let i = family.setup().start();
    let (party, mut host) = Party::with_host(&i, family);
    let (mut asleep, mut other) = Party::with_host(&i, family);
    i.advance(minutes(3 * 60));
    assert!(i.drain().is_empty(), "nothing is sent for hours");
    i.advance(minutes(2 * 60));
    let question = party.all(&i).remove(0);
    assert_eq!((question.seq, question.flags, question.payload.len()), (party.ack.wrapping_sub(1), ACK, 0));
    party.send_at(&i, question.ack, RST, b"");
    assert_eq!(host_end(&i, &mut host), (Vec::new(), End::Reset));
    assert!(!party.listed(&i, "") && asleep.listed(&i, "ESTABLISHED"));
    for _ in 0..2 * 24 * 6 {
        i.pass(minutes(10));
    }
    asleep.all(&i);
    asleep.send(&i, PSH | ACK, b"awake");
    assert_eq!(host_read(&i, &mut other, 5), b"awake");
    for _ in 0..6 * 24 * 6 {
        i.pass(minutes(10));
    }
    assert!(!asleep.listed(&i, ""), "{}", i.connection_info());
    assert_eq!(host_end(&i, &mut other), (Vec::new(), End::Reset));
}

/// The host's end may be the one that is gone; the kernel is to find out, but not of connections that are open.
fn earnest_4_g_the_host_of_a_half_closed_connection_is_asked_too(family: Family) {
    if !ours("half-closed") {
        return;
    }
    let i = family.setup().start();
    let is_asked = |port: u16| {
        // The library's end is a descriptor of this process.
        let all = std::fs::read_dir("/proc/self/fd").unwrap().flatten();
        let mut numbers = all.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
        numbers.find_map(|fd| {
            // SAFETY: the descriptor is borrowed for the calls only; one that is none of a socket fails them.
            let borrowed = unsafe { std::os::fd::BorrowedFd::borrow_raw(fd) };
            let socket = socket2::SockRef::from(&borrowed);
            let peer = socket.peer_addr().ok()?.as_socket()?;
            (peer.port() == port).then(|| socket.keepalive().unwrap())
        })
    };
    let (mut party, host) = Party::with_host(&i, family);
    let port = host.local_addr().unwrap().port();
    assert_eq!(is_asked(port), Some(false));
    live(&i, &mut party, minutes(10));
    assert_eq!(is_asked(port), Some(false), "an open connection is left alone");
    host.shutdown(Shutdown::Write).unwrap();
    party.expect_fin(&i);
    assert_eq!(is_asked(port), Some(false), "one that ends soon costs no system call");
    live(&i, &mut party, minutes(3));
    assert_eq!(is_asked(port), Some(true));
}
