//! Looks at every segment on the wire, as a third party that sees both directions.

use super::app::is_stream;
use super::end::decode;
use crate::tcp::{Flags, SeqNumber};

/// What is known of one end from its segments.
#[derive(Clone, Debug, Default)]
struct Seen {
    iss: Option<SeqNumber>,
    scale: Option<u8>,
    mss: usize,
    sack: bool,
    timestamps: bool,
    /// The largest right edge that its segments announced, and of these the largest that arrived at the other end.
    announced: Option<SeqNumber>,
    arrived: Option<SeqNumber>,
    /// The number after the last payload byte, where the FIN is.
    fin: Option<SeqNumber>,
}

/// What came to pass, so that a run can be told from one that did nothing.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Sights {
    pub segments: u64,
    pub zero_windows: u64,
    pub probes: u64,
    pub resets: u64,
    pub blocks: u64,
    pub stamped: u64,
    pub scaled: u64,
    pub repeated: u64,
    pub urgent: u64,
}

#[derive(Debug)]
pub(super) struct Watch {
    seen: [Seen; 2],
    /// Which ends are ours; of the other's windows not everything is demanded.
    ours: [bool; 2],
    highest: [Option<SeqNumber>; 2],
    pub sights: Sights,
}

fn later(known: Option<SeqNumber>, new: SeqNumber) -> Option<SeqNumber> {
    Some(known.map_or(new, |known| known.max(new)))
}

impl Watch {
    pub(super) fn new(ours: [bool; 2]) -> Watch {
        Watch { seen: Default::default(), ours, highest: [None; 2], sights: Sights::default() }
    }

    /// The shift of the windows that `me` announces: windows are scaled when both have offered it (RFC 7323 section 2.2).
    fn shift(&self, me: usize) -> u8 {
        match (self.seen[me].scale, self.seen[1 - me].scale) {
            (Some(mine), Some(_)) => mine,
            _ => 0,
        }
    }

    /// End `me` sends. `handed` is how much its application has handed in so far.
    pub(super) fn sent(&mut self, me: usize, tcp: &[u8], handed: usize) {
        let segment = decode(tcp);
        self.sights.segments += 1;
        if segment.flags.contains(Flags::RST) {
            self.sights.resets += 1;
            return;
        }
        if segment.flags.contains(Flags::SYN) {
            let seen = &mut self.seen[me];
            assert!(seen.iss.is_none_or(|iss| iss == segment.seq), "another SYN than before");
            seen.iss = Some(segment.seq);
            seen.scale = segment.options.window_scale;
            seen.sack = segment.options.sack_permitted;
            seen.timestamps = segment.options.timestamps.is_some();
            seen.mss = usize::from(segment.options.mss.expect("a SYN without segment size"));
            assert!(segment.payload.is_empty() && !segment.flags.contains(Flags::FIN));
            if segment.flags.contains(Flags::ACK) {
                let edge = segment.ack + u32::from(segment.window);
                self.seen[me].announced = later(self.seen[me].announced, edge);
            }
            return;
        }
        let Some(iss) = self.seen[me].iss else { panic!("a segment before the SYN: {segment:?}") };
        assert!(segment.flags.contains(Flags::ACK), "{segment:?} has no acknowledgment");
        self.window(me, &segment);
        self.options(me, tcp);
        let first = segment.seq.distance(iss + 1) as usize;
        if !segment.payload.is_empty() {
            assert!(is_stream(me, first, segment.payload), "{me} sends other bytes at {first}");
            assert!(first + segment.payload.len() <= handed, "{me} sends what it was never given");
        }
        if segment.flags.contains(Flags::URG) {
            assert!(first + usize::from(segment.urgent) <= handed, "{me} points beyond its data: {segment:?}");
            self.sights.urgent += 1;
        }
        let end = segment.seq + segment.payload.len() as u32;
        if !segment.payload.is_empty() && self.highest[me].is_some_and(|highest| highest.ge(end)) {
            self.sights.repeated += 1;
        }
        if !segment.payload.is_empty() {
            self.highest[me] = later(self.highest[me], end);
        }
        if segment.flags.contains(Flags::FIN) {
            assert!(self.seen[me].fin.is_none_or(|fin| fin == end), "{me} has two ends: {segment:?}");
            self.seen[me].fin = Some(end);
        }
        if let Some(fin) = self.seen[me].fin {
            assert!(segment.payload.is_empty() || end.le(fin), "{me} sends beyond its end: {segment:?}");
        }
        self.fits(me, &segment, tcp.len());
    }

