//! Our own connection as an end.

use super::app::{App, Stream};
use super::end::{End, Standing, decode, encode, reset_for};
use super::random::Random;
use crate::tcp::{Closed, Config, Connection, Flags, Pool, SeqNumber, State};
use crate::time::{Duration, Instant, earliest};

/// An end is rebuilt so many times at most: each time, all that is in flight is sent again.
const REBUILDS: u64 = 20;

/// How a passive end answers a SYN.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Answer {
    Accept,
    Refuse,
}

/// How often of a thousand turns something happens.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rates {
    /// The connection is exported and rebuilt.
    pub rebuild: u64,
    /// All that was handed in is marked as urgent.
    pub urgent: u64,
}

pub(super) struct Ours {
    app: App,
    config: Config,
    iss: SeqNumber,
    connection: Option<Connection>,
    pool: Pool,
    /// What a passive end does about a SYN, and how long it takes to decide, in microseconds.
    answer: (Answer, u64),
    answer_at: Option<Instant>,
    closed: Option<Closed>,
    /// Answers of a host that knows no connection.
    resets: Vec<Vec<u8>>,
    rates: Rates,
    rebuilt: u64,
}

/// A connection and its memory, for the application.
struct Open<'a> {
    connection: &'a mut Connection,
    pool: &'a mut Pool,
    send_limit: usize,
    now: Instant,
}

impl Stream for Open<'_> {
    fn readable(&self) -> usize {
        self.connection.recv().len()
    }

    fn read(&mut self, n: usize, take: &mut dyn FnMut(&[u8])) {
        let (first, second) = self.connection.recv().slices();
        let front = n.min(first.len());
        take(&first[..front]);
        take(&second[..n - front]);
        if n == self.connection.recv().len() && self.connection.wants_wider_window() {
            self.connection.widen_window(true, self.pool);
        }
        self.connection.consume_received(n, self.pool);
        self.connection.flush_ack();
    }

    fn room(&self) -> usize {
        self.connection.send_room()
    }

    fn write(&mut self, bytes: &[u8]) -> usize {
        let room = self.connection.send_room();
        self.connection.send_mut().push(&bytes[..bytes.len().min(room)], self.send_limit, self.pool)
    }

    fn at_end(&self) -> bool {
        self.connection.peer_finished() && self.connection.recv().is_empty()
    }

    fn finish(&mut self) {
        self.connection.close_send();
    }

    fn abort(&mut self) {
        self.connection.abort(self.now);
    }
}

impl Ours {
    pub(super) fn new(app: App, config: Config, iss: SeqNumber, answer: (Answer, u64), rates: Rates) -> Ours {
        Ours {
            app,
            config,
            iss,
            connection: None,
            pool: Pool::new(),
            answer,
            answer_at: None,
            closed: None,
            resets: Vec::new(),
            rates,
            rebuilt: 0,
        }
    }

    pub(super) fn open(&mut self, now: Instant) {
        self.connection = Some(Connection::active(&self.config, self.iss, now));
    }

    /// Exports the connection and goes on with what is rebuilt from that.
    fn rebuild(&mut self, now: Instant) {
        let Some(connection) = &mut self.connection else { return };
        let Some(saved) = connection.save() else { return };
        let joined = |(first, second): (&[u8], &[u8])| [first, second].concat();
        let received = joined(connection.recv().slices());
        let unacknowledged = joined(connection.send().slices(0, usize::MAX));
        let peer_finished = connection.peer_finished();
        connection.release(&mut self.pool);
        assert_eq!(self.pool.lent(), 0);
        let mut rebuilt = Connection::restore(&self.config, &saved, &received, &unacknowledged, now, &mut self.pool)
            .unwrap_or_else(|| panic!("what was exported is refused: {saved:?}"));
        assert_eq!(rebuilt.peer_finished(), peer_finished);
        if self.app.finished {
            // An end whose FIN was not sent yet is known to the application only.
            rebuilt.close_send();
        }
        self.connection = Some(rebuilt);
        self.rebuilt += 1;
    }

    fn retire(&mut self) {
        let Some(connection) = &self.connection else { return };
        let Some(reason) = connection.closed() else { return };
        assert_eq!(connection.deadline(), None, "a closed connection waits");
        if let Some(mut connection) = self.connection.take() {
            connection.release(&mut self.pool);
        }
        assert_eq!(self.pool.lent(), 0, "a closed connection keeps memory");
        self.closed = Some(reason);
    }

    /// The most that the pool may lend to buffers with such a limit: slabs are less than four times what is in them.
    fn bound(limit: usize) -> usize {
        4 * (limit + (16 << 10))
    }
}

