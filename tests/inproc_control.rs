//! The control socket of OXISLIRP_CONFIG through the C ABI. docs/control.md says what is promised.

mod common;
#[path = "common/control.rs"]
mod control;
use common::*;
use control::*;

use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;

use serde_json::{Value, json};

#[test]
fn a_client_is_greeted_and_the_socket_is_its_owners_alone_and_goes() {
    let folder = Folder::new("greeting");
    let i = start(&folder);
    assert_eq!(std::fs::metadata(folder.socket()).unwrap().permissions().mode() & 0o777, 0o600);
    let mut client = Client::new(&i, &folder);
    let version = client.ok(&i, "version", json!({}));
    assert_eq!((&version["protocol"], &version["process"]), (&json!(1), &json!(std::process::id())));
    drop(i);
    assert!(!folder.socket().exists());
}

#[test]
fn a_stale_socket_is_replaced_and_a_living_one_is_left_alone() {
    let folder = Folder::new("stale");
    drop(UnixListener::bind(folder.socket()).unwrap());
    assert!(folder.socket().exists());
    let i = start(&folder);
    Client::new(&i, &folder);
    assert!(try_start(&folder, "", Watch::AsItIs, Setup::default()).is_none());
    Client::new(&i, &folder);
    drop(i);
    std::fs::write(folder.socket(), "somebody's").unwrap();
    assert!(try_start(&folder, "", Watch::AsItIs, Setup::default()).is_none());
    assert_eq!(std::fs::read(folder.socket()).unwrap(), b"somebody's");
}

