//! A program that closes one of the library's sockets by mistake, mostly because it closes one of its own twice. What went through
//! it ends; nothing else does, nothing spins, and the program goes on: also in a debug build, in which std ends a process that
//! finds a descriptor closed.
//!
//! Each test has a process, and with it numbers of descriptors, of its own: a number that is free is soon somebody else's.
#![cfg(unix)]

mod common;
use common::*;
use std::io::Read;
use std::os::fd::{AsRawFd, FromRawFd};

/// What the library does by itself when nobody reports anything takes it so long at most.
const SOON: Duration = Duration::from_secs(3);

/// The descriptors of this process that are sockets for which `is_it` holds.
fn sockets(is_it: impl Fn(&socket2::Socket) -> bool) -> Vec<i32> {
    let found = std::fs::read_dir("/proc/self/fd").unwrap();
    let numbers: Vec<i32> = found.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect();
    numbers
        .into_iter()
        .filter(|&number| {
            // SAFETY: it is only asked, and not closed here. One that is no socket, or is gone, is an error.
            let socket = std::mem::ManuallyDrop::new(unsafe { socket2::Socket::from_raw_fd(number) });
            socket.r#type().is_ok() && is_it(&socket)
        })
        .collect()
}

/// The library's own socket, which is the one that is connected to the port of a host.
fn connected_to(port: u16) -> i32 {
    let to = |socket: &socket2::Socket| socket.peer_addr().ok()?.as_socket().map(|address| address.port());
    sockets(|socket| to(socket) == Some(port))[0]
}

/// The mistake.
fn close(descriptor: i32) {
    // SAFETY: no pointer; that it is somebody else's is what the test is about.
    assert_eq!(unsafe { libc::close(descriptor) }, 0);
}

/// Turns of the loop as a program makes them that passes on what poll(2) calls POLLIN and the like, of which POLLNVAL is none, for so
/// much of its time. How many found something ready.
fn turns(i: &Instance, time: Duration) -> usize {
    let step = Duration::from_millis(20);
    let count = time.as_millis() / step.as_millis();
    let mut busy = 0;
    for _ in 0..count {
        busy += usize::from(i.turn(Duration::from_millis(1)));
        i.move_clock(step);
    }
    busy
}

/// The same of a program whose select(2) fails as a whole for as long as one of its descriptors is none.
fn failing_turns(i: &Instance, time: Duration) {
    let step = Duration::from_millis(20);
    for _ in 0..time.as_millis() / step.as_millis() {
        let count = i.fill(u32::MAX).wanted.len();
        i.poll_with(true, &vec![0; count]);
        i.move_clock(step);
    }
}

/// Nothing is found ready any more: neither the program nor the library spins.
fn is_quiet(i: &Instance) {
    let busy = turns(i, SOON);
    assert!(busy < 20, "{busy} turns found something ready although there is nothing to do");
}

/// Something else goes on as if nothing had happened.
fn others_go_on(i: &Instance) {
    i.drain();
    let (listener, port) = tcp_listener();
    let mut conn = Conn::connect(i, at_vhost(port));
    let mut host = accept(i, &listener);
    conn.data(i, b"ask");
    let mut bytes = [0; 3];
    i.until("the question", || host.read(&mut bytes).ok());
    host_write_some(&mut host, b"tell");
    assert_eq!(conn.receive(i, 4).1, b"tell");
}

#[test]
fn a_connection_whose_socket_is_gone_ends_and_nothing_spins() {
    if !ours("lost-sockets")
        || !isolated("a_connection_whose_socket_is_gone_ends_and_nothing_spins", Isolation::Process)
    {
        return;
    }
    let i = Setup::default().start();
    let (listener, port) = tcp_listener();
    let mut conn = Conn::connect(&i, at_vhost(port));
    let _host = accept(&i, &listener);
    i.settle();
    close(connected_to(port));
    failing_turns(&i, SOON);
    // Where the program watches each socket the guest knows by now; with one poller for all when it next says something.
    if !i.flows("TCP").is_empty() {
        conn.data(&i, b"are you there?");
    }
    i.until("the end of the flow", || i.flows("TCP").is_empty().then_some(()));
    is_quiet(&i);
    others_go_on(&i);
    i.cleanup();
}

