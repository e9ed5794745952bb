//! The application's loop: docs/contract/poll-and-timers.md, and loops in the manner of the known consumers.

mod common;
use common::*;

/// The events for the descriptor `fd`, or None when it is not asked for.
fn events_of(i: &Instance, fd: i32) -> Option<i32> {
    i.fill(u32::MAX).wanted.iter().find(|w| w.0 == fd).map(|w| w.1)
}

/// True when the library gives each socket to add_poll; ours gives one poller that contains them all.
fn direct() -> bool {
    !ours("one-descriptor")
}

/// What is true of each fill of a library with a nested poller: at most one descriptor, asked for input.
fn check_nested(i: &Instance) {
    let wanted = i.fill(u32::MAX).wanted;
    assert!(wanted.len() <= 1 && wanted.iter().all(|w| w.1 & POLL_IN != 0), "{wanted:?}");
}

fn connected(i: &Instance) -> (Conn, TcpStream, i32) {
    i.registrations();
    let (listener, port) = tcp_listener();
    let conn = Conn::connect(i, at_vhost(port));
    let host = accept(i, &listener);
    let fd = i.registrations().0[0];
    i.settle();
    (conn, host, fd)
}

#[test]
fn poll_fact_01_the_timeout_is_only_lowered() {
    let i = Setup::default().start();
    for (asked, left) in [(u32::MAX, 1000), (700, 700), (3, 3), (2, 2), (1, 1), (0, 0)] {
        let filled = i.fill(asked);
        assert_eq!(filled.timeout, left, "asked for {asked}");
        if direct() {
            assert!(filled.wanted.is_empty());
        }
    }
}

#[test]
fn poll_fact_02_a_listener_asks_for_input() {
    let i = Setup::default().start();
    i.forward(false, at(GUEST, 80));
    let filled = i.fill(u32::MAX);
    assert!(filled.timeout <= 1000);
    if direct() {
        assert_eq!(filled.timeout, 499);
        assert!(matches!(filled.wanted[..], [(_, e)] if e == POLL_IN | POLL_HUP | POLL_ERR), "{filled:?}");
    } else {
        check_nested(&i);
        assert_eq!(filled.wanted.len(), 1);
    }
}

#[test]
fn poll_facts_03_to_05_events_follow_the_state() {
    let i = Setup::default().start();
    if !direct() {
        check_nested(&i);
        return;
    }
    let (_listener, port) = tcp_listener();
    let mut conn = Conn::new(&i, at_vhost(port));
    conn.syn(&i, &mss_option(1460));
    let fd = i.registrations().0[0];
    assert_eq!(events_of(&i, fd), Some(POLL_OUT | POLL_ERR));
    let Reply::SynAck(mut conn) = conn.reply(&i) else { panic!("no connection") };
    let idle = POLL_IN | POLL_HUP | POLL_ERR | POLL_PRI;
    assert_eq!(events_of(&i, fd), Some(idle));
    // The host does not read: fill its socket until the library has to keep data.
    while events_of(&i, fd) == Some(idle) {
        conn.data(&i, &[0; 1400]);
    }
    assert_eq!(events_of(&i, fd), Some(idle | POLL_OUT));
}

#[test]
fn poll_fact_06_a_finished_host_is_not_asked_for() {
    let i = Setup::default().start();
    let (mut conn, host, fd) = connected(&i);
    drop(host);
    conn.expect_fin(&i);
    i.settle();
    assert!(conn.listed(&i, "FIN_WAIT_2"), "{}", i.connection_info());
    if direct() {
        assert_eq!(events_of(&i, fd), None);
    }
    // A turn must not find the closed host ready again and again.
    let spins = (0..50).filter(|_| i.turn(Duration::from_millis(1))).count();
    assert!(spins < 25, "{spins} of 50 turns found something ready although nothing can be done");
}

