//! Several guests on one link, and guests that move to another address or another station: whom frames concern, and where
//! forwards lead.

mod common;

use common::*;
use std::io::Write;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

both_families![
    earnest_4_a_a_forward_follows_the_guest_to_another_address,
    earnest_4_a_a_forward_tries_the_next_address_when_nobody_answers,
    earnest_4_a_datagrams_follow_the_guest_to_another_address,
    earnest_4_a_a_guest_that_moved_to_another_station_is_found,
    earnest_4_a_a_guest_that_is_heard_of_stays_known_among_many,
    earnest_4_d_frames_for_another_guest_are_left_alone,
    earnest_4_d_frames_for_nobody_known_are_answered,
];

const OUTSIDE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 9);
const OUTSIDE6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 9);

/// A machine on the link.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Station {
    ip: IpAddr,
    mac: [u8; 6],
}

/// The machine with this number; number 0 is the guest that every test knows.
fn station(family: Family, number: u8) -> Station {
    let ip = match family {
        Family::V4 => Ipv4Addr::new(10, 0, 2, 15 + number).into(),
        Family::V6 => Ipv6Addr::from(GUEST6.to_bits() + u128::from(number)).into(),
    };
    let [a, b, c, d, e, f] = GUEST_MAC;
    Station { ip, mac: [a, b, c, d, e, f + number] }
}

impl Station {
    /// Says where it is, as the answer to a request does.
    fn greet(&self, i: &Instance) {
        let mut frame = match self.ip {
            IpAddr::V4(ip) => arp(2, self.mac, ip, VHOST_MAC, VHOST),
            IpAddr::V6(ip) => Ip6::ndp(ip, VHOST6).icmp(&ndp_message(136, 0x60, Some(ip), &[])),
        };
        frame[6..12].copy_from_slice(&self.mac);
        i.input(&frame);
    }

    /// A frame as this machine sends it to the station `mac`.
    fn to(&self, mac: [u8; 6], mut frame: Vec<u8>) -> Vec<u8> {
        frame[..6].copy_from_slice(&mac);
        frame[6..12].copy_from_slice(&self.mac);
        frame
    }

    fn ping(&self, destination: IpAddr) -> Vec<u8> {
        match (self.ip, destination) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => Ip { src, ..Ip::new(dst, ICMP) }.frame(&echo_request(7, 1, b"ping")),
            (IpAddr::V6(src), IpAddr::V6(dst)) => Ip6 { src, ..Ip6::new(dst, ICMPV6) }.icmp(&echo6(7, 1, b"ping")),
            _ => unreachable!("one family"),
        }
    }

    fn udp(&self, from: u16, destination: SocketAddr, data: &[u8]) -> Vec<u8> {
        match (self.ip, destination.ip()) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => {
                Ip { src, ..Ip::new(dst, UDP) }.frame(&udp(at(src, from), at(dst, destination.port()), data))
            }
            (IpAddr::V6(src), IpAddr::V6(dst)) => Ip6 { src, ..Ip6::new(dst, UDP) }.udp(from, destination.port(), data),
            _ => unreachable!("one family"),
        }
    }

    fn tcp(&self, from: u16, destination: SocketAddr, (seq, ack): (u32, u32), flags: u8) -> Vec<u8> {
        match (self.ip, destination.ip()) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => {
                let segment = Segment {
                    src: at(src, from),
                    dst: at(dst, destination.port()),
                    seq,
                    ack,
                    flags,
                    window: 65535,
                    urgent: 0,
                    options: Vec::new(),
                    payload: Vec::new(),
                };
                segment.frame()
            }
            (IpAddr::V6(src), IpAddr::V6(dst)) => {
                Ip6 { src, ..Ip6::new(dst, TCP) }.tcp((from, destination.port()), seq, ack, flags, b"")
            }
            _ => unreachable!("one family"),
        }
    }
}

/// What a frame of the library is to the machines on the link.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Seen {
    /// Somebody is looked for.
    Request(IpAddr),
    Syn {
        to: Station,
        from: SocketAddr,
        seq: u32,
    },
    Datagram {
        to: Station,
        from: SocketAddr,
        data: Vec<u8>,
    },
    Other,
}

