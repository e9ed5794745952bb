//! Faults of the host that end, where datagrams are concerned: UDP, pings, and queries to the host's name servers. While a fault
//! lasts, datagrams are lost as on any network; afterwards everything is as before, and costs the host as much.

mod common;
use common::*;

both_families![
    earnest_3_1_bursts_go_out_as_before_when_the_host_sends_again,
    earnest_3_1_datagrams_wait_while_the_host_cannot_read,
    earnest_3_1_pings_are_as_before_when_the_host_has_sockets_again,
    earnest_3_1_answers_to_pings_wait_while_the_host_cannot_read,
    earnest_3_1_no_server_is_avoided_for_the_hosts_own_lack,
];

/// What the host says when it is only short of something.
const PASSING: [i32; 3] = [libc::EAGAIN, libc::ENOBUFS, libc::ENOMEM];
/// What a guest may be told of.
const OTHERS: [i32; 6] = [libc::EPERM, libc::EACCES, libc::EIO, libc::EINVAL, libc::ENETUNREACH, libc::ENETDOWN];
const LACKS: [i32; 4] = [libc::EMFILE, libc::ENFILE, libc::ENOMEM, libc::ENOBUFS];
const BURST: u8 = 64;

/// Datagrams of one flow in one round: how many arrive, and with how many calls of the host.
fn burst(i: &Instance, family: Family, peer: &UdpSocket) -> (u8, usize) {
    let calls = Fault::count(Call::Send);
    let to = family.at_vhost(peer.local_addr().unwrap().port());
    for n in 0..BURST {
        i.input(&family.udp_frame(5000, to, &[n; 100]));
    }
    i.settle();
    let mut buffer = [0; 200];
    let mut arrived = 0;
    while let Ok(length) = peer.recv(&mut buffer) {
        assert_eq!(buffer[..length], [arrived; 100]);
        arrived += 1;
    }
    (arrived, calls.hits())
}

fn earnest_3_1_bursts_go_out_as_before_when_the_host_sends_again(family: Family) {
    if !ours("host-errors") {
        return;
    }
    for errno in PASSING.into_iter().chain(OTHERS) {
        let i = family.greeted();
        let (peer, _) = family.udp_peer();
        let before = burst(&i, family, &peer);
        assert_eq!(before.0, BURST);
        assert!(before.1 < 10, "{} calls for {BURST} datagrams: this shows nothing", before.1);
        let fault = Fault::on(Call::Send, errno);
        assert_eq!(burst(&i, family, &peer).0, 0);
        assert!(fault.hits() > 0);
        let told = i.drain().iter().filter(|f| family.icmp_of(f).is_some()).count();
        assert_eq!(told > 0, OTHERS.contains(&errno), "{errno}: the guest was told {told} times");
        drop(fault);
        assert_eq!(burst(&i, family, &peer), before, "{errno}");
    }
}

/// The host cannot be read from: it is not asked all the time, and what it has for the guest is not lost.
fn earnest_3_1_datagrams_wait_while_the_host_cannot_read(family: Family) {
    if !ours("host-errors") {
        return;
    }
    for errno in [libc::ENOBUFS, libc::ENOMEM, libc::EIO] {
        let i = family.greeted();
        let (peer, port) = family.udp_peer();
        i.input(&family.udp_frame(5000, family.at_vhost(port), b"?"));
        let (_, from) = host_recv(&i, &peer);
        let fault = Fault::on(Call::Receive, errno);
        for n in 0..10u8 {
            peer.send_to(&[n], from).unwrap();
        }
        i.until("the fault to be met", || (fault.hits() > 0).then_some(()));
        let met = fault.hits();
        for _ in 0..1000 {
            i.turn(Duration::ZERO);
        }
        assert_eq!(fault.hits(), met, "{errno}: no time has passed");
        let filled = i.fill(1000);
        if std::env::var("OXISLIRP_POLL").as_deref() == Ok("direct") {
            assert!(filled.wanted.is_empty(), "{filled:?}");
        }
        assert!(filled.timeout > 0, "the application may sleep");
        i.poll_with(true, &vec![0; filled.wanted.len()]);
        drop(fault);
        i.advance(Duration::from_millis(100));
        let got: Vec<Vec<u8>> = i.settled().iter().filter_map(|f| family.udp_of(f)).map(|(_, _, data)| data).collect();
        assert_eq!(got, (0..10).map(|n| vec![n]).collect::<Vec<_>>(), "{errno}");
    }
}

/// Lets this network namespace open ping sockets.
fn pings_allowed() -> bool {
    let done = std::fs::write("/proc/sys/net/ipv4/ping_group_range", "0 0").is_ok();
    if !done {
        eprintln!("SKIPPED: ping_group_range cannot be written here");
    }
    done
}

fn ping(i: &Instance, family: Family, identifier: u16) -> Vec<(u8, u8)> {
    i.input(&family.ping_frame(identifier));
    i.settled().iter().filter_map(|f| family.icmp_of(f)).collect()
}

