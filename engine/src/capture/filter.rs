//! Which frames are captured, where that is not all of them.

use std::fmt;
use std::num::NonZeroU32;

use super::ends::{Carrier, Ends};
use super::notes::Notes;
use crate::policy::{Cidr, PortRange, Protocol};

/// Which frames a capture has: those to which everything applies that is said here. What is said several times applies where one of them
/// does.
///
/// It is about packets of TCP, UDP and ICMP: as soon as anything is said, other frames (ARP) are not captured. A fragment that is
/// not its datagram's first has no ports, and is none of a rule's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CaptureFilter {
    protocols: Vec<Protocol>,
    guest: Vec<Cidr>,
    remote: Vec<Cidr>,
    guest_ports: Vec<PortRange>,
    remote_ports: Vec<PortRange>,
    rules: Vec<NonZeroU32>,
}

impl CaptureFilter {
    /// Every frame.
    pub fn new() -> CaptureFilter {
        CaptureFilter::default()
    }

    /// Frames of this protocol. ICMP is that of either family.
    #[must_use]
    pub fn protocol(mut self, protocol: Protocol) -> CaptureFilter {
        self.protocols.push(protocol);
        self
    }

    /// Frames from or to these addresses of guests.
    #[must_use]
    pub fn guest(mut self, addresses: impl IntoIterator<Item = Cidr>) -> CaptureFilter {
        self.guest.extend(addresses);
        self
    }

    /// Frames whose other end has one of these addresses, as the guest knows it.
    #[must_use]
    pub fn remote(mut self, addresses: impl IntoIterator<Item = Cidr>) -> CaptureFilter {
        self.remote.extend(addresses);
        self
    }

    /// Frames with one of these ports at the guest's end.
    #[must_use]
    pub fn guest_ports(mut self, ports: impl IntoIterator<Item = PortRange>) -> CaptureFilter {
        self.guest_ports.extend(ports);
        self
    }

    /// Frames with one of these ports at the other end.
    #[must_use]
    pub fn remote_ports(mut self, ports: impl IntoIterator<Item = PortRange>) -> CaptureFilter {
        self.remote_ports.extend(ports);
        self
    }

    /// Frames of flows about which a rule with one of these numbers, from 1, has decided when they began, or were refused. What the
    /// library answers by ICMP is none of them. Flows that have begun before the capture are not known.
    #[must_use]
    pub fn rules(mut self, numbers: impl IntoIterator<Item = NonZeroU32>) -> CaptureFilter {
        self.rules.extend(numbers);
        self
    }

    /// Whether it takes every frame.
    pub fn is_empty(&self) -> bool {
        *self == CaptureFilter::default()
    }

    /// Whether a frame is one of those, as far as its headers tell.
    pub(super) fn takes(&self, ends: &Ends) -> bool {
        let protocol = match ends.carrier {
            Carrier::Tcp => Protocol::Tcp,
            Carrier::Udp => Protocol::Udp,
            Carrier::Icmp => Protocol::Icmp,
        };
        let has_port = |ranges: &[PortRange], port: Option<u16>| {
            ranges.is_empty() || port.is_some_and(|port| ranges.iter().any(|range| range.contains(port)))
        };
        (self.protocols.is_empty() || self.protocols.contains(&protocol))
            && (self.guest.is_empty() || self.guest.iter().any(|cidr| cidr.contains(ends.guest)))
            && (self.remote.is_empty() || self.remote.iter().any(|cidr| cidr.contains(ends.remote)))
            && has_port(&self.guest_ports, ends.ports.map(|ports| ports.0))
            && has_port(&self.remote_ports, ends.ports.map(|ports| ports.1))
    }

    /// Whether the rule that has decided about it is one of those.
    pub(super) fn takes_rule_of(&self, ends: &Ends, notes: &Notes) -> bool {
        self.rules.is_empty() || notes.rule(ends).is_some_and(|rule| self.rules.contains(&rule))
    }
}

