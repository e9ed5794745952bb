//! Name servers that refuse what they are asked: the host's other servers have it, and the guest hears of it only when there
//! is none left. Each test has a resolv.conf of its own, in its own namespaces.

mod common;
use common::*;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

both_families![
    earnest_dns_a_refused_query_goes_to_the_next_server,
    earnest_dns_all_queries_of_a_client_go_to_the_next_server,
    earnest_dns_a_refusal_by_all_servers_is_told_at_once,
    earnest_dns_a_server_without_a_route_is_passed_over,
    earnest_dns_servers_of_the_other_family_come_last,
    earnest_dns_the_late_answer_of_the_first_server_arrives,
    earnest_dns_a_refused_connection_goes_to_the_next_server,
    earnest_dns_a_refusal_that_takes_its_time_leads_to_the_next_server,
    earnest_dns_the_unspecified_address_is_the_hosts_own_server,
];

impl Family {
    /// An address of a server on this host. Nobody listens there until a test does.
    fn server(self, number: u8) -> SocketAddr {
        let ip: IpAddr =
            self.pick(Ipv4Addr::new(127, 0, 0, number), Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, number.into()));
        (ip, 53).into()
    }

    fn other(self) -> Family {
        if self == Family::V4 { Family::V6 } else { Family::V4 }
    }
}

/// Whether this is the child in which the test runs, with a resolv.conf that names these servers.
fn with_servers(family: Family, test: &str, servers: &[SocketAddr]) -> bool {
    if !isolated(&family.test(test), Isolation::Resolver) {
        return false;
    }
    for server in servers {
        if let IpAddr::V6(ip) = server.ip()
            && ip.segments()[0] == 0xfd00
            && UdpSocket::bind((ip, 0)).is_err()
        {
            add_loopback_address(ip);
        }
    }
    let lines: String = servers.iter().map(|server| format!("nameserver {}\n", server.ip())).collect();
    std::fs::write(child::resolv_conf_path(), lines).expect("the file is ours");
    true
}

/// A server's socket.
fn listening(at: SocketAddr) -> UdpSocket {
    let socket = UdpSocket::bind(at).expect("port 53 of a new namespace is free");
    socket.set_nonblocking(true).unwrap();
    socket
}

/// A query for an address of "a.test".
fn query(id: u16) -> Vec<u8> {
    let header = [&id.to_be_bytes()[..], &[1, 0, 0, 1, 0, 0, 0, 0, 0, 0]].concat();
    [&header[..], b"\x01a\x04test\0\0\x01\0\x01"].concat()
}

/// The answer to a query.
fn answer(query: &[u8]) -> Vec<u8> {
    let mut answer = query.to_vec();
    answer[2] |= 0x80;
    answer
}

/// The guest asks.
fn ask(i: &Instance, family: Family, port: u16, query: &[u8]) {
    i.input(&family.udp_frame(port, (family.name_server(), 53).into(), query));
}

/// What a server was asked, each with who asked. The clock of the library stands still meanwhile.
fn asked(i: &Instance, server: &UdpSocket) -> Vec<(Vec<u8>, SocketAddr)> {
    i.settle();
    let mut buffer = [0; 2048];
    std::iter::from_fn(|| server.recv_from(&mut buffer).ok().map(|(length, from)| (buffer[..length].to_vec(), from)))
        .collect()
}

/// The server answers all that it was asked; how much that was.
fn serve(i: &Instance, server: &UdpSocket) -> usize {
    let asked = asked(i, server);
    for (query, from) in &asked {
        server.send_to(&answer(query), from).unwrap();
    }
    asked.len()
}

/// An answer, with where it came from and the port it went to.
type Answer = (SocketAddr, u16, Vec<u8>);

/// What the guest was told: answers and errors.
fn told(i: &Instance, family: Family) -> (Vec<Answer>, Vec<(u8, u8)>) {
    let frames = i.settled();
    let answers = frames.iter().filter_map(|frame| family.udp_of(frame)).collect();
    (answers, frames.iter().filter_map(|frame| family.icmp_of(frame)).collect())
}

/// What the guest is told by one answer of its name server.
fn answered(family: Family, port: u16, query: &[u8]) -> Answer {
    ((family.name_server(), 53).into(), port, answer(query))
}

/// The error for a port on which nobody listens.
fn port_unreachable(family: Family) -> (u8, u8) {
    family.pick((3u8, 3u8), (1u8, 4u8))
}

fn earnest_dns_a_refused_query_goes_to_the_next_server(family: Family) {
    let [first, second, third] = [71, 72, 73].map(|number| family.server(number));
    let test = "earnest_dns_a_refused_query_goes_to_the_next_server";
    if !with_servers(family, test, &[first, second, third]) || !ours("dns-failover") {
        return;
    }
    let good = listening(third);
    let i = family.greeted();
    for id in 1..20 {
        ask(&i, family, 5000, &query(id));
        assert_eq!(serve(&i, &good), 1, "query {id}");
        assert_eq!(told(&i, family), (vec![answered(family, 5000, &query(id))], vec![]), "query {id}");
    }
    // After ten seconds the first one is tried again, and has come to life.
    let first = listening(first);
    i.advance(Duration::from_secs(11));
    ask(&i, family, 5000, &query(20));
    assert_eq!((serve(&i, &first), serve(&i, &good)), (1, 0));
    assert_eq!(told(&i, family), (vec![answered(family, 5000, &query(20))], vec![]));
}

