//! Two connections joined by a link that loses, repeats, delays and reorders, in virtual time. Whatever the seed, all
//! bytes arrive once and in order and both connections end.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::*;
use crate::time::{Duration, Instant};

/// A small generator of pseudo-random numbers (xorshift64*), so that a seed names a run for ever.
struct Random(u64);

impl Random {
    fn new(seed: u64) -> Random {
        Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, bound: u64) -> u64 {
        (self.next() >> 16) % bound
    }

    fn percent(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len() as u64) as usize]
    }
}

/// A segment on its way.
#[derive(PartialEq, Eq)]
struct Flying {
    at: i64,
    order: u64,
    to: usize,
    segment: Transmit,
    payload: Vec<u8>,
}

impl Ord for Flying {
    fn cmp(&self, other: &Flying) -> std::cmp::Ordering {
        (self.at, self.order).cmp(&(other.at, other.order))
    }
}

impl PartialOrd for Flying {
    fn partial_cmp(&self, other: &Flying) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

/// What the link does to segments.
#[derive(Clone, Copy, Debug)]
struct Link {
    loss: u64,
    duplication: u64,
    /// Fixed delay and the most that is added at random, in microseconds.
    delay: u64,
    jitter: u64,
}

/// One end: a connection and the application behind it.
struct End {
    connection: Option<Connection>,
    pool: Pool,
    config: Config,
    /// What is sent in all, and how much of it was handed in.
    total: usize,
    handed: usize,
    received: usize,
    /// Whether it ends its direction only after the peer's end.
    replies_last: bool,
    /// The most that is read in one go; 0 reads everything at once.
    read_size: usize,
    closed: Option<Closed>,
}

/// The byte at a place of the stream that `end` sends.
fn byte_at(end: usize, place: usize) -> u8 {
    (place.wrapping_mul(31).wrapping_add(place >> 8).wrapping_add(end * 101)) as u8
}

impl End {
    fn new(random: &mut Random) -> End {
        let config = Config {
            mss: random.pick(&[100, 536, 1460, 1460, 8960, 65480]),
            recv_limit: random.pick(&[3000, 20_000, 65_535, 300_000, 1 << 20]),
            send_limit: random.pick(&[3000, 50_000, 200_000]),
            window_scale: random.percent(70),
            sack: random.percent(70),
            timestamps: random.percent(50),
            ..Config::default()
        };
        End {
            connection: None,
            pool: Pool::new(),
            config,
            total: random.pick(&[0, 1, 1000, 20_000, 60_000]) as usize,
            handed: 0,
            received: 0,
            replies_last: random.percent(30),
            read_size: random.pick(&[0, 0, 500, 5000]),
            closed: None,
        }
    }

