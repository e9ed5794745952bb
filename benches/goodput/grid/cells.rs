//! The cells of the grid.

use crate::dumbbell::{Discipline, Kind, Setup, millis};
use crate::tcp::{Config, Congestion, Ecn};

/// Virtual time in nanoseconds, as the simulator has it.
type Nanos = i64;

/// What is tried.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Trial {
    /// One of ours.
    Alone,
    /// Two of ours, the second one a second later.
    Two,
    /// One of ours beside a plain CUBIC or a plain Reno, which begin at the same time.
    Cubic,
    Reno,
    /// Two plain CUBICs, to see what one leaves to the other; nothing is asked of them.
    Plain,
    /// One of ours through a queue that marks (CoDel), with a guest that takes part in it.
    Aqm,
    /// One of ours over a link that loses segments in both directions.
    Loss,
}

impl Trial {
    /// How many of the flows are ours; they are the first ones.
    pub fn ours(self) -> usize {
        match self {
            Trial::Two => 2,
            Trial::Plain => 0,
            _ => 1,
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Trial::Alone => "alone",
            Trial::Two => "two",
            Trial::Cubic => "cubic",
            Trial::Reno => "reno",
            Trial::Plain => "plain",
            Trial::Aqm => "aqm",
            Trial::Loss => "loss",
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Cell {
    pub trial: Trial,
    /// Bits per second.
    pub rate: u64,
    pub rtt: Nanos,
    /// In bytes.
    pub queue: u64,
    /// Segments of a million that are lost.
    pub loss: u64,
}

/// How our connections send.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Sender {
    /// As a stack has it that is told nothing.
    #[default]
    Default,
    Cubic,
    Bbr,
}

impl Sender {
    pub fn named(name: &str) -> Result<Sender, String> {
        let all = [Sender::Default, Sender::Cubic, Sender::Bbr];
        all.into_iter().find(|sender| sender.name() == name).ok_or(format!("there is no sender {name}"))
    }

    pub fn name(self) -> &'static str {
        match self {
            Sender::Default => "default",
            Sender::Cubic => "cubic",
            Sender::Bbr => "bbr",
        }
    }

    fn congestion(self) -> Congestion {
        match self {
            Sender::Default => Congestion::default(),
            Sender::Cubic => Congestion::Cubic,
            Sender::Bbr => Congestion::Bbr,
        }
    }

    /// Whether it looks for the path's rate beyond a short queue, which costs drops there.
    pub fn probes_rate(self) -> bool {
        self.congestion() == Congestion::Bbr
    }

    /// What `engine/src/stack` makes of an MTU of 1500.
    fn config(self) -> Config {
        let limit = 512 * 1460;
        let grown = 65_535 << 9;
        Config {
            mss: 1460,
            recv_limit: limit,
            send_limit: limit,
            recv_max: grown,
            send_max: grown,
            congestion: self.congestion(),
            ..Config::default()
        }
    }
}

impl Cell {
    pub fn setup(&self, sender: Sender, seed: u64) -> Setup {
        // Through a queue that marks the guest takes part in it: our connection is the one that asks, as it opens here.
        let ecn = if self.trial == Trial::Aqm { Ecn::Ask } else { Ecn::default() };
        let ours = Kind::Ours(Config { ecn, ..sender.config() });
        let kinds: &[Kind] = match self.trial {
            Trial::Alone | Trial::Aqm | Trial::Loss => &[ours],
            Trial::Two => &[ours, ours],
            Trial::Cubic => &[ours, Kind::Cubic],
            Trial::Reno => &[ours, Kind::Reno],
            Trial::Plain => &[Kind::Cubic, Kind::Cubic],
        };
        let mut setup = Setup::new(self.rate, self.rtt, self.queue, kinds, seed);
        setup.luck.loss = self.loss;
        setup.luck.ack_loss = self.loss;
        if self.trial == Trial::Two
            && let Some(second) = setup.flows.get_mut(1)
        {
            second.start = millis(1000);
        }
        if self.trial == Trial::Aqm {
            setup.discipline = Discipline::CoDel;
            setup.habits.ecn = true;
        }
        setup
    }

