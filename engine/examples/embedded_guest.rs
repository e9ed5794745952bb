//! A guest in one process with its network: smoltcp's TCP/IP stack behind [`oxislirp::Stack`], without any C, device
//! or privilege. The guest asks for a lease, pings its router, and downloads and uploads over TCP from and to a server on
//! this machine's loopback.
//!
//!     cargo run --release --example embedded_guest

use std::collections::VecDeque;
use std::error::Error;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::thread;
use std::time::{Duration, Instant as Wall};

use oxislirp::{Caller, Config, Glance, Instant, Output, Stack};
use smoltcp::iface::{Config as InterfaceConfig, Interface, SocketSet};
use smoltcp::phy::{Device, DeviceCapabilities, Medium};
use smoltcp::socket::{dhcpv4, icmp, tcp};
use smoltcp::time::Instant as GuestInstant;
use smoltcp::wire::{EthernetAddress, Icmpv4Packet, Icmpv4Repr, IpAddress, IpCidr};

const SIZE: usize = 32 * 1024 * 1024;
const PATIENCE: Duration = Duration::from_secs(60);

/// The cable between the guest and its network.
struct Cable {
    stack: Stack,
    to_guest: VecDeque<Vec<u8>>,
    started: Wall,
}

impl Cable {
    fn now(&self) -> Instant {
        Instant::from_micros(self.started.elapsed().as_micros() as i64)
    }

    /// One round of the program's loop, which never sleeps.
    fn turn(&mut self) {
        self.stack.handle_events(Glance::Unknown, self.now());
        loop {
            let now = self.now();
            match self.stack.poll_output(now) {
                Output::Frame(frame) => self.to_guest.push_back(frame.to_vec()),
                Output::Timeout(_) => break,
                // What is to be told does not matter here.
                _ => {}
            }
        }
    }
}

impl Device for Cable {
    type RxToken<'a> = Received;
    type TxToken<'a> = Sending<'a>;

    fn receive(&mut self, _: GuestInstant) -> Option<(Received, Sending<'_>)> {
        let frame = self.to_guest.pop_front()?;
        Some((Received(frame), Sending(self)))
    }

    fn transmit(&mut self, _: GuestInstant) -> Option<Sending<'_>> {
        Some(Sending(self))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ethernet;
        capabilities.max_transmission_unit = 1514;
        capabilities
    }
}

struct Received(Vec<u8>);

impl smoltcp::phy::RxToken for Received {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, read: F) -> R {
        read(&self.0)
    }
}

struct Sending<'a>(&'a mut Cable);

impl smoltcp::phy::TxToken for Sending<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, length: usize, write: F) -> R {
        let mut frame = vec![0; length];
        let result = write(&mut frame);
        let now = self.0.now();
        self.0.stack.input(&frame, Caller::Loop, now);
        result
    }
}

/// The guest: its interface and its sockets.
struct Guest {
    cable: Cable,
    interface: Interface,
    sockets: SocketSet<'static>,
}

impl Guest {
    fn new() -> Result<Guest, Box<dyn Error>> {
        let mut cable =
            Cable { stack: Stack::new(Config::default())?, to_guest: VecDeque::new(), started: Wall::now() };
        let mac = EthernetAddress([0x52, 0x54, 0, 0x12, 0x34, 0x56]);
        let mut config = InterfaceConfig::new(mac.into());
        config.random_seed = 1;
        let interface = Interface::new(config, &mut cable, GuestInstant::ZERO);
        Ok(Guest { cable, interface, sockets: SocketSet::new(Vec::new()) })
    }

