//! The queues between the application and its other end, and what is in them.

use std::collections::VecDeque;

use crate::link::handover::marker::Question;

/// How a queue between A and B counts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Kind {
    /// 16 pages; what is written goes on in the last page when it fits there.
    Pipe,
    /// 212,992 bytes; a message counts with the memory it lies in, and the last may go beyond.
    Sockets,
}

const PAGE: usize = 4096;
const PAGES: usize = 16;
const SOCKET_BUFFER: usize = 212_992;

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Frame {
    /// A segment of ours, or of the guest: acknowledged by the other side. The number is its position.
    Segment(u64),
    /// Proves that the segment at this position was read.
    Acknowledgment(u64),
    /// A datagram: answered by nobody.
    Datagram,
    /// A question that is answered at once from inside `slirp_input`.
    Ping,
    Marker(Question),
    Answer(Question),
}

#[derive(Debug)]
pub(super) struct Queue {
    pub kind: Kind,
    pub frames: VecDeque<(Frame, usize)>,
    /// Of a pipe: bytes in each page, the first one less what was read of it.
    pub pages: VecDeque<(usize, usize)>,
    used: usize,
}

impl Queue {
    pub(super) fn new(kind: Kind) -> Queue {
        Queue { kind, frames: VecDeque::new(), pages: VecDeque::new(), used: 0 }
    }

    /// What a socket's buffer is charged for a message.
    fn charge(length: usize) -> usize {
        (length + 384).next_power_of_two().max(512) + 256
    }

    /// Puts in what fits of `left` bytes and returns what does not: the writer sleeps until it does.
    pub(super) fn write(&mut self, frame: Frame, length: usize, left: usize) -> usize {
        let left = match self.kind {
            Kind::Sockets if self.used >= SOCKET_BUFFER => return left,
            Kind::Sockets => {
                self.used += Self::charge(length);
                0
            }
            Kind::Pipe => self.write_pages(left),
        };
        if left == 0 {
            self.frames.push_back((frame, length));
        }
        left
    }

    fn write_pages(&mut self, mut left: usize) -> usize {
        let tail = left % PAGE;
        if let Some((written, _)) = self.pages.back_mut()
            && tail > 0
            && *written + tail <= PAGE
        {
            *written += tail;
            left -= tail;
        }
        while left > 0 && self.pages.len() < PAGES {
            let now = left.min(PAGE);
            self.pages.push_back((now, 0));
            left -= now;
        }
        left
    }

    pub(super) fn read(&mut self) -> Option<(Frame, usize)> {
        let (frame, length) = self.frames.pop_front()?;
        match self.kind {
            Kind::Sockets => self.used -= Self::charge(length),
            Kind::Pipe => {
                let mut left = length;
                while let Some((written, read)) = self.pages.front_mut() {
                    let now = left.min(*written - *read);
                    *read += now;
                    left -= now;
                    if read == written {
                        self.pages.pop_front();
                    }
                    if left == 0 {
                        break;
                    }
                }
            }
        }
        Some((frame, length))
    }
}

/// Numbers from a seed (SplitMix64).
pub(super) struct Random(pub u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    pub(super) fn one_in(&mut self, count: u64) -> bool {
        self.below(count) == 0
    }

    pub(super) fn of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len() as u64) as usize]
    }
}
