//! Which of the host's name servers gets a query.
//!
//! As long as all is well the first server of the list gets everything. It loses that place in two ways. A client that
//! repeats a query because no answer came has it sent to the next server. And a server that gave a sign of failure
//! (an ICMP error, a refused connection, or two seconds of silence although it was asked) is avoided for
//! ten seconds; after that the next query tries it again. When every server is to be avoided, they take turns. What a
//! server has refused goes on to the next one at once, as the client may not hear of the refusal: of each query every
//! server has its say before the client is told.
//!
//! One relay serves one list of servers, in practice one address family. Nothing here is a cache: the relay never
//! answers. The policy is this project's own; upstream asks only the first server (docs/contract/dns.md, "Upstream
//! oddities").

use std::collections::VecDeque;
use std::hash::{BuildHasher, RandomState};
use std::net::SocketAddr;

use crate::service::elapsed;
use crate::time::{Duration, Instant};

/// How many queries are remembered to know a repetition; the oldest is forgotten first.
const QUERIES_MAX: usize = 128;

/// How long after a query the same one counts as its repetition. Resolvers wait up to 30 seconds before they repeat;
/// what comes later is a client that uses its transaction ids again.
const REPEATED_WITHIN: Duration = Duration::from_secs(30);

/// How long a server may leave queries unanswered.
const SILENCE: Duration = Duration::from_secs(2);

/// How long a server is avoided after a failure or [`SILENCE`].
const AVOIDED_FOR: Duration = Duration::from_secs(10);

/// How long after a query its client waits for the answer, as most resolvers do.
const AWAITED: Duration = Duration::from_secs(5);

/// The longest query that is kept for another server, in bytes. Those of resolvers have less than a hundred, seldom more than two.
const KEPT_MAX: usize = 512;

/// Length of the DNS header, in bytes (RFC 1035 section 4.1.1).
pub(super) const HEADER_LEN: usize = 12;

/// The failover policy and what it has seen.
#[derive(Debug)]
pub(crate) struct DnsRelay {
    /// The list of the last call, with the health of each server.
    servers: Vec<Server>,
    /// Queries without an answer so far, the oldest in front.
    queries: VecDeque<Query>,
    /// Where the rotation stands while every server is avoided.
    turn: usize,
    /// Secret-keyed: the guest chooses what is hashed.
    hasher: RandomState,
}

#[derive(Debug)]
struct Server {
    address: SocketAddr,
    /// When the first of the queries was sent that have had no answer since.
    silent_since: Option<Instant>,
    failed_at: Option<Instant>,
}

impl Server {
    fn is_avoided(&self, now: Instant) -> bool {
        let silent = self.silent_since.is_some_and(|since| {
            let silence = elapsed(since, now);
            silence > SILENCE && silence < SILENCE + AVOIDED_FOR
        });
        silent || self.failed_at.is_some_and(|at| elapsed(at, now) < AVOIDED_FOR)
    }

    fn lives(&mut self) {
        self.silent_since = None;
        self.failed_at = None;
    }

    /// Notes that a query goes out. When an earlier silence has had its consequence, the count begins anew.
    fn asked(&mut self, now: Instant) {
        if self.silent_since.is_none_or(|since| elapsed(since, now) >= SILENCE + AVOIDED_FOR) {
            self.silent_since = Some(now);
        }
    }
}

#[derive(Debug)]
struct Query {
    key: u64,
    client: SocketAddr,
    /// Index of the server that had it last.
    server: usize,
    /// Which servers had it since the client sent it last.
    tried: ServerSet,
    /// When that was.
    at: Instant,
    /// The query itself, empty when it is too long to be kept.
    payload: Box<[u8]>,
}

/// Servers by their index, a bit each; more than [`super::resolv_conf::SERVERS_MAX`] have room.
#[derive(Clone, Copy, Debug, Default)]
struct ServerSet(u32);

impl ServerSet {
    fn insert(&mut self, index: usize) {
        self.0 |= Self::bit(index).unwrap_or(0);
    }

    /// What has no room counts as being in it.
    fn contains(self, index: usize) -> bool {
        Self::bit(index).is_none_or(|bit| self.0 & bit != 0)
    }

    fn bit(index: usize) -> Option<u32> {
        1_u32.checked_shl(u32::try_from(index).ok()?)
    }
}

/// What a server has refused.
#[derive(Debug, Default)]
pub(crate) struct Refused {
    /// Queries, each with the index of the server that is to have it now.
    pub moved: Vec<(Box<[u8]>, usize)>,
    /// Queries that all servers have refused. They are forgotten.
    pub exhausted: Vec<Box<[u8]>>,
}

