//! What a Linux guest does that the ideal one does not: a congestion window (CUBIC, RFC 9438, from 10 segments), a
//! retransmission timeout (RFC 6298), acknowledgments that wait, PSH where Linux sets it, and a receive window that begins
//! with 64 KiB. Times are nanoseconds of the clock in `sys`.
//!
//! Not modelled: timestamps, pacing, segments that the network card cuts or joins (TSO, GRO), HyStart, the probe of a lost
//! tail, and the rate reduction of RFC 6937: after a loss the window is small at once.
#![forbid(unsafe_code)]

use std::collections::VecDeque;

const MILLISECOND: i64 = 1_000_000;
/// The window that a connection begins with, in segments (RFC 6928).
const FIRST_SEGMENTS: u64 = 10;
/// RFC 9438 section 4: the constant C, and what is left of the window after a loss.
const CUBIC_C: f64 = 0.4;
const CUBIC_BETA: f64 = 0.7;
/// The timeout before a round trip was measured, and its bounds.
const RTO_FIRST: i64 = 1000 * MILLISECOND;
const RTO_LEAST: i64 = 200 * MILLISECOND;
const RTO_MOST: i64 = 120_000 * MILLISECOND;
/// How long an acknowledgment waits for a second segment.
const DELAYED: i64 = 40 * MILLISECOND;
/// Segments at the start that are acknowledged at once, and exchanges after which the connection is a dialogue, in which no
/// acknowledgment is hurried.
const QUICK: u32 = 16;
const DIALOGUE: u32 = 3;
/// What one `write` of the sending program brings, as iperf3's.
const WRITE: u64 = 128 * 1024;
/// The receive window: what it begins with, and what it grows to (`net.ipv4.tcp_rmem`); it grows by twice what the program
/// has read.
const WINDOW_FIRST: u64 = 65_535;
const WINDOW_MOST: u64 = 6 << 20;

/// What the guest as a whole remembers.
#[derive(Debug, Default)]
pub(super) struct Linux {
    /// The time at the beginning of the round.
    pub(super) now: i64,
    /// Acknowledgments that wait: until when, and of which connection. All wait equally long.
    pub(super) delayed: VecDeque<(i64, u32)>,
}

/// What one connection remembers.
#[derive(Debug)]
pub(super) struct Habits {
    mss: u64,
    window: Window,
    timeout: Timeout,
    /// Octets of the stream up to the last PSH, and the largest window that the library has offered.
    pushed: u64,
    largest: u64,
    /// Segments that are still acknowledged at once.
    quick: u32,
    exchanges: u32,
    /// Octets received since the last acknowledgment.
    unacked: u64,
    /// Until when the acknowledgment waits.
    pub(super) ack_due: Option<i64>,
}

impl Habits {
    pub(super) fn new(mss: u64) -> Habits {
        Habits {
            mss,
            window: Window::new(mss),
            timeout: Timeout::default(),
            pushed: 0,
            largest: 0,
            quick: QUICK,
            exchanges: 0,
            unacked: 0,
            ack_due: None,
        }
    }

    /// How many octets may be in flight.
    pub(super) fn may_fly(&self) -> u64 {
        self.window.octets
    }

    /// The library has offered this window.
    pub(super) fn offered(&mut self, window: u64) {
        self.largest = self.largest.max(window);
    }

    /// Octets of the stream from `from` up to `to` leave, sequence numbers from 1 on; `flight` is what is in flight then.
    /// Whether they leave with PSH: at the end of a write, or after half of the largest window (`forced_push` in Linux).
    pub(super) fn send(&mut self, from: u64, to: u64, flight: u64, now: i64) -> bool {
        self.window.sent(to, flight);
        self.timeout.sent(to, now);
        let ends_write = (from - 1) / WRITE != (to - 1) / WRITE;
        let push = ends_write || to - 1 > self.pushed + self.largest / 2;
        if push {
            self.pushed = to - 1;
        }
        push
    }