    /// The window that a segment announces.
    fn window(&mut self, me: usize, segment: &crate::tcp::Segment<'_>) {
        let edge = segment.ack + (u32::from(segment.window) << self.shift(me));
        let known = self.seen[me].announced;
        if self.ours[me] {
            // Less than a unit of the scale may be missing (RFC 7323 section 2.4).
            let most = edge + ((1 << self.shift(me)) - 1);
            assert!(known.is_none_or(|known| most.ge(known)), "{me} takes back its window: {segment:?}, was {known:?}");
        }
        self.sights.zero_windows += u64::from(segment.window == 0);
        self.seen[me].announced = later(known, edge);
    }

    /// Whether the payload lies inside of what the other end has announced, and is no larger than it takes.
    fn fits(&mut self, me: usize, segment: &crate::tcp::Segment<'_>, len: usize) {
        let other = &self.seen[1 - me];
        if segment.payload.is_empty() || !self.ours[me] {
            // smoltcp believes windows in the order in which they come.
            return;
        }
        let Some(edge) = other.arrived else { panic!("{me} sends without a window: {segment:?}") };
        let end = segment.seq + segment.payload.len() as u32;
        if end.gt(edge) {
            let probe = segment.payload.len() == 1 && segment.seq == edge;
            assert!(probe, "{me} sends beyond the window, which ends at {edge:?}: {segment:?}");
            self.sights.probes += 1;
        }
        // RFC 6691 section 2: options take their room from the payload.
        assert!(len - 20 <= other.mss, "{me} sends {len} bytes, the segment size is {}", other.mss);
    }

    /// Options are used only when both ends have offered them.
    fn options(&mut self, me: usize, tcp: &[u8]) {
        let options = decode(tcp).options;
        assert!(options.mss.is_none() && options.window_scale.is_none() && !options.sack_permitted);
        let agreed = |offered: fn(&Seen) -> bool| self.seen.iter().all(offered);
        if options.sack[0].is_some() {
            assert!(!self.ours[me] || agreed(|seen| seen.sack), "{me} reports blocks without leave");
            self.sights.blocks += 1;
        }
        if options.timestamps.is_some() {
            assert!(!self.ours[me] || agreed(|seen| seen.timestamps), "{me} stamps without leave");
            self.sights.stamped += 1;
        }
        self.sights.scaled += u64::from(self.shift(me) > 0);
    }

    /// What `me` sent has arrived at the other end.
    pub(super) fn arrived(&mut self, me: usize, tcp: &[u8]) {
        let segment = decode(tcp);
        if segment.flags.contains(Flags::RST) || !segment.flags.contains(Flags::ACK) {
            if segment.flags.contains(Flags::SYN) && !segment.flags.contains(Flags::RST) {
                // A SYN has no acknowledgment: its window counts from the other end's first number on.
                if let Some(iss) = self.seen[1 - me].iss {
                    let edge = iss + 1 + u32::from(segment.window);
                    self.seen[me].arrived = later(self.seen[me].arrived, edge);
                }
            }
            return;
        }
        let shift = if segment.flags.contains(Flags::SYN) { 0 } else { self.shift(me) };
        let edge = segment.ack + (u32::from(segment.window) << shift);
        self.seen[me].arrived = later(self.seen[me].arrived, edge);
    }
}
