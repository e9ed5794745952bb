//! The same work through this stack and through the crates `netstack-smoltcp` and `ipstack`: one guest, one link, the same
//! servers on loopback. `script/bench-peers` builds and runs it; docs/performance.md says what is measured.

mod cable;
mod cpu;
mod network;
mod report;
mod runner;
mod workload;

// The guest, its link and the servers are those of the comparison with upstream, which has uses for all that is in them.
#[allow(dead_code)]
#[path = "../../throughput/guest/mod.rs"]
mod guest;
#[allow(dead_code)]
#[path = "../../throughput/link.rs"]
mod link;
#[allow(dead_code)]
#[path = "../../throughput/peer.rs"]
mod peer;
#[allow(dead_code)]
#[path = "../../throughput/stats.rs"]
mod stats;
#[allow(dead_code, unsafe_code)]
#[path = "../../throughput/sys.rs"]
mod sys;
#[allow(dead_code)]
#[path = "../../throughput/wire.rs"]
mod wire;

use std::process::ExitCode;
use std::time::Duration;

use network::Variant;
use runner::Args;
use workload::Setting;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let result = match arguments.first().map(String::as_str) {
        Some("--holder") => peer::holder_main().map_err(|error| error.to_string()),
        Some("--child") => child(&arguments[1..]),
        _ => Args::parse(arguments.into_iter()).and_then(|args| runner::main(&args)),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("{message}");
            ExitCode::FAILURE
        }
    }
}

/// One run in this process: `STACK RUNTIME WORKLOAD SECONDS VERIFY`.
fn child(arguments: &[String]) -> Result<(), String> {
    let [stack, runtime, name, seconds, verify] = arguments else { return Err("--child takes five words".into()) };
    let variant = Variant::named(stack, runtime).ok_or("no such stack")?;
    let workload = workload::ALL.iter().find(|workload| workload.name == name).ok_or("no such workload")?;
    let measured = Duration::try_from_secs_f64(seconds.parse().unwrap_or(1.0)).map_err(|error| error.to_string())?;
    sys::raise_descriptor_limit();
    if variant.is_single() {
        sys::pin(peer::LIBRARY_CPU);
    }
    match workload.run(&Setting { variant, measured, verify: verify == "true" }) {
        Ok(metrics) => metrics.iter().for_each(|metric| println!("{}", metric.to_line())),
        Err(reason) => println!("error\t{reason}"),
    }
    // What is left of the stacks and their tasks is not to be taken down in order.
    std::process::exit(0)
}
