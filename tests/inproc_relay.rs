//! Rules that lead datagrams through a SOCKS proxy (RFC 1928 section 7), through the C ABI, with a proxy of the test's own: what it is asked and
//! told, what comes back to the guest, what waits and is refused, and how it all ends. docs/policy.md says what is promised.

mod common;
use common::config_file::{try_under, under};
use common::*;

use std::io::{Read, Write};
use std::net::{Ipv6Addr, SocketAddr, SocketAddrV6};

/// Where the guest wants to go: nobody is there.
const AWAY: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 9);
const AWAY6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 9);

const GREETING: &[u8] = &[5, 1, 0];
const ASSOCIATE: &[u8] = &[5, 3, 0, 1, 0, 0, 0, 0, 0, 0];

/// The end of the guest.
const PORT: u16 = 4000;

/// A proxy: where it is asked, and where it relays.
struct Proxy {
    listener: TcpListener,
    port: u16,
    relay: UdpSocket,
    relay_port: u16,
}

impl Proxy {
    fn new() -> Proxy {
        let ((listener, port), (relay, relay_port)) = (tcp_listener(), udp_peer());
        Proxy { listener, port, relay, relay_port }
    }

    /// A network whose datagrams to 192.0.2.0/24 it relays, and nothing else.
    fn network(&self) -> Box<Instance> {
        under(&self.rule(""))
    }

    fn rule(&self, more: &str) -> String {
        let port = self.port;
        format!(
            "[[policy.rule]]\naction = 'allow'\nprotocol = 'udp'\nhost = ['192.0.2.0/24', '2001:db8::/32']\n\
             proxy = 'socks5://127.0.0.1:{port}'\n{more}"
        )
    }

    /// Somebody who has asked, and was let in.
    fn greet(&self, i: &Instance) -> TcpStream {
        let mut stream = accept(i, &self.listener);
        assert_eq!(host_read(i, &mut stream, 3), GREETING);
        stream.write_all(&[5, 0]).unwrap();
        assert_eq!(host_read(i, &mut stream, 10), ASSOCIATE);
        stream
    }

    /// The word that it relays; an address of zeros is the proxy's own.
    fn consent(&self) -> Vec<u8> {
        [&[5, 0, 0, 1, 0, 0, 0, 0][..], &self.relay_port.to_be_bytes()].concat()
    }

    /// An association with whoever asks next.
    fn associate(&self, i: &Instance) -> TcpStream {
        let mut stream = self.greet(i);
        stream.write_all(&self.consent()).unwrap();
        stream
    }

    /// What was to be relayed, and where to send answers.
    fn relayed(&self, i: &Instance) -> (Vec<u8>, SocketAddr) {
        host_recv(i, &self.relay)
    }

    fn answer(&self, to: SocketAddr, datagram: &[u8]) {
        self.relay.send_to(datagram, to).unwrap();
    }
}

/// A datagram as a proxy has it.
fn wrapped(end: impl Into<SocketAddr>, payload: &[u8]) -> Vec<u8> {
    let end = end.into();
    let address = match end.ip() {
        std::net::IpAddr::V4(ip) => [&[1][..], &ip.octets()].concat(),
        std::net::IpAddr::V6(ip) => [&[4][..], &ip.octets()].concat(),
    };
    [&[0, 0, 0][..], &address, &end.port().to_be_bytes(), payload].concat()
}

fn sends(i: &Instance, to: Ipv4Addr, port: u16, payload: &[u8]) {
    i.input(&udp_frame(PORT, at(to, port), payload));
}

/// The guest is told that this does not get through, as by a rule that denies.
fn is_refused(i: &Instance) {
    assert_eq!(i.wait_icmp("a refusal").1.code, 13);
}

fn nobody_asks(i: &Instance, proxy: &Proxy) {
    i.settle();
    assert!(proxy.listener.accept().is_err(), "the proxy is asked");
}

