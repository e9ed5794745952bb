//! ICMP: the IPv4 facts of docs/contract/icmp.md.

mod common;
use common::*;

fn ping(i: &Instance, dst: Ipv4Addr, data: &[u8]) {
    i.input(&Ip::new(dst, ICMP).frame(&echo_request(0x1357, 3, data)));
}

/// Lets this network namespace open ping sockets; false when the machine does not allow that.
fn allow_ping_sockets() -> bool {
    let done = std::fs::write("/proc/sys/net/ipv4/ping_group_range", "0 0").is_ok();
    if !done {
        eprintln!("SKIPPED: ping_group_range cannot be written here");
    }
    done
}

#[test]
fn icmp_fact_01_the_virtual_addresses_answer_pings() {
    let i = Setup::default().start();
    for (dst, len) in [(VHOST, 0), (VHOST, 56), (VDNS, 1), (VDNS, 1472)] {
        let data = pattern(len);
        i.input(&Ip { tos: 0x28, ..Ip::new(dst, ICMP) }.frame(&echo_request(0xabcd, 9, &data)));
        let (packet, icmp) = i.wait_icmp("an echo reply");
        assert_eq!((packet.src, packet.dst, packet.ttl, packet.tos), (dst, GUEST, 255, 0x28));
        assert_eq!((icmp.kind, icmp.code, icmp.rest, icmp.data), (0, 0, [0xab, 0xcd, 0, 9], data));
    }
    let (added, _) = i.registrations();
    assert!(added.is_empty(), "a ping to a virtual address needs no host socket");
}

#[test]
fn icmp_fact_02_malformed_and_other_messages_are_ignored() {
    let i = Setup::default().start();
    let good = echo_request(1, 1, b"data");
    i.input(&Ip::new(VHOST, ICMP).frame(&good[..7]));
    let mut bad = good.clone();
    bad[2] ^= 0x40;
    i.input(&Ip::new(VHOST, ICMP).frame(&bad));
    for kind in (0..=255).filter(|k| *k != 8) {
        i.input(&Ip::new(VHOST, ICMP).frame(&icmp(kind, 0, [0, 1, 0, 1], b"0123456789012345678901234567")));
    }
    i.expect_silence();
}

#[test]
fn icmp_fact_03_a_ping_of_the_hosts_loopback_by_ping_socket() {
    if !isolated("icmp_fact_03_a_ping_of_the_hosts_loopback_by_ping_socket", Isolation::Network)
        || !allow_ping_sockets()
    {
        return;
    }
    let i = Setup::default().start();
    let data = pattern(100);
    ping(&i, LOCALHOST, &data);
    let (packet, icmp) = i.wait_icmp("an echo reply from the host");
    // The host answers with 64 hops, of which we take one.
    let ttl = if ours("ping-hops") { 63 } else { 255 };
    assert_eq!((packet.src, packet.ttl, icmp.kind), (LOCALHOST, ttl, 0));
    assert_eq!((icmp.rest, icmp.data), ([0x13, 0x57, 0, 3], data));
    i.settle();
    assert!(i.drain().is_empty(), "one reply only");
    let (added, removed) = i.registrations();
    assert_eq!(added.len(), 1);
    if library().upstream {
        assert_eq!(removed, added);
    }
}

#[test]
fn icmp_fact_04_a_ping_without_route_is_unreachable() {
    if !isolated("icmp_fact_04_a_ping_without_route_is_unreachable", Isolation::Network) {
        return;
    }
    let i = Setup::default().start();
    let to = Ipv4Addr::new(192, 0, 2, 9);
    ping(&i, to, &pattern(16));
    let (packet, icmp) = i.wait_icmp("network unreachable");
    assert_eq!((packet.src, packet.tos, packet.frame_len, icmp.kind, icmp.code), (VHOST, 0xc0, 86, 3, 0));
    assert_eq!(icmp.data, Ip::new(to, ICMP).packet(&echo_request(0x1357, 3, &pattern(16))));
    i.expect_silence();
}

#[test]
fn icmp_fact_05_ttl_one_reaches_the_hosts_own_addresses() {
    if !isolated("icmp_fact_05_ttl_one_reaches_the_hosts_own_addresses", Isolation::Network) || !allow_ping_sockets() {
        return;
    }
    let i = Setup::default().start();
    i.input(&Ip { ttl: 1, ..Ip::new(LOCALHOST, ICMP) }.frame(&echo_request(1, 1, b"x")));
    let (_, icmp) = i.wait_icmp("an answer");
    // Upstream ignores the TTL; a router answers that it is exceeded.
    assert!(icmp.kind == 0 || (ours("ping-ttl") && icmp.kind == 11), "{icmp:?}");
}

#[test]
fn icmp_fact_06_a_ping_of_the_hosts_loopback_by_raw_socket() {
    if !isolated("icmp_fact_06_a_ping_of_the_hosts_loopback_by_raw_socket", Isolation::Network) {
        return;
    }
    let i = Setup::default().start();
    let data = pattern(100);
    ping(&i, LOCALHOST, &data);
    let (packet, icmp) = i.wait_icmp("an echo reply from the host");
    // The host answers with 64 hops, of which we take one.
    let ttl = if ours("ping-hops") { 63 } else { 255 };
    assert_eq!((packet.src, packet.ttl, icmp.kind), (LOCALHOST, ttl, 0));
    assert_eq!((icmp.rest, icmp.data), ([0x13, 0x57, 0, 3], data));
    i.settle();
    assert!(i.drain().is_empty(), "one reply only");
}

