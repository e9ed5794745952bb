//! A guest with a real TCP/IP stack: smoltcp on top of slirp_input and send_packet.

use super::family::Family;
use super::frame::{GUEST_MAC, VHOST};
use super::frame6::GUEST_LL;
use super::instance::{Instance, LoopStyle};
use super::poll::DEADLINE;
use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::phy::{Device, DeviceCapabilities, Medium};
use smoltcp::socket::tcp;
use smoltcp::time::Instant;
use smoltcp::wire::{EthernetAddress, IpAddress, IpCidr, Ipv4Address, Ipv4Cidr};
use std::net::SocketAddr;
use std::time::{Duration, Instant as Wall};

/// The link: frames of the library in, frames of the guest out.
struct Link<'a> {
    instance: &'a Instance,
    mtu: usize,
}

struct Rx(Vec<u8>);
struct Tx<'a>(&'a Instance);

impl smoltcp::phy::RxToken for Rx {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(&self.0)
    }
}

impl smoltcp::phy::TxToken for Tx<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        let mut frame = vec![0; len];
        let result = f(&mut frame);
        if self.0.style.get() == LoopStyle::Plain {
            self.0.input(&frame);
        } else {
            self.0.to_input.borrow_mut().push_back(frame);
        }
        result
    }
}

impl Device for Link<'_> {
    type RxToken<'t>
        = Rx
    where
        Self: 't;
    type TxToken<'t>
        = Tx<'t>
    where
        Self: 't;

    fn receive(&mut self, _: Instant) -> Option<(Rx, Tx<'_>)> {
        Some((Rx(self.instance.pop_raw()?), Tx(self.instance)))
    }

    fn transmit(&mut self, _: Instant) -> Option<Tx<'_>> {
        Some(Tx(self.instance))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut c = DeviceCapabilities::default();
        c.medium = Medium::Ethernet;
        c.max_transmission_unit = self.mtu + 14;
        c
    }
}

pub struct SmolGuest<'a> {
    pub instance: &'a Instance,
    link: Link<'a>,
    pub iface: Interface,
    pub sockets: SocketSet<'static>,
    next_port: u16,
}

impl<'a> SmolGuest<'a> {
    /// A guest without an address that takes none from router advertisements either.
    pub fn new(instance: &'a Instance, mtu: usize) -> SmolGuest<'a> {
        SmolGuest::start(instance, mtu, false)
    }

    /// A guest with its link-local address, which solicits a router and makes itself an address of what that advertises.
    pub fn autoconfiguring(instance: &'a Instance, mtu: usize) -> SmolGuest<'a> {
        let mut guest = SmolGuest::start(instance, mtu, true);
        guest.iface.update_ip_addrs(|a| a.push(IpCidr::new(GUEST_LL.into(), 64)).expect("room for one address"));
        guest
    }

    fn start(instance: &'a Instance, mtu: usize, slaac: bool) -> SmolGuest<'a> {
        let mut link = Link { instance, mtu };
        let mut config = Config::new(EthernetAddress(GUEST_MAC).into());
        (config.random_seed, config.slaac) = (0x5eed, slaac);
        let now = Instant::from_micros(instance.now() / 1000);
        let iface = Interface::new(config, &mut link, now);
        SmolGuest { instance, link, iface, sockets: SocketSet::new(Vec::new()), next_port: 50_000 }
    }

    /// A guest with its address and router: 10.0.2.15 with 10.0.2.2, or what the router advertises.
    pub fn configured(instance: &'a Instance, mtu: usize, family: Family) -> SmolGuest<'a> {
        match family {
            Family::V4 => {
                let mut guest = SmolGuest::new(instance, mtu);
                guest.configure(Ipv4Cidr::new(Ipv4Address::new(10, 0, 2, 15), 24), VHOST);
                guest
            }
            Family::V6 => {
                let mut guest = SmolGuest::autoconfiguring(instance, mtu);
                let address = IpAddress::from(family.guest());
                guest.until("an address from the router's prefix", |g| g.iface.has_ip_addr(address).then_some(()));
                guest
            }
        }
    }

    pub fn configure(&mut self, address: Ipv4Cidr, router: Ipv4Address) {
        self.iface.update_ip_addrs(|a| {
            a.clear();
            a.push(IpCidr::Ipv4(address)).expect("room for one address");
        });
        self.iface.routes_mut().add_default_ipv4_route(router).expect("room for one route");
    }

    pub fn now(&self) -> Instant {
        Instant::from_micros(self.instance.now() / 1000)
    }

    /// Lets the guest's stack work, then the library.
    pub fn turn(&mut self) {
        let now = self.now();
        let before = self.instance.frame_count.get();
        self.iface.poll(now, &mut self.link, &mut self.sockets);
        let busy = self.instance.frame_count.get() != before;
        let delay = self.iface.poll_delay(now, &self.sockets).map_or(Duration::from_millis(20), Into::into);
        let wait = if busy { Duration::ZERO } else { delay.min(Duration::from_millis(20)) };
        self.instance.turn(wait);
    }

    /// Turns until `check` gives a value; panics with `what` after four times [`DEADLINE`].
    pub fn until<T>(&mut self, what: &str, mut check: impl FnMut(&mut Self) -> Option<T>) -> T {
        let end = Wall::now() + DEADLINE * 4;
        loop {
            if let Some(value) = check(self) {
                return value;
            }
            assert!(Wall::now() < end, "waited in vain for {what}; flows:\n{}", self.instance.connection_info());
            self.turn();
        }
    }

    /// A TCP socket with buffers of `size` bytes in both directions.
    pub fn tcp_socket(&mut self, size: usize) -> SocketHandle {
        let buffer = || tcp::SocketBuffer::new(vec![0; size]);
        let mut socket = tcp::Socket::new(buffer(), buffer());
        socket.set_ack_delay(None);
        socket.set_nagle_enabled(false);
        self.sockets.add(socket)
    }

    pub fn tcp(&mut self, handle: SocketHandle) -> &mut tcp::Socket<'static> {
        self.sockets.get_mut::<tcp::Socket>(handle)
    }

    /// Starts to connect from a fresh port.
    pub fn start_connect(&mut self, size: usize, to: impl Into<SocketAddr>) -> SocketHandle {
        let handle = self.tcp_socket(size);
        self.next_port += 1;
        let port = self.next_port;
        let socket = self.sockets.get_mut::<tcp::Socket>(handle);
        socket.connect(self.iface.context(), to.into(), port).expect("the socket is fresh");
        handle
    }

    pub fn connect(&mut self, size: usize, to: impl Into<SocketAddr>) -> SocketHandle {
        let handle = self.start_connect(size, to);
        self.until("the connection", |g| (g.tcp(handle).state() == tcp::State::Established).then_some(()));
        handle
    }

    /// Sends all of `data`.
    pub fn send_all(&mut self, handle: SocketHandle, data: &[u8]) {
        let mut sent = 0;
        self.until("room for the guest's data", |g| {
            let socket = g.tcp(handle);
            if socket.can_send() {
                sent += socket.send_slice(&data[sent..]).expect("the connection is open");
            }
            (sent == data.len()).then_some(())
        });
    }

    /// Receives until `len` bytes are there.
    pub fn receive(&mut self, handle: SocketHandle, len: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(len);
        self.until("data for the guest", |g| {
            let socket = g.tcp(handle);
            while socket.can_recv() {
                socket
                    .recv(|part| {
                        bytes.extend_from_slice(part);
                        (part.len(), ())
                    })
                    .expect("the connection is open");
            }
            (bytes.len() >= len).then_some(())
        });
        bytes
    }
}
