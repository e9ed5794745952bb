//! Which of the host's name servers gets a query.
//!
//! As long as all is well the first server of the list gets everything. It loses that place in two ways. A client that
//! repeats a query because no answer came has it sent to the next server. And a server that gave a sign of failure
//! (an ICMP error, a refused connection, or silence for [`SILENCE`] although it was asked) is avoided for
//! [`AVOIDED_FOR`]; after that the next query tries it again. When every server is to be avoided, they take turns.
//!
//! One relay serves one list of servers, in practice one address family. Nothing here is a cache: the relay never
//! answers. The policy is this project's own; upstream asks only the first server (contract/dns.md, "Upstream oddities").

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

/// Length of the DNS header, in bytes (RFC 1035 section 4.1.1).
const HEADER_LEN: usize = 12;

/// The failover policy and what it has seen.
#[derive(Debug)]
pub struct DnsRelay {
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
    /// Index of the server that had it last.
    server: usize,
    /// When that was.
    at: Instant,
}

impl Default for DnsRelay {
    fn default() -> DnsRelay {
        DnsRelay::new()
    }
}

impl DnsRelay {
    /// A relay that has seen nothing.
    #[must_use]
    pub fn new() -> DnsRelay {
        DnsRelay { servers: Vec::new(), queries: VecDeque::new(), turn: 0, hasher: RandomState::new() }
    }

    /// Chooses the server for a datagram of the guest and counts it as sent to it. `query` is the UDP payload, `client`
    /// the guest's address and port. Gives the index in `servers`, `None` when that is empty.
    ///
    /// A list that differs from that of the last call is a new beginning. A payload that is no DNS query gets the server
    /// a new query would get, but nothing is concluded from its staying unanswered.
    pub fn pick(&mut self, servers: &[SocketAddr], query: &[u8], client: SocketAddr, now: Instant) -> Option<usize> {
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
        self.queries.push_back(Query { key, server: index, at: now });
        self.servers.get_mut(index)?.asked(now);
        Some(index)
    }

    /// Chooses the server for a TCP connection. Gives the index in `servers`, `None` when that is empty. How it went is
    /// told to [`DnsRelay::connected`] or [`DnsRelay::failed`].
    pub fn pick_stream(&mut self, servers: &[SocketAddr], now: Instant) -> Option<usize> {
        self.set_servers(servers);
        self.choose(None, now)
    }

    /// Notes an answer that came by UDP: the server lives, and a later query with the same transaction id is a new one.
    /// `server` is where it came from, `client` the guest's address and port, `answer` the UDP payload.
    pub fn answered(&mut self, server: SocketAddr, answer: &[u8], client: SocketAddr) {
        self.connected(server);
        let Some(key) = self.answer_key(answer, client) else { return };
        self.queries.retain(|query| query.key != key);
    }

    /// Notes that a server accepted a TCP connection.
    pub fn connected(&mut self, server: SocketAddr) {
        if let Some(server) = self.server(server) {
            server.silent_since = None;
            server.failed_at = None;
        }
    }

    /// Notes an ICMP error for a datagram to the server, an error on sending one, or a TCP connection that did not come
    /// about.
    pub fn failed(&mut self, server: SocketAddr, now: Instant) {
        if let Some(server) = self.server(server) {
            server.failed_at = Some(now);
        }
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
fn question_section(bytes: &[u8], count: u16) -> Option<&[u8]> {
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
