//! What becomes of queries to the virtual name server, and of answers to them, where the policy looks at names or the network has
//! names of its own: nothing is asked that no rule allows, an address counts for a name because an answer that was asked for says so,
//! and what is known here is answered here.

use std::borrow::Cow;
use std::net::{IpAddr, SocketAddr};

use simple_dns::RCODE;

use super::Expected;
use crate::flow::context::Context;
use crate::flow::gate::{Admission, Service};
use crate::flow::journal::{About, Carrier};
use crate::flow::key::{Endpoint, FlowKey};
use crate::flow::policy::Destination;
use crate::policy::Name;
use crate::service::dns::message::{self, Asked, Before, Unfit};
use crate::service::dns::own::Found;
use crate::time::Duration;

/// What becomes of a query.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Ruling {
    /// The host's name server is asked, this or what the guest asks; an answer is expected, where it is looked at.
    AskOn(Option<Vec<u8>>, Option<Expected>),
    /// This is the reply.
    Reply(Vec<u8>),
    /// There is none.
    Silence,
}

impl Context {
    /// Whether queries to the virtual name server and their answers are looked at.
    #[inline]
    pub(crate) fn looks_at_queries(&self) -> bool {
        self.gate.governs_names() || self.name_servers.has_own()
    }

    /// [`Context::judge_query`] for a datagram. What is to be sent in its place, or the reply.
    pub(crate) fn rule_on_datagram(&mut self, query: &[u8], ends: FlowKey) -> Ruling {
        let mut ruling = self.judge_query(query, &ends, true);
        if let Ruling::AskOn(_, expected) = &mut ruling
            && let Some(expected) = expected.take()
        {
            self.name_servers.expect_answer(ends.guest, expected, self.now);
        }
        ruling
    }

    /// The answer that the guest is to have for a datagram that `server` has sent; nothing where it was not asked for.
    pub(crate) fn rule_on_answer<'a>(
        &mut self,
        answer: &'a [u8],
        client: Endpoint,
        server: SocketAddr,
    ) -> Option<Cow<'a, [u8]>> {
        match self.name_servers.expected_answer(client, answer, server, self.now) {
            Some(expected) => self.judge_answer(answer, client, &expected),
            // Where names are not governed, only what was asked in the place of a name of the network's own is expected.
            None => (!self.gate.governs_names()).then_some(Cow::Borrowed(answer)),
        }
    }

    /// Judges what a query asks; `ends` are who has sent it, and the name server as it knows that.
    pub(crate) fn judge_query(&mut self, query: &[u8], ends: &FlowKey, is_datagram: bool) -> Ruling {
        let governs = self.gate.governs_names();
        let asked = match message::read_query(query) {
            Ok(asked) => asked,
            // A server may make more of it.
            Err(_) if !governs => return Ruling::AskOn(None, None),
            Err(Unfit::Silent) => return Ruling::Silence,
            Err(Unfit::Reply(reply)) => {
                self.note_refused_question(ends, is_datagram, None, Admission::OPEN);
                return Ruling::Reply(reply);
            }
        };
        let own = self.name_servers.find_own(&asked);
        let mut rules = Vec::new();
        if governs {
            // Whoever may ask for a name may also ask which address of the network's own has it.
            let pointer = own.as_ref().and_then(|found| found.pointer.as_ref());
            let name = pointer.map_or(&asked.name, |(name, _)| name);
            let (admission, found) = self.gate.question(ends.guest.ip, name);
            if !admission.is_allowed() {
                self.note_refused_question(ends, is_datagram, Some(&asked.name), admission);
                let reply = admission.is_told().then(|| message::refusal(query));
                return reply.map_or(Ruling::Silence, Ruling::Reply);
            }
            rules = found;
        }
        match own {
            Some(found) => self.answer_own(query, asked, rules, found, is_datagram),
            None if governs => Ruling::AskOn(None, Some(Expected { asked, before: None })),
            None => Ruling::AskOn(None, None),
        }
    }

    /// The host's name server will not be asked this.
    #[cold]
    fn note_refused_question(&mut self, ends: &FlowKey, is_datagram: bool, name: Option<&Name>, admission: Admission) {
        let carrier = if is_datagram { Carrier::Udp } else { Carrier::Tcp };
        let about = About::out(carrier, ends.guest, ends.remote, None).for_service(Some(Service::Dns)).by(admission);
        self.journal.refused_question(&about, name, self.now);
    }

    fn answer_own(&mut self, query: &[u8], asked: Asked, rules: Vec<u32>, found: Found, is_datagram: bool) -> Ruling {
        let failed = || Ruling::Reply(message::reply(query, RCODE::ServerFailure));
        if let Some(elsewhere) = &found.elsewhere {
            let Some((other, of_server)) = message::query_elsewhere(query, &asked, elsewhere) else { return failed() };
            let before = Some(Box::new(Before { asked, aliases: found.aliases }));
            return Ruling::AskOn(Some(other), Some(Expected { asked: of_server, before }));
        }
        let Some(reply) = message::own_reply(query, &asked, &found, is_datagram) else { return failed() };
        // The shortest time on the way to it.
        let least = found.aliases.iter().map(|(.., ttl)| *ttl).min().unwrap_or(u32::MAX);
        let counts = |(ip, ttl): &(IpAddr, u32)| (*ip, Duration::from_secs(least.min(*ttl).into()));
        let addresses: Vec<(IpAddr, Duration)> = found.addresses.iter().map(counts).collect();
        self.learn(&asked, &rules, &addresses);
        Ruling::Reply(reply)
    }

    /// The answer that the guest is to have for the one that was expected.
    pub(crate) fn judge_answer<'a>(
        &mut self,
        answer: &'a [u8],
        client: Endpoint,
        expected: &Expected,
    ) -> Option<Cow<'a, [u8]>> {
        let Expected { asked, before } = expected;
        // By the policy that there is now.
        let (admission, rules) = self.gate.question(client.ip, &expected.by_guest().name);
        if !admission.is_allowed() {
            return message::failure(expected.by_guest()).map(Cow::Owned);
        }
        let may_stand = |ip| self.means(ip).is_some_and(|real| self.gate.may_stand(client.ip, &rules, real));
        let Some(looked) = message::look_through(answer, asked, before.as_deref(), may_stand) else {
            return message::failure(expected.by_guest()).map(Cow::Owned);
        };
        self.learn(expected.by_guest(), &rules, &looked.addresses);
        Some(looked.rewritten.map_or(Cow::Borrowed(answer), Cow::Owned))
    }

    /// What an address in an answer means on the host's side, where it means a host.
    fn means(&self, ip: IpAddr) -> Option<IpAddr> {
        match self.policy.translate(Endpoint::new(ip, 0)) {
            Destination::Host(real) => Some(real.ip()),
            Destination::NameServer | Destination::Refused => None,
        }
    }

    /// Addresses count for a name from now on: those that flows really go to.
    fn learn(&mut self, asked: &Asked, rules: &[u32], addresses: &[(IpAddr, Duration)]) {
        let real = addresses.iter().filter_map(|(ip, ttl)| Some((self.means(*ip)?, *ttl)));
        let real: Vec<(IpAddr, Duration)> = real.collect();
        self.gate.learn(&asked.name, rules, &real, self.now);
    }
}
