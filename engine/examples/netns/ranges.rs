//! Which addresses may be reached.
//!
//! The stack has no rules of its own for that yet, so frames of the guest are looked at on their way to it, and those with a
//! destination that is not allowed are dropped: who connects there waits in vain. Answers need no rule, as nothing was asked.

use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::str::FromStr;

use oxislirp::drive::FrameLink;

/// The addresses that begin with the same bits.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Range {
    address: IpAddr,
    length: u32,
}

impl FromStr for Range {
    type Err = &'static str;

    fn from_str(word: &str) -> Result<Range, &'static str> {
        const WRONG: &str = "not ADDRESS/LENGTH";
        let (address, length) = word.split_once('/').map_or((word, None), |(address, length)| (address, Some(length)));
        let address: IpAddr = address.parse().map_err(|_| WRONG)?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let length = length.map_or(Ok(most), str::parse).map_err(|_| WRONG)?;
        if length > most { Err(WRONG) } else { Ok(Range { address, length }) }
    }
}

impl Range {
    fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address) {
            (IpAddr::V4(ours), IpAddr::V4(theirs)) => {
                (ours.to_bits() ^ theirs.to_bits()).leading_zeros() >= self.length
            }
            (IpAddr::V6(ours), IpAddr::V6(theirs)) => {
                (ours.to_bits() ^ theirs.to_bits()).leading_zeros() >= self.length
            }
            _ => false,
        }
    }

    /// Whether another range is a part of this one, or the same.
    fn has(&self, other: &Range) -> bool {
        self.contains(other.address) && self.length <= other.length
    }
}

/// What may be reached.
#[derive(Debug)]
pub(crate) struct Rules {
    /// The virtual network is always reached, but for a part of it that is denied, and so are groups: neighbors and routers are found
    /// by these.
    pub always: Vec<Range>,
    /// Nothing but these, unless there are none.
    pub allow: Vec<Range>,
    /// Not these.
    pub deny: Vec<Range>,
}

impl Rules {
    fn admits(&self, address: IpAddr) -> bool {
        let within = |ranges: &[Range]| ranges.iter().any(|range| range.contains(address));
        if address.is_multicast() {
            return true;
        }
        if within(&self.always) {
            // A range that has it all, as 10.0.0.0/8, means what is outside.
            let part = |range: &Range| self.always.iter().any(|network| network.has(range));
            return !self.deny.iter().any(|range| range.contains(address) && part(range));
        }
        !within(&self.deny) && (self.allow.is_empty() || within(&self.allow))
    }

    /// Whether a frame goes to an address that may be reached. What is not IP goes to nobody behind the link.
    fn admit(&self, frame: &[u8]) -> bool {
        let destination = match frame.get(12..14) {
            Some([0x08, 0x00]) => frame.get(30..34).and_then(|bytes| bytes.first_chunk::<4>()).map(|&four| four.into()),
            Some([0x86, 0xdd]) => frame.get(38..54).and_then(|bytes| bytes.first_chunk::<16>()).map(|&all| all.into()),
            _ => return true,
        };
        destination.is_some_and(|address| self.admits(address))
    }
}

/// A link of which only those frames are received that the rules admit.
pub(crate) struct Guarded<L> {
    link: L,
    rules: Rules,
}

impl<L> Guarded<L> {
    pub(crate) fn new(link: L, rules: Rules) -> Guarded<L> {
        Guarded { link, rules }
    }
}

impl<L: AsFd> AsFd for Guarded<L> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.link.as_fd()
    }
}

impl<L: FrameLink> FrameLink for Guarded<L> {
    fn receive(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.link.receive(buffer)?;
        let admitted = buffer.get(..length).is_some_and(|frame| self.rules.admit(frame));
        // An empty frame is none.
        Ok(if admitted { length } else { 0 })
    }

    fn send(&mut self, frame: &[u8]) -> io::Result<()> {
        self.link.send(frame)
    }

    fn room_is_writable(&self) -> bool {
        self.link.room_is_writable()
    }

    fn has_own_frame(&self) -> bool {
        self.link.has_own_frame()
    }
}
