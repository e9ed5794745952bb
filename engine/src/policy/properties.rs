//! The verdict beside one that is reached in the plainest way there is: addresses as texts of bits, rules as the
//! documentation has them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use proptest::prelude::*;

use super::{
    Action, Cidr, Direction, Heard, HelloKind, Name, Policy, PortRange, Protocol, Question, Reason, Rule, Service, Via,
};

/// A rule as it is written down.
#[derive(Clone, Debug)]
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
    names: Vec<String>,
    tls: bool,
    http: bool,
    via: Option<Via>,
}

fn bits(ip: IpAddr) -> String {
    match ip {
        IpAddr::V4(ip) => format!("4{:032b}", ip.to_bits()),
        IpAddr::V6(ip) if ip.to_string().starts_with("::ffff:") && ip.to_ipv4_mapped().is_some() => {
            format!("4{:032b}", ip.to_bits() as u32)
        }
        IpAddr::V6(ip) => format!("6{:0128b}", ip.to_bits()),
    }
}

/// What an address is, and behind that what it may lead to.
fn meanings(ip: IpAddr) -> Vec<String> {
    let mut own = bits(ip);
    if own == bits("0.0.0.0".parse().unwrap()) {
        own = bits("127.0.0.1".parse().unwrap());
    }
    if own == bits("::".parse().unwrap()) {
        own = bits("::1".parse().unwrap());
    }
    let mut all = vec![own.clone()];
    let starts = |prefix: &str, len: usize| own.starts_with(&bits(prefix.parse().unwrap())[..=len]);
    let part = |from: usize, to: usize| own[1 + from..1 + to].to_owned();
    if starts("64:ff9b::", 96) {
        all.push(format!("4{}", part(96, 128)));
    }
    if starts("64:ff9b:1::", 48) {
        all.push(format!("4{}", part(96, 128)));
        all.push(format!("4{}{}", part(48, 64), part(72, 88)));
    }
    if starts("2002::", 16) {
        all.push(format!("4{}", part(16, 48)));
    }
    if starts("::", 96) && own != bits("::1".parse().unwrap()) {
        all.push(format!("4{}", part(96, 128)));
    }
    all
}

fn is_in(meanings: &[String], sets: &[(IpAddr, u8)]) -> bool {
    sets.iter().any(|&(first, len)| {
        let first_bits = bits(first);
        let len = if first_bits.starts_with('4') && first.is_ipv6() { len - 96 } else { len };
        meanings
            .iter()
            .any(|meaning| meaning[..=usize::from(len).min(meaning.len() - 1)] == first_bits[..=usize::from(len)])
    })
}

fn is_about(rule: &Written, question: &Question) -> bool {
    let guest = meanings(question.guest.ip());
    let host = meanings(question.host.ip());
    let named = meanings(question.named.ip());
    let allows = rule.action == Action::Allow;
    let port_in = |ports: &[(u16, u16)], port: u16| {
        ports.is_empty()
            || (question.protocol != Protocol::Icmp && ports.iter().any(|&(first, last)| first <= port && port <= last))
    };
    if rule.direction != question.direction {
        return false;
    }
    let services = match question.service {
        Some(service) => rule.services.contains(&service),
        None => rule.services.is_empty(),
    };
    let host_fits =
        if allows { is_in(&host[..1], &rule.host) } else { is_in(&host, &rule.host) || is_in(&named, &rule.host) };
    let named_fits = if allows { is_in(&named[..1], &rule.named) } else { is_in(&named, &rule.named) };
    services
        && (rule.protocols.is_empty() || rule.protocols.contains(&question.protocol))
        && (rule.guest.is_empty() || is_in(&guest[..1], &rule.guest))
        && (rule.host.is_empty() || host_fits)
        && (rule.named.is_empty() || named_fits)
        && port_in(&rule.guest_ports, question.guest.port())
        && port_in(&rule.host_ports, question.host.port())
}

