//! What a broken or hostile guest sends over IPv6: damaged and spoofed neighbor discovery, floods of neighbors and
//! fragments, chains of extension headers, and every road around what is forbidden. Each answer is silence, or what an
//! RFC says; memory stays bounded, and the well-behaved are still served.

mod common;
use common::*;
use std::net::Ipv6Addr;

/// A guest address that was not used before.
fn nobody_yet(number: u32) -> Ipv6Addr {
    Ipv6Addr::from(u128::from(ip("fec0::4000:0:0:0")) + u128::from(number))
}

#[test]
fn ndp_option_lengths_that_do_not_fit_are_silent() {
    if !ours("ndp-options") {
        return;
    }
    let i = setup6().silent().start();
    let mut number = 0;
    // One option of 8, 16 or 24 bytes that claims every length there is; and one behind it that is cut short.
    for units in 1..=3u8 {
        for claimed in 0..=255u8 {
            for kind in [1, 2, 14, 253] {
                let mut options = vec![0; usize::from(units) * 8];
                (options[0], options[1]) = (kind, claimed);
                if claimed != 0 && claimed < units {
                    // The rest has to be options too.
                    options[usize::from(claimed) * 8..]
                        .copy_from_slice(&[14, units - claimed].repeat(12)[..usize::from(units - claimed) * 8]);
                }
                number += 1;
                let guest = nobody_yet(number);
                let fits = (1..=units).contains(&claimed);
                for (at, message) in discovery(guest, &options) {
                    let answered = !i.answer6(&at.icmp(&message)).is_empty();
                    assert_eq!(answered, fits && message[0] != 136, "type {}, length {claimed} of {units}", message[0]);
                    assert_eq!(knows(&i, guest), fits, "type {}, length {claimed} of {units}", message[0]);
                }
            }
        }
    }
    for cut in 1..8 {
        number += 1;
        let guest = nobody_yet(number);
        for (at, message) in discovery(guest, &[&[1, 1, 2, 0, 0, 0, 0, 9][..], &[1; 8][..cut]].concat()) {
            silent(&i, &at.icmp(&message), &format!("type {}, {cut} bytes of a second option", message[0]));
            assert!(!knows(&i, guest));
        }
    }
    alive6(&start6(setup6()));
}

#[test]
fn ndp_hop_limits_codes_lengths_and_sums_that_are_wrong_are_silent() {
    let i = setup6().silent().start();
    let mut number = 0;
    let mut rejected = |frame: &dyn Fn(&Ip6, Vec<u8>) -> Vec<u8>, what: &str| {
        number += 1;
        let guest = nobody_yet(number);
        for (at, message) in discovery(guest, &[]) {
            let (kind, hop_limit) = (message[0], frame(&at, message.clone())[21]);
            // A hop limit of zero is an error by itself, and the guest has to be found for that.
            let replies = i.answer6(&frame(&at, message));
            assert!(replies.is_empty() || hop_limit == 0, "type {kind}, {what}: {replies:02x?}");
            assert!(
                replies.iter().all(|p| [Some((3, 0)), Some((135, 0))].contains(&p.icmp())),
                "type {kind}, {what}: {replies:02x?}"
            );
            assert!(!knows(&i, guest), "type {kind}, {what}");
        }
    };
    for hop_limit in 0..=254 {
        rejected(&|at, message| Ip6 { hop_limit, ..*at }.icmp(&message), &format!("hop limit {hop_limit}"));
    }
    for code in 1..=255 {
        rejected(
            &|at, mut message| {
                message[1] = code;
                at.icmp(&message)
            },
            &format!("code {code}"),
        );
    }
    for missing in 1..=4 {
        rejected(&|at, message| at.icmp(&message[..message.len() - missing]), &format!("{missing} bytes missing"));
    }
    for bit in 0..16 {
        let flip = |at: &Ip6, message: Vec<u8>| {
            let mut frame = at.icmp(&message);
            frame[56 + bit / 8] ^= 1 << (bit % 8);
            frame
        };
        rejected(&flip, &format!("bit {bit} of the checksum is wrong"));
    }
    // As they should be, all of them are taken.
    let guest = nobody_yet(0);
    let answered = discovery(guest, &[]).map(|(at, message)| i.answer6(&at.icmp(&message)).len());
    assert_eq!((answered, knows(&i, guest)), ([1, 1, 0], true));
}

