//! Where flows ask whether they may begin. Without the feature `policy`, and without a policy, everything may.
//!
//! A connection and an echo flow ask once. Datagrams have no beginning of their own, and one flow of theirs leads to many
//! destinations: the gate knows which of them it has let through, so that each is judged once.
//!
//! Where rules have names, the gate also knows what the virtual name server has said of addresses (`learned`).

#[cfg(feature = "policy")]
mod guarded;
#[cfg(feature = "policy")]
mod learned;
#[cfg(feature = "policy")]
mod spoken;
#[cfg(feature = "policy")]
mod ways;

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
use crate::policy::{Heard, Name, QuicSpoken};
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
    /// The first datagrams have said a name: others may begin something else.
    #[cfg(feature = "policy")]
    spoken: bool,
    /// The rule leads elsewhere.
    #[cfg(feature = "policy")]
    led: bool,
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
    /// Nothing may, as the network is drained; whoever began it is to be told.
    #[cfg(feature = "policy")]
    Drained,
}

impl Admission {
    /// Where nobody was asked.
    pub(crate) const OPEN: Admission = Admission::by(Fate::Allowed, None);

    const fn by(fate: Fate, rule: Option<NonZeroU32>) -> Admission {
        Admission {
            fate,
            rule,
            #[cfg(feature = "policy")]
            spoken: false,
            #[cfg(feature = "policy")]
            led: false,
        }
    }

    /// Whether datagrams that go this way are looked at when they may begin something else than what was allowed.
    #[cfg(feature = "policy")]
    #[inline]
    pub(crate) fn is_spoken(self) -> bool {
        self.spoken
    }

    /// Whether it may begin, and goes where the rule leads it.
    #[cfg(feature = "policy")]
    #[inline]
    pub(crate) fn is_led(self) -> bool {
        self.led && self.is_allowed()
    }

    #[inline]
    pub(crate) fn is_allowed(self) -> bool {
        self.fate == Fate::Allowed
    }

    /// What becomes of datagrams that had to say a name, and have not.
    #[cfg(feature = "policy")]
    pub(crate) fn unheard(self) -> Admission {
        Admission::by(Fate::Denied, self.rule)
    }

    /// Whether it may begin, and goes on only if [`Gate::hello`] allows it.
    #[inline]
    pub(crate) fn listens(self) -> bool {
        self.fate == Fate::Listening
    }

    /// Whether it may not begin and who began it is to be told.
    #[inline]
    pub(crate) fn is_told(self) -> bool {
        match self.fate {
            Fate::Allowed | Fate::Listening | Fate::Dropped => false,
            Fate::Denied => true,
            #[cfg(feature = "policy")]
            Fate::Drained => true,
        }
    }

    /// Why it may not begin.
    pub(crate) fn refusal(self) -> Refusal {
        #[cfg(feature = "policy")]
        if self.fate == Fate::Drained {
            return Refusal::Draining;
        }
        Refusal::Policy
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
    pub(crate) fn drain(&mut self, drains: bool, open: impl Iterator<Item = Open>, now: Instant) {
        if drains {
            if self.guarded.is_none() {
                self.guarded = guarded::Guarded::bare().map(Box::new);
            }
            if let Some(guarded) = &mut self.guarded {
                guarded.drain(open, now);
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

    /// Whether a datagram belongs to what was allowed of this way.
    pub(crate) fn belongs(&mut self, guest: Endpoint, real: SocketAddr, datagram: &[u8], now: Instant) -> bool {
        self.guarded.as_mut().is_none_or(|guarded| guarded.belongs(guest, real, datagram, now))
    }

    /// Whether a connection of QUIC may go on whose ClientHello was waited for.
    pub(crate) fn quic(
        &mut self,
        (guest, named): (Endpoint, Endpoint),
        real: SocketAddr,
        heard: Heard,
        spoken: Option<QuicSpoken>,
        now: Instant,
    ) -> Admission {
        let Some(guarded) = &mut self.guarded else { return Admission::OPEN };
        guarded.quic((guest, named), real, heard, spoken, now)
    }

    /// Where the rule that has let a flow in leads it.
    pub(crate) fn via(&self, admission: Admission) -> Option<&crate::policy::Via> {
        let rule = admission.rule().filter(|_| admission.is_led())?;
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
        let way = (guest, named, ways::Way::Out);
        let admission = guarded.once_to(real, way, now, |it| it.out(Protocol::Udp, guest, named, real, now));
        guarded.expect_answers(guest, admission);
        admission
    }

    /// [`Gate::service`] for a datagram.
    pub(crate) fn datagram_to(&mut self, service: Service, guest: Endpoint, named: Endpoint) -> Admission {
        let Some(guarded) = &mut self.guarded else { return Admission::OPEN };
        let way = ways::Way::Service(service);
        guarded.once((guest, named, way), |it| it.service(service, Protocol::Udp, guest, named))
    }

    /// [`Gate::incoming`] for a datagram.
    pub(crate) fn datagram_in(&mut self, guest: Endpoint, peer: SocketAddr) -> Admission {
        let Some(guarded) = &mut self.guarded else { return Admission::OPEN };
        let key = (guest, peer.into(), ways::Way::In);
        guarded.once(key, |it| it.incoming(Protocol::Udp, guest, peer))
    }

    /// Whether a datagram of `real`, which the guest calls `named`, may come to where the guest has sent something from: where
    /// the guest could have sent something there.
    pub(crate) fn answer(&mut self, guest: Endpoint, named: Endpoint, real: SocketAddr, now: Instant) -> Admission {
        let Some(guarded) = &mut self.guarded else { return Admission::OPEN };
        // What is remembered is the real address. Several of them can have one name, and that a datagram came from one of them opens no way
        // to the others.
        let key = (guest, real.into(), ways::Way::Answer);
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
        self.journal.refused(&about, admission.refusal(), self.now);
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