fn earnest_3_1_pings_are_as_before_when_the_host_has_sockets_again(family: Family) {
    let name = family.test("earnest_3_1_pings_are_as_before_when_the_host_has_sockets_again");
    if !ours("host-errors") || !isolated(&name, Isolation::Network) || !pings_allowed() {
        return;
    }
    let watch = (std::env::var("OXISLIRP_POLL").as_deref() != Ok("direct")).then_some(Call::Watch);
    let lacks = [Some(Call::Socket), watch].into_iter().flatten().flat_map(|call| LACKS.map(|errno| (call, errno)));
    let sends = PASSING.into_iter().chain(OTHERS).map(|errno| (Call::Send, errno));
    for (call, errno) in lacks.chain(sends) {
        let i = family.greeted();
        let answered = [family.echo_reply()];
        assert_eq!(ping(&i, family, 1), answered);
        let fault = Fault::on(call, errno);
        for identifier in [1, 2, 3] {
            let told = ping(&i, family, identifier);
            if call == Call::Send {
                assert_eq!(told.is_empty(), PASSING.contains(&errno), "{errno}: {told:?}");
            } else if identifier > 1 {
                assert!(told.is_empty(), "{call:?}, {errno}: {told:?} for want of something on the host");
            }
        }
        assert!(fault.hits() > 0);
        drop(fault);
        for identifier in [1, 2, 4] {
            assert_eq!(ping(&i, family, identifier), answered, "{call:?}, {errno}");
        }
        i.cleanup();
        let (mut added, mut removed) = i.registrations();
        added.sort_unstable();
        removed.sort_unstable();
        assert_eq!(added, removed, "{call:?}: each descriptor is taken back once");
    }
}

fn earnest_3_1_answers_to_pings_wait_while_the_host_cannot_read(family: Family) {
    let name = family.test("earnest_3_1_answers_to_pings_wait_while_the_host_cannot_read");
    if !ours("host-errors") || !isolated(&name, Isolation::Network) || !pings_allowed() {
        return;
    }
    for errno in [libc::ENOBUFS, libc::ENOMEM, libc::EIO] {
        let i = family.greeted();
        let fault = Fault::on(Call::Receive, errno);
        assert!(ping(&i, family, 1).is_empty());
        let met = fault.hits();
        for _ in 0..1000 {
            i.turn(Duration::ZERO);
        }
        assert!(met > 0 && fault.hits() == met, "{errno}: {met} and {} calls", fault.hits());
        drop(fault);
        i.advance(Duration::from_millis(100));
        let got: Vec<_> = i.settled().iter().filter_map(|f| family.icmp_of(f)).collect();
        assert_eq!(got, [family.echo_reply()], "{errno}");
        assert_eq!(ping(&i, family, 1), got);
    }
}

/// A query for the address of "a.test".
fn query(id: u16) -> Vec<u8> {
    let header = [&id.to_be_bytes()[..], &[1, 0, 0, 1, 0, 0, 0, 0, 0, 0]].concat();
    [&header[..], b"\x01a\x04test\0\0\x01\0\x01"].concat()
}

fn earnest_3_1_no_server_is_avoided_for_the_hosts_own_lack(family: Family) {
    let name = family.test("earnest_3_1_no_server_is_avoided_for_the_hosts_own_lack");
    if !ours("host-errors") || !isolated(&name, Isolation::Resolver) {
        return;
    }
    std::fs::write(child::resolv_conf_path(), "nameserver 127.0.0.77\nnameserver 127.0.0.78\n").unwrap();
    let servers = ["127.0.0.77:53", "127.0.0.78:53"].map(|address| {
        let server = UdpSocket::bind(address).unwrap();
        server.set_nonblocking(true).unwrap();
        server
    });
    let at_server = std::net::SocketAddr::from((family.name_server(), 53));
    let asked = |i: &Instance, id: u16| {
        i.input(&family.udp_frame(5000, at_server, &query(id)));
        let mut buffer = [0; 64];
        i.until("the query at a server", || servers.iter().position(|server| server.recv(&mut buffer).is_ok()))
    };
    let lacks = LACKS.map(|errno| (Call::Socket, errno));
    for (call, errno) in lacks.into_iter().chain(PASSING.map(|errno| (Call::Send, errno))) {
        for later in [false, true] {
            let i = family.greeted();
            let fault = Fault::on(call, errno);
            i.input(&family.udp_frame(5000, at_server, &query(1)));
            assert!(fault.hits() > 0);
            drop(fault);
            if later {
                // Whoever was asked would have been silent for too long.
                i.advance(Duration::from_secs(3));
                assert_eq!(asked(&i, 2), 0, "{call:?}, {errno}: the first server is avoided");
            } else {
                assert_eq!(asked(&i, 1), 0, "{call:?}, {errno}: it is no repetition, as nobody had it");
                assert_eq!(asked(&i, 1), 1, "but now it is");
            }
        }
    }
}
