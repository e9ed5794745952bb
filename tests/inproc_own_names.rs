//! Names of the virtual network's own, servers of single domains, and the names that proxies and the log are told, through the C ABI.
//! docs/dns.md and docs/policy.md say what is promised.

mod common;
#[path = "common/names.rs"]
mod names;
use common::*;
use names::*;
use std::net::IpAddr;

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
        // Of several names of the address it is the one that was asked for last.
        for name in ["www.allowed.test", "other.allowed.test", "www.allowed.test"] {
            ask(&i, &server, name, &[address(name, "93.184.216.34", 300)]);
        }
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

#[test]
fn names_are_in_the_log_with_the_flows_that_they_opened() {
    if !names("names_are_in_the_log_with_the_flows_that_they_opened") {
        return;
    }
    let path = std::env::temp_dir().join(format!("oxislirp-names-{}.jsonl", std::process::id()));
    let text = format!(
        "[log]\nfile = '{}'\nfiles = 1\n[policy]\nrebind = 'allow'\nrule = [\n{{ action = 'allow', service = 'dns' }},\n\
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
        "[log]\nfile = '{}'\nfiles = 1\n[policy]\nrule = [\n{{ action = 'allow', service = 'dns' }},\n\
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
        "[log]\nfile = '{}'\nfiles = 1\n[dns]\nhost-alias = 'host.internal'\n[policy]\nrule = [\n\
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
