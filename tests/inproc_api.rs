//! The ABI itself: docs/contract/api.md facts, docs/contract/info-text.md, and callback guest forwards
//! (docs/contract/guestfwd-exec-unix.md).

mod common;
use common::*;
use std::cell::{Cell, RefCell};
use std::ffi::c_void;
use std::rc::Rc;

fn with_ipv6(version: u32) -> Setup {
    Setup::with(|c| {
        c.version = version;
        c.in6_enabled = true;
    })
    .silent()
}

/// The highest config version that the library under test knows.
fn newest() -> u32 {
    match () {
        () if library().at_least(9) => 6,
        () if library().at_least(8) => 5,
        () => 4,
    }
}

#[test]
fn api_fact_02_version_string_and_state_version() {
    let version = library().version();
    assert!(version.starts_with("4."), "{version}");
    // SAFETY: no arguments.
    assert_eq!(unsafe { (library().slirp_state_version)() }, 4);
}

#[test]
fn api_fact_03_which_configurations_are_refused() {
    let starts = |setup: Setup| setup.silent().try_start().is_some();
    assert!(!starts(Setup::with(|c| c.version = 0)));
    assert!(!starts(Setup::with(|c| c.version = newest() + 1)));
    for version in 1..=newest() {
        assert!(starts(Setup::with(|c| c.version = version)), "version {version}");
    }
    for (size, good) in [(67, false), (68, true), (65521, true), (65522, false), (1, false), (0, true)] {
        assert_eq!(starts(Setup::default().mtu(size, 0)), good, "if_mtu {size}");
        assert_eq!(starts(Setup::default().mtu(0, size)), good, "if_mru {size}");
    }
    let bootfile = |n: usize| Setup { bootfile: Some("b".repeat(n)), ..Setup::default() };
    assert!(starts(bootfile(127)) && !starts(bootfile(128)));
    // SAFETY: the library is to refuse a null configuration.
    assert!(unsafe { (library().slirp_new)(std::ptr::null(), &all_callbacks(), std::ptr::null_mut()) }.is_null());
}

#[test]
fn api_fact_04_old_versions_get_the_old_timer() {
    for version in 1..=3 {
        let i = Setup { warm: false, ..with_ipv6(version) }.start();
        let events = i.events();
        let [Event::TimerNew(_), Event::TimerMod(TIMER, _)] = events[..] else { panic!("{version}: {events:?}") };
        assert!(matches!(events[0], Event::TimerNew(arg) if arg != 0));
    }
}

#[test]
fn api_fact_05_version_4_gets_init_completed_and_the_opaque_timer() {
    let i = Setup { warm: false, ..with_ipv6(4) }.start();
    let events = i.events();
    let [Event::InitCompleted, Event::TimerNewOpaque(0, 0), Event::TimerMod(TIMER, expire)] = events[..] else {
        panic!("{events:?}")
    };
    // poll_fact_13: milliseconds of the application's clock.
    let delay = expire - CLOCK_START / 1_000_000;
    assert!((200_000..600_000).contains(&delay), "{delay}");
}

#[test]
fn api_fact_06_the_socket_callbacks_need_version_6() {
    for version in [4, 6].into_iter().filter(|v| *v <= newest()) {
        let i = Setup::with(|c| c.version = version).start();
        let (host, port) = udp_peer();
        i.events();
        i.input(&udp_frame(5000, at_vhost(port), b"x"));
        host_recv(&i, &host);
        let events = i.events();
        let socket = matches!(events[..], [Event::RegisterSocket(_)]);
        let fd = matches!(events[..], [Event::Register(_)]);
        assert_eq!((socket, fd), (version == 6, version != 6), "version {version}: {events:?}");
    }
}

