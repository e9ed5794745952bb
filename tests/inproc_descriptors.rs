//! A process that has no descriptor left: what meets the limit takes the place of what is least used, what can wait waits, and
//! everything is as before when there are descriptors again. Each test runs in a process of its own, whose descriptors are
//! really all taken.

mod common;
use common::*;
use smoltcp::socket::tcp;
use std::fs::File;
use std::net::SocketAddr;
use std::os::unix::net::UnixListener;

both_families![
    earnest_3_1_a_datagram_that_meets_the_limit_is_delivered,
    earnest_3_1_a_ping_that_meets_the_limit_is_answered,
    earnest_3_1_a_connection_takes_the_place_of_datagrams,
    earnest_3_1_a_client_takes_the_place_of_datagrams,
    earnest_3_1_a_file_takes_the_place_of_datagrams,
    earnest_3_1_a_lack_that_nothing_mends_costs_few_flows,
];

/// Flows of datagrams that may give way.
const FLOWS: u16 = 40;
const FWD: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 100);

/// All descriptors that this process had left.
struct AllTaken(Vec<File>);

impl AllTaken {
    fn new() -> AllTaken {
        let limit = libc::rlimit { rlim_cur: 256, rlim_max: 256 };
        // SAFETY: the limit is set for this child process only.
        assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) }, 0);
        let mut taken = AllTaken(Vec::with_capacity(256));
        taken.take_rest();
        assert!(taken.0.len() > 50, "only {} descriptors were left", taken.0.len());
        taken
    }

    fn take_rest(&mut self) {
        while let Ok(file) = File::open("/dev/null") {
            self.0.push(file);
        }
    }

    /// The test itself needs some.
    fn give(&mut self, count: usize) {
        self.0.truncate(self.0.len() - count);
    }
}

/// Whether this is the child in which the test runs.
fn alone(name: &str, family: Family, isolation: Isolation) -> bool {
    ours("host-errors") && isolated(&family.test(name), isolation)
}

/// A datagram of a new port of the guest's to the peer and its answer; false when it does not arrive.
fn exchange(i: &Instance, family: Family, from: u16, peer: &UdpSocket) -> bool {
    let to = family.at_vhost(peer.local_addr().unwrap().port());
    let question = from.to_be_bytes();
    i.input(&family.udp_frame(from, to, &question));
    i.settle();
    let mut buffer = [0; 16];
    let Ok((length, source)) = peer.recv_from(&mut buffer) else { return false };
    assert_eq!(buffer[..length], question);
    peer.send_to(b"answer", source).unwrap();
    let answer = i.wait("the answer", |f| family.udp_of(f).filter(|(_, port, _)| *port == from));
    assert_eq!(answer, (to, from, b"answer".to_vec()));
    true
}

fn flows(i: &Instance, family: Family, peer: &UdpSocket) {
    for n in 0..FLOWS {
        assert!(exchange(i, family, 20_000 + n, peer));
    }
}

fn earnest_3_1_a_datagram_that_meets_the_limit_is_delivered(family: Family) {
    if !alone("earnest_3_1_a_datagram_that_meets_the_limit_is_delivered", family, Isolation::Process) {
        return;
    }
    for before in [FLOWS, 2, 0] {
        let i = family.greeted();
        let (peer, _) = family.udp_peer();
        for n in 0..before {
            assert!(exchange(&i, family, 20_000 + n, &peer));
        }
        let taken = AllTaken::new();
        for n in 0..100 {
            assert!(exchange(&i, family, 30_000 + n, &peer), "{before} flows before: datagram {n} is lost");
        }
        drop(taken);
        for n in 0..100 {
            assert!(exchange(&i, family, 40_000 + n, &peer));
        }
        assert!(i.flows("UDP[").len() > 100);
        let (mut added, mut removed) = i.registrations();
        assert!(added.len() >= removed.len() + 100);
        i.cleanup();
        removed.extend(i.registrations().1);
        added.sort_unstable();
        removed.sort_unstable();
        assert_eq!(added, removed, "each descriptor is taken back once");
    }
}