/// Has the guest and somebody behind the proxy talk.
fn talk(i: &Instance, proxy: &Proxy) -> SocketAddr {
    sends(i, AWAY, 53, b"question");
    let (data, from) = proxy.relayed(i);
    assert_eq!(data, wrapped(at(AWAY, 53), b"question"));
    proxy.answer(from, &wrapped(at(AWAY, 53), b"answer"));
    let (_, answer) = i.wait_udp("the answer");
    assert_eq!((answer.src, answer.dst.port(), answer.data.as_slice()), (at(AWAY, 53), PORT, &b"answer"[..]));
    from
}

#[test]
fn datagrams_go_through_and_answers_come_back() {
    for style in [LoopStyle::Plain, LoopStyle::OneFrameSelectError, LoopStyle::SkipPollOnTimeout] {
        let proxy = Proxy::new();
        let i = proxy.network();
        i.style.set(style);
        sends(&i, AWAY, 53, b"first");
        let mut stream = proxy.greet(&i);
        sends(&i, AWAY, 54, b"second");
        host_gets_nothing(&i, &proxy.relay);
        // In pieces.
        for byte in proxy.consent() {
            stream.write_all(&[byte]).unwrap();
            i.settle();
        }
        // What has waited comes in its order, by one association.
        let (data, from) = proxy.relayed(&i);
        assert_eq!(data, wrapped(at(AWAY, 53), b"first"));
        assert_eq!(proxy.relayed(&i), (wrapped(at(AWAY, 54), b"second"), from));
        for _ in 0..3 {
            assert_eq!(talk(&i, &proxy), from);
        }
        // Whom the guest may reach through the proxy may answer as well, from another port and another address.
        proxy.answer(from, &wrapped(at(AWAY, 99), b"another port"));
        assert_eq!(i.wait_udp("an answer").1.src, at(AWAY, 99));
        proxy.answer(from, &wrapped(at(Ipv4Addr::new(192, 0, 2, 77), 53), b"another address"));
        assert_eq!(i.wait_udp("an answer").1.src, at(Ipv4Addr::new(192, 0, 2, 77), 53));
        nobody_asks(&i, &proxy);
        host_idle(&mut stream);
        // A burst, and the empty datagram.
        for number in 0..40_u8 {
            sends(&i, AWAY, 53, &vec![number; usize::from(number)]);
        }
        for number in 0..40_u8 {
            assert_eq!(proxy.relayed(&i).0, wrapped(at(AWAY, 53), &vec![number; usize::from(number)]));
        }
        proxy.answer(from, &wrapped(at(AWAY, 53), b""));
        assert_eq!(i.wait_udp("an empty answer").1.data, b"");
    }
}

#[test]
fn what_is_no_answer_is_dropped() {
    let proxy = Proxy::new();
    let (other, _) = udp_peer();
    let i = proxy.network();
    sends(&i, AWAY, 53, b"question");
    let _stream = proxy.associate(&i);
    let (_, from) = proxy.relayed(&i);
    let good = wrapped(at(AWAY, 53), b"answer");
    // Of somebody else than the relay.
    other.send_to(&good, from).unwrap();
    for bad in [
        // Parts of a datagram: the first, the last.
        [&[0, 0, 1], &good[3..]].concat(),
        [&[0, 0, 0x81], &good[3..]].concat(),
        // Of whom the guest may not reach, or not through the proxy.
        wrapped(at(Ipv4Addr::new(198, 51, 100, 1), 53), b"answer"),
        wrapped(at(LOCALHOST, 53), b"answer"),
        // Of the other family, and without an address.
        wrapped(at6(AWAY6, 53), b"answer"),
        [&[0, 0, 0, 3, 5][..], b"a.org", &[0, 53], b"answer"].concat(),
        // Cut, of an unknown kind, and empty.
        good[..9].to_vec(),
        [&[0, 0, 0, 9], &good[4..]].concat(),
        vec![0, 0, 0],
        vec![],
    ] {
        proxy.answer(from, &bad);
        i.expect_silence();
    }
    proxy.answer(from, &good);
    assert_eq!(i.wait_udp("the answer").1.data, b"answer");
}

