//! How much arrives, in two ways. The grid: our sender through bottlenecks of all sizes, alone and in company (`grid`). And one
//! stream over a link of 1 Gbit/s that loses frames, through a library, ours or upstream's, with a guest at the other end.
//! Everything happens in virtual time, and what is lost follows from a seed, so that the figures do not depend on the machine.
//!
//! `cargo bench --bench goodput -- grid`
//! `cargo bench --bench goodput -- ours=target/release/libslirp.so upstream=/usr/lib/x86_64-linux-gnu/libslirp.so.0`

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
#[path = "../instructions/sys.rs"]
mod sys;
#[path = "../throughput/wire.rs"]
mod wire;

#[path = "../../engine/src/tcp/sim/dumbbell/mod.rs"]
mod dumbbell;
#[path = "../../engine/src/tcp/sim/random.rs"]
mod random;

mod grid;
mod transfer;

/// What the simulator of several flows takes from the engine, under the names that it has there.
mod tcp {
    pub use oxislirp::internals::tcp::{Config, Congestion, Connection, Ecn, Flags, Options, Pool, Segment, SeqNumber};
}
mod time {
    pub use oxislirp::internals::time::{Duration, Instant};
}

use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::Duration;

use link::Impairment;
use transfer::{Direction, Length};

const USAGE: &str = "\
goodput NAME=LIBRARY... [--seconds N] [--seeds N] [--delays MICROSECONDS,...] [--losses PERCENT,...] [--queue OCTETS]

Prints Mbit/s of goodput, for each delay and direction a line for each library: one TCP connection, MTU 1500, link of
1 Gbit/s, the mean of several seeds (default 3) of so many virtual seconds (default 10) after one second to warm up.
";

/// Bits per second.
const RATE: u64 = 1_000_000_000;

struct Arguments {
    libraries: Vec<(String, String)>,
    length: Length,
    seeds: u64,
    delays: Vec<u64>,
    losses: Vec<f64>,
    queue: u64,
}

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1).filter(|argument| argument != "--bench").peekable();
    let done = match arguments.next_if(|first| first == "grid" || first == "trace").as_deref() {
        Some("grid") => grid::parse(arguments).and_then(|arguments| grid::grid(&arguments)),
        Some(_) => grid::parse(arguments).and_then(|arguments| grid::trace(&arguments)).map(|()| true),
        None => parse(arguments).and_then(|arguments| run(&arguments)).map(|()| true),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => {
            eprintln!("goodput: not every bar is met");
            ExitCode::FAILURE
        }
        Err(message) => {
            eprintln!("goodput: {message}");
            ExitCode::FAILURE
        }
    }
}

fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Arguments, String> {
    let mut parsed = Arguments {
        libraries: Vec::new(),
        length: Length { warm_up: Duration::from_secs(1), measured: Duration::from_secs(10) },
        seeds: 3,
        delays: vec![100, 5000, 25_000],
        losses: vec![0.0, 0.1, 1.0, 3.0, 10.0],
        queue: 4 << 20,
    };
    while let Some(argument) = arguments.next() {
        let mut number = || arguments.next().ok_or(format!("{argument} needs a value"));
        match argument.as_str() {
            "--seconds" => parsed.length.measured = Duration::from_secs(one(&number()?)?),
            "--seeds" => parsed.seeds = one(&number()?)?,
            "--queue" => parsed.queue = one(&number()?)?,
            "--delays" => parsed.delays = list(&number()?)?,
            "--losses" => parsed.losses = list(&number()?)?,
            _ => match argument.split_once('=') {
                Some((name, path)) => parsed.libraries.push((name.into(), path.into())),
                None => return Err(format!("what is {argument}?\n{USAGE}")),
            },
        }
    }
    if parsed.libraries.is_empty() || parsed.seeds == 0 {
        return Err(USAGE.into());
    }
    Ok(parsed)
}

fn one<T: std::str::FromStr>(text: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("{text} is no number"))
}

fn list<T: std::str::FromStr>(text: &str) -> Result<Vec<T>, String> {
    text.split(',').map(one).collect()
}

fn run(arguments: &Arguments) -> Result<(), String> {
    // A child does the rows of one library: two with the same name cannot be open in one process.
    if let Ok(row) = std::env::var("GOODPUT_ROW") {
        return child(arguments, &row);
    }
    for (name, path) in &arguments.libraries {
        println!("{name}: libslirp {}", ffi::version(Path::new(path))?);
    }
    print!("\n| delay each way | direction | library |");
    arguments.losses.iter().for_each(|loss| print!(" {loss} % |"));
    println!("\n|---|---|---|{}", "---|".repeat(arguments.losses.len()));
    for delay in &arguments.delays {
        for direction in [Direction::ToHost, Direction::ToGuest] {
            for library in &arguments.libraries {
                row(arguments, *delay, direction, library)?;
            }
        }
    }
    Ok(())
}

/// Has a child measure and prints its line of the table.
fn row(arguments: &Arguments, delay: u64, direction: Direction, library: &(String, String)) -> Result<(), String> {
    let losses: Vec<String> = arguments.losses.iter().map(f64::to_string).collect();
    let output = Command::new(std::env::current_exe().map_err(|error| error.to_string())?)
        .arg(format!("{}={}", library.0, library.1))
        .args(["--seconds", &arguments.length.measured.as_secs().to_string()])
        .args(["--seeds", &arguments.seeds.to_string(), "--queue", &arguments.queue.to_string()])
        .args(["--delays", &delay.to_string(), "--losses", &losses.join(",")])
        .env("GOODPUT_ROW", direction.name())
        .stderr(std::process::Stdio::inherit())
        .output()
        .map_err(|error| error.to_string())?;
    if !output.status.success() {
        return Err(format!("{} failed at {delay} µs {}", library.0, direction.name()));
    }
    print!("{}", String::from_utf8_lossy(&output.stdout));
    Ok(())
}

fn child(arguments: &Arguments, direction: &str) -> Result<(), String> {
    let direction = Direction::named(direction).ok_or_else(|| format!("no direction {direction}"))?;
    let (Some((name, path)), Some(delay)) = (arguments.libraries.first(), arguments.delays.first()) else {
        return Err(USAGE.into());
    };
    print!("| {} ms | {} | {name} |", *delay as f64 / 1000.0, direction.name());
    for loss in &arguments.losses {
        let mut sum = 0.0;
        for seed in 1..=arguments.seeds {
            let impairment = Impairment {
                delay: Duration::from_micros(*delay),
                loss: loss / 100.0,
                rate: RATE,
                queue: arguments.queue,
                seed,
            };
            let outcome = transfer::run(Path::new(path), direction, impairment, arguments.length)
                .map_err(|error| format!("{name}, {delay} µs, {loss} %, seed {seed}: {error}"))?;
            if std::env::var_os("GOODPUT_VERBOSE").is_some() {
                eprintln!("{name} {delay} µs {} {loss} % seed {seed}: {outcome:?}", direction.name());
            }
            sum += outcome.mbits;
        }
        print!(" {:.1} |", sum / arguments.seeds as f64);
    }
    println!();
    Ok(())
}
