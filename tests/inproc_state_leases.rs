//! The leases of a loaded state. They say where guests may be, and need not be true: QEMU before 8.2 loads the states of all
//! its user networks into the first one, so that the leases of the last network are there in the end.

mod common;

use common::target::{FORWARD, Taken, save, with_taken};
use common::*;

const PORT: u16 = 1234;
/// The guest of another network, which had the same address there.
const OTHER_MAC: [u8; 6] = [0x52, 0x54, 0, 0x12, 0x34, 0x57];
/// Length of the leases, with which a stream ends.
const LEASES: usize = 128;

/// An instance with a guest forward, of whose guest nothing was heard, and what arrives there.
fn with_forward() -> (Box<Instance>, Taken) {
    with_taken(Setup::default().silent(), PORT)
}

/// A connection to the forward, and the state that has it.
fn saved() -> (Conn, Vec<u8>) {
    let (i, _) = with_forward();
    greet(&i);
    let conn = Conn::connect(&i, at(FORWARD, PORT));
    i.settle();
    (conn, save(&i))
}

/// A state in which the first address is leased to `mac`.
fn leased(mut stream: Vec<u8>, mac: [u8; 6]) -> Vec<u8> {
    let at = stream.len() - LEASES;
    stream[at..at + 8].copy_from_slice(&[&[0, 1], &mac[..]].concat());
    stream
}

/// The guest says where it is, as an answer does.
fn greet(i: &Instance) {
    i.input(&arp(2, GUEST_MAC, GUEST, VHOST_MAC, VHOST));
}

/// Waits for a frame at the guest's card, which takes none that is for another station, and answers for its address.
fn arrives<T>(i: &Instance, what: &str, pick: impl Fn(&Frame) -> Option<T>) -> T {
    i.until(what, || {
        let asked = i.take(|frame| frame.arp_request().filter(|address| *address == GUEST));
        if asked.is_some() {
            greet(i);
        }
        i.take(|frame| {
            let packet = frame.ip()?;
            assert!(packet.dst != GUEST || packet.dst_mac == GUEST_MAC, "the guest's frame goes elsewhere: {frame:?}");
            pick(frame)
        })
    })
}

/// One way in which the guest is spoken to after a load.
type Subject = (&'static str, fn(&Instance, &Taken, Conn));

const SUBJECTS: &[Subject] = &[
    ("the guest speaks first on its connection", |i, taken, mut conn| {
        conn.data(i, b"after");
        arrives(i, "an acknowledgment", |f| f.tcp().filter(|s| conn.is_mine(s) && s.ack == conn.snd_nxt).map(|_| ()));
        assert_eq!(*taken.borrow(), b"after");
    }),
    ("the application speaks first on its connection", |i, _, conn| {
        i.socket_recv(FORWARD, PORT, b"after");
        arrives(i, "its bytes", |f| f.tcp().filter(|s| conn.is_mine(s) && s.payload == b"after").map(|_| ()));
    }),
    ("a connection through a forward", |i, _, _| {
        let port = i.forward(false, at(GUEST, 80));
        let _client = client(port);
        arrives(i, "a SYN", |f| f.tcp().filter(|s| s.flags == SYN && s.dst == at(GUEST, 80)).map(|_| ()));
    }),
    ("a connection through a forward to wherever the guest is", |i, _, _| {
        let port = i.forward(false, at(Ipv4Addr::UNSPECIFIED, 80));
        let _client = client(port);
        arrives(i, "a SYN", |f| f.tcp().filter(|s| s.flags == SYN && s.dst == at(GUEST, 80)).map(|_| ()));
    }),
    ("a datagram through a forward", |i, _, _| {
        let port = i.forward(true, at(GUEST, 53));
        let (peer, _) = udp_peer();
        peer.send_to(b"hello", ("127.0.0.1", port)).unwrap();
        arrives(i, "the datagram", |f| f.udp().filter(|d| d.data == b"hello").map(|_| ()));
    }),
    ("a connection of the guest", |i, _, _| {
        let (_listener, port) = tcp_listener();
        let mut conn = Conn::new(i, at_vhost(port));
        conn.guest.set_port(50_001);
        conn.syn(i, &mss_option(1460));
        arrives(i, "a SYN-ACK", |f| f.tcp().filter(|s| conn.is_mine(s) && s.has(SYN | ACK)).map(|_| ()));
    }),
    ("a datagram of the guest", |i, _, _| {
        let (peer, port) = udp_peer();
        i.input(&udp_frame(4000, at_vhost(port), b"there"));
        let (_, from) = host_recv(i, &peer);
        peer.send_to(b"back", from).unwrap();
        arrives(i, "the answer", |f| f.udp().filter(|d| d.data == b"back").map(|_| ()));
    }),
    ("a ping", |i, _, _| {
        i.input(&Ip::new(VHOST, ICMP).frame(&echo_request(7, 1, b"there?")));
        arrives(i, "the reply", |f| f.icmp().map(|_| ()));
    }),
    ("a file", |i, _, _| {
        i.input(&udp_frame(4001, at_vhost(69), b"\0\x01name\0octet\0"));
        arrives(i, "the server's word", |f| f.udp().filter(|d| d.src == at_vhost(69)).map(|_| ()));
    }),
    ("a segment of no connection", |i, _, _| {
        let mut conn = Conn::new(i, at(FORWARD, PORT));
        conn.guest.set_port(50_000);
        conn.data(i, b"who?");
        arrives(i, "a reset", |f| f.tcp().filter(|s| conn.is_mine(s) && s.has(RST)).map(|_| ()));
    }),
];

/// Loads `states` one after the other, and has each subject be what comes first then.
fn each_subject(conn: &Conn, states: &[&[u8]], greeted: bool) {
    for (name, subject) in SUBJECTS {
        println!("{name}");
        let (i, taken) = with_forward();
        if greeted {
            greet(&i);
        }
        for state in states {
            assert_eq!(i.load_state(4, state), (0, 0));
        }
        subject(&i, &taken, conn.clone());
    }
}

#[test]
fn earnest_state_of_a_second_network_leads_no_frame_astray() {
    let (conn, first) = saved();
    let first = leased(first, GUEST_MAC);
    let second = leased(with_forward().0.save_state().1, OTHER_MAC);
    each_subject(&conn, &[&first, &second], false);
    // As when a snapshot is loaded into a machine that runs.
    each_subject(&conn, &[&first, &second], true);
}

#[test]
fn earnest_state_with_a_lease_that_is_not_true_leads_no_frame_astray() {
    let (conn, stream) = saved();
    for mac in [OTHER_MAC, [0; 6], VHOST_MAC] {
        each_subject(&conn, &[&leased(stream.clone(), mac)], false);
    }
    each_subject(&conn, &[&leased(stream, GUEST_MAC)], false);
}

/// A lease that was only read somewhere is no neighbor to be shown, nor one that makes the guest's own frames another's.
#[test]
fn earnest_state_leases_are_hearsay() {
    let (i, _) = with_forward();
    assert_eq!(i.load_state(4, &leased(saved().1, OTHER_MAC)), (0, 0));
    assert!(!i.neighbor_info().contains("10.0.2.15"), "{}", i.neighbor_info());
    i.input(&Ip::new(VHOST, ICMP).frame(&echo_request(7, 1, b"there?")));
    arrives(&i, "the reply", |f| f.icmp().map(|_| ()));
    assert!(i.neighbor_info().contains("52:54:00:12:34:56  10.0.2.15"), "{}", i.neighbor_info());
}
