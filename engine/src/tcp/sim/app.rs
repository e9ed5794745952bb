//! The application behind an end: it sends a stream that both sides know, reads what comes and compares it, pauses, and
//! ends the connection in its own way.

use std::sync::OnceLock;

use super::random::Random;
use crate::time::{Duration, Instant};

/// The stream repeats after this many bytes, a prime; and how much of it can be compared in one piece.
const PERIOD: usize = 65_521;
const PIECE: usize = 65_536;
/// The least time between an application's turns while there is something for it to do.
const TURN: Duration = Duration::from_micros(2000);

/// `n` bytes of the stream that end `me` sends, from `place` on; fewer than that at the end of a piece.
pub(super) fn stream(me: usize, place: usize, n: usize) -> &'static [u8] {
    static STREAMS: OnceLock<[Vec<u8>; 2]> = OnceLock::new();
    let byte = |me: usize, at: usize| (at.wrapping_mul(31).wrapping_add(at >> 8).wrapping_add(me * 101)) as u8;
    let streams =
        STREAMS.get_or_init(|| [0, 1].map(|me| (0..PERIOD + PIECE).map(|at| byte(me, at % PERIOD)).collect()));
    let start = place % PERIOD;
    &streams[me][start..start + n.min(PIECE)]
}

/// Whether `bytes` are those of the stream of `me` from `place` on.
pub(super) fn is_stream(me: usize, mut place: usize, mut bytes: &[u8]) -> bool {
    while !bytes.is_empty() {
        let expected = stream(me, place, bytes.len());
        let (now, rest) = bytes.split_at(expected.len());
        if now != expected {
            return false;
        }
        (place, bytes) = (place + now.len(), rest);
    }
    true
}

/// How an application ends its direction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Ending {
    /// When all was handed in.
    First,
    /// When all was handed in and the other end has ended its own.
    Last,
    /// It breaks the connection off after so many bytes in both directions, if there are as many.
    Abort(usize),
}

/// What an application has of its connection.
pub(super) trait Stream {
    /// Bytes that can be read now.
    fn readable(&self) -> usize;
    /// Reads `n` of them into `take`, in one or more pieces.
    fn read(&mut self, n: usize, take: &mut dyn FnMut(&[u8]));
    /// Bytes that can be written now.
    fn room(&self) -> usize;
    /// Writes and returns how many bytes were taken.
    fn write(&mut self, bytes: &[u8]) -> usize;
    /// The other end's stream is complete and was read whole.
    fn at_end(&self) -> bool;
    fn finish(&mut self);
    fn abort(&mut self);
}

#[derive(Clone, Debug)]
pub(super) struct App {
    pub me: usize,
    /// What is sent in all.
    pub total: usize,
    pub ending: Ending,
    /// The most that is read in one turn; 0 reads everything.
    pub read_size: usize,
    /// How often of a thousand turns reading pauses, and for how long at most, in milliseconds.
    pub pauses: u64,
    pub pause: u64,
    pub handed: usize,
    pub received: usize,
    pub paused_until: Instant,
    pub paused: u64,
    /// It has ended its direction.
    pub finished: bool,
    pub aborted: bool,
}

impl App {
    pub(super) fn new(me: usize, total: usize, ending: Ending, read_size: usize, pauses: u64, pause: u64) -> App {
        App {
            me,
            total,
            ending,
            read_size,
            pauses,
            pause,
            handed: 0,
            received: 0,
            paused_until: Instant::ZERO,
            paused: 0,
            finished: false,
            aborted: false,
        }
    }

    /// Reads, compares, writes, ends.
    pub(super) fn turn(&mut self, stream_of: &mut dyn Stream, now: Instant, random: &mut Random) {
        if self.aborted {
            return;
        }
        if self.pauses > 0 && now >= self.paused_until && random.permille(self.pauses) {
            self.paused += 1;
            self.paused_until = now + Duration::from_millis(1 + random.below(self.pause));
        }
        if now >= self.paused_until {
            let waiting = stream_of.readable();
            let n = if self.read_size == 0 { waiting } else { waiting.min(self.read_size) };
            let (other, received) = (1 - self.me, &mut self.received);
            stream_of.read(n, &mut |bytes| {
                assert!(is_stream(other, *received, bytes), "bytes from {received} towards {} are wrong", 1 - other);
                *received += bytes.len();
            });
        }
        let mut n = (self.total - self.handed).min(stream_of.room()).min(1 + random.below(30_000) as usize);
        while n > 0 {
            let taken = stream_of.write(stream(self.me, self.handed, n));
            self.handed += taken;
            n -= taken;
            if taken == 0 {
                break;
            }
        }
        let ends = match self.ending {
            Ending::First => self.handed == self.total,
            Ending::Last => self.handed == self.total && stream_of.at_end(),
            Ending::Abort(after) => {
                if self.handed + self.received >= after {
                    self.aborted = true;
                    stream_of.abort();
                    return;
                }
                self.handed == self.total
            }
        };
        if ends && !self.finished {
            self.finished = true;
            stream_of.finish();
        }
    }

    /// When its next turn is due, given what can be read and written.
    pub(super) fn due(&self, readable: usize, room: usize, now: Instant) -> Option<Instant> {
        if self.aborted || (readable == 0 && (self.handed == self.total || room == 0)) {
            return None;
        }
        let paused = readable > 0 && self.paused_until > now && (self.handed == self.total || room == 0);
        Some(if paused { self.paused_until } else { now + TURN })
    }
}