impl Default for DnsRelay {
    fn default() -> DnsRelay {
        DnsRelay::new()
    }
}

impl DnsRelay {
    /// A relay that has seen nothing.
    #[must_use]
    pub(crate) fn new() -> DnsRelay {
        DnsRelay { servers: Vec::new(), queries: VecDeque::new(), turn: 0, hasher: RandomState::new() }
    }

    /// Chooses the server for a datagram of the guest and counts it as sent to it. `query` is the UDP payload, `client`
    /// the guest's address and port. Gives the index in `servers`, `None` when that is empty.
    ///
    /// A list that differs from that of the last call is a new beginning. A payload that is no DNS query gets the server
    /// a new query would get, but nothing is concluded from its staying unanswered.
    pub(crate) fn pick(
        &mut self,
        servers: &[SocketAddr],
        query: &[u8],
        client: SocketAddr,
        now: Instant,
    ) -> Option<usize> {
        self.set_servers(servers);
        let Some(key) = self.query_key(query, client) else {
            return self.choose(None, now);
        };
        let seen = self.queries.iter().position(|seen| seen.key == key);
        let seen = seen.and_then(|position| self.queries.remove(position));
        let last = seen.filter(|seen| elapsed(seen.at, now) <= REPEATED_WITHIN).map(|seen| seen.server);
        let index = self.choose(last, now)?;
        if self.queries.len() >= QUERIES_MAX {
            self.queries.pop_front();
        }
        let mut tried = ServerSet::default();
        tried.insert(index);
        let payload = if query.len() <= KEPT_MAX { query.into() } else { Box::default() };
        self.queries.push_back(Query { key, client, server: index, tried, at: now, payload });
        self.servers.get_mut(index)?.asked(now);
        Some(index)
    }

    /// What was last chosen for this datagram did not happen: nothing was sent, for a reason of this host. A repetition is
    /// then the first query, and no server is silent.
    pub(crate) fn unsent(&mut self, query: &[u8], client: SocketAddr) {
        let key = self.query_key(query, client);
        let position = self.queries.iter().rposition(|query| Some(query.key) == key);
        let Some(query) = position.and_then(|position| self.queries.remove(position)) else { return };
        if let Some(server) = self.servers.get_mut(query.server)
            && server.silent_since == Some(query.at)
        {
            server.silent_since = None;
        }
    }

    /// Chooses the server for a TCP connection. Gives the index in `servers`, `None` when that is empty. How it went is
    /// told to [`DnsRelay::connected`] or [`DnsRelay::failed`].
    pub(crate) fn pick_stream(&mut self, servers: &[SocketAddr], now: Instant) -> Option<usize> {
        self.set_servers(servers);
        self.choose(None, now)
    }

    /// The server to try for a TCP connection when `server` refuses it. Gives the index in the list; whoever is avoided comes
    /// last.
    pub(crate) fn behind(&self, server: SocketAddr, now: Instant) -> Option<usize> {
        let from = self.servers.iter().position(|listed| listed.address == server)?;
        let others = || (from..self.servers.len()).chain(0..from).filter(|index| *index != from);
        let good = |index: &usize| self.servers.get(*index).is_some_and(|server| !server.is_avoided(now));
        others().find(good).or_else(|| others().next())
    }

    /// Notes an answer that came by UDP: the server lives, and a later query with the same transaction id is a new one.
    /// `server` is where it came from, `client` the guest's address and port, `answer` the UDP payload.
    ///
    /// A server may answer from another address than the one it was asked at, as a machine with several may; then the query
    /// that is answered tells which one it was.
    pub(crate) fn answered(&mut self, server: SocketAddr, answer: &[u8], client: SocketAddr) {
        let key = self.answer_key(answer, client);
        let query = self.queries.iter().position(|query| Some(query.key) == key);
        let query = query.and_then(|position| self.queries.remove(position));
        let by_address = self.servers.iter().position(|listed| listed.address == server);
        let index = by_address.or(query.map(|query| query.server));
        if let Some(server) = index.and_then(|index| self.servers.get_mut(index)) {
            server.lives();
        }
    }

    /// Notes that a server accepted a TCP connection.
    pub(crate) fn connected(&mut self, server: SocketAddr) {
        if let Some(server) = self.server(server) {
            server.lives();
        }
    }

    /// Notes an ICMP error for a datagram to the server, an error on sending one, or a TCP connection that did not come
    /// about.
    pub(crate) fn failed(&mut self, server: SocketAddr, now: Instant) {
        if let Some(server) = self.server(server) {
            // It is not silent: it said no.
            server.silent_since = None;
            server.failed_at = Some(now);
        }
    }

