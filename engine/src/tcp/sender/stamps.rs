//! Our timestamps (RFC 7323 sections 3 and 4): with what comes back of them the round trips of repeated segments can be
//! measured.

use super::Sender;
use crate::tcp::congestion::Control;
use crate::tcp::segment::Segment;
use crate::tcp::timestamps::{OPTION_LEN, clock};
use crate::time::{Duration, Instant};

impl Sender {
    /// The value of a segment to be sent.
    #[inline]
    pub(crate) fn stamp(&self, now: Instant) -> Option<u32> {
        self.stamps.map(|offset| clock(now).wrapping_add(offset))
    }

    /// Whether timestamps are offered, or were agreed on.
    pub(crate) fn stamps(&self) -> bool {
        self.stamps.is_some()
    }

    /// The peer is found to use timestamps, and echoes `echo`, which is the last value that it had of us: ours go on from
    /// there.
    pub(crate) fn continue_stamps(&mut self, echo: u32, now: Instant) {
        self.stamps = Some(echo.wrapping_add(1).wrapping_sub(clock(now)));
        self.controller.set_segment(u32::from(self.payload_mss()));
    }

    /// The payload of a full segment, in bytes.
    #[inline]
    pub(crate) fn payload_mss(&self) -> u16 {
        match self.stamps {
            Some(_) => self.mss.saturating_sub(OPTION_LEN).max(1),
            None => self.mss,
        }
    }

    /// How long ago the value was sent that a segment echoes; `None` when it cannot be told.
    pub(crate) fn echo_age(&self, segment: &Segment<'_>, now: Instant) -> Option<Duration> {
        let (_, echo) = segment.options.timestamps?;
        let elapsed = clock(now).wrapping_add(self.stamps?).wrapping_sub(echo);
        (echo != 0 && elapsed < 60_000).then(|| Duration::from_millis(u64::from(elapsed)))
    }

    /// The round trip that an echoed value tells, which is right for repeated segments as well (RFC 7323 section 4.1).
    pub(super) fn measure_echo(&mut self, segment: &Segment<'_>, now: Instant) {
        if segment.ack.ge(self.rtt_next)
            && let Some(age) = self.echo_age(segment, now)
        {
            self.rtt.sample(now - age, now);
            self.rtt_next = self.max;
        }
    }
}
