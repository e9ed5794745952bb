//! What a file means, in words, and what of it will not work.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};

use oxislirp::ControlOptions;
use oxislirp::policy::{Action, Policy, Protocol, Question, Reason, Service, Verdict};

use super::Failure;
use super::client::{self, say};
use super::config_file::{self, Instance, Places, Settings};
use super::obstacle;

/// Reads a file as `slirp_new` does.
///
/// # Errors
/// What is wrong with it, in the same words.
pub(crate) fn read(file: &Path) -> Result<Settings, Failure> {
    Settings::from_file(file, &Instance::next()).map_err(|fault| Failure::new(fault.to_string()))
}

/// Says what a file means, and warns of what has no effect.
///
/// # Errors
/// What is wrong with it, as with the files that it has made.
pub(crate) fn check(file: &Path) -> Result<(), Failure> {
    let failure = |fault: config_file::Fault| Failure::new(fault.to_string());
    let text = config_file::text_of(file).map_err(failure)?;
    let settings = Settings::parse(file, &text, &Instance::next()).map_err(failure)?;
    let places = Places::of(file, &text).map_err(failure)?;
    let sentences: String = sentences(&settings).into_iter().map(|sentence| sentence + "\n").collect();
    let mut warnings = warnings(&settings, &places);
    // A file that is in force is no mistake: it is edited, and sent to its network.
    let in_force = settings.control.as_ref().map(ControlOptions::path).filter(|path| client::is_network(path));
    warnings.extend(in_force.map(|path| {
        let (place, path) = (&places.control, path.display());
        format!("{place}: a network listens at {path} now: no other one could begin with this file beside it")
    }));
    let warnings: String = warnings.into_iter().map(|text| format!("warning: {text}\n")).collect();
    say(&(sentences + &warnings))?;
    let unmade = unmade(&settings, &places, in_force.is_some());
    if unmade.is_empty() { Ok(()) } else { Err(Failure::new(unmade.join("\n"))) }
}

/// What the file means.
fn sentences(settings: &Settings) -> Vec<String> {
    let mut sentences = Vec::new();
    if let Some(bytes) = settings.network.mtu() {
        sentences.push(format!(
            "network: packets of up to {bytes} bytes both ways, whatever the program says; the guest is told by DHCP and router advertisements"
        ));
    }
    if let Some(capture) = &settings.capture {
        sentences.push(format!("capture: {capture}"));
    }
    if let Some(log) = &settings.log {
        sentences.push(format!("log: a line for each flow that begins, is refused and ends, {log}"));
    }
    if let Some(control) = &settings.control {
        let path = control.path().display();
        sentences.push(format!("control: whoever has this user's rights may ask and change the network at {path}"));
    }
    if let Some(dns) = &settings.dns {
        if let Some(servers) = dns.servers() {
            let servers: Vec<String> = servers.iter().map(ToString::to_string).collect();
            sentences
                .push(format!("dns: names are asked of {}, whatever the host's resolver says", servers.join(", ")));
        }
        sentences.extend(dns.names().sentences().into_iter().map(|sentence| format!("dns: {sentence}")));
    }
    sentences.extend(settings.limits.sentences().map(|sentence| format!("limit: {sentence}")));
    match &settings.policy {
        Some(policy) => sentences.extend(policy.sentences().map(|sentence| format!("policy: {sentence}"))),
        None => sentences.push("policy: there is none, so that everything is allowed".into()),
    }
    sentences
}

/// What has no effect.
fn warnings(settings: &Settings, places: &Places) -> Vec<String> {
    let mut warnings = Vec::new();
    for name in settings.dns.iter().flat_map(|dns| dns.names().endless_aliases()) {
        warnings.push(format!(
            "dns.records: the alias {name} leads in a circle, or over more than eight others, to no address"
        ));
    }
    warnings.extend(places.idle.iter().cloned());
    warnings.extend(settings.policy.as_ref().and_then(half_of_loopback));
    warnings.extend(settings.policy.as_ref().and_then(unasked_names));
    for (rule, sentence) in settings.policy.iter().flat_map(|policy| policy.shadowed()) {
        let place = usize::try_from(rule).ok().and_then(|number| places.rules.get(number.checked_sub(1)?));
        warnings.push(place.map_or_else(|| sentence.clone(), |place| format!("{place}: {sentence}")));
    }
    warnings
}

