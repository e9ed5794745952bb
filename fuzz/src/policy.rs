//! The policy: any rules, any questions. Each verdict is the one that is reached in the plainest way: rule by rule, address by
//! address in all the forms that it has.
//!
//! Input: one byte for the default action, then records by their first byte: below 128 a rule (action and direction; bits of
//! protocols; bits of services; then five lists, each with its length in one byte), else a question (kind; protocol; service; three
//! ends). An address is a byte for its form and bytes for its value. Where a record's first byte has the bit 32, a rule has names, what it listens
//! to and where it leads behind all that, and a question the names of its address and what the first bytes say.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use oxislirp::policy::{
    Action, Cidr, Direction, Heard, HelloKind, Name, Policy, PortRange, Preset, Protocol, Question, Reason, Rule,
    Service, Via,
};

use crate::input::Input;

const PROTOCOLS: [Protocol; 3] = [Protocol::Tcp, Protocol::Udp, Protocol::Icmp];
const SERVICES: [Service; 5] = [Service::Dns, Service::Dhcp, Service::Tftp, Service::GuestForward, Service::Echo];
const ACTIONS: [Action; 3] = [Action::Allow, Action::Deny, Action::Drop];
/// Some are below others, and some end as others do.
const NAMES: [&str; 5] = ["a.test", "b.a.test", "c.b.a.test", "ba.test", "test"];
/// The bit of a record that has names.
const NAMED: u8 = 32;

#[derive(Debug)]
struct Written {
    action: Action,
    direction: Direction,
    protocols: Vec<Protocol>,
    services: Vec<Service>,
    guest: Vec<(IpAddr, u8)>,
    host: Vec<(IpAddr, u8)>,
    named: Vec<(IpAddr, u8)>,
    guest_ports: Vec<(u16, u16)>,
    host_ports: Vec<(u16, u16)>,
    /// Each with whether what is below it is meant.
    names: Vec<(bool, &'static str)>,
    tls: bool,
    http: bool,
    via: Option<Via>,
}

impl Written {
    fn listens(&self) -> bool {
        self.tls || self.http
    }
}

/// A question, the names that its address counts for, and what its first bytes say.
struct Asked {
    question: Question,
    names: Vec<&'static str>,
    heard: Heard,
}

pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let default = ACTIONS[usize::from(input.u8()) % 3];
    let (mut rules, mut questions) = (Vec::new(), Vec::new());
    while !input.is_empty() && rules.len() + questions.len() < 64 {
        let kind = input.u8();
        match kind {
            0..128 => {
                let listens = rules.iter().any(|(rule, _): &(Written, Rule)| rule.listens());
                // What is listened to is connected by then, and leads nowhere else.
                let leads = |rule: &Written| rule.via.is_some() && (listens || rule.listens());
                rules.extend(rule(kind, &mut input).filter(|(rule, _)| !leads(rule)));
            }
            _ => questions.push(asked(kind, &mut input)),
        }
    }
    let builder = rules.iter().fold(Policy::builder(), |all, (_, rule): &(Written, Rule)| all.rule(rule.clone()));
    let policy = builder.clone().default_action(default).build().expect("each rule was looked at");
    let closed = builder.preset(Preset::InternetOnly).build().expect("as before");
    for (number, (rule, _)) in (1..).zip(&rules) {
        assert_eq!(policy.via(number), rule.via.as_ref());
    }
    for Asked { question, names, heard } in &questions {
        let known: Vec<Name> = names.iter().map(|name| name.parse().expect("it is one")).collect();
        let named = policy.judge_named(question, &known);
        assert_eq!(
            (named.action, named.reason),
            plain(&rules, default, question, names),
            "{question:?} {names:?} under {rules:?}"
        );
        let said = policy.judge_hello(question, &known, heard);
        let plainly = plain_heard(&rules, default, question, names, heard);
        assert_eq!((said.action, said.reason), plainly, "{question:?} {names:?} {heard:?} under {rules:?}");
        let verdict = policy.judge(question);
        let plain = plain(&rules, default, question, &[]);
        assert_eq!((verdict.action, verdict.reason), plain, "{question:?} under {rules:?}");
        // What no rule speaks of is nothing private.
        let behind = closed.judge(question);
        match plain.1 {
            // Whether it is listened to is a question of what else could become of it.
            _ if rules.iter().any(|(rule, _)| rule.listens()) => {}
            Reason::Default => assert!(matches!(behind.reason, Reason::Preset | Reason::Default)),
            _ => assert_eq!(behind, verdict),
        }
        let out = question.direction == Direction::Out && question.service.is_none();
        if out && behind.reason == Reason::Preset && behind.action == Action::Allow {
            let all = meanings(question.host.ip()).into_iter().chain(meanings(question.named.ip()));
            for ip in all.filter_map(|(v6, bits)| (!v6).then(|| Ipv4Addr::from_bits(bits as u32))) {
                assert!(!(ip.is_loopback() || ip.is_private() || ip.is_link_local() || ip.is_multicast()), "{ip}");
            }
        }
    }
}

