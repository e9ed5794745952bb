//! A scripted TCP guest: every segment is sent and expected by hand.

use super::frame::*;
use super::instance::Instance;
use std::net::{Ipv4Addr, SocketAddrV4};

/// The option bytes for a maximum segment size.
pub fn mss_option(mss: u16) -> Vec<u8> {
    let m = mss.to_be_bytes();
    vec![2, 4, m[0], m[1]]
}

/// The guest's side of one connection.
#[derive(Clone, Debug)]
pub struct Conn {
    pub guest: SocketAddrV4,
    pub peer: SocketAddrV4,
    pub snd_nxt: u32,
    pub rcv_nxt: u32,
    /// What the guest advertises.
    pub window: u16,
    /// The SYN or SYN-ACK of the library.
    pub hello: Option<Segment>,
    /// The latest window and acknowledgement of the library, unscaled.
    pub snd_wnd: u16,
    pub snd_una: u32,
    /// A FIN that came with or right behind data and is not acknowledged yet.
    pub fin: Option<Segment>,
}

/// How the library answered a SYN.
#[derive(Debug)]
pub enum Reply {
    SynAck(Conn),
    Reset(Packet, Segment),
    Icmp(Packet, Icmp),
}

pub const GUEST_ISS: u32 = 1_000_000;

impl Conn {
    pub fn new(instance: &Instance, peer: SocketAddrV4) -> Conn {
        Conn {
            guest: SocketAddrV4::new(GUEST, instance.fresh_port()),
            peer,
            snd_nxt: GUEST_ISS,
            rcv_nxt: 0,
            window: 65535,
            hello: None,
            snd_wnd: 0,
            snd_una: GUEST_ISS,
            fin: None,
        }
    }

    /// A segment with the current numbers; the caller changes what it wants to be different.
    pub fn segment(&self, flags: u8, payload: &[u8]) -> Segment {
        Segment {
            src: self.guest,
            dst: self.peer,
            seq: self.snd_nxt,
            ack: if flags & ACK != 0 { self.rcv_nxt } else { 0 },
            flags,
            window: self.window,
            urgent: 0,
            options: Vec::new(),
            payload: payload.to_vec(),
        }
    }

    /// Sends a segment with the current numbers and counts its sequence space.
    pub fn send(&mut self, instance: &Instance, flags: u8, payload: &[u8]) {
        instance.input(&self.segment(flags, payload).frame());
        let space = payload.len() as u32 + u32::from(flags & SYN != 0) + u32::from(flags & FIN != 0);
        self.snd_nxt = self.snd_nxt.wrapping_add(space);
    }

    /// Sends data with PSH and ACK.
    pub fn data(&mut self, instance: &Instance, payload: &[u8]) {
        self.send(instance, PSH | ACK, payload);
    }

    pub fn syn(&mut self, instance: &Instance, options: &[u8]) {
        let segment = Segment { options: options.to_vec(), ..self.segment(SYN, b"") };
        instance.input(&segment.frame());
        self.snd_nxt = self.snd_nxt.wrapping_add(1);
    }

    /// Whether a segment of the library belongs to this connection.
    pub fn is_mine(&self, s: &Segment) -> bool {
        s.src == self.peer && s.dst == self.guest
    }

    /// SYN with `options`, and whatever answers it.
    pub fn try_connect(instance: &Instance, peer: SocketAddrV4, options: &[u8]) -> Reply {
        let mut conn = Conn::new(instance, peer);
        conn.syn(instance, options);
        conn.reply(instance)
    }

    /// Waits for the answer to a SYN that went out; a SYN-ACK is acknowledged.
    pub fn reply(mut self, instance: &Instance) -> Reply {
        let frame = instance.wait("an answer to the SYN", |f| {
            let mine = f.tcp().is_some_and(|s| self.is_mine(&s));
            let icmp = f.icmp().is_some_and(|i| i.kind == 3);
            (mine || icmp).then(|| f.clone())
        });
        let packet = frame.ip().expect("only IP frames were picked").clone();
        if let Some(i) = frame.icmp() {
            return Reply::Icmp(packet, i);
        }
        let s = frame.tcp().expect("a segment was picked");
        if s.has(RST) {
            return Reply::Reset(packet, s);
        }
        assert!(s.has(SYN | ACK) && s.ack == self.snd_nxt, "not a SYN-ACK: {s:?}");
        self.rcv_nxt = s.seq.wrapping_add(1);
        self.note(&s);
        self.hello = Some(s);
        self.send(instance, ACK, b"");
        Reply::SynAck(self)
    }

    /// A connection to `peer` with an MSS of 1460 offered.
    pub fn connect(instance: &Instance, peer: SocketAddrV4) -> Conn {
        Conn::connect_with(instance, peer, &mss_option(1460))
    }

    pub fn connect_with(instance: &Instance, peer: SocketAddrV4, options: &[u8]) -> Conn {
        match Conn::try_connect(instance, peer, options) {
            Reply::SynAck(conn) => conn,
            other => panic!("no connection to {peer}: {other:?}"),
        }
    }

    /// Waits for a SYN to the guest's `port` and completes the handshake.
    pub fn accept(instance: &Instance, port: u16, options: &[u8]) -> Conn {
        let mut conn = Conn::incoming(instance, port);
        conn.answer_syn(instance, options);
        conn
    }

