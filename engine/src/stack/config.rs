//! What a stack is made from.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddrV4, SocketAddrV6};

use crate::flow::policy::Policy;
use crate::flow::{Effect, FlowKey};
use crate::host::tftp_files::Directory;
use crate::link::addresses::mac_of_ipv6;
use crate::link::ndp::encode_search_list;
use crate::service::dhcp;
use crate::service::dhcpv6;
use crate::service::dns::search_list;
use crate::service::ncsi;
use crate::service::tftp::Tftp;

/// The configuration of a stack. The fields are those of `SlirpConfig` (docs/contract/api.md section 3); the default is
/// the network QEMU makes: 10.0.2.0/24 with the host at 10.0.2.2, the name server at 10.0.2.3 and leases from 10.0.2.15
/// on.
#[derive(Clone, Debug)]
pub struct Config {
    /// The guest reaches nothing but the virtual services and the forwards.
    pub restricted: bool,
    /// The guest has IPv4.
    pub ipv4_enabled: bool,
    /// The guest has IPv6.
    pub ipv6_enabled: bool,
    /// Address of the virtual IPv4 network.
    pub network: Ipv4Addr,
    /// Mask of the virtual IPv4 network.
    pub netmask: Ipv4Addr,
    /// IPv4 address by which the guest reaches the host; also its router and its DHCP server.
    pub vhost: Ipv4Addr,
    /// IPv4 address of the virtual name server.
    pub vnameserver: Ipv4Addr,
    /// The first of the 16 IPv4 addresses that DHCP gives out.
    pub dhcp_start: Ipv4Addr,
    /// Prefix of the virtual IPv6 network.
    pub prefix6: Ipv6Addr,
    /// Length of that prefix in bits.
    pub prefix6_len: u8,
    /// IPv6 address by which the guest reaches the host.
    pub vhost6: Ipv6Addr,
    /// IPv6 address of the virtual name server.
    pub vnameserver6: Ipv6Addr,
    /// Host name that DHCP gives to the guest; 32 bytes of it are used.
    pub hostname: Option<Vec<u8>>,
    /// Domain name that DHCP gives to the guest.
    pub domain: Option<Vec<u8>>,
    /// Name or address of the TFTP server that DHCP announces.
    pub tftp_server_name: Option<Vec<u8>>,
    /// Directory that the TFTP server offers for reading.
    pub tftp_path: Option<Vec<u8>>,
    /// Name of the boot file that DHCP and DHCPv6 announce.
    pub bootfile: Option<Vec<u8>>,
    /// Domains in which the guest is told to search names.
    pub search: Vec<Vec<u8>>,
    /// The largest IP packet the guest takes, in bytes.
    pub mtu: usize,
    /// The largest IP packet the guest is asked to send, in bytes. It only influences the MSS.
    pub mru: usize,
    /// The guest cannot reach the loopback addresses of the host through `vhost` and `vhost6`.
    pub disable_host_loopback: bool,
    /// The virtual name servers do not answer.
    pub disable_dns: bool,
    /// DHCP and BOOTP (IPv4) do not answer.
    pub disable_dhcp: bool,
    /// Address from which IPv4 connections leave the host; `None` leaves the choice to the system.
    pub outbound4: Option<SocketAddrV4>,
    /// The same for IPv6.
    pub outbound6: Option<SocketAddrV6>,
    /// What the NC-SI controller says of itself.
    pub ncsi: ncsi::Config,
    /// Have the application watch each socket itself, in place of the one descriptor of the nested poller.
    pub direct_poll: bool,
    /// Frames are taken out with [`Stack::hand_over`](super::Stack::hand_over), which gives no more than an application that
    /// sleeps while it passes frames on can take; otherwise with [`Stack::outbox`](super::Stack::outbox), all at once.
    pub handover: bool,
    /// How long an established TCP connection may be silent before the guest is asked whether it is alive (RFC 9293 section
    /// 3.8.4). `None`, which is also what the C API has: four hours, and five days until it is taken for gone.
    pub tcp_keep_alive: Option<crate::time::Duration>,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            restricted: false,
            ipv4_enabled: true,
            ipv6_enabled: false,
            network: Ipv4Addr::new(10, 0, 2, 0),
            netmask: Ipv4Addr::new(255, 255, 255, 0),
            vhost: Ipv4Addr::new(10, 0, 2, 2),
            vnameserver: Ipv4Addr::new(10, 0, 2, 3),
            dhcp_start: Ipv4Addr::new(10, 0, 2, 15),
            prefix6: Ipv6Addr::new(0xfec0, 0, 0, 0, 0, 0, 0, 0),
            prefix6_len: 64,
            vhost6: Ipv6Addr::new(0xfec0, 0, 0, 0, 0, 0, 0, 2),
            vnameserver6: Ipv6Addr::new(0xfec0, 0, 0, 0, 0, 0, 0, 3),
            hostname: None,
            domain: None,
            tftp_server_name: None,
            tftp_path: None,
            bootfile: None,
            search: Vec::new(),
            mtu: 1500,
            mru: 1500,
            disable_host_loopback: false,
            disable_dns: false,
            disable_dhcp: false,
            outbound4: None,
            outbound6: None,
            ncsi: ncsi::Config::default(),
            direct_poll: false,
            handover: false,
            tcp_keep_alive: None,
        }
    }
}

