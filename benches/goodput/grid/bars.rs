//! What is asked of a cell.

use super::Row;
use super::cells::{Sender, Trial};

pub struct Bar {
    pub text: String,
    pub met: bool,
}

impl Bar {
    fn at_least(what: &str, bar: f64, value: f64) -> Bar {
        Bar { text: format!("{what} ≥ {bar:.2}"), met: value >= bar }
    }

    fn at_most(what: &str, bar: f64, value: f64) -> Bar {
        Bar { text: format!("{what} ≤ {bar:.2}"), met: value <= bar }
    }
}

/// The shares of the link that the sender of commit bb0e42f reached in the table of docs/conformance.md from host to guest,
/// through the C library: the round trip in nanoseconds, and a figure for each loss.
const BEFORE: [(i64, [f64; 3]); 3] =
    [(200_000, [948.3, 939.8, 919.7]), (10_000_000, [943.4, 937.5, 908.2]), (50_000_000, [945.1, 893.3, 761.3])];
/// What that table has at most, in Mbit/s.
const FULL: f64 = 949.3;
const LOSSES: [u64; 3] = [1000, 10_000, 30_000];
/// At a round trip of 100 ms.
const FAR: [f64; 3] = [0.8, 0.7, 0.5];

pub fn bars(row: &Row, sender: Sender) -> Vec<Bar> {
    let cell = &row.cell;
    let of_bdp = cell.queue as f64 / cell.bdp();
    let mut bars = Vec::new();
    match cell.trial {
        Trial::Alone if of_bdp >= 0.5 => bars.push(Bar::at_least("share", 0.95, row.least)),
        Trial::Alone if (cell.rate, cell.rtt, cell.queue) == (100_000_000, 50_000_000, 64 << 10) => {
            bars.push(Bar::at_least("share", 0.8, row.least));
        }
        Trial::Two => bars.push(Bar::at_least("Jain", 0.95, row.jain)),
        Trial::Cubic => {
            let least = row.shares.iter().copied().fold(f64::INFINITY, f64::min);
            bars.push(Bar::at_least("each", 0.3, least));
        }
        Trial::Loss => bars.extend(loss(row)),
        _ => {}
    }
    if !matches!(cell.trial, Trial::Loss | Trial::Plain) {
        let most = if sender.probes_rate() && of_bdp <= 0.1 { 2.0 } else { 1.0 };
        bars.push(Bar::at_most("dropped %", most, row.dropped_ours * 100.0));
    }
    if cell.trial == Trial::Alone && cell.queue == 4 << 20 {
        bars.push(Bar::at_most("queue %", 25.0, row.queue_mean / cell.queue as f64 * 100.0));
    }
    bars
}

fn loss(row: &Row) -> Option<Bar> {
    let at = LOSSES.iter().position(|&loss| loss == row.cell.loss)?;
    let before = BEFORE.iter().find(|(rtt, _)| *rtt == row.cell.rtt).map(|(_, figures)| figures[at] / FULL * 0.95);
    Some(Bar::at_least("share", before.unwrap_or(FAR[at]), row.least))
}
