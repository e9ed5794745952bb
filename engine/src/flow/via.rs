//! Where flows really go that a rule of the policy leads elsewhere. Without the feature `policy`, and without such rules, they go where
//! they are to go.

use std::net::SocketAddr;

use super::context::Context;
use super::gate::Admission;

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

    pub(crate) fn way_of_datagrams(&self, _: Admission, real: SocketAddr) -> SocketAddr {
        real
    }
}

#[cfg(feature = "policy")]
impl Context {
    /// Where a connection goes that was let in to `real`, and what is to be said there first.
    pub(crate) fn way(&self, admission: Admission, real: SocketAddr) -> (SocketAddr, Words) {
        use crate::policy::{Language, Via};
        use crate::proxy::{Dialogue, Target};

        let proxy = match self.gate.via(admission) {
            None => return (real, None),
            Some(Via::Address(address)) => return (*address, None),
            Some(Via::Proxy(proxy)) => proxy,
        };
        let name = proxy.names.then(|| self.gate.name_for(real, admission, self.now)).flatten();
        let target = match name {
            Some(name) => Target::Name(name.into(), real.port()),
            None => Target::Address(real),
        };
        let (Language::Socks5(credentials) | Language::Connect(credentials)) = &proxy.language;
        let credentials = credentials.as_ref().map(|(name, password)| (&**name, &**password));
        let dialogue = match &proxy.language {
            Language::Connect(_) => Dialogue::connect(credentials, &target),
            Language::Socks5(_) => Dialogue::socks5(credentials, target),
        };
        (proxy.address, Some(Box::new(dialogue)))
    }

    /// The same of datagrams, which go through no proxy.
    #[inline]
    pub(crate) fn way_of_datagrams(&self, admission: Admission, real: SocketAddr) -> SocketAddr {
        if admission.rule().is_none() { real } else { self.way_by_rule(admission, real) }
    }

    fn way_by_rule(&self, admission: Admission, real: SocketAddr) -> SocketAddr {
        match self.gate.via(admission) {
            Some(crate::policy::Via::Address(address)) => *address,
            _ => real,
        }
    }
}