    /// All up to `una` is acknowledged, `acked` octets of it newly; `flight` was in flight before, `left` is now.
    pub(super) fn acknowledged(&mut self, una: u64, acked: u64, flight: u64, left: u64, repairing: bool, now: i64) {
        self.timeout.acknowledged(una, left, now);
        if !repairing {
            self.window.acknowledged(una, acked, flight, self.timeout.least, now);
        }
    }

    /// Nothing is in flight: a window that has no room for a segment is asked for after the timeout.
    pub(super) fn wait_for_window(&mut self, window: u64, now: i64) {
        if window < self.mss {
            self.timeout.arm(now);
        }
    }

    /// Duplicate acknowledgments have told of a loss.
    pub(super) fn lost(&mut self) {
        self.window.lost();
    }

    /// When the timeout ends.
    pub(super) fn due(&self) -> Option<i64> {
        self.timeout.due
    }

    /// The timeout has ended; `flight` is in flight.
    pub(super) fn timed_out(&mut self, flight: u64, now: i64) {
        if flight > 0 && self.timeout.backoff == 0 {
            self.window.lost();
            self.window.octets = self.mss;
        }
        self.timeout.double(now);
    }

    /// A segment of so many octets has come. Whether it is acknowledged now; else the acknowledgment waits, and `ack_due`
    /// says until when it did already.
    pub(super) fn acknowledge_now(&mut self, octets: u64) -> bool {
        self.unacked += octets;
        let quick = self.quick > 0;
        self.quick = self.quick.saturating_sub(1);
        quick || self.unacked > self.mss
    }

    /// The acknowledgment waits from now on; until when.
    pub(super) fn delay(&mut self, now: i64) -> i64 {
        let due = now + DELAYED;
        self.ack_due = Some(due);
        due
    }

    /// An acknowledgment leaves; with data of the program's, if `answers`.
    pub(super) fn acknowledges(&mut self, answers: bool) {
        if answers && self.unacked > 0 {
            self.exchanges += 1;
            if self.exchanges >= DIALOGUE {
                self.quick = 0;
            }
        }
        self.unacked = 0;
        self.ack_due = None;
    }
}

/// The receive window after so much was received, where the program reads it or does not.
pub(super) fn receive_window(received: u64, reads: bool) -> u64 {
    if reads { (WINDOW_FIRST + 2 * received).min(WINDOW_MOST) } else { WINDOW_FIRST.saturating_sub(received) }
}

/// The congestion window.
#[derive(Debug)]
struct Window {
    mss: u64,
    octets: u64,
    threshold: u64,
    /// In segments: the window before the last loss, and CUBIC's estimate of Reno's window.
    before: f64,
    reno: f64,
    /// When this stretch without losses began, how long it takes to `origin`, which is in segments.
    epoch: Option<i64>,
    rise: f64,
    origin: f64,
    /// The most that was in flight, since when: until `mark` is acknowledged.
    most: u64,
    mark: u64,
    /// The end of what was sent, and of what was sent when there was no room for one segment more.
    end: u64,
    full: u64,
}

impl Window {
    fn new(mss: u64) -> Window {
        Window {
            mss,
            octets: FIRST_SEGMENTS * mss,
            threshold: u64::MAX,
            before: 0.0,
            reno: 0.0,
            epoch: None,
            rise: 0.0,
            origin: 0.0,
            most: 0,
            mark: 0,
            end: 0,
            full: 0,
        }
    }

    fn sent(&mut self, end: u64, flight: u64) {
        self.end = self.end.max(end);
        self.most = self.most.max(flight);
        if flight + self.mss > self.octets {
            self.full = self.end;
        }
    }

    /// Grows, unless something else was the limit: then the window says nothing about the path.
    fn acknowledged(&mut self, una: u64, acked: u64, flight: u64, round_trip: i64, now: i64) {
        self.most = self.most.max(flight);
        let slow_start = self.octets < self.threshold;
        let limited = if slow_start { self.octets < 2 * self.most } else { una <= self.full };
        if una >= self.mark {
            self.most = flight;
            self.mark = self.end;
        }
        if !limited || acked == 0 {
            return;
        }
        if slow_start {
            self.octets += acked;
            return;
        }
        let mss = self.mss as f64;
        let segments = self.octets as f64 / mss;
        let epoch = *self.epoch.get_or_insert_with(|| {
            self.origin = self.before.max(segments);
            self.rise = ((self.origin - segments) / CUBIC_C).cbrt();
            self.reno = segments;
            now
        });
        let time = (now - epoch + round_trip) as f64 / 1e9;
        let target = (self.origin + CUBIC_C * (time - self.rise).powi(3)).clamp(segments, 1.5 * segments);
        let acked = acked as f64 / mss;
        let grown = segments + (target - segments) * acked / segments;
        self.reno += 3.0 * (1.0 - CUBIC_BETA) / (1.0 + CUBIC_BETA) * acked / segments;
        self.octets = (grown.max(self.reno) * mss) as u64;
    }