#[test]
fn half_a_line_waits_and_what_makes_no_sense_is_answered() {
    let folder = Folder::new("lines");
    let i = start(&folder);
    let mut client = Client::new(&i, &folder);
    client.stream.write_all(br#"{"id":"a","do":"#).unwrap();
    i.settle();
    assert_eq!(client.look(), Ok(None));
    client.stream.write_all(b"\"version\"}\r\n\n{\"id\":2,\"do\":\"version\"}\n").unwrap();
    assert_eq!(client.line(&i)["id"], "a");
    assert_eq!(client.line(&i)["id"], 2);
    for (line, kind) in [
        ("nonsense", "syntax"),
        ("[1]", "syntax"),
        ("\u{0}", "syntax"),
        (r#"{"do":"fly"}"#, "unknown"),
        (r#"{"do":"version","x":1}"#, "invalid"),
        (r#"{"do":"flows","most":0}"#, "invalid"),
    ] {
        client.stream.write_all(format!("{line}\n").as_bytes()).unwrap();
        let answer = client.line(&i);
        assert_eq!((&answer["id"], &answer["error"]["kind"]), (&Value::Null, &json!(kind)), "{line}");
    }
    client.stream.write_all(&[0xff, b'\n']).unwrap();
    assert_eq!(client.line(&i)["error"]["kind"], "syntax");
}

#[test]
fn a_line_without_an_end_is_the_end() {
    let folder = Folder::new("long");
    let i = start(&folder);
    let mut client = Client::new(&i, &folder);
    client.send_long(&i, &vec![b'x'; 1_100_000]);
    assert_eq!(client.line(&i)["error"]["kind"], "syntax");
    client.ended(&i);
    Client::new(&i, &folder);
}

/// Forwards of which no two are one entry, in pages; what has changed between two of these is in the next.

#[test]
fn a_policy_of_thousands_of_rules_comes_at_once_and_is_said_in_pages() {
    const RULES: usize = 9_000;
    let folder = Folder::new("thousands");
    let i = start(&folder);
    let mut c = Client::new(&i, &folder);
    // One of them has many addresses.
    let many: Vec<String> = (0..4_000).map(|n| format!("'198.18.{}.{}'", n / 250, n % 250)).collect();
    let mut text = format!("[[policy.rule]]\naction = 'deny'\nhost = [{}]\n", many.join(", "));
    for number in 1..RULES {
        let (high, low) = (number / 250, number % 250);
        text += &format!("[[policy.rule]]\naction = 'allow'\nprotocol = 'tcp'\nhost = '192.168.{high}.{low}'\n");
    }
    let line = format!("{}\n", json!({ "id": 1, "do": "policy.replace", "text": text }));
    assert!(c.send_long(&i, line.as_bytes()), "{} bytes", line.len());
    assert_eq!(c.line(&i), json!({ "id": 1, "ok": { "ended": 0 } }));
    c.send(&json!({ "id": 2, "do": "counters" }));
    let counters = c.line(&i).to_string();
    assert!(counters.len() < 1024, "{counters}");
    let (mut said, mut after, mut pages) = (0, json!(0), 0);
    loop {
        let page = c.ok(&i, "policy.show", json!({ "after": after }));
        let sentences = page["sentences"].as_array().unwrap();
        assert!(!sentences.is_empty() && sentences.len() <= 256);
        let text: usize = sentences.iter().map(|sentence| sentence.as_str().unwrap().len()).sum();
        assert!(text < 66_000, "{text}");
        if pages == 0 {
            assert!(sentences.len() < 256, "a long sentence leaves less room for others");
        }
        for sentence in sentences.iter().take(RULES - said) {
            said += 1;
            assert!(sentence.as_str().unwrap().starts_with(&format!("{said}: ")), "{said}");
        }
        pages += 1;
        match page.get("next") {
            Some(next) => after = next.clone(),
            None => break assert!(sentences.last().unwrap().as_str().unwrap().starts_with("default: ")),
        }
    }
    assert_eq!((said, pages >= RULES / 256), (RULES, true));
    let test = c.ok(&i, "policy.test", json!({ "to": "192.168.35.249:80" }));
    assert_eq!((&test["action"], &test["rule"]), (&json!("allow"), &json!(RULES)));
}

#[test]
fn two_clients_have_their_own_answers_and_the_ninth_is_turned_away() {
    let folder = Folder::new("many");
    let i = start(&folder);
    let mut clients: Vec<Client> = (0..8).map(|_| Client::new(&i, &folder)).collect();
    clients[0].send(&json!({"id": "first", "do": "version"}));
    clients[1].send(&json!({"id": "second", "do": "version"}));
    assert_eq!(clients[1].line(&i)["id"], "second");
    assert_eq!(clients[0].line(&i)["id"], "first");
    let mut ninth = Client::new(&i, &folder);
    assert_eq!(ninth.line(&i)["error"]["kind"], "limit");
    ninth.ended(&i);
    clients.pop();
    i.settle();
    Client::new(&i, &folder).ok(&i, "version", json!({}));
}

#[test]
fn a_client_that_reads_nothing_is_not_served_and_makes_room() {
    let folder = Folder::new("stall");
    let i = start(&folder);
    let mut deaf = Client::new(&i, &folder);
    let line = b"{\"do\":\"counters\"}\n".repeat(1000);
    // As much as is taken: a few requests a round.
    let mut sent = 0;
    let mut still = 0;
    while still < 10_000 {
        match deaf.stream.write(&line) {
            Ok(count) => (sent, still) = (sent + count, 0),
            Err(error) if error.kind() == ErrorKind::WouldBlock => still += 1,
            Err(error) => panic!("{error}"),
        }
        i.turn(Duration::ZERO);
        assert!(sent < 64 << 20, "it is served without an end");
    }
    // Others are served.
    let mut other = Client::new(&i, &folder);
    other.ok(&i, "version", json!({}));
    let others: Vec<Client> = (0..6).map(|_| Client::new(&i, &folder)).collect();
    // It goes for the next one.
    Client::new(&i, &folder).ok(&i, "version", json!({}));
    other.ok(&i, "version", json!({}));
    assert_eq!(others.len(), 6);
    let mut rest = Vec::new();
    deaf.stream.set_nonblocking(false).unwrap();
    let _ = deaf.stream.read_to_end(&mut rest);
}

#[test]
fn a_flood_of_requests_leaves_the_guest_its_turns() {
    let folder = Folder::new("flood");
    let i = start(&folder);
    let mut client = Client::new(&i, &folder);
    let flood = b"{\"do\":\"version\"}\n".repeat(4096);
    let mut sent = 0;
    let mut answers = 0;
    for round in 0..50 {
        if let Ok(count) = client.stream.write(&flood[sent % 17..]) {
            sent += count;
        }
        i.input(&Ip::new(Ipv4Addr::new(10, 0, 2, 2), 1).frame(&echo_request(7, round, b"x")));
        i.turn(Duration::ZERO);
        let pings = i.drain().iter().filter(|frame| frame.icmp().is_some()).count();
        assert_eq!(pings, 1, "round {round}");
        let before = answers;
        while let Ok(Some(_)) = client.look() {
            answers += 1;
        }
        assert!(answers - before <= 64, "{} answers in one round", answers - before);
    }
    assert!(answers > 100, "{answers}");
}

#[test]
fn in_direct_mode_the_application_watches_it() {
    let folder = Folder::new("direct");
    let i = try_start(&folder, "", Watch::Directly, Setup::default()).unwrap();
    i.settle();
    let mut c = Client::new(&i, &folder);
    c.ok(&i, "version", json!({}));
    let first = free_ports(700);
    let range = format!("127.0.0.1:{first}-{}", first + 699);
    assert_eq!(c.ok(&i, "forward.add", forward(&range, ":80"))["added"], 700);
    leads_to(&i, first + 650, 80);
    let one = json!({ "protocol": "tcp", "listen": range });
    // Whoever names it again and again has nobody look for millions.
    let often = json!({ "forwards": vec![one.clone(); 200] });
    assert_eq!(c.refused(&i, "forward.remove", often).0, "limit");
    assert_eq!(c.ok(&i, "forward.remove", json!({ "forwards": [one] }))["removed"], 700);
    // Each descriptor was told of, and taken back.
    drop(c);
    i.settle();
    let mut again = Client::new(&i, &folder);
    again.ok(&i, "counters", json!({}));
}

#[test]
fn flows_are_told_with_bytes_age_and_rule_a_page_at_a_time() {
    let folder = Folder::new("flows");
    let rules =
        "[policy]\ndefault = 'allow'\n[[policy.rule]]\naction = 'allow'\nprotocol = 'tcp'\nhost = '127.0.0.1'\n";
    let i = start_with(&folder, rules);
    let (listener, port) = tcp_listener();
    let mut guest = Conn::connect(&i, at_vhost(port));
    let mut host = accept(&i, &listener);
    guest.send(&i, ACK | PSH, b"hello");
    assert_eq!(host_read(&i, &mut host, 5), b"hello");
    let (peer, udp_port) = udp_peer();
    for from in 0..4 {
        i.input(&udp_frame(5000 + from, at_vhost(udp_port), b"abc"));
        host_recv(&i, &peer);
    }
    i.move_clock(Duration::from_millis(2500));
    let mut c = Client::new(&i, &folder);
    let first = c.ok(&i, "flows", json!({ "most": 3 }));
    let flows = first["flows"].as_array().unwrap();
    assert_eq!(flows.len(), 3);
    let tcp = &flows[0];
    let expected = json!({ "protocol": "tcp", "direction": "out", "remote": format!("10.0.2.2:{port}"),
        "host": format!("127.0.0.1:{port}"), "state": "ESTABLISHED", "to_host": 5, "to_guest": 0, "by": "rule", "rule": 1 });
    for (name, value) in expected.as_object().unwrap() {
        assert_eq!(&tcp[name], value, "{name} of {tcp}");
    }
    assert!((2.4..3.0).contains(&tcp["seconds"].as_f64().unwrap()), "{tcp}");
    assert!(tcp["rtt"].as_f64().is_some(), "{tcp}");
    let rest = c.ok(&i, "flows", json!({ "after": first["next"] }));
    assert_eq!(rest["flows"].as_array().unwrap().len(), 2);
    assert!(rest.get("next").is_none());
    assert_eq!((&rest["flows"][1]["to_host"], &rest["flows"][1]["by"]), (&json!(3), &json!("default")));
    assert_eq!(c.ok(&i, "counters", json!({}))["udp"]["now"], 4);
}

#[test]
fn another_policy_ends_what_it_forbids_and_nothing_else() {
    let folder = Folder::new("policy");
    let i = start(&folder);
    let (allowed, allowed_port) = tcp_listener();
    let (forbidden, forbidden_port) = tcp_listener();
    let mut stays = Conn::connect(&i, at_vhost(allowed_port));
    let mut stays_host = accept(&i, &allowed);
    let goes = Conn::connect(&i, at_vhost(forbidden_port));
    let mut goes_host = accept(&i, &forbidden);
    let (peer, udp_port) = udp_peer();
    let question = udp_frame(5000, at_vhost(udp_port), b"abc");
    i.input(&question);
    let (_, flow) = host_recv(&i, &peer);
    let mut c = Client::new(&i, &folder);
    // What makes no sense changes nothing.
    let (kind, message) = c.refused(&i, "policy.replace", json!({ "text": "[policy]\ndefault = 'alow'\n" }));
    assert!(kind == "invalid" && message.starts_with("text:2: policy.default: "), "{message}");
    i.drain();
    let text = format!(
        "[policy]\n[[policy.rule]]\naction = 'allow'\nprotocol = 'tcp'\nhost = '127.0.0.1'\nhost-port = {allowed_port}\n"
    );
    assert_eq!(c.ok(&i, "policy.replace", json!({ "text": text })), json!({ "ended": 2 }));
    let resets: Vec<u16> =
        i.drain().iter().filter_map(Frame::tcp).filter(|s| s.has(RST)).map(|s| s.dst.port()).collect();
    assert_eq!(resets, [goes.guest.port()]);
    assert_eq!(host_end(&i, &mut goes_host).1, End::Reset);
    // Neither way of the datagrams is open.
    peer.send_to(b"answer", flow).unwrap();
    i.settle();
    assert!(i.drain().iter().all(|frame| frame.udp().is_none()));
    assert!(i.answer(&question).iter().any(|frame| frame.icmp().is_some()));
    stays.send(&i, ACK | PSH, b"on");
    assert_eq!(host_read(&i, &mut stays_host, 2), b"on");
    let test = |to: &str| json!({ "to": to });
    let denied = c.ok(&i, "policy.test", test(&format!("10.0.2.2:{forbidden_port}")));
    assert_eq!(denied, json!({ "action": "deny", "by": "default", "host": format!("127.0.0.1:{forbidden_port}") }));
    assert_eq!(c.ok(&i, "policy.test", test(&format!("10.0.2.2:{allowed_port}")))["rule"], 1);
    assert_eq!(c.ok(&i, "policy.test", json!({ "protocol": "udp", "to": "10.0.2.3:53" }))["service"], "dns");
    for (protocol, to, service, action) in [
        ("icmp", "10.0.2.2", "echo", "allow"),
        ("icmp", "10.0.2.3", "echo", "allow"),
        ("icmp", "fe80::2", "echo", "allow"),
        ("udp", "10.0.2.2:67", "dhcp", "allow"),
        ("udp", "10.0.2.2:69", "tftp", "deny"),
    ] {
        let test = c.ok(&i, "policy.test", json!({ "protocol": protocol, "to": to }));
        assert_eq!((&test["service"], &test["action"]), (&json!(service), &json!(action)), "{protocol} {to}");
    }
    assert_eq!(c.ok(&i, "policy.test", json!({ "protocol": "icmp", "to": "192.0.2.1" }))["service"], Value::Null);
    assert_eq!(c.ok(&i, "policy.test", json!({ "from": "192.0.2.1:1" }))["action"], "deny");
    assert_eq!(c.refused(&i, "policy.test", json!({})).0, "invalid");
    assert_eq!(c.refused(&i, "policy.test", test("10.0.2.2")).0, "invalid");
}

#[test]
fn a_policy_that_wants_names_knows_those_that_it_has_heard() {
    let folder = Folder::new("names");
    let (listener, port) = tcp_listener();
    let wants = |name: &str| {
        let rule = format!("action = 'allow'\nprotocol = 'tcp'\nhost = '127.0.0.1'\nname = '{name}'\nhttp = 'host'\n");
        format!("[policy]\n[[policy.rule]]\n{rule}")
    };
    let i = start_with(&folder, &wants("*.example.org"));
    let mut guest = Conn::connect(&i, at_vhost(port));
    let request = b"GET / HTTP/1.1\r\nHost: www.example.org\r\n\r\n";
    guest.send(&i, ACK | PSH, request);
    let mut host = accept(&i, &listener);
    assert_eq!(host_read(&i, &mut host, request.len()), request);
    let mut c = Client::new(&i, &folder);
    let flow = &c.ok(&i, "flows", json!({}))["flows"][0];
    assert_eq!((&flow["name"], &flow["by"], &flow["rule"]), (&json!("www.example.org"), &json!("rule"), &json!(1)));
    assert_eq!(c.ok(&i, "policy.replace", json!({ "text": wants("www.example.org") })), json!({ "ended": 0 }));
    let test = c.ok(&i, "policy.test", json!({ "to": format!("10.0.2.2:{port}") }));
    assert_eq!((&test["action"], &test["by"]), (&json!("deny"), &json!("hello")));
    let named = c.ok(&i, "policy.test", json!({ "to": "www.example.org:80" }));
    assert_eq!(named, json!({ "action": "deny", "by": "default" }), "it is at no address of the internet");
    assert_eq!(c.ok(&i, "policy.replace", json!({ "text": wants("mail.example.org") })), json!({ "ended": 1 }));
    assert_eq!(host_end(&i, &mut host).1, End::Reset);
}

#[test]
fn what_goes_elsewhere_than_another_policy_leads_it_ends() {
    let folder = Folder::new("led");
    let ((there, port), (elsewhere, other_port)) = (tcp_listener(), tcp_listener());
    let leads = |to: u16| {
        let rule = "action = 'allow'\nprotocol = 'tcp'\nhost = '127.0.0.1'\n";
        format!("[policy]\n[[policy.rule]]\n{rule}redirect = '127.0.0.1:{to}'\n")
    };
    let direct = "[policy]\ndefault = 'allow'\n";
    let i = start_with(&folder, direct);
    let mut c = Client::new(&i, &folder);
    let _guest = Conn::connect(&i, at_vhost(port));
    let mut host = accept(&i, &there);
    assert_eq!(c.ok(&i, "policy.replace", json!({ "text": direct })), json!({ "ended": 0 }));
    assert_eq!(c.ok(&i, "policy.replace", json!({ "text": leads(other_port) })), json!({ "ended": 1 }));
    assert_eq!(host_end(&i, &mut host).1, End::Reset);
    let _guest = Conn::connect(&i, at_vhost(port));
    let mut host = accept(&i, &elsewhere);
    assert_eq!(c.ok(&i, "policy.replace", json!({ "text": leads(other_port) })), json!({ "ended": 0 }));
    assert_eq!(c.ok(&i, "policy.replace", json!({ "text": direct })), json!({ "ended": 1 }));
    assert_eq!(host_end(&i, &mut host).1, End::Reset);
}

/// Datagrams go on by the way that a rule has led them while nothing may begin, and afterwards; they end where another policy leads them by
/// another.

#[test]
fn datagrams_that_are_led_elsewhere_stay_there_while_it_drains_and_go_with_their_policy() {
    let folder = Folder::new("led-datagrams");
    let ((proxy, port), (relay, relay_port), (led, led_port)) = (tcp_listener(), udp_peer(), udp_peer());
    let text = |more: &str| {
        format!(
            "[policy]\n{more}[[policy.rule]]\naction = 'allow'\nprotocol = 'udp'\nhost = '192.0.2.0/24'\n\
             proxy = 'socks5://127.0.0.1:{port}'\n[[policy.rule]]\naction = 'allow'\nprotocol = 'udp'\n\
             host = '198.51.100.0/24'\nredirect = '127.0.0.1:{led_port}'\n"
        )
    };
    let i = start_with(&folder, &text(""));
    let mut c = Client::new(&i, &folder);
    let associate = || {
        let mut stream = accept(&i, &proxy);
        assert_eq!(host_read(&i, &mut stream, 3), [5, 1, 0]);
        stream.write_all(&[5, 0]).unwrap();
        host_read(&i, &mut stream, 10);
        stream.write_all(&[&[5, 0, 0, 1, 0, 0, 0, 0][..], &relay_port.to_be_bytes()].concat()).unwrap();
        stream
    };
    let far = |number: u8| at(Ipv4Addr::new(192, 0, 2, number), 53);
    let through = |to: SocketAddrV4| {
        i.input(&udp_frame(4000, to, b"question"));
        let (data, from) = host_recv(&i, &relay);
        assert!(data.ends_with(b"question") && data.starts_with(&[0, 0, 0, 1, 192, 0, 2]), "{data:?}");
        relay.send_to(&data, from).unwrap();
        assert_eq!(i.wait_udp("the answer").1.src, to);
    };
    let elsewhere = || {
        i.input(&udp_frame(4001, at(Ipv4Addr::new(198, 51, 100, 1), 53), b"question"));
        let (_, from) = host_recv(&i, &led);
        led.send_to(b"answer", from).unwrap();
        assert_eq!(i.wait_udp("the answer").1.src.ip(), &Ipv4Addr::new(198, 51, 100, 1));
    };
    i.input(&udp_frame(4000, far(9), b"question"));
    let mut stream = associate();
    host_recv(&i, &relay);
    through(far(9));
    elsewhere();
    c.ok(&i, "drain", json!({}));
    through(far(9));
    elsewhere();
    assert_eq!(i.answer(&udp_frame(4000, far(10), b"new")).len(), 1, "nothing begins");
    host_gets_nothing(&i, &relay);
    c.ok(&i, "resume", json!({}));
    through(far(9));
    through(far(10));
    elsewhere();
    host_idle(&mut stream);
    // The same policy, and another that leads it by the same way, change nothing.
    for same in ["", "rebind = 'allow'\n"] {
        assert_eq!(c.ok(&i, "policy.replace", json!({ "text": text(same) })), json!({ "ended": 0 }));
        through(far(10));
        host_idle(&mut stream);
    }
    let other = text("").replace(&format!("127.0.0.1:{port}"), &format!("me:secret@127.0.0.1:{port}"));
    assert_eq!(c.ok(&i, "policy.replace", json!({ "text": other })), json!({ "ended": 1 }));
    host_end(&i, &mut stream);
    c.ok(&i, "policy.replace", json!({ "text": text("") }));
    i.input(&udp_frame(4000, far(9), b"question"));
    let mut stream = associate();
    host_recv(&i, &relay);
    through(far(9));
    let direct = "[policy]\ndefault = 'allow'\n";
    c.ok(&i, "policy.replace", json!({ "text": direct }));
    host_end(&i, &mut stream);
}

#[test]
fn a_policy_that_drops_tells_the_guest_nothing_and_clients_of_a_forward_go() {
    let folder = Folder::new("drop");
    let i = start(&folder);
    let mut c = Client::new(&i, &folder);
    let (listener, port) = tcp_listener();
    let _guest = Conn::connect(&i, at_vhost(port));
    let mut host = accept(&i, &listener);
    let udp = json!({ "forwards": [{ "protocol": "udp", "listen": "127.0.0.1:0", "guest": "10.0.2.15:53" }] });
    let at: SocketAddr = c.ok(&i, "forward.add", udp)["bound"][0].as_str().unwrap().parse().unwrap();
    let (peer, _) = udp_peer();
    peer.send_to(b"in", at).unwrap();
    let came = i.wait("a datagram for the guest", |frame| frame.udp());
    let back = udp_frame(53, came.src, b"back");
    i.input(&back);
    host_recv(&i, &peer);
    i.drain();
    c.ok(&i, "policy.replace", json!({ "text": "[policy]\ndefault = 'drop'\n" }));
    assert_eq!(host_end(&i, &mut host).1, End::Reset);
    assert_eq!(i.drain().len(), 0);
    peer.send_to(b"in", at).unwrap();
    i.settle();
    assert!(i.answer(&back).is_empty());
    host_gets_nothing(&i, &peer);
}

#[test]
fn a_record_that_an_error_has_ended_is_told_of_once() {
    let folder = Folder::new("records");
    let i = start(&folder);
    let mut c = Client::new(&i, &folder);
    for word in ["capture.stop", "log.stop"] {
        assert_eq!(c.refused(&i, word, json!({})).0, "missing");
    }
    c.ok(&i, "capture.start", json!({ "file": "/dev/full" }));
    // Requests are rounds, in which the error is met.
    for _ in 0..3 {
        c.ok(&i, "counters", json!({}));
    }
    let stopped = c.ok(&i, "capture.stop", json!({}));
    assert!(stopped["ended"].as_str().is_some_and(|why| why.contains("/dev/full has ended: ")), "{stopped}");
    assert_eq!(c.refused(&i, "capture.stop", json!({})).0, "missing");
    // A device is no ring.
    c.ok(&i, "capture.start", json!({ "file": "/dev/null" }));
    assert_eq!(c.ok(&i, "capture.stop", json!({})), json!({ "captured": 0, "dropped": 0 }));
    assert!(["/dev/null.1", "/dev/full.1"].iter().all(|path| !std::path::Path::new(path).exists()));
}

#[test]
fn records_are_begun_as_they_are_asked_for_or_refused() {
    let folder = Folder::new("begun");
    let i = start(&folder);
    let mut c = Client::new(&i, &folder);
    let path = folder.0.join("record").display().to_string();
    let refused = |c: &mut Client, word: &str, more: serde_json::Value| {
        let mut members = json!({ "file": path });
        members.as_object_mut().unwrap().append(&mut more.as_object().unwrap().clone());
        let (kind, message) = c.refused(&i, word, members);
        assert_eq!(kind, "invalid");
        message
    };
    for word in ["capture.start", "log.start"] {
        assert_eq!(refused(&mut c, word, json!({ "files": 65 })), "files: 65 is not 1 to 64");
        assert!(refused(&mut c, word, json!({ "max_bytes": 9 })).starts_with("max_bytes: 9 is not 1048576 or more"));
    }
    assert!(refused(&mut c, "log.start", json!({ "snap_length": 96 })).contains("unknown field `snap_length`"));
    // Nobody is to wait for frames that cannot come.
    let pings = json!({ "protocol": ["icmp"], "remote_port": ["7"] });
    assert_eq!(
        refused(&mut c, "capture.start", pings),
        "protocol: ICMP has no ports, so that no frame would be captured"
    );
    assert_eq!(refused(&mut c, "capture.start", json!({ "rule": [1] })), "rule: the policy in force has no rule 1");
    c.ok(&i, "policy.replace", json!({ "text": "[policy]\nrule = [{ action = 'allow', protocol = 'tcp' }]\n" }));
    assert_eq!(refused(&mut c, "capture.start", json!({ "rule": [1, 2] })), "rule: the policy in force has no rule 2");
    assert!(!std::path::Path::new(&path).exists());
    c.ok(&i, "capture.start", json!({ "file": path, "rule": [1], "files": 2 }));
    c.ok(&i, "capture.stop", json!({}));
    c.ok(&i, "log.start", json!({ "file": path, "files": 2, "max_bytes": 1 << 20 }));
    c.ok(&i, "log.stop", json!({}));
    let names = std::fs::read_dir(&folder.0).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    assert_eq!(names.filter(|name| name.starts_with("record")).count(), 2);
}

#[test]
fn what_is_refused_is_in_the_log_with_its_reason_and_as_the_guest_knows_it() {
    let folder = Folder::new("refused");
    let log = folder.0.join("log");
    let text = format!(
        "[log]\nfile = '{}'\nfiles = 1\n[policy]\nrule = [{{ action = 'allow', direction = 'out' }}]\n",
        log.display()
    );
    let i = start_with(&folder, &text);
    let mut c = Client::new(&i, &folder);
    let port = free_ports(1);
    c.ok(&i, "forward.add", forward(&format!("127.0.0.1:{port}"), &format!("{GUEST}:22")));
    let turned_away = client(port);
    i.settle();
    c.ok(&i, "drain", json!({}));
    let (_listener, open) = tcp_listener();
    Conn::try_connect(&i, at_vhost(open), &[]);
    drop((turned_away, i));
    let text = std::fs::read_to_string(&log).unwrap();
    let refused: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .filter(|line: &Value| line["event"] == "refused")
        .collect();
    let words: Vec<(&str, &str, &str)> = refused
        .iter()
        .map(|line| {
            let remote = line["remote"].as_str().unwrap().split(':').next().unwrap();
            (line["direction"].as_str().unwrap(), remote, line["reason"].as_str().unwrap())
        })
        .collect();
    assert_eq!(words, [("in", "10.0.2.2", "policy"), ("out", "10.0.2.2", "draining")], "{text}");
    assert!(refused[0]["host"].as_str().unwrap().starts_with("127.0.0.1:"), "{text}");
}

/// slirp4netns, say, gives its guest another address than the one that DHCP begins with.
#[test]
fn who_comes_to_the_guest_comes_to_where_it_is() {
    let folder = Folder::new("elsewhere");
    let elsewhere = Ipv4Addr::new(10, 0, 2, 100);
    let text = "[policy]\nrule = [{ action = 'allow', direction = 'in', guest = '10.0.2.100' }]\n";
    let i = try_start(&folder, text, Watch::AsItIs, Setup::default().silent()).expect("the file makes sense");
    let mut c = Client::new(&i, &folder);
    let mut test = |i: &Instance| {
        let answer = c.ok(i, "policy.test", json!({ "protocol": "tcp", "from": "192.0.2.1", "guest": ":22" }));
        (answer["guest"].clone(), answer["action"].clone())
    };
    assert_eq!(test(&i), (json!(format!("{GUEST}:22")), json!("deny")), "nobody was heard of");
    i.input(&arp(2, GUEST_MAC, elsewhere, VHOST_MAC, VHOST));
    assert_eq!(test(&i), (json!("10.0.2.100:22"), json!("allow")));
}

/// The connection with the name server was there before, so that no draining has refused the question.
#[test]
fn a_question_that_the_policy_refuses_is_the_policys_also_while_the_network_is_drained() {
    let folder = Folder::new("drain-question");
    let log = folder.0.join("log");
    let text = format!(
        "[log]\nfile = '{}'\nfiles = 1\n[policy]\n[[policy.rule]]\naction = 'allow'\nservice = 'dns'\n\
         [[policy.rule]]\naction = 'allow'\nname = 'allowed.test'\n",
        log.display()
    );
    let i = start_with(&folder, &text);
    let mut guest = Conn::connect(&i, at(VDNS, 53));
    let mut c = Client::new(&i, &folder);
    c.ok(&i, "drain", json!({}));
    let query = [&[0, 29, 0, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0], &b"\x06denied\x04test\0"[..], &[0, 1, 0, 1]].concat();
    guest.data(&i, &query);
    assert_eq!(guest.receive(&i, query.len()).1[5] & 15, 5, "it is refused");
    drop(i);
    let text = std::fs::read_to_string(&log).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let refused: Vec<Value> = lines.filter(|line| line["event"] == "refused").collect();
    assert_eq!((refused.len(), &refused[0]["reason"]), (1, &json!("policy")), "{text}");
}

#[test]
fn a_drained_network_begins_nothing_and_ends_when_the_rest_has() {
    let folder = Folder::new("drain");
    let i = start(&folder);
    let (listener, port) = tcp_listener();
    let mut guest = Conn::connect(&i, at_vhost(port));
    let mut host = accept(&i, &listener);
    let (peer, udp_port) = udp_peer();
    let to = at_vhost(udp_port);
    i.input(&udp_frame(5000, to, b"abc"));
    let (_, flow) = host_recv(&i, &peer);
    let mut c = Client::new(&i, &folder);
    assert_eq!(c.ok(&i, "drain", json!({})), json!({ "flows": 2 }));
    assert_eq!(c.ok(&i, "version", json!({}))["draining"], true);
    i.drain();
    // What there is goes on, both ways.
    guest.send(&i, ACK | PSH, b"on");
    assert_eq!(host_read(&i, &mut host, 2), b"on");
    i.input(&udp_frame(5000, to, b"again"));
    assert_eq!(host_recv(&i, &peer).0, b"again");
    peer.send_to(b"answer", flow).unwrap();
    i.wait("an answer", |frame| frame.udp());
    // Nothing else begins.
    i.drain();
    let reply = Conn::try_connect(&i, at_vhost(port), &[]);
    assert!(matches!(reply, Reply::Reset(..)), "{reply:?}");
    i.input(&udp_frame(5001, to, b"new"));
    host_gets_nothing(&i, &peer);
    c.send(&json!({ "id": "end", "do": "drain", "wait": true }));
    i.settle();
    assert_eq!(c.look(), Ok(None));
    guest.send(&i, RST | ACK, b"");
    i.move_clock(Duration::from_secs(250));
    i.turn(Duration::ZERO);
    for _ in 0..60 {
        i.move_clock(Duration::from_secs(5));
        i.turn(Duration::ZERO);
    }
    assert_eq!(c.line(&i), json!({ "id": "end", "ok": { "flows": 0 } }));
    c.ok(&i, "resume", json!({}));
    i.input(&udp_frame(5001, to, b"new"));
    assert_eq!(host_recv(&i, &peer).0, b"new");
}

/// The same members, whatever their values are; of a list, those of its first one.
fn alike(wanted: &Value, got: &Value) -> bool {
    match (wanted, got) {
        (Value::Object(wanted), Value::Object(got)) => {
            wanted.len() == got.len()
                && wanted.iter().all(|(name, wanted)| got.get(name).is_some_and(|got| alike(wanted, got)))
        }
        (Value::Array(wanted), Value::Array(got)) => match (wanted.first(), got.first()) {
            (Some(wanted), Some(got)) => alike(wanted, got),
            (wanted, got) => wanted.is_none() == got.is_none(),
        },
        (wanted, got) => std::mem::discriminant(wanted) == std::mem::discriminant(got),
    }
}

#[test]
fn what_the_page_shows_is_what_is_answered() {
    if !isolated("what_the_page_shows_is_what_is_answered", Isolation::Network) {
        return;
    }
    let folder = Folder::new("page");
    let i = start(&folder);
    let mut c = Client::new(&i, &folder);
    let page = include_str!("../docs/control.md");
    let mut shown = 0;
    let mut lines = page.lines();
    while let Some(line) = lines.next() {
        let Some(request) = line.strip_prefix("→ ") else { continue };
        let answer = lines.next().and_then(|line| line.strip_prefix("← ")).expect("an answer behind each request");
        let wanted: Value = serde_json::from_str(answer).unwrap();
        c.stream.write_all(format!("{request}\n").as_bytes()).unwrap();
        let got = c.line(&i);
        assert!(alike(&wanted, &got) && wanted["id"] == got["id"], "{request}\n{got}\n{wanted}");
        shown += 1;
    }
    assert!(shown >= 20, "{shown}");
    for name in ["pcapng", "pcapng.1", "jsonl"] {
        std::fs::remove_file(format!("/tmp/oxislirp-page.{name}")).unwrap();
    }
    // Every request that there is, is on the page.
    let source = include_str!("../engine/src/control/request.rs");
    let words = source.lines().filter_map(|line| line.trim().strip_prefix('"')?.split_once("\" =>"));
    let words: Vec<&str> = words.map(|(word, _)| word).collect();
    assert!(words.len() >= 15, "{words:?}");
    for word in words {
        assert!(page.contains(&format!("\"do\":\"{word}\"")), "{word}");
    }
}
