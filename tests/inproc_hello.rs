//! Rules that want a name in the first bytes of a connection (`tls = "sni"`, `http = "host"`), through the C ABI: what gets through
//! to the host, and what does not, however the bytes come. docs/policy.md says what is promised.

mod common;
use common::config_file::{try_under, under};
use common::*;

use std::io::Read;

fn vector(bytes: &[u8]) -> Vec<u8> {
    [&(bytes.len() as u16).to_be_bytes()[..], bytes].concat()
}

fn extension(kind: u16, data: &[u8]) -> Vec<u8> {
    [&kind.to_be_bytes()[..], &vector(data)].concat()
}

/// The extension with these names of servers.
fn server_names(names: &[&str]) -> Vec<u8> {
    let names: Vec<u8> = names.iter().flat_map(|name| [&[0][..], &vector(name.as_bytes())].concat()).collect();
    extension(0, &vector(&names))
}

/// A ClientHello with these extensions, without records.
fn message(extensions: &[Vec<u8>]) -> Vec<u8> {
    let beginning = [&[3, 3][..], &[7; 32], &[0], &[0, 4, 0x13, 1, 0x13, 2], &[1, 0]].concat();
    let body = [beginning, vector(&extensions.concat())].concat();
    let [_, a, b, c] = (body.len() as u32).to_be_bytes();
    [&[1, a, b, c][..], &body].concat()
}

fn records(message: &[u8], length: usize) -> Vec<u8> {
    message.chunks(length).flat_map(|part| [&[22, 3, 1][..], &vector(part)].concat()).collect()
}

/// A ClientHello of an ordinary length to this server.
fn hello(name: &str) -> Vec<u8> {
    records(&message(&[extension(21, &[0; 300]), server_names(&[name])]), 16_384)
}

fn request(lines: &str) -> Vec<u8> {
    format!("GET / HTTP/1.1\r\n{lines}\r\n\r\n").into_bytes()
}

/// Names below example.org, and a.org, at the port; both ways of saying one.
fn only_named(port: u16) -> Box<Instance> {
    under(&format!(
        "[[policy.rule]]\naction = 'allow'\nprotocol = 'tcp'\nhost = '127.0.0.1'\nhost-port = {port}\n\
         name = ['*.example.org', 'a.org']\ntls = 'sni'\nhttp = 'host'\n"
    ))
}

fn is_reset(i: &Instance, conn: &mut Conn) {
    conn.expect(i, "a reset", |segment| segment.has(RST));
}

/// The bytes, sent in pieces of this length, reach the host as they are.
fn gets_through(i: &Instance, listener: &TcpListener, port: u16, bytes: &[u8], piece: usize) {
    let mut conn = Conn::connect(i, at_vhost(port));
    let mut host = accept(i, listener);
    for piece in bytes.chunks(piece) {
        conn.data(i, piece);
    }
    assert_eq!(host_read(i, &mut host, bytes.len()), bytes);
    // It is a connection like others now, both ways.
    let more = if bytes.starts_with(b"G") { bytes } else { b"more" };
    conn.data(i, more);
    assert_eq!(host_read(i, &mut host, more.len()), more);
    assert_eq!(host_write_some(&mut host, b"answer"), 6);
    assert_eq!(conn.receive(i, 6).1, b"answer");
    conn.send(i, FIN | ACK, b"");
    assert_eq!(host_end(i, &mut host), (Vec::new(), End::Eof));
}

/// The bytes end the connection for the guest, and for the host, which has got nothing.
fn is_refused(i: &Instance, listener: &TcpListener, port: u16, bytes: &[u8], piece: usize, what: &str) {
    let mut conn = Conn::connect(i, at_vhost(port));
    let mut host = accept(i, listener);
    for piece in bytes.chunks(piece) {
        conn.data(i, piece);
    }
    is_reset(i, &mut conn);
    assert_eq!(host_end(i, &mut host), (Vec::new(), End::Reset), "{what}");
    assert!(!conn.listed(i, ""), "{what}: {}", i.connection_info());
}