#[test]
fn icmp_fact_08_unanswered_echo_is_listed_and_expires() {
    if !isolated("icmp_fact_08_unanswered_echo_is_listed_and_expires", Isolation::Network) || !allow_ping_sockets() {
        return;
    }
    std::fs::write("/proc/sys/net/ipv4/icmp_echo_ignore_all", "1").expect("a sysctl of our own namespace");
    let i = Setup::default().start();
    ping(&i, LOCALHOST, b"anyone?");
    i.settle();
    let listed = i.flows("ICMP[");
    assert_eq!(listed.len(), 1, "{listed:?}");
    if library().upstream {
        assert!(listed[0].starts_with("ICMP[240 sec]"), "{listed:?}");
    }
    i.advance(Duration::from_secs(241));
    i.fill(1000);
    assert!(i.flows("ICMP[").is_empty());
    assert!(i.drain().is_empty());
}

#[test]
fn icmp_fact_09_a_closed_udp_port_is_reported() {
    let i = Setup::default().start();
    let port = closed_udp_port();
    let datagram = udp(at(GUEST, 5000), at_vhost(port), b"anyone?");
    i.input(&Ip::new(VHOST, UDP).frame(&datagram));
    let (packet, icmp) = i.wait_icmp("port unreachable");
    assert_eq!((icmp.kind, icmp.code, packet.dst), (3, 3, GUEST));
    let offender = if ours("icmp-loopback-offender") { VHOST } else { LOCALHOST };
    assert_eq!(packet.src, offender);
    // The quote shows the addresses that the guest used.
    assert_eq!(icmp.data[12..20], [GUEST.octets(), VHOST.octets()].concat());
    assert_eq!(icmp.data[20..24], datagram[..4]);
}

#[test]
fn icmp_fact_10_the_ttl_of_udp_is_honoured() {
    let i = Setup::default().start();
    let (host, port) = udp_peer();
    let send = |ttl| {
        let ip = Ip { ttl, ..Ip::new(VHOST, UDP) };
        i.input(&ip.frame(&udp(at(GUEST, 5000), at_vhost(port), b"hop")));
    };
    send(1);
    let (packet, icmp) = i.wait_icmp("time exceeded");
    assert_eq!((packet.src, icmp.kind, icmp.code), (VHOST, 11, 0));
    host_gets_nothing(&i, &host);
    send(2);
    assert_eq!(host_recv(&i, &host).0, b"hop");
}

#[test]
fn icmp_errors_are_not_sent_about_errors_fragments_or_strange_sources() {
    let i = Setup::default().silent().start();
    let zero_ttl = |ip: Ip, payload: &[u8]| i.input(&Ip { ttl: 0, ..ip }.frame(payload));
    // About an ICMP error.
    zero_ttl(Ip::new(VHOST, ICMP), &icmp(3, 1, [0; 4], &[0; 28]));
    // About a source whose low 28 bits are zero.
    for src in [Ipv4Addr::UNSPECIFIED, Ipv4Addr::new(16, 0, 0, 0), Ipv4Addr::new(224, 0, 0, 0)] {
        let ip = Ip { src, ..Ip::new(VHOST, UDP) };
        zero_ttl(ip, &udp(at(src, 1), at_vhost(9), b"x"));
    }
    i.settle();
    assert!(i.drain().is_empty());
}

#[test]
fn icmp_errors_quote_at_most_548_bytes() {
    let i = Setup::default().start();
    let big = pattern(1400);
    i.input(&Ip::new(VDNS, UDP).frame(&udp(at(GUEST, 5000), at(VDNS, 99), &big)));
    let (_, icmp) = i.wait_icmp("network unreachable");
    assert_eq!((icmp.kind, icmp.code, icmp.data.len()), (3, 0, 548));
    assert_eq!(icmp.data[28..], big[..520]);
}

/// Takes every capability from this process.
#[cfg(unix)]
fn drop_capabilities() {
    // linux/capability.h: version 3 has two words for each of the three sets.
    let header: [u32; 2] = [0x2008_0522, 0];
    let sets = [0u32; 6];
    // SAFETY: both are as long as the call wants, and it only reads them.
    let result = unsafe { libc::syscall(libc::SYS_capset, header.as_ptr(), sets.as_ptr()) };
    assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
}

#[test]
#[cfg(unix)]
fn icmp_fact_07_without_ping_permission_the_guest_is_told_at_once() {
    // In a new network namespace nobody is allowed ping sockets.
    if !isolated("icmp_fact_07_without_ping_permission_the_guest_is_told_at_once", Isolation::Network) {
        return;
    }
    if !ours("ping-no-permission") {
        return;
    }
    drop_capabilities();
    let i = start6(setup6());
    ping(&i, Ipv4Addr::new(127, 0, 0, 9), &pattern(16));
    let (packet, icmp) = i.wait_icmp("host unreachable");
    assert_eq!((packet.src, icmp.kind, icmp.code), (VHOST, 3, 1));
    let error = i.answer6(&Ip6::new(LOOPBACK, ICMPV6).icmp(&echo6(1, 1, b"x")));
    assert_eq!(error.iter().map(|p| (p.src, p.icmp())).collect::<Vec<_>>(), [(ROUTER6, Some((1, 3)))]);
    i.expect_silence();
}
