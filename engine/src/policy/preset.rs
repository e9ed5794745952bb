//! Rules that have a name.

use super::address::{Cidr, Faces, Set};
use super::question::{Direction, Service};
use super::rule::Rule;

/// A list of rules with a name, which follows the rules that were given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Preset {
    /// The guest reaches the internet, and nothing that is private to the host or its networks: no private, loopback,
    /// link-local, shared, multicast or reserved address, none of those at which clouds tell machines their secrets, and
    /// nothing of all this behind a translator. It asks the name server; host forwards and guest forwards are as the
    /// application has them. TFTP is closed.
    ///
    /// The host's own addresses on the internet, where it has such, are addresses like others.
    InternetOnly,
    /// Nothing, in either direction.
    None,
    /// The host alone: its loopback, as the virtual host or by its own name, TFTP, and forwards in both directions. No name
    /// server, whose questions go elsewhere.
    HostOnly,
}

/// Addresses of IPv4 that are nobody's on the internet. The list is that of the registry of special-purpose addresses (RFC
/// 6890), but for the few in it that are reachable from everywhere, and with 168.63.129.16, which one cloud has taken for its
/// machines to be served at. The address at which most clouds tell secrets, 169.254.169.254, is a link-local one.
const NOT_INTERNET4: [(u32, u8); 16] = [
    (0x0000_0000, 8),  // 0.0.0.0, this network
    (0x0a00_0000, 8),  // 10.0.0.0, private
    (0x6440_0000, 10), // 100.64.0.0, shared (carriers); 100.100.100.200 among it
    (0x7f00_0000, 8),  // 127.0.0.0, loopback
    (0xa83f_8110, 32), // 168.63.129.16
    (0xa9fe_0000, 16), // 169.254.0.0, link-local
    (0xac10_0000, 12), // 172.16.0.0, private
    (0xc000_0000, 24), // 192.0.0.0, protocol assignments
    (0xc000_0200, 24), // 192.0.2.0, documentation
    (0xc058_6300, 24), // 192.88.99.0, 6to4 relays
    (0xc0a8_0000, 16), // 192.168.0.0, private
    (0xc612_0000, 15), // 198.18.0.0, benchmarks
    (0xc633_6400, 24), // 198.51.100.0, documentation
    (0xcb00_7100, 24), // 203.0.113.0, documentation
    (0xe000_0000, 4),  // 224.0.0.0, multicast
    (0xf000_0000, 4),  // 240.0.0.0, reserved, and the broadcast address
];

/// The same of IPv6: what is not global unicast (RFC 4291 section 2.4), and what is special within that.
const NOT_INTERNET6: [(u128, u8); 7] = [
    (0, 3),                  // ::, the loopback, mapped and translated addresses
    (0x4000 << 112, 2),      // 4000::, not assigned
    (0x8000 << 112, 1),      // 8000::; local, link-local and multicast addresses among it
    (0x2001 << 112, 23),     // 2001::, protocol assignments, Teredo
    (0x2001_0db8 << 96, 32), // 2001:db8::, documentation
    (0x2002 << 112, 16),     // 2002::, 6to4
    (0x3fff << 112, 20),     // 3fff::, documentation
];

/// NAT64's well-known prefix: the internet of IPv4, for hosts that have none.
const NAT64: (u128, u8) = (0x0064_ff9b << 96, 96);

fn v4(list: &[(u32, u8)]) -> Vec<Cidr> {
    list.iter().filter_map(|&(first, len)| Cidr::new(std::net::Ipv4Addr::from_bits(first), len).ok()).collect()
}

fn v6(list: &[(u128, u8)]) -> Vec<Cidr> {
    list.iter().filter_map(|&(first, len)| Cidr::new(std::net::Ipv6Addr::from_bits(first), len).ok()).collect()
}

/// Which addresses are somebody's on the internet: those that [`Preset::InternetOnly`] lets the guest reach.
#[derive(Clone, Debug)]
pub(super) struct Internet {
    not4: Set,
    nat64: Set,
    not6: Set,
}

impl Internet {
    pub(super) fn new() -> Internet {
        let set = |prefixes: Vec<Cidr>| {
            let mut set = Set::default();
            set.extend(prefixes);
            set
        };
        Internet { not4: set(v4(&NOT_INTERNET4)), nat64: set(v6(&[NAT64])), not6: set(v6(&NOT_INTERNET6)) }
    }

    pub(super) fn has(&self, ip: &Faces) -> bool {
        !ip.touches(&self.not4) && (ip.is_in(&self.nat64) || !ip.is_in(&self.not6))
    }
}

