//! Rules with names through the C ABI: what the guest may ask, which addresses a name opens, and the ways around that. docs/policy.md
//! says what is promised. Each test is in namespaces of its own, with a name server of its own at a loopback address.

mod common;
#[path = "common/names.rs"]
mod names;
use common::*;
use names::*;
use std::net::IpAddr;

#[test]
fn names_a_direct_address_is_closed_until_an_answer_opens_it() {
    if !names("names_a_direct_address_is_closed_until_an_answer_opens_it") {
        return;
    }
    let (i, server) = allowed("");
    let (_open, open) = listener("127.0.0.5");
    let (_shut, shut) = listener("127.0.0.6");
    assert!(!reaches(&i, open));
    let told = ask(&i, &server, "www.allowed.test", &[address("www.allowed.test", "127.0.0.5", 300)]);
    assert_eq!(told, (0, vec!["127.0.0.5".parse().unwrap()]));
    assert!(reaches(&i, open) && !reaches(&i, shut));
    // And by datagrams.
    let peer = UdpSocket::bind("127.0.0.5:0").unwrap();
    peer.set_nonblocking(true).unwrap();
    i.input(&udp_frame(4000, at(Ipv4Addr::new(127, 0, 0, 5), peer.local_addr().unwrap().port()), b"hello"));
    let (_, from) = host_recv(&i, &peer);
    peer.send_to(b"answer", from).unwrap();
    assert_eq!(i.wait_udp("the answer").1.data, b"answer");
}

#[test]
fn names_a_name_without_a_rule_is_refused_at_once() {
    if !names("names_a_name_without_a_rule_is_refused_at_once") {
        return;
    }
    let (i, server) = allowed("[[policy.rule]]\naction = 'deny'\nname = 'ads.allowed.test'\nhost-port = 443\n");
    for name in ["denied.test", "test", "xallowed.test", "allowed.test.evil.test", "ads.allowed.test", "."] {
        assert_eq!(ask(&i, &server, name, &[]), (REFUSED, vec![]), "{name}");
        nobody_was_asked(&i, &server);
    }
    assert_eq!(ask(&i, &server, "allowed.test", &[]).0, 0);
    assert!(i.flows("TCP").is_empty());
}

#[test]
fn names_upper_case_and_a_dot_at_the_end_change_nothing() {
    if !names("names_upper_case_and_a_dot_at_the_end_change_nothing") {
        return;
    }
    let (i, server) = allowed("[[policy.rule]]\naction = 'deny'\nname = 'Ads.Allowed.Test.'\n");
    let (_open, open) = listener("127.0.0.5");
    for name in ["ADS.allowed.test", "aDs.ALLOWED.tEST."] {
        assert_eq!(ask(&i, &server, name, &[]).0, REFUSED, "{name}");
    }
    assert_eq!(ask(&i, &server, "WwW.Allowed.Test", &[address("www.aLLowed.test", "127.0.0.5", 300)]).1.len(), 1);
    assert!(reaches(&i, open));
}

#[test]
fn names_times_to_live_open_for_a_minute_to_an_hour() {
    if !names("names_times_to_live_open_for_a_minute_to_an_hour") {
        return;
    }
    let (i, server) = allowed("");
    let (none, at_none) = listener("127.0.0.5");
    let (_huge, at_huge) = listener("127.0.0.6");
    ask(&i, &server, "none.allowed.test", &[address("none.allowed.test", "127.0.0.5", 0)]);
    ask(&i, &server, "huge.allowed.test", &[address("huge.allowed.test", "127.0.0.6", 0x7fff_ffff)]);
    pass(&i, 50);
    let mut conn = Conn::connect(&i, at_none);
    let mut host = accept(&i, &none);
    pass(&i, 20);
    assert!(!reaches(&i, at_none), "after its time");
    // What has begun goes on.
    conn.data(&i, b"still here");
    assert_eq!(host_read(&i, &mut host, 10), b"still here");
    assert!(reaches(&i, at_huge));
    pass(&i, 3600);
    assert!(!reaches(&i, at_huge), "nothing counts longer than an hour");
}

