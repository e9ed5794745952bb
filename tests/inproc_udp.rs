//! UDP from the guest: docs/contract/udp.md.

mod common;
use common::*;
#[cfg(unix)]
use std::os::fd::AsRawFd;

#[cfg(unix)]
both_families![udp_flows_are_bounded];

/// Sends one datagram from the guest's port 5000 and returns what the host socket sees.
fn send(i: &Instance, host: &UdpSocket, to: SocketAddrV4, data: &[u8]) -> std::net::SocketAddr {
    i.input(&udp_frame(5000, to, data));
    let (got, from) = host_recv(i, host);
    assert!(got == data, "the host got {} bytes, not the {} sent", got.len(), data.len());
    from
}

/// Collects one whole datagram for the guest, fragmented or not, and the number of its fragments.
fn receive(i: &Instance) -> (usize, Packet, Datagram) {
    let mut pieces: Vec<Packet> = Vec::new();
    let whole = i.until("a datagram for the guest", || {
        while let Some(p) = i.take(|f| f.ip().filter(|p| p.protocol == UDP).cloned()) {
            let last = !p.more_fragments;
            pieces.push(p);
            if last {
                return Some(reassemble(&pieces));
            }
        }
        None
    });
    let datagram = whole.udp().expect("it is UDP");
    (pieces.len(), whole, datagram)
}

#[test]
fn udp_fact_01_a_datagram_to_the_virtual_host_and_its_answer() {
    let i = Setup::default().start();
    let (host, port) = udp_peer();
    let from = send(&i, &host, at_vhost(port), b"question");
    assert!(from.ip().is_loopback());
    host.send_to(b"answer", from).unwrap();
    let (pieces, packet, d) = receive(&i);
    assert_eq!((d.src, d.dst, d.data.as_slice()), (at_vhost(port), at(GUEST, 5000), &b"answer"[..]));
    assert_eq!((pieces, packet.ttl, packet.tos, packet.dst_mac), (1, 64, 0, GUEST_MAC));
}

#[test]
fn udp_fact_02_one_guest_port_uses_one_host_port() {
    let i = Setup::default().start();
    let ((a, pa), (b, pb)) = (udp_peer(), udp_peer());
    let from_a = send(&i, &a, at_vhost(pa), b"a");
    let from_b = send(&i, &b, at_vhost(pb), b"b");
    assert_eq!(from_a, from_b);
    i.input(&udp_frame(5001, at_vhost(pa), b"c"));
    assert_ne!(host_recv(&i, &a).1, from_a);
    let (added, removed) = i.registrations();
    assert_eq!((added.len(), removed.len()), (2, 0));
}

#[test]
fn udp_fact_03_a_third_party_may_answer() {
    let i = Setup::default().start();
    let (host, port) = udp_peer();
    let (stranger, stranger_port) = udp_peer();
    let from = send(&i, &host, at_vhost(port), b"x");
    stranger.send_to(b"hello", from).unwrap();
    let (_, _, d) = receive(&i);
    assert_eq!((d.src, d.data.as_slice()), (at_vhost(stranger_port), &b"hello"[..]));
}

#[test]
fn udp_fact_04_empty_datagrams_pass_both_ways() {
    let i = Setup::default().start();
    let (host, port) = udp_peer();
    let from = send(&i, &host, at_vhost(port), b"");
    host.send_to(b"", from).unwrap();
    let (_, packet, d) = receive(&i);
    assert_eq!((d.data.len(), packet.total_len), (0, 28));
}

#[test]
fn udp_fact_05_the_checksum_is_checked_when_there_is_one() {
    let i = Setup::default().start();
    let (host, port) = udp_peer();
    let mut datagram = udp(at(GUEST, 5000), at_vhost(port), b"sum");
    datagram[6] ^= 0x10;
    i.input(&Ip::new(VHOST, UDP).frame(&datagram));
    host_gets_nothing(&i, &host);
    datagram[6..8].fill(0);
    i.input(&Ip::new(VHOST, UDP).frame(&datagram));
    assert_eq!(host_recv(&i, &host).0, b"sum");
}

