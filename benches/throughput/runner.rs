//! The parent: starts each measured run in a process of its own, in turn on both libraries, and gathers the results.
#![forbid(unsafe_code)]

use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::args::Args;
use crate::bars;
use crate::report::{self, Report, Row};
use crate::stats::{Metric, SYSTEM_CALLS, Summary};
use crate::workload::Workload;

/// Longest time for setting up beside the measured time, after which a run is ended.
const SETUP: Duration = Duration::from_secs(90);

/// One run in a child process; its metrics, or why there are none.
pub fn run_child(args: &Args, library: &Path, workload: &Workload, count_calls: bool) -> Result<Vec<Metric>, String> {
    let exe = std::env::current_exe().map_err(|e| e.to_string())?;
    let mut command = Command::new(exe);
    command.arg("--child").arg("--lib").arg(library);
    command.args(["--workload", workload.name, "--seconds", &args.seconds.to_string()]);
    command.args(["--ack-every", &args.ack_every.to_string()]);
    if args.push_each {
        command.args(["--psh", "each"]);
    }
    if args.linux {
        command.args(["--guest", "linux"]);
    }
    if let Some(burst) = args.burst {
        command.args(["--burst", &burst.to_string()]);
    }
    if count_calls {
        command.arg("--syscalls");
    }
    if args.verify {
        command.arg("--verify");
    }
    let mut child = command.stdout(Stdio::piped()).spawn().map_err(|e| e.to_string())?;
    let mut pipe = child.stdout.take().ok_or("no pipe to the child")?;
    // The child writes a few lines only, so it cannot block on the pipe before it ends.
    let end = Instant::now() + SETUP + Duration::from_secs_f64(args.seconds * 3.0);
    let status = loop {
        match child.try_wait().map_err(|e| e.to_string())? {
            Some(status) => break status,
            None if Instant::now() > end => {
                let _ = child.kill();
                let _ = child.wait();
                return Err("the run did not end in time".into());
            }
            None => std::thread::sleep(Duration::from_millis(20)),
        }
    };
    let mut output = String::new();
    pipe.read_to_string(&mut output).map_err(|e| e.to_string())?;
    if let Some(reason) = output.lines().find_map(|line| line.strip_prefix("error\t")) {
        return Err(reason.into());
    }
    if !status.success() {
        return Err(format!("the run ended with {status}"));
    }
    Ok(output.lines().filter_map(Metric::from_line).collect())
}

/// Run all `workloads`, print each one's lines as soon as they are known, and return the report.
pub fn compare(args: &Args, ours: &Path, theirs: &Path, workloads: &[&'static Workload]) -> Report {
    let mut report = Report { conditions: Vec::new(), rows: Vec::new(), failures: Vec::new() };
    print!("{}", report::heading());
    for workload in workloads {
        let mut runs: [Vec<Vec<Metric>>; 2] = [Vec::new(), Vec::new()];
        for round in 0..args.rounds + usize::from(args.syscalls) {
            let counting = round == args.rounds;
            for ((side, library), results) in [("ours", ours), ("upstream", theirs)].into_iter().zip(&mut runs) {
                match run_child(args, library, workload, counting) {
                    // Counting costs time, so that nothing else of such a run is used.
                    Ok(mut metrics) => {
                        metrics.retain(|metric| counting == (metric.name == SYSTEM_CALLS));
                        results.push(metrics);
                    }
                    Err(reason) => {
                        println!("{:<25} {side} failed: {reason}", workload.name);
                        report.failures.push((workload.name, side, reason));
                    }
                }
            }
        }
        let rows = summarize(workload.name, &runs);
        for mut row in rows {
            row.verdict = bars::verdict(&row, &report.rows);
            print!("{}", report::line(&row));
            report.rows.push(row);
        }
    }
    report
}

/// Rows of one workload from the runs of both sides, in the order in which metrics first appear.
fn summarize(workload: &'static str, [ours, theirs]: &[Vec<Vec<Metric>>; 2]) -> Vec<Row> {
    let mut shapes: Vec<&Metric> = Vec::new();
    for metric in ours.iter().chain(theirs).flatten() {
        if !shapes.iter().any(|known| known.name == metric.name) {
            shapes.push(metric);
        }
    }
    let values = |runs: &[Vec<Metric>], name: &str| {
        let found: Vec<f64> = runs.iter().flatten().filter(|m| m.name == name).map(|m| m.value).collect();
        Summary::of(&found)
    };
    shapes
        .into_iter()
        .map(|shape| Row {
            workload,
            metric: shape.name.clone(),
            unit: shape.unit.clone(),
            better: shape.better,
            ours: values(ours, &shape.name),
            theirs: values(theirs, &shape.name),
            verdict: None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::Better;

    #[test]
    fn rows_join_both_sides_by_name() {
        let run = |rate: f64| vec![Metric::new("rate", "1/s", Better::Higher, rate)];
        let mut odd = run(4.0);
        odd.push(Metric::new("resets", "", Better::Neither, 1.0));
        let rows = summarize("w", &[vec![run(6.0), run(8.0)], vec![odd]]);
        assert_eq!(rows.len(), 2);
        assert_eq!(rows[0].ratio(), Some(7.0 / 4.0));
        assert_eq!((rows[1].metric.as_str(), rows[1].ours.is_none()), ("resets", true));
    }
}
