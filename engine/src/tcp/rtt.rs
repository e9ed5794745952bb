//! The retransmission timeout, computed from measured round-trip times (RFC 6298).

use crate::time::{Duration, Instant};

/// The timeout before the first measurement; RFC 6298 section 2, rule 2.1.
pub(super) const INITIAL: Duration = Duration::from_secs(1);
/// The timeout when the handshake itself had to be repeated; RFC 6298 section 5, rule 5.7.
const AFTER_SYN_LOSS: Duration = Duration::from_secs(3);
/// The least timeout. RFC 6298 asks for a second; the path to a guest is a queue in memory, and what other systems use
/// recovers sooner.
const MIN: Duration = Duration::from_millis(200);
/// The most, for the timeout as for its doublings; RFC 6298 section 2, rule 2.5.
pub(super) const MAX: Duration = Duration::from_secs(60);

/// How long the least round trip counts: so long at the least, and twice as long at the most. A path may become longer, and
/// a queue that another sender keeps is part of it.
const LEAST_FOR: Duration = Duration::from_secs(10);

/// Smoothed round-trip time, its variation and the timeout that follows, in microseconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct RttEstimator {
    srtt: u32,
    rttvar: u32,
    rto: u32,
    /// The least that was measured since `least_from`, and in the time before that.
    least: u32,
    least_before: u32,
    least_from: Instant,
    measured: bool,
}

impl Default for RttEstimator {
    fn default() -> RttEstimator {
        RttEstimator {
            srtt: 0,
            rttvar: 0,
            rto: INITIAL.total_micros() as u32,
            least: u32::MAX,
            least_before: u32::MAX,
            least_from: Instant::ZERO,
            measured: false,
        }
    }
}

impl RttEstimator {
    /// Takes the round-trip time of a segment that was sent once (Karn's algorithm is the caller's part).
    pub(super) fn sample(&mut self, sent: Instant, now: Instant) {
        let elapsed = now.total_micros().saturating_sub(sent.total_micros());
        let rtt = elapsed.clamp(0, MAX.total_micros() as i64) as u32;
        if now - self.least_from >= LEAST_FOR {
            self.least_before = self.least;
            self.least = u32::MAX;
            self.least_from = now;
        }
        self.least = self.least.min(rtt);
        if self.measured {
            self.rttvar = self.rttvar - self.rttvar / 4 + self.srtt.abs_diff(rtt) / 4;
            self.srtt = self.srtt - self.srtt / 8 + rtt / 8;
        } else {
            self.srtt = rtt;
            self.rttvar = rtt / 2;
            self.measured = true;
        }
        let rto = self.srtt.saturating_add(self.rttvar.saturating_mul(4));
        self.rto = rto.clamp(MIN.total_micros() as u32, MAX.total_micros() as u32);
    }

    /// The handshake was repeated, so nothing could be measured.
    pub(super) fn syn_was_lost(&mut self) {
        if !self.measured {
            self.rto = AFTER_SYN_LOSS.total_micros() as u32;
        }
    }

    /// Sets what was measured before, from a saved state.
    pub(super) fn restore(&mut self, srtt: Duration, rttvar: Duration) {
        let micros = |d: Duration| d.total_micros().min(MAX.total_micros()) as u32;
        *self = RttEstimator { srtt: micros(srtt), rttvar: micros(rttvar), measured: true, ..*self };
        let rto = self.srtt.saturating_add(self.rttvar.saturating_mul(4));
        self.rto = rto.clamp(MIN.total_micros() as u32, MAX.total_micros() as u32);
    }

    pub(super) fn srtt(&self) -> Option<Duration> {
        self.measured.then(|| Duration::from_micros(u64::from(self.srtt)))
    }

    /// The least round trip that was measured of late: what is on top of it is spent in queues.
    #[inline]
    pub(super) fn least(&self) -> Option<Duration> {
        let least = self.least.min(self.least_before);
        (least < u32::MAX).then(|| Duration::from_micros(u64::from(least)))
    }

    pub(super) fn rttvar(&self) -> Option<Duration> {
        self.measured.then(|| Duration::from_micros(u64::from(self.rttvar)))
    }

    /// The timeout after `backoff` doublings.
    pub(super) fn rto(&self, backoff: u8) -> Duration {
        let micros = u64::from(self.rto) << backoff.min(20);
        Duration::from_micros(micros.min(MAX.total_micros()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(estimator: &mut RttEstimator, millis: i64) {
        estimator.sample(Instant::from_millis(1000), Instant::from_millis(1000 + millis));
    }

    #[test]
    fn follows_the_formulas() {
        let mut rtt = RttEstimator::default();
        assert_eq!((rtt.rto(0), rtt.srtt()), (INITIAL, None));
        sample(&mut rtt, 400);
        // SRTT = R, RTTVAR = R/2, RTO = SRTT + 4 RTTVAR.
        assert_eq!(rtt.rto(0), Duration::from_millis(1200));
        sample(&mut rtt, 800);
        // RTTVAR = 3/4 * 200 + 1/4 * 400 = 250, SRTT = 7/8 * 400 + 1/8 * 800 = 450.
        assert_eq!(rtt.rto(0), Duration::from_millis(1450));
        assert_eq!(rtt.srtt(), Some(Duration::from_millis(450)));
    }

    #[test]
    fn is_bounded() {
        let mut rtt = RttEstimator::default();
        sample(&mut rtt, 0);
        assert_eq!(rtt.rto(0), MIN);
        assert_eq!(rtt.rto(3), Duration::from_millis(1600));
        assert_eq!(rtt.rto(255), MAX);
        sample(&mut rtt, 100_000_000);
        assert_eq!(rtt.rto(0), MAX);
        // A clock that went back is no negative time.
        let mut rtt = RttEstimator::default();
        sample(&mut rtt, -5000);
        assert_eq!(rtt.srtt(), Some(Duration::ZERO));
    }

    #[test]
    fn the_least_round_trip_is_forgotten_after_a_while() {
        let mut rtt = RttEstimator::default();
        let mut at = |second: i64, millis: i64| {
            let sent = Instant::from_secs(second);
            rtt.sample(sent, sent + Duration::from_millis(millis as u64));
            rtt.least().map(Duration::total_millis)
        };
        assert_eq!(at(100, 10), Some(10));
        assert_eq!([at(105, 30), at(111, 30), at(119, 30)], [Some(10); 3]);
        assert_eq!([at(122, 40), at(131, 50), at(133, 60)], [Some(30), Some(30), Some(40)]);
        assert_eq!(at(134, 5), Some(5));
    }

    #[test]
    fn a_lost_syn_counts_only_without_measurement() {
        let mut rtt = RttEstimator::default();
        rtt.syn_was_lost();
        assert_eq!(rtt.rto(0), AFTER_SYN_LOSS);
        sample(&mut rtt, 10);
        rtt.syn_was_lost();
        assert_eq!(rtt.rto(0), MIN);
    }
}
