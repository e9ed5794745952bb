//! The host's name servers: which there are now, the choice among them, and what is to be asked once more because one has
//! refused it. Where the policy looks at names, or the network has some of its own, `ruling` says what may be asked and answered, and
//! `pending` has the queries meanwhile.

#[cfg(feature = "policy")]
mod dialogue;
#[cfg(feature = "policy")]
mod pending;
#[cfg(feature = "policy")]
mod ruling;
mod source;

use std::collections::VecDeque;
use std::net::SocketAddr;

#[cfg(feature = "policy")]
pub(crate) use dialogue::Dialogue;
#[cfg(feature = "policy")]
use pending::Expected;
#[cfg(feature = "policy")]
pub(crate) use ruling::Ruling;
use source::Source;

use super::key::Endpoint;
use crate::config::NameServerSource;
#[cfg(feature = "policy")]
use crate::service::dns::message::{self, Asked};
#[cfg(feature = "policy")]
use crate::service::dns::own::{Found, OwnNames};
use crate::service::dns::relay::DnsRelay;
use crate::service::dns::resolv_conf::Servers;
use crate::time::Instant;

/// The host's name servers.
#[derive(Debug)]
pub(crate) struct NameServers {
    source: Source,
    /// The host's, and behind them those of each domain that has its own.
    groups: Vec<Group>,
    moved: VecDeque<Moved>,
    /// A query was refused by all servers, which was not asked about yet.
    lost: bool,
    /// Names of the network's own.
    #[cfg(feature = "policy")]
    own: Option<Box<OwnNames>>,
    /// Queries that an answer is expected to, where they are looked at.
    #[cfg(feature = "policy")]
    pending: pending::Pending,
}

/// Servers any of which may be asked in place of the others.
#[derive(Debug, Default)]
struct Group {
    servers: Servers,
    relay4: DnsRelay,
    relay6: DnsRelay,
}

/// The group of the host's own servers.
const HOST: usize = 0;

