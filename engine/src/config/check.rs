//! Judges a configuration.
//!
//! *Limits* are what a stack cannot run without; libslirp's callers are held to them as well (docs/contract/api.md section 2).
//! *Sense* is what no guest could work with; libslirp takes it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::ops::RangeInclusive;
use std::path::Path;
use std::time::Duration;

use super::{Config, ConfigError, ConfigField, NameServerSource, TftpFiles};
use crate::service::dhcp::{self, BOOT_FILE_MAX, HOST_NAME_MAX, OPTION_MAX};
use crate::service::dns::resolv_conf::{SERVERS_MAX, can_be_asked};
use crate::service::dns::search_list;
use crate::wire::header::IPV6_LEAST_MTU;

/// The silence that a connection may be allowed. Nobody waits for more than a century.
const KEEP_ALIVE_RANGE: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(3_000_000_000);
/// The memory of all TCP buffers. Twice as much fits a number of 64 bits.
const BUFFER_MEMORY_RANGE: RangeInclusive<u64> = 1 << 20..=1 << 62;
/// The lengths of an IPv6 prefix that leave room for a host, a name server and a guest, in bits.
const PREFIX_LEN_RANGE: RangeInclusive<u64> = 1..=126;

impl Config {
    pub(super) fn check_limits(&self) -> Result<(), ConfigError> {
        let (least, most) = (*Config::MTU_RANGE.start() as u64, *Config::MTU_RANGE.end() as u64);
        in_range(ConfigField::Mtu, self.mtu as u64, least..=most)?;
        in_range(ConfigField::Mru, self.mru as u64, least..=most)?;
        in_range(ConfigField::BufferMemory, self.buffer_memory as u64, BUFFER_MEMORY_RANGE)?;
        if let Some(given) = self.tcp_keep_alive.filter(|silence| !KEEP_ALIVE_RANGE.contains(silence)) {
            let (field, (least, most)) = (ConfigField::TcpKeepAlive, KEEP_ALIVE_RANGE.into_inner());
            return Err(ConfigError::DurationOutOfRange { field, given, least, most });
        }
        has_room(ConfigField::BootFile, self.boot_file.as_deref(), BOOT_FILE_MAX)
    }

    /// `defaults` are the addresses that were not given, by their numbers in the IPv4 network.
    pub(super) fn check_sense(&self, defaults: &[(ConfigField, u8)]) -> Result<(), ConfigError> {
        if !self.reach.ipv4 && !self.reach.ipv6 {
            return Err(ConfigError::NoFamily);
        }
        if self.reach.ipv4 {
            self.check_ipv4(defaults)?;
        }
        if self.reach.ipv6 {
            self.check_ipv6()?;
        }
        if let Some(outbound) = self.reach.outbound4
            && !can_be_outbound(*outbound.ip())
        {
            return Err(ConfigError::Address { field: ConfigField::Outbound, address: (*outbound.ip()).into() });
        }
        if let Some(outbound) = self.reach.outbound6
            && !can_be_outbound6(outbound)
        {
            return Err(ConfigError::Address { field: ConfigField::Outbound6, address: (*outbound.ip()).into() });
        }
        self.check_texts()?;
        self.check_sources()
    }

