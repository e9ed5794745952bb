//! CUBIC (RFC 9438) with an initial window of ten segments (RFC 6928): how far a window opens and closes, not when.

use super::Ack;
use crate::time::{Duration, Instant};

/// The window never grows past this, in bytes; it is the most that RFC 7323 lets a peer offer.
const MAX_WINDOW: u32 = 1 << 30;
/// What is left of the window after a loss (RFC 9438 section 4.6).
const BETA: f64 = 0.7;
/// How fast the window grows with the cube of the time, in segments per second cubed (RFC 9438 section 5).
const C: f64 = 0.4;

/// The congestion window and what moves it. Sizes are bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cubic {
    cwnd: u32,
    ssthresh: u32,
    mss: u32,
    /// Parts of a byte by which the window is to grow.
    credit: f32,
    /// The window before the last reduction, in bytes.
    w_max: u32,
    /// When this congestion avoidance stage began.
    epoch: Option<Instant>,
    /// The time from there until the window is back at `w_max`, in seconds.
    k: f32,
    /// What Reno's window would be (RFC 9438 section 4.3), in bytes.
    w_est: f32,
}

impl Cubic {
    pub(crate) fn new(mss: u32) -> Cubic {
        let mss = mss.max(1);
        Cubic {
            cwnd: initial_window(mss),
            ssthresh: MAX_WINDOW,
            mss,
            credit: 0.0,
            w_max: 0,
            epoch: None,
            k: 0.0,
            w_est: 0.0,
        }
    }

    /// The handshake settled the segment size.
    pub(crate) fn begin(&mut self, mss: u32) {
        self.mss = mss.max(1);
        self.cwnd = initial_window(self.mss);
    }

    /// The path takes smaller segments than it did. The window is of bytes and stays.
    pub(crate) fn set_segment(&mut self, mss: u32) {
        self.mss = mss.max(1);
    }

    /// Sets the window and threshold from a saved state.
    pub(crate) fn restore(&mut self, cwnd: u32, ssthresh: u32) {
        self.cwnd = cwnd.clamp(self.mss, MAX_WINDOW);
        self.ssthresh = ssthresh.clamp(self.mss.saturating_mul(2), MAX_WINDOW);
    }

    /// What may be in flight while losses are repaired, in bytes.
    pub(crate) fn set_window(&mut self, bytes: u32) {
        self.cwnd = bytes.clamp(self.mss, MAX_WINDOW);
    }

    /// Takes a reduction back (RFC 4015 section 3.2, RFC 9438 section 4.9): the window is at least what it was.
    pub(crate) fn take_back(&mut self, before: &Cubic) {
        let cwnd = self.cwnd.max(before.cwnd);
        *self = Cubic { cwnd, mss: self.mss, ..*before };
    }

    pub(crate) fn window(&self) -> u32 {
        self.cwnd
    }

    pub(crate) fn threshold(&self) -> u32 {
        self.ssthresh
    }

    /// The size of a full segment.
    pub(crate) fn segment(&self) -> u32 {
        self.mss
    }

    /// The window opens, but not past `ack.most`. `below`: the path is known to carry more, whatever the threshold says.
    #[inline]
    pub(crate) fn on_ack(&mut self, ack: &Ack, below: bool, now: Instant, srtt: Option<Duration>) {
        let Ack { delivered: acked, flight, most } = *ack;
        // A window that was not used says nothing about what the path carries (RFC 7661 section 4.3). It is kept all the
        // same: the path is a queue in memory, an idle time does not make it narrower.
        if flight < self.cwnd / 2 {
            self.epoch = None;
            return;
        }
        if self.cwnd >= most {
            return;
        }
        if self.cwnd < self.ssthresh || below {
            // Acknowledgments of many segments count in full: a guest that merges segments acknowledges them together.
            self.cwnd = self.cwnd.saturating_add(acked).min(MAX_WINDOW);
            self.epoch = None;
        } else {
            self.avoid(acked, now, srtt.unwrap_or(Duration::ZERO));
        }
        self.cwnd = self.cwnd.min(most);
    }