fn ping(i: &Instance, family: Family, identifier: u16) -> Vec<(u8, u8)> {
    i.input(&family.ping_frame(identifier));
    i.settled().iter().filter_map(|f| family.icmp_of(f)).collect()
}

fn earnest_3_1_a_ping_that_meets_the_limit_is_answered(family: Family) {
    if !alone("earnest_3_1_a_ping_that_meets_the_limit_is_answered", family, Isolation::Network) {
        return;
    }
    if std::fs::write("/proc/sys/net/ipv4/ping_group_range", "0 0").is_err() {
        return eprintln!("SKIPPED: ping_group_range cannot be written here");
    }
    let i = family.greeted();
    let answered = [family.echo_reply()];
    assert_eq!(ping(&i, family, 1), answered);
    let taken = AllTaken::new();
    for n in 100..200 {
        assert_eq!(ping(&i, family, n), answered, "ping {n}");
    }
    drop(taken);
    for n in 200..220 {
        assert_eq!(ping(&i, family, n), answered);
    }
    assert!(i.flows("ICMP[").len() > 20);
}

fn earnest_3_1_a_connection_takes_the_place_of_datagrams(family: Family) {
    if !alone("earnest_3_1_a_connection_takes_the_place_of_datagrams", family, Isolation::Process) {
        return;
    }
    let i = family.setup().real_clock().silent().start();
    let mut guest = SmolGuest::configured(&i, 1500, family);
    let (peer, _) = family.udp_peer();
    let (listener, port) = family.tcp_listener();
    let to = family.at_vhost(port);
    // Nothing gives way: the connection is refused at once.
    let mut taken = AllTaken::new();
    let refused = guest.start_connect(4096, to);
    guest.until("the refusal", |g| (g.tcp(refused).state() == tcp::State::Closed).then_some(()));
    drop(taken);
    flows(&i, family, &peer);
    taken = AllTaken::new();
    for _ in 0..5 {
        let handle = guest.connect(4096, to);
        taken.give(1);
        let (mut host, _) = guest.until("the connection at the host", |_| listener.accept().ok());
        std::io::Write::write_all(&mut host, b"hello").unwrap();
        assert_eq!(guest.receive(handle, 5), b"hello");
        drop(host);
        taken.take_rest();
    }
    let left = i.flows("UDP[").len();
    assert!((10..usize::from(FLOWS)).contains(&left), "{left} flows of datagrams are left");
    // However many connections there are, names can be asked for.
    for n in 0..20 {
        let handle = guest.start_connect(4096, to);
        guest.until("an end", |g| {
            let state = g.tcp(handle).state();
            matches!(state, tcp::State::Established | tcp::State::Closed).then_some(())
        });
        assert!(exchange(&i, family, 30_000 + n, &peer), "datagram {n} beside connections");
    }
    drop(taken);
    let handle = guest.connect(4096, to);
    assert!(guest.tcp(handle).is_active());
}

/// The SYNs for the guest among the frames.
fn syns(family: Family, frames: &[Frame]) -> usize {
    let flags = |f: &Frame| match family {
        Family::V4 => f.tcp().map(|s| s.flags),
        Family::V6 => packet6(f)?.tcp().map(|s| s.flags),
    };
    frames.iter().filter(|f| flags(f) == Some(SYN)).count()
}

fn earnest_3_1_a_client_takes_the_place_of_datagrams(family: Family) {
    if !alone("earnest_3_1_a_client_takes_the_place_of_datagrams", family, Isolation::Process) {
        return;
    }
    for before in [false, true] {
        let i = family.greeted();
        let (peer, _) = family.udp_peer();
        let place = SocketAddr::from((family.loopback(), family.closed_port()));
        assert_eq!(hostxfwd(&i, place, (family.guest(), 80).into(), 0), Ok(()));
        if before {
            flows(&i, family, &peer);
        }
        let client = socket2::Socket::new(socket2::Domain::for_address(place), socket2::Type::STREAM, None).unwrap();
        let taken = AllTaken::new();
        client.connect(&place.into()).unwrap();
        if before {
            assert_eq!(syns(family, &i.settled()), 1);
            continue;
        }
        assert_eq!(syns(family, &i.settled()), 0);
        assert!(i.fill(1000).timeout > 0, "the application may sleep");
        drop(taken);
        i.advance(Duration::from_millis(300));
        assert_eq!(syns(family, &i.settled()), 1, "the client was not forgotten");
    }
}

