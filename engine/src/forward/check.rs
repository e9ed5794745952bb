//! Whether a forward can work. What no peer or no guest could ever use is refused where a Rust program asks for it, with the
//! reason, as it would fail without a word later. What the C library is asked for does not come by here: upstream takes nearly
//! everything (docs/contract/hostfwd.md section 1), and its programs count on that.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::error::ForwardError;
use super::host::{HostForward, ListenAddress, Protocol};
use crate::flow::policy::Policy;
use crate::flow::tcp::guest::GuestForward;
use crate::host::process;
use crate::wire::subnet::Ipv4Subnet;

/// Judges a host forward. `leased` is the network that the DHCP server gives addresses of, `is_forward` says where guest forwards
/// are.
///
/// # Errors
/// Why nobody could use it.
pub(crate) fn host_forward(
    forward: &HostForward,
    policy: &Policy,
    leased: Ipv4Subnet,
    is_forward: impl Fn(IpAddr) -> bool,
) -> Result<(), ForwardError> {
    if forward.is_only_v6() && !matches!(forward.listen(), ListenAddress::Inet(listen) if listen.is_ipv6()) {
        return Err(ForwardError::OnlyV6(forward.listen().clone()));
    }
    if let (Protocol::Tcp, ListenAddress::Inet(listen)) = (forward.protocol(), forward.listen())
        && is_group(listen.ip())
    {
        return Err(ForwardError::NoMachine(listen.ip()));
    }
    let guest = forward.guest();
    has_port(guest.port())?;
    let ip = guest.ip();
    has_family(ip, policy)?;
    if ip.is_unspecified() {
        return Ok(());
    }
    is_machine(ip, policy)?;
    let (own, inside) = match ip {
        IpAddr::V4(ip) => (policy.v4.is_virtual(ip), policy.v4.contains(ip) || leased.contains(ip)),
        IpAddr::V6(ip) => (policy.is_virtual6(ip), policy.v6.contains(ip) || ip.is_unicast_link_local()),
    };
    if own || is_forward(ip) {
        return Err(ForwardError::OwnAddress(ip));
    }
    if inside { Ok(()) } else { Err(ForwardError::OutsideNetwork(ip)) }
}

/// Judges a guest forward, but for who has its address already. `default` is the address that it has when none was asked for.
///
/// # Errors
/// Why no guest could reach it.
pub(crate) fn guest_forward(
    forward: &GuestForward,
    default: Ipv4Addr,
    policy: &Policy,
) -> Result<IpAddr, ForwardError> {
    has_port(forward.port())?;
    if let Some(line) = forward.command_line() {
        process::check(line).map_err(ForwardError::CommandLine)?;
    }
    let ip = forward.address().unwrap_or(default.into());
    has_family(ip, policy)?;
    // A network so small has no such number, and what is left of it names the network itself or the virtual host.
    if forward.address().is_none() && (default & !policy.v4.netmask).is_unspecified() {
        return Err(ForwardError::NoDefaultAddress { netmask: policy.v4.netmask });
    }
    is_machine(ip, policy)?;
    let inside = match ip {
        IpAddr::V4(ip) => policy.v4.contains(ip),
        IpAddr::V6(ip) => policy.v6.contains(ip),
    };
    if inside { Ok(ip) } else { Err(ForwardError::OutsideNetwork(ip)) }
}

/// Whether it stands for more than one machine, none of which anybody can connect to.
fn is_group(ip: IpAddr) -> bool {
    ip.is_multicast() || ip == IpAddr::V4(Ipv4Addr::BROADCAST)
}

fn has_port(port: u16) -> Result<(), ForwardError> {
    if port == 0 { Err(ForwardError::NoPort) } else { Ok(()) }
}

fn has_family(ip: IpAddr, policy: &Policy) -> Result<(), ForwardError> {
    let has = if ip.is_ipv4() { policy.reach.ipv4 } else { policy.reach.ipv6 };
    if has { Ok(()) } else { Err(ForwardError::NoFamily(ip)) }
}