    /// Cubic avoidance, RFC 9438 sections 4.2 to 4.5.
    fn avoid(&mut self, acked: u32, now: Instant, srtt: Duration) {
        let mss = f64::from(self.mss);
        let cwnd = f64::from(self.cwnd);
        let epoch = *self.epoch.get_or_insert_with(|| {
            self.w_max = self.w_max.max(self.cwnd);
            self.k = ((f64::from(self.w_max - self.cwnd) / mss) / C).cbrt() as f32;
            self.w_est = self.cwnd as f32;
            now
        });
        let elapsed = now.total_micros().saturating_sub(epoch.total_micros()).max(0) as f64 / 1e6;
        let ahead = elapsed + srtt.total_micros() as f64 / 1e6 - f64::from(self.k);
        let target = (f64::from(self.w_max) + C * ahead * ahead * ahead * mss).clamp(cwnd, cwnd * 1.5);
        // Where Reno would have more, CUBIC has as much.
        let alpha = if self.w_est >= self.w_max as f32 { 1.0 } else { 3.0 * (1.0 - BETA) / (1.0 + BETA) };
        self.w_est += (alpha * f64::from(acked) * mss / cwnd) as f32;
        let growth = (target - cwnd) / cwnd * f64::from(acked);
        self.credit += growth.max(f64::from(self.w_est) - cwnd).min(f64::from(acked)) as f32;
        let whole = self.credit.clamp(0.0, MAX_WINDOW as f32) as u32;
        self.credit -= whole as f32;
        self.cwnd = self.cwnd.saturating_add(whole).min(MAX_WINDOW);
    }

    /// A loss was found: the window shrinks (RFC 9438 sections 4.6 and 4.7).
    pub(crate) fn reduce(&mut self) {
        self.lower_threshold();
        self.cwnd = self.ssthresh;
    }

    /// The retransmission timer expired; `again` when it is not the first time for this segment.
    pub(crate) fn on_timeout(&mut self, again: bool) {
        if !again {
            self.lower_threshold();
        }
        self.cwnd = self.mss;
    }

    fn lower_threshold(&mut self) {
        // Fast convergence: whoever did not get back to where it was leaves room for others.
        self.w_max =
            if self.cwnd < self.w_max { (f64::from(self.cwnd) * (1.0 + BETA) / 2.0) as u32 } else { self.cwnd };
        self.ssthresh = ((f64::from(self.cwnd) * BETA) as u32).max(self.mss.saturating_mul(2));
        self.epoch = None;
        self.credit = 0.0;
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
    const RTT: Option<Duration> = Some(Duration::from_millis(50));

    fn ack(delivered: u32, flight: u32) -> Ack {
        Ack { delivered, flight, most: MAX_WINDOW }
    }

    #[test]
    fn the_initial_window_is_ten_segments() {
        assert_eq!([100, 1460, 8960, 65480].map(initial_window), [1000, 14600, 17920, 130960]);
    }

    #[test]
    fn slow_start_doubles_and_an_unused_window_does_not_grow() {
        let mut c = Cubic::new(MSS);
        c.on_ack(&ack(10_000, 10_000), false, Instant::ZERO, RTT);
        assert_eq!(c.window(), 20_000);
        c.on_ack(&ack(1_000, 1_000), false, Instant::ZERO, RTT);
        assert_eq!(c.window(), 20_000);
    }

    /// One round trip's worth of acknowledgments at a time.
    fn rounds(c: &mut Cubic, now: &mut Instant, count: usize) -> Vec<u32> {
        (0..count)
            .map(|_| {
                *now += Duration::from_millis(50);
                for _ in 0..c.window() / MSS {
                    c.on_ack(&ack(MSS, c.window()), false, *now, RTT);
                }
                c.window()
            })
            .collect()
    }

    #[test]
    fn the_window_comes_back_after_a_loss_and_goes_on() {
        let mut c = Cubic::new(MSS);
        c.restore(1_000_000, 1 << 30);
        c.reduce();
        assert_eq!((c.window(), c.threshold()), (700_000, 700_000));
        let mut now = Instant::from_secs(1);
        // K is the cube root of 300 / 0.4, about 9.1 seconds or 182 round trips.
        let windows = rounds(&mut c, &mut now, 400);
        assert!(windows.is_sorted());
        let back = windows.iter().position(|&window| window >= 995_000).unwrap();
        assert!((130..200).contains(&back), "{back}");
        assert!(windows[399] > 1_300_000, "{}", windows[399]);
    }

    #[test]
    fn a_small_window_grows_at_least_as_renos_would() {
        let mut c = Cubic::new(MSS);
        c.restore(10_000, 10_000);
        c.reduce();
        let windows = rounds(&mut c, &mut Instant::from_secs(1), 20);
        assert!(windows[19] >= 17_000, "{windows:?}");
    }

    #[test]
    fn a_timeout_leaves_one_segment() {
        let mut c = Cubic::new(MSS);
        c.on_timeout(false);
        assert_eq!((c.threshold(), c.window()), (7_000, 1_000));
        c.on_timeout(true);
        assert_eq!(c.threshold(), 7_000, "one loss, one reduction");
    }
}
