//! What a program says of a host forward, and what it is told.

use std::fmt;
use std::net::SocketAddr;

use super::listener::ListenerId;
use crate::flow::identity::Identity;
use crate::flow::udp::UdpId;
use crate::host::unix::UnixAddress;

/// What a host forward carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Protocol {
    /// Connections. Those to a Unix socket are TCP connections for the guest.
    Tcp,
    /// Datagrams.
    Udp,
}

/// Where a host forward listens.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ListenAddress {
    /// An address and port of the host.
    Inet(SocketAddr),
    /// A Unix stream socket.
    Unix(UnixAddress),
}

impl From<SocketAddr> for ListenAddress {
    fn from(address: SocketAddr) -> ListenAddress {
        ListenAddress::Inet(address)
    }
}

impl From<UnixAddress> for ListenAddress {
    fn from(address: UnixAddress) -> ListenAddress {
        ListenAddress::Unix(address)
    }
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ListenAddress::Inet(address) => address.fmt(f),
            ListenAddress::Unix(address) => address.fmt(f),
        }
    }
}

/// A socket of the host that leads to the guest: whoever connects there, or sends a datagram there, reaches a port of the
/// guest.
///
/// The guest's address is one of the virtual network, or unspecified (`0.0.0.0` or `::`). That stands for whatever address the
/// guest has: over IPv4 the first one of the DHCP server as long as somebody answers there, over IPv6 a neighbor that is known
/// when a peer comes. What can lead to no guest is refused ([`ForwardError`](crate::ForwardError)). The
/// two addresses may be of different families; the guest sees the virtual host in place of a peer that its family has no
/// address for.
// Source: docs/contract/hostfwd.md.
///
/// ```
/// use std::net::Ipv4Addr;
/// use oxislirp::{Config, HostForward, Stack};
///
/// let mut stack = Stack::new(Config::default())?;
/// // Port 0: the host chooses one that is free.
/// let web = HostForward::tcp((Ipv4Addr::LOCALHOST, 0), (Ipv4Addr::UNSPECIFIED, 80));
/// let handle = stack.add_host_forward(web)?;
/// let address = handle.bound().ok_or("not a Unix socket")?;
/// assert_ne!(address.port(), 0);
/// stack.remove_host_forward(handle)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostForward {
    protocol: Protocol,
    listen: ListenAddress,
    guest: SocketAddr,
    only_v6: bool,
}

impl HostForward {
    /// Forwards TCP connections to `listen`; port 0 lets the host choose a free one.
    pub fn tcp(listen: impl Into<SocketAddr>, guest: impl Into<SocketAddr>) -> HostForward {
        HostForward::new(Protocol::Tcp, ListenAddress::Inet(listen.into()), guest.into())
    }

    /// Forwards UDP datagrams to `listen`, as [`HostForward::tcp`].
    pub fn udp(listen: impl Into<SocketAddr>, guest: impl Into<SocketAddr>) -> HostForward {
        HostForward::new(Protocol::Udp, ListenAddress::Inet(listen.into()), guest.into())
    }

    /// Forwards connections to a Unix stream socket. A socket file whose owner is gone is replaced; the file that is made goes
    /// with the forward.
    pub fn unix(listen: UnixAddress, guest: impl Into<SocketAddr>) -> HostForward {
        HostForward::new(Protocol::Tcp, ListenAddress::Unix(listen), guest.into())
    }

    fn new(protocol: Protocol, listen: ListenAddress, guest: SocketAddr) -> HostForward {
        HostForward { protocol, listen, guest, only_v6: false }
    }

    /// Whether a forward that listens on an IPv6 address takes peers of IPv6 only. Otherwise `::` takes IPv4 as well.
    #[must_use]
    pub fn only_v6(self, only_v6: bool) -> HostForward {
        HostForward { only_v6, ..self }
    }

    /// What it carries.
    pub fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// Where it is to listen.
    pub fn listen(&self) -> &ListenAddress {
        &self.listen
    }

    /// Where it leads.
    pub fn guest(&self) -> SocketAddr {
        self.guest
    }

    /// Whether it takes peers of IPv6 only.
    pub fn is_only_v6(&self) -> bool {
        self.only_v6
    }
}

/// The socket of a host forward.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Id {
    Listener(ListenerId),
    Udp(UdpId),
}

/// Names a host forward of a stack, for as long as that lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct HostForwardHandle {
    stack: Identity,
    id: Id,
    bound: Option<SocketAddr>,
}

impl HostForwardHandle {
    pub(crate) fn new(stack: Identity, id: Id, bound: Option<SocketAddr>) -> HostForwardHandle {
        HostForwardHandle { stack, id, bound }
    }

    /// What it names in the stack, if it is one of that stack.
    pub(crate) fn id(self, stack: Identity) -> Option<Id> {
        (self.stack == stack).then_some(self.id)
    }

    /// The address that the forward listens on, with the port that the host chose; `None` for a Unix socket, whose address is
    /// the one that was asked for.
    pub fn bound(self) -> Option<SocketAddr> {
        self.bound
    }
}

/// A host forward that there is, see [`Stack::host_forwards`](crate::Stack::host_forwards).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct HostForwardEntry {
    /// What it is removed by.
    pub handle: HostForwardHandle,
    /// What it carries.
    pub protocol: Protocol,
    /// Where it listens, with the port that the host chose.
    pub listen: ListenAddress,
    /// Where it leads.
    pub guest: SocketAddr,
    /// Whether it listens at all addresses of IPv6 and none of IPv4 ([`HostForward::only_v6`]).
    pub only_v6: bool,
}
