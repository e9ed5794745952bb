#![forbid(unsafe_code)]
#![allow(warnings)]
use crate::time::Instant;
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SeqNumber(pub u32);
impl std::ops::Add<u32> for SeqNumber {
    type Output = SeqNumber;
    fn add(self, o: u32) -> SeqNumber {
        SeqNumber(self.0.wrapping_add(o))
    }
}
bitflags::bitflags! { #[derive(Clone,Copy,PartialEq,Eq,Debug)] pub struct Flags:u8 { const FIN=1; const SYN=2; const RST=4; const PSH=8; const ACK=16; const URG=32; } }
#[derive(Clone, Copy, Default, Debug)]
pub struct Options {}
impl Options {
    pub fn emit(&self, b: &mut [u8]) -> usize {
        0
    }
}
pub struct Segment<'a> {
    pub seq: SeqNumber,
    pub ack: SeqNumber,
    pub flags: Flags,
    pub window: u16,
    pub urgent: u16,
    pub options: Options,
    pub payload: &'a [u8],
}
impl<'a> Segment<'a> {
    pub fn parse(t: &'a [u8]) -> Option<Self> {
        None
    }
    pub fn len(&self) -> u32 {
        0
    }
}
#[derive(Clone, Copy, Debug)]
pub struct Transmit {
    pub seq: SeqNumber,
    pub ack: SeqNumber,
    pub flags: Flags,
    pub window: u16,
    pub urgent: u16,
    pub options: Options,
    pub offset: usize,
    pub len: usize,
}
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum State {
    Opening,
    SynSent,
    SynReceived,
    Established,
    FinWait1,
    FinWait2,
    CloseWait,
    Closing,
    LastAck,
    TimeWait,
    Closed,
}
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Closed {
    Finished,
    ResetByPeer,
    TimedOut,
    Aborted,
}
#[derive(Clone, Copy)]
pub struct Config {
    pub mss: u16,
    pub recv_limit: usize,
    pub send_limit: usize,
    pub window_scale: bool,
}
#[derive(Default)]
pub struct Pool;
pub struct SendBuffer;
pub struct RecvBuffer;
impl SendBuffer {
    pub fn len(&self) -> usize {
        0
    }
    pub fn spaces(&mut self, w: usize, l: usize, p: &mut Pool) -> (&mut [u8], &mut [u8]) {
        (&mut [], &mut [])
    }
    pub fn commit(&mut self, n: usize) {}
    pub fn mark_urgent(&mut self) {}
    pub fn release_if_empty(&mut self, p: &mut Pool) {}
    pub fn slices(&self, o: usize, l: usize) -> (&[u8], &[u8]) {
        (&[], &[])
    }
    pub fn push(&mut self, d: &[u8], l: usize, p: &mut Pool) -> usize {
        0
    }
}
impl RecvBuffer {
    pub fn len(&self) -> usize {
        0
    }
    pub fn slices(&self) -> (&[u8], &[u8]) {
        (&[], &[])
    }
    pub fn urgent(&self) -> Option<usize> {
        None
    }
}
pub struct Connection {
    pub send: SendBuffer,
    pub recv: RecvBuffer,
}
impl Connection {
    pub fn passive(c: &Config, s: &Segment, i: SeqNumber, n: Instant, p: &mut Pool) -> Self {
        todo!()
    }
    pub fn active(c: &Config, i: SeqNumber, n: Instant) -> Self {
        todo!()
    }
    pub fn accept(&mut self, n: Instant) {}
    pub fn on_segment(&mut self, s: &Segment, n: Instant, p: &mut Pool) {}
    pub fn poll_transmit(&mut self, n: Instant) -> Option<Transmit> {
        None
    }
    pub fn has_batched_ack(&self) -> bool {
        false
    }
    pub fn flush_ack(&mut self) {}
    pub fn deadline(&self) -> Option<Instant> {
        None
    }
    pub fn on_deadline(&mut self, n: Instant) {}
    pub fn state(&self) -> State {
        State::Closed
    }
    pub fn closed(&self) -> Option<Closed> {
        None
    }
    pub fn is_established(&self) -> bool {
        false
    }
    pub fn peer_finished(&self) -> bool {
        false
    }
    pub fn consume_received(&mut self, n: usize, p: &mut Pool) {}
    pub fn discard_received(&mut self, p: &mut Pool) {}
    pub fn close_send(&mut self) {}
    pub fn abort(&mut self, n: Instant) {}
    pub fn send_room(&self) -> usize {
        0
    }
    pub fn effective_mss(&self) -> usize {
        1460
    }
    pub fn reusable_by(&self, s: &Segment) -> bool {
        false
    }
    pub fn release(&mut self, p: &mut Pool) {}
}