fn address(input: &mut Input) -> IpAddr {
    let form = input.u8();
    let mut octets = [0; 16];
    let length = if form % 8 == 7 { 16 } else { 4 };
    for octet in octets.iter_mut().skip(16 - length) {
        *octet = input.u8();
    }
    let value = u128::from_be_bytes(octets);
    let v6 = match form % 8 {
        0 | 1 => return Ipv4Addr::from_bits(value as u32).into(),
        2 => 0xffff << 32 | value,
        3 => 0x0064_ff9b << 96 | value,
        4 => 0x0064_ff9b_0001 << 80 | value << 32,
        5 => 0x2002 << 112 | value << 80,
        _ => value,
    };
    Ipv6Addr::from_bits(v6).into()
}

fn prefix(input: &mut Input) -> (IpAddr, u8) {
    let ip = address(input);
    let len = input.u8();
    match ip {
        IpAddr::V4(ip) => {
            let len = len % 33;
            let mask = u32::MAX.checked_shl(32 - u32::from(len)).unwrap_or(0);
            (Ipv4Addr::from_bits(ip.to_bits() & mask).into(), len)
        }
        IpAddr::V6(ip) => {
            let len = len % 129;
            let mask = u128::MAX.checked_shl(128 - u32::from(len)).unwrap_or(0);
            (Ipv6Addr::from_bits(ip.to_bits() & mask).into(), len)
        }
    }
}

fn list<T>(input: &mut Input, one: impl Fn(&mut Input) -> T) -> Vec<T> {
    let count = input.u8() % 4;
    (0..count).map(|_| one(input)).collect()
}

fn rule(kind: u8, input: &mut Input) -> Option<(Written, Rule)> {
    let (protocols, services) = (input.u8(), input.u8());
    let ports = |input: &mut Input| {
        let first = input.u16();
        (first, first.saturating_add(input.u8().into()))
    };
    let written = Written {
        action: ACTIONS[usize::from(kind) % 3],
        direction: if kind & 64 != 0 { Direction::In } else { Direction::Out },
        protocols: (0..3).filter(|bit| protocols & 1 << bit != 0).map(|bit| PROTOCOLS[bit]).collect(),
        services: (0..5).filter(|bit| services & 1 << bit != 0).map(|bit| SERVICES[bit]).collect(),
        guest: list(input, prefix),
        host: list(input, prefix),
        named: list(input, prefix),
        guest_ports: list(input, ports),
        host_ports: list(input, ports),
        names: if kind & NAMED != 0 { list(input, |input| (input.u8() & 128 != 0, name(input))) } else { Vec::new() },
        tls: kind & NAMED != 0 && input.u8() & 1 != 0,
        http: kind & NAMED != 0 && input.u8() & 1 != 0,
        via: if kind & NAMED != 0 { via(input) } else { None },
    };
    let cidrs = |list: &[(IpAddr, u8)]| -> Vec<Cidr> {
        list.iter().map(|&(ip, len)| Cidr::new(ip, len).expect("no bits behind it")).collect()
    };
    let ports = |list: &[(u16, u16)]| -> Vec<PortRange> {
        list.iter().map(|&(first, last)| PortRange::new(first, last).expect("in order")).collect()
    };
    let rule = Rule::new(written.action).direction(written.direction);
    let rule = written.protocols.iter().fold(rule, |rule, protocol| rule.protocol(*protocol));
    let rule = written.services.iter().fold(rule, |rule, service| rule.service(*service));
    let rule = rule.guest(cidrs(&written.guest)).host(cidrs(&written.host)).named(cidrs(&written.named));
    let rule = rule.guest_ports(ports(&written.guest_ports)).host_ports(ports(&written.host_ports));
    let patterns =
        written.names.iter().map(|(below, name)| if *below { format!("*.{name}") } else { (*name).to_owned() });
    let rule = rule.names(patterns.map(|pattern| pattern.parse().expect("it is one")));
    let rule = if written.tls { rule.hello(HelloKind::Tls) } else { rule };
    let rule = if written.http { rule.hello(HelloKind::Http) } else { rule };
    let rule = written.via.iter().cloned().fold(rule, Rule::via);
    rule.check().is_ok().then_some((written, rule))
}

