//! A guest with a real TCP/IP stack: smoltcp against hosts on loopback, on the real clock. Every body runs over IPv4 and
//! over IPv6, each on a network that has no other; over IPv6 the guest has its address from a router advertisement.

mod common;
use common::*;
use smoltcp::iface::SocketHandle;
use smoltcp::socket::{dhcpv4, dns, icmp, tcp, udp};
use smoltcp::wire::{
    DnsQueryType, Icmpv4Packet, Icmpv4Repr, Icmpv6Packet, Icmpv6Repr, IpAddress, Ipv4Cidr, Ipv6Address,
};
use std::io::Read;
use std::net::{IpAddr, Shutdown, SocketAddr};

const MIB: usize = 1 << 20;

both_families![
    smoltcp_four_mebibytes_each_way_at_mtu_576,
    smoltcp_four_mebibytes_each_way_at_mtu_1280,
    smoltcp_four_mebibytes_each_way_at_mtu_1500,
    smoltcp_four_mebibytes_each_way_at_mtu_9000,
    smoltcp_four_mebibytes_each_way_at_mtu_65520,
    smoltcp_gets_an_address_and_uses_it,
    smoltcp_pings_its_gateway,
    smoltcp_udp_echo,
    smoltcp_resolves_a_name,
    smoltcp_fifty_connections_at_once,
    smoltcp_the_guest_half_closes,
    smoltcp_the_host_half_closes,
    smoltcp_resets_cross_in_both_directions,
    smoltcp_a_refused_port_closes_the_socket,
    smoltcp_serves_clients_of_a_host_forward,
    smoltcp_serves_udp_clients_of_a_host_forward,
    smoltcp_reaches_other_networks_by_the_router_and_is_refused_where_there_is_none,
];

fn network(family: Family) -> Box<Instance> {
    family.setup().real_clock().silent().start()
}

/// A connection of the guest to a listener on the host, and both ends.
fn connected(guest: &mut SmolGuest, buffer: usize, family: Family) -> (SocketHandle, TcpStream) {
    let (listener, port) = family.tcp_listener();
    let handle = guest.connect(buffer, family.at_vhost(port));
    let host = guest.until("the connection at the host", |_| listener.accept().ok()).0;
    host.set_nonblocking(true).unwrap();
    (handle, host)
}

/// Reads all that the host's socket has; true at the end of the stream.
fn drain(host: &mut TcpStream, into: &mut Vec<u8>) -> bool {
    let mut buffer = [0; 65536];
    loop {
        match host.read(&mut buffer) {
            Ok(0) => return true,
            Ok(n) => into.extend_from_slice(&buffer[..n]),
            Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => return false,
            Err(e) => panic!("{e}"),
        }
    }
}

/// 4 MiB in each direction, one after the other, through a link of this MTU.
fn transfer(mtu: usize, family: Family) {
    let i = family.setup().real_clock().silent().mtu(mtu, mtu).start();
    let mut guest = SmolGuest::configured(&i, mtu, family);
    let (handle, mut host) = connected(&mut guest, 256 << 10, family);
    let data = pattern(4 * MIB);
    let (mut sent, mut got) = (0, Vec::with_capacity(data.len()));
    guest.until("the download", |g| {
        sent += host_write_some(&mut host, &data[sent..]);
        let socket = g.tcp(handle);
        while socket.can_recv() {
            socket
                .recv(|b| {
                    got.extend_from_slice(b);
                    (b.len(), ())
                })
                .unwrap();
        }
        (got.len() >= data.len()).then_some(())
    });
    assert!(got == data, "the download at MTU {mtu} came with other bytes");
    let (mut sent, mut got) = (0, Vec::with_capacity(data.len()));
    guest.until("the upload", |g| {
        let socket = g.tcp(handle);
        if socket.can_send() && sent < data.len() {
            sent += socket.send_slice(&data[sent..]).unwrap();
        }
        drain(&mut host, &mut got);
        (got.len() >= data.len()).then_some(())
    });
    assert!(got == data, "the upload at MTU {mtu} came with other bytes");
}

fn smoltcp_four_mebibytes_each_way_at_mtu_576(family: Family) {
    transfer(576, family);
}

fn smoltcp_four_mebibytes_each_way_at_mtu_1280(family: Family) {
    transfer(1280, family);
}

fn smoltcp_four_mebibytes_each_way_at_mtu_1500(family: Family) {
    transfer(1500, family);
}

