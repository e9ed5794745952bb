//! Which of the host's name servers gets a query.
//!
//! As long as all is well the first server of the list gets everything. It loses that place in two ways. A client that
//! repeats a query because no answer came has it sent to the next server. And a server that gave a sign of failure
//! (an ICMP error, a refused connection, or two seconds of silence although it was asked) is avoided for
//! ten seconds; after that the next query tries it again. When every server is to be avoided, they take turns.
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

    /// What was last chosen for this datagram did not happen: nothing was sent, for a reason of this host. A repetition is
    /// then the first query, and no server is silent.
    pub fn unsent(&mut self, query: &[u8], client: SocketAddr) {
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
    pub fn pick_stream(&mut self, servers: &[SocketAddr], now: Instant) -> Option<usize> {
        self.set_servers(servers);
        self.choose(None, now)
    }

    /// Notes an answer that came by UDP: the server lives, and a later query with the same transaction id is a new one.
    /// `server` is where it came from, `client` the guest's address and port, `answer` the UDP payload.
    ///
    /// A server may answer from another address than the one it was asked at, as 0.0.0.0 answers from 127.0.0.1; then
    /// the query that is answered tells which one it was.
    pub fn answered(&mut self, server: SocketAddr, answer: &[u8], client: SocketAddr) {
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
    pub fn connected(&mut self, server: SocketAddr) {
        if let Some(server) = self.server(server) {
            server.lives();
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn servers(count: u8) -> Vec<SocketAddr> {
        (1..=count).map(|last| SocketAddr::from(([192, 0, 2, last], 53))).collect()
    }

    fn client(port: u16) -> SocketAddr {
        SocketAddr::from(([10, 0, 2, 15], port))
    }

    fn at(seconds: f64) -> Instant {
        Instant::from_micros((seconds * 1e6) as i64)
    }

    /// A query for `name` in zone "test", type A.
    fn query(id: u16, name: &str) -> Vec<u8> {
        let mut bytes = id.to_be_bytes().to_vec();
        bytes.extend([1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
        bytes.push(u8::try_from(name.len()).unwrap());
        bytes.extend(name.as_bytes());
        bytes.extend(b"\x04test\x00\x00\x01\x00\x01");
        bytes
    }

    fn answer(id: u16, name: &str) -> Vec<u8> {
        let mut bytes = query(id, name);
        bytes[2] |= 0x80;
        bytes.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4, 192, 0, 2, 99]);
        bytes
    }

    #[test]
    fn no_server_no_choice() {
        let mut relay = DnsRelay::new();
        assert_eq!(relay.pick(&[], &query(1, "a"), client(1000), at(0.0)), None);
        assert_eq!(relay.pick_stream(&[], at(0.0)), None);
    }

    #[test]
    fn first_server_while_all_is_well() {
        let (mut relay, list) = (DnsRelay::new(), servers(3));
        for round in 0..1000_u16 {
            let now = at(f64::from(round) * 0.7);
            assert_eq!(relay.pick(&list, &query(round, "a"), client(1000), now), Some(0));
            assert_eq!(relay.pick_stream(&list, now), Some(0));
            relay.answered(list[0], &answer(round, "a"), client(1000));
        }
    }

    #[test]
    fn repetition_goes_to_the_next_server() {
        let (mut relay, list) = (DnsRelay::new(), servers(3));
        for (seconds, index) in [(0.0, 0), (0.5, 1), (1.0, 2), (1.5, 0)] {
            assert_eq!(relay.pick(&list, &query(7, "a"), client(1000), at(seconds)), Some(index));
        }
    }

    #[test]
    fn repetition_is_same_client_id_and_question() {
        let (mut relay, list) = (DnsRelay::new(), servers(2));
        let mut pick = |query: &[u8], port| relay.pick(&list, query, client(port), at(0.0));
        assert_eq!(pick(&query(7, "a"), 1000), Some(0));
        assert_eq!(pick(&query(7, "a"), 1001), Some(0));
        assert_eq!(pick(&query(8, "a"), 1000), Some(0));
        assert_eq!(pick(&query(7, "b"), 1000), Some(0));
        let mut other_type = query(7, "a");
        let len = other_type.len();
        other_type[len - 3] = 28;
        assert_eq!(pick(&other_type, 1000), Some(0));
        // What follows the question, such as an EDNS record, may differ.
        let mut with_more = query(7, "a");
        with_more.extend([0; 11]);
        assert_eq!(pick(&with_more, 1000), Some(1));
    }

    #[test]
    fn answered_query_may_be_asked_again() {
        // Some clients use one transaction id for ever.
        let (mut relay, list) = (DnsRelay::new(), servers(2));
        for round in 0..10 {
            assert_eq!(relay.pick(&list, &query(7, "a"), client(1000), at(f64::from(round))), Some(0));
            relay.answered(list[0], &answer(7, "a"), client(1000));
        }
    }

    #[test]
    fn repetition_is_forgotten_after_30_seconds() {
        let (mut relay, list) = (DnsRelay::new(), servers(2));
        assert_eq!(relay.pick(&list, &query(7, "a"), client(1000), at(0.0)), Some(0));
        assert_eq!(relay.pick(&list, &query(7, "a"), client(1000), at(30.0)), Some(1));
        assert_eq!(relay.pick(&list, &query(7, "a"), client(1000), at(60.1)), Some(0));
    }

    #[test]
    fn oldest_of_128_queries_is_forgotten() {
        let (mut relay, list) = (DnsRelay::new(), servers(2));
        for id in 0..129 {
            assert_eq!(relay.pick(&list, &query(id, "a"), client(1000), at(0.0)), Some(0));
        }
        assert_eq!(relay.queries.len(), 128);
        assert_eq!(relay.pick(&list, &query(1, "a"), client(1000), at(0.0)), Some(1));
        assert_eq!(relay.pick(&list, &query(0, "a"), client(1000), at(0.0)), Some(0));
    }

    #[test]
    fn silent_server_is_avoided_for_ten_seconds() {
        let (mut relay, list) = (DnsRelay::new(), servers(2));
        // Every query is new: this client takes a fresh transaction id when it tries again.
        let mut id = 0;
        let mut pick = |seconds: f64| {
            id += 1;
            let index = relay.pick(&list, &query(id, "a"), client(1000), at(seconds));
            if index == Some(1) {
                relay.answered(list[1], &answer(id, "a"), client(1000));
            }
            index
        };
        assert_eq!(pick(0.0), Some(0));
        assert_eq!(pick(2.0), Some(0));
        assert_eq!(pick(2.1), Some(1));
        assert_eq!(pick(11.9), Some(1));
        assert_eq!(pick(12.0), Some(0));
        assert_eq!(pick(14.0), Some(0));
        assert_eq!(pick(14.1), Some(1));
    }

    #[test]
    fn any_answer_ends_the_silence() {
        let (mut relay, list) = (DnsRelay::new(), servers(2));
        relay.pick(&list, &query(1, "slow"), client(1000), at(0.0));
        relay.pick(&list, &query(2, "quick"), client(1000), at(0.5));
        relay.answered(list[0], &answer(2, "quick"), client(1000));
        assert_eq!(relay.pick(&list, &query(3, "a"), client(1000), at(2.5)), Some(0));
        // An answer that comes while the server is avoided brings it back at once.
        assert_eq!(relay.pick(&list, &query(4, "a"), client(1000), at(5.0)), Some(1));
        relay.answered(list[0], &answer(1, "slow"), client(1000));
        assert_eq!(relay.pick(&list, &query(5, "a"), client(1000), at(5.1)), Some(0));
    }

    #[test]
    fn answer_from_another_address_counts_for_the_server_asked() {
        let (mut relay, mut list) = (DnsRelay::new(), servers(2));
        list[0] = SocketAddr::from(([0, 0, 0, 0], 53));
        relay.pick(&list, &query(1, "a"), client(1000), at(0.0));
        let loopback = SocketAddr::from(([127, 0, 0, 1], 53));
        // Nothing that was asked: no sign of life.
        relay.answered(loopback, &answer(2, "a"), client(1000));
        assert_eq!(relay.pick_stream(&list, at(3.0)), Some(1));
        relay.answered(loopback, &answer(1, "a"), client(1000));
        assert_eq!(relay.pick_stream(&list, at(3.0)), Some(0));
    }

    #[test]
    fn failed_server_is_avoided_for_ten_seconds() {
        let (mut relay, list) = (DnsRelay::new(), servers(3));
        assert_eq!(relay.pick_stream(&list, at(0.0)), Some(0));
        relay.failed(list[0], at(0.0));
        assert_eq!(relay.pick_stream(&list, at(0.0)), Some(1));
        assert_eq!(relay.pick(&list, &query(1, "a"), client(1000), at(9.9)), Some(1));
        assert_eq!(relay.pick(&list, &query(2, "a"), client(1000), at(10.0)), Some(0));
        // A connection shows that it lives.
        relay.failed(list[0], at(11.0));
        relay.connected(list[0]);
        assert_eq!(relay.pick_stream(&list, at(11.0)), Some(0));
    }

    #[test]
    fn repetition_passes_over_a_failed_server() {
        let (mut relay, list) = (DnsRelay::new(), servers(3));
        relay.pick(&list, &query(1, "a"), client(1000), at(0.0));
        relay.failed(list[1], at(0.1));
        assert_eq!(relay.pick(&list, &query(1, "a"), client(1000), at(1.0)), Some(2));
    }

    #[test]
    fn servers_take_turns_when_all_have_failed() {
        let (mut relay, list) = (DnsRelay::new(), servers(3));
        relay.pick_stream(&list, at(0.0));
        list.iter().for_each(|server| relay.failed(*server, at(0.0)));
        let turns: Vec<_> = (0..4).filter_map(|id| relay.pick(&list, &query(id, "a"), client(1000), at(1.0))).collect();
        assert_eq!(turns, [0, 1, 2, 0]);
        // A repetition still goes to the one behind: query 2 went to server 2.
        assert_eq!(relay.pick(&list, &query(2, "a"), client(1000), at(1.1)), Some(0));
        // One that lives again gets everything.
        relay.answered(list[2], &answer(99, "a"), client(1000));
        assert_eq!(relay.pick_stream(&list, at(1.1)), Some(2));
    }

    #[test]
    fn changed_list_is_a_new_beginning() {
        let (mut relay, list) = (DnsRelay::new(), servers(2));
        relay.pick(&list, &query(1, "a"), client(1000), at(0.0));
        relay.failed(list[0], at(0.0));
        let longer = servers(3);
        assert_eq!(relay.pick(&longer, &query(1, "a"), client(1000), at(0.1)), Some(0));
        // A stranger's address means nothing.
        relay.failed(SocketAddr::from(([192, 0, 2, 200], 53)), at(0.1));
        assert_eq!(relay.pick_stream(&longer, at(0.1)), Some(0));
    }

    #[test]
    fn what_is_no_query_proves_nothing() {
        let (mut relay, list) = (DnsRelay::new(), servers(2));
        let mut damaged = query(1, "a");
        damaged.truncate(16);
        let mut empty = query(1, "a");
        empty[5] = 0;
        let mut compressed = query(1, "a");
        compressed[12] = 0xc0;
        for payload in [&b""[..], b"hello", &answer(1, "a"), &damaged, &empty, &compressed] {
            assert_eq!(relay.pick(&list, payload, client(1000), at(0.0)), Some(0));
            assert_eq!(relay.pick(&list, payload, client(1000), at(5.0)), Some(0));
        }
        assert!(relay.queries.is_empty());
    }

    #[test]
    fn clock_that_goes_back_makes_nothing_old() {
        let (mut relay, list) = (DnsRelay::new(), servers(2));
        assert_eq!(relay.pick(&list, &query(1, "a"), client(1000), at(1000.0)), Some(0));
        assert_eq!(relay.pick(&list, &query(2, "a"), client(1000), at(0.0)), Some(0));
    }

    proptest! {
        #[test]
        fn any_bytes_get_a_server(
            payloads in prop::collection::vec((prop::collection::vec(any::<u8>(), 0..80), any::<bool>()), 0..200),
            count in 1_u8..5,
        ) {
            let (mut relay, list) = (DnsRelay::new(), servers(count));
            for (number, (mut payload, plausible)) in payloads.into_iter().enumerate() {
                if plausible && payload.len() > 5 {
                    payload[2] &= 0x7f;
                    payload[4..6].copy_from_slice(&[0, 1]);
                }
                let now = at(number as f64);
                let index = relay.pick(&list, &payload, client(1000), now);
                prop_assert!(index.is_some_and(|index| index < list.len()));
                relay.answered(list[0], &payload, client(1000));
                prop_assert!(relay.queries.len() <= QUERIES_MAX);
            }
        }
    }
}