/// Whether a name is what a rule says: label by label, from the end.
fn has(pattern: &str, name: &str) -> bool {
    let labels = |name: &str| name.split('.').rev().map(str::to_owned).collect::<Vec<String>>();
    let (pattern, name) = (labels(pattern), labels(name));
    match pattern.split_last() {
        Some((last, above)) if last == "*" => name.len() > above.len() && name[..above.len()] == *above,
        _ => pattern == name,
    }
}

/// Whether the rule may be about an address that counts for these names, on what carries what it listens to.
fn may_be_about(rule: &Written, question: &Question, names: &[String]) -> bool {
    let listens = rule.tls || rule.http;
    let carries = match question.protocol {
        Protocol::Tcp => true,
        Protocol::Udp => rule.tls && (!rule.host_ports.is_empty() || question.host.port() == 443),
        Protocol::Icmp => false,
    };
    // Who refuses, or gives addresses, needs no answer of the name server for what a connection says itself.
    let by_what_is_said = listens && (rule.action != Action::Allow || !rule.host.is_empty());
    let counts = names.iter().any(|name| rule.names.iter().any(|pattern| has(pattern, name)));
    is_about(rule, question) && (!listens || carries) && (rule.names.is_empty() || by_what_is_said || counts)
}

fn naive(rules: &[Written], default: Action, question: &Question, names: &[String]) -> (Action, Reason) {
    let rest = match question.service {
        Some(Service::Dhcp | Service::Echo) => Action::Allow,
        _ => default,
    };
    let about = || (1..).zip(rules).filter(|(_, rule)| may_be_about(rule, question, names));
    let decided = |found: Option<(u32, &Written)>| {
        found.map_or((rest, Reason::Default), |(number, rule)| (rule.action, Reason::Rule(number)))
    };
    match about().next() {
        Some((number, rule)) if rule.tls || rule.http => {
            // It is listened to where some name could have it allowed.
            let best = decided(about().find(|(_, rule)| !(rule.tls || rule.http) || rule.action == Action::Allow));
            if best.0 == Action::Allow { (Action::Deny, Reason::Hello(number)) } else { best }
        }
        found => decided(found),
    }
}

/// The same once the first bytes are there: of TLS or of HTTP, with a name or without.
fn naive_heard(
    rules: &[Written],
    default: Action,
    question: &Question,
    names: &[String],
    (is_tls, said): (bool, Option<&str>),
) -> (Action, Reason) {
    let hears = |rule: &Written| {
        let listens = if is_tls { rule.tls } else { rule.http };
        let fits = said.is_some_and(|said| rule.names.iter().any(|pattern| has(pattern, said)));
        !(rule.tls || rule.http) || (listens && fits)
    };
    // Who refuses a name without listening for it refuses whoever says it.
    let with_said: Vec<String> = names.iter().cloned().chain(said.map(str::to_owned)).collect();
    let counting = |rule: &Written| {
        let refuses = rule.action != Action::Allow && !(rule.tls || rule.http);
        if refuses { with_said.as_slice() } else { names }
    };
    let mut about = (1..).zip(rules).filter(|(_, rule)| may_be_about(rule, question, counting(rule)));
    match about.find(|(_, rule)| hears(rule)) {
        Some((number, rule)) => (rule.action, Reason::Rule(number)),
        None if matches!(question.service, Some(Service::Dhcp | Service::Echo)) => (Action::Allow, Reason::Default),
        None => (default, Reason::Default),
    }
}

