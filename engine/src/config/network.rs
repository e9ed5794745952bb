//! The virtual network's addresses, and what a guest on it may reach. A stack's address policy (`flow/policy.rs`) is made of
//! these three values as they stand here.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddrV4, SocketAddrV6};

use crate::wire::subnet::Ipv4Subnet;

/// The virtual IPv4 network. It is made by a [`ConfigBuilder`](super::ConfigBuilder).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Network4 {
    /// The network's address. Bits outside the mask count for nothing.
    pub network: Ipv4Addr,
    /// Its mask.
    pub netmask: Ipv4Addr,
    /// The address by which the guest reaches the host; also its router, its DHCP server and its TFTP server.
    pub host: Ipv4Addr,
    /// The address of the virtual name server.
    pub name_server: Ipv4Addr,
}

impl Network4 {
    /// Whether `ip` lies in the network.
    pub(crate) fn contains(&self, ip: Ipv4Addr) -> bool {
        self.subnet().contains(ip)
    }

    /// The network without the machines on it.
    pub(crate) fn subnet(&self) -> Ipv4Subnet {
        Ipv4Subnet::new(self.network, self.netmask)
    }

    /// The address with this host part.
    pub(crate) fn address(&self, host_part: u32) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.network.to_bits() | host_part & !self.netmask.to_bits())
    }

    /// Whether `ip` is the virtual host's or the virtual name server's.
    pub(crate) fn is_virtual(&self, ip: Ipv4Addr) -> bool {
        ip == self.host || ip == self.name_server
    }
}

impl Default for Network4 {
    fn default() -> Network4 {
        Network4 {
            network: Ipv4Addr::new(10, 0, 2, 0),
            netmask: Ipv4Addr::new(255, 255, 255, 0),
            host: Ipv4Addr::new(10, 0, 2, 2),
            name_server: Ipv4Addr::new(10, 0, 2, 3),
        }
    }
}

/// The virtual IPv6 network. It is made by a [`ConfigBuilder`](super::ConfigBuilder).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Network6 {
    /// The network's prefix. Bits behind its length count for nothing.
    pub prefix: Ipv6Addr,
    /// The prefix's length in bits.
    pub prefix_len: u8,
    /// The address by which the guest reaches the host, besides `fe80::2`, which is always its router.
    pub host: Ipv6Addr,
    /// The address of the virtual name server.
    pub name_server: Ipv6Addr,
}

impl Network6 {
    /// Whether `ip` lies under the prefix.
    pub(crate) fn contains(&self, ip: Ipv6Addr) -> bool {
        u128::from(ip) & self.mask() == u128::from(self.prefix) & self.mask()
    }

    /// The bits of the prefix.
    pub(crate) fn mask(&self) -> u128 {
        u128::MAX.checked_shl(128 - u32::from(self.prefix_len.min(128))).unwrap_or(0)
    }

    /// The address under the prefix with this low part.
    pub(crate) fn address(&self, low: u128) -> Ipv6Addr {
        Ipv6Addr::from_bits(self.prefix.to_bits() & self.mask() | low & !self.mask())
    }
}

impl Default for Network6 {
    fn default() -> Network6 {
        Network6 {
            prefix: Ipv6Addr::new(0xfec0, 0, 0, 0, 0, 0, 0, 0),
            prefix_len: 64,
            host: Ipv6Addr::new(0xfec0, 0, 0, 0, 0, 0, 0, 2),
            name_server: Ipv6Addr::new(0xfec0, 0, 0, 0, 0, 0, 0, 3),
        }
    }
}

/// What the guest may reach, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reach {
    /// The guest has IPv4.
    pub ipv4: bool,
    /// The guest has IPv6.
    pub ipv6: bool,
    /// The guest reaches nothing but the virtual services and what was forwarded explicitly.
    pub restricted: bool,
    /// The guest reaches services on the host's loopback.
    pub host_loopback: bool,
    /// The virtual name servers answer.
    pub dns: bool,
    /// Source address for connections to the outside, where one was chosen.
    pub outbound4: Option<SocketAddrV4>,
    /// The same for IPv6.
    pub outbound6: Option<SocketAddrV6>,
}

impl Default for Reach {
    fn default() -> Reach {
        Reach {
            ipv4: true,
            ipv6: false,
            restricted: false,
            host_loopback: true,
            dns: true,
            outbound4: None,
            outbound6: None,
        }
    }
}