fn seen(frame: &Frame) -> Seen {
    if let Some(ip) = frame.arp_request() {
        return Seen::Request(ip.into());
    }
    if let Some(p) = packet6(frame) {
        let to = Station { ip: p.dst.into(), mac: p.dst_mac };
        if p.icmp() == Some((135, 0)) {
            return Seen::Request(<[u8; 16]>::try_from(&p.payload[8..24]).expect("16 bytes").into());
        }
        if let Some(s) = p.tcp().filter(|s| s.flags == SYN) {
            return Seen::Syn { to, from: s.src.into(), seq: s.seq };
        }
        return p.udp().map_or(Seen::Other, |(from, _, data)| Seen::Datagram { to, from: from.into(), data });
    }
    let Some(p) = frame.ip() else { return Seen::Other };
    let to = Station { ip: p.dst.into(), mac: p.dst_mac };
    match (frame.tcp().filter(|s| s.flags == SYN), frame.udp()) {
        (Some(s), _) => Seen::Syn { to, from: s.src.into(), seq: s.seq },
        (None, Some(d)) => Seen::Datagram { to, from: d.src.into(), data: d.data },
        _ => Seen::Other,
    }
}

/// Lets up to ten seconds pass, in which only `alive` answers requests for its address, until `pick` takes something.
fn pass<T>(i: &Instance, alive: Station, what: &str, mut pick: impl FnMut(Seen) -> Option<T>) -> T {
    for _ in 0..200 {
        for frame in i.settled() {
            match seen(&frame) {
                Seen::Request(ip) if ip == alive.ip => alive.greet(i),
                other => {
                    if let Some(value) = pick(other) {
                        return value;
                    }
                }
            }
        }
        i.advance(Duration::from_millis(50));
    }
    panic!("waited in vain for {what}; neighbors:\n{}", i.neighbor_info());
}

/// A forward from a free port of the host's loopback to `guest`.
fn forward(i: &Instance, family: Family, udp: bool, guest: SocketAddr) -> SocketAddr {
    let port = if udp { family.udp_peer().1 } else { family.closed_port() };
    let host = SocketAddr::new(family.loopback(), port);
    assert_eq!(hostxfwd(i, host, guest, if udp { HOSTFWD_UDP } else { 0 }), Ok(()));
    host
}

fn connect(to: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(to).expect("the forward listens");
    stream.set_nonblocking(true).unwrap();
    stream
}

/// Connects through the forward; `alive` answers. Gives the stations that were tried, and sees that bytes pass.
fn through(i: &Instance, alive: Station, host: SocketAddr) -> Vec<Station> {
    let mut client = connect(host);
    let mut tried = Vec::new();
    let (from, seq) = pass(i, alive, "a SYN for the guest", |seen| {
        let Seen::Syn { to, from, seq } = seen else { return None };
        tried.push(to);
        (to == alive).then_some((from, seq))
    });
    i.input(&alive.to(alive.mac, alive.tcp(80, from, (1000, seq + 1), SYN | ACK)));
    client.write_all(b"through").unwrap();
    let arrived = |f: &Frame| {
        let payload = packet6(f).and_then(|p| p.tcp()).map(|s| s.payload).or_else(|| f.tcp().map(|s| s.payload));
        payload.filter(|payload| payload == b"through")
    };
    i.wait("the client's bytes", arrived);
    i.input(&alive.to(alive.mac, alive.tcp(80, from, (1001, seq + 1), RST | ACK)));
    i.settled();
    tried.dedup();
    tried
}

fn start(family: Family) -> Box<Instance> {
    family.setup().silent().start()
}

fn earnest_4_a_a_forward_follows_the_guest_to_another_address(family: Family) {
    if !ours("forward-follows") {
        return;
    }
    let i = start(family);
    let [old, new] = [0, 1].map(|number| station(family, number));
    let host = forward(&i, family, false, (family.unspecified(), 80).into());
    old.greet(&i);
    assert_eq!(through(&i, old, host), [old]);
    // It comes back with another address (and over IPv4 another station, which the DHCP server gives the next one).
    i.advance(Duration::from_secs(5));
    new.greet(&i);
    let tried = through(&i, new, host);
    // The first address of the DHCP server is where the guest is expected; it is given up when nobody answers there.
    assert_eq!(tried, if family == Family::V4 { vec![old, new] } else { vec![new] });
    // Nobody waits for that a second time, however long it lasts.
    assert_eq!(through(&i, new, host), [new]);
    i.advance(Duration::from_secs(60));
    assert_eq!(through(&i, new, host), [new]);
    // The old one is used again when it is heard of again.
    old.greet(&i);
    assert_eq!(through(&i, old, host), [old]);
}

