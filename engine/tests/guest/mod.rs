//! A guest for the tests of the crate's interface: smoltcp's stack behind [`oxislirp::Stack`], in virtual time. What the stack
//! wants to be told is collected in [`Network::effects`].
#![allow(dead_code, reason = "each test file uses a part of it")]

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use oxislirp::{Caller, Config, Effect, Glance, Instant, Output, Stack};
use smoltcp::iface::{Config as InterfaceConfig, Interface, SocketHandle, SocketSet};
use smoltcp::phy::{Device, DeviceCapabilities, Medium};
use smoltcp::socket::{tcp, udp};
use smoltcp::wire::{EthernetAddress, IpAddress, IpCidr};

pub const GUEST: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 15);
/// How many turns a test waits for something that other processes, or the kernel, have a part in.
const PATIENCE: u32 = 2_000_000;

/// A segment of the other side as it passed the cable.
#[derive(Clone, Copy, Debug)]
pub struct Passed {
    /// The port of the guest.
    pub guest_port: u16,
    /// The window field, not scaled.
    pub window: u16,
    pub reset: bool,
}

/// The stack, and the cable between it and the guest.
pub struct Cable {
    pub stack: Stack,
    pub effects: VecDeque<Effect>,
    /// TCP over IPv4 from the stack.
    pub passed: Vec<Passed>,
    to_guest: VecDeque<Vec<u8>>,
    now: Instant,
    /// Nothing gets through.
    unplugged: bool,
}

impl Cable {
    pub fn now(&self) -> Instant {
        self.now
    }

    /// Takes over what the stack has made, until it sleeps.
    pub fn collect(&mut self) {
        loop {
            match self.stack.poll_output(self.now) {
                Output::Frame(frame) => {
                    self.passed.extend(passed(frame));
                    self.to_guest.push_back(frame.to_vec());
                }
                Output::Effect(effect) => self.effects.push_back(effect),
                _ => break,
            }
        }
    }

    /// One turn of a program's loop.
    fn turn(&mut self) {
        self.stack.handle_events(Glance::Unknown, self.now);
        self.collect();
    }
}

fn passed(frame: &[u8]) -> Option<Passed> {
    let is_tcp = frame.get(12..14)? == [8, 0] && frame.get(23) == Some(&6);
    let tcp = frame.get(14 + usize::from(frame.get(14)? & 15) * 4..).filter(|_| is_tcp)?;
    Some(Passed {
        guest_port: u16::from_be_bytes([*tcp.get(2)?, *tcp.get(3)?]),
        window: u16::from_be_bytes([*tcp.get(14)?, *tcp.get(15)?]),
        reset: tcp.get(13)? & 4 != 0,
    })
}

fn clock(now: Instant) -> smoltcp::time::Instant {
    smoltcp::time::Instant::from_micros(now.total_micros())
}

impl Device for Cable {
    type RxToken<'a> = Received;
    type TxToken<'a> = Sending<'a>;

    fn receive(&mut self, _: smoltcp::time::Instant) -> Option<(Received, Sending<'_>)> {
        if self.unplugged {
            self.to_guest.clear();
        }
        let frame = self.to_guest.pop_front()?;
        Some((Received(frame), Sending(self)))
    }

    fn transmit(&mut self, _: smoltcp::time::Instant) -> Option<Sending<'_>> {
        Some(Sending(self))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ethernet;
        capabilities.max_transmission_unit = 1514;
        capabilities
    }
}

pub struct Received(Vec<u8>);

impl smoltcp::phy::RxToken for Received {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, read: F) -> R {
        read(&self.0)
    }
}

pub struct Sending<'a>(&'a mut Cable);

impl smoltcp::phy::TxToken for Sending<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, length: usize, write: F) -> R {
        let mut frame = vec![0; length];
        let result = write(&mut frame);
        if !self.0.unplugged {
            self.0.stack.input(&frame, Caller::Loop, self.0.now);
            self.0.collect();
        }
        result
    }
}

/// The guest with its network.
pub struct Network {
    pub cable: Cable,
    pub interface: Interface,
    pub sockets: SocketSet<'static>,
}

impl Network {
    /// A guest at 10.0.2.15 and fec0::15, whose router is the stack.
    pub fn new() -> Network {
        Network::with(Config::builder().ipv6(true).build().unwrap())
    }

