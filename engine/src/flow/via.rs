//! Where flows really go that a rule of the policy leads elsewhere. Without the feature `policy`, and without such rules, they go where
//! they are to go.

use std::net::SocketAddr;
#[cfg(feature = "policy")]
use std::num::NonZeroU32;

use super::context::Context;
use super::gate::Admission;
use super::key::Endpoint;
#[cfg(feature = "policy")]
use crate::policy::{Proxy, Via};
#[cfg(feature = "policy")]
use crate::proxy::Target;

/// Which of a guest's datagrams have a flow of their own: those of one lane leave by one socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Lane {
    /// Whatever goes to where it is to go, or to another address.
    Plain,
    /// Queries to a name server, where they are looked at: nobody else learns where their answers are expected.
    Queries,
    /// What the rule of this number leads through a proxy. Where that is told names it is what goes to one destination, as
    /// the answers say which address the name had for the proxy, and not which one it had for the guest.
    #[cfg(feature = "policy")]
    Proxy(NonZeroU32, Option<Endpoint>),
}

impl Lane {
    /// Whether a proxy relays what goes there.
    pub(crate) fn is_relayed(self) -> bool {
        !matches!(self, Lane::Plain | Lane::Queries)
    }
}

/// Where datagrams go.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Course {
    /// The address; behind a proxy, where there is one.
    pub real: SocketAddr,
    pub lane: Lane,
    /// Where they are sent: to that address, or to the proxy's.
    pub next: SocketAddr,
}

impl Course {
    fn along(real: SocketAddr, lane: Lane) -> Course {
        Course { real, lane, next: real }
    }

    /// The family of the socket that they leave by.
    pub(crate) fn is_v6(&self) -> bool {
        self.next.is_ipv6()
    }
}

impl Admission {
    /// The lane of who is no name server, which is `by_rule` where a rule leads there.
    #[inline]
    pub(crate) fn lane(self, by_rule: impl FnOnce() -> Lane) -> Lane {
        #[cfg(feature = "policy")]
        if self.is_led() {
            return by_rule();
        }
        #[cfg(not(feature = "policy"))]
        let _ = by_rule;
        Lane::Plain
    }
}

/// What is to be said to a proxy before anything else, where there is one.
#[cfg(feature = "policy")]
pub(crate) type Words = Option<Box<crate::proxy::Dialogue>>;
#[cfg(not(feature = "policy"))]
pub(crate) type Words = Option<std::convert::Infallible>;

#[cfg(not(feature = "policy"))]
impl Context {
    pub(crate) fn way(&self, _: Admission, real: SocketAddr) -> (SocketAddr, Words) {
        (real, None)
    }

    pub(crate) fn course(&self, _: Admission, _: Endpoint, real: SocketAddr) -> Course {
        Course::along(real, Lane::Plain)
    }
}

#[cfg(feature = "policy")]
impl Context {
    /// Where a connection goes that was let in to `real`, and what is to be said there first.
    pub(crate) fn way(&self, admission: Admission, real: SocketAddr) -> (SocketAddr, Words) {
        use crate::policy::Language;
        use crate::proxy::Dialogue;

        let proxy = match self.gate.via(admission) {
            None => return (real, None),
            Some(Via::Address(address)) => return (*address, None),
            Some(Via::Proxy(proxy)) => proxy,
        };
        let target = self.target(proxy, admission, real);
        let (Language::Socks5(credentials) | Language::Connect(credentials)) = &proxy.language;
        let credentials = credentials.as_ref().map(|(name, password)| (&**name, &**password));
        let dialogue = match &proxy.language {
            Language::Connect(_) => Dialogue::connect(credentials, &target),
            Language::Socks5(_) => Dialogue::socks5(credentials, target),
        };
        (proxy.address, Some(Box::new(dialogue)))
    }

    /// What a proxy is told of where it is to lead.
    pub(crate) fn target(&self, proxy: &Proxy, admission: Admission, real: SocketAddr) -> Target {
        match proxy.names.then(|| self.gate.name_for(real, admission, self.now)).flatten() {
            Some(name) => Target::Name(name.into(), real.port()),
            None => Target::Address(real),
        }
    }

    /// Where datagrams go that were let in to `real`, which the guest calls `named`.
    #[inline]
    pub(crate) fn course(&self, admission: Admission, named: Endpoint, real: SocketAddr) -> Course {
        if self.looks_at_queries() && self.policy.is_name_server(named) {
            Course::along(real, Lane::Queries)
        } else if admission.is_led() {
            self.course_by_rule(admission, named, real)
        } else {
            Course::along(real, Lane::Plain)
        }
    }

    fn course_by_rule(&self, admission: Admission, named: Endpoint, real: SocketAddr) -> Course {
        match (self.gate.via(admission), admission.rule()) {
            (Some(Via::Address(address)), _) => Course::along(*address, Lane::Plain),
            (Some(Via::Proxy(proxy)), Some(rule)) => {
                let lane = Lane::Proxy(rule, proxy.names.then_some(named));
                Course { real, lane, next: proxy.address }
            }
            _ => Course::along(real, Lane::Plain),
        }
    }
}