#[test]
fn what_the_rule_is_not_about_goes_no_such_way() {
    let proxy = Proxy::new();
    let (direct, direct_port) = udp_peer();
    let i = under(&proxy.rule(&format!(
        "[[policy.rule]]\naction = 'allow'\nprotocol = 'udp'\nhost = '127.0.0.1'\nhost-port = {direct_port}\n"
    )));
    // From one port of the guest: each goes its way, by a socket of its own.
    i.input(&udp_frame(PORT, at_vhost(direct_port), b"direct"));
    let (data, direct_from) = host_recv(&i, &direct);
    assert_eq!(data, b"direct");
    sends(&i, AWAY, 53, b"question");
    let _stream = proxy.associate(&i);
    let (_, from) = proxy.relayed(&i);
    assert_ne!(from, direct_from);
    talk(&i, &proxy);
    direct.send_to(b"back", direct_from).unwrap();
    assert_eq!(i.wait_udp("an answer").1.src, at_vhost(direct_port));
    // Neither can speak for the other: what the proxy says is of somebody that the guest reaches directly, and the other way round.
    proxy.answer(from, &wrapped(at(LOCALHOST, direct_port), b"x"));
    direct.send_to(&wrapped(at(AWAY, 53), b"x"), from).unwrap();
    i.expect_silence();
    i.input(&udp_frame(PORT, at(Ipv4Addr::new(198, 51, 100, 1), 53), b"nowhere"));
    is_refused(&i);
    nobody_asks(&i, &proxy);
}

#[test]
fn a_password_is_given_where_it_is_asked_for() {
    let proxy = Proxy::new();
    let (port, text) = (proxy.port, proxy.rule(""));
    let i = under(&text.replace(&format!("127.0.0.1:{port}"), &format!("me:s3%3Acr%65t@127.0.0.1:{port}")));
    for granted in [false, true] {
        sends(&i, AWAY, 53, b"question");
        let mut stream = accept(&i, &proxy.listener);
        assert_eq!(host_read(&i, &mut stream, 4), [5, 2, 0, 2]);
        stream.write_all(&[5, 2]).unwrap();
        assert_eq!(host_read(&i, &mut stream, 12), b"\x01\x02me\x07s3:cret");
        if !granted {
            stream.write_all(&[1, 1]).unwrap();
            is_refused(&i);
            i.pass(Duration::from_secs(6));
            continue;
        }
        stream.write_all(&[1, 0]).unwrap();
        assert_eq!(host_read(&i, &mut stream, 10), ASSOCIATE);
        stream.write_all(&proxy.consent()).unwrap();
        assert_eq!(proxy.relayed(&i).0, wrapped(at(AWAY, 53), b"question"));
        talk(&i, &proxy);
    }
}

#[test]
fn a_proxy_that_refuses_has_the_guest_refused_for_a_while() {
    let proxy = Proxy::new();
    let i = proxy.network();
    let refusals: [&[u8]; 5] = [
        // The command is not supported; no port; a name; nowhere; no proxy at all.
        &[5, 7, 0, 1, 0, 0, 0, 0, 0, 0],
        &[5, 0, 0, 1, 0, 0, 0, 0, 0, 0],
        b"\x05\x00\x00\x03\x05a.org\x04\x00",
        &[5, 0, 0, 1, 224, 0, 0, 1, 4, 0],
        b"HTTP/1.1 400",
    ];
    for refusal in refusals {
        sends(&i, AWAY, 53, b"first");
        let mut stream = proxy.greet(&i);
        sends(&i, AWAY, 54, b"second");
        stream.write_all(refusal).unwrap();
        is_refused(&i);
        is_refused(&i);
        host_end(&i, &mut stream);
        // It is not asked again at once.
        sends(&i, AWAY, 53, b"third");
        is_refused(&i);
        nobody_asks(&i, &proxy);
        host_gets_nothing(&i, &proxy.relay);
        i.pass(Duration::from_secs(6));
    }
    sends(&i, AWAY, 53, b"question");
    let _stream = proxy.associate(&i);
    proxy.relayed(&i);
    talk(&i, &proxy);
}

