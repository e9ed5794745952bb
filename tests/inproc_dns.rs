//! The DNS relay: docs/contract/dns.md. Each test has a resolv.conf of its own, in its own mount and network namespace,
//! with servers on loopback addresses.

mod common;
use common::*;

/// Writes the resolv.conf of this process.
fn resolv(text: &str) {
    std::fs::write(child::resolv_conf_path(), text).expect("the file is ours");
}

/// A name server's socket at `address` port 53.
fn server(address: &str) -> UdpSocket {
    let s = UdpSocket::bind((address, 53)).expect("port 53 of a new namespace is free");
    s.set_nonblocking(true).unwrap();
    s
}

/// Asks from a guest port of its own; the ICMP code when it was refused.
fn ask(i: &Instance, servers: &[&UdpSocket]) -> Result<usize, u8> {
    let port = i.fresh_port();
    i.input(&udp_frame(port, at(VDNS, 53), b"query"));
    let mut buffer = [0; 512];
    let got = i.until("a query at a server or a refusal", || {
        if let Some(icmp) = i.take(|f| f.icmp()) {
            return Some(Err(icmp.code));
        }
        servers.iter().enumerate().find_map(|(n, s)| s.recv_from(&mut buffer).ok().map(|(_, from)| Ok((n, from))))
    });
    got.map(|(n, from)| {
        servers[n].send_to(b"answer", from).unwrap();
        let d = i.wait_udp("the answer").1;
        assert_eq!((d.src, d.dst.port(), d.data.as_slice()), (at(VDNS, 53), port, &b"answer"[..]));
        n
    })
}

#[test]
fn dns_fact_01_the_first_server_is_asked() {
    if !isolated("dns_fact_01_the_first_server_is_asked", Isolation::Resolver) {
        return;
    }
    resolv("# comment\nsearch example.com\nnameserver 127.0.0.77 # c\nnameserver\t127.0.0.78\n");
    let (a, b) = (server("127.0.0.77"), server("127.0.0.78"));
    let i = Setup::default().start();
    assert_eq!(ask(&i, &[&a, &b]), Ok(0));
    assert_eq!(ask(&i, &[&a, &b]), Ok(0));
}

#[test]
fn dns_fact_02_no_server_line_means_the_hosts_loopback() {
    if !isolated("dns_fact_02_no_server_line_means_the_hosts_loopback", Isolation::Resolver) {
        return;
    }
    // Since 4.8.
    if !library().at_least(8) {
        return;
    }
    let local = server("127.0.0.1");
    for text in ["", "# nothing\n", " nameserver 127.0.0.77\n", "NAMESERVER 127.0.0.77\n", "nameserver127.0.0.77\n"] {
        resolv(text);
        assert_eq!(ask(&Setup::default().start(), &[&local]), Ok(0), "{text:?}");
    }
}

#[test]
fn dns_fact_03_servers_of_the_other_family_do_not_count() {
    if !isolated("dns_fact_03_servers_of_the_other_family_do_not_count", Isolation::Resolver) {
        return;
    }
    resolv("nameserver ::1\n");
    let reply = if ours("dns-cross-family") { None } else { Some(Err(0)) };
    let local = server("127.0.0.77");
    if let Some(reply) = reply {
        assert_eq!(ask(&Setup::default().start(), &[&local]), reply);
    }
    resolv("nameserver ::1\nnameserver 127.0.0.77\n");
    let i = Setup::default().start();
    i.move_clock(Duration::from_secs(5));
    i.settle();
    // Upstream keeps one cache for the process.
    if library().at_least(8) {
        assert_eq!(ask(&i, &[&local]), Ok(0));
    }
}

#[test]
fn dns_fact_05_other_notations_are_not_addresses() {
    if !isolated("dns_fact_05_other_notations_are_not_addresses", Isolation::Resolver) {
        return;
    }
    let (local, other) = (server("127.0.0.1"), server("127.0.0.77"));
    for word in ["127.0.0.77#53", "127.0.0.77:53", "127.77", "127.0.0.777", "127.0.0.77;"] {
        resolv(&format!("nameserver {word}\n"));
        assert_eq!(ask(&Setup::default().start(), &[&local, &other]), Err(0), "{word}");
    }
}

