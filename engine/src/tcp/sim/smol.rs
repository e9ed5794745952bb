//! smoltcp's TCP socket as an end, behind an interface of its own that carries IPv4 packets. Its checksums are left out.

use std::cell::Cell;
use std::collections::VecDeque;

use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::phy::{ChecksumCapabilities, Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::socket::tcp;
use smoltcp::time::Instant as SmolInstant;
use smoltcp::wire::{HardwareAddress, IpAddress, IpCidr, IpProtocol, Ipv4Address, Ipv4Packet, Ipv4Repr};

use super::app::{App, Stream};
use super::end::{End, Standing};
use super::random::Random;
use crate::time::{Instant, earliest};

const PORT: u16 = 80;
const OTHER_PORT: u16 = 4000;
const ADDRESS: Ipv4Address = Ipv4Address::new(10, 0, 0, 1);
const OTHER_ADDRESS: Ipv4Address = Ipv4Address::new(10, 0, 0, 2);
const IP: usize = 20;

thread_local! {
    /// The clock of smoltcp's timestamps, which it asks for without saying for whom.
    static CLOCK: Cell<u32> = const { Cell::new(0) };
}

fn smol_time(now: Instant) -> SmolInstant {
    SmolInstant::from_micros(now.total_micros())
}

/// What of the socket a scenario chooses.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    pub mtu: usize,
    pub recv: usize,
    pub send: usize,
    pub timestamps: bool,
    pub nagle: bool,
    pub delayed_ack: bool,
    pub seed: u64,
}

struct Wire {
    mtu: usize,
    arrived: VecDeque<Vec<u8>>,
    sent: Vec<Vec<u8>>,
}

struct Arrived(Vec<u8>);
struct Sent<'a>(&'a mut Vec<Vec<u8>>);

impl RxToken for Arrived {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(&self.0)
    }
}

impl TxToken for Sent<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        let mut packet = vec![0; len];
        let result = f(&mut packet);
        self.0.push(packet);
        result
    }
}

impl Device for Wire {
    type RxToken<'a> = Arrived;
    type TxToken<'a> = Sent<'a>;

    fn receive(&mut self, _: SmolInstant) -> Option<(Arrived, Sent<'_>)> {
        let packet = self.arrived.pop_front()?;
        Some((Arrived(packet), Sent(&mut self.sent)))
    }

    fn transmit(&mut self, _: SmolInstant) -> Option<Sent<'_>> {
        Some(Sent(&mut self.sent))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ip;
        capabilities.max_transmission_unit = self.mtu;
        capabilities.checksum = ChecksumCapabilities::ignored();
        capabilities
    }
}

pub(super) struct Smol {
    app: App,
    shape: Shape,
    interface: Interface,
    wire: Wire,
    sockets: SocketSet<'static>,
    handle: SocketHandle,
    /// The socket has left its first state.
    started: bool,
    given_up: bool,
    /// The next poll is due at once, or when the interface says.
    poll_at: Option<Instant>,
}

impl Stream for tcp::Socket<'_> {
    fn readable(&self) -> usize {
        self.recv_queue()
    }

    fn read(&mut self, mut n: usize, take: &mut dyn FnMut(&[u8])) {
        while n > 0 {
            let read = self.recv(|bytes| {
                let taken = bytes.len().min(n);
                take(&bytes[..taken]);
                (taken, taken)
            });
            match read {
                Ok(taken @ 1..) => n -= taken,
                _ => return,
            }
        }
    }

    fn room(&self) -> usize {
        if self.may_send() { self.send_capacity() - self.send_queue() } else { 0 }
    }

    fn write(&mut self, bytes: &[u8]) -> usize {
        self.send_slice(bytes).unwrap_or(0)
    }

    fn at_end(&self) -> bool {
        let ended = matches!(self.state(), tcp::State::CloseWait | tcp::State::LastAck | tcp::State::Closing);
        (ended || matches!(self.state(), tcp::State::TimeWait)) && self.recv_queue() == 0
    }

    fn finish(&mut self) {
        self.close();
    }

    fn abort(&mut self) {
        tcp::Socket::abort(self);
    }
}

impl Smol {
    pub(super) fn new(app: App, shape: Shape, now: Instant) -> Smol {
        let mut config = Config::new(HardwareAddress::Ip);
        config.random_seed = shape.seed;
        let mut wire = Wire { mtu: shape.mtu, arrived: VecDeque::new(), sent: Vec::new() };
        let mut interface = Interface::new(config, &mut wire, smol_time(now));
        interface.update_ip_addrs(|addresses| {
            addresses.push(IpCidr::new(IpAddress::Ipv4(ADDRESS), 24)).expect("room for one address");
        });
        let buffer = |size: usize| tcp::SocketBuffer::new(vec![0; size]);
        let mut socket = tcp::Socket::new(buffer(shape.recv), buffer(shape.send));
        socket.set_nagle_enabled(shape.nagle);
        if !shape.delayed_ack {
            socket.set_ack_delay(None);
        }
        if shape.timestamps {
            socket.set_tsval_generator(Some(|| CLOCK.get()));
        }
        let mut sockets = SocketSet::new(Vec::new());
        let handle = sockets.add(socket);
        let mut smol =
            Smol { app, shape, interface, wire, sockets, handle, started: false, given_up: false, poll_at: None };
        smol.socket().listen(PORT).expect("a fresh socket listens");
        smol
    }

