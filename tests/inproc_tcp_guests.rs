//! TCP with guests and peers as people have them: they fall silent, vanish, start again, and send where no connection can
//! be (RFC 9293 sections 3.8.4 and 3.9.2.3, RFC 5961). On a virtual clock.

mod common;
use common::*;
use std::net::{IpAddr, SocketAddr};

both_families![earnest_4_l_no_connection_with_a_group];

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
