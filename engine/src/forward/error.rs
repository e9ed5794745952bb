//! Why a forward is refused.

use std::error::Error;
use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::host::ListenAddress;
use crate::flow::table::NotAdmitted;

/// Why a forward could not be added or removed. Nothing has changed then.
#[derive(Debug)]
#[non_exhaustive]
pub enum ForwardError {
    /// The host does not let the forward listen there.
    Listen {
        /// Where it was to listen.
        address: ListenAddress,
        /// What `socket`, `bind` or `listen` said: that the address is in use, for instance. It is the source.
        error: io::Error,
    },
    /// There are as many forwards of this kind as there may be.
    TooMany {
        /// How many: 65,536 host forwards of each protocol, 1,024 guest forwards.
        most: usize,
    },
    /// The host cannot watch one more socket. The source is what it said.
    Unwatched(io::Error),
    /// The port of the guest, or of the guest forward, is 0, which nobody can use.
    NoPort,
    /// No machine can have this address, or nobody can connect to it: it is a loopback, multicast or broadcast address, that of a network, or one that is
    /// reserved.
    NoMachine(IpAddr),
    /// The guest has no network of this address's family.
    NoFamily(IpAddr),
    /// The address is not in the virtual network: neither can a guest have it, nor can a guest forward be there.
    OutsideNetwork(IpAddr),
    /// A host forward leads to the virtual host, to the virtual name server, or to an address with a guest forward. No guest is
    /// there.
    OwnAddress(IpAddr),
    /// A forward that is to take peers of IPv6 only does not listen on an IPv6 address.
    OnlyV6(ListenAddress),
    /// A command is empty, its quotes do not match, or it has a zero byte. The source says which.
    CommandLine(io::Error),
    /// A forward leads to a Unix socket, and the host has none, as some versions of Windows. The source is what it said.
    NoUnixSockets(io::Error),
    /// The virtual network is too small for the address that guest forwards have by default: one has to be given.
    NoDefaultAddress {
        /// The network's mask.
        netmask: Ipv4Addr,
    },
    /// A guest has leased this address: with a guest forward there, it would lose its network.
    Leased(Ipv4Addr),
    /// A host forward leads to this address, where a guest is expected.
    GuestExpected(IpAddr),
    /// At this address and port is the virtual network's name server.
    NameServer(SocketAddr),
    /// There is a guest forward at this address and port.
    Taken(SocketAddr),
    /// The handle is of a forward that was removed, or of another stack.
    Gone,
}

impl From<NotAdmitted> for ForwardError {
    fn from(why: NotAdmitted) -> ForwardError {
        match why {
            NotAdmitted::Full(most) => ForwardError::TooMany { most },
            NotAdmitted::Unwatched(error) => ForwardError::Unwatched(error),
        }
    }
}

impl fmt::Display for ForwardError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ForwardError::Listen { address, .. } => write!(f, "the host does not let the forward listen at {address}"),
            ForwardError::TooMany { most } => write!(f, "there are {most} forwards of this kind, which is the most"),
            ForwardError::Unwatched(_) => write!(f, "the host cannot watch one more socket"),
            ForwardError::NoPort => write!(f, "port 0 is no port of the virtual network"),
            ForwardError::NoMachine(address) => write!(f, "no machine can have the address {address}"),
            ForwardError::NoFamily(address) => {
                let family = if address.is_ipv4() { "IPv4" } else { "IPv6" };
                write!(f, "{address}: the virtual network has no {family}")
            }
            ForwardError::OutsideNetwork(address) => write!(f, "{address} is not in the virtual network"),
            ForwardError::OwnAddress(address) => write!(f, "{address} is one of the stack's own addresses, no guest's"),
            ForwardError::OnlyV6(address) => write!(f, "{address} cannot take peers of IPv6 only"),
            ForwardError::NoDefaultAddress { netmask } => {
                write!(f, "a network with the mask {netmask} has no address for guest forwards that give none")
            }
            ForwardError::Leased(address) => write!(f, "{address} is leased to a guest"),
            ForwardError::CommandLine(_) => write!(f, "that is no command line"),
            ForwardError::NoUnixSockets(_) => write!(f, "the host has no Unix sockets"),
            ForwardError::GuestExpected(address) => write!(f, "a host forward leads to a guest at {address}"),
            ForwardError::NameServer(address) => write!(f, "{address} is the virtual network's name server"),
            ForwardError::Taken(address) => write!(f, "there is a guest forward at {address}"),
            ForwardError::Gone => write!(f, "there is no such forward any more"),
        }
    }
}

impl Error for ForwardError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            ForwardError::Listen { error, .. }
            | ForwardError::Unwatched(error)
            | ForwardError::CommandLine(error)
            | ForwardError::NoUnixSockets(error) => Some(error),
            _ => None,
        }
    }
}
