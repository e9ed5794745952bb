//! One TCP connection under any sequence of segments, calls and deadlines. Both streams are known in advance, so every
//! byte that is delivered or sent is compared, whatever overlapped, came early or was sent again.
//!
//! Input: two bytes for the configuration, two for the length of the peer's stream, then records that begin with a byte
//! for what happens and one for the time that passes before it. A record may export the connection and rebuild it.

use oxislirp::internals::tcp::{Config, Connection, Flags, Options, Pool, Segment, SeqNumber, State, Transmit};
use oxislirp::internals::time::{Duration, Instant};

use crate::input::{Input, byte_at, stream};

const PEERS_FIRST: SeqNumber = SeqNumber(0xffff_f000);
const OUR_FIRST: SeqNumber = SeqNumber(0x7fff_fe00);
const PEER: usize = 0;
const HOST: usize = 1;
/// The first timestamp of the peer, soon to wrap.
const FIRST_STAMP: u32 = 0xffff_fe00;
/// Bytes behind the end of the peer's stream, which must never be delivered.
const OUTSIDE: u8 = 0xdd;

struct Run {
    config: Config,
    connection: Connection,
    pool: Pool,
    now: Instant,
    /// How long the peer's stream is; its FIN comes there and nowhere else.
    peer_len: usize,
    /// Bytes that the host has taken and given so far.
    taken: usize,
    given: usize,
    /// Bytes were thrown away by the host, so that the rest is no longer counted.
    discarded: bool,
    /// The host has ended its direction.
    ended: bool,
    /// The peer has offered selective acknowledgments and timestamps in a SYN that was taken. Not known for a peer whose
    /// SYN comes from the input.
    offered: Option<(bool, bool)>,
    /// The peer's clock for timestamps, and the last value that it had of us.
    stamp: u32,
    seen: u32,
    rebuilt: bool,
}

pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let shape = input.u8();
    let extra = input.u8();
    let peer_len = usize::from(input.u16()) * 4;
    let config = Config {
        mss: [1460, 100, 536, 65480][usize::from(shape & 3)],
        recv_limit: [65_535, 3000, 300_000, 1 << 20][usize::from(shape >> 2 & 3)],
        recv_first: 64 << 10,
        send_limit: [65_535, 3000, 300_000, 1 << 20][usize::from(shape >> 4 & 3)],
        window_scale: shape & 64 != 0,
        sack: extra & 4 == 0,
        timestamps: extra & 8 == 0,
        recv_max: if extra & 16 == 0 { 2 << 20 } else { 0 },
        send_max: if extra & 16 == 0 { 2 << 20 } else { 0 },
        stamp_offset: if extra & 64 == 0 { 0 } else { u32::MAX - 1500 },
        keep_alive: (extra & 32 != 0).then(|| Duration::from_secs(20)),
        ..Config::default()
    };
    let mut pool = Pool::with_budget(1 << 20);
    let mut now = Instant::from_secs(1);
    let connection = if shape & 128 == 0 {
        let options = Options {
            mss: Some(1460),
            window_scale: (extra & 128 == 0).then_some(shape & 15),
            sack_permitted: extra & 1 != 0,
            timestamps: (extra & 2 != 0).then_some((FIRST_STAMP, 0)),
            ..Options::default()
        };
        let syn = Segment {
            seq: PEERS_FIRST,
            ack: SeqNumber(0),
            flags: Flags::SYN,
            window: 65_535,
            urgent: 0,
            options,
            payload: &[],
        };
        Connection::passive(&config, &syn, OUR_FIRST, now, &mut pool)
    } else {
        now += input.duration();
        Connection::active(&config, OUR_FIRST, now)
    };
    let mut run = Run {
        config,
        connection,
        pool,
        now,
        peer_len,
        taken: 0,
        given: 0,
        discarded: false,
        ended: false,
        offered: (shape & 128 == 0).then_some((extra & 1 != 0, extra & 2 != 0)),
        stamp: FIRST_STAMP,
        seen: 0,
        rebuilt: false,
    };
    for _ in 0..512 {
        if input.is_empty() {
            break;
        }
        run.step(&mut input);
        run.check();
    }
    run.connection.release(&mut run.pool);
    assert_eq!(run.pool.lent(), 0, "memory is lost");
}

