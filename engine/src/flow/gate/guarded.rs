//! The gate of a stack that has a policy: what it asks, and what it has found (`ways`, `learned`, `spoken`).

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

#[cfg(feature = "control")]
use super::Open;
use super::learned::Learned;
use super::spoken::Spoken;
use super::ways::{Key, UNUSED, Way, Ways};
use super::{Admission, Endpoint, Fate, NonZeroU32};
#[cfg(feature = "control")]
use crate::policy::Direction;
use crate::policy::{Action, Heard, Name, Policy, Protocol, Question, QuicSpoken, Reason, Service, Verdict, Via};
use crate::time::{Duration, Instant};

pub(super) struct Guarded {
    policy: Arc<Policy>,
    ways: Ways,
    learned: Learned,
    /// What connections of QUIC have said.
    spoken: Spoken,
    /// Nothing may begin.
    #[cfg(feature = "control")]
    drains: bool,
    /// There is no policy, but that nothing may begin.
    #[cfg(feature = "control")]
    bare: bool,
}

impl Guarded {
    pub(super) fn new(policy: Arc<Policy>) -> Guarded {
        Guarded {
            policy,
            ways: Ways::default(),
            learned: Learned::default(),
            spoken: Spoken::default(),
            #[cfg(feature = "control")]
            drains: false,
            #[cfg(feature = "control")]
            bare: false,
        }
    }

    fn admission(&self, Verdict { action, reason }: Verdict) -> Admission {
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
        let led = rule.is_some_and(|rule| self.policy.via(rule.get()).is_some());
        Admission { led, ..Admission::by(fate, rule) }
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
        let counts = |rule| names.clone().any(|known| known.has(rule));
        let admission = self.admission(self.policy.judge_among(&question, counts));
        match self.spoken.heard(guest, real) {
            Some(heard) if admission.listens() && protocol == Protocol::Udp => self.said(&question, heard, counts),
            _ => admission,
        }
    }

    /// What becomes of datagrams of a connection that has said this.
    fn said(&self, question: &Question, heard: &Heard, counts: impl Fn(u32) -> bool) -> Admission {
        let admission = self.admission(self.policy.judge_hello_among(question, heard, counts));
        // A rule that leads elsewhere has come to be about it only now.
        if admission.is_led() {
            return Admission::by(Fate::Denied, admission.rule());
        }
        Admission { spoken: true, ..admission }
    }

    pub(super) fn quic(
        &mut self,
        (guest, named): (Endpoint, Endpoint),
        real: SocketAddr,
        heard: Heard,
        spoken: Option<QuicSpoken>,
        now: Instant,
    ) -> Admission {
        if self.keeps_out(None) {
            return Admission::by(Fate::Drained, None);
        }
        let question = Question::out(Protocol::Udp, guest.socket_address(), named.socket_address(), real);
        let (admission, counts) = {
            let names = self.learned.names(real.ip(), now);
            let admission = self.said(&question, &heard, |rule| names.clone().any(|known| known.has(rule)));
            (admission, names.clone().next().is_some())
        };
        if admission.is_allowed() {
            let until = counts.then(|| now + UNUSED);
            self.spoken.note((guest, real), heard, spoken, now);
            self.ways.note((guest, named, Way::Out), admission, until);
            self.ways.note((guest, real.into(), Way::Answer), admission, until);
        }
        admission
    }

    pub(super) fn belongs(&mut self, guest: Endpoint, real: SocketAddr, datagram: &[u8], now: Instant) -> bool {
        self.spoken.belongs((guest, real), datagram, now)
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
        self.admission(self.policy.judge_hello_among(&question, heard, counts))
    }

    pub(super) fn incoming(&self, protocol: Protocol, guest: Endpoint, peer: SocketAddr) -> Admission {
        self.judge(&Question::incoming(protocol, guest.socket_address(), peer))
    }

    pub(super) fn service(&self, service: Service, protocol: Protocol, guest: Endpoint, named: Endpoint) -> Admission {
        self.judge(&Question::service(service, protocol, guest.socket_address(), named.socket_address()))
    }