#[test]
fn udp_fact_06_the_udp_length_rules() {
    let i = Setup::default().start();
    let (host, port) = udp_peer();
    let with_length = |len: u16| {
        let mut d = udp(at(GUEST, 5000), at_vhost(port), b"0123456789");
        d[4..6].copy_from_slice(&len.to_be_bytes());
        d[6..8].fill(0);
        i.input(&Ip::new(VHOST, UDP).frame(&d));
    };
    with_length(8 + 4);
    assert_eq!(host_recv(&i, &host).0, b"0123");
    with_length(8);
    assert_eq!(host_recv(&i, &host).0, b"");
    for bad in [19, 60, 0xffff] {
        with_length(bad);
    }
    if ours("udp-length") {
        for bad in [0, 1, 4, 7] {
            with_length(bad);
        }
    }
    host_gets_nothing(&i, &host);
}

#[test]
fn udp_fact_07_large_answers_are_fragmented() {
    let i = Setup::default().start();
    let (host, port) = udp_peer();
    let from = send(&i, &host, at_vhost(port), b"x");
    for (len, pieces) in [(1472, 1), (1473, 2), (4000, 3), (60_000, 41)] {
        host.send_to(&pattern(len), from).unwrap();
        let (n, _, d) = receive(&i);
        assert!(d.data == pattern(len), "{len} bytes came back changed");
        assert_eq!(n, pieces, "{len} bytes");
    }
}

#[test]
fn udp_fact_08_a_fragmented_datagram_arrives_as_one() {
    let i = Setup::default().start();
    let (host, port) = udp_peer();
    let data = pattern(3000);
    let datagram = udp(at(GUEST, 5000), at_vhost(port), &data);
    for piece in Ip::new(VHOST, UDP).fragments(&datagram, &[1480, 2960]) {
        i.input(&piece);
    }
    assert!(host_recv(&i, &host).0 == data);
}

#[test]
fn udp_fact_09_a_flow_expires_after_240_seconds() {
    let i = Setup::default().start();
    let (host, port) = udp_peer();
    send(&i, &host, at_vhost(port), b"x");
    i.settle();
    assert!(i.flows("UDP[")[0].starts_with("UDP[240 sec]"), "{:?}", i.flows("UDP["));
    let (added, removed) = i.registrations();
    assert_eq!((added.len(), removed.len()), (1, 0));
    i.advance(Duration::from_secs(239));
    assert_eq!(i.flows("UDP[").len(), 1);
    i.advance(Duration::from_secs(2));
    assert!(i.flows("UDP[").is_empty());
    assert_eq!(i.registrations().1, added);
}

#[test]
fn udp_fact_09_a_datagram_in_either_direction_starts_the_time_again() {
    let i = Setup::default().start();
    let (host, port) = udp_peer();
    let from = send(&i, &host, at_vhost(port), b"x");
    i.advance(Duration::from_secs(200));
    host.send_to(b"still here", from).unwrap();
    receive(&i);
    i.advance(Duration::from_secs(200));
    assert_eq!(send(&i, &host, at_vhost(port), b"me too"), from);
    i.advance(Duration::from_secs(200));
    assert_eq!(i.flows("UDP[").len(), 1);
}

#[test]
fn udp_fact_11_a_closed_port_is_reported_and_the_flow_stays() {
    let i = Setup::default().start();
    let port = closed_udp_port();
    i.input(&udp_frame(5000, at_vhost(port), b"x"));
    let (packet, icmp) = i.wait_icmp("port unreachable");
    assert_eq!((icmp.kind, icmp.code), (3, 3));
    assert_eq!(packet.src, if ours("icmp-loopback-offender") { VHOST } else { LOCALHOST });
    assert_eq!(i.flows("UDP[").len(), 1);
    // The flow still works, for another destination.
    let (host, open) = udp_peer();
    send(&i, &host, at_vhost(open), b"y");
}

#[test]
fn udp_fact_12_no_route_is_reported_and_the_flow_stays() {
    if !isolated("udp_fact_12_no_route_is_reported_and_the_flow_stays", Isolation::Network) {
        return;
    }
    let i = Setup::default().start();
    i.input(&udp_frame(5000, at(Ipv4Addr::new(192, 0, 2, 1), 9), b"x"));
    let (packet, icmp) = i.wait_icmp("network unreachable");
    assert_eq!((icmp.kind, icmp.code, packet.src), (3, 0, VHOST));
    assert_eq!(i.flows("UDP[").len(), 1);
}

#[test]
fn udp_fact_13_another_source_address_is_served() {
    let i = Setup::default().start();
    let (host, port) = udp_peer();
    let src = Ipv4Addr::new(9, 9, 9, 9);
    let datagram = udp(at(src, 5000), at_vhost(port), b"spoofed");
    i.input(&Ip { src, ..Ip::new(VHOST, UDP) }.frame(&datagram));
    let (data, from) = host_recv(&i, &host);
    assert_eq!(data, b"spoofed");
    host.send_to(b"answer", from).unwrap();
    i.wait("an ARP request for the strange source", |f| f.arp_request().filter(|a| *a == src));
}

