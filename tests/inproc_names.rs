//! Rules with names through the C ABI: what the guest may ask, which addresses a name opens, and the ways around that. docs/policy.md
//! says what is promised. Each test is in namespaces of its own, with a name server of its own at a loopback address.

mod common;
use common::*;
use std::net::IpAddr;
use std::sync::Mutex;

/// The environment is everybody's: instances are made one at a time.
static ENVIRONMENT: Mutex<()> = Mutex::new(());

/// An instance under a file with this text, which asks the name servers at these addresses.
fn under(text: &str, servers: &[&str], setup: Setup) -> Box<Instance> {
    let lines: String = servers.iter().map(|server| format!("nameserver {server}\n")).collect();
    std::fs::write(child::resolv_conf_path(), lines).unwrap();
    let _alone = ENVIRONMENT.lock().unwrap_or_else(|poison| poison.into_inner());
    let path = std::env::temp_dir().join(format!("oxislirp-names-{}.toml", std::process::id()));
    std::fs::write(&path, text).unwrap();
    // SAFETY: instances are made here only, by one thread at a time, and nothing else in this program looks at the environment.
    unsafe { std::env::set_var("OXISLIRP_CONFIG", &path) };
    let instance = setup.try_start();
    // SAFETY: as above.
    unsafe { std::env::remove_var("OXISLIRP_CONFIG") };
    std::fs::remove_file(&path).unwrap();
    let i = instance.expect("the file makes sense");
    i.settle();
    i.drain();
    i
}

/// One with names of `allowed.test`, answers with any address, and a name server.
fn allowed(rules: &str) -> (Box<Instance>, UdpSocket) {
    let text = format!(
        "[policy]\nrebind = 'allow'\n[[policy.rule]]\naction = 'allow'\nservice = 'dns'\n{rules}\n[[policy.rule]]\n\
         action = 'allow'\nname = ['allowed.test', '*.allowed.test']\n"
    );
    (under(&text, &[SERVER], Setup::default()), server(SERVER))
}

const SERVER: &str = "127.0.0.77";
const A: u16 = 1;
const CNAME: u16 = 5;
const AAAA: u16 = 28;
const REFUSED: u8 = 5;

fn server(address: &str) -> UdpSocket {
    let socket = UdpSocket::bind((address, 53)).expect("port 53 of a new namespace is free");
    socket.set_nonblocking(true).unwrap();
    socket
}

fn wire(name: &str) -> Vec<u8> {
    let labels = name.split('.').filter(|label| !label.is_empty());
    let mut bytes: Vec<u8> = labels.flat_map(|label| [&[label.len() as u8], label.as_bytes()].concat()).collect();
    bytes.push(0);
    bytes
}

fn query(id: u16, name: &str, kind: u16) -> Vec<u8> {
    [&id.to_be_bytes()[..], &[1, 0, 0, 1, 0, 0, 0, 0, 0, 0], &wire(name), &kind.to_be_bytes(), &[0, 1]].concat()
}

/// A record: its name, its type, how long it counts, and its data.
type Record<'a> = (&'a str, u16, u32, Vec<u8>);

fn address<'a>(name: &'a str, ip: &str, ttl: u32) -> Record<'a> {
    match ip.parse().unwrap() {
        IpAddr::V4(ip) => (name, A, ttl, ip.octets().to_vec()),
        IpAddr::V6(ip) => (name, AAAA, ttl, ip.octets().to_vec()),
    }
}

