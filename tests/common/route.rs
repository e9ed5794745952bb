//! A way with routers on it: network namespaces that a test makes, a router and a server behind it on a narrower link; and what
//! the guest sends there and hears from there.

use super::*;
use std::net::{IpAddr, SocketAddr};
use std::process::{Child, Command, Stdio};

pub fn router(family: Family) -> IpAddr {
    if family == Family::V4 { "192.0.2.2" } else { "2001:db8:1::2" }.parse().expect("an address")
}

pub fn server(family: Family) -> IpAddr {
    if family == Family::V4 { "198.51.100.9" } else { "2001:db8:2::9" }.parse().expect("an address")
}

/// What the link behind the router takes, in bytes.
pub const NARROW: u16 = 1280;

/// A network namespace, alive as long as its sleeper.
pub struct Namespace(Child);

impl Namespace {
    pub fn new() -> Namespace {
        let sleeper = Command::new("unshare").args(["-n", "sleep", "60"]).stdin(Stdio::null()).spawn();
        let namespace = Namespace(sleeper.expect("unshare and sleep are there"));
        // The namespace is there as soon as the program that was started is no longer in ours.
        let ours = std::fs::read_link("/proc/self/ns/net").unwrap();
        let theirs = format!("/proc/{}/ns/net", namespace.0.id());
        let end = std::time::Instant::now() + Duration::from_secs(10);
        while std::fs::read_link(&theirs).is_ok_and(|link| link == ours) {
            assert!(std::time::Instant::now() < end, "unshare made no namespace");
            std::thread::yield_now();
        }
        namespace
    }

    pub fn pid(&self) -> String {
        self.0.id().to_string()
    }