#[test]
fn udp_fact_15_disable_dns_leaves_the_dns_address_alone() {
    if !isolated("udp_fact_15_disable_dns_leaves_the_dns_address_alone", Isolation::Network) {
        return;
    }
    // Without a route to 10.0.2.3 the host refuses, and without the option the resolver at 127.0.0.1 would be asked.
    let i = Setup::with(|c| c.disable_dns = true).start();
    i.input(&udp_frame(5000, at(VDNS, 53), b"x"));
    let (_, icmp) = i.wait_icmp("network unreachable");
    assert_eq!((icmp.kind, icmp.code), (3, 0));
    i.input(&Ip::new(VDNS, ICMP).frame(&echo_request(1, 1, b"x")));
    assert_eq!(i.wait_icmp("an echo reply").1.kind, 0);
}

#[test]
fn udp_every_waiting_datagram_is_delivered_in_order() {
    let i = Setup::default().start();
    let (host, port) = udp_peer();
    let from = send(&i, &host, at_vhost(port), b"x");
    for n in 0..50u8 {
        host.send_to(&[n; 100], from).unwrap();
    }
    for n in 0..50u8 {
        assert_eq!(receive(&i).2.data, [n; 100]);
    }
}

#[test]
fn udp_a_guest_that_says_something_each_round_is_not_drowned() {
    let i = Setup::default().start();
    let ((host, port), (other, other_port)) = (udp_peer(), udp_peer());
    let from = send(&i, &host, at_vhost(port), b"x");
    send(&i, &other, at_vhost(other_port), b"x");
    let says_something = || {
        i.input(&udp_frame(5000, at_vhost(other_port), b"answer"));
        i.turn(Duration::ZERO);
    };
    for _ in 0..3 {
        says_something();
    }
    for n in 0..200u8 {
        host.send_to(&[n; 100], from).unwrap();
    }
    // They come in bursts, after each of which it is listened to.
    let (mut got, mut rounds) = (Vec::new(), Vec::new());
    for _ in 0..100 {
        says_something();
        let before = got.len();
        got.extend(i.drain().iter().filter_map(|frame| Some(frame.ip()?.udp()?.data)));
        rounds.push(got.len() - before);
    }
    let in_forty = rounds.windows(40).map(|some| some.iter().sum::<usize>()).max();
    assert!(in_forty <= Some(64 + 40), "{rounds:?}");
    assert!((100..200).contains(&got.len()), "{} in {rounds:?}", got.len());
    // And all of the rest comes when it is silent.
    i.until("the rest", || {
        got.extend(i.drain().iter().filter_map(|frame| Some(frame.ip()?.udp()?.data)));
        (got.len() == 200).then_some(())
    });
    assert!((0..200u8).all(|n| got.get(usize::from(n)).is_some_and(|data| *data == [n; 100])), "out of order");
}

#[test]
fn udp_a_flow_made_before_the_first_poll_lives() {
    let i = Setup { warm: false, ..Setup::default() }.start();
    let (host, port) = udp_peer();
    let from = send(&i, &host, at_vhost(port), b"early");
    i.settle();
    if ours("udp-cold-clock") {
        assert_eq!(i.flows("UDP[").len(), 1);
        host.send_to(b"answer", from).unwrap();
        assert_eq!(receive(&i).2.data, b"answer");
    }
}

#[test]
fn udp_a_reply_of_an_earlier_destination_keeps_its_address() {
    let i = Setup::default().start();
    let (direct, direct_port) = udp_peer();
    let (host, port) = udp_peer();
    // First to 127.0.0.1 by its own name, then to the virtual host.
    let from = send(&i, &direct, at(LOCALHOST, direct_port), b"x");
    send(&i, &host, at_vhost(port), b"y");
    direct.send_to(b"late", from).unwrap();
    let source = if ours("udp-reply-source") { LOCALHOST } else { VHOST };
    assert_eq!(receive(&i).2.src, at(source, direct_port));
}

