//! Collects what a configuration is to hold.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddrV4, SocketAddrV6};
use std::time::Duration;

use super::{Config, ConfigError, ConfigField, NameServerSource, Network4, TftpFiles};
use crate::service::ncsi::NcsiConfig;
use crate::tcp::{Congestion, Ecn};

/// Makes a [`Config`] from what its methods are given. The order in which they are called means nothing, but that the last
/// call of a method counts.
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct ConfigBuilder {
    config: Config,
    /// The addresses that were given; the others follow from their network.
    given: Addresses,
}

#[derive(Clone, Copy, Debug, Default)]
struct Addresses {
    host: Option<Ipv4Addr>,
    name_server: Option<Ipv4Addr>,
    dhcp_start: Option<Ipv4Addr>,
    host6: Option<Ipv6Addr>,
    name_server6: Option<Ipv6Addr>,
}

/// Host parts of the addresses that were not given, as QEMU has them.
const HOST: u8 = 2;
const NAME_SERVER: u8 = 3;
const DHCP_START: u8 = 15;
/// The first lease of a network that has no number 15 to lease. Number 4 is where guest forwards are by default.
const DHCP_START_SMALL: u8 = 5;

fn number_of_first_lease(netmask: Ipv4Addr) -> u8 {
    if (!netmask).to_bits() > DHCP_START.into() { DHCP_START } else { DHCP_START_SMALL }
}

impl ConfigBuilder {
    /// Makes the configuration.
    ///
    /// Names that have room one by one, but not all of them in one answer of DHCP, are no error: the stack begins with an
    /// [`Effect::Warning`](crate::Effect::Warning) that says what is left out.
    ///
    /// # Errors
    /// Something in it cannot work, see [`ConfigError`].
    pub fn build(self) -> Result<Config, ConfigError> {
        let defaults = self.defaults();
        let mut config = self.resolve();
        config.check_limits()?;
        config.check_sense(&defaults)?;
        config.v4.network &= config.v4.netmask;
        Ok(config)
    }

    /// Makes the configuration of what libslirp takes as well: refused is only what a stack cannot be run with (MTU, MRU, the
    /// length of the boot file's name, the interval of the keep-alive). Addresses that no guest could use, names that are left
    /// out of DHCP's answers or cut, or a guest without any network are the caller's own affair.
    ///
    /// For programs that pass on what was configured for libslirp; all others want [`ConfigBuilder::build`].
    ///
    /// # Errors
    /// [`ConfigError::OutOfRange`] and [`ConfigError::TooLong`].
    pub fn build_lenient(self) -> Result<Config, ConfigError> {
        let config = self.resolve();
        config.check_limits()?;
        Ok(config)
    }

    /// The addresses that were not given.
    fn resolve(self) -> Config {
        let ConfigBuilder { mut config, given } = self;
        let (v4, v6) = (&mut config.v4, &mut config.v6);
        let base = Network4 { network: v4.network & v4.netmask, ..*v4 };
        let dhcp_start = number_of_first_lease(v4.netmask);
        v4.host = given.host.unwrap_or(base.address(HOST.into()));
        v4.name_server = given.name_server.unwrap_or(base.address(NAME_SERVER.into()));
        config.dhcp_start = given.dhcp_start.unwrap_or(base.address(dhcp_start.into()));
        v6.host = given.host6.unwrap_or(v6.address(HOST.into()));
        v6.name_server = given.name_server6.unwrap_or(v6.address(NAME_SERVER.into()));
        config
    }

    /// The numbers in the IPv4 network of those addresses that were not given.
    fn defaults(&self) -> Vec<(ConfigField, u8)> {
        let given = &self.given;
        let lease = number_of_first_lease(self.config.v4.netmask);
        let all = [
            (ConfigField::Host, HOST, given.host),
            (ConfigField::NameServer, NAME_SERVER, given.name_server),
            (ConfigField::DhcpStart, lease, given.dhcp_start),
        ];
        all.into_iter().filter(|(.., given)| given.is_none()).map(|(field, number, _)| (field, number)).collect()
    }

    /// Whether the guest has IPv4. It has by default.
    pub fn ipv4(mut self, on: bool) -> Self {
        self.config.reach.ipv4 = on;
        self
    }

    /// Whether the guest has IPv6. It has not by default.
    pub fn ipv6(mut self, on: bool) -> Self {
        self.config.reach.ipv6 = on;
        self
    }

