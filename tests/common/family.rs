//! The two IP families as one test body sees them: the same network, peers and ports, under the addresses of either.

use super::frame::{Frame, GUEST, ICMP, Ip, VDNS, VHOST, echo_request, udp_frame};
use super::frame6::{GUEST6, ICMPV6, Ip6, VDNS6, VHOST6, echo6, packet6};
use super::instance::{Instance, Setup};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, TcpListener, UdpSocket};

/// Which IP a test speaks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Family {
    V4,
    V6,
}

/// Makes two tests of each function that takes a family: `name::v4` and `name::v6`.
#[allow(unused_macros)]
macro_rules! both_families {
    ($($name:ident),* $(,)?) => {$(
        mod $name {
            #[test]
            fn v4() {
                super::$name($crate::common::Family::V4);
            }

            #[test]
            fn v6() {
                super::$name($crate::common::Family::V6);
            }
        }
    )*};
}
pub(crate) use both_families;

impl Family {
    pub fn pick<T>(self, v4: impl Into<T>, v6: impl Into<T>) -> T {
        if self == Family::V4 { v4.into() } else { v6.into() }
    }

    /// The name of the test that runs `body` for this family.
    pub fn test(self, body: &str) -> String {
        format!("{body}::{}", if self == Family::V4 { "v4" } else { "v6" })
    }

    /// A network that has this family and not the other one.
    pub fn setup(self) -> Setup {
        Setup::with(|c| (c.in_enabled, c.in6_enabled) = (self == Family::V4, self == Family::V6))
    }

    pub fn vhost(self) -> IpAddr {
        self.pick(VHOST, VHOST6)
    }

    pub fn name_server(self) -> IpAddr {
        self.pick(VDNS, VDNS6)
    }

    /// The guest's address: the first one of the DHCP server, or the one it makes of the prefix.
    pub fn guest(self) -> IpAddr {
        self.pick(GUEST, GUEST6)
    }

    /// The host's loopback address.
    pub fn loopback(self) -> IpAddr {
        self.pick(Ipv4Addr::LOCALHOST, Ipv6Addr::LOCALHOST)
    }

    pub fn unspecified(self) -> IpAddr {
        self.pick(Ipv4Addr::UNSPECIFIED, Ipv6Addr::UNSPECIFIED)
    }

    /// A port of the virtual host.
    pub fn at_vhost(self, port: u16) -> SocketAddr {
        (self.vhost(), port).into()
    }

    /// Bytes of an IP header and a UDP header.
    pub fn udp_headers(self) -> usize {
        self.pick::<usize>(28usize, 48usize)
    }

    /// A listener on a free port of the loopback.
    pub fn tcp_listener(self) -> (TcpListener, u16) {
        let listener = TcpListener::bind((self.loopback(), 0)).expect("a free port");
        listener.set_nonblocking(true).expect("a socket can be non-blocking");
        let port = listener.local_addr().expect("bound").port();
        (listener, port)
    }

    /// A UDP socket on a free port of the loopback.
    pub fn udp_peer(self) -> (UdpSocket, u16) {
        let socket = UdpSocket::bind((self.loopback(), 0)).expect("a free port");
        socket.set_nonblocking(true).expect("a socket can be non-blocking");
        let port = socket.local_addr().expect("bound").port();
        (socket, port)
    }

    /// A port of the loopback on which nothing listens.
    pub fn closed_port(self) -> u16 {
        self.tcp_listener().1
    }

    /// An instance with this family alone, which knows the guest's address.
    pub fn greeted(self) -> Box<Instance> {
        self.greet(self.setup())
    }

    /// The same with a configuration of this family.
    pub fn greet(self, setup: Setup) -> Box<Instance> {
        let i = setup.start();
        if self == Family::V6 {
            i.greet6(GUEST6);
        }
        i.settle();
        i.drain();
        i
    }

    /// The guest's datagram.
    pub fn udp_frame(self, from: u16, to: SocketAddr, data: &[u8]) -> Vec<u8> {
        match to {
            SocketAddr::V4(to) => udp_frame(from, to, data),
            SocketAddr::V6(to) => Ip6::new(*to.ip(), super::frame::UDP).udp(from, to.port(), data),
        }
    }

    /// The guest's ping of the host's loopback, which is not answered by the library itself.
    pub fn ping_frame(self, identifier: u16) -> Vec<u8> {
        match self {
            Family::V4 => Ip::new(Ipv4Addr::LOCALHOST, ICMP).frame(&echo_request(identifier, 1, b"ping")),
            Family::V6 => Ip6::new(Ipv6Addr::LOCALHOST, ICMPV6).icmp(&echo6(identifier, 1, b"ping")),
        }
    }

    /// Source, port of the guest and data of a datagram for the guest.
    pub fn udp_of(self, frame: &Frame) -> Option<(SocketAddr, u16, Vec<u8>)> {
        match self {
            Family::V4 => frame.udp().map(|d| (SocketAddrV4::into(d.src), d.dst.port(), d.data)),
            Family::V6 => packet6(frame)?.udp().map(|(from, to, data)| (from.into(), to.port(), data)),
        }
    }

    /// Type and code of an ICMP message for the guest.
    pub fn icmp_of(self, frame: &Frame) -> Option<(u8, u8)> {
        match self {
            Family::V4 => frame.icmp().map(|m| (m.kind, m.code)),
            Family::V6 => packet6(frame)?.icmp(),
        }
    }

    /// Type and code of an echo reply.
    pub fn echo_reply(self) -> (u8, u8) {
        (self.pick(0u8, 129u8), 0)
    }
}
