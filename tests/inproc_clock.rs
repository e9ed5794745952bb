//! Clocks that jump: a laptop that slept for an hour or a day, a clock that was set. Nobody had the time to answer
//! meanwhile, so nothing is given up for that, and not all that waits comes at once.

mod common;
use common::*;
use std::io::Write;

both_families![
    a_jump_leaves_connections_and_datagrams_as_they_are,
    a_jump_ends_no_handshake,
    after_a_jump_each_flow_repeats_once_and_backs_off,
    a_jump_leaves_a_guest_known,
];

const HOUR: i64 = 3600;
const JUMPS: [i64; 5] = [HOUR, 24 * HOUR, 365 * 24 * HOUR, -HOUR, -24 * HOUR];

/// The part of the application's loop in which the clock jumps.
#[derive(Clone, Copy, Debug)]
enum During {
    Sleep,
    Frames,
}

fn jump(i: &Instance, seconds: i64, during: During) {
    match during {
        During::Sleep => {
            let filled = i.fill(u32::MAX);
            i.set_clock(i.now() + seconds * 1_000_000_000);
            i.poll_with(false, &vec![0; filled.wanted.len()]);
        }
        During::Frames => i.set_clock(i.now() + seconds * 1_000_000_000),
    }
    i.turn(Duration::ZERO);
}

fn each_jump(test: impl Fn(i64, During)) {
    for seconds in JUMPS {
        for during in [During::Sleep, During::Frames] {
            test(seconds, during);
        }
    }
}

fn connected(i: &Instance, family: Family) -> (Party, TcpStream) {
    let (listener, port) = family.tcp_listener();
    let party = Party::connect(i, family, family.at_vhost(port));
    let host = i.until("the connection at the host", || listener.accept().ok()).0;
    host.set_nonblocking(true).unwrap();
    (party, host)
}

/// Segments of the library that came for any of these since the last look.
fn heard(i: &Instance, parties: &[Party]) -> Vec<usize> {
    let mut counts = vec![0; parties.len()];
    for frame in i.drain() {
        for (party, count) in parties.iter().zip(&mut counts) {
            *count += usize::from(party.heard(&frame).is_some());
        }
    }
    counts
}

fn a_jump_leaves_connections_and_datagrams_as_they_are(family: Family) {
    each_jump(|seconds, during| {
        let i = family.setup().start();
        let (mut idle, mut idle_host) = connected(&i, family);
        let (mut half, mut half_host) = connected(&i, family);
        half.send(&i, FIN | ACK, b"");
        half.expect_acked(&i);
        let (peer, port) = family.udp_peer();
        let say = |data: &[u8]| match family {
            Family::V4 => i.input(&udp_frame(5000, at_vhost(port), data)),
            Family::V6 => i.input(&Ip6::new(frame6::VHOST6, UDP).udp(5000, port, data)),
        };
        say(b"before");
        let (_, source) = receive(&i, &peer);
        i.settle();
        i.drain();
        jump(&i, seconds, during);
        i.settle();
        assert_eq!(i.drain().len(), 0, "{seconds} s in {during:?}: nobody has anything to say");
        idle.send(&i, PSH | ACK, b"to the host");
        assert_eq!(host_read(&i, &mut idle_host, 11), b"to the host");
        for (party, host) in [(&mut idle, &mut idle_host), (&mut half, &mut half_host)] {
            host.write_all(b"to the guest").unwrap();
            assert_eq!(party.receive(&i, 12), b"to the guest", "{seconds} s in {during:?}");
        }
        say(b"after");
        let (data, again) = receive(&i, &peer);
        assert_eq!(data, b"after");
        if ours("clock-jumps") {
            assert_eq!(source, again, "{seconds} s in {during:?}: the same flow");
        }
    });
}

fn receive(i: &Instance, peer: &UdpSocket) -> (Vec<u8>, std::net::SocketAddr) {
    i.until("a datagram at the host", || {
        let mut buffer = [0; 100];
        peer.recv_from(&mut buffer).ok().map(|(length, from)| (buffer[..length].to_vec(), from))
    })
}

/// One that waits for the host, one that waits for the guest's last word, one that waits for its first.
fn a_jump_ends_no_handshake(family: Family) {
    each_jump(|seconds, during| {
        let i = family.setup().start();
        let full = socket2::Socket::new(
            if family == Family::V4 { socket2::Domain::IPV4 } else { socket2::Domain::IPV6 },
            socket2::Type::STREAM,
            None,
        )
        .unwrap();
        full.bind(&std::net::SocketAddr::new(family.loopback(), 0).into()).unwrap();
        full.listen(0).unwrap();
        let address = full.local_addr().unwrap();
        let _first = TcpStream::connect(address.as_socket().unwrap()).unwrap();
        let mut unanswered = Party::new(&i, family, family.at_vhost(address.as_socket().unwrap().port()));
        unanswered.send(&i, SYN, b"");

        let (listener, port) = family.tcp_listener();
        let mut last = Party::new(&i, family, family.at_vhost(port));
        last.send(&i, SYN, b"");
        let hello = last.expect(&i, "a SYN-ACK", |s| s.flags == SYN | ACK);
        let mut host = i.until("the connection at the host", || listener.accept().ok()).0;

        let forwarded = family.closed_port();
        hostxfwd(&i, (family.loopback(), forwarded).into(), (family.guest(), 7).into(), 0).unwrap();
        let mut client = TcpStream::connect((family.loopback(), forwarded)).unwrap();
        i.wait("a SYN to the guest", |f| {
            let v6 = || packet6(f).and_then(|p| p.tcp()).is_some_and(|s| s.dst.port() == 7);
            (f.tcp().is_some_and(|s| s.dst.port() == 7) || v6()).then_some(())
        });
        for _ in 0..3 {
            jump(&i, seconds, during);
            i.advance(Duration::from_millis(100));
        }
        assert!(!unanswered.all(&i).iter().any(|s| s.has(RST)), "{seconds} s in {during:?}");
        last.ack = hello.seq.wrapping_add(1);
        last.send(&i, PSH | ACK, b"at last");
        host.set_nonblocking(true).unwrap();
        assert_eq!(host_read(&i, &mut host, 7), b"at last", "{seconds} s in {during:?}");
        // The guest hears the repetition of the SYN.
        let mut first = Party::new(&i, family, (family.vhost(), 0));
        first.guest = (family.guest(), 7).into();
        first = i.until("the SYN again", || {
            i.advance(Duration::from_millis(500));
            i.take(|f| {
                let (src, dst, seq, flags): (std::net::SocketAddr, std::net::SocketAddr, _, _) = match f.tcp() {
                    Some(s) => (s.src.into(), s.dst.into(), s.seq, s.flags),
                    None => packet6(f)?.tcp().map(|s| (s.src.into(), s.dst.into(), s.seq, s.flags))?,
                };
                let mut party = first.clone();
                (party.peer, party.ack) = (src, seq.wrapping_add(1));
                (dst == first.guest && flags == SYN).then_some(party)
            })
        });
        first.send(&i, SYN | ACK, b"");
        client.write_all(b"hello").unwrap();
        assert_eq!(first.receive(&i, 5), b"hello", "{seconds} s in {during:?}");
    });
}

