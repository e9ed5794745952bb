//! Round trips of a path, as an acknowledgment at a time tells of them.

use super::state::State;
use super::*;
use crate::tcp::congestion::{Control, Missing, Path, Sample};
use crate::tcp::rtt::RttEstimator;

const SEGMENT: u32 = 1000;
/// Ten megabytes a second and 20 ms: 200 segments fit.
const RATE: u64 = 10_000_000;
const RTT: Duration = Duration::from_millis(20);
const FITS: u32 = 200_000;

struct Pipe {
    bbr: Bbr,
    now: Instant,
    total: u32,
    /// Of each flight: so many of a thousand bytes are lost.
    loss: u32,
    app_limited: bool,
}

impl Pipe {
    fn new() -> Pipe {
        let now = Instant::from_secs(1);
        Pipe { bbr: Bbr::new(SEGMENT, now), now, total: 0, loss: 0, app_limited: false }
    }

    /// A round trip in ten acknowledgments; what is sent beyond what fits waits in a queue and makes it longer.
    fn round(&mut self) {
        let rate_sent = self.bbr.rate(&self.path(RTT)).unwrap_or(RATE);
        let flight = self.bbr.window().min((rate_sent / 50) as u32);
        let queue = flight.saturating_sub(FITS).min((rate_sent.saturating_sub(RATE) / 50) as u32);
        let rtt = RTT + Duration::from_micros(u64::from(queue) * 1_000_000 / RATE);
        let rate = (u64::from(flight) * 1_000_000 / rtt.total_micros()).min(RATE).min(rate_sent.max(1));
        let prior = self.total;
        let lost = u64::from(flight) * u64::from(self.loss) / 1000;
        for part in 0..10 {
            self.now += Duration::from_micros(rtt.total_micros() / 10);
            let delivered = (flight - lost as u32) / 10;
            self.total = self.total.wrapping_add(delivered);
            if lost > 0 && part == 5 {
                let lost = lost as u32;
                let missing =
                    Missing { bytes: lost, in_flight: flight, lost, total: self.total, app_limited: self.app_limited };
                self.bbr.on_lost(&missing, self.now);
            }
            let sample = Sample {
                rate: Some(rate),
                delivered,
                volume: flight,
                total: self.total,
                prior,
                in_flight: flight,
                pipe: flight - delivered,
                lost: if part >= 5 { lost as u32 } else { 0 },
                app_limited: self.app_limited,
                round_start: part == 0,
            };
            let path = self.path(rtt);
            self.bbr.on_sample(&sample, &path);
        }
    }

    fn path(&self, latest: Duration) -> Path {
        let (rtt, now) = (RttEstimator::default(), self.now);
        Path { now, rtt, latest, sack: true, most: 1 << 30, fits: FITS, queue: 0, paced: true }
    }

    fn rounds(&mut self, count: usize) -> Vec<State> {
        (0..count)
            .map(|_| {
                self.round();
                self.bbr.state
            })
            .collect()
    }
}

#[test]
fn startup_doubles_until_the_rate_grows_no_more_and_the_queue_is_drained() {
    let mut pipe = Pipe::new();
    let states = pipe.rounds(20);
    let full = states.iter().position(|&state| state != State::Startup).unwrap();
    assert!((5..12).contains(&full), "{states:?}");
    assert!(states.iter().any(|state| state.is_probing_rate()));
    let rate = pipe.bbr.model.rate.get();
    assert!((9_000_000..=RATE).contains(&rate), "{rate}");
    assert_eq!(pipe.bbr.model.round_trip().map(Duration::total_millis), Some(20));
    assert!((FITS..3 * FITS).contains(&pipe.bbr.window()), "{}", pipe.bbr.window());
}

#[test]
fn a_host_that_is_slow_does_not_end_startup() {
    let mut pipe = Pipe::new();
    pipe.app_limited = true;
    assert!(pipe.rounds(30).iter().all(|&state| state == State::Startup));
}

#[test]
fn the_rate_is_probed_every_few_seconds_and_the_round_trip_too() {
    let mut pipe = Pipe::new();
    let states = pipe.rounds(1500);
    let ups = states.windows(2).filter(|pair| pair[0] != State::Up && pair[1] == State::Up).count();
    // In 30 seconds.
    assert!((8..40).contains(&ups), "{ups}");
    assert!(states.contains(&State::ProbeRtt) && states.contains(&State::Cruise));
    let looking = states.iter().filter(|&&state| state == State::ProbeRtt).count();
    assert!(looking < 60, "{looking}");
}

#[test]
fn few_losses_change_nothing_and_many_lower_the_ceiling() {
    let mut pipe = Pipe::new();
    pipe.rounds(100);
    pipe.loss = 30;
    pipe.rounds(300);
    assert!(pipe.bbr.rate_now() > RATE / 10 * 8, "{}", pipe.bbr.rate_now());
    assert_eq!(pipe.bbr.bounds.inflight_hi, u32::MAX);
    pipe.loss = 100;
    pipe.rounds(300);
    assert!(pipe.bbr.bounds.inflight_hi < 3 * FITS);
    assert!(pipe.bbr.window() >= 4 * SEGMENT);
}

/// Of a timeout it is not known what was in flight when the first of it was sent.
#[test]
fn losses_of_timeouts_lower_the_ceiling_as_well() {
    let mut pipe = Pipe::new();
    pipe.rounds(100);
    assert_eq!(pipe.bbr.bounds.inflight_hi, u32::MAX);
    for _ in 0..300 {
        pipe.rounds(1);
        let lost = 10 * SEGMENT;
        let missing = Missing { bytes: lost, in_flight: 0, lost, total: pipe.total, app_limited: false };
        pipe.bbr.on_lost(&missing, pipe.now);
    }
    assert!(pipe.bbr.bounds.inflight_hi < u32::MAX);
}

#[test]
fn marks_lower_the_ceiling_as_many_losses_do() {
    let mut pipe = Pipe::new();
    pipe.rounds(100);
    assert_eq!(pipe.bbr.bounds.inflight_hi, u32::MAX);
    for _ in 0..300 {
        pipe.rounds(1);
        pipe.bbr.note_marked(pipe.now);
    }
    assert!(pipe.bbr.bounds.inflight_hi < 3 * FITS, "{}", pipe.bbr.bounds.inflight_hi);
    assert!(pipe.bbr.window() >= 4 * SEGMENT);
}

#[test]
fn losses_that_were_none_are_taken_back() {
    let mut pipe = Pipe::new();
    pipe.rounds(100);
    let before = pipe.bbr.before();
    let window = pipe.bbr.window();
    pipe.bbr.on_timeout(false);
    assert_eq!(pipe.bbr.window(), SEGMENT);
    pipe.bbr.take_back(&before);
    assert_eq!(pipe.bbr.window(), window);
}
