//! Congestion control: NewReno (RFC 5681, RFC 6582) with an initial window of ten segments (RFC 6928).
//!
//! [`Congestion::grow`] and [`Congestion::reduce`] are the places where another algorithm, such as CUBIC (RFC 9438),
//! differs: how the window opens above the threshold, and what is left of it after a loss.

use super::seq::SeqNumber;

/// The window never grows past this, in bytes; it is the most that RFC 7323 lets a peer offer.
const MAX_WINDOW: u32 = 1 << 30;

/// What an acknowledgment of new data means for loss recovery.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Recovery {
    /// No recovery is under way, or this acknowledgment ended it.
    No,
    /// The next segment is missing as well and is to be sent again.
    Partial,
}

/// The congestion window and what moves it. Sizes are bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Congestion {
    cwnd: u32,
    ssthresh: u32,
    mss: u32,
    /// Bytes acknowledged towards the next step of congestion avoidance.
    credit: u32,
    /// `snd_max` when the last loss was noticed: losses before it are one event (RFC 6582 section 3.2).
    recover: SeqNumber,
    recovering: bool,
    duplicates: u8,
}

impl Congestion {
    pub fn new(mss: u32, iss: SeqNumber) -> Congestion {
        let mss = mss.max(1);
        Congestion {
            cwnd: initial_window(mss),
            ssthresh: MAX_WINDOW,
            mss,
            credit: 0,
            recover: iss,
            recovering: false,
            duplicates: 0,
        }
    }

    /// The peer's option settled the segment size.
    pub fn set_mss(&mut self, mss: u32) {
        self.mss = mss.max(1);
        self.cwnd = initial_window(self.mss);
    }

    /// Sets the window and threshold from a saved state.
    pub fn restore(&mut self, cwnd: u32, ssthresh: u32) {
        self.cwnd = cwnd.clamp(self.mss, MAX_WINDOW);
        self.ssthresh = ssthresh.clamp(self.mss.saturating_mul(2), MAX_WINDOW);
    }

    pub fn cwnd(&self) -> u32 {
        self.cwnd
    }

    pub fn ssthresh(&self) -> u32 {
        self.ssthresh
    }

    /// How much may be in flight: the window, and one more segment for each of the first two duplicate acknowledgments
    /// (limited transmit, RFC 3042).
    pub fn allowance(&self) -> u32 {
        let extra = if self.recovering { 0 } else { u32::from(self.duplicates.min(2)) };
        self.cwnd.saturating_add(extra.saturating_mul(self.mss))
    }

    /// `acked` new bytes were acknowledged up to `una`, out of `flight` that were in flight.
    pub fn on_ack(&mut self, acked: u32, una: SeqNumber, flight: u32) -> Recovery {
        self.duplicates = 0;
        if !self.recovering {
            // A window that was not used says nothing about what the path carries (RFC 7661 section 4.3). It is kept all
            // the same: the path is a queue in memory, an idle time does not make it narrower.
            if flight >= self.cwnd / 2 {
                self.grow(acked);
            }
            return Recovery::No;
        }
        let left = flight.saturating_sub(acked);
        if una.ge(self.recover) {
            // RFC 6582 section 3.2 step 3, full acknowledgment: no burst after recovery.
            self.recovering = false;
            self.cwnd = self.ssthresh.min(left.max(self.mss).saturating_add(self.mss)).max(self.mss);
            Recovery::No
        } else {
            self.cwnd = self.cwnd.saturating_sub(acked);
            if acked >= self.mss {
                self.cwnd = self.cwnd.saturating_add(self.mss);
            }
            self.cwnd = self.cwnd.max(self.mss);
            Recovery::Partial
        }
    }

    /// A duplicate acknowledgment of `una` arrived while `flight` bytes up to `max` were in flight. True when the first
    /// missing segment is to be sent again at once.
    pub fn on_duplicate(&mut self, una: SeqNumber, max: SeqNumber, flight: u32) -> bool {
        if self.recovering {
            // Every duplicate says that a segment has left the path.
            self.cwnd = self.cwnd.saturating_add(self.mss).min(MAX_WINDOW);
            return false;
        }
        self.duplicates = self.duplicates.saturating_add(1);
        if self.duplicates != 3 || !una.gt(self.recover) {
            return false;
        }
        self.reduce(flight);
        self.cwnd = self.ssthresh.saturating_add(self.mss.saturating_mul(3));
        self.recover = max;
        self.recovering = true;
        true
    }