/// Ports at which it is tried what is open: those of which somebody may think, and one of which nobody does.
const TRIED: [u16; 6] = [22, 80, 443, 5432, 8080, 40_001];

/// Which half of the host's loopback is open because nobody thought of it, while the other is closed. The guest has both, as the virtual host.
fn half_of_loopback(policy: &Policy) -> Option<String> {
    let guest = |ip: IpAddr| SocketAddr::new(ip, 1024);
    let v4 = |port| {
        let named = SocketAddr::from(([10, 0, 2, 2], port));
        Question::out(
            Protocol::Tcp,
            guest(Ipv4Addr::new(10, 0, 2, 15).into()),
            named,
            (Ipv4Addr::LOCALHOST, port).into(),
        )
    };
    let v6 = |port| {
        let named = SocketAddr::from((Ipv6Addr::new(0xfec0, 0, 0, 0, 0, 0, 0, 2), port));
        let of_guest = Ipv6Addr::new(0xfec0, 0, 0, 0, 0, 0, 0, 15);
        Question::out(Protocol::Tcp, guest(of_guest.into()), named, (Ipv6Addr::LOCALHOST, port).into())
    };
    let closed =
        |ask: &dyn Fn(u16) -> Question| TRIED.iter().all(|port| policy.judge(&ask(*port)).action != Action::Allow);
    let forgotten = |ask: &dyn Fn(u16) -> Question| {
        let by_default = |verdict: Verdict| verdict.action == Action::Allow && verdict.reason == Reason::Default;
        TRIED.iter().all(|port| by_default(policy.judge(&ask(*port))))
    };
    let (open, other, shut) = match () {
        () if closed(&v4) && forgotten(&v6) => ("::1", "the guest's fec0::2", "127.0.0.1"),
        () if closed(&v6) && forgotten(&v4) => ("127.0.0.1", "the guest's 10.0.2.2", "::1"),
        () => return None,
    };
    Some(format!(
        "policy: {shut} is closed, and {open} ({other}) is open by the default: it is the other half of this machine's loopback"
    ))
}

/// Names that can count for no address, as the guest may not ask for them. What says its name itself is found out without.
fn unasked_names(policy: &Policy) -> Option<String> {
    let guest = SocketAddr::from(([10, 0, 2, 15], 1024));
    let asks = |protocol| {
        let server = SocketAddr::from(([10, 0, 2, 3], 53));
        policy.judge(&Question::service(Service::Dns, protocol, guest, server)).action == Action::Allow
    };
    let unasked = policy.opens_by_names() && !asks(Protocol::Udp) && !asks(Protocol::Tcp);
    unasked.then(|| {
        "policy.rule: there are rules with names, and none that lets the guest ask for them (`service = \"dns\"`): no address will count for a name".to_owned()
    })
}

/// The files and sockets that could not be made here and now.
fn unmade(settings: &Settings, places: &Places, in_force: bool) -> Vec<String> {
    let files = |paths: Vec<PathBuf>, place: &str| {
        let found = paths
            .into_iter()
            .filter_map(|path| Some(format!("{place}: {}: {}", path.display(), obstacle::of_file(&path)?)));
        found.collect::<Vec<String>>()
    };
    let capture = settings.capture.iter().flat_map(|capture| files(capture.paths().collect(), &places.capture));
    let log = settings.log.iter().flat_map(|log| files(log.paths().collect(), &places.log));
    let control = settings.control.iter().filter(|_| !in_force).filter_map(|control| {
        let path = control.path();
        Some(format!("{}: {}: {}", places.control, path.display(), obstacle::of_socket(path)?))
    });
    capture.chain(log).chain(control).collect()
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
