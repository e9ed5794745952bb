//! The address policy: what an address the guest uses means on the host, what is forbidden, and which address the guest
//! is shown for a host peer. Source: docs/contract/ipv4.md section 5, docs/contract/ipv6.md section 3,
//! docs/contract/hostfwd.md section 3.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::key::Endpoint;
use crate::config::{Network4, Network6, Reach};
use crate::link::ndp::{ALL_NODES, ROUTER};
use crate::service::dns;

/// The virtual network and what the guest may reach: what the configuration says, with the questions that are asked of it.
#[derive(Clone, Debug)]
pub(crate) struct Policy {
    pub v4: Network4,
    pub v6: Network6,
    pub reach: Reach,
}

/// What a destination the guest used means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Destination {
    /// This address on the host's side.
    Host(SocketAddr),
    /// The host's name server.
    NameServer,
    /// Forbidden.
    Refused,
}

/// Whether `ip` is a group of interface-local scope, or of the reserved scope 0: packets to one do not come over a link
/// (RFC 4291 section 2.7).
fn names_no_link(ip: Ipv6Addr) -> bool {
    ip.is_multicast() && ip.octets()[1] & 0x0f <= 1
}

/// Whether `ip` is a unicast address of link-local scope (RFC 4291 section 2.5.6).
fn is_link_local(ip: Ipv6Addr) -> bool {
    ip.segments()[0] & 0xffc0 == 0xfe80
}

impl Policy {
    /// What `destination` means for TCP and UDP.
    pub(crate) fn translate(&self, destination: Endpoint) -> Destination {
        match destination.ip {
            IpAddr::V4(ip) => self.translate4(ip, destination.port),
            IpAddr::V6(ip) => self.translate6(ip, destination.port),
        }
    }

    fn translate4(&self, ip: Ipv4Addr, port: u16) -> Destination {
        let loopback = |ip: Ipv4Addr| {
            if !self.reach.host_loopback { Destination::Refused } else { Destination::Host((ip, port).into()) }
        };
        if ip == self.v4.name_server && self.reach.dns {
            return if port == dns::PORT { Destination::NameServer } else { Destination::Refused };
        }
        if ip == self.v4.host || ip.is_broadcast() {
            return loopback(Ipv4Addr::LOCALHOST);
        }
        // Upstream lets these two through even when host loopback is disabled.
        if ip.is_loopback() || ip.is_unspecified() {
            return loopback(ip);
        }
        Destination::Host((ip, port).into())
    }

    fn translate6(&self, ip: Ipv6Addr, port: u16) -> Destination {
        let loopback = || {
            if !self.reach.host_loopback {
                Destination::Refused
            } else {
                Destination::Host((Ipv6Addr::LOCALHOST, port).into())
            }
        };
        let ip = self.canonical6(ip);
        if ip == self.v6.name_server && self.reach.dns {
            return if port == dns::PORT { Destination::NameServer } else { Destination::Refused };
        }
        if self.v6.contains(ip) || ip == self.v6.host || ip == ALL_NODES || ip.is_loopback() || ip.is_unspecified() {
            return loopback();
        }
        // IPv4 has a way of its own, with rules of its own: what is closed there must not be open here.
        if names_no_link(ip) || ip.to_ipv4_mapped().is_some() {
            return Destination::Refused;
        }
        Destination::Host((ip, port).into())
    }

    /// Whether `destination` is the virtual name server.
    pub(crate) fn is_name_server(&self, destination: Endpoint) -> bool {
        let ours = match destination.ip {
            IpAddr::V4(ip) => ip == self.v4.name_server,
            IpAddr::V6(ip) => self.canonical6(ip) == self.v6.name_server,
        };
        ours && destination.port == dns::PORT && self.reach.dns
    }

    /// Whether `ip` is an address of the virtual host or name server: under the prefix or link-local
    /// (docs/contract/ipv6.md section 5).
    pub(crate) fn is_virtual6(&self, ip: Ipv6Addr) -> bool {
        let mask = self.v6.mask();
        let ip = self.canonical6(ip);
        [self.v6.host, self.v6.name_server]
            .into_iter()
            .any(|ours| ip == ours || u128::from(ip) == u128::from(self.v6.prefix) & mask | u128::from(ours) & !mask)
    }