/// Where it really goes is the proxy, as with connections, and how it has ended is what that said.
#[test]
fn the_log_tells_of_the_proxy_and_of_what_it_said() {
    let proxy = Proxy::new();
    let log = std::env::temp_dir().join(format!("oxislirp-relay-{}-{}.jsonl", std::process::id(), proxy.port));
    let i = under(&proxy.rule(&format!("[log]\nfile = '{}'\nfiles = 1\n", log.display())));
    let answers: [&[u8]; 3] = [&[5, 255], &[5, 0], b""];
    for (port, answer) in (PORT..).zip(answers) {
        i.input(&udp_frame(port, at(AWAY, 53), b"question"));
        let mut stream = accept(&i, &proxy.listener);
        assert_eq!(host_read(&i, &mut stream, 3), GREETING);
        stream.write_all(answer).unwrap();
        match answer {
            [5, 0] => {
                assert_eq!(host_read(&i, &mut stream, 10), ASSOCIATE);
                stream.write_all(&proxy.consent()).unwrap();
                proxy.relayed(&i);
            }
            _ => {
                drop(stream);
                is_refused(&i);
            }
        }
    }
    i.pass(Duration::from_secs(6));
    drop(i);
    let written = std::fs::read_to_string(&log).expect("a log");
    std::fs::remove_file(&log).expect("it was there");
    let lines: Vec<serde_json::Value> =
        written.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect();
    let of = |event: &str, port: u16| {
        let guest = format!("10.0.2.15:{port}");
        let mut found = lines.iter().filter(|line| line["event"] == event && line["guest"] == guest);
        let one = found.next().unwrap_or_else(|| panic!("{event} {port}: {written}"));
        assert!(found.next().is_none(), "{event} {port} twice: {written}");
        one
    };
    for (port, end) in [(PORT, "proxy-credentials"), (PORT + 1, "host-reset"), (PORT + 2, "proxy-refused")] {
        let begun = of("begun", port);
        assert_eq!((&begun["remote"], &begun["rule"]), (&"192.0.2.9:53".into(), &1.into()));
        assert_eq!(begun["host"], format!("127.0.0.1:{}", proxy.port));
        assert_eq!(of("ended", port)["end"], end);
    }
    assert_eq!(of("ended", PORT + 1)["to_host"], 8);
    assert_eq!(of("ended", PORT)["to_host"], 0);
}

#[test]
fn a_proxy_that_is_not_there_or_silent_is_given_up() {
    let proxy = Proxy::new();
    let i = proxy.network();
    sends(&i, AWAY, 53, b"question");
    let mut stream = proxy.greet(&i);
    i.pass(Duration::from_secs(8));
    i.expect_silence();
    i.pass(Duration::from_secs(3));
    is_refused(&i);
    host_end(&i, &mut stream);
    let (port, text) = (proxy.port, proxy.rule(""));
    let nobody = under(&text.replace(&port.to_string(), &closed_tcp_port().to_string()));
    sends(&nobody, AWAY, 53, b"question");
    is_refused(&nobody);
    sends(&nobody, AWAY, 53, b"question");
    is_refused(&nobody);
}

#[test]
fn an_association_ends_with_its_flow_and_a_flow_with_its_association() {
    let proxy = Proxy::new();
    let i = proxy.network();
    sends(&i, AWAY, 53, b"question");
    let mut stream = proxy.associate(&i);
    proxy.relayed(&i);
    talk(&i, &proxy);
    // As long as something goes through it, both are there.
    for _ in 0..3 {
        i.pass(Duration::from_secs(200));
        talk(&i, &proxy);
    }
    host_idle(&mut stream);
    i.pass(Duration::from_secs(250));
    assert_eq!(host_end(&i, &mut stream), (Vec::new(), End::Eof));
    // And the other way round: what the guest sends then is another flow.
    sends(&i, AWAY, 53, b"question");
    let stream = proxy.associate(&i);
    proxy.relayed(&i);
    let from = talk(&i, &proxy);
    drop(stream);
    i.settle();
    i.drain();
    proxy.answer(from, &wrapped(at(AWAY, 53), b"too late"));
    i.expect_silence();
    sends(&i, AWAY, 53, b"question");
    let stream = proxy.associate(&i);
    assert_ne!(proxy.relayed(&i).1, from);
    talk(&i, &proxy);
    host_reset(stream);
    i.settle();
    // Its consent and its end in one.
    sends(&i, AWAY, 53, b"question");
    drop(proxy.associate(&i));
    proxy.relayed(&i);
    i.settle();
    sends(&i, AWAY, 53, b"question");
    let mut stream = proxy.associate(&i);
    proxy.relayed(&i);
    talk(&i, &proxy);
    // The end of the network is the end of its flows.
    drop(i);
    stream.set_nonblocking(false).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    assert_eq!(stream.read(&mut [0; 16]).unwrap(), 0);
}