    fn lost(&mut self) {
        let segments = self.octets as f64 / self.mss as f64;
        self.before = if segments < self.before { segments * (1.0 + CUBIC_BETA) / 2.0 } else { segments };
        self.octets = ((self.octets as f64 * CUBIC_BETA) as u64).max(2 * self.mss);
        self.threshold = self.octets;
        self.epoch = None;
    }
}

/// The retransmission timeout.
#[derive(Debug, Default)]
struct Timeout {
    /// The smoothed round trip and its variation; 0 before one was measured. The least one.
    smooth: i64,
    variation: i64,
    least: i64,
    backoff: u32,
    /// The end of a segment whose round trip is being measured, and when it left.
    measured: Option<(u64, i64)>,
    due: Option<i64>,
}

impl Timeout {
    fn length(&self) -> i64 {
        let once = if self.smooth == 0 { RTO_FIRST } else { (self.smooth + 4 * self.variation).max(RTO_LEAST) };
        (once << self.backoff.min(10)).min(RTO_MOST)
    }

    fn arm(&mut self, now: i64) {
        if self.due.is_none() {
            self.due = Some(now + self.length());
        }
    }

    fn sent(&mut self, end: u64, now: i64) {
        if self.measured.is_none() && self.backoff == 0 {
            self.measured = Some((end, now));
        }
        self.arm(now);
    }

    fn acknowledged(&mut self, una: u64, left: u64, now: i64) {
        if let Some((end, sent)) = self.measured
            && una >= end
        {
            self.measured = None;
            self.sample((now - sent).max(1));
        }
        self.backoff = 0;
        self.due = (left > 0).then(|| now + self.length());
    }

    /// RFC 6298 section 2.
    fn sample(&mut self, trip: i64) {
        if self.smooth == 0 {
            (self.smooth, self.variation, self.least) = (trip, trip / 2, trip);
            return;
        }
        self.variation += ((self.smooth - trip).abs() - self.variation) / 4;
        self.smooth += (trip - self.smooth) / 8;
        self.least = self.least.min(trip);
    }