fn smoltcp_four_mebibytes_each_way_at_mtu_9000(family: Family) {
    transfer(9000, family);
}

fn smoltcp_four_mebibytes_each_way_at_mtu_65520(family: Family) {
    transfer(65520, family);
}

/// Over IPv4 by DHCP, over IPv6 by the router's advertisement.
fn smoltcp_gets_an_address_and_uses_it(family: Family) {
    let i = network(family);
    let mut guest = match family {
        Family::V4 => {
            let mut guest = SmolGuest::new(&i, 1500);
            let dhcp = guest.sockets.add(dhcpv4::Socket::new());
            let (address, router, dns) =
                guest.until("a lease", |g| match g.sockets.get_mut::<dhcpv4::Socket>(dhcp).poll() {
                    Some(dhcpv4::Event::Configured(c)) => Some((c.address, c.router, c.dns_servers.first().copied())),
                    _ => None,
                });
            assert_eq!((address, router, dns), (Ipv4Cidr::new(GUEST, 24), Some(VHOST), Some(VDNS)));
            guest.configure(address, VHOST);
            guest
        }
        Family::V6 => {
            let guest = SmolGuest::configured(&i, 1500, family);
            let addresses: Vec<String> = guest.iface.ip_addrs().iter().map(|a| a.to_string()).collect();
            assert_eq!(addresses, ["fe80::5054:ff:fe12:3456/64", "fec0::5054:ff:fe12:3456/64"]);
            guest
        }
    };
    let (handle, mut host) = connected(&mut guest, 8192, family);
    guest.send_all(handle, b"with a leased address");
    let mut got = Vec::new();
    guest.until("the bytes at the host", |_| {
        drain(&mut host, &mut got);
        (got.len() == 21).then_some(())
    });
    assert_eq!(guest.tcp(handle).local_endpoint().map(|e| IpAddr::from(e.addr)), Some(family.guest()));
}

fn smoltcp_pings_its_gateway(family: Family) {
    let i = network(family);
    let mut guest = SmolGuest::configured(&i, 1500, family);
    let buffer = || icmp::PacketBuffer::new(vec![icmp::PacketMetadata::EMPTY; 8], vec![0; 4096]);
    let mut socket = icmp::Socket::new(buffer(), buffer());
    socket.bind(icmp::Endpoint::Ident(0x22b)).unwrap();
    let handle = guest.sockets.add(socket);
    for (seq_no, to) in [(0, family.vhost()), (1, family.name_server()), (2, family.vhost())] {
        let (data, ident) = (pattern(1000), 0x22b);
        let socket = guest.sockets.get_mut::<icmp::Socket>(handle);
        match to {
            IpAddr::V4(_) => {
                let request = Icmpv4Repr::EchoRequest { ident, seq_no, data: &data };
                let room = socket.send(request.buffer_len(), to.into()).unwrap();
                request.emit(&mut Icmpv4Packet::new_unchecked(room), &Default::default());
            }
            IpAddr::V6(to) => {
                let request = Icmpv6Repr::EchoRequest { ident, seq_no, data: &data };
                let room = socket.send(request.buffer_len(), to.into()).unwrap();
                let from = guest.iface.get_source_address_ipv6(&to);
                request.emit(&from, &to, &mut Icmpv6Packet::new_unchecked(room), &Default::default());
            }
        }
        let (reply, from) = guest.until("an echo reply", |g| {
            let socket = g.sockets.get_mut::<icmp::Socket>(handle);
            socket.recv().ok().map(|(data, from)| (data.to_vec(), from))
        });
        assert_eq!(from, IpAddress::from(to));
        match to {
            IpAddr::V4(_) => {
                let reply = Icmpv4Repr::parse(&Icmpv4Packet::new_checked(&reply[..]).unwrap(), &Default::default());
                assert_eq!(reply.unwrap(), Icmpv4Repr::EchoReply { ident, seq_no, data: &data });
            }
            IpAddr::V6(to) => {
                let packet = Icmpv6Packet::new_checked(&reply[..]).unwrap();
                let reply = Icmpv6Repr::parse(&to, &GUEST6, &packet, &Default::default());
                assert_eq!(reply.unwrap(), Icmpv6Repr::EchoReply { ident, seq_no, data: &data });
            }
        }
    }
}

