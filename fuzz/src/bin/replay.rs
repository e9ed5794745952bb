//! Gives inputs to a target without libFuzzer: `replay TARGET FILE-OR-FOLDER...`, or `replay` for all of `corpus/`.
//! Ends with `N passed, N failed`, one for each input.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use oxislirp_fuzz::{TARGETS, Target};

fn files(path: &Path, into: &mut Vec<PathBuf>) {
    match std::fs::read_dir(path) {
        Ok(entries) => entries.flatten().for_each(|entry| files(&entry.path(), into)),
        Err(_) => into.push(path.to_owned()),
    }
}

fn replay((name, run): Target, paths: &[PathBuf]) -> (usize, usize) {
    let mut inputs = Vec::new();
    paths.iter().for_each(|path| files(path, &mut inputs));
    inputs.sort();
    let (mut passed, mut failed) = (0, 0);
    for path in inputs {
        let result = std::fs::read(&path).map(|data| std::panic::catch_unwind(|| run(&data)).is_ok());
        if matches!(result, Ok(true)) {
            passed += 1;
        } else {
            println!("not ok {name} {}", path.display());
            failed += 1;
        }
    }
    println!("{name}: {passed} inputs passed, {failed} failed");
    (passed, failed)
}

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    let (mut passed, mut failed) = (0, 0);
    let wanted = arguments.next();
    let paths: Vec<PathBuf> = arguments.map(PathBuf::from).collect();
    for target in TARGETS {
        if wanted.as_ref().is_some_and(|name| *name != target.0) {
            continue;
        }
        let corpus = [Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target.0)];
        let (p, f) = replay(target, if paths.is_empty() { &corpus } else { &paths });
        (passed, failed) = (passed + p, failed + f);
    }
    println!("{passed} passed, {failed} failed");
    if passed > 0 && failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
