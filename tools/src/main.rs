//! `oxislirp`: what a person asks a network that runs, and what a file of OXISLIRP_CONFIG means.
//!
//! `cli` is the command line; `check` explains a file, with `obstacle` for what cannot be made; `client` speaks to a control socket and
//! `forwards`, `flows`, `counters`, `records`, `policy` and `drain` write what it says so that people can read it; `run` puts the library under a program;
//! `generate` makes completions and manual pages, `reference` the schema of a file and the page of docs/ that is made from it. What a request means is the library's (docs/control.md): here is only its way there and
//! back.

mod check;
mod cli;
mod client;
/// The reader of the C library itself, so that what is found here is what `slirp_new` would find. It is no crate of its own because
/// nobody else reads such files.
#[allow(dead_code)]
#[path = "../../src/config_file/mod.rs"]
mod config_file;
mod counters;
mod drain;
mod flows;
mod forwards;
mod generate;
mod obstacle;
mod policy;
mod records;
#[cfg(feature = "schema")]
mod reference;
#[cfg(target_os = "linux")]
mod run;
/// What that reader asks of the system.
#[allow(dead_code, unused_imports)]
#[path = "../../src/system.rs"]
mod system;

use std::fmt;
use std::process::ExitCode;

use clap::Parser;
use cli::{Capture, Cli, Command, Ctl, Filter, Forward, Log, Policy};
use client::Client;
use serde_json::json;

/// Why the command has failed, for whoever has typed it.
#[derive(Debug)]
pub(crate) struct Failure {
    text: String,
    /// The exit status.
    status: u8,
}

impl Failure {
    pub(crate) fn new(text: impl Into<String>) -> Failure {
        Failure { text: text.into(), status: 1 }
    }

    #[cfg(target_os = "linux")]
    pub(crate) fn with_status(status: u8, text: impl Into<String>) -> Failure {
        Failure { text: text.into(), status }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Failure {
        Failure::new(error.to_string())
    }
}

fn main() -> ExitCode {
    #[cfg(target_os = "linux")]
    if run::watches() {
        return ExitCode::SUCCESS;
    }
    match run(Cli::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("oxislirp: {failure}");
            ExitCode::from(failure.status)
        }
    }
}

fn run(command: Command) -> Result<(), Failure> {
    match command {
        Command::Check { file } => check::check(&file),
        #[cfg(feature = "schema")]
        Command::Schema => client::say(&reference::schema_text()),
        Command::Completions { shell } => generate::completions(shell),
        Command::Man { directory } => generate::manual(&directory),
        #[cfg(target_os = "linux")]
        Command::Run(run) => run::run(run),
        Command::Ctl { command: Ctl::Policy(Policy::Explain { file }), .. } => check::explain(&file),
        Command::Ctl { command: Ctl::Policy(Policy::Test { question, guest, file: Some(file), .. }), .. } => {
            policy::test_file(&file, &question, guest.as_deref())
        }
        Command::Ctl { socket, command } => ctl(&mut Client::connect(socket.as_deref())?, command),
    }
}

fn ctl(client: &mut Client, command: Ctl) -> Result<(), Failure> {
    match command {
        Ctl::Forward(Forward::List { json }) => return forwards::list(client, json),
        Ctl::Forward(Forward::Add { protocol, listen, guest, wait, only_v6 }) => {
            return forwards::add(client, &protocol, &listen, guest.as_deref(), wait, only_v6);
        }
        Ctl::Forward(Forward::Remove { protocol, listen }) => return forwards::remove(client, &protocol, &listen),
        Ctl::Forward(Forward::Replace { forwards, .. }) => return forwards::replace(client, &forwards),
        Ctl::Flows { json } => return flows::list(client, json),
        Ctl::Top { interval, count } => return flows::top(client, interval, count),
        Ctl::Counters { prometheus, json } => return counters::write(client, prometheus, json),
        Ctl::Capture(Capture::Start { file, snap_length, max_bytes, files, filter }) => {
            let mut members = json!({ "file": client::absolute(&file)? });
            let given = [("snap_length", snap_length), ("max_bytes", max_bytes), ("files", files)];
            records::add_given(&mut members, given);
            let Filter { protocol, guest, remote, guest_port, remote_port, rule } = filter;
            let chosen = [
                ("protocol", json!(protocol)),
                ("guest", json!(guest)),
                ("remote", json!(remote)),
                ("guest_port", json!(guest_port)),
                ("remote_port", json!(remote_port)),
                ("rule", json!(rule)),
            ];
            // What is not given is not said: a library that has no filters knows no such field.
            for (name, values) in chosen.into_iter().filter(|(_, values)| *values != json!([])) {
                members[name] = values;
            }
            client.ask("capture.start", members)?
        }
        Ctl::Capture(Capture::Stop) => return records::stop(client, "capture.stop", "captured", "frames"),
        Ctl::Log(Log::Start { file, max_bytes, files }) => {
            let mut members = json!({ "file": client::absolute(&file)? });
            records::add_given(&mut members, [("max_bytes", max_bytes), ("files", files)]);
            client.ask("log.start", members)?
        }
        Ctl::Log(Log::Stop) => return records::stop(client, "log.stop", "logged", "lines"),
        Ctl::Policy(Policy::Show { json }) => return policy::show(client, json),
        Ctl::Policy(Policy::Test { question, guest, json, .. }) => {
            return policy::test(client, &question, guest.as_deref(), json);
        }
        Ctl::Policy(Policy::Replace { file }) => return policy::replace(client, &file),
        Ctl::Policy(Policy::Explain { file }) => return check::explain(&file),
        Ctl::Drain { wait } => return drain::drain(client, wait),
        Ctl::Resume => client.ask("resume", json!({}))?,
        Ctl::Version { json } => return drain::version(client, json),
    };
    Ok(())
}