/// What becomes of a question to the name server.
fn naive_name(rules: &[Written], default: Action, guest: IpAddr, name: &str) -> (Action, Reason) {
    let of_guest = |rule: &Written| rule.guest.is_empty() || is_in(&meanings(guest)[..1], &rule.guest);
    let has_it = |rule: &Written| rule.names.iter().any(|pattern| has(pattern, name));
    let says_all = |rule: &Written| {
        let Written { protocols, services, host, named, guest_ports, host_ports, names, .. } = rule;
        rule.direction == Direction::Out
            && protocols.is_empty()
            && services.is_empty()
            && host.is_empty()
            && named.is_empty()
            && guest_ports.is_empty()
            && host_ports.is_empty()
            && names.is_empty()
    };
    let numbered = || (1..).zip(rules).filter(|(_, rule)| of_guest(rule));
    let found = numbered().find(|(_, rule)| has_it(rule)).or_else(|| numbered().find(|(_, rule)| says_all(rule)));
    found.map_or((default, Reason::Default), |(number, rule)| (rule.action, Reason::Rule(number)))
}

impl Written {
    fn build(&self) -> Rule {
        let cidrs =
            |list: &[(IpAddr, u8)]| list.iter().map(|&(ip, len)| Cidr::new(ip, len).unwrap()).collect::<Vec<_>>();
        let ports = |list: &[(u16, u16)]| list.iter().map(|&(a, b)| PortRange::new(a, b).unwrap()).collect::<Vec<_>>();
        let rule = Rule::new(self.action).direction(self.direction);
        let rule = self.protocols.iter().fold(rule, |rule, protocol| rule.protocol(*protocol));
        let rule = self.services.iter().fold(rule, |rule, service| rule.service(*service));
        let rule = rule
            .guest(cidrs(&self.guest))
            .host(cidrs(&self.host))
            .named(cidrs(&self.named))
            .guest_ports(ports(&self.guest_ports))
            .host_ports(ports(&self.host_ports))
            .names(self.names.iter().map(|name| name.parse().unwrap()));
        let rule = if self.tls { rule.hello(HelloKind::Tls) } else { rule };
        let rule = if self.http { rule.hello(HelloKind::Http) } else { rule };
        self.via.iter().cloned().fold(rule, Rule::via)
    }
}

/// Few different addresses, so that they meet; of all forms in which one hides in another.
fn address() -> impl Strategy<Value = IpAddr> {
    let v4 = prop_oneof![
        Just(0x7f00_0001_u32),
        Just(0),
        Just(0x0a00_0202),
        Just(u32::MAX),
        0xa9fe_a9f0_u32..0xa9fe_aa00,
        any::<u32>(),
    ];
    let v6 = prop_oneof![any::<u128>(), 0_u128..4, Just(0xfe80_u128 << 112 | 2), Just(0x0064_ff9b_0001_u128 << 80)];
    (v4, v6, 0_u8..10).prop_map(|(v4, v6, form)| {
        let wide = u128::from(v4);
        let v6 = match form {
            0..4 => return Ipv4Addr::from_bits(v4).into(),
            4 => 0xffff << 32 | wide,
            5 => 0x0064_ff9b << 96 | wide,
            6 => 0x0064_ff9b_0001 << 80 | (wide >> 16) << 64 | (wide & 0xffff) << 40,
            7 => 0x2002 << 112 | wide << 80,
            8 => wide,
            _ => v6,
        };
        Ipv6Addr::from_bits(v6).into()
    })
}

/// A prefix around an address, without bits behind it.
fn prefix() -> impl Strategy<Value = (IpAddr, u8)> {
    (address(), any::<u8>()).prop_map(|(ip, len)| match ip {
        IpAddr::V4(ip) => {
            let len = len % 33;
            (Ipv4Addr::from_bits(ip.to_bits() & (u64::from(u32::MAX) << (32 - len)) as u32).into(), len)
        }
        IpAddr::V6(ip) => {
            // What is mapped has a length of its own kind, as its text is neither.
            let least = if ip.to_ipv4_mapped().is_some() { 96 } else { 0 };
            let len = least + len % (129 - least);
            let mask = if len == 0 { 0 } else { u128::MAX << (128 - len) };
            (Ipv6Addr::from_bits(ip.to_bits() & mask).into(), len)
        }
    })
}

