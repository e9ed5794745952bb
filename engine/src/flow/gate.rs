//! Where flows ask whether they may begin. Without the feature `policy`, and without a policy, everything may.
//!
//! A connection and an echo flow ask once. Datagrams have no beginning of their own, and one flow of theirs leads to many
//! destinations: the gate knows which of them it has let through, so that each is judged once.
//!
//! Where rules have names, the gate also knows what the virtual name server has said of addresses (`learned`).

#[cfg(feature = "policy")]
mod learned;

use std::net::SocketAddr;
use std::num::NonZeroU32;

use super::context::Context;
use super::egress::Unreachable;
#[cfg(feature = "policy")]
use super::journal::Way;
use super::journal::{About, Carrier, Refusal};
use super::key::Endpoint;
#[cfg(feature = "policy")]
use super::policy::Destination;
use super::policy::Policy as Translation;
use crate::time::Instant;

#[cfg(feature = "policy")]
use crate::policy::{Heard, Name};
#[cfg(feature = "policy")]
pub(crate) use crate::policy::{Protocol, Service};
#[cfg(feature = "control")]
use crate::policy::{Question, Verdict};
#[cfg(feature = "policy")]
use crate::time::Duration;
#[cfg(feature = "policy")]
use std::net::IpAddr;
#[cfg(not(feature = "policy"))]
pub(crate) use without::{Protocol, Service};

/// What becomes of a flow, and the number of the rule that says so, from 1, where one does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Admission {
    fate: Fate,
    rule: Option<NonZeroU32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(not(feature = "policy"), expect(dead_code, reason = "nothing is refused"))]
enum Fate {
    /// It may begin.
    Allowed,
    /// It may begin, and its first bytes say whether it may go on.
    Listening,
    /// It may not, of which whoever began it is to be told.
    Denied,
    /// It may not.
    Dropped,
}

impl Admission {
    /// Where nobody was asked.
    pub(crate) const OPEN: Admission = Admission { fate: Fate::Allowed, rule: None };

    #[inline]
    pub(crate) fn is_allowed(self) -> bool {
        self.fate == Fate::Allowed
    }

    /// Whether it may begin, and goes on only if [`Gate::hello`] allows it.
    #[inline]
    pub(crate) fn listens(self) -> bool {
        self.fate == Fate::Listening
    }

    /// Whether it may not begin and who began it is to be told.
    #[inline]
    pub(crate) fn is_told(self) -> bool {
        self.fate == Fate::Denied
    }

    /// The number of the rule that decided.
    #[inline]
    pub(crate) fn rule(self) -> Option<NonZeroU32> {
        self.rule
    }
}

/// The policy, and what it has let through.
#[derive(Default)]
pub(crate) struct Gate {
    #[cfg(feature = "policy")]
    guarded: Option<Box<guarded::Guarded>>,
}

/// Without the feature, and with it where a stack has no policy.
#[cfg(not(feature = "policy"))]
impl Gate {
    #[inline(always)]
    pub(crate) fn is_open(&self) -> bool {
        true
    }

    pub(crate) fn out(&self, _: Protocol, _: Endpoint, _: Endpoint, _: SocketAddr, _: Instant) -> Admission {
        Admission::OPEN
    }

    pub(crate) fn incoming(&self, _: Protocol, _: Endpoint, _: SocketAddr) -> Admission {
        Admission::OPEN
    }

    pub(crate) fn service(&self, _: Service, _: Protocol, _: Endpoint, _: Endpoint) -> Admission {
        Admission::OPEN
    }

    pub(crate) fn datagram_out(&mut self, _: Endpoint, _: Endpoint, _: SocketAddr, _: Instant) -> Admission {
        Admission::OPEN
    }

    pub(crate) fn datagram_to(&mut self, _: Service, _: Endpoint, _: Endpoint) -> Admission {
        Admission::OPEN
    }

    pub(crate) fn datagram_in(&mut self, _: Endpoint, _: SocketAddr) -> Admission {
        Admission::OPEN
    }