fn answer(query: &[u8], records: &[Record<'_>]) -> Vec<u8> {
    let mut bytes = query.to_vec();
    (bytes[2], bytes[3], bytes[7]) = (0x81, 0x80, records.len() as u8);
    for (name, kind, ttl, data) in records {
        bytes.extend(wire(name));
        bytes.extend(kind.to_be_bytes());
        bytes.extend([0, 1]);
        bytes.extend(ttl.to_be_bytes());
        bytes.extend((data.len() as u16).to_be_bytes());
        bytes.extend(data);
    }
    bytes
}

/// The code of a reply, and the addresses in it. The names in it are compressed or not.
fn read(reply: &[u8]) -> (u8, Vec<IpAddr>) {
    fn skip(reply: &[u8], mut at: usize) -> usize {
        loop {
            match reply[at] {
                0 => return at + 1,
                length if length >= 0xc0 => return at + 2,
                length => at += 1 + length as usize,
            }
        }
    }
    let mut addresses = Vec::new();
    let mut at = 12;
    for _ in 0..reply[5] {
        at = skip(reply, at) + 4;
    }
    for _ in 0..reply[7] {
        at = skip(reply, at);
        let (kind, length) = (reply[at + 1], reply[at + 9] as usize);
        let data = &reply[at + 10..at + 10 + length];
        match kind {
            1 => addresses.push(IpAddr::from(<[u8; 4]>::try_from(data).unwrap())),
            28 => addresses.push(IpAddr::from(<[u8; 16]>::try_from(data).unwrap())),
            _ => {}
        }
        at += 10 + length;
    }
    (reply[3] & 15, addresses)
}

/// What the guest is told when it asks this.
fn ask_raw(i: &Instance, server: &UdpSocket, query: &[u8], records: &[Record<'_>]) -> Option<(u8, Vec<IpAddr>)> {
    let port = i.fresh_port();
    i.input(&udp_frame(port, at(VDNS, 53), query));
    i.settle();
    let mut buffer = [0; 512];
    if let Ok((length, from)) = server.recv_from(&mut buffer) {
        assert_eq!(&buffer[..length], query, "the server is asked the same");
        server.send_to(&answer(query, records), from).unwrap();
        i.settle();
    }
    let reply = i.take(|frame| frame.udp())?;
    assert_eq!((reply.src, reply.dst.port()), (at(VDNS, 53), port));
    assert_eq!(reply.data[..2], query[..2]);
    Some(read(&reply.data))
}

/// The same of a name of which nothing is said that was not asked.
fn ask(i: &Instance, server: &UdpSocket, name: &str, records: &[Record<'_>]) -> (u8, Vec<IpAddr>) {
    ask_raw(i, server, &query(0x1234, name, A), records).expect("a reply")
}

fn nobody_was_asked(i: &Instance, server: &UdpSocket) {
    i.settle();
    assert!(server.recv_from(&mut [0; 512]).is_err(), "a query at the name server");
}

/// A listener at a loopback address that is nobody's otherwise.
fn listener(address: &str) -> (TcpListener, SocketAddrV4) {
    let listener = TcpListener::bind((address, 0)).unwrap();
    listener.set_nonblocking(true).unwrap();
    let at = SocketAddrV4::new(address.parse().unwrap(), listener.local_addr().unwrap().port());
    (listener, at)
}

fn reaches(i: &Instance, to: SocketAddrV4) -> bool {
    matches!(Conn::try_connect(i, to, &[]), Reply::SynAck(..))
}

/// Time passes as it does for a guest that is there meanwhile.
fn pass(i: &Instance, seconds: u64) {
    // A longer step would be one in which nobody had the time to do anything.
    for _ in 0..seconds.div_ceil(4) {
        i.move_clock(Duration::from_secs(4));
        i.settle();
    }
    i.drain();
}

fn names(test: &str) -> bool {
    isolated(test, Isolation::Resolver)
}

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

/// Names of the network's own, and the host's name server.
fn own(text: &str) -> (Box<Instance>, UdpSocket) {
    (under(text, &[SERVER], setup6()), server(SERVER))
}

const PTR: u16 = 12;

#[test]
fn names_of_ones_own_are_answered_and_others_are_asked_for() {
    if !names("names_of_ones_own_are_answered_and_others_are_asked_for") {
        return;
    }
    let hosts = std::env::temp_dir().join(format!("oxislirp-hosts-{}", std::process::id()));
    std::fs::write(&hosts, "10.9.9.9 hosted.test hosted # a machine\n").unwrap();
    let (i, server) = own(&format!(
        "[dns]\nhost-alias = 'host.internal'\nhosts = '{}'\nrecords = [\n\
         {{ name = 'db.test', a = ['10.0.2.2', '192.0.2.9'], aaaa = 'fec0::2', ttl = 5 }},\n\
         {{ name = 'www.test', cname = 'DB.test' }},\n{{ name = 'far.test', cname = 'example.org', ttl = 7 }},\n]\n\
         zone = [{{ domain = 'closed', servers = [] }}]\n",
        hosts.display()
    ));
    std::fs::remove_file(&hosts).unwrap();
    let told = |name: &str, kind| {
        let reply = ask_raw(&i, &server, &query(5, name, kind), &[]);
        nobody_was_asked(&i, &server);
        reply.unwrap()
    };
    let addresses = |texts: &[&str]| (0, texts.iter().map(|ip| ip.parse().unwrap()).collect::<Vec<IpAddr>>());
    assert_eq!(told("Db.Test", A), addresses(&["10.0.2.2", "192.0.2.9"]));
    assert_eq!(told("db.test", AAAA), addresses(&["fec0::2"]));
    assert_eq!(told("db.test", 15), addresses(&[]));
    assert_eq!(told("www.test", A), addresses(&["10.0.2.2", "192.0.2.9"]));
    assert_eq!(told("host.internal", A), addresses(&["10.0.2.2"]));
    assert_eq!(told("host.internal", AAAA), addresses(&["fec0::2"]));
    assert_eq!(told("hosted", A), addresses(&["10.9.9.9"]));
    assert_eq!(told("2.2.0.10.in-addr.arpa", PTR).0, 0);
    assert_eq!(told("x.closed", A), (3, vec![]));
    // Others are asked for what is not of here, also at the end of an alias.
    assert_eq!(ask(&i, &server, "x.db.test", &[address("x.db.test", "8.8.8.8", 5)]), addresses(&["8.8.8.8"]));
    i.input(&udp_frame(3000, at(VDNS, 53), &query(9, "far.test", A)));
    let (asked, from) = host_recv(&i, &server);
    assert_eq!(asked, query(9, "example.org", A));
    server.send_to(&answer(&asked, &[address("example.org", "8.8.4.4", 5)]), from).unwrap();
    let (_, reply) = i.wait_udp("the answer");
    assert_eq!(reply.data[12..12 + 10], wire("far.test")[..]);
    assert_eq!((reply.data[7], read(&reply.data)), (2, addresses(&["8.8.4.4"])));
    // What is no query of the DNS goes on as ever.
    i.input(&udp_frame(3001, at(VDNS, 53), b"anything"));
    let (_, from) = host_recv(&i, &server);
    server.send_to(b"whatever", from).unwrap();
    assert_eq!(i.wait_udp("the answer").1.data, b"whatever");
}

#[test]
fn names_of_a_domain_are_asked_of_its_servers_and_of_nobody_else() {
    if !names("names_of_a_domain_are_asked_of_its_servers_and_of_nobody_else") {
        return;
    }
    let others = UdpSocket::bind("127.0.0.99:5300").unwrap();
    others.set_nonblocking(true).unwrap();
    let (i, usual) = own("[dns]\nzone = [{ domain = 'corp.test', servers = ['127.0.0.99:5300'] }]\n");
    assert_eq!(ask(&i, &others, "db.Corp.test", &[address("db.corp.test", "10.1.1.1", 5)]).1.len(), 1);
    nobody_was_asked(&i, &usual);
    assert_eq!(ask(&i, &usual, "xcorp.test", &[address("xcorp.test", "8.8.8.8", 5)]).1.len(), 1);
    nobody_was_asked(&i, &others);
    // Also when they do not answer, or are not there.
    drop(others);
    for _ in 0..3 {
        i.input(&udp_frame(3000, at(VDNS, 53), &query(7, "db.corp.test", A)));
        i.settle();
        nobody_was_asked(&i, &usual);
    }
    let (i, usual) = own_servers();
    assert_eq!(ask(&i, &usual, "example.org", &[address("example.org", "8.8.8.8", 5)]).1.len(), 1);
}

/// One whose servers the file names, which are not those of the host.
fn own_servers() -> (Box<Instance>, UdpSocket) {
    let socket = UdpSocket::bind("127.0.0.98:5301").unwrap();
    socket.set_nonblocking(true).unwrap();
    (under("[dns]\nservers = '127.0.0.98:5301'\n", &["127.0.0.1"], Setup::default()), socket)
}

#[test]
fn names_of_ones_own_are_names_like_others_to_a_policy() {
    if !names("names_of_ones_own_are_names_like_others_to_a_policy") {
        return;
    }
    let (_open, port) = tcp_listener();
    let (i, server) = own(&format!(
        "[dns]\nhost-alias = 'host.internal'\nrecords = [{{ name = 'other.test', a = '10.0.2.2' }}]\n[policy]\nrule = [\n\
         {{ action = 'allow', service = 'dns' }},\n\
         {{ action = 'allow', name = 'host.internal', host-port = {port} }},\n]\n"
    ));
    assert!(!reaches(&i, at_vhost(port)));
    assert_eq!(ask(&i, &server, "other.test", &[]).0, REFUSED);
    assert!(!reaches(&i, at_vhost(port)));
    assert_eq!(ask(&i, &server, "host.internal", &[]).1, ["10.0.2.2".parse::<IpAddr>().unwrap()]);
    assert!(reaches(&i, at_vhost(port)));
    let pointer = ask_raw(&i, &server, &query(1, "2.2.0.10.in-addr.arpa", PTR), &[]).unwrap();
    assert_eq!(pointer.0, REFUSED, "the name of that address is one that may not be asked for");
    nobody_was_asked(&i, &server);
}

/// A proxy is told the name that the guest has asked for, where a rule says so.
#[test]
fn names_a_proxy_is_told_the_name() {
    if !names("names_a_proxy_is_told_the_name") {
        return;
    }
    let (proxy, proxy_at) = listener("127.0.0.5");
    let text = |told: bool| {
        format!(
            "[[policy.rule]]\naction = 'allow'\nservice = 'dns'\n[[policy.rule]]\naction = 'allow'\nprotocol = 'tcp'\n\
             name = '*.allowed.test'\nproxy = 'http://{proxy_at}'\nproxy-names = {told}\n"
        )
    };
    for told in [true, false] {
        let i = under(&text(told), &[SERVER], Setup::default());
        let server = server(SERVER);
        let away = at(Ipv4Addr::new(93, 184, 216, 34), 443);
        assert!(!reaches(&i, away));
        ask(&i, &server, "www.allowed.test", &[address("www.allowed.test", "93.184.216.34", 300)]);
        let mut conn = Conn::new(&i, away);
        conn.syn(&i, &[]);
        let mut stream = accept(&i, &proxy);
        let target = if told { "www.allowed.test:443" } else { "93.184.216.34:443" };
        let request = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n");
        assert_eq!(host_read(&i, &mut stream, request.len()), request.as_bytes());
        assert_eq!(host_write_some(&mut stream, b"HTTP/1.1 200 OK\r\n\r\n"), 19);
        let Reply::SynAck(mut conn) = conn.reply(&i) else { panic!("no connection") };
        conn.data(&i, b"through");
        assert_eq!(host_read(&i, &mut stream, 7), b"through");
    }
}

/// So is one that relays datagrams. Whichever address it finds for the name, the guest hears the one that it has asked; another
/// destination has another association.
#[test]
fn names_a_proxy_that_relays_datagrams_is_told_the_name() {
    if !names("names_a_proxy_that_relays_datagrams_is_told_the_name") {
        return;
    }
    let (proxy, proxy_at) = listener("127.0.0.5");
    let text = |told: bool| {
        format!(
            "[[policy.rule]]\naction = 'allow'\nservice = 'dns'\n[[policy.rule]]\naction = 'allow'\nprotocol = 'udp'\n\
             name = '*.allowed.test'\nproxy = 'socks5://{proxy_at}'\nproxy-names = {told}\n"
        )
    };
    let away = at(Ipv4Addr::new(93, 184, 216, 34), 443);
    let other = at(Ipv4Addr::new(93, 184, 216, 34), 444);
    let by_name = |port: u16| [&b"\0\0\0\x03\x10www.allowed.test"[..], &port.to_be_bytes()].concat();
    let by_address = |ip: [u8; 4], port: u16| [&b"\0\0\0\x01"[..], &ip, &port.to_be_bytes()].concat();
    for told in [true, false] {
        let i = under(&text(told), &[SERVER], Setup::default());
        let server = server(SERVER);
        let relay = UdpSocket::bind("127.0.0.5:0").unwrap();
        relay.set_nonblocking(true).unwrap();
        let consent = [&[5, 0, 0, 1, 0, 0, 0, 0][..], &relay.local_addr().unwrap().port().to_be_bytes()].concat();
        let associate = || {
            let mut stream = accept(&i, &proxy);
            assert_eq!(host_read(&i, &mut stream, 3), [5, 1, 0]);
            host_write_some(&mut stream, &[5, 0]);
            assert_eq!(host_read(&i, &mut stream, 10), [5, 3, 0, 1, 0, 0, 0, 0, 0, 0]);
            host_write_some(&mut stream, &consent);
            stream
        };
        i.input(&udp_frame(4000, away, b"too early"));
        assert_eq!(i.wait_icmp("a refusal").1.code, 13);
        ask(&i, &server, "www.allowed.test", &[address("www.allowed.test", "93.184.216.34", 300)]);
        i.input(&udp_frame(4000, away, b"question"));
        let _stream = associate();
        let (data, from) = host_recv(&i, &relay);
        let head = if told { by_name(443) } else { by_address([93, 184, 216, 34], 443) };
        assert_eq!(data, [&head[..], b"question"].concat());
        // Where the name is for the proxy.
        let there = if told { [198, 51, 100, 7] } else { [93, 184, 216, 34] };
        let answers = [
            Some([&by_address(there, 443)[..], b"answer"].concat()),
            told.then(|| [&by_name(443)[..], b"answer"].concat()),
        ];
        for answer in answers.iter().flatten() {
            relay.send_to(answer, from).unwrap();
            let (_, heard) = i.wait_udp("the answer");
            assert_eq!((heard.src, heard.data.as_slice()), (away, &b"answer"[..]));
        }
        relay.send_to(&[&by_address([198, 51, 100, 8], 443)[..], b"of another"].concat(), from).unwrap();
        if told {
            // This association is for one port of one name.
            relay.send_to(&[&by_address(there, 444)[..], b"answer"].concat(), from).unwrap();
        }
        i.expect_silence();
        i.input(&udp_frame(4000, other, b"question"));
        let _other_stream = told.then(associate);
        let (data, other_from) = host_recv(&i, &relay);
        let head = if told { by_name(444) } else { by_address([93, 184, 216, 34], 444) };
        assert_eq!(data, [&head[..], b"question"].concat());
        assert_eq!(other_from != from, told);
        relay.send_to(&[&by_address(there, 444)[..], b"answer"].concat(), other_from).unwrap();
        assert_eq!(i.wait_udp("the answer").1.src, other);
    }
}

/// The name server over TCP, at the same address as over UDP.
fn tcp_server() -> TcpListener {
    let listener = TcpListener::bind((SERVER, 53)).unwrap();
    listener.set_nonblocking(true).unwrap();
    listener
}

/// A message with its length before it.
fn framed(message: &[u8]) -> Vec<u8> {
    [&(message.len() as u16).to_be_bytes()[..], message].concat()
}

/// The guest's connection with the name server, and what has come on it and was not looked at.
struct Asking<'a> {
    i: &'a Instance,
    conn: Conn,
    bytes: Vec<u8>,
}

impl Asking<'_> {
    fn new(i: &Instance) -> Asking<'_> {
        Asking { i, conn: Conn::connect(i, at(VDNS, 53)), bytes: Vec::new() }
    }

    fn say(&mut self, bytes: &[u8]) {
        self.conn.data(self.i, bytes);
    }

    /// The next message.
    fn hear(&mut self) -> Vec<u8> {
        loop {
            let whole = self.bytes.first_chunk().map(|length| 2 + usize::from(u16::from_be_bytes(*length)));
            match whole.filter(|whole| self.bytes.len() >= *whole) {
                Some(whole) => return self.bytes.drain(..whole).skip(2).collect(),
                None => self.bytes.extend(self.conn.receive(self.i, 1).1),
            }
        }
    }
}

