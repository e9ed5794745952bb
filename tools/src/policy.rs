//! What a policy says of a flow, and another one in its place.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;

use oxislirp::policy::{Action, Name, Protocol, Reason, Service, Verdict};
use serde_json::{Value, json};

use super::cli::Question;
use super::client::{Client, say, say_each};
use super::{Failure, check};

pub(crate) fn show(client: &mut Client, json: bool) -> Result<(), Failure> {
    let sentences = client.ask_all("policy.show", "sentences")?;
    if json {
        return say_each(&sentences);
    }
    let lines: String = sentences.iter().filter_map(Value::as_str).map(|sentence| format!("{sentence}\n")).collect();
    say(&lines)
}

pub(crate) fn replace(client: &mut Client, file: &Path) -> Result<(), Failure> {
    let read = std::fs::read_to_string(file);
    let text = read.map_err(|error| Failure::new(format!("{}: {error}", file.display())))?;
    // The library knows no name of what it was sent, and says `text`.
    client.ask("policy.replace", json!({ "text": text })).map_err(|failure| {
        let said = failure.to_string();
        match said.strip_prefix("text:") {
            Some(said) => Failure::new(format!("{}:{said}", file.display())),
            None => Failure::new(said),
        }
    })?;
    say(&format!("another policy judges, flows that it ended: {}\n", client.take_answer()["ended"]))
}

pub(crate) fn test(client: &mut Client, question: &Question, guest: Option<&str>, json: bool) -> Result<(), Failure> {
    let (protocol, to, from) = question.parts();
    let mut members = json!({ "protocol": protocol });
    if let Some((name, end)) = to.map(|to| ("to", to)).or(from.map(|from| ("from", from))) {
        members[name] = end.into();
    }
    if let Some(guest) = guest {
        members["guest"] = guest.into();
    }
    client.ask("policy.test", members)?;
    let answer = client.take_answer();
    let text = |name: &str| answer[name].as_str().unwrap_or_default();
    let by = match text("by") {
        "rule" => format!("rule {}", answer["rule"]),
        "hello" => format!("rule {}, which wants a name in the first bytes", answer["rule"]),
        "no-policy" => "there is no policy".into(),
        "draining" => "the network is drained, and no flow begins".into(),
        other => format!("the {other}"),
    };
    let host = answer["host"].as_str().map(|host| format!(" ({host} on this machine)")).unwrap_or_default();
    let service = answer["service"].as_str().map(|service| format!(" (the service {service})")).unwrap_or_default();
    let guest = answer["guest"].as_str().map(to_guest).unwrap_or_default();
    let named = if answer["if_named"].is_string() { UNRESOLVED } else { "" };
    match json {
        true => say(&format!("{answer}\n"))?,
        false => say(&format!("{}{host}{service}{guest}: {by}{named}\n", text("action")))?,
    }
    if text("action") == "allow" { Ok(()) } else { Err(Failure::new("it is not allowed")) }
}

/// Where somebody comes to, of the guest.
fn to_guest(guest: &str) -> String {
    match guest.strip_suffix(":0") {
        Some(_) => " (to no port in particular; --guest says to which)".into(),
        None => format!(" (to {guest})"),
    }
}

/// Why an address is refused that a rule has by its name.
const UNRESOLVED: &str =
    "; no answer to the guest has had this address yet, and a rule with names would have it otherwise";

/// By the policy of a file, in the network that programs have by default.
pub(crate) fn test_file(file: &Path, question: &Question, guest: Option<&str>) -> Result<(), Failure> {
    let policy = check::read(file)?.policy;
    let policy = policy.ok_or_else(|| Failure::new(format!("{}: no table [policy]", file.display())))?;
    let (protocol, to, from) = question.parts();
    let guest = match guest {
        Some(guest) => guest_end(guest)?,
        None => SocketAddr::from((GUEST, if to.is_some() { 1024 } else { 0 })),
    };
    let protocol = match protocol {
        "udp" => Protocol::Udp,
        "icmp" => Protocol::Icmp,
        _ => Protocol::Tcp,
    };
    if let Some((name, port)) = to.and_then(name) {
        return say_verdict(&policy.judge_visit(protocol, guest, &name, port), "");
    }
    let question = match (to, from) {
        (Some(to), _) => {
            let named = end(to, protocol)?;
            match service(protocol, named) {
                Some(service) => oxislirp::policy::Question::service(service, protocol, guest, named),
                None => oxislirp::policy::Question::out(protocol, guest, named, on_host(named)),
            }
        }
        (None, Some(from)) => oxislirp::policy::Question::incoming(protocol, guest, end(from, Protocol::Icmp)?),
        (None, None) => return Err(Failure::new("there is nothing to ask")),
    };
    let to = if from.is_some() { to_guest(&guest.to_string()) } else { String::new() };
    say_verdict(&policy.judge(&question), &to)
}

