//! Why there is no configuration.

use std::error::Error;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use crate::service::dns::search_list::BadSearchDomain;

/// A value of a configuration, named as the method of [`ConfigBuilder`](super::ConfigBuilder) that sets it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ConfigField {
    /// The largest IP packet that the guest takes.
    Mtu,
    /// The largest IP packet that the guest is asked to send.
    Mru,
    /// The length of the IPv6 prefix, the second argument of `network6`.
    PrefixLen,
    /// The IPv6 prefix, the first argument of `network6`.
    Network6,
    /// The virtual IPv4 network, the first argument of `network`.
    Network,
    /// The host's address in the virtual IPv4 network.
    Host,
    /// The address of the virtual IPv4 name server.
    NameServer,
    /// The first address that DHCP gives out.
    DhcpStart,
    /// The host's address in the virtual IPv6 network.
    Host6,
    /// The address of the virtual IPv6 name server.
    NameServer6,
    /// The IPv4 address from which connections leave the host.
    Outbound,
    /// The IPv6 address from which connections leave the host.
    Outbound6,
    /// The guest's host name.
    HostName,
    /// The guest's domain.
    Domain,
    /// The name of the TFTP server.
    TftpServerName,
    /// The name of the boot file.
    BootFile,
    /// The directory that TFTP serves.
    Tftp,
    /// Where the host's name servers are known from.
    NameServerSource,
    /// The silence after which a TCP connection is asked whether it is alive.
    TcpKeepAlive,
    /// The memory of all TCP buffers.
    BufferMemory,
}

impl ConfigField {
    /// The name of the method that sets the value.
    pub fn name(self) -> &'static str {
        match self {
            ConfigField::Mtu => "mtu",
            ConfigField::Mru => "mru",
            ConfigField::PrefixLen => "network6 (prefix length)",
            ConfigField::Network6 => "network6",
            ConfigField::Network => "network",
            ConfigField::Host => "host",
            ConfigField::NameServer => "name_server",
            ConfigField::DhcpStart => "dhcp_start",
            ConfigField::Host6 => "host6",
            ConfigField::NameServer6 => "name_server6",
            ConfigField::Outbound => "outbound",
            ConfigField::Outbound6 => "outbound6",
            ConfigField::HostName => "host_name",
            ConfigField::Domain => "domain",
            ConfigField::TftpServerName => "tftp_server_name",
            ConfigField::BootFile => "boot_file",
            ConfigField::Tftp => "tftp",
            ConfigField::NameServerSource => "name_server_source",
            ConfigField::TcpKeepAlive => "tcp_keep_alive",
            ConfigField::BufferMemory => "buffer_memory",
        }
    }
}