#[test]
fn a_router_advertisement_or_redirect_of_the_guest_is_reported_and_changes_nothing() {
    let i = start6(setup6());
    let ask = || i.answer6(&Ip6::ndp(GUEST6, ALL_ROUTERS).icmp(&ndp_message(133, 0, None, &[])));
    let before = ask();
    i.events();
    // It calls itself the default router for a prefix, and the way to the virtual host somebody else's.
    let advertisement = ndp_message(134, 0x40, None, &[&[0; 8][..], &before[0].payload[16..]].concat());
    let target = [ip("fe80::bad").octets(), VHOST6.octets()].concat();
    let redirect = ndp_message(137, 0, None, &[&target[..], &[2, 1, 2, 0, 0, 0, 0xba, 0xd0]].concat());
    for (message, text) in [
        (advertisement, "Warning: guest sent NDP RA, but shouldn't"),
        (redirect, "Warning: guest sent NDP REDIRECT, but shouldn't"),
    ] {
        for source in [GUEST_LL, ip("fe80::bad")] {
            silent(&i, &Ip6::ndp(source, ALL_NODES).icmp(&message), text);
            assert!(i.events().contains(&Event::GuestError(text.into())), "{text}");
            assert!(!knows(&i, source), "{text}");
        }
        // Under the router's own address it is not even looked at.
        if ours("virtual-source") {
            silent(&i, &Ip6::ndp(ROUTER6, ALL_NODES).icmp(&message), text);
            assert!(i.events().is_empty());
        }
    }
    assert_eq!(ask(), before);
    alive6(&i);
}

#[test]
fn ndp_virtual_and_impossible_sources_are_dropped() {
    if !ours("virtual-source") {
        return;
    }
    let i = start6(setup6());
    for source in ["fec0::2", "fec0::3", "fe80::2", "fe80::3", "::1", "ff02::5"].map(ip) {
        let from = Ip6 { src: source, ..Ip6::new(VHOST6, ICMPV6) };
        silent(&i, &from.icmp(&echo6(1, 1, b"")), &source.to_string());
        silent(&i, &Ip6::ndp(source, ALL_NODES).icmp(&ndp_message(136, 0x20, Some(source), &[])), "a claim");
        // The guest's own address as the source does not make the claim better.
        silent(&i, &Ip6::ndp(GUEST6, VHOST6).icmp(&ndp_message(136, 0x60, Some(source), &[])), "a claim");
        assert!(!knows(&i, source), "{}", i.neighbor_info());
    }
}

#[test]
fn ten_thousand_neighbors_are_bounded_and_the_guest_is_found_again() {
    if !isolated("ten_thousand_neighbors_are_bounded_and_the_guest_is_found_again", Isolation::Process) {
        return;
    }
    let i = start6(setup6());
    let flood = |first: u32| {
        for n in first..first + 10_000 {
            let address = nobody_yet(n);
            i.greet6(address);
            if !ours("arp-queue-bound") {
                continue;
            }
            // And one that nobody claims, which the reply has to wait for.
            let unknown = Ip6 { src: Ipv6Addr::from(u128::from(address) ^ 1 << 40), ..Ip6::new(VHOST6, ICMPV6) };
            i.input(&unknown.icmp(&echo6(1, 1, &[0; 1000])));
        }
        assert_eq!(i.neighbor_info().lines().filter(|l| l.trim_start().starts_with("NDP")).count(), 16);
        assert!(i.drain().iter().filter_map(packet6).all(|p| p.icmp() == Some((135, 0))));
    };
    flood(0);
    let before = resident();
    flood(10_000);
    let grown = resident().saturating_sub(before);
    assert!(grown < 2 << 20, "{grown} bytes more for 10,000 neighbors");
    if !ours("arp-queue-bound") {
        return;
    }
    // The guest was pushed out of the table: it is asked for and found.
    let request = Ip6::new(VHOST6, ICMPV6).icmp(&echo6(2, 2, b"still there?"));
    let solicited = i.answer6(&request);
    assert_eq!(solicited.iter().map(|p| p.dst).collect::<Vec<_>>(), [solicited_node(GUEST6)]);
    i.greet6(GUEST6);
    assert_eq!(i.wait6("the reply", |p| p.icmp()), (129, 0));
}

