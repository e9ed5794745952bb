//! What tests of IPv6 share: peers at the host's loopback, a scripted TCP connection, and forwards.

use super::*;
use std::io::Write;
use std::net::{Ipv6Addr, SocketAddr, SocketAddrV6};

/// A network with both families.
pub fn setup6() -> Setup {
    Setup::with(|c| c.in6_enabled = true)
}

/// An instance that knows the guest's address under the prefix.
pub fn start6(setup: Setup) -> Box<Instance> {
    let i = setup.start();
    i.greet6(GUEST6);
    i.settle();
    i.drain();
    i
}

/// The library still answers, and nothing else was under way.
pub fn alive6(i: &Instance) {
    i.settle();
    i.drain();
    let replies = i.answer6(&Ip6::new(VHOST6, ICMPV6).icmp(&echo6(0x7777, 1, b"ping")));
    assert_eq!(replies.iter().map(|p| p.icmp()).collect::<Vec<_>>(), [Some((129, 0))]);
    i.expect_silence();
}

/// The host's loopback address.
pub const LOOPBACK: Ipv6Addr = Ipv6Addr::LOCALHOST;

pub fn ip(text: &str) -> Ipv6Addr {
    text.parse().expect("an address")
}

pub fn solicit(source: Ipv6Addr, destination: Ipv6Addr, target: Ipv6Addr) -> Vec<u8> {
    Ip6::ndp(source, destination).icmp(&ndp_message(135, 0, Some(target), &[]))
}

pub fn udp6_peer() -> (UdpSocket, u16) {
    let s = UdpSocket::bind((LOOPBACK, 0)).expect("the loopback has IPv6");
    s.set_nonblocking(true).unwrap();
    let port = s.local_addr().unwrap().port();
    (s, port)
}

pub fn host_recv6(i: &Instance, socket: &UdpSocket) -> (Vec<u8>, std::net::SocketAddr) {
    let mut buffer = [0; 65536];
    i.until("a datagram at the host", || {
        socket.recv_from(&mut buffer).ok().map(|(n, from)| (buffer[..n].to_vec(), from))
    })
}

/// Types and codes of the ICMPv6 messages that answer a frame within a few turns.
pub fn codes(i: &Instance, frame: &[u8]) -> Vec<(u8, u8)> {
    i.input(frame);
    i.settled().iter().filter_map(packet6).filter_map(|p| p.icmp()).collect()
}

pub fn silent(i: &Instance, frame: &[u8], what: &str) {
    i.input(frame);
    let frames = i.settled();
    assert!(frames.is_empty(), "{what}: {frames:02x?}");
}

/// The guest's side of a TCP connection over IPv6.
pub struct Conn6 {
    pub ip: Ip6,
    pub ports: (u16, u16),
    pub seq: u32,
    pub ack: u32,
}

impl Conn6 {
    pub fn connect(i: &Instance, to: SocketAddrV6) -> (Conn6, Tcp6) {
        let mut c = Conn6 { ip: Ip6::new(*to.ip(), TCP), ports: (i.fresh_port(), to.port()), seq: 1000, ack: 0 };
        let hello = c.open(i);
        (c, hello)
    }

    /// The handshake of a connection that was not opened yet.
    pub fn open(&mut self, i: &Instance) -> Tcp6 {
        i.input(&self.ip.tcp(self.ports, self.seq, 0, SYN, b""));
        self.seq += 1;
        let hello = i.wait6("a SYN-ACK", |p| p.tcp().filter(|s| s.dst.port() == self.ports.0));
        assert_eq!((hello.flags, hello.ack), (SYN | ACK, self.seq));
        self.ack = hello.seq.wrapping_add(1);
        self.send(i, ACK, b"");
        hello
    }

    pub fn accept(i: &Instance, port: u16) -> (Conn6, Tcp6) {
        let syn = i.wait6("a SYN", |p| p.tcp().filter(|s| s.dst.port() == port && s.flags == SYN));
        let ip = Ip6 { src: *syn.dst.ip(), ..Ip6::new(*syn.src.ip(), TCP) };
        let mut c = Conn6 { ip, ports: (port, syn.src.port()), seq: 5000, ack: syn.seq.wrapping_add(1) };
        c.send(i, SYN | ACK, b"");
        c.seq += 1;
        i.wait6("an ACK", |p| p.tcp().filter(|s| s.flags & (ACK | SYN | RST) == ACK));
        (c, syn)
    }

    pub fn send(&mut self, i: &Instance, flags: u8, data: &[u8]) {
        i.input(&self.ip.tcp(self.ports, self.seq, self.ack, flags, data));
        self.seq = self.seq.wrapping_add(data.len() as u32 + u32::from(flags & FIN != 0));
    }

    pub fn receive(&mut self, i: &Instance, len: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        while bytes.len() < len {
            let s = i.wait6("data", |p| p.tcp().filter(|s| !s.payload.is_empty()));
            if s.seq == self.ack {
                self.ack = self.ack.wrapping_add(s.payload.len() as u32);
                bytes.extend(s.payload);
            }
            self.send(i, ACK, b"");
        }
        bytes
    }
}