#[test]
fn api_fact_07_missing_new_members_fall_back_to_the_old_ones() {
    let mut setup = Setup { warm: false, ..with_ipv6(newest()) };
    setup.callbacks.timer_new_opaque = None;
    setup.callbacks.init_completed = None;
    setup.callbacks.register_poll_socket = None;
    setup.callbacks.unregister_poll_socket = None;
    let i = setup.start();
    assert!(matches!(i.events()[..], [Event::TimerNew(_), Event::TimerMod(TIMER, _)]));
    let (host, port) = udp_peer();
    i.input(&udp_frame(5000, at_vhost(port), b"x"));
    host_recv(&i, &host);
    assert!(matches!(i.events()[..], [Event::Register(_)]));
}

#[test]
fn api_fact_08_without_ipv6_there_is_no_timer() {
    let i = Setup { warm: false, ..Setup::default() }.start();
    i.cleanup();
    let events = i.events();
    assert!(events.iter().all(|e| *e == Event::InitCompleted), "{events:?}");
}

#[test]
fn api_fact_09_cleanup_unregisters_everything_and_sends_nothing() {
    let i = with_ipv6(newest()).start();
    i.input(&arp(1, GUEST_MAC, GUEST, [0; 6], GUEST));
    let (listener, port) = tcp_listener();
    let (_udp_host, udp_port) = udp_peer();
    let mut hosts = Vec::new();
    for n in 0..3 {
        Conn::connect(&i, at_vhost(port));
        hosts.push(accept(&i, &listener));
        i.input(&udp_frame(6000 + n, at_vhost(udp_port), b"x"));
    }
    i.settle();
    let (added, _) = i.registrations();
    assert_eq!(added.len(), 6);
    i.drain();
    i.cleanup();
    assert!(i.drain().is_empty(), "no frame is sent");
    let events = i.events();
    assert_eq!(events.last(), Some(&Event::TimerFree(TIMER)));
    let removed: Vec<i32> = events
        .iter()
        .filter_map(|e| match e {
            Event::Unregister(fd) | Event::UnregisterSocket(fd) => Some(*fd),
            _ => None,
        })
        .collect();
    // UDP first, then TCP, the newest first in each.
    let order = [added[5], added[3], added[1], added[4], added[2], added[0]];
    if library().upstream {
        assert_eq!(removed, order);
    } else {
        let sorted = |mut v: Vec<i32>| {
            v.sort_unstable();
            v
        };
        assert_eq!(sorted(removed), sorted(added));
    }
    for mut host in hosts {
        // The kernel of a busy machine may take its time.
        host.set_nonblocking(false).unwrap();
        host.set_read_timeout(Some(std::time::Duration::from_secs(30))).unwrap();
        assert_eq!(std::io::Read::read(&mut host, &mut [0]).expect("an orderly close"), 0);
    }
}

#[test]
fn api_fact_10_version_1_ignores_the_outbound_address() {
    let i = Setup::with(|c| {
        c.version = 1;
        c.outbound_addr = 0x10 as *const _;
        c.outbound_addr6 = 0x10 as *const _;
    })
    .start();
    let (host, port) = udp_peer();
    i.input(&udp_frame(5000, at_vhost(port), b"x"));
    assert_eq!(host_recv(&i, &host).0, b"x");
}

/// Copies the first `len` bytes of `value` to the end of a page that no readable page follows.
fn at_page_end<T>(value: &T, len: usize) -> *const T {
    // SAFETY: two fresh pages; the second loses its rights; the copy stays inside the first. Leaked on purpose.
    unsafe {
        let page = libc::sysconf(libc::_SC_PAGESIZE) as usize;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        let map = libc::mmap(std::ptr::null_mut(), page * 2, libc::PROT_READ | libc::PROT_WRITE, flags, -1, 0);
        assert_ne!(map, libc::MAP_FAILED);
        assert_eq!(libc::mprotect(map.byte_add(page), page, libc::PROT_NONE), 0);
        let copy = map.cast::<u8>().add(page - len);
        copy.copy_from_nonoverlapping((&raw const *value).cast(), len);
        copy.cast()
    }
}

