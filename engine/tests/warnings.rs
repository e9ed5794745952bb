//! What would fail without a word is told as a warning, and of many failures once.

mod guest;

use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, UdpSocket};

use guest::Network;
use oxislirp::{Config, ConfigBuilder, Effect, NameServerSource, Stack, TftpFiles};
use smoltcp::socket::{tcp, udp};
use smoltcp::wire::IpAddress;

const HOST: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 2);
const NAME_SERVER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 0, 2, 3)), 53);
/// A question for the address of "a".
const QUERY: [u8; 19] = [0, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1, b'a', 0, 0, 1, 0, 1];

fn network(config: ConfigBuilder) -> Network {
    Network::with(config.build().unwrap())
}

fn warnings(network: &mut Network) -> Vec<String> {
    let effects = network.effects().into_iter();
    effects.filter_map(|effect| if let Effect::Warning(text) = effect { Some(text) } else { None }).collect()
}

/// Has the guest try to connect `tries` times, each from another port; tells how many were not refused.
fn connected(network: &mut Network, to: SocketAddr, tries: u16) -> usize {
    let sockets: Vec<_> = (0..tries).map(|port| network.begin(to, 40_000 + port, 4096)).collect();
    network.until("an end of all tries", |network| {
        let tried = |handle| network.sockets.get::<tcp::Socket>(handle).state() != tcp::State::SynSent;
        sockets.iter().copied().all(tried).then_some(())
    });
    sockets.iter().filter(|&&handle| network.tcp(handle).is_open()).count()
}

fn send(network: &mut Network, to: SocketAddr, payload: &[u8], times: usize) {
    let socket = network.udp(5000);
    for _ in 0..times {
        let to = (IpAddress::from(to.ip()), to.port());
        network.sockets.get_mut::<udp::Socket>(socket).send_slice(payload, to).unwrap();
        network.turns(2);
    }
    network.sockets.remove(socket);
}

#[test]
fn a_source_that_the_host_does_not_have_is_told_of_once() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let foreign = SocketAddrV4::new(Ipv4Addr::new(192, 0, 2, 77), 0);
    let mut network = network(Config::builder().outbound(foreign));
    assert_eq!(connected(&mut network, (HOST, port).into(), 20), 0);
    send(&mut network, (HOST, port).into(), b"lost", 20);
    let told = warnings(&mut network);
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].starts_with("outbound: nothing can leave from 192.0.2.77:0: "), "{told:?}");
    assert!(told[0].contains("os error 99"), "{told:?}");
    // While it lasts it is told of again once in a while.
    network.pass(601);
    send(&mut network, (HOST, port).into(), b"lost", 20);
    assert_eq!(warnings(&mut network).len(), 1);
}

#[test]
fn a_port_that_is_enough_for_one_connection_is_told_of() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let fixed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut network = network(Config::builder().outbound(SocketAddrV4::new(Ipv4Addr::LOCALHOST, fixed)));
    assert_eq!(connected(&mut network, (HOST, port).into(), 10), 1);
    let told = warnings(&mut network);
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].starts_with(&format!("outbound: 127.0.0.1:{fixed} has its port fixed")), "{told:?}");
}

#[test]
fn queries_that_nobody_takes_are_told_of_once() {
    let closed = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let missing = std::env::temp_dir().join(format!("oxislirp-no-such-file-{}", std::process::id()));
    for (source, said) in [
        (NameServerSource::Fixed(Vec::new()), "no name server is known from the configuration: ".to_owned()),
        (
            NameServerSource::ResolverFile(missing.clone()),
            format!("no name server is known from {}: ", missing.display()),
        ),
        (NameServerSource::Fixed(vec![closed]), format!("no name server can be reached, {closed} was the last one: ")),
    ] {
        let mut network = network(Config::builder().name_server_source(source));
        for _ in 0..20 {
            send(&mut network, NAME_SERVER, &QUERY, 1);
            network.turns(20);
        }
        let told = warnings(&mut network);
        assert_eq!(told.len(), 1, "{told:?}");
        assert_eq!(told[0], format!("{said}what the guest asks is refused"));
    }
    // A connection to nobody is the same subject.
    let mut network = network(Config::builder().name_server_source(NameServerSource::Fixed(Vec::new())));
    assert_eq!(connected(&mut network, NAME_SERVER, 3), 0);
    assert_eq!(warnings(&mut network).len(), 1);
}

#[test]
fn queries_that_a_server_answers_are_nothing_to_tell_of() {
    let server = UdpSocket::bind("127.0.0.1:0").unwrap();
    server.set_nonblocking(true).unwrap();
    let source = NameServerSource::Fixed(vec![server.local_addr().unwrap()]);
    let mut network = network(Config::builder().name_server_source(source));
    for _ in 0..5 {
        send(&mut network, NAME_SERVER, &QUERY, 1);
        let from = network.until("the query", |_| server.recv_from(&mut [0; 64]).ok()).1;
        server.send_to(&QUERY, from).unwrap();
        network.turns(5);
    }
    assert_eq!(warnings(&mut network), [""; 0]);
}

#[test]
fn a_file_in_the_place_of_the_tftp_directory_is_told_of_when_the_stack_begins() {
    let file = std::env::current_exe().unwrap();
    for (path, said) in [(file, "Not a directory"), ("/no/such/folder".into(), "No such file")] {
        let config = Config::builder().tftp(TftpFiles::Directory(path.clone())).build().unwrap();
        let mut network = Network::with(config);
        let told = warnings(&mut network);
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(told[0].starts_with(&format!("tftp: {} ", path.display())) && told[0].contains(said), "{told:?}");
    }
    let folder = TftpFiles::Directory(std::env::temp_dir());
    let mut stack = Stack::new(Config::builder().tftp(folder).build().unwrap()).unwrap();
    assert_eq!(stack.effects().len(), 0);
}
