//! CUBIC (RFC 9438) with an initial window of ten segments (RFC 6928): how far a window opens and closes, not when.

use super::hystart::HyStart;
use super::search::Search;
use super::{Ack, MAX_WINDOW, Path, Sample, initial_window};
use crate::time::{Duration, Instant};

/// Segments that one acknowledgment counts for at most in slow start where nothing is paced (RFC 9406 section 4.3; RFC 3465
/// section 2.3 has two): what opens the window at once is also sent at once. But a guest that merges segments acknowledges up to
/// 64 KiB together, and that counts.
const COUNTED: u32 = 8;
const MERGED: u32 = 64 << 10;
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
    hystart: HyStart,
    /// Up to this it opens by half in a round trip; 0 where nothing is known to be there to be had.
    climbs_to: u32,
    search: Search,
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
            hystart: HyStart::default(),
            climbs_to: 0,
            search: Search::default(),
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

    /// So much is there to be had, beside others that have more: the window opens up to it faster than by itself, until something is lost.
    pub(crate) fn climb_to(&mut self, bytes: u32) {
        self.climbs_to = bytes;
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

    /// The window opens, but not past `path.most`.
    #[inline]
    pub(crate) fn on_ack(&mut self, ack: &Ack, path: &Path) {
        let Ack { delivered: acked, flight } = *ack;
        if self.on_unused_window(flight) {
            return;
        }
        self.search.note_least(path);
        if self.cwnd >= path.most {
            // What was believed to fit while the window doubled was more than does.
            if self.cwnd >= self.ssthresh {
                self.cwnd = self.cwnd.saturating_sub(acked / 2).max(path.most);
                self.ssthresh = self.ssthresh.min(self.cwnd);
            }
            return;
        }
        if self.cwnd < self.ssthresh {
            // What is sent over a round trip may open in one go: a guest that merges segments acknowledges them together.
            let counted = if path.paced { acked } else { acked.min(self.mss.saturating_mul(COUNTED).max(MERGED)) };
            self.cwnd = self.cwnd.saturating_add(self.hystart.growth(counted)).min(MAX_WINDOW);
            self.epoch = None;
        } else if self.cwnd < self.climbs_to {
            self.cwnd = self.cwnd.saturating_add(acked / 2).min(MAX_WINDOW);
            self.epoch = None;
        } else {
            match self.search.step(self.cwnd, path) {
                0 => self.avoid(acked, path.now, path.rtt.srtt().unwrap_or(Duration::ZERO)),
                step => {
                    self.open(f64::from(step) / f64::from(self.cwnd) * f64::from(acked));
                    self.epoch = None;
                }
            }
        }
        self.cwnd = self.cwnd.min(path.most);
    }

    /// A window that was not used says nothing about what the path carries (RFC 7661 section 4.3). It is kept all the same: the
    /// path is a queue in memory, an idle time does not make it narrower. Whether it was so with `flight` bytes in flight.
    #[inline]
    pub(crate) fn on_unused_window(&mut self, flight: u32) -> bool {
        let unused = flight < self.cwnd / 2;
        if unused {
            self.epoch = None;
        }
        unused
    }

    /// Slow start ends when the round trips tell of a queue.
    #[inline]
    pub(crate) fn on_sample(&mut self, sample: &Sample, path: &Path) {
        if self.cwnd < self.ssthresh && self.hystart.on_round_trip(path.latest, sample.round_start) {
            self.ssthresh = self.cwnd;
        }
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
        self.open(growth.max(f64::from(self.w_est) - cwnd).min(f64::from(acked)));
    }

    /// The window opens by so many bytes, of which a part is kept until there is a whole one.
    fn open(&mut self, bytes: f64) {
        self.credit += bytes as f32;
        let whole = self.credit.clamp(0.0, MAX_WINDOW as f32) as u32;
        self.credit -= whole as f32;
        self.cwnd = self.cwnd.saturating_add(whole).min(MAX_WINDOW);
    }

    /// Losses were noticed with this round trip. Told before [`Cubic::reduce`].
    pub(crate) fn note_full(&mut self, latest: Duration) {
        self.search.note_full(latest);
    }

    /// Whether something was lost or marked on this connection.
    pub(crate) fn has_lost(&self) -> bool {
        self.search.has_lost()
    }

    /// Whether the path is long, and nothing was lost behind a queue that is longer than it.
    pub(crate) fn is_on_long_path(&self) -> bool {
        self.search.is_on_long_path()
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
        self.search.on_reduction();
        // Fast convergence: whoever did not get back to where it was leaves room for others.
        self.w_max =
            if self.cwnd < self.w_max { (f64::from(self.cwnd) * (1.0 + BETA) / 2.0) as u32 } else { self.cwnd };
        self.ssthresh = ((f64::from(self.cwnd) * BETA) as u32).max(self.mss.saturating_mul(2));
        self.epoch = None;
        self.climbs_to = 0;
        self.credit = 0.0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tcp::rtt::RttEstimator;

    const MSS: u32 = 1000;
    const RTT: Duration = Duration::from_millis(50);

    fn ack(delivered: u32, flight: u32) -> Ack {
        Ack { delivered, flight }
    }

    fn path(now: Instant) -> Path {
        let mut rtt = RttEstimator::default();
        rtt.sample(now, now + RTT);
        Path { now, rtt, latest: RTT, sack: true, most: MAX_WINDOW, fits: 0, queue: 0, paced: true }
    }

    #[test]
    fn the_initial_window_is_ten_segments() {
        assert_eq!([100, 1460, 8960, 65480].map(initial_window), [1000, 14600, 17920, 130960]);
    }

    #[test]
    fn slow_start_doubles_and_an_unused_window_does_not_grow() {
        let mut c = Cubic::new(MSS);
        c.on_ack(&ack(10_000, 10_000), &path(Instant::ZERO));
        assert_eq!(c.window(), 20_000);
        c.on_ack(&ack(1_000, 1_000), &path(Instant::ZERO));
        assert_eq!(c.window(), 20_000);
    }

    /// One round trip's worth of acknowledgments at a time.
    fn rounds(c: &mut Cubic, now: &mut Instant, count: usize) -> Vec<u32> {
        (0..count)
            .map(|_| {
                *now += Duration::from_millis(50);
                for _ in 0..c.window() / MSS {
                    c.on_ack(&ack(MSS, c.window()), &path(*now));
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
    fn a_stretched_acknowledgment_opens_no_more_than_a_merged_segment_unless_it_is_paced() {
        let opened = |mss, paced| {
            let mut c = Cubic::new(mss);
            c.restore(500_000, 1 << 30);
            c.on_ack(&ack(500_000, 500_000), &Path { paced, ..path(Instant::ZERO) });
            c.window() - 500_000
        };
        assert_eq!([opened(MSS, false), opened(9000, false), opened(MSS, true)], [65_536, 72_000, 500_000]);
        // One that is cut into many counts as one.
        let mut c = Cubic::new(MSS);
        (0..1000).for_each(|_| c.on_ack(&ack(10, 10_000), &path(Instant::ZERO)));
        assert_eq!(c.window(), 20_000);
    }

    /// Also where nothing is paced: others for whose sake there was more have gone.
    #[test]
    fn a_window_that_is_more_than_there_may_be_shrinks() {
        for paced in [false, true] {
            let mut c = Cubic::new(MSS);
            c.restore(500_000, 300_000);
            for _ in 0..1000 {
                c.on_ack(&ack(MSS, c.window()), &Path { most: 400_000, paced, ..path(Instant::ZERO) });
            }
            assert_eq!(c.window(), 400_000, "paced: {paced}");
        }
    }

    #[test]
    fn round_trips_that_grow_end_slow_start() {
        let mut c = Cubic::new(MSS);
        for round in 0..10 {
            let latest = Duration::from_millis(if round < 2 { 50 } else { 60 });
            for sample in 0..10 {
                let sample = Sample { round_start: sample == 0, ..Sample::default() };
                c.on_sample(&sample, &Path { latest, ..path(Instant::ZERO) });
            }
        }
        assert_eq!(c.threshold(), c.window());
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