/// With fewer descriptors than the guest has ports the flood costs only the guest's own older flows, and no datagram.
#[cfg(unix)]
fn udp_flows_are_bounded(family: Family) {
    if !isolated(&family.test("udp_flows_are_bounded"), Isolation::Process) {
        return;
    }
    if !ours("flow-bound") {
        return;
    }
    // SAFETY: the limit is set for this child process only.
    let limited = unsafe {
        let limit = libc::rlimit { rlim_cur: 256, rlim_max: 256 };
        libc::setrlimit(libc::RLIMIT_NOFILE, &limit)
    };
    assert_eq!(limited, 0);
    let i = family.greeted();
    let (host, port) = family.udp_peer();
    let mut buffer = [0; 16];
    let mut arrived = 0;
    for guest_port in 1000..6000 {
        i.input(&family.udp_frame(guest_port, family.at_vhost(port), b"flood"));
        if guest_port % 100 == 0 {
            i.turn(Duration::ZERO);
            while host.recv(&mut buffer).is_ok() {
                arrived += 1;
            }
        }
    }
    i.settle();
    while host.recv(&mut buffer).is_ok() {
        arrived += 1;
    }
    assert_eq!(arrived, 5000);
    i.input(&family.udp_frame(7000, family.at_vhost(port), b"after"));
    assert_eq!(host_recv(&i, &host).0, b"after");
}

#[test]
fn udp_the_first_datagram_of_a_burst_goes_at_once_and_the_others_whole_and_in_order() {
    let i = Setup::default().start();
    let ((a, pa), (b, pb)) = (udp_peer(), udp_peer());
    send(&i, &a, at_vhost(pa), b"warm");
    // Runs of equal size, shorter and longer ones, empty ones, and more than is staged at a time.
    let sizes = [1000usize, 1000, 1000, 300, 300, 1400, 0, 1000, 0, 0, 7];
    let burst: Vec<Vec<u8>> = (0..100u8).map(|n| vec![n; sizes[usize::from(n) % sizes.len()]]).collect();
    i.settle();
    for (n, data) in burst.iter().enumerate() {
        i.input(&udp_frame(5000, at_vhost(pa), data));
        if n == 0 {
            // The application's loop has not come round.
            let mut got = [0; 2000];
            assert_eq!(a.recv_from(&mut got).expect("the first goes at once").0, data.len());
        }
    }
    i.input(&udp_frame(5000, at_vhost(pb), b"to another"));
    for data in burst.iter().skip(1) {
        let got = host_recv(&i, &a).0;
        assert!(got == *data, "{} bytes of {} came", got.len(), data.len());
    }
    assert_eq!(host_recv(&i, &b).0, b"to another");
}

/// A sender that leaves the cutting to its kernel: over loopback its datagrams reach a prepared socket put together.
#[test]
#[cfg(unix)]
fn udp_datagrams_of_a_sender_with_segmentation_come_apart_and_in_order() {
    let i = Setup::default().start();
    let (host, port) = udp_peer();
    let from = send(&i, &host, at_vhost(port), b"x");
    host.connect(from).unwrap();
    let segment: libc::c_int = 500;
    // SAFETY: the value is an int of the stated size.
    let set = unsafe {
        let size = std::mem::size_of::<libc::c_int>() as libc::socklen_t;
        libc::setsockopt(host.as_raw_fd(), libc::SOL_UDP, libc::UDP_SEGMENT, (&raw const segment).cast(), size)
    };
    assert_eq!(set, 0, "this test needs Linux 4.18");
    // The first runs are cut by the kernel; after them the library's socket takes them whole.
    for run in 0..8u8 {
        let cells: Vec<Vec<u8>> = (0..30).map(|n| vec![run * 30 + n; if n < 29 { 500 } else { 77 }]).collect();
        host.send(&cells.concat()).unwrap();
        for cell in &cells {
            let d = receive(&i).2;
            assert_eq!((d.data.len(), d.data.first(), d.src), (cell.len(), cell.first(), at_vhost(port)));
        }
    }
}

/// The loop of slirp4netns, one frame a round: a question that follows an answer does not wait for the round after it.
#[test]
fn udp_questions_and_answers_never_wait_for_a_round() {
    let i = Setup::default().start();
    let (host, port) = udp_peer();
    let from = send(&i, &host, at_vhost(port), b"warm");
    host.send_to(b"warm", from).unwrap();
    receive(&i);
    for n in 0..6u8 {
        i.input(&udp_frame(5000, at_vhost(port), &[n]));
        let mut got = [0; 16];
        let (length, _) = host.recv_from(&mut got).expect("the question goes at once");
        assert_eq!(got[..length], [n]);
        i.turn(Duration::ZERO);
        host.send_to(&[n, n], from).unwrap();
        assert_eq!(receive(&i).2.data, [n, n]);
    }
}
