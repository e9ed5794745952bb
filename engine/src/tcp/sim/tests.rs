//! The seeds, and runs that once failed.

use std::fmt;
use std::panic::catch_unwind;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::end::decode;
use super::run::{Outcome, run};
use super::scenario::Other;
use crate::tcp::*;
use crate::time::{Duration, Instant};

/// Seeds of an ordinary run of the tests.
const SEEDS: u64 = 10_000;
/// Failed seeds after which the rest is left alone.
const MANY: usize = 20;

/// A segment on one line.
pub(super) struct Brief<'a>(pub &'a [u8]);

impl fmt::Debug for Brief<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let s = decode(self.0);
        let options = s.options;
        write!(f, "{:?} seq {} len {} ack {} win {}", s.flags, s.seq.0, s.payload.len(), s.ack.0, s.window)?;
        let blocks: Vec<_> = options.sack.iter().flatten().collect();
        write!(f, " mss {:?} scale {:?} ts {:?} {blocks:?}", options.mss, options.window_scale, options.timestamps)
    }
}

/// Whether a run is to be shown segment by segment.
pub(super) fn tracing() -> bool {
    static TRACE: std::sync::OnceLock<bool> = std::sync::OnceLock::new();
    *TRACE.get_or_init(|| std::env::var_os("OXISLIRP_SIM_TRACE").is_some())
}

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is no number: {text}")))
}

/// Runs a seed; says how to run it again when it fails.
fn run_or_tell(seed: u64) -> Option<Outcome> {
    let outcome = catch_unwind(|| run(seed)).ok();
    if outcome.is_none() {
        eprintln!("seed {seed} failed. To see it segment by segment:");
        eprintln!(
            "    OXISLIRP_SIM_FROM={seed} OXISLIRP_SIM_SEEDS=1 OXISLIRP_SIM_TRACE=1 cargo test --lib every_seed -- --nocapture"
        );
    }
    outcome
}

/// Sums over runs.
#[derive(Default, Debug)]
struct Sums {
    failed: Vec<u64>,
    runs: u64,
    smoltcp: u64,
    both_opened: u64,
    clean: u64,
    broken: u64,
    forgotten: u64,
    bytes: u64,
    rebuilt: u64,
    paused: u64,
    segments: u64,
    repeated: u64,
    lost: u64,
    dropped: u64,
    too_big: u64,
    duplicated: u64,
    overtaken: u64,
    zero_windows: u64,
    probes: u64,
    resets: u64,
    blocks: u64,
    stamped: u64,
    scaled: u64,
    urgent: u64,
    seconds: u64,
    /// Two revisions that are meant to behave alike have the same one for the same seeds.
    digest: u64,
}

impl Sums {
    fn add(&mut self, o: &Outcome) {
        self.runs += 1;
        self.smoltcp += u64::from(o.other == Other::Smol);
        self.both_opened += u64::from(o.both_opened);
        self.clean += u64::from(o.clean);
        self.broken += u64::from(o.broken);
        self.forgotten += u64::from(o.forgotten);
        self.bytes += o.bytes;
        self.rebuilt += o.rebuilt;
        self.paused += o.paused;
        self.seconds += o.took.secs();
        self.digest = self.digest.wrapping_add(o.digest);
        for link in o.links {
            self.lost += link.lost;
            self.dropped += link.dropped;
            self.too_big += link.too_big;
            self.duplicated += link.duplicated;
            self.overtaken += link.overtaken;
        }
        let sights = o.sights;
        self.segments += sights.segments;
        self.repeated += sights.repeated;
        self.zero_windows += sights.zero_windows;
        self.probes += sights.probes;
        self.resets += sights.resets;
        self.blocks += sights.blocks;
        self.stamped += sights.stamped;
        self.scaled += sights.scaled;
        self.urgent += sights.urgent;
    }

