//! Host forwards to a guest over IPv6, and between the two families: docs/contract/hostfwd.md.

mod common;
use common::*;
use std::net::{Ipv6Addr, SocketAddr, SocketAddrV6};

/// A port on which nothing listens, at either loopback address.
fn free_port() -> u16 {
    TcpListener::bind((Ipv6Addr::UNSPECIFIED, 0)).unwrap().local_addr().unwrap().port()
}

fn connect_nonblocking(to: SocketAddr) -> TcpStream {
    let s = TcpStream::connect(to).unwrap();
    s.set_nonblocking(true).unwrap();
    s
}

fn udp_client(bound: impl Into<SocketAddr>) -> UdpSocket {
    let s = UdpSocket::bind(bound.into()).unwrap();
    s.set_nonblocking(true).unwrap();
    s
}

#[test]
fn hostfwd_fact_07_an_unspecified_guest_is_found_by_neighbor_discovery() {
    let i = setup6().start();
    let port = free_port();
    assert_eq!(hostxfwd6(&i, at6(LOOPBACK, port), at6(Ipv6Addr::UNSPECIFIED, 80), 0), 0);
    let mut early = connect_nonblocking((LOOPBACK, port).into());
    assert!(matches!(host_end(&i, &mut early), (rest, End::Eof) if rest.is_empty()));
    i.greet6(GUEST_LL);
    let client = connect_nonblocking((LOOPBACK, port).into());
    let (mut conn, syn) = Conn6::accept(&i, 80);
    assert_eq!((syn.src, syn.dst.ip()), (at6(VHOST6, client.local_addr().unwrap().port()), &GUEST_LL));
    talk(&i, &mut conn, client);
    // Once known, an address under the prefix is preferred.
    i.greet6(GUEST6);
    let _client = connect_nonblocking((LOOPBACK, port).into());
    let (_, syn) = Conn6::accept(&i, 80);
    assert_eq!(syn.dst.ip(), if ours("hostfwd6-global") { &GUEST6 } else { &GUEST_LL });
}

#[test]
fn hostfwd_fact_08_v6only_and_dual_stack_listeners() {
    let i = start6(setup6());
    let port = free_port();
    let any = at6(Ipv6Addr::UNSPECIFIED, port);
    assert_eq!(hostxfwd6(&i, any, at6(GUEST6, 80), HOSTFWD_V6ONLY), 0);
    assert_eq!(i.add_hostfwd(false, at(LOCALHOST, port), at(GUEST, 80)), Ok(()));
    let dual = free_port();
    assert_eq!(hostxfwd6(&i, at6(Ipv6Addr::UNSPECIFIED, dual), at6(GUEST6, 81), 0), 0);
    assert_eq!(i.add_hostfwd(false, at(LOCALHOST, dual), at(GUEST, 80)), Err(libc::EADDRINUSE));
    // An IPv4 client of the dual-stack listener is shown as the virtual host.
    let client = connect_nonblocking((Ipv4Addr::LOCALHOST, dual).into());
    let (mut conn, syn) = Conn6::accept(&i, 81);
    if ours("hostfwd6-mapped") {
        assert_eq!(syn.src, at6(VHOST6, client.local_addr().unwrap().port()));
    }
    talk(&i, &mut conn, client);
}

#[test]
fn hostfwd_fact_11_udp_over_ipv6() {
    let i = start6(setup6());
    let port = free_port();
    assert_eq!(hostxfwd6(&i, at6(LOOPBACK, port), at6(Ipv6Addr::UNSPECIFIED, 53), HOSTFWD_UDP), 0);
    let (host, host_port) = udp6_peer();
    host.send_to(b"question", (LOOPBACK, port)).unwrap();
    let (src, dst, data) = i.wait6("the question", |p| p.udp());
    assert_eq!((src, dst, data.as_slice()), (at6(VHOST6, host_port), at6(GUEST6, 53), &b"question"[..]));
    i.input(&Ip6::new(VHOST6, UDP).udp(53, host_port, b"answer"));
    let (data, from) = host_recv6(&i, &host);
    assert_eq!((data.as_slice(), from), (&b"answer"[..], (LOOPBACK, port).into()));
}