/// The next query at the server.
fn hear_query(i: &Instance, host: &mut TcpStream) -> Vec<u8> {
    let length = host_read(i, host, 2);
    host_read(i, host, u16::from_be_bytes([length[0], length[1]]).into())
}

#[test]
fn names_over_tcp_are_judged_however_the_queries_come() {
    if !names("names_over_tcp_are_judged_however_the_queries_come") {
        return;
    }
    let (i, _udp) = allowed("");
    let server = tcp_server();
    let (_open, open) = listener("127.0.0.5");
    let mut guest = Asking::new(&i);
    // Nobody is asked for nothing.
    i.settle();
    assert!(server.accept().is_err());
    let good = query(1, "www.allowed.test", A);
    let second = query(3, "x.allowed.test", AAAA);
    // One behind the other, in one segment.
    guest.say(&[framed(&query(2, "denied.test", A)), framed(&good), framed(&second)].concat());
    let refused = guest.hear();
    assert_eq!((refused[1], read(&refused)), (2, (REFUSED, vec![])));
    let mut host = accept(&i, &server);
    assert_eq!(hear_query(&i, &mut host), good);
    assert_eq!(hear_query(&i, &mut host), second);
    // Answers come in any order, in pieces, and with what was not asked for.
    let records = [address("www.allowed.test", "127.0.0.5", 300), address("denied.test", "127.0.0.6", 300)];
    let unasked = answer(&query(1, "y.allowed.test", A), &[address("y.allowed.test", "127.0.0.6", 300)]);
    let all = [framed(&answer(&second, &[])), framed(&unasked), framed(&answer(&good, &records))].concat();
    for piece in all.chunks(7) {
        assert_eq!(host_write_some(&mut host, piece), piece.len());
        i.settle();
    }
    assert_eq!(guest.hear()[..2], [0, 3]);
    assert_eq!(read(&guest.hear()), (0, vec!["127.0.0.5".parse().unwrap()]));
    assert!(reaches(&i, open) && !reaches(&i, at(Ipv4Addr::new(127, 0, 0, 6), 80)));
    // Byte by byte, and a query that is none.
    for byte in framed(&query(4, "Denied.test", A)).chunks(1) {
        guest.say(byte);
    }
    assert_eq!(guest.hear()[3] & 15, REFUSED);
    let mut two = query(5, "www.allowed.test", A);
    two[5] = 2;
    guest.say(&framed(&two));
    assert_eq!(guest.hear()[3] & 15, 1);
    i.settle();
    assert_eq!(host_write_some(&mut host, b""), 0);
    host_idle(&mut host);
}