    fn check_ipv4(&self, defaults: &[(ConfigField, u8)]) -> Result<(), ConfigError> {
        let v4 = &self.v4;
        let netmask = v4.netmask.to_bits();
        if netmask.leading_ones() + netmask.trailing_zeros() != u32::BITS || !(1..=31).contains(&netmask.leading_ones())
        {
            return Err(ConfigError::Netmask { netmask: v4.netmask });
        }
        let network = v4.network & v4.netmask;
        if is_nobodys(network) {
            return Err(ConfigError::Address { field: ConfigField::Network, address: network.into() });
        }
        for &(field, number) in defaults.iter().filter(|(field, _)| self.uses(*field)) {
            // The last one is the broadcast address.
            if u32::from(number) >= !netmask {
                return Err(ConfigError::NoDefault { field, number, netmask: v4.netmask });
            }
        }
        let mut inside = vec![(ConfigField::Host, v4.host)];
        inside.extend(self.dhcp.then_some((ConfigField::DhcpStart, self.dhcp_start)));
        for (field, address) in inside {
            is_machine(field, address, v4.netmask)?;
            if !v4.contains(address) {
                let (network, netmask) = (v4.network & v4.netmask, v4.netmask);
                return Err(ConfigError::OutsideNetwork { field, address, network, netmask });
            }
        }
        let leases = || dhcp::addresses(self.dhcp_start, v4.netmask, [v4.host, v4.name_server]);
        if self.dhcp && leases().iter().all(Option::is_none) {
            return Err(ConfigError::NothingToLease { dhcp_start: self.dhcp_start });
        }
        if !self.reach.dns {
            return Ok(());
        }
        // It may be anywhere: the guest reaches it through its router.
        let netmask = if v4.contains(v4.name_server) { v4.netmask } else { Ipv4Addr::BROADCAST };
        is_machine(ConfigField::NameServer, v4.name_server, netmask)?;
        differ((ConfigField::Host, v4.host.into()), (ConfigField::NameServer, v4.name_server.into()))
    }

    /// Whether anything is done with an address of the IPv4 network.
    fn uses(&self, field: ConfigField) -> bool {
        match field {
            ConfigField::NameServer => self.reach.dns,
            ConfigField::DhcpStart => self.dhcp,
            _ => true,
        }
    }

    fn check_ipv6(&self) -> Result<(), ConfigError> {
        if self.mtu < IPV6_LEAST_MTU {
            return Err(ConfigError::MtuForIpv6 { given: self.mtu, least: IPV6_LEAST_MTU });
        }
        let v6 = &self.v6;
        in_range(ConfigField::PrefixLen, v6.prefix_len.into(), PREFIX_LEN_RANGE)?;
        is_machine6(ConfigField::Network6, v6.prefix)?;
        is_machine6(ConfigField::Host6, v6.host)?;
        if !self.reach.dns {
            return Ok(());
        }
        is_machine6(ConfigField::NameServer6, v6.name_server)?;
        differ((ConfigField::Host6, v6.host.into()), (ConfigField::NameServer6, v6.name_server.into()))
    }

    fn check_texts(&self) -> Result<(), ConfigError> {
        for (field, text, most) in [
            (ConfigField::HostName, &self.host_name, HOST_NAME_MAX),
            (ConfigField::Domain, &self.domain, OPTION_MAX),
            (ConfigField::TftpServerName, &self.tftp_server_name, OPTION_MAX),
            (ConfigField::BootFile, &self.boot_file, BOOT_FILE_MAX),
        ] {
            let text = text.as_deref();
            has_room(field, text, most)?;
            let text = text.unwrap_or_default();
            has_no_nul(field, text)?;
            let fits = |byte: u8| match field {
                ConfigField::HostName => search_list::is_usual(byte) || byte == b'.',
                ConfigField::TftpServerName => !byte.is_ascii_control() && byte != b' ',
                // Where a line ends, whatever follows would be a line of its own for many a client.
                _ => !byte.is_ascii_control(),
            };
            if let Some(&byte) = text.iter().find(|&&byte| !fits(byte)) {
                return Err(ConfigError::Byte { field, byte });
            }
        }
        // One that is empty is none.
        let name = self.host_name.as_deref().unwrap_or_default();
        if !name.is_empty() && name.strip_suffix(b".").unwrap_or(name).split(|byte| *byte == b'.').any(<[u8]>::is_empty)
        {
            return Err(ConfigError::EmptyLabel { field: ConfigField::HostName });
        }
        search_list::check_usual(&self.search).map_err(ConfigError::Search)
    }

    fn check_sources(&self) -> Result<(), ConfigError> {
        if let TftpFiles::Directory(path) = &self.tftp {
            is_path(ConfigField::Tftp, path)?;
        }
        match &self.name_servers {
            NameServerSource::ResolverFile(path) => is_path(ConfigField::NameServerSource, path),
            NameServerSource::Fixed(servers) => are_servers(servers),
            NameServerSource::Custom(_) => Ok(()),
        }
    }
}

