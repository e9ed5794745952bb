//! The TFTP server of the virtual network (RFC 1350, options of RFC 2347 to 2349): read only.
//!
//! Fed with the payloads of datagrams to port 69 and with the time; what is to be sent goes to a function, always from
//! port 69 of the virtual host. Files come from behind [`TftpSource`], so that nothing here touches the operating system.
//! Observable behaviour: docs/contract/tftp.md.

mod request;
mod session;

#[cfg(test)]
mod tests;

use std::error::Error;
use std::fmt;
use std::io;
use std::sync::Arc;

use crate::time::{Duration, Instant};
use crate::wire::header::{IPV4_LEN, TOS_LOW_DELAY, UDP_LEN};
use request::{Refusal, Request, opcode};
use session::{Outcome, Session};

/// Where the server listens (RFC 1350 section 4).
pub(crate) const PORT: u16 = 69;
/// The type of service of its packets; source: docs/contract/tftp.md.
pub(crate) const TOS: u8 = TOS_LOW_DELAY;
/// Transfers at a time.
const SESSIONS: usize = 20;
/// A transfer that heard nothing of its client for longer than this gives way to a new one.
const IDLE: Duration = Duration::from_secs(5);
/// The largest block size that is agreed to, in bytes, as upstream has it: with all headers it fits into the 1,500 bytes
/// that a guest's interface takes even where the library's MTU is larger.
const BLOCK_SIZE_MAX: usize = 1428;
/// What IPv4, UDP and TFTP put before a block, in bytes.
const OVERHEAD: usize = IPV4_LEN + UDP_LEN + session::HEADER_LEN;

/// Files that a guest can read with TFTP. They are read while the stack works: nothing here may wait.
pub trait TftpSource: fmt::Debug + Send + Sync {
    /// Opens the file of this name for one transfer. No more than 20 transfers are under way at a time.
    ///
    /// The name is the guest's: any bytes but 0, of which there are 511 at most, without slashes at its beginning and without
    /// `../` in it.
    ///
    /// # Errors
    /// There is none, or it is not one to be read; or there is no room for it now.
    fn open(&self, name: &[u8]) -> Result<Box<dyn TftpFile>, TftpOpenError>;
}

/// Why a file was not opened for TFTP.
#[derive(Debug)]
#[non_exhaustive]
pub enum TftpOpenError {
    /// There is none, or it is not one to be read. The guest is told that it was not found.
    Missing,
    /// There is no descriptor or memory for it now. The guest is told to try later.
    Lack(io::Error),
}

impl fmt::Display for TftpOpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            TftpOpenError::Missing => "no file of this name can be read",
            TftpOpenError::Lack(_) => "there is no room to open the file now",
        })
    }
}

impl Error for TftpOpenError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            TftpOpenError::Missing => None,
            TftpOpenError::Lack(error) => Some(error),
        }
    }
}

/// The packet for a client whose request the host had no descriptor or memory for.
pub(crate) fn try_later() -> Vec<u8> {
    Refusal::TryLater.packet()
}

/// Why a request began no transfer.
enum NoTransfer {
    Refused(Refusal),
    Lack(io::Error),
}

impl From<Refusal> for NoTransfer {
    fn from(refusal: Refusal) -> NoTransfer {
        NoTransfer::Refused(refusal)
    }
}

/// A file that was opened for TFTP.
pub trait TftpFile: fmt::Debug + Send {
    /// The size in bytes, which a guest is told that asks for it. Nothing else depends on it.
    fn size(&self) -> u64;

    /// Reads what stands at `offset` and gives how many bytes of `buffer` were filled. 0 is the end of the file; fewer than
    /// the buffer has room for are asked for again. The buffer has room for 1,428 bytes at most.
    ///
    /// # Errors
    /// The file's: the transfer ends, and the guest is told. It may say a few times that it was interrupted, and is asked again.
    fn read_at(&mut self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;
}

/// The server and its transfers. `P` tells the two ends of a transfer: the client, and which of its addresses the server was
/// asked at.
#[derive(Debug)]
pub struct Tftp<P> {
    files: Option<Arc<dyn TftpSource>>,
    sessions: Vec<Session<P>>,
    block_size_max: usize,
}

impl<P: Copy + PartialEq> Tftp<P> {
    /// A server of `files`, or one that refuses every request. No block is larger than a packet of `mtu` bytes takes,
    /// but for the 512 bytes that RFC 1350 prescribes to clients without the block size option.
    pub fn new(files: Option<Arc<dyn TftpSource>>, mtu: usize) -> Tftp<P> {
        let block_size_max = mtu.saturating_sub(OVERHEAD).clamp(8, BLOCK_SIZE_MAX);
        Tftp { files, sessions: Vec::new(), block_size_max }
    }