    /// What `open` opens, in the namespace.
    pub fn socket<T: Send + 'static>(&self, open: impl FnOnce() -> T + Send + 'static) -> T {
        let namespace = std::fs::File::open(format!("/proc/{}/ns/net", self.pid())).unwrap();
        let inside = move || {
            // SAFETY: the descriptor is open; only the namespace of this thread changes, which ends soon.
            let moved = unsafe { libc::setns(std::os::fd::AsRawFd::as_raw_fd(&namespace), libc::CLONE_NEWNET) };
            assert_eq!(moved, 0, "{}", std::io::Error::last_os_error());
            open()
        };
        std::thread::spawn(inside).join().expect("a socket")
    }

    /// A listener in the namespace.
    pub fn listener(&self, address: SocketAddr) -> TcpListener {
        let listener = self.socket(move || TcpListener::bind(address).expect("the address is there"));
        listener.set_nonblocking(true).unwrap();
        listener
    }

    pub fn run(&self, script: &str) {
        run(Command::new("nsenter").args(["-t", &self.pid(), "-n", "sh", "-ec", script]));
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub fn run(command: &mut Command) {
    let output = command.output().expect("the program is there");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Here, a router, and a server behind it on a narrower link.
pub fn network() -> [Namespace; 2] {
    let (router, server) = (Namespace::new(), Namespace::new());
    let script = format!(
        "ip link add v0 type veth peer name v1 netns {router}
         ip address add 192.0.2.1/24 dev v0; ip address add 2001:db8:1::1/64 dev v0 nodad; ip link set v0 up
         ip route add 198.51.100.0/24 via 192.0.2.2; ip route add 2001:db8:2::/64 via 2001:db8:1::2
         ip route add 203.0.113.0/24 via 192.0.2.2; ip route add 2001:db8:3::/64 via 2001:db8:1::2
         echo 0 0 > /proc/sys/net/ipv4/ping_group_range",
        router = router.pid()
    );
    run(Command::new("sh").args(["-ec", &script]));
    router.run(&format!(
        "ip link set lo up
         ip address add 192.0.2.2/24 dev v1; ip address add 2001:db8:1::2/64 dev v1 nodad; ip link set v1 up
         ip link add w0 mtu {NARROW} type veth peer name w1 mtu {NARROW} netns {server}
         ip address add 198.51.100.1/24 dev w0; ip address add 2001:db8:2::1/64 dev w0 nodad; ip link set w0 up
         echo 1 > /proc/sys/net/ipv4/ip_forward; echo 1 > /proc/sys/net/ipv6/conf/all/forwarding",
        server = server.pid()
    ));
    server.run(
        "ip link set lo up
         ip address add 198.51.100.9/24 dev w1; ip address add 2001:db8:2::9/64 dev w1 nodad; ip link set w1 up
         ip route add default via 198.51.100.1; ip route add default via 2001:db8:2::1",
    );
    [router, server]
}

pub fn start(family: Family) -> Box<Instance> {
    let i = family.setup().real_clock().start();
    if family == Family::V6 {
        i.greet6(GUEST6);
    }
    i
}

/// IPv4's flag that says that a packet is not to be cut.
pub const DF: u16 = 0x4000;
/// Bytes in a fragment that a guest makes over IPv6.
pub const PIECE: usize = 1000;

/// Sends a datagram to the server; it is not to be cut on its way.
pub fn send_udp(i: &Instance, family: Family, ttl: u8, to: u16, data: &[u8]) {
    match server(family) {
        IpAddr::V4(server) => {
            let datagram = udp(at(GUEST, 40000), at(server, to), data);
            i.input(&Ip { ttl, fragment: DF, ..Ip::new(server, UDP) }.frame(&datagram));
        }
        IpAddr::V6(server) => i.input(&Ip6 { hop_limit: ttl, ..Ip6::new(server, UDP) }.udp(40000, to, data)),
    }
}

/// Sends a datagram to the server that may be cut: over IPv6, the guest itself has done so.
pub fn send_divisible_udp(i: &Instance, family: Family, to: u16, data: &[u8]) {
    match server(family) {
        IpAddr::V4(server) => i.input(&Ip::new(server, UDP).frame(&udp(at(GUEST, 40000), at(server, to), data))),
        IpAddr::V6(server) => {
            let ip = Ip6::new(server, UDP);
            ip.fragments(&ip.udp_datagram(40000, to, data), PIECE, 77).iter().for_each(|frame| i.input(frame));
        }
    }
}

/// Sends an echo request with so many bytes; `whole` ones are not to be cut.
pub fn send_large_ping(i: &Instance, family: Family, sequence: u16, bytes: usize, whole: bool) {
    let data = vec![7; bytes];
    match server(family) {
        IpAddr::V4(server) => {
            let fragment = if whole { DF } else { 0 };
            i.input(&Ip { fragment, ..Ip::new(server, ICMP) }.frame(&echo_request(7, sequence, &data)));
        }
        IpAddr::V6(server) => {
            let ip = Ip6::new(server, ICMPV6);
            let frame = ip.icmp(&echo6(7, sequence, &data));
            if whole {
                i.input(&frame);
            } else {
                ip.fragments(&frame[54..], PIECE, 78).iter().for_each(|frame| i.input(frame));
            }
        }
    }
}

/// Type and code: too large for a link.
pub fn too_large(family: Family) -> (u8, u8) {
    if family == Family::V4 { (3, 4) } else { (2, 0) }
}

/// Waits until the guest is told that the link behind the router is too narrow for what it has sent to the server.
pub fn wait_too_large(i: &Instance, family: Family, mtu: u16) {
    let (_, code, rest, data) = wait_message(i, family, "word of the MTU");
    assert_eq!((code, u16::from_be_bytes([rest[2], rest[3]])), (too_large(family), mtu));
    let (src, dst, _) = quoted(family, &data);
    assert_eq!((src, dst), (family.guest(), server(family)));
}

/// Waits for what shows that a datagram has arrived at the server, on whose port nobody listens.
pub fn wait_arrived(i: &Instance, family: Family) {
    let (from, code, ..) = wait_message(i, family, "an answer of the server");
    assert_eq!((from, code), (server(family), codes_of(family)[1]));
}

pub fn send_ping(i: &Instance, family: Family, ttl: u8) {
    match server(family) {
        IpAddr::V4(server) => {
            i.input(&Ip { ttl, ..Ip::new(server, ICMP) }.frame(&echo_request(7, ttl.into(), b"ping")))
        }
        IpAddr::V6(server) => {
            i.input(&Ip6 { hop_limit: ttl, ..Ip6::new(server, ICMPV6) }.icmp(&echo6(7, ttl.into(), b"ping")));
        }
    }
}

/// An ICMP message for the guest: who says it, type, code, the four bytes after the checksum, and the rest.
pub type Message = (IpAddr, (u8, u8), [u8; 4], Vec<u8>);

pub fn wait_message(i: &Instance, family: Family, what: &str) -> Message {
    match family {
        Family::V4 => {
            let (packet, icmp) = i.wait_icmp(what);
            (packet.src.into(), (icmp.kind, icmp.code), icmp.rest, icmp.data)
        }
        Family::V6 => i.wait6(what, |p| {
            let code = p.icmp().filter(|(kind, _)| *kind < 133 || *kind > 136)?;
            Some((p.src.into(), code, p.payload[4..8].try_into().expect("four bytes"), p.payload[8..].to_vec()))
        }),
    }
}

/// The addresses in a quoted packet, and what follows its header.
pub fn quoted(family: Family, quote: &[u8]) -> (IpAddr, IpAddr, &[u8]) {
    match family {
        Family::V4 => {
            let address = |at: usize| IpAddr::from(<[u8; 4]>::try_from(&quote[at..at + 4]).expect("four bytes"));
            (address(12), address(16), &quote[20..])
        }
        Family::V6 => {
            let address = |at: usize| IpAddr::from(<[u8; 16]>::try_from(&quote[at..at + 16]).expect("16 bytes"));
            (address(8), address(24), &quote[40..])
        }
    }
}

/// Type and code: time exceeded, and port unreachable.
pub fn codes_of(family: Family) -> [(u8, u8); 2] {
    if family == Family::V4 { [(11, 0), (3, 3)] } else { [(3, 0), (1, 4)] }
}

/// The first hop, which is the virtual one.
pub fn first_hop(family: Family) -> IpAddr {
    if family == Family::V4 { VHOST.into() } else { ROUTER6.into() }
}