impl Preset {
    pub(super) fn rules(self) -> Vec<Rule> {
        let incoming = Rule::allow().direction(Direction::In);
        match self {
            Preset::None => Vec::new(),
            Preset::InternetOnly => vec![
                incoming,
                Rule::allow().service(Service::Dns).service(Service::GuestForward),
                // Also what hides in an address of IPv6.
                Rule::deny().host(v4(&NOT_INTERNET4)),
                Rule::allow().host(v6(&[NAT64])),
                Rule::deny().host(v6(&NOT_INTERNET6)),
                Rule::allow(),
            ],
            Preset::HostOnly => vec![
                incoming,
                Rule::allow().service(Service::Tftp).service(Service::GuestForward),
                Rule::allow().host(v4(&[(0x7f00_0000, 8)]).into_iter().chain(v6(&[(1, 128)]))),
            ],
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, SocketAddr};

    use super::super::question::{Protocol, Question};
    use super::super::rule::Action;
    use super::super::ruleset::Policy;
    use super::*;

    fn reaches(preset: Preset, host: &str) -> bool {
        let policy = Policy::builder().preset(preset).build().unwrap();
        let host = SocketAddr::new(host.parse::<IpAddr>().unwrap(), 443);
        let guest = "10.0.2.15:1000".parse().unwrap();
        policy.judge(&Question::out(Protocol::Tcp, guest, host, host)).action == Action::Allow
    }

    fn serves(preset: Preset, service: Service) -> bool {
        let policy = Policy::builder().preset(preset).build().unwrap();
        let (guest, at) = ("10.0.2.15:1000".parse().unwrap(), "10.0.2.3:53".parse().unwrap());
        policy.judge(&Question::service(service, Protocol::Udp, guest, at)).action == Action::Allow
    }

    #[test]
    fn every_prefix_of_the_lists_is_one() {
        assert_eq!(v4(&NOT_INTERNET4).len(), NOT_INTERNET4.len());
        assert_eq!(v6(&NOT_INTERNET6).len(), NOT_INTERNET6.len());
    }

    #[test]
    fn internet_only_reaches_nothing_private() {
        for closed in [
            "0.0.0.0",
            "0.1.2.3",
            "10.0.2.2",
            "10.255.255.255",
            "100.64.0.1",
            "100.100.100.200",
            "127.0.0.1",
            "127.255.0.9",
            "168.63.129.16",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.192",
            "192.168.178.1",
            "198.19.0.1",
            "224.0.0.251",
            "239.255.255.250",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "::10.0.0.1",
            "64:ff9b::127.0.0.1",
            "64:ff9b::a9fe:a9fe",
            "64:ff9b:1::8.8.8.8",
            "2002:7f00:1::1",
            "2001::1",
            "2001:db8::1",
            "fc00::1",
            "fd00:ec2::254",
            "fe80::1",
            "fec0::2",
            "ff02::1",
            "ff0e::1",
        ] {
            assert!(!reaches(Preset::InternetOnly, closed), "{closed}");
        }
        for open in [
            "1.1.1.1",
            "8.8.8.8",
            "100.63.255.255",
            "100.128.0.1",
            "172.32.0.1",
            "193.0.0.1",
            "223.255.255.255",
            "::ffff:8.8.8.8",
            "64:ff9b::8.8.8.8",
            "2001:4860:4860::8888",
            "2600::1",
            "2a00::1",
        ] {
            assert!(reaches(Preset::InternetOnly, open), "{open}");
        }
    }

    #[test]
    fn the_services_of_each_preset() {
        use Service::{Dhcp, Dns, Echo, GuestForward, Tftp};
        for (preset, open) in [
            (Preset::InternetOnly, vec![Dns, Dhcp, GuestForward, Echo]),
            (Preset::HostOnly, vec![Dhcp, Tftp, GuestForward, Echo]),
            (Preset::None, vec![Dhcp, Echo]),
        ] {
            for service in [Dns, Dhcp, Tftp, GuestForward, Echo] {
                assert_eq!(serves(preset, service), open.contains(&service), "{preset:?} {service:?}");
            }
        }
    }

    #[test]
    fn host_only_reaches_the_loopback_and_none_nothing() {
        for host in ["127.0.0.1", "127.3.0.1", "0.0.0.0", "::1", "::"] {
            assert!(reaches(Preset::HostOnly, host), "{host}");
        }
        for other in ["8.8.8.8", "192.168.1.1", "2600::1", "64:ff9b::127.0.0.1", "224.0.0.1"] {
            assert!(!reaches(Preset::HostOnly, other), "{other}");
        }
        for host in ["127.0.0.1", "8.8.8.8", "2600::1"] {
            assert!(!reaches(Preset::None, host), "{host}");
        }
    }
}