impl End for Ours {
    fn app(&self) -> &App {
        &self.app
    }

    fn work(&mut self, now: Instant, random: &mut Random, out: &mut Vec<Vec<u8>>) {
        out.append(&mut self.resets);
        if self.answer_at.is_some_and(|at| at <= now) {
            self.answer_at = None;
            if let Some(connection) = &mut self.connection {
                match self.answer.0 {
                    Answer::Accept => connection.accept(now),
                    Answer::Refuse => connection.abort(now),
                }
            }
        }
        if self.rebuilt < REBUILDS && random.permille(self.rates.rebuild) {
            self.rebuild(now);
        }
        let Some(connection) = &mut self.connection else { return };
        let send_limit = connection.send_limit();
        self.app.turn(&mut Open { connection, pool: &mut self.pool, send_limit, now }, now, random);
        connection.flush_ack();
        if random.permille(self.rates.urgent) {
            connection.send_mut().mark_urgent();
        }
        let mut count = 0;
        while let Some(segment) = connection.poll_transmit(now) {
            count += 1;
            assert!(count < 20_000, "it never stops sending");
            let (first, second) = connection.send().slices(segment.offset, segment.len);
            assert_eq!(first.len() + second.len(), segment.len, "{segment:?} is not in the buffer");
            assert!(segment.len <= connection.longest_payload(), "{segment:?}");
            out.push(encode(&segment, &[first, second].concat()));
        }
        self.retire();
    }

    fn receive(&mut self, tcp: &[u8], now: Instant) {
        let segment = decode(tcp);
        if let Some(connection) = &mut self.connection {
            connection.on_segment(&segment, now, &mut self.pool);
            return;
        }
        let controls = Flags::SYN | Flags::ACK | Flags::RST | Flags::FIN;
        if self.closed.is_none() && segment.flags & controls == Flags::SYN {
            self.connection = Some(Connection::passive(&self.config, &segment, self.iss, now, &mut self.pool));
            self.answer_at = Some(now + Duration::from_micros(self.answer.1));
        } else if let Some(reset) = reset_for(&segment) {
            self.resets.push(encode(&reset, &[]));
        }
    }

    fn too_big(&mut self, mtu: usize) {
        if let Some(connection) = &mut self.connection {
            connection.lower_mss((mtu - 40) as u16);
        }
    }

    fn due(&self, now: Instant) -> Option<Instant> {
        if !self.resets.is_empty() {
            return Some(now);
        }
        let connection = self.connection.as_ref()?;
        let application = self.app.due(connection.recv().len(), connection.send_room(), now);
        earliest(earliest(connection.deadline(), self.answer_at), application)
    }

    fn on_due(&mut self, now: Instant) -> bool {
        let Some(connection) = &mut self.connection else { return false };
        if connection.deadline().is_none_or(|at| at > now) {
            return false;
        }
        let expected = matches!(connection.state(), State::TimeWait | State::FinWait2) || connection.is_paced();
        connection.on_deadline(now);
        !expected
    }

    fn standing(&self) -> Standing {
        match self.closed {
            None => Standing::Open,
            Some(Closed::Finished) => Standing::Finished,
            Some(_) => Standing::Broken,
        }
    }

    fn give_up(&mut self, now: Instant) {
        match &mut self.connection {
            Some(connection) => connection.abort(now),
            None => self.closed = self.closed.or(Some(Closed::Aborted)),
        }
    }

    fn waits(&self) -> bool {
        self.connection.as_ref().is_some_and(|connection| connection.send_idle() && connection.rcv_wnd() > 0)
    }

    fn check(&self) {
        let Config { recv_limit, recv_max, send_limit, send_max, .. } = self.config;
        let (received, sent) = (recv_limit.max(recv_max), send_limit.max(send_max));
        let limits = Ours::bound(received) + Ours::bound(sent);
        assert!(self.pool.lent() <= limits, "{} bytes are lent", self.pool.lent());
        let Some(connection) = &self.connection else { return };
        // The window of a SYN is not scaled, and may be larger than a small limit by rounding.
        assert!(connection.recv().len() <= received + (1 << 14));
        assert!(connection.send().len() <= sent);
        assert!(connection.recv().urgent().is_none_or(|end| end <= connection.recv().len()));
        assert!(connection.snd_una().le(connection.snd_nxt()) && connection.snd_nxt().le(connection.snd_max()));
    }

    fn describe(&self) -> String {
        format!(
            "ours, {:?}, {:?}, {:?}, closed {:?}: {:?}",
            self.config, self.answer, self.app, self.closed, self.connection
        )
    }

    fn rebuilt(&self) -> u64 {
        self.rebuilt
    }
}
