//! Fixed amounts of work for counting instructions: `script/instructions` runs each workload under callgrind, which counts
//! inside the library's functions only, and compares with `expected.json`.
//!
//! Everything happens in one thread and on a clock of its own: a loopback peer is served between the rounds of the loop, so
//! that each run makes the same calls in the same order.

// The modules are shared with the throughput benchmark, which uses all of them.
#![allow(dead_code)]
// Cargo compiles a benchmark with cfg(test), also without a harness; the unit tests of those modules run elsewhere.
#![cfg_attr(test, allow(unused_imports))]

#[path = "../throughput/ffi.rs"]
mod ffi;
#[path = "../throughput/guest/mod.rs"]
mod guest;
#[path = "../throughput/link.rs"]
mod link;
#[path = "../throughput/sys.rs"]
mod real;
#[path = "../throughput/wire.rs"]
mod wire;

mod sys;
mod turn;
mod work;

use std::path::PathBuf;
use std::process::ExitCode;

const USAGE: &str = "\
instructions --lib PATH --workload NAME --units N    do N units of a workload (0: only set it up)
instructions --list                                  names, units for a count, and meanings
script/instructions runs this under callgrind.
";

fn main() -> ExitCode {
    match run(std::env::args().skip(1).collect()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("instructions: {message}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Vec<String>) -> Result<(), String> {
    let value = |name: &str| arguments.iter().skip_while(|a| *a != name).nth(1);
    if arguments.iter().any(|a| a == "--list") {
        for work in work::ALL {
            println!("{} {} {}", work.name, work.units, work.about);
        }
        return Ok(());
    }
    let (Some(library), Some(name), Some(units)) = (value("--lib"), value("--workload"), value("--units")) else {
        print!("{USAGE}");
        return Ok(());
    };
    let work = work::ALL.iter().find(|w| w.name == name).ok_or_else(|| format!("no workload {name}"))?;
    let units = units.parse().map_err(|_| format!("{units} is no number"))?;
    sys::raise_descriptor_limit();
    (work.run)(&PathBuf::from(library), units)
}
