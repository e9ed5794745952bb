//! Messages for whoever runs the application, on standard error in the form GLib's default handler gives them, as
//! programs and people know them from upstream. Source: docs/contract/api.md section 8.

use std::io::Write;

/// How much a message matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Level {
    Debug,
    Warning,
    Critical,
}

/// Writes one message. A standard error that is closed or full is no reason to fail.
pub(crate) fn write(level: Level, text: &str) {
    let name = match level {
        Level::Debug => "DEBUG",
        Level::Warning => "WARNING",
        Level::Critical => "CRITICAL",
    };
    let line = format!("(process:{}): Slirp-{name} **: {text}\n", std::process::id());
    let _ = std::io::stderr().write_all(line.as_bytes());
}