/// Whether one machine can have the address.
fn is_machine(ip: IpAddr, policy: &Policy) -> Result<(), ForwardError> {
    let nobody = match ip {
        // 0.0.0.0/8 stands for this network and 240.0.0.0/4 is reserved (RFC 6890).
        IpAddr::V4(ip) => ip.is_loopback() || ip.octets()[0] == 0 || ip.octets()[0] >= 240,
        IpAddr::V6(ip) => {
            ip.is_unspecified() || ip.is_loopback() || ip.to_ipv4_mapped().is_some() || is_any_router(ip, policy)
        }
    };
    if nobody || policy.is_group(ip) { Err(ForwardError::NoMachine(ip)) } else { Ok(()) }
}

/// Whether it is the address that every router of the network has (RFC 4291 section 2.6.1).
fn is_any_router(ip: Ipv6Addr, policy: &Policy) -> bool {
    policy.v6.contains(ip) && u128::from(ip) & !policy.v6.mask() == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Network4, Reach};
    use crate::flow::policy::tests::policy;
    use std::net::{SocketAddr, SocketAddrV4};

    const DEFAULT: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 4);

    fn with_reach(ipv4: bool, ipv6: bool) -> Policy {
        Policy { reach: Reach { ipv4, ipv6, ..Reach::default() }, ..policy() }
    }

    fn to_guest(guest: &str, policy: &Policy) -> String {
        let listen = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0);
        let forward = HostForward::tcp(listen, guest.parse::<SocketAddr>().unwrap());
        let leased = Ipv4Subnet::new(Ipv4Addr::new(172, 16, 0, 15), policy.v4.netmask);
        let is_forward = |ip| ip == "10.0.2.100".parse::<IpAddr>().unwrap();
        match host_forward(&forward, policy, leased, is_forward) {
            Ok(()) => String::new(),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn what_no_guest_can_have_is_refused_with_its_reason() {
        let both = with_reach(true, true);
        for good in [
            "0.0.0.0:80",
            "[::]:80",
            "10.0.2.1:80",
            "10.0.2.15:65535",
            "172.16.0.15:80",
            "[fec0::15]:80",
            "[fec0::5054:ff:fe12:3456]:1",
            "[fe80::5054:ff:fe12:3456]:1",
        ] {
            assert_eq!(to_guest(good, &both), "", "{good}");
        }
        for (bad, reason) in [
            ("10.0.2.15:0", "port 0"),
            ("0.0.0.0:0", "port 0"),
            ("[::]:0", "port 0"),
            ("224.0.0.1:80", "no machine"),
            ("255.255.255.255:80", "no machine"),
            ("10.0.2.255:80", "no machine"),
            ("10.0.2.0:80", "no machine"),
            ("127.0.0.1:80", "no machine"),
            ("0.0.0.1:80", "no machine"),
            ("245.1.2.3:80", "no machine"),
            ("10.0.3.15:80", "not in the virtual network"),
            ("8.8.8.8:80", "not in the virtual network"),
            ("10.0.2.2:80", "the stack's own"),
            ("10.0.2.3:53", "the stack's own"),
            ("10.0.2.100:80", "the stack's own"),
            ("[ff02::1]:80", "no machine"),
            ("[::1]:80", "no machine"),
            ("[::ffff:10.0.2.15]:80", "no machine"),
            ("[fec0::]:80", "no machine"),
            ("[fec0::2]:80", "the stack's own"),
            ("[fe80::2]:80", "the stack's own"),
            ("[fec0::3]:80", "the stack's own"),
            ("[2001:db8::1]:80", "not in the virtual network"),
        ] {
            let said = to_guest(bad, &both);
            assert!(said.contains(reason), "{bad}: {said:?}");
        }
        assert!(to_guest("[fec0::15]:80", &with_reach(true, false)).contains("no IPv6"));
        assert!(to_guest("[::]:80", &with_reach(true, false)).contains("no IPv6"));
        assert!(to_guest("10.0.2.15:80", &with_reach(false, true)).contains("no IPv4"));
        assert!(to_guest("0.0.0.0:80", &with_reach(false, true)).contains("no IPv4"));
    }

    #[test]
    fn only_an_ipv6_listener_takes_ipv6_alone() {
        let both = with_reach(true, true);
        let judge = |listen: &str| {
            let guest = SocketAddr::from(([0, 0, 0, 0], 80));
            let forward = HostForward::udp(listen.parse::<SocketAddr>().unwrap(), guest).only_v6(true);
            host_forward(&forward, &both, both.v4.subnet(), |_| false)
        };
        assert!(judge("[::1]:0").is_ok());
        assert!(matches!(judge("127.0.0.1:0"), Err(ForwardError::OnlyV6(_))));
    }

    #[test]
    fn nobody_connects_to_a_group() {
        let both = with_reach(true, true);
        let judge = |forward: fn(SocketAddr, SocketAddr) -> HostForward, listen: &str| {
            let forward = forward(listen.parse().unwrap(), ([0, 0, 0, 0], 80).into());
            host_forward(&forward, &both, both.v4.subnet(), |_| false)
        };
        for listen in ["224.0.0.1:80", "255.255.255.255:80", "[ff02::1]:80"] {
            assert!(matches!(judge(HostForward::tcp, listen), Err(ForwardError::NoMachine(_))), "{listen}");
            // Datagrams to it may well come.
            assert!(judge(HostForward::udp, listen).is_ok());
        }
    }

    #[test]
    fn command_lines_that_are_none_are_refused() {
        let judge = |line: &str| guest_forward(&GuestForward::command(line, 7), DEFAULT, &policy());
        for bad in ["", "  ", "# a comment", "'open", "\"", "''", "a\0b"] {
            assert!(matches!(judge(bad), Err(ForwardError::CommandLine(_))), "{bad:?}");
        }
        // Whether there is such a program shows when it is started.
        assert!(judge("no-such-program 'two words'").is_ok());
    }

    fn at(address: Option<&str>, port: u16, policy: &Policy) -> Result<IpAddr, ForwardError> {
        let forward = GuestForward::application(port);
        let forward = match address {
            Some(address) => forward.at(address.parse::<IpAddr>().unwrap()),
            None => forward,
        };
        guest_forward(&forward, policy.v4.address(0x204), policy)
    }

    #[test]
    fn guest_forwards_are_where_a_guest_can_reach_them() {
        let both = with_reach(true, true);
        assert_eq!(at(None, 7, &both).ok(), Some(DEFAULT.into()));
        for good in ["10.0.2.2", "10.0.2.3", "10.0.2.254", "fec0::2", "fec0::99"] {
            assert!(at(Some(good), 7, &both).is_ok(), "{good}");
        }
        assert!(matches!(at(None, 0, &both), Err(ForwardError::NoPort)));
        for bad in ["10.0.2.0", "10.0.2.255", "0.0.0.0", "::", "fec0::", "127.0.0.1", "255.255.255.255", "ff02::1"] {
            assert!(matches!(at(Some(bad), 7, &both), Err(ForwardError::NoMachine(_))), "{bad}");
        }
        for bad in ["10.0.3.1", "2001:db8::1", "fe80::9"] {
            assert!(matches!(at(Some(bad), 7, &both), Err(ForwardError::OutsideNetwork(_))), "{bad}");
        }
        assert!(matches!(at(Some("fec0::9"), 7, &with_reach(true, false)), Err(ForwardError::NoFamily(_))));
        assert!(matches!(at(None, 7, &with_reach(false, true)), Err(ForwardError::NoFamily(_))));
    }

    #[test]
    fn a_network_of_four_addresses_or_two_has_no_default_one() {
        for (last, fits) in [(240, true), (248, true), (252, false), (254, false)] {
            let netmask = Ipv4Addr::new(255, 255, 255, last);
            let small = Policy { v4: Network4 { netmask, ..Network4::default() }, ..policy() };
            let said = at(None, 7, &small);
            assert_eq!(said.is_ok(), fits, "{netmask}: {said:?}");
            if let Err(error) = said {
                assert!(matches!(error, ForwardError::NoDefaultAddress { netmask: told } if told == netmask));
                assert!(at(Some("10.0.2.1"), 7, &small).is_ok());
            }
        }
    }
}