/// A name and a port, if that is what it is.
fn name(text: &str) -> Option<(Name, u16)> {
    let (name, port) = text.rsplit_once(':')?;
    if name.trim_matches(['[', ']']).parse::<IpAddr>().is_ok() {
        return None;
    }
    Some((name.parse().ok()?, port.parse().ok()?))
}

/// `to` is where somebody comes to, of the guest.
fn say_verdict(verdict: &Verdict, to: &str) -> Result<(), Failure> {
    let Verdict { action, reason, .. } = *verdict;
    let word = match action {
        Action::Allow => "allow",
        Action::Deny => "deny",
        Action::Drop => "drop",
    };
    let by = match reason {
        Reason::Rule(number) => format!("rule {number}"),
        Reason::Hello(number) => format!("rule {number}, which wants a name in the first bytes"),
        Reason::Preset => "the preset".into(),
        _ => "the default".into(),
    };
    say(&format!("{word}{to}: {by}\n"))?;
    if action == Action::Allow { Ok(()) } else { Err(Failure::new("it is not allowed")) }
}

fn end(text: &str, protocol: Protocol) -> Result<SocketAddr, Failure> {
    if let Ok(address) = text.parse() {
        return Ok(address);
    }
    match text.trim_matches(['[', ']']).parse::<IpAddr>() {
        Ok(ip) if protocol == Protocol::Icmp => Ok(SocketAddr::new(ip, 0)),
        _ => Err(Failure::new(format!("`{text}` is no address with a port, such as 192.0.2.1:443"))),
    }
}

/// The guest's end, as the library reads it.
fn guest_end(text: &str) -> Result<SocketAddr, Failure> {
    match text.strip_prefix(':').map(str::parse) {
        Some(Ok(port)) => Ok(SocketAddr::from((GUEST, port))),
        _ => end(text, Protocol::Icmp),
    }
}

/// The guest of the default network.
const GUEST: [u8; 4] = [10, 0, 2, 15];
/// The virtual host and name server of the default network.
const HOST: [IpAddr; 2] =
    [IpAddr::V4(Ipv4Addr::new(10, 0, 2, 2)), IpAddr::V6(Ipv6Addr::new(0xfec0, 0, 0, 0, 0, 0, 0, 2))];
const NAME_SERVER: [IpAddr; 2] =
    [IpAddr::V4(Ipv4Addr::new(10, 0, 2, 3)), IpAddr::V6(Ipv6Addr::new(0xfec0, 0, 0, 0, 0, 0, 0, 3))];

/// What the library answers itself in the default network.
fn service(protocol: Protocol, named: SocketAddr) -> Option<Service> {
    let (is_host, is_name_server) = (HOST.contains(&named.ip()), NAME_SERVER.contains(&named.ip()));
    match (protocol, named.port()) {
        (Protocol::Icmp, _) => (is_host || is_name_server).then_some(Service::Echo),
        (_, 53) => is_name_server.then_some(Service::Dns),
        (Protocol::Udp, 67) => (is_host && named.is_ipv4()).then_some(Service::Dhcp),
        (Protocol::Udp, 547) => (is_host && named.is_ipv6()).then_some(Service::Dhcp),
        (Protocol::Udp, 69) => is_host.then_some(Service::Tftp),
        _ => None,
    }
}

/// What an address of the default network means on the host.
fn on_host(named: SocketAddr) -> SocketAddr {
    match named {
        SocketAddr::V4(_) if HOST.contains(&named.ip()) => SocketAddr::from((Ipv4Addr::LOCALHOST, named.port())),
        SocketAddr::V6(_) if HOST.contains(&named.ip()) => SocketAddr::from((Ipv6Addr::LOCALHOST, named.port())),
        _ => named,
    }
}