fn in_range(field: ConfigField, given: u64, allowed: RangeInclusive<u64>) -> Result<(), ConfigError> {
    let (least, most) = allowed.into_inner();
    let inside = (least..=most).contains(&given);
    if inside { Ok(()) } else { Err(ConfigError::OutOfRange { field, given, least, most }) }
}

fn has_room(field: ConfigField, text: Option<&[u8]>, most: usize) -> Result<(), ConfigError> {
    let length = text.map_or(0, <[u8]>::len);
    if length <= most { Ok(()) } else { Err(ConfigError::TooLong { field, length, most }) }
}

fn has_no_nul(field: ConfigField, text: &[u8]) -> Result<(), ConfigError> {
    if text.contains(&0) { Err(ConfigError::NulByte { field }) } else { Ok(()) }
}

/// Whether something could be found there. What there is now is not looked at, as it may be made at any time.
fn is_path(field: ConfigField, path: &Path) -> Result<(), ConfigError> {
    if path.as_os_str().is_empty() {
        return Err(ConfigError::EmptyPath { field });
    }
    has_no_nul(field, path.as_os_str().as_encoded_bytes())
}

/// Whether connections can leave the host from there.
fn can_be_outbound(ip: Ipv4Addr) -> bool {
    let is_this_network = ip.octets()[0] == 0 && !ip.is_unspecified();
    !ip.is_multicast() && !ip.is_broadcast() && !is_this_network
}

/// The same for IPv6. What is mapped from IPv4 is no address of IPv6's sockets, and a
/// link-local address is one of a certain link.
fn can_be_outbound6(outbound: SocketAddrV6) -> bool {
    let ip = outbound.ip();
    let scoped = !ip.is_unicast_link_local() || outbound.scope_id() != 0;
    scoped && !ip.is_multicast() && ip.to_ipv4_mapped().is_none()
}

/// Whether no machine can have the address, whatever the network: what begins with 0 stands for this network, and what is
/// behind the groups is reserved, which many systems refuse to use (RFC 6890).
fn is_nobodys(address: Ipv4Addr) -> bool {
    address.octets()[0] == 0 || address.is_loopback() || address.octets()[0] >= 224
}

/// Whether a machine in a network with this mask can have the address.
fn is_machine(field: ConfigField, address: Ipv4Addr, netmask: Ipv4Addr) -> Result<(), ConfigError> {
    let host_bits = !netmask.to_bits();
    let host = address.to_bits() & host_bits;
    // A network of two addresses has no broadcast (RFC 3021).
    let reserved = host_bits > 1 && (host == 0 || host == host_bits);
    if reserved || is_nobodys(address) {
        return Err(ConfigError::Address { field, address: address.into() });
    }
    Ok(())
}

/// The same for IPv6. Link-local addresses mean the host's link where they are not the router's own, and what is mapped from
/// IPv4 goes nowhere.
fn is_machine6(field: ConfigField, address: Ipv6Addr) -> Result<(), ConfigError> {
    let nobody = address.is_unspecified() || address.is_loopback() || address.is_multicast();
    if nobody || address.is_unicast_link_local() || address.to_ipv4_mapped().is_some() {
        return Err(ConfigError::Address { field, address: address.into() });
    }
    Ok(())
}

fn differ((first, address): (ConfigField, IpAddr), (second, other): (ConfigField, IpAddr)) -> Result<(), ConfigError> {
    if address == other { Err(ConfigError::SameAddress { first, second, address }) } else { Ok(()) }
}

fn are_servers(servers: &[SocketAddr]) -> Result<(), ConfigError> {
    for v6 in [false, true] {
        let given = servers.iter().filter(|server| server.is_ipv6() == v6).count();
        if given > SERVERS_MAX {
            return Err(ConfigError::TooManyNameServers { given, most: SERVERS_MAX });
        }
    }
    match servers.iter().find(|server| !can_be_asked(server)) {
        Some(server) => Err(ConfigError::NameServer { server: *server }),
        None => Ok(()),
    }
}