fn socket() -> impl Strategy<Value = SocketAddr> {
    (address(), prop_oneof![0_u16..6, Just(443)]).prop_map(|(ip, port)| SocketAddr::new(ip, port))
}

/// Few names, of which some are below others, and some end as others do.
fn name() -> impl Strategy<Value = String> {
    prop::sample::select(vec!["a.test", "b.a.test", "c.b.a.test", "ba.test", "test"]).prop_map(str::to_owned)
}

fn pattern() -> impl Strategy<Value = String> {
    (any::<bool>(), name()).prop_map(|(below, name)| if below { format!("*.{name}") } else { name })
}

/// What rules say of names, and what they listen to: mostly nothing, and each alone as well, which makes no sense.
fn called() -> impl Strategy<Value = (Vec<String>, bool, bool)> {
    let names = || prop::collection::vec(pattern(), 1..3);
    prop_oneof![
        3 => Just((Vec::new(), false, false)),
        2 => names().prop_map(|names| (names, false, false)),
        3 => (names(), any::<bool>(), any::<bool>()),
        1 => (Just(Vec::new()), any::<bool>(), any::<bool>()),
    ]
}

fn via() -> impl Strategy<Value = Option<Via>> {
    let proxy = |text: &str| Some(Via::Proxy(text.parse().unwrap()));
    prop_oneof![
        6 => Just(None),
        1 => Just(Some(Via::Address("192.0.2.7:53".parse().unwrap()))),
        1 => Just(proxy("socks5://192.0.2.7:1080")),
        1 => Just(proxy("http://192.0.2.7:3128")),
    ]
}

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![Just(Action::Allow), Just(Action::Deny), Just(Action::Drop)]
}

fn protocol() -> impl Strategy<Value = Protocol> {
    prop_oneof![Just(Protocol::Tcp), Just(Protocol::Udp), Just(Protocol::Icmp)]
}

fn service() -> impl Strategy<Value = Service> {
    use Service::{Dhcp, Dns, Echo, GuestForward, Tftp};
    prop_oneof![Just(Dns), Just(Dhcp), Just(Tftp), Just(GuestForward), Just(Echo)]
}

fn ports() -> impl Strategy<Value = Vec<(u16, u16)>> {
    prop::collection::vec((0_u16..6, 0_u16..3).prop_map(|(first, more)| (first, first + more)), 0..2)
}

fn prefixes() -> impl Strategy<Value = Vec<(IpAddr, u8)>> {
    prop::collection::vec(prefix(), 0..3)
}

prop_compose! {
    fn written()(
        action in action(),
        incoming in prop::bool::weighted(0.3),
        protocols in prop::collection::vec(protocol(), 0..3),
        services in prop_oneof![3 => Just(Vec::new()), 1 => prop::collection::vec(service(), 0..3)],
        guest in prop_oneof![2 => Just(Vec::new()), 1 => prefixes()],
        host in prefixes(),
        named in prop_oneof![2 => Just(Vec::new()), 1 => prefixes()],
        guest_ports in ports(),
        host_ports in ports(),
        (names, tls, http) in called(),
        via in via(),
    ) -> Written {
        let direction = if incoming { Direction::In } else { Direction::Out };
        Written { action, direction, protocols, services, guest, host, named, guest_ports, host_ports, names, tls, http, via }
    }
}