fn udp_socket(guest: &mut SmolGuest, port: u16) -> SocketHandle {
    let buffer = || udp::PacketBuffer::new(vec![udp::PacketMetadata::EMPTY; 16], vec![0; 16384]);
    let mut socket = udp::Socket::new(buffer(), buffer());
    socket.bind(port).unwrap();
    guest.sockets.add(socket)
}

fn smoltcp_udp_echo(family: Family) {
    let i = network(family);
    let mut guest = SmolGuest::configured(&i, 1500, family);
    let (host, port) = family.udp_peer();
    let handle = udp_socket(&mut guest, 5000);
    for len in [0, 1, 512, 1500 - family.udp_headers()] {
        let data = pattern(len);
        guest.sockets.get_mut::<udp::Socket>(handle).send_slice(&data, family.at_vhost(port)).unwrap();
        let echoed = guest.until("an echoed datagram", |g| {
            let mut space = [0; 2048];
            if let Ok((n, from)) = host.recv_from(&mut space) {
                host.send_to(&space[..n], from).unwrap();
            }
            let got = g.sockets.get_mut::<udp::Socket>(handle).recv().ok();
            got.map(|(data, meta)| (data.to_vec(), meta.endpoint))
        });
        assert!(echoed.0 == data);
        assert_eq!(echoed.1, family.at_vhost(port).into());
    }
}

/// By a name server of the host of either family, whatever the guest speaks.
fn smoltcp_resolves_a_name(family: Family) {
    if !isolated(&family.test("smoltcp_resolves_a_name"), Isolation::Resolver) {
        return;
    }
    for server in ["127.0.0.77", "::1"].map(|text| text.parse::<IpAddr>().unwrap()) {
        if server.is_ipv4() != (family == Family::V4) && !ours("dns-cross-family") {
            continue;
        }
        std::fs::write(child::resolv_conf_path(), format!("nameserver {server}\n")).unwrap();
        let server = UdpSocket::bind((server, 53)).unwrap();
        server.set_nonblocking(true).unwrap();
        let i = network(family);
        let mut guest = SmolGuest::configured(&i, 1500, family);
        // An address of each kind is asked for and answered.
        for (kind, address) in [
            (DnsQueryType::A, IpAddress::v4(192, 0, 2, 33)),
            (DnsQueryType::Aaaa, Ipv6Address::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x33).into()),
        ] {
            let (code, data): (u8, _) = match address {
                IpAddress::Ipv4(a) => (1, a.octets().to_vec()),
                IpAddress::Ipv6(a) => (28, a.octets().to_vec()),
            };
            let handle = guest.sockets.add(dns::Socket::new(&[family.name_server().into()], vec![None]));
            let socket = guest.sockets.get_mut::<dns::Socket>(handle);
            let query = socket.start_query(guest.iface.context(), "host.example", kind).unwrap();
            let addresses = guest.until("an answer", |g| {
                let mut message = [0; 512];
                if let Ok((n, from)) = server.recv_from(&mut message) {
                    // The question again, as a response with one record that points to its name.
                    let mut answer = message[..n].to_vec();
                    answer[2..8].copy_from_slice(&[0x81, 0x80, 0, 1, 0, 1]);
                    answer.extend_from_slice(&[0xc0, 12, 0, code, 0, 1, 0, 0, 0, 60, 0, data.len() as u8]);
                    answer.extend_from_slice(&data);
                    server.send_to(&answer, from).unwrap();
                }
                match g.sockets.get_mut::<dns::Socket>(handle).get_query_result(query) {
                    Ok(addresses) => Some(addresses.to_vec()),
                    Err(dns::GetQueryResultError::Pending) => None,
                    Err(e) => panic!("{e}"),
                }
            });
            assert_eq!(addresses, [address]);
            guest.sockets.remove(handle);
        }
    }
}