#[test]
fn api_fact_11_shorter_structs_of_older_programs_suffice() {
    if !isolated("api_fact_11_shorter_structs_of_older_programs_suffice", Isolation::Process) {
        return;
    }
    let sizes = [(1, 160, 72), (2, 176, 72), (3, 184, 72), (4, 184, 88), (5, 192, 88), (6, 192, 104)];
    for (version, config_len, callbacks_len) in sizes.into_iter().filter(|s| s.0 <= newest()) {
        let mut config = Setup::default().config;
        config.version = version;
        let mut callbacks = all_callbacks();
        // Without an instance behind the opaque pointer only the callbacks that need none may be called.
        callbacks.clock_get_ns = Some(still_clock);
        callbacks.send_packet = Some(swallow);
        callbacks.init_completed = None;
        let (config, callbacks) = (at_page_end(&config, config_len), at_page_end(&callbacks, callbacks_len));
        // SAFETY: this is the promise under test: nothing beyond these lengths is read.
        unsafe {
            let l = library();
            let slirp = (l.slirp_new)(config, callbacks, std::ptr::null_mut());
            assert!(!slirp.is_null(), "version {version}");
            let ping = Ip::new(VHOST, ICMP).frame(&echo_request(1, 1, b"x"));
            (l.slirp_input)(slirp, ping.as_ptr(), ping.len() as i32);
            (l.slirp_cleanup)(slirp);
        }
    }
}

unsafe extern "C" fn still_clock(_: *mut c_void) -> i64 {
    CLOCK_START
}
unsafe extern "C" fn swallow(_: *const c_void, len: usize, _: *mut c_void) -> isize {
    len as isize
}

#[test]
fn api_fact_13_an_empty_callback_table_works_without_ipv6() {
    if !isolated("api_fact_13_an_empty_callback_table_works_without_ipv6", Isolation::Process) {
        return;
    }
    let i = Setup { callbacks: SlirpCb::default(), greet: false, warm: false, ..Setup::default() }.start();
    let mut address = Ipv4Addr::UNSPECIFIED;
    assert_eq!(i.add_guestfwd(&mut address, 80, Box::new(|_, d| d.len() as isize)), 0);
    assert_eq!(i.connection_info().lines().count(), 1);
    assert_eq!(i.neighbor_info().lines().count(), 1);
    assert_eq!(i.remove_guestfwd(address, 80), 0);
    if ours("null-callbacks") {
        // Nothing that a guest or a host does may call a member that is not there.
        i.input(&arp(1, GUEST_MAC, GUEST, [0; 6], VHOST));
        i.input(&Ip::new(VHOST, ICMP).frame(&echo_request(1, 1, b"x")));
        i.input(&udp_frame(5000, at_vhost(closed_udp_port()), b"x"));
        i.forward(false, at(GUEST, 80));
        i.settle();
        // SAFETY: the table may even be missing.
        let slirp = unsafe {
            let config = Setup::default().config;
            (library().slirp_new)(&config, std::ptr::null(), std::ptr::null_mut())
        };
        assert!(!slirp.is_null());
        // SAFETY: the handle is used once.
        unsafe { (library().slirp_cleanup)(slirp) }
    }
    i.cleanup();
}

#[test]
fn api_slirp_init_is_slirp_new_with_version_1() {
    let i = Setup::default().start();
    let c = Setup::default().config;
    let null = std::ptr::null();
    // SAFETY: the arguments are those of docs/contract/api.md; the opaque pointer is a live instance, whose callbacks
    // log.
    unsafe {
        let l = library();
        let callbacks = all_callbacks();
        let slirp = (l.slirp_init)(
            0,
            true,
            c.vnetwork,
            c.vnetmask,
            c.vhost,
            false,
            c.vprefix_addr6,
            64,
            c.vhost6,
            null,
            null,
            null,
            null,
            c.vdhcp_start,
            c.vnameserver,
            c.vnameserver6,
            std::ptr::null(),
            null,
            &callbacks,
            (&raw const *i).cast_mut().cast(),
        );
        assert!(!slirp.is_null());
        i.drain();
        let who_has = arp(1, GUEST_MAC, GUEST, [0; 6], VHOST);
        (l.slirp_input)(slirp, who_has.as_ptr(), who_has.len() as i32);
        assert_eq!(i.drain().len(), 1);
        (l.slirp_cleanup)(slirp);
    }
}