#[test]
fn hello_a_name_of_the_rule_gets_through_however_it_is_cut() {
    let (listener, port) = tcp_listener();
    let i = only_named(port);
    let plain = message(&[extension(21, &[0; 300]), server_names(&["api.example.org"])]);
    let request = request("Accept: */*\r\nhost: API.example.org:80");
    for bytes in [records(&plain, 16_384), records(&plain, 100), records(&plain, 7), request] {
        for piece in [1460, 100, 3] {
            gets_through(&i, &listener, port, &bytes, piece);
        }
    }
    for bytes in [
        records(&plain, 1),
        hello("API.Example.ORG"),
        hello("a.org."),
        b"GET http://a.org/ HTTP/1.1\r\nHost: a.org\r\n\r\n".to_vec(),
    ] {
        gets_through(&i, &listener, port, &bytes, 1);
    }
    // A name that is hidden is nobody's business here, nor is the filling that browsers put in its place.
    let hidden = message(&[server_names(&["a.org"]), extension(0xfe0d, &[7; 200])]);
    gets_through(&i, &listener, port, &records(&hidden, 16_384), 1460);
}

#[test]
fn hello_other_names_and_no_names_are_refused() {
    let (listener, port) = tcp_listener();
    let i = only_named(port);
    let of = |extensions: &[Vec<u8>]| records(&message(extensions), 16_384);
    let hidden = extension(0xfe0d, &[7; 200]);
    for (what, bytes) in [
        ("another name", hello("example.com")),
        ("the name above", hello("example.org")),
        ("a name that ends like it", hello("www.badexample.org")),
        ("a name that begins like it", hello("a.org.evil.com")),
        ("no name", of(&[])),
        ("an address", hello("127.0.0.1")),
        ("two names", of(&[server_names(&["a.org", "evil.com"])])),
        ("the extension twice", of(&[server_names(&["a.org"]), server_names(&["evil.com"])])),
        ("a zero in the name", hello("a.org\0.evil.com")),
        ("an outer name of a hidden one", of(&[server_names(&["front.net"]), hidden])),
        ("another name in pieces", records(&message(&[server_names(&["evil.com"])]), 3)),
        ("another host", request("Host: evil.com")),
        ("no host", b"GET / HTTP/1.0\r\n\r\n".to_vec()),
        ("two hosts", request("Host: a.org\r\nHost: evil.com")),
        ("the host twice", request("Host: a.org\r\nhost: a.org")),
        ("another target", b"GET http://evil.com/ HTTP/1.1\r\nHost: a.org\r\n\r\n".to_vec()),
        ("a target of a proxy", b"CONNECT a.org:443 HTTP/1.1\r\nHost: a.org\r\n\r\n".to_vec()),
        ("a line that goes on", request("Host: evil.com\r\n a.org")),
        ("a line that ends in half", request("X: y\nHost: a.org")),
        ("a user before the host", request("Host: a.org@evil.com")),
        ("HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec()),
        ("another protocol", b"SSH-2.0-x\r\n".to_vec()),
        ("a proxy's protocol", vec![5, 1, 0]),
        ("SSL 2", vec![0x80, 0x2e, 1, 3, 1]),
    ] {
        for piece in [1460, 1] {
            is_refused(&i, &listener, port, &bytes, piece, what);
        }
    }
}

/// The log says at the end which name that was, of those that are allowed and of those that are not.
#[test]
fn hello_the_name_that_was_said_is_in_the_log() {
    let path = std::env::temp_dir().join(format!("oxislirp-hello-{}.jsonl", std::process::id()));
    let (listener, port) = tcp_listener();
    let i = under(&format!(
        "[log]\nfile = '{}'\nfiles = 1\n[[policy.rule]]\naction = 'allow'\nprotocol = 'tcp'\nhost = '127.0.0.1'\nhost-port = {port}\n\
         name = ['*.example.org', 'a.org']\ntls = 'sni'\nhttp = 'host'\n",
        path.display()
    ));
    gets_through(&i, &listener, port, &hello("API.example.org"), 1460);
    is_refused(&i, &listener, port, &hello("evil.test"), 1460, "another name");
    is_refused(&i, &listener, port, &hello("a\"}.org"), 1460, "what is no name");
    is_refused(&i, &listener, port, &request("Host: evil.test"), 1460, "another host");
    // The second request of a connection.
    let mut conn = Conn::connect(&i, at_vhost(port));
    let mut host = accept(&i, &listener);
    conn.data(&i, &request("Host: a.org"));
    host_read(&i, &mut host, request("Host: a.org").len());
    conn.data(&i, &request("Host: b.org"));
    is_reset(&i, &mut conn);
    drop(i);
    let log = std::fs::read_to_string(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    // One that is left in order ends with the instance.
    let mut ended: Vec<&str> = log.lines().filter(|line| line.contains("\"event\":\"ended\"")).collect();
    ended
        .sort_by_key(|line| line.split_once("\"flow\":").unwrap().1.split(',').next().unwrap().parse::<u32>().unwrap());
    let said: Vec<Option<&str>> =
        ended.iter().map(|line| Some(line.split_once("\"said\":\"")?.1.split_once('"').unwrap().0)).collect();
    assert_eq!(said, [Some("api.example.org"), Some("evil.test"), None, Some("evil.test"), Some("b.org")], "{log}");
}

#[test]
fn hello_what_is_too_long_is_refused() {
    let (listener, port) = tcp_listener();
    let i = only_named(port);
    let late = format!("{}Host: a.org", format!("X: {}\r\n", "y".repeat(190)).repeat(90));
    is_refused(&i, &listener, port, &request(&late), 1000, "a host behind 16 KiB");
    let big = message(&[extension(21, &[0; 17_000]), server_names(&["a.org"])]);
    is_refused(&i, &listener, port, &records(&big, 16_384), 1000, "a hello of more than 16 KiB");
}

#[test]
fn hello_who_waits_for_the_server_is_refused_in_the_end() {
    let (listener, port) = tcp_listener();
    let i = only_named(port);
    for begun in [&b""[..], &hello("a.org")[..40]] {
        let mut conn = Conn::connect(&i, at_vhost(port));
        let mut host = accept(&i, &listener);
        // What the server says is not passed on.
        assert_eq!(host_write_some(&mut host, b"220 welcome\r\n"), 13);
        if !begun.is_empty() {
            conn.data(&i, begun);
        }
        i.advance(Duration::from_secs(9));
        i.settle();
        while let Some(segment) = conn.next(&i) {
            assert!(segment.payload.is_empty() && !segment.has(RST), "{segment:?}");
        }
        i.advance(Duration::from_secs(2));
        is_reset(&i, &mut conn);
        assert_eq!(host_end(&i, &mut host), (Vec::new(), End::Reset));
    }
}

#[test]
fn hello_a_server_that_speaks_first_is_heard_once_the_guest_was() {
    let (listener, port) = tcp_listener();
    let i = only_named(port);
    let mut conn = Conn::connect(&i, at_vhost(port));
    let mut host = accept(&i, &listener);
    assert_eq!(host_write_some(&mut host, b"early"), 5);
    i.settle();
    conn.data(&i, &hello("a.org"));
    assert_eq!(conn.receive(&i, 5).1, b"early");
    assert_eq!(host_read(&i, &mut host, hello("a.org").len()), hello("a.org"));
}

#[test]
fn hello_ends_while_a_connection_is_held() {
    let (listener, port) = tcp_listener();
    let i = only_named(port);
    let whole = hello("a.org");
    let (half, rest) = whole.split_at(50);
    let begin = |bytes: &[u8]| {
        let mut conn = Conn::connect(&i, at_vhost(port));
        let host = accept(&i, &listener);
        conn.data(&i, bytes);
        (conn, host)
    };
    // The guest's end comes too early, and with the last bytes.
    let (mut conn, mut host) = begin(half);
    conn.send(&i, FIN | ACK, b"");
    is_reset(&i, &mut conn);
    assert_eq!(host_end(&i, &mut host), (Vec::new(), End::Reset));
    let (mut conn, mut host) = begin(half);
    conn.send(&i, FIN | PSH | ACK, rest);
    assert_eq!(host_end(&i, &mut host), (whole.clone(), End::Eof));
    assert_eq!(host_write_some(&mut host, b"bye"), 3);
    assert_eq!(conn.receive(&i, 3).1, b"bye");
    // The guest's reset.
    let (mut conn, mut host) = begin(half);
    conn.send(&i, RST | ACK, b"");
    assert_eq!(host_end(&i, &mut host), (Vec::new(), End::Reset));
    // The host's reset: the guest hears of it when it has said where it goes.
    let (mut conn, host) = begin(half);
    host_reset(host);
    i.settle();
    conn.data(&i, rest);
    is_reset(&i, &mut conn);
    i.settle();
    assert!(!conn.listed(&i, ""), "{}", i.connection_info());
}

#[test]
fn hello_urgent_bytes_hide_nothing() {
    let (listener, port) = tcp_listener();
    let i = only_named(port);
    let mut conn = Conn::connect(&i, at_vhost(port));
    let mut host = accept(&i, &listener);
    // The host's program would not see the marked byte in its place.
    let segment = Segment { urgent: 60, ..conn.segment(PSH | ACK | URG, &hello("a.org")) };
    i.input(&segment.frame());
    is_reset(&i, &mut conn);
    assert_eq!(host_end(&i, &mut host), (Vec::new(), End::Reset));
}

#[test]
fn hello_segments_out_of_order_are_put_together() {
    let (listener, port) = tcp_listener();
    let i = only_named(port);
    let mut conn = Conn::connect(&i, at_vhost(port));
    let mut host = accept(&i, &listener);
    let bytes = hello("a.org");
    let (first, second) = bytes.split_at(100);
    let later = Segment { seq: conn.snd_nxt.wrapping_add(100), ..conn.segment(PSH | ACK, second) };
    i.input(&later.frame());
    i.settle();
    host_idle(&mut host);
    conn.data(&i, first);
    assert_eq!(host_read(&i, &mut host, bytes.len()), bytes);
}

#[test]
fn hello_a_mismatch_goes_on_to_the_next_rule() {
    let (listener, port) = tcp_listener();
    let i = under(&format!(
        "[[policy.rule]]\naction = 'deny'\nhost-port = {port}\nname = 'bad.org'\ntls = 'sni'\nhttp = 'host'\n\
         [[policy.rule]]\naction = 'allow'\nhost-port = {port}\nname = 'good.org'\ntls = 'sni'\n\
         [[policy.rule]]\naction = 'allow'\nhost = '127.0.0.1'\n"
    ));
    gets_through(&i, &listener, port, &hello("good.org"), 1460);
    gets_through(&i, &listener, port, &hello("other.org"), 1460);
    gets_through(&i, &listener, port, &request("Host: other.org"), 1460);
    is_refused(&i, &listener, port, &hello("BAD.org."), 1460, "a name that is forbidden");
    is_refused(&i, &listener, port, &request("Host: bad.org"), 1460, "a host that is forbidden");
    // What nobody can read for sure is not taken for another name.
    let two = records(&message(&[server_names(&["good.org", "bad.org"])]), 16_384);
    is_refused(&i, &listener, port, &two, 1460, "two names");
}

#[test]
fn hello_the_name_opens_no_other_address() {
    let (listener, port) = tcp_listener();
    let (other, other_port) = tcp_listener();
    let i = only_named(port);
    assert!(matches!(Conn::try_connect(&i, at_vhost(other_port), &[]), Reply::Reset(..)));
    assert!(matches!(Conn::try_connect(&i, at(Ipv4Addr::new(127, 0, 0, 2), port), &[]), Reply::Reset(..)));
    i.settle();
    assert!(other.accept().is_err() && listener.accept().is_err());
    // QUIC has no name here.
    let (datagrams, _) = udp_peer();
    let udp_port = datagrams.local_addr().unwrap().port();
    let quic =
        under(&format!("[[policy.rule]]\naction = 'allow'\nhost-port = {udp_port}\nname = 'a.org'\ntls = 'sni'\n"));
    quic.input(&udp_frame(4000, at_vhost(udp_port), &[0xc0, 0, 0, 0, 1]));
    assert_eq!(quic.wait_icmp("a refusal").1.code, 13);
    host_gets_nothing(&quic, &datagrams);
}

#[test]
fn hello_a_host_that_is_not_there_is_told_as_ever() {
    let port = closed_tcp_port();
    let i = only_named(port);
    assert!(matches!(Conn::try_connect(&i, at_vhost(port), &[]), Reply::Reset(..)));
    assert!(i.flows("TCP").is_empty());
}

#[test]
fn hello_connections_that_are_held_are_bounded() {
    let (listener, port) = tcp_listener();
    let i = only_named(port);
    let mut hosts = Vec::new();
    let mut conns = Vec::new();
    for _ in 0..1100 {
        conns.push(Conn::connect(&i, at_vhost(port)));
        hosts.push(accept(&i, &listener));
    }
    i.settle();
    let held = i.flows("TCP[ESTABLISHED]").len();
    assert!((500..=1024).contains(&held), "{held}");
    // The newest ones are those that stay.
    let bytes = hello("a.org");
    conns.last_mut().unwrap().data(&i, &bytes);
    assert_eq!(host_read(&i, hosts.last_mut().unwrap(), bytes.len()), bytes);
    assert_eq!(host_end(&i, &mut hosts[0]), (Vec::new(), End::Reset));
}

/// A rule that refuses names is no way to find out who listens where nothing is allowed.
#[test]
fn hello_nobody_is_connected_where_no_name_could_help() {
    let (listener, port) = tcp_listener();
    let denies = "[[policy.rule]]\naction = 'deny'\nname = 'a.org'\ntls = 'sni'\n";
    let i = under(denies);
    assert!(matches!(Conn::try_connect(&i, at_vhost(port), &[]), Reply::Reset(..)));
    i.settle();
    assert!(listener.accept().is_err());
    // Where something may come of it, the name is waited for.
    let i = under(&format!("{denies}[[policy.rule]]\naction = 'allow'\nhost = '127.0.0.1'\nhost-port = {port}\n"));
    is_refused(&i, &listener, port, &hello("a.org"), 1460, "the name that is denied");
    gets_through(&i, &listener, port, &hello("b.org"), 1460);
}

#[test]
fn hello_what_makes_no_sense_is_refused() {
    for text in ["tls = 'sni'", "name = 'a.org'\nhttp = 'host'\nprotocol = 'udp'", "name = 'a.org'\nhttp = 'sni'"] {
        assert!(
            try_under(&format!("[[policy.rule]]\naction = 'allow'\n{text}\n"), Setup::default()).is_none(),
            "{text}"
        );
    }
}

/// Connections to hosts are in no saved state, so that what is held is in none either.
#[test]
fn hello_a_saved_state_has_nothing_of_what_is_held() {
    let (listener, port) = tcp_listener();
    let i = only_named(port);
    let mut conn = Conn::connect(&i, at_vhost(port));
    let mut host = accept(&i, &listener);
    let secret = request("Cookie: a-secret-of-the-guest");
    conn.data(&i, &secret[..secret.len() - 2]);
    i.settle();
    let (result, state) = i.save_state();
    assert_eq!(result, 0);
    assert!(!state.windows(8).any(|bytes| bytes == b"a-secret"));
    let other = only_named(port);
    assert_eq!(other.load_state(4, &state).0, 0);
    conn.data(&other, b"\r\n");
    is_reset(&other, &mut conn);
    host_idle(&mut host);
}

/// A connection on which this was said, and has reached the host.
fn on_which(i: &Instance, listener: &TcpListener, port: u16, bytes: &[u8]) -> (Conn, TcpStream) {
    let mut conn = Conn::connect(i, at_vhost(port));
    let mut host = accept(i, listener);
    conn.data(i, bytes);
    assert_eq!(host_read(i, &mut host, bytes.len()), bytes);
    (conn, host)
}

#[test]
fn hello_each_request_of_a_connection_is_judged() {
    let (listener, port) = tcp_listener();
    let i = only_named(port);
    let first = request("Host: a.org");
    let (mut conn, mut host) = on_which(&i, &listener, port, &first);
    let post = |fields: &str, body: &str| {
        format!("POST / HTTP/1.1\r\nHost: b.example.org\r\n{fields}\r\n\r\n{body}").into_bytes()
    };
    // Other hosts of the rule, and what would be another one if it were no body.
    let body = "GET / HTTP/1.1\r\nHost: evil.com\r\n\r\n";
    let chunks = format!("{:x}\r\n{body}\r\n3\r\nabc\r\n0\r\n\r\n", body.len());
    for piece in [1460, 50, 1] {
        for bytes in [
            first.clone(),
            post(&format!("Content-Length: {}", body.len()), body),
            post("Transfer-Encoding: chunked", &chunks),
            [first.clone(), first.clone(), post("Content-Length: 3", "abc"), first.clone()].concat(),
        ] {
            for piece in bytes.chunks(piece) {
                conn.data(&i, piece);
            }
            assert_eq!(host_read(&i, &mut host, bytes.len()), bytes);
            assert_eq!(host_write_some(&mut host, b"HTTP/1.1 204\r\n\r\n"), 16);
            assert_eq!(conn.receive(&i, 16).1, b"HTTP/1.1 204\r\n\r\n");
        }
    }
    // A head is held until it is whole.
    let (half, rest) = first.split_at(20);
    conn.data(&i, half);
    i.settle();
    host_idle(&mut host);
    i.advance(Duration::from_secs(300));
    conn.data(&i, rest);
    assert_eq!(host_read(&i, &mut host, first.len()), first);
    conn.send(&i, FIN | ACK, b"");
    assert_eq!(host_end(&i, &mut host), (Vec::new(), End::Eof));
}

#[test]
fn hello_a_later_request_to_another_host_is_refused() {
    let (listener, port) = tcp_listener();
    let i = only_named(port);
    let first = request("Host: a.org");
    let post = |fields: &str, body: &str| {
        let body =
            format!("POST / HTTP/1.1\r\nHost: a.org\r\n{fields}\r\n\r\n{body}GET / HTTP/1.1\r\nHost: evil.com\r\n\r\n");
        body.into_bytes()
    };
    for (what, bytes) in [
        ("another host", request("Host: evil.com")),
        ("no host", b"GET / HTTP/1.0\r\n\r\n".to_vec()),
        ("another target", b"GET http://evil.com/ HTTP/1.1\r\nHost: a.org\r\n\r\n".to_vec()),
        ("a tunnel", b"CONNECT evil.com:80 HTTP/1.1\r\nHost: evil.com:80\r\n\r\n".to_vec()),
        ("behind a body", post("Content-Length: 5", "hello")),
        ("behind chunks", post("Transfer-Encoding: chunked", "5\r\nhello\r\n0\r\n\r\n")),
        ("both lengths", post("Content-Length: 4\r\nTransfer-Encoding: chunked", "0\r\n\r\n")),
        ("two lengths", post("Content-Length: 5\r\nContent-Length: 500", "hello")),
        ("a chunk with an extension", post("Transfer-Encoding: chunked", "0;x\r\n\r\n")),
        ("an empty line before it", [b"\r\n".to_vec(), request("Host: a.org")].concat()),
        ("a line that goes on", request("Host: evil.com\r\n a.org")),
        ("no HTTP", b"\x16\x03\x01\0\x05".to_vec()),
        ("HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec()),
    ] {
        for piece in [1460, 7] {
            let (mut conn, mut host) = on_which(&i, &listener, port, &first);
            for piece in bytes.chunks(piece) {
                conn.data(&i, piece);
            }
            is_reset(&i, &mut conn);
            let (got, end) = host_end(&i, &mut host);
            assert_eq!(end, End::Reset, "{what}");
            assert!(!String::from_utf8_lossy(&got).contains("evil"), "{what}");
        }
        // Behind the first one at once.
        if what != "a tunnel" {
            let mut conn = Conn::connect(&i, at_vhost(port));
            let mut host = accept(&i, &listener);
            conn.data(&i, &[&first[..], &bytes].concat());
            is_reset(&i, &mut conn);
            assert_eq!(host_end(&i, &mut host).1, End::Reset, "{what}");
        }
    }
    // Half a request at the end is none.
    let (mut conn, mut host) = on_which(&i, &listener, port, &first);
    conn.send(&i, FIN | PSH | ACK, b"GET / HT");
    is_reset(&i, &mut conn);
    assert_eq!(host_end(&i, &mut host), (Vec::new(), End::Reset));
    // A head of more than 16 KiB.
    let (mut conn, mut host) = on_which(&i, &listener, port, &first);
    for piece in request(&"X: 0123456789\r\n".repeat(1200)).chunks(1000) {
        conn.data(&i, piece);
    }
    is_reset(&i, &mut conn);
    assert_eq!(host_end(&i, &mut host), (Vec::new(), End::Reset));
}

#[test]
fn hello_a_web_socket_opens_when_the_server_says_so() {
    let (listener, port) = tcp_listener();
    let i = only_named(port);
    let first = request("Host: a.org\r\nConnection: Upgrade\r\nUpgrade: websocket");
    let frame = b"\x81\x85\0\0\0\0hello";
    let (mut conn, mut host) = on_which(&i, &listener, port, &first);
    conn.data(&i, frame);
    i.settle();
    host_idle(&mut host);
    let answer = b"HTTP/1.1 101 Switching Protocols\r\n\r\n";
    for piece in answer.chunks(10) {
        assert_eq!(host_write_some(&mut host, piece), piece.len());
        assert_eq!(conn.receive(&i, piece.len()).1, piece);
    }
    assert_eq!(host_read(&i, &mut host, frame.len()), frame);
    conn.data(&i, &[0; 2000]);
    assert_eq!(host_read(&i, &mut host, 2000), [0; 2000]);
    // Where it says something else, it is a request like others.
    let (mut conn, mut host) = on_which(&i, &listener, port, &first);
    assert_eq!(host_write_some(&mut host, b"HTTP/1.1 200 OK\r\n"), 17);
    assert_eq!(conn.receive(&i, 17).1, b"HTTP/1.1 200 OK\r\n");
    conn.data(&i, &request("Host: a.org"));
    assert_eq!(host_read(&i, &mut host, request("Host: a.org").len()), request("Host: a.org"));
    conn.data(&i, &request("Host: evil.com"));
    is_reset(&i, &mut conn);
    assert_eq!(host_end(&i, &mut host), (Vec::new(), End::Reset));
}

#[test]
fn hello_what_is_looked_at_is_slowed_as_well() {
    let (listener, port) = tcp_listener();
    let i = under(&format!(
        "[limits.whole]\nup = 10_000\n[[policy.rule]]\naction = 'allow'\nprotocol = 'tcp'\nhost = '127.0.0.1'\n\
         host-port = {port}\nname = 'a.org'\nhttp = 'host'\n"
    ));
    let first = request("Host: a.org");
    let (mut conn, mut host) = on_which(&i, &listener, port, &first);
    let post = [b"POST / HTTP/1.1\r\nHost: a.org\r\nContent-Length: 8000\r\n\r\n", &[b'x'; 8000][..]].concat();
    let all = [post, first].concat();
    for piece in all.chunks(1000) {
        conn.data(&i, piece);
    }
    let mut got = Vec::new();
    for step in 0..200 {
        i.settle();
        let mut buffer = [0; 20_000];
        while let Ok(length @ 1..) = host.read(&mut buffer) {
            got.extend_from_slice(&buffer[..length]);
        }
        if got.len() >= all.len() {
            assert!(step > 5, "it was slowed");
            break;
        }
        i.advance(Duration::from_millis(20));
    }
    assert_eq!(got, all);
}
