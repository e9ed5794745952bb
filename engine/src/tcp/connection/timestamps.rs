//! The timestamps option (RFC 7323 sections 3 to 5): round trips of repeated segments can be measured, and old duplicates
//! are told from new segments when the sequence numbers have wrapped.

use super::Connection;
use crate::tcp::congestion::Control;
use crate::tcp::segment::{Flags, Segment};
use crate::tcp::timestamps::{OPTION_LEN, clock};
use crate::time::{Duration, Instant};

impl Connection {
    /// The option of a segment to be sent.
    #[inline]
    pub(super) fn timestamps_field(&self, now: Instant) -> Option<(u32, u32)> {
        self.stamps.map(|offset| (clock(now).wrapping_add(offset), self.receiver.stamp_to_echo()))
    }

    /// The payload of a full segment, in bytes.
    #[inline]
    pub(super) fn payload_mss(&self) -> u16 {
        match self.stamps {
            Some(_) => self.mss.saturating_sub(OPTION_LEN).max(1),
            None => self.mss,
        }
    }

    /// The peer's SYN agrees to timestamps, or does not.
    pub(super) fn take_syn_timestamps(&mut self, syn: &Segment<'_>, now: Instant) {
        self.stamps = self.stamps.filter(|_| syn.options.timestamps.is_some());
        let value = self.stamps.and(syn.options.timestamps).map(|(value, _)| value);
        self.receiver.begin_stamps(value, now);
    }

    /// A saved state does not tell which options were agreed on; the peer's segments do.
    pub(super) fn learn_options(&mut self) {
        self.sack = false;
        self.stamps = None;
        self.learning = true;
    }

    /// Takes up the options that the peer goes on to use. Only a segment that could be taken counts: an old SYN offers what
    /// was never agreed on, and others could make one up.
    #[cold]
    pub(super) fn learn(&mut self, segment: &Segment<'_>, now: Instant) {
        let controls = Flags::SYN | Flags::RST | Flags::ACK;
        let inside = segment.seq.ge(self.rcv_nxt()) && segment.seq.le(self.rcv_nxt() + self.rcv_wnd());
        let acks = !segment.ack.gt(self.snd_max) && !segment.ack.lt(self.snd_una - self.max_snd_wnd);
        if segment.flags & controls != Flags::ACK || !inside || !acks {
            return;
        }
        if segment.options.sack.iter().any(Option::is_some) {
            self.sack = true;
            self.receiver.allow_sack();
        }
        if let Some((value, echo)) = segment.options.timestamps
            && self.stamps.is_none()
        {
            // What it echoes is the last value that it had of us; ours go on from there.
            self.stamps = Some(echo.wrapping_add(1).wrapping_sub(clock(now)));
            self.receiver.begin_stamps(Some(value), now);
            self.controller.set_segment(u32::from(self.payload_mss()));
        }
    }

    /// How long ago the value was sent that a segment echoes; `None` when it cannot be told.
    pub(super) fn echo_age(&self, segment: &Segment<'_>, now: Instant) -> Option<Duration> {
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
            self.rtt_next = self.snd_max;
        }
    }
}
