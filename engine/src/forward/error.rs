//! Why a forward is refused.

use std::error::Error;
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};

/// Why a forward could not be added or removed. Nothing has changed then.
#[derive(Debug)]
#[non_exhaustive]
pub enum ForwardError {
    /// The host does not let the forward listen there. The source is what `socket`, `bind` or `listen` said: that the address is
    /// in use, for instance.
    Listen(io::Error),
    /// There are as many forwards of this kind as there may be (4,096 host forwards of each protocol, 1,024 guest forwards), or
    /// the host cannot watch one more socket.
    TooMany,
    /// A guest forward has to be at an address of the virtual network.
    OutsideNetwork(IpAddr),
    /// At this address and port is the virtual network's name server.
    NameServer(SocketAddr),
    /// There is a guest forward at this address and port.
    Taken(SocketAddr),
    /// The handle is of a forward that was removed, or of another stack.
    Gone,
}

impl fmt::Display for ForwardError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ForwardError::Listen(_) => write!(f, "the host does not let the forward listen there"),
            ForwardError::TooMany => write!(f, "there are too many forwards"),
            ForwardError::OutsideNetwork(address) => write!(f, "{address} is no address of the virtual network"),
            ForwardError::NameServer(address) => write!(f, "{address} is the virtual network's name server"),
            ForwardError::Taken(address) => write!(f, "there is a guest forward at {address}"),
            ForwardError::Gone => write!(f, "there is no such forward any more"),
        }
    }
}

impl Error for ForwardError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            ForwardError::Listen(error) => Some(error),
            _ => None,
        }
    }
}
