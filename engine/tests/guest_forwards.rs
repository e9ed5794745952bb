//! Guest forwards as a Rust program has them: typed, with handles that tell their address and end them.

mod guest;

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::net::UnixListener;

use guest::Network;
use oxislirp::{Config, Effect, ForwardError, GuestForward, HostForward, Stack, UnixAddress};
use smoltcp::socket::dhcpv4;
use smoltcp::wire::EthernetAddress;

/// A listening Unix socket whose file goes with it.
struct Service {
    path: std::path::PathBuf,
    listener: UnixListener,
}

impl Service {
    fn new(name: &str) -> Service {
        let path = std::env::temp_dir().join(format!("oxislirp-{name}-{}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        let listener = UnixListener::bind(&path).unwrap();
        listener.set_nonblocking(true).unwrap();
        Service { path, listener }
    }

    fn forward(&self, port: u16) -> GuestForward {
        GuestForward::unix(UnixAddress::from_path(&self.path).unwrap(), port)
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

fn reach(network: &mut Network, service: &Service, at: SocketAddr, port: u16) {
    let socket = network.connect(at, port, 65536);
    network.tcp(socket).send_slice(b"question").unwrap();
    let mut peer = network.until("the connection", |_| service.listener.accept().ok()).0;
    peer.set_nonblocking(true).unwrap();
    let mut question = [0; 8];
    let mut got = 0;
    network.until("the question", |_| {
        got += peer.read(&mut question[got..]).unwrap_or(0);
        (got == question.len()).then_some(())
    });
    peer.write_all(b"answer").unwrap();
    let answer = network.until("the answer", |network| {
        let socket = network.tcp(socket);
        (socket.recv_queue() == 6).then(|| socket.recv(|bytes| (bytes.len(), bytes.to_vec())).unwrap())
    });
    assert_eq!(answer, b"answer");
}

#[test]
fn a_forward_without_an_address_is_at_the_default_one() {
    let mut network = Network::new();
    let service = Service::new("default");
    let handle = network.stack().add_guest_forward(service.forward(7)).unwrap();
    assert_eq!(handle.address(), SocketAddr::from(([10, 0, 2, 4], 7)));
    assert_eq!(network.stack().guest_forward_at(handle.address()), Some(handle));
    reach(&mut network, &service, handle.address(), 40000);
}

#[test]
fn ipv6_guests_reach_a_forward_under_the_prefix() {
    let mut network = Network::new();
    let service = Service::new("ipv6");
    let address: Ipv6Addr = "fec0::1:7".parse().unwrap();
    let handle = network.stack().add_guest_forward(service.forward(7).at(address)).unwrap();
    reach(&mut network, &service, handle.address(), 40000);
    // Nobody is there any more: what comes is answered by the host, which has no such address.
    network.stack().remove_guest_forward(handle).unwrap();
    assert_eq!(network.stack().guest_forwards().count(), 0);
}

#[test]
fn addresses_that_are_not_to_be_had_are_told_apart() {
    let mut stack = Stack::new(Config::builder().ipv6(true).build().unwrap()).unwrap();
    let mut add = |address: &str, port| {
        let address: std::net::IpAddr = address.parse().unwrap();
        stack.add_guest_forward(GuestForward::command("cat", port).at(address))
    };
    assert!(add("10.0.2.100", 7).is_ok());
    assert!(matches!(add("10.0.2.100", 7), Err(ForwardError::Taken(at)) if at == "10.0.2.100:7".parse().unwrap()));
    assert!(matches!(add("1.2.3.4", 7), Err(ForwardError::OutsideNetwork(_))));
    assert!(matches!(add("2001:db8::1", 7), Err(ForwardError::OutsideNetwork(_))));
    assert!(matches!(add("10.0.2.3", 53), Err(ForwardError::NameServer(_))));
    assert!(matches!(add("fec0::3", 53), Err(ForwardError::NameServer(_))));
    assert!(add("10.0.2.3", 80).is_ok());
    assert!(add("fec0::3", 80).is_ok());
    assert_eq!(stack.guest_forwards().count(), 3);
    let mut stack = Stack::new(Config::builder().ipv6(false).build().unwrap()).unwrap();
    let forward = GuestForward::command("cat", 7).at("fec0::7".parse::<Ipv6Addr>().unwrap());
    let refused = stack.add_guest_forward(forward);
    assert!(matches!(&refused, Err(ForwardError::NoFamily(_))), "{refused:?}");
    assert_eq!(refused.unwrap_err().to_string(), "fec0::7: the virtual network has no IPv6");
}

#[test]
fn a_handle_used_twice_or_of_another_stack_is_an_error() {
    let mut stack = Stack::new(Config::default()).unwrap();
    let mut other = Stack::new(Config::default()).unwrap();
    let handle = stack.add_guest_forward(GuestForward::command("cat", 7)).unwrap();
    let theirs = other.add_guest_forward(GuestForward::command("cat", 7)).unwrap();
    assert!(matches!(stack.remove_guest_forward(theirs), Err(ForwardError::Gone)));
    stack.remove_guest_forward(handle).unwrap();
    assert!(matches!(stack.remove_guest_forward(handle), Err(ForwardError::Gone)));
    let again = stack.add_guest_forward(GuestForward::command("cat", 7)).unwrap();
    assert_eq!(again.address(), handle.address());
    assert!(matches!(stack.remove_guest_forward(handle), Err(ForwardError::Gone)), "it names the old forward");
    assert_eq!(stack.guest_forwards().collect::<Vec<_>>(), [again]);
}

#[test]
fn a_removed_forward_resets_its_connections_on_both_sides() {
    let mut network = Network::new();
    let service = Service::new("removed");
    let handle = network.stack().add_guest_forward(service.forward(7).at(Ipv4Addr::new(10, 0, 2, 100))).unwrap();
    let socket = network.connect(handle.address(), 40000, 65536);
    let mut peer = network.until("the connection", |_| service.listener.accept().ok()).0;
    network.stack().remove_guest_forward(handle).unwrap();
    network.until("a reset", |network| (!network.tcp(socket).is_open()).then_some(()));
    assert!(network.cable.passed.iter().any(|segment| segment.reset && segment.guest_port == 40000));
    peer.set_nonblocking(true).unwrap();
    drop(network.effects());
    let end = network.until("the end", |network| {
        drop(network.effects());
        match peer.read(&mut [0]) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => None,
            other => Some(other),
        }
    });
    assert!(matches!(end, Ok(0) | Err(_)), "{end:?}");
}

/// Has a guest without an address get one by DHCP.
fn leased(network: &mut Network) -> Ipv4Addr {
    let socket = network.sockets.add(dhcpv4::Socket::new());
    network.interface.update_ip_addrs(|addresses| addresses.clear());
    let address = network.until("a lease", |network| {
        let event = network.sockets.get_mut::<dhcpv4::Socket>(socket).poll();
        if let Some(dhcpv4::Event::Configured(config)) = event { Some(config.address.address()) } else { None }
    });
    network.sockets.remove(socket);
    network.interface.update_ip_addrs(|addresses| {
        addresses.push(smoltcp::wire::IpCidr::new(address.into(), 24)).unwrap();
    });
    address
}

#[test]
fn no_guest_is_leased_the_address_of_a_forward() {
    let mut network = Network::new();
    let service = Service::new("leased");
    let first = Ipv4Addr::new(10, 0, 2, 15);
    let handle = network.stack().add_guest_forward(service.forward(7).at(first)).unwrap();
    let address = leased(&mut network);
    assert_eq!(address, Ipv4Addr::new(10, 0, 2, 16));
    reach(&mut network, &service, handle.address(), 40000);
    // What one has leased no forward can have.
    let refused = network.stack().add_guest_forward(service.forward(8).at(address));
    assert!(matches!(refused, Err(ForwardError::Leased(taken)) if taken == address), "{refused:?}");
    // When the forward goes, the address is one to be leased again.
    network.stack().remove_guest_forward(handle).unwrap();
    network.interface.set_hardware_addr(EthernetAddress([0x52, 0x54, 0, 0, 0, 9]).into());
    assert_eq!(leased(&mut network), first);
}

#[test]
fn in_small_networks_the_default_address_is_not_leased() {
    for (mask, first) in [(240, 5), (248, 5)] {
        for start in [None, Some(Ipv4Addr::new(10, 0, 2, 4))] {
            let config = Config::builder().network(Ipv4Addr::new(10, 0, 2, 0), Ipv4Addr::new(255, 255, 255, mask));
            let config = start.into_iter().fold(config, |config, start| config.dhcp_start(start));
            let mut network = Network::with(config.build().unwrap());
            let handle = network.stack().add_guest_forward(GuestForward::command("cat", 7)).unwrap();
            assert_eq!(handle.address(), SocketAddr::from(([10, 0, 2, 4], 7)));
            assert_eq!(leased(&mut network), Ipv4Addr::new(10, 0, 2, first));
        }
    }
}

#[test]
fn host_bits_of_the_network_do_not_move_the_default_address() {
    let config = Config::builder().network(Ipv4Addr::new(10, 0, 2, 77), Ipv4Addr::new(255, 255, 255, 0));
    let mut stack = Stack::new(config.build().unwrap()).unwrap();
    let handle = stack.add_guest_forward(GuestForward::command("cat", 7)).unwrap();
    assert_eq!(handle.address(), SocketAddr::from(([10, 0, 2, 4], 7)));
}

#[test]
fn forwards_that_no_guest_could_reach_are_refused() {
    let add = |config: oxislirp::ConfigBuilder, forward: GuestForward| {
        Stack::new(config.build().unwrap()).unwrap().add_guest_forward(forward).map(|_| ())
    };
    let both = || Config::builder().ipv6(true);
    let forward = |port| GuestForward::application(port);
    assert!(matches!(add(both(), forward(0)), Err(ForwardError::NoPort)));
    for last in [0, 255] {
        let refused = add(both(), forward(7).at(Ipv4Addr::new(10, 0, 2, last)));
        assert!(matches!(refused, Err(ForwardError::NoMachine(_))), "{refused:?}");
    }
    let mut stack = Stack::new(Config::default()).unwrap();
    let address = Ipv4Addr::new(10, 0, 2, 50);
    let to_guest = HostForward::udp((Ipv4Addr::LOCALHOST, 0), (address, 80));
    let to_guest = stack.add_host_forward(to_guest).unwrap();
    let refused = stack.add_guest_forward(forward(7).at(address));
    assert!(matches!(refused, Err(ForwardError::GuestExpected(told)) if told == address), "{refused:?}");
    stack.remove_host_forward(to_guest).unwrap();
    assert!(stack.add_guest_forward(forward(7).at(address)).is_ok());
    let small = Config::builder().network(Ipv4Addr::new(10, 0, 2, 0), Ipv4Addr::new(255, 255, 255, 252));
    let small = small.dns(false).dhcp(false);
    assert!(matches!(add(small, forward(7)), Err(ForwardError::NoDefaultAddress { .. })));
    let refused = add(both().ipv4(false), forward(7));
    assert!(matches!(&refused, Err(ForwardError::NoFamily(_))), "{refused:?}");
    assert_eq!(refused.unwrap_err().to_string(), "10.0.2.4: the virtual network has no IPv4");
}

/// A named pipe. Who opens it to read waits until this is dropped.
struct Pipe(std::path::PathBuf);

impl Pipe {
    fn new() -> Pipe {
        let path = std::env::temp_dir().join(format!("oxislirp-pipe-{}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
        Pipe(path)
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        // A writer comes and goes: all who wait find the end.
        let _ = std::fs::OpenOptions::new().read(true).write(true).open(&self.0);
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Commands that look neither at their input nor at a broken pipe live on when the guest has gone.
#[test]
fn commands_that_are_left_behind_are_bounded() {
    const MOST: u16 = 512;
    let mut network = Network::new();
    let pipe = Pipe::new();
    let line = format!(r#"sh -c "echo started; exec cat '{}' </dev/null >/dev/null 2>&1""#, pipe.0.display());
    let handle = network.stack().add_guest_forward(GuestForward::command(line, 7)).unwrap();
    let mut started = 0;
    for number in 0..MOST + 10 {
        let socket = network.connect(handle.address(), 40_000 + number, 4096);
        let heard = network.until("a beginning or an end", |network| {
            let guest = network.tcp(socket);
            (guest.can_recv() || !guest.may_recv()).then(|| guest.can_recv())
        });
        started += u16::from(heard);
        network.tcp(socket).abort();
        network.turns(2);
        network.sockets.remove(socket);
    }
    assert_eq!(started, MOST);
    let warned =
        |effect: &Effect| matches!(effect, Effect::Warning(text) if text.contains("there are too many already"));
    assert!(network.effects().iter().any(warned));
}
