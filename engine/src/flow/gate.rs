//! Where flows ask whether they may begin. Without the feature `policy`, and without a policy, everything may.
//!
//! A connection and an echo flow ask once. Datagrams have no beginning of their own, and one flow of theirs leads to many
//! destinations: the gate knows which of them it has let through, so that each is judged once.

use std::net::SocketAddr;
use std::num::NonZeroU32;

use super::context::Context;
use super::egress::Unreachable;
use super::journal::{About, Carrier, Refusal};
use super::key::Endpoint;

#[cfg(feature = "policy")]
use crate::policy::Heard;
#[cfg(feature = "policy")]
pub(crate) use crate::policy::{Protocol, Service};
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

    pub(crate) fn out(&self, _: Protocol, _: Endpoint, _: Endpoint, _: SocketAddr) -> Admission {
        Admission::OPEN
    }

    pub(crate) fn incoming(&self, _: Protocol, _: Endpoint, _: SocketAddr) -> Admission {
        Admission::OPEN
    }

    pub(crate) fn service(&self, _: Service, _: Protocol, _: Endpoint, _: Endpoint) -> Admission {
        Admission::OPEN
    }

    pub(crate) fn datagram_out(&mut self, _: Endpoint, _: Endpoint, _: SocketAddr) -> Admission {
        Admission::OPEN
    }

    pub(crate) fn datagram_to(&mut self, _: Service, _: Endpoint, _: Endpoint) -> Admission {
        Admission::OPEN
    }

    pub(crate) fn datagram_in(&mut self, _: Endpoint, _: SocketAddr) -> Admission {
        Admission::OPEN
    }

    pub(crate) fn answer(&mut self, _: Endpoint, _: Endpoint, _: SocketAddr) -> Admission {
        Admission::OPEN
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

    /// Whether the guest may go to `real`, which it calls `named`.
    pub(crate) fn out(&self, protocol: Protocol, guest: Endpoint, named: Endpoint, real: SocketAddr) -> Admission {
        self.guarded.as_ref().map_or(Admission::OPEN, |guarded| guarded.out(protocol, guest, named, real))
    }

    /// Whether a connection of the guest's may go on whose first bytes were waited for.
    pub(crate) fn hello(&self, guest: Endpoint, named: Endpoint, real: SocketAddr, heard: &Heard) -> Admission {
        self.guarded.as_ref().map_or(Admission::OPEN, |guarded| guarded.hello(guest, named, real, heard))
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
    pub(crate) fn datagram_out(&mut self, guest: Endpoint, named: Endpoint, real: SocketAddr) -> Admission {
        let Some(guarded) = &mut self.guarded else { return Admission::OPEN };
        guarded.once((guest, named, guarded::Way::Out), |it| it.out(Protocol::Udp, guest, named, real))
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
    pub(crate) fn answer(&mut self, guest: Endpoint, named: Endpoint, real: SocketAddr) -> Admission {
        let Some(guarded) = &mut self.guarded else { return Admission::OPEN };
        // What is remembered is the real address. Several of them can have one name, and that a datagram came from one of them opens no way
        // to the others.
        let key = (guest, real.into(), guarded::Way::Answer);
        guarded.once(key, |it| it.out(Protocol::Udp, guest, named, real))
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
    use std::net::SocketAddr;
    use std::sync::Arc;

    use foldhash::fast::RandomState;
    use hashbrown::HashMap;

    use super::{Admission, Endpoint, Fate, NonZeroU32};
    use crate::policy::{Action, Heard, Policy, Protocol, Question, Reason, Service, Verdict};

    /// Ways of datagrams that are known to be open. When there are more, all are forgotten, and each is judged again.
    const MAX_KNOWN: usize = 8192;

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
        /// With the verdict that opened them.
        known: HashMap<Key, Admission, RandomState>,
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
            Guarded { policy, known: HashMap::default() }
        }

        pub(super) fn out(&self, protocol: Protocol, guest: Endpoint, named: Endpoint, real: SocketAddr) -> Admission {
            self.judge(&Question::out(protocol, guest.socket_address(), named.socket_address(), real))
        }

        pub(super) fn hello(&self, guest: Endpoint, named: Endpoint, real: SocketAddr, heard: &Heard) -> Admission {
            let question = Question::out(Protocol::Tcp, guest.socket_address(), named.socket_address(), real);
            admission(self.policy.judge_hello(&question, heard))
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
            admission(self.policy.judge(question))
        }

        /// Judges unless this way is known to be open.
        pub(super) fn once(&mut self, key: Key, judge: impl FnOnce(&Guarded) -> Admission) -> Admission {
            if let Some(known) = self.known.get(&key) {
                return *known;
            }
            let admission = judge(self);
            if admission.is_allowed() {
                if self.known.len() >= MAX_KNOWN {
                    self.known.clear();
                }
                self.known.insert(key, admission);
            }
            admission
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
                let out = |it: &Guarded| it.out(Protocol::Udp, guest, named, named.socket_address());
                let first = guarded.once((guest, named, Way::Out), out);
                assert_eq!((first.is_allowed(), first.rule()), (true, NonZeroU32::new(1)));
                let again = guarded.once((guest, named, Way::Out), |_| panic!("judged twice"));
                assert_eq!(again, first);
                assert!(guarded.known.len() <= MAX_KNOWN);
            }
        }
    }
}
