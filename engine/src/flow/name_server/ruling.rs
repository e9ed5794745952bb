//! What becomes of queries to the virtual name server, and of answers to them, where the policy looks at names: nothing is asked that
//! no rule allows, and an address counts for a name because an answer that was asked for says so.

use std::borrow::Cow;
use std::net::SocketAddr;

use simple_dns::RCODE;

use crate::flow::context::Context;
use crate::flow::key::Endpoint;
use crate::service::dns::message::{self, Unfit};

/// What becomes of a query.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Ruling {
    /// The host's name server is asked.
    AskOn,
    /// This is the reply.
    Reply(Vec<u8>),
    /// There is none.
    Silence,
}

impl Context {
    /// Judges what a query asks; `client` is who has sent it.
    pub(crate) fn rule_on_query(&mut self, query: &[u8], client: Endpoint) -> Ruling {
        let asked = match message::read_query(query) {
            Ok(asked) => asked,
            Err(Unfit::Silent) => return Ruling::Silence,
            Err(Unfit::Reply(reply)) => return Ruling::Reply(reply),
        };
        let (admission, rules) = self.gate.question(client.ip, &asked.name);
        if admission.is_allowed() {
            self.name_servers.expect_answer(client, asked, rules, self.now);
            return Ruling::AskOn;
        }
        if admission.is_told() { Ruling::Reply(message::reply(query, RCODE::Refused)) } else { Ruling::Silence }
    }

    /// The answer that the guest is to have for one that `server` has given; nothing where it was not asked for.
    pub(crate) fn rule_on_answer<'a>(
        &mut self,
        answer: &'a [u8],
        client: Endpoint,
        server: SocketAddr,
    ) -> Option<Cow<'a, [u8]>> {
        let query = self.name_servers.expected_answer(client, answer, server, self.now)?;
        let may_stand = |ip| self.gate.may_stand(client.ip, &query.rules, ip);
        let Some(looked) = message::look_through(answer, &query.asked, may_stand) else {
            return message::failure(&query.asked).map(Cow::Owned);
        };
        self.gate.learn(&query.asked.name, &query.rules, &looked.addresses, self.now);
        Some(looked.rewritten.map_or(Cow::Borrowed(answer), Cow::Owned))
    }
}
