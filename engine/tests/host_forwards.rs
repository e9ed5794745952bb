//! Host forwards as a Rust program has them: typed, with handles that tell their address and end them.

mod guest;

use std::error::Error;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::os::unix::net::UnixStream;

use guest::{GUEST, Network};
use oxislirp::{Config, ForwardError, HostForward, HostForwardHandle, ListenAddress, Protocol, Stack, UnixAddress};
use smoltcp::socket::udp;

const LOOPBACK: (Ipv4Addr, u16) = (Ipv4Addr::LOCALHOST, 0);

fn bound(handle: HostForwardHandle) -> SocketAddr {
    handle.bound().unwrap()
}

/// Has a host peer that is connected already exchange a word with the guest's socket, which listens on port 80.
fn exchange(network: &mut Network, mut peer: impl Read + Write, nonblocking: impl FnOnce()) {
    let handle = network.listen(80);
    peer.write_all(b"question").unwrap();
    nonblocking();
    let mut heard = Vec::new();
    network.until("the question", |network| {
        let socket = network.tcp(handle);
        let mut bytes = [0; 64];
        if let Ok(count) = socket.recv_slice(&mut bytes) {
            heard.extend_from_slice(&bytes[..count]);
        }
        (heard == b"question").then_some(())
    });
    network.tcp(handle).send_slice(b"answer").unwrap();
    let mut answer = [0; 6];
    let mut got = 0;
    network.until("the answer", |_| {
        match peer.read(&mut answer[got..]) {
            Ok(count) => got += count,
            Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
        }
        (got == answer.len()).then_some(())
    });
    assert_eq!(&answer, b"answer");
    network.tcp(handle).abort();
    network.turns(3);
    network.sockets.remove(handle);
}

fn exchange_tcp(network: &mut Network, to: SocketAddr) {
    let peer = TcpStream::connect(to).unwrap();
    exchange(network, &peer, || peer.set_nonblocking(true).unwrap());
}

#[test]
fn a_forward_on_port_0_tells_its_port_and_works() {
    let mut network = Network::new();
    network.introduce();
    let handle = network.stack().add_host_forward(HostForward::tcp(LOOPBACK, (GUEST, 80))).unwrap();
    assert_eq!(bound(handle).ip(), Ipv4Addr::LOCALHOST);
    assert_ne!(bound(handle).port(), 0);
    exchange_tcp(&mut network, bound(handle));
    // A second one gets another port.
    let other = network.stack().add_host_forward(HostForward::tcp(LOOPBACK, (Ipv4Addr::UNSPECIFIED, 80))).unwrap();
    assert_ne!(other.bound(), handle.bound());
    assert_ne!(other, handle);
    exchange_tcp(&mut network, bound(other));
}

#[test]
fn datagrams_come_through_a_forward_on_port_0() {
    let mut network = Network::new();
    network.introduce();
    let handle = network.stack().add_host_forward(HostForward::udp(LOOPBACK, (GUEST, 5000))).unwrap();
    let socket = network.udp(5000);
    let peer = UdpSocket::bind(LOOPBACK).unwrap();
    peer.send_to(b"question", bound(handle)).unwrap();
    let from = network.until("the datagram", |network| {
        let (bytes, from) = network.sockets.get_mut::<udp::Socket>(socket).recv().ok()?;
        assert_eq!(bytes, b"question");
        Some(from.endpoint)
    });
    network.sockets.get_mut::<udp::Socket>(socket).send_slice(b"answer", from).unwrap();
    peer.set_nonblocking(true).unwrap();
    let mut answer = [0; 64];
    let (count, from) = network.until("the answer", |_| peer.recv_from(&mut answer).ok());
    assert_eq!((&answer[..count], Some(from)), (&b"answer"[..], handle.bound()));
}

