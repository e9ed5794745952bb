//! Queries that were judged and wait for their answers, where the policy looks at names.

use std::collections::VecDeque;
use std::net::SocketAddr;

use crate::flow::key::Endpoint;
use crate::service::dns::message::{self, Asked, Before};
use crate::service::elapsed;
use crate::time::{Duration, Instant};

/// Queries at one time; the oldest goes, and its answer is lost.
const MOST: usize = 1024;
/// How long an answer may take. Resolvers wait for 5 seconds, or repeat their query.
const PATIENCE: Duration = Duration::from_secs(10);
/// Servers that one query was sent to; those behind are not believed.
const MOST_SERVERS: usize = 8;

/// What is expected.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Expected {
    /// What the server is asked.
    pub asked: Asked,
    /// What stands before the answer, where the guest has asked for a name of the network's own that is an alias.
    pub before: Option<Box<Before>>,
}

impl Expected {
    /// What the guest has asked for.
    pub(crate) fn by_guest(&self) -> &Asked {
        self.before.as_ref().map_or(&self.asked, |before| &before.asked)
    }
}

/// A query, by the guest's end that has sent it.
#[derive(Debug)]
struct Waiting {
    client: Endpoint,
    expected: Expected,
    servers: Vec<SocketAddr>,
    at: Instant,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Pending(VecDeque<Waiting>);

impl Pending {
    /// A query is about to be asked on.
    pub(super) fn note(&mut self, client: Endpoint, expected: Expected, now: Instant) {
        while self.0.front().is_some_and(|query| elapsed(query.at, now) >= PATIENCE) {
            self.0.pop_front();
        }
        let same = self.0.iter().position(|query| query.client == client && query.expected == expected);
        // Who repeats a query waits for every server that had it.
        let servers = same.and_then(|index| self.0.remove(index)).map(|query| query.servers).unwrap_or_default();
        if self.0.len() >= MOST {
            self.0.pop_front();
        }
        self.0.push_back(Waiting { client, expected, servers, at: now });
    }

    /// A query of `client` goes to this server.
    pub(super) fn goes_to(&mut self, client: Endpoint, query: &[u8], server: SocketAddr) {
        let id = query.first_chunk().map(|id| u16::from_be_bytes(*id));
        let mut own = self.0.iter_mut().rev();
        let Some(query) = own.find(|waiting| waiting.client == client && Some(waiting.expected.asked.id) == id) else {
            return;
        };
        if !query.servers.contains(&server) && query.servers.len() < MOST_SERVERS {
            query.servers.push(server);
        }
    }

    /// The query that a message of this server answers. It waits no longer.
    pub(super) fn answered(
        &mut self,
        client: Endpoint,
        answer: &[u8],
        server: SocketAddr,
        now: Instant,
    ) -> Option<Expected> {
        let is_it = |query: &Waiting| {
            query.client == client
                && query.servers.contains(&server)
                && elapsed(query.at, now) < PATIENCE
                && message::answers(answer, &query.expected.asked)
        };
        let index = self.0.iter().position(is_it)?;
        self.0.remove(index).map(|query| query.expected)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expected(id: u16) -> Expected {
        let asked = Asked { id, name: "a.test".parse().unwrap(), kind: 1 };
        Expected { asked, before: None }
    }

    /// The message that answers that.
    fn answer(id: u16) -> Vec<u8> {
        [&id.to_be_bytes()[..], b"\x81\x80\0\x01\0\0\0\0\0\0\x01a\x04test\0\0\x01\0\x01"].concat()
    }

    #[test]
    fn only_who_was_asked_answers_once_and_in_time() {
        let server: SocketAddr = "192.0.2.53:53".parse().unwrap();
        let client = |port| Endpoint::new([10, 0, 2, 15], port);
        let at = Instant::from_secs;
        let mut pending = Pending::default();
        let ask = |pending: &mut Pending, id: u16, seconds| {
            pending.note(client(1), expected(id), at(seconds));
            pending.goes_to(client(1), &id.to_be_bytes(), server);
        };
        ask(&mut pending, 7, 0);
        let other: SocketAddr = "192.0.2.54:53".parse().unwrap();
        assert!(pending.answered(client(1), &answer(8), server, at(1)).is_none());
        assert!(pending.answered(client(2), &answer(7), server, at(1)).is_none());
        assert!(pending.answered(client(1), &answer(7), other, at(1)).is_none());
        assert!(pending.answered(client(1), &answer(7), server, at(10)).is_none());
        let query = pending.answered(client(1), &answer(7), server, at(9)).unwrap();
        assert_eq!(query, expected(7));
        assert!(pending.answered(client(1), &answer(7), server, at(9)).is_none(), "a second answer");
        // One that is asked again may be answered by each server that had it.
        ask(&mut pending, 7, 20);
        pending.note(client(1), expected(7), at(25));
        pending.goes_to(client(1), &7_u16.to_be_bytes(), other);
        assert!(pending.answered(client(1), &answer(7), server, at(31)).is_some());
        for id in 0..3 * MOST as u16 {
            ask(&mut pending, id, 40);
            assert!(pending.0.len() <= MOST);
        }
        ask(&mut pending, 1, 60);
        assert_eq!(pending.0.len(), 1);
    }
}