    /// What is repeated is not measured (Karn's rule).
    fn double(&mut self, now: i64) {
        self.backoff += 1;
        self.measured = None;
        self.due = Some(now + self.length());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MSS: u64 = 1460;

    /// Sends a window and has all of it acknowledged `trip` later; the octets sent.
    fn round(habits: &mut Habits, una: &mut u64, now: &mut i64, trip: i64) -> u64 {
        let flight = habits.may_fly() / MSS * MSS;
        let mut sent = 0;
        while sent < flight {
            habits.send(*una + sent, *una + sent + MSS, sent + MSS, *now);
            sent += MSS;
        }
        *now += trip;
        let mut left = flight;
        while left > 0 {
            *una += MSS;
            habits.acknowledged(*una, MSS, left, left - MSS, false, *now);
            left -= MSS;
        }
        flight
    }

    #[test]
    fn slow_start_doubles_from_ten_segments_and_a_loss_leaves_seven_tenths() {
        let (mut habits, mut una, mut now) = (Habits::new(MSS), 1, 0);
        let sent: Vec<u64> = (0..4).map(|_| round(&mut habits, &mut una, &mut now, MILLISECOND) / MSS).collect();
        assert_eq!(sent, [10, 20, 40, 80]);
        habits.lost();
        assert_eq!(habits.may_fly() / MSS, 112);
    }

    #[test]
    fn after_a_loss_the_window_returns_to_what_it_was_and_then_rises_beyond() {
        let (mut habits, mut una, mut now) = (Habits::new(MSS), 1, 0);
        (0..4).for_each(|_| _ = round(&mut habits, &mut una, &mut now, 100 * MILLISECOND));
        habits.lost();
        // RFC 9438 section 4.2: the old window is reached after the cube root of 160 * 0.3 / 0.4, which is 4.9 seconds.
        let sent: Vec<u64> =
            (0..100).map(|_| round(&mut habits, &mut una, &mut now, 100 * MILLISECOND) / MSS).collect();
        assert!(sent.is_sorted());
        assert!((150..=162).contains(&sent[49]) && sent[10] > 120 && sent[99] > 190, "{sent:?}");
    }

    #[test]
    fn a_window_that_is_not_used_does_not_grow() {
        let mut habits = Habits::new(MSS);
        for n in 0..100 {
            let una = 1 + n * MSS;
            habits.send(una, una + MSS, MSS, 0);
            habits.acknowledged(una + MSS, MSS, MSS, 0, false, MILLISECOND);
        }
        assert_eq!(habits.may_fly(), 10 * MSS);
    }

    #[test]
    fn a_timeout_is_a_second_at_first_then_follows_the_round_trip_and_doubles() {
        let mut habits = Habits::new(MSS);
        habits.send(1, 1 + MSS, MSS, 0);
        assert_eq!(habits.due(), Some(RTO_FIRST));
        habits.acknowledged(1 + MSS, MSS, MSS, 0, false, 100 * MILLISECOND);
        assert_eq!(habits.due(), None);
        habits.send(1 + MSS, 1 + 2 * MSS, MSS, 0);
        assert_eq!(habits.due(), Some(300 * MILLISECOND), "srtt + 4 * rttvar = 100 + 4 * 50 ms");
        habits.timed_out(MSS, 300 * MILLISECOND);
        assert_eq!(habits.due(), Some(900 * MILLISECOND));
        assert_eq!(habits.may_fly(), MSS);
        habits.timed_out(MSS, 900 * MILLISECOND);
        assert_eq!(habits.due(), Some(2100 * MILLISECOND));
    }

    #[test]
    fn push_comes_at_the_end_of_a_write_or_after_half_a_window() {
        let pushes = |window: u64| {
            let mut habits = Habits::new(MSS);
            habits.offered(window);
            let mut at = 1;
            let sent = (0..200).filter(|_| {
                at += MSS;
                habits.send(at - MSS, at, MSS, 0)
            });
            sent.collect::<Vec<u64>>()
        };
        // 131,072 octets are 89.8 segments.
        assert_eq!(pushes(1 << 20), [89, 179]);
        assert_eq!(pushes(65_535)[..5], [22, 45, 68, 89, 112]);
    }

    #[test]
    fn sixteen_segments_are_acknowledged_at_once_and_then_every_second_one() {
        let mut habits = Habits::new(MSS);
        let mut said = Vec::new();
        for _ in 0..20 {
            let now = habits.acknowledge_now(MSS);
            said.push(now);
            if now {
                habits.acknowledges(false);
            }
        }
        assert!(said[..16].iter().all(|now| *now));
        assert_eq!(said[16..], [false, true, false, true]);
    }

    #[test]
    fn in_a_dialogue_no_acknowledgment_is_hurried() {
        let mut habits = Habits::new(MSS);
        for _ in 0..3 {
            assert!(habits.acknowledge_now(1));
            habits.acknowledges(true);
        }
        assert!(!habits.acknowledge_now(1));
        assert_eq!(habits.delay(5), 5 + DELAYED);
        habits.acknowledges(true);
        assert_eq!(habits.ack_due, None);
    }

    #[test]
    fn the_receive_window_grows_with_what_is_read_and_closes_where_nobody_reads() {
        assert_eq!(receive_window(0, true), 65_535);
        assert_eq!(receive_window(100_000, true), 265_535);
        assert_eq!(receive_window(1 << 30, true), 6 << 20);
        assert_eq!((receive_window(60_000, false), receive_window(70_000, false)), (5_535, 0));
    }
}