#[test]
fn names_over_tcp_are_answered_after_the_guest_has_ended() {
    if !names("names_over_tcp_are_answered_after_the_guest_has_ended") {
        return;
    }
    let (i, _udp) = allowed("");
    let server = tcp_server();
    let mut guest = Asking::new(&i);
    let asked = query(1, "www.allowed.test", A);
    guest.say(&framed(&asked));
    guest.conn.send(&i, FIN | ACK, b"");
    let mut host = accept(&i, &server);
    assert_eq!(hear_query(&i, &mut host), asked);
    let reply = answer(&asked, &[address("www.allowed.test", "127.0.0.5", 300)]);
    host_write_some(&mut host, &framed(&reply));
    assert_eq!(guest.conn.receive(&i, framed(&reply).len()).1, framed(&reply));
    guest.conn.expect_fin(&i);
    assert_eq!(host_end(&i, &mut host), (Vec::new(), End::Eof));
}

#[test]
fn names_over_tcp_without_a_server_fail() {
    if !names("names_over_tcp_without_a_server_fail") {
        return;
    }
    let (i, _udp) = allowed("");
    let mut guest = Asking::new(&i);
    guest.say(&framed(&query(1, "www.allowed.test", A)));
    assert_eq!(guest.hear()[..4], [0, 1, 0x81, 0x82]);
    // One that goes while it is asked, and one that says nothing.
    let server = tcp_server();
    guest.say(&framed(&query(2, "www.allowed.test", A)));
    let mut host = accept(&i, &server);
    hear_query(&i, &mut host);
    drop(host);
    assert_eq!(guest.hear()[..4], [0, 2, 0x81, 0x82]);
    guest.say(&framed(&query(3, "www.allowed.test", A)));
    let mut host = accept(&i, &server);
    hear_query(&i, &mut host);
    for _ in 0..3 {
        i.move_clock(Duration::from_secs(4));
        i.settle();
    }
    assert_eq!(guest.hear()[..4], [0, 3, 0x81, 0x82]);
    assert_eq!(host_end(&i, &mut host), (Vec::new(), End::Eof));
    // The connection is there still.
    guest.say(&framed(&query(4, "denied.test", A)));
    assert_eq!(guest.hear()[3] & 15, REFUSED);
}