fn name(input: &mut Input) -> &'static str {
    NAMES[usize::from(input.u8()) % NAMES.len()]
}

fn via(input: &mut Input) -> Option<Via> {
    let proxy = |text: &str| Via::Proxy(text.parse().expect("it is one"));
    match input.u8() % 8 {
        1 => Some(Via::Address(SocketAddr::from(([192, 0, 2, 7], 53)))),
        2 => Some(proxy("socks5://192.0.2.7:1080")),
        3 => Some(proxy("http://192.0.2.7:3128")),
        _ => None,
    }
}

fn asked(kind: u8, input: &mut Input) -> Asked {
    let question = question(kind, input);
    let names = if kind & NAMED != 0 { list(input, name) } else { Vec::new() };
    let said = if kind & NAMED != 0 { input.u8() } else { 0 };
    let name = (said & 2 != 0).then(|| name(input).into());
    Asked { question, names, heard: if said & 1 != 0 { Heard::Tls(name) } else { Heard::Http(name) } }
}

fn question(kind: u8, input: &mut Input) -> Question {
    let protocol = PROTOCOLS[usize::from(input.u8()) % 3];
    let service = SERVICES[usize::from(input.u8()) % 5];
    let end = |input: &mut Input| SocketAddr::new(address(input), input.u16());
    let (guest, named, host) = (end(input), end(input), end(input));
    match kind % 4 {
        0 => Question::incoming(protocol, guest, host),
        1 => Question::service(service, protocol, guest, named),
        2 => Question::out(protocol, guest, named, host),
        _ => Question::out(protocol, guest, host, host),
    }
}

/// What an address is, and behind that what it may lead to: whether it is one of IPv6, and its bits.
fn meanings(ip: IpAddr) -> Vec<(bool, u128)> {
    let ip = match ip {
        IpAddr::V4(ip) => return vec![(false, if ip.is_unspecified() { 0x7f00_0001 } else { ip.to_bits().into() })],
        IpAddr::V6(ip) => ip.to_bits(),
    };
    let low = ip & 0xffff_ffff;
    if ip >> 32 == 0xffff {
        return meanings(Ipv4Addr::from_bits(low as u32).into());
    }
    if ip <= 1 {
        return vec![(true, 1)];
    }
    let mut all = vec![(true, ip)];
    if ip >> 32 == 0 || ip >> 32 == 0x0064_ff9b << 64 {
        all.push((false, low));
    }
    if ip >> 80 == 0x0064_ff9b_0001 {
        all.push((false, low));
        all.push((false, (ip >> 64 & 0xffff) << 16 | ip >> 40 & 0xffff));
    }
    if ip >> 112 == 0x2002 {
        all.push((false, ip >> 80 & 0xffff_ffff));
    }
    all
}

fn within(meaning: (bool, u128), (first, len): (IpAddr, u8)) -> bool {
    let (v6, bits, len) = match first {
        IpAddr::V4(ip) => (false, u128::from(ip.to_bits()), len),
        IpAddr::V6(ip) if len >= 96 && ip.to_bits() >> 32 == 0xffff => (false, ip.to_bits() & 0xffff_ffff, len - 96),
        IpAddr::V6(ip) => (true, ip.to_bits(), len),
    };
    let width = if v6 { 128 } else { 32 };
    let rest = width - u32::from(len);
    meaning.0 == v6 && meaning.1.checked_shr(rest).unwrap_or(0) == bits.checked_shr(rest).unwrap_or(0)
}

