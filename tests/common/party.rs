//! The guest's side of one TCP connection, every segment by hand, over either family.

use super::family::Family;
use super::frame::*;
use super::frame6::{GUEST6, Ip6, packet6};
use super::host::accept;
use super::instance::Instance;
use std::net::{SocketAddr, TcpStream};

/// A segment of the library.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heard {
    pub seq: u32,
    pub ack: u32,
    pub flags: u8,
    /// As it stands in the header.
    pub window: u16,
    pub payload: Vec<u8>,
}

impl Heard {
    pub fn has(&self, flags: u8) -> bool {
        self.flags & flags == flags
    }
}

/// The guest's side of one connection.
#[derive(Clone, Debug)]
pub struct Party {
    pub guest: SocketAddr,
    pub peer: SocketAddr,
    pub seq: u32,
    pub ack: u32,
    pub ttl: u8,
    /// Of its SYN.
    pub options: Vec<u8>,
    /// The urgent pointer of segments with URG.
    pub urgent: u16,
    /// The library's initial sequence number.
    pub start: u32,
}

impl Party {
    /// A guest that has not said anything yet.
    pub fn new(i: &Instance, family: Family, peer: impl Into<SocketAddr>) -> Party {
        let guest = SocketAddr::new(family.guest(), i.fresh_port());
        if family == Family::V6 {
            i.greet6(GUEST6);
        }
        Party { guest, peer: peer.into(), seq: 1_000_000, ack: 0, ttl: 64, options: Vec::new(), urgent: 0, start: 0 }
    }

    /// The IP packet with a segment of these numbers.
    pub fn frame(&self, seq: u32, flags: u8, payload: &[u8]) -> Vec<u8> {
        let ack = if flags & ACK != 0 { self.ack } else { 0 };
        let urgent = if flags & URG != 0 { self.urgent } else { 0 };
        match (self.guest, self.peer) {
            (SocketAddr::V4(src), SocketAddr::V4(dst)) => {
                let options = if flags & SYN != 0 { self.options.clone() } else { Vec::new() };
                let payload = payload.to_vec();
                let segment = Segment { src, dst, seq, ack, flags, window: 65535, urgent, options, payload };
                Ip { src: *src.ip(), ttl: self.ttl, ..Ip::new(*dst.ip(), TCP) }.frame(&segment.bytes())
            }
            (SocketAddr::V6(src), SocketAddr::V6(dst)) => {
                let ip = Ip6 { src: *src.ip(), hop_limit: self.ttl, ..Ip6::new(*dst.ip(), TCP) };
                let options: &[u8] = if flags & SYN != 0 { &self.options } else { &[] };
                ip.tcp_with((src.port(), dst.port()), (seq, ack), flags, urgent, options, payload)
            }
            _ => panic!("two families in one connection"),
        }
    }

    /// Sends a segment whose sequence number is the given one; nothing is counted.
    pub fn send_at(&self, i: &Instance, seq: u32, flags: u8, payload: &[u8]) {
        i.input(&self.frame(seq, flags, payload));
    }

    /// Sends the next segment.
    pub fn send(&mut self, i: &Instance, flags: u8, payload: &[u8]) {
        self.send_at(i, self.seq, flags, payload);
        let controls = u32::from(flags & SYN != 0) + u32::from(flags & FIN != 0);
        self.seq = self.seq.wrapping_add(payload.len() as u32 + controls);
    }

    /// The segment in a frame, when it is one of this connection.
    pub fn heard(&self, frame: &Frame) -> Option<Heard> {
        if let Some(s) = frame.tcp() {
            let mine = (SocketAddr::from(s.src), SocketAddr::from(s.dst)) == (self.peer, self.guest);
            return mine.then_some(Heard {
                seq: s.seq,
                ack: s.ack,
                flags: s.flags,
                window: s.window,
                payload: s.payload,
            });
        }
        let s = packet6(frame)?.tcp()?;
        let mine = (SocketAddr::from(s.src), SocketAddr::from(s.dst)) == (self.peer, self.guest);
        mine.then_some(Heard { seq: s.seq, ack: s.ack, flags: s.flags, window: s.window, payload: s.payload })
    }

    /// What came for this connection since the last look.
    pub fn all(&self, i: &Instance) -> Vec<Heard> {
        std::iter::from_fn(|| i.take(|f| self.heard(f))).collect()
    }

    /// Waits for a segment of this connection that `ok` accepts; earlier ones are dropped.
    pub fn expect(&self, i: &Instance, what: &str, ok: impl Fn(&Heard) -> bool) -> Heard {
        i.wait(what, |f| self.heard(f).filter(|s| ok(s)))
    }

