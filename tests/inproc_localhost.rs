//! The host's own services, by whichever of its two loopback addresses they listen on.

mod common;

use common::child::open_descriptors;
use common::*;
use std::io::Write;
use std::net::{IpAddr, SocketAddr};
use std::process::Command;

both_families![
    earnest_4_m_a_service_on_the_other_loopback_address_is_reached,
    earnest_4_m_a_refusal_that_takes_its_time_leads_to_the_other_address,
    earnest_4_m_the_guests_own_family_comes_first,
    earnest_4_m_refused_by_both_is_refused,
    earnest_4_m_host_loopback_can_be_closed,
];

fn other(family: Family) -> Family {
    if family == Family::V4 { Family::V6 } else { Family::V4 }
}

fn listen(at: IpAddr, port: u16) -> std::io::Result<TcpListener> {
    let domain = if at.is_ipv6() { socket2::Domain::IPV6 } else { socket2::Domain::IPV4 };
    let socket = socket2::Socket::new(domain, socket2::Type::STREAM, None)?;
    if at.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.bind(&SocketAddr::new(at, port).into())?;
    socket.listen(16)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

/// A listener at the loopback of the other family, on a port that is closed at the one of this family.
fn elsewhere(family: Family) -> (TcpListener, u16) {
    for _ in 0..100 {
        let (listener, port) = other(family).tcp_listener();
        if listen(family.loopback(), port).is_ok() {
            return (listener, port);
        }
    }
    panic!("no port is closed at {}", family.loopback());
}

/// The connection works in both directions up to its end, and leaves no descriptor behind.
fn serve(i: &Instance, mut guest: Party, listener: &TcpListener) {
    let mut host = accept(i, listener);
    guest.send(i, PSH | ACK, b"question");
    assert_eq!(host_read(i, &mut host, 8), b"question");
    host.write_all(b"answer").unwrap();
    assert_eq!(guest.receive(i, 6), b"answer");
    drop(host);
    guest.expect_fin(i);
    guest.send(i, FIN | ACK, b"");
    guest.expect_acked(i);
    i.settle();
    let (mut added, mut removed) = i.registrations();
    added.sort_unstable();
    removed.sort_unstable();
    if !library().upstream {
        assert_eq!(added, removed, "what was announced is taken back");
    }
}

/// Port `port` refuses the guest by a reset.
fn refused(i: &Instance, family: Family, to: SocketAddr) {
    let mut guest = Party::new(i, family, to);
    guest.send(i, SYN, b"");
    guest.expect(i, "a reset", |s| s.has(RST));
}

fn earnest_4_m_a_service_on_the_other_loopback_address_is_reached(family: Family) {
    let name = family.test("earnest_4_m_a_service_on_the_other_loopback_address_is_reached");
    if !isolated(&name, Isolation::Process) || !ours("either-loopback") {
        return;
    }
    let i = family.setup().start();
    i.registrations();
    let (listener, port) = elsewhere(family);
    let before = open_descriptors();
    for _ in 0..3 {
        serve(&i, Party::connect(&i, family, family.at_vhost(port)), &listener);
    }
    assert_eq!(open_descriptors(), before);
    // Who names a loopback address means that one.
    refused(&i, family, SocketAddr::new(family.loopback(), port));
    assert!(listener.accept().is_err());
}

/// On a slow loopback the refusal comes after the call that began the connection.
fn earnest_4_m_a_refusal_that_takes_its_time_leads_to_the_other_address(family: Family) {
    let name = "earnest_4_m_a_refusal_that_takes_its_time_leads_to_the_other_address";
    if !isolated(&family.test(name), Isolation::Network) || !ours("either-loopback") {
        return;
    }
    let slow = ["qdisc", "add", "dev", "lo", "root", "tbf", "rate", "32kbit", "burst", "1600", "latency", "20s"];
    if !Command::new("tc").args(slow).status().is_ok_and(|status| status.success()) {
        eprintln!("SKIPPED {name}: this machine has no tc, or no token bucket");
        return;
    }
    let i = family.setup().start();
    i.registrations();
    let (listener, port) = elsewhere(family);
    // What the bucket lets through at once is used up.
    UdpSocket::bind("127.0.0.1:0").unwrap().send_to(&[0; 1500], ("127.0.0.1", 9)).unwrap();
    for _ in 0..2 {
        serve(&i, Party::connect(&i, family, family.at_vhost(port)), &listener);
    }
    // And the refusal of both.
    let port = other(family).closed_port();
    refused(&i, family, family.at_vhost(port));
}

fn earnest_4_m_the_guests_own_family_comes_first(family: Family) {
    let i = family.setup().start();
    i.registrations();
    let (listener, port) = elsewhere(family);
    let own = listen(family.loopback(), port).expect("the port is free there");
    serve(&i, Party::connect(&i, family, family.at_vhost(port)), &own);
    assert!(listener.accept().is_err());
}

fn earnest_4_m_refused_by_both_is_refused(family: Family) {
    if !isolated(&family.test("earnest_4_m_refused_by_both_is_refused"), Isolation::Process) {
        return;
    }
    let i = family.setup().start();
    i.registrations();
    let (listener, port) = elsewhere(family);
    drop(listener);
    let before = open_descriptors();
    for _ in 0..3 {
        refused(&i, family, family.at_vhost(port));
        i.settle();
    }
    assert_eq!(open_descriptors(), before);
    assert!(i.flows("TCP[").is_empty(), "{}", i.connection_info());
}

fn earnest_4_m_host_loopback_can_be_closed(family: Family) {
    let mut setup = family.setup();
    setup.config.disable_host_loopback = true;
    let i = setup.start();
    let (listener, port) = elsewhere(family);
    let mut guest = Party::new(&i, family, family.at_vhost(port));
    guest.send(&i, SYN, b"");
    i.settle();
    assert!(guest.all(&i).iter().all(|s| s.has(RST)));
    assert!(listener.accept().is_err());
}
