//! The keys flows are found by.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::net::{IpAddr, SocketAddr};

/// An address and a port (host byte order) as the guest sees them: a `SocketAddr` without flow label and scope.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Endpoint {
    pub ip: IpAddr,
    pub port: u16,
}

impl Endpoint {
    pub(crate) fn new(ip: impl Into<IpAddr>, port: u16) -> Endpoint {
        Endpoint { ip: ip.into(), port }
    }

    pub(crate) fn socket_address(self) -> SocketAddr {
        SocketAddr::new(self.ip, self.port)
    }
}

impl From<SocketAddr> for Endpoint {
    fn from(address: SocketAddr) -> Endpoint {
        Endpoint { ip: address.ip(), port: address.port() }
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.socket_address().fmt(f)
    }
}

// The derived implementation would feed the hasher several small pieces; a key is hashed for every frame.
impl Hash for Endpoint {
    fn hash<H: Hasher>(&self, state: &mut H) {
        match self.ip {
            IpAddr::V4(ip) => state.write_u64(u64::from(u32::from(ip)) << 16 | u64::from(self.port)),
            IpAddr::V6(ip) => {
                state.write_u128(u128::from(ip));
                state.write_u16(self.port);
            }
        }
    }
}

/// A flow with two ends: the guest's, and the one the guest believes it talks to.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct FlowKey {
    pub guest: Endpoint,
    pub remote: Endpoint,
}
