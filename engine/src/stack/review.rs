//! Another policy for a stack that runs: it is asked of every flow that there is, some at a time, and those that it forbids end. And
//! a stack that is drained: nothing begins any more.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use super::Stack;
use crate::flow::gate::{Open, Protocol, Service};
use crate::flow::icmp::{IcmpFlow, IcmpId};
use crate::flow::journal::{About, Carrier};
use crate::flow::key::Endpoint;
use crate::flow::policy::Destination;
use crate::flow::tcp::{Origin, Side, TcpFlow, TcpId};
use crate::flow::udp::{UdpFlow, UdpId};
use crate::policy::{Action, Direction, Policy, Question, Reason, Verdict, Via};
use crate::service::{dhcp, dhcpv6, tftp};

/// Flows that are still to be asked about.
#[derive(Debug, Default)]
pub(crate) struct Review {
    tcp: Vec<TcpId>,
    udp: Vec<UdpId>,
    icmp: Vec<IcmpId>,
    /// How many had to end.
    pub ended: u64,
}

impl Stack {
    /// Has another policy judge from now on. What there is, is to be reviewed next.
    pub(crate) fn replace_policy(&mut self, policy: Policy) -> Review {
        self.cx.gate.replace(Arc::new(policy));
        if let Some(limits) = &mut self.cx.limits {
            limits.forget_rules();
        }
        Review {
            tcp: self.tcp.flows.iter().map(|(id, _)| id).collect(),
            udp: self.udp.flows.iter().map(|(id, _)| id).collect(),
            icmp: self.icmp.flows.iter().map(|(id, _)| id).collect(),
            ended: 0,
        }
    }

    /// Ends those of the next `most` flows that the policy forbids. False when all were asked about.
    pub(crate) fn review(&mut self, review: &mut Review, most: usize) -> bool {
        for _ in 0..most {
            if let Some(id) = review.tcp.pop() {
                // One whose first bytes are waited for is judged when these have come.
                let flow = self.tcp.flows.get(id).filter(|flow| !flow.is_listening());
                let action = match flow.and_then(|flow| Some((flow, self.verdict_of_tcp(flow)?))) {
                    Some((flow, verdict))
                        if verdict.action == Action::Allow && !self.is_led_elsewhere(flow, verdict) =>
                    {
                        continue;
                    }
                    Some((_, verdict)) => verdict.action,
                    None => continue,
                };
                self.tcp.forbid(id, action != Action::Drop, &mut self.cx);
                review.ended += 1;
            } else if let Some(id) = review.udp.pop() {
                let Some(flow) = self.udp.flows.get(id) else { continue };
                if flow.is_forward() {
                    self.udp.review_clients(id, &mut self.cx);
                    continue;
                }
                let verdict = self.question_of_udp(flow).and_then(|question| self.verdict(&question));
                let goes_on = |verdict: Verdict| {
                    let (rule, via) = self.rule_of(verdict);
                    verdict.action == Action::Allow && flow.is_led_by(rule, via)
                };
                if !verdict.is_none_or(goes_on) {
                    self.udp.forbid(id, &mut self.cx);
                    review.ended += 1;
                }
            } else if let Some(id) = review.icmp.pop() {
                let question = self.icmp.flows.get(id).map(question_of_icmp);
                if question.is_some_and(|question| self.forbids(&question).is_some()) {
                    self.icmp.forbid(id, &mut self.cx);
                    review.ended += 1;
                }
            } else {
                return false;
            }
        }
        true
    }

    /// What the policy says of a flow, where there is one.
    pub(crate) fn verdict(&self, question: &Question) -> Option<Verdict> {
        self.cx.gate.verdict(question, None, self.cx.now)
    }

    /// The policy, where there is one.
    pub(crate) fn policy(&self) -> Option<&Policy> {
        self.cx.gate.policy()
    }

    /// The same of a connection. Where the policy wants to know its first bytes, these are the ones that it heard; one that was not
    /// listened to has none, and may not go on.
    pub(crate) fn verdict_of_tcp(&self, flow: &TcpFlow) -> Option<Verdict> {
        self.cx.gate.verdict(&self.question_of_tcp(flow)?, flow.heard(), self.cx.now)
    }

    /// A name of a flow's other end, as far as answers of the name server have said.
    pub(crate) fn name_of(&self, about: &About) -> Option<&str> {
        self.cx.gate.name_to_log(about, &self.cx.policy, self.cx.now)
    }

    fn forbids(&self, question: &Question) -> Option<Action> {
        self.verdict(question).map(|verdict| verdict.action).filter(|action| *action != Action::Allow)
    }

    /// What the guest would ask for; `None` where the way there is closed without any policy.
    pub(crate) fn question_out(&self, protocol: Protocol, guest: SocketAddr, named: SocketAddr) -> Option<Question> {
        if protocol == Protocol::Tcp && self.guest_forwards.find(named.into()).is_some() {
            return Some(Question::service(Service::GuestForward, protocol, guest, named));
        }
        if let Some(service) = self.own_service(protocol, named) {
            return Some(Question::service(service, protocol, guest, named));
        }
        match self.cx.policy.translate(named.into()) {
            Destination::Host(host) => Some(Question::out(protocol, guest, named, host)),
            Destination::NameServer => Some(Question::service(Service::Dns, protocol, guest, named)),
            Destination::Refused => None,
        }
    }