    /// Whether `ip` is an address of the virtual host: its own, or one on the link.
    pub(crate) fn is_virtual_host6(&self, ip: Ipv6Addr) -> bool {
        self.canonical6(ip) == self.v6.host
    }

    /// The address that a link-local address of the virtual host or name server stands for; others as they are. The
    /// router's address is always the virtual host, whatever that one's address is: a guest that finds nobody at its
    /// router's address gives the router up (RFC 4861 section 7.3.3).
    fn canonical6(&self, ip: Ipv6Addr) -> Ipv6Addr {
        const LINK_LOCAL: u128 = 0xfe80 << 112;
        const LOW: u128 = u64::MAX as u128;
        let (high, low) = (u128::from(ip) & !LOW, u128::from(ip) & LOW);
        if high != LINK_LOCAL {
            return ip;
        }
        let ours = [self.v6.host, self.v6.name_server].into_iter().find(|ours| u128::from(*ours) & LOW == low);
        ours.unwrap_or(if ip == ROUTER { self.v6.host } else { ip })
    }

    /// The link-local address of the virtual host.
    pub(crate) fn link_local_host6(&self) -> Ipv6Addr {
        let [_, _, _, _, a, b, c, d] = self.v6.host.segments();
        Ipv6Addr::new(0xfe80, 0, 0, 0, a, b, c, d)
    }

    /// Whether a packet from `source` can be the guest's, as [`Policy::plausible_source`].
    pub(crate) fn plausible_source6(&self, source: Ipv6Addr) -> bool {
        !(self.is_virtual6(source) || source.is_loopback() || source.is_multicast() || source.is_unspecified())
    }

    /// Whether a packet from `source` can be the guest's: not one of the library's own addresses, not loopback, not
    /// multicast.
    pub(crate) fn plausible_source(&self, source: Ipv4Addr) -> bool {
        !(self.v4.is_virtual(source) || source.is_loopback() || source.is_multicast())
    }

    /// Whether `ip` stands for more than one machine: a group, or a broadcast address of the virtual network, the obsolete
    /// form with all host bits zero among them (RFC 1122 section 3.3.6). Nobody has a connection with one.
    pub(crate) fn is_group(&self, ip: IpAddr) -> bool {
        let ip = match ip {
            IpAddr::V4(ip) => ip,
            IpAddr::V6(ip) => return ip.is_multicast(),
        };
        let host_bits = !u32::from(self.v4.netmask);
        let host = u32::from(ip) & host_bits;
        // A network of two addresses, or of one, has no broadcast (RFC 3021).
        let directed = host_bits > 1 && self.v4.contains(ip) && (host == 0 || host == host_bits);
        ip.is_multicast() || ip.is_broadcast() || (directed && !self.v4.is_virtual(ip))
    }

    /// The address that a guest with an address of version 6 (or 4) is shown for a host peer that came to it: the host's
    /// own loopback is the virtual host, and so is a peer whose address would mean nothing to the guest, which answers to
    /// the router or asks its own link: an address of the other family, one of the host's link, one of the virtual prefix.
    pub(crate) fn visible(&self, peer: IpAddr, v6: bool) -> IpAddr {
        // An IPv4 peer of a dual-stack socket. Systems drop packets from mapped addresses on a wire.
        match (peer.to_canonical(), v6) {
            (IpAddr::V4(ip), false) if !(ip.is_loopback() || ip.is_unspecified()) => ip.into(),
            (IpAddr::V6(ip), true)
                if !(ip.is_loopback() || ip.is_unspecified() || is_link_local(ip) || self.v6.contains(ip)) =>
            {
                ip.into()
            }
            (_, false) => self.v4.host.into(),
            (_, true) => self.v6.host.into(),
        }
    }