/// What follows the first datagram of a burst goes to the proxy in few calls, and is what it was.
#[test]
fn a_burst_goes_whole_and_in_order() {
    let proxy = Proxy::new();
    let i = proxy.network();
    sends(&i, AWAY, 53, b"question");
    let _stream = proxy.associate(&i);
    assert_eq!(proxy.relayed(&i).0, wrapped(at(AWAY, 53), b"question"));
    let size = |number: usize| [1000, 1000, 0, 1400, 7, 1000][number % 6];
    // More than goes at once, and no more than a socket keeps; another destination ends a burst.
    for number in 0..100 {
        sends(&i, AWAY, 53, &vec![number as u8; size(number)]);
        if number == 70 {
            sends(&i, AWAY, 54, b"between");
        }
    }
    let from = proxy.relayed(&i).1;
    for number in 1..100 {
        assert_eq!(proxy.relayed(&i).0, wrapped(at(AWAY, 53), &vec![number as u8; size(number)]));
        if number == 70 {
            assert_eq!(proxy.relayed(&i), (wrapped(at(AWAY, 54), b"between"), from));
        }
    }
    host_gets_nothing(&i, &proxy.relay);
    // Where the proxy does not take one (it is too long with what stands before it), the others go all the same.
    for length in [1000, 1000, 65_500, 1000] {
        sends(&i, AWAY, 53, &vec![1; length]);
    }
    for _ in 0..3 {
        assert_eq!(proxy.relayed(&i).0.len(), 1010);
    }
}

#[test]
fn what_waits_for_the_proxy_is_bounded() {
    let proxy = Proxy::new();
    let i = proxy.network();
    for number in 0..40_u8 {
        sends(&i, AWAY, 53, &[number]);
    }
    let mut stream = proxy.greet(&i);
    stream.write_all(&proxy.consent()).unwrap();
    for number in 0..16_u8 {
        assert_eq!(proxy.relayed(&i).0, wrapped(at(AWAY, 53), &[number]));
    }
    host_gets_nothing(&i, &proxy.relay);
    // By its bytes as well: 24 KiB and one.
    i.input(&udp_frame(PORT + 1, at(AWAY, 53), b"x"));
    let mut stream = proxy.greet(&i);
    for _ in 0..30 {
        i.input(&udp_frame(PORT + 1, at(AWAY, 53), &[7; 1400]));
    }
    i.settle();
    stream.write_all(&proxy.consent()).unwrap();
    let mut bytes = 0;
    i.until("what has waited", || {
        let mut buffer = [0; 2048];
        while let Ok(length) = proxy.relay.recv(&mut buffer) {
            bytes += length;
        }
        (bytes > 20_000).then_some(())
    });
    host_gets_nothing(&i, &proxy.relay);
    assert!(bytes <= 26_000, "{bytes}");
}

#[test]
fn the_loop_is_not_kept_awake() {
    let proxy = Proxy::new();
    let i = proxy.network();
    let sleeps = |what: &str| {
        i.settle();
        let busy = (0..20).filter(|_| i.turn(Duration::from_millis(1))).count();
        assert!(busy <= 2, "{what}: {busy} of 20 rounds");
    };
    sends(&i, AWAY, 53, b"question");
    let mut stream = proxy.greet(&i);
    sleeps("while the proxy is asked");
    stream.write_all(&proxy.consent()).unwrap();
    proxy.relayed(&i);
    talk(&i, &proxy);
    sleeps("while it relays");
    // It has nothing to say there: a little is passed over, and more ends it.
    stream.write_all(b"hello").unwrap();
    sleeps("behind words");
    talk(&i, &proxy);
    stream.write_all(&[0; 4096]).unwrap();
    host_end(&i, &mut stream);
}