    /// Takes the payload of a datagram from `client` to port 69.
    ///
    /// # Errors
    /// The host lacked something for the file. The client was not told: the same may be tried once more, or it is given
    /// `try_later`.
    pub fn on_datagram(
        &mut self,
        client: P,
        payload: &[u8],
        now: Instant,
        mut send: impl FnMut(P, &[u8]),
    ) -> io::Result<()> {
        let Some((kind, body)) = payload.split_first_chunk::<2>() else { return Ok(()) };
        match u16::from_be_bytes(*kind) {
            opcode::READ => return self.on_read_request(client, body, now, &mut send),
            opcode::ACKNOWLEDGMENT => self.on_acknowledgment(client, body, now, &mut send),
            opcode::ERROR => self.end(client),
            // There is nothing to write to, and no other packet is a client's.
            _ => {}
        }
        Ok(())
    }

    /// The earliest time something is to be sent again or given up.
    pub fn deadline(&self) -> Option<Instant> {
        self.sessions.iter().map(Session::deadline).min()
    }

    /// Sends again what was not answered in time, and ends the transfers of clients that are gone.
    pub fn on_deadline(&mut self, now: Instant, mut send: impl FnMut(P, &[u8])) {
        // From the back, as ending one moves the last into its place.
        for at in (0..self.sessions.len()).rev() {
            let Some(session) = self.sessions.get_mut(at).filter(|session| session.deadline() <= now) else { continue };
            let outcome = session.on_deadline(now);
            self.carry_out(at, outcome, &mut send);
        }
    }

    fn on_acknowledgment(&mut self, client: P, body: &[u8], now: Instant, send: &mut impl FnMut(P, &[u8])) {
        let Some(number) = body.first_chunk::<2>() else { return };
        let Some(at) = self.find(client) else { return };
        let Some(session) = self.sessions.get_mut(at) else { return };
        let outcome = session.on_acknowledgment(u16::from_be_bytes(*number), now);
        self.carry_out(at, outcome, send);
    }

    fn on_read_request(
        &mut self,
        client: P,
        body: &[u8],
        now: Instant,
        send: &mut impl FnMut(P, &[u8]),
    ) -> io::Result<()> {
        self.end(client);
        if !self.make_room(now) {
            return Ok(());
        }
        match self.begin(client, body, now) {
            Ok(session) => {
                send(client, session.packet());
                self.sessions.push(session);
            }
            Err(NoTransfer::Refused(refusal)) => send(client, &refusal.packet()),
            Err(NoTransfer::Lack(error)) => return Err(error),
        }
        Ok(())
    }

    /// The checks are in the order of docs/contract/tftp.md section 1.
    fn begin(&self, client: P, body: &[u8], now: Instant) -> Result<Session<P>, NoTransfer> {
        let files = self.files.as_ref().ok_or(Refusal::AccessViolation)?;
        let request = Request::parse(body)?;
        let file = files.open(request.name).map_err(|why| match why {
            TftpOpenError::Missing => Refusal::FileNotFound.into(),
            TftpOpenError::Lack(error) => NoTransfer::Lack(error),
        })?;
        let options = request.options()?;
        let session = Session::new(client, file, request.mode, &options, self.block_size_max, now);
        session.map_err(|_| Refusal::FileNotFound.into())
    }

    /// Sees to it that one more transfer fits: the one that only waits for its end gives way, or else one whose client
    /// has been silent for long. False when there is none.
    fn make_room(&mut self, now: Instant) -> bool {
        if self.sessions.len() < SESSIONS {
            return true;
        }
        let longest = self
            .sessions
            .iter()
            .enumerate()
            .filter(|(_, session)| session.is_ending() || session.idle(now) > IDLE)
            .max_by_key(|(_, session)| (session.is_ending(), session.idle(now)));
        let Some((at, _)) = longest else { return false };
        self.sessions.swap_remove(at);
        true
    }

    fn carry_out(&mut self, at: usize, outcome: Outcome, send: &mut impl FnMut(P, &[u8])) {
        let Some(session) = self.sessions.get(at) else { return };
        match outcome {
            Outcome::Send => return send(session.client, session.packet()),
            Outcome::Silence => return,
            Outcome::Failed => send(session.client, &Refusal::FileNotFound.packet()),
            Outcome::Over => {}
        }
        self.sessions.swap_remove(at);
    }

    fn find(&self, client: P) -> Option<usize> {
        self.sessions.iter().position(|session| session.client == client)
    }

    fn end(&mut self, client: P) {
        if let Some(at) = self.find(client) {
            self.sessions.swap_remove(at);
        }
    }
}