#[test]
fn poll_fact_07_a_full_send_buffer_pauses_reading_and_notify_resumes_it() {
    let i = Setup::default().start();
    let (mut conn, mut host, fd) = connected(&i);
    let data = pattern(6 << 20);
    // Nothing is acknowledged: the library must stop reading, or the guest could make it grow.
    let mut sent = host_write_some(&mut host, &data);
    for _ in 0..20 {
        i.turn(Duration::from_millis(1));
        sent += host_write_some(&mut host, &data[sent..]);
    }
    assert!(sent < data.len(), "the library took everything without an acknowledgement");
    if direct() {
        assert_eq!(events_of(&i, fd), None);
    }
    // Idle now: a turn must not find the descriptor ready again and again.
    let spins = (0..50).filter(|_| i.turn(Duration::from_millis(1))).count();
    assert!(spins < 25, "{spins} of 50 turns found something ready although nothing can be done");
    i.events();
    let mut got = Vec::new();
    i.until("all data", || {
        sent += host_write_some(&mut host, &data[sent..]);
        while let Some(s) = conn.next(&i) {
            if s.seq == conn.rcv_nxt {
                conn.rcv_nxt = conn.rcv_nxt.wrapping_add(s.payload.len() as u32);
                got.extend_from_slice(&s.payload);
            }
            i.input(&conn.segment(ACK, b"").frame());
        }
        (got.len() == data.len()).then_some(())
    });
    assert!(got == data);
    if direct() {
        assert!(i.events().contains(&Event::Notify));
    }
}

#[test]
fn poll_fact_08_select_error_asks_no_revents_and_loses_nothing() {
    let i = Setup::default().start();
    let (mut conn, mut host, _) = connected(&i);
    host_write_some(&mut host, b"waiting");
    let n = i.fill(0).wanted.len();
    let asked = i.poll_with(true, &vec![0; n]);
    assert!(asked.iter().all(|a| *a == 0), "get_revents was called although select_error was set");
    // Ours looks at its own poller even then.
    if !ours("select-error-reads") {
        assert!(i.drain().is_empty());
    }
    assert_eq!(conn.receive(&i, 7).1, b"waiting");
    // Queued frames leave in a round with select_error.
    let other = Ipv4Addr::new(10, 0, 2, 77);
    let ip = Ip { src: other, ..Ip::new(VHOST, ICMP) };
    i.input(&ip.frame(&echo_request(1, 1, b"x")));
    i.input(&arp(2, GUEST_MAC, other, VHOST_MAC, VHOST));
    let n = i.fill(0).wanted.len();
    i.poll_with(true, &vec![0; n]);
    assert!(i.drain().iter().any(|f| f.icmp().is_some()));
}

#[test]
fn poll_each_index_is_asked_at_most_once() {
    let i = Setup::default().start();
    let _a = connected(&i);
    let _b = connected(&i);
    i.forward(false, at(GUEST, 80));
    i.forward(true, at(GUEST, 80));
    let (host, port) = udp_peer();
    i.input(&udp_frame(5000, at_vhost(port), b"x"));
    host_recv(&i, &host);
    let n = i.fill(u32::MAX).wanted.len();
    let asked = i.poll_with(false, &vec![0; n]);
    assert!(asked.iter().all(|a| *a <= 1), "{asked:?}");
    if direct() {
        assert_eq!(asked, vec![1; n]);
    }
}

#[test]
fn poll_fact_09_waiting_connections_come_in() {
    let i = Setup::default().start();
    let port = i.forward(false, at(GUEST, 80));
    let _clients = [client(port), client(port)];
    i.turn(Duration::from_millis(20));
    let syns = i.drain().iter().filter(|f| f.tcp().is_some_and(|s| s.flags == SYN)).count();
    assert_eq!(syns, if ours("accept-many") { 2 } else { 1 });
    i.settle();
    let rest = i.drain().iter().filter(|f| f.tcp().is_some_and(|s| s.flags == SYN)).count();
    assert_eq!(syns + rest, 2);
}

#[test]
fn poll_fact_10_waiting_datagrams_come_in() {
    let i = Setup::default().start();
    let (host, port) = udp_peer();
    i.input(&udp_frame(5000, at_vhost(port), b"x"));
    let (_, from) = host_recv(&i, &host);
    i.settle();
    for n in 0..3 {
        host.send_to(&[n], from).unwrap();
    }
    i.turn(Duration::from_millis(20));
    let now = i.drain().iter().filter(|f| f.udp().is_some()).count();
    assert_eq!(now, if ours("datagrams-many") { 3 } else { 1 });
    i.settle();
    assert_eq!(now + i.drain().len(), 3);
}