/// As it is said to people: `tcp, remote 192.0.2.0/24, remote port 443, rule 3`; nothing where every frame is taken.
impl fmt::Display for CaptureFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fn list<T: ToString>(values: &[T]) -> String {
            values.iter().map(T::to_string).collect::<Vec<_>>().join(" or ")
        }
        let protocols: Vec<&str> = self
            .protocols
            .iter()
            .map(|protocol| match protocol {
                Protocol::Tcp => "tcp",
                Protocol::Udp => "udp",
                Protocol::Icmp => "icmp",
            })
            .collect();
        let parts = [
            ("", list(&protocols)),
            ("guest ", list(&self.guest)),
            ("remote ", list(&self.remote)),
            ("guest port ", list(&self.guest_ports)),
            ("remote port ", list(&self.remote_ports)),
            ("rule ", list(&self.rules)),
        ];
        let said = parts.iter().filter(|(_, values)| !values.is_empty());
        f.write_str(&said.map(|(what, values)| format!("{what}{values}")).collect::<Vec<_>>().join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::notes::Outcome;
    use crate::time::Instant;

    fn ends(carrier: Carrier, guest: &str, remote: &str, ports: Option<(u16, u16)>) -> Ends {
        Ends { carrier, guest: guest.parse().unwrap(), remote: remote.parse().unwrap(), ports }
    }

    #[test]
    fn everything_that_is_said_has_to_apply_and_one_of_several() {
        let filter = CaptureFilter::new()
            .protocol(Protocol::Tcp)
            .protocol(Protocol::Udp)
            .guest(["10.0.2.0/24".parse().unwrap()])
            .remote(["192.0.2.0/24".parse().unwrap(), "2001:db8::/32".parse().unwrap()])
            .remote_ports([PortRange::one(443), PortRange::new(8000, 8099).unwrap()]);
        let takes = |carrier, guest, remote, port| filter.takes(&ends(carrier, guest, remote, port));
        assert!(takes(Carrier::Tcp, "10.0.2.15", "192.0.2.1", Some((1, 443))));
        assert!(takes(Carrier::Udp, "10.0.2.15", "2001:db8::1", Some((1, 8050))));
        assert!(!takes(Carrier::Icmp, "10.0.2.15", "192.0.2.1", None));
        assert!(!takes(Carrier::Tcp, "10.0.3.15", "192.0.2.1", Some((1, 443))));
        assert!(!takes(Carrier::Tcp, "10.0.2.15", "192.0.3.1", Some((1, 443))));
        assert!(!takes(Carrier::Tcp, "10.0.2.15", "192.0.2.1", Some((443, 1))));
        assert!(!takes(Carrier::Udp, "10.0.2.15", "192.0.2.1", None), "a fragment");
        let said = "tcp or udp, guest 10.0.2.0/24, remote 192.0.2.0/24 or 2001:db8::/32, remote port 443 or 8000-8099";
        assert_eq!(filter.to_string(), said);
        assert!(CaptureFilter::new().is_empty() && CaptureFilter::new().to_string().is_empty() && !filter.is_empty());
    }

    #[test]
    fn frames_of_a_rule_are_those_of_the_flows_it_decided_about() {
        let filter = CaptureFilter::new().rules(NonZeroU32::new(3));
        let mut notes = Notes::default();
        let one = ends(Carrier::Tcp, "10.0.2.15", "192.0.2.1", Some((1, 443)));
        let other = Ends { ports: Some((1, 80)), ..one };
        notes.tell(Outcome::Flow(1), one, (NonZeroU32::new(3), None), Instant::ZERO);
        notes.tell(Outcome::Refused("policy"), other, (NonZeroU32::new(4), None), Instant::ZERO);
        assert!(filter.takes(&one) && filter.takes(&other));
        assert!(filter.takes_rule_of(&one, &notes) && !filter.takes_rule_of(&other, &notes));
        assert!(!filter.takes_rule_of(&Ends { ports: None, ..one }, &notes));
    }
}
