//! Completions and manual pages, made from the command line itself.

use std::path::Path;

use clap::CommandFactory;
use clap_complete::Shell;

use super::Failure;
use super::cli::Cli;
use super::client::say;

pub(crate) fn completions(shell: Shell) -> Result<(), Failure> {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "oxislirp", &mut text);
    say(&String::from_utf8_lossy(&text))
}

/// A page for the command and for each of its parts: `oxislirp.1`, `oxislirp-ctl-forward-add.1`.
pub(crate) fn manual(directory: &Path) -> Result<(), Failure> {
    std::fs::create_dir_all(directory)?;
    Ok(clap_mangen::generate_to(Cli::command(), directory)?)
}
