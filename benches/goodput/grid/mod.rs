//! The grid: senders alone and in company through bottlenecks of all sizes, in virtual time, each cell with the bars that hold
//! for it.
//!
//! `cells` says which there are, `bars` what is asked of them, `report` writes the table and the JSON that `script/plot` draws.

mod bars;
mod cells;
mod report;

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use crate::dumbbell::{Figures, Setup, jain, millis, run};
use cells::Cell;
pub use cells::Sender;

pub const USAGE: &str = "\
goodput grid [--all] [--only TRIAL,...] [--sender NAME] [--seeds N] [--seconds N] [--jobs N] [--rates MBITS,...]
             [--cells MBITS:MICROSECONDS:KIB,...] [--json FILE]
goodput trace [--sender NAME] --json FILE

grid: our sender through a bottleneck in virtual time, alone, with a second one of ours, beside a plain CUBIC and a plain
Reno, and over links that lose segments at random. Prints a line for each cell, with the bars that are asked of it, and
writes the same as JSON. Without --all a part of the cells that takes some two minutes. Trials: alone, two, cubic, reno, plain
(two plain CUBICs), aqm, loss. At most two runs at a time. --cells names bottlenecks in the place of those that there are: rate, round trip, queue.
trace: the first seconds of one connection, as JSON.
";

/// What was measured of a cell: means over its seeds.
pub struct Row {
    pub cell: Cell,
    /// Of each flow: its share of what the wire can carry.
    pub shares: Vec<f64>,
    /// Of all flows together, the worst seed.
    pub least: f64,
    pub jain: f64,
    /// Of what all flows sent, and of what ours did.
    pub dropped: f64,
    pub dropped_ours: f64,
    pub marked: f64,
    /// In bytes.
    pub queue_mean: f64,
    pub queue_p95: f64,
    pub bars: Vec<bars::Bar>,
}

pub struct Arguments {
    pub all: bool,
    pub only: Vec<String>,
    pub sender: Sender,
    pub seeds: u64,
    pub length: Duration,
    pub jobs: usize,
    /// Only these rates, in Mbit/s.
    pub rates: Vec<u64>,
    /// These bottlenecks in the place of those of the grid: Mbit/s, microseconds and KiB.
    pub cells: Vec<[u64; 3]>,
    pub json: Option<String>,
}

pub fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Arguments, String> {
    let mut parsed = Arguments {
        all: false,
        only: Vec::new(),
        sender: Sender::default(),
        seeds: 3,
        length: Duration::from_secs(30),
        jobs: 2,
        rates: Vec::new(),
        cells: Vec::new(),
        json: None,
    };
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or(format!("{argument} needs a value"));
        match argument.as_str() {
            "--all" => parsed.all = true,
            "--only" => parsed.only = value()?.split(',').map(str::to_owned).collect(),
            "--sender" => parsed.sender = Sender::named(&value()?)?,
            "--seeds" => parsed.seeds = crate::one(&value()?)?,
            "--seconds" => parsed.length = Duration::from_secs(crate::one(&value()?)?),
            "--jobs" => parsed.jobs = crate::one::<usize>(&value()?)?.clamp(1, 2),
            "--rates" => parsed.rates = crate::list(&value()?)?,
            "--cells" => parsed.cells = value()?.split(',').map(three).collect::<Result<_, _>>()?,
            "--json" => parsed.json = Some(value()?),
            _ => return Err(format!("what is {argument}?\n{USAGE}")),
        }
    }
    if parsed.seeds == 0 || parsed.length.is_zero() {
        return Err(USAGE.into());
    }
    Ok(parsed)
}

/// `100:50000:64`.
fn three(text: &str) -> Result<[u64; 3], String> {
    let numbers: Vec<u64> = text.split(':').map(crate::one).collect::<Result<_, _>>()?;
    <[u64; 3]>::try_from(numbers).map_err(|_| format!("{text} is not MBITS:MICROSECONDS:KIB"))
}

/// Runs the cells and reports. False when a bar was missed.
pub fn grid(arguments: &Arguments) -> Result<bool, String> {
    let mut cells =
        if arguments.cells.is_empty() { cells::cells(arguments.all) } else { cells::named(&arguments.cells) };
    cells.retain(|cell| arguments.only.is_empty() || arguments.only.iter().any(|name| name == cell.trial.name()));
    cells.retain(|cell| arguments.rates.is_empty() || arguments.rates.contains(&(cell.rate / 1_000_000)));
    let next = AtomicUsize::new(0);
    let rows = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..arguments.jobs {
            scope.spawn(|| {
                while let Some(cell) = cells.get(next.fetch_add(1, Relaxed)) {
                    let row = measure(cell, arguments);
                    eprintln!("{}", report::line(&row));
                    rows.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).push(row);
                }
            });
        }
    });
    let mut rows = rows.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner());
    rows.sort_by_key(|row| cells.iter().position(|cell| *cell == row.cell));
    print!("{}", report::markdown(&rows, arguments));
    if let Some(path) = &arguments.json {
        std::fs::write(path, report::json(&rows, arguments)).map_err(|error| format!("{path}: {error}"))?;
    }
    Ok(rows.iter().all(|row| row.bars.iter().all(|bar| bar.met)))
}

fn measure(cell: &Cell, arguments: &Arguments) -> Row {
    let runs: Vec<(Setup, Figures)> = (1..=arguments.seeds)
        .map(|seed| {
            let mut setup = cell.setup(arguments.sender, seed);
            setup.length = arguments.length.as_nanos() as i64;
            let figures = run(&setup);
            (setup, figures)
        })
        .collect();
    let mean = |what: &dyn Fn(&Figures) -> f64| runs.iter().map(|(_, run)| what(run)).sum::<f64>() / runs.len() as f64;
    let capacity = runs[0].0.capacity();
    let flows = runs[0].1.flows.len();
    let shares: Vec<f64> = (0..flows).map(|flow| mean(&|run| run.flows[flow].goodput) / capacity).collect();
    let marked = |run: &Figures| {
        let sent: u64 = run.flows.iter().map(|flow| flow.sent).sum();
        run.flows.iter().map(|flow| flow.marked).sum::<u64>() as f64 / sent.max(1) as f64
    };
    let mut row = Row {
        cell: *cell,
        least: runs.iter().map(|(_, run)| run.goodput() / capacity).fold(f64::INFINITY, f64::min),
        jain: mean(&|run| jain(&run.flows.iter().map(|flow| flow.goodput).collect::<Vec<_>>())),
        dropped: mean(&|run| run.dropped()),
        dropped_ours: mean(&|run| {
            let flows = run.flows.iter().take(cell.trial.ours());
            let (dropped, sent) = flows.fold((0, 0), |(a, b), flow| (a + flow.dropped, b + flow.sent));
            dropped as f64 / sent.max(1) as f64
        }),
        marked: mean(&marked),
        queue_mean: mean(&|run| run.queue_mean),
        queue_p95: mean(&|run| run.queue_p95 as f64),
        shares,
        bars: Vec::new(),
    };
    row.bars = bars::bars(&row, arguments.sender);
    row
}

/// The beginning of one connection.
pub fn trace(arguments: &Arguments) -> Result<(), String> {
    let Some(path) = &arguments.json else { return Err(USAGE.into()) };
    let cell = cells::OF_TRACE;
    let mut setup = cell.setup(arguments.sender, 1);
    (setup.warm_up, setup.length) = (0, millis(4000));
    setup.trace = Some((millis(4000), millis(10)));
    let figures = run(&setup);
    std::fs::write(path, report::trace(&cell, arguments, &figures)).map_err(|error| format!("{path}: {error}"))
}