    /// The application's turn: reads, checks, writes, ends.
    fn work(&mut self, me: usize, random: &mut Random) {
        let Some(connection) = &mut self.connection else { return };
        let waiting = connection.recv.len();
        let mut n = if self.read_size == 0 { waiting } else { waiting.min(self.read_size) };
        if random.percent(20) {
            n = 0;
        }
        let (first, second) = connection.recv.slices();
        for &byte in first.iter().chain(second).take(n) {
            assert_eq!(byte, byte_at(1 - me, self.received), "byte {} towards {me}", self.received);
            self.received += 1;
        }
        connection.consume_received(n, &mut self.pool);
        connection.flush_ack();

        let n = (self.total - self.handed).min(connection.send_room()).min(1 + random.below(30_000) as usize);
        let data: Vec<u8> = (self.handed..self.handed + n).map(|place| byte_at(me, place)).collect();
        assert_eq!(connection.send.push(&data, self.config.send_limit, &mut self.pool), n);
        self.handed += n;
        if self.handed == self.total && (!self.replies_last || connection.peer_finished()) {
            connection.close_send();
        }
    }
}

/// Runs one seed to its end.
fn run(seed: u64) {
    let mut random = Random::new(seed);
    let link = Link {
        loss: random.pick(&[0, 0, 1, 5, 15]),
        duplication: random.pick(&[0, 0, 2, 10]),
        delay: random.pick(&[1, 100, 20_000]),
        jitter: random.pick(&[0, 0, 1000, 50_000]),
    };
    let mut ends = [End::new(&mut random), End::new(&mut random)];
    if ends[0].replies_last {
        ends[1].replies_last = false;
    }
    let context = format!("seed {seed}, {link:?}, {:?}, {:?}", ends[0].config, ends[1].config);
    let (iss0, iss1) = (SeqNumber(random.next() as u32), SeqNumber(random.next() as u32));
    let mut now = Instant::from_micros(1_000_000);
    let simultaneous = random.percent(10);
    ends[0].connection = Some(Connection::active(&ends[0].config, iss0, now));
    if simultaneous {
        ends[1].connection = Some(Connection::active(&ends[1].config, iss1, now));
    }
    let mut accept_at = None;
    let mut flying: BinaryHeap<Reverse<Flying>> = BinaryHeap::new();
    let mut order = 0;
    let mut turns = 0;
    loop {
        turns += 1;
        assert!(turns < 200_000, "no end: {context}");
        for (me, end) in ends.iter_mut().enumerate() {
            end.work(me, &mut random);
            let Some(connection) = &mut end.connection else { continue };
            while let Some(segment) = connection.poll_transmit(now) {
                let (first, second) = connection.send.slices(segment.offset, segment.len);
                let payload = [first, second].concat();
                assert_eq!(payload.len(), segment.len, "{context}");
                let copies =
                    if random.percent(link.loss) { 0 } else { 1 + u64::from(random.percent(link.duplication)) };
                for _ in 0..copies {
                    order += 1;
                    let jitter = if link.jitter > 0 { random.below(link.jitter) } else { 0 };
                    let at = now.total_micros() + (link.delay + jitter) as i64;
                    flying.push(Reverse(Flying { at, order, to: 1 - me, segment, payload: payload.clone() }));
                }
            }
            if let Some(reason) = connection.closed() {
                assert_eq!(connection.deadline(), None);
                let mut connection = end.connection.take().unwrap();
                connection.release(&mut end.pool);
                assert_eq!(end.pool.lent(), 0, "{context}");
                end.closed = Some(reason);
            }
        }
        if ends.iter().all(|end| end.closed.is_some()) {
            break;
        }
        // What comes next: a segment, a deadline, the application's next turn.
        let mut next = i64::MAX;
        if let Some(Reverse(first)) = flying.peek() {
            next = next.min(first.at);
        }
        for end in &ends {
            if let Some(connection) = &end.connection {
                next = next.min(connection.deadline().map_or(i64::MAX, |at| at.total_micros()));
                if !connection.recv.is_empty() || (end.handed < end.total && connection.send_room() > 0) {
                    next = next.min(now.total_micros() + 2000);
                }
            }
        }
        next = next.min(accept_at.unwrap_or(i64::MAX));
        assert!(next < i64::MAX, "nothing will ever happen: {context}");
        now = now.max(Instant::from_micros(next));
        if accept_at.is_some_and(|at| at <= next) {
            accept_at = None;
            if let Some(connection) = &mut ends[1].connection {
                connection.accept(now);
            }
        }
        for end in &mut ends {
            if let Some(connection) = &mut end.connection
                && connection.deadline().is_some_and(|at| at <= now)
            {
                let timed = matches!(connection.state(), State::TimeWait | State::FinWait2);
                assert!(timed || link.loss > 0 || link.jitter > 0, "waited for a timer on a clean link: {context}");
                connection.on_deadline(now);
            }
        }
        while flying.peek().is_some_and(|first| first.0.at <= now.total_micros()) {
            let Reverse(first) = flying.pop().unwrap();
            let segment = segment_of(&first.segment, &first.payload);
            let end = &mut ends[first.to];
            if let Some(connection) = &mut end.connection {
                connection.on_segment(&segment, now, &mut end.pool);
                let bound = end.config.recv_limit + (1 << 14);
                assert!(connection.recv.len() <= bound, "{context}");
            } else if first.to == 1 && segment.flags == Flags::SYN && end.closed.is_none() {
                end.connection = Some(Connection::passive(&end.config, &segment, iss1, now, &mut end.pool));
                accept_at = Some(now.total_micros() + 5000);
            }
        }
    }
    for (me, end) in ends.iter().enumerate() {
        // The side that closes last cannot know whether its last acknowledgment arrived when the other waits no longer.
        let last_lost = end.closed == Some(Closed::TimedOut) && ends[1 - me].closed == Some(Closed::Finished);
        assert!(end.closed == Some(Closed::Finished) || (last_lost && link.loss > 0), "{:?} {context}", end.closed);
        assert_eq!(end.received, ends[1 - me].total, "towards {me}: {context}");
    }
}

#[test]
fn every_byte_arrives_once_and_every_connection_ends() {
    for seed in 0..500 {
        run(seed);
    }
}

/// Nothing waits for a timer when nothing is lost.
#[test]
fn nothing_waits_on_a_clean_link() {
    let (mut a_pool, mut b_pool) = (Pool::new(), Pool::new());
    for mss in [100, 1460, 65480] {
        let config = Config { mss, recv_limit: 1 << 20, send_limit: 1 << 20, ..Config::default() };
        let mut now = Instant::from_millis(5);
        let mut left = Connection::active(&config, SeqNumber(1), now);
        let mut right: Option<Connection> = None;
        let data = vec![7; 400_000];
        left.send.push(&data, 1 << 20, &mut a_pool);
        let mut arrived = 0;
        for _ in 0..20 {
            now += Duration::from_micros(50);
            while let Some(t) = left.poll_transmit(now) {
                let (first, second) = left.send.slices(t.offset, t.len);
                let payload = [first, second].concat();
                let segment = segment_of(&t, &payload);
                match &mut right {
                    Some(right) => right.on_segment(&segment, now, &mut b_pool),
                    None => {
                        let mut new = Connection::passive(&config, &segment, SeqNumber(9), now, &mut b_pool);
                        new.accept(now);
                        right = Some(new);
                    }
                }
            }
            let Some(right) = &mut right else { continue };
            arrived += right.recv.len();
            right.consume_received(right.recv.len(), &mut b_pool);
            right.flush_ack();
            while let Some(t) = right.poll_transmit(now) {
                left.on_segment(&segment_of(&t, &[]), now, &mut a_pool);
            }
        }
        assert_eq!(arrived, data.len());
        assert!(left.send_idle() && left.deadline().is_none());
        assert_eq!((a_pool.lent(), b_pool.lent()), (0, 0), "idle connections own no memory");
    }
}

fn segment_of<'a>(t: &Transmit, payload: &'a [u8]) -> Segment<'a> {
    Segment { seq: t.seq, ack: t.ack, flags: t.flags, window: t.window, urgent: t.urgent, options: t.options, payload }
}
