//! What the simulator asks of an end, and segments as they are on the wire.

use super::app::App;
use super::random::Random;
use crate::tcp::{Flags, OPTIONS_MAX, Options, Segment, SeqNumber, Transmit};
use crate::time::Instant;

/// How an end is, for the simulator's verdict.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Standing {
    /// Nothing has come yet, or the handshake or the transfer is under way.
    Open,
    /// Ended in order.
    Finished,
    /// By a reset, a timeout or its own application.
    Broken,
}

/// One end of the link.
pub(super) trait End {
    fn app(&self) -> &App;
    /// The application's turn, and the end's own work at this moment. Segments to send go to `out`.
    fn work(&mut self, now: Instant, random: &mut Random, out: &mut Vec<Vec<u8>>);
    /// A segment arrives.
    fn receive(&mut self, tcp: &[u8], now: Instant);
    /// The path carries packets of `mtu` bytes only.
    fn too_big(&mut self, mtu: usize);
    /// When something is due without anything arriving.
    fn due(&self, now: Instant) -> Option<Instant>;
    /// Handles what is due; true when it was a timer that a clean link has no need of.
    fn on_due(&mut self, now: Instant) -> bool;
    fn standing(&self) -> Standing;
    /// The application loses its patience.
    fn give_up(&mut self, now: Instant);
    /// It has nothing to send, and the other end may send.
    fn waits(&self) -> bool;
    /// Checks what must hold at every moment.
    fn check(&self);
    fn describe(&self) -> String;
    /// How often the connection was exported and rebuilt.
    fn rebuilt(&self) -> u64;
}

/// The bytes of a segment, without ports and checksum.
pub(super) fn encode(t: &Transmit, payload: &[u8]) -> Vec<u8> {
    let mut buffer = [0; OPTIONS_MAX];
    let options = t.options.emit(&mut buffer);
    let options = &buffer[..options];
    let mut tcp = vec![0; 4];
    tcp.extend(t.seq.0.to_be_bytes());
    tcp.extend(t.ack.0.to_be_bytes());
    tcp.push((((20 + options.len()) / 4) << 4) as u8);
    tcp.push(t.flags.control());
    tcp.extend(t.window.to_be_bytes());
    tcp.extend([0, 0]);
    tcp.extend(t.urgent.to_be_bytes());
    tcp.extend(options);
    tcp.extend(payload);
    tcp
}

pub(super) fn decode(tcp: &[u8]) -> Segment<'_> {
    Segment::parse(tcp).expect("ends send whole segments")
}

/// The reset that a host without a connection answers `segment` with (RFC 9293 section 3.10.7.1).
pub(super) fn reset_for(segment: &Segment<'_>) -> Option<Transmit> {
    if segment.flags.contains(Flags::RST) {
        return None;
    }
    let acks = segment.flags.contains(Flags::ACK);
    Some(Transmit {
        seq: if acks { segment.ack } else { SeqNumber(0) },
        ack: if acks { SeqNumber(0) } else { segment.seq + segment.len() },
        flags: if acks { Flags::RST } else { Flags::RST | Flags::ACK },
        window: 0,
        urgent: 0,
        options: Options::default(),
        offset: 0,
        len: 0,
    })
}