    pub(super) fn open(&mut self, now: Instant) {
        let socket = self.sockets.get_mut::<tcp::Socket>(self.handle);
        socket.abort();
        socket.connect(self.interface.context(), (OTHER_ADDRESS, OTHER_PORT), PORT).expect("a closed socket connects");
        self.poll_at = Some(now);
    }

    fn socket(&mut self) -> &mut tcp::Socket<'static> {
        self.sockets.get_mut::<tcp::Socket>(self.handle)
    }

    fn state(&self) -> tcp::State {
        self.sockets.get::<tcp::Socket>(self.handle).state()
    }
}

impl End for Smol {
    fn app(&self) -> &App {
        &self.app
    }

    fn work(&mut self, now: Instant, random: &mut Random, out: &mut Vec<Vec<u8>>) {
        CLOCK.set(now.total_millis() as u32);
        self.interface.poll(smol_time(now), &mut self.wire, &mut self.sockets);
        let state = self.state();
        self.started |= !matches!(state, tcp::State::Listen | tcp::State::SynSent | tcp::State::SynReceived);
        if matches!(state, tcp::State::TimeWait | tcp::State::LastAck | tcp::State::Closing) {
            // At the end of TIME_WAIT it drops what was not read.
            (self.app.pauses, self.app.paused_until) = (0, Instant::ZERO);
        }
        let socket = self.sockets.get_mut::<tcp::Socket>(self.handle);
        // Its close() in a handshake gives the connection up, unlike ours.
        if self.started {
            self.app.turn(socket, now, random);
        }
        self.interface.poll(smol_time(now), &mut self.wire, &mut self.sockets);
        self.poll_at =
            self.interface.poll_at(smol_time(now), &self.sockets).map(|at| Instant::from_micros(at.total_micros()));
        out.extend(self.wire.sent.drain(..).map(|mut packet| packet.split_off(IP)));
    }

    fn receive(&mut self, tcp: &[u8], now: Instant) {
        let repr = Ipv4Repr {
            src_addr: OTHER_ADDRESS,
            dst_addr: ADDRESS,
            next_header: IpProtocol::Tcp,
            payload_len: tcp.len(),
            hop_limit: 64,
        };
        let mut packet = vec![0; IP + tcp.len()];
        repr.emit(&mut Ipv4Packet::new_unchecked(&mut packet), &ChecksumCapabilities::ignored());
        packet[IP..].copy_from_slice(tcp);
        packet[IP..IP + 2].copy_from_slice(&OTHER_PORT.to_be_bytes());
        packet[IP + 2..IP + 4].copy_from_slice(&PORT.to_be_bytes());
        self.wire.arrived.push_back(packet);
        self.poll_at = Some(now);
    }

    fn too_big(&mut self, _: usize) {}

    fn due(&self, now: Instant) -> Option<Instant> {
        let socket = self.sockets.get::<tcp::Socket>(self.handle);
        let application = if self.started { self.app.due(socket.readable(), socket.room(), now) } else { None };
        earliest(application, self.poll_at)
    }

    fn on_due(&mut self, _: Instant) -> bool {
        false
    }

    fn standing(&self) -> Standing {
        let socket = self.sockets.get::<tcp::Socket>(self.handle);
        let over = match socket.state() {
            // What has arrived can still be read.
            tcp::State::Closed if socket.recv_queue() > 0 && !self.app.aborted && !self.given_up => false,
            tcp::State::Closed => true,
            // A reset in the handshake takes it back to where it was.
            tcp::State::Listen => self.given_up || self.started,
            _ => false,
        };
        match over {
            false => Standing::Open,
            true if self.app.aborted || self.given_up => Standing::Broken,
            true => Standing::Finished,
        }
    }

    fn give_up(&mut self, now: Instant) {
        self.given_up = true;
        self.socket().abort();
        self.poll_at = Some(now);
    }

    fn waits(&self) -> bool {
        let socket = self.sockets.get::<tcp::Socket>(self.handle);
        let ending = matches!(socket.state(), tcp::State::FinWait1 | tcp::State::Closing | tcp::State::LastAck);
        socket.send_queue() == 0 && !ending
    }

    fn check(&self) {}

    fn describe(&self) -> String {
        format!("smoltcp, {:?}, {:?}, {}", self.shape, self.app, self.state())
    }

    fn rebuilt(&self) -> u64 {
        0
    }
}