/// An extension header of 8 bytes: options that are padding.
fn padding(next: u8) -> Vec<u8> {
    vec![next, 0, 1, 4, 0, 0, 0, 0]
}

/// Packets with a chain of extension headers before an echo request to the virtual host.
fn chained(first: u8, chain: &[Vec<u8>]) -> Vec<u8> {
    let echo = Ip6::new(VHOST6, ICMPV6).icmp(&echo6(1, 1, b"extended"));
    Ip6::new(VHOST6, first).frame(&[&chain.concat(), &echo[54..]].concat())
}

#[test]
fn extension_headers_are_walked_up_to_a_bound() {
    if !ours("ipv6-extensions") {
        return;
    }
    let i = start6(setup6());
    let answers = |frame: &[u8]| i.answer6(frame).iter().map(|p| p.icmp()).collect::<Vec<_>>();
    let reply = vec![Some((129, 0))];
    // Each kind alone, and all that there are in the order that RFC 8200 wants.
    assert_eq!(answers(&chained(0, &[padding(ICMPV6)])), reply);
    assert_eq!(answers(&chained(60, &[padding(ICMPV6)])), reply);
    assert_eq!(answers(&chained(43, &[vec![ICMPV6, 0, 9, 0, 0, 0, 0, 0]])), reply);
    assert_eq!(answers(&chained(44, &[vec![ICMPV6, 0, 0, 0, 0, 0, 0, 1]])), reply);
    let routing = vec![44, 0, 9, 0, 0, 0, 0, 0];
    let fragment = vec![60, 0, 0, 0, 0, 0, 0, 1];
    assert_eq!(answers(&chained(0, &[padding(60), padding(43), routing, fragment, padding(ICMPV6)])), reply);
    // Eight are taken, more are not: no packet that means well has them.
    for count in 1..=20 {
        let mut chain = vec![padding(60); count];
        chain[count - 1] = padding(ICMPV6);
        assert_eq!(answers(&chained(60, &chain)), if count <= 8 { reply.clone() } else { vec![] }, "{count} headers");
    }
    // The longest there may be, and as many as the MTU takes.
    let mut long = vec![1, (1400 / 8 - 1) as u8];
    long[0] = ICMPV6;
    while long.len() < 1400 {
        let pad = (1400 - long.len() - 2).min(255);
        long.extend([1, pad as u8]);
        long.resize(long.len() + pad, 0);
    }
    assert_eq!(answers(&chained(60, &[long])), reply);
}

#[test]
fn extension_headers_that_are_damaged_are_dropped() {
    if !ours("ipv6-extensions") {
        return;
    }
    let i = start6(setup6());
    for kind in [0, 43, 60] {
        // A length that leads out of the packet, from the first and from a later header.
        for units in 3..=255u8 {
            let mut header = padding(ICMPV6);
            header[1] = units;
            silent_now(&i, &chained(kind, &[header.clone()]), &format!("header {kind} of {units} units"));
            silent_now(&i, &chained(0, &[padding(60), header]), &format!("a second header of {units} units"));
        }
        // Cut anywhere.
        for length in 0..8 {
            let frame = Ip6::new(VHOST6, kind).frame(&padding(ICMPV6)[..length]);
            silent_now(&i, &frame, &format!("header {kind} of {length} bytes"));
        }
    }
    for kind in [0, 60] {
        // An option that reaches beyond its header.
        for length in 5..=255 {
            let header = vec![ICMPV6, 0, 1, length, 0, 0, 0, 0];
            silent_now(&i, &chained(kind, &[header]), &format!("header {kind}, an option of {length} bytes"));
        }
    }
    alive6(&i);
}

