//! A guest for the tests of the drivers: smoltcp's stack at the other end of a link.

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::phy::{Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::socket::tcp;
use smoltcp::time::Instant;
use smoltcp::wire::{EthernetAddress, IpCidr};

use super::{Clock, FrameLink};

const BUFFER: usize = 256 * 1024;

/// The guest's end of the cable.
struct Cable<L> {
    link: L,
    /// Frames that the link had no room for yet.
    waiting: VecDeque<Vec<u8>>,
    buffer: Vec<u8>,
    /// Nothing is sent.
    holds: bool,
}

pub(super) struct Guest<L> {
    cable: Cable<L>,
    interface: Interface,
    sockets: SocketSet<'static>,
    clock: Clock,
}

impl<L: FrameLink> Guest<L> {
    /// A guest that is 10.0.2.15 and fec0::15.
    pub(super) fn new(link: L) -> Guest<L> {
        let mut cable = Cable { link, waiting: VecDeque::new(), buffer: vec![0; 65_536], holds: false };
        let mut config = Config::new(EthernetAddress([0x52, 0x54, 0, 0x12, 0x34, 0x56]).into());
        config.random_seed = 1;
        let mut interface = Interface::new(config, &mut cable, Instant::ZERO);
        interface.update_ip_addrs(|addresses| {
            addresses.push(IpCidr::new(Ipv4Addr::new(10, 0, 2, 15).into(), 24)).unwrap();
            addresses.push(IpCidr::new("fec0::15".parse().unwrap(), 64)).unwrap();
        });
        interface.routes_mut().add_default_ipv4_route(Ipv4Addr::new(10, 0, 2, 2)).unwrap();
        Guest { cable, interface, sockets: SocketSet::new(Vec::new()), clock: Clock::new() }
    }

    pub(super) fn connect(&mut self, to: SocketAddr) -> SocketHandle {
        self.connect_from(40_000, to)
    }

    pub(super) fn connect_from(&mut self, port: u16, to: SocketAddr) -> SocketHandle {
        let mut socket = socket();
        socket.connect(self.interface.context(), to, port).unwrap();
        self.sockets.add(socket)
    }

    pub(super) fn listen(&mut self, port: u16) -> SocketHandle {
        let mut socket = socket();
        socket.listen(port).unwrap();
        self.sockets.add(socket)
    }

    pub(super) fn socket(&mut self, handle: SocketHandle) -> &mut tcp::Socket<'static> {
        self.sockets.get_mut(handle)
    }

    /// The segment with what was just given to a socket, without its PSH, and not sent: as the first one of a burst.
    #[cfg(feature = "tokio")]
    pub(super) fn segment_without_psh(&mut self) -> Vec<u8> {
        let held = std::mem::replace(&mut self.cable.holds, true);
        self.poll();
        self.cable.holds = held;
        let mut frame = self.cable.waiting.pop_back().unwrap();
        let tcp = &mut frame[34..];
        assert_eq!(tcp[13], 0x18, "ACK and PSH");
        tcp[13] = 0x10;
        let sum = u16::from_be_bytes([tcp[16], tcp[17]]);
        // One bit less in a word is that much more in its complement's sum (RFC 1624).
        let (sum, carry) = sum.overflowing_add(8);
        tcp[16..18].copy_from_slice(&(sum + u16::from(carry)).to_be_bytes());
        frame
    }

    /// Sends a frame as it is.
    #[cfg(feature = "tokio")]
    pub(super) fn send_raw(&mut self, frame: &[u8]) {
        self.cable.link.send(frame).unwrap();
    }

    /// Does what there is to do now.
    pub(super) fn poll(&mut self) {
        let now = Instant::from_micros(self.clock.now().total_micros());
        self.cable.pass_on();
        self.interface.poll(now, &mut self.cable, &mut self.sockets);
    }
}

fn socket() -> tcp::Socket<'static> {
    let mut socket = tcp::Socket::new(tcp::SocketBuffer::new(vec![0; BUFFER]), tcp::SocketBuffer::new(vec![0; BUFFER]));
    // Whatever waits for more would wait for a timer.
    socket.set_ack_delay(None);
    socket.set_nagle_enabled(false);
    socket
}

impl<L: FrameLink> Cable<L> {
    fn pass_on(&mut self) {
        while let Some(frame) = self.waiting.front().filter(|_| !self.holds) {
            match self.link.send(frame) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                result => result.unwrap(),
            }
            self.waiting.pop_front();
        }
    }
}

impl<L: FrameLink> Device for Cable<L> {
    type RxToken<'a>
        = Received
    where
        L: 'a;
    type TxToken<'a>
        = Sending<'a, L>
    where
        L: 'a;

    fn receive(&mut self, _: Instant) -> Option<(Received, Sending<'_, L>)> {
        let length = match self.link.receive(&mut self.buffer) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return None,
            length => length.unwrap(),
        };
        Some((Received(self.buffer[..length].to_vec()), Sending(self)))
    }

    fn transmit(&mut self, _: Instant) -> Option<Sending<'_, L>> {
        self.waiting.is_empty().then_some(Sending(self))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ethernet;
        capabilities.max_transmission_unit = 1514;
        capabilities
    }
}

pub(super) struct Received(Vec<u8>);

impl RxToken for Received {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, read: F) -> R {
        read(&self.0)
    }
}

pub(super) struct Sending<'a, L>(&'a mut Cable<L>);

impl<L: FrameLink> TxToken for Sending<'_, L> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, length: usize, write: F) -> R {
        let mut frame = vec![0; length];
        let result = write(&mut frame);
        self.0.waiting.push_back(frame);
        self.0.pass_on();
        result
    }
}

/// The host by its virtual address.
pub(super) fn virtual_host(port: u16) -> SocketAddr {
    (IpAddr::from([10, 0, 2, 2]), port).into()
}

/// Bytes in which a lost, repeated or moved piece shows.
pub(super) fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|index| (index * 7 + index / 251) as u8).collect()
}

/// A request for the hardware address of 10.0.2.2.
pub(super) fn arp_request() -> Vec<u8> {
    let guest = [0x52, 0x54, 0, 0x12, 0x34, 0x56];
    let mut frame = vec![0xff; 6];
    frame.extend_from_slice(&guest);
    frame.extend_from_slice(&[8, 6, 0, 1, 8, 0, 6, 4, 0, 1]);
    frame.extend_from_slice(&guest);
    frame.extend_from_slice(&[10, 0, 2, 15, 0, 0, 0, 0, 0, 0, 10, 0, 2, 2]);
    frame
}