    /// The service that is found there before anybody asks what the address means: as `input` and `input6` find it.
    fn own_service(&self, protocol: Protocol, named: SocketAddr) -> Option<Service> {
        let policy = &self.cx.policy;
        let is_host = match named.ip() {
            IpAddr::V4(ip) => ip == policy.v4.host,
            IpAddr::V6(ip) => policy.is_virtual_host6(ip),
        };
        match (protocol, named.ip(), named.port()) {
            (Protocol::Icmp, IpAddr::V4(ip), _) => {
                (policy.v4.is_virtual(ip) || self.guest_forwards.covers(ip)).then_some(Service::Echo)
            }
            (Protocol::Icmp, IpAddr::V6(ip), _) => self.is_ours6(ip).then_some(Service::Echo),
            (Protocol::Udp, IpAddr::V4(ip), dhcp::SERVER_PORT) if is_host || ip.is_broadcast() => Some(Service::Dhcp),
            (Protocol::Udp, IpAddr::V6(ip), dhcpv6::SERVER_PORT)
                if ip == policy.v6.host || ip == dhcpv6::ALL_AGENTS =>
            {
                Some(Service::Dhcp)
            }
            (Protocol::Udp, _, tftp::PORT) if is_host => Some(Service::Tftp),
            _ => None,
        }
    }

    /// Where the guest is, as forwards that say no address have it: where it is expected, while nothing is known of it.
    pub(crate) fn expected_guest(&self) -> SocketAddr {
        let ip = self.cx.guest_address(false).unwrap_or(self.cx.first_guest.into());
        SocketAddr::new(ip, 0)
    }

    fn question_of_tcp(&self, flow: &TcpFlow) -> Option<Question> {
        let (guest, named) = (flow.key().guest.socket_address(), flow.key().remote.socket_address());
        if flow.origin() != Origin::Guest {
            return Some(Question::incoming(Protocol::Tcp, guest, flow.peer()?));
        }
        if flow.has_guest_forward() {
            return Some(Question::service(Service::GuestForward, Protocol::Tcp, guest, named));
        }
        let mut question = self.question_out(Protocol::Tcp, guest, named)?;
        if let (None, Side::Host(stream)) = (question.service, flow.side())
            && let Some(real) = stream.peer_address().filter(|real| is_other_loopback(*real, question.host))
        {
            question.host = real;
        }
        Some(question)
    }

    /// Whether a connection that is allowed goes somewhere else than the rule leads it.
    fn is_led_elsewhere(&self, flow: &TcpFlow, verdict: Verdict) -> bool {
        let (Some(question), Side::Host(stream)) = (self.question_of_tcp(flow), flow.side()) else { return false };
        // Where it goes that is not connected yet is not to be told.
        let Some(real) = stream.peer_address() else { return false };
        if question.direction != Direction::Out || question.service.is_some() {
            return false;
        }
        let wanted = match self.rule_of(verdict).1 {
            None => question.host,
            Some(Via::Address(address)) => *address,
            Some(Via::Proxy(proxy)) => proxy.address,
        };
        // Scopes and labels apart.
        Endpoint::from(real) != Endpoint::from(wanted)
    }

    /// The number of the rule that has decided, and where that leads.
    fn rule_of(&self, verdict: Verdict) -> (Option<u32>, Option<&Via>) {
        match verdict.reason {
            Reason::Rule(number) => (Some(number), self.cx.gate.policy().and_then(|policy| policy.via(number))),
            _ => (None, None),
        }
    }

    pub(crate) fn question_of_udp(&self, flow: &UdpFlow) -> Option<Question> {
        self.question_out(Protocol::Udp, flow.guest().socket_address(), flow.remote()?.socket_address())
    }

    /// Lets nothing begin any more, or again what the policy lets.
    pub(crate) fn drain(&mut self, drains: bool) {
        let policy = &self.cx.policy;
        let open = self.udp.flows.iter().flat_map(|(_, entry)| {
            let flow = &entry.flow;
            let own = flow.remote().map(|remote| (flow.guest(), remote)).filter(|_| !flow.is_forward());
            let own = own.and_then(|(guest, remote)| match policy.translate(remote) {
                Destination::Host(real) => Some((guest, remote, Some(real))),
                Destination::NameServer => Some((guest, remote, None)),
                Destination::Refused => None,
            });
            let clients = flow.clients().map(|(_, real, known_as, _)| (flow.guest(), known_as, Some(real)));
            own.into_iter().chain(clients)
        });
        let open: Vec<Open> = open.collect();
        self.cx.gate.drain(drains, open.into_iter(), self.cx.now);
    }

    /// Whether nothing begins any more.
    pub(crate) fn is_draining(&self) -> bool {
        self.cx.gate.is_draining()
    }

    /// How many flows there are.
    pub(crate) fn flow_count(&self) -> u64 {
        let journal = &self.cx.journal;
        let there = |carrier| {
            let counts = journal.counts(carrier);
            counts.begun.saturating_sub(counts.ended)
        };
        [Carrier::Tcp, Carrier::Udp, Carrier::Icmp].into_iter().map(there).sum()
    }

    /// Keeps from now on what is known of each flow, for who asks about flows.
    pub(crate) fn keep_roll(&mut self) {
        self.cx.journal.keep_roll();
    }
}

/// Whether the virtual host was found at the other one of the host's loopback addresses.
fn is_other_loopback(real: SocketAddr, meant: SocketAddr) -> bool {
    real.ip().is_loopback() && meant.ip().is_loopback() && real.port() == meant.port()
}

pub(crate) fn question_of_icmp(flow: &IcmpFlow) -> Question {
    let end = |ip| SocketAddr::new(ip, 0);
    Question::out(Protocol::Icmp, end(flow.guest()), end(flow.destination()), end(flow.real()))
}