fn smoltcp_fifty_connections_at_once(family: Family) {
    let i = network(family);
    let mut guest = SmolGuest::configured(&i, 1500, family);
    let (listener, port) = family.tcp_listener();
    let handles: Vec<SocketHandle> = (0..50).map(|_| guest.start_connect(16384, family.at_vhost(port))).collect();
    let mut hosts = Vec::new();
    guest.until("fifty connections", |g| {
        while let Ok((stream, _)) = listener.accept() {
            stream.set_nonblocking(true).unwrap();
            hosts.push((stream, Vec::new(), 0));
        }
        let open = handles.iter().filter(|h| g.tcp(**h).may_send()).count();
        (open == 50 && hosts.len() == 50).then_some(())
    });
    // Each guest socket sends its own 20 kB, each host echoes what it gets.
    let data: Vec<Vec<u8>> = (0..50usize).map(|n| pattern(20_000 + n).iter().map(|b| b ^ n as u8).collect()).collect();
    let mut sent = [0; 50];
    let mut got = vec![Vec::new(); 50];
    guest.until("all echoes", |g| {
        for (stream, bytes, echoed) in &mut hosts {
            drain(stream, bytes);
            *echoed += host_write_some(stream, &bytes[*echoed..]);
        }
        for (n, handle) in handles.iter().enumerate() {
            let socket = g.tcp(*handle);
            if socket.can_send() && sent[n] < data[n].len() {
                sent[n] += socket.send_slice(&data[n][sent[n]..]).unwrap();
            }
            while socket.can_recv() {
                got[n].extend(socket.recv(|b| (b.len(), b.to_vec())).unwrap());
            }
        }
        got.iter().zip(&data).all(|(g, d)| g.len() >= d.len()).then_some(())
    });
    assert!(got == data);
}

fn smoltcp_the_guest_half_closes(family: Family) {
    let i = network(family);
    let mut guest = SmolGuest::configured(&i, 1500, family);
    let (handle, mut host) = connected(&mut guest, 65536, family);
    guest.send_all(handle, b"request");
    guest.tcp(handle).close();
    let mut got = Vec::new();
    guest.until("the end of the request", |_| drain(&mut host, &mut got).then_some(()));
    assert_eq!(got, b"request");
    // The host answers long after the guest's FIN.
    let data = pattern(MIB);
    let (mut sent, mut answer) = (0, Vec::new());
    guest.until("the answer", |g| {
        sent += host_write_some(&mut host, &data[sent..]);
        let socket = g.tcp(handle);
        while socket.can_recv() {
            answer.extend(socket.recv(|b| (b.len(), b.to_vec())).unwrap());
        }
        (answer.len() == data.len()).then_some(())
    });
    assert!(answer == data);
    drop(host);
    guest.until("the end of the answer", |g| (!g.tcp(handle).may_recv()).then_some(()));
}

fn smoltcp_the_host_half_closes(family: Family) {
    let i = network(family);
    let mut guest = SmolGuest::configured(&i, 1500, family);
    let (handle, mut host) = connected(&mut guest, 65536, family);
    host_write_some(&mut host, b"greeting");
    host.shutdown(Shutdown::Write).unwrap();
    assert_eq!(guest.receive(handle, 8), b"greeting");
    guest.until("the guest to see the end", |g| (g.tcp(handle).state() == tcp::State::CloseWait).then_some(()));
    let data = pattern(MIB);
    let (mut sent, mut got) = (0, Vec::new());
    guest.until("the guest's data", |g| {
        let socket = g.tcp(handle);
        if sent < data.len() && socket.can_send() {
            sent += socket.send_slice(&data[sent..]).unwrap();
        }
        assert!(!drain(&mut host, &mut got));
        (got.len() == data.len()).then_some(())
    });
    assert!(got == data);
    guest.tcp(handle).close();
    guest.until("the host to see the end", |_| drain(&mut host, &mut got).then_some(()));
}

fn smoltcp_resets_cross_in_both_directions(family: Family) {
    let i = network(family);
    let mut guest = SmolGuest::configured(&i, 1500, family);
    let (handle, host) = connected(&mut guest, 4096, family);
    host_reset(host);
    guest.until("the guest to see a reset", |g| (g.tcp(handle).state() == tcp::State::Closed).then_some(()));
    let (handle, mut host) = connected(&mut guest, 4096, family);
    guest.tcp(handle).abort();
    let end = guest.until("the host to see the end", |_| match host.read(&mut [0; 16]) {
        Ok(0) => Some(End::Eof),
        Err(e) if e.kind() == std::io::ErrorKind::ConnectionReset => Some(End::Reset),
        _ => None,
    });
    assert_eq!(end, if ours("guest-reset") { End::Reset } else { End::Eof });
}

fn smoltcp_a_refused_port_closes_the_socket(family: Family) {
    let i = network(family);
    let mut guest = SmolGuest::configured(&i, 1500, family);
    let handle = guest.start_connect(4096, family.at_vhost(family.closed_port()));
    guest.until("the refusal", |g| (g.tcp(handle).state() == tcp::State::Closed).then_some(()));
}

