//! What a program is told of the guest's connections to it, and by which name.

use std::error::Error;
use std::fmt;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;

use super::GuestForwardHandle;
use crate::flow::identity::Identity;
use crate::flow::tcp::table::TcpId;

/// Names a connection of a guest to a forward that this program answers. No other connection of any stack has the same name,
/// also when this one has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct GuestConnection {
    pub(super) stack: Identity,
    pub(super) id: TcpId,
}

/// What has happened on a connection to [`GuestForward::application`](crate::GuestForward::application); an
/// [`Effect`](crate::Effect).
///
/// These are edges: each is told once, when it comes about. [`GuestEvent::Readable`] and [`GuestEvent::Writable`] are told
/// again only after the program has come back for them, so that no more than one of a kind waits for a program that takes its
/// time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum GuestEvent {
    /// A guest has completed its handshake. Bytes can be sent at once; this is the first event of the connection.
    Connected {
        /// The name of the connection from now on.
        connection: GuestConnection,
        /// The forward that it came through.
        forward: GuestForwardHandle,
        /// The guest's address and port.
        peer: SocketAddr,
    },
    /// Bytes have come. Told again for the next ones when [`Stack::guest_receive`](crate::Stack::guest_receive) was called
    /// meanwhile; what that call leaves is not told of once more.
    Readable {
        /// Where.
        connection: GuestConnection,
    },
    /// There is room again, after [`Stack::guest_send`](crate::Stack::guest_send) has taken less than all.
    Writable {
        /// Where.
        connection: GuestConnection,
    },
    /// The guest has ended its direction. Bytes that came before may still wait; behind them is the end of the stream. The
    /// program may go on sending.
    Finished {
        /// Where.
        connection: GuestConnection,
    },
    /// Both directions have ended, and each side has all that the other one sent. The connection is gone. This comes when the
    /// program has received the end of the stream, or if it does not, after five seconds.
    Closed {
        /// What the connection was called.
        connection: GuestConnection,
    },
    /// The connection has broken off: the guest has reset it or does not answer any more, the forward was removed, or there are
    /// too many connections. Bytes that waited are lost. The connection is gone.
    Reset {
        /// What the connection was called.
        connection: GuestConnection,
    },
}

impl GuestEvent {
    /// The connection that it is about.
    pub fn connection(&self) -> GuestConnection {
        match *self {
            GuestEvent::Connected { connection, .. }
            | GuestEvent::Readable { connection }
            | GuestEvent::Writable { connection }
            | GuestEvent::Finished { connection }
            | GuestEvent::Closed { connection }
            | GuestEvent::Reset { connection } => connection,
        }
    }
}

/// Why nothing was done on a connection of a guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum GuestConnectionError {
    /// There is no such connection: it has ended, which an event has told or is about to tell, or is one of another stack.
    Gone,
    /// No bytes have come that were not received yet, or there is no room for bytes to send. An event will tell when that has
    /// changed.
    WouldBlock,
    /// The program has ended its direction already.
    Finished,
}

impl fmt::Display for GuestConnectionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            GuestConnectionError::Gone => "there is no such connection any more",
            GuestConnectionError::WouldBlock => "that has to wait for the guest",
            GuestConnectionError::Finished => "this side of the connection has ended",
        })
    }
}

impl Error for GuestConnectionError {}

impl From<GuestConnectionError> for io::Error {
    fn from(error: GuestConnectionError) -> io::Error {
        let kind = match error {
            GuestConnectionError::Gone => ErrorKind::NotConnected,
            GuestConnectionError::WouldBlock => ErrorKind::WouldBlock,
            GuestConnectionError::Finished => ErrorKind::BrokenPipe,
        };
        io::Error::new(kind, error)
    }
}