#[test]
fn hostfwd6_v6only_and_dual_stack_for_udp() {
    let i = start6(setup6());
    let port = free_port();
    let any = SocketAddr::from((Ipv6Addr::UNSPECIFIED, port));
    let guest = SocketAddr::from((GUEST6, 53));
    // The flag leaves the port free for IPv4; a forward without it takes both.
    assert_eq!(hostxfwd(&i, any, guest, HOSTFWD_UDP | HOSTFWD_V6ONLY), Ok(()));
    assert_eq!(i.add_hostfwd(true, at(LOCALHOST, port), at(GUEST, 53)), Ok(()));
    let client = udp_client((LOOPBACK, 0));
    client.send_to(b"six", (LOOPBACK, port)).unwrap();
    assert_eq!(i.wait6("a datagram over IPv6", |p| p.udp()).2, b"six");
    let client = udp_client((LOCALHOST, 0));
    client.send_to(b"four", (LOCALHOST, port)).unwrap();
    assert_eq!(i.wait_udp("a datagram over IPv4").1.data, b"four");
    // Removal does not ask for the flag.
    assert_eq!(remove_hostxfwd(&i, any, HOSTFWD_UDP), 0);
    assert_eq!(remove_hostxfwd(&i, any, HOSTFWD_UDP), -1);
    assert_eq!(i.remove_hostfwd(true, at(LOCALHOST, port)), 0);
    assert_eq!(hostxfwd(&i, any, guest, HOSTFWD_UDP), Ok(()));
    assert_eq!(i.add_hostfwd(true, at(LOCALHOST, port), at(GUEST, 53)), Err(libc::EADDRINUSE));
    if !ours("hostfwd6-mapped") {
        return;
    }
    let client = udp_client((LOCALHOST, 0));
    client.send_to(b"four", (LOCALHOST, port)).unwrap();
    let (src, dst, data) = i.wait6("the IPv4 client's datagram", |p| p.udp());
    assert_eq!((src, dst, data), (at6(VHOST6, client.local_addr().unwrap().port()), at6(GUEST6, 53), b"four".to_vec()));
    i.input(&Ip6::new(VHOST6, UDP).udp(53, src.port(), b"back"));
    assert_eq!(host_recv(&i, &client), (b"back".to_vec(), (LOCALHOST, port).into()));
}

#[test]
fn hostfwd6_udp_answers_leave_from_the_address_that_was_asked() {
    if !isolated("hostfwd6_udp_answers_leave_from_the_address_that_was_asked", Isolation::Network) {
        return;
    }
    if !ours("udp-forward-address") {
        return;
    }
    let others = [ip("2001:db8::7"), ip("fd00::8")];
    others.iter().for_each(|address| add_loopback_address(*address));
    let i = start6(setup6());
    let port = free_port();
    let any = SocketAddr::from((Ipv6Addr::UNSPECIFIED, port));
    assert_eq!(hostxfwd(&i, any, (GUEST6, 53).into(), HOSTFWD_UDP), Ok(()));
    // A client without an address of its own asks each address of the host, from the loopback as from the outside.
    let client = udp_client((Ipv6Addr::UNSPECIFIED, 0));
    for asked in [LOOPBACK, others[0], others[1], others[0]] {
        client.send_to(b"question", (asked, port)).unwrap();
        let (src, ..) = i.wait6("the question", |p| p.udp());
        i.input(&Ip6::new(*src.ip(), UDP).udp(53, src.port(), b"answer"));
        assert_eq!(host_recv6(&i, &client), (b"answer".to_vec(), (asked, port).into()));
    }
}

#[test]
fn hostfwd6_works_in_restricted_mode() {
    let i = start6(Setup::with(|c| (c.in6_enabled, c.restricted) = (true, 1)));
    let port = free_port();
    let host = SocketAddr::from((LOOPBACK, port));
    assert_eq!(hostxfwd(&i, host, (GUEST6, 80).into(), 0), Ok(()));
    let client = connect_nonblocking(host);
    let (mut conn, _) = Conn6::accept(&i, 80);
    talk(&i, &mut conn, client);
    assert_eq!(hostxfwd(&i, host, (Ipv6Addr::UNSPECIFIED, 53).into(), HOSTFWD_UDP), Ok(()));
    let client = udp_client((LOOPBACK, 0));
    client.send_to(b"question", host).unwrap();
    let (src, ..) = i.wait6("the question", |p| p.udp());
    i.input(&Ip6::new(*src.ip(), UDP).udp(53, src.port(), b"answer"));
    if ours("restricted-udp-forward") {
        assert_eq!(host_recv6(&i, &client).0, b"answer");
    } else {
        host_gets_nothing(&i, &client);
    }
    i.settled();
    // Nobody else is reached through the forward's socket, by whatever address.
    let (stranger, stranger_port) = udp6_peer();
    for target in ["fec0::2", "fec0::9", "::1", "ff02::1", "fe80::2"].map(ip) {
        silent(&i, &Ip6::new(target, UDP).udp(53, stranger_port, b"leak"), &target.to_string());
    }
    host_gets_nothing(&i, &stranger);
}

