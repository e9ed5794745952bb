//! The command line.
#![forbid(unsafe_code)]

use std::path::{Path, PathBuf};

pub const USAGE: &str = "\
cargo bench --bench throughput -- [options]

Compares this library with upstream's libslirp, run by run in turn (A B A B ...).

  --workload NAME   only this workload, or all whose name begins with NAME; may be repeated
  --rounds N        runs of each workload and library (default 5)
  --seconds S       measured time of a run (default 2)
  --quick           3 rounds of 0.5 s
  --verify          check every checksum and every byte (slower guest and peers; rates are lower)
  --syscalls        add one run each that counts the system calls of the library's thread (needs tracefs; see script/bench)
  --ours PATH       the library under test (default: $OXISLIRP_LIB, then what cargo built for it)
  --upstream PATH   the library to compare with (default: $UPSTREAM_LIBSLIRP, then what script/lib/upstream.sh downloaded,
                    then the distribution's libslirp.so.0)
  --lib PATH        one run of one library only; with one workload in this process: for perf, strace and gdb
  --burst BYTES     what the guest sends from one PSH to the next (default 65536; 4 segments at an MTU of 65520)
  --psh each|end    the guest sets PSH on each segment, or on the last one of a burst (default)
  --guest NAME      ideal (default): hardly any cost, no congestion window, one acknowledgement a round; or linux: PSH, delayed
                    acknowledgements, retransmission timeout and congestion window as in Linux
  --ack-every N     the guest acknowledges every N segments (default 0: once per loop round)
  --json FILE       write the results as JSON
  --list            names and meanings of the workloads
";

#[derive(Clone, Debug, PartialEq)]
pub struct Args {
    pub workloads: Vec<String>,
    pub rounds: usize,
    pub seconds: f64,
    pub verify: bool,
    pub syscalls: bool,
    pub ours: Option<PathBuf>,
    pub upstream: Option<PathBuf>,
    pub lib: Option<PathBuf>,
    pub burst: Option<usize>,
    pub push_each: bool,
    pub linux: bool,
    pub ack_every: u32,
    pub json: Option<PathBuf>,
    pub list: bool,
    pub help: bool,
    /// Run by `cargo bench` (which passes --bench), or with any option of ours.
    pub wanted: bool,
    /// This process is one measured run: print metrics as lines.
    pub child: bool,
    /// This process holds the host's ends of idle connections.
    pub holder: bool,
}

impl Args {
    pub fn parse(arguments: impl Iterator<Item = String>) -> Result<Args, String> {
        let mut args = Args {
            workloads: Vec::new(),
            rounds: 5,
            seconds: 2.0,
            verify: false,
            syscalls: false,
            ours: None,
            upstream: None,
            lib: None,
            burst: None,
            push_each: false,
            linux: false,
            ack_every: 0,
            json: None,
            list: false,
            help: false,
            wanted: false,
            child: false,
            holder: false,
        };
        let mut rest = arguments;
        while let Some(name) = rest.next() {
            args.wanted = true;
            let mut value = || rest.next().ok_or(format!("{name} needs a value"));
            match name.as_str() {
                "--bench" => {}
                "--workload" => args.workloads.push(value()?),
                "--rounds" => args.rounds = number(&name, &value()?, 1.0, 1000.0)? as usize,
                "--seconds" => args.seconds = number(&name, &value()?, 0.05, 3600.0)?,
                "--quick" => (args.rounds, args.seconds) = (3, 0.5),
                "--syscalls" => args.syscalls = true,
                "--verify" => args.verify = true,
                "--ours" => args.ours = Some(value()?.into()),
                "--upstream" => args.upstream = Some(value()?.into()),
                "--lib" => args.lib = Some(value()?.into()),
                "--burst" => args.burst = Some(number(&name, &value()?, 1.0, 1e9)? as usize),
                "--psh" => {
                    args.push_each = match value()?.as_str() {
                        "each" => true,
                        "end" => false,
                        other => return Err(format!("--psh takes \"each\" or \"end\", not {other:?}")),
                    }
                }
                "--guest" => {
                    args.linux = match value()?.as_str() {
                        "linux" => true,
                        "ideal" => false,
                        other => return Err(format!("--guest takes \"ideal\" or \"linux\", not {other:?}")),
                    }
                }
                "--ack-every" => args.ack_every = number(&name, &value()?, 0.0, 1e6)? as u32,
                "--json" => args.json = Some(value()?.into()),
                "--list" => args.list = true,
                "--help" | "-h" => args.help = true,
                "--child" => args.child = true,
                "--holder" => args.holder = true,
                _ => return Err(format!("unknown option {name}\n\n{USAGE}")),
            }
        }
        Ok(args)
    }
}

fn number(name: &str, text: &str, least: f64, most: f64) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(value) if (least..=most).contains(&value) => Ok(value),
        _ => Err(format!("{name}: {text:?} is not a number from {least} to {most}")),
    }
}