fn earnest_4_a_a_forward_tries_the_next_address_when_nobody_answers(family: Family) {
    if !ours("forward-follows") {
        return;
    }
    let i = start(family);
    let host = forward(&i, family, false, (family.unspecified(), 80).into());
    let stations = [3, 1, 2].map(|number| station(family, number));
    stations.iter().for_each(|station| station.greet(&i));
    let [alive, dead, last] = stations;
    assert_eq!(through(&i, alive, host), [last, dead, alive]);
    assert_eq!(through(&i, alive, host), [alive]);
    // With nobody left the client waits, and reaches the guest when it goes on.
    let _client = connect(host);
    let mut tried = Vec::new();
    for _ in 0..6 {
        i.advance(Duration::from_secs(1));
        tried.extend(i.drain().iter().filter_map(|f| if let Seen::Syn { to, .. } = seen(f) { Some(to) } else { None }));
    }
    assert!(tried.len() >= 2, "{tried:?}");
    let (from, seq) = pass(&i, alive, "a SYN for the guest that goes on", |seen| match seen {
        Seen::Syn { to, from, seq } if to == alive => Some((from, seq)),
        _ => None,
    });
    i.input(&alive.to(alive.mac, alive.tcp(80, from, (1000, seq + 1), SYN | ACK)));
    i.wait("the end of the handshake", |f| {
        let flags = packet6(f).and_then(|p| p.tcp()).map(|s| s.flags).or_else(|| f.tcp().map(|s| s.flags));
        flags.filter(|flags| *flags == ACK)
    });
}

fn earnest_4_a_datagrams_follow_the_guest_to_another_address(family: Family) {
    if !ours("forward-follows") {
        return;
    }
    let i = start(family);
    let [old, new] = [0, 1].map(|number| station(family, number));
    let host = forward(&i, family, true, (family.unspecified(), 53).into());
    let (client, _) = family.udp_peer();
    old.greet(&i);
    let ask = |alive: Station| {
        for tries in 1..100 {
            client.send_to(b"question", host).unwrap();
            let mut from = None;
            pass(&i, alive, "a datagram for the guest", |seen| match seen {
                Seen::Datagram { to, from: peer, data } => {
                    assert_eq!(data, b"question");
                    from = (to == alive).then_some(peer);
                    Some(())
                }
                _ => None,
            });
            let Some(from) = from else {
                // It was lost, as datagrams may be; the next one is sent later.
                i.advance(Duration::from_millis(500));
                continue;
            };
            i.input(&alive.to(alive.mac, alive.udp(53, from, b"answer")));
            let mut buffer = [0; 64];
            let (length, sender) = i.until("the answer at the host", || client.recv_from(&mut buffer).ok());
            assert_eq!((&buffer[..length], sender), (&b"answer"[..], host));
            return tries;
        }
        panic!("no datagram reached {alive:?}; neighbors:\n{}", i.neighbor_info());
    };
    assert_eq!(ask(old), 1);
    i.advance(Duration::from_secs(5));
    new.greet(&i);
    let tries = ask(new);
    assert!(if family == Family::V4 { tries <= 4 } else { tries == 1 }, "{tries} tries");
    assert_eq!(ask(new), 1);
}

fn earnest_4_a_a_guest_that_moved_to_another_station_is_found(family: Family) {
    if !ours("neighbor-moved") {
        return;
    }
    // It moves without a word, and only answers who asks for it.
    let moved = |old: Station| Station { mac: [0x52, 0x54, 0, 9, 9, 9], ..old };
    for guest in [family.unspecified(), station(family, 0).ip] {
        let i = start(family);
        let old = station(family, 0);
        old.greet(&i);
        let host = forward(&i, family, false, (guest, 80).into());
        let tried = through(&i, moved(old), host);
        assert!(tried.contains(&moved(old)), "{tried:?}");
        assert_eq!(through(&i, moved(old), host), [moved(old)]);

        // Datagrams are not answered by themselves: they ask once the guest was not heard of for half a minute.
        let i = start(family);
        old.greet(&i);
        let host = forward(&i, family, true, (guest, 53).into());
        let (client, _) = family.udp_peer();
        i.advance(Duration::from_secs(31));
        for expected in [old, moved(old)] {
            client.send_to(b"x", host).unwrap();
            let to = pass(&i, moved(old), "a datagram", |seen| match seen {
                Seen::Datagram { to, .. } => Some(to),
                _ => None,
            });
            assert_eq!(to, expected);
            i.settle();
            if let Some(request) = i.drain().iter().map(seen).find(|seen| matches!(seen, Seen::Request(_))) {
                assert_eq!(request, Seen::Request(old.ip));
                moved(old).greet(&i);
            }
        }
    }
}

