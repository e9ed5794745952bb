//! Name servers and TFTP's files that the program itself provides, through a whole stack. The stack's time is the test's own.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use oxislirp::{
    Caller, Config, ConfigBuilder, Glance, Instant, NameServerList, NameServerSource, Output, Stack, TftpFile,
    TftpFiles, TftpOpenError, TftpSource,
};

const GUEST_MAC: [u8; 6] = [0x52, 0x54, 0, 0x12, 0x34, 0x56];
const GUEST: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 15);
const HOST: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 2);
const NAME_SERVER: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 3);

/// A guest that sends datagrams, and its network.
struct Guest {
    stack: Stack,
    now: Instant,
    /// What came and was not looked at yet.
    frames: Vec<Vec<u8>>,
}

impl Guest {
    fn new(config: ConfigBuilder) -> Guest {
        let stack = Stack::new(config.build().unwrap()).unwrap();
        let mut guest = Guest { stack, now: Instant::from_secs(1), frames: Vec::new() };
        guest.say_who_i_am();
        guest
    }

    /// An ARP request for the host (RFC 826).
    fn say_who_i_am(&mut self) {
        let mut arp = vec![0, 1, 8, 0, 6, 4, 0, 1];
        arp.extend([&GUEST_MAC[..], &GUEST.octets(), &[0; 6], &HOST.octets()].concat());
        self.input(0x0806, &arp);
        assert_eq!(self.output().len(), 1);
    }

    fn input(&mut self, ethertype: u16, packet: &[u8]) {
        let frame = [&[0xff; 6][..], &GUEST_MAC, &ethertype.to_be_bytes(), packet].concat();
        self.stack.input(&frame, Caller::Loop, self.now);
    }

    /// Sends a datagram from a port of the guest's.
    fn send(&mut self, from: u16, to: Ipv4Addr, port: u16, payload: &[u8]) {
        let length = 8 + payload.len() as u16;
        let mut packet = vec![0x45, 0];
        packet.extend((20 + length).to_be_bytes());
        packet.extend([0, 1, 0, 0, 64, 17, 0, 0]);
        packet.extend(GUEST.octets());
        packet.extend(to.octets());
        let sum: u32 = packet.chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
        let folded = (sum & 0xffff) + (sum >> 16);
        packet[10..12].copy_from_slice(&(!(folded as u16 + (folded >> 16) as u16)).to_be_bytes());
        for part in [from, port, length, 0] {
            packet.extend(part.to_be_bytes());
        }
        packet.extend(payload);
        self.input(0x0800, &packet);
    }

    /// One round of an application's loop, after so much time.
    fn round(&mut self, after: Duration) {
        self.now += after;
        self.stack.handle_events(Glance::Unknown, self.now);
        let frames = self.output();
        self.frames.extend(frames);
    }

    /// All frames up to the next sleep.
    fn output(&mut self) -> Vec<Vec<u8>> {
        let mut frames = std::mem::take(&mut self.frames);
        loop {
            match self.stack.poll_output(self.now) {
                Output::Frame(frame) => frames.push(frame.to_vec()),
                Output::Effect(_) => {}
                _ => return frames,
            }
        }
    }

    /// The only datagram that came since the last look: the port it was sent to, and its bytes.
    fn received(&mut self) -> (u16, Vec<u8>) {
        let frames = self.output();
        let [frame] = &frames[..] else { panic!("{} frames", frames.len()) };
        assert_eq!((&frame[..6], frame[23]), (&GUEST_MAC[..], 17));
        let length = usize::from(u16::from_be_bytes([frame[38], frame[39]]));
        (u16::from_be_bytes([frame[36], frame[37]]), frame[42..34 + length].to_vec())
    }
}

/// A name server on this machine.
struct Server(UdpSocket);

impl Server {
    fn new() -> Server {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        Server(socket)
    }

    fn address(&self) -> SocketAddr {
        self.0.local_addr().unwrap()
    }

    /// Waits for a query and answers it.
    fn answer(&self) -> Vec<u8> {
        let mut query = [0; 512];
        let (length, from) = self.0.recv_from(&mut query).expect("a query");
        let mut answer = query[..length].to_vec();
        answer[2] |= 0x80;
        self.0.send_to(&answer, from).unwrap();
        answer
    }
}

/// A query for the address of `x` (RFC 1035 section 4.1).
fn query(id: u16) -> Vec<u8> {
    let [high, low] = id.to_be_bytes();
    vec![high, low, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1, b'x', 0, 0, 1, 0, 1]
}