    /// Everything that the simulator is there for has come to pass.
    fn is_rich(&self) -> bool {
        let counts = [
            self.smoltcp,
            self.both_opened,
            self.clean,
            self.broken,
            self.bytes,
            self.rebuilt,
            self.paused,
            self.repeated,
            self.lost,
            self.dropped,
            self.too_big,
            self.duplicated,
            self.overtaken,
            self.zero_windows,
            self.probes,
            self.resets,
            self.blocks,
            self.stamped,
            self.scaled,
            self.urgent,
        ];
        counts.iter().all(|&count| count >= self.runs / 100) && self.forgotten <= self.runs / 100
    }
}

/// All seeds, on as many threads as there are processors. `OXISLIRP_SIM_SEEDS` and `OXISLIRP_SIM_FROM` choose others.
#[test]
fn every_seed_transfers_its_bytes_and_ends() {
    let from = number("OXISLIRP_SIM_FROM").unwrap_or(0);
    let count = number("OXISLIRP_SIM_SEEDS").unwrap_or(SEEDS);
    let next = AtomicU64::new(from);
    let sums = Mutex::new(Sums::default());
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(2, usize::from) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Relaxed);
                    if seed >= from + count {
                        break;
                    }
                    let outcome = run_or_tell(seed);
                    let mut sums = sums.lock().unwrap();
                    match outcome {
                        Some(outcome) => sums.add(&outcome),
                        None => sums.failed.push(seed),
                    }
                    if sums.failed.len() >= MANY {
                        break;
                    }
                }
            });
        }
    });
    let sums = sums.into_inner().unwrap();
    eprintln!("{sums:?}");
    assert!(sums.failed.is_empty(), "failed seeds: {:?}", sums.failed);
    assert_eq!(sums.runs, count);
    assert!(count < 1000 || sums.is_rich(), "some of it never happens: {sums:?}");
}

#[test]
fn a_seed_gives_the_same_run_again() {
    for seed in 0..20 {
        assert_eq!(format!("{:?}", run(seed)), format!("{:?}", run(seed)));
    }
}

/// Nothing waits for a timer when nothing is lost.
#[test]
fn nothing_waits_on_a_clean_link() {
    let (mut a_pool, mut b_pool) = (Pool::new(), Pool::new());
    for mss in [100, 1460, 65480] {
        let config = Config { mss, recv_limit: 1 << 20, send_limit: 1 << 20, ..Config::default() };
        let mut now = Instant::from_millis(5);
        let mut left = Connection::active(&config, SeqNumber(1), now);
        let mut right: Option<Connection> = None;
        let data = vec![7; 400_000];
        left.send_mut().push(&data, 1 << 20, &mut a_pool);
        let mut arrived = 0;
        for _ in 0..20 {
            now += Duration::from_micros(50);
            while let Some(t) = left.poll_transmit(now) {
                let (first, second) = left.send().slices(t.offset, t.len);
                let payload = [first, second].concat();
                let segment = segment_of(&t, &payload);
                match &mut right {
                    Some(right) => right.on_segment(&segment, now, &mut b_pool),
                    None => {
                        let mut new = Connection::passive(&config, &segment, SeqNumber(9), now, &mut b_pool);
                        new.accept(now);
                        right = Some(new);
                    }
                }
            }
            let Some(right) = &mut right else { continue };
            arrived += right.recv().len();
            right.consume_received(right.recv().len(), &mut b_pool);
            right.flush_ack();
            while let Some(t) = right.poll_transmit(now) {
                left.on_segment(&segment_of(&t, &[]), now, &mut a_pool);
            }
        }
        assert_eq!(arrived, data.len());
        assert!(left.send_idle() && left.deadline().is_none());
        assert_eq!((a_pool.lent(), b_pool.lent()), (0, 0), "idle connections own no memory");
    }
}

fn segment_of<'a>(t: &Transmit, payload: &'a [u8]) -> Segment<'a> {
    Segment { seq: t.seq, ack: t.ack, flags: t.flags, window: t.window, urgent: t.urgent, options: t.options, payload }
}
