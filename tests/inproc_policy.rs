//! The policy of OXISLIRP_CONFIG through the C ABI: what it keeps the guest from, by every road that leads there. docs/policy.md
//! says what is promised.

mod common;
use common::target::{FORWARD, save, with_taken};
use common::*;
use std::io::Read;
use std::net::{IpAddr, SocketAddr};
use std::sync::Mutex;

/// ICMP's "administratively prohibited".
const PROHIBITED: (u8, u8) = (3, 13);
const PROHIBITED6: (u8, u8) = (1, 1);

/// The environment is everybody's: instances are made one at a time. How many files were made.
static ENVIRONMENT: Mutex<u32> = Mutex::new(0);

/// An instance under a file with this text; `None` when `slirp_new` refuses it.
fn try_under(text: &str, setup: Setup) -> Option<Box<Instance>> {
    let mut number = ENVIRONMENT.lock().unwrap_or_else(|poison| poison.into_inner());
    *number += 1;
    let path = std::env::temp_dir().join(format!("oxislirp-policy-{}-{number}.toml", std::process::id()));
    std::fs::write(&path, text).unwrap();
    let instance = start_with(path.to_str().unwrap(), setup);
    std::fs::remove_file(&path).unwrap();
    instance
}

/// The variable has this value while the instance is made. To be called by one thread at a time.
fn start_with(variable: &str, setup: Setup) -> Option<Box<Instance>> {
    // SAFETY: instances are made here only, by one thread at a time, and nothing else in this program looks at the environment.
    unsafe { std::env::set_var("OXISLIRP_CONFIG", variable) };
    let instance = setup.try_start();
    // SAFETY: as above.
    unsafe { std::env::remove_var("OXISLIRP_CONFIG") };
    instance
}

fn under_with(text: &str, setup: Setup) -> Box<Instance> {
    let i = try_under(text, setup).expect("the file makes sense");
    i.settle();
    i.drain();
    i
}

/// An instance with both families whose guest is known by both.
fn under(text: &str) -> Box<Instance> {
    let i = under_with(text, setup6());
    i.greet6(GUEST6);
    i.settle();
    i.drain();
    i
}

fn family_of(ip: IpAddr) -> Family {
    if ip.is_ipv4() { Family::V4 } else { Family::V6 }
}

/// Everything that leads to the host's loopback, of one family.
fn roads(v6: bool) -> Vec<IpAddr> {
    let v4 = ["10.0.2.2", "127.0.0.1", "127.0.0.2", "127.255.255.254", "0.0.0.0", "255.255.255.255"];
    let six = [
        "fec0::2",
        "fec0::9",
        "fe80::2",
        "::1",
        "::",
        "ff02::1",
        "::ffff:127.0.0.1",
        "::ffff:10.0.2.2",
        "::127.0.0.1",
        "64:ff9b::127.0.0.1",
    ];
    let all: &[&str] = if v6 { &six } else { &v4 };
    all.iter().map(|ip| ip.parse().unwrap()).collect()
}

/// What answers a SYN.
fn answer_to_syn(i: &Instance, to: SocketAddr) -> Vec<Heard> {
    let mut party = Party::new(i, family_of(to.ip()), to);
    party.send(i, SYN, b"");
    i.settle();
    let mut heard = Vec::new();
    while let Some(one) = i.take(|frame| party.heard(frame)) {
        heard.push(one);
    }
    i.drain();
    heard
}

fn nobody_came(i: &Instance, listener: &TcpListener, what: &str) {
    i.settle();
    assert!(listener.accept().is_err(), "{what}: a connection at the host");
}

