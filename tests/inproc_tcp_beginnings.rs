//! TCP connections that begin where there is one already, or where none can be: guests that start anew and use a port again
//! (RFC 5961), SYNs to and from many (RFC 9293 section 3.9.2.3), and the virtual host as the last hop.

mod common;
use common::target::{FORWARD, callback_party};
use common::*;
use std::io::Write;
use std::net::{IpAddr, Shutdown, SocketAddr};

both_families![
    earnest_4_c_a_guest_that_started_anew_gets_in,
    earnest_4_c_doubled_and_old_syns_do_not_harm_a_live_guest,
    earnest_4_j_the_virtual_host_is_no_hop_away,
    earnest_4_l_no_connection_with_a_group,
];

/// ELKS and others do not answer the challenge of RFC 5961 by a reset, and would be shut out.
fn earnest_4_c_a_guest_that_started_anew_gets_in(family: Family) {
    if !ours("second-syn") {
        return;
    }
    let i = family.setup().start();
    let (listener, port) = family.tcp_listener();
    for state in ["ESTABLISHED", "FIN_WAIT_2", "CLOSE_WAIT"] {
        // The new numbers may lie anywhere: as before, inside of the window, far from it.
        for start in [0u32, 5000, 3_000_000_000] {
            let mut party = Party::connect(&i, family, family.at_vhost(port));
            let (first, mut host) = (party.seq.wrapping_sub(1), accept(&i, &listener));
            match state {
                "FIN_WAIT_2" => {
                    host.shutdown(Shutdown::Write).unwrap();
                    party.expect_fin(&i);
                }
                "CLOSE_WAIT" => {
                    party.send(&i, FIN | ACK, b"");
                    party.expect_acked(&i);
                    assert_eq!(host_end(&i, &mut host), (Vec::new(), End::Eof));
                }
                _ => {}
            }
            i.settle();
            assert!(party.listed(&i, state), "{}", i.connection_info());
            i.advance(Duration::from_secs(60));
            i.drain();
            let mut anew = Party { seq: first.wrapping_add(start), ack: 0, ..party.clone() };
            // The first SYN is challenged, the guest is silent, and its stack sends the same SYN again.
            anew.send_at(&i, anew.seq, SYN, b"");
            i.settle();
            let answers = anew.all(&i);
            assert!(answers.iter().all(|s| s.flags == ACK && s.ack == party.seq), "{answers:?}");
            assert!(!answers.is_empty() && listener.accept().is_err());
            i.advance(Duration::from_secs(1));
            assert!(anew.all(&i).is_empty());
            anew.open(&i);
            let mut second = accept(&i, &listener);
            anew.send(&i, PSH | ACK, b"second life");
            assert_eq!(host_read(&i, &mut second, 11), b"second life");
            if state == "CLOSE_WAIT" {
                until_broken(&i, &mut host);
            } else {
                assert_eq!(host_end(&i, &mut host), (Vec::new(), End::Reset), "{state}");
            }
            second.write_all(b"and back").unwrap();
            assert_eq!(anew.receive(&i, 8), b"and back");
            anew.send(&i, RST | ACK, b"");
            assert!(!anew.listed(&i, ""));
        }
    }
}

/// A SYN that a link doubles, that comes late or that somebody makes up is no new beginning, however often it comes.
fn earnest_4_c_doubled_and_old_syns_do_not_harm_a_live_guest(family: Family) {
    if !ours("second-syn") {
        return;
    }
    let i = family.setup().start();
    let (mut party, mut host) = Party::with_host(&i, family);
    let first = party.seq.wrapping_sub(1);
    for seq in [first, first.wrapping_sub(100_000), first.wrapping_add(30_000), 7] {
        // Doubled on the link: both before the guest could say anything. Then it answers what it was asked.
        party.send_at(&i, seq, SYN, b"");
        party.send_at(&i, seq, SYN, b"");
        i.settle();
        assert!(party.answer(&i) > 0, "an idle guest had nothing to answer");
        // The same a second later, and again: idle between.
        for _ in 0..5 {
            i.advance(Duration::from_secs(1));
            party.send_at(&i, seq, SYN, b"");
            i.settle();
            assert!(party.answer(&i) > 0, "an idle guest had nothing to answer");
        }
        // With bytes of either direction in between, in place of the answer.
        i.advance(Duration::from_secs(1));
        party.send_at(&i, seq, SYN, b"");
        i.settle();
        party.all(&i);
        party.send(&i, PSH | ACK, b"on we go");
        assert_eq!(host_read(&i, &mut host, 8), b"on we go");
        i.advance(Duration::from_secs(1));
        party.send_at(&i, seq, SYN, b"");
        i.settle();
        party.all(&i);
        host.write_all(b"and back").unwrap();
        assert_eq!(party.receive(&i, 8), b"and back");
        i.advance(Duration::from_secs(1));
        party.send_at(&i, seq, SYN, b"");
        i.settle();
        assert!(party.answer(&i) > 0);
        host_idle(&mut host);
        assert!(party.listed(&i, "ESTABLISHED"), "{}", i.connection_info());
    }
}