impl fmt::Display for ConfigField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Why a [`Config`](super::Config) was not built. The text says which value is meant and what is allowed.
///
/// The first three kinds are errors however the configuration is built. The others come from
/// [`build`](super::ConfigBuilder::build) only, and not from [`build_lenient`](super::ConfigBuilder::build_lenient).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConfigError {
    /// A number is not one of those with which a stack can work.
    OutOfRange {
        /// Which one.
        field: ConfigField,
        /// What was given.
        given: u64,
        /// The least that is allowed.
        least: u64,
        /// The most that is allowed.
        most: u64,
    },
    /// A time is not one of those with which a stack can work.
    DurationOutOfRange {
        /// Which one.
        field: ConfigField,
        /// What was given.
        given: Duration,
        /// The shortest that is allowed.
        least: Duration,
        /// The longest that is allowed.
        most: Duration,
    },
    /// A text has no room where it has to go.
    TooLong {
        /// Which one.
        field: ConfigField,
        /// Its length in bytes.
        length: usize,
        /// The greatest length that has room, in bytes.
        most: usize,
    },
    /// A text or a path has a byte 0 in it, with which it would end too early.
    NulByte {
        /// Which one.
        field: ConfigField,
    },
    /// A text has a byte in it that its readers do not take: a control character; in the name of a server a space; in a host name
    /// anything but letters, digits, `-`, `_` and dots.
    Byte {
        /// Which one.
        field: ConfigField,
        /// The byte.
        byte: u8,
    },
    /// A name has nothing between two dots, before the first one, or at all.
    EmptyLabel {
        /// Which one.
        field: ConfigField,
    },
    /// A path is empty: nothing is ever found there.
    EmptyPath {
        /// Which one.
        field: ConfigField,
    },
    /// The guest has IPv6, for which its link has to carry larger packets (RFC 8200 section 5).
    MtuForIpv6 {
        /// The MTU that was given, in bytes.
        given: usize,
        /// The least that IPv6 works with.
        least: usize,
    },
    /// An address was not given, and the IPv4 network is so small that it has no default one.
    NoDefault {
        /// Which one.
        field: ConfigField,
        /// The number in the network that it would have.
        number: u8,
        /// The network's mask.
        netmask: Ipv4Addr,
    },
    /// The mask of the IPv4 network is not a row of ones before a row of zeros, or leaves no room for a host and a guest.
    Netmask {
        /// What was given.
        netmask: Ipv4Addr,
    },
    /// No machine can have this address: it is unspecified, a loopback, multicast or broadcast address, or that of a
    /// network.
    Address {
        /// Which one.
        field: ConfigField,
        /// What was given.
        address: IpAddr,
    },
    /// An address is not in the virtual IPv4 network, where the guest looks for it.
    OutsideNetwork {
        /// Which one.
        field: ConfigField,
        /// What was given.
        address: Ipv4Addr,
        /// The network's address.
        network: Ipv4Addr,
        /// The network's mask.
        netmask: Ipv4Addr,
    },
    /// Two services have one address: the second would never be reached.
    SameAddress {
        /// Who has it.
        first: ConfigField,
        /// Who would have it too.
        second: ConfigField,
        /// The address.
        address: IpAddr,
    },
    /// The guest has neither IPv4 nor IPv6.
    NoFamily,
    /// None of the addresses that DHCP is to give out can be a guest's.
    NothingToLease {
        /// The first of them.
        dhcp_start: Ipv4Addr,
    },
    /// A domain that the guest is to search in is no domain name.
    Search(BadSearchDomain),
    /// Nothing can be sent to the address of a name server, or not to its port.
    NameServer {
        /// What was given.
        server: SocketAddr,
    },
    /// There are more name servers than are kept.
    TooManyNameServers {
        /// How many of one family were given.
        given: usize,
        /// How many of one family are kept.
        most: usize,
    },
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ConfigError::OutOfRange { field, given, least, most } => {
                write!(f, "{field}: {given} is not one of {least} to {most}")
            }
            ConfigError::DurationOutOfRange { field, given, least, most } => {
                write!(f, "{field}: {given:?} is not between {least:?} and {most:?}")
            }
            ConfigError::TooLong { field, length, most } => {
                write!(f, "{field}: {length} bytes are too many, at most {most} have room")
            }
            ConfigError::NulByte { field } => write!(f, "{field}: a zero byte cannot be part of it"),
            ConfigError::Byte { field, byte } => {
                write!(f, "{field}: the byte '{}' cannot be part of it", byte.escape_ascii())
            }
            ConfigError::EmptyLabel { field } => write!(f, "{field}: there is nothing beside one of its dots"),
            ConfigError::EmptyPath { field } => write!(f, "{field}: an empty path leads nowhere"),
            ConfigError::MtuForIpv6 { given, least } => {
                write!(f, "mtu: {given} is less than the {least} that IPv6 needs")
            }
            ConfigError::NoDefault { field, number, netmask } => {
                write!(f, "{field}: it has to be given, as a network with the mask {netmask} has no number {number}")
            }
            ConfigError::Netmask { netmask } => {
                write!(f, "network: {netmask} is no mask of 1 to 31 one bits that are followed by zeros only")
            }
            ConfigError::Address { field, address } => {
                write!(f, "{field}: no machine can have the address {address}")
            }
            ConfigError::OutsideNetwork { field, address, network, netmask } => {
                write!(f, "{field}: {address} is not in the network {network} with the mask {netmask}")
            }
            ConfigError::SameAddress { first, second, address } => {
                write!(f, "{second}: {address} is the address of {first} already")
            }
            ConfigError::NoFamily => f.write_str("ipv4, ipv6: one of them has to be on"),
            ConfigError::NothingToLease { dhcp_start } => {
                write!(f, "dhcp_start: no address from {dhcp_start} on can be given to a guest")
            }
            ConfigError::Search(bad) => write!(f, "search: \"{}\" is no domain name", bad.name.escape_debug()),
            ConfigError::NameServer { server } => {
                write!(f, "name_server_source: nothing can be sent to {server}")
            }
            ConfigError::TooManyNameServers { given, most } => {
                write!(f, "name_server_source: {given} servers of one family are too many, at most {most} are kept")
            }
        }
    }
}

impl Error for ConfigError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            ConfigError::Search(bad) => Some(bad),
            _ => None,
        }
    }
}