#[test]
fn poll_fact_12_fill_goes_from_tcp_to_udp_newest_first() {
    let i = Setup::default().start();
    if !direct() {
        check_nested(&i);
        return;
    }
    let (_c, _h, tcp_a) = connected(&i);
    let (_c, _h, tcp_b) = connected(&i);
    let (host, port) = udp_peer();
    for guest_port in [5000, 5001] {
        i.input(&udp_frame(guest_port, at_vhost(port), b"x"));
    }
    host_recv(&i, &host);
    let udp_fds = i.registrations().0;
    let order: Vec<i32> = i.fill(u32::MAX).wanted.iter().map(|w| w.0).collect();
    assert_eq!(order, [tcp_b, tcp_a, udp_fds[1], udp_fds[0]]);
}

#[test]
fn poll_readiness_is_not_lost_without_polls() {
    // fill without poll, poll without fill, and input between them.
    let i = Setup::default().start();
    let (mut conn, mut host, _) = connected(&i);
    for round in 0..20u8 {
        host_write_some(&mut host, &[round; 10]);
        i.fill(u32::MAX);
        let n = i.fill(0).wanted.len();
        conn.data(&i, &[round]);
        for _ in 0..round % 3 {
            i.poll_with(false, &vec![0; n]);
        }
    }
    assert_eq!(host_read(&i, &mut host, 20), (0..20).collect::<Vec<u8>>());
    let (_, bytes) = conn.receive(&i, 200);
    assert!(bytes.chunks(10).enumerate().all(|(n, c)| c == [n as u8; 10]));
}

/// A download and an upload at once, with the bytes compared, in the given loop style.
fn exchange_in(style: LoopStyle) {
    let i = Setup::default().real_clock().style(style).start();
    let (listener, port) = tcp_listener();
    let mut guest = SmolGuest::configured(&i, 1500, Family::V4);
    let handle = guest.start_connect(128 << 10, at_vhost(port));
    let mut host = None;
    guest.until("the connection", |g| {
        host = host.take().or_else(|| listener.accept().ok().map(|a| a.0));
        (g.tcp(handle).may_send() && host.is_some()).then_some(())
    });
    let mut host = host.expect("accepted");
    host.set_nonblocking(true).unwrap();
    let data = pattern(1 << 20);
    let (mut down, mut up) = (0, 0);
    let (mut at_guest, mut at_host) = (Vec::new(), Vec::new());
    guest.until("a megabyte each way", |g| {
        down += host_write_some(&mut host, &data[down..]);
        let mut buffer = [0; 65536];
        while let Ok(n @ 1..) = std::io::Read::read(&mut host, &mut buffer) {
            at_host.extend_from_slice(&buffer[..n]);
        }
        let socket = g.tcp(handle);
        if socket.can_send() && up < data.len() {
            up += socket.send_slice(&data[up..]).unwrap();
        }
        while socket.can_recv() {
            at_guest.extend_from_slice(socket.recv(|b| (b.len(), b.to_vec())).unwrap().as_slice());
        }
        (at_guest.len() == data.len() && at_host.len() == data.len()).then_some(())
    });
    assert!(at_guest == data && at_host == data);
}

#[test]
fn poll_loop_of_slirp4netns_loses_nothing() {
    exchange_in(LoopStyle::OneFrameSelectError);
}

#[test]
fn poll_loop_of_reslirp_loses_nothing() {
    exchange_in(LoopStyle::SkipPollOnTimeout);
}

#[test]
fn poll_loop_of_qemu_loses_nothing() {
    exchange_in(LoopStyle::Plain);
}

/// A burst as a guest's bulk transfer makes it: full segments, the last one with PSH. Returns its bytes.
fn long_burst(conn: &mut Conn, mut input: impl FnMut(&[u8])) -> Vec<u8> {
    let data = pattern(40 * 1400);
    let segments = data.chunks(1400).count();
    for (n, payload) in data.chunks(1400).enumerate() {
        let flags = if n + 1 == segments { PSH | ACK } else { ACK };
        input(&conn.segment(flags, payload).frame());
        conn.snd_nxt = conn.snd_nxt.wrapping_add(payload.len() as u32);
    }
    data
}

/// What the host can read now.
fn host_has(host: &mut TcpStream) -> Vec<u8> {
    let mut bytes = vec![0; 1 << 20];
    let mut have = 0;
    while let Ok(n @ 1..) = std::io::Read::read(host, &mut bytes[have..]) {
        have += n;
    }
    bytes.truncate(have);
    bytes
}