#[test]
fn names_over_tcp_of_a_guest_that_does_not_read_are_bounded() {
    if !names("names_over_tcp_of_a_guest_that_does_not_read_are_bounded") {
        return;
    }
    let (i, _udp) = allowed("");
    let server = tcp_server();
    let mut guest = Asking::new(&i);
    let asked = query(1, "www.allowed.test", A);
    let burst = framed(&asked).repeat(20);
    guest.say(&burst);
    let mut host = accept(&i, &server);
    // As many as are waited for at one time, and no more until they are answered.
    for _ in 0..30 {
        guest.say(&burst);
        i.settle();
    }
    let mut heard = 0;
    let mut buffer = vec![0; 1 << 20];
    while let Ok(count) = std::io::Read::read(&mut host, &mut buffer) {
        heard += count;
        i.settle();
    }
    assert_eq!(heard, 64 * framed(&asked).len());
    for _ in 0..3 {
        host_write_some(&mut host, &framed(&answer(&asked, &[])));
        hear_query(&i, &mut host);
    }
}

#[test]
fn names_of_ones_own_are_answered_over_tcp() {
    if !names("names_of_ones_own_are_answered_over_tcp") {
        return;
    }
    let (i, _udp) = own("[dns]\nrecords = [{ name = 'db.test', a = '10.0.2.2' }]\n");
    let server = tcp_server();
    let mut guest = Asking::new(&i);
    guest.say(&framed(&query(1, "db.test", A)));
    assert_eq!(read(&guest.hear()).1, ["10.0.2.2".parse::<IpAddr>().unwrap()]);
    i.settle();
    assert!(server.accept().is_err());
    // What is no query of the DNS goes on as ever, and so does its answer.
    guest.say(&framed(b"anything"));
    let mut host = accept(&i, &server);
    assert_eq!(hear_query(&i, &mut host), b"anything");
    host_write_some(&mut host, &framed(b"whatever"));
    assert_eq!(guest.hear(), b"whatever");
}