    /// The virtual IPv4 network and its mask, 10.0.2.0 and 255.255.255.0 by default.
    ///
    /// Host, name server and the first lease, where they are not given, are the addresses number 2, 3 and 15 in it (5 where there is no
    /// number 15). Where there is no such number they have to be given.
    pub fn network(mut self, network: Ipv4Addr, netmask: Ipv4Addr) -> Self {
        (self.config.v4.network, self.config.v4.netmask) = (network, netmask);
        self
    }

    /// The IPv4 address by which the guest reaches the host. It is also the guest's router, its DHCP server and its TFTP server.
    pub fn host(mut self, address: Ipv4Addr) -> Self {
        self.given.host = Some(address);
        self
    }

    /// The IPv4 address of the virtual name server. Which servers answer in its place: [`ConfigBuilder::name_server_source`].
    pub fn name_server(mut self, address: Ipv4Addr) -> Self {
        self.given.name_server = Some(address);
        self
    }

    /// The first of the 16 IPv4 addresses that DHCP gives out.
    pub fn dhcp_start(mut self, address: Ipv4Addr) -> Self {
        self.given.dhcp_start = Some(address);
        self
    }

    /// The prefix of the virtual IPv6 network and its length in bits, `fec0::` and 64 by default. Guests make addresses of
    /// their own only under a prefix of 64 bits (RFC 4862 section 5.5.3).
    ///
    /// Host and name server, where they are not given, are the addresses number 2 and 3 under it.
    pub fn network6(mut self, prefix: Ipv6Addr, prefix_len: u8) -> Self {
        (self.config.v6.prefix, self.config.v6.prefix_len) = (prefix, prefix_len);
        self
    }

    /// The IPv6 address by which the guest reaches the host.
    pub fn host6(mut self, address: Ipv6Addr) -> Self {
        self.given.host6 = Some(address);
        self
    }

    /// The IPv6 address of the virtual name server.
    pub fn name_server6(mut self, address: Ipv6Addr) -> Self {
        self.given.name_server6 = Some(address);
        self
    }

    /// Whether the guest reaches nothing but the virtual services and the forwards. Off by default.
    pub fn restricted(mut self, on: bool) -> Self {
        self.config.reach.restricted = on;
        self
    }

    /// Whether the guest reaches the loopback addresses of the host, through the host's virtual addresses or in any other
    /// way. On by default.
    pub fn host_loopback(mut self, on: bool) -> Self {
        self.config.reach.host_loopback = on;
        self
    }

    /// Which hosts the guest may reach, and who may reach the guest. All by default.
    #[cfg(feature = "policy")]
    pub fn policy(mut self, policy: crate::policy::Policy) -> Self {
        self.config.policy = Some(policy.into());
        self
    }

    /// How much may pass. As much as the host carries, by default.
    #[cfg(feature = "policy")]
    pub fn limits(mut self, limits: crate::limits::Limits) -> Self {
        self.config.limits = limits;
        self
    }

    /// Names that the virtual name server answers itself, and domains that have servers of their own. None by default. They are
    /// served where the network has a name server.
    #[cfg(feature = "policy")]
    pub fn own_names(mut self, names: crate::OwnNames) -> Self {
        self.config.own_names = names;
        self
    }

    /// Whether the virtual name servers answer. On by default.
    pub fn dns(mut self, on: bool) -> Self {
        self.config.reach.dns = on;
        self
    }

    /// Whether DHCP and BOOTP answer, over IPv4. On by default. (DHCPv6, which gives out no addresses, always answers.)
    pub fn dhcp(mut self, on: bool) -> Self {
        self.config.dhcp = on;
        self
    }

    /// The address, and the port unless it is 0, from which IPv4 connections and datagrams leave the host. The system chooses by
    /// default.
    ///
    /// One port is enough for one connection and for the datagrams of one port of the guest at a time: the others fail. They do as
    /// well while the host does not have the address. An [`Effect::Warning`](crate::Effect::Warning) tells of that.
    pub fn outbound(mut self, address: impl Into<Option<SocketAddrV4>>) -> Self {
        self.config.reach.outbound4 = address.into();
        self
    }

    /// The same for IPv6.
    pub fn outbound6(mut self, address: impl Into<Option<SocketAddrV6>>) -> Self {
        self.config.reach.outbound6 = address.into();
        self
    }

    /// The host name that DHCP gives to the guest, of letters, digits, `-`, `_` and dots; 32 bytes of it have room. None by default.
    pub fn host_name(mut self, name: impl Into<Vec<u8>>) -> Self {
        self.config.host_name = Some(name.into());
        self
    }