    /// Every question about a flow that is to begin comes through here.
    fn judge(&self, question: &Question) -> Admission {
        if self.keeps_out(question.service) {
            return Admission::by(Fate::Drained, None);
        }
        self.admission(self.policy.judge(question))
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

    /// Of several names that an address counts for it is one that the rule has, and of these the one that was answered last: that is
    /// most likely the one that the guest goes to.
    pub(super) fn name_for(&self, real: SocketAddr, rule: Option<NonZeroU32>, now: Instant) -> Option<&str> {
        let names = self.learned.names(real.ip(), now);
        let own = rule.and_then(|rule| names.clone().filter(|known| known.has(rule.get() - 1)).last());
        own.or_else(|| names.last()).map(|known| known.name.as_str())
    }

    pub(super) fn governs_names(&self) -> bool {
        self.policy.has_names() || self.policy.strips()
    }

    pub(super) fn question(&self, guest: IpAddr, name: &Name) -> (Admission, Vec<u32>) {
        let rules = self.policy.rules_about(name);
        (self.admission(self.policy.judge_name_by(guest, &rules)), rules)
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
        if let Some(known) = self.ways.get(&key) {
            return known;
        }
        let admission = judge(self);
        if admission.is_allowed() {
            self.ways.note(key, admission, None);
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
        if let Some(known) = self.ways.find(&key, now) {
            return known;
        }
        let admission = judge(self);
        if admission.is_allowed() {
            let counts = self.learned.names(real.ip(), now).next().is_some();
            let until = counts.then(|| now + UNUSED);
            self.ways.note(key, admission, until);
            // Who may be sent to may answer, also when the name has ceased to count meanwhile.
            if counts {
                self.ways.note((key.0, real.into(), Way::Answer), admission, until);
            }
        }
        admission
    }

    /// Where a rule leads elsewhere, that is where the answers come from.
    pub(super) fn expect_answers(&mut self, guest: Endpoint, admission: Admission) {
        let rule = admission.rule().filter(|_| admission.is_led());
        if let Some(Via::Address(led)) = rule.and_then(|rule| self.policy.via(rule.get())) {
            let key = (guest, (*led).into(), Way::Answer);
            if self.ways.get(&key).is_none() {
                self.ways.note(key, admission, None);
            }
        }
    }
}

/// Another policy, and draining.
#[cfg(feature = "control")]
impl Guarded {
    /// One that follows on another.
    pub(super) fn after(policy: Arc<Policy>, before: Option<Guarded>) -> Guarded {
        let drains = before.as_ref().is_some_and(|before| before.drains);
        let (learned, spoken) = before.map(|before| (before.learned.under(&policy), before.spoken)).unwrap_or_default();
        Guarded { drains, learned, spoken, ..Guarded::new(policy) }
    }

    /// One without a policy.
    pub(super) fn bare() -> Option<Guarded> {
        let policy = Policy::builder().default_action(Action::Allow).build().ok()?;
        Some(Guarded { bare: true, ..Guarded::new(Arc::new(policy)) })
    }

    /// The ways that stay open lead where they have led: the verdict that opened them is kept.
    pub(super) fn drain(&mut self, open: impl Iterator<Item = Open>, now: Instant) {
        let by = |it: &Guarded, (guest, named, real): Open| {
            let known = it.ways.get(&(guest, named, Way::Out));
            let judged = || Some(it.out(Protocol::Udp, guest, named, real?, now)).filter(|it| it.is_allowed());
            known.or_else(judged).unwrap_or(Admission::OPEN)
        };
        let open: Vec<(Open, Admission)> = open.map(|open| (open, by(self, open))).collect();
        self.drains = true;
        for ((guest, named, real), by) in open {
            let ways = match real {
                Some(real) => [(named, Way::Out), (real.into(), Way::Answer), (real.into(), Way::In)],
                None => [(named, Way::Service(Service::Dns)); 3],
            };
            let spoken = real.is_some_and(|real| self.spoken.heard(guest, real).is_some());
            let open = Admission { spoken, ..by };
            self.ways.keep(ways.map(|(other, way)| (guest, other, way)), open);
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
        let guest = question.guest.into();
        let own = || self.spoken.heard(guest, question.host).filter(|_| is_out && question.protocol == Protocol::Udp);
        let heard = heard.or_else(own).filter(|_| matches!(verdict.reason, Reason::Hello(_)));
        Some(heard.map_or(verdict, |heard| self.policy.judge_hello_among(question, heard, counts)))
    }

    pub(super) fn policy(&self) -> Option<&Policy> {
        (!self.bare).then_some(&self.policy)
    }
}

#[cfg(test)]
mod tests {
    use super::super::ways::MOST;
    use super::*;
    use crate::policy::Rule;

    #[test]
    fn what_is_known_is_bounded() {
        let policy = Policy::builder().rule(Rule::allow().protocol(Protocol::Udp)).build().unwrap();
        let mut guarded = Guarded::new(policy.into());
        let guest = Endpoint::new([10, 0, 2, 15], 1);
        for number in 0..3 * MOST {
            let named = Endpoint::new([192, (number >> 16) as u8, (number >> 8) as u8, number as u8], 9);
            let (real, now) = (named.socket_address(), Instant::ZERO);
            let out = |it: &Guarded| it.out(Protocol::Udp, guest, named, real, now);
            let first = guarded.once_to(real, (guest, named, Way::Out), now, out);
            assert_eq!((first.is_allowed(), first.rule()), (true, NonZeroU32::new(1)));
            let again = guarded.once_to(real, (guest, named, Way::Out), now, |_| panic!("judged twice"));
            assert_eq!(again, first);
            assert!(guarded.ways.len() <= MOST);
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