    /// The retransmission timer expired with `flight` bytes up to `max` in flight; `again` when it is not the first time
    /// for this segment.
    pub fn on_timeout(&mut self, max: SeqNumber, flight: u32, again: bool) {
        if !again {
            self.reduce(flight);
        }
        self.cwnd = self.mss;
        self.credit = 0;
        self.recover = max;
        self.recovering = false;
        self.duplicates = 0;
    }

    /// Opens the window for `acked` bytes.
    fn grow(&mut self, acked: u32) {
        if self.cwnd < self.ssthresh {
            // Acknowledgments of many segments count in full: a guest that merges segments acknowledges them together.
            self.cwnd = self.cwnd.saturating_add(acked);
        } else {
            self.credit = self.credit.saturating_add(acked);
            if self.credit >= self.cwnd {
                self.credit -= self.cwnd;
                self.cwnd = self.cwnd.saturating_add(self.mss);
            }
        }
        self.cwnd = self.cwnd.min(MAX_WINDOW);
    }

    /// Lowers the threshold after a loss with `flight` bytes in flight (RFC 5681 equation 4).
    fn reduce(&mut self, flight: u32) {
        self.ssthresh = (flight / 2).max(self.mss.saturating_mul(2));
        self.credit = 0;
    }
}

/// RFC 6928 section 2.
fn initial_window(mss: u32) -> u32 {
    mss.saturating_mul(10).min(mss.saturating_mul(2).max(14600))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MSS: u32 = 1000;

    fn at(seq: u32) -> SeqNumber {
        SeqNumber(seq)
    }

    #[test]
    fn the_initial_window_is_ten_segments() {
        assert_eq!([100, 1460, 8960, 65480].map(initial_window), [1000, 14600, 17920, 130960]);
    }

    #[test]
    fn slow_start_doubles_and_avoidance_adds() {
        let mut c = Congestion::new(MSS, at(0));
        c.on_ack(10_000, at(10_000), 10_000);
        assert_eq!(c.cwnd(), 20_000);
        c.ssthresh = 20_000;
        c.on_ack(10_000, at(20_000), 20_000);
        assert_eq!(c.cwnd(), 20_000);
        c.on_ack(10_000, at(30_000), 20_000);
        assert_eq!(c.cwnd(), 21_000);
        c.on_ack(1_000, at(31_000), 1_000);
        assert_eq!(c.cwnd(), 21_000, "an unused window does not grow");
    }

    #[test]
    fn three_duplicates_start_recovery_once() {
        let mut c = Congestion::new(MSS, at(0));
        let duplicate = |c: &mut Congestion| c.on_duplicate(at(1), at(10_001), 10_000);
        assert!(!duplicate(&mut c) && !duplicate(&mut c));
        assert_eq!(c.allowance(), 12_000, "limited transmit");
        assert!(duplicate(&mut c));
        assert_eq!((c.ssthresh(), c.cwnd()), (5_000, 8_000));
        assert!(!duplicate(&mut c));
        assert_eq!(c.cwnd(), 9_000);
        assert_eq!(c.on_ack(2_000, at(2_001), 10_000), Recovery::Partial);
        assert_eq!(c.cwnd(), 8_000);
        assert_eq!(c.on_ack(8_000, at(10_001), 8_000), Recovery::No);
        assert_eq!(c.cwnd(), 2_000);
        // Duplicates of what was sent before the loss was noticed do not start a second recovery.
        assert!(!(0..5).any(|_| c.on_duplicate(at(10_001), at(12_001), 2_000)));
    }

    #[test]
    fn a_timeout_leaves_one_segment() {
        let mut c = Congestion::new(MSS, at(0));
        c.on_timeout(at(10_001), 10_000, false);
        assert_eq!((c.ssthresh(), c.cwnd()), (5_000, 1_000));
        c.on_timeout(at(10_001), 1_000, true);
        assert_eq!(c.ssthresh(), 5_000, "one loss, one reduction");
    }
}
