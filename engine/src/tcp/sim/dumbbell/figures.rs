//! What comes of a run.

use super::packet::Nanos;

/// Of one flow.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct FlowFigures {
    /// What arrived in order while it was measured, in bits per second of payload.
    pub goodput: f64,
    /// Segments over the whole run: sent, dropped by the queue, lost by bad luck, marked.
    pub sent: u64,
    pub dropped: u64,
    pub lost: u64,
    pub marked: u64,
}

/// A moment of a run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Point {
    pub at: Nanos,
    /// Of the first flow, in bytes: what is not acknowledged, and the congestion window.
    pub flight: u64,
    pub window: u64,
    /// What waits at the bottleneck, in bytes.
    pub queue: u64,
    /// Bytes of the first flow that have arrived in order since the beginning.
    pub arrived: u64,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Figures {
    pub flows: Vec<FlowFigures>,
    /// What waited at the bottleneck while it was measured, in bytes: the mean, and what 19 of 20 samples stay below.
    pub queue_mean: f64,
    pub queue_p95: u64,
    /// Of the beginning, where it was asked for.
    pub trace: Vec<Point>,
}

impl Figures {
    /// Bits per second of all flows.
    pub(crate) fn goodput(&self) -> f64 {
        self.flows.iter().map(|flow| flow.goodput).sum()
    }

    /// The share of what was sent that the queue dropped.
    pub(crate) fn dropped(&self) -> f64 {
        let sent: u64 = self.flows.iter().map(|flow| flow.sent).sum();
        self.flows.iter().map(|flow| flow.dropped).sum::<u64>() as f64 / sent.max(1) as f64
    }

    /// Takes the samples of the queue, in bytes.
    pub(super) fn take_queue(&mut self, samples: &mut [u64]) {
        samples.sort_unstable();
        self.queue_mean = samples.iter().sum::<u64>() as f64 / samples.len().max(1) as f64;
        self.queue_p95 = samples.get(samples.len() * 19 / 20).copied().unwrap_or_default();
    }
}

/// Jain's index of fairness: 1 when all are equal, 1/n when one has everything.
pub(crate) fn jain(shares: &[f64]) -> f64 {
    let sum: f64 = shares.iter().sum();
    let squares: f64 = shares.iter().map(|share| share * share).sum();
    if squares == 0.0 { 1.0 } else { sum * sum / (shares.len() as f64 * squares) }
}