impl Run {
    fn step(&mut self, input: &mut Input<'_>) {
        let what = input.u8();
        self.now += input.duration();
        let (connection, now) = (&mut self.connection, self.now);
        match what & 15 {
            0 => connection.accept(now),
            1 => {
                let n = usize::from(input.u16()).min(connection.send_room());
                let data = stream(HOST, self.given, n);
                self.given += connection.send_mut().push(&data, self.config.send_limit, &mut self.pool);
            }
            2 => {
                let n = connection.recv().len().min(input.u16().into());
                self.take(n);
            }
            3 => self.take(self.connection.recv().len()),
            4 => {
                self.ended = true;
                connection.close_send();
            }
            5 if what & 0xf0 == 0xf0 => connection.abort(now),
            6 if what & 0xf0 == 0xf0 => {
                self.discarded = true;
                connection.discard_received(&mut self.pool);
            }
            7 => connection.flush_ack(),
            8 => {
                if let Some(deadline) = connection.deadline() {
                    self.now = now.max(deadline);
                    connection.on_deadline(self.now);
                }
            }
            10 => self.rebuild(),
            11 if what & 0xf0 == 0xf0 => connection.lower_mss(input.u16()),
            _ => self.segment(what, input),
        }
    }

    /// Exports the connection and goes on with what is rebuilt from that.
    fn rebuild(&mut self) {
        let Some(saved) = self.connection.save() else { return };
        let joined = |(first, second): (&[u8], &[u8])| [first, second].concat();
        let received = joined(self.connection.recv().slices());
        let unacknowledged = joined(self.connection.send().slices(0, usize::MAX));
        self.connection.release(&mut self.pool);
        let pool = &mut self.pool;
        let Some(rebuilt) = Connection::restore(&self.config, &saved, &received, &unacknowledged, self.now, pool)
        else {
            panic!("what was exported is refused: {saved:?}");
        };
        self.connection = rebuilt;
        self.rebuilt = true;
        // What the host has done is known to the host alone.
        if self.discarded {
            self.connection.discard_received(&mut self.pool);
        }
        if self.ended {
            self.connection.close_send();
        }
    }

    fn take(&mut self, n: usize) {
        let (first, second) = self.connection.recv().slices();
        for byte in first.iter().chain(second).take(n) {
            assert!(self.taken < self.peer_len, "more is delivered than was sent");
            assert_eq!(*byte, byte_at(PEER, self.taken), "byte {} is wrong", self.taken);
            self.taken += 1;
        }
        self.connection.consume_received(n, &mut self.pool);
    }

    /// A segment of the peer. Its numbers are relative to what the connection expects; `what` tells how far off.
    fn segment(&mut self, what: u8, input: &mut Input<'_>) {
        let flags = Flags::from_bits_truncate(input.u8().into());
        let offset = i32::from(input.u16() as i16) * if what & 16 == 0 { 1 } else { 31 };
        let ack = i32::from(input.u16() as i16) * if what & 32 == 0 { 1 } else { 31 };
        let len = usize::from(input.u16() % 9000);
        let options = self.options(what, input);
        let start = PEERS_FIRST + 1;
        let connection = &mut self.connection;
        let seq = match connection.state() {
            // Whatever number a SYN has is the first one then.
            State::Opening | State::SynSent if flags.contains(Flags::SYN) => PEERS_FIRST,
            State::SynSent => PEERS_FIRST + offset as u32,
            _ => connection.rcv_nxt() + offset as u32,
        };
        let place = seq.0.wrapping_sub(start.0) as i32;
        // Where the first payload byte stands in the stream: behind a SYN.
        let place = i64::from(place) + i64::from(flags.contains(Flags::SYN));
        let end = self.peer_len as i64;
        let mut payload: Vec<u8> = (place..place + len as i64)
            .map(|at| if (0..end).contains(&at) { byte_at(PEER, at as usize) } else { OUTSIDE })
            .collect();
        // The stream ends once: data is cut there, and only the segment that reaches it may carry the FIN.
        let mut flags = flags;
        let reaches = place <= end && place + len as i64 >= end;
        if place + len as i64 > end {
            payload.truncate(usize::try_from(end - place).unwrap_or(0));
        }
        flags.set(Flags::FIN, flags.contains(Flags::FIN) && reaches);
        let segment = Segment {
            seq,
            ack: connection.snd_max() + ack as u32,
            flags,
            window: input.u16(),
            urgent: (what as u16) << 4,
            options,
            payload: &payload,
        };
        connection.on_segment(&segment, self.now, &mut self.pool);
    }

