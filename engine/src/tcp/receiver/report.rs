//! What our segments tell the peer of its own: the acknowledgment and the window, what came early and twice, and its
//! timestamp.

use super::Receiver;
use crate::tcp::due::Due;
use crate::tcp::segment::{Flags, Options, Segment};
use crate::tcp::seq::SeqNumber;
use crate::tcp::timestamps::is_older;
use crate::time::{Duration, Instant};

/// A value that was kept for as long as this is no longer compared: the peer's clock may have wrapped (RFC 7323 section
/// 5.5, for the fastest clock it allows).
const OUTDATED: Duration = Duration::from_secs(24 * 86_400);

/// The peer's timestamps: the variables of RFC 7323 section 4.3.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Echo {
    /// The peer's value that is echoed.
    recent: u32,
    /// When it was taken over.
    at: Instant,
    /// The last acknowledgment that was sent.
    last_ack: SeqNumber,
}

impl Receiver {
    /// The peer uses timestamps, or does not; `value` is its first one.
    pub(crate) fn begin_stamps(&mut self, value: Option<u32>, now: Instant) {
        self.echo = value.map(|recent| Echo { recent, at: now, last_ack: self.nxt });
    }

    /// The peer is found to use selective acknowledgments.
    pub(crate) fn allow_sack(&mut self) {
        self.sack = true;
    }

    /// The value to echo.
    #[inline]
    pub(crate) fn stamp_to_echo(&self) -> u32 {
        self.echo.map_or(0, |echo| echo.recent)
    }

    /// Protection against wrapped sequence numbers (RFC 7323 section 5.3). A segment without the option is accepted, as
    /// other systems do: the numbers still have to fit.
    #[inline]
    pub(crate) fn stamp_is_good(&self, segment: &Segment<'_>, now: Instant) -> bool {
        match (self.echo, segment.options.timestamps) {
            (Some(echo), Some((value, _))) => !is_older(value, echo.recent) || now > echo.at + OUTDATED,
            _ => true,
        }
    }

    /// Keeps the peer's value of a segment that reaches to what was acknowledged last (RFC 7323 section 4.3).
    #[inline]
    pub(crate) fn take_stamp(&mut self, segment: &Segment<'_>, now: Instant) {
        if let Some(echo) = &mut self.echo
            && let Some((value, _)) = segment.options.timestamps
            && segment.seq.le(echo.last_ack)
        {
            echo.recent = value;
            echo.at = now;
        }
    }

    /// Whether a SYN's timestamp is newer than all that was received.
    pub(crate) fn is_newer(&self, syn: &Segment<'_>) -> bool {
        match (self.echo, syn.options.timestamps) {
            (Some(echo), Some((value, _))) => syn.flags.contains(Flags::SYN) && is_older(echo.recent, value),
            _ => false,
        }
    }

    /// A segment goes out that acknowledges what is in order and tells a window of so many bytes.
    #[inline]
    pub(crate) fn acknowledged(&mut self, window: u32) {
        if let Some(echo) = &mut self.echo {
            echo.last_ack = self.nxt;
        }
        self.announced(window);
    }

    /// The peer is told a window of so many bytes.
    #[inline]
    pub(crate) fn announced(&mut self, window: u32) {
        self.edge = self.edge.max(self.nxt + window);
        self.due = Due::empty();
    }

    /// The bytes that the report of what came early and twice takes in the next segment.
    #[inline]
    pub(crate) fn report_len(&self) -> usize {
        let blocks = self.reported_blocks();
        if blocks > 0 { 4 + 8 * blocks } else { 0 }
    }

    #[inline]
    fn reported_blocks(&self) -> usize {
        if !self.sack {
            return 0;
        }
        let early = self.assembler.as_ref().map_or(0, |assembler| assembler.len());
        (early + usize::from(self.twice.is_some())).min(self.most_blocks())
    }

    /// How many blocks there is room for beside the other options.
    fn most_blocks(&self) -> usize {
        if self.echo.is_some() { 3 } else { 4 }
    }

    /// Reports what came early (RFC 2018 section 4), and first of all what came twice (RFC 2883 section 4).
    #[inline]
    pub(crate) fn report(&mut self, options: &mut Options) {
        if !self.sack {
            return;
        }
        let most = self.most_blocks();
        let early = self.assembler.iter().flat_map(|assembler| assembler.newest_first());
        let blocks = self.twice.take().into_iter().chain(early).take(most);
        for (slot, block) in options.sack.iter_mut().zip(blocks) {
            *slot = Some(block);
        }
    }
}