    /// The handshake of a connection that the guest opens.
    pub fn connect(i: &Instance, family: Family, peer: impl Into<SocketAddr>) -> Party {
        let mut party = Party::new(i, family, peer);
        party.open(i);
        party
    }

    /// The same with options in the SYN.
    pub fn connect_with(i: &Instance, family: Family, peer: impl Into<SocketAddr>, options: &[u8]) -> Party {
        let mut party = Party { options: options.to_vec(), ..Party::new(i, family, peer) };
        party.open(i);
        party
    }

    /// A connection of the guest to a listener on the host, both established.
    pub fn with_host(i: &Instance, family: Family) -> (Party, TcpStream) {
        let (listener, port) = family.tcp_listener();
        let party = Party::connect(i, family, family.at_vhost(port));
        let host = accept(i, &listener);
        i.settle();
        (party, host)
    }

    /// An instance with such a connection after a silence: nothing waits on either side.
    pub fn after_silence(family: Family) -> (Box<Instance>, Party, TcpStream) {
        let i = family.setup().start();
        let (party, host) = Party::with_host(&i, family);
        i.settle();
        i.drain();
        (i, party, host)
    }

    /// Sends a SYN, waits for its answer and acknowledges that.
    pub fn open(&mut self, i: &Instance) {
        self.send(i, SYN, b"");
        let want = self.seq;
        let hello = self.expect(i, "a SYN-ACK", |s| s.flags == SYN | ACK && s.ack == want);
        (self.start, self.ack) = (hello.seq, hello.seq.wrapping_add(1));
        self.send(i, ACK, b"");
    }

    /// Waits for a SYN to the guest's `port` and completes the handshake.
    pub fn accept(i: &Instance, family: Family, port: u16) -> Party {
        let mut party = Party::new(i, family, SocketAddr::new(family.vhost(), 0));
        party.guest = SocketAddr::new(family.guest(), port);
        let (peer, seq) = i.wait("a SYN to the guest", |f| match f.tcp() {
            Some(s) => (s.dst.port() == port && s.flags == SYN).then(|| (SocketAddr::from(s.src), s.seq)),
            None => packet6(f)
                .and_then(|p| p.tcp())
                .filter(|s| s.dst.port() == port && s.flags == SYN)
                .map(|s| (SocketAddr::from(s.src), s.seq)),
        });
        (party.peer, party.ack) = (peer, seq.wrapping_add(1));
        party.send(i, SYN | ACK, b"");
        let want = party.seq;
        party.expect(i, "the end of the handshake", |s| s.flags & (SYN | RST | ACK) == ACK && s.ack == want);
        party
    }

    /// Receives `len` bytes, acknowledging each segment.
    pub fn receive(&mut self, i: &Instance, len: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        while bytes.len() < len {
            let s = self.expect(i, "data for the guest", |s| !s.payload.is_empty() || s.has(RST));
            assert!(!s.has(RST), "reset after {} of {len} bytes", bytes.len());
            if s.seq == self.ack {
                self.ack = self.ack.wrapping_add(s.payload.len() as u32);
                bytes.extend(s.payload);
            }
            self.send(i, ACK, b"");
        }
        bytes
    }

    /// Waits for the library's FIN and acknowledges it.
    pub fn expect_fin(&mut self, i: &Instance) {
        let want = self.ack;
        self.expect(i, "a FIN", |s| s.has(FIN) && s.seq.wrapping_add(s.payload.len() as u32) == want);
        self.ack = self.ack.wrapping_add(1);
        self.send(i, ACK, b"");
    }

    /// Waits until the library has acknowledged everything.
    pub fn expect_acked(&self, i: &Instance) {
        let want = self.seq;
        self.expect(i, "an acknowledgment", |s| s.has(ACK) && s.ack == want);
    }

    /// Answers whatever came, as a live stack with nothing to say does: what it had already, or cannot take, is acknowledged.
    /// Returns how many segments were answered.
    pub fn answer(&mut self, i: &Instance) -> usize {
        let old: Vec<Heard> = self.all(i).into_iter().filter(|s| s.seq != self.ack || s.has(FIN)).collect();
        old.iter().for_each(|s| {
            assert!(!s.has(RST), "{s:?}");
            self.send(i, ACK, b"");
        });
        old.len()
    }

    /// Whether the library lists this connection, in `state` if one is given.
    pub fn listed(&self, i: &Instance, state: &str) -> bool {
        let port = self.guest.port().to_string();
        let lines = i.flows(&format!("TCP[{state}"));
        let of_guest = |line: &String| line.split_whitespace().any(|column| column == port);
        lines.iter().any(|line| !line.starts_with("TCP[HOST_FORWARD") && of_guest(line))
    }
}