    /// The options of a segment: none, those of an honest peer, timestamps and blocks at will, or any bytes.
    fn options(&mut self, what: u8, input: &mut Input<'_>) -> Options {
        self.stamp = self.stamp.wrapping_add(1);
        let una = self.connection.snd_una();
        let (stamps, blocks) = self.offered.map_or((true, true), |(sack, stamps)| (stamps, sack));
        let mut options = Options::default();
        match what >> 6 {
            0 => {}
            1 => {
                options.timestamps = stamps.then_some((self.stamp, self.seen));
                let (from, len) = (u32::from(input.u16()), u32::from(input.u16()));
                options.sack[0] = (blocks && len > 0).then_some((una + from, una + from + len));
            }
            2 => {
                let stamp = self.stamp.wrapping_add(i32::from(input.u16() as i16) as u32);
                options.timestamps = Some((stamp, self.seen.wrapping_add(i32::from(input.u8() as i8) as u32)));
                for slot in options.sack.iter_mut().take(3) {
                    let from = una + i32::from(input.u16() as i16) as u32;
                    *slot = Some((from, from + u32::from(input.u16())));
                }
            }
            _ => options = Options::parse(input.bytes(12)),
        }
        options
    }

    /// Options are used only when both sides have offered them, and tell the truth.
    fn check_options(&mut self, out: &Transmit) {
        let next = self.connection.rcv_nxt();
        for (start, end) in out.options.sack.iter().flatten() {
            assert!(start.lt(*end), "an empty block: {out:?}");
            let stream_end = PEERS_FIRST + 1 + self.peer_len as u32;
            assert!(end.le(stream_end) || end.le(next), "{out:?} reports what was never sent");
        }
        if let Some((value, _)) = out.options.timestamps {
            self.seen = value;
        }
        if let Some((sack, stamps)) = self.offered
            && !self.rebuilt
        {
            let syn = out.flags.contains(Flags::SYN);
            assert!(out.options.sack[0].is_none() || (sack && self.config.sack), "{out:?}");
            assert!(!syn || out.options.sack_permitted == (sack && self.config.sack), "{out:?}");
            let reset = out.flags.contains(Flags::RST);
            let stamped = out.options.timestamps.is_some();
            assert!(reset || stamped == (stamps && self.config.timestamps), "{out:?}");
        }
    }

    fn check(&mut self) {
        let iss = OUR_FIRST;
        let mut segments = 0;
        while let Some(out) = self.connection.poll_transmit(self.now) {
            segments += 1;
            assert!(segments < 100_000, "it never stops sending");
            self.check_options(&out);
            let (first, second) = self.connection.send().slices(out.offset, out.len);
            assert_eq!(first.len() + second.len(), out.len, "{out:?} is not in the buffer");
            assert!(out.len <= self.connection.longest_payload(), "{out:?}");
            if out.len > 0 {
                let place = out.seq.distance(iss + 1) as usize;
                let sent = first.iter().chain(second);
                assert!(sent.zip(place..).all(|(byte, at)| *byte == byte_at(HOST, at)), "{out:?} carries other bytes");
                assert!(place + out.len <= self.given, "{out:?} was never given");
            }
        }
        let connection = &self.connection;
        assert!(connection.snd_una().le(connection.snd_max()) && connection.snd_nxt().le(connection.snd_max()));
        let held = connection.recv().len();
        if !self.discarded {
            assert!(self.taken + held <= self.peer_len, "more arrived than was sent");
            if connection.peer_finished() {
                assert_eq!(self.taken + held, self.peer_len, "the end came before the data");
            }
        }
        assert!(connection.recv().urgent().is_none_or(|urgent| urgent <= held));
        // The window that a SYN announces is not scaled, and may be larger than a small limit by rounding.
        assert!(held <= self.config.recv_limit.max(self.config.recv_max) + (1 << 14), "{held} bytes are held");
        assert!(connection.send().len() <= self.config.send_limit);
        if connection.closed().is_some() {
            assert_eq!(connection.deadline(), None, "a closed connection waits");
        }
    }
}
