//! Effects: what the engine wants its application to be told or to do. The engine itself calls nobody.

use crate::flow::tcp::guest::{GuestEvent, GuestForwardHandle};
use crate::host::handle::{HostNamed, RawSocket, named_by};
use crate::host::socket::{Datagram, Listener, Stream};
use crate::time::Instant;

/// A host socket on its way out, which closes when this is dropped.
#[derive(Debug)]
pub struct HostSocket(Leaving);

/// What kind of socket it is.
#[derive(Debug)]
pub(crate) enum Leaving {
    /// A connected stream, over TCP or a Unix socket.
    Stream(Stream),
    /// A listener of a host forward.
    Listener(Listener),
    /// A datagram socket, of UDP or of ping.
    Datagram(Datagram),
}

impl From<Leaving> for HostSocket {
    fn from(socket: Leaving) -> HostSocket {
        HostSocket(socket)
    }
}

named_by!(Leaving, |leaving| match leaving {
    Leaving::Stream(socket) => socket.raw_socket(),
    Leaving::Listener(socket) => socket.raw_socket(),
    Leaving::Datagram(socket) => socket.raw_socket(),
});

impl Leaving {
    /// Whether somebody else has closed it, so that its number may be another one's.
    pub(crate) fn is_lost(&self) -> bool {
        match self {
            Leaving::Stream(socket) => socket.is_lost(),
            Leaving::Listener(socket) => socket.is_lost(),
            Leaving::Datagram(socket) => socket.is_lost(),
        }
    }
}

impl HostSocket {
    /// The system's own name of it.
    pub fn raw_socket(&self) -> RawSocket {
        self.0.raw_socket()
    }
}

named_by!(HostSocket, |socket| socket.0.raw_socket());

/// Something for the application. To be carried out in order.
#[derive(Debug)]
#[non_exhaustive]
pub enum Effect {
    /// A host socket was made. Only in direct mode ([`ConfigBuilder::direct_poll`](crate::ConfigBuilder::direct_poll)), where
    /// the program watches it.
    Register(RawSocket),
    /// A host socket is done with; it closes when this value is dropped, after the program was told. Only in direct mode.
    Unregister(HostSocket),
    /// The application's loop should come round: it may be asleep while there is work or room again.
    Notify,
    /// The guest did something it should not; for the application's log.
    GuestError(String),
    /// Something the person who runs the application should know.
    Warning(String),
    /// The application's timer is to be set to this time of its clock. Only where advertisements are the timer's.
    #[doc(hidden)]
    SetTimer(Instant),
    /// Something has happened on a connection to a guest forward that this program answers.
    Guest(GuestEvent),
    /// Bytes from the guest for a guest forward's callback.
    #[doc(hidden)]
    GuestForward {
        /// The forward, as it was named when it was added.
        forward: GuestForwardHandle,
        /// In the order in which the guest sent them.
        bytes: Vec<u8>,
    },
}