    pub(crate) fn answer(&mut self, _: Endpoint, _: Endpoint, _: SocketAddr, _: Instant) -> Admission {
        Admission::OPEN
    }

    #[inline(always)]
    pub(crate) fn name_to_log(&self, _: &About, _: &Translation, _: Instant) -> Option<&str> {
        None
    }
}

#[cfg(feature = "policy")]
impl Gate {
    pub(crate) fn new(policy: Option<std::sync::Arc<crate::policy::Policy>>) -> Gate {
        Gate { guarded: policy.map(|policy| Box::new(guarded::Guarded::new(policy))) }
    }

    /// Whether there is no policy.
    #[inline]
    pub(crate) fn is_open(&self) -> bool {
        self.guarded.is_none()
    }

    /// Has another policy judge from now on. What was let through is judged anew; what is known of names is kept as far as the new one
    /// has them.
    #[cfg(feature = "control")]
    pub(crate) fn replace(&mut self, policy: std::sync::Arc<crate::policy::Policy>) {
        let before = self.guarded.take();
        self.guarded = Some(Box::new(guarded::Guarded::after(policy, before.map(|before| *before))));
    }

    /// What the policy says, where there is one; of a connection with what its first bytes have said.
    #[cfg(feature = "control")]
    pub(crate) fn verdict(&self, question: &Question, heard: Option<&Heard>, now: Instant) -> Option<Verdict> {
        self.guarded.as_ref()?.verdict(question, heard, now)
    }

    /// The policy, where there is one.
    #[cfg(feature = "control")]
    pub(crate) fn policy(&self) -> Option<&crate::policy::Policy> {
        self.guarded.as_ref()?.policy()
    }

    /// Lets nothing begin any more, or again what the policy lets. `open` are ways of datagrams that stay open.
    #[cfg(feature = "control")]
    pub(crate) fn drain(&mut self, drains: bool, open: impl Iterator<Item = Open>) {
        if drains {
            if self.guarded.is_none() {
                self.guarded = guarded::Guarded::bare().map(Box::new);
            }
            if let Some(guarded) = &mut self.guarded {
                guarded.drain(open);
            }
        } else if self.guarded.as_mut().is_some_and(|guarded| guarded.go_on()) {
            self.guarded = None;
        }
    }

    /// Whether nothing may begin.
    #[cfg(feature = "control")]
    pub(crate) fn is_draining(&self) -> bool {
        self.guarded.as_ref().is_some_and(|guarded| guarded.drains())
    }

    /// Whether the guest may go to `real`, which it calls `named`.
    pub(crate) fn out(
        &self,
        protocol: Protocol,
        guest: Endpoint,
        named: Endpoint,
        real: SocketAddr,
        now: Instant,
    ) -> Admission {
        self.guarded.as_ref().map_or(Admission::OPEN, |guarded| guarded.out(protocol, guest, named, real, now))
    }

    /// Whether a connection of the guest's may go on whose first bytes were waited for.
    pub(crate) fn hello(
        &self,
        guest: Endpoint,
        named: Endpoint,
        real: SocketAddr,
        heard: &Heard,
        now: Instant,
    ) -> Admission {
        self.guarded.as_ref().map_or(Admission::OPEN, |guarded| guarded.hello(guest, named, real, heard, now))
    }

    /// Where the rule that has let a flow in leads it.
    pub(crate) fn via(&self, admission: Admission) -> Option<&crate::policy::Via> {
        let rule = admission.rule().filter(|_| admission.is_allowed())?;
        self.guarded.as_ref()?.via(rule.get())
    }

    /// A name that an address counts for, first of all one that the rule has which has let the flow in.
    pub(crate) fn name_for(&self, real: SocketAddr, admission: Admission, now: Instant) -> Option<&str> {
        self.guarded.as_ref()?.name_for(real, admission.rule(), now)
    }