/// As [`silent`], for what could only be answered at once.
fn silent_now(i: &Instance, frame: &[u8], what: &str) {
    let replies = i.answer6(frame);
    assert!(replies.is_empty(), "{what}: {replies:02x?}");
}

#[test]
fn extension_headers_that_are_unknown_are_treated_as_they_say() {
    if !ours("ipv6-extensions") {
        return;
    }
    let i = start6(setup6());
    // (what, frame, code of the parameter problem, where)
    let option = |kind: u8| vec![ICMPV6, 0, kind, 4, 0, 0, 0, 0];
    let refused = [
        ("an unknown protocol", Ip6::new(VHOST6, 132).frame(b"sctp"), (4, 1), 6u32),
        ("an unknown protocol behind a header", chained(60, &[padding(132)]), (4, 1), 40),
        ("a late hop-by-hop header", chained(60, &[padding(0), padding(ICMPV6)]), (4, 1), 40),
        ("a source route (RFC 5095)", chained(43, &[vec![ICMPV6, 0, 0, 1, 0, 0, 0, 0]]), (4, 0), 42),
        ("an option to be refused", chained(0, &[option(0x80)]), (4, 2), 42),
        ("an option to be refused, unless to a group", chained(60, &[option(0xc2)]), (4, 2), 42),
    ];
    for (what, frame, code, pointer) in refused {
        let replies = i.answer6(&frame);
        let [error] = &replies[..] else { panic!("{what}: {replies:02x?}") };
        assert_eq!((error.src, error.icmp()), (ROUTER6, Some(code)), "{what}");
        assert_eq!((&error.payload[4..8], &error.payload[8..]), (&pointer.to_be_bytes()[..], &frame[14..]), "{what}");
    }
    assert_eq!(i.answer6(&chained(60, &[option(0x3e)]))[0].icmp(), Some((129, 0)), "an option to be skipped");
    silent(&i, &chained(60, &[option(0x7e)]), "an option to be dropped for");
    silent(&i, &Ip6::new(ALL_NODES, 60).frame(&[&option(0xc2)[..], b"12345678"].concat()), "a group");
    silent(&i, &Ip6::new(ALL_NODES, 132).frame(b"sctp"), "an unknown protocol to a group");
    silent(&i, &Ip6 { src: Ipv6Addr::UNSPECIFIED, ..Ip6::new(VHOST6, 132) }.frame(b"sctp"), "from nobody");
    // Errors are limited, whatever the guest does.
    let frame = Ip6::new(VHOST6, 132).frame(b"sctp");
    let errors: usize = (0..1000).map(|_| i.answer6(&frame).len()).sum();
    assert!(errors <= 100, "{errors} errors at one moment");
}

#[test]
fn restricted_ipv6_opens_nothing_on_any_road() {
    let i = start6(Setup::with(|c| (c.in6_enabled, c.restricted) = (true, 1)));
    let (host, port) = udp6_peer();
    let listener = TcpListener::bind((LOOPBACK, 0)).unwrap();
    listener.set_nonblocking(true).unwrap();
    let tcp = listener.local_addr().unwrap().port();
    i.registrations();
    let roads = [
        "fec0::2",
        "fec0::3",
        "fec0::9",
        "fe80::2",
        "fe80::3",
        "fe80::9",
        "::1",
        "::ffff:127.0.0.1",
        "::",
        "ff01::1",
        "ff02::1",
        "ff02::fb",
        "2001:db8::1",
        "::ffff:192.0.2.1",
        "64:ff9b::c000:201",
    ];
    for target in roads.map(ip) {
        for to in [port, 53, 547, 69] {
            silent(&i, &Ip6::new(target, UDP).udp(5000, to, &[11, 1, 2, 3]), &format!("UDP to {target} port {to}"));
        }
        for to in [tcp, 53] {
            let replies = i.answer6(&Ip6::new(target, TCP).tcp((5000, to), 1, 0, SYN, b""));
            assert!(
                replies.iter().all(|p| p.tcp().is_some_and(|s| s.flags & RST != 0)),
                "TCP to {target}: {replies:?}"
            );
        }
        i.input(&Ip6::new(target, ICMPV6).icmp(&echo6(1, 1, b"")));
        i.settled();
    }
    assert_eq!(i.registrations(), (vec![], vec![]), "a socket was made");
    assert!(i.flows("").is_empty(), "{:?}", i.flows(""));
    host_gets_nothing(&i, &host);
    assert!(listener.accept().is_err());
}

