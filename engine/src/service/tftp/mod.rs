//! The TFTP server of the virtual network (RFC 1350, options of RFC 2347 to 2349): read only, one directory.
//!
//! Fed with the payloads of datagrams to port 69 and with the time; what is to be sent goes to a function, always from
//! port 69 of the virtual host. Files come from behind [`Files`], so that nothing here touches the operating system.
//! Observable behaviour: docs/contract/tftp.md.

mod request;
mod session;

#[cfg(test)]
mod tests;

use std::io;

use crate::time::{Duration, Instant};
use request::{Refusal, Request, opcode};
use session::{Outcome, Session};

/// Transfers at a time.
const SESSIONS: usize = 20;
/// A transfer that heard nothing of its client for longer than this gives way to a new one.
const IDLE: Duration = Duration::from_secs(5);
/// The largest block size that is agreed to, in bytes, as upstream has it: with all headers it fits into the 1,500 bytes
/// that a guest's interface takes even where the library's MTU is larger.
const BLOCK_SIZE_MAX: usize = 1428;
/// What IPv4, UDP and TFTP put before a block, in bytes.
const OVERHEAD: usize = 32;

/// A directory of files to be read.
pub trait Files {
    /// What an opened file is read through.
    type File: Contents;

    /// Opens the file of this name, relative to the directory; never one outside of it.
    ///
    /// # Errors
    /// There is none, or it is not one to be read; or the host lacks something for it.
    fn open(&self, name: &[u8]) -> Result<Self::File, Unopened>;
}

/// Why a file was not opened.
#[derive(Debug)]
pub enum Unopened {
    /// There is none, or it is not one to be read.
    Missing,
    /// The host has no descriptor or memory for it now.
    Lack(io::Error),
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

/// A file that was opened.
pub trait Contents {
    /// In bytes.
    fn size(&self) -> u64;

    /// Reads at `offset`; 0 is the end of the file.
    ///
    /// # Errors
    /// The file's.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;
}

/// The server and its transfers. `P` tells the two ends of a transfer: the client, and which of its addresses the server was
/// asked at.
pub struct Tftp<F: Files, P> {
    files: Option<F>,
    sessions: Vec<Session<F::File, P>>,
    block_size_max: usize,
}

impl<F: Files, P: Copy + PartialEq> Tftp<F, P> {
    /// A server of `files`, or one that refuses every request. No block is larger than a packet of `mtu` bytes takes,
    /// but for the 512 bytes that RFC 1350 prescribes to clients without the block size option.
    pub fn new(files: Option<F>, mtu: usize) -> Tftp<F, P> {
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

    /// Whether no transfer is going on.
    #[inline]
    pub fn is_idle(&self) -> bool {
        self.sessions.is_empty()
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
    fn begin(&self, client: P, body: &[u8], now: Instant) -> Result<Session<F::File, P>, NoTransfer> {
        let files = self.files.as_ref().ok_or(Refusal::AccessViolation)?;
        let request = Request::parse(body)?;
        let file = files.open(request.name).map_err(|why| match why {
            Unopened::Missing => Refusal::FileNotFound.into(),
            Unopened::Lack(error) => NoTransfer::Lack(error),
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