#[test]
fn a_removed_forward_lets_nobody_in_and_can_be_added_again() {
    let mut network = Network::new();
    network.introduce();
    let handle = network.stack().add_host_forward(HostForward::tcp(LOOPBACK, (GUEST, 80))).unwrap();
    let address = bound(handle);
    network.stack().remove_host_forward(handle).unwrap();
    // The socket closes with its effect.
    drop(network.effects());
    assert_eq!(TcpStream::connect(address).unwrap_err().kind(), ErrorKind::ConnectionRefused);

    let again = network.stack().add_host_forward(HostForward::tcp(address, (GUEST, 80))).unwrap();
    assert_eq!(again.bound(), Some(address));
    assert_ne!(again, handle, "the old handle is of the old forward");
    assert!(matches!(network.stack().remove_host_forward(handle), Err(ForwardError::Gone)));
    exchange_tcp(&mut network, address);
}

#[test]
fn a_handle_used_twice_or_of_another_stack_is_an_error() {
    let mut stack = Stack::new(Config::default()).unwrap();
    let mut other = Stack::new(Config::default()).unwrap();
    for forward in [HostForward::tcp(LOOPBACK, (GUEST, 80)), HostForward::udp(LOOPBACK, (GUEST, 80))] {
        let handle = stack.add_host_forward(forward.clone()).unwrap();
        let theirs = other.add_host_forward(forward).unwrap();
        assert!(matches!(stack.remove_host_forward(theirs), Err(ForwardError::Gone)));
        assert!(matches!(other.remove_host_forward(handle), Err(ForwardError::Gone)));
        assert_eq!((stack.host_forwards().count(), other.host_forwards().count()), (1, 1));
        stack.remove_host_forward(handle).unwrap();
        assert!(matches!(stack.remove_host_forward(handle), Err(ForwardError::Gone)));
        other.remove_host_forward(theirs).unwrap();
    }
}

#[test]
fn forwards_are_listed_in_the_order_in_which_they_were_added_and_found_by_address() {
    let mut stack = Stack::new(Config::builder().ipv6(true).build().unwrap()).unwrap();
    let forwards = [
        HostForward::udp(LOOPBACK, (GUEST, 1)),
        HostForward::tcp(LOOPBACK, (GUEST, 2)),
        HostForward::udp(LOOPBACK, (Ipv4Addr::UNSPECIFIED, 3)),
        HostForward::tcp((Ipv6Addr::LOCALHOST, 0), (Ipv6Addr::UNSPECIFIED, 4)).only_v6(true),
    ];
    let handles = forwards.clone().map(|forward| stack.add_host_forward(forward).unwrap());
    let listed: Vec<_> = stack.host_forwards().collect();
    assert_eq!(listed.iter().map(|entry| entry.handle).collect::<Vec<_>>(), handles);
    for (entry, forward) in listed.iter().zip(&forwards) {
        assert_eq!((entry.protocol, entry.guest), (forward.protocol(), forward.guest()));
        assert_eq!(entry.listen, ListenAddress::Inet(bound(entry.handle)));
        assert_eq!(stack.host_forward_at(entry.protocol, &entry.listen), Some(entry.handle));
    }
    let tcp_at = ListenAddress::Inet(bound(handles[1]));
    assert_eq!(stack.host_forward_at(Protocol::Udp, &tcp_at), None);
    stack.remove_host_forward(handles[1]).unwrap();
    assert_eq!(stack.host_forward_at(Protocol::Tcp, &tcp_at), None);
    assert_eq!(stack.host_forwards().count(), 3);
}

#[test]
fn what_the_host_says_is_the_source_of_the_error() {
    let mut stack = Stack::new(Config::default()).unwrap();
    let handle = stack.add_host_forward(HostForward::tcp(LOOPBACK, (GUEST, 80))).unwrap();
    let error = stack.add_host_forward(HostForward::tcp(bound(handle), (GUEST, 81))).unwrap_err();
    let source = error.source().and_then(|source| source.downcast_ref::<std::io::Error>());
    assert_eq!(source.map(std::io::Error::kind), Some(ErrorKind::AddrInUse), "{error}");
    let said = format!("the host does not let the forward listen at {}", bound(handle));
    assert_eq!(error.to_string(), said, "the address is named");
    assert_eq!(stack.host_forwards().count(), 1);
}

