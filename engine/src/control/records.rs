//! Captures and logs that begin and end while the guest runs.

use std::io;

use serde_json::{Value, json};

use super::answer::{Answer, Kind, Trouble};
use super::request::{WrittenCapture, WrittenLog};
use super::rules;
use crate::capture::filter::CaptureFilter;
use crate::capture::options::{CaptureOptions, LogOptions};
use crate::capture::ring::{LEAST_BYTES, MOST_FILES};
use crate::policy::{CidrError, Policy, PortRange};
use crate::stack::Stack;
use crate::stack::recording::Finished;

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
    }
    let options = options.filter(filter(stack, written)?);
    stack.start_capture(&options).map_err(|error| not_opened("capture", error))?;
    Ok(json!({}))
}

/// Which frames are wanted. What can be none of any flow is refused, so that nobody waits for it.
fn filter(stack: &Stack, written: &WrittenCapture) -> Result<CaptureFilter, Trouble> {
    let WrittenCapture { protocol, guest, remote, guest_port, remote_port, rule, .. } = written;
    let rules = stack.policy().map_or(0, Policy::rule_count);
    if let Some(none) = rule.iter().find(|rule| usize::try_from(rule.get()).is_ok_and(|rule| rule > rules)) {
        return Err(Trouble::invalid(format!("rule: the policy in force has no rule {none}")));
    }
    let only_pings = !protocol.is_empty() && protocol.iter().all(|protocol| protocol == "icmp");
    if only_pings && !(guest_port.is_empty() && remote_port.is_empty()) {
        return Err(Trouble::invalid("protocol: ICMP has no ports, so that no frame would be captured"));
    }
    let mut filter = CaptureFilter::new()
        .guest(several("guest", guest, |text| text.parse().map_err(|error: CidrError| error.to_string()))?)
        .remote(several("remote", remote, |text| text.parse().map_err(|error: CidrError| error.to_string()))?)
        .guest_ports(several("guest_port", guest_port, ports)?)
        .remote_ports(several("remote_port", remote_port, ports)?)
        .rules(rule.iter().copied());
    for protocol in protocol {
        filter = filter.protocol(rules::protocol(protocol)?);
    }
    Ok(filter)
}

fn several<T>(what: &str, texts: &[String], read: impl Fn(&str) -> Result<T, String>) -> Result<Vec<T>, Trouble> {
    let read = |text: &String| read(text).map_err(|why| Trouble::invalid(format!("{what}: `{text}`: {why}")));
    texts.iter().map(read).collect()
}

/// A port, or the first and the last.
fn ports(text: &str) -> Result<PortRange, String> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let range = first.parse().ok().zip(last.parse().ok()).and_then(|(first, last)| PortRange::new(first, last));
    range.ok_or_else(|| "no port, nor the first and the last, such as 8000-8099".into())
}

pub(super) fn stop_capture(stack: &mut Stack) -> Answer {
    finished(stack.end_capture(), "captured", "there is no capture")
}

pub(super) fn start_log(stack: &mut Stack, written: &WrittenLog) -> Answer {
    let mut options = LogOptions::new(&written.file);
    if let Some(most) = written.max_bytes {
        options = options.max_bytes(within("max_bytes", most, LEAST_BYTES, u64::MAX)?);
    }
    if let Some(files) = written.files {
        options = options.files(within("files", files, 1, MOST_FILES)?);
    }
    stack.start_log(&options).map_err(|error| not_opened("log", error))?;
    Ok(json!({}))
}

pub(super) fn stop_log(stack: &mut Stack) -> Answer {
    finished(stack.end_log(), "logged", "there is no log")
}

/// What the one that is over has come to; `count` is what is counted.
fn finished(finished: Option<Finished>, count: &str, missing: &str) -> Answer {
    let Some(Finished { recorded, why }) = finished else { return Err(Trouble::new(Kind::Missing, missing)) };
    let written = recorded.seen.saturating_sub(recorded.dropped);
    let mut answer = json!({ count: written, "dropped": recorded.dropped });
    if let (Some(why), Value::Object(answer)) = (why, &mut answer) {
        answer.insert("ended".into(), why.into());
    }
    Ok(answer)
}

/// The path may be there for whoever has asked, and not for this process.
fn not_opened(what: &str, error: io::Error) -> Trouble {
    const ELSEWHERE: &str = "if it is there for you, this program has left its file system (as in a sandbox): \
                             then only the file of OXISLIRP_CONFIG can have it opened, before the program does that";
    if error.kind() != io::ErrorKind::NotFound {
        return Trouble::of_system(what, &error);
    }
    Trouble::of_system(what, &error).and(ELSEWHERE)
}

fn within<T: PartialOrd + Copy + std::fmt::Display + TryInto<u64>>(
    what: &str,
    value: T,
    least: T,
    most: T,
) -> Result<T, Trouble> {
    if value < least || value > most {
        // A bound that nothing can pass is none for whoever reads this.
        let endless = most.try_into().is_ok_and(|most| most == u64::MAX);
        let range = if endless { format!("{least} or more") } else { format!("{least} to {most}") };
        return Err(Trouble::invalid(format!("{what}: {value} is not {range}")));
    }
    Ok(value)
}
