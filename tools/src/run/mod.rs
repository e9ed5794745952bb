//! `oxislirp run`: one program on this library, and everything else on the machine as it is.
//!
//! `program` is what the loader would do with a program, `library` which file is put under it, `folder` the place by which the loader
//! finds that, and `watch` says what was loaded in the end. Nothing here knows of networks.
//!
//! The loader is told by LD_LIBRARY_PATH. It is not LD_PRELOAD, which would load the library into every program that is started, also into
//! those that have nothing to do with it.

mod folder;
mod library;
mod program;
mod watch;

use std::env;
use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use clap::{Args, ValueHint};
use program::Program;
pub(crate) use watch::watches;

use super::Failure;
use super::check;

/// The exit status where a program is there and is not run, as shells have it.
const REFUSED: u8 = 126;
/// The exit status where there is no such program.
const NOT_FOUND: u8 = 127;
/// Where the loader looks first.
const SEARCH_PATH: &str = "LD_LIBRARY_PATH";
/// The file that `slirp_new` reads.
const CONFIG: &str = "OXISLIRP_CONFIG";
/// By this variable in their environment the processes are known that came of one run.
const MARK: &str = "OXISLIRP_RUN";

#[derive(Args)]
pub(crate) struct Run {
    /// The library. Without it the one of $OXISLIRP_LIBRARY, beside this command, or installed with it.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    library: Option<PathBuf>,
    /// What the program has no options for: its OXISLIRP_CONFIG. It is read once before, and what is wrong with it is said.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    config: Option<PathBuf>,
    /// Says what would be loaded, and runs nothing.
    #[arg(long)]
    check: bool,
    /// Does not say which library was loaded.
    #[arg(long, short)]
    quiet: bool,
    /// The program and its arguments.
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true, value_name = "PROGRAM", value_hint = ValueHint::CommandWithArguments)]
    program: Vec<OsString>,
}

impl Failure {
    fn refused(text: impl Into<String>) -> Failure {
        Failure::with_status(REFUSED, text)
    }
}

/// Becomes the program.
///
/// # Errors
/// It is not there (status 127), or it would not run on the library or cannot be run (126).
pub(crate) fn run(run: Run) -> Result<(), Failure> {
    let Some((name, arguments)) = run.program.split_first() else { return Err(Failure::refused("no program")) };
    let program = Program::find(name)?;
    program.takes_libraries()?;
    let config = run.config.as_deref().map(config).transpose()?;
    let library = library::find(run.library.as_deref())?;
    program.fits(&library)?;
    let path = search_path(&folder::with(&library)?);
    let linked = program.linked(&path)?;
    let name_shown = name.to_string_lossy();
    match &linked {
        Some(other) if !same(other, &library) => {
            return Err(Failure::refused(format!(
                "{name_shown} cannot be given another library: it names the folder of its own, and would load {}",
                other.display()
            )));
        }
        Some(_) if run.check => say(&format!("{name_shown} would run on {}", library.display())),
        None if run.check => say(&format!(
            "{name_shown} is not linked to libslirp.so.0; if it, or what it starts, loads that by name, it gets {}",
            library.display()
        )),
        _ => {}
    }
    if run.check {
        return Ok(());
    }
    let mut command = Command::new(program.path());
    command.arg0(name).args(arguments).env(SEARCH_PATH, path);
    if let Some(config) = config {
        command.env(CONFIG, config);
    }
    if !run.quiet {
        command.env(MARK, watch::begin(&library)?);
    }
    // It comes back only where there is something wrong.
    let error = command.exec();
    Err(Failure::refused(format!("{}: {error}", program.path().display())))
}

/// The path for OXISLIRP_CONFIG: absolute, as the program may go elsewhere before it reads it.
fn config(file: &Path) -> Result<PathBuf, Failure> {
    check::read(file).map_err(|failure| Failure::refused(failure.to_string()))?;
    std::path::absolute(file).map_err(|error| Failure::refused(format!("{}: {error}", file.display())))
}

/// Our folder, and behind it what the caller has for other libraries.
fn search_path(folder: &Path) -> OsString {
    let mut path = folder.as_os_str().to_owned();
    if let Some(others) = env::var_os(SEARCH_PATH).filter(|others| !others.is_empty()) {
        path.push(":");
        path.push(others);
    }
    path
}

/// Whether both are one file, whatever its names are.
fn same(one: &Path, other: &Path) -> bool {
    one.canonicalize().is_ok_and(|one| other.canonicalize().is_ok_and(|other| one == other))
}

/// A line for whoever has started the program, whose output is its own.
fn say(text: &str) {
    eprintln!("oxislirp: {text}");
}