    /// Whether `peer` may come to the guest through a host forward.
    pub(crate) fn incoming(&self, protocol: Protocol, guest: Endpoint, peer: SocketAddr) -> Admission {
        self.guarded.as_ref().map_or(Admission::OPEN, |guarded| guarded.incoming(protocol, guest, peer))
    }

    /// Whether the guest may have a service of the virtual network.
    pub(crate) fn service(&self, service: Service, protocol: Protocol, guest: Endpoint, named: Endpoint) -> Admission {
        self.guarded.as_ref().map_or(Admission::OPEN, |guarded| guarded.service(service, protocol, guest, named))
    }

    /// [`Gate::out`] for a datagram.
    pub(crate) fn datagram_out(
        &mut self,
        guest: Endpoint,
        named: Endpoint,
        real: SocketAddr,
        now: Instant,
    ) -> Admission {
        let Some(guarded) = &mut self.guarded else { return Admission::OPEN };
        let way = (guest, named, guarded::Way::Out);
        let admission = guarded.once_to(real, way, now, |it| it.out(Protocol::Udp, guest, named, real, now));
        guarded.expect_answers(guest, admission);
        admission
    }

    /// [`Gate::service`] for a datagram.
    pub(crate) fn datagram_to(&mut self, service: Service, guest: Endpoint, named: Endpoint) -> Admission {
        let Some(guarded) = &mut self.guarded else { return Admission::OPEN };
        let way = guarded::Way::Service(service);
        guarded.once((guest, named, way), |it| it.service(service, Protocol::Udp, guest, named))
    }

    /// [`Gate::incoming`] for a datagram.
    pub(crate) fn datagram_in(&mut self, guest: Endpoint, peer: SocketAddr) -> Admission {
        let Some(guarded) = &mut self.guarded else { return Admission::OPEN };
        let key = (guest, peer.into(), guarded::Way::In);
        guarded.once(key, |it| it.incoming(Protocol::Udp, guest, peer))
    }

    /// Whether a datagram of `real`, which the guest calls `named`, may come to where the guest has sent something from: where
    /// the guest could have sent something there.
    pub(crate) fn answer(&mut self, guest: Endpoint, named: Endpoint, real: SocketAddr, now: Instant) -> Admission {
        let Some(guarded) = &mut self.guarded else { return Admission::OPEN };
        // What is remembered is the real address. Several of them can have one name, and that a datagram came from one of them opens no way
        // to the others.
        let key = (guest, real.into(), guarded::Way::Answer);
        guarded.once_to(real, key, now, |it| it.out(Protocol::Udp, guest, named, real, now))
    }

    /// Whether queries to the virtual name server and their answers are looked at.
    pub(crate) fn governs_names(&self) -> bool {
        self.guarded.as_ref().is_some_and(|guarded| guarded.governs_names())
    }

    /// What becomes of a question for this name, and the rules that have it.
    pub(crate) fn question(&self, guest: IpAddr, name: &Name) -> (Admission, Vec<u32>) {
        self.guarded.as_ref().map_or((Admission::OPEN, Vec::new()), |guarded| guarded.question(guest, name))
    }

    /// Whether this address may stand in an answer to a question whose name has these rules.
    pub(crate) fn may_stand(&self, guest: IpAddr, rules: &[u32], ip: IpAddr) -> bool {
        self.guarded.as_ref().is_none_or(|guarded| guarded.may_stand(guest, rules, ip))
    }

    /// A name that the other end of a flow counts for; of several one that its rule has.
    ///
    /// Names are those of what the guest has wanted, wherever a rule leads that. A service of the virtual network has none, whoever
    /// else is at the address that it has on the host's side.
    #[inline]
    pub(crate) fn name_to_log(&self, about: &About, translation: &Translation, now: Instant) -> Option<&str> {
        let guarded = self.guarded.as_ref()?;
        let real = match about.way {
            _ if about.service.is_some() => None,
            Way::In => about.host,
            Way::Out => match translation.translate(about.remote) {
                Destination::Host(real) => Some(real),
                Destination::NameServer | Destination::Refused => None,
            },
        };
        guarded.name_for(real?, about.rule, now)
    }