#[test]
fn poll_a_long_burst_waits_for_no_more_than_the_next_round() {
    let i = Setup::default().start();
    let (mut conn, mut host, _) = connected(&i);
    let data = long_burst(&mut conn, |frame| i.input(frame));
    let mut got = Vec::new();
    for _ in 0..2 {
        let n = i.fill(1000).wanted.len();
        i.poll_with(false, &vec![0; n]);
        got.extend(host_has(&mut host));
        if got.len() < data.len() {
            assert_eq!(i.fill(1000).timeout, 0, "the application may sleep although bytes wait");
        }
    }
    assert!(got == data, "{} of {} bytes after two rounds", got.len(), data.len());
    conn.expect_acked(&i);
}

#[test]
fn poll_a_burst_from_outside_the_loop_reaches_the_host_at_once() {
    let i = Setup::default().start();
    let (mut conn, mut host, _) = connected(&i);
    // The loop sleeps now, and frames come from another thread, as from a virtual CPU of QEMU.
    i.fill(1000);
    let handle = Handed(i.slirp.get());
    let data = std::thread::scope(|scope| {
        let other = scope.spawn(|| {
            let Handed(slirp) = { handle };
            long_burst(&mut conn, |frame| {
                // SAFETY: the frame is a live slice, and this thread's work is waited for by the one that owns the instance.
                unsafe { (library().slirp_input)(slirp, frame.as_ptr(), frame.len() as i32) }
            })
        });
        other.join().unwrap()
    });
    assert!(host_has(&mut host) == data);
}

/// A handle that is given to another thread.
#[derive(Clone, Copy)]
struct Handed(*mut common::ffi::Slirp);

// SAFETY: the test uses the instance in one thread at a time.
unsafe impl Send for Handed {}
// SAFETY: as above.
unsafe impl Sync for Handed {}

#[test]
fn poll_an_application_that_never_reports_its_descriptors_gets_everything() {
    let i = Setup::default().start();
    let (_conn, mut host, _) = connected(&i);
    i.drain();
    if direct() {
        println!("SKIPPED: upstream reads only what get_revents reports");
        return;
    }
    for byte in 0..3u8 {
        host_write_some(&mut host, &[byte; 7]);
        for _ in 0..40 {
            let n = i.fill(0).wanted.len();
            i.poll_with(false, &vec![0; n]);
        }
        let came: Vec<u8> = i.drain().iter().filter_map(|f| f.tcp().map(|s| s.payload.clone())).flatten().collect();
        assert_eq!(came, [byte; 7]);
    }
}

/// libslirp-helper takes a sleep of 0 for one without a limit. What is due then, here the SYN-ACK that the guest has not
/// acknowledged, does not wait until something else happens.
#[test]
fn a_sleep_without_a_limit_ends_when_something_is_due() {
    if direct() || std::env::var("OXISLIRP_POLL").is_ok_and(|mode| mode == "direct") {
        eprintln!("SKIPPED: only the nested poller can get an application out of such a sleep");
        return;
    }
    let i = Setup::default().start();
    let (_listener, port) = tcp_listener();
    let mut conn = Conn::new(&i, at_vhost(port));
    conn.syn(&i, &[]);
    i.wait("a SYN-ACK", |frame| frame.tcp().filter(|s| conn.is_mine(s)));
    for round in 0..20 {
        let filled = i.fill(0);
        let mut entries: Vec<_> =
            filled.wanted.iter().map(|(fd, _)| libc::pollfd { fd: *fd, events: libc::POLLIN, revents: 0 }).collect();
        let began = std::time::Instant::now();
        // SAFETY: the entries live as long as the call.
        let ready = unsafe { libc::poll(entries.as_mut_ptr(), entries.len() as libc::nfds_t, 10_000) };
        assert!(ready > 0, "round {round}: it would sleep for ever");
        i.move_clock(began.elapsed());
        i.poll_with(
            false,
            &entries.iter().map(|entry| if entry.revents != 0 { POLL_IN } else { 0 }).collect::<Vec<_>>(),
        );
        if i.drain().iter().filter_map(Frame::tcp).any(|s| conn.is_mine(&s) && s.flags == SYN | ACK) {
            return;
        }
    }
    panic!("the SYN-ACK was not repeated");
}
