//! Rules that can never decide, as one before them is about everything that they are about.

use std::net::IpAddr;

use super::super::hello::HelloKind;
use super::super::pattern::NamePattern;
use super::super::question::Protocol;
use super::{Action, Cidr, PortRange, Rule, Set};

/// How much of a rule is left when one before it has decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::policy) enum Left {
    Nothing,
    /// It refuses, and what is left are addresses that hide one of its own (an address of IPv4 behind a translator), or that the guest
    /// has named and that are others on the host's side.
    HiddenAddresses,
    /// Answers for its names may have addresses of the inside, as it says these expressly.
    InnerAddresses,
}

impl Rule {
    /// What is left of a later rule where this one comes first, if that is little. `None` says that something else is left, or that it
    /// cannot be told.
    pub(in crate::policy) fn leaves(&self, later: &Rule) -> Option<Left> {
        // What depends on first bytes decides for some connections only.
        let covers = !self.listens()
            && self.direction == later.direction
            && covers_bits(self.services, later.services)
            && later.effective_protocols() & !self.effective_protocols() == 0
            && covers_ports(&self.guest_ports, &later.guest_ports)
            && covers_ports(&self.host_ports, &later.host_ports)
            && covers_addresses(&self.guest, &later.guest)
            && covers_addresses(&self.host, &later.host)
            && covers_addresses(&self.named, &later.named)
            && self.covers_names(later);
        if !covers {
            return None;
        }
        // Who refuses looks for an address in more places than who allows.
        let has_addresses = !(self.host.is_empty() && self.named.is_empty());
        let sees_less = self.action == Action::Allow && later.action != Action::Allow && has_addresses;
        let says_where = |rule: &Rule| rule.action == Action::Allow && !rule.host.is_empty();
        Some(match () {
            () if !later.names.is_empty() && says_where(later) && !says_where(self) => Left::InnerAddresses,
            () if sees_less => Left::HiddenAddresses,
            () => Left::Nothing,
        })
    }

    /// The protocols that the rule can be about.
    fn effective_protocols(&self) -> u8 {
        let all = Protocol::Tcp.bit() | Protocol::Udp.bit() | Protocol::Icmp.bit();
        let said = if self.protocols == 0 { all } else { self.protocols };
        let said = if self.has_ports() { said & !Protocol::Icmp.bit() } else { said };
        match (self.listens(), self.hellos & HelloKind::Tls.bit()) {
            (false, _) => said,
            (true, 0) => said & Protocol::Tcp.bit(),
            // Of QUIC as well.
            (true, _) => said & !Protocol::Icmp.bit(),
        }
    }

    /// A rule with names decides about questions for them as well, which one without does not.
    fn covers_names(&self, later: &Rule) -> bool {
        match (self.names.is_empty(), later.names.is_empty()) {
            (true, true) => true,
            (false, false) => {
                let is_covered = |name: &NamePattern| self.names.iter().any(|pattern| covers_name(pattern, name));
                later.counts_names() && later.names.iter().all(is_covered)
            }
            _ => false,
        }
    }
}

/// None stands for flows to the host's side.
fn covers_bits(one: u8, other: u8) -> bool {
    (one == 0) == (other == 0) && other & !one == 0
}

fn covers_name(one: &NamePattern, other: &NamePattern) -> bool {
    one == other || (one.is_below() && (one.matches(other.name()) || (other.is_below() && one.name() == other.name())))
}

/// Numbers from the first to the last.
type Span = (u128, u128);

/// Whether all of `other` is in `one`, where none stands for everything.
fn covers_spans(one: Vec<Span>, other: &[Span]) -> bool {
    let joined = join(one);
    other.iter().all(|(first, last)| joined.iter().any(|(from, to)| from <= first && last <= to))
}

/// The same numbers, in spans that do not touch.
fn join(mut spans: Vec<Span>) -> Vec<Span> {
    spans.sort_unstable();
    let mut joined: Vec<Span> = Vec::new();
    for (first, last) in spans {
        match joined.last_mut() {
            Some((_, end)) if first <= end.saturating_add(1) => *end = last.max(*end),
            _ => joined.push((first, last)),
        }
    }
    joined
}

fn covers_ports(one: &[PortRange], other: &[PortRange]) -> bool {
    let spans = |ports: &[PortRange]| ports.iter().map(|range| (range.first.into(), range.last.into())).collect();
    let whole = || vec![(0, u16::MAX.into())];
    match one {
        [] => true,
        // What most rules have, and what most pairs of rules differ in.
        [only] if !other.is_empty() => other.iter().all(|part| only.first <= part.first && part.last <= only.last),
        _ => covers_spans(spans(one), &if other.is_empty() { whole() } else { spans(other) }),
    }
}

fn covers_addresses(one: &Set, other: &Set) -> bool {
    let spans = |set: &Set, v4: bool| -> Vec<Span> {
        set.prefixes().filter(|cidr| cidr.is_ipv4() == v4).map(|cidr| span(&cidr)).collect()
    };
    let family = |v4: bool, last: u128| {
        let wanted = if other.is_empty() { vec![(0, last)] } else { spans(other, v4) };
        covers_spans(spans(one, v4), &wanted)
    };
    one.is_empty() || (family(true, u32::MAX.into()) && family(false, u128::MAX))
}