fn is_about(rule: &Written, question: &Question) -> bool {
    let any = |meanings: &[(bool, u128)], sets: &[(IpAddr, u8)]| {
        meanings.iter().any(|meaning| sets.iter().any(|set| within(*meaning, *set)))
    };
    let [guest, host, named] = [question.guest, question.host, question.named].map(|end| meanings(end.ip()));
    let ports = |list: &[(u16, u16)], port: u16| {
        let listed = list.iter().any(|(first, last)| (*first..=*last).contains(&port));
        list.is_empty() || (question.protocol != Protocol::Icmp && listed)
    };
    let allows = rule.action == Action::Allow;
    let hosts = if allows { any(&host[..1], &rule.host) } else { any(&host, &rule.host) || any(&named, &rule.host) };
    let names = if allows { any(&named[..1], &rule.named) } else { any(&named, &rule.named) };
    rule.direction == question.direction
        && question.service.map_or(rule.services.is_empty(), |service| rule.services.contains(&service))
        && (rule.protocols.is_empty() || rule.protocols.contains(&question.protocol))
        && (rule.guest.is_empty() || any(&guest[..1], &rule.guest))
        && (rule.host.is_empty() || hosts)
        && (rule.named.is_empty() || names)
        && ports(&rule.guest_ports, question.guest.port())
        && ports(&rule.host_ports, question.host.port())
}

/// Whether a name is one of those that a rule has: the same one, or one that ends as it does behind a dot.
fn has(rule: &Written, name: &str) -> bool {
    rule.names.iter().any(|(below, own)| if *below { name.ends_with(&format!(".{own}")) } else { name == *own })
}

/// Whether the rule may be about it, where its address counts for these names.
fn counts(rule: &Written, question: &Question, names: &[&str]) -> bool {
    let carries = match question.protocol {
        Protocol::Tcp => true,
        Protocol::Udp => rule.tls && (!rule.host_ports.is_empty() || question.host.port() == 443),
        _ => false,
    };
    let by_what_is_said = rule.listens() && (rule.action != Action::Allow || !rule.host.is_empty());
    is_about(rule, question)
        && (!rule.listens() || carries)
        && (rule.names.is_empty() || by_what_is_said || names.iter().any(|name| has(rule, name)))
}

fn decided(found: Option<(u32, &Written)>, default: Action, question: &Question) -> (Action, Reason) {
    match (found, question.service) {
        (Some((number, rule)), _) => (rule.action, Reason::Rule(number)),
        (None, Some(Service::Dhcp | Service::Echo)) => (Action::Allow, Reason::Default),
        (None, _) => (default, Reason::Default),
    }
}

type Rules = [(Written, Rule)];

fn about<'a>(rules: &'a Rules, question: &'a Question, names: &'a [&str]) -> impl Iterator<Item = (u32, &'a Written)> {
    (1..).zip(rules).map(|(number, (rule, _))| (number, rule)).filter(|(_, rule)| counts(rule, question, names))
}

fn plain(rules: &Rules, default: Action, question: &Question, names: &[&str]) -> (Action, Reason) {
    let Some((number, _)) = about(rules, question, names).next().filter(|(_, rule)| rule.listens()) else {
        return decided(about(rules, question, names).next(), default, question);
    };
    // It is listened to where some name could have it allowed.
    let best = about(rules, question, names).find(|(_, rule)| !rule.listens() || rule.action == Action::Allow);
    match decided(best, default, question) {
        (Action::Allow, _) => (Action::Deny, Reason::Hello(number)),
        refused => refused,
    }
}

fn plain_heard(rules: &Rules, default: Action, question: &Question, names: &[&str], heard: &Heard) -> (Action, Reason) {
    let hears = |rule: &Written| {
        let (listens, said) = match heard {
            Heard::Tls(said) => (rule.tls, said),
            Heard::Http(said) => (rule.http, said),
            _ => unreachable!("there are two kinds"),
        };
        !rule.listens() || (listens && said.as_deref().is_some_and(|said| has(rule, said)))
    };
    // Who refuses a name without listening for it refuses whoever says it.
    let (Heard::Tls(said) | Heard::Http(said)) = heard else { unreachable!("there are two kinds") };
    let with_said: Vec<&str> = names.iter().copied().chain(said.as_deref()).collect();
    let counting = |rule: &Written| match rule.action != Action::Allow && !rule.listens() {
        true => with_said.as_slice(),
        false => names,
    };
    let all = (1..).zip(rules).map(|(number, (rule, _))| (number, rule));
    let mut about = all.filter(|(_, rule)| counts(rule, question, counting(rule)));
    decided(about.find(|(_, rule)| hears(rule)), default, question)
}