    /// What the wire carries in a round trip, in bytes.
    pub fn bdp(&self) -> f64 {
        self.rate as f64 * self.rtt as f64 / 8e9
    }
}

const MBIT: u64 = 1_000_000;
const KIB: u64 = 1024;

const RATES: [u64; 3] = [100 * MBIT, 1000 * MBIT, 10_000 * MBIT];
/// In microseconds.
const RTTS: [Nanos; 5] = [200, 2000, 10_000, 50_000, 200_000];
const QUEUES: [u64; 5] = [32 * KIB, 64 * KIB, 256 * KIB, 1024 * KIB, 4096 * KIB];
/// Of links that lose segments: the delays of the table of docs/conformance.md, there and back, and 100 ms; in microseconds.
const LOSSY_RTTS: [Nanos; 4] = [200, 10_000, 50_000, 100_000];
const LOSSES: [u64; 3] = [1000, 10_000, 30_000];

/// The part that is run often: rate in Mbit/s, round trip in microseconds, queue in KiB.
const OFTEN: [(u64, Nanos, u64); 18] = [
    (100, 200, 32),
    (100, 200, 4096),
    (100, 10_000, 32),
    (100, 10_000, 64),
    (100, 10_000, 256),
    (100, 50_000, 32),
    (100, 50_000, 64),
    (100, 50_000, 256),
    (100, 50_000, 1024),
    (100, 50_000, 4096),
    (100, 200_000, 64),
    (100, 200_000, 4096),
    (1000, 200, 64),
    (1000, 2000, 64),
    (1000, 10_000, 1024),
    (1000, 50_000, 4096),
    (10_000, 200, 256),
    (10_000, 2000, 4096),
];
const OFTEN_SHARED: [(u64, Nanos, u64); 6] = [
    (100, 10_000, 32),
    (100, 10_000, 256),
    (100, 50_000, 64),
    (100, 50_000, 1024),
    (1000, 2000, 64),
    (1000, 10_000, 1024),
];
const OFTEN_MARKED: [(u64, Nanos, u64); 3] = [(100, 10_000, 1024), (100, 50_000, 4096), (1000, 10_000, 4096)];

/// The connection whose beginning is shown.
pub const OF_TRACE: Cell = Cell { trial: Trial::Alone, rate: 100 * MBIT, rtt: 50_000_000, queue: 256 * KIB, loss: 0 };

fn cell(trial: Trial, (rate, rtt, queue): (u64, Nanos, u64)) -> Cell {
    Cell { trial, rate: rate * MBIT, rtt: rtt * 1000, queue: queue * KIB, loss: 0 }
}

/// The cells: all, or those that are run often.
pub fn cells(all: bool) -> Vec<Cell> {
    let mut cells = Vec::new();
    if all {
        for trial in [Trial::Alone, Trial::Two, Trial::Cubic, Trial::Reno, Trial::Plain, Trial::Aqm] {
            for rate in RATES {
                for rtt in RTTS {
                    cells.extend(QUEUES.map(|queue| Cell { trial, rate, rtt: rtt * 1000, queue, loss: 0 }));
                }
            }
        }
    } else {
        cells.extend(OFTEN.map(|size| cell(Trial::Alone, size)));
        for trial in [Trial::Two, Trial::Cubic, Trial::Reno, Trial::Plain] {
            cells.extend(OFTEN_SHARED.map(|size| cell(trial, size)));
        }
        cells.extend(OFTEN_MARKED.map(|size| cell(Trial::Aqm, size)));
    }
    for rtt in LOSSY_RTTS {
        cells.extend(LOSSES.map(|loss| Cell { loss, ..cell(Trial::Loss, (1000, rtt, 4096)) }));
    }
    cells
}

/// Every trial but random loss at each of these bottlenecks.
pub fn named(sizes: &[[u64; 3]]) -> Vec<Cell> {
    let trials = [Trial::Alone, Trial::Two, Trial::Cubic, Trial::Reno, Trial::Plain, Trial::Aqm];
    let of = |trial| sizes.iter().map(move |&[rate, rtt, queue]| cell(trial, (rate, rtt as Nanos, queue)));
    trials.into_iter().flat_map(of).collect()
}
