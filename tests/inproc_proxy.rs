//! Rules that lead elsewhere (`redirect`, `proxy`), through the C ABI, with proxies of the test's own: where connections and datagrams
//! come out, what the guest hears of it, and that no byte is lost or told to the wrong one. docs/policy.md says what is promised.

mod common;
use common::config_file::{try_under, under};
use common::*;

use std::io::Write;
use std::net::SocketAddr;

/// Where the guest wants to go: nobody is there.
const AWAY: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 9);

/// All connections to [`AWAY`] are led as this says.
fn led(how: &str) -> Box<Instance> {
    under(&format!("[[policy.rule]]\naction = 'allow'\nprotocol = 'tcp'\nhost = '192.0.2.0/24'\n{how}\n"))
}

fn is_reset(i: &Instance, conn: &mut Conn) {
    conn.expect(i, "a reset", |segment| segment.has(RST));
}

/// A connection of which the guest has sent its SYN, and the other end of it.
fn begin(i: &Instance, listener: &TcpListener) -> (Conn, TcpStream) {
    let mut conn = Conn::new(i, at(AWAY, 443));
    conn.syn(i, &mss_option(1460));
    let proxy = accept(i, listener);
    (conn, proxy)
}

/// The guest has heard nothing so far.
fn not_answered(i: &Instance, conn: &mut Conn) {
    i.settle();
    assert!(conn.next(i).is_none(), "the guest heard of the connection");
}

/// The guest hears that it is connected.
fn established(i: &Instance, conn: Conn) -> Conn {
    match conn.reply(i) {
        Reply::SynAck(conn) => conn,
        other => panic!("{other:?}"),
    }
}

/// Bytes go both ways.
fn talk(i: &Instance, conn: &mut Conn, peer: &mut TcpStream) {
    conn.data(i, b"question");
    assert_eq!(host_read(i, peer, 8), b"question");
    assert_eq!(host_write_some(peer, b"answer"), 6);
    assert_eq!(conn.receive(i, 6).1, b"answer");
    conn.send(i, FIN | ACK, b"");
    assert_eq!(host_end(i, peer), (Vec::new(), End::Eof));
}

const GREETING: &[u8] = &[5, 1, 0];
const REQUEST: &[u8] = &[5, 1, 0, 1, 192, 0, 2, 9, 1, 187];
const GRANTED: &[u8] = &[5, 0, 0, 1, 10, 0, 0, 1, 4, 0];

#[test]
fn redirect_leads_connections_elsewhere() {
    let (listener, port) = tcp_listener();
    let i = led(&format!("redirect = '127.0.0.1:{port}'"));
    let mut conn = Conn::connect(&i, at(AWAY, 443));
    let mut peer = accept(&i, &listener);
    talk(&i, &mut conn, &mut peer);
    // What the rule is not about is refused, also where it leads.
    assert!(matches!(Conn::try_connect(&i, at_vhost(port), &[]), Reply::Reset(..)));
    // Nobody there is nobody.
    let nobody = led(&format!("redirect = '127.0.0.1:{}'", closed_tcp_port()));
    assert!(matches!(Conn::try_connect(&nobody, at(AWAY, 443), &[]), Reply::Reset(..)));
}

#[test]
fn redirect_leads_datagrams_elsewhere_and_their_answers_back() {
    let (host, port) = udp_peer();
    let (other, _) = udp_peer();
    let i = under(&format!(
        "[[policy.rule]]\naction = 'allow'\nprotocol = 'udp'\nhost = '192.0.2.0/24'\nredirect = '127.0.0.1:{port}'\n"
    ));
    for round in 0..3 {
        i.input(&udp_frame(4000, at(AWAY, 53), b"question"));
        let (data, from) = host_recv(&i, &host);
        assert_eq!(data, b"question");
        host.send_to(b"answer", from).unwrap();
        let (_, answer) = i.wait_udp("the answer");
        assert_eq!((answer.src, answer.data.as_slice()), (at(AWAY, 53), &b"answer"[..]), "{round}");
        other.send_to(b"unasked", from).unwrap();
        i.expect_silence();
    }
    i.input(&udp_frame(4000, at_vhost(port), b"direct"));
    assert_eq!(i.wait_icmp("a refusal").1.code, 13);
    host_gets_nothing(&i, &host);
}