/// The addresses of a prefix, as numbers.
fn span(cidr: &Cidr) -> Span {
    let (first, bits): (u128, u32) = match cidr.first() {
        IpAddr::V4(ip) => (ip.to_bits().into(), 32),
        IpAddr::V6(ip) => (ip.to_bits(), 128),
    };
    let behind = bits.saturating_sub(u32::from(cidr.prefix_len()));
    (first, first | (1_u128.checked_shl(behind).unwrap_or(0).wrapping_sub(1)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::{Direction, Service};

    fn to(host: &[&str]) -> Rule {
        Rule::allow().host(host.iter().map(|cidr| cidr.parse().unwrap()))
    }

    fn ports(rule: Rule, ports: &[(u16, u16)]) -> Rule {
        rule.host_ports(ports.iter().map(|&(first, last)| PortRange::new(first, last).unwrap()))
    }

    fn named(names: &[&str]) -> Rule {
        Rule::allow().names(names.iter().map(|name| name.parse().unwrap()))
    }

    #[test]
    fn a_rule_about_less_is_left_nothing() {
        let left = Some(Left::Nothing);
        assert_eq!(Rule::allow().leaves(&Rule::deny()), left);
        assert_eq!(Rule::deny().leaves(&Rule::allow().protocol(Protocol::Tcp)), left);
        assert_eq!(Rule::deny().protocol(Protocol::Tcp).leaves(&Rule::allow()), None);
        assert_eq!(to(&["10.0.0.0/8"]).leaves(&to(&["10.1.0.0/16", "10.2.0.1"])), left);
        assert_eq!(to(&["10.1.0.0/16"]).leaves(&to(&["10.0.0.0/8"])), None);
        // Two halves are the whole, of a family.
        assert_eq!(to(&["10.0.0.0/9", "10.128.0.0/9"]).leaves(&to(&["10.0.0.0/8"])), left);
        assert_eq!(to(&["0.0.0.0/0"]).leaves(&Rule::allow()), None);
        assert_eq!(to(&["0.0.0.0/0", "::/0"]).leaves(&Rule::allow()), left);
        assert_eq!(to(&["::/0"]).leaves(&to(&["10.0.0.1"])), None);
        assert_eq!(to(&["2001:db8::/32"]).leaves(&to(&["2001:db8:1::/48"])), left);
        let some = |ports_of| ports(Rule::allow(), ports_of);
        assert_eq!(some(&[(1, 10), (11, 20)]).leaves(&some(&[(5, 15)])), left);
        assert_eq!(some(&[(1, 10), (12, 20)]).leaves(&some(&[(5, 15)])), None);
        assert_eq!(some(&[(0, 65535)]).leaves(&Rule::allow().protocol(Protocol::Udp)), left);
        assert_eq!(some(&[(0, 65535)]).leaves(&Rule::allow()), None, "pings");
        assert_eq!(Rule::allow().leaves(&some(&[(5, 15)])), left);
    }

    #[test]
    fn services_directions_and_first_bytes_are_apart() {
        assert_eq!(Rule::allow().leaves(&Rule::allow().service(Service::Dns)), None);
        assert_eq!(Rule::allow().service(Service::Dns).leaves(&Rule::allow()), None);
        let both = Rule::allow().service(Service::Dns).service(Service::Tftp);
        assert_eq!(both.leaves(&Rule::deny().service(Service::Dns)), Some(Left::Nothing));
        assert_eq!(Rule::allow().leaves(&Rule::allow().direction(Direction::In)), None);
        let tls = || named(&["a.test"]).hello(HelloKind::Tls);
        assert_eq!(tls().leaves(&tls()), None);
        assert_eq!(named(&["a.test"]).leaves(&tls()), Some(Left::Nothing));
        // A name of TLS is in datagrams of QUIC too, a host of HTTP in none.
        let tcp = || named(&["a.test"]).protocol(Protocol::Tcp);
        assert_eq!(tcp().leaves(&tls()), None);
        assert_eq!(tcp().leaves(&tls().protocol(Protocol::Udp)), None);
        assert_eq!(tcp().leaves(&tls().protocol(Protocol::Tcp)), Some(Left::Nothing));
        assert_eq!(tcp().leaves(&named(&["a.test"]).hello(HelloKind::Http)), Some(Left::Nothing));
        assert_eq!(named(&["a.test"]).leaves(&tls().host(["10.0.0.0/8".parse().unwrap()])), None);
    }

    #[test]
    fn names_cover_names_and_questions_are_not_flows() {
        let left = Some(Left::Nothing);
        assert_eq!(named(&["*.test"]).leaves(&named(&["a.test", "*.b.test", "*.test"])), left);
        assert_eq!(named(&["*.test"]).leaves(&named(&["test"])), None);
        assert_eq!(named(&["a.test"]).leaves(&named(&["*.a.test"])), None);
        // What is asked by name is still decided by the rule with names.
        assert_eq!(Rule::allow().leaves(&named(&["a.test"])), None);
        assert_eq!(named(&["a.test"]).leaves(&Rule::allow()), None);
    }

    #[test]
    fn who_says_an_address_expressly_lets_names_be_there() {
        let inside = |names: &[&str]| named(names).host(["10.1.0.0/16".parse().unwrap()]);
        assert_eq!(named(&["*.test"]).leaves(&inside(&["a.test"])), Some(Left::InnerAddresses));
        assert_eq!(inside(&["*.test"]).leaves(&inside(&["a.test"])), Some(Left::Nothing));
        assert_eq!(named(&["*.test"]).leaves(&named(&["a.test"])), Some(Left::Nothing));
    }

    #[test]
    fn who_refuses_still_finds_hidden_addresses() {
        let refuses = Rule::deny().host(["10.1.0.0/16".parse().unwrap()]);
        assert_eq!(to(&["10.0.0.0/8"]).leaves(&refuses), Some(Left::HiddenAddresses));
        assert_eq!(Rule::deny().host(["10.0.0.0/8".parse().unwrap()]).leaves(&refuses), Some(Left::Nothing));
        assert_eq!(Rule::allow().leaves(&refuses), Some(Left::Nothing));
    }
}