#[test]
fn api_two_instances_do_not_know_of_each_other() {
    let (a, b) = (Setup::default().start(), Setup::default().start());
    let (host, port) = udp_peer();
    a.input(&udp_frame(5000, at_vhost(port), b"from a"));
    let from_a = host_recv(&a, &host).1;
    b.input(&udp_frame(5000, at_vhost(port), b"from b"));
    let from_b = host_recv(&b, &host).1;
    host.send_to(b"to b", from_b).unwrap();
    host.send_to(b"to a", from_a).unwrap();
    assert_eq!(a.wait_udp("a's answer").1.data, b"to a");
    assert_eq!(b.wait_udp("b's answer").1.data, b"to b");
    drop(a);
    host.send_to(b"again", from_b).unwrap();
    assert_eq!(b.wait_udp("b's second answer").1.data, b"again");
}

#[test]
fn api_reentrant_input_from_inside_send_packet() {
    let i = Setup::default().start();
    let answers = Rc::new(Cell::new(0));
    let counter = answers.clone();
    i.on_frame(move |i, frame| {
        let parsed = Frame::parse(frame);
        if parsed.icmp().is_some_and(|m| m.kind == 0) && counter.get() < 10 {
            counter.set(counter.get() + 1);
            i.input(&Ip::new(VHOST, ICMP).frame(&echo_request(1, counter.get(), b"again")));
            i.input(&arp(1, GUEST_MAC, GUEST, [0; 6], VHOST));
        }
    });
    i.input(&Ip::new(VHOST, ICMP).frame(&echo_request(1, 0, b"first")));
    i.until("ten nested rounds", || (answers.get() == 10).then_some(()));
    i.settle();
    let frames = i.drain();
    assert_eq!(frames.iter().filter(|f| f.icmp().is_some()).count(), 11);
    assert_eq!(frames.iter().filter(|f| matches!(f, Frame::Arp { op: 2, .. })).count(), 10);
}

#[test]
fn api_reentrant_tcp_guest_inside_send_packet() {
    // A guest whose whole stack runs inside send_packet, as a synchronous network card model does it.
    let i = Setup::default().start();
    let (listener, port) = tcp_listener();
    let mut conn = Conn::connect(&i, at_vhost(port));
    let mut host = accept(&i, &listener);
    let data = pattern(100_000);
    let received = Rc::new(RefCell::new(Vec::new()));
    let sink = received.clone();
    let base = conn.clone();
    conn.rcv_nxt = 0;
    let next = Cell::new(base.rcv_nxt);
    i.on_frame(move |i, frame| {
        let Some(s) = Frame::parse(frame).tcp() else { return };
        if !s.payload.is_empty() && s.seq == next.get() {
            next.set(next.get().wrapping_add(s.payload.len() as u32));
            sink.borrow_mut().extend_from_slice(&s.payload);
            i.input(&Segment { ack: next.get(), ..base.segment(ACK, b"") }.frame());
        }
    });
    let mut sent = 0;
    i.until("all bytes at the reentrant guest", || {
        sent += host_write_some(&mut host, &data[sent..]);
        (received.borrow().len() == data.len()).then_some(())
    });
    assert!(*received.borrow() == data);
}

// ---- guest forwards with a callback ----

const FWD: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 100);