#[test]
fn a_unix_socket_leads_to_the_guest_and_goes_with_its_forward() {
    let path = std::env::temp_dir().join(format!("oxislirp-forward-{}", std::process::id()));
    let address = UnixAddress::from_path(&path).unwrap();
    let mut network = Network::new();
    network.introduce();
    let handle = network.stack().add_host_forward(HostForward::unix(address.clone(), (GUEST, 80))).unwrap();
    assert_eq!(handle.bound(), None);
    let listen = ListenAddress::Unix(address);
    assert_eq!(network.stack().host_forward_at(Protocol::Tcp, &listen), Some(handle));
    assert_eq!(network.stack().host_forward_at(Protocol::Udp, &listen), None);
    assert_eq!(network.stack().host_forwards().next().unwrap().listen, listen);
    let peer = UnixStream::connect(&path).unwrap();
    exchange(&mut network, &peer, || peer.set_nonblocking(true).unwrap());
    network.stack().remove_host_forward(handle).unwrap();
    drop(network.effects());
    assert!(!path.exists());
}

#[test]
fn the_address_of_a_forward_that_was_removed_is_free_at_once() {
    let mut stack = Stack::new(Config::default()).unwrap();
    for protocol in [Protocol::Tcp, Protocol::Udp] {
        let forward = |port, at| match protocol {
            Protocol::Udp => HostForward::udp((Ipv4Addr::LOCALHOST, at), (GUEST, port)),
            _ => HostForward::tcp((Ipv4Addr::LOCALHOST, at), (GUEST, port)),
        };
        let first = stack.add_host_forward(forward(80, 0)).unwrap();
        let address = bound(first);
        stack.remove_host_forward(first).unwrap();
        if protocol == Protocol::Tcp {
            assert_eq!(TcpStream::connect(address).unwrap_err().kind(), ErrorKind::ConnectionRefused);
        }
        // Another process may take the port meanwhile; not each time.
        let again = (0..20).find_map(|_| stack.add_host_forward(forward(81, address.port())).ok());
        assert_eq!(again.and_then(|handle| handle.bound()), Some(address));
    }
}

/// `forward::check` has the whole table; here is that it is asked.
#[test]
fn forwards_that_can_lead_to_no_guest_are_refused() {
    let mut stack = Stack::new(Config::default()).unwrap();
    let mut refused = |guest: &str| {
        let guest: SocketAddr = guest.parse().unwrap();
        let error = stack.add_host_forward(HostForward::tcp(LOOPBACK, guest)).unwrap_err();
        let same = stack.add_host_forward(HostForward::udp(LOOPBACK, guest)).unwrap_err();
        let path = UnixAddress::new(b"\0oxislirp-refused").unwrap();
        let unix = stack.add_host_forward(HostForward::unix(path, guest)).unwrap_err();
        assert_eq!((same.to_string(), unix.to_string()), (error.to_string(), error.to_string()));
        error
    };
    assert!(matches!(refused("10.0.2.15:0"), ForwardError::NoPort));
    for guest in ["224.0.0.1:80", "255.255.255.255:80", "127.0.0.1:80", "10.0.2.255:80"] {
        assert!(matches!(refused(guest), ForwardError::NoMachine(_)), "{guest}");
    }
    assert!(matches!(refused("10.0.3.15:80"), ForwardError::OutsideNetwork(_)));
    assert!(matches!(refused("10.0.2.2:80"), ForwardError::OwnAddress(_)));
    assert!(matches!(refused("10.0.2.3:80"), ForwardError::OwnAddress(_)));
    assert!(matches!(refused("[fec0::15]:80"), ForwardError::NoFamily(_)));
    let only_v6 = HostForward::tcp(LOOPBACK, (GUEST, 80)).only_v6(true);
    assert!(matches!(stack.add_host_forward(only_v6), Err(ForwardError::OnlyV6(_))));
    assert_eq!(stack.host_forwards().count(), 0);
}