fn earnest_4_a_a_guest_that_is_heard_of_stays_known_among_many(family: Family) {
    if !ours("neighbor-eviction") {
        return;
    }
    let i = start(family);
    let guest = station(family, 0);
    guest.greet(&i);
    let host = forward(&i, family, false, (guest.ip, 80).into());
    for number in 1..40 {
        station(family, number).greet(&i);
        // The guest begins something now and then, and does not speak of its address.
        if number % 8 == 0 {
            let to = SocketAddr::new(family.vhost(), family.closed_port());
            i.input(&guest.to([0; 6], guest.tcp(4000 + u16::from(number), to, (1, 0), SYN)));
            i.settled();
        }
    }
    let _client = connect(host);
    i.settle();
    let frames: Vec<Seen> = i.drain().iter().map(seen).collect();
    assert!(frames.iter().any(|seen| matches!(seen, Seen::Syn { to, .. } if *to == guest)), "{frames:?}");
    assert_eq!(i.neighbor_info().lines().count(), 17);
}

/// A second guest on the link of the same instance: what the two say to each other is not answered.
fn earnest_4_d_frames_for_another_guest_are_left_alone(family: Family) {
    if !isolated(&family.test("earnest_4_d_frames_for_another_guest_are_left_alone"), Isolation::Network) {
        return;
    }
    let i = family.setup().start();
    let [guest, other] = [0, 1].map(|number| station(family, number));
    guest.greet(&i);
    other.greet(&i);
    i.settled();
    if !ours("foreign-frames") {
        i.input(&guest.to(other.mac, guest.ping(family.vhost())));
        assert!(!i.settled().is_empty());
        return;
    }
    let (peer, peer_port) = family.udp_peer();
    let (listener, port) = family.tcp_listener();
    let outside: IpAddr = if family == Family::V4 { OUTSIDE.into() } else { OUTSIDE6.into() };
    let stray = SocketAddr::new(outside, 80);
    let closed = family.at_vhost(family.closed_port());
    let frames = [
        // To the other guest's address, to the outside through it, and even to the virtual host.
        guest.ping(other.ip),
        guest.tcp(4000, (other.ip, 22).into(), (1, 0), SYN),
        guest.tcp(4000, (other.ip, 22).into(), (1, 1), ACK),
        guest.tcp(4000, stray, (1, 1), ACK),
        guest.udp(4000, (other.ip, 53).into(), b"x"),
        guest.ping(family.vhost()),
        guest.ping(family.name_server()),
        guest.tcp(4001, family.at_vhost(port), (1, 0), SYN),
        guest.tcp(4002, closed, (1, 0), SYN),
        guest.udp(4003, family.at_vhost(peer_port), b"for the other guest"),
    ];
    for frame in &frames {
        i.input(&guest.to(other.mac, frame.clone()));
    }
    // And the other way round.
    i.input(&other.to(guest.mac, other.ping(family.vhost())));
    // A machine that was never heard of, and one that speaks for another address than its own.
    let stranger = station(family, 9);
    i.input(&stranger.to(other.mac, stranger.ping(family.vhost())));
    i.expect_silence();
    host_gets_nothing(&i, &peer);
    assert!(listener.accept().is_err(), "nobody connects");
    // What is ours is answered as before.
    for (from, mac) in [(guest, VHOST_MAC), (other, [0xff; 6]), (guest, [0x52, 0x56, 0, 0, 0, 2])] {
        i.input(&from.to(mac, from.ping(family.vhost())));
        assert_eq!(i.settled().len(), 1, "{from:?} to {mac:x?}");
    }
    // A frame of ours that comes back by the hub is none of the guest's.
    i.input(&guest.to(VHOST_MAC, guest.ping(family.vhost())));
    i.settle();
    for frame in i.drain_raw() {
        i.input(&frame);
    }
    i.expect_silence();
}