/// The library under test: the option, the environment, or the library that Cargo built with this program
/// (`tests/library`), beside it.
pub fn find_ours(option: Option<&Path>) -> Result<PathBuf, String> {
    let beside = || Some(std::env::current_exe().ok()?.with_file_name("libslirp_under_test.so"));
    let path = option
        .map(Path::to_path_buf)
        .or_else(|| std::env::var_os("OXISLIRP_LIB").map(PathBuf::from))
        .or_else(beside)
        .ok_or("no library under test is known; give --ours PATH")?;
    present(path)
}

/// Upstream's library: the option, the environment, what `script/lib/upstream.sh` downloaded, or where distributions
/// install it.
pub fn find_upstream(option: Option<&Path>) -> Result<PathBuf, String> {
    let given = option.map(Path::to_path_buf).or_else(|| std::env::var_os("UPSTREAM_LIBSLIRP").map(PathBuf::from));
    if let Some(path) = given {
        return present(path);
    }
    if let Some(path) = downloaded_upstream() {
        return present(path);
    }
    let multiarch = std::fs::read_dir("/usr/lib").into_iter().flatten().flatten().map(|entry| entry.path());
    multiarch
        .chain(["/usr/lib64".into(), "/usr/lib".into()])
        .map(|directory| directory.join("libslirp.so.0"))
        .find(|path| path.exists())
        .ok_or(
            "There is no upstream library to compare with. script/bench gets one; or install libslirp0, or give \
             --upstream PATH or UPSTREAM_LIBSLIRP."
                .into(),
        )
}

/// The latest of the libraries in `target/upstream`, by its folder's name.
fn downloaded_upstream() -> Option<PathBuf> {
    let exe = std::env::current_exe().ok()?;
    let folders = exe.ancestors().nth(3)?.join("upstream").read_dir().ok()?;
    let libraries = folders.flatten().filter(|f| f.file_name().to_string_lossy().starts_with("libslirp-"));
    libraries.map(|folder| folder.path().join("libslirp.so.0")).filter(|path| path.exists()).max()
}

fn present(path: PathBuf) -> Result<PathBuf, String> {
    // dlopen searches the system's directories for a name without a slash; the path is meant literally here.
    path.canonicalize().map_err(|error| format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Args, String> {
        Args::parse(text.split_whitespace().map(String::from))
    }

    #[test]
    fn options_are_understood_and_checked() {
        let args = parse("--bench --workload tcp --workload udp_g2h_64 --rounds 9 --seconds 0.25 --verify").unwrap();
        assert_eq!(args.workloads, ["tcp", "udp_g2h_64"]);
        assert_eq!((args.rounds, args.seconds, args.verify), (9, 0.25, true));
        for wrong in ["--rounds 0", "--rounds", "--seconds NaN", "--seconds -1", "--what"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_guest_is_named() {
        assert!(parse("--guest linux").unwrap().linux);
        assert!(!parse("--guest ideal").unwrap().linux && !parse("--rounds 3").unwrap().linux);
        assert!(parse("--guest windows").is_err());
    }

    #[test]
    fn nothing_runs_unasked() {
        assert!(!parse("").unwrap().wanted);
        assert!(parse("--bench").unwrap().wanted);
    }
}
