//! The host's name servers: the resolver file as it stands now, and the choice among the servers it names.

use std::net::SocketAddr;

use super::key::Endpoint;
use crate::host::resolver_file::{ResolverFile, interface_index};
use crate::service::dns::relay::DnsRelay;
use crate::service::dns::resolv_conf::Servers;
use crate::time::Instant;

/// Where the host's servers are written down.
const PATH: &str = "/etc/resolv.conf";

/// The host's name servers.
#[derive(Debug)]
pub struct NameServers {
    file: ResolverFile,
    servers: Servers,
    relay4: DnsRelay,
    relay6: DnsRelay,
}

impl Default for NameServers {
    fn default() -> NameServers {
        let file = ResolverFile::new(PATH);
        NameServers { servers: servers_in(&file), file, relay4: DnsRelay::new(), relay6: DnsRelay::new() }
    }
}

fn servers_in(file: &ResolverFile) -> Servers {
    match file.content() {
        Some(text) => Servers::parse(text, interface_index),
        None => Servers::default(),
    }
}

impl NameServers {
    fn refresh(&mut self, now: Instant) {
        if self.file.refresh(now) {
            self.servers = servers_in(&self.file);
        }
    }

    /// The server for a query the guest sent as a datagram over IPv6 or IPv4. When the host has none of that family,
    /// one of the other answers; `None` when it has none at all.
    pub fn for_query(&mut self, query: &[u8], client: Endpoint, v6: bool, now: Instant) -> Option<SocketAddr> {
        self.refresh(now);
        let (servers, relay) = self.best_family(v6);
        let index = relay.pick(servers, query, client.socket_address(), now)?;
        servers.get(index).copied()
    }

    /// The query for which a server was just chosen was not sent, for want of something on this host.
    pub fn unsent(&mut self, server: SocketAddr, query: &[u8], client: Endpoint) {
        self.family(server.is_ipv6()).1.unsent(query, client.socket_address());
    }

    /// The server for a connection of the guest, as [`NameServers::for_query`].
    pub fn for_stream(&mut self, v6: bool, now: Instant) -> Option<SocketAddr> {
        self.refresh(now);
        let (servers, relay) = self.best_family(v6);
        let index = relay.pick_stream(servers, now)?;
        servers.get(index).copied()
    }

    /// Whether the host has a server.
    pub fn any(&mut self, now: Instant) -> bool {
        self.refresh(now);
        !self.best_family(true).0.is_empty()
    }

    /// A server answered a datagram of `client`.
    pub fn answered(&mut self, server: SocketAddr, answer: &[u8], client: Endpoint) {
        self.family(server.is_ipv6()).1.answered(server, answer, client.socket_address());
    }

    /// A server accepted a connection.
    pub fn connected(&mut self, server: SocketAddr) {
        self.family(server.is_ipv6()).1.connected(server);
    }

    /// A server could not be reached.
    pub fn failed(&mut self, server: SocketAddr, now: Instant) {
        self.family(server.is_ipv6()).1.failed(server, now);
    }

    fn family(&mut self, v6: bool) -> (&[SocketAddr], &mut DnsRelay) {
        if v6 { (&self.servers.v6, &mut self.relay6) } else { (&self.servers.v4, &mut self.relay4) }
    }

    /// The servers of the wanted family, or of the other one when there are none.
    fn best_family(&mut self, v6: bool) -> (&[SocketAddr], &mut DnsRelay) {
        let wanted = if v6 { &self.servers.v6 } else { &self.servers.v4 };
        let v6 = if wanted.is_empty() { !v6 } else { v6 };
        self.family(v6)
    }
}