impl Guest {
    /// Asks the virtual name server; `server` has to be who answers.
    fn ask(&mut self, id: u16, server: &Server) {
        let port = 4000 + id;
        self.send(port, NAME_SERVER, 53, &query(id));
        self.round(Duration::ZERO);
        let answer = server.answer();
        // On one machine a datagram that was sent has arrived.
        self.round(Duration::ZERO);
        assert_eq!(self.received(), (port, answer));
    }
}

#[test]
fn a_fixed_name_server_is_asked_at_its_own_port() {
    let server = Server::new();
    let mut guest = Guest::new(Config::builder().name_server_source(NameServerSource::Fixed(vec![server.address()])));
    for id in 1..4 {
        guest.ask(id, &server);
    }
}

#[test]
fn without_a_name_server_queries_are_refused() {
    let mut guest = Guest::new(Config::builder().name_server_source(NameServerSource::Fixed(Vec::new())));
    guest.send(4000, NAME_SERVER, 53, &query(1));
    guest.round(Duration::ZERO);
    let frames = guest.output();
    let [frame] = &frames[..] else { panic!("{} frames", frames.len()) };
    assert_eq!((frame[23], frame[34]), (1, 3), "ICMP, destination unreachable");
}

#[derive(Debug)]
struct List(Mutex<Vec<SocketAddr>>);

impl NameServerList for List {
    fn name_servers(&self) -> Vec<SocketAddr> {
        self.0.lock().unwrap().clone()
    }
}

#[test]
fn the_programs_own_list_may_change_while_the_stack_runs() {
    let (one, other) = (Server::new(), Server::new());
    let list = Arc::new(List(Mutex::new(vec![one.address()])));
    let source = NameServerSource::Custom(list.clone());
    let mut guest = Guest::new(Config::builder().name_server_source(source));
    guest.ask(1, &one);
    *list.0.lock().unwrap() = vec![other.address()];
    guest.ask(2, &one);
    guest.round(Duration::from_secs(1));
    guest.ask(3, &other);
}

/// Files in memory: `file` has 1,000 bytes, and for `full` there is no room.
#[derive(Debug)]
struct Memory;

#[derive(Debug)]
struct Bytes(Vec<u8>);

fn content() -> Vec<u8> {
    (0..1000u32).map(|at| (at * 7) as u8).collect()
}

impl TftpSource for Memory {
    fn open(&self, name: &[u8]) -> Result<Box<dyn TftpFile>, TftpOpenError> {
        match name {
            b"file" => Ok(Box::new(Bytes(content()))),
            b"full" => Err(TftpOpenError::Lack(io::ErrorKind::OutOfMemory.into())),
            _ => Err(TftpOpenError::Missing),
        }
    }
}

impl TftpFile for Bytes {
    fn size(&self) -> u64 {
        self.0.len() as u64
    }

    fn read_at(&mut self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let rest = self.0.get(offset as usize..).unwrap_or_default();
        let length = rest.len().min(buffer.len());
        buffer[..length].copy_from_slice(&rest[..length]);
        Ok(length)
    }
}

#[test]
fn the_programs_own_files_are_read_with_tftp() {
    let mut guest = Guest::new(Config::builder().tftp(TftpFiles::Custom(Arc::new(Memory))));
    let ask = |guest: &mut Guest, packet: &[u8]| {
        guest.send(5000, HOST, 69, packet);
        guest.received().1
    };
    let content = content();
    let first = [&[0, 3, 0, 1], &content[..512]].concat();
    assert_eq!(ask(&mut guest, b"\0\x01file\0octet\0"), first);
    // The block was lost: after a second it comes again.
    guest.round(Duration::from_millis(999));
    assert_eq!(guest.output().len(), 0);
    guest.round(Duration::from_millis(1));
    assert_eq!(guest.received().1, first);
    assert_eq!(ask(&mut guest, &[0, 4, 0, 1]), [&[0, 3, 0, 2], &content[512..]].concat());
    let sized = ask(&mut guest, b"\0\x01file\0octet\0tsize\x000\0");
    assert_eq!(sized, b"\0\x06tsize\x001000\0");
    assert_eq!(ask(&mut guest, b"\0\x01other\0octet\0"), b"\0\x05\0\x01File not found\0");
    assert_eq!(ask(&mut guest, b"\0\x01full\0octet\0"), b"\0\x05\0\0Out of resources, try again later\0");
}

#[test]
fn without_files_every_request_is_refused() {
    let mut guest = Guest::new(Config::builder());
    guest.send(5000, HOST, 69, b"\0\x01file\0octet\0");
    assert_eq!(guest.received().1, b"\0\x05\0\x02Access violation\0");
}
