//! What a file means, in words.

use std::path::Path;

use super::Failure;
use super::client::say;
use super::config_file::{Instance, Settings};

/// Reads a file as `slirp_new` does.
///
/// # Errors
/// What is wrong with it, in the same words.
pub(crate) fn read(file: &Path) -> Result<Settings, Failure> {
    Settings::from_file(file, &Instance::next()).map_err(|fault| Failure::new(fault.to_string()))
}

/// Says what a file means.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn check(file: &Path) -> Result<(), Failure> {
    let settings = read(file)?;
    let mut text = String::new();
    if let Some(bytes) = settings.network.mtu() {
        text += &format!("network: packets of up to {bytes} bytes, whatever the program says\n");
    }
    if let Some(capture) = &settings.capture {
        text += &format!("capture: every frame into {}\n", capture.path().display());
    }
    if let Some(log) = &settings.log {
        text += &format!("log: what becomes of each flow into {}\n", log.display());
    }
    if let Some(control) = &settings.control {
        text += &format!("control: requests at {}\n", control.path().display());
    }
    if settings.dns.is_some() {
        text += "dns: the virtual name server has names, or servers, of its own\n";
    }
    for sentence in settings.limits.sentences() {
        text += &format!("limit: {sentence}\n");
    }
    match &settings.policy {
        Some(policy) => {
            for sentence in policy.sentences() {
                text += &format!("policy: {sentence}\n");
            }
        }
        None => text += "policy: there is none, so that everything is allowed\n",
    }
    say(&text)
}

/// Says what the policy of a file means.
///
/// # Errors
/// What is wrong with the file, or that it has no policy.
pub(crate) fn explain(file: &Path) -> Result<(), Failure> {
    let settings = read(file)?;
    let policy = settings.policy.ok_or_else(|| Failure::new(format!("{}: no table [policy]", file.display())))?;
    let text: String = policy.sentences().map(|sentence| sentence + "\n").collect();
    say(&text)
}
