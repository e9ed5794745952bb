//! One transfer: a file, and the packet of it that the client has last been sent.
//!
//! The next block is sent for an acknowledgment of the last one and for nothing else, so that a packet lost on either
//! side costs time and not the transfer. What was lost is sent again when the client repeats itself, or at a deadline.
//!
//! An acknowledgment that comes twice must not double the packets from there on (the "sorcerer's apprentice" of RFC 1123
//! section 4.2.3.1). When a block was sent `n` times, then `n - 1` further acknowledgments of it are echoes and say
//! nothing; only one more than those means that the client waits.

use std::io;

use super::TftpFile;
use super::request::{Mode, Options, Wish, opcode};
use crate::service::elapsed;
use crate::time::{Duration, Instant};

/// Packet type and block number.
pub(super) const HEADER_LEN: usize = 4;
const BLOCK_SIZE_DEFAULT: usize = 512;

/// How long the first acknowledgment of a packet may take; the next ones twice as long each, unless the client chose.
const PATIENCE: Duration = Duration::from_secs(1);
/// How often a packet is sent again before the client counts as gone.
const REPEATS: u32 = 4;

/// How often in one block a file may say that it was interrupted.
const INTERRUPTIONS: u32 = 16;

/// What a packet from the client came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// There is a packet to send: [`Session::packet`].
    Send,
    Silence,
    /// The transfer is at its end, or has failed.
    Over,
    /// The file could not be read.
    Failed,
}

#[derive(Debug)]
pub(super) struct Session<P> {
    pub client: P,
    reader: Reader,
    block_size: usize,
    /// The number of the block in `packet`, not wrapped; 0 for the acknowledgment of options.
    block: u64,
    packet: Vec<u8>,
    /// The packet is the last of the file.
    last: bool,
    /// How often the packet was sent.
    sent: u32,
    /// How many acknowledgments of the block before are still to be expected that mean nothing.
    echoes: u32,
    /// Sendings since the client was last heard.
    unanswered: u32,
    heard: Instant,
    due: Instant,
    timeout: Option<Duration>,
}

impl<P> Session<P> {
    /// Begins a transfer; [`Session::packet`] is what to send first.
    ///
    /// # Errors
    /// The file's.
    pub(super) fn new(
        client: P,
        file: Box<dyn TftpFile>,
        mode: Mode,
        options: &Options,
        block_size_max: usize,
        now: Instant,
    ) -> io::Result<Session<P>> {
        let size = file.size();
        let mut session = Session {
            client,
            reader: Reader { file, mode, position: 0, carry: None },
            block_size: BLOCK_SIZE_DEFAULT,
            block: 0,
            packet: Vec::new(),
            last: false,
            sent: 1,
            echoes: 0,
            unanswered: 1,
            heard: now,
            due: now,
            timeout: None,
        };
        session.accept(options, size, block_size_max);
        if session.packet.is_empty() {
            session.next_block()?;
        }
        session.due = now + session.patience();
        Ok(session)
    }

    /// Takes the client's options over and acknowledges them (RFC 2347), if there are any.
    fn accept(&mut self, options: &Options, size: u64, block_size_max: usize) {
        for wish in options.iter() {
            let (name, value) = match wish {
                Wish::BlockSize(wanted) => {
                    self.block_size = usize::try_from(wanted).unwrap_or(usize::MAX).min(block_size_max);
                    ("blksize", self.block_size as u64)
                }
                // How long a text becomes is not known before it was converted.
                Wish::TransferSize(_) if self.reader.mode == Mode::Netascii => continue,
                Wish::TransferSize(0) => ("tsize", size),
                Wish::TransferSize(told) => ("tsize", told),
                Wish::Timeout(seconds) => {
                    self.timeout = Some(Duration::from_secs(seconds.into()));
                    ("timeout", seconds.into())
                }
            };
            if self.packet.is_empty() {
                self.packet.extend(opcode::OPTION_ACKNOWLEDGMENT.to_be_bytes());
            }
            for text in [name, &value.to_string()] {
                self.packet.extend(text.as_bytes());
                self.packet.push(0);
            }
        }
    }

    /// The packet to send.
    pub(super) fn packet(&self) -> &[u8] {
        &self.packet
    }

    /// The client has everything as far as is known: only its last acknowledgment is missing.
    pub(super) fn is_ending(&self) -> bool {
        self.last
    }

    /// How long nothing was heard of the client.
    pub(super) fn idle(&self, now: Instant) -> Duration {
        elapsed(self.heard, now)
    }