    /// Addresses count for a name from now on.
    pub(crate) fn learn(&mut self, name: &Name, rules: &[u32], addresses: &[(IpAddr, Duration)], now: Instant) {
        if let Some(guarded) = &mut self.guarded {
            guarded.learn(name, rules, addresses, now);
        }
    }
}

/// A way of datagrams: the guest's end, the other one as the guest names it, and as it is. That one is unknown where it is the
/// name server.
#[cfg(feature = "control")]
pub(crate) type Open = (Endpoint, Endpoint, Option<SocketAddr>);
/// Without the feature.
#[cfg(not(feature = "policy"))]
impl Context {
    #[inline(always)]
    pub(crate) fn looks_at_queries(&self) -> bool {
        false
    }
}

impl Context {
    /// Whether a packet of the guest is turned away; it is told, if it is to be.
    pub(crate) fn turns_away(&mut self, admission: Admission, packet: &[u8]) -> bool {
        if admission.is_told() {
            self.egress.unreachable(Unreachable::Prohibited, packet, self.now);
        }
        !admission.is_allowed()
    }

    /// Whether the guest is kept from a service that it has sent a packet to, which is noted; with the packet it is told, if it
    /// is to be.
    #[inline]
    pub(crate) fn keeps_from(
        &mut self,
        service: Service,
        guest: Endpoint,
        named: Endpoint,
        packet: Option<&[u8]>,
    ) -> bool {
        !self.gate.is_open() && self.judges_service(service, guest, named, packet)
    }

    #[cold]
    fn judges_service(&mut self, service: Service, guest: Endpoint, named: Endpoint, packet: Option<&[u8]>) -> bool {
        let (carrier, admission) = match service {
            Service::Echo => (Carrier::Icmp, self.gate.service(service, Protocol::Icmp, guest, named)),
            _ => (Carrier::Udp, self.gate.datagram_to(service, guest, named)),
        };
        if admission.is_allowed() {
            return false;
        }
        let about = About::out(carrier, guest, named, None).for_service(Some(service)).by(admission);
        self.journal.refused(&about, Refusal::Policy, self.now);
        packet.is_none_or(|packet| self.turns_away(admission, packet))
    }
}

#[cfg(not(feature = "policy"))]
mod without {
    /// What flows would say of themselves.
    #[derive(Clone, Copy)]
    pub(crate) enum Protocol {
        Tcp,
        Icmp,
    }

    /// The same of services.
    #[derive(Clone, Copy, Debug)]
    pub(crate) enum Service {
        Dns,
        Dhcp,
        Tftp,
        GuestForward,
        Echo,
    }
}

#[cfg(feature = "policy")]
mod guarded {
    use std::net::{IpAddr, SocketAddr};
    use std::sync::Arc;

    use foldhash::fast::RandomState;
    use hashbrown::HashMap;

    #[cfg(feature = "control")]
    use super::Open;
    use super::learned::Learned;
    use super::{Admission, Endpoint, Fate, NonZeroU32};
    #[cfg(feature = "control")]
    use crate::policy::Direction;
    use crate::policy::{Action, Heard, Name, Policy, Protocol, Question, Reason, Service, Verdict, Via};
    use crate::time::{Duration, Instant};

    /// Ways of datagrams that are known to be open. When there are more, all are forgotten, and each is judged again.
    const MAX_KNOWN: usize = 8192;

    /// How long a way to an address that counts for a name stays open after the last datagram: as long as the flow does, not only as long as
    /// the name counts.
    const UNUSED: Duration = Duration::from_secs(240);

    /// Which question a way was found open by.
    #[derive(Clone, Copy, PartialEq, Eq, Hash)]
    pub(super) enum Way {
        Out,
        Service(Service),
        Answer,
        In,
    }

    /// The guest's end, the other one, and the question.
    type Key = (Endpoint, Endpoint, Way);