fn earnest_4_d_frames_for_nobody_known_are_answered(family: Family) {
    let i = family.setup().start();
    let [guest, other] = [0, 1].map(|number| station(family, number));
    guest.greet(&i);
    other.greet(&i);
    i.settled();
    let answered = |from: Station, mac: [u8; 6]| {
        i.input(&from.to(mac, from.ping(family.vhost())));
        let frames = i.settled();
        // Its own address may have to be asked for first.
        frames.iter().any(|f| f.icmp().is_some() || packet6(f).is_some_and(|p| p.icmp() == Some((129, 0))))
    };
    // Static entries, zeros, and its own address, as some emulators have it.
    for mac in [[0; 6], [2, 0, 0, 0, 0, 9], [0x52, 0x55, 10, 0, 2, 3], guest.mac] {
        assert!(answered(guest, mac), "{mac:x?}");
    }
    // A program that makes up the Ethernet header: its source is not the address that it answered with.
    let made_up = Station { mac: [0; 6], ..guest };
    assert!(answered(made_up, guest.mac));
    // A guest that takes over the other one's card, and then has it alone.
    let taken = Station { mac: other.mac, ..guest };
    assert!(answered(taken, other.mac));
    taken.greet(&i);
    i.settled();
    assert!(answered(taken, VHOST_MAC) && answered(taken, other.mac));
    // The other guest gets another card: the old one is nobody's but the first guest's.
    let renewed = Station { mac: [0x52, 0x54, 0, 1, 1, 1], ..other };
    renewed.greet(&i);
    i.settled();
    assert!(answered(taken, other.mac));
    assert_eq!(answered(renewed, other.mac), !ours("foreign-frames"));
    // A card that is nobody's any more may be anything.
    assert!(answered(renewed, guest.mac));
}

/// Leases of the DHCP server, which a saved state holds, say where guests are.
#[test]
fn earnest_4_a_and_d_leases_of_a_saved_state_are_neighbors() {
    if !ours("forward-follows") {
        return;
    }
    let family = Family::V4;
    let [old, new] = [0, 1].map(|number| station(family, number));
    let request = |from: Station| {
        let mut message = vec![1, 1, 6, 0, 1, 2, 3, 4];
        message.resize(28, 0);
        message.extend(from.mac);
        message.resize(236, 0);
        message.extend([0x63, 0x82, 0x53, 0x63, 53, 1, 3, 255]);
        let src = Ipv4Addr::UNSPECIFIED;
        let datagram = udp(at(src, 68), at(Ipv4Addr::BROADCAST, 67), &message);
        from.to([0xff; 6], Ip { src, ..Ip::new(Ipv4Addr::BROADCAST, UDP) }.frame(&datagram))
    };
    let i = start(family);
    i.input(&request(old));
    i.input(&request(new));
    assert!(i.neighbor_info().contains("10.0.2.16"), "{}", i.neighbor_info());
    let (result, stream) = i.save_state();
    assert_eq!(result, 0);
    let loaded = start(family);
    let host = forward(&loaded, family, false, (family.unspecified(), 80).into());
    assert_eq!(loaded.load_state(4, &stream), (0, 0));
    // The first guest is gone, and does not answer: the second one is found, without having said a word.
    assert_eq!(through(&loaded, new, host), [new]);
    assert_eq!(through(&loaded, new, host), [new]);
    loaded.input(&new.to(old.mac, new.ping(VHOST.into())));
    loaded.expect_silence();
    let again = start(family);
    assert_eq!(again.load_state(4, &stream), (0, 0));
    again.input(&old.to(new.mac, old.ping(VHOST.into())));
    again.expect_silence();
}

/// With two guests that both answer, an IPv4 forward to no address in particular stays with the first one.
#[test]
fn earnest_4_a_a_forward_does_not_waver_between_two_guests() {
    let family = Family::V4;
    let i = start(family);
    let [first, second] = [0, 1].map(|number| station(family, number));
    let host = forward(&i, family, false, (family.unspecified(), 80).into());
    let datagrams = forward(&i, family, true, (family.unspecified(), 53).into());
    let (client, _) = family.udp_peer();
    first.greet(&i);
    for _ in 0..3 {
        i.advance(Duration::from_secs(40));
        second.greet(&i);
        i.settled();
        assert_eq!(through(&i, first, host), [first]);
        client.send_to(b"x", datagrams).unwrap();
        let to =
            pass(&i, first, "a datagram", |seen| if let Seen::Datagram { to, .. } = seen { Some(to) } else { None });
        assert_eq!(to, first);
    }
    // What the second one sends from the forwarded port is not the first one's.
    let (peer, port) = family.udp_peer();
    i.input(&second.to(VHOST_MAC, second.udp(53, family.at_vhost(port), b"mine")));
    let (_, from) = host_recv(&i, &peer);
    assert_ne!(from.port(), datagrams.port());
    peer.send_to(b"yours", from).unwrap();
    let to = pass(&i, first, "an answer", |seen| if let Seen::Datagram { to, .. } = seen { Some(to) } else { None });
    assert_eq!(to, second);
}