    /// Lets the guest and its network work until `done` gives a value.
    fn until<T>(
        &mut self,
        what: &str,
        mut done: impl FnMut(&mut Interface, &mut SocketSet<'static>) -> Option<T>,
    ) -> Result<T, Box<dyn Error>> {
        let end = Wall::now() + PATIENCE;
        while Wall::now() < end {
            let now = self.cable.now();
            self.interface.poll(GuestInstant::from_micros(now.total_micros()), &mut self.cable, &mut self.sockets);
            if let Some(value) = done(&mut self.interface, &mut self.sockets) {
                return Ok(value);
            }
            self.cable.turn();
        }
        Err(format!("waited in vain for {what}").into())
    }

    fn lease(&mut self) -> Result<(), Box<dyn Error>> {
        let handle = self.sockets.add(dhcpv4::Socket::new());
        let lease = self.until("a lease", |_, sockets| match sockets.get_mut::<dhcpv4::Socket>(handle).poll() {
            Some(dhcpv4::Event::Configured(lease)) => Some((lease.address, lease.router, lease.dns_servers.clone())),
            _ => None,
        })?;
        let (address, router, dns) = lease;
        let router = router.ok_or("the lease names no router")?;
        self.interface.update_ip_addrs(|addresses| {
            let _ = addresses.push(IpCidr::Ipv4(address));
        });
        self.interface.routes_mut().add_default_ipv4_route(router)?;
        println!("ok lease: {address}, router {router}, DNS {dns:?}");
        Ok(())
    }

    fn ping(&mut self, target: Ipv4Addr) -> Result<(), Box<dyn Error>> {
        let buffer = || icmp::PacketBuffer::new(vec![icmp::PacketMetadata::EMPTY; 4], vec![0; 512]);
        let handle = self.sockets.add(icmp::Socket::new(buffer(), buffer()));
        let socket = self.sockets.get_mut::<icmp::Socket>(handle);
        socket.bind(icmp::Endpoint::Ident(7))?;
        let request = Icmpv4Repr::EchoRequest { ident: 7, seq_no: 1, data: b"are you there" };
        let space = socket.send(request.buffer_len(), IpAddress::Ipv4(target))?;
        request.emit(&mut Icmpv4Packet::new_unchecked(space), &smoltcp::phy::ChecksumCapabilities::default());
        self.until("an echo reply", |_, sockets| sockets.get_mut::<icmp::Socket>(handle).recv().ok().map(|_| ()))?;
        println!("ok ping {target}");
        Ok(())
    }

    fn connect(&mut self, port: u16, local: u16) -> Result<smoltcp::iface::SocketHandle, Box<dyn Error>> {
        let buffer = || tcp::SocketBuffer::new(vec![0; 1024 * 1024]);
        let mut socket = tcp::Socket::new(buffer(), buffer());
        socket.connect(self.interface.context(), (Ipv4Addr::new(10, 0, 2, 2), port), local)?;
        let handle = self.sockets.add(socket);
        self.until("a connection", |_, sockets| sockets.get::<tcp::Socket>(handle).may_send().then_some(()))?;
        Ok(handle)
    }

    fn download(&mut self) -> Result<(), Box<dyn Error>> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let port = listener.local_addr()?.port();
        let server = thread::spawn(move || {
            let (mut peer, _) = listener.accept()?;
            peer.write_all(&pattern())
        });
        let handle = self.connect(port, 40001)?;
        let started = Wall::now();
        let expected = pattern();
        let mut received = 0;
        self.until("the download", |_, sockets| {
            let socket = sockets.get_mut::<tcp::Socket>(handle);
            while let Ok(count @ 1..) = socket.recv(|bytes| {
                let same = expected.get(received..received + bytes.len()) == Some(bytes);
                (bytes.len(), if same { bytes.len() } else { 0 })
            }) {
                received += count;
            }
            (received == SIZE).then_some(())
        })?;
        println!("ok download: {}", rate(started));
        server.join().map_err(|_| "the server panicked")??;
        Ok(())
    }

    fn upload(&mut self) -> Result<(), Box<dyn Error>> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let port = listener.local_addr()?.port();
        let server = thread::spawn(move || {
            let mut bytes = Vec::new();
            listener.accept()?.0.read_to_end(&mut bytes)?;
            std::io::Result::Ok(bytes == pattern())
        });
        let handle = self.connect(port, 40002)?;
        let started = Wall::now();
        let data = pattern();
        let mut sent = 0;
        self.until("the upload", |_, sockets| {
            let socket = sockets.get_mut::<tcp::Socket>(handle);
            while let Some(rest) = data.get(sent..).filter(|rest| !rest.is_empty()) {
                match socket.send_slice(rest) {
                    Ok(count @ 1..) => sent += count,
                    _ => break,
                }
            }
            if sent == SIZE {
                socket.close();
            }
            (server.is_finished() && sent == SIZE).then_some(())
        })?;
        if !server.join().map_err(|_| "the server panicked")?? {
            return Err("the upload arrived changed".into());
        }
        println!("ok upload: {}", rate(started));
        Ok(())
    }
}

fn pattern() -> Vec<u8> {
    (0..SIZE).map(|index| (index * 7 + index / 251) as u8).collect()
}

fn rate(started: Wall) -> String {
    let seconds = started.elapsed().as_secs_f64();
    format!("{} MiB, every byte right, {:.1} Gbit/s", SIZE >> 20, SIZE as f64 * 8.0 / seconds / 1e9)
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut guest = Guest::new()?;
    guest.lease()?;
    guest.ping(Ipv4Addr::new(10, 0, 2, 2))?;
    guest.download()?;
    guest.upload()?;
    println!("Everything works.");
    Ok(())
}