#[test]
fn names_an_alias_of_a_denied_name_opens_by_the_name_that_was_asked() {
    if !names("names_an_alias_of_a_denied_name_opens_by_the_name_that_was_asked") {
        return;
    }
    let (i, server) = allowed("[[policy.rule]]\naction = 'deny'\nname = 'cdn.allowed.test'\n");
    let (_open, open) = listener("127.0.0.5");
    let chain = [
        ("www.allowed.test", CNAME, 300, wire("cdn.allowed.test")),
        ("cdn.allowed.test", CNAME, 300, wire("x.denied.test")),
        address("x.denied.test", "127.0.0.5", 300),
    ];
    assert_eq!(ask(&i, &server, "www.allowed.test", &chain).1.len(), 1);
    assert!(reaches(&i, open));
    for denied in ["cdn.allowed.test", "x.denied.test"] {
        assert_eq!(ask(&i, &server, denied, &chain).0, REFUSED, "{denied}");
    }
}

#[test]
fn names_records_of_other_names_in_an_answer_open_nothing() {
    if !names("names_records_of_other_names_in_an_answer_open_nothing") {
        return;
    }
    let (i, server) = allowed("");
    let (_shut, shut) = listener("127.0.0.6");
    let records = [address("www.allowed.test", "127.0.0.5", 300), address("x.allowed.test", "127.0.0.6", 300)];
    assert_eq!(ask(&i, &server, "www.allowed.test", &records), (0, vec!["127.0.0.5".parse().unwrap()]));
    assert!(!reaches(&i, shut));
}

#[test]
fn names_that_rebind_to_the_inside_are_stripped() {
    if !names("names_that_rebind_to_the_inside_are_stripped") {
        return;
    }
    let text = "[policy]\n[[policy.rule]]\naction = 'allow'\nservice = 'dns'\n[[policy.rule]]\naction = 'allow'\n\
                name = 'db.allowed.test'\nhost = '127.0.0.9'\n[[policy.rule]]\naction = 'allow'\nname = '*.allowed.test'\n";
    let i = under(text, &[SERVER], Setup::default());
    let server = server(SERVER);
    let inside = ["127.0.0.1", "0.0.0.0", "10.0.2.2", "10.9.9.9", "192.168.0.1", "172.16.0.1", "169.254.169.254"];
    let inside6 =
        ["::1", "::", "fe80::1", "fec0::2", "fd00::1", "::ffff:127.0.0.1", "64:ff9b::127.0.0.1", "64:ff9b::a00:1"];
    for ip in inside.into_iter().chain(inside6) {
        let name = "www.allowed.test";
        let records = [address(name, ip, 300), address(name, "8.8.8.8", 300)];
        let kind = if ip.contains(':') { AAAA } else { A };
        let told = ask_raw(&i, &server, &query(7, name, kind), &records).unwrap();
        assert_eq!(told, (0, vec!["8.8.8.8".parse().unwrap()]), "{ip}");
    }
    let (_shut, shut) = listener("127.0.0.1");
    assert!(!reaches(&i, shut) && !reaches(&i, at_vhost(shut.port())));
    // Unless a rule has the name and the address.
    let (_open, open) = listener("127.0.0.9");
    let both = [address("db.allowed.test", "127.0.0.9", 300), address("db.allowed.test", "127.0.0.8", 300)];
    assert_eq!(ask(&i, &server, "db.allowed.test", &both), (0, vec!["127.0.0.9".parse().unwrap()]));
    assert!(reaches(&i, open));
}