#[test]
fn dns_fact_07_an_edited_file_is_used_within_a_second() {
    if !isolated("dns_fact_07_an_edited_file_is_used_within_a_second", Isolation::Resolver) {
        return;
    }
    let (a, b) = (server("127.0.0.77"), server("127.0.0.5"));
    resolv("nameserver 127.0.0.77\n");
    let i = Setup::default().start();
    assert_eq!(ask(&i, &[&a, &b]), Ok(0));
    // A different length, because upstream compares whole seconds.
    resolv("nameserver 127.0.0.5\n");
    i.move_clock(Duration::from_millis(1200));
    i.settle();
    assert_eq!(ask(&i, &[&a, &b]), Ok(1));
    if ours("dns-mtime") {
        resolv("nameserver 127.0.0.6\n");
        let c = server("127.0.0.6");
        i.move_clock(Duration::from_millis(1200));
        i.settle();
        assert_eq!(ask(&i, &[&a, &b, &c]), Ok(2), "an edit of equal length within the same second");
    }
}

#[test]
fn dns_fact_08_tcp_is_relayed_too() {
    if !isolated("dns_fact_08_tcp_is_relayed_too", Isolation::Resolver) {
        return;
    }
    resolv("nameserver 127.0.0.77\n");
    let listener = TcpListener::bind("127.0.0.77:53").unwrap();
    listener.set_nonblocking(true).unwrap();
    let i = Setup::default().start();
    let mut conn = Conn::connect(&i, at(VDNS, 53));
    let mut host = accept(&i, &listener);
    conn.data(&i, b"query");
    assert_eq!(host_read(&i, &mut host, 5), b"query");
    host_write_some(&mut host, b"answer");
    assert_eq!(conn.receive(&i, 6).1, b"answer");
}

#[test]
fn dns_fact_09_an_answered_flow_lives_ten_seconds() {
    if !isolated("dns_fact_09_an_answered_flow_lives_ten_seconds", Isolation::Resolver) {
        return;
    }
    resolv("nameserver 127.0.0.77\n");
    let a = server("127.0.0.77");
    let i = Setup::default().start();
    assert_eq!(ask(&i, &[&a]), Ok(0));
    let flows = i.flows("UDP[");
    assert!(flows.len() == 1 && flows[0].starts_with("UDP[10 sec]"), "{flows:?}");
    let columns: Vec<&str> = flows[0].split_whitespace().collect();
    assert_eq!(columns[5..7], ["10.0.2.3", "53"]);
    i.advance(Duration::from_secs(9));
    assert_eq!(i.flows("UDP[").len(), 1);
    i.advance(Duration::from_secs(2));
    assert!(i.flows("UDP[").is_empty());
}

#[test]
fn dns_a_retry_goes_to_the_next_server() {
    if !isolated("dns_a_retry_goes_to_the_next_server", Isolation::Resolver) {
        return;
    }
    if !ours("dns-failover") {
        return;
    }
    resolv("nameserver 127.0.0.77\nnameserver 127.0.0.78\n");
    // The first server receives and never answers.
    let (_deaf, good) = (server("127.0.0.77"), server("127.0.0.78"));
    let i = Setup::default().start();
    // What a retry is, only a real query shows: one question, for the address of "x".
    let query = [0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1, b'x', 0, 0, 1, 0, 1];
    for _ in 0..4 {
        i.input(&udp_frame(5300, at(VDNS, 53), &query));
        i.advance(Duration::from_secs(5));
        let mut buffer = [0; 512];
        if let Ok((_, from)) = good.recv_from(&mut buffer) {
            good.send_to(b"answer", from).unwrap();
            assert_eq!(i.wait_udp("the answer").1.src, at(VDNS, 53));
            return;
        }
    }
    panic!("four tries never reached the second server");
}

#[test]
fn dns_fact_06_without_a_file_queries_are_refused() {
    if !isolated("dns_fact_06_without_a_file_queries_are_refused", Isolation::Resolver) {
        return;
    }
    // A mounted file cannot be deleted, but one that cannot be understood is refused in the same way.
    resolv("nameserver not-an-address\n");
    let local = server("127.0.0.1");
    assert_eq!(ask(&Setup::default().start(), &[&local]), Err(0));
    match Conn::try_connect(&Setup::default().start(), at(VDNS, 53), &mss_option(1460)) {
        Reply::Icmp(_, icmp) => assert_eq!(icmp.code, 0),
        other => panic!("{other:?}"),
    }
}