/// As libraries ask for the addresses of both families at once, from one port.
fn earnest_dns_all_queries_of_a_client_go_to_the_next_server(family: Family) {
    let [first, second] = [71, 72].map(|number| family.server(number));
    let test = "earnest_dns_all_queries_of_a_client_go_to_the_next_server";
    if !with_servers(family, test, &[first, second]) || !ours("dns-failover") {
        return;
    }
    let good = listening(second);
    let i = family.greeted();
    for id in 1..=3 {
        ask(&i, family, 5000, &query(id));
    }
    // A second client, which must not be confused with the first one.
    ask(&i, family, 5001, &query(1));
    assert_eq!(serve(&i, &good), 4);
    let (mut answers, errors) = told(&i, family);
    answers.sort();
    let mut wanted: Vec<_> = (1..=3).map(|id| answered(family, 5000, &query(id))).collect();
    wanted.push(answered(family, 5001, &query(1)));
    assert_eq!((answers, errors), (wanted, vec![]));
}

fn earnest_dns_a_refusal_by_all_servers_is_told_at_once(family: Family) {
    let [first, second] = [71, 72].map(|number| family.server(number));
    let test = "earnest_dns_a_refusal_by_all_servers_is_told_at_once";
    for servers in [&[first][..], &[first, second]] {
        if !with_servers(family, test, servers) {
            return;
        }
        let i = family.greeted();
        ask(&i, family, 5000, &query(1));
        let (answers, errors) = told(&i, family);
        assert_eq!((answers.len(), &errors[..]), (0, &[port_unreachable(family)][..]), "{servers:?}");
        // As what no server can answer: it is no query.
        ask(&i, family, 5000, b"no query");
        assert_eq!(told(&i, family).1, [port_unreachable(family)], "{servers:?}");
        // Whoever asks again is heard by the one that has come to life meanwhile, whichever it is.
        let last = *servers.last().unwrap();
        if ours("dns-failover") || last == first {
            let alive = listening(last);
            ask(&i, family, 5000, &query(1));
            assert_eq!(serve(&i, &alive), 1, "{servers:?}");
            assert_eq!(told(&i, family), (vec![answered(family, 5000, &query(1))], vec![]), "{servers:?}");
        }
    }
}

fn earnest_dns_a_server_without_a_route_is_passed_over(family: Family) {
    // There is no route but to this host.
    let far: IpAddr = family.pick(Ipv4Addr::new(192, 0, 2, 1), Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1));
    let (far, near) = (SocketAddr::from((far, 53)), family.server(72));
    let test = "earnest_dns_a_server_without_a_route_is_passed_over";
    if !with_servers(family, test, &[far, near]) || !ours("dns-failover") {
        return;
    }
    let i = family.greeted();
    ask(&i, family, 5000, &query(1));
    assert_eq!(told(&i, family).1, [port_unreachable(family)], "the last one to refuse is the near one");
    let good = listening(near);
    for id in 2..5 {
        ask(&i, family, 5000, &query(id));
        assert_eq!(serve(&i, &good), 1, "query {id}");
        assert_eq!(told(&i, family), (vec![answered(family, 5000, &query(id))], vec![]), "query {id}");
    }
    drop(good);
    // None of them has a route.
    std::fs::write(child::resolv_conf_path(), format!("nameserver {}\n", far.ip())).unwrap();
    i.advance(Duration::from_secs(2));
    ask(&i, family, 5000, &query(9));
    let no_route = family.pick((3u8, 0u8), (1u8, 0u8));
    assert_eq!(told(&i, family).1, [no_route]);
}

fn earnest_dns_servers_of_the_other_family_come_last(family: Family) {
    let servers = [family.other().server(72), family.server(71), family.server(73)];
    if !with_servers(family, "earnest_dns_servers_of_the_other_family_come_last", &servers) || !ours("dns-failover") {
        return;
    }
    let i = family.greeted();
    let foreign = listening(servers[0]);
    for id in 1..5 {
        ask(&i, family, 5000, &query(id));
        assert_eq!(serve(&i, &foreign), 1, "query {id}");
        assert_eq!(told(&i, family), (vec![answered(family, 5000, &query(id))], vec![]), "query {id}");
    }
    // One of the guest's own family has come to life.
    let own = listening(servers[2]);
    ask(&i, family, 5000, &query(5));
    assert_eq!((serve(&i, &own), serve(&i, &foreign)), (1, 0));
    drop((own, foreign));
    i.settled();
    i.advance(Duration::from_secs(20));
    ask(&i, family, 5000, &query(6));
    let (answers, errors) = told(&i, family);
    assert_eq!((answers.len(), &errors[..]), (0, &[port_unreachable(family)][..]));
}

