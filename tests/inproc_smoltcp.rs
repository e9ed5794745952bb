//! A guest with a real TCP/IP stack: smoltcp against hosts on loopback, on the real clock.

mod common;
use common::*;
use smoltcp::iface::SocketHandle;
use smoltcp::socket::{dhcpv4, dns, icmp, tcp, udp};
use smoltcp::wire::{DnsQueryType, Icmpv4Packet, Icmpv4Repr, IpAddress, IpCidr};
use std::io::Read;
use std::net::Shutdown;

const MIB: usize = 1 << 20;

fn network() -> Box<Instance> {
    Setup::default().real_clock().silent().start()
}

/// A connection of the guest to a listener on the host, and both ends.
fn connected(guest: &mut SmolGuest, buffer: usize) -> (SocketHandle, TcpStream) {
    let (listener, port) = tcp_listener();
    let handle = guest.connect(buffer, at_vhost(port));
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
fn transfer(mtu: usize) {
    let i = Setup::default().real_clock().silent().mtu(mtu, mtu).start();
    let mut guest = SmolGuest::configured(&i, mtu);
    let (handle, mut host) = connected(&mut guest, 256 << 10);
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

#[test]
fn smoltcp_four_mebibytes_each_way_at_mtu_1500() {
    transfer(1500);
}

#[test]
fn smoltcp_four_mebibytes_each_way_at_mtu_576() {
    transfer(576);
}

#[test]
fn smoltcp_four_mebibytes_each_way_at_mtu_9000() {
    transfer(9000);
}

#[test]
fn smoltcp_four_mebibytes_each_way_at_mtu_65520() {
    transfer(65520);
}

#[test]
fn smoltcp_gets_a_lease_and_uses_it() {
    let i = network();
    let mut guest = SmolGuest::new(&i, 1500);
    let dhcp = guest.sockets.add(dhcpv4::Socket::new());
    let (address, router, dns) = guest.until("a lease", |g| match g.sockets.get_mut::<dhcpv4::Socket>(dhcp).poll() {
        Some(dhcpv4::Event::Configured(c)) => Some((c.address, c.router, c.dns_servers.first().copied())),
        _ => None,
    });
    assert_eq!((address.address(), address.prefix_len()), (GUEST, 24));
    assert_eq!((router, dns), (Some(VHOST), Some(VDNS)));
    guest.configure(address, VHOST);
    assert!(guest.iface.has_ip_addr(IpCidr::Ipv4(address).address()));
    let (handle, mut host) = connected(&mut guest, 8192);
    guest.send_all(handle, b"with a leased address");
    let mut got = Vec::new();
    guest.until("the bytes at the host", |_| {
        drain(&mut host, &mut got);
        (got.len() == 21).then_some(())
    });
}

#[test]
fn smoltcp_pings_its_gateway() {
    let i = network();
    let mut guest = SmolGuest::configured(&i, 1500);
    let buffer = || icmp::PacketBuffer::new(vec![icmp::PacketMetadata::EMPTY; 8], vec![0; 4096]);
    let mut socket = icmp::Socket::new(buffer(), buffer());
    socket.bind(icmp::Endpoint::Ident(0x22b)).unwrap();
    let handle = guest.sockets.add(socket);
    for (seq_no, to) in [(0, VHOST), (1, VDNS), (2, VHOST)] {
        let data = pattern(1000);
        let request = Icmpv4Repr::EchoRequest { ident: 0x22b, seq_no, data: &data };
        let socket = guest.sockets.get_mut::<icmp::Socket>(handle);
        let room = socket.send(request.buffer_len(), IpAddress::Ipv4(to)).unwrap();
        request.emit(&mut Icmpv4Packet::new_unchecked(room), &Default::default());
        let (reply, from) = guest.until("an echo reply", |g| {
            let socket = g.sockets.get_mut::<icmp::Socket>(handle);
            socket.recv().ok().map(|(data, from)| (data.to_vec(), from))
        });
        let packet = Icmpv4Packet::new_checked(&reply[..]).unwrap();
        let reply = Icmpv4Repr::parse(&packet, &Default::default()).unwrap();
        assert_eq!(reply, Icmpv4Repr::EchoReply { ident: 0x22b, seq_no, data: &data });
        assert_eq!(from, IpAddress::Ipv4(to));
    }
}

#[test]
fn smoltcp_udp_echo() {
    let i = network();
    let mut guest = SmolGuest::configured(&i, 1500);
    let (host, port) = udp_peer();
    let buffer = || udp::PacketBuffer::new(vec![udp::PacketMetadata::EMPTY; 16], vec![0; 16384]);
    let mut socket = udp::Socket::new(buffer(), buffer());
    socket.bind(5000).unwrap();
    let handle = guest.sockets.add(socket);
    for len in [0, 1, 512, 1472] {
        let data = pattern(len);
        guest.sockets.get_mut::<udp::Socket>(handle).send_slice(&data, (VHOST, port)).unwrap();
        let echoed = guest.until("an echoed datagram", |g| {
            let mut space = [0; 2048];
            if let Ok((n, from)) = host.recv_from(&mut space) {
                host.send_to(&space[..n], from).unwrap();
            }
            let got = g.sockets.get_mut::<udp::Socket>(handle).recv().ok();
            got.map(|(data, meta)| (data.to_vec(), meta.endpoint))
        });
        assert!(echoed.0 == data);
        assert_eq!(echoed.1, (VHOST, port).into());
    }
}

#[test]
fn smoltcp_resolves_a_name() {
    if !isolated("smoltcp_resolves_a_name", Isolation::Resolver) {
        return;
    }
    std::fs::write(child::resolv_conf_path(), "nameserver 127.0.0.77\n").unwrap();
    let server = UdpSocket::bind("127.0.0.77:53").unwrap();
    server.set_nonblocking(true).unwrap();
    let i = network();
    let mut guest = SmolGuest::configured(&i, 1500);
    let handle = guest.sockets.add(dns::Socket::new(&[IpAddress::Ipv4(VDNS)], vec![None]));
    let socket = guest.sockets.get_mut::<dns::Socket>(handle);
    let query = socket.start_query(guest.iface.context(), "host.example", DnsQueryType::A).unwrap();
    let addresses = guest.until("an answer", |g| {
        let mut message = [0; 512];
        if let Ok((n, from)) = server.recv_from(&mut message) {
            // The question again, as a response with one A record that points to its name.
            let mut answer = message[..n].to_vec();
            answer[2..8].copy_from_slice(&[0x81, 0x80, 0, 1, 0, 1]);
            answer.extend_from_slice(&[0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 192, 0, 2, 33]);
            server.send_to(&answer, from).unwrap();
        }
        match g.sockets.get_mut::<dns::Socket>(handle).get_query_result(query) {
            Ok(addresses) => Some(addresses.to_vec()),
            Err(dns::GetQueryResultError::Pending) => None,
            Err(e) => panic!("{e}"),
        }
    });
    assert_eq!(addresses, [IpAddress::v4(192, 0, 2, 33)]);
}

#[test]
fn smoltcp_fifty_connections_at_once() {
    let i = network();
    let mut guest = SmolGuest::configured(&i, 1500);
    let (listener, port) = tcp_listener();
    let handles: Vec<SocketHandle> = (0..50).map(|_| guest.start_connect(16384, at_vhost(port))).collect();
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

#[test]
fn smoltcp_the_guest_half_closes() {
    let i = network();
    let mut guest = SmolGuest::configured(&i, 1500);
    let (handle, mut host) = connected(&mut guest, 65536);
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

#[test]
fn smoltcp_the_host_half_closes() {
    let i = network();
    let mut guest = SmolGuest::configured(&i, 1500);
    let (handle, mut host) = connected(&mut guest, 65536);
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

#[test]
fn smoltcp_resets_cross_in_both_directions() {
    let i = network();
    let mut guest = SmolGuest::configured(&i, 1500);
    let (handle, host) = connected(&mut guest, 4096);
    host_reset(host);
    guest.until("the guest to see a reset", |g| (g.tcp(handle).state() == tcp::State::Closed).then_some(()));
    let (handle, mut host) = connected(&mut guest, 4096);
    guest.tcp(handle).abort();
    let end = guest.until("the host to see the end", |_| match host.read(&mut [0; 16]) {
        Ok(0) => Some(End::Eof),
        Err(e) if e.kind() == std::io::ErrorKind::ConnectionReset => Some(End::Reset),
        _ => None,
    });
    assert_eq!(end, if ours("guest-reset") { End::Reset } else { End::Eof });
}

#[test]
fn smoltcp_a_refused_port_closes_the_socket() {
    let i = network();
    let mut guest = SmolGuest::configured(&i, 1500);
    let handle = guest.start_connect(4096, at_vhost(closed_tcp_port()));
    guest.until("the refusal", |g| (g.tcp(handle).state() == tcp::State::Closed).then_some(()));
}

#[test]
fn smoltcp_serves_clients_of_a_host_forward() {
    let i = network();
    let mut guest = SmolGuest::configured(&i, 1500);
    let port = i.forward(false, at(GUEST, 80));
    for round in 0..5 {
        let handle = guest.tcp_socket(65536);
        guest.tcp(handle).listen(80).unwrap();
        let mut stream = client(port);
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