#[test]
fn hostfwd6_addresses_of_a_link_need_their_interface() {
    if !isolated("hostfwd6_addresses_of_a_link_need_their_interface", Isolation::Network) {
        return;
    }
    let (own, interface) = (ip("fe80::1"), 1);
    add_loopback_address(own);
    let scoped = |port, scope| SocketAddr::from(SocketAddrV6::new(own, port, 0, scope));
    let i = start6(setup6());
    let port = free_port();
    let guest = SocketAddr::from((GUEST6, 80));
    assert_eq!(hostxfwd(&i, scoped(port, 0), guest, 0), Err(libc::EINVAL), "no interface");
    for flags in [0, HOSTFWD_UDP] {
        assert_eq!(hostxfwd(&i, scoped(port, interface), guest, flags), Ok(()), "{flags}");
    }
    let client = connect_nonblocking(scoped(port, interface));
    assert_eq!(client.local_addr().unwrap().ip(), own);
    let (mut conn, syn) = Conn6::accept(&i, 80);
    // On the guest's own link that address would be somebody else.
    let seen = if ours("hostfwd6-on-link") { VHOST6 } else { own };
    assert_eq!(syn.src, at6(seen, client.local_addr().unwrap().port()));
    talk(&i, &mut conn, client);
    let client = udp_client(scoped(0, interface));
    client.send_to(b"question", scoped(port, interface)).unwrap();
    let (src, _, data) = i.wait6("the question", |p| p.udp());
    assert_eq!((src, data.as_slice()), (at6(seen, client.local_addr().unwrap().port()), &b"question"[..]));
    if ours("hostfwd6-on-link") {
        i.input(&Ip6::new(VHOST6, UDP).udp(80, src.port(), b"answer"));
        assert_eq!(host_recv6(&i, &client), (b"answer".to_vec(), scoped(port, interface)));
    }
    // The interface is not asked for when a forward is removed.
    assert_eq!(remove_hostxfwd(&i, scoped(port, 0), 0), 0);
    assert_eq!(remove_hostxfwd(&i, scoped(port, interface), HOSTFWD_UDP), 0);
}

#[test]
fn hostfwd_to_a_family_that_is_off_ends_at_once() {
    if !ours("hostfwd-absent-family") {
        return;
    }
    for (v4, guest) in
        [(true, std::net::IpAddr::from(GUEST6)), (true, Ipv6Addr::UNSPECIFIED.into()), (false, GUEST.into())]
    {
        let i = Setup::with(|c| (c.in_enabled, c.in6_enabled) = (v4, !v4)).start();
        i.settled();
        for loopback in [std::net::IpAddr::from(LOOPBACK), LOCALHOST.into()] {
            let host = SocketAddr::from((loopback, free_port()));
            for flags in [0, HOSTFWD_UDP] {
                assert_eq!(hostxfwd(&i, host, (guest, 80).into(), flags), Ok(()), "{host} to {guest}");
            }
            let mut client = connect_nonblocking(host);
            assert!(matches!(host_end(&i, &mut client), (rest, End::Eof) if rest.is_empty()), "{host} to {guest}");
            udp_client((loopback, 0)).send_to(b"anybody?", host).unwrap();
            let frames = i.settled();
            assert!(frames.is_empty(), "{host} to {guest}: {frames:02x?}");
        }
    }
}

