//! Starts each run in a process of its own, the stacks in turn, and keeps what they measured.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::cable;
use crate::network::{self, Variant};
use crate::report::{Report, Run};
use crate::stats::Metric;
use crate::workload::{self, Workload};

const USAGE: &str = "\
script/bench-peers [options]

  --workload NAME   only this one; may be repeated
  --stack NAME      only this stack; may be repeated
  --rounds N        runs of each (default 3), the stacks in turn, another one first in each round
  --seconds S       measured time of a run (default 2)
  --verify          check every checksum and every byte
  --json FILE       write what was measured
  --add             keep what FILE has of other workloads, and show all of it
  --table FILE      put the table into this page
  --list
";

/// Longest time of a run beside what is measured.
const SETUP: Duration = Duration::from_secs(40);

#[derive(Debug)]
pub struct Args {
    workloads: Vec<String>,
    stacks: Vec<String>,
    rounds: usize,
    seconds: f64,
    verify: bool,
    json: Option<PathBuf>,
    add: bool,
    table: Option<PathBuf>,
    list: bool,
    help: bool,
}

impl Args {
    pub fn parse(mut rest: impl Iterator<Item = String>) -> Result<Args, String> {
        let mut args = Args {
            workloads: Vec::new(),
            stacks: Vec::new(),
            rounds: 3,
            seconds: 2.0,
            verify: false,
            json: None,
            add: false,
            table: None,
            list: false,
            help: false,
        };
        while let Some(name) = rest.next() {
            let mut value = || rest.next().ok_or(format!("{name} needs a value"));
            let wrong = |value: &str| format!("{name} does not take {value:?}");
            match name.as_str() {
                "--workload" => args.workloads.push(value()?),
                "--stack" => args.stacks.push(value()?),
                "--rounds" => {
                    let value = value()?;
                    args.rounds = value.parse().ok().filter(|n| (0..=99).contains(n)).ok_or(wrong(&value))?;
                }
                "--seconds" => {
                    let value = value()?;
                    args.seconds = value.parse().ok().filter(|s| (0.1..=600.0).contains(s)).ok_or(wrong(&value))?;
                }
                "--verify" => args.verify = true,
                "--json" => args.json = Some(value()?.into()),
                "--add" => args.add = true,
                "--table" => args.table = Some(value()?.into()),
                "--list" => args.list = true,
                "--help" | "-h" => args.help = true,
                _ => return Err(format!("unknown option {name}\n\n{USAGE}")),
            }
        }
        Ok(args)
    }
}

pub fn main(args: &Args) -> Result<(), String> {
    if args.help {
        print!("{USAGE}");
        return Ok(());
    }
    if args.list {
        workload::ALL.iter().for_each(|workload| println!("{:<22} {}", workload.name, workload.about));
        return Ok(());
    }
    let kept = args.json.as_deref().filter(|path| args.add && path.exists());
    let mut report = kept.map_or_else(|| Ok(Report::default()), Report::read)?;
    let named = |wanted: &[String], name: &str| wanted.is_empty() || wanted.iter().any(|one| one == name);
    let workloads: Vec<&Workload> =
        workload::ALL.iter().filter(|workload| named(&args.workloads, workload.name)).collect();
    let variants: Vec<Variant> =
        network::ALL.into_iter().filter(|variant| named(&args.stacks, variant.stack)).collect();
    if workloads.is_empty() || variants.is_empty() {
        return Err("there is nothing to run; --list shows the workloads".into());
    }
    if args.rounds > 0 {
        report.conditions = conditions(args)?;
    }
    let mut failed = 0;
    for workload in workloads {
        if args.rounds > 0 {
            report.runs.retain(|run| run.workload != workload.name || !named(&args.stacks, &run.stack));
        }
        for round in 0..args.rounds {
            for turn in 0..variants.len() {
                let variant = variants[(round + turn) % variants.len()];
                let outcome = run(args, workload, variant);
                let shown = match &outcome {
                    Ok(metrics) => {
                        let shown = metrics.iter().map(|m| format!("{} {:.1} {}", m.name, m.value, m.unit));
                        shown.collect::<Vec<_>>().join(", ")
                    }
                    Err(reason) => {
                        failed += 1;
                        format!("failed: {reason}")
                    }
                };
                println!("{} {} ({}): {shown}", workload.name, variant.stack, variant.runtime);
                report.runs.push(Run {
                    workload: workload.name.into(),
                    stack: variant.stack.into(),
                    runtime: variant.runtime.into(),
                    outcome,
                });
                if let Some(path) = &args.json {
                    report.write(path)?;
                }
            }
        }
    }
    let table = report.table();
    println!("\n{table}");
    if let Some(page) = &args.table {
        report.insert(page, &table)?;
    }
    if failed > 0 { Err(format!("{failed} runs failed")) } else { Ok(()) }
}

/// What was measured, and where.
fn conditions(args: &Args) -> Result<Vec<(String, String)>, String> {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default().trim().to_owned();
    let (sends, receives) = cable::guest_alone(workload::shape(false, false));
    let loopback = workload::loopback_alone(Duration::from_secs_f64(args.seconds))?;
    let set = |name: &str, value: String| (name.to_owned(), value);
    Ok(vec![
        set("rounds", args.rounds.to_string()),
        set("seconds", args.seconds.to_string()),
        set("verify", args.verify.to_string()),
        set("kernel", read("/proc/sys/kernel/osrelease")),
        set("cpus", std::thread::available_parallelism().map_or(0, usize::from).to_string()),
        set("load", read("/proc/loadavg").split(' ').take(3).collect::<Vec<_>>().join(" ")),
        set("unix_time", std::time::UNIX_EPOCH.elapsed().map_or(0, |time| time.as_secs()).to_string()),
        set("guest_sends_ns", format!("{sends:.0}")),
        set("guest_receives_ns", format!("{receives:.0}")),
        set("loopback_gbits", format!("{loopback:.1}")),
    ])
}

fn run(args: &Args, workload: &Workload, variant: Variant) -> Result<Vec<Metric>, String> {
    let text = |error: std::io::Error| error.to_string();
    let program = std::env::current_exe().map_err(text)?;
    let mut command = Command::new(Path::new(&program));
    command.args(["--child", variant.stack, variant.runtime, workload.name]);
    command.args([args.seconds.to_string(), args.verify.to_string()]);
    let mut child = command.stdout(Stdio::piped()).spawn().map_err(text)?;
    let mut pipe = child.stdout.take().ok_or("no pipe to the child")?;
    // The child writes a few lines only, so it cannot block on the pipe before it ends.
    let end = Instant::now() + SETUP + Duration::from_secs_f64(args.seconds);
    let status = loop {
        match child.try_wait().map_err(text)? {
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
    pipe.read_to_string(&mut output).map_err(text)?;
    if let Some(reason) = output.lines().find_map(|line| line.strip_prefix("error\t")) {
        return Err(reason.into());
    }
    if !status.success() {
        return Err(format!("the run ended with {status}"));
    }
    Ok(output.lines().filter_map(Metric::from_line).collect())
}
