//! Throughput, cost and latency of this library against upstream's libslirp, both driven through the C ABI.
//! `docs/performance.md` says what is measured and how to run it.

// Cargo compiles a benchmark with cfg(test) even where it has no harness, so the unit tests that `units.rs` runs are here
// without a caller.
#![cfg_attr(test, allow(dead_code, unused_imports))]

mod args;
mod bars;
mod ffi;
mod guest;
mod impaired;
mod link;
mod peer;
mod report;
mod rig;
mod runner;
mod stats;
mod sys;
mod syscalls;
mod wire;
mod workload;

use std::path::Path;
use std::process::ExitCode;

use args::Args;
use stats::Metric;
use workload::{Context, Workload};

fn main() -> ExitCode {
    let args = match Args::parse(std::env::args().skip(1)) {
        Ok(args) => args,
        Err(message) => {
            eprintln!("{message}");
            return ExitCode::from(2);
        }
    };
    let result = if args.holder {
        peer::holder_main().map_err(|error| error.to_string())
    } else if args.help || !args.wanted {
        print!("{}", args::USAGE);
        Ok(())
    } else if args.list {
        for workload in workload::ALL {
            println!("{:<25} {}", workload.name, workload.about);
        }
        Ok(())
    } else {
        chosen(&args).and_then(|workloads| match args.lib.as_deref() {
            Some(library) => run_one_library(&args, library, &workloads),
            None => run_comparison(&args, &workloads),
        })
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("{message}");
            ExitCode::FAILURE
        }
    }
}

/// The workloads that the command line names: an exact name, or else every name that begins with it.
fn chosen(args: &Args) -> Result<Vec<&'static Workload>, String> {
    if args.workloads.is_empty() {
        return Ok(workload::ALL.iter().collect());
    }
    let mut list = Vec::new();
    for name in &args.workloads {
        let exact = workload::ALL.iter().filter(|w| w.name == name);
        let mut found: Vec<_> = exact.collect();
        if found.is_empty() {
            found = workload::ALL.iter().filter(|w| w.name.starts_with(name.as_str())).collect();
        }
        if found.is_empty() {
            return Err(format!("no workload begins with {name}; --list shows them"));
        }
        list.extend(found);
    }
    Ok(list)
}

/// Measure one library: a single workload in this process, several in a child process each.
fn run_one_library(args: &Args, library: &Path, workloads: &[&'static Workload]) -> Result<(), String> {
    let mut failed = 0;
    for workload in workloads {
        let outcome = match workloads {
            [_] => run_here(args, library, workload),
            _ => runner::run_child(args, library, workload, args.syscalls),
        };
        match outcome {
            Ok(metrics) if args.child => metrics.iter().for_each(|metric| println!("{}", metric.to_line())),
            Err(reason) if args.child => println!("error\t{reason}"),
            Ok(metrics) => {
                for metric in metrics {
                    println!("{:<25} {:<13} {:>12.3} {}", workload.name, metric.name, metric.value, metric.unit);
                }
            }
            Err(reason) => {
                failed += 1;
                println!("{:<25} failed: {reason}", workload.name);
            }
        }
    }
    if failed > 0 { Err(format!("{failed} workloads failed")) } else { Ok(()) }
}

/// Measure one workload of one library in this process.
fn run_here(args: &Args, library: &Path, workload: &Workload) -> Result<Vec<Metric>, String> {
    sys::raise_descriptor_limit();
    sys::pin(peer::LIBRARY_CPU);
    if args.syscalls {
        syscalls::start()?;
    }
    let context = Context {
        library: library.to_path_buf(),
        seconds: args.seconds,
        verify: args.verify,
        burst: args.burst,
        push_each: args.push_each,
        linux: args.linux,
        ack_every: args.ack_every,
        warm_up: None,
    };
    (workload.run)(&context)
}

/// Measure both libraries in turn, print the table, write the JSON.
fn run_comparison(args: &Args, workloads: &[&'static Workload]) -> Result<(), String> {
    let ours = args::find_ours(args.ours.as_deref())?;
    let theirs = args::find_upstream(args.upstream.as_deref())?;
    let read = |path: &str| std::fs::read_to_string(path).map(|s| s.trim().to_string()).unwrap_or_default();
    let conditions = vec![
        ("ours", ours.display().to_string()),
        ("ours_version", ffi::version(&ours)?),
        ("upstream", theirs.display().to_string()),
        ("upstream_version", ffi::version(&theirs)?),
        ("rounds", args.rounds.to_string()),
        ("seconds", args.seconds.to_string()),
        ("syscalls", args.syscalls.to_string()),
        ("verify", args.verify.to_string()),
        ("guest", if args.linux { "linux" } else { "ideal" }.into()),
        ("psh", if args.push_each { "each" } else { "end" }.into()),
        ("burst", args.burst.map_or("default".into(), |b| b.to_string())),
        ("ack_every", args.ack_every.to_string()),
        ("kernel", read("/proc/sys/kernel/osrelease")),
        ("cpus", std::thread::available_parallelism().map_or(0, usize::from).to_string()),
        ("unix_time", std::time::UNIX_EPOCH.elapsed().map_or(0, |d| d.as_secs()).to_string()),
    ];
    for (name, value) in &conditions {
        println!("{name}: {value}");
    }
    let mut report = runner::compare(args, &ours, &theirs, workloads);
    report.conditions = conditions;
    if let Some(path) = &args.json {
        std::fs::write(path, report::json(&report)).map_err(|e| format!("{}: {e}", path.display()))?;
    }
    match report.failures.len() {
        0 => Ok(()),
        n => Err(format!("{n} runs failed")),
    }
}