    pub(super) struct Guarded {
        policy: Arc<Policy>,
        /// With the verdict that opened them, and how long they stay open, where that ends.
        known: HashMap<Key, (Admission, Option<Instant>), RandomState>,
        learned: Learned,
        /// Nothing may begin.
        #[cfg(feature = "control")]
        drains: bool,
        /// There is no policy, but that nothing may begin.
        #[cfg(feature = "control")]
        bare: bool,
    }

    fn admission(Verdict { action, reason }: Verdict) -> Admission {
        let fate = match (action, reason) {
            (_, Reason::Hello(_)) => Fate::Listening,
            (Action::Allow, _) => Fate::Allowed,
            (Action::Deny, _) => Fate::Denied,
            (Action::Drop, _) => Fate::Dropped,
        };
        let rule = match reason {
            Reason::Rule(number) | Reason::Hello(number) => NonZeroU32::new(number),
            _ => None,
        };
        Admission { fate, rule }
    }

    impl Guarded {
        pub(super) fn new(policy: Arc<Policy>) -> Guarded {
            Guarded {
                policy,
                known: HashMap::default(),
                learned: Learned::default(),
                #[cfg(feature = "control")]
                drains: false,
                #[cfg(feature = "control")]
                bare: false,
            }
        }

        pub(super) fn out(
            &self,
            protocol: Protocol,
            guest: Endpoint,
            named: Endpoint,
            real: SocketAddr,
            now: Instant,
        ) -> Admission {
            let question = Question::out(protocol, guest.socket_address(), named.socket_address(), real);
            if !self.policy.has_names() || self.keeps_out(None) {
                return self.judge(&question);
            }
            let names = self.learned.names(real.ip(), now);
            admission(self.policy.judge_among(&question, |rule| names.clone().any(|known| known.has(rule))))
        }

        pub(super) fn hello(
            &self,
            guest: Endpoint,
            named: Endpoint,
            real: SocketAddr,
            heard: &Heard,
            now: Instant,
        ) -> Admission {
            let question = Question::out(Protocol::Tcp, guest.socket_address(), named.socket_address(), real);
            let names = self.learned.names(real.ip(), now);
            let counts = |rule| names.clone().any(|known| known.has(rule));
            admission(self.policy.judge_hello_among(&question, heard, counts))
        }

        pub(super) fn incoming(&self, protocol: Protocol, guest: Endpoint, peer: SocketAddr) -> Admission {
            self.judge(&Question::incoming(protocol, guest.socket_address(), peer))
        }

        pub(super) fn service(
            &self,
            service: Service,
            protocol: Protocol,
            guest: Endpoint,
            named: Endpoint,
        ) -> Admission {
            self.judge(&Question::service(service, protocol, guest.socket_address(), named.socket_address()))
        }

        /// Every question about a flow that is to begin comes through here.
        fn judge(&self, question: &Question) -> Admission {
            if self.keeps_out(question.service) {
                return Admission { fate: Fate::Denied, rule: None };
            }
            admission(self.policy.judge(question))
        }

        /// Whether nothing may begin. Whoever drains a network wants no more of it than what keeps the guest on it.
        #[cfg(feature = "control")]
        fn keeps_out(&self, service: Option<Service>) -> bool {
            self.drains && !matches!(service, Some(Service::Dhcp | Service::Echo))
        }

        #[cfg(not(feature = "control"))]
        fn keeps_out(&self, _: Option<Service>) -> bool {
            false
        }

        pub(super) fn via(&self, rule: u32) -> Option<&Via> {
            self.policy.via(rule)
        }

        pub(super) fn name_for(&self, real: SocketAddr, rule: Option<NonZeroU32>, now: Instant) -> Option<&str> {
            let names = self.learned.names(real.ip(), now);
            let own = rule.and_then(|rule| names.clone().find(|known| known.has(rule.get() - 1)));
            own.or_else(|| names.clone().next()).map(|known| known.name.as_str())
        }

