//! A TCP connection of this process with itself, one end of which becomes a program's. Nobody waits for it here.

use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, SocketAddr};

use socket2::Socket;

use super::fault::Fault;
use super::process;
use super::socket::{Hops, Stream};

/// Strangers' connections that are turned away while waiting for our own.
const MAX_STRANGERS: usize = 64;

/// A connection that is being made. Mostly the kernel completes it within the connect; it does later when another processor has the
/// work, and never where a filter drops what goes over the loopback.
#[derive(Debug)]
pub(crate) struct Pair {
    listener: Socket,
    ours: Stream,
    /// Others' connections that were turned away.
    strangers: usize,
}

/// Why there is no connection.
#[derive(Debug)]
pub(super) enum Incomplete {
    /// It is not complete yet.
    Later(Box<Pair>),
    /// The system said why not.
    Never(io::Error),
}

impl Pair {
    fn begin() -> io::Result<Pair> {
        let listener = process::listener()?;
        listener.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into())?;
        listener.listen(16)?;
        let address = listener.local_addr()?.as_socket().ok_or(ErrorKind::AddrNotAvailable)?;
        let ours = Stream::connect(address, None, Hops::Default)?;
        Ok(Pair { listener, ours, strangers: 0 })
    }

    /// Our end and the program's, which waits in reads and writes: of the pair that was begun before, or of a new one.
    pub(super) fn ends(begun: Option<Box<Pair>>) -> Result<(Stream, Socket), Incomplete> {
        let mut pair = match begun {
            Some(pair) => pair,
            None => Box::new(Pair::begin().map_err(Incomplete::Never)?),
        };
        match pair.accept() {
            Ok(theirs) => Ok((pair.ours, theirs)),
            Err(error) if error.kind() == ErrorKind::WouldBlock => Err(Incomplete::Later(pair)),
            Err(error) => Err(Incomplete::Never(error)),
        }
    }

    /// Our own connection among those that have come.
    fn accept(&mut self) -> io::Result<Socket> {
        let our_address = self.ours.local_address();
        while self.strangers < MAX_STRANGERS {
            match self.listener.accept() {
                // Any process of this machine can connect to the listener for the moment that it exists.
                Ok((theirs, peer)) if our_address.is_some() && peer.as_socket() == our_address => {
                    theirs.set_nonblocking(false)?;
                    self.ours.take_error()?;
                    return Ok(theirs);
                }
                Ok(_) => self.strangers += 1,
                Err(error) => match Fault::of(&error) {
                    // Also of a stranger that was gone before it was accepted, of whom Windows tells as of a reset.
                    Fault::Interrupted | Fault::Aborted => {}
                    Fault::Broken => self.strangers += 1,
                    // A connect that has failed will not come any more.
                    Fault::WouldBlock => return Err(self.ours.take_error().err().unwrap_or(error)),
                    _ => return Err(error),
                },
            }
        }
        Err(io::Error::other("others connect in its place"))
    }
}