#[test]
fn datagrams_of_a_socket_that_is_gone_have_another_one() {
    if !ours("lost-sockets") || !isolated("datagrams_of_a_socket_that_is_gone_have_another_one", Isolation::Process) {
        return;
    }
    let i = Setup::default().start();
    let before = sockets(|socket| socket.r#type().is_ok_and(|kind| kind == socket2::Type::DGRAM));
    let host = UdpSocket::bind("127.0.0.1:0").unwrap();
    host.set_nonblocking(true).unwrap();
    let to = at_vhost(host.local_addr().unwrap().port());
    let ask = |text: &[u8]| i.input(&udp_frame(4000, to, text));
    let heard = |what: &str| i.until(what, || host.recv_from(&mut [0; 16]).ok());
    ask(b"first");
    let (_, first) = heard("the first datagram");
    let own = |socket: &socket2::Socket| socket.local_addr().ok()?.as_socket().map(|address| address.port());
    let lost = sockets(|socket| own(socket) == Some(first.port()))[0];
    assert!(!before.contains(&lost));
    close(lost);
    turns(&i, SOON);
    is_quiet(&i);
    // With one poller for all it is found out by a datagram, which is lost.
    let (_, second) = i.until("a datagram through another socket", || {
        ask(b"again");
        host.recv_from(&mut [0; 16]).ok()
    });
    assert_ne!(second.port(), 0);
    // The new socket is not closed with the old one, whose number it may have.
    turns(&i, SOON);
    host.send_to(b"answer", second).unwrap();
    let (_, datagram) = i.wait_udp("the answer");
    assert_eq!(datagram.data, b"answer");
    others_go_on(&i);
    i.cleanup();
}

#[test]
fn a_forward_whose_listener_is_gone_is_quiet_and_can_be_removed() {
    if !ours("lost-sockets")
        || !isolated("a_forward_whose_listener_is_gone_is_quiet_and_can_be_removed", Isolation::Process)
    {
        return;
    }
    let i = Setup::default().start();
    for udp in [false, true] {
        let port = i.forward(udp, at(GUEST, 80));
        let own = |socket: &socket2::Socket| socket.local_addr().ok()?.as_socket().map(|address| address.port());
        close(sockets(|socket| own(socket) == Some(port))[0]);
        turns(&i, SOON);
        is_quiet(&i);
        assert_eq!(i.remove_hostfwd(udp, SocketAddrV4::new(Ipv4Addr::LOCALHOST, port)), 0);
        i.settle();
        // The same place is free for another one.
        i.add_hostfwd(udp, SocketAddrV4::new(Ipv4Addr::LOCALHOST, port), at(GUEST, 80)).unwrap();
    }
    others_go_on(&i);
    i.cleanup();
}

/// As by a program that closes all that it does not know when it goes into the background.
#[test]
fn a_program_that_closes_everything_is_not_ended() {
    if !ours("lost-sockets") || !isolated("a_program_that_closes_everything_is_not_ended", Isolation::Process) {
        return;
    }
    let i = Setup::default().start();
    let (listener, port) = tcp_listener();
    let mut conn = Conn::connect(&i, at_vhost(port));
    let host = accept(&i, &listener);
    i.input(&udp_frame(4000, at_vhost(port), b"to nobody"));
    i.forward(false, at(GUEST, 80));
    i.settle();
    let own = [listener.as_raw_fd(), host.as_raw_fd()];
    for number in 3..512 {
        if !own.contains(&number) {
            // SAFETY: as above. Most are nobody's, which is an error.
            unsafe { libc::close(number) };
        }
    }
    turns(&i, SOON);
    conn.data(&i, b"are you there?");
    turns(&i, SOON);
    i.cleanup();
}