pub fn talk(i: &Instance, conn: &mut Conn6, mut host: TcpStream) {
    host.set_nonblocking(true).unwrap();
    conn.send(i, PSH | ACK, b"from the guest");
    assert_eq!(host_read(i, &mut host, 14), b"from the guest");
    host.write_all(b"from the host").unwrap();
    assert_eq!(conn.receive(i, 13), b"from the host");
    conn.send(i, FIN | ACK, b"");
    assert!(matches!(host_end(i, &mut host), (rest, End::Eof) if rest.is_empty()));
}

pub fn accept6(i: &Instance, listener: &TcpListener) -> TcpStream {
    i.until("a connection at the host", || listener.accept().ok().map(|(s, _)| s))
}

pub fn sockaddr6(a: SocketAddrV6) -> super::system::sockaddr_in6 {
    // SAFETY: all zero bytes are a value of the structure.
    let mut s: super::system::sockaddr_in6 = unsafe { std::mem::zeroed() };
    s.sin6_family = super::system::AF_INET6 as _;
    s.sin6_port = a.port().to_be();
    s.sin6_addr.s6_addr = a.ip().octets();
    s.sin6_scope_id = a.scope_id();
    s
}

pub fn hostxfwd6(i: &Instance, host: SocketAddrV6, guest: SocketAddrV6, flags: i32) -> i32 {
    let (h, g) = (sockaddr6(host), sockaddr6(guest));
    // SAFETY: both addresses are valid for their lengths.
    unsafe {
        let (h, g) = ((&raw const h).cast(), (&raw const g).cast());
        (library().slirp_add_hostxfwd)(i.slirp.get(), h, 28, g, 28, flags)
    }
}

/// Gives the loopback interface of this network namespace one more address, and waits until it may be used.
#[cfg(unix)]
pub fn add_loopback_address(address: Ipv6Addr) {
    let socket = UdpSocket::bind((LOOPBACK, 0)).expect("the loopback has IPv6");
    let name = c"lo";
    // SAFETY: the name is a C string; the request is whole and only read.
    unsafe {
        let request = libc::in6_ifreq {
            ifr6_addr: libc::in6_addr { s6_addr: address.octets() },
            ifr6_prefixlen: 128,
            ifr6_ifindex: libc::if_nametoindex(name.as_ptr()) as _,
        };
        let fd = std::os::fd::AsRawFd::as_raw_fd(&socket);
        assert_eq!(libc::ioctl(fd, libc::SIOCSIFADDR as _, &request), 0, "{}", std::io::Error::last_os_error());
    }
    let scoped = SocketAddrV6::new(address, 0, 0, u32::from(address.is_unicast_link_local()));
    let end = std::time::Instant::now() + Duration::from_secs(10);
    while let Err(error) = UdpSocket::bind(scoped) {
        assert!(std::time::Instant::now() < end, "{address}: {error}");
        std::thread::yield_now();
    }
}

/// slirp_add_hostxfwd for addresses of any families; errno when it fails. (The length's type has another sign on Windows.)
pub fn hostxfwd(i: &Instance, host: SocketAddr, guest: SocketAddr, flags: i32) -> Result<(), i32> {
    let (host, guest) = (socket2::SockAddr::from(host), socket2::SockAddr::from(guest));
    // SAFETY: both addresses are valid for their lengths.
    let result = unsafe {
        (library().slirp_add_hostxfwd)(
            i.slirp.get(),
            host.as_ptr().cast(),
            host.len() as _,
            guest.as_ptr().cast(),
            guest.len() as _,
            flags,
        )
    };
    if result == 0 { Ok(()) } else { Err(super::system::errno()) }
}

/// slirp_remove_hostxfwd.
pub fn remove_hostxfwd(i: &Instance, host: SocketAddr, flags: i32) -> i32 {
    let host = socket2::SockAddr::from(host);
    // SAFETY: the address is valid for its length.
    unsafe { (library().slirp_remove_hostxfwd)(i.slirp.get(), host.as_ptr().cast(), host.len() as _, flags) }
}

/// Whether the library has learned this neighbor.
pub fn knows(i: &Instance, address: Ipv6Addr) -> bool {
    i.neighbor_info().lines().any(|line| line.trim_end().ends_with(&format!(" {address}")))
}

/// Memory of this process in bytes.
pub fn resident() -> usize {
    let text = std::fs::read_to_string("/proc/self/statm").expect("proc is mounted");
    let pages: usize = text.split(' ').nth(1).expect("a second number").parse().expect("a number");
    pages * 4096
}

/// The messages of neighbor discovery that the library listens to, with their addresses.
pub fn discovery(guest: Ipv6Addr, options: &[u8]) -> [(Ip6, Vec<u8>); 3] {
    [
        (Ip6::ndp(guest, ALL_ROUTERS), ndp_message(133, 0, None, options)),
        (Ip6::ndp(guest, VHOST6), ndp_message(135, 0, Some(VHOST6), options)),
        (Ip6::ndp(guest, VHOST6), ndp_message(136, 0x60, Some(guest), options)),
    ]
}

/// There are no namespaces there.
#[cfg(windows)]
pub fn add_loopback_address(address: Ipv6Addr) {
    unreachable!("{address} in a namespace")
}