impl Config {
    pub(super) fn policy(&self) -> Policy {
        Policy {
            ipv4_enabled: self.ipv4_enabled,
            ipv6_enabled: self.ipv6_enabled,
            network: self.network,
            netmask: self.netmask,
            vhost: self.vhost,
            vnameserver: self.vnameserver,
            prefix6: self.prefix6,
            prefix6_len: self.prefix6_len,
            vhost6: self.vhost6,
            vnameserver6: self.vnameserver6,
            restricted: self.restricted,
            disable_host_loopback: self.disable_host_loopback,
            disable_dns: self.disable_dns,
            outbound4: self.outbound4,
            outbound6: self.outbound6,
        }
    }

    /// How the TCP towards the guest behaves. The windows are bounded by segments as well as by bytes: a guest behind a
    /// tap device has a queue of 1,000 packets, which a larger window would overrun. They grow only where the round trip is
    /// long.
    pub(super) fn tcp(&self) -> crate::tcp::Config {
        const HEADERS: usize = 40;
        const LEAST: usize = 256 * 1024;
        const MOST: usize = 2 * 1024 * 1024;
        const SEGMENTS: usize = 512;
        // The most that a shift count of 9 can offer: 2.6 Gbit/s at a round trip of 100 ms.
        const GROWN: usize = 65_535 << 9;
        // Where the longest header is left no room there are no options behind the handshake; IPv6 is 20 bytes longer.
        const ROOM_FOR_OPTIONS: usize = 128;
        let least = self.mtu.min(self.mru);
        let options = least >= ROOM_FOR_OPTIONS;
        let mss = least.saturating_sub(HEADERS).clamp(1, 65495);
        let limit = (mss * SEGMENTS).clamp(LEAST, MOST);
        crate::tcp::Config {
            mss: mss as u16,
            recv_limit: limit,
            send_limit: limit,
            recv_max: GROWN,
            send_max: GROWN,
            keep_alive: self.tcp_keep_alive,
            watch: true,
            window_scale: true,
            sack: options,
            timestamps: options,
            ..crate::tcp::Config::default()
        }
    }

    /// The stateless DHCPv6 server. As upstream's, it is there even where DHCP is disabled.
    pub(super) fn dhcpv6(&self) -> dhcpv6::Config {
        dhcpv6::Config {
            vhost6: self.vhost6,
            mac: mac_of_ipv6(self.vhost6).0,
            name_server: (!self.disable_dns).then_some(self.vnameserver6),
            search: encode_search_list(&self.search),
            bootfile: self.bootfile.clone(),
        }
    }

    /// The TFTP server, which refuses every request when it has no directory.
    pub(super) fn tftp(&self) -> Tftp<Directory, FlowKey> {
        Tftp::new(self.tftp_path.as_deref().and_then(Directory::new), self.mtu)
    }

    /// The DHCP server, unless it is disabled. What has to be left out of its answers is told as a warning.
    pub(super) fn dhcp(&self, effects: &mut Vec<Effect>) -> Option<dhcp::Dhcp> {
        if self.disable_dhcp || !self.ipv4_enabled {
            return None;
        }
        let search = search_list::encode(&self.search).unwrap_or_else(|bad| {
            effects.push(Effect::Warning(bad.to_string()));
            Vec::new()
        });
        // Only a numeric name: looking one up would block the whole guest.
        let tftp_server_addr =
            self.tftp_server_name.as_deref().and_then(|name| std::str::from_utf8(name).ok()?.parse().ok());
        Some(dhcp::Dhcp::new(dhcp::Config {
            vhost: self.vhost,
            vnetmask: self.netmask,
            vdhcp_start: self.dhcp_start,
            vnameserver: self.vnameserver,
            restricted: self.restricted,
            hostname: self.hostname.clone(),
            domain: self.domain.clone(),
            tftp_server_name: self.tftp_server_name.clone(),
            tftp_server_addr,
            bootfile: self.bootfile.clone(),
            mtu: u16::try_from(self.mtu).unwrap_or(u16::MAX),
            search,
        }))
    }
}