/// A forward at 10.0.2.100:1000 that keeps what the guest writes.
fn keeping(i: &Instance) -> Rc<RefCell<Vec<u8>>> {
    let kept = Rc::new(RefCell::new(Vec::new()));
    let sink = kept.clone();
    let write = Box::new(move |_: &Instance, data: &[u8]| {
        sink.borrow_mut().extend_from_slice(data);
        data.len() as isize
    });
    assert_eq!(i.add_guestfwd(&mut FWD.clone(), 1000, write), 0);
    kept
}

#[test]
fn guestfwd_fact_01_which_addresses_are_accepted() {
    let i = Setup::default().start();
    let add = |ip: [u8; 4], port| i.add_guestfwd(&mut ip.into(), port, Box::new(|_, d| d.len() as isize));
    assert_eq!(add([10, 0, 2, 100], 1000), 0);
    // Noticed since 4.9.2.
    assert_eq!(add([10, 0, 2, 100], 1000), if library().at_least(9) { -1 } else { 0 });
    assert_eq!(add([10, 0, 2, 100], 1001), 0);
    assert_eq!(add([1, 2, 3, 4], 1000), -1);
    // Allowed since 4.9.4.
    let on_virtual = if library().at_least(9) { 0 } else { -1 };
    assert_eq!((add([10, 0, 2, 2], 99), add([10, 0, 2, 3], 80)), (on_virtual, on_virtual));
    assert_eq!(add([10, 0, 2, 3], 53), -1);
}

#[test]
fn guestfwd_facts_03_to_05_the_handshake_and_data_are_immediate() {
    let i = Setup::default().start();
    let kept = keeping(&i);
    let mut conn = Conn::new(&i, at(FWD, 1000));
    conn.syn(&i, &mss_option(1460));
    let frames = i.drain();
    let packet = frames.first().and_then(Frame::ip).expect("the SYN-ACK comes inside slirp_input").clone();
    let s = packet.tcp().unwrap();
    assert_eq!((s.flags, s.src, packet.src_mac), (SYN | ACK, at(FWD, 1000), VHOST_MAC));
    conn.rcv_nxt = s.seq.wrapping_add(1);
    conn.send(&i, ACK, b"");
    conn.data(&i, b"to the callback");
    assert_eq!(*kept.borrow(), b"to the callback", "the callback runs inside slirp_input");
    conn.expect_acked(&i);
    i.drain();
    i.socket_recv(FWD, 1000, b"to the guest");
    let s = i.drain().first().and_then(Frame::tcp).expect("the data leaves inside the call");
    assert_eq!((s.payload.as_slice(), s.has(PSH | ACK)), (&b"to the guest"[..], true));
}

#[test]
fn guestfwd_what_the_application_gives_goes_to_the_newest_connection() {
    let i = Setup::default().start();
    keeping(&i);
    let mut conns: Vec<Conn> = (0..3).map(|_| Conn::connect_with(&i, at(FWD, 1000), &mss_option(1460))).collect();
    while let Some(mut newest) = conns.pop() {
        i.drain();
        i.socket_recv(FWD, 1000, b"to the guest");
        let s = i.drain().first().and_then(Frame::tcp).expect("the data leaves inside the call");
        assert_eq!((s.dst, s.payload.as_slice()), (newest.guest, &b"to the guest"[..]));
        newest.send(&i, RST, b"");
    }
    assert_eq!(i.can_recv(FWD, 1000), 0);
}

#[test]
fn guestfwd_fact_06_can_recv_tells_the_room() {
    let i = Setup::default().start();
    keeping(&i);
    assert_eq!(i.can_recv(FWD, 1000), 0);
    let mut conn = Conn::connect_with(&i, at(FWD, 1000), &mss_option(1460));
    let room = i.can_recv(FWD, 1000);
    if library().upstream {
        assert_eq!(room, 131_400);
    }
    assert!(room >= 65_536, "{room}");
    assert_eq!(i.can_recv(FWD, 1001), 0);
    // Fill it without acknowledging anything.
    conn.window = 0;
    conn.send(&i, ACK, b"");
    let data = pattern(room);
    i.socket_recv(FWD, 1000, &data);
    assert_eq!(i.can_recv(FWD, 1000), 0);
    i.events();
    conn.window = 65_535;
    conn.send(&i, ACK, b"");
    assert!(conn.receive(&i, data.len()).1 == data);
    assert!(i.can_recv(FWD, 1000) >= 65_536);
    assert!(i.events().contains(&Event::Notify), "notify tells that there is room again");
}

