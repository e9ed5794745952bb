//! What the guest and the host are told when a connection does not come about or is cut off, and what bounds the number of
//! those that are on their way. Source: docs/contract/tcp.md sections 2.1, 6 and 9.

mod common;
use common::*;
use std::io::{ErrorKind, Read};
use std::process::Command;

/// Ways to fail that the kernel knows at once, each with a route of its kind.
const ROUTES: [&str; 4] = ["unreachable", "prohibit", "blackhole", "throw"];

fn ip(arguments: &str) {
    let mut words = arguments.split_whitespace();
    let output = Command::new("ip").args(&mut words).output().expect("iproute2 is there");
    assert!(output.status.success(), "ip {arguments}: {}", String::from_utf8_lossy(&output.stderr));
}

/// EHOSTUNREACH, EACCES, EINVAL, ENETUNREACH: whatever the kernel says, the guest is reset within its first SYN.
#[test]
fn tcp_every_immediate_failure_is_a_reset() {
    if !isolated("tcp_every_immediate_failure_is_a_reset", Isolation::Network) || !ours("connect-errors") {
        return;
    }
    ip("link set lo up");
    for (n, kind) in ROUTES.iter().enumerate() {
        ip(&format!("route add {kind} 192.0.2.{n}/32"));
        ip(&format!("-6 route add {kind} 2001:db8::{n}/128"));
    }
    let i = setup6().start();
    i.greet6(GUEST6);
    i.drain();
    for n in 0..ROUTES.len() as u8 + 1 {
        let mut conn = Conn::new(&i, at(Ipv4Addr::new(192, 0, 2, n), 80));
        conn.syn(&i, &mss_option(1460));
        let frames = i.drain();
        let reset =
            frames.iter().find_map(Frame::tcp).unwrap_or_else(|| panic!("no reset: {:?}", ROUTES.get(n as usize)));
        assert_eq!((reset.flags, reset.seq, reset.ack), (RST | ACK, 0, GUEST_ISS + 1));
        let to = std::net::Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, n.into());
        let packets = i.answer6(&Ip6::new(to, TCP).tcp((4000 + u16::from(n), 80), 1000, 0, SYN, b""));
        let reset = packets.iter().find_map(|p| p.tcp()).expect("a reset over IPv6");
        assert_eq!((reset.flags, reset.seq, reset.ack), (RST | ACK, 0, 1001));
    }
    assert!(i.flows("TCP[").is_empty());
    let (added, removed) = i.registrations();
    assert_eq!(added, removed);
}

/// A host that does not answer ARP: the kernel finds out after a while (EHOSTUNREACH). And one that never answers, where the
/// kernel gives up (ETIMEDOUT).
#[test]
fn tcp_every_later_failure_is_a_reset() {
    if !isolated("tcp_every_later_failure_is_a_reset", Isolation::Network) || !ours("connect-errors") {
        return;
    }
    ip("link set lo up");
    ip("link add near type veth peer name far");
    ip("address add 192.0.2.1/24 dev near");
    ip("link set near up");
    ip("link set far up");
    // Nobody answers ARP there; with a fixed neighbor the SYN goes, and nothing comes back.
    ip("neighbor add 192.0.2.9 lladdr 02:00:00:00:00:09 dev near");
    for (name, value) in [("ipv4/neigh/near/retrans_time_ms", "50"), ("ipv4/tcp_syn_retries", "1")] {
        std::fs::write(format!("/proc/sys/net/{name}"), value).unwrap();
    }
    let i = Setup::default().real_clock().start();
    for last in [8, 9] {
        let mut conn = Conn::new(&i, at(Ipv4Addr::new(192, 0, 2, last), 80));
        conn.syn(&i, &mss_option(1460));
        let reset = conn.expect(&i, "a reset", |s| s.has(RST));
        assert_eq!((reset.flags, reset.seq, reset.ack), (RST | ACK, 0, GUEST_ISS + 1));
        assert!(!conn.listed(&i, ""));
    }
}

/// A reset by the guest is a reset for the host's peer, also when nothing was left unread.
#[test]
fn tcp_a_reset_by_the_guest_resets_the_host() {
    let i = Setup::default().start();
    let (listener, port) = tcp_listener();
    let mut conn = Conn::connect(&i, at_vhost(port));
    let mut host = accept(&i, &listener);
    conn.data(&i, b"x");
    assert_eq!(host_read(&i, &mut host, 1), b"x");
    conn.send(&i, RST | ACK, b"");
    i.settle();
    host.set_nonblocking(false).unwrap();
    let outcome = host.read(&mut [0; 8]);
    if library().upstream {
        assert_eq!(outcome.unwrap(), 0);
    } else {
        assert_eq!(outcome.unwrap_err().kind(), ErrorKind::ConnectionReset);
    }
}

/// A flood of SYNs: no more connections are half open than the bound says, the oldest are reset, the newest lives.
#[test]
fn tcp_a_flood_of_syns_is_bounded() {
    if !ours("tcp-bounds") {
        return;
    }
    const BOUND: usize = 4096;
    let i = Setup::default().start();
    let mut address = Ipv4Addr::new(10, 0, 2, 100);
    assert_eq!(i.add_guestfwd(&mut address, 1000, Box::new(|_, d| d.len() as isize)), 0);
    let syn = |port: u16| {
        let mut conn = Conn::new(&i, at(Ipv4Addr::new(10, 0, 2, 100), 1000));
        conn.guest.set_port(port);
        conn.syn(&i, &mss_option(1460));
        conn
    };
    let first = syn(10_000);
    for port in 10_001..10_000 + BOUND as u16 {
        syn(port);
    }
    assert_eq!(i.flows("TCP[").len(), BOUND);
    i.drain();
    let last = syn(10_000 + BOUND as u16);
    assert_eq!(i.flows("TCP[").len(), BOUND);
    let frames = i.drain();
    let segments: Vec<Segment> = frames.iter().filter_map(Frame::tcp).collect();
    assert!(segments.iter().any(|s| first.is_mine(s) && s.has(RST)), "the oldest is told");
    let hello = segments.iter().find(|s| last.is_mine(s) && s.has(SYN | ACK)).expect("the newest is answered");
    // Those that are complete do not count.
    let mut last = Conn { rcv_nxt: hello.seq.wrapping_add(1), ..last };
    last.send(&i, ACK, b"");
    for port in 20_000..20_000 + BOUND as u16 {
        syn(port);
    }
    assert!(last.listed(&i, "ESTABLISHED"));
    assert_eq!(i.flows("TCP[").len(), BOUND + 1);
}