    /// Waits for a SYN to the guest's `port`; the guest has not answered it yet.
    pub fn incoming(instance: &Instance, port: u16) -> Conn {
        let pick = |f: &Frame| f.tcp().filter(|s| s.dst.port() == port && s.flags == SYN);
        let syn = instance.wait("a SYN to the guest", pick);
        Conn {
            guest: syn.dst,
            peer: syn.src,
            snd_nxt: GUEST_ISS,
            rcv_nxt: syn.seq.wrapping_add(1),
            window: 65535,
            snd_wnd: syn.window,
            snd_una: GUEST_ISS,
            hello: Some(syn),
            fin: None,
        }
    }

    /// Sends the SYN-ACK and waits for the ACK.
    pub fn answer_syn(&mut self, instance: &Instance, options: &[u8]) {
        let segment = Segment { options: options.to_vec(), ..self.segment(SYN | ACK, b"") };
        instance.input(&segment.frame());
        self.snd_nxt = self.snd_nxt.wrapping_add(1);
        let want = self.snd_nxt;
        let ack = self.expect(instance, "the ACK of the SYN-ACK", |s| s.has(ACK) && s.ack == want && !s.has(RST));
        // Data may ride on the ACK; then it must stay to be read.
        if !ack.payload.is_empty() {
            let mut frames = instance.drain_raw();
            let packet = Ip { src: *ack.src.ip(), ..Ip::new(*ack.dst.ip(), TCP) }.packet(&ack.bytes());
            let mut frame = GUEST_MAC.to_vec();
            frame.extend_from_slice(&VHOST_MAC);
            frame.extend_from_slice(&[8, 0]);
            frame.extend_from_slice(&packet);
            frames.push_front(frame);
            instance.put_back(frames);
        }
    }

    fn note(&mut self, s: &Segment) {
        self.snd_wnd = s.window;
        if s.has(ACK) {
            self.snd_una = s.ack;
        }
    }

    /// The next segment of this connection that is already there.
    pub fn next(&mut self, instance: &Instance) -> Option<Segment> {
        let s = instance.take(|f| f.tcp().filter(|s| self.is_mine(s)))?;
        self.note(&s);
        Some(s)
    }

    /// Waits for a segment of this connection that `ok` accepts; earlier ones are noted and dropped.
    pub fn expect(&mut self, instance: &Instance, what: &str, ok: impl Fn(&Segment) -> bool) -> Segment {
        instance.until(what, || {
            while let Some(s) = self.next(instance) {
                if ok(&s) {
                    return Some(s);
                }
            }
            None
        })
    }

    /// Receives exactly `len` bytes in order, acknowledging each segment; the sizes of the segments and the bytes.
    pub fn receive(&mut self, instance: &Instance, len: usize) -> (Vec<usize>, Vec<u8>) {
        let (mut sizes, mut bytes) = (Vec::new(), Vec::new());
        instance.until("data for the guest", || {
            while let Some(s) = self.next(instance) {
                assert!(!s.has(RST), "reset while {} of {len} bytes were received", bytes.len());
                if s.payload.is_empty() && !s.has(FIN) {
                    continue;
                }
                if s.seq == self.rcv_nxt {
                    self.rcv_nxt = self.rcv_nxt.wrapping_add(s.payload.len() as u32);
                    sizes.push(s.payload.len());
                    bytes.extend_from_slice(&s.payload);
                    if s.has(FIN) {
                        assert_eq!(bytes.len(), len, "FIN in the middle of the data");
                        // Not acknowledged here: the caller expects the FIN by itself.
                        instance.input(&self.segment(ACK, b"").frame());
                        self.fin = Some(s);
                        break;
                    }
                }
                instance.input(&self.segment(ACK, b"").frame());
            }
            (bytes.len() >= len).then_some(())
        });
        (sizes, bytes)
    }

    /// Waits for the library's FIN and acknowledges it.
    pub fn expect_fin(&mut self, instance: &Instance) -> Segment {
        let seq = self.rcv_nxt;
        let is_fin = |s: &Segment| s.has(FIN) && s.seq.wrapping_add(s.payload.len() as u32) == seq;
        let fin = match self.fin.take() {
            Some(fin) => fin,
            None => self.expect(instance, "a FIN", is_fin),
        };
        self.rcv_nxt = self.rcv_nxt.wrapping_add(1);
        instance.input(&self.segment(ACK, b"").frame());
        fin
    }

    /// Waits until the library acknowledged everything the guest sent.
    pub fn expect_acked(&mut self, instance: &Instance) -> Segment {
        let want = self.snd_nxt;
        self.expect(instance, "an ACK of everything sent", |s| s.has(ACK) && s.ack == want)
    }

    /// True when the library shows this connection in its list, in `state` if given.
    pub fn listed(&self, instance: &Instance, state: &str) -> bool {
        let (ip, port) = (self.guest.ip().to_string(), self.guest.port().to_string());
        instance.flows(&format!("TCP[{state}")).iter().any(|l| {
            let c: Vec<&str> = l.split_whitespace().collect();
            (c[2] == ip && c[3] == port) || (c[4] == ip && c[5] == port)
        })
    }
}

/// A vhost address with this port.
pub fn at_vhost(port: u16) -> SocketAddrV4 {
    SocketAddrV4::new(VHOST, port)
}

pub fn at(address: Ipv4Addr, port: u16) -> SocketAddrV4 {
    SocketAddrV4::new(address, port)
}