#[test]
fn over_ipv6_and_to_ipv6() {
    let listener = TcpListener::bind("[::1]:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let (relay, relay_port) = udp6_peer();
    let address: SocketAddr = listener.local_addr().unwrap();
    let i = under(&format!(
        "[[policy.rule]]\naction = 'allow'\nprotocol = 'udp'\nhost = ['2001:db8::/32', '192.0.2.0/24']\n\
         proxy = 'socks5://{address}'\n"
    ));
    let asks = |i: &Instance| {
        let mut stream = accept(i, &listener);
        assert_eq!(host_read(i, &mut stream, 3), GREETING);
        stream.write_all(&[5, 0]).unwrap();
        assert_eq!(host_read(i, &mut stream, 10), ASSOCIATE);
        stream.write_all(&[&[5, 0, 0, 4][..], &[0; 16], &relay_port.to_be_bytes()].concat()).unwrap();
        stream
    };
    let away: SocketAddrV6 = at6(AWAY6, 53);
    i.input(&Ip6::new(AWAY6, 17).udp(PORT, 53, b"question"));
    let _stream = asks(&i);
    let (data, from) = host_recv(&i, &relay);
    assert_eq!(data, wrapped(away, b"question"));
    relay.send_to(&wrapped(away, b"answer"), from).unwrap();
    let (source, _, data) = i.wait6("the answer", |packet| packet.udp());
    assert_eq!((source, data.as_slice()), (away, &b"answer"[..]));
    // Its proxy's family is not the guest's: IPv4 by the same, whose addresses may come mapped.
    sends(&i, AWAY, 53, b"question");
    let _stream = asks(&i);
    let (data, from) = host_recv(&i, &relay);
    assert_eq!(data, wrapped(at(AWAY, 53), b"question"));
    relay.send_to(&wrapped(SocketAddrV6::new(AWAY.to_ipv6_mapped(), 53, 0, 0), b"answer"), from).unwrap();
    assert_eq!(i.wait_udp("the answer").1.src, at(AWAY, 53));
}

/// There are 1,024 at most: a further one takes the place of that which is least used, whose proxy sees that.
#[test]
fn associations_are_bounded() {
    const MOST: usize = 1024;
    allow_descriptors(4 * MOST as libc::rlim_t);
    let proxy = Proxy::new();
    let i = proxy.network();
    let mut streams = Vec::new();
    for number in 0..MOST + 8 {
        let port = 10_000 + u16::try_from(number).unwrap();
        i.input(&udp_frame(port, at(AWAY, 53), b"x"));
        streams.push(proxy.associate(&i));
        proxy.relayed(&i);
    }
    i.settle();
    let ended = streams.iter_mut().map(|stream| stream.read(&mut [0; 1])).filter(|read| matches!(read, Ok(0)));
    assert_eq!(ended.count(), 8);
}

/// This process may have so many descriptors from now on.
fn allow_descriptors(number: libc::rlim_t) {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the pointers are to a live local.
    unsafe {
        assert_eq!(libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit), 0);
        limit.rlim_cur = limit.rlim_cur.max(number);
        assert_eq!(libc::setrlimit(libc::RLIMIT_NOFILE, &limit), 0, "so many descriptors");
    }
}

#[test]
fn rules_that_make_no_sense_are_refused() {
    for text in [
        "action = 'allow'\nprotocol = 'udp'\nproxy = 'http://127.0.0.1:3128'",
        "action = 'allow'\nprotocol = ['tcp', 'udp']\nproxy = 'http://127.0.0.1:3128'",
        "action = 'allow'\nprotocol = ['udp', 'icmp']\nproxy = 'socks5://127.0.0.1:1080'",
        "action = 'deny'\nprotocol = 'udp'\nproxy = 'socks5://127.0.0.1:1080'",
        "action = 'allow'\nproxy = 'socks5://127.0.0.1:1080'",
    ] {
        assert!(try_under(&format!("[[policy.rule]]\n{text}\n"), Setup::default()).is_none(), "{text}");
    }
    assert!(
        try_under(
            "[[policy.rule]]\naction = 'allow'\nprotocol = ['tcp', 'udp']\nproxy = 'socks5://127.0.0.1:1080'\n",
            Setup::default()
        )
        .is_some()
    );
}