        pub(super) fn governs_names(&self) -> bool {
            self.policy.has_names() || self.policy.strips()
        }

        pub(super) fn question(&self, guest: IpAddr, name: &Name) -> (Admission, Vec<u32>) {
            let rules = self.policy.rules_about(name);
            (admission(self.policy.judge_name_by(guest, &rules)), rules)
        }

        pub(super) fn may_stand(&self, guest: IpAddr, rules: &[u32], ip: IpAddr) -> bool {
            self.policy.may_stand(guest, rules, ip)
        }

        pub(super) fn learn(&mut self, name: &Name, rules: &[u32], addresses: &[(IpAddr, Duration)], now: Instant) {
            // What no rule has opens nothing.
            if !rules.is_empty() {
                self.learned.learn(name, rules, addresses, now);
            }
        }

        /// Judges unless this way is known to be open.
        pub(super) fn once(&mut self, key: Key, judge: impl FnOnce(&Guarded) -> Admission) -> Admission {
            if let Some((known, _)) = self.known.get(&key) {
                return *known;
            }
            let admission = judge(self);
            if admission.is_allowed() {
                self.note(key, admission, None);
            }
            admission
        }

        /// [`Guarded::once`] for a way to an address of the host's side, which may count for a name.
        pub(super) fn once_to(
            &mut self,
            real: SocketAddr,
            key: Key,
            now: Instant,
            judge: impl FnOnce(&Guarded) -> Admission,
        ) -> Admission {
            match self.known.get_mut(&key) {
                Some((known, None)) => return *known,
                Some((known, Some(until))) if *until > now => {
                    *until = now + UNUSED;
                    return *known;
                }
                _ => {}
            }
            let admission = judge(self);
            if admission.is_allowed() {
                let counts = self.learned.names(real.ip(), now).next().is_some();
                let until = counts.then(|| now + UNUSED);
                self.note(key, admission, until);
                // Who may be sent to may answer, also when the name has ceased to count meanwhile.
                if counts {
                    self.note((key.0, real.into(), Way::Answer), admission, until);
                }
            }
            admission
        }

        /// Where a rule leads elsewhere, that is where the answers come from.
        pub(super) fn expect_answers(&mut self, guest: Endpoint, admission: Admission) {
            let rule = admission.rule().filter(|_| admission.is_allowed());
            if let Some(Via::Address(led)) = rule.and_then(|rule| self.policy.via(rule.get())) {
                let key = (guest, (*led).into(), Way::Answer);
                if !self.known.contains_key(&key) {
                    self.note(key, admission, None);
                }
            }
        }

        fn note(&mut self, key: Key, admission: Admission, until: Option<Instant>) {
            if self.known.len() >= MAX_KNOWN {
                self.known.clear();
            }
            self.known.insert(key, (admission, until));
        }
    }

    /// Another policy, and draining.
    #[cfg(feature = "control")]
    impl Guarded {
        /// One that follows on another.
        pub(super) fn after(policy: Arc<Policy>, before: Option<Guarded>) -> Guarded {
            let drains = before.as_ref().is_some_and(|before| before.drains);
            let learned = before.map(|before| before.learned.under(&policy)).unwrap_or_default();
            Guarded { drains, learned, ..Guarded::new(policy) }
        }

        /// One without a policy.
        pub(super) fn bare() -> Option<Guarded> {
            let policy = Policy::builder().default_action(Action::Allow).build().ok()?;
            Some(Guarded { bare: true, ..Guarded::new(Arc::new(policy)) })
        }

        pub(super) fn drain(&mut self, open: impl Iterator<Item = Open>) {
            self.drains = true;
            for (guest, named, real) in open {
                let ways = match real {
                    Some(real) => [(named, Way::Out), (real.into(), Way::Answer), (real.into(), Way::In)],
                    None => [(named, Way::Service(Service::Dns)); 3],
                };
                self.known.extend(ways.map(|(other, way)| ((guest, other, way), (Admission::OPEN, None))));
            }
        }

