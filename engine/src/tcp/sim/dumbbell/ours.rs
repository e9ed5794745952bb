//! Our connection as a sender.

use super::packet::{Ack, Ecn, Packet};
use super::sender::Sender;
use crate::tcp::{Config, Connection, Flags, Options, Pool, Segment, SeqNumber};
use crate::time::Instant;

/// The window that guests offer: 64 MiB, which is more than the send buffer ever holds.
const SHIFT: u8 = 10;
/// What the host has for the guest at once, in bytes: a read of a socket.
const READ: usize = 256 << 10;
/// The guest's first number.
const THEIRS: SeqNumber = SeqNumber(7);

static DATA: [u8; READ] = [0; READ];

pub(super) struct Ours {
    connection: Connection,
    pool: Pool,
    asks: bool,
}

impl Ours {
    pub(super) fn new(config: &Config, iss: u32, now: Instant) -> Ours {
        let asks = config.ecn == crate::tcp::Ecn::Ask;
        Ours { connection: Connection::active(config, SeqNumber(iss), now), pool: Pool::new(), asks }
    }

    /// The host has more.
    fn fill(&mut self) {
        if !self.connection.is_established() {
            return;
        }
        let segment = self.connection.effective_mss().max(1);
        loop {
            // Whole segments, as a host that sends in bulk leaves them.
            let room = self.connection.send_room().min(READ) / segment * segment;
            let limit = self.connection.send_limit();
            let data = DATA.get(..room).unwrap_or_default();
            if room == 0 || self.connection.send_mut().push(data, limit, &mut self.pool) == 0 {
                return;
            }
        }
    }
}

impl Sender for Ours {
    fn on_ack(&mut self, ack: &Ack, now: Instant) {
        let mut flags = if ack.syn { Flags::SYN | Flags::ACK } else { Flags::ACK };
        // A guest agrees with one flag, and then says with it that something was marked.
        flags.set(Flags::ECE, ack.echo || (ack.syn && self.asks));
        let options = Options {
            mss: ack.syn.then_some(1460),
            window_scale: ack.syn.then_some(SHIFT),
            sack_permitted: ack.syn,
            sack: ack.sack,
            timestamps: ack.stamps,
        };
        let seq = if ack.syn { THEIRS } else { THEIRS + 1 };
        let segment = Segment { seq, ack: ack.ack, flags, window: u16::MAX, urgent: 0, options, payload: &[] };
        self.connection.on_segment(&segment, now, &mut self.pool);
    }

    fn poll(&mut self, now: Instant) -> Option<Packet> {
        self.fill();
        loop {
            let transmit = self.connection.poll_transmit(now)?;
            let syn = transmit.flags.contains(Flags::SYN);
            if transmit.len == 0 && !syn {
                // A bare acknowledgment tells the guest nothing that counts here.
                continue;
            }
            return Some(Packet {
                seq: transmit.seq,
                len: transmit.len as u32,
                syn,
                stamps: transmit.options.timestamps,
                ecn: if transmit.flags.contains(Flags::ECT) { Ecn::Capable } else { Ecn::Incapable },
                reduced: transmit.flags.contains(Flags::CWR),
            });
        }
    }

    fn deadline(&self) -> Option<Instant> {
        self.connection.deadline()
    }

    fn on_deadline(&mut self, now: Instant) {
        self.connection.on_deadline(now);
    }

    fn flight(&self) -> u64 {
        u64::from(self.connection.snd_nxt().distance(self.connection.snd_una()))
    }

    fn window(&self) -> u64 {
        u64::from(self.connection.cwnd())
    }
}