#[test]
fn redirect_to_another_port_of_the_same_address() {
    let (host, port) = udp_peer();
    let (free, free_port) = udp_peer();
    drop(free);
    let i = under(&format!(
        "[[policy.rule]]\naction = 'allow'\nprotocol = ['tcp', 'udp']\nhost-port = {free_port}\nredirect = '127.0.0.1:{port}'\n"
    ));
    i.input(&udp_frame(4000, at(LOCALHOST, free_port), b"x"));
    let (_, from) = host_recv(&i, &host);
    host.send_to(b"y", from).unwrap();
    assert_eq!(i.wait_udp("the answer").1.src, at(LOCALHOST, free_port));
}

#[test]
fn proxy_socks_leads_through_and_the_guest_hears_of_it_then() {
    let (listener, port) = tcp_listener();
    for style in [LoopStyle::Plain, LoopStyle::OneFrameSelectError, LoopStyle::SkipPollOnTimeout] {
        let i = led(&format!("proxy = 'socks5://127.0.0.1:{port}'"));
        i.style.set(style);
        let (mut conn, mut proxy) = begin(&i, &listener);
        assert_eq!(host_read(&i, &mut proxy, 3), GREETING);
        not_answered(&i, &mut conn);
        proxy.write_all(&[5, 0]).unwrap();
        assert_eq!(host_read(&i, &mut proxy, 10), REQUEST);
        not_answered(&i, &mut conn);
        // In pieces, with what the server says right behind.
        for byte in GRANTED.iter().take(9) {
            proxy.write_all(&[*byte]).unwrap();
            not_answered(&i, &mut conn);
        }
        proxy.write_all(&[&GRANTED[9..], b"220 welcome"].concat()).unwrap();
        let mut conn = established(&i, conn);
        assert_eq!(conn.receive(&i, 11).1, b"220 welcome");
        talk(&i, &mut conn, &mut proxy);
    }
}

#[test]
fn proxy_socks_is_given_a_password_where_it_asks() {
    let (listener, port) = tcp_listener();
    let i = led(&format!("proxy = 'socks5://me:s3%3Acr%65t@127.0.0.1:{port}'"));
    let (conn, mut proxy) = begin(&i, &listener);
    assert_eq!(host_read(&i, &mut proxy, 4), [5, 2, 0, 2]);
    proxy.write_all(&[5, 2]).unwrap();
    assert_eq!(host_read(&i, &mut proxy, 12), b"\x01\x02me\x07s3:cret");
    proxy.write_all(&[1, 0]).unwrap();
    assert_eq!(host_read(&i, &mut proxy, 10), REQUEST);
    proxy.write_all(GRANTED).unwrap();
    talk(&i, &mut established(&i, conn), &mut proxy);
    let (mut conn, mut proxy) = begin(&i, &listener);
    host_read(&i, &mut proxy, 4);
    proxy.write_all(&[5, 2]).unwrap();
    host_read(&i, &mut proxy, 12);
    proxy.write_all(&[1, 1]).unwrap();
    is_reset(&i, &mut conn);
}