    /// The same on a stack of this configuration.
    pub fn with(config: Config) -> Network {
        let stack = Stack::new(config).unwrap();
        let mut cable = Cable {
            stack,
            effects: VecDeque::new(),
            passed: Vec::new(),
            to_guest: VecDeque::new(),
            now: Instant::from_secs(1),
            unplugged: false,
        };
        let mut config = InterfaceConfig::new(EthernetAddress([0x52, 0x54, 0, 0x12, 0x34, 0x56]).into());
        config.random_seed = 1;
        let mut interface = Interface::new(config, &mut cable, clock(Instant::from_secs(1)));
        interface.update_ip_addrs(|addresses| {
            addresses.push(IpCidr::new(IpAddress::Ipv4(GUEST), 24)).unwrap();
            addresses.push(IpCidr::new(IpAddress::v6(0xfec0, 0, 0, 0, 0, 0, 0, 0x15), 64)).unwrap();
        });
        interface.routes_mut().add_default_ipv4_route(Ipv4Addr::new(10, 0, 2, 2)).unwrap();
        Network { cable, interface, sockets: SocketSet::new(Vec::new()) }
    }

    pub fn stack(&mut self) -> &mut Stack {
        &mut self.cable.stack
    }

    pub fn now(&self) -> Instant {
        self.cable.now
    }

    /// Lets a millisecond pass and everybody work.
    pub fn turn(&mut self) {
        self.turn_after(Duration::from_millis(1));
    }

    /// Lets so many seconds pass in which little happens.
    pub fn pass(&mut self, seconds: u32) {
        for _ in 0..seconds {
            self.turn_after(Duration::from_secs(1));
        }
    }

    fn turn_after(&mut self, time: Duration) {
        self.cable.now += time;
        self.poll();
        self.cable.turn();
        self.poll();
    }

    /// Lets the guest alone work, as if it had been given no more time than that.
    pub fn interface_polls(&mut self) {
        self.poll();
    }

    /// Pulls the cable.
    pub fn unplug(&mut self) {
        self.cable.unplugged = true;
    }

    fn poll(&mut self) {
        self.interface.poll(clock(self.cable.now), &mut self.cable, &mut self.sockets);
    }

    /// Lets everybody work for so many milliseconds.
    pub fn turns(&mut self, milliseconds: u32) {
        for _ in 0..milliseconds {
            self.turn();
        }
    }

    /// Lets everybody work until `done` gives a value.
    #[track_caller]
    pub fn until<T>(&mut self, what: &str, mut done: impl FnMut(&mut Network) -> Option<T>) -> T {
        for _ in 0..PATIENCE {
            if let Some(value) = done(self) {
                return value;
            }
            self.turn();
        }
        panic!("waited in vain for {what}");
    }

    /// Takes out what the stack wanted to be told so far.
    pub fn effects(&mut self) -> Vec<Effect> {
        self.cable.collect();
        self.cable.effects.drain(..).collect()
    }

    pub fn tcp(&mut self, handle: SocketHandle) -> &mut tcp::Socket<'static> {
        self.sockets.get_mut(handle)
    }

    /// A TCP socket of the guest with buffers of this size.
    pub fn tcp_socket(&mut self, buffer: usize) -> SocketHandle {
        let space = || tcp::SocketBuffer::new(vec![0; buffer]);
        self.sockets.add(tcp::Socket::new(space(), space()))
    }

    /// Begins a connection of the guest.
    pub fn begin(&mut self, to: SocketAddr, port: u16, buffer: usize) -> SocketHandle {
        let handle = self.tcp_socket(buffer);
        let socket = self.sockets.get_mut::<tcp::Socket>(handle);
        socket.connect(self.interface.context(), (IpAddress::from(to.ip()), to.port()), port).unwrap();
        handle
    }

    /// A connection of the guest whose handshake is complete.
    pub fn connect(&mut self, to: SocketAddr, port: u16, buffer: usize) -> SocketHandle {
        let handle = self.begin(to, port, buffer);
        self.until("a connection", |network| network.tcp(handle).may_send().then_some(()));
        handle
    }

    /// A socket of the guest that waits for a connection.
    pub fn listen(&mut self, port: u16) -> SocketHandle {
        let handle = self.tcp_socket(65536);
        self.tcp(handle).listen(port).unwrap();
        handle
    }

    /// A UDP socket of the guest.
    pub fn udp(&mut self, port: u16) -> SocketHandle {
        let space = || udp::PacketBuffer::new(vec![udp::PacketMetadata::EMPTY; 8], vec![0; 4096]);
        let mut socket = udp::Socket::new(space(), space());
        socket.bind(port).unwrap();
        self.sockets.add(socket)
    }

    /// Has the stack hear of the guest, as it would by its first packet.
    pub fn introduce(&mut self) {
        let handle = self.udp(9);
        let host = (IpAddress::from(IpAddr::from(Ipv4Addr::new(10, 0, 2, 2))), 69);
        self.sockets.get_mut::<udp::Socket>(handle).send_slice(b"", host).unwrap();
        self.turns(5);
        self.sockets.remove(handle);
    }
}