fn after_a_jump_each_flow_repeats_once_and_backs_off(family: Family) {
    each_jump(|seconds, during| {
        let i = family.setup().start();
        let (mut parties, mut hosts): (Vec<_>, Vec<_>) = (0..20).map(|_| connected(&i, family)).unzip();
        for host in &mut hosts {
            host.write_all(b"lost").unwrap();
        }
        i.settle();
        assert_eq!(heard(&i, &parties), [1; 20]);
        jump(&i, seconds, during);
        i.settle();
        let at_once = heard(&i, &parties);
        assert!(at_once.iter().all(|count| *count <= 1), "{seconds} s in {during:?}: {at_once:?}");
        // The next one has twice the time, which is 400 ms at least.
        i.advance(Duration::from_millis(100));
        i.advance(Duration::from_millis(50));
        let soon = heard(&i, &parties);
        let total = at_once.iter().zip(&soon).map(|(a, b)| a + b);
        assert!(total.clone().all(|count| count <= 1), "{seconds} s in {during:?}: {at_once:?}, then {soon:?}");
        for (party, host) in parties.iter_mut().zip(&mut hosts) {
            party.ack = party.ack.wrapping_add(4);
            party.send(&i, ACK, b"");
            host.write_all(b"more").unwrap();
            assert_eq!(party.receive(&i, 4), b"more", "{seconds} s in {during:?}");
        }
    });
}

fn a_jump_leaves_a_guest_known(family: Family) {
    each_jump(|seconds, during| {
        let i = family.setup().start();
        let (mut party, mut host) = connected(&i, family);
        i.settle();
        i.drain();
        jump(&i, seconds, during);
        host.write_all(b"x").unwrap();
        let first = i.wait("the first frame", |f| Some(party.heard(f)));
        assert_eq!(first.expect("a segment, and no question for the guest's address").payload, b"x");
        party.ack = party.ack.wrapping_add(1);
        party.send(&i, ACK, b"");
    });
}

/// When the timers were to expire that the library has set since the last look, in seconds from now.
fn timers_set(i: &Instance) -> Vec<i64> {
    let now = i.now();
    let expiry = |event| if let Event::TimerMod(TIMER, at) = event { Some(at * 1_000_000 - now) } else { None };
    i.events().into_iter().filter_map(expiry).map(|wait| wait / 1_000_000_000).collect()
}

/// A virtual machine's clock goes back when an older state of it is loaded; the timer was set to a time of the other future.
#[test]
fn earnest_a_router_is_advertised_in_time_after_the_clock_went_back() {
    for seconds in [-60, -HOUR, -24 * HOUR] {
        for during in [During::Sleep, During::Frames] {
            let i = Family::V6.setup().start();
            assert_eq!(timers_set(&i).len(), 1, "the first one");
            // As long as the clock goes on, nothing is set but when the timer has expired.
            for _ in 0..20 {
                i.advance(Duration::from_secs(5));
            }
            i.turn(Duration::ZERO);
            assert_eq!(timers_set(&i), []);
            jump(&i, seconds, during);
            i.turn(Duration::ZERO);
            let set = timers_set(&i);
            if seconds == -60 {
                // It is still after the setting: one interval becomes longer, by less than its own length.
                assert_eq!(set, []);
            } else if ours("clock-back") {
                assert!(matches!(set[..], [wait] if (199..600).contains(&wait)), "{seconds}, {during:?}: {set:?}");
            } else {
                assert_eq!(set, []);
            }
            // Time goes on from here as ever.
            for _ in 0..20 {
                i.advance(Duration::from_secs(5));
            }
            assert_eq!(timers_set(&i), []);
        }
    }
}

/// Without IPv6, or without timers, there is nothing to set.
#[test]
fn a_clock_that_goes_back_sets_no_timer_that_is_not_there() {
    for setup in [Family::V4.setup(), {
        let mut setup = Family::V6.setup();
        (setup.callbacks.timer_new, setup.callbacks.timer_new_opaque) = (None, None);
        setup
    }] {
        if setup.callbacks.timer_new.is_none() && !ours("null-callbacks") {
            continue;
        }
        let i = setup.start();
        i.events();
        jump(&i, -HOUR, During::Sleep);
        assert_eq!(timers_set(&i), []);
    }
}