prop_compose! {
    fn question()(
        kind in 0_u8..3,
        protocol in protocol(),
        service in service(),
        guest in socket(),
        named in socket(),
        host in socket(),
        translated in any::<bool>(),
    ) -> Question {
        match kind {
            0 => Question::incoming(protocol, guest, host),
            1 => Question::service(service, protocol, guest, named),
            _ => Question::out(protocol, guest, if translated { named } else { host }, host),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn the_verdict_is_the_plain_one(
        rules in prop::collection::vec(written(), 0..12),
        default in action(),
        questions in prop::collection::vec(question(), 1..8),
        names in prop::collection::vec(name(), 0..3),
        said in prop::option::of(name()),
    ) {
        let mut listens = false;
        let sensible = rules.into_iter().filter(|rule| {
            // What waits for its first bytes is connected by then: no rule behind one that listens leads elsewhere.
            let sensible = rule.build().check().is_ok() && !(rule.via.is_some() && (listens || rule.tls || rule.http));
            listens |= sensible && (rule.tls || rule.http);
            sensible
        });
        let rules: Vec<Written> = sensible.collect();
        let builder = rules.iter().fold(Policy::builder(), |all, rule| all.rule(rule.build()));
        let policy = builder.default_action(default).build().unwrap();
        let parsed: Vec<Name> = names.iter().map(|name| name.parse().unwrap()).collect();
        for (number, rule) in (1..).zip(&rules) {
            prop_assert_eq!(policy.via(number), rule.via.as_ref());
        }
        for question in &questions {
            let verdict = policy.judge(question);
            prop_assert_eq!((verdict.action, verdict.reason), naive(&rules, default, question, &[]), "{:?}", question);
            let verdict = policy.judge_named(question, &parsed);
            let plain = naive(&rules, default, question, &names);
            prop_assert_eq!((verdict.action, verdict.reason), plain, "{:?} {:?}", question, &names);
            for is_tls in [true, false] {
                let name = said.as_deref().map(Box::from);
                let heard = if is_tls { Heard::Tls(name) } else { Heard::Http(name) };
                let verdict = policy.judge_hello(question, &parsed, &heard);
                let plain = naive_heard(&rules, default, question, &names, (is_tls, said.as_deref()));
                prop_assert_eq!((verdict.action, verdict.reason), plain, "{:?} {:?} {:?}", question, &names, &heard);
                // Nothing leads elsewhere what waits for its first bytes.
                if let Reason::Hello(number) = verdict.reason {
                    prop_assert_eq!(policy.via(number), None);
                }
            }
            for name in &parsed {
                let verdict = policy.judge_name(question.guest.ip(), name);
                let plain = naive_name(&rules, default, question.guest.ip(), name.as_str());
                prop_assert_eq!((verdict.action, verdict.reason), plain, "{:?} {}", question.guest, name);
            }
        }
    }

    /// What a list of hosts refuses cannot be had by writing the same address in another way.
    #[test]
    fn no_form_of_a_refused_address_gets_through(v4 in any::<u32>(), len in 0_u8..=32) {
        let refused = Ipv4Addr::from_bits(v4);
        let first = Ipv4Addr::from_bits(v4 & (u64::from(u32::MAX) << (32 - len)) as u32);
        let rule = Rule::deny().host([Cidr::new(first, len).unwrap()]);
        let policy = Policy::builder().rule(rule).default_action(Action::Allow).build().unwrap();
        let wide = u128::from(v4);
        for form in [
            IpAddr::V4(refused),
            Ipv6Addr::from_bits(0xffff << 32 | wide).into(),
            Ipv6Addr::from_bits(0x0064_ff9b << 96 | wide).into(),
            Ipv6Addr::from_bits(0x0064_ff9b_0001 << 80 | wide).into(),
            Ipv6Addr::from_bits(0x2002 << 112 | wide << 80 | 1).into(),
        ] {
            // The unspecified address is this machine.
            if form.to_canonical() == IpAddr::V4(Ipv4Addr::UNSPECIFIED) {
                continue;
            }
            let (guest, at) = (SocketAddr::from(([10, 0, 2, 15], 9)), SocketAddr::new(form, 443));
            let other = SocketAddr::from(([198, 51, 100, 1], 443));
            prop_assert_eq!(policy.judge(&Question::out(Protocol::Tcp, guest, at, at)).action, Action::Deny);
            prop_assert_eq!(policy.judge(&Question::out(Protocol::Udp, guest, at, other)).action, Action::Deny);
            prop_assert_eq!(policy.judge(&Question::incoming(Protocol::Tcp, guest, at)).action, Action::Allow);
        }
    }
}
