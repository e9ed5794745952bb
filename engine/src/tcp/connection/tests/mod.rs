//! Scripted peers: one rule a test.

mod attacks;
mod closing;
mod ecn;
mod growth;
mod handshake;
mod lanes;
mod path_mtu;
mod questions;
mod random;
mod receiving;
mod recovery;
mod sending;
mod series;
mod undo;

use super::*;
use crate::tcp::congestion::{Congestion, Control};
use crate::tcp::ecn::Ecn;
use crate::tcp::saved::Saved;
use crate::tcp::segment::{Flags, Options, Transmit};
use crate::time::Duration;

const CONFIG: Config = Config {
    mss: 1460,
    recv_limit: 100_000,
    recv_first: usize::MAX,
    send_limit: 100_000,
    recv_max: 0,
    send_max: 0,
    congestion: Congestion::Cubic,
    ecn: Ecn::Accept,
    window_scale: false,
    sack: false,
    timestamps: false,
    stamp_offset: 0,
    keep_alive: None,
    watch: false,
};
/// Our initial sequence number in these tests.
const ISS: u32 = 1000;
/// The peer's.
const IRS: u32 = 5000;

/// A connection and the peer that a test plays.
struct Script {
    connection: Connection,
    pool: Pool,
    now: Instant,
}

fn segment(flags: Flags, seq: u32, ack: u32) -> Segment<'static> {
    Segment {
        seq: SeqNumber(seq),
        ack: SeqNumber(ack),
        flags,
        window: 60_000,
        urgent: 0,
        options: Options::default(),
        payload: &[],
    }
}

fn syn() -> Segment<'static> {
    Segment { options: Options { mss: Some(1460), ..Options::default() }, ..segment(Flags::SYN, IRS, 0) }
}

impl Script {
    fn passive_with(config: &Config, syn: &Segment<'_>) -> Script {
        let mut pool = Pool::new();
        let now = Instant::from_secs(100);
        let connection = Connection::passive(config, syn, SeqNumber(ISS), now, &mut pool);
        Script { connection, pool, now }
    }

    fn active() -> Script {
        let now = Instant::from_secs(100);
        Script { connection: Connection::active(&CONFIG, SeqNumber(ISS), now), pool: Pool::new(), now }
    }

    /// Established, opened by the peer; nothing is left to be sent.
    fn established_with(config: &Config) -> Script {
        let mut script = Script::passive_with(config, &syn());
        script.connection.accept(script.now);
        assert_eq!(script.sent().len(), 1);
        script.receive(segment(Flags::ACK, IRS + 1, ISS + 1));
        assert_eq!(script.connection.state(), State::Established);
        assert_eq!(script.sent(), []);
        script
    }

    fn established() -> Script {
        Script::established_with(&CONFIG)
    }

    fn receive(&mut self, segment: Segment<'_>) {
        self.connection.on_segment(&segment, self.now, &mut self.pool);
    }

    /// Data from the peer at `offset` bytes into its stream.
    fn data(&mut self, offset: u32, payload: &[u8]) {
        self.receive(Segment { payload, ..segment(Flags::ACK, IRS + 1 + offset, ISS + 1) });
    }

    /// An acknowledgment of `bytes` bytes of our stream.
    fn ack(&mut self, bytes: u32) {
        let seq = self.connection.rcv_nxt().0;
        self.receive(segment(Flags::ACK, seq, ISS + 1 + bytes));
    }

    fn push(&mut self, n: usize) {
        assert_eq!(self.connection.send_mut().push(&vec![b'x'; n], 1 << 20, &mut self.pool), n);
    }

    fn sent(&mut self) -> Vec<Transmit> {
        std::iter::from_fn(|| self.connection.poll_transmit(self.now)).collect()
    }

    /// The same with what waits for its pace, for as long as that takes.
    fn sent_at_its_pace(&mut self) -> Vec<Transmit> {
        let mut sent = self.sent();
        while self.connection.is_paced() {
            self.expire();
            sent.extend(self.sent());
        }
        sent
    }

    /// The one segment that is sent.
    fn one(&mut self) -> Transmit {
        let sent = self.sent();
        assert_eq!(sent.len(), 1, "{sent:?}");
        sent[0]
    }

