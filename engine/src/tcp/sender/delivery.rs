//! How fast the path delivers (draft-cheng-iccrg-delivery-rate-estimation): with each segment it is kept how much had been
//! delivered when it was sent, and its acknowledgment tells how much more has been delivered since, in which time.
//!
//! A sample is never faster than the path: it is of the longer of two times, that in which the bytes were sent and that in
//! which they were acknowledged, so that neither acknowledgments that come in bunches nor a burst after a silence
//! count as speed (section 3.1 there). What was sent while nothing more waited to be sent tells what the host brought, and
//! is marked (section 4.3). Counts and times wrap; only their differences are looked at, and what is in flight is younger
//! than an hour.

use super::scoreboard::Newest;
use crate::tcp::congestion::{Missing, Sample};
use crate::time::{Duration, Instant};

/// What is kept with what is sent (section 4.1.1 there).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Snapshot {
    /// Bytes that had been delivered, and when the last of them were.
    delivered: u32,
    delivered_at: u32,
    /// When the flight was begun that the last delivered bytes belong to.
    first_sent: u32,
    /// Bytes that were in flight, these included.
    pub in_flight: u32,
    /// Bytes that had been found lost.
    lost: u32,
    app_limited: bool,
}

/// The variables of a connection (section 4.1.2 there).
#[derive(Debug, Default)]
pub(super) struct Meter {
    delivered: u32,
    delivered_at: u32,
    first_sent: u32,
    lost: u32,
    /// The host had no more to send until so much was delivered.
    limited_until: Option<u32>,
    /// A round trip ends with the delivery of what was sent after so much had been delivered.
    round_end: u32,
}

/// Microseconds.
fn clock(at: Instant) -> u32 {
    at.total_micros() as u32
}

impl Meter {
    /// `bytes` are sent while `pipe` bytes are in flight.
    #[inline]
    pub(super) fn on_sent(&mut self, pipe: u32, bytes: u32, now: Instant) -> Snapshot {
        if pipe == 0 {
            self.first_sent = clock(now);
            self.delivered_at = clock(now);
        }
        Snapshot {
            delivered: self.delivered,
            delivered_at: self.delivered_at,
            first_sent: self.first_sent,
            in_flight: pipe.saturating_add(bytes),
            lost: self.lost,
            app_limited: self.limited_until.is_some(),
        }
    }

    /// There is no more to send, and room for more than the `pipe` bytes that are in flight.
    #[inline]
    pub(super) fn on_nothing_to_send(&mut self, pipe: u32) {
        self.limited_until = Some(self.delivered.wrapping_add(pipe));
    }

    #[cfg(test)]
    pub(super) fn is_limited(&self) -> bool {
        self.limited_until.is_some()
    }

    /// Bytes were found lost, of which `first` was sent first.
    pub(super) fn on_lost(&mut self, bytes: u32, first: Option<Snapshot>) -> Missing {
        self.lost = self.lost.wrapping_add(bytes);
        let first = first.unwrap_or_default();
        Missing {
            bytes,
            in_flight: first.in_flight,
            lost: self.lost_since(&first),
            total: self.delivered,
            app_limited: first.app_limited,
        }
    }

    /// Bytes that were found lost since a segment was sent.
    pub(super) fn lost_since(&self, sent: &Snapshot) -> u32 {
        self.lost.wrapping_sub(sent.lost)
    }

