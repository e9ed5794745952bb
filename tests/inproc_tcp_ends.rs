//! Nothing is left of connections, however they ended: no flow, no descriptor, no memory.

mod common;
use common::*;
use std::io::Read;

/// Connections of each way in a round, and rounds: 10,400 in all.
const EACH: usize = 40;
const ROUNDS: usize = 20;

type Way = fn(&World);

const WAYS: [Way; 13] = [
    guest_first,
    host_first,
    both_at_once,
    guest_resets,
    host_resets,
    refused,
    reset_in_handshake,
    silent_in_handshake,
    silent_when_half_closed,
    silent_in_flight,
    forward_not_answered,
    forward_refused,
    data_then_end,
];

struct World {
    i: Box<Instance>,
    listener: TcpListener,
    port: u16,
    forwarded: u16,
}

impl World {
    fn open(&self) -> (Conn, TcpStream) {
        let conn = Conn::connect(&self.i, at_vhost(self.port));
        (conn, accept(&self.i, &self.listener))
    }
}

fn guest_first(w: &World) {
    let (mut conn, mut host) = w.open();
    conn.send(&w.i, FIN | ACK, b"");
    assert!(matches!(host_end(&w.i, &mut host), (_, End::Eof)));
    drop(host);
    conn.expect_fin(&w.i);
}

fn host_first(w: &World) {
    let (mut conn, host) = w.open();
    drop(host);
    conn.expect_fin(&w.i);
    conn.send(&w.i, FIN | ACK, b"");
    conn.expect_acked(&w.i);
}

fn both_at_once(w: &World) {
    let (mut conn, host) = w.open();
    drop(host);
    let fin = conn.expect(&w.i, "a FIN", |s| s.has(FIN));
    conn.send(&w.i, FIN | ACK, b"");
    conn.rcv_nxt = fin.seq.wrapping_add(1);
    conn.send(&w.i, ACK, b"");
    w.i.turn(Duration::ZERO);
}

fn guest_resets(w: &World) {
    let (mut conn, mut host) = w.open();
    conn.send(&w.i, RST | ACK, b"");
    w.i.until("an end at the host", || match host.read(&mut [0; 8]) {
        Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => None,
        _ => Some(()),
    });
}

fn host_resets(w: &World) {
    let (mut conn, host) = w.open();
    host_reset(host);
    conn.expect(&w.i, "a reset", |s| s.has(RST));
}

fn refused(w: &World) {
    let port = closed_tcp_port();
    let reply = Conn::try_connect(&w.i, at_vhost(port), &mss_option(1460));
    assert!(matches!(reply, Reply::Reset(..)));
}

fn half_open(w: &World) -> Conn {
    let mut conn = Conn::new(&w.i, at_vhost(w.port));
    conn.syn(&w.i, &mss_option(1460));
    let hello = conn.expect(&w.i, "a SYN-ACK", |s| s.has(SYN | ACK));
    drop(accept(&w.i, &w.listener));
    Conn { rcv_nxt: hello.seq.wrapping_add(1), ..conn }
}

fn reset_in_handshake(w: &World) {
    half_open(w).send(&w.i, RST, b"");
}

fn silent_in_handshake(w: &World) {
    half_open(w);
}

fn silent_when_half_closed(w: &World) {
    let (mut conn, host) = w.open();
    drop(host);
    conn.expect_fin(&w.i);
}

fn silent_in_flight(w: &World) {
    let (mut conn, mut host) = w.open();
    host_write_some(&mut host, b"anybody there?");
    conn.expect(&w.i, "data", |s| !s.payload.is_empty());
}

fn forward_not_answered(w: &World) {
    let _client = client(w.forwarded);
    Conn::incoming(&w.i, 80);
}

fn forward_refused(w: &World) {
    let mut host = client(w.forwarded);
    let mut conn = Conn::incoming(&w.i, 80);
    conn.send(&w.i, RST | ACK, b"");
    assert!(matches!(host_end(&w.i, &mut host), (rest, _) if rest.is_empty()));
}

fn data_then_end(w: &World) {
    let (mut conn, mut host) = w.open();
    conn.data(&w.i, &[1; 1000]);
    assert_eq!(host_read(&w.i, &mut host, 1000).len(), 1000);
    host_write_some(&mut host, &[2; 3000]);
    assert_eq!(conn.receive(&w.i, 3000).1.len(), 3000);
    conn.send(&w.i, FIN | ACK, b"");
    drop(host);
    conn.expect_fin(&w.i);
}

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").expect("/proc is there").count()
}

/// Resident anonymous memory in kilobytes.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").expect("/proc is there");
    let line = status.lines().find(|line| line.starts_with("RssAnon:")).expect("the kernel tells");
    line.split_whitespace().nth(1).and_then(|kb| kb.parse().ok()).expect("a number")
}

#[test]
fn tcp_nothing_is_left_of_ten_thousand_connections() {
    if !isolated("tcp_nothing_is_left_of_ten_thousand_connections", Isolation::Network) || library().upstream {
        return;
    }
    let up = std::process::Command::new("ip").args(["link", "set", "lo", "up"]).status();
    assert!(up.expect("iproute2 is there").success());
    let i = Setup::default().start();
    let (listener, port) = tcp_listener();
    let forwarded = i.forward(false, at(GUEST, 80));
    let w = World { i, listener, port, forwarded };
    let mut before = (0, 0);
    for round in 0..ROUNDS {
        for way in WAYS {
            for _ in 0..EACH {
                way(&w);
            }
            w.i.drain();
        }
        // The longest: retransmission of what a silent guest does not acknowledge.
        w.i.advance(std::time::Duration::from_secs(800));
        w.i.drain();
        let left = w.i.flows("TCP[");
        let connections: Vec<_> = left.iter().filter(|line| !line.starts_with("TCP[HOST_FORWARD]")).collect();
        assert!(connections.is_empty(), "round {round}: {connections:?}");
        let (added, removed) = w.i.registrations();
        // The first round has the forward's listener, or what watches it, as well.
        assert!(added.len() - removed.len() <= if round == 0 { 2 } else { 0 }, "round {round}");
        let now = (descriptors(), resident());
        match round {
            0 => {}
            // What is kept for the next connection is there after two rounds.
            1 => before = now,
            _ => {
                assert_eq!(now.0, before.0, "descriptors in round {round}");
                assert!(now.1 < before.1 + 1024, "{} KiB of memory, {} before", now.1, before.1);
            }
        }
    }
}