impl Group {
    fn new(servers: Servers) -> Group {
        Group { servers, ..Group::default() }
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

    fn has(&self, server: SocketAddr) -> bool {
        self.servers.v4.contains(&server) || self.servers.v6.contains(&server)
    }
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
            groups: vec![Group::new(servers)],
            moved: VecDeque::new(),
            lost: false,
            #[cfg(feature = "policy")]
            own: None,
            #[cfg(feature = "policy")]
            pending: pending::Pending::default(),
        }
    }

    fn refresh(&mut self, now: Instant) {
        if let Some(servers) = self.source.refresh(now)
            && let Some(host) = self.groups.first_mut()
        {
            host.servers = servers;
        }
    }

    /// The server for a query the guest sent as a datagram over IPv6 or IPv4. When the host has none of that family,
    /// one of the other answers; `None` when it has none at all.
    pub(crate) fn for_query(&mut self, query: &[u8], client: Endpoint, v6: bool, now: Instant) -> Option<SocketAddr> {
        self.refresh(now);
        let group = self.group_of(query);
        let (servers, relay) = self.groups.get_mut(group)?.best_family(v6);
        let index = relay.pick(servers, query, client.socket_address(), now)?;
        let server = *servers.get(index)?;
        #[cfg(feature = "policy")]
        self.pending.goes_to(client, query, server);
        Some(server)
    }

    /// The query for which a server was just chosen was not sent, for want of something on this host.
    pub(crate) fn unsent(&mut self, server: SocketAddr, query: &[u8], client: Endpoint) {
        for group in &mut self.groups {
            group.family(server.is_ipv6()).1.unsent(query, client.socket_address());
        }
    }

    /// The server for a connection of the guest, as [`NameServers::for_query`].
    pub(crate) fn for_stream(&mut self, v6: bool, now: Instant) -> Option<SocketAddr> {
        self.for_stream_of(HOST, v6, now)
    }

    fn for_stream_of(&mut self, group: usize, v6: bool, now: Instant) -> Option<SocketAddr> {
        self.refresh(now);
        let (servers, relay) = self.groups.get_mut(group)?.best_family(v6);
        let index = relay.pick_stream(servers, now)?;
        servers.get(index).copied()
    }

    /// The server for a connection that `server` refuses: another one of its family, or else the first one of the other
    /// family.
    pub(crate) fn behind(&mut self, server: SocketAddr, now: Instant) -> Option<SocketAddr> {
        let group = self.groups.iter_mut().find(|group| group.has(server))?;
        let (servers, relay) = group.family(server.is_ipv6());
        let next = relay.behind(server, now).and_then(|index| servers.get(index)).copied();
        next.or_else(|| group.family(!server.is_ipv6()).0.first().copied())
    }

    /// What is told when the guest asks and there is nobody to ask in its place.
    pub(crate) fn complaint(&self) -> String {
        format!("no name server is known from {}: what the guest asks is refused", self.source)
    }

    /// Whether somebody answers: a server of the host, or the network itself.
    pub(crate) fn any(&mut self, now: Instant) -> bool {
        self.refresh(now);
        self.has_own() || self.groups.first_mut().is_some_and(|host| !host.best_family(true).0.is_empty())
    }

    /// A server answered a datagram of `client`.
    pub(crate) fn answered(&mut self, server: SocketAddr, answer: &[u8], client: Endpoint) {
        for group in &mut self.groups {
            group.family(server.is_ipv6()).1.answered(server, answer, client.socket_address());
        }
    }

    /// A server accepted a connection.
    pub(crate) fn connected(&mut self, server: SocketAddr) {
        for group in &mut self.groups {
            group.family(server.is_ipv6()).1.connected(server);
        }
    }

    /// A server has refused what `client` asked it under the name `known_as`, or cannot be reached. True when another one
    /// has it, or is to have it now (see [`NameServers::next_moved`]), so that the client need not hear of it.
    ///
    /// When all servers of the client's own family have refused a query, those of the other family are asked.
    pub(crate) fn refused(&mut self, server: SocketAddr, client: Endpoint, known_as: Endpoint, now: Instant) -> bool {
        let (v6, address) = (server.is_ipv6(), client.socket_address());
        for group in &mut self.groups {
            let (servers, relay) = group.family(v6);
            let refused = relay.refused(server, address, now);
            let again = refused.moved.into_iter().filter_map(|(query, index)| Some((query, *servers.get(index)?)));
            let mut again: Vec<_> = again.collect();
            let (exhausted, moved) = (!refused.exhausted.is_empty(), again.len());
            let (others, relay) = group.family(!v6);
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
        }
        // An error for a query that has moved already says nothing new.
        self.groups.iter().flat_map(|group| [&group.relay4, &group.relay6]).any(|relay| relay.is_awaited(address, now))
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
        for group in &mut self.groups {
            group.family(server.is_ipv6()).1.failed(server, now);
        }
    }
}

/// Without the feature `policy` all names are asked of the host's servers.
#[cfg(not(feature = "policy"))]
impl NameServers {
    fn group_of(&self, _: &[u8]) -> usize {
        HOST
    }

    fn has_own(&self) -> bool {
        false
    }
}

/// Names of the network's own, and those that the policy looks at.
#[cfg(feature = "policy")]
impl NameServers {
    /// Serves these names as well.
    pub(crate) fn serve(&mut self, own: OwnNames) {
        if !own.is_empty() {
            self.groups.truncate(1);
            self.groups.extend(own.servers().iter().map(|servers| Group::new(servers.iter().copied().collect())));
            self.own = Some(Box::new(own));
        }
    }

    /// Whether the network has names of its own, or domains.
    pub(crate) fn has_own(&self) -> bool {
        self.own.is_some()
    }

    /// What a name of the network's own has to say to a question.
    fn find_own(&self, asked: &Asked) -> Option<Found> {
        self.own.as_ref()?.find(asked)
    }

    /// Which servers are asked this.
    fn group_of(&self, query: &[u8]) -> usize {
        let Some(own) = self.own.as_ref().filter(|own| !own.servers().is_empty()) else { return HOST };
        let domain = message::read_query(query).ok().and_then(|asked| own.domain(&asked.name));
        domain.map_or(HOST, |domain| domain.saturating_add(1))
    }

    /// A query is about to be asked on.
    fn expect_answer(&mut self, client: Endpoint, expected: Expected, now: Instant) {
        self.pending.note(client, expected, now);
    }

    /// The query that a message answers, if one was expected from this server.
    fn expected_answer(
        &mut self,
        client: Endpoint,
        answer: &[u8],
        server: SocketAddr,
        now: Instant,
    ) -> Option<Expected> {
        self.pending.answered(client, answer, server, now)
    }
}