#[test]
fn guestfwd_fact_07_too_much_ends_the_connection() {
    let i = Setup::default().start();
    keeping(&i);
    let mut conn = Conn::connect_with(&i, at(FWD, 1000), &mss_option(1460));
    i.socket_recv(FWD, 1000, &vec![1; 64 << 20]);
    i.settle();
    conn.expect(&i, "the end of the connection", |s| s.has(FIN) || s.has(RST));
}

#[test]
fn guestfwd_reentrant_write_callback_answers_at_once() {
    // An echo service: write_cb asks for the room and answers inside the callback.
    let i = Setup::default().start();
    let echo = Box::new(|i: &Instance, data: &[u8]| {
        assert!(i.can_recv(FWD, 1000) >= data.len());
        i.socket_recv(FWD, 1000, data);
        data.len() as isize
    });
    assert_eq!(i.add_guestfwd(&mut FWD.clone(), 1000, echo), 0);
    let mut conn = Conn::connect_with(&i, at(FWD, 1000), &mss_option(1460));
    for n in 0..50 {
        let data = pattern(100 + n);
        conn.data(&i, &data);
        assert!(conn.receive(&i, data.len()).1 == data, "round {n}");
    }
}

#[test]
fn guestfwd_notify_may_enter_the_library() {
    let i = Setup::default().start();
    keeping(&i);
    let mut conn = Conn::connect_with(&i, at(FWD, 1000), &mss_option(1460));
    let data = pattern(400_000);
    let sent = Rc::new(Cell::new(0));
    let (feed, progress) = (data.clone(), sent.clone());
    let push = move |i: &Instance| {
        let n = i.can_recv(FWD, 1000).min(feed.len() - progress.get());
        if n > 0 {
            let from = progress.replace(progress.get() + n);
            i.socket_recv(FWD, 1000, &feed[from..from + n]);
        }
    };
    push(&i);
    i.on_notify(push);
    assert!(conn.receive(&i, data.len()).1 == data);
    assert_eq!(sent.get(), data.len());
}

#[test]
fn guestfwd_fact_12_forwards_work_in_restricted_mode() {
    let i = Setup::with(|c| c.restricted = 1).start();
    let kept = keeping(&i);
    let mut conn = Conn::connect_with(&i, at(FWD, 1000), &mss_option(1460));
    conn.data(&i, b"x");
    assert_eq!(*kept.borrow(), b"x");
    assert!(matches!(Conn::try_connect(&i, at(FWD, 1001), &mss_option(1460)), Reply::Reset(..)));
}

#[test]
fn guestfwd_fact_13_removal_is_found_once() {
    let i = Setup::default().start();
    let kept = keeping(&i);
    let mut conn = Conn::connect_with(&i, at(FWD, 1000), &mss_option(1460));
    assert_eq!(i.remove_guestfwd(FWD, 1000), 0);
    assert_eq!(i.remove_guestfwd(FWD, 1000), -1);
    if ours("guestfwd-removed") {
        // The application may free what its callback uses as soon as the forward is removed.
        conn.expect(&i, "a reset", |s| s.has(RST));
        conn.data(&i, b"late");
        i.settle();
        assert!(kept.borrow().is_empty());
        assert!(!conn.listed(&i, ""), "{}", i.connection_info());
    } else {
        assert!(conn.listed(&i, "ESTABLISHED"), "{}", i.connection_info());
    }
}

// ---- info texts ----

const HEADER: &str = "  Protocol[State]    FD  Source Address  Port   Dest. Address  Port RecvQ SendQ\n";