    /// The domain that DHCP tells the guest it is in; 255 bytes of it have room. None by default.
    pub fn domain(mut self, name: impl Into<Vec<u8>>) -> Self {
        self.config.domain = Some(name.into());
        self
    }

    /// The domains in which the guest is told to search for names, by DHCP, DHCPv6 and router advertisements: names of letters,
    /// digits, `-`, `_` and dots. None by default.
    pub fn search(mut self, domains: impl IntoIterator<Item = impl Into<Vec<u8>>>) -> Self {
        self.config.search = domains.into_iter().map(Into::into).collect();
        self
    }

    /// The name of the boot file that DHCP and DHCPv6 announce; at most 127 bytes, the room of a BOOTP answer. None by default.
    pub fn boot_file(mut self, name: impl Into<Vec<u8>>) -> Self {
        self.config.boot_file = Some(name.into());
        self
    }

    /// The name of the TFTP server that DHCP announces; 255 bytes of it have room. An IPv4 address in digits is announced
    /// as the address of the boot server too. None by default: the virtual host is the boot server.
    pub fn tftp_server_name(mut self, name: impl Into<Vec<u8>>) -> Self {
        self.config.tftp_server_name = Some(name.into());
        self
    }

    /// The files that the guest can read with TFTP. None by default. When a directory is not there yet, or is none, the stack
    /// begins with an [`Effect::Warning`](crate::Effect::Warning).
    pub fn tftp(mut self, files: TftpFiles) -> Self {
        self.config.tftp = files;
        self
    }

    /// Where the name servers are known from that answer in the place of the virtual one. `/etc/resolv.conf` by default.
    pub fn name_server_source(mut self, source: NameServerSource) -> Self {
        self.config.name_servers = source;
        self
    }

    /// The largest IP packet that the guest takes, in bytes: 1500 by default, allowed is [`Config::MTU_RANGE`]. With IPv6 it is
    /// 1280 at least (RFC 8200 section 5).
    pub fn mtu(mut self, bytes: usize) -> Self {
        self.config.mtu = bytes;
        self
    }

    /// The largest IP packet that the guest is asked to send, in bytes: 1500 by default, allowed is [`Config::MTU_RANGE`]. It
    /// influences the maximum segment size of TCP and nothing else; longer packets are taken.
    pub fn mru(mut self, bytes: usize) -> Self {
        self.config.mru = bytes;
        self
    }

    /// How long an established TCP connection may be silent before the guest is asked whether it is alive (RFC 9293 section
    /// 3.8.4); at least one second. A guest that does not answer nine questions is taken for gone.
    ///
    /// By default it is asked after four hours and taken for gone after five days.
    pub fn tcp_keep_alive(mut self, silence: impl Into<Option<Duration>>) -> Self {
        self.config.tcp_keep_alive = silence.into();
        self
    }

    /// How much TCP has in flight towards the guest, and how fast it sends it.
    pub fn tcp_congestion(mut self, congestion: Congestion) -> Self {
        self.config.tcp_congestion = congestion;
        self
    }

    /// Whether TCP connections with the guest use explicit congestion notification. Where the guest asks for it, by default.
    pub fn tcp_ecn(mut self, ecn: Ecn) -> Self {
        self.config.tcp_ecn = ecn;
        self
    }

    /// How much memory the buffers of all TCP connections have together, in bytes: 512 MiB by default, 1 MiB at least. As it is used
    /// up, each connection gets less. Beyond it only the smallest buffers are given out, of 16 KiB, and at most as much again of them. When
    /// these have run out, too, for half a minute, connections that have not moved for that long are reset, those first that hold most.
    pub fn buffer_memory(mut self, bytes: usize) -> Self {
        self.config.buffer_memory = bytes;
        self
    }

    /// What the NC-SI controller says of itself.
    pub fn ncsi(mut self, ncsi: NcsiConfig) -> Self {
        self.config.ncsi = ncsi;
        self
    }

    /// Have the caller watch each host socket itself, in place of the one descriptor that stands for all of them. Off by default.
    pub fn direct_poll(mut self, on: bool) -> Self {
        self.config.direct_poll = on;
        self
    }

    /// Give out no more frames than a caller can take that sleeps while it passes them on: one that writes them to a queue
    /// that may be full, and does not read what its other end writes meanwhile. Off by default: all frames are given out at
    /// once.
    pub fn handover(mut self, on: bool) -> Self {
        self.config.handover = on;
        self
    }
}