fn earnest_3_1_a_file_takes_the_place_of_datagrams(family: Family) {
    if !alone("earnest_3_1_a_file_takes_the_place_of_datagrams", family, Isolation::Process) {
        return;
    }
    let served = Served::new("descriptors");
    let i = family.greet(served.setup(family));
    let (peer, _) = family.udp_peer();
    let content = Ok(Served::CONTENT.to_vec());
    assert_eq!(first_block(&i, family, 1000), content);
    let taken = AllTaken::new();
    // Not "file not found": there is one, and whoever asks later gets it.
    assert_eq!(first_block(&i, family, 1001), Err(0));
    drop(taken);
    assert_eq!(first_block(&i, family, 1002), content);
    flows(&i, family, &peer);
    let _taken = AllTaken::new();
    for port in 1010..1014 {
        assert_eq!(first_block(&i, family, port), content);
    }
}

/// Others take what is given back: then no more is given up than a few.
fn earnest_3_1_a_lack_that_nothing_mends_costs_few_flows(family: Family) {
    if !ours("host-errors") {
        return;
    }
    let i = family.greeted();
    let (peer, port) = family.udp_peer();
    for n in 0..100 {
        assert!(exchange(&i, family, 20_000 + n, &peer));
    }
    let fault = Fault::on(Call::Socket, libc::EMFILE);
    for n in 0..64 {
        i.input(&family.udp_frame(30_000 + n, family.at_vhost(port), b"lost"));
    }
    assert!(fault.hits() >= 64);
    let left = i.flows("UDP[").len();
    assert!(left >= 75, "{left} flows of 100 are left");
    drop(fault);
    assert!(exchange(&i, family, 40_000, &peer));
}

/// What is behind a guest forward can wait: the guest has its connection, and what it sent arrives when there are
/// descriptors, be it that others gave way.
#[test]
fn earnest_3_1_what_is_behind_a_guest_forward_waits_for_a_descriptor() {
    const NAME: &str = "earnest_3_1_what_is_behind_a_guest_forward_waits_for_a_descriptor";
    if !ours("host-errors") || !isolated(NAME, Isolation::Process) {
        return;
    }
    for (unix, gives_way) in [(true, false), (true, true), (false, false), (false, true)] {
        let i = Family::V4.greeted();
        let (peer, _) = Family::V4.udp_peer();
        let path = std::env::temp_dir().join(format!("slirp-descriptors-{}", std::process::id()));
        let listener = UnixListener::bind(&path).unwrap();
        listener.set_nonblocking(true).unwrap();
        add_target(&i, unix, FWD, if unix { path.to_str().unwrap() } else { "cat" });
        if gives_way {
            flows(&i, Family::V4, &peer);
        }
        let mut taken = AllTaken::new();
        let mut conn = Conn::connect(&i, at(FWD, 1000));
        conn.data(&i, b"patient");
        i.advance(Duration::from_secs(3));
        if !gives_way {
            assert!(conn.next(&i).is_none_or(|s| !s.has(FIN) && !s.has(RST)), "nothing was given up");
            taken.give(10);
            i.advance(Duration::from_secs(1));
        }
        if unix {
            taken.give(1);
            let (mut host, _) = i.until("the connection at the socket", || listener.accept().ok());
            let mut bytes = [0; 7];
            host.set_nonblocking(false).unwrap();
            std::io::Read::read_exact(&mut host, &mut bytes).unwrap();
            assert_eq!(&bytes, b"patient");
        } else {
            assert_eq!(conn.receive(&i, 7).1, b"patient");
        }
        drop(taken);
        std::fs::remove_file(&path).unwrap();
    }
}