    /// Notes that a server has refused what `client` asked it. All queries of that client which it has not answered go on
    /// to a server that did not have them, as they will not be answered here; the errors that there may be for the others
    /// of them find nothing. Whoever is avoided comes last.
    pub(crate) fn refused(&mut self, server: SocketAddr, client: SocketAddr, now: Instant) -> Refused {
        self.failed(server, now);
        let mut refused = Refused::default();
        let Some(from) = self.servers.iter().position(|listed| listed.address == server) else { return refused };
        let servers = &self.servers;
        self.queries.retain_mut(|query| {
            if query.client != client || query.server != from || elapsed(query.at, now) > AWAITED {
                return true;
            }
            let order = || (from..servers.len()).chain(0..from).filter(|index| !query.tried.contains(*index));
            let good = |index: &usize| servers.get(*index).is_some_and(|server| !server.is_avoided(now));
            match order().find(good).or_else(|| order().next()) {
                Some(next) if !query.payload.is_empty() => {
                    query.server = next;
                    query.tried.insert(next);
                    refused.moved.push((query.payload.clone(), next));
                    true
                }
                _ => {
                    refused.exhausted.push(std::mem::take(&mut query.payload));
                    false
                }
            }
        });
        for (_, index) in &refused.moved {
            if let Some(server) = self.servers.get_mut(*index) {
                server.asked(now);
            }
        }
        refused
    }

    /// Whether `client` waits for an answer.
    pub(crate) fn is_awaited(&self, client: SocketAddr, now: Instant) -> bool {
        self.queries.iter().any(|query| query.client == client && elapsed(query.at, now) <= AWAITED)
    }

    fn server(&mut self, address: SocketAddr) -> Option<&mut Server> {
        self.servers.iter_mut().find(|server| server.address == address)
    }

    fn set_servers(&mut self, servers: &[SocketAddr]) {
        if self.servers.iter().map(|server| &server.address).ne(servers) {
            self.servers.clear();
            let fresh = |address: &SocketAddr| Server { address: *address, silent_since: None, failed_at: None };
            self.servers.extend(servers.iter().map(fresh));
            self.queries.clear();
            self.turn = 0;
        }
    }

    /// The first server that is not avoided, searching from the beginning for a new query and, cyclically, from behind
    /// server `last` for a repetition. When all are avoided, a repetition goes to the one behind `last` and new queries
    /// go round.
    fn choose(&mut self, last: Option<usize>, now: Instant) -> Option<usize> {
        let count = self.servers.len();
        let start = last.map_or(0, |last| last.wrapping_add(1)).checked_rem(count)?;
        let good = |index: &usize| self.servers.get(*index).is_some_and(|server| !server.is_avoided(now));
        if let Some(index) = (start..count).chain(0..start).find(good) {
            return Some(index);
        }
        if last.is_some() {
            return Some(start);
        }
        let index = self.turn.checked_rem(count)?;
        self.turn = index.wrapping_add(1);
        Some(index)
    }

    /// What makes a query the same as an earlier one: client, transaction id and question section. `None` when the
    /// payload is no query.
    fn query_key(&self, payload: &[u8], client: SocketAddr) -> Option<u64> {
        self.key(payload, client, false)
    }

    /// The key of the query that a message answers.
    fn answer_key(&self, payload: &[u8], client: SocketAddr) -> Option<u64> {
        self.key(payload, client, true)
    }

    fn key(&self, payload: &[u8], client: SocketAddr, is_response: bool) -> Option<u64> {
        let (header, rest) = payload.split_first_chunk::<HEADER_LEN>()?;
        if (header[2] & 0x80 != 0) != is_response {
            return None;
        }
        let id = [header[0], header[1]];
        let questions = u16::from_be_bytes([header[4], header[5]]);
        Some(self.hasher.hash_one((client, id, question_section(rest, questions)?)))
    }
}

/// The first `count` questions at the beginning of `bytes`: names without compression, each with type and class
/// (RFC 1035 section 4.1.2). `None` when there is none or they are damaged.
pub(super) fn question_section(bytes: &[u8], count: u16) -> Option<&[u8]> {
    let mut at = 0_usize;
    for _ in 0..count {
        loop {
            let len = usize::from(*bytes.get(at)?);
            at = at.checked_add(1)?;
            match len {
                0 => break,
                1..=63 => at = at.checked_add(len)?,
                _ => return None,
            }
        }
        at = at.checked_add(4)?;
    }
    bytes.get(..at).filter(|section| !section.is_empty())
}

#[cfg(test)]
mod tests;