#[test]
fn names_are_in_the_log_with_the_flows_that_they_opened() {
    if !names("names_are_in_the_log_with_the_flows_that_they_opened") {
        return;
    }
    let path = std::env::temp_dir().join(format!("oxislirp-names-{}.jsonl", std::process::id()));
    let text = format!(
        "[log]\nfile = '{}'\n[policy]\nrebind = 'allow'\nrule = [\n{{ action = 'allow', service = 'dns' }},\n\
         {{ action = 'allow', name = '*.allowed.test' }},\n]\n",
        path.display()
    );
    let i = under(&text, &[SERVER], Setup::default());
    let server = self::server(SERVER);
    let (_open, open) = listener("127.0.0.5");
    ask(&i, &server, "www.allowed.test", &[address("www.allowed.test", "127.0.0.5", 300)]);
    assert!(reaches(&i, open));
    i.input(&udp_frame(4000, open, b"x"));
    i.settle();
    drop(i);
    let log = std::fs::read_to_string(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    let named = |what: &str| {
        let mut lines = log.lines().filter(|line| line.contains(what) && line.contains("\"rule\":2"));
        lines.all(|line| line.contains("\"name\":\"www.allowed.test\"")) && log.contains(what)
    };
    assert!(named("\"event\":\"begun\",") && named("\"event\":\"ended\",") && named("\"protocol\":\"udp\""), "{log}");
}

/// The lines of a log that have this, of an instance that is gone.
fn logged(path: &std::path::Path, what: &str) -> Vec<String> {
    let log = std::fs::read_to_string(path).unwrap();
    std::fs::remove_file(path).unwrap();
    log.lines().filter(|line| line.contains(what)).map(str::to_owned).collect()
}

/// The name in the log is that of what the guest wanted, not of where a rule leads that.
#[test]
fn names_are_in_the_log_of_flows_that_are_led_elsewhere() {
    if !names("names_are_in_the_log_of_flows_that_are_led_elsewhere") {
        return;
    }
    let path = std::env::temp_dir().join(format!("oxislirp-names-{}.jsonl", std::process::id()));
    let (proxy, proxy_at) = listener("127.0.0.5");
    let peer = UdpSocket::bind("127.0.0.6:0").unwrap();
    let text = format!(
        "[log]\nfile = '{}'\n[policy]\nrule = [\n{{ action = 'allow', service = 'dns' }},\n\
         {{ action = 'allow', protocol = 'tcp', name = '*.allowed.test', proxy = 'http://{proxy_at}' }},\n\
         {{ action = 'allow', protocol = 'udp', name = '*.allowed.test', redirect = '{}' }},\n]\n",
        path.display(),
        peer.local_addr().unwrap()
    );
    let i = under(&text, &[SERVER], Setup::default());
    let server = server(SERVER);
    let away = at(Ipv4Addr::new(93, 184, 216, 34), 443);
    ask(&i, &server, "www.allowed.test", &[address("www.allowed.test", "93.184.216.34", 300)]);
    Conn::new(&i, away).syn(&i, &[]);
    accept(&i, &proxy);
    i.input(&udp_frame(4000, away, b"x"));
    assert_eq!(host_recv(&i, &peer).0, b"x");
    drop(i);
    let begun = logged(&path, "\"event\":\"begun\"");
    for (protocol, host) in [("tcp", proxy_at.to_string()), ("udp", peer.local_addr().unwrap().to_string())] {
        let it = |line: &&String| line.contains(protocol) && line.contains(&format!("\"host\":\"{host}\""));
        let line = begun.iter().find(it).unwrap_or_else(|| panic!("no {protocol} in {begun:?}"));
        assert!(line.contains("\"name\":\"www.allowed.test\""), "{line}");
    }
}

/// Nor is it that of the host where the name server is on it.
#[test]
fn names_of_the_virtual_host_are_not_those_of_its_name_server() {
    if !names("names_of_the_virtual_host_are_not_those_of_its_name_server") {
        return;
    }
    let path = std::env::temp_dir().join(format!("oxislirp-names-{}.jsonl", std::process::id()));
    let text = format!(
        "[log]\nfile = '{}'\n[dns]\nhost-alias = 'host.internal'\n[policy]\nrule = [\n\
         {{ action = 'allow', service = 'dns' }},\n{{ action = 'allow', name = ['host.internal', 'x.test'] }},\n]\n",
        path.display()
    );
    let i = under(&text, &["127.0.0.1"], Setup::default());
    let server = server("127.0.0.1");
    let (_open, open) = listener("127.0.0.1");
    ask(&i, &server, "host.internal", &[]);
    ask(&i, &server, "x.test", &[]);
    assert!(reaches(&i, at_vhost(open.port())));
    drop(i);
    let lines = logged(&path, "\"host\":\"127.0.0.1:");
    let (queries, others): (Vec<_>, Vec<_>) = lines.iter().partition(|line| line.contains(&at(VDNS, 53).to_string()));
    assert!(!queries.is_empty() && queries.iter().all(|line| !line.contains("\"name\"")), "{queries:?}");
    let is_named = |line: &&String| line.contains("\"name\":\"host.internal\"");
    assert!(!others.is_empty() && others.iter().all(is_named), "{others:?}");
}