    /// `bytes` were delivered, of which `newest` were sent last. A time shorter than `least`, the least round trip, is none.
    #[inline]
    pub(super) fn on_delivered(
        &mut self,
        bytes: u32,
        newest: &Newest,
        least: Option<Duration>,
        now: Instant,
    ) -> Sample {
        self.delivered = self.delivered.wrapping_add(bytes);
        self.delivered_at = clock(now);
        if self.limited_until.is_some_and(|until| (self.delivered.wrapping_sub(until) as i32) > 0) {
            self.limited_until = None;
        }
        let sent = &newest.snapshot;
        self.first_sent = clock(newest.sent);
        let round_start = (sent.delivered.wrapping_sub(self.round_end) as i32) >= 0;
        if round_start {
            self.round_end = self.delivered;
        }
        // A clock that was set back makes for times of more than half an hour, which are none.
        let plain = |micros: u32| (micros as i32 >= 0).then_some(micros);
        let sending = plain(self.first_sent.wrapping_sub(sent.first_sent));
        let acking = plain(self.delivered_at.wrapping_sub(sent.delivered_at));
        let micros = u64::from(sending.zip(acking).map_or(0, |(sending, acking)| sending.max(acking)));
        let volume = self.delivered.wrapping_sub(sent.delivered);
        let told = micros > 0 && least.is_none_or(|least| micros >= least.total_micros());
        Sample {
            rate: told.then(|| u64::from(volume) * 1_000_000 / micros.max(1)),
            delivered: bytes,
            volume,
            total: self.delivered,
            prior: sent.delivered,
            in_flight: sent.in_flight,
            app_limited: sent.app_limited,
            round_start,
            // What only the end of the acknowledgment tells.
            pipe: 0,
            lost: 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tcp::seq::SeqNumber;

    const LEAST: Option<Duration> = Some(Duration::from_millis(10));

    fn at(ms: i64) -> Instant {
        Instant::from_millis(ms)
    }

    fn newest(sent: i64, snapshot: Snapshot) -> Newest {
        Newest { sent: at(sent), end: SeqNumber(0), resent: false, snapshot }
    }

    #[test]
    fn the_rate_is_what_was_delivered_in_a_round_trip() {
        let mut meter = Meter::default();
        let sent: Vec<Snapshot> = (0..10).map(|k| meter.on_sent(k * 1000, 1000, at(k.into()))).collect();
        let samples: Vec<Sample> =
            (0..10).map(|k| meter.on_delivered(1000, &newest(k, sent[k as usize]), LEAST, at(10 + k))).collect();
        // The flight was begun at 0 and its last byte was acknowledged after 19 ms.
        assert_eq!(samples[9].rate, Some(10_000 * 1000 / 19));
        assert_eq!((samples[9].volume, samples[9].in_flight), (10_000, 10_000));
        assert!(samples[0].round_start && samples[1..].iter().all(|sample| !sample.round_start));
    }

    #[test]
    fn acknowledgments_that_come_at_once_are_no_speed() {
        let mut meter = Meter::default();
        let mut last = Snapshot::default();
        for k in 0..10 {
            last = meter.on_sent(k * 1000, 1000, at(i64::from(k) * 10));
        }
        // Sent in 90 ms, acknowledged in one moment.
        let first = meter.on_delivered(9000, &newest(80, last), LEAST, at(100));
        let second = meter.on_delivered(1000, &newest(90, last), LEAST, at(100));
        assert_eq!((first.rate, second.rate), (Some(90_000), Some(100_000)));
    }

    #[test]
    fn a_time_shorter_than_the_least_round_trip_tells_nothing() {
        let mut meter = Meter::default();
        let sent = meter.on_sent(0, 1000, at(0));
        assert_eq!(meter.on_delivered(1000, &newest(0, sent), LEAST, at(9)).rate, None);
        let sent = meter.on_sent(0, 1000, at(20));
        assert_eq!(meter.on_delivered(1000, &newest(20, sent), None, at(20)).rate, None, "the clock stood still");
        let sent = meter.on_sent(0, 1000, at(30));
        assert_eq!(meter.on_delivered(1000, &newest(30, sent), None, at(5)).rate, None, "it was set back");
    }

    #[test]
    fn what_the_host_was_slow_to_bring_is_marked_until_it_was_delivered() {
        let mut meter = Meter::default();
        meter.on_nothing_to_send(0);
        let first = meter.on_sent(0, 1000, at(0));
        let second = meter.on_sent(1000, 1000, at(0));
        assert!(meter.on_delivered(1000, &newest(0, first), LEAST, at(10)).app_limited);
        let third = meter.on_sent(1000, 1000, at(10));
        assert!(meter.on_delivered(1000, &newest(0, second), LEAST, at(10)).app_limited);
        assert!(!meter.on_delivered(1000, &newest(10, third), LEAST, at(20)).app_limited);
    }

    #[test]
    fn counts_wrap() {
        let mut meter = Meter { delivered: u32::MAX - 500, round_end: u32::MAX - 500, ..Meter::default() };
        let last = Instant::from_micros(i64::from(u32::MAX) - 5000);
        let sent = meter.on_sent(0, 1000, last);
        let newest = Newest { sent: last, end: SeqNumber(0), resent: false, snapshot: sent };
        let sample = meter.on_delivered(1000, &newest, LEAST, last + Duration::from_millis(10));
        assert_eq!((sample.rate, sample.volume, sample.round_start), (Some(100_000), 1000, true));
    }
}