    /// When [`Session::on_deadline`] is due.
    pub(super) fn deadline(&self) -> Instant {
        self.due
    }

    /// Takes the acknowledgment of a block.
    pub(super) fn on_acknowledgment(&mut self, number: u16, now: Instant) -> Outcome {
        // Block numbers wrap: a file may have more than 65,535 blocks.
        if number == self.block as u16 {
            if self.last {
                return Outcome::Over;
            }
            self.echoes = self.sent.saturating_sub(1);
            self.sent = 0;
            if self.next_block().is_err() {
                return Outcome::Failed;
            }
        } else if self.block.checked_sub(1).is_some_and(|before| number == before as u16) {
            if self.echoes > 0 {
                self.echoes -= 1;
                return Outcome::Silence;
            }
        } else {
            return Outcome::Silence;
        }
        self.heard = now;
        self.unanswered = 1;
        self.sent = self.sent.saturating_add(1);
        self.due = now + self.patience();
        Outcome::Send
    }

    /// Nothing was heard in time.
    pub(super) fn on_deadline(&mut self, now: Instant) -> Outcome {
        if self.unanswered > REPEATS {
            return Outcome::Over;
        }
        self.unanswered += 1;
        self.sent = self.sent.saturating_add(1);
        self.due = now + self.patience();
        Outcome::Send
    }

    fn patience(&self) -> Duration {
        self.timeout.unwrap_or(PATIENCE * (1 << self.unanswered.saturating_sub(1).min(REPEATS)))
    }

    fn next_block(&mut self) -> io::Result<()> {
        self.block += 1;
        self.packet.clear();
        self.packet.extend(opcode::DATA.to_be_bytes());
        self.packet.extend((self.block as u16).to_be_bytes());
        self.reader.read(&mut self.packet, self.block_size)?;
        self.last = self.packet.len() < HEADER_LEN + self.block_size;
        Ok(())
    }
}

/// A file from front to back, in the mode of the transfer.
#[derive(Debug)]
struct Reader {
    file: Box<dyn TftpFile>,
    mode: Mode,
    /// Of the next byte to read in the file.
    position: u64,
    /// The second byte of a line end whose first one was the last of its block.
    carry: Option<u8>,
}

impl Reader {
    /// Appends up to `length` bytes to `packet`, fewer only at the end of the file.
    fn read(&mut self, packet: &mut Vec<u8>, length: usize) -> io::Result<()> {
        match self.mode {
            Mode::Octet => self.read_octets(packet, length),
            Mode::Netascii => self.read_netascii(packet, length),
        }
    }

    fn read_octets(&mut self, packet: &mut Vec<u8>, length: usize) -> io::Result<()> {
        let start = packet.len();
        packet.resize(start + length, 0);
        let room = packet.get_mut(start..).unwrap_or_default();
        let read = self.fill(room)?;
        packet.truncate(start + read);
        self.position = self.position.saturating_add(read as u64);
        Ok(())
    }

    /// Every line feed becomes carriage return and line feed, every carriage return is followed by a NUL (RFC 764, as RFC
    /// 1350 section 1 has it).
    fn read_netascii(&mut self, packet: &mut Vec<u8>, length: usize) -> io::Result<()> {
        let end = packet.len() + length;
        packet.extend(self.carry.take());
        let mut buffer = [0; 512];
        while packet.len() < end {
            let read = self.fill(&mut buffer)?;
            if read == 0 {
                break;
            }
            for &byte in buffer.iter().take(read) {
                if packet.len() == end {
                    break;
                }
                self.position = self.position.saturating_add(1);
                let (first, second) = match byte {
                    b'\n' => (b'\r', Some(b'\n')),
                    b'\r' => (b'\r', Some(0)),
                    _ => (byte, None),
                };
                packet.push(first);
                if packet.len() < end {
                    packet.extend(second);
                } else {
                    self.carry = second;
                }
            }
        }
        Ok(())
    }

    /// Reads at the position until `room` is full or the file at its end.
    fn fill(&mut self, room: &mut [u8]) -> io::Result<usize> {
        let (mut filled, mut interrupted) = (0, 0);
        while let Some(left) = room.get_mut(filled..).filter(|left| !left.is_empty()) {
            match self.file.read_at(left, self.position.saturating_add(filled as u64)) {
                Ok(0) => break,
                Ok(read) if read <= left.len() => filled += read,
                Ok(_) => return Err(io::ErrorKind::InvalidData.into()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted && interrupted < INTERRUPTIONS => {
                    interrupted += 1
                }
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }
}