    /// Lets the time pass until the next deadline and returns how long that was.
    fn expire(&mut self) -> Duration {
        let at = self.connection.deadline().expect("a deadline");
        let passed = at - self.now;
        self.now = at;
        self.connection.on_deadline(at);
        passed
    }

    /// Closes our direction and has the peer acknowledge that.
    fn close_acked(&mut self) {
        self.connection.close_send();
        let fin = self.one();
        assert!(fin.flags.contains(Flags::FIN));
        self.ack(1);
    }

    fn received(&self) -> Vec<u8> {
        let (first, second) = self.connection.recv().slices();
        [first, second].concat()
    }

    fn take(&mut self, n: usize) {
        self.connection.consume_received(n, &mut self.pool);
    }

    /// Checks that a plain acknowledgment of all that is in order is sent, and nothing else.
    fn acks(&mut self, bytes: u32) {
        let ack = self.one();
        assert_eq!((ack.flags, ack.len), (Flags::ACK, 0));
        assert_eq!(ack.ack, SeqNumber(IRS + 1 + bytes));
    }
}

const FIN_ACK: Flags = Flags::FIN.union(Flags::ACK);
const RST_ACK: Flags = Flags::RST.union(Flags::ACK);
const SYN_ACK: Flags = Flags::SYN.union(Flags::ACK);

#[test]
fn an_idle_connection_is_small() {
    assert!(size_of::<Connection>() <= 968, "{}", size_of::<Connection>());
    let mut script = Script::established();
    script.push(5000);
    script.data(0, &[1; 1000]);
    assert_eq!(script.pool.lent(), 2 * 16384);
    script.sent();
    script.ack(5000);
    script.take(1000);
    assert_eq!(script.pool.lent(), 0);
}

#[test]
fn a_saved_connection_goes_on() {
    let mut script = Script::established();
    script.data(0, b"ping");
    script.push(12);
    script.one();
    let saved = script.connection.save().unwrap();
    let mut pool = Pool::new();
    let restored = Connection::restore(&CONFIG, &saved, b"ping", &[b'x'; 12], script.now, &mut pool).unwrap();
    let mut script = Script { connection: restored, pool, now: script.now };
    assert_eq!(script.received(), b"ping");
    assert_eq!(script.one().len, 12, "what was in flight is sent again");
    script.ack(12);
    assert!(script.connection.send_idle());
    script.data(4, b"pong");
    assert_eq!(script.received(), b"pingpong");
    let wrong = Saved { snd_max: saved.snd_una + 13, ..saved };
    assert!(Connection::restore(&CONFIG, &wrong, b"", &[0; 12], script.now, &mut script.pool).is_none());
    assert_eq!(Script::active().connection.save(), None);
}

/// Seed 96783 of the simulator, before its link changed: the acknowledgment was owed when the connection was saved.
#[test]
fn a_restored_connection_acknowledges_at_once() {
    let mut script = Script::established();
    script.data(0, b"owed");
    let saved = script.connection.save().unwrap();
    let mut pool = Pool::new();
    let connection = Connection::restore(&CONFIG, &saved, b"owed", b"", script.now, &mut pool).unwrap();
    let mut script = Script { connection, pool, now: script.now };
    script.acks(4);
}

/// Seed 116 of the simulator, before its link changed.
#[test]
fn a_restored_connection_learns_options_from_good_segments_only() {
    let config = Config { sack: true, timestamps: true, ..CONFIG };
    let saved = Script::established_with(&config).connection.save().unwrap();
    let mut pool = Pool::new();
    let now = Instant::from_secs(100);
    let connection = Connection::restore(&config, &saved, b"", b"", now, &mut pool).unwrap();
    let mut script = Script { connection, pool, now };
    let stamped = Options { timestamps: Some((7, 0)), sack: [None; 4], ..Options::default() };
    script.receive(Segment { options: stamped, ..syn() });
    script.receive(Segment { options: stamped, ..segment(Flags::ACK, IRS + 1 + 200_000, ISS + 1) });
    script.receive(Segment { options: stamped, ..segment(Flags::ACK, IRS + 1, ISS + 2) });
    script.sent();
    script.push(1);
    assert_eq!(script.one().options.timestamps, None);
    script.receive(Segment { options: stamped, ..segment(Flags::ACK, IRS + 1, ISS + 2) });
    script.push(1);
    assert_eq!(script.one().options.timestamps.map(|(_, echo)| echo), Some(7));
}