fn earnest_dns_the_late_answer_of_the_first_server_arrives(family: Family) {
    let [first, second] = [71, 72].map(|number| family.server(number));
    let test = "earnest_dns_the_late_answer_of_the_first_server_arrives";
    if !with_servers(family, test, &[first, second]) || !ours("dns-failover") {
        return;
    }
    let (slow, deaf) = (listening(first), listening(second));
    let i = family.greeted();
    ask(&i, family, 5000, &query(1));
    let at_first = asked(&i, &slow);
    i.advance(Duration::from_secs(1));
    ask(&i, family, 5000, &query(1));
    assert_eq!((at_first.len(), asked(&i, &deaf).len()), (1, 1), "the repetition goes to the second one");
    slow.send_to(&answer(&at_first[0].0), at_first[0].1).unwrap();
    assert_eq!(told(&i, family), (vec![answered(family, 5000, &query(1))], vec![]));
}

/// A connection of the guest to its name server works both ways.
fn talk(i: &Instance, family: Family, listener: &TcpListener) {
    let mut guest = Party::connect(i, family, (family.name_server(), 53));
    let mut host = accept(i, listener);
    guest.send(i, PSH | ACK, b"question");
    assert_eq!(host_read(i, &mut host, 8), b"question");
    host_write_some(&mut host, b"answer");
    assert_eq!(guest.receive(i, 6), b"answer");
}

fn listening_stream(at: SocketAddr) -> TcpListener {
    let listener = TcpListener::bind(at).expect("port 53 of a new namespace is free");
    listener.set_nonblocking(true).unwrap();
    listener
}

/// As a client has it that was told to ask again by TCP.
fn earnest_dns_a_refused_connection_goes_to_the_next_server(family: Family) {
    let test = "earnest_dns_a_refused_connection_goes_to_the_next_server";
    let servers = [family.server(71), family.server(72), family.other().server(73)];
    if !with_servers(family, test, &servers) || !ours("dns-failover") {
        return;
    }
    for alive in [servers[1], servers[2]] {
        // The last one is asked when there is one other server, of the other family.
        let named = [servers[0], alive].map(|server| format!("nameserver {}\n", server.ip())).concat();
        std::fs::write(child::resolv_conf_path(), named).unwrap();
        let listener = listening_stream(alive);
        let i = family.greeted();
        for _ in 0..3 {
            talk(&i, family, &listener);
        }
        drop(listener);
        i.advance(Duration::from_secs(11));
        let mut guest = Party::new(&i, family, (family.name_server(), 53));
        guest.send(&i, SYN, b"");
        guest.expect(&i, "a reset, as nobody is there", |s| s.has(RST));
    }
}

/// On a slow loopback the refusals come after the calls that asked.
fn earnest_dns_a_refusal_that_takes_its_time_leads_to_the_next_server(family: Family) {
    let test = "earnest_dns_a_refusal_that_takes_its_time_leads_to_the_next_server";
    let [first, second] = [71, 72].map(|number| family.server(number));
    if !with_servers(family, test, &[first, second]) || !ours("dns-failover") {
        return;
    }
    let slow = ["qdisc", "add", "dev", "lo", "root", "tbf", "rate", "64kbit", "burst", "1600", "latency", "20s"];
    if !std::process::Command::new("tc").args(slow).status().is_ok_and(|status| status.success()) {
        eprintln!("SKIPPED {test}: this machine has no tc, or no token bucket");
        return;
    }
    let (good, listener) = (listening(second), listening_stream(second));
    let i = family.greeted();
    // What the bucket lets through at once is used up.
    UdpSocket::bind("127.0.0.1:0").unwrap().send_to(&[0; 1500], ("127.0.0.1", 9)).unwrap();
    ask(&i, family, 5000, &query(1));
    let mut buffer = [0; 512];
    let (length, from) = i.until("the query at the second server", || good.recv_from(&mut buffer).ok());
    good.send_to(&answer(&buffer[..length]), from).unwrap();
    let got = i.wait("the answer", |frame| family.udp_of(frame));
    assert_eq!(got, answered(family, 5000, &query(1)));
    assert_eq!(told(&i, family), (vec![], vec![]));
    i.advance(Duration::from_secs(11));
    for _ in 0..2 {
        talk(&i, family, &listener);
    }
}

fn earnest_dns_the_unspecified_address_is_the_hosts_own_server(family: Family) {
    let test = "earnest_dns_the_unspecified_address_is_the_hosts_own_server";
    if !with_servers(family, test, &[(family.unspecified(), 53).into()]) {
        return;
    }
    let own = listening((family.loopback(), 53).into());
    let i = family.greeted();
    ask(&i, family, 5000, &query(1));
    assert_eq!(serve(&i, &own), 1);
    assert_eq!(told(&i, family), (vec![answered(family, 5000, &query(1))], vec![]));
    drop(own);
    ask(&i, family, 5000, &query(2));
    assert_eq!(told(&i, family).1, [port_unreachable(family)]);
}