#[test]
fn info_fact_01_an_empty_list_is_the_header() {
    let i = Setup::default().silent().start();
    assert_eq!(i.connection_info(), HEADER);
    assert_eq!(i.neighbor_info(), "  Table  MacAddr            IP Address\n");
}

#[test]
fn info_facts_02_to_05_every_line_is_byte_exact() {
    let i = Setup::default().start();
    let tcp = i.forward(false, at(GUEST, 80));
    let udp_forward = i.forward(true, at(GUEST, 22));
    let (listener, port) = tcp_listener();
    let (udp_host, udp_port) = udp_peer();
    let mut conn = Conn::connect(&i, at_vhost(port));
    let mut host = accept(&i, &listener);
    i.input(&udp_frame(5000, at_vhost(udp_port), b"x"));
    host_recv(&i, &udp_host);
    let info = i.connection_info();
    let lines: Vec<&str> = info.lines().skip(1).collect();
    assert!(info.starts_with(HEADER) && lines.len() == 4, "{info}");
    // Rebuild each line with the printf format of the contract, with the descriptor that it shows.
    let fd = |line: &str| line.split_whitespace().find_map(|c| c.parse::<i32>().ok()).unwrap();
    let line = |tag: &str, fd: i32, src: &str, sport: u16, dst: &str, dport: u16| {
        format!("{tag:<19} {fd:3} {src:>15} {sport:5} {dst:>15} {dport:5} {:5} {:5}", 0, 0)
    };
    let expected = [
        line("  TCP[ESTABLISHED]", fd(lines[0]), "10.0.2.15", conn.guest.port(), "10.0.2.2", port),
        line("  TCP[HOST_FORWARD]", fd(lines[1]), "127.0.0.1", tcp, "10.0.2.15", 80),
        line("  UDP[240 sec]", fd(&lines[2][12..]), "10.0.2.15", 5000, "10.0.2.2", udp_port),
        line("  UDP[HOST_FORWARD]", fd(lines[3]), "127.0.0.1", udp_forward, "10.0.2.15", 22),
    ];
    // The descriptor of the UDP[240 sec] line must not be found in the tag.
    assert_eq!(lines, expected);
    // SendQ is what the guest has not acknowledged.
    host_write_some(&mut host, b"0123456789");
    conn.expect(&i, "the data", |s| s.payload.len() == 10);
    assert!(i.flows("TCP[ESTABLISHED]")[0].ends_with("     0    10"), "{}", i.connection_info());
}

#[test]
fn info_a_connection_from_the_host_shows_the_address_it_connected_to() {
    let i = Setup::default().start();
    let port = i.forward(false, at(GUEST, 80));
    let _stream = client(port);
    Conn::incoming(&i, 80);
    let flow = i.flows("TCP[SYN_SENT]").remove(0);
    let columns: Vec<&str> = flow.split_whitespace().collect();
    assert_eq!(columns[2..], ["127.0.0.1", &port.to_string(), "10.0.2.15", "80", "0", "0"]);
}

#[test]
fn info_fact_06_the_neighbor_list() {
    let i = Setup::default().start();
    assert_eq!(i.neighbor_info(), "  Table  MacAddr            IP Address\n    ARP  52:54:00:12:34:56  10.0.2.15\n");
}

#[test]
fn the_differences_are_all_used() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests");
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let sources: String = files.filter_map(|file| std::fs::read_to_string(file).ok()).collect();
    println!("library: {} ({})", library().path.display(), library().version());
    for d in differences::DIFFERENCES {
        println!("{}\n  {}\n  upstream: {}\n  ours: {}", d.id, d.contract, d.upstream, d.ours);
        assert!(sources.contains(&format!("ours(\"{}\")", d.id)), "{} is used by no test", d.id);
        assert_eq!(
            differences::DIFFERENCES.iter().filter(|other| other.id == d.id).count(),
            1,
            "{} is there twice",
            d.id
        );
    }
}