#[test]
fn names_answers_that_nobody_asked_for_are_dropped() {
    if !names("names_answers_that_nobody_asked_for_are_dropped") {
        return;
    }
    let (i, good) = allowed("");
    let (_open, open) = listener("127.0.0.5");
    let stranger = server("127.0.0.78");
    let asked = query(0x1111, "www.allowed.test", A);
    i.input(&udp_frame(3000, at(VDNS, 53), &asked));
    let (_, from) = host_recv(&i, &good);
    let records = [address("www.allowed.test", "127.0.0.5", 300)];
    let other_id = answer(&query(0x1112, "www.allowed.test", A), &records);
    let other_name = answer(&query(0x1111, "xyz.allowed.test", A), &[address("xyz.allowed.test", "127.0.0.5", 300)]);
    let other_kind = answer(&query(0x1111, "www.allowed.test", AAAA), &records);
    for spoofed in [&other_id, &other_name, &other_kind, &b"no message".to_vec()] {
        good.send_to(spoofed, from).unwrap();
        i.expect_silence();
    }
    stranger.send_to(&answer(&asked, &records), from).unwrap();
    i.expect_silence();
    assert!(!reaches(&i, open));
    good.send_to(&answer(&asked, &records), from).unwrap();
    i.wait_udp("the answer");
    assert!(reaches(&i, open));
    // The same once more.
    good.send_to(&answer(&asked, &[address("www.allowed.test", "127.0.0.6", 300)]), from).unwrap();
    i.expect_silence();
}

#[test]
fn names_where_answers_are_expected_is_told_to_nobody_else() {
    if !names("names_where_answers_are_expected_is_told_to_nobody_else") {
        return;
    }
    let (i, server) = allowed("[[policy.rule]]\naction = 'allow'\nprotocol = 'udp'\nhost = '127.0.0.50'\n");
    let accomplice = UdpSocket::bind("127.0.0.50:0").unwrap();
    accomplice.set_nonblocking(true).unwrap();
    let to = at(Ipv4Addr::new(127, 0, 0, 50), accomplice.local_addr().unwrap().port());
    i.input(&udp_frame(3000, to, b"here am I"));
    let (_, from) = host_recv(&i, &accomplice);
    i.input(&udp_frame(3000, at(VDNS, 53), &query(1, "www.allowed.test", A)));
    let (_, asks_from) = host_recv(&i, &server);
    assert_ne!(from.port(), asks_from.port());
    accomplice.send_to(b"anything", asks_from).unwrap();
    i.expect_silence();
}

#[test]
fn names_a_second_address_of_the_guest_asks_under_rules_of_its_own() {
    if !names("names_a_second_address_of_the_guest_asks_under_rules_of_its_own") {
        return;
    }
    let text = "[policy]\nrebind = 'allow'\n[[policy.rule]]\naction = 'allow'\nservice = 'dns'\n[[policy.rule]]\n\
                action = 'allow'\nguest = '10.0.2.15'\nname = 'allowed.test'\n";
    let i = under(text, &[SERVER], Setup::default());
    let server = server(SERVER);
    let (_open, open) = listener("127.0.0.5");
    let other = Ipv4Addr::new(10, 0, 2, 77);
    i.input(&arp(1, GUEST_MAC, other, [0; 6], VHOST));
    i.settle();
    i.drain();
    let from_other = |data: &[u8], protocol| Ip { src: other, ..Ip::new(VDNS, protocol) }.frame(data);
    i.input(&from_other(&udp(at(other, 3000), at(VDNS, 53), &query(9, "allowed.test", A)), UDP));
    let (_, refused) = i.wait_udp("a refusal");
    assert_eq!((refused.dst, read(&refused.data).0), (at(other, 3000), REFUSED));
    nobody_was_asked(&i, &server);
    ask(&i, &server, "allowed.test", &[address("allowed.test", "127.0.0.5", 300)]);
    let syn = Segment { src: at(other, 3001), ..Conn::new(&i, open).segment(SYN, b"") };
    i.input(&syn.frame());
    assert!(i.wait_tcp("a reset").1.has(RST));
    assert!(reaches(&i, open));
}