    /// The source for connections to the outside of the family of `destination`, if one was configured.
    pub(crate) fn outbound(&self, destination: SocketAddr) -> Option<SocketAddr> {
        if destination.is_ipv4() { self.reach.outbound4.map(Into::into) } else { self.reach.outbound6.map(Into::into) }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn policy() -> Policy {
        Policy { v4: Network4::default(), v6: Network6::default(), reach: Reach::default() }
    }

    fn meaning(policy: &Policy, text: &str) -> String {
        match policy.translate(text.parse::<SocketAddr>().unwrap().into()) {
            Destination::Host(address) => address.to_string(),
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn the_table_of_ipv4_destinations() {
        let open = policy();
        for (used, means) in [
            ("10.0.2.2:80", "127.0.0.1:80"),
            ("10.0.2.3:53", "NameServer"),
            ("10.0.2.3:80", "Refused"),
            ("255.255.255.255:9", "127.0.0.1:9"),
            ("10.0.2.255:9", "10.0.2.255:9"),
            ("10.0.2.9:9", "10.0.2.9:9"),
            ("127.0.0.5:9", "127.0.0.5:9"),
            ("0.0.0.0:9", "0.0.0.0:9"),
            ("192.0.2.1:443", "192.0.2.1:443"),
        ] {
            assert_eq!(meaning(&open, used), means, "{used}");
        }
        let without_dns = Policy { reach: Reach { dns: false, ..Reach::default() }, ..policy() };
        assert_eq!(meaning(&without_dns, "10.0.2.3:53"), "10.0.2.3:53");
    }

    #[test]
    fn groups_and_broadcast_addresses_are_no_machine() {
        let is_group = |policy: &Policy, text: &str| policy.is_group(text.parse().unwrap());
        let usual = policy();
        for group in ["255.255.255.255", "224.0.0.9", "239.255.255.250", "10.0.2.255", "10.0.2.0", "ff02::1", "ff0e::5"]
        {
            assert!(is_group(&usual, group), "{group}");
        }
        for one in ["10.0.2.2", "10.0.2.15", "10.0.3.255", "10.0.3.0", "0.0.0.0", "127.255.255.255", "::", "fec0::2"] {
            assert!(!is_group(&usual, one), "{one}");
        }
        let with4 = |v4| Policy { v4, ..policy() };
        let pair = with4(Network4 { netmask: Ipv4Addr::new(255, 255, 255, 254), ..Network4::default() });
        assert!(!is_group(&pair, "10.0.2.0") && !is_group(&pair, "10.0.2.1"));
        let odd = with4(Network4 { host: Ipv4Addr::new(10, 0, 2, 255), ..Network4::default() });
        assert!(!is_group(&odd, "10.0.2.255"));
    }

    #[test]
    fn host_loopback_is_closed_by_every_road() {
        let closed = Policy { reach: Reach { host_loopback: false, ..Reach::default() }, ..policy() };
        for used in [
            "10.0.2.2:80",
            "255.255.255.255:80",
            "127.0.0.1:80",
            "127.9.9.9:80",
            "0.0.0.0:80",
            "[fec0::2]:80",
            "[fec0::9]:80",
            "[::1]:80",
            "[::]:80",
            "[::ffff:127.0.0.1]:80",
            "[::ffff:127.9.9.9]:80",
            "[::ffff:0.0.0.0]:80",
            "[::ffff:255.255.255.255]:80",
            "[ff01::1]:80",
            "[ff02::1]:80",
            "[ff11::5]:80",
            "[fe80::2]:80",
            "[fec0::3]:80",
            "[fe80::3]:80",
        ] {
            assert_eq!(meaning(&closed, used), "Refused", "{used}");
        }
        assert_eq!(meaning(&closed, "10.0.2.3:53"), "NameServer");
        assert_eq!(meaning(&closed, "[fec0::3]:53"), "NameServer");
        // What is no road to the loopback stays open.
        for used in ["192.0.2.1:80", "[2001:db8::1]:80", "[ff0e::5]:80", "[fe80::9]:80"] {
            assert_eq!(meaning(&closed, used), used);
        }
        // A virtual host that is not under the prefix is no other host for that.
        let apart = Policy { v6: Network6 { host: "fd00::2".parse().unwrap(), ..closed.v6 }, ..closed };
        assert_eq!(meaning(&apart, "[fd00::2]:80"), "Refused");
    }

    #[test]
    fn the_table_of_ipv6_destinations() {
        let open = policy();
        for (used, means) in [
            ("[fec0::2]:80", "[::1]:80"),
            ("[fec0::9]:80", "[::1]:80"),
            ("[fec0::3]:53", "NameServer"),
            ("[fe80::3]:53", "NameServer"),
            ("[fec0::3]:80", "Refused"),
            ("[fe80::2]:80", "[::1]:80"),
            ("[fe80::9]:80", "[fe80::9]:80"),
            ("[ff02::1]:9", "[::1]:9"),
            ("[ff01::1]:9", "Refused"),
            ("[::ffff:127.0.0.1]:9", "Refused"),
            ("[::ffff:192.0.2.1]:9", "Refused"),
            ("[ff02::fb]:9", "[ff02::fb]:9"),
            ("[::1]:9", "[::1]:9"),
            ("[fec0:0:0:1::2]:9", "[fec0:0:0:1::2]:9"),
            ("[2001:db8::1]:443", "[2001:db8::1]:443"),
        ] {
            assert_eq!(meaning(&open, used), means, "{used}");
        }
        let without_dns = Policy { reach: Reach { dns: false, ..Reach::default() }, ..policy() };
        assert_eq!(meaning(&without_dns, "[fec0::3]:53"), "[::1]:53");
    }

    #[test]
    fn the_virtual_hosts_have_addresses_under_the_prefix_and_on_the_link() {
        let is_ours = |policy: &Policy, text: &str| policy.is_virtual6(text.parse().unwrap());
        let usual = policy();
        for ours in ["fec0::2", "fec0::3", "fe80::2", "fe80::3"] {
            assert!(is_ours(&usual, ours), "{ours}");
        }
        for other in ["fec0::4", "fec0::1:0:0:2", "fe80::4", "fe80:0:0:1::2", "::2", "2001:db8::2"] {
            assert!(!is_ours(&usual, other), "{other}");
        }
        let with6 = |v6| Policy { v6, ..policy() };
        let odd = with6(Network6 { prefix: "fd00:1:2:3::".parse().unwrap(), prefix_len: 61, ..Network6::default() });
        assert!(is_ours(&odd, "fd00:1:2::2") && is_ours(&odd, "fe80::2") && is_ours(&odd, "fec0::2"));
        assert!(!is_ours(&odd, "fd00:1:2:8::2"));
        for prefix_len in [0, 1, 127, 128, 255] {
            assert!(is_ours(&with6(Network6 { prefix_len, ..Network6::default() }), "fec0::2"), "{prefix_len}");
        }
        assert_eq!(usual.link_local_host6().to_string(), "fe80::2");
        // The router stays where advertisements say it is.
        let moved = with6(Network6 { host: "fec0::102".parse().unwrap(), ..Network6::default() });
        assert!(is_ours(&moved, "fe80::2") && is_ours(&moved, "fe80::102") && !is_ours(&moved, "fec0::2"));
        assert_eq!(meaning(&moved, "[fe80::2]:80"), "[::1]:80");
    }

    #[test]
    fn host_peers_on_loopback_appear_as_the_virtual_host() {
        let policy = policy();
        for (peer, seen, seen6) in [
            ("127.0.0.1", "10.0.2.2", "fec0::2"),
            ("127.3.2.1", "10.0.2.2", "fec0::2"),
            ("0.0.0.0", "10.0.2.2", "fec0::2"),
            ("::1", "10.0.2.2", "fec0::2"),
            ("::ffff:127.0.0.1", "10.0.2.2", "fec0::2"),
            ("::ffff:192.0.2.7", "192.0.2.7", "fec0::2"),
            ("192.0.2.7", "192.0.2.7", "fec0::2"),
            ("2001:db8::1", "10.0.2.2", "2001:db8::1"),
            ("fe80::1", "10.0.2.2", "fec0::2"),
            ("fec0::77", "10.0.2.2", "fec0::2"),
        ] {
            assert_eq!(policy.visible(peer.parse().unwrap(), false).to_string(), seen, "{peer}");
            assert_eq!(policy.visible(peer.parse().unwrap(), true).to_string(), seen6, "{peer}");
        }
    }
}