#[test]
fn policy_tcp_reaches_what_a_rule_allows_and_is_reset_elsewhere() {
    let (open, open_port) = tcp_listener();
    let (shut, shut_port) = tcp_listener();
    let i = under(&format!(
        "[[policy.rule]]\naction = 'allow'\nprotocol = 'tcp'\nhost = '127.0.0.1'\nhost-port = {open_port}\n"
    ));
    let mut conn = Conn::connect(&i, at_vhost(open_port));
    let mut host = accept(&i, &open);
    conn.data(&i, b"hello");
    assert_eq!(host_read(&i, &mut host, 5), b"hello");
    // The same service by its own address is the same service.
    Conn::connect(&i, at(LOCALHOST, open_port));
    accept(&i, &open);
    for ip in roads(false).into_iter().chain(roads(true)) {
        let heard = answer_to_syn(&i, (ip, shut_port).into());
        assert!(heard.iter().all(|heard| heard.has(RST)), "{ip}: {heard:?}");
        // Nobody answers for a group.
        let group = ip.is_multicast() || ip == IpAddr::V4(Ipv4Addr::BROADCAST);
        assert_eq!(heard.is_empty(), group, "{ip}");
        nobody_came(&i, &shut, &ip.to_string());
    }
    assert!(matches!(Conn::try_connect(&i, at_vhost(shut_port), &[]), Reply::Reset(..)));
    // The allowed port at another address.
    assert!(matches!(Conn::try_connect(&i, at(Ipv4Addr::new(127, 0, 0, 2), open_port), &[]), Reply::Reset(..)));
    nobody_came(&i, &open, "another address");
}

