//! The flows that there are, for programs that ask: a page at a time, in the order in which they have begun.

use std::net::SocketAddr;

use super::state_name;
use crate::flow::icmp::IcmpFlow;
use crate::flow::journal::{About, Account, Carrier, Known, Way};
use crate::flow::tcp::{Origin, TcpFlow};
use crate::flow::udp::UdpFlow;
use crate::policy::{Heard, Question, Verdict};
use crate::stack::review::question_of_icmp;
use crate::stack::{Stack, Tables};
use crate::time::Duration;

/// A flow.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FlowEntry<'a> {
    /// They are numbered as they begin.
    pub number: u64,
    pub carrier: Carrier,
    pub incoming: bool,
    pub guest: SocketAddr,
    /// The other end as the guest knows it.
    pub remote: Option<SocketAddr>,
    /// The real one.
    pub host: Option<SocketAddr>,
    pub guest_forward: bool,
    /// The name in its first bytes, or one that an answer of the name server had the other end's address for; where the policy
    /// wanted to know.
    pub name: Option<&'a str>,
    /// Of a connection.
    pub state: Option<&'static str>,
    pub to_host: u64,
    pub to_guest: u64,
    /// Unknown for one that has begun before anybody could ask.
    pub age: Option<Duration>,
    pub round_trip: Option<Duration>,
    /// What the policy says of it, where there is one.
    pub verdict: Option<Verdict>,
}

/// Where a flow is found.
#[derive(Clone, Copy)]
enum Place<'a> {
    Tcp(&'a TcpFlow),
    Udp(&'a UdpFlow),
    Client(&'a UdpFlow, SocketAddr, SocketAddr, &'a Account),
    Icmp(&'a IcmpFlow),
}

/// The `most` oldest flows of those with a number above `after`; and whether there are more.
pub(crate) fn flows(stack: &Stack, after: u64, most: usize) -> (Vec<FlowEntry<'_>>, bool) {
    let tables = stack.tables();
    let tcp = tables.tcp.flows.iter().map(|(_, entry)| (entry.number, Place::Tcp(&entry.flow)));
    let udp = tables.udp.flows.iter().filter(|(_, entry)| !entry.flow.is_forward());
    let udp = udp.map(|(_, entry)| (entry.number, Place::Udp(&entry.flow)));
    let clients = tables.udp.forwards().flat_map(|(_, entry)| {
        let flow = &entry.flow;
        let place = |real, known_as, account| Place::Client(flow, real, known_as, account);
        flow.clients().map(move |(number, real, name, account)| (number, place(real, name.socket_address(), account)))
    });
    let icmp = tables.icmp.flows.iter().map(|(_, entry)| (entry.number, Place::Icmp(&entry.flow)));
    let all = tcp.chain(udp).chain(clients).chain(icmp);
    let mut found: Vec<(u64, Place<'_>)> = all.filter(|(number, _)| *number > after).collect();
    let more = found.len() > most;
    if more && most > 0 {
        found.select_nth_unstable_by_key(most - 1, |(number, _)| *number);
    }
    found.truncate(most);
    found.sort_unstable_by_key(|(number, _)| *number);
    (found.into_iter().map(|(number, place)| describe(stack, &tables, number, place)).collect(), more)
}

fn describe<'a>(stack: &'a Stack, tables: &Tables<'a>, number: u64, place: Place<'a>) -> FlowEntry<'a> {
    let known = tables.cx.journal.known(number);
    let judge = |question: Option<Question>| question.and_then(|question| stack.verdict(&question));
    let (carrier, guest, account) = match place {
        Place::Tcp(flow) => (Carrier::Tcp, flow.key().guest.socket_address(), flow.account()),
        Place::Udp(flow) => (Carrier::Udp, flow.guest().socket_address(), flow.account()),
        Place::Client(flow, _, _, account) => (Carrier::Udp, flow.guest().socket_address(), account),
        Place::Icmp(flow) => (Carrier::Icmp, SocketAddr::new(flow.guest(), 0), flow.account()),
    };
    let now = tables.cx.now;
    let entry = FlowEntry {
        number,
        carrier,
        incoming: known.is_some_and(|known| known.about.way == Way::In),
        guest,
        remote: None,
        host: known.and_then(|known: &Known| known.about.host),
        guest_forward: false,
        name: known.and_then(|known| stack.name_of(&known.about)),
        state: None,
        to_host: account.to_host(),
        to_guest: account.to_guest(),
        age: known.map(|known| if now > known.begun { now - known.begun } else { Duration::ZERO }),
        round_trip: None,
        verdict: None,
    };
    match place {
        Place::Tcp(flow) => FlowEntry {
            incoming: flow.origin() != Origin::Guest,
            remote: Some(flow.key().remote.socket_address()),
            guest_forward: flow.has_guest_forward(),
            state: Some(state_name(flow.connection().state())),
            round_trip: flow.connection().srtt(),
            name: flow.heard().and_then(Heard::name).or(entry.name),
            verdict: stack.verdict_of_tcp(flow),
            ..entry
        },
        Place::Udp(flow) => FlowEntry {
            remote: flow.remote().map(|remote| remote.socket_address()),
            name: known.and_then(|known| stack.name_of(&About { remote: flow.remote()?, ..known.about })),
            verdict: judge(stack.question_of_udp(flow)),
            ..entry
        },
        Place::Client(_, real, known_as, _) => FlowEntry {
            remote: Some(known_as),
            host: Some(real),
            verdict: judge(Some(Question::incoming(crate::policy::Protocol::Udp, guest, real))),
            ..entry
        },
        Place::Icmp(flow) => FlowEntry {
            remote: Some(SocketAddr::new(flow.destination(), 0)),
            verdict: judge(Some(question_of_icmp(flow))),
            ..entry
        },
    }
}
