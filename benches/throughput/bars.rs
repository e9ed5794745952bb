//! The bars: what the project set itself to reach, workload by workload. Ratios are meant against upstream 4.9.5; times per
//! unit are meant for a machine like the one of the measurements in `docs/performance.md`.
#![forbid(unsafe_code)]

use crate::report::Row;

/// What a value is held against.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Bar {
    /// ours / upstream is at least, or at most, this.
    RatioAtLeast(f64),
    RatioAtMost(f64),
    /// ours / upstream is at least this, or ours is at least a share of ours in the workload named, which is the machine's
    /// limit.
    RatioAtLeastOrOf(f64, &'static str, f64),
    /// Ours is at most this, in the row's unit.
    AtMost(f64),
    /// Ours / ours in the workload named is at least, or at most, this.
    OfAtLeast(&'static str, f64),
    OfAtMost(&'static str, f64),
}

const BARS: &[(&str, &str, Bar)] = &[
    ("tcp_g2h_1", "rate", Bar::RatioAtLeast(10.0)),
    ("tcp_g2h_1", "cpu", Bar::AtMost(0.40)),
    ("tcp_g2h_8", "rate", Bar::RatioAtLeast(8.0)),
    ("tcp_g2h_64", "rate", Bar::RatioAtLeast(8.0)),
    ("tcp_g2h_65520", "rate", Bar::RatioAtLeast(40.0)),
    ("tcp_g2h_65520", "cpu", Bar::AtMost(0.30)),
    ("tcp_h2g_1", "rate", Bar::RatioAtLeast(1.8)),
    ("tcp_h2g_1", "cpu", Bar::AtMost(0.32)),
    ("tcp_h2g_64", "rate", Bar::RatioAtLeast(1.8)),
    ("tcp_h2g_65520", "rate", Bar::RatioAtLeastOrOf(1.4, "machine_loopback", 0.90)),
    ("crr_g2h", "rate", Bar::RatioAtLeast(3.3)),
    ("crr_g2h_one_cpu", "rate", Bar::RatioAtLeast(3.3)),
    ("crr_hostfwd", "rate", Bar::RatioAtLeast(6.0)),
    ("crr_hostfwd_steady", "rate", Bar::RatioAtLeast(6.0)),
    ("tcp_rr", "p50", Bar::RatioAtMost(1.05)),
    ("tcp_rr", "p99", Bar::RatioAtMost(1.05)),
    ("tcp_rr_32", "rate", Bar::RatioAtLeast(1.2)),
    ("tcp_rr_32", "cpu", Bar::RatioAtMost(0.9)),
    ("ping", "cpu", Bar::RatioAtMost(0.9)),
    ("dhcp", "cpu", Bar::RatioAtMost(0.9)),
    ("udp_g2h_1472", "rate", Bar::RatioAtLeast(2.5)),
    ("udp_g2h_64", "rate", Bar::RatioAtLeast(2.5)),
    ("udp_h2g_1472", "rate", Bar::RatioAtLeast(2.0)),
    ("udp_h2g_1472_runs", "rate", Bar::RatioAtLeast(2.0)),
    ("idle_round_1000", "round", Bar::AtMost(1000.0)),
    ("idle_round_10000", "round", Bar::OfAtMost("idle_round_1", 1.10)),
    ("idle_round_20000", "round", Bar::AtMost(1000.0)),
    ("idle_memory", "established", Bar::AtMost(1536.0)),
    ("idle_memory", "after_echo", Bar::AtMost(1536.0)),
    ("stalled_h2g", "memory", Bar::AtMost(150.0)),
    ("stalled_g2h", "memory", Bar::AtMost(150.0)),
    ("rr_with_1000_idle", "rate", Bar::RatioAtLeast(12.0)),
    ("tcp_h2g_with_1000_idle", "rate", Bar::RatioAtLeast(7.0)),
    ("rr_with_10000_idle", "rate", Bar::OfAtLeast("tcp_rr", 0.90)),
    ("tcp_h2g_with_10000_idle", "rate", Bar::OfAtLeast("tcp_h2g_1", 0.90)),
];

/// What a bar says, and whether it is met.
#[derive(Clone, PartialEq, Debug)]
pub struct Verdict {
    /// For people, for example `≥ 10×`.
    pub bar: String,
    pub met: bool,
}

/// The verdict on a row; `others` are the rows known so far. `None` where there is no bar or not everything it asks for.
pub fn verdict(row: &Row, others: &[Row]) -> Option<Verdict> {
    let (.., bar) = BARS.iter().find(|(workload, metric, _)| (*workload, *metric) == (row.workload, &*row.metric))?;
    let ours = row.ours.as_ref()?.median;
    let of = |workload: &str| {
        let other = others.iter().find(|r| r.workload == workload && r.metric == row.metric)?;
        Some(ours / other.ours.as_ref()?.median)
    };
    let (bar, met) = match *bar {
        Bar::RatioAtLeast(limit) => (format!("≥ {limit}×"), row.ratio()? >= limit),
        Bar::RatioAtMost(limit) => (format!("≤ {limit}×"), row.ratio()? <= limit),
        Bar::RatioAtLeastOrOf(limit, workload, share) => {
            let near = of(workload).is_some_and(|of| of >= share);
            (format!("≥ {limit}× or {share} of {workload}"), near || row.ratio()? >= limit)
        }
        Bar::AtMost(limit) => (format!("≤ {limit} {}", row.unit), ours <= limit),
        Bar::OfAtLeast(workload, share) => (format!("≥ {share} of {workload}"), of(workload)? >= share),
        Bar::OfAtMost(workload, share) => (format!("≤ {share} of {workload}"), of(workload)? <= share),
    };
    Some(Verdict { bar, met })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::{Better, Summary};

    fn row(workload: &'static str, metric: &str, ours: f64, theirs: f64) -> Row {
        Row {
            workload,
            metric: metric.into(),
            unit: "u".into(),
            better: Better::Higher,
            ours: Summary::of(&[ours]),
            theirs: Summary::of(&[theirs]),
            verdict: None,
        }
    }

    #[test]
    fn ratios_values_and_other_workloads_are_held_against_their_bars() {
        let met = |row: &Row, others: &[Row]| verdict(row, others).map(|v| v.met);
        assert_eq!(met(&row("tcp_g2h_1", "rate", 20.0, 2.0), &[]), Some(true));
        assert_eq!(met(&row("tcp_g2h_1", "rate", 19.9, 2.0), &[]), Some(false));
        assert_eq!(met(&row("tcp_g2h_1", "cpu", 0.41, 5.0), &[]), Some(false));
        assert_eq!(met(&row("tcp_rr", "p99", 21.0, 20.0), &[]), Some(true));
        let base = [row("tcp_rr", "rate", 100.0, 1.0)];
        assert_eq!(met(&row("rr_with_10000_idle", "rate", 90.0, 1.0), &base), Some(true));
        assert_eq!(met(&row("rr_with_10000_idle", "rate", 89.0, 1.0), &base), Some(false));
        assert_eq!(met(&row("rr_with_10000_idle", "rate", 89.0, 1.0), &[]), None);
        assert_eq!(met(&row("tcp_h2g_65520", "rate", 14.0, 10.0), &[]), Some(true));
        assert_eq!(met(&row("tcp_h2g_65520", "rate", 13.0, 10.0), &[]), Some(false));
        let machine = [row("machine_loopback", "rate", 14.0, 14.0)];
        assert_eq!(met(&row("tcp_h2g_65520", "rate", 13.0, 10.0), &machine), Some(true));
        assert_eq!(met(&row("tcp_h2g_65520", "rate", 12.0, 10.0), &machine), Some(false));
        assert_eq!(met(&row("tcp_g2h_delay_25", "rate", 1.0, 1.0), &[]), None);
    }

    #[test]
    fn every_bar_names_a_metric_once() {
        for (at, (workload, metric, _)) in BARS.iter().enumerate() {
            assert!(!BARS[at + 1..].iter().any(|(w, m, _)| (w, m) == (workload, metric)), "{workload} {metric}");
        }
    }
}