#[test]
fn policy_the_other_loopback_is_no_way_around() {
    let listener = TcpListener::bind("[::1]:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let port = listener.local_addr().unwrap().port();
    // What the guest calls the virtual host is tried at ::1 when nobody is at 127.0.0.1.
    let open = under("[policy]\ndefault = 'allow'\n");
    Conn::connect(&open, at_vhost(port));
    accept(&open, &listener);
    let closed = under("[policy]\ndefault = 'allow'\n[[policy.rule]]\naction = 'deny'\nhost = '::1'\n");
    assert!(matches!(Conn::try_connect(&closed, at_vhost(port), &[]), Reply::Reset(..)));
    nobody_came(&closed, &listener, "the other loopback");
}

#[test]
fn policy_udp_is_judged_by_each_destination_of_a_flow() {
    let (open, open_port) = udp_peer();
    let (shut, shut_port) = udp_peer();
    let i = under(&format!(
        "[[policy.rule]]\naction = 'allow'\nprotocol = 'udp'\nhost = '127.0.0.1'\nhost-port = {open_port}\n"
    ));
    let send = |to: SocketAddr, data: &[u8]| i.input(&family_of(to.ip()).udp_frame(5000, to, data));
    send((VHOST, open_port).into(), b"one");
    let (data, from) = host_recv(&i, &open);
    assert_eq!(data, b"one");
    // The same flow, another destination.
    send((VHOST, shut_port).into(), b"no");
    assert_eq!(i.wait_icmp("a refusal").1.kind, 3);
    for ip in roads(false).into_iter().chain(roads(true)) {
        send((ip, shut_port).into(), b"no");
        send((ip, shut_port).into(), b"no");
        host_gets_nothing(&i, &shut);
    }
    i.drain();
    // Who may be asked may answer, and nobody else that knows the way.
    open.send_to(b"answer", from).unwrap();
    assert_eq!(i.wait_udp("the answer").1.data, b"answer");
    shut.send_to(b"unasked", from).unwrap();
    i.expect_silence();
    // Nor does it help to come between those who may, in one turn.
    for (peer, data) in
        [(&shut, "no"), (&open, "1"), (&open, "2"), (&shut, "no"), (&shut, "no"), (&open, "3"), (&shut, "no")]
    {
        peer.send_to(data.as_bytes(), from).unwrap();
    }
    for data in [b"1", b"2", b"3"] {
        assert_eq!(i.wait_udp("what may come").1.data, data);
    }
    i.expect_silence();
    // A burst goes on.
    for _ in 0..5 {
        send((VHOST, open_port).into(), b"more");
    }
    for _ in 0..5 {
        assert_eq!(host_recv(&i, &open).0, b"more");
    }
}

#[test]
fn policy_refusals_are_told_and_drops_are_not() {
    let i = under("[[policy.rule]]\naction = 'drop'\nhost-port = 7\n");
    let udp4 = |port| udp_frame(4000, at_vhost(port), b"x");
    let icmp_of = |family: Family| i.settled().iter().find_map(|frame| family.icmp_of(frame));
    i.input(&udp4(8));
    assert_eq!(icmp_of(Family::V4), Some(PROHIBITED));
    i.input(&Family::V6.udp_frame(4000, Family::V6.at_vhost(8), b"x"));
    assert_eq!(icmp_of(Family::V6), Some(PROHIBITED6));
    i.input(&Family::V4.ping_frame(1));
    assert_eq!(icmp_of(Family::V4), Some(PROHIBITED));
    i.input(&Family::V6.ping_frame(1));
    assert_eq!(icmp_of(Family::V6), Some(PROHIBITED6));
    i.input(&udp4(7));
    i.expect_silence();
    assert!(answer_to_syn(&i, (VHOST, 7).into()).is_empty());
    assert!(answer_to_syn(&i, Family::V6.at_vhost(7)).is_empty());
    assert!(answer_to_syn(&i, (VHOST, 8).into())[0].has(RST));
}

#[test]
fn policy_fragments_hide_no_port() {
    let (open, open_port) = udp_peer();
    let (shut, shut_port) = udp_peer();
    let i = under(&format!("[[policy.rule]]\naction = 'allow'\nhost = '127.0.0.1'\nhost-port = {open_port}\n"));
    let data = pattern(64);
    let cut = |to: u16, id: u16| {
        let datagram = udp(at(GUEST, 6000), at_vhost(to), &data);
        Ip { id, ..Ip::new(VHOST, UDP) }.fragments(&datagram, &[8, 16])
    };
    for piece in cut(open_port, 1) {
        i.input(&piece);
    }
    assert_eq!(host_recv(&i, &open).0, data);
    for piece in cut(shut_port, 2).iter().rev() {
        i.input(piece);
    }
    host_gets_nothing(&i, &shut);
    // A header of its own that lies over that of the other port.
    let (one, other) = (cut(open_port, 3), cut(shut_port, 3));
    for piece in [&other[1], &other[2], &one[0], &other[0]] {
        i.input(piece);
    }
    host_gets_nothing(&i, &shut);
    let cut6 = |to: u16| {
        let packet = Ip6::new(ip("fec0::2"), UDP);
        packet.fragments(&packet.udp_datagram(6000, to, &data), 16, to.into())
    };
    for piece in cut6(shut_port) {
        i.input(&piece);
    }
    host_gets_nothing(&i, &shut);
}

#[test]
fn policy_icmp_is_no_channel() {
    let i = under("[[policy.rule]]\naction = 'allow'\nprotocol = ['tcp', 'udp']\n");
    for (number, family) in [Family::V4, Family::V6].into_iter().enumerate() {
        i.input(&family.ping_frame(number as u16));
        i.settle();
    }
    assert!(i.flows("ICMP").is_empty(), "{}", i.connection_info());
    i.drain();
    // The virtual host answers for itself, until a rule forbids that.
    let ping = Ip::new(VHOST, ICMP).frame(&echo_request(1, 1, b"ping"));
    assert_eq!(i.answer(&ping)[0].icmp().unwrap().kind, 0);
    let closed = under("[policy]\ndefault = 'allow'\n[[policy.rule]]\naction = 'deny'\nservice = 'echo'\n");
    for family in [Family::V4, Family::V6] {
        let frame = match family {
            Family::V4 => ping.clone(),
            Family::V6 => Ip6::new(ip("fec0::2"), ICMPV6).icmp(&echo6(1, 1, b"ping")),
        };
        closed.input(&frame);
        let told = closed.settled().iter().find_map(|frame| family.icmp_of(frame));
        assert_eq!(told, Some(family.pick(PROHIBITED, PROHIBITED6)));
    }
    let allowed = under("[[policy.rule]]\naction = 'deny'\nhost = '127.0.0.0/8'\nprotocol = 'icmp'\n");
    allowed.input(&Family::V4.ping_frame(9));
    allowed.settle();
    assert!(allowed.flows("ICMP").is_empty());
}

#[test]
fn policy_groups_and_broadcast_are_addresses_like_others() {
    let i = under("[policy]\npreset = 'internet-only'\n");
    for group in ["224.0.0.251", "239.255.255.250", "255.255.255.255", "10.0.2.255", "ff02::fb", "ff0e::1", "ff02::1"] {
        let to = SocketAddr::new(group.parse().unwrap(), 5353);
        i.input(&family_of(to.ip()).udp_frame(5353, to, b"who"));
        i.settle();
        assert!(i.flows("UDP").is_empty(), "{group}: {}", i.connection_info());
    }
}

#[test]
fn policy_internet_only_keeps_the_guest_from_what_is_private() {
    let (tcp, port) = tcp_listener();
    let i = under("[policy]\npreset = 'internet-only'\n");
    for private in [
        "10.0.2.2",
        "10.0.2.9",
        "127.0.0.1",
        "0.0.0.0",
        "169.254.169.254",
        "192.168.1.1",
        "172.16.0.1",
        "100.64.0.1",
        "168.63.129.16",
        "198.18.0.1",
        "192.0.2.1",
        "240.0.0.1",
        "fec0::2",
        "::1",
        "fd00:ec2::254",
        "fe80::9",
        "2001:db8::1",
        "2002:7f00:1::",
        "64:ff9b::10.0.0.1",
        "64:ff9b::169.254.169.254",
        "::ffff:169.254.169.254",
    ] {
        let to = SocketAddr::new(private.parse().unwrap(), port);
        let heard = answer_to_syn(&i, to);
        assert!(heard.len() == 1 && heard[0].has(RST), "{private}: {heard:?}");
        i.input(&family_of(to.ip()).udp_frame(4444, to, b"x"));
        i.settle();
        assert!(i.flows("UDP").is_empty() && i.flows("TCP").is_empty(), "{private}: {}", i.connection_info());
    }
    nobody_came(&i, &tcp, "internet-only");
}

#[test]
fn policy_the_name_server_is_a_service() {
    let i = under("[[policy.rule]]\naction = 'allow'\nhost = ['0.0.0.0/0', '::/0']\n");
    for family in [Family::V4, Family::V6] {
        let server = SocketAddr::new(family.name_server(), 53);
        i.input(&family.udp_frame(3000, server, b"a query"));
        let told = i.settled().iter().find_map(|frame| family.icmp_of(frame));
        assert_eq!(told, Some(family.pick(PROHIBITED, PROHIBITED6)));
        let heard = answer_to_syn(&i, server);
        assert!(heard.len() == 1 && heard[0].has(RST), "{heard:?}");
    }
    assert!(i.flows("UDP").is_empty() && i.flows("TCP").is_empty(), "{}", i.connection_info());
}

#[test]
fn policy_tftp_is_a_service() {
    let served = Served::new("policy");
    for family in [Family::V4, Family::V6] {
        let closed = family_under(family, "[policy]\n", &served);
        closed.input(&family.udp_frame(2000, (family.vhost(), 69).into(), b"\0\x01file\0octet\0"));
        let frames = closed.settled();
        assert_eq!(frames.iter().find_map(|frame| family.icmp_of(frame)), Some(family.pick(PROHIBITED, PROHIBITED6)));
        assert!(frames.iter().all(|frame| family.udp_of(frame).is_none()));
        let open = family_under(family, "[[policy.rule]]\naction = 'allow'\nservice = ['tftp']\n", &served);
        assert_eq!(first_block(&open, family, 2000).as_deref(), Ok(Served::CONTENT));
    }
}

fn family_under(family: Family, text: &str, served: &Served) -> Box<Instance> {
    let i = under_with(text, served.setup(family));
    if family == Family::V6 {
        i.greet6(GUEST6);
    }
    i.settle();
    i.drain();
    i
}

/// A DHCPDISCOVER.
fn discover() -> Vec<u8> {
    let mut message = vec![1, 1, 6, 0, 1, 2, 3, 4];
    message.resize(28, 0);
    message.extend(GUEST_MAC);
    message.resize(236, 0);
    message.extend([0x63, 0x82, 0x53, 0x63, 53, 1, 1, 255]);
    let datagram = udp(at(Ipv4Addr::UNSPECIFIED, 68), at(Ipv4Addr::BROADCAST, 67), &message);
    Ip { src: Ipv4Addr::UNSPECIFIED, ..Ip::new(Ipv4Addr::BROADCAST, UDP) }.frame(&datagram)
}

#[test]
fn policy_dhcp_stays_until_a_rule_forbids_it() {
    let open = under("[policy]\npreset = 'none'\n");
    open.input(&discover());
    open.wait_udp("an offer");
    let closed = under("[[policy.rule]]\naction = 'deny'\nservice = 'dhcp'\n");
    closed.input(&discover());
    closed.expect_silence();
    // An information request of DHCPv6.
    let request = Ip6::new(ip("ff02::1:2"), UDP).udp(546, 547, &[11, 1, 2, 3, 0, 1, 0, 2, 1, 2]);
    open.input(&request);
    let answered = open.settled().iter().any(|frame| packet6(frame).is_some_and(|packet| packet.udp().is_some()));
    assert!(answered);
    closed.input(&request);
    closed.expect_silence();
}

#[test]
fn policy_guest_forwards_are_a_service() {
    let setup = |text: &str| {
        let i = under_with(text, Setup::default());
        assert_eq!(i.add_guestfwd(&mut FORWARD.clone(), 7, Box::new(|_, _| panic!("bytes of the guest"))), 0);
        i
    };
    let closed = setup("[[policy.rule]]\naction = 'allow'\n");
    assert!(matches!(Conn::try_connect(&closed, at(FORWARD, 7), &[]), Reply::Reset(..)));
    let dropped = setup("[policy]\ndefault = 'drop'\n");
    assert!(answer_to_syn(&dropped, at(FORWARD, 7).into()).is_empty());
    let other_port = "[[policy.rule]]\naction = 'allow'\nservice = 'guestfwd'\nhost-port = 8\n";
    assert!(matches!(Conn::try_connect(&setup(other_port), at(FORWARD, 7), &[]), Reply::Reset(..)));
    let open = setup("[[policy.rule]]\naction = 'allow'\nservice = 'guestfwd'\nhost = '10.0.2.100'\nhost-port = 7\n");
    Conn::connect(&open, at(FORWARD, 7));
}

#[test]
fn policy_a_saved_state_brings_no_forbidden_connection() {
    let (before, kept) = {
        let _alone = ENVIRONMENT.lock().unwrap_or_else(|poison| poison.into_inner());
        with_taken(Setup::default(), 7)
    };
    let mut conn = Conn::connect(&before, at(FORWARD, 7));
    conn.data(&before, b"before");
    before.settle();
    assert_eq!(*kept.borrow(), b"before");
    let state = save(&before);
    let load = |text: &str| {
        let i = under_with(text, Setup::default());
        let taken = common::target::Taken::default();
        let sink = taken.clone();
        let write = Box::new(move |_: &Instance, data: &[u8]| {
            sink.borrow_mut().extend_from_slice(data);
            data.len() as isize
        });
        assert_eq!(i.add_guestfwd(&mut FORWARD.clone(), 7, write), 0);
        assert_eq!(i.load_state(4, &state), (0, 0));
        i.settle();
        i.drain();
        (i, taken)
    };
    let (open, taken) = load("[[policy.rule]]\naction = 'allow'\nservice = 'guestfwd'\n");
    conn.clone().data(&open, b"after");
    open.settle();
    assert_eq!(*taken.borrow(), b"after");
    let (closed, taken) = load("[policy]\n");
    conn.data(&closed, b"after");
    let (_, answer) = closed.wait_tcp("a reset");
    assert!(answer.has(RST));
    closed.settle();
    assert!(taken.borrow().is_empty() && closed.flows("TCP").is_empty());
}

#[test]
fn policy_host_forwards_are_the_direction_in() {
    let closed = under("[[policy.rule]]\naction = 'allow'\n");
    let port = closed.forward(false, at(GUEST, 80));
    let mut peer = client(port);
    peer.set_nonblocking(true).unwrap();
    closed.until("the end of the connection", || match peer.read(&mut [0; 8]) {
        Ok(0) => Some(()),
        Ok(_) => panic!("bytes"),
        Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => None,
        Err(error) if error.kind() == std::io::ErrorKind::NotConnected => None,
        Err(_) => Some(()),
    });
    assert!(closed.settled().iter().all(|frame| frame.tcp().is_none()), "a SYN for the guest");
    let udp_port = closed.forward(true, at(GUEST, 81));
    let (peer, _) = udp_peer();
    peer.send_to(b"in", (LOCALHOST, udp_port)).unwrap();
    assert!(closed.settled().iter().all(|frame| frame.udp().is_none()), "a datagram for the guest");

    let open =
        under("[[policy.rule]]\naction = 'allow'\ndirection = 'in'\nhost = '127.0.0.1'\nguest-port = [80, 81]\n");
    let port = open.forward(false, at(GUEST, 80));
    let _peer = client(port);
    Conn::accept(&open, 80, &[]);
    let shut = open.forward(false, at(GUEST, 82));
    let _other = client(shut);
    assert!(open.settled().iter().all(|frame| frame.tcp().is_none_or(|segment| segment.dst.port() != 82)));
}

#[test]
fn policy_the_way_back_through_a_forward_leads_nowhere_else() {
    let (other, other_port) = udp_peer();
    let (peer, _) = udp_peer();
    let i = under("[[policy.rule]]\naction = 'allow'\ndirection = 'in'\n");
    let port = i.forward(true, at(GUEST, 81));
    peer.send_to(b"in", (LOCALHOST, port)).unwrap();
    let (_, datagram) = i.wait_udp("the datagram");
    assert_eq!(datagram.dst.port(), 81);
    // The guest may answer who came.
    i.input(&udp_frame(81, datagram.src, b"back"));
    assert_eq!(host_recv(&i, &peer).0, b"back");
    // But from the forwarded port as from any other it begins nothing.
    for to in [at_vhost(other_port), at(LOCALHOST, other_port), at(Ipv4Addr::new(127, 0, 0, 9), other_port)] {
        i.input(&udp_frame(81, to, b"out"));
        host_gets_nothing(&i, &other);
    }
}

/// What goes out by a forwarded port is answered there, and a second guest is not the one that was visited.
#[test]
fn policy_a_forward_serves_its_guest_alone() {
    let (peer, peer_port) = udp_peer();
    let (visitor, _) = udp_peer();
    let i = under(&format!(
        "[[policy.rule]]\naction = 'allow'\nguest = '10.0.2.15'\nhost-port = {peer_port}\n\
         [[policy.rule]]\naction = 'allow'\ndirection = 'in'\nhost-port = {}\n",
        visitor.local_addr().unwrap().port()
    ));
    let port = i.forward(true, at(Ipv4Addr::UNSPECIFIED, 81));
    i.input(&udp_frame(81, at_vhost(peer_port), b"out"));
    let (_, from) = host_recv(&i, &peer);
    peer.send_to(b"back", from).unwrap();
    assert_eq!(i.wait_udp("the answer").1.data, b"back");
    visitor.send_to(b"in", (LOCALHOST, port)).unwrap();
    let (_, datagram) = i.wait_udp("the visitor's datagram");
    let second = Ipv4Addr::new(10, 0, 2, 16);
    for to in [datagram.src, at_vhost(peer_port)] {
        let answer = udp(at(second, 81), to, b"second");
        i.input(&Ip { src: second, ..Ip::new(*to.ip(), UDP) }.frame(&answer));
        host_gets_nothing(&i, &visitor);
        host_gets_nothing(&i, &peer);
    }
    i.input(&udp_frame(81, datagram.src, b"first"));
    assert_eq!(host_recv(&i, &visitor).0, b"first");
}

#[test]
fn policy_another_address_of_the_guest_is_another_guest() {
    let (host, port) = udp_peer();
    let i = under("[[policy.rule]]\naction = 'allow'\nguest = '10.0.2.15'\n");
    let from = |last: u8, data: &[u8]| {
        let source = Ipv4Addr::new(10, 0, 2, last);
        let datagram = udp(at(source, 7000), at_vhost(port), data);
        i.input(&Ip { src: source, ..Ip::new(VHOST, UDP) }.frame(&datagram));
    };
    from(16, b"other");
    host_gets_nothing(&i, &host);
    from(15, b"guest");
    assert_eq!(host_recv(&i, &host).0, b"guest");
}

#[test]
fn policy_a_file_that_makes_no_sense_ends_in_no_network() {
    for text in [
        "[polcy]\n",
        "[policy]\ndefault = 'maybe'\n",
        "[[policy.rule]]\nhost = '10.0.0.0/8'\n",
        "[[policy.rule]]\naction = 'deny'\nhosts = '10.0.0.0/8'\n",
        "[policy",
        "\u{0}",
    ] {
        assert!(try_under(text, Setup::default()).is_none(), "{text:?}");
    }
    assert!(try_under("", Setup::default()).is_some());
}

#[test]
fn policy_a_file_that_is_not_there_ends_in_no_network() {
    if !isolated("policy_a_file_that_is_not_there_ends_in_no_network", Isolation::Process) {
        return;
    }
    for variable in ["", "/nonexistent/file.toml", "/", "/dev/null"] {
        assert!(start_with(variable, Setup::default()).is_none(), "{variable:?}");
    }
    assert!(Setup::default().try_start().is_some());
}