/// A forward of a free port of the loopback to the guest's port 80; where it listens.
fn forward(i: &Instance, family: Family, flags: i32) -> SocketAddr {
    let host = SocketAddr::from((family.loopback(), family.closed_port()));
    assert_eq!(hostxfwd(i, host, (family.guest(), 80).into(), flags), Ok(()));
    host
}

fn smoltcp_serves_clients_of_a_host_forward(family: Family) {
    let i = network(family);
    let mut guest = SmolGuest::configured(&i, 1500, family);
    let host = forward(&i, family, 0);
    for round in 0..5 {
        let handle = guest.tcp_socket(65536);
        guest.tcp(handle).listen(80).unwrap();
        let mut stream = TcpStream::connect(host).unwrap();
        stream.set_nonblocking(true).unwrap();
        let data = pattern(100_000 + round);
        let (mut sent, mut back, mut echoed) = (0, Vec::new(), 0);
        let mut at_guest = Vec::new();
        guest.until("an echo of everything", |g| {
            sent += host_write_some(&mut stream, &data[sent..]);
            let socket = g.tcp(handle);
            while socket.can_recv() {
                at_guest.extend(socket.recv(|b| (b.len(), b.to_vec())).unwrap());
            }
            if socket.can_send() && echoed < at_guest.len() {
                echoed += socket.send_slice(&at_guest[echoed..]).unwrap();
            }
            drain(&mut stream, &mut back);
            (back.len() >= data.len()).then_some(())
        });
        assert!(back == data, "round {round}");
        drop(stream);
        guest.until("the end", |g| (!g.tcp(handle).may_recv()).then_some(()));
        guest.tcp(handle).close();
        guest.until("the close", |g| (!g.tcp(handle).is_active()).then_some(()));
        guest.sockets.remove(handle);
    }
}

fn smoltcp_reaches_other_networks_by_the_router_and_is_refused_where_there_is_none(family: Family) {
    let name = "smoltcp_reaches_other_networks_by_the_router_and_is_refused_where_there_is_none";
    if !isolated(&family.test(name), Isolation::Network) {
        return;
    }
    let (outside, nowhere) = match family {
        Family::V4 => ("127.9.9.9", "192.0.2.55"),
        Family::V6 => ("2001:db8::7", "2001:db8:ffff::1"),
    };
    if family == Family::V6 {
        add_loopback_address(ip(outside));
    }
    let i = network(family);
    let mut guest = SmolGuest::configured(&i, 1500, family);
    let listener = TcpListener::bind((outside, 0)).unwrap();
    listener.set_nonblocking(true).unwrap();
    let handle = guest.connect(4096, listener.local_addr().unwrap());
    let mut host = guest.until("the connection at the host", |_| listener.accept().ok()).0;
    guest.send_all(handle, b"by the router");
    let mut got = Vec::new();
    host.set_nonblocking(true).unwrap();
    guest.until("the bytes at the host", |_| {
        drain(&mut host, &mut got);
        (got == b"by the router").then_some(())
    });
    // This guest's TCP does not listen to ICMP: it is the reset that tells it.
    if ours("tcp6-refused") {
        let handle = guest.start_connect(4096, (nowhere.parse::<IpAddr>().unwrap(), 443));
        guest.until("the refusal", |g| (g.tcp(handle).state() == tcp::State::Closed).then_some(()));
    }
}

fn smoltcp_serves_udp_clients_of_a_host_forward(family: Family) {
    let i = network(family);
    let mut guest = SmolGuest::configured(&i, 1500, family);
    let host = forward(&i, family, HOSTFWD_UDP);
    let handle = udp_socket(&mut guest, 80);
    let clients: Vec<UdpSocket> = (0..4).map(|_| family.udp_peer().0).collect();
    for (n, len) in [1, 700, 1500 - family.udp_headers(), 33].into_iter().enumerate() {
        let data = pattern(len);
        clients[n].send_to(&data, host).unwrap();
        let mut space = [0; 2048];
        let (len, from) = guest.until("an answer", |g| {
            let socket = g.sockets.get_mut::<udp::Socket>(handle);
            if let Ok((data, meta)) = socket.recv().map(|(data, meta)| (data.to_vec(), meta)) {
                assert_eq!(IpAddr::from(meta.endpoint.addr), family.vhost());
                socket.send_slice(&data, meta.endpoint).unwrap();
            }
            clients[n].recv_from(&mut space).ok()
        });
        assert!(space[..len] == data);
        assert_eq!(from, host);
    }
}