#[test]
fn proxy_http_leads_through_by_connect() {
    let (listener, port) = tcp_listener();
    let i = led(&format!("proxy = 'http://127.0.0.1:{port}'"));
    let request = b"CONNECT 192.0.2.9:443 HTTP/1.1\r\nHost: 192.0.2.9:443\r\n\r\n";
    let (mut conn, mut proxy) = begin(&i, &listener);
    assert_eq!(host_read(&i, &mut proxy, request.len()), request);
    not_answered(&i, &mut conn);
    proxy.write_all(b"HTTP/1.1 200 Connection established\r\nVia: x\r\n\r\n220 welcome").unwrap();
    let mut conn = established(&i, conn);
    assert_eq!(conn.receive(&i, 11).1, b"220 welcome");
    talk(&i, &mut conn, &mut proxy);
    let (mut conn, mut proxy) = begin(&i, &listener);
    host_read(&i, &mut proxy, request.len());
    proxy.write_all(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n").unwrap();
    is_reset(&i, &mut conn);
}

#[test]
fn proxy_http_is_given_a_password_and_the_log_tells_when_it_wants_another() {
    let (listener, port) = tcp_listener();
    let log = std::env::temp_dir().join(format!("oxislirp-proxy-{}-{port}.jsonl", std::process::id()));
    let i = under(&format!(
        "[[policy.rule]]\naction = 'allow'\nprotocol = 'tcp'\nhost = '192.0.2.0/24'\n\
         proxy = 'http://me:s3%3Acr%65t@127.0.0.1:{port}'\n[log]\nfile = '{}'\nfiles = 1\n",
        log.display()
    ));
    let request = b"CONNECT 192.0.2.9:443 HTTP/1.1\r\nHost: 192.0.2.9:443\r\n\
                    Proxy-Authorization: Basic bWU6czM6Y3JldA==\r\n\r\n";
    let answers = [
        ("HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic\r\n\r\n", Some("proxy-credentials")),
        ("HTTP/1.1 403 Forbidden\r\n\r\n", Some("proxy-refused")),
        ("HTTP/1.1 200 OK\r\n\r\n", None),
    ];
    for (answer, _) in answers {
        let (mut conn, mut proxy) = begin(&i, &listener);
        assert_eq!(host_read(&i, &mut proxy, request.len()), request);
        proxy.write_all(answer.as_bytes()).unwrap();
        if answer.contains("200") {
            talk(&i, &mut established(&i, conn), &mut proxy);
        } else {
            is_reset(&i, &mut conn);
        }
    }
    drop(i);
    let written = std::fs::read_to_string(&log).expect("a log");
    std::fs::remove_file(&log).expect("it was there");
    for (_, reason) in answers {
        assert!(reason.is_none_or(|reason| written.contains(reason)), "{reason:?}: {written}");
    }
    assert!(!written.contains("bWU6") && !written.contains("s3"), "{written}");
}

#[test]
fn proxy_that_says_no_ends_or_is_none_is_a_reset() {
    let (listener, port) = tcp_listener();
    let i = led(&format!("proxy = 'socks5://127.0.0.1:{port}'"));
    let refusals: [&[u8]; 4] = [&[5, 255], &[4, 0], b"HTTP/1.1 400\r\n", &[]];
    for refusal in refusals {
        let (mut conn, mut proxy) = begin(&i, &listener);
        host_read(&i, &mut proxy, 3);
        proxy.write_all(refusal).unwrap();
        if refusal.is_empty() {
            drop(proxy);
        }
        is_reset(&i, &mut conn);
        assert!(!conn.listed(&i, ""), "{refusal:?}: {}", i.connection_info());
    }
    // Behind a granted method.
    let (mut conn, mut proxy) = begin(&i, &listener);
    host_read(&i, &mut proxy, 3);
    proxy.write_all(&[5, 0]).unwrap();
    host_read(&i, &mut proxy, 10);
    proxy.write_all(&[5, 5, 0, 1, 0, 0, 0, 0, 0, 0]).unwrap();
    is_reset(&i, &mut conn);
    // A reset of the proxy's.
    let (mut conn, proxy) = begin(&i, &listener);
    host_reset(proxy);
    is_reset(&i, &mut conn);
    let nobody = led(&format!("proxy = 'socks5://127.0.0.1:{}'", closed_tcp_port()));
    assert!(matches!(Conn::try_connect(&nobody, at(AWAY, 443), &[]), Reply::Reset(..)));
}

#[test]
fn proxy_that_is_silent_is_given_up() {
    let (listener, port) = tcp_listener();
    let i = led(&format!("proxy = 'socks5://127.0.0.1:{port}'"));
    let (mut conn, mut proxy) = begin(&i, &listener);
    assert_eq!(host_read(&i, &mut proxy, 3), GREETING);
    i.pass(Duration::from_secs(70));
    not_answered(&i, &mut conn);
    i.pass(Duration::from_secs(10));
    is_reset(&i, &mut conn);
    assert_eq!(host_end(&i, &mut proxy).1, End::Reset);
    assert!(!conn.listed(&i, ""));
}

/// A guest that gives up leaves nothing behind.
#[test]
fn proxy_is_left_when_the_guest_gives_up() {
    let (listener, port) = tcp_listener();
    let i = led(&format!("proxy = 'socks5://127.0.0.1:{port}'"));
    let (mut conn, mut proxy) = begin(&i, &listener);
    assert_eq!(host_read(&i, &mut proxy, 3), GREETING);
    conn.rcv_nxt = 0;
    conn.send(&i, RST, b"");
    assert_eq!(host_end(&i, &mut proxy).1, End::Reset);
    assert!(!conn.listed(&i, ""));
}

#[test]
fn proxy_does_not_keep_the_loop_awake() {
    let (listener, port) = tcp_listener();
    let i = led(&format!("proxy = 'socks5://127.0.0.1:{port}'"));
    let (mut conn, mut proxy) = begin(&i, &listener);
    assert_eq!(host_read(&i, &mut proxy, 3), GREETING);
    not_answered(&i, &mut conn);
    let busy = (0..20).filter(|_| i.turn(Duration::from_millis(1))).count();
    assert!(busy <= 2, "{busy} of 20 rounds");
}

#[test]
fn proxy_over_ipv6_and_to_ipv6() {
    let listener = TcpListener::bind("[::1]:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address: SocketAddr = listener.local_addr().unwrap();
    let i = under(&format!(
        "[[policy.rule]]\naction = 'allow'\nprotocol = 'tcp'\nhost = '2001:db8::/32'\nproxy = 'socks5://{address}'\n"
    ));
    let mut party = Party::new(&i, Family::V6, "[2001:db8::9]:443".parse::<SocketAddr>().unwrap());
    party.send(&i, SYN, b"");
    let mut proxy = accept(&i, &listener);
    assert_eq!(host_read(&i, &mut proxy, 3), GREETING);
    proxy.write_all(&[5, 0]).unwrap();
    let request = [&[5, 1, 0, 4, 0x20, 1, 0xd, 0xb8][..], &[0; 11], &[9, 1, 187]].concat();
    assert_eq!(host_read(&i, &mut proxy, 22), request);
    proxy.write_all(GRANTED).unwrap();
    let heard = i.wait("a SYN-ACK", |frame| party.heard(frame));
    assert!(heard.has(SYN | ACK), "{heard:?}");
}

#[test]
fn proxy_rules_that_make_no_sense_are_refused() {
    for text in [
        "action = 'allow'\nprotocol = 'tcp'\nproxy = 'socks5://localhost:1080'",
        "action = 'allow'\nprotocol = 'udp'\nproxy = 'http://127.0.0.1:1080'",
        "action = 'deny'\nprotocol = 'tcp'\nredirect = '127.0.0.1:1080'",
        "action = 'allow'\nprotocol = 'icmp'\nredirect = '127.0.0.1:1080'",
        "action = 'allow'\nprotocol = 'tcp'\nredirect = '127.0.0.1:1080'\nname = 'a.org'\ntls = 'sni'",
    ] {
        assert!(try_under(&format!("[[policy.rule]]\n{text}\n"), Setup::default()).is_none(), "{text}");
    }
}
