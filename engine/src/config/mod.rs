//! What a stack is made from: values that were looked at before anything is made of them. Nothing here touches the system,
//! and no number of a protocol has its home here.
//!
//! `builder` collects the values, `check` judges them, `error` says what is wrong, `network` is what the address policy is
//! made of too, `name_servers` and `tftp_files` say where names and files come from. What each part of a stack is told of all
//! this is in `stack/parts.rs`.
#![forbid(unsafe_code)]

mod builder;
mod check;
mod error;
mod name_servers;
mod network;
mod tftp_files;

#[cfg(test)]
mod tests;

use std::net::Ipv4Addr;
use std::ops::RangeInclusive;
use std::time::Duration;

pub use builder::ConfigBuilder;
pub use error::{ConfigError, ConfigField};
pub use name_servers::{NameServerList, NameServerSource};
pub(crate) use network::Reach;
pub use network::{Network4, Network6};
pub use tftp_files::TftpFiles;

use crate::service::ncsi::NcsiConfig;
use crate::tcp::{Congestion, Ecn, Pool};
use crate::wire::header::{ETHERNET_LEN, ETHERNET_MTU};

/// The configuration of a [`Stack`](crate::Stack): checked, and not changed any more.
///
/// The default is the network that QEMU makes: 10.0.2.0/24 with the host at 10.0.2.2, the name server at 10.0.2.3 and leases
/// from 10.0.2.15 on, without IPv6. [`ConfigBuilder`] says what else there is.
///
/// ```
/// use oxislirp::{Config, ConfigError, NameServerSource, Stack};
///
/// let config = Config::builder()
///     .network("192.168.100.0".parse()?, "255.255.255.0".parse()?)
///     .ipv6(true)
///     .mtu(9000)
///     .host_name("guest")
///     .name_server_source(NameServerSource::Fixed(vec!["9.9.9.9:53".parse()?]))
///     .build()?;
/// assert_eq!(config.network4().host.to_string(), "192.168.100.2");
/// let stack = Stack::new(config)?;
///
/// let refused = Config::builder().mtu(20).build().unwrap_err();
/// assert_eq!(refused.to_string(), "mtu: 20 is not one of 68 to 65521");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Config {
    pub(crate) v4: Network4,
    pub(crate) v6: Network6,
    pub(crate) reach: Reach,
    pub(crate) dhcp: bool,
    pub(crate) dhcp_start: Ipv4Addr,
    pub(crate) host_name: Option<Vec<u8>>,
    pub(crate) domain: Option<Vec<u8>>,
    pub(crate) search: Vec<Vec<u8>>,
    pub(crate) boot_file: Option<Vec<u8>>,
    pub(crate) tftp_server_name: Option<Vec<u8>>,
    pub(crate) tftp: TftpFiles,
    pub(crate) name_servers: NameServerSource,
    pub(crate) mtu: usize,
    pub(crate) mru: usize,
    pub(crate) tcp_keep_alive: Option<Duration>,
    pub(crate) tcp_congestion: Congestion,
    pub(crate) tcp_ecn: Ecn,
    pub(crate) buffer_memory: usize,
    pub(crate) ncsi: NcsiConfig,
    pub(crate) direct_poll: bool,
    pub(crate) handover: bool,
    #[cfg(feature = "policy")]
    pub(crate) policy: Option<std::sync::Arc<crate::policy::Policy>>,
    #[cfg(feature = "policy")]
    pub(crate) limits: crate::limits::Limits,
    #[cfg(feature = "policy")]
    pub(crate) own_names: crate::service::dns::own::OwnNames,
}

impl Config {
    /// What MTU and MRU may be, in bytes of an IP packet. RFC 791 has every link carry 68; with an Ethernet header before it,
    /// a longer packet than 65,521 bytes would be a frame of more than 64 KiB.
    pub const MTU_RANGE: RangeInclusive<usize> = 68..=u16::MAX as usize - ETHERNET_LEN;

    /// Begins a configuration with the default values.
    pub fn builder() -> ConfigBuilder {
        ConfigBuilder::default()
    }

    /// The virtual IPv4 network. It has addresses even where the guest has no IPv4.
    #[must_use]
    pub fn network4(&self) -> &Network4 {
        &self.v4
    }

    /// The virtual IPv6 network. It has addresses even where the guest has no IPv6.
    #[must_use]
    pub fn network6(&self) -> &Network6 {
        &self.v6
    }

    /// Whether the guest has IPv4.
    #[must_use]
    pub fn has_ipv4(&self) -> bool {
        self.reach.ipv4
    }

    /// Whether the guest has IPv6. Its routers are then to be advertised from time to time.
    #[must_use]
    pub fn has_ipv6(&self) -> bool {
        self.reach.ipv6
    }

    /// The largest IP packet that the guest takes, in bytes. Frames have 14 bytes more.
    #[must_use]
    pub fn mtu(&self) -> usize {
        self.mtu
    }

    /// The first address that DHCP gives out.
    #[must_use]
    pub fn dhcp_start(&self) -> Ipv4Addr {
        self.dhcp_start
    }
}

impl Default for Config {
    fn default() -> Config {
        Config {
            v4: Network4::default(),
            v6: Network6::default(),
            reach: Reach::default(),
            dhcp: true,
            dhcp_start: Ipv4Addr::new(10, 0, 2, 15),
            host_name: None,
            domain: None,
            search: Vec::new(),
            boot_file: None,
            tftp_server_name: None,
            tftp: TftpFiles::default(),
            name_servers: NameServerSource::default(),
            mtu: ETHERNET_MTU,
            mru: ETHERNET_MTU,
            tcp_keep_alive: None,
            tcp_congestion: Congestion::default(),
            tcp_ecn: Ecn::default(),
            buffer_memory: Pool::DEFAULT_BUDGET,
            ncsi: NcsiConfig::default(),
            direct_poll: false,
            handover: false,
            #[cfg(feature = "policy")]
            policy: None,
            #[cfg(feature = "policy")]
            limits: crate::limits::Limits::new(),
            #[cfg(feature = "policy")]
            own_names: Default::default(),
        }
    }
}
