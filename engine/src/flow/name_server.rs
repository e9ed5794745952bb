//! The host's name servers: which there are now, the choice among them, and what is to be asked once more because one has
//! refused it. Where the policy looks at names, `ruling` says what may be asked and answered, and `pending` has the queries meanwhile.

#[cfg(feature = "policy")]
mod pending;
#[cfg(feature = "policy")]
mod ruling;
mod source;

use std::collections::VecDeque;
use std::net::SocketAddr;

#[cfg(feature = "policy")]
pub(crate) use ruling::Ruling;
use source::Source;

use super::key::Endpoint;
use crate::config::NameServerSource;
use crate::service::dns::relay::DnsRelay;
use crate::service::dns::resolv_conf::Servers;
use crate::time::Instant;

/// The host's name servers.
#[derive(Debug)]
pub(crate) struct NameServers {
    source: Source,
    servers: Servers,
    relay4: DnsRelay,
    relay6: DnsRelay,
    moved: VecDeque<Moved>,
    /// A query was refused by all servers, which was not asked about yet.
    lost: bool,
    /// Queries that an answer is expected to, where the policy looks at names.
    #[cfg(feature = "policy")]
    pending: pending::Pending,
}

/// A query that a server has refused, on its way to another one.
#[derive(Debug)]
pub(crate) struct Moved {
    pub client: Endpoint,
    /// The name server as the client knows it.
    pub known_as: Endpoint,
    pub query: Box<[u8]>,
    /// Who is to have it.
    pub server: SocketAddr,
}

impl NameServers {
    /// The servers that `source` names, as far as they are known already.
    pub(crate) fn new(source: &NameServerSource) -> NameServers {
        let (source, servers) = Source::new(source);
        NameServers {
            source,
            servers,
            relay4: DnsRelay::new(),
            relay6: DnsRelay::new(),
            moved: VecDeque::new(),
            lost: false,
            #[cfg(feature = "policy")]
            pending: pending::Pending::default(),
        }
    }

    fn refresh(&mut self, now: Instant) {
        if let Some(servers) = self.source.refresh(now) {
            self.servers = servers;
        }
    }

    /// The server for a query the guest sent as a datagram over IPv6 or IPv4. When the host has none of that family,
    /// one of the other answers; `None` when it has none at all.
    pub(crate) fn for_query(&mut self, query: &[u8], client: Endpoint, v6: bool, now: Instant) -> Option<SocketAddr> {
        self.refresh(now);
        let (servers, relay) = self.best_family(v6);
        let index = relay.pick(servers, query, client.socket_address(), now)?;
        let server = *servers.get(index)?;
        #[cfg(feature = "policy")]
        self.pending.goes_to(client, query, server);
        Some(server)
    }

    /// The query for which a server was just chosen was not sent, for want of something on this host.
    pub(crate) fn unsent(&mut self, server: SocketAddr, query: &[u8], client: Endpoint) {
        self.family(server.is_ipv6()).1.unsent(query, client.socket_address());
    }

    /// The server for a connection of the guest, as [`NameServers::for_query`].
    pub(crate) fn for_stream(&mut self, v6: bool, now: Instant) -> Option<SocketAddr> {
        self.refresh(now);
        let (servers, relay) = self.best_family(v6);
        let index = relay.pick_stream(servers, now)?;
        servers.get(index).copied()
    }

    /// The server for a connection that `server` refuses: another one of its family, or else the first one of the other
    /// family.
    pub(crate) fn behind(&mut self, server: SocketAddr, now: Instant) -> Option<SocketAddr> {
        let (servers, relay) = self.family(server.is_ipv6());
        let next = relay.behind(server, now).and_then(|index| servers.get(index)).copied();
        next.or_else(|| self.family(!server.is_ipv6()).0.first().copied())
    }

    /// What is told when the guest asks and there is nobody to ask in its place.
    pub(crate) fn complaint(&self) -> String {
        format!("no name server is known from {}: what the guest asks is refused", self.source)
    }

    /// Whether the host has a server.
    pub(crate) fn any(&mut self, now: Instant) -> bool {
        self.refresh(now);
        !self.best_family(true).0.is_empty()
    }

    /// A server answered a datagram of `client`.
    pub(crate) fn answered(&mut self, server: SocketAddr, answer: &[u8], client: Endpoint) {
        self.family(server.is_ipv6()).1.answered(server, answer, client.socket_address());
    }

    /// A server accepted a connection.
    pub(crate) fn connected(&mut self, server: SocketAddr) {
        self.family(server.is_ipv6()).1.connected(server);
    }

    /// A server has refused what `client` asked it under the name `known_as`, or cannot be reached. True when another one
    /// has it, or is to have it now (see [`NameServers::next_moved`]), so that the client need not hear of it.
    ///
    /// When all servers of the client's own family have refused a query, those of the other family are asked.
    pub(crate) fn refused(&mut self, server: SocketAddr, client: Endpoint, known_as: Endpoint, now: Instant) -> bool {
        let (v6, address) = (server.is_ipv6(), client.socket_address());
        let (servers, relay) = self.family(v6);
        let refused = relay.refused(server, address, now);
        let again = refused.moved.into_iter().filter_map(|(query, index)| Some((query, *servers.get(index)?)));
        let mut again: Vec<_> = again.collect();
        let (exhausted, moved) = (!refused.exhausted.is_empty(), again.len());
        let (others, relay) = self.family(!v6);
        for query in refused.exhausted.into_iter().filter(|query| v6 == client.ip.is_ipv6() && !query.is_empty()) {
            if let Some(other) = relay.pick(others, &query, address, now).and_then(|index| others.get(index)) {
                again.push((query, *other));
            }
        }
        self.lost |= exhausted && again.len() == moved;
        #[cfg(feature = "policy")]
        for (query, server) in &again {
            self.pending.goes_to(client, query, *server);
        }
        let moved = |(query, server)| Moved { client, known_as, query, server };
        self.moved.extend(again.into_iter().map(moved));
        // An error for a query that has moved already says nothing new.
        [&self.relay4, &self.relay6].iter().any(|relay| relay.is_awaited(address, now))
    }

    /// Whether a query was refused by all servers since this was last asked.
    pub(crate) fn has_lost(&mut self) -> bool {
        std::mem::take(&mut self.lost)
    }

    /// The next query that is to be asked again.
    pub(crate) fn next_moved(&mut self) -> Option<Moved> {
        self.moved.pop_front()
    }

    /// Whether there is one.
    pub(crate) fn has_moved(&self) -> bool {
        !self.moved.is_empty()
    }

    /// A server could not be reached.
    pub(crate) fn failed(&mut self, server: SocketAddr, now: Instant) {
        self.family(server.is_ipv6()).1.failed(server, now);
    }

    /// The list of one family, and what is known of it.
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

/// Where the policy looks at names.
#[cfg(feature = "policy")]
impl NameServers {
    /// A query is about to be asked on; these rules have its name.
    fn expect_answer(
        &mut self,
        client: Endpoint,
        asked: crate::service::dns::message::Asked,
        rules: Vec<u32>,
        now: Instant,
    ) {
        self.pending.note(client, asked, rules, now);
    }

    /// The query that a message answers, if one was expected from this server.
    fn expected_answer(
        &mut self,
        client: Endpoint,
        answer: &[u8],
        server: SocketAddr,
        now: Instant,
    ) -> Option<pending::Waiting> {
        self.pending.answered(client, answer, server, now)
    }
}
