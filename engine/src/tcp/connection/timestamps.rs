//! The timestamps option (RFC 7323 sections 3 to 5): round trips of repeated segments can be measured, and old duplicates
//! are told from new segments when the sequence numbers have wrapped.

use super::Connection;
use crate::tcp::congestion::Control;
use crate::tcp::segment::{Flags, Segment};
use crate::tcp::seq::SeqNumber;
use crate::time::{Duration, Instant};

/// The option's length in bytes, with the padding in front.
const OPTION_LEN: u16 = 12;

/// The variables of RFC 7323 section 4.3.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Timestamps {
    /// The peer's value that is echoed; `None` before its SYN.
    recent: Option<u32>,
    /// When it was taken over.
    recent_at: Instant,
    /// The last acknowledgment that was sent.
    last_ack: SeqNumber,
    /// What is added to the clock. A connection that was restored continues the values of its former life.
    offset: u32,
}

impl Timestamps {
    /// Before the handshake; `offset` is what is added to the clock.
    pub fn new(offset: u32, now: Instant) -> Timestamps {
        Timestamps { recent: None, recent_at: now, last_ack: SeqNumber(0), offset }
    }
}

/// A value that was kept for as long as this is no longer compared: the peer's clock may have wrapped (RFC 7323 section
/// 5.5, for the fastest clock it allows).
const OUTDATED: Duration = Duration::from_secs(24 * 86_400);

/// The clock of our values: milliseconds (RFC 7323 section 5.4).
fn clock(now: Instant) -> u32 {
    now.total_millis() as u32
}

impl Connection {
    /// The option of a segment to be sent.
    #[inline]
    pub(super) fn timestamps_field(&self, now: Instant) -> Option<(u32, u32)> {
        self.timestamps.map(|stamps| (clock(now).wrapping_add(stamps.offset), stamps.recent.unwrap_or(0)))
    }

    /// The payload of a full segment, in bytes.
    #[inline]
    pub(super) fn payload_mss(&self) -> u16 {
        match self.timestamps {
            Some(_) => self.mss.saturating_sub(OPTION_LEN).max(1),
            None => self.mss,
        }
    }

    /// The peer's SYN agrees to timestamps, or does not.
    pub(super) fn take_syn_timestamps(&mut self, syn: &Segment<'_>) {
        self.timestamps = self.timestamps.zip(syn.options.timestamps).map(|(stamps, (value, _))| Timestamps {
            recent: Some(value),
            last_ack: syn.seq + 1,
            ..stamps
        });
    }

    /// A saved state does not tell which options were agreed on; the peer's segments do.
    pub(super) fn learn_options(&mut self) {
        self.sack = false;
        self.timestamps = None;
        self.learning = true;
    }

    /// Takes up the options that the peer goes on to use. Only a segment that could be taken counts: an old SYN offers what
    /// was never agreed on, and others could make one up.
    #[cold]
    pub(super) fn learn(&mut self, segment: &Segment<'_>, now: Instant) {
        let controls = Flags::SYN | Flags::RST | Flags::ACK;
        let inside = segment.seq.ge(self.rcv_nxt) && segment.seq.le(self.rcv_nxt + self.rcv_wnd());
        let acks = segment.ack.le(self.snd_max) && segment.ack.ge(self.snd_una - self.max_snd_wnd);
        if segment.flags & controls != Flags::ACK || !inside || !acks {
            return;
        }
        if segment.options.sack.iter().any(Option::is_some) {
            self.sack = true;
        }
        if let Some((value, echo)) = segment.options.timestamps
            && self.timestamps.is_none()
        {
            // What it echoes is the last value that it had of us; ours go on from there.
            let offset = echo.wrapping_add(1).wrapping_sub(clock(now));
            self.timestamps = Some(Timestamps { recent: Some(value), recent_at: now, last_ack: self.rcv_nxt, offset });
            self.controller.set_segment(u32::from(self.payload_mss()));
        }
    }

    /// Protection against wrapped sequence numbers (RFC 7323 section 5.3). A segment without the option is accepted, as
    /// other systems do: the numbers still have to fit.
    #[inline]
    pub(super) fn stamp_is_good(&self, segment: &Segment<'_>, now: Instant) -> bool {
        match (self.timestamps, segment.options.timestamps) {
            (Some(Timestamps { recent: Some(recent), recent_at, .. }), Some((value, _))) => {
                !older(value, recent) || now > recent_at + OUTDATED
            }
            _ => true,
        }
    }

    /// Keeps the peer's value of a segment that reaches to what was acknowledged last (RFC 7323 section 4.3).
    #[inline]
    pub(super) fn take_stamp(&mut self, segment: &Segment<'_>, now: Instant) {
        if let Some(stamps) = &mut self.timestamps
            && let Some((value, _)) = segment.options.timestamps
            && segment.seq.le(stamps.last_ack)
        {
            stamps.recent = Some(value);
            stamps.recent_at = now;
        }
    }

    #[inline]
    pub(super) fn note_ack_sent(&mut self) {
        if let Some(stamps) = &mut self.timestamps {
            stamps.last_ack = self.rcv_nxt;
        }
    }

    /// How long ago the value was sent that a segment echoes; `None` when it cannot be told.
    pub(super) fn echo_age(&self, segment: &Segment<'_>, now: Instant) -> Option<Duration> {
        let (_, echo) = segment.options.timestamps?;
        let elapsed = clock(now).wrapping_add(self.timestamps?.offset).wrapping_sub(echo);
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

    /// Whether a SYN's timestamp is newer than all that this connection received.
    pub(super) fn is_newer(&self, syn: &Segment<'_>) -> bool {
        match (self.timestamps.and_then(|stamps| stamps.recent), syn.options.timestamps) {
            (Some(recent), Some((value, _))) => syn.flags.contains(Flags::SYN) && older(recent, value),
            _ => false,
        }
    }
}

/// Whether a value comes before another one; they wrap.
fn older(value: u32, than: u32) -> bool {
    (value.wrapping_sub(than) as i32) < 0
}