        /// Flows may begin again. Whether nobody is needed for that.
        pub(super) fn go_on(&mut self) -> bool {
            self.drains = false;
            self.bare
        }

        pub(super) fn drains(&self) -> bool {
            self.drains
        }

        pub(super) fn verdict(&self, question: &Question, heard: Option<&Heard>, now: Instant) -> Option<Verdict> {
            if self.bare {
                return None;
            }
            let names = self.learned.names(question.host.ip(), now);
            let is_out = question.service.is_none() && question.direction == Direction::Out;
            let counts = |rule| is_out && names.clone().any(|known| known.has(rule));
            let verdict = self.policy.judge_among(question, counts);
            let heard = heard.filter(|_| matches!(verdict.reason, Reason::Hello(_)));
            Some(heard.map_or(verdict, |heard| self.policy.judge_hello_among(question, heard, counts)))
        }

        pub(super) fn policy(&self) -> Option<&Policy> {
            (!self.bare).then_some(&self.policy)
        }
    }

    #[cfg(test)]
    mod tests {
        use super::*;
        use crate::policy::Rule;

        #[test]
        fn what_is_known_is_bounded() {
            let policy = Policy::builder().rule(Rule::allow().protocol(Protocol::Udp)).build().unwrap();
            let mut guarded = Guarded::new(policy.into());
            let guest = Endpoint::new([10, 0, 2, 15], 1);
            for number in 0..3 * MAX_KNOWN {
                let named = Endpoint::new([192, (number >> 16) as u8, (number >> 8) as u8, number as u8], 9);
                let (real, now) = (named.socket_address(), Instant::ZERO);
                let out = |it: &Guarded| it.out(Protocol::Udp, guest, named, real, now);
                let first = guarded.once_to(real, (guest, named, Way::Out), now, out);
                assert_eq!((first.is_allowed(), first.rule()), (true, NonZeroU32::new(1)));
                let again = guarded.once_to(real, (guest, named, Way::Out), now, |_| panic!("judged twice"));
                assert_eq!(again, first);
                assert!(guarded.known.len() <= MAX_KNOWN);
            }
        }

        #[test]
        fn a_way_that_a_name_opened_stays_open_while_it_is_used() {
            let name: Name = "a.test".parse().unwrap();
            let policy = Policy::builder().rule(Rule::allow().names(["a.test".parse().unwrap()])).build().unwrap();
            let mut guarded = Guarded::new(policy.into());
            let (guest, named) = (Endpoint::new([10, 0, 2, 15], 1), Endpoint::new([8, 8, 8, 8], 443));
            let real = named.socket_address();
            let goes = |guarded: &mut Guarded, seconds: i64, way| {
                let now = Instant::from_secs(seconds);
                let judge = |it: &Guarded| it.out(Protocol::Udp, guest, named, real, now);
                guarded.once_to(real, (guest, named, way), now, judge).is_allowed()
            };
            assert!(!goes(&mut guarded, 0, Way::Out));
            let rules = guarded.question(guest.ip, &name).1;
            guarded.learn(&name, &rules, &[(real.ip(), Duration::from_secs(1))], Instant::ZERO);
            assert!(goes(&mut guarded, 1, Way::Out));
            // The name counts for a minute, the flow lives longer, both ways.
            for seconds in [100, 300, 500] {
                assert!(goes(&mut guarded, seconds - 90, Way::Answer), "{seconds}");
                assert!(goes(&mut guarded, seconds, Way::Out), "{seconds}");
                assert!(goes(&mut guarded, seconds + 80, Way::Answer), "{seconds}");
            }
            assert!(!goes(&mut guarded, 740, Way::Out));
            let other = Endpoint::new([8, 8, 8, 8], 444);
            let now = Instant::from_secs(70);
            assert!(!guarded.out(Protocol::Tcp, guest, other, other.socket_address(), now).is_allowed(), "a new flow");
        }
    }
}
