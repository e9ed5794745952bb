//! What the parts of a stack are told of its configuration.

use std::sync::Arc;

use crate::config::{Config, TftpFiles};
use crate::flow::{Effect, FlowKey};
use crate::host::tftp_files::Directory;
use crate::link::addresses::mac_of_ipv6;
use crate::link::ndp::encode_search_list;
use crate::service::dhcp::{self, Dhcp};
use crate::service::dhcpv6;
use crate::service::dns::search_list;
use crate::service::tftp::{Tftp, TftpSource};
use crate::time::Duration;
use crate::wire::header::{IPV4_LEN, TCP_LEN};

impl Config {
    /// How the TCP towards the guest behaves. The windows are bounded by segments as well as by bytes: a guest behind a
    /// tap device has a queue of 1,000 packets, which a larger window would overrun. They grow only where the round trip is
    /// long.
    pub(super) fn tcp(&self) -> crate::tcp::Config {
        const LEAST: usize = 256 * 1024;
        const MOST: usize = 2 * 1024 * 1024;
        const SEGMENTS: usize = 512;
        // Four of the largest segments, or what an unscaled window can say: until a guest needs more, a host that does not
        // read leaves no more than this in memory.
        const FIRST: usize = 64 * 1024;
        const FIRST_SEGMENTS: usize = 4;
        // The most that a shift count of 9 can offer: 2.6 Gbit/s at a round trip of 100 ms.
        const GROWN: usize = 65_535 << 9;
        // Where the longest header is left no room there are no options behind the handshake; IPv6 is 20 bytes longer.
        const ROOM_FOR_OPTIONS: usize = 128;
        let least = self.mtu.min(self.mru);
        let options = least >= ROOM_FOR_OPTIONS;
        let mss = least.saturating_sub(IPV4_LEN + TCP_LEN).clamp(1, 65495);
        let limit = (mss * SEGMENTS).clamp(LEAST, MOST);
        crate::tcp::Config {
            mss: mss as u16,
            recv_limit: limit,
            recv_first: (mss * FIRST_SEGMENTS).max(FIRST),
            send_limit: limit,
            recv_max: GROWN,
            send_max: GROWN,
            keep_alive: self.tcp_keep_alive.map(Duration::from),
            congestion: self.tcp_congestion,
            ecn: self.tcp_ecn,
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
            vhost6: self.v6.host,
            mac: mac_of_ipv6(self.v6.host).0,
            name_server: self.reach.dns.then_some(self.v6.name_server),
            search: encode_search_list(&self.search),
            bootfile: self.boot_file.clone(),
        }
    }

    /// The TFTP server, which refuses every request when it has no files. A directory that is none may become one, so that is
    /// told as a warning.
    pub(super) fn tftp(&self, effects: &mut Vec<Effect>) -> Tftp<FlowKey> {
        let files: Option<Arc<dyn TftpSource>> = match &self.tftp {
            TftpFiles::None => None,
            TftpFiles::Directory(path) => Directory::new(path).map(|directory| {
                if let Some(error) = directory.fault() {
                    let text = "cannot be read as a directory, and until it can, every request is refused";
                    effects.push(Effect::Warning(format!("tftp: {} {text}: {error}", path.display())));
                }
                Arc::new(directory) as _
            }),
            TftpFiles::Custom(files) => Some(files.clone()),
        };
        Tftp::new(files, self.mtu)
    }

    /// The DHCP server, unless it is disabled. What has to be left out of its answers is told as a warning.
    pub(super) fn dhcp(&self, effects: &mut Vec<Effect>) -> Option<Dhcp> {
        if !self.dhcp || !self.reach.ipv4 {
            return None;
        }
        let search = search_list::encode(&self.search).unwrap_or_else(|bad| {
            effects.push(Effect::Warning(bad.to_string()));
            Vec::new()
        });
        // Only a numeric name: looking one up would block the whole guest.
        let tftp_server_addr =
            self.tftp_server_name.as_deref().and_then(|name| std::str::from_utf8(name).ok()?.parse().ok());
        let dhcp = Dhcp::new(dhcp::Config {
            vhost: self.v4.host,
            vnetmask: self.v4.netmask,
            vdhcp_start: self.dhcp_start,
            vnameserver: self.v4.name_server,
            restricted: self.reach.restricted,
            hostname: self.host_name.clone(),
            domain: self.domain.clone(),
            tftp_server_name: self.tftp_server_name.clone(),
            tftp_server_addr,
            bootfile: self.boot_file.clone(),
            mtu: u16::try_from(self.mtu).unwrap_or(u16::MAX),
            search,
        });
        effects.extend(dhcp.warnings().iter().cloned().map(Effect::Warning));
        Some(dhcp)
    }
}