#[test]
fn names_a_query_with_two_questions_asks_nothing() {
    if !names("names_a_query_with_two_questions_asks_nothing") {
        return;
    }
    let (i, server) = allowed("");
    let mut two = query(1, "www.allowed.test", A);
    two[5] = 2;
    two.extend(&query(1, "denied.test", A)[12..]);
    let mut hidden = query(2, "www.allowed.test", A);
    hidden.extend(&query(2, "denied.test", A)[12..]);
    let mut looped = query(3, "x", A);
    looped.splice(12..15, [0xc0, 12]);
    let mut dotted = query(4, "www-allowed.test", A);
    dotted[16] = b'.';
    for (what, query) in [("two", two), ("hidden", hidden), ("looped", looped), ("dotted", dotted)] {
        let port = i.fresh_port();
        i.input(&udp_frame(port, at(VDNS, 53), &query));
        let (_, reply) = i.wait_udp(what);
        assert!(reply.data[2] & 0x80 != 0 && [1, REFUSED].contains(&(reply.data[3] & 15)), "{what}");
        nobody_was_asked(&i, &server);
    }
    // What is no query at all is answered by nobody.
    i.input(&udp_frame(3000, at(VDNS, 53), b"anything"));
    i.expect_silence();
    nobody_was_asked(&i, &server);
}

#[test]
fn names_an_answer_with_looped_names_opens_nothing() {
    if !names("names_an_answer_with_looped_names_opens_nothing") {
        return;
    }
    let (i, server) = allowed("");
    let asked = query(1, "www.allowed.test", A);
    i.input(&udp_frame(3000, at(VDNS, 53), &asked));
    let (_, from) = host_recv(&i, &server);
    let mut looped = answer(&asked, &[]);
    looped[7] = 1;
    let here = looped.len() as u8;
    looped.extend([0xc0, here, 0, 1, 0, 1, 0, 0, 1, 0, 0, 4, 127, 0, 0, 5]);
    server.send_to(&looped, from).unwrap();
    let (_, reply) = i.wait_udp("a failure");
    assert_eq!(read(&reply.data), (2, vec![]));
    assert!(!reaches(&i, at(Ipv4Addr::new(127, 0, 0, 5), 80)));
}

#[test]
fn names_a_forwarded_port_of_the_guest_asks_as_every_other() {
    if !names("names_a_forwarded_port_of_the_guest_asks_as_every_other") {
        return;
    }
    let (i, server) = allowed("[[policy.rule]]\naction = 'allow'\ndirection = 'in'\n");
    i.forward(true, at(GUEST, 3000));
    i.input(&udp_frame(3000, at(VDNS, 53), &query(1, "denied.test", A)));
    assert_eq!(read(&i.wait_udp("a refusal").1.data).0, REFUSED);
    nobody_was_asked(&i, &server);
    i.input(&udp_frame(3000, at(VDNS, 53), &query(2, "www.allowed.test", A)));
    let (asked, from) = host_recv(&i, &server);
    let records = [address("www.allowed.test", "127.0.0.5", 300), address("x.test", "127.0.0.6", 300)];
    server.send_to(&answer(&asked, &records), from).unwrap();
    assert_eq!(read(&i.wait_udp("the answer").1.data).1, ["127.0.0.5".parse::<IpAddr>().unwrap()]);
}

#[test]
fn names_of_a_policy_without_them_are_nobodys_business() {
    if !names("names_of_a_policy_without_them_are_nobodys_business") {
        return;
    }
    let i = under("[[policy.rule]]\naction = 'allow'\nservice = 'dns'\n", &[SERVER], Setup::default());
    let server = server(SERVER);
    i.input(&udp_frame(3000, at(VDNS, 53), b"anything"));
    let (data, from) = host_recv(&i, &server);
    assert_eq!(data, b"anything");
    server.send_to(b"whatever", from).unwrap();
    assert_eq!(i.wait_udp("the answer").1.data, b"whatever");
}