#[test]
fn disabled_host_loopback_is_closed_on_every_ipv6_road_and_nothing_else_is() {
    if !isolated("disabled_host_loopback_is_closed_on_every_ipv6_road_and_nothing_else_is", Isolation::Resolver) {
        return;
    }
    std::fs::write(child::resolv_conf_path(), "nameserver ::1\n").unwrap();
    let other = ip("2001:db8::7");
    add_loopback_address(other);
    // Who listens everywhere would hear it whatever the road.
    let host = UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0)).unwrap();
    host.set_nonblocking(true).unwrap();
    let listener = TcpListener::bind((Ipv6Addr::UNSPECIFIED, 0)).unwrap();
    listener.set_nonblocking(true).unwrap();
    let (port, tcp) = (host.local_addr().unwrap().port(), listener.local_addr().unwrap().port());
    let roads = [
        "fec0::2",
        "fec0::3",
        "fec0::9",
        "fe80::2",
        "fe80::3",
        "::1",
        "::",
        "::ffff:127.0.0.1",
        "::ffff:127.9.9.9",
        "::ffff:0.0.0.0",
        "ff01::1",
        "ff02::1",
        "ff11::1",
    ];
    for closed in [true, false] {
        let i = start6(Setup::with(|c| (c.in6_enabled, c.disable_host_loopback) = (true, closed)));
        for target in roads.map(ip) {
            if closed && !ours("loopback-bypass") && !target.to_string().starts_with("fec0") {
                continue;
            }
            if !closed && target.is_multicast() && !ours("interface-local") {
                continue;
            }
            // The name server's address is refused in any case; groups are not answered (RFC 4443 section 2.4).
            let no_link = target.is_multicast() && target.octets()[1] & 15 < 2;
            let mapped = target.to_ipv4_mapped().is_some();
            if !closed && mapped && !ours("mapped-destination") {
                continue;
            }
            let refused = closed || no_link || mapped || ["fec0::3", "fe80::3"].map(ip).contains(&target);
            if !refused && !ours("link-local-services") && target.segments()[0] == 0xfe80 {
                continue;
            }
            let error = if refused && !target.is_multicast() { vec![(1, 0)] } else { vec![] };
            assert_eq!(codes(&i, &Ip6::new(target, UDP).udp(5000, port, b"x")), error, "UDP to {target}, {closed}");
            if refused {
                host_gets_nothing(&i, &host);
            } else {
                assert_eq!(host_recv6(&i, &host).0, b"x", "UDP to {target}");
            }
            if target.is_multicast() {
                continue;
            }
            let syn = Ip6::new(target, TCP).tcp((i.fresh_port(), tcp), 1, 0, SYN, b"");
            assert_eq!(codes(&i, &syn), error, "TCP to {target}, {closed}");
            assert_eq!(listener.accept().is_err(), refused, "TCP to {target}, {closed}");
        }
        // The host's other addresses stay reachable, and the name server although it is on the loopback.
        i.input(&Ip6::new(other, UDP).udp(5001, port, b"outside"));
        assert_eq!(host_recv6(&i, &host).0, b"outside");
        let (mut conn, _) = Conn6::connect(&i, at6(other, tcp));
        talk(&i, &mut conn, accept6(&i, &listener));
        let server = UdpSocket::bind((LOOPBACK, 53)).unwrap();
        server.set_nonblocking(true).unwrap();
        i.input(&Ip6::new(VDNS6, UDP).udp(5353, 53, b"query"));
        assert_eq!(host_recv6(&i, &server).0, b"query");
    }
}