/// The same of a callback's connection, before and after its state was saved and loaded.
#[test]
fn earnest_4_c_a_guest_that_started_anew_gets_in_after_a_load() {
    if !ours("second-syn") {
        return;
    }
    for load in [false, true] {
        let (i, party) = callback_party(load);
        let mut anew = Party { seq: 77, ack: 0, ..party };
        anew.send_at(&i, 77, SYN, b"");
        i.advance(Duration::from_secs(1));
        assert!(anew.all(&i).iter().all(|s| s.flags == ACK));
        anew.open(&i);
        i.socket_recv(FORWARD, 7, b"for the new one");
        assert_eq!(anew.receive(&i, 15), b"for the new one");
        assert_eq!(i.flows("TCP[").len(), 1, "{}", i.connection_info());
    }
}

/// RFC 9293 section 3.9.2.3: a SYN to or from many is ignored, and a stray segment is not answered by a reset either.
fn earnest_4_l_no_connection_with_a_group(family: Family) {
    if !ours("tcp-groups") {
        return;
    }
    let i = family.setup().start();
    let (listener, port) = family.tcp_listener();
    let groups: &[&str] = match family {
        Family::V4 => &["255.255.255.255", "224.0.0.9", "239.255.255.250", "10.0.2.255", "10.0.2.0"],
        Family::V6 => &["ff02::1", "ff02::fb", "ff05::2", "ff0e::5"],
    };
    let silent = |party: &Party, what: &str| {
        i.settle();
        i.drain();
        for flags in [SYN, ACK, FIN | ACK, RST, SYN | ACK] {
            party.send_at(&i, 77, flags, b"");
            i.settle();
            let frames = i.drain();
            assert!(frames.is_empty(), "{what}, flags {flags:#x}: {frames:?}");
        }
        assert!(i.flows("TCP[").is_empty(), "{what}: {}", i.connection_info());
    };
    for group in groups {
        let to = SocketAddr::new(group.parse().unwrap(), port);
        silent(&Party::new(&i, family, to), group);
    }
    // Nor from such an address.
    for from in if family == Family::V4 {
        &["255.255.255.255", "10.0.2.255", "224.0.0.1", "0.0.0.0"][..]
    } else {
        &["ff02::9", "::"]
    } {
        let mut party = Party::new(&i, family, family.at_vhost(port));
        party.guest.set_ip(from.parse::<IpAddr>().unwrap());
        silent(&party, from);
    }
    assert!(listener.accept().is_err(), "somebody connected");
    let mut setup = family.setup();
    setup.config.restricted = 1;
    let restricted = setup.start();
    let party = Party::new(&restricted, family, SocketAddr::new(groups[0].parse().unwrap(), port));
    party.send_at(&restricted, 77, SYN, b"");
    restricted.expect_silence();
}

/// The virtual host is the router; what is meant for itself it takes with the last hop, and the host's time to live is left
/// alone where there is no router to come.
fn earnest_4_j_the_virtual_host_is_no_hop_away(family: Family) {
    let i = family.setup().start();
    let (listener, port) = family.tcp_listener();
    let mut party = Party { ttl: 1, ..Party::new(&i, family, family.at_vhost(port)) };
    party.open(&i);
    let mut host = accept(&i, &listener);
    party.send(&i, PSH | ACK, b"one hop");
    assert_eq!(host_read(&i, &mut host, 7), b"one hop");
    party.ttl = 200;
    party.send(&i, PSH | ACK, b"many");
    assert_eq!(host_read(&i, &mut host, 4), b"many");
    host.write_all(b"back").unwrap();
    assert_eq!(party.receive(&i, 4), b"back");
}
