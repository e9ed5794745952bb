//! A path that is narrower than the guest's link: what the guest is told of its MTU, over IPv4 and IPv6. The router before the
//! narrow link is a network namespace that the test makes.

mod common;

use common::route::*;
use common::*;
use std::process::Command;

both_families![
    icmp_the_path_mtu_reaches_the_guest,
    earnest_4_i_a_datagram_that_must_not_be_cut_is_refused_each_time,
    earnest_4_i_a_ping_that_must_not_be_cut_is_refused_each_time,
    earnest_4_i_a_guest_whose_link_carries_more_loses_no_datagram,
];

fn icmp_the_path_mtu_reaches_the_guest(family: Family) {
    if !isolated(&family.test("icmp_the_path_mtu_reaches_the_guest"), Isolation::Network) {
        return;
    }
    if !ours("path-mtu") {
        return;
    }
    let _network = network();
    let i = start(family);
    send_udp(&i, family, 64, 9, &[0; 1400]);
    let (from, code, rest, data) = wait_message(&i, family, "word of the next hop's MTU");
    // RFC 1191, RFC 4443 section 3.2.
    assert_eq!((from, code), (router(family), if family == Family::V4 { (3, 4) } else { (2, 0) }));
    assert_eq!(rest[2..4], NARROW.to_be_bytes());
    assert_eq!(quoted(family, &data).1, server(family));
}

fn earnest_4_i_a_datagram_that_must_not_be_cut_is_refused_each_time(family: Family) {
    let name = "earnest_4_i_a_datagram_that_must_not_be_cut_is_refused_each_time";
    if !isolated(&family.test(name), Isolation::Network) || !ours("dont-fragment") {
        return;
    }
    let _network = network();
    let i = start(family);
    let large = [0; 1400];
    for _ in 0..3 {
        send_udp(&i, family, 64, 9, &large);
        wait_too_large(&i, family, NARROW);
    }
    i.expect_silence();
    // What fits arrives, and so does what may be cut; after that, as before.
    send_udp(&i, family, 64, 9, &large[..500]);
    wait_arrived(&i, family);
    send_udp(&i, family, 64, 9, &large[..usize::from(NARROW) - family.udp_headers()]);
    wait_arrived(&i, family);
    send_udp(&i, family, 64, 9, &large[..usize::from(NARROW) - family.udp_headers() + 1]);
    wait_too_large(&i, family, NARROW);
    send_divisible_udp(&i, family, 9, &large);
    wait_arrived(&i, family);
    // A burst, which goes out at one go: a small one, two large ones, and one that may be cut.
    send_udp(&i, family, 64, 9, b"small");
    send_udp(&i, family, 64, 9, &large);
    send_udp(&i, family, 64, 9, &large);
    send_divisible_udp(&i, family, 9, &large);
    let mut codes: Vec<(u8, u8)> = (0..4).map(|_| wait_message(&i, family, "an answer").1).collect();
    codes.sort_unstable();
    let [refused, arrived] = [too_large(family), codes_of(family)[1]];
    let mut expected = [refused, refused, arrived, arrived];
    expected.sort_unstable();
    assert_eq!(codes, expected);
}

fn earnest_4_i_a_ping_that_must_not_be_cut_is_refused_each_time(family: Family) {
    let name = "earnest_4_i_a_ping_that_must_not_be_cut_is_refused_each_time";
    if !isolated(&family.test(name), Isolation::Network) || !ours("dont-fragment") {
        return;
    }
    let _network = network();
    let i = start(family);
    let reply = if family == Family::V4 { (0, 0) } else { (129, 0) };
    for sequence in 1..4 {
        send_large_ping(&i, family, sequence, 1400, true);
        wait_too_large(&i, family, NARROW);
    }
    i.expect_silence();
    send_large_ping(&i, family, 4, 1000, true);
    assert_eq!(wait_message(&i, family, "a reply").1, reply);
    send_large_ping(&i, family, 5, 1400, false);
    let (_, code, rest, data) = wait_message(&i, family, "a reply to what was cut");
    assert_eq!((code, rest, data), (reply, [0, 7, 0, 5], vec![7; 1400]));
    send_large_ping(&i, family, 6, 1400, true);
    wait_too_large(&i, family, NARROW);
}

/// Its first datagram is larger than what the host's own link carries, of which it cannot know.
fn earnest_4_i_a_guest_whose_link_carries_more_loses_no_datagram(family: Family) {
    let name = "earnest_4_i_a_guest_whose_link_carries_more_loses_no_datagram";
    if !isolated(&family.test(name), Isolation::Network) || !ours("dont-fragment") {
        return;
    }
    let _network = network();
    // Routers cut over IPv4; over IPv6 the host has to know of the narrow link.
    let route = "route change 2001:db8:2::/64 via 2001:db8:1::2 mtu 1280";
    run(Command::new("ip").arg("-6").args(route.split(' ')));
    let mtu = if family == Family::V4 { 1500 } else { NARROW };
    let i = family.setup().mtu(9000, 9000).real_clock().start();
    if family == Family::V6 {
        i.greet6(GUEST6);
    }
    send_udp(&i, family, 64, 9, &[0; 4000]);
    wait_too_large(&i, family, mtu);
    wait_arrived(&i, family);
    for _ in 0..2 {
        send_udp(&i, family, 64, 9, &[0; 4000]);
        wait_too_large(&i, family, mtu);
    }
    i.expect_silence();
}
