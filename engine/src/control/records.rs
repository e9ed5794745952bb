//! Captures and logs that begin and end while the guest runs.

use serde_json::json;

use super::answer::{Answer, Trouble};
use super::request::WrittenCapture;
use crate::capture::options::{CaptureOptions, LEAST_BYTES, MOST_FILES};
use crate::stack::Stack;

pub(super) fn start_capture(stack: &mut Stack, written: &WrittenCapture) -> Answer {
    let mut options = CaptureOptions::new(&written.file);
    if let Some(length) = written.snap_length {
        options = options.snap_length(within("snap_length", length, 14, 262_144)?);
    }
    if let Some(most) = written.max_bytes {
        options = options.max_bytes(within("max_bytes", most, LEAST_BYTES, u64::MAX)?);
    }
    if let Some(files) = written.files {
        options = options.files(within("files", files, 1, MOST_FILES)?);
        if written.max_bytes.is_none() {
            return Err(Trouble::invalid("files: there is no max_bytes at which the next file begins"));
        }
    }
    stack.start_capture(&options).map_err(|error| Trouble::of_system("capture", &error))?;
    Ok(json!({}))
}

pub(super) fn stop_capture(stack: &mut Stack) -> Answer {
    stack.stop_capture();
    let all = stack.captured();
    Ok(json!({ "captured": all.seen, "dropped": all.dropped }))
}

pub(super) fn start_log(stack: &mut Stack, file: &str) -> Answer {
    stack.start_log(file.as_ref()).map_err(|error| Trouble::of_system("log", &error))?;
    Ok(json!({}))
}

pub(super) fn stop_log(stack: &mut Stack) -> Answer {
    stack.stop_log();
    let all = stack.logged();
    Ok(json!({ "logged": all.seen, "dropped": all.dropped }))
}

fn within<T: PartialOrd + Copy + std::fmt::Display>(what: &str, value: T, least: T, most: T) -> Result<T, Trouble> {
    if value < least || value > most {
        return Err(Trouble::invalid(format!("{what}: {value} is not {least} to {most}")));
    }
    Ok(value)
}