#[test]
fn hostfwd_ipv4_clients_reach_an_ipv6_guest() {
    if !ours("hostfwd-mixed") {
        return;
    }
    let i = start6(setup6());
    let port = free_port();
    let host = SocketAddr::from((LOCALHOST, port));
    for guest in [GUEST6, Ipv6Addr::UNSPECIFIED] {
        for flags in [0, HOSTFWD_UDP] {
            assert_eq!(hostxfwd(&i, host, (guest, 80).into(), flags), Ok(()));
        }
        let client = connect_nonblocking(host);
        let (mut conn, syn) = Conn6::accept(&i, 80);
        assert_eq!((syn.src, syn.dst), (at6(VHOST6, client.local_addr().unwrap().port()), at6(GUEST6, 80)));
        talk(&i, &mut conn, client);
        let client = udp_client((LOCALHOST, 0));
        client.send_to(b"question", host).unwrap();
        let (src, dst, data) = i.wait6("the question", |p| p.udp());
        assert_eq!((src.ip(), dst, data.as_slice()), (&VHOST6, at6(GUEST6, 80), &b"question"[..]));
        i.input(&Ip6::new(VHOST6, UDP).udp(80, src.port(), b"answer"));
        assert_eq!(host_recv(&i, &client), (b"answer".to_vec(), host));
        // What the guest's service sends to others goes its own way.
        let (other, other_port) = udp6_peer();
        i.input(&Ip6::new(VHOST6, UDP).udp(80, other_port, b"unasked"));
        assert_eq!(host_recv6(&i, &other).0, b"unasked");
        for flags in [0, HOSTFWD_UDP] {
            assert_eq!(remove_hostxfwd(&i, host, flags), 0);
        }
    }
}

#[test]
fn hostfwd_ipv6_clients_reach_an_ipv4_guest() {
    if !ours("hostfwd-mixed") {
        return;
    }
    let i = start6(setup6());
    let port = free_port();
    let host = SocketAddr::from((Ipv6Addr::UNSPECIFIED, port));
    for guest in [GUEST, Ipv4Addr::UNSPECIFIED] {
        for flags in [0, HOSTFWD_UDP] {
            assert_eq!(hostxfwd(&i, host, (guest, 80).into(), flags), Ok(()));
        }
        // A dual-stack socket's clients of both families.
        for to in [SocketAddr::from((LOOPBACK, port)), (LOCALHOST, port).into()] {
            let mut client = connect_nonblocking(to);
            let mut conn = Conn::accept(&i, 80, &mss_option(1460));
            assert_eq!((conn.peer, conn.guest), (at_vhost(client.local_addr().unwrap().port()), at(GUEST, 80)));
            conn.data(&i, b"from the guest");
            assert_eq!(host_read(&i, &mut client, 14), b"from the guest");
            host_write_some(&mut client, b"from the host");
            assert_eq!(conn.receive(&i, 13).1, b"from the host");
            conn.send(&i, RST, b"");
            let client = udp_client((to.ip(), 0));
            client.send_to(b"question", to).unwrap();
            let (_, d) = i.wait_udp("the question");
            assert_eq!((d.src.ip(), d.dst, d.data.as_slice()), (&VHOST, at(GUEST, 80), &b"question"[..]));
            i.input(&udp_frame(80, d.src, b"answer"));
            assert_eq!(host_recv(&i, &client), (b"answer".to_vec(), to));
        }
        assert!(i.flows("UDP[HOST_FORWARD]").iter().all(|line| line.contains("10.0.2.15")), "{:?}", i.flows(""));
        for flags in [0, HOSTFWD_UDP] {
            assert_eq!(remove_hostxfwd(&i, host, flags), 0);
        }
    }
}

#[test]
fn hostfwd_between_the_families_keeps_the_clients_address_where_it_can() {
    if !isolated("hostfwd_between_the_families_keeps_the_clients_address_where_it_can", Isolation::Network) {
        return;
    }
    if !ours("hostfwd-mixed") {
        return;
    }
    let own = ip("2001:db8::7");
    add_loopback_address(own);
    let i = start6(setup6());
    let port = free_port();
    let host = SocketAddr::from((Ipv6Addr::UNSPECIFIED, port));
    let syn_of = |to: SocketAddr| {
        let client = connect_nonblocking(to);
        let conn = Conn::incoming(&i, 80);
        i.input(&conn.segment(RST | ACK, b"").frame());
        (conn, client)
    };
    assert_eq!(hostxfwd(&i, host, (GUEST, 80).into(), 0), Ok(()));
    let (conn, _client) = syn_of((own, port).into());
    assert_eq!(conn.peer.ip(), &VHOST, "an IPv6 client of an IPv4 guest is the virtual host");
    assert_eq!(remove_hostxfwd(&i, host, 0), 0);
    // To a guest over IPv6 that client is itself.
    assert_eq!(hostxfwd(&i, host, (GUEST6, 80).into(), 0), Ok(()));
    let client = connect_nonblocking((own, port).into());
    let (mut conn, syn) = Conn6::accept(&i, 80);
    assert_eq!(syn.src, at6(own, client.local_addr().unwrap().port()));
    talk(&i, &mut conn, client);
}
